"""Bytes of a `.tflite` file -> Model.

`Decoder` walks any table of schema.TABLES with every offset checked; the functions below it turn what it finds into
the dataclasses of graph.py. The schema nests no table in itself, so a file cannot make the walk deep; and everything
decoded is charged to a budget in proportion to the file's size, so a file cannot make it long by pointing at the same
bytes again and again.

Source: FlatBuffers' binary format (google/flatbuffers, docs/source/internals.md and include/flatbuffers/verifier.h).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from refquant.errors import InvalidModel, MalformedModel
from refquant.model.graph import (
    NO_OPTIONS,
    Graph,
    Metadata,
    Model,
    Operator,
    Quantization,
    Signature,
    Tensor,
)
from refquant.model.schema import (
    ENUM_NAMES,
    ENUM_VALUES,
    ENUMS,
    FILE_IDENTIFIER,
    SLOTS,
    TABLES,
    UNIONS,
    Field,
)
from refquant.model.validation import validate

SCALARS: Mapping[str, np.dtype[Any]] = MappingProxyType(
    {
        "bool": np.dtype("bool"),
        "byte": np.dtype("int8"),
        "ubyte": np.dtype("uint8"),
        "short": np.dtype("<i2"),
        "ushort": np.dtype("<u2"),
        "int": np.dtype("<i4"),
        "uint": np.dtype("<u4"),
        "long": np.dtype("<i8"),
        "ulong": np.dtype("<u8"),
        "float": np.dtype("<f4"),
    }
)
_STRUCTS = {
    "bool": struct.Struct("<?"),
    "byte": struct.Struct("<b"),
    "ubyte": struct.Struct("<B"),
    "short": struct.Struct("<h"),
    "ushort": struct.Struct("<H"),
    "int": struct.Struct("<i"),
    "uint": struct.Struct("<I"),
    "long": struct.Struct("<q"),
    "ulong": struct.Struct("<Q"),
    "float": struct.Struct("<f"),
}

# What a file may cost to decode. Everything decoded costs the least that it takes in a file in which nothing is shared:
# a table 4 bytes, a vector 4 and its elements, a string or blob its bytes. So a file that shares nothing never costs
# more than its size; a file that shares tables has as much again, and what any file becomes stays in proportion to it.
BUDGET_PER_BYTE = 2
BUDGET_SLACK = 4096

Place = tuple[Any, ...]  # ("Model", "subgraphs", 0, "tensors", 3), for messages


def name_of(place: Place) -> str:
    """("Model", "subgraphs", 0, "name") -> "Model.subgraphs[0].name"."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return "".join(parts).lstrip(".")


