"""How the elements of two arrays differ: how many, by how much, and where it is worst."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.model.graph import Array

WORST = 8  # elements that a Difference names
BITS: Mapping[int, np.dtype[Any]] = MappingProxyType(  # bytes of a float -> the integers that its bits are
    {2: np.dtype(np.int16), 4: np.dtype(np.int32), 8: np.dtype(np.int64)}
)


@dataclass(frozen=True, slots=True)
class Element:
    """One element that differs: which sample, tensor and place in it (without the sample axis), and both values."""

    sample: int
    tensor: int
    index: tuple[int, ...]
    base: float
    value: float

    @property
    def step(self) -> float:
        """value - base."""
        return self.value - self.base


@dataclass(frozen=True, slots=True)
class Difference:
    """What one runtime gave in the place of what the base gave, bit for bit (a NaN equals a NaN).

    `largest` is |value - base| at its largest: steps of the integers, or the absolute difference of floats; `ulps` the
    same for float16, float32 and float64 in units of the last place, 0 for integers. `histogram` tells how many
    elements differ by each step, value - base; for floats by each distance in ulps, a power of two that it is below
    (… 4: from 2 to 3). `first` is the first in the order of samples, tensors and places; `worst` the farthest ones.
    """

    elements: int = 0
    differing: int = 0
    largest: float = 0
    ulps: int = 0
    histogram: tuple[tuple[int, int], ...] = ()
    first: Element | None = None
    worst: tuple[Element, ...] = ()

    @property
    def rate(self) -> float:
        """The share of elements that differ."""
        return self.differing / self.elements if self.elements else 0.0

    def __add__(self, later: Difference) -> Difference:
        """Both together; `later` belongs to later samples or tensors."""
        counts = dict(self.histogram)
        for step, count in later.histogram:
            counts[step] = counts.get(step, 0) + count
        worst = sorted((*self.worst, *later.worst), key=_farthest_first)[:WORST]
        return Difference(
            self.elements + later.elements,
            self.differing + later.differing,
            max(self.largest, later.largest),
            max(self.ulps, later.ulps),
            tuple(sorted(counts.items())),
            self.first or later.first,
            tuple(worst),
        )


def _farthest_first(element: Element) -> float:
    return -np.inf if math.isnan(element.step) else -abs(element.step)


def total(differences: Iterable[Difference]) -> Difference:
    """All of them together."""
    return sum(differences, Difference())


def differs(a: Array, b: Array) -> NDArray[np.bool_]:
    """Where two arrays of one shape and dtype differ in any bit; a NaN equals a NaN."""
    if a.dtype.kind == "f":
        return np.asarray((_bits(a) != _bits(b)) & ~(np.isnan(a) & np.isnan(b)))
    return np.asarray(a != b)


def difference(base: Array, other: Array, tensor: int, first_sample: int = 0) -> Difference:
    """The Difference of two arrays (samples, ...), the first of the samples having that number.

    Arrays of different dtypes or shapes differ in every element of the base; then, and where elements are no numbers,
    none is named.
    """
    if base.dtype != other.dtype or base.shape != other.shape:
        return Difference(base.size, max(base.size, 1), np.inf)
    if base.dtype.kind == "c":  # as floats, the real and the imaginary part along a last axis
        base, other = (np.stack([array.real, array.imag], axis=-1) for array in (base, other))
    bad = differs(base, other)
    count = int(np.count_nonzero(bad))
    if not count or base.dtype.kind not in "biuf":
        return Difference(base.size, count)
    places, a, b = np.flatnonzero(bad), base[bad], other[bad]

    def element(number: int) -> Element:
        sample, *index = (int(i) for i in np.unravel_index(places[number], bad.shape))
        return Element(first_sample + sample, tensor, tuple(index), a[number].item(), b[number].item())

    distance = _distances(a, b)
    ulps = ulps_between(a, b) if a.dtype.kind == "f" else None
    order = np.argsort(-distance, kind="stable")[:WORST]
    return Difference(
        base.size,
        count,
        float(distance.max()),
        0 if ulps is None else int(ulps.max()),
        _histogram(a, b, ulps),
        element(0),
        tuple(element(int(number)) for number in order),
    )


def ulps_between(a: Array, b: Array) -> NDArray[np.int64]:
    """The distance of floats of one dtype in units of the last place, -0.0 and 0.0 being one; NaN counts as largest."""
    with np.errstate(over="ignore"):
        x, y = _ordered(a), _ordered(b)
        far = np.abs(x.astype(np.float64) - y.astype(np.float64)) >= 2.0**62
        distance = np.where(far, np.int64(2**62), np.abs(x - y))
    return np.where(np.isnan(a) != np.isnan(b), np.int64(2**62), distance)


def _bits(array: Array) -> Array:
    return np.ascontiguousarray(array).view(BITS[array.dtype.itemsize]).reshape(array.shape)


def _ordered(array: Array) -> NDArray[np.int64]:
    """Integers in the order of the floats."""
    bits = _bits(array).astype(np.int64)
    lowest = -(1 << (8 * array.dtype.itemsize - 1))
    return np.asarray(np.where(bits < 0, lowest - bits, bits))


def _distances(a: Array, b: Array) -> NDArray[np.float64]:
    """|a - b|; infinite where one is no number."""
    with np.errstate(all="ignore"):
        distance = np.abs(a.astype(np.float64) - b.astype(np.float64))
    return np.where(np.isnan(distance), np.inf, distance)


def _histogram(a: Array, b: Array, ulps: NDArray[np.int64] | None) -> tuple[tuple[int, int], ...]:
    if ulps is not None:
        steps = 1 << np.ceil(np.log2(ulps.astype(np.float64) + 1)).astype(np.int64).clip(0, 62)
    else:
        steps = b.astype(np.int64) - a.astype(np.int64)
    return tuple((int(step), int(count)) for step, count in zip(*np.unique(steps, return_counts=True), strict=True))
