"""SOFTMAX and LOG_SOFTMAX over the last axis.

Source: tflite/kernels/activations.cc, SoftmaxPrepare, SoftmaxEval, LogSoftmaxPrepare, LogSoftmaxEval;
internal/reference/softmax.h, log_softmax.h and integer_ops/log_softmax.h; internal/quantization_util.cc.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray

from refquant.arithmetic.exact import Narrow
from refquant.arithmetic.fixed_point import (
    INT32_MAX,
    INT32_MIN,
    Int64,
    count_leading_zeros,
    exp_on_negative_values,
    rounding_divide_by_pot,
    wrap_int32,
)
from refquant.arithmetic.float_functions import expf, logf
from refquant.arithmetic.interpolation import LARGEST, LEAST, Floating, Int16, interpolate, knots
from refquant.arithmetic.inverse import reciprocal
from refquant.arithmetic.logarithm import log_x_for_x_greater_than_or_equal_to_1
from refquant.arithmetic.multiplier import (
    check_shift,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    round_half_away,
)
from refquant.errors import UnsupportedModel
from refquant.kernels.checks import expect_counts, expect_same_type
from refquant.kernels.elementwise import scale_ratio
from refquant.kernels.index_operands import expect_zero_zero_point
from refquant.kernels.kernel import Node, Shape
from refquant.kernels.rows import in_row_blocks
from refquant.model.graph import DTYPES, Array

DIFF_INTEGER_BITS = 5  # input differences are Q5.26
SUM_INTEGER_BITS = 12  # the sum of exponentials is Q12.19
LOG_OUTPUT_INTEGER_BITS = 4  # LOG_SOFTMAX's output is Q4.4


@dataclass(frozen=True, slots=True)
class DiffScaling:
    """How the difference d = input - max (0 to -255) becomes Q5.26: multiplier * 2^(left_shift - 31) * d.

    Differences below `diff_min` would leave Q5.26; their exponential counts as 0. `exps` holds exp(-k) as Q0.31 and
    `rescaled` -k as Q5.26, for k = 0 to 255.
    """

    multiplier: int
    left_shift: int
    diff_min: int
    rescaled: Int64
    exps: Int64


@dataclass(frozen=True, slots=True)
class SoftmaxParams:
    """SOFTMAX on int8 or uint8."""

    place: str
    beta: float
    scaling: DiffScaling
    output_type: str
    narrow: Narrow
    output_shapes: tuple[Shape]


@dataclass(frozen=True, slots=True)
class LogSoftmaxParams:
    """LOG_SOFTMAX on int8 or uint8. `reverse_multiplier` * 2^(reverse_shift - 31) takes Q5.26 back to input steps."""

    place: str
    scaling: DiffScaling
    reverse_multiplier: int
    reverse_shift: int
    output_zero_point: int
    output_type: str
    narrow: Narrow
    output_shapes: tuple[Shape]


@dataclass(frozen=True, slots=True)
class FloatSoftmaxParams:
    """SOFTMAX on float32; LOG_SOFTMAX ignores `beta`."""

    beta: float
    exponential: Callable[[Array], Array]
    output_shapes: tuple[Shape]


@dataclass(frozen=True, slots=True)
class TableSoftmaxParams:
    """SOFTMAX and LOG_SOFTMAX on int8 or uint8 in float32. `exps`: exp(-k * input scale * beta), k = 0 to 255.

    `input_scale` is LOG_SOFTMAX's; `truncated`: the result is cut off after adding 1/2, and the zero point not added.
    """

    exps: NDArray[np.float32]
    input_scale: np.float32
    output_scale: np.float32
    output_zero_point: int
    output_type: str
    truncated: bool
    output_shapes: tuple[Shape]


@dataclass(frozen=True, slots=True)
class Int16SoftmaxParams:
    """SOFTMAX on int16. multiplier * 2^(left_shift - 31) takes input steps to steps of 10 / 65535, e's table's.

    `exps` holds exp(-k) as Q0.15 for k = 0 to 65535 input steps below the maximum, `reciprocals` the knots of 1/(1+x).
    """

    place: str
    multiplier: int
    left_shift: int
    exps: Int64
    reciprocals: Int16
    narrow: Narrow
    output_shapes: tuple[Shape]


def softmax_params(node: Node) -> SoftmaxParams:
    """Decodes SOFTMAX on int8 (output int8 or int16) or uint8 (output uint8 or int16).

    An int8 output must have scale 1/256 within 0.1 % and zero point -128. Any other output's scale and zero point are
    not looked at: the kernel writes value 0 as the type's minimum, also into int16.
    Errors: InvalidModel, UnsupportedModel. Source: tflite/kernels/activations.cc, SoftmaxPrepare.
    """
    beta = node.options.get("beta", 0.0)
    output_type = _softmax_output_type(node)
    return SoftmaxParams(node.place, beta, _diff_scaling(node, beta), output_type, node.narrow, (node.input(0).shape,))


def _softmax_output_type(node: Node) -> str:
    """The output's type, once it is known to fit."""
    expect_counts(node, 1, 1)
    input, output = node.input(0), node.outputs[0]
    _expect_rows(node)
    if output.type not in (input.type, "INT16"):
        raise node.invalid(f"the output of an {input.type} softmax must be {input.type} or INT16, not {output.type}")
    if output.type == "INT8":
        scale, zero_point = node.scale_and_zero_point(output)
        if zero_point != -128 or abs(np.float32(scale) - np.float32(1 / 256)) > np.float32(0.001) / np.float32(256):
            raise node.invalid(f"an INT8 output needs scale 1/256 and zero point -128, not {scale!r} and {zero_point}")
    return output.type


