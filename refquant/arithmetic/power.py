"""powf of the GNU C library on whole arrays, bit for bit: what the float32 POW kernel calls; and pow, as float32.

powf: x^y = 2^(y log2 x), the logarithm and the power of two as polynomials in float64 around the entries of tables, as
in glibc 2.28 and newer on a processor with fused multiply-add (every x86-64 since 2013, every aarch64), where every
product that is added to rounds once.
Source: glibc 2.36, sysdeps/ieee754/flt-32/: e_powf.c, e_powf_log2_data.c, e_exp2f_data.c.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refquant.arithmetic.float_functions import (
    EXP2_C0,
    EXP2_C1,
    EXP2_C2,
    LOG_INVERSES,
    LOG_OFFSET,
    STEPS,
    Float32,
    Float64,
    as_float32,
    float64s,
    two_to_the,
)
from refquant.arithmetic.fused_multiply_add import fused_multiply_add

# log2 of the middles of the 16 intervals of LOG_INVERSES, and log2(1 + r) near A4 r + A3 r^2 + ... + A0 r^5
_LOG2_C = float64s(
    "-0x1.efec65b963019p-2 -0x1.b0b6832d4fca4p-2 -0x1.7418b0a1fb77bp-2 -0x1.39de91a6dcf7bp-2 "
    "-0x1.01d9bf3f2b631p-2 -0x1.97c1d1b3b7afp-3 -0x1.2f9e393af3c9fp-3 -0x1.960cbbf788d5cp-4 "
    "-0x1.a6f9db6475fcep-5 0x0p+0 0x1.338ca9f24f53dp-4 0x1.476a9543891bap-3 "
    "0x1.e840b4ac4e4d2p-3 0x1.40645f0c6651cp-2 0x1.88e9c2c1b9ff8p-2 0x1.ce0a44eb17bccp-2"
)
_A0, _A1, _A2, _A3, _A4 = float64s(
    "0x1.27616c9496e0bp-2 -0x1.71969a075c67ap-2 0x1.ec70a6ca7baddp-2 -0x1.7154748bef6c8p-1 0x1.71547652ab82bp0"
)
_UNDERFLOW = -150.0  # of y log2 x, up to which the result is 0
_LARGEST = float.fromhex("0x1.fffffffa3aae2p+6")  # above: the largest finite float32
_OVERFLOW = float.fromhex("0x1.fffffffd1d571p+6")  # above: inf


def powf(x: ArrayLike, y: ArrayLike) -> Float32:
    """x^y of float32 values that broadcast; NaN for x below 0 with a y that is no integer."""
    x, y = np.broadcast_arrays(as_float32(x), as_float32(y))
    with np.errstate(all="ignore"):
        ordinary = np.isfinite(x) & np.isfinite(y) & (x != 0) & (y != 0)
        base, exponent = np.where(ordinary, np.abs(x), np.float32(1)), np.where(ordinary, y, np.float32(1))
        magnitude = _exp2(exponent * _log2(base))
        odd = np.fmod(np.abs(y), np.float32(2)) == 1
        power = np.where((x < 0) & odd, -magnitude, magnitude)
        power = np.where((x < 0) & (np.trunc(y) != y), np.float32(np.nan), power)
        return np.where(ordinary, power, _of_zeros_and_infinities(x, y, odd)).astype(np.float32)


def _log2(x: Float32) -> Float64:
    """log2 of positive finite float32."""
    subnormal = x < np.float32(2.0**-126)
    bits = np.where(subnormal, x * np.float32(2.0**23), x).view(np.int32).astype(np.int64)
    offset = bits - np.where(subnormal, 23 << 23, 0) - LOG_OFFSET
    interval, k = (offset >> 19) & 15, offset >> 23
    z = (offset - (k << 23) + LOG_OFFSET).astype(np.int32).view(np.float32).astype(np.float64)
    r = fused_multiply_add(z, LOG_INVERSES[interval], -1.0)
    r2 = r * r
    high = fused_multiply_add(_A0, r, _A1)
    middle = fused_multiply_add(_A2, r, _A3)
    low = fused_multiply_add(_A4, r, _LOG2_C[interval] + k)
    return fused_multiply_add(high, r2 * r2, fused_multiply_add(middle, r2, low))


def _exp2(x: Float64) -> Float32:
    """2^x of finite float64, as float32."""
    inside = np.clip(x, _UNDERFLOW, _OVERFLOW)
    k = np.rint(inside * STEPS)
    r = inside - k / STEPS
    y = fused_multiply_add(fused_multiply_add(EXP2_C0, r, EXP2_C1), r * r, fused_multiply_add(EXP2_C2, r, 1.0))
    result = (y * two_to_the(k.astype(np.int64))).astype(np.float32)
    result = np.where(x > _LARGEST, np.finfo(np.float32).max, result)
    return np.select([x <= _UNDERFLOW, x > _OVERFLOW], [np.float32(0), np.float32(np.inf)], result)


def _of_zeros_and_infinities(x: Float32, y: Float32, odd: NDArray[np.bool_]) -> Float32:
    """x^y where x or y is zero, infinite or NaN. odd: whether y is an odd integer."""
    square = np.where((np.signbit(x)) & odd, -(x * x), x * x)
    of_infinite_y = np.where((np.abs(x) < 1) == (y > 0), np.float32(0), np.float32(np.inf))
    return np.select(
        [(y == 0) | (x == 1), np.isnan(x) | np.isnan(y), (x == -1) & np.isinf(y), np.isinf(y)],
        [np.float32(1), np.float32(np.nan), np.float32(1), of_infinite_y],
        np.where(y < 0, 1 / square, square),
    )


def pow_as_float32(x: ArrayLike, y: float) -> Float32:
    """x^y in float64, rounded to float32. x: float64 of any shape.

    NumPy's own power may be off by a unit in the last place; where that could decide, the C library's pow is asked.
    """
    x = np.asarray(x, np.float64)
    with np.errstate(all="ignore"):
        power = np.asarray(x**y)
        result = np.asarray(power.astype(np.float32))
        low, high = ((power * (1 + error)).astype(np.float32) for error in (-(2.0**-50), 2.0**-50))
    doubtful = (low != high) & np.isfinite(power)
    if doubtful.any():
        result[doubtful] = [math.pow(value, y) for value in x[doubtful].tolist()]
    return result
