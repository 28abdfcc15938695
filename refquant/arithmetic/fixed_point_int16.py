"""gemmlowp's logistic function and tanh in int16 arithmetic, as tables over every int16.

The recurrent kernels call these, unlike LOGISTIC and TANH on int16, which interpolate in a table of their own.
Constants are those of the int32 forms without their low 16 bits, rounded. Every function takes integer arrays whose
values are int16 and returns int64 arrays of the like.
Source: google/gemmlowp, fixedpoint/fixedpoint.h.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from refquant.arithmetic.fixed_point import (
    Int64,
    rounding_divide_by_pot,
    rounding_half_sum,
    saturate,
    saturating_rounding_doubling_high_mul,
    saturating_rounding_multiply_by_pot,
)

INT16_MIN, INT16_MAX = -(2**15), 2**15 - 1
FRACTIONAL_BITS = 15  # of a value without integer bits
DROPPED_BITS = 16  # of a constant that is given in 32

# exp(-2^k) as Q0.31, for k = -2 … 4.
EXP_OF_NEGATIVE_POT = (
    (-2, 1672461947),
    (-1, 1302514674),
    (0, 790015084),
    (1, 290630308),
    (2, 39332535),
    (3, 720401),
    (4, 242),
)


def _constant(value: int) -> Int64:
    return rounding_divide_by_pot(value, DROPPED_BITS)


def _wrapped(x: Int64) -> Int64:
    """x modulo 2^16, read as int16."""
    return x.astype(np.int16).astype(np.int64)


def _times(a: Int64, b: Int64) -> Int64:
    return saturating_rounding_doubling_high_mul(a, b, 16)


def _shifted(x: Int64, exponent: int) -> Int64:
    return saturating_rounding_multiply_by_pot(x, exponent, 16)


def _exp_between_negative_one_quarter_and_0(a: Int64) -> Int64:
    """exp(a) for a in [-1/4, 0), both Q0.15: a Taylor polynomial of degree 4 around -1/8."""
    constant_term = _constant(1895147668)  # exp(-1/8)
    x = a + (1 << (FRACTIONAL_BITS - 3))
    x2 = _times(x, x)
    x3, x4 = _times(x2, x), _times(x2, x2)
    rest = _shifted(_times(_shifted(x4, -2) + x3, _constant(715827883)) + x2, -1)  # x4/24 + x3/6 + x2/2
    return saturate(constant_term + _times(constant_term, x + rest), 16)


def exp_on_negative_values(a: Int64, integer_bits: int) -> Int64:
    """exp(a) as Q0.15 for a <= 0 in Q`integer_bits`. exp(0) is 2^15 - 1."""
    fractional_bits = FRACTIONAL_BITS - integer_bits
    one_quarter = 1 << (fractional_bits - 2)
    part = (a & (one_quarter - 1)) - one_quarter
    result = _exp_between_negative_one_quarter_and_0(_shifted(part, integer_bits))
    remainder = part - a
    for exponent, multiplier in EXP_OF_NEGATIVE_POT:
        if integer_bits > exponent:
            bit = 1 << (fractional_bits + exponent)
            result = np.where(remainder & bit, _times(result, _constant(multiplier)), result)
    if integer_bits > 5:
        result = np.where(a < -(1 << (fractional_bits + 5)), 0, result)
    return np.where(a == 0, INT16_MAX, result)


def _divided(half_denominator: Int64) -> Int64:
    """1 / half_denominator as Q2.13: three steps of Newton's division from 48/17 - 32/17 * half_denominator."""
    x = _wrapped(_constant(1515870810) + _times(half_denominator, _constant(-1010580540)))
    for _ in range(3):
        one_minus = (1 << 13) - _times(half_denominator, x)
        x = _wrapped(x + _shifted(_times(x, _wrapped(one_minus)), 2))
    return x


@cache
def logistic_table(integer_bits: int) -> NDArray[np.int16]:
    """1 / (1 + e^-x) as Q0.15 of every int16 x in Q`integer_bits`, from -2^15 on. Source: logistic."""
    x = np.arange(INT16_MIN, INT16_MAX + 1)
    power = exp_on_negative_values(-np.abs(x), integer_bits)
    positive = _shifted(_divided(rounding_half_sum(power, INT16_MAX)), 1)
    result = np.where(x > 0, positive, INT16_MAX - positive)
    return np.where(x == 0, 1 << 14, result).astype(np.int16)


@cache
def tanh_table(integer_bits: int) -> NDArray[np.int16]:
    """tanh(x) as Q0.15 of every int16 x in Q`integer_bits`, from -2^15 on. Source: tanh."""
    x = np.arange(INT16_MIN, INT16_MAX + 1)
    power = exp_on_negative_values(-np.abs(x), integer_bits + 1)
    positive = _shifted(_wrapped(_divided(rounding_half_sum(power, INT16_MAX)) - (1 << 13)), 2)
    result = np.where(x < 0, -positive, positive)
    return np.where(x == 0, 0, result).astype(np.int16)


def looked_up(table: NDArray[np.int16], x: Int64) -> Int64:
    """The table's value of each x."""
    return table[x - INT16_MIN].astype(np.int64)
