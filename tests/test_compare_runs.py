"""compare_runs: what differs between runtimes is counted, located to its operator and element, and explained."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

import refquant
from graphs import Graphs, binary, floats, loop
from models import T, one_op
from refquant.arithmetic.requantize import FLOAT32_EVEN, UPWARD_ROUNDING, Requantizer
from refquant.cli import app, comparing_runs
from refquant.compare import arithmetic_search, real_runtimes, run_causes, run_comparison, run_tallies
from refquant.compare.arithmetic_search import Candidate, Observation, search
from refquant.compare.differences import Difference, difference, ulps_between
from refquant.compare.explanations import Explained
from refquant.compare.run_inputs import drawn_samples
from refquant.compare.run_records import KEYS, run_record
from refquant.compare.run_sides import Described
from refquant.compare.runs import RunComparison
from refquant.errors import InvalidInput, UnsupportedModel
from refquant.kernels import convolution
from refquant.model.graph import Model
from refquant.program import Value, execute, prepare
from refquant.report.words import verdict
from refquant.runtimes import RUNTIMES
from refquant.runtimes.runtime import Runtime
from refquant.runtimes.tflite_ref import TFLITE_REF
from wrong_runtimes import (
    DEVICES,
    EVEN,
    HALF_WAY,
    NETWORK,
    TRUNCATING,
    Device,
    shifted_scales,
    with_kernel,
    with_values,
)

PADS = next(device for device in DEVICES if device.runtime.name == "pads_with_0")
MODELS = Path(__file__).resolve().parents[1] / "golden" / "models"
runner = CliRunner()


def compared(*runtimes: str | Runtime, model: Any = NETWORK, **options: Any) -> refquant.compare.RunComparison:
    return refquant.compare_runs(model, runtimes=runtimes, **options)


# differences


def test_a_difference_counts_and_names_elements() -> None:
    base = np.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]], np.int8)
    other = np.array([[[1, 2], [3, 1]], [[6, 6], [9, 8]]], np.int8)
    found = difference(base, other, 7, first_sample=10)
    assert (found.elements, found.differing, found.largest, found.ulps) == (8, 3, 3, 0)
    assert found.histogram == ((-3, 1), (1, 1), (2, 1))
    assert (found.first.sample, found.first.tensor, found.first.index) == (10, 7, (1, 1))
    assert (found.first.base, found.first.value, found.first.step) == (4, 1, -3)
    assert [element.step for element in found.worst] == [-3, 2, 1]


def test_differences_of_parts_add_up_to_that_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    base, other = rng.integers(-9, 9, (2, 12, 5), np.int8)
    whole = difference(base, other, 0)
    parts = sum((difference(base[i : i + 5], other[i : i + 5], 0, i) for i in (0, 5, 10)), Difference())
    assert replace(parts, worst=()) == replace(whole, worst=())
    assert [abs(e.step) for e in parts.worst] == [abs(e.step) for e in whole.worst]


def test_floats_differ_by_bits_and_ulps() -> None:
    base = np.array([[0.0, 1.0, np.nan, np.nan, np.inf]], np.float32)
    other = np.array([[-0.0, np.nextafter(np.float32(1), np.float32(2)), np.nan, 1.0, np.inf]], np.float32)
    found = difference(base, other, 0)
    assert found.differing == 3  # the signs of zero, one ulp, a NaN against a number
    assert found.largest == np.inf
    assert ulps_between(base[0, :2], other[0, :2]).tolist() == [0, 1]
    assert ulps_between(np.float32([-1e-45]), np.float32([1e-45])).tolist() == [2]
    steps = np.arange(5, dtype=np.int32)
    ones = np.ones((1, 5), np.float32)
    assert difference(ones, (ones.view(np.int32) + steps).view(np.float32), 0).histogram == ((2, 1), (4, 2), (8, 1))


def test_arrays_of_another_kind_differ_everywhere() -> None:
    assert difference(np.zeros((2, 3), np.int8), np.zeros((2, 3), np.int16), 0).differing == 6
    assert difference(np.zeros((2, 3), np.int8), np.zeros((2, 4), np.int8), 0).differing == 6
    complex_ = np.zeros((1, 2), np.complex64)
    assert difference(complex_, complex_ + 1j, 0).first.index == (0, 1)


# inputs


def test_drawn_samples_are_seeded_and_end_with_the_extremes() -> None:
    model = one_op("RELU", [T((1, 3), scale=0.5)], [T((1, 3), scale=0.5)])
    (array,) = drawn_samples(model, 4, 1).values()
    assert array.shape == (6, 1, 3)
    assert (array[4] == -128).all()
    assert (array[5] == 127).all()
    assert (array == drawn_samples(model, 4, 1)[0]).all()
    assert (array != drawn_samples(model, 4, 2)[0]).any()


def test_float_inputs_fill_the_range_of_the_quantize_that_reads_them() -> None:
    model = one_op("QUANTIZE", [T((1, 500), "FLOAT32")], [T((1, 500), scale=0.25, zero_point=-28)])
    (array,) = drawn_samples(model, 3, 0).values()
    assert (array.min(), array.max()) == (-25.0, 38.75)
    assert np.abs(array[:3]).max() > 20


# described runtimes


def test_equal_runtimes_are_equal() -> None:
    comparison = compared("tflite_ref", replace(TFLITE_REF, name="same"))
    assert comparison.equal
    assert comparison.samples == 10
    assert all(run.drift.differing == run.cause.differing == 0 for row in comparison.operators for run in row.runs)


def test_counts_are_those_of_the_runs() -> None:
    inputs = drawn_samples(refquant.load(NETWORK), 20, 5)
    (array,) = (a[:, 0] for a in inputs.values())
    comparison = compared("tflite_ref", "tflite_opt", inputs=array)
    ref, opt = (refquant.run(NETWORK, array, runtime)[0] for runtime in ("tflite_ref", "tflite_opt"))
    outputs = comparison.runtimes[1].outputs
    assert (outputs.elements, outputs.differing) == (ref.size, np.count_nonzero(ref != opt))
    assert comparison.runtimes[0].outputs is None


def test_blocks_of_one_sample_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = compared("tflite_ref", "tflite_opt", "tflm", count=30)
    monkeypatch.setattr(run_tallies, "BLOCK_BYTES", 1)
    blocks = compared("tflite_ref", "tflite_opt", "tflm", count=30)
    assert any(run.causes for run in whole.runtimes)
    for one, other in zip(whole.runtimes, blocks.runtimes, strict=True):
        assert (one.first_drift, one.first_cause, one.causes) == (other.first_drift, other.first_cause, other.causes)
        assert one.outputs is None or one.outputs.histogram == other.outputs.histogram
    for row, same in zip(whole.operators, blocks.operators, strict=True):
        for run, again in zip(row.runs, same.runs, strict=True):
            assert (run.drift.differing, run.cause.histogram) == (again.drift.differing, again.cause.histogram)
            if run.explained is not None:  # blocks before the first that differs are not searched
                searched = again.cause.elements * (blocks.samples - again.cause.first.sample) // blocks.samples
                assert (again.explained.words, again.explained.elements) == (run.explained.words, searched)


def test_alone_each_operator_gets_the_base_inputs() -> None:
    """A runtime that differs in the first layer only differs end to end behind it, too, but not alone."""
    wrong = with_values("wrong", {"CONV_2D.effective_scale": shifted_scales})
    comparison = compared("tflite_ref", wrong)
    convolutions = [row.operator for row in comparison.operators if row.op == "CONV_2D"]
    differing = [row.operator for row in comparison.operators if row.runs[0].differs]
    drifted = [row.operator for row in comparison.operators if row.runs[0].drift.differing]
    assert differing == convolutions
    assert set(differing) < set(drifted)


def test_a_model_that_remembers_is_run_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_tallies, "BLOCK_BYTES", 1)
    rng = np.random.default_rng(0)
    weights = [T(data=rng.uniform(-1, 1, shape).astype(np.float32)) for shape in ((4, 3), (4, 5))]
    state = T((1, 20), "FLOAT32", variable=True)
    options = {"rank": 1, "fused_activation_function": "NONE", "asymmetric_quantize_inputs": False}
    model = one_op("SVDF", [T((1, 3), "FLOAT32"), *weights, None, state], [T((1, 4), "FLOAT32")], options)
    sides = [Described.of(model, TFLITE_REF)]
    assert [first for first, _ in run_tallies.Scene(model, drawn_samples(model, 8, 0), sides).blocks()] == [0]
    comparison = compared("tflite_ref", "tflite_opt", model=model)
    assert comparison.operators[0].runs[0].cause.elements == 10 * 4
    assert comparison.operators[0].runs[0].cause == comparison.operators[0].runs[0].drift


# runtimes that are wrong on purpose


def everything(model: Any, runtime: Runtime, inputs: Mapping[int, Any]) -> dict[int, Any]:
    kept: dict[int, Value] = {}
    samples = len(next(iter(inputs.values())))
    values = {index: Value(array, True) for index, array in inputs.items()}
    execute(prepare(model, runtime), values, samples, kept.__setitem__)
    return {index: value.array for index, value in kept.items()}


def located(device: Device, comparison: RunComparison) -> None:
    """The first operator and element that differ are those of the runs, and no other op differs alone."""
    run = comparison.runtimes[1]
    assert run.first_cause == run.first_drift
    row = comparison.operators[run.first_cause]
    assert row.operator == next(r.operator for r in comparison.operators if r.op == device.op)
    runs = [everything(comparison.model, runtime, comparison.inputs) for runtime in (TFLITE_REF, device.runtime)]
    right, got = (tensors[row.outputs[0]] for tensors in runs)
    places = np.argwhere(right != got)
    found = row.runs[0].cause
    assert found.differing == len(places) > 0
    assert (found.first.sample, *found.first.index) == tuple(places[0])
    assert (found.first.base, found.first.value) == (right[tuple(places[0])], got[tuple(places[0])])
    assert found.largest == np.abs(right.astype(int) - got.astype(int)).max()
    assert {cause.op for cause in run.causes} == {device.op}


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.runtime.name)
def test_a_wrong_runtime_is_located_to_its_operator_and_element(device: Device) -> None:
    comparison = compared("tflite_ref", device.runtime, model=device.model)
    located(device, comparison)
    run = comparison.runtimes[1]
    assert {cause.words for cause in run.causes} == {device.words}
    assert run.whole_cause == run.outputs.elements
    if device.runtime is PADS.runtime:
        row = comparison.operators[run.first_cause]
        assert all({0, 7} & {*element.index[1:3]} for element in row.runs[0].cause.worst)  # the edge of the image


def without_its_own_description(monkeypatch: pytest.MonkeyPatch) -> None:
    """A runtime that is handed over is as unknown to the search as a real device."""
    every = run_tallies.Scene.programs.fget
    described = property(lambda scene: {name: p for name, p in every(scene).items() if name in RUNTIMES})
    monkeypatch.setattr(run_tallies.Scene, "programs", described)


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.runtime.name)
def test_a_mistake_that_nothing_described_makes_is_located_and_not_explained(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_its_own_description(monkeypatch)
    comparison = compared("tflite_ref", device.runtime, model=device.model)
    located(device, comparison)
    words = {cause.words for cause in comparison.runtimes[1].causes}
    assert words == ({"float32, half to even"} if device.words == EVEN.name else {""})


# the search


def observed(device: Runtime, op: str) -> tuple[Observation, dict[str, Any]]:
    """What a device gave for the first operator of that op that differs from tflite_ref."""
    model = refquant.load(NETWORK)
    inputs = drawn_samples(model, 20, 3)
    base, side = Described.of(model, TFLITE_REF), Described.of(model, device)
    tensors = {**base.whole(inputs).tensors, **inputs}
    for number, operator in enumerate(model.graph.operators):
        if operator.name == op:
            fed = {operator.inputs[0]: tensors[operator.inputs[0]]}
            found = side.alone({number: fed}, 22)[number].outputs
            observation = Observation(number, fed, {index: tensors[index] for index in found}, found)
            if observation.first_sample is not None:
                return observation, {"tflite_ref": base.program}
    raise AssertionError("nothing differs")


def test_the_arithmetic_of_an_unknown_device_is_found() -> None:
    device = with_values("unknown", {"CONV_2D.requantizer": UPWARD_ROUNDING})
    observation, programs = observed(device, "CONV_2D")
    found = search(observation, "tflite_ref", programs, "")
    explanation, candidate = found[0]
    assert all(explained.whole for explained, _ in found)
    assert explanation.words == "upward rounding"
    assert candidate.replaced == ("CONV_2D.requantizer",)
    count = f"{explanation.elements:,}"
    assert str(explanation) == f"equal to upward rounding in {count} of {count} elements"


@pytest.mark.parametrize("first", [1, -1])
def test_what_explains_later_samples_only_is_no_explanation(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(params: Any, arrays: Any) -> Any:
        requantizer = UPWARD_ROUNDING if arrays[0].flat[0] < 0 else FLOAT32_EVEN
        scales = requantizer.prepare(0.25, "")  # 1.0 * 0.5 / 2.0
        stage = replace(params.stage, requantizer=requantizer, record=scales)
        return convolution.conv_2d(replace(params, stage=stage, weights=None), arrays)

    (array,) = (a[:, 0] for a in drawn_samples(refquant.load(HALF_WAY), 20, 5).values())
    array = array[np.argsort(first * array.reshape(len(array), -1)[:, 0].astype(int))]
    monkeypatch.setattr(run_tallies, "BLOCK_BYTES", 1)
    without_its_own_description(monkeypatch)
    comparison = compared("tflite_ref", with_kernel("two_minds", "CONV_2D", run), model=HALF_WAY, inputs=array)
    run_of_it = comparison.operators[0].runs[0]
    assert run_of_it.differs
    assert run_of_it.explained is None


def test_the_description_of_what_is_observed_ends_the_search() -> None:
    observation, programs = observed(RUNTIMES["tflite_opt"], "CONV_2D")
    programs["tflite_opt"] = prepare(refquant.load(NETWORK), RUNTIMES["tflite_opt"])
    ((explanation, candidate),) = search(observation, "tflite_ref", programs, "tflite_opt")
    assert explanation.whole
    assert candidate.runtime == "tflite_opt"


def quarters(count: int) -> Model:
    """A chain of CONV_2D that divide codes by 4."""
    weights, bias = T(data=np.ones((1, 1, 1, 1), np.int8), scale=0.25), T(data=np.zeros(1, np.int32), scale=0.25)
    tensors = {"weights": weights, "bias": bias, **{f"x{i}": T((1, 1, 1, 1), scale=1.0) for i in range(count + 1)}}
    options = {"padding": "VALID", "stride_h": 1, "stride_w": 1, "fused_activation_function": "NONE"}
    operators = [("CONV_2D", (f"x{i}", "weights", "bias"), (f"x{i + 1}",), options) for i in range(count)]
    return Graphs().add(tensors, operators, ("x0",), (f"x{count}",)).model()


def codes(*values: int) -> np.ndarray:
    return np.array(values, np.int8).reshape(-1, 1, 1, 1)


@pytest.mark.parametrize(("requantizer", "second"), [(UPWARD_ROUNDING, -6), (FLOAT32_EVEN, 10)])
def test_of_what_explains_one_block_only_what_explains_the_next_is_kept(
    requantizer: Requantizer, second: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quarter of -2 is 0 upwards and to even; that of -6 is -1 upwards alone, that of 10 is 2 to even alone."""
    monkeypatch.setattr(run_tallies, "BLOCK_BYTES", 1)
    without_its_own_description(monkeypatch)
    device = with_values("device", {"CONV_2D.requantizer": requantizer})
    run = compared("tflite_ref", device, model=quarters(1), inputs=codes(-2, second)).operators[0].runs[0]
    assert run.explained.words == requantizer.name
    assert all(found.whole and found.elements == 2 for found in run.explanations)
    assert all(len(found.replaced) == 1 for found in run.explanations)  # what replaces more is not asked any longer


