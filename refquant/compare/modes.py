"""What a file is: the mode that it was converted in, in words, read from the types of its tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from refquant.compare.alignment import is_conversion, op_name
from refquant.compare.tensors import QUANTIZED_TYPES, form_of, has_scale, is_constant
from refquant.model.graph import Graph, Model, Operator
from refquant.program import ModelLike, as_model

MODES: Mapping[str, str] = MappingProxyType(
    {
        "float": "no number is quantized",
        "float16": "constants of half precision, widened while the model runs",
        "dynamic range": "quantized weights meet float activations",
        "quantization-aware": "a float model with the QUANTIZE and DEQUANTIZE pairs of fake quantization",
        "integer": "int8 activations and weights",
        "16x8": "int16 activations, int8 weights",
        "first-generation uint8": "uint8 activations and weights, each with a zero point",
        "mixed": "operators of several kinds",
        "no arithmetic": "no operator works on float or quantized numbers",
    }
)

# How an operator computes (see forms) -> the mode of a file in which all do.
MODE_OF_FORM: Mapping[str, str] = MappingProxyType(
    {"float": "float", "int8": "integer", "int16": "16x8", "uint8": "first-generation uint8"}
)
FLOATS = ("FLOAT32", "FLOAT64")


@dataclass(frozen=True, slots=True)
class Mode:
    """`name`: of MODES; `words`: with the types of inputs and outputs. `operators`: how many compute in which form.

    Forms: "float", "float with int8 weights", "int8", "int16", "uint8", "int8 to int16", "mixed".
    `float_ops`: what stays float in a file that is integer otherwise.
    """

    name: str
    words: str
    operators: Mapping[str, int]
    float_ops: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.words}: {MODES[self.name]}"


def mode_of(model: ModelLike) -> Mode:
    """The mode of a file. Errors: as reading a model."""
    loaded = as_model(model)
    found = [(form, op_name(operator)) for graph in loaded.graphs for operator, form in forms(loaded, graph)]
    counts = Counter(form for form, _ in found)
    kinds = {form.split(" with ")[0] for form in counts}
    kinds = {kind for kind in kinds if " to " not in kind} or kinds
    if not kinds:
        return Mode("no arithmetic", "no arithmetic", {})
    if kinds == {"float"}:
        name = _float_mode(loaded, counts)
        return Mode(name, name, dict(counts))
    name = MODE_OF_FORM.get(kinds.pop(), "mixed") if len(kinds) == 1 else "mixed"
    floats = tuple(sorted({op for form, op in found if form.startswith("float")}))
    return Mode(name, _with_borders(loaded, name, floats), dict(counts), floats)


def _float_mode(model: Model, counts: Mapping[str, int]) -> str:
    """Of a file in which every operator computes in float."""
    tensors = [(tensor, is_constant(model, tensor)) for graph in model.graphs for tensor in graph.tensors]
    if any(form != "float" for form in counts) or any(
        constant and tensor.type in QUANTIZED_TYPES and has_scale(tensor) for tensor, constant in tensors
    ):
        return "dynamic range"
    if any(operator.name == "QUANTIZE" for graph in model.graphs for operator in graph.operators):
        return "quantization-aware"
    return "float16" if any(constant and tensor.type == "FLOAT16" for tensor, constant in tensors) else "float"


def _with_borders(model: Model, name: str, floats: tuple[str, ...]) -> str:
    """ "integer only", "16x8 with float inputs and outputs", "mixed, with float inputs: SIN stays float"."""
    borders = [
        side
        for side, indices in (("inputs", model.graph.inputs), ("outputs", model.graph.outputs))
        if any(model.graph.tensors[index].type in FLOATS for index in indices)
    ]
    only = "integer only" if name == "integer" else f"{name}, integer only"
    words = f"{name} with float {' and '.join(borders)}" if borders else "mixed" if name == "mixed" else only
    if not floats:
        return words
    return f"{words}, {', '.join(floats)} {'stays' if len(floats) == 1 else 'stay'} float"


def forms(model: Model, graph: Graph) -> list[tuple[Operator, str]]:
    """(operator, with what numbers it computes) of all that work on float or quantized numbers.

    Integers that a table of constants gives and that are widened at once are no quantized activations.
    """
    quantized = _quantized_activations(model, graph)
    found = []
    for operator in graph.operators:
        form = "" if is_conversion(operator) else form_of(model, graph, operator)
        activations = {t for t in (*operator.inputs, *operator.outputs) if t >= 0} & quantized
        if form and not activations and not form.startswith("float"):
            form = f"float with {form} weights"
        elif form == "mixed":
            form = _between(graph, operator)
        if form:
            found.append((operator, form))
    return found


def _between(graph: Graph, operator: Operator) -> str:
    """ "int8 to int16" of an operator that gives another type of integers than it reads; "mixed" with floats in it."""
    read, given = (
        {
            graph.tensors[t].type
            for t in tensors
            if t >= 0 and has_scale(graph.tensors[t]) and not graph.tensors[t].buffer
        }
        for tensors in (operator.inputs, operator.outputs)
    )
    floats = any(graph.tensors[t].type in FLOATS for t in (*operator.inputs, *operator.outputs) if t >= 0)
    return "mixed" if floats or len(read) != 1 or len(given) != 1 else f"{read.pop()} to {given.pop()}".lower()


def _quantized_activations(model: Model, graph: Graph) -> set[int]:
    """Tensors of quantized inputs, of what a QUANTIZE gives, and of all that follows from these in integers."""
    known = {index for index in graph.inputs if has_scale(graph.tensors[index])}
    for operator in graph.operators:
        if operator.name == "QUANTIZE" or known & set(operator.inputs):
            known.update(
                t for t in operator.outputs if has_scale(graph.tensors[t]) and not is_constant(model, graph.tensors[t])
            )
    return known
