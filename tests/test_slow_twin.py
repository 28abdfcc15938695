"""refquant against the slow twin, which shares no code with it: zero differing elements. Needs no runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import slow
from models import T, one_op
from refquant.errors import UnsupportedModel
from refquant.model.graph import Model
from refquant.program import run

Draw = Callable[[st.SearchStrategy[Any]], Any]

ACTIVATION = st.sampled_from(["NONE", "NONE", "RELU", "RELU6", "RELU_N1_TO_1"])
PADDING = st.sampled_from(["SAME", "VALID"])
# Powers of two make exact ties; the others are what a calibration gives.
SCALE = st.one_of(
    st.sampled_from([2.0**-k for k in range(1, 9)]), st.floats(0.002, 0.6).map(lambda x: float(np.float32(x)))
)
ZERO_POINT = st.one_of(st.sampled_from([-128, -127, -1, 0, 1, 127]), st.integers(-128, 127))


def codes(draw: Draw, shape: tuple[int, ...], dtype: type = np.int8, low: int | None = None) -> np.ndarray:
    """All-minimum, all-maximum, few different values, or any: `low` narrows the range (weights: -127)."""
    info = np.iinfo(dtype)
    low = info.min if low is None else low
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    kind = draw(st.sampled_from(["any", "any", "any", "ends", "min", "max"]))
    if kind == "any":
        return rng.integers(low, info.max, shape, dtype, endpoint=True)
    return rng.choice(np.array({"ends": [low, info.max], "min": [low], "max": [info.max]}[kind], dtype), shape)


def quantized(draw: Draw, shape: tuple[int, ...]) -> T:
    return T(shape, "INT8", draw(SCALE), draw(ZERO_POINT))


def scales(draw: Draw, channels: int) -> float | list[float]:
    """One scale, or one per channel."""
    return draw(st.one_of(SCALE, st.lists(SCALE, min_size=channels, max_size=channels)))


def sample(draw: Draw, *inputs: T) -> list[np.ndarray]:
    return [codes(draw, t.shape) for t in inputs if t.data is None]


def image(draw: Draw, depth: int | None = None) -> tuple[int, int, int, int]:
    side, few = st.integers(1, 7), st.integers(1, 5)
    return draw(st.sampled_from([1, 1, 2])), draw(side), draw(side), depth or draw(few)


def window(
    draw: Draw, shape: tuple[int, ...], dilated: bool
) -> tuple[dict[str, Any], tuple[int, int], tuple[int, int]]:
    """(stride, dilation and padding options, kernel size, output size): VALID only where the window fits."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    dilation = draw(st.tuples(st.integers(1, 3), st.integers(1, 3))) if dilated else (1, 1)
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    fits = all(e <= n for e, n in zip(extent, shape[1:3], strict=True))
    padding = draw(PADDING) if fits else "SAME"
    out = [
        -(-n // s) if padding == "SAME" else (n - e) // s + 1
        for n, s, e in zip(shape[1:3], stride, extent, strict=True)
    ]
    options = {"padding": padding, "stride_h": stride[0], "stride_w": stride[1]}
    if dilated:
        options |= {"dilation_h_factor": dilation[0], "dilation_w_factor": dilation[1]}
    return options, kernel, (out[0], out[1])


def bias(draw: Draw, x: T, w: T, channels: int, optional: bool) -> list[T]:
    """No operand, or int32 values from nothing to far beyond what the products reach."""
    if optional and draw(st.booleans()):
        return []
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    bits = draw(st.sampled_from([4, 12, 20, 31]))
    scale = np.float32(x.scale) * np.asarray(w.scale, np.float32)
    return [T(data=rng.integers(-(2**bits), 2**bits, channels).astype(np.int32), scale=scale.tolist())]


def conv_2d(draw: Draw) -> tuple[Model, list[np.ndarray]]:
    groups, per_group, filters = (
        draw(st.sampled_from([1, 1, 1, 2, 3])),
        draw(st.integers(1, 4)),
        draw(st.integers(1, 3)),
    )
    x = quantized(draw, image(draw, groups * per_group))
    options, kernel, size = window(draw, x.shape, True)
    channels = groups * filters
    w = T(data=codes(draw, (channels, *kernel, per_group), low=-127), scale=scales(draw, channels))
    y = quantized(draw, (x.shape[0], *size, channels))
    options["fused_activation_function"] = draw(ACTIVATION)
    return one_op("CONV_2D", [x, w, *bias(draw, x, w, channels, False)], [y], options), sample(draw, x)


def depthwise_conv_2d(draw: Draw) -> tuple[Model, list[np.ndarray]]:
    times = draw(st.integers(1, 3))
    x = quantized(draw, image(draw))
    options, kernel, size = window(draw, x.shape, True)
    channels = x.shape[3] * times
    w = T(data=codes(draw, (1, *kernel, channels), low=-127), scale=scales(draw, channels), axis=3)
    y = quantized(draw, (x.shape[0], *size, channels))
    options |= {"depth_multiplier": times, "fused_activation_function": draw(ACTIVATION)}
    return one_op("DEPTHWISE_CONV_2D", [x, w, *bias(draw, x, w, channels, True)], [y], options), sample(draw, x)


def fully_connected(draw: Draw) -> tuple[Model, list[np.ndarray]]:
    rows, depth, units = draw(st.integers(1, 4)), draw(st.integers(1, 40)), draw(st.integers(1, 6))
    x, y = quantized(draw, (rows, depth)), quantized(draw, (rows, units))
    w = T(data=codes(draw, (units, depth), low=-127), scale=scales(draw, units))
    options = {"fused_activation_function": draw(ACTIVATION), "weights_format": "DEFAULT", "keep_num_dims": False}
    return one_op("FULLY_CONNECTED", [x, w, *bias(draw, x, w, units, True)], [y], options), sample(draw, x)


def reals(draw: Draw, *shape: int) -> np.ndarray:
    """Float32 around 0 or not, with zeros, and half steps of a scale of a power of two."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    steps = rng.integers(*draw(st.sampled_from([(-254, 255), (0, 511), (-200, 311)])), shape) / 2
    steps.reshape(-1)[:1] = draw(st.sampled_from([127.0, 255.0, 0.49999997]))
    kind = draw(st.sampled_from(["steps", "any", "sparse", "zero"]))
    x = {"steps": steps, "any": rng.normal(1, 2, shape), "sparse": steps * rng.integers(0, 2, shape), "zero": 0 * steps}
    return (x[kind] * 2.0 ** draw(st.integers(-9, 5))).astype(np.float32)


def hybrid_conv_2d(draw: Draw) -> tuple[Model, list[np.ndarray]]:
    model, (x,) = conv_2d(draw)
    graph = model.graph
    options, (_, filter_, _, y) = dict(graph.operators[0].options), graph.tensors
    q, channels = filter_.quantization, filter_.shape[0]
    scales = list(q.scale) if len(q.scale) > 1 or x.shape[3] == filter_.shape[3] else list(q.scale) * channels
    w = T(data=codes(draw, filter_.shape), scale=scales)
    inputs = [T(x.shape, "FLOAT32"), w, T(data=reals(draw, channels))]
    return one_op("CONV_2D", inputs, [T(y.shape, "FLOAT32")], options), [reals(draw, *x.shape)]


def hybrid_fully_connected(draw: Draw) -> tuple[Model, list[np.ndarray]]:
    rows, depth, units = draw(st.integers(1, 4)), draw(st.integers(1, 40)), draw(st.integers(1, 6))
    w = T(data=codes(draw, (units, depth)), scale=scales(draw, units))
    inputs = [T((rows, depth), "FLOAT32"), w, *([T(data=reals(draw, units))] if draw(st.booleans()) else [])]
    options = {"fused_activation_function": draw(ACTIVATION), "asymmetric_quantize_inputs": draw(st.booleans())}
    options |= {"weights_format": "DEFAULT", "keep_num_dims": False}
    return one_op("FULLY_CONNECTED", inputs, [T((rows, units), "FLOAT32")], options), [reals(draw, rows, depth)]


def int16(of: Callable[[Draw], tuple[Model, list[np.ndarray]]]) -> Callable[[Draw], tuple[Model, list[np.ndarray]]]:
    """The operator with input and output in int16, and a bias in int64, int32 or, where it may be, none."""

    def generate(draw: Draw) -> tuple[Model, list[np.ndarray]]:
        model, (x,) = of(draw)
        (operator,), tensors = model.graph.operators, model.graph.tensors
        filter_, y = tensors[1], tensors[-1]
        q = filter_.quantization
        w = T(data=model.constant(filter_), scale=list(q.scale), axis=q.quantized_dimension)
        input, output = (T(t.shape, "INT16", t.quantization.scale[0]) for t in (tensors[0], y))
        inputs, options = [input, w], dict(operator.options)
        if len(tensors) == 4:
            type = "INT64" if operator.name == "DEPTHWISE_CONV_2D" else draw(st.sampled_from(["INT64", "INT32"]))
            rng, bits = np.random.default_rng(draw(st.integers(0, 2**16))), draw(st.sampled_from([4, 20, 31, 40]))
            values = rng.integers(-(2**bits), 2**bits, len(model.constant(tensors[2])))
            scales = tensors[2].quantization.scale
            inputs.append(T(data=values.astype(type.lower()), scale=list(scales)))
            options |= {} if operator.name == "DEPTHWISE_CONV_2D" else {"quantized_bias_type": type}
        return one_op(operator.name, inputs, [output], options), [codes(draw, x.shape, np.int16)]

    return generate


def uint8(of: Callable[[Draw], tuple[Model, list[np.ndarray]]]) -> Callable[[Draw], tuple[Model, list[np.ndarray]]]:
    """The operator with uint8 in place of int8: codes and zero points 128 higher, filters with one scale and any."""

    def generate(draw: Draw) -> tuple[Model, list[np.ndarray]]:
        model, arrays = of(draw)
        (operator,), tensors = model.graph.operators, model.graph.tensors

        def moved(index: int) -> T:
            t, data = tensors[index], model.constant(tensors[index])
            q = t.quantization
            if t.type == "INT8" and (data is None or operator.name in ("ADD", "SUB", "MUL")):
                codes = {} if data is None else {"data": data.view(np.uint8) ^ np.uint8(128)}
                return T(t.shape, "UINT8", q.scale[0], q.zero_point[0] + 128, **codes)
            if t.type == "INT8":
                return T(data=data.view(np.uint8), scale=q.scale[0], zero_point=draw(st.integers(0, 255)))
            if t.type == "INT32":  # a bias
                return T(data=data, scale=q.scale[0])
            return T(t.shape, t.type, q.scale[0], q.zero_point[0])

        inputs, outputs = (list(map(moved, indices)) for indices in (operator.inputs, operator.outputs))
        moved_arrays = [array.view(np.uint8) ^ np.uint8(128) for array in arrays]
        return one_op(operator.name, inputs, outputs, dict(operator.options)), moved_arrays

    return generate


def rescaled_concatenation(draw: Draw) -> tuple[Model, list[np.ndarray]]:
    """Operands of uint8 whose scales are the output's, powers of two apart (ties), or any."""
    model, arrays = uint8(concatenation)(draw)
    (operator,), tensors = model.graph.operators, model.graph.tensors
    q = tensors[-1].quantization
    inputs = []
    for t in tensors[:-1]:
        factor = draw(st.one_of(st.sampled_from([1.0, 1.0, 0.5, 2.0, 0.25]), st.floats(0.1, 9)))
        zero_point = draw(st.one_of(st.just(q.zero_point[0]), st.integers(0, 255)))
        inputs.append(T(t.shape, "UINT8", float(np.float32(q.scale[0] * factor)), zero_point))
    output = T(tensors[-1].shape, "UINT8", q.scale[0], q.zero_point[0])
    return one_op("CONCATENATION", inputs, [output], dict(operator.options)), arrays


def hybrid_depthwise_conv_2d(draw: Draw) -> tuple[Model, list[np.ndarray]]:
    model, (x,) = depthwise_conv_2d(draw)
    options, tensors = dict(model.graph.operators[0].options), model.graph.tensors
    shape, y = tensors[1].shape, tensors[-1]
    per_channel = draw(st.lists(SCALE, min_size=shape[3], max_size=shape[3]))
    w = T(data=codes(draw, shape, low=-127), scale=per_channel, axis=3)
    inputs = [T(x.shape, "FLOAT32"), w, *([T(data=reals(draw, shape[3]))] if draw(st.booleans()) else [])]
    return one_op("DEPTHWISE_CONV_2D", inputs, [T(y.shape, "FLOAT32")], options), [reals(draw, *x.shape)]


def hybrid_transpose_conv(draw: Draw) -> tuple[Model, list[np.ndarray]]:
    """The window of a convolution from the output to the input."""
    y_shape = image(draw)
    options, kernel, size = window(draw, y_shape, False)
    x_shape = (y_shape[0], *size, draw(st.integers(1, 3)))
    w = T(data=codes(draw, (y_shape[3], *kernel, x_shape[3]), low=-127), scale=scales(draw, y_shape[3]))
    options["fused_activation_function"] = draw(ACTIVATION)
    inputs = [T(data=np.array(y_shape, np.int32)), w, T(x_shape, "FLOAT32")]
    inputs += [T(data=reals(draw, y_shape[3]))] if draw(st.booleans()) else []
    return one_op("TRANSPOSE_CONV", inputs, [T(y_shape, "FLOAT32")], options, 3), [reals(draw, *x_shape)]


def hybrid_batch_matmul(draw: Draw) -> tuple[Model, list[np.ndarray]]:
    m, k, n = draw(st.integers(1, 3)), draw(st.integers(1, 20)), draw(st.integers(1, 4))
    leading = draw(st.sampled_from([(), (1,), (3,), (2, 3), (3, 2)]))
    broadcasting = [leading, leading, leading[1:], (*leading[:-1], 1), (1, *leading[1:])]
    a_leading, b_leading = (draw(st.sampled_from(broadcasting)) for _ in range(2))
    options = {name: draw(st.booleans()) for name in ("adj_x", "adj_y", "asymmetric_quantize_inputs")}
    a = (*a_leading, *((k, m) if options["adj_x"] else (m, k)))
    b = (*b_leading, *((n, k) if options["adj_y"] else (k, n)))
    axis = len(b) - (2 if options["adj_y"] else 1)
    w = T(data=codes(draw, b, low=-127), scale=scales(draw, n), axis=axis)
    lead = np.broadcast_shapes(a_leading, b_leading)
    output = T((*lead, m, n), "FLOAT32")
    return one_op("BATCH_MATMUL", [T(a, "FLOAT32"), w], [output], options, 4), [reals(draw, *a)]


def pool(name: str) -> Callable[[Draw], tuple[Model, list[np.ndarray]]]:
    def generate(draw: Draw) -> tuple[Model, list[np.ndarray]]:
        x = quantized(draw, image(draw))
        options, kernel, size = window(draw, x.shape, False)
        options |= {"filter_height": kernel[0], "filter_width": kernel[1]}
        y = T((x.shape[0], *size, x.shape[3]), "INT8", x.scale, x.zero_point)
        options["fused_activation_function"] = draw(ACTIVATION)
        return one_op(name, [x], [y], options), sample(draw, x)

    return generate


def binary(name: str) -> Callable[[Draw], tuple[Model, list[np.ndarray]]]:
    def generate(draw: Draw) -> tuple[Model, list[np.ndarray]]:
        shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
        other = tuple(draw(st.sampled_from([1, n])) for n in shape)[draw(st.integers(0, len(shape) - 1)) :]
        a, b, y = quantized(draw, shape), quantized(draw, other), quantized(draw, shape)
        if draw(st.booleans()):
            a, b = b, a
        if draw(st.booleans()):
            b = T(data=codes(draw, b.shape), scale=b.scale, zero_point=b.zero_point)
        options = {"fused_activation_function": draw(ACTIVATION)}
        if name != "MUL":
            options["pot_scale_int16"] = False
            assume(2 * max(a.scale, b.scale) < 2**20 * y.scale)  # TFLite ends the process on other scales
        return one_op(name, [a, b], [y], options), sample(draw, a, b)

    return generate


def concatenation(draw: Draw) -> tuple[Model, list[np.ndarray]]:
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    axis = draw(st.integers(0, len(shape) - 1))
    like = quantized(draw, tuple(shape))
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))

    def part(size: int) -> T:
        return T((*shape[:axis], size, *shape[axis + 1 :]), "INT8", like.scale, like.zero_point)

    options = {"axis": axis - draw(st.sampled_from([0, len(shape)])), "fused_activation_function": "NONE"}
    inputs = [part(size) for size in sizes]
    return one_op("CONCATENATION", inputs, [part(sum(sizes))], options), sample(draw, *inputs)


