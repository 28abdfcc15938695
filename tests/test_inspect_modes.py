"""`refquant inspect` names a file's mode and the quantizer that wrote it: public models, conversions, random graphs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import refquant
from converter_oracle_graphs import Builder, random_dag
from converter_oracle_ops import WIDE_OPS
from legacy_graphs import IMAGE, ROW, add, conv, exactly, integers, numbers, unary
from refquant import cli
from refquant.compare.generations import GENERATIONS, generation_of
from refquant.compare.modes import MODE_OF_FORM, MODES, mode_of
from refquant.errors import NotQuantizable
from refquant.model.graph import Model, Operator, Quantization, Tensor
from refquant.quantizer import Calibration, quantize

PUBLIC = Path(os.environ.get("REFQUANT_MODELS", Path(__file__).resolve().parents[2] / "shared" / "models"))
GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "models"

# model -> (mode, quantizer, how many constants and activations say so)
PUBLIC_MODELS = {
    "cifar10_resnet18/cifar10_resnet18_int8_all": ("integer only", "legacy", 59),
    "cifar10_resnet18/cifar10_resnet18_int8_notall": ("integer with float inputs and outputs", "legacy", 59),
    "cifar10_resnet18/cifar10_resnet18_pruned": ("float", "none", 0),
    "cifar10_resnet18/cifar10_resnet18_pruned_dynamic": ("dynamic range", "unknown", 0),
    "cifar10_resnet18/cifar10_resnet18_pruned_float16": ("float16", "none", 0),
    "coral/mobilenet_v1_0.25_128_uint8": ("first-generation uint8, integer only", "first", 28),
    "mlperf_tiny/ad_dynamic": ("dynamic range", "unknown", 0),
    "mlperf_tiny/ad_float": ("float", "none", 0),
    "mlperf_tiny/ad_int8": ("integer only", "legacy", 21),
    "mlperf_tiny/ad_int8_floatio": ("integer with float inputs and outputs", "legacy", 21),
    "mlperf_tiny/kws_dynamic": ("dynamic range", "unknown", 0),
    "mlperf_tiny/kws_int8": ("integer only", "legacy", 23),
    "mlperf_tiny/resnet8_float": ("float", "none", 0),
    "mlperf_tiny/resnet8_int8": ("integer only", "legacy", 26),
    "mlperf_tiny/vww_float": ("float", "none", 0),
    "mlperf_tiny/vww_int8": ("integer only", "legacy", 66),
    "mlperf_tiny/wakeword_int8": ("integer only", "unknown", 0),
    "tflite_micro/hello_world_float": ("float", "none", 0),
    "tflite_micro/hello_world_int8": ("integer only", "unknown", 0),
    "tflite_micro/keyword_scrambled": ("integer only", "legacy", 25),
    "tflite_micro/keyword_scrambled_8bit": ("integer only", "legacy", 39),
    "tflite_micro/micro_speech_quantized": ("integer only", "legacy", 4),
    "tflite_micro/person_detect": ("integer only", "legacy", 31),
}

# file -> (its float model, the arithmetic that alone makes its weights, of how many)
WITH_FLOATS = {
    "mlperf_tiny/resnet8_int8": ("mlperf_tiny/resnet8_float", "legacy", "1 of 10 weights"),
    "mlperf_tiny/vww_int8": ("mlperf_tiny/vww_float", "legacy", "8 of 28 weights"),
    "mlperf_tiny/ad_dynamic": ("mlperf_tiny/ad_float", "unknown", "all 10 weights follow from the floats by several"),
    "tflite_micro/hello_world_int8": ("tflite_micro/hello_world_float", "unknown", "3 of 3 weights of these floats"),
}


def public(name: str) -> Path:
    path = PUBLIC / f"{name}.tflite"
    if not path.is_file():
        pytest.skip(f"models missing: {path} (set REFQUANT_MODELS)")
    return path


@pytest.mark.parametrize("name", PUBLIC_MODELS)
def test_public_models(name: str) -> None:
    mode, generation = mode_of(public(name)), generation_of(public(name))
    assert (mode.words, generation.name, generation.count) == PUBLIC_MODELS[name]


def test_all_public_models_are_listed() -> None:
    if PUBLIC.is_dir():
        found = {path.relative_to(PUBLIC).with_suffix("").as_posix() for path in PUBLIC.rglob("*.tflite")}
        assert found == set(PUBLIC_MODELS)


@pytest.mark.parametrize("name", WITH_FLOATS)
def test_the_float_model_tells_more(name: str) -> None:
    original, expected, says = WITH_FLOATS[name]
    generation = generation_of(public(name), public(original))
    assert generation.name == expected
    assert says in str(generation)


# conversions


def golden(name: str) -> Model:
    return refquant.load(GOLDEN / f"{name}.tflite")


@pytest.mark.parametrize(
    ("options", "words", "generation"),
    [
        ({"quantizer": "legacy"}, "integer with float inputs and outputs", "legacy"),
        ({"quantizer": "legacy", "input_type": "uint8"}, "integer with float outputs", "legacy"),
        ({"input_type": "int8", "output_type": "int8"}, "integer only", "unknown"),
        ({"output_type": "uint8"}, "integer with float inputs", "unknown"),
        ({"mode": "int16x8"}, "16x8 with float inputs and outputs", "legacy"),
        ({"mode": "int16x8", "input_type": "int16", "output_type": "int16"}, "16x8, integer only", "legacy"),
        ({"denied_ops": ["CONV_2D"]}, "mixed with float inputs and outputs, CONV_2D stays float", "unknown"),
        (
            {"denied_ops": ["MAX_POOL_2D"], "mode": "int16x8"},
            "mixed with float inputs and outputs, MAX_POOL_2D stays float",
            "legacy",
        ),
    ],
)
def test_conversions(options: dict, words: str, generation: str) -> None:
    model = golden("digits_cnn_calibrated")
    file = quantize(model, Calibration.from_model(model), **options)
    assert mode_of(file).words == words
    assert generation_of(file).name == generation
    assert sum(mode_of(file).operators.values()) == 7  # the others compute shapes


@pytest.mark.parametrize(
    ("name", "words", "generation"),
    [
        ("mnist_qat_pairs", "quantization-aware", "none"),
        ("mnist_qat", "integer with float inputs and outputs", "mlir"),  # biases by unrounded scales
        ("mnist_dynamic_range", "dynamic range", "unknown"),
        ("mnist_float16", "float16", "none"),
        ("digits_cnn_float16_old", "float16", "none"),
        ("digits_cnn_dynamic_range_old", "dynamic range", "unknown"),
        ("digits_ds_int8_old", "integer with float inputs and outputs", "legacy"),
        ("digits_ds_int16x8_int16", "16x8, integer only", "legacy"),
        ("digits_ds_uint8", "integer only", "unknown"),
    ],
)
def test_files_of_the_converter(name: str, words: str, generation: str) -> None:
    assert mode_of(golden(name)).words == words
    assert generation_of(golden(name)).name == generation


def test_the_present_quantizer_shows_by_its_constants() -> None:
    """Asymmetric constants, and the least scale of zeros; the old one's are symmetric, and zeros have no scale."""
    b = Builder(np.random.default_rng(0))
    x = b.input(IMAGE)
    weights = numbers(b, (4, 1, 1, 4))
    values = np.frombuffer(b.buffers[b.tensors[weights].buffer], np.float32).reshape(4, 4).copy()
    values[2] = 0
    b.buffers[b.tensors[weights].buffer] = values.tobytes()
    add(b, conv(b, x, weights, exactly(b, [1.0, 2.0, 0.0, 3.0])), exactly(b, [1.0, -2.0, 0.5, 3.0]))
    model = b.model()
    found = {
        quantizer: generation_of(quantize(model, Calibration.from_model(model), quantizer=quantizer))
        for quantizer in ("mlir", "legacy")
    }
    assert {name: generation.name for name, generation in found.items()} == {"mlir": "mlir", "legacy": "legacy"}
    assert [e.what for e in found["mlir"].evidence] == [
        "constant operands are asymmetric",
        "weights have the least scale, 1e-6 / 254",
    ]
    assert {"constant operands are symmetric", "int8 tensors have scales below 1e-6 / 255"} <= {
        e.what for e in found["legacy"].evidence
    }


