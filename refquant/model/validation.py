"""The rules that a model must keep to be a model of TFLite. Each is a small function that raises InvalidModel.

Source: google-ai-edge/LiteRT: tflite/core/tools/verifier.cc and verifier_internal.cc (what a checked load refuses),
tflite/core/interpreter_builder.cc and tflite/core/subgraph.cc (what building an interpreter refuses).
"""

from __future__ import annotations

import graphlib
import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.errors import InvalidModel, UnsupportedModel
from refquant.model.graph import DTYPES, Graph, Model, Operator, Quantization, Tensor
from refquant.model.schema import ENUM_NAMES, ENUM_VALUES, OPTIONS_OF, SCHEMA_VERSION, options_union

MAX_ELEMENTS = 2**31 - 1  # tflite/util.cc, CheckedNumElements: the product of a shape fits an int
MAX_RANK = 32  # dimensions of a NumPy 1 array

# Bits that one element of a type takes in a buffer. A type without an entry (STRING, RESOURCE, VARIANT) has no size.
ELEMENT_BITS: Mapping[str, int] = MappingProxyType(
    {
        **{name: 8 * dtype.itemsize for name, dtype in DTYPES.items()},
        "BFLOAT16": 16,
        "FLOAT8_E4M3FN": 8,
        "FLOAT8_E5M2": 8,
        "INT4": 4,
        "UINT4": 4,
        "INT2": 2,
    }
)

# Options that name a subgraph, by options table.
SUBGRAPH_OPTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "CallOptions": ("subgraph",),
        "CallOnceOptions": ("init_subgraph_index",),
        "IfOptions": ("then_subgraph_index", "else_subgraph_index"),
        "WhileOptions": ("cond_subgraph_index", "body_subgraph_index"),
        "StableHLOCompositeOptions": ("decomposition_subgraph_index",),
        "StablehloCaseOptions": ("branch_subgraph_indices",),
        "StablehloReduceOptions": ("body_subgraph_index",),
        "StablehloReduceWindowOptions": ("body_subgraph_index",),
        "StablehloScatterOptions": ("update_computation_subgraph_index",),
        "StablehloSortOptions": ("comparator_subgraph_index",),
        "StablehloWhileOptions": ("cond_subgraph_index", "body_subgraph_index"),
    }
)

ZERO_POINT_TYPES = ("INT8", "UINT8", "INT16", "INT32")


def validate(model: Model) -> None:
    """Raise InvalidModel, naming the place and the rule, unless the model keeps the rules; nothing is changed.

    Rules about one runtime's kernels, and those of check_quantized_dimensions, are not among them. UnsupportedModel for
    a tensor of more dimensions than an array can have.
    """
    _check_model(model)
    for index, graph in enumerate(model.graphs):
        for number, tensor in enumerate(graph.tensors):
            _check_tensor(model, graph, tensor, tensor_place(index, number, tensor))
        for number, op in enumerate(graph.operators):
            _check_operator(graph, op, operator_place(index, number, op))
        _check_order(model, graph, index)
    _check_subgraph_calls(model)


def tensor_place(graph: int, index: int, tensor: Tensor) -> str:
    """How messages name a tensor."""
    return f"subgraph {graph}, tensor {index} ({tensor.name[:100]!r})"


def operator_place(graph: int, index: int, op: Operator) -> str:
    """How messages name an operator."""
    return f"subgraph {graph}, operator {index} ({op.name})"


def check_quantized_dimensions(model: Model) -> None:
    """Raise InvalidModel unless every quantized_dimension is a dimension of its tensor that its scales fit.

    One scale fits any dimension. TFLite checks this when it builds an interpreter, TFLite Micro never does, so files
    that break the rule are about; hence it is no part of validate.
    Source: google-ai-edge/LiteRT, tflite/core/interpreter_builder.cc, ParseQuantization.
    """
    for index, graph in enumerate(model.graphs):
        for number, tensor in enumerate(graph.tensors):
            if tensor.quantization is not None and tensor.quantization.details is None:
                _check_quantized_dimension(tensor, tensor.quantization, tensor_place(index, number, tensor))


