"""CONV_2D and TRANSPOSE_CONV. Images are NHWC.

int8: accumulator = sum over taps of filter * (input - input zero_point) + bias, in int32; pixels outside the image
contribute 0, that is, they hold the input's zero point. Filters are symmetric: their zero points are not read.
uint8: the same with (filter - filter zero_point). int16: filters are int8, no tensor has a zero point; see int16.py.
float32: the products are summed in the order (kh, kw, channel), then the bias is added.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import DTypeLike

from refquant.arithmetic.exact import EXACT_FLOAT32, PreparedMatrix, exact_matmul, prepare_matrix
from refquant.arithmetic.fixed_point import Int64
from refquant.arithmetic.float_product import SMALL_PRODUCT, FloatProduct
from refquant.arithmetic.requantize import Place
from refquant.errors import UnsupportedModel
from refquant.kernels.activation import clamp_sum, finish_float, fused_float_range, fused_range
from refquant.kernels.checks import expect_same_type, legacy_parameters
from refquant.kernels.int16 import accumulator_type, int16_stage
from refquant.kernels.kernel import Node, Operand, Shape
from refquant.kernels.output_stage import Finish, OutputStage, filter_scales, finish, output_stage, prepare_finish
from refquant.kernels.padding import Axis, Window, decode_window, pad, patches
from refquant.kernels.scratch import scratch
from refquant.kernels.uint8 import OFFSET, int8_codes, uint8_stage
from refquant.model.graph import Array

# Elements of the matrix of columns, and of the sums, that are worked on at once: together they fit the second-level
# cache, and the calls cost little.
COLUMN_ELEMENTS = 1 << 18
OUTPUT_ELEMENTS = 1 << 19
FLOAT_ELEMENTS = 1 << 17  # of the float32 columns, or of their sums
FEWEST_ROWS = 192  # of a product that is made small enough for BLAS to multiply without packing
SHORT_ROW = 16  # elements that are copied one by one rather than in a run

# The type of the input's codes -> no |code| is larger. Codes of uint8 are those of int8 when they are used.
MAGNITUDES: Mapping[str, int] = {"INT8": 1 << 7, "INT16": 1 << 15}


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


def quantized_stage(
    node: Node, input_: Operand, filter_: Operand, channels: int, requantizer_name: str = ""
) -> tuple[int, OutputStage]:
    """(input zero point, output stage). requantizer_name: see output_stage."""
    scale, zero_point = node.scale_and_zero_point(input_)
    scales, clamp = filter_scales(node, filter_, channels), fused_range(node)
    return zero_point, output_stage(node, scale, scales, clamp, requantizer_name=requantizer_name)


def bias_or_zero(bias: Array | None, channels: int) -> Int64:
    """The bias as (channels,) int64; zeros if there is none."""
    return np.zeros(channels, np.int64) if bias is None else bias.reshape(-1).astype(np.int64)


# CONV_2D ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ConvParams:
    """What CONV_2D (int8, uint8, int16) needs to run. `weights` is None while the filter or the bias is no constant.

    `codes`: the type of the input's codes, uint8 as int8. `input_zero_point`: of those codes. `filter_zero_point`: what
    is taken off the filter; 0 unless it is uint8.
    """

    output_shapes: tuple[Shape]
    window: Window
    groups: int
    codes: str
    input_zero_point: int
    filter_zero_point: int
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
    input_, filter_, window, groups, output_shape = decode_conv(node, "INT32")
    _expect_symmetric(node, filter_)
    zero_point, stage = quantized_stage(node, input_, filter_, output_shape[3], _of_groups(groups))
    return _with_weights(node, ConvParams((output_shape,), window, groups, "INT8", zero_point, 0, stage, None))


def _of_groups(groups: int, accumulator: str = "INT32") -> str:
    """The name of the requantizer of a convolution in groups: runtimes with a faster form have none for these."""
    return "grouped_requantizer" if groups > 1 and accumulator == "INT32" else ""


def _expect_symmetric(node: Node, filter_: Operand) -> None:
    for zero_point in filter_.quantization.zero_point if filter_.quantization else ():
        if zero_point != 0:
            raise node.invalid(f"filter '{filter_.name}' has zero point {zero_point}; it must be 0")


def conv_2d_uint8_params(node: Node) -> ConvParams:
    """Checks and decodes CONV_2D with input and filter in uint8 and one scale each; see conv_2d_params.

    Source: tflite/kernels/conv.cc, Prepare; kernel_util.cc, PopulateConvolutionQuantizationParams.
    """
    input_, filter_, window, groups, output_shape = decode_conv(node, "INT32")
    zero_point, filter_zero_point, stage = uint8_stage(node, input_, filter_, node.input(2), _of_groups(groups))
    shift = zero_point - OFFSET
    return _with_weights(
        node, ConvParams((output_shape,), window, groups, "INT8", shift, filter_zero_point, stage, None)
    )


def conv_2d_int16_params(node: Node) -> ConvParams:
    """Checks and decodes CONV_2D with an input in int16, a filter in int8 and a bias in int64 or int32.

    Shapes and errors as in conv_2d_params. Source: tflite/kernels/conv.cc, Prepare, EvalQuantizedPerChannel16x8.
    """
    accumulator = accumulator_type(node, node.optional(2))
    input_, filter_, window, groups, output_shape = decode_conv(node, accumulator)
    _expect_symmetric(node, filter_)
    stage = int16_stage(node, input_, filter_, output_shape[3], accumulator, _of_groups(groups, accumulator))
    return _with_weights(node, ConvParams((output_shape,), window, groups, "INT16", 0, 0, stage, None))


def _with_weights(node: Node, params: ConvParams) -> ConvParams:
    """The params with weights if filter and bias are constants."""
    filter_, bias = node.input(1).value, node.input(2).value
    return params if filter_ is None or bias is None else replace(params, weights=conv_weights(params, filter_, bias))


def decode_conv(node: Node, bias_type: str) -> tuple[Operand, Operand, Window, int, Shape]:
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


def conv_weights(params: ConvParams, filter_: Array, bias: Array | None) -> ConvWeights:
    """filter (O, kh, kw, C / groups) of codes and bias (O,) integers or None, ready to run."""
    magnitude = MAGNITUDES[params.codes]
    rows = filter_.reshape(len(filter_), -1).astype(np.int16) - np.int16(params.filter_zero_point)
    matrices = tuple(prepare_matrix(part.T, magnitude) for part in np.split(rows, params.groups))
    constant = bias_or_zero(bias, len(filter_)) - params.input_zero_point * rows.sum(axis=1, dtype=np.int64)
    bound = magnitude * max((matrix.column_sum for matrix in matrices), default=0)
    return ConvWeights(matrices, prepare_finish(params.stage, constant, bound))


def conv_2d(params: ConvParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """output[n, y, x, o] = clamp(requantize(sum of filter[o] * (patch - zero_point) + bias[o]) + output zero_point).

    arrays: input int8 or int16, filter int8, bias int32 or int64.
    Source: tflite/kernels/internal/reference/integer_ops/conv.h, ConvPerChannel.
    """
    x, filter_, bias = arrays
    assert x is not None
    assert filter_ is not None
    weights = params.weights
    if weights is None:
        weights = conv_weights(params, filter_, bias)
    padded = pad(x, params.window, params.input_zero_point, x.dtype)
    output = np.empty((len(x), *params.output_shapes[0][1:]), params.stage.dtype)
    view = patches(padded, params.window)
    for block in blocks(view.shape[:3], len(weights.finish.constant), OUTPUT_ELEMENTS):
        finish(weights.finish, sums_of_products(view[block], weights.matrices), output[block])
    return (output,)


def conv_2d_uint8(params: ConvParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """As conv_2d, with (filter[o] - its zero_point). arrays: input and filter uint8, bias int32.

    Source: tflite/kernels/internal/reference/conv.h, Conv.
    """
    return conv_2d(params, (int8_codes(arrays[0]), *arrays[1:]))


def blocks(shape: Shape, depth: int, most: int) -> Iterator[tuple[slice, slice]]:
    """Slices of (N, H, W): whole images, or rows of one, of at most `most` elements, with `depth` elements a pixel."""
    n, height, width = shape
    row = max(width * depth, 1)
    rows = max(1, min(height, most // row))
    images = max(1, most // (row * rows)) if rows == height else 1
    for image in range(0, n, images):
        for y in range(0, height, rows):
            yield slice(image, image + images), slice(y, y + rows)


def sums_of_products(columns: Array, matrices: Sequence[PreparedMatrix]) -> Array:
    """The exact sums of filter * columns (N, OH, OW, kh, kw, C) integers: (N, OH, OW, outputs) float32 or float64.

    matrices: the filter, one a group. The result is scratch: it holds until the next call.
    """
    single = all(len(matrix.pieces) == 1 for matrix in matrices)
    dtype = np.result_type(*(matrix.dtype for matrix in matrices)) if single else np.float64
    shape = columns.shape[:3]
    depth, outputs = columns.shape[5] // len(matrices), matrices[0].integers.shape[1]
    sums = scratch("convolution.sums", (*shape, outputs * len(matrices)), dtype)
    for block in blocks(shape, math.prod(columns.shape[3:]), COLUMN_ELEMENTS):
        for group, matrix in enumerate(matrices):
            part = columns[block][..., group * depth : (group + 1) * depth]
            _multiply(_as_matrix(part, matrix.dtype), matrix, sums[block][..., group * outputs : (group + 1) * outputs])
    return sums


def _as_matrix(columns: Array, dtype: DTypeLike) -> Array:
    """columns (N, OH, OW, kh, kw, C) integers as a matrix (N * OH * OW, kh * kw * C) of `dtype`.

    Where a row of the window is short, the matrix is stored transposed: then pixels lie behind each other.
    """
    pixels, products = math.prod(columns.shape[:3]), math.prod(columns.shape[3:])
    if columns.shape[4] * columns.shape[5] >= SHORT_ROW or products == 1:
        a = scratch("convolution.columns", columns.shape, dtype)
        np.copyto(a, columns)
        return a.reshape(pixels, products)
    transposed = columns.transpose(3, 4, 5, 0, 1, 2)
    integers = scratch("convolution.integers", transposed.shape, columns.dtype)
    np.copyto(integers, transposed)
    a = scratch("convolution.columns", transposed.shape, dtype)
    np.copyto(a, integers)
    return a.reshape(products, pixels).T


def _multiply(a: Array, matrix: PreparedMatrix, out: Array) -> None:
    """out = a @ matrix, exactly, for |a| <= matrix.max_abs_a."""
    if len(matrix.pieces) == 1 and out.flags.c_contiguous:
        filter_, out = matrix.pieces[0][1], out.reshape(len(a), out.shape[-1])
        rows = max(SMALL_PRODUCT // max(filter_.size, 1), 1)
        step = rows if rows >= FEWEST_ROWS else max(len(a), 1)
        for start in range(0, len(a), step):
            np.matmul(a[start : start + step], filter_, out=out[start : start + step])
    else:
        out[...] = exact_matmul(a, matrix, matrix.max_abs_a).reshape(out.shape)


@dataclass(frozen=True, slots=True)
class FloatConvParams:
    """What CONV_2D (float32) needs to run. `matrices` is None while the filter is no constant; see float_matrices."""

    output_shapes: tuple[Shape]
    window: Window
    groups: int
    low: np.float32
    high: np.float32
    product: FloatProduct
    matrices: tuple[Array, ...] | None


def conv_2d_float_params(node: Node) -> FloatConvParams:
    """Checks and decodes CONV_2D with input, filter and bias in float32; shapes and errors as in conv_2d_params."""
    _, filter_, window, groups, output_shape = decode_conv(node, "FLOAT32")
    matrices = None if filter_.value is None else float_matrices(filter_.value, groups)
    low, high = fused_float_range(node)
    return FloatConvParams((output_shape,), window, groups, low, high, node.arithmetic["float.product"], matrices)


def float_matrices(filter_: Array, groups: int) -> tuple[Array, ...]:
    """filter (O, kh, kw, C / groups) float32 as one matrix (kh * kw * C / groups, O / groups) a group."""
    check_finite(filter_)
    return tuple(np.ascontiguousarray(part.T) for part in np.split(filter_.reshape(len(filter_), -1), groups))


def conv_2d_float(params: FloatConvParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """output[n, y, x, o] = clamp(sum of filter[o] * patch + bias[o]), summed in the order (kh, kw, channel).

    arrays: input, filter, bias. Source: tflite/kernels/internal/reference/conv.h, Conv.
    """
    x, filter_, bias = arrays
    assert x is not None
    assert filter_ is not None
    assert bias is not None
    channels = len(filter_)
    matrices = float_matrices(filter_, params.groups) if params.matrices is None else params.matrices
    output = np.empty((len(x), *params.output_shapes[0][1:]), np.float32)
    view = patches(pad(x, params.window, 0, np.float32), params.window)
    for block in blocks(view.shape[:3], max(math.prod(view.shape[3:]), channels), FLOAT_ELEMENTS):
        columns = view[block]
        sums = output[block].reshape(len(columns), math.prod(columns.shape[1:3]), channels)
        for part, matrix, result in zip(
            np.split(columns, params.groups, 5), matrices, np.split(sums, params.groups, 2), strict=True
        ):
            params.product(_as_float_matrices(part), matrix, result)
        finish_float(sums.reshape(-1, channels), bias, params.low, params.high)
    return (output,)


def _as_float_matrices(columns: Array) -> Array:
    """columns (N, OH, OW, kh, kw, C) float32 as a matrix (OH * OW, kh * kw * C) an image; see _as_matrix."""
    images, pixels, products = len(columns), math.prod(columns.shape[1:3]), math.prod(columns.shape[3:])
    if columns.flags.c_contiguous:
        return columns.reshape(images, pixels, products)
    short = columns.shape[4] * columns.shape[5] < SHORT_ROW
    ordered = columns.transpose(3, 4, 5, 0, 1, 2) if short else columns
    a = scratch("convolution.float columns", ordered.shape, np.float32)
    np.copyto(a, ordered)
    return a.reshape(products, images, pixels).transpose(1, 2, 0) if short else a.reshape(images, pixels, products)


# TRANSPOSE_CONV -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TransposeConvParams:
    """What TRANSPOSE_CONV (int8, uint8, int16) needs to run. The window is that of a convolution from output to input.

    `filter_zero_point`: what is taken off the filter; 0 unless it is uint8. `reach`: no |input - its zero point| is
    larger.
    """

    output_shapes: tuple[Shape]
    window: Window
    reach: int
    input_zero_point: int
    filter_zero_point: int
    stage: OutputStage


def transpose_conv_params(node: Node) -> TransposeConvParams:
    """Checks and decodes TRANSPOSE_CONV: output_shape (4,) int32, filter (O, kh, kw, C) int8, input (N, H, W, C) int8,
    bias (O,) int32 or none.

    Errors: InvalidModel for what TFLite's Prepare and Eval reject; UnsupportedModel for other types.
    Source: tflite/kernels/transpose_conv.cc, Prepare, Eval.
    """
    input_, filter_, window, output_shape = decode_transpose_conv(node, "INT32")
    zero_point, stage = quantized_stage(node, input_, filter_, output_shape[3])
    return TransposeConvParams((output_shape,), window, 255, zero_point, 0, stage)


def transpose_conv_uint8_params(node: Node) -> TransposeConvParams:
    """Checks and decodes TRANSPOSE_CONV with filter and input in uint8, one scale each; see transpose_conv_params."""
    input_, filter_, window, output_shape = decode_transpose_conv(node, "INT32")
    zero_point, filter_zero_point, stage = uint8_stage(node, input_, filter_, node.optional(3))
    return TransposeConvParams((output_shape,), window, 255, zero_point, filter_zero_point, stage)


def transpose_conv_int16_params(node: Node) -> TransposeConvParams:
    """Checks and decodes TRANSPOSE_CONV with a filter in int8, an input in int16 and a bias in int64, int32 or none.

    Source: tflite/kernels/transpose_conv.cc, Prepare, EvalQuantizedPerChannel16x8.
    """
    accumulator = accumulator_type(node, node.optional(3))
    input_, filter_, window, output_shape = decode_transpose_conv(node, accumulator)
    asymmetric = accumulator == "INT32" and legacy_parameters(filter_)[1] != 0
    name = "asymmetric_int16_requantizer" if asymmetric else ""
    stage = int16_stage(node, input_, filter_, output_shape[3], accumulator, name)
    return TransposeConvParams((output_shape,), window, MAGNITUDES["INT16"], 0, 0, stage)


def decode_transpose_conv(node: Node, bias_type: str) -> tuple[Operand, Operand, Window, Shape]:
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

    Of a uint8 filter the zero point is taken off first. arrays: None, filter, input, bias or nothing.
    Source: tflite/kernels/internal/reference/integer_ops/transpose_conv.h, TransposeConv; reference/transpose_conv.h.
    """
    _, filter_, x, *rest = arrays
    assert filter_ is not None
    assert x is not None
    constant = bias_or_zero(rest[0] if rest else None, len(filter_))
    filter_ = filter_.astype(np.int16) - np.int16(params.filter_zero_point)
    matrix = filter_.reshape(-1, filter_.shape[3]).T
    magnitude = int(np.abs(filter_.astype(np.int64)).sum(axis=(1, 2, 3)).max(initial=0))
    bound = params.reach * magnitude
    products = exact_matmul(x.astype(np.float32) - np.float32(params.input_zero_point), matrix, params.reach)
    products = products.reshape(*x.shape[:3], *filter_.shape[:3])
    total = np.zeros((len(x), *params.output_shapes[0][1:]), np.float32 if bound <= EXACT_FLOAT32 else np.float64)
    for ky, kx, pixels, target in scatter(params.window, total):
        np.add(target, products[:, pixels[0], pixels[1], :, ky, kx], out=target)
    output = np.empty(total.shape, params.stage.dtype)
    if params.stage.requantizer.place is Place.OUTPUT:
        constant = np.tile(constant, math.prod(params.output_shapes[0][:3]))
    finish(prepare_finish(params.stage, constant, bound), total, output)
    return (output,)


