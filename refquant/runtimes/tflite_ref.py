"""tflite_ref: TFLite's reference kernels (OpResolverType.BUILTIN_REF)."""

from __future__ import annotations

import numpy as np

from refquant.arithmetic.affine import real_by_difference, steps_by_division
from refquant.arithmetic.eigen_product import add_eigen_product
from refquant.arithmetic.float_functions import elu, expf, logf, logistic, tanhf
from refquant.arithmetic.float_product import add_sequential_product, sequential_product
from refquant.arithmetic.lane_product import add_lane_product
from refquant.arithmetic.power import powf
from refquant.arithmetic.requantize import (
    DOUBLE_ROUNDING,
    FLOAT64_ROUND,
    INT64_SINGLE_ROUNDING,
    effective_scale_float32,
    effective_scale_float32_product,
    effective_scale_float64,
)
from refquant.arithmetic.row_quantization import row_sums, scale_by_filter_then_input, scale_by_product
from refquant.arithmetic.trigonometry import cosf, sinf
from refquant.kernels.activation import activation_range, clamp_float, float_activation_range
from refquant.kernels.conversion import QUANTIZE_OUTPUTS
from refquant.kernels.table import KERNELS
from refquant.runtimes.runtime import Oracle, Runtime

TFLITE_REF = Runtime(
    name="tflite_ref",
    kernels=KERNELS,
    arithmetic={
        "activation.range": activation_range,
        "activation.float_range": float_activation_range,
        "float.product": sequential_product,
        "float.added_product": add_sequential_product,
        "COS.function": cosf,
        "ELU.function": elu,
        "EXP.function": expf,
        "LOG.function": logf,
        "LOGISTIC.function": logistic,
        "POW.function": powf,
        "SIN.function": sinf,
        "TANH.function": tanhf,
        # convolution, dense, pooling
        "bias.scale_difference": 0.02,
        "CONV_2D.requantizer": DOUBLE_ROUNDING,
        "CONV_2D.uint8_requantizer": DOUBLE_ROUNDING,
        "CONV_2D.int16_requantizer": DOUBLE_ROUNDING,
        "CONV_2D.grouped_requantizer": DOUBLE_ROUNDING,
        "CONV_2D.int64_requantizer": INT64_SINGLE_ROUNDING,
        "CONV_2D.effective_scale": effective_scale_float64,
        "CONV_2D.uint8_effective_scale": effective_scale_float32_product,
        "DEPTHWISE_CONV_2D.optional_biases": ("INT32", "INT64", "FLOAT32"),
        "DEPTHWISE_CONV_2D.bias_first": False,
        "DEPTHWISE_CONV_2D.requantizer": DOUBLE_ROUNDING,
        "DEPTHWISE_CONV_2D.uint8_requantizer": DOUBLE_ROUNDING,
        "DEPTHWISE_CONV_2D.int64_requantizer": INT64_SINGLE_ROUNDING,
        "DEPTHWISE_CONV_2D.effective_scale": effective_scale_float64,
        "DEPTHWISE_CONV_2D.uint8_effective_scale": effective_scale_float32_product,
        "TRANSPOSE_CONV.requantizer": DOUBLE_ROUNDING,
        "TRANSPOSE_CONV.uint8_requantizer": DOUBLE_ROUNDING,
        "TRANSPOSE_CONV.int16_requantizer": DOUBLE_ROUNDING,
        "TRANSPOSE_CONV.asymmetric_int16_requantizer": DOUBLE_ROUNDING,
        "TRANSPOSE_CONV.int64_requantizer": INT64_SINGLE_ROUNDING,
        "TRANSPOSE_CONV.effective_scale": effective_scale_float64,
        "TRANSPOSE_CONV.uint8_effective_scale": effective_scale_float32_product,
        "FULLY_CONNECTED.int16_accumulator": "INT64",  # where neither bias nor option tells
        "FULLY_CONNECTED.requantizer": FLOAT64_ROUND,
        "FULLY_CONNECTED.uint8_requantizer": FLOAT64_ROUND,
        "FULLY_CONNECTED.int16_requantizer": FLOAT64_ROUND,
        "FULLY_CONNECTED.asymmetric_int16_requantizer": FLOAT64_ROUND,
        "FULLY_CONNECTED.int64_requantizer": FLOAT64_ROUND,
        "FULLY_CONNECTED.effective_scale": effective_scale_float64,
        "FULLY_CONNECTED.per_tensor_effective_scale": effective_scale_float64,
        "FULLY_CONNECTED.uint8_effective_scale": effective_scale_float64,
        "BATCH_MATMUL.requantizer": DOUBLE_ROUNDING,
        "BATCH_MATMUL.int64_requantizer": INT64_SINGLE_ROUNDING,
        "BATCH_MATMUL.effective_scale": effective_scale_float32_product,
        "SVDF.requantizer": DOUBLE_ROUNDING,
        "SVDF.effective_scale": effective_scale_float32,
        # recurrent
        "LSTM.add_product": add_eigen_product,
        "RNN.add_product": add_lane_product,
        # float32 activations that meet int8 weights
        "CONV_2D.hybrid_scaling": scale_by_filter_then_input,
        "CONV_2D.hybrid_row_sums": row_sums,
        "DEPTHWISE_CONV_2D.hybrid_scaling": scale_by_product,
        "DEPTHWISE_CONV_2D.hybrid_clamp": clamp_float,
        # elementwise: binary, unary, lookup tables, conversion
        "scales.type": np.float32,  # in which a product and a quotient of scales are formed
        "ADD.requantizer": DOUBLE_ROUNDING,
        "SUB.requantizer": DOUBLE_ROUNDING,
        "MUL.requantizer": DOUBLE_ROUNDING,
        "SQUARED_DIFFERENCE.requantizer": DOUBLE_ROUNDING,
        "EQUAL.requantizer": DOUBLE_ROUNDING,
        "NOT_EQUAL.requantizer": DOUBLE_ROUNDING,
        "LESS.requantizer": DOUBLE_ROUNDING,
        "LESS_EQUAL.requantizer": DOUBLE_ROUNDING,
        "GREATER.requantizer": DOUBLE_ROUNDING,
        "GREATER_EQUAL.requantizer": DOUBLE_ROUNDING,
        "RELU.requantizer": DOUBLE_ROUNDING,
        "RELU6.requantizer": DOUBLE_ROUNDING,
        "RELU_N1_TO_1.requantizer": DOUBLE_ROUNDING,
        "RELU_0_TO_1.requantizer": DOUBLE_ROUNDING,
        "LEAKY_RELU.requantizer": DOUBLE_ROUNDING,
        "LEAKY_RELU.negating_first": (),
        "PRELU.requantizer": DOUBLE_ROUNDING,
        "ABS.requantizer": DOUBLE_ROUNDING,
        "QUANTIZE.outputs": QUANTIZE_OUTPUTS,
        "QUANTIZE.requantizer": DOUBLE_ROUNDING,
        "QUANTIZE.byte_requantizer": DOUBLE_ROUNDING,
        "QUANTIZE.to_steps": steps_by_division,
        "DEQUANTIZE.to_real": real_by_difference,
        # softmax, normalization, reduction, resize
        "SOFTMAX.table_type": np.float64,  # in which the tables of int16 are computed
        "MEAN.requantizer": DOUBLE_ROUNDING,
        "SUM.requantizer": DOUBLE_ROUNDING,
        "SUM.read_as": {"INT8": "UINT8", "INT16": "UINT8"},  # the type as which tensors are, where it is not theirs
        # movement, control
        "WHILE.copies_in_turn": True,  # the body's outputs into its inputs
    },
    oracle=Oracle("ai-edge-litert", "2.3.0", "OpResolverType.BUILTIN_REF", "x86-64", real="litert:reference"),
)