def softmax(draw: Draw) -> tuple[Model, list[np.ndarray]]:
    rows = draw(st.lists(st.integers(1, 5), min_size=0, max_size=2))
    x = quantized(draw, (*rows, draw(st.integers(1, 20))))
    beta = draw(st.sampled_from([1.0, 1.0, 0.5, 2.0, 0.0625]))
    output = draw(st.sampled_from([("INT8", 1 / 256, -128), ("INT16", 1 / 32768, 0)]))
    return one_op("SOFTMAX", [x], [T(x.shape, *output)], {"beta": beta}), sample(draw, x)


def logistic(draw: Draw) -> tuple[Model, list[np.ndarray]]:
    x = T((256,), "INT8", draw(SCALE), draw(ZERO_POINT))
    return one_op("LOGISTIC", [x], [T((256,), "INT8", 1 / 256, -128)]), [np.arange(-128, 128, dtype=np.int8)]


def quantize(draw: Draw) -> tuple[Model, list[np.ndarray]]:
    y = quantized(draw, (64,))
    if draw(st.booleans()):
        x = T((64,), "FLOAT32")
        steps = np.random.default_rng(draw(st.integers(0, 2**16))).integers(-600, 600, 64)
        return one_op("QUANTIZE", [x], [y]), [(steps / 2 * np.float32(y.scale)).astype(np.float32)]
    x = quantized(draw, (64,))
    return one_op("QUANTIZE", [x], [y]), sample(draw, x)


