"""From ranges and constants to scales, zero points and integers: pure functions with the converter's mix of precisions.

In every formula f32(...) rounds to float32 and f64(...) computes in float64; `round` is C's, halves away from zero.
Source: google-ai-edge/LiteRT, tflite/converter/quantization/common/quantization_lib/quantization_utils.cc
(DownCastScale, GetQuantizedType, ExtractMinMaxFromAttr, GetUniformQuantizedTypeForBias, QuantizeLegacy),
quantization_utils.h (ConvertStatsToQDQs), tfl_quantization_driver.cc (SetBiasParamsWithAdjustments) and
tflite/tools/optimize/quantization_utils.cc; checked against TensorFlow 2.21.0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.arithmetic.fixed_point import INT32_MAX
from refquant.arithmetic.multiplier import round_half_away
from refquant.errors import NotQuantizable
from refquant.model.graph import Array, Quantization

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

INT8_MIN, INT8_MAX = -128, 127
NARROW = 127  # symmetric weights use [-127, 127], never -128
INT16_MAX = 32767  # symmetric int16 uses [-32767, 32767]
BIAS_MAX = INT32_MAX // 2  # the overflow guard keeps biases within this, to leave the accumulator room
NEAR_ZERO = 1e-6  # float64: a range narrower than this is widened
SCALE_TOLERANCE = 1e-3  # float64: how far a per-tensor weight scale may be from max|w| / 127 and still count as that


@dataclass(frozen=True, slots=True)
class Parameters:
    """What the converter knows of one tensor: scales as the float64 values it computes with (the file holds float32).

    `axis`: the dimension of a per-channel tensor, None per tensor. `narrow`: symmetric within [-127, 127]. `exact`:
    constants are quantized with the scales as they are, in float64.
    """

    type: str  # "INT8", "INT16" or "INT32"
    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None = None
    narrow: bool = False
    exact: bool = field(default=False, compare=False)

    def quantization(self) -> Quantization:
        """The schema's record: scales rounded to float32."""
        scale = tuple(float(np.float32(s)) for s in self.scale)
        return Quantization(scale, self.zero_point, self.axis or 0)

    def __str__(self) -> str:
        if not self.scale:
            return self.type
        scales, zero_points = [np.float32(s) for s in self.scale], sorted(set(self.zero_point))
        scale = str(scales[0]) if self.axis is None else f"{len(scales)} x [{min(scales)!s} … {max(scales)!s}]"
        where = "" if self.axis is None else f" on dim {self.axis}"
        return f"{self.type} scale {scale}{where} zero point {', '.join(map(str, zero_points))}"


def asymmetric(minimum: float, maximum: float) -> Parameters:
    """s = f32((max - min) / 255); zero point = round(f32(f64(-128 - min / s))), limited to [-128, 127].

    minimum <= 0 <= maximum: float64. NotQuantizable if the scale leaves the float32 range.
    """
    with np.errstate(over="ignore"):
        scale = np.float32((np.float32(maximum) - np.float32(minimum)) / np.float32(255))
    if not np.isfinite(scale):
        raise NotQuantizable(f"the range [{minimum}, {maximum}] is too wide: its scale is not a float32")
    zero_point = np.float32(INT8_MIN - minimum / float(scale))
    limited = min(max(float(zero_point), INT8_MIN), INT8_MAX)
    return Parameters("INT8", (float(scale),), (int(round_half_away(limited)),))


def activation_parameters(minimum: float, maximum: float) -> Parameters:
    """A calibrated range, with zero included; a range narrower than 1e-6 is widened by 1e-6 on both sides."""
    if not (np.isfinite(minimum) and np.isfinite(maximum)):
        raise NotQuantizable(f"the range [{minimum}, {maximum}] is not finite")
    minimum, maximum = min(float(minimum), 0.0), max(float(maximum), 0.0)
    if abs(maximum - minimum) < NEAR_ZERO:
        minimum, maximum = minimum - NEAR_ZERO, maximum + NEAR_ZERO
    return asymmetric(minimum, maximum)


def constant_parameters(values: Array) -> Parameters:
    """The range of a constant's values, with zero included; one not wider than 1e-6 reaches to -5e-7 and 5e-7."""
    minimum, maximum = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    if maximum - minimum <= NEAR_ZERO:
        minimum, maximum = min(minimum, -NEAR_ZERO / 2), max(maximum, NEAR_ZERO / 2)
    return asymmetric(minimum, maximum)


