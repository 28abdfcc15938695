"""SOFTMAX and LOG_SOFTMAX."""

from __future__ import annotations

import numpy as np

import refquant
from models import Case, T, case

DEPTHS = (1, 2, 3, 4, 7, 8, 10, 15, 16, 17, 33, 64, 257)


def _shape(rng: np.random.Generator) -> tuple[int, ...]:
    """Rank 1 to 5, any depth, few rows."""
    rank = int(rng.integers(1, 6))
    return (*(int(d) for d in rng.integers(1, 4, rank - 1)), int(rng.choice(DEPTHS)))


def _scale(rng: np.random.Generator) -> float:
    """Powers of two and others, from far too fine to so coarse that one step decides."""
    if rng.random() < 0.3:
        return float(2.0 ** rng.integers(-20, 6))
    return float(np.exp(rng.uniform(np.log(1e-5), np.log(50.0))))


def _samples(rng: np.random.Generator, shape: tuple[int, ...], dtype: type) -> list[list[np.ndarray]]:
    """All-minimum, all-maximum, random over the whole range, and random in a narrow band at either end."""
    info = np.iinfo(dtype)
    low = rng.integers(info.min, info.max - 8)
    return [
        [np.full(shape, info.min, dtype)],
        [np.full(shape, info.max, dtype)],
        [rng.integers(info.min, info.max, shape, dtype, endpoint=True)],
        [rng.integers(low, low + rng.integers(1, 9), shape, dtype, endpoint=True)],
        [rng.choice(np.array([info.min, info.max], dtype), shape)],
    ]


def softmax_of(rng: np.random.Generator, type: str, output: T) -> Case:
    output.shape = shape = _shape(rng)
    info = np.iinfo(type.lower())
    input = T(shape, type, _scale(rng), int(rng.integers(info.min, info.max, endpoint=True)))
    beta = float(np.float32(rng.choice([1.0, 1.0, 0.5, 2.0, rng.uniform(0.01, 30)])))
    return case(rng, "SOFTMAX", [input], [output], {"beta": beta}, _samples(rng, shape, np.dtype(type.lower()).type))


def softmax(rng: np.random.Generator) -> Case:
    scale = 1 / 256 * (1 + float(rng.choice([0, 0.0009, -0.0009])))
    return softmax_of(rng, "INT8", T(type="INT8", shape=(), scale=scale, zero_point=-128))


def softmax_to_int16(rng: np.random.Generator) -> Case:
    return softmax_of(rng, "INT8", T(type="INT16", shape=(), scale=1 / 32768, zero_point=int(rng.choice([0, -32768]))))


def softmax_uint8(rng: np.random.Generator) -> Case:
    return softmax_of(rng, "UINT8", T(type="UINT8", shape=(), scale=1 / 256))


def _float32(bits: int) -> float:
    return float(np.uint32(bits).view(np.float32))


def _at_a_tie(rng: np.random.Generator, name: str, output: tuple[float, int], options: dict[str, float]) -> Case:
    """An input scale at which, one float32 step further, some output code becomes another: the last bit decides."""
    shape = (1, int(rng.choice([2, 3, 7, 16, 33, 100])))
    sample = rng.integers(-128, -128 + int(rng.choice([4, 30, 256])), shape).astype(np.int8)
    low = int(np.float32(np.exp(rng.uniform(np.log(1e-3), np.log(0.2)))).view(np.uint32))
    high = low + (1 << 16)

    def model(bits: int) -> Case:
        tensors = T(shape, "INT8", _float32(bits)), T(shape, "INT8", *output)
        return case(rng, name, [tensors[0]], [tensors[1]], options, [[sample]])

    def codes(bits: int) -> np.ndarray:
        return refquant.run(model(bits).model, [sample])[0]

    at_low = codes(low)
    changed = np.flatnonzero(codes(high) != at_low)
    if changed.size:
        index = int(rng.choice(changed))
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if codes(middle).flat[index] == at_low.flat[index] else (low, middle)
    return model(int(rng.choice([low, high])))


def softmax_at_ties(rng: np.random.Generator) -> Case:
    return _at_a_tie(rng, "SOFTMAX", (1 / 256, -128), {"beta": 1.0})


def log_softmax_at_ties(rng: np.random.Generator) -> Case:
    return _at_a_tie(rng, "LOG_SOFTMAX", (16 / 256, 127), {})


def softmax_many_equal(rng: np.random.Generator) -> Case:
    """int16 output and thousands of equal values: the int32 sum of exponentials turns negative from 4096 on."""
    shape = (2, int(rng.integers(4000, 8190)))
    samples = [[rng.choice(np.array([5, 5, 5, 4, 3], np.int8), shape)], [np.full(shape, 7, np.int8)]]
    return case(rng, "SOFTMAX", [T(shape, "INT8", 1e-3)], [T(shape, "INT16", 1 / 32768)], {"beta": 1.0}, samples)


def log_softmax(rng: np.random.Generator) -> Case:
    shape = _shape(rng) if rng.random() < 0.9 else (1, int(rng.integers(500, 4090)))
    input = T(shape, "INT8", _scale(rng), int(rng.integers(-128, 128)))
    return case(rng, "LOG_SOFTMAX", [input], [T(shape, "INT8", 16 / 256, 127)], {}, _samples(rng, shape, np.int8))


def log_softmax_uint8(rng: np.random.Generator) -> Case:
    shape = _shape(rng)
    input = T(shape, "UINT8", _scale(rng), int(rng.integers(0, 256)))
    return case(rng, "LOG_SOFTMAX", [input], [T(shape, "UINT8", 16 / 256, 255)], {}, _samples(rng, shape, np.uint8))


def _float_samples(rng: np.random.Generator, shape: tuple[int, ...]) -> list[list[np.ndarray]]:
    """Small, large and equal values, and rows with infinities, NaN, zeros of both signs and huge numbers."""
    special = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0, 3e38, -3e38, 1.0, -1.0, 1e-45], np.float32)
    return [
        [rng.normal(0, 1, shape).astype(np.float32)],
        [rng.normal(0, 30, shape).astype(np.float32)],
        [np.full(shape, rng.normal(), np.float32)],
        [rng.choice(special, shape)],
    ]


def softmax_float(rng: np.random.Generator) -> Case:
    shape = _shape(rng)
    beta = float(np.float32(rng.choice([1.0, 0.5, rng.uniform(0.01, 3)])))
    samples = _float_samples(rng, shape)
    return case(rng, "SOFTMAX", [T(shape, "FLOAT32")], [T(shape, "FLOAT32")], {"beta": beta}, samples)


def log_softmax_float(rng: np.random.Generator) -> Case:
    shape = _shape(rng)
    return case(rng, "LOG_SOFTMAX", [T(shape, "FLOAT32")], [T(shape, "FLOAT32")], {}, _float_samples(rng, shape))
