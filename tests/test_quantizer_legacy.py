"""The old quantizer without TensorFlow: its table, its formulas, what it tells, what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import legacy_graphs
import refquant
from converter_oracle_graphs import NONE, Builder
from legacy_graphs import IMAGE, ROW, add, concatenate, conv, exactly, integers, legacy_graph, numbers, unary
from refquant import cli
from refquant.compare import compare_models
from refquant.data import data_file
from refquant.errors import InvalidInput, NotQuantizable
from refquant.model import read_model
from refquant.model.graph import Graph, Model, Quantization
from refquant.quantizer import Calibration, quantize
from refquant.quantizer.legacy import Decision, LegacyOptions, apply, decide_legacy
from refquant.quantizer.legacy.activation import ACTIVATION_TYPES
from refquant.quantizer.legacy.arithmetic import (
    LOOPS,
    Scaling,
    Shift,
    asymmetric,
    bias_scaling,
    channel_ranges,
    int16_scaling,
    rescaling,
    rewrite,
    symmetric,
    weights_per_channel,
    weights_per_tensor,
    widened_for_bias,
)
from refquant.quantizer.legacy.properties import PROPERTIES
from refquant.quantizer.recurrent import LSTM_OPS

BELOW_HALF = float(np.nextafter(np.float32(0.5), np.float32(0)))


def decided(model: Model, **options: object) -> Decision:
    return decide_legacy(model, Calibration.from_model(model), LegacyOptions(**options))


def quantized(model: Model, **options: object) -> Model:
    """As TensorFlow does it; test_quantizer_defects.py has what refquant does otherwise."""
    options = {"quantizer": "legacy", "reproduce_defects": True, **options}
    return quantize(model, Calibration.from_model(model), **options)


def built(build: object, seed: int = 0) -> Model:
    return legacy_graph(build, np.random.default_rng(seed))


def tensor_named(model: Model, name: str) -> refquant.model.Tensor:
    return next(tensor for tensor in model.graph.tensors if tensor.name == name)


# the table


def test_rows_are_consistent() -> None:
    """What the steps take for granted of every row."""
    activations = {record.type for record in ACTIVATION_TYPES.values()}
    for op, row in PROPERTIES.items():
        assert not (row.operands and row.any_operands), op
        assert set(row.types) <= activations, op
        assert set(row.fixed) in (set(), set(row.types)), op
        assert not row.biases or len(row.operands) == 2, op
        assert not row.same_scale or row.operands or row.any_operands, op
        assert not (row.fixed and row.same_scale), op
    assert not set(LSTM_OPS) & set(PROPERTIES)  # their rows depend on their operands
    assert "SQRT" not in PROPERTIES  # newer sources have a row


def test_sixteen_bits_are_for_fewer_ops() -> None:
    narrow = {op for op, row in PROPERTIES.items() if row.types == ("INT8",)}
    assert narrow == {
        "ARG_MAX", "DEPTH_TO_SPACE", "EQUAL", "GREATER", "GREATER_EQUAL", "HARD_SWISH", "L2_NORMALIZATION", "LESS",
        "LESS_EQUAL", "LOG_SOFTMAX", "NOT_EQUAL", "PRELU", "RELU_N1_TO_1", "SPACE_TO_DEPTH", "SVDF",
    }  # fmt: skip


# the formulas, with numbers that TensorFlow gave


@pytest.mark.parametrize(
    ("limits", "scale", "zero_point"),
    [
        ((-1.0, 1.0), 2 / 255, -1),
        ((0.5, 1.0), 1 / 255, -128),
        ((-1.0, -0.5), 1 / 255, 127),
        ((0.0, 0.0), 0.0, -128),
        ((0.0, 1e-45), 0.0, -128),
        ((-9.99994610111476e-41, 9.99994610111476e-41), 7.847271400218976e-43, -1),
    ],
)
def test_int8_parameters(limits: tuple[float, float], scale: float, zero_point: int) -> None:
    """No range is widened, not even one of zero."""
    q = asymmetric(*limits)
    assert (q.scale, q.zero_point) == ((float(np.float32(scale)),), (zero_point,))
    assert (q.min[0], q.max[0]) == (min(limits[0], 0), max(limits[1], 0))


def test_int16_parameters() -> None:
    q = symmetric(-3.0, 2.0)
    assert (q.scale, q.zero_point) == ((float(np.float32(3) / np.float32(32767)),), (0,))
    assert symmetric(0.0, 0.0).scale == (0.0,)


def test_weights_of_zero() -> None:
    """A channel of zeros has the scale 0, a tensor of zeros the scale 1."""
    values = np.array([[0.0, 0.0], [1.0, -2.0]], np.float32)
    scale, rule = weights_per_channel(*channel_ranges(values, 0), 0)
    assert scale == (0.0, float(np.float32(2) / np.float32(127)))
    assert rewrite(values, rule).tolist() == [[0, 0], [64, -127]]
    assert weights_per_tensor((0.0, 0.0))[0] == 1.0
    assert rewrite(values[:1], weights_per_tensor((0.0, 0.0))[1]).tolist() == [[0, 0]]


@pytest.mark.parametrize("value", [BELOW_HALF, -BELOW_HALF])
def test_vector_instructions_round_the_number_below_a_half_up(value: float) -> None:
    """Of 37 weights per tensor 32 go through blocks of 8."""
    values = np.append(np.full(37, value), 127).astype(np.float32)
    _, per_tensor = weights_per_tensor((-127.0, 127.0))
    assert rewrite(values, per_tensor).tolist() == [int(np.sign(value))] * 32 + [0] * 5 + [127]
    _, per_channel = weights_per_channel((-127.0,), (127.0,), 0)
    for rule in (per_channel, int16_scaling(1.0), bias_scaling((1.0,), "INT32")):
        assert rewrite(values, rule).tolist() == [0] * 37 + [127]


@pytest.mark.parametrize(
    ("loop", "size", "above", "below", "nothing"),
    [
        # (elements in blocks, elements behind them)
        ("weights", 17, [127] * 16 + [-127], [-127] * 17, [-127] * 17),
        ("channels", 17, [0] * 17, [0] * 17, [0] * 17),
        ("int16", 17, [-32767] * 17, [-32767] * 17, [-32767] * 17),
        ("bias", 17, [2**31 - 1] * 17, [1 - 2**31] * 17, [0] * 17),
    ],
)
def test_beyond_int32(loop: str, size: int, above: list[int], below: list[int], nothing: list[int]) -> None:
    """As TensorFlow does it on x86-64, where an infinite factor meets numbers of both signs and zeros."""
    types = {"int16": ("INT16", 32767), "bias": ("INT32", 2**31 - 1)}
    type_, limit = types.get(loop, ("INT8", 127))
    rule = Scaling(type_, loop, (float("inf"),), limit)
    for value, want in ((1.0, above), (-1.0, below), (0.0, nothing)):
        assert rewrite(np.full(size, value, np.float32), rule).tolist() == want


def test_shifted_beyond_int32() -> None:
    """int8 saturates behind the last block, of 16 or 8; int16 takes the lowest value, whatever the sign."""
    old, new = Quantization((1.0,), (0,)), Quantization((1e-9,), (5,))
    for sign, last in ((1, 127), (-1, -128), (0, 5)):
        values = np.full(25, 127 * sign, np.int8)
        inside = [-128 if sign else 5]
        assert rewrite(values, rescaling("INT8", old, new)).tolist() == inside * 16 + [last] * 9
        shifted = rewrite(values.astype(np.float32), Shift("assigned", 1e9, 5))
        assert shifted.tolist() == inside * 24 + [last]
        wide = rewrite(values.astype(np.int16), rescaling("INT16", old, replace(new, zero_point=(0,))))
        assert wide.tolist() == ([-32767] if sign else [0]) * 25
    assert rewrite(np.zeros(17, np.float32), Shift("rescaled", np.inf, 5)).tolist() == [-128] * 16 + [0]
    assert {"weights", "channels", "int16", "bias", "rescaled", "assigned", "saturating"} <= set(LOOPS)


def test_room_for_biases() -> None:
    """One channel of two is widened; with one channel the condition is on the largest bias."""
    low, high = (-1.0, -1.0), (1.0, 1.0)
    limit = 0.5 / 127 * (2**31 - 1)
    bias = np.array([limit * 0.999, limit * 1.001], np.float32)
    wide = widened_for_bias(low, high, bias, 1.0)
    assert wide[1][0] == 1.0
    assert wide[1][1] == pytest.approx(1.001)
    assert wide[0] == (-1.0, -wide[1][1])
    assert widened_for_bias((-1.0,), (1.0,), bias[:1], 1.0) == ((-1.0,), (1.0,))
    assert widened_for_bias((-1.0,), (1.0,), bias, 1.0)[1] == (wide[1][1],)


# the Decision


def test_the_decision_tells_why() -> None:
    b = Builder(np.random.default_rng(0))
    x = b.input(IMAGE)
    y = conv(b, x, b.weights((4, 1, 1, 4), 0), b.bias(4))
    s = unary(b, "SOFTMAX", y)
    unary(b, "SIN", legacy_graphs.pool(b, y))
    concatenate(b, s, y)
    decision = decided(b.model())
    kinds = {tensor.name: tensor.why.kind for tensor in decision.tensors}
    assert kinds == {
        "in0": "calibrated", "weights1": "weights", "bias2": "bias", "conv_2d0": "calibrated", "softmax1": "fixed",
        "average_pool_2d2": "inherited", "concatenation4": "calibrated",
    }  # fmt: skip
    assert [(f.operator, f.name, f.why.kind) for f in decision.float_operators] == [(3, "SIN", "no int8 form")]
    assert [(r.name, r.why.kind, [u.operator for u in r.users]) for r in decision.requantize] == [
        ("conv_2d0", "inherited", [4]),
        ("softmax1", "inherited", [4]),
    ]
    converted = [(c.op, c.name, c.why.kind, c.before, c.after) for c in decision.conversions]
    assert converted == [
        ("QUANTIZE", "in0", "input type", "FLOAT32", "INT8"),
        ("DEQUANTIZE", "average_pool_2d2", "float operator", "INT8", "FLOAT32"),
        ("DEQUANTIZE", "concatenation4", "output type", "INT8", "FLOAT32"),
    ]
    assert [c.producer for c in decision.conversions] == [None, 2, 4]
    text = str(decision)
    assert "weights1: INT8 scale 4 x [" in text
    assert "softmax1: INT8 scale 0.00390625 zero point -128 (fixed by operator 1 (SOFTMAX))" in text
    assert "float: operator 3 (SIN): the old quantizer's table has no row of SIN" in text


def test_decide_and_apply_are_what_quantize_does() -> None:
    model = built(legacy_graphs.shared_bias)
    decision = refquant.decide(model, Calibration.from_model(model), quantizer="legacy", reproduce_defects=True)
    assert isinstance(decision, Decision)
    assert apply(model, decision) == quantized(model)
    constants = [tensor for tensor in decision.tensors if tensor.data_rule is not None]
    assert {tensor.name for tensor in constants} == {"weights3", "weights5", "bias1"}


def test_names_order_and_versions() -> None:
    """Tensors keep their places; a join's operands are requantized the last one first, and QUANTIZE is version 2."""
    b = Builder(np.random.default_rng(1))
    x = b.input(ROW)
    concatenate(b, x, unary(b, "TANH", x))
    model = quantized(b.model())
    assert [tensor.name for tensor in model.graph.tensors] == [
        "in0_int8", "tanh0", "concatenation1_int8", "in0_requantized", "tanh0_requantized", "in0", "concatenation1",
    ]  # fmt: skip
    assert [(o.name, o.version, o.inputs, o.outputs) for o in model.graph.operators] == [
        ("QUANTIZE", 2, (5,), (0,)),
        ("TANH", 2, (0,), (1,)),
        ("QUANTIZE", 2, (1,), (4,)),
        ("QUANTIZE", 2, (0,), (3,)),
        ("CONCATENATION", 2, (3, 4), (2,)),
        ("DEQUANTIZE", 2, (2,), (6,)),
    ]
    read_model(model.to_bytes())