def table_softmax_params(node: Node) -> TableSoftmaxParams:
    """Decodes SOFTMAX on int8 (output int8 or int16) or uint8 (output uint8 or int16) by a table of exponentials.

    The output must be as in softmax_params; its zero point is added to int8 and int16, not to uint8.
    Errors: InvalidModel. Source: tflite/kernels/activations.cc, SoftmaxPrepare; internal/optimized/optimized_ops.h,
    PopulateSoftmaxLookupTable.
    """
    output_type = _softmax_output_type(node)
    return _table_params(node, node.options.get("beta", 0.0), output_type, output_type == "UINT8")


def table_log_softmax_params(node: Node) -> TableSoftmaxParams:
    """Decodes LOG_SOFTMAX on int8 or uint8 by a table of exponentials. The output must be as in log_softmax_params.

    Errors: InvalidModel. Source: tflite/kernels/activations.cc, LogSoftmaxPrepare.
    """
    _expect_log_softmax_output(node)
    return _table_params(node, 1.0, node.outputs[0].type, False)


def _table_params(node: Node, beta: float, output_type: str, truncated: bool) -> TableSoftmaxParams:
    scale, _ = node.scale_and_zero_point(node.input(0))
    output_scale, zero_point = node.scale_and_zero_point(node.outputs[0])
    with np.errstate(over="ignore", invalid="ignore"):
        steps = -np.float32(scale) * np.float32(beta) * np.arange(256, dtype=np.float32)
        exps = node.arithmetic["EXP.function"](steps)
    if not np.isfinite(exps).all():
        raise node.unsupported(
            f"with beta {beta} and scale {scale} the exponentials are not finite: no kernel has a rule"
        )
    shape = node.input(0).shape
    return TableSoftmaxParams(
        exps, np.float32(scale), np.float32(output_scale), zero_point, output_type, truncated, (shape,)
    )


