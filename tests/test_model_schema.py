"""The schema table against the `tflite` package's generated code, slot by slot, default by default."""

from __future__ import annotations

import inspect
import random

import flatbuffers
import numpy as np
import pytest
import tflite

from refquant.model import schema
from refquant.model.reader import Decoder
from refquant.model.schema import ENUM_VALUES, ENUMS, OPTIONS_OF, SLOT_COUNT, SLOTS, TABLES, UNIONS
from refquant.model.writer import Encoder

PACKAGE_TABLES = sorted(
    name for name, value in vars(tflite).items() if inspect.isclass(value) and hasattr(value, "GetRootAs")
)
# Tables and fields that the schema has gained since the package was made.
NEWER_TABLES = {
    "BlockwiseQuantization", "MultiAxisQuantization", "StablehloCaseOptions", "ExternalBufferGroup", "ExternalBuffer",
}  # fmt: skip
NEWER_FIELDS = {("Tensor", "external_buffer"), ("Model", "external_buffer_groups"), ("Model", "external_buffers")}

SCALAR_OF_METHOD = {
    "PrependBoolSlot": "bool", "PrependInt8Slot": "byte", "PrependUint8Slot": "ubyte", "PrependInt16Slot": "short",
    "PrependUint16Slot": "ushort", "PrependInt32Slot": "int", "PrependUint32Slot": "uint", "PrependInt64Slot": "long",
    "PrependUint64Slot": "ulong", "PrependFloat32Slot": "float", "PrependUOffsetTRelativeSlot": "offset",
}  # fmt: skip
ELEMENT_SIZES = {
    "bool": 1, "byte": 1, "ubyte": 1, "short": 2, "ushort": 2, "int": 4, "uint": 4, "long": 8, "ulong": 8, "float": 4,
}  # fmt: skip


class Recorder:
    """Stands in for flatbuffers.Builder and writes down what the generated code asks of it."""

    def __init__(self) -> None:
        self.calls: list[tuple] = []

    def __getattr__(self, method: str):
        return lambda *arguments: self.calls.append((method, *arguments))


def camel(name: str) -> str:
    """ "builtin_options_2" -> "BuiltinOptions2", as flatc spells accessors."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def package_slots(table: str) -> dict[str, tuple[int, str, object]]:
    """{accessor: (slot, scalar or "offset", default)} of a table, as the package's builder functions say."""
    slots = {}
    for name, function in vars(tflite).items():
        if name.startswith(f"{table}Add") and len(inspect.signature(function).parameters) == 2:
            recorder = Recorder()
            function(recorder, 0)
            [(method, slot, _, default)] = recorder.calls
            slots[name.removeprefix(f"{table}Add")] = (slot, SCALAR_OF_METHOD[method], default)
    return slots


def table_slots(table: str) -> dict[str, tuple[int, str, object]]:
    """The same, as refquant's table says."""
    slots = {}
    for slot, field in SLOTS[table]:
        if (table, field.name) in NEWER_FIELDS:
            continue
        name = camel(field.name)
        if field.type in UNIONS:
            slots[f"{name}Type"] = (slot, UNIONS[field.type], 0)
            slots[name] = (slot + 1, "offset", 0)
        elif field.type in ENUMS:
            slots[name] = (slot, ENUMS[field.type], ENUM_VALUES[field.type][field.default])
        elif field.type in ELEMENT_SIZES:
            slots[name] = (slot, field.type, field.default)
        else:
            slots[name] = (slot, "offset", 0)
    return slots


def test_every_table_of_the_package_is_known() -> None:
    assert set(TABLES) == set(PACKAGE_TABLES) | NEWER_TABLES


@pytest.mark.parametrize("table", PACKAGE_TABLES)
def test_slots_types_and_defaults(table: str) -> None:
    assert table_slots(table) == package_slots(table)


@pytest.mark.parametrize("table", PACKAGE_TABLES)
def test_slot_count(table: str) -> None:
    recorder = Recorder()
    getattr(tflite, f"{table}Start")(recorder)
    newer = sum(owner == table for owner, _ in NEWER_FIELDS)
    assert recorder.calls == [("StartObject", SLOT_COUNT[table] - newer)]


