"""What XNNPACK computes otherwise in ops that multiply no matrices, where the other generators hardly come."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cases.binary import SPECIAL, zero_point
from models import Case, T, case, extremes_and_random

Generator = Callable[[np.random.Generator], Case]

WIDTHS = (1, 2, 3, 7, 15, 16, 17, 31, 32, 33, 47, 48, 63, 64, 65, 80, 127, 128, 130, 200)
CLAMPS = ("NONE", "RELU", "RELU6", "RELU_N1_TO_1")
BOUNDS = {"RELU6": 6.0, "RELU_N1_TO_1": 1.0}
GROUPS = ((1, 3), (0, 3), (0, 2), (1,), (3,), (1, 2), (0, 1), (2, 3), (0, 1, 2), (0, 1, 3), (0, 1, 2, 3))
FUNCTIONS = (
    "ABS",
    "CEIL",
    "COS",
    "ELU",
    "FLOOR",
    "GELU",
    "HARD_SWISH",
    "LOG",
    "LOGISTIC",
    "NEG",
    "ROUND",
    "SIN",
    "TANH",
)


def clamp_and_scale(rng: np.random.Generator) -> tuple[str, float]:
    """A fused activation, and an output scale at which its bound often lies half-way between two codes."""
    clamp = str(rng.choice(CLAMPS))
    if clamp in BOUNDS and rng.integers(2):
        return clamp, float(np.float32(BOUNDS[clamp] / (int(rng.integers(3, 120)) + 0.5)))
    return clamp, float(np.float32(2.0 ** rng.integers(-6, 0) if rng.integers(2) else rng.uniform(0.01, 0.9)))


def two_inputs(op: str, type: str) -> Generator:
    """ADD, SUB or MUL of all pairs of codes, up to the bounds of what the delegate takes."""
    least, largest = (-16, 7.99) if op == "MUL" else (-9.9, 7.99)

    def generate(rng: np.random.Generator) -> Case:
        clamp, out = clamp_and_scale(rng)
        powers = (rng.uniform(least, largest), rng.uniform(-3, 0), rng.integers(-4, 3))
        ties = (rng.integers(1, 60) + 0.5) / rng.integers(20, 128)  # a code's result is half-way but for the last bits
        ratios = [float(rng.choice([ties, 2.0 ** rng.choice(powers)])) for _ in "ab"]
        if op == "MUL":
            scales = [float(np.float32(ratios[0] * out)), 1.0]
        else:
            scales = [float(np.float32(ratio * out)) for ratio in ratios]
        every = np.arange(256).astype(np.uint8).view(type.lower())
        row, column = every.reshape(1, 256), every.reshape(256, 1)
        a, b = (T(x.shape, type, s, zero_point(rng, type)) for x, s in zip((row, column), scales, strict=True))
        output = T((256, 256), type, out, zero_point(rng, type))
        return case(rng, op, [a, b], [output], {"fused_activation_function": clamp}, [[row, column]])

    return generate


def one_element_of_many_axes(rng: np.random.Generator) -> Case:
    """A constant of one element with more axes than the input: a table has the input's shape."""
    op, clamp = str(rng.choice(["ADD", "SUB", "MUL"])), str(rng.choice(CLAMPS))
    shape = ((), (3,), (1,), (2, 17), (1, 3))[rng.integers(5)]
    many = (1,) * int(rng.integers(0, 5))
    operands = [
        T(shape, "INT8", 0.125, zero_point(rng, "INT8")),
        T(data=rng.integers(-128, 128, many).astype(np.int8), scale=0.37, zero_point=zero_point(rng, "INT8")),
    ]
    if rng.integers(4) == 0:  # two constants have no table
        operands[0].data = rng.integers(-128, 128, shape).astype(np.int8)
    output = T(np.broadcast_shapes(shape, many), "INT8", 0.29, zero_point(rng, "INT8"))
    operands = operands if rng.integers(2) else operands[::-1]
    return case(rng, op, operands, [output], {"fused_activation_function": clamp})