def test_an_operator_that_happens_not_to_differ_computes_as_others_of_its_kind() -> None:
    """-15 becomes -4 and then -1 in the reference, -3 and then 0 upwards; but -4 becomes -1 in both."""
    device = with_values("device", {"CONV_2D.requantizer": UPWARD_ROUNDING})
    comparison = compared("tflite_ref", device, model=quarters(2), inputs=codes(-15, -15))
    assert [row.runs[0].differs for row in comparison.operators] == [True, False]
    run = comparison.runtimes[1]
    assert run.outputs.differing == run.whole_cause == 2


def test_operators_of_a_kind_share_the_arithmetic_that_explains_all_of_them() -> None:
    step = prepare(quarters(1), TFLITE_REF).steps[0]

    def explained(*names: str) -> run_tallies.OperatorTally:
        pairs = [(Explained(n, "", (), 1, 1, 1, 1), Candidate(n, "", (), step)) for n in names]
        return run_tallies.OperatorTally(cause=Difference(1, 1), found=pairs)

    operators = [explained("one", "both"), explained("both"), explained("other", "both")]
    scene = SimpleNamespace(kinds=[("CONV_2D", "INT8")] * 3)
    run_causes.settle(scene, run_tallies.Tally(None, operators))
    assert [seen.explained.words for seen in operators] == ["both"] * 3


