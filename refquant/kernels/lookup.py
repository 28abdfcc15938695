"""Tables of functions: LOGISTIC, TANH, EXP, ELU, GELU, LOG; on int16 codes RSQRT too.

On 8-bit codes every entry is computed in float32. On int16 codes there are 513 such knots with straight lines between
them; but LOGISTIC and TANH scale the codes and look them up in one fixed table of the sigmoid.
Source: tflite/kernels/internal/common.h, LUTPopulate; activations.cc, exp.cc, elementwise.cc.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from refquant.arithmetic.fixed_point import Int64, saturate
from refquant.arithmetic.fixed_point_int16 import logistic_table, looked_up, tanh_table
from refquant.arithmetic.float_functions import (
    Float32,
    elu,
    expf,
    gelu,
    gelu_approximate,
    logf,
    rsqrtf,
    sigmoid,
    sigmoid_in_float64,
    tanhf,
)
from refquant.arithmetic.interpolation import LEAST, STEP_BITS, interpolate, knots, logistic_int16, tanh_int16
from refquant.arithmetic.multiplier import round_half_away
from refquant.arithmetic.power_of_two import exact_log2
from refquant.kernels.activation import fused_range
from refquant.kernels.elementwise import Bounds, LookupParams, code_range, expect_unary, positive_scale, table_params
from refquant.kernels.index_operands import expect_zero_zero_point
from refquant.kernels.kernel import Node
from refquant.model.graph import Array

LOGISTIC_OUTPUT_SCALE = 1 / 256
INT16_OUTPUT_SCALE = 1 / 32768


def _float_table_params(node: Node, function: Callable[[Float32], Float32]) -> LookupParams:
    """The table clamp(round(function(s_in * (code - zp_in)) * (1 / s_out)) + zp_out), every step in float32.

    On int16 codes: interpolated between 513 of them.
    Errors: UnsupportedModel if a result leaves int32, which is undefined behaviour in TFLite.
    Source: tflite/kernels/internal/common.h, LUTPopulateInt8.
    """
    if expect_unary(node).type == "INT16":
        return _interpolated_params(node, function)
    scale, zero_point = positive_scale(node, node.input(0))
    output_scale, output_zero_point = positive_scale(node, node.outputs[0])

    def table(codes: Int64) -> Array:
        with np.errstate(all="ignore"):
            inverse_scale = np.float32(1) / output_scale
            real = function(scale * (codes - zero_point).astype(np.float32))
            steps = round_half_away(real * inverse_scale).astype(np.float32) + np.float32(output_zero_point)
        if not np.abs(steps).max() < 2.0**31:
            raise node.unsupported(
                f"the op's results leave int32 at the output scale {float(output_scale)!r}: undefined behaviour in "
                "TFLite. Calibrate the output with data that reaches them"
            )
        return np.clip(steps.astype(np.int64), *code_range(node.outputs[0].type))

    return table_params(node, table)


def _sum_table_params(node: Node, function: Callable[[Float32], Float32]) -> LookupParams:
    """The table clamp(round(function(s_in * (code - zp_in)) * (1 / s_out) + zp_out)), half-way values to even.

    Every step in float32, the sum too. Errors: InvalidModel.
    Source: google/XNNPACK, src/reference/unary-elementwise.cc, unary_ukernel_quantized; reference-utils.h, quantize.
    """
    scale, zero_point = positive_scale(node, expect_unary(node))
    output_scale, output_zero_point = positive_scale(node, node.outputs[0])

    def table(codes: Int64) -> Array:
        with np.errstate(all="ignore"):
            real = function((codes - zero_point).astype(np.float32) * scale)
            steps = np.rint(real * (np.float32(1) / output_scale) + np.float32(output_zero_point))
        return np.clip(np.where(np.isnan(steps), 0, steps), *code_range(node.outputs[0].type))

    return table_params(node, table)


def logistic_sum_params(node: Node) -> LookupParams:
    """The table of LOGISTIC on int8 or uint8, e^x / (1 + e^x) in float64; see _sum_table_params."""
    return _sum_table_params(node, sigmoid_in_float64)


def tanh_sum_params(node: Node) -> LookupParams:
    """The table of TANH on int8 or uint8; see _sum_table_params."""
    return _sum_table_params(node, tanhf)


def elu_sum_params(node: Node) -> LookupParams:
    """The table of ELU on int8; see _sum_table_params."""
    return _sum_table_params(node, elu)


def square_sum_params(node: Node) -> LookupParams:
    """The table of MUL of a tensor of int8 or uint8 by itself, with its fused activation; see _sum_table_params."""
    params = _sum_table_params(replace(node, inputs=node.inputs[:1]), np.square)
    return replace(params, table=np.clip(params.table, *fused_range(node)))


def _interpolated_params(
    node: Node, function: Callable[[Float32], Float32], allowed: Bounds = (None, None), refusal: str = ""
) -> LookupParams:
    """The table of a function of int16 codes, interpolated between 513 knots.

    A run refuses codes above the last knot that is a number: what TFLite's kernel makes of the others is undefined.
    Source: tflite/kernels/internal/common.h, LUTPopulateInt16, LUTLookup.
    """
    input, output = (positive_scale(node, operand) for operand in (node.input(0), node.outputs[0]))
    values = knots(function, *input, *output)
    undefined = np.isnan(values)
    if undefined.any():
        allowed = allowed[0], (int(undefined.argmax()) - 1 << STEP_BITS) + LEAST
        refusal = "a value whose result overflows float32, which is undefined behaviour in TFLite's kernel"
    table = np.where(undefined, 0, values).astype(np.int16)
    return replace(table_params(node, partial(interpolate, table), allowed, refusal), knots=table)


def _expect_zero_zero_points(node: Node) -> None:
    expect_zero_zero_point(node, node.input(0))
    expect_zero_zero_point(node, node.outputs[0])


def logistic_int16_params(node: Node) -> LookupParams:
    """The table of LOGISTIC on int16. The output scale must be exactly 2^-15, and zero points 0.

    Errors: InvalidModel, UnsupportedModel. Source: tflite/kernels/activations.cc, SigmoidPrepare;
    internal/reference/integer_ops/logistic.h, Logistic.
    """
    expect_unary(node)
    _expect_zero_zero_points(node)
    output_scale, _ = positive_scale(node, node.outputs[0])
    if output_scale != INT16_OUTPUT_SCALE:
        raise node.invalid(f"the output scale must be 1/32768, not {float(output_scale)!r}")
    return table_params(node, _rescaled(node, logistic_int16, (0,)))


def tanh_int16_params(node: Node) -> LookupParams:
    """The table of TANH on int16. The output scale must be 2^-15, within 0.07 %, and zero points 0.

    Errors: InvalidModel, UnsupportedModel. Source: tflite/kernels/activations.cc, TanhPrepare;
    internal/reference/integer_ops/tanh.h, Tanh.
    """
    expect_unary(node)
    _expect_zero_zero_points(node)
    output_scale, _ = positive_scale(node, node.outputs[0])
    if exact_log2(output_scale) != -15:
        raise node.invalid(f"the output scale must be 1/32768, not {float(output_scale)!r}")
    return table_params(node, _rescaled(node, tanh_int16, (0, 1)))


def logistic_int16_by_powers_params(node: Node) -> LookupParams:
    """As logistic_int16_params; but of an input scale of 2^-12 gemmlowp's logistic function of Q3.12.

    Source: tflite/kernels/activations.cc, SigmoidEval; internal/optimized/optimized_ops.h, Logistic.
    """
    params = logistic_int16_params(node)
    if exact_log2(positive_scale(node, node.input(0))[0]) != -12:
        return params
    return table_params(node, partial(looked_up, logistic_table(3)))


def tanh_int16_by_powers_params(node: Node) -> LookupParams:
    """As tanh_int16_params; but of an input scale of 2^-12 or 2^-11 gemmlowp's tanh of the codes as Q3.12, saturated.

    Source: tflite/kernels/activations.cc, TanhEval; internal/optimized/optimized_ops.h, Tanh.
    """
    params = tanh_int16_params(node)
    power = exact_log2(positive_scale(node, node.input(0))[0])
    if power not in (-12, -11):
        return params
    return table_params(node, lambda codes: looked_up(tanh_table(3), saturate(codes << power + 12, 16)))


def _rescaled(node: Node, function: Callable[[Int64], Int64], shifts: Sequence[int]) -> Callable[[Int64], Int64]:
    """function of (code * multiplier + half) >> shift: the codes in steps of 1 / (3 * 2^12).

    An input scale of 2^-12, or of 2^(k-12) for k in `shifts`, takes 3 * 2^k. Any other takes scale * 3 * 2^12 as an
    integer of 15 bits, not rounded, with a right shift.
    Errors: UnsupportedModel for a scale so small or large that TFLite's int32 arithmetic is undefined behaviour.
    """
    scale, _ = positive_scale(node, node.input(0))
    power = exact_log2(scale)
    if power is not None and power + 12 in shifts:
        multiplier, right = 3 << power + 12, 0
    else:
        real, right = float(scale) * 4096.0 * 3.0, 0
        while real <= 32767.0 / 2.0 and right <= 30:
            real, right = real * 2, right + 1
        multiplier = int(real)
    half = 1 << right >> 1
    if multiplier == 0 or multiplier * 2**15 + half >= 2**31:
        raise node.unsupported(
            f"the input scale {float(scale)!r} is too {'small' if multiplier == 0 else 'large'}: undefined behaviour "
            "in TFLite"
        )
    return lambda codes: function((codes * multiplier + half) >> right)


def rsqrt_int16_params(node: Node) -> LookupParams:
    """The table of RSQRT on int16, of which 0 is the largest code before it is lowered. A run refuses codes below 0.

    Errors: InvalidModel, UnsupportedModel. Source: tflite/kernels/elementwise.cc, GenericPrepare.
    """
    expect_unary(node)
    _expect_zero_zero_points(node)
    output_scale, _ = positive_scale(node, node.outputs[0])
    of_zero = np.float32(32767) * output_scale

    def function(x: Float32) -> Float32:
        return np.where(x <= 0, of_zero, rsqrtf(x))

    return _interpolated_params(node, function, (0, None), "RSQRT of a value below 0, which TFLite's kernel refuses")


def logistic_params(node: Node) -> LookupParams:
    """The table of LOGISTIC on int8 or uint8: 1 / (1 + e^-x). The output scale must be exactly 1/256.

    Errors: InvalidModel. Source: tflite/kernels/activations.cc, SigmoidPrepare.
    """
    output_scale, _ = positive_scale(node, node.outputs[0])
    if output_scale != LOGISTIC_OUTPUT_SCALE:
        raise node.invalid(f"the output scale must be 1/256, not {float(output_scale)!r}")
    return _float_table_params(node, sigmoid)


def tanh_params(node: Node) -> LookupParams:
    """The table of TANH on int8 or uint8. Errors: InvalidModel. Source: tflite/kernels/activations.cc, TanhPrepare."""
    return _float_table_params(node, tanhf)


def exp_params(node: Node) -> LookupParams:
    """The table of EXP on int8 or int16. Errors: InvalidModel, UnsupportedModel.

    Source: tflite/kernels/exp.cc, Prepare.
    """
    _expect_zero_zero_points(node)
    return _float_table_params(node, expf)


def elu_params(node: Node) -> LookupParams:
    """The table of ELU on int8: e^x - 1 below 0, else x. LiteRT's BUILTIN_REF resolver has no ELU; the other two do.

    Errors: InvalidModel, UnsupportedModel. Source: tflite/kernels/activations.cc, EluPrepare.
    """
    return _float_table_params(node, elu)


def elu_by_exponential_params(node: Node) -> LookupParams:
    """As elu_params, below 0 with e^x from which 1 is taken in float32.

    Errors: InvalidModel, UnsupportedModel. Source: tensorflow/lite/micro/kernels/elu.cc, CalculateOpData.
    """
    return _float_table_params(node, lambda x: np.where(x < 0, expf(x) - np.float32(1), x))


def gelu_params(node: Node) -> LookupParams:
    """The table of GELU on int8, uint8 or int16: x/2 * erfc(-x / sqrt 2), or the one with tanh for `approximate`.

    Errors: InvalidModel, UnsupportedModel. Source: tflite/kernels/activations.cc, GeluPrepare.
    """
    return _float_table_params(node, gelu_approximate if node.options.get("approximate", False) else gelu)


def log_params(node: Node) -> LookupParams:
    """The table of LOG on int8 or int16; values of 0 and below give the real value of the least output code.

    Errors: InvalidModel, UnsupportedModel. Source: tflite/kernels/elementwise.cc, LogLUTPrepare.
    """
    expect_unary(node)
    _expect_zero_zero_points(node)
    output_scale, output_zero_point = positive_scale(node, node.outputs[0])
    least, _ = code_range(node.outputs[0].type)
    return _float_table_params(node, partial(_log, np.float32(least - output_zero_point) * output_scale))


def _log(of_zero: np.float32, x: Float32) -> Float32:
    return np.where(x <= 0, of_zero, logf(x))
