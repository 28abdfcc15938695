"""The rules of validation.py, one by one, each with the message that names the place."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from refquant.errors import InvalidModel, UnsupportedModel
from refquant.model import check_quantized_dimensions, read_model, validate, write_model
from refquant.model.graph import Graph, Metadata, Model, Operator, Quantization, Signature, Tensor
from refquant.model.schema import default_options


def f32(value: float) -> float:
    return float(np.float32(value))


def small_model() -> Model:
    """A quantized CONV_2D and a RESHAPE, with a signature and metadata, as a converter writes them."""
    weights = np.arange(3 * 2 * 2 * 2, dtype=np.int8).tobytes()
    channels = Quantization(scale=(0.5, 0.25, f32(0.1)), zero_point=(0, 0, 0), quantized_dimension=0)
    tensors = (
        Tensor("input", "INT8", (1, 4, 4, 2), 1, Quantization((0.5,), (-3,)), shape_signature=(-1, 4, 4, 2)),
        Tensor("filter", "INT8", (3, 2, 2, 2), 2, channels),
        Tensor("bias", "INT32", (3,), 3, Quantization((0.25, 0.125, f32(0.05)), (0, 0, 0))),
        Tensor("conv", "INT8", (1, 2, 2, 3), 0, Quantization((1.0,), (127,), min=(-4.0,), max=(4.0,))),
        Tensor("shape", "INT32", (2,), 4),
        Tensor("output", "INT8", (1, 12), 0, Quantization((1.0,), (127,)), shape_signature=(-1, 12)),
    )
    conv = default_options("Conv2DOptions") | {"padding": "VALID", "stride_w": 2, "stride_h": 2}
    operators = (
        Operator("CONV_2D", (0, 1, 2), (3,), 3, options_type="Conv2DOptions", options=conv),
        Operator("RESHAPE", (3, 4), (5,), options_type="ReshapeOptions", options={"new_shape": (1, 12)}),
    )
    shape = np.array([1, 12], "<i4").tobytes()
    return Model(
        graphs=(Graph(tensors, operators, (0,), (5,), "main"),),
        buffers=(b"", b"", weights, np.array([1, -2, 3], "<i4").tobytes(), shape, b"1.2.3"),
        description="small",
        signatures=(Signature("serving_default", (("x", 0),), (("y", 5),)),),
        metadata=(Metadata("min_runtime_version", 5),),
    )


def level(**fields: Any) -> dict[str, Any]:
    """A DimensionMetadata; `segments` and `indices` are given as the member's name and its values."""
    given = default_options("DimensionMetadata") | {"array_segments_type": None, "array_indices_type": None}
    for name in ("segments", "indices"):
        if name in fields:
            member, values = fields.pop(name)
            given |= {f"array_{name}_type": member, f"array_{name}": {"values": values}}
    return given | fields


# The 3 x 4 matrix with 5 at (0, 1) and 6, 7 at (2, 0), (2, 3), rows dense, columns sparse.
CSR = {
    "traversal_order": (0, 1),
    "block_map": None,
    "dim_metadata": (
        level(format="DENSE", dense_size=3),
        level(format="SPARSE_CSR", segments=("Uint8Vector", (0, 1, 1, 3)), indices=("Uint16Vector", (1, 0, 3))),
    ),
}


