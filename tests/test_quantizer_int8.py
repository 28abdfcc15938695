"""Quantizing to int8 without TensorFlow: golden files, decisions, conversions, options and refusals."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

import refquant
from converter_oracle_graphs import (
    Builder,
    add,
    conv_2d,
    conv_2d_with,
    described,
    fully_connected,
    max_pool_2d,
    pad,
    relu,
    sin,
    softmax,
)
from refquant.compare import compare_models
from refquant.data import data_file
from refquant.errors import InvalidInput, NotQuantizable
from refquant.model import read_model
from refquant.model.graph import Model, Quantization, Signature
from refquant.quantizer import Calibration, decide_int8, quantize
from refquant.quantizer.int8 import Int8Options
from refquant.quantizer.propagate import Use, drop_redundant_ranges, spread_parameters
from refquant.quantizer.rules import OP_RULES
from refquant.quantizer.why import Why

GOLDEN = {
    "int8": {"input_type": "int8", "output_type": "int8"},
    "int8_floatio": {},
    "uint8": {"input_type": "uint8", "output_type": "uint8"},
    "int8_per_tensor": {"per_channel": False},
    "int8_dense_per_tensor": {"per_channel_dense": False},
}


def golden(name: str) -> Model:
    return refquant.load(data_file(f"golden/models/{name}.tflite"))


@pytest.mark.parametrize("network", ["digits_cnn", "digits_ds"])
@pytest.mark.parametrize("kind", GOLDEN)
def test_golden_conversions(network: str, kind: str) -> None:
    """With the converter's ranges: the same tensors in the same order, names, versions, parameters and data."""
    ranges = Calibration.from_model(golden(f"{network}_calibrated"))
    want = golden(f"{network}_{kind}")
    got = read_model(quantize(golden(f"{network}_float"), ranges, **GOLDEN[kind]).to_bytes())
    comparison = compare_models(got, want)
    print(
        f"{network} {kind}: {comparison.slots} slots, {comparison.elements} constants, {comparison.differing} differing"
    )
    assert comparison.equal, str(comparison)
    assert described(got) == described(want)
    assert [(s.key, s.inputs, s.outputs) for s in got.signatures] == [
        (s.key, s.inputs, s.outputs) for s in want.signatures
    ]


def built(build, seed: int = 0) -> tuple[Model, Calibration]:
    b = Builder(np.random.default_rng(seed))
    outputs = build(b)
    model = b.model(tuple(outputs or ()))
    tensors = tuple(
        replace(t, quantization=Quantization(min=(-1.0 - i,), max=(2.0 + i,))) if t.buffer == 0 else t
        for i, t in enumerate(model.graph.tensors)
    )
    model = model.with_graph(replace(model.graph, tensors=tensors))
    return model, Calibration.from_model(model)


def ops(model: Model) -> list[str]:
    return [operator.name for operator in model.graph.operators]


def test_uint8_input_and_output_are_converted_at_the_border() -> None:
    model, ranges = built(lambda b: relu(b, b.input((1, 4))) and None)
    quantized = quantize(model, ranges, input_type="uint8", output_type="uint8")
    assert ops(quantized) == ["QUANTIZE", "RELU", "QUANTIZE"]
    tensors = quantized.graph.tensors
    first, last = tensors[quantized.graph.inputs[0]], tensors[quantized.graph.outputs[0]]
    inner = tensors[quantized.graph.operators[0].outputs[0]]
    assert (first.type, inner.type, last.type) == ("UINT8", "INT8", "UINT8")
    assert first.quantization.scale == inner.quantization.scale
    assert first.quantization.zero_point[0] == inner.quantization.zero_point[0] + 128


def test_input_and_output_types_are_independent() -> None:
    model, ranges = built(lambda b: relu(b, b.input((1, 4))) and None)
    quantized = quantize(model, ranges, input_type="int8", output_type="float32")
    assert ops(quantized) == ["RELU", "DEQUANTIZE"]


def test_an_operator_outside_the_table_stays_float() -> None:
    model, ranges = built(lambda b: relu(b, sin(b, relu(b, b.input((1, 4)))[0])[0]) and None)
    quantized = quantize(model, ranges)
    assert ops(quantized) == ["QUANTIZE", "RELU", "DEQUANTIZE", "SIN", "QUANTIZE", "RELU", "DEQUANTIZE"]
    decision = decide_int8(model, ranges)
    assert [f.operator for f in decision.float_operators] == [1]
    assert decision.float_operators[0].why.kind == "no int8 form"
    assert [(c.op, c.name, c.why.text) for c in decision.conversions] == [
        ("QUANTIZE", "in0", "the graph's input is float32"),
        ("DEQUANTIZE", "relu0", "operator 1 (SIN) stays float"),
        ("QUANTIZE", "sin1", "operator 1 (SIN) stays float"),
        ("DEQUANTIZE", "relu2", "the graph's output is float32"),
    ]