def dequantize(draw: Draw) -> tuple[Model, list[np.ndarray]]:
    x = T((256,), "INT8", draw(SCALE), draw(ZERO_POINT))
    return one_op("DEQUANTIZE", [x], [T((256,), "FLOAT32")]), [np.arange(-128, 128, dtype=np.int8)]


def mean(draw: Draw) -> tuple[Model, list[np.ndarray]]:
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=4)))
    rank = len(shape)
    axes = draw(st.lists(st.integers(-rank, rank - 1), min_size=1, max_size=3))
    keep = draw(st.booleans())
    reduced = {axis % rank for axis in axes}
    out = tuple(1 if axis in reduced else n for axis, n in enumerate(shape) if keep or axis not in reduced)
    x, y = quantized(draw, shape), quantized(draw, out)
    return one_op("MEAN", [x, T(data=np.array(axes, np.int32))], [y], {"keep_dims": keep}), sample(draw, x)


def pad(draw: Draw) -> tuple[Model, list[np.ndarray]]:
    x = quantized(draw, tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))))
    paddings = np.array(
        draw(st.lists(st.tuples(*[st.integers(0, 3)] * 2), min_size=len(x.shape), max_size=len(x.shape)))
    )
    y = T(tuple(np.array(x.shape) + paddings.sum(axis=1)), "INT8", x.scale, x.zero_point)
    inputs = [x, T(data=paddings.astype(np.int32))]
    if draw(st.booleans()):
        return one_op("PAD", inputs, [y]), sample(draw, x)
    inputs.append(T(data=codes(draw, (1,)), scale=x.scale, zero_point=x.zero_point))
    return one_op("PADV2", inputs, [y]), sample(draw, x)


