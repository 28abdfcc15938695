"""The verbs `diff` and `audit`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import refquant
from refquant.cli.console import JsonFlag, out, print_json, progress_bar, short
from refquant.cli.ranges import RangesPath, read_ranges
from refquant.compare import Comparison, ConversionDifference, RuleReport, SlotDifference
from refquant.compare.parameters import details_of, severity
from refquant.compare.records import audit_record, diff_record
from refquant.compare.rules import RULES

SHOWN = 20  # rows of a table, without --all

AllFlag = Annotated[bool, typer.Option("--all", help="List everything, not only the most important.")]
ArithmeticName = Annotated[
    str | None,
    typer.Option(help="Judge constants by this one: mlir, legacy or float64; else by what explains most of them."),
]
Ulps = Annotated[
    int, typer.Option(min=0, help="How far scales of calibrated ranges may be off; 32 if refquant measured them.")
]

Entry = TypeVar("Entry")


def diff(
    first: Annotated[Path, typer.Argument(metavar="A", help="A .tflite file.", show_default=False)],
    second: Annotated[Path, typer.Argument(metavar="B", help="A .tflite file.", show_default=False)],
    float_model: Annotated[
        Path | None,
        typer.Option("--float", help="The float .tflite file of both: say which rule is broken, and by which of them."),
    ] = None,
    calibration: RangesPath = None,
    arithmetic: ArithmeticName = None,
    ulps: Ulps = 0,
    show_all: AllFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Compare parameters and constants of two models. Slot by slot; exit code 1 if they differ."""
    a, b = refquant.load(first), refquant.load(second)
    original = None if float_model is None else refquant.load(float_model)
    total = sum(len(graph.operators) for model in (a, b) for graph in model.graphs)
    with progress_bar("comparing", total) as progress:
        comparison = refquant.compare_models(
            a, b, original, _ranges(calibration), arithmetic, ulps, progress if original is not None else None
        )
    if as_json:
        print_json(diff_record(comparison))
    else:
        _print_comparison(comparison, show_all, out())
    raise typer.Exit(0 if comparison.equal else 1)


