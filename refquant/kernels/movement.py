"""All elements of one tensor: RESHAPE, SQUEEZE, EXPAND_DIMS, TRANSPOSE, TILE, BROADCAST_TO, REVERSE_V2.

Axes are held counted from the end, so that a kernel works the same with sample axes in front. Every kernel here takes
`arrays`: the input, of any type; further operands are parameters and None. It returns the input's type.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from refquant.arithmetic.fixed_point import INT32_MAX
from refquant.kernels.checks import expect_counts, expect_same_type
from refquant.kernels.index_operands import (
    axis_from_end,
    expect_equal_parameters,
    expect_input_counts,
    expect_zero_zero_point,
    integers,
    one_integer,
    present,
    vector,
)
from refquant.kernels.kernel import Node, Shape
from refquant.model.graph import Array


@dataclass(frozen=True, slots=True)
class ReshapeParams:
    """RESHAPE, SQUEEZE, EXPAND_DIMS: the last `rank` axes get the output's shape."""

    rank: int
    output_shapes: tuple[Shape]


@dataclass(frozen=True, slots=True)
class TransposeParams:
    """Axis i of the output is axis perm[i] of the input."""

    perm: tuple[int, ...]
    output_shapes: tuple[Shape]


@dataclass(frozen=True, slots=True)
class TileParams:
    """How often the input is repeated along each axis."""

    multiples: tuple[int, ...]
    output_shapes: tuple[Shape]


@dataclass(frozen=True, slots=True)
class BroadcastToParams:
    """`aligned`: the input's shape with axes of 1 in front, of the output's rank."""

    rank: int
    aligned: Shape
    output_shapes: tuple[Shape]


@dataclass(frozen=True, slots=True)
class ReverseParams:
    """The axes that are reversed, neighbours of each other."""

    axes: tuple[int, ...]
    output_shapes: tuple[Shape]


def reshape_params(node: Node) -> ReshapeParams:
    """The new shape: operand 1 if that is an INT32 vector, else the option new_shape, where [0] stands for a scalar.

    Errors: InvalidModel. Source: tflite/kernels/reshape.cc, GetOutputShape; internal/reshape_utils.h,
    ResolveOutputShape.
    """
    expect_input_counts(node, (1, 2))
    input, output = node.input(0), node.outputs[0]
    expect_same_type(node, input, output)
    shape = node.input(1) if len(node.inputs) == 2 else None
    if shape is not None and shape.type == "INT32" and len(shape.shape) == 1:
        requested = integers(node, 1, "the new shape")
    else:
        requested = tuple(int(size) for size in node.options.get("new_shape") or ())
        requested = () if requested == (0,) else requested
    return ReshapeParams(len(input.shape), (_resolved(node, input.shape, requested),))


def _resolved(node: Node, shape: Shape, requested: Shape) -> Shape:
    if requested.count(-1) > 1 or any(size < -1 for size in requested):
        raise node.invalid(f"the new shape {list(requested)} may hold one -1 and no other negative size")
    if -1 in requested:
        given = [size for size in requested if size != -1]
        if prod(shape) == 0 and prod(given) != 0:
            stretched = 0
        else:
            stretched = prod(filter(None, shape)) // prod(filter(None, given))
        requested = tuple(stretched if size == -1 else size for size in requested)
    if prod(requested) != prod(shape):
        raise node.invalid(
            f"the new shape {list(requested)} holds {prod(requested)} elements, but the input {list(shape)} holds "
            f"{prod(shape)}"
        )
    return requested


def squeeze_params(node: Node) -> ReshapeParams:
    """The axes squeeze_dims, or without any all axes of 1, are taken away.

    Errors: InvalidModel for an axis that is not of size 1. Source: tflite/kernels/squeeze.cc, Prepare.
    """
    expect_counts(node, 1, 1)
    input = node.input(0)
    expect_same_type(node, input, node.outputs[0])
    rank = len(input.shape)
    if rank > 8:
        raise node.invalid(f"squeezes tensors of at most 8 axes, not {rank}")
    dims = [int(dim) for dim in node.options.get("squeeze_dims") or ()]
    if not dims:
        dims = [axis for axis, size in enumerate(input.shape) if size == 1]
    squeezed = {axis_from_end(node, dim, rank) + rank for dim in dims}
    if any(input.shape[axis] != 1 for axis in squeezed):
        raise node.invalid(f"squeeze_dims {dims} names axes of {list(input.shape)} whose size is not 1")
    return ReshapeParams(rank, (tuple(size for axis, size in enumerate(input.shape) if axis not in squeezed),))