def rich_model() -> Model:
    """One of everything that the other model has not: subgraphs, custom operators, variables, strings, sparsity, ..."""
    strings = struct.pack("<5i", 2, 16, 18, 21, 0)[:16] + b"abcde"
    details = {
        "details_type": "BlockwiseQuantization",
        "details": {"scales": 3, "zero_points": -1, "block_size": 32},
    }
    tensors = (
        Tensor("condition", "BOOL", (1,), has_rank=True),
        Tensor("strings", "STRING", (2,), 1),
        Tensor("sparse", "INT8", (3, 4), 2, sparsity=CSR),
        Tensor("halves", "FLOAT16", (2,), 3, Quantization(min=(-1.0, 0.0), max=(1.0, 2.0))),
        Tensor("nibbles", "INT4", (3, 3), 4, Quantization(details=details, quantized_dimension=1)),
        Tensor("state", "FLOAT32", (1, 4), is_variable=True),
        Tensor("nothing", "INT32", (0,), 5, shape_signature=()),
        Tensor("variant", "VARIANT", (), variant_tensors=({"shape": (2,), "type": "INT8", "has_rank": True},)),
        Tensor("dense", "INT8", (3, 4)),
        Tensor("then", "FLOAT32", (1, 4)),
        Tensor("custom", "FLOAT32", (1, 4)),
        Tensor("scratch", "INT16", (7,)),
        Tensor("gelu", "FLOAT32", (1, 4)),
        Tensor("padded", "FLOAT32", (3, 6)),
        Tensor("far", "INT8", (2, 2), external_buffer=9),
    )
    pad = {"edge_padding_low": (1, 0), "edge_padding_high": (1, 2), "interior_padding": ()}
    operators = (
        Operator("DENSIFY", (2,), (8,), options_type="DensifyOptions"),
        Operator("IF", (0, 5), (9,), options_type="IfOptions",
                 options={"then_subgraph_index": 1, "else_subgraph_index": 2}),
        Operator("CUSTOM", (9, -1, 5), (10,), 2, "MyOp", custom_options=b"\x01\x02\x03", intermediates=(11, -1),
                 mutating_variable_inputs=(False, False, True), debug_metadata_index=4),
        Operator("CUSTOM", (), (7,), 2, "Other"),
        Operator("GELU", (10,), (12,), options_type="GeluOptions", options={"approximate": True}),
        Operator("STABLEHLO_PAD", (12, 12), (13,), options2_type="StablehloPadOptions", options2=pad),
    )  # fmt: skip
    branch = Graph((Tensor("x", "FLOAT32", (1, 4)),), (), (0,), (0,), "branch", 2)
    return Model(
        graphs=(Graph(tensors, operators, (0,), (13, 6, 8), "main"), branch, replace(branch, name="")),
        buffers=(b"", strings, b"\x05\x06\x07", bytes(4), bytes(5), b"", b"\x00" * 40),
        signatures=(Signature("a", (), (("pad", 13),)), Signature("b", (("x", 0),), (), 1)),
        metadata=(Metadata("", 6), Metadata("two", 6)),
        metadata_buffer=(6,),
        external_buffer_groups=({"name": "weights.bin"},),
        external_buffers=({"id": 9, "group": 0, "offset": 16, "length": 4, "packing": None},),
    )


def with_tensor(model: Model, index: int, **changes: Any) -> Model:
    tensors = list(model.graph.tensors)
    tensors[index] = replace(tensors[index], **changes)
    return model.with_graph(replace(model.graph, tensors=tuple(tensors)))


def with_operator(model: Model, index: int, **changes: Any) -> Model:
    operators = list(model.graph.operators)
    operators[index] = replace(operators[index], **changes)
    return model.with_graph(replace(model.graph, operators=tuple(operators)))


def with_graph(model: Model, **changes: Any) -> Model:
    return model.with_graph(replace(model.graph, **changes))


def with_buffer(model: Model, index: int, data: bytes) -> Model:
    return replace(model, buffers=(*model.buffers[:index], data, *model.buffers[index + 1 :]))


def with_quantization(model: Model, index: int, **changes: Any) -> Model:
    return with_tensor(model, index, quantization=replace(model.graph.tensors[index].quantization, **changes))


def with_sparsity(**changes: Any) -> Model:
    return with_tensor(rich_model(), 2, sparsity=CSR | changes)


def with_columns(**changes: Any) -> Model:
    rows, columns = CSR["dim_metadata"]
    segments = (columns["array_segments_type"], columns["array_segments"]["values"])
    indices = (columns["array_indices_type"], columns["array_indices"]["values"])
    return with_sparsity(
        dim_metadata=(rows, level(**{"format": "SPARSE_CSR", "segments": segments, "indices": indices} | changes))
    )