def fake_quantized() -> Model:
    """RELU between QUANTIZE and DEQUANTIZE pairs, as fake quantization is written."""
    b = Builder(np.random.default_rng(0))
    x = b.input(ROW)
    tensor = x
    for _ in range(2):
        b.tensors.append(Tensor("q", "INT8", ROW, 0, Quantization((0.1,), (3,))))
        b.operators.append(Operator("QUANTIZE", (tensor,), (len(b.tensors) - 1,), 1))
        b.tensors.append(Tensor("dq", "FLOAT32", ROW))
        b.operators.append(Operator("DEQUANTIZE", (len(b.tensors) - 2,), (len(b.tensors) - 1,), 2))
        tensor = unary(b, "RELU", len(b.tensors) - 1)
    return b.model((tensor,))


def gathered() -> Model:
    """An int8 table whose rows are widened at once: dynamic range."""
    b = Builder(np.random.default_rng(0))
    table, rows = b.constant(np.ones((8, 4), np.float32)), b.input((2,), "INT32")
    (y,) = b.op("GATHER", [table, rows], [(2, 4)], {"axis": 0, "batch_dims": 0}, "GatherOptions")
    b.operators.append(Operator("DEQUANTIZE", (y,), (b.add((2, 4), "wide"),), 2))
    unary(b, "SIN", len(b.tensors) - 1)
    for index in (table, y):
        b.tensors[index] = replace(b.tensors[index], type="INT8", quantization=Quantization((0.5,), (0,)))
    b.buffers[b.tensors[table].buffer] = np.ones(32, np.int8).tobytes()
    return b.model()


