"""Affine maps between real values and integer codes: steps = x / scale, real = scale * (code - zero_point).

Source: google-ai-edge/LiteRT, tflite/kernels/internal/reference/quantize.h and dequantize.h.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.arithmetic.fixed_point import Int64
from refquant.arithmetic.flushing import flush_denormals
from refquant.arithmetic.multiplier import round_half_away

Float32 = NDArray[np.float32]

BELOW_HALF_FLOAT32 = np.nextafter(np.float32(0.5), np.float32(0))


LANES = 8  # elements of float32 that the optimized kernels take at once


def steps_by_division(x: Float32, scale: NDArray[Any] | np.float32, elements: int) -> Float32:
    """round(x / scale), half-way values away from zero, in float32. elements: of one run, which plays no part.

    C's round(v) = trunc(v + copysign(c, v)) with c the float32 below 1/2: for v = n + 1/2 the sum lies half-way or less
    from n + 1 and rounds to it; every float32 nearer to n stays below n + 1, and from 2^23 on v itself remains.
    """
    v = np.asarray(x / scale)
    v += np.copysign(BELOW_HALF_FLOAT32, v)
    return np.asarray(np.trunc(v, out=v))


def steps_by_inverse_in_eights(x: Float32, scale: NDArray[Any] | np.float32, elements: int) -> Float32:
    """rint(x * (1 / scale)) in float32, half-way values to even; of what does not fill a vector round(x / scale).

    elements: of one run, one after another in x; x may hold several runs. The rest is divided in float64 and rounded
    half away from zero. Source: tflite/kernels/internal/optimized/optimized_ops.h, AffineQuantize.
    """
    x, scale = np.asarray(x, order="C"), np.float32(scale)
    v = np.asarray(x * (np.float32(1) / scale))
    np.rint(v, out=v)
    rest = elements % LANES
    if rest:
        ends = x.reshape(-1, elements)[:, -rest:].astype(np.float64) / np.float64(scale)
        v.reshape(-1, elements)[:, -rest:] = round_half_away(ends)
    return v


def steps_by_inverse(x: Float32, scale: NDArray[Any] | np.float32, elements: int) -> Float32:
    """rint(x * (1 / scale)) in float32, half-way values to even; from 2^15 steps on, and of a NaN, 2^15 - 1.

    A denormal x counts as 0. elements: of one run, which plays no part.
    Source: google/XNNPACK, src/f32-qs8-vcvt/avx512skx.c.in.
    """
    v = flush_denormals(x)
    v *= np.float32(1) / np.float32(scale)
    limit = np.float32(2**15)
    return np.asarray(np.rint(np.where(v < limit, np.maximum(v, -limit), limit - np.float32(1))))


def real_by_difference(codes: NDArray[Any], scale: Float32, zero_point: Int64, elements: int) -> Float32:
    """scale * (code - zero_point), the product rounded to float32. elements: of one run, which plays no part."""
    real = codes.astype(np.float32)
    real -= zero_point.astype(np.float32)
    real *= scale
    return real


def real_by_sum_in_eights(codes: NDArray[Any], scale: Float32, zero_point: Int64, elements: int) -> Float32:
    """scale * code + (-zero_point * scale), each rounded to float32; of what does not fill a vector the difference.

    elements: as in steps_by_inverse_in_eights.
    Source: tflite/kernels/internal/optimized/optimized_ops.h, Dequantize, ScaleWithNewZeroPoint.
    """
    codes = np.asarray(codes, order="C")
    real = codes.astype(np.float32)
    real *= scale
    real += (-zero_point).astype(np.float32) * scale
    rest = elements % LANES
    if rest:
        ends = codes.reshape(-1, elements)[:, -rest:]
        real.reshape(-1, elements)[:, -rest:] = real_by_difference(ends, scale, zero_point, elements)
    return real