@cache
def int16_softmax_knots(real: Floating) -> tuple[Int16, Int16]:
    """(e^x for x from -10 to 0, 1 / (1 + x) for x from 0 to 1): the knots of tables over int16, as Q0.15.

    real: float64 or float32, in which the runtime computes them.
    Source: tflite/kernels/activations.cc, SoftmaxPrepare; tensorflow/lite/micro/kernels/softmax_common.cc,
    InitializeLutForInt16.
    """
    one, steps, half = real(1), real(65535), real(2) / real(65535)
    exponential = knots(np.exp if real is np.float64 else expf, real(10) / steps, LARGEST, half, 0, real)
    reciprocals = knots(lambda x: one / (one + x), one / steps, LEAST, half, 0, real)
    return exponential.astype(np.int16), reciprocals.astype(np.int16)


def softmax_int16_params(node: Node) -> Int16SoftmaxParams:
    """Decodes SOFTMAX on int16. The output must have scale 2^-15 within 0.1 %, both zero points must be 0.

    The multiplier is beta * s_in, in the runtime's "scales.type", divided by 10 / 65535 in float64.
    Errors: InvalidModel, UnsupportedModel. Source: tflite/kernels/activations.cc, SoftmaxPrepare.
    """
    expect_counts(node, 1, 1)
    input, output = node.input(0), node.outputs[0]
    _expect_rows(node)
    expect_same_type(node, input, output)
    expect_zero_zero_point(node, input)
    expect_zero_zero_point(node, output)
    (scale, _), (output_scale, _) = node.scale_and_zero_point(input), node.scale_and_zero_point(output)
    unit = np.float32(1 / 32768)
    if abs(np.float32(output_scale) - unit) > np.float32(0.001) * unit:
        raise node.invalid(f"an INT16 output needs scale 1/32768, not {output_scale!r}")
    beta, one = np.float32(node.options.get("beta", 0.0)), np.float32(1)
    real = np.float64(scale_ratio(node, np.float32(scale), beta, over=one)) / (10.0 / 65535.0)
    if not (np.isfinite(real) and real >= 0):
        raise node.unsupported(f"beta * input scale is {real * 10.0 / 65535.0!r}, which is no multiplier")
    record = check_shift(quantize_multiplier(real), node.place)
    multiplier, left_shift = int(record.multiplier[0]), int(record.shift[0])
    rescaled = multiply_by_quantized_multiplier(-np.arange(1 << 16), multiplier, left_shift)
    exponential, reciprocals = int16_softmax_knots(node.arithmetic["SOFTMAX.table_type"])
    exps = interpolate(exponential, np.clip(rescaled + LARGEST, LEAST, LARGEST))
    return Int16SoftmaxParams(node.place, multiplier, left_shift, exps, reciprocals, node.narrow, (input.shape,))


def log_softmax_params(node: Node) -> LogSoftmaxParams:
    """Decodes LOG_SOFTMAX on int8 or uint8. The output must have scale 16/256 and the type's maximum as zero point.

    Errors: InvalidModel, UnsupportedModel. Source: tflite/kernels/activations.cc, LogSoftmaxPrepare.
    """
    highest = _expect_log_softmax_output(node)
    input, output = node.input(0), node.outputs[0]
    scaling = _diff_scaling(node, 1.0)
    record = quantize_multiplier(2.0 ** (31 - scaling.left_shift) / scaling.multiplier)
    return LogSoftmaxParams(
        node.place,
        scaling,
        int(record.multiplier[0]),
        int(record.shift[0]),
        highest,
        output.type,
        node.narrow,
        (input.shape,),
    )


def _expect_log_softmax_output(node: Node) -> int:
    """The output's zero point, its type's maximum, once everything is known to fit."""
    expect_counts(node, 1, 1)
    input, output = node.input(0), node.outputs[0]
    _expect_rows(node)
    expect_same_type(node, input, output)
    highest = int(np.iinfo(DTYPES[output.type]).max)
    scale, zero_point = node.scale_and_zero_point(output)
    if scale != 16 / 256 or zero_point != highest:
        raise node.invalid(f"the output needs scale 16/256 and zero point {highest}, not {scale!r} and {zero_point}")
    return highest


