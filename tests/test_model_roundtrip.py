"""What is written is read back: random models and every model file at hand, by refquant, the package and LiteRT."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
import tflite
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import oracle
from refquant.errors import InvalidModel, UnsupportedModel
from refquant.model import check_quantized_dimensions, read_model, validate
from refquant.model.graph import DTYPES, Graph, Metadata, Model, Operator, Quantization, Signature, Tensor
from refquant.model.reader import Decoder
from refquant.model.schema import ENUM_VALUES, ENUMS, OPTIONS_OF, SLOTS, TABLES, UNIONS, default_options, options_union
from refquant.model.validation import ELEMENT_BITS, SUBGRAPH_OPTIONS
from refquant.model.writer import write_model
from test_model_rules import rich_model, small_model, with_operator, with_quantization, with_tensor
from test_model_schema import package_table

MODELS = Path(os.environ.get("REFQUANT_MODELS") or Path(__file__).resolve().parents[2] / "shared" / "models")
FILES = sorted(MODELS.glob("**/*.tflite"))
# Files for TFLite Micro that LiteRT 2.3.0 does not run: what it says of them.
NOT_FOR_LITERT = {
    "person_detect.tflite": r"quantized_dimension must be in range \[0, 1\). Was 3",
    "keyword_scrambled_8bit.tflite": "died with code",
}
NO_FILES = f"models missing: there is no .tflite file under {MODELS} (set REFQUANT_MODELS to a folder that has some)"

# Random models -----------------------------------------------------------------------------------------------------

INTEGERS = {"byte": 8, "short": 16, "int": 32, "long": 64}
FLOATS = st.floats(width=32, allow_nan=False)
OPERATORS = sorted(ENUM_VALUES["BuiltinOperator"])
NAMES = st.text(st.characters(codec="utf-8"), max_size=6)


@cache
def scalars(type_: str) -> st.SearchStrategy[Any]:
    if type_ in INTEGERS:
        return st.integers(-(2 ** (INTEGERS[type_] - 1)), 2 ** (INTEGERS[type_] - 1) - 1)
    if type_.startswith("u"):
        return st.integers(0, 2 ** INTEGERS[type_[1:]] - 1)
    return st.booleans() if type_ == "bool" else FLOATS


@cache
def enums(enum: str) -> st.SearchStrategy[Any]:
    unnamed = st.integers(100, 127).filter(lambda number: number not in ENUM_VALUES[enum].values())
    return st.sampled_from(sorted(ENUM_VALUES[enum])) | unnamed


@cache
def tables(name: str) -> st.SearchStrategy[dict[str, Any]]:
    """Every field of a table, as the decoder gives them."""

    @st.composite
    def fields(draw: st.DrawFn) -> dict[str, Any]:
        drawn: dict[str, Any] = {}
        for _, field in SLOTS[name]:
            if field.type in UNIONS:
                member = draw(st.none() | st.sampled_from(sorted(set(ENUM_VALUES[field.type]) - {"NONE"})))
                drawn[f"{field.name}_type"] = member
                drawn[field.name] = None if member is None else draw(tables(member))
            else:
                drawn[field.name] = draw(values(field.type))
        return drawn

    return fields()


@cache
def values(type_: str) -> st.SearchStrategy[Any]:
    if type_ == "string":
        return st.none() | NAMES
    if type_ == "blob":
        return st.none() | st.binary(max_size=9)
    if type_.startswith("["):
        element = type_[1:-1]
        return st.none() | st.lists(tables(element) if element in TABLES else values(element), max_size=3).map(tuple)
    if type_ in TABLES:
        return st.none() | tables(type_)
    return enums(type_) if type_ in ENUMS else scalars(type_)


@st.composite
def quantizations(draw: st.DrawFn, tensors: int) -> Quantization | None:
    kind = draw(st.sampled_from(["none", "affine", "ranges", "details"]))
    if kind == "none":
        return None
    if kind == "ranges":
        return Quantization(min=tuple(draw(st.lists(FLOATS, min_size=1, max_size=3))), max=(1.0,))
    if kind == "affine":
        scale = draw(st.lists(st.floats(0, 2.0**99, width=32), min_size=1, max_size=4))
        zero_point = draw(st.lists(st.integers(0, 127), min_size=len(scale), max_size=len(scale)))
        return Quantization(tuple(scale), tuple(zero_point), draw(scalars("int")))
    details = draw(
        st.fixed_dictionaries({"custom": st.none() | st.binary(max_size=20)}).map(
            lambda fields: {"details_type": "CustomQuantization", "details": fields}
        )
        | st.fixed_dictionaries(
            {
                "scales": st.integers(0, tensors - 1),
                "zero_points": st.integers(-1, tensors - 1),
                "block_size": st.integers(0, 2**31 - 1),
            }
        ).map(lambda fields: {"details_type": "BlockwiseQuantization", "details": fields})
    )
    return Quantization(details=details, quantized_dimension=draw(st.integers(0, 3)))


@st.composite
def tensors_and_data(draw: st.DrawFn, count: int) -> tuple[Tensor, bytes]:
    type_ = draw(st.sampled_from(sorted(ENUM_VALUES["TensorType"])) | st.just("99"))
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=4)))
    kind = draw(st.sampled_from(["plain", "constant", "variable", "external"]))
    data = b""
    if kind == "constant" and type_ in ELEMENT_BITS and 0 not in shape:
        size = (int(np.prod(shape, dtype=int)) * ELEMENT_BITS[type_] + 7) // 8
        data = draw(st.binary(min_size=size, max_size=size))
    tensor = Tensor(
        name=draw(NAMES),
        type=type_,
        shape=shape,
        buffer=0,
        quantization=draw(quantizations(count)),
        shape_signature=draw(st.none() | st.lists(st.integers(-1, 9), max_size=4).map(tuple)),
        is_variable=kind == "variable",
        has_rank=draw(st.booleans()),
        sparsity=None if data else draw(st.none() | tables("SparsityParameters")),
        variant_tensors=tuple(draw(st.lists(tables("VariantSubType"), max_size=2))),
        external_buffer=draw(st.integers(1, 2**32 - 1)) if kind == "external" else 0,
    )
    return tensor, data


@st.composite
def operators(draw: st.DrawFn, readable: list[int], free: list[int], later_graphs: list[int]) -> Operator:
    """An operator that reads what is there and gives some of the free tensors, which it takes from the list."""
    callable_tables = [table for table in OPTIONS_OF.values() if later_graphs or table not in SUBGRAPH_OPTIONS]
    names = sorted(
        name for name in ENUM_VALUES["BuiltinOperator"] if OPTIONS_OF.get(name, "") in ["", *callable_tables]
    )
    name = draw(st.sampled_from([*names, "999"]) | st.just("CUSTOM"))
    inputs = draw(st.lists(st.sampled_from([-1, *readable]), max_size=3))
    outputs = [free.pop() for _ in range(draw(st.integers(0, min(2, len(free)))))]
    readable += outputs
    table = OPTIONS_OF.get(name) if draw(st.booleans()) else None
    fields = {} if table is None else draw(tables(table))
    for field in SUBGRAPH_OPTIONS.get(table or "", ()):
        called = draw(st.sampled_from(later_graphs))
        fields[field] = (called,) if field.endswith("indices") else called
    second = table is not None and options_union(table) == "BuiltinOptions2"
    return Operator(
        name,
        tuple(inputs),
        tuple(outputs),
        version=draw(st.integers(1, 3)),
        custom_code=draw(NAMES.filter(bool)) if name == "CUSTOM" else draw(st.none() | NAMES),
        options_type=None if second else table,
        options={} if second else fields,
        options2_type=table if second else None,
        options2=fields if second else {},
        custom_options=draw(st.binary(max_size=20)),
        intermediates=tuple(draw(st.lists(st.sampled_from([-1, *readable]), max_size=2))),
        mutating_variable_inputs=tuple(draw(st.sampled_from([[], [True] * len(inputs)]))),
        debug_metadata_index=draw(scalars("int")),
    )


@st.composite
def models(draw: st.DrawFn) -> Model:
    """A model that keeps all rules and is otherwise anything."""
    buffers = [b"", *draw(st.lists(st.binary(max_size=40), max_size=2))]
    graphs = []
    count = draw(st.integers(1, 3))
    for index in range(count):
        size = draw(st.integers(1, 6))
        tensors: list[Tensor] = []
        for tensor, data in draw(st.lists(tensors_and_data(size), min_size=size, max_size=size)):
            if data or 0 in tensor.shape:
                buffers.append(data)
                tensors.append(replace(tensor, buffer=len(buffers) - 1))
            else:
                tensors.append(tensor)
        given = [i for i, t in enumerate(tensors) if t.is_variable or t.external_buffer or buffers[t.buffer]]
        free = [i for i in range(size) if i not in given]
        inputs = [free.pop() for _ in range(draw(st.integers(0, len(free))))]
        readable = given + inputs
        ops = tuple(
            draw(operators(readable, free, list(range(index + 1, count)))) for _ in range(draw(st.integers(0, 3)))
        )
        outputs = draw(st.lists(st.sampled_from(readable), max_size=3)) if readable else []
        graphs.append(Graph(tuple(tensors), ops, tuple(inputs), tuple(outputs), draw(NAMES), draw(scalars("int"))))

    def pairs(graph: int) -> st.SearchStrategy[tuple[tuple[str, int], ...]]:
        return st.lists(st.tuples(NAMES, st.integers(0, len(graphs[graph].tensors) - 1)), max_size=2).map(tuple)

    signatures = []
    for _ in range(draw(st.integers(0, 2))):
        graph = draw(st.integers(0, count - 1))
        signatures.append(Signature(draw(NAMES), draw(pairs(graph)), draw(pairs(graph)), graph))
    metadata = st.builds(Metadata, NAMES, st.integers(0, len(buffers) - 1))
    return Model(
        graphs=tuple(graphs),
        buffers=tuple(buffers),
        description=draw(NAMES),
        signatures=tuple(signatures),
        metadata=tuple(draw(st.lists(metadata, max_size=2))),
        metadata_buffer=tuple(draw(st.lists(scalars("int"), max_size=2))),
        external_buffer_groups=tuple(draw(st.lists(tables("ExternalBufferGroup"), max_size=2))),
        external_buffers=tuple(draw(st.lists(tables("ExternalBuffer"), max_size=2))),
    )


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(models())
def test_random_models(model: Model) -> None:
    data = write_model(model)
    read = read_model(data)
    assert read == model
    assert write_model(read) == data
    check_with_package(data, read)
    check_cost(data)


@pytest.mark.parametrize("model", [small_model(), rich_model()], ids=["small", "rich"])
def test_models_of_these_tests(model: Model) -> None:
    data = write_model(model)
    read = read_model(data)
    assert write_model(read) == data
    assert read_model(write_model(read)) == read
    check_with_package(data, read)
    check_cost(data)
    assert replace(read, graphs=()) == replace(model, graphs=())
    for graph, given_graph in zip(read.graphs, model.graphs, strict=True):
        assert replace(graph, operators=()) == replace(given_graph, operators=())
        for op, given_op in zip(graph.operators, given_graph.operators, strict=True):
            assert replace(op, options={}, options2={}) == replace(given_op, options={}, options2={})
            assert op.options.items() >= given_op.options.items()
            assert op.options2.items() >= given_op.options2.items()


def check_cost(data: bytes) -> None:
    """A file in which nothing is shared costs no more than its size."""
    decoder = Decoder(data)
    before = decoder.budget
    decoder.table("Model", decoder.target(0, ()), ("Model",))
    assert before - decoder.budget <= len(data)


# What the package's readers say of the same bytes ------------------------------------------------------------------


def check_with_package(data: bytes, model: Model) -> None:
    """Every field of the dataclasses against the `tflite` package's readers; newer tables cannot be compared."""
    if any(t.quantization and t.quantization.details for graph in model.graphs for t in graph.tensors):
        return
    if any(op.options2_type == "StablehloCaseOptions" for graph in model.graphs for op in graph.operators):
        return
    package = tflite.Model.GetRootAs(data)
    whole = package_table(package, "Model")
    codes = [package.OperatorCodes(i) for i in range(package.OperatorCodesLength())]
    assert model.version == whole["version"]
    assert model.description == (whole["description"] or "")
    assert model.metadata_buffer == (whole["metadata_buffer"] or ())
    assert model.buffers == tuple(entry["data"] or b"" for entry in whole["buffers"])
    assert [(m.name, m.buffer) for m in model.metadata] == [
        (entry["name"] or "", entry["buffer"]) for entry in whole["metadata"] or ()
    ]
    assert [(s.key, s.inputs, s.outputs, s.subgraph) for s in model.signatures] == [
        (
            entry["signature_key"],
            *(tuple((e["name"] or "", e["tensor_index"]) for e in entry[k] or ()) for k in ("inputs", "outputs")),
            entry["subgraph_index"],
        )
        for entry in whole["signature_defs"] or ()
    ]
    for graph, entry in zip(model.graphs, whole["subgraphs"], strict=True):
        assert (graph.name, graph.inputs, graph.outputs, graph.debug_metadata_index) == (
            entry["name"] or "", entry["inputs"] or (), entry["outputs"] or (), entry["debug_metadata_index"],
        )  # fmt: skip
        for tensor, fields in zip(graph.tensors, entry["tensors"] or (), strict=True):
            check_tensor(tensor, fields)
        for op, fields in zip(graph.operators, entry["operators"] or (), strict=True):
            check_operator(op, fields, codes[fields["opcode_index"]])


