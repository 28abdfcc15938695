"""Every op in the reals: what no runtime computes, and what all of them come near to.

Codes are read as the reals that they stand for, the op is computed in float64, a fused activation clamps the result,
and it is rounded ONCE: to a step of the output's scale, or to float32. Half-way values go to the even step. That is
without bias, so that the yardstick has no drift of its own, and as near to the kernels that round away from zero as to
those that round up.

How exact float64 is: a code's real has at most 40 bits. Products of codes are summed as the whole numbers that they
are, and meet the scales at the end. A real result half-way between two steps has at most 41 bits, so that float64 finds
it; one within about 2^-50 of the half-way point may be taken for it. Functions (e^x and the like) are NumPy's, good to
about 2^-52.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.arithmetic.fixed_point import Int64
from refquant.errors import InvalidInput, InvalidModel
from refquant.kernels.activation import REAL_RANGES
from refquant.kernels.checks import channel_shape, is_quantized
from refquant.kernels.convolution import (
    COLUMN_ELEMENTS,
    FloatConvParams,
    FloatTransposeConvParams,
    blocks,
    scatter,
)
from refquant.kernels.dense import FloatBatchMatMulParams, FloatFullyConnectedParams, shaped
from refquant.kernels.depthwise import FloatDepthwiseParams, along_runs, in_runs, without_frame
from refquant.kernels.elementwise import ShapeParams, expect_unary
from refquant.kernels.index_operands import present
from refquant.kernels.kernel import Batching, Kernel, KernelTable, Node, Operand, Shape
from refquant.kernels.padding import pad, patches, tap_counts, taps
from refquant.kernels.pooling import FloatPoolParams
from refquant.kernels.resize import ResizeBilinearParams
from refquant.kernels.softmax import FloatSoftmaxParams
from refquant.kernels.table import KERNELS
from refquant.kernels.unary import GeluParams, PlainParams
from refquant.model.graph import DTYPES, Array

Float64 = NDArray[np.float64]

CODES = ("INT8", "UINT8", "INT16", "INT32", "INT64")  # types whose tensors stand for reals where they have a scale
BLOCK_ELEMENTS = 1 << 17  # of an input or output that are worked on at once: a few float64 of each fit the cache
LEAST_NORM = 1e-6  # below which L2_NORMALIZATION divides by it


@dataclass(frozen=True, slots=True)
class Affine:
    """real = scale * (code - zero_point), both shaped to broadcast against the tensor from its last axis."""

    scale: Float64
    zero_point: Int64


@dataclass(frozen=True, slots=True)
class ExactParams:
    """One operator, computed by `kernel` with its `params`.

    `reals`: how its tensors are read and written; None where they hold integers that stand for themselves, on which
    the kernel runs as it is.
    """

    kernel: Kernel
    params: Any
    reals: Reals | None

    @property
    def output_shapes(self) -> tuple[Shape | None, ...]:
        """The shape of the output."""
        shapes: tuple[Shape | None, ...] = self.params.output_shapes
        return shapes


@dataclass(frozen=True, slots=True)
class Reals:
    """`inputs`, `output`: None for tensors that hold no codes. `low`, `high`: a fused activation's bounds, if any."""

    place: str
    inputs: tuple[Affine | None, ...]
    output: Affine | None
    type: str
    low: float | None
    high: float | None


# How an op is carried over into the reals ----------------------------------------------------------------------------

Compute = Callable[[Any, Reals, Sequence[Array | None]], Float64]
"""compute(params of the float32 kernel, how codes are read, arrays) -> the real result, before the activation."""


