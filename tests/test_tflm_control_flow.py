"""WHILE, IF and resource variables in tflm against the real TensorFlow Lite Micro."""

from __future__ import annotations

import numpy as np
import pytest

import oracle
import refquant
from crosscheck import differing
from oracle import tflm
from refquant.model import write_model
from refquant.model.graph import Model
from test_control_flow import branches, counters, random_loop

pytestmark = pytest.mark.skipif(not oracle.TFLM_INSTALLED, reason=oracle.TFLM_MISSING)

LOOPS = 30
BRANCHES = ("swap", "sum", "constants", "one input twice")


def drawn(rng: np.random.Generator, model: Model) -> list[np.ndarray]:
    tensors = [model.graph.tensors[index] for index in model.graph.inputs]
    return [rng.integers(0, 5, tensor.shape).astype(tensor.dtype) for tensor in tensors]


def expect_equal(model: Model, runs: list[list[np.ndarray]]) -> None:
    """All runs one after another: every output."""
    interpreter = refquant.Interpreter(model_content=write_model(model), runtime="tflm")
    interpreter.allocate_tensors()
    for arrays, want in zip(runs, tflm.run(write_model(model), runs), strict=True):
        for detail, array in zip(interpreter.get_input_details(), arrays, strict=True):
            interpreter.set_tensor(detail["index"], array)
        interpreter.invoke()
        for detail in interpreter.get_output_details():
            assert not differing(interpreter.get_tensor(detail["index"]), want[detail["index"]]).any()


@pytest.mark.parametrize("seed", range(LOOPS))
def test_loops(seed: int) -> None:
    """What a body hands on comes as it was: LiteRT overwrites some of it."""
    model = random_loop(np.random.default_rng(seed))
    expect_equal(model, [drawn(np.random.default_rng(seed), model)])


@pytest.mark.parametrize("then", BRANCHES)
def test_branches(then: str) -> None:
    for otherwise in BRANCHES:
        model = branches(then, otherwise)
        for condition in (True, False):
            expect_equal(model, [[np.array(condition), *drawn(np.random.default_rng(1), model)[1:]]])


@pytest.mark.parametrize("read", [(1,), (2,)])
def test_variables(read: tuple[int, ...]) -> None:
    model = counters(read)
    expect_equal(model, [drawn(np.random.default_rng(seed), model) for seed in range(4)])
