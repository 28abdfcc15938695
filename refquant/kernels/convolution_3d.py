"""CONV_3D and CONV_3D_TRANSPOSE in float32. Volumes are NDHWC.

The products are summed in the order (kd, kh, kw, channel), or for the transposed one in the order of the input that
each output meets; then the bias is added. Voxels outside the volume contribute nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np

from refquant.arithmetic.float_product import FloatProduct
from refquant.kernels.activation import clamp_sum, fused_float_range
from refquant.kernels.checks import expect_same_type
from refquant.kernels.convolution import check_bias, check_finite, scatter_axis
from refquant.kernels.index_operands import vector
from refquant.kernels.kernel import Node, Operand, Shape
from refquant.kernels.padding import Axis, decode_axes
from refquant.model.graph import Array


@dataclass(frozen=True, slots=True)
class Conv3DParams:
    """What CONV_3D and CONV_3D_TRANSPOSE need. `axes`: depth, height, width; of the output for the transposed one."""

    output_shapes: tuple[Shape]
    axes: tuple[Axis, ...]
    low: np.float32
    high: np.float32
    product: FloatProduct


def conv_3d_params(node: Node) -> Conv3DParams:
    """Checks and decodes CONV_3D: input (N, D, H, W, C), filter (kd, kh, kw, C, O), bias (O,) or none, all FLOAT32.

    Errors: InvalidModel. Source: tflite/kernels/conv3d.cc, Prepare.
    """
    if len(node.inputs) not in (2, 3) or len(node.outputs) != 1:
        raise node.invalid(f"has {len(node.inputs)} inputs and {len(node.outputs)} outputs; it takes 2 or 3, gives 1")
    input_, filter_ = node.input(0), node.input(1)
    _check_volumes(node, input_, filter_)
    n, *volume, channels = input_.shape
    *size, depth, outputs = filter_.shape
    if channels != depth:
        raise node.invalid(f"the input has {channels} channels, but the filter takes {depth}")
    check_bias(node, node.optional(2), "FLOAT32", outputs)
    axes = tuple(decode_axes(node, "dhw", volume, size))
    shape = (n, *(axis.output for axis in axes), outputs)
    return Conv3DParams((shape,), axes, *fused_float_range(node), node.arithmetic["float.product"])


def _check_volumes(node: Node, input_: Operand, filter_: Operand) -> None:
    for name, operand in (("input", input_), ("filter", filter_)):
        if len(operand.shape) != 5 or 0 in operand.shape[1:]:
            raise node.invalid(
                f"{name} '{operand.name}' has shape {list(operand.shape)}; it must have 5 dimensions, none of them 0"
            )
    expect_same_type(node, input_, filter_)
    expect_same_type(node, input_, node.outputs[0])
    if 0 in filter_.shape:
        raise node.invalid(f"filter '{filter_.name}' has shape {list(filter_.shape)}: a dimension is 0")
    if filter_.value is not None:
        check_finite(filter_.value)


def conv_3d(params: Conv3DParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """output[n, z, y, x, o] = clamp(sum of filter[..., o] * patch + bias[o]).

    arrays: input, filter, bias or nothing. Source: tflite/kernels/internal/reference/conv3d.h, Conv3D.
    """
    x, filter_, *rest = arrays
    assert x is not None
    assert filter_ is not None
    check_finite(filter_)
    output = np.empty((len(x), *params.output_shapes[0][1:]), np.float32)
    matrix = filter_.reshape(-1, filter_.shape[4])
    view = _patches(x, params.axes)
    for image, plane in product(range(len(x)), range(output.shape[1])):
        columns = view[image, plane]
        target = output[image, plane].reshape(prod(columns.shape[:2]), len(matrix.T))
        params.product(columns.reshape(len(target), len(matrix)), matrix, target)
    if rest and rest[0] is not None:
        output += rest[0].reshape(-1)
    return (clamp_sum(output, params.low, params.high),)


def _patches(x: Array, axes: tuple[Axis, ...]) -> Array:
    """A view (N, OD, OH, OW, kd, kh, kw, C) of x with a frame of zeros: all that each output reads."""
    padded = np.pad(x, [(0, 0), *((axis.before, axis.after) for axis in axes), (0, 0)])
    steps = padded.strides[1:4]
    return np.lib.stride_tricks.as_strided(
        padded,
        (len(x), *(axis.output for axis in axes), *(axis.filter for axis in axes), x.shape[4]),
        (
            padded.strides[0],
            *(step * axis.stride for step, axis in zip(steps, axes, strict=True)),
            *(step * axis.dilation for step, axis in zip(steps, axes, strict=True)),
            padded.strides[4],
        ),
        writeable=False,
    )


def conv_3d_transpose_params(node: Node) -> Conv3DParams:
    """Checks and decodes CONV_3D_TRANSPOSE: output_shape (5,) INT32, filter (kd, kh, kw, O, C), input (N, D, H, W, C),
    bias (O,) or none, all FLOAT32.

    Errors: InvalidModel. Source: tflite/kernels/conv3d_transpose.cc, Prepare, ResizeOutputAndTemporaryTensors.
    """
    if len(node.inputs) not in (3, 4) or len(node.outputs) != 1:
        raise node.invalid(f"has {len(node.inputs)} inputs and {len(node.outputs)} outputs; it takes 3 or 4, gives 1")
    filter_, input_ = node.input(1), node.input(2)
    _check_volumes(node, input_, filter_)
    *size, outputs, depth = filter_.shape
    if input_.shape[4] != depth:
        raise node.invalid(f"the input has {input_.shape[4]} channels, but the filter takes {depth}")
    check_bias(node, node.optional(3), "FLOAT32", outputs)
    shape = vector(node, 0, "output_shape")
    if len(shape) != 5 or shape[0] != input_.shape[0] or min(shape[1:4]) < 1 or shape[4] != outputs:
        raise node.invalid(f"output_shape is {list(shape)}; it must be [{input_.shape[0]}, d, h, w, {outputs}]")
    axes = tuple(decode_axes(node, "dhw", shape[1:4], size))
    if tuple(axis.output for axis in axes) != input_.shape[1:4]:
        raise node.invalid(
            f"output_shape {list(shape)} is that of an input of {[axis.output for axis in axes]} voxels, but the input "
            f"has {list(input_.shape[1:4])}"
        )
    return Conv3DParams((shape,), axes, *fused_float_range(node), node.arithmetic["float.added_product"])


def conv_3d_transpose(params: Conv3DParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """Adds filter[kz, ky, kx] * input[z, y, x] to the output at (z * stride - padding + kz * dilation, ...).

    arrays: None, filter, input, bias or nothing.
    Source: tflite/kernels/internal/reference/conv3d_transpose.h, Conv3DTranspose.
    """
    _, filter_, x, *rest = arrays
    assert filter_ is not None
    assert x is not None
    total = np.zeros((len(x), *params.output_shapes[0][1:]), np.float32)
    for tap, voxels, target in _scatter(params.axes, total):
        part = target.reshape(-1, total.shape[4])  # a copy where the target is strided
        params.product(x[(slice(None), *voxels)].reshape(len(part), x.shape[4]), filter_[tap].T, part)
        target[...] = part.reshape(target.shape)
    if rest and rest[0] is not None:
        total += rest[0].reshape(-1)
    return (clamp_sum(total, params.low, params.high),)


def _scatter(axes: tuple[Axis, ...], total: Array) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...], Array]]:
    """(tap, the input voxels whose tap lies inside the output, where in `total` it lies), the last taps first: so each
    output meets its inputs in their order, as in the reference kernel."""
    for tap in product(*(reversed(range(axis.filter)) for axis in axes)):
        places = [scatter_axis(axis, k) for axis, k in zip(axes, tap, strict=True)]
        yield tap, tuple(voxels for voxels, _ in places), total[(slice(None), *(target for _, target in places))]