def test_inputs_and_outputs_of_uint8() -> None:
    """The same scale, the zero point 128 higher; signatures follow."""
    b = Builder(np.random.default_rng(1))
    unary(b, "RELU", b.input(ROW))
    source = b.model()
    signature = refquant.model.Signature("f", (("x", 0),), (("y", 1),))
    model = quantized(replace(source, signatures=(signature,)), input_type="uint8", output_type="uint8")
    outside, inside = model.graph.tensors[model.graph.inputs[0]], tensor_named(model, "in0_int8")
    assert (outside.name, outside.type) == ("in0", "UINT8")
    assert outside.quantization.scale == inside.quantization.scale
    assert outside.quantization.zero_point[0] == inside.quantization.zero_point[0] + 128
    assert model.signatures[0].inputs == (("x", model.graph.inputs[0]),)
    assert model.signatures[0].outputs == (("y", model.graph.outputs[0]),)


def test_ranges_stay_in_the_tensors() -> None:
    """Zero included; a fixed result has none, a same-scale result its operand's."""
    b = Builder(np.random.default_rng(1))
    x = b.input(IMAGE)
    legacy_graphs.with_range(b, x, 1, 2)
    legacy_graphs.pool(b, x)
    unary(b, "SOFTMAX", x)
    model = quantized(b.model(), input_type="int8", output_type="int8")
    ranges = {t.name: (t.quantization.min, t.quantization.max) for t in model.graph.tensors}
    assert ranges == {"in0": ((0,), (2,)), "average_pool_2d0": ((0,), (2,)), "softmax1": ((), ())}


