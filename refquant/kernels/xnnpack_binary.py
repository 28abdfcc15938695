"""ADD and SUB of codes with one right shift: each input times an integer of up to 21 bits, the sum shifted at the end.

Source: google/XNNPACK, src/microparams-init.c, xnn_init_qs8_add_minmax_scalar_params; src/qs8-vadd/, src/qu8-vadd/;
src/operators/binary-elementwise-nd.c (SUB is ADD with a negative second scale).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from refquant.kernels.activation import fused_range
from refquant.kernels.elementwise import by_pairs, expect_scaled_binary, with_pairs
from refquant.kernels.kernel import Node, Shape
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
    The delegate takes s_i / s_out from 2^-10 up to below 2^8. Errors: InvalidModel.
    """
    shape, ((scale1, zero_point1), (scale2, zero_point2), output) = expect_scaled_binary(node)
    output_scale, output_zero_point = output
    ratios = np.array([scale1 / output_scale, scale2 / output_scale], np.float32)
    shift = MULTIPLIER_BITS + 1 - int(np.frexp(ratios.max())[1])
    multiplier1, multiplier2 = (int(m) for m in np.rint(np.ldexp(ratios, shift)))
    if node.op == "SUB":
        multiplier2 = -multiplier2
    bias = (1 << shift - 1) - multiplier1 * zero_point1 - multiplier2 * zero_point2
    clamp, type = fused_range(node), node.outputs[0].type
    params = OneShiftParams(multiplier1, multiplier2, bias, shift, output_zero_point, *clamp, type, (shape,))
    return with_pairs(_shifted_sum, params, type)


def one_shift_sum(params: OneShiftParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """The formula of OneShiftParams. arrays: two int8 or two uint8 arrays. Returns the same type, broadcast."""
    return by_pairs(_shifted_sum, params, arrays)


def _shifted_sum(params: OneShiftParams, a: Array, b: Array) -> Array:
    total = a.astype(np.int64) * params.multiplier1 + b.astype(np.int64) * params.multiplier2 + params.bias
    codes = (total >> params.shift) + params.output_zero_point
    return np.asarray(np.clip(codes, params.low, params.high).astype(DTYPES[params.type]))
