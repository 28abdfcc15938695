"""LEAKY_RELU and QUANTIZE from codes of 8 bits to codes of their type, with multipliers that are whole 256ths.

Source: google/XNNPACK, src/microparams-init.c, xnn_init_qs8_lrelu_scalar_params, xnn_init_qs8_cvt_scalar_params;
src/qs8-vlrelu/, src/qu8-vlrelu/, src/qs8-vcvt/, src/qu8-vcvt/.
"""

from __future__ import annotations

import numpy as np

from refquant.arithmetic.fixed_point import Int64
from refquant.kernels.elementwise import LookupParams, code_range, expect_unary, positive_scale, table_params
from refquant.kernels.kernel import Node

ONE = 256


def leaky_relu_in_256ths_params(node: Node) -> LookupParams:
    """The table clamp((v * m + 128 >> 8) + zp_out), v = code - zp_in, of LEAKY_RELU, with an m for v > 0 and another.

    m = round(256 * (s_in / s_out)) and round(256 * (s_in / s_out * alpha)) in float32, half-way values to even.
    Errors: InvalidModel.
    """
    ratio = _ratio(node)
    alpha = np.float32(node.options.get("alpha", 0.0))
    return _table_params(node, int(np.rint(ONE * ratio)), int(np.rint(ONE * (ratio * alpha))))


def requantize_in_256ths_params(node: Node) -> LookupParams:
    """The table clamp((v * m + 128 >> 8) + zp_out), v = code - zp_in, of QUANTIZE: m = round(256 * (s_in / s_out)).

    In float32, half-way values to even. Errors: InvalidModel.
    """
    multiplier = int(np.rint(ONE * _ratio(node)))
    return _table_params(node, multiplier, multiplier)


def _ratio(node: Node) -> np.float32:
    scale, _ = positive_scale(node, expect_unary(node))
    return np.float32(scale / positive_scale(node, node.outputs[0])[0])


def _table_params(node: Node, above: int, below: int) -> LookupParams:
    _, zero_point = positive_scale(node, node.input(0))
    _, output_zero_point = positive_scale(node, node.outputs[0])

    def table(codes: Int64) -> Int64:
        v = codes - zero_point
        steps = v * np.where(v > 0, above, below) + ONE // 2 >> 8
        return np.asarray(np.clip(steps + output_zero_point, *code_range(node.outputs[0].type)))

    return table_params(node, table)
