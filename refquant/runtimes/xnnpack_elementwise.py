"""Which operators that multiply no matrices the XNNPACK delegate takes, and how it computes them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from refquant.arithmetic.affine import steps_by_inverse
from refquant.arithmetic.requantize import FLOAT32_EVEN
from refquant.kernels import (
    binary,
    elementwise,
    lookup,
    pooling,
    reduction,
    resize,
    softmax,
    unary,
    xnnpack_binary,
    xnnpack_float_windows,
    xnnpack_tables,
)
from refquant.kernels.activation import activation_range_of_sums, float_activation_range_to_infinity
from refquant.kernels.kernel import Batching, Kernel
from refquant.kernels.xnnpack_float_elementwise import (
    FUNCTIONS,
    binary_params,
    extremum_params,
    leaky_relu_params,
    prelu,
    unary_params,
)
from refquant.runtimes.runtime import Takes
from refquant.runtimes.xnnpack_conditions import (
    takes_concatenation,
    takes_dequantize,
    takes_leaky_relu,
    takes_padding,
    takes_pool,
    takes_prelu,
    takes_product,
    takes_quantize,
    takes_reduction,
    takes_regrouping,
    takes_reshape,
    takes_resize,
    takes_slice,
    takes_softmax,
    takes_split,
    takes_strided_slice,
    takes_sum,
    takes_transpose,
    takes_unary,
)

LEADING = Batching.LEADING
BYTES = ("INT8", "UINT8")
VALUES = ("INT8", "UINT8", "FLOAT32")
MOVED = (*VALUES, "FLOAT16")

FLOAT_UNARY = (
    "ABS", "CEIL", "COS", "EXP", "FLOOR", "GELU", "HARD_SWISH", "LOG", "NEG", "RELU", "RELU6", "RELU_N1_TO_1", "ROUND",
    "RSQRT", "SIN", "SQRT", "SQUARE",
)  # fmt: skip

# The operators that it takes: op -> type -> on what conditions.
TAKES: Mapping[str, Mapping[str, Takes]] = {
    "ADD": dict.fromkeys(VALUES, takes_sum),
    "SUB": dict.fromkeys(VALUES, takes_sum),
    "MUL": dict.fromkeys(VALUES, takes_product),
    "DIV": {"FLOAT32": takes_sum},
    "MAXIMUM": {"FLOAT32": takes_sum},
    "MINIMUM": {"FLOAT32": takes_sum},
    "SQUARED_DIFFERENCE": {"FLOAT32": takes_sum},
    "PRELU": {"FLOAT32": takes_prelu},
    **{op: {"FLOAT32": takes_unary} for op in FLOAT_UNARY},
    "LEAKY_RELU": dict.fromkeys(VALUES, takes_leaky_relu),
    "LOGISTIC": dict.fromkeys(VALUES, takes_unary),
    "TANH": dict.fromkeys(VALUES, takes_unary),
    "ELU": {"INT8": takes_unary, "FLOAT32": takes_unary},
    "QUANTIZE": dict.fromkeys(VALUES, takes_quantize),
    "DEQUANTIZE": dict.fromkeys(BYTES, takes_dequantize),
    "SOFTMAX": {"FLOAT32": takes_softmax},
    "MEAN": dict.fromkeys(VALUES, takes_reduction),
    "SUM": dict.fromkeys(VALUES, takes_reduction),
    "REDUCE_MAX": dict.fromkeys(VALUES, takes_reduction),
    "REDUCE_MIN": dict.fromkeys(VALUES, takes_reduction),
    "MAX_POOL_2D": dict.fromkeys(VALUES, takes_pool),
    "AVERAGE_POOL_2D": {"FLOAT32": takes_pool},
    "RESIZE_BILINEAR": dict.fromkeys(VALUES, takes_resize),
    "CONCATENATION": dict.fromkeys(MOVED, takes_concatenation),
    "DEPTH_TO_SPACE": dict.fromkeys(VALUES, takes_regrouping),
    "SPACE_TO_DEPTH": dict.fromkeys(VALUES, takes_regrouping),
    "PAD": dict.fromkeys(MOVED, takes_padding),
    "RESHAPE": dict.fromkeys(MOVED, takes_reshape),
    "SLICE": dict.fromkeys(MOVED, takes_slice),
    "SPLIT": dict.fromkeys(VALUES, takes_split),
    "STRIDED_SLICE": dict.fromkeys(MOVED, takes_strided_slice),
    "TRANSPOSE": dict.fromkeys(MOVED, takes_transpose),
}

PLAIN_BINARY = Kernel(binary_params, binary.plain, LEADING)
EXTREMUM = Kernel(extremum_params, binary.plain, LEADING)
PLAIN_UNARY = Kernel(unary_params, unary.plain, LEADING)
ONE_SHIFT = Kernel(
    partial(xnnpack_tables.table_shaped_params, xnnpack_binary.one_shift_params),
    partial(xnnpack_tables.table_shaped, xnnpack_binary.one_shift_sum),
    LEADING,
)
PRODUCT = Kernel(xnnpack_tables.product_or_square_params, xnnpack_tables.product_or_square, LEADING)
SUM_AT_ONCE = Kernel(reduction.mean_or_sum_at_once_params, reduction.sum_at_once, LEADING, (1,))

# The ops whose kernels compute otherwise, not only with other values.
OVERRIDES: Mapping[str, Mapping[str, Kernel]] = {
    "ADD": {**dict.fromkeys(BYTES, ONE_SHIFT), "FLOAT32": PLAIN_BINARY},
    "SUB": {**dict.fromkeys(BYTES, ONE_SHIFT), "FLOAT32": PLAIN_BINARY},
    "MUL": {**dict.fromkeys(BYTES, PRODUCT), "FLOAT32": PLAIN_BINARY},
    **{op: {"FLOAT32": PLAIN_BINARY} for op in ("DIV", "SQUARED_DIFFERENCE")},
    **{op: {"FLOAT32": EXTREMUM} for op in ("MAXIMUM", "MINIMUM")},
    "PRELU": {"FLOAT32": Kernel(unary.float_prelu_params, prelu, LEADING)},
    **{op: {"FLOAT32": PLAIN_UNARY} for op in (*FUNCTIONS, "CEIL", "FLOOR", "RELU", "RELU6", "RELU_N1_TO_1", "SQUARE")},
    "LEAKY_RELU": {
        **dict.fromkeys(BYTES, Kernel(xnnpack_tables.leaky_relu_in_256ths_params, elementwise.look_up, LEADING)),
        "FLOAT32": Kernel(leaky_relu_params, unary.plain, LEADING),
    },
    "LOGISTIC": {
        **dict.fromkeys(BYTES, Kernel(lookup.logistic_sum_params, elementwise.look_up, LEADING)),
        "FLOAT32": PLAIN_UNARY,
    },
    "TANH": {
        **dict.fromkeys(BYTES, Kernel(lookup.tanh_sum_params, elementwise.look_up, LEADING)),
        "FLOAT32": PLAIN_UNARY,
    },
    "ELU": {"INT8": Kernel(lookup.elu_sum_params, elementwise.look_up, LEADING), "FLOAT32": PLAIN_UNARY},
    "SOFTMAX": {"FLOAT32": Kernel(softmax.float_softmax_params, xnnpack_float_windows.softmax, LEADING)},
    "QUANTIZE": dict.fromkeys(BYTES, Kernel(xnnpack_tables.requantize_in_256ths_params, elementwise.look_up, LEADING)),
    "MEAN": {
        **dict.fromkeys(BYTES, SUM_AT_ONCE),
        "FLOAT32": Kernel(reduction.reduction_params, xnnpack_float_windows.mean, LEADING, (1,)),
    },
    "SUM": {
        **dict.fromkeys(BYTES, SUM_AT_ONCE),
        "FLOAT32": Kernel(reduction.reduction_params, xnnpack_float_windows.sum_, LEADING, (1,)),
    },
    "REDUCE_MAX": {"FLOAT32": Kernel(reduction.reduction_params, xnnpack_float_windows.reduce_max, LEADING, (1,))},
    "REDUCE_MIN": {"FLOAT32": Kernel(reduction.reduction_params, xnnpack_float_windows.reduce_min, LEADING, (1,))},
    "MAX_POOL_2D": {"FLOAT32": Kernel(pooling.pool_float_params, xnnpack_float_windows.max_pool_2d, Batching.ROWS)},
    "AVERAGE_POOL_2D": {
        "FLOAT32": Kernel(pooling.pool_float_params, xnnpack_float_windows.average_pool_2d, Batching.ROWS)
    },
    "RESIZE_BILINEAR": {
        **dict.fromkeys(
            BYTES,
            Kernel(resize.resize_bilinear_in_2048ths_params, resize.resize_bilinear_by_shift, LEADING, (1,)),
        ),
        "FLOAT32": Kernel(resize.resize_bilinear_within_params, resize.resize_bilinear_by_differences, LEADING, (1,)),
    },
}

ARITHMETIC: Mapping[str, Any] = {
    "activation.range": activation_range_of_sums,
    "activation.float_range": float_activation_range_to_infinity,
    "MUL.requantizer": FLOAT32_EVEN,
    "QUANTIZE.to_steps": steps_by_inverse,
}

ESTIMATE = (
    "it begins with the processor's own estimate of 1 / sqrt(x): results differ by up to 2 steps of float32, and of x "
    "above 2^126, where both are half as large again, by up to 2^-14 of them"
)

# What float32 results of the operators that it takes are near the real ones only, and why.
INEXACT: Mapping[str, Mapping[str, str]] = {
    "EXP": {"FLOAT32": "how LiteRT 2.3.0 computes it is not known: a tenth of the results differ, by up to 3 steps"},
    "RSQRT": {"FLOAT32": ESTIMATE},
    "SQRT": {"FLOAT32": ESTIMATE},
}
