"""DEPTHWISE_CONV_2D: each input channel meets its own `multiplier` filters. Images are NHWC.

int8: accumulator = sum over taps of filter * (input - input zero_point) + bias, in int32; pixels outside the image
contribute 0, that is, they hold the input's zero point. Filters are symmetric: their zero points are not read.
uint8: the same with (filter - filter zero_point). int16: filters are int8, no tensor has a zero point; see int16.py.
float32: the products are summed in the order (kh, kw), then the bias is added.

The padded image is cut into phases, every stride-th pixel from another start, so that what one tap reads is one
contiguous run an image: rows of a phase lie behind each other, and a run goes on over the frame between them. What is
computed there is not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from refquant.kernels.activation import fused_float_range
from refquant.kernels.convolution import (
    MAGNITUDES,
    bias_or_zero,
    check_bias,
    check_finite,
    check_operands,
    quantized_stage,
)
from refquant.kernels.int16 import int16_stage
from refquant.kernels.kernel import Node, Operand, Shape
from refquant.kernels.output_stage import Finish, OutputStage, finish, prepare_finish
from refquant.kernels.padding import Axis, Window, decode_window
from refquant.kernels.scratch import scratch
from refquant.kernels.uint8 import OFFSET, int8_codes, uint8_stage
from refquant.model.graph import Array

MAX_OPTION = 2**15 - 1
INT16_MAX = 2**15 - 1

# The type of the input's codes, or of a group's sum -> the type in which it is summed.
WIDER: Mapping[str, type[np.signedinteger[Any]]] = {"int8": np.int16, "int16": np.int32, "int32": np.int64}
# Elements of a run, and of the runs of several images that are worked on at once: long enough that the calls cost
# little, short enough for the caches. TAP_ELEMENTS: those of all taps, each repeated along a run.
RUN_ELEMENTS = 1 << 15
TAP_ELEMENTS = 1 << 20
BLOCK_ELEMENTS = 1 << 18


@dataclass(frozen=True, slots=True)
class DepthwiseParams:
    """What DEPTHWISE_CONV_2D (int8, uint8, int16) needs to run. `weights` is None while filter or bias is no constant.

    `codes`: the type of the input's codes, uint8 as int8. `input_zero_point`: of those codes. `filter_zero_point`: what
    is taken off the filter; 0 unless it is uint8.
    """

    output_shapes: tuple[Shape]
    window: Window
    depth_multiplier: int
    codes: str
    input_zero_point: int
    filter_zero_point: int
    stage: OutputStage
    runs: Runs
    weights: DepthwiseWeights | None


@dataclass(frozen=True, slots=True)
class Runs:
    """How the padded image is laid out in phases, and where each tap starts to read.

    `phases`: (rows, columns of the image, rows, columns of the phase where they lie) of each phase that a tap reads;
    `length`: rows and pixels a row of a phase. `places`: (phase, element) at which the first output finds each tap, in
    the order (kh, kw). `row`: elements from one row to the next; `rows`: rows of the output that a run covers.
    """

    phases: tuple[tuple[slice, slice, slice, slice], ...]
    length: tuple[int, int]
    places: tuple[tuple[int, int], ...]
    row: int
    rows: int


@dataclass(frozen=True, slots=True)
class DepthwiseWeights:
    """The taps as they meet a run, (kh * kw, elements of a run), and the groups whose sums stay within their type.

    The input's zero point is part of the constant that meets the sums: bias - zero_point * sum of the filter.
    """

    groups: tuple[tuple[int, ...], ...]
    taps: Array
    finish: Finish


def depthwise_conv_2d_params(node: Node, requantizer_name: str = "") -> DepthwiseParams:
    """Checks and decodes DEPTHWISE_CONV_2D: input (N, H, W, C), filter (1, kh, kw, O) int8, bias (O,) int32 or none.

    The depth multiplier is O / C; the option depth_multiplier is not read. requantizer_name: see output_stage.
    Errors: InvalidModel for what TFLite's Prepare rejects; UnsupportedModel for other types.
    Source: tflite/kernels/depthwise_conv.cc, Prepare.
    """
    input_, filter_, window, multiplier, output_shape = decode_depthwise(node, "INT32")
    zero_point, stage = quantized_stage(node, input_, filter_, output_shape[3], requantizer_name)
    runs = runs_of(window, output_shape[3])
    return _with_weights(
        node, DepthwiseParams((output_shape,), window, multiplier, "INT8", zero_point, 0, stage, runs, None)
    )


def depthwise_conv_2d_uint8_params(node: Node) -> DepthwiseParams:
    """Checks and decodes DEPTHWISE_CONV_2D with input and filter in uint8, one scale each: see the params of int8.

    Source: tflite/kernels/depthwise_conv.cc, Prepare.
    """
    input_, filter_, window, multiplier, output_shape = decode_depthwise(node, "INT32")
    zero_point, filter_zero_point, stage = uint8_stage(node, input_, filter_, node.optional(2))
    runs, shift = runs_of(window, output_shape[3]), zero_point - OFFSET
    return _with_weights(
        node, DepthwiseParams((output_shape,), window, multiplier, "INT8", shift, filter_zero_point, stage, runs, None)
    )


def depthwise_conv_2d_int16_params(node: Node) -> DepthwiseParams:
    """Checks and decodes DEPTHWISE_CONV_2D with an input in int16, a filter in int8 and a bias in int64 or none.

    Shapes and errors as in depthwise_conv_2d_params. The op has no option for an int32 bias.
    Source: tflite/kernels/depthwise_conv.cc, Prepare, EvalQuantizedPerChannel16x8.
    """
    input_, filter_, window, multiplier, output_shape = decode_depthwise(node, "INT64")
    stage = int16_stage(node, input_, filter_, output_shape[3], "INT64")
    runs = runs_of(window, output_shape[3])
    return _with_weights(node, DepthwiseParams((output_shape,), window, multiplier, "INT16", 0, 0, stage, runs, None))


def _with_weights(node: Node, params: DepthwiseParams) -> DepthwiseParams:
    """The params with weights if filter and bias are constants."""
    filter_, bias = node.input(1).value, node.optional(2)
    if filter_ is None or (bias is not None and bias.value is None):
        return params
    return replace(params, weights=depthwise_weights(params, filter_, None if bias is None else bias.value))


def decode_depthwise(node: Node, bias_type: str) -> tuple[Operand, Operand, Window, int, Shape]:
    """(input, filter, window, depth multiplier, output shape)."""
    if len(node.inputs) not in (2, 3):
        raise node.invalid(f"has {len(node.inputs)} inputs; it takes input, filter and maybe bias")
    input_, filter_ = node.input(0), node.input(1)
    check_operands(node, input_, filter_)
    (n, height, width, depth), (one, kh, kw, channels) = input_.shape, filter_.shape
    if one != 1 or channels % depth:
        raise node.invalid(
            f"filter '{filter_.name}' has shape {list(filter_.shape)}; with {depth} input channels it must be "
            f"[1, height, width, a multiple of {depth}]"
        )
    if len(node.inputs) == 3:
        bias = node.input(2)
        check_bias(node, bias, bias_type, channels)
        if len(bias.shape) != 1:
            raise node.invalid(f"bias '{bias.name}' has shape {list(bias.shape)}; it must have 1 dimension")
    window = decode_window(node, (height, width), (kh, kw))
    for axis in (window.height, window.width):
        if max(axis.stride, axis.dilation) > MAX_OPTION:
            raise node.invalid(f"strides and dilations must be at most {MAX_OPTION}")
    output_shape = n, window.height.output, window.width.output, channels
    optional = bias_type in node.arithmetic["DEPTHWISE_CONV_2D.optional_biases"] or 0 in output_shape
    if len(node.inputs) == 2 and not optional:
        raise node.unsupported("there is no bias: TFLite's optimized kernel reads one and ends the process. Add zeros")
    return input_, filter_, window, channels // depth, output_shape


def depthwise_weights(params: DepthwiseParams, filter_: Array, bias: Array | None) -> DepthwiseWeights:
    """filter (1, kh, kw, O) of codes and bias (O,) integers or None, ready to run."""
    work, code_magnitude = WIDER[params.codes.lower()], MAGNITUDES[params.codes]
    taps = filter_.reshape(-1, filter_.shape[3]).astype(np.int16) - np.int16(params.filter_zero_point)
    constant = bias_or_zero(bias, taps.shape[1]) - params.input_zero_point * taps.sum(axis=0, dtype=np.int64)
    magnitude = int(np.abs(taps.astype(np.int64)).sum(axis=0).max(initial=0))
    finishing = prepare_finish(params.stage, constant, code_magnitude * magnitude)
    groups = groups_within(taps, code_magnitude, int(np.iinfo(work).max))
    return DepthwiseWeights(groups, along_runs(taps.astype(work), params.runs), finishing)


def int16_groups(taps: Array, magnitude: int) -> tuple[tuple[int, ...], ...]:
    """The taps in groups whose sums stay within int16: see groups_within."""
    return groups_within(taps, magnitude, INT16_MAX)


def groups_within(taps: Array, magnitude: int, most: int) -> tuple[tuple[int, ...], ...]:
    """The taps in groups, largest first, each with magnitude * sum of |filter| <= most in every channel.

    magnitude: no input is larger; with no tap alone may it exceed `most`.
    """
    magnitudes = magnitude * np.abs(taps.astype(np.int64))
    groups: list[list[int]] = []
    sums = np.zeros(taps.shape, np.int64)
    for tap in np.argsort(-magnitudes.sum(axis=1), kind="stable").tolist():
        fits = (sums + magnitudes[tap]).max(axis=1, initial=0) <= most
        group = int(fits.argmax())  # the first one; there is always an empty one
        if group == len(groups):
            groups.append([])
        groups[group].append(tap)
        sums[group] += magnitudes[tap]
    return tuple(map(tuple, groups))


def depthwise_conv_2d(params: DepthwiseParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """clamp(requantize(sum of filter[o] * (patch[o // multiplier] - zero_point) + bias[o]) + output zero_point).

    arrays: input, filter, bias or nothing.
    Source: tflite/kernels/internal/reference/integer_ops/depthwise_conv.h, DepthwiseConvPerChannel.
    """
    x, filter_, *rest = arrays
    assert x is not None
    assert filter_ is not None
    weights = params.weights
    if weights is None:
        bias = rest[0] if rest else None
        weights = depthwise_weights(params, filter_, bias)
    output = np.empty((len(x), *params.output_shapes[0][1:]), params.stage.dtype)
    x = np.repeat(x, params.depth_multiplier, axis=3) if params.depth_multiplier > 1 else x
    for runs, target in in_runs(x, params.runs, params.input_zero_point, WIDER[x.dtype.name], output):
        sums = sum_in_groups(runs, weights.taps[:, : runs[0].shape[1]], weights.groups)
        if weights.finish.spread is None:  # narrowing tells overflows: the frame, which is not read, must not be in it
            sums = np.ascontiguousarray(without_frame(sums, target))
            finished = np.empty(target.shape, output.dtype)
            finish(weights.finish, sums, finished)
            target[...] = finished
            continue
        finished = scratch("depthwise.finished", sums.shape, output.dtype)
        finish(weights.finish, sums, finished)
        target[...] = without_frame(finished, target)
    return (output,)


def depthwise_conv_2d_uint8(params: DepthwiseParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """As depthwise_conv_2d, with (filter[o] - its zero_point). arrays: input and filter uint8, bias int32 or nothing.

    Source: tflite/kernels/internal/reference/depthwiseconv_uint8.h, DepthwiseConv.
    """
    return depthwise_conv_2d(params, (int8_codes(arrays[0]), *arrays[1:]))


def sum_in_groups(runs: list[Array], taps: Array, groups: tuple[tuple[int, ...], ...]) -> Array:
    """The sum over taps of filter * run. That of one group fits the runs' type, int16 or int32, that of all the next.

    The result is scratch: it holds until the next call.
    """
    shape, work = runs[0].shape, runs[0].dtype
    part, product = (scratch(f"depthwise.{name}", shape, work) for name in ("part", "product"))
    total, addend = (scratch(f"depthwise.{name}", shape, WIDER[work.name]) for name in ("total", "addend"))
    for number, (first, *others) in enumerate(groups):
        np.multiply(runs[first], taps[first], out=part)
        for tap in others:
            np.multiply(runs[tap], taps[tap], out=product)
            np.add(part, product, out=part)
        if len(groups) == 1:
            return part
        if number == 0:
            np.copyto(total, part)
        else:
            np.copyto(addend, part)
            np.add(total, addend, out=total)
    return total


def runs_of(window: Window, channels: int) -> Runs:
    """The layout for a window over images of so many channels."""
    h, w = window.height, window.width
    used = [sorted({tap * axis.dilation % axis.stride for tap in range(axis.filter)}) for axis in (h, w)]
    width = _row_length(w, used[1])
    length = h.output + _reach(h) + _reach(w) // width + 1, width  # with rows to spare for the run of the last tap
    rows = [_phase_slices(h, phase, length[0]) for phase in used[0]]
    columns = [_phase_slices(w, phase, width) for phase in used[1]]
    phases = tuple((r[0], c[0], r[1], c[1]) for r in rows for c in columns)
    places = []
    for ky in range(h.filter):
        y, phase_y = divmod(ky * h.dilation, h.stride)
        for kx in range(w.filter):
            x, phase_x = divmod(kx * w.dilation, w.stride)
            phase = used[0].index(phase_y) * len(columns) + used[1].index(phase_x)
            places.append((phase, (y * width + x) * channels))
    most = min(RUN_ELEMENTS, TAP_ELEMENTS // len(places))
    return Runs(phases, length, tuple(places), width * channels, max(1, min(h.output, most // (width * channels))))


def _reach(axis: Axis) -> int:
    """How many pixels of a phase the last tap lies behind the first one."""
    return (axis.filter - 1) * axis.dilation // axis.stride


def _row_length(axis: Axis, used: list[int]) -> int:
    """The pixels from one row of a phase to the next: the frame before a row may serve as the one behind the last."""
    needed = axis.output + _reach(axis)
    places = [_phase_slices(axis, phase, needed)[1] for phase in used]
    starts, stops = [int(place.start) for place in places], [int(place.stop) for place in places]
    return max(1, needed - min(starts), *stops)


def along_runs(taps: Array, runs: Runs) -> Array:
    """taps (kh * kw, channels), each repeated along a run: (kh * kw, elements)."""
    return np.tile(taps, runs.rows * runs.row // taps.shape[1])


def in_runs(x: Array, runs: Runs, fill: int, dtype: DTypeLike, output: Array) -> Iterator[tuple[list[Array], Array]]:
    """(a run a tap, the part of the output), block after block.

    A run is (images, rows * width * channels) of `dtype`, with a width that may exceed the output's.
    x: (N, H, W, channels); fill: what the pixels outside the image hold.
    """
    n, height = output.shape[:2]
    if not output.size:
        return
    images = max(1, BLOCK_ELEMENTS // (runs.row * runs.rows))
    for first in range(0, n, images):
        phases = _phases(x[first : first + images], runs, fill, dtype)
        for y in range(0, height, runs.rows):
            start, size = y * runs.row, min(runs.rows, height - y) * runs.row
            taps = [phases[phase][:, start + place : start + place + size] for phase, place in runs.places]
            yield taps, output[first : first + images, y : y + runs.rows]


def without_frame(run: Array, target: Array) -> Array:
    """A run of results in the shape of its part of the output: (images, rows, width, channels)."""
    images, rows, width, channels = target.shape
    return run.reshape(images, rows, -1, channels)[:, :, :width]


def _phases(x: Array, runs: Runs, fill: int, dtype: DTypeLike) -> Array:
    """(phases, N, elements of a phase) with the pixels of x (N, H, W, channels), and `fill` around them."""
    phases = scratch("depthwise.phases", (len(runs.phases), len(x), *runs.length, x.shape[3]), dtype)
    phases.fill(fill)
    for phase, (rows, columns, into_rows, into_columns) in zip(phases, runs.phases, strict=True):
        phase[:, into_rows, into_columns] = x[:, rows, columns]
    return phases.reshape(len(runs.phases), len(x), -1)


def _phase_slices(axis: Axis, phase: int, length: int) -> tuple[slice, slice]:
    """(pixels of the image, their places in the phase): place i holds pixel i * stride + phase - before."""
    offset = phase - axis.before
    first = max(0, -(offset // axis.stride))
    stop = max(first, min(length, (axis.input - 1 - offset) // axis.stride + 1))
    start = first * axis.stride + offset
    return slice(start, start + (stop - first) * axis.stride, axis.stride), slice(first, stop)


PART_ELEMENTS = 4832  # of a row of float32 outputs that the optimized kernel sums at once


@dataclass(frozen=True, slots=True)
class FloatDepthwiseParams:
    """What DEPTHWISE_CONV_2D (float32) needs to run. `taps` is None while the filter is no constant; see float_taps.

    `bias_first`: the sum begins with the bias, as in the optimized kernel.
    """

    output_shapes: tuple[Shape]
    window: Window
    depth_multiplier: int
    runs: Runs
    low: np.float32
    high: np.float32
    bias_first: bool
    taps: Array | None


def depthwise_conv_2d_float_params(node: Node) -> FloatDepthwiseParams:
    """Checks and decodes DEPTHWISE_CONV_2D with input, filter and bias in float32; see depthwise_conv_2d_params."""
    _, filter_, window, multiplier, output_shape = decode_depthwise(node, "FLOAT32")
    runs = runs_of(window, output_shape[3])
    taps = None if filter_.value is None else float_taps(filter_.value, runs)
    bias_first = node.arithmetic["DEPTHWISE_CONV_2D.bias_first"]
    return FloatDepthwiseParams((output_shape,), window, multiplier, runs, *fused_float_range(node), bias_first, taps)


def float_taps(filter_: Array, runs: Runs) -> Array:
    """filter (1, kh, kw, O) float32 as it meets a run: (kh * kw, elements of a run)."""
    check_finite(filter_)
    return along_runs(filter_.reshape(-1, filter_.shape[3]), runs)


def depthwise_conv_2d_float(params: FloatDepthwiseParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """output[n, y, x, o] = clamp(sum of filter[o] * patch[o // multiplier] + bias[o]), summed in the order (kh, kw).

    arrays: input, filter, bias or nothing.
    Source: tflite/kernels/internal/reference/depthwiseconv_float.h, DepthwiseConv.
    """
    x, filter_, *rest = arrays
    assert x is not None
    assert filter_ is not None
    taps = float_taps(filter_, params.runs) if params.taps is None else params.taps
    bias = rest[0] if rest else None
    addend = None if bias is None else along_runs(bias.reshape(1, -1), params.runs)[0]
    output = np.empty((len(x), *params.output_shapes[0][1:]), np.float32)
    x = np.repeat(x, params.depth_multiplier, axis=3) if params.depth_multiplier > 1 else x
    for runs, target in in_runs(x, params.runs, 0, np.float32, output):
        size = runs[0].shape[1]
        first = addend[:size] if addend is not None and params.bias_first else None
        total = _sum_in_order(runs, taps[:, :size], first)
        if addend is not None and not params.bias_first:
            total += addend[:size]
        np.clip(total, params.low, params.high, out=total)
        target[...] = without_frame(total, target)
    if params.bias_first:
        _clamp_nans(output, params.high)
    return (output,)


def _clamp_nans(output: Array, high: np.float32) -> None:
    """A NaN becomes `high` behind the last whole four of a row, or of the part of a row that is summed at once."""
    if not np.isnan(output).any():
        return
    n, height, width, channels = output.shape
    step = max(1, PART_ELEMENTS // channels)
    for start in range(0, width, step):
        part = output[:, :, start : start + step].reshape(n, height, -1)  # a copy unless the part is the row
        ends = part[..., part.shape[2] // 4 * 4 :]
        ends[np.isnan(ends)] = high
        output[:, :, start : start + step] = part.reshape(n, height, -1, channels)


def _sum_in_order(runs: list[Array], taps: Array, first: Array | None) -> Array:
    """first (or 0) + taps[0] * runs[0] + taps[1] * runs[1] + ..., each product and each sum rounded to float32."""
    total, product = (scratch(f"depthwise.float {name}", runs[0].shape, np.float32) for name in ("total", "product"))
    with np.errstate(all="ignore"):
        np.multiply(runs[0], taps[0], out=total)
        total += np.float32(0) if first is None else first  # 0 makes a -0.0 what it becomes when it is added to it
        for run, tap in zip(runs[1:], taps[1:], strict=True):
            np.multiply(run, tap, out=product)
            np.add(total, product, out=total)
    return total
