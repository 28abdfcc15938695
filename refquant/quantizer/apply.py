"""Apply: a Decision and the float model -> the new model. Nothing is decided here.

Tensors come in the converter's order: inputs, constants (those of the last operator first), then what operators
compute, in order. A tensor keeps its name; where one becomes several, the graph's inputs and outputs keep it first.
Source: google-ai-edge/LiteRT, tflite/converter/flatbuffer_export.cc.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from refquant.model.graph import Array, Graph, Metadata, Model, Operator, Quantization, Tensor
from refquant.quantizer.decide import Decision
from refquant.quantizer.forms import Form, Plan
from refquant.quantizer.parameters import DATA_RULES, Parameters, data_rule
from refquant.quantizer.propagate import Use, rule_of

STALE_METADATA = ("min_runtime_version",)  # true of the float operators only


@dataclass(slots=True)
class _Names:
    """Unique names: a taken one gets the next free number behind it."""

    taken: dict[str, int] = field(default_factory=dict)

    def claim(self, name: str) -> str:
        if name not in self.taken:
            self.taken[name] = 1
            return name
        while True:
            number = self.taken[name]
            self.taken[name] += 1
            if f"{name}{number}" not in self.taken:
                self.taken[f"{name}{number}"] = 1
                return f"{name}{number}"


@dataclass(slots=True)
class _Buffers:
    """The new model's buffers: 0 is empty, equal contents are stored once."""

    data: list[bytes]
    index: dict[bytes, int] = field(default_factory=dict)

    def add(self, content: bytes) -> int:
        if content not in self.index:
            self.index[content] = len(self.data)
            self.data.append(content)
        return self.index[content]


def apply(model: Model, decision: Decision) -> Model:
    """The model that the decision describes: constants quantized, QUANTIZE and DEQUANTIZE inserted, all else kept."""
    graph, plan = model.graph, decision.plan
    order, operators = _emit(model, plan)
    operators = _one_version_per_op(operators)
    index = {form: position for position, form in enumerate(order)}
    outputs = [plan.reads[Use(None, number)] for number in range(len(graph.outputs))]
    names = _form_names(model, plan, order, outputs)
    buffers = _Buffers([b""])
    new_graph = replace(
        graph,
        tensors=tuple(_tensor(model, plan.forms[form], names[form], buffers) for form in order),
        operators=tuple(
            replace(
                operator,
                inputs=tuple(-1 if form < 0 else index[form] for form in operator.inputs),
                outputs=tuple(index[form] for form in operator.outputs),
                intermediates=(),
            )
            for operator in operators
        ),
        inputs=tuple(index[_input_form(plan, tensor)] for tensor in graph.inputs),
        outputs=tuple(index[form] for form in outputs),
    )
    return _model(model, new_graph, buffers)


def _input_form(plan: Plan, tensor: int) -> int:
    return next(i for i, form in plan.forms.items() if form.tensor == tensor and form.made == "input")


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
        """Puts the conversions of the forms behind them, and the conversions of those, and so on."""
        for source in sources:
            for number in self.conversions.get(source, ()):
                self.emit(number)
                self.convert([number])

    def emit(self, number: int) -> None:
        self.operators.append(_conversion(self.plan.forms, number))
        self.order.append(number)


def _emit(model: Model, plan: Plan) -> tuple[list[int], list[Operator]]:
    """(forms in the new tensor order, operators on forms)."""
    graph, forms = model.graph, plan.forms
    outputs = [plan.reads[Use(None, number)] for number in range(len(graph.outputs))]
    last = [form for form in dict.fromkeys(outputs) if forms[form].unsigned and forms[form].made == "QUANTIZE"]
    emission = _Emission(plan, frozenset(last))
    inputs = [_input_form(plan, tensor) for tensor in graph.inputs]
    spread = {form.source for form in forms.values() if form.origin == "spread"}
    untouched, quantized = _constants_in_order(model, plan, any(form in spread for form in inputs))
    emission.order += [*inputs, *untouched]
    emission.convert(form for form in reversed(inputs) if form in spread)
    emission.order += quantized
    emission.convert(form for form in inputs if form not in spread)
    for position, operator in enumerate(graph.operators):
        results = tuple(plan.results[position, number] for number in range(len(operator.outputs)))
        emission.operators.append(_operator(plan, position, operator, results))
        emission.order += results
        emission.convert(results)
    for form in last:
        emission.emit(form)
    return emission.order, emission.operators