@pytest.mark.parametrize("table", PACKAGE_TABLES)
def test_element_sizes_of_vectors(table: str) -> None:
    for _, field in SLOTS[table]:
        if (table, field.name) in NEWER_FIELDS or not (field.type.startswith("[") or field.type == "blob"):
            continue
        recorder = Recorder()
        getattr(tflite, f"{table}Start{camel(field.name)}Vector")(recorder, 3)
        element = "ubyte" if field.type == "blob" else field.type[1:-1]
        size = ELEMENT_SIZES.get(ENUMS.get(element, element), 4)  # a table's offset takes 4 bytes
        # flatc's Python code does not say force_align, hence no comparison of the alignment beyond the element's own
        assert recorder.calls == [("StartVector", size, 3, size)], field


@pytest.mark.parametrize("enum", sorted(ENUM_VALUES))
def test_enums_are_those_of_the_package(enum: str) -> None:
    package = {name: value for name, value in vars(getattr(tflite, enum)).items() if not name.startswith("_")}
    newer = dict(schema.NEWER.get(enum, {}))
    assert dict(ENUM_VALUES[enum]) == package | newer
    assert len(set(ENUM_VALUES[enum].values())) == len(ENUM_VALUES[enum])
    assert enum in ENUMS or enum in UNIONS


def test_every_type_in_the_table_is_one_the_schema_has() -> None:
    kinds = {"string", "blob", "deprecated"} | set(ELEMENT_SIZES) | set(ENUMS) | set(TABLES)
    for table, fields in TABLES.items():
        assert len({field.name for field in fields}) == len(fields), table
        for field in fields:
            inner = field.type.removeprefix("[").removesuffix("]")
            assert inner in kinds or field.type in UNIONS, (table, field)
            has_default = inner == field.type and (inner in ELEMENT_SIZES or inner in ENUMS)
            assert (field.default is not None) == has_default, (table, field)


def test_no_table_contains_itself() -> None:
    """So the depth of a walk is bounded by the schema, whatever the bytes say."""

    def depth(table: str, above: tuple[str, ...]) -> int:
        assert table not in above
        below = set()
        for field in TABLES[table]:
            inner = field.type.removeprefix("[").removesuffix("]")
            below |= {inner} & set(TABLES)
            below |= set(ENUM_VALUES[field.type]) - {"NONE"} if field.type in UNIONS else set()
        return 1 + max((depth(name, (*above, table)) for name in below), default=0)

    assert depth("Model", ()) == 6  # Model, SubGraph, Tensor, SparsityParameters, DimensionMetadata, Int32Vector


def test_every_union_member_is_a_table() -> None:
    for union in UNIONS:
        assert set(ENUM_VALUES[union]) - {"NONE"} <= set(TABLES)


def test_options_of_names_operators_and_options() -> None:
    assert set(OPTIONS_OF) <= set(ENUM_VALUES["BuiltinOperator"])
    assert all(schema.options_union(table) for table in OPTIONS_OF.values())
    assert schema.options_union("Tensor") is None
    members = (set(ENUM_VALUES["BuiltinOptions"]) | set(ENUM_VALUES["BuiltinOptions2"])) - {"NONE"}
    assert set(OPTIONS_OF.values()) == members, "an options table that no operator uses"
    assert OPTIONS_OF["CONV_2D"] == "Conv2DOptions"
    assert OPTIONS_OF["MEAN"] == "ReducerOptions"
    assert OPTIONS_OF["STABLEHLO_COMPOSITE"] == "StableHLOCompositeOptions"


def test_default_options_are_the_schemas() -> None:
    assert dict(schema.default_options("Conv2DOptions")) == {
        "padding": "SAME", "stride_w": 0, "stride_h": 0, "fused_activation_function": "NONE", "dilation_w_factor": 1,
        "dilation_h_factor": 1, "quantized_bias_type": "FLOAT32",
    }  # fmt: skip
    assert dict(schema.default_options("ResizeBilinearOptions")) == {
        "align_corners": False,
        "half_pixel_centers": False,
    }


# A second reader: the package's classes, walked by the table's field names -----------------------------------------


