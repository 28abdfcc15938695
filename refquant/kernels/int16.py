"""int16 activations that meet int8 filters (16x8): every zero point is 0, and the accumulator has 64 or 32 bits.

It has 64 bits with an int64 bias, as the converter writes by default, and 32 with an int32 bias.
"""

from __future__ import annotations

from refquant.kernels.activation import fused_range
from refquant.kernels.index_operands import expect_zero_zero_point
from refquant.kernels.kernel import Node, Operand
from refquant.kernels.output_stage import OutputStage, filter_scales, output_stage


def accumulator_type(node: Node, bias: Operand | None) -> str:
    """The type of accumulator and bias, INT64 or INT32: the option quantized_bias_type; INT64 if it is not set.

    Errors: InvalidModel for another option or a bias of another type. UnsupportedModel for an INT32 bias without the
    option: TFLite then reads it as INT64, beyond its end.
    Source: tflite/kernels/conv.cc, transpose_conv.cc, fully_connected.cc, Prepare.
    """
    option = node.options.get("quantized_bias_type", "FLOAT32")
    if option not in ("FLOAT32", "INT32", "INT64"):
        raise node.invalid(f"quantized_bias_type is {option}; it must be INT32 or INT64")
    type = "INT64" if option == "FLOAT32" else option
    if bias is None or bias.type == type:
        return type
    if option == "FLOAT32" and bias.type == "INT32":
        raise node.unsupported(
            f"bias '{bias.name}' is INT32, but the option quantized_bias_type is not set: TFLite's kernel reads the "
            "bias as INT64, beyond its end. Set the option to INT32"
        )
    raise node.invalid(f"bias '{bias.name}' is {bias.type}; it must be {type}")


def int16_stage(
    node: Node, input_: Operand, filter_: Operand, channels: int, accumulator: str, requantizer_name: str = ""
) -> OutputStage:
    """The output stage of a convolution of int16 codes; accumulator: "INT64" or "INT32".

    requantizer_name: see output_stage. Errors: InvalidModel for a zero point that is not 0, or scales that do not fit.
    Source: tflite/kernels/kernel_util.cc, PopulateConvolutionQuantizationParams.
    """
    expect_zero_zero_point(node, input_)
    expect_zero_zero_point(node, node.outputs[0])
    scale, _ = node.scale_and_zero_point(input_)
    scales = filter_scales(node, filter_, channels)
    clamp = fused_range(node)
    return output_stage(node, scale, scales, clamp, accumulator=accumulator, requantizer_name=requantizer_name)
