"""What a comparison of runs holds while it runs: the scene, and what each runtime and operator has shown so far."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from refquant.compare.arithmetic_search import Candidate, Found
from refquant.compare.differences import Difference
from refquant.compare.run_sides import Arrays, Described, Side, count_samples
from refquant.errors import RefquantError
from refquant.kernels.table import kernel_type
from refquant.model.graph import DTYPES, Array, Graph, Model, Operator
from refquant.program import Program, prepare
from refquant.program.control_flow import CONTROL
from refquant.runtimes import DESCRIBED, RUNTIMES

BLOCK_BYTES = 128 << 20  # samples are compared together while one runtime's tensors of them stay below this
FOR_CALIBRATION = "fast_float"  # stands for no runtime


@dataclass(slots=True)
class OperatorTally:
    """One operator in one runtime: see OperatorRun. `found`: its explanations, each with the arithmetic it is about;
    None until it is searched."""

    drift: Difference | None = None
    cause: Difference | None = None
    error: str = ""
    delegated: str = ""
    found: Sequence[Found] | None = None

    @property
    def differs(self) -> bool:
        """Whether it gives other results than the base for the same inputs."""
        return self.cause is not None and self.cause.differing > 0

    @property
    def explained(self) -> Candidate | None:
        """The arithmetic that explains every element, if one was found."""
        return self.found[0][1] if self.found and self.found[0][0].whole else None


@dataclass(slots=True)
class Tally:
    """One runtime: see RuntimeRun. `found`: its outputs, block by block."""

    side: Side
    operators: list[OperatorTally]
    outputs: Difference = field(default_factory=Difference)
    preserving: Difference = field(default_factory=Difference)
    found: list[tuple[Array, ...]] = field(default_factory=list)
    error: str = ""


@dataclass(slots=True)
class Scene:
    """The model, the samples, and the runtimes that take the model, the base first."""

    model: Model
    arrays: Arrays
    sides: Sequence[Side]
    prepared: dict[str, Program] | None = None

    @property
    def base(self) -> Side:
        """What the others are compared with."""
        return self.sides[0]

    @property
    def programs(self) -> Mapping[str, Program]:
        """The described runtimes that take the model, by name: the compared ones and all others."""
        if self.prepared is None:
            self.prepared = {side.name: side.program for side in self.sides if isinstance(side, Described)}
            for name, runtime in RUNTIMES.items():
                if name not in self.prepared and name != FOR_CALIBRATION:
                    try:
                        self.prepared[name] = prepare(self.model, runtime)
                    except RefquantError:
                        continue
        return self.prepared

    @property
    def home(self) -> str:
        """The described runtime in which other arithmetics are tried: the base, or its twin; "" if there is none."""
        return next((name for name in (twin(self.base), *self.programs) if name in self.programs), "")

    @property
    def base_program(self) -> Program | None:
        """The program of the base, or of the described runtime that stands for it; None if there is none."""
        return self.programs[self.home] if self.home and self.home == twin(self.base) else None

    @property
    def kinds(self) -> list[tuple[str, str]]:
        """(op, type) of every operator."""
        graph = self.model.graph
        return [(operator.name, type_of(operator, graph)) for operator in graph.operators]

    def blocks(self) -> Iterator[tuple[int, Arrays]]:
        """(number of the first sample, the samples that run together). All, if the model remembers one from another."""
        samples, size = count_samples(self.arrays), self._block_size()
        for first in range(0, samples, size or samples):
            yield first, {index: array[first : first + (size or samples)] for index, array in self.arrays.items()}

    def _block_size(self) -> int:
        """0 for all."""
        graph = self.model.graph
        if any(tensor.is_variable for tensor in graph.tensors) or any(o.name in CONTROL for o in graph.operators):
            return 0
        computed = {index for operator in graph.operators for index in operator.outputs if index >= 0}
        known = [side.program.shapes for side in self.sides if isinstance(side, Described)]
        shapes = next((shapes for shapes in known if computed <= shapes.keys()), None)
        if known and shapes is None:
            return 1  # shapes depend on data
        sizes = (
            math.prod((shapes or {}).get(index, graph.tensors[index].shape)) * graph.tensors[index].dtype.itemsize
            for index in computed | set(graph.inputs)
            if graph.tensors[index].type in DTYPES
        )
        return max(1, BLOCK_BYTES // max(sum(sizes), 1))


def twin(side: Side) -> str:
    """The described runtime that it is, or that stands for it; "" if there is none."""
    if isinstance(side, Described):
        return side.name
    return DESCRIBED.get(side.name, "")


def type_of(operator: Operator, graph: Graph) -> str:
    """The type under which the tables of kernels have the operator: "INT8", or "FLOAT32xINT8"."""
    return kernel_type(operator.name, [graph.tensors[index].type if index >= 0 else "" for index in operator.inputs])
