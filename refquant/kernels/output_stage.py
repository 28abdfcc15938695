"""From integer sums of products to outputs: add what is constant, requantize, add the zero point, clamp.

Shared by the convolutions, FULLY_CONNECTED and BATCH_MATMUL.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refquant.arithmetic.exact import (
    EXACT_FLOAT32,
    EXACT_FLOAT64,
    Narrow,
    as_int64,
    checked_int64,
    largest_magnitude,
    narrowed,
)
from refquant.arithmetic.fixed_point import INT32_MAX, Int64
from refquant.arithmetic.float_rounding import EXACT, Float64, float_rounding
from refquant.arithmetic.multiplier import BELOW_HALF, Multiplier, behind_whole_vectors, to_15_bits
from refquant.arithmetic.requantize import (
    DOUBLE_ROUNDING,
    FLOAT32_EVEN,
    FLOAT64_ROUND,
    INT64_SINGLE_ROUNDING,
    UPWARD_ROUNDING,
    UPWARD_ROUNDING_IN_EIGHTS,
    UPWARD_ROUNDING_IN_FLAT_SIXTEENS,
    Place,
    RealMultiplier,
    Record,
    Requantizer,
    one_a_channel,
    requantize_and_clamp,
)
from refquant.kernels.checks import legacy_parameters
from refquant.kernels.kernel import Node, Operand
from refquant.kernels.scratch import scratch
from refquant.model.graph import DTYPES, Array

# Elements that meet one pass of a chain; a float64 buffer of them and its constants fit the second-level cache.
BLOCK_ELEMENTS = 1 << 17
# Constants per channel are repeated up to this length, so that the innermost loops are long where channels are few.
SPREAD_ELEMENTS = 1 << 13

# The types of output and accumulator -> the name of what requantizes it among the runtime's values.
REQUANTIZERS: Mapping[tuple[str, str], str] = {
    ("INT8", "INT32"): "requantizer",
    ("UINT8", "INT32"): "uint8_requantizer",
    ("INT16", "INT32"): "int16_requantizer",
    ("INT16", "INT64"): "int64_requantizer",
}


@dataclass(frozen=True, slots=True)
class OutputStage:
    """output = clamp(requantize(accumulator) + zero_point, low, high). `record`: one multiplier, or one a channel."""

    requantizer: Requantizer
    record: Record
    zero_point: int
    low: int
    high: int
    dtype: np.dtype[Any]
    narrow: Narrow


def output_stage(
    node: Node,
    input_scale: float,
    filter_scale: ArrayLike,
    clamp: tuple[int, int],
    effective_scale: str = "effective_scale",
    accumulator: str = "INT32",
    requantizer_name: str = "",
) -> OutputStage:
    """The stage with the runtime's "<OP>.<effective_scale>" and requantizer, and the scale of output 0.

    filter_scale: (channels,) or one; accumulator: "INT32" or "INT64"; requantizer_name: the runtime's
    "<OP>.<requantizer_name>", that of REQUANTIZERS if it is not given.
    Errors: InvalidModel for an output without a scale, UnsupportedModel for a scale of 0 or a multiplier whose shift is
    undefined.
    """
    output = node.outputs[0]
    output_scale, zero_point = node.scale_and_zero_point(output)
    if output_scale == 0:
        raise node.unsupported(f"the scale of output '{output.name}' is 0; the multiplier would be infinite")
    requantizer_name = requantizer_name or REQUANTIZERS[output.type, accumulator]
    requantizer: Requantizer = node.arithmetic[f"{node.op}.{requantizer_name}"]
    wide = checked_int64 if requantizer is INT64_SINGLE_ROUNDING else as_int64
    narrow = node.narrow if accumulator == "INT32" else wide
    real = node.arithmetic[f"{node.op}.{effective_scale}"](input_scale, filter_scale, output_scale)
    record = requantizer.prepare(real, node.place)
    return OutputStage(requantizer, record, zero_point, *clamp, DTYPES[output.type], narrow)


def filter_scales(node: Node, filter_: Operand, channels: int) -> NDArray[np.float32]:
    """The filter's scales: one, or one for each of the output channels. InvalidModel for none or another number."""
    q = filter_.quantization
    if q is None or not q.scale:
        raise node.invalid(f"filter '{filter_.name}' has no scale")
    if len(q.scale) not in (1, channels):
        raise node.invalid(
            f"filter '{filter_.name}' has {len(q.scale)} scales; it needs 1, or {channels}: one an output channel"
        )
    if len(q.scale) > 1 and dict(enumerate(filter_.shape)).get(q.quantized_dimension) != channels:
        raise node.invalid(
            f"filter '{filter_.name}' is quantized along dimension {q.quantized_dimension} of {list(filter_.shape)}, "
            f"which is not the {channels} output channels"
        )
    return np.asarray(q.scale, np.float32)