def check_tensor(tensor: Tensor, fields: dict[str, Any]) -> None:
    assert (tensor.name, tensor.type, tensor.shape) == (
        fields["name"] or "",
        str(fields["type"]),
        fields["shape"] or (),
    )
    for name in ("buffer", "shape_signature", "is_variable", "has_rank", "sparsity"):
        assert getattr(tensor, name) == fields[name], name
    assert tensor.variant_tensors == (fields["variant_tensors"] or ())
    quantization = fields["quantization"]
    if tensor.quantization is None:
        assert quantization is None or not any(quantization.values())
        return
    for name in ("scale", "zero_point", "min", "max"):
        assert getattr(tensor.quantization, name) == (quantization[name] or ()), name
    assert tensor.quantization.quantized_dimension == quantization["quantized_dimension"]
    assert quantization["details_type"] is None


def check_operator(op: Operator, fields: dict[str, Any], code: tflite.OperatorCode) -> None:
    number = code.BuiltinCode()  # the package's accessor mixes in the deprecated code
    assert op.name == {v: k for k, v in ENUM_VALUES["BuiltinOperator"].items()}.get(number, str(number))
    assert op.version == code.Version()
    assert op.custom_code == (None if code.CustomCode() is None else code.CustomCode().decode())
    assert code.DeprecatedBuiltinCode() == min(number, 127)
    for name in ("inputs", "outputs", "intermediates", "mutating_variable_inputs"):
        assert getattr(op, name) == (fields[name] or ()), name
    assert op.custom_options == (fields["custom_options"] or b"")
    assert (op.options_type, op.options2_type) == (fields["builtin_options_type"], fields["builtin_options_2_type"])
    assert op.options == (fields["builtin_options"] or {})
    assert op.options2 == (fields["builtin_options_2"] or {})
    assert op.debug_metadata_index == fields["debug_metadata_index"]


