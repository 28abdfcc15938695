"""Float32 matrix products as values: in the reference kernels' order, or by BLAS.

Source: tflite/kernels/internal/reference/conv.h, fully_connected.h, batch_matmul.h, transpose_conv.h.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

FloatProduct = Callable[[Float32, Float32, Float32], None]
"""product(a, b, total): total += a @ b. a: (..., m, k), b: (..., k, n), total: (..., m, n) float32, perhaps a view."""


def sequential_product(a: Float32, b: Float32, total: Float32) -> None:
    """total = total + a[k] * b[k] for k = 0, 1, ..., each product and each sum rounded to float32.

    No multiply and add are fused. This is what the reference kernels compute, bit for bit, where they sum over k in
    that order.
    """
    if a.shape[-2] >= b.shape[-1]:  # the longer of rows and columns goes innermost
        transposed = np.ascontiguousarray(total.swapaxes(-1, -2))
        _add_in_order(b.swapaxes(-1, -2), a.swapaxes(-1, -2), transposed)
        total[...] = transposed.swapaxes(-1, -2)
    else:
        _add_in_order(a, b, total)


def _add_in_order(a: Float32, b: Float32, total: Float32) -> None:
    b = np.ascontiguousarray(b)
    term = np.empty_like(total)
    with np.errstate(all="ignore"):
        for k in range(a.shape[-1]):
            np.multiply(a[..., k, np.newaxis], b[..., k, np.newaxis, :], out=term)
            np.add(total, term, out=total)


def blas_product(a: Float32, b: Float32, total: Float32) -> None:
    """total = total + a @ b with float32 BLAS: the same sum in an order that depends on the machine."""
    with np.errstate(all="ignore"):
        total += np.matmul(a, b)
