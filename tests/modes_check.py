"""One question to TensorFlow in the modes without calibration, and whether refquant's files are equal in every respect.

Of TensorFlow's float conversion refquant makes what TensorFlow made of the same model: equal subgraph by subgraph in
tensors (name, type, shape, scales, zero points, dimension, data), their order, operators, versions, options, metadata.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import numpy as np

from converter_oracle import converter
from crosscheck import differing
from oracle import Rejected, litert
from refquant.model import read_model
from refquant.model.graph import Graph, Model, Quantization, Tensor
from refquant.program import run_all_tensors
from refquant.quantizer import quantize

ALL_MODES = (
    "dynamic_range",
    "dynamic_range per tensor",
    "dynamic_range dense per tensor",
    "float16",
    "legacy dynamic_range",
    "legacy dynamic_range per tensor",
    "legacy float16",
)
READ_BEYOND = ("DEPTHWISE_CONV_2D", "TRANSPOSE_CONV")
UNKNOWN = "a name that the float file does not tell"


@dataclass(frozen=True, slots=True)
class Converted:
    """A float model, and in one mode TensorFlow's file and refquant's."""

    mode: str
    model: Model
    want: Model
    got: Model


def conversions(name: str, modes: Sequence[str], seed: Sequence[int] | None = None) -> list[Converted]:
    """The model `name` of converter_modes (or its random graph of a seed), by both sides in these modes."""
    files = converter.convert(name, ["float", *modes], seed)
    model = read_model(files["float"])
    return [Converted(mode, model, read_model(files[mode]), by_refquant(model, mode)) for mode in modes]


def by_refquant(model: Model, mode: str) -> Model:
    """The model in a mode by the name that converter_modes gives it."""
    dense = "dense" in mode
    return quantize(
        model,
        mode="float16" if "float16" in mode else "dynamic_range",
        quantizer="legacy" if "legacy" in mode else "mlir",
        per_channel="per tensor" not in mode or dense,
        per_channel_dense=not dense,
    )


def fault(converted: Converted, numbered: bool = True) -> str:
    """The first difference; nothing if the files are equal, or, if not `numbered`, but for numbers that end names.

    The old quantizer puts DEQUANTIZE into the order of a hash of addresses: here both are brought into one order.
    """
    got, want = converted.got, converted.want
    if "legacy" in converted.mode:
        got, want = in_one_order(got), in_one_order(want)
    unknown = unknown_names(got.graph, converted.model.graph)
    if not numbered:
        got, want = without_numbers(got), without_numbers(want)
    for mine, theirs in zip_longest(rows(got, unknown), rows(want, unknown), fillvalue=("nothing",)):
        if mine != theirs:
            return f"{shown(mine)} instead of {shown(theirs)}"
    return ""


def without_numbers(model: Model) -> Model:
    """The same model with tensors whose names have lost the digits at their ends."""
    graphs = []
    for graph in model.graphs:
        tensors = (replace(tensor, name=tensor.name.rstrip(string.digits)) for tensor in graph.tensors)
        graphs.append(replace(graph, tensors=tuple(tensors)))
    return replace(model, graphs=tuple(graphs))


def rows(model: Model, unknown: set[int]) -> Iterator[tuple[Any, ...]]:
    """What a file says, line by line; names of the main graph that cannot be known are left out."""
    yield "metadata", *(entry.name for entry in model.metadata if entry.name != "min_runtime_version")
    yield "description", model.description, len(model.graphs)
    for number, graph in enumerate(model.graphs):
        yield "graph", graph.name, graph.inputs, graph.outputs, len(graph.tensors), len(graph.operators)
        for index, tensor in enumerate(graph.tensors):
            name = UNKNOWN if number == 0 and index in unknown else tensor.name
            data = model.buffers[tensor.buffer] if tensor.buffer else b""
            yield (
                name,
                tensor.type,
                tensor.shape,
                tensor.shape_signature,
                tensor.is_variable,
                *_parameters(tensor),
                data,
            )
        for operator in graph.operators:
            yield (
                tuple(getattr(operator, field) for field in ("name", "version", "inputs", "outputs", "options_type")),
                dict(operator.options),
                operator.intermediates,
                operator.mutating_variable_inputs,
            )
    yield from ((s.key, s.inputs, s.outputs, s.subgraph) for s in model.signatures)


def _parameters(tensor: Tensor) -> tuple[Any, ...]:
    q = tensor.quantization or Quantization()
    return q.scale, q.zero_point, q.quantized_dimension if q.scale else 0, q.min, q.max


def unknown_names(new: Graph, old: Graph) -> set[int]:
    """Tensors that come of one that the float file names by its interface: its own name is not in the file."""
    outputs = {old.tensors[tensor].name for tensor in old.outputs}
    kept = {new.tensors[tensor].name for tensor in new.outputs}
    assert outputs == {name.removesuffix("_dequantize") for name in kept} or outputs == kept
    return {
        index
        for index, tensor in enumerate(new.tensors)
        if index not in new.outputs and any(re.fullmatch(re.escape(name) + r"\d+", tensor.name) for name in outputs)
    }


def shown(row: tuple[Any, ...]) -> str:
    return str(tuple(f"{len(value)} bytes" if isinstance(value, bytes) else value for value in row))[:400]


def in_one_order(model: Model) -> Model:
    """The model with the conversions of one place, and their tensors, in the order of their names."""
    return replace(model, graphs=tuple(map(_in_one_order, model.graphs)), signatures=())


def _in_one_order(graph: Graph) -> Graph:
    made = [operator.outputs[0] for operator in graph.operators if operator.name == "DEQUANTIZE"]
    order = list(range(len(graph.tensors)))
    for place, tensor in zip(sorted(made), sorted(made, key=lambda t: graph.tensors[t].name), strict=True):
        order[place] = tensor
    index = {tensor: place for place, tensor in enumerate(order)} | {-1: -1}
    operators: list[Any] = []
    for old in graph.operators:
        new = replace(old, inputs=tuple(index[t] for t in old.inputs), outputs=tuple(index[t] for t in old.outputs))
        place = len(operators)
        while new.name == "DEQUANTIZE" and place and operators[place - 1].name == "DEQUANTIZE":
            if operators[place - 1].outputs < new.outputs:
                break
            place -= 1
        operators.insert(place, new)
    return replace(
        graph,
        tensors=tuple(graph.tensors[tensor] for tensor in order),
        operators=tuple(operators),
        inputs=tuple(index[tensor] for tensor in graph.inputs),
        outputs=tuple(index[tensor] for tensor in graph.outputs),
    )


# running


def drawn(model: Model, rng: np.random.Generator) -> list[np.ndarray]:
    """Normal float inputs, small indices."""
    tensors = [model.graph.tensors[index] for index in model.graph.inputs]
    return [
        rng.normal(0, 2, t.shape).astype(t.dtype)
        if t.dtype.kind == "f"
        else rng.integers(0, 5, t.shape).astype(t.dtype)
        for t in tensors
    ]


def reads_beyond(converted: Converted) -> bool:
    """Whether LiteRT cannot be asked to run the files: with one scale some kernels read behind the array of scales."""
    operators = converted.got.graph.operators
    return converted.mode == "dynamic_range per tensor" and any(operator.name in READ_BEYOND for operator in operators)


def run_faults(converted: Converted, rng: np.random.Generator, every_tensor: bool = True) -> str:
    """What differs when LiteRT's reference kernels run TensorFlow's file, refquant's, and refquant runs its own."""
    sample = drawn(converted.got, rng)
    if reads_beyond(converted):
        return ""
    try:
        (theirs,) = litert.run(converted.want.to_bytes(), [sample], preserve=False)
    except Rejected as error:
        return _refused(converted, sample, str(error))
    (ours,) = litert.run(converted.got.to_bytes(), [sample], preserve=False)
    for number, (a, b) in enumerate(zip(converted.want.graph.outputs, converted.got.graph.outputs, strict=True)):
        if theirs[a].tobytes() != ours[b].tobytes():
            return f"LiteRT: output {number} of the two files differs"
    if not every_tensor:
        return ""
    (want,) = litert.run(converted.got.to_bytes(), [sample])
    got = run_all_tensors(converted.got, sample)
    graph = converted.got.graph
    read = {*graph.outputs, *(tensor for operator in graph.operators for tensor in operator.inputs)}
    for index, array in got.items():
        if graph.tensors[index].is_variable or index not in read:
            continue  # LiteRT shows what a variable holds after the run; results of WHILE that nothing reads it drops
        if index in want and differing(array, want[index]).any():
            return f"tensor {index} '{graph.tensors[index].name}' differs from LiteRT's"
    return ""


def _refused(converted: Converted, sample: list[np.ndarray], message: str) -> str:
    try:
        litert.run(converted.got.to_bytes(), [sample], preserve=False)
    except Rejected:
        return ""
    return f"LiteRT refuses TensorFlow's file only: {message}"
