"""Tensors made from shapes and numbers: SHAPE, RANK, FILL, RANGE, ZEROS_LIKE, ONE_HOT, BROADCAST_ARGS, and CUMSUM."""

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
    expect_zero_zero_point,
    one_integer,
    per_sample,
    present,
    vector,
    without_samples,
)
from refquant.kernels.kernel import Node, Operand, Shape
from refquant.model.graph import DTYPES, Array


@dataclass(frozen=True, slots=True)
class ConstantParams:
    """SHAPE, RANK, ZEROS_LIKE: the result follows from the shape of the input."""

    result: Array
    output_shapes: tuple[Shape]


@dataclass(frozen=True, slots=True)
class FillParams:
    """Only the shape."""

    output_shapes: tuple[Shape]


@dataclass(frozen=True, slots=True)
class RangeParams:
    """start, start + delta, ...: `count` numbers, each the one before plus delta, in the type of start."""

    start: Array
    delta: Array
    count: int
    output_shapes: tuple[Shape]


@dataclass(frozen=True, slots=True)
class OneHotParams:
    """`axis`: where the new axis of `depth` stands, counted from the end; `rank` and `shape` are the indices'."""

    axis: int
    depth: int
    rank: int
    shape: Shape
    output_shapes: tuple[Shape]


@dataclass(frozen=True, slots=True)
class CumsumParams:
    """`axis` is counted from the end."""

    axis: int
    exclusive: bool
    reverse: bool
    output_shapes: tuple[Shape]


def shape_params(node: Node) -> ConstantParams:
    """out_type is INT32 or INT64, and the output has it.

    Errors: InvalidModel. Source: tflite/kernels/shape.cc, Prepare.
    """
    expect_counts(node, 1, 1)
    shape, out_type = node.input(0).shape, node.options.get("out_type")
    if out_type not in ("INT32", "INT64") or node.outputs[0].type != out_type:
        raise node.invalid(f"out_type must be INT32 or INT64 and the output's type, not {out_type}")
    return ConstantParams(np.array(shape, DTYPES[str(out_type)]), ((len(shape),),))


def rank_params(node: Node) -> ConstantParams:
    """The output is an INT32 scalar. Errors: InvalidModel. Source: tflite/kernels/rank.cc, Prepare."""
    expect_counts(node, 1, 1)
    if node.outputs[0].type != "INT32":
        raise node.invalid(f"the output must be INT32, not {node.outputs[0].type}")
    return ConstantParams(np.array(len(node.input(0).shape), np.int32), ((),))


def zeros_like_params(node: Node) -> ConstantParams:
    """The output has the input's type. Errors: InvalidModel. Source: tflite/kernels/zeros_like.cc, Prepare."""
    expect_counts(node, 1, 1)
    input = node.input(0)
    expect_same_type(node, input, node.outputs[0])
    return ConstantParams(np.zeros(input.shape, DTYPES[input.type]), (input.shape,))