def weight_parameters(values: Array, axis: int | None) -> Parameters:
    """s = f32((r - -r) / 254), r = max|w| of the channel (of the tensor, axis None), at least 5e-7; zero point 0."""
    others = None if axis is None else tuple(dim for dim in range(values.ndim) if dim != axis)
    largest = np.atleast_1d(np.abs(values).max(axis=others, initial=0).astype(np.float64))
    r = np.where(2 * largest <= NEAR_ZERO, NEAR_ZERO / 2, largest).astype(np.float32)
    with np.errstate(over="ignore"):
        scale = (r - -r) / np.float32(2 * NARROW)
    if not np.isfinite(scale).all():
        raise NotQuantizable(f"the weights reach {r.max()}: their scale is not a float32")
    return Parameters("INT8", tuple(map(float, scale)), (0,) * len(scale), axis, narrow=True)


def weight_parameters_float64(values: Array, axis: int | None) -> Parameters:
    """s = f64(2 r / 254), r = max|w|, 2 r at least 1e-6; not narrowed: dynamic range quantizes with it as it is."""
    others = None if axis is None else tuple(dim for dim in range(values.ndim) if dim != axis)
    width = 2 * np.atleast_1d(np.abs(values).max(axis=others, initial=0).astype(np.float64))
    scale = np.where(width <= NEAR_ZERO, NEAR_ZERO, width) / (2 * NARROW)
    return Parameters("INT8", tuple(map(float, scale)), (0,) * len(scale), axis, narrow=True)


def bias_parameters(factors: tuple[Parameters, Parameters], rank: int = 1) -> Parameters:
    """s = f32(f64(s_input * s_weights)), per channel (on the last dimension) if one factor is; zero point 0, int32."""
    product = np.asarray(factors[0].scale, np.float64) * np.asarray(factors[1].scale, np.float64)
    scale = product.astype(np.float32)
    axis = None if len(scale) == 1 else max(rank - 1, 0)
    return Parameters("INT32", tuple(map(float, scale)), (0,) * len(scale), axis)


def guard_bias(
    bias: Array, parameters: Parameters, input_: Parameters, weights: Parameters
) -> tuple[Parameters, Parameters] | None:
    """(bias, weights) with larger scales where |b| / s > 2^30 - 1; None where no bias is that large.

    There s = f64(|b| / (2^30 - 1)), and the weights of that channel (of the tensor) take f64(s / s_input). With one
    bias scale the weights count as per tensor from then on, also those of one channel: it matters for their data rule.
    """
    scale, filter_scale = np.asarray(parameters.scale), np.asarray(weights.scale)
    largest = np.abs(bias.astype(np.float64)).reshape(-1)
    if parameters.axis is None:
        largest = largest.max(keepdims=True, initial=0)
        too_large = ~(largest / scale < BIAS_MAX)
    else:
        too_large = largest / scale > BIAS_MAX
    if not too_large.any():
        return None
    scale = np.where(too_large, largest / BIAS_MAX, scale)
    filter_scale = np.where(too_large, scale / input_.scale[0], filter_scale)
    return (
        replace(parameters, scale=tuple(map(float, scale))),
        replace(weights, scale=tuple(map(float, filter_scale)), axis=None if parameters.axis is None else weights.axis),
    )


def _shaped(values: Any, parameters: Parameters, rank: int) -> NDArray[Any]:
    """Per-channel values with axes of 1 around, so that they broadcast along the quantized dimension."""
    if parameters.axis is None:
        return np.asarray(values).reshape(())
    return np.asarray(values).reshape([-1 if dim == parameters.axis else 1 for dim in range(rank)])


def _reciprocal(parameters: Parameters) -> Float32:
    """f32(1 / f64(f32(s))); 0 for a scale of 0."""
    scale = np.asarray(parameters.scale, np.float32).astype(np.float64)
    with np.errstate(divide="ignore", over="ignore"):
        return np.asarray(np.where(scale == 0, 0, 1 / scale), np.float32)


