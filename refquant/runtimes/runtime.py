"""What a runtime is, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from refquant.kernels.kernel import KernelTable


@dataclass(frozen=True, slots=True)
class Runtime:
    """A named arithmetic.

    `arithmetic` holds the values in which runtimes differ inside a kernel, by name: "<OP>.requantizer",
    "<OP>.effective_scale", … A kernel asks node.arithmetic for them; `kernels` is the table op -> type -> kernel.
    `oracle`: the package and version on which it was proved. `inexact`: op -> type -> why its results are near those
    of the real runtime, but not equal to them; what is not there is proved equal, bit for bit.
    """

    name: str
    kernels: KernelTable
    arithmetic: Mapping[str, Any]
    oracle: str
    inexact: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
