"""The distribution of a tensor's values in a bounded number of whole counts: what range estimators start from.

Bins are 2^exponent wide and their edges are multiples of that, so that two neighbours of one histogram are one bin of a
coarser one; and the exponent follows from the largest magnitude alone. Both make `merge` exact: the histogram of two
sets of values is the same, count by count, whether they were seen together or apart, in any order and any blocks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.arithmetic.blocks import BLOCK_ELEMENTS
from refquant.errors import InvalidInput
from refquant.model.graph import Array
from refquant.quantizer.observe import FLT_MAX

Int64 = NDArray[np.int64]

SIDE_BITS = 12
SIDE = 1 << SIDE_BITS  # bins on each side of zero
SMALLEST_EXPONENT = -126  # 2^126 is a float32, so that values are scaled to bins without rounding
MOST_VALUES = 1 << 42  # up to so many, every sum of counts that the estimators take fits int64


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """How often values fell into each bin, their exact minimum and maximum, and how many were exactly zero.

    counts: int64, (2 * SIDE,), read-only. With w = 2^exponent, counts[SIDE + i] values were positive and lay in
    [i w, (i + 1) w), and counts[SIDE - 1 - i] were negative and lay in (-(i + 1) w, -i w]. zeros: how many were 0.0 or
    -0.0. Errors: InvalidInput for more than 2^42 values.
    """

    min: float
    max: float
    zeros: int
    counts: Int64

    def __post_init__(self) -> None:
        if self.total > MOST_VALUES:
            raise InvalidInput(f"a histogram counts at most {MOST_VALUES:,} values of a tensor; give fewer samples")
        self.counts.flags.writeable = False

    @property
    def exponent(self) -> int:
        """The base-2 logarithm of a bin's width."""
        return _exponent(self.min, self.max)

    @property
    def total(self) -> int:
        """How many values were seen."""
        return self.zeros + int(self.counts.sum())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Histogram):
            return NotImplemented
        mine, theirs = (self.min, self.max, self.zeros), (other.min, other.max, other.zeros)
        return mine == theirs and np.array_equal(self.counts, other.counts)

    __hash__ = None  # type: ignore[assignment]  # counts are an array

    @classmethod
    def of(cls, values: Array, times: int = 1) -> Histogram:
        """The histogram of float32 values, of any shape, each counted `times` times.

        Errors: InvalidInput if there is no value, or one that is not finite.
        """
        flat = np.asarray(values, np.float32).reshape(-1)
        low, high = (float(flat.min()), float(flat.max())) if flat.size else (math.nan, math.nan)
        if not (math.isfinite(low) and math.isfinite(high)):
            raise InvalidInput("a histogram takes finite values, and at least one")
        per_width = np.float32(2.0 ** -_exponent(low, high))
        counts, zeros = np.zeros(2 * SIDE, np.int64), 0
        for start in range(0, flat.size, BLOCK_ELEMENTS):
            block = flat[start : start + BLOCK_ELEMENTS]
            bins = (block * per_width).astype(np.int32)  # toward zero; exact, or below bin 1 where it underflows
            bins += SIDE
            bins -= block < 0
            counts += np.bincount(bins, minlength=2 * SIDE)
            zeros += block.size - int(np.count_nonzero(block))
        counts[SIDE] -= zeros
        return cls(low + 0.0, high + 0.0, zeros * times, counts * times)

    def merge(self, other: Histogram) -> Histogram:
        """The histogram of both sets of values, exactly. InvalidInput for more than 2^42 values."""
        low, high = min(self.min, other.min), max(self.max, other.max)
        exponent = _exponent(low, high)
        counts = _coarser(self, exponent) + _coarser(other, exponent)
        return Histogram(low, high, self.zeros + other.zeros, counts)

    def as_numbers(self) -> dict[str, Any]:
        """What JSON can hold. `counts` go from bin `first`, negative left of zero, to the last that is filled."""
        filled = np.flatnonzero(self.counts)
        first, end = (int(filled[0]), int(filled[-1]) + 1) if filled.size else (SIDE, SIDE)
        counts = self.counts[first:end].tolist()
        return {"min": self.min, "max": self.max, "zeros": self.zeros, "first": first - SIDE, "counts": counts}

    @classmethod
    def from_numbers(cls, numbers: Mapping[str, Any]) -> Histogram:
        """The histogram that `as_numbers` told. Errors: ValueError, KeyError or TypeError if it is none."""
        low, high = (_finite_float32(numbers[end]) for end in ("min", "max"))
        zeros, *listed = (_count(number) for number in (numbers["zeros"], *numbers["counts"]))
        first = numbers["first"]
        if type(first) is not int or not -SIDE <= first <= SIDE - len(listed):
            raise ValueError("a histogram begins or ends at a bin that is not there")
        counts = np.zeros(2 * SIDE, np.int64)
        counts[SIDE + first : SIDE + first + len(listed)] = listed
        histogram = cls(low, high, zeros, counts)
        if low > high or _filled(histogram) != _filled(cls.of(np.array([low, high], np.float32))):
            raise ValueError("a histogram's counts do not reach from its minimum to its maximum")
        return histogram


def _exponent(low: float, high: float) -> int:
    """k - 12, but at least -126, where 2^k is the smallest power of two above every magnitude."""
    largest = max(-low, high)
    return max(math.frexp(largest)[1] - SIDE_BITS, SMALLEST_EXPONENT) if largest else SMALLEST_EXPONENT


def _coarser(histogram: Histogram, exponent: int) -> Int64:
    """The counts in bins of 2^exponent, which are no narrower than the histogram's."""
    together = 1 << min(exponent - histogram.exponent, SIDE_BITS)
    inner = SIDE // together
    counts = np.zeros(2 * SIDE, np.int64)
    counts[SIDE - inner : SIDE + inner] = histogram.counts.reshape(2 * inner, together).sum(axis=1)
    return counts


def _filled(histogram: Histogram) -> tuple[int, int]:
    """The first and the last place that is not empty, zeros standing between the two sides."""
    filled = np.flatnonzero(np.insert(histogram.counts, SIDE, histogram.zeros))
    return (int(filled[0]), int(filled[-1])) if filled.size else (-1, -1)


def _count(number: Any) -> int:
    if type(number) is not int or not 0 <= number <= MOST_VALUES:
        raise ValueError(f"{str(number)[:40]} is not a number of values")
    return number


def _finite_float32(number: Any) -> float:
    if type(number) not in (int, float) or not abs(number) <= FLT_MAX or np.float32(number) != number:
        raise ValueError(f"{str(number)[:40]} is not a finite float32 number")
    return float(number)
