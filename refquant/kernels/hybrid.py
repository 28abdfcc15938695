"""Float32 activations that meet constant weights of int8 (dynamic range), with a float32 output.

Each row or image of the input gets its own scale, and maybe a zero point, while the model runs; the products of codes
are summed as integers, and the sums are scaled in float32: see arithmetic/row_quantization.py. Weights are symmetric:
their zero points are not read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refquant.arithmetic.affine import Float32
from refquant.arithmetic.eigen_functions import tanh
from refquant.arithmetic.exact import Narrow, PreparedMatrix, exact_matmul, narrowed, prepare_matrix
from refquant.arithmetic.fixed_point import Int64
from refquant.arithmetic.row_quantization import (
    RowQuantizer,
    Scaling,
    not_negated,
    quantize_rows_asymmetric,
    row_quantizer,
    row_sums_in_int16_lanes,
    scale_by_filter_then_input,
    scale_by_product,
)
from refquant.kernels.activation import clamp_float, fused_float_range
from refquant.kernels.checks import expect_same_type
from refquant.kernels.convolution import (
    OUTPUT_ELEMENTS,
    blocks,
    decode_conv,
    decode_transpose_conv,
    scatter,
    sums_of_products,
)
from refquant.kernels.dense import decode_batch_matmul, decode_fully_connected, shaped
from refquant.kernels.depthwise import (
    Runs,
    along_runs,
    decode_depthwise,
    in_runs,
    int16_groups,
    runs_of,
    sum_in_groups,
    without_frame,
)
from refquant.kernels.kernel import Node, Operand, Shape
from refquant.kernels.output_stage import filter_scales
from refquant.kernels.padding import Window, pad, patches
from refquant.model.graph import Array

CENTRED_MAGNITUDE = 255  # of a code less its zero point
CODE_MAGNITUDE = 128
GEMM_CHANNELS = 4  # filters of one scale, so many or a multiple, meet no vectors but exact matrix products


def _scales(node: Node, filter_: Operand, channels: int) -> Float32:
    """The filter's scales, one or one for each output channel; without any the runtime computes with 0.

    Errors: UnsupportedModel for another number, of which TFLite would read as many as there are channels.
    """
    scales = filter_.quantization.scale if filter_.quantization is not None else ()
    if len(scales) not in (0, 1, channels):
        raise node.unsupported(f"filter '{filter_.name}' has {len(scales)} scales; built are 1, or {channels}")
    return np.asarray(scales or (0,), np.float32)


# FULLY_CONNECTED ----------------------------------------------------------------------------------------------------


def _between(low: float, high: float) -> Callable[[Float32], Float32]:
    """What is not above `low` becomes it, also a NaN, and a -0.0 where it is 0."""
    return lambda x: np.where(x > low, np.minimum(x, np.float32(high)), np.float32(low))


ACTIVATIONS: Mapping[str, Callable[[Float32], Float32]] = {
    "NONE": lambda x: x,
    "RELU": _between(0, math.inf),
    "RELU_N1_TO_1": _between(-1, 1),
    "RELU6": _between(0, 6),
    "TANH": tanh,
    "SIGN_BIT": lambda x: np.signbit(x).astype(np.float32),
}


def fused_activation(node: Node) -> Callable[[Float32], Float32]:
    """The function of the option fused_activation_function. InvalidModel for one that is none of ACTIVATIONS."""
    name = node.options.get("fused_activation_function", "NONE")
    if name not in ACTIVATIONS:
        raise node.invalid(f"the fused activation {name} is none of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


@dataclass(frozen=True, slots=True)
class FullyConnectedParams:
    """What FULLY_CONNECTED needs to run. `elements` of one sample's input hold `rows` rows of `columns`."""

    output_shapes: tuple[Shape]
    elements: int
    rows: int
    columns: int
    quantize: RowQuantizer
    weights: DenseWeights
    filter_scale: Float32
    activation: Callable[[Float32], Float32]


