"""float32 functions on whole arrays that equal the C library's bit for bit.

TFLite's kernels and lookup tables call std::exp, std::log, std::tanh, std::expm1 and std::erfc on floats; the LiteRT
wheel resolves them at load time to the system's libm. The functions here are those of the GNU C library 2.28 to 2.40
on a processor with fused multiply-add (every x86-64 since 2013, every aarch64): expf and logf evaluate a short
polynomial in float64, the others are the fdlibm routines in float32. glibc 2.41 and newer return correctly rounded
values for expm1f, tanhf, erff and erfcf instead.
Compared with glibc 2.36 on x86-64 over all 2^32 inputs (tools/sweep_float_functions.py): no result of any of the six
differs. On a processor without fused multiply-add, glibc's own expf differs from this one at 2 inputs.
Source: glibc 2.36, sysdeps/ieee754/flt-32/: e_expf.c, e_logf.c, s_expm1f.c, s_tanhf.c, s_erff.c.
"""

from __future__ import annotations

from math import isqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


def as_float32(x: ArrayLike) -> Float32:
    """x as a float32 array."""
    return np.asarray(x, np.float32)


def float32s(text: str) -> list[np.float32]:
    """float32 constants from their bit patterns."""
    return [np.uint32(int(word, 16)).view(np.float32) for word in text.split()]


def float64s(text: str) -> Float64:
    """float64 constants from hexadecimal numbers."""
    return np.array([float.fromhex(word) for word in text.split()])


# ---- expf: 2^(k/32) from a table times a polynomial in float64 ----

STEPS = 32  # the table's steps in an octave


def _root_of_two(i: int) -> float:
    """2^(i/32), correctly rounded to float64: five integer square roots of 2^i with 240 bits to spare."""
    root = 1 << (i + 32 * 240)
    for _ in range(5):
        root = isqrt(root)
    return root / (1 << 240)


TWO_TO_THE_STEP: Float64 = np.array([_root_of_two(i) for i in range(STEPS)])
_STEP_BITS: NDArray[np.int64] = TWO_TO_THE_STEP.view(np.int64)
_STEPS_OVER_LN2 = float.fromhex("0x1.71547652b82fep+0") * STEPS
_STEPS_OVER_LN2_HIGH = float(np.float32(_STEPS_OVER_LN2))  # 24 bits: its product with a float32 is exact in float64
_STEPS_OVER_LN2_LOW = _STEPS_OVER_LN2 - _STEPS_OVER_LN2_HIGH
# 2^r near 1 + C2 r + C1 r^2 + C0 r^3
EXP2_C0, EXP2_C1, EXP2_C2 = float64s("0x1.c6af84b912394p-5 0x1.ebfce50fac4f3p-3 0x1.62e42ff0c52d6p-1")
_EXP_C0, _EXP_C1, _EXP_C2 = EXP2_C0 / STEPS**3, EXP2_C1 / STEPS**2, EXP2_C2 / STEPS
_EXP_OVERFLOW = float.fromhex("0x1.62e42ep6")  # above: inf
_EXP_UNDERFLOW = float.fromhex("-0x1.9fe368p6")  # below: 0
SAFE_EXPONENT = 80  # e^x of no larger |x| is infinite or zero


def two_to_the(k: NDArray[np.int64]) -> Float64:
    """2^(k/32), correctly rounded. k: int64 of any shape, within +-32 * 1022."""
    return np.asarray(_STEP_BITS[k & (STEPS - 1)] + ((k >> 5) << 52)).view(np.float64)


