"""Float32 activations that meet int8 weights: FULLY_CONNECTED, the convolutions, BATCH_MATMUL."""

from __future__ import annotations

import numpy as np

from cases import dense
from cases.convolution import ACTIVATIONS, CHANNELS, image, kernel_size, pick, transpose_shapes, window_options
from models import Case, T, case

BELOW_HALF = np.nextafter(np.float32(0.5), np.float32(0))


def activations(rng, shape) -> np.ndarray:
    """Rows along the last axis: around 0 or not, of any size, zeros, and ties of symmetric and asymmetric codes."""
    kind = rng.integers(9)
    size = np.float32(10.0 ** rng.uniform(-6, 6)) if rng.integers(3) == 0 else np.float32(1)
    x = rng.standard_normal(shape).astype(np.float32) * size
    if kind == 0:
        x = np.maximum(x, 0)
    elif kind == 1:
        x = (x + 3 * size * pick(rng, (-1, 1))).astype(np.float32)
    elif kind in (2, 3) and x.size:  # steps of one half, with a scale of a power of two
        low, high = (-127, 127) if kind == 2 else pick(rng, ((-128, 127), (-100, 155), (0, 255), (-255, 0)))
        steps = rng.integers(2 * low, 2 * high + 1, shape) / 2
        steps = np.where(rng.integers(0, 9, shape) == 0, BELOW_HALF * rng.choice([-1, 1], shape), steps)
        steps.reshape(-1)[rng.permutation(steps.size)[:2]] = (low, high)[: steps.size]
        x = (steps * 2.0 ** rng.integers(-8, 4)).astype(np.float32)
    elif kind == 4:
        x = np.full(shape, x.flat[0] if x.size else 0, np.float32)
    elif kind == 5:
        x = np.where(rng.integers(0, 2, shape), x, rng.choice([0.0, -0.0], shape)).astype(np.float32)
    elif kind == 6:  # whose range may overflow
        x = np.where(rng.integers(0, 4, shape) == 0, rng.choice([-3e38, 3e38], shape), x).astype(np.float32)
    if len(shape) > 1 and rng.integers(3) == 0:
        x[int(rng.integers(shape[0])) if shape[0] else slice(0)] = 0
    return x


def samples(rng, shape) -> list[list[np.ndarray]]:
    drawn = [[activations(rng, shape)] for _ in range(4)]
    return [*drawn, [np.full(shape, pick(rng, (0.0, -0.0, 1e-30, 3e38, -1.0)), np.float32)]]


def weights(rng, shape) -> np.ndarray:
    """As a converter writes them, or with -128, which some of the runtime's vectors take wrongly."""
    kind = rng.integers(5)
    if kind == 0:
        return rng.choice(np.array([-128, -127, 127, 1], np.int8), shape)
    if kind == 1:
        return rng.integers(-3, 4, shape).astype(np.int8)
    return rng.integers(-128 if kind == 2 else -127, 128, shape).astype(np.int8)


def scales(rng, channels: int, per_channel: bool) -> list[float]:
    if not per_channel:
        return [float(np.float32(rng.uniform(0.0005, 0.02)))]
    drawn = 2.0 ** rng.integers(-10, -2, channels) if rng.integers(4) == 0 else rng.uniform(0.0005, 0.02, channels)
    return [float(np.float32(scale)) for scale in drawn]


def bias(rng, channels: int) -> T:
    return T(data=np.where(rng.integers(0, 9, channels), rng.standard_normal(channels), -0.0).astype(np.float32))


def fully_connected(rng) -> Case:
    options, shape, units, columns = dense.shapes(rng)
    if rng.integers(5) == 0 and not options["keep_num_dims"]:
        shape, columns = pick(rng, (((0, columns), columns), ((3, 100), 100), ((1, 2100), 2100)))
    options["asymmetric_quantize_inputs"] = bool(rng.integers(2))
    options["fused_activation_function"] = pick(rng, (*ACTIVATIONS, "SIGN_BIT"))
    filter_ = T(data=weights(rng, (units, columns)), scale=scales(rng, units, bool(rng.integers(2))))
    inputs = [T(shape, "FLOAT32"), filter_, *pick(rng, ([bias(rng, units)], [bias(rng, units)], [None], []))]
    outputs = [T((1, units), "FLOAT32")]
    return case(rng, "FULLY_CONNECTED", inputs, outputs, options, samples(rng, shape), version=12)


def fully_connected_sums_that_wrap(rng) -> Case:
    """So many large weights that the vectors' sums of weights leave int16."""
    units, columns = int(pick(rng, (1, 3))), int(pick(rng, (2080, 2088, 2095)))
    filter_ = rng.integers(126, 128, (units, columns)) * rng.choice([-1, 1], (units, 1))
    inputs = [T((2, columns), "FLOAT32"), T(data=filter_.astype(np.int8), scale=scales(rng, units, True)), None]
    options = {"asymmetric_quantize_inputs": True, "fused_activation_function": "NONE", "weights_format": "DEFAULT"}
    outputs = [T((2, units), "FLOAT32")]
    drawn = [[activations(rng, (2, columns))] for _ in range(2)]
    return case(rng, "FULLY_CONNECTED", inputs, outputs, options, drawn, version=12)


