"""L2_NORMALIZATION and LOCAL_RESPONSE_NORMALIZATION over the last axis.

Source: tflite/kernels/l2norm.cc; internal/reference/l2normalization.h and integer_ops/l2normalization.h;
local_response_norm.cc.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from refquant.arithmetic.exact import Narrow
from refquant.arithmetic.inverse import inverse_sqrt_multiplier
from refquant.arithmetic.multiplier import multiply_by_quantized_multiplier
from refquant.arithmetic.power import pow_as_float32
from refquant.kernels.checks import expect_counts, expect_same_type, legacy_parameters
from refquant.kernels.elementwise import in_pieces
from refquant.kernels.kernel import Node, Shape
from refquant.kernels.rows import in_row_blocks
from refquant.model.graph import DTYPES, Array

OUTPUT_SCALE_BITS = 7  # the output is in steps of 1/128
EPSILON = np.float32(1e-6)  # the least norm that float32 divides by

# (zero point that Prepare demands of the output, steps by which the kernel multiplies before the multiplier is applied,
# left shift that it adds to the multiplier): the two integer kernels scale by 128 in different places.
_OUTPUT_RULES = {"INT8": (0, 1, OUTPUT_SCALE_BITS), "UINT8": (128, 1 << OUTPUT_SCALE_BITS, 0)}


@dataclass(frozen=True, slots=True)
class L2NormalizationParams:
    """L2_NORMALIZATION on int8 or uint8."""

    input_zero_point: int
    output_zero_point: int
    premultiply: int
    left_shift: int
    output_type: str
    narrow: Narrow
    output_shapes: tuple[Shape]


@dataclass(frozen=True, slots=True)
class FloatL2NormalizationParams:
    """L2_NORMALIZATION on float32."""

    output_shapes: tuple[Shape]


def _expect_l2_normalization(node: Node) -> None:
    expect_counts(node, 1, 1)
    expect_same_type(node, node.input(0), node.outputs[0])
    if not node.input(0).shape:
        raise node.invalid("the input is a scalar; it needs a last axis to normalize over")
    activation = node.options.get("fused_activation_function", "NONE")
    if activation != "NONE":
        raise node.invalid(f"takes no fused activation, but has {activation}")


def l2_normalization_params(node: Node) -> L2NormalizationParams:
    """Decodes L2_NORMALIZATION on int8 or uint8. The output must have scale 1/128 and zero point 0 (uint8: 128).

    Errors: InvalidModel. Source: tflite/kernels/l2norm.cc, Prepare.
    """
    _expect_l2_normalization(node)
    input, output = node.input(0), node.outputs[0]
    zero_point_rule, premultiply, left_shift = _OUTPUT_RULES[output.type]
    scale, zero_point = node.scale_and_zero_point(output)
    if scale != 1 / 128 or zero_point != zero_point_rule:
        raise node.invalid(
            f"the output needs scale 1/128 and zero point {zero_point_rule}, not {scale!r} and {zero_point}"
        )
    _, input_zero_point = legacy_parameters(input)
    return L2NormalizationParams(
        input_zero_point, zero_point, premultiply, left_shift, output.type, node.narrow, (input.shape,)
    )


def float_l2_normalization_params(node: Node) -> FloatL2NormalizationParams:
    """Decodes L2_NORMALIZATION on float32. Errors: InvalidModel."""
    _expect_l2_normalization(node)
    return FloatL2NormalizationParams((node.input(0).shape,))


def l2_normalization(params: L2NormalizationParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """128 * v / sqrt(sum of v^2) with v = input - zero_point, the square root inverted in fixed point.

    arrays: input int8 or uint8 (..., depth). Returns the same type and shape. A row of zeros stays zero.
    Source: tflite/kernels/internal/reference/integer_ops/l2normalization.h, L2Normalization.
    """
    info = np.iinfo(DTYPES[params.output_type])

    def rows(x: Array) -> Array:
        v = x.astype(np.int64) - params.input_zero_point
        multiplier, shift = inverse_sqrt_multiplier(params.narrow((v * v).sum(axis=-1, keepdims=True)))
        scaled = multiply_by_quantized_multiplier(v * params.premultiply, multiplier, shift + params.left_shift)
        return np.clip(scaled + params.output_zero_point, info.min, info.max)

    x = arrays[0]
    assert x is not None
    return (in_row_blocks(x, 1, np.empty(x.shape, info.dtype), rows),)


def float_l2_normalization(params: FloatL2NormalizationParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """input / max(sqrt(sum of input^2), 1e-6), every operation in float32, the sum in order.

    arrays: input float32 (..., depth). Source: tflite/kernels/internal/reference/l2normalization.h, L2Normalization.
    """

    def rows(x: Array) -> Array:
        norm = np.sqrt(np.cumsum(x * x, axis=-1, dtype=np.float32)[..., -1:])
        return np.asarray(x / np.where(norm < EPSILON, EPSILON, norm))  # as std::max: a NaN norm stays NaN

    x = arrays[0]
    assert x is not None
    with np.errstate(all="ignore"):
        return (in_row_blocks(x, 1, np.empty(x.shape, np.float32), rows),)


# LOCAL_RESPONSE_NORMALIZATION


@dataclass(frozen=True, slots=True)
class LocalResponseParams:
    """`radius`: channels on either side, of which the last one above is left out."""

    radius: int
    bias: float
    alpha: float
    beta: float
    output_shapes: tuple[Shape]


def local_response_params(node: Node) -> LocalResponseParams:
    """Decodes LOCAL_RESPONSE_NORMALIZATION on float32 of rank 4. Errors: InvalidModel.

    Source: tflite/kernels/local_response_norm.cc, Prepare.
    """
    expect_counts(node, 1, 1)
    input = node.input(0)
    expect_same_type(node, input, node.outputs[0])
    if len(input.shape) != 4:
        raise node.invalid(f"input '{input.name}' has shape {list(input.shape)}; it must have 4 dimensions")
    bias, alpha, beta = (float(np.float32(node.options.get(name, 0.0))) for name in ("bias", "alpha", "beta"))
    return LocalResponseParams(int(node.options.get("radius", 0)), bias, alpha, beta, (input.shape,))


def local_response_in_order_params(node: Node) -> LocalResponseParams:
    """As local_response_params. UnsupportedModel for a radius below 0, with which the kernel writes beyond its sums."""
    params = local_response_params(node)
    if params.radius < 0:
        raise node.unsupported(f"the radius is {params.radius}; what TFLite's optimized kernel does then is undefined")
    return replace(params, radius=min(params.radius, node.input(0).shape[-1]))  # beyond that there are zeros only


def local_response_normalization(params: LocalResponseParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """input[c] * (bias + alpha * sum of input^2)^-beta, over channels c - radius to c + radius - 1, in that order.

    The sum is float32, the power and what is under it float64. arrays: input float32 (..., channels).
    Source: tflite/kernels/internal/reference/reference_ops.h, LocalResponseNormalization.
    """
    x = arrays[0]
    assert x is not None
    channels = x.shape[-1]
    with np.errstate(all="ignore"):
        square, total = x * x, np.zeros_like(x)
        for offset in range(max(-params.radius, 1 - channels), min(params.radius, channels)):
            first, last = max(0, -offset), min(channels, channels - offset)
            total[..., first:last] += square[..., first + offset : last + offset]
        base = params.bias + params.alpha * total.astype(np.float64)
        return (x * in_pieces(lambda part: pow_as_float32(part, -params.beta), base),)


def local_response_normalization_in_order(
    params: LocalResponseParams, arrays: Sequence[Array | None]
) -> tuple[Array, ...]:
    """input[c] * (bias + sum of alpha * input^2)^-beta, over channels c - radius to c + radius; all of it float32.

    The sum moves along the channels: what comes is added, what goes is taken off. Powers 1 and 1/2 are a division and a
    root. arrays: input float32 (..., channels).
    Source: tflite/kernels/internal/optimized/optimized_ops.h, LocalResponseNormalization.
    """
    x = arrays[0]
    assert x is not None
    channels, window = x.shape[-1], 2 * params.radius
    with np.errstate(all="ignore"):
        squares = np.zeros((*x.shape[:-1], channels + window), np.float32)
        squares[..., params.radius : params.radius + channels] = x * x * np.float32(params.alpha)
        base, total = np.empty_like(x), np.zeros(x.shape[:-1], np.float32)
        for come in range(channels + window):
            total = total + squares[..., come]
            if come >= window:
                base[..., come - window] = np.float32(params.bias) + total
                total = total - squares[..., come - window]
        if params.beta == 1:
            return (x * (np.float32(1) / base),)
        if params.beta == 0.5:
            return (x * (np.float32(1) / np.sqrt(base)),)
        powers = in_pieces(lambda part: pow_as_float32(part, -params.beta), base.astype(np.float64))
        return (x * powers,)
