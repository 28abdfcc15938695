"""fast_float: tflite_ref with its float products by BLAS. For calibration, not for comparison."""

from __future__ import annotations

from dataclasses import replace

from refquant.arithmetic.float_product import blas_product
from refquant.runtimes.tflite_ref import TFLITE_REF

FAST_FLOAT = replace(
    TFLITE_REF,
    name="fast_float",
    arithmetic={**TFLITE_REF.arithmetic, "float.product": blas_product},
    oracle="none: float products by BLAS, for calibration",
)
