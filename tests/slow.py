"""A second implementation of TFLite's reference kernels: plain Python numbers, one output element at a time.

It shares no code with refquant and does not import NumPy: integers are Python's, exact quotients are fractions, and a
float32 is a Python float that went through four bytes. It is to be read next to the specification, not to be fast.
`run(model, inputs)` runs a model of the operators in OPERATORS; a tensor is its shape and a flat list of numbers.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

RANGE = {"INT8": (-128, 127), "UINT8": (0, 255), "INT16": (-32768, 32767), "INT32": (-(2**31), 2**31 - 1)}
CODE = {"INT8": "b", "UINT8": "B", "INT16": "h", "INT32": "i", "INT64": "q", "FLOAT32": "f"}


# ---- numbers ----


def f32(x: float) -> float:
    """x rounded to float32."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", x))[0])
    except OverflowError:
        return math.copysign(math.inf, x)


def nearest(x: Fraction | float) -> int:
    """The nearest integer, half-way values away from zero."""
    x = Fraction(x)
    return math.floor(abs(x) + Fraction(1, 2)) * (1 if x >= 0 else -1)


def half_up(x: Fraction) -> int:
    """The nearest integer, half-way values towards plus infinity."""
    return math.floor(x + Fraction(1, 2))


def divide(a: int, b: int) -> int:
    """a / b as C++ divides integers: the fraction is cut off."""
    return abs(a) // abs(b) * (1 if (a >= 0) == (b > 0) else -1)


def wrap32(x: int) -> int:
    """What is left of x in an int32."""
    return (x + 2**31) % 2**32 - 2**31


def clamp(x: int, low: int, high: int) -> int:
    return min(max(x, low), high)


# ---- fixed point ----


def multiplier_of(real: float) -> tuple[int, int]:
    """(q, shift) with real = q * 2^(shift - 31), q of 31 bits."""
    if real == 0:
        return 0, 0
    exact, shift = Fraction(real), 0
    while exact >= 1:
        exact, shift = exact / 2, shift + 1
    while exact < Fraction(1, 2):
        exact, shift = exact * 2, shift - 1
    q = nearest(exact * 2**31)
    if q == 2**31:
        q, shift = 2**30, shift + 1
    return (0, 0) if shift < -31 else (q, shift)


def high_mul(a: int, b: int) -> int:
    """SaturatingRoundingDoublingHighMul: a * b / 2^31."""
    return min(half_up(Fraction(a * b, 2**31)), 2**31 - 1)


def rescale(x: int, q: int, shift: int) -> int:
    """MultiplyByQuantizedMultiplier: two roundings, the first half up, the second half away from zero."""
    product = high_mul(wrap32(x * 2 ** max(shift, 0)), q)
    return nearest(Fraction(product, 2 ** max(-shift, 0)))


def rescale64(x: int, q: int, shift: int) -> int:
    """MultiplyByQuantizedMultiplier of an int64: q of 15 bits and one rounding, half up."""
    q = min(half_up(Fraction(q, 2**16)), 2**15 - 1)
    return wrap32(half_up(Fraction(x * q) / Fraction(2) ** (15 - shift)))


def exp_fixed(x: int, integer_bits: int) -> int:
    """exp(x) as Q0.31, x <= 0 in Q(integer_bits): Taylor on the last quarter, times exp(-1/4), exp(-1/2), ..."""
    if x == 0:
        return 2**31 - 1
    quarter = 2 ** (29 - integer_bits)
    below = x % quarter - quarter
    a = below * 2**integer_bits + 2**28
    a2 = high_mul(a, a)
    a3, a4 = high_mul(a2, a), high_mul(a2, a2)
    series = a + nearest(Fraction(high_mul(nearest(Fraction(a4, 4)) + a3, nearest(Fraction(2**31, 3))) + a2, 2))
    eighth = nearest(math.exp(-0.125) * 2**31)
    result = eighth + high_mul(eighth, series)
    quarters = (below - x) // quarter
    for k in range(integer_bits + 2):
        if quarters >> k & 1:
            result = high_mul(result, nearest(math.exp(-(2.0 ** (k - 2))) * 2**31))
    return result


def one_over_one_plus(x: int) -> int:
    """1 / (1 + x) as Q0.31 for x in [0, 1) as Q0.31: three Newton steps."""
    half = nearest(Fraction(x + 2**31 - 1, 2))
    y = nearest(Fraction(48, 17) * 2**29) + high_mul(half, nearest(Fraction(-32, 17) * 2**29))
    for _ in range(3):
        y += 4 * high_mul(y, 2**29 - high_mul(half, y))
    return min(2 * y, 2**31 - 1)


def finish(x: int, zero_point: int, low: int, high: int) -> int:
    """The zero point is added in int32 and may wrap; then the clamp."""
    return clamp(wrap32(x + zero_point), low, high)


# ---- tensors ----


