"""SVDF: what is refused, as LiteRT refuses it; what lasts from run to run; and what a reset does."""

from __future__ import annotations

import numpy as np
import pytest

import oracle
import refquant
from models import T, one_op
from oracle import Crashed, Rejected, litert
from refquant.errors import InvalidModel, RefquantError, UnsupportedModel
from refquant.inspection import inspect_model
from refquant.model.graph import Model

rng = np.random.default_rng(0)
FEATURE, TIME = rng.standard_normal((4, 3)).astype(np.float32), rng.standard_normal((4, 2)).astype(np.float32)
OPTIONS = {"rank": 2, "fused_activation_function": "NONE"}


def svdf(**changes: object) -> Model:
    """SVDF on float32: a batch of 1, 3 inputs, 4 filters of rank 2, a memory of 2."""
    parts = {
        "x": T((1, 3), "FLOAT32"),
        "feature": T(data=FEATURE),
        "time": T(data=TIME),
        "bias": None,
        "state": T((1, 8), "FLOAT32", variable=True),
        "options": OPTIONS,
    } | changes
    inputs = [parts[name] for name in ("x", "feature", "time", "bias", "state")]
    return one_op("SVDF", inputs, [T((1, 2), parts["x"].type, *parts.get("y", ()))], parts["options"], 3)


def integer(**changes: object) -> Model:
    parts = {
        "x": T((1, 3), "INT8", 0.5, 3),
        "feature": T(data=np.ones((4, 3), np.int8), scale=0.25),
        "time": T(data=np.ones((4, 2), np.int16), scale=0.125),
        "state": T((1, 8), "INT16", 0.5, variable=True),
        "options": OPTIONS | {"fused_activation_function": "RELU"},
        "y": (0.5, -128),
    } | changes
    return svdf(**parts)


# What both refuse.
REJECTED: dict[str, tuple[Model, str]] = {
    "rank of 0": (svdf(options=OPTIONS | {"rank": 0}), "the rank 0 must divide the 4 filters"),
    "rank that does not divide": (svdf(options=OPTIONS | {"rank": 3}), "the rank 3 must divide the 4 filters"),
    "feature of another depth": (svdf(feature=T(data=FEATURE[:, :2])), r"weights_feature has shape \(4, 2\); \(4, 3\)"),
    "time of fewer filters": (svdf(time=T(data=TIME[:2])), r"weights_feature has shape \(4, 3\); \(2, 3\)"),
    "bias of another size": (svdf(bias=T(data=np.zeros(4, np.float32))), r"bias has shape \(4,\), but"),
    "state of another size": (svdf(state=T((1, 9), "FLOAT32", variable=True)), r"must be a variable of shape \(1, 8\)"),
    "state that is an input": (svdf(state=T((1, 8), "FLOAT32")), r"must be a variable of shape \(1, 8\)"),
    "int8 without RELU": (integer(options=OPTIONS), "the fused activation is NONE; TFLite runs SVDF on int8 with RELU"),
    "int8 without a scale": (integer(feature=T(data=np.ones((4, 3), np.int8))), "tensor 't1' has no scale"),
}

# What LiteRT does not look at, and reads as if it were something else, or past an end.
UNDEFINED: dict[str, tuple[Model, str]] = {
    "state of int8": (integer(state=T((1, 8), "INT8", 0.5, variable=True)), "INT8, which only TFLite Micro runs"),
    "time of int8": (integer(time=T(data=np.ones((4, 2), np.int8), scale=0.5)), "'t2' is INT8; beside an input"),
    "bias of float32": (integer(bias=T(data=np.ones(2, np.float32))), "'t3' is FLOAT32; beside an"),
    "state without a scale to speak of": (
        integer(state=T((1, 8), "INT16", 0.0, variable=True)),
        "the multiplier would be inf",
    ),
    "hybrid weights that are no constants": (
        svdf(feature=T((4, 3), "INT8", 0.5), time=T(data=np.ones((4, 2), np.int8), scale=0.5)),
        "input 1 .* must be a constant",
    ),
}


def inputs(model: Model) -> list[np.ndarray]:
    return [np.zeros(t.shape, t.dtype) for t in (model.graph.tensors[index] for index in model.graph.inputs)]


@pytest.mark.parametrize("name", REJECTED)
def test_refused(name: str) -> None:
    model, message = REJECTED[name]
    with pytest.raises(InvalidModel, match=rf"subgraph 0, operator 0 \(SVDF\): .*{message}"):
        refquant.run(model, inputs(model))


@pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING)
@pytest.mark.parametrize("name", REJECTED)
def test_litert_refuses_the_same(name: str) -> None:
    model, _ = REJECTED[name]
    with pytest.raises((Rejected, Crashed)):
        litert.run(model.to_bytes(), [inputs(model)])


@pytest.mark.parametrize("name", UNDEFINED)
def test_what_is_undefined_is_not_guessed(name: str) -> None:
    model, message = UNDEFINED[name]
    with pytest.raises(UnsupportedModel, match=message):
        refquant.run(model, inputs(model))


def test_the_newest_feature_is_last_and_the_oldest_falls_off() -> None:
    model = svdf(feature=T(data=np.eye(4, 3, dtype=np.float32)), time=T(data=np.tile(np.float32([1, 100]), (4, 1))))
    x = np.arange(1, 10, dtype=np.float32).reshape(3, 3)
    want = [[100 * (a + b) + c + d, 100 * e + f] for a, b, e, c, d, f in np.hstack([x, np.vstack([[0, 0, 0], x[:2]])])]
    np.testing.assert_array_equal(refquant.run(model, x)[0], want)


def test_a_run_does_not_change_what_it_was_given() -> None:
    model = svdf()
    program = refquant.program.prepare(model, refquant.runtimes.runtime_named("tflite_ref"))
    state = refquant.program.new_state(model)
    before = state.variables[3]
    x = {0: refquant.program.Value(np.ones((1, 3), np.float32))}
    first = refquant.program.execute(program, x, state=state)
    assert not before.any()
    assert state.variables[3].any()
    second = refquant.program.execute(program, x, state=state)
    assert (first[4].array != second[4].array).any()
    state.reset_variables()
    again = refquant.program.execute(program, x, state=state)
    np.testing.assert_array_equal(first[4].array, again[4].array)


def test_inspect_tells_variables_apart() -> None:
    graph = inspect_model(svdf()).graphs[0]
    assert [tensor.kind for tensor in graph.tensors] == ["input", "constant", "constant", "variable", "output"]
    assert (graph.memory.variables, graph.memory.activations) == (32, 20)


def test_two_runs_of_one_model_know_nothing_of_each_other() -> None:
    x = rng.standard_normal((5, 3)).astype(np.float32)
    first, second = (refquant.run(svdf(), x)[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_an_error_leaves_the_interpreter_usable() -> None:
    model = svdf(feature=T(data=np.ones((4, 3), np.int8), scale=0.5), time=T(data=np.ones((4, 2), np.int8), scale=0.5))
    interpreter = refquant.Interpreter(model_content=model.to_bytes())
    interpreter.allocate_tensors()
    interpreter.set_tensor(0, np.full((1, 3), np.inf, np.float32))
    with pytest.raises(RefquantError, match="the input holds an infinity or NaN"):
        interpreter.invoke()
    interpreter.set_tensor(0, np.ones((1, 3), np.float32))
    interpreter.invoke()
    assert np.isfinite(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])).all()
