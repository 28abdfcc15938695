"""The figures of a report, drawn by matplotlib as SVG that takes its colours from the page."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from refquant.compare.differences import Difference
from refquant.compare.error_split import ErrorSplit
from refquant.compare.runs import OperatorRow, RunComparison
from refquant.report.words import shown

# Stand-ins for colours that the page decides.
INK, LINE = "#010203", "#040506"
PAGE_COLOURS: Mapping[str, str] = {INK: "currentColor", LINE: "var(--line)"}
# Told apart by the colour-blind too, on light and on dark.
SERIES = ("#3b7dd8", "#e07b39", "#2f9e8f", "#a35bc4", "#b8921f", "#d1495b", "#6b7a8f", "#7a9a3a")
DASHES = ("-", "--", ":", "-.")  # so that lines that lie on one another are seen
BASE, WEIGHTS, ACTIVATIONS = "#8a8a83", "#5b6f94", "#3fa796"
WIDTH = 9.4  # inches of a figure across the page
MOST_BARS = 60  # in a histogram, of all runtimes
FEWEST_BINS = 9  # in a histogram, however many the runtimes are
MOST_LABELS = 13  # below the bars of a histogram
ALL_LABELS = 24  # operators that are all named on an axis
LOGARITHMIC_FROM = 50  # times that the largest count is the smallest

STYLE: dict[str, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "refquant",
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.edgecolor": LINE,
    "axes.labelcolor": INK,
    "axes.titlesize": 9.0,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}


# What a page does without: (pattern, what is left of it). Rules for all of the page, fonts that the page has too,
# rotations by nothing, and places finer than a hundredth of a pixel.
SPARED = (
    (r"<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>|<defs>\s*</defs>", ""),
    (r"font-family: [^;\"]*; ?| transform=\"rotate\(-0 [^\"]*\"|; stroke-linejoin: miter", ""),
    (r"(\.\d\d)\d+", r"\1"),
    (r"\s*\n\s*", "\n"),
    (r"<defs>\s*</defs>\n", ""),
)


@contextmanager
def _styled() -> Iterator[None]:
    """matplotlib's own settings whatever the user's are, and STYLE on top."""
    with mpl.rc_context():
        mpl.rcdefaults()
        settings: Any = mpl.rcParams
        settings.update(STYLE)
        yield


def _figure(height: float, columns: int = 1, below: float = 0.42) -> tuple[Figure, list[Axes]]:
    """height, below: inches of the figure, and under its axes. Fixed margins: fitting them takes most of the time."""
    figure = Figure(figsize=(WIDTH, height), facecolor="none")
    figure.subplots_adjust(0.065, below / height, 0.995, 1 - 0.3 / height, wspace=0.16)
    return figure, [figure.add_subplot(1, columns, number + 1, facecolor="none") for number in range(columns)]


def _svg(figure: Figure, key: str, title: str) -> str:
    """The figure as an <svg> element. key: begins its ids, of which a page has each once."""
    with io.StringIO() as file:
        canvas: Any = FigureCanvasSVG(figure)
        canvas.print_svg(file, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
        text = file.getvalue()
    text = text[text.index("<svg") :]
    for pattern, replacement in SPARED:
        text = re.sub(pattern, replacement, text, flags=re.DOTALL)
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text))
    text = re.sub(r' id="([^"]*)"', lambda m: f' id="{key}-{m[1]}"' if m[1] in used else "", text)
    text = re.sub(r'(url\(#|href="#)([^)"]+)', rf"\1{key}-\2", text)
    for stand_in, colour in PAGE_COLOURS.items():
        text = text.replace(stand_in, colour)
    return text.replace("<svg ", f'<svg class="figure" role="img" aria-label="{title}" ', 1).strip()


def _plain(name: str) -> str:
    """A name that matplotlib takes for no formula."""
    return shown(name, 32).replace("$", r"\$")


def _percent(axes: Axes, largest: float) -> None:
    axes.set_ylim(0, min(105, max(largest * 1.15, 1e-3)))
    axes.set_ylabel("elements that differ, %")


def along_the_model(comparison: RunComparison) -> str:
    """How much differs end to end, operator by operator, and which operators compute otherwise themselves."""
    rows = comparison.operators
    with _styled():
        figure, (axes,) = _figure(2.5)
        largest = 0.0
        for number, run in enumerate(comparison.others):
            colour = SERIES[number % len(SERIES)]
            seen = [row.runs[number] for row in rows]
            drift = {row.operator: 100 * s.drift.rate for row, s in zip(rows, seen, strict=True) if s.drift is not None}
            own = [row.operator for row, s in zip(rows, seen, strict=True) if s.differs and row.operator in drift]
            style = DASHES[number % len(DASHES)]
            axes.plot(list(drift), list(drift.values()), style, color=colour, label=_plain(run.name), linewidth=1.6)
            axes.plot(own, [drift[operator] for operator in own], "o", color=colour, markersize=6 - number % 4)
            largest = max([largest, *drift.values()])
        _percent(axes, largest)
        axes.set_xlabel("operator; a dot: it computes otherwise itself, fed the base's own inputs")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlim(-0.5, max(len(rows) - 0.5, 0.5))
        _legend(figure, axes)
        return _svg(figure, "depth", "the share of differing elements along the model")


def _legend(figure: Figure, axes: Axes) -> None:
    if len(axes.get_legend_handles_labels()[0]) > 1:
        figure.legend(*axes.get_legend_handles_labels(), loc="upper right", ncols=6, borderaxespad=0, columnspacing=1.4)


def histogram(row: OperatorRow) -> str:
    """How many elements of an operator differ by how much, fed the same and end to end, in each runtime."""
    with _styled():
        figure, panels = _figure(2.1, 2)
        for axes, (title, ways) in zip(panels, _ways(row), strict=True):
            axes.set_title(title)
            _bars(axes, ways)
        _legend(figure, max(panels, key=lambda axes: len(axes.containers)))
        return _svg(figure, f"op{row.operator}", f"how many elements of operator {row.operator} differ by how much")


Ways = Sequence[tuple[int, str, Difference]]
"""(number of the runtime, its name, what differs)."""


def _ways(row: OperatorRow) -> tuple[tuple[str, Ways], tuple[str, Ways]]:
    alone = [(n, s.runtime, s.cause) for n, s in enumerate(row.runs) if s.cause is not None and s.cause.differing]
    drift = [(n, s.runtime, s.drift) for n, s in enumerate(row.runs) if s.drift is not None and s.drift.differing]
    return ("fed the base's own inputs", alone), ("end to end", drift)


def _bars(axes: Axes, ways: Ways) -> None:
    """Bars side by side, one colour a runtime."""
    steps = sorted({step for _, _, difference in ways for step, _ in difference.histogram})
    if not steps:
        axes.text(
            0.5, 0.5, "nothing differs" if not ways else "no steps to count", ha="center", transform=axes.transAxes
        )
        axes.set_axis_off()
        return
    floats = any(difference.ulps for _, _, difference in ways)
    edges = _bins(steps, floats, max(FEWEST_BINS, MOST_BARS // len(ways)))
    places = {step: number for number, group in enumerate(edges) for step in group}
    width = 0.84 / len(ways)
    counts = []
    for position, (number, name, difference) in enumerate(ways):
        found = [0] * len(edges)
        for step, count in difference.histogram:
            found[places[step]] += count
        shift = (position - (len(ways) - 1) / 2) * width
        xs = [x + shift for x in range(len(edges))]
        axes.bar(xs, found, width * 0.94, color=SERIES[number % len(SERIES)], label=_plain(name))
        counts += [count for count in found if count]
    if max(counts) >= LOGARITHMIC_FROM * min(counts):
        axes.set_yscale("log")
        axes.minorticks_off()
        axes.set_ylim(bottom=0.5)
    else:
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    grouped = any(len(group) > 1 for group in edges)
    every = -(-len(edges) // (MOST_LABELS // 2 if grouped else MOST_LABELS))
    axes.set_xticks(range(0, len(edges), every), [_label(group, floats) for group in edges[::every]])
    axes.set_xlim(-0.8, len(edges) - 0.2)
    axes.set_xlabel("distance in ulps, from" if floats else "steps from the base")
    axes.set_ylabel("elements")


def _bins(steps: list[int], floats: bool, most: int) -> list[list[int]]:
    """The steps one by one, with those between that none has; where they are many, in groups of neighbours."""
    largest = max(*map(abs, steps), 3)
    if not floats and 2 * largest < most:
        return [[step] for step in range(-largest, largest + 1)]
    size = -(-len(steps) // most)
    return [steps[start : start + size] for start in range(0, len(steps), size)]


def _label(group: list[int], floats: bool) -> str:
    """The steps of a bar; of floats the least distance that it counts: a step stands for what is below it."""
    if floats:
        low = max(group[0] // 2, 1)
        return str(low) if low < 1024 else f"$2^{{{low.bit_length() - 1}}}$"
    return str(group[0]) if not group[0] else f"{group[0]:+d}" if len(group) == 1 else f"{group[0]:+d}…{group[-1]:+d}"


def split_bars(comparison: RunComparison, way: str) -> str:
    """SQNR of each part of the error, layer by layer, the arithmetic in every runtime. way: "end_to_end", "alone"."""
    splits = comparison.splits
    layers = [number for number, layer in enumerate(splits[0].layers) if getattr(layer, way) is not None]
    others = [run.name for run in comparison.others]
    bars = [("weights", "weights", WEIGHTS, splits[0]), ("activations", "activations", ACTIVATIONS, splits[0])]

    def levels(part: str, split: ErrorSplit) -> list[float | None]:
        return [getattr(getattr(split.layers[number], way), part).sqnr_db for number in layers]

    for split in splits:
        colour = SERIES[others.index(split.runtime) % len(SERIES)] if split.runtime in others else BASE
        bars.append(("arithmetic", f"arithmetic: {_plain(split.runtime)}", colour, split))
    bars = [bar for bar in bars if any(level is not None for level in levels(bar[0], bar[3]))]
    width = 0.86 / max(len(bars), 1)
    with _styled():
        figure, (axes,) = _figure(2.8, below=0.62)
        for position, (part, label, colour, split) in enumerate(bars):
            shift = (position - (len(bars) - 1) / 2) * width
            told = [(x + shift, level) for x, level in enumerate(levels(part, split)) if level is not None]
            axes.bar([x for x, _ in told], [level for _, level in told], width * 0.92, color=colour, label=label)
        every = max(1, -(-len(layers) // ALL_LABELS))
        named = [splits[0].layers[number] for number in layers]
        names = [f"{layer.operator}\n{layer.op.replace('_', chr(10))}" for layer in named]
        axes.set_xticks(range(0, len(layers), every), names[::every], fontsize=7)
        axes.set_xlim(-0.7, len(layers) - 0.3)
        axes.set_ylabel("SQNR, dB (higher is better)")
        _legend(figure, axes)
        return _svg(figure, f"split-{way}", "signal over error of each part, layer by layer")