def expf(x: ArrayLike) -> Float32:
    """e^x = 2^(k/32) * (1 + C2 r + C1 r^2 + C0 r^3) with x * 32/ln 2 = k + r. x: float32 of any shape."""
    x = as_float32(x)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        wide = np.clip(x, _EXP_UNDERFLOW, _EXP_OVERFLOW).astype(np.float64)
        k = np.rint(wide * _STEPS_OVER_LN2)
        r = (wide * _STEPS_OVER_LN2_HIGH - k) + wide * _STEPS_OVER_LN2_LOW  # one rounding, as fma(x, 32/ln2, -k)
        y = (_EXP_C0 * r + _EXP_C1) * (r * r) + (_EXP_C2 * r + 1.0)
        result = np.asarray((y * two_to_the(k.astype(np.int64))).astype(np.float32))
    if result.size and not np.abs(x).max() < SAFE_EXPONENT:
        result = np.where(x > np.float32(_EXP_OVERFLOW), np.float32(np.inf), result)
        result = np.where(x < np.float32(_EXP_UNDERFLOW), np.float32(0), result)
        result = np.where(np.isnan(x), np.float32(np.nan), result)
    return result


# ---- logf: k ln 2 + log c + log1p(z/c - 1), c near the middle of one of 16 intervals ----

LOG_OFFSET = 0x3F330000
_LOG_TABLE = np.array(
    [
        (float.fromhex(inverse), float.fromhex(logarithm))
        for inverse, logarithm in (
            ("0x1.661ec79f8f3bep+0", "-0x1.57bf7808caadep-2"),
            ("0x1.571ed4aaf883dp+0", "-0x1.2bef0a7c06ddbp-2"),
            ("0x1.49539f0f010bp+0", "-0x1.01eae7f513a67p-2"),
            ("0x1.3c995b0b80385p+0", "-0x1.b31d8a68224e9p-3"),
            ("0x1.30d190c8864a5p+0", "-0x1.6574f0ac07758p-3"),
            ("0x1.25e227b0b8eap+0", "-0x1.1aa2bc79c81p-3"),
            ("0x1.1bb4a4a1a343fp+0", "-0x1.a4e76ce8c0e5ep-4"),
            ("0x1.12358f08ae5bap+0", "-0x1.1973c5a611cccp-4"),
            ("0x1.0953f419900a7p+0", "-0x1.252f438e10c1ep-5"),
            ("0x1p+0", "0x0p+0"),
            ("0x1.e608cfd9a47acp-1", "0x1.aa5aa5df25984p-5"),
            ("0x1.ca4b31f026aap-1", "0x1.c5e53aa362eb4p-4"),
            ("0x1.b2036576afce6p-1", "0x1.526e57720db08p-3"),
            ("0x1.9c2d163a1aa2dp-1", "0x1.bc2860d22477p-3"),
            ("0x1.886e6037841edp-1", "0x1.1058bc8a07ee1p-2"),
            ("0x1.767dcf5534862p-1", "0x1.4043057b6ee09p-2"),
        )
    ]
)
LOG_INVERSES: Float64 = _LOG_TABLE[:, 0]
_INVERSE_HIGH: Float64 = LOG_INVERSES.astype(np.float32).astype(np.float64)
_INVERSE_LOW: Float64 = LOG_INVERSES - _INVERSE_HIGH
_LOG_C: Float64 = _LOG_TABLE[:, 1]
_LN2 = float.fromhex("0x1.62e42fefa39efp-1")
_LOG_A0 = float.fromhex("-0x1.00ea348b88334p-2")
_LOG_A1 = float.fromhex("0x1.5575b0be00b6ap-2")
_LOG_A2 = float.fromhex("-0x1.ffffef20a4123p-2")


def logf(x: ArrayLike) -> Float32:
    """The natural logarithm of float32 of any shape: -inf for 0, NaN below."""
    x = as_float32(x)
    with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
        subnormal = (x > 0) & (x < np.float32(2.0**-126))
        bits = np.where(subnormal, x * np.float32(2.0**23), x).view(np.int32).astype(np.int64)
        bits = bits - np.where(subnormal, 23 << 23, 0)
        offset = bits - LOG_OFFSET
        interval = (offset >> 19) & 15
        k = offset >> 23
        z = (bits - (k << 23)).astype(np.int32).view(np.float32).astype(np.float64)
        r = (z * _INVERSE_HIGH[interval] - 1.0) + z * _INVERSE_LOW[interval]  # one rounding, as fma(z, 1/c, -1)
        y0 = _LOG_C[interval] + k * _LN2
        r2 = r * r
        y = (_LOG_A0 * r2 + (_LOG_A1 * r + _LOG_A2)) * r2 + (y0 + r)
        result = y.astype(np.float32)
        ordinary = (x > 0) & (x < np.float32(np.inf))
        return np.where(ordinary, result, np.log(np.where(ordinary, np.float32(1), x)))