def scatter(window: Window, total: Array) -> Iterator[tuple[int, int, tuple[slice, slice], Array]]:
    """(ky, kx, the input pixels whose tap lies inside the output, where in `total` (N, OH, OW, O) it lies).

    The taps come last first, so that each output meets its inputs in the order (y, x), as in the reference kernel.
    """
    for ky in reversed(range(window.height.filter)):
        rows, target_rows = scatter_axis(window.height, ky)
        for kx in reversed(range(window.width.filter)):
            columns, target_columns = scatter_axis(window.width, kx)
            yield ky, kx, (rows, columns), total[:, target_rows, target_columns]


def scatter_axis(axis: Axis, tap: int) -> tuple[slice, slice]:
    """(pixels i, their targets i * stride - before + tap * dilation) with 0 <= target < the axis's image."""
    offset = tap * axis.dilation - axis.before
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
    _, _, window, output_shape = decode_transpose_conv(node, "FLOAT32")
    low, high = fused_float_range(node)
    return FloatTransposeConvParams((output_shape,), window, low, high, node.arithmetic["float.added_product"])


def transpose_conv_float(params: FloatTransposeConvParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """As transpose_conv, without zero points; each output sums its products in the order (y, x, channel) of the input.

    arrays: None, filter, input, bias or nothing.
    Source: tflite/kernels/internal/reference/transpose_conv.h, TransposeConv.
    """
    _, filter_, x, *rest = arrays
    assert filter_ is not None
    assert x is not None
    total = np.zeros((len(x), *params.output_shapes[0][1:]), np.float32)
    for ky, kx, pixels, target in scatter(params.window, total):
        part = target.reshape(len(x), math.prod(target.shape[1:3]), len(filter_))  # a copy where the target is strided
        params.product(x[:, pixels[0], pixels[1]].reshape(*part.shape[:2], x.shape[3]), filter_[:, ky, kx].T, part)
        target[...] = part.reshape(target.shape)
    if rest and rest[0] is not None:
        total += rest[0].reshape(-1)
    return (clamp_sum(total, params.low, params.high),)
