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
from oracle import litert
from refquant.model.graph import Model, Operator
from refquant.program import run_all_tensors
from refquant.runtimes import runtime_named
from test_real_models import DYNAMIC_RANGE_MODELS, INT8_MODELS, MODELS, UINT8_MODELS, draw_inputs
from test_runtimes import RESOLVERS

INPUTS = 3  # random ones; all-minimum and all-maximum besides

pytestmark = [
    pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING),
    pytest.mark.skipif(not MODELS.is_dir(), reason=f"models missing: {MODELS} (set REFQUANT_MODELS)"),
]


def real_tensors(data: bytes, runtime: str) -> tuple[list[np.ndarray], list[dict[int, np.ndarray]]]:
    """(inputs, for each of them every tensor of the real runtime)."""
    drawn = draw_inputs(refquant.load(data), seed=3)
    drawn = np.concatenate([drawn[:INPUTS], drawn[-2:]])
    inputs = [drawn[i : i + 1] for i in range(len(drawn))]
    return inputs, litert.run(data, [[array] for array in inputs], RESOLVERS[runtime])


def exact(model: Model, runtime: str) -> list[bool]:
    """Whether the runtime claims to be equal, operator by operator."""
    inexact = runtime_named(runtime).inexact
    keys = [kernel_key(operator, model.graph) for operator in model.graph.operators]
    return [type not in inexact.get(op, {}) for op, type in keys]


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
    path = MODELS / f"{name}.tflite"
    if not path.exists():
        pytest.skip(f"models missing: {path}")
    model = refquant.load(path)
    if not all(exact(model, runtime)):
        pytest.skip(f"{runtime} does not claim to be equal in every operator")
    for array, want in zip(*real_tensors(path.read_bytes(), runtime), strict=True):
        for index, tensor in run_all_tensors(model, array, runtime).items():
            assert not differing(tensor, want[index]).any(), f"tensor {index}"


@pytest.mark.parametrize("name", [*INT8_MODELS, *UINT8_MODELS, *DYNAMIC_RANGE_MODELS])
@pytest.mark.parametrize("runtime", RESOLVERS)
def test_each_operator(runtime: str, name: str) -> None:
    path = MODELS / f"{name}.tflite"
    if not path.exists():
        pytest.skip(f"models missing: {path}")
    model = refquant.load(path)
    claimed = {
        id(operator): claim for operator, claim in zip(model.graph.operators, exact(model, runtime), strict=True)
    }
    _, tensors = real_tensors(path.read_bytes(), runtime)
    for operator, one in alone(model):
        if not claimed[id(operator)]:
            continue
        for want in tensors:
            got = run_all_tensors(one, [want[index] for index in one.graph.inputs], runtime)
            for index in operator.outputs:
                assert not differing(got[index], want[index]).any(), f"{operator.name}, tensor {index}"
