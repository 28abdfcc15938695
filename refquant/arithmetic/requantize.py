"""Requantizers as values: how a runtime turns an accumulator into the output's scale.

A requantizer has an offline half (`prepare`: real multipliers -> the record a device programs into its registers) and a
run-time half (`apply`: accumulator and record -> rounded integers, before the zero point and the clamp).
Source: google/gemmlowp, doc/quantization.md; google-ai-edge/LiteRT, tflite/kernels/internal/reference/integer_ops/.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from refquant.arithmetic.blocks import Array, Block, head, in_blocks, spread
from refquant.arithmetic.fixed_point import INT32_MIN, Int64
from refquant.arithmetic.multiplier import (
    Multiplier,
    behind_whole_vectors,
    check_shift,
    double_rounding_block,
    float32_rounding_block,
    high_mul_block,
    int64_rounding_block,
    quantize_multiplier,
    real_rounding_block,
)
from refquant.errors import UnsupportedModel


def effective_scale_float64(input_scale: float, filter_scale: ArrayLike, output_scale: float) -> NDArray[np.float64]:
    """double(s_input) * double(s_filter) / double(s_output). All arguments hold float32 values.

    Source: tflite/kernels/kernel_util.cc, PopulateConvolutionQuantizationParams.
    """
    return np.asarray(np.float64(input_scale) * np.asarray(filter_scale, np.float64) / np.float64(output_scale))


def effective_scale_float32_product(
    input_scale: float, filter_scale: ArrayLike, output_scale: float
) -> NDArray[np.float64]:
    """double(float32(s_input * s_filter)) / double(s_output): the product is narrowed first.

    Source: tflite/kernels/kernel_util.cc, GetQuantizedConvolutionMultipler.
    """
    product = np.float32(input_scale) * np.asarray(filter_scale, np.float32)
    return np.asarray(product.astype(np.float64) / np.float64(output_scale))


def effective_scale_float32(input_scale: float, filter_scale: ArrayLike, output_scale: float) -> NDArray[np.float64]:
    """float32(float32(s_input * s_filter) / s_output), widened.

    Source: google/XNNPACK, src/subgraph/, src/operators/convolution-nhwc.c.
    """
    product = np.float32(input_scale) * np.asarray(filter_scale, np.float32)
    return np.asarray((product / np.float32(output_scale)).astype(np.float64))


@dataclass(frozen=True, slots=True)
class RealMultiplier:
    """A multiplier that is used as the float64 it is."""

    real: NDArray[np.float64]


Record = Multiplier | RealMultiplier


class Place(Enum):
    """What decides, besides the record, how an element is rounded: vectors end where the elements they take end."""

    NONE = "none"  # all elements alike
    CHANNEL = "channel"  # its channel: the record must have one entry a channel
    OUTPUT = "output"  # its place in the output of one run: the record must have one entry an element


@dataclass(frozen=True, slots=True)
class Requantizer:
    """`prepare(real multipliers, place)` gives the record; `apply(accumulator, record)` the rounded integers.

    place: the words that begin an error message. `work` is the dtype in which an accumulator enters `block(record,
    repeats)`, the rounding of one block in which the record's channels come `repeats` times. `wraps`: whether results
    are clamped from above first, and the zero point is then added in int32: the lowest result, -2^31, wraps with a zero
    point below 0, and becomes the highest code of the type, beyond the clamp.
    """

    name: str
    prepare: Callable[[ArrayLike, str], Record]
    work: np.dtype[Any]
    block: Callable[[Record, int], Block]
    place: Place = Place.NONE
    wraps: bool = False

    def apply(self, accumulator: ArrayLike, record: Record) -> Int64:
        """The rounded integers (int64), before the zero point and the clamp.

        accumulator: integers in any dtype, channels on the last axis; int32 values unless `work` is int64.
        """
        acc = np.asarray(accumulator)
        return in_blocks(
            acc,
            self.work,
            _channels(record),
            lambda repeats: self.block(record, repeats),
            np.empty(acc.shape, np.int64),
        )


def requantize_and_clamp(
    requantizer: Requantizer,
    acc: Array,
    record: Record,
    zero_point: int,
    lo: int,
    hi: int,
    dtype: DTypeLike,
    bias: ArrayLike | None = None,
) -> Array:
    """clamp(round(multiplier * (acc + bias)) + zero_point, lo, hi) as `dtype`, in one pass over cache-sized blocks.

    acc: integers in any dtype, channels on the last axis; bias: (channels,) integers or None. acc and acc + bias must
    be int32 values unless requantizer.work is int64: where no bound shows it, narrow first (see exact.narrowed).
    """
    # A float32 does not hold every int32: the sum is rounded to it, not what is summed up.
    summed = np.dtype(np.float64) if requantizer.work == np.float32 and bias is not None else requantizer.work
    highest = int(np.iinfo(dtype).max) if requantizer.wraps else hi

    def make(repeats: int) -> Block:
        rounded = requantizer.block(record, repeats)
        added = None if bias is None else spread(bias, repeats, summed)

        def block(x: Array) -> Array:
            if added is not None:
                x += head(added, x.size)
            y = rounded(x.astype(requantizer.work, copy=False))
            if requantizer.wraps:
                np.minimum(y, hi - zero_point, out=y)
            if zero_point:
                y += zero_point
            return np.clip(y, lo, highest, out=y)

        return block

    channels = max(_channels(record), np.size(bias) if bias is not None else 1)
    return in_blocks(acc, summed, channels, make, np.empty(acc.shape, dtype))


def one_a_channel(record: Record, channels: int) -> Record:
    """The record with one entry for each of so many channels; it has one, or as many already."""
    if isinstance(record, RealMultiplier):
        return RealMultiplier(np.broadcast_to(record.real, channels))
    return Multiplier(np.broadcast_to(record.multiplier, channels), np.broadcast_to(record.shift, channels))


def _channels(record: Record) -> int:
    return (record.multiplier if isinstance(record, Multiplier) else record.real).size


def _prepare_fixed_point(real: ArrayLike, where: str) -> Multiplier:
    return check_shift(quantize_multiplier(real), where)


def _prepare_int64(real: ArrayLike, where: str) -> Multiplier:
    multiplier = _prepare_fixed_point(real, where)
    if multiplier.shift.size and multiplier.shift.max() >= 15:
        raise UnsupportedModel(
            f"{where}: the requantization multiplier of a 64-bit accumulator needs a left shift of "
            f"{int(multiplier.shift.max())} bits; 14 and less are built. Check the scales of the operator's tensors"
        )
    return multiplier


def _double_rounding(record: Record, repeats: int) -> Block:
    assert isinstance(record, Multiplier)
    return double_rounding_block(record.multiplier, record.shift, repeats)


def _upward_rounding(record: Record, repeats: int) -> Block:
    assert isinstance(record, Multiplier)
    return double_rounding_block(record.multiplier, record.shift, repeats, away=False)


def _upward_rounding_in_eights(record: Record, repeats: int) -> Block:
    assert isinstance(record, Multiplier)
    away = behind_whole_vectors(record.multiplier.size, 8)
    return double_rounding_block(record.multiplier, record.shift, repeats, away)


def _upward_rounding_in_sixteens(record: Record, repeats: int) -> Block:
    assert isinstance(record, Multiplier)
    away = behind_whole_vectors(record.multiplier.size, 16)
    return double_rounding_block(record.multiplier, record.shift, repeats, away)


def _shift_first(record: Record, repeats: int) -> Block:
    assert isinstance(record, Multiplier)
    return high_mul_block(record.multiplier, record.shift, repeats, shift_first=True)


def _shift_last(record: Record, repeats: int) -> Block:
    assert isinstance(record, Multiplier)
    return high_mul_block(record.multiplier, record.shift, repeats, shift_first=False)


def _float32_rounding(record: Record, repeats: int) -> Block:
    assert isinstance(record, RealMultiplier)
    return float32_rounding_block(record.real, repeats)


def _float32_rounding_to_int32(record: Record, repeats: int) -> Block:
    assert isinstance(record, RealMultiplier)
    return float32_rounding_block(record.real, repeats, INT32_MIN)


def _int64_rounding(record: Record, repeats: int) -> Block:
    assert isinstance(record, Multiplier)
    return int64_rounding_block(record.multiplier, record.shift, repeats)


def _prepare_real(real: ArrayLike, where: str) -> RealMultiplier:
    return RealMultiplier(np.atleast_1d(np.asarray(real, np.float64)))


def _real_rounding(record: Record, repeats: int) -> Block:
    assert isinstance(record, RealMultiplier)
    return real_rounding_block(record.real, repeats)


DOUBLE_ROUNDING = Requantizer("double rounding", _prepare_fixed_point, np.dtype(np.int32), _double_rounding)
UPWARD_ROUNDING = Requantizer("upward rounding", _prepare_fixed_point, np.dtype(np.int32), _upward_rounding)
FLOAT32_EVEN = Requantizer("float32, half to even", _prepare_real, np.dtype(np.float32), _float32_rounding)
FLOAT32_EVEN_WRAPPING = replace(FLOAT32_EVEN, block=_float32_rounding_to_int32, wraps=True)
UPWARD_ROUNDING_IN_EIGHTS = Requantizer(
    "upward rounding of whole blocks of 8 channels, double rounding of the rest",
    _prepare_fixed_point,
    np.dtype(np.int32),
    _upward_rounding_in_eights,
    Place.CHANNEL,
)
UPWARD_ROUNDING_IN_SIXTEENS = Requantizer(
    "upward rounding of whole blocks of 16 channels, double rounding of the rest",
    _prepare_fixed_point,
    np.dtype(np.int32),
    _upward_rounding_in_sixteens,
    Place.CHANNEL,
)
UPWARD_ROUNDING_IN_FLAT_SIXTEENS = Requantizer(
    "upward rounding of whole blocks of 16 elements of the output, double rounding of the rest",
    _prepare_fixed_point,
    np.dtype(np.int32),
    _upward_rounding_in_sixteens,
    Place.OUTPUT,
)
SHIFT_FIRST = Requantizer(
    "a right shift that rounds down, then a rounded product",
    _prepare_fixed_point,
    np.dtype(np.int32),
    _shift_first,
)
SHIFT_LAST = Requantizer(
    "a rounded product, then a right shift that rounds down",
    _prepare_fixed_point,
    np.dtype(np.int32),
    _shift_last,
)
INT64_SINGLE_ROUNDING = Requantizer("int64, 15-bit multiplier", _prepare_int64, np.dtype(np.int64), _int64_rounding)
FLOAT64_ROUND = Requantizer("float64 round, half away from zero", _prepare_real, np.dtype(np.float64), _real_rounding)
