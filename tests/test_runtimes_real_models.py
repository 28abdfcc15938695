"""The public models in every described runtime against its real one: end to end, and each operator on its own.

Each operator is fed what the real runtime's own operators gave, so that a difference is the operator's. Models with
float32 operators that a runtime calls inexact are compared operator by operator, without those.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

import oracle
import refquant
from crosscheck import differing, kernel_key
from oracle import Rejected, litert, run_real
from refquant.model.graph import Model, Operator
from refquant.program import prepare, run_all_tensors
from refquant.runtimes import runtime_named
from test_real_models import DYNAMIC_RANGE_MODELS, FLOAT_MODELS, INT8_MODELS, MODELS, UINT8_MODELS, draw_inputs
from test_runtimes import RESOLVERS

INPUTS = 3  # random ones; all-minimum and all-maximum besides

pytestmark = [
    pytest.mark.skipif(not MODELS.is_dir(), reason=f"models missing: {MODELS} (set REFQUANT_MODELS)"),
]


def file_of(name: str) -> bytes:
    """The public model. Skips the test if it is not there."""
    path = MODELS / f"{name}.tflite"
    if not path.exists():
        pytest.skip(f"models missing: {path}")
    return path.read_bytes()


def real_tensors(data: bytes, runtime: str) -> tuple[list[np.ndarray], list[dict[int, np.ndarray]]]:
    """(inputs, for each of them every tensor of the real runtime). Skips the test if that is not installed."""
    if missing := oracle.why_missing(RESOLVERS[runtime]):
        pytest.skip(missing)
    drawn = draw_inputs(refquant.load(data), seed=3)
    drawn = np.concatenate([drawn[:INPUTS], drawn[-2:]])
    inputs = [drawn[i : i + 1] for i in range(len(drawn))]
    return inputs, run_real(RESOLVERS[runtime], data, [[array] for array in inputs])


def refused(model: Model, data: bytes, runtime: str) -> bool:
    """Whether the described runtime lacks a kernel; then the real one must refuse the model."""
    kernels = runtime_named(runtime).kernels
    keys = [kernel_key(operator, model.graph) for operator in model.graph.operators]
    if all(type in kernels.get(op, ()) for op, type in keys):
        return False
    with pytest.raises(Rejected):
        real_tensors(data, runtime)
    return True


def exact(model: Model, runtime: str) -> list[bool]:
    """Whether the runtime claims to be equal, operator by operator."""
    described = runtime_named(runtime)
    steps = zip(prepare(model, described).steps, model.graph.operators, strict=True)
    return [
        described.why_inexact(*kernel_key(operator, model.graph), bool(getattr(step, "delegate", ""))) is None
        for step, operator in steps
    ]


def alone(model: Model) -> Iterator[tuple[Operator, Model]]:
    """Each operator that has an input which is no constant, and the model of it alone."""
    graph = model.graph
    given = {*graph.inputs, *(index for operator in graph.operators for index in operator.outputs)}
    for operator in graph.operators:
        inputs = tuple(index for index in dict.fromkeys(operator.inputs) if index in given)
        if inputs:
            one = replace(graph, operators=(operator,), inputs=inputs, outputs=operator.outputs)
            yield operator, replace(model, graphs=(one, *model.graphs[1:]))


@pytest.mark.parametrize("name", [*INT8_MODELS, *UINT8_MODELS])
@pytest.mark.parametrize("runtime", RESOLVERS)
def test_end_to_end(runtime: str, name: str) -> None:
    data = file_of(name)
    model = refquant.load(data)
    if refused(model, data, runtime):
        return
    if not all(exact(model, runtime)):
        pytest.skip(f"{runtime} does not claim to be equal in every operator")
    for array, want in zip(*real_tensors(data, runtime), strict=True):
        for index, tensor in run_all_tensors(model, array, runtime).items():
            assert not differing(tensor, want[index]).any(), f"tensor {index}"


@pytest.mark.parametrize("name", [*INT8_MODELS, *UINT8_MODELS, *DYNAMIC_RANGE_MODELS, *FLOAT_MODELS])
@pytest.mark.parametrize("runtime", [name for name in RESOLVERS if runtime_named(name).delegate is not None])
def test_outputs_of_operators_run_together(runtime: str, name: str) -> None:
    """Where no inner tensor is kept, a delegate runs many operators as one; that changes no output."""
    data = file_of(name)
    model = refquant.load(data)
    if not all(exact(model, runtime)):
        pytest.skip(f"{runtime} does not claim to be equal in every operator")
    inputs = draw_inputs(model, seed=4)[-INPUTS - 2 :]
    samples = [inputs[i : i + 1] for i in range(len(inputs))]
    real = litert.run(data, [[array] for array in samples], RESOLVERS[runtime], False)
    for array, want in zip(samples, real, strict=True):
        for index, output in zip(model.graph.outputs, refquant.run(model, array, runtime=runtime), strict=True):
            assert not differing(output.reshape(want[index].shape), want[index]).any(), f"tensor {index}"


@pytest.mark.parametrize("name", [*INT8_MODELS, *UINT8_MODELS, *DYNAMIC_RANGE_MODELS])
@pytest.mark.parametrize("runtime", RESOLVERS)
def test_each_operator(runtime: str, name: str) -> None:
    data = file_of(name)
    model = refquant.load(data)
    if refused(model, data, runtime):
        return
    claimed = {
        id(operator): claim for operator, claim in zip(model.graph.operators, exact(model, runtime), strict=True)
    }
    _, tensors = real_tensors(data, runtime)
    for operator, one in alone(model):
        if not claimed[id(operator)]:
            continue
        for want in tensors:
            got = run_all_tensors(one, [want[index] for index in one.graph.inputs], runtime)
            for index in operator.outputs:
                assert not differing(got[index], want[index]).any(), f"{operator.name}, tensor {index}"