def check_bias_scale(node: Node, product_scale: float, bias: Operand | None) -> None:
    """InvalidModel if the bias's scale is not about input scale * filter scale: the runtime's "bias.scale_difference",
    in steps of the output, tells how far off it may be.

    Source: tflite/kernels/kernel_util.cc, GetQuantizedConvolutionMultipler.
    """
    if bias is None:
        return
    bias_scale, output_scale = legacy_parameters(bias)[0], node.scale_and_zero_point(node.outputs[0])[0]
    largest = node.arithmetic["bias.scale_difference"]
    if abs(product_scale - bias_scale) / output_scale > largest:
        raise node.invalid(
            f"the scale of bias '{bias.name}' is {bias_scale}, that of input times filter {product_scale}; they may "
            f"differ by {largest} of the output's scale {output_scale}"
        )


@dataclass(frozen=True, slots=True)
class Finish:
    """A stage that knows its sums: `constant` (channels,) is added to them, and no |sum| is larger than `bound`.

    `spread`: the rounding in floats for outputs of 8 or 16 bits; None where it is not exact, or accumulators may wrap.
    """

    stage: OutputStage
    constant: Int64
    bound: int
    spread: SpreadRounding | None


@dataclass(frozen=True, slots=True)
class SpreadRounding:
    """The steps of a rounding in float64, or in float32 if `scale` is, their channels several times over, and the
    integers in which it clamps.

    v = (x + bias) * scale + offset; floor(v) if `floor` is set; v * second; rint(v) if `even` is set; v +
    copysign(below 1/2, v) if `away` is set; then the fraction is cut off. A step that is None is left out.
    """

    bias: Array | None
    scale: Array
    offset: Float64 | None
    floor: bool
    second: Float64 | None
    even: bool
    away: bool
    low: Array
    high: Array


def prepare_finish(stage: OutputStage, constant: Int64, bound: int) -> Finish:
    """The stage for sums of at most `bound` in magnitude, to which constant (channels,) is added."""
    if stage.requantizer.place is not Place.NONE:
        stage = replace(stage, record=one_a_channel(stage.record, constant.size))
    spread = None
    if stage.dtype.itemsize <= 2 and constant.size and stage.requantizer.name in SPREADS:
        spread = SPREADS[stage.requantizer.name](stage, constant, bound)
    return Finish(stage, constant, bound, spread)


def _spread_double_rounding(stage: OutputStage, constant: Int64, bound: int) -> SpreadRounding | None:
    assert isinstance(stage.record, Multiplier)
    low, high = stage.low - stage.zero_point, stage.high - stage.zero_point
    away = np.broadcast_to(AWAY[stage.requantizer.name](constant.size), constant.shape)
    rounding = float_rounding(stage.record, constant, bound, low, high, away)
    if rounding is None:
        return None
    floor = low < 0
    return _spread(stage, rounding.largest, None, rounding.scale, rounding.offset, floor, rounding.second)


def _spread_int64_rounding(stage: OutputStage, constant: Int64, bound: int) -> SpreadRounding | None:
    """(acc * q + 2^(t-1)) >> t = floor(acc * q * 2^-t + 1/2): whole numbers in units of 2^-t, exact up to 2^52."""
    assert isinstance(stage.record, Multiplier)
    multiplier = to_15_bits(np.broadcast_to(stage.record.multiplier, constant.shape).astype(np.int64))
    total = 15 - np.broadcast_to(stage.record.shift, constant.shape).astype(np.float64)
    largest = (bound + np.abs(constant.astype(np.float64))) * multiplier + 2.0 ** (total - 1)
    if largest.max(initial=0) > EXACT:
        return None
    scale, clamped_at_zero = multiplier * 2.0**-total, stage.low >= stage.zero_point
    largest_result = float((largest * 2.0**-total).max(initial=0)) + 1
    return _spread(stage, largest_result, None, scale, constant * scale + 0.5, not clamped_at_zero, None)


def _spread_real(stage: OutputStage, constant: Int64, bound: int) -> SpreadRounding | None:
    """round(double(acc) * real), in the order of the runtime; results below 0 need no rounding if they are clamped."""
    assert isinstance(stage.record, RealMultiplier)
    if bound + largest_magnitude(constant) > (EXACT_FLOAT64 if stage.narrow is as_int64 else INT32_MAX):
        return None
    real = np.broadcast_to(stage.record.real, constant.shape)
    largest = float(((bound + np.abs(constant)) * real).max(initial=0)) + 1
    half = np.full(constant.shape, BELOW_HALF) if stage.low >= stage.zero_point else None
    return _spread(stage, largest, constant.astype(np.float64), real, half, False, None)