class Decoder:
    """The bytes of a flatbuffer, read by table name, every position checked."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.budget = BUDGET_PER_BYTE * len(data) + BUDGET_SLACK
        self.blobs: dict[tuple[int, int], bytes] = {}  # by first byte and size: what is shared is decoded once
        self.vectors: dict[tuple[int, str], tuple[Any, ...]] = {}  # by position and type, likewise

    def scalar(self, type_: str, position: int, place: Place) -> Any:
        """The scalar of the schema's type at a byte position."""
        reader = _STRUCTS[type_]
        if not 0 <= position <= len(self.data) - reader.size:
            raise MalformedModel(
                f"{name_of(place)}: {type_} at byte {position} lies outside the file ({len(self.data)} bytes)"
            )
        if position % reader.size:
            raise MalformedModel(f"{name_of(place)}: {type_} at byte {position} is not aligned to {reader.size} bytes")
        return reader.unpack_from(self.data, position)[0]

    def charge(self, size: int, place: Place) -> None:
        """Take `size` bytes from the budget."""
        self.budget -= size
        if self.budget < 0:
            raise MalformedModel(
                f"{name_of(place)}: the file points at the same bytes too often; refusing to expand it"
            )

    def target(self, position: int, place: Place) -> int:
        """The position that the unsigned offset stored at `position` points to."""
        offset: int = self.scalar("uint", position, place)
        if offset == 0 or position + offset > len(self.data):
            raise MalformedModel(
                f"{name_of(place)}: offset {offset} at byte {position} does not point into the file "
                f"({len(self.data)} bytes)"
            )
        return position + offset

    def extent(self, position: int, element_size: int, place: Place) -> tuple[int, int]:
        """(first byte, number of elements) of the vector at `position`."""
        count: int = self.scalar("uint", position, place)
        if position + 4 + count * element_size > len(self.data):
            raise MalformedModel(
                f"{name_of(place)}: a vector of {count} elements at byte {position} runs past the end of the file "
                f"({len(self.data)} bytes)"
            )
        return position + 4, count

    def blob(self, position: int, place: Place) -> bytes:
        """The bytes of the [ubyte] vector at `position`."""
        start, count = self.extent(position, 1, place)
        return self.slice(start, count, place)

    def slice(self, start: int, count: int, place: Place) -> bytes:
        """`count` bytes from `start`, which the caller has checked; the same object for the same bytes."""
        if (start, count) not in self.blobs:
            self.charge(count, place)
            self.blobs[start, count] = self.data[start : start + count]
        return self.blobs[start, count]

    def string(self, position: int, place: Place) -> str:
        """The UTF-8 string at `position`, which must end in a zero byte."""
        start, count = self.extent(position, 1, place)
        if self.scalar("ubyte", start + count, place) != 0:
            raise MalformedModel(f"{name_of(place)}: the string at byte {position} has no zero byte at its end")
        try:
            return self.slice(start, count, place).decode("utf-8")
        except UnicodeDecodeError as error:
            raise MalformedModel(
                f"{name_of(place)}: the string at byte {position} is not UTF-8: {error.reason}"
            ) from None

    def numbers(self, type_: str, position: int, place: Place) -> tuple[Any, ...]:
        """The elements of the vector of scalars at `position`."""
        if (position, type_) not in self.vectors:
            dtype = SCALARS[type_]
            start, count = self.extent(position, dtype.itemsize, place)
            self.charge(4 + count * dtype.itemsize, place)
            self.vectors[position, type_] = tuple(np.frombuffer(self.data, dtype, count, start).tolist())
        return self.vectors[position, type_]

    def table(self, name: str, position: int, place: Place) -> MappingProxyType[str, Any]:
        """Every field of the table `name` at `position`, defaults filled in.

        A union `x` gives two entries: "x_type", its member's name or None, and "x", the member's fields or None.
        """
        vtable = position - self.scalar("int", position, place)
        vtable_size = self.scalar("ushort", vtable, place)
        if vtable_size < 4 or vtable_size % 2 or vtable + vtable_size > len(self.data):
            raise MalformedModel(
                f"{name_of(place)}: the {name} at byte {position} has a broken vtable at byte {vtable}"
            )
        self.charge(4, place)

        def at(slot: int) -> int | None:
            entry = 4 + 2 * slot
            if entry >= vtable_size:
                return None
            offset: int = self.scalar("ushort", vtable + entry, place)
            return position + offset if offset else None

        fields: dict[str, Any] = {}
        for slot, field in SLOTS[name]:
            here = (*place, field.name)
            if field.type in UNIONS:
                fields[f"{field.name}_type"], fields[field.name] = self.union(field, at(slot), at(slot + 1), here)
            else:
                where = at(slot)
                fields[field.name] = field.default if where is None else self.value(field.type, where, here)
        return MappingProxyType(fields)

    def union(
        self, field: Field, member: int | None, value: int | None, place: Place
    ) -> tuple[str | None, Mapping[str, Any] | None]:
        """(member's name, its fields) of a union from the positions of its two slots; (None, None) if it is not set."""
        number = 0 if member is None else self.scalar(UNIONS[field.type], member, place)
        if number == 0 or value is None:
            return None, None
        table = ENUM_NAMES[field.type].get(number)
        if table is None:
            raise MalformedModel(f"{name_of(place)}: member {number} of the union {field.type} is not in the schema")
        return table, self.table(table, self.target(value, place), (*place, table))

    def value(self, type_: str, position: int, place: Place) -> Any:
        """The value of a field whose inline part, a scalar or an offset, is at `position`."""
        if type_ in SCALARS:
            return self.scalar(type_, position, place)
        if type_ in ENUMS:
            number = self.scalar(ENUMS[type_], position, place)
            return ENUM_NAMES[type_].get(number, number)
        target = self.target(position, place)
        if type_ == "string":
            return self.string(target, place)
        if type_ == "blob":
            return self.blob(target, place)
        if type_ in TABLES:
            return self.table(type_, target, place)
        return self.vector(type_[1:-1], target, place)

    def vector(self, element: str, position: int, place: Place) -> tuple[Any, ...]:
        """The elements of the vector at `position`: scalars, enums or tables."""
        if element in SCALARS:
            return self.numbers(element, position, place)
        if element in ENUMS:
            names = ENUM_NAMES[element]
            return tuple(names.get(number, number) for number in self.numbers(ENUMS[element], position, place))
        start, count = self.extent(position, 4, place)
        self.charge(4 + 4 * count, place)
        return tuple(
            self.table(element, self.target(start + 4 * index, (*place, index)), (*place, index))
            for index in range(count)
        )


