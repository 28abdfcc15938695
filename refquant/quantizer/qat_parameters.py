"""Parameters as they are after quantization-aware training: float64 throughout, narrowed to float32 only in the file.

Source: llvm-project, mlir/lib/Dialect/Quant/Utils/FakeQuantSupport.cpp (getNudgedScaleAndZeroPoint) and
google-ai-edge/LiteRT, tflite/converter/quantization/common/quantization_lib/quantization_utils.cc
(ExpandVerySmallRange, GetQuantizedType, GetUniformQuantizedTypeForBias); checked against TensorFlow 2.21.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from refquant.arithmetic.multiplier import round_half_away
from refquant.errors import NotQuantizable
from refquant.model.graph import Array, Quantization
from refquant.quantizer.parameters import (
    INT8_MAX,
    INT8_MIN,
    NEAR_ZERO,
    Arithmetic,
    Parameters,
    weight_parameters_float64,
)

UINT8_MIN, UINT8_MAX = 0, 255  # fake quantization counts from 0
TO_SIGNED = INT8_MIN - UINT8_MIN
# scales of ranges that were widened to [-5e-7, 5e-7], full and narrow: as the file holds them -> in float64
WIDENED = {float(np.float32(NEAR_ZERO / steps)): NEAR_ZERO / steps for steps in (255, 254)}


def nudged(minimum: float, maximum: float, low: int, high: int) -> tuple[float, int]:
    """(s, zero point) of a range on the integers low to high: s = f64((max - min) / (high - low)).

    A range not wider than 1e-6 reaches to -5e-7 and 5e-7 at least. Zero is not added to the others. The zero point
    follows from the end that gives it with the smaller error, low - min / s or high - max / s, the second if they are
    equal; it is rounded and limited to [low, high].
    """
    if not maximum - minimum > NEAR_ZERO:
        minimum, maximum = min(minimum, -NEAR_ZERO / 2), max(maximum, NEAR_ZERO / 2)
    scale = (maximum - minimum) / (high - low)
    from_low, low_error = low - minimum / scale, abs(low) + abs(minimum / scale)
    from_high, high_error = high - maximum / scale, abs(high) + abs(maximum / scale)
    zero_point = from_low if low_error < high_error else from_high
    return scale, int(round_half_away(min(max(zero_point, low), high)))


def fake_quantization(limits: Sequence[tuple[float, float]], narrow: bool, axis: int | None = None) -> Parameters:
    """What a fake-quantization node of 8 bits becomes. limits: its (min, max), one per channel if axis is not None.

    narrow: its narrow_range, which leaves out the lowest integer.
    """
    places = [nudged(low, high, UINT8_MIN + narrow, UINT8_MAX) for low, high in limits]
    scale, zero_point = (tuple(column) for column in zip(*places, strict=True))
    return Parameters("INT8", scale, tuple(z + TO_SIGNED for z in zero_point), axis, narrow, exact=True)


def given_by_file(quantization: Quantization, unsigned: bool) -> Parameters:
    """The parameters that a QUANTIZE of the float file gives, with its scales, which are rounded to float32.

    That of a widened range is known all the same; with it, numbers of a tiny range are half-way between two steps.
    """
    axis = quantization.quantized_dimension if len(quantization.scale) > 1 else None
    shift = TO_SIGNED if unsigned else 0
    scale = tuple(WIDENED.get(scale, scale) for scale in quantization.scale)
    return Parameters("INT8", scale, tuple(z + shift for z in quantization.zero_point), axis, exact=True)


def constant_parameters_exact(values: Array) -> Parameters:
    """The range of a constant's values, zero included, on [-128, 127]."""
    minimum, maximum = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    scale, zero_point = nudged(minimum, maximum, INT8_MIN, INT8_MAX)
    _check(scale, maximum)
    return Parameters("INT8", (scale,), (zero_point,), exact=True)


def weight_parameters_exact(values: Array, axis: int | None) -> Parameters:
    """s = f64(2 r / 254), r = max|w|, 2 r at least 1e-6; zero point 0."""
    parameters = weight_parameters_float64(values, axis)
    _check(max(parameters.scale), max(parameters.scale))
    return replace(parameters, exact=True)


def bias_parameters_exact(factors: tuple[Parameters, Parameters], rank: int = 1) -> Parameters:
    """s = f64(s_input * s_weights), per channel (on the last dimension) if one factor is; zero point 0, int32."""
    scale = np.asarray(factors[0].scale, np.float64) * np.asarray(factors[1].scale, np.float64)
    axis = None if len(scale) == 1 else max(rank - 1, 0)
    return Parameters("INT32", tuple(map(float, scale)), (0,) * len(scale), axis, exact=True)


def _check(scale: float, reach: float) -> None:
    if not np.isfinite(np.float32(scale)):
        raise NotQuantizable(f"the constant reaches {reach}: its scale is not a float32")


UNNARROWED = Arithmetic(constant_parameters_exact, weight_parameters_exact, bias_parameters_exact)
