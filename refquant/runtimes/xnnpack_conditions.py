"""On what conditions the XNNPACK delegate takes an operator that multiplies no matrices.

UnsupportedModel for what the delegate takes and then cannot run: LiteRT refuses such a model as a whole.
Source: tflite/delegates/xnnpack/xnnpack_delegate.cc, VisitUnaryNode, VisitBinaryNode and the other Visit…Node.
"""

from __future__ import annotations

import numpy as np

from refquant.kernels.checks import is_quantized
from refquant.kernels.kernel import Node, Operand

MAX_RANK = 6
ACTIVATIONS = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6")
BYTES = ("INT8", "UINT8")
CONCATENATED = range(2, 6)  # inputs
SPLIT_INTO = range(2, 5)  # outputs
SIDES = ("height", "width")


def is_byte(operand: Operand) -> bool:
    """Whether the tensor holds int8 or uint8 codes of one scale."""
    q = operand.quantization
    return operand.type in BYTES and q is not None and len(q.scale) == 1 and q.quantized_dimension == 0


def is_value(operand: Operand) -> bool:
    """Whether the tensor holds floats, or codes as in is_byte."""
    return operand.type in ("FLOAT32", "FLOAT16") or is_byte(operand)


def is_full(operand: Operand) -> bool:
    """Whether the tensor has elements, along at most 6 axes."""
    return len(operand.shape) <= MAX_RANK and 0 not in operand.shape


def is_constant(operand: Operand) -> bool:
    """Whether the tensor's value is in the file."""
    return operand.stored


def takes_values(node: Node) -> bool:
    """Operators that move the elements of one tensor: whether input and outputs are as in is_value."""
    return all(map(is_value, (node.input(0), *node.outputs)))


def takes_unary(node: Node) -> bool:
    """Whether input and output are as in is_value, and the input is not empty."""
    return takes_values(node) and is_full(node.input(0))


def takes_binary(node: Node) -> bool:
    """Whether all tensors are of one type and not empty, and the fused activation is one that the delegate knows."""
    operands = [node.input(0), node.input(1), *node.outputs]
    return (
        all(map(is_value, operands))
        and len({operand.type for operand in operands}) == 1
        and all(map(is_full, operands[:2]))
        and node.options.get("fused_activation_function", "NONE") in ACTIVATIONS
    )


def _scale(operand: Operand) -> np.float32:
    return np.float32(operand.quantization.scale[0] if is_quantized(operand) and operand.quantization else 0)


def takes_sum(node: Node) -> bool:
    """ADD and SUB: of codes, whether each input scale / output scale is from 1/1024 up to below 256."""
    if not takes_binary(node) or node.input(0).type == "FLOAT32":
        return takes_binary(node)
    output = _scale(node.outputs[0])
    return all(1 / 1024 <= _scale(node.input(i)) / output < 256 for i in (0, 1))


def takes_product(node: Node) -> bool:
    """MUL: of codes, whether the product of the input scales / output scale is from 2^-16 up to below 256."""
    if not takes_binary(node) or node.input(0).type == "FLOAT32":
        return takes_binary(node)
    ratio = _scale(node.input(0)) * _scale(node.input(1)) / _scale(node.outputs[0])
    return bool(2.0**-16 <= ratio < 256)


def takes_prelu(node: Node) -> bool:
    """PRELU: whether alpha is a constant."""
    return takes_binary(node) and is_constant(node.input(1))


def takes_leaky_relu(node: Node) -> bool:
    """LEAKY_RELU: an alpha that is no denormal; of codes, multipliers of 1/256 up to 128, the second negated or not."""
    alpha = np.float32(node.options.get("alpha", 0.0))
    if not takes_unary(node) or not np.isfinite(alpha) or abs(alpha) < np.finfo(np.float32).tiny:
        return False
    if node.input(0).type == "FLOAT32":
        return True
    ratio = _scale(node.input(0)) / _scale(node.outputs[0])
    negative = ratio * alpha
    return bool(1 / 256 <= ratio <= 128 and -127.99609375 <= negative <= 128 and abs(negative) >= 1 / 256)


def takes_quantize(node: Node) -> bool:
    """QUANTIZE: from float32, or from codes to codes of their type at a ratio of the scales from 1/256 to 128."""
    input, output = node.input(0), node.outputs[0]
    if not takes_unary(node) or not is_byte(output):
        return False
    if input.type == "FLOAT32":
        return True
    return input.type == output.type and bool(1 / 256 <= _scale(input) / _scale(output) <= 128)


def takes_dequantize(node: Node) -> bool:
    """DEQUANTIZE: of codes of one scale, which must be no denormal number."""
    input = node.input(0)
    if not takes_unary(node) or not is_byte(input):
        return False
    if not np.finfo(np.float32).tiny <= _scale(input) < np.inf:
        raise node.unsupported(f"XNNPACK refuses the scale {float(_scale(input))!r} of '{input.name}'")
    return True


def takes_pool(node: Node) -> bool:
    """MAX_POOL_2D and AVERAGE_POOL_2D: with windows that overlap, or touch each other.

    Errors: UnsupportedModel as from _keeps_parameters; also for a clamp of single pixels, which XNNPACK requantizes.
    """
    windows = [(node.options.get(f"filter_{side}", 0), node.options.get(f"stride_{side[0]}", 0)) for side in SIDES]
    takes = (
        takes_values(node)
        and node.options.get("fused_activation_function", "NONE") in ACTIVATIONS
        and all(0 < stride <= window for window, stride in windows)
    )
    return takes and _keeps_parameters(node, node.input(0))


