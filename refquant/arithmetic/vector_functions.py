"""Functions of float32 as XNNPACK computes them in vectors with fused multiply-adds; denormal numbers count as 0.

Most are quotients of two polynomials. Source: google/XNNPACK, src/f32-vtanh/rational-9-8.c.in,
src/f32-vexp/rational-3-2.c.in, src/f32-vlog/rational-3-3.c.in, src/f32-vgelu/rational-12-10.c.in,
src/f32-vapproxgelu/rational-12-10.c.in, src/f32-vsin/rational-5-4.c.in, src/f32-vcos/rational-5-4.c.in,
src/f32-vhswish/simd.c.in, src/f32-velu/avx512f-rr1-p6.c.in, src/f32-vsigmoid/avx512f-rr2-lut32-p2-perm2-scalef.c.in,
src/f32-raddstoreexpminusmax/avx512f-rr2-p5.c.in, src/f32-vsqrt/simd-rsqrt.c.in, src/f32-vrsqrt/simd-rsqrt.c.in; each
in the form for AVX512.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from refquant.arithmetic.flushing import Float32, flush_denormals, larger, smaller
from refquant.arithmetic.fused_multiply_add import fused_multiply_add_float32 as fma

ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)


def _constants(*values: float) -> list[np.float32]:
    return [np.float32(value) for value in values]


def _hexadecimal(text: str) -> list[np.float32]:
    return [np.float32(float.fromhex(word)) for word in text.split()]


def _polynomial(x: Float32, coefficients: Sequence[np.float32]) -> Float32:
    """Horner's scheme in fused multiply-adds, the highest power's coefficient first."""
    result: Float32 = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        result = fma(x, result, coefficient)
    return result


def _clamped(x: Float32, bound: np.float32) -> Float32:
    return larger(-bound, smaller(bound, x))


def _product(a: Float32, b: Float32 | np.float32) -> Float32:
    return flush_denormals(np.asarray(a * b))


HARD_SWISH_SLOPE = np.float32(1 / 6)


def hard_swish(x: Float32) -> Float32:
    """x * min(max(x / 6 + 1/2, 0), 1); the inner factor of a NaN is 0. x: float32 of any shape."""
    x = flush_denormals(x)
    inner = fma(x, HARD_SWISH_SLOPE, HALF)
    return _product(smaller(larger(inner, ZERO), ONE), x)


TANH_BOUND = np.float32(7.9807181358)
TANH_OVER = _constants(1.4248920266e-08, 2.1235626264e-05, 3.5330520477e-03, 1.3412411511e-01, 1)
TANH_UNDER = _constants(8.1365948290e-07, 3.3472978976e-04, 2.6018999517e-02, 4.6745735407e-01, 1)


def tanh(x: Float32) -> Float32:
    """Hyperbolic tangent: x p(x^2) / q(x^2), from about 8 on 1. x: float32 of any shape."""
    return _odd_quotient(_clamped(flush_denormals(x), TANH_BOUND), TANH_OVER, TANH_UNDER)


def _odd_quotient(x: Float32, over: Sequence[np.float32], under: Sequence[np.float32]) -> Float32:
    """x p(x^2) / q(x^2)."""
    square = _product(x, x)
    return flush_denormals(np.asarray(_product(x, _polynomial(square, over)) / _polynomial(square, under)))


EXP_OVER = _constants(5.5380910635e-03, 4.8082618043e-02, 0.69314718246)
EXP_UNDER = _constants(2.3986088112e-02, -2.7720427513e-01, 1)
LOG2_E = np.float32(1.44269504089)


def exp(x: Float32) -> Float32:
    """e^x: 2^z * 2^r with the whole number z nearest to x * log2(e); 0 of a NaN. x: float32 of any shape.

    2^r is 1 + r p(r) / q(r). How LiteRT 2.3.0 computes it is not known; a tenth of its results differ by up to 3 steps.
    """
    powers = _product(flush_denormals(x), LOG2_E)
    powers = smaller(larger(powers, np.float32(-127)), np.float32(128))
    whole = np.rint(powers)
    rest = powers - whole
    return _scaled(ONE + rest * (_polynomial(rest, EXP_OVER) / _polynomial(rest, EXP_UNDER)), whole)


def _scaled(x: Float32, powers: Float32) -> Float32:
    """x * 2^powers, powers whole numbers; from 2^128 on the factor is infinite, from 2^-127 down 0."""
    factor = np.where(powers >= 128, np.inf, np.where(powers <= -127, 0.0, np.exp2(np.clip(powers, -127, 128))))
    return _product(x, factor.astype(np.float32))


LOG_OVER = _constants(1.824996918440e-01, 1, 1)
LOG_UNDER = _constants(0.049584995955, 0.599170029163, 1.5, 1)
LOG_SQRT_2, LOG_SQRT_HALF, LOG_LN_2 = _constants(1.4142134190, 7.0710688829e-01, 0.69314718055994531)


def log(x: Float32) -> Float32:
    """Natural logarithm: the exponent times ln(2) and a quotient around 1; -inf of 0. x: float32 of any shape."""
    x = _product(flush_denormals(x), LOG_SQRT_2)
    bits = x.view(np.int32)
    exponent = ((bits >> 23 & 0xFF) - 127).astype(np.float32)
    exponent = np.where(np.isfinite(x), exponent, np.abs(x))
    exponent = np.where(x == 0, np.float32(-np.inf), np.where(x < 0, np.float32(np.nan), exponent))
    part = (bits & 0x007FFFFF | 0x3F800000).view(np.float32) * LOG_SQRT_HALF - ONE
    over = part * _polynomial(part, LOG_OVER)
    return fma(exponent, LOG_LN_2, over / _polynomial(part, LOG_UNDER))


GELU_BOUND = np.float32(5.1638283730)
GELU_OVER = _constants(
    4.5835321316e-08, 1.2609783880e-05, 3.2973114867e-04, 9.3065137044e-03, 6.6972173750e-02, 7.9788452387e-01
)
GELU_UNDER = _constants(1.1988805682e-06, 7.2267655923e-05, 1.8622842617e-03, 2.8431978077e-02, 2.5060352683e-01, 1)
APPROXIMATE_BOUND = np.float32(4.84974098)
APPROXIMATE_OVER = _constants(
    4.9544411240e-08, 1.4302649106e-05, 2.6887017884e-04, 7.2898347862e-03, 6.0803253204e-02, 7.9788458347e-01
)
APPROXIMATE_UNDER = _constants(
    1.3433452750e-06, 7.6477612311e-05, 1.3060354395e-03, 2.4381054565e-02, 2.4369759858e-01, 1
)


def gelu(x: Float32) -> Float32:
    """x / 2 * (1 + erf(x / sqrt 2)). x: float32 of any shape."""
    return _gelu(x, GELU_BOUND, GELU_OVER, GELU_UNDER)


def gelu_approximate(x: Float32) -> Float32:
    """x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))). x: float32 of any shape."""
    return _gelu(x, APPROXIMATE_BOUND, APPROXIMATE_OVER, APPROXIMATE_UNDER)


def _gelu(x: Float32, bound: np.float32, over: Sequence[np.float32], under: Sequence[np.float32]) -> Float32:
    x = flush_denormals(x)
    return _product(_product(x, HALF), _odd_quotient(_clamped(x, bound), over, under) + ONE)


PI, INVERSE_2_PI, TWO_PI_HIGH, TWO_PI_LOW = _constants(3.1415927, 0.15915494, 6.28125, 1.9353072e-3)
HALF_PI_HIGH, HALF_PI_LOW = _constants(1.5707963705, -4.3711388e-08)
SINE_OVER = _constants(3.2340581529e-03, -1.3314664364e-01, 1)
SINE_UNDER = _constants(4.8770775902e-04, 3.3519912511e-02, 1)


def sine(x: Float32) -> Float32:
    """Sine, of large arguments without a meaning. x: float32 of any shape."""
    return _sine_of_turn(_within_a_turn(x))


def cosine(x: Float32) -> Float32:
    """Cosine: sin(pi / 2 - x). x: float32 of any shape."""
    return _sine_of_turn(flush_denormals((HALF_PI_HIGH - _within_a_turn(x)) + HALF_PI_LOW))


def _within_a_turn(x: Float32) -> Float32:
    x = flush_denormals(x)
    turns = np.rint(_product(x, INVERSE_2_PI))
    return flush_denormals(fma(-turns, TWO_PI_LOW, flush_denormals(fma(-turns, TWO_PI_HIGH, x))))


def _sine_of_turn(x: Float32) -> Float32:
    x = smaller(x, PI - x)
    x = larger(x, -PI - x)
    x = smaller(x, PI - x)
    return _odd_quotient(x, SINE_OVER, SINE_UNDER)


# Added to a power of two it leaves the rounded power, and 127, in the lowest bits.
POWER_MAGIC, LOG2_E_NEAR = _hexadecimal("0x1.8000FEp23 0x1.715476p+0")

SOFTMAX_CUTOFF, SOFTMAX_LN_2_HIGH, SOFTMAX_LN_2_LOW = _hexadecimal("-0x1.5D589Ep6 -0x1.62E400p-1 -0x1.7F7D1Cp-20")
SOFTMAX_COEFFICIENTS = _hexadecimal("0x1.0F9F9Cp-7 0x1.573A1Ap-5 0x1.555A80p-3 0x1.FFFDC6p-2 0x1.FFFFF6p-1")


def exp_of_negative(x: Float32) -> Float32:
    """e^x for the x <= 0 of SOFTMAX: 2^n + 2^n * rest * a polynomial; 0 where it would be a denormal number."""
    magic = fma(x, LOG2_E_NEAR, POWER_MAGIC)
    power = (magic.view(np.int32) << 23).view(np.float32)
    whole = magic - POWER_MAGIC
    rest = fma(whole, SOFTMAX_LN_2_LOW, fma(whole, SOFTMAX_LN_2_HIGH, x))
    result = fma(_product(rest, power), _polynomial(rest, SOFTMAX_COEFFICIENTS), power)
    return np.where(x < SOFTMAX_CUTOFF, ZERO, flush_denormals(result))


ELU_CUTOFF, MINUS_LN_2 = _hexadecimal("-0x1.154246p+4 -0x1.62E430p-1")
ELU_COEFFICIENTS = _hexadecimal("0x1.6B7338p-10 0x1.12278Ep-7 0x1.555716p-5 0x1.5554B0p-3 0x1.FFFFFEp-2")


def elu(x: Float32) -> Float32:
    """e^x - 1 below 0, else x. x: float32 of any shape."""
    x = flush_denormals(x)
    bounded = larger(ELU_CUTOFF, x)
    magic = fma(bounded, LOG2_E_NEAR, POWER_MAGIC)
    power = (magic.view(np.int32) << 23).view(np.float32)
    rest = flush_denormals(fma(magic - POWER_MAGIC, MINUS_LN_2, bounded))
    series = _product(_polynomial(rest, ELU_COEFFICIENTS), rest)
    rest = _product(rest, power)
    below = flush_denormals(fma(series, rest, rest) + (power - ONE))
    return np.where(x < 0, below, x)


SIGMOID_TABLE = np.array(
    _hexadecimal(
        "0x1.000000p+0 0x1.059B0Ep+0 0x1.0B5586p+0 0x1.11301Ep+0 0x1.172B84p+0 0x1.1D4874p+0 0x1.2387A6p+0 "
        "0x1.29E9E0p+0 0x1.306FE0p+0 0x1.371A74p+0 0x1.3DEA64p+0 0x1.44E086p+0 0x1.4BFDAEp+0 0x1.5342B6p+0 "
        "0x1.5AB07Ep+0 0x1.6247ECp+0 0x1.6A09E6p+0 0x1.71F75Ep+0 0x1.7A1148p+0 0x1.82589Ap+0 0x1.8ACE54p+0 "
        "0x1.93737Cp+0 0x1.9C4918p+0 0x1.A5503Cp+0 0x1.AE89FAp+0 0x1.B7F770p+0 0x1.C199BEp+0 0x1.CB720Ep+0 "
        "0x1.D5818Ep+0 0x1.DFC974p+0 0x1.EA4AFAp+0 0x1.F50766p+0"
    )
)
SIGMOID_MAGIC, LN_2_LOW, SIGMOID_C2, SIGMOID_C1 = _hexadecimal("0x1.8p18 0x1.05C61p-29 0x1p-1 0x1.0000F6p-0")


def sigmoid(x: Float32) -> Float32:
    """e / (e + 1) with e = e^-|x|, and 1 less that for x that are not negative. x: float32 of any shape."""
    x = flush_denormals(x)
    negative = -np.abs(x)
    magic = fma(negative, LOG2_E_NEAR, SIGMOID_MAGIC)
    steps: NDArray[np.int32] = magic.view(np.int32) & 31
    whole = magic - SIGMOID_MAGIC
    rest = fma(whole, LN_2_LOW, fma(whole, MINUS_LN_2, negative))
    factor = SIGMOID_TABLE[steps]
    series = fma(flush_denormals(rest * factor), fma(rest, SIGMOID_C2, SIGMOID_C1), factor)
    octaves = np.where(np.isnan(whole), 0, np.clip(np.floor(whole), -1000, 0)).astype(np.int32)
    power = np.where(np.isneginf(whole), ZERO, flush_denormals(np.asarray(np.ldexp(series, octaves), np.float32)))
    share = flush_denormals(np.asarray(power / (power + ONE)))
    return np.where(np.signbit(x), share, ONE - share)


def square_root(x: Float32) -> Float32:
    """x times one step of Newton's from an estimate of 1 / sqrt(x); above 2^126 half as much again. x: float32.

    The estimate is the processor's own in XNNPACK, of 14 bits, and the nearest one here: results may differ by a step.
    """
    x = flush_denormals(x)
    return np.where((x == 0) | np.isposinf(x), x, _product(x, _inverse_root(x)))


def inverse_square_root(x: Float32) -> Float32:
    """1 / sqrt(x), 0 of an infinity; else as square_root. x: float32 of any shape."""
    x = flush_denormals(x)
    return np.where(np.isposinf(x), ZERO, _inverse_root(x))


def _inverse_root(x: Float32) -> Float32:
    estimate = (1 / np.sqrt(x.astype(np.float64))).astype(np.float32)
    error = _product(x, _product(estimate, estimate)) - ONE
    return flush_denormals(estimate - _product(error, _product(estimate, HALF)))
