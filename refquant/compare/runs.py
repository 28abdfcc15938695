"""What a comparison of runs found: which operator parts two runtimes, in which elements, and by which arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from refquant.compare.differences import Difference
from refquant.compare.error_split import ErrorSplit
from refquant.compare.explanations import Explained
from refquant.errata import Erratum
from refquant.model.graph import Array, Model


@dataclass(frozen=True, slots=True)
class OperatorRun:
    """One operator in one runtime, against the base.

    `drift`: what it gave in the run of the whole model; None where the runtime does not show the tensors. `cause`: what
    it gave when fed the base's own inputs of it; None where it could not be run so, and `error` says why.
    `delegated`: the name of the delegate that takes it, "" for none or where that is not known. `explanations`, if
    `cause` differs: the arithmetic that explains all elements, or the one that is nearest; where no description of this
    runtime explains them, all those that do by one replaced value: these inputs do not tell them apart. `errata`: known
    wrong or unstable behaviour of operators of this op and type, which may be the reason.
    """

    runtime: str
    drift: Difference | None = None
    cause: Difference | None = None
    error: str = ""
    delegated: str = ""
    explanations: tuple[Explained, ...] = ()
    errata: tuple[Erratum, ...] = ()

    @property
    def differs(self) -> bool:
        """Whether it gives other results than the base for the same inputs."""
        return self.cause is not None and self.cause.differing > 0

    @property
    def explained(self) -> Explained | None:
        """The arithmetic that explains every element, if there is one."""
        return self.explanations[0] if self.explanations and self.explanations[0].whole else None


@dataclass(frozen=True, slots=True)
class OperatorRow:
    """One operator of the main graph: its number, TFLite's name of it, the type of its kernel as in the tables of
    kernels ("INT8", "FLOAT32xINT8"), its output tensors, their name, and how each runtime after the base ran it."""

    operator: int
    op: str
    type: str
    outputs: tuple[int, ...]
    name: str
    runs: tuple[OperatorRun, ...]

    @property
    def place(self) -> str:
        """How messages name it."""
        return f"operator {self.operator} ({self.op})"


@dataclass(frozen=True, slots=True)
class Cause:
    """One reason why a runtime differs from the base: the operators of one op and type that one arithmetic explains.

    `words`: that arithmetic, "" if none of the described ones explains them; `instead_of`: the base's own in its place,
    "" if it is not known. `elements`, `differing`: of the results of these operators, each fed the base's inputs.
    `reason`: why no description of a real runtime is exact there; "" if that is not known.
    """

    op: str
    type: str
    words: str
    instead_of: str
    operators: tuple[int, ...]
    elements: int
    differing: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RuntimeRun:
    """One runtime in the comparison. `error`: why it did not run the model; then all else is empty.

    `real`: it is installed, not described. `oracle`: for a real one package and version; for a described one, that on
    which it was proved. `outputs`: the model's outputs against the base's, end to end. `first_drift`, `first_cause`:
    the numbers of the first operators that differ end to end, and when fed the base's inputs. `causes`: what makes it
    differ. `whole_cause`: how many of the model's output elements are equal to this runtime's when the base, or the
    described runtime that stands for it, computes with the arithmetics that `causes` name; None if that was not tried.
    `preserving`: of a real one, its outputs while it keeps every tensor, as it does to show them in `drift`, against
    its `outputs` when it does not: they differ where it fuses operators. Of a described one only if they differ.
    """

    name: str
    real: bool = False
    oracle: str = ""
    error: str = ""
    outputs: Difference | None = None
    first_drift: int | None = None
    first_cause: int | None = None
    causes: tuple[Cause, ...] = ()
    whole_cause: int | None = None
    preserving: Difference | None = None


@dataclass(frozen=True, slots=True)
class RunComparison:
    """What compare_runs found. `base`: the runtime that the others are compared with, the first that ran the model.

    `runtimes`: all that were asked for, in order; `operators`: the main graph's, in order, with one OperatorRun for
    each runtime that ran the model, except the base, in the order of `runtimes`. `samples`: how many were run;
    `inputs`: by tensor, (samples, *shape); `model`: what was run. `splits`: where the error against the float model
    comes from in each runtime that ran, if that model was given.
    """

    base: str
    runtimes: tuple[RuntimeRun, ...]
    operators: tuple[OperatorRow, ...]
    samples: int
    model: Model = field(repr=False)
    inputs: Mapping[int, Array] = field(repr=False)
    splits: tuple[ErrorSplit, ...] = ()

    @property
    def others(self) -> tuple[RuntimeRun, ...]:
        """The runtimes that ran and were compared with the base: one OperatorRun of each row belongs to each."""
        return tuple(run for run in self.runtimes if not run.error and run.name != self.base)

    @property
    def equal(self) -> bool:
        """Whether no element of any operator or output differs in any of the runtimes that ran, and all ran."""
        runs = [run for row in self.operators for run in row.runs]
        found = [d for run in runs for d in (run.drift, run.cause)] + [run.outputs for run in self.runtimes]
        return not any(run.error for run in self.runtimes) and not any(d.differing for d in found if d is not None)
