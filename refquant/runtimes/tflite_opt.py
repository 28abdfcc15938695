"""tflite_opt: TFLite's optimized kernels without a delegate, as their difference from tflite_ref.

Every op on integers, and every op between integers and float32, is equal bit for bit. Of the ops on float32 those in
INEXACT are not: they are computed as in the reference kernels. All this for one thread: several cut the channels of
MEAN over images, and with them the vectors, in other places, and sum ADD_N on float32 in parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from refquant.arithmetic.affine import real_by_sum_in_eights, steps_by_inverse_in_eights
from refquant.arithmetic.requantize import (
    SHIFT_FIRST,
    SHIFT_LAST,
    UPWARD_ROUNDING,
    UPWARD_ROUNDING_IN_EIGHTS,
    UPWARD_ROUNDING_IN_FLAT_SIXTEENS,
    UPWARD_ROUNDING_IN_SIXTEENS,
    effective_scale_float32_product,
)
from refquant.arithmetic.row_quantization import (
    row_sums_in_int16_lanes,
    scale_by_filter_then_input_in_fours,
    scale_by_product,
)
from refquant.kernels import (
    binary_vectors,
    conversion,
    elementwise,
    lookup,
    normalization,
    padding_ops,
    pooling,
    reduction,
    resize,
    softmax,
    unary,
)
from refquant.kernels.activation import clamp_float_in_fours
from refquant.kernels.binary_vectors import VectorForms, Vectors
from refquant.kernels.kernel import Batching, Kernel
from refquant.kernels.table import KERNELS
from refquant.runtimes.runtime import Oracle
from refquant.runtimes.tflite_ref import TFLITE_REF

LEADING = Batching.LEADING
SATURATED_8, SATURATED_16 = Vectors(8, saturated=True), Vectors(16, saturated=True)
NEAREST = Kernel(resize.resize_nearest_neighbor_in_16_bits_params, resize.resize_nearest_neighbor, LEADING, (1,))
PAD = Kernel(padding_ops.pad_with_zeroed_params, padding_ops.pad, LEADING, (1, 2))

# The ops whose kernels compute otherwise, not only with other values.
OVERRIDES: Mapping[str, Mapping[str, Kernel]] = {
    "ADD": {
        "INT8": Kernel(binary_vectors.add_params, binary_vectors.add, LEADING),
        "UINT8": Kernel(binary_vectors.add_params, binary_vectors.add, LEADING),
        "INT16": Kernel(binary_vectors.add_params, binary_vectors.add, LEADING),
    },
    "MUL": {
        "INT8": Kernel(binary_vectors.mul_params, binary_vectors.mul, LEADING),
        "UINT8": Kernel(binary_vectors.mul_params, binary_vectors.mul, LEADING),
    },
    "PADV2": {"FLOAT32": PAD, "FLOAT16": PAD},
    "LOGISTIC": {"INT16": Kernel(lookup.logistic_int16_by_powers_params, elementwise.look_up, LEADING)},
    "TANH": {"INT16": Kernel(lookup.tanh_int16_by_powers_params, elementwise.look_up, LEADING)},
    "HARD_SWISH": {"FLOAT32": Kernel(unary.float_hard_swish_params, unary.hard_swish_in_fours, LEADING)},
    "L2_POOL_2D": {"FLOAT32": Kernel(pooling.pool_float_params, pooling.l2_pool_2d_by_inverse, Batching.ROWS)},
    "LOCAL_RESPONSE_NORMALIZATION": {
        "FLOAT32": Kernel(
            normalization.local_response_in_order_params,
            normalization.local_response_normalization_in_order,
            LEADING,
        ),
    },
    "QUANTIZE": {
        "INT8": Kernel(conversion.requantize_params, conversion.requantize, LEADING),
        "UINT8": Kernel(conversion.requantize_params, conversion.requantize, LEADING),
    },
    "SOFTMAX": {
        "INT8": Kernel(softmax.table_softmax_params, softmax.table_softmax, LEADING),
        "UINT8": Kernel(softmax.table_softmax_params, softmax.table_softmax, LEADING),
    },
    "LOG_SOFTMAX": {
        "INT8": Kernel(softmax.table_log_softmax_params, softmax.table_log_softmax, LEADING),
        "UINT8": Kernel(softmax.table_log_softmax_params, softmax.table_log_softmax, LEADING),
    },
    "MEAN": {
        "INT8": Kernel(reduction.mean_of_images_params, reduction.quantized_mean_or_sum, LEADING, (1,)),
        "UINT8": Kernel(reduction.mean_of_images_params, reduction.quantized_mean_or_sum, LEADING, (1,)),
    },
    "SUM": {
        "FLOAT32": Kernel(reduction.reduction_params, reduction.float_sum_from_first, LEADING, (1,)),
        "INT8": Kernel(reduction.float_sum_params, reduction.float_scaled_sum, LEADING, (1,)),
        "UINT8": Kernel(reduction.float_sum_params, reduction.float_scaled_sum, LEADING, (1,)),
        "INT16": Kernel(reduction.float_sum_params, reduction.float_scaled_sum, LEADING, (1,)),
    },
    "REDUCE_PROD": {
        "INT8": Kernel(reduction.product_params, reduction.code_product_or_copy, LEADING, (1,)),
        "INT16": Kernel(reduction.product_params, reduction.code_product_or_copy, LEADING, (1,)),
    },
    "REDUCE_MAX": {
        "FLOAT32": Kernel(reduction.extremum_params, reduction.float_reduce_max_in_order, LEADING, (1,)),
    },
    "REDUCE_MIN": {
        "FLOAT32": Kernel(reduction.extremum_params, reduction.float_reduce_min_in_order, LEADING, (1,)),
    },
    "RESIZE_NEAREST_NEIGHBOR": {"INT8": NEAREST, "UINT8": NEAREST},
    "RESIZE_BILINEAR": {
        "FLOAT32": Kernel(resize.resize_bilinear_params, resize.resize_bilinear_by_corners, LEADING, (1,)),
        "UINT8": Kernel(resize.resize_bilinear_params, resize.resize_bilinear_by_corners, LEADING, (1,)),
    },
}

PRODUCTS = "Eigen and ruy sum the products in an order that depends on threads, processor and shapes"
EIGEN_FUNCTION = "Eigen computes the function in vectors, by a polynomial of its own"

# What float32 results are near those of the optimized kernels only, and why.
INEXACT: Mapping[str, Mapping[str, str]] = {
    "CONV_2D": {"FLOAT32": PRODUCTS},
    "TRANSPOSE_CONV": {"FLOAT32": PRODUCTS},
    "CONV_3D": {"FLOAT32": PRODUCTS},
    "CONV_3D_TRANSPOSE": {"FLOAT32": PRODUCTS},
    "FULLY_CONNECTED": {"FLOAT32": PRODUCTS},
    "LOCAL_RESPONSE_NORMALIZATION": {"FLOAT32": "Eigen's power is used where beta is neither 1 nor 1/2"},
    "LOGISTIC": {"FLOAT32": EIGEN_FUNCTION},
    "TANH": {"FLOAT32": EIGEN_FUNCTION},
    "SOFTMAX": {"FLOAT32": EIGEN_FUNCTION},
    "LOG_SOFTMAX": {"FLOAT32": EIGEN_FUNCTION},
    "MEAN": {"FLOAT32": "sums along the last axis are Eigen's"},
}

TFLITE_OPT = replace(
    TFLITE_REF,
    name="tflite_opt",
    base=TFLITE_REF.name,
    kernels={**KERNELS, **{op: {**KERNELS[op], **kernels} for op, kernels in OVERRIDES.items()}},
    arithmetic={
        **TFLITE_REF.arithmetic,
        # convolution, dense: convolutions in groups and depthwise ones of uint8 are as in the reference
        "CONV_2D.requantizer": UPWARD_ROUNDING,
        "CONV_2D.uint8_requantizer": UPWARD_ROUNDING,
        "CONV_2D.int16_requantizer": UPWARD_ROUNDING,
        "DEPTHWISE_CONV_2D.optional_biases": ("INT64",),
        "DEPTHWISE_CONV_2D.bias_first": True,
        "DEPTHWISE_CONV_2D.requantizer": UPWARD_ROUNDING_IN_EIGHTS,
        "TRANSPOSE_CONV.requantizer": UPWARD_ROUNDING_IN_EIGHTS,
        "TRANSPOSE_CONV.uint8_requantizer": UPWARD_ROUNDING_IN_FLAT_SIXTEENS,
        "TRANSPOSE_CONV.int16_requantizer": UPWARD_ROUNDING_IN_EIGHTS,
        "FULLY_CONNECTED.int16_accumulator": "INT32",
        "FULLY_CONNECTED.requantizer": UPWARD_ROUNDING,
        "FULLY_CONNECTED.uint8_requantizer": UPWARD_ROUNDING,
        "FULLY_CONNECTED.int16_requantizer": UPWARD_ROUNDING,
        "FULLY_CONNECTED.per_tensor_effective_scale": effective_scale_float32_product,
        "FULLY_CONNECTED.uint8_effective_scale": effective_scale_float32_product,
        # float32 activations that meet int8 weights
        "CONV_2D.hybrid_scaling": scale_by_product,
        "CONV_2D.hybrid_row_sums": row_sums_in_int16_lanes,
        "DEPTHWISE_CONV_2D.hybrid_scaling": scale_by_filter_then_input_in_fours,
        "DEPTHWISE_CONV_2D.hybrid_clamp": clamp_float_in_fours,
        # elementwise, conversion, reduction
        "MUL.vectors": {
            "INT8": VectorForms(SATURATED_16, SATURATED_16, SATURATED_16),
            "UINT8": VectorForms(SATURATED_8, SATURATED_8, Vectors(8)),
        },
        "LEAKY_RELU.negating_first": ("INT16",),
        "ADD.vectors": {
            "INT8": VectorForms(Vectors(16, SHIFT_FIRST), Vectors(16, SHIFT_FIRST), Vectors(8, SHIFT_LAST)),
            "UINT8": VectorForms(Vectors(8, SHIFT_LAST), Vectors(8, SHIFT_LAST), Vectors(8, SHIFT_LAST)),
            "INT16": VectorForms(Vectors(16, SHIFT_FIRST), None, None),
        },
        "QUANTIZE.byte_requantizer": UPWARD_ROUNDING_IN_FLAT_SIXTEENS,
        "QUANTIZE.to_steps": steps_by_inverse_in_eights,
        "DEQUANTIZE.to_real": real_by_sum_in_eights,
        "MEAN.image_requantizer": UPWARD_ROUNDING_IN_SIXTEENS,
    },
    oracle=Oracle(
        "ai-edge-litert",
        "2.3.0",
        "OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES",
        "x86-64 with AVX512, one thread",
        real="litert:optimized",
    ),
    inexact=INEXACT,
)
