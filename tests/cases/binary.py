"""Elementwise ops of two inputs. The helpers for shapes, scales and values serve the other elementwise families too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from models import Case, T, case, extremes_and_random

SIDES = (1, 1, 2, 3, 4, 5, 7, 8, 17)
ACTIVATIONS = ("NONE", "NONE", "RELU", "RELU6", "RELU_N1_TO_1", "TANH", "SIGN_BIT")
SPECIAL = np.array(
    [np.nan, np.inf, -np.inf, 0.0, -0.0, 3.4e38, -3.4e38, 1e-45, -1e-45, 1.0, -1.0, 6.0, 5.9999995, 0.5, -3.0, 3.0],
    np.float32,
)


def shape(rng: np.random.Generator) -> tuple[int, ...]:
    """Rank 0 to 8, mostly up to 4, few elements."""
    rank = int(rng.choice([0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 6, 7, 8]))
    sides = SIDES if rank < 5 else (1, 1, 2, 3)
    return tuple(int(d) for d in rng.choice(sides, rank))


def two_shapes(rng: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Equal, or with axes of 1 and absent axes on either side."""
    a = shape(rng)
    b = tuple(1 if rng.random() < 0.3 else d for d in a)
    if rng.random() < 0.4:
        return a, a
    a = tuple(1 if rng.random() < 0.3 and e != 1 else d for d, e in zip(a, b, strict=True))
    if rng.random() < 0.5:
        b = b[int(rng.integers(0, len(b) + 1)) :]
    return (a, b) if rng.random() < 0.5 else (b, a)


def zero_point(rng: np.random.Generator, type: str) -> int:
    """The ends of the type, the middle, and anything; of INT16 always 0."""
    if type == "INT16":
        return 0
    info = np.iinfo(type.lower())
    return int(rng.choice([info.min, info.max, info.min + (1 << info.bits - 1), rng.integers(info.min, info.max)]))


def scale(rng: np.random.Generator) -> float:
    """A power of two, at which half-way values are common, or anything from 1e-4 to 1."""
    return float(2.0 ** rng.integers(-12, 1)) if rng.random() < 0.4 else float(np.exp(rng.uniform(np.log(1e-4), 0)))


def near(rng: np.random.Generator, scale: float) -> float:
    """A scale that gives a multiplier of about 1.

    Equal, a power of two away, such that some number of steps gives n + 1/2 but for the rounding of the multiplier,
    or anything in between.
    """
    kind = rng.random()
    if kind < 0.1:
        return scale
    if kind < 0.35:
        return float(scale * 2.0 ** rng.integers(-6, 7))
    if kind < 0.65:
        return float(scale * rng.integers(1, 256) / (rng.integers(0, 128) + 0.5))
    if kind < 0.95:
        return float(scale * np.exp(rng.uniform(-3, 3)))
    return float(scale * 10.0 ** rng.uniform(-5, 10))


def values(rng: np.random.Generator, shape: tuple[int, ...], type: str) -> np.ndarray:
    """Any values of the type; among floats NaN, infinities and both zeros."""
    dtype = np.dtype(type.lower())
    if dtype.kind == "f":
        x = rng.normal(0, rng.choice([1.0, 5.0, 1e3, 1e20]), shape).astype(dtype)
        return np.where(rng.random(shape) < 0.1, rng.choice(SPECIAL, shape), x).astype(dtype)
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    info = np.iinfo(dtype)
    wide = rng.integers(info.min, info.max, shape, dtype, endpoint=True)
    small = rng.integers(max(info.min, -9), 10, shape).astype(dtype)
    return np.where(rng.random(shape) < 0.5, wide, small).astype(dtype)


def samples(rng: np.random.Generator, inputs: list[T], number: int = 4) -> list[list[np.ndarray]]:
    return [[values(rng, t.shape, t.type) for t in inputs if t.data is None] for _ in range(number)]


def some_constant(rng: np.random.Generator, inputs: list[T]) -> list[T]:
    """Each input becomes a constant with probability 1/4."""
    return [replace(t, data=values(rng, t.shape, t.type)) if rng.random() < 0.25 else t for t in inputs]


def quantized_pair(rng: np.random.Generator, type: str) -> list[T]:
    a, b = two_shapes(rng)
    first = scale(rng)
    scales = [first, near(rng, first)]
    return some_constant(rng, [T(s, type, f, zero_point(rng, type)) for s, f in zip((a, b), scales, strict=True)])


