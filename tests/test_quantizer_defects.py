"""The old quantizer's defects: without them a file computes what the float model does, with them it does not.

Judged by LiteRT: of each defect a graph, calibrated on samples, quantized in both ways and run on these samples.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import legacy_graphs
import oracle
import refquant
from converter_oracle_graphs import NONE, Builder
from legacy_graphs import IMAGE, ROW, add, concatenate, conv, depthwise, exactly, legacy_graph, numbers, unary
from oracle import Crashed, Rejected, litert
from refquant import cli
from refquant.errata import CONVERTER_ERRATA
from refquant.errors import NotQuantizable
from refquant.model.graph import Model
from refquant.quantizer import Calibration, calibrate, decide, quantize
from refquant.quantizer.legacy import Decision, apply
from refquant.quantizer.legacy.defects import AVOIDED

BOTH = ("int8", "int16x8")
CLOSE = {"int8": 0.02, "int16x8": 0.005}  # largest error, as a share of the output's range
FAR = 0.1
OPTIMIZED = "BUILTIN_WITHOUT_DEFAULT_DELEGATES"  # the reference kernel of SUM is wrong itself


# graphs beside those of legacy_graphs, which are named as the rules they reach


def pad_value(b: Builder) -> None:
    """Beyond the range of what is padded, and within."""
    x, paddings = b.input(ROW), legacy_graphs.integers(b, [[0, 1], [1, 1]])
    for value in (20.0, 0.25):
        b.op("PADV2", [x, paddings, exactly(b, value)], [(2, 6)])


def computed_pad_value(b: Builder) -> None:
    x, y, paddings = b.input(ROW), b.input(()), legacy_graphs.integers(b, [[0, 1], [1, 1]])
    b.op("PADV2", [x, paddings, unary(b, "RELU", y)], [(2, 6)])


def sum_of_many(b: Builder) -> None:
    x = b.input((4, 64))
    b.op("SUM", [unary(b, "RELU", x), legacy_graphs.integers(b, [1])], [(4,)], {"keep_dims": False}, "ReducerOptions")


def scattered(b: Builder) -> None:
    updates = unary(b, "RELU", b.input((2, 4)))
    b.op("SCATTER_ND", [legacy_graphs.integers(b, [[1], [3]]), updates, legacy_graphs.integers(b, [5, 4])], [(5, 4)])


def long_limit(b: Builder) -> None:
    """As of a clip with one open end, for a whole block of vector instructions."""
    x = b.input((1, 32))
    b.op("MINIMUM", [x, b.constant(np.full((1, 32), np.finfo(np.float32).max))], [(1, 32)])


def short_limit(b: Builder) -> None:
    x = b.input(ROW)
    b.op("MINIMUM", [x, exactly(b, float(np.finfo(np.float32).max))], [ROW])


def tiny_factor(b: Builder) -> None:
    x = b.input(ROW)
    b.op("MUL", [x, exactly(b, [[1e-37, -1e-37, 0.0, 3e-38]])], [ROW], NONE, "MulOptions")


def dead_layer(b: Builder) -> None:
    dead = conv(b, b.input(IMAGE), exactly(b, np.zeros((4, 1, 1, 4)).tolist()), exactly(b, [0.0] * 4))
    conv(b, dead, numbers(b, (4, 1, 1, 4)), exactly(b, [1.0, -2.0, 0.5, 0.0]))


def zero_addend(b: Builder) -> None:
    """In int16 its scale would be 0, which ends LiteRT; in int8 zeros have the scale 1."""
    add(b, b.input(ROW), exactly(b, [[0.0] * 4]))


def dead_layer_with_relu6(b: Builder) -> None:
    x = b.input(IMAGE)
    dead = conv(b, x, numbers(b, (4, 1, 1, 4)), exactly(b, [-1000.0] * 4))
    b.operators[-1] = replace(
        b.operators[-1], options={**b.operators[-1].options, "fused_activation_function": "RELU6"}
    )
    concatenate(b, dead, x)


def depthwise_layer(b: Builder) -> None:
    depthwise(b, b.input(IMAGE), numbers(b, (1, 1, 1, 4)), numbers(b, (4,)))


def five_dimensions(b: Builder) -> None:
    concatenate(b, b.input((1, 1, 1, 2, 3)), numbers(b, (1, 1, 1, 2, 3), 0.1))


def one_buffer(b: Builder) -> None:
    x, first, second = b.input(ROW), numbers(b, ROW), numbers(b, ROW)
    legacy_graphs.share_buffer(b, first, second)
    add(b, add(b, x, first), second)


def addend_that_is_weights(b: Builder) -> None:
    x, weights = b.input((4, 1, 1, 4)), numbers(b, (4, 1, 1, 4))
    y = conv(b, x, weights, b.constant(np.zeros(4, np.float32)))
    add(b, y, weights)


ELSEWHERE = {"legacy-wraps-round", "legacy-lstm-stays-float"}  # tried by tests of their own

Graph = Callable[[Builder], None]
CASES: tuple[tuple[str, Graph, tuple[str, ...]], ...] = (
    ("legacy-quantized-under-a-reader", legacy_graphs.constant_read_by_a_float_operator_first, BOTH),
    ("legacy-quantized-under-a-reader", legacy_graphs.input_read_by_a_float_operator_first, BOTH),
    ("legacy-quantized-under-a-reader", legacy_graphs.bias_that_a_float_operator_reads, BOTH),
    ("legacy-shared-bias", legacy_graphs.shared_bias, BOTH),
    ("legacy-bias-in-a-join", legacy_graphs.bias_that_is_concatenated, BOTH),
    ("legacy-weights-on-another-axis", legacy_graphs.weights_of_convolution_and_depthwise, BOTH),
    ("legacy-weights-on-another-axis", legacy_graphs.weights_that_are_slopes, ("int8",)),
    ("legacy-weights-on-another-axis", addend_that_is_weights, BOTH),
    ("legacy-sum", sum_of_many, BOTH),
    ("legacy-select", legacy_graphs.two_operands_of_one_scale, BOTH),
    ("legacy-zero-is-code-0", scattered, ("int8",)),
    ("legacy-padv2", pad_value, BOTH),
    ("legacy-padv2", computed_pad_value, BOTH),
    ("legacy-limit-turns-round", short_limit, ("int16x8",)),
    ("legacy-limit-by-place", long_limit, ("int8",)),
    ("legacy-tiny-weights", tiny_factor, ("int8",)),
    ("legacy-zero-range", dead_layer, BOTH),
    ("legacy-zero-range", zero_addend, ("int16x8",)),
    ("legacy-limit-of-activation", dead_layer_with_relu6, BOTH),
    ("legacy-depthwise-per-tensor", depthwise_layer, BOTH),
    ("legacy-five-dimensions", five_dimensions, BOTH),
    ("legacy-shared-buffer", one_buffer, BOTH),
)


def calibrated(build: Graph) -> tuple[Model, list[list[np.ndarray]], Calibration]:
    """The float model without ranges, samples of its inputs, and their ranges."""
    rng = np.random.default_rng(5)
    model = legacy_graph(build, rng)
    tensors = tuple(replace(tensor, quantization=None) for tensor in model.graph.tensors)
    model = refquant.load(model.with_graph(replace(model.graph, tensors=tensors)).to_bytes())
    shapes = [model.graph.tensors[i].shape for i in model.graph.inputs]
    samples = [[rng.normal(0, 2, shape).astype(np.float32) for shape in shapes] for _ in range(4)]
    ranges = calibrate(model, samples)
    return model, samples, ranges


def outputs(model: Model, samples: list[list[np.ndarray]]) -> list[np.ndarray]:
    """Of every output, all samples."""
    data = model.to_bytes()
    results = litert.run(data, samples, OPTIMIZED, preserve=False)
    return [np.stack([result[i] for result in results]) for i in refquant.load(data).graph.outputs]


def error(wanted: list[np.ndarray], got: list[np.ndarray]) -> float:
    """The largest error, as a share of its output's range."""
    spans = [np.abs(array).max() or 1.0 for array in wanted]
    parts = [np.abs(a - b).max() / span for a, b, span in zip(wanted, got, spans, strict=True)]
    return float(max(parts))


@pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING)
@pytest.mark.parametrize(
    ("key", "build", "mode"),
    [(key, build, mode) for key, build, modes in CASES for mode in modes],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_without_the_defect_the_file_is_right_and_with_it_wrong(key: str, build: Graph, mode: str) -> None:
    """Wrong: other values, or refused by LiteRT, or by the quantizer where TensorFlow writes no file."""
    model, samples, ranges = calibrated(build)
    options = {"mode": mode, "quantizer": "legacy", "per_channel": key != "legacy-depthwise-per-tensor"}
    decision = decide(model, ranges, **options)
    assert isinstance(decision, Decision)
    assert {defect.key for defect in decision.avoided} == {key}
    wanted = outputs(model, samples)
    assert error(wanted, outputs(apply(model, decision), samples)) < CLOSE[mode]
    try:
        wrong = error(wanted, outputs(quantize(model, ranges, reproduce_defects=True, **options), samples))
    except (NotQuantizable, Rejected, Crashed):
        return
    assert wrong > FAR


def test_every_defect_is_tried_and_documented() -> None:
    errata = {erratum.key: erratum for erratum in CONVERTER_ERRATA}
    assert {key for key, _, _ in CASES} | ELSEWHERE == set(AVOIDED)
    assert {key for key, erratum in errata.items() if erratum.treatment.startswith("avoided; ")} == set(AVOIDED)


def test_weights_beyond_their_range_saturate() -> None:
    """A calibration may hold ranges of constants, too; TensorFlow's integers wrap around int8."""
    model = legacy_graph(legacy_graphs.range_of_weights_of_one_channel, np.random.default_rng(1))
    ranges, integers = Calibration.from_model(model), {}
    for reproduce in (False, True):
        file = quantize(model, ranges, quantizer="legacy", reproduce_defects=reproduce)
        weights = next(tensor for tensor in file.graph.tensors if tensor.buffer)
        integers[reproduce] = file.constant(weights).ravel().tolist()
    assert integers == {False: [127, -127, 95, 127], True: [62, -62, 95, -97]}
    (defect,) = decide(model, ranges, quantizer="legacy").avoided
    assert defect.key == "legacy-wraps-round"


@pytest.mark.parametrize("mode", BOTH)
def test_an_activation_of_no_range_gets_a_scale(mode: str) -> None:
    """refquant.calibrate never gives one, as the converter's largest value starts above 0; other calibrations may."""
    b = Builder(np.random.default_rng(1))
    dead = unary(b, "RELU", b.input(ROW))
    unary(b, "RELU6", dead)
    legacy_graphs.with_range(b, dead, 0.0, 0.0)
    model = b.model()
    ranges, scales = Calibration.from_model(model), []
    for reproduce in (False, True):
        file = quantize(model, ranges, mode, quantizer="legacy", reproduce_defects=reproduce)
        scales.append(file.graph.tensors[dead].quantization.scale[0])
    assert scales[0] > 0.0 == scales[1]
    (defect,) = decide(model, ranges, mode, quantizer="legacy").avoided
    assert (defect.key, defect.tensors) == ("legacy-zero-range", (dead,))


# what is no defect


def shared_bias_of_equal_scales(b: Builder) -> None:
    x, weights, bias = b.input(IMAGE), numbers(b, (3, 1, 1, 4)), numbers(b, (3,))
    conv(b, x, weights, bias)
    conv(b, x, weights, bias)


def shared_bias_of_zeros(b: Builder) -> None:
    x, bias = b.input(IMAGE), exactly(b, [0.0] * 3)
    for _ in range(2):
        conv(b, x, numbers(b, (3, 1, 1, 4)), bias)


def small_sum(b: Builder) -> None:
    """Of one element."""
    b.op("SUM", [b.input((4, 1)), legacy_graphs.integers(b, [1])], [(4,)], {"keep_dims": False}, "ReducerOptions")


def choice_of_equal_scales(b: Builder) -> None:
    x = b.input(ROW)
    b.op("SELECT", [b.constant(np.array([[True, False, True, False]])), x, x], [ROW])


def negative_limit(b: Builder) -> None:
    """All go to the lowest value, as they should."""
    x = b.input((1, 32))
    b.op("MAXIMUM", [x, b.constant(np.full((1, 32), np.finfo(np.float32).min))], [(1, 32)])


HARMLESS = (
    shared_bias_of_equal_scales,
    shared_bias_of_zeros,
    small_sum,
    choice_of_equal_scales,
    negative_limit,
    legacy_graphs.weights_of_two_convolutions,
    legacy_graphs.constant_read_by_a_float_operator_later,
    legacy_graphs.input_read_by_a_float_operator_later,
    legacy_graphs.constant_of_two_joins,
)


@pytest.mark.parametrize("build", HARMLESS, ids=lambda build: build.__name__)
@pytest.mark.parametrize("mode", BOTH)
def test_what_computes_rightly_is_left_as_it_is(build: Graph, mode: str) -> None:
    model, _, ranges = calibrated(build)
    assert decide(model, ranges, mode, quantizer="legacy").avoided == ()
    files = [quantize(model, ranges, mode, quantizer="legacy", reproduce_defects=choice) for choice in (False, True)]
    assert files[0] == files[1]


def test_a_choice_keeps_its_first_scale_where_that_holds_both_values() -> None:
    """Only the second value is requantized then; where it does not, to the result's own range what differs from it."""
    counts = {}
    for factor in (0.1, 10.0):
        b = Builder(np.random.default_rng(1))
        condition = b.constant(np.array([[True, False, True, False]]))
        x, y = b.input(ROW), b.input(ROW)
        b.op("SELECT", [condition, x, y], [ROW])
        for tensor, limit in ((x, 1.0), (y, factor), (3, max(1.0, factor))):
            legacy_graphs.with_range(b, tensor, -limit, limit)
        model = b.model()
        decision = decide(model, Calibration.from_model(model), "int16x8")
        counts[factor] = [request.name for request in decision.requantize]
    assert counts == {0.1: ["in1"], 10.0: ["in0"]}  # the second value has the result's range already


def test_strict_mode_refuses_as_ever() -> None:
    """No defect is avoided by leaving an operator float."""
    for key, build, modes in CASES:
        if key == "legacy-quantized-under-a-reader":
            continue  # they have float operators
        model, _, ranges = calibrated(build)
        options = {"quantizer": "legacy", "per_channel": key != "legacy-depthwise-per-tensor"}
        for mode in modes:
            decide(model, ranges, mode, allow_float=False, **options)


# what is told


def test_the_decision_and_the_command_line_tell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _, ranges = calibrated(legacy_graphs.shared_bias)
    source, limits, target = (tmp_path / name for name in ("m.tflite", "r.json", "o.tflite"))
    refquant.save(model, source)
    ranges.save(limits)

    def call(*arguments: str) -> str:
        command = ["refquant", "quantize", str(source), "-c", str(limits), "--mode", "int16x8", *arguments]
        monkeypatch.setattr("sys.argv", command)
        with pytest.raises(SystemExit) as raised:
            cli.main()
        captured = capsys.readouterr()
        assert not raised.value.code, captured.err
        return captured.out

    line = (
        "operator 2 (CONV_2D): its bias 'bias1' would keep the scale of another operator's; every operator whose "
        "scales differ gets a copy of the bias (legacy-shared-bias)"
    )
    assert f"avoided: {line}" in str(decide(model, ranges, "int16x8"))
    assert f"avoided: {line}\n" in call("-o", str(target))
    assert f"avoided: {line}\n" in call("--explain")
    (avoided,) = json.loads(call("-o", str(target), "--json"))["avoided"]
    assert (avoided["key"], avoided["operator"], avoided["name"]) == ("legacy-shared-bias", 2, "CONV_2D")
    assert avoided["tensors"] == [next(i for i, t in enumerate(model.graph.tensors) if t.name == "bias1")]
    assert "avoided" not in call("-o", str(target), "--reproduce-defects")
    assert refquant.load(target) == refquant.load(quantize(model, ranges, "int16x8", reproduce_defects=True).to_bytes())
