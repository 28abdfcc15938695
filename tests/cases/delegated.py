"""What XNNPACK computes otherwise than TensorFlow Lite's own kernels, where the other generators hardly come."""

from __future__ import annotations

import numpy as np

from cases import convolution, dense, hybrid
from cases.convolution import bias_data, bias_scale, pick, scales, weights, zero_point
from cases.ties import SHAPES, Generator, of_one_tap
from models import Case, T, case, extremes_and_random

WIDE = (1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 130)


def batch_matmul(rng: np.random.Generator) -> Case:
    """b without a zero point: the delegate takes no other; constant or not."""
    options, (a_shape, b_shape) = dense.matrices(rng)
    s_a, (s_b,), s_out = scales(rng, 1, a_shape[-2 if options["adj_x"] else -1])
    a, b = T(a_shape, "INT8", s_a, zero_point(rng)), T(b_shape, "INT8", s_b)
    if rng.integers(2):
        b = T(data=weights(rng, b_shape), scale=s_b)
    return case(rng, "BATCH_MATMUL", [a, b], [T((1, 1), "INT8", s_out, zero_point(rng))], options, version=3)


def fully_connected_wide(rng: np.random.Generator) -> Case:
    """Rows, columns and units around the sizes of tiles."""
    rows, columns, units = (int(pick(rng, WIDE)) for _ in range(3))
    s_in, s_filter, s_out = scales(rng, units, columns)
    bias = T(data=bias_data(rng, units, columns), scale=bias_scale(s_in, s_filter))
    inputs = [T((rows, columns), "INT8", s_in, zero_point(rng)), T(data=weights(rng, (units, columns)), scale=s_filter)]
    options = {"fused_activation_function": pick(rng, dense.ACTIVATIONS), "weights_format": "DEFAULT"}
    output = T((rows, units), "INT8", s_out, zero_point(rng))
    return case(rng, "FULLY_CONNECTED", [*inputs, bias], [output], options, version=4)


def bounds_half_way(rng: np.random.Generator) -> Case:
    """Activations whose bounds lie half-way between two codes."""
    activation, bound = pick(rng, (("RELU6", 6), ("RELU_N1_TO_1", 1)))
    channels, s_out = int(pick(rng, (1, 16, 17))), float(np.float32(bound / (int(rng.integers(3, 120)) + 0.5)))
    filter_scale = [float(np.float32(s_out * scale)) for scale in rng.uniform(0.5, 2, channels)]
    bias = T(data=rng.integers(-300, 300, channels).astype(np.int32), scale=bias_scale(1.0, filter_scale))
    filter_ = T(data=rng.integers(-3, 4, (channels, 1, 1, 1)).astype(np.int8), scale=filter_scale)
    options = {"padding": "VALID", "stride_h": 1, "stride_w": 1, "fused_activation_function": activation}
    output = T((1, 1, 4, channels), "INT8", s_out, zero_point(rng))
    return case(rng, "CONV_2D", [T((1, 1, 4, 1), "INT8", 1.0, zero_point(rng)), filter_, bias], [output], options)


def many_digits(name: str) -> Generator:
    """Large biases around half-way points and scales of many digits: the last bit of the multiplier decides."""

    def generate(rng: np.random.Generator) -> Case:
        channels = 40
        s_in, s_out = (float(np.float32(scale)) for scale in rng.uniform(0.5, 1, 2))
        filter_scale = [float(np.float32(scale)) for scale in rng.uniform(1, 2, channels) * 2.0**-17]
        near = rng.integers(1, 120, channels) + 0.5
        bias = np.round(near * s_out / (s_in * np.array(filter_scale))).astype(np.int32)
        filter_shape, x_shape = SHAPES[name](channels, 2, 1)
        axis = 3 if name == "DEPTHWISE_CONV_2D" else 0
        filter_ = T(data=np.zeros(filter_shape, np.int8), scale=filter_scale, axis=axis)
        x = T(x_shape, "INT8", s_in, zero_point(rng))
        inputs, options = of_one_tap(name, x, filter_, T(data=bias, scale=bias_scale(s_in, filter_scale)))
        output = T((1, 1, 1, channels), "INT8", s_out)
        return case(rng, name, inputs, [output], options, extremes_and_random(rng, [x], 1), 3)

    return generate


