"""What an LSTM or SVDF fixes before parameters spread: its weights, what it reads and keeps, the values inside it.

Source: google-ai-edge/LiteRT, tflite/converter/transforms/prepare_quantize_helper.h (PrepareLstmOutputScale,
ConvertLstmStatsToQDQs, ConvertSvdfStatsToQDQs, GetLstmOpQuantSpec); checked against TensorFlow 2.21.0.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from dataclasses import dataclass, field

import numpy as np

from refquant.errors import NotQuantizable
from refquant.model.graph import Array, Graph, Model, Operator
from refquant.quantizer.parameters import INT8_MIN, NEAR_ZERO, Parameters, asymmetric, weight_parameters
from refquant.quantizer.recurrent import HIDDEN, Operand, Recipe, recipe_of, uses_layer_norm, uses_projection
from refquant.quantizer.rules import OP_RULES
from refquant.quantizer.why import Why, called

Range = tuple[float, float]
Place = tuple[int, int]  # (operator, operand or intermediate)
Settled = tuple[Parameters, Why]

NARROW_INT16 = 32767  # symmetric int16 uses [-32767, 32767]
INT10 = 512  # SVDF's time weights in int16
STATE_STEPS = 32768  # a state whose range is a power of two uses all of int16
NO_WIDTH = float(np.finfo(np.float64).eps)  # a symmetric range not wider than this gets the scale 1


@dataclass(frozen=True, slots=True)
class Memory:
    """`ranges`: of all tensors, those of an LSTM's output and of the state beside it being one.

    `tensors`: states, and activations that only need be non-empty to count. `weights`: (operator, operand). `inner`:
    (operator, intermediate).
    """

    ranges: dict[int, Range]
    tensors: dict[int, Settled] = field(default_factory=dict)
    weights: dict[Place, Settled] = field(default_factory=dict)
    inner: dict[Place, Settled] = field(default_factory=dict)


def settled_memory(
    model: Model, kept: Container[int], observed: Mapping[int, Range], measured: Mapping[int, Range]
) -> Memory:
    """What the LSTM and SVDF operators fix. kept: tensors whose range in `observed` counts; `measured`: all ranges.

    Errors: NotQuantizable for a state or an activation that is always zero.
    """
    memory = Memory({tensor: limits for tensor, limits in observed.items() if tensor in kept})
    recipes = [(position, recipe) for position, o in enumerate(model.graph.operators) if (recipe := recipe_of(o))]
    while any(_unite(model.graph.operators[position], recipe, memory.ranges) for position, recipe in recipes):
        pass  # a state of one may be the result of another
    for position, recipe in recipes:
        if _settle_inner(model.graph, position, recipe, measured, memory):
            _settle_operands(model, position, recipe, memory)
    return memory


def check_ranges(model: Model, ranges: Container[int]) -> None:
    """NotQuantizable if a state has no range, or what an LSTM projects.

    Without, the converter takes a state's from its count of states so far, and ends at the other.
    """
    graph = model.graph
    for position, operator in enumerate(graph.operators):
        recipe = recipe_of(operator)
        if recipe is None:
            continue
        slots = [operand.slot for operand in recipe.operands if operand.state]
        slots += [recipe.one_range[0]] if recipe.one_range is not None else []
        read = [operator.inputs[slot] for slot in slots if slot < len(operator.inputs)]
        read += [operator.intermediates[HIDDEN]] if uses_projection(operator) and recipe.intermediates else []
        for tensor in read:
            if tensor not in ranges:
                name = "its state" if tensor < 0 else f"'{graph.tensors[tensor].name}'"
                raise NotQuantizable(f"{_in_words(graph, position)}: {name} has no range; calibrate the model")


def _unite(operator: Operator, recipe: Recipe, ranges: dict[int, Range]) -> bool:
    """Whether the state and the result had two ranges; they get their union."""
    if recipe.one_range is None:
        return False
    state, result = operator.inputs[recipe.one_range[0]], operator.outputs[recipe.one_range[1]]
    if state not in ranges or result not in ranges or ranges[state] == ranges[result]:
        return False
    low = min(ranges[state][0], ranges[result][0])
    ranges[state] = ranges[result] = low, max(ranges[state][1], ranges[result][1])
    return True


def _settle_inner(graph: Graph, position: int, recipe: Recipe, measured: Mapping[int, Range], memory: Memory) -> bool:
    """Parameters of the intermediates; whether the converter goes on to the operands."""
    operator = graph.operators[position]
    coupled = len(operator.inputs) > 1 and operator.inputs[1] < 0  # then there is no input gate
    for number, bits in enumerate(recipe.intermediates):
        if (number != HIDDEN and not uses_layer_norm(operator)) or (number == 0 and coupled):
            continue
        tensor = operator.intermediates[number] if number < len(operator.intermediates) else -1
        if tensor not in measured:
            return number == HIDDEN and not uses_projection(operator)
        low, high = measured[tensor]
        parameters = _inner_int8(low, high) if bits == 8 else _symmetric_int16(low, high)
        memory.inner[position, number] = parameters, _calibrated((low, high), tensor)
    return True


def _settle_operands(model: Model, position: int, recipe: Recipe, memory: Memory) -> None:
    graph = model.graph
    operator = graph.operators[position]
    for operand in recipe.operands:
        tensor = operator.inputs[operand.slot] if operand.slot < len(operator.inputs) else -1
        if tensor < 0 or graph.tensors[tensor].type != "FLOAT32":
            continue
        values = model.constant(graph.tensors[tensor])
        if values is not None:
            if operand.bits != 32:
                memory.weights[position, operand.slot] = _weights(graph, position, operand, tensor, values)
        elif tensor in memory.ranges:
            if tensor not in memory.tensors:
                parameters = _activation(graph, tensor, operand, memory.ranges[tensor])
                memory.tensors[tensor] = parameters, _calibrated(memory.ranges[tensor], tensor)
        elif tensor not in graph.inputs and not _passes_parameters_on(graph, tensor):
            return


def _passes_parameters_on(graph: Graph, tensor: int) -> bool:
    """Whether the tensor's producer has one scale for all, or a fixed output: then no range is needed yet."""
    producer = next((o for o in graph.operators if tensor in o.outputs), None)
    rule = None if producer is None else OP_RULES.get(producer.name)
    return rule is not None and (rule.same_scale or rule.fixed_output is not None)