# What the writer decides -------------------------------------------------------------------------------------------


def test_options_type_is_filled_in() -> None:
    model = with_operator(small_model(), 0, options_type=None, options={"padding": "VALID", "stride_w": 2})
    op = read_model(write_model(model)).graph.operators[0]
    assert op.options_type == "Conv2DOptions"
    assert op.options == default_options("Conv2DOptions") | {"padding": "VALID", "stride_w": 2}
    model = with_operator(rich_model(), 5, options2_type=None, options2={"edge_padding_low": (1,)})
    assert read_model(write_model(model)).graph.operators[5].options2_type == "StablehloPadOptions"


def test_no_options_stay_no_options() -> None:
    model = with_operator(small_model(), 0, options_type=None, options={})
    op = read_model(write_model(model)).graph.operators[0]
    assert (op.options_type, dict(op.options)) == (None, {})


def test_options_are_read_only() -> None:
    op = read_model(write_model(small_model())).graph.operators[0]
    with pytest.raises(TypeError):
        op.options["padding"] = "SAME"  # type: ignore[index]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": {"strides": 1}},
         "Model.subgraphs[0].operators[0].builtin_options.Conv2DOptions: Conv2DOptions has no field 'strides'"),
        ({"options": {"padding": "FULL"}},
         "Model.subgraphs[0].operators[0].builtin_options.Conv2DOptions.padding: 'FULL' is not a Padding"),
        ({"options": {"padding": 300}},
         "Model.subgraphs[0].operators[0].builtin_options.Conv2DOptions.padding: 300 does not fit the type byte "
         "(-128 to 127)"),
        ({"options": {"stride_w": 2**31}},
         "Model.subgraphs[0].operators[0].builtin_options.Conv2DOptions.stride_w: 2147483648 does not fit the type int "
         "(-2147483648 to 2147483647)"),
        ({"options": {"stride_w": 1.0}},
         "Model.subgraphs[0].operators[0].builtin_options.Conv2DOptions.stride_w: 1.0 is not an integer"),
        ({"options": {"stride_w": np.array([2])}},
         "Model.subgraphs[0].operators[0].builtin_options.Conv2DOptions.stride_w: array([2]) is not an integer"),
        ({"options": {"stride_w": True}},
         "Model.subgraphs[0].operators[0].builtin_options.Conv2DOptions.stride_w: True is not an integer"),
        ({"name": "SOFTMAX", "options_type": "SoftmaxOptions", "options": {"beta": 0.1}},
         "Model.subgraphs[0].operators[0].builtin_options.SoftmaxOptions.beta: 0.1 is not a float32; the nearest one "
         "is 0.10000000149011612"),
        ({"name": "SOFTMAX", "options_type": "SoftmaxOptions", "options": {"beta": "1"}},
         "Model.subgraphs[0].operators[0].builtin_options.SoftmaxOptions.beta: '1' is not a number"),
        ({"name": "SOFTMAX", "options_type": "SoftmaxOptions", "options": {"beta": 1e39}},
         "Model.subgraphs[0].operators[0].builtin_options.SoftmaxOptions.beta: 1e+39 is not a float32; the nearest one "
         "is inf"),
        ({"name": "SOFTMAX", "options_type": "SoftmaxOptions", "options": {"beta": 10**400}},
         "Model.subgraphs[0].operators[0].builtin_options.SoftmaxOptions.beta: an integer of 1329 bits is not a "
         "float32"),
        ({"name": "ADD", "options_type": "AddOptions", "options": {"pot_scale_int16": 1}},
         "Model.subgraphs[0].operators[0].builtin_options.AddOptions.pot_scale_int16: 1 is not True or False"),
        ({"name": "SQUEEZE", "options_type": "SqueezeOptions", "options": {"squeeze_dims": 1}},
         "Model.subgraphs[0].operators[0].builtin_options.SqueezeOptions.squeeze_dims: int given where a tuple is due"),
        ({"name": "SQUEEZE", "options_type": "SqueezeOptions", "options": {"squeeze_dims": (0, 2**40)}},
         "Model.subgraphs[0].operators[0].builtin_options.SqueezeOptions.squeeze_dims[1]: 1099511627776 does not fit "
         "the type int (-2147483648 to 2147483647)"),
        ({"name": "BUCKETIZE", "options_type": "BucketizeOptions", "options": {"boundaries": (0.5, 0.1)}},
         "Model.subgraphs[0].operators[0].builtin_options.BucketizeOptions.boundaries[1]: 0.1 is not a float32; the "
         "nearest one is 0.10000000149011612"),
        ({"name": "VAR_HANDLE", "options_type": "VarHandleOptions", "options": {"container": b"x"}},
         "Model.subgraphs[0].operators[0].builtin_options.VarHandleOptions.container: bytes given where a string is "
         "due"),
        ({"name": "VAR_HANDLE", "options_type": "VarHandleOptions", "options": {"container": "\ud800"}},
         "Model.subgraphs[0].operators[0].builtin_options.VarHandleOptions.container: '\\ud800' cannot be written as "
         "UTF-8: surrogates not allowed"),
        ({"custom_options": bytearray(b"x")},
         "Model.subgraphs[0].operators[0].custom_options: bytearray given where bytes are due"),
        ({"name": "VAR_HANDLE", "options_type": "VarHandleOptions", "options": 3},
         "Model.subgraphs[0].operators[0].builtin_options.VarHandleOptions: int given where a mapping of "
         "fields is due"),
        ({"name": "RELU", "options_type": "NoOptions", "options": {}},
         "Model.subgraphs[0].operators[0].builtin_options: 'NoOptions' is not a member of the union BuiltinOptions"),
        ({"name": "RELU", "options_type": None, "options": {"x": 1}},
         "subgraph 0, operator 0 (RELU): options are given, but TFLite has none for it in the union BuiltinOptions"),
        ({"name": "STABLEHLO_PAD", "options_type": None, "options": {"edge_padding_low": ()}},
         "subgraph 0, operator 0 (STABLEHLO_PAD): options are given, but TFLite has none for it in the union "
         "BuiltinOptions"),
    ],
)  # fmt: skip
def test_what_a_file_cannot_hold(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidModel) as caught:
        write_model(with_operator(small_model(), 0, **changes), check=False)
    assert str(caught.value) == message


