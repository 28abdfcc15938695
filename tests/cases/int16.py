"""Codes of int16, with int8 filters (16x8) and without."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from cases import dense
from cases.binary import activation, near, quantized_pair, scale, shape, twice, two_shapes
from cases.convolution import (
    CHANNELS,
    image,
    kernel_size,
    pick,
    place,
    scales,
    transpose_shapes,
    weights,
    window_options,
    zero_point,
)
from models import Case, T, case, extremes_and_random

Generator = Callable[[np.random.Generator], Case]


# Products with int8 filters


def bias(rng, channels: int, products: int, type_: str, scale: float = 1.0) -> T:
    """As large as one step, as the products, around the ends of int32, or (int64) far beyond."""
    reach = (1, 32768 * 127 * np.sqrt(products), 2**30 if type_ == "INT32" else 2.0 ** rng.uniform(31, 46))
    limit = int(pick(rng, reach))
    values = rng.integers(-limit, limit + 1, channels)
    if type_ == "INT32" and rng.integers(8) == 0:  # accumulators that wrap
        values = rng.choice([-(2**31), 2**31 - 1], channels)
    return T(data=values.astype(type_.lower()), scale=scale)


def _samples(rng, inputs: list[T | None], turn: slice | tuple | None) -> list[list[np.ndarray]]:
    """As extremes_and_random; with `turn`, inputs that have data get it, from the second sample on turned around."""
    if turn is None:
        return extremes_and_random(rng, inputs)
    given = [t for t in inputs if t is not None]
    samples = extremes_and_random(rng, [t if t.data is None else place(True, t) for t in given])
    for number, sample in enumerate(samples):
        sample[:] = [
            array if t.data is None else t.data[turn] if number and t.type == "INT8" else t.data
            for array, t in zip(sample, given, strict=True)
        ]
    return samples


def _case(rng, name: str, inputs: list[T | None], output: T, options: dict, turn, version: int) -> Case:
    samples = _samples(rng, inputs, turn)
    inputs = [t if t is None or turn is None else place(True, t) for t in inputs]
    return case(rng, name, inputs, [output], options, samples, version)


def _bias_type(rng, options: dict, type_: str) -> dict:
    """The options with quantized_bias_type; INT64 is also what is meant without it."""
    return options if type_ == "INT64" and rng.integers(2) else {**options, "quantized_bias_type": type_}


def conv_2d(type_: str) -> Generator:
    """With a bias of that type; per channel or per tensor, grouped, filter and bias constant or not."""

    def build(rng) -> Case:
        options, k, groups = window_options(rng), kernel_size(rng), int(pick(rng, (1, 1, 1, 1, 2, 3)))
        depth, outputs = int(pick(rng, CHANNELS)), int(pick(rng, CHANNELS)) * groups
        products, activation = k[0] * k[1] * depth, options["fused_activation_function"]
        s_in, s_filter, s_out = scales(rng, outputs if rng.integers(4) else 1, products, activation)
        size = image(rng, options, k, depth * groups)
        inputs: list[T | None] = [
            T((int(pick(rng, (1, 1, 2))), *size, depth * groups), "INT16", s_in),
            T(data=weights(rng, (outputs, *k, depth)), scale=s_filter),
            bias(rng, outputs, products, type_),
        ]
        turn = np.s_[::-1] if rng.integers(5) == 0 else None
        output = T((1, 1, 1, outputs), "INT16", s_out)
        return _case(rng, "CONV_2D", inputs, output, _bias_type(rng, options, type_), turn, 8)

    return build


def conv_2d_around_half(type_: str) -> Generator:
    """A 1x1 convolution whose accumulators lie around half-way points of all sizes, of both signs."""

    def build(rng) -> Case:
        channels, shift = 255, int(rng.integers(-7, 20))
        multiplier = 2.0**-shift * pick(rng, (1.0, 1 - 2.0**-24, 0.5 + 2.0**-24, 1 - 2.0**-16, rng.uniform(0.5, 1)))
        steps = rng.integers(-40000, 40000, channels) // int(pick(rng, (1, 1, 100)))
        values = np.round((steps + pick(rng, (0.5, 0.0))) / multiplier) + rng.integers(-1, 2, channels)
        values = np.clip(values, -(2**31), 2**31 - 1) if type_ == "INT32" else values
        x = T((1, 1, int(pick(rng, (1, 5))), 1), "INT16", 1.0)
        filter_ = T(data=weights(rng, (channels, 1, 1, 1)), scale=float(np.float32(multiplier)))
        inputs = [x, filter_, T(data=values.astype(type_.lower()), scale=1.0)]
        options = {"padding": "VALID", "stride_h": 1, "stride_w": 1, "fused_activation_function": "NONE"}
        options = {**options, "quantized_bias_type": type_}
        samples = [[np.full(x.shape, code, np.int16)] for code in (0, 1, -1)] + extremes_and_random(rng, inputs)
        return case(rng, "CONV_2D", inputs, [T((1, 1, 1, channels), "INT16", 1.0)], options, samples, version=8)

    return build


def conv_2d_deep(rng) -> Case:
    """So many channels, or weights so small, that products are summed in other ways."""
    depth, outputs = int(pick(rng, (600, 2100, 5000))), 3
    filter_ = weights(rng, (outputs, 1, 1, depth))
    filter_ = filter_ if rng.integers(2) else np.sign(filter_)
    type_ = pick(rng, ("INT32", "INT64"))
    s_filter = [float(np.float32(2.0 ** rng.uniform(-17, -5))) for _ in range(outputs)]
    inputs = [T((1, 1, 3, depth), "INT16", 1.0), T(data=filter_, scale=s_filter), bias(rng, outputs, depth, type_)]
    options = {"padding": "VALID", "stride_h": 1, "stride_w": 1, "quantized_bias_type": type_}
    return case(rng, "CONV_2D", inputs, [T((1, 1, 1, outputs), "INT16", 1.0)], options, version=8)


def depthwise_conv_2d(rng) -> Case:
    options, k = window_options(rng), kernel_size(rng)
    depth, options["depth_multiplier"] = int(pick(rng, CHANNELS)), int(pick(rng, (1, 1, 1, 2, 3)))
    beyond_int32 = rng.integers(20) == 0
    if beyond_int32:
        depth, k, options["padding"] = 3, (24, 24), "VALID"
        options.update(dilation_h_factor=1, dilation_w_factor=1)
    outputs, activation = depth * options["depth_multiplier"], options["fused_activation_function"]
    per_channel = rng.integers(4) > 0
    s_in, s_filter, s_out = scales(rng, outputs if per_channel else 1, k[0] * k[1], activation)
    filter_zero_point = 0 if per_channel or rng.integers(2) else zero_point(rng)  # the kernel does not read it
    data = (
        np.full((1, *k, outputs), pick(rng, (-127, 127)), np.int8) if beyond_int32 else weights(rng, (1, *k, outputs))
    )
    filter_ = T(data=data, scale=s_filter, zero_point=filter_zero_point, axis=3)
    x = T((int(pick(rng, (1, 1, 2))), *image(rng, options, k, depth), depth), "INT16", s_in)
    inputs = [x, filter_, bias(rng, outputs, k[0] * k[1], "INT64")] if rng.integers(4) else [x, filter_]
    turn = np.s_[:, ::-1] if rng.integers(5) == 0 else None
    return _case(rng, "DEPTHWISE_CONV_2D", inputs, T((1, 1, 1, outputs), "INT16", s_out), options, turn, 6)


def transpose_conv(type_: str) -> Generator:
    def build(rng) -> Case:
        options, k, x_shape, out_shape = transpose_shapes(rng)
        products = max(1, k[0] * k[1] * x_shape[3] // (options["stride_h"] * options["stride_w"]))
        channels, activation, per_channel = out_shape[3], options["fused_activation_function"], bool(rng.integers(2))
        s_in, s_filter, s_out = scales(rng, channels if per_channel else 1, products, activation)
        filter_zero_point = 0 if per_channel or rng.integers(2) else zero_point(rng)  # the kernel does not read it
        filter_ = T(data=weights(rng, (channels, *k, x_shape[3])), scale=s_filter, zero_point=filter_zero_point)
        shape, x = T(data=np.array(out_shape, np.int32)), T(x_shape, "INT16", s_in)
        inputs: list[T | None] = [shape, filter_, x, *pick(rng, ([bias(rng, channels, products, type_)], [None], []))]
        options = _bias_type(rng, options, type_)
        return _case(rng, "TRANSPOSE_CONV", inputs, T(out_shape, "INT16", s_out), options, None, 5)

    return build


def fully_connected(type_: str) -> Generator:
    def build(rng) -> Case:
        options, shape, units, columns = dense.shapes(rng)
        per_channel = bool(rng.integers(2))
        activation = options["fused_activation_function"]
        s_in, s_filter, s_out = scales(rng, units if per_channel else 1, columns, activation)
        filter_zero_point = pick(rng, (0, 0, zero_point(rng)))
        filter_ = T(data=weights(rng, (units, columns)), scale=s_filter, zero_point=filter_zero_point)
        scale = 1.0 if len(s_filter) > 1 else float(np.float32(s_in * np.float32(s_filter[0])))
        addend = bias(rng, units, columns, type_, scale)
        inputs = [T(shape, "INT16", s_in), filter_, *pick(rng, ([addend], [addend], [None], []))]
        largest = 2.0**15 * 255 * columns + np.abs(addend.data.astype(float)).max()
        largest = min(largest, 2.0**31) if type_ == "INT32" else largest
        s_out = max(s_out, float(np.float32(s_in * max(s_filter) * largest * 2.0**-30.9)))  # results fit int32
        turn = np.s_[::-1] if rng.integers(5) == 0 else None
        options = _bias_type(rng, options, type_)
        return _case(rng, "FULLY_CONNECTED", inputs, T((1, units), "INT16", s_out), options, turn, 13)

    return build


def batch_matmul(type_: str) -> Generator:
    """int16 times int16, or times int8."""

    def build(rng) -> Case:
        options, (a_shape, b_shape) = dense.matrices(rng)
        s_a, (s_b,), s_out = scales(rng, 1, a_shape[-2 if options["adj_x"] else -1])
        a, b = T(a_shape, "INT16", s_a), T(b_shape, type_, s_b if type_ == "INT8" else float(np.float32(s_b / 256)))
        if rng.integers(2):
            info = np.iinfo(type_.lower())
            b.data = rng.integers(info.min, info.max, b_shape, b.type.lower(), endpoint=True)
        return case(rng, "BATCH_MATMUL", [a, b], [T((1, 1), "INT16", s_out)], options, version=4)

    return build


# Elementwise


def power_of_two_sum(op: str) -> Generator:
    """ADD or SUB with pot_scale_int16, said or not: scales at, just inside and just outside of powers of two."""

    def build(rng) -> Case:
        a, b = (shape(rng),) * 2 if op == "ADD" else two_shapes(rng)
        out = 2.0 ** int(rng.integers(-16, 3))
        shifted = out * 2.0 ** -int(pick(rng, (0, 0, 1, 2, 5, 14, 15, 16, 17, 25, 31)))
        off = 2.0 ** pick(rng, (0.0, 0.0, 0.0, 9.9e-4, -9.9e-4))
        scales = [float(np.float32(s * off)) for s in pick(rng, ((out, shifted), (shifted, out)))]
        if rng.integers(6) == 0:  # one scale is none, so codes are rescaled
            scales[int(rng.integers(2))] *= pick(rng, (1.0008, 1.3, 0.9992))
        inputs = [T(s, "INT16", float(np.float32(f))) for s, f in zip((a, b), scales, strict=True)]
        inputs = [replace(t, data=codes(rng, t.shape)) if rng.integers(4) == 0 else t for t in inputs]
        output = T(np.broadcast_shapes(a, b), "INT16", float(out))
        options = {**activation(rng), **pick(rng, ({}, {"pot_scale_int16": True}))}
        return twice(rng, case(rng, op, inputs, [output], options, version=pick(rng, (2, 3))))

    return build


def codes(rng, shape) -> np.ndarray:
    return rng.integers(-32768, 32767, shape, np.int16, endpoint=True)


def comparison(op: str) -> Generator:
    """EQUAL, NOT_EQUAL: codes whose reals are often equal. The order comparisons do not look at the scales."""

    def build(rng) -> Case:
        inputs = [replace(t, scale=min(t.scale, 0.999999)) for t in quantized_pair(rng, "INT16")]
        if rng.integers(2):
            inputs[1] = replace(inputs[1], scale=inputs[0].scale)
        few = [[rng.integers(-3, 4, t.shape).astype(np.int16) for t in inputs if t.data is None] for _ in range(2)]
        output = T(np.broadcast_shapes(*(t.shape for t in inputs)), "BOOL")
        return twice(rng, case(rng, op, inputs, [output], {}, extremes_and_random(rng, inputs) + few))

    return build


def prelu(rng) -> Case:
    """Alpha is int8, with any zero point."""
    x_shape = shape(rng)
    alpha_shape = tuple(1 if rng.integers(3) == 0 else d for d in x_shape)[int(rng.integers(2)) :]
    s = scale(rng)
    alpha = T(alpha_shape, "INT8", scale(rng), zero_point(rng))
    alpha = replace(alpha, data=weights(rng, alpha_shape)) if rng.integers(4) else alpha
    return case(rng, "PRELU", [T(x_shape, "INT16", s), alpha], [T(x_shape, "INT16", near(rng, s))])


def all_codes(rng) -> np.ndarray:
    """All codes, in two shapes."""
    every = np.arange(-32768, 32768).astype(np.int16)
    return every.reshape((-1,) if rng.integers(2) else (4, 1, 64, 256))


FUNCTIONS = {"EXP": np.exp, "LOG": np.log, "GELU": lambda x: x, "SQRT": np.sqrt, "RSQRT": lambda x: 1 / np.sqrt(x)}


def function(op: str) -> Generator:
    """A function of all codes that it takes, the output scale such that the results fill the range or exceed it."""

    def build(rng) -> Case:
        reach = float(10.0 ** rng.uniform(-2, 2.5)) if rng.integers(3) else float(2.0 ** rng.integers(-5, 8))
        s, x = float(np.float32(reach / 32768)), all_codes(rng)
        least = 1 if op in ("LOG", "RSQRT") else -32768
        if op in ("SQRT", "RSQRT"):
            x = np.maximum(x, 0)
        largest = float(FUNCTIONS[op](np.float64(pick(rng, (max(least, 1), 100, 32767, 32767)) * s).clip(-80, 80)))
        out = max(abs(largest), 1e-3) / 32767 * pick(rng, (1.0, 1.0, 0.5, 3.0, rng.uniform(0.5, 2)))
        if rng.integers(3) == 0:
            out = 2.0 ** np.round(np.log2(out))
        out = max(out, 1e-4 / 32768)  # the results of SQRT fit int32
        if op == "EXP":  # above, the codes leave float32
            x = np.minimum(x, min(int(min(85, np.log(3e38 * out)) / s) - 256, 32767)).astype(np.int16)
        options = {"approximate": bool(rng.integers(2))} if op == "GELU" else {}
        output = T(x.shape, "INT16", float(np.float32(out)))
        return case(rng, op, [T(x.shape, "INT16", s)], [output], options, [[x]], version=3 if op == "RSQRT" else 2)

    return build


def sigmoid(op: str) -> Generator:
    """LOGISTIC or TANH of all codes: input scales at and around powers of two, and of any size."""

    def build(rng) -> Case:
        kind, x = rng.integers(4), all_codes(rng)
        s = 2.0 ** float(pick(rng, (-12, -11, -12, -11, -10, -13)))
        if kind == 1:
            s *= 2.0 ** pick(rng, (9.9e-4, -9.9e-4, 1.02e-3, -1.02e-3, 1e-5))
        elif kind == 2:
            s = 2.0 ** rng.uniform(-42, 2.4)
        elif kind == 3:  # multipliers next to whole numbers
            s = (rng.integers(16384, 32768) + pick(rng, (0.0, 1e-3, -1e-3))) / 12288 * 2.0 ** -int(rng.integers(0, 20))
        out = 1 / 32768 if op == "LOGISTIC" else 2.0**-15 * 2.0 ** pick(rng, (0.0, 0.0, 9e-4, -9e-4))
        output = T(x.shape, "INT16", float(np.float32(out)))
        return case(rng, op, [T(x.shape, "INT16", float(np.float32(s)))], [output], {}, [[x]], version=3)

    return build


# Rows


def softmax(rng) -> Case:
    rank = int(rng.integers(1, 5))
    depth = int(pick(rng, (1, 2, 3, 4, 7, 10, 16, 33, 64, 257, 1000)))
    x_shape = (*(int(d) for d in rng.integers(1, 4, rank - 1)), depth)
    reach = float(2.0 ** rng.integers(-6, 7)) if rng.integers(3) == 0 else float(10.0 ** rng.uniform(-5, 5))
    beta = float(np.float32(pick(rng, (1.0, 1.0, 0.5, 2.0, rng.uniform(0.01, 30), 0.0))))
    drawn = extremes_and_random(rng, [T(x_shape, "INT16")])
    for width in (3, 300, 5000):
        low = int(rng.integers(-32768, 32767 - width))
        drawn.append([rng.integers(low, low + width, x_shape, np.int16)])
    output = T(x_shape, "INT16", 1 / 32768 * (1 + pick(rng, (0, 0.0009, -0.0009))))
    return case(rng, "SOFTMAX", [T(x_shape, "INT16", reach / 32768)], [output], {"beta": beta}, drawn, version=3)


def softmax_many_equal(rng) -> Case:
    """Rows so long that the sum of exponentials comes close to int32's end."""
    x_shape = (2, int(rng.integers(20000, 65530)))
    drawn = [[np.full(x_shape, 7, np.int16)], [rng.choice(np.array([5, 5, 4, -300], np.int16), x_shape)]]
    return case(rng, "SOFTMAX", [T(x_shape, "INT16", 1e-4)], [T(x_shape, "INT16", 2.0**-15)], {"beta": 1.0}, drawn)
