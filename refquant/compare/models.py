"""The verb: compare_models(a, b, ...), with the blame for what differs if the float model is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from refquant.compare.alignment import working_operators
from refquant.compare.audit import audit_model
from refquant.compare.conversions import ConversionDifference
from refquant.compare.parameters import Comparison, SlotDifference, compare_parameters
from refquant.compare.report import Finding, RuleReport
from refquant.errors import InvalidInput
from refquant.model.graph import Model
from refquant.program import ModelLike, as_model
from refquant.quantizer.calibration import Calibration

MODELS = ("a", "b")


def compare_models(
    a: ModelLike,
    b: ModelLike,
    float_model: ModelLike | None = None,
    calibration: Calibration | None = None,
    arithmetic: str | None = None,
    ulps: int = 0,
    progress: Callable[[int], object] | None = None,
) -> Comparison:
    """The Comparison of two models: types, scales (bit by bit), zero points, quantized dimensions and constant data.

    Operators that only one model has are told, and the rest is compared. Options and versions of operators, names,
    metadata and the order of tensors are not compared.
    float_model: the model that both were made from; then each difference says which rule is broken by which of the
    two. calibration, arithmetic, ulps, progress: as audit_model takes them, for both.
    Errors: InvalidInput, as audit_model has them, or for ranges without a float model.
    """
    models = as_model(a), as_model(b)
    comparison = compare_parameters(*models)
    if float_model is None:
        if calibration is not None or arithmetic is not None or ulps:
            raise InvalidInput("calibration, arithmetic and ulps are for the rules: they need the float model, too")
        return comparison

    def behind(start: int) -> Callable[[int], object] | None:
        return None if progress is None else lambda done: progress(start + done)

    size = sum(len(graph.operators) for graph in models[0].graphs)
    original = as_model(float_model)
    audits = (
        _audited("a", original, models[0], calibration, arithmetic, ulps, behind(0)),
        _audited("b", original, models[1], calibration, arithmetic, ulps, behind(size)),
    )
    return replace(
        comparison,
        differences=tuple(_blamed_slot(d, models, audits) for d in comparison.differences),
        conversion_differences=tuple(_blamed_conversion(d, audits) for d in comparison.conversion_differences),
        audits=audits,
    )


def _audited(side: str, original: Model, model: Model, *others: Any) -> RuleReport:
    try:
        return audit_model(original, model, *others)
    except InvalidInput as error:
        raise InvalidInput(f"model {side}: {error}") from None


def _blamed_slot(
    difference: SlotDifference, models: tuple[Model, Model], audits: tuple[RuleReport, RuleReport]
) -> SlotDifference:
    """The difference with the rules that each model breaks there."""
    sides = (difference.a, difference.operator), (difference.b, difference.operator_b)
    broken = []
    for (side, number), model, audit in zip(sides, models, audits, strict=True):
        found = audit.about(side.tensor, difference.subgraph) if side is not None else ()
        if number is not None and {"type", "presence"} & set(difference.what):
            found += _of_operator(audit, model, difference.subgraph, number)
        broken.append(tuple(dict.fromkeys(found)))
    both = broken[0], broken[1]
    return replace(difference, broken=both, rules=_in_words(both) or _undecided(difference, audits))


def _of_operator(audit: RuleReport, model: Model, subgraph: int, number: int) -> tuple[Finding, ...]:
    """The broken rules about an operator itself, by its number in its own model."""
    graph = model.graphs[subgraph]
    outputs = graph.operators[working_operators(graph)[number]].outputs
    return tuple(
        finding
        for finding in audit.broken
        if finding.subgraph == subgraph and not finding.slot and outputs and finding.tensor == outputs[0]
    )


def _blamed_conversion(difference: ConversionDifference, audits: tuple[RuleReport, RuleReport]) -> ConversionDifference:
    """The difference with the rules that each model breaks there."""
    ops = [conversion.op for conversion in (difference.a, difference.b) if conversion is not None]
    of = f"{ops[0]} of {difference.of}"
    broken = []
    for conversion, audit in zip((difference.a, difference.b), audits, strict=True):
        if conversion is not None:
            about = (f for f in audit.broken if f.tensor == conversion.tensor and f.op == conversion.op)
        else:
            about = (f for f in audit.broken if f.slot == of and f.rule == "conversions")
        broken.append(tuple(finding for finding in about if finding.subgraph == difference.subgraph))
    both = broken[0], broken[1]
    return replace(difference, broken=both, rules=_in_words(both) or "no rule is broken in either")


def _in_words(broken: tuple[tuple[Finding, ...], tuple[Finding, ...]]) -> str:
    """ "b breaks 'weight scale'"."""
    parts = []
    for model, findings in zip(MODELS, broken, strict=True):
        rules = dict.fromkeys(finding.rule for finding in findings)
        if rules:
            parts.append(f"{model} breaks {' and '.join(repr(rule) for rule in rules)}")
    return "; ".join(parts)


def _undecided(difference: SlotDifference, audits: tuple[RuleReport, RuleReport]) -> str:
    """Why both can differ although neither breaks a rule."""
    first, second = audits
    if {"type", "granularity"} & set(difference.what):
        return "no rule is broken: either may be chosen"
    if first.arithmetic != second.arithmetic:
        return f"no rule is broken: a is {first.arithmetic} arithmetic, b {second.arithmetic}"
    constant = any(side is not None and side.constant for side in (difference.a, difference.b))
    if not constant and not first.calibrated:
        return "no rule is broken: only the ranges can tell"
    return "no rule is broken in either"
