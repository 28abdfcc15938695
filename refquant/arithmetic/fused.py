"""The fused multiply-add in float64, which NumPy lacks: a * b + c with one rounding."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float64 = NDArray[np.float64]

_SPLITTER = 2.0**27 + 1


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
