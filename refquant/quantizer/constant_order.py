"""The order in which the converter leaves constants: a replay of how its rewriter moves them about.

Each time the rewriter starts it takes the constants to the front of the graph, one after another, except those that
stand in front already. It starts when every constant stands right before its first reader. Then conversions are put
behind float constants, and it starts again. Conversions that were for nothing become constants where they stand, and it
starts a last time. In the end the other conversions become constants where they stand.
Source: llvm-project, mlir/lib/Transforms/Utils/FoldUtils.cpp (OperationFolder::insertKnownConstant), run by
google-ai-edge/LiteRT, tflite/converter/transforms/prepare_quantize.cc and quantize.cc; checked against TensorFlow
2.21.0.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from itertools import takewhile

from refquant.model.graph import Graph
from refquant.quantizer.forms import Plan
from refquant.quantizer.propagate import Use

Item = tuple[str, int]  # (what stands there, its tensor or form); -1 where that does not matter

CONSTANTS = ("constant", "converted", "absent")  # "absent" stands for all absent operands


@dataclass(frozen=True, slots=True)
class ConstantOrder:
    """Forms of constants: `front` of the inputs' conversions, `behind` them, and those that were `put_back` to float32.

    The last ones are those of `front` that had parameters for nothing, in the order in which that turned out: the
    rewriter goes through the text from its end.
    """

    front: tuple[int, ...]
    behind: tuple[int, ...]
    put_back: tuple[int, ...]


def constants_in_order(graph: Graph, plan: Plan) -> ConstantOrder:
    """The order of the constants in the new model."""
    forms = {form.tensor: number for number, form in plan.forms.items() if form.made == "constant"}
    block: list[Item] = [("other", -1) for origin in plan.input_origins if origin == "spread"]
    for kind, tensor in _hoisted(_as_read(graph, plan), CONSTANTS):
        if kind == "constant" and tensor in plan.copies:
            block += _with_conversions(plan, tensor)
        elif kind != "other":
            block.append((kind, forms.get(tensor, -1)))
    block = [item for item in _hoisted(block, CONSTANTS) if item != ("converted", -1)]
    put_back = [form for kind, form in reversed(block) if kind == "dequantize"]
    block = _hoisted(block, (*CONSTANTS, "dequantize"))
    front = dict.fromkeys(form for kind, form in block if kind in ("constant", "dequantize"))
    behind = [form for kind, form in block if kind == "quantize"]
    return ConstantOrder(tuple(front), tuple(behind), tuple(put_back))


def operands_in_order(plan: Plan, operands: tuple[int, ...], put_back: tuple[int, ...]) -> tuple[int, ...]:
    """The operands of a commutative operator that stays float, once the converter has taken constants to the right.

    It does so each time an operand becomes a constant, from the first one that is a constant on.
    """
    constants = {form for form in operands if form >= 0 and plan.forms[form].made == "constant"} - set(put_back)
    for added in (-1, *put_back):
        constants |= {added} & {*operands}
        first = next((place for place, form in enumerate(operands) if form in constants), len(operands))
        rest = operands[first:]
        moved = tuple(form for form in rest if form in constants)
        operands = (*operands[:first], *(form for form in rest if form not in constants), *moved)
    return operands


def _as_read(graph: Graph, plan: Plan) -> list[Item]:
    """The graph's text as it is read: the inputs' ranges, and every constant right before its first reader."""
    block: dict[Item, None] = {("other", -1): None} if "range" in plan.input_origins else {}
    for position, operator in enumerate(graph.operators):
        for slot, tensor in enumerate(operator.inputs):
            block.update(_constant(plan, Use(position, slot)) if tensor >= 0 else {("absent", -1): None})
        block["other", position] = None
    for number in range(len(graph.outputs)):
        block.update(_constant(plan, Use(None, number)))
    return list(block)


def _constant(plan: Plan, use: Use) -> dict[Item, None]:
    form = plan.forms[plan.reads[use]]
    return {("constant", form.tensor): None} if form.made == "constant" else {}


def _hoisted(block: list[Item], constants: Container[str]) -> list[Item]:
    """What the rewriter makes of the text when it starts."""
    leading = list(takewhile(lambda item: item[0] in constants, block))
    rest = block[len(leading) :]
    moved = [item for item in rest if item[0] in constants]
    return [*reversed(moved), *leading, *(item for item in rest if item[0] not in constants)]


def _with_conversions(plan: Plan, tensor: int) -> list[Item]:
    """A constant with the conversions of those of its copies that have parameters; the copies have become one."""
    copies = plan.copies[tensor]
    untouched = next((form for form, has_parameters in copies if form >= 0 and not has_parameters), -1)
    converted = [form for form, has_parameters in copies if has_parameters]
    quantized = [form for form in converted if plan.forms[form].parameters is not None]
    items = [("constant", untouched) if untouched >= 0 else ("converted", max(quantized, default=-1))]
    return items + [("quantize" if form in quantized else "dequantize", form) for form in converted]
