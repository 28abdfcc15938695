"""The fixed-point natural logarithm, on whole arrays.

Source: google-ai-edge/LiteRT, tflite/kernels/internal/common.h, log_x_for_x_greater_than_or_equal_to_1_impl.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from refquant.arithmetic.fixed_point import (
    Int64,
    _int64,
    count_leading_zeros,
    one_over_one_plus_x_for_x_in_0_1,
    rounding_divide_by_pot,
    rounding_half_sum,
    saturate,
    saturating_rounding_doubling_high_mul,
)

# Q0.31 constants, with root = 2^(1/4).
_LOG_2 = 1488522236
_SQRT_HALF = 1518500250
_SQRT_SQRT_HALF = 1805811301
_ALPHA_N = 117049297  # 11/240 root
_ALPHA_D = 127690142  # 1/20 root
_ALPHA_I = 1057819769  # 2/root - root
_ALPHA_F = 638450708  # 1/4 root


def log_x_for_x_greater_than_or_equal_to_1(x: ArrayLike, integer_bits: int, output_integer_bits: int) -> Int64:
    """log(x) = power * log 2 + log(r): x is a power of two times r near sqrt(sqrt(1/2)), log(r) a rational function.

    x: Q`integer_bits`.(31-integer_bits), 1.0 or more; the result is Q`output_integer_bits`.(31-output_integer_bits).
    """
    srdhm = saturating_rounding_doubling_high_mul
    x = _int64(x)
    fraction_bits = 31 - (output_integer_bits + 1)  # one bit of headroom until the end
    quarter = rounding_divide_by_pot(1 << 29, output_integer_bits + 1)

    # Two candidates for the power, half a power apart: the smaller rest is the one nearer to the expansion point.
    zeros = count_leading_zeros(x)
    rest_a = saturate(srdhm(saturate(x << (zeros - 1), 32), _SQRT_HALF) << 1, 32)
    power_a = saturate(saturate((integer_bits - zeros) << fraction_bits, 32) + quarter, 32)
    headroom = count_leading_zeros(srdhm(x, _SQRT_HALF)) - 1
    rest_b = saturate(x << headroom, 32)
    power_b = saturate(saturate((integer_bits - headroom) << fraction_bits, 32) - quarter, 32)
    r, power = np.minimum(rest_a, rest_b), np.maximum(power_a, power_b)

    p = rounding_half_sum(r, _SQRT_SQRT_HALF)
    q = 2 * (r - _SQRT_SQRT_HALF)
    square = srdhm(q, q)
    numerator = srdhm(q, r) + srdhm(srdhm(q, square), _ALPHA_N)
    denominator_minus_one = srdhm(p, _ALPHA_I + q + srdhm(_ALPHA_D, square)) + srdhm(_ALPHA_F, q)
    inverse = one_over_one_plus_x_for_x_in_0_1(denominator_minus_one)
    log_r = srdhm(rounding_divide_by_pot(numerator, output_integer_bits + 1), inverse)
    return saturate((srdhm(power, _LOG_2) + log_r) << 1, 32)
