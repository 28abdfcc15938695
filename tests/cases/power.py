"""POW: exponents of the base's shape, broadcast ones, and single ones, whole, near whole and fractional."""

from __future__ import annotations

import numpy as np

from cases.binary import SPECIAL, two_shapes, values
from models import Case, T, case

WHOLE = (1, 2, 3, 4, 5, 7, 8, 15, 16, 31, 33, 1000)


def _bases(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    kind = rng.integers(4)
    if kind == 0:
        return values(rng, shape, "FLOAT32")
    if kind == 1:
        return (1 + rng.normal(0, 1, shape) * 2.0 ** rng.uniform(-23, -2, shape)).astype(np.float32)
    sign = rng.choice([-1, 1], shape) if kind == 2 else 1
    return (sign * 2.0 ** rng.uniform(-140, 127, shape)).astype(np.float32)


def _exponents(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    kinds = [
        rng.normal(0, 3, shape),
        rng.integers(-9, 10, shape),
        rng.integers(-20, 20, shape) / 4,
        rng.choice(SPECIAL, shape),
        rng.choice(WHOLE, shape) + rng.choice([0, 9e-6, -9e-6, 1.1e-5, -1.1e-5], shape),
    ]
    return np.choose(rng.integers(0, len(kinds), shape), kinds).astype(np.float32)


def power(rng: np.random.Generator) -> Case:
    base, exponent = two_shapes(rng)
    single = rng.random() < 0.5
    exponent = (1,) * int(rng.integers(0, 5)) if single else exponent
    e = T(data=_exponents(rng, exponent)) if rng.random() < 0.5 else T(exponent, "FLOAT32")
    samples = [[_bases(rng, base)] + ([] if e.data is not None else [_exponents(rng, exponent)]) for _ in range(5)]
    output = T(np.broadcast_shapes(base, exponent), "FLOAT32")
    return case(rng, "POW", [T(base, "FLOAT32"), e], [output], {}, samples)


def power_int32(rng: np.random.Generator) -> Case:
    """Single exponents wrap; others are drawn so that the power fits int32."""
    base, exponent = two_shapes(rng)
    single = rng.random() < 0.5
    exponent = (1,) * int(rng.integers(0, 5)) if single else exponent
    samples = []
    for _ in range(4):
        x = rng.integers(-40, 41, base).astype(np.int32)
        n = rng.integers(0, 9 if single and base != exponent else 6, exponent).astype(np.int32)
        if single and base != exponent and n.reshape(-1)[0]:
            x = values(rng, base, "INT32")
        samples.append([x, n])
    if rng.random() < 0.3:
        x = rng.choice([-2, -1, 0, 1, 2], base).astype(np.int32)
        samples.append([x, rng.integers(0, 31, exponent).astype(np.int32)])
    inputs = [T(base, "INT32"), T(exponent, "INT32")]
    return case(rng, "POW", inputs, [T(np.broadcast_shapes(base, exponent), "INT32")], {}, samples)
