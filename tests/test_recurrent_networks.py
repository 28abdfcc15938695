"""LSTM networks as TensorFlow converts them, in refquant and under BUILTIN_REF: every tensor, 20 runs and a reset."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

import converter_oracle
import oracle
from converter_oracle import converter
from crosscheck import compare
from models import Case
from refquant.model import read_model

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.skipif(not converter_oracle.INSTALLED, reason=converter_oracle.MISSING),
    pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING),
    pytest.mark.skipif(importlib.util.find_spec("tf_keras") is None, reason="pip install tf_keras"),
]

RUNS = 20


def check(data: bytes) -> None:
    """Zero differing elements of any tensor, states included."""
    model = read_model(data)
    rng = np.random.default_rng(9)
    samples = [
        [
            rng.standard_normal(tensor.shape).astype(np.float32)
            if tensor.type == "FLOAT32"
            else rng.integers(-128, 128, tensor.shape).astype(tensor.dtype)
            for tensor in (model.graph.tensors[index] for index in model.graph.inputs)
        ]
        for _ in range(RUNS)
    ]
    assert any(operator.name == "UNIDIRECTIONAL_SEQUENCE_LSTM" for operator in model.graph.operators)
    count = compare(Case(model, samples))
    assert count.elements > 0
    assert count.differing == 0, count.detail


MODES = {"stacked": ("float", "int8", "legacy"), "two at once": ("float", "int8", "legacy")}


@pytest.mark.parametrize("name", MODES)
def test_float_and_int8(name: str) -> None:
    for data in converter.recurrent(name, MODES[name]).values():
        check(data)


def test_weights_of_int8_and_float16() -> None:
    for data in converter.convert("fused lstms", ("dynamic_range", "float16")).values():
        check(data)