def test_a_scale_must_be_a_float32() -> None:
    with pytest.raises(InvalidModel, match=r"tensors\[0\].quantization.scale\[0\]: 0.1 is not a float32"):
        write_model(with_quantization(small_model(), 0, scale=(0.1,)))


def test_numpy_numbers_are_numbers() -> None:
    options = {"stride_w": np.int64(2), "stride_h": np.uint8(2), "padding": "VALID"}
    model = with_quantization(small_model(), 0, scale=(np.float32(0.1),), zero_point=(np.int64(-3),))
    read = read_model(write_model(with_operator(model, 0, options=options)))
    assert read.graph.operators[0].options["stride_w"] == 2
    assert read.graph.tensors[0].quantization == Quantization((float(np.float32(0.1)),), (-3,))


def test_odd_floats_are_kept() -> None:
    """NaN, infinities, subnormal numbers, and -0.0, which is not the default 0.0."""
    bits = np.array([0x7FC00000, 0x7F800000, 0xFF800000, 1, 0x80000000], np.uint32).view(np.float32)
    ranges = Quantization(min=tuple(bits.tolist()), max=(1.0,))
    options = {"alpha": -0.0}
    model = with_tensor(small_model(), 3, quantization=ranges)
    read = read_model(write_model(with_operator(model, 0, name="LEAKY_RELU", options_type=None, options=options)))
    assert np.array(read.graph.tensors[3].quantization.min, np.float32).tobytes() == bits.tobytes()
    assert str(read.graph.operators[0].options["alpha"]) == "-0.0"
    nan = with_operator(model, 0, name="LEAKY_RELU", options_type=None, options={"alpha": math.nan})
    assert math.isnan(read_model(write_model(nan)).graph.operators[0].options["alpha"])


