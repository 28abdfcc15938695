"""Compare the parameters and constants of two models, slot by slot.

A slot is an operand or result of the k-th operator that is not a QUANTIZE or DEQUANTIZE, or an input or output of the
graph. So two models of one float model can be compared whatever their tensors are called and wherever one converts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from refquant.compare.alignment import Alignment, Place, align, op_name, slots
from refquant.compare.conversions import Conversion, ConversionDifference, conversion_differences, conversions
from refquant.compare.report import Finding, RuleReport
from refquant.compare.tensors import differing_elements, form_of, is_constant, parameters_of, scale_bits, ulp_distance
from refquant.model.graph import DTYPES, Graph, Model

# What can differ at a slot, the gravest first.
FAR_ULPS = 10_000  # about a thousandth: scales farther apart are no rounding

WHAT = (
    "presence",  # only one model has this operand
    "type",
    "shape",
    "constant",  # a constant in one model, computed or fed in the other
    "granularity",  # the number of scales
    "quantized_dimension",
    "data",
    "zero_point",
    "scale",
)


@dataclass(frozen=True, slots=True)
class Side:
    """What one model has at a slot. `scale_bits`: the float32 bits of each scale, in hexadecimal."""

    tensor: int
    name: str
    type: str
    shape: tuple[int, ...]
    constant: bool
    scale: tuple[float, ...]
    scale_bits: tuple[str, ...]
    zero_point: tuple[int, ...]
    quantized_dimension: int


@dataclass(frozen=True, slots=True)
class SlotDifference:
    """One slot that differs.

    `operator`, `operator_b`: its operator's number among those that are no conversions, in a and in b; None: the
    graph's. `op`, `slot`: the op and "input 1", "output 0" or "graph input 0". `a`, `b`: what each model has there
    (None: nothing). `what`: names out of WHAT. `scales`: how many scales differ, the first at `first_scale`, the
    farthest by `ulps` units of float32's last place. `elements`: how many elements of the constant differ, the first
    at the index `first_element`, the farthest by `largest_step` (None where they have no common order). `broken`: the
    rules that a and b break there, `rules`: what that amounts to; empty if no float model was given.
    """

    subgraph: int
    operator: int | None
    operator_b: int | None
    op: str
    slot: str
    a: Side | None
    b: Side | None
    what: tuple[str, ...]
    scales: int = 0
    first_scale: int | None = None
    ulps: int = 0
    elements: int = 0
    first_element: tuple[int, ...] | None = None
    largest_step: float | None = 0
    broken: tuple[tuple[Finding, ...], tuple[Finding, ...]] = ((), ())
    rules: str = ""

    @property
    def names(self) -> tuple[str, str]:
        """What the tensor is called in each model."""
        return "" if self.a is None else self.a.name, "" if self.b is None else self.b.name

    @property
    def place(self) -> str:
        """ "operator 3 (CONV_2D) input 1"; with b's number too where it is another."""
        if self.operator is None:
            return self.slot
        number = f"{self.operator}" if self.operator == self.operator_b else f"{self.operator} (b {self.operator_b})"
        return f"operator {number} ({self.op}) {self.slot}"

    def __str__(self) -> str:
        one, other = self.names
        name = f"'{one}'" if one == other else f"'{one}' and '{other}'"
        details = "; ".join(f"{word} {text}" for word, text in details_of(self))
        verdict = f" [{self.rules}]" if self.rules else ""
        return f"subgraph {self.subgraph}, {self.place} {name}: {details}{verdict}"


@dataclass(frozen=True, slots=True)
class OperatorAlone:
    """An operator that only `model` ("a" or "b") has; `operator` numbers it there, `name` is its first result's."""

    subgraph: int
    model: str
    operator: int
    op: str
    name: str

    def __str__(self) -> str:
        return f"subgraph {self.subgraph}, operator {self.operator} ({self.op}) '{self.name}' is in {self.model} only"


