"""From integer sums of products to outputs: add what is constant, requantize, add the zero point, clamp.

Shared by the convolutions, FULLY_CONNECTED and BATCH_MATMUL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refquant.arithmetic.exact import Narrow, largest_magnitude, narrowed
from refquant.arithmetic.fixed_point import INT32_MAX, Int64
from refquant.arithmetic.float_rounding import Float64, float_rounding
from refquant.arithmetic.multiplier import BELOW_HALF, Multiplier
from refquant.arithmetic.requantize import (
    DOUBLE_ROUNDING,
    FLOAT64_ROUND,
    RealMultiplier,
    Record,
    Requantizer,
    requantize_and_clamp,
)
from refquant.kernels.kernel import Node, Operand
from refquant.kernels.scratch import scratch
from refquant.model.graph import DTYPES, Array

# Elements that meet one pass of a chain; a float64 buffer of them and its constants fit the second-level cache.
BLOCK_ELEMENTS = 1 << 17
# Constants per channel are repeated up to this length, so that the innermost loops are long where channels are few.
SPREAD_ELEMENTS = 1 << 13


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


def output_stage(node: Node, input_scale: float, filter_scale: ArrayLike, clamp: tuple[int, int]) -> OutputStage:
    """The stage with the runtime's "<OP>.effective_scale" and "<OP>.requantizer", and the scale of output 0.

    filter_scale: (channels,) or one. Errors: InvalidModel for an output without a scale, UnsupportedModel for a scale
    of 0 or a multiplier whose shift is undefined.
    """
    output = node.outputs[0]
    output_scale, zero_point = node.scale_and_zero_point(output)
    if output_scale == 0:
        raise node.unsupported(f"the scale of output '{output.name}' is 0; the multiplier would be infinite")
    requantizer: Requantizer = node.arithmetic[f"{node.op}.requantizer"]
    real = node.arithmetic[f"{node.op}.effective_scale"](input_scale, filter_scale, output_scale)
    record = requantizer.prepare(real, node.place)
    return OutputStage(requantizer, record, zero_point, *clamp, DTYPES[output.type], node.narrow)


def filter_scales(node: Node, filter_: Operand, channels: int) -> NDArray[np.float32]:
    """The filter's scales: one, or one for each of the output channels. InvalidModel for none or another number."""
    q = filter_.quantization
    if q is None or not q.scale:
        raise node.invalid(f"filter '{filter_.name}' has no scale")
    if len(q.scale) not in (1, channels):
        raise node.invalid(
            f"filter '{filter_.name}' has {len(q.scale)} scales; it needs 1, or {channels}: one an output channel"
        )
    if len(q.scale) > 1 and filter_.shape[q.quantized_dimension] != channels:
        raise node.invalid(
            f"filter '{filter_.name}' is quantized along dimension {q.quantized_dimension} of {list(filter_.shape)}, "
            f"which is not the {channels} output channels"
        )
    return np.asarray(q.scale, np.float32)


@dataclass(frozen=True, slots=True)
class Finish:
    """A stage that knows its sums: `constant` (channels,) is added to them, and no |sum| is larger than `bound`.

    `spread`: the rounding in float64 for outputs of int8; None where that is not exact, or the accumulator may wrap.
    """

    stage: OutputStage
    constant: Int64
    bound: int
    spread: SpreadRounding | None


@dataclass(frozen=True, slots=True)
class SpreadRounding:
    """The steps of a rounding in float64, their channels several times over, and the integers in which it clamps.

    v = (x + bias) * scale + offset; rint(floor(v) * second) if that is set; v + copysign(below 1/2, v) if `away` is
    set; then the fraction is cut off. A step that is None is left out.
    """

    bias: Float64 | None
    scale: Float64
    offset: Float64 | None
    second: Float64 | None
    away: bool
    low: Array
    high: Array


def prepare_finish(stage: OutputStage, constant: Int64, bound: int) -> Finish:
    """The stage for sums of at most `bound` in magnitude, to which constant (channels,) is added."""
    spread = None
    if stage.dtype == np.int8 and constant.size:
        if stage.requantizer is DOUBLE_ROUNDING:
            spread = _spread_double_rounding(stage, constant, bound)
        elif stage.requantizer is FLOAT64_ROUND:
            spread = _spread_real(stage, constant, bound)
    return Finish(stage, constant, bound, spread)


def _spread_double_rounding(stage: OutputStage, constant: Int64, bound: int) -> SpreadRounding | None:
    assert isinstance(stage.record, Multiplier)
    low, high = stage.low - stage.zero_point, stage.high - stage.zero_point
    rounding = float_rounding(stage.record, constant, bound, low, high)
    if rounding is None:
        return None
    return _spread(stage, rounding.largest, None, rounding.scale, rounding.offset, rounding.second)


def _spread_real(stage: OutputStage, constant: Int64, bound: int) -> SpreadRounding | None:
    """round(double(acc) * real), in the order of the runtime; results below 0 need no rounding if they are clamped."""
    assert isinstance(stage.record, RealMultiplier)
    if bound + largest_magnitude(constant) > INT32_MAX:
        return None
    real = np.broadcast_to(stage.record.real, constant.shape)
    largest = float(((bound + np.abs(constant)) * real).max(initial=0)) + 1
    half = np.full(constant.shape, BELOW_HALF) if stage.low >= stage.zero_point else None
    return _spread(stage, largest, constant.astype(np.float64), real, half, None)


def _spread(
    stage: OutputStage,
    largest: float,
    bias: Float64 | None,
    scale: Float64,
    offset: Float64 | None,
    second: Float64 | None,
) -> SpreadRounding | None:
    if largest >= 2**31:
        return None
    work = np.dtype(np.int16 if largest < 2**15 else np.int32)
    repeats = max(1, SPREAD_ELEMENTS // scale.size)

    def spread(values: Float64 | None) -> Float64 | None:
        return None if values is None else np.tile(values, repeats)

    return SpreadRounding(
        spread(bias),
        np.tile(scale, repeats),
        spread(offset),
        spread(second),
        bias is not None and offset is None,
        np.full(repeats * scale.size, stage.low - stage.zero_point, work),
        np.full(repeats * scale.size, stage.high - stage.zero_point, work),
    )


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
    v = scratch("output_stage.float64", sums.shape, np.float64)
    np.copyto(v, sums)
    if s.bias is not None:
        v += s.bias[:n]
    v *= s.scale[:n]
    if s.offset is not None:
        v += s.offset[:n]
    if s.second is not None:
        np.floor(v, out=v)
        v *= s.second[:n]
        np.rint(v, out=v)
    if s.away:
        v += np.copysign(BELOW_HALF, v)
    y = scratch("output_stage.integers", sums.shape, s.low.dtype)
    np.copyto(y, v, casting="unsafe")  # towards 0: that is floor, where results below 0 matter v is whole or rounded
    np.maximum(y, s.low[:n], out=y)
    np.minimum(y, s.high[:n], out=y)
    np.copyto(out, y, casting="unsafe")  # modulo 256; the zero point brings it back into the range of int8
    out += np.int8(zero_point)