def expand_dims_params(node: Node) -> ReshapeParams:
    """An axis of 1 is put in at `axis`, an INT32 or INT64 element; -1 is behind the last.

    Errors: InvalidModel. Source: tflite/kernels/expand_dims.cc, Prepare, ExpandTensorDim.
    """
    expect_counts(node, 2, 1)
    input, output = node.input(0), node.outputs[0]
    expect_same_type(node, input, output)
    expect_equal_parameters(node, input, output)
    expect_zero_zero_point(node, input)
    rank = len(input.shape)
    axis = axis_from_end(node, one_integer(node, 1, "the axis", ("INT32", "INT64")), rank + 1) + rank + 1
    return ReshapeParams(rank, ((*input.shape[:axis], 1, *input.shape[axis:]),))


def reshape(params: ReshapeParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """The same elements in the same order, in the output's shape.

    Source: tflite/kernels/reshape.cc, squeeze.cc and expand_dims.cc, Eval.
    """
    x = present(arrays)
    return (x.reshape((*x.shape[: x.ndim - params.rank], *params.output_shapes[0])),)


def transpose_params(node: Node) -> TransposeParams:
    """perm: INT32 of the input's rank, 1 to 8; negative axes count from the end.

    Errors: InvalidModel; UnsupportedModel for a scalar or a repeated axis, where the runtime reads foreign memory.
    Source: tflite/kernels/transpose.cc, Prepare, ResizeOutputTensor.
    """
    expect_counts(node, 2, 1)
    input = node.input(0)
    expect_same_type(node, input, node.outputs[0])
    rank = len(input.shape)
    if rank > 8:
        raise node.invalid(f"transposes tensors of at most 8 axes, not {rank}")
    given = vector(node, 1, "perm")
    if len(given) != rank:
        raise node.invalid(f"perm {list(given)} must name the {rank} axes of the input")
    perm = tuple(axis_from_end(node, axis, rank) for axis in given)
    if rank == 0 or len(set(perm)) != rank:
        raise node.unsupported(f"perm {list(given)} is no permutation of {rank} axes, which has no defined result")
    return TransposeParams(perm, (tuple(input.shape[axis] for axis in perm),))


def transpose(params: TransposeParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """output[i, j, ...] = input[..., at axis perm[0] i, at axis perm[1] j, ...].

    Source: tflite/kernels/internal/reference/transpose.h, Transpose.
    """
    x = present(arrays)
    leading = range(x.ndim - len(params.perm))
    return (permuted(x, (*leading, *(axis + x.ndim for axis in params.perm))),)


def permuted(x: Array, axes: tuple[int, ...]) -> Array:
    """x.transpose(axes) in row-major order.

    NumPy copies it element by element. Several times faster is to move the last axes as one element where they stay the
    last, and to fill a short last axis one index after the other.
    """
    shape = tuple(x.shape[axis] for axis in axes)
    moving = next((count for count in range(x.ndim, 0, -1) if axes[count - 1] != count - 1), 0)
    if moving == 0 or x.size == 0:
        return x.reshape(shape)
    if moving < x.ndim:
        run = np.dtype((np.void, prod(shape[moving:]) * x.itemsize))
        runs = np.ascontiguousarray(x).reshape(*x.shape[:moving], -1).view(run)[..., 0]
        return np.ascontiguousarray(runs.transpose(axes[:moving]))[..., np.newaxis].view(x.dtype).reshape(shape)
    if shape[-1] > 16:
        return np.ascontiguousarray(x.transpose(axes))
    result, source = np.empty(shape, x.dtype), x.transpose(axes)
    for index in range(shape[-1]):
        result[..., index] = source[..., index]
    return result


def tile_params(node: Node) -> TileParams:
    """multiples: INT32 or INT64, one per axis, none negative; 0 gives an empty tensor.

    Errors: InvalidModel. Source: tflite/kernels/tile.cc, Prepare, MultiplyShapeDims.
    """
    expect_counts(node, 2, 1)
    input = node.input(0)
    expect_same_type(node, input, node.outputs[0])
    multiples = integers(node, 1, "the multiples", ("INT32", "INT64"))
    if len(multiples) != len(input.shape):
        raise node.invalid(f"the multiples {list(multiples)} must be one per axis of the input {list(input.shape)}")
    shape = tuple(size * multiple for size, multiple in zip(input.shape, multiples, strict=True))
    if any(multiple < 0 for multiple in multiples) or any(size > INT32_MAX for size in shape):
        raise node.invalid(f"the multiples {list(multiples)} must be 0 or more and keep every size within int32")
    return TileParams(multiples, (shape,))


def tile(params: TileParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """output[i] = input[i mod size] along every axis. Source: tflite/kernels/tile.cc, Tile."""
    x = present(arrays)
    return (np.tile(x, (*(1,) * (x.ndim - len(params.multiples)), *params.multiples)),)


def broadcast_to_params(node: Node) -> BroadcastToParams:
    """shape: an INT32 or INT64 vector, to which the input's shape broadcasts from the last axis on.

    Errors: InvalidModel. Source: tflite/kernels/broadcast_to.cc, Prepare, ResizeOutputTensor.
    """
    expect_counts(node, 2, 1)
    input = node.input(0)
    expect_same_type(node, input, node.outputs[0])
    shape = vector(node, 1, "the shape", ("INT32", "INT64"))
    rank = len(input.shape)
    aligned = (*(1,) * (len(shape) - rank), *input.shape)
    fits = rank <= len(shape) and all(have in (1, want) for have, want in zip(aligned, shape, strict=True))
    if not fits or any(not 0 <= size <= INT32_MAX for size in shape):
        raise node.invalid(f"the input {list(input.shape)} does not broadcast to {list(shape)}")
    return BroadcastToParams(rank, aligned, (shape,))


def broadcast_to(params: BroadcastToParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """The input repeated along its axes of 1. Source: tflite/kernels/internal/reference/broadcast_to.h, BroadcastTo."""
    x = present(arrays)
    leading = x.shape[: x.ndim - params.rank]
    shape = (*leading, *params.output_shapes[0])
    return (np.broadcast_to(x.reshape((*leading, *params.aligned)), shape).copy(),)


def reverse_params(node: Node) -> ReverseParams:
    """axes: an INT32 vector of different axes that are neighbours, in any order; the input has at most 8 axes.

    Errors: InvalidModel; UnsupportedModel without axes or with an empty one behind them, which crashes the runtime.
    Source: tflite/kernels/reverse.cc, Prepare, Eval; internal/reference/reverse.h, Reverse.
    """
    expect_counts(node, 2, 1)
    input = node.input(0)
    expect_same_type(node, input, node.outputs[0])
    rank = len(input.shape)
    given = vector(node, 1, "the axes")
    if rank > 8 or len(given) > rank:
        raise node.invalid(f"reverses at most all of at most 8 axes, not {len(given)} of {rank}")
    if not given:
        raise node.unsupported("no axes to reverse are given; the runtime reads foreign memory then")
    axes = sorted(axis_from_end(node, axis, rank) for axis in given)
    if axes != list(range(axes[0], axes[0] + len(axes))):
        raise node.invalid(f"the axes {list(given)} must be different and neighbours")
    if 0 in input.shape[rank + axes[-1] + 1 :] and 0 not in input.shape[: rank + axes[-1] + 1]:
        raise node.unsupported(
            f"an empty axis of {list(input.shape)} behind the axes {list(given)} crashes the runtime"
        )
    return ReverseParams(tuple(axes), (input.shape,))


def reverse(params: ReverseParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """output[i] = input[size - 1 - i] along the axes. Source: tflite/kernels/internal/reference/reverse.h, Reverse."""
    return (np.asarray(np.flip(present(arrays), params.axes), order="C"),)