def constant(params: ConstantParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """The shape of the input (SHAPE), its rank (RANK), or zeros of its shape (ZEROS_LIKE)."""
    return (params.result,)


def fill_params(node: Node) -> FillParams:
    """dims: an INT32 or INT64 vector of sizes; value: a scalar with the output's type and quantization.

    Errors: InvalidModel. Source: tflite/kernels/fill.cc, Prepare, ResizeOutputImpl.
    """
    expect_counts(node, 2, 1)
    value, output = node.input(1), node.outputs[0]
    expect_same_type(node, value, output)
    expect_equal_parameters(node, value, output)
    expect_zero_zero_point(node, value)
    dims = vector(node, 0, "dims", ("INT32", "INT64"))
    if any(not 0 <= size <= INT32_MAX for size in dims) or value.shape != ():
        raise node.invalid(f"dims {list(dims)} must be 0 or more, and the value {list(value.shape)} a scalar")
    return FillParams((dims,))


def fill(params: FillParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """The value in every place. arrays: None and the value. Source: tflite/kernels/internal/reference/fill.h, Fill."""
    value = present(arrays, 1)
    shape = params.output_shapes[0]
    return (np.broadcast_to(value.reshape((*value.shape, *(1,) * len(shape))), (*value.shape, *shape)).copy(),)


def range_params(node: Node) -> RangeParams:
    """start, limit and delta: scalars of one type, INT32, INT64 or FLOAT32; limit lies in delta's direction.

    count = (|limit - start| + |delta| - 1) / |delta| for integers, ceil(|(limit - start) / delta|) in float32.
    Errors: InvalidModel; UnsupportedModel where the integers of the count overflow their type.
    Source: tflite/kernels/range.cc, Prepare, GetSize.
    """
    expect_counts(node, 3, 1)
    operands = [node.input(index) for index in range(3)]
    for operand in operands:
        expect_same_type(node, operand, node.outputs[0])
        if operand.shape != ():
            raise node.invalid(f"start, limit and delta must be scalars, but '{operand.name}' is {list(operand.shape)}")
    start, limit, delta = (node.value(index) for index in range(3))
    if not ((start >= limit and delta < 0) or (start <= limit and delta > 0)):
        raise node.invalid(f"from {start} one does not come to {limit} in steps of {delta}")
    count = _float_count(start, limit, delta) if start.dtype.kind == "f" else _integer_count(node, start, limit, delta)
    if not 0 <= count <= INT32_MAX:
        raise node.unsupported(f"from {start} to {limit} in steps of {delta} there are more than int32 numbers")
    return RangeParams(start, delta, int(count), ((int(count),),))


def _float_count(start: Array, limit: Array, delta: Array) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.ceil(np.abs((limit - start) / delta)))


def _integer_count(node: Node, start: Array, limit: Array, delta: Array) -> int:
    distance, step = abs(int(limit) - int(start)), abs(int(delta))
    if distance + step - 1 > np.iinfo(start.dtype).max:
        raise node.unsupported(f"the count from {start} to {limit} in steps of {delta} overflows {start.dtype}")
    return (distance + step - 1) // step


def arange(params: RangeParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """start, start + delta, (start + delta) + delta, ... Source: tflite/kernels/range.cc, CalculateRange."""
    steps = np.full(params.count, params.delta)
    steps[:1] = params.start
    return (np.add.accumulate(steps, dtype=steps.dtype),)


def one_hot_params(node: Node) -> OneHotParams:
    """indices INT32 or INT64; depth one INT32; one on and one off value of the output's type; axis -1: the last.

    Errors: InvalidModel. Source: tflite/kernels/one_hot.cc, Prepare, ResizeOutputTensor.
    """
    expect_counts(node, 4, 1)
    indices, on, off = node.input(0), node.input(2), node.input(3)
    expect_same_type(node, on, off)
    expect_same_type(node, on, node.outputs[0])
    if indices.type not in ("INT32", "INT64"):
        raise node.invalid(f"the indices must be INT32 or INT64, not {indices.type}")
    depth, rank = one_integer(node, 1, "the depth"), len(indices.shape)
    axis = int(node.options.get("axis", 0))
    at = rank if axis == -1 else axis
    if not 0 <= at <= rank or depth < 0 or prod(on.shape) != 1 or prod(off.shape) != 1:
        raise node.invalid(
            f"needs an axis of -1 to {rank}, a depth of 0 or more, and one on and one off value; the axis is {axis}, "
            f"the depth {depth}, the values are {list(on.shape)} and {list(off.shape)}"
        )
    shape = (*indices.shape[:at], 1, *indices.shape[at:])
    rank = max(rank, len(on.shape), len(off.shape))
    result = (*indices.shape[:at], depth, *indices.shape[at:])
    return OneHotParams(at - len(result), depth, rank, shape, (result,))


def one_hot(params: OneHotParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """on where the low 32 bits of indices[..., k] equal the index along the new axis, else off.

    arrays: indices int32 or int64, None, on and off value. Source: tflite/kernels/one_hot.cc, OneHotComputeImpl.
    """
    ones = (1,) * len(params.shape)
    operands = [arrays[0], arrays[2], arrays[3]]
    (indices, on, off), batched = per_sample(operands, (params.shape, ones, ones), params.rank)
    classes = np.arange(params.depth, dtype=np.int32).reshape(-1, *(1,) * (-1 - params.axis))
    return (without_samples(np.where(indices.astype(np.int32) == classes, on, off), batched),)


def cumsum_params(node: Node) -> CumsumParams:
    """axis: one INT32 element; negative ones count from the end.

    Errors: InvalidModel. Source: tflite/kernels/cumsum.cc, Prepare, Eval.
    """
    expect_counts(node, 2, 1)
    input = node.input(0)
    expect_same_type(node, input, node.outputs[0])
    axis = axis_from_end(node, one_integer(node, 1, "the axis"), len(input.shape))
    options = node.options
    exclusive, reverse = bool(options.get("exclusive", False)), bool(options.get("reverse", False))
    return CumsumParams(axis, exclusive, reverse, (input.shape,))


def cumsum(params: CumsumParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """output[i] = 0 + input[0] + ... + input[i], without input[i] if exclusive, from the end if reverse; integers wrap.

    arrays: the input, int32, int64 or float32. Source: tflite/kernels/internal/optimized/optimized_ops.h, CumsumImpl.
    """
    x = np.moveaxis(present(arrays), params.axis, -1)
    x = x[..., ::-1] if params.reverse else x
    sums = np.zeros((*x.shape[:-1], x.shape[-1] + 1), x.dtype)
    sums[..., 1:] = x
    with np.errstate(over="ignore", invalid="ignore"):
        np.add.accumulate(sums, axis=-1, dtype=x.dtype, out=sums)
    sums = sums[..., :-1] if params.exclusive else sums[..., 1:]
    sums = sums[..., ::-1] if params.reverse else sums
    return (np.asarray(np.moveaxis(sums, -1, params.axis), order="C"),)


def broadcast_args_params(node: Node) -> ConstantParams:
    """Two vectors of one type, INT32 or INT64, which are shapes that broadcast to each other.

    Errors: InvalidModel. Source: tflite/kernels/broadcast_args.cc, Prepare; internal/reference/broadcast_args.h.
    """
    expect_counts(node, 2, 1)
    shapes: list[Operand] = [node.input(0), node.input(1)]
    for operand in shapes:
        expect_same_type(node, operand, node.outputs[0])
    a, b = (vector(node, index, "the shape", ("INT32", "INT64")) for index in (0, 1))
    rank = max(len(a), len(b))
    a, b = (*(1,) * (rank - len(a)), *a), (*(1,) * (rank - len(b)), *b)
    if any(m != n and 1 not in (m, n) for m, n in zip(a, b, strict=True)):
        raise node.invalid(f"the shapes {list(a)} and {list(b)} do not broadcast to each other")
    result = [n if m == 1 else m for m, n in zip(a, b, strict=True)]
    return ConstantParams(np.array(result, DTYPES[shapes[0].type]), ((rank,),))