# int16


def test_sixteen_by_eight() -> None:
    """int8 weights, int64 or int32 biases, int16 for all else, also for constants; options say so."""
    b = Builder(np.random.default_rng(1))
    x = b.input(IMAGE)
    add(b, conv(b, x, b.weights((4, 1, 1, 4), 0), b.bias(4)), numbers(b, (4,)))
    for bias_type in ("int64", "int32"):
        for quantizer in ("legacy", "mlir"):  # the converter has no other quantizer for it
            options = {"mode": "int16x8", "quantizer": quantizer, "bias_type": bias_type, "input_type": "int16"}
            model = quantize(b.model(), Calibration.from_model(b.model()), **options)
            types = {tensor.name: tensor.type for tensor in model.graph.tensors}
            assert types == {
                "in0": "INT16", "weights1": "INT8", "bias2": bias_type.upper(), "conv_2d0": "INT16",
                "const4": "INT16", "add1_int16": "INT16", "add1": "FLOAT32",
            }  # fmt: skip
            assert model.graph.operators[0].options["quantized_bias_type"] == bias_type.upper()
            assert model.graph.operators[1].options["pot_scale_int16"] is False


def test_a_limit_beyond_int32_turns_round_in_int16() -> None:
    """MINIMUM with the largest float32: in int16 steps of the result it becomes the lowest number."""
    constants = {}
    for mode in ("int8", "int16x8"):
        model = quantized(built(legacy_graphs.limits_beyond_int32), mode=mode)
        constants[mode] = [int(model.constant(tensor)) for tensor in model.graph.tensors if tensor.buffer]
    assert constants == {"int8": [127, -128], "int16x8": [-32767, -32767]}


