"""Bytes that mean harm: every one is refused in one line, soon, and in little memory."""

from __future__ import annotations

import random
import struct
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import flatbuffers
import numpy as np
import pytest
import tflite

from refquant.errors import InvalidModel, MalformedModel, UnsupportedModel
from refquant.model import check_quantized_dimensions, read_model, write_model
from refquant.model.reader import Decoder
from refquant.model.schema import SLOT_COUNT, SLOTS
from refquant.model.writer import Encoder
from test_model_rules import rich_model, small_model

SECONDS = 0.5
MEGABYTES = 50


@contextmanager
def bounded() -> Iterator[None]:
    """What is done inside takes less than SECONDS and less than MEGABYTES."""
    start = time.process_time()
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MEGABYTES << 20
    assert time.process_time() - start < 4 * SECONDS  # tracemalloc slows the code down about so much


def refused(data: bytes) -> str:
    """The message of the MalformedModel that reading the bytes raises."""
    with bounded(), pytest.raises(MalformedModel) as caught:
        read_model(data)
    message = str(caught.value)
    assert "\n" not in message
    return message


def patched(data: bytes, position: int, code: str, value: int) -> bytes:
    copy = bytearray(data)
    struct.pack_into(code, copy, position, value)
    return bytes(copy)


def slot(table: flatbuffers.table.Table, number: int) -> int:
    """The position of a field's inline part."""
    return table.Pos + table.Offset(4 + 2 * number)


SMALL = write_model(small_model())
MODEL = tflite.Model.GetRootAs(SMALL)
TENSOR = MODEL.Subgraphs(0).Tensors(1)._tab
SIZE = len(SMALL)

# The file as a whole -----------------------------------------------------------------------------------------------


def test_too_short() -> None:
    assert refused(b"") == "a .tflite file has at least 8 bytes, this one has 0"
    assert refused(SMALL[:7]) == "a .tflite file has at least 8 bytes, this one has 7"


def test_wrong_identifier() -> None:
    message = refused(SMALL[:4] + b"TFL2" + SMALL[8:])
    assert message == "bytes 4 to 8 are b'TFL2', not the file identifier b'TFL3'"


def test_root_outside() -> None:
    assert refused(patched(SMALL, 0, "<I", SIZE + 4)) == (
        f"Model: offset {SIZE + 4} at byte 0 does not point into the file ({SIZE} bytes)"
    )
    assert (
        refused(patched(SMALL, 0, "<I", 0)) == f"Model: offset 0 at byte 0 does not point into the file ({SIZE} bytes)"
    )
    assert refused(patched(SMALL, 0, "<I", SIZE)) == f"Model: int at byte {SIZE} lies outside the file ({SIZE} bytes)"


def test_misaligned() -> None:
    root = MODEL._tab.Pos
    assert refused(patched(SMALL, 0, "<I", root + 1)) == f"Model: int at byte {root + 1} is not aligned to 4 bytes"


# Tables ------------------------------------------------------------------------------------------------------------


def test_vtable_outside() -> None:
    root = MODEL._tab.Pos
    assert (
        refused(patched(SMALL, root, "<i", root + 2))
        == f"Model: ushort at byte -2 lies outside the file ({SIZE} bytes)"
    )
    assert refused(patched(SMALL, root, "<i", -(2**31))).startswith("Model: ushort at byte 21474")


@pytest.mark.parametrize("size", [0, 2, 7, 65534])
def test_vtable_of_a_wrong_size(size: int) -> None:
    root = MODEL._tab.Pos
    vtable = root - struct.unpack_from("<i", SMALL, root)[0]
    assert (
        refused(patched(SMALL, vtable, "<H", size))
        == f"Model: the Model at byte {root} has a broken vtable at byte {vtable}"
    )


def test_field_outside() -> None:
    vtable = TENSOR.Pos - struct.unpack_from("<i", SMALL, TENSOR.Pos)[0]
    message = refused(patched(SMALL, vtable + 4 + 2 * 2, "<H", 65532))
    assert message.startswith("Model.subgraphs[0].tensors[")
    assert message.endswith(f"lies outside the file ({SIZE} bytes)")


