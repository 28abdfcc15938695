"""compare_models: every kind of difference is found, named and counted, and equal models are equal."""

from __future__ import annotations

import itertools
import json
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import refquant
from models import T, one_op
from refquant.cli.console import plain
from refquant.compare import compare_models
from refquant.compare.alignment import align
from refquant.compare.records import KEYS, diff_record
from refquant.compare.tensors import ulp_distance
from refquant.data import data_file
from refquant.model.graph import Graph, Model, Operator, Quantization, Tensor

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
    assert "operator 0 (FULLY_CONNECTED) input 0 't0': scale 0.5 -> 0.50000006, 1 ulp" in str(differences[1])
    assert (differences[0].a.scale_bits, differences[0].b.scale_bits) == (("0x3f000000",), ("0x3f000001",))
    assert differences[0].scales == 1


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
    assert difference.first_element == (0, 0)
    assert "2 of 6 elements, largest step 4, first at [0, 0]" in str(difference)


def test_scales_of_channels_are_counted() -> None:
    (difference,) = only(compare_models(dense(), dense(filter_scale=[0.25, 0.5])))
    assert (difference.what, difference.scales, difference.first_scale) == (("scale",), 1, 1)
    assert "0.125 -> 0.5, 16,777,216 ulp (times 4) (index 1; 1 of 2 differ)" in str(difference)


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
    assert any(d.slot == "input 1" and d.what == ("constant",) for d in comparison.differences)
    assert comparison.structure == ("subgraph 0: a has 1 inputs, b 2",)


def chain(*ops: str, scale: float = 1.0, names: str = "") -> Model:
    """One operator after another on int8; the tensor behind operator k is called k, or by its letter in `names`."""
    tensors = [Tensor("x", "INT8", (4,), 0, Quantization((scale,), (0,)))]
    operators = []
    for number, op in enumerate(ops):
        name = names[number] if names else str(number)
        type_ = "FLOAT32" if op == "DEQUANTIZE" else "INT8"
        tensors.append(Tensor(name, type_, (4,), 0, None if op == "DEQUANTIZE" else Quantization((scale,), (0,))))
        operators.append(Operator(op, (number,), (number + 1,)))
    return Model((Graph(tuple(tensors), tuple(operators), (0,), (len(ops),)),), (b"",))


def test_an_extra_operator_is_named_and_the_rest_compared() -> None:
    a = chain("RELU", "ABS", "RELU6", "EXP", names="pqrs")
    b = chain("RELU", "RELU6", "EXP", scale=2.0, names="prs")
    for one, other, owner in ((a, b, "a"), (b, a, "b")):
        comparison = compare_models(one, other)
        assert [(o.model, o.operator, o.op, o.name) for o in comparison.operators] == [(owner, 1, "ABS", "q")]
        last = comparison.differences[-1]
        assert (last.op, last.slot, last.what) == ("EXP", "output 0", ("scale",))
        assert {last.operator, last.operator_b} == {2, 3}
        assert comparison.slots == 8
        assert comparison.differing == 8
    assert f"operator 1 (ABS) 'q' is in {owner} only" in str(comparison)
    assert "operator 2 (b 3) (EXP) output 0" in str(comparison)


def test_among_equal_operators_names_and_shapes_tell_which_is_extra() -> None:
    a, b = chain("RELU", "RELU", "RELU", names="pqr"), chain("RELU", "RELU", names="pr")
    (extra,) = compare_models(a, b).operators
    assert (extra.operator, extra.name) == (1, "q")
    (extra,) = compare_models(
        chain(*["RELU"] * 3, "EXP", names="pqrz"), chain("RELU", "RELU", "EXP", names="qrz")
    ).operators
    assert (extra.operator, extra.name) == (0, "p")


@pytest.mark.parametrize("left", ["pq", "pr", "qr"])
def test_names_tell_where_the_ends_differ_too(left: str) -> None:
    a = chain("EXP", "RELU", "RELU", "RELU", "ABS", names="apqrz")
    b = chain("NEG", "RELU", "RELU", "COS", names=f"b{left}w")
    extra = [o.name for o in compare_models(a, b).operators if o.op == "RELU"]
    assert extra == [name for name in "pqr" if name not in left]


def test_one_operator_in_place_of_another() -> None:
    comparison = compare_models(chain("RELU"), chain("RELU6"))
    assert not comparison.equal
    assert [(o.model, o.op) for o in comparison.operators] == [("a", "RELU"), ("b", "RELU6")]
    none = compare_models(chain("RELU"), Model((replace(chain("RELU").graph, operators=()),), (b"",)))
    assert [(o.model, o.op) for o in none.operators] == [("a", "RELU")]


def test_subgraphs_that_only_one_model_has() -> None:
    a = chain("RELU")
    two = replace(a, graphs=(a.graph, a.graph))
    comparison = compare_models(a, two)
    assert comparison.structure == ("a has 1 subgraphs, b 2; the surplus ones are not compared",)
    assert compare_models(two, two).slots == 2 * compare_models(a, a).slots
    changed = replace(two, graphs=(a.graph, chain("RELU", scale=2.0).graph))
    assert {d.subgraph for d in only(compare_models(two, changed))} == {1}


ops = st.lists(st.sampled_from(["RELU", "ABS", "EXP"]), max_size=9)


