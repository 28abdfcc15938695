"""Where a quantized model's error comes from: its weights, its activations, or a runtime's arithmetic.

Four runs of the same operators, each one step further from the float model:
    the float model; the float model with the quantized model's weights as reals; the quantized model in the runtime
    `exact`, which rounds each tensor once to its scale; the quantized model in the runtime that is looked at.
What one differs from the one before it by is the error of the weights, of the activations and of the arithmetic. The
first three are computed in the reals, so that none of it is float32's. Where float activations meet weights of int8,
the runtime rounds the activations inside the operator; that is part of its arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from refquant.compare.alignment import Alignment, align, op_name, slots
from refquant.compare.real_runtimes import REAL, TIMEOUT
from refquant.compare.run_inputs import RANDOM_INPUTS, samples_of
from refquant.compare.run_sides import Arrays, Described, Real, Side, count_samples
from refquant.compare.tensors import has_scale
from refquant.errors import InvalidInput
from refquant.model.graph import Array, Graph, Model, Tensor
from refquant.program import Inputs, ModelLike, Program, Step, as_model
from refquant.runtimes import runtime_named

Float64 = NDArray[np.float64]
Progress = Callable[[float], object]
"""Called with the share that is done, 0 to 1."""

BLOCK_ELEMENTS = 1 << 23  # of all tensors of the samples that are run together
HEALTHY = (
    "SQNR is the float model's signal over the error, each bit worth 6.02 dB: 20 to 40 dB is usual for an int8 layer, "
    "60 dB and more for int16; look at a layer below 10 dB, at the calibrated range where activations alone are off by "
    "many steps (values were cut off at its ends), and at the runtime where its arithmetic alone is off by more than "
    "1 step."
)
PARTS = ("weights", "activations", "arithmetic", "total")


@dataclass(frozen=True, slots=True)
class Error:
    """How far one run is from another, over the elements that are finite in both.

    `sqnr_db`: 10 log10(sum of the float model's squares / sum of the error's squares); None where there is no error, or
    no signal. `largest`, `mean`: of the absolute error; `largest_steps`, `mean_steps`: the same in steps of the
    quantized tensor's scale, None if it has not exactly one.
    """

    sqnr_db: float | None
    largest: float
    mean: float
    largest_steps: float | None
    mean_steps: float | None
    elements: int


@dataclass(frozen=True, slots=True)
class Parts:
    """The error of the weights, of the activations, of the arithmetic, and of all three together."""

    weights: Error
    activations: Error
    arithmetic: Error
    total: Error


@dataclass(frozen=True, slots=True)
class LayerSplit:
    """One tensor that both models compute. `operator`, `float_operator`: who computes it, by position in either model.

    `end_to_end`: in runs of the whole models, where errors pile up; `alone`: with the operator fed the float model's
    own tensors, None where it cannot be run so. `output`: whether it is an output of the model.
    """

    operator: int
    float_operator: int
    op: str
    name: str
    tensor: int
    float_tensor: int
    output: bool
    end_to_end: Parts
    alone: Parts | None


@dataclass(frozen=True, slots=True)
class ErrorSplit:
    """What split_error found. `layers`: the tensors that both models compute, in order; `outputs`: the models' outputs.

    `unpaired`: the operators and weights that only one of the models has, and those of which the parts cannot be told
    apart, in words. `reading`: how to read the figures.
    """

    runtime: str
    samples: int
    layers: tuple[LayerSplit, ...]
    outputs: tuple[LayerSplit, ...]
    unpaired: tuple[str, ...]
    reading: str = HEALTHY


def split_error(
    float_model: ModelLike,
    quantized: ModelLike,
    inputs: Inputs | None = None,
    runtime: str = "tflite_ref",
    count: int = RANDOM_INPUTS,
    seed: int = 0,
    timeout: float = TIMEOUT,
    progress: Progress | None = None,
) -> ErrorSplit:
    """Splits a quantized model's error against its float model, per layer and at the outputs.

    inputs: for either model, as refquant.run takes them: reals are quantized for the one, codes become reals for the
    other; None: `count` random samples of the quantized model by that seed, all minimum and all maximum. runtime: a
    described one, or an installed one as compare_runs takes it. progress: called with the share that is done, 0 to 1.
    Errors: InvalidInput for inputs that fit neither model, models of different inputs, or an unknown runtime;
    InvalidModel or UnsupportedModel for a model that the runtime or `exact` does not run.
    """
    models = as_model(float_model), as_model(quantized)
    alignment = align(models[0].graph, models[1].graph)
    floats, codes = _inputs_of_both(*models, inputs, count, seed)
    sides, strange = _sides(*models, alignment, runtime, timeout)
    layers, outputs = _layers(models[0].graph, models[1].graph, alignment), _outputs(models[0].graph, models[1].graph)
    samples = count_samples(floats)
    size = _block_size(sides)
    for start in range(0, samples, size):
        block = [{index: a[start : start + size] for index, a in arrays.items()} for arrays in (floats, codes)]
        _add_block(sides, layers, outputs, *block)
        if progress is not None:
            progress(min(start + size, samples) / samples)
    alone = [
        f"{op_name(model.graph.operators[positions[number]])}, operator {positions[number]} of the {which} model"
        for which, model, positions, numbers in zip(
            ("float", "quantized"), models, alignment.positions, alignment.alone, strict=True
        )
        for number in numbers
    ]
    return ErrorSplit(
        runtime,
        samples,
        tuple(_split(layer, models[1].graph) for layer in layers if layer.end_to_end.elements),
        tuple(_split(output, models[1].graph) for output in outputs if output.end_to_end.elements),
        (*alone, *strange, *_not_in_reals(sides.exact)),
    )


# The models and their runs --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Sides:
    """The four runs, each a side of its own model, and which float tensor each quantized operator reads in a slot."""

    floats: Described
    weights: Described
    exact: Described
    runtime: Side
    reads: Mapping[int, Mapping[int, int]]  # operator of the quantized model -> {its tensor: the float model's}


def _sides(
    model: Model, quantized: Model, alignment: Alignment, runtime: str, timeout: float
) -> tuple[_Sides, list[str]]:
    """(the runs, the weights that could not be carried over, in words)."""
    yardstick = runtime_named("exact")
    described = runtime if runtime in REAL else runtime_named(runtime)
    floats, exact = Described.of(model, yardstick), Described.of(quantized, yardstick)
    with_weights, strange = _with_weights(model, floats.program, exact.program, alignment)
    judged = Real.of(quantized, runtime, timeout) if isinstance(described, str) else Described.of(quantized, described)
    reads: dict[int, dict[int, int]] = {}
    for place, (mine, theirs) in slots(model.graph, quantized.graph, alignment):
        if place.operator_b is not None and place.slot.startswith("input") and theirs >= 0:
            reads.setdefault(alignment.positions[1][place.operator_b], {})[theirs] = mine
    return _Sides(floats, Described.of(with_weights, yardstick), exact, judged, reads), strange


def _not_in_reals(exact: Described) -> list[str]:
    """The operators that `exact` leaves as the reference kernels compute them, in words."""
    kernels, inexact = exact.runtime.kernels, exact.runtime.inexact
    steps = [step for step in exact.program.steps if isinstance(step, Step)]
    return [
        f"{step.place}: the reference kernels' own roundings count as activations"
        for step in steps
        if any(kernels[step.node.op][type] is step.kernel for type in inexact.get(step.node.op, ()))
    ]


def _with_weights(model: Model, program: Program, quantized: Program, alignment: Alignment) -> tuple[Model, list[str]]:
    """The float model with each constant as the quantized model's operator has it, as float32."""
    graph, tensors, buffers = model.graph, list(model.graph.tensors), list(model.buffers)
    operators, strange = list(graph.operators), []
    for place, (mine, theirs) in slots(graph, quantized.graph, alignment):
        if place.operator is None or not place.slot.startswith("input") or min(mine, theirs) < 0:
            continue
        if mine not in program.known or theirs not in quantized.known or graph.tensors[mine].type != "FLOAT32":
            continue
        values, stored = program.known[mine], quantized.graph.tensors[theirs]
        if values.shape != quantized.known[theirs].shape or not (_is_real(stored) or has_scale(stored)):
            strange.append(f"the constant '{graph.tensors[mine].name}' of {place.op} is not the quantized model's kind")
            continue
        position = alignment.positions[0][place.operator]
        operands = list(operators[position].inputs)
        operands[int(place.slot.split()[1])] = len(tensors)
        operators[position] = replace(operators[position], inputs=tuple(operands))
        tensors.append(replace(graph.tensors[mine], buffer=len(buffers), shape=values.shape))
        buffers.append(_real(quantized.known[theirs], stored).astype("<f4").tobytes())
    changed = replace(graph, tensors=tuple(tensors), operators=tuple(operators))
    return replace(model, graphs=(changed, *model.graphs[1:]), buffers=tuple(buffers)), strange


