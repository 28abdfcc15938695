"""Accumulators and codes around half-way points, where runtimes part that agree almost everywhere else."""

from __future__ import annotations

from collections.abc import Callable
from math import frexp

import numpy as np

from cases.convolution import bias_scale, pick, zero_point
from models import Case, T, case, extremes_and_random

Generator = Callable[[np.random.Generator], Case]

CHANNELS = (1, 5, 8, 16, 23, 40)
WIDTHS = (1, 2, 3, 5)
RESULTS = {"INT8": 127, "UINT8": 255, "INT16": 32767}

# The shapes of filter and input: one product an output, with as many outputs as channels.
SHAPES: dict[str, Callable[[int, int, int], tuple[tuple[int, ...], tuple[int, ...]]]] = {
    "CONV_2D": lambda channels, width, groups: ((channels, 1, 1, 1), (1, 1, width, groups)),
    "DEPTHWISE_CONV_2D": lambda channels, width, groups: ((1, 1, 1, channels), (1, 1, width, 1)),
    "TRANSPOSE_CONV": lambda channels, width, groups: ((channels, 1, 1, 1), (1, 1, width, 1)),
    "FULLY_CONNECTED": lambda channels, width, groups: ((channels, 1), (width, 1)),
}


def of_one_tap(name: str, x: T, filter_: T, bias: T) -> tuple[list[T], dict]:
    """(inputs, options) of an op of SHAPES: its operands in its order, no activation, the window of one pixel."""
    channels = len(bias.data)
    inputs = [x, filter_, bias]
    if name == "TRANSPOSE_CONV":
        inputs = [T(data=np.array((*x.shape[:3], channels), np.int32)), filter_, x, bias]
    options: dict = {"fused_activation_function": "NONE"}
    if name != "FULLY_CONNECTED":
        options |= {"padding": "VALID", "stride_h": 1, "stride_w": 1}
    if name == "DEPTHWISE_CONV_2D":
        options["depth_multiplier"] = channels
    return inputs, options


def around_half(name: str, type: str = "INT8", per_channel: bool = True, groups: tuple[int, ...] = (1,)) -> Generator:
    """Biases around the half-way points of every result, with one product or none; per tensor also scales of many
    digits and large biases: then it decides how the product of the scales is rounded. int16: with an int32 bias."""

    def generate(rng: np.random.Generator) -> Case:
        group_count, width = int(pick(rng, groups)), int(pick(rng, WIDTHS))
        channels = int(pick(rng, CHANNELS)) * group_count
        s_in, s_filter, near = _scales(rng, channels, per_channel, RESULTS[type])
        bias = np.round(near / (s_in * s_filter.astype(np.float64))) + rng.integers(-1, 2, channels)
        bias = np.clip(bias, -(2**31), 2**31 - 1).astype(np.int32)
        filter_shape, x_shape = SHAPES[name](channels, width, group_count)
        symmetric = name == "CONV_2D" or (per_channel and channels > 1)
        filter_zero_point = 0 if symmetric or rng.integers(2) else zero_point(rng)
        codes = rng.integers(-3, 4, filter_shape).astype(np.int8)
        axis = 3 if name == "DEPTHWISE_CONV_2D" else 0
        filter_ = T(scale=s_filter.tolist(), zero_point=filter_zero_point, axis=axis, data=codes)
        x = T(x_shape, type, s_in, 0 if type == "INT16" else zero_point(rng))
        bias_tensor = T(data=bias, scale=bias_scale(s_in, s_filter.tolist()))
        inputs, options = of_one_tap(name, x, filter_, bias_tensor)
        if type == "INT16":
            options["quantized_bias_type"] = "INT32"
        output = T((1, 1, 1, channels), type, 1.0, 0 if type == "INT16" else zero_point(rng))
        code = min(max(int(np.atleast_1d(x.zero_point)[0]), -32768), 32767)
        samples = [[np.full(x_shape, code, type.lower())], *extremes_and_random(rng, [x], 1)]
        return case(rng, name, inputs, [output], options, samples, VERSIONS[name][type == "INT16"])

    return generate


VERSIONS = {  # of the op for int8, for int16
    "CONV_2D": (3, 8),
    "DEPTHWISE_CONV_2D": (3, 6),
    "TRANSPOSE_CONV": (3, 5),
    "FULLY_CONNECTED": (4, 13),
}


