"""L2_NORMALIZATION, LOCAL_RESPONSE_NORMALIZATION."""

from __future__ import annotations

import numpy as np

from models import Case, T, case

DEPTHS = (1, 2, 3, 4, 7, 8, 15, 16, 17, 33, 128, 1000)


def _shape(rng: np.random.Generator) -> tuple[int, ...]:
    rank = int(rng.integers(1, 6))
    return (*(int(d) for d in rng.integers(1, 4, rank - 1)), int(rng.choice(DEPTHS)))


def _integer(rng: np.random.Generator, type: str, output_zero_point: int) -> Case:
    shape, dtype = _shape(rng), np.dtype(type.lower())
    info = np.iinfo(dtype)
    zero_point = int(rng.choice([info.min, info.max, 0, rng.integers(info.min, info.max)]))
    near = np.clip(rng.integers(-2, 3, shape) + zero_point, info.min, info.max).astype(dtype)
    sparse = np.where(rng.random(shape) < 0.1, near, zero_point).astype(dtype)
    samples = [
        [np.full(shape, info.min, dtype)],
        [np.full(shape, info.max, dtype)],
        [rng.integers(info.min, info.max, shape, dtype, endpoint=True)],
        [near],
        [sparse],
    ]
    input, output = T(shape, type, 0.05, zero_point), T(shape, type, 1 / 128, output_zero_point)
    return case(rng, "L2_NORMALIZATION", [input], [output], {}, samples)


def l2_normalization(rng: np.random.Generator) -> Case:
    return _integer(rng, "INT8", 0)


def l2_normalization_uint8(rng: np.random.Generator) -> Case:
    return _integer(rng, "UINT8", 128)


def l2_normalization_float(rng: np.random.Generator) -> Case:
    shape = _shape(rng)
    special = np.array([np.inf, np.nan, 0.0, -0.0, 3e38, 1.0, -1.0, 1e-30, 1e-45], np.float32)
    samples = [
        [rng.normal(0, 1, shape).astype(np.float32)],
        [rng.normal(0, 1e-7, shape).astype(np.float32)],
        [np.zeros(shape, np.float32)],
        [rng.choice(special, shape)],
    ]
    return case(rng, "L2_NORMALIZATION", [T(shape, "FLOAT32")], [T(shape, "FLOAT32")], {}, samples)


def local_response(rng: np.random.Generator) -> Case:
    """Windows narrower and wider than the channels; powers of one half and others."""
    shape = (*(int(d) for d in rng.integers(1, 4, 3)), int(rng.choice(DEPTHS[:-2])))
    special = np.array([np.inf, np.nan, 0.0, -0.0, 3e38, 1.0, -1.0, 1e-30, 1e-45], np.float32)
    options = {
        "radius": int(rng.choice([0, 1, 2, 5, 40])),
        "bias": float(np.float32(rng.choice([1.0, 2.0, 0.0, rng.uniform(0, 9)]))),
        "alpha": float(np.float32(rng.choice([1.0, 1e-4, rng.uniform(-1, 2)]))),
        "beta": float(np.float32(rng.choice([0.5, 0.75, 1.0, rng.uniform(-2, 2)]))),
    }
    samples = [
        [rng.normal(0, 1, shape).astype(np.float32)],
        [rng.normal(0, 100, shape).astype(np.float32)],
        [np.where(rng.random(shape) < 0.2, rng.choice(special, shape), 1).astype(np.float32)],
    ]
    tensors = [T(shape, "FLOAT32")], [T(shape, "FLOAT32")]
    return case(rng, "LOCAL_RESPONSE_NORMALIZATION", *tensors, options, samples)