@given(ops, ops)
def test_alignments_are_longest_common_sequences(first: list[str], second: list[str]) -> None:
    pairs = align(chain(*first).graph, chain(*second).graph).pairs
    assert all(first[one] == second[other] for one, other in pairs)
    assert all(p[0] < q[0] and p[1] < q[1] for p, q in itertools.pairwise(pairs))
    lengths = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, one in enumerate(first):
        for j, other in enumerate(second):
            lengths[i + 1][j + 1] = lengths[i][j] + 1 if one == other else max(lengths[i][j + 1], lengths[i + 1][j])
    assert len(pairs) == lengths[-1][-1]


def test_thousands_of_operators_are_aligned() -> None:
    rng = np.random.default_rng(0)
    long = [str(op) for op in rng.choice(["RELU", "ABS", "EXP", "NEG"], 3000)]
    short = [op for number, op in enumerate(long) if number % 100 != 50]
    assert len(align(chain(*long).graph, chain(*short).graph).pairs) == len(short)


def test_too_many_operators_are_paired_by_their_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("refquant.compare.alignment.MAX_CELLS", 0)
    comparison = compare_models(chain("RELU", "ABS"), chain("ABS", "ABS"))
    assert "too many operators to align" in comparison.structure[0]
    assert [o.op for o in comparison.operators] == ["RELU", "ABS"]


def test_an_operator_that_stayed_float() -> None:
    quantized = one_op("RELU", [T((4,), "INT8", 1.0)], [T((4,), "INT8", 1.0)])
    float_ = one_op("RELU", [T((4,), "FLOAT32")], [T((4,), "FLOAT32")])
    comparison = compare_models(quantized, float_)
    assert str(comparison.forms[0]) == "subgraph 0, operator 0 (RELU) stayed float in b; it is int8 in a"
    assert all(d.what == ("type",) for d in comparison.differences)
    hybrid = [T((1, 3), "FLOAT32"), T(data=W, scale=[0.25, 0.125]), None]
    comparison = compare_models(dense(), one_op("FULLY_CONNECTED", hybrid, [T((1, 2), "FLOAT32")]))
    assert (comparison.forms[0].a, comparison.forms[0].b) == ("int8", "float with int8 weights")


def test_int8_and_uint8_share_their_scale() -> None:
    a, b = (
        one_op("RELU", [T((1,), type_, 0.5, z)], [T((1,), "INT8", 1.0)]) for type_, z in (("INT8", 1), ("UINT8", 129))
    )
    assert {d.what for d in only(compare_models(a, b))} == {("type", "zero_point")}


def test_a_requantization_that_one_model_lacks() -> None:
    a, b = chain("RELU", "QUANTIZE", "ABS"), chain("RELU", "ABS")
    comparison = compare_models(a, b)
    assert not comparison.operators
    assert not comparison.differences
    (difference,) = comparison.conversion_differences
    assert (difference.of, difference.b) == ("operator 0 output 0", None)
    assert difference.a.to == ("operator 1 input 0",)
    assert difference.a.behind == "operator 0"
    assert not comparison.equal


def test_conversions_that_differ_stand_side_by_side() -> None:
    a, b = chain("RELU", "QUANTIZE", "ABS"), chain("RELU", "QUANTIZE", "ABS", scale=2.0)
    (difference,) = compare_models(a, b).conversion_differences
    assert difference.a.source[1] == (1.0,)
    assert difference.b.source[1] == (2.0,)
    extra = chain("EXP", "RELU", "QUANTIZE", "ABS", names="e0q2")
    assert [c.of for c in compare_models(a, extra).conversions[1]] == ["operator 0 output 0"]


def test_conversions_are_listed_apart() -> None:
    comparison = compare_models(
        data_file("golden/models/digits_cnn_int8.tflite"), data_file("golden/models/digits_cnn_int8_floatio.tflite")
    )
    assert not comparison.equal
    assert [c.op for c in comparison.conversions[1]] == ["QUANTIZE", "DEQUANTIZE"]
    assert comparison.conversions[0] == ()
    assert {d.slot for d in comparison.differences} == {"graph input 0", "graph output 0"}
    assert [d.of for d in comparison.conversion_differences] == ["graph input 0", "operator 10 output 0"]
    assert "0 and 2 conversions, 2 differing" in str(comparison)


def test_constants_without_an_array_form_are_compared_as_bytes() -> None:
    def packed(data: bytes) -> Model:
        model = dense()
        weights = replace(model.graph.tensors[1], type="INT4")
        tensors = (model.graph.tensors[0], weights, *model.graph.tensors[2:])
        return replace(model.with_graph(replace(model.graph, tensors=tensors)), buffers=(b"", data))

    (difference,) = only(compare_models(packed(b"abc"), packed(b"aXc")))
    assert (difference.what, difference.elements, difference.largest_step) == (("data",), 1, None)
    assert "1 bytes" in str(difference)


def test_the_json_record_is_whole_and_documented() -> None:
    a, b = (data_file(f"golden/models/digits_ds_{name}.tflite") for name in ("int8_floatio", "int8_per_tensor"))
    comparison = compare_models(a, b, data_file("golden/models/digits_ds_float.tflite"))
    record = json.loads(json.dumps(plain(diff_record(comparison))))
    assert keys_of(record) <= set(KEYS)
    assert record["equal"] is False
    assert len(record["differences"]) == comparison.differing == record["counts"]["differing_slots"]
    first = next(d for d in record["differences"] if "granularity" in d["what"])
    assert len(first["a"]["scale"]) == len(first["a"]["scale_bits"]) > len(first["b"]["scale"]) == 1
    assert set(record["audits"]) == {"a", "b"}


def keys_of(value: object) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(keys_of, value.values()))
    return set().union(*map(keys_of, value)) if isinstance(value, list) else set()


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