def with_branch(**changes: Any) -> Model:
    model = rich_model()
    return replace(model, graphs=(model.graph, replace(model.graphs[1], **changes), model.graphs[2]))


def reordered(model: Model) -> Model:
    return with_graph(model, operators=model.graph.operators[::-1])


T0, T1, T3 = "subgraph 0, tensor 0 ('input')", "subgraph 0, tensor 1 ('filter')", "subgraph 0, tensor 3 ('conv')"
SPARSE = "subgraph 0, tensor 2 ('sparse'): sparsity"
STRINGS = "subgraph 0, tensor 1 ('strings')"
CONV = "subgraph 0, operator 0 (CONV_2D)"

RULES: list[tuple[Callable[[], Model], str]] = [
    # the model
    (lambda: replace(small_model(), version=2), "the model's schema version is 2, not 3"),
    (lambda: replace(small_model(), graphs=()), "the model has no subgraph"),
    (
        lambda: replace(small_model(), buffers=()),
        "the model has no buffers; buffer 0 must exist, and is empty by convention",
    ),
    (
        lambda: replace(small_model(), metadata=(Metadata("m", 6),)),
        "metadata 0: buffer is 6, but there are 6 buffers",
    ),
    (
        lambda: replace(small_model(), signatures=(Signature("s", (), (), 1),)),
        "signature 0 ('s'): subgraph_index is 1, but there are 1 subgraphs",
    ),
    (
        lambda: replace(small_model(), signatures=(Signature("s", (("x", 6),), ()),)),
        "signature 0 ('s'): 'x' is 6, but there are 6 tensors",
    ),
    (
        lambda: replace(small_model(), signatures=(Signature("s", (), (("y", -1),)),)),
        "signature 0 ('s'): 'y' is -1, but there are 6 tensors",
    ),
    # tensors
    (lambda: with_tensor(small_model(), 0, type="INT9"), f"{T0}: 'INT9' is not a TensorType"),
    (lambda: with_tensor(small_model(), 0, type="9"), f"{T0}: '9' is not a TensorType"),  # 9 has a name, INT8
    (
        lambda: with_tensor(small_model(), 0, shape=(1, -1, 4)),
        f"{T0}: the shape [1, -1, 4] has a negative dimension",
    ),
    (
        lambda: with_tensor(small_model(), 0, shape=(0, 65536, 32768)),
        f"{T0}: the shape [0, 65536, 32768] has more than 2147483647 elements",
    ),
    (
        lambda: with_tensor(small_model(), 0, shape_signature=(1, -2, 4)),
        f"{T0}: shape_signature [1, -2, 4] has a dimension below -1",
    ),
    (lambda: with_tensor(small_model(), 0, buffer=6), f"{T0}: buffer is 6, but there are 6 buffers"),
    (lambda: with_tensor(small_model(), 0, buffer=-1), f"{T0}: buffer is -1, but there are 6 buffers"),
    (
        lambda: with_buffer(small_model(), 2, bytes(23)),
        f"{T1}: 24 elements of INT8 take 24 bytes, but buffer 2 holds 23",
    ),
    (
        lambda: with_buffer(small_model(), 2, bytes(25)),
        f"{T1}: 24 elements of INT8 take 24 bytes, but buffer 2 holds 25",
    ),
    (
        lambda: with_buffer(rich_model(), 4, bytes(9)),
        "subgraph 0, tensor 4 ('nibbles'): 9 elements of INT4 take 5 bytes, but buffer 4 holds 9",
    ),
    (
        lambda: with_buffer(rich_model(), 2, bytes(12)),
        "subgraph 0, tensor 2 ('sparse'): 3 elements of INT8 take 3 bytes, but buffer 2 holds 12",
    ),
    (
        lambda: with_tensor(small_model(), 1, is_variable=True),
        f"{T1}: a variable cannot have data, but buffer 2 holds 24 bytes",
    ),
    (
        lambda: with_tensor(small_model(), 1, external_buffer=1),
        f"{T1}: a tensor with an external buffer cannot have data, but buffer 2 holds 24 bytes",
    ),
    # quantization
    (
        lambda: with_quantization(small_model(), 1, zero_point=(0,)),
        f"{T1}: 3 scales, but 1 zero points",
    ),
    (lambda: with_quantization(small_model(), 1, zero_point=()), f"{T1}: 3 scales, but 0 zero points"),
    *(
        (
            lambda scale=scale: with_quantization(small_model(), 0, scale=(scale,)),
            f"{T0}: scale {scale} is not a finite number of at least 0",
        )
        for scale in (float("nan"), float("inf"), -0.5)
    ),
    *(
        (
            lambda type_=type_, zero=zero: with_tensor(
                small_model(), 3, type=type_, quantization=Quantization((1.0,), (zero,))
            ),
            f"{T3}: zero point {zero} is outside {type_} ({low} to {high})",
        )
        for type_, zero, low, high in (
            ("INT8", 128, -128, 127),
            ("INT8", -129, -128, 127),
            ("UINT8", -1, 0, 255),
            ("UINT8", 256, 0, 255),
            ("INT16", 32768, -32768, 32767),
            ("INT32", 2**31, -(2**31), 2**31 - 1),
        )
    ),
    *(
        (
            lambda kind=kind, fields=fields: with_quantization(
                rich_model(),
                4,
                details={
                    "details_type": kind,
                    "details": {"scales": 3, "zero_points": -1, "block_size": 32} | fields,
                },
            ),
            f"subgraph 0, tensor 4 ('nibbles'): {kind} {message}",
        )
        for kind in ("BlockwiseQuantization", "MultiAxisQuantization")
        for fields, message in (
            ({"scales": -1}, "scales is -1, but there are 15 tensors"),
            ({"scales": 15}, "scales is 15, but there are 15 tensors"),
            ({"zero_points": -2}, "zero_points is -2, but there are 15 tensors"),
            ({"block_size": -1}, "block_size is -1"),
        )
    ),
    # strings
    (lambda: with_buffer(rich_model(), 1, b"\x01"), f"{STRINGS}: a buffer of 1 bytes is too short for 1 strings"),
    (
        lambda: with_buffer(rich_model(), 1, struct.pack("<I", 2**32 - 1)),
        f"{STRINGS}: a buffer of 4 bytes is too short for 4294967295 strings",
    ),
    *(
        (
            lambda offsets=offsets: with_buffer(rich_model(), 1, struct.pack("<4i", 2, *offsets) + b"abcde"),
            f"{STRINGS}: the offsets of its 2 strings do not run from 16 up to 21",
        )
        for offsets in ((15, 18, 21), (16, 18, 20), (16, 22, 21), (16, -1, 21))
    ),
    # sparsity
    (lambda: with_sparsity(traversal_order=None), f"{SPARSE} has no traversal_order or no dim_metadata"),
    (lambda: with_sparsity(dim_metadata=None), f"{SPARSE} has no traversal_order or no dim_metadata"),
    (
        lambda: with_sparsity(traversal_order=(0, 1, 2)),
        f"{SPARSE}: 3 levels in traversal_order, 2 in dim_metadata and 0 in block_map do not fit 2 dimensions",
    ),
    (
        lambda: with_sparsity(block_map=(0,)),
        f"{SPARSE}: 2 levels in traversal_order, 2 in dim_metadata and 1 in block_map do not fit 2 dimensions",
    ),
    (
        lambda: with_sparsity(traversal_order=(0, 0)),
        f"{SPARSE}: traversal_order [0, 0] does not name every dimension, then every block, once",
    ),
    (
        lambda: with_sparsity(
            traversal_order=(0, 1, 2), block_map=(2,), dim_metadata=(*CSR["dim_metadata"], level(dense_size=2))
        ),
        f"{SPARSE}: block 0 has size 2 and dimension 2",
    ),
    (
        lambda: with_sparsity(
            traversal_order=(0, 1, 2), block_map=(0,), dim_metadata=(*CSR["dim_metadata"], level(dense_size=0))
        ),
        f"{SPARSE}: block 0 has size 0 and dimension 0",
    ),
    (
        lambda: with_sparsity(dim_metadata=(level(dense_size=2), CSR["dim_metadata"][1])),
        f"{SPARSE}: level 0: dense_size is 2, but the dimension has 3",
    ),
    (lambda: with_columns(format=7), f"{SPARSE}: level 1: format 7 is not a DimensionType"),
    *(
        (
            lambda values=values: with_columns(segments=("Int32Vector", values)),
            f"{SPARSE}: level 1: array_segments is not 4 numbers that do not fall",
        )
        for values in ((0, 1, 3), (0, 2, 1, 3), (-1, 1, 1, 3))
    ),
    *(
        (
            lambda values=values: with_columns(indices=("Int32Vector", values)),
            f"{SPARSE}: level 1: array_indices is not 3 numbers from 0 to 3",
        )
        for values in ((1, 0), (1, 0, 4), (1, -1, 3))
    ),
    (
        lambda: with_columns(segments=("Int32Vector", None)),
        f"{SPARSE}: level 1: array_segments is missing",
    ),
    # operators
    (lambda: with_operator(small_model(), 0, name="CONV_9D"),
     "subgraph 0, operator 0 (CONV_9D): 'CONV_9D' is not a BuiltinOperator"),
    (lambda: with_operator(small_model(), 0, name="3"), "subgraph 0, operator 0 (3): '3' is not a BuiltinOperator"),
    (lambda: with_operator(small_model(), 0, name="-3"), "subgraph 0, operator 0 (-3): '-3' is not a BuiltinOperator"),
    (lambda: with_operator(rich_model(), 2, custom_code=""),
     "subgraph 0, operator 2 (CUSTOM): a CUSTOM operator must have a custom_code"),
    (lambda: with_operator(rich_model(), 2, custom_code=None),
     "subgraph 0, operator 2 (CUSTOM): a CUSTOM operator must have a custom_code"),
    (lambda: with_operator(small_model(), 0, inputs=(0, 99, 2)),
     f"{CONV}: input 1 names tensor 99, but the subgraph has 6 tensors"),
    (lambda: with_operator(small_model(), 0, inputs=(0, 1, -2)),
     f"{CONV}: input 2 names tensor -2, but the subgraph has 6 tensors"),
    (lambda: with_operator(small_model(), 0, outputs=(-1,)),
     f"{CONV}: output 0 names tensor -1, but the subgraph has 6 tensors"),
    (lambda: with_operator(small_model(), 0, intermediates=(6,)),
     f"{CONV}: intermediate 0 names tensor 6, but the subgraph has 6 tensors"),
    (lambda: with_operator(rich_model(), 2, mutating_variable_inputs=(True,)),
     "subgraph 0, operator 2 (CUSTOM): mutating_variable_inputs has 1 entries, but there are 3 inputs"),
    (lambda: with_operator(small_model(), 0, options_type="Pool2DOptions", options={}),
     f"{CONV}: its options are Pool2DOptions, but TFLite reads Conv2DOptions"),
    (lambda: with_operator(rich_model(), 5, options2_type="DilateOptions", options2={}),
     "subgraph 0, operator 5 (STABLEHLO_PAD): its options are DilateOptions, but TFLite reads StablehloPadOptions"),
    # order
    (lambda: with_graph(small_model(), inputs=(6,)),
     "subgraph 0: graph input 0 names tensor 6, but the subgraph has 6 tensors"),
    (lambda: with_graph(small_model(), outputs=(5, -1)),
     "subgraph 0: graph output 1 names tensor -1, but the subgraph has 6 tensors"),
    (lambda: reordered(small_model()),
     "subgraph 0, operator 0 (RESHAPE): input 0 is tensor 3, which is not a constant, a variable or a graph input, "
     "and which no earlier operator gives"),
    (lambda: with_graph(small_model(), inputs=()),
     f"{CONV}: input 0 is tensor 0, which is not a constant, a variable or a graph input, "
     "and which no earlier operator gives"),
    (lambda: with_operator(small_model(), 0, inputs=(3, 1, 2)),
     f"{CONV}: input 0 is tensor 3, which is not a constant, a variable or a graph input, "
     "and which no earlier operator gives"),
    (lambda: with_operator(small_model(), 1, outputs=(3,)),
     "subgraph 0, operator 1 (RESHAPE): output 0 is tensor 3, which is an output of operator 0"),
    (lambda: with_operator(small_model(), 0, outputs=(3, 3)),
     f"{CONV}: output 1 is tensor 3, which is an output of operator 0"),
    (lambda: with_operator(small_model(), 0, outputs=(1,)), f"{CONV}: output 0 is tensor 1, which is a constant"),
    (lambda: with_operator(small_model(), 0, outputs=(0,)), f"{CONV}: output 0 is tensor 0, which is a graph input"),
    (lambda: with_operator(rich_model(), 0, outputs=(5,)),
     "subgraph 0, operator 0 (DENSIFY): output 0 is tensor 5, which is a variable"),
    (lambda: with_operator(rich_model(), 0, outputs=(14,)),
     "subgraph 0, operator 0 (DENSIFY): output 0 is tensor 14, which is a constant"),
    (lambda: with_graph(small_model(), operators=()),
     "subgraph 0: graph output 0 is tensor 5, which nothing gives"),
    (lambda: with_branch(outputs=(1,)), "subgraph 1: graph output 0 names tensor 1, but the subgraph has 1 tensors"),
    # subgraphs
    (lambda: with_operator(rich_model(), 1, options={"then_subgraph_index": 1, "else_subgraph_index": 3}),
     "subgraph 0, operator 1 (IF): else_subgraph_index is 3, but there are 3 subgraphs"),
    (lambda: with_operator(rich_model(), 1, options={"then_subgraph_index": -1, "else_subgraph_index": 2}),
     "subgraph 0, operator 1 (IF): then_subgraph_index is -1, but there are 3 subgraphs"),
    (lambda: with_branch(operators=(
        Operator("CALL", (), (), options_type="CallOptions", options={"subgraph": 2}),
        Operator("STABLEHLO_CASE", (), (), options2_type="StablehloCaseOptions",
                 options2={"branch_subgraph_indices": (2, 1)}))),
     "subgraphs run each other in a circle: [1, 1]"),
    (lambda: with_branch(operators=(Operator("CALL_ONCE", (), (), options_type="CallOnceOptions"),)),
     "subgraphs run each other in a circle: [0, 1, 0]"),
]  # fmt: skip


