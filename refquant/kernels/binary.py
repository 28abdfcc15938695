"""Elementwise ops of two inputs, which broadcast to each other.

ADD, SUB, MUL, DIV, SQUARED_DIFFERENCE, MAXIMUM, MINIMUM, FLOOR_DIV, FLOOR_MOD, ATAN2, the comparisons, LOGICAL_AND,
LOGICAL_OR, BITWISE_XOR and RIGHT_SHIFT; and ADD_N of many inputs of one shape. The quantized kernels take int8, uint8
or int16 codes; the plain ones integers, which wrap, float32, or bool.
Source: tflite/kernels/add.cc, sub.cc, mul.cc, div.cc, squared_difference.cc, maximum_minimum.cc, floor_div.cc,
floor_mod.cc, comparisons.cc, logical.cc, atan2.cc, bitwise_xor.cc, right_shift.cc, add_n.cc.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from refquant.arithmetic.fixed_point import (
    Int64,
    count_leading_zeros,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
)
from refquant.arithmetic.inverse import reciprocal
from refquant.arithmetic.multiplier import quantize_multiplier
from refquant.arithmetic.requantize import Record, Requantizer
from refquant.arithmetic.trigonometry import atan2f
from refquant.errors import InvalidInput
from refquant.kernels.activation import REAL_RANGES, fused_float_range, fused_range
from refquant.kernels.checks import expect_same_type
from refquant.kernels.elementwise import (
    all_codes,
    by_pairs,
    clamp_in_place,
    expect_binary,
    expect_scaled_binary,
    finish,
    fixed_point,
    fused_stage,
    positive_scale,
    scale_product,
    scale_ratio,
    with_pairs,
)
from refquant.kernels.kernel import Node, Operand, Shape
from refquant.kernels.output_stage import OutputStage
from refquant.model.graph import DTYPES, Array

Function = Callable[[Array, Array], Array]

# The type of the codes -> the bits by which ADD and SUB shift them left before they are scaled.
ADD_LEFT_SHIFTS: Mapping[str, int] = {"INT8": 20, "UINT8": 20, "INT16": 15}
SQUARED_DIFFERENCE_LEFT_SHIFTS: Mapping[str, int] = {"INT8": 7, "INT16": 0}
COMPARISON_LEFT_SHIFT = 8

# ---- the quantized kernels: both inputs are brought to one scale ----


@dataclass(frozen=True, slots=True)
class InputScaling:
    """requantize((code - zero_point) * 2^left_shift): an input on the scale that both inputs share."""

    requantizer: Requantizer
    record: Record
    zero_point: int
    left_shift: int


@dataclass(frozen=True, slots=True)
class TwoScalesParams:
    """ADD, SUB, SQUARED_DIFFERENCE."""

    input1: InputScaling
    input2: InputScaling
    output: OutputStage
    output_shapes: tuple[Shape]
    pairs: Array | None = None


@dataclass(frozen=True, slots=True)
class ComparisonParams:
    """EQUAL, NOT_EQUAL, LESS, LESS_EQUAL, GREATER, GREATER_EQUAL."""

    compare: Function
    input1: InputScaling
    input2: InputScaling
    output_shapes: tuple[Shape]
    pairs: Array | None = None


@dataclass(frozen=True, slots=True)
class ProductParams:
    """MUL."""

    input1_zero_point: int
    input2_zero_point: int
    output: OutputStage
    output_shapes: tuple[Shape]
    pairs: Array | None = None


@dataclass(frozen=True, slots=True)
class QuotientParams:
    """DIV. `multiplier` and `shift`: s_1 / (s_2 * s_out) as an int32 significand and a power of two."""

    place: str
    input1_zero_point: int
    input2_zero_point: int
    multiplier: int
    shift: int
    output_zero_point: int
    low: int
    high: int
    type: str
    output_shapes: tuple[Shape]
    pairs: Array | None = None


def add_params(node: Node) -> TwoScalesParams:
    """Decodes ADD or SUB on int8 or uint8: each input becomes s_i / (2 max(s_1, s_2)) * 2^20 of its real steps.

    On int16 * 2^15. 2 max(s_1, s_2) and 2^20 s_out are float32; the quotients with them are float64.
    Errors: InvalidModel, UnsupportedModel. Source: tflite/kernels/add.cc, Prepare; sub.cc, PrepareGeneralSubOp.
    """
    left_shift = ADD_LEFT_SHIFTS[node.input(0).type]
    twice, (input1, input2), shape = _to_one_scale(node, left_shift)
    output_scale, _ = positive_scale(node, node.outputs[0])
    with np.errstate(all="ignore"):
        real = twice / np.float64(np.float32(2.0**left_shift) * output_scale)
    expect_below_one(node, "the output multiplier", real)
    params = TwoScalesParams(input1, input2, fused_stage(node, "the output multiplier", real), (shape,))
    return with_pairs(_sum_of_codes if node.op == "ADD" else _difference_of_codes, params, node.outputs[0].type)


def squared_difference_params(node: Node) -> TwoScalesParams:
    """Decodes SQUARED_DIFFERENCE on int8, as ADD with 2^7 for 2^20 and the output multiplier squared.

    Errors: InvalidModel, UnsupportedModel. Source: tflite/kernels/squared_difference.cc, Prepare.
    """
    real, params = _squared_difference_params(node)
    expect_below_one(node, "the output multiplier", real)
    return params


def any_squared_difference_params(node: Node) -> TwoScalesParams:
    """As squared_difference_params, with any output multiplier. On int16 too: with 2^0 for 2^20.

    Errors: InvalidModel, UnsupportedModel.
    Source: tensorflow/lite/micro/kernels/squared_difference.cc, SquaredDifferencePrepare.
    """
    return _squared_difference_params(node)[1]


def _squared_difference_params(node: Node) -> tuple[np.float64, TwoScalesParams]:
    """(the output multiplier, the params)."""
    left_shift = SQUARED_DIFFERENCE_LEFT_SHIFTS[node.input(0).type]
    twice, (input1, input2), shape = _to_one_scale(node, left_shift)
    output_scale, _ = positive_scale(node, node.outputs[0])
    with np.errstate(all="ignore"):
        real = twice * twice / np.float64(np.float32(2.0 ** (2 * left_shift)) * output_scale)
    params = TwoScalesParams(input1, input2, fused_stage(node, "the output multiplier", real), (shape,))
    return real, with_pairs(_squared_difference_of_codes, params, node.outputs[0].type)


def comparison_params(node: Node) -> ComparisonParams:
    """Decodes a comparison of int8, uint8 or int16 inputs: both become 2^8 times their real values.

    Errors: InvalidModel; UnsupportedModel for a scale of 1 or more, which TFLite's kernel cannot represent.
    Source: tflite/kernels/comparisons.cc, ComparisonQuantized.
    """
    a, b, shape = expect_binary(node)
    _expect_bool_output(node)
    inputs = [input_scaling(node, operand, scale, COMPARISON_LEFT_SHIFT) for operand, scale in _scales(node, a, b)]
    params = ComparisonParams(FUNCTIONS[node.op], inputs[0], inputs[1], (shape,))
    return with_pairs(_comparison_of_codes, params, a.type)


def mul_params(node: Node) -> ProductParams:
    """Decodes MUL on int8, uint8 or int16: the multiplier is scale_ratio's s_1 * s_2 / s_out.

    Errors: InvalidModel, UnsupportedModel. Source: tflite/kernels/mul.cc, Prepare.
    """
    shape, ((scale1, zero_point1), (scale2, zero_point2), (output_scale, _)) = expect_scaled_binary(node)
    real = scale_ratio(node, scale1, scale2, over=output_scale)
    params = ProductParams(zero_point1, zero_point2, fused_stage(node, "the output multiplier", real), (shape,))
    return with_pairs(_product_of_codes, params, node.outputs[0].type)


def div_params(node: Node) -> QuotientParams:
    """Decodes DIV on int8 or uint8: the multiplier is s_1 / (s_2 * s_out), both as in scale_product.

    Errors: InvalidModel; UnsupportedModel where the last right shift of some pair of codes leaves 0 to 31.
    Source: tflite/kernels/div.cc, Prepare.
    """
    shape, ((scale1, zero_point1), (scale2, zero_point2), output) = expect_scaled_binary(node)
    (output_scale, output_zero_point), type = output, node.outputs[0].type
    with np.errstate(all="ignore"):
        real = scale_product(node, scale1) / scale_product(node, scale2, output_scale)
    if not np.isfinite(real):
        raise node.unsupported(f"the output multiplier is {float(real)!r}; check the scales of the operator's tensors")
    record = quantize_multiplier(np.float64(real))
    params = QuotientParams(
        node.place,
        zero_point1,
        zero_point2,
        int(record.multiplier[0]),
        int(record.shift[0]),
        output_zero_point,
        *fused_range(node),
        type,
        (shape,),
    )
    codes = all_codes(type)
    _, right = _quotient_before_shift(params, codes[:, np.newaxis], codes)
    if right.min() < 0 or right.max() > 31:
        raise node.unsupported(
            f"some codes need right shifts of {int(right.min())} to {int(right.max())} bits, and beyond 0 to 31 they "
            "are undefined behaviour in TFLite. Check the scales of the operator's tensors"
        )
    return with_pairs(_quotient_of_codes, params, type)


def _to_one_scale(node: Node, left_shift: int) -> tuple[np.float64, list[InputScaling], Shape]:
    """(twice the larger input scale, both inputs scaled by it, the output's shape)."""
    a, b, shape = expect_binary(node)
    expect_same_type(node, a, node.outputs[0])
    scales = _scales(node, a, b)
    with np.errstate(over="ignore"):
        twice = np.float64(np.float32(2) * max(scale for _, scale in scales))
    return twice, [input_scaling(node, operand, scale / twice, left_shift) for operand, scale in scales], shape


def _scales(node: Node, a: Operand, b: Operand) -> list[tuple[Operand, np.float64]]:
    return [(operand, np.float64(positive_scale(node, operand)[0])) for operand in (a, b)]


def input_scaling(node: Node, operand: Operand, real: np.float64, left_shift: int) -> InputScaling:
    """How the codes of an operand become steps of `real` * 2^left_shift. UnsupportedModel unless 0 < real < 1."""
    what = f"the multiplier of input '{operand.name}'"
    expect_below_one(node, what, real)
    _, zero_point = positive_scale(node, operand)
    requantizer: Requantizer = node.arithmetic[f"{node.op}.requantizer"]
    return InputScaling(requantizer, fixed_point(node, what, real), zero_point, left_shift)


def expect_below_one(node: Node, what: str, real: np.float64) -> None:
    """UnsupportedModel unless the multiplier only shifts right: TFLite ends the process for others.

    Source: tflite/kernels/internal/quantization_util.cc, QuantizeMultiplierSmallerThanOneExp.
    """
    if not 0 < real < 1 - 2.0**-32:
        raise node.unsupported(
            f"{what} is {float(real)!r}; TFLite's kernel only shifts right, which needs one above 0 and below 1, and "
            "ends the process or is undefined otherwise. Check the scales of the operator's tensors"
        )


def _expect_bool_output(node: Node) -> None:
    if node.outputs[0].type != "BOOL":
        raise node.invalid(f"the output must be BOOL, not {node.outputs[0].type}")


def scaled(scaling: InputScaling, codes: Array) -> Int64:
    """requantize((codes - zero_point) << left_shift): the codes in steps of the scale that both inputs share."""
    steps = (codes.astype(np.int64) - scaling.zero_point) << scaling.left_shift
    return scaling.requantizer.apply(steps, scaling.record)


def _sum_of_codes(params: TwoScalesParams, a: Array, b: Array) -> Array:
    return finish(params.output, scaled(params.input1, a) + scaled(params.input2, b))


def _difference_of_codes(params: TwoScalesParams, a: Array, b: Array) -> Array:
    return finish(params.output, scaled(params.input1, a) - scaled(params.input2, b))


def _squared_difference_of_codes(params: TwoScalesParams, a: Array, b: Array) -> Array:
    difference = scaled(params.input1, a) - scaled(params.input2, b)
    return finish(params.output, difference * difference)


def _product_of_codes(params: ProductParams, a: Array, b: Array) -> Array:
    steps = (a.astype(np.int64) - params.input1_zero_point) * (b.astype(np.int64) - params.input2_zero_point)
    return finish(params.output, steps)


def _quotient_before_shift(params: QuotientParams, a: Array, b: Array) -> tuple[Int64, Int64]:
    """(v1 / v2 times the multiplier as far as 31 bits hold it, how far it is still to be shifted right)."""
    v1, v2 = a.astype(np.int64) - params.input1_zero_point, b.astype(np.int64) - params.input2_zero_point
    v1, v2 = np.where(v2 < 0, -v1, v1), np.where(v2 == 0, 1, np.abs(v2))
    inverse, bits_over_unit = reciprocal(v2, 31)
    headroom = count_leading_zeros(np.where(v1 < 0, ~v1, v1)) - 1
    unscaled = saturating_rounding_doubling_high_mul(v1 << headroom, inverse)
    scaled = saturating_rounding_doubling_high_mul(unscaled, params.multiplier)
    return scaled, bits_over_unit + headroom - params.shift


def _quotient_of_codes(params: QuotientParams, a: Array, b: Array) -> Array:
    quotient = rounding_divide_by_pot(*_quotient_before_shift(params, a, b)) + params.output_zero_point
    return np.asarray(np.clip(quotient, params.low, params.high).astype(DTYPES[params.type]))


def _comparison_of_codes(params: ComparisonParams, a: Array, b: Array) -> Array:
    return np.asarray(params.compare(scaled(params.input1, a), scaled(params.input2, b)))


def add(params: TwoScalesParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """clamp(requantize(v1 + v2) + zero_point), v_i = requantize((input_i - zero_point_i) * 2^20).

    On int16 2^15. arrays: two int8, uint8 or int16 arrays. Returns the same type in the broadcast shape.
    Source: tflite/kernels/internal/reference/integer_ops/add.h, AddFunc; reference/add.h, AddElementwise.
    """
    return by_pairs(_sum_of_codes, params, arrays)


def sub(params: TwoScalesParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """clamp(requantize(v1 - v2) + zero_point), v_i as in ADD. arrays: two int8, uint8 or int16 arrays.

    Source: tflite/kernels/internal/reference/sub.h, SubElementwise.
    """
    return by_pairs(_difference_of_codes, params, arrays)


def squared_difference(params: TwoScalesParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """clamp(requantize((v1 - v2)^2) + zero_point), v_i = requantize((input_i - zero_point_i) * 2^7). arrays: two int8.

    Source: tflite/kernels/squared_difference.cc, SquaredDifference.
    """
    return by_pairs(_squared_difference_of_codes, params, arrays)


def mul(params: ProductParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """clamp(requantize((input1 - zero_point1) * (input2 - zero_point2)) + zero_point).

    arrays: two int8, uint8 or int16. Returns the same type in the broadcast shape.
    Source: tflite/kernels/internal/reference/integer_ops/mul.h and reference/mul.h, MulElementwise.
    """
    return by_pairs(_product_of_codes, params, arrays)


def div(params: QuotientParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """clamp(requantize(v1 * (1 / v2)) + zero_point), v_i = input_i - zero_point_i, the reciprocal in fixed point.

    arrays: two int8 or uint8 arrays. Errors: InvalidInput for a divisor at its zero point.
    Source: tflite/kernels/internal/reference/div.h, DivElementwise; tflite/kernels/div.cc, CheckNonZero.
    """
    divisor = arrays[1]
    assert divisor is not None
    if (divisor == params.input2_zero_point).any():
        raise InvalidInput(f"{params.place}: a divisor is 0; TFLite's kernel refuses it")
    return by_pairs(_quotient_of_codes, params, arrays)


def comparison(params: ComparisonParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """compare(v1, v2), v_i = requantize((input_i - zero_point_i) * 2^8).

    arrays: two int8, uint8 or int16. Returns bool in the broadcast shape.
    Source: tflite/kernels/internal/reference/comparisons.h, ComparisonWithScaling.
    """
    return by_pairs(_comparison_of_codes, params, arrays)


# ---- plain values: integers, which wrap, float32, bool ----


@dataclass(frozen=True, slots=True)
class PlainParams:
    """clamp(function(input1, input2)). `clamp`: the bounds of the fused activation, None for no clamp at all."""

    place: str
    function: Function
    clamp: tuple[Any, Any] | None
    output_shapes: tuple[Shape]


@dataclass(frozen=True, slots=True)
class SumParams:
    """ADD_N."""

    output_shapes: tuple[Shape]


def plain_params(node: Node) -> PlainParams:
    """Decodes an op of two inputs of one type, with its fused activation if the op has one. Errors: InvalidModel."""
    a, _, shape = expect_binary(node)
    expect_same_type(node, a, node.outputs[0])
    return PlainParams(node.place, FUNCTIONS[node.op], _plain_clamp(node, a.type), (shape,))


def unclamped_params(node: Node) -> PlainParams:
    """As plain_params, without the fused activation. Source: tensorflow/lite/micro/kernels/add.cc, EvalAdd (int32)."""
    return replace(plain_params(node), clamp=None)


def plain_comparison_params(node: Node) -> PlainParams:
    """Decodes a comparison of two inputs of one type. Errors: InvalidModel."""
    _, _, shape = expect_binary(node)
    _expect_bool_output(node)
    return PlainParams(node.place, FUNCTIONS[node.op], None, (shape,))


def atan2_params(node: Node) -> PlainParams:
    """Decodes ATAN2: y and x of one shape; it does not broadcast. Errors: InvalidModel.

    TFLite compares the ranks only and reads outside of the smaller one; refquant refuses such shapes.
    Source: tflite/kernels/atan2.cc, Atan2Prepare.
    """
    params = plain_params(node)
    if node.input(0).shape != node.input(1).shape:
        raise node.invalid(f"{list(node.input(0).shape)} and {list(node.input(1).shape)} must be one shape")
    return params


def add_n_params(node: Node) -> SumParams:
    """Decodes ADD_N: two or more inputs of one type and shape. Errors: InvalidModel.

    Source: tflite/kernels/add_n.cc, Prepare.
    """
    if len(node.inputs) < 2 or len(node.outputs) != 1:
        raise node.invalid(
            f"has {len(node.inputs)} inputs and {len(node.outputs)} outputs; it takes 2 or more, gives 1"
        )
    first = node.input(0)
    for index in range(1, len(node.inputs)):
        expect_same_type(node, first, node.input(index))
        if node.input(index).shape != first.shape:
            raise node.invalid(f"input {index} has shape {list(node.input(index).shape)}, not {list(first.shape)}")
    expect_same_type(node, first, node.outputs[0])
    return SumParams((first.shape,))


def _plain_clamp(node: Node, type: str) -> tuple[Any, Any] | None:
    """Source: tflite/kernels/kernel_util.h, CalculateActivationRange."""
    activation = node.options.get("fused_activation_function", "NONE")
    if type == "FLOAT32":
        return fused_float_range(node) if "fused_activation_function" in node.options else None
    if activation not in REAL_RANGES:
        raise node.invalid(f"unknown fused activation {activation!r}; there are: {', '.join(REAL_RANGES)}")
    low, high = REAL_RANGES[activation]
    if low is None:
        return None
    bounds = np.array([int(low), int(np.iinfo(DTYPES[type]).max if high is None else high)])
    least, largest = bounds.astype(DTYPES[type])  # -1 becomes the maximum of an unsigned type
    return least, largest


def plain(params: PlainParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """clamp(function(input1, input2)). arrays: two of one type: integers, which wrap, float32 or bool.

    Source: tflite/kernels/internal/reference/add.h, sub.h, mul.h, div.h, maximum_minimum.h, comparisons.h and
    binary_function.h; tflite/kernels/logical.cc.
    """
    a, b = arrays
    assert a is not None
    assert b is not None
    with np.errstate(all="ignore"):
        result = np.asarray(params.function(a, b))
        if params.clamp is not None:
            clamp_in_place(result, *params.clamp)
        return (result,)


def add_n(params: SumParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """((input0 + input1) + input2) + ..., each sum clamped to finite float32; int32 wraps.

    arrays: two or more of one type. This is the order of one thread; with more, TFLite adds parts of the inputs first.
    Source: tflite/kernels/internal/optimized/optimized_ops.h, AddN.
    """
    total, *others = (np.asarray(array) for array in arrays)
    info = np.finfo(np.float32)
    with np.errstate(all="ignore"):
        for other in others:
            total = np.asarray(total + other)
            if total.dtype == np.float32:
                clamp_in_place(total, info.min, info.max)
    return (total,)


def add_n_unclamped(params: SumParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """((0 + input0) + input1) + ... arrays: two or more float32 arrays.

    Source: tensorflow/lite/kernels/internal/reference/add_n.h, AddN.
    """
    with np.errstate(all="ignore"):
        return (np.asarray(sum((np.asarray(array) for array in arrays), np.float32(0))),)


def plain_division(params: PlainParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """`plain` for DIV, FLOOR_DIV and FLOOR_MOD that refuse divisors of 0, and the minimum of a type divided by -1.

    C++ promotes the operands of % to int32, so that FLOOR_MOD of int8 and int16 has a remainder there: 0.
    Errors: InvalidInput. Source: tflite/kernels/div.cc, floor_div.cc and floor_mod.cc, Eval.
    """
    a, b = arrays
    assert a is not None
    assert b is not None
    if not b.all():
        raise InvalidInput(f"{params.place}: a divisor is 0; TFLite's kernel refuses it")
    promoted = params.function is _floor_remainder and a.dtype.itemsize < np.dtype(np.int32).itemsize
    if a.dtype.kind == "i" and not promoted and ((a == np.iinfo(a.dtype).min) & (b == -1)).any():
        raise InvalidInput(
            f"{params.place}: {np.iinfo(a.dtype).min} is divided by -1, and the quotient leaves {a.dtype}: undefined "
            "behaviour in TFLite"
        )
    return plain(params, arrays)


def _larger(a: Array, b: Array) -> Array:
    """a where a > b, else b: a NaN in either gives b."""
    return np.where(a > b, a, b) if a.dtype.kind == "f" else np.maximum(a, b)


def _smaller(a: Array, b: Array) -> Array:
    return np.where(a < b, a, b) if a.dtype.kind == "f" else np.minimum(a, b)


def _squared_difference(a: Array, b: Array) -> Array:
    difference = np.asarray(a - b)
    return np.asarray(difference * difference)


def _quotient(a: Array, b: Array) -> Array:
    """a / b in the type; integers truncated towards zero (exact: float64 holds every quotient of int32 closely)."""
    return a / b if a.dtype.kind == "f" else np.trunc(a / b).astype(a.dtype)


def _floor_quotient(a: Array, b: Array) -> Array:
    """floor(a / b), the division in float64. Source: tflite/kernels/internal/reference/floor_div.h."""
    return np.floor(a.astype(np.float64) / b).astype(a.dtype)


def _floor_remainder(a: Array, b: Array) -> Array:
    """C's remainder, plus b where it is not 0 and its sign is not b's.

    Source: tflite/kernels/internal/reference/floor_mod.h, FloorMod.
    """
    remainder = np.asarray(np.fmod(a, b))
    return np.where((remainder != 0) & ((b < 0) != (remainder < 0)), remainder + b, remainder)


def _right_shift(a: Array, b: Array) -> Array:
    """a >> b, with b held within 0 and the bits of the type less 1.

    Source: tflite/kernels/right_shift.cc, RightShift.
    """
    return np.asarray(a >> np.clip(b, 0, 8 * a.dtype.itemsize - 1))


FUNCTIONS: Mapping[str, Function] = {
    "ADD": np.add,
    "SUB": np.subtract,
    "MUL": np.multiply,
    "DIV": _quotient,
    "SQUARED_DIFFERENCE": _squared_difference,
    "MAXIMUM": _larger,
    "MINIMUM": _smaller,
    "FLOOR_DIV": _floor_quotient,
    "FLOOR_MOD": _floor_remainder,
    "EQUAL": np.equal,
    "NOT_EQUAL": np.not_equal,
    "LESS": np.less,
    "LESS_EQUAL": np.less_equal,
    "GREATER": np.greater,
    "GREATER_EQUAL": np.greater_equal,
    "ATAN2": atan2f,
    "BITWISE_XOR": np.bitwise_xor,
    "RIGHT_SHIFT": _right_shift,
    "LOGICAL_AND": np.logical_and,
    "LOGICAL_OR": np.logical_or,
}
