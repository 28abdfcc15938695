"""Decide: which tensor gets which parameters and why, which operators become int8, where conversions stand.

The Decision is a plain value: print it, test it, or hand it to `apply`. It speaks of forms (see forms.py): a tensor of
the float model may live on in the new one as float32, as int8 under one scale, as int8 under another.
Source: google-ai-edge/LiteRT, tflite/converter/quantization/common/quantization_lib/quantization_utils.h
(QuantizationPattern); checked against TensorFlow 2.21.0.
"""

from __future__ import annotations

from dataclasses import dataclass

from refquant.model.graph import Graph, Model
from refquant.quantizer.forms import Plan, Requantize, plan_forms
from refquant.quantizer.parameters import Parameters, data_rule
from refquant.quantizer.propagate import Spread, Use, Value, float_operands, in_words, is_quantized, rule_of


@dataclass(frozen=True, slots=True)
class TensorDecision:
    """The parameters of one tensor of the float model, how its data follow (constants only), and why.

    `users`: empty, or, for one copy of a shared constant, the operands that read this copy.
    """

    tensor: int
    name: str
    parameters: Parameters
    data_rule: str | None
    why: str
    users: tuple[Use, ...] = ()


@dataclass(frozen=True, slots=True)
class FloatOperator:
    """An operator on float tensors that stays float32."""

    operator: int
    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Decision:
    """Everything `apply` needs, and everything one may want to know."""

    tensors: tuple[TensorDecision, ...]
    requantize: tuple[Requantize, ...]
    float_operators: tuple[FloatOperator, ...]
    plan: Plan

    def __str__(self) -> str:
        lines = [f"{t.name}: {t.parameters} ({t.why})" for t in self.tensors]
        lines += [f"requantize {r.name}: {r.produced} -> {r.parameters}" for r in self.requantize]
        lines += [f"float: operator {f.operator} ({f.name}): {f.why}" for f in self.float_operators]
        return "\n".join(lines)


def why_float(graph: Graph, spread: Spread, position: int) -> str | None:
    """Why an operator cannot become int8; None if it can. One without float tensors can (and is left as it is)."""
    operator, rule = graph.operators[position], rule_of(graph.operators[position])
    results = [(position, number) for number in range(len(operator.outputs)) if (position, number) in spread.results]
    operands = float_operands(graph, operator)
    if not results and not operands:
        return None
    if not rule.quantizable:
        return "the specification has no int8 form of this operator"
    for slot in operands:
        value = spread.slots[Use(position, slot)]
        if not is_quantized(graph, value):
            return f"its operand '{graph.tensors[value.tensor].name}' has no parameters"
    for result in results:
        if not is_quantized(graph, spread.results[result]):
            return f"its result '{graph.tensors[spread.results[result].tensor].name}' has no parameters"
    return None


def decide(model: Model, spread: Spread, input_type: str = "float32", output_type: str = "float32") -> Decision:
    """The Decision for the main graph, given the parameters that spread_parameters gives."""
    graph = model.graph
    whys = [why_float(graph, spread, position) for position in range(len(graph.operators))]
    is_int8 = {position: why is None for position, why in enumerate(whys)}
    plan = plan_forms(graph, spread, is_int8, input_type, output_type)
    tensors = [_decided(graph, value, plan) for value in spread.values if is_quantized(graph, value) and value.uses]
    tensors += [_carried(graph, position, parameters) for position, parameters in plan.carried.items()]
    floats = [
        FloatOperator(position, graph.operators[position].name, why)
        for position, why in enumerate(whys)
        if why is not None and position not in plan.carried
    ]
    return Decision(tuple(tensors), tuple(plan.requantize.values()), tuple(floats), plan)


def _decided(graph: Graph, value: Value, plan: Plan) -> TensorDecision:
    assert value.parameters is not None
    parameters = plan.folded.get(value.tensor, value.parameters)
    rule, users = (None, ()) if value.constant is None else (data_rule(parameters), tuple(reversed(value.uses)))
    return TensorDecision(value.tensor, graph.tensors[value.tensor].name, parameters, rule, value.why, users)


def _carried(graph: Graph, position: int, parameters: Parameters) -> TensorDecision:
    tensor = graph.operators[position].outputs[0]
    why = f"as its operand: a DEQUANTIZE moved behind {in_words(graph, position)}"
    return TensorDecision(tensor, graph.tensors[tensor].name, parameters, None, why)
