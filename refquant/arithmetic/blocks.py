"""Elementwise chains in one pass over cache-sized blocks, with per-channel constants spread over a block.

A chain of NumPy operations on a large array reads and writes main memory once per operation. Cut into blocks that fit
the processor's second-level cache, it does so once in all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

Array = NDArray[Any]
Block = Callable[[Array], Array]
"""What happens to one block: a one-dimensional array, which may be overwritten -> the result, of the same length."""

# Elements that are worked on at once: a few buffers of them fit 1 MB, and the calls cost little.
BLOCK_ELEMENTS = 1 << 16


def spread(values: ArrayLike, repeats: int, dtype: DTypeLike) -> Array:
    """One value, or the channels' values `repeats` times over: the constant that meets a block."""
    flat = np.asarray(values).astype(dtype).reshape(-1)
    return flat if flat.size == 1 else np.tile(flat, repeats)


def head(constant: Array, size: int) -> Array:
    """The part of a spread constant that meets a block of `size` elements."""
    return constant if constant.size == 1 else constant[:size]


def in_blocks(x: Array, work: DTypeLike, channels: int, make: Callable[[int], Block], out: Array) -> Array:
    """out, filled with what make(repeats) returns for each block of x as `work`; the result is cast to out's dtype.

    x: any shape whose last axis, or last few together, hold `channels` elements. A block is a number of whole rows of
    channels, the last block maybe fewer. Errors: ValueError if the channels do not fit.
    """
    if not x.size:
        return out
    if channels not in (1, *np.cumprod(x.shape[::-1])):
        raise ValueError(f"{channels} channels do not fit the last axes of an array of shape {x.shape}")
    flat, flat_out = x.reshape(-1), out.reshape(-1)
    repeats = max(1, min(flat.size, BLOCK_ELEMENTS) // channels)
    size, block = channels * repeats, make(repeats)
    for start in range(0, flat.size, size):
        flat_out[start : start + size] = block(flat[start : start + size].astype(work))
    return out
