"""Model -> bytes of a `.tflite` file.

`Encoder` writes any table of schema.TABLES; the functions below it turn the dataclasses of graph.py into the tables'
fields. Nothing is coerced: a value that its field cannot hold exactly is an InvalidModel.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import flatbuffers
import numpy as np
from flatbuffers import number_types
from flatbuffers.builder import BuilderSizeError
from numpy.typing import NDArray

from refquant.errors import InvalidModel, UnsupportedModel
from refquant.model.graph import Graph, Metadata, Model, Operator, Quantization, Signature, Tensor
from refquant.model.reader import SCALARS, Place, name_of
from refquant.model.schema import (
    ENUM_VALUES,
    ENUMS,
    FILE_IDENTIFIER,
    OPTIONS_OF,
    PLACEHOLDER_FOR_GREATER_OP_CODES,
    SLOT_COUNT,
    SLOTS,
    TABLES,
    UNIONS,
    Field,
    options_union,
)
from refquant.model.validation import validate

_FLAGS = MappingProxyType(
    {
        "bool": number_types.BoolFlags,
        "byte": number_types.Int8Flags,
        "ubyte": number_types.Uint8Flags,
        "short": number_types.Int16Flags,
        "ushort": number_types.Uint16Flags,
        "int": number_types.Int32Flags,
        "uint": number_types.Uint32Flags,
        "long": number_types.Int64Flags,
        "ulong": number_types.Uint64Flags,
        "float": number_types.Float32Flags,
    }
)

# Table -> the keys that its fields have in a mapping: two, "x_type" and "x", for a union.
_KEYS = MappingProxyType(
    {
        name: {field.name for field in fields} | {f"{field.name}_type" for field in fields if field.type in UNIONS}
        for name, fields in TABLES.items()
    }
)

OperatorCode = tuple[str, str | None, int]  # (BuiltinOperator name, custom_code, version)


def exact_float(value: Any, place: Place) -> float:
    """`value` as a float; InvalidModel unless it is a number that float32 holds exactly (NaN and infinity included)."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise InvalidModel(f"{name_of(place)}: {value!r} is not a number")
    try:
        with np.errstate(over="ignore"):
            nearest = float(np.float32(value))
    except OverflowError:
        raise InvalidModel(f"{name_of(place)}: an integer of {int(value).bit_length()} bits is not a float32") from None
    if nearest != value and not math.isnan(value):
        raise InvalidModel(f"{name_of(place)}: {value!r} is not a float32; the nearest one is {nearest!r}")
    return nearest


def exact_integer(type_: str, value: Any, place: Place) -> int:
    """`value` as an int; InvalidModel unless it is an integer in the range of the schema's type."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool | np.bool_):
        raise InvalidModel(f"{name_of(place)}: {value!r} is not an integer")
    limits = np.iinfo(SCALARS[type_])
    if not limits.min <= number <= limits.max:
        raise InvalidModel(f"{name_of(place)}: {number} does not fit the type {type_} ({limits.min} to {limits.max})")
    return number


def exact_scalar(type_: str, value: Any, place: Place) -> Any:
    """`value` as the schema's scalar or enum type stores it; InvalidModel if that would change it."""
    if type_ in ENUMS:
        return enum_number(type_, value, place)
    if type_ == "float":
        return exact_float(value, place)
    if type_ == "bool":
        if not isinstance(value, bool | np.bool_):
            raise InvalidModel(f"{name_of(place)}: {value!r} is not True or False")
        return bool(value)
    return exact_integer(type_, value, place)


def exact_vector(type_: str, values: Sequence[Any], place: Place) -> NDArray[Any]:
    """`values` as the schema's scalar or enum type stores them; InvalidModel if that would change one of them."""
    dtype = SCALARS[ENUMS.get(type_, type_)]
    kinds = set(map(type, values))
    if kinds == {int} and dtype.kind in "iu":  # many plain numbers: all at once
        limits = np.iinfo(dtype)
        if limits.min <= min(values) and max(values) <= limits.max:
            return np.array(values, dtype)
    if kinds == {float} and dtype.kind == "f":
        with np.errstate(over="ignore"):
            stored = np.array(values).astype(dtype)
        if np.array_equal(np.array(values), stored, equal_nan=True):
            return stored
    return np.array([exact_scalar(type_, value, (*place, i)) for i, value in enumerate(values)], dtype)


