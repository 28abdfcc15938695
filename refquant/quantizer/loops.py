"""Constants that a loop shares with the main graph: until the end of the conversion they are one constant there.

Then the loop's subgraphs are made of the operator's regions: constants are put into them again, and what is computed,
as a constant behind a DEQUANTIZE is, is handed in as an operand of WHILE.
Source: google-ai-edge/LiteRT, tflite/converter/transforms/tf_legalizations/while_loop_outline_pass.cc; checked against
TensorFlow 2.21.0.
"""

from __future__ import annotations

from dataclasses import replace

from refquant.model.graph import Graph, Model, Operator
from refquant.quantizer.base_names import BaseNames, base_names, is_entry
from refquant.quantizer.names import JOINED


def shared_constants(model: Model, number: int, bases: tuple[BaseNames, ...]) -> dict[int, int]:
    """Constants of a loop's body or condition -> the main graph's constant that each was: of the same name and data."""
    if is_entry(model, number):
        return {}

    def constants(graph: int) -> dict[tuple[str, str, tuple[int, ...], bytes], int]:
        tensors = model.graphs[graph].tensors
        known = [(base, index, tensors[index]) for index, base in bases[graph].names.items() if tensors[index].buffer]
        return {
            (base, tensor.type, tensor.shape, model.buffers[tensor.buffer]): index
            for base, index, tensor in known
            if model.buffers[tensor.buffer] and base != JOINED
        }

    main = constants(0)
    return {index: main[constant] for constant, index in constants(number).items() if constant in main}


def handed_in(model: Model) -> Model:
    """The model with the float32 constants that loops share as operands of WHILE. Indices of tensors stay."""
    bases, graphs = base_names(model), list(model.graphs)
    for position, operator in enumerate(model.graph.operators):
        if operator.name == "WHILE":
            _hand_in(model, graphs, bases, position, operator)
    return replace(model, graphs=tuple(graphs))


def _hand_in(
    model: Model, graphs: list[Graph], bases: tuple[BaseNames, ...], position: int, operator: Operator
) -> None:
    condition = operator.options.get("cond_subgraph_index", 0)
    body = operator.options.get("body_subgraph_index", 0)
    found: dict[int, dict[int, int]] = {}  # the main graph's constant -> subgraph -> its constant there
    for number in (condition, body):
        shared = shared_constants(model, number, bases)
        for tensor in (tensor for other in graphs[number].operators for tensor in other.inputs):
            if tensor in shared and graphs[number].tensors[tensor].type == "FLOAT32":
                found.setdefault(shared[tensor], {})[number] = tensor
    for constant, places in found.items():
        for number in (condition, body):
            graphs[number] = _with_argument(graphs[number], graphs[0], constant, places.get(number), number == body)
        name = next((bases[0].names[t] for t in operator.outputs if t in bases[0].names), "while")
        result = replace(graphs[0].tensors[constant], name=name, buffer=0)
        operators = list(graphs[0].operators)
        old = operators[position]
        outputs = (*old.outputs, len(graphs[0].tensors))
        operators[position] = replace(old, inputs=(*old.inputs, constant), outputs=outputs)
        graphs[0] = replace(graphs[0], tensors=(*graphs[0].tensors, result), operators=tuple(operators))


def _with_argument(graph: Graph, main: Graph, constant: int, place: int | None, is_passed_on: bool) -> Graph:
    """The subgraph with one input more, in place of its own constant; a body gives it back."""
    argument = replace(main.tensors[constant], name=f"{graph.name}_arg{len(graph.inputs)}", buffer=0)
    tensors = list(graph.tensors)
    if place is None:
        place = len(tensors)
        tensors.append(argument)
    else:
        tensors[place] = argument
    return replace(
        graph,
        tensors=tuple(tensors),
        inputs=(*graph.inputs, place),
        outputs=(*graph.outputs, place) if is_passed_on else graph.outputs,
    )
