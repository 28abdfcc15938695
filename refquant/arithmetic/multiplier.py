"""Real multipliers as an int32 significand and a power of two.

Source: google-ai-edge/LiteRT, tflite/kernels/internal/quantization_util.cc (QuantizeMultiplier) and
tflite/kernels/internal/common.h (MultiplyByQuantizedMultiplier).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refquant.arithmetic.blocks import Block, head, spread
from refquant.arithmetic.fixed_point import (
    INT32_MAX,
    INT32_MIN,
    Int64,
    _int64,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
    wrap_int32,
)
from refquant.errors import UnsupportedModel

MAX_SHIFT = 30  # a larger left or right shift is undefined behaviour in the runtimes' C++


@dataclass(frozen=True, slots=True)
class Multiplier:
    """real = multiplier * 2^(shift - 31). Arrays of one element, or one element per channel (the last axis)."""

    multiplier: NDArray[np.int32]  # 0, or 2^30 to 2^31 - 1
    shift: NDArray[np.int32]  # positive = left


def round_half_away(x: ArrayLike) -> NDArray[np.float64]:
    """C's round(): the nearest integer, half-way values away from zero. x: float64 (float32 widens exactly)."""
    x = np.asarray(x, np.float64)
    whole = np.trunc(x)
    return np.asarray(whole + np.copysign(np.abs(x - whole) >= 0.5, x))


def quantize_multiplier(real: ArrayLike) -> Multiplier:
    """real = q * 2^(shift-31) with q = round(frexp significand * 2^31). real: float64, >= 0, scalar or (channels,).

    q = 2^31 becomes 2^30 with shift + 1; shift < -31 flushes to (0, 0).
    """
    significand, shift = np.frexp(np.atleast_1d(np.asarray(real, np.float64)))
    q = round_half_away(significand * 2.0**31).astype(np.int64)
    overflow = q == 2**31
    q, shift = np.where(overflow, 2**30, q), shift.astype(np.int64) + overflow
    flushed = (shift < -31) | (q == 0)
    return Multiplier(np.where(flushed, 0, q).astype(np.int32), np.where(flushed, 0, shift).astype(np.int32))


def check_shift(multiplier: Multiplier, where: str) -> Multiplier:
    """The multiplier itself; UnsupportedModel if a shift beyond 30 would be undefined behaviour in the runtimes."""
    shift = multiplier.shift
    if shift.size and (shift.max() > MAX_SHIFT or shift.min() < -31):
        raise UnsupportedModel(
            f"{where}: the requantization multiplier needs a shift of {int(shift[np.abs(shift).argmax()])} bits; "
            f"shifts over {MAX_SHIFT} are undefined behaviour in TFLite. Check the scales of the operator's tensors"
        )
    return multiplier


def multiply_by_quantized_multiplier(
    x: ArrayLike, multiplier: ArrayLike, shift: ArrayLike, away: ArrayLike = True
) -> Int64:
    """RoundingDivideByPOT(SRDHM(wrap32(x << left), multiplier), right): TFLite's double rounding.

    x: int32 values; multiplier, shift, away: broadcast against x. The left shift wraps as int32 does. Where `away` is
    False the second rounding takes half-way values up instead of away from zero.
    """
    shift = _int64(shift)
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    high = saturating_rounding_doubling_high_mul(wrap_int32(_int64(x) << left), multiplier)
    return np.where(away, rounding_divide_by_pot(high, right), (high + ((np.int64(1) << right) >> 1)) >> right)


def behind_whole_vectors(size: int, lanes: int) -> NDArray[np.bool_]:
    """(size,): which of so many values one after another lie behind the last whole vector of so many lanes."""
    return np.arange(size) >= size // lanes * lanes


VECTOR = 16  # products that NEON's vectors, or those of x86 in their place, take together


def multiply_by_quantized_multiplier_in_vectors(x: ArrayLike, multiplier: ArrayLike, shift: ArrayLike) -> Int64:
    """`multiply_by_quantized_multiplier`, but in whole vectors of the last axis half-way values of the shift go up.

    x: int32 values; multiplier, shift: of one element.
    Source: tflite/kernels/internal/common.h, MultiplyByQuantizedMultiplier4Rows.
    """
    return multiply_by_quantized_multiplier(x, multiplier, shift, behind_whole_vectors(np.shape(x)[-1], VECTOR))


def double_rounding_block(multiplier: ArrayLike, shift: ArrayLike, repeats: int = 1, away: ArrayLike = True) -> Block:
    """`multiply_by_quantized_multiplier` for blocks of int32 (see blocks.py) with the same few multipliers.

    All but the product stays in int32, as in the runtime. With t = SRDHM(x << left, multiplier), of the sign of x or 0:
    RoundingDivideByPOT(t, right) = (t + 2^(right-1) - (t < 0)) >> right, or t itself for right = 0; upwards without the
    (t < 0). Since 0 <= multiplier < 2^31, t is not below 1 - 2^31 and t - 1 fits int32; t + 2^(right-1) may not, and is
    then int64.
    """
    shift = np.asarray(shift, np.int32)
    right = np.maximum(-shift, 0)
    half = (1 << right.astype(np.int64)) >> 1
    headroom = INT32_MAX - int(half.max(initial=0))
    shifts_left, shifts_right = shift.max(initial=0) > 0, shift.min(initial=0) < 0
    factors, lefts = spread(multiplier, repeats, np.int64), spread(np.maximum(shift, 0), repeats, np.int32)
    rights, halves = spread(right, repeats, np.int32), spread(half, repeats, np.int32)
    corrected = (right > 0) & away
    rounds = None if corrected.all() else spread(np.where(corrected, -1, 0), repeats, np.int32)

    def block(x: NDArray[Any]) -> NDArray[Any]:
        n = x.size
        if shifts_left:
            x <<= head(lefts, n)
        t: NDArray[Any] = x.astype(np.int64)
        t *= head(factors, n)
        t += 1 << 30
        t >>= 31
        if t.max() <= headroom:
            t = t.astype(np.int32)
        if shifts_right:
            if corrected.any():
                sign = t >> (8 * t.itemsize - 1)
                if rounds is not None:
                    sign &= head(rounds, n)
                t += sign
            t += head(halves, n)
            t >>= head(rights, n)
        return t.astype(np.int32, copy=False)

    return block


