"""The float functions against the C library, where it is the glibc they describe, and against stored checksums.

A sweep (tools/sweep_float_functions.py) found no difference from glibc 2.36 in any function of one argument, over all
2^32 inputs, nor in those of two, over 60 million adversarial pairs. Here: every binade, the edges between the branches
of the algorithms, and what tables of int8 operators ask for.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import math
import platform
import zlib
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refquant.arithmetic import float_functions, power, trigonometry
from refquant.arithmetic.float_functions import (
    elu,
    expf,
    gelu,
    gelu_approximate,
    logistic,
    rsqrtf,
    sigmoid,
    sqrtf,
)
from refquant.arithmetic.fused_multiply_add import fused_multiply_add

LIBM_NAMES = ("expf", "logf", "expm1f", "tanhf", "erff", "erfcf", "sqrtf", "sinf", "cosf")
LIBM_PAIRS = {"powf": power.powf, "atan2f": trigonometry.atan2f}
LIBC, VERSION = platform.libc_ver()
DESCRIBED = LIBC == "glibc" and (2, 28) <= tuple(map(int, VERSION.split(".")[:2])) < (2, 41)

# Bit patterns next to which an algorithm changes its branch.
EDGES = """
00000000 00800000 01000000 04000000 24000000 31800000 32800000 33000000 3e800000 3eb17218 3f330000 3f580000
3f800000 3f400000 39800000 42f00000 3f851592 3fa00000 4036db6d 4036db6e 40c00000 4195b844 41b00000 41e00000
42b17180 42b17218 42cff1b4 42d00000 7f800000
"""


def spread_inputs(per_binade: int) -> np.ndarray:
    """float32 values of both signs: random ones in every binade, dense ones where functions bend, edges, specials."""
    rng = np.random.default_rng(20)
    exponents = np.arange(256, dtype=np.uint32) << 23
    bits = exponents[:, None] | rng.integers(0, 1 << 23, (256, per_binade), dtype=np.uint32)
    near = np.array([int(edge, 16) for edge in EDGES.split()])[:, None] + np.arange(-4, 5)
    positive = np.concatenate([bits.reshape(-1), near[near >= 0].astype(np.uint32)]).view(np.float32)
    dense = np.concatenate([rng.normal(0, 3, 40 * per_binade), rng.uniform(0, 110, 40 * per_binade)])
    positive = np.concatenate([positive, dense.astype(np.float32)])
    return np.concatenate([positive, -positive])


def bits(x: np.ndarray) -> np.ndarray:
    """The bit patterns, every NaN as one."""
    return np.where(np.isnan(x), np.uint32(0x7FC00000), np.ascontiguousarray(x).view(np.uint32))


def own(name: str):
    """refquant's function of that name."""
    return getattr(trigonometry if name in ("sinf", "cosf") else float_functions, name)


def libm(name: str, *arrays: np.ndarray) -> np.ndarray:
    function = getattr(ctypes.CDLL(ctypes.util.find_library("m")), name)
    function.restype, function.argtypes = ctypes.c_float, [ctypes.c_float] * len(arrays)
    return np.array([function(*values) for values in zip(*(x.tolist() for x in arrays), strict=True)], np.float32)


@pytest.mark.skipif(not DESCRIBED, reason="the C library is not glibc 2.28 to 2.40")
@pytest.mark.parametrize("name", LIBM_NAMES)
def test_equal_to_the_c_library(name: str) -> None:
    x = spread_inputs(100)
    got, want = own(name)(x), libm(name, x)
    assert got.dtype == np.float32
    wrong = bits(got) != bits(want)
    assert not wrong.any(), (x[wrong][:5], got[wrong][:5], want[wrong][:5])


@pytest.mark.skipif(not DESCRIBED, reason="the C library is not glibc 2.28 to 2.40")
@pytest.mark.parametrize("name", LIBM_NAMES)
def test_equal_to_the_c_library_on_any_float(name: str) -> None:
    @settings(deadline=None)
    @given(st.integers(0, 2**32 - 1))
    def check(pattern: int) -> None:
        x = np.array([pattern], np.uint32).view(np.float32)
        assert bits(own(name)(x)) == bits(libm(name, x))

    check()


