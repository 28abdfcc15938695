"""The op rule table in the form of the published page: per op its operands and results, each in the page's four words.

The page: "LiteRT 8-bit quantization specification", https://ai.google.dev/edge/litert/models/quantization_spec (in the
repository tensorflow/tensorflow it was tensorflow/lite/g3doc/performance/quantization_spec.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from types import EllipsisType, MappingProxyType

from refquant.quantizer.rules import OP_RULES, PER_TENSOR, REQUANTIZE, OpRule

ONE_SCALE = "Input and outputs must all have same scale/zero_point"
REQUANTIZATION = "QUANTIZE (Requantization)"  # the page's last section: what the converter puts between two scales


@dataclass(frozen=True, slots=True)
class Entry:
    """What the page says of one operand or result; `restriction` is empty where it says none."""

    data_type: str = "int8"
    range: str = "[-128, 127]"
    granularity: str = "per-tensor"
    restriction: str = ""

    def __str__(self) -> str:
        return ", ".join(filter(None, (f"{self.data_type} {self.range}", self.granularity, self.restriction)))


@dataclass(frozen=True, slots=True)
class Section:
    """One op of the page. `entries`: "Input 0", "Input 1 (Weight)", "Input ...", "Output 0" -> what it says of it."""

    op: str
    entries: Mapping[str, Entry]
    restriction: str = ""

    def __str__(self) -> str:
        lines = [self.op]
        for place, entry in self.entries.items():
            lines.append(f"  {place}:")
            for field in fields(entry):
                word = getattr(entry, field.name)
                lines += [f"    {field.name:<11}: {word}"] if word else []
        if self.restriction:
            lines.append(f"  restriction: {self.restriction}")
        return "\n".join(lines)


def section(op: str, rule: OpRule) -> Section:
    """One row of the table as a section of the page."""
    inputs = {_place("Input", operand, rule): _input(operand, rule) for operand in _positions(rule.inputs)}
    outputs = {_place("Output", result, rule): _output(rule) for result in _positions(rule.outputs)}
    return Section(op, MappingProxyType({**inputs, **outputs}), ONE_SCALE if rule.same_scale else "")


def sections() -> Mapping[str, Section]:
    """The whole page that the table makes: every op that may become int8, and the requantization."""
    rules = {op: rule for op, rule in OP_RULES.items() if rule.quantizable} | {REQUANTIZATION: REQUANTIZE}
    return MappingProxyType({op: section(op, rule) for op, rule in rules.items()})


def _positions(positions: tuple[int, ...] | EllipsisType) -> tuple[int | None, ...]:
    return (None,) if isinstance(positions, EllipsisType) else positions


def _place(word: str, position: int | None, rule: OpRule) -> str:
    role = ""
    if word == "Input" and rule.weights is not None and position == rule.weights.operand:
        role = " (Weight)"
    if word == "Input" and rule.bias is not None and position == rule.bias.operand:
        role = " (Bias)"
    return f"{word} {'...' if position is None else position}{role}"


def _input(position: int | None, rule: OpRule) -> Entry:
    weights, bias = rule.weights, rule.bias
    per_axis = weights is not None and weights.axis != PER_TENSOR
    if weights is not None and position == weights.operand:
        granularity = f"per-axis (dim = {weights.axis})" if per_axis else "per-tensor"
        return Entry("int8", "[-127, 127]", granularity, "zero_point = 0")
    if bias is not None and position == bias.operand:
        other, own = sorted(bias.factors, key=lambda factor: weights is not None and factor == weights.operand)
        product = f"input{other}_scale * input{own}_scale[...]"
        granularity = "per-axis" if per_axis else "per-tensor"
        return Entry("int32", "[int32_min, int32_max]", granularity, f"(scale, zero_point) = ({product}, 0)")
    return Entry()


def _output(rule: OpRule) -> Entry:
    fixed = rule.fixed_output
    if fixed is None:
        return Entry()
    steps = 128 if fixed.zero_point == 0 else 256  # of the positive half, or of the whole range
    return Entry(restriction=f"(scale, zero_point) = ({fixed.scale * steps:.1f} / {steps:.1f}, {fixed.zero_point})")


# comparing with the page


@dataclass(frozen=True, slots=True, order=True)
class Difference:
    """One place where two pages differ, with what each says there; "" where it says nothing."""

    op: str
    place: str
    page: str
    table: str


def differences(page: Mapping[str, Section], table: Mapping[str, Section]) -> Iterator[Difference]:
    """Op by op, operand by operand, word by word."""
    for op in {**page, **table}:
        if op not in page or op not in table:
            yield Difference(op, "op", "int8" if op in page else "", "int8" if op in table else "")
            continue
        here, there = page[op], table[op]
        for place in {**here.entries, **there.entries}:
            yield from _entry_differences(op, place, here.entries.get(place), there.entries.get(place))
        if here.restriction != there.restriction:
            yield Difference(op, "restriction", here.restriction, there.restriction)


def _entry_differences(op: str, place: str, page: Entry | None, table: Entry | None) -> Iterator[Difference]:
    if page is None or table is None:
        yield Difference(op, place, str(page or ""), str(table or ""))
        return
    for field in fields(Entry):
        words = getattr(page, field.name), getattr(table, field.name)
        if words[0] != words[1]:
            yield Difference(op, f"{place}: {field.name}", *words)
