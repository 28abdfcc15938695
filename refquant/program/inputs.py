"""What a caller hands over: a model in any form, and arrays by position or name, checked against the model's inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from refquant.errors import InvalidInput
from refquant.model import load
from refquant.model.graph import Array, Model, Tensor

ModelLike = Model | str | Path | bytes
Inputs = Array | Sequence[Array] | Mapping[str, Array]


def as_model(model: ModelLike) -> Model:
    """The model itself, or the one read from a path or bytes."""
    return model if isinstance(model, Model) else load(model)


def check_array(array: Array, tensor: Tensor) -> Array:
    """The array, if its dtype is the tensor's; else InvalidInput with what to do."""
    array = as_array(array)
    if array.dtype.newbyteorder("=") == tensor.dtype:
        return array.astype(tensor.dtype, copy=False)  # a foreign byte order is no other type
    raise InvalidInput(
        f"input '{tensor.name}' takes {tensor.dtype.name} ({tensor.type}), but the array is {array.dtype.name}; "
        + _how_to_convert(tensor)
    )


def _how_to_convert(tensor: Tensor) -> str:
    q = tensor.quantization
    if tensor.type.startswith(("INT", "UINT")) and q is not None and len(q.scale) == 1:
        zero_point = q.zero_point[0] if q.zero_point else 0
        return f"quantize it first: round(x / {q.scale[0]!r}) + {zero_point}, clipped to the range of {tensor.type}"
    return f"convert it with .astype('{tensor.dtype.name}')"


def named_inputs(model: Model, inputs: Inputs) -> list[tuple[int, Array]]:
    """(tensor index, array) for every graph input, from an array, a list, or {tensor or signature name: array}.

    Errors: InvalidInput for a wrong number or name, or what is no array.
    """
    graph = model.graph
    if isinstance(inputs, Mapping):
        given = _by_index(model, inputs)
        missing = [graph.tensors[index].name for index in graph.inputs if index not in given]
        if missing:
            raise InvalidInput(f"the input '{missing[0]}' is missing")
        return [(index, given[index]) for index in graph.inputs]
    if not isinstance(inputs, np.ndarray | list | tuple):
        raise InvalidInput(f"inputs must be an array, a list of arrays or a dictionary, not {type(inputs).__name__}")
    arrays = [inputs] if isinstance(inputs, np.ndarray) else list(inputs)
    if len(arrays) != len(graph.inputs):
        raise InvalidInput(f"the model has {len(graph.inputs)} inputs, but {len(arrays)} arrays were given")
    return [(index, as_array(array)) for index, array in zip(graph.inputs, arrays, strict=True)]


def _by_index(model: Model, inputs: Mapping[str, Array]) -> dict[int, Array]:
    names: dict[str, set[int]] = {}
    for index in model.graph.inputs:
        names.setdefault(model.graph.tensors[index].name, set()).add(index)
    for signature in model.signatures:
        for name, index in signature.inputs if signature.subgraph == 0 else ():
            names.setdefault(name, set()).add(index)
    given: dict[int, Array] = {}
    for name, array in inputs.items():
        if name not in names:
            raise InvalidInput(f"no input is named '{name}'; the inputs are: {', '.join(sorted(names))}")
        if len(names[name]) > 1:
            raise InvalidInput(f"several inputs are named '{name}'; give the arrays as a list")
        (index,) = names[name]
        if index in given:
            raise InvalidInput(f"the input '{model.graph.tensors[index].name}' is given twice, once as '{name}'")
        given[index] = as_array(array)
    return given


def as_array(value: Any) -> Array:
    """np.asarray(value). InvalidInput for lists of unequal length."""
    try:
        return np.asarray(value)
    except ValueError as error:
        raise InvalidInput(f"this is no array: {error}") from None


def split_samples(model: Model, inputs: Inputs) -> tuple[dict[int, Array], int | None]:
    """({tensor index: array}, samples): with samples = N each array has shape (N, *tensor shape), with None just that.

    An array of the tensor's own shape is one run. On a tensor of batch 1, an array with N instead of the 1 is N runs.
    Errors: InvalidInput for a wrong dtype, shape, number or name.
    """
    arrays: dict[int, Array] = {}
    counts: set[int | None] = set()
    for index, given in named_inputs(model, inputs):
        tensor = model.graph.tensors[index]
        array = check_array(given, tensor)
        shape = tensor.shape
        if array.shape == shape:
            arrays[index], count = array, None
        elif shape[:1] == (1,) and array.shape[1:] == shape[1:] and array.ndim == len(shape) and len(array):
            arrays[index], count = array[:, np.newaxis], len(array)
        else:
            batch = f" or (N, {', '.join(map(str, shape[1:]))})" if shape[:1] == (1,) else ""
            raise InvalidInput(f"input '{tensor.name}' has shape {shape}{batch}, but the array has shape {array.shape}")
        counts.add(count)
    if len(counts) > 1:
        raise InvalidInput(f"the inputs disagree in their number of samples: {sorted(c or 1 for c in counts)}")
    return arrays, next(iter(counts), None)
