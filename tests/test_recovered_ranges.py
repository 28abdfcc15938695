"""Ranges from a quantized file, and a public network made again from its float file with them."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import refquant
from refquant import cli
from refquant.errors import InvalidInput
from refquant.model.graph import Model, Quantization
from refquant.quantizer import Calibration, quantize
from refquant.quantizer.legacy.arithmetic import asymmetric
from refquant.quantizer.parameters import activation_parameters
from refquant.quantizer.recovered import inverted_range, recover_ranges

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import cifar10  # noqa: E402  (a tool, kept outside the package)

MODELS = ROOT / "golden" / "models"
EVIDENCE = json.loads((ROOT / "golden" / "cifar10.json").read_text())
ROWS = EVIDENCE["files"]


def calibrated(network: str) -> tuple[Model, Calibration]:
    model = refquant.load(MODELS / f"{network}_calibrated.tflite")
    return model, Calibration.from_model(model)


@pytest.mark.parametrize("network", ["digits_cnn", "digits_ds"])
@pytest.mark.parametrize(
    "options",
    [{}, {"input_type": "int8", "output_type": "int8"}, {"input_type": "uint8"}, {"quantizer": "legacy"}],
    ids=str,
)
def test_a_file_made_again_from_its_own_ranges_is_the_same(network: str, options: dict) -> None:
    model, ranges = calibrated(network)
    file = refquant.load(quantize(model, ranges, **options).to_bytes())
    found = recover_ranges(model, file)
    assert not found.inexact
    assert not found.missing
    assert bool(found.left) == ("quantizer" in options)
    assert refquant.compare_models(quantize(model, found.calibration, **options), file).equal
    if "quantizer" in options:  # the ranges themselves, widened to 0
        own = ranges.for_model(model)
        for entry in found.calibration.tensors:
            if entry.name in found.left and entry.tensor in own and _has_own_range(model, entry.tensor):
                assert (entry.min, entry.max) == (min(own[entry.tensor][0], 0), max(own[entry.tensor][1], 0))


def _has_own_range(model: Model, tensor: int) -> bool:
    """Not the results of same-scale ops, which copy the range with the parameters."""
    free = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD")
    producer = next((o for o in model.graph.operators if tensor in o.outputs), None)
    return producer is None or producer.name in free


@settings(max_examples=300, deadline=None)
@given(st.floats(-1e6, 0, width=32), st.floats(0, 1e6, width=32), st.sampled_from([activation_parameters, asymmetric]))
def test_inverted_ranges_give_the_parameters_again(low: float, high: float, formula: object) -> None:
    """Also those of the old quantizer, as long as the present one would not have widened the range."""
    if formula is asymmetric and high - low < 2e-6:
        return
    made = formula(low, high)
    q = made if isinstance(made, Quantization) else made.quantization()
    again = activation_parameters(*inverted_range(q)).quantization()
    assert again.scale == q.scale
    assert abs(again.zero_point[0] - q.zero_point[0]) <= int(formula is asymmetric)  # float32 zero points may be off


def test_a_float_file_tells_nothing() -> None:
    model, _ = calibrated("digits_cnn")
    tensors = tuple(replace(tensor, quantization=None) for tensor in model.graph.tensors)
    with pytest.raises(InvalidInput, match="no tensor of the quantized model"):
        recover_ranges(model, model.with_graph(replace(model.graph, tensors=tensors)))


def test_16x8_files_keep_their_ranges() -> None:
    model, ranges = calibrated("digits_ds")
    file = refquant.load(quantize(model, ranges, "int16x8").to_bytes())
    found = recover_ranges(model, file)
    assert refquant.compare_models(quantize(model, found.calibration, "int16x8"), file).equal
    bare = tuple(
        replace(t, quantization=None if t.quantization is None else replace(t.quantization, min=(), max=()))
        for t in file.graph.tensors
    )
    with pytest.raises(InvalidInput):  # int16 scales tell the larger end only
        recover_ranges(model, file.with_graph(replace(file.graph, tensors=bare)))


@pytest.mark.parametrize("form", ["int8_floatio", "int8_old"])
def test_the_command_line(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The converter's own file, made again from the float one and nothing else."""
    file, target = MODELS / f"digits_ds_{form}.tflite", tmp_path / "o.tflite"
    command = ["refquant", "quantize", str(MODELS / "digits_ds_float.tflite"), "--ranges-from", str(file)]
    command += ["-o", str(target), "--quantizer", "legacy" if form == "int8_old" else "mlir"]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as raised:
        cli.main()
    assert not raised.value.code
    assert refquant.compare_models(target, file).equal


# the public files


@pytest.mark.parametrize("name", cifar10.FILES)
def test_public_files_made_again(name: str) -> None:
    """golden/cifar10.json holds what the tool finds, and nothing differs where refquant does what the converter did."""
    if not cifar10.path_of(name).is_file():
        pytest.skip(f"models missing: {cifar10.path_of(name)} (set REFQUANT_MODELS)")
    kept = {key: value for key, value in ROWS[name].items() if key != "litert"}
    assert json.loads(json.dumps(cifar10.measured(name))) == kept
    if "then" in kept:
        assert kept["then"]["differing"] == kept["then"]["operators_differing"] == 0
        assert kept["then"]["conversions_differing"] == 0


def test_published_sizes_find_their_files() -> None:
    assert [row["published_kb"] for row in ROWS.values()] == [329, 107, 181, 115, 115]
    assert EVIDENCE["of_no_file"] == [507]
    assert np.all([abs(row["bytes"] / 1024 - row["published_kb"]) < 1 for row in ROWS.values()])
    assert not any(row["litert"]["differing"] for row in ROWS.values())