def _scales(
    rng: np.random.Generator, channels: int, per_channel: bool, largest: int
) -> tuple[float, np.ndarray, np.ndarray]:
    """(input scale, filter scales, results close to half-way points), the output scale being 1."""
    near = rng.integers(-largest, largest + 1, channels) + pick(rng, (0.5, 0.5, 0.0))
    if not per_channel and rng.integers(2):  # many digits, with biases as large as int32 holds
        s_in, s_filter = rng.uniform(0.5, 1), rng.uniform(0.5, 1) * 2.0 ** -int(rng.integers(18, 22))
        near = np.clip(near, -500, 500) * (1 + rng.uniform(-6e-8, 6e-8, channels))
        return float(np.float32(s_in)), np.array([s_filter], np.float32), near
    shifts = int(rng.integers(1, 16)) - rng.integers(0, 2, channels if per_channel else 1)
    factor = pick(rng, (1.0, 1 - 2.0**-24, 0.5 + 2.0**-24, rng.uniform(0.5, 1)))
    return 1.0, (2.0**-shifts * factor).astype(np.float32), near


def batch_matmul(rng: np.random.Generator) -> Case:
    """Few products, and multipliers that are powers of two or next to one: every second result or so is half-way."""
    m, k, n = int(pick(rng, (1, 3, 8))), int(pick(rng, (1, 2, 3))), int(pick(rng, (1, 4, 8, 16, 17, 33)))
    scale = float(np.float32(2.0 ** -int(rng.integers(1, 9)) * pick(rng, (1.0, 1.0, 1 - 2.0**-24))))
    a, b = T((m, k), "INT8", 1.0, zero_point(rng)), T((k, n), "INT8", scale, zero_point(rng))
    if rng.integers(2):
        b = T(data=rng.integers(-128, 128, (k, n)).astype(np.int8), scale=scale, zero_point=b.zero_point)
    samples = extremes_and_random(rng, [a, b])
    samples += [[np.clip(x // 16, -128, 127).astype(np.int8) for x in sample] for sample in samples[2:]]
    return case(rng, "BATCH_MATMUL", [a, b], [T((m, n), "INT8", 1.0, zero_point(rng))], {}, samples, version=3)


def mean_of_images(type: str) -> Generator:
    """Height and width kept: sums that are half-way, in channels that do and do not fill vectors."""

    def generate(rng: np.random.Generator) -> Case:
        shape = (int(pick(rng, (1, 2))), *(int(d) for d in rng.choice((1, 2, 3, 4, 8), 2)), int(pick(rng, CHANNELS)))
        offset = 128 if type == "UINT8" else 0
        zero_points = [zero_point(rng) + offset for _ in range(2)]
        ratio = float(pick(rng, (1.0, 2.0, 0.5, 0.25, rng.uniform(0.2, 3))))
        scale = float(np.float32(pick(rng, (1.0, 0.5, rng.uniform(0.01, 1)))))
        x = T(shape, type, scale, zero_points[0])
        axes = T(data=np.array([[1, 2], [2, 1], [-2, -3]][int(rng.integers(3))], np.int32))
        output = T((shape[0], 1, 1, shape[3]), type, float(np.float32(scale / ratio)), zero_points[1])
        samples = extremes_and_random(rng, [x], 3)
        narrow = rng.integers(-9, 10, shape) + zero_points[0]
        info = np.iinfo(type.lower())
        samples.append([np.clip(narrow, info.min, info.max).astype(info.dtype)])
        return case(rng, "MEAN", [x, axes], [output], {"keep_dims": True}, samples, version=2)

    return generate


# ADD


def _multiplier(real: float) -> tuple[int, int]:
    significand, exponent = frexp(real)
    q = int(np.floor(significand * 2.0**31 + 0.5))
    return (q >> 1, exponent + 1) if q == 2**31 else (q, exponent)


def _high_mul(x: np.ndarray, q: int) -> np.ndarray:
    return (x * q + (1 << 30)) >> 31


def _away(x: np.ndarray, right: int) -> np.ndarray:
    return x if right == 0 else (x + (1 << right - 1) - (x < 0)) >> right


def _sums(a: np.ndarray, b: np.ndarray, scales: tuple[float, float, float], left: int) -> list[np.ndarray]:
    """ADD's rounded steps of the output, with the inputs' shifts behind the product, before it, and rounding down."""
    s1, s2, s_out = (np.float64(np.float32(s)) for s in scales)
    twice = 2 * max(s1, s2)
    output, right = _multiplier(float(twice / np.float64(np.float32(2.0**left) * np.float32(s_out))))
    results = []
    for form in ("behind", "before", "down"):
        total = 0
        for x, s in ((a, s1), (b, s2)):
            q, shift = _multiplier(float(s / twice))
            steps = x.astype(np.int64) << left
            if form == "behind":
                total = total + _away(_high_mul(steps, q), -shift)
            elif form == "before":
                total = total + _high_mul(steps >> -shift, q)
            else:
                total = total + (_high_mul(steps, q) >> -shift)
        results.append(_away(_high_mul(total, output), -right))
    return results


def add(type: str) -> Generator:
    """Codes whose sum depends on when an input is rounded; of one shape, or one input repeated along some axes."""

    def generate(rng: np.random.Generator) -> Case:
        info = np.iinfo(type.lower())
        zero_points = [0 if type == "INT16" else int(rng.integers(info.min, info.max, endpoint=True)) for _ in range(3)]
        while True:
            scales, pairs = _sensitive_pairs(rng, type, zero_points[:2])
            if len(pairs):
                break
        a, b = _arrangement(rng, pairs, type)
        inputs = [T(x.shape, type, s, z) for x, s, z in zip((a, b), scales, zero_points, strict=False)]
        output = T(np.broadcast_shapes(a.shape, b.shape), type, scales[2], zero_points[2])
        options = {"fused_activation_function": "NONE", "pot_scale_int16": False}
        samples = [[a, b], *extremes_and_random(rng, inputs, 1)]
        return case(rng, "ADD", inputs, [output], options, samples, version=2)

    return generate


def _sensitive_pairs(
    rng: np.random.Generator, type: str, zero_points: list[int]
) -> tuple[tuple[float, float, float], np.ndarray]:
    """Scales, and the pairs of codes (n, 2) whose sums differ with them."""
    info = np.iinfo(type.lower())
    first = float(np.float32(2.0 ** rng.uniform(-6, 2)))
    second = float(np.float32(first * 2.0 ** rng.uniform(-7, 7)))
    scales = first, second, float(np.float32(max(first, second) * 2.0 ** rng.uniform(-1, 3)))
    if type == "INT16":
        pairs = rng.integers(info.min, info.max, (1 << 18, 2), endpoint=True)
    else:
        codes = np.arange(info.min, info.max + 1)
        pairs = np.stack(np.meshgrid(codes, codes, indexing="ij"), -1).reshape(-1, 2)
    behind, before, down = _sums(*(pairs - np.array(zero_points)).T, scales, 15 if type == "INT16" else 20)
    return scales, pairs[(behind != before) | (behind != down)]


def _arrangement(rng: np.random.Generator, pairs: np.ndarray, type: str) -> tuple[np.ndarray, np.ndarray]:
    n = int(pick(rng, (7, 8, 9, 16, 17, 31, 40)))
    drawn = pairs[rng.integers(len(pairs), size=(3, n))].astype(type.lower())
    a, b = drawn[..., 0], drawn[..., 1]
    kind = rng.integers(4)
    if kind == 0:  # one row meets several
        a = a[:1] if rng.integers(2) else a[:1, np.newaxis]
    elif kind == 1:  # single elements meet rows
        codes = pairs[rng.integers(len(pairs), size=3), 0]
        rows = [pairs[pairs[:, 0] == code][:, 1] for code in codes]
        b = np.array([row[rng.integers(len(row), size=n)] for row in rows], type.lower())
        a = codes.astype(type.lower())[:, np.newaxis]
    elif kind == 2:
        a, b = a.reshape(-1), b.reshape(-1)
    return a, b


def beyond_16_bits(op: str, type: str) -> Generator:
    """ADD or MUL with an output scale so small that results leave 16 bits, by far or by a little."""

    def generate(rng: np.random.Generator) -> Case:
        info = np.iinfo(type.lower())
        zero_points = [int(pick(rng, (info.min, info.max, rng.integers(info.min, info.max)))) for _ in range(3)]
        first, second = (float(np.float32(2.0 ** rng.uniform(-6, 0))) for _ in range(2))
        largest = 255 * (first * 255 * second if op == "MUL" else first + second)
        out = float(np.float32(largest / 2.0 ** rng.uniform(14.5, pick(rng, (18, 30 if op == "MUL" else 18)))))
        n = int(pick(rng, (7, 8, 16, 17, 40)))
        shapes = pick(rng, (((3, n), (3, n)), ((n,), (3, n)), ((3, n), (3, 1)), ((1,), (2, n))))
        inputs = [T(s, type, f, z) for s, f, z in zip(shapes, (first, second), zero_points, strict=False)]
        output = T(np.broadcast_shapes(*shapes), type, out, zero_points[2])
        options = {"fused_activation_function": pick(rng, ("NONE", "RELU6"))}
        return case(rng, op, inputs, [output], options, version=2)

    return generate