def below_int32(name: str) -> Generator:
    """Sums whose results lie around the lowest int32 or far below it, and activations above them; SHAPES and a window
    of a size at which the kernels of DEPTHWISE_CONV_2D change."""

    def generate(rng: np.random.Generator) -> Case:
        channels, s_out = int(pick(rng, (2, 16, 23))), 2.0 ** -float(rng.integers(4, 8))
        filter_scale = [float(np.float32(scale)) for scale in rng.uniform(0.3, 1, channels)]
        lowest = -(2.0**31) * s_out / np.array(filter_scale)
        bias = lowest * rng.choice([0.5, 1 - 1e-6, 1, 1 + 1e-6, 1.5, 4, -1], channels)
        depthwise = name == "DEPTHWISE_CONV_2D"
        filter_shape, x_shape = SHAPES[name](channels, 2, 1)
        if depthwise and rng.integers(2):
            taps = int(pick(rng, (1, 9, 25, 26)))
            filter_shape, x_shape = (1, taps, 1, channels), (1, taps, 2, channels)
        filter_ = T(data=rng.integers(-2, 3, filter_shape).astype(np.int8), scale=filter_scale, axis=3 * depthwise)
        x = T(x_shape, "INT8", 1.0, zero_point(rng))
        codes = T(
            data=np.clip(np.round(bias), -(2**31), 2**31 - 1).astype(np.int32), scale=bias_scale(1.0, filter_scale)
        )
        inputs, options = of_one_tap(name, x, filter_, codes)
        if depthwise:
            options["depth_multiplier"] = channels // x_shape[3]
        if name != "TRANSPOSE_CONV":
            options["fused_activation_function"] = pick(rng, ("NONE", "RELU", "RELU6", "RELU_N1_TO_1"))
        output = T((1, 1, 1, channels), "INT8", s_out, int(pick(rng, (-128, -1, 0, 127, zero_point(rng)))))
        return case(rng, name, inputs, [output], options, extremes_and_random(rng, [x], 1), 3)

    return generate


def batch_matmul_below_int32(rng: np.random.Generator) -> Case:
    """Long rows of lowest codes by highest ones, in steps so fine that results lie below int32."""
    rows, columns = (int(pick(rng, (1, 9, 17))) for _ in range(2))
    a, b = T((rows, 1024), "INT8", 0.5, 127), T((1024, columns), "INT8", 0.5)
    output = T((rows, columns), "INT8", 2.0**-9, int(pick(rng, (-128, -1, 0, zero_point(rng)))))
    options = {"adj_x": False, "adj_y": False, "asymmetric_quantize_inputs": False}
    shares = rng.uniform(0, 1, (2, columns)), rng.uniform(0, 1, (1024, columns))
    drawn = [
        [np.full(a.shape, -128, np.int8), np.where(shares[1] < share, 127, -127).astype(np.int8)] for share in shares[0]
    ]
    return case(rng, "BATCH_MATMUL", [a, b], [output], options, drawn, 3)


def hybrid_around_denormals(rng: np.random.Generator) -> Case:
    """Rows so close to 0, or so far from it, that scales or results are denormal numbers or infinite."""
    rows, columns, units = int(rng.integers(1, 8)), int(rng.integers(1, 40)), int(rng.integers(1, 70))
    filter_scale = float(np.float32(10.0 ** rng.uniform(-6, 1)))
    bias = (rng.standard_normal(units) * 10.0 ** pick(rng, (-40, -37, -30, 0))).astype(np.float32)
    inputs = [T((rows, columns), "FLOAT32"), T(data=hybrid.weights(rng, (units, columns)), scale=filter_scale)]
    options = {"fused_activation_function": pick(rng, ("NONE", "RELU")), "weights_format": "DEFAULT"}
    drawn = []
    for exponent in (-36, -35, -34, -30, 37):
        x = (np.clip(rng.standard_normal((rows, columns)), -3, 3) * 10.0**exponent).astype(np.float32)
        x[:, 0] = 10.0**exponent  # so that no row is next to 0
        x[:, 1 : 1 + columns // 3] = rng.choice([1e-40, -1e-40, 0])
        drawn.append([x])
    return case(rng, "FULLY_CONNECTED", [*inputs, T(data=bias)], [T((rows, units), "FLOAT32")], options, drawn, 4)


def float_around_denormals(rng: np.random.Generator) -> Case:
    """Products and sums around the least normal number."""
    name = pick(rng, ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"))
    generate = {
        "CONV_2D": convolution.conv_2d_float,
        "DEPTHWISE_CONV_2D": convolution.depthwise_conv_2d_float,
        "FULLY_CONNECTED": dense.fully_connected_float,
    }[name]
    drawn = generate(rng)
    shape = drawn.samples[0][0].shape
    sizes = (10.0 ** rng.uniform(-40, -36, shape) for _ in range(3))
    drawn.samples = [[(rng.standard_normal(shape) * size).astype(np.float32)] for size in sizes]
    return drawn


def float_wide(rng: np.random.Generator) -> Case:
    """Rows, columns and units around the sizes of tiles; also values of few bits, whose sums are often half-way."""
    rows, columns, units = (int(pick(rng, WIDE)) for _ in range(3))
    few = rng.integers(2)

    def numbers(*shape: int) -> np.ndarray:
        x = rng.standard_normal(shape)
        return (np.ldexp(np.rint(x * 4), rng.integers(-14, 14, shape)) if few else x).astype(np.float32)

    inputs = [T((rows, columns), "FLOAT32"), T(data=numbers(units, columns)), T(data=numbers(units))]
    options = {"fused_activation_function": pick(rng, dense.ACTIVATIONS), "weights_format": "DEFAULT"}
    drawn = [[numbers(rows, columns)] for _ in range(3)]
    return case(rng, "FULLY_CONNECTED", inputs, [T((rows, units), "FLOAT32")], options, drawn, 4)
