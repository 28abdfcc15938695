"""RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR of NHWC images.

Source: tflite/kernels/resize_bilinear.cc, resize_nearest_neighbor.cc; internal/reference/resize_bilinear.h and
resize_nearest_neighbor.h.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.arithmetic.flushing import add_flushed, flush_denormals
from refquant.arithmetic.multiplier import round_half_away
from refquant.kernels.checks import expect_counts, expect_same_type
from refquant.kernels.kernel import Node, Shape
from refquant.kernels.rows import in_row_blocks
from refquant.model.graph import Array

Indices = NDArray[np.int64]

ONE = 1 << 10  # integer positions are in steps of 1/1024 of a pixel
WEIGHT_ONE = 1 << 11  # or they are float32, and only the weights integers

# The types that are interpolated in integers -> the type that holds 2^20 times any code.
INTEGER_SUMS: Mapping[str, type[np.signedinteger[Any]]] = {"INT8": np.int32, "INT16": np.int64}


@dataclass(frozen=True, slots=True)
class Interpolation:
    """Along one axis: output i = input[lower[i]] * lower_weight[i] + input[upper[i]] * upper_weight[i].

    The weights are steps of 1/1024 (int8, int16) or of 1/2048, or float32 (float32, uint8).
    """

    lower: Indices
    upper: Indices
    lower_weight: NDArray[Any]
    upper_weight: NDArray[Any]


@dataclass(frozen=True, slots=True)
class ResizeBilinearParams:
    """RESIZE_BILINEAR."""

    align_corners: bool
    half_pixel_centers: bool
    rows: Interpolation
    columns: Interpolation
    type: str
    output_shapes: tuple[Shape]


@dataclass(frozen=True, slots=True)
class ResizeNearestNeighborParams:
    """RESIZE_NEAREST_NEIGHBOR: the input row of each output row, the input column of each output column."""

    align_corners: bool
    half_pixel_centers: bool
    rows: Indices
    columns: Indices
    output_shapes: tuple[Shape]


def _resize_geometry(node: Node) -> tuple[Shape, tuple[int, int], bool, bool]:
    """(input shape, (output height, output width), align_corners, half_pixel_centers), checked."""
    expect_counts(node, 2, 1)
    input, size = node.input(0), node.input(1)
    expect_same_type(node, input, node.outputs[0])
    if len(input.shape) != 4:
        raise node.invalid(f"the input must have 4 dimensions (NHWC), not shape {input.shape}")
    if size.type != "INT32" or size.shape != (2,):
        raise node.invalid(f"the size must be an INT32 tensor of shape (2,), not {size.type} of shape {size.shape}")
    height, width = (int(length) for length in node.value(1))
    if height <= 0 or width <= 0:
        raise node.invalid(f"the new size {height} x {width} must be positive")
    if 0 in input.shape[1:3]:
        raise node.unsupported(f"an input without pixels (shape {input.shape}) has no values to interpolate")
    align_corners = bool(node.options.get("align_corners", False))
    half_pixel_centers = bool(node.options.get("half_pixel_centers", False))
    return input.shape, (height, width), align_corners, half_pixel_centers


def resize_bilinear_params(node: Node) -> ResizeBilinearParams:
    """Decodes RESIZE_BILINEAR. Scales and zero points are not looked at: the codes are interpolated as they are.

    Errors: InvalidModel; UnsupportedModel where the kernel would read outside of the image.
    Source: tflite/kernels/resize_bilinear.cc, Prepare, ResizeOutputTensor.
    """
    (batch, height, width, depth), size, align_corners, half_pixel_centers = _resize_geometry(node)
    if align_corners and half_pixel_centers:
        raise node.invalid("align_corners and half_pixel_centers exclude each other")
    type = node.input(0).type
    interpolation = _integer_interpolation if type in INTEGER_SUMS else _float_interpolation
    rows, columns = (
        interpolation(before, after, align_corners, half_pixel_centers)
        for before, after in zip((height, width), size, strict=True)
    )
    if rows.lower.max() >= height or columns.lower.max() >= width:
        raise node.unsupported(
            f"TFLite's kernel reads outside of the image when it resizes {height} x {width} to {size[0]} x {size[1]}: "
            "its scale, rounded to 1/1024, is too large"
        )
    return ResizeBilinearParams(align_corners, half_pixel_centers, rows, columns, type, ((batch, *size, depth),))


def _integer_interpolation(before: int, after: int, align_corners: bool, half_pixel_centers: bool) -> Interpolation:
    """Positions in steps of 1/1024: i * scale, or (i + 1/2) * scale - 1/2, with scale = before / after rounded.

    Source: tflite/kernels/internal/reference/resize_bilinear.h, ComputeInterpolationValuesInteger.
    """
    if align_corners and after > 1:
        before_span, after_span = before - 1, after - 1
    else:
        before_span, after_span = before, after
    scale = (ONE * before_span + after_span // 2) // after_span
    position = np.arange(after, dtype=np.int64) * scale
    if half_pixel_centers:
        position = position + (scale // 2 - ONE // 2)
    lower = np.maximum(position // ONE, 0)
    upper = np.minimum((position + ONE - 1) // ONE, before - 1)  # position >= -1/2: never below 0
    weight = position - ONE * lower
    return Interpolation(lower, upper, ONE - weight, weight)


def _float_interpolation(before: int, after: int, align_corners: bool, half_pixel_centers: bool) -> Interpolation:
    """The same positions in float32, every operation rounded.

    Source: tflite/kernels/internal/reference/resize_bilinear.h, ComputeInterpolationValues.
    """
    scale = _float_scale(before, after, align_corners)
    position = np.arange(after).astype(np.float32)
    half = np.float32(0.5 if half_pixel_centers else 0)
    position = (position + half) * scale - half
    lower = np.maximum(np.floor(position).astype(np.int64), 0)
    upper = np.minimum(np.ceil(position).astype(np.int64), before - 1)
    weight = position - lower.astype(np.float32)
    return Interpolation(lower, upper, np.float32(1) - weight, weight)


def resize_bilinear_in_2048ths_params(node: Node) -> ResizeBilinearParams:
    """Decodes RESIZE_BILINEAR on int8 or uint8: float32 positions, weights rounded to 1/2048, half-way values to even.

    Errors: InvalidModel. Source: google/XNNPACK, src/indirection.c, xnn_indirection_init_resize_bilinear2d_hwc_q11.
    """
    return _with_positions_in_the_image(node, lambda weight: np.rint(weight * np.float32(WEIGHT_ONE)), WEIGHT_ONE)


def resize_bilinear_within_params(node: Node) -> ResizeBilinearParams:
    """Decodes RESIZE_BILINEAR on float32: float32 positions and weights. Errors: InvalidModel.

    Source: google/XNNPACK, src/indirection.c, xnn_indirection_init_resize_bilinear2d_hwc_f32.
    """
    return _with_positions_in_the_image(node, np.asarray, np.float32(1))


def _with_positions_in_the_image(
    node: Node, rounded: Callable[[NDArray[np.float32]], NDArray[Any]], one: int | np.float32
) -> ResizeBilinearParams:
    """Positions clamped into the image, i * scale, or i * scale + (scale / 2 - 1/2) with half_pixel_centers."""
    (batch, height, width, depth), size, align_corners, half_pixel_centers = _resize_geometry(node)
    axes = []
    for before, after in zip((height, width), size, strict=True):
        scale, half = _float_scale(before, after, align_corners), np.float32(0.5)
        position = np.arange(after).astype(np.float32) * scale
        if half_pixel_centers:
            position = np.maximum(position + (half * scale - half), np.float32(0))
        position = np.minimum(position, np.float32(before - 1))
        lower = position.astype(np.int64)
        weight = rounded(position - lower.astype(np.float32))
        axes.append(Interpolation(lower, np.minimum(lower + 1, before - 1), one - weight, weight))
    rows, columns = axes
    shape = (batch, *size, depth)
    return ResizeBilinearParams(align_corners, half_pixel_centers, rows, columns, node.input(0).type, (shape,))


def _float_scale(before: int, after: int, align_corners: bool) -> np.float32:
    """Input pixels per output pixel in float32; between the corner pixels' centers with align_corners."""
    if align_corners and after > 1:
        return np.float32(before - 1) / np.float32(after - 1)
    return np.float32(before) / np.float32(after)


