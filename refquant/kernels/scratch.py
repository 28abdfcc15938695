"""Work buffers that are kept from one call to the next.

A large array that is new in every block of every call costs more than the arithmetic on it: the system hands out and
takes back its pages each time.
"""

from __future__ import annotations

import math
import threading

import numpy as np
from numpy.typing import DTypeLike

from refquant.kernels.kernel import Shape
from refquant.model.graph import Array

KEPT_BYTES = 1 << 24  # larger buffers are given back
KEPT_ARRAYS = 1024  # then all are forgotten


class _Kept(threading.local):
    """The buffers of one thread, and the arrays that were made of them."""

    def __init__(self) -> None:
        self.buffers: dict[str, Array] = {}
        self.arrays: dict[tuple[str, Shape, DTypeLike], Array] = {}


_kept = _Kept()


def scratch(name: str, shape: Shape, dtype: DTypeLike) -> Array:
    """An array with arbitrary content, the caller's until anyone in this thread asks for that name again."""
    array = _kept.arrays.get((name, shape, dtype))
    return _made(name, shape, dtype) if array is None else array


def _made(name: str, shape: Shape, dtype: DTypeLike) -> Array:
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size > KEPT_BYTES:
        return np.empty(shape, dtype)
    buffer = _kept.buffers.get(name)
    if buffer is None or buffer.size < size:
        buffer = _kept.buffers[name] = np.empty(size, np.uint8)
        _kept.arrays = {key: array for key, array in _kept.arrays.items() if key[0] != name}
    if len(_kept.arrays) >= KEPT_ARRAYS:
        _kept.arrays.clear()
    array: Array = buffer[:size].view(dtype).reshape(shape)
    _kept.arrays[name, shape, dtype] = array
    return array
