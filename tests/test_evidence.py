"""golden/evidence.json: every described runtime that names a real one was measured against it, kernel by kernel."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from cases import CASES, ONLY
from cases.coverage import kernels_of, op_of
from refquant import cli
from refquant.evidence import KernelEvidence, NearEvidence, cell_text, cells, near_text, read_evidence, types_of
from refquant.runtimes import RUNTIMES
from refquant.runtimes.difference import difference
from test_real_models import INT8_MODELS

MODELS_OF_EACH = 200
AGAIN = "run python tools/evidence.py --jobs 2 --write, then python tools/render_tables.py"
PROVED = [name for name, runtime in RUNTIMES.items() if runtime.oracle is not None]
EVIDENCE = read_evidence()


@pytest.mark.parametrize("name", PROVED)
def test_every_kernel_was_measured(name: str) -> None:
    """For each op and type of the runtime of which a check draws models; fewer only where the real one takes fewer."""
    assert name in EVIDENCE.runtimes, AGAIN
    runtime, found = RUNTIMES[name], EVIDENCE.runtimes[name]
    assert found.oracle == asdict(runtime.oracle)  # type: ignore[call-overload]
    drawn = {op_of(check) for check in (*CASES, *ONLY.get(name, {}))}
    wanted = {kernel for op, kernels in kernels_of(runtime.kernels).items() if op in drawn for kernel in kernels}
    measured = {kernel.kernel for kernel in found.kernels}
    assert sorted(wanted - measured) == [], AGAIN
    counted = {k.kernel: max(k.models, k.near.models if k.near else 0) for k in found.kernels if not k.reasons}
    few = [kernel for kernel, models in counted.items() if models < MODELS_OF_EACH]
    assert few == [], AGAIN


@pytest.mark.parametrize("name", PROVED)
def test_nothing_differs_that_is_called_exact(name: str) -> None:
    assert name in EVIDENCE.runtimes, AGAIN
    assert [(k.kernel, k.differing, k.fault) for k in EVIDENCE.runtimes[name].kernels if k.differing] == []
    for model, counts in EVIDENCE.runtimes[name].models.items():
        claimed = ("alone",) if counts.get("inexact") else ("alone", "end_to_end", "outputs")
        for part in claimed:
            assert not counts.get(part) or counts[part]["differing"] == 0, f"{model}, {part}"
    if name != "tflm":
        assert all("alone" in EVIDENCE.runtimes[name].models[model] for model in INT8_MODELS), AGAIN


@pytest.mark.parametrize("name", PROVED)
def test_only_floats_are_called_inexact(name: str) -> None:
    """And what is called inexact has its reason and its distance in the evidence."""
    assert name in EVIDENCE.runtimes, AGAIN
    for kernel in EVIDENCE.runtimes[name].kernels:
        if kernel.near is not None:
            assert "FLOAT" in kernel.type, kernel.kernel
            assert kernel.near.why
            assert bool(kernel.near.differing) == any(kernel.near.distance.values()), kernel.kernel


def test_a_cell_without_evidence_is_blank() -> None:
    types = ["FLOAT32", "INT8"]
    assert cell_text((), types) == ""
    assert cell_text((KernelEvidence("ADD INT8", 0, 0, 0, refused=9),), types) == ""
    equal = KernelEvidence("ADD INT8", 2, 1234, 0)
    near = NearEvidence(2, 10, 4, {"ulps": 3, "absolute": 0.5, "relative": 1.2e-7, "not_finite": 0}, "sums", 3e-8)
    assert cell_text((equal,), ["INT8"]) == "= 1,234"
    assert cell_text((equal,), types) == "= 1,234 in INT8"
    inexact = KernelEvidence("ADD FLOAT32", 0, 0, 0, near=near)
    assert cell_text((equal, inexact), types) == "= 1,234; inexact: FLOAT32"
    assert types_of({"tflm": (equal, inexact, KernelEvidence("ADD INT16", 0, 0, 0, refused=9))}) == types
    assert cell_text((KernelEvidence("ADD INT8", 2, 9, 3),), ["INT8"]) == "INT8: 3 of 9 differ"
    assert near_text(near) == ("4 of 10 differ, mostly by 3.0e-08 of the largest value, at most by 1.2e-07")
    assert set(cells(EVIDENCE, "CONV_2D")) == set(EVIDENCE.runtimes)


def test_a_runtime_reads_as_its_difference() -> None:
    assert difference(RUNTIMES["tflite_ref"], RUNTIMES) is None
    found = difference(RUNTIMES["tflite_opt"], RUNTIMES)
    assert found is not None
    assert found.other == "tflite_ref"
    values = {one.name: (one.other, one.own) for one in found.arithmetic}
    assert values["CONV_2D.requantizer"] == ("double rounding", "upward rounding")
    kernels = {one.name: (one.other, one.own) for one in found.kernels}
    assert kernels["ADD INT8"] == ("binary.add", "binary_vectors.add")
    assert found.delegate is None
    assert not found.not_built
    delegate, micro = (difference(RUNTIMES[name], RUNTIMES) for name in ("xnnpack", "tflm"))
    assert {"activation.range", "bias.scale_difference"} <= {one.name for one in delegate.delegate.arithmetic}
    values = {one.name: (one.other, one.own) for one in micro.arithmetic}
    assert values["SUM.read_as"] == ("INT8: UINT8; INT16: UINT8", "none")


@pytest.mark.parametrize("name", [name for name, runtime in RUNTIMES.items() if runtime.base])
def test_every_difference_can_be_printed(name: str) -> None:
    found = difference(RUNTIMES[name], RUNTIMES)
    assert found is not None
    everything = [*found.arithmetic, *found.kernels]
    everything += [*found.delegate.arithmetic, *found.delegate.kernels] if found.delegate else []
    assert everything
    for one in everything:
        assert one.own != one.other, one
        assert " at 0x" not in one.own + one.other, one


def called(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["refquant", "runtimes", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_the_verb_shows_runtimes_and_evidence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(monkeypatch) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in RUNTIMES)
    assert "tflite_ref with" in text
    assert max(map(len, text.splitlines()[:10])) <= 80
    assert called(monkeypatch, "xnnpack") == 0
    text = capsys.readouterr().out
    assert "float32, half to even" in text
    assert "inexact" in text
    assert called(monkeypatch, "tflm", "--evidence") == 0
    assert "SVDF" in capsys.readouterr().out
    assert called(monkeypatch, "tflite_opt", "--op", "CONV_2D") == 0
    assert "FLOAT32xINT8 per channel" in capsys.readouterr().out
    assert called(monkeypatch, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert set(printed["runtimes"]) == set(RUNTIMES)
    assert printed["runtimes"]["tflite_opt"]["oracle"]["real"] == "litert:optimized"
    assert printed["runtimes"]["tflite_opt"]["evidence"][0]["models"] >= 1


@pytest.mark.parametrize("arguments", [("no_such_runtime",), ("--op", "NO_SUCH_OP"), ("--op", "conv_2d")])
def test_the_verb_refuses_what_there_is_not(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(monkeypatch, *arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_package_carries_the_evidence() -> None:
    project = (Path(__file__).resolve().parents[1] / "pyproject.toml").read_text()
    assert '"golden/evidence.json" = "refquant/data/golden/evidence.json"' in project
