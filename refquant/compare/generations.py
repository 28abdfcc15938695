"""Which generation of the converter's quantizer wrote a file: what its constants and ranges say.

With the float model the weights tell: those that only one arithmetic of ARITHMETICS explains. Without it, only what the
two quantizers write differently whatever the floats were; each clue is one of the quantizer's own formulas.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from refquant.compare.arithmetics import ARITHMETICS
from refquant.compare.audit import audit_model
from refquant.compare.modes import mode_of
from refquant.compare.report import Explanation
from refquant.compare.tensors import has_scale, is_constant, ulp_distance
from refquant.model.graph import Graph, Model, Quantization, Tensor
from refquant.program import ModelLike, as_model
from refquant.quantizer.legacy.arithmetic import INT8_MAX, asymmetric, product_scale, range_scale
from refquant.quantizer.parameters import NARROW, NEAR_ZERO
from refquant.quantizer.rules import OP_RULES, OpRule

GENERATIONS: Mapping[str, str] = MappingProxyType(
    {
        "mlir": "the converter's present quantizer",
        "legacy": "the converter's old quantizer",
        "float64": "the converter's present quantizer, for dynamic range",
        "first": "the first-generation converter (TOCO), or one that took over its fake quantization",
        "none": "nothing is quantized",
        "contradictory": "some constants say one, some the other",
        "unknown": "cannot tell",
    }
)

ARITHMETIC = ("ADD", "SUB", "MUL", "DIV", "SQUARED_DIFFERENCE")  # a constant operand has a range of its own

# What tells, without the float model: (generation, what it is, clue).
Clue = Callable[[Model, Graph], Iterator[int]]


@dataclass(frozen=True, slots=True)
class Evidence:
    """`count` constants or activations say that `generation` wrote the file, because of `what`."""

    generation: str
    what: str
    count: int


@dataclass(frozen=True, slots=True)
class Generation:
    """`name`: of GENERATIONS. `evidence`: what says so, and what else. `note`: why nothing does, and what may."""

    name: str
    evidence: tuple[Evidence, ...] = ()
    note: str = ""

    @property
    def count(self) -> int:
        """How many constants and activations say so."""
        return sum(entry.count for entry in self.evidence if entry.generation == self.name)

    def __str__(self) -> str:
        clues = [f"{entry.count} {entry.what}" for entry in self.evidence]
        if self.name == "contradictory":
            clues = [f"{clue} ({entry.generation})" for clue, entry in zip(clues, self.evidence, strict=True)]
        reasons = "; ".join([*clues, *([self.note] if self.note else [])])
        return f"{GENERATIONS[self.name]}: {reasons}" if reasons else GENERATIONS[self.name]


def generation_of(model: ModelLike, float_model: ModelLike | None = None) -> Generation:
    """Which quantizer wrote a file, and what says so. Errors: InvalidInput, as audit_model has them."""
    file = as_model(model)
    mode = mode_of(file).name
    if mode == "first-generation uint8":
        return Generation("first", (Evidence("first", "operators have uint8 weights", _uint8(file)),))
    if mode == "quantization-aware" or not any(has_scale(t) for graph in file.graphs for t in graph.tensors):
        return Generation("none")
    found = Counter(
        (generation, what) for generation, what, clue in CLUES for graph in file.graphs for _ in clue(file, graph)
    )
    clues = tuple(Evidence(*key, count) for key, count in found.items())
    weights, note = ((), _hint(file)) if float_model is None else _by_weights(as_model(float_model), file)
    evidence = (*weights, *clues)
    names = {entry.generation for entry in evidence}
    name = "unknown" if not names else names.pop() if len(names) == 1 else "contradictory"
    return Generation(name, evidence, note if name == "unknown" else "")


def _hint(file: Model) -> str:
    activations = [q for graph in file.graphs for _, tensor, q in _quantized(file, graph, constant=False)]
    if activations and not any(q.min for q in activations):
        return "no range is left, which the old quantizer would have left, unless another tool dropped it"
    return "the float model may tell (--float)"


def _uint8(file: Model) -> int:
    graphs = [(graph, operator) for graph in file.graphs for operator in graph.operators]
    return sum(
        any(
            t >= 0 and graph.tensors[t].type == "UINT8" and is_constant(file, graph.tensors[t]) for t in operator.inputs
        )
        for graph, operator in graphs
    )


# with the float model


def _by_weights(original: Model, file: Model) -> tuple[tuple[Evidence, ...], str]:
    """The arithmetic that alone explains all weights, by what the next best does not explain; or why there is none."""
    best, *others = sorted(audit_model(original, file).explanations, key=_wrong)
    if not best.constants:
        return (), "the two models have no weights in common"
    if best.explained < best.constants:
        return (), f"no arithmetic makes {best.constants - best.explained} of {best.constants} weights of these floats"
    if any(not _wrong(other) for other in others):
        return (), f"all {best.constants} weights follow from the floats by several arithmetics"
    what = f"of {best.constants} weights follow from the floats by its arithmetic alone"
    return (Evidence(best.arithmetic, what, best.constants - max(other.explained for other in others)),), ""


def _wrong(explanation: Explanation) -> int:
    return explanation.scales_wrong + explanation.elements_wrong


# without it


def _quantized(model: Model, graph: Graph, constant: bool) -> Iterator[tuple[int, Tensor, Quantization]]:
    for index, tensor in enumerate(graph.tensors):
        if tensor.quantization is not None and has_scale(tensor) and is_constant(model, tensor) == constant:
            yield index, tensor, tensor.quantization


def _kept_ranges(model: Model, graph: Graph) -> Iterator[int]:
    """Activations with a range beside the scale that follows from it: the present quantizer drops ranges."""
    for index, tensor, q in _quantized(model, graph, constant=False):
        if tensor.type == "INT8" and len(q.min) == len(q.max) == len(q.scale) == 1:
            own = asymmetric(q.min[0], q.max[0])
            if (own.scale, own.zero_point) == (q.scale, q.zero_point):
                yield index


def _kept_ranges_of_weights(model: Model, graph: Graph) -> Iterator[int]:
    for index, tensor, q in _quantized(model, graph, constant=True):
        if tensor.type == "INT8" and len(q.min) == len(q.max) == len(q.scale):
            limits = zip(q.min, q.max, strict=True)
            if q.scale == tuple(float(range_scale(pair, NARROW)) for pair in limits):
                yield index


def _int16_activations(model: Model, graph: Graph) -> Iterator[int]:
    """All of 16x8 is the old quantizer's."""
    if mode_of(model).name == "16x8":
        yield from (index for index, tensor, _ in _quantized(model, graph, constant=False) if tensor.type == "INT16")