def test_operator_codes_are_unique_in_order_of_first_use() -> None:
    package = tflite.Model.GetRootAs(write_model(rich_model()))
    codes = [package.OperatorCodes(i) for i in range(package.OperatorCodesLength())]
    raw = [(c.DeprecatedBuiltinCode(), c.BuiltinCode(), c.CustomCode(), c.Version()) for c in codes]
    assert raw == [
        (124, 124, None, 1), (118, 118, None, 1), (32, 32, b"MyOp", 2), (32, 32, b"Other", 2), (127, 150, None, 1),
        (127, 195, None, 1),
    ]  # fmt: skip
    twice = small_model()
    convs = replace(twice.graph, operators=(twice.graph.operators[0],) * 3)
    package = tflite.Model.GetRootAs(write_model(replace(twice, graphs=(convs, convs)), check=False))
    assert package.OperatorCodesLength() == 1


def test_data_is_aligned_to_16_bytes() -> None:
    for model in (small_model(), rich_model()):
        data = write_model(model)
        package = tflite.Model.GetRootAs(data)
        starts = []
        for index in range(package.BuffersLength()):
            table = package.Buffers(index)._tab
            if table.Offset(4):
                starts.append(table.Vector(table.Offset(4)))
        assert len(starts) >= 4
        assert all(start % 16 == 0 for start in starts)
        assert data[4:8] == b"TFL3"


