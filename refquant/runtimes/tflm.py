"""tflm: TensorFlow Lite Micro's portable kernels, as their difference from tflite_ref."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from refquant.arithmetic.requantize import DOUBLE_ROUNDING, INT64_SINGLE_ROUNDING, effective_scale_float64
from refquant.kernels import (
    binary,
    block_movement,
    conversion,
    elementwise,
    indexing,
    lookup,
    micro_elementwise,
    micro_products,
    micro_recurrent,
    micro_sums,
    micro_svdf,
    normalization,
    padding_ops,
    reduction,
    svdf,
    unary,
)
from refquant.kernels.kernel import Batching, Kernel
from refquant.kernels.recurrent import STATES
from refquant.kernels.table import KERNELS
from refquant.runtimes.runtime import Oracle
from refquant.runtimes.tflite_ref import TFLITE_REF
from refquant.runtimes.tflm_conditions import check_node

LEADING = Batching.LEADING

# The ops and types that it has. What is not here it refuses.
BUILT: Mapping[str, tuple[str, ...]] = {
    # convolution, dense, pooling, recurrent
    "CONV_2D": ("INT8", "FLOAT32", "INT16xINT8", "INT8xINT4"),
    "DEPTHWISE_CONV_2D": ("INT8", "FLOAT32", "INT16xINT8", "INT8xINT4"),
    "TRANSPOSE_CONV": ("INT8", "FLOAT32", "INT16xINT8"),
    "FULLY_CONNECTED": ("INT8", "FLOAT32", "INT16xINT8", "INT8xINT4"),
    "BATCH_MATMUL": ("INT8", "FLOAT32", "INT16"),
    "AVERAGE_POOL_2D": ("INT8", "INT16", "FLOAT32"),
    "MAX_POOL_2D": ("INT8", "INT16", "FLOAT32"),
    "L2_POOL_2D": ("FLOAT32",),
    "SVDF": ("INT8", "FLOAT32"),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": ("INT8", "FLOAT32", "INT16xINT8"),
    # elementwise: binary, unary, lookup tables, conversion
    "ADD": ("INT8", "INT16", "INT32", "FLOAT32"),
    "SUB": ("INT8", "INT16", "INT32", "FLOAT32"),
    "MUL": ("INT8", "INT16", "INT32", "FLOAT32"),
    "DIV": ("INT8", "INT32", "FLOAT32"),
    "SQUARED_DIFFERENCE": ("INT8", "INT16", "INT32", "FLOAT32"),
    "MAXIMUM": ("INT8", "INT16", "INT32", "INT64", "FLOAT32"),
    "MINIMUM": ("INT8", "INT16", "INT32", "INT64", "FLOAT32"),
    "FLOOR_DIV": ("FLOAT32",),
    "FLOOR_MOD": ("FLOAT32",),
    "LESS": ("INT8", "INT32", "INT64", "FLOAT32"),
    "LESS_EQUAL": ("INT8", "INT32", "INT64", "FLOAT32"),
    "GREATER": ("INT8", "INT32", "INT64", "FLOAT32"),  # of INT16 the parameters are never set
    "GREATER_EQUAL": ("INT8", "INT32", "INT64", "FLOAT32"),
    "EQUAL": ("INT8", "INT32", "INT64", "FLOAT32", "BOOL"),
    "NOT_EQUAL": ("INT8", "INT32", "INT64", "FLOAT32", "BOOL"),
    "ADD_N": ("INT8", "FLOAT32"),
    "LOGICAL_AND": ("BOOL",),
    "LOGICAL_OR": ("BOOL",),
    "LOGICAL_NOT": ("BOOL",),
    "RELU": ("INT8", "INT16", "FLOAT32"),
    "RELU6": ("INT8", "INT16", "FLOAT32"),
    "LEAKY_RELU": ("INT8", "INT16", "FLOAT32"),
    "PRELU": ("INT8", "INT16xINT8", "FLOAT32"),
    "HARD_SWISH": ("INT8", "FLOAT32"),
    "ABS": ("INT8", "INT16", "FLOAT32"),
    "NEG": ("FLOAT32",),
    "SQRT": ("FLOAT32",),
    "RSQRT": ("INT8", "INT16", "FLOAT32"),
    "SQUARE": ("FLOAT32",),
    "SIN": ("FLOAT32",),
    "COS": ("FLOAT32",),
    "FLOOR": ("FLOAT32",),
    "CEIL": ("FLOAT32",),
    "ROUND": ("FLOAT32",),
    "LOGISTIC": ("INT8", "INT16", "FLOAT32"),
    "TANH": ("INT8", "INT16", "FLOAT32"),
    "EXP": ("FLOAT32",),
    "ELU": ("INT8", "FLOAT32"),
    "LOG": ("FLOAT32",),
    "QUANTIZE": ("INT8", "UINT8", "INT16", "INT32", "FLOAT32"),
    "DEQUANTIZE": ("INT8", "UINT8", "INT16"),
    "CAST": ("INT8", "INT16", "INT32", "UINT32", "BOOL", "FLOAT32"),
    # softmax, normalization, reduction, resize
    "SOFTMAX": ("INT8", "INT16", "FLOAT32"),
    "LOG_SOFTMAX": ("INT8", "FLOAT32"),
    "L2_NORMALIZATION": ("INT8", "FLOAT32"),
    "MEAN": ("INT8", "INT16", "FLOAT32"),
    "SUM": ("INT8", "INT16", "FLOAT32"),
    "REDUCE_MAX": ("INT8", "FLOAT32"),
    "REDUCE_MIN": ("INT8", "FLOAT32"),
    "REDUCE_ALL": ("BOOL",),
    "ARG_MAX": ("INT8", "FLOAT32"),
    "ARG_MIN": ("INT8", "FLOAT32"),
    "RESIZE_BILINEAR": ("INT8", "FLOAT32"),
    "RESIZE_NEAREST_NEIGHBOR": ("INT8", "INT16", "FLOAT32"),
    # movement
    "RESHAPE": ("INT8", "UINT8", "INT16", "INT32", "INT64", "FLOAT16", "FLOAT32", "BOOL"),
    "SQUEEZE": ("INT8", "UINT8", "INT16", "INT32", "INT64", "FLOAT16", "FLOAT32", "BOOL"),
    "EXPAND_DIMS": ("INT8", "INT16", "FLOAT32"),
    "TRANSPOSE": ("INT8", "INT16", "FLOAT32"),
    "BROADCAST_TO": ("INT8", "UINT8", "INT16", "INT32", "INT64", "FLOAT16", "FLOAT32", "BOOL"),
    "REVERSE_V2": ("INT8", "UINT8", "INT16", "INT32", "INT64", "FLOAT32", "BOOL"),
    "SPACE_TO_DEPTH": ("INT8", "FLOAT32"),
    "DEPTH_TO_SPACE": ("INT8", "FLOAT32"),
    "SPACE_TO_BATCH_ND": ("INT8", "FLOAT32"),
    "BATCH_TO_SPACE_ND": ("INT8", "FLOAT32"),
    "SLICE": ("INT8", "INT16", "INT32", "FLOAT32", "BOOL"),
    "STRIDED_SLICE": ("INT8", "INT16", "INT32", "FLOAT32", "BOOL"),
    "SPLIT": ("INT8", "INT16", "INT32", "FLOAT32"),
    "SPLIT_V": ("INT8", "INT16", "INT32", "FLOAT32"),
    "UNPACK": ("INT8", "INT16", "INT32", "FLOAT32"),
    "PACK": ("INT8", "INT16", "INT32", "INT64", "FLOAT32"),
    "CONCATENATION": ("INT8", "INT16", "INT32", "INT64", "FLOAT32", "BOOL"),
    "SELECT_V2": ("INT8", "INT16", "FLOAT32"),
    "GATHER": ("INT8", "FLOAT32"),
    "GATHER_ND": ("INT8", "FLOAT32"),
    "DYNAMIC_UPDATE_SLICE": ("INT8", "INT16", "INT32", "FLOAT32"),
    "EMBEDDING_LOOKUP": ("INT8", "FLOAT32"),
    "PAD": ("INT8", "INT16", "INT32", "FLOAT32"),
    "PADV2": ("INT8", "INT16", "INT32", "FLOAT32"),
    "MIRROR_PAD": ("INT8", "FLOAT32"),
    "SHAPE": ("INT8", "UINT8", "INT16", "INT32", "INT64", "FLOAT16", "FLOAT32", "BOOL"),
    "ZEROS_LIKE": ("INT8", "INT32", "INT64", "FLOAT32"),
    "FILL": ("INT8", "INT32", "FLOAT32"),
    "BROADCAST_ARGS": ("INT32", "INT64"),
    "CUMSUM": ("INT8", "FLOAT32"),
}

QUANTIZE_OUTPUTS: Mapping[str, tuple[str, ...]] = {
    "FLOAT32": ("INT8", "INT16"),
    "INT8": ("INT8", "UINT8", "INT16", "INT32"),
    "UINT8": ("INT8",),
    "INT16": ("INT8", "INT16", "INT32"),
    "INT32": ("INT8", "INT16"),
}

# The ops whose kernels compute otherwise, not only with other values.
OVERRIDES: Mapping[str, Mapping[str, Kernel]] = {
    # convolution, dense, pooling, recurrent
    "CONV_2D": {
        "INT16xINT8": replace(KERNELS["CONV_2D"]["INT16xINT8"], prepare=micro_products.conv_2d_int16_params),
        "INT8xINT4": KERNELS["CONV_2D"]["INT8"],
    },
    "DEPTHWISE_CONV_2D": {"INT8xINT4": KERNELS["DEPTHWISE_CONV_2D"]["INT8"]},
    "TRANSPOSE_CONV": {
        "INT16xINT8": replace(
            KERNELS["TRANSPOSE_CONV"]["INT16xINT8"], prepare=micro_products.transpose_conv_int16_params
        )
    },
    "FULLY_CONNECTED": {
        "INT16xINT8": replace(
            KERNELS["FULLY_CONNECTED"]["INT16xINT8"], prepare=micro_products.fully_connected_int16_params
        ),
        "INT8xINT4": replace(KERNELS["FULLY_CONNECTED"]["INT8"], prepare=micro_products.fully_connected_int4_params),
    },
    "SVDF": {
        "INT8": Kernel(micro_svdf.int8_params, svdf.svdf, variable_operands=(svdf.STATE,)),
        "FLOAT32": Kernel(micro_svdf.float_params, micro_svdf.svdf_float, variable_operands=(svdf.STATE,)),
    },
    "UNIDIRECTIONAL_SEQUENCE_LSTM": {
        **{
            type: Kernel(micro_recurrent.integer_params, micro_recurrent.integer_lstm, variable_operands=STATES)
            for type in ("INT8", "INT16xINT8")
        },
        "FLOAT32": Kernel(micro_recurrent.float_params, micro_recurrent.float_lstm, variable_operands=STATES),
    },
    # elementwise: binary, unary, lookup tables, conversion
    "ADD": {
        "INT16": Kernel(binary.add_params, binary.add, LEADING),
        "INT32": Kernel(binary.unclamped_params, binary.plain, LEADING),
    },
    "SUB": {"INT16": Kernel(binary.add_params, binary.sub, LEADING)},
    "MUL": {"INT16": Kernel(binary.mul_params, binary.mul, LEADING)},
    "SQUARED_DIFFERENCE": {
        "INT8": Kernel(binary.any_squared_difference_params, binary.squared_difference, LEADING),
        "INT16": Kernel(binary.any_squared_difference_params, binary.squared_difference, LEADING),
    },
    "ADD_N": {
        "INT8": Kernel(micro_sums.add_n_of_codes_params, micro_sums.add_n_of_codes, LEADING),
        "FLOAT32": Kernel(binary.add_n_params, binary.add_n_unclamped, LEADING),
    },
    "RELU6": {
        "INT8": Kernel(micro_elementwise.relu6_params, elementwise.look_up, LEADING),
        "INT16": Kernel(micro_elementwise.relu6_params, elementwise.look_up, LEADING),
    },
    "RSQRT": {"INT16": Kernel(unary.rsqrt_params, elementwise.look_up, LEADING)},
    "LOGISTIC": {"INT8": Kernel(micro_elementwise.logistic_params, elementwise.look_up, LEADING)},
    "TANH": {"INT8": Kernel(micro_elementwise.tanh_params, elementwise.look_up, LEADING)},
    "ELU": {"INT8": Kernel(lookup.elu_by_exponential_params, elementwise.look_up, LEADING)},
    "DEQUANTIZE": {
        "INT8": Kernel(micro_elementwise.dequantize_params, conversion.dequantize, LEADING),
        "UINT8": Kernel(micro_elementwise.dequantize_params, conversion.dequantize, LEADING),
    },
    "CAST": {"FLOAT32": Kernel(conversion.cast_params, micro_elementwise.cast, LEADING)},
    # softmax, normalization, reduction, resize
    "L2_NORMALIZATION": {
        "INT8": Kernel(micro_elementwise.l2_normalization_params, normalization.l2_normalization, LEADING)
    },
    "SUM": {"FLOAT32": Kernel(reduction.reduction_params, reduction.float_sum_from_zero, LEADING, (1,))},
    "REDUCE_MAX": {
        "FLOAT32": Kernel(reduction.extremum_params, reduction.float_reduce_max_from_lowest, LEADING, (1,)),
    },
    "REDUCE_MIN": {
        "FLOAT32": Kernel(reduction.extremum_params, reduction.float_reduce_min_from_largest, LEADING, (1,)),
    },
    "ARG_MAX": {"FLOAT32": Kernel(reduction.arg_params, reduction.arg_max_from_first, LEADING, (1,))},
    "ARG_MIN": {"FLOAT32": Kernel(reduction.arg_params, reduction.arg_min_from_first, LEADING, (1,))},
    # movement
    "EMBEDDING_LOOKUP": {
        "INT8": Kernel(micro_elementwise.embedding_lookup_params, indexing.embedding_lookup, Batching.ROWS)
    },
    "PAD": {
        "INT8": Kernel(micro_elementwise.pad_params, padding_ops.pad, LEADING, (1, 2)),
        "INT16": Kernel(micro_elementwise.pad_params, padding_ops.pad, LEADING, (1, 2)),
    },
    "ZEROS_LIKE": {"INT8": KERNELS["ZEROS_LIKE"]["INT32"]},
    "CUMSUM": {"INT8": Kernel(micro_sums.cumsum_of_codes_params, micro_sums.cumsum_of_codes, LEADING, (1,))},
    "SPACE_TO_BATCH_ND": {
        "INT8": Kernel(micro_elementwise.space_to_batch_params, block_movement.space_to_batch, LEADING, (1, 2))
    },
}

TFLM = replace(
    TFLITE_REF,
    name="tflm",
    base=TFLITE_REF.name,
    kernels={
        op: {type: OVERRIDES.get(op, {}).get(type) or KERNELS[op][type] for type in types}
        for op, types in BUILT.items()
    },
    arithmetic={
        **TFLITE_REF.arithmetic,
        # convolution, dense, pooling, recurrent
        "FULLY_CONNECTED.requantizer": DOUBLE_ROUNDING,
        "FULLY_CONNECTED.int16_requantizer": DOUBLE_ROUNDING,
        "FULLY_CONNECTED.asymmetric_int16_requantizer": DOUBLE_ROUNDING,
        "FULLY_CONNECTED.int64_requantizer": INT64_SINGLE_ROUNDING,
        "BATCH_MATMUL.effective_scale": effective_scale_float64,
        "SVDF.effective_scale": effective_scale_float64,
        # elementwise, conversion, softmax, reduction, resize
        "scales.type": np.float64,
        "ADD_N.requantizer": DOUBLE_ROUNDING,
        "CUMSUM.requantizer": DOUBLE_ROUNDING,
        "SOFTMAX.table_type": np.float32,
        "SUM.read_as": {},
        "QUANTIZE.outputs": QUANTIZE_OUTPUTS,
        "WHILE.copies_in_turn": False,
    },
    node_checks=(check_node,),
    shape_checks=(micro_products.expect_declared_shapes,),
    oracle=Oracle("tflite-micro", "0.dev20261023182759", "portable kernels", "x86-64", real="tflm:real"),
    file_checks=(),  # it looks neither at versions nor at quantized dimensions
)
