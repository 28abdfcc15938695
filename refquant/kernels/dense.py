"""FULLY_CONNECTED and BATCH_MATMUL.

int8, uint8: accumulator = sum of (a - a's zero point) * (b - b's zero point) + bias, in int32.
int16: the same with filters (or b) of int8 or b of int16, a's zero point 0, and 64 or 32 bits; see int16.py.
float32: the products are summed one after another, then the bias is added.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from refquant.arithmetic.exact import (
    Narrow,
    PreparedMatrix,
    as_int64,
    exact_matmul,
    largest_magnitude,
    narrowed,
    prepare_matrix,
)
from refquant.arithmetic.fixed_point import INT32_MAX, Int64
from refquant.arithmetic.float_product import FloatProduct
from refquant.arithmetic.requantize import FLOAT64_ROUND, RealMultiplier
from refquant.errors import UnsupportedModel
from refquant.kernels.activation import activation_range, finish_float, fused_float_range, fused_range
from refquant.kernels.checks import expect_counts, expect_same_type, legacy_parameters
from refquant.kernels.convolution import MAGNITUDES
from refquant.kernels.index_operands import expect_zero_zero_point
from refquant.kernels.int16 import accumulator_type
from refquant.kernels.kernel import Batching, Node, Operand, Shape
from refquant.kernels.output_stage import (
    Finish,
    OutputStage,
    check_bias_scale,
    finish,
    output_stage,
    prepare_finish,
)
from refquant.kernels.uint8 import OFFSET, int8_codes, uint8_stage
from refquant.model.graph import Array

# FULLY_CONNECTED ----------------------------------------------------------------------------------------------------

CLAMPING_ACTIVATIONS = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6")


@dataclass(frozen=True, slots=True)
class FullyConnectedParams:
    """What FULLY_CONNECTED (int8, uint8, int16) needs to run. `weights` is None while filter or bias is no constant.

    `codes`: the type of the input's codes, uint8 as int8. `input_zero_point`: of those codes.
    `columns`: length of a row of the input. `whole_rows`: whether the rows use up the input; else the rest is not read.
    """

    output_shapes: tuple[Shape]
    columns: int
    whole_rows: bool
    codes: str
    input_zero_point: int
    filter_zero_point: int
    stage: OutputStage
    weights: DenseWeights | None


@dataclass(frozen=True, slots=True)
class DenseWeights:
    """(filter - filter zero_point) transposed, and what finishes its sums with the input.

    The input's zero point is part of the constant that meets the sums: bias - zero_point * sum of the matrix.
    """

    matrix: PreparedMatrix
    finish: Finish


def fully_connected_params(node: Node) -> FullyConnectedParams:
    """Checks and decodes FULLY_CONNECTED: input (any shape), filter (units, columns) int8, bias (units,) int32 or none.

    A filter with one scale keeps its zero point; with one scale a unit the zero points are not read.
    Errors: InvalidModel for what TFLite's Prepare rejects; UnsupportedModel for other types.
    Source: tflite/kernels/fully_connected.cc, Prepare, PrepareImpl.
    """
    return _fully_connected_params(node, "INT32")


def fully_connected_int16_params(node: Node) -> FullyConnectedParams:
    """Checks and decodes FULLY_CONNECTED with an input in int16, a filter in int8 and a bias in int64, int32 or none.

    With neither a bias nor the option quantized_bias_type, the runtime's "FULLY_CONNECTED.int16_accumulator" is used.
    See fully_connected_params. Source: tflite/kernels/fully_connected.cc, PrepareImpl, EvalQuantized.
    """
    expect_zero_zero_point(node, node.input(0))
    expect_zero_zero_point(node, node.outputs[0])
    accumulator = accumulator_type(node, node.optional(2))
    told = node.optional(2) is not None or node.options.get("quantized_bias_type", "FLOAT32") != "FLOAT32"
    if not told and legacy_parameters(node.input(1))[1] == 0:
        accumulator = node.arithmetic["FULLY_CONNECTED.int16_accumulator"]
    return _fully_connected_params(node, accumulator)


def _fully_connected_params(node: Node, accumulator: str) -> FullyConnectedParams:
    """FULLY_CONNECTED with symmetric filters. accumulator: its type, which is the bias's too."""
    input_, filter_, bias, output_shape = decode_fully_connected(node, accumulator)
    units, columns = filter_.shape
    q = filter_.quantization
    if q is None or len(q.scale) not in (1, units) or (len(q.scale) > 1 and q.quantized_dimension != 0):
        raise node.invalid(f"filter '{filter_.name}' needs 1 scale, or {units} along dimension 0")
    scale, zero_point = node.scale_and_zero_point(input_)
    scales = np.asarray(q.scale, np.float32)
    filter_zero_point = legacy_parameters(filter_)[1]
    asymmetric_int16 = (input_.type, accumulator) == ("INT16", "INT32") and filter_zero_point != 0
    stage = output_stage(
        node,
        scale,
        scales,
        fused_range(node),
        "per_tensor_effective_scale"
        if len(scales) == 1 and accumulator == "INT32" and not asymmetric_int16
        else "effective_scale",
        accumulator,
        "asymmetric_int16_requantizer" if asymmetric_int16 else "",
    )
    if len(q.scale) == 1:
        check_bias_scale(node, scale * q.scale[0], bias)
    whole_rows = int(np.prod(input_.shape)) % columns == 0
    return _with_weights(
        node,
        FullyConnectedParams(
            (output_shape,), columns, whole_rows, input_.type, zero_point, filter_zero_point, stage, None
        ),
    )


