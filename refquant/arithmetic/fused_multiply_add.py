"""The fused multiply-add, which NumPy lacks: a * b + c with one rounding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refquant.arithmetic.flushing import flush_denormals

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_SPLITTER = 2.0**27 + 1

_LOST = 0x1FFFFFFF  # the bits of a float64 that a float32 lacks
_TIE = 0x10000000  # of them, those of a value half-way between two float32
_LEAST = 2.0**-126 - 2.0**-151  # what is smaller is rounded to a denormal float32
_UNIT = 2.0**-40  # products of float32 that are not smaller sum up to no denormal number
_ELEMENTS = 1 << 15  # that are worked on at once: their float64 buffers fit the second-level cache


def fused_multiply_add(a: ArrayLike, b: ArrayLike, c: ArrayLike) -> Float64:
    """a * b + c, rounded once. a, b, c: float64 that broadcast; no intermediate may overflow or underflow.

    The exact product and its sum with c are written as float64 values that do not overlap; the lower ones are added
    with rounding to odd, so that the last addition rounds as if it were the only one.
    Source: S. Boldo, G. Melquiond, Emulation of FMA and correctly rounded sums: proved algorithms using rounding to
    odd, IEEE Transactions on Computers 57 (4), 2008.
    """
    a, b, c = (np.asarray(x, np.float64) for x in (a, b, c))
    product, product_error = _two_product(a, b)
    high, low = _two_sum(c, product_error)
    sum, error = _two_sum(product, high)
    return np.asarray(sum + _add_to_odd(low, error))


def fused_multiply_add_float32(a: ArrayLike, b: ArrayLike, c: ArrayLike) -> Float32:
    """a * b + c, rounded once to float32; denormal numbers count as 0. a, b, c: float32 that broadcast."""
    a, b, c = (flush_denormals(np.asarray(x, np.float32)).astype(np.float64) for x in (a, b, c))
    with np.errstate(all="ignore"):
        product = np.asarray(a * b)
        total = np.array(np.broadcast_to(c, product.shape), np.float32)
        _add_rounded(product, total, _work(product.shape), False)
        return total


def add_fused_product(a: Float32, b: Float32, total: Float32) -> None:
    """total = a[k] * b[k] + total for k = 0, 1, ..., each rounded once to float32; denormal numbers count as 0.

    a: (..., m, k), b: (..., k, n), total: (..., m, n) float32; b may have fewer axes than a. `total` may be a view.
    Source: google/XNNPACK, src/f32-gemm/, src/f32-igemm/ (AVX512).
    """
    safe = _stays_normal(a, b, total)
    if b.ndim > 2:
        total[...] = _fused_product(a, b, total, safe)
        return
    rows = a.reshape(-1, a.shape[-1])
    result = np.empty((len(rows), total.shape[-1]), np.float32)
    first = total.reshape(result.shape)
    step = max(1, _ELEMENTS // max(result.shape[1], 1))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        result[part] = _fused_product(rows[part], b, first[part], safe)
    total[...] = result.reshape(total.shape)


def add_fused_taps(
    x: Float32, taps: Callable[[Float32], Iterable[Float32]], weights: Sequence[Float32], total: Float32
) -> None:
    """total = taps(x)[k] * weights[k] + total for k = 0, 1, ..., as in add_fused_product, image by image.

    x: (N, ...) float32; taps: some of its images -> what each tap reads of them, in total's shape; total: (N, ...).
    """
    safe = all(_stays_normal(x, weight, total) for weight in weights)
    x = flush_denormals(x)
    with np.errstate(all="ignore"):  # also a cast tells of a signaling NaN
        factors = [flush_denormals(weight).astype(np.float64) for weight in weights]
    step = max(1, _ELEMENTS * len(total) // max(total.size, 1))
    for start in range(0, len(x), step):
        sums = flush_denormals(total[start : start + step])
        work = _work(sums.shape)
        with np.errstate(all="ignore"):
            for tap, weight in zip(taps(x[start : start + step]), factors, strict=True):
                _add_rounded(np.multiply(tap, weight, out=work.product), sums, work, safe)
        total[start : start + step] = sums


def _stays_normal(a: Float32, b: Float32, total: Float32) -> bool:
    """Whether no sum of total and products of a and b can be a denormal number but 0."""
    return all(_not_below(x, limit) for x, limit in ((a, _UNIT), (b, _UNIT), (total, _UNIT**2.5)))


def _fused_product(a: Float32, b: Float32, total: Float32, safe: bool) -> Float32:
    """add_fused_product as a value. safe: whether no sum can be a denormal number."""
    total = flush_denormals(total)
    work = _work(total.shape)
    with np.errstate(all="ignore"):
        left, right = (np.moveaxis(flush_denormals(x), axis, 0).astype(np.float64) for x, axis in ((a, -1), (b, -2)))
        for column, row in zip(left, right, strict=True):
            np.multiply(column[..., np.newaxis], row[..., np.newaxis, :], out=work.product)
            _add_rounded(work.product, total, work, safe)
    return total


@dataclass(frozen=True, slots=True)
class _Work:
    """Memory for one sum after another: what is asked for anew each time costs ten times the sums themselves."""

    product: Float64
    total: Float64
    lost: NDArray[np.int64]
    ties: NDArray[np.bool_]


def _work(shape: tuple[int, ...]) -> _Work:
    return _Work(np.empty(shape), np.empty(shape), np.empty(shape, np.int64), np.empty(shape, np.bool_))


def _add_rounded(product: Float64, total: Float32, work: _Work, safe: bool) -> None:
    """total = product + total, rounded once to float32; a denormal is 0. It is looked at where float64 rounds, too."""
    exact = np.add(product, total, out=work.total)
    np.bitwise_and(exact.view(np.int64), _LOST, out=work.lost)
    ties = np.equal(work.lost, _TIE, out=work.ties)
    if ties.any():
        exact[ties] = _add_to_odd(product[ties], total[ties].astype(np.float64))
    np.copyto(total, exact, casting="same_kind")
    if not safe:
        total[np.abs(exact) < _LEAST] *= np.float32(0)


def _not_below(x: Float32, limit: float) -> bool:
    """Whether no |x| is smaller than `limit` but 0."""
    magnitudes = np.abs(x)
    return not ((magnitudes < limit) & (magnitudes > 0)).any()


def _two_sum(a: Float64, b: Float64) -> tuple[Float64, Float64]:
    """(a + b rounded, what the rounding lost): Knuth's algorithm."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _two_product(a: Float64, b: Float64) -> tuple[Float64, Float64]:
    """(a * b rounded, what the rounding lost): Dekker's algorithm, each factor split into 26 and 26 bits."""
    product = a * b
    (a_high, a_low), (b_high, b_low) = _halves(a), _halves(b)
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def _halves(x: Float64) -> tuple[Float64, Float64]:
    scaled = _SPLITTER * x
    high = scaled - (scaled - x)
    return high, x - high


def _add_to_odd(a: Float64, b: Float64) -> Float64:
    """a + b; where that is not exact, the one of its two neighbours whose last bit is 1."""
    total, error = _two_sum(a, b)
    bits = np.asarray(total).view(np.int64)
    outward = np.where((error > 0) == (total > 0), 1, -1)
    return np.asarray(bits + np.where((error != 0) & (bits & 1 == 0), outward, 0)).view(np.float64)
