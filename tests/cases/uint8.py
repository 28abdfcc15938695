"""The first-generation scheme: convolutions, FULLY_CONNECTED, pools and CONCATENATION on codes of uint8."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cases import dense, pooling
from cases.convolution import (
    CHANNELS,
    bias_data,
    image,
    kernel_size,
    pick,
    place,
    scales,
    transpose_shapes,
    window_options,
)
from models import Case, T, case, extremes_and_random

Generator = Callable[[np.random.Generator], Case]


def zero_point(rng) -> int:
    return int(pick(rng, (0, 255, 128, 127, rng.integers(256), rng.integers(256))))


def weights(rng, shape) -> np.ndarray:
    """Codes at both ends, few around the middle, or any."""
    kind = rng.integers(4)
    if kind == 0:
        return rng.choice(np.array([0, 255], np.uint8), shape)
    return rng.integers(*((120, 137) if kind == 1 else (0, 256)), shape).astype(np.uint8)


def operands(rng, filter_shape, channels: int, products: int, activation: str) -> tuple[float, T, T, T]:
    """(input scale, filter, bias, output): one scale each, the bias's that of the products or a little off."""
    s_in, (s_filter,), s_out = scales(rng, 1, 3 * products, activation)
    bias_scale = float(np.float32(s_in) * np.float32(s_filter)) + pick(rng, (0.0, 0.0, 0.019 * s_out))
    filter_ = T(data=weights(rng, filter_shape), scale=s_filter, zero_point=zero_point(rng))
    bias = T(data=bias_data(rng, channels, 3 * products), scale=float(np.float32(bias_scale)))
    return s_in, filter_, bias, T((1, 1, 1, channels), "UINT8", s_out, zero_point(rng))


def _case(rng, name: str, inputs: list[T | None], output: T, options: dict, dynamic: bool, version: int) -> Case:
    """dynamic: filter and bias are graph inputs, and get other values in later samples."""
    if not dynamic:
        return case(rng, name, inputs, [output], options, version=version)
    given = [t for t in inputs if t is not None]
    runtime = [None if t is None else place(True, t) for t in inputs]
    samples = extremes_and_random(rng, runtime)
    for sample in samples[1:]:
        sample[:] = [a if t.data is None else t.data[..., ::-1] for a, t in zip(sample, given, strict=True)]
    samples[0] = [a if t.data is None else t.data for a, t in zip(samples[0], given, strict=True)]
    return case(rng, name, runtime, [output], options, samples, version)


def conv_2d(rng) -> Case:
    options, k, groups = window_options(rng), kernel_size(rng), int(pick(rng, (1, 1, 1, 2, 3)))
    depth, outputs = int(pick(rng, CHANNELS)), int(pick(rng, CHANNELS)) * groups
    products = k[0] * k[1] * depth
    activation = options["fused_activation_function"]
    s_in, filter_, bias, output = operands(rng, (outputs, *k, depth), outputs, products, activation)
    size = image(rng, options, k, depth * groups)
    x = T((int(pick(rng, (1, 1, 2))), *size, depth * groups), "UINT8", s_in, zero_point(rng))
    return _case(rng, "CONV_2D", [x, filter_, bias], output, options, rng.integers(5) == 0, 1)


def around_half(name: str) -> Generator:
    """One product an output, or none, and biases around the half-way points of every result.

    With scales of many digits and large biases it decides how the product of the scales is rounded.
    """

    def generate(rng) -> Case:
        channels, width, shift = 40, int(pick(rng, (1, 3))), int(rng.integers(1, 16))
        s_in, s_filter = 1.0, 2.0**-shift * pick(rng, (1.0, 1 - 2.0**-24, 0.5 + 2.0**-24, rng.uniform(0.5, 1)))
        near = rng.integers(0, 256, channels) + pick(rng, (0.5, 0.0))
        many_digits = bool(rng.integers(2))
        if many_digits:
            s_in, s_filter = rng.uniform(0.5, 1), rng.uniform(0.5, 1) * 2.0 ** -rng.integers(18, 22)
            near = (near + 0.5) * (1 + rng.uniform(-6e-8, 6e-8, channels))
        s_in, s_filter = float(np.float32(s_in)), float(np.float32(s_filter))
        bias = np.round(near / (s_in * s_filter)) + (0 if many_digits else rng.integers(-1, 2, channels))
        filter_shape, x_shape = AROUND_HALF_SHAPES[name](channels, width)
        filter_zero_point = zero_point(rng)
        codes = np.full(filter_shape, filter_zero_point, np.uint8) if many_digits else weights(rng, filter_shape)
        filter_ = T(data=codes, scale=s_filter, zero_point=filter_zero_point)
        x = T(x_shape, "UINT8", s_in, zero_point(rng))
        inputs = [x, filter_, T(data=bias.astype(np.int32), scale=float(np.float32(s_in) * np.float32(s_filter)))]
        if name == "TRANSPOSE_CONV":
            inputs = [T(data=np.array((*x_shape[:3], channels), np.int32)), filter_, x, inputs[2]]
        options = {"fused_activation_function": "NONE"}
        if name != "FULLY_CONNECTED":
            options |= {"padding": "VALID", "stride_h": 1, "stride_w": 1}
        if name == "DEPTHWISE_CONV_2D":
            options["depth_multiplier"] = channels
        output = T((1, 1, 1, channels), "UINT8", 1.0, zero_point(rng))
        version = 3 if name == "TRANSPOSE_CONV" else 1
        return case(rng, name, inputs, [output], options, extremes_and_random(rng, [x], 1), version)

    return generate


