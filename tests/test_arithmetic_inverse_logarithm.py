"""Known values of the fixed-point inverses and of the logarithm: what TFLite's own C++ functions return."""

from __future__ import annotations

import numpy as np
import pytest

from refquant.arithmetic.inverse import inverse_sqrt_multiplier, reciprocal
from refquant.arithmetic.logarithm import log_x_for_x_greater_than_or_equal_to_1

# x -> (multiplier, shift) of GetInvSqrtQuantizedMultiplierExp, (scale, bits) of GetReciprocal with 12 integer bits
INVERSES = {
    1: (2147483647, 0, 2147483647, -19),
    2: (1518498372, 0, 2147483647, -18),
    3: (1239850284, 0, 1431655762, -18),
    5: (960383900, 0, 1717986914, -17),
    100: (214748363, 0, 1374389534, -13),
    65025: (269488147, -5, 1082179844, -4),
    (1 << 20) - 1: (268435593, -7, 1073742844, 0),
    1 << 27: (379624593, -11, 2147483647, 8),
    (1 << 29) - 1: (189812531, -11, 1073741824, 9),
    1 << 29: (379624593, -12, 2147483647, 10),
    1734967297: (211175805, -12, 1329041192, 11),
    (1 << 31) - 1: (189812531, -12, 1073741820, 11),
}

# x in Q12.19 -> log(x) in Q5.26
LOGARITHMS = {
    1 << 19: 0,
    (1 << 19) + 1: 128,
    600000: 9052214,
    741455: 23258142,
    (1 << 20) - 1: 46516256,
    1 << 20: 46516320,
    123456789: 366522130,
    1 << 27: 372130558,
    1734967297: 543880966,
    (1 << 31) - 1: 558195838,
}


def test_inverse_sqrt_multiplier() -> None:
    multiplier, shift = inverse_sqrt_multiplier(list(INVERSES))
    assert list(zip(multiplier, shift, strict=True)) == [row[:2] for row in INVERSES.values()]


@pytest.mark.parametrize("x", [0, -1])
def test_inverse_sqrt_of_nothing_is_that_of_one(x: int) -> None:
    assert inverse_sqrt_multiplier(x) == inverse_sqrt_multiplier(1)


def test_inverse_sqrt_approximates() -> None:
    x = np.arange(1, 1 << 31, 999_983)
    multiplier, shift = inverse_sqrt_multiplier(x)
    assert np.allclose(multiplier * 2.0 ** (shift - 31.0), 1 / np.sqrt(x), rtol=1e-4)


def test_reciprocal() -> None:
    scale, bits = reciprocal(list(INVERSES), 12)
    assert list(zip(scale, bits, strict=True)) == [row[2:] for row in INVERSES.values()]


def test_logarithm() -> None:
    assert log_x_for_x_greater_than_or_equal_to_1(list(LOGARITHMS), 12, 5).tolist() == list(LOGARITHMS.values())


def test_logarithm_approximates() -> None:
    x = np.arange(1 << 19, 1 << 31, 999_983)
    log = log_x_for_x_greater_than_or_equal_to_1(x, 12, 5)
    assert np.allclose(log / 2.0**26, np.log(x / 2.0**19), atol=1e-6)
