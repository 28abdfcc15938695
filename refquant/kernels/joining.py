"""One tensor out of several: CONCATENATION, PACK, SELECT, SELECT_V2.

Every kernel takes `arrays`: the inputs, of one type (the condition is bool), and returns that type.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from refquant.arithmetic.fixed_point import INT32_MAX
from refquant.arithmetic.multiplier import round_half_away
from refquant.kernels.checks import expect_counts, expect_same_type, legacy_parameters
from refquant.kernels.index_operands import (
    axis_from_end,
    expect_equal_parameters,
    expect_zero_zero_point,
    per_sample,
    without_samples,
)
from refquant.kernels.kernel import Node, Operand, Shape
from refquant.model.graph import Array


@dataclass(frozen=True, slots=True)
class JoinParams:
    """CONCATENATION, PACK: `shapes` are those in which the inputs are joined along `axis`, counted from the end.

    `tables`: for each input the output's code for every code of uint8, or None where codes are copied.
    """

    axis: int
    rank: int
    shapes: tuple[Shape, ...]
    output_shapes: tuple[Shape]
    tables: tuple[Array | None, ...]


@dataclass(frozen=True, slots=True)
class SelectParams:
    """`shapes`: condition, x and y with axes of 1 put in, so that they broadcast; `rank`: the operands' largest."""

    rank: int
    shapes: tuple[Shape, Shape, Shape]
    output_shapes: tuple[Shape]


def concatenation_params(node: Node) -> JoinParams:
    """Inputs of one type and rank that agree in every axis but `axis`; constant scalars give a vector.

    INT8 moves codes: every scale and zero point must equal the output's. INT16 has zero points of 0. UINT8 rescales;
    but constant scalars are copied. Errors: InvalidModel; UnsupportedModel for a UINT8 input whose rescaled codes leave
    int32. Source: tflite/kernels/concatenation.cc, Prepare.
    """
    expect_counts(node, max(1, len(node.inputs)), 1)
    inputs, output = [node.input(index) for index in range(len(node.inputs))], node.outputs[0]
    axis, activation = int(node.options.get("axis", 0)), node.options.get("fused_activation_function", "NONE")
    if activation != "NONE":
        raise node.invalid(f"cannot fuse the activation {activation}")
    for operand in (*inputs[1:], output):
        expect_same_type(node, inputs[0], operand)
    _check_parameters(node, inputs, output)
    shapes = [operand.shape for operand in inputs]
    if axis == 0 and all(operand.shape == () and operand.value is not None for operand in inputs):
        return JoinParams(-1, 0, ((1,),) * len(inputs), ((len(inputs),),), (None,) * len(inputs))
    rank = len(shapes[0])
    if rank == 0:
        raise node.invalid("joins scalars only if all are constants, along axis 0")
    at = axis_from_end(node, axis, rank) + rank
    if any((*shape[:at], *shape[at + 1 :]) != (*shapes[0][:at], *shapes[0][at + 1 :]) for shape in shapes) or any(
        len(shape) != rank for shape in shapes
    ):
        raise node.invalid(f"the inputs {[list(shape) for shape in shapes]} may differ only in axis {at}")
    result = (*shapes[0][:at], sum(shape[at] for shape in shapes), *shapes[0][at + 1 :])
    return JoinParams(at - rank, rank, tuple(shapes), (result,), tuple(_rescaling(node, input) for input in inputs))


def _check_parameters(node: Node, inputs: Sequence[Operand], output: Operand) -> None:
    for operand in inputs:
        if operand.type == "INT8":
            expect_equal_parameters(node, operand, output)
        expect_zero_zero_point(node, operand)
    expect_zero_zero_point(node, output)


def _rescaling(node: Node, input: Operand) -> Array | None:
    """round(code * factor - zero_point * factor) + output zero_point for each code, factor = scale * (1 / output's).

    In float32, half-way values away from zero, clamped; None for equal parameters, and for other types than UINT8.
    Source: tflite/kernels/internal/reference/concatenation.h, ConcatenationWithScaling.
    """
    (scale, zero_point), (output_scale, output_zero_point) = map(legacy_parameters, (input, node.outputs[0]))
    if input.type != "UINT8" or (scale, zero_point) == (output_scale, output_zero_point):
        return None
    with np.errstate(all="ignore"):
        factor = np.float32(scale) * (np.float32(1) / np.float32(output_scale))
        real = np.arange(256).astype(np.float32) * factor + np.float32(-zero_point) * factor
    if not (np.abs(real) < INT32_MAX - 256).all():
        raise node.unsupported(f"codes of '{input.name}', rescaled to '{node.outputs[0].name}', leave int32")
    return np.clip(round_half_away(real) + output_zero_point, 0, 255).astype(np.uint8)