def _check_quantized_dimension(tensor: Tensor, quantization: Quantization, place: str) -> None:
    scales, dimension = len(quantization.scale), quantization.quantized_dimension
    if not scales:
        return
    rank = len(tensor.shape)
    if dimension < 0 or (rank and dimension >= rank):
        raise InvalidModel(f"{place}: quantized_dimension is {dimension}, but the tensor has {rank} dimensions")
    if rank and scales not in (1, tensor.shape[dimension]):
        raise InvalidModel(
            f"{place}: {scales} scales, but dimension {dimension} of the shape {list(tensor.shape)} has "
            f"{tensor.shape[dimension]} elements"
        )


# The model ---------------------------------------------------------------------------------------------------------


def _check_model(model: Model) -> None:
    if model.version != SCHEMA_VERSION:
        raise InvalidModel(f"the model's schema version is {model.version}, not {SCHEMA_VERSION}")
    if not model.graphs:
        raise InvalidModel("the model has no subgraph")
    if not model.buffers:
        raise InvalidModel("the model has no buffers; buffer 0 must exist, and is empty by convention")
    for index, entry in enumerate(model.metadata):
        _check_index(entry.buffer, model.buffers, f"metadata {index}: buffer", "buffers")
    for index, signature in enumerate(model.signatures):
        place = f"signature {index} ({signature.key[:100]!r})"
        _check_index(signature.subgraph, model.graphs, f"{place}: subgraph_index", "subgraphs")
        tensors = model.graphs[signature.subgraph].tensors
        for name, tensor in (*signature.inputs, *signature.outputs):
            _check_index(tensor, tensors, f"{place}: {name[:100]!r}", "tensors")


def _check_index(index: int, sequence: tuple[Any, ...], place: str, what: str) -> None:
    if not 0 <= index < len(sequence):
        raise InvalidModel(f"{place} is {index}, but there are {len(sequence)} {what}")


# Tensors -----------------------------------------------------------------------------------------------------------


def _check_tensor(model: Model, graph: Graph, tensor: Tensor, place: str) -> None:
    if not _is_enum_value("TensorType", tensor.type):
        raise InvalidModel(f"{place}: '{tensor.type}' is not a TensorType")
    elements = _checked_elements(tensor.shape, place)
    if any(dimension < -1 for dimension in tensor.shape_signature or ()):
        raise InvalidModel(
            f"{place}: shape_signature {_shortened(tensor.shape_signature or ())} has a dimension below -1"
        )
    if tensor.quantization is not None:
        _check_quantization(graph, tensor, tensor.quantization, place)
    _check_index(tensor.buffer, model.buffers, f"{place}: buffer", "buffers")
    data = model.buffers[tensor.buffer] if tensor.buffer else b""
    if not data:
        return
    if tensor.is_variable or tensor.external_buffer:
        kind = "variable" if tensor.is_variable else "tensor with an external buffer"
        raise InvalidModel(f"{place}: a {kind} cannot have data, but buffer {tensor.buffer} holds {len(data)} bytes")
    if tensor.sparsity is not None:
        elements = _sparse_elements(tensor.shape, tensor.sparsity, f"{place}: sparsity")
    if tensor.type == "STRING":
        _check_strings(data, place)
    elif tensor.type in ELEMENT_BITS:
        required = (elements * ELEMENT_BITS[tensor.type] + 7) // 8
        if len(data) != required:
            raise InvalidModel(
                f"{place}: {elements} elements of {tensor.type} take {required} bytes, "
                f"but buffer {tensor.buffer} holds {len(data)}"
            )