def test_why_a_real_runtime_is_not_described_exactly() -> None:
    model = one_op("EXP", [T((1, 3), "FLOAT32")], [T((1, 3), "FLOAT32")])
    programs = {"xnnpack": prepare(model, RUNTIMES["xnnpack"])}
    real, other = (SimpleNamespace(name=name, real=name != "other") for name in ("litert:default", "other"))
    for base, side, told in ((real, other, True), (other, real, True), (other, other, False)):
        scene = SimpleNamespace(base=base, programs=programs, kinds=[("EXP", "FLOAT32")])
        reason = run_causes._reason(scene, run_tallies.Tally(side, []), 0)
        assert reason == (RUNTIMES["xnnpack"].delegate.inexact["EXP"]["FLOAT32"] if told else "")


def test_an_output_of_another_type_is_told() -> None:
    def wide(params: Any, arrays: Any) -> Any:
        return (convolution.conv_2d(params, arrays)[0].astype(np.int16),)

    run = compared("tflite_ref", with_kernel("wide", "CONV_2D", wide), model=quarters(1)).operators[0].runs[0]
    assert run.error == "gives int16 (1, 1, 1, 1) in the place of int8 (1, 1, 1, 1)"


def test_what_no_described_arithmetic_explains_is_told_with_its_count() -> None:
    observation, programs = observed(with_values("unknown", {"CONV_2D.requantizer": TRUNCATING}), "CONV_2D")
    found = search(observation, "tflite_ref", programs, "")
    ((explanation, _),) = found
    assert not explanation.whole
    assert 0 < explanation.explained <= explanation.differing < explanation.elements
    assert str(explanation).startswith("nearest to ")


