"""Whole models with int16 activations, made by refquant, against LiteRT's reference kernels: every tensor."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import oracle
import refquant
from converter_oracle_graphs import random_dag
from converter_oracle_ops import WIDE_OPS
from crosscheck import compare
from models import Case, extremes_and_random
from models import T as Input
from oracle import Crashed, Rejected
from refquant.errors import InvalidInput, NotQuantizable, UnsupportedModel
from refquant.model.graph import Model

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "models"
MODELS = Path(os.environ.get("REFQUANT_MODELS", Path(__file__).resolve().parents[2] / "shared" / "models"))

pytestmark = pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING)


def samples(model: Model, rng: np.random.Generator, count: int) -> list[list[np.ndarray]]:
    """All-minimum, all-maximum and random codes; floats around 0."""
    inputs = [model.graph.tensors[index] for index in model.graph.inputs]
    if all(tensor.type == "INT16" for tensor in inputs):
        return extremes_and_random(rng, [Input(tensor.shape, tensor.type) for tensor in inputs], count - 2)
    return [
        [
            rng.normal(0, 3, tensor.shape).astype(tensor.dtype)
            if tensor.type in ("FLOAT32", "BOOL")
            else rng.integers(0, 2 if tensor.type in ("INT32", "INT64") else 127, tensor.shape, tensor.dtype)
            for tensor in inputs
        ]
        for _ in range(count)
    ]


def assert_equal(model: Model, count: int = 6) -> int:
    found = compare(Case(model, samples(model, np.random.default_rng(0), count)))
    assert found.differing == 0, found.detail
    return found.elements


@pytest.mark.parametrize("io", ["float32", "int16"])
@pytest.mark.parametrize(
    ("name", "bias_type"),
    [
        ("digits_cnn", "int64"),
        ("digits_cnn", "int32"),
        ("digits_ds", "int64"),  # with int32 biases the runtime refuses DEPTHWISE_CONV_2D
        ("mnist", "int64"),
        ("mnist", "int32"),
    ],
)
def test_golden_models(name: str, bias_type: str, io: str) -> None:
    calibrated = refquant.load(GOLDEN / f"{name}_calibrated.tflite")
    ranges = refquant.Calibration.from_model(calibrated)
    quantized = refquant.quantize(
        calibrated, ranges, mode="int16x8", input_type=io, output_type=io, bias_type=bias_type, allow_float=False
    )
    assert assert_equal(quantized) > 4000


@pytest.mark.parametrize("name", ["ad_float", "resnet8_float", "vww_float"])
def test_public_models(name: str) -> None:
    path = MODELS / "mlperf_tiny" / f"{name}.tflite"
    if not path.exists():
        pytest.skip(f"models missing: {path} (set REFQUANT_MODELS)")
    model, rng = refquant.load(path), np.random.default_rng(1)
    shape = model.graph.tensors[model.graph.inputs[0]].shape
    ranges = refquant.calibrate(model, [rng.uniform(-1, 1, shape).astype(np.float32) for _ in range(2)])
    quantized = refquant.quantize(model, ranges, mode="int16x8", input_type="int16", output_type="int16")
    assert assert_equal(quantized, 4) > 6000


def test_random_graphs() -> None:
    """2 to 8 operators with branches. The runtime refuses about every third graph for some operator in it."""
    equal = elements = refused = 0
    for seed in range(80):
        rng = np.random.default_rng([7, seed])
        model = random_dag(rng, int(rng.integers(2, 9)), WIDE_OPS, 0.0, 0.1)
        try:
            quantized = refquant.quantize(model, refquant.Calibration.from_model(model), mode="int16x8")
            found = compare(Case(quantized, samples(quantized, rng, 2)))
        except (Rejected, Crashed, NotQuantizable):
            continue
        except (UnsupportedModel, InvalidInput):  # undefined in the runtime: a SUM, ranges of almost nothing
            refused += 1
            continue
        assert found.differing == 0, f"graph {seed}: {found.detail}"
        equal, elements = equal + 1, elements + found.elements
    print(f"{equal} graphs, {elements} elements, {refused} refused")
    assert equal > 30
    assert refused < 12
