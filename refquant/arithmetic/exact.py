"""Exact integer matrix products through float BLAS, and how an accumulator is narrowed to int32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refquant.arithmetic.fixed_point import INT32_MAX, INT32_MIN, Int64, wrap_int32
from refquant.errors import AccumulatorOverflow, UnsupportedModel

Narrow = Callable[[ArrayLike], Int64]
"""How a sum that may leave the int32 range becomes an int32 accumulator."""

# The largest magnitude up to which every integer, and so every partial sum, is exact in the float type.
EXACT_FLOAT32 = 1 << 24
EXACT_FLOAT64 = 1 << 53
FEWEST_ROWS = 64  # of a float32 product: shorter ones take longer than one float64 product of all rows

INT64_LIMIT = 1 << 47  # from here on TFLite's requantization of a 64-bit accumulator is undefined behaviour


def checked_int32(x: ArrayLike) -> Int64:
    """x itself; AccumulatorOverflow if a value lies outside the int32 range."""
    x = np.asarray(x, np.int64)
    if x.size and (x.max() > INT32_MAX or x.min() < INT32_MIN):
        worst = x.max() if x.max() > INT32_MAX else x.min()
        raise AccumulatorOverflow(f"an int32 accumulator would hold {int(worst)}; the runtimes wrap it silently")
    return x


NARROW: dict[str, Narrow] = {"wrap": wrap_int32, "error": checked_int32}


def as_int64(x: ArrayLike) -> Int64:
    """x itself: the Narrow of a 64-bit accumulator that is used as a float64."""
    return np.asarray(x, np.int64)


def checked_int64(x: ArrayLike) -> Int64:
    """x itself, the Narrow of a 64-bit accumulator. UnsupportedModel for a value of 2^47 or more in magnitude.

    Source: tflite/kernels/internal/common.cc, MultiplyByQuantizedMultiplier(int64_t), whose contract it is.
    """
    x = as_int64(x)
    if x.size and largest_magnitude(x) >= INT64_LIMIT:
        raise UnsupportedModel(
            f"a 64-bit accumulator would hold {largest_magnitude(x)}; from 2^47 on the runtimes cannot requantize it"
        )
    return x


def narrowed(
    products: NDArray[Any], bias: Int64 | None, bound: int, narrow: Narrow
) -> tuple[NDArray[Any], Int64 | None]:
    """(accumulator, what is still to be added to it): the arguments of `requantize_and_clamp`, fit for int32.

    products: integers in any dtype, channels on the last axis; bias: (channels,) or None; bound: no |products| is
    larger. Costs nothing while bound + max|bias| fits int32; else products + bias goes through `narrow`.
    """
    if bound + largest_magnitude(0 if bias is None else bias) <= INT32_MAX:
        return products, bias
    return narrow(products.astype(np.int64) + (0 if bias is None else bias)), None


def largest_magnitude(x: ArrayLike) -> int:
    """max|x| of an integer-valued array, 0 for an empty one."""
    x = np.asarray(x)
    return max(int(x.max()), -int(x.min())) if x.size else 0


@dataclass(frozen=True, slots=True)
class PreparedMatrix:
    """The constant right-hand side of a product: (k, n) integers, cut along k where float32 sums would grow too large.

    `column_sum` is the largest sum of |b| over a column. `pieces` are (start, rows in `dtype`): while max|a| is at most
    `max_abs_a`, the products of each piece alone stay within 2^24 and so are exact in float32. Where that would need
    many short pieces, there is one in float64, within 2^53.
    """

    integers: NDArray[Any]
    column_sum: int
    max_abs_a: int
    dtype: type[np.floating[Any]]
    pieces: tuple[tuple[int, NDArray[Any]], ...]


def prepare_matrix(b: NDArray[Any], max_abs_a: int = 255) -> PreparedMatrix:
    """b as the right-hand side of many products. b: (k, n) integers. max_abs_a: the largest |a| to expect.

    A float32 piece ends before the row with which max_abs_a * max over columns of sum|b| would exceed 2^24. Where
    FEWEST_ROWS rows would on average, there is one piece in float64, or none if it exceeds 2^53.
    """
    magnitudes = np.abs(b.astype(np.int64))
    column_sum = int(magnitudes.sum(axis=0).max(initial=0))
    starts = _float32_starts(magnitudes, column_sum, EXACT_FLOAT32 // max(max_abs_a, 1))
    dtype: type[np.floating[Any]] = np.float32 if starts else np.float64
    if not starts and max_abs_a * column_sum <= EXACT_FLOAT64:
        starts = [0]
    pieces = tuple(
        (start, np.ascontiguousarray(b[start:stop], dtype))
        for start, stop in zip(starts, [*starts[1:], len(b)], strict=False)
    )
    return PreparedMatrix(b, column_sum, max_abs_a, dtype, pieces)


def _float32_starts(magnitudes: Int64, column_sum: int, limit: int) -> list[int]:
    """The first rows of pieces whose columns sum up to `limit` at most; none where pieces would be short, or a row."""
    if column_sum <= limit:
        return [0]
    if int(magnitudes.max(initial=0)) > limit or column_sum * FEWEST_ROWS > limit * len(magnitudes):
        return []
    sums = np.zeros(magnitudes.shape[1], np.int64)
    starts = [0]
    for row, values in enumerate(magnitudes):
        sums += values
        if sums.max() > limit:
            starts.append(row)
            sums = values.copy()
    return starts


def exact_matmul(a: NDArray[Any], b: NDArray[Any] | PreparedMatrix, max_abs_a: int | None = None) -> NDArray[Any]:
    """a @ b for integer-valued arrays, exactly: float32 or float64 BLAS while its partial sums are exact, else int64.

    a: (..., m, k) integers in any dtype; b: (..., k, n) integers, or a prepared matrix. max_abs_a: no |a| is larger
    (found by looking if not given). The result holds integers in float32, float64 or int64.
    Bound: max|a| * max over columns of sum|b| must not exceed 2^24 (float32) or 2^53 (float64); every partial sum, in
    whatever order and with or without fused multiply-add, is an integer within the bound and so exact.
    """
    if max_abs_a is None:
        max_abs_a = largest_magnitude(a)
    if isinstance(b, PreparedMatrix):
        bound, integers = max_abs_a * b.column_sum, b.integers
        if b.pieces and max_abs_a <= b.max_abs_a and bound <= EXACT_FLOAT64:
            return _matmul_in_pieces(a, b)
    else:
        bound, integers = max_abs_a * int(np.abs(b.astype(np.int64)).sum(axis=-2).max(initial=0)), b
    dtype = np.float32 if bound <= EXACT_FLOAT32 else np.float64 if bound <= EXACT_FLOAT64 else np.int64
    return np.asarray(np.matmul(a.astype(dtype, copy=False), integers.astype(dtype, copy=False)))


def _matmul_in_pieces(a: NDArray[Any], b: PreparedMatrix) -> NDArray[Any]:
    """One product per piece, added in float64 where there are several."""
    a = a.astype(b.dtype, copy=False)
    products = [np.matmul(a[..., start : start + len(rows)], rows) for start, rows in b.pieces]
    total = products[0] if len(products) == 1 else products[0].astype(np.float64)
    for product in products[1:]:
        total += product
    return np.asarray(total)
