"""Blocks of pixels: SPACE_TO_DEPTH, DEPTH_TO_SPACE to channels, SPACE_TO_BATCH_ND, BATCH_TO_SPACE_ND to batches.

Every kernel takes `arrays`: the input; further operands are parameters and None. It returns the input's type.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from refquant.kernels.checks import expect_counts, expect_same_type, legacy_parameters
from refquant.kernels.index_operands import expect_equal_parameters, expect_zero_zero_point, pairs, present, vector
from refquant.kernels.kernel import Node, Shape
from refquant.kernels.movement import permuted
from refquant.model.graph import Array


@dataclass(frozen=True, slots=True)
class DepthParams:
    """Square blocks of block_size x block_size pixels; `pixels`: (batch, height, width, depth) of the deep side."""

    block_size: int
    deep_shape: Shape
    output_shapes: tuple[Shape]


@dataclass(frozen=True, slots=True)
class BatchParams:
    """Blocks of `block` pixels along the spatial axes behind the batch; `margins`: the paddings, or the crops.

    `blocks`: the shape (*block, batch, *spatial, depth) of the side with the many batches.
    """

    block: tuple[int, ...]
    margins: tuple[tuple[int, int], ...]
    pad_value: int
    blocks: Shape
    output_shapes: tuple[Shape]


def space_to_depth_params(node: Node) -> DepthParams:
    """block_size >= 1 divides height and width of the NHWC input.

    Errors: InvalidModel. Source: tflite/kernels/space_to_depth.cc, Prepare.
    """
    shape, block = _image_and_block(node)
    batch, height, width, depth = shape
    if height % block or width % block:
        raise node.invalid(f"block_size {block} must divide height and width of {list(shape)}")
    deep = (batch, height // block, width // block, depth * block * block)
    return DepthParams(block, deep, (deep,))


def depth_to_space_params(node: Node) -> DepthParams:
    """block_size >= 1, and its square divides the depth of the NHWC input.

    Errors: InvalidModel. Source: tflite/kernels/depth_to_space.cc, Prepare.
    """
    shape, block = _image_and_block(node)
    batch, height, width, depth = shape
    if depth % (block * block):
        raise node.invalid(f"the square of block_size {block} must divide the depth of {list(shape)}")
    return DepthParams(block, shape, ((batch, height * block, width * block, depth // (block * block)),))


def _image_and_block(node: Node) -> tuple[Shape, int]:
    expect_counts(node, 1, 1)
    input = node.input(0)
    expect_same_type(node, input, node.outputs[0])
    block = int(node.options.get("block_size", 0))
    if len(input.shape) != 4 or block < 1:
        raise node.invalid(f"needs an NHWC input and a positive block_size, not {list(input.shape)} and {block}")
    return input.shape, block


def space_to_depth(params: DepthParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """output[b, h, w, (y * block + x) * depth + c] = input[b, h * block + y, w * block + x, c].

    Source: tflite/kernels/internal/reference/space_to_depth.h, SpaceToDepth.
    """
    x = present(arrays)
    batch, height, width, deep = params.deep_shape
    block = params.block_size
    pixels = x.reshape(prod(x.shape[:-4]), batch, height, block, width, block, deep // (block * block))
    return (permuted(pixels, (0, 1, 2, 4, 3, 5, 6)).reshape(*x.shape[:-4], *params.output_shapes[0]),)


def depth_to_space(params: DepthParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """output[b, h * block + y, w * block + x, c] = input[b, h, w, (y * block + x) * depth + c].

    Source: tflite/kernels/internal/reference/depth_to_space.h, DepthToSpace.
    """
    x = present(arrays)
    batch, height, width, deep = params.deep_shape
    block = params.block_size
    pixels = x.reshape(prod(x.shape[:-4]), batch, height, width, block, block, deep // (block * block))
    return (permuted(pixels, (0, 1, 2, 4, 3, 5, 6)).reshape(*x.shape[:-4], *params.output_shapes[0]),)


def space_to_batch_params(node: Node) -> BatchParams:
    """block_shape and paddings of the one or two spatial axes; the padded sizes are multiples of the blocks.

    The padding of 8- and 16-bit types is the output's zero point. Errors: InvalidModel; UnsupportedModel for negative
    paddings. Source: tflite/kernels/space_to_batch_nd.cc, Prepare, ResizeOutputTensor, Eval.
    """
    shape, block, paddings = _blocks_and_margins(node, "the paddings")
    if any(margin < 0 for pair in paddings for margin in pair):
        raise node.unsupported(f"the paddings {paddings} hold negative ones, which are not built")
    padded = [size + before + after for size, (before, after) in zip(shape[1:-1], paddings, strict=True)]
    if any(size % b for size, b in zip(padded, block, strict=True)):
        raise node.invalid(f"the padded sizes {padded} must be multiples of the block {list(block)}")
    spatial = [size // b for size, b in zip(padded, block, strict=True)]
    output = node.outputs[0]
    pad_value = legacy_parameters(output)[1] if output.type in ("INT8", "UINT8", "INT16", "BOOL") else 0
    if output.type == "BOOL" and pad_value:
        raise node.unsupported(f"a BOOL tensor would be padded with its zero point {pad_value}")
    blocks = (*block, shape[0], *spatial, shape[-1])
    return BatchParams(block, paddings, pad_value, blocks, ((prod(block) * shape[0], *spatial, shape[-1]),))


def batch_to_space_params(node: Node) -> BatchParams:
    """block_shape and crops of the one or two spatial axes; the blocks divide the batch, no crop is negative.

    Errors: InvalidModel. Source: tflite/kernels/batch_to_space_nd.cc, Prepare, ResizeOutputTensor.
    """
    shape, block, crops = _blocks_and_margins(node, "the crops")
    if shape[0] % prod(block):
        raise node.invalid(f"the block {list(block)} must divide the batch of {list(shape)}")
    full = [size * b for size, b in zip(shape[1:-1], block, strict=True)]
    cropped = [size - before - after for size, (before, after) in zip(full, crops, strict=True)]
    if any(margin < 0 for pair in crops for margin in pair) or any(size < 0 for size in cropped):
        raise node.invalid(f"the crops {crops} must be 0 or more and leave sizes of 0 or more of {full}")
    batch = shape[0] // prod(block)
    return BatchParams(block, crops, 0, (*block, batch, *shape[1:]), ((batch, *cropped, shape[-1]),))


def _blocks_and_margins(node: Node, what: str) -> tuple[Shape, tuple[int, ...], tuple[tuple[int, int], ...]]:
    expect_counts(node, 3, 1)
    input, output = node.input(0), node.outputs[0]
    expect_same_type(node, input, output)
    if input.type in ("UINT8", "INT8", "INT16"):
        expect_equal_parameters(node, input, output)
    expect_zero_zero_point(node, input)
    spatial = len(input.shape) - 2
    if spatial not in (1, 2):
        raise node.invalid(f"needs an input of 3 or 4 axes, not {list(input.shape)}")
    block = vector(node, 1, "block_shape")
    if len(block) != spatial or any(b < 1 for b in block):
        raise node.invalid(f"block_shape {list(block)} must hold {spatial} positive sizes")
    return input.shape, block, pairs(node, 2, what, spatial)


def space_to_batch(params: BatchParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """output[(y * block_w + x) * batch + b, h, w] = padded[b, h * block_h + y, w * block_w + x].

    Source: tflite/kernels/internal/reference/space_to_batch_nd.h, SpaceToBatchND.
    """
    x = present(arrays)
    n = len(params.block)
    leading = x.shape[: x.ndim - n - 2]
    x = x.reshape(prod(leading), *x.shape[x.ndim - n - 2 :])
    widths = ((0, 0), (0, 0), *params.margins, (0, 0))
    padded = np.pad(x, widths, constant_values=x.dtype.type(params.pad_value))
    batch, spatial, depth = params.blocks[n], params.blocks[n + 1 : -1], params.blocks[-1]
    split = [size for pair in zip(spatial, params.block, strict=True) for size in pair]
    pixels = padded.reshape(x.shape[0], batch, *split, depth)
    axes = (0, *range(3, 3 + 2 * n, 2), 1, *range(2, 2 + 2 * n, 2), 2 + 2 * n)
    return (permuted(pixels, axes).reshape(*leading, *params.output_shapes[0]),)


def batch_to_space(params: BatchParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """output[b, h, w] = full[b, h + crop_top, w + crop_left], with
    full[b, h * block_h + y, w * block_w + x] = input[(y * block_w + x) * batch + b, h, w].

    Source: tflite/kernels/internal/reference/batch_to_space_nd.h, BatchToSpaceND.
    """
    x = present(arrays)
    n = len(params.block)
    leading = x.shape[: x.ndim - n - 2]
    samples = prod(leading)
    blocks = x.reshape(samples, *params.blocks)
    interleaved = [axis for i in range(n) for axis in (n + 2 + i, 1 + i)]
    batch, spatial, depth = params.blocks[n], params.blocks[n + 1 : -1], params.blocks[-1]
    full_sizes = [size * b for size, b in zip(spatial, params.block, strict=True)]
    full = permuted(blocks, (0, n + 1, *interleaved, 2 * n + 2)).reshape(samples, batch, *full_sizes, depth)
    kept = tuple(slice(before, size - after) for size, (before, after) in zip(full_sizes, params.margins, strict=True))
    inside: tuple[Any, ...] = (..., *kept, slice(None))
    return (full[inside].reshape(*leading, *params.output_shapes[0]),)
