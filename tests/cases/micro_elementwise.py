"""Elementwise ops, sums, SOFTMAX and movement as only TensorFlow Lite Micro runs them, or on its conditions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cases.binary import near, quantized_pair, samples, scale, shape, some_constant, twice, zero_point
from cases.movement import build, data_tensor, some_shape
from cases.softmax import softmax_of
from cases.unary import codes
from models import Case, T, case

Generator = Callable[[np.random.Generator], Case]


def wide_scale(rng: np.random.Generator) -> float:
    """From scales at which no code saturates to those at which every one does."""
    return float(2.0 ** rng.integers(-24, 7) * rng.choice([1.0, rng.uniform(0.5, 1)]))


def sigmoid(op: str) -> Generator:
    """LOGISTIC or TANH on all codes of int8; the output's scale is not read, nor the zero point of TANH's."""

    def build(rng: np.random.Generator) -> Case:
        x = codes(rng, "INT8")
        input = T(x.shape, "INT8", wide_scale(rng), zero_point(rng, "INT8"))
        output = T(x.shape, "INT8", scale(rng), -128 if op == "LOGISTIC" else zero_point(rng, "INT8"))
        return case(rng, op, [input], [output], {}, [[x], [x[::-1].copy()]])

    return build


def mul_at_ties(rng: np.random.Generator) -> Case:
    """All pairs of codes; some product of two makes n + 1/2, but for the rounding of the multiplier."""
    s1, s2, every = *rng.uniform(1e-3, 1, 2), codes(rng, "INT8")
    steps = int(rng.integers(1, 128)) * int(rng.integers(1, 128))
    out = float(np.float32(s1)) * float(np.float32(s2)) * steps / (int(rng.integers(0, 128)) + 0.5)
    inputs = [T((256, 1), "INT8", s1), T((1, 256), "INT8", s2)]
    options = {"fused_activation_function": "NONE"}
    return case(rng, "MUL", inputs, [T((256, 256), "INT8", out)], options, [[every[:, np.newaxis], every[np.newaxis]]])


def div_at_ties(rng: np.random.Generator) -> Case:
    """All pairs of codes; some quotient of two makes n + 1/2, but for the rounding of the multiplier."""
    s1, s2, every = *rng.uniform(1e-3, 1, 2), codes(rng, "INT8")
    divisors = every[every != 0]
    quotient = (int(rng.integers(60, 127)) + 0.5) * int(rng.integers(3, 128))
    out = float(np.float32(s1)) / float(np.float32(s2)) / quotient
    inputs = [T((256, 1), "INT8", s1), T((1, 255), "INT8", s2)]
    options = {"fused_activation_function": "NONE"}
    sample = [every[:, np.newaxis], divisors[np.newaxis]]
    return case(rng, "DIV", inputs, [T((256, 255), "INT8", out)], options, [sample])


# (input scale, output scale, zero point) of HARD_SWISH where 16-bit multipliers of float32 ratios give other codes.
HARD_SWISH_TIES = (
    (0.0036220334004610777, 0.3587143123149872, -9),
    (0.08258586376905441, 0.080118827521801, -128),
    (0.09209926426410675, 0.26584234833717346, -128),
    (0.002738932380452752, 0.019089004024863243, 59),
    (0.01844637468457222, 0.01810329221189022, -43),
    (0.20092909038066864, 0.34789276123046875, -128),
    (0.15521031618118286, 0.1591566950082779, -128),
    (0.010479211807250977, 0.014575132168829441, 93),
    (0.030450012534856796, 0.13795150816440582, -128),
    (0.022419031709432602, 0.03135478124022484, -128),
    (0.14715591073036194, 0.11806774884462357, -128),
    (0.009584533050656319, 0.025388814508914948, -128),
)


def hard_swish_at_ties(rng: np.random.Generator) -> Case:
    every = codes(rng, "INT8")
    input_scale, out, zp = HARD_SWISH_TIES[int(rng.integers(len(HARD_SWISH_TIES)))]
    output = T(every.shape, "INT8", out, zero_point(rng, "INT8"))
    return case(rng, "HARD_SWISH", [T(every.shape, "INT8", input_scale, zp)], [output], {}, [[every]])


def softmax_int16_at_knots(rng: np.random.Generator) -> Case:
    """Rows of two that add up to 1 + 160/512 or 1 + 294/512 times the larger: knots of 1 / (1 + x) that types round."""
    step, size = 10 / 65535 * float(rng.uniform(0.9, 1.1)), 200
    below = -np.log(rng.choice([160, 294], size) / 512) / step + rng.uniform(-60, 60, size)
    rows = np.stack([np.full(size, 32000), 32000 - np.round(below)], axis=-1).astype(np.int16)
    tensors = T(rows.shape, "INT16", step), T(rows.shape, "INT16", 1 / 32768)
    return case(rng, "SOFTMAX", [tensors[0]], [tensors[1]], {"beta": 1.0}, [[rows], [rows[:, ::-1].copy()]])


def softmax_int16_all_differences(rng: np.random.Generator) -> Case:
    """Rows of the largest code and each other one: a multiplier that is rounded otherwise gives another exponential."""
    below = np.arange(32767, -32769, -1).astype(np.int16)
    rows = np.stack([np.full_like(below, 32767), below], axis=-1)
    step, beta = float(np.exp(rng.uniform(-11, -7))), float(np.float32(rng.uniform(0.3, 3)))
    tensors = T(rows.shape, "INT16", step), T(rows.shape, "INT16", 1 / 32768)
    return case(rng, "SOFTMAX", [tensors[0]], [tensors[1]], {"beta": beta}, [[rows]])


def softmax_to_int16(rng: np.random.Generator) -> Case:
    unit = 1 / 65536 * (1 + float(rng.choice([0, 0.0009, -0.0009])))
    return softmax_of(rng, "INT8", T(type="INT16", shape=(), scale=unit, zero_point=-32768))


def l2_normalization(rng: np.random.Generator) -> Case:
    """At most four axes; the output's scale is not read."""
    at = some_shape(rng, 1, 4)
    output = T(at, "INT8", scale(rng), zero_point(rng, "INT8"))
    options = {"fused_activation_function": "NONE"}
    return case(rng, "L2_NORMALIZATION", [T(at, "INT8", scale(rng), zero_point(rng, "INT8"))], [output], options)