def test_a_tensor_without_a_range_keeps_its_operators_float() -> None:
    model, ranges = built(lambda b: relu(b, relu(b, relu(b, b.input((1, 4)))[0])[0]) and None)
    ranges = Calibration(tuple(entry for entry in ranges.tensors if entry.tensor != 2))
    decision = decide_int8(model, ranges)
    assert [(f.operator, str(f.why)) for f in decision.float_operators] == [
        (1, "its result 'relu1' has no parameters"),
        (2, "its operand 'relu1' has no parameters"),
    ]


def test_a_shared_bias_is_copied_for_each_use() -> None:
    def build(b: Builder) -> None:
        x = b.input((1, 2, 2, 3))
        bias = b.bias(3)
        for _ in range(2):
            conv_2d_with(b, x, b.weights((3, 1, 1, 3), 0), bias)

    model, ranges = built(build)
    quantized = quantize(model, ranges)
    first, second = (o for o in quantized.graph.operators if o.name == "CONV_2D")
    assert first.inputs[2] != second.inputs[2]


def test_a_same_scale_conflict_is_requantized() -> None:
    """x goes to two concatenations with ranges of their own: one reads it through a QUANTIZE."""

    def build(b: Builder) -> None:
        (x,) = relu(b, b.input((1, 2)))
        for _ in range(2):
            other = b.input((1, 2))
            options = {"axis": 1, "fused_activation_function": "NONE"}
            b.op("CONCATENATION", [x, other], [(1, 4)], options, "ConcatenationOptions")

    model, ranges = built(build)
    decision = decide_int8(model, ranges)
    (requantize,) = decision.requantize
    assert requantize.name == "relu0"
    assert requantize.produced != requantize.parameters
    assert f"requantize relu0: {requantize.produced} -> {requantize.parameters}" in str(decision)
    assert requantize.why.kind == "inherited"
    assert requantize.why.operator == requantize.users[0].operator
    quantized = quantize(model, ranges, input_type="int8", output_type="int8")
    assert ops(quantized).count("QUANTIZE") == 1
    for operator in quantized.graph.operators:
        if operator.name == "CONCATENATION":
            q = [quantized.graph.tensors[t].quantization for t in (*operator.inputs, *operator.outputs)]
            assert len({(p.scale, p.zero_point) for p in q}) == 1


def test_a_pool_inherits_from_its_input_and_a_concatenation_gives_to_its_inputs() -> None:
    def build(b: Builder) -> None:
        (x,) = relu(b, b.input((1, 4, 4, 3)))
        (p,) = max_pool_2d(b, x)
        (r,) = relu(b, p)
        (s,) = relu(b, p)
        options = {"axis": 3, "fused_activation_function": "NONE"}
        b.op("CONCATENATION", [r, s], [(1, 2, 2, 6)], options, "ConcatenationOptions")

    model, ranges = built(build)
    names = {t.name: i for i, t in enumerate(model.graph.tensors)}
    kept = drop_redundant_ranges(model.graph, ranges.for_model(model))
    assert {model.graph.tensors[i].name for i in kept} == {"in0", "relu0", "concatenation4"}
    decision = decide_int8(model, ranges)
    whys = {t.name: t.why for t in decision.tensors}
    assert whys["max_pool_2d1"].text == (
        "inherited: operator 1 (MAX_POOL_2D) has one scale, that of its input 0 'relu0'"
    )
    assert whys["relu2"] == Why(
        "inherited",
        "inherited: operator 4 (CONCATENATION) has one scale, that of its output 0 'concatenation4'",
        4,
        (names["concatenation4"],),
    )
    assert whys["in0"] == Why("calibrated", "calibrated: the range [-1.0, 2.0]", None, (names["in0"],))
    assert names["concatenation4"] in kept


def test_the_order_of_the_worklist_decides() -> None:
    """What TensorFlow does with this graph: nobody comes back to operator 2, so it and operator 3 stay float."""

    def build(b: Builder) -> list[int]:
        x = b.input((1, 2, 2, 1))
        (p,) = pad(b, x)
        (m,) = b.op("MINIMUM", [p, b.constant(np.ones(1, np.float32))], [b.shape(p)])
        (q,) = pad(b, m)
        options = {"axis": 3, "fused_activation_function": "NONE"}
        b.op("CONCATENATION", [q, q, q], [(*b.shape(q)[:-1], 3)], options, "ConcatenationOptions")
        b.op("MAXIMUM", [m, p], [b.shape(p)])
        return [q]

    model, ranges = built(build)
    ranges = Calibration(tuple(entry for entry in ranges.tensors if entry.name in ("in0", "pad0")))
    assert [f.operator for f in decide_int8(model, ranges).float_operators] == [2, 3]


