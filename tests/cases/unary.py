"""Elementwise ops of one input, and PRELU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from cases.binary import SPECIAL, near, samples, scale, shape, some_constant, values, zero_point
from models import Case, T, case

Options = Callable[[np.random.Generator], dict[str, Any]]


def alpha(rng: np.random.Generator) -> dict[str, float]:
    """Powers of two, 0, negative and above 1."""
    choices = [0.0, 0.5, 0.125, 0.01, 0.2, 1.0, 2.0, -0.5, rng.uniform(-2, 2), rng.uniform(0, 1), 1e-9]
    return {"alpha": float(np.float32(rng.choice(choices)))}


def no_options(rng: np.random.Generator) -> dict[str, Any]:
    return {}


def codes(rng: np.random.Generator, type: str, lowest: int | None = None) -> np.ndarray:
    """All codes of the type, from `lowest` on, in a random shape's order."""
    info = np.iinfo(type.lower())
    return np.arange(info.min if lowest is None else lowest, info.max + 1).astype(type.lower())


def quantized(op: str, type: str, options: Options = no_options) -> Callable[[np.random.Generator], Case]:
    """Every code of the type, between two scales that may be equal or far apart."""

    def build(rng: np.random.Generator) -> Case:
        s = scale(rng)
        out = max(near(rng, s), 1e-8)  # the bound 6 of RELU6 must fit int32
        x = codes(rng, type).reshape((-1,) if rng.random() < 0.5 else (2, 1, 8, -1))
        input, output = T(x.shape, type, s, zero_point(rng, type)), T(x.shape, type, out, zero_point(rng, type))
        return case(rng, op, [input], [output], options(rng), [[x], [x[::-1].copy()]])

    return build


def leaky_relu(type: str) -> Callable[[np.random.Generator], Case]:
    """Output scales that fit the slope below zero as often as the one above."""

    def build(rng: np.random.Generator) -> Case:
        s, options = scale(rng), alpha(rng)
        slope = abs(options["alpha"]) if rng.random() < 0.5 else 1.0
        x = codes(rng, type)
        output = T(x.shape, type, near(rng, s * max(slope, 1e-3)), zero_point(rng, type))
        return case(rng, "LEAKY_RELU", [T(x.shape, type, s, zero_point(rng, type))], [output], options, [[x]])

    return build


def hard_swish(type: str) -> Callable[[np.random.Generator], Case]:
    """Input scales from far below 3 / 128 to far above, output scales from just above input scale / 128 on."""

    def build(rng: np.random.Generator) -> Case:
        s = float(2.0 ** rng.uniform(-26, 8)) if rng.random() < 0.7 else float(2.0 ** rng.integers(-26, 9))
        out = s * (2.0 ** rng.integers(-6, 12) if rng.random() < 0.3 else float(2.0 ** rng.uniform(-6.99, 14)))
        x = codes(rng, type)
        input, output = T(x.shape, type, s, zero_point(rng, type)), T(x.shape, type, out, zero_point(rng, type))
        return case(rng, "HARD_SWISH", [input], [output], {}, [[x]])

    return build


def abs_(rng: np.random.Generator) -> Case:
    return quantized("ABS", "INT8")(rng)


def roots(op: str) -> Callable[[np.random.Generator], Case]:
    """SQRT or RSQRT of every int8 code from the zero point on."""

    def build(rng: np.random.Generator) -> Case:
        s, zp = scale(rng), int(rng.choice([-128, -128, -127, -1, 0, 1, 127, rng.integers(-128, 128)]))
        top = np.sqrt(255 * s)
        natural = top / 255 if op == "SQRT" else 1 / np.sqrt(s) / 255
        x = codes(rng, "INT8", zp)
        kind = rng.random()
        out = float(natural * np.exp(rng.uniform(-5, 5))) if kind < 0.5 else float(2.0 ** rng.integers(-12, 3))
        if op == "RSQRT" and kind > 0.7:  # the first code above the zero point gives n + 1/2
            out = float(1 / np.sqrt(np.float32(s)) / (rng.integers(0, 255) + 0.5))
        output = T(x.shape, "INT8", out, zero_point(rng, "INT8"))
        return case(rng, op, [T(x.shape, "INT8", s, zp)], [output], {}, [[x], [rng.permutation(x)]])

    return build


