"""QUANTIZE, DEQUANTIZE and CAST: from one type, or one scale, to another.

Source: tflite/kernels/quantize.cc, dequantize.h, cast.cc.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from refquant.arithmetic.affine import Float32
from refquant.arithmetic.exact import Narrow
from refquant.arithmetic.fixed_point import Int64
from refquant.arithmetic.multiplier import quantize_multiplier
from refquant.errors import InvalidInput
from refquant.kernels.checks import expect_counts
from refquant.kernels.elementwise import (
    LookupParams,
    code_range,
    finish,
    fixed_point,
    look_up,
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

# The types between which LiteRT 2.3.0 casts, all to all.
CASTABLE = (
    "INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32", "INT64", "BOOL", "FLOAT16", "FLOAT32", "FLOAT64", "COMPLEX64",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class AffineParams:
    """Scales and zero points, one or one a channel, shaped to broadcast against the tensor from its last axis."""

    place: str
    scale: Float32
    zero_point: Int64


@dataclass(frozen=True, slots=True)
class QuantizeParams:
    """QUANTIZE from float32. `to_steps`: x and scale -> whole steps, in float32."""

    affine: AffineParams
    to_steps: Callable[[Float32, Float32], Float32]
    output_type: str
    output_shapes: tuple[Shape]


@dataclass(frozen=True, slots=True)
class RequantizeParams:
    """QUANTIZE from int16 or int32 codes."""

    input_zero_point: int
    output: OutputStage
    narrow: Narrow
    output_shapes: tuple[Shape]


@dataclass(frozen=True, slots=True)
class DequantizeParams:
    """DEQUANTIZE from integer codes."""

    affine: AffineParams
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
    shape = (len(q.scale), *(1,) * (len(operand.shape) - q.quantized_dimension - 1)) if len(q.scale) > 1 else ()
    zero_points = q.zero_point or (0,)
    return AffineParams(
        node.place,
        np.array(q.scale, np.float32).reshape(shape),
        np.broadcast_to(np.array(zero_points, np.int64), len(q.scale)).reshape(shape),
    )
