"""Constants and inputs that several operators read: where the old quantizer's one tensor for all would be wrong.

It quantizes a tensor in place, as its first quantized reader asks, whatever the others ask. Here a constant that is
asked for in several ways gets a copy for each, and an input that a float operator reads first is quantized before all.
"""

from __future__ import annotations

from dataclasses import dataclass

from refquant.quantizer.legacy.draft import (
    Draft,
    Step,
    avoid,
    constant,
    copy_of_constant,
    has_buffer,
    in_words,
    is_per_channel,
    is_quantizable,
    is_real,
    operator_name,
    replace_operand,
    row_of,
)
from refquant.quantizer.legacy.properties import OpProperty
from refquant.quantizer.legacy.ranges import present_biases
from refquant.quantizer.recurrent import Operand

AS_PRODUCT = "a product"  # the scale of a bias of an LSTM or SVDF, which each such operand has to itself
AS_FLOAT, AS_BIAS = "float32", "a bias"  # the ways of reading a constant that are no way of quantizing it in place


@dataclass(frozen=True, slots=True)
class Reading:
    """One operand that is a float constant. `way`: how its operator takes it; equal ways can share a tensor."""

    index: int  # of the operator in the draft
    slot: int
    way: str


def way_of_constant(draft: Draft, step: Step, row: OpProperty, operand: Operand, tensor: int) -> str:
    """How the operator quantizes a constant: "int16", "int10", "product", "int8", or "int8 on dim N"."""
    as_activation = draft.activation.converts_constants and (row.same_scale or row.constants_as_activations)
    if as_activation or operand.bits == 16:
        return "int16"
    if operand.bits != 8:
        return {10: "int10", 32: "product"}[operand.bits]
    axis, shape = operand.axis or 0, draft.tensors[tensor].shape
    one_channel = axis < len(shape) and shape[axis] == 1
    return f"int8 on dim {axis}" if is_per_channel(draft, step, operand) and not one_channel else "int8"


def operands_of(draft: Draft, step: Step, row: OpProperty | None) -> tuple[Operand, ...]:
    """The operands that are quantized, or, of an operator that stays float, read as floats."""
    if row is None or row.any_operands:
        return tuple(map(Operand, range(len(step.operator.inputs))))
    return row.operands if draft.choices.reproduce_defects else (*row.operands, *row.forgotten)


def separate_constants(draft: Draft) -> None:
    """Gives each way of reading a constant a tensor of its own; the first way that is quantized keeps the old one."""
    readings: dict[int, list[Reading]] = {}
    for index, step in enumerate(draft.steps):
        for slot, tensor in enumerate(step.operator.inputs):
            if tensor >= 0 and draft.tensors[tensor].type == "FLOAT32" and has_buffer(draft, tensor):
                readings.setdefault(tensor, []).append(Reading(index, slot, _way(draft, step, slot, tensor)))
    for tensor, uses in readings.items():
        if len({use.way for use in uses}) > 1:
            _separate(draft, tensor, uses)


def _way(draft: Draft, step: Step, slot: int, tensor: int) -> str:
    if operator_name(draft, step) is None or not is_real(draft, step) or not is_quantizable(draft, step):
        return AS_FLOAT
    row = row_of(step)
    assert row is not None
    if slot in row.biases:
        return AS_BIAS
    operand = next((operand for operand in operands_of(draft, step, row) if operand.slot == slot), None)
    way = AS_FLOAT if operand is None else way_of_constant(draft, step, row, operand, tensor)
    if way == "product" and constant(draft, tensor, step).any():  # zeros suit every scale
        return f"{AS_PRODUCT} at operand {slot} of {in_words(step)}"
    return way


def _separate(draft: Draft, tensor: int, uses: list[Reading]) -> None:
    in_place = next((use for use in uses if use.way not in (AS_FLOAT, AS_BIAS)), None)
    kept = AS_BIAS if in_place is None else in_place.way
    copies: dict[str, int] = {}
    for use in uses:
        # A float operator behind the first quantized one gets a DEQUANTIZE anyway, but of a bias, which comes last.
        late = use.way == AS_FLOAT and in_place is not None and use.index > in_place.index
        step = draft.steps[use.index]
        # Weights may have one scale as well; only a bias insists on several.
        coarse = kept == "int8" and use.way.startswith("int8 on") and not present_biases(step)
        if use.way == kept or late or coarse:
            continue
        if use.way not in copies:
            copies[use.way] = copy_of_constant(draft, tensor)
        other = draft.steps[in_place.index] if in_place is not None else None
        avoid(draft, *_defect(draft, use, kept, tensor, step, other), tensor)
        replace_operand(draft, use.index, use.slot, copies[use.way])


def _defect(
    draft: Draft, use: Reading, kept: str, tensor: int, step: Step, other: Step | None
) -> tuple[str, Step, str]:
    name = f"its operand '{draft.tensors[tensor].name}' would be"
    if use.way == AS_FLOAT:
        return "legacy-quantized-under-a-reader", step, f"{name} {kept} under it, and it reads floats"
    first = "another operator" if other is None else in_words(other)
    key = "legacy-bias-in-a-join" if use.way == AS_BIAS else "legacy-weights-on-another-axis"
    if use.way.startswith(AS_PRODUCT):
        key = "legacy-shared-bias"
    return key, step, f"{name} {kept}, as {first} asks, and not {use.way}"


def inputs_read_first_by_float_operators(draft: Draft) -> list[tuple[int, Step]]:
    """Graph inputs that a quantized operator reads after a float operator did, with that float operator."""
    found = []
    for tensor in dict.fromkeys(draft.inputs):
        readers = [
            (step, way)
            for step in draft.steps
            for slot, read in enumerate(step.operator.inputs)
            if read == tensor and (way := _way_of_input(draft, step, slot))
        ]
        ways = [way for _, way in readers]
        if draft.tensors[tensor].type == "FLOAT32" and "quantized" in ways and ways[0] == AS_FLOAT:
            found.append((tensor, readers[0][0]))
    return found


def _way_of_input(draft: Draft, step: Step, slot: int) -> str:
    if operator_name(draft, step) is None or not is_real(draft, step):
        return ""
    if not is_quantizable(draft, step):
        return AS_FLOAT
    operands = operands_of(draft, step, row_of(step))
    return "quantized" if any(operand.slot == slot and not operand.state for operand in operands) else ""
