"""Rows and elements placed or found by data: EMBEDDING_LOOKUP, SPARSE_TO_DENSE, UNIQUE, REVERSE_SEQUENCE, SEGMENT_SUM,
UNSORTED_SEGMENT_SUM, _PROD, _MAX and _MIN, BUCKETIZE.

Indices are data and are checked when the model runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from refquant.arithmetic.fixed_point import INT32_MAX
from refquant.errors import InvalidInput
from refquant.kernels.checks import expect_counts, expect_same_type
from refquant.kernels.index_operands import one_integer, per_sample, present, vector, without_samples
from refquant.kernels.kernel import Node, Shape
from refquant.model.graph import DTYPES, Array

# ---- EMBEDDING_LOOKUP ----


@dataclass(frozen=True, slots=True)
class EmbeddingLookupParams:
    """`scales`: of the rows of an int8 table that is read as floats, (1,) or (rows,); None: rows are copied."""

    place: str
    scales: Array | None
    output_type: str
    output_shapes: tuple[Shape]


def embedding_lookup_params(node: Node) -> EmbeddingLookupParams:
    """ids (n,) INT32; a table (rows, ...) of the output's type, or INT8 with one scale, or one a row, for floats.

    Errors: InvalidModel, UnsupportedModel. Source: tflite/kernels/embedding_lookup.cc, Prepare.
    """
    expect_counts(node, 2, 1)
    ids, table, output = node.input(0), node.input(1), node.outputs[0]
    if ids.type != "INT32" or len(ids.shape) != 1 or len(table.shape) < 2:
        raise node.invalid(
            f"takes a vector of INT32 and a table of rank 2 or more, not {ids.type} {list(ids.shape)} and "
            f"{list(table.shape)}"
        )
    shape = (*ids.shape, *table.shape[1:])
    if table.type == output.type:
        return EmbeddingLookupParams(node.place, None, output.type, (shape,))
    if table.type != "INT8" or output.type not in ("FLOAT16", "FLOAT32"):
        raise node.unsupported(f"a table of {table.type} for an output of {output.type} is not built")
    q = table.quantization
    if q is None or len(q.scale) not in (1, table.shape[0]) or any(q.zero_point):
        raise node.invalid(f"the table '{table.name}' needs one scale, or one a row, and zero points of 0")
    return EmbeddingLookupParams(node.place, np.asarray(q.scale, np.float32), output.type, (shape,))


def embedding_lookup(params: EmbeddingLookupParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """output[i] = table[ids[i]]; of an int8 table read as floats times the row's scale, in float32.

    arrays: ids and table. Errors: InvalidInput for an id outside the table.
    Source: tflite/kernels/embedding_lookup.cc, EvalSimple, EvalHybrid.
    """
    ids, table = present(arrays, 0), present(arrays, 1)
    if len(table) == 0 and ids.size:
        raise InvalidInput(f"{params.place}: the table has no rows")
    if ids.size and (ids.min() < 0 or ids.max() >= len(table)):
        raise InvalidInput(
            f"{params.place}: the ids are {int(ids.min())} to {int(ids.max())}, the table's rows 0 to {len(table) - 1}"
        )
    rows = table[ids]
    if params.scales is None:
        return (rows,)
    scales = params.scales[ids] if len(params.scales) > 1 else params.scales
    with np.errstate(over="ignore"):
        real = rows.astype(np.float32) * scales.reshape(-1, *(1,) * (rows.ndim - 1))
        return (real.astype(DTYPES[params.output_type], copy=False),)


# ---- SPARSE_TO_DENSE ----

MOST_COORDINATES = 4


@dataclass(frozen=True, slots=True)
class SparseToDenseParams:
    """The indices as (count, coordinates)."""

    place: str
    indices_shape: tuple[int, int]
    output_shapes: tuple[Shape]


def sparse_to_dense_params(node: Node) -> SparseToDenseParams:
    """indices: one, a vector of them, or (count, rank), INT32 or INT64; output_shape (rank,) of the same types; values:
    one or (count,); default_value: one of the values' type.

    Errors: InvalidModel. Source: tflite/kernels/sparse_to_dense.cc, Prepare, CheckDimensionsMatch.
    """
    expect_counts(node, 4, 1)
    indices, values, default = node.input(0), node.input(2), node.input(3)
    expect_same_type(node, values, default)
    expect_same_type(node, values, node.outputs[0])
    if indices.type not in ("INT32", "INT64") or len(indices.shape) > 2:
        raise node.invalid(f"the indices must be INT32 or INT64 of rank 0 to 2, not {indices.type} {indices.shape}")
    shape = vector(node, 1, "the output's shape", ("INT32", "INT64"))
    count = indices.shape[0] if indices.shape else 1
    coordinates = indices.shape[1] if len(indices.shape) == 2 else 1
    if coordinates != len(shape) or coordinates > MOST_COORDINATES or values.shape not in ((), (count,)):
        raise node.invalid(
            f"indices {list(indices.shape)} do not fit an output of {len(shape)} axes (at most {MOST_COORDINATES}) and "
            f"values of shape {list(values.shape)}"
        )
    if prod(default.shape) != 1 or any(not 0 <= size <= INT32_MAX for size in shape):
        raise node.invalid(f"needs one default value and a shape, not {list(default.shape)} and {list(shape)}")
    return SparseToDenseParams(node.place, (count, coordinates), (shape,))


def sparse_to_dense(params: SparseToDenseParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """The default value everywhere, then output[indices[i]] = values[i], one after the other.

    arrays: indices, None, values, default_value. Errors: InvalidInput for an index outside the output.
    Source: tflite/kernels/internal/reference/reference_ops.h, SparseToDense.
    """
    indices, values = present(arrays, 0).reshape(params.indices_shape), present(arrays, 2)
    (shape,) = params.output_shapes
    if indices.size and ((indices < 0) | (indices >= np.array(shape, np.int64))).any():
        raise InvalidInput(
            f"{params.place}: the indices, which are {int(indices.min())} to {int(indices.max())}, leave {list(shape)}"
        )
    output = np.full(shape, present(arrays, 3).reshape(-1)[0])
    output[tuple(indices.T)] = values
    return (output,)


# ---- UNIQUE ----


@dataclass(frozen=True, slots=True)
class UniqueParams:
    """The number of distinct values depends on the data; `index_type` is that of the second output."""

    index_type: str
    output_shapes: tuple[None, Shape]


def unique_params(node: Node) -> UniqueParams:
    """A vector; outputs: the distinct values, and for each element where its value stands among them.

    Errors: InvalidModel. Source: tflite/kernels/unique.cc, Prepare.
    """
    expect_counts(node, 1, 2)
    input, (values, indices) = node.input(0), node.outputs
    expect_same_type(node, input, values)
    index_type = node.options.get("idx_out_type", "INT32")
    if len(input.shape) != 1 or index_type not in ("INT32", "INT64") or indices.type != index_type:
        raise node.invalid(
            f"takes a vector and gives indices of idx_out_type INT32 or INT64, not {list(input.shape)}, {indices.type} "
            f"and {index_type}"
        )
    return UniqueParams(index_type, (None, input.shape))


def unique(params: UniqueParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """(distinct values in the order of their first places, for each element the number of its value).

    A NaN counts as the smallest value before it; after a NaN that comes first every value counts as it.
    Source: tflite/kernels/unique.cc, EvalImpl.
    """
    x = present(arrays)
    known = _as_looked_up(x) if x.dtype.kind == "f" else x
    _, first, group = np.unique(known, return_index=True, return_inverse=True)
    order = np.argsort(first)
    number = np.empty_like(order)
    number[order] = np.arange(len(order))
    return x[first[order]], number[group.reshape(-1)].astype(DTYPES[params.index_type])


def _as_looked_up(x: Array) -> Array:
    """x with each value as std::map finds it, which takes a NaN for the smallest key, and 0 for -0."""
    if not x.size or np.isnan(x[0]):
        return np.zeros_like(x)
    missing = np.isnan(x)
    smallest = np.minimum.accumulate(np.where(missing, np.inf, x))
    return np.where(missing, smallest, x) + 0.0


# ---- REVERSE_SEQUENCE ----


@dataclass(frozen=True, slots=True)
class ReverseSequenceParams:
    """`sequence` and `batch`: the axes; `shape`: the input's."""

    place: str
    sequence: int
    batch: int
    output_shapes: tuple[Shape]