@pytest.mark.parametrize(("broken", "message"), RULES, ids=[message[:100] for _, message in RULES])
def test_rule(broken: Callable[[], Model], message: str) -> None:
    with pytest.raises(InvalidModel) as caught:
        validate(broken())
    assert str(caught.value) == message
    assert "\n" not in message
    with pytest.raises(InvalidModel):
        write_model(broken())


def test_rules_hold_for_what_is_read() -> None:
    data = write_model(with_graph(small_model(), outputs=(3, 4, 6)), check=False)
    with pytest.raises(InvalidModel, match="graph output 2 names tensor 6, but the subgraph has 6 tensors"):
        read_model(data)
    assert read_model(data, check=False).graph.outputs == (3, 4, 6)


def test_the_models_of_these_tests_keep_the_rules() -> None:
    validate(small_model())
    validate(rich_model())
    check_quantized_dimensions(small_model())
    check_quantized_dimensions(rich_model())


def test_numbers_that_the_schema_has_no_name_for_are_kept() -> None:
    validate(with_operator(small_model(), 0, name="999"))
    validate(with_tensor(small_model(), 3, type="99"))


def test_a_block_sparse_tensor_counts_its_blocks() -> None:
    """Source: google-ai-edge/LiteRT, tflite/core/tools/verifier_test.cc, BlockSparseTensor: 4 x 4 in 2 x 2 blocks."""
    sparsity = {
        "traversal_order": (0, 1, 2, 3),
        "block_map": (0, 1),
        "dim_metadata": (
            level(dense_size=2),
            level(format="SPARSE_CSR", segments=("Int32Vector", (0, 1, 2)), indices=("Int32Vector", (0, 1))),
            level(dense_size=2),
            level(dense_size=2),
        ),
    }
    model = with_tensor(rich_model(), 2, shape=(4, 4), sparsity=sparsity)
    validate(with_buffer(model, 2, bytes(8)))
    with pytest.raises(InvalidModel, match="8 elements of INT8 take 8 bytes, but buffer 2 holds 16"):
        validate(with_buffer(model, 2, bytes(16)))


