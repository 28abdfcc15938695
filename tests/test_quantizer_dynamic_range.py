"""The dynamic range mode, by both quantizers: its integers against exact fractions, its rules, what it refuses."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import refquant
from converter_oracle_graphs import Builder
from models import T, one_op
from refquant.errors import InvalidInput, NotQuantizable
from refquant.model.graph import Graph, Model, Operator
from refquant.model.schema import ENUM_VALUES
from refquant.quantizer import decide, quantize
from refquant.quantizer.dynamic_range import FEWEST_ELEMENTS, HYBRID_RULES
from refquant.quantizer.legacy.weights import OLD_HYBRID_RULES

DENSE = {"fused_activation_function": "NONE", "weights_format": "DEFAULT", "keep_num_dims": False}


def dense(weights: np.ndarray) -> Model:
    """FULLY_CONNECTED of constant weights, float32."""
    rows, columns = weights.shape
    return one_op(
        "FULLY_CONNECTED", [T((2, columns), "FLOAT32"), T(data=weights), None], [T((2, rows), "FLOAT32")], DENSE
    )


def weights_of(model: Model) -> tuple[np.ndarray, np.ndarray]:
    """(integers, scales) of the one int8 constant."""
    (tensor,) = (t for t in model.graph.tensors if t.type == "INT8")
    values = model.constant(tensor)
    assert values is not None
    assert tensor.quantization is not None
    assert set(tensor.quantization.zero_point) == {0}
    return values, np.asarray(tensor.quantization.scale, np.float32)


def half_way(seed: int, channels: int, count: int) -> np.ndarray:
    """Weights of which many lie half way between two integers, or one float32 step beside; zero and tiny channels."""
    rng = np.random.default_rng(seed)
    largest = np.float32(10.0) ** rng.integers(-4, 4, (channels, 1)) * rng.uniform(0.5, 2, (channels, 1))
    steps = rng.integers(-126, 126, (channels, count)) + rng.choice([0.5, 0.25], (channels, count))
    weights = (largest.astype(np.float32).astype(np.float64) / 127 * steps).astype(np.float32)
    beside = rng.choice([-np.inf, np.inf], weights.shape).astype(np.float32)
    weights = np.where(rng.random(weights.shape) < 0.5, weights, np.nextafter(weights, beside))
    weights[:, 0] = largest[:, 0]
    kind = rng.integers(0, 6, channels)
    weights[kind == 0] = 0
    weights[kind == 1] *= np.float32(1e-9)
    return weights.astype(np.float32)


def slow_float64(row: list[float]) -> tuple[float, list[int]]:
    """S = 2 max|w| / 254 in float64, q = the integer nearest the float64 quotient w / S, halves away from zero."""
    width = 2 * max(map(abs, row))
    scale = (width if width > 1e-6 else 1e-6) / 254
    return scale, [nearest(Fraction(value / scale)) for value in row]


def slow_float32(row: list[float], of_zeros: float) -> tuple[float, list[int]]:
    """s = max|w| / 127 and q = round(w * (127 / max|w|)), each step rounded to float32 from an exact fraction."""
    largest = Fraction(max(map(abs, row)))
    if not largest:
        return of_zeros, [0] * len(row)
    inverse = to_float32(Fraction(127) / largest)
    return float(to_float32(largest / 127)), [nearest(to_float32(Fraction(value) * inverse)) for value in row]


def nearest(value: Fraction) -> int:
    """Halves away from zero."""
    return int(math.copysign(1, value)) * math.floor(abs(value) + Fraction(1, 2))


def to_float32(value: Fraction) -> Fraction:
    """The nearest float32, ties to even, of a normal number."""
    if not value:
        return value
    exponent = math.frexp(float(abs(value)))[1]
    if abs(value) >= Fraction(2) ** exponent:
        exponent += 1
    unit = Fraction(2) ** max(exponent - 24, -149)
    return round(value / unit) * unit


@given(st.integers(0, 2**32), st.sampled_from([8, 16]), st.booleans())
def test_integers_of_half_way_weights(seed: int, channels: int, per_channel: bool) -> None:
    """As exact fractions give them, with the float64 scale that the file does not hold."""
    weights = half_way(seed, channels, FEWEST_ELEMENTS // channels)
    got, scales = weights_of(quantize(dense(weights), mode="dynamic_range", per_channel=per_channel))
    rows = [list(map(float, row)) for row in (weights if per_channel else weights.reshape(1, -1))]
    want = [slow_float64(row) for row in rows]
    assert scales.tolist() == [float(np.float32(scale)) for scale, _ in want]
    np.testing.assert_array_equal(got.reshape(len(rows), -1), [integers for _, integers in want])


@given(st.integers(0, 2**32), st.sampled_from([8, 16]))
def test_integers_of_the_old_quantizer(seed: int, channels: int) -> None:
    """Float32 at every step; one scale in dense layers, one per channel in convolutions."""
    weights = half_way(seed, channels, FEWEST_ELEMENTS // channels)
    got, scales = weights_of(quantize(dense(weights), mode="dynamic_range", quantizer="legacy"))
    scale, integers = slow_float32(list(map(float, weights.reshape(-1))), of_zeros=1.0)
    assert scales.tolist() == [scale]
    assert got.reshape(-1).tolist() == integers
    filters = weights.reshape(channels, 1, 1, -1)
    got, scales = weights_of(quantize(convolution(filters), mode="dynamic_range", quantizer="legacy"))
    rows = [slow_float32(list(map(float, row)), of_zeros=0.0) for row in weights]
    assert scales.tolist() == [scale for scale, _ in rows]
    np.testing.assert_array_equal(got.reshape(channels, -1), [integers for _, integers in rows])


def convolution(filters: np.ndarray) -> Model:
    channels, depth = filters.shape[0], filters.shape[3]
    options = {"padding": "SAME", "stride_w": 1, "stride_h": 1, "fused_activation_function": "NONE",
               "dilation_w_factor": 1, "dilation_h_factor": 1}  # fmt: skip
    bias = np.zeros(channels, np.float32)
    return one_op("CONV_2D", [T((1, 4, 4, depth), "FLOAT32"), T(data=filters), T(data=bias)],
                  [T((1, 4, 4, channels), "FLOAT32")], options)  # fmt: skip


@pytest.mark.parametrize("quantizer", ["mlir", "legacy"])
@pytest.mark.parametrize(("elements", "type_"), [(1023, "FLOAT32"), (1024, "INT8")])
def test_constants_of_1024_elements(elements: int, type_: str, quantizer: str) -> None:
    weights = np.ones((1, elements), np.float32)
    model = quantize(dense(weights), mode="dynamic_range", quantizer=quantizer)
    assert model.graph.tensors[model.graph.operators[0].inputs[1]].type == type_
    assert model.graph.operators[0].options.get("asymmetric_quantize_inputs", False) is (type_ == "INT8")


def shared_table() -> Model:
    """GATHER of a table, SLICE of its result, FULLY_CONNECTED and ADD of the same table."""
    b = Builder(np.random.default_rng(0), ranked=True)
    ids, x = b.input((5,), "INT32"), b.input((2, 32))
    table = b.constant(b.rng.normal(size=(32, 32)).astype(np.float32), "table")
    begin, size = b.constant(np.zeros(2, np.int32), "begin"), b.constant(np.int32([3, 32]), "size")
    gathered, sliced = b.add((5, 32), "gathered"), b.add((3, 32), "sliced")
    result, total = b.add((2, 32), "result"), b.add((32, 32), "total")
    operators = (
        Operator("GATHER", (table, ids), (gathered,), options={"axis": 0, "batch_dims": 0}),
        Operator("SLICE", (gathered, begin, size), (sliced,)),
        Operator("FULLY_CONNECTED", (x, table, -1), (result,), options=DENSE),
        Operator("ADD", (table, table), (total,), options={"fused_activation_function": "NONE"}),
    )
    graph = Graph(tuple(b.tensors), operators, tuple(b.inputs), (sliced, result, total), "main")
    return Model((graph,), tuple(b.buffers), description="a table")


def test_one_constant_of_several_readers() -> None:
    """A copy per dimension of scales; DEQUANTIZE moves behind what makes its tensor smaller; ADD reads float32."""
    decision = decide(shared_table(), mode="dynamic_range")
    assert [(t.name, t.parameters.axis, str(t.why)) for t in decision.tensors] == [
        ("table", None, "max |w|, weights of operator 0 (GATHER)"),
        ("gathered", None, "DEQUANTIZE moved behind operator 0"),
        ("sliced", None, "DEQUANTIZE moved behind operator 1"),
        ("table", 0, "max |w|, weights of operator 2 (FULLY_CONNECTED)"),
    ]
    assert [(c.name, str(c.why)) for c in decision.float_constants] == [
        ("table", "operator 3 (ADD) reads it as float32")
    ]
    assert [(f.operator, f.why.kind) for f in decision.float_operators] == [
        (1, "no hybrid form"),
        (3, "no hybrid form"),
    ]
    model = quantize(shared_table(), mode="dynamic_range")
    assert [(o.name, o.version) for o in model.graph.operators] == [
        ("GATHER", 2), ("SLICE", 2), ("DEQUANTIZE", 2), ("FULLY_CONNECTED", 12), ("ADD", 1),
    ]  # fmt: skip
    refquant.run(model, {"in0": np.int32([4, 0, 1, 1, 2]), "in1": np.ones((2, 32), np.float32)})


def test_the_old_quantizer_takes_the_first_readers_scale() -> None:
    """In place, under one index; who cannot read int8 reads a DEQUANTIZE of all of it."""
    model = quantize(shared_table(), mode="dynamic_range", quantizer="legacy")
    assert [o.name for o in model.graph.operators] == ["DEQUANTIZE", "GATHER", "SLICE", "FULLY_CONNECTED", "ADD"]
    assert model.graph.tensors[2].type == "INT8"
    assert model.graph.tensors[-1].name == "table_dequantize"
    assert len(model.graph.tensors) == len(shared_table().graph.tensors) + 1


def test_rules_name_what_the_schema_has() -> None:
    for table in (HYBRID_RULES, OLD_HYBRID_RULES):
        assert list(table) == sorted(table)
        assert set(table) <= set(ENUM_VALUES["BuiltinOperator"])


@pytest.mark.parametrize("mode", ["dynamic_range", "float16"])
@pytest.mark.parametrize("quantizer", ["mlir", "legacy"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_type": "int8"}, "input_type='int8': mode '{mode}' has no such choice"),
        ({"allow_float": False}, "allow_float=False: mode '{mode}' has no such choice"),
        ({"denied_ops": ["ADD"]}, r"denied_ops=\('ADD',\): mode '{mode}' has no such choice"),
        ({"bias_type": "int32"}, "bias_type='int32': mode '{mode}' has no such choice"),
        ({"calibration": refquant.Calibration(())}, "quantizes no activations"),
    ],
)
def test_options_that_the_mode_has_not(mode: str, quantizer: str, options: dict[str, Any], message: str) -> None:
    model = dense(np.ones((32, 32), np.float32))
    with pytest.raises(InvalidInput, match=message.format(mode=mode)):
        quantize(model, mode=mode, quantizer=quantizer, **options)


def test_a_mode_that_needs_ranges_says_so() -> None:
    with pytest.raises(InvalidInput, match="calibration"):
        quantize(dense(np.ones((32, 32), np.float32)), mode="int8")


@pytest.mark.parametrize("quantizer", ["mlir", "legacy"])
def test_refused_models(quantizer: str) -> None:
    broken = np.ones((32, 32), np.float32)
    broken[3, 4] = np.inf
    with pytest.raises(NotQuantizable, match="tensor 't1': the weights are not all finite"):
        quantize(dense(broken), mode="dynamic_range", quantizer=quantizer)
    done = quantize(dense(np.ones((32, 32), np.float32)), mode="dynamic_range", quantizer=quantizer)
    with pytest.raises(NotQuantizable, match="is quantized already; give the float model"):
        quantize(done, mode="dynamic_range", quantizer=quantizer)
