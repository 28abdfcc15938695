"""Dynamic range and float16 against TensorFlow 2.21's own conversions of the same models: every slot, name and byte."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import converter_oracle
import oracle
from modes_check import ALL_MODES, Converted, conversions, fault, run_faults
from refquant.model import read_model
from refquant.model.graph import Model
from refquant.quantizer import quantize

MODELS = Path(os.environ.get("REFQUANT_MODELS", Path(__file__).resolve().parents[2] / "shared" / "models"))

RANDOM_GRAPHS = ((0,), (1,), (2,), (3,), (4,), (5,), (0, 56))  # in the last a name's number looks like an operand's
SHORT = ("dynamic_range", "float16")
MIDDLE = (*SHORT, "legacy dynamic_range")

# model of converter_modes -> the modes that are asked for; tools/sweep_modes.py asks for all of all
ASKED: dict[str, tuple[str, ...]] = {
    "single ops": (*SHORT, "dynamic_range per tensor", "legacy dynamic_range per tensor"),
    "halves": (*MIDDLE, "legacy float16"),
    "while": (*MIDDLE, "legacy float16"),
    "while of shared weights": SHORT,
    "embedding lookup": MIDDLE,
    "transformer": ALL_MODES,
    "mnist": MIDDLE,
    "lstm": MIDDLE,
    "mobilenet, traced": SHORT,
}

ASKED_OF_KERAS_2 = {"fused lstm": SHORT, "lstms, traced": SHORT}

tensorflow = [
    pytest.mark.tensorflow,
    pytest.mark.skipif(not converter_oracle.INSTALLED, reason=converter_oracle.MISSING),
    pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING),
]


def check(converted: Converted, name: str) -> None:
    """The files are equal, LiteRT runs them alike, and refquant runs its own as LiteRT's reference kernels do."""
    assert not fault(converted), f"{converted.mode}: {fault(converted)}"
    found = run_faults(converted, np.random.default_rng(1), every_tensor="mobilenet" not in name)
    assert not found, f"{converted.mode}: {found}"


@pytest.mark.parametrize("name", [pytest.param(name, marks=tensorflow) for name in ASKED])
def test_named_models(name: str) -> None:
    for converted in conversions(name, ASKED[name]):
        check(converted, name)


@pytest.mark.parametrize("name", [pytest.param(name, marks=tensorflow) for name in ASKED_OF_KERAS_2])
def test_the_fused_lstm_of_keras_2(name: str) -> None:
    """One operator, whose states float16 dequantizes; as a function with two of them it becomes two loops."""
    pytest.importorskip("tf_keras", reason="oracle missing: pip install tf_keras")
    for converted in conversions(name, ASKED_OF_KERAS_2[name]):
        check(converted, name)


@pytest.mark.parametrize("seed", [pytest.param(seed, marks=tensorflow) for seed in RANDOM_GRAPHS])
def test_random_graphs(seed: tuple[int, ...]) -> None:
    for converted in conversions("random", ALL_MODES if seed == RANDOM_GRAPHS[0] else MIDDLE, seed):
        assert not fault(converted), f"{converted.mode}: {fault(converted)}"


# public models: what older converters made of the same float file

PUBLIC = (
    ("mlperf_tiny/ad_float", "mlperf_tiny/ad_dynamic", "dynamic_range"),
    (
        "cifar10_resnet18/cifar10_resnet18_pruned",
        "cifar10_resnet18/cifar10_resnet18_pruned_dynamic",
        "dynamic_range",
    ),
    ("cifar10_resnet18/cifar10_resnet18_pruned", "cifar10_resnet18/cifar10_resnet18_pruned_float16", "float16"),
)


@pytest.mark.parametrize(("source", "shipped", "mode"), PUBLIC)
def test_public_models_are_the_old_quantizers(source: str, shipped: str, mode: str) -> None:
    """Equal in every respect, but for metadata that older converters did not write, with one scale per tensor."""
    files = [MODELS / f"{name}.tflite" for name in (source, shipped)]
    if not all(file.exists() for file in files):
        pytest.skip(f"models missing: {MODELS} (set REFQUANT_MODELS)")
    model, want = (read_model(file.read_bytes()) for file in files)
    options = {} if mode == "float16" else {"per_channel": False}
    got = quantize(model, mode=mode, quantizer="legacy", **options)
    assert not fault(Converted(f"legacy {mode}", model, without_metadata(want), without_metadata(got)))


def without_metadata(model: Model) -> Model:
    return replace(model, metadata=())
