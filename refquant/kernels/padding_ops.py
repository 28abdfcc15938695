"""Margins around a tensor: PAD, PADV2 with one value, MIRROR_PAD with the tensor's own elements.

Every kernel takes `arrays`: the input, of any type; further operands are parameters and None. It returns that type.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from refquant.arithmetic.fixed_point import INT32_MAX
from refquant.kernels.checks import expect_counts, expect_same_type, legacy_parameters
from refquant.kernels.index_operands import (
    expect_equal_parameters,
    expect_input_counts,
    expect_zero_zero_point,
    pairs,
    present,
)
from refquant.kernels.kernel import Node, Operand, Shape
from refquant.model.graph import DTYPES, Array

Paddings = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class PadParams:
    """How many elements of `value` stand before and behind each axis."""

    paddings: Paddings
    value: Array
    output_shapes: tuple[Shape]


@dataclass(frozen=True, slots=True)
class MirrorPadParams:
    """`coordinates`: for each axis, the input's index of every index of the output; None where they are the same."""

    coordinates: tuple[tuple[int, ...] | None, ...]
    output_shapes: tuple[Shape]


def pad_params(node: Node) -> PadParams:
    """PAD and PADV2: paddings is a matrix (rank, 2) of integers or BOOL; the value is an optional third operand.

    Without a value, 8- and 16-bit tensors are filled with the output's zero point if the input is quantized, all
    others with 0. A value must have the input's type, and the output's scale and zero point in the same case.
    Errors: InvalidModel. Source: tflite/kernels/pad.cc, Prepare, Eval, EvalInt.
    """
    expect_input_counts(node, (2, 3))
    input, output = node.input(0), node.outputs[0]
    expect_same_type(node, input, output)
    rank = len(input.shape)
    if rank > 5:
        raise node.invalid(f"pads tensors of at most 5 axes, not {rank}")
    paddings = pairs(node, 1, "paddings", rank, ("INT32", "INT64", "INT16", "INT8", "BOOL"))
    _check_paddings(node, paddings)
    value = _pad_value(node, input, output)
    return PadParams(paddings, np.array(value, DTYPES[input.type]), (_padded(node, input.shape, paddings),))


def pad_with_zeroed_params(node: Node) -> PadParams:
    """As pad_params, but a value of -0.0 fills as 0.0: zeros are written as bytes.

    Images of float16 padded in height and width alone keep -0.0. Errors: InvalidModel.
    Source: tflite/kernels/pad.cc, Eval; internal/optimized/optimized_ops.h, TypedMemset, PadImageStyle.
    """
    params = pad_params(node)
    image = len(params.paddings) == 4 and params.paddings[0] == params.paddings[3] == (0, 0)
    if params.value.dtype.kind != "f" or (params.value.dtype == np.float16 and image):
        return params
    return replace(params, value=params.value + params.value.dtype.type(0))


def _check_paddings(node: Node, paddings: Paddings) -> None:
    if any(not 0 <= amount <= INT32_MAX for pair in paddings for amount in pair):
        raise node.invalid(f"the paddings {paddings} must be 0 or more, within int32")


def _padded(node: Node, shape: Shape, paddings: Paddings) -> Shape:
    result = tuple(size + before + after for size, (before, after) in zip(shape, paddings, strict=True))
    if any(size > INT32_MAX for size in result):
        raise node.invalid(f"the padded shape {list(result)} leaves int32")
    return result


def _pad_value(node: Node, input: Operand, output: Operand) -> Array | int:
    value = node.optional(2)
    quantized = input.type == "UINT8" or (
        input.type in ("INT8", "INT16") and input.quantization is not None and len(input.quantization.scale) > 0
    )
    if value is None:
        return legacy_parameters(output)[1] if quantized else 0
    expect_same_type(node, input, value)
    if quantized:
        expect_equal_parameters(node, output, value)
    array = node.value(2)
    if array.size != 1:
        raise node.invalid(f"the value ('{value.name}') must hold one element, not {array.size}")
    return array.reshape(())


def pad(params: PadParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """The input with `value` around it. Source: tflite/kernels/internal/reference/pad.h, PadImpl."""
    x = present(arrays)
    leading = x.shape[: x.ndim - len(params.paddings)]
    output = np.full((*leading, *params.output_shapes[0]), params.value)
    sizes = x.shape[len(leading) :]
    inside: tuple[Any, ...] = tuple(slice(at, at + n) for n, (at, _) in zip(sizes, params.paddings, strict=True))
    output[(..., *inside)] = x
    return (output,)


def mirror_pad_params(node: Node) -> MirrorPadParams:
    """paddings: INT32 or INT64 (rank, 2), at most the size of the axis with mode SYMMETRIC, one less with REFLECT.

    Errors: InvalidModel. Source: tflite/kernels/mirror_pad.cc, Prepare, GetPaddedOutputShape, GetInputDimension.
    """
    expect_counts(node, 2, 1)
    input, output = node.input(0), node.outputs[0]
    expect_same_type(node, input, output)
    if input.type in ("INT8", "UINT8", "INT16"):
        expect_equal_parameters(node, input, output)
    expect_zero_zero_point(node, input)
    mode = node.options.get("mode", "REFLECT")
    if mode not in ("REFLECT", "SYMMETRIC"):
        raise node.invalid(f"the mode must be REFLECT or SYMMETRIC, not {mode}")
    offset = 1 if mode == "REFLECT" else 0
    paddings = pairs(node, 1, "paddings", len(input.shape), ("INT32", "INT64"))
    _check_paddings(node, paddings)
    if any(max(pair) > size - offset for size, pair in zip(input.shape, paddings, strict=True)):
        raise node.invalid(
            f"the paddings {paddings} of {list(input.shape)} must be at most the sizes"
            + (" less 1 in mode REFLECT" if offset else " in mode SYMMETRIC")
        )
    coordinates = tuple(
        _mirrored(size, before, after, offset) if before or after else None
        for size, (before, after) in zip(input.shape, paddings, strict=True)
    )
    return MirrorPadParams(coordinates, (_padded(node, input.shape, paddings),))


def _mirrored(size: int, before: int, after: int, offset: int) -> tuple[int, ...]:
    """REFLECT (offset 1) of 0 1 2: 2 1 | 0 1 2 | 1 0; SYMMETRIC (offset 0): 1 0 | 0 1 2 | 2 1."""
    front = range(before + offset - 1, offset - 1, -1)
    back = range(size - 1 - offset, size - 1 - offset - after, -1)
    return (*front, *range(size), *back)


def mirror_pad(params: MirrorPadParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """output[i, j, ...] = input[coordinates[0][i], coordinates[1][j], ...].

    Source: tflite/kernels/mirror_pad.cc, MirrorPadWorkerTask.
    """
    x = present(arrays)
    for axis, coordinates in enumerate(params.coordinates, -len(params.coordinates)):
        if coordinates is not None:
            x = np.take(x, coordinates, axis=axis)
    return (x,)
