"""One subgraph as an interpreter runs it: shapes that were asked for, the program for them, and the arrays it left."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from refquant.errors import InvalidInput
from refquant.kernels.kernel import Shape
from refquant.model.graph import DTYPES, Array, Graph, Model, Quantization, Tensor
from refquant.model.validation import MAX_ELEMENTS
from refquant.program.control_flow import dropped_outputs
from refquant.program.execution import Keep, run_graph
from refquant.program.inputs import check_array
from refquant.program.preparation import prepare
from refquant.program.state import State
from refquant.program.steps import Program, Value
from refquant.runtimes.runtime import Runtime

# What the LiteRT Interpreter calls the types that have no array form.
ODD_TYPES: Mapping[str, type[np.generic]] = MappingProxyType(
    {
        "FLOAT8_E4M3FN": np.int8,
        "FLOAT8_E5M2": np.int8,
        "INT2": np.int8,
        "INT4": np.int8,
        "RESOURCE": np.object_,
        "STRING": np.bytes_,
        "UINT4": np.uint8,
        "VARIANT": np.object_,
    }
)


@dataclass(slots=True)
class Session:
    """values: the arrays that can be read, of inputs and constants and what the last run left; shapes: of all that it
    computed.
    """

    model: Model
    runtime: Runtime
    overflow: str
    state: State
    subgraph: int
    resized: dict[int, Shape] = field(default_factory=dict)
    program: Program | None = None
    values: dict[int, Array] = field(default_factory=dict)
    shapes: dict[int, Shape] = field(default_factory=dict)

    @property
    def graph(self) -> Graph:
        """The subgraph."""
        return self.model.graphs[self.subgraph]

    def allocate(self) -> None:
        """Prepares the graph if its shapes have changed; then its variable tensors begin anew."""
        if self.program is not None:
            return
        self.program = prepare(
            self.model, self.runtime, self.overflow, self.resized, self.subgraph, self.state.preserved
        )
        kept = self.values
        self.values = dict(self.program.known)
        self.shapes.clear()
        self.state.tensors.pop(self.subgraph, None)
        for index in self.graph.inputs:
            tensor, shape = self.graph.tensors[index], self.program.shapes[index]
            old = kept.get(index)
            self.values[index] = old if old is not None and old.shape == shape else _zeros(shape, tensor)

    def run(self, keep: Keep) -> None:
        """Runs the graph on the inputs set. keep: see run_graph."""
        program = self.allocated()
        inputs = {index: Value(self.values[index]) for index in self.graph.inputs}
        outputs = run_graph(program, inputs, self.state, keep)
        self.take({index: value.array for index, value in outputs.items()})

    def take(self, arrays: Mapping[int, Array]) -> None:
        """Keeps copies of arrays: a kernel that only reshapes gives a view of what the caller may overwrite.

        An input that is an output as well stays the caller's buffer.
        """
        inputs = self.graph.inputs
        self.values.update((index, np.array(array)) for index, array in arrays.items() if index not in inputs)

    def allocated(self) -> Program:
        """The program. InvalidInput if there is none for the present shapes."""
        if self.program is None:
            raise InvalidInput("call allocate_tensors first")
        return self.program

    def tensor(self, index: int) -> Tensor:
        """The tensor of that index. InvalidInput if there is none."""
        tensors = self.graph.tensors
        if not isinstance(index, int | np.integer) or not 0 <= index < len(tensors):
            raise InvalidInput(f"there is no tensor {index}; the {_holder(self.subgraph)} has {len(tensors)}")
        return tensors[index]

    def set(self, index: int, value: Array) -> None:
        """Copies an array into an input or a variable tensor. InvalidInput for another tensor, dtype or shape."""
        self.allocated()
        tensor = self.tensor(index)
        if index not in self.graph.inputs and not tensor.is_variable:
            raise InvalidInput(f"tensor {index} ('{tensor.name}') is not an input of the {_holder(self.subgraph)}")
        array, present = check_array(value, tensor), self.value(index)
        if array.shape != present.shape:
            raise InvalidInput(
                f"input '{tensor.name}' has shape {present.shape}, but the array has shape {array.shape}; "
                "call resize_tensor_input and allocate_tensors first to run another shape"
            )
        if tensor.is_variable:
            self.state.variables_of(self.subgraph)[index] = np.array(array)
        else:
            present[...] = array  # in place: views that `tensor` gave stay views of the input

    def value(self, index: int) -> Array:
        """The tensor's present array itself. InvalidInput if it holds none."""
        tensor = self.tensor(index)
        if self.program is not None and tensor.is_variable:
            return self.state.variables_of(self.subgraph)[index]
        if index in self.values and (self.program is not None or index not in self.graph.inputs):
            return self.values[index]
        constant = self._constant(index, tensor)
        if constant is not None:
            return constant
        if self.program is None and self.subgraph == 0:
            raise InvalidInput("call allocate_tensors first")
        raise InvalidInput(
            f"tensor {index} ('{tensor.name}') holds no value: call invoke, and use "
            "experimental_preserve_all_tensors=True to keep tensors between inputs and outputs"
        )

    def _constant(self, index: int, tensor: Tensor) -> Array | None:
        is_data = index not in self.graph.inputs and tensor.type in DTYPES
        return self.model.constant(tensor) if is_data else None

    def resize(self, index: int, sizes: Any, strict: bool) -> None:
        """Gives an input another shape. strict: only dynamic dimensions may change. Errors: InvalidInput."""
        tensor = self.tensor(index)
        if index not in self.graph.inputs:
            raise InvalidInput(f"tensor {index} ('{tensor.name}') is not an input of the {_holder(self.subgraph)}")
        shape = _shape(sizes, tensor)
        if strict:
            signature = tensor.shape_signature or self._shape_now(index, tensor)
            if len(shape) != len(signature) or any(
                fixed not in (-1, size) for fixed, size in zip(signature, shape, strict=True)
            ):
                raise InvalidInput(f"input '{tensor.name}': {shape} changes a dimension that {signature} fixes")
        self.resized[index] = shape
        if self.program is not None and self.program.shapes[index] != shape:
            self.program = None

    def _shape_now(self, index: int, tensor: Tensor) -> Shape:
        if self.program is None and index in self.graph.inputs:
            return self.resized.get(index, tensor.shape)
        known = {} if self.program is None else self.program.shapes
        return self.shapes.get(index, known.get(index, tensor.shape))

    def tensor_details(self, index: int) -> dict[str, Any]:
        """The dictionary that the LiteRT Interpreter gives for a tensor."""
        tensor = self.tensor(index)
        shape = self._shape_now(index, tensor)
        quantization = tensor.quantization or Quantization()
        scales = np.array(quantization.scale, np.float32)
        zero_points = np.array(quantization.zero_point, np.int64).astype(np.int32)  # cut off, as LiteRT does
        per_tensor = (float(scales[0]), int(zero_points[0])) if len(scales) == len(zero_points) == 1 else (0.0, 0)
        return {
            "name": tensor.name,
            "index": index,
            "shape": np.array(shape, np.int32),
            "shape_signature": np.array(tensor.shape_signature or shape, np.int32),
            "dtype": _dtype(tensor),
            "quantization": per_tensor,
            "quantization_parameters": {
                "scales": scales,
                "zero_points": zero_points,
                "quantized_dimension": quantization.quantized_dimension,
                "block_size": 0,
            },
            "sparsity_parameters": {},
        }

    def operator_details(self, index: int) -> dict[str, Any]:
        """The dictionary that the LiteRT Interpreter gives for an operator."""
        op = self.graph.operators[index]
        dropped = () if self.program is None else dropped_outputs(self.model, self.graph, op)
        outputs = [-1 if tensor in dropped else tensor for tensor in op.outputs]
        types = [
            [_dtype(self.graph.tensors[tensor]) for tensor in tensors if tensor != -1]
            for tensors in (op.inputs, outputs)
        ]
        return {
            "index": index,
            "op_name": op.name if op.custom_code is None else op.custom_code,
            "inputs": np.array(op.inputs, np.int32),
            "outputs": np.array(outputs, np.int32),
            "operand_types": types[0],
            "result_types": types[1],
        }


