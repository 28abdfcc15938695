"""Apply: a Decision and the float model -> the new model. Nothing is decided here.

Tensors come in the converter's order: inputs, constants (those of the last operator first), then what operators
compute, in order. A tensor keeps its name; where one becomes several, the graph's inputs and outputs keep it first.
Source: google-ai-edge/LiteRT, tflite/converter/flatbuffer_export.cc.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from refquant.model.graph import Array, Graph, Metadata, Model, Operator, Quantization, Tensor
from refquant.quantizer.constant_order import constants_in_order, operands_in_order
from refquant.quantizer.decide import Decision
from refquant.quantizer.file_rules import STALE_METADATA, Buffers, one_version_per_op
from refquant.quantizer.forms import Form, Plan, input_form
from refquant.quantizer.names import form_names
from refquant.quantizer.parameters import DATA_RULES, Parameters, data_rule
from refquant.quantizer.propagate import COMMUTATIVE, Use, rule_of
from refquant.quantizer.recurrent import with_intermediates

BIAS_OF_TRANSPOSE_CONV = 3  # the operand


def apply(model: Model, decision: Decision) -> Model:
    """The model that the decision describes: constants quantized, QUANTIZE and DEQUANTIZE inserted, all else kept."""
    model = with_intermediates(model)
    graph, plan = model.graph, decision.plan
    order, emitted = _emit(model, plan)
    (operators,) = one_version_per_op(emitted)
    index = {form: position for position, form in enumerate(order)}
    outputs = [plan.reads[Use(None, number)] for number in range(len(graph.outputs))]
    names = form_names(graph, plan, order)
    buffers = Buffers()
    new_graph = replace(
        graph,
        tensors=tuple(_tensor(model, plan.forms[form], names[form], buffers) for form in order),
        operators=tuple(
            replace(
                operator,
                inputs=tuple(-1 if form < 0 else index[form] for form in operator.inputs),
                outputs=tuple(index[form] for form in operator.outputs),
                intermediates=tuple(index[form] for form in operator.intermediates),
            )
            for operator in operators
        ),
        inputs=tuple(index[input_form(plan, tensor)] for tensor in graph.inputs),
        outputs=tuple(index[form] for form in outputs),
    )
    return _model(model, new_graph, buffers)


# order


@dataclass(slots=True)
class _Emission:
    """The new tensors (as forms) and the new operators (on forms), in the making."""

    plan: Plan
    last: frozenset[int]  # conversions that stand at the end: the QUANTIZE to a uint8 output
    order: list[int] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)
    conversions: dict[int, list[int]] = field(default_factory=dict)  # form -> the forms converted from it

    def __post_init__(self) -> None:
        for number, form in self.plan.forms.items():
            if form.source is not None and number not in self.last:
                self.conversions.setdefault(form.source, []).append(number)

    def convert(self, sources: Iterable[int]) -> None:
        """Puts the conversions of the forms behind them, and the conversions of those, and so on.

        A conversion because of a tensor's own range is there first; what spreads is put in front of it, right behind
        the operator.
        """
        waiting = [number for source in sources for number in self.conversions.get(source, ())]
        while waiting:
            spread = (place for place, number in enumerate(waiting) if self.plan.forms[number].origin == "spread")
            place = next(spread, 0)
            self.emit(waiting[place])
            waiting[place : place + 1] = self.conversions.get(waiting[place], ())

    def emit(self, number: int) -> None:
        self.operators.append(_conversion(self.plan.forms, number))
        self.order.append(number)


def _emit(model: Model, plan: Plan) -> tuple[list[int], list[Operator]]:
    """(forms in the new tensor order, operators on forms)."""
    graph, forms = model.graph, plan.forms
    outputs = [plan.reads[Use(None, number)] for number in range(len(graph.outputs))]
    last = [form for form in dict.fromkeys(outputs) if forms[form].unsigned and forms[form].made == "QUANTIZE"]
    emission = _Emission(plan, frozenset(last))
    inputs = [input_form(plan, tensor) for tensor in graph.inputs]
    spread = {form for form, origin in zip(inputs, plan.input_origins, strict=True) if origin == "spread"}
    constants = constants_in_order(plan)
    states = {number for number, form in forms.items() if form.made == "variable"} - {*constants.front}
    emission.order += [*inputs, *constants.front]
    emission.convert(form for form in reversed(inputs) if form in spread)
    emission.order += constants.behind
    for form in inputs:  # each by itself, as its range stands behind it
        if form not in spread:
            emission.convert([form])
    for position, operator in enumerate(graph.operators):
        results = tuple(plan.results[position, number] for number in range(len(operator.outputs)))
        new = _operator(plan, position, operator, results)
        if operator.name in COMMUTATIVE:
            new = replace(new, inputs=operands_in_order(plan, position, new.inputs, constants.put_back))
        emission.operators.append(new)
        emission.order += [form for form in new.inputs if form in states]
        emission.order += [*new.intermediates, *results]
        emission.convert(results)
    for form in last:
        emission.emit(form)
    return emission.order, emission.operators


def _conversion(forms: Mapping[int, Form], number: int) -> Operator:
    form = forms[number]
    assert form.source is not None
    version = 2 if form.made == "DEQUANTIZE" and not forms[form.source].unsigned else 1
    return Operator(form.made, (form.source,), (number,), version)


def _operator(plan: Plan, position: int, operator: Operator, results: tuple[int, ...]) -> Operator:
    inputs = tuple(-1 if tensor < 0 else plan.reads[Use(position, slot)] for slot, tensor in enumerate(operator.inputs))
    touched = [form for form in (*inputs, *results) if form >= 0 and plan.forms[form].parameters is not None]
    version = max(operator.version, rule_of(operator).version) if touched else operator.version
    if touched and operator.name == "MUL" and _needs_mul_version_3(plan, inputs, results):
        version = max(version, 3)
    if touched and operator.name == "TRANSPOSE_CONV" and len(operator.inputs) > BIAS_OF_TRANSPOSE_CONV:
        version = max(version, 3)
    inner = plan.intermediates[position]
    return replace(operator, inputs=inputs, outputs=results, version=version, intermediates=inner)


def _needs_mul_version_3(plan: Plan, inputs: tuple[int, ...], results: tuple[int, ...]) -> bool:
    """MUL rescales by 1 or more: s_in0 * s_in1 / s_out >= 1 (op_version.cc)."""
    if (len(inputs), len(results)) != (2, 1) or min(inputs) < 0:
        return False
    scales = [plan.forms[form].parameters for form in (*inputs, *results)]
    first, second, output = (scale.scale[0] if scale is not None else 0.0 for scale in scales)
    return bool(output) and first * second / output >= 1


# tensors


def _tensor(model: Model, form: Form, name: str, buffers: Buffers) -> Tensor:
    old = model.graph.tensors[form.tensor]
    if form.parameters is None:
        data = model.buffers[old.buffer]
        buffer = buffers.add(data) if form.made == "constant" and (data or 0 in old.shape) else 0
        return replace(old, name=name, buffer=buffer, quantization=_kept(old))
    constant = model.constant(old) if form.made == "constant" else None
    buffer = 0 if constant is None else buffers.add(quantize_constant(constant, form.parameters).tobytes())
    type_ = "UINT8" if form.unsigned else form.parameters.type
    return replace(old, name=name, type=type_, buffer=buffer, quantization=_quantization(form))


def quantize_constant(values: Array, parameters: Parameters) -> Array:
    """The integers of a constant, by the data rule of its parameters; little-endian."""
    integers = DATA_RULES[data_rule(parameters)](values, parameters)
    return integers.astype(integers.dtype.newbyteorder("<"))


def _quantization(form: Form) -> Quantization:
    assert form.parameters is not None
    quantization = form.parameters.quantization()
    if form.unsigned:
        return replace(quantization, zero_point=tuple(zero_point + 128 for zero_point in quantization.zero_point))
    return quantization


def _kept(tensor: Tensor) -> Quantization | None:
    """A tensor that stays float loses the range it was calibrated with."""
    return None if tensor.quantization is None or not tensor.quantization.scale else tensor.quantization


# the model around the graph


def _model(old: Model, graph: Graph, buffers: Buffers) -> Model:
    """Signatures with their names on the new tensors; metadata kept but for what no longer holds."""
    inputs = dict(zip(old.graph.inputs, graph.inputs, strict=True))
    outputs = dict(zip(old.graph.outputs, graph.outputs, strict=True))
    signatures = tuple(
        replace(
            signature,
            inputs=tuple((name, inputs[tensor]) for name, tensor in signature.inputs),
            outputs=tuple((name, outputs[tensor]) for name, tensor in signature.outputs),
        )
        for signature in old.signatures
    )
    metadata = tuple(
        Metadata(entry.name, buffers.add(old.buffers[entry.buffer]))
        for entry in old.metadata
        if entry.name not in STALE_METADATA
    )
    return replace(
        old,
        graphs=(graph,),
        buffers=tuple(buffers.data),
        signatures=signatures,
        metadata=metadata,
        metadata_buffer=(),
    )
