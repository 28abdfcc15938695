"""Operators with a memory, LSTM and SVDF: what is quantized in them and how, for both of the converter's quantizers.

Their gates hold values that no operand shows. The converter adds a tensor for each of them ("intermediate"), has the
calibrator measure them, and keeps their parameters in the new model for the runtime to read. Biases take scales that
follow from other operands and from intermediates.
Source: google-ai-edge/LiteRT, tflite/converter/tools/optimize/operator_property.cc (GetOperatorProperty),
tflite/tools/optimize/quantization_wrapper_utils.cc (AddIntermediateTensorsToFusedOp); checked against TensorFlow
2.21.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from refquant.errors import NotQuantizable
from refquant.model.graph import Graph, Model, Operator, Tensor
from refquant.model.validation import operator_place

LSTM_OPS = ("LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM")
MEMORY_OPS = (*LSTM_OPS, "SVDF")
BASIC_LSTM_OPERANDS = 5  # this form of LSTM stays float
FULL_LSTM_OPERANDS = (20, 24)  # operands 20 to 23 are those of layer normalization
INTERMEDIATES = 5  # of an LSTM: the sums in its four gates, and what its output gate lets through
HIDDEN = 4  # the last of them
INTERMEDIATE_NAMES = (
    "input_to_input_intermediate",
    "input_to_forget_intermediate",
    "input_to_cell_intermediate",
    "input_to_output_intermediate",
    "effective_hidden_scale_intermediate",
)
LAYER_NORM_FACTOR = 2.0**-10


@dataclass(frozen=True, slots=True)
class Operand:
    """One operand that is quantized.

    `axis`: one scale per index of this dimension, None for one scale. `bits`, of a constant: 8 is [-127, 127] in int8,
    16 is [-32767, 32767], 10 is [-512, 512] in int16, 32 is int32 with a scale that follows: the product of those of
    the operands `factors`, of the `intermediates` and of `factor`. `state`: a variable that is quantized where it
    stands; one of 16 bits becomes int16 with zero point 0, its range extended to a power of two if `power_of_two`.
    """

    slot: int
    axis: int | None = None
    bits: int = 8
    factors: tuple[int, ...] = ()
    state: bool = False
    intermediates: tuple[int, ...] = ()
    factor: float = 1.0
    power_of_two: bool = False


@dataclass(frozen=True, slots=True)
class Recipe:
    """What one operator asks for.

    `operands`: in the order in which they are quantized. `intermediates`: the bits of each; 8 is asymmetric like an
    activation, 16 symmetric. `one_range`: (operand, result) that share the union of their ranges, the state that an
    LSTM reads and writes and its output.
    """

    operands: tuple[Operand, ...]
    intermediates: tuple[int, ...] = ()
    one_range: tuple[int, int] | None = None


# The parts of an LSTM, each with the operands that are quantized if it is there. Gates: input, forget, cell, output.
INPUT, WEIGHTS, PEEPHOLES, PROJECTION, LAYER_NORM = 0, range(1, 9), (9, 10, 11), 16, range(20, 24)
OUTPUT_STATE, CELL_STATE = 18, 19
LSTM_PARTS: Mapping[str, tuple[Operand, ...]] = MappingProxyType(
    {
        "always": (Operand(INPUT), *map(Operand, WEIGHTS)),
        "peephole": tuple(Operand(slot, bits=16) for slot in PEEPHOLES),
        "projection": (Operand(PROJECTION),),
        "cell state": (Operand(CELL_STATE, bits=16, state=True, power_of_two=True),),
        "layer norm": tuple(Operand(slot, bits=16) for slot in LAYER_NORM),
        "biases": tuple(Operand(12 + gate, bits=32, factors=(INPUT, 1 + gate)) for gate in range(4)),
        "biases, layer norm": tuple(
            Operand(12 + gate, bits=32, factors=(20 + gate,), factor=LAYER_NORM_FACTOR) for gate in range(4)
        ),
        "projection bias": (Operand(17, bits=32, factors=(PROJECTION,), intermediates=(HIDDEN,)),),
    }
)

SVDF = Recipe(
    (
        Operand(0),
        Operand(1),
        Operand(2, bits=10),
        Operand(4, bits=16, state=True),
        Operand(3, bits=32, factors=(2, 4)),
    )
)


def recipe_of(operator: Operator) -> Recipe | None:
    """The operator's recipe; None if it has no memory, or is an LSTM of the basic form."""
    if operator.name == "SVDF":
        return SVDF
    if operator.name not in LSTM_OPS or len(operator.inputs) not in FULL_LSTM_OPERANDS:
        return None
    parts = LSTM_PARTS
    layer_norm = _has(operator, 21)
    projection = _has(operator, PROJECTION)
    operands = (
        *parts["always"],
        *(parts["peephole"] if _has(operator, PEEPHOLES[-1]) else ()),
        *(parts["projection"] if projection else ()),
        *parts["cell state"],
        *(parts["layer norm"] if layer_norm else ()),
        *parts["biases, layer norm" if layer_norm else "biases"],
        *(parts["projection bias"] if projection else ()),
    )
    gates = 16 if layer_norm else 8
    return Recipe(operands, (gates, gates, gates, gates, 8), (OUTPUT_STATE, 0))


