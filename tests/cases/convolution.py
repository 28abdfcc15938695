"""CONV_2D, DEPTHWISE_CONV_2D, TRANSPOSE_CONV. Declared output shapes are placeholders: the runtime computes its own."""

from __future__ import annotations

import numpy as np

from models import Case, T, case, extremes_and_random

CHANNELS = (1, 3, 4, 7, 8, 15, 16, 17, 33)
ACTIVATIONS = ("NONE", "NONE", "RELU", "RELU6", "RELU_N1_TO_1", "TANH")
MOST_PIXELS = 3000  # of an image times its channels, to keep a case fast


def pick(rng, values):
    return values[int(rng.integers(len(values)))]


def zero_point(rng) -> int:
    return int(pick(rng, (-128, 127, 0, -1, rng.integers(-128, 128), rng.integers(-128, 128))))


def weights(rng, shape) -> np.ndarray:
    kind = rng.integers(6)
    if kind == 0:
        return (pick(rng, (-127, 127)) * rng.integers(0, 2, shape)).astype(np.int8)
    if kind == 1:
        return rng.integers(-3, 4, shape).astype(np.int8)
    return rng.integers(-128 if kind == 2 else -127, 128, shape).astype(np.int8)


def scales(rng, channels: int, products: int, activation: str = "NONE") -> tuple[float, list[float], float]:
    """(input scale, `channels` filter scales, output scale).

    The multipliers spread the accumulators of so many products over the output's range; or are powers of two, which
    give ties; or anything from tiny to large.
    """
    kind = rng.integers(5)
    spread = 100 / (5000 * np.sqrt(products))
    if kind == 0:
        power = int(np.round(np.log2(spread))) + rng.integers(-3, 4, channels)
        return 0.5, [float(2.0**p) for p in power], 0.5
    multiplier = 2.0 ** rng.uniform(-20, 4, channels) if kind == 1 else spread * 2.0 ** rng.uniform(-2, 2, channels)
    input_scale, output_scale = (float(np.float32(2.0 ** rng.uniform(-8, 2))) for _ in range(2))
    if activation in ("RELU6", "RELU_N1_TO_1") and rng.integers(3):
        output_scale = float(np.float32(rng.uniform(0.005, 0.06)))  # bounds inside the range
    return input_scale, [float(np.float32(m * output_scale / input_scale)) for m in multiplier], output_scale


def bias_scale(input_scale: float, filter_scale: list[float]) -> list[float]:
    """One scale a channel, as converters write them; XNNPACK counts them."""
    return [float(np.float32(input_scale) * np.float32(scale)) for scale in filter_scale]


def bias_data(rng, channels: int, products: int) -> np.ndarray:
    limit = int(pick(rng, (1, 20000 * np.sqrt(products), 2**20)))
    return rng.integers(-limit, limit + 1, channels).astype(np.int32)


def window_options(rng, dilations=(1, 1, 1, 2, 3)) -> dict:
    return {
        "padding": pick(rng, ("SAME", "VALID")),
        "stride_h": int(pick(rng, (1, 1, 2, 3))),
        "stride_w": int(pick(rng, (1, 1, 2, 3))),
        "dilation_h_factor": int(pick(rng, dilations)),
        "dilation_w_factor": int(pick(rng, dilations)),
        "fused_activation_function": pick(rng, ACTIVATIONS),
    }


def image(rng, options: dict, taps: tuple[int, int], channels: int) -> tuple[int, int]:
    """Height and width, large enough for the window if the padding is VALID (sometimes one too few: no output)."""
    size = []
    for axis, k in zip("hw", taps, strict=True):
        extent = (k - 1) * options.get(f"dilation_{axis}_factor", 1) + 1
        size.append((extent if options["padding"] == "VALID" else 1) + int(pick(rng, (0, 1, 2, 3, 4, 7, 12))))
    if options["padding"] == "VALID" and rng.integers(40) == 0:
        axis = int(rng.integers(2))
        size[axis] = max(1, size[axis] - 1)
    shrink = max(1.0, size[0] * size[1] * channels / MOST_PIXELS)
    if shrink > 1 and options["padding"] == "SAME":
        size = [max(1, int(s / np.sqrt(shrink))) for s in size]
    return size[0], size[1]


