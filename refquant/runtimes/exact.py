"""exact: no runtime, a yardstick. Every op's real-number result, rounded once: see kernels/exact.py.

What a runtime's result differs from it by is the runtime's arithmetic; what it differs from the float model's by is
quantization. No real runtime computes so; it is proved by a second implementation in rational numbers, and every
described runtime stays within a few steps of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from refquant.arithmetic import fast_functions
from refquant.kernels import exact_recurrent
from refquant.kernels.exact import EXACT_KERNELS
from refquant.kernels.kernel import KernelTable
from refquant.runtimes.tflite_ref import TFLITE_REF

AS_IN_REFERENCE = "computed as in the reference kernels, with roundings on the way"

# The ops that are not carried over into the reals.
INEXACT: Mapping[str, Mapping[str, str]] = {
    op: dict.fromkeys(types, AS_IN_REFERENCE)
    for op, types in {
        "ATAN2": ("FLOAT32",),
        "CONV_3D": ("FLOAT32",),
        "CONV_3D_TRANSPOSE": ("FLOAT32",),
        "CUMSUM": ("FLOAT32",),
        "LOCAL_RESPONSE_NORMALIZATION": ("FLOAT32",),
        "RNN": ("FLOAT32", "FLOAT32xINT8", "FLOAT32xUINT8"),
        "SEGMENT_SUM": ("FLOAT32",),
        "SVDF": ("FLOAT32", "FLOAT32xINT8"),
        "UNIDIRECTIONAL_SEQUENCE_LSTM": ("FLOAT32", "FLOAT32xINT8", "FLOAT32xUINT8"),
        "UNIDIRECTIONAL_SEQUENCE_RNN": ("FLOAT32", "FLOAT32xINT8", "FLOAT32xUINT8"),
        "UNSORTED_SEGMENT_PROD": ("FLOAT32",),
        "UNSORTED_SEGMENT_SUM": ("FLOAT32",),
    }.items()
}

RECURRENT: KernelTable = {
    "SVDF": {**EXACT_KERNELS["SVDF"], "INT8": exact_recurrent.SVDF},
    "UNIDIRECTIONAL_SEQUENCE_LSTM": {
        **EXACT_KERNELS["UNIDIRECTIONAL_SEQUENCE_LSTM"],
        "INT8": exact_recurrent.LSTM,
    },
}

EXACT = replace(
    TFLITE_REF,
    name="exact",
    base=TFLITE_REF.name,
    kernels={**EXACT_KERNELS, **RECURRENT},
    arithmetic={
        **TFLITE_REF.arithmetic,
        "COS.function": np.cos,
        "ELU.function": fast_functions.elu,
        "EXP.function": np.exp,
        "LOGISTIC.function": fast_functions.logistic,
        "POW.function": np.power,
        "SIN.function": np.sin,
        "TANH.function": np.tanh,
    },
    oracle=None,
    inexact=INEXACT,
)