def takes_reduction(node: Node) -> bool:
    """MEAN, SUM, REDUCE_MAX, REDUCE_MIN: over constant axes, in a tensor of at most one dimension.

    Errors: UnsupportedModel for axes of a scalar, but for axis 0, of which it leaves the reduction.
    """
    input, axes = node.input(0), node.input(1)
    if not takes_values(node) or not is_constant(axes) or len(axes.shape) > 1 or 0 in axes.shape:
        return False
    if input.shape:
        return True
    if node.value(1).tolist() in (0, [0]):
        return False
    raise node.unsupported("XNNPACK refuses to reduce a scalar over more than axis 0")


def takes_resize(node: Node) -> bool:
    """RESIZE_BILINEAR: to a constant size."""
    return takes_unary(node) and is_constant(node.input(1)) and _keeps_parameters(node, node.input(0))


def takes_softmax(node: Node) -> bool:
    """SOFTMAX: with beta 1."""
    return takes_values(node) and node.options.get("beta") == 1.0


def takes_concatenation(node: Node) -> bool:
    """CONCATENATION: of 2 to 5 tensors, along an axis that they have; of uint8, all of one scale and zero point."""
    inputs = [operand for operand in node.inputs if operand is not None]
    if len(inputs) not in CONCATENATED or not all(map(is_value, (*inputs, *node.outputs))):
        return False
    if any(node.options.get("axis", 0) >= len(operand.shape) for operand in inputs):
        return False
    return node.outputs[0].type != "UINT8" or len(set(map(_parameters, (*inputs, *node.outputs)))) == 1


def _parameters(operand: Operand) -> tuple[float, int]:
    q = operand.quantization
    return (q.scale[0], q.zero_point[0] if q.zero_point else 0) if q is not None and q.scale else (0.0, 0)


def _keeps_parameters(node: Node, input: Operand) -> bool:
    """True; UnsupportedModel where codes would be moved to an output of another scale or zero point.

    Source: google/XNNPACK, src/subgraph/validation.c, xnn_subgraph_check_quantization_parameter_matches.
    """
    for output in node.outputs:
        if input.type in BYTES and _parameters(input) != _parameters(output):
            raise node.unsupported(
                f"XNNPACK refuses that '{output.name}' has another scale or zero point than '{input.name}'"
            )
    return True


def takes_regrouping(node: Node) -> bool:
    """DEPTH_TO_SPACE and SPACE_TO_DEPTH: of blocks of more than one pixel that divide the image."""
    block = node.options.get("block_size", 0)
    if not takes_values(node) or block <= 1:
        return False
    if node.op == "SPACE_TO_DEPTH" and any(size % block for size in node.input(0).shape[1:3]):
        return False
    return _keeps_parameters(node, node.input(0))


def takes_padding(node: Node) -> bool:
    """PAD: by constant INT32 numbers of elements."""
    paddings = node.input(1)
    rank = len(node.input(0).shape)
    takes = (
        takes_unary(node)
        and rank > 0
        and paddings.type == "INT32"
        and is_constant(paddings)
        and paddings.shape == (rank, 2)
        and bool((node.value(1) >= 0).all())
    )
    return takes and _keeps_parameters(node, node.input(0))


def takes_reshape(node: Node) -> bool:
    """RESHAPE: to a constant shape, or one among the options, that has elements; of codes of equal parameters."""
    input, output, shape = node.input(0), node.outputs[0], node.optional(1)
    if not takes_unary(node) or not is_full(output):
        return False
    if input.type in BYTES and _parameters(input) != _parameters(output):
        return False
    if shape is None:
        return list(node.options.get("new_shape") or []) not in ([0], [-1])
    return is_constant(shape) and shape.type == "INT32" and node.value(1).reshape(-1).tolist() not in ([0], [-1])


def takes_slice(node: Node) -> bool:
    """SLICE: at a constant place, with a constant size that is told for every axis.

    Errors: UnsupportedModel for a scalar.
    """
    begin, size = node.input(1), node.input(2)
    if not takes_values(node) or not (is_constant(begin) and is_constant(size) and (node.value(2) > 0).all()):
        return False
    if not node.input(0).shape:
        raise node.unsupported("XNNPACK refuses to slice a scalar")
    return _keeps_parameters(node, node.input(0))


def takes_strided_slice(node: Node) -> bool:
    """STRIDED_SLICE: constant, in steps of 1, of as many axes as the input has, which the output keeps."""
    places = [node.input(index) for index in (1, 2, 3)]
    takes = (
        takes_values(node)
        and not any(node.options.get(mask, 0) for mask in ("ellipsis_mask", "new_axis_mask", "shrink_axis_mask"))
        and all(is_constant(place) and place.type == "INT32" for place in places)
        and all(place.shape == (len(node.input(0).shape),) for place in places)
        and bool((node.value(3) == 1).all())
    )
    return takes and _keeps_parameters(node, node.input(0))


def takes_split(node: Node) -> bool:
    """SPLIT: into 2 to 4 parts, along a constant axis."""
    operands = (node.input(1), *node.outputs)
    takes = is_constant(node.input(0)) and len(node.outputs) in SPLIT_INTO and all(map(is_value, operands))
    return takes and _keeps_parameters(node, node.input(1))


def takes_transpose(node: Node) -> bool:
    """TRANSPOSE: by a constant permutation. Errors: UnsupportedModel for codes to an output without a scale."""
    input = node.input(0)
    if not (is_value(input) and is_full(input) and input.shape and is_constant(node.input(1))):
        return False
    return _keeps_parameters(node, input)
