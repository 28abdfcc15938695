"""Which operator of one model is which of another, whatever their tensors are called and wherever they convert.

Operators are numbered without QUANTIZE and DEQUANTIZE. If the lists of both models read alike, the k-th is the k-th;
else the longest common sequence is taken, of several the one in which most names and shapes agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refquant.model.graph import Graph, Operator

CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")
MAX_CELLS = 16_000_000  # of the table of common sequences, int32 each: above it, operators are paired by their numbers
EVIDENCE = np.array([0, 2, 1, 1], np.int32)  # what the same op, result name, result shapes and operand shapes add

Ids = NDArray[np.int32]  # (operators, 4): equal numbers stand for equal ops, names and shapes


@dataclass(frozen=True, slots=True)
class Alignment:
    """Pairs of numbers (of a, of b), rising in both; every other operator is one model's alone.

    `positions`: for each model, number -> position among all its operators. `by_number`: the lists were too long to
    be aligned and were paired by their numbers.
    """

    pairs: tuple[tuple[int, int], ...]
    positions: tuple[tuple[int, ...], tuple[int, ...]]
    by_number: bool = False

    @property
    def alone(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The numbers of a's operators that b has not, and of b's that a has not."""
        paired = {one for one, _ in self.pairs}, {other for _, other in self.pairs}
        first, second = (
            tuple(number for number in range(len(positions)) if number not in known)
            for positions, known in zip(self.positions, paired, strict=True)
        )
        return first, second


@dataclass(frozen=True, slots=True)
class Place:
    """A slot ("input 1", "output 0") of an operator, by its numbers in both models, or (None) of the graph."""

    operator: int | None
    operator_b: int | None
    op: str
    slot: str


def op_name(operator: Operator) -> str:
    """TFLite's name of the op; of a custom operator, its own name too."""
    return f"CUSTOM {operator.custom_code}" if operator.custom_code else operator.name


def is_conversion(operator: Operator) -> bool:
    """Whether it is a QUANTIZE or DEQUANTIZE of one tensor into one."""
    tensors = (*operator.inputs, *operator.outputs)
    one_of_each = len(operator.inputs) == len(operator.outputs) == 1
    return operator.name in CONVERSIONS and one_of_each and min(tensors) >= 0


def working_operators(graph: Graph) -> tuple[int, ...]:
    """The positions of the operators that are no conversions."""
    return tuple(index for index, operator in enumerate(graph.operators) if not is_conversion(operator))


def align(a: Graph, b: Graph) -> Alignment:
    """Which operators of two graphs are one and the same."""
    positions = working_operators(a), working_operators(b)
    known: dict[object, int] = {}
    x, y = _ids(a, positions[0], known), _ids(b, positions[1], known)
    if np.array_equal(x[:, 0], y[:, 0]):
        return Alignment(tuple((number, number) for number in range(len(x))), positions)
    start = _common(x, y)
    end = _common(x[start:][::-1], y[start:][::-1])
    middle = x[start : len(x) - end], y[start : len(y) - end]
    by_number = len(middle[0]) * len(middle[1]) > MAX_CELLS
    common = _same_numbers(*middle) if by_number else _longest(*middle)
    pairs = [(number, number) for number in range(start)]
    pairs += [(start + one, start + other) for one, other in common]
    pairs += [(len(x) - number, len(y) - number) for number in range(end, 0, -1)]
    return Alignment(tuple(pairs), positions, by_number)


def _ids(graph: Graph, positions: tuple[int, ...], known: dict[object, int]) -> Ids:
    def shapes(tensors: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        return tuple(graph.tensors[index].shape if index >= 0 else (-1,) for index in tensors)

    rows = []
    for position in positions:
        operator = graph.operators[position]
        names = tuple(graph.tensors[index].name for index in operator.outputs)
        features = (op_name(operator), ("", *names), shapes(operator.outputs), shapes(operator.inputs))
        rows.append([known.setdefault(feature, len(known)) for feature in features])
    return np.array(rows, np.int32).reshape(-1, len(EVIDENCE))


def _common(x: Ids, y: Ids) -> int:
    """How many operators at the beginning are the same in everything, so that pairing them can only be right."""
    size = min(len(x), len(y))
    differing = np.flatnonzero((x[:size] != y[:size]).any(axis=1))
    return int(differing[0]) if len(differing) else size


def _same_numbers(x: Ids, y: Ids) -> list[tuple[int, int]]:
    size = min(len(x), len(y))
    return [(int(number), int(number)) for number in np.flatnonzero(x[:size, 0] == y[:size, 0])]


def _longest(x: Ids, y: Ids) -> list[tuple[int, int]]:
    """The longest common sequence of ops; among those of one length, the one with most evidence."""
    pair = np.int32(EVIDENCE.sum() * (min(len(x), len(y)) + 1))  # one more pair outweighs all evidence
    table = np.zeros((len(x) + 1, len(y) + 1), np.int32)
    for i, row in enumerate(x):
        same = y == row
        worth = np.where(same[:, 0], pair + same @ EVIDENCE, 0)
        table[i + 1, 1:] = np.maximum.accumulate(np.maximum(table[i, 1:], (table[i, :-1] + worth) * same[:, 0]))
    pairs, i, j = [], len(x), len(y)
    while i and j:
        if table[i, j] == table[i - 1, j]:
            i -= 1
        elif table[i, j] == table[i, j - 1]:
            j -= 1
        else:
            i, j = i - 1, j - 1
            pairs.append((i, j))
    return pairs[::-1]


def slots(a: Graph, b: Graph, alignment: Alignment) -> Iterator[tuple[Place, tuple[int, int]]]:
    """(place, (tensor of a, tensor of b)) of the graphs' inputs and outputs and of all pairs; -1: absent."""
    for word, mine, theirs in (("graph input", a.inputs, b.inputs), ("graph output", a.outputs, b.outputs)):
        for number, pair in enumerate(zip(mine, theirs, strict=False)):
            yield Place(None, None, "", f"{word} {number}"), pair
    for one, other in alignment.pairs:
        first = a.operators[alignment.positions[0][one]]
        second = b.operators[alignment.positions[1][other]]
        words = [("input", first.inputs, second.inputs), ("output", first.outputs, second.outputs)]
        if first.intermediates and second.intermediates:  # a float model may lack them
            words.append(("intermediate", first.intermediates, second.intermediates))
        for word, mine, theirs in words:
            for slot in range(max(len(mine), len(theirs))):
                pair = (mine[slot] if slot < len(mine) else -1, theirs[slot] if slot < len(theirs) else -1)
                if pair != (-1, -1):
                    yield Place(one, other, op_name(first), f"{word} {slot}"), pair
