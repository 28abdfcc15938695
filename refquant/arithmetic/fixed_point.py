"""gemmlowp's fixed-point primitives on whole arrays.

Every function takes integer arrays (or Python ints) whose values lie in the int32 range and returns int64 arrays whose
values lie in the int32 range, so that no step can overflow unseen.
Source: google/gemmlowp, fixedpoint/fixedpoint.h; google-ai-edge/LiteRT, tflite/kernels/internal/common.h.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Int64 = NDArray[np.int64]

INT32_MIN = -(2**31)
INT32_MAX = 2**31 - 1


def _int64(x: ArrayLike) -> Int64:
    return np.asarray(x, dtype=np.int64)


def wrap_int32(x: ArrayLike) -> Int64:
    """x modulo 2^32, read as int32: what a C++ int32 accumulator holds. x: any int64 values."""
    return _int64(x).astype(np.int32).astype(np.int64)


def saturate(x: ArrayLike, bits: int) -> Int64:
    """x limited to the range of a signed integer of `bits` bits."""
    return np.asarray(np.clip(_int64(x), -(1 << (bits - 1)), (1 << (bits - 1)) - 1))


def saturating_rounding_doubling_high_mul(a: ArrayLike, b: ArrayLike, bits: int = 32) -> Int64:
    """floor((a*b + 2^(bits-2)) / 2^(bits-1)): the high half of 2*a*b, half-way values rounded up.

    a = b = minimum saturates to the maximum. a, b: signed values of `bits` bits (32 or 16).
    """
    a, b = _int64(a), _int64(b)
    high = (a * b + (1 << (bits - 2))) >> (bits - 1)
    return np.asarray(np.minimum(high, (1 << (bits - 1)) - 1))


def rounding_divide_by_pot(x: ArrayLike, exponent: ArrayLike) -> Int64:
    """x / 2^exponent, half-way values rounded away from zero. exponent: 0 to 31."""
    x, exponent = _int64(x), _int64(exponent)
    half = (np.int64(1) << exponent) >> 1
    return (x + half - ((x < 0) & (half > 0))) >> exponent


def rounding_divide_by_pot_int16(x: ArrayLike, exponent: int) -> Int64:
    """x / 2^exponent, half away from zero, in gemmlowp's int16 arithmetic. x: int16 values; exponent: 0 to 31.

    Beyond an exponent of 15 its mask wraps to -1, so that every negative x gives -1 and every other one 1.
    """
    x = _int64(x)
    mask = int(np.int64((1 << exponent) - 1).astype(np.int16))
    return (x >> exponent) + ((x & mask) > (mask >> 1) + (x < 0))


def saturating_rounding_multiply_by_pot(x: ArrayLike, exponent: int, bits: int = 32) -> Int64:
    """x * 2^exponent: saturating for a positive exponent, rounding half away from zero for a negative one."""
    if exponent < 0:
        return rounding_divide_by_pot(x, -exponent)
    return saturate(_int64(x) << exponent, bits)


def rounding_half_sum(a: ArrayLike, b: ArrayLike) -> Int64:
    """(a + b) / 2, half-way values rounded away from zero."""
    return rounding_divide_by_pot(_int64(a) + _int64(b), 1)


# exp(-2^k) as Q0.31, for k = -2 … 4.
_EXP_BARREL_SHIFTER: tuple[tuple[int, int], ...] = (
    (-2, 1672461947),
    (-1, 1302514674),
    (0, 790015084),
    (1, 290630308),
    (2, 39332535),
    (3, 720401),
    (4, 242),
)


def _exp_on_interval_between_negative_one_quarter_and_0_excl(a: Int64) -> Int64:
    """exp(a) for a in [-1/4, 0), both Q0.31: a Taylor polynomial of degree 4 around -1/8."""
    srdhm = saturating_rounding_doubling_high_mul
    constant_term, constant_1_over_3 = 1895147668, 715827883  # exp(-1/8), 1/3
    x = a + (1 << 28)
    x2 = srdhm(x, x)
    x3 = srdhm(x2, x)
    x4 = srdhm(x2, x2)
    x4_over_4 = rounding_divide_by_pot(x4, 2)
    x4_over_24_plus_x3_over_6_plus_x2_over_2 = rounding_divide_by_pot(srdhm(x4_over_4 + x3, constant_1_over_3) + x2, 1)
    # gemmlowp adds with saturation here; the sum stays inside the range for every a of the interval.
    return saturate(constant_term + srdhm(constant_term, x + x4_over_24_plus_x3_over_6_plus_x2_over_2), 32)


def exp_on_negative_values(a: ArrayLike, integer_bits: int) -> Int64:
    """exp(a) as Q0.31 for a <= 0 in Q`integer_bits`.(31-integer_bits). exp(0) is 2^31 - 1."""
    a = _int64(a)
    fractional_bits = 31 - integer_bits
    one_quarter = np.int64(1) << (fractional_bits - 2)
    a_mod_quarter_minus_quarter = (a & (one_quarter - 1)) - one_quarter
    result = _exp_on_interval_between_negative_one_quarter_and_0_excl(a_mod_quarter_minus_quarter << integer_bits)
    remainder = a_mod_quarter_minus_quarter - a
    for exponent, multiplier in _EXP_BARREL_SHIFTER:
        if integer_bits > exponent:
            bit = np.int64(1) << (fractional_bits + exponent)
            scaled = saturating_rounding_doubling_high_mul(result, multiplier)
            result = np.where(remainder & bit, scaled, result)
    if integer_bits > 5:
        result = np.where(a < -(np.int64(1) << (fractional_bits + 5)), 0, result)
    return np.where(a == 0, INT32_MAX, result)


def one_over_one_plus_x_for_x_in_0_1(a: ArrayLike) -> Int64:
    """1 / (1 + a) for a in [0, 1), both Q0.31."""
    return saturating_rounding_multiply_by_pot(_one_over(rounding_half_sum(a, INT32_MAX)), 1)


def _one_over(half_denominator: Int64) -> Int64:
    """1 / half_denominator, Q0.31 in [1/2, 1), as Q2.29: three steps of Newton's division from 48/17 - 32/17 * it."""
    srdhm = saturating_rounding_doubling_high_mul
    x = 1515870810 + srdhm(half_denominator, -1010580540)  # Q2.29
    for _ in range(3):
        half_denominator_times_x = srdhm(half_denominator, x)
        one_minus = (1 << 29) - half_denominator_times_x
        x = x + saturating_rounding_multiply_by_pot(srdhm(x, one_minus), 2)
    return x


