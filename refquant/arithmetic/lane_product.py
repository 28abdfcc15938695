"""Float32 sums in four lanes, as the vector functions of the streaming and recurrent kernels take them on x86-64.

Element c of a sum belongs to lane c % 4 as long as four are left; each lane is summed in order, then the lanes are
added one after another, then what is left over. Each product and each sum rounds to float32 on its own.
Source: google-ai-edge/LiteRT, tflite/kernels/internal/optimized/neon_tensor_utils.cc, which x86-64 runs too:
NeonMatrixBatchVectorMultiplyAccumulate, NeonVectorVectorDotProduct, NeonReductionSumVector.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

LANES = 4


def lane_dot(a: Float32, b: Float32) -> Float32:
    """The sums of a * b over the last axis. a, b: (..., k) float32 that broadcast; returns (...) float32."""
    with np.errstate(all="ignore"):
        return lane_sum(a * b)


def lane_sum(terms: Float32) -> Float32:
    """The sums over the last axis. terms: (..., k) float32; returns (...) float32."""
    k = terms.shape[-1]
    lanes = np.zeros((*terms.shape[:-1], LANES), np.float32)
    with np.errstate(all="ignore"):
        for start in range(0, k - k % LANES, LANES):
            lanes += terms[..., start : start + LANES]
        total = lanes[..., 0] + lanes[..., 1] + lanes[..., 2] + lanes[..., 3]
        for position in range(k - k % LANES, k):
            total = total + terms[..., position]
    return np.asarray(total, np.float32)


def add_lane_product(weights: Float32, x: Float32, total: Float32) -> Float32:
    """total + x @ weights.T: the lanes' sum is added to it at once, then what is left over one by one.

    weights: (m, k); x: (..., n, k); total: broadcasts to (..., n, m).
    Source: NeonMatrixBatchVectorMultiplyAccumulate.
    """
    k = weights.shape[1]
    whole = k - k % LANES
    with np.errstate(all="ignore"):
        lanes = np.zeros((*x.shape[:-1], len(weights), LANES), np.float32)
        for start in range(0, whole, LANES):
            part = slice(start, start + LANES)
            lanes += weights[:, part] * x[..., np.newaxis, part]
        result = total + (lanes[..., 0] + lanes[..., 1] + lanes[..., 2] + lanes[..., 3])
        for position in range(whole, k):
            result = result + weights[:, position] * x[..., position, np.newaxis]
    return np.asarray(result, np.float32)