def _conv(rng, per_channel: bool, groups: int = 1, channels=CHANNELS) -> Case:
    options, k = window_options(rng), kernel_size(rng)
    depth, outputs = int(pick(rng, channels)), int(pick(rng, channels)) * groups
    shape = (int(pick(rng, (1, 1, 2, 3))), *image(rng, options, k, depth * groups), depth * groups)
    filter_scales = scales(rng, outputs, per_channel)
    if per_channel and rng.integers(6) == 0:
        filter_scales = filter_scales[:1] * outputs
    inputs = [T(shape, "FLOAT32"), T(data=weights(rng, (outputs, *k, depth)), scale=filter_scales), bias(rng, outputs)]
    output = T((1, 1, 1, outputs), "FLOAT32")
    return case(rng, "CONV_2D", inputs, [output], options, samples(rng, shape), version=5)


def conv_2d(rng) -> Case:
    return _conv(rng, True)


def conv_2d_per_tensor(rng) -> Case:
    return _conv(rng, False)


def conv_2d_grouped(rng) -> Case:
    return _conv(rng, True, int(pick(rng, (2, 3, 4))), (1, 2, 3, 4, 8))


def conv_2d_sums_that_wrap(rng) -> Case:
    """Filters of so many weights of one sign that their sum in lanes of 16 bits wraps, or just does not."""
    depth, channels = int(pick(rng, (228, 229, 230, 256, 458, 500))), int(pick(rng, (3, 4, 9)))
    ends = rng.choice([-128, -127, 0, 126, 127], (channels, 1, 1, 1))
    filter_ = T(data=np.broadcast_to(ends, (channels, 3, 3, depth)).astype(np.int8), scale=scales(rng, channels, True))
    options = {"padding": "SAME", "stride_h": 1, "stride_w": 1, "fused_activation_function": "NONE"}
    shape, output = (2, 2, 2, depth), T((2, 2, 2, channels), "FLOAT32")
    inputs = [T(shape, "FLOAT32"), filter_, bias(rng, channels)]
    return case(rng, "CONV_2D", inputs, [output], options, samples(rng, shape), version=5)


def depthwise_conv_2d(rng) -> Case:
    options, k = window_options(rng), kernel_size(rng)
    depth, options["depth_multiplier"] = int(pick(rng, CHANNELS)), int(pick(rng, (1, 1, 1, 2, 3)))
    outputs = depth * options["depth_multiplier"]
    shape = (int(pick(rng, (1, 1, 2, 3))), *image(rng, options, k, depth), depth)
    filter_ = T(data=weights(rng, (1, *k, outputs)), scale=scales(rng, outputs, True), axis=3)
    inputs = [T(shape, "FLOAT32"), filter_, bias(rng, outputs)][: 3 if rng.integers(4) else 2]
    output = T((1, 1, 1, outputs), "FLOAT32")
    return case(rng, "DEPTHWISE_CONV_2D", inputs, [output], options, samples(rng, shape), version=6)


def transpose_conv(rng) -> Case:
    options, k, x_shape, out_shape = transpose_shapes(rng)
    filter_scales = scales(rng, out_shape[3], bool(rng.integers(2)))
    filter_ = T(data=weights(rng, (out_shape[3], *k, x_shape[3])), scale=filter_scales)
    inputs = [T(data=np.array(out_shape, np.int32)), filter_, T(x_shape, "FLOAT32"), bias(rng, out_shape[3])]
    inputs = inputs if rng.integers(3) else inputs[:3]
    output = T(out_shape, "FLOAT32")
    return case(rng, "TRANSPOSE_CONV", inputs, [output], options, samples(rng, x_shape), version=3)


def batch_matmul(rng) -> Case:
    options, (a, b) = dense.matrices(rng)
    # Where the runtime looks for sums of b's columns that it has not written, refquant refuses.
    unsummed = len(b) == 5 and b[0] > 1 and sum(b[:3]) - 2 > b[1] * b[2]
    options["asymmetric_quantize_inputs"] = bool(rng.integers(2)) and not unsummed
    columns = b[-2 if options["adj_y"] else -1]
    axis = len(b) - (2 if options["adj_y"] else 1)
    filter_scales = scales(rng, columns, bool(rng.integers(2)))
    right = T(data=weights(rng, b), scale=filter_scales, axis=axis)
    inputs = [T(a, "FLOAT32"), right]
    return case(rng, "BATCH_MATMUL", inputs, [T((1, 1), "FLOAT32")], options, samples(rng, a), version=4)


def batch_matmul_deep(rng) -> Case:
    """Sums over 2^24, which the runtime rounds to float32 before it takes the zero point off."""
    k = int(pick(rng, (1100, 2100, 4111)))
    options = {"adj_y": bool(rng.integers(2)), "asymmetric_quantize_inputs": bool(rng.integers(2))}
    b = rng.integers(90, 128, (3, k) if options["adj_y"] else (k, 3)).astype(np.int8)
    inputs = [T((2, k), "FLOAT32"), T(data=b, scale=0.01)]
    drawn = [[np.abs(activations(rng, (2, k)))] for _ in range(3)]
    return case(rng, "BATCH_MATMUL", inputs, [T((1, 1), "FLOAT32")], options, drawn, version=4)
