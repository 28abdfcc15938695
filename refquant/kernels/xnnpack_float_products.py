"""Convolutions and matrix products of float32 as XNNPACK computes them with AVX512: by fused multiply-adds.

total = bias, then total = fma(x, filter, total) product after product, then clamp; denormal numbers count as 0. So a
result does not depend on threads, nor on how many outputs are computed at once. Products come in the order (row of the
window, column, channel), those of depthwise convolutions of few taps in the order (column, row).
Source: google/XNNPACK, src/f32-gemm/, src/f32-igemm/, src/f32-dwconv/.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from refquant.arithmetic.flushing import flush_denormals
from refquant.arithmetic.fused_multiply_add import add_fused_product, add_fused_taps
from refquant.errors import InvalidInput
from refquant.kernels.activation import clamp_float, fused_float_range
from refquant.kernels.convolution import (
    FLOAT_ELEMENTS,
    FloatTransposeConvParams,
    blocks,
    decode_conv,
    float_matrices,
    scatter,
)
from refquant.kernels.dense import (
    FloatBatchMatMulParams,
    FloatFullyConnectedParams,
    decode_batch_matmul,
    shaped,
)
from refquant.kernels.depthwise import decode_depthwise
from refquant.kernels.kernel import Node, Shape
from refquant.kernels.padding import Window, pad, patches, taps
from refquant.kernels.xnnpack_depthwise import TILES, has_own_kernel
from refquant.model.graph import Array


def _first(bias: Array | None, shape: Shape) -> Array:
    """The totals before the first product: the bias (channels,), or zeros."""
    total = np.zeros(shape, np.float32)
    if bias is not None:
        total[...] = bias.reshape(-1)
    return total


def _check_depthwise_input(x: Array, taps: int) -> None:
    """InvalidInput for an infinity or NaN where a kernel has more taps than the window.

    Those read what comes next in memory, other pixels or not, and multiply it by 0.
    """
    if taps not in TILES and not np.isfinite(x).all():
        raise InvalidInput(
            "the input holds an infinity or NaN: XNNPACK's depthwise kernels multiply pixels beside the window by 0, "
            "so that they may spread"
        )


# FULLY_CONNECTED, BATCH_MATMUL --------------------------------------------------------------------------------------


def fully_connected(params: FloatFullyConnectedParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """output[n, u] = clamp(fma of filter[u] and row[n], from bias[u] on). arrays: input, filter, bias or nothing."""
    x, _, *rest = arrays
    assert x is not None
    assert params.matrix is not None
    rows = x.reshape(-1, params.columns)
    total = _first(rest[0] if rest else None, (len(rows), params.matrix.shape[1]))
    add_fused_product(rows, params.matrix, total)
    return (shaped(clamp_float(total, params.low, params.high), x, params.output_shapes[0]),)


def batch_matmul(params: FloatBatchMatMulParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """output = a @ b by fma; leading axes broadcast. arrays: a, b."""
    a, b = arrays
    assert a is not None
    assert b is not None
    a, b = a.swapaxes(-1, -2) if params.adj_x else a, b.swapaxes(-1, -2) if params.adj_y else b
    leading = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    total = np.zeros((*leading, a.shape[-2], b.shape[-1]), np.float32)
    add_fused_product(a, b, total)
    return (total,)


@dataclass(frozen=True, slots=True)
class CodesMatMulParams:
    """What BATCH_MATMUL needs to run on codes of int8 with zero point 0, whose scale is applied to the sums."""

    output_shapes: tuple[Shape]
    adj_x: bool
    adj_y: bool
    scale: np.float32


def batch_matmul_codes_params(node: Node) -> CodesMatMulParams:
    """Checks and decodes BATCH_MATMUL: a (..., m, k) float32, b (..., k, n) int8; transposed with adj_x and adj_y."""
    _, b, output_shape = decode_batch_matmul(node)
    adj = bool(node.options.get("adj_x", False)), bool(node.options.get("adj_y", False))
    return CodesMatMulParams((output_shape,), *adj, np.float32(node.scale_and_zero_point(b)[0]))


def batch_matmul_codes(params: CodesMatMulParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """output = (a @ codes by fma) * scale; leading axes broadcast. arrays: a float32, b int8.

    Source: google/XNNPACK, src/subgraph.c, rewrite_dequant_bmm_at; src/f32-qc8w-gemm/ (AVX512).
    """
    a, b = arrays
    assert b is not None
    plain = FloatBatchMatMulParams(params.output_shapes, params.adj_x, params.adj_y, add_fused_product)
    (sums,) = batch_matmul(plain, (a, b.astype(np.float32)))
    with np.errstate(all="ignore"):
        return (flush_denormals(sums * params.scale),)


# CONV_2D, TRANSPOSE_CONV --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ConvParams:
    """What CONV_2D needs to run. `matrices`: the filter, (products, channels) a group; `columns_first`: the window's
    columns come before its rows."""

    output_shapes: tuple[Shape]
    window: Window
    groups: int
    columns_first: bool
    matrices: tuple[Array, ...]
    low: np.float32
    high: np.float32


def conv_2d_params(node: Node) -> ConvParams:
    """Checks and decodes CONV_2D; with one channel in and one out a group it is a depthwise convolution."""
    _, filter_, window, groups, output_shape = decode_conv(node, "FLOAT32")
    channels, height, width, depth = filter_.shape
    weights, columns_first = node.value(1), depth == 1 and channels == groups and height * width <= TILES[-1]
    if columns_first:
        weights = weights.swapaxes(1, 2)
    matrices = float_matrices(weights, groups)
    return ConvParams((output_shape,), window, groups, columns_first, matrices, *fused_float_range(node))


def conv_2d(params: ConvParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """output[n, y, x, o] = clamp(fma of filter[o] and patch, from bias[o] on). arrays: input, filter, bias."""
    x, _, bias = arrays
    assert x is not None
    view = patches(pad(x, params.window, 0, np.float32), params.window)
    if params.columns_first:
        view = view.swapaxes(3, 4)
        _check_depthwise_input(x, len(params.matrices[0]))
    total = _first(bias, (len(x), *params.output_shapes[0][1:]))
    for block in blocks(view.shape[:3], math.prod(view.shape[3:]), FLOAT_ELEMENTS):
        parts = zip(np.split(view[block], params.groups, 5), params.matrices, strict=True)
        for (part, matrix), result in zip(parts, np.split(total[block], params.groups, 3), strict=True):
            add_fused_product(part.reshape(*part.shape[:3], len(matrix)), matrix, result)
    return (clamp_float(total, params.low, params.high),)


def transpose_conv(params: FloatTransposeConvParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """output = clamp(fma of filter[o] and the inputs that reach it, from bias[o] on).

    arrays: None, filter, input, bias or nothing.
    """
    _, filter_, x, *rest = arrays
    assert filter_ is not None
    assert x is not None
    total = _first(rest[0] if rest else None, (len(x), *params.output_shapes[0][1:]))
    for ky, kx, pixels, target in reversed(list(scatter(params.window, total))):
        part = np.array(target)
        add_fused_product(x[:, pixels[0], pixels[1]], filter_[:, ky, kx].T, part)
        target[...] = part
    return (clamp_float(total, params.low, params.high),)


# DEPTHWISE_CONV_2D --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DepthwiseParams:
    """What DEPTHWISE_CONV_2D needs to run. `order`: the taps' places among those of (row, column), first to last."""

    output_shapes: tuple[Shape]
    window: Window
    depth_multiplier: int
    order: tuple[int, ...]
    low: np.float32
    high: np.float32


