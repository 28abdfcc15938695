"""Compare the parameters and constants of two models, slot by slot.

A slot is an operand or result of the k-th operator that is not a QUANTIZE or DEQUANTIZE, or an input or output of the
graph. So two models of one float model can be compared whatever their tensors are called and wherever one converts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refquant.model.graph import Graph, Model, Quantization, Tensor
from refquant.program import ModelLike, as_model

CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")


@dataclass(frozen=True, slots=True)
class SlotDifference:
    """One slot that differs. `operator`: its number among the operators that are no conversions; None: the graph's.

    `what` names what differs: "presence", "type", "shape", "granularity" (the number of scales), "scale", "zero_point",
    "quantized_dimension", "data".
    `ulps`: the largest distance of two scales, in units of float32's last place. `elements`: constant elements that
    differ, the largest by `largest_step` (None where the data cannot be compared element by element).
    """

    subgraph: int
    operator: int | None
    op: str
    slot: str
    names: tuple[str, str]
    what: tuple[str, ...]
    ulps: int = 0
    elements: int = 0
    largest_step: float | None = 0

    def __str__(self) -> str:
        place = self.slot if self.operator is None else f"operator {self.operator} ({self.op}) {self.slot}"
        details = [f"{self.ulps} ulp"] if "scale" in self.what else []
        if "data" in self.what:
            details.append(f"{self.elements} elements, largest step {self.largest_step}")
        extra = f" ({'; '.join(details)})" if details else ""
        return f"subgraph {self.subgraph}, {place} '{self.names[0]}': {', '.join(self.what)}{extra}"


@dataclass(frozen=True, slots=True)
class Conversion:
    """A QUANTIZE or DEQUANTIZE: `after` so many other operators, from one type and its parameters to another."""

    subgraph: int
    op: str
    after: int
    source: tuple[str, tuple[float, ...], tuple[int, ...]]  # type, scale, zero point
    target: tuple[str, tuple[float, ...], tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What compare_models found.

    `operators`: lines about operators that do not line up. `slots`, `scales`, `elements`: how many slots, scales and
    constant elements were compared. `conversions`: those of each model.
    """

    slots: int
    scales: int
    elements: int
    differences: tuple[SlotDifference, ...]
    operators: tuple[str, ...]
    conversions: tuple[tuple[Conversion, ...], tuple[Conversion, ...]]

    @property
    def equal(self) -> bool:
        """Every slot and every conversion of one model is in the other, with the same bits."""
        return not self.differences and not self.operators and self.conversions[0] == self.conversions[1]

    @property
    def differing(self) -> int:
        """How many slots differ."""
        return len(self.differences)

    @property
    def differing_elements(self) -> int:
        """How many constant elements differ."""
        return sum(difference.elements for difference in self.differences)

    @property
    def largest_ulps(self) -> int:
        """The largest distance of two scales, in units of float32's last place."""
        return max((difference.ulps for difference in self.differences), default=0)

    def __str__(self) -> str:
        first, second = self.conversions
        lines = [
            f"{self.slots} slots, {self.differing} differing; {self.elements} constant elements, "
            f"{self.differing_elements} differing; conversions {'equal' if first == second else 'differ'} "
            f"({len(first)} and {len(second)})",
            *self.operators,
            *map(str, self.differences),
        ]
        return "\n".join(lines)


def compare_models(a: ModelLike, b: ModelLike) -> Comparison:
    """The Comparison of two models: types, scales (bit by bit), zero points, quantized dimensions and constant data.

    Options and versions of operators, names, metadata and the order of tensors are not compared.
    """
    first, second = as_model(a), as_model(b)
    lines = []
    if len(first.graphs) != len(second.graphs):
        lines.append(f"one model has {len(first.graphs)} subgraphs, the other {len(second.graphs)}")
    slots = scales = elements = 0
    differences: list[SlotDifference] = []
    for subgraph in range(min(len(first.graphs), len(second.graphs))):
        lines += _misaligned(first.graphs[subgraph], second.graphs[subgraph], subgraph)
        for place, pair in _slots(first.graphs[subgraph], second.graphs[subgraph]):
            slots += 1
            found, counts = _compare_slot(first, second, subgraph, place, pair)
            scales, elements = scales + counts[0], elements + counts[1]
            if found is not None:
                differences.append(found)
    conversions = (_conversions(first), _conversions(second))
    return Comparison(slots, scales, elements, tuple(differences), tuple(lines), conversions)


Place = tuple[int | None, str, str]  # operator, op, slot


def _working(graph: Graph) -> list[int]:
    return [index for index, operator in enumerate(graph.operators) if operator.name not in CONVERSIONS]


def _misaligned(a: Graph, b: Graph, subgraph: int) -> list[str]:
    ops = [a.operators[index].name for index in _working(a)], [b.operators[index].name for index in _working(b)]
    lines = [
        f"subgraph {subgraph}, operator {number}: {one} in one model, {other} in the other"
        for number, (one, other) in enumerate(zip(*ops, strict=False))
        if one != other
    ]
    if len(ops[0]) != len(ops[1]):
        lines.append(
            f"subgraph {subgraph}: one model has {len(ops[0])} operators without conversions, the other {len(ops[1])}"
        )
    for word, mine, theirs in (("inputs", a.inputs, b.inputs), ("outputs", a.outputs, b.outputs)):
        if len(mine) != len(theirs):
            lines.append(f"subgraph {subgraph}: one model has {len(mine)} {word}, the other {len(theirs)}")
    return lines


