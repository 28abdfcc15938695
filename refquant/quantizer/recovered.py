"""The ranges behind a quantized file: those that the old quantizer left in it, else what scales and zero points tell.

A range that was left is the calibrated one, widened to 0. Of an int8 tensor without it, [s (-128 - z), s (127 - z)] is
known to the rounding of the zero point: it gives the same int8 parameters again, which is checked, but in int16, where
the larger end alone counts, another scale.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from refquant.errors import InvalidInput, NotQuantizable
from refquant.model.graph import Graph, Model, Quantization, Tensor
from refquant.program import ModelLike, as_model
from refquant.quantizer.calibration import Calibration, TensorRange
from refquant.quantizer.parameters import INT8_MAX, INT8_MIN, activation_parameters

SUFFIXES = ("_int8", "_int16")  # of the old quantizer, beside float inputs and outputs
STEPS = 3  # float32 steps around an end within which the range that gives the same parameters is looked for


@dataclass(frozen=True, slots=True)
class Recovered:
    """`calibration`: the ranges. Names of tensors: `left`, whose range was in the file; `inverted`, whose range follows
    from scale and zero point and gives these again; `inexact`, whose range follows but does not give them; `missing`.
    """

    calibration: Calibration
    left: tuple[str, ...]
    inverted: tuple[str, ...]
    inexact: tuple[str, ...]
    missing: tuple[str, ...]


def recover_ranges(float_model: ModelLike, quantized: ModelLike) -> Recovered:
    """The ranges of the float model's computed tensors and inputs, from an int8 file that was made of it, by name.

    Errors: InvalidInput if no tensor of the file tells a range.
    """
    original, file = as_model(float_model), as_model(quantized)
    twins = _twins(file)
    kinds: dict[str, list[str]] = {"left": [], "inverted": [], "inexact": [], "missing": []}
    found = []
    for index, name in _activations(original):
        kind, limits = _range_of(twins.get(name))
        kinds[kind].append(name)
        if limits is not None:
            found.append(TensorRange(index, name, *limits))
    if not found:
        raise InvalidInput("no tensor of the quantized model has the name of a float tensor and a range or int8 scale")
    return Recovered(Calibration(tuple(found)), *(tuple(names) for names in kinds.values()))


def _activations(model: Model) -> Iterator[tuple[int, str]]:
    graph = model.graph
    known = dict.fromkeys((*graph.inputs, *(t for operator in graph.operators for t in operator.outputs)))
    return ((index, graph.tensors[index].name) for index in known if graph.tensors[index].type == "FLOAT32")


def _twins(file: Model) -> dict[str, Tensor]:
    """Name -> the quantized tensor of that name, or the one on the other side of its conversion."""
    graph = file.graph
    twins = {tensor.name: tensor for tensor in graph.tensors if _has_scale(tensor)}
    for suffix in SUFFIXES:
        for name, tensor in list(twins.items()):
            if name.endswith(suffix):
                twins.setdefault(name.removesuffix(suffix), tensor)
    for float_, integer in _conversions(graph):
        if _has_scale(graph.tensors[integer]):
            twins.setdefault(graph.tensors[float_].name, graph.tensors[integer])
    return twins


def _conversions(graph: Graph) -> Iterator[tuple[int, int]]:
    """(float, integer) tensors of every QUANTIZE and DEQUANTIZE."""
    for operator in graph.operators:
        if operator.name == "QUANTIZE":
            yield operator.inputs[0], operator.outputs[0]
        elif operator.name == "DEQUANTIZE":
            yield operator.outputs[0], operator.inputs[0]


def _has_scale(tensor: Tensor) -> bool:
    q = tensor.quantization
    return q is not None and tensor.type in ("INT8", "INT16") and len(q.scale) == 1 and bool(q.zero_point)


def _range_of(twin: Tensor | None) -> tuple[str, tuple[float, float] | None]:
    """(kind, range)."""
    if twin is None or twin.quantization is None:
        return "missing", None
    q = twin.quantization
    if len(q.min) == len(q.max) == 1:
        return "left", (q.min[0], q.max[0])
    if twin.type != "INT8":
        return "missing", None
    limits = inverted_range(q)
    if not np.isfinite(limits).all():
        return "missing", None
    return ("inverted" if _gives(limits, q) else "inexact"), limits


def inverted_range(q: Quantization) -> tuple[float, float]:
    """[s (-128 - z), s (127 - z)] in float32, or the nearest range that gives exactly the same int8 parameters."""
    scale, zero_point = np.float32(q.scale[0]), q.zero_point[0]
    with np.errstate(over="ignore"):
        low, high = (np.float32(scale * np.float32(code - zero_point)) for code in (INT8_MIN, INT8_MAX))
    if not np.isfinite((low, high)).all():
        return float(low), float(high)
    around = sorted(
        product(range(-STEPS, STEPS + 1), repeat=2), key=lambda steps: (abs(steps[0]) + abs(steps[1]), steps)
    )
    for steps in around:
        limits = _moved(low, steps[0]), _moved(high, steps[1])
        if _gives(limits, q):
            return limits
    return float(low), float(high)


def _moved(end: np.float32, steps: int) -> float:
    """So many float32 values further; an end of 0 stays, as every range holds 0."""
    for _ in range(abs(steps) if end else 0):
        end = np.nextafter(end, np.float32(np.inf if steps > 0 else -np.inf))
    return float(end)


def _gives(limits: tuple[float, float], q: Quantization) -> bool:
    if not limits[0] <= 0 <= limits[1]:
        return False
    try:
        again = activation_parameters(*limits)
    except NotQuantizable:
        return False
    return (again.quantization().scale, again.zero_point) == (q.scale, q.zero_point)
