"""Calibrate: run a float model on samples and keep, for every float tensor, the smallest and the largest value seen.

The converter's observer has two quirks that are reproduced: a range starts as [FLT_MAX, FLT_MIN], so that its end is
never below the smallest positive normal float32; and an operator that writes its output into an input's memory widens
that input's range, because inputs are looked at again after the operator ran.
Source: google-ai-edge/LiteRT, tflite/tools/optimize/calibration/calibrator.cc and calibration_logger.h (observer),
tflite/arena_planner.cc (IdentifyInPlaceTensors); checked against TensorFlow 2.21.0.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from refquant.errors import InvalidInput
from refquant.files import write_whole
from refquant.model.graph import Array, Graph, Model
from refquant.program import (
    ModelLike,
    Program,
    Value,
    as_model,
    block_size,
    check_array,
    execute,
    named_inputs,
    prepare,
)
from refquant.runtimes import runtime_named

Sample = Array | Sequence[Array] | Mapping[str, Array]
Shape = tuple[int, ...]

FLT_MAX = float(np.finfo(np.float32).max)
FLT_MIN = float(np.finfo(np.float32).tiny)  # the smallest positive normal float32: C's FLT_MIN

ENGINES = {"numpy": "fast_float"}  # engine -> the runtime whose kernels it runs
BLOCK_SAMPLES = 32  # samples that run together at most

FORMAT = {"format": "refquant calibration", "version": 1}

# Inputs whose memory an operator may take for its first output, as the kernels declare it (inplace_operator).
IN_PLACE: Mapping[str, tuple[int, ...]] = {
    "ADD": (0, 1),
    "DIV": (0, 1),
    "DYNAMIC_UPDATE_SLICE": (0,),
    "MUL": (0, 1),
    "SOFTMAX": (0,),
    "SUB": (0, 1),
}
IN_PLACE_UNCHANGED: Mapping[str, tuple[int, ...]] = {
    "BITCAST": (0,),
    "EXPAND_DIMS": (0,),
    "RESHAPE": (0,),
    "SQUEEZE": (0,),
}
SMALLEST_SHARED = 5  # bytes: a tensor of four bytes or fewer is not shared by an operator that changes it


@dataclass(frozen=True, slots=True)
class TensorRange:
    """The range of one tensor; `min` and `max` hold float32 values exactly. InvalidInput if it is no range."""

    tensor: int
    name: str
    min: float
    max: float

    def __post_init__(self) -> None:
        try:
            low, high = _float32(self.min), _float32(self.max)
        except ValueError as error:
            raise InvalidInput(f"tensor '{self.name}': {error}") from None
        if low > high:
            raise InvalidInput(f"tensor '{self.name}': the range ends at {high!r}, before it begins at {low!r}")


@dataclass(frozen=True, slots=True)
class Calibration:
    """The ranges of a float model's tensors over some samples, in the order of the tensors."""

    tensors: tuple[TensorRange, ...]
    samples: int = 0

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """{tensor name: (min, max)}; of tensors that share a name, each but the first has its index behind it."""
        ranges: dict[str, tuple[float, float]] = {}
        for entry in self.tensors:
            name = entry.name if entry.name not in ranges else f"{entry.name} (tensor {entry.tensor})"
            ranges[name] = (entry.min, entry.max)
        return ranges

    def merge(self, other: Calibration) -> Calibration:
        """The ranges over both sets of samples, as one calibration on all gives. InvalidInput for another model."""
        merged = {entry.tensor: entry for entry in self.tensors}
        for entry in other.tensors:
            mine = merged.get(entry.tensor, entry)
            if mine.name != entry.name:
                raise InvalidInput(
                    f"the calibrations are of different models: tensor {entry.tensor} is '{mine.name}' in one and "
                    f"'{entry.name}' in the other"
                )
            merged[entry.tensor] = replace(mine, min=min(mine.min, entry.min), max=max(mine.max, entry.max))
        return Calibration(tuple(merged[tensor] for tensor in sorted(merged)), self.samples + other.samples)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a JSON file, whole or not at all; numbers as decimals that give back the same float32."""
        write_whole(path, lambda file: file.write(self._to_json().encode("ascii")))

    def _to_json(self) -> str:
        entries = [{"tensor": e.tensor, "name": e.name, "min": e.min, "max": e.max} for e in self.tensors]
        lines = ",\n".join(f"  {json.dumps(entry, allow_nan=False)}" for entry in entries)
        head = json.dumps({**FORMAT, "samples": self.samples})[:-1]
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
            return cls(entries, _whole(content["samples"]))
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

    def for_model(self, model: Model) -> dict[int, tuple[float, float]]:
        """{tensor index: (min, max)}. A tensor is known by its index and name, or by its name if that occurs once."""
        names: dict[str, list[int]] = {}
        for index, tensor in enumerate(model.graph.tensors):
            names.setdefault(tensor.name, []).append(index)
        found: dict[int, tuple[float, float]] = {}
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
            found[index] = (entry.min, entry.max)
        return found


def _entry(entry: Mapping[str, Any]) -> TensorRange:
    name = entry["name"]
    if not isinstance(name, str):
        raise ValueError("a tensor's name must be a text")
    return TensorRange(_whole(entry["tensor"]), name, _float32(entry["min"]), _float32(entry["max"]))


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


# what an operator does to its inputs' ranges


def overwritten_inputs(graph: Graph, sizes: Mapping[int, int]) -> dict[int, int]:
    """{tensor: the tensor whose values overwrite it}: inputs in whose memory an operator puts its first output.

    sizes: bytes of every tensor that is computed or fed. The first input that is no constant and no graph input, has
    the output's size (above 4 bytes) and is read once in the whole graph is taken, unless the output is the graph's.
    """
    references: dict[int, int] = {}
    for tensor in (*graph.inputs, *graph.outputs, *(i for operator in graph.operators for i in operator.inputs)):
        references[tensor] = references.get(tensor, 0) + 1
    memory: dict[int, int] = {}  # tensor -> the tensor whose memory it has
    overwritten: dict[int, int] = {}

    def shareable(tensor: int, output: int, changes: bool) -> bool:
        if tensor < 0 or tensor in graph.inputs or output in graph.outputs or tensor not in sizes:
            return False
        same = sizes[tensor] == sizes[output] and sizes[tensor] >= SMALLEST_SHARED and references[tensor] == 1
        return (same or not changes) and not graph.tensors[tensor].is_variable

    for operator in graph.operators:
        changes = operator.name in IN_PLACE
        candidates = IN_PLACE.get(operator.name, IN_PLACE_UNCHANGED.get(operator.name, ()))
        if not candidates or not operator.outputs or operator.outputs[0] not in sizes:
            continue
        output = operator.outputs[0]
        inputs = [operator.inputs[slot] for slot in candidates if slot < len(operator.inputs)]
        taken = next((tensor for tensor in inputs if shareable(tensor, output, changes)), None)
        if taken is None or (changes and references[memory.get(taken, taken)] > 1):
            continue
        memory[output] = memory.get(taken, taken)
        if changes:
            overwritten[taken] = output
    return overwritten


# the observer


@dataclass(slots=True)
class _Observer:
    """The running minimum and maximum of every float tensor of one program."""

    model: Model
    limits: dict[int, tuple[float, float]] = field(default_factory=dict)
    sizes: dict[int, int] = field(default_factory=dict)
    warned: set[int] = field(default_factory=set)

    def see(self, tensor: int, value: Value, first: int, samples: int) -> None:
        """Widens the tensor's range by a block's values; `first`: the number of the block's first sample."""
        array = value.array
        self.sizes[tensor] = int(np.prod(value.shape, dtype=np.int64)) * array.dtype.itemsize
        if array.dtype != np.float32 or not array.size:
            return
        low, high = array.min(), array.max()
        if not (np.isfinite(low) and np.isfinite(high)):
            self._check(tensor, value, first, samples)
            array = array[~np.isnan(array)]
            if not array.size:
                return
            low, high = array.min(), array.max()
        old = self.limits.get(tensor, (FLT_MAX, FLT_MIN))
        self.limits[tensor] = (min(old[0], float(low) + 0.0), max(old[1], float(high)))

    def _check(self, tensor: int, value: Value, first: int, samples: int) -> None:
        name = self.model.graph.tensors[tensor].name
        array = value.array
        rows = array.reshape(array.shape[0], -1) if value.batched else array.reshape(1, -1)
        infinite, missing = np.isinf(rows).any(axis=1), np.isnan(rows).any(axis=1)
        if infinite.any():
            number = first + min(int(infinite.argmax()), samples - 1)
            raise InvalidInput(f"sample {number}: tensor '{name}' becomes infinite; no scale can hold that")
        if tensor not in self.warned:
            self.warned.add(tensor)
            number = first + min(int(missing.argmax()), samples - 1)
            warnings.warn(f"sample {number}: tensor '{name}' holds NaN; such elements are skipped", stacklevel=6)

    def ranges(self) -> dict[int, tuple[float, float]]:
        """What the converter records: an overwritten input has its operator's output in its range too."""
        ranges = dict(self.limits)
        for tensor, by in overwritten_inputs(self.model.graph, self.sizes).items():
            if tensor in self.limits and by in self.limits:
                mine, theirs = self.limits[tensor], self.limits[by]
                ranges[tensor] = (min(mine[0], theirs[0]), max(mine[1], theirs[1]))
        return ranges


