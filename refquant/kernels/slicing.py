"""Parts of one tensor: SLICE, STRIDED_SLICE, SPLIT, SPLIT_V, UNPACK.

Every kernel takes `arrays`: the input, of any type; further operands are parameters and None. It returns that type.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from typing import Any

import numpy as np

from refquant.kernels.checks import expect_counts, expect_same_type
from refquant.kernels.index_operands import (
    at_axis,
    axis_from_end,
    expect_equal_parameters,
    one_integer,
    present,
    vector,
)
from refquant.kernels.kernel import Node, Operand, Shape
from refquant.model.graph import Array


@dataclass(frozen=True, slots=True)
class SliceParams:
    """SLICE, STRIDED_SLICE: `shape` is the input's with new axes of 1 put in; `slices` has one slice per axis of it."""

    rank: int
    shape: Shape
    slices: tuple[slice, ...]
    output_shapes: tuple[Shape]


@dataclass(frozen=True, slots=True)
class SplitParams:
    """SPLIT, SPLIT_V: output i is the input from bounds[i] to bounds[i + 1] along `axis`, counted from the end."""

    axis: int
    bounds: tuple[int, ...]
    output_shapes: tuple[Shape, ...]


@dataclass(frozen=True, slots=True)
class UnpackParams:
    """UNPACK: output i is the input at index i of `axis`, counted from the end."""

    axis: int
    output_shapes: tuple[Shape, ...]


@dataclass(frozen=True, slots=True)
class AxisSlice:
    """What STRIDED_SLICE does with one axis: what it reads, and the output's size (None: the axis is dropped)."""

    read: range
    size: int | None


def slice_params(node: Node) -> SliceParams:
    """begin and size: INT32 or INT64 vectors of one type, one entry per axis; a size of -1 reaches to the end.

    Errors: InvalidModel, also where the file declares another output shape without a dynamic size.
    Source: tflite/kernels/slice.cc, Prepare, CalculateOutputShapeVector.
    """
    expect_counts(node, 3, 1)
    input, output = node.input(0), node.outputs[0]
    expect_same_type(node, input, output)
    expect_same_type(node, node.input(1), node.input(2))
    begin = vector(node, 1, "begin", ("INT32", "INT64"))
    given = vector(node, 2, "size", ("INT32", "INT64"))
    if not len(begin) == len(given) == len(input.shape):
        raise node.invalid(f"begin {list(begin)} and size {list(given)} must name the axes of {list(input.shape)}")
    sizes = tuple(n - b if s == -1 else s for n, b, s in zip(input.shape, begin, given, strict=True))
    if any(not 0 <= b <= b + s <= n for n, b, s in zip(input.shape, begin, sizes, strict=True)):
        raise node.invalid(f"begin {list(begin)} and size {list(given)} reach out of the input {list(input.shape)}")
    if output.shape and -1 not in (output.shape_signature or ()) and output.shape != sizes:
        raise node.invalid(f"the slice is {list(sizes)}, but '{output.name}' is declared as {list(output.shape)}")
    slices = tuple(slice(b, b + s) for b, s in zip(begin, sizes, strict=True))
    return SliceParams(len(input.shape), input.shape, slices, (sizes,))


