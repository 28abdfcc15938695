"""Multipliers and their application against Python integers and fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refquant.arithmetic.multiplier import (
    check_shift,
    multiply_by_quantized_multiplier,
    multiply_by_quantized_multiplier_int64,
    quantize_multiplier,
    round_half_away,
)
from refquant.errors import UnsupportedModel

INT32 = st.integers(-(2**31), 2**31 - 1)
POSITIVE_FLOAT32 = st.integers(1, 0x7F7FFFFF).map(lambda bits: float(np.uint32(bits).view(np.float32)))


def half_away(x: Fraction) -> int:
    nearest = math.floor(abs(x) + Fraction(1, 2))
    return nearest if x > 0 else -nearest


def slow_quantize_multiplier(real: Fraction) -> tuple[int, int]:
    """The 31-bit significand and the exponent, by fractions."""
    if real == 0:
        return 0, 0
    shift = real.numerator.bit_length() - real.denominator.bit_length()
    if real >= Fraction(2) ** shift:
        shift += 1
    assert Fraction(1, 2) <= real / Fraction(2) ** shift < 1
    q = half_away(real / Fraction(2) ** shift * 2**31)
    if q == 2**31:
        q, shift = 2**30, shift + 1
    return (0, 0) if shift < -31 else (q, shift)


def slow_multiply(x: int, multiplier: int, shift: int) -> int:
    """TFLite's double rounding of one value."""
    left, right = max(shift, 0), max(-shift, 0)
    wrapped = ((x << left) + 2**31) % 2**32 - 2**31
    high = math.floor(Fraction(wrapped * multiplier, 2**31) + Fraction(1, 2))
    return half_away(Fraction(high, 2**right))


def as_pair(real: float) -> tuple[int, int]:
    record = quantize_multiplier(real)
    return int(record.multiplier[0]), int(record.shift[0])


def test_quantize_multiplier_at_every_exponent() -> None:
    """Every binade that a quotient of float32 scales can reach, at significands around the rounding."""
    below_one = [1 - 2.0**-53, 1 - 2.0**-33, 1 - 2.0**-32, 1 - 2.0**-32 - 2.0**-53, 1 - 2.0**-31, 1 - 3 * 2.0**-32]
    others = [0.5, 0.5 + 2.0**-53, 0.5 + 2.0**-32, 0.5 + 2.0**-32 - 2.0**-53, 0.5 + 3 * 2.0**-32, 0.75, 2 / 3]
    reals = [math.ldexp(s, e) for e in range(-450, 450) for s in below_one + others]
    got = quantize_multiplier(reals)
    want = [slow_quantize_multiplier(Fraction(real)) for real in reals]
    assert list(zip(got.multiplier.tolist(), got.shift.tolist(), strict=True)) == want


def test_quantize_multiplier_at_every_float32_exponent() -> None:
    reals = [float(np.uint32((e << 23) | m).view(np.float32)) for e in range(255) for m in (0, 1, 0x400000, 0x7FFFFF)]
    want = [slow_quantize_multiplier(Fraction(real)) for real in reals]
    assert [as_pair(real) for real in reals] == want


def test_significands_that_round_up_to_the_next_power() -> None:
    assert as_pair(1 - 2.0**-33) == (2**30, 1)
    assert as_pair(1 - 2.0**-32) == (2**30, 1)  # half-way: away from zero
    assert as_pair(1 - 2.0**-32 - 2.0**-53) == (2**31 - 1, 0)
    assert as_pair(math.ldexp(1 - 2.0**-33, -32)) == (2**30, -31)  # rounded up before the flush
    assert as_pair(math.ldexp(0.75, -32)) == (0, 0)


@settings(deadline=None)
@given(POSITIVE_FLOAT32, POSITIVE_FLOAT32, POSITIVE_FLOAT32)
def test_quantize_any_effective_scale(a: float, b: float, c: float) -> None:
    real = a * b / c
    assert as_pair(real) == slow_quantize_multiplier(Fraction(real))


def test_shifts_that_are_undefined_are_refused() -> None:
    check_shift(quantize_multiplier([2.0**29, 2.0**-31, 0.0]), "here")
    with pytest.raises(UnsupportedModel, match="here"):
        check_shift(quantize_multiplier([1.0, 2.0**30]), "here")


@settings(deadline=None)
@given(st.one_of(st.floats(-1e18, 1e18), st.integers(-(2**53), 2**53).map(lambda n: n / 2)))
def test_round_half_away(x: float) -> None:
    assert float(round_half_away(x)) == half_away(Fraction(x))


@settings(deadline=None)
@given(INT32, st.integers(2**30, 2**31 - 1) | st.just(0), st.integers(-31, 30))
def test_multiply_by_quantized_multiplier(x: int, multiplier: int, shift: int) -> None:
    assert int(multiply_by_quantized_multiplier(x, multiplier, shift)) == slow_multiply(x, multiplier, shift)


def test_ties_go_up_in_the_product_and_away_from_zero_in_the_shift() -> None:
    x = np.array([-7, -6, -5, -3, -2, -1, 0, 1, 2, 3, 5, 6, 7])
    assert multiply_by_quantized_multiplier(x, 2**30, 0).tolist() == [-3, -3, -2, -1, -1, 0, 0, 1, 1, 2, 3, 3, 4]
    assert multiply_by_quantized_multiplier(x, 2**30, -1).tolist() == [-2, -2, -1, -1, -1, 0, 0, 1, 1, 1, 2, 2, 2]


@settings(deadline=None)
@given(st.integers(-(2**47), 2**47 - 1), st.integers(2**30, 2**31 - 1) | st.just(0), st.integers(-31, 7))
def test_multiply_by_quantized_multiplier_int64(x: int, multiplier: int, shift: int) -> None:
    reduced = 0x7FFF if multiplier >= 0x7FFF0000 else math.floor(Fraction(multiplier, 2**16) + Fraction(1, 2))
    rounded = math.floor(Fraction(x * reduced, 2 ** (15 - shift)) + Fraction(1, 2))
    want = (rounded + 2**31) % 2**32 - 2**31
    assert int(multiply_by_quantized_multiplier_int64(x, multiplier, shift)) == want
