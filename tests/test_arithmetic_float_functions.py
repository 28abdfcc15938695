"""The float functions against the C library, where it is the glibc they describe, and against stored checksums.

A sweep over all 2^32 inputs (tools/sweep_float_functions.py) found no difference from glibc 2.36 in any function. Here:
every binade, the edges between the branches of the algorithms, and what tables of int8 operators ask for.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import math
import platform
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refquant.arithmetic import float_functions
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

LIBM_NAMES = ("expf", "logf", "expm1f", "tanhf", "erff", "erfcf", "sqrtf")
LIBC, VERSION = platform.libc_ver()
DESCRIBED = LIBC == "glibc" and (2, 28) <= tuple(map(int, VERSION.split(".")[:2])) < (2, 41)

# Bit patterns next to which an algorithm changes its branch.
EDGES = """
00000000 00800000 01000000 04000000 24000000 31800000 32800000 33000000 3e800000 3eb17218 3f330000 3f580000 3f800000
3f851592 3fa00000 4036db6d 4036db6e 40c00000 4195b844 41b00000 41e00000 42b17180 42b17218 42cff1b4 42d00000 7f800000
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


def libm(name: str, x: np.ndarray) -> np.ndarray:
    function = getattr(ctypes.CDLL(ctypes.util.find_library("m")), name)
    function.restype, function.argtypes = ctypes.c_float, [ctypes.c_float]
    return np.array([function(value) for value in x.tolist()], np.float32)


@pytest.mark.skipif(not DESCRIBED, reason="the C library is not glibc 2.28 to 2.40")
@pytest.mark.parametrize("name", LIBM_NAMES)
def test_equal_to_the_c_library(name: str) -> None:
    x = spread_inputs(100)
    got, want = getattr(float_functions, name)(x), libm(name, x)
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
        assert bits(getattr(float_functions, name)(x)) == bits(libm(name, x))

    check()


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
    "rsqrtf": 0xECECD9B5,
    "logistic": 0xD5FD7DBF,
    "sigmoid": 0xA5EA6D81,
    "elu": 0x1D7F08A2,
    "gelu": 0x87E13ECF,
    "gelu_approximate": 0xB9C3BA16,
}


@pytest.mark.parametrize("name", CHECKSUMS)
def test_the_same_on_every_machine(name: str) -> None:
    results = bits(getattr(float_functions, name)(fixed_inputs()))
    assert zlib.crc32(results.astype("<u4").tobytes()) == CHECKSUMS[name]


@pytest.mark.parametrize(
    ("name", "real", "ulps"),
    [("expf", math.exp, 0.51), ("logf", math.log, 0.82), ("expm1f", math.expm1, 1.1), ("tanhf", math.tanh, 2.2),
     ("erff", math.erf, 1.1), ("erfcf", math.erfc, 3.2)],
)  # fmt: skip
def test_close_to_the_real_function(name: str, real, ulps: float) -> None:
    x = np.abs(np.random.default_rng(0).normal(0, 3, 5000)).astype(np.float32)
    x = x if name == "logf" else np.concatenate([x, -x])
    want = np.array([real(value) for value in x.tolist()])
    error = np.abs(getattr(float_functions, name)(x).astype(np.float64) - want)
    assert (error / np.spacing(np.abs(want).astype(np.float32)).astype(np.float64)).max() < ulps


def test_shapes_and_dtypes() -> None:
    for name in (*LIBM_NAMES, "rsqrtf", "logistic", "sigmoid", "elu", "gelu", "gelu_approximate"):
        function = getattr(float_functions, name)
        for shape in ((), (0,), (3,), (2, 0, 4), (2, 3)):
            result = function(np.full(shape, 0.5, np.float32))
            assert (result.shape, result.dtype) == (shape, np.float32), name


def test_no_warnings() -> None:
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 3e38, -3e38, 100, -100], np.float32)
    with np.errstate(all="raise"):
        for name in (*LIBM_NAMES, "rsqrtf", "logistic", "sigmoid", "elu", "gelu", "gelu_approximate"):
            getattr(float_functions, name)(x)


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
