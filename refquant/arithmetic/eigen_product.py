"""Float32 matrix products in the order in which Eigen sums on SSE4: what the recurrent kernels call.

The reference kernels of most ops sum in the order of k; the kernels of the recurrent ops have no reference form, and
call the optimized matrix product, whose order of sums depends on the shapes. Each product and each sum rounds to
float32 on its own: the LiteRT wheel for x86-64 has no fused multiply-add.
Source: tflite/kernels/cpu_backend_gemm_eigen.cc; Eigen (libeigen), Eigen/src/Core/products/GeneralMatrixVector.h,
GeneralMatrixMatrix.h, GeneralBlockPanelKernel.h and Eigen/src/Core/InnerProduct.h.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from refquant.arithmetic.eigen_functions import PACKET

Float32 = NDArray[np.float32]

LARGEST = np.finfo(np.float32).max
PANEL_ROWS = 2 * PACKET  # rows of the left matrix that the block kernel keeps in registers
PANEL_COLUMNS = 4
PEELED = 8  # steps of k that the block kernel unrolls
SMALL = 20  # a product with m + n + k below it is one inner product an element
LARGEST_DEPTH = 680  # of a block: what half a first-level cache of 32 KiB holds; larger k is cut
FEWEST_BLOCKED = 48  # no product whose m, n and k are all below it is cut


def eigen_product(weights: Float32, x: Float32) -> Float32:
    """x @ weights.T, each element summed as Eigen does. weights: (m, k); x: (..., n, k). Returns (..., n, m) float32.

    A single row (n = 1) is a matrix times a vector; m = 1 too, with the roles exchanged.
    """
    m, k = weights.shape
    n = x.shape[-2]
    if k == 0:
        return np.zeros((*x.shape[:-1], m), np.float32)
    with np.errstate(all="ignore"):
        if m == 1 and n == 1:
            return _inner(weights, x, 4) + np.float32(0)
        if m == 1 or n == 1:
            return _matrix_times_vector(weights, x)
        if m + n + k < SMALL:
            return _inner(weights, x, 1)
        return _blocks(weights, x)


def add_eigen_product(weights: Float32, x: Float32, total: Float32) -> Float32:
    """x @ weights.T + total, limited to finite values. total: broadcasts to (..., n, m).

    Several rows are limited before the total is added, a single one after it.
    Source: tflite/kernels/lstm_eval.cc, MatrixBatchVectorMultiplyAccumulate.
    """
    product = eigen_product(weights, x)
    with np.errstate(all="ignore"):
        if x.shape[-2] == 1:
            return np.asarray(np.clip(product + total, -LARGEST, LARGEST))
        return np.asarray(np.clip(product, -LARGEST, LARGEST) + total)


def _lanes(a: Float32) -> Float32:
    """The four lanes of packets as SSE adds them up: (0 + 2) + (1 + 3)."""
    result: Float32 = (a[..., 0] + a[..., 2]) + (a[..., 1] + a[..., 3])
    return result


def _matrix_times_vector(weights: Float32, x: Float32) -> Float32:
    """Every PACKET columns are multiplied together; the lanes are added up, then what is left over one by one."""
    m, k = weights.shape
    whole = k - k % PACKET
    total = np.zeros((*x.shape[:-1], m, PACKET), np.float32)
    for start in range(0, whole, PACKET):
        total = weights[:, start : start + PACKET] * x[..., np.newaxis, start : start + PACKET] + total
    result = _lanes(total)
    for i in range(whole, k):
        result = result + weights[:, i] * x[..., i, np.newaxis]
    return result + np.float32(0)


def _inner(weights: Float32, x: Float32, count: int) -> Float32:
    """`count` sums of packets side by side, which are then added up from the last on; then what is left over."""
    k = weights.shape[1]
    products = weights * x[..., np.newaxis, :]  # (..., n, m, k)
    whole = k - k % PACKET
    if whole == 0:
        result = products[..., 0]
    else:
        packets = products[..., :whole].reshape(*products.shape[:-1], -1, PACKET)
        parts = [packets[..., i, :] for i in range(min(packets.shape[-2], count))]
        for i in range(count, packets.shape[-2]):
            parts[i % count] = packets[..., i, :] + parts[i % count]
        while len(parts) > 1:
            last = parts.pop()
            parts[-1] = parts[-1] + last
        result = _lanes(parts[0])
    for i in range(max(whole, 1), k):
        result = products[..., i] + result
    return np.asarray(result, np.float32)


def _blocks(weights: Float32, x: Float32) -> Float32:
    """One block of k after another; in each, rows and columns are summed in the order of the register kernel's part."""
    (m, k), n = weights.shape, x.shape[-2]
    depth = _depth(m, n, k)
    whole_columns, packets, panels = n - n % PANEL_COLUMNS, m - m % PACKET, m - m % PANEL_ROWS
    result = np.zeros((*x.shape[:-1], m), np.float32)
    for start in range(0, k, depth):
        a, b = weights[:, start : start + depth], x[..., start : start + depth]
        block = _in_turns(a, b, 1, 0)
        whole = b[..., :whole_columns, :]
        if whole_columns and panels < packets:
            peeled = a.shape[1] - a.shape[1] % PEELED
            block[..., :whole_columns, panels:packets] = _in_turns(a[panels:packets], whole, 2, peeled)
        if whole_columns and packets < m:
            peeled = a.shape[1] - a.shape[1] % 4
            block[..., :whole_columns, packets:] = _in_turns(a[packets:], whole, 4, peeled)
        result = result + block
    return result


def _in_turns(a: Float32, b: Float32, count: int, peeled: int) -> Float32:
    """b @ a.T: step i goes to sum i % count while i < peeled; the sums are added in pairs, and take the other steps."""
    sums = [np.zeros((*b.shape[:-1], len(a)), np.float32) for _ in range(count)]
    for i in range(peeled):
        sums[i % count] = sums[i % count] + a[:, i] * b[..., i, np.newaxis]
    while len(sums) > 1:
        sums = [first + second for first, second in zip(sums[::2], sums[1::2], strict=True)]
    total = sums[0]
    for i in range(peeled, a.shape[1]):
        total = total + a[:, i] * b[..., i, np.newaxis]
    return total


def _depth(m: int, n: int, k: int) -> int:
    """How many steps of k a block has. Source: evaluateProductBlockingSizesHeuristic."""
    if max(m, n, k) < FEWEST_BLOCKED or k <= LARGEST_DEPTH:
        return k
    if k % LARGEST_DEPTH == 0:
        return LARGEST_DEPTH
    missing = LARGEST_DEPTH - 1 - k % LARGEST_DEPTH
    return LARGEST_DEPTH - PEELED * (missing // (PEELED * (k // LARGEST_DEPTH + 1)))
