"""tflite_opt: TFLite's optimized kernels without a delegate, as their difference from tflite_ref."""

from __future__ import annotations

from dataclasses import replace

from refquant.arithmetic.requantize import (
    UPWARD_ROUNDING,
    UPWARD_ROUNDING_IN_EIGHTS,
    UPWARD_ROUNDING_IN_FLAT_SIXTEENS,
    effective_scale_float32_product,
)
from refquant.runtimes.tflite_ref import TFLITE_REF

TFLITE_OPT = replace(
    TFLITE_REF,
    name="tflite_opt",
    arithmetic={
        **TFLITE_REF.arithmetic,
        # convolution, dense: convolutions in groups and depthwise ones of uint8 are as in the reference
        "CONV_2D.requantizer": UPWARD_ROUNDING,
        "CONV_2D.uint8_requantizer": UPWARD_ROUNDING,
        "CONV_2D.int16_requantizer": UPWARD_ROUNDING,
        "DEPTHWISE_CONV_2D.requantizer": UPWARD_ROUNDING_IN_EIGHTS,
        "TRANSPOSE_CONV.requantizer": UPWARD_ROUNDING_IN_EIGHTS,
        "TRANSPOSE_CONV.uint8_requantizer": UPWARD_ROUNDING_IN_FLAT_SIXTEENS,
        "TRANSPOSE_CONV.int16_requantizer": UPWARD_ROUNDING_IN_EIGHTS,
        "FULLY_CONNECTED.requantizer": UPWARD_ROUNDING,
        "FULLY_CONNECTED.uint8_requantizer": UPWARD_ROUNDING,
        "FULLY_CONNECTED.int16_requantizer": UPWARD_ROUNDING,
        "FULLY_CONNECTED.per_tensor_effective_scale": effective_scale_float32_product,
        "FULLY_CONNECTED.uint8_effective_scale": effective_scale_float32_product,
    },
    oracle="ai-edge-litert 2.3.0, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES, x86-64 with AVX512",
)
