"""8-bit codes of one tensor in XNNPACK: LEAKY_RELU, QUANTIZE; ADD, SUB and MUL with a constant; MUL by itself.

Source: google/XNNPACK, src/microparams-init.c, xnn_init_qs8_lrelu_scalar_params, xnn_init_qs8_cvt_scalar_params;
src/qs8-vlrelu/, src/qu8-vlrelu/, src/qs8-vcvt/, src/qu8-vcvt/; src/subgraph.c, which turns binary ops into others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from refquant.arithmetic.fixed_point import Int64
from refquant.kernels.binary import mul, mul_params
from refquant.kernels.elementwise import LookupParams, code_range, expect_unary, look_up, positive_scale, table_params
from refquant.kernels.kernel import Node, Shape
from refquant.kernels.lookup import square_sum_params
from refquant.model.graph import Array

ONE = 256

# ---- LEAKY_RELU, QUANTIZE: multipliers that are whole 256ths ----


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


# ---- ADD, SUB, MUL: with a constant they are one table of the other's codes, and MUL by itself one of a square ----


@dataclass(frozen=True, slots=True)
class TableShapedParams:
    """An op whose output has the shape of its one input that is no constant: without the constant's first axes."""

    params: Any
    extra_axes: int
    output_shapes: tuple[Shape]


def table_shaped_params(prepare: Callable[[Node], Any], node: Node) -> Any:
    """prepare(node), TableShapedParams if an activation is fused and of two operands one is a constant, has one element
    and more axes.

    Source: google/XNNPACK, src/subgraph.c, run_subgraph_to_make_lut.
    """
    params = prepare(node)
    a, b = node.input(0), node.input(1)
    one, other = (a, b) if len(a.shape) > len(b.shape) else (b, a)
    extra = len(one.shape) - len(other.shape)
    is_clamped = node.options.get("fused_activation_function", "NONE") != "NONE"
    if not (is_clamped and extra and one.stored and not other.stored and math.prod(one.shape) == 1):
        return params
    return TableShapedParams(params, extra, (other.shape,))


def table_shaped(
    run: Callable[[Any, Sequence[Array | None]], tuple[Array, ...]], params: Any, arrays: Sequence[Array | None]
) -> tuple[Array, ...]:
    """run(params, arrays), in the shape that TableShapedParams tell."""
    if not isinstance(params, TableShapedParams):
        return run(params, arrays)
    (result,) = run(params.params, arrays)
    samples = result.ndim - params.extra_axes - len(params.output_shapes[0])
    return (result.reshape((*result.shape[:samples], *params.output_shapes[0])),)


def product_or_square_params(node: Node) -> Any:
    """Those of a product; of a tensor by itself the table of a square.

    Source: google/XNNPACK, src/subgraph.c, optimize_common_subgraphs_mul_to_sqr.
    """
    a, b = node.input(0), node.input(1)
    if a.name == b.name and a.quantization is b.quantization:  # one record a tensor
        return square_sum_params(node)
    return table_shaped_params(mul_params, node)


def product_or_square(params: Any, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """What product_or_square_params tell. arrays: the two operands."""
    if isinstance(params, LookupParams):
        return look_up(params, arrays[:1])
    return table_shaped(mul, params, arrays)