@pytest.mark.parametrize("offset", [0, SIZE, 2**31, 2**32 - 1])
def test_offset_outside(offset: int) -> None:
    position = slot(TENSOR, 3)
    assert refused(patched(SMALL, position, "<I", offset)) == (
        f"Model.subgraphs[0].tensors[1].name: offset {offset} at byte {position} does not point into the file "
        f"({SIZE} bytes)"
    )


def test_offset_to_a_table_outside() -> None:
    position = MODEL._tab.Vector(MODEL._tab.Offset(8))
    assert refused(patched(SMALL, position, "<I", SIZE)) == (
        f"Model.subgraphs[0]: offset {SIZE} at byte {position} does not point into the file ({SIZE} bytes)"
    )


def test_unknown_member_of_a_union() -> None:
    operator = MODEL.Subgraphs(0).Operators(0)._tab
    assert refused(patched(SMALL, slot(operator, 3), "<B", 250)) == (
        "Model.subgraphs[0].operators[0].builtin_options: member 250 of the union BuiltinOptions is not in the schema"
    )


def test_member_of_a_union_that_does_not_fit_its_bytes_is_still_bounded() -> None:
    """The bytes of a Conv2DOptions, read as every other options table, may say anything, but nothing bad happens."""
    operator = MODEL.Subgraphs(0).Operators(0)._tab
    for member in range(1, 127):
        with bounded():
            outcome(patched(SMALL, slot(operator, 3), "<B", member))


# Vectors and strings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [5, 2**16, 2**31 - 1, 2**31, 2**32 - 1])
def test_vector_length(count: int) -> None:
    position = TENSOR.Vector(TENSOR.Offset(4)) - 4
    data = patched(SMALL, position, "<I", count)
    if count == 5:  # still inside the file: a shape that the buffer does not fit
        with pytest.raises(InvalidModel):
            read_model(data)
    else:
        assert refused(data) == (
            f"Model.subgraphs[0].tensors[1].shape: a vector of {count} elements at byte {position} runs past the end "
            f"of the file ({SIZE} bytes)"
        )


def test_vector_of_tables_length() -> None:
    position = MODEL._tab.Vector(MODEL._tab.Offset(8)) - 4
    assert refused(patched(SMALL, position, "<I", 2**30)) == (
        f"Model.subgraphs: a vector of {2**30} elements at byte {position} runs past the end of the file ({SIZE} bytes)"
    )


def test_string_without_an_end() -> None:
    position = TENSOR.Vector(TENSOR.Offset(10)) - 4
    assert refused(patched(SMALL, position, "<I", 3)) == (
        f"Model.subgraphs[0].tensors[1].name: the string at byte {position} has no zero byte at its end"
    )


def test_string_that_is_not_text() -> None:
    position = TENSOR.Vector(TENSOR.Offset(10)) - 4
    assert refused(patched(SMALL, position + 4, "<B", 0xFF)) == (
        f"Model.subgraphs[0].tensors[1].name: the string at byte {position} is not UTF-8: invalid start byte"
    )


# Data outside the flatbuffer ---------------------------------------------------------------------------------------


def file_with(fields: dict, tail: bytes = b"") -> bytes:
    encoder = Encoder(1024)
    return encoder.finish(encoder.table("Model", {"version": 3} | fields, ("Model",))) + tail


def with_far_buffer(offset: int, size: int, tail: bytes = bytes(range(16))) -> bytes:
    tensor = {"name": "t", "type": "INT8", "shape": (4,), "buffer": 1}
    graph = {"tensors": (tensor,), "inputs": (), "outputs": (0,), "operators": ()}
    return file_with({"subgraphs": (graph,), "buffers": ({}, {"offset": offset, "size": size})}, tail)


def test_buffer_outside_the_flatbuffer() -> None:
    end = len(with_far_buffer(2**20, 4, b""))
    model = read_model(with_far_buffer(end + 4, 4))
    assert model.buffers == (b"", b"\x04\x05\x06\x07")
    assert read_model(write_model(model)) == model
    for offset, size in [(end + 13, 4), (end, 17), (2**63, 2**63), (2**64 - 1, 4), (4, 2**64 - 1)]:
        assert refused(with_far_buffer(offset, size)) == (
            f"Model.buffers[1]: {size} bytes at offset {offset} lie outside the file ({end + 16} bytes)"
        )
    assert read_model(with_far_buffer(1, 2**40), check=False).buffers == (b"", b"")  # 0 and 1 mean: none


