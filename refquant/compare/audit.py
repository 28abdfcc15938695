"""Audit a quantized file by the rules, given the float model it was made from.

The file's operators are found in the float model, each tensor's role is read from the float model, and every rule of
RULES is checked at every place. Constants need nothing else. Activations are judged by their neighbours, and, where
ranges are handed over, by what the quantizer makes of those ranges.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from refquant.compare.alignment import align, is_conversion, op_name
from refquant.compare.arithmetics import ARITHMETICS
from refquant.compare.conversions import Conversion, conversions
from refquant.compare.expectations import Explained, choose, explain, granularities
from refquant.compare.outcome import Outcome, expected_outcome, has_quantized_activations
from refquant.compare.report import Finding, RuleReport
from refquant.compare.rules import RULES
from refquant.compare.sites import ConversionSite, Operand, Pair, Site, Verdict
from refquant.compare.tensors import has_scale
from refquant.errors import InvalidInput
from refquant.model.graph import Model
from refquant.program import ModelLike, as_model
from refquant.quantizer.calibration import Calibration
from refquant.quantizer.recurrent import with_intermediates


def audit_model(
    float_model: ModelLike,
    quantized: ModelLike,
    calibration: Calibration | None = None,
    arithmetic: str | None = None,
    ulps: int = 0,
    progress: Callable[[int], object] | None = None,
) -> RuleReport:
    """Which rules of int8 quantization the file keeps, and which it breaks, slot by slot.

    calibration: the ranges it was made from; then activations are judged by range and propagation too. arithmetic: a
    name in ARITHMETICS by which constants are judged; None: the one that explains most of them. ulps: how far the
    scales of calibrated ranges may be off, for ranges that were not measured by the converter itself, whose float sums
    run in another order. progress: called with the number of the file's operators done.
    Errors: InvalidInput if the first model is not float, the second not quantized, or the calibration of another model.
    """
    original, file = with_intermediates(as_model(float_model)), as_model(quantized)
    _check_models(original, file)
    names = [row.name for row in ARITHMETICS]
    if arithmetic is not None and arithmetic not in names:
        raise InvalidInput(f"arithmetic={arithmetic!r}: must be one of {', '.join(names)}")
    if not isinstance(ulps, int) or ulps < 0:
        raise InvalidInput(f"ulps={ulps!r}: must be a whole number, 0 or more")
    if calibration is not None and not isinstance(calibration, Calibration):
        raise InvalidInput(f"calibration must be a Calibration, not {type(calibration).__name__}")
    ranges = None if calibration is None else calibration.for_model(original)
    pairs = [
        Pair(original, file, subgraph, align(*graphs), ranges if subgraph == 0 else None)
        for subgraph, graphs in enumerate(zip(original.graphs, file.graphs, strict=False))
    ]
    sites = [site for pair in pairs for site in pair.sites()]
    explained: dict[str, list[Explained | None]] = {row.name: [] for row in ARITHMETICS}
    for done, site in enumerate(sites):
        for row in ARITHMETICS:
            explained[row.name].append(explain(site, row, sites))
        if progress is not None:
            progress(done + 1)
    explanations, candidates = choose(explained, arithmetic)
    hybrid = not has_quantized_activations(file)
    reports: list[RuleReport] = []
    # several only if the weights do not tell them apart: then the rest may, or what is usual in such a file
    for row in sorted(candidates, key=lambda row: row.hybrid != hybrid):
        expecting = [
            replace(site, arithmetic=row, expected=None if found is None else found.expected, ulps=ulps)
            for site, found in zip(sites, explained[row.name], strict=True)
        ]
        reports.append(_audit(pairs, expecting, calibration))
        if reports[-1].holds and not reports[-1].refused:
            break
    best = min(reports, key=lambda report: (report.refused, len(report.broken)))
    if progress is not None:
        progress(sum(len(graph.operators) for graph in file.graphs))
    broken = {report.arithmetic: len(report.broken) for report in reports}
    return replace(best, explanations=tuple(replace(e, broken=broken.get(e.arithmetic)) for e in explanations))


def _audit(pairs: list[Pair], sites: list[Site], calibration: Calibration | None) -> RuleReport:
    """Every rule at every place, by the arithmetic of the sites and its quantizer."""
    original, file, row = pairs[0].original, pairs[0].file, sites[0].arithmetic if sites else ARITHMETICS[0]
    kinds = granularities(sites)
    sites = [replace(site, per_channel=kinds.get(site.op == "FULLY_CONNECTED")) for site in sites]
    outcome, note = expected_outcome(original, file, sites, row, calibration, kinds)
    if outcome is not None:
        sites = [_decided_site(site, outcome, pairs[0], calibration is not None) for site in sites]
    elif not has_quantized_activations(file):
        sites = [replace(site, stays_float="no activation of this file is quantized") for site in sites]
    findings = [finding for pair in pairs for finding in _alone(pair)]
    findings += [finding for site in sites for finding in _check_site(site)]
    findings += [finding for pair in pairs for finding in _check_conversions(pair)]
    if outcome is not None:
        findings += _check_places(outcome.model, pairs[0])
    notes = [*_structure(original, file), *([note] if note else [])]
    refused = outcome is None and has_quantized_activations(file)
    return RuleReport(row.name, (), calibration is not None, refused, tuple(notes), tuple(findings))


def _check_models(original: Model, file: Model) -> None:
    for subgraph, graph in enumerate(original.graphs):
        for tensor in graph.tensors:
            if has_scale(tensor):
                raise InvalidInput(
                    f"subgraph {subgraph}, tensor '{tensor.name}' of the float model is {tensor.type} with a scale; "
                    "give the float model first"
                )
    if not any(tensor.type == "FLOAT32" for graph in original.graphs for tensor in graph.tensors):
        raise InvalidInput("the float model has no FLOAT32 tensor")
    if not any(has_scale(tensor) for graph in file.graphs for tensor in graph.tensors):
        raise InvalidInput("the quantized model has no quantized tensor; there is nothing to audit")


def _structure(original: Model, file: Model) -> list[str]:
    if len(original.graphs) == len(file.graphs):
        return []
    return [
        f"the float model has {len(original.graphs)} subgraphs, the file {len(file.graphs)}; "
        "the surplus ones are not looked at"
    ]


def _decided_site(site: Site, outcome: Outcome, pair: Pair, with_ranges: bool) -> Site:
    """The site with what the quantizer decides about it; parameters only where the ranges were given."""
    if site.subgraph != 0:
        return site
    position = pair.alignment.positions[0][site.number]
    site = replace(site, stays_float=outcome.floats.get(position, ""))
    if not with_ranges:
        return site
    operands = (replace(operand, decided=outcome.slots.get((position, operand.slot))) for operand in site.operands)
    return replace(site, operands=tuple(operands))


# checking


def _alone(pair: Pair) -> list[Finding]:
    """Operators that only one of the models has."""
    found = []
    missing, surplus = pair.alignment.alone
    for number in missing:
        operator = pair.graphs[0].operators[pair.alignment.positions[0][number]]
        name = pair.graphs[0].tensors[operator.outputs[0]].name if operator.outputs else ""
        place: Place = (pair.subgraph, number, op_name(operator), "", name, -1)
        found.append(Finding("operators", "breaks", *place, "the operator", "no such operator"))
    for number in surplus:
        operator = pair.graphs[1].operators[pair.alignment.positions[1][number]]
        tensor = operator.outputs[0] if operator.outputs else -1
        name = pair.graphs[1].tensors[tensor].name if operator.outputs else ""
        place = (pair.subgraph, None, op_name(operator), f"the file's operator {number}", name, tensor)
        found.append(Finding("operators", "breaks", *place, "no such operator", op_name(operator)))
    return found


def _check_site(site: Site) -> list[Finding]:
    """Every rule about operators and slots at this operator."""
    findings = []
    results = [operand for operand in site.operands if operand.is_result]
    first = results[0] if results else None
    for rule in RULES:
        if rule.about == "operator" and rule.check is not None:
            findings.append(_finding(rule.name, site, first, "", rule.check(site)))
    for operand in site.operands:
        if operand.role == "other":
            continue
        for rule in RULES:
            if rule.about == "slot" and rule.check is not None:
                verdict = rule.check(site, operand)
                culprit = site.at(verdict.slot) if verdict is not None and verdict.slot else operand
                findings.append(_finding(rule.name, site, culprit, (culprit or operand).slot, verdict))
    return findings


def _finding(rule: str, site: Site, operand: Operand | None, slot: str, verdict: Verdict | None) -> Finding:
    name, tensor = ("", -1) if operand is None else (operand.record.name, operand.tensor)
    place = (site.subgraph, site.number, site.op, slot, name, tensor)
    return _judged(rule, place, verdict)


Place = tuple[int, int | None, str, str, str, int]


def _judged(rule: str, place: Place, verdict: Verdict | None) -> Finding:
    if verdict is None:
        return Finding(rule, "not applicable", *place)
    return Finding(
        rule,
        "holds" if verdict.holds else "breaks",
        *place,
        verdict.expected,
        verdict.found,
        verdict.wrong,
        verdict.of,
        verdict.first,
        verdict.ulps,
        verdict.step,
        verdict.note,
        verdict.involves,
    )


def _check_conversions(pair: Pair) -> list[Finding]:
    """The rules about each QUANTIZE and DEQUANTIZE of the file."""
    findings, behind, graph = [], 0, pair.graphs[1]
    for operator in graph.operators:
        if not is_conversion(operator):
            behind += 1
            continue
        site = ConversionSite(pair.subgraph, behind, graph, operator)
        tensor = operator.outputs[0]
        slot = f"{operator.name} behind {behind} operators"
        place = (pair.subgraph, None, operator.name, slot, graph.tensors[tensor].name, tensor)
        for rule in RULES:
            if rule.about == "conversion" and rule.check is not None:
                findings.append(_judged(rule.name, place, rule.check(site)))
    return findings


def _check_places(expected: Model, pair: Pair) -> list[Finding]:
    """Whether the file converts where the quantizer would."""
    if any(pair.alignment.alone):
        return []

    def key(c: Conversion) -> tuple[object, ...]:
        return c.op, c.of, c.to, c.source[0], c.target[0]

    wanted = Counter(map(key, conversions(expected, {}, False)))
    findings = []
    for conversion in conversions(pair.file, {0: pair.alignment}, True):
        if conversion.subgraph != 0:
            continue
        known = wanted[key(conversion)] > 0
        wanted[key(conversion)] -= 1
        slot = f"{conversion.op} of {conversion.of}"
        place = (0, None, conversion.op, slot, conversion.name, conversion.tensor)
        verdict = Verdict(known, "" if known else "no conversion", _in_words(conversion))
        findings.append(_judged("conversions", place, verdict))
    for conversion in conversions(expected, {}, False):
        if wanted[key(conversion)] > 0:
            wanted[key(conversion)] -= 1
            slot = f"{conversion.op} of {conversion.of}"
            verdict = Verdict(False, _in_words(conversion), "no such conversion")
            findings.append(_judged("conversions", (0, None, conversion.op, slot, conversion.name, -1), verdict))
    return findings


def _in_words(conversion: Conversion) -> str:
    return f"{conversion.source[0]} to {conversion.target[0]} for {', '.join(conversion.to) or 'nobody'}"