AROUND_HALF_SHAPES = {
    "CONV_2D": lambda channels, width: ((channels, 1, 1, 1), (1, 1, width, 1)),
    "DEPTHWISE_CONV_2D": lambda channels, width: ((1, 1, 1, channels), (1, 1, width, 1)),
    "TRANSPOSE_CONV": lambda channels, width: ((channels, 1, 1, 1), (1, 1, width, 1)),
    "FULLY_CONNECTED": lambda channels, width: ((channels, 1), (width, 1)),
}


def depthwise_conv_2d(rng) -> Case:
    options, k = window_options(rng), kernel_size(rng)
    depth, options["depth_multiplier"] = int(pick(rng, CHANNELS)), int(pick(rng, (1, 1, 1, 2, 3)))
    outputs, activation = depth * options["depth_multiplier"], options["fused_activation_function"]
    s_in, filter_, bias, output = operands(rng, (1, *k, outputs), outputs, k[0] * k[1], activation)
    x = T((int(pick(rng, (1, 1, 2))), *image(rng, options, k, depth), depth), "UINT8", s_in, zero_point(rng))
    inputs = [x, filter_, bias] if rng.integers(4) else [x, filter_]
    return _case(rng, "DEPTHWISE_CONV_2D", inputs, output, options, rng.integers(5) == 0, 1)


def transpose_conv(rng) -> Case:
    options, k, x_shape, out_shape = transpose_shapes(rng)
    products = max(1, k[0] * k[1] * x_shape[3] // (options["stride_h"] * options["stride_w"]))
    activation = options["fused_activation_function"]
    s_in, filter_, bias, output = operands(rng, (out_shape[3], *k, x_shape[3]), out_shape[3], products, activation)
    shape, x = T(data=np.array(out_shape, np.int32)), T(x_shape, "UINT8", s_in, zero_point(rng))
    inputs: list[T | None] = [shape, filter_, x, bias] if rng.integers(3) else [shape, filter_, x]
    return case(rng, "TRANSPOSE_CONV", inputs, [output], options, version=3)


def fully_connected(rng) -> Case:
    options, shape, units, columns = dense.shapes(rng)
    activation = options["fused_activation_function"]
    s_in, filter_, bias, output = operands(rng, (units, columns), units, columns, activation)
    x = T(shape, "UINT8", s_in, zero_point(rng))
    inputs: list[T | None] = [x, filter_, *pick(rng, ([bias], [bias], [None], []))]
    return _case(rng, "FULLY_CONNECTED", inputs, output, options, rng.integers(5) == 0, 4)


def pool(name: str, type_: str = "UINT8") -> Generator:
    def generate(rng) -> Case:
        return pooling.pool(rng, name, type_)

    return generate


def concatenation(rng) -> Case:
    """Scales equal to the output's, powers of two apart (ties), a little apart, or far."""
    rank = int(rng.integers(1, 5))
    shape = [int(pick(rng, (1, 2, 3, 5, 8))) for _ in range(rank)]
    axis = int(rng.integers(rank))
    scale, output_zero_point = float(np.float32(rng.uniform(0.001, 0.1))), zero_point(rng)
    inputs = []
    for _ in range(int(rng.integers(1, 6))):
        shape[axis] = int(pick(rng, (1, 3, 17)))
        factor = pick(rng, (1.0, 1.0, 0.5, 2.0, 0.25, 1 + 2.0**-20, rng.uniform(0.3, 3), 2.0 ** rng.uniform(-9, 9)))
        own = pick(rng, (output_zero_point, zero_point(rng)))
        t = T(tuple(shape), "UINT8", float(np.float32(scale * factor)), own)
        constant = T(data=weights(rng, tuple(shape)), scale=t.scale, zero_point=own)
        inputs.append(constant if rng.integers(4) == 0 else t)
    options = {"axis": axis - rank * int(rng.integers(2)), "fused_activation_function": "NONE"}
    output = T((1,) * rank, "UINT8", scale, output_zero_point)
    return case(rng, "CONCATENATION", inputs, [output], options, extremes_and_random(rng, inputs, 3))