def in_reals(own: Kernel, of_floats: Kernel, compute: Compute) -> Kernel:
    """The kernel that computes in the reals, with the params of `of_floats`; on mere integers it is `own`."""

    def prepare(node: Node) -> ExactParams:
        data = [o for slot, o in enumerate(node.inputs) if slot not in of_floats.value_operands and o is not None]
        codes = [o for o in data if o.type in ("INT8", "UINT8", "INT16")]  # a bias may do without a scale
        codes += [o for o in node.outputs if o.type in CODES]
        if not all(map(is_quantized, codes)):
            return ExactParams(own, own.prepare(node), None)
        params = of_floats.prepare(on_floats(node, of_floats.value_operands))
        return ExactParams(of_floats, params, _reals(node, params.output_shapes[0]))

    def run(params: ExactParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
        if params.reals is None:
            return params.kernel.run(params.params, arrays)
        with np.errstate(all="ignore"):
            parts = [
                _rounded_once(compute(params.params, params.reals, block), params.reals)
                for block in _blocks(of_floats, params, arrays)
            ]
        return (parts[0] if len(parts) == 1 else np.concatenate(parts),)

    return Kernel(prepare, run, _batching, of_floats.value_operands, row_operands=of_floats.row_operands)


def _blocks(kernel: Kernel, params: ExactParams, arrays: Sequence[Array | None]) -> Iterator[Sequence[Array | None]]:
    """The arrays cut into blocks of rows of BLOCK_ELEMENTS, where the kernel takes each row on its own."""
    slot = (kernel.row_operands or (0,))[0]
    rows, shape = arrays[slot], params.output_shapes[0]
    if kernel.batching is not Batching.ROWS or rows is None or shape is None or not rows.size:
        yield arrays
        return
    step = max(1, BLOCK_ELEMENTS // max(math.prod(rows.shape[1:]), math.prod(shape[1:])))
    for start in range(0, len(rows), step):
        yield [rows[start : start + step] if place == slot else array for place, array in enumerate(arrays)]


def _batching(params: ExactParams) -> Batching:
    batching = params.kernel.batching
    return batching if isinstance(batching, Batching) else batching(params.params)


def on_floats(node: Node, value_operands: tuple[int, ...]) -> Node:
    """The same operator on float32 tensors."""

    def as_float(operand: Operand) -> Operand:
        type = "FLOAT32" if operand.type in CODES else operand.type
        return replace(operand, type=type, quantization=None)

    inputs = (o if o is None or slot in value_operands else as_float(o) for slot, o in enumerate(node.inputs))
    return replace(node, inputs=tuple(inputs), outputs=tuple(map(as_float, node.outputs)))


def _reals(node: Node, output_shape: Shape | None) -> Reals:
    low, high = REAL_RANGES[node.options.get("fused_activation_function", "NONE")]
    inputs = tuple(None if operand is None else affine_of(node, operand) for operand in node.inputs)
    output = node.outputs[0]
    output = output if output_shape is None else replace(output, shape=output_shape)
    return Reals(node.place, inputs, affine_of(node, output), output.type, low, high)


def affine_of(node: Node, operand: Operand) -> Affine | None:
    """The parameters of a tensor of codes; None for any other.

    Errors: InvalidModel for a scale that is not positive, or several that do not fit the shape.
    """
    q = operand.quantization
    if q is None or not q.scale or operand.type not in CODES:
        return None
    if not all(0 < scale < math.inf for scale in q.scale):
        raise node.invalid(f"the scales of '{operand.name}' must be positive")
    shape = channel_shape(node, operand, q)
    zero_points = np.broadcast_to(np.array(q.zero_point or (0,), np.int64), len(q.scale))
    return Affine(np.array(q.scale, np.float64).reshape(shape), zero_points.reshape(shape))


def _steps(array: Array, affine: Affine | None) -> Float64:
    """code - zero_point; of what is no code the value itself."""
    steps = array.astype(np.float64)
    return steps if affine is None else np.asarray(steps - affine.zero_point)


def real_of(array: Array, affine: Affine | None) -> Float64:
    """The reals that codes stand for; of what is no code the value itself."""
    steps = _steps(array, affine)
    return steps if affine is None else np.asarray(steps * affine.scale)


def _rounded_once(real: Array, reals: Reals) -> Array:
    """The output of a real result. InvalidInput where there is none (0 / 0) for a code."""
    if reals.type == "BOOL":
        return real
    if reals.low is not None or reals.high is not None:
        real = np.asarray(np.clip(real, reals.low, reals.high))
    return real.astype(np.float32) if reals.output is None else codes_of(real, reals.output, reals.type, reals.place)


def codes_of(real: Array, affine: Affine, type: str, place: str) -> Array:
    """The nearest codes of a type, half-way values to the even step. InvalidInput for a NaN."""
    steps = np.asarray(np.rint(real / affine.scale))
    if steps.size and np.isnan(steps.min()):
        raise InvalidInput(f"{place}: the real result is not a number")
    steps += affine.zero_point
    info = np.iinfo(DTYPES[type])
    return np.clip(steps, info.min, info.max, out=steps).astype(info.dtype)


# Ops of which the float32 kernel keeps the precision of what it is given ----------------------------------------------


def _by_float_kernel(run: Callable[[Any, Sequence[Array | None]], tuple[Array, ...]]) -> Compute:
    def compute(params: Any, reals: Reals, arrays: Sequence[Array | None]) -> Float64:
        given = [None if a is None else real_of(a, affine) for a, affine in zip(arrays, reals.inputs, strict=True)]
        (result,) = run(params, given)
        return result

    return compute


# Sums of products -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Products:
    """An op that sums products of two operands: `sums(params, x, weights)`, linear in both, with channels last."""

    sums: Callable[[Any, Float64, Float64], Float64]
    x: int
    weights: int
    bias: int | None


def _by_products(op: Products, params: Any, reals: Reals, arrays: Sequence[Array | None]) -> Float64:
    """(sums of products + bias) * (scale of x * scales of the weights), the sums and the bias exact for codes.

    A bias of integers is in steps of that scale, as the quantization specification has it: no runtime reads its own.
    Errors: InvalidModel for several scales of the input, or some of the weights that are not one an output channel.
    """
    affines = reals.inputs[op.x], reals.inputs[op.weights]
    result = op.sums(params, *map(_steps, (present(arrays, op.x), present(arrays, op.weights)), affines))
    counts = [1 if affine is None else affine.scale.size for affine in affines]
    if counts[0] > 1 or counts[1] not in (1, result.shape[-1]):
        raise InvalidModel(f"{reals.place}: has {counts[0]} scales of the input and {counts[1]} of the weights")
    scale = math.prod((affine.scale.reshape(-1) for affine in affines if affine is not None), start=np.ones(1))
    bias = arrays[op.bias] if op.bias is not None and op.bias < len(arrays) else None
    if bias is not None and bias.dtype.kind == "i":
        result += bias.reshape(-1)
    result *= scale
    if bias is not None and bias.dtype.kind == "f":
        result += bias.reshape(-1)
    return result


def _conv_2d(params: FloatConvParams, x: Float64, filter_: Float64) -> Float64:
    view = patches(pad(x, params.window, 0, np.float64), params.window)
    output = np.empty((*view.shape[:3], len(filter_)))
    if not output.size:
        return output
    matrices = [part.reshape(len(part), -1).T for part in np.split(filter_, params.groups)]
    for block in blocks(view.shape[:3], math.prod(view.shape[3:]), COLUMN_ELEMENTS):
        parts = np.split(view[block], params.groups, 5), np.split(output[block], params.groups, 3)
        for columns, result, matrix in zip(*parts, matrices, strict=True):
            result[...] = columns.reshape(*columns.shape[:3], -1) @ matrix
    return output


def _depthwise_conv_2d(params: FloatDepthwiseParams, x: Float64, filter_: Float64) -> Float64:
    x = np.repeat(x, params.depth_multiplier, axis=3) if params.depth_multiplier > 1 else x
    weights = along_runs(filter_.reshape(-1, filter_.shape[3]), params.runs)
    output = np.empty((len(x), *params.output_shapes[0][1:]))
    for runs, target in in_runs(x, params.runs, 0, np.float64, output):
        total, term = np.zeros_like(runs[0]), np.empty_like(runs[0])
        for run, weight in zip(runs, weights[:, : runs[0].shape[1]], strict=True):
            total += np.multiply(run, weight, out=term)
        target[...] = without_frame(total, target)
    return output


def _transpose_conv(params: FloatTransposeConvParams, x: Float64, filter_: Float64) -> Float64:
    total = np.zeros((len(x), *params.output_shapes[0][1:]))
    for ky, kx, pixels, target in scatter(params.window, total):
        np.add(target, x[:, pixels[0], pixels[1]] @ filter_[:, ky, kx].T, out=target)
    return total


def _fully_connected(params: FloatFullyConnectedParams, x: Float64, filter_: Float64) -> Float64:
    rows = x.reshape(-1)[: x.size - x.size % params.columns].reshape(-1, params.columns)
    return shaped(rows @ filter_.T, x, params.output_shapes[0])


def _batch_matmul(params: FloatBatchMatMulParams, a: Float64, b: Float64) -> Float64:
    return np.asarray((a.swapaxes(-1, -2) if params.adj_x else a) @ (b.swapaxes(-1, -2) if params.adj_y else b))


PRODUCTS: Mapping[str, Products] = {
    "CONV_2D": Products(_conv_2d, 0, 1, 2),
    "DEPTHWISE_CONV_2D": Products(_depthwise_conv_2d, 0, 1, 2),
    "TRANSPOSE_CONV": Products(_transpose_conv, 2, 1, 3),
    "FULLY_CONNECTED": Products(_fully_connected, 0, 1, 2),
    "BATCH_MATMUL": Products(_batch_matmul, 0, 1, None),
}


# Ops whose float32 kernel rounds to float32 on the way: (params, x) -> the real result --------------------------------


def _average_pool_2d(params: FloatPoolParams, x: Float64) -> Float64:
    total = sum(taps(pad(x, params.window, 0, np.float64), params.window))
    return np.asarray(total / tap_counts(params.window)[..., np.newaxis])


def _l2_pool_2d(params: FloatPoolParams, x: Float64) -> Float64:
    return np.sqrt(_average_pool_2d(params, x * x))


def _softmax(params: FloatSoftmaxParams, x: Float64) -> Float64:
    if not x.size:
        return x
    exps = np.exp((x - x.max(axis=-1, keepdims=True)) * params.beta)
    return np.asarray(exps / exps.sum(axis=-1, keepdims=True))


def _log_softmax(params: FloatSoftmaxParams, x: Float64) -> Float64:
    """d - log(1 + sum of e^d over all but the largest), d = x - max: what is near 0 keeps its digits."""
    if not x.size:
        return x
    differences = x - x.max(axis=-1, keepdims=True)
    exps = np.exp(differences)
    np.put_along_axis(exps, x.argmax(axis=-1, keepdims=True), 0, axis=-1)
    return np.asarray(differences - np.log1p(exps.sum(axis=-1, keepdims=True)))


def _l2_normalization(params: ShapeParams, x: Float64) -> Float64:
    return np.asarray(x / np.maximum(np.sqrt((x * x).sum(axis=-1, keepdims=True)), LEAST_NORM))


def _resize_bilinear(params: ResizeBilinearParams, x: Float64) -> Float64:
    """Positions and weights are whole numbers of 1 / (2 * pixels of the output), so that every sum is exact."""
    count = 1
    for axis, after in zip((-3, -2), params.output_shapes[0][1:3], strict=True):
        before, half = x.shape[axis], int(params.half_pixel_centers)
        unit = 2 * (after - 1 if params.align_corners and after > 1 else after)
        span = before - 1 if params.align_corners and after > 1 else before
        position = (2 * np.arange(after) + half) * span - half * unit // 2
        lower = np.maximum(position // unit, 0)
        upper = np.minimum(-(-position // unit), before - 1)
        weight = (position - lower * unit).reshape(-1, *(1,) * (-axis - 1))
        x = x.take(lower, axis) * (unit - weight) + x.take(upper, axis) * weight
        count *= unit
    return np.asarray(x / count)


def _gelu(params: PlainParams | GeluParams, x: Float64) -> Float64:
    if isinstance(params, PlainParams):  # the approximate form
        return np.asarray(x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))
    return np.asarray(x / 2 * np.vectorize(math.erfc, otypes=[np.float64])(-x / math.sqrt(2)))


REAL: Mapping[str, Callable[[Any, Float64], Float64]] = {
    "AVERAGE_POOL_2D": _average_pool_2d,
    "L2_POOL_2D": _l2_pool_2d,
    "SOFTMAX": _softmax,
    "LOG_SOFTMAX": _log_softmax,
    "L2_NORMALIZATION": _l2_normalization,
    "RESIZE_BILINEAR": _resize_bilinear,
    "GELU": _gelu,
    "SQRT": lambda params, x: np.sqrt(x),
    "RSQRT": lambda params, x: 1 / np.sqrt(x),
}


def _of_one(real: Callable[[Any, Float64], Float64]) -> Compute:
    def compute(params: Any, reals: Reals, arrays: Sequence[Array | None]) -> Float64:
        return real(params, real_of(present(arrays), reals.inputs[0]))

    return compute


def _log(params: Any, reals: Reals, arrays: Sequence[Array | None]) -> Float64:
    """log of x; of codes below 0, as of 0, minus infinity: they give the least code in every runtime."""
    x = real_of(present(arrays), reals.inputs[0])
    return np.asarray(np.log(x if reals.output is None else np.maximum(x, 0)))


# The table ------------------------------------------------------------------------------------------------------------

# Ops whose float32 kernel is made of NumPy's operations alone, and of the runtime's "<OP>.function".
BY_FLOAT_KERNEL = (
    "ADD", "SUB", "MUL", "DIV", "SQUARED_DIFFERENCE", "MAXIMUM", "MINIMUM", "ADD_N", "POW",
    "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL", "EQUAL", "NOT_EQUAL",
    "RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "LEAKY_RELU", "PRELU", "HARD_SWISH", "ABS", "NEG", "SQUARE",
    "EXP", "ELU", "LOGISTIC", "TANH", "SIN", "COS", "MEAN", "SUM", "REDUCE_PROD", "CONCATENATION",
)  # fmt: skip

TYPES = ("INT8", "UINT8", "INT16", "INT16xINT8", "FLOAT32", "FLOAT32xINT8")


def _identity_params(node: Node) -> ShapeParams:
    return ShapeParams((expect_unary(node).shape,))


def _identity(params: ShapeParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    return (present(arrays),)


IDENTITY = Kernel(_identity_params, _identity, Batching.LEADING)


def _kernels(
    op: str, compute: Compute, of_floats: Kernel | None = None, types: tuple[str, ...] = TYPES
) -> Mapping[str, Kernel]:
    """The op's kernels of table.KERNELS, in the reals where its type is one of `types`."""
    own = KERNELS[op]
    of_floats = of_floats or own["FLOAT32"]
    return {type: in_reals(kernel, of_floats, compute) if type in types else kernel for type, kernel in own.items()}


EXACT_KERNELS: KernelTable = {
    **KERNELS,
    **{op: _kernels(op, _by_float_kernel(KERNELS[op]["FLOAT32"].run)) for op in BY_FLOAT_KERNEL},
    **{op: _kernels(op, partial(_by_products, row)) for op, row in PRODUCTS.items()},
    **{op: _kernels(op, _of_one(real)) for op, real in REAL.items()},
    "LOG": _kernels("LOG", _log),
    **{op: _kernels(op, _by_float_kernel(_identity), IDENTITY, (*TYPES, "INT32")) for op in ("QUANTIZE", "DEQUANTIZE")},
}
"""Everything else moves or chooses codes, or computes on integers, and is what it is in every runtime; or INEXACT."""
