"""The verb `compare`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import refquant
from refquant.cli.arrays import keep_apart, read_arrays
from refquant.cli.comparing import SHOWN, AllFlag
from refquant.cli.console import JsonFlag, ModelPath, out, print_json, progress_bar, short
from refquant.compare.arithmetic_search import KERNEL
from refquant.compare.differences import Difference, Element
from refquant.compare.error_split import Error
from refquant.compare.real_runtimes import TIMEOUT
from refquant.compare.run_inputs import RANDOM_INPUTS
from refquant.compare.run_records import run_record
from refquant.compare.runs import OperatorRow, OperatorRun, RunComparison, RuntimeRun
from refquant.report import check_installed, write_report
from refquant.report.words import about, cause_in_words, counts, listed, number, parts, shown, verdict

PARTS = 1000  # of the progress bar
WIDE, WIDEST = 100, 140  # columns of a terminal that has room for an operator in one line, and for elements
BORDER = 3  # characters between two columns of a table


def compare(
    model: ModelPath,
    runtimes: Annotated[
        str,
        typer.Option(
            "--runtimes",
            help="Names with commas between: described ones (tflite_ref, tflite_opt, xnnpack, tflm) and installed ones "
            "(litert:reference, litert:optimized, litert:default, tflm:real); the first is the base.",
        ),
    ] = "tflite_ref,tflite_opt,xnnpack,tflm",
    inputs: Annotated[
        Path | None,
        typer.Option("--inputs", "-i", help="A .npy or .npz file, as `run` takes it; else inputs are drawn."),
    ] = None,
    count: Annotated[
        int, typer.Option(min=0, help="Random inputs to draw; all minimum and all maximum come besides.")
    ] = RANDOM_INPUTS,
    seed: Annotated[int, typer.Option(min=0, help="What they are drawn by.")] = 0,
    float_model: Annotated[
        Path | None,
        typer.Option("--float", help="The float .tflite file: split the error against it, for each runtime."),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds without an answer after which an installed runtime is ended.")
    ] = TIMEOUT,
    report: Annotated[
        Path | None, typer.Option("--report", help="Write it as one HTML page, with pictures.", show_default=False)
    ] = None,
    show_all: AllFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Run a model in several runtimes: what differs, where and why. Layer by layer; exit code 1 if any does."""
    if report is not None:
        check_installed()
        keep_apart(report, model, inputs, float_model)
    names = [name.strip() for name in runtimes.split(",") if name.strip()]
    loaded = refquant.load(model)
    arrays = None if inputs is None else read_arrays(inputs)
    original = None if float_model is None else refquant.load(float_model)
    with progress_bar("comparing", PARTS) as progress:
        comparison = refquant.compare_runs(
            loaded, arrays, names, count, seed, timeout, original, lambda done: progress(int(PARTS * done))
        )
    if report is not None:
        with progress_bar("drawing", PARTS) as progress:
            write_report(comparison, report, model.name, lambda done: progress(int(PARTS * done)))
    if as_json:
        print_json(run_record(comparison))
    else:
        _print(comparison, show_all, out())
    raise typer.Exit(0 if comparison.equal else 1)


def _print(comparison: RunComparison, show_all: bool, console: Console) -> None:
    samples = f"{comparison.samples:,} sample{'s' * (comparison.samples != 1)}"
    console.print(escape(f"{verdict(comparison)} {samples}; base: {comparison.base}"))
    groups: dict[object, list[RuntimeRun]] = {}
    for run in comparison.others:
        if parts(comparison, run) or _depends_on_keeping(run):
            alike = run.outputs, run.first_drift, run.first_cause, run.causes, run.whole_cause
            groups.setdefault(alike, []).append(run)
    for group in groups.values():
        _print_alike(comparison, group, console)
    for run in comparison.runtimes:
        if run.error:
            console.print(escape(about(comparison, run)))
    _print_operators(comparison, show_all, console)
    _print_errata(comparison, console)
    _print_splits(comparison, console)