# ---- fdlibm in float32: every operation rounds on its own ----


_LN2_HIGH, _LN2_LOW, _INVERSE_LN2 = float32s("3f317180 3717f7d1 3fb8aa3b")
_EXPM1_Q = float32s("3f800000 bd088889 3ad00d01 b8a670cd 36867e54 b457edbb")
_ONE, _TWO, _HALF = np.float32(1), np.float32(2), np.float32(0.5)


def horner(x: Float32, coefficients: list[np.float32]) -> Float32:
    """c0 + x (c1 + x (c2 + ...)), each operation rounded to float32."""
    result = np.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        result = coefficient + x * result
    return result


def _scale_by_pot(y: Float32, k: NDArray[np.int32]) -> Float32:
    """y * 2^k by adding k to the exponent field."""
    return (y.view(np.int32) + (k << 23)).view(np.float32)


def expm1f(x: ArrayLike) -> Float32:
    """e^x - 1 of float32 of any shape."""
    x = as_float32(x)
    with np.errstate(all="ignore"):
        magnitude = np.abs(x)
        bits = magnitude.view(np.int32)
        sign = np.where(np.signbit(x), -_ONE, _ONE)
        reduced, near_one = bits > 0x3EB17218, bits < 0x3F851592
        inside = np.where((magnitude < 89) & ~((x < 0) & (bits >= 0x4195B844)), x, np.float32(0))
        k_far = (_INVERSE_LN2 * inside + _HALF * sign).astype(np.int32)
        k = np.where(reduced, np.where(near_one, sign.astype(np.int32), k_far), 0).astype(np.int32)
        t = k.astype(np.float32)
        high, low = inside - t * _LN2_HIGH, t * _LN2_LOW
        u = np.where(k == 0, inside, high - low)
        c = np.where(k == 0, np.float32(0), (high - u) - low)
        half_u = _HALF * u
        half_square = u * half_u
        r1 = horner(half_square, _EXPM1_Q)
        t = np.float32(3) - r1 * half_u
        e = half_square * ((r1 - t) / (np.float32(6) - u * t))
        primary = u - (u * e - half_square)
        e = (u * (e - c) - c) - half_square
        minus_one = _HALF * (u - e) - _HALF
        plus_one = np.where(u < np.float32(-0.25), -_TWO * (e - (u + _HALF)), _ONE + _TWO * (u - e))
        whole = _scale_by_pot(_ONE - (e - u), k) - _ONE
        one_minus = (0x3F800000 - (np.int32(0x1000000) >> np.clip(k, 0, 24))).view(np.float32)  # 1 - 2^-k
        small = _scale_by_pot(one_minus - (e - u), k)
        two_to_minus_k = ((0x7F - np.clip(k, 0, 60)) << 23).view(np.float32)
        large = _scale_by_pot((u - (e + two_to_minus_k)) + _ONE, k)
        result = np.select(
            [k == 0, k == -1, k == 1, (k <= -2) | (k > 56), k < 23],
            [primary, minus_one, plus_one, whole, small],
            large,
        ).astype(np.float32)
        result = np.where(bits < 0x33000000, x, result)
        result = np.where((x < 0) & (bits >= 0x4195B844), -_ONE, result)
        result = np.where((x > 0) & (bits >= 0x42B17218), np.float32(np.inf), result)
        return np.where(np.isnan(x), x, result)