def test_every_requantizer_is_searched() -> None:
    names = {requantizer.name for requantizer in arithmetic_search.REQUANTIZERS}
    assert {"double rounding", "upward rounding", "float64 round, half away from zero"} <= names


def sum_of_int8(name: str = "") -> Model:
    axes = T(data=np.array([1], np.int32), name=name)
    tensors = T((1, 9), scale=0.5, name=name), T((1, 1), scale=0.5, name=name)
    return one_op("SUM", [tensors[0], axes], [tensors[1]], {"keep_dims": True})


def test_a_difference_that_is_known_names_its_erratum() -> None:
    comparison = compared("tflite_ref", "tflite_opt", model=sum_of_int8())
    assert "sum-int8-read-as-uint8" in [erratum.key for erratum in comparison.operators[0].runs[0].errata]
    rounding = compared("tflite_ref", "tflite_opt", count=40)
    assert any(run.differs for row in rounding.operators for run in row.runs)
    assert not any(run.errata for row in rounding.operators for run in row.runs if run.explained)


def test_an_operator_on_constants_is_explained_too() -> None:
    codes = np.arange(-128, 0, dtype=np.int8).reshape(8, 16)
    model = one_op("DEQUANTIZE", [T(data=codes, scale=0.0005744743, zero_point=-128)], [T((8, 16), "FLOAT32")])
    run = compared("tflite_ref", "tflite_opt", model=model).operators[0].runs[0]
    assert run.cause.differing
    assert run.explained.words == "real by sum in eights"