def twice(rng: np.random.Generator, built: Case) -> Case:
    """Now and then, where both inputs are alike, the operator takes the first one twice."""
    graph = built.model.graph
    first, second = (graph.tensors[i] for i in graph.operators[0].inputs)
    if rng.random() < 0.3 and len(graph.inputs) == 2 and first.shape == second.shape:
        operator = replace(graph.operators[0], inputs=(0, 0))
        model = built.model.with_graph(replace(graph, operators=(operator,), inputs=(0,)))
        return Case(model, [arrays[:1] for arrays in built.samples])
    return built


def activation(rng: np.random.Generator) -> dict[str, str]:
    return {"fused_activation_function": str(rng.choice(ACTIVATIONS))}


def _output(inputs: list[T], type: str, scale: float | None = None, zero_point: int = 0) -> T:
    return T(np.broadcast_shapes(*(t.shape for t in inputs)), type, scale, zero_point)


def quantized(op: str, type: str) -> Callable[[np.random.Generator], Case]:
    """ADD, SUB, MUL, SQUARED_DIFFERENCE on int8 or uint8; ADD, SUB, MUL on int16 with scales that are not looked at."""

    def build(rng: np.random.Generator) -> Case:
        inputs = quantized_pair(rng, type)
        s1, s2 = (float(np.float32(t.scale)) for t in inputs)
        product = s1 * s2 * 2.0 ** (np.iinfo(type.lower()).bits - 2)
        natural = {"ADD": max(s1, s2), "SUB": max(s1, s2), "MUL": product, "SQUARED_DIFFERENCE": product}[op]
        output = _output(inputs, type, near(rng, natural), zero_point(rng, type))
        options = {} if op == "SQUARED_DIFFERENCE" else activation(rng)
        if type == "INT16" and op != "MUL":
            output.scale = max(output.scale, 2.01 * natural / 32768)  # larger multipliers shift left: undefined
            options = {**options, "pot_scale_int16": False}
        return twice(rng, case(rng, op, inputs, [output], options))

    return build


def quantized_large(op: str, type: str) -> Callable[[np.random.Generator], Case]:
    """All pairs of codes, in a shape that is large enough for the table of all pairs."""

    def build(rng: np.random.Generator) -> Case:
        info = np.iinfo(type.lower())
        codes = np.arange(info.min, info.max + 1).astype(type.lower())
        s1 = scale(rng)
        s2 = scale(rng) if op == "PRELU" else near(rng, s1)
        if op == "LESS":
            s1, s2 = min(s1, 0.999999), min(s2, 0.999999)
        inputs = [T((256, 1), type, s1, zero_point(rng, type)), T((1, 256), type, s2, zero_point(rng, type))]
        if op == "PRELU":
            inputs[0] = replace(inputs[0], shape=(256, 256))
        natural = max(s1, s2) if op in ("ADD", "SUB") else s1 if op == "PRELU" else 64 * s1 * s2
        output_scale = near(rng, natural)
        output = T((256, 256), "BOOL") if op == "LESS" else T((256, 256), type, output_scale, zero_point(rng, type))
        first = np.broadcast_to(codes[:, np.newaxis], inputs[0].shape).copy()
        options = activation(rng) if op in ("ADD", "SUB", "MUL") else {}
        return case(rng, op, inputs, [output], options, [[first, codes[np.newaxis]]])

    return build


def quantized_comparison(op: str, type: str) -> Callable[[np.random.Generator], Case]:
    def build(rng: np.random.Generator) -> Case:
        inputs = quantized_pair(rng, type)
        inputs = [replace(t, scale=min(t.scale, 0.999999)) for t in inputs]
        if rng.random() < 0.3:
            inputs[1] = replace(inputs[1], scale=inputs[0].scale, zero_point=inputs[0].zero_point)
        return twice(rng, case(rng, op, inputs, [_output(inputs, "BOOL")]))

    return build


def plain(op: str, type: str, output: str | None = None) -> Callable[[np.random.Generator], Case]:
    """Integers, float32 or bool; a fused activation where the op has one."""

    def build(rng: np.random.Generator) -> Case:
        a, b = two_shapes(rng)
        inputs = some_constant(rng, [T(a, type), T(b, type)])
        options = activation(rng) if op in ("ADD", "SUB", "MUL", "DIV") else {}
        return twice(rng, case(rng, op, inputs, [_output(inputs, output or type)], options, samples(rng, inputs)))

    return build


