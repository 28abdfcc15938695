"""The blocked requantizers against the formulas, one value at a time."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refquant.arithmetic import blocks
from refquant.arithmetic.multiplier import (
    multiply_by_quantized_multiplier,
    multiply_by_quantized_multiplier_int64,
    quantize_multiplier,
)
from refquant.arithmetic.requantize import (
    DOUBLE_ROUNDING,
    FLOAT64_ROUND,
    INT64_SINGLE_ROUNDING,
    RealMultiplier,
    effective_scale_float32_product,
    effective_scale_float64,
    requantize_and_clamp,
)

SHIFTS = {"left only": (1, 12), "none": (0, 0), "right only": (-31, -1), "mixed": (-20, 10)}


def accumulators(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """int32 values of every magnitude, the ends of the range among them."""
    magnitude = rng.integers(0, 32, shape)
    x = (rng.integers(-(2**31), 2**31, shape) >> magnitude).reshape(-1)
    ends = rng.choice([-(2**31), -(2**31) + 1, 2**31 - 1, 2**30, -(2**30), 0, -1, 1], x.size // 8)
    x[rng.integers(0, x.size, ends.size)] = ends
    return x.reshape(shape)


def records(rng: np.random.Generator, channels: int, shifts: tuple[int, int]):
    significand = rng.choice([0.5, 0.75, 1 - 2.0**-31, 2 / 3], channels) + 0.0
    return quantize_multiplier(np.ldexp(significand, rng.integers(shifts[0], shifts[1], channels, endpoint=True)))


@pytest.mark.parametrize("kind", SHIFTS)
@pytest.mark.parametrize("channels", [1, 3, 16, 70])
def test_double_rounding_in_blocks(kind: str, channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_ELEMENTS", 1000)
    rng = np.random.default_rng(channels)
    x, record = accumulators(rng, (7, 113, channels)), records(rng, channels, SHIFTS[kind])
    want = multiply_by_quantized_multiplier(x, record.multiplier, record.shift)
    for dtype in (np.int32, np.int64, np.float64):
        before = x.astype(dtype)
        got = DOUBLE_ROUNDING.apply(before, record)
        assert got.dtype == np.int64
        assert (got == want).all()
        assert (before == x).all()  # the accumulator is left alone


@pytest.mark.parametrize("right", range(32))
def test_double_rounding_at_every_tie(right: int) -> None:
    """Around n + 1/2 and n + 1/2 - 2^-(right+1), where the two roundings together have their edges, on both sides."""
    record = quantize_multiplier(2.0 ** -(right + 1))  # significand 1/2, shift -right
    n = np.arange(-40, 40)
    x = (((2 * n + 1)[:, None] << right) + np.arange(-3, 4)).reshape(-1)
    x = x[np.abs(x) < 2**31]
    want = [half_away(Fraction(math.floor(Fraction(int(v) * 2**30, 2**31) + Fraction(1, 2)), 2**right)) for v in x]
    assert DOUBLE_ROUNDING.apply(x.astype(np.float64), record).tolist() == want


def half_away(x: Fraction) -> int:
    nearest = math.floor(abs(x) + Fraction(1, 2))
    return nearest if x > 0 else -nearest


def test_int64_single_rounding_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_ELEMENTS", 1000)
    rng = np.random.default_rng(1)
    x, record = rng.integers(-(2**47), 2**47, (50, 33)) >> rng.integers(0, 47, (50, 33)), records(rng, 33, (-31, 7))
    want = multiply_by_quantized_multiplier_int64(x, record.multiplier, record.shift)
    assert (INT64_SINGLE_ROUNDING.apply(x, record) == want).all()


@settings(deadline=None)
@given(st.integers(-(2**31), 2**31 - 1), st.floats(2.0**-60, 1.0))
def test_float64_round(x: int, real: float) -> None:
    """C computes round(double(x) * real): the product is rounded to float64 first."""
    record = RealMultiplier(np.array([real]))
    assert int(FLOAT64_ROUND.apply([x], record)[0]) == half_away(Fraction(float(x) * real))


def test_float64_round_outside_int32_is_the_minimum_and_wraps_with_the_zero_point() -> None:
    """As ai-edge-litert 2.3.0 on x86-64: the conversion yields -2^31, and adding a negative zero point wraps."""
    acc, record = np.array([21, 22, -21, -22, 0]), RealMultiplier(np.array([1e8]))
    assert FLOAT64_ROUND.apply(acc, record).tolist() == [2100000000, -(2**31), -2100000000, -(2**31), 0]
    for zero_point, beyond in ((-5, 127), (0, -128), (7, -128)):
        got = requantize_and_clamp(FLOAT64_ROUND, acc, record, zero_point, -128, 127, np.int8)
        assert got.tolist() == [127, beyond, -128, beyond, zero_point]
    edge = RealMultiplier(np.array([2.0**31 - 0.5, -(2.0**31) - 0.25, np.inf, np.nan]))
    assert FLOAT64_ROUND.apply(np.ones(4), edge).tolist() == [-(2**31)] * 4
    assert FLOAT64_ROUND.apply([1.0], RealMultiplier(np.array([2.0**31 - 0.75]))).tolist() == [2**31 - 1]


@settings(deadline=None)
@given(st.integers(0, 2**31 - 2), st.integers(-1, 1), st.sampled_from([-1, 1]))
def test_float64_round_next_to_every_half(n: int, step: int, sign: int) -> None:
    value = sign * (n + 0.5)
    value = math.nextafter(value, math.inf * step) if step else value
    got = FLOAT64_ROUND.apply([1.0], RealMultiplier(np.array([value])))
    assert int(got[0]) == half_away(Fraction(value))


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([np.int8, np.uint8, np.int16]),
    st.sampled_from([np.float32, np.float64, np.int32, np.int64]),
    st.sampled_from([(1,), (5,), (0, 3), (4, 1), (2, 3, 4), (3, 500, 7)]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_requantize_and_clamp(dtype, acc_dtype, shape, per_channel, with_bias, seed) -> None:
    rng = np.random.default_rng(seed)
    info = np.iinfo(dtype)
    channels = shape[-1] if per_channel else 1
    acc = rng.integers(-(2**24), 2**24, shape, endpoint=True) >> rng.integers(0, 24, shape)
    bias = rng.integers(-(2**20), 2**20, shape[-1]) if with_bias else None
    record = records(rng, channels, (-24, 3))
    zero_point = int(rng.integers(info.min, info.max, endpoint=True))
    lo, hi = sorted(rng.integers(info.min, info.max, 2, endpoint=True).tolist())
    got = requantize_and_clamp(DOUBLE_ROUNDING, acc.astype(acc_dtype), record, zero_point, lo, hi, dtype, bias)
    total = acc + (0 if bias is None else bias)
    want = np.clip(multiply_by_quantized_multiplier(total, record.multiplier, record.shift) + zero_point, lo, hi)
    assert got.dtype == dtype
    assert got.shape == shape
    assert (got == want).all()


def test_requantize_and_clamp_takes_the_other_requantizers() -> None:
    rng = np.random.default_rng(3)
    acc, bias = rng.integers(-(2**30), 2**30, (40, 8)), rng.integers(-(2**30), 2**30, 8)
    real = rng.uniform(1e-8, 1e-6, 8)
    got = requantize_and_clamp(FLOAT64_ROUND, acc, RealMultiplier(real), 5, -128, 127, np.int8, bias)
    rounded = [[half_away(Fraction(float(x) * m)) for x, m in zip(row, real, strict=True)] for row in acc + bias]
    want = np.clip(np.array(rounded) + 5, -128, 127).tolist()
    assert got.tolist() == want
    acc, bias = rng.integers(-(2**40), 2**40, (40, 8)), rng.integers(-(2**40), 2**40, 8)
    record = records(rng, 8, (-31, -20))
    got = requantize_and_clamp(INT64_SINGLE_ROUNDING, acc, record, 0, -32768, 32767, np.int16, bias)
    want = multiply_by_quantized_multiplier_int64(acc + bias, record.multiplier, record.shift)
    assert (got == np.clip(want, -32768, 32767)).all()


def test_channels_that_do_not_fit_are_an_error() -> None:
    record = quantize_multiplier([0.5, 0.25])
    with pytest.raises(ValueError, match="2 channels do not fit"):
        DOUBLE_ROUNDING.apply(np.zeros((4, 3)), record)


def test_channels_over_several_trailing_axes() -> None:
    rng = np.random.default_rng(0)
    x, record = rng.integers(-(2**20), 2**20, (9, 2, 4)), records(rng, 8, (-10, 0))
    assert (DOUBLE_ROUNDING.apply(x, record) == DOUBLE_ROUNDING.apply(x.reshape(9, 8), record).reshape(9, 2, 4)).all()


def test_effective_scales_differ_where_the_product_is_narrowed() -> None:
    rng = np.random.default_rng(0)
    s_in, s_filter, s_out = (rng.uniform(1e-3, 1, 50).astype(np.float32) for _ in range(3))
    for a, b, c in zip(s_in, s_filter, s_out, strict=True):
        exact, narrow = float(a) * float(b) / float(c), float(np.float32(a * b)) / float(c)
        assert effective_scale_float64(float(a), [float(b)], float(c)).tolist() == [exact]
        assert effective_scale_float32_product(float(a), [float(b)], float(c)).tolist() == [narrow]
