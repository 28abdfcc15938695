"""An interpreter with the methods and dictionaries of the LiteRT Interpreter.

Source: google-ai-edge/LiteRT, tflite/python/interpreter.py.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from refquant.errors import InvalidInput, UnsupportedModel
from refquant.model.graph import Array, Quantization, Tensor
from refquant.model.validation import MAX_ELEMENTS
from refquant.program import (
    Program,
    Value,
    as_array,
    as_model,
    check_array,
    execute,
    narrow_named,
    prepare,
    zero_variables,
)
from refquant.runtimes import runtime_named


class Interpreter:
    """Runs one model in one runtime's arithmetic.

    model_path or model_content: the `.tflite` file, or its bytes. runtime: a name of `refquant.runtimes.RUNTIMES`.
    experimental_preserve_all_tensors: keep every tensor readable, not only inputs, outputs and constants.
    overflow: "wrap" as the runtime does, or "error".
    """

    def __init__(
        self,
        model_path: str | Path | None = None,
        model_content: bytes | None = None,
        *,
        runtime: str = "tflite_ref",
        experimental_preserve_all_tensors: bool = False,
        num_threads: int | None = None,  # LiteRT's; accepted, and without effect: no result depends on it
        overflow: str = "wrap",
    ) -> None:
        if (model_path is None) == (model_content is None):
            raise InvalidInput("give either model_path or model_content")
        if model_content is not None and not isinstance(model_content, bytes | bytearray | memoryview):
            raise InvalidInput(f"model_content must be bytes, not {type(model_content).__name__}")
        narrow_named(overflow)
        self._model = as_model(model_path if model_path is not None else bytes(model_content or b""))
        self._runtime = runtime_named(runtime)
        self._overflow = overflow
        self._preserve = experimental_preserve_all_tensors
        self._resized: dict[int, tuple[int, ...]] = {}
        self._program: Program | None = None
        self._values: dict[int, Array] = {}

    def allocate_tensors(self) -> None:
        """Prepares the model for the present input shapes. Errors: InvalidModel, UnsupportedModel."""
        self._program = prepare(self._model, self._runtime, self._overflow, self._resized)
        kept = self._values
        self._values = {**self._program.known, **zero_variables(self._model)}
        for index in self._model.graph.inputs:
            tensor, shape = self._model.graph.tensors[index], self._program.shapes[index]
            old = kept.get(index)
            self._values[index] = old if old is not None and old.shape == shape else _zeros(shape, tensor)

    def invoke(self) -> None:
        """Runs the model on the inputs set."""
        program = self._allocated()
        inputs = {index: Value(self._values[index]) for index in self._model.graph.inputs}
        kept: dict[int, Value] = {}
        outputs = execute(program, inputs, keep=kept.__setitem__ if self._preserve else None)
        # Copies: a kernel that only reshapes gives a view of what the caller may overwrite.
        results = {**kept, **outputs}.items()
        inputs_too = self._model.graph.inputs  # an input that is an output as well stays the caller's buffer
        self._values.update((index, np.array(v.array)) for index, v in results if index not in inputs_too)

    def set_tensor(self, tensor_index: int, value: Array) -> None:
        """Copies an array into an input tensor. InvalidInput for another dtype or shape."""
        self._allocated()
        tensor = self._tensor(tensor_index)
        if tensor_index not in self._model.graph.inputs:
            raise InvalidInput(f"tensor {tensor_index} ('{tensor.name}') is not an input of the model")
        array, shape = check_array(value, tensor), self._values[tensor_index].shape
        if array.shape != shape:
            raise InvalidInput(
                f"input '{tensor.name}' has shape {shape}, but the array has shape {array.shape}; "
                "call resize_tensor_input and allocate_tensors first to run another shape"
            )
        self._values[tensor_index][...] = array  # in place: views that `tensor` gave stay views of the input

    def get_tensor(self, tensor_index: int) -> Array:
        """A copy of a tensor's value."""
        return np.array(self._value(tensor_index))

    def tensor(self, tensor_index: int) -> Callable[[], Array]:
        """A function that returns the tensor's present array itself, without a copy; an input's may be written to."""
        self._value(tensor_index)
        return lambda: self._value(tensor_index)

    def resize_tensor_input(self, input_index: int, tensor_size: Any, strict: bool = False) -> None:
        """Gives an input another shape; allocate_tensors must follow. strict: only dynamic dimensions may change."""
        tensor = self._tensor(input_index)
        if input_index not in self._model.graph.inputs:
            raise InvalidInput(f"tensor {input_index} ('{tensor.name}') is not an input of the model")
        shape = _shape(tensor_size, tensor)
        if strict:
            signature = tensor.shape_signature if tensor.shape_signature is not None else tensor.shape
            if len(shape) != len(signature) or any(
                fixed not in (-1, size) for fixed, size in zip(signature, shape, strict=True)
            ):
                raise InvalidInput(f"input '{tensor.name}': {shape} changes a dimension that {signature} fixes")
        self._resized[input_index] = shape
        if self._program is not None and self._program.shapes[input_index] != shape:
            self._program = None

    def reset_all_variables(self) -> None:
        """Sets every variable tensor to zero."""
        self._allocated()
        self._values.update(zero_variables(self._model))

    def get_input_details(self) -> list[dict[str, Any]]:
        """One dictionary per input, as the LiteRT Interpreter gives."""
        return [self._details(index) for index in self._model.graph.inputs]

    def get_output_details(self) -> list[dict[str, Any]]:
        """One dictionary per output, as the LiteRT Interpreter gives."""
        return [self._details(index) for index in self._model.graph.outputs]

    def get_tensor_details(self) -> list[dict[str, Any]]:
        """One dictionary per tensor, as the LiteRT Interpreter gives."""
        return [self._details(index) for index in range(len(self._model.graph.tensors))]

    def get_signature_list(self) -> dict[str, dict[str, list[str]]]:
        """{signature key: {"inputs": names, "outputs": names}}."""
        return {
            signature.key: {
                "inputs": sorted(name for name, _ in signature.inputs),
                "outputs": sorted(name for name, _ in signature.outputs),
            }
            for signature in self._model.signatures
        }

    def get_signature_runner(self, signature_key: str | None = None) -> SignatureRunner:
        """A callable for one signature; the only one if no key is given."""
        signatures = {signature.key: signature for signature in self._model.signatures}
        if signature_key is None:
            if len(signatures) != 1:
                names = ", ".join(signatures) or "none"
                raise InvalidInput(f"the model has {len(signatures)} signatures; give the key of one: {names}")
            signature_key = next(iter(signatures))
        if signature_key not in signatures:
            raise InvalidInput(f"no signature '{signature_key}'; there are: {', '.join(signatures) or 'none'}")
        signature = signatures[signature_key]
        if signature.subgraph != 0:
            raise UnsupportedModel(f"signature '{signature_key}' runs subgraph {signature.subgraph}; only 0 is built")
        return SignatureRunner(self, dict(sorted(signature.inputs)), dict(sorted(signature.outputs)))

    def _allocated(self) -> Program:
        if self._program is None:
            raise InvalidInput("call allocate_tensors first")
        return self._program

    def _tensor(self, index: int) -> Tensor:
        tensors = self._model.graph.tensors
        if not isinstance(index, int | np.integer) or not 0 <= index < len(tensors):
            raise InvalidInput(f"there is no tensor {index}; the model has {len(tensors)}")
        return tensors[index]

    def _value(self, index: int) -> Array:
        tensor = self._tensor(index)
        self._allocated()
        if index not in self._values:
            raise InvalidInput(
                f"tensor {index} ('{tensor.name}') holds no value: call invoke, and use "
                "experimental_preserve_all_tensors=True to keep tensors between inputs and outputs"
            )
        return self._values[index]

    def _shape_now(self, index: int, tensor: Tensor) -> tuple[int, ...]:
        if self._program is None:
            return self._resized.get(index, tensor.shape)
        if index in self._values:
            return self._values[index].shape
        return self._program.shapes.get(index, tensor.shape)

    def _details(self, index: int) -> dict[str, Any]:
        tensor = self._tensor(index)
        shape = self._shape_now(index, tensor)
        signature = tensor.shape_signature if tensor.shape_signature is not None else tensor.shape
        quantization = tensor.quantization or Quantization()
        scales = np.array(quantization.scale, np.float32)
        zero_points = np.array(quantization.zero_point, np.int32)
        per_tensor = (float(scales[0]), int(zero_points[0])) if len(scales) == len(zero_points) == 1 else (0.0, 0)
        return {
            "name": tensor.name,
            "index": index,
            "shape": np.array(shape, np.int32),
            "shape_signature": np.array(signature, np.int32),
            "dtype": tensor.dtype.type,
            "quantization": per_tensor,
            "quantization_parameters": {
                "scales": scales,
                "zero_points": zero_points,
                "quantized_dimension": quantization.quantized_dimension,
                "block_size": 0,
            },
            "sparsity_parameters": {},
        }


