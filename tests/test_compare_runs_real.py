"""compare_runs against the installed LiteRT and TensorFlow Lite Micro: described and real runtimes side by side."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import oracle
import refquant
from models import T, one_op
from refquant.compare.real_runtimes import Failed, Ran, job_of, run_jobs, run_real
from refquant.compare.runs import OperatorRun, RunComparison, RuntimeRun
from refquant.errors import RefquantError
from refquant.model import write_model
from test_real_models import MODELS

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "models"
NETWORK = GOLDEN / "digits_ds_int8.tflite"

pytestmark = [
    pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING),
    pytest.mark.skipif(importlib.util.find_spec("tflite_micro") is None, reason="oracle missing: tflite-micro"),
]


def real_model(name: str) -> Path:
    path = MODELS / f"{name}.tflite"
    if not path.exists():
        pytest.skip(f"models missing: {path} (set REFQUANT_MODELS)")
    return path


def of(comparison: RunComparison, name: str) -> tuple[RuntimeRun, list[OperatorRun]]:
    (run,) = (run for run in comparison.runtimes if run.name == name)
    assert not run.error
    return run, [seen for row in comparison.operators for seen in row.runs if seen.runtime == name]


def test_described_and_real_runtimes_side_by_side() -> None:
    twins = {"litert:reference": "tflite_ref", "litert:optimized": "tflite_opt", "litert:default": "xnnpack"}
    comparison = refquant.compare_runs(NETWORK, None, ["tflite_ref", "tflite_opt", "xnnpack", *twins])
    for real, described in twins.items():
        run, seen = of(comparison, real)
        assert run.real
        assert run.oracle.startswith("ai-edge-litert ")
        assert run.preserving.differing == 0
        assert not any(operator.error for operator in seen)
        if described != "tflite_ref":
            twin, theirs = of(comparison, described)
            assert run.outputs == twin.outputs
            assert [operator.cause for operator in seen] == [operator.cause for operator in theirs]
            assert run.causes == twin.causes
    assert of(comparison, "litert:reference")[0].outputs.differing == 0
    assert {operator.delegated for operator in of(comparison, "litert:default")[1]} == {"", "XNNPACK"}


@pytest.mark.parametrize(
    ("name", "runtimes"),
    [("digits_ds_int8", ("tflm:real", "tflm")), ("digits_ds_float16", ("litert:reference", "tflite_ref"))],
)
def test_a_real_base(name: str, runtimes: tuple[str, str]) -> None:
    comparison = refquant.compare_runs(GOLDEN / f"{name}.tflite", None, runtimes, count=2)
    assert comparison.base == runtimes[0]
    assert comparison.equal


def test_what_a_runtime_computes_before_a_run_is_not_looked_at() -> None:
    """XNNPACK converts float16 constants while it prepares, and writes none of their tensors."""
    path = GOLDEN / "digits_ds_float16.tflite"
    comparison = refquant.compare_runs(path, None, ["tflite_ref", "litert:default"], count=1)
    assert all(row.runs[0].cause is None for row in comparison.operators if row.op == "DEQUANTIZE")
    assert not any(row.runs[0].error for row in comparison.operators)
    assert all(row.runs[0].cause.largest < 1e-4 for row in comparison.operators if row.op == "CONV_2D")


def test_outputs_without_elements_are_equal() -> None:
    """LiteRT gives such a tensor no memory that could be read."""
    fill = one_op("FILL", [T((1,), "INT32"), T((), "FLOAT32")], [T((0,), "FLOAT32")])
    inputs = [np.array([0], np.int32), np.float32(2)]
    comparison = refquant.compare_runs(fill, inputs, ["tflite_ref", "litert:reference"])
    assert comparison.equal
    assert comparison.operators[0].runs[0].cause.elements == 0


def test_a_crash_costs_one_job() -> None:
    """512 equal values end the process in SOFTMAX: see errata, softmax-8bit-flat-rows."""
    flat = one_op("SOFTMAX", [T((1, 512), scale=1.0)], [T((1, 512), scale=1 / 256, zero_point=-128)], {"beta": 1.0})
    jobs = [job_of(write_model(flat), [[np.full((1, 512), value, np.int8)]]) for value in (0, 1)]
    network = refquant.load(NETWORK)
    jobs.insert(1, job_of(NETWORK.read_bytes(), [[np.zeros(network.graph.tensors[0].shape, np.int8)]]))
    first, ran, last = run_jobs("litert:reference", jobs)
    assert isinstance(ran, Ran)
    assert len(ran.outputs) == 1
    for failed in (first, last):
        assert isinstance(failed, Failed)
        assert failed.kind == "crashed"
        assert failed.text.startswith("its process ended (SIG")


def test_a_refusal_is_one_line() -> None:
    with pytest.raises(RefquantError, match=r"^tflm:real: .*"):
        run_real("tflm:real", (GOLDEN / "digits_cnn_dynamic_range.tflite").read_bytes(), [])


def test_ad_int8_differs_by_the_rounding_of_fully_connected() -> None:
    path = real_model("mlperf_tiny/ad_int8")
    comparison = refquant.compare_runs(path, None, ["tflite_ref", "tflite_opt", "tflm", "tflm:real"], count=20)
    for name, words in (
        ("tflite_opt", "upward rounding"),
        ("tflm", "double rounding"),
        ("tflm:real", "double rounding"),
    ):
        run, _ = of(comparison, name)
        assert 0.3 < run.outputs.rate < 0.45
        (cause,) = run.causes
        assert (cause.op, cause.words) == ("FULLY_CONNECTED", words)
        assert cause.instead_of == "float64 round, half away from zero"
        assert run.whole_cause == run.outputs.elements


def test_resnet8_int8_differs_from_the_first_layer_on() -> None:
    comparison = refquant.compare_runs(
        real_model("mlperf_tiny/resnet8_int8"), None, ["tflite_ref", "xnnpack", "litert:default"], count=2
    )
    for name in ("xnnpack", "litert:default"):
        run, _ = of(comparison, name)
        assert run.first_cause == run.first_drift == 0
        (cause,) = run.causes
        assert (cause.op, cause.words, cause.instead_of) == ("CONV_2D", "float32, half to even", "double rounding")
        assert run.whole_cause == run.outputs.elements


def test_models_that_tflite_refuses() -> None:
    person = real_model("tflite_micro/person_detect")
    comparison = refquant.compare_runs(person, None, ["tflite_ref", "litert:default", "tflm", "tflm:real"], count=1)
    assert [bool(run.error) for run in comparison.runtimes] == [True, True, False, False]
    assert comparison.base == "tflm"
    assert of(comparison, "tflm:real")[0].outputs.differing == 0


def test_floats_and_dynamic_range_have_absolute_differences_and_ulps() -> None:
    path = GOLDEN / "digits_cnn_dynamic_range.tflite"
    comparison = refquant.compare_runs(path, None, ["tflite_ref", "litert:default"])
    run, seen = of(comparison, "litert:default")
    assert run.outputs.differing
    assert 0 < run.outputs.largest < 1
    assert run.outputs.ulps > 0
    assert any(operator.differs for operator in seen)
