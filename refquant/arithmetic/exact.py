"""Exact integer matrix products through float BLAS, and how an accumulator is narrowed to int32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refquant.arithmetic.fixed_point import INT32_MAX, INT32_MIN, Int64, wrap_int32
from refquant.errors import AccumulatorOverflow

Narrow = Callable[[ArrayLike], Int64]
"""How a sum that may leave the int32 range becomes an int32 accumulator."""

# The largest magnitude up to which every integer, and so every partial sum, is exact in the float type.
EXACT_FLOAT32 = 1 << 24
EXACT_FLOAT64 = 1 << 53


def checked_int32(x: ArrayLike) -> Int64:
    """x itself; AccumulatorOverflow if a value lies outside the int32 range."""
    x = np.asarray(x, np.int64)
    if x.size and (x.max() > INT32_MAX or x.min() < INT32_MIN):
        worst = x.max() if x.max() > INT32_MAX else x.min()
        raise AccumulatorOverflow(f"an int32 accumulator would hold {int(worst)}; the runtimes wrap it silently")
    return x


NARROW: dict[str, Narrow] = {"wrap": wrap_int32, "error": checked_int32}


def exact_matmul(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """a @ b for integer arrays, exactly: float32 or float64 BLAS while every partial sum is exact in it, else int64.

    a: (..., m, k) integers; b: (..., k, n) integers. The result holds integers in float32, float64 or int64.
    Bound: max|a| * max over columns of sum|b| must not exceed 2^24 (float32) or 2^53 (float64).
    """
    largest = int(np.abs(a.astype(np.int64)).max(initial=0))
    column = int(np.abs(b.astype(np.int64)).sum(axis=-2).max(initial=0))
    if largest * column <= EXACT_FLOAT32:
        return np.matmul(a.astype(np.float32), b.astype(np.float32))
    if largest * column <= EXACT_FLOAT64:
        return np.matmul(a.astype(np.float64), b.astype(np.float64))
    return np.matmul(a.astype(np.int64), b.astype(np.int64))
