"""A public model in a described runtime and its real one: counted for golden/evidence.json by tools/evidence.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from crosscheck import Count, count_tensor
from oracle import litert, run_real
from refquant.model.graph import Model
from refquant.program import Value, execute, prepare
from refquant.program.steps import Program, Step
from refquant.runtimes import runtime_named
from test_real_models import DYNAMIC_RANGE_MODELS, INT8_MODELS, STREAMING_MODELS, UINT8_MODELS, draw_inputs
from test_runtimes import RESOLVERS
from test_runtimes_real_models import alone, exact

# Every public model that computes with integers; the last two are for TensorFlow Lite Micro only.
EVIDENCE_MODELS = (
    *INT8_MODELS,
    *UINT8_MODELS,
    *STREAMING_MODELS,
    *DYNAMIC_RANGE_MODELS,
    "tflite_micro/person_detect",
    "tflite_micro/keyword_scrambled_8bit",
)
SEED = 5

Tensors = Mapping[int, np.ndarray]


@dataclass(frozen=True, slots=True)
class Part:
    """How many elements were compared in one way, how many differ, and the first difference."""

    elements: int
    differing: int
    fault: str


@dataclass(frozen=True, slots=True)
class ModelEvidence:
    """What one model gave.

    `end_to_end`: every tensor that an operator computes, from the model's inputs on. `outputs`: the model's outputs,
    where the real runtime keeps no other tensor, so that a delegate may run several operators as one. `alone`: every
    operator fed with the real runtime's own tensors, without the `inexact` ones. `delegated`: operators that a delegate
    takes.
    """

    inputs: int
    operators: int
    delegated: int
    inexact: int
    end_to_end: Part
    outputs: Part | None
    alone: Part


def compare_model(model: Model, data: bytes, runtime: str) -> ModelEvidence:
    """All inputs of draw_inputs, one after another, in both runtimes. Rejected and Crashed as of run_real."""
    drawn = draw_inputs(model, seed=SEED)
    inputs = [{model.graph.inputs[0]: drawn[number : number + 1]} for number in range(len(drawn))]
    samples = [list(arrays.values()) for arrays in inputs]
    real = RESOLVERS.get(runtime, "BUILTIN_REF")
    tensors = run_real(real, data, samples)
    program = prepare(model, runtime_named(runtime))
    got = run_samples(program, inputs)
    computed = [index for operator in model.graph.operators for index in operator.outputs]
    outputs = None
    if runtime_named(runtime).delegate is not None:
        outputs = part(got, litert.run(data, samples, real, False), model.graph.outputs)
    claimed = exact(model, runtime)
    return ModelEvidence(
        len(inputs),
        len(model.graph.operators),
        sum(isinstance(step, Step) and bool(step.delegate) for step in program.steps),
        claimed.count(False),
        part(got, tensors, computed),
        outputs,
        operators_alone(model, tensors, runtime, claimed),
    )


def run_samples(program: Program, inputs: Sequence[Tensors]) -> list[Tensors]:
    """What each sample gives, tensor by tensor; variables last from one to the next."""
    kept: dict[int, Value] = {}
    stacked = {index: Value(np.stack([arrays[index] for arrays in inputs]), True) for index in inputs[0]}
    execute(program, stacked, len(inputs), kept.__setitem__)
    return [
        {index: value.array[number] if value.batched else value.array for index, value in kept.items()}
        for number in range(len(inputs))
    ]


def operators_alone(model: Model, tensors: Sequence[Tensors], runtime: str, claimed: list[bool]) -> Part:
    """Each operator that is called equal, fed with what the real runtime's own operators gave."""
    count = Count()
    places = {id(operator): place for place, operator in enumerate(model.graph.operators)}
    for operator, one in alone(model):
        if not claimed[places[id(operator)]]:
            continue
        program = prepare(one, runtime_named(runtime))
        fed = [{index: want[index] for index in one.graph.inputs} for want in tensors]
        for number, got in enumerate(run_samples(program, fed)):
            for index in operator.outputs:
                where = f"operator {places[id(operator)]} {operator.name}, sample {number}, tensor {index}"
                count_tensor(count, got[index], tensors[number][index], where)
    return Part(count.elements, count.differing, count.detail)


def part(got: Sequence[Tensors], want: Sequence[Tensors], indices: Sequence[int]) -> Part:
    """The tensors of all samples, compared."""
    count = Count()
    for number, (ours, theirs) in enumerate(zip(got, want, strict=True)):
        for index in indices:
            count_tensor(count, ours[index], theirs[index], f"sample {number}, tensor {index}")
    return Part(count.elements, count.differing, count.detail)
