"""ADD and SUB of codes with one right shift: each input times an integer of up to 21 bits, the sum shifted at the end.

And the shape that ADD, SUB and MUL have where XNNPACK makes a table of them; and MUL, where it is a square.

Source: google/XNNPACK, src/microparams-init.c, xnn_init_qs8_add_minmax_scalar_params; src/qs8-vadd/, src/qu8-vadd/;
src/operators/binary-elementwise-nd.c (SUB is ADD with a negative second scale).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from refquant.kernels.activation import fused_range
from refquant.kernels.binary import mul, mul_params
from refquant.kernels.checks import expect_same_type
from refquant.kernels.elementwise import LookupParams, by_pairs, expect_binary, look_up, positive_scale, with_pairs
from refquant.kernels.kernel import Node, Shape
from refquant.kernels.lookup import square_sum_params
from refquant.model.graph import DTYPES, Array

MULTIPLIER_BITS = 20  # the larger multiplier lies between 2^20 and 2^21


@dataclass(frozen=True, slots=True)
class OneShiftParams:
    """ADD, SUB: clamp(((code1 * multiplier1 + code2 * multiplier2 + bias) >> shift) + output zero point).

    `bias` holds both zero points and the half of a step by which the shift rounds.
    """

    multiplier1: int
    multiplier2: int
    bias: int
    shift: int
    output_zero_point: int
    low: int
    high: int
    type: str
    output_shapes: tuple[Shape]
    pairs: Array | None = None


def one_shift_params(node: Node) -> OneShiftParams:
    """Decodes ADD or SUB on int8 or uint8: the multipliers are round(s_i / s_out * 2^shift), half-way values to even.

    s_i / s_out is float32; the shift is the largest with which neither multiplier leaves 21 bits.
    Errors: InvalidModel; UnsupportedModel for an s_i / s_out that is not from 2^-10 up to below 2^8.
    """
    a, b, shape = expect_binary(node)
    expect_same_type(node, a, node.outputs[0])
    (scale1, zero_point1), (scale2, zero_point2) = positive_scale(node, a), positive_scale(node, b)
    output_scale, output_zero_point = positive_scale(node, node.outputs[0])
    with np.errstate(over="ignore"):
        ratios = np.array([scale1 / output_scale, scale2 / output_scale], np.float32)
    if not (ratios.min() >= 2.0**-10 and ratios.max() < 2.0**8):
        raise node.unsupported("input scale / output scale must be from 1/1024 up to below 256")
    shift = MULTIPLIER_BITS + 1 - int(np.frexp(ratios.max())[1])
    multiplier1, multiplier2 = (int(m) for m in np.rint(np.ldexp(ratios, shift)))
    if node.op == "SUB":
        multiplier2 = -multiplier2
    bias = (1 << shift - 1) - multiplier1 * zero_point1 - multiplier2 * zero_point2
    clamp, type = fused_range(node), a.type
    params = OneShiftParams(multiplier1, multiplier2, bias, shift, output_zero_point, *clamp, type, (shape,))
    return with_pairs(_shifted_sum, params, type)


def one_shift_sum(params: OneShiftParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """The formula of OneShiftParams. arrays: two int8 or two uint8 arrays. Returns the same type, broadcast."""
    return by_pairs(_shifted_sum, params, arrays)


def _shifted_sum(params: OneShiftParams, a: Array, b: Array) -> Array:
    total = a.astype(np.int64) * params.multiplier1 + b.astype(np.int64) * params.multiplier2 + params.bias
    codes = (total >> params.shift) + params.output_zero_point
    return np.asarray(np.clip(codes, params.low, params.high).astype(DTYPES[params.type]))


# ---- where the op and its activation become one table of the input's codes ----


@dataclass(frozen=True, slots=True)
class TableShapedParams:
    """An op whose output has the shape of its one input that is no constant: without the constant's first axes."""

    params: Any
    extra_axes: int
    output_shapes: tuple[Shape]


def table_shaped_params(prepare: Callable[[Node], Any], node: Node) -> Any:
    """prepare(node), TableShapedParams if an activation is fused and a constant of one element has more axes.

    Source: google/XNNPACK, src/subgraph.c, run_subgraph_to_make_lut.
    """
    params = prepare(node)
    a, b = node.input(0), node.input(1)
    one, other = (a, b) if len(a.shape) > len(b.shape) else (b, a)
    extra = len(one.shape) - len(other.shape)
    is_clamped = node.options.get("fused_activation_function", "NONE") != "NONE"
    if not (is_clamped and extra and one.value is not None and one.value.size == 1):
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