def quantize_affine(values: Array, parameters: Parameters) -> Array:
    """round(f64(w / s + zero point)), limited to the type's range (to [-127, 127] if narrow)."""
    scale = _shaped(np.asarray(parameters.scale, np.float64), parameters, values.ndim)
    zero_point = _shaped(np.asarray(parameters.zero_point, np.float64), parameters, values.ndim)
    low = -NARROW if parameters.narrow else INT8_MIN
    return np.clip(round_half_away(values.astype(np.float64) / scale + zero_point), low, INT8_MAX).astype(np.int8)


def quantize_weights_per_channel(values: Array, parameters: Parameters) -> Array:
    """round(f32(w * f32(1 / f64(s)))), limited to [-127, 127]."""
    with np.errstate(over="ignore", under="ignore"):
        scaled = values.astype(np.float32) * _shaped(_reciprocal(parameters), parameters, values.ndim)
    return np.clip(round_half_away(scaled), -NARROW, NARROW).astype(np.int8)


def quantize_weights_per_tensor(values: Array, parameters: Parameters) -> Array:
    """round(f32(w * f32(127 / r))), limited to [-127, 127], r = max|w|.

    Where the scale was moved away from f32(r / 127) by more than 1e-3: round(f64(w / s)) instead.
    """
    r = np.abs(values).max(initial=0).astype(np.float32)
    own = r / np.float32(NARROW) if r else np.float32(1)
    if abs(float(own) - parameters.scale[0]) > SCALE_TOLERANCE:
        return quantize_affine(values, parameters)
    if not r:
        return np.zeros(values.shape, np.int8)
    with np.errstate(over="ignore", under="ignore"):
        scaled = values.astype(np.float32) * (np.float32(NARROW) / r)
    return np.clip(round_half_away(scaled), -NARROW, NARROW).astype(np.int8)


def quantize_bias(values: Array, parameters: Parameters) -> Array:
    """round(f32(b * f32(1 / f64(s)))), limited to [-(2^31 - 1), 2^31 - 1]; s of the first if one bias is for all."""
    reciprocal = _reciprocal(parameters)
    if values.size == 1:
        reciprocal = reciprocal[:1]
    with np.errstate(over="ignore", under="ignore"):
        scaled = values.astype(np.float32) * _shaped(reciprocal, parameters, values.ndim)
    with np.errstate(invalid="ignore"):  # infinite where the scale is next to nothing
        return np.clip(round_half_away(scaled), -INT32_MAX, INT32_MAX).astype(np.int32)


def quantize_exact(values: Array, parameters: Parameters) -> Array:
    """round(f64(w / s + zero point)), limited to the type's range, int8 or int32 (to [-127, 127] if narrow)."""
    if parameters.type == "INT8":
        return quantize_affine(values, parameters)
    scale = np.asarray(parameters.scale, np.float64)
    scale = _shaped(scale[:1] if values.size == 1 else scale, parameters, values.ndim)
    return np.clip(round_half_away(values.astype(np.float64) / scale), -INT32_MAX - 1, INT32_MAX).astype(np.int32)


def quantize_int16(values: Array, parameters: Parameters) -> Array:
    """round(f32(w * f32(1 / f64(s)))), limited to [-32767, 32767]."""
    with np.errstate(over="ignore", under="ignore"):
        scaled = values.astype(np.float32) * _shaped(_reciprocal(parameters), parameters, values.ndim)
    return np.clip(round_half_away(scaled), -INT16_MAX, INT16_MAX).astype(np.int16)


def data_rule(parameters: Parameters) -> str:
    """The name in DATA_RULES of the rule by which a constant with these parameters gets its integers."""
    if parameters.exact:
        return "exact"
    if parameters.type == "INT32":
        return "bias"
    if parameters.type == "INT16":
        return "int16"
    if not parameters.narrow:
        return "affine"
    return "weights per tensor" if parameters.axis is None else "weights per channel"


DATA_RULES = {
    "weights per channel": quantize_weights_per_channel,
    "weights per tensor": quantize_weights_per_tensor,
    "bias": quantize_bias,
    "affine": quantize_affine,
    "int16": quantize_int16,
    "exact": quantize_exact,
}


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """How constants get parameters: any from its values, weights from values and axis, a bias from factors and rank."""

    constant: Callable[[Array], Parameters]
    weights: Callable[[Array, int | None], Parameters]
    bias: Callable[[tuple[Parameters, Parameters], int], Parameters]


NARROWED = Arithmetic(constant_parameters, weight_parameters, bias_parameters)  # scales are float32 at every step
