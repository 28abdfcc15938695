"""What the elementwise families share: broadcasting, tables over all codes of 8 or 16 bits, checked multipliers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import numpy as np

from refquant.arithmetic.fixed_point import INT32_MIN, Int64
from refquant.arithmetic.requantize import Record, Requantizer, requantize_and_clamp
from refquant.errors import InvalidInput
from refquant.kernels.activation import fused_range
from refquant.kernels.checks import expect_counts, expect_same_type
from refquant.kernels.kernel import Node, Operand, Shape
from refquant.kernels.output_stage import OutputStage
from refquant.model.graph import DTYPES, Array

MAX_BROADCAST_RANK = 8  # TFLite's broadcasting loop ends the process beyond

# Elements from which making a table of all 65,536 pairs of codes and looking results up takes less time than computing
# them; and elements of one output from which it is made once, when the operator is prepared.
TABLE_FROM = 1 << 15
PREPARED_FROM = 1 << 12

PIECE = 1 << 13  # elements


Bounds = tuple[int | None, int | None]
"""The least and the largest that is allowed; None: no bound."""


class PairsOfCodes(Protocol):
    """The params of an op of two 8-bit inputs."""

    @property
    def pairs(self) -> Array | None:
        """The results for all pairs of codes, by byte of the first * 256 + byte of the second; None: not made."""
        ...

    @property
    def output_shapes(self) -> tuple[Shape]:
        """The shape of the output."""
        ...


PairParams = TypeVar("PairParams", bound=PairsOfCodes)


@dataclass(frozen=True, slots=True)
class ShapeParams:
    """An op that has nothing but shapes to decode."""

    output_shapes: tuple[Shape]


@dataclass(frozen=True, slots=True)
class LookupParams:
    """A unary op on codes of 8 or 16 bits as its table: a result for each, the codes read as unsigned numbers.

    (int8: 0 to 127, then -128 to -1.) Codes outside of `allowed` are refused in a run, with `refusal` as the reason.
    `knots`: the 513 values between which TFLite's kernel interpolates, where it does so; their results are in `table`.
    """

    table: Array
    output_shapes: tuple[Shape]
    allowed: Bounds = (None, None)
    refusal: str = ""
    knots: Array | None = None


def all_codes(type: str) -> Array:
    """All codes of a type of 8 or 16 bits in the order of the unsigned numbers that they are bit for bit."""
    dtype = DTYPES[type]
    return np.arange(1 << 8 * dtype.itemsize, dtype=f"u{dtype.itemsize}").view(dtype)


def code_range(type: str) -> tuple[int, int]:
    """The least and the largest code of an integer type."""
    info = np.iinfo(DTYPES[type])
    return int(info.min), int(info.max)


def broadcast_shape(node: Node, a: Operand, b: Operand) -> Shape:
    """The shape in which a and b meet: NumPy's rule, over at most 8 dimensions unless the shapes are equal.

    Errors: InvalidModel, UnsupportedModel.
    Source: tflite/kernels/kernel_util.cc, CalculateShapeForBroadcast; internal/reference/broadcast_loop.h.
    """
    if a.shape == b.shape:
        return a.shape
    try:
        shape = np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        raise node.invalid(f"the shapes {list(a.shape)} and {list(b.shape)} do not broadcast to each other") from None
    if len(shape) > MAX_BROADCAST_RANK:
        raise node.unsupported(
            f"broadcasts {list(a.shape)} and {list(b.shape)} over {len(shape)} dimensions; TFLite's kernel ends the "
            f"process beyond {MAX_BROADCAST_RANK}"
        )
    return shape


def expect_binary(node: Node) -> tuple[Operand, Operand, Shape]:
    """The two inputs of one type, and the shape in which they meet. Errors: InvalidModel."""
    expect_counts(node, 2, 1)
    a, b = node.input(0), node.input(1)
    expect_same_type(node, a, b)
    return a, b, broadcast_shape(node, a, b)


def expect_unary(node: Node) -> Operand:
    """The one input, of the output's type. Errors: InvalidModel."""
    expect_counts(node, 1, 1)
    expect_same_type(node, node.input(0), node.outputs[0])
    return node.input(0)


def positive_scale(node: Node, operand: Operand) -> tuple[np.float32, int]:
    """(scale as float32, zero_point) of a per-tensor quantized operand. InvalidModel unless the scale is positive."""
    scale, zero_point = node.scale_and_zero_point(operand)
    if not scale > 0:
        raise node.invalid(f"the scale of '{operand.name}' must be positive, not {scale!r}")
    return np.float32(scale), zero_point


def expect_scaled_binary(node: Node) -> tuple[Shape, list[tuple[np.float32, int]]]:
    """(the shape in which the two inputs meet, (scale, zero_point) of both and of the output, which are of one type).

    Errors: InvalidModel.
    """
    a, b, shape = expect_binary(node)
    expect_same_type(node, a, node.outputs[0])
    return shape, [positive_scale(node, operand) for operand in (a, b, node.outputs[0])]


def scale_product(node: Node, *factors: np.float32) -> np.floating[Any]:
    """The product of `factors`, each step rounded to the runtime's "scales.type"; it may be inf."""
    wide: type[np.floating[Any]] = node.arithmetic["scales.type"]
    product = wide(factors[0])
    with np.errstate(all="ignore"):
        for factor in factors[1:]:
            product = product * wide(factor)
    return product


def scale_ratio(node: Node, *factors: np.float32, over: np.float32) -> np.floating[Any]:
    """scale_product of `factors`, divided by `over` in the same type; it may be inf."""
    with np.errstate(all="ignore"):
        return scale_product(node, *factors) / scale_product(node, over)


