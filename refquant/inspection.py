"""What is in a model, as plain values: operators, tensors, their quantization, and the memory they take."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from refquant.model.graph import DTYPES, Graph, Model, Operator, Tensor
from refquant.model.schema import default_options

# Bits of the element types that have no array form.
_ODD_BITS: Mapping[str, int] = {"INT4": 4, "UINT4": 4, "INT2": 2}


@dataclass(frozen=True, slots=True)
class TensorSummary:
    """One tensor. kind: "input", "output", "constant", "variable", "intermediate" (of which only the scale is read) or
    "activation"; bytes: what its elements take.
    """

    index: int
    name: str
    type: str
    shape: tuple[int, ...]
    kind: str
    bytes: int
    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    quantized_dimension: int
    min: tuple[float, ...]
    max: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class OperatorSummary:
    """One operator. options: the fields that differ from the schema's defaults."""

    index: int
    name: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes. peak: the most that inputs, activations and outputs take while alive at the same operator.

    variables: what the variable tensors take, which are alive all the time and no part of the peak.
    """

    constants: int
    variables: int
    activations: int
    peak: int
    peak_operator: int | None


@dataclass(frozen=True, slots=True)
class GraphSummary:
    """One subgraph."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: tuple[OperatorSummary, ...]
    tensors: tuple[TensorSummary, ...]
    operator_counts: Mapping[str, int]
    memory: Memory


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """A whole model."""

    description: str
    version: int
    graphs: tuple[GraphSummary, ...]
    signatures: tuple[Mapping[str, Any], ...]
    metadata: tuple[str, ...]


def inspect_model(model: Model) -> ModelSummary:
    """Everything `refquant inspect` shows, as frozen dataclasses."""
    return ModelSummary(
        model.description,
        model.version,
        tuple(_graph(model, graph) for graph in model.graphs),
        tuple(
            {
                "key": signature.key,
                "subgraph": signature.subgraph,
                "inputs": dict(signature.inputs),
                "outputs": dict(signature.outputs),
            }
            for signature in model.signatures
        ),
        tuple(entry.name for entry in model.metadata),
    )


def _graph(model: Model, graph: Graph) -> GraphSummary:
    inner = frozenset(index for operator in graph.operators for index in operator.intermediates)
    tensors = tuple(_tensor(model, graph, index, index in inner) for index in range(len(graph.tensors)))
    return GraphSummary(
        graph.name,
        graph.inputs,
        graph.outputs,
        tuple(_operator(operator, index) for index, operator in enumerate(graph.operators)),
        tensors,
        dict(Counter(_operator_name(operator) for operator in graph.operators).most_common()),
        _memory(graph, tensors),
    )


def _operator_name(operator: Operator) -> str:
    return operator.name if operator.custom_code is None else f"{operator.name} {operator.custom_code}"


def _operator(operator: Operator, index: int) -> OperatorSummary:
    defaults = default_options(operator.options_type) if operator.options_type is not None else {}
    return OperatorSummary(
        index,
        _operator_name(operator),
        operator.version,
        operator.inputs,
        operator.outputs,
        {key: value for key, value in operator.options.items() if value != defaults.get(key)},
    )


def _kind(model: Model, graph: Graph, index: int, is_intermediate: bool) -> str:
    tensor = graph.tensors[index]
    if index in graph.inputs:
        return "input"
    if index in graph.outputs:
        return "output"
    if tensor.is_variable:
        return "variable"
    if is_intermediate:
        return "intermediate"
    return "constant" if model.buffers[tensor.buffer] else "activation"


def _tensor(model: Model, graph: Graph, index: int, is_intermediate: bool) -> TensorSummary:
    tensor = graph.tensors[index]
    quantization = tensor.quantization
    return TensorSummary(
        index,
        tensor.name,
        tensor.type,
        tensor.shape_signature if tensor.shape_signature else tensor.shape,
        _kind(model, graph, index, is_intermediate),
        _bytes(model, tensor),
        quantization.scale if quantization else (),
        quantization.zero_point if quantization else (),
        quantization.quantized_dimension if quantization else 0,
        quantization.min if quantization else (),
        quantization.max if quantization else (),
    )


def _bytes(model: Model, tensor: Tensor) -> int:
    """Bytes of the stored data, or of one run's elements (0 for strings and resources, which have no fixed size)."""
    stored = len(model.buffers[tensor.buffer])
    bits = DTYPES[tensor.type].itemsize * 8 if tensor.type in DTYPES else _ODD_BITS.get(tensor.type, 0)
    return stored or (math.prod(tensor.shape) * bits + 7) // 8


def _memory(graph: Graph, tensors: tuple[TensorSummary, ...]) -> Memory:
    """Adds up what is alive at each operator: from the operator that writes a tensor to the last one that reads it."""
    end = len(graph.operators)
    first, last = dict.fromkeys(graph.inputs, -1), dict.fromkeys(graph.outputs, end)
    for position, operator in enumerate(graph.operators):
        for index in operator.outputs:
            first.setdefault(index, position)
        for index in (*operator.inputs, *operator.outputs):
            last[index] = max(last.get(index, position), position)
    arena = {index: tensors[index].bytes for index in first if tensors[index].kind != "constant"}
    alive = [
        sum(size for index, size in arena.items() if first[index] <= position <= last.get(index, -1))
        for position in range(end)
    ]
    peak = max(alive, default=0)
    # A buffer that several tensors share is stored once.
    shared = {graph.tensors[t.index].buffer: t.bytes for t in tensors if t.kind == "constant"}
    variables = sum(tensor.bytes for tensor in tensors if graph.tensors[tensor.index].is_variable)
    return Memory(sum(shared.values()), variables, sum(arena.values()), peak, alive.index(peak) if alive else None)
