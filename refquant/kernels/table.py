"""The literal table: op name -> type -> kernel."""

from __future__ import annotations

from collections.abc import Mapping

from refquant.kernels.kernel import KernelTable

# The input whose type picks the kernel, where it is not input 0.
TYPE_OPERAND: Mapping[str, int] = {
    "FILL": 1,
    "SELECT": 1,
    "SELECT_V2": 1,
    "SPLIT": 1,
    "TRANSPOSE_CONV": 2,
}

KERNELS: KernelTable = {
    # convolution, dense, pooling
    # elementwise: binary, unary, lookup tables, conversion
    # softmax, normalization, reduction, resize
    # movement
}
