"""What calibrating gives: for every float tensor the range that its values take, as a value and as a file.

A range is what the converter keeps, the smallest and the largest value, unless another estimator was asked for. Then
the histogram of the values is kept beside it, so that calibrations can still be merged exactly.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from refquant.errors import InvalidInput
from refquant.files import write_whole
from refquant.model.graph import Model
from refquant.program import ModelLike, as_model
from refquant.quantizer.estimators import MINMAX, checked_percentile, estimated_range
from refquant.quantizer.histogram import Histogram
from refquant.quantizer.observe import FLT_MAX

Limits = tuple[float, float]

FORMAT = {"format": "refquant calibration", "version": 1}


@dataclass(frozen=True, slots=True)
class TensorRange:
    """The range of one tensor; `min` and `max` hold float32 values exactly. InvalidInput if it is no range.

    histogram: of all values, if an estimator made the range of it. scale: of weights with a fake-quantization range per
    channel the scales that follow from those, float64, not rounded; min and max are of all channels.
    """

    tensor: int
    name: str
    min: float
    max: float
    histogram: Histogram | None = field(default=None, repr=False)
    scale: tuple[float, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        try:
            low, high = _float32(self.min), _float32(self.max)
        except ValueError as error:
            raise InvalidInput(f"tensor '{self.name}': {error}") from None
        if low > high:
            raise InvalidInput(f"tensor '{self.name}': the range ends at {high!r}, before it begins at {low!r}")
        if not all(isinstance(scale, float) and 0 < scale <= FLT_MAX for scale in self.scale):
            raise InvalidInput(f"tensor '{self.name}': a scale must be a positive number")


@dataclass(frozen=True, slots=True)
class Calibration:
    """The ranges of a float model's tensors over some samples, in the order of the tensors.

    estimator, percentile: how the ranges were made; "minmax" is the converter's own way. Errors: InvalidInput for an
    unknown one, and if another than "minmax" lacks a tensor's histogram.
    """

    tensors: tuple[TensorRange, ...]
    samples: int = 0
    estimator: str = MINMAX
    percentile: float | None = None

    def __post_init__(self) -> None:
        if checked_percentile(self.estimator, self.percentile) != self.percentile:
            raise InvalidInput(f"estimator='{self.estimator}': the percentile is missing")
        lacking = [entry.name for entry in self.tensors if (entry.histogram is None) != (self.estimator == MINMAX)]
        if lacking:
            what = "has a histogram" if self.estimator == MINMAX else "lacks its histogram"
            raise InvalidInput(f"estimator='{self.estimator}': tensor '{lacking[0]}' {what}")

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """{tensor name: (min, max)}; of tensors that share a name, each but the first has its index behind it."""
        ranges: dict[str, tuple[float, float]] = {}
        for entry in self.tensors:
            name = entry.name if entry.name not in ranges else f"{entry.name} (tensor {entry.tensor})"
            ranges[name] = (entry.min, entry.max)
        return ranges

    def merge(self, other: Calibration) -> Calibration:
        """The ranges over both sets of samples, as one calibration on all gives; associative and commutative.

        Of zeros and subnormal numbers it takes the least; which one the converter keeps is a matter of their order.
        Errors: InvalidInput, naming a tensor, if the calibrations are of different models; if their ranges were not
        made in the same way.
        """
        if not isinstance(other, Calibration):
            raise InvalidInput(f"only a Calibration can be merged, not {type(other).__name__}")
        self._check_same_model(other)
        if (self.estimator, self.percentile) != (other.estimator, other.percentile):
            ways = " and the other by ".join(f"'{c.estimator}' {c.percentile or ''}".strip() for c in (self, other))
            raise InvalidInput(f"one calibration was made by {ways}: such ranges cannot be merged")
        merged = {entry.tensor: entry for entry in self.tensors}
        for entry in other.tensors:
            merged[entry.tensor] = self._merged(merged[entry.tensor], entry) if entry.tensor in merged else entry
        tensors = tuple(merged[tensor] for tensor in sorted(merged))
        return replace(self, tensors=tensors, samples=self.samples + other.samples)

    def _merged(self, mine: TensorRange, theirs: TensorRange) -> TensorRange:
        if mine.scale or theirs.scale:
            raise InvalidInput(f"tensor '{mine.name}' has a scale per channel: such ranges cannot be merged")
        if mine.histogram is not None and theirs.histogram is not None:
            return _estimated(mine, mine.histogram.merge(theirs.histogram), self.estimator, self.percentile)
        low, high = min(mine.min, theirs.min, key=_order), max(mine.max, theirs.max, key=_order)
        return replace(mine, min=low, max=high)

    def estimate(self, estimator: str, percentile: float | None = None) -> Calibration:
        """The ranges by another estimator, from the same histograms. InvalidInput if there are none (minmax)."""
        if self.estimator == MINMAX:
            raise InvalidInput(f"these ranges were made without histograms; calibrate with estimator='{estimator}'")
        tensors = tuple(_estimated(e, e.histogram, estimator, percentile) for e in self.tensors if e.histogram)
        return Calibration(tensors, self.samples, estimator, checked_percentile(estimator, percentile))

    def _check_same_model(self, other: Calibration) -> None:
        names = {entry.tensor: entry.name for entry in self.tensors}
        places, theirs = self._places(), other._places()
        for entry in other.tensors:
            here, there = names.get(entry.tensor, entry.name), entry.name
            if here != there:
                difference = f"tensor {entry.tensor} is '{here}' in one and '{there}' in the other"
            elif entry.name in theirs and places.get(entry.name, entry.tensor) != entry.tensor:
                difference = f"'{entry.name}' is tensor {places[entry.name]} in one and {entry.tensor} in the other"
            else:
                continue
            raise InvalidInput(f"the calibrations are of different models: {difference}")

    def _places(self) -> dict[str, int]:
        """{name: tensor} of the names that occur once."""
        counts = Counter(entry.name for entry in self.tensors)
        return {entry.name: entry.tensor for entry in self.tensors if counts[entry.name] == 1}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a JSON file, whole or not at all; numbers as decimals that give back the same float32."""
        write_whole(path, lambda file: file.write(self._to_json().encode("ascii")))

    def _to_json(self) -> str:
        lines = ",\n".join(f"  {json.dumps(_numbers(entry), allow_nan=False)}" for entry in self.tensors)
        way = {"estimator": self.estimator, "percentile": self.percentile} if self.estimator != MINMAX else {}
        head = json.dumps({**FORMAT, "samples": self.samples, **way})[:-1]
        return f'{head}, "tensors": [\n{lines}\n]}}\n'

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Calibration:
        """The calibration that `save` wrote. InvalidInput if the file is missing or is not one."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            if {key: content[key] for key in FORMAT} != FORMAT:
                raise ValueError("another format or version")
            entries = tuple(_entry(entry) for entry in content["tensors"])
            if len({entry.tensor for entry in entries}) != len(entries):
                raise ValueError("a tensor occurs twice")
            way = content.get("estimator", MINMAX), content.get("percentile")
            return cls(entries, _whole(content["samples"]), *way)
        except FileNotFoundError:
            raise InvalidInput(f"{os.fspath(path)}: there is no such file") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            raise InvalidInput(f"{os.fspath(path)}: not a calibration file of refquant ({reason})") from None

    @classmethod
    def from_model(cls, model: ModelLike) -> Calibration:
        """The ranges that a calibrating converter left in the model's tensors. InvalidInput if there are none."""
        entries = []
        for index, tensor in enumerate(as_model(model).graph.tensors):
            q = tensor.quantization
            if q is None or q.scale or not q.min or len(q.min) != len(q.max) or tensor.type != "FLOAT32":
                continue
            entries.append(TensorRange(index, tensor.name, q.min[0], q.max[0]))
        if not entries:
            raise InvalidInput("no tensor of the model holds a range; a converter leaves ranges only if it calibrates")
        return cls(tuple(entries))

    def for_model(self, model: Model) -> dict[int, Limits]:
        """{tensor index: (min, max)}. A tensor is known by its index and name, or by its name if that occurs once."""
        return {tensor: (entry.min, entry.max) for tensor, entry in self.entries_for(model).items()}

    def entries_for(self, model: Model) -> dict[int, TensorRange]:
        """{tensor index: its entry}."""
        names: dict[str, list[int]] = {}
        for index, tensor in enumerate(model.graph.tensors):
            names.setdefault(tensor.name, []).append(index)
        found: dict[int, TensorRange] = {}
        for entry in self.tensors:
            candidates = names.get(entry.name, [])
            if entry.tensor in candidates:
                index = entry.tensor
            elif len(candidates) == 1:
                index = candidates[0]
            else:
                raise InvalidInput(
                    f"the calibration is of another model: it holds a range of tensor {entry.tensor} '{entry.name}', "
                    f"which the model has {'not' if not candidates else 'several times'}"
                )
            found[index] = entry
        return found


