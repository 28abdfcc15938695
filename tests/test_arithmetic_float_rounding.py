"""The float64 form of the double rounding against the fixed-point form, at and around every edge."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from refquant.arithmetic.float_rounding import float_rounding
from refquant.arithmetic.multiplier import Multiplier, multiply_by_quantized_multiplier


def accumulators_at_edges(multiplier: int, shift: int, rng: np.random.Generator, bound: int) -> np.ndarray:
    """The integers around every acc at which a result from -600 to 600 changes, and random ones."""
    real = multiplier * 2.0 ** (shift - 31)
    halves = np.arange(-600, 600) + 0.5
    edges = [np.rint((halves - down) / real)[:, None] + np.arange(-2, 3) for down in (0, 2.0 ** (min(shift, 0) - 1))]
    far = rng.integers(-bound, bound, 300, endpoint=True)
    acc = np.concatenate([edges[0].reshape(-1), edges[1].reshape(-1), far, [bound, -bound, 0]])
    return np.unique(acc[np.abs(acc) <= bound]).astype(np.int64)


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(st.sampled_from([2**30, 2**30 + 1, 3 * 2**29, 2**31 - 1]), st.integers(2**30, 2**31 - 1)),
    st.integers(-31, 6),
    st.integers(8, 30),
    st.integers(-(2**20), 2**20),
    st.integers(-255, 255),
    st.integers(0, 255),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_equal_to_the_fixed_point_form(multiplier, shift, bits, bias, low, width, seed, away) -> None:
    record = Multiplier(np.array([multiplier], np.int32), np.array([shift], np.int32))
    bound, high = 2**bits, low + width
    rounding = float_rounding(record, np.array([bias]), bound, low, high, np.array([away]))
    assume(rounding is not None)
    acc = accumulators_at_edges(multiplier, shift, np.random.default_rng(seed), bound + abs(bias))
    x = acc - bias
    acc, x = acc[np.abs(x) <= bound], x[np.abs(x) <= bound]
    got = rounding.apply(x[:, None])[:, 0]
    want = multiply_by_quantized_multiplier(acc, multiplier, shift, away)
    assert (np.clip(got, low, high) == np.clip(want, low, high)).all()
    assert np.abs(got).max(initial=0) <= rounding.largest


def test_refused_where_the_accumulator_or_its_left_shift_may_wrap() -> None:
    def possible(shift: int, bound: int, bias: int = 0) -> bool:
        record = Multiplier(np.array([2**31 - 1], np.int32), np.array([shift], np.int32))
        return float_rounding(record, np.array([bias]), bound, -128, 127, np.array([True])) is not None

    assert possible(-11, 2**20)
    assert possible(4, 2**26)
    assert not possible(5, 2**26)
    assert possible(0, 2**30, 2**30 - 1)
    assert not possible(0, 2**30, 2**30)