def _weights(graph: Graph, position: int, operand: Operand, tensor: int, values: Array) -> Settled:
    parameters = weight_parameters(values, None)
    largest = float(np.abs(values).max(initial=0))
    r = NEAR_ZERO / 2 if 2 * largest <= NEAR_ZERO else largest
    if operand.bits == 16:
        scale = (np.float32(r) - -np.float32(r)) / np.float32(2 * NARROW_INT16)
        parameters = Parameters("INT16", (float(scale),), (0,))
    elif operand.bits == 10:
        parameters = Parameters("INT16", (r / INT10,), (0,))
    text = f"weights of {_in_words(graph, position)}: one scale, max |w| / {_steps(operand.bits)}"
    return parameters, Why("weights", text, position, (tensor,))


def _steps(bits: int) -> int:
    return {8: 127, 10: INT10, 16: NARROW_INT16}[bits]


def _activation(graph: Graph, tensor: int, operand: Operand, limits: Range) -> Parameters:
    """Parameters of an activation that the operator reads, or of its state: zero is in the range, which is not widened.

    A range extended to a power of two: s = f64(2^ceil(log2(max |x|)) / 32768).
    """
    low, high = min(limits[0], 0.0), max(limits[1], 0.0)
    largest = max(-low, high)
    if not largest:
        raise NotQuantizable(f"tensor '{graph.tensors[tensor].name}': its range is [0, 0], which has no scale")
    if operand.bits == 8:
        return asymmetric(low, high)
    if operand.power_of_two:
        return Parameters("INT16", (2.0 ** math.ceil(math.log2(largest)) / STATE_STEPS,), (0,))
    half = np.float32(largest)
    return Parameters("INT16", (float((half - -half) / np.float32(2 * NARROW_INT16)),), (0,))


def _inner_int8(low: float, high: float) -> Parameters:
    """As an activation's, but zero need not be in the range; a range of one number has the scale 0."""
    return asymmetric(low, high) if low < high else Parameters("INT8", (0.0,), (INT8_MIN,))


def _symmetric_int16(low: float, high: float) -> Parameters:
    """s = f64(max |x| / 32767), zero point 0; 1 and the smallest code for a range without width."""
    largest = max(abs(low), abs(high))
    if 2 * largest < NO_WIDTH:
        return Parameters("INT16", (1.0,), (-NARROW_INT16,))
    return Parameters("INT16", (2 * largest / (2 * NARROW_INT16),), (0,))


def _calibrated(limits: Range, tensor: int) -> Why:
    low, high = map(np.float32, limits)
    return Why("calibrated", f"calibrated: the range [{low!s}, {high!s}]", None, (tensor,))


def _in_words(graph: Graph, position: int) -> str:
    return f"operator {position} ({graph.operators[position].name})"


def derived_parameters(factors: list[Parameters], factor: float) -> Parameters:
    """A bias: s = f64(f32(product of the factors' scales) * factor), zero point 0, int32."""
    product = 1.0
    for parameters in factors:
        product *= parameters.scale[0]
    return Parameters("INT32", (float(np.float32(product)) * factor,), (0,))


def derivation(graph: Graph, position: int, operand: Operand, tensors: tuple[int, ...]) -> Why:
    """Why a bias has its scale."""
    names = " times ".join(f"the scale of {called(graph.tensors[tensor].name)}" for tensor in tensors)
    times = "" if operand.factor == 1 else f" times {operand.factor}"
    return Why("bias", f"bias of {_in_words(graph, position)}: {names}{times}", position, tensors)