def strided_slice_params(node: Node) -> SliceParams:
    """begin, end and strides: INT32 vectors of entries, each for one axis, changed by the masks' bit of the entry.

    begin_mask, end_mask: from the first, to the last; ellipsis_mask: the entry stands for the axes that no other entry
    names; new_axis_mask: it puts in an axis of 1; shrink_axis_mask: it is an index, and the axis is dropped. With
    `offset`, end counts from begin. Errors: InvalidModel; UnsupportedModel where the runtime leaves elements of the
    output unwritten or reads beyond the entries. Source: tflite/kernels/strided_slice.cc, BuildStridedSliceParams,
    ResizeOutputTensor.
    """
    expect_counts(node, 4, 1)
    input = node.input(0)
    expect_same_type(node, input, node.outputs[0])
    begin, end, strides = vector(node, 1, "begin"), vector(node, 2, "end"), vector(node, 3, "strides")
    if len(begin) != len(end) or len(begin) > 31:
        raise node.invalid(f"begin and end must have one length of at most 31, not {len(begin)} and {len(end)}")
    if len(strides) < len(begin):
        raise node.unsupported(f"begin has {len(begin)} entries, but strides only {len(strides)}")
    entries = _entry_of_each_axis(node, len(input.shape), len(begin))
    sizes = iter(input.shape)
    shape = tuple(1 if entry == "new" else next(sizes) for entry in entries)
    axes = [_axis_slice(node, axis, entry, size) for axis, (entry, size) in enumerate(zip(entries, shape, strict=True))]
    result = tuple(axis.size for axis in axes if axis.size is not None)
    written = prod(len(axis.read) for axis in axes)
    if (prod(result) or written) and any(len(axis.read) != (1 if axis.size is None else axis.size) for axis in axes):
        raise node.unsupported(
            f"the slice of {list(input.shape)} reads {[len(axis.read) for axis in axes]} elements per axis, which do "
            f"not fill the output {list(result)} (an index out of range?); the result is undefined"
        )
    return SliceParams(len(input.shape), shape, tuple(_as_slice(axis.read) for axis in axes), (result,))


def _entry_of_each_axis(node: Node, rank: int, count: int) -> list[int | str]:
    """For each axis of the input and each new one: the entry that speaks of it, "all", or "new"."""
    ellipsis, new = int(node.options.get("ellipsis_mask", 0)), int(node.options.get("new_axis_mask", 0))
    if (ellipsis | new) >> count or ellipsis & (ellipsis - 1):
        raise node.unsupported(
            f"ellipsis_mask {ellipsis} and new_axis_mask {new} must name some of the {count} entries, and one ellipsis"
        )
    axes = rank + bin(new & ~ellipsis).count("1")
    first = ellipsis.bit_length() - 1 if ellipsis else axes
    span = max(1, min(axes - count + 1, axes - first))  # how many axes the ellipsis stands for
    entries: list[int | str] = []
    for axis in range(axes):
        entry = axis if axis < first else axis - span + 1
        if first <= axis < first + span or entry >= count:
            entries.append("all")
        else:
            entries.append("new" if new >> entry & 1 else entry)
    if entries.count("new") != axes - rank:
        raise node.unsupported(f"the {count} entries of begin are more than the {rank} axes of the input take")
    return entries


def _axis_slice(node: Node, axis: int, entry: int | str, size: int) -> AxisSlice:
    offset, end = bool(node.options.get("offset", False)), node.value(2)
    if offset and axis >= len(end):
        raise node.unsupported("with offset, end must have an entry for every axis; the runtime reads foreign memory")
    if isinstance(entry, str):
        return AxisSlice(range(size), max(0, int(end[axis])) if offset else size)
    start, stop, stride = (int(node.value(operand)[entry]) for operand in (1, 2, 3))
    if stride in (0, -(2**31)):
        raise node.invalid(f"a stride of {stride} is not allowed")
    low, high = (0, size) if stride > 0 else (-1, size - 1)
    start = min(max(start + size if start < 0 else start, low), high)
    if int(node.options.get("begin_mask", 0)) >> entry & 1:
        start = low if stride > 0 else high
    if int(node.options.get("shrink_axis_mask", 0)) >> entry & 1:
        return AxisSlice(range(start, start if start >= size else start + 1, stride), None)
    stop = stop + start if offset else stop
    stop = min(max(stop + size if stop < 0 else stop, low), high)
    if int(node.options.get("end_mask", 0)) >> entry & 1:
        stop = high if stride > 0 else low
    read = range(start, stop, stride)
    return AxisSlice(read, len(range(0, int(end[axis]), stride)) if offset else len(read))


def _as_slice(read: range) -> slice:
    if not read:
        return slice(0, 0)
    stop = read[-1] + read.step
    return slice(read.start, stop if stop >= 0 else None, read.step)


