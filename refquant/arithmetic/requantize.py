"""Requantizers as values: how a runtime turns an accumulator into the output's scale.

A requantizer has an offline half (`prepare`: real multipliers -> the record a device programs into its registers) and a
run-time half (`apply`: accumulator and record -> rounded integers, before the zero point and the clamp).
Source: google/gemmlowp, doc/quantization.md; google-ai-edge/LiteRT, tflite/kernels/internal/reference/integer_ops/.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refquant.arithmetic.fixed_point import Int64
from refquant.arithmetic.multiplier import (
    Multiplier,
    check_shift,
    multiply_by_quantized_multiplier,
    multiply_by_quantized_multiplier_int64,
    quantize_multiplier,
    round_half_away,
)

EffectiveScale = Callable[[float, ArrayLike, float], NDArray[np.float64]]
"""(input scale, filter scales (channels,), output scale) -> real multipliers (channels,), in the runtime's own precision."""


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


@dataclass(frozen=True, slots=True)
class RealMultiplier:
    """A multiplier that is used as the float64 it is."""

    real: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Requantizer:
    """`prepare(real multipliers, place)` gives the record; `apply(accumulator, record)` the rounded integers (int64).

    accumulator: int64 values, channels on the last axis. place: the words that begin an error message.
    """

    name: str
    prepare: Callable[[ArrayLike, str], Multiplier | RealMultiplier]
    apply: Callable[[ArrayLike, Multiplier | RealMultiplier], Int64]


def _prepare_fixed_point(real: ArrayLike, where: str) -> Multiplier:
    return check_shift(quantize_multiplier(real), where)


def _apply_double_rounding(x: ArrayLike, record: Multiplier | RealMultiplier) -> Int64:
    assert isinstance(record, Multiplier)
    return multiply_by_quantized_multiplier(x, record.multiplier, record.shift)


def _apply_int64(x: ArrayLike, record: Multiplier | RealMultiplier) -> Int64:
    assert isinstance(record, Multiplier)
    return multiply_by_quantized_multiplier_int64(x, record.multiplier, record.shift)


def _prepare_real(real: ArrayLike, where: str) -> RealMultiplier:
    return RealMultiplier(np.atleast_1d(np.asarray(real, np.float64)))


def _apply_real(x: ArrayLike, record: Multiplier | RealMultiplier) -> Int64:
    assert isinstance(record, RealMultiplier)
    return round_half_away(np.asarray(x, np.float64) * record.real).astype(np.int64)


DOUBLE_ROUNDING = Requantizer("double rounding", _prepare_fixed_point, _apply_double_rounding)
INT64_SINGLE_ROUNDING = Requantizer("int64, 15-bit multiplier", _prepare_fixed_point, _apply_int64)
FLOAT64_ROUND = Requantizer("float64 round, half away from zero", _prepare_real, _apply_real)
