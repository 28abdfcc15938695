"""float32 in vectors of x86: denormal numbers count as 0 and become 0, and which of two numbers is the larger.

Source: google/XNNPACK, src/runtime.c, xnn_invoke_runtime (PTHREADPOOL_FLAG_DISABLE_DENORMALS: MXCSR's DAZ and FTZ).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

SIGN = np.uint32(1 << 31)
EXPONENT = np.uint32(0xFF << 23)
LEAST_SAFE = np.float32(2.0**-102)  # sums of multiples of its last bit are 0 or no denormals


def flush_denormals(x: Float32) -> Float32:
    """A copy of x with a zero of the same sign for each denormal number. x: float32 of any shape."""
    bits = np.array(x, np.float32).view(np.uint32)
    denormal = (bits & EXPONENT) == 0
    if denormal.any():
        bits[denormal] &= SIGN
    return bits.view(np.float32)


def add_flushed(a: Float32, b: Float32) -> Float32:
    """a + b in float32, of denormals a zero of the same sign. a, b: without denormals."""
    return flush_denormals(np.asarray(a + b))


def sums_stay_normal(x: Float32) -> bool:
    """Whether no sum of elements of x can be a denormal number: then plain additions do as add_flushed does."""
    return not ((x != 0) & (np.abs(x) < LEAST_SAFE)).any()


def larger(a: Float32 | np.float32, b: Float32 | np.float32) -> Float32:
    """a where a > b, else b: of equal ones, and with a NaN, the second (MAXPS)."""
    return np.where(a > b, a, b)


def smaller(a: Float32 | np.float32, b: Float32 | np.float32) -> Float32:
    """a where a < b, else b (MINPS)."""
    return np.where(a < b, a, b)
