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


GENERATORS = {
    "ADD": binary("ADD"),
    "AVERAGE_POOL_2D": pool("AVERAGE_POOL_2D"),
    "CONCATENATION": concatenation,
    "CONV_2D": conv_2d,
    "CONV_2D hybrid": hybrid_conv_2d,
    "CONV_2D int16": int16(conv_2d),
    "DEPTHWISE_CONV_2D": depthwise_conv_2d,
    "DEPTHWISE_CONV_2D int16": int16(depthwise_conv_2d),
    "DEQUANTIZE": dequantize,
    "FULLY_CONNECTED": fully_connected,
    "FULLY_CONNECTED hybrid": hybrid_fully_connected,
    "FULLY_CONNECTED int16": int16(fully_connected),
    "LOGISTIC": logistic,
    "MAX_POOL_2D": pool("MAX_POOL_2D"),
    "MEAN": mean,
    "MUL": binary("MUL"),
    "PAD": pad,
    "QUANTIZE": quantize,
    "RESIZE_BILINEAR": resize_bilinear,
    "SOFTMAX": softmax,
    "SUB": binary("SUB"),
}


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
        (want,) = slow.run(model, inputs)
        assert got.ravel().tolist() == want

    check()
