"""Runtimes that are tflite_ref but for one plausible mistake: what a comparison of runs has to find."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from models import T, one_op
from refquant.arithmetic.blocks import Block, spread
from refquant.arithmetic.multiplier import Multiplier
from refquant.arithmetic.requantize import (
    DOUBLE_ROUNDING,
    FLOAT64_ROUND,
    Requantizer,
    effective_scale_float64,
)
from refquant.kernels import convolution, dense, depthwise, softmax
from refquant.kernels.padding import Axis, Window
from refquant.model.graph import Model
from refquant.runtimes.runtime import Runtime
from refquant.runtimes.tflite_ref import TFLITE_REF

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
NETWORK = GOLDEN / "models" / "digits_ds_int8.tflite"
Arrays = Sequence[Any]


def with_values(name: str, values: Mapping[str, Any]) -> Runtime:
    return replace(TFLITE_REF, name=name, arithmetic={**TFLITE_REF.arithmetic, **values})


def with_kernel(name: str, op: str, run: Callable[[Any, Arrays], tuple[Any, ...]]) -> Runtime:
    kernels = TFLITE_REF.kernels[op]
    wrong = {**kernels, "INT8": replace(kernels["INT8"], run=run)}
    return replace(TFLITE_REF, name=name, kernels={**TFLITE_REF.kernels, op: wrong})


# values


def shifted_scales(input_scale: float, filter_scale: Any, output_scale: float) -> Any:
    return effective_scale_float64(input_scale, np.roll(np.asarray(filter_scale), 1), output_scale)


def truncating_block(record: Any, repeats: int) -> Block:
    factors, shifts = (spread(array, repeats, np.int64) for array in (record.multiplier, 31 - record.shift))

    def block(x: Any) -> Any:
        return ((x.astype(np.int64) * factors[: x.size]) >> shifts[: x.size]).astype(np.int32)

    return block


def saturating_block(record: Any, repeats: int) -> Block:
    inner = DOUBLE_ROUNDING.block(record, repeats)
    return lambda x: inner(np.clip(x, -(2**15), 2**15 - 1))


def wrapping_block(record: Any, repeats: int) -> Block:
    inner = DOUBLE_ROUNDING.block(record, repeats)
    return lambda x: inner(x.astype(np.int16).astype(x.dtype))


def even_block(record: Any, repeats: int) -> Block:
    factors = spread(record.real, repeats, np.float64)
    return lambda x: np.rint(x * factors[: x.size])


def short_multipliers(real: Any, place: str) -> Multiplier:
    exact = DOUBLE_ROUNDING.prepare(real, place)
    assert isinstance(exact, Multiplier)
    rounded = np.minimum((exact.multiplier.astype(np.int64) + 2**15) >> 16, 2**15 - 1) << 16
    return Multiplier(rounded.astype(exact.multiplier.dtype), exact.shift)


TRUNCATING = replace(DOUBLE_ROUNDING, name="truncating shift", block=truncating_block)
SATURATING = replace(DOUBLE_ROUNDING, name="16 saturating bits", block=saturating_block)
WRAPPING = replace(DOUBLE_ROUNDING, name="16 wrapping bits", block=wrapping_block)
SHORT = replace(DOUBLE_ROUNDING, name="multipliers of 16 bits", prepare=short_multipliers)
EVEN = Requantizer("float64, half to even", FLOAT64_ROUND.prepare, FLOAT64_ROUND.work, even_block)

# kernels


def padded_with_zeros(params: convolution.ConvParams, arrays: Arrays) -> tuple[Any]:
    """CONV_2D, with the code 0 outside the image instead of the zero point."""
    x, *others = arrays
    axes = params.window.height, params.window.width
    wide = np.pad(x, ((0, 0), *((axis.before, axis.after) for axis in axes), (0, 0)))
    bare = (replace(a, input=a.input + a.before + a.after, before=0, after=0) for a in axes)
    return convolution.conv_2d(replace(params, window=Window(*bare)), [wide, *others])


def one_pixel_late(params: convolution.ConvParams, arrays: Arrays) -> tuple[Any]:
    """CONV_2D, with one pixel of the padding before the image moved behind it."""

    def moved(axis: Axis) -> Axis:
        return replace(axis, before=max(axis.before - 1, 0), after=axis.after + min(axis.before, 1))

    window = Window(moved(params.window.height), moved(params.window.width))
    return convolution.conv_2d(replace(params, window=window), arrays)


def twice_the_bias(params: convolution.ConvParams, arrays: Arrays) -> tuple[Any]:
    return convolution.conv_2d(replace(params, weights=None), [*arrays[:2], 2 * arrays[2]])


def swapped_axes(params: depthwise.DepthwiseParams, arrays: Arrays) -> tuple[Any]:
    x, filter_, bias = arrays
    turned = np.ascontiguousarray(filter_.swapaxes(1, 2))
    return depthwise.depthwise_conv_2d(replace(params, weights=None), [x, turned, bias])


def zero_point_added(params: dense.FullyConnectedParams, arrays: Arrays) -> tuple[Any]:
    wrong = replace(params, input_zero_point=-params.input_zero_point, weights=None)
    return dense.fully_connected(wrong, arrays)


def without_activation(params: dense.FullyConnectedParams, arrays: Arrays) -> tuple[Any]:
    wrong = replace(params, stage=replace(params.stage, low=-128, high=127), weights=None)
    return dense.fully_connected(wrong, arrays)


def pooled_toward_zero(params: Any, arrays: Arrays) -> tuple[Any]:
    """AVERAGE_POOL_2D of windows of 2 x 2 that do not overlap."""
    n, height, width, channels = arrays[0].shape
    sums = arrays[0].astype(np.int64).reshape(n, height // 2, 2, width // 2, 2, channels).sum((2, 4))
    return (np.clip(np.trunc(sums / 4), params.low, params.high).astype(np.int8),)


def half_a_table(params: softmax.SoftmaxParams, arrays: Arrays) -> tuple[Any, ...]:
    """SOFTMAX, with exponentials of every second step below the maximum."""
    highest = arrays[0].max(-1, keepdims=True).astype(np.int64)
    return softmax.softmax(params, [(highest - ((highest - arrays[0]) & ~1)).astype(np.int8)])


# the devices


def activated() -> Model:
    """A FULLY_CONNECTED with a fused RELU that cuts off much."""
    rng = np.random.default_rng(0)
    weights = T(data=rng.integers(-127, 128, (4, 8)).astype(np.int8), scale=0.1)
    bias = T(data=np.zeros(4, np.int32), scale=0.05)
    options = {"fused_activation_function": "RELU"}
    return one_op("FULLY_CONNECTED", [T((1, 8), scale=0.5), weights, bias], [T((1, 4), scale=4.0)], options)


@dataclass(frozen=True, slots=True)
class Device:
    """A wrong runtime, the op that it gets wrong, how that is said once it is described, and a model that shows it."""

    runtime: Runtime
    op: str
    words: str
    model: Any = NETWORK


def _valued(name: str, value: str, wrong: Any, words: str, model: Any = NETWORK) -> Device:
    return Device(with_values(name, {value: wrong}), value.partition(".")[0], words, model)


def _built(name: str, op: str, run: Callable[[Any, Arrays], tuple[Any, ...]], model: Any = NETWORK) -> Device:
    return Device(with_kernel(name, op, run), op, f"the {op} of {name}", model)


HALF_WAY = GOLDEN / "errata" / "half-way-values-upwards.tflite"
DEVICES = (
    _valued("truncates", "CONV_2D.requantizer", TRUNCATING, TRUNCATING.name),
    _valued("shifts_channels", "CONV_2D.effective_scale", shifted_scales, "shifted scales"),
    _valued("saturates", "CONV_2D.requantizer", SATURATING, SATURATING.name),
    _valued("wraps", "CONV_2D.requantizer", WRAPPING, WRAPPING.name),
    _valued("rounds_multipliers", "CONV_2D.requantizer", SHORT, SHORT.name),
    _valued("ties_to_even", "CONV_2D.requantizer", EVEN, EVEN.name, HALF_WAY),
    _built("pads_with_0", "CONV_2D", padded_with_zeros),
    _built("pads_late", "CONV_2D", one_pixel_late),
    _built("doubles_the_bias", "CONV_2D", twice_the_bias),
    _built("swaps_axes", "DEPTHWISE_CONV_2D", swapped_axes),
    _built("adds_the_zero_point", "FULLY_CONNECTED", zero_point_added),
    _built("forgets_the_activation", "FULLY_CONNECTED", without_activation, activated()),
    _built("pools_toward_zero", "AVERAGE_POOL_2D", pooled_toward_zero),
    _built("halves_the_table", "SOFTMAX", half_a_table),
)