# the command line


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = data_file("golden/models/digits_cnn_calibrated.tflite"), tmp_path / "out.tflite"

    def call(*arguments: str) -> dict[str, object]:
        command = ["refquant", "quantize", str(source), "--ranges-from", str(source), "--json", *arguments]
        monkeypatch.setattr("sys.argv", command)
        with pytest.raises(SystemExit) as raised:
            cli.main()
        captured = capsys.readouterr()
        assert not raised.value.code, captured.err
        return json.loads(captured.out)

    written = call("--quantizer", "legacy", "-o", str(target), "--explain")
    calibrated = refquant.load(source)
    assert refquant.load(target) == read_model(quantized(calibrated).to_bytes())
    reasons = {tensor["name"]: tensor["why"]["kind"] for tensor in written["decision"]["tensors"]}
    assert reasons["serving_default_image:0"] == "calibrated"
    call("--mode", "int16x8", "--bias-type", "int32", "--input-type", "int16", "-o", str(target))
    types = {tensor.type for tensor in refquant.load(target).graph.tensors}
    assert types == {"INT8", "INT16", "INT32", "FLOAT32"}


# refusals


def test_float_operators_are_an_error_if_asked() -> None:
    """All are named, also those that compute no float."""
    model = built(legacy_graphs.integer_operators)
    with pytest.raises(NotQuantizable, match=r"2 operators would stay float .*0 \(CAST\).*1 \(RANK\)"):
        quantized(model, allow_float=False)
    assert [f.name for f in decided(model).float_operators] == ["CAST"]
    narrow = built(legacy_graphs.svdf)
    with pytest.raises(NotQuantizable, match="no int16 form of SVDF"):
        quantized(narrow, mode="int16x8", allow_float=False)


