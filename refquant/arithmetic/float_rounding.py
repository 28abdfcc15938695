"""TFLite's double rounding in float64, in a few passes over whole blocks, where that gives the same results.

With M = multiplier * 2^(shift - 31), acc = x + bias and right = max(-shift, 0), the double rounding is
    t = floor(acc * M * 2^right + 1/2),  result = t / 2^right rounded half away from zero.
Where half-way values go up, or where the clamp leaves only results >= 0, a result is at least k exactly if
acc * M >= k - 1/2 - 2^-(right + 1) (k - 1/2 for right = 0), so that one floor does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refquant.arithmetic.fixed_point import INT32_MAX, Int64
from refquant.arithmetic.multiplier import Multiplier, multiply_by_quantized_multiplier

Float64 = NDArray[np.float64]

EXACT = 2.0**52  # whole numbers up to here, and the sums of two of them, are exact in float64
AWAY_FROM_ZERO = 1 + 2.0**-40  # lifts a half-way value up to 2^9 over the half, but no other multiple of 2^-30


@dataclass(frozen=True, slots=True)
class FloatRounding:
    """result = floor(x * scale + offset), and if `second` is set, rint of that times `second`. All are (channels,)."""

    scale: Float64
    offset: Float64
    second: Float64 | None
    largest: float  # no |result| is larger

    def apply(self, x: Int64) -> Float64:
        """The results for x (..., channels)."""
        floor = np.floor(x * self.scale + self.offset)
        return floor if self.second is None else np.rint(floor * self.second)


def float_rounding(
    record: Multiplier, bias: Int64, bound: int, low: int, high: int, away: NDArray[np.bool_]
) -> FloatRounding | None:
    """The double rounding of x + bias for integers |x| <= bound, to be clamped to [low, high].

    bias: (channels,); -512 <= low <= high <= 512; away: (channels,) as in multiply_by_quantized_multiplier. None where
    the accumulator or its left shift may wrap, or where float64 cannot be shown to give the same clamped results.
    """
    if low < -512 or high > 512:
        return None
    multiplier = np.broadcast_to(record.multiplier, bias.shape).astype(np.int64)
    shift = np.broadcast_to(record.shift, bias.shape).astype(np.int64)
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    if np.any((bound + np.abs(bias)) * 2.0**left > INT32_MAX):
        return None
    first = multiplier * 2.0 ** (left - 31)
    largest = float(((bound + np.abs(bias)) * first * 2.0**-right).max(initial=0)) + 1
    one_floor = ~away if low < 0 else np.ones(bias.shape, bool)
    half = 0.5 + np.where(one_floor & (right > 0), 2.0 ** -(right + 1.0), 0.0)
    scale = np.where(one_floor, first * 2.0**-right, first)
    second = None if one_floor.all() else np.where(one_floor, 1.0, 2.0**-right * AWAY_FROM_ZERO)
    rounding = FloatRounding(scale, bias * scale + half, second, largest)
    doubtful = ~_exact(multiplier, left, right, bias, bound, one_floor)
    return rounding if _agrees(rounding, multiplier, shift, bias, bound, low, high, away, doubtful) else None


def _exact(
    multiplier: Int64, left: Int64, right: Int64, bias: Int64, bound: int, one_floor: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Where float64 computes every result inside +-512 exactly; it is monotonic, so no other result comes inside.

    In units of 2^(left - 31), or 2^(left - right - 31) for one floor, all numbers that meet are whole: x and bias times
    the multiplier, and the half.
    """
    with np.errstate(divide="ignore"):
        in_reach = np.minimum(bound, np.abs(bias) + 512 * 2.0 ** (31 + right - left) / multiplier)
    half = np.where(one_floor, 2.0 ** (31 + right), 2.0**31)
    return np.asarray((in_reach + np.abs(bias)) * multiplier + half <= EXACT)


def _agrees(
    rounding: FloatRounding,
    multiplier: Int64,
    shift: Int64,
    bias: Int64,
    bound: int,
    low: int,
    high: int,
    away: NDArray[np.bool_],
    channels: NDArray[np.bool_],
) -> bool:
    """Whether float64 and integers step from k - 1 to k at the same x, for all k in (low, high] and these channels.

    Both are monotonic, so that a few x around each step decide.
    """
    if not channels.any():
        return True
    multiplier, shift, bias, away = multiplier[channels], shift[channels], bias[channels], away[channels]
    second = None if rounding.second is None else rounding.second[channels]
    part = FloatRounding(rounding.scale[channels], rounding.offset[channels], second, rounding.largest)

    def integers(x: Int64) -> Int64:
        return np.clip(multiply_by_quantized_multiplier(x + bias, multiplier, shift, away), low, high)

    ends = integers(np.array([[-bound], [bound]]))
    steps = np.arange(ends.min() + 1, ends.max() + 1)[:, np.newaxis]
    near = np.round((steps - 0.5) / (multiplier * 2.0 ** (shift - 31.0)) - bias)
    x = np.clip(near + np.arange(-3, 4)[:, np.newaxis, np.newaxis], -bound, bound).astype(np.int64)
    expected = integers(x)
    found = ((expected[0] < steps) | (x[0] == -bound)) & ((expected[-1] >= steps) | (x[-1] == bound))
    x = np.concatenate([x.reshape(-1, bias.size), np.array([[-bound], [bound]]) + 0 * bias])
    return bool(found.all() and np.array_equal(np.clip(part.apply(x), low, high), integers(x)))
