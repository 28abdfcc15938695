"""sinf, cosf and atan2f of the GNU C library on whole arrays, bit for bit: what the float32 SIN, COS and ATAN2 call.

sinf and cosf reduce x to a multiple n of pi/2 and a rest r within pi/4, and evaluate a polynomial in r in float64, as
glibc does from 2.28 on. atan2f is the fdlibm routine in float32 of glibc up to 2.40; newer ones round correctly.
Source: glibc 2.36, sysdeps/ieee754/flt-32/: s_sinf.c, s_cosf.c, s_sincosf.h, s_sincosf_data.c, e_atan2f.c, s_atanf.c.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refquant.arithmetic.float_functions import Float32, Float64, as_float32, float32s, float64s, horner

# ---- sinf, cosf ----

Int64 = NDArray[np.int64]

_NEAR = np.float32(0.75)  # below: n = 0
_FAR = np.float32(120)  # from here on: the product with the digits of 4/pi
_TINY = np.float32(2.0**-12)  # below: sin x = x
_TWO_OVER_PI = float.fromhex("0x1.45F306DC9C883p-1")
_HALF_PI = float.fromhex("0x1.921FB54442D18p0")
_HALF_PI_HIGH = float(np.float32(_HALF_PI))  # 24 bits: its product with n is exact
_HALF_PI_LOW = _HALF_PI - _HALF_PI_HIGH
_PI_63 = float.fromhex("0x1.921FB54442D18p-62")  # 2 pi / 2^64
_FOUR_OVER_PI = 0xA2F9836E4E441529FC2757D1F534DDC0DB6295993C439041  # its first 192 bits
_DIGITS = np.array([_FOUR_OVER_PI >> shift & 0xFFFFFFFF for shift in range(184, -1, -8)], np.uint64)

_SIN = float64s("-0x1.555545995a603p-3 0x1.1107605230bc4p-7 -0x1.994eb3774cf24p-13")
_COS = float64s("-0x1.ffffffd0c621cp-2 0x1.55553e1068f19p-5 -0x1.6c087e89a359dp-10 0x1.99343027bf8c3p-16")


def sinf(x: ArrayLike) -> Float32:
    """The sine of float32 of any shape, in radians; NaN for infinities."""
    x = as_float32(x)
    n, r = _reduced(x)
    return np.where(np.abs(x) < _TINY, x, _sine_or_cosine(n, r))


def cosf(x: ArrayLike) -> Float32:
    """The cosine of float32 of any shape, in radians; NaN for infinities."""
    n, r = _reduced(as_float32(x))
    return _sine_or_cosine(n + 1, r)


def _reduced(x: Float32) -> tuple[Int64, Float64]:
    """(n, r) with x = n pi/2 + r up to a multiple of 2 pi, |r| up to pi/4; NaN as r of infinities and NaN."""
    magnitude = np.abs(x)
    ordinary = np.where(magnitude < _FAR, x, np.float32(0)).astype(np.float64)
    steps = np.trunc(ordinary * (_TWO_OVER_PI * 2.0**24)).astype(np.int64)
    n = np.where(magnitude < _NEAR, 0, (steps + (1 << 23)) >> 24)
    r = np.asarray((ordinary - n * _HALF_PI_HIGH) - n * _HALF_PI_LOW)  # one rounding, as fma(-n, pi/2, x)
    far = ~(magnitude < _FAR)
    if far.any():
        n_far, r_far = _reduced_far(magnitude[far])
        negative = np.signbit(x[far])
        n[far], r[far] = np.where(negative, -n_far, n_far), np.where(negative, -r_far, r_far)
    return n, r


def _reduced_far(x: Float32) -> tuple[Int64, Float64]:
    """`_reduced` of x from 120 on: x times those digits of 4/pi that decide, in whole numbers modulo 2^64."""
    bits = x.view(np.uint32).astype(np.uint64)
    first = (bits >> 26) & 15
    mantissa = ((bits & 0x7FFFFF) | 0x800000) << ((bits >> 23) & 7)
    high, middle, low = (mantissa * _DIGITS[first + place] for place in (0, 4, 8))
    product = (high << 32) + middle + (low >> 32)
    n = (product + (1 << 61)) >> 62
    r = (product - (n << 62)).view(np.int64) * _PI_63
    return n.astype(np.int64), np.where(np.isfinite(x), r, np.nan)


def _sine_or_cosine(n: Int64, r: Float64) -> Float32:
    """sin(n pi/2 + r): the sine or the cosine of r, negated for n & 2."""
    square = r * r
    with np.errstate(under="ignore"):
        s1, s2, s3 = _SIN
        cube = r * square
        sine = (r + cube * s1) + (cube * square) * (s2 + square * s3)
        c1, c2, c3, c4 = _COS
        fourth = square * square
        cosine = ((1 + square * c1) + fourth * c2) + (fourth * square) * (c3 + square * c4)
        result = np.where(n & 1, cosine, sine)
        return np.asarray(np.where(n & 2, -result, result), np.float32)


# ---- atan2f ----

_ATAN_HIGH = np.array(float32s("3eed6338 3f490fda 3f7b985e 3fc90fda"), np.float32)  # of 1/2, 1, 3/2 and infinity
_ATAN_LOW = np.array(float32s("31ac3769 33222168 33140fb4 33a22168"), np.float32)
_ATAN_EVEN = float32s("3eaaaaab 3e124925 3dba2e6e 3d886b35 3d4bda59 3c8569d7")
_ATAN_ODD = float32s("be4ccccd bde38e38 bd9d8795 bd6ef16b bd15a221")
_PI, _PI_LOW, _HALF_PI_32, _QUARTER_PI = float32s("40490fdb b3bbbd2e 3fc90fdb 3f490fdb")
_ZERO, _HALF, _ONE, _ONE_AND_A_HALF, _TWO, _THREE = map(np.float32, (0, 0.5, 1, 1.5, 2, 3))


def atan2f(y: ArrayLike, x: ArrayLike) -> Float32:
    """The angle of the point (x, y) in radians, from -pi to pi. y, x: float32 values that broadcast."""
    y, x = np.broadcast_arrays(as_float32(y), as_float32(x))
    with np.errstate(all="ignore"):
        left = np.signbit(x)
        binades = (np.abs(y).view(np.int32) - np.abs(x).view(np.int32)) >> 23
        steep, flat = binades > 60, left & (binades < -60)
        angle = np.select([steep, flat], [_HALF_PI_32 + _HALF * _PI_LOW, _ZERO], _atanf(np.abs(y / x)))
        angle = np.where(left, _PI - (angle - _PI_LOW), angle)
        both_infinite, both_zero = np.isinf(x) & np.isinf(y), (x == 0) & (y == 0)
        angle = np.select(
            [both_infinite, both_zero, (x == 0) | np.isinf(y)],
            [np.where(left, _THREE * _QUARTER_PI, _QUARTER_PI), np.where(left, _PI, _ZERO), _HALF_PI_32],
            angle,
        ).astype(np.float32)
        return np.where(np.isnan(x) | np.isnan(y), np.float32(np.nan), np.copysign(angle, y))


def _atanf(x: Float32) -> Float32:
    """The arc tangent of x >= 0: that of the nearest of 0, 1/2, 1, 3/2 and infinity, and of what is left."""
    bits = x.view(np.int32)
    nearest = np.searchsorted(np.array([0x3EE00000, 0x3F300000, 0x3F980000, 0x401C0000]), bits, side="right") - 1
    near_half, near_one = (_TWO * x - _ONE) / (_TWO + x), (x - _ONE) / (x + _ONE)
    near_three_halves = (x - _ONE_AND_A_HALF) / (_ONE + _ONE_AND_A_HALF * x)
    rest = np.where(
        nearest < 0, x, np.choose(np.maximum(nearest, 0), [near_half, near_one, near_three_halves, -_ONE / x])
    )
    square = rest * rest
    fourth = square * square
    series = square * horner(fourth, _ATAN_EVEN) + fourth * horner(fourth, _ATAN_ODD)
    far = _ATAN_HIGH[nearest] - ((rest * series - _ATAN_LOW[nearest]) - rest)
    result = np.where(nearest < 0, rest - rest * series, far)
    return np.select([bits >= 0x4C000000, bits < 0x31000000], [_ATAN_HIGH[3] + _ATAN_LOW[3], x], result)