@dataclass(slots=True)
class _Prepared:
    """A program for one shape of the samples, and what was seen in it."""

    program: Program
    observer: _Observer
    block: int

    def run(self, samples: list[dict[int, Array]], first: int) -> None:
        """Runs the samples together. A short block is filled up with its last sample: a matrix product may depend on
        the number of its rows in the last bit, and a sample's range must not depend on its neighbours."""
        count, graph = len(samples), self.program.model.graph
        filled = [*samples, *[samples[-1]] * (self.block - count)]
        inputs = {index: Value(np.stack([sample[index] for sample in filled]), True) for index in graph.inputs}
        for index in {index for operator in graph.operators for index in operator.inputs} & set(graph.inputs):
            self.observer.see(index, inputs[index], first, count)
        execute(self.program, inputs, self.block, lambda index, value: self.observer.see(index, value, first, count))


def calibrate(
    model: ModelLike,
    samples: Iterable[Sample],
    engine: str = "numpy",
    progress: Callable[[int], object] | None = None,
) -> Calibration:
    """The range of every float tensor while the float model runs on the samples, which are read one after another.

    samples: an iterable of samples; a sample is an array with its batch dimension, a list in the order of the model's
    inputs, or {input name: array}. The first sample sets the shape; a later one may differ where the model's shape is
    dynamic. Ranges do not depend on the order of the samples. engine: "numpy", refquant's own float kernels.
    progress: called with the number of samples done. NaN elements are skipped with a warning.
    Errors: InvalidInput, naming the sample, for a wrong name, number, type or shape, for infinity, or for no samples;
    UnsupportedModel for an operator that is not built.
    """
    model = as_model(model)
    if engine not in ENGINES:
        raise InvalidInput(f"engine='{engine}': must be one of {', '.join(ENGINES)}")
    _check_float(model)
    runtime = runtime_named(ENGINES[engine])
    prepared: dict[tuple[Shape, ...], _Prepared] = {}
    waiting: list[dict[int, Array]] = []
    current: _Prepared | None = None
    done = 0
    for number, sample in enumerate(_iterate(samples)):
        arrays = _arrays(model, sample, number)
        shapes = tuple(arrays[index].shape for index in model.graph.inputs)
        if shapes not in prepared:
            _check_shapes(model, next(iter(prepared), None), shapes, number)
            program = prepare(model, runtime, input_shapes=dict(zip(model.graph.inputs, shapes, strict=True)))
            prepared[shapes] = _Prepared(program, _Observer(model), min(block_size(program), BLOCK_SAMPLES))
        if current is not None and waiting and (prepared[shapes] is not current or len(waiting) == current.block):
            current.run(waiting, done)
            done, waiting = done + len(waiting), []
            if progress is not None:
                progress(done)
        current = prepared[shapes]
        waiting.append(arrays)
    if current is None:
        raise InvalidInput("there are no samples; calibration needs at least one")
    current.run(waiting, done)
    done += len(waiting)
    if progress is not None:
        progress(done)
    return _merged(model, [entry.observer.ranges() for entry in prepared.values()], done)


