"""Elements picked or placed by indices: GATHER, GATHER_ND, SCATTER_ND, DYNAMIC_UPDATE_SLICE, WHERE, TOPK_V2.

Indices are data. Where they are constants they are checked when the model is prepared, else when it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from refquant.arithmetic.fixed_point import INT32_MAX
from refquant.errors import InvalidInput, RefquantError
from refquant.kernels.checks import expect_counts, expect_same_type
from refquant.kernels.index_operands import (
    axis_from_end,
    one_integer,
    per_sample,
    present,
    vector,
    without_samples,
)
from refquant.kernels.kernel import Node, Operand, Shape
from refquant.model.graph import DTYPES, Array


@dataclass(frozen=True, slots=True)
class GatherParams:
    """The input as (batch, outer, axis_size, inner), the indices as (batch, count)."""

    place: str
    rank: int
    input_shape: tuple[int, int, int, int]
    indices_shape: tuple[int, int]
    output_shapes: tuple[Shape]


@dataclass(frozen=True, slots=True)
class GatherNdParams:
    """The indices as (count, coordinates): each row is the place of one slice in the first axes of the input."""

    place: str
    rank: int
    input_shape: Shape
    indices_shape: tuple[int, int]
    output_shapes: tuple[Shape]


@dataclass(frozen=True, slots=True)
class ScatterNdParams:
    """The indices as (count, coordinates), the updates as (count, *the other axes of the output)."""

    place: str
    indices_shape: tuple[int, int]
    updates_shape: Shape
    output_shapes: tuple[Shape]


@dataclass(frozen=True, slots=True)
class DynamicUpdateSliceParams:
    """`largest_start`: the last start at which the update still fits, per axis."""

    largest_start: tuple[int, ...]
    output_shapes: tuple[Shape]


@dataclass(frozen=True, slots=True)
class WhereParams:
    """The number of rows of the output depends on the data."""

    output_shapes: tuple[None]


@dataclass(frozen=True, slots=True)
class TopKParams:
    """The k largest of each row; `index_type` is that of the second output."""

    k: int
    index_type: str
    output_shapes: tuple[Shape, Shape]


def gather_params(node: Node) -> GatherParams:
    """indices: INT16, INT32 or INT64; the first batch_dims axes of both are common; negative axes count from the end.

    Errors: InvalidModel. Source: tflite/kernels/gather.cc, Prepare.
    """
    expect_counts(node, 2, 1)
    input, indices = node.input(0), node.input(1)
    expect_same_type(node, input, node.outputs[0])
    _expect_index_type(node, indices)
    rank, count = len(input.shape), len(indices.shape)
    axis = axis_from_end(node, int(node.options.get("axis", 0)), rank) + rank
    given = int(node.options.get("batch_dims", 0))
    batch_dims = given + count if given < 0 else given
    if not 0 <= batch_dims <= min(axis, count) or input.shape[:batch_dims] != indices.shape[:batch_dims]:
        raise node.invalid(
            f"batch_dims {given} must be at most axis {axis} and the rank of the indices, and {list(input.shape)} and "
            f"{list(indices.shape)} must agree in so many axes"
        )
    batch: int = prod(input.shape[:batch_dims])
    outer: int = prod(input.shape[batch_dims:axis])
    inner: int = prod(input.shape[axis + 1 :])
    params = GatherParams(
        node.place,
        max(rank, count),
        (batch, outer, input.shape[axis], inner),
        (batch, prod(indices.shape[batch_dims:])),
        ((*input.shape[:axis], *indices.shape[batch_dims:], *input.shape[axis + 1 :]),),
    )
    _check_constant(node, indices, lambda array: _check_gather_indices(params, array))
    return params


def _expect_index_type(node: Node, indices: Operand) -> None:
    if indices.type not in ("INT16", "INT32", "INT64"):
        raise node.invalid(f"the indices must be INT16, INT32 or INT64, not {indices.type}")


def _check_constant(node: Node, indices: Operand, check: Callable[[Array], None]) -> None:
    if indices.value is None:
        return
    try:
        check(indices.value)
    except RefquantError as error:
        raise node.invalid(str(error).removeprefix(f"{node.place}: ")) from None


def _check_gather_indices(params: GatherParams, indices: Array) -> None:
    _, outer, size, _ = params.input_shape
    if indices.size and (indices.min() < 0 or (outer and indices.max() >= size)):
        raise InvalidInput(f"{params.place}: the indices must be 0 to {size - 1}, but are {_extent(indices)}")


def _extent(indices: Array) -> str:
    return f"{int(indices.min())} to {int(indices.max())}"


def gather(params: GatherParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """output[b, o, i] = input[b, o, indices[b, i]], each a slice of the axes behind.

    arrays: the input, of any type, and the indices. Errors: InvalidInput for an index out of range.
    Source: tflite/kernels/internal/reference/gather.h, Gather.
    """
    (x, indices), batched = per_sample(arrays, (params.input_shape, params.indices_shape), params.rank)
    _check_gather_indices(params, indices)
    if indices.shape[:2] == (1, 1):
        picked = np.take(x, indices[0, 0], axis=3)  # the same for all samples and batches: much faster
    else:
        sample = np.arange(len(x)).reshape(-1, 1, 1, 1)
        batch = np.arange(x.shape[1]).reshape(-1, 1, 1)
        outer = np.arange(x.shape[2]).reshape(-1, 1)
        picked = x[sample, batch, outer, indices[:, :, np.newaxis]]
    return (without_samples(picked.reshape((len(picked), *params.output_shapes[0])), batched),)


def gather_nd_params(node: Node) -> GatherNdParams:
    """indices: INT16, INT32 or INT64 of shape (..., coordinates), the coordinates no more than the input's axes.

    Errors: InvalidModel. Source: tflite/kernels/gather_nd.cc, Prepare, Eval.
    """
    expect_counts(node, 2, 1)
    input, indices = node.input(0), node.input(1)
    expect_same_type(node, input, node.outputs[0])
    _expect_index_type(node, indices)
    if not input.shape or not indices.shape or indices.shape[-1] > len(input.shape):
        raise node.invalid(
            f"the indices {list(indices.shape)} must hold rows of at most {len(input.shape)} coordinates, and neither "
            "they nor the input be a scalar"
        )
    count, coordinates = prod(indices.shape[:-1]), indices.shape[-1]
    if count and not coordinates:
        raise node.unsupported(
            "indices without coordinates are taken as constants, and refused as inputs, by the runtime"
        )
    if prod(indices.shape) and not prod(input.shape):
        raise node.invalid(f"there is nothing in {list(input.shape)} that indices of shape {list(indices.shape)} name")
    shape = (*indices.shape[:-1], *input.shape[coordinates:])
    rank = max(len(input.shape), len(indices.shape))
    params = GatherNdParams(node.place, rank, input.shape, (count, coordinates), (shape,))
    _check_constant(node, indices, lambda array: _check_coordinates(node.place, array, input.shape))
    return params


def _check_coordinates(place: str, indices: Array, shape: Shape) -> None:
    sizes = np.array(shape[: indices.shape[-1]], np.int64)
    if indices.size and ((indices < 0) | (indices >= sizes)).any():
        raise InvalidInput(f"{place}: the indices, which are {_extent(indices)}, leave the tensor of shape {shape}")


def gather_nd(params: GatherNdParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """output[i] = input[indices[i, 0], indices[i, 1], ...], each a slice of the axes behind.

    arrays: the input, of any type, and the indices. Errors: InvalidInput for an index out of range.
    Source: tflite/kernels/internal/reference/reference_ops.h, GatherNd.
    """
    (x, indices), batched = per_sample(arrays, (params.input_shape, params.indices_shape), params.rank)
    _check_coordinates(params.place, indices, params.input_shape)
    sample = np.arange(len(x)).reshape(-1, 1)
    picked = x[(sample, *np.moveaxis(indices, -1, 0))]
    return (without_samples(picked.reshape((len(picked), *params.output_shapes[0])), batched),)


def scatter_nd_params(node: Node) -> ScatterNdParams:
    """indices (..., coordinates) and shape, both INT32; updates (..., *shape behind the coordinates).

    Errors: InvalidModel. Source: tflite/kernels/scatter_nd.cc, Prepare, CheckShapes.
    """
    expect_counts(node, 3, 1)
    indices, updates = node.input(0), node.input(1)
    expect_same_type(node, updates, node.outputs[0])
    if indices.type != "INT32":
        raise node.invalid(f"the indices must be INT32, not {indices.type}")
    shape = vector(node, 2, "the shape")
    outer, coordinates = indices.shape[:-1], indices.shape[-1] if indices.shape else 0
    fits = coordinates <= len(shape) and updates.shape == (*outer, *shape[coordinates:])
    if not indices.shape or not updates.shape or not fits:
        raise node.invalid(
            f"indices {list(indices.shape)}, updates {list(updates.shape)} and the new shape {list(shape)} do not fit: "
            "the updates must have the indices' shape without its last axis, and the axes that no coordinate names"
        )
    if any(not 0 <= size <= INT32_MAX for size in shape):
        raise node.invalid(f"the new shape {list(shape)} holds a size out of range")
    count = prod(outer)
    params = ScatterNdParams(node.place, (count, coordinates), (count, *shape[coordinates:]), (shape,))
    _check_constant(node, indices, lambda array: _check_coordinates(node.place, array, shape))
    return params


def scatter_nd(params: ScatterNdParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """output[indices[i, 0], indices[i, 1], ...] += updates[i], one after the other, from zeros; integers wrap.

    arrays: indices int32, updates of any type. Errors: InvalidInput for an index out of range.
    Source: tflite/kernels/internal/reference/reference_ops.h, ScatterNd.
    """
    indices = present(arrays, 0).reshape(params.indices_shape)
    updates = present(arrays, 1).reshape(params.updates_shape)
    _check_coordinates(params.place, indices, params.output_shapes[0])
    output = np.zeros(params.output_shapes[0], updates.dtype)
    if len(indices):
        where = tuple(indices.T) if indices.shape[1] else (np.zeros(len(indices), np.intp),)
        with np.errstate(over="ignore", invalid="ignore"):
            np.add.at(output if indices.shape[1] else output[np.newaxis], where, updates)
    return (output,)


def dynamic_update_slice_params(node: Node) -> DynamicUpdateSliceParams:
    """operand and update of one type and one rank of at most 8, the update nowhere larger; start INT32 or INT64.

    Errors: InvalidModel. Source: tflite/kernels/dynamic_update_slice.cc, Prepare, Eval.
    """
    expect_counts(node, 3, 1)
    operand, update, start = node.input(0), node.input(1), node.input(2)
    expect_same_type(node, operand, update)
    expect_same_type(node, operand, node.outputs[0])
    if start.type not in ("INT32", "INT64") or start.shape != (len(operand.shape),):
        raise node.invalid(
            f"start must be INT32 or INT64, one per axis of {list(operand.shape)}, not {start.type} {list(start.shape)}"
        )
    if len(update.shape) != len(operand.shape) or len(operand.shape) > 8:
        raise node.invalid(f"{list(operand.shape)} and {list(update.shape)} must have one rank of at most 8")
    largest = tuple(n - m for n, m in zip(operand.shape, update.shape, strict=True))
    if any(start < 0 for start in largest):
        raise node.invalid(f"the update {list(update.shape)} does not fit into {list(operand.shape)}")
    return DynamicUpdateSliceParams(largest, (operand.shape,))


def dynamic_update_slice(params: DynamicUpdateSliceParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """The operand with the update written over it, from start_indices on, which are clamped so that it fits.

    arrays: operand and update of any type, start_indices int32 or int64.
    Source: tflite/kernels/dynamic_update_slice.cc, DynamicUpdateSlice.
    """
    operand, update, start = present(arrays, 0), present(arrays, 1), present(arrays, 2)
    clamped = [min(max(0, int(s)), largest) for s, largest in zip(start, params.largest_start, strict=True)]
    output = operand.copy()
    output[tuple(slice(s, s + size) for s, size in zip(clamped, update.shape, strict=True))] = update
    return (output,)


def where_params(node: Node) -> WhereParams:
    """A condition that is no scalar; the output is INT64 and its rows are known only when it runs.

    Errors: InvalidModel. Source: tflite/kernels/where.cc, Prepare, Eval.
    """
    expect_counts(node, 1, 1)
    if not node.input(0).shape or node.outputs[0].type != "INT64":
        raise node.invalid(f"needs a condition that is no scalar and an INT64 output, not {node.outputs[0].type}")
    return WhereParams((None,))


def where(params: WhereParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """The coordinates of all elements that are not zero, in row-major order: int64 (count, rank).

    Source: tflite/kernels/internal/reference/reference_ops.h, SelectTrueCoords.
    """
    return (np.argwhere(present(arrays)).astype(np.int64),)


def topk_params(node: Node) -> TopKParams:
    """k: one INT16 or INT32 element, at most the size of the last axis; a negative one is 0.

    Errors: InvalidModel. Source: tflite/kernels/topk_v2.cc, Prepare, ResizeOutput.
    """
    expect_counts(node, 2, 2)
    input, (values, indices) = node.input(0), node.outputs
    expect_same_type(node, input, values)
    k = max(0, one_integer(node, 1, "k", ("INT16", "INT32")))
    if not input.shape or k > input.shape[-1]:
        raise node.invalid(f"there are no {k} largest in the rows of {list(input.shape)}")
    if indices.type not in ("INT16", "INT32"):
        raise node.invalid(f"the output of indices must be INT16 or INT32, not {indices.type}")
    if k and input.shape[-1] > np.iinfo(DTYPES[indices.type]).max:
        raise node.invalid(f"{indices.type} cannot count the {input.shape[-1]} elements of a row")
    shape = (*input.shape[:-1], k)
    return TopKParams(k, indices.type, (shape, shape))


def topk(params: TopKParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """The k largest elements of each row in falling order, and where they were; of equal ones the first, NaN last.

    Source: tflite/kernels/topk_v2.cc, TopK.
    """
    x = present(arrays)
    if x.dtype.kind == "f":
        key = np.where(np.isnan(x), -np.inf, x)
        order = np.lexsort((~np.isnan(x[..., ::-1]), key[..., ::-1]), axis=-1)[..., ::-1]
    else:
        order = np.argsort(x[..., ::-1], axis=-1, kind="stable")[..., ::-1]
    indices = x.shape[-1] - 1 - order[..., : params.k]
    return np.take_along_axis(x, indices, axis=-1), indices.astype(DTYPES[params.index_type])