def _print_alike(comparison: RunComparison, runs: Sequence[RuntimeRun], console: Console) -> None:
    """What runtimes do otherwise that are alike in every figure."""
    run, names = runs[0], listed([run.name for run in runs])
    if len(comparison.others) > 1 and run.outputs is not None:  # else the verdict has said it
        console.print(escape(f"{names}: {counts(run.outputs, 'output elements')}"))
    for cause in run.causes:
        why = f" ({cause.reason})" if cause.reason else ""
        console.print(escape(f"  {cause_in_words(cause)}; {cause.differing:,} of {cause.elements:,} differ{why}"))
    if run.whole_cause is not None and run.outputs is not None:
        whole = run.whole_cause == run.outputs.elements
        count = f"all {run.whole_cause:,}" if whole else f"{run.whole_cause:,} of {run.outputs.elements:,}"
        told = f"  {'' if whole else 'not '}the whole cause: with it {comparison.base} gives {count} output elements"
        console.print(escape(f"{told} as {names} do{'es' * (len(runs) == 1)}"))
    if run.outputs is not None and run.outputs.first is not None:
        console.print(escape(f"  first output that differs: {_element(comparison, run.outputs.first)}"))
    for other in filter(_depends_on_keeping, runs):
        assert other.preserving is not None
        count = f"{other.preserving.differing:,} output elements of {other.name}"
        console.print(
            escape(f"  {count} change while it keeps every tensor: else operators are fused, or share memory")
        )


def _depends_on_keeping(run: RuntimeRun) -> bool:
    return run.preserving is not None and run.preserving.differing > 0


def _element(comparison: RunComparison, element: Element) -> str:
    """ "tensor 5 [0, 17] of sample 2: 4, base 5"."""
    name = shown(comparison.model.graph.tensors[element.tensor].name)
    return f"{name} {list(element.index)} of sample {element.sample}: {_values(element)}"


def _values(element: Element) -> str:
    """ "4, base 5"; floats in as many digits as tell them apart."""
    value, base = (number(v) if isinstance(v, int) else f"{v:.9g}" for v in (element.value, element.base))
    return f"{value}, base {base}"


def _print_operators(comparison: RunComparison, show_all: bool, console: Console) -> None:
    """A row for each operator and the runtimes alike in it, of those that differ or of which that is not known."""
    rows = [
        (row, alike)
        for row in comparison.operators
        for alike in _alike(run for run in row.runs if show_all or run.error or _differs(run))
    ]
    if not rows:
        return
    heads = ["operator", "runtime", "end to end", "alone", "first element", "arithmetic"]
    if console.width < WIDEST:
        heads.remove("first element")
    cells, previous = [], None
    for row, alike in rows if show_all else rows[:SHOWN]:
        cells.append(_cells(row, alike, row is previous, console.width))
        previous = row
    console.print("how many elements differ, end to end: with all that has piled up; alone: fed the base's own inputs")
    console.print(_table(heads, cells, console.width))
    if len(rows) > SHOWN and not show_all:
        console.print(f"… and {len(rows) - SHOWN:,} more; --all")


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Table:
    """A table that keeps the lines of its first column whole and, where there is room, the words of the others."""
    table = Table()
    for head, room in zip(heads, _widths(list(zip(heads, *rows, strict=True)), width), strict=True):
        table.add_column(head, overflow="fold", no_wrap=head == heads[0], width=room)
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def _widths(columns: Sequence[Sequence[str]], width: int) -> Sequence[int | None]:
    """How wide each column is: its longest word; where there is room, its longest line, what lacks least first.

    None for all where there is no room for the words.
    """
    lines = [max(len(line) for cell in column for line in cell.splitlines()) for column in columns]
    words = [max(len(word) for cell in column for word in cell.split()) for column in columns]
    widths = [lines[0], *words[1:]]
    left = width - 1 - BORDER * len(widths) - sum(widths)
    if left < 0:
        return [None] * len(widths)
    for column in sorted(range(len(lines)), key=lambda column: lines[column] - widths[column]):
        more = min(left, lines[column] - widths[column])
        widths[column] += more
        left -= more
    return widths