def _spread_float32(stage: OutputStage, constant: Int64, bound: int) -> SpreadRounding | None:
    """rint(float32(acc) * real) in float32, where every accumulator and every sum on the way to it is exact."""
    assert isinstance(stage.record, RealMultiplier)
    if bound + largest_magnitude(constant) > EXACT_FLOAT32:
        return None
    real = np.broadcast_to(stage.record.real, constant.shape)
    largest = float(((bound + np.abs(constant)) * real).max(initial=0)) + 1
    return _spread(stage, largest, constant.astype(np.float32), real.astype(np.float32), None, False, None, True)


def _spread(
    stage: OutputStage,
    largest: float,
    bias: Array | None,
    scale: Array,
    offset: Float64 | None,
    floor: bool,
    second: Float64 | None,
    even: bool = False,
) -> SpreadRounding | None:
    if largest >= 2**31:
        return None
    work = np.dtype(np.int16 if largest < 2**15 else np.int32)
    repeats = max(1, SPREAD_ELEMENTS // scale.size)

    def spread(values: Array | None) -> Array | None:
        return None if values is None else np.tile(values, repeats)

    return SpreadRounding(
        spread(bias),
        np.tile(scale, repeats),
        spread(offset),
        floor,
        spread(second),
        even or second is not None,
        bias is not None and offset is None and not even,
        np.full(repeats * scale.size, stage.low - stage.zero_point, work),
        np.full(repeats * scale.size, stage.high - stage.zero_point, work),
    )


# Which channels' half-way values go away from zero in the second rounding.
AWAY: Mapping[str, Callable[[int], NDArray[np.bool_]]] = {
    DOUBLE_ROUNDING.name: lambda channels: np.ones(channels, bool),
    UPWARD_ROUNDING.name: lambda channels: np.zeros(channels, bool),
    UPWARD_ROUNDING_IN_EIGHTS.name: lambda channels: behind_whole_vectors(channels, 8),
    UPWARD_ROUNDING_IN_FLAT_SIXTEENS.name: lambda elements: behind_whole_vectors(elements, 16),
}
SPREADS: Mapping[str, Callable[[OutputStage, Int64, int], SpreadRounding | None]] = {
    DOUBLE_ROUNDING.name: _spread_double_rounding,
    UPWARD_ROUNDING.name: _spread_double_rounding,
    UPWARD_ROUNDING_IN_EIGHTS.name: _spread_double_rounding,
    UPWARD_ROUNDING_IN_FLAT_SIXTEENS.name: _spread_double_rounding,
    INT64_SINGLE_ROUNDING.name: _spread_int64_rounding,
    FLOAT64_ROUND.name: _spread_real,
    FLOAT32_EVEN.name: _spread_float32,
}


def finish(f: Finish, sums: Array, out: Array) -> None:
    """Writes the outputs of `sums` into `out`, both contiguous rows of channels. sums: integers in any dtype."""
    stage = f.stage
    if not out.size:
        return
    if f.spread is not None:
        _finish_spread(f.spread, stage.zero_point, sums.reshape(-1), out.reshape(-1))
        return
    rows = -1, f.constant.size
    acc, bias = narrowed(sums.reshape(rows), f.constant, f.bound, stage.narrow)
    out.reshape(rows)[...] = requantize_and_clamp(
        stage.requantizer, acc, stage.record, stage.zero_point, stage.low, stage.high, stage.dtype, bias
    )


def _finish_spread(s: SpreadRounding, zero_point: int, sums: Array, out: Array) -> None:
    """Whole multiples of the constants' length in blocks of many, then the rest."""
    length = s.scale.size
    step = max(1, BLOCK_ELEMENTS // length) * length
    whole = sums.size - sums.size % length
    for start in range(0, whole, step):
        block = slice(start, min(start + step, whole))
        _round_block(s, zero_point, sums[block].reshape(-1, length), out[block].reshape(-1, length))
    if whole < sums.size:
        _round_block(s, zero_point, sums[whole:], out[whole:])


def _round_block(s: SpreadRounding, zero_point: int, sums: Array, out: Array) -> None:
    n = sums.shape[-1]
    v = scratch("output_stage.floats", sums.shape, s.scale.dtype)
    np.copyto(v, sums)
    if s.bias is not None:
        v += s.bias[:n]
    v *= s.scale[:n]
    if s.offset is not None:
        v += s.offset[:n]
    if s.floor:
        np.floor(v, out=v)
    if s.second is not None:
        v *= s.second[:n]
    if s.even:
        np.rint(v, out=v)
    if s.away:
        v += np.copysign(BELOW_HALF, v)
    y = scratch("output_stage.integers", sums.shape, s.low.dtype)
    np.copyto(y, v, casting="unsafe")  # towards 0: that is floor, where results below 0 matter v is whole or rounded
    np.maximum(y, s.low[:n], out=y)
    np.minimum(y, s.high[:n], out=y)
    np.copyto(out, y, casting="unsafe")  # modulo 2^bits; the zero point brings it back into the range of the type
    out += out.dtype.type(zero_point)