def _slots(a: Graph, b: Graph) -> Iterator[tuple[Place, tuple[int, int]]]:
    """(place, (tensor of a, tensor of b)), -1 for an absent operand."""
    for word, mine, theirs in (("input", a.inputs, b.inputs), ("output", a.outputs, b.outputs)):
        for number, pair in enumerate(zip(mine, theirs, strict=False)):
            yield (None, "", f"graph {word} {number}"), pair
    for number, (i, j) in enumerate(zip(_working(a), _working(b), strict=False)):
        one, other = a.operators[i], b.operators[j]
        if one.name != other.name:
            continue
        for word, mine, theirs in (("input", one.inputs, other.inputs), ("output", one.outputs, other.outputs)):
            for slot in range(max(len(mine), len(theirs))):
                pair = (mine[slot] if slot < len(mine) else -1, theirs[slot] if slot < len(theirs) else -1)
                if pair != (-1, -1):
                    yield (number, one.name, f"{word} {slot}"), pair


def _compare_slot(
    a: Model, b: Model, subgraph: int, place: Place, pair: tuple[int, int]
) -> tuple[SlotDifference | None, tuple[int, int]]:
    """(the difference, if any; (scales, constant elements) compared)."""
    operator, op, slot = place
    if -1 in pair:
        names = tuple(
            "" if index < 0 else model.graphs[subgraph].tensors[index].name
            for model, index in zip((a, b), pair, strict=True)
        )
        return SlotDifference(subgraph, operator, op, slot, (names[0], names[1]), ("presence",)), (0, 0)
    one, other = a.graphs[subgraph].tensors[pair[0]], b.graphs[subgraph].tensors[pair[1]]
    p, q = _parameters(one), _parameters(other)
    what = _differing(one, other, p, q)
    elements, differing, step = _compare_data(a, b, one, other)
    if differing:
        what.append("data")
    counts = (len(p.scale), elements)
    if not what:
        return None, counts
    names = (one.name, other.name)
    return (
        SlotDifference(
            subgraph, operator, op, slot, names, tuple(what), ulp_distance(p.scale, q.scale), differing, step
        ),
        counts,
    )


def _differing(one: Tensor, other: Tensor, p: Quantization, q: Quantization) -> list[str]:
    what = [word for word, differ in (("type", one.type != other.type), ("shape", one.shape != other.shape)) if differ]
    if one.type != other.type:
        return what
    if len(p.scale) != len(q.scale):
        return [*what, "granularity"]
    rows = (
        ("scale", p.scale, q.scale),
        ("zero_point", p.zero_point, q.zero_point),
        ("quantized_dimension", _axis(p), _axis(q)),
    )
    return what + [word for word, mine, theirs in rows if mine != theirs]


def _parameters(tensor: Tensor) -> Quantization:
    """A float tensor's leftovers are no parameters."""
    return tensor.quantization if tensor.quantization is not None and tensor.quantization.scale else Quantization()


def _axis(quantization: Quantization) -> int:
    return quantization.quantized_dimension if len(quantization.scale) > 1 else 0


def _compare_data(a: Model, b: Model, one: Tensor, other: Tensor) -> tuple[int, int, float | None]:
    """(elements, differing elements, largest step)."""
    mine, theirs = a.buffers[one.buffer], b.buffers[other.buffer]
    if one.buffer == 0 or other.buffer == 0 or not (mine and theirs):
        differ = (one.buffer != 0 and bool(mine)) != (other.buffer != 0 and bool(theirs))
        return 0, int(differ), None if differ else 0
    if one.type != other.type or one.shape != other.shape:
        return 0, 0, None
    size = int(np.prod(one.shape, dtype=np.int64))
    if mine == theirs:
        return size, 0, 0
    x, y = a.constant(one), b.constant(other)
    if x is None or y is None or x.dtype.kind not in "iufb":
        return size, size, None
    different = x != y if x.dtype.kind != "f" else x.view(f"u{x.dtype.itemsize}") != y.view(f"u{y.dtype.itemsize}")
    with np.errstate(invalid="ignore"):
        steps = np.abs(x.astype(np.float64) - y.astype(np.float64))
    return size, int(different.sum()), float(steps.max(initial=0))


def ulp_distance(a: tuple[float, ...], b: tuple[float, ...]) -> int:
    """The largest number of float32 steps between two lists of scales; 0 if they are equal or differ in length."""
    if len(a) != len(b):
        return 0
    return max((abs(_position(x) - _position(y)) for x, y in zip(a, b, strict=True)), default=0)


def _position(value: float) -> int:
    """The number of a float32 among all float32 values, in order."""
    bits = int(np.float32(value).view(np.int32))
    return bits if bits >= 0 else -(bits & 0x7FFFFFFF)


def _conversions(model: Model) -> tuple[Conversion, ...]:
    """In the order of the operators; those at one place in a fixed order, since theirs does not matter."""
    found = []
    for subgraph, graph in enumerate(model.graphs):
        after = 0
        for operator in graph.operators:
            if operator.name not in CONVERSIONS:
                after += 1
                continue
            source, target = graph.tensors[operator.inputs[0]], graph.tensors[operator.outputs[0]]
            found.append(Conversion(subgraph, operator.name, after, _side(source), _side(target)))
    return tuple(sorted(found, key=lambda c: (c.subgraph, c.after, c.op, c.source, c.target)))


def _side(tensor: Tensor) -> tuple[str, tuple[float, ...], tuple[int, ...]]:
    parameters = _parameters(tensor)
    return tensor.type, parameters.scale, parameters.zero_point
