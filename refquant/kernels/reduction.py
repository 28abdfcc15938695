"""MEAN, SUM, REDUCE_PROD, REDUCE_MAX, REDUCE_MIN, REDUCE_ANY, REDUCE_ALL over given axes; ARG_MAX, ARG_MIN over one.

Source: tflite/kernels/reduce.cc and internal/reference/reduce.h; tflite/kernels/arg_min_max.cc.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from refquant.arithmetic.exact import Narrow
from refquant.arithmetic.fixed_point import INT32_MAX, INT32_MIN, Int64, wrap_int32
from refquant.arithmetic.multiplier import (
    Multiplier,
    check_shift,
    multiply_by_quantized_multiplier_int64,
    quantize_multiplier,
    round_half_away,
)
from refquant.arithmetic.requantize import Place, Record, Requantizer, one_a_channel, requantize_and_clamp
from refquant.kernels.checks import expect_counts, expect_same_type, legacy_parameters
from refquant.kernels.index_operands import expect_zero_zero_point
from refquant.kernels.kernel import Node, Shape
from refquant.model.graph import DTYPES, Array

ZERO = np.float32(0)  # a sum that starts at 0 and not at its first element is never -0.0: adding 0 gives just that


@dataclass(frozen=True, slots=True)
class ReductionParams:
    """Which axes are reduced. `axes` are negative (from the last), distinct and ascending."""

    rank: int
    axes: tuple[int, ...]
    keep_dims: bool
    count: int  # input elements that make one output element
    output_shapes: tuple[Shape]


@dataclass(frozen=True, slots=True)
class QuantizedReductionParams:
    """A reduction of integer codes whose result is requantized; MEAN's multiplier has the division by count in it.

    `codes`: the type as which input and output are read, which need not be theirs (SUM on int8).
    """

    reduction: ReductionParams
    input_zero_point: int
    output_zero_point: int
    requantizer: Requantizer
    multiplier: Multiplier
    codes: str
    type: str
    narrow: Narrow

    @property
    def output_shapes(self) -> tuple[Shape]:
        """The shape of the output."""
        return self.reduction.output_shapes


@dataclass(frozen=True, slots=True)
class FloatSumParams:
    """MEAN or SUM of codes, scaled in float32: round(sum * scale + bias) + output zero point."""

    reduction: ReductionParams
    scale: np.float32
    bias: np.float32
    output_zero_point: int
    type: str
    narrow: Narrow

    @property
    def output_shapes(self) -> tuple[Shape]:
        """The shape of the output."""
        return self.reduction.output_shapes


@dataclass(frozen=True, slots=True)
class QuantizedProductParams:
    """REDUCE_PROD on int8 or int16: after each factor the product meets input scale / output scale^(1/count)."""

    reduction: ReductionParams
    input_zero_point: int
    output_zero_point: int
    multiplier: Multiplier
    type: str

    @property
    def output_shapes(self) -> tuple[Shape]:
        """The shape of the output."""
        return self.reduction.output_shapes


@dataclass(frozen=True, slots=True)
class ArgParams:
    """ARG_MAX, ARG_MIN. `axis` is negative (from the last)."""

    axis: int
    output_type: str
    output_shapes: tuple[Shape]


def reduction_params(node: Node) -> ReductionParams:
    """Decodes axes and keep_dims. The axes are an INT32 tensor of any shape; negative ones count from the last axis.

    Of int16 tensors the zero points must be 0.
    Errors: InvalidModel. Source: tflite/kernels/reduce.cc, PrepareSimple, ResolveAxisForShape, GetOutputShape.
    """
    expect_counts(node, 2, 1)
    input, axis = node.input(0), node.input(1)
    expect_same_type(node, input, node.outputs[0])
    expect_zero_zero_point(node, input)
    expect_zero_zero_point(node, node.outputs[0])
    if axis.type != "INT32":
        raise node.invalid(f"the axes must be INT32, not {axis.type}")
    rank = len(input.shape)
    given = [int(a) for a in node.value(1).reshape(-1)] if rank else []  # of a scalar, the axes are not looked at
    if not all(-rank <= a < rank for a in given):
        raise node.invalid(f"the axes {given} are not all axes of the input's shape {input.shape}")
    axes = sorted({a % rank for a in given})
    keep_dims = bool(node.options.get("keep_dims", False))
    shape = tuple(1 if a in axes else dim for a, dim in enumerate(input.shape) if keep_dims or a not in axes)
    count = math.prod(input.shape[a] for a in axes)
    return ReductionParams(rank, tuple(a - rank for a in axes), keep_dims, count, (shape,))


def extremum_params(node: Node) -> ReductionParams:
    """Decodes REDUCE_MAX or REDUCE_MIN. Quantized input and output must have one scale and zero point.

    Errors: InvalidModel. Source: tflite/kernels/reduce.cc, PrepareSimple, EvalType.
    """
    input, output = node.input(0), node.outputs[0]
    if input.type in ("INT8", "UINT8", "INT16") and legacy_parameters(input) != legacy_parameters(output):
        raise node.invalid("input and output must have the same scale and zero point")
    return reduction_params(node)


def product_params(node: Node) -> ReductionParams | QuantizedProductParams:
    """Decodes REDUCE_PROD. An int8 or int16 tensor without quantization is multiplied as plain integers.

    Errors: InvalidModel, UnsupportedModel. Source: tflite/kernels/reduce.cc, PrepareProd, GetQuantProdScaling.
    """
    reduction = reduction_params(node)
    input, output = node.input(0), node.outputs[0]
    if input.quantization is None or not input.quantization.scale:
        return reduction
    if input.type not in ("INT8", "INT16"):
        raise node.invalid(f"an {input.type} input must not be quantized")
    input_scale, input_zero_point = node.scale_and_zero_point(input)
    output_scale, output_zero_point = node.scale_and_zero_point(output)
    if reduction.count == 0:
        raise node.unsupported(f"the product over an empty axis of shape {input.shape} is left undefined by TFLite")
    root = output_scale ** (1.0 / reduction.count)
    multiplier = quantize_multiplier(input_scale / root) if root > 0 else None
    if multiplier is None or not -31 <= int(multiplier.shift[0]) <= 14:
        raise node.unsupported(f"the scales {input_scale!r} and {output_scale!r} are too far apart")
    return QuantizedProductParams(reduction, input_zero_point, output_zero_point, multiplier, input.type)


def mean_params(node: Node) -> QuantizedReductionParams:
    """Decodes MEAN on int8, uint8 or int16: the multiplier s_in / s_out, its significand shifted up, divided by count.

    Errors: InvalidModel, UnsupportedModel.
    Source: tflite/kernels/reduce.cc, PrepareMeanOrSum; internal/reference/reduce.h, QuantizedMeanOrSum.
    """
    reduction = reduction_params(node)
    ratio = _scale_ratio(node)
    significand, shift = int(ratio.multiplier[0]), int(ratio.shift[0])
    count = max(reduction.count, 1)
    up = min(count.bit_length() - 1, 32, 31 + shift)
    multiplier = Multiplier(np.array([(significand << up) // count], np.int32), np.array([shift - up], np.int32))
    return _quantized_reduction_params(node, reduction, multiplier, node.input(0).type)


def mean_of_images_params(node: Node) -> QuantizedReductionParams:
    """Decodes MEAN on int8 or uint8: over height and width of images (N, H, W, C), kept with size 1; else mean_params.

    The multiplier is formed in float32; the input's zero point meets the output's one instead of the sum, as a whole
    number. The runtime's value is "MEAN.image_requantizer". Errors: InvalidModel, UnsupportedModel.
    Source: tflite/kernels/reduce.cc, EvalMean; internal/optimized/integer_ops/mean.h and optimized/reduce.h, Mean.
    """
    reduction = reduction_params(node)
    if not (reduction.rank == 4 and reduction.axes == (-3, -2) and reduction.keep_dims and reduction.count):
        return mean_params(node)
    input_scale, input_zero_point = node.scale_and_zero_point(node.input(0))
    output_scale, output_zero_point = node.scale_and_zero_point(node.outputs[0])
    if not output_scale > 0:
        raise node.unsupported(f"the output scale {output_scale!r} leaves no finite multiplier")
    with np.errstate(over="ignore"):
        real = np.float32(input_scale) / (np.float32(reduction.count) * np.float32(output_scale))
        offset = np.float32(input_zero_point) * np.float32(input_scale) / np.float32(output_scale)
    offset += np.float32(0.5 if offset > 0 else -0.5)
    if not (np.isfinite(real) and abs(offset) < INT32_MAX - 128):
        raise node.unsupported(f"the scales {input_scale!r} and {output_scale!r} are too far apart")
    requantizer: Requantizer = node.arithmetic["MEAN.image_requantizer"]
    record = check_shift(quantize_multiplier(real), node.place)
    type = node.input(0).type
    return QuantizedReductionParams(
        reduction, 0, output_zero_point - int(offset), requantizer, record, type, type, node.narrow
    )


def float_sum_params(node: Node) -> FloatSumParams:
    """Decodes SUM on int8, uint8 or int16 in float32: scale = s_in / s_out, bias = -zero point * scale * count.

    Errors: InvalidModel; UnsupportedModel also for an empty input, of which the kernel writes nothing.
    Source: tflite/kernels/internal/optimized/reduce.h, QuantizedMeanOrSum.
    """
    reduction = reduction_params(node)
    input_scale, input_zero_point = node.scale_and_zero_point(node.input(0))
    output_scale, output_zero_point = node.scale_and_zero_point(node.outputs[0])
    if not output_scale > 0:
        raise node.unsupported(f"the output scale {output_scale!r} leaves no finite multiplier")
    with np.errstate(over="ignore", invalid="ignore"):
        scale = np.float32(input_scale) / np.float32(output_scale)
        bias = np.float32(-input_zero_point) * scale * np.float32(reduction.count)
    if 0 in node.input(0).shape and 0 not in reduction.output_shapes[0]:
        raise node.unsupported("the input is empty: TFLite's optimized kernel then leaves the output as it was")
    return FloatSumParams(reduction, scale, bias, output_zero_point, node.input(0).type, node.narrow)


def mean_or_sum_at_once_params(node: Node) -> FloatSumParams:
    """Decodes MEAN or SUM on int8 or uint8 in float32: scale = s_in / s_out, of MEAN times 1 / count.

    The output's zero point is in the bias, from which count * zero point * scale is taken. Errors: InvalidModel.
    Source: google/XNNPACK, src/operators/reduce-nd.c, reshape_reduce_nd; src/microparams-init.c.
    """
    reduction = reduction_params(node)
    input_scale, input_zero_point = node.scale_and_zero_point(node.input(0))
    output_scale, output_zero_point = node.scale_and_zero_point(node.outputs[0])
    with np.errstate(all="ignore"):
        scale = np.float32(input_scale) / np.float32(output_scale)
        if node.op == "MEAN":
            scale *= np.float32(1) / np.float32(reduction.count)
        offset = np.float32(reduction.count) * np.float32(input_zero_point) * scale
        bias = np.float32(output_zero_point) - offset
    return FloatSumParams(reduction, scale, bias, 0, node.input(0).type, node.narrow)


def sum_params(node: Node) -> QuantizedReductionParams:
    """Decodes SUM on int8, uint8 or int16: the multiplier is s_in / s_out.

    The runtime's value "SUM.read_as" tells as which type the tensors are read.
    Errors: InvalidModel; UnsupportedModel also where that type is smaller than the tensors' own.
    Source: tflite/kernels/reduce.cc, PrepareMeanOrSum, EvalSum, QuantizedMeanOrSum.
    """
    type = node.input(0).type
    codes = node.arithmetic["SUM.read_as"].get(type, type)
    if DTYPES[codes].itemsize != DTYPES[type].itemsize:
        raise node.unsupported(
            f"the runtime's kernel reads and writes {type} as {codes}: it sums the bytes of half of the input and does "
            "not write half of the output. Write the sum as MEAN and MUL"
        )
    return _quantized_reduction_params(node, reduction_params(node), _scale_ratio(node), codes)


def _scale_ratio(node: Node) -> Multiplier:
    """double(s_in) / double(s_out) as a multiplier."""
    input_scale, _ = node.scale_and_zero_point(node.input(0))
    output_scale, _ = node.scale_and_zero_point(node.outputs[0])
    if not (output_scale > 0 and math.isfinite(input_scale / output_scale)):
        raise node.unsupported(f"the output scale {output_scale!r} leaves no finite multiplier")
    return quantize_multiplier(input_scale / output_scale)


def _quantized_reduction_params(
    node: Node, reduction: ReductionParams, multiplier: Multiplier, codes: str
) -> QuantizedReductionParams:
    _, input_zero_point = node.scale_and_zero_point(node.input(0))
    _, output_zero_point = node.scale_and_zero_point(node.outputs[0])
    return QuantizedReductionParams(
        reduction,
        input_zero_point,
        output_zero_point,
        node.arithmetic[f"{node.op}.requantizer"],
        check_shift(multiplier, node.place),
        codes,
        node.input(0).type,
        node.narrow,
    )


def _runs(params: ReductionParams, x: Array) -> Array:
    """x as (outer, count, inner): one output element is made of [o, :, i], in memory order."""
    reduced = [x.ndim + a for a in params.axes]
    kept = [a for a in range(x.ndim) if a not in reduced]
    first = reduced[0] if reduced else x.ndim
    if reduced == list(range(first, first + len(reduced))):
        outer = math.prod(x.shape[:first])
        return x.reshape(outer, params.count, math.prod(x.shape[first + len(reduced) :]))
    return x.transpose((*reduced, *kept)).reshape(1, params.count, math.prod(x.shape[a] for a in kept))


def _restore(params: ReductionParams, result: Array, x: Array) -> Array:
    """The result, in any shape, as the output behind x's sample axis, if it has one."""
    samples = x.shape[: x.ndim - params.rank]
    return result.reshape((*samples, *params.output_shapes[0]))