def with_far_options(offset: int, size: int) -> bytes:
    op = {"inputs": (), "outputs": (), "large_custom_options_offset": offset, "large_custom_options_size": size}
    graph = {"tensors": (), "inputs": (), "outputs": (), "operators": (op,)}
    code = {"builtin_code": "CUSTOM", "deprecated_builtin_code": 32, "custom_code": "Far"}
    return file_with({"subgraphs": (graph,), "operator_codes": (code,), "buffers": ({},)}, b"0123456789")


def test_custom_options_outside_the_flatbuffer() -> None:
    end = len(with_far_options(2**20, 4)) - 10
    model = read_model(with_far_options(end + 2, 3))
    assert model.graph.operators[0].custom_options == b"234"
    assert read_model(write_model(model)) == model
    assert refused(with_far_options(end + 2, 9)) == (
        f"Model.subgraphs[0].operators[0].large_custom_options: 9 bytes at offset {end + 2} lie outside the file "
        f"({end + 10} bytes)"
    )


# Rules that are checked while the model is put together ------------------------------------------------------------


def test_opcode_index() -> None:
    operator = MODEL.Subgraphs(0).Operators(1)._tab
    with pytest.raises(InvalidModel) as caught:
        read_model(patched(SMALL, slot(operator, 0), "<I", 2**32 - 1))
    assert str(caught.value) == (
        "subgraph 0, operator 1: opcode_index is 4294967295, but the model has 2 operator codes"
    )


def test_custom_options_format() -> None:
    encoder_fields = {"inputs": (), "outputs": (), "custom_options_format": 1}
    graph = {"tensors": (), "inputs": (), "outputs": (), "operators": (encoder_fields,)}
    with pytest.raises(
        InvalidModel, match="operator 0: custom_options_format is 1, but the schema has FLEXBUFFERS only"
    ):
        read_model(file_with({"subgraphs": (graph,), "operator_codes": ({},), "buffers": ({},)}))


def test_signature_without_a_key() -> None:
    graph = {"tensors": (), "inputs": (), "outputs": (), "operators": ()}
    with pytest.raises(InvalidModel, match="signature 0 has no signature_key"):
        read_model(file_with({"subgraphs": (graph,), "signature_defs": ({},), "buffers": ({},)}))


def test_negative_operator_code() -> None:
    graph = {"tensors": (), "inputs": (), "outputs": (), "operators": ({"inputs": (), "outputs": ()},)}
    codes = ({"builtin_code": -5, "deprecated_builtin_code": -7},)
    with pytest.raises(InvalidModel, match=r"subgraph 0, operator 0 \(-5\): '-5' is not a BuiltinOperator"):
        read_model(file_with({"subgraphs": (graph,), "operator_codes": codes, "buffers": ({},)}))


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ({"deprecated_builtin_code": 3}, "CONV_2D"),  # as files from before builtin_code have it
        ({"deprecated_builtin_code": 127, "builtin_code": 150}, "GELU"),
        ({"deprecated_builtin_code": 0, "builtin_code": 150}, "GELU"),
        ({"deprecated_builtin_code": 3, "builtin_code": 1}, "CONV_2D"),
        ({"deprecated_builtin_code": 127, "builtin_code": 1000}, "1000"),
    ],
)
def test_the_greater_operator_code_counts(code: dict, name: str) -> None:
    graph = {"tensors": (), "inputs": (), "outputs": (), "operators": ({"inputs": (), "outputs": ()},)}
    model = read_model(file_with({"subgraphs": (graph,), "operator_codes": (code,), "buffers": ({},)}))
    assert model.graph.operators[0].name == name
    assert read_model(write_model(model)) == model


# Bombs: little files that point at the same bytes again and again --------------------------------------------------


def shared_vector(builder: flatbuffers.Builder, target: int, count: int) -> int:
    """A vector of `count` offsets to one and the same table."""
    builder.StartVector(4, count, 4)
    for _ in range(count):
        builder.PrependUOffsetTRelative(target)
    return builder.EndVector()


def raw_table(builder: flatbuffers.Builder, table: str, **offsets: int) -> int:
    """A table whose named fields hold the given offsets (or, for a uint field, the number)."""
    slots = {field.name: (number, field.type) for number, field in SLOTS[table]}
    builder.StartObject(SLOT_COUNT[table])
    for name, value in offsets.items():
        number, type_ = slots[name]
        (builder.PrependUint32Slot if type_ == "uint" else builder.PrependUOffsetTRelativeSlot)(number, value, 0)
    return builder.EndObject()


