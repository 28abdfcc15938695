"""Samples as they come: read one after another, checked, and stacked into blocks of one shape.

The first sample sets the shape of the inputs, as the converter resizes the model to it; a later one may differ from it
where the model's shape is dynamic. Source: tensorflow/lite/python/optimize/calibrator.py (Calibrator._feed_tensors);
google-ai-edge/LiteRT, tflite/python/optimize/calibration_wrapper.cc (Prepare, SetTensor).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from refquant.errors import InvalidInput, RefquantError
from refquant.model.graph import Array, Model
from refquant.program import as_array, check_array, named_inputs

Sample = Array | Sequence[Array] | Mapping[str, Array] | tuple[str | None, Mapping[str, Array]]
Samples = Iterable[Sample] | Callable[[], Iterable[Sample]]
Shape = tuple[int, ...]
Shapes = tuple[Shape, ...]
"""The shapes of a sample's arrays, in the order of the model's inputs."""


@dataclass(frozen=True, slots=True)
class Block:
    """Samples of one shape that run together: number `first` and the ones behind it.

    arrays: {input tensor: (samples, *shape)}.
    """

    first: int
    count: int
    shapes: Shapes
    arrays: Mapping[int, Array]

    def sample(self, number: int) -> dict[int, Array]:
        """{input tensor: array} of one sample; number counts from 0 in the block."""
        return {index: array[number] for index, array in self.arrays.items()}


def read_blocks(model: Model, samples: Samples, block_size: Callable[[Shapes], int]) -> Iterator[Block]:
    """The samples in their order, block_size(shapes) together at most. One block and one sample are held at a time.

    Errors: InvalidInput, naming the sample, once the samples before it were handed out; also if there are none.
    """
    filling: _Filling | None = None
    failure: RefquantError | None = None
    try:
        for number, (shapes, arrays) in enumerate(read_samples(model, samples)):
            if filling is not None and filling.shapes != shapes:
                yield filling.block()
                filling = None
            if filling is None:
                filling = _Filling(number, shapes, block_size(shapes))
            filling.add(arrays)
            if filling.count == filling.size:
                yield filling.block()
                filling = None
    except RefquantError as error:
        failure = error
    if filling is not None:
        yield filling.block()
    if failure is not None:
        raise failure


class _Filling:
    """A block that is being filled: samples are copied into it, so that only one of them is alive at a time."""

    def __init__(self, first: int, shapes: Shapes, size: int) -> None:
        self.first, self.shapes, self.size, self.count = first, shapes, size, 0
        self.buffers: dict[int, Array] = {}

    def add(self, arrays: Mapping[int, Array]) -> None:
        for index, array in arrays.items():
            if not self.count:
                self.buffers[index] = np.empty((self.size, *array.shape), array.dtype)
            self.buffers[index][self.count] = array
        self.count += 1

    def block(self) -> Block:
        arrays = {index: buffer[: self.count] for index, buffer in self.buffers.items()}
        return Block(self.first, self.count, self.shapes, arrays)


def read_samples(model: Model, samples: Samples) -> Iterator[tuple[Shapes, dict[int, Array]]]:
    """(shapes, {input tensor: array}) of each sample, checked. Errors: InvalidInput, naming the sample."""
    resized: set[str | None] = set()  # the signatures of which a sample has set the shapes
    last: Shapes | None = None
    for number, sample in enumerate(_iterate(samples)):
        try:
            key, arrays = _read(model, sample)
            shapes = tuple(arrays[index].shape for index in model.graph.inputs)
            _check_shapes(model, last if key in resized else None, shapes)
        except InvalidInput as error:
            raise InvalidInput(f"sample {number}: {error}") from None
        resized.add(key)
        last = shapes
        yield shapes, arrays
        del sample, arrays
    if last is None:
        raise InvalidInput("there are no samples; calibration needs at least one")


def _iterate(samples: Samples) -> Iterator[Any]:
    source: Any = samples
    if callable(source) and not isinstance(source, Iterable):
        source = source()
    if isinstance(source, Mapping | str | bytes) or not isinstance(source, Iterable):
        raise InvalidInput(
            f"samples is a {type(source).__name__}; it must be an iterable of samples (arrays, lists of arrays, "
            "{input name: array} or (signature key, {input name: array})), or a function that returns one"
        )
    return iter(source)


def _read(model: Model, sample: Any) -> tuple[str | None, dict[int, Array]]:
    """(signature key, {input tensor: array}) of one sample, each array of a type and rank that its tensor takes."""
    key = None
    if isinstance(sample, tuple) and len(sample) == 2 and isinstance(sample[1], Mapping):
        key, sample = sample
        named = _signature_inputs(model, key, sample) if key is not None else named_inputs(model, sample)
    elif hasattr(sample, "__array__"):
        named = named_inputs(model, np.asarray(sample))
    else:
        named = named_inputs(model, sample)
    arrays = {}
    for index, given in named:
        tensor = model.graph.tensors[index]
        array = check_array(given, tensor)
        if array.ndim != len(tensor.shape) or 0 in array.shape:
            hint = ", with its batch dimension (x[i : i + 1])" if array.shape == tensor.shape[1:] else ""
            raise InvalidInput(
                f"input '{tensor.name}' takes shape {tensor.shape}, but the array has shape {array.shape}; give each "
                f"sample as the model takes it{hint}"
            )
        arrays[index] = array
    return key, arrays


def _signature_inputs(model: Model, key: Any, given: Mapping[str, Array]) -> list[tuple[int, Array]]:
    """(tensor index, array) of the inputs of the named signature, in the order of the model's inputs."""
    signature = next((s for s in model.signatures if s.key == key), None)
    if signature is None:
        keys = ", ".join(f"'{s.key}'" for s in model.signatures) or "none"
        raise InvalidInput(f"the model has no signature {key!r}; there are: {keys}")
    if signature.subgraph != 0:
        raise InvalidInput(f"the signature '{key}' runs subgraph {signature.subgraph}; only subgraph 0 is calibrated")
    names = dict(signature.inputs)
    unknown, missing = given.keys() - names.keys(), names.keys() - given.keys()
    if unknown:
        raise InvalidInput(f"the signature '{key}' has no input {min(unknown, key=str)!r}; it has: {', '.join(names)}")
    if missing:
        raise InvalidInput(f"the input '{min(missing)}' of the signature '{key}' is missing")
    arrays = {index: as_array(given[name]) for name, index in names.items()}
    left = [model.graph.tensors[index].name for index in model.graph.inputs if index not in arrays]
    if left:
        raise InvalidInput(f"the signature '{key}' does not reach the input '{left[0]}'; give the arrays as a list")
    return [(index, arrays[index]) for index in model.graph.inputs]


def _check_shapes(model: Model, last: Shapes | None, shapes: Shapes) -> None:
    """The first sample may have any batch and any dynamic dimension; a later one only other dynamic dimensions."""
    for position, (index, shape) in enumerate(zip(model.graph.inputs, shapes, strict=True)):
        tensor = model.graph.tensors[index]
        wanted = tensor.shape if last is None else last[position]
        signature = tensor.shape_signature if tensor.shape_signature is not None else tensor.shape
        for dim, size in enumerate(shape):
            free = signature[dim] == -1 or (last is None and dim == 0)
            if size != wanted[dim] and not free:
                raise InvalidInput(
                    f"input '{tensor.name}' has shape {shape}, but "
                    + (f"the model takes {wanted}" if last is None else f"the first sample had {wanted}")
                )