def _is_enum_value(enum: str, value: str) -> bool:
    """Whether `value` is a name of the enum, or in decimal a number that the enum has no name for."""
    if value in ENUM_VALUES[enum]:
        return True
    return value.isascii() and value.isdecimal() and len(value) <= 10 and int(value) not in ENUM_NAMES[enum]


def _checked_elements(shape: tuple[int, ...], place: str) -> int:
    """The number of elements of a shape whose dimensions are not negative and whose product fits an int."""
    if any(dimension < 0 for dimension in shape):
        raise InvalidModel(f"{place}: the shape {_shortened(shape)} has a negative dimension")
    if len(shape) > MAX_RANK:
        raise UnsupportedModel(f"{place}: {len(shape)} dimensions; an array has at most {MAX_RANK}")
    if math.prod(dimension for dimension in shape if dimension) > MAX_ELEMENTS:
        raise InvalidModel(f"{place}: the shape {_shortened(shape)} has more than {MAX_ELEMENTS} elements")
    return math.prod(shape)


def _shortened(values: Sequence[int]) -> str:
    """The values as a list in brackets, the first MAX_RANK of them."""
    return str(list(values)) if len(values) <= MAX_RANK else f"[{str(list(values[:MAX_RANK]))[1:-1]}, ...]"


def _check_quantization(graph: Graph, tensor: Tensor, quantization: Quantization, place: str) -> None:
    """Source: google-ai-edge/LiteRT, tflite/core/interpreter_builder.cc, ParseQuantization."""
    if quantization.details is not None:
        _check_details(graph, quantization.details, place)
        return
    if not quantization.scale:
        return
    if len(quantization.zero_point) != len(quantization.scale):
        raise InvalidModel(f"{place}: {len(quantization.scale)} scales, but {len(quantization.zero_point)} zero points")
    for scale in quantization.scale:
        if not (math.isfinite(scale) and scale >= 0):
            raise InvalidModel(f"{place}: scale {scale} is not a finite number of at least 0")
    if tensor.type in ZERO_POINT_TYPES:
        limits = np.iinfo(DTYPES[tensor.type])
        for zero_point in quantization.zero_point:
            if not limits.min <= zero_point <= limits.max:
                raise InvalidModel(
                    f"{place}: zero point {zero_point} is outside {tensor.type} ({limits.min} to {limits.max})"
                )


def _check_details(graph: Graph, details: Mapping[str, Any], place: str) -> None:
    kind, fields = details["details_type"], details["details"]
    if kind not in ("BlockwiseQuantization", "MultiAxisQuantization"):
        return
    _check_index(fields["scales"], graph.tensors, f"{place}: {kind} scales", "tensors")
    if fields["zero_points"] != -1:
        _check_index(fields["zero_points"], graph.tensors, f"{place}: {kind} zero_points", "tensors")
    if fields["block_size"] < 0:
        raise InvalidModel(f"{place}: {kind} block_size is {fields['block_size']}")


def _check_strings(data: bytes, place: str) -> None:
    """A string tensor's buffer: int32 count, count + 1 offsets that do not fall, then the characters up to the last.

    Source: google-ai-edge/LiteRT, tflite/core/tools/verifier.cc, VerifyStringTensorBuffer; tflite/string_util.h.
    """
    count = int.from_bytes(data[:4], "little")
    header = 4 * (count + 2)
    if len(data) < max(header, 4):
        raise InvalidModel(f"{place}: a buffer of {len(data)} bytes is too short for {count} strings")
    offsets = np.frombuffer(data, "<i4", count + 1, 4).astype(np.int64)
    if offsets[0] != header or offsets[-1] != len(data) or (np.diff(offsets) < 0).any():
        raise InvalidModel(f"{place}: the offsets of its {count} strings do not run from {header} up to {len(data)}")