def resize_bilinear(draw: Draw) -> tuple[Model, list[np.ndarray]]:
    x = quantized(draw, image(draw))
    size = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    align, half = draw(st.sampled_from([(False, False), (True, False), (False, True)]))
    y = T((x.shape[0], *size, x.shape[3]), "INT8", x.scale, x.zero_point)
    options = {"align_corners": align, "half_pixel_centers": half}
    return one_op("RESIZE_BILINEAR", [x, T(data=np.array(size, np.int32))], [y], options), sample(draw, x)


def svdf(kind: str) -> Callable[[Draw], tuple[Model, list[np.ndarray]]]:
    """Six runs, so that the state fills up. kind: "", "hybrid" or "int16", the type of an int8 operator's state."""

    def generate(draw: Draw) -> tuple[Model, list[np.ndarray]]:
        rank, units, n, memory = (draw(st.integers(1, most)) for most in (3, 3, 20, 6))
        rng, filters = np.random.default_rng(draw(st.integers(0, 2**16))), rank * units
        options = {"rank": rank, "fused_activation_function": "RELU" if kind == "int16" else draw(ACTIVATION)}
        if kind != "int16":
            weights = [
                T(data=codes(draw, (filters, size), low=-127), scale=draw(SCALE))
                if kind == "hybrid"
                else T(data=rng.standard_normal((filters, size)).astype(np.float32))
                for size in (n, memory)
            ]
            bias = draw(st.sampled_from([None, T(data=rng.standard_normal(units).astype(np.float32))]))
            state = T((1, filters * memory), "FLOAT32", variable=True)
            options["asymmetric_quantize_inputs"] = draw(st.booleans())
            operands, output = [T((1, n), "FLOAT32"), *weights, bias, state], T((1, units), "FLOAT32")
            return one_op("SVDF", operands, [output], options, 2), [reals(draw, 6, n)]
        x, y = quantized(draw, (1, n)), quantized(draw, (1, units))
        operands = [
            x,
            T(data=codes(draw, (filters, n)), scale=draw(SCALE)),
            T(data=codes(draw, (filters, memory), np.int16), scale=2.0 ** -draw(st.integers(8, 15))),
            draw(st.sampled_from([None, T(data=rng.integers(-(2**20), 2**20, units).astype(np.int32), scale=1.0)])),
            T((1, filters * memory), "INT16", draw(SCALE) / 64, variable=True),
        ]
        return one_op("SVDF", operands, [y], options, 3), [codes(draw, (6, n))]

    return generate