def _inputs_of_both(
    model: Model, quantized: Model, inputs: Inputs | None, count: int, seed: int
) -> tuple[Arrays, Arrays]:
    """The samples for the float model and for the quantized one. InvalidInput if they fit neither."""
    pairs = list(zip(model.graph.inputs, quantized.graph.inputs, strict=False))
    shapes = [[graph.tensors[index].shape for index in graph.inputs] for graph in (model.graph, quantized.graph)]
    if shapes[0] != shapes[1]:
        raise InvalidInput(f"the float model takes inputs of shapes {shapes[0]}, the quantized one {shapes[1]}")
    try:
        codes = samples_of(quantized, inputs, count, seed)
    except InvalidInput:
        if all(quantized.graph.tensors[index].type == "FLOAT32" for index in quantized.graph.inputs):
            raise
        floats = samples_of(model, inputs, count, seed)
        return floats, {theirs: _code(floats[mine], quantized.graph.tensors[theirs]) for mine, theirs in pairs}
    tensors = model.graph.tensors
    return {m: _real(codes[t], quantized.graph.tensors[t]).astype(tensors[m].dtype) for m, t in pairs}, codes


def _block_size(sides: _Sides) -> int:
    """How many samples are run together: all, where one leaves something for the next."""
    programs = sides.floats.program, sides.exact.program
    if any(program.stateful for program in programs):
        return np.iinfo(np.int64).max
    each = sum(math.prod(shape) for program in programs for shape in program.shapes.values())
    return max(1, BLOCK_ELEMENTS // max(each, 1))


# Reals and codes ------------------------------------------------------------------------------------------------------


def _is_real(tensor: Tensor) -> bool:
    return tensor.type in ("FLOAT32", "FLOAT16")


def _scale_and_zero_point(tensor: Tensor) -> tuple[Float64, NDArray[np.int64]]:
    """Shaped to broadcast against the tensor from its last axis; 1 and 0 for a tensor without a scale."""
    q = tensor.quantization
    if q is None or not q.scale or _is_real(tensor):
        return np.ones(()), np.zeros((), np.int64)
    shape = (len(q.scale), *(1,) * (len(tensor.shape) - q.quantized_dimension - 1)) if len(q.scale) > 1 else ()
    zero_points = np.broadcast_to(np.array(q.zero_point or (0,), np.int64), len(q.scale))
    return np.array(q.scale).reshape(shape), zero_points.reshape(shape)


def _real(array: Array, tensor: Tensor) -> Float64:
    """What the tensor's elements stand for."""
    scale, zero_point = _scale_and_zero_point(tensor)
    return np.asarray((array.astype(np.float64) - zero_point) * scale)


def _code(reals: Array, tensor: Tensor) -> Array:
    """The elements of the tensor nearest to these reals, half-way values to even."""
    if tensor.dtype.kind not in "iu" or not has_scale(tensor):
        return reals.astype(tensor.dtype)
    scale, zero_point = _scale_and_zero_point(tensor)
    info = np.iinfo(tensor.dtype)
    return np.clip(np.rint(reals / scale) + zero_point, info.min, info.max).astype(info.dtype)


# Adding up ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Tally:
    """Sums over the elements compared so far: of the float model's squares, and of each part's errors."""

    elements: int = 0
    signal: float = 0.0
    squares: Float64 = field(default_factory=lambda: np.zeros(len(PARTS)))
    sums: Float64 = field(default_factory=lambda: np.zeros(len(PARTS)))
    largest: Float64 = field(default_factory=lambda: np.zeros(len(PARTS)))

    def add(self, floats: Array, weights: Array, exact: Array, runtime: Array) -> None:
        """Adds one block of the four runs, all as reals."""
        if len({array.size for array in (floats, weights, exact, runtime)}) != 1:
            return
        runs = np.stack([array.astype(np.float64).ravel() for array in (floats, weights, exact, runtime)])
        runs = runs[:, np.isfinite(runs).all(axis=0)]
        errors = np.abs(np.stack([*np.diff(runs, axis=0), runs[3] - runs[0]]))
        self.elements += runs.shape[1]
        self.signal += float(runs[0] @ runs[0])
        self.squares += (errors * errors).sum(axis=1)
        self.sums += errors.sum(axis=1)
        self.largest = np.maximum(self.largest, errors.max(axis=1, initial=0))

    def parts(self, step: float | None) -> Parts:
        """The errors, also in steps."""
        return Parts(*(self._error(part, step) for part in range(len(PARTS))))

    def _error(self, part: int, step: float | None) -> Error:
        square, largest, mean = self.squares[part], float(self.largest[part]), float(self.sums[part] / self.elements)
        sqnr = 10 * math.log10(self.signal / square) if square and self.signal else None
        if step is None:
            return Error(sqnr, largest, mean, None, None, self.elements)
        return Error(sqnr, largest, mean, largest / step, mean / step, self.elements)


@dataclass(frozen=True, slots=True)
class _Layer:
    """A pair of tensors and the operators that compute them, by position; -1 for the models' outputs."""

    operator: int
    float_operator: int
    op: str
    tensor: int
    float_tensor: int
    output: bool
    end_to_end: _Tally = field(default_factory=_Tally)
    alone: _Tally = field(default_factory=_Tally)


def _layers(graph: Graph, quantized: Graph, alignment: Alignment) -> list[_Layer]:
    layers = []
    for place, (mine, theirs) in slots(graph, quantized, alignment):
        if place.operator is None or place.operator_b is None or not place.slot.startswith("output"):
            continue
        if min(mine, theirs) >= 0 and _is_real(graph.tensors[mine]):
            positions = alignment.positions[1][place.operator_b], alignment.positions[0][place.operator]
            layers.append(_Layer(*positions, place.op, theirs, mine, theirs in quantized.outputs))
    return layers


def _outputs(graph: Graph, quantized: Graph) -> list[_Layer]:
    return [
        _Layer(_producer(quantized, theirs), _producer(graph, mine), "", theirs, mine, True)
        for mine, theirs in zip(graph.outputs, quantized.outputs, strict=False)
        if _is_real(graph.tensors[mine])
    ]


def _producer(graph: Graph, tensor: int) -> int:
    """The position of the operator that computes the tensor; -1 if none does."""
    return next((position for position, o in enumerate(graph.operators) if tensor in o.outputs), -1)


def _add_block(
    sides: _Sides, layers: Sequence[_Layer], outputs: Sequence[_Layer], inputs: Arrays, codes: Arrays
) -> None:
    quantized = sides.exact.program.graph
    floats, judged = {**inputs, **sides.floats.whole(inputs).tensors}, sides.runtime.whole(codes)
    runs: list[Arrays] = [
        floats,
        {**inputs, **sides.weights.whole(inputs).tensors},
        {**codes, **sides.exact.whole(codes).tensors},
        {**codes, **judged.tensors},
    ]
    used = dict(zip(quantized.outputs, judged.outputs, strict=True))
    for layer in layers:
        _add(layer.end_to_end, layer, runs, quantized)
    for layer in outputs:
        _add(layer.end_to_end, layer, [*runs[:3], used], quantized)
    fed = _float_inputs(sides, layers, floats), _quantized_inputs(sides, floats)
    single = [
        side.alone(given, count_samples(inputs))
        for side, given in ((sides.weights, fed[0]), (sides.exact, fed[1]), (sides.runtime, fed[1]))
    ]
    for layer in layers:
        operators = layer.float_operator, layer.operator, layer.operator
        found = [one.get(operator) for one, operator in zip(single, operators, strict=True)]
        shown = [one.outputs for one in found if one is not None and one.outputs is not None]
        if len(shown) == len(single):
            _add(layer.alone, layer, [floats, *shown], quantized)


def _add(tally: _Tally, layer: _Layer, runs: Sequence[Arrays], quantized: Graph) -> None:
    """Adds a pair of tensors of the four runs, where all of them show it."""
    indices = layer.float_tensor, layer.float_tensor, layer.tensor, layer.tensor
    arrays = [run[index] for run, index in zip(runs, indices, strict=True) if index in run]
    if len(arrays) == len(runs):
        tensor = quantized.tensors[layer.tensor]
        tally.add(arrays[0], arrays[1], _real(arrays[2], tensor), _real(arrays[3], tensor))


def _float_inputs(sides: _Sides, layers: Sequence[_Layer], floats: Arrays) -> dict[int, Arrays]:
    """{operator of the float model: its inputs in the run of the whole model}."""
    operators = sides.floats.program.graph.operators
    positions = {layer.float_operator for layer in layers}
    return {position: {i: floats[i] for i in operators[position].inputs if i in floats} for position in positions}


def _quantized_inputs(sides: _Sides, floats: Arrays) -> dict[int, Arrays]:
    """{operator of the quantized model: its inputs, quantized from the float model's tensors}, where all are known."""
    program, fed = sides.exact.program, dict[int, Arrays]()
    tensors = program.graph.tensors
    for position, reads in sides.reads.items():
        data = [(t, m) for t, m in reads.items() if t not in program.known and not tensors[t].is_variable]
        if data and all(mine in floats for _, mine in data):
            fed[position] = {theirs: _code(floats[mine], tensors[theirs]) for theirs, mine in data}
    return fed


def _split(layer: _Layer, graph: Graph) -> LayerSplit:
    tensor = graph.tensors[layer.tensor]
    q = tensor.quantization
    step = q.scale[0] if q is not None and len(q.scale) == 1 and not _is_real(tensor) else None
    return LayerSplit(
        layer.operator,
        layer.float_operator,
        layer.op,
        tensor.name,
        layer.tensor,
        layer.float_tensor,
        layer.output,
        layer.end_to_end.parts(step),
        layer.alone.parts(step) if layer.alone.elements else None,
    )
