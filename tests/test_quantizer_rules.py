"""The op rule table beside the published 8-bit quantization specification, and every deviation between the two."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import EllipsisType, MappingProxyType

import numpy as np
import pytest

import converter_oracle
import oracle
from converter_oracle import converter
from converter_oracle_graphs import (
    OTHER_OPS,
    SLICE_OPS,
    TABLE_OPS,
    Builder,
    Row,
    conv_2d_with,
    ints,
    relu,
    rule_graph,
    sin,
    single_op,
)
from models import T, one_op
from oracle import Rejected, litert
from refquant.compare import compare_models
from refquant.model import read_model, write_model
from refquant.model.graph import Model, Quantization, Tensor
from refquant.quantizer import Calibration, quantize
from refquant.quantizer.deviations import DEVIATIONS, EVERY_OP, Deviation
from refquant.quantizer.int8 import OWN_RECIPES
from refquant.quantizer.propagate import float_operands
from refquant.quantizer.recurrent import MEMORY_OPS
from refquant.quantizer.rules import OP_RULES
from refquant.quantizer.specification import (
    ONE_SCALE,
    REQUANTIZATION,
    Difference,
    Entry,
    Section,
    differences,
    sections,
)
from test_cli import refq  # noqa: F401  (a fixture)

# "LiteRT 8-bit quantization specification", section "int8 quantized operator specifications", as published on
# ai.google.dev/edge/litert and in tensorflow/tensorflow at dd3f9a1, in short: operands -> results.
#   0        int8 [-128, 127] per-tensor        w1@3  "Input 1 (Weight)", per-axis (dim = 3)    ...  any number
#   b2@      "Input 2 (Bias)", per-axis         b2    the same, per-tensor
#   0=a/b:z  result of scale a / b and zero point z                   same  "all have same scale/zero_point"
PAGE = {
    "ADD": "0 1 -> 0",
    "AVERAGE_POOL_2D": "0 -> 0 same",
    "CONCATENATION": "... -> 0 same",
    "CONV_2D": "0 w1@0 b2@ -> 0",
    "DEPTHWISE_CONV_2D": "0 w1@3 b2@ -> 0",
    "FULLY_CONNECTED": "0 w1@0 b2 -> 0",
    "L2_NORMALIZATION": "0 -> 0=1/128:0",
    "LOGISTIC": "0 -> 0=1/256:-128",
    "MAX_POOL_2D": "0 -> 0 same",
    "MUL": "0 1 -> 0",
    "RESHAPE": "0 -> 0 same",
    "RESIZE_BILINEAR": "0 -> 0 same",
    "SOFTMAX": "0 -> 0=1/256:-128",
    "SPACE_TO_DEPTH": "0 -> 0 same",
    "TANH": "0 -> 0=1/128:0",
    "PAD": "0 -> 0 same",
    "GATHER": "0 -> 0 same",
    "BATCH_TO_SPACE_ND": "0 -> 0 same",
    "SPACE_TO_BATCH_ND": "0 -> 0 same",
    "TRANSPOSE": "0 -> 0 same",
    "MEAN": "0 -> 0",
    "SUB": "0 1 -> 0",
    "SUM": "0 -> 0",
    "SQUEEZE": "0 -> 0 same",
    "LOG_SOFTMAX": "0 -> 0=16/256:127",
    "MAXIMUM": "0 -> 0 same",
    "ARG_MAX": "0 ->",
    "MINIMUM": "0 -> 0 same",
    "LESS": "0 1 ->",
    "PADV2": "0 -> 0 same",
    "GREATER": "0 1 ->",
    "GREATER_EQUAL": "0 1 ->",
    "LESS_EQUAL": "0 1 ->",
    "SLICE": "0 -> 0 same",
    "EQUAL": "0 1 ->",
    "NOT_EQUAL": "0 1 ->",
    "SHAPE": "0 ->",
    "QUANTIZE (Requantization)": "0 -> 0",
}

DEPTHWISE_TEXT = """\
DEPTHWISE_CONV_2D
  Input 0:
    data_type  : int8
    range      : [-128, 127]
    granularity: per-tensor
  Input 1 (Weight):
    data_type  : int8
    range      : [-127, 127]
    granularity: per-axis (dim = 3)
    restriction: zero_point = 0
  Input 2 (Bias):
    data_type  : int32
    range      : [int32_min, int32_max]
    granularity: per-axis
    restriction: (scale, zero_point) = (input0_scale * input1_scale[...], 0)
  Output 0:
    data_type  : int8
    range      : [-128, 127]
    granularity: per-tensor"""

# Ops of tfl_ops.td with the trait QuantizableResult (CONV_2D and DEPTHWISE_CONV_2D get it from their class).
MARKED_TEXT = """
ABS ADD ARG_MAX ARG_MIN AVERAGE_POOL_2D BATCH_MATMUL BATCH_TO_SPACE_ND BIDIRECTIONAL_SEQUENCE_LSTM BROADCAST_TO
CONCATENATION CONV_2D DEPTH_TO_SPACE DEPTHWISE_CONV_2D DIV DYNAMIC_UPDATE_SLICE EMBEDDING_LOOKUP EQUAL EXP EXPAND_DIMS
FAKE_QUANT FILL FULLY_CONNECTED GATHER GATHER_ND GELU GREATER GREATER_EQUAL HARD_SWISH L2_NORMALIZATION LEAKY_RELU LESS
LESS_EQUAL LOG LOG_SOFTMAX LOGISTIC LSTM MATRIX_DIAG MATRIX_SET_DIAG MAX_POOL_2D MAXIMUM MEAN MINIMUM MIRROR_PAD MUL
ONE_HOT PACK PAD PADV2 PRELU RANK REDUCE_MAX REDUCE_MIN REDUCE_PROD RELU RELU6 RELU_0_TO_1 RELU_N1_TO_1 RESHAPE
RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR REVERSE_SEQUENCE REVERSE_V2 RSQRT SCATTER_ND SELECT SELECT_V2 SHAPE SLICE
SOFTMAX SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPARSE_TO_DENSE SPLIT SPLIT_V SQRT SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB
SUM SVDF TANH TILE TOPK_V2 TRANSPOSE TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM UNIDIRECTIONAL_SEQUENCE_RNN UNIQUE
UNPACK
"""
MARKED_QUANTIZABLE = MARKED_TEXT.split()
MARKED_SINCE = {"DYNAMIC_UPDATE_SLICE"}  # not yet in TensorFlow 2.21.0


def transcribed(op: str, row: str) -> Section:
    """A row of PAGE as a section."""
    operands, _, results = row.partition("->")
    entries: dict[str, Entry] = {}
    for token in operands.split():
        kind, position, axis = re.fullmatch(r"([wb]?)(\d+|\.\.\.)(@\d*)?", token).groups()  # type: ignore[union-attr]
        if kind == "w":
            entries[f"Input {position} (Weight)"] = Entry(
                "int8", "[-127, 127]", f"per-axis (dim = {axis[1:]})", "zero_point = 0"
            )
        elif kind == "b":
            product = "(scale, zero_point) = (input0_scale * input1_scale[...], 0)"
            granularity = "per-axis" if axis else "per-tensor"
            entries[f"Input {position} (Bias)"] = Entry("int32", "[int32_min, int32_max]", granularity, product)
        else:
            entries[f"Input {position}"] = Entry()
    for token in results.replace("same", "").split():
        position, _, fixed = token.partition("=")
        a, b, zero_point = re.split("[/:]", fixed) if fixed else ("", "", "")
        restriction = f"(scale, zero_point) = ({a}.0 / {b}.0, {zero_point})" if fixed else ""
        entries[f"Output {position}"] = Entry(restriction=restriction)
    return Section(op, MappingProxyType(entries), ONE_SCALE if "same" in row else "")


def published() -> dict[str, Section]:
    return {op: transcribed(op, row) for op, row in PAGE.items()}


# the table and the page


def test_the_deviations_are_all_and_nothing_but_the_differences() -> None:
    found = set(differences(published(), sections()))
    told = [
        Difference(op, row.place, row.page, row.converter) for row in DEVIATIONS if not row.condition for op in row.ops
    ]
    assert len(told) == len(set(told))
    assert set(told) == found
    print(f"{len(PAGE)} ops of the page, {len(sections())} of the table, {len(found)} differences, each with a reason")


def test_the_table_turns_back_into_the_page() -> None:
    """Word for word, for every op of the page that no row without a condition names."""
    deviating = {op for row in DEVIATIONS if not row.condition for op in row.ops}
    page, table = published(), sections()
    agreeing = set(page) - deviating
    assert len(agreeing) == 33
    for op in agreeing:
        assert str(table[op]) == str(page[op]), op
    assert str(table["DEPTHWISE_CONV_2D"]) == DEPTHWISE_TEXT


def test_a_difference_is_found_wherever_it_is() -> None:
    page = published()
    for op, changed in (
        ("ADD", "0 -> 0"),
        ("CONV_2D", "0 w1@1 b2@ -> 0"),
        ("CONV_2D", "0 w1@0 b2 -> 0"),
        ("TANH", "0 -> 0=1/256:0"),
        ("TANH", "0 -> 0=1/128:1"),
        ("RESHAPE", "0 -> 0"),
        ("LESS", "0 1 -> 0"),
    ):
        assert len(list(differences(page, page | {op: transcribed(op, changed)}))) == 1, (op, changed)
    assert list(differences(page, {op: s for op, s in page.items() if op != "SUM"})) == [
        Difference("SUM", "op", "int8", "")
    ]


def test_the_front_page_counts_them() -> None:
    ops = [row for row in DEVIATIONS if not row.condition and row.place == "op"]
    unlisted, listed = (sum(len(row.ops) for row in ops if bool(row.page) == page) for page in (False, True))
    wrong = sum(len(row.ops) for row in ops if row.key.startswith("unlisted-wrong"))
    text = " ".join((Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8").split())
    assert f"{unlisted} ops that it makes int8 are not on the page, {listed} that is on the page stays float" in text
    assert f"and {wrong} give wrong values in int8" in text


def test_deviations_are_told_apart() -> None:
    assert len({row.key for row in DEVIATIONS}) == len(DEVIATIONS)
    for row in DEVIATIONS:
        assert row.reason.endswith("."), row.key
        assert row.page != row.converter, row.key
        assert set(row.ops) <= set(EVERY_OP) | set(PAGE), row.key


def test_every_deviation_under_a_condition_has_an_experiment() -> None:
    assert set(EXPERIMENTS) == {row.key for row in DEVIATIONS if row.condition}


def test_every_quantizable_op_has_a_row() -> None:
    rows = {op for op, rule in OP_RULES.items() if rule.quantizable}
    refused = set(OWN_RECIPES)
    assert rows == set(MARKED_QUANTIZABLE) - refused - MARKED_SINCE
    assert set(MARKED_QUANTIZABLE) & refused == {
        "BIDIRECTIONAL_SEQUENCE_LSTM", "FAKE_QUANT", "UNIDIRECTIONAL_SEQUENCE_RNN",
    }  # fmt: skip


# every op as a model


def dynamic(row: Row) -> Callable[[Builder], None]:
    """The operator on tensors of unknown dimensions: of known ones the converter makes something else."""

    def build(b: Builder) -> None:
        row(b)
        for index, tensor in enumerate(b.tensors):
            if tensor.type == "FLOAT32":
                b.tensors[index] = unknown(tensor)

    return build


def unknown(tensor: Tensor) -> Tensor:
    """The tensor with only the dimensions of 1 known; the others are written as 1."""
    signature = tuple(size if size == 1 else -1 for size in tensor.shape)
    return replace(tensor, shape=(1,) * len(signature), shape_signature=signature)


def floats_constant(*values: float) -> Callable[[Builder], int]:
    return lambda b: b.constant(np.array(values if len(values) > 1 else values[0], np.float32))


def int_constant(*values: object) -> Callable[[Builder], int]:
    return lambda b: ints(b, *values)


ROW = (2, 4)
FURTHER_OPS: dict[str, Callable[[Builder], None]] = {
    "EXPAND_DIMS": dynamic(Row("EXPAND_DIMS", ROW, ("x", int_constant(1)), ((2, 1, 4),))),
    "SQUEEZE": dynamic(Row("SQUEEZE", (2, 1, 4), ("x",), ((2, 4),), {"squeeze_dims": (1,)}, "SqueezeOptions")),
    "SHAPE": dynamic(Row("SHAPE", ROW, ("x",), ((2,),), {"out_type": "INT32"}, "ShapeOptions", ("INT32",))),
    "MATRIX_DIAG": Row("MATRIX_DIAG", ROW, ("x",), ((2, 4, 4),)),
    "MATRIX_SET_DIAG": Row("MATRIX_SET_DIAG", (2, 4, 4), ("x", (2, 4))),
    "SPARSE_TO_DENSE": Row(
        "SPARSE_TO_DENSE", (2,), (int_constant([[1], [3]]), int_constant([5]), "x", ()), ((5,),),
        {"validate_indices": False}, "SparseToDenseOptions",
    ),
    "UNIQUE": Row(
        "UNIQUE", (6,), ("x",), ((6,), (6,)), {"idx_out_type": "INT32"}, "UniqueOptions", ("FLOAT32", "INT32")
    ),
    "ATAN2": Row("ATAN2", ROW, ("x", ROW)),
    "CAST": Row("CAST", ROW, ("x",), None, None, None, ("INT32",)),
    "CEIL": Row("CEIL", ROW),
    "CUMSUM": Row("CUMSUM", ROW, ("x", int_constant(1)), None, {"exclusive": False, "reverse": False}, "CumsumOptions"),
    "FLOOR_DIV": Row("FLOOR_DIV", ROW, ("x", ROW)),
    "FLOOR_MOD": Row("FLOOR_MOD", ROW, ("x", ROW)),
    "LOCAL_RESPONSE_NORMALIZATION": Row(
        "LOCAL_RESPONSE_NORMALIZATION", (1, 2, 2, 4), ("x",), None,
        {"radius": 1, "bias": 1.0, "alpha": 1.0, "beta": 0.5}, "LocalResponseNormalizationOptions",
    ),
    "ROUND": Row("ROUND", ROW),
    "SEGMENT_SUM": Row("SEGMENT_SUM", (3, 4), ("x", int_constant([0, 0, 1])), ((2, 4),)),
    "SIGN": Row("SIGN", ROW),
    "UNSORTED_SEGMENT_MAX": Row(
        "UNSORTED_SEGMENT_MAX", (3, 4), ("x", int_constant([0, 0, 1]), int_constant(2)), (ROW,)
    ),
    "ZEROS_LIKE": Row("ZEROS_LIKE", ROW),
}  # fmt: skip
SINGLE_OPS = {op: build for op, build in {**SLICE_OPS, **OTHER_OPS}.items() if op != "shared weights"}
MODELLED = sorted({**SINGLE_OPS, **TABLE_OPS, **FURTHER_OPS})
# The converter always knows the rank, and puts a constant there; those with a memory: test_quantizer_recurrent*.py.
WITHOUT_MODEL = {"RANK", *MEMORY_OPS}


def model_of(op: str) -> Model:
    """One operator on inputs of the range [0, 1.5]."""
    if op in SINGLE_OPS and op not in TABLE_OPS:
        model = next(m for m in (single_op(op, np.random.default_rng(seed)) for seed in range(20)) if names(m) == [op])
    else:
        b = Builder(np.random.default_rng(3))
        ({**TABLE_OPS, **FURTHER_OPS})[op](b)
        model = b.model()
    tensors = tuple(
        replace(tensor, quantization=Quantization(min=(0.0,), max=(1.5,))) if tensor.quantization else tensor
        for tensor in model.graph.tensors
    )
    return model.with_graph(replace(model.graph, tensors=tensors))


def names(model: Model) -> list[str]:
    return [operator.name for operator in model.graph.operators]


def ranges_of(model: Model) -> Calibration:
    return Calibration.from_model(model)


def is_int8(model: Model, op: str) -> bool:
    """Whether the one operator of that op reads or computes int8."""
    (operator,) = (o for o in model.graph.operators if o.name == op)
    tensors = [model.graph.tensors[t] for t in (*operator.inputs, *operator.outputs) if t >= 0]
    return any(tensor.type == "INT8" for tensor in tensors)


def positions(where: tuple[int, ...] | EllipsisType, count: int) -> set[int]:
    return set(range(count)) if isinstance(where, EllipsisType) else set(where)


def test_every_row_has_a_model() -> None:
    assert EVERY_OP
    assert set(EVERY_OP) - set(MODELLED) == WITHOUT_MODEL


@pytest.mark.parametrize("op", [op for op in MODELLED if op in OP_RULES])
def test_rows_name_the_real_operands_and_results(op: str) -> None:
    model, rule = model_of(op), OP_RULES[op]
    (operator,) = model.graph.operators
    assert set(float_operands(model.graph, operator)) == positions(rule.inputs, len(operator.inputs)) & {
        slot for slot, tensor in enumerate(operator.inputs) if tensor >= 0
    }
    results = {n for n, t in enumerate(operator.outputs) if model.graph.tensors[t].type == "FLOAT32"}
    assert results == positions(rule.outputs, len(operator.outputs))


def samples(model: Model) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    tensors = [model.graph.tensors[index] for index in model.graph.inputs]
    return [
        rng.uniform(0.5, 1, t.shape).astype(np.float32) if t.type == "FLOAT32" else np.zeros(t.shape, np.int32)
        for t in tensors
    ]


def runs(model: Model) -> bool:
    try:
        litert.run(write_model(model), [samples(model)], "BUILTIN_WITHOUT_DEFAULT_DELEGATES")
    except Rejected:
        return False
    return True


@pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING)
@pytest.mark.parametrize("op", [op for op in MODELLED if op in EVERY_OP])
def test_litert_runs_what_the_table_says_it_runs(op: str) -> None:
    model = model_of(op)
    quantized = quantize(model, ranges_of(model))
    assert is_int8(quantized, op)
    assert runs(quantized) == OP_RULES[op].kernel
    assert OP_RULES[op].kernel or runs(model)


@pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING)
def test_litert_has_the_kernel_that_the_converter_does_not_use() -> None:
    operands = [T((2, 4), "INT8", 0.25), T((2, 4), "INT8", 0.5)]
    model = one_op("NOT_EQUAL", [*operands], [T((2, 4), "BOOL")], version=2)
    values = [np.full((2, 4), 2, np.int8), np.full((2, 4), 1, np.int8)]
    (result,) = litert.run(write_model(model), [values], "BUILTIN_REF", preserve=False)
    assert not next(iter(result.values())).any()


def table(b: Builder) -> int:
    return b.constant(np.array([[1], [3], [200]], np.float32))


WRONG_VALUES: dict[str, Callable[[Builder], None]] = {
    "EMBEDDING_LOOKUP": Row("EMBEDDING_LOOKUP", (), (int_constant([0, 1]), table), ((2, 1),)),
    "MATRIX_DIAG": Row("MATRIX_DIAG", (4,), ("x",), ((4, 4),)),
    "MATRIX_SET_DIAG": Row("MATRIX_SET_DIAG", (4, 4), ("x", (4,))),
    "ONE_HOT": Row(
        "ONE_HOT", (), (int_constant([0, 2]), int_constant(3), floats_constant(1), floats_constant(0)), ((2, 3),),
        {"axis": -1}, "OneHotOptions",
    ),
    "SCATTER_ND": Row("SCATTER_ND", (2,), (int_constant([[1], [3]]), "x", int_constant([5])), ((5,),)),
    "SPARSE_TO_DENSE": Row(
        "SPARSE_TO_DENSE", (2,), (int_constant([[1], [3]]), int_constant([5]), "x", floats_constant(0)), ((5,),),
        {"validate_indices": False}, "SparseToDenseOptions",
    ),
}  # fmt: skip


@pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING)
def test_ops_whose_int8_form_gives_wrong_values() -> None:
    """Ranges that fit the data, and yet errors of many steps: kernels that copy codes between two scales."""
    told = {op for row in DEVIATIONS if row.key in ("unlisted-wrong-scales", "unlisted-wrong-zeros") for op in row.ops}
    assert told == set(WRONG_VALUES)
    for op, build in WRONG_VALUES.items():
        b = Builder(np.random.default_rng(3))
        build(b)
        model = b.model()
        inputs = samples(model)
        if op == "MATRIX_SET_DIAG":
            inputs[1] = inputs[1] * np.float32(10)
        (result,) = litert.run(write_model(model), [inputs], "BUILTIN_WITHOUT_DEFAULT_DELEGATES")
        tensors = tuple(
            replace(t, quantization=Quantization(min=(float(result[i].min()),), max=(float(result[i].max()),)))
            if t.type == "FLOAT32" and not t.buffer and i in result
            else t
            for i, t in enumerate(model.graph.tensors)
        )
        ranged = model.with_graph(replace(model.graph, tensors=tensors))
        quantized = quantize(ranged, ranges_of(ranged))
        (output,) = (o.outputs[0] for o in quantized.graph.operators if o.name == op)
        step = quantized.graph.tensors[output].quantization.scale[0]  # type: ignore[union-attr]
        want, data = result[model.graph.outputs[0]], write_model(quantized)
        (got,) = litert.run(data, [inputs], "BUILTIN_WITHOUT_DEFAULT_DELEGATES", preserve=False)[0].values()
        assert np.abs(want - got).max() > 20 * step, op


# the converter itself

needs_tensorflow = [
    pytest.mark.tensorflow,
    pytest.mark.skipif(not converter_oracle.INSTALLED, reason=converter_oracle.MISSING),
]


def by_tensorflow(model: Model, **options: object) -> Model:
    return read_model(converter.quantize(write_model(model), **options))  # type: ignore[arg-type]


def by_both(model: Model, **options: object) -> Model:
    """TensorFlow's model, after refquant's has been found equal to it."""
    want = by_tensorflow(model, **options)
    comparison = compare_models(quantize(model, ranges_of(model), **options), want)  # type: ignore[arg-type]
    assert comparison.equal, str(comparison)
    return want


class TestConverter:
    pytestmark = needs_tensorflow

    @pytest.mark.parametrize("op", MODELLED)
    def test_what_becomes_int8(self, op: str) -> None:
        """In TensorFlow an op becomes int8 if it has a row, and stays float if not."""
        quantized = by_tensorflow(model_of(op))
        assert op in names(quantized)
        assert is_int8(quantized, op) == (op in EVERY_OP)

    @pytest.mark.parametrize("row", [row for row in DEVIATIONS if row.condition], ids=lambda row: row.key)
    def test_deviations_under_a_condition(self, row: Deviation) -> None:
        EXPERIMENTS[row.key](row)


# experiments: each shows what its row says with TensorFlow's converter, and LiteRT where the row speaks of it

DENSE = {
    "fused_activation_function": "NONE",
    "weights_format": "DEFAULT",
    "keep_num_dims": False,
    "asymmetric_quantize_inputs": False,
}
DEPTHWISE = {
    "padding": "SAME", "stride_w": 1, "stride_h": 1, "depth_multiplier": 1, "fused_activation_function": "NONE",
    "dilation_w_factor": 1, "dilation_h_factor": 1,
}  # fmt: skip


def product_op(op: str, weights: Callable[[Builder], int], bias: Callable[[Builder], int]) -> Builder:
    """CONV_2D, DEPTHWISE_CONV_2D or FULLY_CONNECTED of three channels; every tensor ranges from -1 to 2."""
    b = Builder(np.random.default_rng(3))
    if op == "FULLY_CONNECTED":
        x = b.input((2, 3))
        b.op(op, [x, weights(b), bias(b)], [(2, 3)], DENSE, "FullyConnectedOptions")
    elif op == "CONV_2D":
        x = b.input((1, 4, 4, 3))
        conv_2d_with(b, x, weights(b), bias(b))
    else:
        x = b.input((1, 4, 4, 3))
        b.op(op, [x, weights(b), bias(b)], [(1, 4, 4, 3)], DEPTHWISE, "DepthwiseConv2DOptions")
    b.tensors = [
        replace(t, quantization=Quantization(min=(-1.0,), max=(2.0,))) if t.quantization else t for t in b.tensors
    ]
    return b


SHAPES = {"CONV_2D": (3, 1, 1, 3), "DEPTHWISE_CONV_2D": (1, 1, 1, 3), "FULLY_CONNECTED": (3, 3)}


def slot(model: Model, op: str, operand: int) -> tuple[str, Quantization]:
    (operator,) = (o for o in model.graph.operators if o.name == op)
    tensor = model.graph.tensors[operator.inputs[operand]]
    assert tensor.quantization is not None
    return tensor.type, tensor.quantization


def constant(shape: tuple[int, ...]) -> Callable[[Builder], int]:
    return lambda b: b.constant(b.rng.normal(0, 1, shape).astype(np.float32))


def computed(shape: tuple[int, ...]) -> Callable[[Builder], int]:
    return lambda b: b.input(shape)


def weights_computed(row: Deviation) -> None:
    for op in row.ops:
        model = by_both(product_op(op, computed(SHAPES[op]), constant((3,))).model())
        type_, q = slot(model, op, 1)
        assert (type_, len(q.scale)) == ("INT8", 1)
        assert q.zero_point != (0,)
        if oracle.INSTALLED:
            assert runs(model) == (op != "CONV_2D")


def bias_computed(row: Deviation) -> None:
    for op in row.ops:
        model = by_both(product_op(op, constant(SHAPES[op]), computed((3,))).model())
        assert slot(model, op, 2)[0] == "INT8"
        if oracle.INSTALLED:
            assert not runs(model)


def bias_computed_without_range(row: Deviation) -> None:
    for op in row.ops:
        b = product_op(op, constant(SHAPES[op]), computed((3,)))
        bias = b.inputs[-1]
        b.tensors[bias] = replace(b.tensors[bias], quantization=None)
        model = by_both(b.model())
        assert slot(model, op, 2)[0] == "INT32"
        assert names(model).count("QUANTIZE") == 2
        if oracle.INSTALLED:
            assert not runs(model)


def bias_overflow(row: Deviation) -> None:
    for op in row.ops:
        weights = np.full(SHAPES[op], 1e-7, np.float32)
        huge = floats_constant(3e7, -7e8, 1.0)
        b = product_op(op, lambda b, weights=weights: b.constant(weights), huge)  # type: ignore[misc]
        model = by_both(b.model())
        (_, x), (_, w), (_, bias) = (slot(model, op, operand) for operand in range(3))
        assert all(np.float32(scale) > np.float32(1e-7) / 127 for scale in w.scale[:2])
        largest = 2**30 - 1
        assert np.allclose(bias.scale[:2], [3e7 / largest, 7e8 / largest], rtol=1e-6)
        product = np.array(w.scale) * x.scale[0]
        assert np.allclose(product, bias.scale, rtol=2e-7)


def per_tensor_option(row: Deviation) -> None:
    for op in row.ops:
        b = product_op(op, constant(SHAPES[op]), constant((3,)))
        assert len(slot(by_both(b.model(), per_channel=False), op, 1)[1].scale) == 1
        dense = by_both(b.model(), per_channel_dense=False)
        assert len(slot(dense, op, 1)[1].scale) == (1 if op == "FULLY_CONNECTED" else 3)


def no_parameters(row: Deviation) -> None:
    assert row.ops == EVERY_OP
    for op in row.ops:
        if op in WITHOUT_MODEL or op == "EMBEDDING_LOOKUP":
            continue
        model = model_of(op)
        tensors = tuple(replace(t, quantization=None) for t in model.graph.tensors)
        bare = model.with_graph(replace(model.graph, tensors=tensors))
        quantized = by_tensorflow(bare)
        always_int8 = OP_RULES[op].always is not None
        assert [n for n in names(quantized) if n not in ("QUANTIZE", "DEQUANTIZE")] == [op]
        assert is_int8(quantized, op) == always_int8, op


def not_reached(row: Deviation) -> None:
    for op in row.ops:
        model = model_of(op)
        (operator,) = model.graph.operators
        for as_output in (False, True):
            b = Builder(np.random.default_rng(3))
            b.tensors, b.buffers, b.inputs = list(model.graph.tensors), list(model.buffers), list(model.graph.inputs)
            b.operators = [operator]
            b.used = set(operator.inputs)
            operands = float_operands(model.graph, operator)
            computed_ = [operator.inputs[slot] for slot in operands]
            new = {t: relu(b, t)[0] for t in dict.fromkeys(computed_) if not b.tensors[t].buffer}
            for t, result in new.items():
                b.tensors[result] = replace(b.tensors[result], shape_signature=b.tensors[t].shape_signature)
            b.operators = [
                *b.operators[1:],
                replace(operator, inputs=tuple(new.get(t, t) for t in operator.inputs)),
            ]
            b.used |= set(new.values())
            if not as_output:
                for t in new.values():
                    sin(b, t)
            built = b.model(tuple(new.values()) if as_output else ())
            if any(b.tensors[t].buffer for t in computed_):
                assert is_int8(by_both(built), op)  # a constant has one reader only
            else:
                assert not is_int8(by_both(built), op), (op, as_output)


def not_visited_again(row: Deviation) -> None:
    model = by_both(rule_graph("not_carried_past_a_pad", np.random.default_rng(1)))
    assert not is_int8(model, "PAD")
    assert is_int8(model, "MAXIMUM")


def squeeze_is_reshape(row: Deviation) -> None:
    b = Builder(np.random.default_rng(3))
    Row("SQUEEZE", (2, 1, 4), ("x",), ((2, 4),), {"squeeze_dims": (1,)}, "SqueezeOptions")(b)
    assert names(by_tensorflow(b.model())) == ["QUANTIZE", "RESHAPE", "DEQUANTIZE"]


def shape_is_constant(row: Deviation) -> None:
    b = Builder(np.random.default_rng(3))
    Row("SHAPE", (2, 4), ("x",), ((2,),), {"out_type": "INT32"}, "ShapeOptions", ("INT32",))(b)
    assert names(by_tensorflow(b.model())) == []


EXPERIMENTS: dict[str, Callable[[Deviation], None]] = {
    "weights-computed": weights_computed,
    "bias-computed": bias_computed,
    "bias-computed-without-range": bias_computed_without_range,
    "bias-overflow": bias_overflow,
    "per-tensor-option": per_tensor_option,
    "no-parameters": no_parameters,
    "not-reached": not_reached,
    "not-visited-again": not_visited_again,
    "squeeze-is-reshape": squeeze_is_reshape,
    "shape-is-constant": shape_is_constant,
}


# the command


def test_the_command_prints_the_page(refq) -> None:  # noqa: F811
    result = refq("rules", "depthwise_conv_2d")
    assert result.code == 0
    assert result.out.startswith(DEPTHWISE_TEXT + "\n")
    everything = refq("rules").out
    assert all(str(section) in everything for section in sections().values())
    assert all(row.reason in everything for row in DEVIATIONS)


def test_the_command_tells_ops_without_a_row(refq) -> None:  # noqa: F811
    assert "stays float" in refq("rules", "SIN").out
    assert json.loads(refq("rules", "SIN", "--json").out)["stays_float"] == ["SIN"]
    unknown = refq("rules", "CONV2D")
    assert unknown.code == 2
    assert "TFLite has no op 'CONV2D'; near it are CONV_2D" in unknown.err


def test_the_commands_json_is_the_table(refq) -> None:  # noqa: F811
    everything = json.loads(refq("rules", "--json").out)
    assert [section["op"] for section in everything["rules"]] == list(sections())
    assert len(everything["deviations"]) == len(DEVIATIONS)
    (requantization,) = json.loads(refq("rules", "quantize", "--json").out)["rules"]
    assert requantization["op"] == REQUANTIZATION
