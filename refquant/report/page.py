"""What a report says, as plain values, and the template that lays it out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from refquant.compare.differences import Difference, Element
from refquant.compare.error_split import ErrorSplit, LayerSplit
from refquant.compare.modes import mode_of
from refquant.compare.runs import OperatorRow, OperatorRun, RunComparison
from refquant.compare.worst import Reckoning
from refquant.errata import Erratum
from refquant.report import figures, words
from refquant.report.elements import WorstElement, worst_elements
from refquant.report.layers import CELL, GAP, LANE, NODE, layers

MOST_SECTIONS = 40  # operators that are told in full
LINE, MARGIN = 140, 14  # pixels of a number line, and at its ends
MOST_TICKS = 7
# Requantizers as the heads of columns.
SHORT: Mapping[str, str] = {
    "double rounding": "double",
    "upward rounding": "upward",
    "float64 round, half away from zero": "float64",
    "float32, half to even": "float32",
    "int64, 15-bit multiplier": "int64",
}
SPARK, SPARK_HEIGHT, MOST_SPARKS = 56, 14, 14


def _finalized(value: object) -> object:
    """What the template writes of a value: of text that is not the page's own only what can be printed."""
    return words.printable(value) if type(value) is str else value


ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    finalize=_finalized,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


@dataclass(frozen=True, slots=True)
class NumberLine:
    """Where an element's exact result lies between the codes: `ticks` are (x, code)."""

    ticks: tuple[tuple[float, int], ...]
    exact: float
    base: float
    value: float


@dataclass(frozen=True, slots=True)
class WorstRow:
    """One element of a table: `roundings` in the order of its head, each the code and whose it is."""

    runtimes: str
    place: str
    element: Element
    step: str
    account: Reckoning | None
    roundings: tuple[tuple[int, str], ...]
    line: NumberLine | None


@dataclass(frozen=True, slots=True)
class Section:
    """An operator that computes otherwise in some runtime."""

    row: OperatorRow
    name: str
    histogram: str
    explanations: tuple[tuple[str, str], ...]
    errors: tuple[tuple[str, str], ...]
    known: bool
    roundings: tuple[str, ...]
    worst: tuple[WorstRow, ...]


def page(comparison: RunComparison, title: str, progress: Callable[[float], object]) -> str:
    """The whole HTML page. progress: see render."""
    model = comparison.model
    differing = tuple(row for row in comparison.operators if any(seen.differs for seen in row.runs))
    told = differing[:MOST_SECTIONS]
    found = worst_elements(comparison, told)
    sections = []
    for number, row in enumerate(told, 1):
        sections.append(_section(row, found[row.operator]))
        progress(number / len(told))
    return ENVIRONMENT.get_template("page.html.j2").render(
        title=words.shown(title or model.description or "a model", 200),
        comparison=comparison,
        mode=str(mode_of(model)),
        inputs=[_input(comparison, index) for index in model.graph.inputs],
        words=words,
        layers=layers(comparison),
        sizes={"node": NODE, "cell": CELL, "gap": GAP, "lane": LANE, "line": LINE, "spark": SPARK},
        spark_height=SPARK_HEIGHT,
        spark=spark,
        short=SHORT,
        depth=figures.along_the_model(comparison) if len(comparison.operators) > 1 and not comparison.equal else "",
        sections=sections,
        left_out=[row.operator for row in differing[MOST_SECTIONS:]],
        errata=_errata(comparison),
        split_figures=_split_figures(comparison),
        split_rows=[row for split in comparison.splits for row in _split_rows(split)],
    )


def _input(comparison: RunComparison, index: int) -> tuple[str, str]:
    tensor = comparison.model.graph.tensors[index]
    return words.shown(tensor.name), f"{'×'.join(map(str, tensor.shape)) or 'scalar'} {tensor.type}"


# One operator ---------------------------------------------------------------------------------------------------------


def _section(row: OperatorRow, worst: Sequence[WorstElement]) -> Section:
    names = tuple(dict.fromkeys(name for w in worst if w.account is not None for name, _ in w.account.roundings))
    differing = [seen for seen in row.runs if seen.differs]
    return Section(
        row,
        words.shown(row.name),
        figures.histogram(row),
        tuple((seen.runtime, _explained(seen)) for seen in differing),
        tuple((seen.runtime, words.shown(seen.error, 300)) for seen in row.runs if seen.error),
        any(seen.errata for seen in differing),
        names,
        tuple(_worst_row(w, names) for w in worst),
    )


