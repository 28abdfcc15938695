"""tflite_ref: TFLite's reference kernels (OpResolverType.BUILTIN_REF)."""

from __future__ import annotations

from refquant.arithmetic.float_product import sequential_product
from refquant.arithmetic.requantize import (
    DOUBLE_ROUNDING,
    FLOAT64_ROUND,
    effective_scale_float32_product,
    effective_scale_float64,
)
from refquant.kernels.table import KERNELS
from refquant.runtimes.runtime import Runtime

TFLITE_REF = Runtime(
    name="tflite_ref",
    kernels=KERNELS,
    arithmetic={
        "float.product": sequential_product,
        # convolution, dense, pooling
        "CONV_2D.requantizer": DOUBLE_ROUNDING,
        "CONV_2D.effective_scale": effective_scale_float64,
        "DEPTHWISE_CONV_2D.requantizer": DOUBLE_ROUNDING,
        "DEPTHWISE_CONV_2D.effective_scale": effective_scale_float64,
        "TRANSPOSE_CONV.requantizer": DOUBLE_ROUNDING,
        "TRANSPOSE_CONV.effective_scale": effective_scale_float64,
        "FULLY_CONNECTED.requantizer": FLOAT64_ROUND,
        "FULLY_CONNECTED.effective_scale": effective_scale_float64,
        "BATCH_MATMUL.requantizer": DOUBLE_ROUNDING,
        "BATCH_MATMUL.effective_scale": effective_scale_float32_product,
        # elementwise: binary, unary, lookup tables, conversion
        # softmax, normalization, reduction, resize
        "MEAN.requantizer": DOUBLE_ROUNDING,
        "SUM.requantizer": DOUBLE_ROUNDING,
        "SUM.codes": {"INT8": "UINT8"},  # the type as which a tensor is read and written, where it is not its own
        # movement
    },
    oracle="ai-edge-litert 2.3.0, OpResolverType.BUILTIN_REF, x86-64",
)
