"""A second implementation of the LSTM on int8: plain Python integers, one cell of one step of one sequence at a time.

Like slow.py, whose numbers it uses, it shares no code with refquant. An LSTM is a dictionary of its operands by name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from typing import Any

from slow import clamp, divide, f32, half_up, multiplier_of, nearest, rescale, wrap32

GATES = ("input", "forget", "cell", "output")
HALF_UP_OF = 16  # peephole products that the runtime rounds together


def wrap16(x: int) -> int:
    return (x + 2**15) % 2**16 - 2**15


def int16(x: int) -> int:
    return clamp(x, -(2**15), 2**15 - 1)


def times(a: int, b: int) -> int:
    """a * b / 2^15."""
    return min(half_up(Fraction(a * b, 2**15)), 2**15 - 1)


def constant(real: float, fractional_bits: int) -> int:
    """Of 16 bits, by way of 32."""
    return nearest(Fraction(nearest(Fraction(real) * 2 ** (fractional_bits + 16)), 2**16))


@cache
def exp16(x: int, integer_bits: int) -> int:
    """exp(x) as Q0.15 for x <= 0: Taylor on the last quarter, times exp(-1/4), exp(-1/2), ..."""
    if x == 0:
        return 2**15 - 1
    if integer_bits > 5 and x < -32 * 2 ** (15 - integer_bits):
        return 0
    quarter = 2 ** (13 - integer_bits)
    below = x % quarter - quarter
    a = below * 2**integer_bits + 2**12
    a2 = times(a, a)
    a3, a4 = times(a2, a), times(a2, a2)
    series = a + nearest(Fraction(times(nearest(Fraction(a4, 4)) + a3, constant(1 / 3, 15)) + a2, 2))
    eighth = constant(math.exp(-0.125), 15)
    result = int16(eighth + times(eighth, series))
    quarters = (below - x) // quarter
    for k in range(min(integer_bits + 2, 7)):
        if quarters >> k & 1:
            result = times(result, constant(math.exp(-(2.0 ** (k - 2))), 15))
    return result


def inverse_of_one_plus(power: int) -> int:
    """2 / (1 + power) as Q2.13."""
    half = nearest(Fraction(power + 2**15 - 1, 2))
    y = wrap16(constant(48 / 17, 13) + times(half, constant(-32 / 17, 13)))
    for _ in range(3):
        y = wrap16(y + int16(4 * times(y, wrap16(2**13 - times(half, y)))))
    return y


@cache
def logistic16(x: int) -> int:
    """1 / (1 + e^-x) as Q0.15 of Q3.12."""
    if x == 0:
        return 2**14
    positive = int16(2 * inverse_of_one_plus(exp16(-abs(x), 3)))
    return positive if x > 0 else 2**15 - 1 - positive


@cache
def tanh16(x: int, integer_bits: int) -> int:
    """tanh(x) as Q0.15."""
    if x == 0:
        return 0
    positive = int16(4 * wrap16(inverse_of_one_plus(exp16(-abs(x), integer_bits + 1)) - 2**13))
    return positive if x > 0 else -positive


def inverse_root(x: int) -> tuple[int, int]:
    """1 / sqrt(x) as multiplier and shift, by Newton's steps on x scaled into [1/4, 1)."""
    if x <= 1:
        return 2**31 - 1, 0
    shift = 11
    while x >= 2**29:
        x, shift = x // 4, shift + 1
    while x < 2**27:
        x, shift = x * 4, shift - 1
    x //= 2

    def product(a: int, b: int) -> int:
        return min(half_up(Fraction(a * b, 2**31)), 2**31 - 1)

    half, y = nearest(Fraction(x, 2)), 2**28
    for _ in range(5):
        cube = clamp(product(product(y, y), y) * 64, -(2**31), 2**31 - 1)
        y = clamp((product(2**28 + 2**27, y) - product(half, cube)) * 8, -(2**31), 2**31 - 1)
    y = product(y, nearest(math.sqrt(0.5) * 2**31))
    return (y * 2**-shift, 0) if shift < 0 else (y, -shift)