def test_a_tensor_that_no_array_can_hold_is_unsupported() -> None:
    with pytest.raises(UnsupportedModel, match="33 dimensions; an array has at most 32"):
        validate(with_tensor(small_model(), 0, shape=(1,) * 33))
    validate(with_tensor(small_model(), 0, shape=(1,) * 32))


def test_messages_stay_short() -> None:
    order = with_sparsity(traversal_order=(0,) * 10000, dim_metadata=({},) * 10000, block_map=(0,) * 9998)
    calls = [
        Operator("CALL", (), (), options_type="CallOptions", options={"subgraph": n}) for n in (*range(1, 5000), 0)
    ]
    ring = replace(rich_model(), graphs=tuple(Graph((), (call,), (), ()) for call in calls), signatures=())
    for model in (
        with_tensor(small_model(), 0, shape_signature=(-2,) * 10000),
        with_tensor(small_model(), 0, shape=(1,) * 31 + (-1,), name="a long name\n" * 10000),
        replace(small_model(), signatures=(Signature("s\n" * 10000, (), (), 9),)),
        order,
        ring,
    ):
        with pytest.raises(InvalidModel) as caught:
            validate(model)
        assert len(str(caught.value)) < 400
        assert "\n" not in str(caught.value)


def test_a_variable_and_an_empty_constant_may_be_read() -> None:
    model = rich_model()
    assert model.graph.outputs[1] == 6  # the constant without elements
    assert model.constant(model.graph.tensors[6]).shape == (0,)
    assert model.constant(model.graph.tensors[5]) is None
    assert model.constant(model.graph.tensors[3]).dtype == np.float16
    with pytest.raises(UnsupportedModel, match="has its data in an external buffer"):
        model.constant(model.graph.tensors[14])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quantized_dimension": 4}, f"{T1}: quantized_dimension is 4, but the tensor has 4 dimensions"),
        ({"quantized_dimension": -1}, f"{T1}: quantized_dimension is -1, but the tensor has 4 dimensions"),
        (
            {"quantized_dimension": 3},
            f"{T1}: 3 scales, but dimension 3 of the shape [3, 2, 2, 2] has 2 elements",
        ),
        (
            {"scale": (1.0, 1.0), "zero_point": (0, 0)},
            f"{T1}: 2 scales, but dimension 0 of the shape [3, 2, 2, 2] has 3 elements",
        ),
    ],
)
def test_quantized_dimensions(changes: dict[str, Any], message: str) -> None:
    model = with_quantization(small_model(), 1, **changes)
    validate(model)  # reading such a model must work
    with pytest.raises(InvalidModel) as caught:
        check_quantized_dimensions(model)
    assert str(caught.value) == message


def test_quantized_dimensions_that_tflite_lets_pass() -> None:
    check_quantized_dimensions(
        with_quantization(small_model(), 1, scale=(1.0,), zero_point=(0,), quantized_dimension=3)
    )
    check_quantized_dimensions(with_quantization(small_model(), 1, scale=(), zero_point=(), quantized_dimension=9))
    check_quantized_dimensions(with_tensor(small_model(), 1, shape=()))  # no dimensions: nothing to compare with