def test_the_decision_is_a_plain_value_that_says_why() -> None:
    def build(b: Builder) -> None:
        (c,) = conv_2d(b, b.input((1, 4, 4, 3)))
        softmax(b, add(b, c)[0])

    model, ranges = built(build)
    decision = decide_int8(model, ranges)
    assert decision == decide_int8(model, ranges)
    with pytest.raises(FrozenInstanceError):
        decision.tensors = ()  # type: ignore[misc]
    text = str(decision)
    assert "weights of operator 0 (CONV_2D): one scale per index of dim 0, max |w| / 127" in text
    assert "bias of operator 0 (CONV_2D): the scale of 'in0' times the scale of 'weights1'" in text
    assert "fixed by operator 2 (SOFTMAX)" in text
    assert "the range of the constant's values, zero included" in text
    assert {t.why.kind for t in decision.tensors} == {"calibrated", "weights", "bias", "constant", "fixed"}
    (bias,) = (t for t in decision.tensors if t.why.kind == "bias")
    assert [model.graph.tensors[t].name for t in bias.why.tensors] == ["in0", "weights1"]
    rules = {t.data_rule for t in decision.tensors}
    assert rules == {None, "weights per channel", "bias", "affine"}


def test_options_choose_the_granularity_of_weights() -> None:
    def build(b: Builder) -> None:
        (c,) = conv_2d(b, b.input((1, 2, 2, 3)))
        fully_connected(b, c)

    model, ranges = built(build, seed=5)

    def scales(**options) -> list[int]:
        quantized = quantize(model, ranges, **options)
        found = [o for o in quantized.graph.operators if o.name in ("CONV_2D", "FULLY_CONNECTED")]
        return [len(quantized.graph.tensors[o.inputs[1]].quantization.scale) for o in found]

    channels = [model.graph.tensors[o.inputs[1]].shape[0] for o in model.graph.operators]
    assert scales() == channels
    assert scales(per_channel_dense=False) == [channels[0], 1]
    assert scales(per_channel=False) == [1, 1]


def test_the_overflow_guard_raises_scales() -> None:
    def build(b: Builder) -> None:
        weights = b.constant(np.array([[[[1e-9]]], [[[1.0]]]], np.float32))
        conv_2d_with(b, b.input((1, 2, 2, 1)), weights, b.constant(np.array([1000.0, 1.0], np.float32)))

    model, ranges = built(build)
    quantized = quantize(model, ranges)
    (conv,) = (o for o in quantized.graph.operators if o.name == "CONV_2D")
    bias = quantized.constant(quantized.graph.tensors[conv.inputs[2]])
    assert bias is not None
    assert abs(int(bias[0])) <= 2**30
    raised = {t.name: t.why for t in decide_int8(model, ranges).tensors if t.why.channels}
    assert {name: (why.kind, why.channels) for name, why in raised.items()} == {
        "const0": ("weights", (0,)),
        "const2": ("bias", (0,)),
    }
    assert all("the scale of 1 of 2 channels raised" in why.text for why in raised.values())


def test_signatures_keep_their_names() -> None:
    model, ranges = built(lambda b: relu(b, b.input((1, 4))) and None)
    signature = Signature("serve", (("image", model.graph.inputs[0]),), (("scores", model.graph.outputs[0]),))
    quantized = quantize(replace(model, signatures=(signature,)), ranges)
    (kept,) = quantized.signatures
    assert kept.inputs == (("image", quantized.graph.inputs[0]),)
    assert kept.outputs == (("scores", quantized.graph.outputs[0]),)


def test_a_quantized_model_can_be_written_read_and_run() -> None:
    def build(b: Builder) -> None:
        (c,) = conv_2d(b, b.input((1, 4, 4, 3)))
        softmax(b, add(b, c)[0])

    model, ranges = built(build)
    quantized = read_model(quantize(model, ranges).to_bytes())
    (output,) = refquant.run(quantized, np.ones((3, 4, 4, 3), np.float32))
    assert output.dtype == np.float32
    assert len(output) == 3


def test_the_float_model_is_left_alone() -> None:
    model, ranges = built(lambda b: conv_2d(b, b.input((1, 4, 4, 3))) and None)
    before = model.to_bytes()
    quantize(model, ranges)
    assert model.to_bytes() == before