GENERATORS = {
    "ADD": binary("ADD"),
    "ADD uint8": uint8(binary("ADD")),
    "AVERAGE_POOL_2D": pool("AVERAGE_POOL_2D"),
    "AVERAGE_POOL_2D uint8": uint8(pool("AVERAGE_POOL_2D")),
    "BATCH_MATMUL hybrid": hybrid_batch_matmul,
    "CONCATENATION": concatenation,
    "CONCATENATION uint8": rescaled_concatenation,
    "CONV_2D": conv_2d,
    "CONV_2D hybrid": hybrid_conv_2d,
    "CONV_2D int16": int16(conv_2d),
    "CONV_2D uint8": uint8(conv_2d),
    "DEPTHWISE_CONV_2D": depthwise_conv_2d,
    "DEPTHWISE_CONV_2D hybrid": hybrid_depthwise_conv_2d,
    "DEPTHWISE_CONV_2D int16": int16(depthwise_conv_2d),
    "DEPTHWISE_CONV_2D uint8": uint8(depthwise_conv_2d),
    "DEQUANTIZE": dequantize,
    "FULLY_CONNECTED": fully_connected,
    "FULLY_CONNECTED hybrid": hybrid_fully_connected,
    "FULLY_CONNECTED int16": int16(fully_connected),
    "FULLY_CONNECTED uint8": uint8(fully_connected),
    "LOGISTIC": logistic,
    "LOGISTIC uint8": uint8(logistic),
    "MAX_POOL_2D": pool("MAX_POOL_2D"),
    "MEAN": mean,
    "MUL": binary("MUL"),
    "PAD": pad,
    "QUANTIZE": quantize,
    "RESIZE_BILINEAR": resize_bilinear,
    "SOFTMAX": softmax,
    "SOFTMAX uint8": uint8(softmax),
    "SUB": binary("SUB"),
    "SVDF": svdf(""),
    "SVDF hybrid": svdf("hybrid"),
    "SVDF int16": svdf("int16"),
    "TRANSPOSE_CONV hybrid": hybrid_transpose_conv,
}


def by_the_twin(model: Model, inputs: list[np.ndarray]) -> list[Any]:
    """What the twin gives; with variables, one run after another on the rows of the input."""
    if not any(tensor.is_variable for tensor in model.graph.tensors):
        (output,) = slow.run(model, inputs)
        return output
    variables: dict[int, list[Any]] = {}
    return [value for row in inputs[0] for value in slow.run(model, [row], variables)[0]]


def test_every_operator_of_the_twin_is_drawn() -> None:
    assert set(GENERATORS) | {"PADV2"} == set(slow.OPERATORS)


@pytest.mark.parametrize("name", GENERATORS)
def test_equal_to_the_twin(name: str) -> None:
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
    @given(st.data())
    def check(data: st.DataObject) -> None:
        model, inputs = GENERATORS[name](data.draw)
        try:
            (got,) = run(model, inputs)
        except UnsupportedModel:
            assume(False)
        assert got.ravel().tolist() == by_the_twin(model, inputs)

    check()
