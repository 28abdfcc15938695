"""fast_float: tflite_ref with float products by BLAS and functions by NumPy. For calibration, not for comparison."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from refquant.arithmetic import fast_functions
from refquant.arithmetic.float_product import add_blas_product, blas_product, blas_product_and_total
from refquant.runtimes.tflite_ref import TFLITE_REF

FAST_FLOAT = replace(
    TFLITE_REF,
    name="fast_float",
    base=TFLITE_REF.name,
    arithmetic={
        **TFLITE_REF.arithmetic,
        "float.product": blas_product,
        "float.added_product": add_blas_product,
        "COS.function": np.cos,
        "ELU.function": fast_functions.elu,
        "EXP.function": np.exp,
        "LOG.function": np.log,
        "LSTM.add_product": blas_product_and_total,
        "RNN.add_product": blas_product_and_total,
        "LOGISTIC.function": fast_functions.logistic,
        "POW.function": np.power,
        "SIN.function": np.sin,
        "TANH.function": np.tanh,
    },
    oracle=None,
)