def division(op: str, type: str) -> Callable[[np.random.Generator], Case]:
    """As `plain`, but no divisor is 0, and none -1 where the type's minimum may meet it."""

    def build(rng: np.random.Generator) -> Case:
        a, b = two_shapes(rng)
        inputs = [T(a, type), T(b, type)]

        def pair() -> list[np.ndarray]:
            x, y = values(rng, a, type), values(rng, b, type)
            y = np.where((y == 0) | (y == -1) & bool((x == np.iinfo(type.lower()).min).any()), 3, y).astype(y.dtype)
            return [x, y]

        options = activation(rng) if op == "DIV" else {}
        return case(rng, op, inputs, [_output(inputs, type)], options, [pair() for _ in range(4)])

    return build


def quantized_division(type: str) -> Callable[[np.random.Generator], Case]:
    """DIV on int8 or uint8. Shifts beyond 31 bits, from multipliers below about 1, are undefined and not drawn."""

    def build(rng: np.random.Generator) -> Case:
        inputs = [replace(t, data=None) for t in quantized_pair(rng, type)]
        divisor = inputs[1]
        multiplier = float(2.0 ** rng.integers(8, 20)) if rng.random() < 0.3 else float(2.0 ** rng.uniform(7.1, 20))
        out = float(np.float32(inputs[0].scale)) / float(np.float32(divisor.scale)) / multiplier
        output = _output(inputs, type, out, zero_point(rng, type))
        drawn = samples(rng, inputs)
        other = divisor.zero_point + 1 if divisor.zero_point <= 0 else divisor.zero_point - 1
        drawn = [[x, np.where(y == divisor.zero_point, other, y).astype(y.dtype)] for x, y in drawn]
        return case(rng, "DIV", inputs, [output], activation(rng), drawn)

    return build


def floor_div_float(rng: np.random.Generator) -> Case:
    a, b = two_shapes(rng)
    inputs = [T(a, "FLOAT32"), T(b, "FLOAT32")]
    drawn = samples(rng, inputs)
    drawn = [[x, np.where(y == 0, np.float32(2), y).astype(np.float32)] for x, y in drawn]
    return case(rng, "FLOOR_DIV", inputs, [_output(inputs, "FLOAT32")], {}, drawn)


def raw_codes(op: str, type: str) -> Callable[[np.random.Generator], Case]:
    """MAXIMUM and MINIMUM compare codes, whatever the scales say."""

    def build(rng: np.random.Generator) -> Case:
        inputs = quantized_pair(rng, type)
        output = _output(inputs, type, scale(rng), zero_point(rng, type))
        return twice(rng, case(rng, op, inputs, [output], {}, extremes_and_random(rng, inputs)))

    return build


def atan2(rng: np.random.Generator) -> Case:
    a = shape(rng)
    inputs = [T(a, "FLOAT32"), T(a, "FLOAT32")]
    drawn = samples(rng, inputs)
    drawn += [[rng.choice(SPECIAL, a), rng.choice(SPECIAL, a)] for _ in range(2)]
    drawn.append([(rng.normal(0, 1, a) * 2.0 ** rng.uniform(-140, 120, a)).astype(np.float32) for _ in range(2)])
    return case(rng, "ATAN2", inputs, [T(a, "FLOAT32")], {}, drawn)


def add_n(type: str) -> Callable[[np.random.Generator], Case]:
    """Two to six inputs of one shape."""

    def build(rng: np.random.Generator) -> Case:
        inputs = some_constant(rng, [T(shape(rng), type)] * int(rng.integers(2, 7)))
        return case(rng, "ADD_N", inputs, [T(inputs[0].shape, type)], {}, samples(rng, inputs))

    return build


def bits(op: str) -> Callable[[np.random.Generator], Case]:
    """BITWISE_XOR and RIGHT_SHIFT on integers with and without sign."""

    def build(rng: np.random.Generator) -> Case:
        type = str(rng.choice(["INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32"]))
        a, b = two_shapes(rng)
        inputs = some_constant(rng, [T(a, type), T(b, type)])
        return case(rng, op, inputs, [_output(inputs, type)], {}, samples(rng, inputs))

    return build