def enum_number(enum: str, value: Any, place: Place) -> int:
    """The number of an enum's value, given by name or, for a value without a name, as the number itself."""
    if not isinstance(value, str):
        return exact_integer(ENUMS[enum], value, place)
    if value not in ENUM_VALUES[enum]:
        raise InvalidModel(f"{name_of(place)}: '{value}' is not a {enum}")
    return ENUM_VALUES[enum][value]


class Encoder:
    """A flatbuffer under construction, written by table name."""

    def __init__(self, size_hint: int) -> None:
        self.builder = flatbuffers.Builder(size_hint)

    def table(self, name: str, fields: Mapping[str, Any], place: Place) -> int:
        """Write a table; fields left out or None are absent. InvalidModel for a name that the table does not have."""
        if not isinstance(fields, Mapping):
            raise InvalidModel(f"{name_of(place)}: {type(fields).__name__} given where a mapping of fields is due")
        for given in fields:
            if given not in _KEYS[name]:
                raise InvalidModel(f"{name_of(place)}: {name} has no field '{given}'")
        inline = [entry for slot, field in SLOTS[name] for entry in self.field(slot, field, fields, place)]
        self.builder.StartObject(SLOT_COUNT[name])
        for slot, type_, value in inline:
            if type_ == "offset":
                self.builder.PrependUOffsetTRelativeSlot(slot, value, 0)
            else:
                self.builder.PrependSlot(_FLAGS[type_], slot, value, None)
        end: int = self.builder.EndObject()
        return end

    def field(self, slot: int, field: Field, fields: Mapping[str, Any], place: Place) -> list[tuple[int, str, Any]]:
        """Write what a field points to. -> (slot, scalar type or "offset", value) for each of its slots that is set."""
        value = fields.get(field.name)
        here = (*place, field.name)
        if field.type in UNIONS:
            member = fields.get(f"{field.name}_type")
            if member is None:
                return []
            if member not in TABLES or member not in ENUM_VALUES[field.type]:
                raise InvalidModel(f"{name_of(here)}: '{member}' is not a member of the union {field.type}")
            number = ENUM_VALUES[field.type][member]
            offset = self.table(member, value or {}, (*here, member))
            return [(slot, UNIONS[field.type], number), (slot + 1, "offset", offset)]
        if value is None:
            return []
        if field.type in SCALARS or field.type in ENUMS:
            stored = exact_scalar(field.type, value, here)
            if repr(stored) == repr(exact_scalar(field.type, field.default, here)):  # repr tells -0.0 from 0.0
                return []
            return [(slot, ENUMS.get(field.type, field.type), stored)]
        return [(slot, "offset", self.value(field, value, here))]

    def value(self, field: Field, value: Any, place: Place) -> int:
        """Write a string, blob, table or vector; -> its offset."""
        if field.type == "string":
            return self.string(value, place)
        if field.type == "blob":
            if not isinstance(value, bytes):
                raise InvalidModel(f"{name_of(place)}: {type(value).__name__} given where bytes are due")
            return self.elements(value, 1, field.align)
        if field.type in TABLES:
            return self.table(field.type, value, place)
        element = field.type[1:-1]
        if not isinstance(value, Sequence) or isinstance(value, str | bytes):
            raise InvalidModel(f"{name_of(place)}: {type(value).__name__} given where a tuple is due")
        if element in TABLES:
            return self.offsets([self.table(element, item, (*place, i)) for i, item in enumerate(value)])
        stored = exact_vector(element, value, place)
        return self.elements(stored.tobytes(), stored.itemsize, field.align)

    def string(self, value: Any, place: Place) -> int:
        """Write a string; -> its offset."""
        if not isinstance(value, str):
            raise InvalidModel(f"{name_of(place)}: {type(value).__name__} given where a string is due")
        try:
            encoded = value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InvalidModel(f"{name_of(place)}: {value!r} cannot be written as UTF-8: {error.reason}") from None
        offset: int = self.builder.CreateString(encoded)
        return offset

    def elements(self, data: bytes, size: int, align: int) -> int:
        """Write a vector of scalars, `size` bytes each, whose first one is aligned to `align`; -> its offset."""
        self.builder.StartVector(size, len(data) // size, max(size, align))
        self.builder.head -= len(data)
        self.builder.Bytes[self.builder.head : self.builder.head + len(data)] = data
        offset: int = self.builder.EndVector()
        return offset

    def offsets(self, targets: list[int]) -> int:
        """Write a vector of offsets to things already written; -> its offset."""
        self.builder.StartVector(4, len(targets), 4)
        for target in reversed(targets):
            self.builder.PrependUOffsetTRelative(target)
        offset: int = self.builder.EndVector()
        return offset

    def finish(self, root: int) -> bytes:
        """The whole file, given its root table."""
        self.builder.Finish(root, file_identifier=FILE_IDENTIFIER)
        return bytes(memoryview(self.builder.Bytes)[self.builder.Head() :])


def write_model(model: Model, *, check: bool = True) -> bytes:
    """The bytes of a `.tflite` file that holds the model; read_model gives the same model back.

    Arguments: `model`; `check`, whether to hold it against TFLite's rules first (validation.validate).
    An operator that has options but no options_type gets the one that TFLite reads for it (schema.OPTIONS_OF); options
    left out have the schema's defaults.
    Errors: InvalidModel if the model breaks a rule or holds a value that the file format cannot hold exactly;
    UnsupportedModel if the file would be larger than the 2 GiB of a flatbuffer.
    Source: google-ai-edge/LiteRT, tflite/converter/flatbuffer_export.cc.
    """
    if check:
        validate(model)
    try:
        encoder = Encoder(sum(len(data) + 64 for data in model.buffers) + 65536)
        return encoder.finish(encoder.table("Model", _model_fields(model), ("Model",)))
    except BuilderSizeError:
        raise UnsupportedModel("the model does not fit into a flatbuffer of 2 GiB") from None


def _model_fields(model: Model) -> dict[str, Any]:
    codes = _operator_codes(model)
    constants = empty_constants(model)
    return {
        "version": model.version,
        "operator_codes": tuple(_code_fields(code) for code in codes),
        "subgraphs": tuple(_graph_fields(graph, codes, index) for index, graph in enumerate(model.graphs)),
        "description": model.description or None,
        "buffers": tuple(
            {"data": data if data or index in constants else None} for index, data in enumerate(model.buffers)
        ),
        "metadata_buffer": model.metadata_buffer or None,
        "metadata": tuple(_metadata_fields(entry) for entry in model.metadata) or None,
        "signature_defs": tuple(_signature_fields(signature) for signature in model.signatures) or None,
        "external_buffer_groups": model.external_buffer_groups or None,
        "external_buffers": model.external_buffers or None,
    }


def empty_constants(model: Model) -> frozenset[int]:
    """Buffers that hold a constant of no elements: TFLite needs their data to be present though it has no bytes."""
    constants: set[int] = set()
    others: set[int] = set()
    for graph in model.graphs:
        made = {index for op in graph.operators for index in op.outputs} | set(graph.inputs)
        for index, tensor in enumerate(graph.tensors):
            constant = 0 in tensor.shape and index not in made and not tensor.is_variable
            (constants if constant else others).add(tensor.buffer)
    return frozenset(constants - others - {0})


def _operator_codes(model: Model) -> dict[OperatorCode, int]:
    """Every (name, custom_code, version) in use -> its index, in order of first use."""
    codes: dict[OperatorCode, int] = {}
    for graph in model.graphs:
        for op in graph.operators:
            codes.setdefault((op.name, op.custom_code, op.version), len(codes))
    return codes


def _code_fields(code: OperatorCode) -> dict[str, Any]:
    name, custom_code, version = code
    number = int(name) if name.isdecimal() else enum_number("BuiltinOperator", name, ("Model", "operator_codes"))
    return {
        "deprecated_builtin_code": min(number, PLACEHOLDER_FOR_GREATER_OP_CODES),
        "custom_code": custom_code,
        "version": version,
        "builtin_code": number,
    }


def _graph_fields(graph: Graph, codes: Mapping[OperatorCode, int], index: int) -> dict[str, Any]:
    return {
        "tensors": tuple(_tensor_fields(tensor) for tensor in graph.tensors),
        "inputs": graph.inputs,
        "outputs": graph.outputs,
        "operators": tuple(
            _operator_fields(op, codes, f"subgraph {index}, operator {number} ({op.name})")
            for number, op in enumerate(graph.operators)
        ),
        "name": graph.name or None,
        "debug_metadata_index": graph.debug_metadata_index,
    }


def _tensor_fields(tensor: Tensor) -> dict[str, Any]:
    return {
        "shape": tensor.shape,
        "type": int(tensor.type) if tensor.type.isdecimal() else tensor.type,
        "buffer": tensor.buffer,
        "name": tensor.name or None,
        "quantization": None if tensor.quantization is None else _quantization_fields(tensor.quantization),
        "is_variable": tensor.is_variable,
        "sparsity": tensor.sparsity,
        "shape_signature": tensor.shape_signature,
        "has_rank": tensor.has_rank,
        "variant_tensors": tensor.variant_tensors or None,
        "external_buffer": tensor.external_buffer,
    }


def _quantization_fields(quantization: Quantization) -> dict[str, Any]:
    return {
        "min": quantization.min or None,
        "max": quantization.max or None,
        "scale": quantization.scale or None,
        "zero_point": quantization.zero_point or None,
        "quantized_dimension": quantization.quantized_dimension,
        **(quantization.details or {}),
    }


def _operator_fields(op: Operator, codes: Mapping[OperatorCode, int], where: str) -> dict[str, Any]:
    options_type = _options_type(op, op.options_type, op.options, "BuiltinOptions", where)
    options2_type = _options_type(op, op.options2_type, op.options2, "BuiltinOptions2", where)
    return {
        "opcode_index": codes[op.name, op.custom_code, op.version],
        "inputs": op.inputs,
        "outputs": op.outputs,
        "builtin_options_type": options_type,
        "builtin_options": op.options,
        "custom_options": op.custom_options if op.custom_options or op.name == "CUSTOM" else None,
        "mutating_variable_inputs": op.mutating_variable_inputs or None,
        "intermediates": op.intermediates or None,
        "builtin_options_2_type": options2_type,
        "builtin_options_2": op.options2,
        "debug_metadata_index": op.debug_metadata_index,
    }


def _options_type(op: Operator, given: str | None, options: Mapping[str, Any], union: str, where: str) -> str | None:
    """The options table to write: the one given, or the operator's own if only options are given."""
    if given is not None or not options:
        return given
    table = OPTIONS_OF.get(op.name)
    if table is None or options_union(table) != union:
        raise InvalidModel(f"{where}: options are given, but TFLite has none for it in the union {union}")
    return table


def _metadata_fields(entry: Metadata) -> dict[str, Any]:
    return {"name": entry.name or None, "buffer": entry.buffer}


def _signature_fields(signature: Signature) -> dict[str, Any]:
    return {
        "inputs": tuple({"name": name, "tensor_index": index} for name, index in signature.inputs),
        "outputs": tuple({"name": name, "tensor_index": index} for name, index in signature.outputs),
        "signature_key": signature.key,
        "subgraph_index": signature.subgraph,
    }