@dataclass
class Lstm:
    """The operands of one LSTM as nested lists; what is absent is None. `scales`: by operand's name."""

    options: dict[str, Any]
    scales: dict[str, float]
    zero_points: dict[str, int]
    weights: dict[str, list[list[int]] | None]
    recurrent: dict[str, list[list[int]] | None]
    peephole: dict[str, list[int] | None]
    bias: dict[str, list[int] | None]
    norm: dict[str, list[int] | None]
    projection: list[list[int]] | None
    projection_bias: list[int] | None
    normalized: bool
    exponent: int = field(init=False)

    def __post_init__(self) -> None:
        self.exponent = round(math.log2(self.scales["cell state"]))

    def gate_scale(self, gate: str) -> float:
        return self.scales[f"{gate} intermediate"] if self.normalized else 2.0**-12

    def factor(self, weights: str, codes: str, to: float) -> tuple[int, int]:
        return multiplier_of(f32(f32(self.scales[weights] * self.scales[codes]) / to))

    def limit(self, option: str, scale: float, largest: int) -> int:
        value = self.options.get(option, 0.0)
        return int(min(f32(value / scale), largest)) if value > 0 else 0

    def gate(self, name: str, x: list[int], h: list[int], c: list[int]) -> list[int]:
        """Before the activation."""
        scale, result = self.gate_scale(name), []
        for row, (w, r) in enumerate(zip(self.weights[name], self.recurrent[name], strict=True)):
            bias = 0 if self.normalized else self.bias[name][row]
            acc = bias + sum(a * (b - self.zero_points["input"]) for a, b in zip(w, x, strict=True))
            total = int16(rescale(wrap32(acc), *self.factor(f"{name} weights", "input", scale)))
            acc = sum(a * (b - self.zero_points["output state"]) for a, b in zip(r, h, strict=True))
            total = int16(rescale(acc, *self.factor(f"{name} recurrent", "output state", scale)) + total)
            result.append(total)
        return result

    def with_peephole(self, name: str, totals: list[list[int]], cells: list[list[int]]) -> list[list[int]]:
        """Of the sequences that are computed together. Weights are read in rows of as many cells as outputs."""
        weights, outputs = self.peephole.get(name), len(self.recurrent["output"][0])
        if weights is None:
            return totals
        real = f32(2.0**self.exponent * self.scales[f"{name} peephole"] / self.gate_scale(name))
        q, shift = multiplier_of(real)
        flat, cell = [v for row in totals for v in row], [v for row in cells for v in row]
        for i in range(len(totals) * outputs):
            product, place = weights[i % outputs] * cell[i], i % outputs
            if place < outputs // HALF_UP_OF * HALF_UP_OF:
                high = min(half_up(Fraction(wrap32(product * 2 ** max(shift, 0)) * q, 2**31)), 2**31 - 1)
                added = half_up(Fraction(high, 2 ** max(-shift, 0)))
            else:
                added = rescale(product, q, shift)
            flat[i] = int16(flat[i] + added)
        size = len(totals[0])
        return [flat[i * size : (i + 1) * size] for i in range(len(totals))]

    def normal(self, name: str, total: list[int]) -> list[int]:
        if not self.normalized:
            return total
        n, scale = len(total), self.scales[f"{name} norm"]
        mean = divide(sum(total) * 1024, n)
        variance = divide(sum(v * v for v in total) * (2**20 // n) - mean * mean, 2**20)
        inverse = inverse_root(variance if variance >= 1 else max(1, int(f32(10000 * scale))))
        q, shift = multiplier_of(scale)
        result = []
        for value, weight, bias in zip(total, self.norm[name], self.bias[name], strict=True):
            weighted = rescale(1024 * value - mean, *inverse) * weight + bias
            rounded = divide(weighted + (512 if weighted > 0 else -512), 1024)
            result.append(int16(rescale(wrap32(rounded), q, shift + 12)))
        return result

    def step(
        self, x: list[list[int]], h: list[list[int]], c: list[list[int]]
    ) -> tuple[list[list[int]], list[list[int]]]:
        """(output states, cell states) of the sequences that are computed together."""
        coupled = self.weights["input"] is None

        def activated(name: str, cells: list[list[int]]) -> list[list[int]]:
            totals = [self.gate(name, *each) for each in zip(x, h, cells, strict=True)]
            totals = [self.normal(name, total) for total in self.with_peephole(name, totals, cells)]
            return [[tanh16(v, 3) if name == "cell" else logistic16(v) for v in total] for total in totals]

        forget, new = activated("forget", c), activated("cell", c)
        add = [[2**15 - 1 - v for v in row] for row in forget] if coupled else activated("input", c)
        clip = self.limit("cell_clip", self.scales["cell state"], 2**15 - 1)
        c = [
            [self.updated(*values, clip) for values in zip(*rows, strict=True)]
            for rows in zip(c, forget, add, new, strict=True)
        ]
        out = activated("output", c)
        return [self.hidden(*rows) for rows in zip(out, c, add, strict=True)], c

    def updated(self, c: int, forget: int, add: int, new: int, clip: int) -> int:
        kept, added = nearest(Fraction(forget * c, 2**15)), nearest(Fraction(add * new) / 2 ** (30 + self.exponent))
        total = int16(wrap16(kept) + wrap16(added))
        return clamp(total, -clip, clip) if clip > 0 else total

    def hidden(self, out: list[int], c: list[int], add: list[int]) -> list[int]:
        """The output state; without a tanh for the cell's scale, of the input gate."""
        q, shift = multiplier_of(f32(2.0**-15 / self.scales["hidden"] * 2.0**-15))
        has_tanh, zero_point = 0 <= 15 + self.exponent <= 6, self.zero_points["hidden"]
        sign = -1 if self.projection is not None else 1
        codes = []
        for o, cell, i in zip(out, c, add, strict=True):
            value = rescale(o * (tanh16(cell, 15 + self.exponent) if has_tanh else i), q, shift)
            codes.append(clamp(value + sign * zero_point, -128, 127))
        if self.projection is None:
            return codes
        factor = self.factor("projection", "hidden", self.scales["output state"])
        clip, projected = self.limit("proj_clip", self.scales["output"], 127), []
        for row, weights in enumerate(self.projection):
            acc = sum(w * (code + zero_point) for w, code in zip(weights, codes, strict=True))
            acc += 0 if self.projection_bias is None else self.projection_bias[row]
            value = clamp(rescale(wrap32(acc), *factor) + self.zero_points["output state"], -128, 127)
            projected.append(clamp(value, -clip, clip) if clip > 0 else value)
        return projected


def lstm_of(model: Any) -> Lstm:
    """The one operator of a model."""
    (operator,), tensors = model.graph.operators, model.graph.tensors
    places = (*operator.inputs, *(-1,) * (24 - len(operator.inputs)))
    scales: dict[str, float] = {}
    zero_points: dict[str, int] = {}

    def named(tensor: int, name: str) -> Any:
        if tensor < 0:
            return None
        q, data = tensors[tensor].quantization, model.constant(tensors[tensor])
        scales[name], zero_points[name] = q.scale[0], q.zero_point[0]
        return None if data is None else data.tolist()

    def of_gates(first: int, what: str, gates: tuple[str, ...] = GATES) -> dict[str, Any]:
        return {gate: named(places[first + i], f"{gate} {what}") for i, gate in enumerate(gates)}

    for place, name in ((0, "input"), (18, "output state"), (19, "cell state")):
        named(places[place], name)
    named(operator.outputs[0], "output")
    for tensor, name in zip(
        operator.intermediates, (*(f"{gate} intermediate" for gate in GATES), "hidden"), strict=True
    ):
        named(tensor, name)
    return Lstm(
        dict(operator.options),
        scales,
        zero_points,
        of_gates(1, "weights"),
        of_gates(5, "recurrent"),
        of_gates(9, "peephole", ("input", "forget", "output")),
        of_gates(12, "bias"),
        of_gates(20, "norm"),
        named(places[16], "projection"),
        named(places[17], "projection bias"),
        places[21] >= 0,
    )


def run(model: Any, samples: list[Any]) -> list[Any]:
    """The output of each sample as nested lists, the states carried on. samples: arrays with tolist()."""
    lstm = lstm_of(model)
    outputs, cells = len(lstm.recurrent["output"][0]), len(lstm.weights["output"])
    time_major, result = lstm.options.get("time_major", False), []
    states: tuple[list[list[int]], list[list[int]]] | None = None
    for sample in samples:
        steps = sample.tolist() if time_major else list(zip(*sample.tolist(), strict=True))
        batch = len(steps[0])
        h, c = states or ([[lstm.zero_points["output state"]] * outputs] * batch, [[0] * cells] * batch)
        rows = []
        for x in steps:
            groups = [(x, h, c)] if time_major else [([a], [b], [d]) for a, b, d in zip(x, h, c, strict=True)]
            made = [lstm.step(*map(list, group)) for group in groups]
            h, c = ([row for group in made for row in group[which]] for which in (0, 1))
            rows.append(h)
        states = h, c
        result.append(rows if time_major else [list(row) for row in zip(*rows, strict=True)])
    return result