def _integer_sum(params: ReductionParams, x: Array) -> Int64:
    """The exact sum of codes over the reduced axes, in the shape of the output."""
    fits_int32 = params.count << 8 * x.itemsize <= INT32_MAX
    sums = x.sum(axis=params.axes, dtype=np.int32 if fits_int32 else np.int64)
    return _restore(params, np.asarray(sums), x).astype(np.int64)


def quantized_mean_or_sum(params: QuantizedReductionParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """clamp(requantize(sum of codes - count * zero_point) + output zero_point); 0 everywhere for an empty input.

    arrays: input int8, uint8 or int16, axes None. Returns the same type.
    Source: tflite/kernels/internal/reference/reduce.h, QuantizedMeanOrSum.
    """
    x = arrays[0]
    assert x is not None
    reduction = params.reduction
    codes, dtype = DTYPES[params.codes], DTYPES[params.type]
    if x.size == 0:
        return (np.zeros((*x.shape[: x.ndim - reduction.rank], *params.output_shapes[0]), dtype),)
    sums = params.narrow(_integer_sum(reduction, x.view(codes)))
    shifted = params.narrow(sums - params.input_zero_point * reduction.count)
    info = np.iinfo(codes)
    record: Record = params.multiplier
    if params.requantizer.place is Place.CHANNEL:
        record = one_a_channel(record, x.shape[-1])
    result = requantize_and_clamp(
        params.requantizer, shifted, record, params.output_zero_point, info.min, info.max, codes
    )
    return (result.view(dtype),)


def float_scaled_sum(params: FloatSumParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """clamp(round(float32(sum of codes) * scale + bias) + output zero point).

    Steps beyond int32 become its minimum, as x86's conversion makes them. arrays: input int8, uint8 or int16, axes
    None. Returns the same type. Source: tflite/kernels/internal/optimized/reduce.h, QuantizedMeanOrSum.
    """
    x = arrays[0]
    assert x is not None
    reduction, dtype = params.reduction, DTYPES[params.type]
    with np.errstate(over="ignore", invalid="ignore"):
        steps = params.narrow(_integer_sum(reduction, x)).astype(np.float32) * params.scale + params.bias
    steps = round_half_away(steps)
    whole = np.where(np.abs(steps) < 2.0**31, steps, INT32_MIN).astype(np.int64)
    info = np.iinfo(dtype)
    return (np.clip(wrap_int32(whole + params.output_zero_point), info.min, info.max).astype(dtype),)


def sum_at_once(params: FloatSumParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """clamp(round(float32(sum of codes) * scale + bias)), half-way values to even; the sum is float32 too.

    The MEAN of no codes is 0. arrays: input int8 or uint8, axes None. Returns the same type.
    Source: google/XNNPACK, src/reference/unary-elementwise.cc, unary_ukernel_quantized_output.
    """
    x = arrays[0]
    assert x is not None
    info = np.iinfo(DTYPES[params.type])
    with np.errstate(over="ignore", invalid="ignore"):
        steps = params.narrow(_integer_sum(params.reduction, x)).astype(np.float32) * params.scale + params.bias
    return (np.clip(np.rint(np.where(np.isnan(steps), 0, steps)), info.min, info.max).astype(info.dtype),)


def integer_mean(params: ReductionParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """The int64 sum divided by count, truncated towards zero; 0 for an empty input.

    arrays: input int32 or int64, axes None. Source: tflite/kernels/internal/reference/reduce.h, Mean.
    """
    x = arrays[0]
    assert x is not None
    sums = np.asarray(x.sum(axis=params.axes, dtype=np.int64))
    count = max(params.count, 1)
    quotient = sums // count + ((sums < 0) & (sums % count != 0))
    return (_restore(params, quotient.astype(x.dtype), x),)


def integer_sum(params: ReductionParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """The sum, wrapping in the type. arrays: input int32 or int64, axes None.

    Source: tflite/kernels/reduce.cc, EvalType (kSum).
    """
    x = arrays[0]
    assert x is not None
    return (_restore(params, np.asarray(x.sum(axis=params.axes, dtype=x.dtype)), x),)


def integer_product(params: ReductionParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """The product, wrapping in the type. arrays: input int8, uint8, int16, int32 or int64, axes None.

    Source: tflite/kernels/reduce.cc, EvalType (kProd).
    """
    x = arrays[0]
    assert x is not None
    return (_restore(params, np.asarray(x.prod(axis=params.axes, dtype=x.dtype)), x),)


def code_product(params: ReductionParams | QuantizedProductParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """p = x0 - zp, then p = requantize(p * (xi - zp)) in order, and once more at the end; unquantized a plain product.

    arrays: input int8 or int16, axes None. The requantization is that of int64 accumulators, with a 15-bit multiplier.
    Source: tflite/kernels/internal/reference/reduce.h, QuantizedReduceProd.
    """
    if isinstance(params, ReductionParams):
        return integer_product(params, arrays)
    x = arrays[0]
    assert x is not None
    info, reduction = np.iinfo(DTYPES[params.type]), params.reduction
    factors = _runs(reduction, x).astype(np.int64) - params.input_zero_point
    scale = partial(
        multiply_by_quantized_multiplier_int64,
        multiplier=params.multiplier.multiplier[0],
        shift=params.multiplier.shift[0],
    )
    product = factors[:, 0]
    for index in range(1, reduction.count):  # each step rounds: the factors cannot be reordered
        product = scale(product * factors[:, index])
    codes = np.clip(scale(product) + params.output_zero_point, info.min, info.max)
    return (_restore(reduction, codes.astype(info.dtype), x),)


def code_product_or_copy(
    params: ReductionParams | QuantizedProductParams, arrays: Sequence[Array | None]
) -> tuple[Array, ...]:
    """As code_product; but where every reduced axis has size 1 the codes themselves, whatever the scales.

    Source: tflite/kernels/internal/optimized/reduce.h, QuantizedReduceProd, ReduceIsCopy.
    """
    if isinstance(params, ReductionParams) or params.reduction.count > 1:
        return code_product(params, arrays)
    x = arrays[0]
    assert x is not None
    return (_restore(params.reduction, x, x),)


def _extremum(
    params: ReductionParams, arrays: Sequence[Array | None], ufunc: np.ufunc, worst: str
) -> tuple[Array, ...]:
    x = arrays[0]
    assert x is not None
    initial = bool(worst == "max") if x.dtype == np.bool_ else getattr(np.iinfo(x.dtype), worst)
    return (_restore(params, np.asarray(ufunc.reduce(x, axis=params.axes, initial=initial)), x),)


def reduce_max(params: ReductionParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """The largest element; the type's minimum for an empty input. arrays: input of any integer type or bool, axes None.

    Source: tflite/kernels/reduce.cc, EvalType (kMax).
    """
    return _extremum(params, arrays, np.maximum, "min")


def reduce_min(params: ReductionParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """The least element; the type's maximum for an empty input. arrays: input of any integer type or bool, axes None.

    Source: tflite/kernels/reduce.cc, EvalType (kMin).
    """
    return _extremum(params, arrays, np.minimum, "max")


def reduce_any(params: ReductionParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Whether any element is true. arrays: input bool, axes None.

    Source: tflite/kernels/reduce.cc, EvalType (kAny).
    """
    return _extremum(params, arrays, np.maximum, "min")


def reduce_all(params: ReductionParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Whether all elements are true. arrays: input bool, axes None.

    Source: tflite/kernels/reduce.cc, EvalType (kAll).
    """
    return _extremum(params, arrays, np.minimum, "max")


def _in_order(params: ReductionParams, x: NDArray[np.float32], ufunc: np.ufunc) -> NDArray[np.float32]:
    """x0 op x1 op ... in float32, in memory order; (outer, inner). Of no elements: what op leaves unchanged."""
    runs = np.ascontiguousarray(_runs(params, x))
    if runs.shape[2] == 1 and params.count:
        # reduce would add neighbours in memory in pairs; accumulate shows every partial result, so it goes in order.
        return np.asarray(ufunc.accumulate(runs, axis=1)[:, -1])
    return np.asarray(ufunc.reduce(runs, axis=1))


def float_mean(params: ReductionParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """(0 + x0 + x1 + ...) / count in float32, in memory order; NaN for an empty input.

    arrays: input float32, axes None. Source: tflite/kernels/internal/reference/reduce.h, Mean.
    """
    x = arrays[0]
    assert x is not None
    with np.errstate(all="ignore"):
        return (_restore(params, (_in_order(params, x, np.add) + ZERO) / np.float32(params.count), x),)


def float_sum(params: ReductionParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """x0 + x1 + ... in float32, in memory order. arrays: input float32, axes None.

    Over all axes the kernel starts at x0, else at 0; that shows in a sum of -0.0 only. With several threads a sum over
    all axes of 1024 elements or more per thread is cut into parts; this is the sum of one thread.
    Source: tflite/kernels/reduce.cc, EvalType (kSum), ReduceAllDims.
    """
    x = arrays[0]
    assert x is not None
    with np.errstate(all="ignore"):
        sums = _in_order(params, x, np.add)
        return (_restore(params, sums if len(params.axes) == params.rank else sums + ZERO, x),)


def float_sum_from_zero(params: ReductionParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """0 + x0 + x1 + ... in float32, in memory order. arrays: input float32, axes None.

    Source: tensorflow/lite/kernels/internal/reference/reduce.h, ReduceGeneric.
    """
    x = arrays[0]
    assert x is not None
    with np.errstate(all="ignore"):
        return (_restore(params, _in_order(params, x, np.add) + ZERO, x),)


def float_sum_from_first(params: ReductionParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """x0 + x1 + ... in float32, in memory order, beginning with x0: of -0.0 alone it is -0.0. 0 for an empty input.

    arrays: input float32, axes None. Source: tflite/kernels/internal/optimized/reduce.h, ReduceGeneric, SumOp.
    """
    x = arrays[0]
    assert x is not None
    with np.errstate(all="ignore"):
        sums = _in_order(params, x, np.add) + ZERO
    if params.count and (sums == 0).any():
        runs = _runs(params, x)
        sums = np.where(((runs == 0) & np.signbit(runs)).all(axis=1), -ZERO, sums)
    return (_restore(params, sums, x),)


def float_product(params: ReductionParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """x0 * x1 * ... in float32, in memory order; 1 for an empty input. arrays: input float32, axes None.

    Source: tflite/kernels/reduce.cc, EvalType (kProd).
    """
    x = arrays[0]
    assert x is not None
    with np.errstate(all="ignore"):
        return (_restore(params, _in_order(params, x, np.multiply), x),)


def float_reduce_max(params: ReductionParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """best = lowest finite value; for each x: best = x if x > best. So a NaN never wins, and -inf neither.

    Over all axes best starts at x0 instead: there -inf stays, and a NaN at the start stays NaN.
    arrays: input float32, axes None. Source: tflite/kernels/reduce.cc, EvalType (kMax), ReduceAllDims.
    """
    return (_float_maximum(params, arrays, len(params.axes) == params.rank),)


def float_reduce_max_from_lowest(params: ReductionParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """As `float_reduce_max`, over all axes too. Source: tensorflow/lite/micro/kernels/reduce_common.cc."""
    return (_float_maximum(params, arrays, False),)


def float_reduce_min_from_largest(params: ReductionParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """As `float_reduce_min`, over all axes too. Source: tensorflow/lite/micro/kernels/reduce_common.cc."""
    x = arrays[0]
    assert x is not None
    return (-_float_maximum(params, (-x, None), False),)


def _float_maximum(params: ReductionParams, arrays: Sequence[Array | None], from_first: bool) -> Array:
    x = arrays[0]
    assert x is not None
    runs = _runs(params, x)
    lowest = np.finfo(np.float32).min
    if params.count == 0:
        return np.full((*x.shape[: x.ndim - params.rank], *params.output_shapes[0]), lowest)
    best = np.fmax.reduce(runs, axis=1, initial=np.float32(-np.inf))
    if (best == 0).any() and (np.signbit(runs) & (runs == 0)).any():
        # Of 0.0 and -0.0 the loop keeps the first: so does argmax of equal elements.
        ordered = np.where(np.isnan(runs), np.float32(-np.inf), runs)
        best = np.take_along_axis(ordered, ordered.argmax(axis=1)[:, np.newaxis], 1)[:, 0]
    other = np.where(np.isnan(runs[:, 0]), runs[:, 0], best) if from_first else np.maximum(best, lowest)
    return _restore(params, other, x)


def float_reduce_max_in_order(params: ReductionParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """best = x0; for each x: best = best if best > x else x. The lowest finite value for an empty input.

    So a NaN is replaced by what comes after it, of 0.0 and -0.0 the later one stays, and -inf is kept.
    arrays: input float32, axes None. Source: tflite/kernels/internal/optimized/reduce.h, ReduceGeneric, MaxOp.
    """
    x = arrays[0]
    assert x is not None
    runs = _runs(params, x)
    if params.count == 0:
        lowest = np.finfo(np.float32).min
        return (np.full((*x.shape[: x.ndim - params.rank], *params.output_shapes[0]), lowest),)
    backwards = runs[:, ::-1]
    nan = np.isnan(backwards)
    counted = np.where(np.logical_or.accumulate(nan, axis=1), np.float32(-np.inf), backwards)
    last_of_the_largest = counted.argmax(axis=1)[:, np.newaxis]
    best = np.take_along_axis(counted, last_of_the_largest, 1)[:, 0]
    return (_restore(params, np.where(nan[:, 0], runs[:, -1], best), x),)


def float_reduce_min_in_order(params: ReductionParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """best = x0; for each x: best = best if best < x else x; as `float_reduce_max_in_order` on negated values."""
    x = arrays[0]
    assert x is not None
    (largest,) = float_reduce_max_in_order(params, (-x, None))
    return (-largest,)


def float_reduce_min(params: ReductionParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """best = largest finite value; for each x: best = x if x < best; as `float_reduce_max` on negated values.

    arrays: input float32, axes None. Source: tflite/kernels/reduce.cc, EvalType (kMin), ReduceAllDims.
    """
    x = arrays[0]
    assert x is not None
    (largest,) = float_reduce_max(params, (-x, None))
    return (-largest,)


def arg_params(node: Node) -> ArgParams:
    """Decodes ARG_MAX or ARG_MIN. The axis is one INT32 or INT64 element; the output's type is option `output_type`.

    Errors: InvalidModel, UnsupportedModel. Source: tflite/kernels/arg_min_max.cc, Prepare, ResizeOutput.
    """
    expect_counts(node, 2, 1)
    input, axis, output = node.input(0), node.input(1), node.outputs[0]
    if axis.type not in ("INT32", "INT64") or math.prod(axis.shape) != 1:
        raise node.invalid(f"the axis must be one INT32 or INT64 element, not {axis.type} of shape {axis.shape}")
    output_type = node.options.get("output_type", "FLOAT32")
    if output_type not in ("INT32", "INT64"):
        raise node.invalid(f"option output_type must be INT32 or INT64, not {output_type}")
    if output.type != output_type:
        raise node.unsupported(f"the output is {output.type}, but option output_type is {output_type}")
    rank, given = len(input.shape), int(node.value(1).reshape(-1)[0])
    if not -rank <= given < rank:
        raise node.invalid(f"axis {given} is not an axis of the input's shape {input.shape}")
    position = given % rank
    if input.shape[position] == 0:
        raise node.invalid(f"axis {given} of the input's shape {input.shape} is empty")
    shape = input.shape[:position] + input.shape[position + 1 :]
    return ArgParams(position - rank, output_type, (shape,))


def arg_max(params: ArgParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """The index of the largest element along the axis, of equal ones the first; a NaN counts as absent (all NaN: 0).

    arrays: input float32, int8, uint8, int32 or bool, axis None. Returns int32 or int64.
    Source: tflite/kernels/arg_min_max.cc, Eval; internal/reference/arg_min_max.h, ArgMinMax. Where NaNs stand in a
    float32 last axis of 4 or more, the x86-64 wheel's emulated NEON code (internal/optimized/optimized_ops.h,
    ArgMaxVector) may answer with another index.
    """
    x = arrays[0]
    assert x is not None
    if x.dtype == np.float32 and np.isnan(x).any():
        largest = np.fmax.reduce(x, axis=params.axis, keepdims=True)
        return ((x == largest).argmax(axis=params.axis).astype(DTYPES[params.output_type]),)
    return (x.argmax(axis=params.axis).astype(DTYPES[params.output_type]),)


def arg_min(params: ArgParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """The index of the least element along the axis; else as `arg_max`."""
    x = arrays[0]
    assert x is not None
    if x.dtype == np.float32 and np.isnan(x).any():
        least = np.fmin.reduce(x, axis=params.axis, keepdims=True)
        return ((x == least).argmax(axis=params.axis).astype(DTYPES[params.output_type]),)
    return (x.argmin(axis=params.axis).astype(DTYPES[params.output_type]),)


def arg_max_from_first(params: ArgParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """As `arg_max`, but a NaN at the start is never replaced: 0.

    Source: tensorflow/lite/kernels/internal/reference/arg_min_max.h, ArgMinMax.
    """
    return (_where_first_is_number(params, arrays, arg_max(params, arrays)[0]),)


def arg_min_from_first(params: ArgParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """As `arg_min`, but a NaN at the start is never replaced: 0."""
    return (_where_first_is_number(params, arrays, arg_min(params, arrays)[0]),)


def _where_first_is_number(params: ArgParams, arrays: Sequence[Array | None], index: Array) -> Array:
    x = arrays[0]
    assert x is not None
    return np.where(np.isnan(x.take(0, axis=params.axis)), index.dtype.type(0), index)
