"""Where a model converts: its QUANTIZE and DEQUANTIZE operators, told so that those of two models can be compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from refquant.compare.alignment import Alignment, working_operators
from refquant.compare.report import Finding
from refquant.model.graph import Graph, Model, Tensor

Side = tuple[str, tuple[float, ...], tuple[int, ...]]  # type, scales, zero points


@dataclass(frozen=True, slots=True)
class Conversion:
    """A QUANTIZE or DEQUANTIZE. Places name operators by model a's numbers; "b 3": by b's, where a has no such one.

    `behind`: the operator in front of it in the order of execution ("" at the beginning). `of`: where the converted
    tensor comes from; `to`: who reads the result. `source`, `target`: (type, scales, zero points) before and after.
    `after`: the number of operators in front of it; `name`, `tensor`: its result's; they do not count when two are
    compared.
    """

    subgraph: int
    op: str
    behind: str
    of: str
    to: tuple[str, ...]
    source: Side
    target: Side
    after: int = field(default=0, compare=False)
    name: str = field(default="", compare=False)
    tensor: int = field(default=-1, compare=False)

    @property
    def in_words(self) -> str:
        """What it converts from and to, and for whom."""
        readers = ", ".join(self.to) or "nobody"
        return f"{self.op} {_in_words(self.source)} -> {_in_words(self.target)}, for {readers}"

    def __str__(self) -> str:
        return f"{self.of}: {self.in_words}"


@dataclass(frozen=True, slots=True)
class ConversionDifference:
    """A place where the models convert differently, or only one converts (the other is None).

    `broken`: the rules that a and b break there, `rules`: what that amounts to; empty if no float model was given.
    """

    subgraph: int
    of: str
    a: Conversion | None
    b: Conversion | None
    broken: tuple[tuple[Finding, ...], tuple[Finding, ...]] = ((), ())
    rules: str = ""

    def __str__(self) -> str:
        verdict = f" [{self.rules}]" if self.rules else ""
        if self.a is None or self.b is None:
            return f"subgraph {self.subgraph}, in {'b' if self.a is None else 'a'} only: {self.a or self.b}{verdict}"
        return f"subgraph {self.subgraph}, in a: {self.a}; in b: {self.b}{verdict}"


def _in_words(side: Side) -> str:
    type_, scale, zero_point = side
    if not scale:
        return type_
    return f"{type_} scale {np.float32(scale[0])!s} zero point {zero_point[0] if zero_point else 0}"


def conversions(model: Model, alignments: Mapping[int, Alignment], model_b: bool) -> tuple[Conversion, ...]:
    """In the order of execution; those at one place in a fixed order, since theirs does not matter."""
    found: list[Conversion] = []
    for subgraph, graph in enumerate(model.graphs):
        found += _of_graph(graph, subgraph, _labels(graph, alignments.get(subgraph), model_b))
    return tuple(found)


def _labels(graph: Graph, alignment: Alignment | None, model_b: bool) -> dict[int, str]:
    """Position of an operator that is no conversion -> "operator 3", by model a's numbers if it is in both."""
    in_a = {other: one for one, other in alignment.pairs} if alignment is not None else {}
    labels = {}
    for number, position in enumerate(working_operators(graph)):
        label = f"operator {in_a.get(number, f'b {number}')}" if model_b else f"operator {number}"
        labels[position] = label
    return labels


def _of_graph(graph: Graph, subgraph: int, labels: Mapping[int, str]) -> list[Conversion]:
    origins = _origins(graph, labels)
    readers = _readers(graph, labels)
    found, after, behind = [], 0, ""
    for position, operator in enumerate(graph.operators):
        if position in labels:
            after, behind = after + 1, labels[position]
            continue
        source, target = graph.tensors[operator.inputs[0]], graph.tensors[operator.outputs[0]]
        found.append(
            Conversion(
                subgraph,
                operator.name,
                behind,
                origins[operator.inputs[0]],
                tuple(sorted(readers.get(operator.outputs[0], ()))),
                _side(source),
                _side(target),
                after,
                target.name,
                operator.outputs[0],
            )
        )
    return sorted(found, key=lambda c: (c.after, c.op, c.of, c.source, c.target, c.to))


def _origins(graph: Graph, labels: Mapping[int, str]) -> dict[int, str]:
    """Tensor -> "graph input 0", "operator 3 output 0" or "a constant", through conversions."""
    origins = dict.fromkeys(range(len(graph.tensors)), "a constant")
    origins.update({tensor: f"graph input {number}" for number, tensor in enumerate(graph.inputs)})
    for position, operator in enumerate(graph.operators):
        for number, tensor in enumerate(operator.outputs):
            conversion = position not in labels
            origins[tensor] = origins[operator.inputs[0]] if conversion else f"{labels[position]} output {number}"
    return origins


def _readers(graph: Graph, labels: Mapping[int, str]) -> dict[int, list[str]]:
    """Tensor -> its readers: "operator 3 input 0", "graph output 0", or the name of a conversion."""
    readers: dict[int, list[str]] = {}
    for position, operator in enumerate(graph.operators):
        for slot, tensor in enumerate(operator.inputs):
            reader = f"{labels[position]} input {slot}" if position in labels else operator.name
            readers.setdefault(tensor, []).append(reader)
    for number, tensor in enumerate(graph.outputs):
        readers.setdefault(tensor, []).append(f"graph output {number}")
    return readers


def _side(tensor: Tensor) -> Side:
    quantization = tensor.quantization
    if quantization is None or not quantization.scale:
        return tensor.type, (), ()
    return tensor.type, quantization.scale, quantization.zero_point


def conversion_differences(a: tuple[Conversion, ...], b: tuple[Conversion, ...]) -> tuple[ConversionDifference, ...]:
    """What one model converts and the other does not, or otherwise; those of one tensor by one op side by side."""
    theirs: dict[tuple[int, str, str], list[Conversion]] = {}
    for conversion in _without(b, a):
        theirs.setdefault((conversion.subgraph, conversion.op, conversion.of), []).append(conversion)
    found = []
    for one in _without(a, b):
        others = theirs.get((one.subgraph, one.op, one.of))
        found.append(ConversionDifference(one.subgraph, one.of, one, others.pop(0) if others else None))
    alone = [conversion for others in theirs.values() for conversion in others]
    return tuple(found + [ConversionDifference(other.subgraph, other.of, None, other) for other in alone])


def _without(these: tuple[Conversion, ...], those: tuple[Conversion, ...]) -> list[Conversion]:
    """These that are not among those; each counts once."""
    left = Counter(those)
    remaining = []
    for conversion in these:
        left[conversion] -= 1
        if left[conversion] < 0:
            remaining.append(conversion)
    return remaining