def test_loops_and_shapes_that_depend_on_data() -> None:
    model = loop({"x": floats(2)}, [binary("ADD", "x", "x", "y")], ("y",), {"y": floats(2)})
    inputs = {"n": np.array(3, np.int32), "x": np.array([1, 2], np.float32)}
    comparison = compared("tflite_ref", "tflite_opt", model=model, inputs=inputs)
    assert comparison.equal
    assert [run.error for row in comparison.operators for run in row.runs] == [""]
    shape = one_op("FILL", [T((1,), "INT32"), T((), "FLOAT32")], [T((0,), "FLOAT32")])
    assert compared("tflite_ref", "tflite_opt", model=shape).equal


def test_the_error_against_the_float_model_is_split() -> None:
    comparison = compared("tflite_ref", "tflite_opt", float_model=MODELS / "digits_ds_float.tflite", count=2)
    assert [split.runtime for split in comparison.splits] == ["tflite_ref", "tflite_opt"]
    assert keys_of(run_record(comparison)) <= set(KEYS)
    with pytest.raises(InvalidInput):
        compared("tflite_ref", "tflite_opt", float_model=MODELS / "mnist_float.tflite", count=1)


def test_runtimes_without_a_name_have_no_split() -> None:
    runtimes = [replace(TFLITE_REF, name=name) for name in ("one", "other")]
    assert compared(*runtimes, float_model=MODELS / "digits_ds_float.tflite", count=0).splits == ()