def bomb(tensors: int, graphs: int) -> bytes:
    """`graphs` times the same subgraph, which has `tensors` times the same tensor."""
    builder = flatbuffers.Builder(0)
    tensor = raw_table(builder, "Tensor")
    graph = raw_table(builder, "SubGraph", tensors=shared_vector(builder, tensor, tensors))
    model = raw_table(builder, "Model", subgraphs=shared_vector(builder, graph, graphs), version=3)
    builder.Finish(model, b"TFL3")
    return bytes(builder.Output())


@pytest.mark.parametrize(("tensors", "graphs"), [(100, 100), (1000, 1000), (10, 5000), (5000, 10), (20000, 20000)])
def test_bomb_of_tables(tensors: int, graphs: int) -> None:
    message = refused(bomb(tensors, graphs))
    assert message.startswith("Model.subgraphs[")
    assert message.endswith("the file points at the same bytes too often; refusing to expand it")


def test_bomb_of_overlapping_vectors() -> None:
    """Each tensor's shape is the rest of one long vector: n tensors of n numbers from 8 n bytes."""
    count = 2000
    builder = flatbuffers.Builder(0)
    builder.StartVector(4, count, 4)
    for index in range(count):
        builder.PrependUint32(index)  # read as a length, each fits the numbers that follow
    long = builder.EndVector()
    tensors = [raw_table(builder, "Tensor", shape=long - 4 * index) for index in range(1, count)]
    builder.StartVector(4, len(tensors), 4)
    for tensor in tensors:
        builder.PrependUOffsetTRelative(tensor)
    graph = raw_table(builder, "SubGraph", tensors=builder.EndVector())
    model = raw_table(builder, "Model", subgraphs=shared_vector(builder, graph, 1), version=3)
    builder.Finish(model, b"TFL3")
    message = refused(bytes(builder.Output()))
    assert message.endswith("the file points at the same bytes too often; refusing to expand it")


def test_bomb_of_overlapping_data() -> None:
    """Buffers that each hold the file but for one byte."""
    data = file_with({"buffers": tuple({"offset": 2 + n, "size": 30000} for n in range(500))}, bytes(40000))
    message = refused(data)
    assert message.startswith("Model.buffers[")
    assert message.endswith("the file points at the same bytes too often; refusing to expand it")


def test_what_is_shared_honestly_is_read() -> None:
    """One quantization table, one shape and one name for all tensors: a writer may do that."""
    builder = flatbuffers.Builder(0)
    name = builder.CreateString("shared")
    shape = builder.CreateNumpyVector(np.array([1, 2], "<i4"))
    quantization = raw_table(builder, "QuantizationParameters")
    tensors = [raw_table(builder, "Tensor", name=name, shape=shape, quantization=quantization) for _ in range(300)]
    builder.StartVector(4, len(tensors), 4)
    for tensor in tensors:
        builder.PrependUOffsetTRelative(tensor)
    graph = raw_table(builder, "SubGraph", tensors=builder.EndVector())
    buffers = shared_vector(builder, raw_table(builder, "Buffer"), 300)
    model = raw_table(builder, "Model", subgraphs=shared_vector(builder, graph, 1), buffers=buffers, version=3)
    builder.Finish(model, b"TFL3")
    read = read_model(bytes(builder.Output()))
    assert len(read.graph.tensors) == 300
    assert {(tensor.name, tensor.shape) for tensor in read.graph.tensors} == {("shared", (1, 2))}


def test_shared_data_and_vectors_cost_nothing() -> None:
    """A hundred tensors that share their scales, and a hundred buffers that share their data."""
    builder = flatbuffers.Builder(0)
    scale = builder.CreateNumpyVector(np.ones(1000, "<f4"))
    zero_point = builder.CreateNumpyVector(np.zeros(1000, "<i8"))
    quantization = raw_table(builder, "QuantizationParameters", scale=scale, zero_point=zero_point)
    tensors = shared_vector(builder, raw_table(builder, "Tensor", quantization=quantization), 100)
    graph = raw_table(builder, "SubGraph", tensors=tensors)
    data = builder.CreateByteVector(bytes(5000))
    buffers = shared_vector(builder, raw_table(builder, "Buffer", data=data), 100)
    model = raw_table(builder, "Model", subgraphs=shared_vector(builder, graph, 1), buffers=buffers, version=3)
    builder.Finish(model, b"TFL3")
    with bounded():
        read = read_model(bytes(builder.Output()))
    assert {tensor.quantization.scale for tensor in read.graph.tensors} == {(1.0,) * 1000}
    assert len({id(data) for data in read.buffers}) == 1


