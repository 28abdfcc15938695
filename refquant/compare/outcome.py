"""What a quantizer makes of a float model and ranges, slot by slot, with its reasons: what an audit expects."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from refquant.compare.alignment import is_conversion, working_operators
from refquant.compare.arithmetics import Arithmetic
from refquant.compare.parameters import compare_parameters
from refquant.compare.sites import Decided, Site
from refquant.compare.tensors import has_scale, is_constant, parameters_of
from refquant.errors import InvalidInput, NotQuantizable
from refquant.model.graph import Graph, Model, Tensor
from refquant.quantizer.calibration import Calibration, TensorRange
from refquant.quantizer.legacy.arithmetic import INT16_MAX
from refquant.quantizer.parameters import INT8_MAX, INT8_MIN
from refquant.quantizer.propagate import Range
from refquant.quantizer.quantize import carried_out, decide
from refquant.quantizer.why import Why

# arithmetic -> the quantizer that has it; dynamic range leaves activations alone, so either will do
QUANTIZERS: Mapping[str, str] = MappingProxyType({"mlir": "mlir", "legacy": "legacy", "float64": "mlir"})

LIMITS = {"INT8": (INT8_MIN, INT8_MAX), "INT16": (-INT16_MAX, INT16_MAX)}  # what activations of these types hold
ANY_RANGE = (-1.0, 1.0)  # for tensors that are float in the file: which one it is makes no difference there

Slot = tuple[int, str]  # (position of an operator in the float model, "input 1")


@dataclass(frozen=True, slots=True)
class Options:
    """The options that a file shows to have been quantized with."""

    mode: str = "int8"
    input_type: str = "float32"
    output_type: str = "float32"
    per_channel: bool = True
    per_channel_dense: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """The model, why operators of the float model (by position) stay float, and what was decided about each slot."""

    model: Model
    floats: Mapping[int, str]
    slots: Mapping[Slot, Decided]


def outcome_of(model: Model, file: Model, ranges: Calibration, quantizer: str, options: Options) -> Outcome:
    """What the quantizer makes of the main graph, of its defects those that the file has: what is nearer to the file.

    Errors: NotQuantizable, InvalidInput.
    """

    def decided(reproduce_defects: bool) -> Any:
        return decide(
            model,
            ranges,
            options.mode,
            options.input_type,
            options.output_type,
            options.per_channel,
            options.per_channel_dense,
            quantizer=quantizer,
            reproduce_defects=reproduce_defects,
        )

    decision = decided(reproduce_defects=False)
    made = carried_out(model, decision, options.mode, quantizer)
    if getattr(decision, "avoided", ()):
        with suppress(NotQuantizable):
            reproduced = decided(reproduce_defects=True)
            with_defects = carried_out(model, reproduced, options.mode, quantizer)
            if _distance(with_defects, file) < _distance(made, file):
                decision, made = reproduced, with_defects
    whys = [(entry.tensor, entry.parameters, entry.why) for entry in decision.tensors]
    whys += [(request.tensor, request.parameters, request.why) for request in decision.requantize]
    reasons: dict[tuple[object, ...], Why] = {}
    for tensor, parameters, why in whys:
        q = parameters.quantization()
        reasons.setdefault((tensor, q.scale, q.zero_point), why)
    slots = {}
    positions = working_operators(model.graph), working_operators(made.graph)
    for position, other in zip(*positions, strict=True):
        mine, theirs = model.graph.operators[position], made.graph.operators[other]
        for word, old, new in (("input", mine.inputs, theirs.inputs), ("output", mine.outputs, theirs.outputs)):
            for number, (tensor, index) in enumerate(zip(old, new, strict=False)):
                if tensor >= 0 and index >= 0 and has_scale(made.graph.tensors[index]):
                    slots[position, f"{word} {number}"] = _decided(made.graph.tensors[index], tensor, reasons)
    floats = {entry.operator: str(entry.why) for entry in decision.float_operators}
    return Outcome(made, floats, slots)


def _distance(made: Model, file: Model) -> int:
    """How many slots, conversions and operators differ."""
    found = compare_parameters(made, file)
    return found.differing + len(found.conversion_differences) + len(found.operators)


def _decided(record: Tensor, tensor: int, reasons: Mapping[tuple[object, ...], Why]) -> Decided:
    q = parameters_of(record)
    why = reasons.get((tensor, q.scale, q.zero_point))
    return Decided(q, record.type, why is not None and why.kind == "calibrated", str(why or "requantized"))


# what a file shows


def has_quantized_activations(file: Model) -> bool:
    """Whether any computed or fed tensor of the file is quantized."""
    return any(
        has_scale(tensor) and not is_constant(file, tensor) and tensor.type in ("INT8", "UINT8", "INT16")
        for graph in file.graphs
        for tensor in graph.tensors
    )


def expected_outcome(
    original: Model,
    file: Model,
    sites: list[Site],
    row: Arithmetic,
    calibration: Calibration | None,
    kinds: Mapping[bool, bool],
) -> tuple[Outcome | None, str]:
    """(what the quantizer makes of these ranges, or of those that the file implies, or None; a note, why)."""
    if not has_quantized_activations(file):
        return None, "no activation of this file is quantized: only weights are looked at"
    forms = {site.form for site in sites}
    if "uint8" in forms or ("int16" in forms and not row.own_range):
        return None, f"activations are not int8, which {row.name} arithmetic needs: propagation is not looked at"
    ranges = calibration if calibration is not None else _implied(original, file, sites)
    per_channel = any(kinds.values()) or not kinds
    options = Options(
        "int16x8" if "int16" in forms else "int8",
        _border_type(original.graph, file.graph, "inputs"),
        _border_type(original.graph, file.graph, "outputs"),
        per_channel,
        per_channel and kinds.get(True, True),
    )
    try:
        return outcome_of(original, file, ranges, QUANTIZERS[row.name], options), ""
    except (NotQuantizable, InvalidInput) as error:
        return None, f"propagation is not looked at: {error}"


def _border_type(original: Graph, file: Graph, border: str) -> str:
    """The type that the file gave its float inputs or outputs; those without parameters stay float anyway."""
    pairs = zip(getattr(original, border), getattr(file, border), strict=False)
    types = {file.tensors[theirs].type for mine, theirs in pairs if original.tensors[mine].type == "FLOAT32"}
    return next((type_.lower() for type_ in ("INT8", "UINT8", "INT16") if type_ in types), "float32")


def _implied(original: Model, file: Model, sites: list[Site]) -> Calibration:
    """Ranges that have about the parameters of the file: enough to say what is int8, and where conversions stand.

    Those with which a tensor is made, before those with which it is read: a QUANTIZE may stand between.
    """
    graph, positions = original.graph, working_operators(original.graph)
    made = list(zip(graph.inputs, file.graph.inputs, strict=False))
    read: list[tuple[int, int]] = []
    for site in sites:
        operator = graph.operators[positions[site.number]]
        for operand in site.operands if site.subgraph == 0 else ():
            number = int(operand.slot.split()[1])
            if operand.is_result:
                made.append((operator.outputs[number], operand.tensor))
            else:
                read.append((operator.inputs[number], operand.tensor))
    ranges: dict[int, Range] = {}
    conversions = [operator for operator in reversed(file.graph.operators) if is_conversion(operator)]
    quantized = {o.inputs[0]: o.outputs[0] for o in conversions if o.name == "QUANTIZE"}
    for tensor, theirs in (*made, *read):
        is_made = file.graph.tensors[theirs].type in LIMITS
        limits = _implied_range(file.graph.tensors[theirs if is_made else quantized.get(theirs, theirs)])
        if limits is not None:
            ranges.setdefault(tensor, limits)
    for operator in graph.operators:
        for tensor in (*operator.inputs, *operator.outputs):
            ranges.setdefault(tensor, ANY_RANGE)
    floats = {
        index
        for index, tensor in enumerate(graph.tensors)
        if tensor.type == "FLOAT32" and not is_constant(original, tensor)
    }
    return Calibration(tuple(TensorRange(i, graph.tensors[i].name, *ranges[i]) for i in sorted(floats & set(ranges))))


def _implied_range(record: Tensor) -> Range | None:
    """About the range that a tensor's parameters came from: the largest and the smallest number they can hold."""
    q, limits = parameters_of(record), LIMITS.get(record.type)
    if limits is None or len(q.scale) != 1:
        return None
    scale, zero_point = q.scale[0], (q.zero_point or (0,))[0]
    with np.errstate(over="ignore"):
        low, high = (float(np.float32(scale * (limit - zero_point))) for limit in limits)
    return (low, high) if np.isfinite(low) and np.isfinite(high) and low <= high else None
