"""gemmlowp's primitives against Python integers and fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refquant.arithmetic.fixed_point import (
    INT32_MAX,
    INT32_MIN,
    count_leading_zeros,
    exp_on_negative_values,
    logistic,
    one_over_one_plus_x_for_x_in_0_1,
    rounding_divide_by_pot,
    rounding_half_sum,
    saturate,
    saturating_rounding_doubling_high_mul,
    saturating_rounding_multiply_by_pot,
    tanh,
    wrap_int32,
)

INT32 = st.one_of(
    st.integers(INT32_MIN, INT32_MAX),
    st.sampled_from([INT32_MIN, INT32_MIN + 1, -(1 << 30), -1, 0, 1, 1 << 30, INT32_MAX - 1, INT32_MAX]),
)


def half_up(x: Fraction) -> int:
    return math.floor(x + Fraction(1, 2))


def half_away(x: Fraction) -> int:
    nearest = math.floor(abs(x) + Fraction(1, 2))
    return nearest if x > 0 else -nearest


def high_mul(a: int, b: int, bits: int = 32) -> int:
    """The rounded high half of 2ab, by fractions; minimum times minimum saturates."""
    return min(half_up(Fraction(a * b, 1 << (bits - 1))), (1 << (bits - 1)) - 1)


def high_mul_with_nudge(a: int, b: int, bits: int = 32) -> int:
    """The same by a nudge and a truncating division, as C++ writes it."""
    lowest, product = -(1 << (bits - 1)), a * b
    if a == b == lowest:
        return -lowest - 1
    nudged = product + ((1 << (bits - 2)) if product >= 0 else 1 - (1 << (bits - 2)))
    return abs(nudged) // (1 << (bits - 1)) * (1 if nudged >= 0 else -1)


def edges(bits: int) -> list[int]:
    """Every power of two of both signs, one less, one more, and the ends of the range."""
    top = 1 << (bits - 1)
    near = {sign * (1 << k) + d for k in range(bits) for sign in (1, -1) for d in (-2, -1, 0, 1, 2)}
    return sorted(x for x in near | {0, -top, top - 1} if -top <= x < top)


@settings(deadline=None)
@given(st.integers(-(2**63), 2**63 - 1))
def test_wrap_int32(x: int) -> None:
    assert int(wrap_int32(x)) == (x + 2**31) % 2**32 - 2**31


@settings(deadline=None)
@given(st.integers(-(2**62), 2**62), st.sampled_from([8, 16, 32]))
def test_saturate(x: int, bits: int) -> None:
    assert int(saturate(x, bits)) == sorted((-(1 << (bits - 1)), x, (1 << (bits - 1)) - 1))[1]


@settings(deadline=None)
@given(INT32, INT32)
def test_srdhm_int32(a: int, b: int) -> None:
    assert int(saturating_rounding_doubling_high_mul(a, b)) == high_mul(a, b) == high_mul_with_nudge(a, b)


@pytest.mark.parametrize("bits", [16, 32])
def test_srdhm_on_every_pair_of_edges(bits: int) -> None:
    values = np.array(edges(bits))
    got = saturating_rounding_doubling_high_mul(values[:, None], values, bits)
    want = [[high_mul_with_nudge(int(a), int(b), bits) for b in values] for a in values]
    assert (got == want).all()
    assert got[0, 0] == (1 << (bits - 1)) - 1  # minimum times minimum


def test_srdhm_int16_rounds_every_residue_right() -> None:
    a, b = np.arange(-(1 << 15), 1 << 15), np.array([-32768, -16384, -12345, -3, -1, 0, 1, 2, 16384, 23170, 32767])
    product = a[:, None] * b
    remainder = product % 32768
    want = np.minimum((product - remainder) // 32768 + (remainder >= 16384), 32767)
    assert (saturating_rounding_doubling_high_mul(a[:, None], b, 16) == want).all()


def test_rounding_divide_by_pot_on_every_int16() -> None:
    x = np.arange(-(1 << 15), 1 << 15)
    for exponent in range(16):
        away = np.sign(x) * ((2 * np.abs(x) + (1 << exponent)) // (2 << exponent))
        assert (rounding_divide_by_pot(x, exponent) == away).all(), exponent


@settings(deadline=None)
@given(INT32, st.integers(0, 31))
def test_rounding_divide_by_pot(x: int, exponent: int) -> None:
    assert int(rounding_divide_by_pot(x, exponent)) == half_away(Fraction(x, 1 << exponent))


@settings(deadline=None)
@given(INT32, st.integers(-31, 30))
def test_saturating_rounding_multiply_by_pot(x: int, exponent: int) -> None:
    want = min(max(half_away(Fraction(x) * Fraction(2) ** exponent), INT32_MIN), INT32_MAX)
    assert int(saturating_rounding_multiply_by_pot(x, exponent)) == want


@pytest.mark.parametrize("bits", [16, 32])
def test_saturation_begins_where_gemmlowp_has_it(bits: int) -> None:
    """gemmlowp saturates beyond +-(2^(bits-1-exponent) - 1): the negative threshold itself would still fit."""
    for exponent in range(1, bits - 1):
        threshold = (1 << (bits - 1 - exponent)) - 1
        for x in (threshold, threshold + 1, -threshold, -threshold - 1, -threshold - 2):
            lowest, highest = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
            want = highest if x > threshold else lowest if x < -threshold else x << exponent
            assert int(saturating_rounding_multiply_by_pot(x, exponent, bits)) == want


@settings(deadline=None)
@given(INT32, INT32)
def test_rounding_half_sum(a: int, b: int) -> None:
    assert int(rounding_half_sum(a, b)) == half_away(Fraction(a + b, 2))


def test_count_leading_zeros() -> None:
    near = {(1 << k) + d for k in range(33) for d in (-2, -1, 0, 1)}
    values = sorted(x for x in near if 0 <= x < 2**32)
    values += [int(x) for x in np.random.default_rng(0).integers(0, 2**32, 1000)]
    assert count_leading_zeros(np.array(values)).tolist() == [32 - x.bit_length() for x in values]


def slow_exp(a: int, integer_bits: int) -> int:
    """exp(a) for one a < 0 in Q(integer_bits), in Python integers: quarter steps from products, the rest by Taylor."""
    fraction_bits = 31 - integer_bits
    quarter = 1 << (fraction_bits - 2)
    rest = a % quarter - quarter  # [-1/4, 0)
    x = (rest << integer_bits) + (1 << 28)
    x2 = high_mul(x, x)
    x3, x4 = high_mul(x2, x), high_mul(x2, x2)
    inner = high_mul(half_away(Fraction(x4, 4)) + x3, 715827883) + x2
    constant = 1895147668
    result = constant + high_mul(constant, x + half_away(Fraction(inner, 2)))
    steps = (rest - a) // quarter  # how many quarters are left
    for bit, real in enumerate((0.25, 0.5, 1, 2, 4, 8, 16)):
        if steps >> bit & 1 and integer_bits > bit - 2:
            result = high_mul(result, half_away(Fraction(math.exp(-real)) * 2**31))
    return 0 if integer_bits > 5 and a < -32 << fraction_bits else result


def sweep(integer_bits: int, count: int) -> np.ndarray:
    lowest = INT32_MIN
    dense = np.linspace(lowest, -1, count).astype(np.int64)
    near = np.array([x for x in edges(32) if x < 0])
    quarter = 1 << (29 - integer_bits)
    boundaries = np.arange(lowest, 0, max(quarter, 1 << 20))
    return np.unique(np.concatenate([dense, near, boundaries, boundaries + 1, boundaries[1:] - 1]))


@pytest.mark.parametrize("integer_bits", range(7))
def test_exp_on_negative_values(integer_bits: int) -> None:
    a = sweep(integer_bits, 40_000)
    got = exp_on_negative_values(a, integer_bits)
    assert np.abs(got / 2.0**31 - np.exp(a / 2.0 ** (31 - integer_bits))).max() < 3e-7  # gemmlowp's own bound
    some = a[:: max(1, len(a) // 400)]
    assert exp_on_negative_values(some, integer_bits).tolist() == [slow_exp(int(x), integer_bits) for x in some]
    assert int(exp_on_negative_values(0, integer_bits)) == INT32_MAX


@settings(deadline=None)
@given(st.integers(INT32_MIN, -1), st.integers(0, 8))
def test_exp_on_any_negative_value(a: int, integer_bits: int) -> None:
    assert int(exp_on_negative_values(a, integer_bits)) == slow_exp(a, integer_bits)


def slow_one_over_one_plus_x(a: int) -> int:
    half_denominator = half_away(Fraction(a + INT32_MAX, 2))
    x = 1515870810 + high_mul(half_denominator, -1010580540)
    for _ in range(3):
        x += high_mul(x, (1 << 29) - high_mul(half_denominator, x)) * 4
    return min(2 * x, INT32_MAX)


def test_one_over_one_plus_x() -> None:
    a = np.unique(np.concatenate([np.linspace(0, INT32_MAX, 100_001).astype(np.int64), np.arange(64)]))
    got = one_over_one_plus_x_for_x_in_0_1(a)
    assert np.abs(got / 2.0**31 - 1 / (1 + a / 2.0**31)).max() < 6e-9  # gemmlowp's bound for (1 - x) / (1 + x)
    assert got[::250].tolist() == [slow_one_over_one_plus_x(int(x)) for x in a[::250]]


@settings(deadline=None)
@given(st.integers(0, INT32_MAX))
def test_one_over_one_plus_any_x(a: int) -> None:
    assert int(one_over_one_plus_x_for_x_in_0_1(a)) == slow_one_over_one_plus_x(a)


def slow_one_over(half_denominator: int) -> int:
    x = 1515870810 + high_mul(half_denominator, -1010580540)
    for _ in range(3):
        x += high_mul(x, (1 << 29) - high_mul(half_denominator, x)) * 4
    return x


def slow_logistic(a: int, integer_bits: int) -> int:
    if a == 0:
        return 1 << 30
    positive = slow_one_over_one_plus_x(slow_exp(-abs(a), integer_bits))
    return positive if a > 0 else INT32_MAX - positive


def slow_tanh(a: int, integer_bits: int) -> int:
    if a == 0:
        return 0
    power = slow_exp(-abs(a), integer_bits + 1)
    positive = min(4 * (slow_one_over(half_away(Fraction(power + INT32_MAX, 2))) - (1 << 29)), INT32_MAX)
    return positive if a > 0 else -positive


def test_logistic_and_tanh() -> None:
    a = np.arange(-(2**31) + 1, 2**31, 99_991)
    x = a / 2.0**27
    assert np.abs(logistic(a, 4) / 2.0**31 - 1 / (1 + np.exp(-x))).max() < 1e-7
    assert np.abs(tanh(a, 4) / 2.0**31 - np.tanh(x)).max() < 2e-7
    some = np.concatenate([a[::200], np.arange(-3, 4)])
    assert logistic(some, 4).tolist() == [slow_logistic(int(v), 4) for v in some]
    assert tanh(some, 4).tolist() == [slow_tanh(int(v), 4) for v in some]
