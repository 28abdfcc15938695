"""Float32 matrix products as values: in the reference kernels' order, or by BLAS.

Source: tflite/kernels/internal/reference/conv.h, fully_connected.h, batch_matmul.h, transpose_conv.h.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

FloatProduct = Callable[[Float32, Float32, Float32], None]
"""product(a, b, out): out = a @ b, or total = total + a @ b, for each matrix of a stack on its own.

a: (..., m, k), b: (..., k, n), out: (..., m, n) float32; b may have fewer axes than a. `out` may be a view.
"""

# OpenBLAS multiplies up to so many pairs on one thread and without packing them first. Larger products wait for
# threads, for a long time where other processes hold the cores; so they are cut.
SMALL_PRODUCT = 1_000_000

# And up to so many (65,536 * GEMM_MULTITHREAD_THRESHOLD) on one thread with every set of its kernels. More threads
# would cut a product at places that depend on their number, which shows in the last bits.
ONE_THREAD = 1 << 18
TILE_DEPTH = 256
TILE_ROWS = 32  # before columns are cut


def sequential_product(a: Float32, b: Float32, out: Float32) -> None:
    """out = 0 + a[0] * b[0] + a[1] * b[1] + ..., each product and each sum rounded to float32.

    No multiply and add are fused. This is what the reference kernels compute, bit for bit, where they sum over k in
    that order.
    """
    out[...] = 0
    add_sequential_product(a, b, out)


def add_sequential_product(a: Float32, b: Float32, total: Float32) -> None:
    """total = total + a[0] * b[0] + a[1] * b[1] + ..., as in `sequential_product`."""
    if b.ndim == 2 and a.ndim > 2:  # a stack with one b is one long matrix
        flat = total.reshape(-1, total.shape[-1])
        add_sequential_product(a.reshape(-1, a.shape[-1]), b, flat)
        if not np.may_share_memory(flat, total):
            total[...] = flat.reshape(total.shape)
    elif a.shape[-2] >= b.shape[-1]:  # the longer of rows and columns goes innermost
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


def blas_product(a: Float32, b: Float32, out: Float32) -> None:
    """out = a @ b with float32 BLAS: the same sum in an order that depends on the machine and on m, k and n.

    Each matrix of a stack is a product of its own, so that what it gives does not depend on the others; nor does it
    depend on the number of threads.
    """
    with np.errstate(all="ignore"):
        for rows, columns, depth in _tiles(a.shape[-2], a.shape[-1], b.shape[-1]):
            tile, product = out[..., rows, columns], _product(a[..., rows, depth], b[..., depth, columns])
            if depth.start == 0:
                tile[...] = product
            else:
                tile += product


def add_blas_product(a: Float32, b: Float32, total: Float32) -> None:
    """total = total + a @ b with float32 BLAS, as in `blas_product`."""
    with np.errstate(all="ignore"):
        for rows, columns, depth in _tiles(a.shape[-2], a.shape[-1], b.shape[-1]):
            total[..., rows, columns] += _product(a[..., rows, depth], b[..., depth, columns])


def blas_product_and_total(weights: Float32, x: Float32, total: Float32) -> Float32:
    """x @ weights.T + total with float32 BLAS. weights: (m, k); x: (..., n, k); total: broadcasts to (..., n, m)."""
    product = np.empty((*x.shape[:-1], len(weights)), np.float32)
    blas_product(x, weights.T, product)
    product += total
    return product


def _product(a: Float32, b: Float32) -> Float32:
    """a @ b. A single row or column is multiplied twice: BLAS takes threads for a matrix and a vector much sooner."""
    rows, columns = a.shape[-2], b.shape[-1]
    a = np.repeat(a, 2, axis=-2) if rows == 1 else a
    b = np.repeat(b, 2, axis=-1) if columns == 1 else b
    product: Float32 = np.matmul(a, b)
    return product[..., :rows, :columns]


def _tiles(m: int, k: int, n: int) -> Iterator[tuple[slice, slice, slice]]:
    """(rows of a, columns of b, what is summed over) of the products into which (m, k) @ (k, n) is cut."""
    if max(m, 2) * k * max(n, 2) <= ONE_THREAD:
        yield slice(0, m), slice(0, n), slice(0, k)
        return
    depth = min(k, TILE_DEPTH)
    columns = min(n, ONE_THREAD // (depth * min(max(m, 2), TILE_ROWS)))
    for row in _even_parts(m, ONE_THREAD // (depth * max(columns, 2))):
        for column in _even_parts(n, columns):
            for start in range(0, k, depth):
                yield row, column, slice(start, start + depth)


def _even_parts(size: int, most: int) -> Iterator[slice]:
    """0 to size in as few parts of at most `most` as there can be, which differ in length by at most one."""
    count = -(-size // most)
    for part in range(count):
        yield slice(part * size // count, (part + 1) * size // count)
