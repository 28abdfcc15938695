"""What each arithmetic makes of a file's constants, and which of them the file was made by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from refquant.arithmetic.fixed_point import INT32_MAX
from refquant.compare.arithmetics import ARITHMETICS, Arithmetic, Expected, Layer
from refquant.compare.report import Explanation
from refquant.compare.sites import Operand, Site
from refquant.compare.tensors import differing_elements, scale_bits
from refquant.model.graph import Array
from refquant.quantizer.parameters import Parameters

MAX_GUESSES = 200  # about scales that the file does not show
ABSURD = 1024  # times as wide or narrow as its parameters: so much the own range of a tensor cannot be


@dataclass(frozen=True, slots=True, eq=False)
class Explained:
    """What an arithmetic makes of an operator's weights and bias, and how many scales and elements of them differ."""

    expected: Expected
    scales_wrong: int
    elements_wrong: int

    @property
    def wrong(self) -> int:
        """Scales and elements."""
        return self.scales_wrong + self.elements_wrong


def choose(
    explained: Mapping[str, list[Explained | None]], named: str | None
) -> tuple[tuple[Explanation, ...], tuple[Arithmetic, ...]]:
    """How well each arithmetic explains the weights, and those that do best (or the one that is asked for)."""
    explanations = tuple(_explanation(name, [entry for entry in found if entry]) for name, found in explained.items())
    wrong = {e.arithmetic: e.scales_wrong + e.elements_wrong for e in explanations}
    best = [name for name in wrong if wrong[name] == min(wrong.values())] if named is None else [named]
    return explanations, tuple(row for row in ARITHMETICS if row.name in best)


def _explanation(name: str, found: list[Explained]) -> Explanation:
    return Explanation(
        name,
        len(found),
        sum(not entry.wrong for entry in found),
        sum(len(entry.expected.weights.scale) for entry in found),
        sum(entry.scales_wrong for entry in found),
        sum(entry.expected.integers.size for entry in found),
        sum(entry.elements_wrong for entry in found),
    )


def _wrong(weights: Operand, row: Arithmetic, expected: Expected) -> tuple[int, int]:
    """(scales, elements) that differ; elements by the file's scales, if that explains more."""
    assert weights.values is not None
    assert weights.integers is not None
    found = weights.found.scale
    elements = differing_elements(expected.integers, weights.integers)[0]
    if elements and scale_bits(expected.weights.scale) != scale_bits(found) and min(found) > 0:
        again = row.integers(weights.values, replace(expected.weights, scale=found))
        elements = min(elements, differing_elements(again, weights.integers)[0])
    scales = sum(x != y for x, y in zip(scale_bits(expected.weights.scale), scale_bits(found), strict=True))
    return scales, elements


def explain(site: Site, row: Arithmetic, sites: list[Site]) -> Explained | None:
    """By one arithmetic, with as many scales as the file has; None if it has others, or no weights."""
    weights, bias = site.with_role("weights"), site.with_role("bias")
    if weights is None or weights.values is None or weights.integers is None or not weights.values.size:
        return None
    values, count = weights.values, len(weights.found.scale)
    if weights.integers.shape != values.shape or weights.integers.dtype != np.int8 or not count:
        return None
    layer = Layer(values, None)
    if bias is not None and bias.found.scale and site.factors is not None and _fits(bias, weights):
        layer = replace(layer, bias=bias.values, input=_input_parameters(site.factors[0]))
    axes: list[int | None] = [None] if count == 1 else []
    if weights.axis is not None and count == values.shape[weights.axis]:
        axes.insert(0, weights.axis)
    best: Explained | None = None
    for axis, readers in product(axes, _readers(site, sites) if row.own_range else [()]):
        expected = row.expect(replace(layer, axis=axis, readers=readers))
        found = Explained(expected, *_wrong(weights, row, expected))
        best = found if best is None or found.wrong < best.wrong else best
        if not best.wrong:
            break
    return best


def _fits(bias: Operand, weights: Operand) -> bool:
    """Whether the bias is a vector of one value per channel of the weights."""
    if bias.values is None or weights.values is None or weights.axis is None:
        return False
    return bias.values.shape == (weights.values.shape[weights.axis],) and bias.values.size > 0


def _readers(site: Site, sites: list[Site]) -> list[tuple[tuple[Array, float], ...]]:
    """The bias and the input's own scale of every operator that reads the site's weights: guesses, the best first.

    Where the file does not show the input's own scale, it is guessed to be the one the input ends with, or one at which
    the bias enlarges one of the weight scales to what it is, as long as that is not absurd, or none that matters.
    """
    guesses: list[tuple[tuple[Array, float], ...]] = [()]
    for reader in sites:
        bias = reader.with_role("bias")
        if (reader.subgraph, reader.weights) != (site.subgraph, site.weights) or reader.factors is None:
            continue
        input_ = _input_parameters(reader.factors[0])
        if bias is None or bias.values is None or input_ is None or not _fits(bias, reader.factors[1]):
            continue
        known = reader.factors[0].own_scale
        scales = [known] if known is not None else [input_.scale[0], *_implied_scales(reader, bias.values, input_)]
        unguarded = [] if known is not None else guesses
        guesses = [(*guess, (bias.values, scale)) for scale in scales for guess in guesses]
        guesses = [*guesses[:MAX_GUESSES], *unguarded]
    return guesses


def _implied_scales(reader: Site, bias: Array, input_: Parameters) -> list[float]:
    """Input scales at which the old guard gives one of the file's weight scales: s = 2 |b| / (2^31 - 1) / s_w."""
    assert reader.factors is not None
    weights = reader.factors[1].found.scale
    largest = np.abs(bias.reshape(-1)).astype(np.float64)
    largest = largest.max(keepdims=True) if len(weights) == 1 else largest
    if len(largest) != len(weights) or not min(weights) > 0:
        return []
    guesses = np.unique((2 * largest / INT32_MAX / np.asarray(weights, np.float64)).astype(np.float32))
    exact = guesses.astype(np.float64)
    near = guesses[(exact > input_.scale[0] / ABSURD) & (exact < input_.scale[0] * ABSURD)]
    return [float(scale) for guess in near for scale in (guess, np.nextafter(guess, 0), np.nextafter(guess, np.inf))]


def _input_parameters(operand: Operand) -> Parameters | None:
    q = operand.found
    if operand.record.type not in ("INT8", "INT16") or len(q.scale) != 1:
        return None
    return Parameters(operand.record.type, q.scale, q.zero_point or (0,))


def granularities(sites: list[Site]) -> dict[bool, bool]:
    """{FULLY_CONNECTED or not: whether most weights of that kind have one scale per channel}."""
    votes: dict[bool, Counter[bool]] = {}
    for site in sites:
        weights = site.with_role("weights")
        if weights is None or weights.values is None or weights.axis is None or not weights.found.scale:
            continue
        if weights.values.shape[weights.axis] > 1:
            votes.setdefault(site.op == "FULLY_CONNECTED", Counter())[len(weights.found.scale) > 1] += 1
    return {kind: count[True] > count[False] for kind, count in votes.items() if count[True] != count[False]}