@dataclass(frozen=True, slots=True)
class FormDifference:
    """An operator that computes with other numbers in a than in b.

    A form is "float", "float with int8 weights", the type of its quantized activations ("int8"), or "mixed".
    """

    subgraph: int
    operator: int
    operator_b: int
    op: str
    a: str
    b: str

    def __str__(self) -> str:
        place = f"subgraph {self.subgraph}, operator {self.operator} ({self.op})"
        for form, model, other in ((self.a, "a", self.b), (self.b, "b", self.a)):
            if form == "float":
                return f"{place} stayed float in {model}; it is {other} in {'b' if model == 'a' else 'a'}"
        return f"{place} is {self.a} in a and {self.b} in b"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What compare_models found.

    `slots`, `scales`, `elements`: how many slots, scales and constant elements were compared. `differences`: slots
    that differ. `operators`: those that only one model has. `structure`: sentences about different numbers of
    subgraphs, inputs or outputs. `forms`: operators that stayed float in one model. `conversions`: all QUANTIZE and
    DEQUANTIZE of each model; `conversion_differences`: those that differ. `audits`: the RuleReport of each model, if
    the float model was given.
    """

    slots: int
    scales: int
    elements: int
    differences: tuple[SlotDifference, ...]
    operators: tuple[OperatorAlone, ...]
    structure: tuple[str, ...]
    forms: tuple[FormDifference, ...]
    conversions: tuple[tuple[Conversion, ...], tuple[Conversion, ...]]
    conversion_differences: tuple[ConversionDifference, ...]
    audits: tuple[RuleReport, RuleReport] | None = None

    @property
    def equal(self) -> bool:
        """Every slot and every conversion of one model is in the other, with the same bits."""
        return not (self.differences or self.operators or self.structure or self.conversion_differences)

    @property
    def differing(self) -> int:
        """How many slots differ."""
        return len(self.differences)

    @property
    def differing_scales(self) -> int:
        """How many scales differ."""
        return sum(difference.scales for difference in self.differences)

    @property
    def differing_elements(self) -> int:
        """How many constant elements differ."""
        return sum(difference.elements for difference in self.differences)

    @property
    def largest_ulps(self) -> int:
        """The largest distance of two scales, in units of float32's last place."""
        return max((difference.ulps for difference in self.differences), default=0)

    @property
    def summary(self) -> str:
        """One line of counts."""
        first, second = map(len, self.conversions)
        return (
            f"{self.slots:,} slots, {self.differing:,} differing; {self.scales:,} scales, {self.differing_scales:,} "
            f"differing; {self.elements:,} constant elements, {self.differing_elements:,} differing; "
            f"{first} and {second} conversions, {len(self.conversion_differences)} differing"
        )

    def __str__(self) -> str:
        parts: Iterable[Iterable[object]] = (
            self.structure,
            self.operators,
            self.forms,
            self.differences,
            self.conversion_differences,
        )
        return "\n".join([self.summary, *(str(entry) for part in parts for entry in part)])


def compare_parameters(first: Model, second: Model) -> Comparison:
    """The Comparison of two models: types, scales (bit by bit), zero points, quantized dimensions and constant data."""
    graphs = list(zip(first.graphs, second.graphs, strict=False))
    alignments = {subgraph: align(*pair) for subgraph, pair in enumerate(graphs)}
    structure = _structure(first, second)
    alone: list[OperatorAlone] = []
    forms: list[FormDifference] = []
    differences: list[SlotDifference] = []
    slot_count = scales = elements = 0
    for subgraph, (one, other) in enumerate(graphs):
        alignment = alignments[subgraph]
        if alignment.by_number:
            structure.append(f"subgraph {subgraph}: too many operators to align; they are paired by their numbers")
        alone += _alone(one, other, alignment, subgraph)
        forms += _forms((first, second), alignment, subgraph)
        for place, pair in slots(one, other, alignment):
            found, scale_count, element_count = _compare_slot((first, second), subgraph, place, pair)
            slot_count, scales, elements = slot_count + 1, scales + scale_count, elements + element_count
            differences += [] if found is None else [found]
    both = conversions(first, alignments, False), conversions(second, alignments, True)
    return Comparison(
        slot_count,
        scales,
        elements,
        tuple(differences),
        tuple(alone),
        tuple(structure),
        tuple(forms),
        both,
        conversion_differences(*both),
    )


