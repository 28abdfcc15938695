"""CONV_2D and TRANSPOSE_CONV. Images are NHWC.

int8: accumulator = sum over taps of filter * (input - input zero_point) + bias, in int32; pixels outside the image
contribute 0, that is, they hold the input's zero point. Filters are symmetric: their zero points are not read.
float32: the products are summed in the order (kh, kw, channel), then the bias is added.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from refquant.arithmetic.exact import EXACT_FLOAT32, PreparedMatrix, exact_matmul, prepare_matrix
from refquant.arithmetic.fixed_point import Int64
from refquant.arithmetic.float_product import FloatProduct
from refquant.errors import UnsupportedModel
from refquant.kernels.activation import clamp_sum, fused_float_range, fused_range
from refquant.kernels.checks import expect_same_type, legacy_parameters
from refquant.kernels.kernel import Node, Operand, Shape
from refquant.kernels.output_stage import Finish, OutputStage, filter_scales, finish, output_stage, prepare_finish
from refquant.kernels.padding import Axis, Window, decode_window, pad, patches
from refquant.kernels.scratch import scratch
from refquant.model.graph import Array

# Elements of the matrix of columns, and of the sums, that are worked on at once: together they fit the second-level
# cache, and the calls cost little.
COLUMN_ELEMENTS = 1 << 18
OUTPUT_ELEMENTS = 1 << 19
# Products of so many multiplications are small to OpenBLAS, which then multiplies without packing the matrices first;
# that is worth it where few calls of many rows do.
SMALL_PRODUCT = 1_000_000
FEWEST_ROWS = 192
SHORT_ROW = 16  # elements that are copied one by one rather than in a run
INT8_MAGNITUDE = 128


# Checks shared by the convolutions ----------------------------------------------------------------------------------


def check_operands(node: Node, input_: Operand, filter_: Operand) -> None:
    """An error unless input and filter have 4 dimensions, no empty image, and types that fit."""
    if len(node.outputs) != 1:
        raise node.invalid(f"has {len(node.outputs)} outputs; it gives 1")
    for name, operand in (("input", input_), ("filter", filter_)):
        if len(operand.shape) != 4:
            raise node.invalid(f"{name} '{operand.name}' has shape {list(operand.shape)}; it must have 4 dimensions")
        if 0 in operand.shape[1:]:
            raise node.invalid(f"{name} '{operand.name}' has shape {list(operand.shape)}: a dimension is 0")
    expect_same_type(node, input_, node.outputs[0])
    if filter_.type != input_.type:
        raise node.unsupported(f"a filter of type {filter_.type} with an input of type {input_.type} is not built")


def check_bias(node: Node, bias: Operand | None, type_: str, channels: int) -> None:
    """InvalidModel unless the bias, if there is one, has that type, one element a channel and zero point 0."""
    if bias is None:
        return
    if bias.type != type_:
        raise node.invalid(f"bias '{bias.name}' is {bias.type}; it must be {type_}")
    if int(np.prod(bias.shape)) != channels:
        raise node.invalid(f"bias '{bias.name}' has shape {list(bias.shape)}; it needs {channels} elements")
    if legacy_parameters(bias)[1] != 0:
        raise node.invalid(f"bias '{bias.name}' has zero point {legacy_parameters(bias)[1]}; it must be 0")


def check_finite(filter_: Array) -> None:
    """UnsupportedModel for a filter with an infinity or NaN, which would meet the zeros around the image."""
    if not np.isfinite(filter_).all():
        raise UnsupportedModel("the filter holds an infinity or NaN")


def quantized_stage(node: Node, input_: Operand, filter_: Operand, channels: int) -> tuple[int, OutputStage]:
    """(input zero point, output stage)."""
    scale, zero_point = node.scale_and_zero_point(input_)
    return zero_point, output_stage(node, scale, filter_scales(node, filter_, channels), fused_range(node))


def bias_or_zero(bias: Array | None, channels: int) -> Int64:
    """The bias as (channels,) int64; zeros if there is none."""
    return np.zeros(channels, np.int64) if bias is None else bias.reshape(-1).astype(np.int64)


# CONV_2D ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ConvParams:
    """What CONV_2D (int8) needs to run. `weights` is None while the filter or the bias is no constant."""

    output_shapes: tuple[Shape]
    window: Window
    groups: int
    input_zero_point: int
    stage: OutputStage
    weights: ConvWeights | None


@dataclass(frozen=True, slots=True)
class ConvWeights:
    """A filter as one matrix (kh * kw * channels, outputs) a group, and what finishes its sums of filter * input.

    The input's zero point is part of the constant that meets the sums: bias - zero_point * sum of the filter.
    """

    matrices: tuple[PreparedMatrix, ...]
    finish: Finish


def conv_2d_params(node: Node) -> ConvParams:
    """Checks and decodes CONV_2D: input (N, H, W, C), filter (O, kh, kw, C / groups) int8, bias (O,) int32.

    Errors: InvalidModel for what TFLite's Prepare rejects; UnsupportedModel for other types.
    Source: tflite/kernels/conv.cc, Prepare; kernel_util.cc, PopulateConvolutionQuantizationParams.
    """
    input_, filter_, window, groups, output_shape = _decode_conv(node, "INT32")
    channels = output_shape[3]
    for zero_point in filter_.quantization.zero_point if filter_.quantization else ():
        if zero_point != 0:
            raise node.invalid(f"filter '{filter_.name}' has zero point {zero_point}; it must be 0")
    zero_point, stage = quantized_stage(node, input_, filter_, channels)
    weights = None
    if filter_.value is not None and node.input(2).value is not None:
        weights = conv_weights(filter_.value, node.input(2).value, groups, zero_point, stage)
    return ConvParams((output_shape,), window, groups, zero_point, stage, weights)


def _decode_conv(node: Node, bias_type: str) -> tuple[Operand, Operand, Window, int, Shape]:
    """(input, filter, window, groups, output shape)."""
    if len(node.inputs) != 3:
        raise node.invalid(f"has {len(node.inputs)} inputs; it takes input, filter and bias")
    input_, filter_, bias = node.input(0), node.input(1), node.input(2)
    check_operands(node, input_, filter_)
    (n, height, width, depth), (channels, kh, kw, filter_depth) = input_.shape, filter_.shape
    if channels == 0:
        raise node.invalid(f"filter '{filter_.name}' has no output channels")
    groups = depth // filter_depth
    if depth % filter_depth or channels % groups:
        raise node.invalid(
            f"filter '{filter_.name}' has shape {list(filter_.shape)}; with {depth} input channels the depth must "
            f"divide them, and their quotient, the number of groups, must divide the output channels"
        )
    check_bias(node, bias, bias_type, channels)
    window = decode_window(node, (height, width), (kh, kw))
    return input_, filter_, window, groups, (n, window.height.output, window.width.output, channels)


def conv_weights(filter_: Array, bias: Array | None, groups: int, zero_point: int, stage: OutputStage) -> ConvWeights:
    """filter (O, kh, kw, C / groups) int8 and bias (O,) int32 or None, ready to run."""
    rows = filter_.reshape(len(filter_), -1)
    matrices = tuple(prepare_matrix(part.T, INT8_MAGNITUDE) for part in np.split(rows, groups))
    constant = bias_or_zero(bias, len(filter_)) - zero_point * rows.sum(axis=1, dtype=np.int64)
    bound = INT8_MAGNITUDE * max((matrix.column_sum for matrix in matrices), default=0)
    return ConvWeights(matrices, prepare_finish(stage, constant, bound))


def conv_2d(params: ConvParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """output[n, y, x, o] = clamp(requantize(sum of filter[o] * (patch - zero_point) + bias[o]) + output zero_point).

    arrays: input, filter, bias. Source: tflite/kernels/internal/reference/integer_ops/conv.h, ConvPerChannel.
    """
    x, filter_, bias = arrays
    assert x is not None
    assert filter_ is not None
    weights = params.weights
    if weights is None:
        weights = conv_weights(filter_, bias, params.groups, params.input_zero_point, params.stage)
    padded = pad(x, params.window, params.input_zero_point, np.int8)
    output = np.empty((len(x), *params.output_shapes[0][1:]), np.int8)
    view = patches(padded, params.window)
    for block in _blocks(view.shape[:3], len(weights.finish.constant), OUTPUT_ELEMENTS):
        finish(weights.finish, _sums(view[block], weights), output[block])
    return (output,)


def _blocks(shape: Shape, depth: int, most: int) -> Iterator[tuple[slice, slice]]:
    """Slices of (N, H, W): whole images, or rows of one, of at most `most` elements, with `depth` elements a pixel."""
    n, height, width = shape
    row = max(width * depth, 1)
    rows = max(1, min(height, most // row))
    images = max(1, most // (row * rows)) if rows == height else 1
    for image in range(0, n, images):
        for y in range(0, height, rows):
            yield slice(image, image + images), slice(y, y + rows)


def _sums(columns: Array, weights: ConvWeights) -> Array:
    """The exact sums of filter * columns (N, OH, OW, kh, kw, C) int8: (N * OH * OW, outputs) float32 or float64."""
    dtype = np.float32 if all(len(matrix.pieces) == 1 for matrix in weights.matrices) else np.float64
    shape = columns.shape[:3]
    sums = scratch("convolution.sums", (*shape, len(weights.finish.constant)), dtype)
    depth, outputs = columns.shape[5] // len(weights.matrices), weights.matrices[0].integers.shape[1]
    for block in _blocks(shape, math.prod(columns.shape[3:]), COLUMN_ELEMENTS):
        for group, matrix in enumerate(weights.matrices):
            part = columns[block][..., group * depth : (group + 1) * depth]
            _multiply(_as_matrix(part), matrix, sums[block][..., group * outputs : (group + 1) * outputs])
    return sums


def _as_matrix(columns: Array) -> Array:
    """columns (N, OH, OW, kh, kw, C) int8 as a float32 matrix (N * OH * OW, kh * kw * C).

    Where a row of the window is short, the matrix is stored transposed: then pixels lie behind each other.
    """
    pixels, products = math.prod(columns.shape[:3]), math.prod(columns.shape[3:])
    if columns.shape[4] * columns.shape[5] >= SHORT_ROW or products == 1:
        a = scratch("convolution.columns", columns.shape, np.float32)
        np.copyto(a, columns)
        return a.reshape(pixels, products)
    transposed = columns.transpose(3, 4, 5, 0, 1, 2)
    integers = scratch("convolution.integers", transposed.shape, np.int8)
    np.copyto(integers, transposed)
    a = scratch("convolution.columns", transposed.shape, np.float32)
    np.copyto(a, integers)
    return a.reshape(products, pixels).T


def _multiply(a: Array, matrix: PreparedMatrix, out: Array) -> None:
    """out = a @ matrix, exactly, for |a| <= INT8_MAGNITUDE."""
    if len(matrix.pieces) == 1 and out.flags.c_contiguous:
        filter_, out = matrix.pieces[0][1], out.reshape(len(a), out.shape[-1])
        rows = max(SMALL_PRODUCT // max(filter_.size, 1), 1)
        step = rows if rows >= FEWEST_ROWS else max(len(a), 1)
        for start in range(0, len(a), step):
            np.matmul(a[start : start + step], filter_, out=out[start : start + step])
    else:
        out[...] = exact_matmul(a, matrix, INT8_MAGNITUDE).reshape(out.shape)


@dataclass(frozen=True, slots=True)
class FloatConvParams:
    """What CONV_2D (float32) needs to run."""

    output_shapes: tuple[Shape]
    window: Window
    groups: int
    low: np.float32
    high: np.float32
    product: FloatProduct


def conv_2d_float_params(node: Node) -> FloatConvParams:
    """Checks and decodes CONV_2D with input, filter and bias in float32; shapes and errors as in conv_2d_params."""
    _, filter_, window, groups, output_shape = _decode_conv(node, "FLOAT32")
    if filter_.value is not None:
        check_finite(filter_.value)
    return FloatConvParams((output_shape,), window, groups, *fused_float_range(node), node.arithmetic["float.product"])


def conv_2d_float(params: FloatConvParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """output[n, y, x, o] = clamp(sum of filter[o] * patch + bias[o]), summed in the order (kh, kw, channel).

    arrays: input, filter, bias. Source: tflite/kernels/internal/reference/conv.h, Conv.
    """
    x, filter_, bias = arrays
    assert x is not None
    assert filter_ is not None
    assert bias is not None
    check_finite(filter_)
    output = np.empty((len(x), *params.output_shapes[0][1:]), np.float32)
    view = patches(pad(x, params.window, 0, np.float32), params.window)
    rows = filter_.reshape(len(filter_), -1)
    matrices = [np.ascontiguousarray(part.T) for part in np.split(rows, params.groups)]
    for block in _blocks(view.shape[:3], math.prod(view.shape[3:]), COLUMN_ELEMENTS):
        columns = view[block]
        total = np.zeros((math.prod(columns.shape[:3]), len(filter_)), np.float32)
        for part, matrix, result in zip(
            np.split(columns, params.groups, 5), matrices, np.split(total, params.groups, 1), strict=True
        ):
            params.product(part.reshape(len(total), len(matrix)), matrix, result)
        total += bias.reshape(-1)
        output[block] = clamp_sum(total, params.low, params.high).reshape(*columns.shape[:3], len(filter_))
    return (output,)


# TRANSPOSE_CONV -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TransposeConvParams:
    """What TRANSPOSE_CONV (int8) needs to run. The window is that of the convolution from output to input."""

    output_shapes: tuple[Shape]
    window: Window
    input_zero_point: int
    stage: OutputStage


def transpose_conv_params(node: Node) -> TransposeConvParams:
    """Checks and decodes TRANSPOSE_CONV: output_shape (4,) int32, filter (O, kh, kw, C) int8, input (N, H, W, C) int8,
    bias (O,) int32 or none.

    Errors: InvalidModel for what TFLite's Prepare and Eval reject; UnsupportedModel for other types.
    Source: tflite/kernels/transpose_conv.cc, Prepare, Eval.
    """
    input_, filter_, window, output_shape = _decode_transpose_conv(node, "INT32")
    zero_point, stage = quantized_stage(node, input_, filter_, output_shape[3])
    return TransposeConvParams((output_shape,), window, zero_point, stage)


def _decode_transpose_conv(node: Node, bias_type: str) -> tuple[Operand, Operand, Window, Shape]:
    """(input, filter, window, output shape)."""
    if len(node.inputs) not in (3, 4):
        raise node.invalid(f"has {len(node.inputs)} inputs; it takes output_shape, filter, input and maybe bias")
    shape_operand, filter_, input_ = node.input(0), node.input(1), node.input(2)
    check_operands(node, input_, filter_)
    check_bias(node, node.optional(3), bias_type, filter_.shape[0])
    if shape_operand.type != "INT32" or len(shape_operand.shape) != 1:
        raise node.invalid(f"output_shape '{shape_operand.name}' must be a vector of INT32")
    n, height, width, depth = input_.shape
    channels, kh, kw, filter_depth = filter_.shape
    if depth != filter_depth:
        raise node.invalid(f"the input has {depth} channels, but the filter takes {filter_depth}")
    output_shape = tuple(int(size) for size in node.value(0))
    if len(output_shape) != 4 or output_shape[0] != n or min(output_shape[1:3]) < 1 or output_shape[3] != channels:
        raise node.invalid(f"output_shape is {list(output_shape)}; it must be [{n}, height, width, {channels}]")
    window = decode_window(node, (output_shape[1], output_shape[2]), (kh, kw))
    if (window.height.output, window.width.output) != (height, width):
        raise node.invalid(
            f"output_shape {list(output_shape)} is that of an input of {window.height.output} x {window.width.output} "
            f"pixels, but the input has {height} x {width}"
        )
    return input_, filter_, window, output_shape


def transpose_conv(params: TransposeConvParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """Adds filter[:, ky, kx] * (input[y, x] - zero_point) to the accumulators at (y * stride - padding + ky, ...).

    arrays: None, filter, input, bias or nothing.
    Source: tflite/kernels/internal/reference/integer_ops/transpose_conv.h, TransposeConv.
    """
    _, filter_, x, *rest = arrays
    assert filter_ is not None
    assert x is not None
    constant = bias_or_zero(rest[0] if rest else None, len(filter_))
    matrix = filter_.reshape(-1, filter_.shape[3]).T
    magnitude = int(np.abs(filter_.astype(np.int64)).sum(axis=(1, 2, 3)).max(initial=0))
    bound = 255 * magnitude  # |input - zero_point| <= 255
    products = exact_matmul(x.astype(np.float32) - np.float32(params.input_zero_point), matrix, 255)
    products = products.reshape(*x.shape[:3], *filter_.shape[:3])
    total = np.zeros((len(x), *params.output_shapes[0][1:]), np.float32 if bound <= EXACT_FLOAT32 else np.float64)
    for ky, kx, pixels, target in _scatter(params.window, total):
        np.add(target, products[:, pixels[0], pixels[1], :, ky, kx], out=target)
    output = np.empty(total.shape, np.int8)
    finish(prepare_finish(params.stage, constant, bound), total, output)
    return (output,)


def _scatter(window: Window, total: Array) -> Iterator[tuple[int, int, tuple[slice, slice], Array]]:
    """(ky, kx, the input pixels whose tap lies inside the output, where in `total` (N, OH, OW, O) it lies).

    The taps come last first, so that each output meets its inputs in the order (y, x), as in the reference kernel.
    """
    for ky in reversed(range(window.height.filter)):
        rows, target_rows = _scatter_axis(window.height, ky)
        for kx in reversed(range(window.width.filter)):
            columns, target_columns = _scatter_axis(window.width, kx)
            yield ky, kx, (rows, columns), total[:, target_rows, target_columns]


def _scatter_axis(axis: Axis, tap: int) -> tuple[slice, slice]:
    """(pixels i, their targets i * stride - before + tap) with 0 <= target < size; the axis's image is the output."""
    offset = tap - axis.before
    first = max(0, -(offset // axis.stride))
    stop = min(axis.output, (axis.input - 1 - offset) // axis.stride + 1)
    count = max(0, stop - first)
    start = first * axis.stride + offset
    return slice(first, first + count), slice(start, start + count * axis.stride, axis.stride)


@dataclass(frozen=True, slots=True)
class FloatTransposeConvParams:
    """What TRANSPOSE_CONV (float32) needs to run."""

    output_shapes: tuple[Shape]
    window: Window
    low: np.float32
    high: np.float32
    product: FloatProduct


def transpose_conv_float_params(node: Node) -> FloatTransposeConvParams:
    """Checks and decodes TRANSPOSE_CONV with filter, input and bias in float32; see transpose_conv_params."""
    _, _, window, output_shape = _decode_transpose_conv(node, "FLOAT32")
    return FloatTransposeConvParams((output_shape,), window, *fused_float_range(node), node.arithmetic["float.product"])


def transpose_conv_float(params: FloatTransposeConvParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """As transpose_conv, without zero points; each output sums its products in the order (y, x, channel) of the input.

    arrays: None, filter, input, bias or nothing.
    Source: tflite/kernels/internal/reference/transpose_conv.h, TransposeConv.
    """
    _, filter_, x, *rest = arrays
    assert filter_ is not None
    assert x is not None
    total = np.zeros((len(x), *params.output_shapes[0][1:]), np.float32)
    for ky, kx, pixels, target in _scatter(params.window, total):
        part = target.reshape(-1, len(filter_))  # a copy where the target is strided
        params.product(x[:, pixels[0], pixels[1]].reshape(len(part), x.shape[3]), filter_[:, ky, kx].T, part)
        target[...] = part.reshape(target.shape)
    if rest and rest[0] is not None:
        total += rest[0].reshape(-1)
    return (clamp_sum(total, params.low, params.high),)
