"""What TensorFlow Lite Micro computes otherwise than LiteRT in elementwise ops, conversions and movement.

Source: tensorflow/tflite-micro, tensorflow/lite/micro/kernels/.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from refquant.arithmetic.fixed_point import Int64, logistic, rounding_divide_by_pot, tanh
from refquant.arithmetic.multiplier import multiply_by_quantized_multiplier, quantize_multiplier, round_half_away
from refquant.kernels import block_movement, conversion, indexing, normalization, padding_ops
from refquant.kernels.checks import legacy_parameters
from refquant.kernels.elementwise import LookupParams, code_range, expect_unary, positive_scale, table_params
from refquant.kernels.kernel import Node, Operand
from refquant.model.graph import DTYPES, Array, Quantization

INTEGER_BITS = 4  # of LOGISTIC's and TANH's input: Q4.27
LOGISTIC_FRACTION_BITS = 8
TANH_FRACTION_BITS = 7


def relu6_params(node: Node) -> LookupParams:
    """The table clamp(code, zp_in, zp_in + round(6 / s_in)) of RELU6 on int8 or int16; the output's scale is not read.

    Errors: InvalidModel. Source: activations_common.cc, Relu6Prepare, Relu6Quantized.
    """
    expect_unary(node)
    scale, zero_point = positive_scale(node, node.input(0))
    least, largest = code_range(node.input(0).type)
    with np.errstate(over="ignore"):
        six = min(largest, zero_point + int(min(float(round_half_away(np.float32(6) / scale)), 2.0**24)))
    return table_params(node, lambda codes: np.minimum(np.maximum(codes, zero_point), max(six, least)))


def logistic_params(node: Node) -> LookupParams:
    """The table of LOGISTIC on int8 in fixed point: 2^8 * logistic(s_in * (code - zp_in)) - 128.

    The output's scale is not read; its zero point must be -128. Errors: InvalidModel, UnsupportedModel.
    Source: logistic_common.cc, CalculateArithmeticOpDataLogistic; reference/integer_ops/logistic.h, Logistic.
    """
    _, zero_point = node.scale_and_zero_point(node.outputs[0])
    if zero_point != -128:
        raise node.invalid(f"the output's zero point must be -128, not {zero_point}")
    return _fixed_point_params(node, lambda x: logistic(x, INTEGER_BITS), LOGISTIC_FRACTION_BITS, -128)


def tanh_params(node: Node) -> LookupParams:
    """The table of TANH on int8 in fixed point: 2^7 * tanh(s_in * (code - zp_in)).

    The output's scale and zero point are not read. Errors: InvalidModel, UnsupportedModel.
    Source: tanh.cc, CalculateArithmeticOpData; reference/integer_ops/tanh.h, Tanh.
    """
    return _fixed_point_params(node, lambda x: tanh(x, INTEGER_BITS), TANH_FRACTION_BITS, 0)


def _fixed_point_params(
    node: Node, function: Callable[[Int64], Int64], fraction_bits: int, zero_point: int
) -> LookupParams:
    """The table of a function from Q4.27 to Q0.31; codes that leave Q4.27 saturate."""
    expect_unary(node)
    scale, input_zero_point = positive_scale(node, node.input(0))
    record = quantize_multiplier(float(scale) * 2.0 ** (31 - INTEGER_BITS))
    left_shift = int(record.shift[0])
    if left_shift < 0:
        raise node.unsupported(f"the input scale {float(scale)!r} is too small: undefined behaviour in the kernel")
    radius = math.floor(((1 << INTEGER_BITS) - 1) * 2.0 ** (31 - INTEGER_BITS - left_shift))
    least, largest = code_range("INT8")

    def table(codes: Int64) -> Int64:
        steps = codes - input_zero_point
        inside = np.clip(steps, -max(radius - 1, 0), max(radius - 1, 0))
        result = function(multiply_by_quantized_multiplier(inside, record.multiplier, record.shift))
        rounded = rounding_divide_by_pot(result, 31 - fraction_bits) + zero_point
        saturated = np.where(steps <= -radius, least, largest)
        return np.where(np.abs(steps) < radius, np.clip(rounded, least, largest), saturated)

    return table_params(node, table)


def _with_first_scale(operand: Operand) -> Operand:
    """The operand with the first of its scales and zero points alone."""
    q = operand.quantization
    if q is None or len(q.scale) < 2:
        return operand
    return replace(operand, quantization=Quantization(q.scale[:1], q.zero_point[:1]))


def dequantize_params(node: Node) -> conversion.DequantizeParams:
    """As conversion.dequantize_params, with the first scale and zero point for all channels.

    Source: dequantize_common.cc, DequantizePrepare.
    """
    return conversion.dequantize_params(replace(node, inputs=(_with_first_scale(node.input(0)), *node.inputs[1:])))


def embedding_lookup_params(node: Node) -> indexing.EmbeddingLookupParams:
    """As indexing.embedding_lookup_params, with the first scale for all rows. Source: embedding_lookup.cc."""
    return indexing.embedding_lookup_params(
        replace(node, inputs=(node.input(0), _with_first_scale(node.input(1)), *node.inputs[2:]))
    )


def l2_normalization_params(node: Node) -> normalization.L2NormalizationParams:
    """As normalization.l2_normalization_params, whatever the output's scale and zero point. Source: l2norm.cc."""
    output = replace(node.outputs[0], quantization=Quantization((1 / 128,), (0,)))
    return normalization.l2_normalization_params(replace(node, outputs=(output, *node.outputs[1:])))


def cast(params: conversion.CastParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """As conversion.cast, but a NaN becomes the integer 0. Source: cast.cc, copyCast."""
    (x,) = arrays
    assert x is not None
    if DTYPES[params.output_type].kind in "iu":
        x = np.where(np.isnan(x), x.dtype.type(0), x)
    return conversion.cast(params, (x,))


def pad_params(node: Node) -> padding_ops.PadParams:
    """As padding_ops.pad_params; without a value, int8 is filled with the output's zero point, int16 with 0.

    Source: pad.cc, PadEval.
    """
    params = padding_ops.pad_params(node)
    if node.optional(2) is not None or node.input(0).type not in ("INT8", "INT16"):
        return params
    zero_point = legacy_parameters(node.outputs[0])[1] if node.input(0).type == "INT8" else 0
    return replace(params, value=np.array(zero_point, params.value.dtype))


def space_to_batch_params(node: Node) -> block_movement.BatchParams:
    """As block_movement.space_to_batch_params, but int8 is filled with the code 0.

    The kernel never sets the value that it fills with; it finds 0 in fresh memory. Source: space_to_batch_nd.cc.
    """
    return replace(block_movement.space_to_batch_params(node), pad_value=0)