def float_softmax_params(node: Node) -> FloatSoftmaxParams:
    """Decodes SOFTMAX or LOG_SOFTMAX on float32. Errors: InvalidModel."""
    expect_counts(node, 1, 1)
    _expect_rows(node)
    expect_same_type(node, node.input(0), node.outputs[0])
    exponential = node.arithmetic["EXP.function"]
    return FloatSoftmaxParams(node.options.get("beta", 0.0), exponential, (node.input(0).shape,))


def _expect_rows(node: Node) -> None:
    if not node.input(0).shape:
        raise node.invalid("the input is a scalar; it needs a last axis to normalize over")


def _diff_scaling(node: Node, beta: float) -> DiffScaling:
    """min(beta * input scale * 2^26, 2^31 - 1) as multiplier and left shift, and what follows from them.

    Source: tflite/kernels/internal/quantization_util.cc, PreprocessSoftmaxScaling and CalculateInputRadius.
    """
    scale, _ = node.scale_and_zero_point(node.input(0))
    real = beta * scale * 2.0 ** (31 - DIFF_INTEGER_BITS)
    if not real > 1:
        raise node.unsupported(
            f"beta * input scale = {beta * scale!r}: at 2^-26 or less TFLite's reference kernel ends the process"
        )
    record = quantize_multiplier(min(real, float(INT32_MAX)))
    multiplier, left_shift = int(record.multiplier[0]), int(record.shift[0])
    radius = ((1 << DIFF_INTEGER_BITS) - 1 << (31 - DIFF_INTEGER_BITS)) >> left_shift
    k = np.arange(256)
    rescaled = multiply_by_quantized_multiplier(-np.minimum(k, radius), multiplier, left_shift)
    exps = np.where(k <= radius, exp_on_negative_values(rescaled, DIFF_INTEGER_BITS), 0)
    return DiffScaling(multiplier, left_shift, -radius, rescaled, exps)


def _steps_below_maximum(x: Array) -> NDArray[np.uint8]:
    """max - x along the last axis, 0 to 255: the 8-bit difference modulo 256 is the true one."""
    steps: NDArray[np.uint8] = np.subtract(x.max(axis=-1, keepdims=True), x).view(np.uint8)
    return steps


def _sum_of_exps(scaling: DiffScaling, steps: NDArray[np.uint8], narrow: Narrow) -> Int64:
    """The sum along the last axis of the exponentials, each rounded to Q12.19; int32 values, (rows, 1)."""
    exps = rounding_divide_by_pot(scaling.exps, SUM_INTEGER_BITS)
    return narrow(exps.take(steps).sum(axis=-1, keepdims=True))