def every_code(op: str, type: str) -> Generator:
    """LEAKY_RELU or QUANTIZE of every code: ratios of whole and half 256ths, and the bounds of what is taken."""

    def ratio(rng: np.random.Generator) -> float:
        kind = rng.integers(4)
        if kind == 0:
            return float(rng.choice([1 / 256, 1.5 / 256, 1 / 255, 128, 127.99, 1]))
        return float(rng.integers(2, 800) / 512 if kind == 1 else np.exp(rng.uniform(np.log(1 / 256), np.log(128))))

    def generate(rng: np.random.Generator) -> Case:
        x = np.arange(256).astype(np.uint8).view(type.lower())
        positive = ratio(rng)
        slope = ratio(rng) / positive * float(rng.choice([1, -1]))
        options = {"alpha": float(np.float32(slope))} if op == "LEAKY_RELU" else None
        scales = float(np.float32(0.05 * positive)), float(np.float32(0.05))
        input, output = (T(x.shape, type, scale, zero_point(rng, type)) for scale in scales)
        return case(rng, op, [input], [output], options, [[x]])

    return generate


def float_to_codes(type: str) -> Generator:
    """QUANTIZE of half-way values, of values beyond any code, infinities and NaN."""

    def generate(rng: np.random.Generator) -> Case:
        scale = np.float32(2.0 ** rng.integers(-8, 8) if rng.integers(2) else np.exp(rng.uniform(-20, 20)))
        count = int(rng.choice(WIDTHS))
        half_way = (rng.integers(-300, 300, count) + 0.5) * scale
        far = rng.normal(0, 1, count) * 10.0 ** rng.uniform(-40, 38, count)
        x = np.where(
            rng.random(count) < 0.5, half_way, np.where(rng.random(count) < 0.5, far, rng.choice(SPECIAL, count))
        )
        output = T((count,), type, float(scale), zero_point(rng, type))
        return case(rng, "QUANTIZE", [T((count,), "FLOAT32")], [output], None, [[x.astype(np.float32)]])

    return generate


def reduced_codes(op: str, type: str) -> Generator:
    """MEAN or SUM over any axes, at scales of powers of two: many results are half-way between two codes."""

    def generate(rng: np.random.Generator) -> Case:
        shape = tuple(int(d) for d in rng.choice([1, 2, 3, 4, 5, 8, 16, 33], 4))
        axes = np.array(GROUPS[rng.integers(len(GROUPS))], np.int32)
        count = np.prod([shape[axis] for axis in axes]) if op == "SUM" else 1
        ratio = 2.0 ** rng.integers(-1, 2) * float(rng.choice([1, 1, rng.uniform(0.3, 3)])) / count
        scales = float(np.float32(0.5 * ratio)), 0.5
        input = T(shape, type, scales[0], zero_point(rng, type))
        reduced = tuple(1 if axis in axes else d for axis, d in enumerate(shape))
        output = T(reduced, type, scales[1], zero_point(rng, type))
        return case(rng, op, [input, T(data=axes)], [output], {"keep_dims": True}, extremes_and_random(rng, [input]))

    return generate