def _has(operator: Operator, slot: int) -> bool:
    return slot < len(operator.inputs) and operator.inputs[slot] >= 0


def uses_layer_norm(operator: Operator) -> bool:
    """Whether the LSTM normalizes the sums in its gates: only then are these measured, and their scales read."""
    return _has(operator, 21)


def uses_projection(operator: Operator) -> bool:
    """Whether the LSTM projects what its output gate lets through."""
    return _has(operator, PROJECTION)


def check_memories(model: Model) -> None:
    """NotQuantizable for an LSTM that is neither of the basic nor of the full form, or what has no result."""
    for position, operator in enumerate(model.graph.operators):
        if operator.name in LSTM_OPS and len(operator.inputs) not in (BASIC_LSTM_OPERANDS, *FULL_LSTM_OPERANDS):
            place = operator_place(0, position, operator)
            raise NotQuantizable(f"{place}: an LSTM has 5, 20 or 24 operands, not {len(operator.inputs)}")
        if operator.name in MEMORY_OPS and not operator.outputs:
            raise NotQuantizable(f"{operator_place(0, position, operator)}: it has no result")


def _check_intermediates(graph: Graph) -> None:
    for position, operator in enumerate(graph.operators):
        recipe, held = recipe_of(operator), operator.intermediates
        if held and "LSTM" not in operator.name:
            place = operator_place(0, position, operator)
            raise NotQuantizable(f"{place}: it has intermediate tensors {list(held)}, which only an LSTM may have")
        if recipe is not None and recipe.intermediates and (len(held) != INTERMEDIATES or min(held) < 0):
            place = operator_place(0, position, operator)
            raise NotQuantizable(f"{place}: an LSTM has {INTERMEDIATES} intermediate tensors, not {list(held)}")


def with_intermediates(model: Model) -> Model:
    """The model with a tensor for each value inside an LSTM that calibration measures, unless it has such tensors.

    They stand behind all others: "intermediate_0_4" is the last of operator 0's.
    Errors: NotQuantizable where some LSTMs have them and others do not, or another number of them.
    """
    graph = model.graph
    if any(operator.intermediates for operator in graph.operators):
        _check_intermediates(graph)
        return model
    tensors, operators = list(graph.tensors), list(graph.operators)
    for position, operator in enumerate(graph.operators):
        recipe = recipe_of(operator)
        if recipe is not None and recipe.intermediates:
            added = tuple(range(len(tensors), len(tensors) + INTERMEDIATES))
            tensors += [Tensor(f"intermediate_{position}_{number}", "FLOAT32", (0,)) for number in range(INTERMEDIATES)]
            operators[position] = replace(operator, intermediates=added)
    if len(tensors) == len(graph.tensors):
        return model
    return model.with_graph(replace(graph, tensors=tuple(tensors), operators=tuple(operators)))