def _differs(run: OperatorRun) -> bool:
    return any(difference is not None and difference.differing for difference in (run.drift, run.cause))


def _alike(runs: Iterable[OperatorRun]) -> list[list[OperatorRun]]:
    """The runs together that are told in the same words."""
    groups: dict[object, list[OperatorRun]] = {}
    for run in runs:
        groups.setdefault((run.delegated, _figures(run, True)), []).append(run)
    return list(groups.values())


def _cells(row: OperatorRow, alike: Sequence[OperatorRun], again: bool, width: int) -> tuple[str, ...]:
    """again: the operator stands in the row above."""
    found = next((d for run in alike for d in (run.cause, run.drift) if d is not None), None)
    told = [f"{row.operator} {short(row.op)}", row.type, *([] if found is None else [f"{found.elements:,} elements"])]
    operator = "" if again else (", " if width >= WIDE else "\n").join(told)
    names = ", ".join(run.runtime for run in alike) + (f" ({alike[0].delegated})" if alike[0].delegated else "")
    return operator, names, *_figures(alike[0], width >= WIDEST)


def _figures(run: OperatorRun, with_element: bool) -> tuple[str, ...]:
    """What the row tells of how it ran."""
    first = run.cause.first if run.cause is not None else None
    at = "" if first is None else f"sample {first.sample} {list(first.index)}: {_values(first)}"
    alone = short(run.error) if run.error else _count(run.cause)
    return (_count(run.drift), alone, *([at] if with_element else []), _arithmetic(run))


def _arithmetic(run: OperatorRun) -> str:
    """ "upward rounding"; "nearest: double rounding, 30 of the 38 that differ"."""
    if not run.explanations:
        return "no described one" if run.differs else ""
    best, *more = run.explanations
    words = f"{best.runtime}'s kernel" if best.replaced == (KERNEL,) else best.words
    if not best.whole:
        return f"nearest: {words}, {best.explained:,} of the {best.differing:,} that differ"
    return f"{words}; these inputs fit {len(more)} more" if more else words


def _count(difference: Difference | None) -> str:
    """ "82, 1 step"; floats: "606, 2e-05, 12 ulps"."""
    if difference is None:
        return "not known"
    if not difference.differing:
        return "0"
    far = f"{number(difference.largest)} step{'s' * (difference.largest != 1)}"
    if difference.ulps:
        far = f"{difference.largest:.3g}, {difference.ulps:,} ulp{'s' * (difference.ulps != 1)}"
    return f"{difference.differing:,}, {far}"


def _print_errata(comparison: RunComparison, console: Console) -> None:
    errata = {e.key: e for row in comparison.operators for run in row.runs for e in run.errata}
    if errata:
        console.print("known defects of these operators, which may be the reason where another kernel differs:")
    for key, erratum in errata.items():
        console.print(escape(f"  {key} ({erratum.runtime}; {erratum.versions}): {erratum.what}"))
        for link in erratum.links:
            console.print(escape(f"    {link}"), soft_wrap=True)


def _print_splits(comparison: RunComparison, console: Console) -> None:
    """The error at the outputs, part by part, and the layer where that of the activations is worst."""
    if not comparison.splits:
        return
    table = Table("runtime", "tensor", "weights", "activations", "arithmetic", "total")
    for split in comparison.splits:
        worst = min(split.layers, key=lambda layer: _decibels(layer.end_to_end.total), default=None)
        for layer in (*split.outputs, *([worst] if worst is not None and not worst.output else [])):
            error = layer.end_to_end
            cells = (error.weights, error.activations, error.arithmetic, error.total)
            name = short(layer.name) if layer.output else f"{short(layer.name)} (worst layer)"
            table.add_row(
                split.runtime, escape(name), *("exact" if e.sqnr_db is None else f"{e.sqnr_db:.1f} dB" for e in cells)
            )
    console.print("the error against the float model, as SQNR of each part")
    console.print(table)
    console.print(escape(comparison.splits[0].reading))


def _decibels(error: Error) -> float:
    return math.inf if error.sqnr_db is None else error.sqnr_db
