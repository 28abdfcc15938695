"""The double rounding in float64 against gemmlowp's integers, around every half-way point."""

from __future__ import annotations

import numpy as np
import pytest

from refquant.arithmetic.float_rounding import float_rounding
from refquant.arithmetic.multiplier import Multiplier, multiply_by_quantized_multiplier, quantize_multiplier


def around_half_way_points(rng, record: Multiplier, bias: np.ndarray, bound: int) -> np.ndarray:
    """(points, channels) integers up to `bound` near which the result steps, and random ones."""
    real = record.multiplier * 2.0 ** (record.shift.astype(np.float64) - 31)
    results = np.arange(-300, 301)[:, np.newaxis] - 0.5
    near = np.clip(results / np.where(real == 0, 1, real) - bias, -bound, bound)
    steps = np.concatenate([np.round(near) + step for step in (-2, -1, 0, 1, 2)])
    return np.clip(np.concatenate([steps, rng.integers(-bound, bound + 1, (500, bias.size))]), -bound, bound).astype(
        np.int64
    )


@pytest.mark.parametrize("low", [-255, -128, 0, 3])
@pytest.mark.parametrize(
    "kind", ["any", "powers of two", "just below powers of two", "extreme significands", "large biases"]
)
def test_equal_to_integers(kind: str, low: int) -> None:
    rng = np.random.default_rng(5)
    used = 0
    for _ in range(50):
        channels = 40
        real = 2.0 ** rng.uniform(-24, 3, channels)
        if kind == "powers of two":
            real = 2.0 ** np.round(np.log2(real))
        if kind == "just below powers of two":
            real = 2.0 ** np.round(np.log2(real)) * (1 - 2.0 ** -rng.integers(24, 32, channels))
        record = quantize_multiplier(real)
        if kind == "extreme significands":
            record = Multiplier(
                rng.choice([2**30, 2**30 + 1, 2**31 - 1, 2**31 - 2], channels).astype(np.int32), record.shift
            )
        bound = int(2 ** rng.uniform(4, 24))
        bias = rng.integers(-bound, bound + 1, channels)
        if kind == "large biases":  # what a converter does with channels of almost no weight
            record = quantize_multiplier(2.0 ** rng.uniform(-31, -22, channels))
            bias = rng.choice([-1, 1], channels) * rng.integers(2**29, 2**30, channels)
        for keep in np.array_split(np.argsort(real), 8):  # channels alike, so that one does not spoil the others
            part = Multiplier(record.multiplier[keep], record.shift[keep])
            rounding = float_rounding(part, bias[keep], bound, low, low + 255)
            if rounding is None:
                continue
            used += 1
            x = around_half_way_points(rng, part, bias[keep], bound)
            want = np.clip(
                multiply_by_quantized_multiplier(x + bias[keep], part.multiplier, part.shift), low, low + 255
            )
            assert np.array_equal(np.clip(rounding.apply(x), low, low + 255), want)
            assert np.abs(rounding.apply(x)).max() <= rounding.largest
    assert used > 200
