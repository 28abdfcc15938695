"""Work on whole rows in blocks that fit the processor's cache."""

from __future__ import annotations

from collections.abc import Callable

from refquant.model.graph import Array

BLOCK_ELEMENTS = 1 << 15  # of the result; a few arrays of so many int64 fit a second-level cache


def in_row_blocks(x: Array, row_axes: int, out: Array, compute: Callable[[Array], Array]) -> Array:
    """out, filled with compute(block of x), block by block; a row is what the last `row_axes` axes of x and out hold.

    compute: (rows, *axes of x's row) -> (rows, *axes of out's row), each row on its own. out: a new C-ordered array.
    """
    if not (x.size and out.size):
        return out
    rows = x.reshape(-1, *x.shape[x.ndim - row_axes :])
    results = out.reshape(-1, *out.shape[out.ndim - row_axes :])
    step = max(1, BLOCK_ELEMENTS * len(results) // results.size)
    for start in range(0, len(rows), step):
        results[start : start + step] = compute(rows[start : start + step])
    return out
