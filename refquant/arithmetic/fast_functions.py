"""float32 functions by NumPy's own, which differ from the C library's, and between machines, in the last bits.

For calibrating, where speed counts and a unit in the last place does not.
"""

from __future__ import annotations

import numpy as np

from refquant.arithmetic.float_functions import Float32


def logistic(x: Float32) -> Float32:
    """1 / (1 + e^-x) of float32 of any shape."""
    with np.errstate(over="ignore"):
        y = np.exp(np.negative(x))
        y += np.float32(1)
        return np.asarray(np.divide(np.float32(1), y))


def elu(x: Float32) -> Float32:
    """e^x - 1 below zero, else x, of float32 of any shape."""
    return np.where(x < 0, np.expm1(np.minimum(x, np.float32(0))), x)
