"""Which kernel a random model meets: the op, the types that pick it, and what the converter tells apart within them."""

from __future__ import annotations

from collections.abc import Mapping

from refquant.kernels.kernel import KernelTable
from refquant.kernels.table import TYPE_OPERAND, WEIGHT_OPERAND
from refquant.model.graph import Model

# Kernels of which no model can be drawn: refquant refuses all of them, or the runtime does.
NOT_DRAWN: Mapping[str, str] = {
    "SUM INT16": "LiteRT's kernel leaves half of the output unwritten, refquant refuses it",
}

# Ops whose hybrid kernel has one form of weights: LiteRT reads behind the array of scales, or the first scale only.
WAYS: Mapping[str, tuple[str, ...]] = {
    "DEPTHWISE_CONV_2D": ("per channel",),
    "RNN": ("per tensor",),
    "SVDF": ("per tensor",),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": ("per tensor",),
    "UNIDIRECTIONAL_SEQUENCE_RNN": ("per tensor",),
}
BOTH_WAYS = ("per tensor", "per channel")

HALF = "FLOAT32 with FLOAT16 constants"
WEIGHTS = "FLOAT32xINT8"


def op_of(check: str) -> str:
    """The op that the name of a check begins with."""
    return check.replace(",", " ").split()[0]


def kernel_of(model: Model) -> str:
    """The op and the type of a one-operator model, as kernels_of names them.

    Where float32 meets int8 weights, also whether these have one scale; float32 with float16 constants, widened by a
    DEQUANTIZE, is a type of its own.
    """
    graph = model.graph
    *before, operator = graph.operators

    def type_of(place: int) -> str:
        at = operator.inputs[place] if place < len(operator.inputs) else -1
        return graph.tensors[at].type if at >= 0 else ""

    type, name = type_of(TYPE_OPERAND.get(operator.name, 0)), operator.name
    weights = type_of(WEIGHT_OPERAND[name]) if name in WEIGHT_OPERAND else type
    if any(step.name == "DEQUANTIZE" and graph.tensors[step.inputs[0]].type == "FLOAT16" for step in before):
        return f"{name} {HALF}"
    if weights == type:
        return f"{name} {type}"
    q = graph.tensors[operator.inputs[WEIGHT_OPERAND[name]]].quantization
    if f"{type}x{weights}" != WEIGHTS or q is None:
        return f"{name} {type}x{weights}"
    ways = WAYS.get(name, BOTH_WAYS)
    return f"{name} {type}x{weights} {ways[0] if len(q.scale) == 1 else ways[-1]}"


def kernels_of(table: KernelTable) -> dict[str, list[str]]:
    """op -> what kernel_of calls its kernels, where models of them can be drawn."""
    named = {op: [name for type in types for name in _names(op, type)] for op, types in table.items()}
    return {op: [name for name in names if name not in NOT_DRAWN] for op, names in named.items()}


def _names(op: str, type: str) -> list[str]:
    if type != WEIGHTS:
        return [f"{op} {type}"]
    return [f"{op} {type} {way}" for way in WAYS.get(op, BOTH_WAYS)]