def fully_connected_uint8_params(node: Node) -> FullyConnectedParams:
    """Checks and decodes FULLY_CONNECTED with input and filter in uint8 and one scale each; see fully_connected_params.

    Source: tflite/kernels/fully_connected.cc, PrepareImpl.
    """
    input_, filter_, bias, output_shape = decode_fully_connected(node, "INT32")
    columns = filter_.shape[1]
    zero_point, filter_zero_point, stage = uint8_stage(node, input_, filter_, bias)
    whole_rows = int(np.prod(input_.shape)) % columns == 0
    shift = zero_point - OFFSET
    params = FullyConnectedParams((output_shape,), columns, whole_rows, "INT8", shift, filter_zero_point, stage, None)
    return _with_weights(node, params)


def _with_weights(node: Node, params: FullyConnectedParams) -> FullyConnectedParams:
    """The params with weights if filter and bias are constants.

    UnsupportedModel if results of a 32-bit accumulator may leave int32; of a 64-bit one a run tells.
    """
    filter_, bias = node.input(1).value, node.optional(2)
    if filter_ is None or (bias is not None and bias.value is None):
        return params
    weights = dense_weights(params, filter_, None if bias is None else bias.value)
    if params.stage.narrow is not as_int64 and (beyond := _beyond_int32(weights.finish)):
        raise node.unsupported(beyond)
    return replace(params, weights=weights)