@dataclass
class Tensor:
    """One tensor: shape, type, flat data in row-major order, scales and zero points."""

    shape: tuple[int, ...]
    type: str
    data: list[Any]
    scale: tuple[float, ...]
    zero_point: tuple[int, ...]

    def at(self, *index: int) -> Any:
        flat = 0
        for i, n in zip(index, self.shape, strict=True):
            assert 0 <= i < n
            flat = flat * n + i
        return self.data[flat]

    def channel_scale(self, channel: int) -> float:
        return self.scale[channel if len(self.scale) > 1 else 0]


def indices(shape: Sequence[int]) -> Iterator[tuple[int, ...]]:
    return itertools.product(*map(range, shape))


def activation_range(output: Tensor, activation: str) -> tuple[int, int]:
    """The codes between which the fused activation clamps."""
    low, high = RANGE[output.type]
    scale, zero_point = output.scale[0], output.zero_point[0]

    def code(real: float) -> int:
        return zero_point + nearest(f32(real / scale))

    if activation in ("RELU", "RELU6"):
        low = max(low, code(0.0))
    if activation == "RELU_N1_TO_1":
        low = max(low, code(-1.0))
    if activation in ("RELU6", "RELU_N1_TO_1"):
        high = min(high, code(6.0 if activation == "RELU6" else 1.0))
    return low, high


def pad_before(size: int, out: int, kernel: int, stride: int, dilation: int) -> int:
    """Padding in front of an axis; with VALID none is needed and the total is 0."""
    return max((out - 1) * stride + (kernel - 1) * dilation + 1 - size, 0) // 2


Options = Any
Operands = Sequence[Tensor | None]


# ---- convolution, dense ----