def test_unused_inputs_and_returned_inputs() -> None:
    def build(b: Builder) -> list[int]:
        x = b.input((1, 4))
        b.input((1, 3))
        relu(b, x)
        return []

    model, ranges = built(build)
    quantized = quantize(model, ranges, input_type="int8", output_type="int8")
    assert [quantized.graph.tensors[i].type for i in quantized.graph.inputs] == ["INT8", "FLOAT32"]
    same = model.with_graph(replace(model.graph, outputs=(*model.graph.outputs, model.graph.inputs[0])))
    assert quantize(same, ranges).graph.outputs


def test_constants_that_are_not_finite() -> None:
    def with_constant(values: list[float]):
        def build(b: Builder) -> None:
            x = b.input((1, 4))
            b.op(
                "ADD",
                [x, b.constant(np.array(values, np.float32))],
                [(1, 4)],
                {"fused_activation_function": "NONE"},
                "AddOptions",
            )

        return built(build)

    with pytest.raises(NotQuantizable, match=r"operator 0 \(ADD\): constant '.*' holds NaN or infinity"):
        quantize(*with_constant([1.0, np.nan, 0.0, 0.0]))
    assert ops(quantize(*with_constant([-np.inf, 1.0, 0.0, 0.0]))) == ["ADD"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "int4"}, "mode='int4': not built"),
        ({"quantizer": "toco"}, "quantizer='toco': not built"),
        ({"input_type": "int16"}, "input_type='int16'"),
        ({"output_type": "bool"}, "output_type='bool'"),
    ],
)
def test_unknown_options_are_refused(options: dict[str, str], message: str) -> None:
    model, ranges = built(lambda b: relu(b, b.input((1, 4))) and None)
    with pytest.raises(InvalidInput, match=message):
        quantize(model, ranges, **options)


def test_a_quantized_model_is_refused() -> None:
    with pytest.raises(NotQuantizable, match="quantized already"):
        quantize(golden("digits_cnn_int8"), Calibration(()))


def test_operators_with_recipes_of_their_own_are_refused() -> None:
    def build(b: Builder) -> None:
        b.op("BIDIRECTIONAL_SEQUENCE_LSTM", [b.input((1, 4))], [(1, 4)])

    model, ranges = built(build)
    place = r"operator 0 \(BIDIRECTIONAL_SEQUENCE_LSTM\)"
    with pytest.raises(NotQuantizable, match=place + ": its int8 recipe is not built"):
        quantize(model, ranges)


def test_too_wide_a_range_names_its_tensor() -> None:
    model, _ = built(lambda b: relu(b, b.input((1, 4))) and None)
    largest = float(np.finfo(np.float32).max)
    with pytest.raises(NotQuantizable, match=r"tensor 'in0': .* too wide"):
        spread_parameters(model, {0: (-largest, largest), 1: (0.0, 1.0)})


def test_options_are_checked_where_they_are_made() -> None:
    with pytest.raises(InvalidInput):
        Int8Options(input_type="float16")


# the table


def test_rules_are_consistent() -> None:
    for op, rule in OP_RULES.items():
        if rule.bias is not None and rule.weights is not None:
            assert rule.weights.operand in rule.bias.factors, op
        assert not (rule.same_scale and (rule.fixed_output or rule.weights or rule.bias)), op
        assert 1 <= rule.version <= 4, op


def test_the_table_says_what_the_specification_says() -> None:
    fixed = {
        op: (rule.fixed_output.scale, rule.fixed_output.zero_point)
        for op, rule in OP_RULES.items()
        if rule.fixed_output
    }
    assert fixed == {
        "L2_NORMALIZATION": (1 / 128, 0),
        "LOGISTIC": (1 / 256, -128),
        "LOG_SOFTMAX": (16 / 256, 127),
        "SOFTMAX": (1 / 256, -128),
        "TANH": (1 / 128, 0),
    }
    weights = {op: (rule.weights.operand, rule.weights.axis) for op, rule in OP_RULES.items() if rule.weights}
    assert weights == {
        "CONV_2D": (1, 0),
        "DEPTHWISE_CONV_2D": (1, 3),
        "FULLY_CONNECTED": (1, 0),
        "PRELU": (1, -1),
        "TRANSPOSE_CONV": (1, 0),
    }


def test_a_use_of_the_graphs_outputs_is_told_apart() -> None:
    assert Use(None, 0) != Use(0, 0)


@pytest.mark.parametrize("calibration", [None, {}, "ranges.json", {"x": (0.0, 1.0)}])
def test_only_a_calibration_is_a_calibration(calibration: object) -> None:
    with pytest.raises(InvalidInput, match="the calibration must be a Calibration"):
        quantize(data_file("golden/models/digits_cnn_float.tflite"), calibration)


def test_no_ranges_at_all_are_refused() -> None:
    with pytest.raises(NotQuantizable, match="the calibration holds no range"):
        quantize(data_file("golden/models/digits_cnn_float.tflite"), Calibration(()))
