"""From the ranges of fake-quantization nodes to what each QUANTIZE of the float file gives, not rounded to float32.

Most pairs of the file are of a node. The converter adds some of its own: behind a CONCATENATION one with the hull of
its operands' ranges, and behind operators that only move numbers one that repeats what stands before them.
Checked against TensorFlow 2.21.0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from refquant.errors import InvalidInput
from refquant.model.graph import Graph, Model
from refquant.quantizer.calibration import Calibration, Limits, TensorRange
from refquant.quantizer.parameters import Parameters
from refquant.quantizer.qat_parameters import fake_quantization, given_by_file

NO_RANGE = "the calibration holds no range of '{}', and none of those that it holds gives its scale and zero point"
OTHER_RANGE = "the range of '{}' does not give the scale and zero point that the file holds: it is of another node"


def filed(graph: Graph, quantized: int) -> Parameters:
    """The parameters of the result of a QUANTIZE as the file holds them."""
    tensor = graph.tensors[quantized]
    assert tensor.quantization is not None
    return given_by_file(tensor.quantization, tensor.type == "UINT8")


def is_rounded_to(exact: Parameters, filed: Parameters) -> bool:
    """Whether the file's parameters are these, with scales rounded to float32."""
    scales = [np.asarray(parameters.scale, np.float32) for parameters in (exact, filed)]
    return exact.zero_point == filed.zero_point and np.array_equal(scales[0], scales[1])


def by_range(filed: Parameters, low: float, high: float) -> Parameters | None:
    """The file's parameters with the scale in float64, from the node's range; None if that is of another node."""
    made = (fake_quantization([(low, high)], narrow) for narrow in (False, True))
    return next((parameters for parameters in made if is_rounded_to(parameters, filed)), None)


def by_scale(filed: Parameters, scale: Sequence[float]) -> Parameters | None:
    """The file's parameters with these scales; None if those are of another node."""
    if len(scale) != len(filed.scale):
        return None
    made = replace(filed, scale=tuple(scale))
    return made if is_rounded_to(made, filed) else None


def exact_parameters(model: Model, quantized: Iterable[int], calibration: Calibration) -> dict[int, Parameters]:
    """{result of a QUANTIZE: its parameters with scales in float64}.

    model: the float model with pairs. quantized: the results of its QUANTIZEs, in the order of the operators.
    Errors: InvalidInput, naming the tensor, for a range of something else, a wrong one or a missing one.
    """
    graph, wanted = model.graph, list(quantized)
    entries = calibration.entries_for(model)
    for tensor in sorted(entries.keys() - set(wanted)):
        raise InvalidInput(
            f"the calibration holds a range of '{graph.tensors[tensor].name}', which no QUANTIZE gives; with mode "
            "'qat' it must hold those of the fake-quantization nodes"
        )
    ranges = {tensor: (entry.min, entry.max) for tensor, entry in entries.items()}
    exact = {tensor: _of_entry(graph, tensor, entries[tensor]) for tensor in wanted if tensor in entries}
    for tensor in wanted:
        if tensor not in exact:
            exact[tensor], ranges[tensor] = _derived(graph, tensor, exact, ranges)
    return exact


def _of_entry(graph: Graph, tensor: int, entry: TensorRange) -> Parameters:
    held = filed(graph, tensor)
    made = by_scale(held, entry.scale) if entry.scale else by_range(held, entry.min, entry.max)
    if made is None:
        raise InvalidInput(OTHER_RANGE.format(graph.tensors[tensor].name))
    return made


def _derived(
    graph: Graph, tensor: int, exact: Mapping[int, Parameters], ranges: Mapping[int, Limits]
) -> tuple[Parameters, Limits]:
    """(parameters, range) of a pair that is of no node."""
    held, hull = filed(graph, tensor), _hull(graph, tensor, ranges)
    made = None if hull is None else by_range(held, *hull)
    if hull is not None and made is not None:
        return made, hull
    alike = {parameters.scale: other for other, parameters in exact.items() if is_rounded_to(parameters, held)}
    if len(alike) != 1:
        raise InvalidInput(NO_RANGE.format(graph.tensors[tensor].name))
    (other,) = alike.values()
    return exact[other], ranges[other]


def _hull(graph: Graph, tensor: int, ranges: Mapping[int, Limits]) -> Limits | None:
    """Behind a CONCATENATION: from the least to the largest end of its operands' ranges."""
    producers = {result: operator for operator in graph.operators for result in operator.outputs}
    joined = producers.get(producers[tensor].inputs[0])
    if joined is None or joined.name != "CONCATENATION":
        return None
    pairs = [producers[operand].inputs[0] for operand in joined.inputs if operand in producers]
    known = [ranges[pair] for pair in pairs if pair in ranges]
    return (min(low for low, _ in known), max(high for _, high in known)) if known else None