def data_is_present(data: bytes) -> list[bool]:
    package = tflite.Model.GetRootAs(data)
    return [not package.Buffers(index).DataIsNone() for index in range(package.BuffersLength())]


def test_data_is_present_where_tflite_needs_it() -> None:
    """A constant of no elements has data of no bytes; a tensor that an operator gives has none."""
    model = rich_model()
    assert data_is_present(write_model(model)) == [False, True, True, True, True, True, True]
    made = with_tensor(with_tensor(model, 6, buffer=0), 9, buffer=5, shape=(0, 4))
    graph = replace(made.graph, outputs=(13,))
    assert data_is_present(write_model(made.with_graph(graph)))[5] is False
    shared = with_tensor(model, 9, buffer=5)  # another tensor has elements and the same empty buffer
    assert data_is_present(write_model(shared))[5] is False


def test_empty_and_absent_shape_signatures_differ() -> None:
    for signature in (None, (), (-1, 2)):
        model = with_tensor(small_model(), 0, shape_signature=signature)
        assert read_model(write_model(model)).graph.tensors[0].shape_signature == signature


def test_empty_and_absent_vectors_of_options_differ() -> None:
    for dims in (None, (), (1,)):
        model = with_operator(small_model(), 1, name="SQUEEZE", options_type=None, options={"squeeze_dims": dims})
        assert read_model(write_model(model)).graph.operators[1].options["squeeze_dims"] == dims