def tanhf(x: ArrayLike) -> Float32:
    """tanh of float32 of any shape: 1 - 2 / (expm1(2|x|) + 2) from 1 on, -t / (t + 2) with t = expm1(-2|x|) below."""
    x = as_float32(x)
    with np.errstate(all="ignore"):
        magnitude = np.abs(x)
        far = magnitude >= 1
        t = expm1f(np.where(far, _TWO, -_TWO) * np.minimum(magnitude, np.float32(22)))
        z = np.where(far, _ONE - _TWO / (t + _TWO), -t / (t + _TWO))
        z = np.where(magnitude >= 22, _ONE, z)
        z = np.where(magnitude.view(np.int32) < 0x24000000, magnitude * (_ONE + x), z)
        return np.where(np.isnan(x), x, np.copysign(z, x))


_ERX, _EFX = float32s("3f58560b 3e0375d4")
_ERF_PP = float32s("3e0375d4 bea66beb bce9528f bbbd1489 b7c756b1")
_ERF_QQ = float32s("3f800000 3ecbbbce 3d852a63 3ba68116 390aee49 b684e21a")
_ERF_PA = float32s("bb1acdc6 3ed46805 bebe9208 3ea2fe54 bde31cc2 3d1151b3 bb0df9c0")
_ERF_QA = float32s("3f800000 3dd9f331 3f0a5785 3d931ae7 3e013307 3c5f6e13 3c445aa3")
_ERF_RA = float32s("bc21a093 bf31a0b7 c128f022 c2798057 c322658c c3389ae7 c2a2932b c11d077e")
_ERF_SA = float32s("3f800000 419d35ce 4309a863 43d9486f 442158c9 43d6810b 42d9451f 40d23f7c bd777f97")
_ERF_RB = float32s("bc21a092 bf4c9dd4 c18e104b c320a2ea c41f6441 c480230b c3f1c275")
_ERF_SB = float32s("3f800000 41f2b459 43a2e571 44c01759 4547fdbb 451f90ce 43ed43a7 c1b38712")


def _erfc_tail(magnitude: Float32, mask: int, near: int) -> Float32:
    """erfc(x) * x for 1.25 <= x: exp(-x^2 - 0.5625 + R/S), the square split so that its leading part is exact."""
    s = _ONE / (magnitude * magnitude)
    bits = magnitude.view(np.int32)
    quotient = np.where(
        bits < near,
        horner(s, _ERF_RA) / horner(s, _ERF_SA),
        horner(s, _ERF_RB) / horner(s, _ERF_SB),
    )
    z = (bits & mask).view(np.float32)
    return expf(-z * z - np.float32(0.5625)) * expf((z - magnitude) * (z + magnitude) + quotient)


def erff(x: ArrayLike) -> Float32:
    """The error function of float32 of any shape."""
    x = as_float32(x)
    with np.errstate(all="ignore"):
        magnitude = np.abs(x)
        bits = magnitude.view(np.int32)
        square = x * x
        y = horner(square, _ERF_PP) / horner(square, _ERF_QQ)
        s = magnitude - _ONE
        quotient = horner(s, _ERF_PA) / horner(s, _ERF_QA)
        tail = _ONE - _erfc_tail(magnitude, ~0xFFF, 0x4036DB6E) / magnitude
        subnormal = np.float32(0.0625) * (np.float32(16) * x + (np.float32(16) * _EFX) * x)
        result = np.select(
            [bits < 0x04000000, bits < 0x31800000, bits < 0x3F580000, bits < 0x3FA00000, bits < 0x40C00000],
            [subnormal, x + _EFX * x, x + x * y, np.copysign(_ERX + quotient, x), np.copysign(tail, x)],
            np.copysign(_ONE, x),
        ).astype(np.float32)
        return np.where(np.isnan(x), x, result)


