"""QUANTIZE, DEQUANTIZE, CAST and BITCAST: from one type, or one scale, to another.

Source: tflite/kernels/quantize.cc, dequantize.h, cast.cc, bitcast.cc.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from refquant.arithmetic.affine import Float32, real_by_difference, steps_by_division
from refquant.arithmetic.exact import Narrow
from refquant.arithmetic.fixed_point import Int64
from refquant.arithmetic.requantize import Place, one_a_channel
from refquant.errors import InvalidInput
from refquant.kernels.checks import channel_shape, expect_counts
from refquant.kernels.elementwise import (
    LookupParams,
    code_range,
    finish,
    fixed_point,
    positive_scale,
    table_params,
)
from refquant.kernels.kernel import Node, Operand, Shape
from refquant.kernels.output_stage import OutputStage
from refquant.model.graph import DTYPES, Array

# Input type -> output types that LiteRT 2.3.0 quantizes to.
QUANTIZE_OUTPUTS: Mapping[str, tuple[str, ...]] = {
    "FLOAT32": ("INT8", "UINT8", "INT16"),
    "INT8": ("INT8", "UINT8", "INT16"),
    "UINT8": ("INT8", "UINT8", "INT16"),
    "INT16": ("INT8", "INT16", "INT32"),
    "INT32": ("INT8", "INT16"),
}

BYTES = {"INT8", "UINT8"}

# From so many steps on, or somewhat fewer, a sum of steps and zero point leaves int32.
INT32_LIMIT = 2.0**31 - 2.0**16

# The types between which LiteRT 2.3.0 casts, all to all.
CASTABLE = (
    "INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32", "INT64", "BOOL", "FLOAT16",
    "FLOAT32", "FLOAT64", "COMPLEX64",
)  # fmt: skip


# The types whose bits may stand for one another.
BITS = ("INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32", "INT64", "FLOAT16", "FLOAT32", "FLOAT64")


@dataclass(frozen=True, slots=True)
class AffineParams:
    """Scales and zero points, one or one a channel, shaped to broadcast against the tensor from its last axis."""

    place: str
    scale: Float32
    zero_point: Int64


@dataclass(frozen=True, slots=True)
class QuantizeParams:
    """QUANTIZE from float32. `to_steps`: x, scale and the elements of one run -> whole steps, in float32."""

    affine: AffineParams
    to_steps: Callable[[Float32, Float32, int], Float32]
    output_type: str
    output_shapes: tuple[Shape]


@dataclass(frozen=True, slots=True)
class RequantizeParams:
    """QUANTIZE from codes."""

    input_zero_point: int
    output: OutputStage
    narrow: Narrow
    output_shapes: tuple[Shape]


@dataclass(frozen=True, slots=True)
class DequantizeParams:
    """DEQUANTIZE from integer codes. `to_real`: codes, scale, zero point and the elements of one run -> float32."""

    affine: AffineParams
    to_real: Callable[[Array, Float32, Int64, int], Float32]
    output_shapes: tuple[Shape]


@dataclass(frozen=True, slots=True)
class CastParams:
    """CAST, and DEQUANTIZE from float16."""

    output_type: str
    output_shapes: tuple[Shape]


def _affine(node: Node, operand: Operand) -> AffineParams:
    """The operand's parameters, per tensor or per channel. Errors: InvalidModel."""
    q = operand.quantization
    if q is None or not q.scale:
        raise node.invalid(f"tensor '{operand.name}' needs a scale and a zero point")
    if any(not scale > 0 for scale in q.scale):
        raise node.invalid(f"the scales of '{operand.name}' must be positive")
    shape = channel_shape(node, operand, q)
    zero_points = q.zero_point or (0,)
    return AffineParams(
        node.place,
        np.array(q.scale, np.float32).reshape(shape),
        np.broadcast_to(np.array(zero_points, np.int64), len(q.scale)).reshape(shape),
    )


def quantize_params(node: Node) -> QuantizeParams:
    """Decodes QUANTIZE from float32 to int8, uint8 or int16, per tensor or per channel.

    Errors: InvalidModel. Source: tflite/kernels/quantize.cc, Prepare.
    """
    _expect_quantize(node)
    input, output = node.input(0), node.outputs[0]
    affine = _affine(node, replace(output, shape=input.shape))
    to_steps = node.arithmetic["QUANTIZE.to_steps"] if affine.scale.size == 1 else steps_by_division
    return QuantizeParams(affine, to_steps, output.type, (input.shape,))


