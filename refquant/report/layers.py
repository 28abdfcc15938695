"""The picture of a model's layers: one row an operator, edges between them, and a cell for what each runtime did there.

Only the layout: where everything stands, in pixels. The template draws it.
"""

from __future__ import annotations

from dataclasses import dataclass

from refquant.compare.runs import OperatorRun, RunComparison
from refquant.model.graph import Graph, Tensor
from refquant.report.words import level, seen_in_words, share, shown

ROW, BOX = 26, 20  # height of a row, and of the box in it
NODE, CELL, GAP = 300, 62, 14  # widths of an operator, of a cell, and between runtimes
LANE, ARC_ROUND = 11, 6  # width of a lane for edges that pass over rows, and how round they turn
HEAD = 46  # height of what stands above the rows
MOST_LANES = 9

WAYS = (("cause", "alone"), ("drift", "end to end"))


@dataclass(frozen=True, slots=True)
class Node:
    """A row: an input, an operator or an output. `anchor`: the place of the page that tells more, "" for none."""

    kind: str
    label: str
    detail: str
    anchor: str
    title: str
    y: int


@dataclass(frozen=True, slots=True)
class Cell:
    """What one runtime did in one operator in one way. `level`: how much of it differs, as words.level; -1: unknown."""

    x: int
    y: int
    level: int
    text: str
    title: str


@dataclass(frozen=True, slots=True)
class Head:
    """A runtime's name above its two columns."""

    x: int
    text: str
    title: str


@dataclass(frozen=True, slots=True)
class Layers:
    """The whole picture. `left`: where the operators begin; `edges`: paths in the words of SVG."""

    width: int
    height: int
    left: int
    heads: tuple[Head, ...]
    nodes: tuple[Node, ...]
    cells: tuple[Cell, ...]
    edges: tuple[str, ...]
    stems: tuple[tuple[int, int], ...]


def layers(comparison: RunComparison) -> Layers:
    """The rows are the main graph's inputs, operators and outputs, in order."""
    graph = comparison.model.graph
    rows = _rows(comparison)
    pairs = _edges(graph, len(rows))
    lanes = _lanes([pair for pair in pairs if pair[1] - pair[0] > 1])
    left = LANE * (max(lanes.values(), default=-1) + 2)
    first = left + NODE + GAP
    step = 2 * CELL + GAP
    heads = tuple(
        Head(first + number * step + CELL, shown(run.name, 24), shown(run.name))
        for number, run in enumerate(comparison.others)
    )
    cells = tuple(
        _cell(seen, what, first + number * step + column * CELL, _top(len(graph.inputs) + row.operator))
        for row in comparison.operators
        for number, seen in enumerate(row.runs)
        for column, (what, _) in enumerate(WAYS)
    )
    return Layers(
        first + len(comparison.others) * step,
        _top(len(rows)) + 4,
        left,
        heads,
        rows,
        cells,
        tuple(_arc(pair, lane, left) for pair, lane in lanes.items()),
        tuple((_top(a) + BOX, _top(b)) for a, b in pairs if b - a == 1),
    )


def _top(row: int) -> int:
    return HEAD + ROW * row


def _rows(comparison: RunComparison) -> tuple[Node, ...]:
    graph = comparison.model.graph
    differing = {
        row.operator for row in comparison.operators for seen in row.runs if seen.cause is not None and seen.differs
    }
    told: list[tuple[str, str, str, str, str]] = []
    for index in graph.inputs:
        tensor = graph.tensors[index]
        told.append(("input", f"input {shown(tensor.name, 24)}", _form(tensor), "", shown(tensor.name)))
    for row in comparison.operators:
        form = _form(graph.tensors[row.outputs[0]]) if row.outputs else ""
        anchor = f"op-{row.operator}" if row.operator in differing else f"row-{row.operator}"
        told.append(("operator", f"{row.operator}  {row.op}", form, anchor, shown(row.name)))
    for index in graph.outputs:
        tensor = graph.tensors[index]
        told.append(("output", f"output {shown(tensor.name, 24)}", _form(tensor), "", shown(tensor.name)))
    return tuple(Node(*words, _top(number)) for number, words in enumerate(told))


def _form(tensor: Tensor) -> str:
    return f"{'×'.join(map(str, tensor.shape)) or 'scalar'} {tensor.type.lower()}"


def _cell(seen: OperatorRun, what: str, x: int, y: int) -> Cell:
    difference = getattr(seen, what)
    text = "?" if difference is None else share(difference)
    return Cell(x, y, -1 if difference is None else level(difference), text, shown(seen_in_words(seen, what), 400))


def _edges(graph: Graph, rows: int) -> list[tuple[int, int]]:
    """(row that gives, row that reads), each once."""
    given = {index: number for number, index in enumerate(graph.inputs)}
    edges: dict[tuple[int, int], None] = {}
    for number, operator in enumerate(graph.operators, len(graph.inputs)):
        edges.update(((given[index], number), None) for index in operator.inputs if index in given)
        given.update((index, number) for index in operator.outputs)
    start = rows - len(graph.outputs)
    outputs = ((given[index], start + position) for position, index in enumerate(graph.outputs) if index in given)
    edges.update((pair, None) for pair in outputs)
    return sorted(edges)


def _lanes(pairs: list[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """The lane in which each edge passes over rows: the first that is free all the way, short edges first."""
    lanes: dict[tuple[int, int], int] = {}
    for pair in sorted(pairs, key=lambda pair: (pair[1] - pair[0], pair)):
        taken = {lane for other, lane in lanes.items() if other[0] < pair[1] and pair[0] < other[1]}
        free = next(lane for lane in range(len(taken) + 1) if lane not in taken)
        lanes[pair] = min(free, MOST_LANES - 1)
    return lanes


def _arc(pair: tuple[int, int], lane: int, left: int) -> str:
    x, r = left - LANE * (lane + 1), ARC_ROUND
    top, bottom = _top(pair[0]) + BOX - 5, _top(pair[1]) + 6
    return f"M{left} {top}H{x + r}Q{x} {top} {x} {top + r}V{bottom - r}Q{x} {bottom} {x + r} {bottom}H{left - 3}"