def special_values(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Only zeros of both signs, NaN and negative numbers; or numbers around the denormal ones; or plain ones."""
    kind = rng.integers(4)
    if kind == 0:
        return rng.choice(np.array([0, -0.0, -1], np.float32), shape)
    if kind == 1:
        return rng.choice(np.array([np.nan, -1, -2, 0, np.inf, -np.inf], np.float32), shape)
    return (rng.standard_normal(shape) * float(rng.choice([1, 1e-37, 1e-38]) if kind == 2 else 1)).astype(np.float32)


def reduced_floats(op: str) -> Generator:
    """Constant axes in one run or several, widths around vectors."""

    def generate(rng: np.random.Generator) -> Case:
        shape = [int(d) for d in rng.choice([1, 2, 3, 5], 4)]
        shape[int(rng.integers(4))] = int(rng.choice(WIDTHS))
        axes = GROUPS[rng.integers(len(GROUPS))]
        output = T(tuple(1 if axis in axes else d for axis, d in enumerate(shape)), "FLOAT32")
        inputs = [T(tuple(shape), "FLOAT32"), T(data=np.array(axes, np.int32))]
        samples = [[special_values(rng, tuple(shape))] for _ in range(3)]
        return case(rng, op, inputs, [output], {"keep_dims": True}, samples)

    return generate


def pooled_floats(op: str) -> Generator:
    """Windows of up to 30 taps that overlap."""

    def generate(rng: np.random.Generator) -> Case:
        height, width = (int(n) for n in rng.integers(1, 7, 2))
        shape = (2, int(rng.integers(height, 12)), int(rng.integers(width, 12)), int(rng.choice((1, 3, 4, 5, 16, 17))))
        options = {
            "padding": str(rng.choice(["SAME", "VALID"])),
            "stride_h": int(rng.integers(1, height + 1)),
            "stride_w": int(rng.integers(1, width + 1)),
            "filter_height": height,
            "filter_width": width,
            "fused_activation_function": str(rng.choice(CLAMPS)),
        }
        samples = [[special_values(rng, shape)] for _ in range(3)]
        return case(rng, op, [T(shape, "FLOAT32")], [T((1, 1, 1, 1), "FLOAT32")], options, samples)

    return generate


def softmax_floats(rng: np.random.Generator) -> Case:
    """Rows around the widths of vectors."""
    shape = (int(rng.integers(1, 5)), int(rng.choice(WIDTHS)))
    samples = [[(rng.standard_normal(shape) * 10.0 ** rng.uniform(-2, 2)).astype(np.float32)] for _ in range(3)]
    return case(rng, "SOFTMAX", [T(shape, "FLOAT32")], [T(shape, "FLOAT32")], {"beta": 1.0}, samples)


def extreme_of_two(op: str) -> Generator:
    """MAXIMUM or MINIMUM of zeros, NaNs and plain numbers, where the order of the operands shows."""

    def generate(rng: np.random.Generator) -> Case:
        shapes = [
            ((5, 17), (5, 17)),
            ((5, 17), (17,)),
            ((5, 1), (17,)),
            ((5, 17), (1, 1)),
            ((5, 17), ()),
            ((5, 1), (1,)),
        ]
        pair = shapes[rng.integers(len(shapes))]
        constant = int(rng.integers(4))
        operands, values = [], []
        for number, shape in enumerate(pair if rng.integers(2) else pair[::-1]):
            x = special_values(rng, shape)
            if constant == number and x.size == 1 and rng.integers(2):
                x = np.full(shape, rng.choice([np.inf, -np.inf]), np.float32)
            operands.append(T(data=x) if constant == number else T(shape, "FLOAT32"))
            values += [] if constant == number else [x]
        return case(rng, op, operands, [T(np.broadcast_shapes(*pair), "FLOAT32")], {}, [values])

    return generate


def function_of_floats(rng: np.random.Generator) -> Case:
    """One op of FUNCTIONS on numbers of any bits, on small ones and on those around 1."""
    op, count = str(rng.choice(FUNCTIONS)), int(rng.choice((1, 5, 16, 100, 1000)))
    bits = rng.integers(0, 1 << 32, count, np.uint32).view(np.float32)
    samples = [[bits], [(rng.standard_normal(count) * 4).astype(np.float32)], [rng.choice(SPECIAL, count)]]
    options = {"approximate": bool(rng.integers(2))} if op == "GELU" else None
    return case(rng, op, [T((count,), "FLOAT32")], [T((count,), "FLOAT32")], options, samples)
