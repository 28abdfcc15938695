"""Whether a scale is a power of two, as TFLite's int16 kernels ask.

Source: tflite/kernels/internal/quantization_util.cc, CheckedLog2.
"""

from __future__ import annotations

import numpy as np

from refquant.arithmetic.float_functions import logf
from refquant.arithmetic.multiplier import round_half_away

TOLERANCE = np.float32(1e-3)  # of the logarithm


def exact_log2(x: float | np.float32) -> int | None:
    """The whole number next to log2(x) if it lies within 1e-3 of it, else None; in float32. x: above 0."""
    inverse = np.float32(1) / logf(np.float32(2))
    logarithm = np.float32(logf(np.float32(x)) * inverse)
    whole = np.float32(round_half_away(logarithm))
    return int(whole) if abs(logarithm - whole) < TOLERANCE else None
