"""The literal table: op name -> type -> kernel."""

from __future__ import annotations

from collections.abc import Mapping

from refquant.kernels import normalization, reduction, resize, softmax
from refquant.kernels.kernel import Batching, Kernel, KernelTable

LEADING = Batching.LEADING

# The input whose type picks the kernel, where it is not input 0.
TYPE_OPERAND: Mapping[str, int] = {
    "FILL": 1,
    "SELECT": 1,
    "SELECT_V2": 1,
    "SPLIT": 1,
    "TRANSPOSE_CONV": 2,
}

KERNELS: KernelTable = {
    # convolution, dense, pooling
    # elementwise: binary, unary, lookup tables, conversion
    # softmax, normalization, reduction, resize
    "SOFTMAX": {
        "INT8": Kernel(softmax.softmax_params, softmax.softmax, LEADING),
        "UINT8": Kernel(softmax.softmax_params, softmax.softmax, LEADING),
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
    "MEAN": {
        "INT8": Kernel(reduction.mean_params, reduction.quantized_mean_or_sum, LEADING, (1,)),
        "UINT8": Kernel(reduction.mean_params, reduction.quantized_mean_or_sum, LEADING, (1,)),
        "INT32": Kernel(reduction.reduction_params, reduction.integer_mean, LEADING, (1,)),
        "INT64": Kernel(reduction.reduction_params, reduction.integer_mean, LEADING, (1,)),
        "FLOAT32": Kernel(reduction.reduction_params, reduction.float_mean, LEADING, (1,)),
    },
    "SUM": {
        "INT8": Kernel(reduction.sum_params, reduction.quantized_mean_or_sum, LEADING, (1,)),
        "UINT8": Kernel(reduction.sum_params, reduction.quantized_mean_or_sum, LEADING, (1,)),
        "INT32": Kernel(reduction.reduction_params, reduction.integer_sum, LEADING, (1,)),
        "INT64": Kernel(reduction.reduction_params, reduction.integer_sum, LEADING, (1,)),
        "FLOAT32": Kernel(reduction.reduction_params, reduction.float_sum, LEADING, (1,)),
    },
    "REDUCE_PROD": {
        "INT8": Kernel(reduction.product_params, reduction.product_8bit, LEADING, (1,)),
        "INT32": Kernel(reduction.product_params, reduction.integer_product, LEADING, (1,)),
        "INT64": Kernel(reduction.product_params, reduction.integer_product, LEADING, (1,)),
        "FLOAT32": Kernel(reduction.product_params, reduction.float_product, LEADING, (1,)),
    },
    "REDUCE_MAX": {
        "INT8": Kernel(reduction.extremum_params, reduction.reduce_max, LEADING, (1,)),
        "UINT8": Kernel(reduction.extremum_params, reduction.reduce_max, LEADING, (1,)),
        "INT32": Kernel(reduction.extremum_params, reduction.reduce_max, LEADING, (1,)),
        "INT64": Kernel(reduction.extremum_params, reduction.reduce_max, LEADING, (1,)),
        "FLOAT32": Kernel(reduction.extremum_params, reduction.float_reduce_max, LEADING, (1,)),
    },
    "REDUCE_MIN": {
        "INT8": Kernel(reduction.extremum_params, reduction.reduce_min, LEADING, (1,)),
        "UINT8": Kernel(reduction.extremum_params, reduction.reduce_min, LEADING, (1,)),
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
        "UINT8": Kernel(resize.resize_bilinear_params, resize.float_resize_bilinear, LEADING, (1,)),
        "FLOAT32": Kernel(resize.resize_bilinear_params, resize.float_resize_bilinear, LEADING, (1,)),
    },
    "RESIZE_NEAREST_NEIGHBOR": {
        type: Kernel(resize.resize_nearest_neighbor_params, resize.resize_nearest_neighbor, LEADING, (1,))
        for type in ("INT8", "UINT8", "INT16", "INT32", "FLOAT32")
    },
    # movement
}
