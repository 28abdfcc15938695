"""Float32 operators whose constants are float16 behind a DEQUANTIZE, as the converter's float16 mode leaves them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from models import Case
from refquant.model.graph import Graph, Model, Operator

Generator = Callable[[np.random.Generator], Case]

DRAWS = 200


def half_constants(generator: Generator) -> Generator:
    """The generator's float32 models, their float32 constants in float16; without any a graph input becomes one."""

    def generate(rng: np.random.Generator) -> Case:
        for _ in range(DRAWS):
            case = with_constant(rng, generator(rng))
            if case is not None:
                return replace(case, model=narrowed(case.model))
        raise AssertionError(f"no model of {DRAWS} has a float32 operand that may be constant")

    return generate


def constants(graph: Graph) -> list[int]:
    """The float32 constants that the operators read, in the order of the tensors."""
    read = {index for operator in graph.operators for index in operator.inputs if index >= 0}
    return [i for i in sorted(read) if graph.tensors[i].type == "FLOAT32" and graph.tensors[i].buffer]


def with_constant(rng: np.random.Generator, case: Case) -> Case | None:
    """The case, if it has such a constant; else with a float32 input fixed to its value in one of the samples."""
    graph = case.model.graph
    if constants(graph):
        return case
    places = [at for at, index in enumerate(graph.inputs) if graph.tensors[index].type == "FLOAT32"]
    if not places or len(graph.inputs) < 2:
        return None
    at = int(rng.choice(places))
    value = case.samples[int(rng.integers(len(case.samples)))][at]
    tensors = list(graph.tensors)
    tensors[graph.inputs[at]] = replace(tensors[graph.inputs[at]], buffer=len(case.model.buffers))
    fixed = replace(graph, tensors=tuple(tensors), inputs=(*graph.inputs[:at], *graph.inputs[at + 1 :]))
    model = replace(case.model, graphs=(fixed,), buffers=(*case.model.buffers, value.tobytes()))
    return replace(case, model=model, samples=[[*sample[:at], *sample[at + 1 :]] for sample in case.samples])


def narrowed(model: Model) -> Model:
    """Each float32 constant narrowed to float16, and widened by a DEQUANTIZE in front of its readers."""
    graph, buffers = model.graph, list(model.buffers)
    tensors, widening, wide = list(graph.tensors), [], {}
    for index in constants(graph):
        with np.errstate(over="ignore"):
            half = model.constant(tensors[index]).astype(np.float16)
        buffers.append(half.tobytes())
        wide[index] = len(tensors)
        tensors.append(replace(tensors[index], name=f"{tensors[index].name}_wide", buffer=0))
        tensors[index] = replace(tensors[index], type="FLOAT16", buffer=len(buffers) - 1)
        widening.append(Operator("DEQUANTIZE", (index,), (wide[index],), 3))
    readers = [
        replace(operator, inputs=tuple(wide.get(index, index) for index in operator.inputs))
        for operator in graph.operators
    ]
    changed = replace(graph, tensors=tuple(tensors), operators=(*widening, *readers))
    return replace(model, graphs=(changed,), buffers=tuple(buffers))