def test_denied_operators_stay_float() -> None:
    b = Builder(np.random.default_rng(1))
    x = b.input(ROW)
    add(b, unary(b, "RELU", unary(b, "RELU", x)), x)
    model = b.model()
    for denied, floats in (({"denied_ops": ["relu"]}, [0, 1]), ({"denied_names": ["relu1"]}, [1])):
        decision = refquant.decide(model, Calibration.from_model(model), quantizer="legacy", **denied)
        assert [f.operator for f in decision.float_operators] == floats
    with pytest.raises(NotQuantizable, match="denied"):
        quantized(model, denied_ops=["ADD"], allow_float=False)
    with pytest.raises(InvalidInput, match="denied_names"):
        quantized(model, denied_names=["nobody"])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("range_missing_at_an_operand", {}, r"operator 0 \(RELU\): its operand 'in0' has no range"),
        ("range_missing_at_a_result", {}, r"operator 0 \(RELU\): its result 'relu0' has no range"),
        ("range_missing_at_a_join", {}, r"operator 0 \(CONCATENATION\): its operand 'in1' has no range"),
        ("range_missing_at_a_float_operator", {"mode": "int16x8"}, r"operator 0 \(HARD_SWISH\): its operand 'in0'"),
        ("computed_bias", {}, r"operator 1 \(FULLY_CONNECTED\): its bias 'relu0' is computed"),
        ("matrix_as_bias", {}, "is no vector"),
        ("weights_of_five_dimensions", {}, "has 5 dimensions"),
        ("constant_of_five_dimensions", {}, "has 5 dimensions"),
        ("weights_of_convolution_and_depthwise", {}, "do not match"),
        ("transposed_weights", {}, r"operator 1 \(TRANSPOSE\): its operand 'const1' has 4 scales"),
        ("input_of_no_range", {}, "leaves float32"),
        ("huge_range", {}, "tensor 'relu0': its range or scale leaves float32"),
        ("float_condition", {}, r"operator 0 \(WHERE\): its result 'where0' has no range"),
        ("two_float_readers", {"output_type": "int8"}, "output 'sin1' stays float32: it cannot be int8"),
        ("idle_input", {"input_type": "int8"}, "input 'in1' stays float32: it cannot be int8"),
        ("zero_bias_and_integer_zeros", {"mode": "int16x8"}, "share one buffer"),
    ],
)
def test_refusals(name: str, options: dict, message: str) -> None:
    model = built(getattr(legacy_graphs, name))
    with pytest.raises(NotQuantizable, match=message) as caught:
        quantized(model, **options)
    assert "\n" not in str(caught.value)


def test_per_tensor_depthwise_is_refused() -> None:
    b = Builder(np.random.default_rng(1))
    legacy_graphs.depthwise(b, b.input(IMAGE), numbers(b, (1, 1, 1, 4)), b.bias(4))
    quantized(b.model())
    with pytest.raises(NotQuantizable, match="it cannot quantize DEPTHWISE_CONV_2D per tensor"):
        quantized(b.model(), per_channel=False)


def test_undefined_reads_are_refused() -> None:
    """TensorFlow reads beyond the ranges, or another tensor's integers as floats."""
    b = Builder(np.random.default_rng(1))
    x, weights = b.input((4, 1, 1, 4)), numbers(b, (4, 1, 1, 4))
    b.op("PRELU", [x, weights], [(4, 1, 1, 4)])
    conv(b, x, weights)
    with pytest.raises(NotQuantizable, match="reads beyond them"):
        quantized(b.model(), mode="int16x8")
    b = Builder(np.random.default_rng(1))
    x, first, second = b.input(ROW), numbers(b, ROW), numbers(b, ROW)
    legacy_graphs.share_buffer(b, first, second)
    add(b, add(b, x, first), second)
    with pytest.raises(NotQuantizable, match=r"'const1' and 'const2' share one buffer"):
        quantized(b.model())


def test_models_that_are_not_float_or_not_one_graph() -> None:
    b = Builder(np.random.default_rng(1))
    unary(b, "RELU", b.input(ROW))
    model = b.model()
    with pytest.raises(NotQuantizable, match="quantized already"):
        quantize(quantized(model), Calibration.from_model(model), quantizer="legacy")
    with pytest.raises(NotQuantizable, match="2 subgraphs"):
        quantized(replace(model, graphs=(model.graph, Graph((), (), (), ()))))


def test_a_state_that_is_not_there_is_refused() -> None:
    model = built(legacy_graphs.basic_lstm)
    quantized(model)
    wide = replace(model.graph.operators[0], inputs=(*model.graph.operators[0].inputs, *(-1,) * 19))
    with pytest.raises(NotQuantizable, match=r"operator 0 \(LSTM\): the state has no range"):
        quantized(model.with_graph(replace(model.graph, operators=(wide,))))


