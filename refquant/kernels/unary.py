"""Elementwise ops of one input whose int8 form is computed in integers: the RELUs, LEAKY_RELU, PRELU, HARD_SWISH, ABS,
RSQRT, SQRT, NEG; and the float32 form of every op of one input.

On codes of 8 or 16 bits all but PRELU are tables of all codes, computed here by the kernel's own arithmetic.
Source: tflite/kernels/activations.cc, elementwise.cc, neg.cc, exp.cc, floor.cc.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from refquant.arithmetic import eigen_functions
from refquant.arithmetic.fixed_point import (
    Int64,
    rounding_divide_by_pot_int16,
    saturate,
    saturating_rounding_doubling_high_mul,
)
from refquant.arithmetic.float_functions import rsqrtf, sqrtf
from refquant.arithmetic.inverse import inverse_sqrt_multiplier
from refquant.arithmetic.multiplier import (
    Multiplier,
    check_shift,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    round_half_away,
)
from refquant.arithmetic.requantize import Record, Requantizer
from refquant.kernels.checks import expect_counts, expect_same_type, is_quantized
from refquant.kernels.elementwise import (
    LookupParams,
    ShapeParams,
    broadcast_shape,
    by_pairs,
    clamp_in_place,
    code_range,
    expect_unary,
    fixed_point,
    in_pieces,
    positive_scale,
    scale_product,
    scale_ratio,
    table_params,
    with_pairs,
)
from refquant.kernels.index_operands import expect_zero_zero_point
from refquant.kernels.kernel import Node, Shape
from refquant.model.graph import DTYPES, Array

# The real bounds of the RELU ops; None: the bound of the type.
RELU_RANGES: Mapping[str, tuple[float | None, float | None]] = {
    "RELU": (0.0, None),
    "RELU6": (0.0, 6.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
    "RELU_0_TO_1": (0.0, 1.0),
}

RSQRT_LEFT_SHIFT = 20
MOST_FAKE_BITS = 16  # TFLite holds the zero point in a uint16


def _requantized(node: Node, steps: Int64, record: Record) -> Int64:
    requantizer: Requantizer = node.arithmetic[f"{node.op}.requantizer"]
    return requantizer.apply(steps, record)


def _scales(node: Node) -> tuple[np.float32, int, np.float32, int]:
    """(input scale, its zero point, output scale, its zero point); of int16 tensors the zero points must be 0."""
    expect_zero_zero_point(node, node.input(0))
    expect_zero_zero_point(node, node.outputs[0])
    return (*positive_scale(node, node.input(0)), *positive_scale(node, node.outputs[0]))


def relu_params(node: Node) -> LookupParams:
    """The table clamp(requantize(code - zp_in) + zp_out, lo, hi) of a RELU op on int8 or uint8; RELU, RELU6: or int16.

    The multiplier is scale_ratio's s_in / s_out, and a bound zp_out + round(bound / s_out), divided in float32.
    Errors: InvalidModel, UnsupportedModel.
    Source: tflite/kernels/activations.cc, ReluPrepare and QuantizedReluX; internal/reference/reference_ops.h, ReluX.
    """
    expect_unary(node)
    scale, zero_point, output_scale, output_zero_point = _scales(node)
    record = fixed_point(node, "input scale / output scale", scale_ratio(node, scale, over=output_scale))
    least, largest = code_range(node.outputs[0].type)
    low, high = RELU_RANGES[node.op]
    lo = least if low is None else max(least, output_zero_point + _steps(node, low, output_scale))
    hi = largest if high is None else min(largest, output_zero_point + _steps(node, high, output_scale))

    def table(codes: Int64) -> Int64:
        return np.minimum(np.maximum(_requantized(node, codes - zero_point, record) + output_zero_point, lo), hi)

    return table_params(node, table)


def _steps(node: Node, real: float, scale: np.float32) -> int:
    with np.errstate(over="ignore"):
        steps = float(round_half_away(np.float32(real) / scale))
    if not abs(steps) < 2**31 - 256:
        raise node.unsupported(f"the bound {real} does not fit int32 at the output scale {float(scale)!r}")
    return int(steps)


def leaky_relu_params(node: Node) -> LookupParams:
    """The table clamp(requantize(v) + zp_out), v = code - zp_in, with s_in * alpha / s_out as the multiplier for v < 0.

    The other multiplier is s_in / s_out; both are scale_ratio's. A negative alpha negates what its magnitude gives; on
    the types of the runtime's value "LEAKY_RELU.negating_first" it negates v. Half-way values tell the two apart.
    Errors: InvalidModel, UnsupportedModel.
    Source: tflite/kernels/activations.cc, LeakyReluPrepare; internal/reference/leaky_relu.h, QuantizeLeakyRelu.
    """
    expect_unary(node)
    scale, zero_point, output_scale, output_zero_point = _scales(node)
    alpha = np.float32(node.options.get("alpha", 0.0))
    identity = fixed_point(node, "input scale / output scale", scale_ratio(node, scale, over=output_scale))
    real_alpha = scale_ratio(node, scale, alpha, over=output_scale)
    negative = fixed_point(node, "|input scale * alpha / output scale|", np.abs(real_alpha))
    sign = -1 if real_alpha < 0 else 1
    first = sign if node.input(0).type in node.arithmetic["LEAKY_RELU.negating_first"] else 1

    def table(codes: Int64) -> Int64:
        v = codes - zero_point
        scaled = np.where(
            v >= 0, _requantized(node, v, identity), first * sign * _requantized(node, first * v, negative)
        )
        return np.asarray(np.clip(scaled + output_zero_point, *code_range(node.outputs[0].type)))

    return table_params(node, table)


def hard_swish_params(node: Node) -> LookupParams:
    """The table of x * relu6(x + 3) / 6 on int8 or uint8, in 16-bit fixed point.

    Errors: InvalidModel, UnsupportedModel.
    Source: tflite/kernels/activations.cc, HardSwishPrepare; internal/reference/hard_swish.h, HardSwish.
    """
    expect_unary(node)
    scale, zero_point, output_scale, output_zero_point = _scales(node)
    ratio = scale_ratio(node, np.float32(1 / 128), scale, over=output_scale)
    multiplier, exponent = _multiplier_16(node, ratio)
    reluish_ratio = scale_ratio(node, np.float32(1 / 128), scale, over=np.float32(3 / 32768))
    reluish_multiplier, reluish_exponent = _multiplier_16(node, reluish_ratio)
    if exponent > 0:
        raise node.invalid(f"input scale / 128 / output scale is {float(ratio)!r} and must be below 1")

    def table(codes: Int64) -> Int64:
        hires = (codes - zero_point) << 7
        preshift = saturating_rounding_doubling_high_mul(hires, multiplier, 16)
        reluish = hires if reluish_exponent <= 0 else saturate(hires << (reluish_exponent - 1), 16)
        reluish = saturating_rounding_doubling_high_mul(reluish, reluish_multiplier, 16)
        reluish = (
            saturate(reluish << 1, 16)
            if reluish_exponent > 0
            else rounding_divide_by_pot_int16(reluish, -reluish_exponent)
        )
        reluish = (reluish + (1 << 15)) >> 1
        product = reluish * preshift
        output = (np.abs(product) >> 15) * np.sign(product)  # truncated towards 0, against the bias of the roundings
        output = _wrap_16(rounding_divide_by_pot_int16(output, -exponent) + output_zero_point)
        return np.asarray(np.clip(output, *code_range(node.outputs[0].type)))

    return table_params(node, table)


def _multiplier_16(node: Node, real: np.floating[Any]) -> tuple[int, int]:
    """(multiplier with 15 bits after the point, shift).

    Source: tflite/kernels/internal/common.h, DownScaleInt32ToInt16Multiplier.
    """
    if not np.isfinite(real):
        raise node.unsupported("the ratio of input scale and output scale is not finite")
    record = check_shift(quantize_multiplier(np.float64(real)), node.place)
    return min((int(record.multiplier[0]) + (1 << 15)) >> 16, 2**15 - 1), int(record.shift[0])


def _wrap_16(x: Int64) -> Int64:
    return x.astype(np.int16).astype(np.int64)


def abs_params(node: Node) -> LookupParams:
    """The table clamp(requantize(|code - zp_in|) + zp_out) of ABS on int8 or int16, with scale_ratio's s_in / s_out.

    An int16 input may do without quantization; then the magnitude of -32768 wraps.
    Errors: InvalidModel, UnsupportedModel. Source: tflite/kernels/elementwise.cc, GenericPrepare, AbsEvalQuantized.
    """
    input = expect_unary(node)
    if input.type == "INT16" and not is_quantized(input):
        return table_params(node, np.abs)
    scale, zero_point, output_scale, output_zero_point = _scales(node)
    record = fixed_point(node, "input scale / output scale", scale_ratio(node, scale, over=output_scale))

    def table(codes: Int64) -> Int64:
        scaled = _requantized(node, np.abs(codes - zero_point), record)
        return np.asarray(np.clip(scaled + output_zero_point, *code_range(node.outputs[0].type)))

    return table_params(node, table)


def rsqrt_params(node: Node) -> LookupParams:
    """The table of RSQRT on int8 or int16: 1/sqrt(code - zp_in) in Q20, times 1 / (sqrt(s_in) * s_out).

    The maximum for 0. sqrt(s_in) * s_out is formed in the runtime's "scales.type", its reciprocal in float64. A run
    refuses codes below the zero point.
    Errors: InvalidModel, UnsupportedModel. Source: tflite/kernels/elementwise.cc, RsqrtEvalQuantizedInt8.
    """
    expect_unary(node)
    scale, zero_point, output_scale, output_zero_point = _scales(node)
    least, largest = code_range(node.input(0).type)
    with np.errstate(all="ignore"):
        real = 1.0 / np.float64(np.sqrt(scale_product(node, scale)) * scale_product(node, output_scale))
    if not np.isfinite(real):
        raise node.unsupported("1 / (sqrt(input scale) * output scale) is not finite")
    unshifted = quantize_multiplier(real)
    record = check_shift(Multiplier(unshifted.multiplier, unshifted.shift - np.int32(RSQRT_LEFT_SHIFT)), node.place)

    def table(codes: Int64) -> Int64:
        v = np.maximum(codes - zero_point, 0)
        inverse, shift = inverse_sqrt_multiplier(v)
        data = multiply_by_quantized_multiplier(1, inverse, shift + RSQRT_LEFT_SHIFT)
        scaled = multiply_by_quantized_multiplier(data, record.multiplier, record.shift) + output_zero_point
        return np.where(v == 0, largest, np.clip(scaled, least, largest))

    return table_params(node, table, (zero_point, None), "RSQRT of a value below 0, which TFLite's kernel refuses")


def sqrt_params(node: Node) -> LookupParams:
    """The table clamp(trunc(sqrt(s_in * (code - zp_in)) / s_out) + zp_out) of SQRT on int8 or int16, in float32.

    A run refuses codes below the zero point. Errors: InvalidModel, UnsupportedModel.
    Source: tflite/kernels/elementwise.cc, SqrtEvalQuantized.
    """
    expect_unary(node)
    scale, zero_point, output_scale, output_zero_point = _scales(node)

    def table(codes: Int64) -> Int64:
        real = scale * np.maximum(codes - zero_point, 0).astype(np.float32)
        with np.errstate(over="ignore"):
            steps = np.sqrt(real) / output_scale
        if not steps.max() < 2.0**31 - 256:
            raise node.unsupported(f"results leave int32 at the output scale {float(output_scale)!r}")
        return np.asarray(np.clip(steps.astype(np.int64) + output_zero_point, *code_range(node.outputs[0].type)))

    return table_params(node, table, (zero_point, None), "SQRT of a value below 0, which TFLite's kernel refuses")


# ---- PRELU ----


@dataclass(frozen=True, slots=True)
class PreluParams:
    """PRELU on codes: `positive` is the multiplier of inputs >= 0, `negative` that of the products below."""

    requantizer: Requantizer
    input_zero_point: int
    alpha_zero_point: int
    output_zero_point: int
    positive: Record
    negative: Record
    output_type: str
    output_shapes: tuple[Shape]
    pairs: Array | None = None


@dataclass(frozen=True, slots=True)
class PlainParams:
    """An op of one input: `function` of each element."""

    function: Callable[[Array], Array]
    output_shapes: tuple[Shape]


@dataclass(frozen=True, slots=True)
class GeluParams:
    """GELU on float32. `elements`: of one tensor."""

    elements: int
    output_shapes: tuple[Shape]


def _prelu_shape(node: Node) -> Shape:
    expect_counts(node, 2, 1)
    input, alpha = node.input(0), node.input(1)
    expect_same_type(node, input, node.outputs[0])
    if broadcast_shape(node, input, alpha) != input.shape:
        raise node.invalid(f"alpha of shape {list(alpha.shape)} does not broadcast to the input's {list(input.shape)}")
    return input.shape


def prelu_params(node: Node) -> PreluParams:
    """Decodes PRELU on int8 or uint8: scale_ratio's s_in / s_out and s_in * s_alpha / s_out.

    Alpha has the input's type; of an int16 input int8.
    Errors: InvalidModel, UnsupportedModel. Source: tflite/kernels/activations.cc, PreluPrepare.
    """
    shape = _prelu_shape(node)
    scale, zero_point, output_scale, output_zero_point = _scales(node)
    alpha_scale, alpha_zero_point = positive_scale(node, node.input(1))
    positive = fixed_point(node, "input scale / output scale", scale_ratio(node, scale, over=output_scale))
    negative = fixed_point(
        node, "input scale * alpha scale / output scale", scale_ratio(node, scale, alpha_scale, over=output_scale)
    )
    params = PreluParams(
        node.arithmetic["PRELU.requantizer"],
        zero_point,
        alpha_zero_point,
        output_zero_point,
        positive,
        negative,
        node.outputs[0].type,
        (shape,),
    )
    return with_pairs(_prelu_of_codes, params, node.outputs[0].type)


def prelu(params: PreluParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """clamp(requantize(v) + zp_out), v = input - zp_in; for v < 0 requantize(v * (alpha - zp_alpha)).

    arrays: input and alpha, int8 or uint8, or int16 and int8. Returns the input's type in its shape.
    Source: tflite/kernels/internal/reference/prelu.h, Prelu.
    """
    return by_pairs(_prelu_of_codes, params, arrays)


def _prelu_of_codes(params: PreluParams, x: Array, alpha: Array) -> Array:
    v = x.astype(np.int64) - params.input_zero_point
    product = v * (alpha.astype(np.int64) - params.alpha_zero_point)
    positive = params.requantizer.apply(v, params.positive)
    scaled = np.where(v >= 0, positive, params.requantizer.apply(product, params.negative))
    codes = np.clip(scaled + params.output_zero_point, *code_range(params.output_type))
    return np.asarray(codes.astype(DTYPES[params.output_type]))


# ---- plain values ----


def plain_params(node: Node) -> PlainParams:
    """Decodes an op of one float32 (ABS, NEG: or integer) input: its function here, or that of the runtime.

    Errors: InvalidModel.
    """
    function = FUNCTIONS[node.op] if node.op in FUNCTIONS else node.arithmetic[f"{node.op}.function"]
    return PlainParams(function, (expect_unary(node).shape,))


def float_leaky_relu_params(node: Node) -> PlainParams:
    """Decodes LEAKY_RELU on float32. Errors: InvalidModel."""
    alpha = np.float32(node.options.get("alpha", 0.0))
    return PlainParams(partial(_leaky_relu, alpha), (expect_unary(node).shape,))


def float_gelu_params(node: Node) -> PlainParams | GeluParams:
    """Decodes GELU on float32. Errors: InvalidModel."""
    input = expect_unary(node)
    if node.options.get("approximate", False):
        return PlainParams(eigen_functions.gelu_approximate, (input.shape,))
    return GeluParams(math.prod(input.shape), (input.shape,))


def float_prelu_params(node: Node) -> ShapeParams:
    """Decodes PRELU on float32. Errors: InvalidModel."""
    return ShapeParams((_prelu_shape(node),))


def complex_params(node: Node) -> PlainParams:
    """Decodes REAL, IMAG and COMPLEX_ABS: a COMPLEX64 input, a FLOAT32 output. Errors: InvalidModel.

    Source: tflite/kernels/complex_support.cc, Prepare.
    """
    expect_counts(node, 1, 1)
    if node.outputs[0].type != "FLOAT32":
        raise node.invalid(f"the output must be FLOAT32, not {node.outputs[0].type}")
    return PlainParams(FUNCTIONS[node.op], (node.input(0).shape,))


def fake_quant_params(node: Node) -> PlainParams:
    """Decodes FAKE_QUANT on float32: the range [min, max] moved so that 0 is one of its 2^num_bits steps, in float32.

    Errors: InvalidModel, UnsupportedModel.
    Source: tflite/kernels/fake_quant.cc, Prepare; internal/quantization_util.cc, NudgeQuantizationRange.
    """
    input = expect_unary(node)
    if node.options.get("narrow_range", False):
        raise node.invalid("narrow_range is for weights only; TFLite's kernel refuses it")
    low, high = (np.float32(node.options.get(name, 0.0)) for name in ("min", "max"))
    bits = int(node.options.get("num_bits", 0))
    if not (low <= 0 <= high and low < high and 1 <= bits <= MOST_FAKE_BITS):
        raise node.unsupported(
            f"the range {low} to {high} in {bits} bits: it must hold 0, in 1 to {MOST_FAKE_BITS} bits"
        )
    steps = np.float32(2**bits - 1)
    with np.errstate(over="ignore"):
        scale = (high - low) / steps
        zero_point = np.float32(round_half_away(np.clip(-low / scale, np.float32(0), steps)))
    bounds = -zero_point * scale, (steps - zero_point) * scale
    return PlainParams(partial(_fake_quant, scale, *bounds), (input.shape,))


def plain(params: PlainParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """function(inputs), elementwise; float32, or the integers of ABS, NEG and SIGN, which wrap.

    Source: tflite/kernels/internal/reference/ and tflite/kernels/elementwise.cc, by the op's name.
    """
    (x,) = arrays
    assert x is not None
    with np.errstate(all="ignore"):
        return (in_pieces(params.function, x),)


@dataclass(frozen=True, slots=True)
class HardSwishParams:
    """HARD_SWISH on float32. `elements`: of one run."""

    elements: int
    output_shapes: tuple[Shape]


def float_hard_swish_params(node: Node) -> HardSwishParams:
    """Decodes HARD_SWISH on float32. Errors: InvalidModel."""
    input = expect_unary(node)
    return HardSwishParams(math.prod(input.shape), (input.shape,))


def hard_swish_in_fours(params: HardSwishParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """x * (1/6) * min(6, max(0, x + 3)) in whole fours of a run; x * min(6, max(0, x + 3)) * (1/6) of the rest.

    arrays: float32. Source: tflite/kernels/internal/optimized/optimized_ops.h, HardSwish.
    """
    (x,) = arrays
    assert x is not None
    x = np.asarray(x, order="C")
    sixth, rest = np.float32(1.0 / 6.0), params.elements % 4
    with np.errstate(all="ignore"):
        inner = np.clip(x + np.float32(3), np.float32(0), np.float32(6))
        result = np.asarray((x * sixth) * inner)
        if rest:
            ends = x.reshape(-1, params.elements)[:, -rest:]
            result.reshape(-1, params.elements)[:, -rest:] = (
                ends * inner.reshape(-1, params.elements)[:, -rest:]
            ) * sixth
    return (result,)


def float_gelu(params: PlainParams | GeluParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """x/2 * erfc(-x / sqrt 2), or the approximate form, as Eigen computes them. arrays: float32.

    Each tensor's last few elements, short of four, are computed by another exponential than the others.
    Source: tflite/kernels/internal/reference/gelu.h, Gelu.
    """
    if isinstance(params, PlainParams):
        return plain(params, arrays)
    (x,) = arrays
    assert x is not None
    samples = x.reshape(-1, params.elements) if x.size else x.reshape(1, 0)
    whole = params.elements - params.elements % eigen_functions.PACKET
    with np.errstate(all="ignore"):
        parts = (
            in_pieces(eigen_functions.gelu, samples[:, :whole]),
            eigen_functions.gelu_of_rest(samples[:, whole:]),
        )
    return (np.concatenate(parts, axis=-1).reshape(x.shape),)


def float_prelu(params: ShapeParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """input where it is >= 0, else input * alpha. arrays: input and alpha, float32.

    Source: tflite/kernels/activations.cc, ApplyPrelu.
    """
    x, alpha = arrays
    assert x is not None
    assert alpha is not None
    with np.errstate(all="ignore"):
        return (np.where(x >= 0, x, x * alpha),)


def _leaky_relu(alpha: np.float32, x: Array) -> Array:
    """Source: tflite/kernels/internal/reference/leaky_relu.h, LeakyRelu."""
    return np.where(x > 0, x, x * alpha)


def _clamp(low: float, high: float) -> Callable[[Array], Array]:
    lo, hi = np.float32(low), np.float32(high)

    def clamp(x: Array) -> Array:
        x = np.array(x)
        clamp_in_place(x, lo, hi)
        return x

    return clamp


def _hard_swish(x: Array) -> Array:
    """x * min(6, max(0, x + 3)) / 6; a NaN in the inner factor counts as 0.

    Source: tflite/kernels/internal/reference/hard_swish.h, HardSwish.
    """
    zero, six = np.float32(0), np.float32(6)
    shifted = x + np.float32(3)
    shifted = np.where(zero < shifted, shifted, zero)
    return x * np.where(shifted < six, shifted, six) / six


def _fake_quant(scale: np.float32, low: np.float32, high: np.float32, x: Array) -> Array:
    """Source: tflite/kernels/internal/quantization_util.cc, FakeQuantizeArray."""
    clamped = np.where(low < x, x, low)
    clamped = np.where(clamped < high, clamped, high)
    steps = round_half_away((clamped - low) * (np.float32(1) / scale)).astype(np.float32)
    return np.asarray(steps * scale + low)


def _hypotenuse(x: Array) -> Array:
    """|re + i im|: the C library's cabsf, the root of the sum of squares in float64."""
    re, im = x.real.astype(np.float64), x.imag.astype(np.float64)
    result = np.sqrt(re * re + im * im).astype(np.float32)
    return np.where(np.isinf(re) | np.isinf(im), np.float32(np.inf), result)