def decode_fully_connected(
    node: Node, bias_type: str, activations: Sequence[str] = CLAMPING_ACTIVATIONS
) -> tuple[Operand, Operand, Operand | None, Shape]:
    """(input, filter, bias, output shape)."""
    if len(node.inputs) not in (2, 3) or len(node.outputs) != 1:
        raise node.invalid(f"has {len(node.inputs)} inputs and {len(node.outputs)} outputs; it takes 2 or 3, gives 1")
    if node.options.get("weights_format", "DEFAULT") != "DEFAULT":
        raise node.unsupported(f"weights_format {node.options['weights_format']} is not built")
    if node.options.get("fused_activation_function", "NONE") not in activations:
        raise node.invalid(
            f"fused activation {node.options['fused_activation_function']}; it must be one of {', '.join(activations)}"
        )
    input_, filter_, bias = node.input(0), node.input(1), node.optional(2)
    if len(filter_.shape) != 2:
        raise node.invalid(f"filter '{filter_.name}' has shape {list(filter_.shape)}; it must have 2 dimensions")
    units, columns = filter_.shape
    if columns == 0:
        raise node.unsupported(f"filter '{filter_.name}' has no columns")
    expect_same_type(node, input_, node.outputs[0])
    if bias is not None:
        if bias.type != bias_type:
            raise node.unsupported(
                f"bias '{bias.name}' is {bias.type}; with an input of {input_.type} {bias_type} is built"
            )
        if int(np.prod(bias.shape)) != units:
            raise node.invalid(f"bias '{bias.name}' has shape {list(bias.shape)}; it needs {units} elements")
    if not node.options.get("keep_num_dims", False):
        return input_, filter_, bias, (int(np.prod(input_.shape)) // columns, units)
    if input_.shape[-1:] != (columns,):
        raise node.invalid(
            f"keep_num_dims is set and the input has shape {list(input_.shape)}; its last dimension must be {columns}"
        )
    return input_, filter_, bias, (*input_.shape[:-1], units)


def _beyond_int32(f: Finish) -> str | None:
    """What is wrong if results may leave the range of int32, to which a real multiplier's result is cast."""
    record = f.stage.record
    if not isinstance(record, RealMultiplier) or f.stage.requantizer is not FLOAT64_ROUND:
        return None
    largest = f.bound + largest_magnitude(f.constant)
    if f.stage.narrow is not as_int64:
        largest = min(largest, INT32_MAX + 1)
    bound = largest * float(record.real.max(initial=0))
    if bound < INT32_MAX - 255:
        return None
    return f"results may reach {bound:.3g} times the output's scale; beyond int32 TFLite's are undefined"


def _check_results(f: Finish, sums: Array) -> None:
    """UnsupportedModel if a result of these sums (rows, units) leaves int32."""
    record = f.stage.record
    assert isinstance(record, RealMultiplier)
    largest = np.abs(sums.astype(np.float64) + f.constant).max(axis=0, initial=0) * record.real
    if not largest.max(initial=0) < INT32_MAX - 255:
        raise UnsupportedModel(
            f"a result reaches {largest.max():.3g} times the output's scale; beyond int32 TFLite's are undefined"
        )


def dense_weights(params: FullyConnectedParams, filter_: Array, bias: Array | None) -> DenseWeights:
    """filter (units, columns) of codes and bias (units,) integers or None, ready to run."""
    magnitude = MAGNITUDES[params.codes]
    matrix = prepare_matrix(filter_.T.astype(np.int16) - np.int16(params.filter_zero_point), magnitude)
    constant: Int64 = -params.input_zero_point * matrix.integers.sum(axis=0, dtype=np.int64)
    if bias is not None:
        constant = constant + bias.reshape(-1)
    return DenseWeights(matrix, prepare_finish(params.stage, constant, magnitude * matrix.column_sum))


def fully_connected(params: FullyConnectedParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """output[n, u] = clamp(requantize(sum of (filter[u] - its zero_point) * (row[n] - zero_point) + bias[u]) + ...).

    arrays: input int8 or int16, filter int8, bias int32, int64 or nothing. The input is read as rows of `columns`.
    Source: tflite/kernels/internal/reference/integer_ops/fully_connected.h, FullyConnected, FullyConnectedPerChannel.
    """
    x, filter_, *rest = arrays
    assert x is not None
    assert filter_ is not None
    weights = params.weights
    if weights is None:
        weights = dense_weights(params, filter_, rest[0] if rest else None)
        if params.stage.narrow is not as_int64 and (beyond := _beyond_int32(weights.finish)):
            raise UnsupportedModel(beyond)
    sums = exact_matmul(_rows(x, params.columns), weights.matrix, MAGNITUDES[params.codes])
    if params.stage.narrow is as_int64 and _beyond_int32(weights.finish):
        _check_results(weights.finish, sums)
    output = np.empty(sums.shape, params.stage.dtype)
    finish(weights.finish, sums, output)
    return (shaped(output, x, params.output_shapes[0]),)


def fully_connected_uint8(params: FullyConnectedParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """As fully_connected. arrays: input and filter uint8, bias int32 or nothing.

    Source: tflite/kernels/internal/reference/fully_connected.h, FullyConnected.
    """
    return fully_connected(params, (int8_codes(arrays[0]), *arrays[1:]))


def _rows(x: Array, columns: int) -> Array:
    """x as rows of `columns` elements; what does not fill a row is left out."""
    flat = x.reshape(-1)
    return flat[: flat.size - flat.size % columns].reshape(-1, columns)


def shaped(output: Array, x: Array, shape: Shape) -> Array:
    """Rows of outputs (n, units) in the output's shape; samples may be folded into dimension 0 of x."""
    return output if len(shape) == 2 else output.reshape(-1) if len(shape) == 1 else output.reshape(len(x), *shape[1:])


def fully_connected_batching(params: FullyConnectedParams | FloatFullyConnectedParams) -> Batching:
    """Samples are rows, unless each leaves some elements over."""
    return Batching.ROWS if params.whole_rows else Batching.LOOP


@dataclass(frozen=True, slots=True)
class FloatFullyConnectedParams:
    """What FULLY_CONNECTED (float32) needs to run. `matrix`: the filter transposed, None while it is no constant."""

    output_shapes: tuple[Shape]
    columns: int
    whole_rows: bool
    low: np.float32
    high: np.float32
    product: FloatProduct
    matrix: Array | None


def fully_connected_float_params(node: Node) -> FloatFullyConnectedParams:
    """Checks and decodes FULLY_CONNECTED with filter, input and bias in float32; see fully_connected_params."""
    input_, filter_, _, output_shape = decode_fully_connected(node, "FLOAT32")
    columns = filter_.shape[1]
    whole_rows = int(np.prod(input_.shape)) % columns == 0
    matrix = None if filter_.value is None else np.ascontiguousarray(filter_.value.T)
    low, high = fused_float_range(node)
    return FloatFullyConnectedParams(
        (output_shape,), columns, whole_rows, low, high, node.arithmetic["float.product"], matrix
    )


def fully_connected_float(params: FloatFullyConnectedParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """output[n, u] = clamp(sum of filter[u] * row[n] + bias[u]), summed in the order of the columns.

    arrays: input, filter, bias or nothing. Source: tflite/kernels/internal/reference/fully_connected.h, FullyConnected.
    """
    x, filter_, *rest = arrays
    assert x is not None
    assert filter_ is not None
    rows = _rows(x, params.columns)
    total = np.empty((len(rows), len(filter_)), np.float32)
    matrix = filter_.T if params.matrix is None else params.matrix
    a_sample = max(1, math.prod(params.output_shapes[0][:-1]))
    stack = len(rows) // a_sample, a_sample
    params.product(rows.reshape(*stack, params.columns), matrix, total.reshape(*stack, len(filter_)))
    finish_float(total, rest[0] if rest else None, params.low, params.high)
    return (shaped(total, x, params.output_shapes[0]),)


# BATCH_MATMUL -------------------------------------------------------------------------------------------------------

MAX_RANK = 5


@dataclass(frozen=True, slots=True)
class BatchMatMulParams:
    """What BATCH_MATMUL (int8, int16) needs to run. `stage` is None for an int32 output: the plain product of codes."""

    output_shapes: tuple[Shape]
    adj_x: bool
    adj_y: bool
    zero_points: tuple[int, int]
    stage: OutputStage | None
    narrow: Narrow


def batch_matmul_params(node: Node) -> BatchMatMulParams:
    """Checks and decodes BATCH_MATMUL: a (..., m, k) and b (..., k, n) int8, each transposed if adj_x or adj_y is set.

    An operand with several scales counts as one with scale 0 and zero point 0. An output of int32 is the product of
    the codes, without zero points. Errors: InvalidModel for what TFLite's Prepare rejects; UnsupportedModel for other
    types. Source: tflite/kernels/batch_matmul.cc, Prepare.
    """
    a, b, output_shape = decode_batch_matmul(node)
    output = node.outputs[0]
    (a_scale, a_zero_point), (b_scale, b_zero_point) = legacy_parameters(a), legacy_parameters(b)
    adj = bool(node.options.get("adj_x", False)), bool(node.options.get("adj_y", False))
    if output.type == "INT32":
        return BatchMatMulParams((output_shape,), *adj, (0, 0), None, node.narrow)
    expect_same_type(node, a, output)
    stage = output_stage(node, a_scale, b_scale, activation_range("NONE", 1.0, 0, output.type))
    return BatchMatMulParams((output_shape,), *adj, (a_zero_point, b_zero_point), stage, node.narrow)


def batch_matmul_int16_params(node: Node) -> BatchMatMulParams:
    """Checks and decodes BATCH_MATMUL with a in int16 and b in int16 or int8, every zero point 0 and 64-bit sums.

    See batch_matmul_params. Source: tflite/kernels/batch_matmul.cc, Prepare, EvalInt16, EvalInt16Int8.
    """
    a, b, output_shape = decode_batch_matmul(node)
    output = node.outputs[0]
    expect_same_type(node, a, output)
    for operand in (a, b, output):
        if legacy_parameters(operand)[1] != 0:
            raise node.invalid(f"'{operand.name}' must have zero point 0, not {legacy_parameters(operand)[1]}")
    adj = bool(node.options.get("adj_x", False)), bool(node.options.get("adj_y", False))
    (a_scale, _), (b_scale, _) = legacy_parameters(a), legacy_parameters(b)
    clamp = activation_range("NONE", 1.0, 0, output.type)
    stage = output_stage(node, a_scale, b_scale, clamp, accumulator="INT64")
    return BatchMatMulParams((output_shape,), *adj, (0, 0), stage, node.narrow)


def decode_batch_matmul(node: Node) -> tuple[Operand, Operand, Shape]:
    """(a, b, output shape)."""
    expect_counts(node, 2, 1)
    a, b = node.input(0), node.input(1)
    for operand in (a, b):
        if not 2 <= len(operand.shape) <= MAX_RANK:
            raise node.invalid(
                f"'{operand.name}' has shape {list(operand.shape)}; it must have 2 to {MAX_RANK} dimensions"
            )
    rows, k = _transposed(a.shape[-2:], node.options.get("adj_x", False))
    k_b, columns = _transposed(b.shape[-2:], node.options.get("adj_y", False))
    if k != k_b:
        raise node.invalid(f"shapes {list(a.shape)} and {list(b.shape)} cannot be multiplied: {k} columns, {k_b} rows")
    try:
        leading = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise node.invalid(f"shapes {list(a.shape)} and {list(b.shape)} cannot be broadcast") from None
    return a, b, (*leading, rows, columns)


def _transposed(shape: Shape, adjoint: bool) -> Shape:
    return shape[::-1] if adjoint else shape


def batch_matmul(params: BatchMatMulParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """output = clamp(requantize((a - zero_point) @ (b - zero_point)) + output zero_point); leading axes broadcast.

    arrays: a, b. Source: tflite/kernels/internal/reference/batch_matmul.h, BatchMatMul.
    """
    a, b = _operands(params, arrays)
    a, b = (x.astype(np.int16) - np.int16(z) for x, z in zip((a, b), params.zero_points, strict=True))
    magnitude = largest_magnitude(a)
    sums = exact_matmul(a, b, magnitude)
    bound = magnitude * largest_magnitude(b) * a.shape[-1]
    if params.stage is None:
        return (narrowed(sums, None, bound, params.narrow)[0].astype(np.int32),)
    output = np.empty(sums.shape, params.stage.dtype)
    finish(prepare_finish(params.stage, np.zeros(1, np.int64), bound), sums, output)
    return (output,)


def _operands(
    params: BatchMatMulParams | FloatBatchMatMulParams, arrays: Sequence[Array | None]
) -> tuple[Array, Array]:
    a, b = arrays
    assert a is not None
    assert b is not None
    return a.swapaxes(-1, -2) if params.adj_x else a, b.swapaxes(-1, -2) if params.adj_y else b


@dataclass(frozen=True, slots=True)
class FloatBatchMatMulParams:
    """What BATCH_MATMUL (float32) needs to run."""

    output_shapes: tuple[Shape]
    adj_x: bool
    adj_y: bool
    product: FloatProduct


def batch_matmul_float_params(node: Node) -> FloatBatchMatMulParams:
    """Checks and decodes BATCH_MATMUL with operands in float32; see batch_matmul_params."""
    a, _, output_shape = decode_batch_matmul(node)
    expect_same_type(node, a, node.outputs[0])
    adj = bool(node.options.get("adj_x", False)), bool(node.options.get("adj_y", False))
    return FloatBatchMatMulParams((output_shape,), *adj, node.arithmetic["float.product"])


def batch_matmul_float(params: FloatBatchMatMulParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """output = a @ b, each sum in the order of k; leading axes broadcast.

    arrays: a, b. Source: tflite/kernels/internal/reference/batch_matmul.h, BatchMatMul.
    """
    a, b = _operands(params, arrays)
    leading = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    total = np.empty((*leading, a.shape[-2], b.shape[-1]), np.float32)
    params.product(a, b, total)
    return (total,)
