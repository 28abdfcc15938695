"""Fixed-point reciprocals and inverse square roots, by Newton's method on whole arrays.

Source: google-ai-edge/LiteRT, tflite/kernels/internal/common.h (GetReciprocal, GetInvSqrtQuantizedMultiplierExp).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from refquant.arithmetic.fixed_point import (
    INT32_MAX,
    Int64,
    _int64,
    count_leading_zeros,
    one_over_one_plus_x_for_x_in_0_1,
    rounding_divide_by_pot,
    saturate,
    saturating_rounding_doubling_high_mul,
)


def reciprocal(x: ArrayLike, integer_bits: int) -> tuple[Int64, Int64]:
    """1/x as (scale, bits): 1/x = scale * 2^-31 * 2^-bits. scale is Q0.31, `bits` the bits of x above one.

    x: 1 to 2^32 - 1, read as Q`integer_bits`.(31-integer_bits).
    """
    x = _int64(x)
    headroom = count_leading_zeros(x)
    return one_over_one_plus_x_for_x_in_0_1((x << headroom) - (1 << 31)), integer_bits - headroom


def inverse_sqrt_multiplier(x: ArrayLike) -> tuple[Int64, Int64]:
    """1/sqrt(x) as (multiplier, shift): 1/sqrt(x) = multiplier * 2^(shift - 31), shift <= 0. x: 0 counts as 1.

    Five Newton steps y <- y * (3 - x*y^2) / 2 in Q3.28, from y = 1, on x scaled by a power of 4 into [1/4, 1).
    x: int32 values; negative ones count as 1 too.
    """
    srdhm = saturating_rounding_doubling_high_mul
    given = _int64(x)
    x = np.maximum(given, 2)
    too_large = x >= 1 << 29
    x = np.where(too_large, x >> 2, x)
    pairs = (count_leading_zeros(x) - 1) // 2 - 1
    x = (x << (2 * pairs)) >> 1
    half, half_three = rounding_divide_by_pot(x, 1), (1 << 28) + (1 << 27)
    y = np.full_like(x, 1 << 28)
    for _ in range(5):
        cube = saturate(srdhm(srdhm(y, y), y) << 6, 32)
        y = saturate((srdhm(half_three, y) - srdhm(half, cube)) << 3, 32)
    y = srdhm(y, 1518500250)  # sqrt(1/2)
    right = 11 + too_large - pairs
    y, right = y << np.maximum(-right, 0), np.maximum(right, 0)
    return np.where(given <= 1, INT32_MAX, y), np.where(given <= 1, 0, -right)