def read_model(data: bytes, *, check: bool = True) -> Model:
    """The model stored in the bytes of a `.tflite` file.

    Arguments: `data`, the whole file; `check`, whether to hold the model against TFLite's rules (validation.validate).
    Fields that the schema does not know are dropped; operator codes that no operator uses are dropped; data stored
    behind the flatbuffer (Buffer.offset, large_custom_options_offset) is read into the model.
    Errors: MalformedModel if the bytes are not a well-formed flatbuffer, InvalidModel if the model breaks a rule.
    Source: google-ai-edge/LiteRT, tflite/core/interpreter_builder.cc.
    """
    data = bytes(data)
    if len(data) < 8:
        raise MalformedModel(f"a .tflite file has at least 8 bytes, this one has {len(data)}")
    if data[4:8] != FILE_IDENTIFIER:
        raise MalformedModel(f"bytes 4 to 8 are {data[4:8]!r}, not the file identifier {FILE_IDENTIFIER!r}")
    decoder = Decoder(data)
    place: Place = ("Model",)
    model = _model(decoder, decoder.table("Model", decoder.target(0, place), place))
    if check:
        validate(model)
    return model


def _model(decoder: Decoder, fields: Mapping[str, Any]) -> Model:
    codes = fields["operator_codes"] or ()
    return Model(
        graphs=tuple(_graph(decoder, graph, codes, index) for index, graph in enumerate(fields["subgraphs"] or ())),
        buffers=tuple(_buffer(decoder, buffer, index) for index, buffer in enumerate(fields["buffers"] or ())),
        version=fields["version"],
        description=fields["description"] or "",
        signatures=tuple(
            _signature(signature, index) for index, signature in enumerate(fields["signature_defs"] or ())
        ),
        metadata=tuple(Metadata(entry["name"] or "", entry["buffer"]) for entry in fields["metadata"] or ()),
        metadata_buffer=fields["metadata_buffer"] or (),
        external_buffer_groups=fields["external_buffer_groups"] or (),
        external_buffers=fields["external_buffers"] or (),
    )


def _buffer(decoder: Decoder, fields: Mapping[str, Any], index: int) -> bytes:
    if fields["data"] is not None:
        data: bytes = fields["data"]
        return data
    return _outside(decoder, fields["offset"], fields["size"], ("Model", "buffers", index))


def _outside(decoder: Decoder, offset: int, size: int, place: Place) -> bytes:
    """Data that lies in the file at `offset` from its start, outside the flatbuffer; an offset of 0 or 1 means none."""
    if offset <= 1:
        return b""
    if offset + size > len(decoder.data):
        raise MalformedModel(
            f"{name_of(place)}: {size} bytes at offset {offset} lie outside the file ({len(decoder.data)} bytes)"
        )
    return decoder.slice(offset, size, place)


def _graph(decoder: Decoder, fields: Mapping[str, Any], codes: tuple[Mapping[str, Any], ...], index: int) -> Graph:
    return Graph(
        tensors=tuple(_tensor(tensor) for tensor in fields["tensors"] or ()),
        operators=tuple(
            _operator(decoder, operator, codes, index, number)
            for number, operator in enumerate(fields["operators"] or ())
        ),
        inputs=fields["inputs"] or (),
        outputs=fields["outputs"] or (),
        name=fields["name"] or "",
        debug_metadata_index=fields["debug_metadata_index"],
    )


