"""Real multipliers as an int32 significand and a power of two.

Source: google-ai-edge/LiteRT, tflite/kernels/internal/quantization_util.cc (QuantizeMultiplier) and
tflite/kernels/internal/common.h (MultiplyByQuantizedMultiplier).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refquant.arithmetic.fixed_point import (
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
    return whole + np.copysign(np.abs(x - whole) >= 0.5, x)


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


def multiply_by_quantized_multiplier(x: ArrayLike, multiplier: ArrayLike, shift: ArrayLike) -> Int64:
    """RoundingDivideByPOT(SRDHM(wrap32(x << left), multiplier), right): TFLite's double rounding.

    x: int32 values; multiplier, shift: broadcast against x. The left shift wraps as int32 does.
    """
    shift = _int64(shift)
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    return rounding_divide_by_pot(
        saturating_rounding_doubling_high_mul(wrap_int32(_int64(x) << left), multiplier), right
    )


def multiply_by_quantized_multiplier_int64(x: ArrayLike, multiplier: ArrayLike, shift: ArrayLike) -> Int64:
    """(x*q15 + 2^(14-shift)) >> (15-shift), with q15 the multiplier rounded to 15 bits: the form for int64 accumulators.

    x: int64 values with |x| < 2^47; shift: -31 to 7. The result is taken modulo 2^32, as the runtime's cast does.
    """
    multiplier, shift = _int64(multiplier), _int64(shift)
    reduced = np.where(multiplier < 0x7FFF0000, (multiplier + (1 << 15)) >> 16, 0x7FFF)
    total = 15 - shift
    return wrap_int32((_int64(x) * reduced + (np.int64(1) << (total - 1))) >> total)