def _narrow(model: Model, graph: Graph) -> Iterator[int]:
    """int8 tensors with a scale below the least one of the present quantizer, 1e-6 / 255; the old one's may be 0."""
    least = np.nextafter(np.float32(NEAR_ZERO / (2 * INT8_MAX + 1)), np.float32(0))
    for constant in (False, True):
        for index, tensor, q in _quantized(model, graph, constant):
            if tensor.type == "INT8" and min(q.scale) < least:
                yield index


def _widened_weights(model: Model, graph: Graph) -> Iterator[int]:
    """Weights of zeros with exactly that least scale."""
    least = float(np.float32(NEAR_ZERO / (2 * NARROW)))
    for index, tensor, q in _quantized(model, graph, constant=True):
        if tensor.type == "INT8" and least in q.scale:
            yield index


def _own_constants(model: Model, graph: Graph) -> Iterator[tuple[int, Quantization]]:
    """int8 constants that operators of ARITHMETIC read, and no others."""
    others = {t for operator in graph.operators if operator.name not in ARITHMETIC for t in operator.inputs}
    read = {t for operator in graph.operators for t in operator.inputs} - others
    for index, tensor, q in _quantized(model, graph, constant=True):
        if tensor.type == "INT8" and index in read and len(q.scale) == 1:
            yield index, q


def _asymmetric_constants(model: Model, graph: Graph) -> Iterator[int]:
    """The present quantizer uses all of a constant's range, the old one what is symmetric around 0."""
    return (index for index, q in _own_constants(model, graph) if q.zero_point != (0,))


def _symmetric_constants(model: Model, graph: Graph) -> Iterator[int]:
    for index, q in _own_constants(model, graph):
        values = model.constant(graph.tensors[index])
        if q.zero_point != (0,) or values is None or not values.size:
            continue
        low, high = int(values.min()), int(values.max())
        if low >= -NARROW and NARROW in (-low, high):
            yield index


def _unnarrowed_biases(model: Model, graph: Graph) -> Iterator[int]:
    """Biases whose scale is not the product of the file's, but of scales before they were rounded."""
    for operator in graph.operators:
        rule = OP_RULES.get(operator.name, OpRule())
        if rule.bias is None or rule.bias.operand >= len(operator.inputs) or operator.inputs[rule.bias.operand] < 0:
            continue
        bias, *factors = (graph.tensors[operator.inputs[slot]] for slot in (rule.bias.operand, *rule.bias.factors))
        scales = [f.quantization.scale if f.quantization is not None else () for f in factors]
        data = model.constant(bias) if is_constant(model, bias) and bias.type == "INT32" else None
        if data is None or not all(scales) or bias.quantization is None or not has_scale(bias):
            continue
        count = max(map(len, scales))
        products = tuple(product_scale(tuple(s[i % len(s)] for s in scales)) for i in range(count))
        guarded = np.abs(data.astype(np.int64)) >= 1 << 29  # the overflow guard sets these scales otherwise
        if not guarded.any() and ulp_distance(bias.quantization.scale, products) == 1:
            yield operator.inputs[rule.bias.operand]


CLUES: tuple[tuple[str, str, Clue], ...] = (
    ("legacy", "activations keep the range that their scale follows from", _kept_ranges),
    ("legacy", "weights keep the range that their scales follow from", _kept_ranges_of_weights),
    ("legacy", "activations are int16", _int16_activations),
    ("legacy", "int8 tensors have scales below 1e-6 / 255", _narrow),
    ("legacy", "constant operands are symmetric", _symmetric_constants),
    ("mlir", "constant operands are asymmetric", _asymmetric_constants),
    ("mlir", "weights have the least scale, 1e-6 / 254", _widened_weights),
    ("mlir", "biases have the product of unrounded scales, as of quantization-aware training", _unnarrowed_biases),
)
assert {row.name for row in ARITHMETICS} <= set(GENERATIONS)