def _sparse_elements(shape: tuple[int, ...], sparsity: Mapping[str, Any], place: str) -> int:
    """How many elements a sparse tensor stores, once its sparsity is found sound.

    Source: google-ai-edge/LiteRT, tflite/core/tools/verifier.cc, VerifyAndCountSparseElements.
    """
    order, levels, block_map = sparsity["traversal_order"], sparsity["dim_metadata"], sparsity["block_map"] or ()
    if order is None or levels is None:
        raise InvalidModel(f"{place} has no traversal_order or no dim_metadata")
    rank = len(shape)
    if len(levels) != len(order) or len(block_map) != len(order) - rank:
        raise InvalidModel(
            f"{place}: {len(order)} levels in traversal_order, {len(levels)} in dim_metadata and {len(block_map)} in "
            f"block_map do not fit {rank} dimensions"
        )
    if sorted(order[:rank]) != list(range(rank)) or sorted(order[rank:]) != list(range(rank, len(order))):
        raise InvalidModel(
            f"{place}: traversal_order {_shortened(order)} does not name every dimension, then every block, once"
        )
    sizes = [*shape, *(0 for _ in block_map)]
    for level, mapped in enumerate(block_map):
        block_size = levels[rank + level]["dense_size"]
        if block_size <= 0 or not 0 <= mapped < rank:
            raise InvalidModel(f"{place}: block {level} has size {block_size} and dimension {mapped}")
        sizes[order[rank + level]] = block_size
        sizes[mapped] //= block_size
    elements = 1
    for level, dimension in enumerate(order):
        elements = _level_elements(levels[level], sizes[dimension], elements, f"{place}: level {level}")
    return elements


def _level_elements(level: Mapping[str, Any], size: int, parents: int, place: str) -> int:
    """How many nodes a level of the sparse format has below `parents` nodes."""
    if level["format"] == "DENSE":
        if level["dense_size"] != size:
            raise InvalidModel(f"{place}: dense_size is {level['dense_size']}, but the dimension has {size}")
        return parents * size
    if level["format"] != "SPARSE_CSR":
        raise InvalidModel(f"{place}: format {level['format']} is not a DimensionType")
    segments, indices = (_index_vector(level, name, place) for name in ("array_segments", "array_indices"))
    if len(segments) != parents + 1 or (segments < 0).any() or (np.diff(segments) < 0).any():
        raise InvalidModel(f"{place}: array_segments is not {parents + 1} numbers that do not fall")
    if len(indices) != segments[-1] or (indices < 0).any() or (indices >= size).any():
        raise InvalidModel(f"{place}: array_indices is not {segments[-1]} numbers from 0 to {size - 1}")
    return len(indices)


def _index_vector(level: Mapping[str, Any], name: str, place: str) -> NDArray[np.int64]:
    vector = level[name]
    if vector is None or vector["values"] is None:
        raise InvalidModel(f"{place}: {name} is missing")
    return np.array(vector["values"], np.int64)


# Operators ---------------------------------------------------------------------------------------------------------


def _check_operator(graph: Graph, op: Operator, place: str) -> None:
    if not _is_enum_value("BuiltinOperator", op.name):
        raise InvalidModel(f"{place}: '{op.name}' is not a BuiltinOperator")
    if op.name == "CUSTOM" and not op.custom_code:
        raise InvalidModel(f"{place}: a CUSTOM operator must have a custom_code")
    for kind, indices, absent_allowed in (
        ("input", op.inputs, True),
        ("output", op.outputs, False),
        ("intermediate", op.intermediates, True),
    ):
        _check_tensor_indices(indices, graph, f"{place}: {kind}", absent_allowed)
    if op.mutating_variable_inputs and len(op.mutating_variable_inputs) != len(op.inputs):
        raise InvalidModel(
            f"{place}: mutating_variable_inputs has {len(op.mutating_variable_inputs)} entries, "
            f"but there are {len(op.inputs)} inputs"
        )
    table = OPTIONS_OF.get(op.name)
    if table is not None:
        given = op.options_type if options_union(table) == "BuiltinOptions" else op.options2_type
        if given not in (None, table):
            raise InvalidModel(f"{place}: its options are {given}, but TFLite reads {table}")


