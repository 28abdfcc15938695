"""Float32 activations that meet constant weights of int8, as XNNPACK computes them.

Each row or image of the input gets a scale and a zero point; the products of codes are summed in int32, and
output = clamp(fma(sum * scale of the row, scale of the filter, bias)), each operation rounded to float32. Source:
google/XNNPACK, src/qd8-f32-qc8w-gemm/, src/qd8-f32-qc8w-igemm/. The kernels of hybrid.py are those of TFLite itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from refquant.arithmetic.affine import Float32
from refquant.arithmetic.exact import Narrow, PreparedMatrix, exact_matmul, largest_magnitude, narrowed, prepare_matrix
from refquant.arithmetic.fused_multiply_add import fused_multiply_add_float32
from refquant.arithmetic.row_quantization import quantize_rows_by_steps_a_unit
from refquant.kernels.activation import clamp_float, clamp_float_above, fused_float_range
from refquant.kernels.convolution import (
    OUTPUT_ELEMENTS,
    blocks,
    decode_conv,
    decode_transpose_conv,
    scatter,
    sums_of_products,
)
from refquant.kernels.dense import decode_batch_matmul, decode_fully_connected, shaped
from refquant.kernels.kernel import Node, Operand, Shape
from refquant.kernels.padding import Window, pad, patches
from refquant.model.graph import Array

CENTRED_MAGNITUDE = 255  # of a code less its zero point


@dataclass(frozen=True, slots=True)
class Epilogue:
    """From sums to outputs. `scale`: the filter's, one a channel or one for all; without an activation no bounds.

    `clamp`: where rows are those of a matrix, a NaN stays one; in convolutions it becomes the lower bound.
    """

    scale: Float32
    clamp: Callable[[Array, np.float32, np.float32], Array]
    low: np.float32
    high: np.float32
    narrow: Narrow


def epilogue(node: Node, filter_: Operand, of_rows: bool) -> Epilogue:
    """The filter's scales and the bounds of the option fused_activation_function."""
    scales = filter_.quantization.scale if filter_.quantization is not None else ()
    clamp = clamp_float if of_rows else clamp_float_above
    return Epilogue(np.asarray(scales, np.float32), clamp, *fused_float_range(node), node.narrow)


def finish(e: Epilogue, sums: Array, bound: int, row_scale: Float32, bias: Array | None) -> Float32:
    """clamp(fma(sums * row_scale, filter scale, bias)). sums: integers, channels last, none larger than `bound`.

    row_scale: what broadcasts to sums; an infinite one makes NaNs.
    """
    real = narrowed(sums, None, bound, e.narrow)[0].astype(np.float32)
    with np.errstate(all="ignore"):
        real *= row_scale
    real = fused_multiply_add_float32(real, e.scale, np.float32(0) if bias is None else bias.reshape(-1))
    return e.clamp(real, e.low, e.high)


# FULLY_CONNECTED ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FullyConnectedParams:
    """What FULLY_CONNECTED needs to run. `matrix`: the filter transposed."""

    output_shapes: tuple[Shape]
    matrix: PreparedMatrix
    epilogue: Epilogue


def fully_connected_params(node: Node) -> FullyConnectedParams:
    """Checks and decodes FULLY_CONNECTED: input float32, filter (units, columns) int8, bias (units,) float32."""
    _, filter_, _, output_shape = decode_fully_connected(node, "FLOAT32")
    matrix = prepare_matrix(node.value(1).T.astype(np.int16), CENTRED_MAGNITUDE)
    return FullyConnectedParams((output_shape,), matrix, epilogue(node, filter_, True))


