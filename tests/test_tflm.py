"""TensorFlow Lite Micro's own: the public models that only it runs, and what it refuses of what LiteRT runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import oracle
import refquant
from crosscheck import compare
from models import T, one_op
from oracle import Crashed, Rejected, tflm
from refquant.errors import RefquantError, UnsupportedModel
from refquant.model import write_model
from refquant.model.graph import Model, unpacked_nibbles
from refquant.program import run_all_tensors
from runtime_check import compare_model
from test_real_models import MODELS
from test_runtimes import draw

pytestmark = pytest.mark.skipif(not oracle.TFLM_INSTALLED, reason=oracle.TFLM_MISSING)

# LiteRT refuses the first for a dimension that its tensors do not have. The others keep what they have heard.
MICRO_MODELS = ("person_detect", "keyword_scrambled_8bit", "keyword_scrambled")


@pytest.mark.parametrize("name", MICRO_MODELS)
def test_micro_models(name: str) -> None:
    """20 random and two extreme inputs, one after another: every tensor, and every operator fed the real tensors."""
    path = MODELS / "tflite_micro" / f"{name}.tflite"
    if not path.exists():
        pytest.skip(f"models missing: {path}")
    evidence = compare_model(refquant.load(path), path.read_bytes(), "tflm")
    assert evidence.inexact == 0
    for part in (evidence.end_to_end, evidence.alone):
        assert part.elements > 10_000
        assert part.differing == 0, part.fault


def test_float_models() -> None:
    """Float32 too is equal, bit for bit."""
    paths = [MODELS / name for name in ("mlperf_tiny/ad_float.tflite", "tflite_micro/hello_world_float.tflite")]
    for path in paths:
        if not path.exists():
            pytest.skip(f"models missing: {path}")
        evidence = compare_model(refquant.load(path), path.read_bytes(), "tflm")
        assert evidence.end_to_end.differing == evidence.inexact == 0, evidence.end_to_end.fault


def dense(bias_type: str, filter_type: str = "int8", input_type: str = "INT16") -> Model:
    x, filter_ = T((1, 3), input_type, 1.0), T(data=np.ones((2, 3), filter_type), scale=0.5)
    inputs = [x, filter_, T(data=np.ones(2, bias_type), scale=0.5)]
    return one_op("FULLY_CONNECTED", inputs, [T((1, 2), input_type, 1.0)])


# What both refuse: a filter of int8 that meets float32, and uint8.
REFUSED = {
    "dynamic range": dense("float32", "int8", "FLOAT32"),
    "uint8": dense("int32", "uint8", "UINT8"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    model = REFUSED[name]
    x = np.zeros((1, 3), model.graph.tensors[0].dtype)
    with pytest.raises((Rejected, Crashed)):
        tflm.run(write_model(model), [[x]])
    with pytest.raises(RefquantError, match="not built"):
        run_all_tensors(model, [x], "tflm")


@pytest.mark.parametrize("bias_type", ["int32", "int64"])
def test_told_by_the_bias(bias_type: str) -> None:
    """int16 without the option quantized_bias_type: LiteRT reads an int32 bias beyond its end."""
    model, x = dense(bias_type), np.array([[7, -3, 300]], np.int16)
    (want,) = tflm.run(write_model(model), [[x]])
    assert np.array_equal(run_all_tensors(model, [x], "tflm")[3], want[3])


def test_scales_of_svdf_are_multiplied_in_float64() -> None:
    """A model on which float32 products, which the source writes and LiteRT computes, would give other features."""
    case = draw("tflm", "SVDF, states of int16 with a zero point", 32)
    count = compare(case, oracle.TFLM, "tflm")
    assert count.elements > 0
    assert count.differing == 0, count.detail


def test_codes_of_4_bits() -> None:
    """The one in the low bits first, with their signs; an odd one at the end."""
    assert unpacked_nibbles(bytes([0x8F, 0x70, 0x01]), 5).tolist() == [-1, -8, 0, 7, 1]
    assert unpacked_nibbles(b"", 0).tolist() == []


def test_shapes_are_the_declared_ones() -> None:
    """A file that declares two rows of outputs for one row of inputs: the real one computes both, from beyond."""
    model, x = dense("int64"), np.array([[7, -3, 300]], np.int16)
    graph = model.graph
    tensors = (*graph.tensors[:-1], replace(graph.tensors[-1], shape=(2, 2)))
    declared = replace(model, graphs=(replace(graph, tensors=tensors),))
    assert tflm.run(write_model(declared), [[x]])[0][3].shape == (2, 2)
    with pytest.raises(UnsupportedModel, match="the file declares"):
        run_all_tensors(declared, [x], "tflm")