def kernel_size(rng) -> tuple[int, int]:
    return int(pick(rng, (1, 1, 2, 3, 3, 5))), int(pick(rng, (1, 1, 2, 3, 3, 4)))


def float_data(rng, shape) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, 1e-30, np.finfo(np.float32).max], np.float32)


def special_data(rng, shape) -> np.ndarray:
    """Normal numbers with a few infinities, NaN, zeros of both signs, and numbers that overflow and underflow."""
    array = float_data(rng, shape)
    return np.where(rng.integers(0, 8, shape) == 0, pick(rng, SPECIAL), array)


def float_samples(rng, inputs) -> list[list[np.ndarray]]:
    shapes = [t.shape for t in inputs if t is not None and t.data is None]
    samples = [[float_data(rng, shape) for shape in shapes] for _ in range(2)]
    return [*samples, [special_data(rng, shape) for shape in shapes]]


def place(dynamic: bool, t: T) -> T:
    """The tensor as a constant, or as a graph input without its data."""
    return T(t.shape, t.type, t.scale, t.zero_point, t.axis) if dynamic else t


# CONV_2D


def _conv(rng, per_channel: bool, groups: int = 1, channels=CHANNELS, dynamic: bool = False) -> Case:
    options, k = window_options(rng), kernel_size(rng)
    depth, outputs = int(pick(rng, channels)), int(pick(rng, channels)) * groups
    products = k[0] * k[1] * depth
    s_in, s_filter, s_out = scales(rng, outputs if per_channel else 1, products, options["fused_activation_function"])
    x = T(
        (int(pick(rng, (1, 1, 2))), *image(rng, options, k, depth * groups), depth * groups),
        "INT8",
        s_in,
        zero_point(rng),
    )
    filter_ = T(data=weights(rng, (outputs, *k, depth)), scale=s_filter)
    bias = T(data=bias_data(rng, outputs, products), scale=bias_scale(s_in, s_filter))
    inputs = [x, place(dynamic, filter_), place(dynamic, bias)]
    output = T((1, 1, 1, outputs), "INT8", s_out, zero_point(rng))
    samples = extremes_and_random(rng, inputs)
    if dynamic:
        samples = [[a[0], filter_.data[::-1] if i else filter_.data, bias.data] for i, a in enumerate(samples)]
    return case(rng, "CONV_2D", inputs, [output], options, samples, version=3)


def conv_2d(rng) -> Case:
    return _conv(rng, True)


def conv_2d_per_tensor(rng) -> Case:
    return _conv(rng, False)


def conv_2d_grouped(rng) -> Case:
    return _conv(rng, bool(rng.integers(2)), int(pick(rng, (2, 3, 4))), (1, 2, 3, 4, 8))


def conv_2d_dynamic(rng) -> Case:
    return _conv(rng, bool(rng.integers(2)), int(pick(rng, (1, 1, 2))), (1, 3, 4, 8), True)


def _small(rng, bias: np.ndarray, depth: int, multiplier) -> Case:
    """A 1x1 convolution of one pixel with the given biases and real multipliers (powers of two stay exact)."""
    x = T((1, 1, int(pick(rng, (1, 5))), depth), "INT8", 1.0, zero_point(rng))
    filter_ = T(data=weights(rng, (len(bias), 1, 1, depth)), scale=[float(np.float32(m)) for m in multiplier])
    options = {"padding": "VALID", "stride_h": 1, "stride_w": 1, "fused_activation_function": pick(rng, ACTIVATIONS)}
    output = T((1, 1, 1, len(bias)), "INT8", 1.0, zero_point(rng))
    inputs = [x, filter_, T(data=bias.astype(np.int32), scale=bias_scale(1.0, filter_.scale))]
    return case(rng, "CONV_2D", inputs, [output], options, extremes_and_random(rng, inputs, 6), version=3)


def conv_2d_wrapping(rng) -> Case:
    """Biases near the ends of int32: the accumulator wraps."""
    channels = 33
    end = np.where(rng.integers(0, 2, channels), 2**31 - 1, -(2**31)).astype(np.int64)
    bias = end - np.sign(end) * rng.integers(0, 200000, channels)
    return _small(rng, bias, 4, 2.0 ** -rng.uniform(20, 31, channels))