def _entry(entry: Mapping[str, Any]) -> TensorRange:
    name = entry["name"]
    if not isinstance(name, str):
        raise ValueError("a tensor's name must be a text")
    histogram = Histogram.from_numbers(entry["histogram"]) if "histogram" in entry else None
    limits = _float32(entry["min"]), _float32(entry["max"])
    return TensorRange(_whole(entry["tensor"]), name, *limits, histogram, tuple(entry.get("scale", ())))


def _numbers(entry: TensorRange) -> dict[str, Any]:
    numbers: dict[str, Any] = {"tensor": entry.tensor, "name": entry.name, "min": entry.min, "max": entry.max}
    if entry.scale:
        numbers["scale"] = entry.scale
    return numbers if entry.histogram is None else {**numbers, "histogram": entry.histogram.as_numbers()}


def _estimated(entry: TensorRange, histogram: Histogram, estimator: str, percentile: float | None) -> TensorRange:
    low, high = estimated_range(histogram, estimator, percentile)
    return replace(entry, min=low, max=high, histogram=histogram)


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is not a number of things")
    return value


def _float32(value: Any) -> float:
    """The number, if it is a finite float32. Errors: ValueError."""
    finite = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= FLT_MAX
    if not finite:
        raise ValueError(f"a range holds {str(value)[:40]}; it must hold finite float32 numbers")
    with np.errstate(over="ignore"):
        narrowed = float(np.float32(value))
    if narrowed != value:
        raise ValueError(f"a range holds {value!r}, which is not a float32 number")
    return narrowed


def _order(value: float) -> tuple[float, float]:
    """Orders -0.0 before 0.0."""
    return value, math.copysign(1, value)