# runtimes that do not run


def test_a_refusal_does_not_end_the_comparison_of_the_others() -> None:
    empty = replace(TFLITE_REF, name="empty", kernels={})
    comparison = compared(empty, "tflite_ref", "tflite_opt")
    assert comparison.base == "tflite_ref"
    assert "not built for runtime empty" in comparison.runtimes[0].error
    assert [run.name for run in comparison.others] == ["tflite_opt"]
    assert not comparison.equal
    with pytest.raises(InvalidInput, match=r"^only tflite_ref runs this model: empty: .*not built"):
        compared(empty, "tflite_ref")


def test_a_base_that_fails_at_a_sample_gives_way_to_the_next() -> None:
    def fails(params: Any, arrays: Any) -> Any:
        raise UnsupportedModel("no")

    broken = with_kernel("broken", "CONV_2D", fails)
    comparison = compared(broken, "tflite_ref", "tflm")
    assert comparison.base == "tflite_ref"
    assert "no" in comparison.runtimes[0].error
    assert "no" in compared("tflite_ref", broken, "tflm").runtimes[1].error


@pytest.mark.parametrize("runtimes", [(), ("tflite_ref",), ("tflite_ref", "tflite_ref"), ("tflite_ref", "other")])
def test_runtimes_that_cannot_be_compared(runtimes: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInput):
        compared(*runtimes)