def _explained(seen: OperatorRun) -> str:
    return str(seen.explanations[0]) if seen.explanations else "no described arithmetic was found to be near"


def _worst_row(found: WorstElement, names: Sequence[str]) -> WorstRow:
    element, account = found.element, found.account
    codes = dict(account.roundings) if account is not None else {}
    return WorstRow(
        words.shown(", ".join(found.runtimes), 60),
        f"{element.sample}: {list(element.index)}",
        element,
        f"{element.step:+,.6g}" if not math.isnan(element.step) else "",
        account,
        tuple((codes[name], _whose(codes[name], element)) for name in names if name in codes),
        None if account is None else _number_line(account, element),
    )


def _whose(code: int, element: Element) -> str:
    return "base" if code == element.base else "value" if code == element.value else "other"


def _number_line(account: Reckoning, element: Element) -> NumberLine:
    """From the code below the least of the three to the one above the largest."""
    exact = min(max(account.exact, account.low - 1.0), account.high + 1.0)
    low = math.floor(min(element.base, element.value, exact))
    high = max(math.ceil(max(element.base, element.value, exact)), low + 1)
    scale = (LINE - 2 * MARGIN) / (high - low)
    every = -(-(high - low + 1) // MOST_TICKS)
    ticks = tuple((round(MARGIN + (code - low) * scale, 1), code) for code in range(low, high + 1, every))
    exact_x, base_x, value_x = (round(MARGIN + (v - low) * scale, 1) for v in (exact, element.base, element.value))
    return NumberLine(ticks, exact_x, base_x, value_x)


def spark(difference: Difference | None) -> tuple[tuple[float, float, float, float], ...]:
    """A histogram in a table's cell as (x, y, width, height) of its bars; counts on a logarithmic scale."""
    if difference is None or not difference.histogram:
        return ()
    group = -(-len(difference.histogram) // MOST_SPARKS)
    counts = [
        sum(count for _, count in difference.histogram[start : start + group])
        for start in range(0, len(difference.histogram), group)
    ]
    width, top = min(SPARK / len(counts), 9), math.log2(max(counts) + 1)
    left = (SPARK - width * len(counts)) / 2
    heights = [max(SPARK_HEIGHT * math.log2(count + 1) / top, 1) for count in counts]
    return tuple(
        (round(left + n * width, 1), round(SPARK_HEIGHT - h, 1), round(width - 1, 1), round(h, 1))
        for n, h in enumerate(heights)
    )


def _errata(comparison: RunComparison) -> tuple[tuple[Erratum, tuple[int, ...]], ...]:
    """(erratum, the operators at which a difference matches it)."""
    found: dict[str, tuple[Erratum, dict[int, None]]] = {}
    for row in comparison.operators:
        for erratum in (erratum for seen in row.runs for erratum in seen.errata):
            found.setdefault(erratum.key, (erratum, {}))[1][row.operator] = None
    return tuple((erratum, tuple(operators)) for erratum, operators in found.values())


# The error against the float model ------------------------------------------------------------------------------------


def _split_figures(comparison: RunComparison) -> tuple[tuple[str, str], ...]:
    """(caption, figure)."""
    if not comparison.splits or not comparison.splits[0].layers:
        return ()
    told = [("End to end, where errors pile up", figures.split_bars(comparison, "end_to_end"))]
    if any(layer.alone is not None for layer in comparison.splits[0].layers):
        told.append(("Each layer alone, fed the float model's own tensors", figures.split_bars(comparison, "alone")))
    return tuple(told)


def _split_rows(split: ErrorSplit) -> list[tuple[str, str, tuple[str, ...]]]:
    """(runtime, output, SQNR of weights, activations, arithmetic, all of them, and the largest error in steps)."""
    return [(words.shown(split.runtime), words.shown(layer.name, 60), _levels(layer)) for layer in split.outputs]


def _levels(layer: LayerSplit) -> tuple[str, ...]:
    parts = layer.end_to_end
    levels = [error.sqnr_db for error in (parts.weights, parts.activations, parts.arithmetic, parts.total)]
    steps = parts.total.largest_steps
    return (*("none" if db is None else f"{db:.1f} dB" for db in levels), "" if steps is None else f"{steps:.3g}")