def add_n(rng: np.random.Generator) -> Case:
    number, at, s, zp = int(rng.integers(2, 9)), shape(rng), scale(rng), zero_point(rng, "INT8")
    inputs = some_constant(rng, [T(at, "INT8", s, zp) for _ in range(number)])
    output = T(at, "INT8", number * near(rng, s), zero_point(rng, "INT8"))
    return case(rng, "ADD_N", inputs, [output], {}, samples(rng, inputs))


def cumsum(rng: np.random.Generator) -> Case:
    at, s = some_shape(rng), scale(rng)
    axis = int(rng.integers(-len(at), len(at)))
    options = {"exclusive": bool(rng.integers(2)), "reverse": bool(rng.integers(2))}
    input = T(at, "INT8", s, zero_point(rng, "INT8"))
    output = T(at, "INT8", at[axis] * near(rng, s), zero_point(rng, "INT8"))
    return case(rng, "CUMSUM", [input, T(data=np.array(axis, np.int32))], [output], options)


def squared_difference(type: str) -> Generator:
    """Output scales from that at which the results fill the range to a thousandth of it."""

    def build(rng: np.random.Generator) -> Case:
        inputs = quantized_pair(rng, type)
        largest = max(t.scale for t in inputs) * (1 << 8 * np.dtype(type.lower()).itemsize)
        fine = float(np.exp(rng.uniform(np.log(1e-3), np.log(10))))
        output = T(
            np.broadcast_shapes(*(t.shape for t in inputs)),
            type,
            fine * largest**2 / (1 << 8 * np.dtype(type.lower()).itemsize),
            zero_point(rng, type),
        )
        return twice(rng, case(rng, "SQUARED_DIFFERENCE", inputs, [output], {}, samples(rng, inputs)))

    return build


def with_zero_points(op: str) -> Generator:
    """ADD or SUB on int16 with zero points."""

    def build(rng: np.random.Generator) -> Case:
        def any_zero_point() -> int:
            return int(rng.choice([-32768, 32767, 0, rng.integers(-300, 300)]))

        inputs = quantized_pair(rng, "INT16")
        for t in inputs:
            t.zero_point = any_zero_point()
        at = np.broadcast_shapes(*(t.shape for t in inputs))
        output = T(at, "INT16", near(rng, inputs[0].scale), any_zero_point())
        return twice(rng, case(rng, op, inputs, [output], {}, samples(rng, inputs)))

    return build


def zeros_like(rng: np.random.Generator) -> Case:
    at = some_shape(rng)
    quantization = {"scale": scale(rng), "zero_point": zero_point(rng, "INT8")}
    return case(rng, "ZEROS_LIKE", [T(at, "INT8", **quantization)], [T(at, "INT8", **quantization)])


def transpose(rng: np.random.Generator) -> Case:
    """At most five axes, none counted from the end."""
    at = some_shape(rng, 1, 5)
    input, output = data_tensor(rng, ("INT8", "INT16", "FLOAT32"), at)
    axes = rng.permutation(len(at)).astype(np.int32)
    output.shape = tuple(at[a] for a in axes)
    return build(rng, "TRANSPOSE", [input, T(data=axes)], [output])


def strided_slice(rng: np.random.Generator) -> Case:
    """An entry for each of at most four axes, of which some are dropped."""
    at = some_shape(rng, 1, 4)
    input, output = data_tensor(rng, ("INT8", "INT16", "INT32", "FLOAT32", "BOOL"), at)
    begin = np.array([rng.integers(-d, d) for d in at], np.int32)
    strides = np.array([rng.choice([1, 1, 2, 3, -1, -2]) for _ in at], np.int32)
    length = np.array([rng.integers(1, d + 1) for d in at], np.int32)
    masks = {f"{name}_mask": int(rng.integers(1 << len(at))) & int(rng.integers(1 << len(at))) for name in MASKS}
    options = {**masks, "ellipsis_mask": 0, "new_axis_mask": 0, "offset": False}
    inputs = [input, *(T(data=a) for a in (begin, begin + length * np.sign(strides), strides))]
    return build(rng, "STRIDED_SLICE", inputs, [output], options)


MASKS = ("begin", "end", "shrink_axis")
