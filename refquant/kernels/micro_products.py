"""What TensorFlow Lite Micro checks otherwise than LiteRT, where it computes with the same kernels.

Source: tensorflow/tflite-micro, tensorflow/lite/micro/kernels/.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from refquant.kernels import convolution, dense
from refquant.kernels.kernel import Node, Shape


def conv_2d_int16_params(node: Node) -> convolution.ConvParams:
    """As convolution.conv_2d_int16_params; the bias's type alone tells the accumulator's. Source: conv.cc, ConvEval."""
    return convolution.conv_2d_int16_params(_told_by_the_bias(node, 2))


def transpose_conv_int16_params(node: Node) -> convolution.TransposeConvParams:
    """As convolution.transpose_conv_int16_params, always with 64 bits.

    Errors: UnsupportedModel for a bias that is not INT64. Source: transpose_conv.cc, TransposeConvEval.
    """
    bias = node.optional(3)
    if bias is not None and bias.type != "INT64":
        raise node.unsupported(
            f"bias '{bias.name}' is {bias.type}, not INT64: TensorFlow Lite Micro reads it as INT64, beyond its end"
        )
    return convolution.transpose_conv_int16_params(replace(node, options={**node.options, **INT64_BIAS}))


def fully_connected_int4_params(node: Node) -> dense.FullyConnectedParams:
    """As dense.fully_connected_params, for a filter of INT4 with one scale.

    Source: fully_connected_common.cc, CalculateOpDataFullyConnected.
    """
    q = node.input(1).quantization
    if q is not None and len(q.scale) > 1:
        raise node.invalid(f"filter '{node.input(1).name}' is INT4 with {len(q.scale)} scales; it may have 1")
    return dense.fully_connected_params(node)


def fully_connected_int16_params(node: Node) -> dense.FullyConnectedParams:
    """As dense.fully_connected_int16_params; the bias's type alone tells the accumulator's.

    Source: fully_connected.cc, FullyConnectedEval.
    """
    return dense.fully_connected_int16_params(_told_by_the_bias(node, 2))


INT64_BIAS = {"quantized_bias_type": "INT64"}


def _told_by_the_bias(node: Node, index: int) -> Node:
    """The node with the type of its bias as the option quantized_bias_type."""
    bias = node.optional(index)
    if bias is None or bias.type not in ("INT32", "INT64"):
        return node
    return replace(node, options={**node.options, "quantized_bias_type": bias.type})


def expect_declared_shapes(node: Node, shapes: Sequence[Shape | None]) -> None:
    """UnsupportedModel unless the outputs have the shapes that the file declares: it computes none.

    shapes: those that follow from the inputs. With others its kernels refuse the model, or read and write beyond
    tensors. Source: tensorflow/lite/micro/micro_allocator.cc, InitializeTfLiteTensorFromFlatbuffer.
    """
    for output, shape in zip(node.outputs, shapes, strict=True):
        if shape is not None and shape != output.shape:
            raise node.unsupported(
                f"output '{output.name}' has shape {list(shape)}, but the file declares {list(output.shape)}, which "
                "TensorFlow Lite Micro takes"
            )