# operators


def _structure(a: Model, b: Model) -> list[str]:
    lines = []
    if len(a.graphs) != len(b.graphs):
        lines.append(f"a has {len(a.graphs)} subgraphs, b {len(b.graphs)}; the surplus ones are not compared")
    for subgraph, (one, other) in enumerate(zip(a.graphs, b.graphs, strict=False)):
        for word, mine, theirs in (("inputs", one.inputs, other.inputs), ("outputs", one.outputs, other.outputs)):
            if len(mine) != len(theirs):
                lines.append(f"subgraph {subgraph}: a has {len(mine)} {word}, b {len(theirs)}")
    return lines


def _alone(a: Graph, b: Graph, alignment: Alignment, subgraph: int) -> list[OperatorAlone]:
    found = []
    for model, graph, positions, numbers in zip("ab", (a, b), alignment.positions, alignment.alone, strict=True):
        for number in numbers:
            operator = graph.operators[positions[number]]
            name = graph.tensors[operator.outputs[0]].name if operator.outputs else ""
            found.append(OperatorAlone(subgraph, model, number, op_name(operator), name))
    return found


def _forms(models: tuple[Model, Model], alignment: Alignment, subgraph: int) -> list[FormDifference]:
    found = []
    a, b = (model.graphs[subgraph] for model in models)
    for one, other in alignment.pairs:
        first = a.operators[alignment.positions[0][one]]
        second = b.operators[alignment.positions[1][other]]
        forms = form_of(models[0], a, first), form_of(models[1], b, second)
        if forms[0] != forms[1]:
            found.append(FormDifference(subgraph, one, other, op_name(first), *forms))
    return found


# slots


def _compare_slot(
    models: tuple[Model, Model], subgraph: int, place: Place, pair: tuple[int, int]
) -> tuple[SlotDifference | None, int, int]:
    """(the difference, if any; scales, constant elements compared)."""
    a, b = (_side(model, subgraph, index) for model, index in zip(models, pair, strict=True))
    found = SlotDifference(subgraph, place.operator, place.operator_b, place.op, place.slot, a, b, ())
    if a is None or b is None:
        return replace(found, what=("presence",)), 0, 0
    what = _differing(a, b)
    found, elements = _compare_data(models, found)
    if found.elements:
        what.add("data")
    found = _compare_scales(found)
    counted = len(a.scale) if len(a.scale) == len(b.scale) else 0
    return replace(found, what=tuple(word for word in WHAT if word in what)) if what else None, counted, elements


def _side(model: Model, subgraph: int, index: int) -> Side | None:
    if index < 0:
        return None
    tensor = model.graphs[subgraph].tensors[index]
    q = parameters_of(tensor)
    record = (index, tensor.name, tensor.type, tensor.shape, is_constant(model, tensor))
    return Side(*record, q.scale, scale_bits(q.scale), q.zero_point, q.quantized_dimension)


def _differing(a: Side, b: Side) -> set[str]:
    what = {word for word in ("type", "shape", "constant") if getattr(a, word) != getattr(b, word)}
    if a.type != b.type and not (a.scale and b.scale):
        return what
    if len(a.scale) != len(b.scale):
        return what | {"granularity"}
    rows = (
        ("scale", a.scale_bits, b.scale_bits),
        ("zero_point", a.zero_point, b.zero_point),
        ("quantized_dimension", a.quantized_dimension, b.quantized_dimension),
    )
    return what | {word for word, mine, theirs in rows if mine != theirs}


def _compare_scales(found: SlotDifference) -> SlotDifference:
    assert found.a is not None
    assert found.b is not None
    a, b = found.a, found.b
    if len(a.scale) != len(b.scale) or a.scale_bits == b.scale_bits:
        return found
    differing = [number for number, (x, y) in enumerate(zip(a.scale_bits, b.scale_bits, strict=True)) if x != y]
    return replace(found, scales=len(differing), first_scale=differing[0], ulps=ulp_distance(a.scale, b.scale))


