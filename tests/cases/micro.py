"""What TensorFlow Lite Micro runs otherwise than LiteRT, or takes where LiteRT does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cases.convolution import pick, weights, zero_point
from cases.recurrent import (
    ACTIVATIONS,
    SIZES,
    Form,
    codes,
    float_states,
    operands,
    runs,
    scale,
    sequences,
    values,
    vector,
)
from cases.svdf import RUNS, draw_sizes
from models import Case, T, case, extremes_and_random, one_op

CLIPS = (0.0, 0.5, 3.0, 10.0)


def standard_form(rng) -> Form:
    """Four gates and nothing else."""
    cells = int(pick(rng, SIZES))
    return Form(
        batch=int(pick(rng, (1, 1, 2, 3))),
        steps=int(pick(rng, (1, 2, 3, 5))),
        inputs=int(pick(rng, SIZES)),
        cells=cells,
        outputs=cells,
        time_major=bool(rng.integers(2)),
        coupled=False,
        peephole=False,
        layer_norm=False,
        projection=False,
        projection_bias=False,
        diagonal=(False,) * 4,
        count=24,
    )


def lstm_operands(form: Form, matrix, bias, states) -> list[T | None]:
    """The inputs behind input 0, those of layer normalization absent."""
    given = operands(form, matrix, bias, bias, bias, bias, bias, states)
    return [*given, *[None] * (23 - len(given))]


def lstm_float(rng) -> Case:
    form = standard_form(rng)
    inputs = lstm_operands(form, lambda *s: T(data=values(rng, *s)), vector(rng), float_states(form))
    options = {"fused_activation_function": pick(rng, ACTIVATIONS), "time_major": form.time_major}
    options["cell_clip"] = float(pick(rng, CLIPS))
    output = T((*form.shape[:2], form.outputs), "FLOAT32")
    model = one_op("UNIDIRECTIONAL_SEQUENCE_LSTM", [T(form.shape, "FLOAT32"), *inputs], [output], options)
    return Case(model, sequences(rng, form, runs(rng)))


def lstm_integer(type: str):
    """Activations of int8 or int16; weights may have a zero point, which counts."""

    def generate(rng) -> Case:
        form = standard_form(rng)
        small, wide = type == "INT8", 1.0 if type == "INT8" else 2.0**-8
        x = T(form.shape, type, scale(rng, 1e-3 * wide, 0.1 * wide), zero_point(rng) if small else 0)
        state = T(
            (form.batch, form.outputs),
            type,
            scale(rng, 1e-3 * wide, 0.02 * wide),
            zero_point(rng) if small else 0,
            variable=True,
        )
        cell_scale = 2.0 ** int(rng.integers(-16, -7)) if rng.integers(4) else scale(rng, 1e-5, 1e-3)
        cell = T((form.batch, form.cells), "INT16", cell_scale, variable=True)

        # Biases around half-way points tell how the product of the scales is rounded; else any.
        tiny = float(np.float32(5e-10 / x.scale * rng.uniform(0.5, 1))) if rng.integers(3) == 0 else None

        def matrix(*shape: int) -> T:
            drawn = scale(rng, 1e-4, 1e-2 if rng.integers(4) else 0.3)
            return T(data=codes(rng, shape), scale=tiny or drawn, zero_point=int(rng.integers(4) == 0))

        def bias(size: int) -> T:
            limit = int(pick(rng, (10, 10_000, 2**31 - 1)))
            values = rng.integers(-limit, limit + 1, size)
            if tiny is not None:
                half_way = (rng.integers(-2000, 2000, size) + 0.5) / (x.scale * tiny * 2**12)
                values = np.clip(np.round(half_way) + rng.integers(-60, 61, size), -(2**31), 2**31 - 1)
            return T(data=values.astype("int32" if small else "int64"), scale=1e-5)

        options = {"fused_activation_function": pick(rng, ACTIVATIONS), "time_major": form.time_major}
        options["cell_clip"] = float(pick(rng, CLIPS))
        output = T((*form.shape[:2], form.outputs), type, state.scale, state.zero_point)
        inputs = [x, *lstm_operands(form, matrix, bias, [state, cell])]
        intermediates = [T((0,), "INT16", 1.0)] * int(pick(rng, (0, 5)))
        model = one_op("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, [output], options, 3, intermediates)
        dtype = type.lower()
        drawn = [[codes(rng, form.shape, dtype)] for _ in range(runs(rng) - 1)]
        return Case(model, [*drawn, [np.full(form.shape, pick(rng, (-128, 127, x.zero_point)), dtype)]])

    return generate


def svdf(state_type: str):
    """With a state and weights in time of int16 or int8, zero points of the state, any activation, and a bias."""

    def generate(rng) -> Case:
        batch, inputs, filters, rank, memory = draw_sizes(rng)
        units, info = filters // rank, np.iinfo(state_type.lower())
        feature = rng.integers(-128, 128, (filters, inputs)).astype(np.int8)
        time = rng.integers(info.min, info.max + 1, (filters, memory)).astype(info.dtype)
        scales = {name: float(np.float32(2.0 ** rng.uniform(-12, 0))) for name in ("x", "feature", "time")}
        # About as large as the features, so that few of them or many are cut off.
        state = float(np.float32(scales["x"] * scales["feature"] * 2.0 ** rng.uniform(-4, 10)))
        products = float(np.float32(state) * np.float32(scales["time"]))
        output = float(np.float32(products * 2.0 ** rng.uniform(0, info.bits)))
        operands = [
            T((batch, inputs), "INT8", scales["x"], zero_point(rng)),
            T(data=feature, scale=scales["feature"]),
            T(data=time, scale=scales["time"]),
            T(data=rng.integers(-(2**20), 2**20, units).astype(np.int32), scale=products),
            T((batch, filters * memory), state_type, state, int(pick(rng, (0, 0, 3, -100))), variable=True),
        ]
        options = {"rank": rank, "fused_activation_function": pick(rng, ("RELU", "NONE", "RELU6"))}
        samples = extremes_and_random(rng, operands[:1], RUNS - 2)
        return case(rng, "SVDF", operands, [T((batch, units), "INT8", output, zero_point(rng))], options, samples, 3)

    return generate


def batch_matmul_deep(rng) -> Case:
    """Long sums around half-way points at scales of many digits: they tell how the product of the scales is rounded."""
    rows, columns = int(pick(rng, (1, 4, 16))), int(pick(rng, (4000, 6000, 9000)))
    s_a, s_b = (float(np.float32(low * rng.uniform(1, 2))) for low in (0.5, 2.0**-12))
    largest = 127 * 127 * columns
    s_out = float(np.float32(largest * s_a * s_b / 200))
    sums = np.round((rng.integers(100, 199, rows) + 0.5) * s_out / (s_a * s_b)) + rng.integers(-1, 2, rows)
    below, a = ((largest - sums) // 127).astype(int), np.full((rows, columns), 127, np.int8)
    for row, steps in zip(a, below, strict=True):
        row[: steps // 254] = -127
        row[steps // 254] -= steps % 254
    inputs = [T((rows, columns), "INT8", s_a), T((columns, 1), "INT8", s_b)]
    samples = [[a, np.full((columns, 1), 127, np.int8)], *extremes_and_random(rng, inputs, 1)]
    return case(rng, "BATCH_MATMUL", inputs, [T((rows, 1), "INT8", s_out, -100)], {}, samples, 2)


def conv_2d_told_by_the_bias(rng) -> Case:
    """int16 with a bias of int32 or int64, whatever the option quantized_bias_type says."""
    channels = int(pick(rng, (1, 3, 8)))
    bias = rng.integers(-(2**20), 2**20, channels).astype(pick(rng, (np.int32, np.int64)))
    x = T((1, 4, 5, 3), "INT16", 1.0)
    scale = float(np.float32(rng.uniform(0.5, 1)) * 2**-8)
    inputs = [x, T(data=weights(rng, (channels, 2, 2, 3)), scale=scale), T(data=bias, scale=1.0)]
    options = {"padding": "SAME", "stride_h": 1, "stride_w": 1, "fused_activation_function": "NONE"}
    options["quantized_bias_type"] = pick(rng, ("FLOAT32", "INT32", "INT64"))
    return case(rng, "CONV_2D", inputs, [T((1, 4, 5, channels), "INT16", 1.0)], options, version=8)


def fully_connected_told_by_the_bias(rng) -> Case:
    """As conv_2d_told_by_the_bias."""
    units = int(pick(rng, (1, 3, 8)))
    bias = rng.integers(-(2**20), 2**20, units).astype(pick(rng, (np.int32, np.int64)))
    scale = float(np.float32(rng.uniform(0.5, 1)) * 2**-8)
    inputs = [T((2, 7), "INT16", 1.0), T(data=weights(rng, (units, 7)), scale=scale), T(data=bias, scale=scale)]
    options = {"fused_activation_function": "NONE", "quantized_bias_type": pick(rng, ("FLOAT32", "INT32", "INT64"))}
    return case(rng, "FULLY_CONNECTED", inputs, [T((2, units), "INT16", 1.0)], options, version=11)


def unquantized_dimension(build):
    """A constant with one scale says that it is quantized along a dimension that it does not have."""

    def generate(rng) -> Case:
        made = build(rng)
        graph = made.model.graph
        tensors = tuple(
            replace(t, quantization=replace(t.quantization, quantized_dimension=3))
            if t.buffer and t.quantization is not None and len(t.quantization.scale) == 1
            else t
            for t in graph.tensors
        )
        return replace(made, model=replace(made.model, graphs=(replace(graph, tensors=tensors),)))

    return generate


def filter_of_4_bits(build):
    """The case with its filter's codes limited to -8 and 7, two of them a byte."""

    def generate(rng) -> Case:
        made = build(rng)
        graph, buffers = made.model.graph, list(made.model.buffers)
        index = graph.operators[0].inputs[1]
        filter_ = graph.tensors[index]
        codes = np.clip(np.frombuffer(buffers[filter_.buffer], np.int8) >> int(rng.integers(5)), -8, 7)
        nibbles = np.append(codes, np.zeros(codes.size % 2, np.int8)).view(np.uint8) & 15
        buffers[filter_.buffer] = (nibbles[::2] | nibbles[1::2] << 4).tobytes()
        tensors = tuple(replace(t, type="INT4") if i == index else t for i, t in enumerate(graph.tensors))
        return replace(
            made, model=replace(made.model, graphs=(replace(graph, tensors=tensors),), buffers=tuple(buffers))
        )

    return generate