def moves_only() -> Model:
    b = Builder(np.random.default_rng(0))
    b.op("ADD", [b.input(ROW, "INT32"), integers(b, [[1, 2, 3, 4]])], [ROW], None, None, ("INT32",))
    return b.model()


@pytest.mark.parametrize(
    ("build", "words"),
    [(fake_quantized, "quantization-aware"), (gathered, "dynamic range"), (moves_only, "no arithmetic")],
)
def test_modes_of_hand_made_files(build: Callable[[], Model], words: str) -> None:
    assert mode_of(build()).words == words


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_no_clue_misleads(seed: int, per_channel: bool) -> None:
    """What one quantizer wrote is never said to be the other's, whatever the graph, the constants and the ranges."""
    rng = np.random.default_rng(seed)
    model = random_dag(rng, int(rng.integers(2, 8)), WIDE_OPS, sharing=0.2)
    try:
        ranges = Calibration.from_model(model)
    except refquant.errors.InvalidInput:
        return
    for mode, quantizer in (("int8", "mlir"), ("int8", "legacy"), ("int16x8", "legacy")):
        for reproduce in (False, True):
            try:
                file = quantize(
                    model, ranges, mode, quantizer=quantizer, per_channel=per_channel, reproduce_defects=reproduce
                )
            except NotQuantizable:
                continue
            generation = generation_of(file)
            assert generation.name in (quantizer, "unknown", "none"), str(generation)
            assert mode_of(file).name != "first-generation uint8"


# the command line


def test_the_command_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = golden("digits_ds_calibrated")
    refquant.save(quantize(model, Calibration.from_model(model), "int16x8"), tmp_path / "q.tflite")
    refquant.save(golden("digits_ds_float"), tmp_path / "f.tflite")

    def call(*arguments: str) -> str:
        monkeypatch.setattr("sys.argv", ["refquant", "inspect", *arguments])
        with pytest.raises(SystemExit) as raised:
            cli.main()
        assert not raised.value.code
        return capsys.readouterr().out

    text = call(str(tmp_path / "q.tflite"))
    assert "mode: 16x8 with float inputs and outputs: int16 activations, int8 weights" in text
    assert "quantizer: the converter's old quantizer: " in text
    told = json.loads(call(str(tmp_path / "q.tflite"), "--json"))
    assert told["mode"]["name"] == "16x8"
    assert told["mode"]["operators"] == {"int16": 10}
    assert told["quantizer"]["name"] == "legacy"
    assert told["quantizer"]["count"] == sum(entry["count"] for entry in told["quantizer"]["evidence"]) > 10
    int8 = [str(GOLDEN / "digits_ds_int8.tflite"), "--float", str(tmp_path / "f.tflite")]
    assert json.loads(call(*int8, "--json"))["quantizer"]["name"] in ("mlir", "unknown")


def test_tables_are_consistent() -> None:
    assert set(MODE_OF_FORM.values()) <= set(MODES)
    assert {"mlir", "legacy", "float64", "unknown", "contradictory", "none", "first"} == set(GENERATIONS)