def _check_tensor_indices(indices: Iterable[int], graph: Graph, place: str, absent_allowed: bool = False) -> None:
    for position, index in enumerate(indices):
        if not (0 <= index < len(graph.tensors) or (absent_allowed and index == -1)):
            raise InvalidModel(
                f"{place} {position} names tensor {index}, but the subgraph has {len(graph.tensors)} tensors"
            )


def _check_order(model: Model, graph: Graph, index: int) -> None:
    """Every tensor that is read has been given, and none is given twice.

    Source: google-ai-edge/LiteRT, tflite/core/tools/verifier.cc, VerifySubGraphConsistency. That graph outputs must be
    given too is a rule of this project: TFLite would hand out memory that nothing has written.
    """
    _check_tensor_indices(graph.inputs, graph, f"subgraph {index}: graph input")
    _check_tensor_indices(graph.outputs, graph, f"subgraph {index}: graph output")
    given = dict.fromkeys(graph.inputs, "a graph input")
    for number, tensor in enumerate(graph.tensors):
        if tensor.is_variable:
            given[number] = "a variable"
        elif tensor.external_buffer or (tensor.buffer and model.buffers[tensor.buffer]):
            given[number] = "a constant"
    for number, op in enumerate(graph.operators):
        place = operator_place(index, number, op)
        for position, tensor_index in enumerate(op.inputs):
            if tensor_index not in given and tensor_index != -1 and not _is_empty_constant(graph, tensor_index):
                raise InvalidModel(
                    f"{place}: input {position} is tensor {tensor_index}, which is not a constant, a variable or a "
                    "graph input, and which no earlier operator gives"
                )
        for position, tensor_index in enumerate(op.outputs):
            if tensor_index in given and not _is_start_of_variable(graph, op, tensor_index):
                raise InvalidModel(
                    f"{place}: output {position} is tensor {tensor_index}, which is {given[tensor_index]}"
                )
            given[tensor_index] = f"an output of operator {number}"
    for position, tensor_index in enumerate(graph.outputs):
        if tensor_index not in given and not _is_empty_constant(graph, tensor_index):
            raise InvalidModel(
                f"subgraph {index}: graph output {position} is tensor {tensor_index}, which nothing gives"
            )


def _is_start_of_variable(graph: Graph, op: Operator, index: int) -> bool:
    """Whether the operator gives a variable what it starts with, as the converter writes it for float16 constants."""
    return op.name == "DEQUANTIZE" and graph.tensors[index].is_variable


def _is_empty_constant(graph: Graph, index: int) -> bool:
    """Whether the tensor may be a constant of no elements, whose data has no bytes to tell it by."""
    tensor = graph.tensors[index]
    return bool(tensor.buffer) and 0 in tensor.shape


def _check_subgraph_calls(model: Model) -> None:
    """Options that name a subgraph name one that exists, and no subgraph runs itself."""
    calls: dict[int, set[int]] = {}
    for index, graph in enumerate(model.graphs):
        calls[index] = set()
        for number, op in enumerate(graph.operators):
            for name, called in _called_subgraphs(op):
                _check_index(called, model.graphs, f"{operator_place(index, number, op)}: {name}", "subgraphs")
                calls[index].add(called)
    try:
        graphlib.TopologicalSorter(calls).prepare()
    except graphlib.CycleError as error:
        raise InvalidModel(f"subgraphs run each other in a circle: {_shortened(error.args[1])}") from None


def _called_subgraphs(op: Operator) -> Iterable[tuple[str, int]]:
    """(option's name, subgraph) of every subgraph that an operator's options name."""
    for table, options in ((op.options_type, op.options), (op.options2_type, op.options2)):
        for name in SUBGRAPH_OPTIONS.get(table or "", ()):
            value = options.get(name, 0)
            yield from ((name, called) for called in (value if isinstance(value, tuple) else (value or 0,)))