def _tensor(fields: Mapping[str, Any]) -> Tensor:
    return Tensor(
        name=fields["name"] or "",
        type=str(fields["type"]),
        shape=fields["shape"] or (),
        buffer=fields["buffer"],
        quantization=_quantization(fields["quantization"]),
        shape_signature=fields["shape_signature"],
        is_variable=fields["is_variable"],
        has_rank=fields["has_rank"],
        sparsity=fields["sparsity"],
        variant_tensors=fields["variant_tensors"] or (),
        external_buffer=fields["external_buffer"],
    )


def _quantization(fields: Mapping[str, Any] | None) -> Quantization | None:
    """None for an absent table and for one in which nothing is set: TFLite takes both as "not quantized"."""
    if fields is None:
        return None
    quantization = Quantization(
        scale=fields["scale"] or (),
        zero_point=fields["zero_point"] or (),
        quantized_dimension=fields["quantized_dimension"],
        min=fields["min"] or (),
        max=fields["max"] or (),
        details=_details(fields),
    )
    return None if quantization == Quantization() else quantization


def _details(fields: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if fields["details_type"] is None:
        return None
    return MappingProxyType({"details_type": fields["details_type"], "details": fields["details"]})


def _operator(
    decoder: Decoder, fields: Mapping[str, Any], codes: tuple[Mapping[str, Any], ...], graph: int, index: int
) -> Operator:
    if fields["opcode_index"] >= len(codes):
        raise InvalidModel(
            f"subgraph {graph}, operator {index}: opcode_index is {fields['opcode_index']}, "
            f"but the model has {len(codes)} operator codes"
        )
    code = codes[fields["opcode_index"]]
    if fields["custom_options_format"] != "FLEXBUFFERS":
        raise InvalidModel(
            f"subgraph {graph}, operator {index}: custom_options_format is {fields['custom_options_format']}, "
            "but the schema has FLEXBUFFERS only"
        )
    return Operator(
        name=builtin_name(code),
        inputs=fields["inputs"] or (),
        outputs=fields["outputs"] or (),
        version=code["version"],
        custom_code=code["custom_code"],
        options_type=fields["builtin_options_type"],
        options=fields["builtin_options"] or NO_OPTIONS,
        options2_type=fields["builtin_options_2_type"],
        options2=fields["builtin_options_2"] or NO_OPTIONS,
        custom_options=_custom_options(decoder, fields, ("Model", "subgraphs", graph, "operators", index)),
        intermediates=fields["intermediates"] or (),
        mutating_variable_inputs=fields["mutating_variable_inputs"] or (),
        debug_metadata_index=fields["debug_metadata_index"],
    )


def builtin_name(code: Mapping[str, Any]) -> str:
    """The operator's BuiltinOperator name; the number in decimal where the schema has no name for it.

    The greater of the two codes counts.
    Source: google-ai-edge/LiteRT, tflite/converter/schema/schema_utils.cc, GetBuiltinCode.
    """
    number = max(_code_number(code["builtin_code"]), code["deprecated_builtin_code"])
    return ENUM_NAMES["BuiltinOperator"].get(number, str(number))


def _code_number(value: str | int) -> int:
    return value if isinstance(value, int) else ENUM_VALUES["BuiltinOperator"][value]


def _custom_options(decoder: Decoder, fields: Mapping[str, Any], place: Place) -> bytes:
    if fields["custom_options"] is not None:
        options: bytes = fields["custom_options"]
        return options
    offset, size = fields["large_custom_options_offset"], fields["large_custom_options_size"]
    return _outside(decoder, offset, size, (*place, "large_custom_options"))


def _signature(fields: Mapping[str, Any], index: int) -> Signature:
    if fields["signature_key"] is None:
        raise InvalidModel(f"signature {index} has no signature_key")
    return Signature(
        key=fields["signature_key"],
        inputs=_tensor_map(fields["inputs"] or ()),
        outputs=_tensor_map(fields["outputs"] or ()),
        subgraph=fields["subgraph_index"],
    )


def _tensor_map(entries: Iterable[Mapping[str, Any]]) -> tuple[tuple[str, int], ...]:
    return tuple((entry["name"] or "", entry["tensor_index"]) for entry in entries)