def test_a_quantization_table_without_content_reads_as_none() -> None:
    model = with_tensor(small_model(), 0, quantization=Quantization())
    assert read_model(write_model(model)).graph.tensors[0].quantization is None


def test_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flatbuffers.Builder, "MAX_BUFFER_SIZE", 1 << 16)
    large = replace(small_model(), buffers=(*small_model().buffers, bytes(1 << 17)))
    with pytest.raises(UnsupportedModel, match="the model does not fit into a flatbuffer of 2 GiB"):
        write_model(large)


# Model files -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not FILES, reason=NO_FILES)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
class TestFiles:
    def test_read_and_round_trip(self, path: Path) -> None:
        data = path.read_bytes()
        model = read_model(data)
        assert read_model(write_model(model)) == model
        check_with_package(data, model)
        check_with_package(write_model(model), model)
        check_cost(data)

    def test_quantized_dimensions(self, path: Path) -> None:
        model = read_model(path.read_bytes())
        if path.name != "person_detect.tflite":
            check_quantized_dimensions(model)
            return
        with pytest.raises(InvalidModel, match="quantized_dimension is 3, but the tensor has 1 dimensions"):
            check_quantized_dimensions(model)

    @pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING)
    def test_litert_runs_what_is_written(self, path: Path) -> None:
        data = path.read_bytes()
        samples = [inputs_for(read_model(data), seed) for seed in (0, 1)]
        resolver = "BUILTIN_WITHOUT_DEFAULT_DELEGATES"
        if path.name in NOT_FOR_LITERT:
            with pytest.raises((oracle.Rejected, oracle.Crashed), match=NOT_FOR_LITERT[path.name]):
                oracle.litert.run(data, samples, resolver)
            return
        before, after = (oracle.litert.run(d, samples, resolver) for d in (data, write_model(read_model(data))))
        tensors = len(read_model(data).graph.tensors)  # what comes after them is the kernels' scratch
        for expected, got in zip(before, after, strict=True):
            compared = [index for index in expected if index < tensors]
            assert len(compared) > 1
            assert all(got[index].tobytes() == expected[index].tobytes() for index in compared)


def inputs_for(model: Model, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    arrays = []
    for index in model.graph.inputs:
        tensor = model.graph.tensors[index]
        dtype = DTYPES[tensor.type]
        if dtype.kind == "f":
            arrays.append(rng.normal(size=tensor.shape).astype(dtype))
        else:
            limits = np.iinfo(dtype)
            arrays.append(rng.integers(limits.min, limits.max, tensor.shape, dtype, endpoint=True))
    return arrays


@pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING)
def test_litert_runs_the_small_model() -> None:
    """A model built by hand: LiteRT takes it, and gives the CONV_2D's result of its zero input."""
    model = small_model()
    validate(model)
    [tensors] = oracle.litert.run(write_model(model), [[np.full((1, 4, 4, 2), -3, np.int8)]])
    expected = np.clip(127 + np.round([0.25 * 1, 0.125 * -2, 0.05 * 3]), -128, 127)
    assert tensors[5].reshape(2, 2, 3).tolist() == np.broadcast_to(expected, (2, 2, 3)).tolist()


@pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING)
def test_litert_reads_sparsity() -> None:
    rich = rich_model()
    densify = replace(rich.graph.operators[0], inputs=(0,), outputs=(1,))
    graph = Graph((rich.graph.tensors[2], Tensor("dense", "INT8", (3, 4))), (densify,), (), (1,))
    [tensors] = oracle.litert.run(write_model(Model((graph,), rich.buffers)), [[]])
    assert tensors[1].tolist() == [[0, 5, 0, 0], [0, 0, 0, 0], [6, 0, 0, 7]]


@pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING)
def test_litert_reads_a_constant_without_elements() -> None:
    """A RESHAPE to no dimensions: its constant shape has no elements, and LiteRT must still find it constant."""
    tensors = (Tensor("x", "INT8", (1, 1)), Tensor("shape", "INT32", (0,), 1), Tensor("y", "INT8", ()))
    graph = Graph(tensors, (Operator("RESHAPE", (0, 1), (2,)),), (0,), (2,))
    [answer] = oracle.litert.run(write_model(Model((graph,), (b"", b""))), [[np.array([[7]], np.int8)]])
    assert answer[2].shape == ()
    assert answer[2] == 7
