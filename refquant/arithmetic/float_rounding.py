"""TFLite's double rounding as exact float64 arithmetic, in a few passes over whole blocks.

With M = multiplier * 2^(shift - 31), acc = x + bias and right = max(-shift, 0), the double rounding is
    t = floor(acc * M * 2^right + 1/2),  result = t / 2^right rounded half away from zero,
and float64 computes it exactly while no number needs more than 53 bits. Where only results >= 0 matter (the clamp cuts
off the others), a result is at least k >= 1 exactly if acc * M >= k - 1/2 - 2^-(right+1) (k - 1/2 for right = 0), so
that one floor does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refquant.arithmetic.fixed_point import INT32_MAX, Int64
from refquant.arithmetic.multiplier import Multiplier

Float64 = NDArray[np.float64]

EXACT = 2.0**52
LARGEST_RESULT = 2**9  # every result inside an 8-bit clamp, less the zero point, and then some
AWAY_FROM_ZERO = 1 + 2.0**-40  # lifts a half-way value of up to 2^22 steps over the half, and nothing else


@dataclass(frozen=True, slots=True)
class FloatRounding:
    """result = floor(x * scale + offset), and if `second` is set, rint of that times `second`. All are (channels,)."""

    scale: Float64
    offset: Float64
    second: Float64 | None
    largest: float  # no |result| is larger


def float_rounding(
    record: Multiplier, bias: Int64, product_bound: int, non_negative: bool, channels: int
) -> FloatRounding | None:
    """The double rounding of x + bias for integers |x| <= product_bound; None where float64 might not be exact.

    bias: (channels,). non_negative: results below 0 may come out as any other results below or at 0.
    Results inside +-LARGEST_RESULT are exact; those outside stay outside on their side. All that meets there are
    multiples of one power of two: x and bias times q, and the half.
    """
    q = np.broadcast_to(record.multiplier, channels).astype(np.float64)
    shift = np.broadcast_to(record.shift, channels).astype(np.int64)
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    bias_bound = np.abs(bias).astype(np.float64)
    acc_bound = product_bound + bias_bound
    real = q * 2.0 ** (left - right - 31)
    q = np.where(acc_bound * real < 0.25, 0, q)  # the result is 0: channels of almost no weight
    with np.errstate(divide="ignore"):
        in_reach = np.minimum(product_bound, bias_bound + LARGEST_RESULT * 2.0 ** (31 + right - left) / q)
    half_in_units = 2.0 ** (31 + (right if non_negative else 0)) * (q > 0)
    exact = (
        np.all(acc_bound * 2.0**left <= INT32_MAX)  # neither the accumulator nor its left shift wraps
        and np.all((in_reach + bias_bound) * q + half_in_units <= EXACT)
    )
    if not exact:
        return None
    largest = float((acc_bound * real).max(initial=0)) + 1
    first = q * 2.0 ** (left - 31)
    if non_negative:
        half = 0.5 + np.where(right > 0, 2.0 ** -(right + 1.0), 0.0)
        return FloatRounding(first * 2.0**-right, bias * first * 2.0**-right + half, None, largest)
    return FloatRounding(first, bias * first + 0.5, 2.0**-right * AWAY_FROM_ZERO, largest)