def depthwise_conv_2d_params(node: Node) -> DepthwiseParams:
    """Checks and decodes DEPTHWISE_CONV_2D. With several outputs a channel, or many taps, it is a grouped CONV_2D."""
    _, filter_, window, multiplier, output_shape = decode_depthwise(node, "FLOAT32")
    order = np.arange(math.prod(filter_.shape[1:3]))
    if has_own_kernel(multiplier, len(order)):
        order = order.reshape(filter_.shape[1:3]).T.reshape(-1)
    return DepthwiseParams((output_shape,), window, multiplier, tuple(map(int, order)), *fused_float_range(node))


def depthwise_conv_2d(params: DepthwiseParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """output[n, y, x, o] = clamp(fma of filter[o] and patch[o // multiplier], from bias[o] on).

    arrays: input, filter, bias or nothing. Errors: InvalidInput, see _check_depthwise_input.
    """
    x, filter_, *rest = arrays
    assert x is not None
    assert filter_ is not None
    weights = filter_.reshape(-1, filter_.shape[3])
    if has_own_kernel(params.depth_multiplier, len(weights)):
        _check_depthwise_input(x, len(weights))
    total = _first(rest[0] if rest else None, (len(x), *params.output_shapes[0][1:]))

    def ordered(images: Array) -> Iterator[Array]:
        views = list(taps(pad(images, params.window, 0, np.float32), params.window))
        return (np.repeat(views[place], params.depth_multiplier, axis=3) for place in params.order)

    add_fused_taps(x, ordered, [weights[place] for place in params.order], total)
    return (clamp_float(total, params.low, params.high),)
