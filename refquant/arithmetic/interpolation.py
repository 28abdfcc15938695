"""Functions of int16 codes by tables of few entries and straight lines between them.

Two kinds: 513 knots over all codes, computed for the scales of a model; and a fixed table of 256 values of the sigmoid.
Source: tflite/kernels/internal/common.h, LUTPopulateInt16, LUTLookup, sigmoid_table_uint16;
internal/reference/integer_ops/logistic.h and tanh.h.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.arithmetic.fixed_point import Int64
from refquant.arithmetic.multiplier import round_half_away

Int16 = NDArray[np.int16]
Floating = type[np.float32] | type[np.float64]

LEAST, LARGEST = -(2**15), 2**15 - 1
STEPS = 512  # between the knots
STEP_BITS = 7  # a step spans 2^7 codes


def knots(
    function: Callable[[NDArray[Any]], NDArray[Any]],
    input_scale: Any,
    input_zero_point: int,
    output_scale: Any,
    output_zero_point: int,
    real: Floating = np.float32,
) -> NDArray[Any]:
    """The codes of function(x) at every 128th code x and at the last one: (513,) of type `real`, whole or NaN.

    A knot is lowered by half of what the line to the next one lies too high in its middle, so that the error is shared.
    All in `real`: float32, or float64 for the tables of SOFTMAX.
    """
    input_scale, output_scale = real(input_scale), real(output_scale)
    first, last = (input_scale * real(code - input_zero_point) for code in (LEAST, LARGEST))
    low, high = (output_scale * real(code - output_zero_point) for code in (LEAST, LARGEST))
    step, inverse_scale = (last - first) / real(STEPS), real(1 << 16) / (high - low)

    def codes(x: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(function(x) * inverse_scale)

    with np.errstate(all="ignore"):
        number = np.arange(STEPS + 1).astype(real)
        at, middle = first + number[:-1] * step, first + number[:-1] * step + step / real(2)
        knot, following = _round(codes(at)), codes(first + number[1:] * step)
        error = _round((following + knot) / real(2)) - _round(codes(middle))
        lowered = knot - _round(error / real(2))
        return np.asarray(
            np.clip(np.append(lowered, _round(codes(np.array([last], real)))), real(LEAST), real(LARGEST))
        )


def _round(x: NDArray[Any]) -> NDArray[Any]:
    return round_half_away(x).astype(x.dtype)


def interpolate(knots: Int16, codes: Int64) -> Int64:
    """The value on the line between the knots around each code, rounded half up. knots: (513,); codes: of int16."""
    values, fraction = knots.astype(np.int64), codes & ((1 << STEP_BITS) - 1)
    index = (codes >> STEP_BITS) + STEPS // 2
    slope = (values[1:] - values[:-1]).astype(np.int16).astype(np.int64)  # the kernel keeps it in int16
    return _as_int16(values[index] + ((slope[index] * fraction + 64) >> STEP_BITS))


def _as_int16(x: Int64) -> Int64:
    return x.astype(np.int16).astype(np.int64)


SIGMOID_SPACING = 24  # entries for each 1 of x


def _sigmoid_table() -> Int64:
    """2^16 * sigmoid(i / 24) for i = 0 to 255, each raised by half of what the line to the next one lies too low.

    At its middle, that is, where it is furthest from the curve. The last entry, from which on results saturate, is the
    largest uint16. This gives the 256 numbers that TFLite lists, without saying where they come from.
    """

    def sigmoid(i: NDArray[np.float64]) -> NDArray[np.float64]:
        return 2.0**16 / (1 + np.exp(-i / SIGMOID_SPACING))

    i = np.arange(256.0)
    too_low = sigmoid(i + 0.5) - (sigmoid(i) + sigmoid(i + 1)) / 2
    table = np.round(sigmoid(i) + too_low / 2).astype(np.int64)
    table[-1] = 2**16 - 1
    return table


SIGMOID_TABLE = _sigmoid_table()


def logistic_int16(x: Int64) -> Int64:
    """2^15 * sigmoid(x), x in steps of 1 / (24 * 2^9); of int16 values."""
    result = _sigmoid_of_magnitude(np.abs(x), 9, 0x7FFF << 10)
    return _as_int16(np.where(x >= 0, result + (1 << 9), (1 << 25) - result + (1 << 9) - 1) >> 10)


def tanh_int16(x: Int64) -> Int64:
    """2^15 * tanh(x) = 2^15 * (2 * sigmoid(2 x) - 1), x in steps of 1 / (48 * 2^8); of int16 values."""
    result = _sigmoid_of_magnitude(np.abs(x), 8, 0xFFFF << 8)
    return _as_int16(np.where(x >= 0, result - (1 << 23) + (1 << 7), -result + (1 << 23) + (1 << 7) - 1) >> 8)


def _sigmoid_of_magnitude(x: Int64, fraction_bits: int, largest: int) -> Int64:
    """2^(16 + fraction_bits) * sigmoid, by the table and lines between its entries; `largest` behind the last one."""
    index, fraction = x >> fraction_bits, x & ((1 << fraction_bits) - 1)
    inside = np.minimum(index, len(SIGMOID_TABLE) - 2)
    before, after = SIGMOID_TABLE[inside], SIGMOID_TABLE[inside + 1]
    return np.where(index > inside, largest, (before << fraction_bits) + fraction * (after - before))