SPECIAL = np.array(
    [0, 1, 2, 3, 2.5, 0.5, np.inf, np.nan, 1e-45, 1e-38, 3e38, 1 - 2.0**-24, 1 + 2.0**-23, 2.0**24, 2.0**24 + 2, 1e9],
    np.float32,
)


def spread_pairs(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Special values all to all, any bit patterns, and pairs whose power lies in every binade or is exact."""
    rng = np.random.default_rng(21)
    special = np.concatenate([SPECIAL, -SPECIAL])
    patterns = rng.integers(0, 1 << 32, (2, number), dtype=np.uint64).astype(np.uint32).view(np.float32)
    base = (2.0 ** rng.uniform(-149, 128, number)).astype(np.float32)
    near_one = (1 + rng.choice([-1, 1], number) * 2.0 ** rng.uniform(-24, -1, number)).astype(np.float32)
    base = np.concatenate([base, near_one])
    with np.errstate(over="ignore"):
        exponent = (rng.uniform(-152, 130, 2 * number) / np.log2(base.astype(np.float64))).astype(np.float32)
    whole = rng.integers(-60, 60, number) / 4, rng.integers(-12, 12, number)
    x = np.concatenate([np.repeat(special, len(special)), patterns[0], base, whole[0].astype(np.float32)])
    y = np.concatenate([np.tile(special, len(special)), patterns[1], exponent, whole[1].astype(np.float32)])
    return x, y


@pytest.mark.skipif(not DESCRIBED, reason="the C library is not glibc 2.28 to 2.40")
@pytest.mark.parametrize("name", LIBM_PAIRS)
def test_pairs_equal_to_the_c_library(name: str) -> None:
    x, y = spread_pairs(20_000)
    got, want = LIBM_PAIRS[name](x, y), libm(name, x, y)
    assert got.dtype == np.float32
    wrong = bits(got) != bits(want)
    assert not wrong.any(), (x[wrong][:5], y[wrong][:5], got[wrong][:5], want[wrong][:5])


@pytest.mark.parametrize(("name", "checksum"), [("powf", 0x9FA0657B), ("atan2f", 0x28954CE5)])
def test_pairs_the_same_on_every_machine(name: str, checksum: int) -> None:
    patterns = fixed_inputs()[: 1 << 16]
    x = np.concatenate([patterns, np.abs(patterns)])
    y = np.concatenate([patterns[::-1], np.arange(1 << 16, dtype=np.float32) / 4096 - 8])
    assert zlib.crc32(bits(LIBM_PAIRS[name](x, y)).astype("<u4").tobytes()) == checksum


def test_fused_multiply_add_rounds_once() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 3000)) * 2.0 ** rng.integers(-30, 30, (2, 3000))
    c = np.where(rng.random(3000) < 0.5, -a * b, rng.normal(size=3000) * 2.0 ** rng.integers(-60, 60, 3000))
    got = fused_multiply_add(a, b, c)
    exact = [float(Fraction(p) * Fraction(q) + Fraction(r)) for p, q, r in zip(a, b, c, strict=True)]
    assert got.tolist() == exact
    assert (got != a * b + c).mean() > 0.2


def test_power_as_float32_asks_the_c_library_where_it_is_in_doubt() -> None:
    rng = np.random.default_rng(4)
    x = np.concatenate([rng.uniform(0, 20, 5000), [0.0, np.inf, np.nan, 4.0, 1.0 + 2.0**-24, 1e-300, -3.0]])
    for y in (0.5, -0.75, 2.0, -1.0, 0.3):
        with np.errstate(all="ignore"):
            want = np.array([math.nan if v < 0 and y % 1 else v**y if v or y > 0 else math.inf for v in x.tolist()])
            want = want.astype(np.float32)
        np.testing.assert_array_equal(bits(power.pow_as_float32(x, y)), bits(want))


def fixed_inputs() -> np.ndarray:
    """2^18 bit patterns spread evenly over all of them, and every multiple of 1/64 up to 128."""
    patterns = (np.arange(1 << 18, dtype=np.uint64) * 2654435769 % 2**32).astype(np.uint32)
    return np.concatenate([patterns.view(np.float32), np.arange(-8192, 8193, dtype=np.float32) / 64])


CHECKSUMS = {
    "expf": 0xF128F1EE,
    "logf": 0xA1D61110,
    "expm1f": 0x8DAC5143,
    "tanhf": 0x6950E804,
    "erff": 0x6D38CD00,
    "erfcf": 0xC827722B,
    "sqrtf": 0x9D81864C,
    "sinf": 0x8B4F2A95,
    "cosf": 0xC26614A5,
    "rsqrtf": 0xECECD9B5,
    "logistic": 0xD5FD7DBF,
    "sigmoid": 0xA5EA6D81,
    "elu": 0x1D7F08A2,
    "gelu": 0x87E13ECF,
    "gelu_approximate": 0xB9C3BA16,
}


@pytest.mark.parametrize("name", CHECKSUMS)
def test_the_same_on_every_machine(name: str) -> None:
    results = bits(own(name)(fixed_inputs()))
    assert zlib.crc32(results.astype("<u4").tobytes()) == CHECKSUMS[name]


@pytest.mark.parametrize(
    ("name", "real", "ulps"),
    [("expf", math.exp, 0.51), ("logf", math.log, 0.82), ("expm1f", math.expm1, 1.1), ("tanhf", math.tanh, 2.2),
     ("erff", math.erf, 1.1), ("erfcf", math.erfc, 3.2), ("sinf", math.sin, 0.57), ("cosf", math.cos, 0.57)],
)  # fmt: skip
def test_close_to_the_real_function(name: str, real, ulps: float) -> None:
    x = np.abs(np.random.default_rng(0).normal(0, 3, 5000)).astype(np.float32)
    x = x if name == "logf" else np.concatenate([x, -x])
    want = np.array([real(value) for value in x.tolist()])
    error = np.abs(own(name)(x).astype(np.float64) - want)
    assert (error / np.spacing(np.abs(want).astype(np.float32)).astype(np.float64)).max() < ulps


def test_shapes_and_dtypes() -> None:
    for name in (*LIBM_NAMES, "rsqrtf", "logistic", "sigmoid", "elu", "gelu", "gelu_approximate"):
        function = own(name)
        for shape in ((), (0,), (3,), (2, 0, 4), (2, 3)):
            result = function(np.full(shape, 0.5, np.float32))
            assert (result.shape, result.dtype) == (shape, np.float32), name


def test_no_warnings() -> None:
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 3e38, -3e38, 100, -100], np.float32)
    with np.errstate(all="raise"):
        for name in (*LIBM_NAMES, "rsqrtf", "logistic", "sigmoid", "elu", "gelu", "gelu_approximate"):
            own(name)(x)
        for function in LIBM_PAIRS.values():
            function(x[:, np.newaxis], x)


def test_compositions() -> None:
    x = spread_inputs(20)
    one = np.float32(1)
    with np.errstate(all="ignore"):
        assert (bits(sqrtf(x)) == bits(np.sqrt(x.astype(np.float64)).astype(np.float32))).all()
        assert (bits(rsqrtf(x)) == bits(one / np.sqrt(x))).all()
        assert (bits(sigmoid(x)) == bits(one / (one + expf(-x)))).all()
    cut = np.array([-9, np.nextafter(np.float32(-9), np.float32(-10)), 16.619047, 16.61905], np.float32)
    assert logistic(cut).tolist() == [sigmoid(cut)[0], expf(cut)[1], sigmoid(cut)[2], 1.0]
    assert elu(np.array([-1.0, 2.0], np.float32)).tolist() == [float(np.float32(math.expm1(-1))), 2.0]
    real = np.random.default_rng(1).normal(0, 2, 2000).astype(np.float32)
    want = np.array([v / 2 * math.erfc(-v / math.sqrt(2)) for v in real.tolist()])
    np.testing.assert_allclose(gelu(real), want, rtol=2e-6)
    inner = [math.sqrt(2 / math.pi) * (v + 0.044715 * v**3) for v in real.tolist()]
    want = np.array([v / 2 * (1 + math.tanh(t)) for v, t in zip(real.tolist(), inner, strict=True)])
    np.testing.assert_allclose(gelu_approximate(real), want, rtol=1e-5, atol=2e-7)
