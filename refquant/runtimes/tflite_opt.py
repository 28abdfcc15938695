"""tflite_opt: TFLite's optimized kernels without a delegate, as their difference from tflite_ref."""

from __future__ import annotations

from dataclasses import replace

from refquant.arithmetic.requantize import UPWARD_ROUNDING, UPWARD_ROUNDING_IN_EIGHTS, effective_scale_float32_product
from refquant.runtimes.tflite_ref import TFLITE_REF

TFLITE_OPT = replace(
    TFLITE_REF,
    name="tflite_opt",
    arithmetic={
        **TFLITE_REF.arithmetic,
        "CONV_2D.requantizer": UPWARD_ROUNDING,
        "DEPTHWISE_CONV_2D.requantizer": UPWARD_ROUNDING_IN_EIGHTS,
        "TRANSPOSE_CONV.requantizer": UPWARD_ROUNDING_IN_EIGHTS,
        "FULLY_CONNECTED.requantizer": UPWARD_ROUNDING,
        "FULLY_CONNECTED.uint8_effective_scale": effective_scale_float32_product,
        "QUANTIZE.requantizer": UPWARD_ROUNDING,
    },
    oracle="ai-edge-litert 2.3.0, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES, x86-64 with AVX512",
)
