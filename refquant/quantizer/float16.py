"""The mode float16: every float32 constant that an operator reads in half precision, with a DEQUANTIZE behind it.

Activations and arithmetic stay float32. Source: google-ai-edge/LiteRT,
tflite/converter/transforms/prepare_quantize_dynamic_range.cc (convertToFloat16Constant); checked against TensorFlow
2.21.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from refquant.model.graph import Graph, Model
from refquant.quantizer.accepted import check_float
from refquant.quantizer.base_names import is_entry
from refquant.quantizer.loops import handed_in
from refquant.quantizer.propagate import Use
from refquant.quantizer.stored import (
    FIXED_OPTIONS,
    HALF,
    GraphPlan,
    Stored,
    StoredDecision,
    check_no_calibration,
    check_options,
    decision,
    float_constant,
    float_constants,
    uses_of,
)
from refquant.quantizer.why import Why


@dataclass(frozen=True, slots=True)
class Float16Options:
    """There is nothing to choose."""


def float16_options(**given: Any) -> Float16Options:
    """Errors: InvalidInput for an option that the mode has not."""
    check_options(given, {**FIXED_OPTIONS, "per_channel": True, "per_channel_dense": True})
    return Float16Options()


def decide_float16(model: Model, calibration: None = None, options: Float16Options | None = None) -> StoredDecision:
    """Which constants become float16, and why. Errors: NotQuantizable, InvalidInput for a calibration."""
    check_no_calibration(calibration)
    check_float(model)
    model = handed_in(model)
    plans = [GraphPlan(_stored(model, graph, is_entry(model, n)), {}) for n, graph in enumerate(model.graphs)]
    return decision(model, tuple(plans), float_constants(model, plans), (), half=True)


def _stored(model: Model, graph: Graph, entry: bool) -> tuple[Stored, ...]:
    """The constants that operators read, in the order of the tensors; results of a WHILE's body count as operators."""
    found = []
    uses = uses_of(graph)
    for tensor, record in enumerate(graph.tensors):
        readers: tuple[Use, ...] = tuple(u for u in uses.get(tensor, ()) if u.operator is not None or not entry)
        if readers and float_constant(model, record) is not None:
            why = Why("half", "a float32 constant", None, (tensor,))
            found.append(Stored(tensor, HALF, readers, dequantized=True, why=why))
    return tuple(found)