def reverse_sequence_params(node: Node) -> ReverseSequenceParams:
    """seq_lengths (n,) INT32 or INT64, one for each index of batch_dim; seq_dim is another axis.

    Errors: InvalidModel. Source: tflite/kernels/reverse_sequence.cc, Prepare, ReverseSequenceImpl.
    """
    expect_counts(node, 2, 1)
    input, lengths = node.input(0), node.input(1)
    expect_same_type(node, input, node.outputs[0])
    sequence, batch = int(node.options.get("seq_dim", 0)), int(node.options.get("batch_dim", 0))
    rank = len(input.shape)
    if not (0 <= sequence < rank and 0 <= batch < rank and sequence != batch):
        raise node.invalid(f"seq_dim {sequence} and batch_dim {batch} must be two axes of {list(input.shape)}")
    if lengths.type not in ("INT32", "INT64") or lengths.shape != (input.shape[batch],):
        raise node.invalid(
            f"seq_lengths must be {input.shape[batch]} of INT32 or INT64, not {list(lengths.shape)} of {lengths.type}"
        )
    return ReverseSequenceParams(node.place, sequence, batch, (input.shape,))


def reverse_sequence(params: ReverseSequenceParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """output[..., b, ..., t, ...] = input[..., b, ..., length[b] - 1 - t, ...] for t < length[b], else the input's.

    arrays: the input and the lengths; TFLite looks at the first length only and writes outside for others that are too
    long. Errors: InvalidInput for a length beyond the axis.
    Source: tflite/kernels/internal/reference/reference_ops.h, ReverseSequence.
    """
    (shape,) = params.output_shapes
    (x, lengths), batched = per_sample(arrays, (shape, (shape[params.batch],)), len(shape))
    steps = shape[params.sequence]
    if lengths.size and lengths.max() > steps:
        raise InvalidInput(f"{params.place}: a sequence length is {int(lengths.max())}, but the axis has {steps}")
    time = np.arange(steps)
    length = lengths[:, :, np.newaxis].astype(np.int64)
    source = np.where(time < length, length - 1 - time, time)  # (samples or 1, batch, time)
    if params.batch > params.sequence:
        source = source.swapaxes(1, 2)
    axes = sorted((params.batch, params.sequence))
    spread = [size if axis in axes else 1 for axis, size in enumerate(shape)]
    at = np.broadcast_to(source.reshape(len(source), *spread), (max(len(x), len(source)), *shape))
    moved = np.take_along_axis(np.broadcast_to(x, at.shape), at, axis=params.sequence + 1)
    return (without_samples(moved, batched),)


# ---- the segment ops ----


@dataclass(frozen=True, slots=True)
class SegmentParams:
    """`segments`: how many there are, known for the unsorted ones; `ids_shape`: the first axes of the input."""

    place: str
    op: str
    ids_shape: Shape
    inner: Shape
    segments: int | None
    output_shapes: tuple[Shape | None]


def segment_sum_params(node: Node) -> SegmentParams:
    """data (n, ...) INT32 or FLOAT32, segment_ids (n,) INT32, which begin at 0 and grow by 0 or 1.

    Errors: InvalidModel. Source: tflite/kernels/segment_sum.cc, Prepare.
    """
    expect_counts(node, 2, 1)
    return _segment_params(node, None)


def unsorted_segment_params(node: Node) -> SegmentParams:
    """data INT32 or FLOAT32, segment_ids INT32 of its first axes' shape, num_segments: one INT32.

    Errors: InvalidModel. Source: tflite/kernels/unsorted_segment.cc, Prepare, ResizeOutputTensor.
    """
    expect_counts(node, 3, 1)
    segments = one_integer(node, 2, "num_segments")
    if segments < 0 or len(node.input(2).shape) > 1:
        raise node.invalid(f"num_segments is {segments} of shape {list(node.input(2).shape)}; it must be 0 or more")
    return _segment_params(node, segments)


def _segment_params(node: Node, segments: int | None) -> SegmentParams:
    data, ids = node.input(0), node.input(1)
    expect_same_type(node, data, node.outputs[0])
    rank = len(ids.shape)
    sorted_ids = segments is None
    if ids.type != "INT32" or data.shape[:rank] != ids.shape or (sorted_ids and rank != 1):
        raise node.invalid(
            f"segment_ids must be INT32 of the shape of the first {'axis' if sorted_ids else 'axes'} of "
            f"{list(data.shape)}, not {ids.type} {list(ids.shape)}"
        )
    inner = data.shape[rank:]
    shape = None if segments is None else (segments, *inner)
    return SegmentParams(node.place, node.op, ids.shape, inner, segments, (shape,))


def segment(params: SegmentParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """output[ids[i]] = function(output[ids[i]], data[i]), one after the other; rows with an id below 0 are left out.

    It begins with 0 for the sums, 1 for the product, the lowest (highest) finite value for the maximum (minimum), which
    skip NaN. arrays: data, segment_ids, None. Errors: InvalidInput for an id that is no segment.
    Source: tflite/kernels/internal/reference/reference_ops.h, SegmentSum, UnsortedSegmentRef.
    """
    data, ids = present(arrays, 0), present(arrays, 1).reshape(-1).astype(np.int64)
    if params.segments is None and (ids[:1] != 0).any() | ((np.diff(ids) != 0) & (np.diff(ids) != 1)).any():
        raise InvalidInput(f"{params.place}: the segment ids must begin at 0 and grow by 0 or 1")
    segments = int(ids.max(initial=-1)) + 1 if params.segments is None else params.segments
    if ids.size and ids.max() >= segments:
        raise InvalidInput(f"{params.place}: a segment id is {int(ids.max())}, but there are {segments} segments")
    kept = ids >= 0
    columns = prod(params.inner)
    at = (ids[kept, np.newaxis] * columns + np.arange(columns)).reshape(-1)
    values = data.reshape(len(ids), columns)[kept].reshape(-1)
    function, start = _SEGMENTS[params.op]
    output = np.full(segments * columns, start(data.dtype), data.dtype)
    with np.errstate(all="ignore"):
        function.at(output, at, values)
    if function in (np.fmax, np.fmin):  # of zeros with both signs the first counts
        zeros = values == 0
        first = np.zeros_like(output)
        first[at[zeros][::-1]] = values[zeros][::-1]
        output = np.where(output == 0, first, output)
    return (output.reshape(segments, *params.inner),)


def _lowest(dtype: np.dtype[Any]) -> Any:
    return (np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)).min


def _highest(dtype: np.dtype[Any]) -> Any:
    return (np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)).max