def _merged(model: Model, ranges: list[dict[int, tuple[float, float]]], samples: int) -> Calibration:
    merged: dict[int, tuple[float, float]] = {}
    for entry in ranges:
        for tensor, (low, high) in entry.items():
            old = merged.get(tensor, (low, high))
            merged[tensor] = (min(old[0], low), max(old[1], high))
    names = model.graph.tensors
    return Calibration(
        tuple(TensorRange(tensor, names[tensor].name, *merged[tensor]) for tensor in sorted(merged)), samples
    )


# samples


def _check_float(model: Model) -> None:
    types = {model.graph.tensors[index].type for operator in model.graph.operators for index in operator.outputs}
    if not types & {"FLOAT32"}:
        raise InvalidInput("no operator of the model computes float32; calibration needs the float model")


def _iterate(samples: Iterable[Sample]) -> Iterator[Sample]:
    if isinstance(samples, Mapping | str | bytes) or not isinstance(samples, Iterable):
        raise InvalidInput(
            f"samples is a {type(samples).__name__}; it must be an iterable of samples: arrays, lists of arrays or "
            "{input name: array}"
        )
    return iter(samples)


def _arrays(model: Model, sample: Sample, number: int) -> dict[int, Array]:
    """{input tensor: array} of one sample, checked."""
    graph = model.graph
    arrays: dict[int, Array] = {}
    for index, array in _named(model, sample, number).items():
        tensor = graph.tensors[index]
        try:
            arrays[index] = check_array(np.asarray(array), tensor)
        except (InvalidInput, ValueError) as error:
            raise InvalidInput(f"sample {number}: {error}") from None
        shape = arrays[index].shape
        if len(shape) != len(tensor.shape) or 0 in shape:
            hint = ", with its batch dimension (x[i : i + 1])" if shape == tensor.shape[1:] else ""
            raise InvalidInput(
                f"sample {number}: input '{tensor.name}' takes shape {tensor.shape}, but the array has shape "
                f"{shape}; give each sample as the model takes it{hint}"
            )
    return arrays


def _named(model: Model, sample: Sample, number: int) -> dict[int, Array]:
    try:
        return dict(named_inputs(model, sample))
    except InvalidInput as error:
        raise InvalidInput(f"sample {number}: {error}") from None


def _check_shapes(model: Model, first: tuple[Shape, ...] | None, shapes: tuple[Shape, ...], number: int) -> None:
    """The first sample may have any batch; a later one may differ from it only in dynamic dimensions."""
    for position, (index, shape) in enumerate(zip(model.graph.inputs, shapes, strict=True)):
        tensor = model.graph.tensors[index]
        wanted = tensor.shape if first is None else first[position]
        signature = tensor.shape_signature if tensor.shape_signature is not None else tensor.shape
        for dim, size in enumerate(shape):
            free = signature[dim] == -1 or (first is None and dim == 0)
            if size != wanted[dim] and not free:
                raise InvalidInput(
                    f"sample {number}: input '{tensor.name}' has shape {shape}, but "
                    + (f"the model takes {wanted}" if first is None else f"the first sample had {wanted}")
                )
