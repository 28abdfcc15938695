"""Quantization-aware models: formulas against slow ones, and small float models with pairs, without TensorFlow."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import refquant
from refquant.cli import app
from refquant.data import data_file
from refquant.errors import InvalidInput, NotQuantizable
from refquant.model.graph import Graph, Model, Operator, Quantization, Tensor
from refquant.quantizer.calibration import Calibration, TensorRange
from refquant.quantizer.parameters import Parameters, quantize_exact
from refquant.quantizer.qat import QatOptions, decide_qat
from refquant.quantizer.qat_draft import Draft as QatDraft
from refquant.quantizer.qat_draft import finished
from refquant.quantizer.qat_parameters import constant_parameters_exact, fake_quantization, nudged
from refquant.quantizer.qat_tidy import tidy
from refquant.quantizer.quantize import decide, quantize

CONV = {
    "padding": "SAME", "stride_w": 1, "stride_h": 1, "fused_activation_function": "NONE", "dilation_w_factor": 1,
    "dilation_h_factor": 1, "quantized_bias_type": "FLOAT32",
}  # fmt: skip
DENSE = {
    "fused_activation_function": "NONE", "weights_format": "DEFAULT", "keep_num_dims": False,
    "asymmetric_quantize_inputs": False, "quantized_bias_type": "FLOAT32",
}  # fmt: skip
WEIGHTS = np.linspace(-1, 0.9, 12, dtype=np.float32).reshape(3, 1, 1, 4)
BIAS = np.float32([0.5, -1.25, 3])


class Draft:
    """A float model with pairs, put together tensor by tensor."""

    def __init__(self) -> None:
        self.tensors: list[Tensor] = []
        self.operators: list[Operator] = []
        self.buffers: list[bytes] = [b""]

    def tensor(self, name: str, *shape: int, type_: str = "FLOAT32", quantization: Quantization | None = None) -> int:
        self.tensors.append(Tensor(name, type_, shape, 0, quantization))
        return len(self.tensors) - 1

    def constant(self, name: str, values: np.ndarray) -> int:
        self.buffers.append(values.tobytes())
        type_ = {"float32": "FLOAT32", "int32": "INT32"}[str(values.dtype)]
        self.tensors.append(Tensor(name, type_, values.shape, len(self.buffers) - 1))
        return len(self.tensors) - 1

    def operator(self, name: str, inputs: tuple[int, ...], shape: tuple[int, ...], options_type: str = "", **options):
        result = self.tensor(name.lower() + str(len(self.operators)), *shape)
        made = Operator(name, inputs, (result,), 1, options_type=options_type or None, options=options)
        self.operators.append(made)
        return result

    def pair(self, tensor: int, low: float, high: float, narrow: bool = False, type_: str = "UINT8") -> int:
        """QUANTIZE and DEQUANTIZE, with the scale of the range rounded to float32."""
        made = fake_quantization([(float(np.float32(low)), float(np.float32(high)))], narrow)
        quantization = Quantization(tuple(map(float, np.float32(made.scale))), (made.zero_point[0] + 128,))
        shape, name = self.tensors[tensor].shape, f"pair{len(self.operators)}"
        quantized = self.tensor(f"{name}q", *shape, type_=type_, quantization=quantization)
        result = self.tensor(f"{name}d", *shape)
        self.operators.append(Operator("QUANTIZE", (tensor,), (quantized,)))
        self.operators.append(Operator("DEQUANTIZE", (quantized,), (result,)))
        return result

    def model(self, inputs: tuple[int, ...], *outputs: int) -> Model:
        return Model((Graph(tuple(self.tensors), tuple(self.operators), inputs, outputs),), tuple(self.buffers))


def convolution(pair_at_input: bool = True, weights_pair: bool = True, type_: str = "UINT8") -> Model:
    """input -> pair -> CONV_2D with weights behind a pair -> pair -> output."""
    draft = Draft()
    x = draft.tensor("x", 1, 2, 2, 4)
    a = draft.pair(x, -1.1, 1.3, type_=type_) if pair_at_input else x
    w = draft.constant("w", WEIGHTS)
    w = draft.pair(w, -1.0, 1.0, narrow=True) if weights_pair else w
    y = draft.operator("CONV_2D", (a, w, draft.constant("b", BIAS)), (1, 2, 2, 3), "Conv2DOptions", **CONV)
    return draft.model((x,), draft.pair(y, -0.3, 7.7))


def ranges_of(model: Model, limits: dict[str, tuple[float, float]]) -> Calibration:
    entries = []
    for index, tensor in enumerate(model.graph.tensors):
        if tensor.name in limits:
            low, high = (float(np.float32(end)) for end in limits[tensor.name])
            entries.append(TensorRange(index, tensor.name, low, high))
    return Calibration(tuple(entries))


# formulas

ends = st.floats(-1e4, 1e4, width=32)
limits = st.tuples(ends, ends).map(lambda pair: (min(pair), max(pair)))
symmetric = st.floats(2.0**-20, 1e4, width=32).map(lambda end: (-end, end))  # half-way between two zero points
INTEGERS = ((0, 255), (1, 255), (-128, 127), (-127, 127))


def slow_nudged(low: float, high: float, qmin: int, qmax: int) -> tuple[float, set[int]]:
    """The scale, and the zero point by the end that has the smaller error; by both ends if they have the same."""
    if high - low <= 1e-6:
        low, high = min(low, -5e-7), max(high, 5e-7)
    scale = (high - low) / (qmax - qmin)
    errors = [abs(q) + abs(Fraction(end) / Fraction(scale)) for q, end in ((qmin, low), (qmax, high))]
    by_end = [Decimal(q - end / scale) for q, end in ((qmin, low), (qmax, high))]
    limited = [min(max(zero, Decimal(qmin)), Decimal(qmax)) for zero in by_end]
    rounded = [int(zero.quantize(Decimal(1), ROUND_HALF_UP)) for zero in limited]
    if abs(errors[0] - errors[1]) < Fraction(1, 10**9):
        return scale, set(rounded)
    return scale, {rounded[0] if errors[0] < errors[1] else rounded[1]}


@settings(max_examples=300)
@given(limits | symmetric, st.sampled_from(INTEGERS))
def test_the_zero_point_follows_from_the_better_conditioned_end(
    pair: tuple[float, float], integers: tuple[int, int]
) -> None:
    scale, zero_points = slow_nudged(*pair, *integers)
    got = nudged(*pair, *integers)
    assert got[0] == scale
    assert got[1] in zero_points


@pytest.mark.parametrize(("end", "by_the_low_end"), [(8.134570121765137, 127), (9.12842845916748, 128)])
def test_the_end_matters_to_one_symmetric_range_in_seven(end: float, by_the_low_end: int) -> None:
    """The zero point of 0 to 255 follows from the low end, that of -128 to 127 from the high one."""
    assert nudged(-end, end, 0, 255)[1] == by_the_low_end
    assert nudged(-end, end, -128, 127)[1] == {127: 0, 128: -1}[by_the_low_end]


@pytest.mark.parametrize(
    ("pair", "narrow", "scale", "zero_point"),
    [
        ((0.0, 6.0), False, 6 / 255, -128),
        ((0.3, 2.7), False, (2.7 - 0.3) / 255, -128),  # zero is not added
        ((-5.0, -1.0), False, 4 / 255, 127),
        ((-1.0, 1.0), True, 2 / 254, 0),
        ((-1.0, 1.0), False, 2 / 255, 0),  # 127.5 rounds away from zero
        ((0.0, 5e-7), False, 1e-6 / 255, -1),  # widened to [-5e-7, 5e-7]
        ((0.0, 0.0), True, 1e-6 / 254, 0),
    ],
)
def test_fake_quantization(pair: tuple[float, float], narrow: bool, scale: float, zero_point: int) -> None:
    made = fake_quantization([pair], narrow)
    assert made == Parameters("INT8", (scale,), (zero_point,), None, narrow)
    assert made.exact


def test_fake_quantization_per_channel() -> None:
    made = fake_quantization([(-1.0, 1.0), (-2.0, 1.0)], False, axis=3)
    assert (made.scale, made.zero_point, made.axis) == ((2 / 255, 3 / 255), (0, 42), 3)


def test_constants_are_quantized_with_scales_that_are_not_rounded() -> None:
    made = constant_parameters_exact(np.float32([0.1, 0.7]))
    assert made == Parameters("INT8", (float(np.float32(0.7)) / 255,), (-128,))
    assert quantize_exact(np.float32([0.1, 0.7]), made).tolist() == [-92, 127]
    bias = Parameters("INT32", (0.1,), (0,), exact=True)
    assert quantize_exact(np.float32([0.05, -0.25, 1e12]), bias).tolist() == [1, -3, 2**31 - 1]  # f32(0.05) > 0.05


def test_bias_scales_are_products_in_float64() -> None:
    model = convolution()
    limits = {"pair0q": (-1.1, 1.3), "pair2q": (-1.0, 1.0), "pair5q": (-0.3, 7.7)}
    decision = decide_qat(model, ranges_of(model, limits))
    low, high = float(np.float32(-1.1)), float(np.float32(1.3))
    bias = next(entry for entry in decision.tensors if entry.name == "b")
    assert bias.parameters.scale == ((high - low) / 255 * (2 / 254),)
    assert "one ulp" not in str(decision)
    rounded = decide_qat(model)
    bias = next(entry for entry in rounded.tensors if entry.name == "b")
    assert bias.parameters.scale == (float(np.float32((high - low) / 255)) * float(np.float32(2 / 254)),)
    assert "one ulp" in str(bias.why)
    assert bias.why.operator == 4  # among those of the file


# models


def ops(model: Model) -> list[str]:
    return [operator.name for operator in model.graph.operators]


def test_a_convolution_becomes_int8() -> None:
    made = quantize(convolution(), mode="qat")
    assert ops(made) == ["QUANTIZE", "CONV_2D", "DEQUANTIZE"]
    by_name = {tensor.name: tensor for tensor in made.graph.tensors}
    assert (by_name["w"].type, by_name["b"].type, by_name["pair0q"].type) == ("INT8", "INT32", "INT8")
    assert by_name["conv_2d4"].quantization.zero_point == (-118,)
    steps = np.round(WEIGHTS.astype(np.float64) / (1 / 127)).astype(np.int8)
    assert np.array_equal(made.constant(by_name["w"]), steps)
    assert [made.graph.tensors[t].name for t in made.graph.outputs] == ["pair5d"]
    assert refquant.load(made.to_bytes()).graph.operators == made.graph.operators


@pytest.mark.parametrize("io", ["int8", "uint8"])
def test_integer_inputs_and_outputs(io: str) -> None:
    made = quantize(convolution(), mode="qat", input_type=io, output_type=io)
    graph = made.graph
    assert {graph.tensors[t].type for t in (*graph.inputs, *graph.outputs)} == {io.upper()}
    assert ops(made) == (["CONV_2D"] if io == "int8" else ["QUANTIZE", "CONV_2D", "QUANTIZE"])


def test_without_a_pair_at_its_input_an_operator_stays_float_and_so_do_its_weights() -> None:
    made = quantize(convolution(pair_at_input=False), mode="qat")
    assert ops(made) == ["CONV_2D", "QUANTIZE", "DEQUANTIZE"]
    assert np.array_equal(made.constant(made.graph.tensors[made.graph.operators[0].inputs[1]]), WEIGHTS)
    with pytest.raises(NotQuantizable, match=r"operator 2 \(CONV_2D\) .*no parameters"):
        quantize(convolution(pair_at_input=False), mode="qat", allow_float=False)


def test_weights_without_a_pair_get_a_scale_per_channel() -> None:
    made = quantize(convolution(weights_pair=False), mode="qat")
    weights = made.graph.tensors[made.graph.operators[1].inputs[1]].quantization
    largest = np.abs(WEIGHTS).max(axis=(1, 2, 3)).astype(np.float64)
    assert weights.scale == tuple(np.float32(2 * largest / 254).tolist())


def test_a_pair_at_a_tensor_that_others_read_is_an_operator_of_its_own() -> None:
    draft = Draft()
    x = draft.tensor("x", 1, 4)
    y = draft.operator("ABS", (draft.pair(x, -1.0, 1.0),), (1, 4))
    z = draft.operator("ABS", (draft.pair(y, -2.0, 2.0),), (1, 4))
    made = quantize(draft.model((x,), draft.operator("SIN", (y,), (1, 4)), draft.pair(z, 0.0, 3.0)), mode="qat")
    assert ops(made) == ["QUANTIZE", "DEQUANTIZE", "ABS", "QUANTIZE", "SIN", "ABS", "DEQUANTIZE"] or ops(made) == [
        "QUANTIZE", "DEQUANTIZE", "ABS", "QUANTIZE", "ABS", "DEQUANTIZE", "SIN",
    ]  # fmt: skip
    assert "FAKE_QUANT" not in ops(made)


def test_an_output_before_its_pair_is_given_out_behind_it() -> None:
    draft = Draft()
    x = draft.tensor("x", 1, 4)
    y = draft.operator("ABS", (draft.pair(x, -1.0, 1.0),), (1, 4))
    made = quantize(draft.model((x,), y, draft.pair(y, 0.0, 1.0)), mode="qat")
    assert ops(made) == ["QUANTIZE", "ABS", "DEQUANTIZE"]
    assert len(set(made.graph.outputs)) == 1


def test_an_activation_behind_a_pair_is_fused() -> None:
    draft = Draft()
    x = draft.tensor("x", 1, 2, 2, 4)
    w = draft.pair(draft.constant("w", WEIGHTS), -1.0, 1.0)
    parts = (draft.pair(x, -1.0, 1.0), w, draft.constant("b", BIAS))
    y = draft.pair(draft.operator("CONV_2D", parts, (1, 2, 2, 3), "Conv2DOptions", **CONV), -4.0, 4.0)
    made = quantize(draft.model((x,), draft.pair(draft.operator("RELU", (y,), (1, 2, 2, 3)), 0.0, 3.0)), mode="qat")
    assert ops(made) == ["QUANTIZE", "CONV_2D", "DEQUANTIZE"]
    convolution_ = made.graph.operators[1]
    assert convolution_.options["fused_activation_function"] == "RELU"
    assert made.graph.tensors[convolution_.outputs[0]].quantization.scale == (float(np.float32(3 / 255)),)


def test_reshapes_around_a_dense_layer_go() -> None:
    draft = Draft()
    x = draft.tensor("x", 1, 2, 2, 4)
    shape = draft.constant("shape", np.int32([4, 4]))
    back = draft.constant("back", np.int32([1, 2, 2, 3]))
    rows = draft.operator("RESHAPE", (draft.pair(x, -1.0, 1.0), shape), (4, 4))
    w = draft.pair(draft.constant("w", WEIGHTS.reshape(3, 4)), -1.0, 1.0)
    y = draft.operator(
        "FULLY_CONNECTED", (rows, w, draft.constant("b", BIAS)), (4, 3), "FullyConnectedOptions", **DENSE
    )
    made = quantize(
        draft.model((x,), draft.pair(draft.operator("RESHAPE", (y, back), (1, 2, 2, 3)), -5.0, 5.0)), mode="qat"
    )
    assert ops(made) == ["QUANTIZE", "FULLY_CONNECTED", "DEQUANTIZE"]
    dense = made.graph.operators[1]
    assert (dense.options["keep_num_dims"], dense.version) == (True, 5)


def test_constants_that_are_moved_are_moved_once_and_for_all() -> None:
    draft = Draft()
    x = draft.tensor("x", 1, 2, 2, 4)
    w = draft.pair(draft.constant("w", WEIGHTS.reshape(1, 1, 4, 3)), -1.0, 1.0)
    moved = draft.operator("TRANSPOSE", (w, draft.constant("order", np.int32([3, 0, 1, 2]))), (3, 1, 1, 4))
    parts = (draft.pair(x, -1.0, 1.0), moved, draft.constant("b", BIAS))
    y = draft.operator("CONV_2D", parts, (1, 2, 2, 3), "Conv2DOptions", **CONV)
    made = quantize(draft.model((x,), draft.pair(y, -4.0, 4.0)), mode="qat")
    assert ops(made) == ["QUANTIZE", "CONV_2D", "DEQUANTIZE"]
    weights = made.constant(made.graph.tensors[made.graph.operators[1].inputs[1]])
    assert weights.shape == (3, 1, 1, 4)
    assert np.array_equal(weights, np.round(WEIGHTS.reshape(1, 1, 4, 3).transpose(3, 0, 1, 2) / (2 / 255)))


def test_tidying_a_tidy_model_changes_nothing() -> None:
    made = quantize(convolution(), mode="qat")
    draft = QatDraft.of(made)
    tidy(draft)
    assert finished(draft).graph == made.graph


# inputs and outputs that are not float32


def tanh_and_a_pair(float_reader: bool = False) -> Model:
    """input -> TANH, which stays float -> pair -> output: the pair's QUANTIZE stands behind that of TANH's range."""
    draft = Draft()
    x = draft.tensor("x", 1, 4)
    y = draft.pair(draft.operator("TANH", (x,), (1, 4)), -2.0, 2.0)
    outputs = (y, draft.operator("SIN", (y,), (1, 4))) if float_reader else (y,)
    return draft.model((x,), *outputs)


def test_of_two_conversions_in_a_row_only_the_second_one_stays() -> None:
    assert ops(quantize(tanh_and_a_pair(), mode="qat")) == ["TANH", "QUANTIZE", "QUANTIZE", "DEQUANTIZE"]
    assert ops(quantize(tanh_and_a_pair(), mode="qat", output_type="int8")) == ["TANH", "QUANTIZE"]
    made = quantize(tanh_and_a_pair(), mode="qat", output_type="uint8")
    assert ops(made) == ["TANH", "QUANTIZE"]
    output = made.graph.tensors[made.graph.outputs[0]]
    assert (output.type, output.quantization.zero_point) == ("UINT8", (128,))
    # what float32 input and output make of it: a conversion there and back again goes, too
    assert ops(quantize(tanh_and_a_pair(), mode="qat", input_type="int8")) == ["TANH"]


@pytest.mark.parametrize("io", ["int8", "uint8"])
def test_an_output_that_is_read_as_float_too_keeps_its_conversion(io: str) -> None:
    made = quantize(tanh_and_a_pair(float_reader=True), mode="qat", output_type=io)
    assert {"DEQUANTIZE", "SIN"} <= set(ops(made))
    assert [made.graph.tensors[t].type for t in made.graph.outputs] == [io.upper(), "FLOAT32"]
    assert refquant.run(made, np.float32([[0.1, -0.2, 0.3, 4]]))


def test_an_input_that_is_read_as_float_too_stays_float32() -> None:
    draft = Draft()
    x = draft.tensor("x", 1, 4)
    y = draft.operator("ABS", (draft.pair(x, -1.0, 1.0),), (1, 4))
    model = draft.model((x,), draft.pair(y, 0.0, 1.0), draft.operator("SIN", (x,), (1, 4)))
    quantize(model, mode="qat")
    with pytest.raises(NotQuantizable, match="input 'x' is read as float32, too"):
        quantize(model, mode="qat", input_type="int8")


def test_integer_borders_of_a_float_model_are_refused() -> None:
    draft = Draft()
    x = draft.tensor("x", 1, 2, 2, 4)
    w = draft.pair(draft.constant("w", WEIGHTS), -1.0, 1.0)
    y = draft.operator("CONV_2D", (x, w, draft.constant("b", BIAS)), (1, 2, 2, 3), "Conv2DOptions", **CONV)
    with pytest.raises(NotQuantizable, match="input_type='int8': 'x' stays float32, as the model has no QUANTIZE"):
        quantize(draft.model((x,), y), mode="qat", input_type="int8")
    with pytest.raises(NotQuantizable, match=r"output_type='uint8'.*no DEQUANTIZE"):
        quantize(draft.model((x,), y), mode="qat", output_type="uint8")


# what is refused


def test_a_model_without_pairs_is_refused() -> None:
    draft = Draft()
    x = draft.tensor("x", 1, 4)
    with pytest.raises(NotQuantizable, match="no QUANTIZE and DEQUANTIZE pair"):
        quantize(draft.model((x,), draft.operator("ABS", (x,), (1, 4))), mode="qat")


def test_an_integer_model_is_refused() -> None:
    with pytest.raises(NotQuantizable, match="quantized already"):
        quantize(quantize(convolution(), mode="qat"), mode="qat")


@pytest.mark.parametrize("type_", ["UINT4", "UINT16"])
def test_other_numbers_of_bits_are_refused(type_: str) -> None:
    with pytest.raises(NotQuantizable, match=f"operator 0 .*{type_}.*5 to 8 bits"):
        quantize(convolution(type_=type_), mode="qat")


@pytest.mark.parametrize("fields", [{"inputs": ()}, {"inputs": (-1,)}, {"inputs": (0, 0)}, {"outputs": ()}])
@pytest.mark.parametrize("position", [0, 1])
def test_conversions_of_other_than_one_tensor_are_refused(position: int, fields: dict[str, tuple[int, ...]]) -> None:
    model = convolution()
    operators = list(model.graph.operators)
    operators[position] = replace(operators[position], **fields)
    with pytest.raises(NotQuantizable, match=rf"operator {position} \(\w+QUANTIZE|operator 0 \(QUANTIZE\)"):
        quantize(model.with_graph(replace(model.graph, operators=tuple(operators))), mode="qat")


RANGES = {"pair0q": (-1.1, 1.3), "pair2q": (-1.0, 1.0), "pair5q": (-0.3, 7.7)}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"pair0q": (-1.1, 1.4)}, "the range of 'pair0q' does not give the scale"),
        ({"x": (-1.1, 1.3)}, "a range of 'x', which no QUANTIZE gives"),
        ({"pair5q": None}, "no range of 'pair5q'"),
    ],
)
def test_ranges_of_something_else_are_refused(changed: dict, message: str) -> None:
    model = convolution()
    limits = {name: pair for name, pair in {**RANGES, **changed}.items() if pair is not None}
    with pytest.raises(InvalidInput, match=message):
        quantize(model, ranges_of(model, limits), mode="qat")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"per_channel": False}, "per_channel=False"),
        ({"denied_ops": ["CONV_2D"]}, "denied_ops"),
        ({"bias_type": "int64"}, "bias_type='int64'"),
        ({"input_type": "int16"}, "input_type='int16'"),
        ({"quantizer": "legacy"}, "quantizer='legacy'"),
    ],
)
def test_options_that_the_converter_has_not_are_refused(options: dict, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        decide(convolution(), mode="qat", **options)
    with pytest.raises(InvalidInput):
        QatOptions(input_type="int4")


# ranges in files, and the command line


def test_scales_of_channels_are_kept_in_the_file(tmp_path: Path) -> None:
    entry = TensorRange(3, "w", -1.0, 1.0, scale=(2 / 254, 0.1))
    Calibration((entry,)).save(tmp_path / "ranges.json")
    assert Calibration.load(tmp_path / "ranges.json").tensors == (entry,)
    with pytest.raises(InvalidInput, match="cannot be merged"):
        Calibration((entry,)).merge(Calibration((entry,)))
    with pytest.raises(InvalidInput, match="positive"):
        replace(entry, scale=(0.0,))


def test_the_command_line_tells_of_rounded_scales(tmp_path: Path) -> None:
    model = convolution()
    refquant.save(model, tmp_path / "qat.tflite")
    ranges_of(model, RANGES).save(tmp_path / "ranges.json")
    arguments = ["quantize", str(tmp_path / "qat.tflite"), "--mode", "qat", "-o", str(tmp_path / "int8.tflite")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0
    assert "one ulp" in " ".join(done.output.split())
    done = CliRunner().invoke(app, [*arguments, "--calibration", str(tmp_path / "ranges.json")])
    assert done.exit_code == 0
    assert "one ulp" not in " ".join(done.output.split())


def test_the_evidence_is_whole() -> None:
    """golden/qat.json: three networks, every question and fifty random graphs, nothing differing."""
    parts = json.loads(data_file("golden/qat.json").read_text())["parts"]
    assert sorted(parts["networks"]) == ["depthwise", "mnist", "residual"]
    assert len(parts["questions"]) > 10
    assert sum(row["models"] for row in parts["graphs"].values()) >= 50
    rows = [row for entries in parts.values() for row in entries.values()]
    assert not any(row["differing"] for row in rows)
    assert all(row["models"] > 0 and row["slots"] > 0 for row in rows)
