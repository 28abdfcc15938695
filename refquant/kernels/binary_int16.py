"""Elementwise ops of two int16 inputs, where they differ from those of 8-bit codes: ADD, SUB, MUL, EQUAL, NOT_EQUAL.

Zero points are 0. ADD, MUL and EQUAL take tensors without scales too, as plain integers; ADD and SUB have a form for
scales that are powers of two. (The order comparisons compare the codes of int16, whatever the scales.)
Source: tflite/kernels/add.cc, sub.cc, mul.cc, comparisons.cc.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from refquant.arithmetic.fixed_point import rounding_divide_by_pot_int16
from refquant.arithmetic.power_of_two import exact_log2
from refquant.kernels import binary
from refquant.kernels.activation import fused_range
from refquant.kernels.checks import expect_same_type, is_quantized
from refquant.kernels.elementwise import by_pairs, expect_binary, positive_scale
from refquant.kernels.index_operands import expect_zero_zero_point
from refquant.kernels.kernel import Node, Shape
from refquant.model.graph import Array


@dataclass(frozen=True, slots=True)
class PowersOfTwoParams:
    """ADD, SUB with scales that are powers of two: right shifts of the inputs, at least one of them 0."""

    shift1: int
    shift2: int
    sign: int  # of the second input
    low: int
    high: int
    output_shapes: tuple[Shape]
    pairs: Array | None = None


SumParams = binary.TwoScalesParams | PowersOfTwoParams | binary.PlainParams


def add_params(node: Node) -> SumParams:
    """Decodes ADD or SUB on int16; ADD of tensors without scales is plain.

    With option pot_scale_int16 (set unless the file says otherwise) and three scales that are powers of two, codes are
    only shifted. Errors: InvalidModel; UnsupportedModel for what TFLite's kernel does not define.
    Source: tflite/kernels/add.cc, Prepare; sub.cc, Prepare.
    """
    operands = node.input(0), node.input(1), node.outputs[0]
    if node.op == "ADD" and not any(map(is_quantized, operands)):
        return binary.plain_params(node)
    for operand in operands:
        expect_zero_zero_point(node, operand)
    powers = [exact_log2(positive_scale(node, operand)[0]) for operand in operands]
    if not node.options.get("pot_scale_int16", True) or None in powers:
        return binary.add_params(node)
    return _powers_of_two_params(node, [power for power in powers if power is not None])


def _powers_of_two_params(node: Node, powers: Sequence[int]) -> PowersOfTwoParams:
    """powers: log2 of the scales of both inputs and the output."""
    a, b, shape = expect_binary(node)
    expect_same_type(node, a, node.outputs[0])
    shifts = powers[2] - powers[0], powers[2] - powers[1]
    if min(shifts) != 0:
        raise node.invalid(
            f"the inputs' scales are 2^{powers[0]} and 2^{powers[1]}, the output's is 2^{powers[2]}: with "
            "pot_scale_int16 one input must have the output's scale and the other no larger one"
        )
    if node.op == "ADD" and a.shape != b.shape:
        raise node.unsupported(
            f"{list(a.shape)} and {list(b.shape)} with pot_scale_int16: TFLite's kernel then does not broadcast, and "
            "ends the process. Set pot_scale_int16 to false"
        )
    if max(shifts) > 31:
        raise node.unsupported(f"an input would be shifted by {max(shifts)} bits: undefined behaviour in TFLite")
    return PowersOfTwoParams(*shifts, 1 if node.op == "ADD" else -1, *fused_range(node), (shape,))


def add(params: SumParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """clamp(v1 + v2), v_i = input_i / 2^shift_i, half-way values away from zero; or as `binary.add`, `binary.plain`.

    arrays: two int16 arrays. Source: tflite/kernels/internal/reference/add.h, Add, AddGeneralParamScale.
    """
    if isinstance(params, binary.PlainParams):
        return binary.plain(params, arrays)
    if isinstance(params, binary.TwoScalesParams):
        return binary.add(params, arrays)
    return by_pairs(_shifted_sum, params, arrays)


def sub(params: SumParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """clamp(v1 - v2), v_i as in `add`; or as `binary.sub`. arrays: two int16 arrays.

    Source: tflite/kernels/internal/reference/sub.h, Sub16, BroadcastSub16POTSlow, SubElementwise.
    """
    return binary.sub(params, arrays) if isinstance(params, binary.TwoScalesParams) else add(params, arrays)


def _shifted_sum(params: PowersOfTwoParams, a: Array, b: Array) -> Array:
    v1 = rounding_divide_by_pot_int16(a, params.shift1)
    v2 = rounding_divide_by_pot_int16(b, params.shift2)
    return np.asarray(np.clip(v1 + params.sign * v2, params.low, params.high).astype(np.int16))


def mul_params(node: Node) -> binary.ProductParams | binary.PlainParams:
    """Decodes MUL on int16. Errors: InvalidModel, UnsupportedModel. Source: tflite/kernels/mul.cc, Prepare."""
    operands = node.input(0), node.input(1), node.outputs[0]
    if not any(map(is_quantized, operands)):
        return binary.plain_params(node)
    for operand in operands:
        expect_zero_zero_point(node, operand)
    return binary.mul_params(node)


def mul(params: binary.ProductParams | binary.PlainParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """As `binary.mul`; without scales `binary.plain`. arrays: two int16 arrays."""
    if isinstance(params, binary.PlainParams):
        return binary.plain(params, arrays)
    return binary.mul(params, arrays)


def equality_params(node: Node) -> binary.ComparisonParams | binary.PlainParams:
    """Decodes EQUAL or NOT_EQUAL on int16. Errors: InvalidModel, UnsupportedModel.

    Source: tflite/kernels/comparisons.cc, EqualEval, NotEqualEval.
    """
    if is_quantized(node.input(0)):
        return binary.comparison_params(node)
    if node.op == "NOT_EQUAL":
        raise node.unsupported("of int16 tensors without scales: TFLite's kernel does not write the result")
    return binary.plain_comparison_params(node)


def equality(params: binary.ComparisonParams | binary.PlainParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """As `binary.comparison`; without scales `binary.plain`. arrays: two int16 arrays. Returns bool."""
    if isinstance(params, binary.PlainParams):
        return binary.plain(params, arrays)
    return binary.comparison(params, arrays)