def erfcf(x: ArrayLike) -> Float32:
    """1 - erf(x) of float32 of any shape, without cancellation for large x."""
    x = as_float32(x)
    with np.errstate(all="ignore"):
        magnitude = np.abs(x)
        bits = magnitude.view(np.int32)
        square = x * x
        y = horner(square, _ERF_PP) / horner(square, _ERF_QQ)
        s = magnitude - _ONE
        quotient = horner(s, _ERF_PA) / horner(s, _ERF_QA)
        tail = _erfc_tail(magnitude, ~0x1FFF, 0x4036DB6D) / magnitude
        negative = np.signbit(x)
        result = np.select(
            [
                bits < 0x32800000,
                (bits < 0x3F580000) & (negative | (bits < 0x3E800000)),
                bits < 0x3F580000,
                bits < 0x3FA00000,
                negative & (bits >= 0x40C00000),
                bits < 0x41E00000,
            ],
            [
                _ONE - x,
                _ONE - (x + x * y),
                _HALF - (x * y + (x - _HALF)),
                np.where(negative, _ONE + (_ERX + quotient), (_ONE - _ERX) - quotient),
                np.full_like(x, 2),
                np.where(negative, _TWO - tail, tail),
            ],
            np.float32(0),
        ).astype(np.float32)
        return np.where(np.isnan(x), x, result)


# ---- compositions of the kernels ----


def sqrtf(x: ArrayLike) -> Float32:
    """The square root of float32 of any shape, correctly rounded; NaN below 0."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.sqrt(as_float32(x)))


def rsqrtf(x: ArrayLike) -> Float32:
    """1 / sqrt(x), both operations rounded to float32.

    Source: tflite/kernels/elementwise.cc, RsqrtEvalFloat.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(_ONE / np.sqrt(as_float32(x)))


def logistic(x: ArrayLike) -> Float32:
    """1 above 16.619047, e^x below -9, else 1 / (1 + e^-x): the float32 LOGISTIC kernel.

    Source: tflite/kernels/internal/reference/logistic.h, Logistic<float>.
    """
    x = as_float32(x)
    low = x < np.float32(-9)
    power = expf(np.where(low, x, -x))
    with np.errstate(over="ignore"):
        result = np.where(low, power, _ONE / (_ONE + power))
    return np.where(x > np.float32(16.619047164916992188), _ONE, result)


def sigmoid(x: ArrayLike) -> Float32:
    """1 / (1 + e^-x) in float32 throughout: the function behind the int8 and uint8 LOGISTIC table.

    Source: tflite/kernels/activations.cc, SigmoidPrepare.
    """
    with np.errstate(over="ignore"):
        return np.asarray(_ONE / (_ONE + expf(-as_float32(x))))


def sigmoid_in_float64(x: ArrayLike) -> Float32:
    """e^x / (1 + e^x) in float64, rounded to float32 once; 1 above 100, 0 below -100.

    Source: google/XNNPACK, src/reference/unary-elementwise.cc, SigmoidOp.
    """
    x = as_float32(x)
    e = np.exp(np.clip(x, -100, 100).astype(np.float64))
    return np.where(x > 100, np.float32(1), np.where(x < -100, np.float32(0), (e / (1 + e)).astype(np.float32)))


def elu(x: ArrayLike) -> Float32:
    """e^x - 1 below zero, else x: the function behind the int8 ELU table.

    Source: tflite/kernels/activations.cc, EluPrepare.
    """
    x = as_float32(x)
    return np.where(x < 0, expm1f(x), x)


_SQRT_HALF = np.float32(0.70710678118654752440)
_SQRT_TWO_OVER_PI = np.float32(1.12837916709551257390 * 0.70710678118654752440)


def gelu(x: ArrayLike) -> Float32:
    """x/2 * erfc(-x / sqrt 2): the function behind the int8 and uint8 GELU table.

    Source: tflite/kernels/internal/reference/gelu.h, GeluTransform.
    """
    x = as_float32(x)
    with np.errstate(under="ignore", invalid="ignore"):
        return np.asarray(_HALF * x * erfcf(x * -_SQRT_HALF))


def gelu_approximate(x: ArrayLike) -> Float32:
    """x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))): GELU with approximate = true.

    Source: tflite/kernels/internal/reference/gelu.h, GeluTransformApproximate.
    """
    x = as_float32(x)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return np.asarray(_HALF * x * (_ONE + tanhf(_SQRT_TWO_OVER_PI * (x + np.float32(0.044715) * x * x * x))))