@pytest.mark.parametrize(
    ("op", "inputs", "outputs", "message"),
    [
        ("ADD", (0,), (1,), r"operator 0 \(ADD\): it has 1 operands; the old quantizer asks for operand 1"),
        ("RELU", (-1,), (1,), r"operator 0 \(RELU\): operand 0 is absent"),
        ("PACK", (0, -1), (1,), r"operator 0 \(PACK\): operand 1 is absent"),
        ("PACK", (), (1,), r"operator 0 \(PACK\): it has 0 operands"),
        ("FULLY_CONNECTED", (0, -1, 2), (1,), r"operator 0 \(FULLY_CONNECTED\): operand 1 is absent"),
        ("ASSIGN_VARIABLE", (0,), (), r"operator 0 \(ASSIGN_VARIABLE\): it has 1 operands"),
        ("ASSIGN_VARIABLE", (), (), r"operator 0 \(ASSIGN_VARIABLE\): it has 0 operands"),
    ],
)
def test_operators_that_lack_something(
    op: str, inputs: tuple[int, ...], outputs: tuple[int, ...], message: str
) -> None:
    b = Builder(np.random.default_rng(1))
    unary(b, "RELU", b.input(ROW))
    b.bias(4)
    model = b.model()
    operator = replace(model.graph.operators[0], name=op, inputs=inputs, outputs=outputs)
    with pytest.raises(NotQuantizable, match=message):
        quantized(model.with_graph(replace(model.graph, operators=(operator,))))


def test_constants_must_be_finite_floats() -> None:
    b = Builder(np.random.default_rng(1))
    add(b, b.input(ROW), exactly(b, [[1.0, np.inf, 0.0, 0.0]]))
    with pytest.raises(NotQuantizable, match="not finite"):
        quantized(b.model())
    b = Builder(np.random.default_rng(1))
    b.op("SELECT", [b.constant(np.ones(ROW, bool)), b.input(ROW), integers(b, [[1, 2, 3, 4]])], [ROW])
    with pytest.raises(NotQuantizable, match=r"holds INT32\[1, 4\], no float32 values"):
        quantized(b.model())


def test_a_graph_without_operators_stays_as_it_is() -> None:
    b = Builder(np.random.default_rng(1))
    b.input(ROW)
    model = b.model(tuple(b.inputs))
    assert compare_models(quantized(model, input_type="int8", output_type="uint8"), model).equal


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "int4"}, "mode='int4'"),
        ({"quantizer": "toco"}, "quantizer='toco'"),
        ({"quantizer": "legacy", "input_type": "int16"}, "input_type='int16': with mode 'int8'"),
        ({"mode": "int16x8", "output_type": "uint8"}, "output_type='uint8': with mode 'int16x8'"),
        ({"quantizer": "legacy", "bias_type": "int64"}, "bias_type='int64': with mode 'int8'"),
        ({"bias_type": "int64"}, "bias_type='int64': with mode 'int8'"),
        ({"mode": "int16x8", "bias_type": "int8"}, "bias_type='int8'"),
    ],
)
def test_options(options: dict, message: str) -> None:
    b = Builder(np.random.default_rng(1))
    b.op("ADD", [b.input(ROW), b.input(ROW)], [ROW], NONE, "AddOptions")
    with pytest.raises(InvalidInput, match=message):
        quantize(b.model(), Calibration.from_model(b.model()), **options)


def test_the_evidence_is_whole() -> None:
    """golden/legacy.json: eight networks, seven models and 300 random graphs of each mode, nothing differing."""
    parts = json.loads(data_file("golden/legacy.json").read_text())["parts"]
    counts = {part: {mode: len(rows) for mode, rows in modes.items()} for part, modes in parts.items()}
    assert counts["networks"] == {"int16x8": 8, "int8": 8}
    assert counts["models"] == {"int16x8": 7, "int8": 7}
    for mode, rows in parts["graphs"].items():
        assert sum(row["conversions"] for row in rows.values()) >= 300, mode
    assert not any(row["differing"] for modes in parts.values() for rows in modes.values() for row in rows.values())
    assert parts["networks"]["int16x8"]["mobilenet_v3_small"]["avoided"] == {"legacy-shared-bias": 9}
