"""float32 functions that equal Eigen's bit for bit: what the float32 GELU kernel calls instead of the C library.

Every operation rounds to float32 on its own, as in the LiteRT wheel for x86-64, which is built for SSE4 without fused
multiply-add; a build with it gives other last bits.
Source: Eigen (libeigen), Eigen/src/Core/arch/Default/GenericPacketMathFunctions.h (ptanh_float, pexp_float) and
unsupported/Eigen/src/SpecialFunctions/SpecialFunctionsImpl.h (generic_fast_erfc).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from refquant.arithmetic.float_functions import expf

Float32 = NDArray[np.float32]

PACKET = 4  # float32 values that SSE works on at once; what is left over takes the scalar functions


def _polynomial(x: Float32, *coefficients: float) -> Float32:
    """((c0 x + c1) x + c2) ..., each operation rounded to float32."""
    result = np.full_like(x, np.float32(coefficients[0]))
    for coefficient in coefficients[1:]:
        result = result * x + np.float32(coefficient)
    return result


def tanh(x: Float32) -> Float32:
    """An odd polynomial of degree 9 over an even one of degree 8, for x cut off at +-7.9074, where it reaches 1."""
    limit = np.float32(7.90738964080810547)
    x = np.clip(x, -limit, limit)
    square = x * x
    p = _polynomial(square, 1.394553628e-8, 2.102733560e-5, 3.520756727e-3, 1.340216100e-1)
    q = _polynomial(square, 8.015776984e-7, 3.326951409e-4, 2.597254514e-2, 4.673548340e-1, 1)
    return np.asarray(((square * x) * p + x) / q)


def exp(x: Float32) -> Float32:
    """2^m * e^r with m = floor(x / ln 2 + 1/2) and e^r as a polynomial of degree 6; 0 below -104. x: below 88.7."""
    m = np.floor(x * np.float32(1.44269504088896341) + np.float32(0.5))
    r = (m * np.float32(-0.693359375) + x) + m * np.float32(2.12194440e-4)
    square = r * r
    even = _polynomial(square, 1.37449637986719608306884765625e-3, 4.166965186595916748046875e-2, 0.49999988079071045)
    odd = _polynomial(square, 8.36894474923610687255859375e-3, 0.16666518151760101)
    y = square * (r * odd + even) + (r + np.float32(1))
    return np.where(x < -104, np.float32(0), np.ldexp(y, np.nan_to_num(m).astype(np.int32)))


def logistic(x: Float32) -> Float32:
    """e^x / (1 + e^x) of values that fill packets, with e^x the square of e^(x/2), by a polynomial of degree 5.

    x: any shape; 0 below -104, 1 from 16.6355324 on. Source: Eigen/src/Core/functors/UnaryFunctors.h,
    scalar_logistic_op<float>.
    """
    half = np.minimum(x, _LOGISTIC_IS_ONE) * np.float32(0.5)
    m = np.floor(half * np.float32(1.44269504088896341) + np.float32(0.5))
    r = m * np.float32(-0.693359375) + half
    r = m * np.float32(2.12194440e-4) + r
    square = r * r
    even = square * np.float32(4.1898667812347412109375e-2) + np.float32(0.49999141693115234375)
    odd = square * np.float32(8.33471305668354034423828125e-3) + np.float32(0.16666877269744873046875)
    p = square * (r * odd + even) + (r + np.float32(1))
    root = np.ldexp(p, np.clip(np.nan_to_num(m), -127, 128).astype(np.int32))
    power = root * root
    return np.where(x < -104, np.float32(0), power / (np.float32(1) + power))


def logistic_of_rest(x: Float32) -> Float32:
    """`logistic` of the values that are left over: their exponential is the C library's."""
    power = expf(np.minimum(x, _LOGISTIC_IS_ONE))
    return np.asarray(power / (np.float32(1) + power))


def erfc(x: Float32, exp: Callable[[Float32], Float32]) -> Float32:
    """1 + x S(x^2) up to |x| = 1; beyond e^(-x^2) P(x^-2) / (x Q(x^-2)), plus 2 for x < 0.

    exp: e^x as the surrounding code computes it.
    """
    x = np.clip(x, np.float32(-11), np.float32(11))
    square = x * x
    small = x * _polynomial(
        square,
        5.61802298761904239654541015625e-04,
        -4.91381669417023658752441406250e-03,
        2.67075151205062866210937500000e-02,
        -1.12800106406211853027343750000e-01,
        3.76122951507568359375000000000e-01,
        -1.12837910652160644531250000000e00,
    ) + np.float32(1)
    inverse = np.float32(1) / square
    p = _polynomial(inverse, 1.0208116471767425537e-1, 4.29206669330596924e-1, 3.2379078865051269531e-1, 5.3971976e-2)
    q = _polynomial(inverse, 1.7251677811145782e-2, 3.9137163758277893e-1, 1, 6.2173241376876831e-1, 9.5662862e-2)
    gaussian = exp(-square)
    gaussian = gaussian - gaussian * _low_part_of_square(x, square)
    large = gaussian * (p / (x * q)) + np.where(x < 0, np.float32(2), np.float32(0))
    return np.where(square > 1, large, small)


def _low_part_of_square(x: Float32, square: Float32) -> Float32:
    """What float32 loses in x * x: Dekker's product of x split into 12 and 12 bits."""
    scaled = np.float32(4097) * x
    high = (x - scaled) + scaled
    low = x - high
    return np.asarray(((high * high - square) + high * low + low * high) + low * low)


_LOGISTIC_IS_ONE = np.float32(16.6355324)
_SQRT_HALF = np.float32(0.70710678118654752440)
_SQRT_TWO_OVER_PI = np.float32(1.12837916709551257390 * 0.70710678118654752440)


def gelu(x: Float32) -> Float32:
    """x/2 * erfc(-x / sqrt 2) of values that fill packets. x: any shape.

    Source: tflite/kernels/internal/reference/gelu.h, Gelu.
    """
    return np.asarray(np.float32(0.5) * x * erfc(x * -_SQRT_HALF, exp))


def gelu_of_rest(x: Float32) -> Float32:
    """`gelu` of the values that are left over: their exponential is the C library's."""
    return np.float32(0.5) * x * erfc(x * -_SQRT_HALF, expf)


def gelu_approximate(x: Float32) -> Float32:
    """x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))). x: any shape.

    Source: tflite/kernels/internal/reference/gelu.h, Gelu.
    """
    inner = _SQRT_TWO_OVER_PI * (x + np.float32(0.044715) * (x * x * x))
    return np.float32(0.5) * x * (np.float32(1) + tanh(inner))
