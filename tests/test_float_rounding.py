"""The double rounding in float64 against gemmlowp's integers, many channels at once, around every half-way point."""

from __future__ import annotations

import numpy as np
import pytest

from refquant.arithmetic.float_rounding import float_rounding
from refquant.arithmetic.multiplier import Multiplier, multiply_by_quantized_multiplier, quantize_multiplier

CHANNELS = 24


def around_half_way_points(rng, record: Multiplier, bias: np.ndarray, bound: int) -> np.ndarray:
    """(points, channels) integers up to `bound` near which the result steps, and random ones."""
    real = record.multiplier * 2.0 ** (record.shift.astype(np.float64) - 31)
    results = np.arange(-300, 301)[:, np.newaxis] - 0.5
    near = np.clip(results / np.where(real == 0, 1, real) - bias, -bound, bound)
    steps = np.concatenate([np.round(near) + step for step in (-2, -1, 0, 1, 2)])
    random = rng.integers(-bound, bound + 1, (100, bias.size))
    return np.clip(np.concatenate([steps, random]), -bound, bound).astype(np.int64)


def multipliers_and_biases(rng, kind: str, bound: int) -> tuple[Multiplier, np.ndarray]:
    if kind == "large biases":  # what a converter does with channels of almost no weight
        signs = rng.choice([-1, 1], CHANNELS)
        return quantize_multiplier(2.0 ** rng.uniform(-31, -22, CHANNELS)), signs * rng.integers(2**29, 2**30, CHANNELS)
    real = 2.0 ** (rng.uniform(-22, 1) + rng.uniform(-1, 1, CHANNELS))
    if kind == "powers of two":
        real = 2.0 ** np.round(np.log2(real))
    if kind == "just below powers of two":
        real = 2.0 ** np.round(np.log2(real)) * (1 - 2.0 ** -rng.integers(24, 32, CHANNELS))
    return quantize_multiplier(real), rng.integers(-bound, bound + 1, CHANNELS)


HALF_WAY_VALUES = {  # go away from zero in these channels; up in the others
    "away": np.ones(CHANNELS, bool),
    "up": np.zeros(CHANNELS, bool),
    "up in whole eights": np.arange(CHANNELS) >= 16,
}


@pytest.mark.parametrize("away", HALF_WAY_VALUES.values(), ids=HALF_WAY_VALUES)
@pytest.mark.parametrize("low", [-255, -128, 0, 3])
@pytest.mark.parametrize("kind", ["any", "powers of two", "just below powers of two", "large biases"])
def test_equal_to_integers(kind: str, low: int, away: np.ndarray) -> None:
    rng = np.random.default_rng(5)
    used = 0
    for _ in range(40):
        bound = int(2 ** rng.uniform(4, 22))
        record, bias = multipliers_and_biases(rng, kind, bound)
        rounding = float_rounding(record, bias, bound, low, low + 255, away)
        if rounding is None:
            continue
        used += 1
        x = around_half_way_points(rng, record, bias, bound)
        exact = multiply_by_quantized_multiplier(x + bias, record.multiplier, record.shift, away)
        assert np.array_equal(np.clip(rounding.apply(x), low, low + 255), np.clip(exact, low, low + 255))
        assert np.abs(rounding.apply(x)).max() <= rounding.largest
    assert used >= 20