def pack_params(node: Node) -> JoinParams:
    """values_count inputs of one shape, type and quantization, joined along a new axis.

    Errors: InvalidModel. Source: tflite/kernels/pack.cc, Prepare.
    """
    count = int(node.options.get("values_count", 0))
    expect_counts(node, max(count, 1), 1)
    inputs, output = [node.input(index) for index in range(count)], node.outputs[0]
    shape = inputs[0].shape
    rank = len(shape) + 1
    at = axis_from_end(node, int(node.options.get("axis", 0)), rank) + rank
    for operand in inputs:
        expect_same_type(node, operand, output)
        expect_equal_parameters(node, operand, output)
        if operand.shape != shape:
            raise node.invalid(f"packs inputs of one shape, not {list(shape)} and {list(operand.shape)}")
    shapes = ((*shape[:at], 1, *shape[at:]),) * count
    return JoinParams(at - rank, len(shape), shapes, ((*shape[:at], count, *shape[at:]),), (None,) * count)


def join(params: JoinParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """The inputs one behind the other along the axis.

    Source: tflite/kernels/internal/reference/concatenation.h, Concatenation, ConcatenationWithScaling; reference_ops.h,
    Pack.
    """
    arrays = [
        x if x is None or table is None else table.take(x) for x, table in zip(arrays, params.tables, strict=True)
    ]
    parts, batched = per_sample(arrays, params.shapes, params.rank)
    samples = max(len(part) for part in parts) if batched else 1
    parts = [np.broadcast_to(part, (samples, *part.shape[1:])) for part in parts]
    return (without_samples(np.concatenate(parts, axis=params.axis), batched),)


def select_params(node: Node) -> SelectParams:
    """x and y of one shape; the condition has it too, or is a scalar, or a vector along axis 0.

    Errors: InvalidModel. Source: tflite/kernels/select.cc, SelectPrepare<kVersionOne>.
    """
    condition, x, y = _select_operands(node)
    if _all_single(node, (condition, x, y)):
        return SelectParams(_rank(condition, x, y), ((), (), ()), (node.outputs[0].shape,))
    per_row = len(condition.shape) == 1 and condition.shape == x.shape[:1]
    if x.shape != y.shape or not (condition.shape in ((), x.shape) or per_row):
        raise node.invalid(
            f"x {list(x.shape)} and y {list(y.shape)} must have one shape, and the condition {list(condition.shape)} "
            "must have it too, be a scalar, or a vector along axis 0"
        )
    shape = (*condition.shape, *(1,) * (len(x.shape) - 1)) if per_row else condition.shape
    aligned = (*(1,) * (len(x.shape) - len(shape)), *shape)
    return SelectParams(_rank(condition, x, y), (aligned, x.shape, x.shape), (x.shape,))


def select_v2_params(node: Node) -> SelectParams:
    """Condition, x and y broadcast to each other, in at most 8 axes.

    Errors: InvalidModel. Source: tflite/kernels/select.cc, SelectPrepare<kVersionTwo>.
    """
    operands = _select_operands(node)
    rank = _rank(*operands)
    if _all_single(node, operands):
        return SelectParams(rank, ((), (), ()), (node.outputs[0].shape,))
    shapes = [operand.shape for operand in operands]
    try:
        result = np.broadcast_shapes(*shapes)
    except ValueError:
        raise node.invalid(f"the shapes {[list(shape) for shape in shapes]} do not broadcast to each other") from None
    if rank > 8 and len(set(shapes)) > 1:
        raise node.invalid(f"broadcasts in at most 8 axes, not {rank}")
    condition, x, y = ((*(1,) * (rank - len(shape)), *shape) for shape in shapes)
    return SelectParams(rank, (condition, x, y), (result,))


def _select_operands(node: Node) -> tuple[Operand, Operand, Operand]:
    expect_counts(node, 3, 1)
    condition, x, y = node.input(0), node.input(1), node.input(2)
    if condition.type != "BOOL":
        raise node.invalid(f"the condition must be BOOL, not {condition.type}")
    expect_same_type(node, x, y)
    expect_same_type(node, x, node.outputs[0])
    return condition, x, y


def _rank(*operands: Operand) -> int:
    return max(len(operand.shape) for operand in operands)


def _all_single(node: Node, operands: tuple[Operand, ...]) -> bool:
    """One element everywhere: then the output keeps the shape that the file declares."""
    return all(prod(operand.shape) == 1 for operand in (*operands, node.outputs[0]))


def select(params: SelectParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """output = x where the condition is true, else y.

    Source: tflite/kernels/internal/reference/select.h, Select, RankOneSelect, BroadcastSelect5DSlow.
    """
    (condition, x, y), batched = per_sample(arrays, params.shapes, params.rank)
    chosen = np.where(condition, x, y)
    return (without_samples(chosen.reshape((len(chosen), *params.output_shapes[0])), batched),)