def prelu(type: str) -> Callable[[np.random.Generator], Case]:
    def build(rng: np.random.Generator) -> Case:
        input_shape = shape(rng)
        alpha_shape = tuple(1 if rng.random() < 0.4 else d for d in input_shape)
        if rng.random() < 0.5:
            alpha_shape = alpha_shape[int(rng.integers(0, len(alpha_shape) + 1)) :]
        if type == "FLOAT32":
            inputs = some_constant(rng, [T(input_shape, type), T(alpha_shape, type)])
            return case(rng, "PRELU", inputs, [T(input_shape, type)], {}, samples(rng, inputs))
        s = scale(rng)
        inputs = [
            T(input_shape, type, s, zero_point(rng, type)),
            T(alpha_shape, type, scale(rng), zero_point(rng, type)),
        ]
        output = T(input_shape, type, near(rng, s), zero_point(rng, type))
        return case(rng, "PRELU", some_constant(rng, inputs), [output])

    return build


def plain(op: str, type: str, options: Options = no_options) -> Callable[[np.random.Generator], Case]:
    """Integers, float32 with NaN, infinities and both zeros, or bool."""

    def build(rng: np.random.Generator) -> Case:
        inputs = [T(shape(rng), type)]
        drawn = samples(rng, inputs)
        if type == "FLOAT32":
            drawn += [[x] for x in _floats(rng, inputs[0].shape)]
        return case(rng, op, inputs, [replace(inputs[0])], options(rng), drawn)

    return build


def _floats(rng: np.random.Generator, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Values around the bends of the functions, tiny ones, and nothing but special ones."""
    return [
        rng.uniform(-4, 7, shape).astype(np.float32),
        rng.uniform(-110, 95, shape).astype(np.float32),
        (rng.normal(0, 1, shape) * 2.0 ** rng.uniform(-140, -5)).astype(np.float32),
        rng.choice(SPECIAL, shape).astype(np.float32),
    ]


def optimized(op: str) -> Callable[[np.random.Generator], Case]:
    """An op that the reference resolver lacks; the optimized one has it."""

    def build(rng: np.random.Generator) -> Case:
        return replace(plain(op, "FLOAT32")(rng), resolver="BUILTIN_WITHOUT_DEFAULT_DELEGATES")

    return build


def angles(op: str) -> Callable[[np.random.Generator], Case]:
    """SIN and COS of small, large and huge angles, and around multiples of pi / 4."""

    def build(rng: np.random.Generator) -> Case:
        s = shape(rng)
        wide = (rng.choice([-1, 1], s) * 2.0 ** rng.uniform(-30, 128, s)).astype(np.float32)
        near = (rng.integers(-400, 400, s) * np.pi / 4 * (1 + rng.normal(0, 1e-7, s))).astype(np.float32)
        drawn = [[wide], [near], [rng.uniform(-130, 130, s).astype(np.float32)], *[[x] for x in _floats(rng, s)]]
        return case(rng, op, [T(s, "FLOAT32")], [T(s, "FLOAT32")], {}, drawn)

    return build


def complex_parts(op: str) -> Callable[[np.random.Generator], Case]:
    """REAL, IMAG and COMPLEX_ABS."""

    def build(rng: np.random.Generator) -> Case:
        s = shape(rng)
        drawn = []
        for _ in range(3):
            x = np.empty(s, np.complex64)
            x.real, x.imag = values(rng, s, "FLOAT32"), values(rng, s, "FLOAT32")
            drawn.append([x])
        small = rng.normal(0, 1, (2, *s)) * 2.0 ** rng.uniform(-140, 60, (2, *s))
        drawn.append([(small[0] + 1j * small[1]).astype(np.complex64)])
        return case(rng, op, [T(s, "COMPLEX64")], [T(s, "FLOAT32")], {}, drawn)

    return build


def fake_quant(rng: np.random.Generator) -> Case:
    """Ranges that hold 0, from tiny to large, in 2 to 16 bits; values at the half-way points of the steps, too."""
    low, high = -(2.0 ** rng.uniform(-20, 20)), 2.0 ** rng.uniform(-20, 20)
    low = 0.0 if rng.random() < 0.2 else low
    high = 0.0 if rng.random() < 0.1 and low else high
    bits = int(rng.choice([2, 4, 8, 8, 8, 15, 16]))
    s = shape(rng)
    step = (high - low) / (2**bits - 1)
    halves = low + step * (rng.integers(0, 2**bits, s) + 0.5)
    drawn = [[rng.uniform(low * 1.2, high * 1.2, s)], [halves], [rng.choice(SPECIAL, s)]]
    options = {"min": float(np.float32(low)), "max": float(np.float32(high)), "num_bits": bits, "narrow_range": False}
    drawn = [[x.astype(np.float32)] for (x,) in drawn]
    return case(rng, "FAKE_QUANT", [T(s, "FLOAT32")], [T(s, "FLOAT32")], options, drawn)
