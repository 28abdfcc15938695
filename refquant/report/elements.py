"""The worst elements of a comparison with the account of each: accumulator, multiplier, shift, and every rounding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from refquant.compare.differences import Element
from refquant.compare.run_sides import Described
from refquant.compare.runs import OperatorRow, RunComparison
from refquant.compare.worst import Reckoning, reckon_in
from refquant.errors import RefquantError
from refquant.model.graph import Array
from refquant.program import Program
from refquant.program.control_flow import CONTROL
from refquant.runtimes import RUNTIMES

SHOWN = 4  # elements of an operator in a runtime


@dataclass(frozen=True, slots=True)
class WorstElement:
    """An element that differs though the operator was fed the same, in all of these runtimes by as much.

    `account` is None where none can be given.
    """

    runtimes: tuple[str, ...]
    element: Element
    account: Reckoning | None


Worst = Mapping[int, tuple[WorstElement, ...]]
"""Operator -> the worst elements of each runtime, the farthest first."""


def worst_elements(comparison: RunComparison, rows: tuple[OperatorRow, ...]) -> Worst:
    """Those of the given operators."""
    chosen = {row.operator: _chosen(row) for row in rows}
    samples = {element.sample for found in chosen.values() for element in found}
    accounts = _Accounts.of(comparison, samples)
    return {
        operator: tuple(
            WorstElement(names, element, accounts.get(operator, element)) for element, names in found.items()
        )
        for operator, found in chosen.items()
    }


def _chosen(row: OperatorRow) -> dict[Element, tuple[str, ...]]:
    """The elements, and in which runtimes they are such."""
    found: dict[Element, tuple[str, ...]] = {}
    for seen in row.runs:
        for element in seen.cause.worst[:SHOWN] if seen.cause is not None and seen.differs else ():
            found[element] = (*found.get(element, ()), seen.runtime)
    return found


@dataclass(frozen=True, slots=True)
class _Accounts:
    """The base's program, and for some samples every tensor of its run; no program where the base is not described."""

    program: Program | None
    tensors: Mapping[int, Mapping[int, Array]]

    @classmethod
    def of(cls, comparison: RunComparison, samples: set[int]) -> _Accounts:
        named = [runtime for runtime in RUNTIMES.values() if runtime.name == comparison.base]
        twins = [r for r in RUNTIMES.values() if r.oracle is not None and r.oracle.real == comparison.base]
        model = comparison.model
        if not (named or twins) or not samples:
            return cls(None, {})
        together = any(t.is_variable for t in model.graph.tensors) or any(
            o.name in CONTROL for o in model.graph.operators
        )
        try:
            side = Described.of(model, (named or twins)[0])
            if together:
                found = {**comparison.inputs, **side.whole(comparison.inputs).tensors}
                each = {number: {i: a[number : number + 1] for i, a in found.items()} for number in samples}
            else:
                each = {}
                for number in samples:
                    one = {index: array[number : number + 1] for index, array in comparison.inputs.items()}
                    each[number] = {**one, **side.whole(one).tensors}
        except RefquantError:
            return cls(None, {})
        return cls(side.program, each)

    def get(self, operator: int, element: Element) -> Reckoning | None:
        """The element's account, if what the described base gives there is what the base gave."""
        tensors = self.tensors.get(element.sample, {})
        if self.program is None or element.tensor not in tensors:
            return None
        if tensors[element.tensor][(0, *element.index)] != element.base:
            return None
        return reckon_in(self.program, tensors, operator, 0, element.tensor, element.index)