def test_a_shape_too_long_to_multiply() -> None:
    tensor = {"shape": (2**31 - 1,) * 20000}
    graph = {"tensors": (tensor,), "inputs": (), "outputs": (), "operators": ()}
    with bounded(), pytest.raises(UnsupportedModel, match="20000 dimensions"):
        read_model(file_with({"subgraphs": (graph,), "buffers": ({},)}))


def test_the_decoder_is_charged_for_what_it_gives() -> None:
    decoder = Decoder(SMALL)
    before = decoder.budget
    decoder.table("Model", decoder.target(0, ()), ("Model",))
    assert len(SMALL) / 4 < before - decoder.budget < len(SMALL)


# Everything else: any bytes at all ---------------------------------------------------------------------------------


def outcome(data: bytes) -> str:
    """Read the bytes: the name of the error, or "read" if they are a model, which must then survive a round trip."""
    model, error = attempt(lambda: read_model(data))
    if model is None:
        assert "\n" not in str(error)
        return type(error).__name__
    _, error = attempt(lambda: check_quantized_dimensions(model))
    assert "\n" not in str(error)
    written = write_model(model)
    assert write_model(read_model(written)) == written
    return "read"


def attempt(call: Callable[[], Any]) -> tuple[Any, Exception | None]:
    """(result, None) or (None, one of the errors that are allowed)."""
    try:
        return call(), None
    except (MalformedModel, InvalidModel, UnsupportedModel) as error:
        return None, error


def mutated(data: bytes, rng: random.Random) -> bytes:
    copy = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        position = rng.randrange(len(copy))
        kind = rng.randrange(5)
        if kind == 0:
            copy[position] = rng.randrange(256)
        elif kind == 1:
            copy[position] ^= 1 << rng.randrange(8)
        elif kind == 2:
            copy[position] = rng.choice((0, 1, 127, 128, 255))
        elif kind == 3 and position + 4 <= len(copy):
            value = rng.choice((0, 1, 4, 2**31 - 1, 2**31, 2**32 - 1, len(copy), rng.randrange(len(copy))))
            struct.pack_into("<I", copy, position & ~3, value)
        else:
            source = rng.randrange(len(copy))
            piece = copy[source : source + rng.choice((1, 4, 8, 40))]
            copy[position : position + len(piece)] = piece
    return bytes(copy)


@pytest.mark.parametrize(("name", "model", "count"), [("small", small_model(), 1500), ("rich", rich_model(), 1500)])
def test_mutations(name: str, model, count: int) -> None:
    data = write_model(model)
    rng = random.Random(f"mutations of {name}")
    slowest = 0.0
    outcomes: dict[str, int] = {}
    for _ in range(count):
        victim = mutated(data, rng)
        start = time.process_time()
        result = outcome(victim)
        slowest = max(slowest, time.process_time() - start)
        outcomes[result] = outcomes.get(result, 0) + 1
    assert slowest < SECONDS
    assert outcomes["read"] > count / 10, outcomes  # or the mutations test nothing but the front door
    assert outcomes["MalformedModel"] > count / 10, outcomes
    assert outcomes["InvalidModel"] > count / 20, outcomes


def test_truncations() -> None:
    for size in range(0, len(SMALL), 3):
        assert outcome(SMALL[:size]) in ("MalformedModel", "InvalidModel")
        assert outcome(SMALL[:size] + bytes(len(SMALL) - size)) != ""


def test_random_bytes() -> None:
    rng = random.Random("random bytes")
    for _ in range(500):
        junk = rng.randbytes(rng.choice((8, 30, 200, 2000)))
        assert outcome(b"\x10\0\0\0TFL3" + junk) == "MalformedModel"
        small = bytes(rng.choice((0, 0, 0, 4, 8, 16, 1)) for _ in range(400))
        assert outcome(b"\x10\0\0\0TFL3" + small)
