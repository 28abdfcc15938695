"""The old quantizer's formulas: float32 at every step, but for what is marked f64. `round` is C's, halves away from 0.

Pure functions on Python floats that hold float32 values exactly and on float32 arrays. Unlike the MLIR quantizer's they
never widen a range: a range of zero has the scale 0, and so has a channel of zeros.
Source: google-ai-edge/LiteRT, tflite/tools/optimize/quantization_utils.cc, quantize_model.cc (RequantizeConstant,
QuantizeConstantVariable) and tflite/kernels/internal/optimized/neon_tensor_utils.cc (NeonSymmetricQuantizeFloats);
checked against TensorFlow 2.21.0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.arithmetic.fixed_point import INT32_MAX
from refquant.arithmetic.multiplier import round_half_away
from refquant.model.graph import Array, Quantization

Float32 = NDArray[np.float32]
Range = tuple[float, float]

INT8_MIN, INT8_MAX = -128, 127
NARROW = 127  # symmetric int8 uses [-127, 127], never -128
INT16_MAX = 32767  # symmetric int16 uses [-32767, 32767], never -32768
INT10_MAX = 512  # SVDF's time weights in int16

f32 = np.float32
FLOAT32_MAX = float(np.finfo(np.float32).max)


def _floats(values: Any) -> tuple[float, ...]:
    return tuple(map(float, np.atleast_1d(values)))


def _number(factor: float) -> str:
    return str(f32(factor)) if factor <= FLOAT32_MAX else str(factor)


# activations


def asymmetric(low: float, high: float) -> Quantization:
    """s = (max - min) / 255, zero point = round(-128 - min / s) within [-128, 127], -128 for s = 0; zero in range."""
    low, high = min(low, 0.0), max(high, 0.0)
    with np.errstate(over="ignore", under="ignore"):
        scale = (f32(high) - f32(low)) / f32(INT8_MAX - INT8_MIN)
        zero_point = f32(INT8_MIN) - f32(low) / scale if scale else f32(INT8_MIN)
    limited = min(max(float(zero_point), INT8_MIN), INT8_MAX)
    return Quantization(_floats(scale), (int(round_half_away(limited)),), 0, (low,), (high,))


def symmetric(low: float, high: float) -> Quantization:
    """s = max(|min|, |max|) / 32767, zero point 0; zero in range."""
    low, high = min(low, 0.0), max(high, 0.0)
    return Quantization(_floats(range_scale((low, high), INT16_MAX)), (0,), 0, (low,), (high,))


def range_scale(limits: Range, largest: int) -> np.float32:
    """s = max(|min|, |max|) / largest."""
    with np.errstate(under="ignore"):
        return f32(f32(max(abs(limits[0]), abs(limits[1]))) / f32(largest))


def power_of_two_scale(limits: Range) -> float:
    """s = 2^n / 32768, n the least of 0 to 10 with 2^n >= max(|min|, |max|), or 10."""
    largest = max(abs(limits[0]), abs(limits[1]))
    return min((2.0**n for n in range(11) if 2.0**n >= largest), default=2.0**10) / (INT16_MAX + 1)


def product_scale(scales: tuple[float, ...]) -> float:
    """The product of the scales, rounded to float32 after each factor."""
    product = f32(1)
    with np.errstate(over="ignore", under="ignore"):
        for scale in scales:
            product = f32(product * f32(scale))
    return float(product)


# weights


def value_range(values: Array) -> Range:
    """(min, max) of all values."""
    return float(values.min()), float(values.max())


def channel_ranges(values: Array, axis: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(min, max) of every channel."""
    others = tuple(dim for dim in range(values.ndim) if dim != axis)
    return _floats(values.min(axis=others)), _floats(values.max(axis=others))


def largest_values(low: tuple[float, ...], high: tuple[float, ...]) -> Float32:
    """r = max(|min|, |max|) of every channel."""
    return np.maximum(np.abs(np.asarray(low, f32)), np.abs(np.asarray(high, f32)))