def logistic(a: ArrayLike, integer_bits: int) -> Int64:
    """1 / (1 + e^-a) as Q0.31, a in Q`integer_bits`.(31-integer_bits)."""
    a = _int64(a)
    of_magnitude = one_over_one_plus_x_for_x_in_0_1(exp_on_negative_values(-np.abs(a), integer_bits))
    return np.where(a == 0, 1 << 30, np.where(a > 0, of_magnitude, INT32_MAX - of_magnitude))


def tanh(a: ArrayLike, integer_bits: int) -> Int64:
    """tanh(a) as Q0.31, a in Q`integer_bits`.(31-integer_bits)."""
    a = _int64(a)
    half_denominator = rounding_half_sum(exp_on_negative_values(-np.abs(a), integer_bits + 1), INT32_MAX)
    of_magnitude = saturating_rounding_multiply_by_pot(_one_over(half_denominator) - (1 << 29), 2)
    return np.where(a == 0, 0, np.where(a < 0, -of_magnitude, of_magnitude))


def count_leading_zeros(x: ArrayLike) -> Int64:
    """Leading zero bits of x as an unsigned 32-bit number. x: 0 to 2^32 - 1."""
    x = _int64(x)
    _, exponent = np.frexp(x.astype(np.float64))  # exact: x < 2^53
    return np.asarray(32 - np.where(x == 0, 0, exponent), np.int64)
