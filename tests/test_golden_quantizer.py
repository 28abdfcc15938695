"""The quantizer on the ranges that TensorFlow 2.21.0 left in a model: slot by slot the model it made, in every mode."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import refquant
from refquant.data import data_file

MODELS = Path(__file__).resolve().parent.parent / "golden" / "models"
FORMS: dict[str, dict[str, Any]] = {
    "int8_floatio": {},
    "int8": {"input_type": "int8", "output_type": "int8"},
    "uint8": {"input_type": "uint8", "output_type": "uint8"},
    "int8_per_tensor": {"per_channel": False},
    "int8_dense_per_tensor": {"per_channel_dense": False},
    "int8_old": {"quantizer": "legacy"},
    "int16x8": {"mode": "int16x8"},
    "int16x8_int16": {"mode": "int16x8", "input_type": "int16", "output_type": "int16"},
    "int16x8_bias32": {"mode": "int16x8", "bias_type": "int32"},
    "dynamic_range": {"mode": "dynamic_range"},
    "dynamic_range_old": {"mode": "dynamic_range", "quantizer": "legacy"},
    "float16": {"mode": "float16"},
    "float16_old": {"mode": "float16", "quantizer": "legacy"},
}
WITHOUT_RANGES = ("dynamic_range", "float16")  # these modes start from the float model


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("network", ["digits_cnn", "digits_ds"])
def test_equal_to_the_converter(network: str, form: str) -> None:
    if FORMS[form].get("mode") in WITHOUT_RANGES:
        quantized = refquant.quantize(MODELS / f"{network}_float.tflite", **FORMS[form])
    else:
        calibrated = refquant.load(MODELS / f"{network}_calibrated.tflite")
        quantized = refquant.quantize(calibrated, refquant.Calibration.from_model(calibrated), **FORMS[form])
    comparison = refquant.compare_models(quantized, MODELS / f"{network}_{form}.tflite")
    print(f"{network}_{form}: {comparison.slots} slots")
    assert comparison.slots > 0
    assert comparison.equal, comparison.differences


@pytest.mark.parametrize("network", ["digits_cnn", "digits_ds"])
def test_own_calibration_on_the_same_scans_gives_the_same_zero_points(network: str) -> None:
    split = json.loads(data_file("golden/digits.json").read_text())
    images = np.load(data_file("digits.npz"), allow_pickle=False)["images"]
    model = refquant.load(MODELS / f"{network}_float.tflite")
    shape = model.graph.tensors[model.graph.inputs[0]].shape
    samples = [(images[index].astype(np.float32) / np.float32(16)).reshape(shape) for index in split["calibration"]]
    quantized = refquant.quantize(model, refquant.calibrate(model, samples))
    comparison = refquant.compare_models(quantized, MODELS / f"{network}_int8_floatio.tflite")
    scales_apart = [difference.ulps for difference in comparison.differences]
    print(f"{network}: {comparison.slots} slots, scales apart by at most {max(scales_apart, default=0)} ulp")
    for difference in comparison.differences:
        assert set(difference.what) <= {"scale", "data"}, difference
        assert difference.ulps <= 20, difference
        if "data" in difference.what:
            assert difference.slot == "bias", difference  # the bias follows the input's scale