def resize_bilinear(params: ResizeBilinearParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Four-tap sum with integer weights, divided by 2^20 and rounded half away from zero.

    arrays: input int8 or int16 (..., H, W, C), size None. Returns the same type, (..., height, width, C).
    Source: tflite/kernels/internal/reference/resize_bilinear.h, ResizeBilinearInteger.
    """

    def images(x: Array) -> Array:
        # The sum separates: rows first, then columns.
        x = _mix(_mix(x.astype(INTEGER_SUMS[params.type]), -3, params.rows), -2, params.columns)
        x -= x < 0
        x += 1 << 19
        x >>= 20
        return x

    return (_image_by_image(params, arrays, images),)


def resize_bilinear_by_shift(params: ResizeBilinearParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Four-tap sum with weights of 1/2048 along each axis, shifted right by 22 bits and rounded half up.

    arrays: input int8 or uint8 (..., H, W, C), size None. Returns the same type, (..., height, width, C).
    Source: google/XNNPACK, src/s8-ibilinear/, src/u8-ibilinear/.
    """

    def images(x: Array) -> Array:
        x = _mix(_mix(x.astype(np.int32), -3, params.rows), -2, params.columns)
        x += 1 << 21
        x >>= 22
        return x

    return (_image_by_image(params, arrays, images),)


def resize_bilinear_by_differences(params: ResizeBilinearParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """a + (b - a) * weight along the columns, then along the rows, in float32 without denormal numbers.

    arrays: input float32 (..., H, W, C), size None. Source: google/XNNPACK, src/f32-ibilinear/.
    """

    def images(x: Array) -> Array:
        return _towards(_towards(flush_denormals(x), -2, params.columns), -3, params.rows)

    with np.errstate(all="ignore"):
        return (_image_by_image(params, arrays, images),)


def _towards(x: Array, axis: int, taps: Interpolation) -> Array:
    first, second = x.take(taps.lower, axis), x.take(taps.upper, axis)
    return add_flushed(first, flush_denormals(add_flushed(second, -first) * _along(axis, taps.upper_weight)))


def _mix(x: Array, axis: int, taps: Interpolation) -> Array:
    """The weighted sum of two elements along one axis, for each output position; in x's dtype."""
    lower, upper = x.take(taps.lower, axis), x.take(taps.upper, axis)
    lower *= _along(axis, taps.lower_weight).astype(x.dtype)
    upper *= _along(axis, taps.upper_weight).astype(x.dtype)
    lower += upper
    return lower


def _along(axis: int, weights: NDArray[Any]) -> NDArray[Any]:
    """A vector of weights, shaped to multiply along `axis` (negative)."""
    return weights.reshape(-1, *(1,) * (-axis - 1))


def _image_by_image(
    params: ResizeBilinearParams, arrays: Sequence[Array | None], compute: Callable[[Array], Array]
) -> Array:
    x = arrays[0]
    assert x is not None
    return in_row_blocks(x, 3, np.empty((*x.shape[:-3], *params.output_shapes[0][1:]), x.dtype), compute)


def float_resize_bilinear(params: ResizeBilinearParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """(v00*h0)*w0 + (v10*h1)*w0 + (v01*h0)*w1 + (v11*h1)*w1 in float32; for uint8 plus 0.5, then truncated.

    arrays: input float32 or uint8 (..., H, W, C), size None. Returns the same type, (..., height, width, C).
    Source: tflite/kernels/internal/reference/resize_bilinear.h, ResizeBilinear.
    """
    rows, columns = params.rows, params.columns
    left, right = _along(-2, columns.lower_weight), _along(-2, columns.upper_weight)
    # The kernel adds a rounding offset to floats too: 0, which turns -0.0 into 0.0.
    offset = np.float32(0.5 if params.type == "UINT8" else 0)

    def images(x: Array) -> Array:
        top = x.take(rows.lower, -3) * _along(-3, rows.lower_weight)
        bottom = x.take(rows.upper, -3) * _along(-3, rows.upper_weight)
        total: Array = top.take(columns.lower, -2)
        total *= left
        for corner, taps, weight in (
            (bottom, columns.lower, left),
            (top, columns.upper, right),
            (bottom, columns.upper, right),
        ):
            value = corner.take(taps, -2)
            value *= weight
            total += value
        total += offset
        return total

    with np.errstate(all="ignore"):
        return (_image_by_image(params, arrays, images),)


def resize_bilinear_by_corners(params: ResizeBilinearParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """0 + v00*(h0*w0) + v01*(h0*w1) + v10*(h1*w0) + v11*(h1*w1) in float32; for uint8 plus 0.5, then truncated.

    As float_resize_bilinear, but the two weights of a corner meet first, and the corners come row by row; float32
    images that grow twice have a form of their own.
    arrays: input uint8 or float32 (..., H, W, C), size None. Returns the same type (..., height, width, C).
    Source: tflite/kernels/internal/optimized/resize_bilinear.h, ResizeBilinearGeneric, ResizeBilinear2x2,
    ResizeBilinearGenericSmallChannel; the form of the last for images that grow eight times, ResizeBilinear888Uint8,
    computes the same, exactly.
    """
    rows, columns = params.rows, params.columns
    corners = [
        (row, column, (h[:, np.newaxis] * w)[..., np.newaxis])
        for row, h in ((rows.lower, rows.lower_weight), (rows.upper, rows.upper_weight))
        for column, w in ((columns.lower, columns.lower_weight), (columns.upper, columns.upper_weight))
    ]

    def images(x: Array) -> Array:
        total = np.zeros((*x.shape[:-3], *params.output_shapes[0][1:]), np.float32)
        for row, column, weight in corners:
            total += x.take(row, -3).take(column, -2) * weight
        return total + np.float32(0.5) if params.type == "UINT8" else total

    x = arrays[0]
    assert x is not None
    height, width = x.shape[-3:-1]
    plain = not params.align_corners and not params.half_pixel_centers
    twice = plain and params.type == "FLOAT32" and params.output_shapes[0][1:3] == (2 * height, 2 * width)
    with np.errstate(all="ignore"):
        return (_image_by_image(params, arrays, _twice_the_size if twice else images),)


def _twice_the_size(x: Array) -> Array:
    """Each pixel, and halfway to its neighbours on the right, below, and of both; the last ones are their own."""
    half = np.float32(0.5)
    right = x.take(np.minimum(np.arange(x.shape[-2]) + 1, x.shape[-2] - 1), -2)
    below = np.minimum(np.arange(x.shape[-3]) + 1, x.shape[-3] - 1)
    to_the_right = (x + right) * half
    down = (x + x.take(below, -3)) * half
    across = (down + (right + right.take(below, -3)) * half) * half
    output = np.empty((*x.shape[:-3], 2 * x.shape[-3], 2 * x.shape[-2], x.shape[-1]), np.float32)
    output[..., ::2, ::2, :], output[..., ::2, 1::2, :] = x, to_the_right
    output[..., 1::2, ::2, :], output[..., 1::2, 1::2, :] = down, across
    return output


def resize_nearest_neighbor_params(node: Node) -> ResizeNearestNeighborParams:
    """Decodes RESIZE_NEAREST_NEIGHBOR. Scales and zero points are not looked at: the codes are copied.

    Errors: InvalidModel. Source: tflite/kernels/resize_nearest_neighbor.cc, Prepare, ResizeOutputTensor.
    """
    (batch, height, width, depth), size, align_corners, half_pixel_centers = _resize_geometry(node)
    rows, columns = (
        _nearest(before, after, align_corners, half_pixel_centers)
        for before, after in zip((height, width), size, strict=True)
    )
    return ResizeNearestNeighborParams(align_corners, half_pixel_centers, rows, columns, ((batch, *size, depth),))


def resize_nearest_neighbor_in_16_bits_params(node: Node) -> ResizeNearestNeighborParams:
    """As resize_nearest_neighbor_params; without both options min((i * scale) >> 16, before - 1).

    scale = before * 2^16 / after + 1, an integer. Errors: InvalidModel.
    Source: tflite/kernels/internal/optimized/optimized_ops.h, ResizeNearestNeighbor.
    """
    params = resize_nearest_neighbor_params(node)
    if params.align_corners or params.half_pixel_centers:
        return params
    sizes = zip(node.input(0).shape[1:3], params.output_shapes[0][1:3], strict=True)
    rows, columns = (
        np.minimum(np.arange(after) * ((before << 16) // after + 1) >> 16, before - 1) for before, after in sizes
    )
    return replace(params, rows=rows, columns=columns)


def _nearest(before: int, after: int, align_corners: bool, half_pixel_centers: bool) -> Indices:
    """floor(i * scale), with half_pixel_centers of i + 1/2, with align_corners rounded half away instead of floor.

    Source: tflite/kernels/internal/reference/resize_nearest_neighbor.h, GetNearestNeighbor.
    """
    position = np.arange(after).astype(np.float32) + np.float32(0.5 if half_pixel_centers else 0)
    position = position * _float_scale(before, after, align_corners)
    nearest = round_half_away(position) if align_corners else np.floor(position)
    return np.minimum(nearest.astype(np.int64), before - 1)


def resize_nearest_neighbor(params: ResizeNearestNeighborParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """output[y, x] = input[rows[y], columns[x]]. arrays: input (..., H, W, C) of any type, size None."""
    x = arrays[0]
    assert x is not None
    return (x.take(params.rows, -3).take(params.columns, -2),)