@dataclass(frozen=True, slots=True)
class DenseWeights:
    """A filter transposed, (columns, units), and in what the runtime's sums differ from those of exact products.

    `not_negated`: see row_quantization, or None; `lost_sum`: what each column sums up to beyond what the runtime finds,
    or None.
    """

    matrix: PreparedMatrix
    not_negated: PreparedMatrix | None
    lost_sum: Int64 | None
    narrow: Narrow


def fully_connected_params(node: Node) -> FullyConnectedParams:
    """Checks and decodes FULLY_CONNECTED: input float32, filter (units, columns) int8, bias (units,) float32 or none.

    Errors: InvalidModel for what TFLite's Prepare rejects; UnsupportedModel for a filter that is no constant.
    Source: tflite/kernels/fully_connected.cc, Prepare, PrepareImpl, EvalHybridDense.
    """
    input_, filter_, _, output_shape = decode_fully_connected(node, "FLOAT32", tuple(ACTIVATIONS))
    units, columns = filter_.shape
    elements = math.prod(input_.shape)
    asymmetric = bool(node.options.get("asymmetric_quantize_inputs", False))
    return FullyConnectedParams(
        (output_shape,),
        elements,
        elements // columns,
        columns,
        row_quantizer(asymmetric),
        dense_weights(node, node.value(1)),
        _scales(node, filter_, units),
        fused_activation(node),
    )


def dense_weights(node: Node, filter_: Array) -> DenseWeights:
    """filter (units, columns) int8, ready to run."""
    matrix = filter_.T.astype(np.int16)
    lost = _lost_sum(filter_, row_sums_in_int16_lanes)
    return DenseWeights(prepare_matrix(matrix, CENTRED_MAGNITUDE), _not_negated(filter_), lost, node.narrow)


def _lost_sum(rows: Array, row_sums: Callable[[Array], Int64]) -> Int64 | None:
    """What each of the rows (units, k) int8 sums up to beyond what `row_sums` finds; None for nothing."""
    lost: Int64 = rows.sum(axis=1, dtype=np.int64) - row_sums(rows)
    return lost if lost.any() else None


def _not_negated(rows: Array) -> PreparedMatrix | None:
    """What the runtime's vectors add for negative codes to the products with rows (units, k) int8; None for nothing."""
    extra = not_negated(rows)
    return prepare_matrix(extra.T, CODE_MAGNITUDE) if extra.any() else None


