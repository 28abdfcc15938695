"""What the tensors of a file were called before the converter made their names unique.

Tensors claim names in the order of the file, and a taken name gets the next free number behind it. So the numbers of a
file tell how often a name had been claimed before, and without them one can claim the names in another order.
Source: google-ai-edge/LiteRT, tflite/converter/flatbuffer_export.cc (UniqueName); checked against TensorFlow 2.21.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from refquant.model.graph import Graph, Model
from refquant.quantizer.names import Names

NAMED_AFTER = {"FULLY_CONNECTED": 1, "TRANSPOSE_CONV": 0}  # the operand beside which an absent one claims a name


@dataclass(frozen=True, slots=True)
class Absent:
    """The absent operand stands before or behind the constant `beside`, and claims a name."""

    beside: int
    name: str
    before: bool


@dataclass(frozen=True, slots=True)
class BaseNames:
    """Of one subgraph: tensor -> the name without its number. Those named by the interface alone have none.

    `absent`: of the absent operand of one operator; that of several operators has no name.
    """

    names: Mapping[int, str]
    absent: Absent | None


def is_entry(model: Model, graph: int) -> bool:
    """Whether the subgraph's inputs and outputs are named by the interface: not those of a WHILE's body."""
    return graph == 0 or any(signature.subgraph == graph for signature in model.signatures)


def base_names(model: Model) -> tuple[BaseNames, ...]:
    """The names of every subgraph's tensors as they were before numbers were put behind."""
    names, found = Names(), []
    for number, graph in enumerate(model.graphs):
        interface = (*graph.inputs, *graph.outputs) if is_entry(model, number) else ()
        for tensor in dict.fromkeys(interface):
            names.set(graph.tensors[tensor].name)
        absent = _absent_operand(graph, frozenset(interface))
        bases = {}
        for tensor, entry in enumerate(graph.tensors):
            if absent is not None and absent.beside == tensor and absent.before:
                names.claim(absent.name)
            if tensor not in interface:
                bases[tensor] = base = _base(entry.name, names)
                names.claim(base)
            if absent is not None and absent.beside == tensor and not absent.before:
                names.claim(absent.name)
        found.append(BaseNames(bases, absent))
    return tuple(found)


def _base(name: str, names: Names) -> str:
    """The name without its number, if the number is the one that comes next; of several the name that is shortest.

    Const_11 alone is the twelfth constant of a TensorFlow graph, not the second Const_1.
    """
    stem = name.rstrip("0123456789")
    if stem.rsplit("/", maxsplit=1)[-1] == "Const_":
        return name
    for length in range(max(len(stem), 1), len(name)):
        if names.would_be(name[:length]) == name:
            return name[:length]
    return name


def _absent_operand(graph: Graph, interface: frozenset[int]) -> Absent | None:
    """The name of the one operator with an absent operand, which the operand claims beside another constant.

    That is the weights of FULLY_CONNECTED, or the output shape of TRANSPOSE_CONV. The numbers behind the constant's and
    the result's names tell that it does, and whether before the constant.
    """
    readers = [o for o in graph.operators if -1 in o.inputs or (o.name == "TRANSPOSE_CONV" and len(o.inputs) < 4)]
    if len(readers) != 1 or readers[0].name not in NAMED_AFTER:
        return None
    constant, result = readers[0].inputs[NAMED_AFTER[readers[0].name]], readers[0].outputs[0]
    name = graph.tensors[constant].name
    taken = {tensor.name for tensor in graph.tensors}  # not by the operand, then: the number is the constant's own
    before = name.endswith("1") and not name.endswith("_1") and name[:-1] not in taken
    base = name[:-1] if before else name
    told = graph.tensors[result].name == f"{base}2"
    unknown = result in interface or readers[0].name == "TRANSPOSE_CONV"
    return Absent(constant, base, before) if (told or (unknown and before)) and constant not in interface else None
