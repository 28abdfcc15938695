"""The split of a quantized model's error, on constructions of which each part is known."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

import refquant
from graphs import Graphs, floats
from models import T, one_op
from recurrent_graphs import recurrent_graph, stacked
from refquant.compare.error_split import Error, ErrorSplit, Parts, split_error
from refquant.errors import InvalidInput
from refquant.model.graph import Model

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "models"
PLAIN = {"fused_activation_function": "NONE"}
SAMPLES, DEPTH, UNITS = 50, 8, 4


def dense(weights: np.ndarray, bias: np.ndarray) -> Model:
    inputs = [T((1, DEPTH), "FLOAT32"), T(data=weights), T(data=bias)]
    return one_op("FULLY_CONNECTED", inputs, [T((1, UNITS), "FLOAT32")], PLAIN)


def quantized_dense(codes: np.ndarray, scales: list[float], bias: np.ndarray, x: float, y: float) -> Model:
    inputs = [
        T((1, DEPTH), "INT8", x, -3),
        T(data=codes, scale=scales),
        T(data=bias, scale=[float(np.float32(x * scale)) for scale in scales]),
    ]
    return one_op("FULLY_CONNECTED", inputs, [T((1, UNITS), "INT8", y, 5)], PLAIN)


def error(model: np.ndarray, before: np.ndarray, after: np.ndarray, scale: float) -> Error:
    """The error as its definition says."""
    distance = np.abs(after - before)
    power = (distance**2).sum()
    sqnr = 10 * math.log10((model**2).sum() / power) if power else None
    largest, mean = distance.max(), distance.mean()
    return Error(sqnr, largest, mean, largest / scale, mean / scale, distance.size)


def assert_near(found: Error, wanted: Error) -> None:
    assert found.elements == wanted.elements
    for name in ("sqnr_db", "largest", "mean", "largest_steps", "mean_steps"):
        one, other = getattr(found, name), getattr(wanted, name)
        assert (one == other) if other is None else one == pytest.approx(other, rel=1e-4), name


@pytest.mark.parametrize("seed", range(5))
def test_the_parts_of_a_dense_layer(seed: int) -> None:
    """Computed here once more, in plain NumPy."""
    rng = np.random.default_rng(seed)
    weights, bias = rng.normal(0, 1, (UNITS, DEPTH)).astype(np.float32), rng.normal(0, 1, UNITS).astype(np.float32)
    scales, x_scale = [float(np.float32(abs(row).max() / 127)) for row in weights], 1 / 64
    y_scale = float(np.float32(rng.uniform(0.02, 0.1)))
    if seed % 2:  # half-way points, of which exact and runtime differ
        scales, y_scale = [1 / 32] * UNITS, 1 / 16
    codes = np.rint(weights / np.array(scales)[:, None]).astype(np.int8)
    of_bias = np.float32(x_scale) * np.array(scales)
    bias_codes = np.rint(bias / of_bias).astype(np.int32)
    quantized = quantized_dense(codes, scales, bias_codes, x_scale, y_scale)
    inputs = rng.normal(0, 1, (SAMPLES, DEPTH)).astype(np.float32)

    found = split_error(dense(weights, bias), quantized, inputs, "tflite_opt")

    x = inputs.astype(np.float64)
    model = x @ weights.T.astype(np.float64) + bias
    rounded_weights = codes * np.array(scales)[:, None]
    with_weights = x @ rounded_weights.T + bias_codes * of_bias
    input_codes = np.clip(np.rint(x / x_scale) - 3, -128, 127)
    exact = ((input_codes + 3) * x_scale) @ rounded_weights.T + bias_codes * of_bias
    exact = (np.clip(np.rint(exact / y_scale) + 5, -128, 127) - 5) * y_scale
    output = refquant.run(quantized, input_codes.astype(np.int8), "tflite_opt")[0]
    runtime = (output.astype(np.float64) - 5) * y_scale
    assert (exact != runtime).any() or not seed % 2
    (layer,) = found.layers
    for parts in (layer.end_to_end, layer.alone, found.outputs[0].end_to_end):
        assert parts is not None
        assert_near(parts.weights, error(model, model, with_weights, y_scale))
        assert_near(parts.activations, error(model, with_weights, exact, y_scale))
        assert_near(parts.arithmetic, error(model, exact, runtime, y_scale))
        assert_near(parts.total, error(model, model, runtime, y_scale))
    assert (layer.op, layer.output, found.samples, found.unpaired) == ("FULLY_CONNECTED", True, SAMPLES, ())


def test_weights_that_are_steps_have_no_error() -> None:
    rng = np.random.default_rng(0)
    codes, bias = rng.integers(-127, 128, (UNITS, DEPTH)).astype(np.int8), np.arange(UNITS, dtype=np.int32)
    model = dense((codes / 16).astype(np.float32), (bias / 256).astype(np.float32))
    quantized = quantized_dense(codes, [1 / 16] * UNITS, bias, 1 / 16, 1.0)
    parts = split_error(model, quantized, rng.normal(0, 1, (SAMPLES, DEPTH)).astype(np.float32)).layers[0].end_to_end
    assert (parts.weights.sqnr_db, parts.weights.largest) == (None, 0.0)
    assert parts.activations.sqnr_db is not None


def test_the_exact_runtime_has_no_error_of_arithmetic() -> None:
    model, quantized, inputs = network()
    for layer in split_error(model, quantized, inputs, "exact").layers:
        assert layer.end_to_end.arithmetic.sqnr_db is None
        assert layer.end_to_end.total == layer.end_to_end.total


def test_six_decibels_a_bit() -> None:
    """Values spread evenly over all codes: the noise is step^2 / 12, and 20 log10(2) dB come with each bit."""
    values = np.linspace(-1, 1, 4096, dtype=np.float32)[np.newaxis]
    model = one_op("ABS", [T((1, 4096), "FLOAT32")], [T((1, 4096), "FLOAT32")])
    for bits, type in ((8, "INT8"), (16, "INT16")):
        step = 2.0 ** (1 - bits)
        quantized = one_op("ABS", [T((1, 4096), type, step)], [T((1, 4096), type, step)])
        (layer,) = split_error(model, quantized, np.clip(values, step - 1, 1 - step), "exact").layers
        sqnr = layer.end_to_end.activations.sqnr_db
        assert sqnr == pytest.approx(6.02 * bits, abs=0.3)
        assert layer.end_to_end.activations.largest_steps == pytest.approx(0.5, abs=0.01)


def network() -> tuple[Model, Model, np.ndarray]:
    """A network of two layers that branches, its int8 model, and samples."""
    rng = np.random.default_rng(7)
    tensors = {
        "x": floats(1, 6, 6, 2),
        "filter": T(data=rng.normal(0, 0.5, (4, 3, 3, 2)).astype(np.float32)),
        "bias": T(data=rng.normal(0, 0.5, 4).astype(np.float32)),
        "c": floats(1, 6, 6, 4),
        "depthwise": T(data=rng.normal(0, 0.5, (1, 3, 3, 4)).astype(np.float32)),
        "d": floats(1, 6, 6, 4),
        "sum": floats(1, 6, 6, 4),
    }
    window = {"padding": "SAME", "stride_h": 1, "stride_w": 1}
    operators = [
        ("CONV_2D", ("x", "filter", "bias"), ("c",), {**window, "fused_activation_function": "RELU"}),
        ("DEPTHWISE_CONV_2D", ("c", "depthwise", "bias"), ("d",), {**window, **PLAIN, "depth_multiplier": 1}),
        ("ADD", ("c", "d"), ("sum",), PLAIN),
    ]
    model = Graphs().add(tensors, operators, ["x"], ["sum"]).model()
    inputs = rng.normal(0, 1, (20, 6, 6, 2)).astype(np.float32)
    calibration = refquant.calibrate(model, [inputs[i : i + 1] for i in range(20)])
    return model, refquant.quantize(model, calibration), inputs


@pytest.fixture(scope="module")
def split() -> ErrorSplit:
    return split_error(*network())


def test_every_layer_of_a_network(split: ErrorSplit) -> None:
    assert [layer.op for layer in split.layers] == ["CONV_2D", "DEPTHWISE_CONV_2D", "ADD"]
    assert split.unpaired == ()
    (output,) = split.outputs
    assert output.alone is None
    assert output.end_to_end.total.sqnr_db == pytest.approx(split.layers[2].end_to_end.total.sqnr_db)
    for layer in split.layers:
        assert layer.alone is not None
        for parts in (layer.end_to_end, layer.alone):
            assert 20 < (parts.total.sqnr_db or 0) < 60
            assert parts.total.mean <= parts.weights.mean + parts.activations.mean + parts.arithmetic.mean
        assert layer.alone.arithmetic.largest_steps is not None
        assert layer.alone.arithmetic.largest_steps <= 1.001
    assert split.layers[2].alone is not None
    assert split.layers[2].alone.weights.largest == 0


def golden_output(mode: str) -> tuple[Parts, ErrorSplit]:
    """A network that TensorFlow converted, on noise."""
    model = refquant.load(GOLDEN / "digits_cnn_float.tflite")
    shape = model.graph.tensors[model.graph.inputs[0]].shape
    inputs = np.random.default_rng(0).uniform(0, 1, (20, *shape[1:])).astype(np.float32)
    split = split_error(model, GOLDEN / f"digits_cnn_{mode}.tflite", inputs)
    return split.outputs[0].end_to_end, split


def test_modes_differ_in_the_parts_that_they_quantize() -> None:
    """int16x8 has the weights of int8; dynamic range and float16 have no codes of activations."""
    modes = ("int8", "uint8", "int16x8", "dynamic_range", "float16", "int8_per_tensor")
    parts = {mode: golden_output(mode)[0] for mode in modes}
    sqnr = {
        mode: {name: error["sqnr_db"] or math.inf for name, error in asdict(p).items()} for mode, p in parts.items()
    }
    assert sqnr["int16x8"]["weights"] == pytest.approx(sqnr["int8"]["weights"], abs=0.05)
    assert sqnr["int8_per_tensor"]["weights"] < sqnr["int8"]["weights"] - 3
    assert sqnr["int16x8"]["activations"] > sqnr["int8"]["activations"] + 40
    assert sqnr["uint8"] == sqnr["int8"]
    assert min(sqnr[mode]["activations"] for mode in ("dynamic_range", "float16")) > 120
    assert sqnr["dynamic_range"]["arithmetic"] < 80
    assert sqnr["float16"]["arithmetic"] > 100
    assert sqnr["float16"]["weights"] > sqnr["int8"]["weights"] + 20


def test_an_lstm_is_split_like_any_layer() -> None:
    model = recurrent_graph(stacked, 1)
    samples = np.random.default_rng(0).normal(0, 1, (12, 4, 3)).astype(np.float32)
    quantized = refquant.quantize(model, refquant.calibrate(model, [sample[np.newaxis] for sample in samples]))
    first = split_error(model, quantized, samples).layers[0]
    assert first.op == "UNIDIRECTIONAL_SEQUENCE_LSTM"
    assert first.end_to_end.activations.sqnr_db is not None
    assert first.end_to_end.activations.sqnr_db > 30
    assert (first.end_to_end.arithmetic.largest_steps or 0) < 1.001


def test_it_is_plain_json(split: ErrorSplit) -> None:
    assert json.loads(json.dumps(asdict(split), allow_nan=False))["runtime"] == "tflite_ref"


def test_codes_and_their_reals_are_one() -> None:
    model, _, inputs = network()
    calibration = refquant.calibrate(model, [inputs])
    quantized = refquant.quantize(model, calibration, input_type="int8", output_type="int8")
    tensor = quantized.graph.tensors[quantized.graph.inputs[0]]
    assert tensor.quantization is not None
    (scale,), (zero_point,) = tensor.quantization.scale, tensor.quantization.zero_point
    codes = np.random.default_rng(1).integers(-128, 128, (9, 6, 6, 2)).astype(np.int8)
    reals = ((codes.astype(np.float64) - zero_point) * scale).astype(np.float32)
    assert split_error(model, quantized, codes) == split_error(model, quantized, reals)


def test_blocks_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = split_error(*network())
    monkeypatch.setattr("refquant.compare.error_split.BLOCK_ELEMENTS", 2000)
    shares: list[float] = []
    parts = split_error(*network(), progress=shares.append)
    assert len(shares) > 2
    assert shares[-1] == 1
    for one, other in zip(whole.layers, parts.layers, strict=True):
        assert one.end_to_end.total.sqnr_db == pytest.approx(other.end_to_end.total.sqnr_db, rel=1e-9)
        assert one.end_to_end.total.largest == other.end_to_end.total.largest


def test_samples_that_depend_on_earlier_ones_are_not_cut_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    weights = [T(data=rng.normal(0, 1, shape).astype(np.float32)) for shape in ((4, 3), (4, 5))]
    operands = [T((1, 3), "FLOAT32"), *weights, None, T((1, 20), "FLOAT32", variable=True)]
    options = {"rank": 1, "fused_activation_function": "NONE", "asymmetric_quantize_inputs": False}
    model = one_op("SVDF", operands, [T((1, 4), "FLOAT32")], options)
    inputs = rng.normal(0, 1, (12, 3)).astype(np.float32)
    whole = split_error(model, model, inputs, "tflite_opt")
    monkeypatch.setattr("refquant.compare.error_split.BLOCK_ELEMENTS", 1)
    shares: list[float] = []
    assert split_error(model, model, inputs, "tflite_opt", progress=shares.append) == whole
    assert shares == [1]


def test_what_only_one_model_has_is_told() -> None:
    model, quantized, inputs = network()
    shorter = model.with_graph(refquant.load(model.to_bytes()).graph)
    graph = shorter.graph
    shorter = shorter.with_graph(
        type(graph)(graph.tensors, graph.operators[:2], graph.inputs, graph.operators[1].outputs, graph.name)
    )
    found = split_error(shorter, quantized, inputs)
    assert found.unpaired == ("ADD, operator 3 of the quantized model",)
    assert [layer.op for layer in found.layers] == ["CONV_2D", "DEPTHWISE_CONV_2D"]


def test_inputs_that_fit_neither_model() -> None:
    model, quantized, _ = network()
    with pytest.raises(InvalidInput, match="has shape"):
        split_error(model, quantized, np.zeros((3, 5, 5, 2), np.float32))
    other = one_op("ABS", [T((1, 2), "FLOAT32")], [T((1, 2), "FLOAT32")])
    with pytest.raises(InvalidInput, match=r"the float model takes inputs of shapes \[\(1, 2\)\]"):
        split_error(other, quantized)
    with pytest.raises(InvalidInput, match="unknown runtime 'nobody'"):
        split_error(model, quantized, runtime="nobody")
