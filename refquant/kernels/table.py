"""The literal table: op name -> type -> kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from refquant.kernels import (
    binary,
    binary_int16,
    block_movement,
    conversion,
    convolution,
    convolution_3d,
    dense,
    depthwise,
    elementwise,
    gathering,
    generation,
    hybrid,
    indexing,
    joining,
    lookup,
    matrices,
    movement,
    normalization,
    padding_ops,
    pooling,
    power,
    recurrent,
    recurrent_float,
    recurrent_hybrid,
    recurrent_int8,
    recurrent_rnn,
    reduction,
    resize,
    slicing,
    softmax,
    svdf,
    unary,
)
from refquant.kernels.kernel import Batching, Kernel, KernelTable

LEADING = Batching.LEADING
ROWS = Batching.ROWS

# The types that LiteRT 2.3.0 moves without a look at the codes.
MOVABLE = ("INT8", "UINT8", "INT16", "INT32", "INT64", "FLOAT16", "FLOAT32", "BOOL")

# The types that BITWISE_XOR and RIGHT_SHIFT take.
BITWISE = ("INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32")

# The types besides int8 and uint8 that every comparison takes.
COMPARABLE = ("INT32", "INT64", "FLOAT32")

# The types of codes that a RELU op takes.
RELU_CODES: Mapping[str, tuple[str, ...]] = {
    "RELU": ("INT8", "UINT8", "INT16"),
    "RELU6": ("INT8", "UINT8", "INT16"),
    "RELU_N1_TO_1": ("INT8", "UINT8"),
    "RELU_0_TO_1": ("INT8", "UINT8"),
}

# The input whose type picks the kernel, where it is not input 0.
TYPE_OPERAND: Mapping[str, int] = {
    "CONV_3D_TRANSPOSE": 2,
    "EMBEDDING_LOOKUP": 1,
    "FILL": 1,
    "ONE_HOT": 2,
    "SCATTER_ND": 1,
    "SELECT": 1,
    "SELECT_V2": 1,
    "SPARSE_TO_DENSE": 2,
    "SPLIT": 1,
    "TRANSPOSE_CONV": 2,
}

# The input whose type picks the kernel too where it is another one: float32 that meets int8 weights is "FLOAT32xINT8".
WEIGHT_OPERAND: Mapping[str, int] = {
    "BATCH_MATMUL": 1,
    "CONV_2D": 1,
    "DEPTHWISE_CONV_2D": 1,
    "FULLY_CONNECTED": 1,
    "PRELU": 1,
    "RNN": 1,
    "SVDF": 1,
    "TRANSPOSE_CONV": 1,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": 4,
    "UNIDIRECTIONAL_SEQUENCE_RNN": 1,
}


def kernel_type(op: str, types: Sequence[str]) -> str:
    """The type under which KERNELS has an operator: "INT8", or "FLOAT32xINT8" where its weights are of another one.

    types: of the operands in order, "" for an absent one. "" if the operand that decides is absent.
    """

    def type_at(place: int) -> str:
        return types[place] if place < len(types) else ""

    decider = type_at(TYPE_OPERAND.get(op, 0))
    weights = type_at(WEIGHT_OPERAND[op]) if op in WEIGHT_OPERAND else ""
    return decider if weights in ("", decider) else f"{decider}x{weights}"


KERNELS: KernelTable = {
    # convolution, dense, pooling
    "CONV_2D": {
        "INT8": Kernel(convolution.conv_2d_params, convolution.conv_2d, ROWS),
        "UINT8": Kernel(convolution.conv_2d_uint8_params, convolution.conv_2d_uint8, ROWS),
        "FLOAT32": Kernel(convolution.conv_2d_float_params, convolution.conv_2d_float, ROWS),
        "FLOAT32xINT8": Kernel(hybrid.conv_2d_params, hybrid.conv_2d, ROWS),
        "INT16xINT8": Kernel(convolution.conv_2d_int16_params, convolution.conv_2d, ROWS),
    },
    "DEPTHWISE_CONV_2D": {
        "INT8": Kernel(depthwise.depthwise_conv_2d_params, depthwise.depthwise_conv_2d, ROWS),
        "UINT8": Kernel(depthwise.depthwise_conv_2d_uint8_params, depthwise.depthwise_conv_2d_uint8, ROWS),
        "FLOAT32": Kernel(depthwise.depthwise_conv_2d_float_params, depthwise.depthwise_conv_2d_float, ROWS),
        "FLOAT32xINT8": Kernel(hybrid.depthwise_conv_2d_params, hybrid.depthwise_conv_2d, ROWS),
        "INT16xINT8": Kernel(depthwise.depthwise_conv_2d_int16_params, depthwise.depthwise_conv_2d, ROWS),
    },
    "TRANSPOSE_CONV": {
        "INT8": Kernel(
            convolution.transpose_conv_params, convolution.transpose_conv, ROWS, value_operands=(0,), row_operands=(2,)
        ),
        "UINT8": Kernel(
            convolution.transpose_conv_uint8_params,
            convolution.transpose_conv,
            ROWS,
            value_operands=(0,),
            row_operands=(2,),
        ),
        "FLOAT32": Kernel(
            convolution.transpose_conv_float_params,
            convolution.transpose_conv_float,
            ROWS,
            value_operands=(0,),
            row_operands=(2,),
        ),
        "FLOAT32xINT8": Kernel(
            hybrid.transpose_conv_params, hybrid.transpose_conv, ROWS, value_operands=(0,), row_operands=(2,)
        ),
        "INT16xINT8": Kernel(
            convolution.transpose_conv_int16_params,
            convolution.transpose_conv,
            ROWS,
            value_operands=(0,),
            row_operands=(2,),
        ),
    },
    "CONV_3D": {"FLOAT32": Kernel(convolution_3d.conv_3d_params, convolution_3d.conv_3d, ROWS)},
    "CONV_3D_TRANSPOSE": {
        "FLOAT32": Kernel(
            convolution_3d.conv_3d_transpose_params,
            convolution_3d.conv_3d_transpose,
            ROWS,
            value_operands=(0,),
            row_operands=(2,),
        )
    },
    "FULLY_CONNECTED": {
        "INT8": Kernel(dense.fully_connected_params, dense.fully_connected, dense.fully_connected_batching),
        "UINT8": Kernel(
            dense.fully_connected_uint8_params, dense.fully_connected_uint8, dense.fully_connected_batching
        ),
        "FLOAT32": Kernel(
            dense.fully_connected_float_params, dense.fully_connected_float, dense.fully_connected_batching
        ),
        "FLOAT32xINT8": Kernel(hybrid.fully_connected_params, hybrid.fully_connected, ROWS),
        "INT16xINT8": Kernel(dense.fully_connected_int16_params, dense.fully_connected, dense.fully_connected_batching),
    },
    "BATCH_MATMUL": {
        "INT8": Kernel(dense.batch_matmul_params, dense.batch_matmul, LEADING),
        "FLOAT32": Kernel(dense.batch_matmul_float_params, dense.batch_matmul_float, LEADING),
        "FLOAT32xINT8": Kernel(hybrid.batch_matmul_params, hybrid.batch_matmul, LEADING),
        **{
            type: Kernel(dense.batch_matmul_int16_params, dense.batch_matmul, LEADING)
            for type in ("INT16", "INT16xINT8")
        },
    },
    "AVERAGE_POOL_2D": {
        "INT8": Kernel(pooling.pool_params, pooling.average_pool_2d, ROWS),
        "UINT8": Kernel(pooling.pool_params, pooling.average_pool_2d, ROWS),
        "INT16": Kernel(pooling.pool_params, pooling.average_pool_2d, ROWS),
        "FLOAT32": Kernel(pooling.pool_float_params, pooling.average_pool_2d_float, ROWS),
    },
    "MAX_POOL_2D": {
        "INT8": Kernel(pooling.pool_params, pooling.max_pool_2d, ROWS),
        "UINT8": Kernel(pooling.pool_params, pooling.max_pool_2d, ROWS),
        "INT16": Kernel(pooling.pool_params, pooling.max_pool_2d, ROWS),
        "FLOAT32": Kernel(pooling.pool_float_params, pooling.max_pool_2d_float, ROWS),
    },
    "L2_POOL_2D": {"FLOAT32": Kernel(pooling.pool_float_params, pooling.l2_pool_2d_float, ROWS)},
    "SVDF": {
        "INT8": Kernel(svdf.svdf_params, svdf.svdf, variable_operands=(svdf.STATE,)),
        "FLOAT32": Kernel(svdf.svdf_float_params, svdf.svdf_float, variable_operands=(svdf.STATE,)),
        "FLOAT32xINT8": Kernel(svdf.svdf_hybrid_params, svdf.svdf_hybrid, variable_operands=(svdf.STATE,)),
    },
    **{
        op: {
            "FLOAT32": Kernel(recurrent_rnn.rnn_params, recurrent_rnn.rnn, variable_operands=(recurrent_rnn.STATE,)),
            **{
                type: Kernel(
                    recurrent_rnn.hybrid_rnn_params,
                    recurrent_rnn.hybrid_rnn,
                    variable_operands=(recurrent_rnn.STATE,),
                )
                for type in ("FLOAT32xINT8", "FLOAT32xUINT8")
            },
        }
        for op in ("RNN", "UNIDIRECTIONAL_SEQUENCE_RNN")
    },
    "UNIDIRECTIONAL_SEQUENCE_LSTM": {
        "INT8": Kernel(recurrent_int8.int8_lstm_params, recurrent_int8.int8_lstm, variable_operands=recurrent.STATES),
        "FLOAT32": Kernel(
            recurrent_float.float_lstm_params, recurrent_float.float_lstm, variable_operands=recurrent.STATES
        ),
        **{
            type: Kernel(
                recurrent_hybrid.hybrid_lstm_params, recurrent_hybrid.hybrid_lstm, variable_operands=recurrent.STATES
            )
            for type in ("FLOAT32xINT8", "FLOAT32xUINT8")
        },
    },
    # elementwise: binary, unary, lookup tables, conversion
    "ADD": {
        **{type: Kernel(binary.add_params, binary.add, LEADING) for type in ("INT8", "UINT8")},
        "INT16": Kernel(binary_int16.add_params, binary_int16.add, LEADING),
        **{type: Kernel(binary.plain_params, binary.plain, LEADING) for type in ("INT32", "INT64", "FLOAT32")},
    },
    "SUB": {
        **{type: Kernel(binary.add_params, binary.sub, LEADING) for type in ("INT8", "UINT8")},
        "INT16": Kernel(binary_int16.add_params, binary_int16.sub, LEADING),
        **{type: Kernel(binary.plain_params, binary.plain, LEADING) for type in ("INT32", "INT64", "FLOAT32")},
    },
    "MUL": {
        **{type: Kernel(binary.mul_params, binary.mul, LEADING) for type in ("INT8", "UINT8")},
        "INT16": Kernel(binary_int16.mul_params, binary_int16.mul, LEADING),
        **{
            type: Kernel(binary.plain_params, binary.plain, LEADING) for type in ("INT32", "INT64", "UINT32", "FLOAT32")
        },
    },
    "DIV": {
        "INT8": Kernel(binary.div_params, binary.div, LEADING),
        "UINT8": Kernel(binary.div_params, binary.div, LEADING),
        "INT32": Kernel(binary.plain_params, binary.plain_division, LEADING),
        "FLOAT32": Kernel(binary.plain_params, binary.plain, LEADING),
    },
    "SQUARED_DIFFERENCE": {
        "INT8": Kernel(binary.squared_difference_params, binary.squared_difference, LEADING),
        **{type: Kernel(binary.plain_params, binary.plain, LEADING) for type in ("INT32", "FLOAT32")},
    },
    "MAXIMUM": {
        type: Kernel(binary.plain_params, binary.plain, LEADING)
        for type in ("INT8", "UINT8", "INT16", "INT32", "INT64", "FLOAT32")
    },
    "MINIMUM": {
        type: Kernel(binary.plain_params, binary.plain, LEADING)
        for type in ("INT8", "UINT8", "INT16", "INT32", "INT64", "FLOAT32")
    },
    "FLOOR_DIV": {
        type: Kernel(binary.plain_params, binary.plain_division, LEADING)
        for type in ("INT8", "INT16", "INT32", "FLOAT32")
    },
    "FLOOR_MOD": {
        **{
            type: Kernel(binary.plain_params, binary.plain_division, LEADING)
            for type in ("INT8", "INT16", "INT32", "INT64")
        },
        "FLOAT32": Kernel(binary.plain_params, binary.plain, LEADING),
    },
    **{
        op: {
            **{type: Kernel(binary.comparison_params, binary.comparison, LEADING) for type in ("INT8", "UINT8")},
            **{type: Kernel(binary.plain_comparison_params, binary.plain, LEADING) for type in ("INT16", *COMPARABLE)},
        }
        for op in ("LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL")
    },
    **{
        op: {
            **{type: Kernel(binary.comparison_params, binary.comparison, LEADING) for type in ("INT8", "UINT8")},
            "INT16": Kernel(binary_int16.equality_params, binary_int16.equality, LEADING),
            **{type: Kernel(binary.plain_comparison_params, binary.plain, LEADING) for type in (*COMPARABLE, "BOOL")},
        }
        for op in ("EQUAL", "NOT_EQUAL")
    },
    "ATAN2": {"FLOAT32": Kernel(binary.atan2_params, binary.plain, LEADING)},
    "POW": {type: Kernel(power.pow_params, power.power, power.pow_batching) for type in ("INT32", "FLOAT32")},
    "ADD_N": {type: Kernel(binary.add_n_params, binary.add_n, LEADING) for type in ("INT32", "FLOAT32")},
    **{
        op: {type: Kernel(binary.plain_params, binary.plain, LEADING) for type in BITWISE}
        for op in ("BITWISE_XOR", "RIGHT_SHIFT")
    },
    "LOGICAL_AND": {"BOOL": Kernel(binary.plain_params, binary.plain, LEADING)},
    "LOGICAL_OR": {"BOOL": Kernel(binary.plain_params, binary.plain, LEADING)},
    "LOGICAL_NOT": {"BOOL": Kernel(unary.plain_params, unary.plain, LEADING)},
    **{
        op: {
            **{type: Kernel(unary.relu_params, elementwise.look_up, LEADING) for type in types},
            "FLOAT32": Kernel(unary.plain_params, unary.plain, LEADING),
        }
        for op, types in RELU_CODES.items()
    },
    "LEAKY_RELU": {
        "INT8": Kernel(unary.leaky_relu_params, elementwise.look_up, LEADING),
        "UINT8": Kernel(unary.leaky_relu_params, elementwise.look_up, LEADING),
        "INT16": Kernel(unary.leaky_relu_params, elementwise.look_up, LEADING),
        "FLOAT32": Kernel(unary.float_leaky_relu_params, unary.plain, LEADING),
    },
    "PRELU": {
        "INT8": Kernel(unary.prelu_params, unary.prelu, LEADING),
        "UINT8": Kernel(unary.prelu_params, unary.prelu, LEADING),
        "INT16xINT8": Kernel(unary.prelu_params, unary.prelu, LEADING),
        "FLOAT32": Kernel(unary.float_prelu_params, unary.float_prelu, LEADING),
    },
    "HARD_SWISH": {
        "INT8": Kernel(unary.hard_swish_params, elementwise.look_up, LEADING),
        "UINT8": Kernel(unary.hard_swish_params, elementwise.look_up, LEADING),
        "FLOAT32": Kernel(unary.plain_params, unary.plain, LEADING),
    },
    "ABS": {
        "INT8": Kernel(unary.abs_params, elementwise.look_up, LEADING),
        "INT16": Kernel(unary.abs_params, elementwise.look_up, LEADING),
        "INT32": Kernel(unary.plain_params, unary.plain, LEADING),
        "FLOAT32": Kernel(unary.plain_params, unary.plain, LEADING),
    },
    "NEG": {
        type: Kernel(unary.plain_params, unary.plain, LEADING)
        for type in ("INT8", "INT16", "INT32", "INT64", "FLOAT32")
    },
    "SIGN": {type: Kernel(unary.plain_params, unary.plain, LEADING) for type in ("INT32", "FLOAT32")},
    "SQRT": {
        "INT8": Kernel(unary.sqrt_params, elementwise.look_up, LEADING),
        "INT16": Kernel(unary.sqrt_params, elementwise.look_up, LEADING),
        "FLOAT32": Kernel(unary.plain_params, unary.plain, LEADING),
    },
    "RSQRT": {
        "INT8": Kernel(unary.rsqrt_params, elementwise.look_up, LEADING),
        "INT16": Kernel(lookup.rsqrt_int16_params, elementwise.look_up, LEADING),
        "FLOAT32": Kernel(unary.plain_params, unary.plain, LEADING),
    },
    **{
        op: {"FLOAT32": Kernel(unary.plain_params, unary.plain, LEADING)}
        for op in ("SQUARE", "SIN", "COS", "FLOOR", "CEIL", "ROUND")
    },
    **{op: {"COMPLEX64": Kernel(unary.complex_params, unary.plain, LEADING)} for op in ("REAL", "IMAG", "COMPLEX_ABS")},
    "FAKE_QUANT": {"FLOAT32": Kernel(unary.fake_quant_params, unary.plain, LEADING)},
    "LOGISTIC": {
        "INT8": Kernel(lookup.logistic_params, elementwise.look_up, LEADING),
        "UINT8": Kernel(lookup.logistic_params, elementwise.look_up, LEADING),
        "INT16": Kernel(lookup.logistic_int16_params, elementwise.look_up, LEADING),
        "FLOAT32": Kernel(unary.plain_params, unary.plain, LEADING),
    },
    "TANH": {
        "INT8": Kernel(lookup.tanh_params, elementwise.look_up, LEADING),
        "UINT8": Kernel(lookup.tanh_params, elementwise.look_up, LEADING),
        "INT16": Kernel(lookup.tanh_int16_params, elementwise.look_up, LEADING),
        "FLOAT32": Kernel(unary.plain_params, unary.plain, LEADING),
    },
    "EXP": {
        "INT8": Kernel(lookup.exp_params, elementwise.look_up, LEADING),
        "INT16": Kernel(lookup.exp_params, elementwise.look_up, LEADING),
        "FLOAT32": Kernel(unary.plain_params, unary.plain, LEADING),
    },
    "ELU": {
        "INT8": Kernel(lookup.elu_params, elementwise.look_up, LEADING),
        "FLOAT32": Kernel(unary.plain_params, unary.plain, LEADING),
    },
    "LOG": {
        "INT8": Kernel(lookup.log_params, elementwise.look_up, LEADING),
        "INT16": Kernel(lookup.log_params, elementwise.look_up, LEADING),
        "FLOAT32": Kernel(unary.plain_params, unary.plain, LEADING),
    },
    "GELU": {
        "INT8": Kernel(lookup.gelu_params, elementwise.look_up, LEADING),
        "UINT8": Kernel(lookup.gelu_params, elementwise.look_up, LEADING),
        "INT16": Kernel(lookup.gelu_params, elementwise.look_up, LEADING),
        "FLOAT32": Kernel(unary.float_gelu_params, unary.float_gelu, LEADING),
    },
    "QUANTIZE": {
        "FLOAT32": Kernel(conversion.quantize_params, conversion.quantize, LEADING),
        "INT8": Kernel(conversion.requantize_table_params, elementwise.look_up, LEADING),
        "UINT8": Kernel(conversion.requantize_table_params, elementwise.look_up, LEADING),
        "INT16": Kernel(conversion.requantize_params, conversion.requantize, LEADING),
        "INT32": Kernel(conversion.requantize_params, conversion.requantize, LEADING),
    },
    "DEQUANTIZE": {
        "INT8": Kernel(conversion.dequantize_params, conversion.dequantize, LEADING),
        "UINT8": Kernel(conversion.dequantize_params, conversion.dequantize, LEADING),
        "INT16": Kernel(conversion.dequantize_params, conversion.dequantize, LEADING),
        "FLOAT16": Kernel(conversion.dequantize_half_params, conversion.cast, LEADING),
    },
    "BITCAST": {type: Kernel(conversion.bitcast_params, conversion.bitcast, LEADING) for type in conversion.BITS},
    "CAST": {type: Kernel(conversion.cast_params, conversion.cast, LEADING) for type in conversion.CASTABLE},
    # softmax, normalization, reduction, resize
    "SOFTMAX": {
        "INT8": Kernel(softmax.softmax_params, softmax.softmax, LEADING),
        "UINT8": Kernel(softmax.softmax_params, softmax.softmax, LEADING),
        "INT16": Kernel(softmax.softmax_int16_params, softmax.softmax_int16, LEADING),
        "FLOAT32": Kernel(softmax.float_softmax_params, softmax.float_softmax, LEADING),
    },
    "LOG_SOFTMAX": {
        "INT8": Kernel(softmax.log_softmax_params, softmax.log_softmax, LEADING),
        "UINT8": Kernel(softmax.log_softmax_params, softmax.log_softmax, LEADING),
        "FLOAT32": Kernel(softmax.float_softmax_params, softmax.float_log_softmax, LEADING),
    },
    "L2_NORMALIZATION": {
        "INT8": Kernel(normalization.l2_normalization_params, normalization.l2_normalization, LEADING),
        "UINT8": Kernel(normalization.l2_normalization_params, normalization.l2_normalization, LEADING),
        "FLOAT32": Kernel(normalization.float_l2_normalization_params, normalization.float_l2_normalization, LEADING),
    },
    "LOCAL_RESPONSE_NORMALIZATION": {
        "FLOAT32": Kernel(normalization.local_response_params, normalization.local_response_normalization, LEADING)
    },
    "MEAN": {
        "INT8": Kernel(reduction.mean_params, reduction.quantized_mean_or_sum, LEADING, (1,)),
        "UINT8": Kernel(reduction.mean_params, reduction.quantized_mean_or_sum, LEADING, (1,)),
        "INT16": Kernel(reduction.mean_params, reduction.quantized_mean_or_sum, LEADING, (1,)),
        "INT32": Kernel(reduction.reduction_params, reduction.integer_mean, LEADING, (1,)),
        "INT64": Kernel(reduction.reduction_params, reduction.integer_mean, LEADING, (1,)),
        "FLOAT32": Kernel(reduction.reduction_params, reduction.float_mean, LEADING, (1,)),
    },
    "SUM": {
        "INT8": Kernel(reduction.sum_params, reduction.quantized_mean_or_sum, LEADING, (1,)),
        "UINT8": Kernel(reduction.sum_params, reduction.quantized_mean_or_sum, LEADING, (1,)),
        "INT16": Kernel(reduction.sum_params, reduction.quantized_mean_or_sum, LEADING, (1,)),
        "INT32": Kernel(reduction.reduction_params, reduction.integer_sum, LEADING, (1,)),
        "INT64": Kernel(reduction.reduction_params, reduction.integer_sum, LEADING, (1,)),
        "FLOAT32": Kernel(reduction.reduction_params, reduction.float_sum, LEADING, (1,)),
    },
    "REDUCE_PROD": {
        "INT8": Kernel(reduction.product_params, reduction.code_product, LEADING, (1,)),
        "INT16": Kernel(reduction.product_params, reduction.code_product, LEADING, (1,)),
        "UINT8": Kernel(reduction.product_params, reduction.integer_product, LEADING, (1,)),
        "INT32": Kernel(reduction.product_params, reduction.integer_product, LEADING, (1,)),
        "INT64": Kernel(reduction.product_params, reduction.integer_product, LEADING, (1,)),
        "FLOAT32": Kernel(reduction.product_params, reduction.float_product, LEADING, (1,)),
    },
    "REDUCE_MAX": {
        "INT8": Kernel(reduction.extremum_params, reduction.reduce_max, LEADING, (1,)),
        "UINT8": Kernel(reduction.extremum_params, reduction.reduce_max, LEADING, (1,)),
        "INT16": Kernel(reduction.extremum_params, reduction.reduce_max, LEADING, (1,)),
        "INT32": Kernel(reduction.extremum_params, reduction.reduce_max, LEADING, (1,)),
        "INT64": Kernel(reduction.extremum_params, reduction.reduce_max, LEADING, (1,)),
        "FLOAT32": Kernel(reduction.extremum_params, reduction.float_reduce_max, LEADING, (1,)),
    },
    "REDUCE_MIN": {
        "INT8": Kernel(reduction.extremum_params, reduction.reduce_min, LEADING, (1,)),
        "UINT8": Kernel(reduction.extremum_params, reduction.reduce_min, LEADING, (1,)),
        "INT16": Kernel(reduction.extremum_params, reduction.reduce_min, LEADING, (1,)),
        "INT32": Kernel(reduction.extremum_params, reduction.reduce_min, LEADING, (1,)),
        "INT64": Kernel(reduction.extremum_params, reduction.reduce_min, LEADING, (1,)),
        "FLOAT32": Kernel(reduction.extremum_params, reduction.float_reduce_min, LEADING, (1,)),
    },
    "REDUCE_ANY": {"BOOL": Kernel(reduction.reduction_params, reduction.reduce_any, LEADING, (1,))},
    "REDUCE_ALL": {"BOOL": Kernel(reduction.reduction_params, reduction.reduce_all, LEADING, (1,))},
    "ARG_MAX": {
        type: Kernel(reduction.arg_params, reduction.arg_max, LEADING, (1,))
        for type in ("INT8", "UINT8", "INT32", "BOOL", "FLOAT32")
    },
    "ARG_MIN": {
        type: Kernel(reduction.arg_params, reduction.arg_min, LEADING, (1,))
        for type in ("INT8", "UINT8", "INT32", "BOOL", "FLOAT32")
    },
    "RESIZE_BILINEAR": {
        "INT8": Kernel(resize.resize_bilinear_params, resize.resize_bilinear, LEADING, (1,)),
        "INT16": Kernel(resize.resize_bilinear_params, resize.resize_bilinear, LEADING, (1,)),
        "UINT8": Kernel(resize.resize_bilinear_params, resize.float_resize_bilinear, LEADING, (1,)),
        "FLOAT32": Kernel(resize.resize_bilinear_params, resize.float_resize_bilinear, LEADING, (1,)),
    },
    "RESIZE_NEAREST_NEIGHBOR": {
        type: Kernel(resize.resize_nearest_neighbor_params, resize.resize_nearest_neighbor, LEADING, (1,))
        for type in ("INT8", "UINT8", "INT16", "INT32", "FLOAT16", "FLOAT32")
    },
    # movement
    "RESHAPE": dict.fromkeys(MOVABLE, Kernel(movement.reshape_params, movement.reshape, LEADING, (1,))),
    "SQUEEZE": dict.fromkeys(MOVABLE, Kernel(movement.squeeze_params, movement.reshape, LEADING)),
    "EXPAND_DIMS": dict.fromkeys(MOVABLE, Kernel(movement.expand_dims_params, movement.reshape, LEADING, (1,))),
    "TRANSPOSE": dict.fromkeys(MOVABLE, Kernel(movement.transpose_params, movement.transpose, LEADING, (1,))),
    "TILE": dict.fromkeys(MOVABLE, Kernel(movement.tile_params, movement.tile, LEADING, (1,))),
    "BROADCAST_TO": dict.fromkeys(MOVABLE, Kernel(movement.broadcast_to_params, movement.broadcast_to, LEADING, (1,))),
    "REVERSE_V2": dict.fromkeys(MOVABLE, Kernel(movement.reverse_params, movement.reverse, LEADING, (1,))),
    "SPACE_TO_DEPTH": dict.fromkeys(
        ("INT8", "UINT8", "INT32", "INT64", "FLOAT32"),
        Kernel(block_movement.space_to_depth_params, block_movement.space_to_depth, LEADING),
    ),
    "DEPTH_TO_SPACE": dict.fromkeys(
        ("INT8", "UINT8", "INT32", "INT64", "FLOAT32"),
        Kernel(block_movement.depth_to_space_params, block_movement.depth_to_space, LEADING),
    ),
    "SPACE_TO_BATCH_ND": dict.fromkeys(
        MOVABLE, Kernel(block_movement.space_to_batch_params, block_movement.space_to_batch, LEADING, (1, 2))
    ),
    "BATCH_TO_SPACE_ND": dict.fromkeys(
        MOVABLE, Kernel(block_movement.batch_to_space_params, block_movement.batch_to_space, LEADING, (1, 2))
    ),
    "SLICE": dict.fromkeys(MOVABLE, Kernel(slicing.slice_params, slicing.take_slice, LEADING, (1, 2))),
    "STRIDED_SLICE": dict.fromkeys(
        MOVABLE, Kernel(slicing.strided_slice_params, slicing.take_slice, LEADING, (1, 2, 3))
    ),
    "SPLIT": dict.fromkeys(
        ("INT8", "UINT8", "INT16", "INT32", "INT64", "FLOAT32"),
        Kernel(slicing.split_params, slicing.split, LEADING, (0,)),
    ),
    "SPLIT_V": dict.fromkeys(
        ("INT8", "UINT8", "INT16", "INT32", "INT64", "FLOAT32"),
        Kernel(slicing.split_v_params, slicing.split, LEADING, (1, 2)),
    ),
    "UNPACK": dict.fromkeys(
        ("INT8", "UINT8", "INT16", "INT32", "FLOAT16", "FLOAT32", "BOOL"),
        Kernel(slicing.unpack_params, slicing.unpack, LEADING),
    ),
    "PACK": dict.fromkeys(
        ("INT8", "UINT8", "INT16", "INT32", "INT64", "FLOAT32"),
        Kernel(joining.pack_params, joining.join, LEADING),
    ),
    "CONCATENATION": dict.fromkeys(MOVABLE, Kernel(joining.concatenation_params, joining.join, LEADING)),
    "SELECT": dict.fromkeys(MOVABLE, Kernel(joining.select_params, joining.select, LEADING)),
    "SELECT_V2": dict.fromkeys(MOVABLE, Kernel(joining.select_v2_params, joining.select, LEADING)),
    "GATHER": dict.fromkeys(MOVABLE, Kernel(gathering.gather_params, gathering.gather, LEADING)),
    "GATHER_ND": dict.fromkeys(MOVABLE, Kernel(gathering.gather_nd_params, gathering.gather_nd, LEADING)),
    "SCATTER_ND": dict.fromkeys(
        ("INT8", "UINT8", "INT32", "INT64", "FLOAT32", "BOOL"),
        Kernel(gathering.scatter_nd_params, gathering.scatter_nd, value_operands=(2,)),
    ),
    "DYNAMIC_UPDATE_SLICE": dict.fromkeys(
        MOVABLE, Kernel(gathering.dynamic_update_slice_params, gathering.dynamic_update_slice)
    ),
    "WHERE": dict.fromkeys(
        ("INT8", "UINT8", "INT32", "INT64", "FLOAT32", "BOOL"), Kernel(gathering.where_params, gathering.where)
    ),
    "TOPK_V2": dict.fromkeys(
        ("INT8", "UINT8", "INT16", "INT32", "INT64", "FLOAT32"),
        Kernel(gathering.topk_params, gathering.topk, LEADING, (1,)),
    ),
    "EMBEDDING_LOOKUP": dict.fromkeys(
        MOVABLE, Kernel(indexing.embedding_lookup_params, indexing.embedding_lookup, ROWS)
    ),
    "SPARSE_TO_DENSE": dict.fromkeys(
        ("INT8", "UINT8", "INT32", "INT64", "FLOAT32"),
        Kernel(indexing.sparse_to_dense_params, indexing.sparse_to_dense, value_operands=(1,)),
    ),
    "UNIQUE": dict.fromkeys(
        ("INT8", "UINT8", "INT16", "INT32", "INT64", "FLOAT32"), Kernel(indexing.unique_params, indexing.unique)
    ),
    "REVERSE_SEQUENCE": dict.fromkeys(
        ("UINT8", "INT16", "INT32", "INT64", "FLOAT32"),
        Kernel(indexing.reverse_sequence_params, indexing.reverse_sequence, LEADING),
    ),
    "SEGMENT_SUM": dict.fromkeys(("INT32", "FLOAT32"), Kernel(indexing.segment_sum_params, indexing.segment)),
    **{
        op: dict.fromkeys(
            ("INT32", "FLOAT32"), Kernel(indexing.unsorted_segment_params, indexing.segment, value_operands=(2,))
        )
        for op in ("UNSORTED_SEGMENT_SUM", "UNSORTED_SEGMENT_PROD", "UNSORTED_SEGMENT_MAX", "UNSORTED_SEGMENT_MIN")
    },
    "BUCKETIZE": dict.fromkeys(
        ("INT32", "INT64", "FLOAT32"), Kernel(indexing.bucketize_params, indexing.bucketize, LEADING)
    ),
    "MATRIX_DIAG": dict.fromkeys(
        ("INT8", "UINT8", "INT16", "INT32", "INT64", "FLOAT32"),
        Kernel(matrices.matrix_diag_params, matrices.matrix_diag, LEADING),
    ),
    "MATRIX_SET_DIAG": dict.fromkeys(
        ("INT8", "UINT8", "INT16", "INT32", "INT64", "FLOAT32"),
        Kernel(matrices.matrix_set_diag_params, matrices.matrix_set_diag, LEADING),
    ),
    "PAD": dict.fromkeys(MOVABLE, Kernel(padding_ops.pad_params, padding_ops.pad, LEADING, (1, 2))),
    "PADV2": dict.fromkeys(MOVABLE, Kernel(padding_ops.pad_params, padding_ops.pad, LEADING, (1, 2))),
    "MIRROR_PAD": dict.fromkeys(MOVABLE, Kernel(padding_ops.mirror_pad_params, padding_ops.mirror_pad, LEADING, (1,))),
    "SHAPE": dict.fromkeys(MOVABLE, Kernel(generation.shape_params, generation.constant, shape_operands=(0,))),
    "RANK": dict.fromkeys(MOVABLE, Kernel(generation.rank_params, generation.constant, shape_operands=(0,))),
    "ZEROS_LIKE": dict.fromkeys(
        ("INT32", "INT64", "FLOAT32"),
        Kernel(generation.zeros_like_params, generation.constant, shape_operands=(0,)),
    ),
    "FILL": dict.fromkeys(MOVABLE, Kernel(generation.fill_params, generation.fill, LEADING, (0,))),
    "RANGE": dict.fromkeys(
        ("INT32", "INT64", "FLOAT32"), Kernel(generation.range_params, generation.arange, LEADING, (0, 1, 2))
    ),
    "BROADCAST_ARGS": dict.fromkeys(
        ("INT32", "INT64"), Kernel(generation.broadcast_args_params, generation.constant, LEADING, (0, 1))
    ),
    "ONE_HOT": dict.fromkeys(
        ("INT8", "UINT8", "INT32", "INT64", "FLOAT32", "BOOL"),
        Kernel(generation.one_hot_params, generation.one_hot, LEADING, (1,)),
    ),
    "CUMSUM": dict.fromkeys(
        ("INT32", "INT64", "FLOAT32"), Kernel(generation.cumsum_params, generation.cumsum, LEADING, (1,))
    ),
}
