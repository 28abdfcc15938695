"""The order in which the converter leaves constants: a replay of how its rewriter moves them about.

It starts when every constant stands right before its first reader. Then conversions are put behind float constants, and
it starts again. Conversions that were for nothing become constants where they stand, and it starts a last time. In the
end the other conversions become constants where they stand.
Source: google-ai-edge/LiteRT, tflite/converter/transforms/quantize.cc; checked against TensorFlow 2.21.0.
"""

from __future__ import annotations

from dataclasses import dataclass

from refquant.quantizer.forms import Plan
from refquant.quantizer.hoisting import CONSTANTS, Item, hoisted
from refquant.quantizer.propagate import Use


@dataclass(frozen=True, slots=True)
class ConstantOrder:
    """Forms of constants: `front` of the inputs' conversions, `behind` them, and those that were `put_back` to float32.

    The last ones are those of `front` that had parameters for nothing, in the order in which that turned out: the
    rewriter goes through the text from its end.
    """

    front: tuple[int, ...]
    behind: tuple[int, ...]
    put_back: tuple[int, ...]


def constants_in_order(plan: Plan) -> ConstantOrder:
    """The order of the constants in the new model."""
    forms = {form.tensor: number for number, form in plan.forms.items() if form.made == "constant"}
    states = {form.tensor: number for number, form in plan.forms.items() if form.made == "variable"}
    settled = {plan.forms[form].tensor: form for form in plan.settled.values()}
    block: list[Item] = [("other", -1) for origin in plan.input_origins if origin == "spread"]
    for kind, tensor in plan.constants:
        if kind == "settled":
            form = plan.settled[tensor]
            block.append(("dequantize" if plan.forms[form].parameters is None else "quantize", form))
        elif kind == "constant" and tensor in settled and tensor not in plan.copies:
            block.append(("converted", settled[tensor]))
        elif kind == "constant" and tensor in plan.copies:
            block += _with_conversions(plan, tensor)
        elif kind != "other":
            block.append(("converted", -1) if tensor in states else (kind, forms.get(tensor, -1)))
    block = [item for item in hoisted(block) if item != ("converted", -1)]
    put_back = [form for kind, form in reversed(block) if kind == "dequantize"]
    block += _float_states(plan)
    block = hoisted(list(dict.fromkeys(block)), (*CONSTANTS, "dequantize"))  # equal constants become one first
    front = dict.fromkeys(form for kind, form in block if kind in ("constant", "dequantize"))
    behind = [form for kind, form in block if kind == "quantize"]
    return ConstantOrder(tuple(front), tuple(behind), tuple(put_back))


def _float_states(plan: Plan) -> list[Item]:
    """States that stay float32 stand right before their operators, behind the inputs' conversions."""
    block: list[Item] = []
    for use, form in sorted((use, f) for use, f in plan.reads.items() if plan.forms[f].made == "variable"):
        if plan.forms[form].parameters is None:
            between = use.operator != 0 or "range" in plan.input_origins
            block += [("other", -1), ("dequantize", form)] if between else [("dequantize", form)]
    return block


def operands_in_order(
    plan: Plan, position: int, operands: tuple[int, ...], put_back: tuple[int, ...]
) -> tuple[int, ...]:
    """The operands of a commutative operator that stays float, once the converter has taken constants to the right.

    It does so each time an operand becomes a constant, from the first one that is a constant on.
    """
    late = {form for slot, form in enumerate(operands) if Use(position, slot) in plan.in_vain}
    constants = {form for form in operands if form >= 0 and plan.forms[form].made == "constant"} - late
    for added in (-1, *put_back):
        constants |= {added} & late
        first = next((place for place, form in enumerate(operands) if form in constants), len(operands))
        rest = operands[first:]
        moved = tuple(form for form in rest if form in constants)
        operands = (*operands[:first], *(form for form in rest if form not in constants), *moved)
    return operands


def _with_conversions(plan: Plan, tensor: int) -> list[Item]:
    """A constant with the conversions of those of its copies that have parameters; the copies have become one."""
    copies = plan.copies[tensor]
    untouched = next((form for form, has_parameters in copies if form >= 0 and not has_parameters), -1)
    converted = [form for form, has_parameters in copies if has_parameters]
    quantized = [form for form in converted if plan.forms[form].parameters is not None]
    items = [("constant", untouched) if untouched >= 0 else ("converted", max(quantized, default=-1))]
    return items + [("quantize" if form in quantized else "dequantize", form) for form in converted]