def conv_2d_large_multipliers(rng) -> Case:
    """Left shifts, which wrap, and exact ties of every shift."""
    channels = 33
    exponent = rng.integers(-12, 30, channels)
    multiplier = 2.0**exponent * np.where(rng.integers(0, 2, channels), 1.0, rng.uniform(0.5, 1, channels))
    return _small(rng, rng.integers(-300, 300, channels), int(pick(rng, (1, 2, 9))), multiplier)


def conv_2d_bias_only(rng) -> Case:
    """Accumulators placed around the half-way points of every result."""
    channels = 255
    shift = int(rng.integers(1, 20))
    multiplier = 2.0**-shift * pick(rng, (1.0, 1 - 2.0**-24, 0.5 + 2.0**-24, rng.uniform(0.5, 1)))
    bias = np.round((np.arange(channels) - 127 + pick(rng, (0.5, 0.0))) / multiplier) + rng.integers(-1, 2, channels)
    return _small(rng, bias, 1, np.full(channels, multiplier))


def conv_2d_deep(rng) -> Case:
    """So many channels that float32 sums are no longer exact."""
    depth, outputs = int(pick(rng, (1024, 1500, 2100, 5000))), 3
    x = T((1, 1, 3, depth), "INT8", 1.0, zero_point(rng))
    s_filter = [float(np.float32(2.0 ** rng.uniform(-17, -12))) for _ in range(outputs)]
    filter_ = T(data=weights(rng, (outputs, 1, 1, depth)), scale=s_filter)
    options = {"padding": "VALID", "stride_h": 1, "stride_w": 1, "fused_activation_function": pick(rng, ACTIVATIONS)}
    bias = T(data=bias_data(rng, outputs, depth), scale=bias_scale(1.0, s_filter))
    return case(
        rng, "CONV_2D", [x, filter_, bias], [T((1, 1, 1, outputs), "INT8", 1.0, zero_point(rng))], options, version=3
    )


def conv_2d_float(rng) -> Case:
    options, k = window_options(rng), kernel_size(rng)
    groups = int(pick(rng, (1, 1, 1, 2, 3)))
    depth, outputs = int(pick(rng, (1, 3, 4, 8))), int(pick(rng, (1, 3, 8))) * groups
    x = T((int(pick(rng, (1, 2))), *image(rng, options, k, depth * groups), depth * groups), "FLOAT32")
    inputs = [x, T(data=float_data(rng, (outputs, *k, depth))), T(data=float_data(rng, outputs))]
    return case(rng, "CONV_2D", inputs, [T((1, 1, 1, outputs), "FLOAT32")], options, float_samples(rng, inputs))


# DEPTHWISE_CONV_2D


def _depthwise(rng, per_channel: bool, dynamic: bool = False) -> Case:
    options, k = window_options(rng), kernel_size(rng)
    depth, multiplier = int(pick(rng, CHANNELS)), int(pick(rng, (1, 1, 1, 2, 3)))
    outputs, activation = depth * multiplier, options["fused_activation_function"]
    options["depth_multiplier"] = multiplier
    s_in, s_filter, s_out = scales(rng, outputs if per_channel else 1, k[0] * k[1], activation)
    x = T((int(pick(rng, (1, 1, 2))), *image(rng, options, k, depth), depth), "INT8", s_in, zero_point(rng))
    filter_zero_point = 0 if per_channel or rng.integers(2) else zero_point(rng)  # the kernel does not read it
    filter_ = T(data=weights(rng, (1, *k, outputs)), scale=s_filter, zero_point=filter_zero_point, axis=3)
    own = bias_scale(s_in, s_filter)
    bias = T(data=bias_data(rng, outputs, k[0] * k[1]), scale=own) if dynamic or rng.integers(4) else None
    inputs = [x, place(dynamic, filter_)] + ([place(dynamic, bias)] if bias is not None else [])
    output = T((1, 1, 1, outputs), "INT8", s_out, zero_point(rng))
    samples = extremes_and_random(rng, inputs)
    if dynamic:
        samples = [[a[0], filter_.data[:, ::-1] if i else filter_.data, bias.data] for i, a in enumerate(samples)]
    return case(rng, "DEPTHWISE_CONV_2D", inputs, [output], options, samples, version=3)


def depthwise_conv_2d(rng) -> Case:
    return _depthwise(rng, True)


def depthwise_conv_2d_per_tensor(rng) -> Case:
    return _depthwise(rng, False)


