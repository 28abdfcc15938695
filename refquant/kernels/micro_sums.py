"""ADD_N and CUMSUM on int8 codes, which TensorFlow Lite Micro computes and LiteRT does not.

Both bring the codes to half their scale times 2^20, as ADD does, and begin their sums with the code 0, which is the
value 0 only where the zero point is 0.
Source: tensorflow/tflite-micro, tensorflow/lite/micro/kernels/add_n.cc, cumsum.cc; kernels/internal/reference/add_n.h,
cumsum.h.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from refquant.arithmetic.fixed_point import Int64
from refquant.kernels import generation
from refquant.kernels.binary import (
    ADD_LEFT_SHIFTS,
    InputScaling,
    add_n_params,
    expect_below_one,
    input_scaling,
    scaled,
)
from refquant.kernels.elementwise import finish, fused_stage, positive_scale
from refquant.kernels.index_operands import present
from refquant.kernels.kernel import Node, Shape
from refquant.kernels.output_stage import OutputStage
from refquant.model.graph import Array


@dataclass(frozen=True, slots=True)
class AddNParams:
    """ADD_N on int8, of inputs of one scale and zero point."""

    input: InputScaling
    output: OutputStage
    output_shapes: tuple[Shape]


@dataclass(frozen=True, slots=True)
class CumsumParams:
    """CUMSUM on int8."""

    order: generation.CumsumParams
    input: InputScaling
    output: OutputStage

    @property
    def output_shapes(self) -> tuple[Shape]:
        """The shape of the output."""
        return self.order.output_shapes


def add_n_of_codes_params(node: Node) -> AddNParams:
    """Decodes ADD_N on int8: inputs of one scale and zero point. Errors: InvalidModel, UnsupportedModel.

    Source: add_n.cc, CalculateOpData.
    """
    (shape,) = add_n_params(node).output_shapes
    for operand in node.inputs:
        if operand is not None and positive_scale(node, operand) != positive_scale(node, node.input(0)):
            raise node.invalid(f"'{operand.name}' must have the scale and the zero point of '{node.input(0).name}'")
    return AddNParams(*_stages(node), (shape,))


def cumsum_of_codes_params(node: Node) -> CumsumParams:
    """Decodes CUMSUM on int8. Errors: InvalidModel, UnsupportedModel. Source: cumsum.cc, CalculateOpData."""
    return CumsumParams(generation.cumsum_params(node), *_stages(node))


def _stages(node: Node) -> tuple[InputScaling, OutputStage]:
    """(how a code becomes a summand, how a sum becomes a code)."""
    (scale, _), (output_scale, _) = positive_scale(node, node.input(0)), positive_scale(node, node.outputs[0])
    left_shift = ADD_LEFT_SHIFTS["INT8"]
    real = 2 * np.float64(scale) / (2.0**left_shift * np.float64(output_scale))
    expect_below_one(node, "the output multiplier", real)
    scaling = input_scaling(node, node.input(0), np.float64(0.5), left_shift)
    return scaling, fused_stage(node, "the output multiplier", real)


def add_n_of_codes(params: AddNParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """clamp(requantize(v(0) + v(input0) + v(input1) + ...) + zero_point), v(code) = requantize((code - zp) * 2^20).

    arrays: two or more int8 arrays. Source: reference/add_n.h, AddN.
    """
    total = _of_code_0(params.input)
    for array in arrays:
        total = params.output.narrow(total + scaled(params.input, np.asarray(array)))
    return (finish(params.output, total),)


def cumsum_of_codes(params: CumsumParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """clamp(requantize(v(0) + the sums of v(input) along the axis) + zero_point), v as in ADD_N, sums as in CUMSUM.

    arrays: input int8, axis None. Source: reference/cumsum.h, CumSum.
    """
    (sums,) = generation.cumsum(params.order, (scaled(params.input, present(arrays)), None))
    return (finish(params.output, params.output.narrow(sums + _of_code_0(params.input))),)


def _of_code_0(scaling: InputScaling) -> Int64:
    return np.asarray(scaled(scaling, np.zeros(1, np.int8))[0])
