"""What a model is: frozen dataclasses with the words of TFLite's schema.

Source: google-ai-edge/LiteRT, tflite/schema/schema.fbs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.errors import UnsupportedModel

Array = NDArray[Any]

# TFLite's TensorType -> the NumPy dtype that holds one element of it. Types without an entry (STRING, INT4,
# RESOURCE, VARIANT, ...) are read and written, but have no array form; of INT4 constants have one: Model.constant.
DTYPES: Mapping[str, np.dtype[Any]] = MappingProxyType(
    {
        "FLOAT16": np.dtype("float16"),
        "FLOAT32": np.dtype("float32"),
        "FLOAT64": np.dtype("float64"),
        "COMPLEX64": np.dtype("complex64"),
        "COMPLEX128": np.dtype("complex128"),
        "INT8": np.dtype("int8"),
        "INT16": np.dtype("int16"),
        "INT32": np.dtype("int32"),
        "INT64": np.dtype("int64"),
        "UINT8": np.dtype("uint8"),
        "UINT16": np.dtype("uint16"),
        "UINT32": np.dtype("uint32"),
        "UINT64": np.dtype("uint64"),
        "BOOL": np.dtype("bool"),
    }
)

NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


def unpacked_nibbles(data: bytes, elements: int) -> Array:
    """(elements,) int8, read-only, of bytes that hold two codes of 4 bits, the first in the low bits.

    Source: tflite/kernels/internal/portable_tensor_utils.cc, UnpackDenseInt4IntoInt8.
    """
    pairs = np.frombuffer(data, np.int8)
    codes = np.stack([np.left_shift(pairs, 4) >> 4, pairs >> 4], axis=1).reshape(-1)[:elements]
    codes.flags.writeable = False
    return codes


@dataclass(frozen=True, slots=True)
class Quantization:
    """real = scale * (q - zero_point), per tensor (one scale) or per channel along `quantized_dimension`.

    `scale`, `min` and `max` hold float32 values exactly. `min` and `max` are the ranges a calibrating converter leaves.
    """

    scale: tuple[float, ...] = ()
    zero_point: tuple[int, ...] = ()
    quantized_dimension: int = 0
    min: tuple[float, ...] = ()
    max: tuple[float, ...] = ()
    details: Mapping[str, Any] | None = None  # the schema's QuantizationDetails union, kept as read


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a graph. `type` is TFLite's name ("INT8"); `buffer` indexes Model.buffers (0 = no data)."""

    name: str
    type: str
    shape: tuple[int, ...]
    buffer: int = 0
    quantization: Quantization | None = None
    shape_signature: tuple[int, ...] | None = None  # -1 where the dimension is dynamic
    is_variable: bool = False
    has_rank: bool = False
    sparsity: Mapping[str, Any] | None = None  # the schema's SparsityParameters, kept as read
    variant_tensors: tuple[Mapping[str, Any], ...] = ()
    external_buffer: int = 0  # id of the ExternalBuffer that holds the data; 0 = none

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy dtype of the elements. UnsupportedModel if the type has no array form."""
        if self.type not in DTYPES:
            raise UnsupportedModel(f"tensor '{self.name}': type {self.type} has no array form")
        return DTYPES[self.type]


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator: `name` is TFLite's BuiltinOperator ("CONV_2D"), or "CUSTOM" with `custom_code`.

    `inputs`, `outputs` and `intermediates` index Graph.tensors; -1 is an absent optional operand. `options` holds every
    field of the schema's options table `options_type` under its schema name; enums by name ("SAME", "RELU6").
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    version: int = 1
    custom_code: str | None = None
    options_type: str | None = None  # e.g. "Conv2DOptions"
    options: Mapping[str, Any] = field(default_factory=lambda: NO_OPTIONS)
    options2_type: str | None = None  # the schema's second options union (StableHLO and newer)
    options2: Mapping[str, Any] = field(default_factory=lambda: NO_OPTIONS)
    custom_options: bytes = b""
    intermediates: tuple[int, ...] = ()
    mutating_variable_inputs: tuple[bool, ...] = ()
    debug_metadata_index: int = -1


@dataclass(frozen=True, slots=True)
class Graph:
    """One subgraph: tensors, operators in execution order, and the tensor indices of inputs and outputs."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    name: str = ""
    debug_metadata_index: int = -1


@dataclass(frozen=True, slots=True)
class Signature:
    """A named entry point: `inputs` and `outputs` pair the caller's names with tensor indices of graph `subgraph`."""

    key: str
    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, int], ...]
    subgraph: int = 0


@dataclass(frozen=True, slots=True)
class Metadata:
    """A named blob: `buffer` indexes Model.buffers."""

    name: str
    buffer: int


@dataclass(frozen=True, slots=True)
class Model:
    """A whole `.tflite` file. graphs[0] is the main graph; buffers[0] is empty by convention."""

    graphs: tuple[Graph, ...]
    buffers: tuple[bytes, ...]
    version: int = 3
    description: str = ""
    signatures: tuple[Signature, ...] = ()
    metadata: tuple[Metadata, ...] = ()
    metadata_buffer: tuple[int, ...] = ()
    external_buffer_groups: tuple[Mapping[str, Any], ...] = ()  # the schema's ExternalBufferGroup, kept as read
    external_buffers: tuple[Mapping[str, Any], ...] = ()  # the schema's ExternalBuffer, kept as read

    @property
    def graph(self) -> Graph:
        """The main graph."""
        return self.graphs[0]

    def constant(self, tensor: Tensor) -> Array | None:
        """The tensor's stored data as a read-only array of its shape and dtype; None if it is not a constant.

        Of INT4 the codes, as int8.
        """
        if tensor.external_buffer:
            raise UnsupportedModel(f"tensor '{tensor.name}' has its data in an external buffer")
        if tensor.sparsity is not None:
            raise UnsupportedModel(f"tensor '{tensor.name}' is sparse; sparse constants are not built")
        data = self.buffers[tensor.buffer]
        if tensor.buffer == 0 or tensor.is_variable or (not data and 0 not in tensor.shape):
            return None
        if tensor.type == "INT4":
            return unpacked_nibbles(data, math.prod(tensor.shape)).reshape(tensor.shape)
        return np.frombuffer(data, tensor.dtype.newbyteorder("<")).reshape(tensor.shape)

    def to_bytes(self) -> bytes:
        """The model as the bytes of a `.tflite` file."""
        from refquant.model.writer import write_model

        return write_model(self)

    def with_graph(self, graph: Graph) -> Model:
        """The same model with another main graph."""
        return replace(self, graphs=(graph, *self.graphs[1:]))
