"""Affine maps between real values and integer codes: steps = x / scale, real = scale * (code - zero_point).

Source: google-ai-edge/LiteRT, tflite/kernels/internal/reference/quantize.h and dequantize.h.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

BELOW_HALF_FLOAT32 = np.nextafter(np.float32(0.5), np.float32(0))


def steps_by_division(x: Float32, scale: NDArray[Any] | np.float32) -> Float32:
    """round(x / scale), half-way values away from zero, in float32.

    C's round(v) = trunc(v + copysign(c, v)) with c the float32 below 1/2: for v = n + 1/2 the sum lies half-way or less
    from n + 1 and rounds to it; every float32 nearer to n stays below n + 1, and from 2^23 on v itself remains.
    """
    v = np.asarray(x / scale)
    v += np.copysign(BELOW_HALF_FLOAT32, v)
    return np.asarray(np.trunc(v, out=v))