def _compare_data(models: tuple[Model, Model], found: SlotDifference) -> tuple[SlotDifference, int]:
    """(the difference with its elements counted; elements compared). Unlike shapes and types are not compared."""
    assert found.a is not None
    assert found.b is not None
    sides = found.a, found.b
    if not (found.a.constant and found.b.constant) or found.a.type != found.b.type or found.a.shape != found.b.shape:
        return replace(found, largest_step=None), 0
    tensors = [model.graphs[found.subgraph].tensors[side.tensor] for model, side in zip(models, sides, strict=True)]
    data = [model.buffers[tensor.buffer] for model, tensor in zip(models, tensors, strict=True)]
    if data[0] == data[1] and tensors[0].sparsity == tensors[1].sparsity:
        return found, math.prod(found.a.shape)
    if any(tensor.sparsity is not None or tensor.type not in DTYPES for tensor in tensors):
        differing = sum(x != y for x, y in zip(*data, strict=False)) + abs(len(data[0]) - len(data[1]))
        return replace(found, elements=max(differing, 1), largest_step=None), math.prod(found.a.shape)
    x, y = (np.frombuffer(d, tensors[0].dtype.newbyteorder("<")).reshape(found.a.shape) for d in data)
    count, first, step = differing_elements(x, y)
    return replace(found, elements=count, first_element=first, largest_step=step), x.size


# in words


def severity(difference: SlotDifference) -> tuple[int, int, int]:
    """Sorts the gravest difference first: by what differs, then by how many elements, then by how many ulps."""
    return WHAT.index(difference.what[0]), -difference.elements, -difference.ulps


def details_of(difference: SlotDifference) -> list[tuple[str, str]]:
    """(what differs, "that of a -> that of b"), the gravest first."""
    a, b = difference.a, difference.b
    if a is None or b is None:
        return [("presence", f"only in {'b' if a is None else 'a'}")]
    n = difference.first_scale or 0
    channel = f" (index {n}; {difference.scales} of {len(a.scale)} differ)" if len(a.scale) > 1 else ""
    wrong = [i for i, (x, y) in enumerate(zip(a.zero_point, b.zero_point, strict=False)) if x != y]
    z = wrong[0] if wrong else 0
    texts = {
        "type": f"{a.type} -> {b.type}",
        "shape": f"{list(a.shape)} -> {list(b.shape)}",
        "constant": f"a constant in {'a' if a.constant else 'b'} only",
        "granularity": f"{_granularity(a)} -> {_granularity(b)}",
        "quantized_dimension": f"{a.quantized_dimension} -> {b.quantized_dimension}",
        "zero_point": f"{_at(a.zero_point, z)} -> {_at(b.zero_point, z)}" + (f" (index {z})" if z else ""),
        "scale": f"{_at(a.scale, n)} -> {_at(b.scale, n)}, {_apart(a, b, n, difference.ulps)}{channel}",
        "data": _data_in_words(difference),
    }
    return [(word, texts[word]) for word in difference.what]


def _apart(a: Side, b: Side, index: int, ulps: int) -> str:
    """Near scales in ulps; scales that are plainly others as a factor too."""
    factor = f" (times {b.scale[index] / a.scale[index]:.4g})" if ulps > FAR_ULPS and a.scale[index] else ""
    return f"{ulps:,} ulp{factor}"


def _at(values: tuple[float, ...] | tuple[int, ...], index: int) -> str:
    if index >= len(values):
        return "none"
    value = values[index]
    return str(np.float32(value)) if isinstance(value, float) else str(value)


def _granularity(side: Side) -> str:
    return "no scale" if not side.scale else "one scale" if len(side.scale) == 1 else f"{len(side.scale)} scales"


def _data_in_words(difference: SlotDifference) -> str:
    assert difference.a is not None
    if difference.first_element is None:
        return f"{difference.elements:,} bytes"
    step = "" if difference.largest_step is None else f", largest step {difference.largest_step:g}"
    total = math.prod(difference.a.shape)
    return f"{difference.elements:,} of {total:,} elements{step}, first at {list(difference.first_element)}"
