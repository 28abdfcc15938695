"""How one element of an integer operator comes about: its accumulator, multiplier and shift, and each way to round.

    output = clamp(round(accumulator * multiplier * 2^(shift - 31)) + zero_point, low, high)

The accumulator is summed up anew, product by product, and wraps where the runtime's does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np

from refquant.arithmetic.multiplier import Multiplier, quantize_multiplier
from refquant.arithmetic.requantize import (
    DOUBLE_ROUNDING,
    FLOAT32_EVEN,
    FLOAT64_ROUND,
    INT64_SINGLE_ROUNDING,
    UPWARD_ROUNDING,
    RealMultiplier,
    Requantizer,
)
from refquant.errors import RefquantError
from refquant.kernels.binary import ProductParams, TwoScalesParams, scaled
from refquant.kernels.conversion import RequantizeParams, requantize_params
from refquant.kernels.convolution import ConvParams, TransposeConvParams
from refquant.kernels.dense import BatchMatMulParams, FullyConnectedParams
from refquant.kernels.depthwise import DepthwiseParams
from refquant.kernels.elementwise import LookupParams
from refquant.kernels.kernel import Operand
from refquant.kernels.output_stage import OutputStage
from refquant.kernels.padding import Axis, Window
from refquant.model.graph import Array
from refquant.program import ControlStep, Program, Step

Place = tuple[int, ...]
"""The index of an element in the output of one run."""

ROUNDINGS = (DOUBLE_ROUNDING, UPWARD_ROUNDING, FLOAT64_ROUND, FLOAT32_EVEN)
WIDE_ROUNDINGS = (INT64_SINGLE_ROUNDING,)


@dataclass(frozen=True, slots=True)
class Reckoning:
    """One element, up to its rounding. `real` is what multiplier and shift stand for, before it was rounded to 31 bits.

    `exact`: zero_point + the real-number result in steps of the output, neither rounded nor clamped; `value`: what it
    means. `roundings`: (the name of a requantizer, the code that it gives); `own`: the name of the runtime's.
    """

    accumulator: int
    multiplier: int
    shift: int
    real: float
    zero_point: int
    low: int
    high: int
    exact: float
    value: float
    roundings: tuple[tuple[str, int], ...]
    own: str


@dataclass(frozen=True, slots=True)
class _Sum:
    """`accumulator` in its channel; `result`: the real-number result that it stands for, in steps of the output.

    `real`: the multiplier between them, in float64; None where the accumulator has been rounded already.
    """

    accumulator: int
    channel: int
    result: Fraction
    real: float | None = None


Arrays = Sequence[Array | None]
Formula = Callable[[Step, Any, Arrays, Place], _Sum]


def reckon(step: Step | ControlStep, arrays: Arrays, place: Place) -> Reckoning | None:
    """The element at `place` of the step's output; None where the operator is none of FORMULAS.

    arrays: the operator's operands in one run, constants included, None where one is absent.
    """
    if isinstance(step, ControlStep):
        return None
    params = requantize_params(step.node) if step.node.op == "QUANTIZE" and _of_codes(step) else step.params
    formula, stage = FORMULAS.get(type(params)), _stage(params)
    if formula is None or stage is None:
        return None
    return _rounded(stage, formula(step, params, arrays, place), _scale(step.node.outputs[0]))


def _of_codes(step: Step) -> bool:
    """Whether it is looked up in a table of codes."""
    return isinstance(step.params, LookupParams)


def reckon_in(
    program: Program, tensors: Mapping[int, Array], operator: int, sample: int, tensor: int, place: Place
) -> Reckoning | None:
    """The element of an operator of the main graph. tensors: what fed it, by index (samples, *shape).

    None where the operator is none of FORMULAS, gives the tensor beside its first result, or reads a variable, of which
    no run keeps what it was.
    """
    step = program.steps[operator]
    known = {index: program.known[index] for index in step.inputs if index in program.known}
    if step.outputs[0] != tensor or any(index not in {-1, *known, *tensors} for index in step.inputs):
        return None
    arrays = [
        None if index < 0 else known[index] if index in known else tensors[index][sample] for index in step.inputs
    ]
    try:
        return reckon(step, arrays, place)
    except RefquantError:  # a multiplier that one of the roundings cannot hold
        return None


def _stage(params: Any) -> OutputStage | None:
    stage: OutputStage | None = getattr(params, "stage", None) or getattr(params, "output", None)
    return stage


def _rounded(stage: OutputStage, found: _Sum, output_scale: float) -> Reckoning:
    record, exact = stage.record, found.result + stage.zero_point
    real = found.real
    if isinstance(record, Multiplier):
        one = Multiplier(_entry(record.multiplier, found.channel), _entry(record.shift, found.channel))
    else:
        real = float(_entry(record.real, found.channel)[0])
        one = quantize_multiplier(real)
    if real is None:
        real = int(one.multiplier[0]) * 2.0 ** (int(one.shift[0]) - 31)
    accumulator = int(stage.narrow(np.array([found.accumulator]))[0])
    roundings = WIDE_ROUNDINGS if stage.requantizer is INT64_SINGLE_ROUNDING else ROUNDINGS
    return Reckoning(
        accumulator,
        int(one.multiplier[0]),
        int(one.shift[0]),
        real,
        stage.zero_point,
        stage.low,
        stage.high,
        float(exact),
        float(found.result * Fraction(output_scale)),
        tuple((rounding.name, _code(stage, rounding, accumulator, one, real)) for rounding in roundings),
        stage.requantizer.name,
    )


def _entry(values: Array, channel: int) -> Array:
    """The channel's entry, or the one for all, as an array of one element."""
    return values[channel : channel + 1] if values.size > channel else values[:1]