def test_a_missing_package_is_one_line_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real_runtimes.importlib.util, "find_spec", lambda name: None)
    for name, extra in (("litert:default", "litert"), ("tflm:real", "tflm")):
        with pytest.raises(InvalidInput, match=rf"pip install 'refquant\[{extra}\]'"):
            compared("tflite_ref", name)


def test_a_package_of_another_name_tells_its_version() -> None:
    package = real_runtimes.PACKAGES["litert:default"]
    assert replace(package, module="numpy", name="numpy-nightly").version == f"numpy {np.__version__}"
    assert replace(package, module="none", name="none").version == "none of unknown version"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"count": -1}, "count and seed are 0 or more"),
        ({"count": 10**30}, "more than 1 GiB; draw fewer"),
        ({"runtimes": "tflite_ref"}, "runtimes is a list of names"),
    ],
)
def test_what_cannot_be_asked_for(options: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidInput, match=text):
        refquant.compare_runs(NETWORK, **options)


def test_a_timeout_is_a_number_above_0() -> None:
    for timeout in (0, -1, float("nan")):
        with pytest.raises(InvalidInput, match="the timeout is a number of seconds above 0"):
            real_runtimes.run_jobs("litert:default", [], timeout)


CHILDREN = {
    "crashed": "import os; os.abort()",
    "silent": "import time; time.sleep(60)",
    "closed": "import os, time; os.close(1); time.sleep(60)",
    "garbled": "import sys; sys.stdout.buffer.write(bytes([3, *[0] * 7]) + b'abc')",
    "refused": (
        "import pickle, struct, sys; d = pickle.dumps(('refused', 'no such operator', 0));"
        "[sys.stdout.buffer.write(struct.pack('<Q', len(d)) + d) for _ in range(2)]; sys.stdout.flush();"
        "sys.stdin.read()"
    ),
}


@pytest.mark.parametrize("kind", CHILDREN)
def test_a_real_runtime_that_fails_is_told_and_the_others_go_on(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real_runtimes, "START", CHILDREN[kind])
    monkeypatch.setattr(real_runtimes, "PARTING", 0.2 if kind == "closed" else real_runtimes.PARTING)
    package = replace(real_runtimes.PACKAGES["litert:default"], module="numpy", name="numpy")
    monkeypatch.setattr(real_runtimes, "PACKAGES", {"litert:default": package})
    comparison = compared("tflite_ref", "litert:default", "tflite_opt", timeout=0.5, count=1)
    told = {
        "crashed": "SIGABRT",
        "silent": "said nothing for 0.5 seconds",
        "closed": "closed its output and was ended",
        "garbled": "exit code 0",
        "refused": "no such operator",
    }
    assert told[kind] in comparison.runtimes[1].error
    assert "litert:default" not in comparison.runtimes[1].error  # the name stands before it, once
    assert comparison.runtimes[1].real
    assert [run.name for run in comparison.others] == ["tflite_opt"]


# the command