def _shape(sizes: Any, tensor: Tensor) -> tuple[int, ...]:
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


def _zeros(shape: tuple[int, ...], tensor: Tensor) -> Array:
    try:
        return np.zeros(shape, tensor.dtype)
    except MemoryError:
        raise InvalidInput(f"input '{tensor.name}': shape {shape} needs more memory than there is") from None


class SignatureRunner:
    """Calls the model by the names of one signature: runner(x=array) -> {output name: array}."""

    def __init__(self, interpreter: Interpreter, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> None:
        self._interpreter, self._inputs, self._outputs = interpreter, inputs, outputs

    def __call__(self, **arrays: Array) -> dict[str, Array]:
        """Runs the model; every input by its signature name. Inputs of another shape resize the model first."""
        if set(arrays) != set(self._inputs):
            raise InvalidInput(f"the signature takes {sorted(self._inputs)}, but {sorted(arrays)} were given")
        details = {entry["index"]: entry for entry in self._interpreter.get_input_details()}
        arrays = {name: as_array(array) for name, array in arrays.items()}
        for name, array in arrays.items():
            if tuple(details[self._inputs[name]]["shape"]) != array.shape:
                self._interpreter.resize_tensor_input(self._inputs[name], array.shape)
        self._interpreter.allocate_tensors()
        for name, array in arrays.items():
            self._interpreter.set_tensor(self._inputs[name], array)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in self._outputs.items()}

    def get_input_details(self) -> dict[str, dict[str, Any]]:
        """{input name: its details}."""
        details = {entry["index"]: entry for entry in self._interpreter.get_input_details()}
        return {name: details[index] for name, index in self._inputs.items()}

    def get_output_details(self) -> dict[str, dict[str, Any]]:
        """{output name: its details}."""
        details = {entry["index"]: entry for entry in self._interpreter.get_output_details()}
        return {name: details[index] for name, index in self._outputs.items()}