def keeper(sessions: Sequence[Session], arrays: bool) -> tuple[Keep, Callable[[], None]]:
    """(keep, finish) for one run: the sessions learn the shape of every tensor that is computed.

    arrays: `finish` also gives them the arrays that were computed last.
    """
    kept: dict[tuple[int, int], Array] = {}

    def keep(subgraph: int, index: int, value: Value) -> None:
        if index in sessions[subgraph].graph.inputs:
            return
        sessions[subgraph].shapes[index] = value.shape
        if arrays:
            kept[subgraph, index] = value.array

    def finish() -> None:
        for (subgraph, index), array in kept.items():
            sessions[subgraph].take({index: array})

    return keep, finish


def _holder(subgraph: int) -> str:
    return "model" if subgraph == 0 else f"subgraph {subgraph}"


def _dtype(tensor: Tensor) -> type[np.generic]:
    """The type by which the LiteRT Interpreter tells the tensor's. UnsupportedModel if it has no name for it."""
    odd = ODD_TYPES.get(tensor.type)
    return tensor.dtype.type if odd is None else odd


def _shape(sizes: Any, tensor: Tensor) -> Shape:
    """The sizes as a shape; InvalidInput unless they are a flat list of whole numbers >= 0 that TFLite can count."""
    try:
        shape = tuple(operator.index(size) for size in sizes)
    except TypeError:
        shape = (-1,)
    if any(size < 0 for size in shape):
        raise InvalidInput(f"input '{tensor.name}': a shape is a list of whole numbers >= 0, not {sizes!r}")
    if math.prod(shape) > MAX_ELEMENTS:
        raise InvalidInput(f"input '{tensor.name}': {shape} has more than {MAX_ELEMENTS:,} elements")
    return shape


def _zeros(shape: Shape, tensor: Tensor) -> Array:
    try:
        return np.zeros(shape, tensor.dtype)
    except MemoryError:
        raise InvalidInput(f"input '{tensor.name}': shape {shape} needs more memory than there is") from None
