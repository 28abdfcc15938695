"""Damaged models in the described runtimes: each is run or refused in one line, soon, and without a warning."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from cases import CASES
from models import Case, T, one_op
from refquant import compare_runs
from refquant.errors import InvalidModel, RefquantError, UnsupportedModel
from refquant.model import read_model, write_model
from refquant.model.graph import DTYPES, Array, Graph, Model, Operator, Quantization, Tensor
from refquant.program import prepare, run
from refquant.report import render
from refquant.runtimes import runtime_named

RUNTIMES = ("xnnpack", "tflm", "exact")
MODELS = 200
MOST_ELEMENTS = 1 << 16  # of an input

SCALES = (0.0, -1.0, 1e-45, 1e-38, 3e38, math.inf, math.nan)
ZERO_POINTS = (-(2**40), -129, -1, 0, 1, 255, 2**31)
SIZES = (0, 1, 2, 3, 7, 17)
NUMBERS = (-(2**31) + 1, -7, -1, 0, 1, 3, 255, 2**31 - 1)
REALS = (0.0, -1.0, 1e-30, 1e30, math.inf, math.nan)

Draw = np.random.Generator


def other_type(tensor: Tensor, rng: Draw) -> Tensor:
    return replace(tensor, type=str(rng.choice(sorted({*DTYPES, "STRING", "INT4", "RESOURCE"}))))


def other_shape(tensor: Tensor, rng: Draw) -> Tensor:
    shape = list(tensor.shape)
    if shape and rng.random() < 0.5:
        shape[rng.integers(len(shape))] = int(rng.choice(SIZES))
    elif shape and rng.random() < 0.5:
        shape.pop()
    else:
        shape.append(int(rng.choice(SIZES)))
    return replace(tensor, shape=tuple(shape))


def other_scales(tensor: Tensor, rng: Draw) -> Tensor:
    scales = tuple(float(np.float32(rng.choice(SCALES))) for _ in range(rng.integers(4)))
    zero_points = tuple(int(rng.choice(ZERO_POINTS)) for _ in scales)
    return replace(tensor, quantization=Quantization(scales, zero_points, int(rng.integers(4))))


def other_operands(operator: Operator, graph: Graph, rng: Draw) -> Operator:
    inputs, outputs = list(operator.inputs), operator.outputs
    if rng.random() < 0.3 or not inputs:
        return replace(operator, outputs=outputs[:-1])
    inputs[rng.integers(len(inputs))] = int(rng.integers(-1, len(graph.tensors)))
    return replace(operator, inputs=tuple(inputs[: rng.integers(len(inputs) + 1)] if rng.random() < 0.3 else inputs))


def other_options(operator: Operator, graph: Graph, rng: Draw) -> Operator:
    numbers = {name: value for name, value in operator.options.items() if type(value) in (int, float)}
    if not numbers:
        return replace(operator, options={}, options_type=None)
    name = str(rng.choice(sorted(numbers)))
    value = int(rng.choice(NUMBERS)) if isinstance(numbers[name], int) else float(rng.choice(REALS))
    return replace(operator, options={**operator.options, name: value})


def damaged(model: Model, rng: Draw) -> Model:
    """The model with one field of one tensor or operator changed."""
    graph = model.graph
    tensors, operators = list(graph.tensors), list(graph.operators)
    if rng.random() < 0.6:
        place = rng.integers(len(tensors))
        tensors[place] = (other_type, other_shape, other_scales)[rng.integers(3)](tensors[place], rng)
    else:
        place = rng.integers(len(operators))
        operators[place] = (other_operands, other_options)[rng.integers(2)](operators[place], graph, rng)
    return replace(
        model, graphs=(replace(graph, tensors=tuple(tensors), operators=tuple(operators)), *model.graphs[1:])
    )


def arrays_for(model: Model, rng: Draw) -> list[Array] | None:
    """Bytes of any kind for every input; None if that is too much, or a type has no array form."""
    tensors = [model.graph.tensors[index] for index in model.graph.inputs]
    if any(math.prod(t.shape) > MOST_ELEMENTS or t.type not in DTYPES for t in tensors):
        return None
    return [np.frombuffer(rng.bytes(math.prod(t.shape) * t.dtype.itemsize), t.dtype).reshape(t.shape) for t in tensors]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_damaged_model_runs_or_is_refused_in_one_line(runtime: str) -> None:
    rng, names, ran, messages = np.random.default_rng(5), list(CASES), 0, []
    while ran + len(messages) < MODELS:
        try:
            model = read_model(write_model(damaged(CASES[names[rng.integers(len(names))]](rng).model, rng)))
        except RefquantError:
            continue  # nothing that a runtime gets to see
        arrays = arrays_for(model, rng)
        if arrays is None:
            continue
        try:
            run(model, arrays, runtime)
            ran += 1
        except RefquantError as error:
            messages.append(str(error))
    assert [message for message in messages if "internal error" in message or "\n" in message] == []
    assert min(ran, len(messages)) > MODELS / 20


INT8 = (1, 2, 4)


def unary(op: str, options: dict[str, float] | None = None, shape: tuple[int, ...] = INT8, **output: object) -> Model:
    return one_op(op, [T(shape, scale=0.5)], [T(**{"shape": shape, "scale": 0.5, **output})], options)  # type: ignore[arg-type]


FAULTS: dict[str, tuple[str, Callable[[], Model], str]] = {
    "a ratio of scales beyond float32": (
        "xnnpack",
        lambda: one_op("ADD", [T(INT8, scale=3e38), T(INT8, scale=1.0)], [T(INT8, scale=1e-38)]),
        "the output multiplier is",
    ),
    "beta is infinite": (
        "xnnpack",
        lambda: unary("SOFTMAX", {"beta": math.inf}, scale=1 / 256, zero_point=-128),
        "with beta inf",
    ),
    "a radius below 0": (
        "xnnpack",
        lambda: one_op(
            "LOCAL_RESPONSE_NORMALIZATION",
            [T((1, 1, 1, 5), "FLOAT32")],
            [T((1, 1, 1, 5), "FLOAT32")],
            {"radius": -1, "bias": 1.0, "alpha": 1.0, "beta": 0.5},
        ),
        "the radius is -1",
    ),
    "scales that do not fit the shape that is written": (
        "exact",
        lambda: one_op("QUANTIZE", [T((2, 3), "FLOAT32")], [T((3, 2), scale=[0.5, 1.0, 2.0])]),
        "has 3 scales along dimension 0",
    ),
    "several scales of an input": (
        "exact",
        lambda: one_op(
            "BATCH_MATMUL",
            [T((2, 1, 3), scale=[0.5, 1.0]), T((2, 3, 4), scale=0.5)],
            [T((2, 1, 4), scale=0.5)],
        ),
        "has 2 scales of the input",
    ),
    "several scales of a state": (
        "exact",
        lambda: one_op(
            "SVDF",
            [
                T((2, 8), scale=0.5),
                T(data=np.ones((5, 8), np.int8), scale=0.5),
                T(data=np.ones((5, 1), np.int16), scale=0.5),
                T(data=np.ones(1, np.int32)),
                T((2, 5), "INT16", scale=[0.5, 1.0], variable=True),
            ],
            [T((2, 1), scale=0.5)],
            {"rank": 5},
        ),
        "needs one scale",
    ),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("fault", FAULTS)
def test_refused(fault: str) -> None:
    runtime, build, message = FAULTS[fault]
    model = build()
    tensors = [model.graph.tensors[index] for index in model.graph.inputs]
    with pytest.raises((InvalidModel, UnsupportedModel), match=message):
        run(model, [np.zeros(t.shape, t.dtype) for t in tensors], runtime)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("op", ["ADD", "QUANTIZE", "MAX_POOL_2D", "SOFTMAX"])
def test_no_outputs(runtime: str, op: str) -> None:
    model = unary(op)
    (operator,) = model.graph.operators
    graph = replace(model.graph, operators=(replace(operator, outputs=()),), outputs=())
    with pytest.raises(InvalidModel, match="has no outputs"):
        prepare(replace(model, graphs=(graph,)), runtime_named(runtime))


def test_a_float_softmax_of_nothing_is_nothing() -> None:
    model = one_op("SOFTMAX", [T((0,), "FLOAT32")], [T((0,), "FLOAT32")], {"beta": 1.0})
    assert run(model, np.zeros(0, np.float32), "xnnpack")[0].shape == (0,)


@pytest.mark.parametrize("op", ["SOFTMAX", "LOG_SOFTMAX"])
def test_exact_of_nothing_is_nothing(op: str) -> None:
    options = {"beta": 1.0} if op == "SOFTMAX" else None
    (result,) = run(unary(op, options, shape=(2, 0)), np.zeros((2, 0), np.int8), "exact")
    assert result.shape == (2, 0)


@pytest.mark.parametrize("name", ["SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM"])
def test_the_page_of_operators_with_variables(name: str) -> None:
    case: Case = CASES[name](np.random.default_rng(0))
    inputs = [np.asarray(array) for array in case.samples[0]]
    comparison = compare_runs(case.model, inputs, ("tflite_ref", "exact"))
    assert not comparison.equal
    assert "</html>" in render(comparison)