def _constants_in_order(model: Model, plan: Plan, conversions_first: bool) -> tuple[list[int], list[int]]:
    """(untouched, quantized) constant forms that are read: as the converter's passes leave them.

    It collects constants in front, the last one read first, and converts the float ones, each where it stands. Then it
    once more moves to the front, one after another, those that do not follow a constant directly; last the float ones
    whose conversion turned out to be for nothing.
    """
    uses = [
        Use(position, slot)
        for position, operator in enumerate(model.graph.operators)
        for slot in range(len(operator.inputs))
    ]
    uses += [Use(None, number) for number in range(len(model.graph.outputs))]
    read = [plan.reads[use] for use in uses if use in plan.reads]
    forms = list(reversed(dict.fromkeys(form for form in read if plan.forms[form].made == "constant")))
    floats = [form for form in forms if model.graph.tensors[plan.forms[form].tensor].type == "FLOAT32"]
    stays = 0 if conversions_first else next((n + 1 for n, form in enumerate(forms) if form in floats), len(forms))
    hoisted = [form for form in (*reversed(forms[stays:]), *forms[:stays]) if form not in floats]
    quantized = [form for form in floats if plan.forms[form].parameters is not None]
    return [*(form for form in reversed(floats) if form not in quantized), *hoisted], quantized


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
    return replace(operator, inputs=inputs, outputs=results, version=version)


def _needs_mul_version_3(plan: Plan, inputs: tuple[int, ...], results: tuple[int, ...]) -> bool:
    """MUL rescales by 1 or more: s_in0 * s_in1 / s_out >= 1 (op_version.cc)."""
    scales = [plan.forms[form].parameters for form in (*inputs, *results)]
    first, second, output = (scale.scale[0] if scale is not None else 0.0 for scale in scales)
    return bool(output) and first * second / output >= 1


def _one_version_per_op(operators: list[Operator]) -> list[Operator]:
    """The converter writes one version per op into the file: the highest that any of its operators needs."""
    highest: dict[tuple[str, str | None], int] = {}
    for operator in operators:
        op = (operator.name, operator.custom_code)
        highest[op] = max(highest.get(op, 0), operator.version)
    return [replace(operator, version=highest[operator.name, operator.custom_code]) for operator in operators]


# tensors


def _form_names(model: Model, plan: Plan, order: list[int], outputs: list[int]) -> dict[int, str]:
    """Inputs and outputs claim their names first, then the others in order."""
    graph, names = model.graph, _Names()
    claimed: dict[int, str] = {}
    inputs = [_input_form(plan, tensor) for tensor in graph.inputs]
    for form, tensor in (*zip(inputs, graph.inputs, strict=True), *zip(outputs, graph.outputs, strict=True)):
        if form not in claimed:
            claimed[form] = names.claim(graph.tensors[tensor].name)
    bases = [tensor.name for tensor in graph.tensors]
    for operator in graph.operators:
        for tensor in operator.outputs:  # results of one operator share the name of all of them
            bases[tensor] = ";".join(graph.tensors[output].name for output in operator.outputs)
    for number in order:
        form_ = plan.forms[number]
        unnamed = form_.origin == "range" or form_.tensor in graph.inputs  # conversions of no operator's making
        is_conversion = form_.made in ("QUANTIZE", "DEQUANTIZE")
        if number not in claimed:
            base = f"tfl.{form_.made.lower()}" if is_conversion and unnamed else bases[form_.tensor]
            claimed[number] = names.claim(base)
    return claimed


def _tensor(model: Model, form: Form, name: str, buffers: _Buffers) -> Tensor:
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


def _model(old: Model, graph: Graph, buffers: _Buffers) -> Model:
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
