"""What a runtime is, as a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from refquant.kernels.kernel import Kernel, KernelTable, Node, Shape
from refquant.kernels.versions import check_versions
from refquant.model.graph import Model
from refquant.model.validation import check_quantized_dimensions

Takes = Callable[[Node], bool]
"""Whether a delegate takes this operator, by what the file says of it."""


@dataclass(frozen=True, slots=True)
class Oracle:
    """The real runtime on which a described one was proved, and where.

    `package` and `version` are pip's; `selected` says which of the package's kernels ran; `processor`, on what, as far
    as results depend on it. `real`: the name under which the real one is asked for, "litert:reference" or the like.
    """

    package: str
    version: str
    selected: str
    processor: str
    real: str

    def __str__(self) -> str:
        return f"{self.package} {self.version}, {self.selected}, {self.processor}"


@dataclass(frozen=True, slots=True)
class Fusion:
    """Two operators that a delegate computes as one, with other results, where not every tensor is kept.

    `producers`: the ops that give the tensor between them; `kernels`: the op that reads it as its input `slot` -> what
    computes both. `joined`: (the operator that gives it, the one that reads it) -> both as one, which reads in that
    slot the first input of the former; None if they stay two. `alone`: only where nothing else reads that tensor.
    """

    producers: tuple[str, ...]
    kernels: Mapping[str, Kernel]
    slot: int
    joined: Callable[[Node, Node], Node | None]
    alone: bool


@dataclass(frozen=True, slots=True)
class Delegate:
    """What runs some of a runtime's operators in the place of its own kernels.

    `takes`: op -> type -> which operators it takes, types as in KernelTable; all others run on the runtime's kernels.
    `kernels`, `arithmetic`, `inexact`: what computes the operators that it takes, as in Runtime. `unpacks`: which
    operators it runs when it is prepared, so that to what follows their outputs are constants of the file. `fusions`:
    see Fusion; each is tried once, in this order.
    """

    name: str
    takes: Mapping[str, Mapping[str, Takes]]
    kernels: KernelTable
    arithmetic: Mapping[str, Any]
    unpacks: Takes
    inexact: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    fusions: tuple[Fusion, ...] = ()


@dataclass(frozen=True, slots=True)
class Runtime:
    """A named arithmetic.

    `arithmetic` holds the values in which runtimes differ inside a kernel, by name: "<OP>.requantizer",
    "<OP>.effective_scale", … A kernel asks node.arithmetic for them; `kernels` is the table op -> type -> kernel.
    `oracle`: the real runtime on which it was proved; None if it stands for none, or was not proved against a run.
    `inexact`: op -> type -> why its results are near those of the real runtime, but not equal to them; what is not
    there is proved equal, bit for bit; of what a delegate takes see `why_inexact`.
    `base`: the name of the runtime as whose difference this one is written. `file_checks`: what it checks of a whole
    file before it prepares it, besides what every model must be; `node_checks`: of every operator, besides what its
    kernel checks; `shape_checks`: of an operator and the shapes of its outputs, where they are known before a run.
    """

    name: str
    kernels: KernelTable
    arithmetic: Mapping[str, Any]
    oracle: Oracle | None
    inexact: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    delegate: Delegate | None = None
    base: str = ""
    file_checks: tuple[Callable[[Model], None], ...] = (check_quantized_dimensions, check_versions)
    node_checks: tuple[Callable[[Node], None], ...] = ()
    shape_checks: tuple[Callable[[Node, Sequence[Shape | None]], None], ...] = ()

    def why_inexact(self, op: str, type: str, delegated: bool) -> str | None:
        """Why the results of such an operator are only near the real ones, None if they are equal.

        delegated: whether the delegate takes the operator; then its table tells.
        """
        table = self.delegate.inexact if delegated and self.delegate is not None else self.inexact
        return table.get(op, {}).get(type)
