"""The Decision of the old quantizer: a plain value to print, test, or hand to `apply`, read from a finished Draft."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from refquant.model.graph import Graph, Signature
from refquant.quantizer.decide import BorderConversion, FloatOperator, TensorDecision
from refquant.quantizer.forms import Requantize
from refquant.quantizer.legacy.arithmetic import Rewriting, Scaling
from refquant.quantizer.legacy.defects import Avoided
from refquant.quantizer.legacy.draft import Draft, is_quantized, quantization_of
from refquant.quantizer.parameters import Parameters
from refquant.quantizer.propagate import Use
from refquant.quantizer.why import Why

CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")


@dataclass(frozen=True, slots=True)
class Plan:
    """The new graph, whose constants still hold the float model's bytes, and what becomes of those.

    `rewritings`: tensor -> the rules that make its integers, one after the other. `duplicates`: tensors that take a
    copy of their bytes.
    """

    graph: Graph
    signatures: tuple[Signature, ...]
    rewritings: Mapping[int, tuple[Rewriting, ...]]
    duplicates: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """Everything `apply` needs, and everything one may want to know, in the words of the MLIR quantizer's Decision.

    Its tensors are those that the float model has too; where one was duplicated, `users` tells the copies apart.
    `avoided`: the defects of the old quantizer that the new model does not have, with their places.
    """

    tensors: tuple[TensorDecision, ...]
    requantize: tuple[Requantize, ...]
    float_operators: tuple[FloatOperator, ...]
    conversions: tuple[BorderConversion, ...]
    plan: Plan
    avoided: tuple[Avoided, ...] = ()

    def __str__(self) -> str:
        lines = [f"{t.name}: {t.parameters} ({t.why})" for t in self.tensors]
        lines += [f"requantize {r.name}: {r.produced} -> {r.parameters} ({r.why})" for r in self.requantize]
        lines += [f"{c.op} {c.name}: {c.before} -> {c.after} ({c.why})" for c in self.conversions]
        lines += [f"float: operator {f.operator} ({f.name}): {f.why}" for f in self.float_operators]
        lines += [f"avoided: {defect}" for defect in self.avoided]
        return "\n".join(lines)


def read_decision(draft: Draft, float_operators: tuple[FloatOperator, ...]) -> Decision:
    """What the steps left in the draft."""
    count = len(draft.model.graph.tensors)
    copies = tuple(tensor for tensor in range(count, len(draft.tensors)) if draft.tensors[tensor].buffer)
    duplicates = (*sorted(draft.own_buffers), *copies)
    graph = replace(
        draft.model.graph,
        tensors=tuple(draft.tensors),
        operators=tuple(step.operator for step in draft.steps),
        inputs=tuple(draft.inputs),
        outputs=tuple(draft.outputs),
    )
    readers = _readers(draft)
    rewritings = {tensor: tuple(rules) for tensor, rules in draft.rewritings.items()}
    return Decision(
        tuple(_tensors(draft, (*range(count), *copies), readers)),
        tuple(_requantizations(draft, readers)),
        float_operators,
        tuple(_border_conversions(draft, readers)),
        Plan(graph, tuple(draft.signatures), rewritings, duplicates),
        tuple(draft.avoided),
    )


def parameters_of(draft: Draft, tensor: int) -> Parameters:
    """The tensor's parameters, as the quantizer's records hold them."""
    q, rules = quantization_of(draft.tensors[tensor]), draft.rewritings.get(tensor, [])
    narrow = len(rules) == 1 and isinstance(rules[0], Scaling) and rules[0].type == "INT8"
    axis = q.quantized_dimension if len(q.scale) > 1 else None
    return Parameters(draft.tensors[tensor].type, q.scale, q.zero_point, axis, narrow)


def _tensors(
    draft: Draft, tensors: tuple[int, ...], readers: Mapping[int, tuple[Use, ...]]
) -> Iterator[TensorDecision]:
    for tensor in tensors:
        if is_quantized(draft.tensors[tensor]):
            source, rules = draft.sources[tensor], draft.rewritings.get(tensor)
            users = readers.get(tensor, ()) if tensor != source else ()
            name, rule = draft.model.graph.tensors[source].name, "; ".join(map(str, rules)) if rules else None
            yield TensorDecision(source, name, parameters_of(draft, tensor), rule, draft.whys[tensor], users)


def _readers(draft: Draft) -> Mapping[int, tuple[Use, ...]]:
    """Tensor -> operands of the float model's operators, and graph outputs, that read it."""
    uses = [
        (tensor, Use(step.position, slot))
        for step in draft.steps
        if step.position is not None
        for slot, tensor in enumerate(step.operator.inputs)
    ]
    uses += [(tensor, Use(None, number)) for number, tensor in enumerate(draft.outputs)]
    readers: dict[int, tuple[Use, ...]] = {}
    for tensor, use in uses:
        readers[tensor] = (*readers.get(tensor, ()), use)
    return readers


def _pairs(draft: Draft) -> Iterator[tuple[str, int, int]]:
    """(op, operand, result) of every conversion, in the order of the operators."""
    for step in draft.steps:
        if step.position is None:
            yield step.operator.name, step.operator.inputs[0], step.operator.outputs[0]


def _is_requantization(draft: Draft, source: int, target: int) -> bool:
    return draft.tensors[source].type == draft.tensors[target].type


def _requantizations(draft: Draft, readers: Mapping[int, tuple[Use, ...]]) -> Iterator[Requantize]:
    for _, source, target in _pairs(draft):
        if _is_requantization(draft, source, target):
            tensor = draft.sources[source]
            name, users = draft.model.graph.tensors[tensor].name, readers.get(target, ())
            produced, parameters = parameters_of(draft, source), parameters_of(draft, target)
            yield Requantize(tensor, name, produced, parameters, users, draft.whys[target])


def _border_conversions(draft: Draft, readers: Mapping[int, tuple[Use, ...]]) -> Iterator[BorderConversion]:
    graph = draft.model.graph
    producers = {tensor: position for position, operator in enumerate(graph.operators) for tensor in operator.outputs}
    for op, source, target in _pairs(draft):
        if not _is_requantization(draft, source, target):
            tensor, types = draft.sources[source], (draft.tensors[source].type, draft.tensors[target].type)
            quantized = target if op == "QUANTIZE" and types[1] != "UINT8" else source
            why = _why_converted(draft, source, target)
            name, users = graph.tensors[tensor].name, readers.get(target, ())
            parameters = parameters_of(draft, quantized)
            yield BorderConversion(op, tensor, name, producers.get(tensor), *types, parameters, users, why)


def _why_converted(draft: Draft, source: int, target: int) -> Why:
    return draft.whys[source] if source in draft.inputs else draft.whys[target]
