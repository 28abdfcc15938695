"""The float64 form of the double rounding against the fixed-point form, at and around every edge."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from refquant.arithmetic.float_rounding import LARGEST_RESULT, MAX_RIGHT, float_rounding
from refquant.arithmetic.multiplier import Multiplier, multiply_by_quantized_multiplier


def edge_accumulators(multiplier: int, shift: int, rng: np.random.Generator, bound: int) -> np.ndarray:
    """The integers around every acc at which the rounded result changes, for results of -600 to 600, and random."""
    real = multiplier * 2.0 ** (shift - 31)
    edges = np.rint((np.arange(-600, 600) + 0.5) / real)[:, None] + np.arange(-2, 3)
    first = np.rint((np.arange(-600, 600) - 0.5 - 2.0 ** (min(shift, 0) - 1)) / real)[:, None] + np.arange(-2, 3)
    far = rng.integers(-bound, bound, 300, endpoint=True)
    acc = np.concatenate([edges.reshape(-1), first.reshape(-1), far, [bound, -bound, 0]])
    return np.unique(acc[np.abs(acc) <= bound]).astype(np.int64)


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(st.sampled_from([2**30, 2**30 + 1, 3 * 2**29, 2**31 - 1]), st.integers(2**30, 2**31 - 1)),
    st.integers(-MAX_RIGHT - 1, 6),
    st.integers(8, 30),
    st.integers(-(2**20), 2**20),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_equal_to_the_fixed_point_form(multiplier, shift, bits, bias, non_negative, seed) -> None:
    record = Multiplier(np.array([multiplier], np.int32), np.array([shift], np.int32))
    bound = 2**bits
    rounding = float_rounding(record, np.array([bias]), bound, non_negative, 1)
    assume(rounding is not None)
    acc = edge_accumulators(multiplier, shift, np.random.default_rng(seed), bound + abs(bias))
    x = acc - bias
    acc, x = acc[np.abs(x) <= bound], x[np.abs(x) <= bound]
    got = x * rounding.scale + rounding.offset
    got = np.floor(got) if rounding.second is None else np.rint(np.floor(got) * rounding.second)
    want = multiply_by_quantized_multiplier(acc, multiplier, shift)
    if non_negative:
        assert ((got <= 0) == (want <= 0)).all()
        got, want = np.maximum(got, 0), np.maximum(want, 0)
    limit = LARGEST_RESULT
    assert (np.clip(got, -limit, limit) == np.clip(want, -limit, limit)).all()
    assert np.abs(got).max(initial=0) <= rounding.largest


def test_refused_where_it_might_not_be_exact() -> None:
    def possible(shift: int, bound: int) -> bool:
        record = Multiplier(np.array([2**31 - 1], np.int32), np.array([shift], np.int32))
        return float_rounding(record, np.array([0]), bound, False, 1) is not None

    assert possible(-MAX_RIGHT, 2**20)
    assert not possible(-MAX_RIGHT - 1, 2**20)
    assert possible(4, 2**26)
    assert not possible(5, 2**26)  # the left shift could wrap