def fully_connected(params: FullyConnectedParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """output[n, u] = activation(bias[u] + sum of filter[u] * (code[n] - zero_point[n]) * (scale[u] * scale[n])).

    A sample of zeros gives the bias as it is. arrays: input, filter, bias or nothing.
    Errors: InvalidInput for an input that has no codes.
    Source: tflite/kernels/fully_connected.cc, EvalHybridDense; internal/optimized/sse_tensor_utils.cc,
    SseMatrixBatchVectorMultiplyAccumulateImpl.
    """
    x, _, *rest = arrays
    assert x is not None
    bias = rest[0].reshape(-1) if rest and rest[0] is not None else np.zeros(1, np.float32)
    samples = x.reshape(-1, params.elements) if x.size else np.zeros((0, params.elements), np.float32)
    rows = params.quantize(samples[:, : params.rows * params.columns].reshape(-1, params.columns))
    sums = dense_sums(rows.centred, rows.zero_point, params.weights)
    output = scale_by_product(sums, params.filter_scale, rows.scale[:, np.newaxis]) + bias
    zero = np.repeat(~samples.any(axis=1), params.rows)
    output[zero] = bias
    return (shaped(params.activation(output), x, params.output_shapes[0]),)


def dense_sums(centred: Array, zero_point: Array, weights: DenseWeights) -> Float32:
    """The runtime's int32 sums for rows (n, columns) of codes less their zero points, as float32."""
    sums = exact_matmul(centred, weights.matrix, CENTRED_MAGNITUDE)
    zero_point = zero_point[:, np.newaxis]
    if weights.not_negated is not None:
        sums = sums.astype(np.float64) + exact_matmul(np.minimum(centred + zero_point, 0), weights.not_negated)
    if weights.lost_sum is not None:
        sums = sums.astype(np.float64) + zero_point * weights.lost_sum
    return _as_float32(sums, 2 * CENTRED_MAGNITUDE * weights.matrix.column_sum, weights.narrow)


def _as_float32(sums: Array, bound: int, narrow: Narrow) -> Float32:
    """Integer sums as the runtime holds them, int32, and then as float32. bound: no |sum| is larger."""
    return narrowed(sums, None, bound, narrow)[0].astype(np.float32, copy=False)


# CONV_2D ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ConvParams:
    """What CONV_2D needs to run. `matrices`: the filter, one a group; `not_negated`, `lost_sum` as in DenseWeights."""

    output_shapes: tuple[Shape]
    window: Window
    quantize: RowQuantizer
    scaling: Scaling
    matrices: tuple[PreparedMatrix, ...]
    not_negated: PreparedMatrix | None
    lost_sum: Int64 | None
    filter_scale: Float32
    low: np.float32
    high: np.float32
    narrow: Narrow


def conv_2d_params(node: Node) -> ConvParams:
    """Checks and decodes CONV_2D: input (N, H, W, C) float32, filter (O, kh, kw, C / groups) int8, bias (O,) float32.

    With several groups, or scales that differ, images are quantized asymmetrically; else symmetrically, and the product
    runs through the vectors of FULLY_CONNECTED unless O is a multiple of 4.
    Errors: InvalidModel for what TFLite's Prepare rejects; UnsupportedModel for a filter that is no constant.
    Source: tflite/kernels/conv.cc, Prepare, EvalHybrid, EvalHybridPerChannel.
    """
    _, filter_, window, groups, output_shape = decode_conv(node, "FLOAT32")
    channels, scales = output_shape[3], _scales(node, filter_, output_shape[3])
    per_channel = groups != 1 or bool((scales != scales[0]).any())
    if groups != 1 and len(scales) != channels:
        raise node.invalid(
            f"with {groups} groups filter '{filter_.name}' needs {channels} scales, but has {len(scales)}"
        )
    rows = node.value(1).reshape(channels, -1)
    scaling: Scaling = scale_by_filter_then_input if groups > 1 else node.arithmetic["CONV_2D.hybrid_scaling"]
    in_vectors = not per_channel and channels % GEMM_CHANNELS != 0
    return ConvParams(
        (output_shape,),
        window,
        row_quantizer(per_channel),
        scaling if per_channel else scale_by_product,
        tuple(prepare_matrix(part.T, CENTRED_MAGNITUDE) for part in np.split(rows, groups)),
        _not_negated(rows) if in_vectors else None,
        _lost_sum(rows, node.arithmetic["CONV_2D.hybrid_row_sums"]) if groups == 1 else None,
        scales if per_channel else scales[:1],
        *fused_float_range(node),
        node.narrow,
    )


def conv_2d(params: ConvParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """output[n, y, x, o] = clamp(sum of filter[o] * (patch - zero_point[n]), scaled with filter and image, + bias[o]).

    arrays: input, filter, bias. Pixels outside the image contribute 0. Errors: InvalidInput for an input without codes.
    Source: tflite/kernels/internal/reference/conv.h, HybridConvPerChannel; optimized/optimized_ops.h, HybridConv.
    """
    x, _, bias = arrays
    assert x is not None
    assert bias is not None
    rows = params.quantize(x.reshape(len(x), math.prod(x.shape[1:])))
    padded = pad(rows.centred.reshape(x.shape), params.window, 0, np.int16)
    columns = patches(padded, params.window)
    negative = None if params.not_negated is None else patches(np.minimum(padded, 0), params.window)
    bound = 2 * CENTRED_MAGNITUDE * max((matrix.column_sum for matrix in params.matrices), default=0)
    output = np.empty((len(x), *params.output_shapes[0][1:]), np.float32)
    for block in blocks(columns.shape[:3], output.shape[3], OUTPUT_ELEMENTS):
        sums = sums_of_products(columns[block], params.matrices)
        if negative is not None and params.not_negated is not None:
            sums = sums.astype(np.float64)  # a copy: the first result is scratch
            sums += sums_of_products(negative[block], (params.not_negated,))
        if params.lost_sum is not None:
            sums = sums.astype(np.float64) + rows.zero_point[block[0]].reshape(-1, 1, 1, 1) * params.lost_sum
        scale = rows.scale[block[0]].reshape(-1, 1, 1, 1)
        real = params.scaling(_as_float32(sums, bound, params.narrow), params.filter_scale, scale)
        real += bias.reshape(-1)
        output[block] = clamp_float(real, params.low, params.high)
    return (output,)


# DEPTHWISE_CONV_2D --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DepthwiseParams:
    """What DEPTHWISE_CONV_2D needs to run. `taps` and `groups` as in depthwise.DepthwiseWeights."""

    output_shapes: tuple[Shape]
    depth_multiplier: int
    scaling: Scaling
    runs: Runs
    taps: Array
    groups: tuple[tuple[int, ...], ...]
    filter_scale: Float32
    low: np.float32
    high: np.float32
    clamp: Callable[[Array, np.float32, np.float32], Array]


def depthwise_conv_2d_params(node: Node) -> DepthwiseParams:
    """Checks and decodes DEPTHWISE_CONV_2D: input (N, H, W, C) float32, filter (1, kh, kw, O) int8 with one scale a
    channel, bias (O,) float32 or none.

    Errors: InvalidModel for what TFLite's Prepare rejects; UnsupportedModel for a filter that is no constant, and where
    the runtime would read scales or write outputs that there are not.
    Source: tflite/kernels/depthwise_conv.cc, Prepare, EvalHybridPerChannel.
    """
    _, filter_, window, multiplier, output_shape = decode_depthwise(node, "FLOAT32")
    channels = output_shape[3]
    scales = filter_scales(node, filter_, channels)
    if len(scales) != channels:
        raise node.unsupported(f"filter '{filter_.name}' has {len(scales)} scales; TFLite reads {channels} of them")
    given = int(node.options.get("depth_multiplier", 0))
    if given != multiplier:
        raise node.unsupported(
            f"depth_multiplier is {given}, but the shapes have {multiplier}; TFLite goes by the option"
        )
    taps = node.value(1).reshape(-1, channels).astype(np.int16)
    runs = runs_of(window, channels)
    return DepthwiseParams(
        (output_shape,),
        multiplier,
        node.arithmetic["DEPTHWISE_CONV_2D.hybrid_scaling"],
        runs,
        along_runs(taps, runs),
        int16_groups(taps, CENTRED_MAGNITUDE),
        scales,
        *fused_float_range(node),
        node.arithmetic["DEPTHWISE_CONV_2D.hybrid_clamp"],
    )


def depthwise_conv_2d(params: DepthwiseParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """clamp(sum of filter[o] * (patch[o // multiplier] - zero_point[n]), scaled with filter and image, + bias[o]).

    arrays: input, filter, bias or nothing. Errors: InvalidInput for an input without codes.
    Source: tflite/kernels/internal/reference/integer_ops/depthwise_conv.h, DepthwiseConvHybridPerChannel.
    """
    x, _, *rest = arrays
    assert x is not None
    rows = quantize_rows_asymmetric(x.reshape(len(x), math.prod(x.shape[1:])))
    codes = np.repeat(rows.centred.reshape(x.shape), params.depth_multiplier, axis=3)
    sums = np.empty((len(x), *params.output_shapes[0][1:]), np.float32)
    for runs, target in in_runs(codes, params.runs, 0, np.int16, sums):
        target[...] = without_frame(sum_in_groups(runs, params.taps[:, : runs[0].shape[1]], params.groups), target)
    output = params.scaling(sums, params.filter_scale, rows.scale.reshape(-1, 1, 1, 1))
    if rest and rest[0] is not None:
        output += rest[0]
    return (params.clamp(output, params.low, params.high),)


# TRANSPOSE_CONV -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TransposeConvParams:
    """What TRANSPOSE_CONV needs to run. The window is that of the convolution from output to input."""

    output_shapes: tuple[Shape]
    window: Window
    filter_scale: Float32
    low: np.float32
    high: np.float32


def transpose_conv_params(node: Node) -> TransposeConvParams:
    """Checks and decodes TRANSPOSE_CONV: output_shape (4,) int32, filter (O, kh, kw, C) int8, input (N, H, W, C) and
    bias (O,) or none in float32.

    Errors: InvalidModel for what TFLite's Prepare and Eval reject; UnsupportedModel for a filter that is no constant.
    Source: tflite/kernels/transpose_conv.cc, Prepare, Eval.
    """
    _, filter_, window, output_shape = decode_transpose_conv(node, "FLOAT32")
    node.value(1)  # a constant
    scales, q = filter_scales(node, filter_, output_shape[3]), filter_.quantization
    if q is not None and len(scales) == 1 and filter_.shape[q.quantized_dimension] < output_shape[3]:
        raise node.unsupported(
            f"filter '{filter_.name}' has one scale along dimension {q.quantized_dimension}, which TFLite repeats only "
            f"{filter_.shape[q.quantized_dimension]} times for {output_shape[3]} output channels"
        )
    return TransposeConvParams((output_shape,), window, scales, *fused_float_range(node))


def transpose_conv(params: TransposeConvParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """Adds filter[:, ky, kx] * (input[y, x] - zero_point), each product scaled with filter and image, in float32.

    Each output sums its products in the order (y, x, channel) of the input. arrays: None, filter, input, bias or
    nothing. Errors: InvalidInput for an input without codes.
    Source: tflite/kernels/internal/reference/transpose_conv.h, HybridTransposeConv.
    """
    _, filter_, x, *rest = arrays
    assert filter_ is not None
    assert x is not None
    rows = quantize_rows_asymmetric(x.reshape(len(x), math.prod(x.shape[1:])))
    codes, weights = rows.centred.reshape(x.shape).astype(np.float32), filter_.astype(np.float32)
    scale = rows.scale.reshape(-1, 1, 1, 1)
    total = np.zeros((len(x), *params.output_shapes[0][1:]), np.float32)
    for ky, kx, (y, xs), target in scatter(params.window, total):
        part = codes[:, y, xs]
        for channel in range(x.shape[3]):
            products = part[..., channel, np.newaxis] * weights[:, ky, kx, channel]
            with np.errstate(all="ignore"):
                np.add(target, scale_by_filter_then_input(products, params.filter_scale, scale), out=target)
    if rest and rest[0] is not None:
        total += rest[0].reshape(-1)
    return (clamp_float(total, params.low, params.high),)


# BATCH_MATMUL -------------------------------------------------------------------------------------------------------

LEADING_AXES = 3


@dataclass(frozen=True, slots=True)
class BatchMatMulParams:
    """What BATCH_MATMUL needs to run: a (*leading, m, k) times b, constant.

    `rank`: the operands' largest; an array of more axes has the samples in front. `scale_places`: for each row of a
    the row whose scale and zero point the runtime takes, (*leading, m). `matrix`: b (*b_leading, k, n). `column_sums`:
    what the runtime takes for the sums of b's columns, (*b_leading, 1, n).
    """

    output_shapes: tuple[Shape]
    rank: int
    adj_x: bool
    a_shape: Shape
    quantize: RowQuantizer
    scale_places: NDArray[np.intp]
    matrix: Array
    column_sums: Float32
    filter_scale: Float32


def batch_matmul_params(node: Node) -> BatchMatMulParams:
    """Checks and decodes BATCH_MATMUL: a (..., m, k) float32, b (..., k, n) int8; transposed with adj_x and adj_y.

    Errors: InvalidModel for what TFLite's Prepare rejects; UnsupportedModel for b that is no constant, and where the
    runtime would read what it has not written. Source: tflite/kernels/batch_matmul.cc, Prepare, Eval, EvalHybrid.
    """
    a, b, output_shape = decode_batch_matmul(node)
    expect_same_type(node, a, node.outputs[0])
    if 0 in (*a.shape[-2:], *b.shape[-2:]):
        raise node.unsupported(f"{list(a.shape)} times {list(b.shape)} has nothing to multiply")
    adj_x, adj_y = (bool(node.options.get(name, False)) for name in ("adj_x", "adj_y"))
    columns = node.value(1).swapaxes(-1, -2) if not adj_y else node.value(1)  # (..., n, k)
    a_shape = (*a.shape[:-2], *(a.shape[:-3:-1] if adj_x else a.shape[-2:]))
    if not adj_x and min(len(a.shape), len(b.shape)) > 2 and b.shape[-3] == 1:
        a_shape = (*a_shape[:-3], a_shape[-3] * a_shape[-2], a_shape[-1])
        columns = columns.reshape(*columns.shape[:-3], *columns.shape[-2:])
    a_shape, columns_shape = (_with_leading_axes(shape) for shape in (a_shape, columns.shape))
    columns = columns.reshape(columns_shape)
    asymmetric = bool(node.options.get("asymmetric_quantize_inputs", False))
    return BatchMatMulParams(
        (output_shape,),
        max(len(a.shape), len(b.shape)),
        adj_x,
        a_shape,
        row_quantizer(asymmetric),
        _places(a_shape[:-1]),
        columns.swapaxes(-1, -2),
        _column_sums(node, columns)[..., np.newaxis, :] if asymmetric else np.zeros(1, np.float32),
        _scales(node, b, output_shape[-1]),
    )


def _with_leading_axes(shape: Shape) -> Shape:
    return (*(1,) * (LEADING_AXES + 2 - len(shape)), *shape)


def _places(shape: Shape) -> NDArray[np.intp]:
    """Where the runtime looks for what belongs to each row of (*leading, rows): it adds up the leading indices.

    That is right with one leading axis. Source: tflite/kernels/internal/reference/batch_matmul.h, BatchMatMul.
    """
    *leading, rows = np.indices(shape)
    places: NDArray[np.intp] = sum(leading) * shape[-1] + rows
    return places


def _column_sums(node: Node, columns: Array) -> Float32:
    """The sums over k of columns (*leading, n, k) as the runtime finds them: only in front on the first axis."""
    places = _places(columns.shape[:-1])
    sums: Int64 = row_sums_in_int16_lanes(columns[0].reshape(-1, columns.shape[-1]))
    if places.max(initial=-1) >= len(sums):
        raise node.unsupported(f"input 1 ('{node.input(1).name}') has axes before its last 4, whose sums TFLite lacks")
    return sums[places].astype(np.float32)


def batch_matmul(params: BatchMatMulParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """output = (code of a @ b - zero_point * column sums of b) * (scale of a * scale of b); leading axes broadcast.

    arrays: a, b. Zero points are taken off in float32. Errors: InvalidInput for an input without codes.
    Source: tflite/kernels/internal/reference/batch_matmul.h, BatchMatMul (with scaling_factors).
    """
    a = arrays[0]
    assert a is not None
    batched = a.ndim > params.rank
    samples = len(a) if batched else 1
    a = (a.swapaxes(-1, -2) if params.adj_x else a).reshape(samples, *params.a_shape)
    rows = params.quantize(a.reshape(-1, a.shape[-1]))
    codes = (rows.centred + rows.zero_point[:, np.newaxis]).reshape(a.shape)
    scale, zero_point = (
        values.reshape(samples, -1)[:, params.scale_places][..., np.newaxis]
        for values in (rows.scale, rows.zero_point.astype(np.float32))
    )
    total = exact_matmul(codes, params.matrix, CODE_MAGNITUDE).astype(np.float32)
    total = total - params.column_sums * zero_point
    output = scale_by_product(total, params.filter_scale, scale) + np.float32(0)
    return (output.reshape(*((samples,) if batched else ()), *params.output_shapes[0]),)
