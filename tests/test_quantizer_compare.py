"""compare_models: every kind of difference is found, named and counted, and equal models are equal."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import refquant
from models import T, one_op
from refquant.compare import compare_models
from refquant.compare.parameters import ulp_distance
from refquant.data import data_file
from refquant.model.graph import Model

W = np.array([[1, -2, 3], [4, 5, -6]], np.int8)


def dense(scale: float = 0.5, zero_point: int = 3, weights: np.ndarray = W, **changes) -> Model:
    filter_ = T(data=weights, scale=changes.get("filter_scale", [0.25, 0.125]), axis=changes.get("axis", 0))
    return one_op(
        "FULLY_CONNECTED",
        [T((1, 3), changes.get("type", "INT8"), scale, zero_point), filter_, changes.get("bias")],
        [T((1, 2), "INT8", 1.0)],
    )


def test_a_model_equals_itself() -> None:
    path = data_file("golden/models/digits_ds_int8_floatio.tflite")
    comparison = compare_models(path, refquant.load(path))
    assert comparison.equal
    assert comparison.slots == 36
    assert comparison.elements == 1628
    assert comparison.differing == comparison.differing_elements == comparison.largest_ulps == 0
    assert len(comparison.conversions[0]) == 2


def only(comparison):
    assert not comparison.equal
    return comparison.differences


def test_a_scale_one_step_away() -> None:
    near = float(np.nextafter(np.float32(0.5), np.float32(1)))
    differences = only(compare_models(dense(0.5), dense(near)))
    assert {(d.slot, d.what, d.ulps) for d in differences} == {
        ("graph input 0", ("scale",), 1),
        ("input 0", ("scale",), 1),
    }
    assert "operator 0 (FULLY_CONNECTED) input 0 't0': scale (1 ulp)" in str(differences[1])


def test_zero_points_types_and_granularity() -> None:
    assert only(compare_models(dense(zero_point=3), dense(zero_point=4)))[0].what == ("zero_point",)
    assert only(compare_models(dense(), dense(type="INT16")))[0].what == ("type",)
    (difference,) = only(compare_models(dense(), dense(filter_scale=0.25)))
    assert difference.what == ("granularity",)


def test_the_quantized_dimension() -> None:
    square = np.ones((2, 2), np.int8)
    models = [
        one_op(
            "FULLY_CONNECTED",
            [T((1, 2), "INT8", 1.0), T(data=square, scale=[1.0, 2.0], axis=axis)],
            [T((1, 2), "INT8", 1.0)],
        )
        for axis in (0, 1)
    ]
    (difference,) = only(compare_models(*models))
    assert difference.what == ("quantized_dimension",)


def test_constant_data_are_counted_with_their_largest_step() -> None:
    changed = W.copy()
    changed[0, 0], changed[1, 2] = -3, -5
    (difference,) = only(compare_models(dense(), dense(weights=changed)))
    assert (difference.what, difference.elements, difference.largest_step) == (("data",), 2, 4.0)
    assert "2 elements, largest step 4.0" in str(difference)


def test_float_data_are_compared_by_bits() -> None:
    def model(value: float) -> Model:
        return one_op("ADD", [T((1,), "FLOAT32"), T(data=np.array([value], np.float32))], [T((1,), "FLOAT32")])

    assert compare_models(model(np.nan), model(np.nan)).equal
    (difference,) = only(compare_models(model(0.0), model(-0.0)))
    assert difference.what == ("data",)


def test_an_absent_operand_and_a_constant_that_became_an_input() -> None:
    bias = T(data=np.array([1, 2], np.int32), scale=[0.125, 0.0625])
    (difference,) = only(compare_models(dense(bias=bias), dense()))
    assert (difference.slot, difference.what) == ("input 2", ("presence",))
    dynamic = one_op(
        "FULLY_CONNECTED",
        [T((1, 3), "INT8", 0.5, 3), T((2, 3), "INT8", [0.25, 0.125]), None],
        [T((1, 2), "INT8", 1.0)],
    )
    comparison = compare_models(dense(), dynamic)
    assert any(d.slot == "input 1" and "data" in d.what for d in comparison.differences)
    assert comparison.operators == ("subgraph 0: one model has 1 inputs, the other 2",)


def test_operators_that_do_not_line_up() -> None:
    a = one_op("RELU", [T((1,), "INT8", 1.0)], [T((1,), "INT8", 1.0)])
    b = one_op("RELU6", [T((1,), "INT8", 1.0)], [T((1,), "INT8", 1.0)])
    comparison = compare_models(a, b)
    assert not comparison.equal
    assert comparison.operators == ("subgraph 0, operator 0: RELU in one model, RELU6 in the other",)
    none = a.with_graph(replace(a.graph, operators=()))
    assert "1 operators without conversions, the other 0" in compare_models(a, none).operators[0]
    two = replace(a, graphs=(a.graph, a.graph))
    assert compare_models(a, two).operators == ("one model has 1 subgraphs, the other 2",)


def test_conversions_are_listed_apart() -> None:
    comparison = compare_models(
        data_file("golden/models/digits_cnn_int8.tflite"), data_file("golden/models/digits_cnn_int8_floatio.tflite")
    )
    assert not comparison.equal
    assert [c.op for c in comparison.conversions[1]] == ["QUANTIZE", "DEQUANTIZE"]
    assert comparison.conversions[0] == ()
    assert {d.slot for d in comparison.differences} == {"graph input 0", "graph output 0"}
    assert "conversions differ (0 and 2)" in str(comparison)


def test_leftovers_of_calibration_do_not_count() -> None:
    assert compare_models(
        data_file("golden/models/digits_cnn_float.tflite"), data_file("golden/models/digits_cnn_calibrated.tflite")
    ).equal


def test_the_result_is_frozen() -> None:
    comparison = compare_models(dense(), dense())
    with pytest.raises(FrozenInstanceError):
        comparison.slots = 0  # type: ignore[misc]


floats = st.floats(width=32, allow_nan=False)


@given(floats, st.integers(-50, 50))
def test_ulps_count_the_float32_values_between(value: float, steps: int) -> None:
    moved = np.float32(value)
    for _ in range(abs(steps)):
        moved = np.nextafter(moved, np.float32(np.inf if steps > 0 else -np.inf))
    if np.isfinite(moved):
        assert ulp_distance((value,), (float(moved),)) == abs(steps)