def keys_of(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {key for item in value.values() for key in keys_of(item)}
    return {key for item in value for key in keys_of(item)} if isinstance(value, list | tuple) else set()


def test_json_has_every_figure_and_only_known_keys() -> None:
    float_model = MODELS / "digits_ds_float.tflite"
    network = compared("tflite_ref", PADS.runtime, "tflite_opt", float_model=float_model, count=0)
    known = compared("tflite_ref", "tflite_opt", model=sum_of_int8())  # its difference has errata
    assert keys_of(run_record(network)) | keys_of(run_record(known)) == set(KEYS)
    arguments = ["compare", str(NETWORK), "--runtimes", "tflite_ref,tflite_opt", "--count", "40", "--json"]
    result = runner.invoke(app, arguments)
    record = json.loads(result.stdout)
    assert result.exit_code == (0 if record["equal"] else 1)
    assert [run["name"] for run in record["runtimes"]] == ["tflite_ref", "tflite_opt"]
    assert record["samples"] == 42


def test_exit_codes_and_text(tmp_path: Path) -> None:
    pool = one_op("RELU", [T((1, 3), scale=0.5)], [T((1, 3), scale=0.5)])
    refquant.save(pool, tmp_path / "relu.tflite")
    np.savez(tmp_path / "x.npz", np.arange(15, dtype=np.int8).reshape(5, 3))
    arguments = ["-i", str(tmp_path / "x.npz"), "--runtimes", "tflite_ref,tflite_opt"]
    equal = runner.invoke(app, ["compare", str(tmp_path / "relu.tflite"), *arguments])
    assert equal.exit_code == 0
    assert "5 samples" in equal.stdout
    differing = runner.invoke(app, ["compare", str(NETWORK), "--runtimes", "tflite_ref,tflite_opt", "--count", "60"])
    assert differing.exit_code == 1
    assert "upward rounding" in differing.stdout
    with pytest.raises(InvalidInput):
        runner.invoke(app, ["compare", str(NETWORK), "--runtimes", "tflite_ref,nothing"], catch_exceptions=False)


@pytest.mark.parametrize("width", [80, 120, 200])
def test_runtimes_that_agree_share_a_row(width: int) -> None:
    wrong = [with_values(name, {"CONV_2D.requantizer": UPWARD_ROUNDING}) for name in ("one", "other", "third")]
    comparison = compared("tflite_ref", *wrong, "tflm", count=20)
    console = Console(file=io.StringIO(), width=width, highlight=False)
    comparing_runs._print(comparison, False, console)
    lines = console.file.getvalue().splitlines()
    assert lines[0].startswith("one, other and third differ from tflite_ref in up to ")
    assert "tflm equals tflite_ref everywhere" in " ".join(lines)
    assert all(len(line) <= width for line in lines)
    head, *rows = (line for line in lines if "│" in line or "┃ operator" in line)
    assert ("first element" in head) == (width >= comparing_runs.WIDEST)
    told = [row for row in comparison.operators if comparing_runs._differs(row.runs[0])]
    assert sum(" elements" in row for row in rows) == len(told) > 0
    assert sum("upward" in row for row in rows) == sum(row.runs[0].differs for row in comparison.operators)


def test_names_in_files_are_printed_as_they_are_and_harmless() -> None:
    model = sum_of_int8("[bold]x[/bold]\x1b[31m\n\0\\")
    console = Console(file=io.StringIO(), width=200, highlight=False)
    comparing_runs._print(compared("tflite_ref", "tflite_opt", model=model), True, console)
    text = console.file.getvalue()
    assert "[bold]x[/bold]" in text
    assert not {"\x1b", "\0"} & {*text}


def test_what_was_not_compared_is_not_called_equal() -> None:
    comparison = compared("tflite_ref", replace(TFLITE_REF, name="same"), count=0)
    assert verdict(comparison) == "tflite_ref and same give the same in every element of every operator."
    first, *rest = comparison.operators
    hidden = replace(first, runs=(replace(first.runs[0], cause=None, error="not shown"),))
    assert "in every element that can be compared." in verdict(replace(comparison, operators=(hidden, *rest)))


def test_progress_ends_at_1() -> None:
    seen: list[float] = []
    compared("tflite_ref", "tflite_opt", "tflm", progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1
    assert run_comparison.compare_runs is refquant.compare_runs
