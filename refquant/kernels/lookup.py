"""Tables of float32 functions on 8-bit codes: LOGISTIC, TANH, EXP, ELU, GELU, LOG.

Source: tflite/kernels/internal/common.h, LUTPopulate; activations.cc, exp.cc, elementwise.cc.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from refquant.arithmetic.fixed_point import Int64
from refquant.arithmetic.float_functions import Float32, elu, expf, gelu, gelu_approximate, logf, sigmoid, tanhf
from refquant.arithmetic.multiplier import round_half_away
from refquant.kernels.elementwise import LookupParams, code_range, expect_unary, positive_scale, table_params
from refquant.kernels.kernel import Node
from refquant.model.graph import Array

LOGISTIC_OUTPUT_SCALE = 1 / 256


def _float_table_params(node: Node, function: Callable[[Float32], Float32]) -> LookupParams:
    """The table clamp(round(function(s_in * (code - zp_in)) * (1 / s_out)) + zp_out), every step in float32.

    Errors: UnsupportedModel if a result leaves int32, which is undefined behaviour in TFLite.
    Source: tflite/kernels/internal/common.h, LUTPopulateInt8.
    """
    expect_unary(node)
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
    """The table of EXP on int8. Errors: InvalidModel, UnsupportedModel. Source: tflite/kernels/exp.cc, Prepare."""
    return _float_table_params(node, expf)


def elu_params(node: Node) -> LookupParams:
    """The table of ELU on int8: e^x - 1 below 0, else x. LiteRT's BUILTIN_REF resolver has no ELU; the other two do.

    Errors: InvalidModel, UnsupportedModel. Source: tflite/kernels/activations.cc, EluPrepare.
    """
    return _float_table_params(node, elu)


def gelu_params(node: Node) -> LookupParams:
    """The table of GELU on int8 or uint8: x/2 * erfc(-x / sqrt 2), or the one with tanh for `approximate`.

    Errors: InvalidModel, UnsupportedModel. Source: tflite/kernels/activations.cc, GeluPrepare.
    """
    return _float_table_params(node, gelu_approximate if node.options.get("approximate", False) else gelu)


def log_params(node: Node) -> LookupParams:
    """The table of LOG on int8; values of 0 and below give the real value of the least output code.

    Errors: InvalidModel, UnsupportedModel. Source: tflite/kernels/elementwise.cc, LogLUTPrepare.
    """
    output_scale, output_zero_point = positive_scale(node, node.outputs[0])
    least, _ = code_range(node.outputs[0].type)
    return _float_table_params(node, partial(_log, np.float32(least - output_zero_point) * output_scale))


def _log(of_zero: np.float32, x: Float32) -> Float32:
    return np.where(x <= 0, of_zero, logf(x))
