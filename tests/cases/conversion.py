"""QUANTIZE, DEQUANTIZE, CAST, BITCAST."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cases.binary import near, scale, shape, values, zero_point
from models import Case, T, case

INTEGERS = ("INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32", "INT64", "BOOL")
FLOATS = ("FLOAT16", "FLOAT32", "FLOAT64")
BITS = (*INTEGERS[:-1], *FLOATS)
COMPLEX = ("COMPLEX64",)
EVERY = (*INTEGERS, *FLOATS, *COMPLEX)

HALF = 2.0**-11  # of the last bit of a float16 of 1


def _integers(rng: np.random.Generator, shape: tuple[int, ...], type: str) -> list[list[np.ndarray]]:
    info = np.iinfo(type.lower())
    return [
        [np.full(shape, info.min, info.dtype)],
        [np.full(shape, info.max, info.dtype)],
        *([values(rng, shape, type)] for _ in range(3)),
    ]


def _per_channel(rng: np.random.Generator, shape: tuple[int, ...], type: str) -> tuple[list[float], list[int], int]:
    """(scales, zero points, axis) along one axis of the shape."""
    axis = int(rng.integers(0, len(shape)))
    number = shape[axis]
    return [scale(rng) for _ in range(number)], [zero_point(rng, type) for _ in range(number)], axis


def quantize(type: str) -> Callable[[np.random.Generator], Case]:
    """Values on half-way points between codes and next to them, inside the range and far outside."""

    def build(rng: np.random.Generator) -> Case:
        s, zp = scale(rng), 0 if type == "INT16" and rng.random() < 0.7 else zero_point(rng, type)
        at = shape(rng)
        info = np.iinfo(type.lower())
        step = np.float32(s)
        halves = (rng.integers(info.min - zp - 9, info.max - zp + 9, at) + 0.5).astype(np.float32) * step
        samples = [
            halves,
            np.nextafter(halves, np.float32(np.inf)),
            np.nextafter(halves, np.float32(-np.inf)),
            (rng.uniform(info.min - zp - 9, info.max - zp + 9, at) * s).astype(np.float32),
            (rng.normal(0, 1, at) * s * 10.0 ** rng.uniform(-3, 8)).astype(np.float32),
            rng.choice(np.array([0.49999997, -0.49999997, 0.5, -0.5, 0.0, -0.0, 1e-45, -1e-30]), at).astype(np.float32),
        ]
        return case(rng, "QUANTIZE", [T(at, "FLOAT32")], [T(at, type, s, zp)], {}, [[x] for x in samples])

    return build


def quantize_per_channel(rng: np.random.Generator) -> Case:
    type = str(rng.choice(["INT8", "UINT8", "INT16"]))
    at = shape(rng) or (3,)
    scales, zero_points, axis = _per_channel(rng, at, type)
    step = np.array(scales, np.float32).reshape(-1, *(1,) * (len(at) - axis - 1))
    samples = [(rng.integers(-300, 300, at) / 2).astype(np.float32) * step, (rng.normal(0, 99, at) * step).astype("f4")]
    output = T(at, type, scales, zero_points, axis)
    return case(rng, "QUANTIZE", [T(at, "FLOAT32")], [output], {}, [[x.astype(np.float32)] for x in samples])


def requantize(source: str, target: str) -> Callable[[np.random.Generator], Case]:
    def build(rng: np.random.Generator) -> Case:
        at = (int(rng.integers(225, 257)),) if source in ("INT8", "UINT8") else shape(rng)
        both = source == target == "INT16"
        s = scale(rng)
        out = near(rng, s * (2.0**24 if source == "INT32" else 2.0**8 if source == "INT16" and target == "INT8" else 1))
        zps = [0 if both else zero_point(rng, "INT8" if t == "INT32" else t) for t in (source, target)]
        if source == "INT32" and rng.random() < 0.5:
            zps[0] = int(rng.integers(-(2**20), 2**20))
        if source[0] != target[0] and rng.random() < 0.3:
            out, zps = s, [zps[0], zps[0] + (128 if target == "UINT8" else -128)]
        info = np.iinfo(source.lower())
        samples = _integers(rng, at, source)
        if info.bits == 8:
            every = np.arange(info.min, info.max + 1).astype(info.dtype)
            samples = [[rng.permutation(every)[: at[0]]]]
        return case(rng, "QUANTIZE", [T(at, source, s, zps[0])], [T(at, target, out, zps[1])], {}, samples)

    return build


def dequantize(type: str) -> Callable[[np.random.Generator], Case]:
    def build(rng: np.random.Generator) -> Case:
        at = shape(rng)
        s = scale(rng) * float(rng.choice([1.0, 1e-38, 1e30]))
        input = T(at, type, s, 0 if type == "INT16" else zero_point(rng, type))
        samples = _integers(rng, at, type)
        if rng.random() < 0.25:
            input, samples = T(scale=s, zero_point=input.zero_point, data=samples[-1][0]), [[]]
        return case(rng, "DEQUANTIZE", [input], [T(at, "FLOAT32")], {}, samples)

    return build


def dequantize_per_channel(rng: np.random.Generator) -> Case:
    type = str(rng.choice(["INT8", "UINT8"]))
    at = shape(rng) or (3,)
    scales, zero_points, axis = _per_channel(rng, at, type)
    input = T(at, type, scales, zero_points, axis)
    return case(rng, "DEQUANTIZE", [input], [T(at, "FLOAT32")], {}, _integers(rng, at, type))


def dequantize_half(rng: np.random.Generator) -> Case:
    at = shape(rng)
    samples = [[rng.integers(0, 2**16, at).astype(np.uint16).view(np.float16)] for _ in range(4)]
    return case(rng, "DEQUANTIZE", [T(at, "FLOAT16")], [T(at, "FLOAT32")], {}, samples)


def cast(sources: tuple[str, ...], targets: tuple[str, ...]) -> Callable[[np.random.Generator], Case]:
    """Pairs of types; floats with NaN, infinities, and values beyond every integer type."""

    def build(rng: np.random.Generator) -> Case:
        source, target = str(rng.choice(sources)), str(rng.choice(targets))
        at = shape(rng)
        with np.errstate(all="ignore"):
            samples = [[_any(rng, at, source)] for _ in range(5)]
        return case(rng, "CAST", [T(at, source)], [T(at, target)], {}, samples)

    return build


def _any(rng: np.random.Generator, at: tuple[int, ...], type: str) -> np.ndarray:
    if type == "COMPLEX64":
        real = _any(rng, at, "FLOAT32")
        return (real + 1j * np.flip(real)).astype(np.complex64)
    if not type.startswith("FLOAT"):
        return values(rng, at, type)
    powers = 2.0 ** rng.choice([0, 1, 7, 8, 11, 15, 16, 24, 31, 32, 53, 63, 64, 100], at)
    x = (
        rng.choice([1.0, -1.0], at)
        * powers
        * (1 + rng.choice([0, 0.5, 1e-7, -1e-7, HALF, HALF + 2.0**-40, 2.0**-53], at))
    )
    x = x + rng.choice([0, 0.5, -0.5, 0.25, -1], at)
    return np.where(rng.random(at) < 0.1, rng.choice([np.nan, np.inf, -np.inf, -0.0, 65519.99, 1e-8], at), x).astype(
        type.lower()
    )


def bitcast(rng: np.random.Generator) -> Case:
    """Every pair of types; the last axis holds as many elements as make one of a larger output type."""
    type, output = (str(rng.choice(BITS)) for _ in range(2))
    sizes = np.dtype(type.lower()).itemsize, np.dtype(output.lower()).itemsize
    shape = tuple(int(n) for n in rng.integers(1, 5, int(rng.integers(0, 4))))
    shape = (*shape, sizes[1] // sizes[0]) if sizes[0] < sizes[1] else shape
    bytes_of = (*shape, sizes[0])
    samples = [[rng.integers(0, 256, bytes_of, np.uint8).view(type.lower())[..., 0]] for _ in range(3)]
    return case(rng, "BITCAST", [T(shape, type)], [T((1,), output)], {}, samples)