def _code(stage: OutputStage, rounding: Requantizer, accumulator: int, one: Multiplier, real: float) -> int:
    record = one if rounding not in (FLOAT64_ROUND, FLOAT32_EVEN) else RealMultiplier(np.array([real]))
    rounded = int(rounding.apply(np.array([accumulator]), record)[0])
    return min(max(rounded + stage.zero_point, stage.low), stage.high)


# The accumulators -----------------------------------------------------------------------------------------------------


def _scale(operand: Operand | None, channel: int = 0) -> float:
    scales = operand.quantization.scale if operand is not None and operand.quantization is not None else ()
    return scales[channel if len(scales) > 1 else 0] if scales else 1.0


def _zero_point(operand: Operand | None) -> int:
    points = operand.quantization.zero_point if operand is not None and operand.quantization is not None else ()
    return points[0] if points else 0


def _product(step: Step, accumulator: int, channel: int, operands: tuple[int, int]) -> _Sum:
    """A sum of products of the two operands, whose scales multiply."""
    a, b = (step.node.inputs[slot] for slot in operands)
    scales = _scale(a), _scale(b, channel), _scale(step.node.outputs[0])
    exact = Fraction(scales[0]) * Fraction(scales[1]) / Fraction(scales[2])
    return _Sum(accumulator, channel, accumulator * exact, scales[0] * scales[1] / scales[2])


def _less(array: Array | None, zero_point: int) -> Array:
    assert array is not None
    return array.astype(np.int64) - zero_point


def _bias(arrays: Arrays, slot: int, channel: int) -> int:
    bias = arrays[slot] if slot < len(arrays) else None
    return 0 if bias is None else int(bias.reshape(-1)[channel])


def _taps(axis: Axis, output: int) -> list[tuple[int, int]]:
    """(tap, pixel of the input) for each tap of the window that lies inside the image."""
    pixels = ((tap, output * axis.stride - axis.before + tap * axis.dilation) for tap in range(axis.filter))
    return [(tap, pixel) for tap, pixel in pixels if 0 <= pixel < axis.input]


def _window(window: Window, y: int, x: int) -> list[tuple[int, int, int, int]]:
    return [(ky, kx, iy, ix) for ky, iy in _taps(window.height, y) for kx, ix in _taps(window.width, x)]


def _convolution(step: Step, params: ConvParams, arrays: Arrays, place: Place) -> _Sum:
    n, y, x, channel = place
    image = _less(arrays[0], _zero_point(step.node.inputs[0]))[n]
    filter_ = _less(arrays[1], params.filter_zero_point)
    depth = filter_.shape[3]
    start = channel // (len(filter_) // params.groups) * depth
    total = sum(
        int(filter_[channel, ky, kx] @ image[iy, ix, start : start + depth])
        for ky, kx, iy, ix in _window(params.window, y, x)
    )
    return _product(step, total + _bias(arrays, 2, channel), channel, (0, 1))