def fully_connected(params: FullyConnectedParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """Each row of columns is quantized on its own. arrays: input, filter, bias or nothing.

    Errors: InvalidInput for an input that has no codes.
    """
    x, _, *rest = arrays
    assert x is not None
    rows = quantize_rows_by_steps_a_unit(x.reshape(-1, len(params.matrix.integers)))
    sums = exact_matmul(rows.centred, params.matrix, CENTRED_MAGNITUDE)
    bound = CENTRED_MAGNITUDE * params.matrix.column_sum
    output = finish(params.epilogue, sums, bound, rows.scale[:, np.newaxis], rest[0] if rest else None)
    return (shaped(output, x, params.output_shapes[0]),)


# CONV_2D, TRANSPOSE_CONV --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ConvParams:
    """What CONV_2D needs to run. `matrices`: the filter, one a group; `by_pixel`: pixels are quantized, not images."""

    output_shapes: tuple[Shape]
    window: Window
    by_pixel: bool
    matrices: tuple[PreparedMatrix, ...]
    epilogue: Epilogue


def conv_2d_params(node: Node) -> ConvParams:
    """Checks and decodes CONV_2D: input (N, H, W, C) float32, filter (O, kh, kw, C / groups) int8, bias (O,) float32.

    One tap that meets every pixel is a FULLY_CONNECTED, whose rows are quantized on their own, but from one channel to
    one. Source: src/subgraph/convolution-2d.c, xnn_define_convolution_2d.
    """
    _, filter_, window, groups, output_shape = decode_conv(node, "FLOAT32")
    rows = node.value(1).reshape(output_shape[3], -1).astype(np.int16)
    matrices = tuple(prepare_matrix(part.T, CENTRED_MAGNITUDE) for part in np.split(rows, groups))
    one_tap = filter_.shape[1:3] == (1, 1) and window.height.stride == window.width.stride == 1 and groups == 1
    by_pixel = one_tap and filter_.shape[0] + filter_.shape[3] > 2
    return ConvParams((output_shape,), window, by_pixel, matrices, epilogue(node, filter_, by_pixel))


def conv_2d(params: ConvParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """Each image, or pixel, is quantized on its own; pixels outside contribute 0. arrays: input, filter, bias.

    Errors: InvalidInput for an input that has no codes.
    """
    x, _, bias = arrays
    assert x is not None
    row = x.shape[3] if params.by_pixel else math.prod(x.shape[1:])
    rows = quantize_rows_by_steps_a_unit(x.reshape(-1, row))
    scale = rows.scale.reshape((*x.shape[:3], 1) if params.by_pixel else (-1, 1, 1, 1))
    output = np.empty((len(x), *params.output_shapes[0][1:]), np.float32)
    scale = np.broadcast_to(scale, (*output.shape[:3], 1))
    columns = patches(pad(rows.centred.reshape(x.shape), params.window, 0, np.int16), params.window)
    bound = CENTRED_MAGNITUDE * max(matrix.column_sum for matrix in params.matrices)
    for block in blocks(columns.shape[:3], output.shape[3], OUTPUT_ELEMENTS):
        sums = sums_of_products(columns[block], params.matrices)
        output[block] = finish(params.epilogue, sums, bound, scale[block], bias)
    return (output,)


@dataclass(frozen=True, slots=True)
class TransposeConvParams:
    """What TRANSPOSE_CONV needs to run. The window is that of the convolution from output to input."""

    output_shapes: tuple[Shape]
    window: Window
    matrix: PreparedMatrix
    epilogue: Epilogue


def transpose_conv_params(node: Node) -> TransposeConvParams:
    """Checks and decodes TRANSPOSE_CONV: output_shape (4,) int32, filter (O, kh, kw, C) int8, input (N, H, W, C) and
    bias (O,) or none in float32."""
    _, filter_, window, output_shape = decode_transpose_conv(node, "FLOAT32")
    matrix = prepare_matrix(node.value(1).reshape(-1, filter_.shape[3]).T.astype(np.int16), CENTRED_MAGNITUDE)
    return TransposeConvParams((output_shape,), window, matrix, epilogue(node, filter_, False))


def transpose_conv(params: TransposeConvParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """Each image is quantized on its own. arrays: None, filter, input, bias or nothing.

    Errors: InvalidInput for an input that has no codes.
    """
    _, filter_, x, *rest = arrays
    assert filter_ is not None
    assert x is not None
    rows = quantize_rows_by_steps_a_unit(x.reshape(len(x), math.prod(x.shape[1:])))
    products = exact_matmul(rows.centred.reshape(x.shape), params.matrix, CENTRED_MAGNITUDE)
    products = products.reshape(*x.shape[:3], *filter_.shape[:3])
    sums = np.zeros((len(x), *params.output_shapes[0][1:]), np.float64)
    for ky, kx, (y, xs), target in scatter(params.window, sums):
        np.add(target, products[:, y, xs, :, ky, kx], out=target)
    bound = CENTRED_MAGNITUDE * int(np.abs(filter_.astype(np.int64)).sum(axis=(1, 2, 3)).max(initial=0))
    scale = rows.scale.reshape(-1, 1, 1, 1)
    return (finish(params.epilogue, sums, bound, scale, rest[0] if rest else None),)


# BATCH_MATMUL -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BatchMatMulParams:
    """What BATCH_MATMUL needs to run. `matrix`: b, (..., k, n)."""

    output_shapes: tuple[Shape]
    adj_x: bool
    matrix: Array
    epilogue: Epilogue


def batch_matmul_params(node: Node) -> BatchMatMulParams:
    """Checks and decodes BATCH_MATMUL: a (..., m, k) float32, b (..., k, n) int8; transposed with adj_x and adj_y."""
    _, b, output_shape = decode_batch_matmul(node)
    matrix = node.value(1).swapaxes(-1, -2) if node.options.get("adj_y", False) else node.value(1)
    return BatchMatMulParams((output_shape,), bool(node.options.get("adj_x", False)), matrix, epilogue(node, b, True))


def batch_matmul(params: BatchMatMulParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """Each row of a is quantized on its own; leading axes broadcast. arrays: a, b.

    Errors: InvalidInput for an input that has no codes.
    """
    a = arrays[0]
    assert a is not None
    a = a.swapaxes(-1, -2) if params.adj_x else a
    rows = quantize_rows_by_steps_a_unit(a.reshape(-1, a.shape[-1]))
    sums = exact_matmul(rows.centred.reshape(a.shape), params.matrix, CENTRED_MAGNITUDE)
    bound = CENTRED_MAGNITUDE * largest_magnitude(params.matrix) * a.shape[-1]
    return (finish(params.epilogue, sums, bound, rows.scale.reshape(*a.shape[:-1], 1), None),)
