"""The samples on which runs are compared: those given, or seeded ones drawn for the model."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from refquant.errors import InvalidInput, UnsupportedModel
from refquant.model.graph import Array, Model, Tensor
from refquant.program import Inputs, split_samples

RANDOM_INPUTS = 8
MOST_BYTES = 1 << 30  # of one input's samples that are drawn
FLOAT_RANGE = (-1.0, 1.0)  # of a float32 input that nothing quantizes
INDEX_LIMIT = 8  # int32 and int64 inputs are lengths, axes or indices: small ones are in range more often


def samples_of(model: Model, inputs: Inputs | None, count: int, seed: int) -> dict[int, Array]:
    """{input tensor: (samples, *shape)}: the given ones, or `count` random ones, all minimum and all maximum.

    Errors: InvalidInput for arrays that do not fit.
    """
    if inputs is None:
        return drawn_samples(model, count, seed)
    arrays, samples = split_samples(model, inputs)
    return {index: array[np.newaxis] if samples is None else array for index, array in arrays.items()}


def drawn_samples(model: Model, count: int, seed: int) -> dict[int, Array]:
    """`count` random samples of every input, uniform over its range, then its minimum and its maximum everywhere.

    The range of a float32 input is what the QUANTIZE that reads it can represent, else FLOAT_RANGE.
    Errors: InvalidInput for a count or seed below 0 or too many samples, UnsupportedModel for inputs of another type.
    """
    if count < 0 or seed < 0:
        raise InvalidInput(f"count and seed are 0 or more, not {count} and {seed}")
    rng = np.random.default_rng(seed)
    quantized = _quantized_ranges(model)
    return {
        index: _drawn(model.graph.tensors[index], quantized.get(index, FLOAT_RANGE), count, rng)
        for index in model.graph.inputs
    }


def _drawn(tensor: Tensor, float_range: tuple[float, float], count: int, rng: np.random.Generator) -> Array:
    shape, dtype = (count, *tensor.shape), tensor.dtype
    if (count + 2) * max(math.prod(tensor.shape), 1) * dtype.itemsize > MOST_BYTES:
        raise InvalidInput(f"{count:,} samples of '{tensor.name}' are more than {MOST_BYTES >> 30} GiB; draw fewer")
    low: float
    high: float
    if dtype.kind == "f":
        low, high = float_range
        drawn = rng.uniform(low, high, shape).astype(dtype)
    elif dtype.kind == "b":
        low, high = 0, 1
        drawn = rng.integers(0, 2, shape).astype(dtype)
    elif dtype.kind in "iu":
        low, high = (0, INDEX_LIMIT - 1) if dtype.itemsize > 2 else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        drawn = rng.integers(low, high, shape, dtype, endpoint=True)
    else:
        raise UnsupportedModel(f"input '{tensor.name}' is {tensor.type}: give inputs, none are drawn of that type")
    ends = (np.full((1, *tensor.shape), end, dtype) for end in (low, high))
    return np.concatenate([drawn, *ends])


def _quantized_ranges(model: Model) -> Mapping[int, tuple[float, float]]:
    """{input tensor: the real values that the QUANTIZE which reads it can represent}."""
    ranges = {}
    for operator in model.graph.operators:
        made = model.graph.tensors[operator.outputs[0]] if operator.outputs else None
        q = None if made is None else made.quantization
        if operator.name != "QUANTIZE" or made is None or q is None or len(q.scale) != 1 or made.dtype.kind not in "iu":
            continue
        zero_point = q.zero_point[0] if q.zero_point else 0
        limits = np.iinfo(made.dtype)
        ranges[operator.inputs[0]] = (q.scale[0] * (limits.min - zero_point), q.scale[0] * (limits.max - zero_point))
    return ranges
