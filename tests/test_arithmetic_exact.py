"""Exact products: every float path against int64, at and around its bound."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refquant.arithmetic.exact import (
    EXACT_FLOAT32,
    NARROW,
    checked_int32,
    exact_matmul,
    largest_magnitude,
    narrowed,
    prepare_matrix,
)
from refquant.arithmetic.fixed_point import wrap_int32
from refquant.errors import AccumulatorOverflow


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 20),
    st.integers(0, 700),
    st.integers(1, 9),
    st.sampled_from([1, 127, 255, 2**15, 2**20, 2**31 - 1]),
    st.sampled_from([1, 127, 255, 2**15, 2**20, 2**31 - 1]),
    st.integers(0, 2**32 - 1),
)
def test_equal_to_int64(m: int, k: int, n: int, high_a: int, high_b: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = rng.integers(-high_a, high_a, (m, k), endpoint=True)
    b = rng.integers(-high_b, high_b, (k, n), endpoint=True)
    want = a @ b  # int64, wrapping as int64 does
    for right in (b, prepare_matrix(b), prepare_matrix(b, high_a)):
        for bound in (None, high_a):
            got = exact_matmul(a, right, bound)
            assert (got.astype(np.int64) == want).all()


def test_dtype_changes_at_the_bound() -> None:
    a = np.full((1, 2), 2**12)
    at, beyond = np.full((2, 1), 2**11), np.array([[2**11], [2**11 + 1]])
    assert exact_matmul(a, at).dtype == np.float32
    assert exact_matmul(a, beyond).dtype == np.float64
    assert exact_matmul(a, beyond)[0, 0] == 2**24 + 2**12
    assert exact_matmul(a, np.full((2, 1), 2**41)).dtype == np.int64


def test_pieces_stay_within_float32() -> None:
    rng = np.random.default_rng(0)
    b = rng.integers(-128, 128, (4608, 5))
    prepared = prepare_matrix(b)
    assert len(prepared.pieces) > 1
    stops = [start for start, _ in prepared.pieces[1:]] + [len(b)]
    assert [start + len(rows) for start, rows in prepared.pieces] == stops
    assert all(255 * np.abs(rows).sum(axis=0).max() <= EXACT_FLOAT32 for _, rows in prepared.pieces)
    worst = 255 * np.sign(b[:, 2]) * np.ones((3, 1), int)  # all products of a column have one sign
    assert (exact_matmul(worst, prepared, 255) == worst @ b).all()
    assert (exact_matmul(worst * 300, prepared) == (worst * 300) @ b).all()  # larger than was prepared for


def test_short_pieces_become_one_in_float64() -> None:
    b = np.random.default_rng(0).integers(-128, 128, (300, 5))
    prepared = prepare_matrix(b, 2**15)
    assert [(start, len(rows), rows.dtype) for start, rows in prepared.pieces] == [(0, 300, np.float64)]
    assert prepare_matrix(b // 64, 2**15).dtype == np.float32  # 64 rows of small weights fit
    assert prepare_matrix(b, 2**46).pieces == ()
    worst = 2**15 * np.sign(b[:, 2]) * np.ones((3, 1), int)
    assert (exact_matmul(worst, prepared, 2**15) == worst @ b).all()


def test_one_row_that_is_too_large_has_one_float64_piece() -> None:
    b = np.array([[1 << 20, 3], [5, 7]])
    assert [rows.dtype for _, rows in prepare_matrix(b).pieces] == [np.float64]
    assert exact_matmul(np.array([[255, -255]]), prepare_matrix(b), 255).tolist() == [[255 * (2**20 - 5), 255 * -4]]


def test_batches_and_empty_axes() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(-9, 9, (2, 3, 4, 5)), rng.integers(-9, 9, (3, 5, 2))
    assert (exact_matmul(a, b) == a @ b).all()
    assert exact_matmul(a[..., :0], b[:, :0]).shape == (2, 3, 4, 2)
    assert exact_matmul(a[:, :, :0], prepare_matrix(b[0])).shape == (2, 3, 0, 2)


def test_largest_magnitude() -> None:
    assert largest_magnitude(np.array([-128, 127], np.int8)) == 128
    assert largest_magnitude(np.array([-3.0, 2.0])) == 3
    assert largest_magnitude(np.array([5, 9])) == 9
    assert largest_magnitude(np.zeros(0)) == 0


def test_narrowing() -> None:
    beyond = np.array([2**31, -(2**31) - 1, 5])
    assert wrap_int32(beyond).tolist() == [-(2**31), 2**31 - 1, 5]
    assert checked_int32(beyond[2:]).tolist() == [5]
    with pytest.raises(AccumulatorOverflow, match="2147483648"):
        NARROW["error"](beyond)
    products, bias = np.array([[2.0**24, 1.0]], np.float32), np.array([2**31 - 2**24 - 1, 3])
    assert narrowed(products, bias, 2**24, NARROW["wrap"]) == (products, bias)
    total, rest = narrowed(products, bias + 1, 2**24, NARROW["wrap"])
    assert (total.tolist(), rest) == ([[-(2**31), 5]], None)
    with pytest.raises(AccumulatorOverflow):
        narrowed(products, bias + 1, 2**24, NARROW["error"])
    assert narrowed(products, None, 2**31, NARROW["wrap"])[0].tolist() == [[2**24, 1]]