def softmax(params: SoftmaxParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """exp(d) / sum of exp(d), d = beta * scale * (input - max), in fixed point; the result in steps of 2^-bits.

    arrays: input int8 or uint8 (..., depth). Returns the output type's (..., depth).
    Errors: UnsupportedModel where the sum of a row reaches 512 with an 8-bit output, or is a multiple of 8192.
    Source: tflite/kernels/internal/reference/softmax.h, Softmax<InputT, OutputT>.
    """
    x = _input(arrays)
    return (in_row_blocks(x, 1, np.empty(x.shape, DTYPES[params.output_type]), partial(_softmax_rows, params)),)


def _softmax_rows(params: SoftmaxParams, x: Array) -> Array:
    info = np.iinfo(DTYPES[params.output_type])
    steps = _steps_below_maximum(x)
    # The kernel reads the int32 sum as unsigned: a sum from 4096 to 8191 is still right.
    sums = _sum_of_exps(params.scaling, steps, params.narrow) & 0xFFFFFFFF
    scale, bits_over_unit = reciprocal(np.maximum(sums, 1), SUM_INTEGER_BITS)
    exponent = bits_over_unit + 31 - info.bits
    if exponent.max() > 31 or sums.min() == 0:
        raise UnsupportedModel(
            f"{params.place}: the exponentials of a row add up to {int(sums.max()) / 2**19:.0f} times the largest one; "
            "from 512 on TFLite's reference kernel ends the process (the input hardly varies over more than 511 values)"
        )
    # Neither factor nor product is negative, so both roundings are plain additions of a half.
    codes = params.scaling.exps.take(steps)
    codes *= scale
    codes += 1 << 30
    codes >>= 31
    codes += (np.int64(1) << exponent) >> 1
    codes >>= exponent
    codes += info.min
    return np.minimum(codes, info.max, out=codes)


def table_softmax(params: TableSoftmaxParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """round(exp * (1 / (sum of exps * output scale))) + zero point, every step in float32, the sum in order.

    arrays: input int8 or uint8 (..., depth). Returns the output type's (..., depth).
    Source: tflite/kernels/internal/optimized/optimized_ops.h, Softmax<In, Out>, QuantizeSoftmaxOutput.
    """
    info = np.iinfo(DTYPES[params.output_type])

    def rows(x: Array) -> Array:
        exps = params.exps.take(_steps_below_maximum(x))
        with np.errstate(over="ignore"):
            probabilities = exps * (np.float32(1) / (_sequential_sum(exps) * params.output_scale))
        if params.truncated:
            codes = np.trunc(probabilities + np.float32(0.5))
        else:
            codes = round_half_away(probabilities) + params.output_zero_point
        return np.asarray(np.clip(codes, info.min, info.max))

    x = _input(arrays)
    return (in_row_blocks(x, 1, np.empty(x.shape, info.dtype), rows),)


def table_log_softmax(params: TableSoftmaxParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """rint(scale * input - (input scale * max + log(sum of exps)) / output scale) + zero point, all in float32.

    scale = input scale / output scale; the sum in order. arrays: input int8 or uint8 (..., depth). Returns the same.
    Source: tflite/kernels/internal/optimized/optimized_ops.h, LogSoftmax<T>.
    """
    info = np.iinfo(DTYPES[params.output_type])
    scale = params.input_scale / params.output_scale

    def rows(x: Array) -> Array:
        log_sum = logf(_sequential_sum(params.exps.take(_steps_below_maximum(x))))
        largest = x.max(axis=-1, keepdims=True).astype(np.float32)
        taken_off = (params.input_scale * largest + log_sum) / params.output_scale
        codes = np.rint(scale * x.astype(np.float32) - taken_off) + np.float32(params.output_zero_point)
        return np.asarray(np.clip(codes, info.min, info.max))

    x = _input(arrays)
    return (in_row_blocks(x, 1, np.empty(x.shape, x.dtype), rows),)


def softmax_int16(params: Int16SoftmaxParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """exp(d) * (1 / sum of exp(d)), d = beta * scale * (input - max), both functions by interpolated tables.

    arrays: input int16 (..., depth). Returns int16 of that shape, in steps of 2^-15.
    Errors: UnsupportedModel where the sum of a row leaves int32.
    Source: tflite/kernels/internal/reference/softmax.h, SoftmaxInt16.
    """
    x = _input(arrays)
    return (in_row_blocks(x, 1, np.empty(x.shape, np.int16), partial(_softmax_int16_rows, params)),)


def _softmax_int16_rows(params: Int16SoftmaxParams, x: Array) -> Array:
    exps = params.exps.take(np.subtract(x.max(axis=-1, keepdims=True), x).view(np.uint16))
    sums = params.narrow(exps.sum(axis=-1, keepdims=True))
    if sums.min() <= 0:
        raise UnsupportedModel(
            f"{params.place}: the sum of the exponentials of a row leaves int32 (more than 65536 values close to the "
            "maximum); what TFLite's kernel does then is undefined"
        )
    headroom = count_leading_zeros(sums)
    fraction = ((sums << (headroom - 1)) + (1 << 13)) >> 14  # sum = (1 + x) 2^n, and 1 + x in steps of 2^-16
    reciprocals = interpolate(params.reciprocals, np.clip(fraction - (1 << 15) - (1 << 16), LEAST, LARGEST))
    right = 31 - headroom
    return np.asarray(np.clip((exps * reciprocals + (1 << (right - 1))) >> right, 0, LARGEST))


def log_softmax(params: LogSoftmaxParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """d - log(sum of exp(d)), d = scale * (input - max), in fixed point; the result in steps of 1/16.

    arrays: input int8 or uint8 (..., depth). Returns the same type and shape.
    Errors: UnsupportedModel where the sum of a row leaves int32.
    Source: tflite/kernels/internal/reference/integer_ops/log_softmax.h, LogSoftmax.
    """
    x = _input(arrays)
    return (in_row_blocks(x, 1, np.empty(x.shape, x.dtype), partial(_log_softmax_rows, params)),)


def _log_softmax_rows(params: LogSoftmaxParams, x: Array) -> Array:
    scaling, info = params.scaling, np.iinfo(DTYPES[params.output_type])
    steps = _steps_below_maximum(x)
    sums = _sum_of_exps(scaling, steps, params.narrow)
    if sums.min() <= 0:
        raise UnsupportedModel(
            f"{params.place}: the sum of the exponentials of a row leaves int32 (more than 4095 values close to the "
            "maximum); what TFLite's kernel does then is undefined"
        )
    log_sum = log_x_for_x_greater_than_or_equal_to_1(sums, SUM_INTEGER_BITS, DIFF_INTEGER_BITS)
    # The difference whose result would leave Q5.26, in input steps: from there down the output is the minimum.
    lowest = multiply_by_quantized_multiplier(log_sum + INT32_MIN, params.reverse_multiplier, params.reverse_shift)
    lowest = np.maximum(scaling.diff_min - 1, lowest)
    fraction_bits = 31 - DIFF_INTEGER_BITS - LOG_OUTPUT_INTEGER_BITS
    codes = rounding_divide_by_pot(wrap_int32(scaling.rescaled.take(steps) - log_sum), fraction_bits)
    codes = np.clip(codes + params.output_zero_point, info.min, info.max)
    return np.where(steps < -lowest, codes, info.min)


def _input(arrays: Sequence[Array | None]) -> Array:
    x = arrays[0]
    assert x is not None
    return x


def _float_row_maximum(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The maximum along the last axis as a loop of std::max finds it: no NaN, and not below the lowest finite value."""
    return np.fmax.reduce(x, axis=-1, keepdims=True, initial=np.finfo(np.float32).min)


def _sequential_sum(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The float32 sum along the last axis, in order; (rows, 1)."""
    return np.cumsum(x, axis=-1, dtype=np.float32)[..., -1:]


def float_softmax(params: FloatSoftmaxParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """exp((input - max) * beta) / sum, every operation in float32, the sum in order. arrays: input float32.

    Source: tflite/kernels/internal/reference/softmax.h, Softmax<float>.
    """

    def rows(x: Array) -> Array:
        exps = params.exponential((x - _float_row_maximum(x)) * np.float32(params.beta))
        return np.asarray(exps / _sequential_sum(exps))

    x = _input(arrays)
    with np.errstate(all="ignore"):
        return (in_row_blocks(x, 1, np.empty(x.shape, np.float32), rows),)


def float_log_softmax(params: FloatSoftmaxParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """(input - max) - log(sum of exp(input - max)), every operation in float32, the sum in order.

    arrays: input float32. Source: tflite/kernels/internal/reference/log_softmax.h, LogSoftmax.
    """

    def rows(x: Array) -> Array:
        differences = x - _float_row_maximum(x)
        return np.asarray(differences - logf(_sequential_sum(params.exponential(differences))))

    x = _input(arrays)
    with np.errstate(all="ignore"):
        return (in_row_blocks(x, 1, np.empty(x.shape, np.float32), rows),)