def package_table(reader, table: str) -> dict[str, object]:
    """What the package's reader says of a table, in the form of Decoder.table; newer fields at their defaults."""
    fields: dict[str, object] = {}
    for _, field in SLOTS[table]:
        name = camel(field.name)
        if (table, field.name) in NEWER_FIELDS:
            fields[field.name] = field.default
        elif (table, field.name) == ("OperatorCode", "builtin_code"):
            # the package's accessor has been changed by hand to mix in the deprecated code; this is what flatc makes
            offset = reader._tab.Offset(10)
            stored = reader._tab.Get(flatbuffers.number_types.Int32Flags, offset + reader._tab.Pos) if offset else 0
            fields[field.name] = package_value(stored, field.type)
        elif field.type in UNIONS:
            member = {number: key for key, number in ENUM_VALUES[field.type].items()}[getattr(reader, f"{name}Type")()]
            inner = getattr(reader, name)()
            if member == "NONE" or inner is None:
                fields[f"{field.name}_type"], fields[field.name] = None, None
                continue
            typed = getattr(tflite, member)()
            typed.Init(inner.Bytes, inner.Pos)
            fields[f"{field.name}_type"], fields[field.name] = member, package_table(typed, member)
        elif field.type.startswith("[") or field.type == "blob":
            fields[field.name] = package_vector(reader, name, field.type)
        else:
            fields[field.name] = package_value(getattr(reader, name)(), field.type)
    return fields


def package_vector(reader, name: str, type_: str) -> object:
    if getattr(reader, f"{name}IsNone")():
        return None
    if type_ == "blob":
        return getattr(reader, f"{name}AsNumpy")().tobytes() if getattr(reader, f"{name}Length")() else b""
    count = getattr(reader, f"{name}Length")()
    return tuple(package_value(getattr(reader, name)(j), type_[1:-1]) for j in range(count))


def package_value(value, type_: str) -> object:
    if value is None:
        return None
    if type_ in TABLES:
        return package_table(value, type_)
    if type_ == "string":
        return value.decode()
    if type_ in ENUMS:
        return {number: key for key, number in ENUM_VALUES[type_].items()}.get(value, value)
    return bool(value) if type_ == "bool" else value


def random_fields(table: str, rng: random.Random) -> dict[str, object]:
    """A value for every field of a table, none of them the default but those that the package does not know."""
    fields: dict[str, object] = {}
    for _, field in SLOTS[table]:
        if (table, field.name) in NEWER_FIELDS:
            fields[field.name] = field.default
        elif field.type in UNIONS:
            members = sorted(set(ENUM_VALUES[field.type]) - {"NONE"} - NEWER_TABLES)
            fields[f"{field.name}_type"] = rng.choice(members)
            fields[field.name] = random_fields(fields[f"{field.name}_type"], rng)
        elif field.type.startswith("["):
            fields[field.name] = tuple(random_value(field.type[1:-1], None, rng) for _ in range(rng.randint(1, 3)))
        else:
            fields[field.name] = random_value(field.type, field.default, rng)
    return fields


def random_value(type_: str, default: object, rng: random.Random) -> object:
    if type_ in TABLES:
        return random_fields(type_, rng)
    if type_ in ENUMS:
        return rng.choice([*sorted(set(ENUM_VALUES[type_]) - {default}), 99 if type_ != "BuiltinOperator" else 999])
    if type_ == "string":
        return rng.choice(["x", "é", "a longer name", "\x00"])
    if type_ == "blob":
        return rng.randbytes(rng.randint(1, 9))
    if type_ == "float":
        return float(np.float32(rng.uniform(-9, 9)))
    if type_ == "bool":
        return not default
    limits = np.iinfo({"byte": "i1", "ubyte": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4",
                       "long": "i8", "ulong": "u8"}[type_])  # fmt: skip
    return rng.choice([limits.max, limits.max - 1, limits.min or 7])


@pytest.mark.parametrize("table", PACKAGE_TABLES)
def test_what_the_encoder_writes_the_package_reads(table: str) -> None:
    for seed in range(3):
        given = random_fields(table, random.Random(f"{table} {seed}"))
        encoder = Encoder(64)
        data = encoder.finish(encoder.table(table, given, (table,)))
        decoder = Decoder(data)
        assert decoder.table(table, decoder.target(0, ()), (table,)) == given
        assert package_table(getattr(tflite, table).GetRootAs(data), table) == given


@pytest.mark.parametrize("table", PACKAGE_TABLES)
def test_absent_fields_read_as_defaults(table: str) -> None:
    encoder = Encoder(64)
    data = encoder.finish(encoder.table(table, {}, (table,)))
    decoder = Decoder(data)
    decoded = decoder.table(table, decoder.target(0, ()), (table,))
    assert package_table(getattr(tflite, table).GetRootAs(data), table) == decoded