def _round_half_even(x: Array) -> Array:
    """floor(x), or floor(x) + 1 where that is nearer; half-way values become even. -0.0 stays, but -0.5 gives 0.0.

    Source: tflite/kernels/internal/reference/round.h, RoundToNearest.
    """
    floor = np.floor(x)
    rest = x - floor
    stays = (rest < np.float32(0.5)) | ((rest == np.float32(0.5)) & (np.fmod(floor, np.float32(2)) == 0))
    return np.where(stays, floor, floor + np.float32(1))


# The functions on which runtimes agree; those of the C library are values of the runtime, "<OP>.function".
FUNCTIONS: Mapping[str, Callable[[Array], Array]] = {
    "RELU": _clamp(0, np.inf),
    "RELU6": _clamp(0, 6),
    "RELU_N1_TO_1": _clamp(-1, 1),
    "RELU_0_TO_1": _clamp(0, 1),
    "HARD_SWISH": _hard_swish,
    "ABS": np.abs,
    "NEG": np.negative,
    "SQRT": sqrtf,
    "RSQRT": rsqrtf,
    "SQUARE": np.square,
    "FLOOR": np.floor,
    "CEIL": np.ceil,
    "ROUND": _round_half_even,
    "SIGN": np.sign,
    "LOGICAL_NOT": np.logical_not,
    "REAL": np.real,
    "IMAG": np.imag,
    "COMPLEX_ABS": _hypotenuse,
}