def quantize(params: QuantizeParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """clamp(to_steps(x, scale, …) + zero_point): round(x / scale), half away from zero, in the reference kernels.

    arrays: float32 of any shape. Returns int8, uint8 or int16.
    Errors: InvalidInput for a NaN, or a value that lies 2^31 steps or more from 0 (an infinity does): TFLite converts
    it to int32, which is undefined behaviour in C++.
    Source: tflite/kernels/internal/reference/quantize.h, AffineQuantize and PerChannelQuantize.
    """
    (x,) = arrays
    assert x is not None
    with np.errstate(all="ignore"):
        steps = params.to_steps(x, params.affine.scale, math.prod(params.output_shapes[0]))
    if x.size and not (steps.max() < INT32_LIMIT and steps.min() > -INT32_LIMIT):
        what = "NaN" if np.isnan(x).any() else "a value of 2^31 steps of the output scale or more, or an infinity,"
        raise InvalidInput(f"{params.affine.place}: {what} cannot be quantized")
    steps += params.affine.zero_point.astype(np.float32)
    codes = np.clip(steps, *code_range(params.output_type), out=steps)
    return (codes.astype(DTYPES[params.output_type]),)


def requantize_table_params(node: Node) -> LookupParams:
    """The table clamp(requantize(code - zp_in) + zp_out) of QUANTIZE from int8 or uint8, with s_in / s_out in float64.

    Errors: InvalidModel, UnsupportedModel.
    Source: tflite/kernels/quantize.cc, Prepare; internal/reference/requantize.h, Requantize.
    """
    stage, zero_point = _requantizing_stage(node)
    return table_params(node, lambda codes: finish(stage, codes - zero_point))


def requantize_params(node: Node) -> RequantizeParams:
    """Decodes QUANTIZE from codes; the multiplier is s_in / s_out in float64.

    Errors: InvalidModel, UnsupportedModel. Source: tflite/kernels/quantize.cc, Prepare.
    """
    stage, zero_point = _requantizing_stage(node)
    if node.input(0).type == node.outputs[0].type == "INT16" and (zero_point or stage.zero_point):
        raise node.invalid("from INT16 to INT16 both zero points must be 0")
    if stage.requantizer.place is Place.OUTPUT:
        stage = replace(stage, record=one_a_channel(stage.record, math.prod(node.input(0).shape)))
    return RequantizeParams(zero_point, stage, node.narrow, (node.input(0).shape,))


def requantize(params: RequantizeParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """clamp(requantize(input - zp_in) + zp_out). arrays: codes of any type. Returns the output's type.

    Source: tflite/kernels/internal/reference/requantize.h, Requantize.
    """
    (x,) = arrays
    assert x is not None
    return (finish(params.output, params.narrow(x.astype(np.int64) - params.input_zero_point)),)


def _expect_quantize(node: Node) -> None:
    expect_counts(node, 1, 1)
    input, output = node.input(0), node.outputs[0]
    outputs: tuple[str, ...] = node.arithmetic["QUANTIZE.outputs"][input.type]
    if output.type not in outputs:
        raise node.invalid(f"from {input.type} to {' or '.join(outputs)}, not to {output.type}")


def _requantizing_stage(node: Node) -> tuple[OutputStage, int]:
    """(what makes codes of the output out of steps of the input, the input's zero point)."""
    _expect_quantize(node)
    output = node.outputs[0]
    scale, zero_point = positive_scale(node, node.input(0))
    output_scale, output_zero_point = positive_scale(node, output)
    record = fixed_point(node, "input scale / output scale", np.float64(scale) / np.float64(output_scale))
    form = "QUANTIZE.requantizer" if {node.input(0).type, output.type} - BYTES else "QUANTIZE.byte_requantizer"
    requantizer, dtype = node.arithmetic[form], DTYPES[output.type]
    stage = OutputStage(requantizer, record, output_zero_point, *code_range(output.type), dtype, node.narrow)
    return stage, zero_point


def dequantize_params(node: Node) -> DequantizeParams:
    """Decodes DEQUANTIZE from int8 or uint8, per tensor or per channel, or int16 with zero point 0.

    Errors: InvalidModel. Source: tflite/kernels/dequantize.cc, Prepare.
    """
    _expect_dequantize(node)
    input = node.input(0)
    affine = _affine(node, input)
    if input.type == "INT16" and (affine.scale.size > 1 or affine.zero_point.any()):
        raise node.invalid("an INT16 input needs one scale and zero point 0")
    to_real = node.arithmetic["DEQUANTIZE.to_real"] if affine.scale.size == 1 else real_by_difference
    return DequantizeParams(affine, to_real, (input.shape,))


def dequantize(params: DequantizeParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """to_real(input, scale, zero_point, …): scale * (input - zero_point), rounded to float32, in the reference kernels.

    arrays: int8, uint8 or int16. Returns float32.

    Source: tflite/kernels/internal/reference/dequantize.h, Dequantize and PerChannelDequantize.
    """
    (x,) = arrays
    assert x is not None
    affine = params.affine
    return (params.to_real(x, affine.scale, affine.zero_point, math.prod(params.output_shapes[0])),)


def dequantize_half_params(node: Node) -> CastParams:
    """Decodes DEQUANTIZE from float16, which widens exactly. Errors: InvalidModel."""
    _expect_dequantize(node)
    return CastParams("FLOAT32", (node.input(0).shape,))


def _expect_dequantize(node: Node) -> None:
    expect_counts(node, 1, 1)
    if node.outputs[0].type != "FLOAT32":
        raise node.invalid(f"the output must be FLOAT32, not {node.outputs[0].type}")


def cast_params(node: Node) -> CastParams:
    """Decodes CAST. The types are those of the tensors; the op's options are not looked at, as in TFLite.

    Errors: InvalidModel. Source: tflite/kernels/cast.cc, Prepare, EvalImpl.
    """
    expect_counts(node, 1, 1)
    if node.outputs[0].type not in CASTABLE:
        raise node.invalid(f"cannot cast to {node.outputs[0].type}; to one of {', '.join(CASTABLE)}")
    return CastParams(node.outputs[0].type, (node.input(0).shape,))


def cast(params: CastParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """The input in another type. Integers wrap; floats become integers towards zero, saturating, NaN the maximum.

    arrays: one array of a type of CASTABLE. To bool: whether it is not 0. Of a complex number the real part is cast.
    To float16 by way of float32. Source: tflite/kernels/cast.cc, copyCast, copyCastToFloat16.
    """
    (x,) = arrays
    assert x is not None
    dtype = DTYPES[params.output_type]
    if x.dtype.kind == "c" and dtype.kind != "c":
        x = x.real
    with np.errstate(all="ignore"):
        if x.dtype.kind == "f" and dtype.kind in "iu":
            return (_saturated(x, dtype),)
        if params.output_type == "FLOAT16":
            x = x.astype(np.float32)
        return (x.astype(dtype),)


def bitcast_params(node: Node) -> CastParams:
    """Decodes BITCAST: a smaller output type adds a last axis, a larger one takes the last axis away.

    Errors: InvalidModel, UnsupportedModel. Source: tflite/kernels/bitcast.cc, CalculateShape.
    """
    expect_counts(node, 1, 1)
    input, output = node.input(0), node.outputs[0]
    if output.type not in BITS:
        raise node.unsupported(f"an output of {output.type} is not built; built are {', '.join(BITS)}")
    size, output_size = DTYPES[input.type].itemsize, DTYPES[output.type].itemsize
    if size == output_size:
        return CastParams(output.type, (input.shape,))
    if size > output_size:
        return CastParams(output.type, ((*input.shape, size // output_size),))
    if input.shape[-1:] != (output_size // size,):
        raise node.invalid(f"the last axis of {list(input.shape)} must have {output_size // size} elements")
    return CastParams(output.type, (input.shape[:-1],))


def bitcast(params: CastParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """The same bytes as another type, little end first. arrays: one array of a type of BITS.

    Source: tflite/kernels/bitcast.cc, Eval.
    """
    (x,) = arrays
    assert x is not None
    dtype = DTYPES[params.output_type].newbyteorder("<")
    x = np.asarray(x, x.dtype.newbyteorder("<"), order="C")
    if x.dtype.itemsize > dtype.itemsize:
        return (x[..., np.newaxis].view(dtype),)
    return (x.view(dtype)[..., 0] if x.dtype.itemsize < dtype.itemsize else x.view(dtype),)


def _saturated(x: Array, dtype: np.dtype[Any]) -> Array:
    """Floats as integers of `dtype`, towards zero. float64 holds every float that may come, and the type's bounds."""
    info = np.iinfo(dtype)
    x = np.trunc(x.astype(np.float64))
    above, below = ~(x < 2.0 ** (info.bits - (info.min < 0))), x < float(info.min)  # a NaN counts as above
    whole = np.where(above | below, 0, x).astype(dtype)
    return np.where(above, dtype.type(info.max), np.where(below, dtype.type(info.min), whole))