def fixed_point(node: Node, what: str, real: float | np.floating[Any]) -> Record:
    """`real` as the record of the runtime's "<OP>.requantizer"; UnsupportedModel if it cannot be one.

    what: the words for the multiplier in an error message.
    """
    requantizer: Requantizer = node.arithmetic[f"{node.op}.requantizer"]
    if not (math.isfinite(real) and real >= 0):
        raise node.unsupported(f"{what} is {float(real)!r}, which is no multiplier; check the scales of the tensors")
    return requantizer.prepare(float(real), node.place)


def fused_stage(node: Node, what: str, real: float | np.floating[Any]) -> OutputStage:
    """The output stage with the multiplier `real`, the parameters of output 0 and the clamp of the fused activation."""
    record = fixed_point(node, what, real)
    _, zero_point = positive_scale(node, node.outputs[0])
    requantizer: Requantizer = node.arithmetic[f"{node.op}.requantizer"]
    dtype = DTYPES[node.outputs[0].type]
    return OutputStage(requantizer, record, zero_point, *fused_range(node), dtype, node.narrow)


def finish(stage: OutputStage, accumulator: Array) -> Array:
    """The output codes of an accumulator of int32 values, of any shape and integer dtype."""
    return requantize_and_clamp(
        stage.requantizer, accumulator, stage.record, stage.zero_point, stage.low, stage.high, stage.dtype
    )


def table_params(
    node: Node, compute: Callable[[Int64], Array], allowed: Bounds = (None, None), refusal: str = ""
) -> LookupParams:
    """LookupParams whose table is compute(all codes as int64), cast to the output's type."""
    output = node.outputs[0]
    table = np.asarray(compute(all_codes(node.input(0).type).astype(np.int64))).astype(DTYPES[output.type])
    return LookupParams(table, (node.input(0).shape,), allowed, f"{node.place}: {refusal}")


def look_up(params: LookupParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """output = table[code as an unsigned number].

    arrays: int8, uint8 or int16 of any shape. Returns the table's type in the same shape.
    Errors: InvalidInput for a code outside of `allowed`.
    Source: tflite/kernels/internal/reference/integer_ops/lut.h, LookupTable.
    """
    (x,) = arrays
    assert x is not None
    least, largest = params.allowed
    if x.size and ((least is not None and x.min() < least) or (largest is not None and x.max() > largest)):
        raise InvalidInput(params.refusal)
    return (np.asarray(params.table.take(x.view(f"u{x.itemsize}"))),)


def clamp_in_place(x: Array, low: Any, high: Any) -> None:
    """x = min(max(x, low), high) as C++ computes it: a NaN and a -0.0 at a low bound of 0.0 stay what they are.

    x: int32, int64, uint32 or float32; high is not 0.
    """
    if x.dtype == np.float32 and low == 0 and (x.view(np.int32) == INT32_MIN).any():
        np.putmask(x, x < low, low)  # NumPy's maximum of -0.0 and 0.0 may be either
    else:
        np.maximum(x, low, out=x)
    np.minimum(x, high, out=x)


def in_pieces(function: Callable[[Array], Array], x: Array) -> Array:
    """function(x), elementwise and of many steps, piece by piece: its intermediates stay in the cache."""
    if x.size <= PIECE:
        return np.asarray(function(np.asarray(x)))
    return np.concatenate([function(piece) for piece in _pieces(x)]).reshape(x.shape)


def with_pairs(compute: Callable[[PairParams, Array, Array], Array], params: PairParams, type: str) -> PairParams:
    """The params, with the table of all pairs of codes of `type` where the output is large enough for it to pay.

    There is none for 16-bit codes: it would have 2^32 entries.
    """
    if math.prod(params.output_shapes[0]) < PREPARED_FROM or DTYPES[type].itemsize > 1:
        return params
    return replace(params, pairs=_table_of_pairs(compute, params, DTYPES[type]))  # type: ignore[type-var]


def _table_of_pairs(compute: Callable[[PairParams, Array, Array], Array], params: PairParams, dtype: Any) -> Array:
    codes = np.arange(256, dtype=np.uint8).view(dtype)
    return compute(params, codes[:, np.newaxis], codes).reshape(-1)


def _in_pairs_of_pieces(
    compute: Callable[[PairParams, Array, Array], Array], params: PairParams, a: Array, b: Array
) -> Array:
    """compute(params, a, b), piece by piece where the shapes are one: its intermediates stay in the cache."""
    if a.shape != b.shape or a.size <= PIECE:
        return compute(params, a, b)
    pieces = zip(_pieces(a), _pieces(b), strict=True)
    return np.concatenate([compute(params, x, y) for x, y in pieces]).reshape(a.shape)


def _pieces(x: Array) -> list[Array]:
    flat = x.reshape(-1)
    return [flat[start : start + PIECE] for start in range(0, flat.size, PIECE)]


def by_pairs(
    compute: Callable[[PairParams, Array, Array], Array], params: PairParams, arrays: Sequence[Array | None]
) -> tuple[Array]:
    """compute(params, a, b), for large 8-bit arrays by way of its results for all 65,536 pairs of codes.

    compute: an elementwise function that broadcasts a against b.
    """
    a, b = arrays
    assert a is not None
    assert b is not None
    if a.itemsize > 1:
        return (_in_pairs_of_pieces(compute, params, a, b),)
    table = params.pairs
    if table is None and math.prod(np.broadcast_shapes(a.shape, b.shape)) < TABLE_FROM:
        return (compute(params, a, b),)
    if table is None:
        table = _table_of_pairs(compute, params, a.dtype)
    pair = a.view(np.uint8).astype(np.uint16) << 8
    return (table.take(pair | b.view(np.uint8)),)
