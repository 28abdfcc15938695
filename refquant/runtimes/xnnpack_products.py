"""Which convolutions and matrix products the XNNPACK delegate takes, and how it computes them.

A function of a node answers True or False; UnsupportedModel for what the delegate takes and then cannot run: LiteRT
refuses such a model as a whole. Source: google-ai-edge/LiteRT, tflite/delegates/xnnpack/xnnpack_delegate.cc; the
limits of multipliers are those of google/XNNPACK, src/operators/.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.arithmetic.requantize import FLOAT32_EVEN, FLOAT32_EVEN_WRAPPING, effective_scale_float32
from refquant.kernels import (
    convolution,
    dense,
    depthwise,
    xnnpack_depthwise,
    xnnpack_float_products,
    xnnpack_hybrid_products,
)
from refquant.kernels.convolution import decode_conv, decode_transpose_conv
from refquant.kernels.dense import decode_batch_matmul, decode_fully_connected
from refquant.kernels.depthwise import decode_depthwise
from refquant.kernels.kernel import Batching, Kernel, Node, Operand, Shape
from refquant.runtimes.runtime import Takes
from refquant.runtimes.tflite_ref import TFLITE_REF

ROWS, LEADING = Batching.ROWS, Batching.LEADING
CLAMPS = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6")
BIAS_TYPES = {"INT8": "INT32", "UINT8": "INT32", "FLOAT32": "FLOAT32"}
LARGEST_MULTIPLIER = 256.0
LARGEST_OF_CONSTANTS = 255.0  # of BATCH_MATMUL in int8
# The type of the input -> the ops whose filters may have no zero point, even a single one.
SYMMETRIC_FILTERS = {"INT8": ("CONV_2D", "DEPTHWISE_CONV_2D"), "FLOAT32": ("FULLY_CONNECTED",)}
SPARSE_VERSION = 8  # of FULLY_CONNECTED


def _conv_2d(node: Node) -> bool:
    if not _constants(node, 1, 2) or node.options.get("fused_activation_function", "NONE") not in CLAMPS:
        return False
    *_, output_shape = decode_conv(node, BIAS_TYPES[node.input(0).type])
    return _quantized(node, node.input(0), node.input(1), node.input(2), 0, output_shape)


def _depthwise_conv_2d(node: Node) -> bool:
    if not _constants(node, 1, 2) or node.options.get("fused_activation_function", "NONE") not in CLAMPS:
        return False
    *_, multiplier, output_shape = decode_depthwise(node, BIAS_TYPES[node.input(0).type])
    given = node.options.get("depth_multiplier", 0)
    if given <= 0 or output_shape[3] % given:
        return False
    if given != multiplier:
        raise node.unsupported(f"depth_multiplier is {given}, but the shapes have {multiplier}; XNNPACK refuses it")
    return _quantized(node, node.input(0), node.input(1), node.input(2), 3, output_shape)


def _transpose_conv(node: Node) -> bool:
    bias = node.optional(3)
    if not _constants(node, 0, 1, *((3,) if bias is not None else ())):
        return False
    if node.options.get("fused_activation_function", "NONE") not in CLAMPS:
        return False
    _, filter_, window, output_shape = decode_transpose_conv(node, BIAS_TYPES[node.input(2).type])
    for taps, axis, size in zip(filter_.shape[1:3], (window.height, window.width), output_shape[1:3], strict=True):
        if taps > size if node.options.get("padding", "SAME") == "VALID" else taps < axis.stride:
            return False
    return _quantized(node, node.input(2), filter_, bias, 0, output_shape)


def _fully_connected(node: Node) -> bool:
    bias = node.optional(2)
    if not _constants(node, 1, *((2,) if bias is not None else ())) or node.version == SPARSE_VERSION:
        return False
    if node.options.get("fused_activation_function", "NONE") not in CLAMPS:
        return False
    input_, filter_, bias, _ = decode_fully_connected(node, BIAS_TYPES[node.input(0).type], CLAMPS)
    q = filter_.quantization
    if input_.type == "INT8" and q is not None and len(q.scale) == 1 and any(q.zero_point):
        return False
    if not _quantized(node, input_, filter_, bias, 0, filter_.shape):
        return False
    if math.prod(input_.shape) % filter_.shape[1]:
        raise node.unsupported(f"XNNPACK refuses an input that is no whole number of rows of {filter_.shape[1]}")
    return True


def _batch_matmul(node: Node) -> bool:
    a, b, _ = decode_batch_matmul(node)
    output, q = node.outputs[0], b.quantization
    if output.type != a.type or (a.type == "INT8" and not (_has_one_scale(a) and _has_one_scale(output))):
        return False
    if b.type == "FLOAT32":
        return True
    # Per channel, or without a float32 to quantize, b is symmetric.
    symmetric = q is not None and not any(q.zero_point)
    if not _normal(b) or not (symmetric or (a.type == "FLOAT32" and q is not None and len(q.scale) == 1)):
        return False
    if a.type == "INT8" and b.stored and not _multipliers(node, a, b).max(initial=0) <= LARGEST_OF_CONSTANTS:
        raise node.unsupported(
            f"XNNPACK ends the process for multipliers above {LARGEST_OF_CONSTANTS:.0f} of constants"
        )
    return True


def _constants(node: Node, *slots: int) -> bool:
    """Whether all these operands are there and constants of the file."""
    operands = [node.optional(slot) for slot in slots]
    return all(operand is not None and operand.stored for operand in operands)


def _quantized(
    node: Node, input_: Operand, filter_: Operand, bias: Operand | None, dimension: int, output_shape: Shape
) -> bool:
    """Whether the shapes hold elements, and the parameters are of the kind that the delegate takes."""
    early = node.op != "FULLY_CONNECTED"  # of which most is looked at only when it has been taken
    if 0 in filter_.shape or (early and 0 in input_.shape):
        return False
    q = filter_.quantization
    if filter_.type == "FLOAT32":
        _check_output(node, output_shape)
        return True
    if q is None or not q.scale or (len(q.scale) > 1 and q.quantized_dimension != dimension):
        return False
    if filter_.type == "UINT8" and not _has_one_scale(filter_):
        return False
    if early and (not _normal(filter_) or (len(q.scale) > 1 and any(q.zero_point[:1]))):
        return False
    if input_.type != "FLOAT32":
        if not (_has_one_scale(input_) and _has_one_scale(node.outputs[0])) or (bias is not None and not _normal(bias)):
            return False
        _check_multipliers(node, input_, filter_)
        _check_bias_scales(node, filter_, bias)
    _check_filter(node, input_, filter_)
    _check_output(node, output_shape)
    return True


def _check_output(node: Node, shape: Shape) -> None:
    if 0 in shape:
        raise node.unsupported(f"XNNPACK refuses an output without elements: {list(shape)}")


def _multipliers(node: Node, input_: Operand, filter_: Operand) -> NDArray[np.float64]:
    scales = filter_.quantization.scale if filter_.quantization is not None else ()
    (input_scale, _), (output_scale, _) = (node.scale_and_zero_point(o) for o in (input_, node.outputs[0]))
    return effective_scale_float32(input_scale, scales, output_scale)


def _check_multipliers(node: Node, input_: Operand, filter_: Operand) -> None:
    real = _multipliers(node, input_, filter_)
    if not real.max(initial=0) < LARGEST_MULTIPLIER:
        raise node.unsupported(f"XNNPACK refuses multipliers of {LARGEST_MULTIPLIER:.0f} and more, as {real.max()}")


def _check_bias_scales(node: Node, filter_: Operand, bias: Operand | None) -> None:
    """Filter and bias must agree, but in FULLY_CONNECTED, where one scale stands for all channels."""
    filter_scales, bias_scales = (o.quantization.scale if o and o.quantization else () for o in (filter_, bias))
    if bias is not None and len(filter_scales) != len(bias_scales) and node.op != "FULLY_CONNECTED":
        raise node.unsupported(
            f"XNNPACK refuses bias '{bias.name}': it has {len(bias_scales)} scales, but filter '{filter_.name}' "
            f"{len(filter_scales)}"
        )


def _check_filter(node: Node, input_: Operand, filter_: Operand) -> None:
    q = filter_.quantization
    if not _normal(filter_):
        raise node.unsupported(f"XNNPACK refuses filter '{filter_.name}': a scale is 0, subnormal or infinite")
    if filter_.type != "INT8" or q is None or not any(q.zero_point):
        return
    if len(q.scale) > 1 or node.op in SYMMETRIC_FILTERS[input_.type]:
        raise node.unsupported(f"XNNPACK refuses filter '{filter_.name}': it has a zero point that is not 0")


def _normal(operand: Operand) -> bool:
    """Whether it has scales, all of them positive and neither subnormal nor infinite."""
    scales = np.asarray(operand.quantization.scale if operand.quantization is not None else (), np.float32)
    return bool(len(scales) and (scales >= np.finfo(np.float32).tiny).all() and np.isfinite(scales).all())


def _has_one_scale(operand: Operand) -> bool:
    q = operand.quantization
    return q is not None and len(q.scale) == 1 and q.quantized_dimension == 0


# op -> type -> on what conditions; see Delegate.
TAKES: Mapping[str, Mapping[str, Takes]] = {
    "CONV_2D": dict.fromkeys(("INT8", "UINT8", "FLOAT32", "FLOAT32xINT8"), _conv_2d),
    "DEPTHWISE_CONV_2D": dict.fromkeys(("INT8", "UINT8", "FLOAT32"), _depthwise_conv_2d),
    "TRANSPOSE_CONV": dict.fromkeys(("INT8", "UINT8", "FLOAT32", "FLOAT32xINT8"), _transpose_conv),
    "FULLY_CONNECTED": dict.fromkeys(("INT8", "UINT8", "FLOAT32", "FLOAT32xINT8"), _fully_connected),
    "BATCH_MATMUL": dict.fromkeys(("INT8", "FLOAT32", "FLOAT32xINT8"), _batch_matmul),
}

# The ops whose kernels compute otherwise, not only with other values.
OVERRIDES: Mapping[str, Mapping[str, Kernel]] = {
    "CONV_2D": {
        "FLOAT32": Kernel(xnnpack_float_products.conv_2d_params, xnnpack_float_products.conv_2d, ROWS),
        "FLOAT32xINT8": Kernel(xnnpack_hybrid_products.conv_2d_params, xnnpack_hybrid_products.conv_2d, ROWS),
    },
    "DEPTHWISE_CONV_2D": {
        "INT8": Kernel(xnnpack_depthwise.depthwise_conv_2d_int8_params, depthwise.depthwise_conv_2d, ROWS),
        "FLOAT32": Kernel(
            xnnpack_float_products.depthwise_conv_2d_params, xnnpack_float_products.depthwise_conv_2d, ROWS
        ),
    },
    "TRANSPOSE_CONV": {
        "FLOAT32": Kernel(
            convolution.transpose_conv_float_params,
            xnnpack_float_products.transpose_conv,
            ROWS,
            (0,),
            row_operands=(2,),
        ),
        "FLOAT32xINT8": Kernel(
            xnnpack_hybrid_products.transpose_conv_params,
            xnnpack_hybrid_products.transpose_conv,
            ROWS,
            (0,),
            row_operands=(2,),
        ),
    },
    "FULLY_CONNECTED": {
        "FLOAT32": Kernel(dense.fully_connected_float_params, xnnpack_float_products.fully_connected, ROWS),
        "FLOAT32xINT8": Kernel(
            xnnpack_hybrid_products.fully_connected_params, xnnpack_hybrid_products.fully_connected, ROWS
        ),
    },
    "BATCH_MATMUL": {
        "FLOAT32": Kernel(dense.batch_matmul_float_params, xnnpack_float_products.batch_matmul, LEADING),
        "FLOAT32xINT8": Kernel(
            xnnpack_hybrid_products.batch_matmul_params, xnnpack_hybrid_products.batch_matmul, LEADING
        ),
    },
}

REQUANTIZERS = ("requantizer", "uint8_requantizer", "grouped_requantizer")
EFFECTIVE_SCALES = ("effective_scale", "uint8_effective_scale", "per_tensor_effective_scale")


def _asked_for(names: tuple[str, ...]) -> list[str]:
    """The values of these names that kernels of TAKES ask for."""
    return [f"{op}.{name}" for op in TAKES for name in names if f"{op}.{name}" in TFLITE_REF.arithmetic]


ARITHMETIC: Mapping[str, Any] = {
    "bias.scale_difference": math.inf,
    **dict.fromkeys(_asked_for(REQUANTIZERS), FLOAT32_EVEN_WRAPPING),
    "DEPTHWISE_CONV_2D.few_taps_requantizer": FLOAT32_EVEN,
    **dict.fromkeys(_asked_for(EFFECTIVE_SCALES), effective_scale_float32),
}