def take_slice(params: SliceParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """output[i, j, ...] = input[begin_i + i * stride_i, begin_j + j * stride_j, ...].

    Source: tflite/kernels/internal/reference/slice.h, Slice; strided_slice.h, StridedSlice.
    """
    x = present(arrays)
    leading = x.shape[: x.ndim - params.rank]
    index: tuple[Any, ...] = (..., *params.slices)
    part = x.reshape((*leading, *params.shape))[index]
    return (np.asarray(part, order="C").reshape((*leading, *params.output_shapes[0])),)


def split_params(node: Node) -> SplitParams:
    """Input 0 is the axis (INT32), input 1 the tensor; it is cut into num_splits equal parts.

    Errors: InvalidModel. Source: tflite/kernels/split.cc, Prepare, ResizeOutputTensors.
    """
    count = _count_of_parts(node, 2)
    input = node.input(1)
    axis = axis_from_end(node, one_integer(node, 0, "the axis"), len(input.shape))
    size = input.shape[axis]
    if count == 0 or size % count:
        raise node.invalid(f"axis {axis} of {list(input.shape)} cannot be cut into {count} equal parts")
    return _split_params(node, input, axis, [size // count] * count)


def split_v_params(node: Node) -> SplitParams:
    """size_splits (INT32 or INT64 vector) names the sizes of the parts along axis (INT32), one of them perhaps -1.

    Errors: InvalidModel. Source: tflite/kernels/split_v.cc, Prepare, ResizeOutputTensors.
    """
    count = _count_of_parts(node, 3)
    input = node.input(0)
    sizes = list(vector(node, 1, "size_splits", ("INT32", "INT64")))
    axis = axis_from_end(node, one_integer(node, 2, "the axis"), len(input.shape))
    size = input.shape[axis]
    if len(sizes) != count or sizes.count(-1) > 1:
        raise node.invalid(f"size_splits {sizes} must hold one size for each of {count} outputs, at most one -1")
    if -1 in sizes:
        sizes[sizes.index(-1)] = size - sum(part for part in sizes if part != -1)
    if sum(sizes) != size or any(part < 0 for part in sizes):
        raise node.invalid(f"size_splits {sizes} must be sizes that sum to {size}, axis {axis} of {list(input.shape)}")
    return _split_params(node, input, axis, sizes)


def _count_of_parts(node: Node, inputs: int) -> int:
    count = int(node.options.get("num_splits", 0))
    expect_counts(node, inputs, count)
    return count


def _split_params(node: Node, input: Operand, axis: int, sizes: list[int]) -> SplitParams:
    for output in node.outputs:
        expect_same_type(node, input, output)
    at = axis + len(input.shape)
    shapes = tuple((*input.shape[:at], size, *input.shape[at + 1 :]) for size in sizes)
    return SplitParams(axis, tuple(accumulate(sizes, initial=0)), shapes)


def split(params: SplitParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """The input cut along the axis. Source: tflite/kernels/internal/reference/reference_ops.h, Split."""
    x = next(array for array in arrays if array is not None)
    bounds = zip(params.bounds, params.bounds[1:], strict=False)
    return tuple(np.asarray(x[at_axis(params.axis, slice(*bound))], order="C") for bound in bounds)


def unpack_params(node: Node) -> UnpackParams:
    """`num` outputs, as many as the axis has indices; one quantization, and not an empty input.

    Errors: InvalidModel. Source: tflite/kernels/unpack.cc, Prepare.
    """
    count = int(node.options.get("num", 0))
    expect_counts(node, 1, count)
    input = node.input(0)
    axis = axis_from_end(node, int(node.options.get("axis", 0)), len(input.shape))
    if input.shape[axis] != count or 0 in input.shape:
        raise node.invalid(f"axis {axis} of {list(input.shape)} must have num = {count} indices, and no axis be empty")
    for output in node.outputs:
        expect_same_type(node, input, output)
        expect_equal_parameters(node, input, output)
    at = axis + len(input.shape)
    return UnpackParams(axis, ((*input.shape[:at], *input.shape[at + 1 :]),) * count)


def unpack(params: UnpackParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """output_i[...] = input[..., i, ...]. Source: tflite/kernels/internal/reference/reference_ops.h, Unpack."""
    x = present(arrays)
    parts = range(x.shape[params.axis])
    return tuple(np.asarray(x[at_axis(params.axis, index)], order="C") for index in parts)
