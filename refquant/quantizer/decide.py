"""Decide: which tensor gets which parameters and why, which operators become int8, where conversions stand.

The Decision is a plain value: print it, test it, or hand it to `apply`. It speaks of forms (see forms.py): a tensor of
the float model may live on in the new one as float32, as int8 under one scale, as int8 under another.
Source: google-ai-edge/LiteRT, tflite/converter/quantization/common/quantization_lib/quantization_utils.h
(QuantizationPattern); checked against TensorFlow 2.21.0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from refquant.model.graph import Graph, Model
from refquant.quantizer.forms import Form, Plan, Requantize, plan_forms
from refquant.quantizer.parameters import Parameters, data_rule
from refquant.quantizer.propagate import Spread, Use, Value, float_operands, in_words, is_quantized, is_worked, rule_of
from refquant.quantizer.why import Why, called


@dataclass(frozen=True, slots=True)
class TensorDecision:
    """The parameters of one tensor of the float model, how its data follow (constants only), and why.

    `users`: empty, or, for one copy of a shared constant, the operands that read this copy.
    """

    tensor: int
    name: str
    parameters: Parameters
    data_rule: str | None
    why: Why
    users: tuple[Use, ...] = ()
    subgraph: int = 0


@dataclass(frozen=True, slots=True)
class FloatOperator:
    """An operator on float tensors that stays float32."""

    operator: int
    name: str
    why: Why
    subgraph: int = 0


@dataclass(frozen=True, slots=True)
class BorderConversion:
    """A QUANTIZE or DEQUANTIZE on a border: between float32 and int8, or between uint8 and int8.

    `tensor`, `name`: the float model's tensor that is converted. `producer`: the operator that computes it, None for a
    graph input or constant. `before`, `after`: types. `parameters`: the int8 side's. `readers`: what reads the result.
    """

    op: str
    tensor: int
    name: str
    producer: int | None
    before: str
    after: str
    parameters: Parameters
    readers: tuple[Use, ...]
    why: Why
    subgraph: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """Everything `apply` needs, and everything one may want to know."""

    tensors: tuple[TensorDecision, ...]
    requantize: tuple[Requantize, ...]
    float_operators: tuple[FloatOperator, ...]
    conversions: tuple[BorderConversion, ...]
    plan: Plan

    def __str__(self) -> str:
        lines = [f"{t.name}: {t.parameters} ({t.why})" for t in self.tensors]
        lines += [f"requantize {r.name}: {r.produced} -> {r.parameters} ({r.why})" for r in self.requantize]
        lines += [f"float: operator {f.operator} ({f.name}): {f.why}" for f in self.float_operators]
        lines += [f"{c.op} {c.name}: {c.before} -> {c.after} ({c.why})" for c in self.conversions]
        return "\n".join(lines)


def decide(
    model: Model,
    spread: Spread,
    denied: Mapping[int, Why],
    input_type: str = "float32",
    output_type: str = "float32",
) -> Decision:
    """The Decision for the main graph, given the parameters that spread_parameters gives.

    denied: operators that are to stay float -> why.
    """
    graph = model.graph
    whys = _whys_float(graph, spread, denied)
    is_int8 = {position: why is None for position, why in enumerate(whys)}
    plan = plan_forms(graph, spread, is_int8, input_type, output_type)
    quantized = {form.tensor for form in plan.forms.values() if form.parameters is not None}
    own = [value for value in spread.values if value.tensor in quantized and value.producer not in plan.carried]
    tensors = [_decided(graph, value, plan) for value in own if value.uses and _is_kept(value, plan)]
    tensors += [_carried(graph, position, parameters) for position, parameters in plan.carried.items()]
    tensors += _inner(graph, spread)
    floats = [
        FloatOperator(position, graph.operators[position].name, why)
        for position, why in enumerate(whys)
        if why is not None and position not in plan.carried
    ]
    conversions = tuple(_conversions(graph, plan, input_type, output_type))
    return Decision(tuple(tensors), tuple(plan.requantize.values()), tuple(floats), conversions, plan)


# which operators stay float


def _whys_float(graph: Graph, spread: Spread, denied: Mapping[int, Why]) -> list[Why | None]:
    """Per operator why it stays float; None if it becomes int8, or has no float tensors and is left as it is."""
    whys = [why_float(graph, spread, position, denied) for position in range(len(graph.operators))]
    unreached = {
        position: why_not_reached(graph, spread, position, whys) for position, why in enumerate(whys) if why is None
    }
    return [unreached.get(position, why) for position, why in enumerate(whys)]


def why_float(graph: Graph, spread: Spread, position: int, denied: Mapping[int, Why]) -> Why | None:
    """Why an operator cannot become int8; None if it can. One without float tensors can (and is left as it is)."""
    operator, rule = graph.operators[position], rule_of(graph.operators[position])
    results = [(position, number) for number in range(len(operator.outputs)) if (position, number) in spread.results]
    operands = float_operands(graph, operator)
    if not results and not operands:
        return None
    if not rule.quantizable:
        return Why("no int8 form", f"the specification has no int8 form of {operator.name}")
    if position in denied:
        return denied[position]
    values = [("operand", spread.slots[Use(position, slot)]) for slot in operands]
    values += [("result", spread.results[result]) for result in results]
    for place, value in values:
        if not is_quantized(graph, value):
            text = f"its {place} {called(graph.tensors[value.tensor].name)} has no parameters"
            return Why("no parameters", text, None, (value.tensor,))
    unread = tuple(spread.results[result].tensor for result in results if not spread.results[result].uses)
    if results and len(unread) == len(results):
        return Why("unread results", "nothing reads its float results", None, unread)
    return None


def why_not_reached(graph: Graph, spread: Spread, position: int, whys: list[Why | None]) -> Why | None:
    """Why the converter never comes to an operator that has parameters everywhere; None if it does.

    It comes to an operator from a QUANTIZE behind a result or a DEQUANTIZE before an operand. Behind a DEQUANTIZE it
    rewrites the readers one after the other, and gives up at the first that stays float, a graph output included. So
    an operator without float results (ARG_MAX, LESS, SHAPE) needs an operand none of whose earlier readers stays float.
    It comes to constants, which are float again then, before it comes to inputs to which parameters spread.
    """
    operator = graph.operators[position]
    operands = [spread.slots[Use(position, slot)] for slot in float_operands(graph, operator)]
    if any((position, number) in spread.results for number in range(len(operator.outputs))):
        return None
    with_constant = any(value.constant is not None for value in operands)
    stops = []
    for value in operands:
        stop = _stops_before(graph, value, position, whys)
        if stop is not None:
            stops.append((value.tensor, stop))
        elif not (with_constant and value.tensor in graph.inputs and not value.calibrated):
            return None
    if not stops:
        return None
    tensor, use = stops[0]
    stop_text = (
        f"graph output {use.operand}" if use.operator is None else f"{in_words(graph, use.operator)}, which stays float"
    )
    text = f"the converter stops at another reader of {called(graph.tensors[tensor].name)}, as that is {stop_text}"
    return Why("not reached", text, use.operator, tuple(tensor for tensor, _ in stops))


def _stops_before(graph: Graph, value: Value, position: int, whys: list[Why | None]) -> Use | None:
    """The reader at which the converter gives up before it comes to the operator."""
    forgotten = value.producer is not None and not is_worked(graph.operators[value.producer])
    forgotten |= len({bool(request.users) for request in value.requantizations}) > 1
    elsewhere = () if forgotten else [use for request in value.requantizations for use in request.users]
    uses = list(reversed(value.uses) if value.calibrated else value.uses)
    uses.sort(key=lambda use: use.operator is None or rule_of(graph.operators[use.operator]).always is None)
    for use in uses:  # first those that were made anew when they took int8 weights
        if use.operator == position:
            return None
        if use not in elsewhere and (use.operator is None or whys[use.operator] is not None):
            return use
    return None


# the parts of the Decision


def _is_kept(value: Value, plan: Plan) -> bool:
    """Whether the new model has this copy of a constant with parameters, and not only as float32."""
    return value.constant is None or any(plan.forms[plan.reads[use]].parameters is not None for use in value.uses)


def _decided(graph: Graph, value: Value, plan: Plan) -> TensorDecision:
    assert value.parameters is not None
    assert value.why is not None
    parameters, why = plan.produced.get(value.tensor, (value.parameters, value.why))
    rule, users = (None, ()) if value.constant is None else (data_rule(parameters), tuple(reversed(value.uses)))
    return TensorDecision(value.tensor, graph.tensors[value.tensor].name, parameters, rule, why, users)


def _carried(graph: Graph, position: int, parameters: Parameters) -> TensorDecision:
    operator = graph.operators[position]
    tensor, operand = operator.outputs[0], operator.inputs[float_operands(graph, operator)[0]]
    text = (
        f"those of its operand '{graph.tensors[operand].name}': a DEQUANTIZE moved behind {in_words(graph, position)}"
    )
    return TensorDecision(
        tensor, graph.tensors[tensor].name, parameters, None, Why("carried", text, position, (operand,))
    )


def _inner(graph: Graph, spread: Spread) -> Iterator[TensorDecision]:
    """The values inside LSTMs."""
    for (position, number), (parameters, why) in spread.inner.items():
        tensor = graph.operators[position].intermediates[number]
        yield TensorDecision(tensor, graph.tensors[tensor].name, parameters, None, why)


def _conversions(graph: Graph, plan: Plan, input_type: str, output_type: str) -> Iterator[BorderConversion]:
    """Every QUANTIZE and DEQUANTIZE but the requantizations."""
    readers: dict[int, list[Use]] = {}
    for use, number in plan.reads.items():
        readers.setdefault(number, []).append(use)
    producers = {tensor: position for position, operator in enumerate(graph.operators) for tensor in operator.outputs}
    for number, form in plan.forms.items():
        if form.source is None or number in plan.requantize:
            continue
        source, uses = plan.forms[form.source], tuple(sorted(readers.get(number, ()), key=str))
        parameters = form.parameters or source.parameters
        assert parameters is not None
        producer = producers.get(form.tensor)
        why = _why_converted(graph, form, source, producer, uses, input_type, output_type)
        name = graph.tensors[form.tensor].name
        yield BorderConversion(
            form.made, form.tensor, name, producer, _type(source), _type(form), parameters, uses, why
        )


def _type(form: Form) -> str:
    if form.parameters is None:
        return "FLOAT32"
    return "UINT8" if form.unsigned else form.parameters.type


def _why_converted(
    graph: Graph,
    form: Form,
    source: Form,
    producer: int | None,
    readers: tuple[Use, ...],
    input_type: str,
    output_type: str,
) -> Why:
    if source.made == "input":
        return Why("input type", f"the graph's input is {input_type}", None, (form.tensor,))
    if form.made == "QUANTIZE" and form.unsigned:
        return Why("output type", f"the graph's output is {output_type}", None, (form.tensor,))
    if form.made == "QUANTIZE":
        assert producer is not None
        return Why("float operator", f"{in_words(graph, producer)} stays float", producer)
    floats = sorted({use.operator for use in readers if use.operator is not None})
    if floats:
        text = f"{', '.join(in_words(graph, operator) for operator in floats)} stays float"
        return Why("float operator", text, floats[0])
    return Why("output type", f"the graph's output is {output_type}", None, (form.tensor,))
