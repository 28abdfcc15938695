"""The first-generation scheme: codes of uint8, one scale and one zero point a tensor, filters too.

A code of uint8 less 128 is one of int8 that stands for the same real with a zero point less 128. So the int8 kernels
run these models, with the filter's zero point taken off its codes when it is prepared.
"""

from __future__ import annotations

import numpy as np

from refquant.kernels.activation import fused_range
from refquant.kernels.kernel import Node, Operand
from refquant.kernels.output_stage import OutputStage, check_bias_scale, output_stage
from refquant.model.graph import Array

OFFSET = 128


def int8_codes(x: Array | None) -> Array:
    """x - 128 as int8. x: uint8 of any shape."""
    assert x is not None
    return np.bitwise_xor(x, np.uint8(OFFSET)).view(np.int8)


def uint8_stage(
    node: Node, input_: Operand, filter_: Operand, bias: Operand | None, requantizer_name: str = ""
) -> tuple[int, int, OutputStage]:
    """(input zero point, filter zero point, output stage); its multiplier is "<OP>.uint8_effective_scale".

    requantizer_name: see output_stage.
    Errors: InvalidModel for a tensor without exactly one scale, or a bias whose scale does not fit.
    Source: tflite/kernels/kernel_util.cc, PopulateConvolutionQuantizationParams, GetQuantizedConvolutionMultipler.
    """
    scale, zero_point = node.scale_and_zero_point(input_)
    filter_scale, filter_zero_point = node.scale_and_zero_point(filter_)
    clamp, form = fused_range(node), "uint8_effective_scale"
    stage = output_stage(node, scale, [filter_scale], clamp, form, requantizer_name=requantizer_name)
    check_bias_scale(node, scale * filter_scale, bias)
    return zero_point, filter_zero_point, stage
