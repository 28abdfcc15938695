"""AVERAGE_POOL_2D, MAX_POOL_2D and L2_POOL_2D. Images are NHWC; pixels outside the image take no part.

The codes of input and output mean the same reals: the kernels do not requantize, and do not look whether they should.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from refquant.kernels.activation import clamp_float, clamp_sum, fused_float_range, fused_range
from refquant.kernels.checks import expect_counts, expect_same_type
from refquant.kernels.kernel import Node, Shape
from refquant.kernels.padding import Axis, Window, decode_window, pad, positive_option, tap_counts, taps
from refquant.model.graph import Array


@dataclass(frozen=True, slots=True)
class PoolParams:
    """What a pool (int8, uint8, int16) needs to run."""

    output_shapes: tuple[Shape]
    window: Window
    low: int
    high: int


def pool_params(node: Node) -> PoolParams:
    """Checks and decodes AVERAGE_POOL_2D or MAX_POOL_2D with an input (N, H, W, C) of int8, uint8 or int16.

    Errors: InvalidModel for what TFLite's Prepare rejects, and for windows of no pixels or beyond the image, which it
    takes for an empty output. Source: tflite/kernels/pooling.cc, GenericPrepare.
    """
    window, output_shape = _decode(node)
    return PoolParams((output_shape,), window, *fused_range(node))


def _decode(node: Node) -> tuple[Window, Shape]:
    expect_counts(node, 1, 1)
    input_ = node.input(0)
    if len(input_.shape) != 4:
        raise node.invalid(f"input '{input_.name}' has shape {list(input_.shape)}; it must have 4 dimensions")
    expect_same_type(node, input_, node.outputs[0])
    n, height, width, channels = input_.shape
    filter_size = positive_option(node, "filter_height", 0), positive_option(node, "filter_width", 0)
    window = decode_window(node, (height, width), filter_size)
    return window, (n, window.height.output, window.width.output, channels)


def average_pool_2d(params: PoolParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """output = clamp(round(sum / count)), half-way values away from zero, over the taps inside the image.

    arrays: input. Source: tflite/kernels/internal/reference/integer_ops/pooling.h and reference/pooling.h, AveragePool.
    """
    x = arrays[0]
    assert x is not None
    largest = (np.iinfo(x.dtype).max + 1) * params.window.height.filter * params.window.width.filter
    total = _separable(np.add, pad(x, params.window, 0, np.int16 if largest < 2**15 else np.int32), params.window)
    count = tap_counts(params.window)[..., np.newaxis].astype(np.float64)
    # (|sum| + count / 2) / count in whole numbers: the quotient of integers below 2^31 never rounds up to the next one.
    magnitude = np.floor((np.abs(total) + np.floor(count / 2)) / count)
    average = np.where(total > 0, magnitude, -magnitude)
    return (np.minimum(np.maximum(average, params.low), params.high).astype(x.dtype),)


def max_pool_2d(params: PoolParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """output = clamp(the largest input over the taps inside the image).

    arrays: input. Source: tflite/kernels/internal/reference/integer_ops/pooling.h and reference/pooling.h, MaxPool.
    """
    x = arrays[0]
    assert x is not None
    lowest, (low, high) = np.iinfo(x.dtype).min, np.array([params.low, params.high]).astype(x.dtype)
    largest = _separable(np.maximum, pad(x, params.window, lowest, x.dtype), params.window)
    return (np.minimum(np.maximum(largest, low), high),)


def _separable(combine: Callable[[Array, Array], Array], padded: Array, window: Window) -> Array:
    """What `combine` makes of each window: of its rows first, then of its columns; the order must not matter."""
    rows = reduce(combine, (padded[:, start] for start in _slices(window.height)))
    return reduce(combine, (rows[:, :, start] for start in _slices(window.width)))


def _slices(axis: Axis) -> Iterable[slice]:
    span = (axis.output - 1) * axis.stride + 1 if axis.output else 0
    return (slice(tap, tap + span, axis.stride) for tap in range(axis.filter))


@dataclass(frozen=True, slots=True)
class FloatPoolParams:
    """What a pool (float32) needs to run."""

    output_shapes: tuple[Shape]
    window: Window
    low: np.float32
    high: np.float32


def pool_float_params(node: Node) -> FloatPoolParams:
    """Checks and decodes AVERAGE_POOL_2D or MAX_POOL_2D with an input of float32; see pool_params."""
    window, output_shape = _decode(node)
    return FloatPoolParams((output_shape,), window, *fused_float_range(node))


def average_pool_2d_float(params: FloatPoolParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """output = clamp(sum / count), summed in the order (kh, kw) over the taps inside the image.

    arrays: input. Source: tflite/kernels/internal/reference/pooling.h, AveragePool.
    """
    x = arrays[0]
    assert x is not None
    total = np.zeros((len(x), *params.output_shapes[0][1:]), np.float32)
    count = tap_counts(params.window)[..., np.newaxis].astype(np.float32)
    with np.errstate(all="ignore"):
        for tap in taps(pad(x, params.window, 0, np.float32), params.window):
            total += tap
        total /= count
    return (clamp_sum(total, params.low, params.high),)


def l2_pool_2d_float(params: FloatPoolParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """output = clamp(sqrt(sum of squares / count)), summed in the order (kh, kw) over the taps inside the image.

    arrays: input. Source: tflite/kernels/internal/reference/pooling.h, L2Pool.
    """
    x = arrays[0]
    assert x is not None
    total = np.zeros((len(x), *params.output_shapes[0][1:]), np.float32)
    count = tap_counts(params.window)[..., np.newaxis].astype(np.float32)
    with np.errstate(all="ignore"):
        for tap in taps(pad(x, params.window, 0, np.float32), params.window):
            total += tap * tap
        return (clamp_sum(np.sqrt(total / count), params.low, params.high),)


def l2_pool_2d_by_inverse(params: FloatPoolParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """As l2_pool_2d_float, but the sum is multiplied with 1 / count.

    Source: tflite/kernels/internal/optimized/optimized_ops.h, L2Pool.
    """
    x = arrays[0]
    assert x is not None
    total = np.zeros((len(x), *params.output_shapes[0][1:]), np.float32)
    inverse = np.float32(1) / tap_counts(params.window)[..., np.newaxis].astype(np.float32)
    with np.errstate(all="ignore"):
        for tap in taps(pad(x, params.window, 0, np.float32), params.window):
            total += tap * tap
        return (clamp_sum(np.sqrt(total * inverse), params.low, params.high),)


def max_pool_2d_float(params: FloatPoolParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """output = clamp(the largest input, or the lowest float32, over the taps inside the image).

    The first of equal zeros counts, and a NaN does not. arrays: input.
    Source: tflite/kernels/internal/reference/pooling.h, MaxPool.
    """
    x = arrays[0]
    assert x is not None
    lowest = np.finfo(np.float32).min
    largest = np.full((len(x), *params.output_shapes[0][1:]), lowest, np.float32)
    for tap in taps(pad(x, params.window, lowest, np.float32), params.window):
        np.copyto(largest, tap, where=largest < tap)
    return (clamp_float(largest, params.low, params.high),)