def conv_2d(options: Options, operands: Operands, output: Tensor) -> list[Any]:
    """Σ filter * (input - zero_point) over the taps inside the image, + bias, rescaled per output channel.

    Filters of int8 are symmetric; of those of uint8 the zero point is taken off, too.
    """
    input, filter, bias = (*operands, None)[:3]
    assert input is not None
    assert filter is not None
    _, kernel_h, kernel_w, depth = filter.shape
    per_group = output.shape[3] // (input.shape[3] // depth)
    low, high = activation_range(output, options["fused_activation_function"])
    stride = options["stride_h"], options["stride_w"]
    dilation = options["dilation_h_factor"], options["dilation_w_factor"]
    top, left = pads(options, input, output, (kernel_h, kernel_w), stride, dilation)
    result = []
    for n, y, x, channel in indices(output.shape):
        acc = 0
        for i, j, c in indices((kernel_h, kernel_w, depth)):
            row, column = y * stride[0] - top + i * dilation[0], x * stride[1] - left + j * dilation[1]
            if 0 <= row < input.shape[1] and 0 <= column < input.shape[2]:
                value = input.at(n, row, column, channel // per_group * depth + c) - input.zero_point[0]
                acc += (filter.at(channel, i, j, c) - filter_zero_point(filter)) * value
        result.append(convolved(acc, channel, input, filter, bias, output, low, high))
    return result


def depthwise_conv_2d(options: Options, operands: Operands, output: Tensor) -> list[Any]:
    """As conv_2d, each output channel from one input channel."""
    input, filter, bias = (*operands, None)[:3]
    assert input is not None
    assert filter is not None
    _, kernel_h, kernel_w, channels = filter.shape
    times = channels // input.shape[3]
    low, high = activation_range(output, options["fused_activation_function"])
    stride = options["stride_h"], options["stride_w"]
    dilation = options["dilation_h_factor"], options["dilation_w_factor"]
    top, left = pads(options, input, output, (kernel_h, kernel_w), stride, dilation)
    result = []
    for n, y, x, channel in indices(output.shape):
        acc = 0
        for i, j in indices((kernel_h, kernel_w)):
            row, column = y * stride[0] - top + i * dilation[0], x * stride[1] - left + j * dilation[1]
            if 0 <= row < input.shape[1] and 0 <= column < input.shape[2]:
                value = input.at(n, row, column, channel // times) - input.zero_point[0]
                acc += (filter.at(0, i, j, channel) - filter_zero_point(filter)) * value
        result.append(convolved(acc, channel, input, filter, bias, output, low, high))
    return result


def pads(
    options: Options,
    input: Tensor,
    output: Tensor,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int] = (1, 1),
) -> tuple[int, int]:
    if options["padding"] == "VALID":
        return 0, 0
    top, left = (
        pad_before(input.shape[axis + 1], output.shape[axis + 1], kernel[axis], stride[axis], dilation[axis])
        for axis in (0, 1)
    )
    return top, left


def convolved(
    acc: int, channel: int, input: Tensor, filter: Tensor, bias: Tensor | None, output: Tensor, low: int, high: int
) -> int:
    acc += 0 if bias is None else bias.data[channel]
    product = input.scale[0] * filter.channel_scale(channel)
    factor = multiplier_of((f32(product) if input.type == "UINT8" else product) / output.scale[0])
    rescaled = rescale64(acc, *factor) if wide(input, bias) else rescale(wrap32(acc), *factor)
    return finish(rescaled, output.zero_point[0], low, high)


def filter_zero_point(filter: Tensor) -> int:
    """What is taken off a convolution's weights."""
    return filter.zero_point[0] if filter.type == "UINT8" else 0


def wide(input: Tensor, bias: Tensor | None) -> bool:
    """Whether the accumulator has 64 bits."""
    return input.type == "INT16" and (bias is None or bias.type == "INT64")


def fully_connected(options: Options, operands: Operands, output: Tensor) -> list[Any]:
    """Σ (filter - zero_point) * (input - zero_point) + bias, times a float64 multiplier, rounded once."""
    input, filter, bias = (*operands, None)[:3]
    assert input is not None
    assert filter is not None
    units, depth = filter.shape
    low, high = activation_range(output, options["fused_activation_function"])
    result = []
    for row in range(len(input.data) // depth):
        for unit in range(units):
            acc = sum(
                (filter.at(unit, k) - filter.zero_point[0]) * (input.data[row * depth + k] - input.zero_point[0])
                for k in range(depth)
            )
            acc += 0 if bias is None else bias.data[unit]
            acc = acc if wide(input, bias) else wrap32(acc)
            real = input.scale[0] * filter.channel_scale(unit) / output.scale[0]
            rounded = nearest(float(Fraction(acc) * Fraction(real)))  # the exact product, first rounded to float64
            if rounded != wrap32(rounded):
                rounded = -(2**31)  # undefined in C++; what x86 converts to
            result.append(finish(rounded, output.zero_point[0], low, high))
    return result


# ---- float32 activations that meet int8 weights ----


def quantize_row(row: Sequence[float], symmetric: bool) -> tuple[list[int], float, int]:
    """(codes, scale, zero point) of one row; in whole eights 1/2 is added in float32 and the fraction cut off."""
    low, high = min(0.0, *row), max(0.0, *row)
    if low == high:
        return [0] * len(row), 1.0, 0
    if symmetric:
        scale, inverse, zero_point, least = f32(max(-low, high) / 127), f32(127 / max(-low, high)), 0, -127
    else:
        exact = f32(high - low) / 255
        near_low = 128 + abs(low / exact) < 127 + abs(high / exact)
        zero_point = clamp(nearest(-128 - low / exact if near_low else 127 - high / exact), -128, 127)
        scale, inverse, least = f32(exact), f32(1 / f32(exact)), -128
    codes = []
    for place, x in enumerate(row):
        v = f32(x * inverse)
        tail = place >= len(row) // 8 * 8
        steps = nearest(v) if tail else math.trunc(f32(v + math.copysign(0.5, v)))
        codes.append(clamp(steps + zero_point, least, 127))
    return codes, scale, zero_point


def vector_product(codes: Sequence[int], weights: Sequence[int]) -> int:
    """Σ code * weight; but in whole sixteens -128 does not change its sign with the code's."""
    whole = len(codes) // 16 * 16
    return sum(
        -128 * abs(c) if w == -128 and place < whole else c * w
        for place, (c, w) in enumerate(zip(codes, weights, strict=True))
    )


def float_clamp(x: float, activation: str) -> float:
    low, high = {"NONE": (-math.inf, math.inf), "RELU": (0, math.inf), "RELU6": (0, 6), "RELU_N1_TO_1": (-1, 1)}[
        activation
    ]
    return min(max(x, low), high)


def hybrid_fully_connected(options: Options, operands: Operands, output: Tensor) -> list[Any]:
    """bias + (Σ filter * code - zero_point * Σ filter) * (filter scale * row's scale)."""
    input, filter, bias = (*operands, None)[:3]
    assert input is not None
    assert filter is not None
    units, depth = filter.shape
    result = []
    for start in range(0, len(input.data), depth):
        symmetric = not options["asymmetric_quantize_inputs"]
        codes, scale, zero_point = quantize_row(input.data[start : start + depth], symmetric)
        for unit in range(units):
            weights = filter.data[unit * depth : (unit + 1) * depth]
            acc = vector_product(codes, weights) - zero_point * sum(weights)
            product = f32(f32(acc) * f32(filter.channel_scale(unit) * scale))
            total = f32((0.0 if bias is None else bias.data[unit]) + product)
            result.append(float_clamp(total, options["fused_activation_function"]))
    return result


def hybrid_conv_2d(options: Options, operands: Operands, output: Tensor) -> list[Any]:
    """One scale an image. Filters of one scale meet symmetric codes, and vectors unless their number is one of four."""
    input, filter, bias = operands
    assert input is not None
    assert filter is not None
    assert bias is not None
    channels, kernel_h, kernel_w, depth = filter.shape
    groups = input.shape[3] // depth
    symmetric = groups == 1 and len(set(filter.scale)) == 1
    size = math.prod(input.shape[1:])
    images = [quantize_row(input.data[start : start + size], symmetric) for start in range(0, len(input.data), size)]
    coded = Tensor(input.shape, "INT8", [code for codes, _, _ in images for code in codes], (), ())
    stride = options["stride_h"], options["stride_w"]
    dilation = options["dilation_h_factor"], options["dilation_w_factor"]
    top, left = pads(options, input, output, (kernel_h, kernel_w), stride, dilation)
    result = []
    for n, y, x, channel in indices(output.shape):
        _, scale, zero_point = images[n]
        patch, weights = [], []
        for i, j, c in indices((kernel_h, kernel_w, depth)):
            row, column = y * stride[0] - top + i * dilation[0], x * stride[1] - left + j * dilation[1]
            inside = 0 <= row < input.shape[1] and 0 <= column < input.shape[2]
            place = channel // (channels // groups) * depth + c
            patch.append(coded.at(n, row, column, place) - zero_point if inside else 0)
            weights.append(filter.at(channel, i, j, c))
        if symmetric:
            dot = vector_product if channels % 4 else lambda a, b: sum(p * w for p, w in zip(a, b, strict=True))
            real = f32(f32(dot(patch, weights)) * f32(filter.scale[0] * scale))
        else:
            acc = sum(p * w for p, w in zip(patch, weights, strict=True))
            real = f32(f32(f32(acc) * filter.channel_scale(channel)) * scale)
        result.append(float_clamp(f32(real + bias.data[channel]), options["fused_activation_function"]))
    return result


def image_rows(input: Tensor) -> tuple[Tensor, list[float]]:
    """(codes less their zero point, scale of each image), every image quantized asymmetrically by itself."""
    size = math.prod(input.shape[1:])
    images = [quantize_row(input.data[start : start + size], False) for start in range(0, len(input.data), size)]
    centred = [code - zero_point for codes, _, zero_point in images for code in codes]
    return Tensor(input.shape, "INT16", centred, (), ()), [scale for _, scale, _ in images]


def hybrid_depthwise_conv_2d(options: Options, operands: Operands, output: Tensor) -> list[Any]:
    """Σ filter * centred code * (filter scale * image's scale), one product of scales, + bias."""
    input, filter, bias = (*operands, None)[:3]
    assert input is not None
    assert filter is not None
    _, kernel_h, kernel_w, channels = filter.shape
    times = channels // input.shape[3]
    codes, scales = image_rows(input)
    stride = options["stride_h"], options["stride_w"]
    dilation = options["dilation_h_factor"], options["dilation_w_factor"]
    top, left = pads(options, input, output, (kernel_h, kernel_w), stride, dilation)
    result = []
    for n, y, x, channel in indices(output.shape):
        acc = 0
        for i, j in indices((kernel_h, kernel_w)):
            row, column = y * stride[0] - top + i * dilation[0], x * stride[1] - left + j * dilation[1]
            if 0 <= row < input.shape[1] and 0 <= column < input.shape[2]:
                acc += filter.at(0, i, j, channel) * codes.at(n, row, column, channel // times)
        real = f32(f32(acc) * f32(filter.channel_scale(channel) * scales[n]))
        real = real if bias is None else f32(real + bias.data[channel])
        result.append(float_clamp(real, options["fused_activation_function"]))
    return result


def hybrid_transpose_conv(options: Options, operands: Operands, output: Tensor) -> list[Any]:
    """Every product of code and weight is scaled by itself and added in float32, inputs one after another."""
    _, filter, input, bias = (*operands, None)[:4]
    assert input is not None
    assert filter is not None
    channels, kernel_h, kernel_w, _ = filter.shape
    codes, scales = image_rows(input)
    stride = options["stride_h"], options["stride_w"]
    top, left = pads(options, output, input, (kernel_h, kernel_w), stride)
    sums = dict.fromkeys(indices(output.shape), 0.0)
    for n, y, x, c in indices(input.shape):
        for i, j, channel in indices((kernel_h, kernel_w, channels)):
            place = n, y * stride[0] - top + i, x * stride[1] - left + j, channel
            if place in sums:
                product = filter.at(channel, i, j, c) * codes.at(n, y, x, c)
                scaled = f32(f32(product * filter.channel_scale(channel)) * scales[n])
                sums[place] = f32(sums[place] + scaled)
    activation = options["fused_activation_function"]
    return [
        float_clamp(total if bias is None else f32(total + bias.data[place[3]]), activation)
        for place, total in sums.items()
    ]


def hybrid_batch_matmul(options: Options, operands: Operands, output: Tensor) -> list[Any]:
    """(Σ code * weight - zero_point * Σ weight) * (scale * row's scale), the difference in float32.

    Scale, zero point and Σ weight are those of the row or column whose leading indices, added up, are the same.
    """
    a, b = operands
    assert a is not None
    assert b is not None
    transposed, columns_last = options["adj_x"], not options["adj_y"]
    m, k = a.shape[:-3:-1] if transposed else a.shape[-2:]
    n = b.shape[-1 if columns_last else -2]
    a_leading, b_leading = a.shape[:-2], b.shape[:-2]
    if not transposed and a_leading and b_leading and b_leading[-1] == 1:
        a_leading, b_leading, m = a_leading[:-1], b_leading[:-1], a_leading[-1] * m
    rows = {
        (*lead, i): quantize_row(
            [a.data[(flat * k + p) * m + i if transposed else (flat * m + i) * k + p] for p in range(k)],
            not options["asymmetric_quantize_inputs"],
        )
        for flat, lead in enumerate(indices(a_leading))
        for i in range(m)
    }
    columns = {
        (*lead, j): [b.data[(flat * k + p) * n + j if columns_last else (flat * n + j) * k + p] for p in range(k)]
        for flat, lead in enumerate(indices(b_leading))
        for j in range(n)
    }
    all_rows, all_columns = list(rows.values()), list(columns.values())
    rank = max(len(a_leading), len(b_leading))
    wide_a, wide_b = ((*(1,) * (rank - len(lead)), *lead) for lead in (a_leading, b_leading))
    result = []
    for *lead, i, j in indices((*(max(pair) for pair in zip(wide_a, wide_b, strict=True)), m, n)):
        at_a, at_b = (
            [0 if size == 1 else index for index, size in zip(lead, wide, strict=True)] for wide in (wide_a, wide_b)
        )
        codes, _, _ = rows[(*at_a[rank - len(a_leading) :], i)]
        weights = columns[(*at_b[rank - len(b_leading) :], j)]
        _, scale, zero_point = all_rows[sum(at_a) * m + i]
        total = f32(sum(c * w for c, w in zip(codes, weights, strict=True)))
        total = f32(total - f32(f32(sum(all_columns[sum(at_b) * n + j])) * zero_point))
        result.append(f32(total * f32(b.channel_scale(j) * scale)))
    return result


# ---- pooling ----


def windows(options: Options, input: Tensor, output: Tensor) -> Iterator[list[int]]:
    """For each output element the inputs in its window."""
    size = options["filter_height"], options["filter_width"]
    stride = options["stride_h"], options["stride_w"]
    top, left = pads(options, input, output, size, stride)
    for n, y, x, c in indices(output.shape):
        rows = [y * stride[0] - top + i for i in range(size[0])]
        columns = [x * stride[1] - left + j for j in range(size[1])]
        yield [
            input.at(n, row, column, c)
            for row in rows
            for column in columns
            if 0 <= row < input.shape[1] and 0 <= column < input.shape[2]
        ]


def average_pool_2d(options: Options, operands: Operands, output: Tensor) -> list[Any]:
    """The mean of the codes, half-way values (counted in whole halves of the number of taps) away from zero."""
    (input,) = operands
    assert input is not None
    low, high = activation_range(output, options["fused_activation_function"])
    result = []
    for taps in windows(options, input, output):
        total, n = sum(taps), len(taps)
        result.append(clamp(divide(total + n // 2 if total > 0 else total - n // 2, n), low, high))
    return result


def max_pool_2d(options: Options, operands: Operands, output: Tensor) -> list[Any]:
    (input,) = operands
    assert input is not None
    low, high = activation_range(output, options["fused_activation_function"])
    return [clamp(max(taps), low, high) for taps in windows(options, input, output)]


# ---- elementwise ----


def broadcast(a: Tensor, b: Tensor, shape: tuple[int, ...]) -> Iterator[tuple[Any, Any]]:
    """The pairs of operands of each output element: missing axes in front, axes of 1 stretched."""

    def pick(t: Tensor, index: tuple[int, ...]) -> Any:
        own = index[len(index) - len(t.shape) :]
        return t.at(*(0 if n == 1 else i for i, n in zip(own, t.shape, strict=True)))

    for index in indices(shape):
        yield pick(a, index), pick(b, index)


def add(options: Options, operands: Operands, output: Tensor, sign: int = 1) -> list[Any]:
    """Both operands with 20 more bits on the scale 2 * max(scales), added, and rescaled to the output."""
    a, b = operands
    assert a is not None
    assert b is not None
    twice = 2 * max(a.scale[0], b.scale[0])
    scale_a, scale_b = multiplier_of(a.scale[0] / twice), multiplier_of(b.scale[0] / twice)
    scale_out = multiplier_of(twice / f32(2**20 * output.scale[0]))
    low, high = activation_range(output, options["fused_activation_function"])
    result = []
    for x, y in broadcast(a, b, output.shape):
        left = rescale((x - a.zero_point[0]) * 2**20, *scale_a)
        right = rescale((y - b.zero_point[0]) * 2**20, *scale_b)
        result.append(finish(rescale(left + sign * right, *scale_out), output.zero_point[0], low, high))
    return result


def sub(options: Options, operands: Operands, output: Tensor) -> list[Any]:
    return add(options, operands, output, -1)


def mul(options: Options, operands: Operands, output: Tensor) -> list[Any]:
    """The product of the centred codes, rescaled; the scales are multiplied and divided in float32."""
    a, b = operands
    assert a is not None
    assert b is not None
    scale = multiplier_of(f32(f32(a.scale[0] * b.scale[0]) / output.scale[0]))
    low, high = activation_range(output, options["fused_activation_function"])
    return [
        finish(rescale((x - a.zero_point[0]) * (y - b.zero_point[0]), *scale), output.zero_point[0], low, high)
        for x, y in broadcast(a, b, output.shape)
    ]


def logistic(options: Options, operands: Operands, output: Tensor) -> list[Any]:
    """A table of 256 entries, each operation in float32."""
    (input,) = operands
    assert input is not None
    low, high = RANGE[output.type]
    inverse = f32(1 / output.scale[0])
    table = {}
    for code in range(low, high + 1):
        real = f32(input.scale[0] * (code - input.zero_point[0]))
        value = f32(1 / f32(1 + (f32(math.exp(-real)) if real > -700 else math.inf)))
        table[code] = clamp(nearest(f32(value * inverse)) + output.zero_point[0], low, high)
    return [table[x] for x in input.data]


def softmax(options: Options, operands: Operands, output: Tensor) -> list[Any]:
    """exp(beta * scale * (input - max)) / Σ exp(...) in fixed point over the last axis."""
    (input,) = operands
    assert input is not None
    depth = input.shape[-1]
    low, high = RANGE[output.type]
    q, left = multiplier_of(min(options["beta"] * input.scale[0] * 2.0**26, 2.0**31 - 1))
    lowest = -math.floor(Fraction(31 * 2**26, 2**left))
    result = []
    for start in range(0, len(input.data), depth):
        row = input.data[start : start + depth]
        differences = [x - max(row) for x in row]
        exps = [exp_fixed(rescale(d, q, left), 5) if d >= lowest else None for d in differences]
        total = sum(nearest(Fraction(e, 2**12)) for e in exps if e is not None)  # Q12.19
        zeros = 32 - total.bit_length()
        inverse = one_over_one_plus(total * 2**zeros - 2**31)
        exponent = 12 - zeros + 31 - (16 if output.type == "INT16" else 8)
        for e in exps:
            code = low if e is None else low + nearest(Fraction(high_mul(inverse, e), 2**exponent))
            result.append(clamp(code, low, high))
    return result


# ---- conversion ----


def quantize(options: Options, operands: Operands, output: Tensor) -> list[Any]:
    """From float32: the quotient rounded; from codes: rescaled."""
    (input,) = operands
    assert input is not None
    low, high = RANGE[output.type]
    scale, zero_point = output.scale[0], output.zero_point[0]
    if input.type == "FLOAT32":
        return [clamp(nearest(f32(x / scale)) + zero_point, low, high) for x in input.data]
    factor = multiplier_of(input.scale[0] / scale)
    return [finish(rescale(x - input.zero_point[0], *factor), zero_point, low, high) for x in input.data]


def dequantize(options: Options, operands: Operands, output: Tensor) -> list[Any]:
    (input,) = operands
    assert input is not None
    return [f32(input.scale[0] * (x - input.zero_point[0])) for x in input.data]


# ---- reduction, movement, resize ----


def mean(options: Options, operands: Operands, output: Tensor) -> list[Any]:
    """Σ (input - zero_point) times scale / (n * output scale), where 1/n goes into the multiplier, cut off."""
    input, axes = operands
    assert input is not None
    assert axes is not None
    rank = len(input.shape)
    reduced = sorted({axis % rank for axis in axes.data})
    n = math.prod(input.shape[axis] for axis in reduced)
    q, shift = multiplier_of(input.scale[0] / output.scale[0])
    more = min(n.bit_length() - 1, 32, 31 + shift)
    q, shift = q * 2**more // n, shift - more
    low, high = RANGE[output.type]
    result = []
    for kept in indices([1 if axis in reduced else size for axis, size in enumerate(input.shape)]):
        total = 0
        for inner in indices([size if axis in reduced else 1 for axis, size in enumerate(input.shape)]):
            total += input.at(*(a + b for a, b in zip(kept, inner, strict=True))) - input.zero_point[0]
        result.append(finish(rescale(total, q, shift), output.zero_point[0], low, high))
    return result


def pad(options: Options, operands: Operands, output: Tensor) -> list[Any]:
    """The input framed by the zero point of the output, or by the value of a third operand."""
    input, paddings, value = (*operands, None)[:3]
    assert input is not None
    assert paddings is not None
    fill = output.zero_point[0] if value is None else value.data[0]
    result = []
    for index in indices(output.shape):
        own = [i - paddings.at(axis, 0) for axis, i in enumerate(index)]
        inside = all(0 <= i < n for i, n in zip(own, input.shape, strict=True))
        result.append(input.at(*own) if inside else fill)
    return result


def rescaled_concatenation(options: Options, operands: Operands, output: Tensor) -> list[Any]:
    """Codes of uint8 with parameters unlike the output's are rescaled in float32, the zero point's part by itself."""

    def rescaled(operand: Tensor | None) -> Tensor:
        assert operand is not None
        (scale,), (zero_point,) = operand.scale, operand.zero_point
        if (scale, zero_point) == (output.scale[0], output.zero_point[0]):
            return operand
        factor = f32(scale * f32(1 / output.scale[0]))
        shift = f32(-zero_point * factor)
        steps = [nearest(f32(f32(code * factor) + shift)) + output.zero_point[0] for code in operand.data]
        return Tensor(operand.shape, "UINT8", [clamp(step, 0, 255) for step in steps], (), ())

    return concatenation(options, [rescaled(operand) for operand in operands], output)


def concatenation(options: Options, operands: Operands, output: Tensor) -> list[Any]:
    axis = options["axis"] % len(output.shape)
    result = []
    for index in indices(output.shape):
        place = list(index)
        for operand in operands:
            assert operand is not None
            if place[axis] < operand.shape[axis]:
                result.append(operand.at(*place))
                break
            place[axis] -= operand.shape[axis]
    return result


def resize_bilinear(options: Options, operands: Operands, output: Tensor) -> list[Any]:
    """Four neighbours weighted in units of 1/1024 on both axes."""
    input, _ = operands
    assert input is not None
    batch, height, width, depth = output.shape

    def along(position: int, size: int, out: int) -> tuple[int, int, int]:
        """(lower, upper, the weight of the upper one in 1/1024)"""
        scale = divide(1024 * size + out // 2, out)
        if options["align_corners"] and out > 1:
            scale = divide(1024 * (size - 1) + (out - 1) // 2, out - 1)
        place = position * scale + (scale // 2 - 512 if options["half_pixel_centers"] else 0)
        lower = max(divide(place, 1024), 0)
        return lower, min(divide(place + 1023, 1024), size - 1), place - 1024 * lower

    result = []
    for n, y, x, c in indices((batch, height, width, depth)):
        top, bottom, down = along(y, input.shape[1], height)
        left, right, across = along(x, input.shape[2], width)
        total = (
            input.at(n, top, left, c) * (1024 - down) * (1024 - across)
            + input.at(n, bottom, left, c) * down * (1024 - across)
            + input.at(n, top, right, c) * (1024 - down) * across
            + input.at(n, bottom, right, c) * down * across
        )
        result.append(divide(total + 2**19 if total > 0 else total - 2**19, 2**20))
    return result


# ---- streaming ----


def svdf(options: Options, operands: Operands, output: Tensor) -> list[Any]:
    """Each filter remembers its last features, the newest last; a unit sums its filters' products with weights in time.

    The feature is what `features` tells of one row of the input; sums are integers, or taken in four lanes.
    """
    input, feature, time, _, state = operands
    assert input is not None
    assert feature is not None
    assert time is not None
    assert state is not None
    filters, memory = time.shape
    rank = options["rank"]
    result = []
    for n in range(input.shape[0]):
        newest = features(options, operands, input.data[n * input.shape[1] :][: input.shape[1]])
        unit = []
        for f in range(filters):
            start = (n * filters + f) * memory
            state.data[start : start + memory] = [*state.data[start + 1 : start + memory], newest[f]]
            products = [state.data[start + m] * time_weight(time, state, f, m) for m in range(memory)]
            unit.append(sum(products) if state.type == "INT16" else in_lanes([f32(p) for p in products]))
            if len(unit) == rank:
                total = sum(unit) if state.type == "INT16" else in_lanes(unit)
                result.append(svdf_output(options, operands, output, total, f // rank))
                unit = []
    return result


def features(options: Options, operands: Operands, row: Sequence[Any]) -> list[Any]:
    """The feature of each filter in one row."""
    input, feature, _, _, state = operands
    assert input is not None
    assert feature is not None
    assert state is not None
    depth = len(row)
    filters = [feature.data[start : start + depth] for start in range(0, len(feature.data), depth)]
    if input.type == "INT8":
        factor = multiplier_of(f32(f32(input.scale[0] * feature.scale[0]) / state.scale[0]))
        sums = [sum(w * (x - input.zero_point[0]) for w, x in zip(weights, row, strict=True)) for weights in filters]
        return [clamp(rescale(wrap32(acc), *factor), *RANGE["INT16"]) for acc in sums]
    if feature.type == "INT8":
        codes, scale, zero_point = quantize_row(row, not options["asymmetric_quantize_inputs"])
        factor = f32(feature.scale[0] * scale)
        sums = [vector_product(codes, weights) - zero_point * sum(weights) for weights in filters]
        return [f32(f32(acc) * factor) for acc in sums]
    return [in_lanes([f32(w * x) for w, x in zip(weights, row, strict=True)]) for weights in filters]


def time_weight(time: Tensor, state: Tensor, f: int, m: int) -> Any:
    weight = time.at(f, m)
    return f32(weight * time.scale[0]) if (time.type, state.type) == ("INT8", "FLOAT32") else weight


def svdf_output(options: Options, operands: Operands, output: Tensor, total: Any, unit: int) -> Any:
    _, _, time, bias, state = operands
    assert time is not None
    assert state is not None
    offset = 0 if bias is None else bias.data[unit]
    if state.type == "FLOAT32":
        return float_clamp(f32(total + offset), options["fused_activation_function"])
    factor = multiplier_of(f32(f32(state.scale[0] * time.scale[0]) / output.scale[0]))
    return finish(rescale(wrap32(total + offset), *factor), output.zero_point[0], *RANGE["INT8"])


def in_lanes(terms: Sequence[float]) -> float:
    """The sum in float32: four lanes while four are left, then the lanes one after another, then the rest."""
    whole = len(terms) // 4 * 4
    lanes = [0.0] * 4
    for place, term in enumerate(terms[:whole]):
        lanes[place % 4] = f32(lanes[place % 4] + term)
    total = 0.0
    for term in (*lanes, *terms[whole:]):
        total = f32(total + term)
    return total


OPERATORS: dict[str, Callable[[Options, Operands, Tensor], list[Any]]] = {
    "ADD": add,
    "ADD uint8": add,
    "AVERAGE_POOL_2D": average_pool_2d,
    "AVERAGE_POOL_2D uint8": average_pool_2d,
    "BATCH_MATMUL hybrid": hybrid_batch_matmul,
    "CONCATENATION": concatenation,
    "CONCATENATION uint8": rescaled_concatenation,
    "CONV_2D": conv_2d,
    "CONV_2D hybrid": hybrid_conv_2d,
    "CONV_2D int16": conv_2d,
    "CONV_2D uint8": conv_2d,
    "DEPTHWISE_CONV_2D": depthwise_conv_2d,
    "DEPTHWISE_CONV_2D hybrid": hybrid_depthwise_conv_2d,
    "DEPTHWISE_CONV_2D int16": depthwise_conv_2d,
    "DEPTHWISE_CONV_2D uint8": depthwise_conv_2d,
    "DEQUANTIZE": dequantize,
    "FULLY_CONNECTED": fully_connected,
    "FULLY_CONNECTED hybrid": hybrid_fully_connected,
    "FULLY_CONNECTED int16": fully_connected,
    "FULLY_CONNECTED uint8": fully_connected,
    "LOGISTIC": logistic,
    "LOGISTIC uint8": logistic,
    "MAX_POOL_2D": max_pool_2d,
    "MEAN": mean,
    "MUL": mul,
    "PAD": pad,
    "PADV2": pad,
    "QUANTIZE": quantize,
    "RESIZE_BILINEAR": resize_bilinear,
    "SOFTMAX": softmax,
    "SOFTMAX uint8": softmax,
    "SUB": sub,
    "SVDF": svdf,
    "SVDF hybrid": svdf,
    "SVDF int16": svdf,
    "TRANSPOSE_CONV hybrid": hybrid_transpose_conv,
}


def kind(types: set[str]) -> str:
    """What follows an op's name in OPERATORS: by the types of the operands."""
    if {"FLOAT32", "INT8"} <= types:
        return " hybrid"
    return " uint8" if "UINT8" in types else " int16" if "INT16" in types else ""


def run(model: Any, inputs: Sequence[Any], variables: dict[int, list[Any]] | None = None) -> list[list[Any]]:
    """The flat outputs of a model of these operators. inputs: arrays with ravel().tolist(), in the model's order.

    variables: what the last run left in the variable tensors, flat, by index; this run changes it. None: zeros.
    """
    variables = {} if variables is None else variables
    graph = model.graph
    values = {index: array.ravel().tolist() for index, array in zip(graph.inputs, inputs, strict=True)}

    def tensor(index: int) -> Tensor | None:
        if index < 0:
            return None
        t = graph.tensors[index]
        data = values.get(index, [])
        if t.is_variable:
            data = variables.setdefault(index, [0] * math.prod(t.shape))
        if t.buffer:
            data = [value for (value,) in struct.iter_unpack("<" + CODE[t.type], model.buffers[t.buffer])]
        q = t.quantization
        return Tensor(t.shape, t.type, data, *((q.scale, q.zero_point) if q else ((), ())))

    for operator in graph.operators:
        operands = [tensor(index) for index in operator.inputs]
        (index,) = operator.outputs
        output = tensor(index)
        assert output is not None
        name = operator.name + kind({t.type for t in operands if t is not None})
        values[index] = OPERATORS[name](operator.options, operands, output)
    return [values[index] for index in graph.outputs]