def depthwise_conv_2d_dynamic(rng) -> Case:
    return _depthwise(rng, bool(rng.integers(2)), True)


def depthwise_conv_2d_float(rng) -> Case:
    options, k = window_options(rng), kernel_size(rng)
    depth, multiplier = int(pick(rng, (1, 3, 4, 8, 17))), int(pick(rng, (1, 1, 2)))
    options["depth_multiplier"] = multiplier
    x = T((int(pick(rng, (1, 2))), *image(rng, options, k, depth), depth), "FLOAT32")
    inputs = [x, T(data=float_data(rng, (1, *k, depth * multiplier))), T(data=float_data(rng, depth * multiplier))]
    inputs = inputs if rng.integers(4) else inputs[:2]
    outputs = [T((1, 1, 1, depth * multiplier), "FLOAT32")]
    return case(rng, "DEPTHWISE_CONV_2D", inputs, outputs, options, float_samples(rng, inputs))


# TRANSPOSE_CONV


def transpose_shapes(rng) -> tuple[dict, tuple[int, int], tuple[int, ...], tuple[int, ...]]:
    """(options, kernel size, input shape, output shape): every output size whose convolution gives the input's size."""
    options, k = window_options(rng), kernel_size(rng)
    options = {name: value for name, value in options.items() if not name.startswith("dilation")}
    n, depth, channels = int(pick(rng, (1, 1, 2))), int(pick(rng, (1, 3, 8, 17))), int(pick(rng, (1, 3, 8, 15)))
    size = [int(pick(rng, (1, 2, 3, 5, 8))) for _ in range(2)]
    output = []
    for axis, s, taps in zip("hw", size, k, strict=True):
        stride = options[f"stride_{axis}"]
        # SAME: ceil(output / stride) = input; VALID: (output + stride - taps) / stride = input, rounded down.
        largest = s * stride if options["padding"] == "SAME" else s * stride + taps - 1
        output.append(int(rng.integers(largest - stride + 1, largest + 1)))
    return options, k, (n, *size, depth), (n, *output, channels)


def _transpose_conv(rng, dynamic: bool = False) -> Case:
    options, k, x_shape, out_shape = transpose_shapes(rng)
    depth, outputs, per_channel = x_shape[3], out_shape[3], bool(rng.integers(2))
    products = max(1, k[0] * k[1] * depth // (options["stride_h"] * options["stride_w"]))
    activation = options["fused_activation_function"]
    s_in, s_filter, s_out = scales(rng, outputs if per_channel else 1, products, activation)
    filter_zero_point = 0 if per_channel or rng.integers(2) else zero_point(rng)  # the kernel does not read it
    filter_ = T(data=weights(rng, (outputs, *k, depth)), scale=s_filter, zero_point=filter_zero_point)
    own = bias_scale(s_in, s_filter)
    bias = T(data=bias_data(rng, outputs, products), scale=own) if dynamic or rng.integers(3) else None
    shape = T(data=np.array(out_shape, np.int32))
    x = T(x_shape, "INT8", s_in, zero_point(rng))
    inputs = [place(dynamic, shape), place(dynamic, filter_), x, bias if bias is None else place(dynamic, bias)]
    inputs = inputs[:3] if bias is None and rng.integers(2) else inputs
    samples = extremes_and_random(rng, [x])
    if dynamic:
        samples = [[shape.data, filter_.data, *a, bias.data] for a in samples]
    output = T(out_shape, "INT8", s_out, zero_point(rng))
    return case(rng, "TRANSPOSE_CONV", inputs, [output], options, samples, version=int(pick(rng, (1, 2, 3))))


def transpose_conv(rng) -> Case:
    return _transpose_conv(rng)


def transpose_conv_dynamic(rng) -> Case:
    return _transpose_conv(rng, True)


def transpose_conv_float(rng) -> Case:
    options, k, x_shape, out_shape = transpose_shapes(rng)
    filter_, bias = float_data(rng, (out_shape[3], *k, x_shape[3])), float_data(rng, out_shape[3])
    inputs = [T(data=np.array(out_shape, np.int32)), T(data=filter_), T(x_shape, "FLOAT32"), T(data=bias)]
    inputs = inputs if rng.integers(3) else inputs[:3]
    return case(
        rng, "TRANSPOSE_CONV", inputs, [T(out_shape, "FLOAT32")], options, float_samples(rng, inputs), version=3
    )
