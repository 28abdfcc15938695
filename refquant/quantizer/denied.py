"""Operators that the caller wants left in float: by op, or by the name of the tensor that an operator computes.

Source: google-ai-edge/LiteRT, tflite/converter/quantization/lite/quantize_model.cc (denylisted_ops, denylisted_nodes)
and tflite/converter/quantization/common/quantization_lib/quantization_utils.h (QuantizationPattern); checked against
TensorFlow 2.21.0: ops without regard to case, names as they stand. It compares a name with an operator's location,
which is the name of its result unless it has several, or unless a pattern joined it with the weights'.
"""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

from refquant.errors import InvalidInput
from refquant.model.graph import Graph
from refquant.model.schema import ENUM_VALUES
from refquant.quantizer.propagate import rule_of
from refquant.quantizer.why import Why

SHOWN = 3  # names that an error lists


def denied_operators(graph: Graph, ops: Collection[str], names: Collection[str]) -> dict[int, Why]:
    """Denied operators -> why. InvalidInput for an op that TFLite lacks, or a name that is no operator's result."""
    denied = _denied_by_op(graph, ops)
    for name in names:
        denied |= _denied_by_name(graph, name)
    return denied


def _denied_by_op(graph: Graph, ops: Collection[str]) -> dict[int, Why]:
    wanted = {op.upper() for op in ops}
    there = sorted({operator.name for operator in graph.operators})
    for op in ops:
        if op.upper() not in ENUM_VALUES["BuiltinOperator"]:
            raise InvalidInput(f"denied_ops: TFLite has no op '{op}'; the model has {', '.join(there)}")
    return {
        position: Why("denied op", f"the op {operator.name} is denied")
        for position, operator in enumerate(graph.operators)
        if operator.name in wanted
    }


def _denied_by_name(graph: Graph, name: str) -> dict[int, Why]:
    computed = [(position, tensor) for position, operator in enumerate(graph.operators) for tensor in operator.outputs]
    found = [(position, tensor) for position, tensor in computed if graph.tensors[tensor].name == name]
    if not found:
        results = list(dict.fromkeys(graph.tensors[tensor].name for _, tensor in computed))
        near = [other for other in results if name in other] or get_close_matches(name, results, SHOWN, 0.3) or results
        shown = ", ".join(f"'{other}'" for other in near[:SHOWN])
        raise InvalidInput(
            f"denied_names: no operator computes a tensor '{name}'; {len(results)} are there, as {shown}"
        )
    for position, _ in found:
        operator = graph.operators[position]
        lost = "which has several" if len(operator.outputs) > 1 else "whose name it loses with the weights'"
        if len(operator.outputs) > 1 or rule_of(operator).always is not None:
            raise InvalidInput(
                f"denied_names: '{name}' is a result of operator {position} ({operator.name}), {lost}: the converter "
                "does not find it by name; deny the op"
            )
    return {
        position: Why("denied name", f"its result '{name}' is denied", None, (tensor,)) for position, tensor in found
    }
