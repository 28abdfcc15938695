"""What TensorFlow Lite Micro refuses of operators for which it has a kernel, or ends the process or runs wild at.

Source: tensorflow/tflite-micro, tensorflow/lite/micro/kernels/, the Prepare of each op; runtime_shape.h.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from refquant.kernels.checks import is_quantized
from refquant.kernels.kernel import Node, Operand

Condition = Callable[[Node], str]
"""What is refused of an operator, in words; "" for nothing."""

MOST_JOINED, MOST_COORDINATES = 10, 5
MOST_AXES = 6  # RuntimeShape has no room for more, and does not look


def check_node(node: Node) -> None:
    """UnsupportedModel for an operator that TensorFlow Lite Micro refuses, or whose results it leaves undefined."""
    for condition in (_shapes, *CONDITIONS.get(node.op, ())):
        if reason := condition(node):
            raise node.unsupported(f"{reason}: TensorFlow Lite Micro does not run it")


def _operands(node: Node) -> list[Operand]:
    return [operand for operand in (*node.inputs, *node.outputs) if operand is not None]


def _shapes(node: Node) -> str:
    for operand in _operands(node):
        if len(operand.shape) > MOST_AXES:
            return f"'{operand.name}' has more than {MOST_AXES} axes"
    empty = next((output for output in node.outputs if 0 in output.shape), None)
    return "" if empty is None else f"output '{empty.name}' has no elements"


def constant(*places: int) -> Condition:
    """These inputs must be constants, with elements: an empty buffer is none."""

    def condition(node: Node) -> str:
        for place in places:
            operand = node.optional(place)
            if operand is not None and (operand.value is None or operand.value.size == 0):
                return f"input {place} ('{operand.name}') is no constant, or has no elements"
        return ""

    return condition


def input_types(place: int, *types: str) -> Condition:
    """The input must have one of these types."""

    def condition(node: Node) -> str:
        operand = node.optional(place)
        return "" if operand is None or operand.type in types else f"input {place} is {operand.type}"

    return condition


def output_types(*types: str) -> Condition:
    """The output must have one of these types."""
    return lambda node: "" if node.outputs[0].type in types else f"the output is {node.outputs[0].type}"


def axes(least: int, most: int) -> Condition:
    """Input and output must have so many axes."""

    def condition(node: Node) -> str:
        numbers = [len(node.input(0).shape), *(len(output.shape) for output in node.outputs)]
        return "" if least <= min(numbers) and max(numbers) <= most else f"has {max(numbers)} axes"

    return condition


def values_at_least_0(place: int) -> Condition:
    """No element of this input may be negative."""

    def condition(node: Node) -> str:
        value = node.input(place).value
        return "" if value is None or (value >= 0).all() else f"input {place} has negative elements"

    return condition


def one_scale(node: Node) -> str:
    """The output must not be quantized by channels."""
    q = node.outputs[0].quantization
    return "" if q is None or len(q.scale) <= 1 else "the output has several scales"


def one_scale_each(node: Node) -> str:
    """No operand may be quantized by channels: the first scale would count for all."""
    many = next((o for o in _operands(node) if o.quantization is not None and len(o.quantization.scale) > 1), None)
    return "" if many is None else f"'{many.name}' has several scales, of which the first would count for all"


def zero_points_of_int16(node: Node) -> str:
    """int16 tensors must have zero point 0, and a scale."""
    for operand in _operands(node):
        if operand.type == "INT16" and not is_quantized(operand):
            return f"'{operand.name}' is INT16 without a scale"
        if operand.type == "INT16" and operand.quantization is not None and any(operand.quantization.zero_point):
            return f"'{operand.name}' is INT16, and its zero point is not 0"
    return ""


def not_quantized_int32(node: Node) -> str:
    """int32 tensors must have no scale."""
    scaled = next((operand for operand in _operands(node) if operand.type == "INT32" and is_quantized(operand)), None)
    return "" if scaled is None else f"'{scaled.name}' is INT32 with a scale"


def float_broadcast(most: int) -> Condition:
    """float32 tensors must have at most so many axes."""

    def condition(node: Node) -> str:
        rank = max(len(operand.shape) for operand in _operands(node))
        return f"has {rank} axes of float32" if node.input(0).type == "FLOAT32" and rank > most else ""

    return condition


def softmax_output(node: Node) -> str:
    """Of int8: into int8 the scale must be exactly 1/256, into int16 about 1/65536 with zero point -32768."""
    if node.input(0).type != "INT8":
        return ""
    scale, zero_point = node.scale_and_zero_point(node.outputs[0])
    unit = np.float32(1 / 65536)
    if node.outputs[0].type == "INT8":
        return "" if scale == 1 / 256 else f"the output's scale is {scale!r}, not 1/256"
    near = abs(np.float32(scale) - unit) <= np.float32(0.001) * unit
    return "" if near and zero_point == -32768 else f"the output has scale {scale!r} and zero point {zero_point}"


def contiguous(node: Node) -> str:
    """REVERSE_V2: axes side by side."""
    value, rank = node.input(1).value, len(node.input(0).shape)
    if value is None or not rank:
        return ""
    ordered = np.sort(value.reshape(-1) % rank)
    return "" if (np.diff(ordered) == 1).all() else f"reverses the axes {ordered.tolist()}, which are not side by side"


def one_type(node: Node) -> str:
    """The output must have the type of input 0."""
    input, output = node.input(0).type, node.outputs[0].type
    return "" if input == output else f"makes {output} of {input}"


def scales_within_a_millionth(node: Node) -> str:
    """Of codes: the scales of input and output may be 1e-6 apart."""
    if node.input(0).type not in ("INT8", "INT16"):
        return ""
    scales = [node.scale_and_zero_point(operand)[0] for operand in (node.input(0), node.outputs[0])]
    return "" if abs(scales[0] - scales[1]) <= 1e-6 else f"the scales {scales[0]!r} and {scales[1]!r} differ"


def whole_slice(node: Node) -> str:
    """STRIDED_SLICE: one entry an axis, none of which stands for several or for a new one; the end is no offset."""
    options, count = node.options, len(node.input(0).shape)
    if options.get("ellipsis_mask", 0) or options.get("new_axis_mask", 0) or options.get("offset", False):
        return "has an ellipsis, a new axis, or an end that is an offset"
    given = node.input(1).shape
    return "" if given == (count,) else f"has {list(given)} entries for {count} axes"


def at_most_ten(node: Node) -> str:
    """CONCATENATION: of at most ten tensors."""
    return f"joins {len(node.inputs)} tensors" if len(node.inputs) > MOST_JOINED else ""


def at_most_five_coordinates(node: Node) -> str:
    """GATHER_ND: indices of at most five coordinates."""
    shape = node.input(1).shape
    return f"the indices have {shape[-1]} coordinates" if shape and shape[-1] > MOST_COORDINATES else ""


def not_empty(node: Node) -> str:
    """The input must have elements."""
    return f"'{node.input(0).name}' has no elements" if 0 in node.input(0).shape else ""


def not_scalar(node: Node) -> str:
    """The input must have an axis."""
    return "" if node.input(0).shape else f"'{node.input(0).name}' is a scalar"


CONDITIONS: Mapping[str, tuple[Condition, ...]] = {
    # dense, pooling
    "BATCH_MATMUL": (one_type, one_scale_each),
    "AVERAGE_POOL_2D": (scales_within_a_millionth,),
    "MAX_POOL_2D": (scales_within_a_millionth,),
    # elementwise, conversion
    "ADD": (not_quantized_int32,),
    "SUB": (not_quantized_int32,),
    "MUL": (zero_points_of_int16,),
    "SQUARED_DIFFERENCE": (zero_points_of_int16,),
    "PRELU": (float_broadcast(4),),
    "CAST": (output_types("INT8", "INT16", "INT32", "UINT32", "BOOL", "FLOAT32"),),
    "QUANTIZE": (one_scale,),
    # softmax, normalization, reduction, resize
    "SOFTMAX": (softmax_output,),
    "L2_NORMALIZATION": (axes(0, 4),),
    "MEAN": (not_empty,),
    "ARG_MAX": (output_types("INT32"), input_types(1, "INT32")),
    "ARG_MIN": (output_types("INT32"), input_types(1, "INT32")),
    "RESIZE_BILINEAR": (constant(1),),
    "RESIZE_NEAREST_NEIGHBOR": (constant(1),),
    # movement
    "BROADCAST_TO": (constant(1), axes(0, 5)),
    "EXPAND_DIMS": (constant(1), input_types(1, "INT32")),
    "TRANSPOSE": (constant(1), axes(0, 5), values_at_least_0(1)),
    "REVERSE_V2": (contiguous,),
    "SPACE_TO_BATCH_ND": (axes(3, 4),),
    "BATCH_TO_SPACE_ND": (axes(3, 4),),
    "SLICE": (axes(0, 5),),
    "STRIDED_SLICE": (constant(1, 2, 3), axes(0, 4), whole_slice),
    "SPLIT": (constant(0),),
    "SPLIT_V": (constant(2),),
    "CONCATENATION": (not_scalar, at_most_ten),
    "GATHER": (input_types(1, "INT32"),),
    "GATHER_ND": (input_types(1, "INT32"), at_most_five_coordinates),
    "EMBEDDING_LOOKUP": (output_types("INT8", "FLOAT32"),),
    "PAD": (constant(1), input_types(1, "INT32")),
    "PADV2": (constant(1), input_types(1, "INT32")),
    "SHAPE": (output_types("INT32"),),
    "FILL": (constant(0),),
}