def high_mul_block(multiplier: ArrayLike, shift: ArrayLike, repeats: int, shift_first: bool) -> Block:
    """SRDHM(x >> right, multiplier), or SRDHM(x, multiplier) >> right, for blocks of int32 (see blocks.py).

    shift: 0 or negative. Source: tflite/kernels/internal/optimized/integer_ops/add.h, AddElementwiseInt8,
    AddScalarBroadcast, where a NEON shift by a negative amount rounds down.
    """
    factors = spread(multiplier, repeats, np.int64)
    rights = spread(-np.asarray(shift, np.int64), repeats, np.int64)

    def block(x: NDArray[Any]) -> NDArray[Any]:
        t: NDArray[Any] = x.astype(np.int64)
        if shift_first:
            t >>= head(rights, x.size)
        t *= head(factors, x.size)
        t += 1 << 30
        t >>= 31
        if not shift_first:
            t >>= head(rights, x.size)
        return t.astype(np.int32)

    return block


def multiply_by_quantized_multiplier_int64(x: ArrayLike, multiplier: ArrayLike, shift: ArrayLike) -> Int64:
    """(x*q15 + 2^(14-shift)) >> (15-shift), q15 the multiplier rounded to 15 bits: the form for int64 accumulators.

    x: int64 values with |x| < 2^47; shift: -31 to 7. The result is taken modulo 2^32, as the runtime's cast does.
    """
    multiplier, shift = _int64(multiplier), _int64(shift)
    total = 15 - shift
    return wrap_int32((_int64(x) * to_15_bits(multiplier) + (np.int64(1) << (total - 1))) >> total)


def to_15_bits(multiplier: Int64) -> Int64:
    """The multiplier's 31 bits rounded to 15, which saturate."""
    return np.where(multiplier < 0x7FFF0000, (multiplier + (1 << 15)) >> 16, 0x7FFF)


def int64_rounding_block(multiplier: ArrayLike, shift: ArrayLike, repeats: int = 1) -> Block:
    """`multiply_by_quantized_multiplier_int64` for blocks of int64 (see blocks.py) with the same few multipliers."""
    total = 15 - _int64(shift)
    factors = spread(to_15_bits(_int64(multiplier)), repeats, np.int64)
    totals, halves = spread(total, repeats, np.int64), spread(np.int64(1) << (total - 1), repeats, np.int64)

    def block(x: NDArray[Any]) -> NDArray[Any]:
        n = x.size
        x *= head(factors, n)
        x += head(halves, n)
        x >>= head(totals, n)
        return x.astype(np.int32)

    return block


BELOW_HALF = float(np.nextafter(0.5, 0))  # round(v) = trunc(v + copysign(BELOW_HALF, v)): see real_rounding_block


def real_rounding_block(real: ArrayLike, repeats: int = 1) -> Block:
    """round(x * real), half-way values away from zero, for blocks of float64 (see blocks.py).

    C's round(v) = trunc(v + copysign(c, v)) with c = 1/2 - 2^-54, the float64 below 1/2: for v = n + 1/2 the sum
    n + 1 - 2^-54 rounds to n + 1 (for n = 0 a tie, to even); for the float64 below that it rounds to one below n + 1.
    A result outside int32 is undefined behaviour in C++; here it becomes -2^31, what x86's conversion gives.
    """
    factors = spread(real, repeats, np.float64)

    def block(x: NDArray[Any]) -> NDArray[Any]:
        with np.errstate(over="ignore", invalid="ignore"):
            x *= head(factors, x.size)
        x += np.copysign(BELOW_HALF, x)
        if not (x.max() < 2.0**31 and x.min() > -(2.0**31) - 1):
            x[~(np.abs(x) < 2.0**31)] = INT32_MIN
        return x.astype(np.int32)

    return block


def float32_rounding_block(real: ArrayLike, repeats: int = 1, lowest: float = -(2.0**30)) -> Block:
    """rint(float32(x) * real) in float32, half-way values to even, for blocks of float32 (see blocks.py).

    Results below `lowest` are that, those above 2^30 are 2^30: what follows clamps them.
    Source: google/XNNPACK, src/qs8-gemm/ (fp32 requantization).
    """
    factors = spread(real, repeats, np.float32)

    def block(x: NDArray[Any]) -> NDArray[Any]:
        with np.errstate(over="ignore"):
            x *= head(factors, x.size)
        np.rint(x, out=x)
        return np.asarray(np.clip(x, lowest, 2.0**30).astype(np.int32))

    return block
