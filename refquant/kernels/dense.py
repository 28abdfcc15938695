"""FULLY_CONNECTED and BATCH_MATMUL.

int8: accumulator = sum of (a - a's zero point) * (b - b's zero point) + bias, in int32.
float32: the products are summed one after another, then the bias is added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from refquant.arithmetic.exact import Narrow, PreparedMatrix, exact_matmul, largest_magnitude, narrowed, prepare_matrix
from refquant.arithmetic.fixed_point import INT32_MAX, Int64
from refquant.arithmetic.float_product import FloatProduct
from refquant.arithmetic.requantize import RealMultiplier
from refquant.errors import UnsupportedModel
from refquant.kernels.activation import activation_range, clamp_sum, fused_float_range, fused_range
from refquant.kernels.checks import expect_counts, expect_same_type, legacy_parameters
from refquant.kernels.kernel import Batching, Node, Operand, Shape
from refquant.kernels.output_stage import Finish, OutputStage, finish, output_stage, prepare_finish
from refquant.model.graph import Array

INT8_MAGNITUDE = 128
MAX_SCALE_DIFFERENCE = 0.02  # of input scale * filter scale from the bias scale, in steps of the output

# FULLY_CONNECTED ----------------------------------------------------------------------------------------------------

CLAMPING_ACTIVATIONS = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6")


@dataclass(frozen=True, slots=True)
class FullyConnectedParams:
    """What FULLY_CONNECTED (int8) needs to run. `weights` is None while the filter or the bias is no constant.

    `columns`: length of a row of the input. `whole_rows`: whether the rows use up the input; else the rest is not read.
    """

    output_shapes: tuple[Shape]
    columns: int
    whole_rows: bool
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
    input_, filter_, bias, output_shape = _decode_fully_connected(node, "INT32")
    units, columns = filter_.shape
    q = filter_.quantization
    if q is None or len(q.scale) not in (1, units) or (len(q.scale) > 1 and q.quantized_dimension != 0):
        raise node.invalid(f"filter '{filter_.name}' needs 1 scale, or {units} along dimension 0")
    scale, zero_point = node.scale_and_zero_point(input_)
    stage = output_stage(node, scale, np.asarray(q.scale, np.float32), fused_range(node))
    filter_zero_point = legacy_parameters(filter_)[1]
    if len(q.scale) == 1 and bias is not None:
        _check_bias_scale(node, scale * q.scale[0], bias)
    weights = None
    if filter_.value is not None and (bias is None or bias.value is not None):
        bias_value = None if bias is None else bias.value
        weights = dense_weights(filter_.value, bias_value, zero_point, filter_zero_point, stage)
        if beyond := _beyond_int32(weights.finish):
            raise node.unsupported(beyond)
    whole_rows = int(np.prod(input_.shape)) % columns == 0
    return FullyConnectedParams((output_shape,), columns, whole_rows, zero_point, filter_zero_point, stage, weights)


def _decode_fully_connected(node: Node, bias_type: str) -> tuple[Operand, Operand, Operand | None, Shape]:
    """(input, filter, bias, output shape)."""
    if len(node.inputs) not in (2, 3) or len(node.outputs) != 1:
        raise node.invalid(f"has {len(node.inputs)} inputs and {len(node.outputs)} outputs; it takes 2 or 3, gives 1")
    if node.options.get("weights_format", "DEFAULT") != "DEFAULT":
        raise node.unsupported(f"weights_format {node.options['weights_format']} is not built")
    if node.options.get("fused_activation_function", "NONE") not in CLAMPING_ACTIVATIONS:
        raise node.invalid(
            f"fused activation {node.options['fused_activation_function']}; "
            f"it must be one of {', '.join(CLAMPING_ACTIVATIONS)}"
        )
    input_, filter_, bias = node.input(0), node.input(1), node.optional(2)
    if len(filter_.shape) != 2:
        raise node.invalid(f"filter '{filter_.name}' has shape {list(filter_.shape)}; it must have 2 dimensions")
    units, columns = filter_.shape
    if columns == 0:
        raise node.unsupported(f"filter '{filter_.name}' has no columns")
    expect_same_type(node, input_, node.outputs[0])
    if filter_.type != input_.type:
        raise node.unsupported(f"a filter of type {filter_.type} with an input of type {input_.type} is not built")
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


def _check_bias_scale(node: Node, product_scale: float, bias: Operand) -> None:
    """Source: tflite/kernels/kernel_util.cc, GetQuantizedConvolutionMultipler."""
    bias_scale, output_scale = legacy_parameters(bias)[0], node.scale_and_zero_point(node.outputs[0])[0]
    if abs(product_scale - bias_scale) / output_scale > MAX_SCALE_DIFFERENCE:
        raise node.invalid(
            f"the scale of bias '{bias.name}' is {bias_scale}, that of input times filter {product_scale}; they may "
            f"differ by {MAX_SCALE_DIFFERENCE} of the output's scale {output_scale}"
        )


def _beyond_int32(f: Finish) -> str | None:
    """What is wrong if results may leave the range of int32, to which a real multiplier's result is cast."""
    record = f.stage.record
    if not isinstance(record, RealMultiplier):
        return None
    bound = min(f.bound + largest_magnitude(f.constant), INT32_MAX + 1) * float(record.real.max(initial=0))
    if bound < INT32_MAX - 255:
        return None
    return f"results may reach {bound:.3g} times the output's scale; beyond int32 TFLite's are undefined"


