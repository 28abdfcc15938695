"""How the converter's rewriter takes constants to the front of the graph, replayed on names.

Each time it starts it takes every constant there, one after another, except those that stand in front already.
Source: llvm-project, mlir/lib/Transforms/Utils/FoldUtils.cpp (OperationFolder::insertKnownConstant), run by
google-ai-edge/LiteRT, tflite/converter/transforms/prepare_quantize.cc and quantize.cc; checked against TensorFlow
2.21.0.
"""

from __future__ import annotations

from collections.abc import Container
from itertools import takewhile

from refquant.model.graph import Graph
from refquant.quantizer.propagate import Spread, Use

Item = tuple[str, int]  # (what stands there, its tensor or form); -1 where that does not matter

CONSTANTS = ("constant", "converted", "absent")  # "absent" stands for all absent operands


def hoisted(block: list[Item], constants: Container[str] = CONSTANTS) -> list[Item]:
    """What the rewriter makes of the graph's text when it starts; `constants`: the kinds that it moves."""
    leading = list(takewhile(lambda item: item[0] in constants, block))
    rest = block[len(leading) :]
    moved = [item for item in rest if item[0] in constants]
    return [*reversed(moved), *leading, *(item for item in rest if item[0] not in constants)]


def constants_as_read(graph: Graph, spread: Spread, input_has_range: bool) -> tuple[Item, ...]:
    """The constants, and what is no constant, once the graph has been read and the rewriter has started once.

    In the text that is read a constant stands right before its first reader; behind the inputs stand their ranges.
    """
    computed = {*graph.inputs, *(tensor for operator in graph.operators for tensor in operator.outputs)}
    block: dict[Item, None] = {("other", -1): None} if input_has_range else {}

    def read(tensor: int, use: Use) -> None:
        if tensor < 0:
            block["absent", -1] = None
        elif tensor not in computed:  # equal float constants are one
            block["constant", spread.slots[use].tensor if use in spread.slots else tensor] = None

    for position, operator in enumerate(graph.operators):
        for slot, tensor in enumerate(operator.inputs):
            read(tensor, Use(position, slot))
        block["other", position] = None
    for number, tensor in enumerate(graph.outputs):
        read(tensor, Use(None, number))
    return tuple(_with_settled(hoisted(list(block)), spread))


def _with_settled(block: list[Item], spread: Spread) -> list[Item]:
    """The same once weights of LSTM and SVDF operators have their conversions: hoisted again.

    The last operator comes first, and each conversion stands in front of those that its constant has already.
    """
    settled: dict[int, list[Item]] = {}
    numbers = [number for number, value in enumerate(spread.values) if value.settled]
    for number in sorted(numbers, key=lambda number: _from_the_end(spread, number)):
        settled.setdefault(spread.values[number].tensor, []).insert(0, ("settled", number))
    if not settled:
        return block
    return hoisted(
        [after for item in block for after in (item, *(settled.get(item[1], ()) if item[0] == "constant" else ()))]
    )


def _from_the_end(spread: Spread, number: int) -> tuple[int, int]:
    (use,) = spread.values[number].uses
    return -(use.operator or 0), use.operand
