"""What `--json` prints of comparisons and audits: plain dictionaries, every key of which stands in KEYS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any

from refquant.compare.conversions import Conversion, ConversionDifference
from refquant.compare.parameters import Comparison, SlotDifference
from refquant.compare.report import Finding, RuleReport
from refquant.compare.rules import RULES

KEYS: Mapping[str, str] = MappingProxyType(
    {
        # both
        "format": '"refquant diff" or "refquant audit"',
        "version": "of the format; a change of meaning raises it",
        "subgraph": "its number",
        "operator": "among the operators that are no conversions: of a (diff), of the float model (audit); null: none",
        "op": "TFLite's name",
        "slot": '"input 1", "output 0", "graph input 0"; of a conversion: what it converts; "": the operator itself',
        "name": "the tensor's name",
        "tensor": "the tensor's index in its subgraph; -1: none",
        # diff
        "equal": "no slot, operator or conversion differs",
        "counts": "how many slots, scales, elements and conversions were compared, and how many of them differ",
        "slots": "operands, results, graph inputs and outputs",
        "differing_slots": "of these",
        "scales": "in counts: compared where both have as many; in a difference: how many differ",
        "differing_scales": "of these",
        "elements": "of constants; in a difference: how many differ",
        "differing_elements": "of these",
        "conversions": "in counts: [of a, of b]; else all QUANTIZE and DEQUANTIZE, as {a: [...], b: [...]}",
        "differing_conversions": "how many places convert differently",
        "structure": "sentences: other numbers of subgraphs, inputs or outputs",
        "operators": "operators that only one model has",
        "model": '"a" or "b"',
        "forms": "operators that compute with other numbers in a than in b",
        "a": "what a has there; null: nothing",
        "b": "what b has there; null: nothing",
        "operator_b": "the operator's number in b",
        "differences": "the slots that differ",
        "what": "names of what differs, the gravest first",
        "type": "TFLite's name of the type",
        "shape": "the tensor's",
        "constant": "whether the file holds the tensor's data",
        "scale": "one, or one per channel; exact float32 values",
        "scale_bits": "the same as float32 bits, in hexadecimal",
        "zero_point": "as many",
        "quantized_dimension": "the dimension of the channels; 0 with one scale",
        "first_scale": "the index of the first scale that differs",
        "ulps": "the largest distance of two scales in units of float32's last place",
        "first_element": "the index of the first element that differs",
        "largest_step": "the largest difference of two elements; null where they have no order",
        "conversion_differences": "the places that convert differently",
        "behind": "the operator in front of the conversion, by a's numbers",
        "of": "of a conversion: where the tensor comes from; of a finding: out of how many",
        "to": "who reads the conversion's result",
        "source": "before the conversion; of a rule: where it is written down",
        "target": "after the conversion",
        "after": "how many operators stand in front of the conversion",
        "broken": "the rules broken there: {a: [findings], b: [findings]}; of an explanation: how often, or null",
        "rules": "of a difference: the blame as a sentence; of an audit: the rules and how often each holds",
        "audits": "the audit of each model, if a float model was given, else null",
        # audit
        "holds": "no rule is broken; of a rule: how often it holds",
        "breaks": "how often it is broken",
        "not_applicable": "how often it does not apply; of a place: the rules that do not",
        "arithmetic": "whose formulas explain most of the constants",
        "explanations": "how much each arithmetic explains",
        "constants": "weights that were tried",
        "explained": "of these, wholly",
        "scales_wrong": "of their scales, not explained",
        "elements_wrong": "of their elements, not explained",
        "calibrated": "whether ranges were given",
        "refused": "propagation was not looked at, as the quantizer of that arithmetic makes no such file",
        "notes": "what could not be looked at",
        "statement": "the rule as a sentence",
        "places": "operators, slots and conversions that were looked at",
        "findings": "the rules that hold or are broken there",
        "rule": "its name",
        "verdict": '"holds" or "breaks"',
        "expected": "what the rule asks for, where it is first broken",
        "found": "what the file has there",
        "wrong": "how many scales or elements differ",
        "first": "the index of the first",
        "step": "the largest difference of two elements",
        "note": "what explains it",
        "involves": "tensors whose parameters the rule also reads",
    }
)


def _record(value: Any, *without: str) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value) if field.name not in without}


def diff_record(comparison: Comparison) -> dict[str, Any]:
    """Everything compare_models found."""
    counts = {
        "slots": comparison.slots,
        "differing_slots": comparison.differing,
        "scales": comparison.scales,
        "differing_scales": comparison.differing_scales,
        "elements": comparison.elements,
        "differing_elements": comparison.differing_elements,
        "conversions": [len(conversions) for conversions in comparison.conversions],
        "differing_conversions": len(comparison.conversion_differences),
    }
    return {
        "format": "refquant diff",
        "version": 1,
        "equal": comparison.equal,
        "counts": counts,
        "structure": comparison.structure,
        "operators": [_record(entry) for entry in comparison.operators],
        "forms": [_record(entry) for entry in comparison.forms],
        "differences": [_difference(entry) for entry in comparison.differences],
        "conversions": dict(zip("ab", ([*map(_conversion, of)] for of in comparison.conversions), strict=True)),
        "conversion_differences": [_conversion_difference(entry) for entry in comparison.conversion_differences],
        "audits": comparison.audits and dict(zip("ab", map(audit_record, comparison.audits), strict=True)),
    }


def _difference(difference: SlotDifference) -> dict[str, Any]:
    sides = {side: value and _record(value) for side, value in (("a", difference.a), ("b", difference.b))}
    return {**_record(difference), **sides, "broken": _broken(difference.broken)}


def _broken(broken: tuple[tuple[Finding, ...], tuple[Finding, ...]]) -> dict[str, Any]:
    return {model: [_record(finding) for finding in of] for model, of in zip("ab", broken, strict=True)}


def _conversion(conversion: Conversion) -> dict[str, Any]:
    sides = (("source", conversion.source), ("target", conversion.target))
    return {
        **_record(conversion),
        **{name: dict(zip(("type", "scale", "zero_point"), side, strict=True)) for name, side in sides},
    }


def _conversion_difference(difference: ConversionDifference) -> dict[str, Any]:
    sides = {side: value and _conversion(value) for side, value in (("a", difference.a), ("b", difference.b))}
    return {**_record(difference), **sides, "broken": _broken(difference.broken)}


def audit_record(report: RuleReport) -> dict[str, Any]:
    """Everything audit_model found."""
    counts = report.by_rule
    nothing = {"holds": 0, "breaks": 0, "not applicable": 0}
    rules = [
        {
            "rule": rule.name,
            "statement": rule.statement,
            "source": rule.source,
            **{verdict.replace(" ", "_"): count for verdict, count in counts.get(rule.name, nothing).items()},
        }
        for rule in RULES
    ]
    places: dict[tuple[Any, ...], dict[str, Any]] = {}
    shared = ("subgraph", "operator", "op", "slot", "name", "tensor")
    for finding in report.findings:
        key = tuple(getattr(finding, name) for name in shared)
        place = places.setdefault(key, {**dict(zip(shared, key, strict=True)), "findings": [], "not_applicable": []})
        if finding.verdict == "not applicable":
            place["not_applicable"].append(finding.rule)
        else:
            place["findings"].append(_record(finding, *shared))
    return {
        "format": "refquant audit",
        "version": 1,
        "holds": report.holds,
        "arithmetic": report.arithmetic,
        "explanations": [_record(entry) for entry in report.explanations],
        "calibrated": report.calibrated,
        "refused": report.refused,
        "notes": report.notes,
        "rules": rules,
        "places": list(places.values()),
    }