def dense_weights(
    filter_: Array, bias: Array | None, zero_point: int, filter_zero_point: int, stage: OutputStage
) -> DenseWeights:
    """filter (units, columns) int8 and bias (units,) int32 or None, ready to run."""
    matrix = prepare_matrix(filter_.T.astype(np.int16) - np.int16(filter_zero_point), INT8_MAGNITUDE)
    constant: Int64 = -zero_point * matrix.integers.sum(axis=0, dtype=np.int64)
    if bias is not None:
        constant = constant + bias.reshape(-1)
    return DenseWeights(matrix, prepare_finish(stage, constant, INT8_MAGNITUDE * matrix.column_sum))


def fully_connected(params: FullyConnectedParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """output[n, u] = clamp(requantize(sum of (filter[u] - its zero_point) * (row[n] - zero_point) + bias[u]) + ...).

    arrays: input, filter, bias or nothing. The input is read as rows of `columns` elements.
    Source: tflite/kernels/internal/reference/integer_ops/fully_connected.h, FullyConnected, FullyConnectedPerChannel.
    """
    x, filter_, *rest = arrays
    assert x is not None
    assert filter_ is not None
    weights = params.weights
    if weights is None:
        bias = rest[0] if rest else None
        weights = dense_weights(filter_, bias, params.input_zero_point, params.filter_zero_point, params.stage)
        if beyond := _beyond_int32(weights.finish):
            raise UnsupportedModel(beyond)
    sums = exact_matmul(_rows(x, params.columns), weights.matrix, INT8_MAGNITUDE)
    output = np.empty(sums.shape, np.int8)
    finish(weights.finish, sums, output)
    return (_shaped(output, x, params.output_shapes[0]),)


def _rows(x: Array, columns: int) -> Array:
    """x as rows of `columns` elements; what does not fill a row is left out."""
    flat = x.reshape(-1)
    return flat[: flat.size - flat.size % columns].reshape(-1, columns)


def _shaped(output: Array, x: Array, shape: Shape) -> Array:
    """Rows of outputs (n, units) in the output's shape; samples may be folded into dimension 0 of x."""
    return output if len(shape) == 2 else output.reshape(-1) if len(shape) == 1 else output.reshape(len(x), *shape[1:])


def fully_connected_batching(params: FullyConnectedParams | FloatFullyConnectedParams) -> Batching:
    """Samples are rows, unless each leaves some elements over."""
    return Batching.ROWS if params.whole_rows else Batching.LOOP


@dataclass(frozen=True, slots=True)
class FloatFullyConnectedParams:
    """What FULLY_CONNECTED (float32) needs to run."""

    output_shapes: tuple[Shape]
    columns: int
    whole_rows: bool
    low: np.float32
    high: np.float32
    product: FloatProduct


def fully_connected_float_params(node: Node) -> FloatFullyConnectedParams:
    """Checks and decodes FULLY_CONNECTED with filter, input and bias in float32; see fully_connected_params."""
    input_, filter_, _, output_shape = _decode_fully_connected(node, "FLOAT32")
    columns = filter_.shape[1]
    whole_rows = int(np.prod(input_.shape)) % columns == 0
    return FloatFullyConnectedParams(
        (output_shape,), columns, whole_rows, *fused_float_range(node), node.arithmetic["float.product"]
    )


def fully_connected_float(params: FloatFullyConnectedParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """output[n, u] = clamp(sum of filter[u] * row[n] + bias[u]), summed in the order of the columns.

    arrays: input, filter, bias or nothing. Source: tflite/kernels/internal/reference/fully_connected.h, FullyConnected.
    """
    x, filter_, *rest = arrays
    assert x is not None
    assert filter_ is not None
    rows = _rows(x, params.columns)
    total = np.zeros((len(rows), len(filter_)), np.float32)
    params.product(rows, np.ascontiguousarray(filter_.T), total)
    if rest and rest[0] is not None:
        total += rest[0].reshape(-1)
    return (_shaped(clamp_sum(total, params.low, params.high), x, params.output_shapes[0]),)


# BATCH_MATMUL -------------------------------------------------------------------------------------------------------

MAX_RANK = 5


@dataclass(frozen=True, slots=True)
class BatchMatMulParams:
    """What BATCH_MATMUL (int8) needs to run. `stage` is None for an int32 output: the plain product of the codes."""

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
    a, b, output_shape = _decode_batch_matmul(node)
    output = node.outputs[0]
    (a_scale, a_zero_point), (b_scale, b_zero_point) = legacy_parameters(a), legacy_parameters(b)
    adj = bool(node.options.get("adj_x", False)), bool(node.options.get("adj_y", False))
    if output.type == "INT32":
        return BatchMatMulParams((output_shape,), *adj, (0, 0), None, node.narrow)
    expect_same_type(node, a, output)
    stage = output_stage(node, a_scale, b_scale, activation_range("NONE", 1.0, 0, output.type))
    return BatchMatMulParams((output_shape,), *adj, (a_zero_point, b_zero_point), stage, node.narrow)


def _decode_batch_matmul(node: Node) -> tuple[Operand, Operand, Shape]:
    """(a, b, output shape)."""
    expect_counts(node, 2, 1)
    a, b = node.input(0), node.input(1)
    if a.type != b.type:
        raise node.unsupported(f"types {a.type} and {b.type} are not built")
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
    output = np.empty(sums.shape, np.int8)
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
    a, _, output_shape = _decode_batch_matmul(node)
    expect_same_type(node, a, node.outputs[0])
    adj = bool(node.options.get("adj_x", False)), bool(node.options.get("adj_y", False))
    return FloatBatchMatMulParams((output_shape,), *adj, node.arithmetic["float.product"])


def batch_matmul_float(params: FloatBatchMatMulParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """output = a @ b, each sum in the order of k; leading axes broadcast.

    arrays: a, b. Source: tflite/kernels/internal/reference/batch_matmul.h, BatchMatMul.
    """
    a, b = _operands(params, arrays)
    leading = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    total = np.zeros((*leading, a.shape[-2], b.shape[-1]), np.float32)
    params.product(a, b, total)
    return (total,)
