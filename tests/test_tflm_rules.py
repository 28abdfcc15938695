"""What tflm computes otherwise than tflite_ref, on codes that tell the two apart, and what it refuses.

The numbers are those of the wheel tflite-micro 0.dev20261023182759.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import refquant
from models import T, one_op
from refquant.errors import UnsupportedModel
from refquant.program import prepare
from refquant.runtimes import runtime_named


@dataclass(frozen=True)
class Rule:
    """One operator on one sample: what tflm gives, and what tflite_ref gives (None: it refuses the model)."""

    op: str
    inputs: list[T]
    output: T
    arrays: list[Any]
    tflm: list[int]
    ref: list[int] | None
    options: dict[str, Any] = field(default_factory=dict)


def int8(*values: int) -> np.ndarray:
    return np.array(values, np.int8)


RULES = {
    "multipliers are formed in float64": Rule(
        "ABS",
        [T((3,), "INT16", 0.0005362675874494016)],
        T((3,), "INT16", 0.00039163455949164927),
        [np.array([21141, 2349, -2349], np.int16)],
        [28949, 3217, 3217],
        [28948, 3216, 3216],
    ),
    "LOGISTIC in fixed point": Rule(
        "LOGISTIC", [T((3,), "INT8", 2.0**-7, -121)], T((3,), "INT8", 1 / 256, -128), [int8(-122, -121, -120)],
        [-1, 0, 1], [0, 0, 0],
    ),
    "TANH does not look at the output's scale": Rule(
        "TANH", [T((3,), "INT8", 0.03125, 4)], T((3,), "INT8", 0.0099999997764825821, 5), [int8(-128, -20, 90)],
        [-128, -81, 127], [-95, -59, 104],
    ),
    "RELU6 clamps and does not rescale": Rule(
        "RELU6", [T((4,), "INT8", 0.125, -20)], T((4,), "INT8", 0.25, -20), [int8(-128, -1, 5, 127)],
        [-20, -1, 5, 28], [-20, -10, -7, 4],
    ),
    "ADD of int32 forgets its activation": Rule(
        "ADD", [T((2,), "INT32"), T((2,), "INT32")], T((2,), "INT32"),
        [np.array([-5, 7], np.int32), np.array([1, 1], np.int32)], [-4, 8], [0, 8],
        {"fused_activation_function": "RELU"},
    ),
    "ADD_N of int8 begins with the code 0": Rule(
        "ADD_N", [T((3,), "INT8", 0.5, 10)] * 3, T((3,), "INT8", 1.0, -7),
        [int8(-128, -20, 0), int8(127, 90, 0), int8(10, 10, 10)], [-23, 13, -22], None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_rule(name: str) -> None:
    rule = RULES[name]
    model = one_op(rule.op, rule.inputs, [rule.output], rule.options)
    assert refquant.run(model, rule.arrays, runtime="tflm")[0].tolist() == rule.tflm
    if rule.ref is None:
        with pytest.raises(UnsupportedModel):
            refquant.run(model, rule.arrays)
    else:
        assert refquant.run(model, rule.arrays)[0].tolist() == rule.ref


X = T((2, 3), "FLOAT32")
REFUSED = {
    "seven axes": (one_op("RELU", [T((1,) * 7, "FLOAT32")], [T((1,) * 7, "FLOAT32")]), "'t0' has more than 6 axes"),
    "paddings that are no constant": (
        one_op("PAD", [X, T((2, 2), "INT32")], [T((2, 3), "FLOAT32")]),
        "input 1 \\('t1'\\) is no constant",
    ),
    "axes from the end": (
        one_op("TRANSPOSE", [X, T(data=np.array([-1, 0], np.int32))], [T((3, 2), "FLOAT32")]),
        "input 1 has negative elements",
    ),
    "int32 with a scale": (
        one_op("ADD", [T((2,), "INT32", 1.0), T((2,), "INT32")], [T((2,), "INT32")]),
        "'t0' is INT32 with a scale",
    ),
    "an index of 64 bits": (
        one_op("ARG_MAX", [X, T(data=np.array(0, np.int32))], [T((3,), "INT64")], {"output_type": "INT64"}),
        "the output is INT64",
    ),
    "an op that it has not": (one_op("GELU", [X], [X]), "the operator GELU is not built for runtime tflm"),
    "a type that it has not": (
        one_op("ABS", [T((2,), "INT32")], [T((2,), "INT32")]),
        "type INT32 of tensor 't0' is not built for ABS in runtime tflm",
    ),
}


def joined(count: int) -> Any:
    options = {"axis": 0, "fused_activation_function": "NONE"}
    return one_op("CONCATENATION", [T((1, 2), "FLOAT32")] * count, [T((count, 2), "FLOAT32")], options)


def gathered(coordinates: int) -> Any:
    indices = T(data=np.zeros((1, coordinates), np.int32))
    return one_op("GATHER_ND", [T((2,) * coordinates, "FLOAT32"), indices], [T((1,), "FLOAT32")])


def axes(count: int) -> Any:
    return one_op("ABS", [T((1,) * count, "FLOAT32")], [T((1,) * count, "FLOAT32")])


@pytest.mark.parametrize(("model", "most"), [(joined, 10), (gathered, 5), (axes, 6)])
def test_the_most_that_it_takes(model: Any, most: int) -> None:
    prepare(model(most), runtime_named("tflm"))
    with pytest.raises(UnsupportedModel, match="TensorFlow Lite Micro does not run it"):
        prepare(model(most + 1), runtime_named("tflm"))


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(name: str) -> None:
    model, words = REFUSED[name]
    samples = [np.zeros(model.graph.tensors[i].shape, model.graph.tensors[i].dtype) for i in model.graph.inputs]
    with pytest.raises(UnsupportedModel, match=f"^subgraph 0, operator 0 .*{words}") as caught:
        refquant.run(model, samples, runtime="tflm")
    assert "\n" not in str(caught.value)