_SEGMENTS: Mapping[str, tuple[np.ufunc, Callable[[np.dtype[Any]], Any]]] = {
    "SEGMENT_SUM": (np.add, lambda dtype: 0),
    "UNSORTED_SEGMENT_SUM": (np.add, lambda dtype: 0),
    "UNSORTED_SEGMENT_PROD": (np.multiply, lambda dtype: 1),
    "UNSORTED_SEGMENT_MAX": (np.fmax, _lowest),
    "UNSORTED_SEGMENT_MIN": (np.fmin, _highest),
}

# ---- BUCKETIZE ----


@dataclass(frozen=True, slots=True)
class BucketizeParams:
    """The boundaries, ascending float32."""

    boundaries: Array
    output_shapes: tuple[Shape]


def bucketize_params(node: Node) -> BucketizeParams:
    """The option `boundaries` holds ascending float32 numbers; the output is INT32. Errors: InvalidModel.

    Source: tflite/kernels/bucketize.cc, Prepare.
    """
    expect_counts(node, 1, 1)
    boundaries = np.asarray(node.options.get("boundaries") or (), np.float32)
    if node.outputs[0].type != "INT32" or (boundaries[1:] < boundaries[:-1]).any():
        raise node.invalid(f"needs an INT32 output, not {node.outputs[0].type}, and boundaries that ascend")
    return BucketizeParams(boundaries, (node.input(0).shape,))


def bucketize(params: BucketizeParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """How many boundaries are not above each element, which is compared as float32. arrays: float32, int32 or int64.

    Source: tflite/kernels/bucketize.cc, Bucketize.
    """
    x = present(arrays).astype(np.float32)
    return (np.searchsorted(params.boundaries, x, side="right").astype(np.int32),)
