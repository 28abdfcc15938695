"""Fused activations: the range to which an operator clamps its output.

Source: tflite/kernels/kernel_util.cc, CalculateActivationRangeQuantized; kernel_util.h, CalculateActivationRange;
internal/common.h, ActivationFunctionWithMinMax.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from refquant.arithmetic.multiplier import round_half_away
from refquant.errors import InvalidModel, RefquantError
from refquant.kernels.checks import legacy_parameters
from refquant.kernels.kernel import Node
from refquant.model.graph import DTYPES, Array

# The real bounds of a fused activation; None: the bound of the type. The kernels know only these ranges: an operator
# that carries TANH or SIGN_BIT is run by them as if it carried NONE.
REAL_RANGES: Mapping[str, tuple[float | None, float | None]] = {
    "NONE": (None, None),
    "RELU": (0.0, None),
    "RELU_N1_TO_1": (-1.0, 1.0),
    "RELU6": (0.0, 6.0),
    "TANH": (None, None),
    "SIGN_BIT": (None, None),
}


WIDE_ROW = 1 << 11  # elements to which the few of a bias are repeated: short rows are slow to add


def activation_range(activation: str, scale: float, zero_point: int, type: str) -> tuple[int, int]:
    """[zero_point + round(lo / scale), zero_point + round(hi / scale)], intersected with the range of `type`.

    activation: a name of the schema's ActivationFunctionType; scale: a float32 value; type: "INT8", "UINT8" or "INT16".
    The division is done in float32, round is half away from zero. Clamp with max first, then min.
    Errors: InvalidModel for an unknown activation, or a bound beyond int32.
    Source: tflite/kernels/kernel_util.cc, CalculateActivationRangeQuantized.
    """
    low, high = _real_range(activation)
    info = np.iinfo(DTYPES[type])
    minimum = info.min if low is None else max(info.min, zero_point + _quantize(low, scale, activation))
    maximum = info.max if high is None else min(info.max, zero_point + _quantize(high, scale, activation))
    return int(minimum), int(maximum)


def activation_range_of_sums(activation: str, scale: float, zero_point: int, type: str) -> tuple[int, int]:
    """As activation_range, but round(lo / scale + zero_point): the sum is float32 too, half-way values go to even.

    Errors: InvalidModel for an unknown activation. Source: google/XNNPACK, src/xnnpack/requantization.h,
    xnn_qs8_quantize, xnn_qu8_quantize.
    """
    low, high = _real_range(activation)
    info = np.iinfo(DTYPES[type])
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        bounds = [
            np.clip(np.rint(np.float32(real) / np.float32(scale) + np.float32(zero_point)), info.min, info.max)
            for real in (-np.inf if low is None else low, np.inf if high is None else high)
        ]
    return int(bounds[0]), int(bounds[1])


def float_activation_range(activation: str) -> tuple[np.float32, np.float32]:
    """The float32 bounds of the activation; the whole finite float32 range where it has none.

    Errors: InvalidModel for an unknown activation.
    Source: tflite/kernels/kernel_util.h, CalculateActivationRange.
    """
    low, high = _real_range(activation)
    info = np.finfo(np.float32)
    return np.float32(info.min if low is None else low), np.float32(info.max if high is None else high)


def float_activation_range_to_infinity(activation: str) -> tuple[np.float32, np.float32]:
    """The float32 bounds of the activation, -inf and inf where it has none. Errors: InvalidModel for an unknown one.

    Source: tflite/delegates/xnnpack/xnnpack_delegate.cc, ConvertActivationToOutputRange.
    """
    low, high = _real_range(activation)
    return np.float32(-np.inf if low is None else low), np.float32(np.inf if high is None else high)


def clamp_float(x: Array, low: np.float32, high: np.float32) -> Array:
    """min(max(x, low), high) as C++ computes it: a NaN and a -0.0 at a bound of 0.0 stay what they are. x: float32."""
    x = np.where(x < low, low, x)
    return np.where(high < x, high, x)


def clamp_float_in_fours(x: Array, low: np.float32, high: np.float32) -> Array:
    """clamp_float; but a NaN becomes `low` in whole fours of channels, which a vector clamps. x: (..., channels)."""
    clamped = clamp_float(x, low, high)
    fours = clamped[..., : x.shape[-1] // 4 * 4]
    fours[np.isnan(fours)] = low
    return clamped


def clamp_float_above(x: Array, low: np.float32, high: np.float32) -> Array:
    """clamp_float; but what is not above `low` becomes it: a NaN too, and a -0.0 where it is 0. x: float32."""
    x = np.where(x > low, x, low)
    return np.where(x < high, x, high)


def clamp_sum(x: Array, low: np.float32, high: np.float32) -> Array:
    """clamp_float in place, for float32 sums that began with +0.0: such a sum is never -0.0."""
    return np.clip(x, low, high, out=x)


def finish_float(sums: Array, bias: Array | None, low: np.float32, high: np.float32) -> None:
    """sums = clamp(sums + bias) in place, for sums that began with +0.0. sums: (rows, channels); bias: (channels,)."""
    if bias is not None:
        rows, channels = sums.shape
        repeats = max(1, min(rows, WIDE_ROW // max(channels, 1)))
        whole = rows - rows % repeats
        wide = sums[:whole].reshape(whole // repeats, repeats * channels)
        wide += np.tile(bias.reshape(-1), repeats)
        sums[whole:] += bias.reshape(-1)
    np.clip(sums, low, high, out=sums)


def fused_range(node: Node) -> tuple[int, int]:
    """The quantized activation range of the node's output 0, from its option `fused_activation_function`.

    The runtime's value is "activation.range": activation_range or another of its kind. An output without one scale
    counts as one with scale 0, for which only activations without bounds have a range.
    """
    output = node.outputs[0]
    try:
        range_of: Callable[[str, float, int, str], tuple[int, int]] = node.arithmetic["activation.range"]
        return range_of(_activation(node), *legacy_parameters(output), output.type)
    except RefquantError as error:
        raise node.invalid(str(error)) from None


def fused_float_range(node: Node) -> tuple[np.float32, np.float32]:
    """The float32 activation range of the node, from its option `fused_activation_function`.

    The runtime's value is "activation.float_range": float_activation_range or another of its kind.
    """
    try:
        range_of: Callable[[str], tuple[np.float32, np.float32]] = node.arithmetic["activation.float_range"]
        return range_of(_activation(node))
    except RefquantError as error:
        raise node.invalid(str(error)) from None


def _activation(node: Node) -> Any:
    return node.options.get("fused_activation_function", "NONE")


def _real_range(activation: str) -> tuple[float | None, float | None]:
    if activation not in REAL_RANGES:
        raise InvalidModel(f"unknown fused activation {activation!r}; there are: {', '.join(REAL_RANGES)}")
    return REAL_RANGES[activation]


def _quantize(real: float, scale: float, activation: str) -> int:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        rounded = round_half_away(np.float32(real) / np.float32(scale))
    if not abs(rounded) < 2.0**31:
        raise InvalidModel(f"the bound {real} of the fused activation {activation} does not fit int32 at scale {scale}")
    return int(rounded)