def widened_for_bias(
    low: tuple[float, ...], high: tuple[float, ...], bias: Array, input_scale: float
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The ranges of the weights, wider where the bias would leave the middle half of int32 (whatever its type).

    With s_w = r / 127 and M = 2^31 - 1. Several channels: where f64(|b|) >= f64(0.5 s_in s_w M) the new maximum is
    f64(2 |b| / M * f32(127 / s_in)). One channel: where max|b| / M >= f64(0.5 s_in s_w), by the same formula.
    """
    with np.errstate(all="ignore"):
        scales = (largest_values(low, high) / f32(NARROW)).astype(np.float64)
        unit = f32(NARROW) / f32(input_scale)
        half = 0.5 * float(f32(input_scale)) * scales
        if len(low) > 1:
            largest = np.abs(bias.reshape(-1)).astype(f32)
            too_large = largest.astype(np.float64) >= half * INT32_MAX
        else:
            largest = np.abs(bias).max(keepdims=True).reshape(-1).astype(f32)
            too_large = (largest / f32(INT32_MAX)).astype(np.float64) >= half
        wide = (2.0 * largest.astype(np.float64) / INT32_MAX * np.float64(unit)).astype(f32)
    return _floats(np.where(too_large, -wide, low)), _floats(np.where(too_large, wide, high))


# integers: how an operator's constants are rewritten


@dataclass(frozen=True, slots=True)
class Loop:
    """How one of the C++ loops over a constant departs from round(x) within limits.

    `blocks`, `behind`: what becomes of results that are no int32, which C++ leaves undefined: below, above, NaN; as
    signs of the limit, or 0. The wheel for x86-64 takes whole blocks of `lanes` elements with vector instructions and
    the elements behind them one by one. `adds_half`: in blocks round(x) is x + 0.5 or x - 0.5 in float32, without its
    fraction, which makes 1 of the float32 below 0.5.
    """

    blocks: tuple[int, int, int]
    behind: tuple[int, int, int]
    lanes: int = 1
    adds_half: bool = False


LOWEST, SATURATED = (-1, -1, -1), (-1, 1, 0)
SATURATING = "saturating"

LOOPS: Mapping[str, Loop] = MappingProxyType(
    {
        "weights": Loop((-1, 1, -1), LOWEST, lanes=8, adds_half=True),  # NeonSymmetricQuantizeFloats, also on x86
        "channels": Loop((0, 0, 0), (0, 0, 0)),  # the lowest byte of the lowest int32
        "portable": Loop(LOWEST, LOWEST),
        "int16": Loop(LOWEST, LOWEST),
        "bias": Loop(SATURATED, SATURATED),  # the one loop that is written to saturate
        "rescaled": Loop(LOWEST, SATURATED, lanes=16),
        "assigned": Loop(LOWEST, SATURATED, lanes=8),
        SATURATING: Loop(SATURATED, SATURATED),  # none of the converter's: what the others should do
    }
)


@dataclass(frozen=True, slots=True)
class Scaling:
    """How float values become integers: round(w * factor) within [-limit, limit], one factor or one per channel.

    `loop`: a key of LOOPS.
    """

    type: str
    loop: str
    factor: tuple[float, ...]
    limit: int
    axis: int | None = None

    def __str__(self) -> str:
        factor = _number(self.factor[0]) if len(self.factor) == 1 else f"{len(self.factor)} factors"
        return f"round(w * {factor}) within {self.limit}"


@dataclass(frozen=True, slots=True)
class Shift:
    """How float values become int8: round(x * factor) + zero point, added in float32, within [-128, 127]."""

    loop: str
    factor: float
    zero_point: int

    def __str__(self) -> str:
        return f"round(x * {_number(self.factor)}) + {self.zero_point}"


@dataclass(frozen=True, slots=True)
class Rescaling:
    """How a constant that is int8 or int16 already takes another scale: x = s_old * (q - z_old), then as `then`."""

    old: Quantization
    then: Scaling | Shift

    def __str__(self) -> str:
        return f"x = s (q - z), {self.then}"


Rewriting = Scaling | Shift | Rescaling


def weights_per_channel(
    low: tuple[float, ...], high: tuple[float, ...], axis: int
) -> tuple[tuple[float, ...], Scaling]:
    """(s = r / 127, factor 127 / r) of every channel; both 0 for r = 0."""
    largest = largest_values(low, high)
    with np.errstate(all="ignore"):
        scale = largest / f32(NARROW)
        factor = np.where(largest == 0, f32(0), f32(NARROW) / largest)
    return _floats(scale), Scaling("INT8", "channels", _floats(factor), NARROW, axis)


def weights_per_tensor(limits: Range) -> tuple[float, Scaling]:
    """(s = r / 127, factor 127 / r); (1, 0) for r = 0."""
    r = f32(max(abs(limits[0]), abs(limits[1])))
    with np.errstate(all="ignore"):
        scale, factor = (r / f32(NARROW), f32(NARROW) / r) if r else (f32(1), f32(0))
    return float(scale), Scaling("INT8", "weights", _floats(factor), NARROW)


def reciprocal(scale: float) -> float:
    """f32(1 / f64(s)); 0 for s = 0."""
    with np.errstate(over="ignore"):
        return float(f32(1 / np.float64(f32(scale)))) if scale else 0.0


def int16_scaling(scale: float) -> Scaling:
    """Factor f32(1 / f64(s))."""
    return Scaling("INT16", "int16", (reciprocal(scale),), INT16_MAX)


def bias_scaling(scales: tuple[float, ...], type_: str) -> Scaling:
    """Factors f32(1 / f64(s)), within the type's range."""
    limit = int(np.iinfo(type_.lower()).max)
    return Scaling(type_, "bias", tuple(map(reciprocal, scales)), limit, 0 if len(scales) > 1 else None)


def rescaling(type_: str, old: Quantization, new: Quantization) -> Rescaling:
    """From the old parameters to the new ones, of one scale; int16 drops the zero point."""
    if type_ == "INT16":
        return Rescaling(old, int16_scaling(new.scale[0]))
    return Rescaling(old, Shift("rescaled", reciprocal(new.scale[0]), new.zero_point[0]))


def rewrite(values: Array, rule: Rewriting) -> Array:
    """The integers that the rule makes of float32 values; a Rescaling makes them of the integers before."""
    if isinstance(rule, Rescaling):
        return rewrite(_real(values, rule.old), rule.then)
    with np.errstate(all="ignore"):
        if isinstance(rule, Shift):
            shifted = round_half_away(_scaled(values, rule)).astype(f32) + f32(rule.zero_point)
            return _limited(shifted, LOOPS[rule.loop], INT8_MIN, INT8_MAX).astype(np.int8)
        scaled = _scaled(values, rule)
    bound = 2.0**63 if rule.type == "INT64" else 2.0**31
    wraps = rule.loop == "channels"
    return _limited(scaled, LOOPS[rule.loop], -rule.limit, rule.limit, bound, wraps).astype(rule.type.lower())


def rewritten(values: Array, rules: Iterable[Rewriting]) -> Array:
    """The integers of a constant, by one rule after the other."""
    for rule in rules:
        assert isinstance(rule, Rescaling) == (values.dtype.kind == "i")
        values = rewrite(values, rule)
    return values


def is_undefined(values: Array, rule: Rewriting) -> bool:
    """Whether some result is no int32 where C++ leaves open what that means, or wraps around int8."""
    if isinstance(rule, Rescaling):
        return is_undefined(_real(values, rule.old), rule.then)
    if rule.loop in ("bias", SATURATING):
        return False
    with np.errstate(all="ignore"):
        rounded = round_half_away(_scaled(values, rule))
        low, high = (-128.0, 128.0) if rule.loop == "channels" else (-(2.0**31), 2.0**31)
        return not bool(((rounded >= low) & (rounded < high)).all())


def saturating(rule: Rewriting, scales: tuple[float, ...]) -> Rewriting:
    """The rule whose results saturate, by 1 / s where float32 has no such factor."""
    if isinstance(rule, Rescaling):
        then = saturating(rule.then, scales)
        assert not isinstance(then, Rescaling)
        return replace(rule, then=then)
    if isinstance(rule, Shift):
        return replace(rule, loop=SATURATING, factor=_finite(rule.factor, scales[0]))
    factors = tuple(_finite(factor, scale) for factor, scale in zip(rule.factor, scales, strict=True))
    return replace(rule, loop=SATURATING, factor=factors)


def _finite(factor: float, scale: float) -> float:
    if math.isfinite(factor):
        return factor
    return 1 / float(f32(scale)) if f32(scale) else 0.0


def _scaled(values: Array, rule: Scaling | Shift) -> Array:
    """The values times their factors in float32, or in float64 where float32 has no such factor."""
    factors, axis = (rule.factor, rule.axis) if isinstance(rule, Scaling) else ((rule.factor,), None)
    wide = any(math.isfinite(factor) and factor > FLOAT32_MAX for factor in factors)
    return np.asarray(values * _along(factors, axis, values.ndim, np.float64 if wide else f32))


def _real(values: Array, old: Quantization) -> Float32:
    """f32(s * (q - z))."""
    zero_point = _along(old.zero_point, old.quantized_dimension, values.ndim, np.int64)
    scale = _along(old.scale, old.quantized_dimension, values.ndim, f32)
    with np.errstate(all="ignore"):
        return np.asarray(scale * (values.astype(np.int64) - zero_point).astype(f32), f32)


def _along(values: tuple[Any, ...], axis: int | None, rank: int, dtype: Any) -> Array:
    """Values per channel with axes of 1 around, so that they broadcast along the channels' axis."""
    if axis is None or len(values) == 1:
        return np.asarray(values[0], dtype)
    return np.asarray(values, dtype).reshape([-1 if dim == axis else 1 for dim in range(rank)])


def _limited(
    values: Array, loop: Loop, low: int, high: int, bound: float = 2.0**31, wraps: bool = False
) -> NDArray[np.int64]:
    """round(x) within [low, high], through int8 if it `wraps`; what is not in [-bound, bound) as the loop does."""
    in_blocks = (np.arange(values.size) < values.size - values.size % loop.lanes).reshape(values.shape)
    with np.errstate(invalid="ignore"):
        rounded = round_half_away(values)
        if loop.adds_half:
            rounded = np.where(in_blocks, np.trunc(values + np.copysign(f32(0.5), values)), rounded)
        inside = (rounded >= -bound) & (rounded < bound)
    integers = np.where(inside, rounded, 0).astype(np.int64)
    limited = np.clip(integers.astype(np.int8).astype(np.int64) if wraps else integers, low, high)
    limits = {-1: low, 0: 0, 1: high}
    for number, case in enumerate((rounded < -bound, rounded >= bound, np.isnan(rounded))):
        if case.any():
            chosen = np.where(in_blocks, limits[loop.blocks[number]], limits[loop.behind[number]])
            limited = np.where(case, chosen, limited)
    return limited