def audit(
    float_model: Annotated[Path, typer.Argument(metavar="FLOAT", help="The float .tflite file.", show_default=False)],
    quantized: Annotated[
        Path, typer.Argument(metavar="QUANTIZED", help="The .tflite file made from it.", show_default=False)
    ],
    calibration: RangesPath = None,
    arithmetic: ArithmeticName = None,
    ulps: Ulps = 0,
    show_all: AllFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Check a quantized file against the rules of quantization. Slot by slot; exit code 1 if one is broken."""
    original, file = refquant.load(float_model), refquant.load(quantized)
    with progress_bar("auditing", sum(len(graph.operators) for graph in file.graphs)) as progress:
        report = refquant.audit_model(original, file, _ranges(calibration), arithmetic, ulps, progress)
    if as_json:
        print_json(audit_record(report))
    else:
        _print_audit(report, show_all, out())
    raise typer.Exit(0 if report.holds else 1)


def _ranges(path: Path | None) -> refquant.Calibration | None:
    return None if path is None else read_ranges(path)


# for people: diff


def _print_comparison(comparison: Comparison, show_all: bool, console: Console) -> None:
    console.print(escape(("equal: " if comparison.equal else "different: ") + comparison.summary))
    for line in comparison.structure:
        console.print(escape(line))
    _print_lines("operators that only one model has", comparison.operators, show_all, console)
    _print_lines("operators that compute with other numbers", comparison.forms, show_all, console)
    _print_slots(comparison, show_all, console)
    _print_conversions(comparison.conversion_differences, show_all, console)
    if comparison.audits is not None:
        for model, report in zip("ab", comparison.audits, strict=True):
            console.print(escape(f"{model} by the rules ({report.arithmetic} arithmetic): {report.summary}"))


def _print_lines(title: str, entries: Sequence[object], show_all: bool, console: Console) -> None:
    if entries:
        console.print(f"{title}: {len(entries)}")
    for entry in _shown(entries, show_all):
        console.print(escape(f"  {_printable(str(entry))}"))
    _print_rest(len(entries), show_all, console)


def _shown(entries: Sequence[Entry], show_all: bool) -> Sequence[Entry]:
    return entries if show_all else entries[:SHOWN]


def _print_rest(count: int, show_all: bool, console: Console) -> None:
    if count > SHOWN and not show_all:
        console.print(f"… and {count - SHOWN:,} more; --all")


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def _print_slots(comparison: Comparison, show_all: bool, console: Console) -> None:
    """The gravest first; a tensor that stands at several slots once; slots of operators in another form not at all."""
    other_form = {(form.subgraph, form.operator) for form in comparison.forms}
    hidden = [d for d in comparison.differences if "type" in d.what and (d.subgraph, d.operator) in other_form]
    if show_all:
        hidden = []
    groups = _by_tensor(d for d in comparison.differences if d not in hidden)
    table = Table("place", "tensor", "what differs: a -> b", *(["rule"] if comparison.audits else []))
    for group in _shown(groups, show_all):
        first, *others = group
        more = f" and {len(others)} more" if others else ""
        place = f"subgraph {first.subgraph}, {first.place}" if first.subgraph else first.place
        details = "\n".join(f"{word} {text}" for word, text in details_of(first))
        row = [place + more, short(next(filter(None, first.names), "")), details]
        table.add_row(*map(escape, row + ([first.rules] if comparison.audits else [])))
    if groups:
        console.print(table)
    _print_rest(len(groups), show_all, console)
    if hidden:
        console.print(f"not listed: {len(hidden)} slots of operators that compute with other numbers; --all")


def _by_tensor(differences: Iterable[SlotDifference]) -> list[list[SlotDifference]]:
    """The slots of one tensor together, an operator's before the graph's; the gravest first."""
    groups: dict[tuple[int, int, int], list[SlotDifference]] = {}
    for number, difference in enumerate(differences):
        a, b = difference.a, difference.b
        key = (
            (difference.subgraph, -number - 1, 0)
            if a is None or b is None
            else (difference.subgraph, a.tensor, b.tensor)
        )
        groups.setdefault(key, []).append(difference)
    ordered = [sorted(group, key=lambda d: d.operator is None) for group in groups.values()]
    return sorted(
        ordered, key=lambda group: (severity(group[0]), -1 if group[0].operator is None else group[0].operator)
    )


def _print_conversions(differences: Sequence[ConversionDifference], show_all: bool, console: Console) -> None:
    if not differences:
        return
    table = Table("conversion of", "a", "b", *(["rule"] if any(d.rules for d in differences) else []))
    for difference in _shown(differences, show_all):
        row = [difference.of, *("none" if c is None else c.in_words for c in (difference.a, difference.b))]
        table.add_row(*(escape(_printable(cell)) for cell in row + ([difference.rules] if difference.rules else [])))
    console.print(table)
    _print_rest(len(differences), show_all, console)


# for people: audit


def _print_audit(report: RuleReport, show_all: bool, console: Console) -> None:
    verdict = "the rules hold" if report.holds else "rules are broken"
    console.print(escape(f"{verdict}: {report.summary}"))
    for explanation in report.explanations:
        mark = "judged by " if explanation.arithmetic == report.arithmetic else "          "
        console.print(escape(f"{mark}{explanation}"))
    for note in report.notes:
        console.print(escape(_printable(note)))
    if not report.calibrated:
        console.print("no ranges given: activations are judged by their neighbours only; --calibration")
    console.print(_rule_table(report))
    if report.broken:
        table = Table("place", "tensor", "broken rule", "expected", "found", "by how much")
        for finding in _shown(report.broken, show_all):
            cells = (finding.place, short(finding.name), finding.rule, finding.expected, finding.found, finding.details)
            table.add_row(*(escape(_printable(cell)) for cell in cells))
        console.print(table)
        _print_rest(len(report.broken), show_all, console)
    if show_all:
        console.print(_place_table(report))


def _rule_table(report: RuleReport) -> Table:
    table = Table("rule", "holds", "broken", "what it says")
    counts = report.by_rule
    for rule in RULES:
        found = counts.get(rule.name, {})
        if found.get("holds") or found.get("breaks"):
            table.add_row(rule.name, f"{found['holds']:,}", f"{found['breaks']:,}", escape(rule.statement))
    return table


def _place_table(report: RuleReport) -> Table:
    """Slot by slot, the rules that hold."""
    places: dict[tuple[str, str], dict[str, list[str]]] = {}
    for finding in report.findings:
        place = places.setdefault((finding.place, finding.name), {"holds": [], "breaks": [], "not applicable": []})
        place[finding.verdict].append(finding.rule)
    table = Table("place", "tensor", "hold", "broken")
    for (place_, name), rules in places.items():
        if rules["holds"] or rules["breaks"]:
            cells = (_printable(place_), short(name), ", ".join(rules["holds"]), ", ".join(rules["breaks"]))
            table.add_row(*map(escape, cells))
    return table
