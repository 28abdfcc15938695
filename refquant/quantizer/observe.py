"""What is kept of the values that pass while a float model runs: one observation a tensor, which can be merged.

The converter's own observation is MinMax. It has two quirks that are reproduced: a range starts as [FLT_MAX, FLT_MIN],
so that its end is never below the smallest positive normal float32; and TFLite runs with subnormal numbers taken for
zero, so that of all zeros (+0, -0 and subnormals) the first one that was seen stays.
Source: google-ai-edge/LiteRT, tflite/tools/optimize/calibration/calibrator.cc, calibration_logger.{h,cc} (observer),
tflite/core/interpreter.cc (Interpreter::Invoke: denormals); checked against TensorFlow 2.21.0.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Protocol

import numpy as np

from refquant.model.graph import Array, Model
from refquant.program import Value

FLT_MAX = float(np.finfo(np.float32).max)
FLT_MIN = float(np.finfo(np.float32).tiny)  # the smallest positive normal float32: C's FLT_MIN

SEARCHED = 1 << 12  # elements that are searched for a zero together
CHUNK = 1 << 16  # elements whose minimum and maximum are taken together, while they are in the processor's cache


@dataclass(frozen=True, slots=True)
class Values:
    """The values of one float tensor while one block of samples ran. Read them now: the memory is the engine's.

    array: float32, one axis, not empty, neither NaN nor infinite; samples one after another. low, high: its smallest
    and largest value. times: how often each element counts (a tensor that is the same for every sample is here once).
    sample_at: position of an element -> number of its sample.
    """

    array: Array
    low: float
    high: float
    times: int
    sample_at: Callable[[int], int]


class Observation(Protocol):
    """What is kept of one tensor. It can be pickled, and merging is associative and commutative."""

    def see(self, values: Values) -> None:
        """Takes in one block's values."""
        ...

    def merge(self, other: Any) -> None:
        """Takes in what another observation of the same kind has seen."""
        ...

    def range(self) -> tuple[float, float] | None:
        """(min, max), two float32 numbers; None if nothing was seen."""
        ...


Estimator = Callable[[], Observation]
"""Makes an empty observation for each tensor; a value that can be pickled (a class, or functools.partial of one)."""


def flushed(value: float) -> float:
    """The value as TFLite compares it: subnormal numbers are zero."""
    return value if abs(value) >= FLT_MIN else 0.0


@dataclass(slots=True)
class MinMax:
    """The smallest and the largest value, as the converter keeps them. sample: the one in which `low` came up first."""

    low: float = FLT_MAX
    high: float = FLT_MIN
    sample: int = -1

    def see(self, values: Values) -> None:
        """low = min(low, values), high = max(high, values); of all zeros the first one stays."""
        position = 0 if flushed(values.low) else _first_zero(values.array)
        low = values.low if flushed(values.low) else float(values.array[position])
        self.merge(MinMax(low, values.high, values.sample_at(position)))

    def merge(self, other: MinMax) -> None:
        """The range of what both have seen."""
        if self.sample < 0 or (other.sample >= 0 and other._rank() < self._rank()):
            self.low, self.sample = other.low, other.sample
        self.high = max(self.high, other.high)

    def _rank(self) -> tuple[float, int]:
        return flushed(self.low), self.sample

    def range(self) -> tuple[float, float] | None:
        """(low, high); None if nothing was seen."""
        return (self.low, self.high) if self.sample >= 0 else None


def _first_zero(array: Array) -> int:
    """The position of the first zero or subnormal number, of which there must be one."""
    for start in range(0, array.size, SEARCHED):
        zeros = np.abs(array[start : start + SEARCHED]) < np.float32(FLT_MIN)
        if zeros.any():
            return start + int(zeros.argmax())
    raise ValueError("the array holds no zero")


@dataclass(slots=True)
class Observed:
    """What one block of samples showed, by tensor, in the order of the operators: a plain value that can be pickled.

    missing, infinite: {tensor: the first sample in which it holds NaN, or an infinite number}.
    """

    observations: dict[int, Observation] = field(default_factory=dict)
    missing: dict[int, int] = field(default_factory=dict)
    infinite: dict[int, int] = field(default_factory=dict)

    def see(self, tensor: int, value: Value, first: int, count: int, estimator: Estimator) -> None:
        """Adds a float tensor's values in the samples number first, first + 1, ..., first + count - 1."""
        flat = value.array.reshape(-1)
        if not flat.size:
            return
        size = flat.size // count if value.batched else flat.size
        positions: Array | None = None  # of the elements that are kept, if not all are

        def sample_at(position: int) -> int:
            return first + (position if positions is None else int(positions[position])) // size

        low, high = limits(flat)
        if not (isfinite(low) and isfinite(high)):
            for unfit, found in ((np.isnan(flat), self.missing), (np.isinf(flat), self.infinite)):
                if unfit.any():
                    found.setdefault(tensor, sample_at(int(unfit.argmax())))
            positions = np.flatnonzero(np.isfinite(flat))
            flat = flat[positions]
            if not flat.size:
                return
            low, high = limits(flat)
        if tensor not in self.observations:
            self.observations[tensor] = estimator()
        self.observations[tensor].see(Values(flat, low, high, 1 if value.batched else count, sample_at))

    def absorb(self, tensor: int, other: int) -> None:
        """Adds what was seen of another tensor to what was seen of this one."""
        if other in self.observations:
            if tensor in self.observations:
                self.observations[tensor].merge(self.observations[other])
            else:
                self.observations[tensor] = copy(self.observations[other])

    def forget(self, tensor: int) -> None:
        """Drops what was seen of a tensor."""
        for found in (self.observations, self.missing, self.infinite):
            found.pop(tensor, None)


def observed_tensors(model: Model) -> frozenset[int]:
    """The tensors of which a range is kept: float32, read or written by an operator, without data in the file."""
    graph = model.graph
    touched = {index for operator in graph.operators for index in (*operator.inputs, *operator.outputs) if index >= 0}
    return frozenset(
        index
        for index in touched
        if graph.tensors[index].type == "FLOAT32" and not model.buffers[graph.tensors[index].buffer]
    )


def limits(array: Array) -> tuple[float, float]:
    """The smallest and the largest element of an array of one axis, which is not empty; NaN if it holds one."""
    if array.size <= CHUNK:
        return float(array.min()), float(array.max())
    chunks = [array[start : start + CHUNK] for start in range(0, array.size, CHUNK)]
    ends = np.array([(chunk.min(), chunk.max()) for chunk in chunks])
    return float(ends[:, 0].min()), float(ends[:, 1].max())