def _depthwise(step: Step, params: DepthwiseParams, arrays: Arrays, place: Place) -> _Sum:
    n, y, x, channel = place
    image = _less(arrays[0], _zero_point(step.node.inputs[0]))[n, :, :, channel // params.depth_multiplier]
    filter_ = _less(arrays[1], params.filter_zero_point)[0, :, :, channel]
    total = sum(int(filter_[ky, kx] * image[iy, ix]) for ky, kx, iy, ix in _window(params.window, y, x))
    return _product(step, total + _bias(arrays, 2, channel), channel, (0, 1))


def _transposed_convolution(step: Step, params: TransposeConvParams, arrays: Arrays, place: Place) -> _Sum:
    """The window is that of a convolution from output to input: what an input pixel reaches, it adds to."""
    n, y, x, channel = place
    image = _less(arrays[2], params.input_zero_point)[n]
    filter_ = _less(arrays[1], params.filter_zero_point)[channel]
    rows, columns = (
        [(tap, i) for i in range(axis.output) for tap, pixel in _taps(axis, i) if pixel == at]
        for axis, at in ((params.window.height, y), (params.window.width, x))
    )
    total = sum(int(filter_[ky, kx] @ image[iy, ix]) for ky, iy in rows for kx, ix in columns)
    return _product(step, total + _bias(arrays, 3, channel), channel, (2, 1))


def _fully_connected(step: Step, params: FullyConnectedParams, arrays: Arrays, place: Place) -> _Sum:
    channel = place[-1]
    rows = np.ravel_multi_index(place[:-1], params.output_shapes[0][:-1]) if len(place) > 1 else 0
    flat = _less(arrays[0], _zero_point(step.node.inputs[0])).reshape(-1)
    row = flat[int(rows) * params.columns : (int(rows) + 1) * params.columns]
    total = int(_less(arrays[1], params.filter_zero_point)[channel] @ row)
    return _product(step, total + _bias(arrays, 2, channel), channel, (0, 1))


def _batch_matmul(step: Step, params: BatchMatMulParams, arrays: Arrays, place: Place) -> _Sum:
    a, b = (_less(array, zero_point) for array, zero_point in zip(arrays, params.zero_points, strict=True))
    a, b = a.swapaxes(-1, -2) if params.adj_x else a, b.swapaxes(-1, -2) if params.adj_y else b
    leading, (row, column) = params.output_shapes[0][:-2], place[-2:]
    a, b = (np.broadcast_to(m, (*leading, *m.shape[-2:]))[place[:-2]] for m in (a, b))
    return _product(step, int(a[row] @ b[:, column]), 0, (0, 1))


def _codes_at(arrays: Arrays, shape: Place, place: Place) -> tuple[Array, Array]:
    a, b = arrays
    assert a is not None
    assert b is not None
    return np.broadcast_to(a, shape)[place], np.broadcast_to(b, shape)[place]


def _two_scales(step: Step, params: TwoScalesParams, arrays: Arrays, place: Place) -> _Sum:
    """ADD, SUB and SQUARED_DIFFERENCE: both inputs on one scale. The result is that of the inputs' own scales."""
    codes = _codes_at(arrays, params.output_shapes[0], place)
    scalings = params.input1, params.input2
    v1, v2 = (int(scaled(scaling, np.asarray(code))) for scaling, code in zip(scalings, codes, strict=True))
    r1, r2 = (
        (int(code) - _zero_point(operand)) * Fraction(_scale(operand))
        for code, operand in zip(codes, step.node.inputs, strict=True)
    )
    output_scale = Fraction(_scale(step.node.outputs[0]))
    if step.node.op == "ADD":
        return _Sum(v1 + v2, 0, (r1 + r2) / output_scale)
    if step.node.op == "SUB":
        return _Sum(v1 - v2, 0, (r1 - r2) / output_scale)
    return _Sum((v1 - v2) ** 2, 0, (r1 - r2) ** 2 / output_scale)


def _mul(step: Step, params: ProductParams, arrays: Arrays, place: Place) -> _Sum:
    a, b = _codes_at(arrays, params.output_shapes[0], place)
    total = (int(a) - params.input1_zero_point) * (int(b) - params.input2_zero_point)
    return _product(step, total, 0, (0, 1))


def _requantize(step: Step, params: RequantizeParams, arrays: Arrays, place: Place) -> _Sum:
    (x,) = arrays
    assert x is not None
    steps = int(x[place]) - params.input_zero_point
    scale, output_scale = _scale(step.node.inputs[0]), _scale(step.node.outputs[0])
    return _Sum(steps, 0, steps * Fraction(scale) / Fraction(output_scale), scale / output_scale)


# The params of an operator -> how its accumulator comes about.
FORMULAS: Mapping[type, Formula] = MappingProxyType(
    {
        BatchMatMulParams: _batch_matmul,
        ConvParams: _convolution,
        DepthwiseParams: _depthwise,
        FullyConnectedParams: _fully_connected,
        ProductParams: _mul,
        RequantizeParams: _requantize,
        TransposeConvParams: _transposed_convolution,
        TwoScalesParams: _two_scales,
    }
)
