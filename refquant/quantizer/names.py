"""What the tensors of the new model are called: as the converter calls them, from where each of them came.

Source: google-ai-edge/LiteRT, tflite/converter/flatbuffer_export.cc (InitializeNamesFromAttribute, UniqueName) and
tensorflow/tensorflow, tensorflow/compiler/mlir/op_or_arg_name_mapper.cc; checked against TensorFlow 2.21.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from refquant.model.graph import Graph
from refquant.quantizer.forms import Form, Plan, input_form
from refquant.quantizer.propagate import Use, rule_of
from refquant.quantizer.recurrent import INTERMEDIATE_NAMES

STATE = "tfl.pseudo_qconst"  # the name of a quantized state
JOINED = "arith.constant"  # the name of a constant that was two or more


@dataclass(slots=True)
class Names:
    """Unique names: a taken one gets the next free number behind it."""

    taken: dict[str, int] = field(default_factory=dict)

    def set(self, name: str) -> str:
        """The name as it is, unique or not."""
        self.taken[name] = self.taken.get(name, 0) + 1
        return name

    def would_be(self, name: str) -> str:
        """What claim would give."""
        if name not in self.taken:
            return name
        number = self.taken[name]
        while f"{name}{number}" in self.taken:
            number += 1
        return f"{name}{number}"

    def claim(self, name: str) -> str:
        """The name, with a number behind it if it is taken."""
        given = self.would_be(name)
        if given != name:
            self.taken[name] = int(given[len(name) :]) + 1
        self.taken[given] = 1
        return given


def form_names(graph: Graph, plan: Plan, order: Sequence[int]) -> dict[int, str]:
    """Inputs and outputs keep their names, even one name for both; then the others claim theirs in order."""
    names = Names()
    named: dict[int, str] = {}
    inputs = [input_form(plan, tensor) for tensor in graph.inputs]
    outputs = [plan.reads[Use(None, number)] for number in range(len(graph.outputs))]
    called_as = plan.output_names or graph.outputs
    for form, tensor in (*zip(inputs, graph.inputs, strict=True), *zip(outputs, called_as, strict=True)):
        if form not in inputs or form not in named:
            named[form] = names.set(graph.tensors[tensor].name)
    operators, results, joined = _names_of_operators(graph), _names_of_results(graph, plan), _joined_constants(plan)
    inner = {
        form: name
        for forms in plan.intermediates.values()
        for form, name in zip(forms, INTERMEDIATE_NAMES, strict=False)
    }
    for absent in _names_of_absent_operands(graph):
        names.claim(absent)
    for number in order:
        form_ = plan.forms[number]
        if number in named:
            continue
        if number in joined:
            base = JOINED
        elif form_.made == "variable" and form_.parameters is not None:
            base = STATE
        elif form_.made == "intermediate":
            base = inner[number]
        elif form_.made == "operator":
            base = results[form_.tensor]
        else:
            base = _conversion_name(graph, form_) or operators[form_.tensor if form_.named is None else form_.named]
        named[number] = names.claim(base)
    return named


def _conversion_name(graph: Graph, form: Form) -> str | None:
    """The name of a conversion of no operator's making: because of a range, or at a graph input."""
    if form.origin == "pair":
        return None
    if form.made in ("QUANTIZE", "DEQUANTIZE") and (form.origin == "range" or form.tensor in graph.inputs):
        return f"tfl.{form.made.lower()}"
    return None


def _names_of_operators(graph: Graph) -> list[str]:
    """Per tensor the name of what computes it: results of one operator share the name of all of them."""
    names = [tensor.name for tensor in graph.tensors]
    for operator in graph.operators:
        for tensor in operator.outputs:
            names[tensor] = ";".join(graph.tensors[output].name for output in operator.outputs)
    return names


def _names_of_results(graph: Graph, plan: Plan) -> list[str]:
    """The same for what an operator itself writes.

    A float operator that reads int8 weights is made from the operator and the weights' DEQUANTIZE: both give the name.
    """
    names = _names_of_operators(graph)
    for position, operator in enumerate(graph.operators):
        always = rule_of(operator).always
        if always is None or plan.forms[plan.results[position, 0]].parameters is not None:
            continue
        weights = plan.forms[plan.reads[Use(position, always)]]
        if weights.parameters is not None:
            names[operator.outputs[0]] += f";{graph.tensors[weights.tensor].name}"
    return names


def _names_of_absent_operands(graph: Graph) -> list[str]:
    """The name of the one operator that has fewer operands than it may have: the absent one takes it first.

    Absent operands, as operands of index -1 and those of several operators are, become one without a name.
    """
    fewer = [
        operator
        for operator in graph.operators
        if (bias := rule_of(operator).bias) is not None and len(operator.inputs) <= bias.operand
    ]
    if len(fewer) != 1 or any(tensor < 0 for operator in graph.operators for tensor in operator.inputs):
        return []
    return [graph.tensors[fewer[0].outputs[0]].name]


def _joined_constants(plan: Plan) -> set[int]:
    """Float constants that lost their name.

    A constant that was copied is joined with its copies before any of them is quantized; copies whose parameters turned
    out to be for nothing are joined afterwards.
    """
    joined: set[int] = set()
    for copies in plan.copies.values():
        put_back = [form for form, has_parameters in copies if has_parameters and plan.forms[form].parameters is None]
        untouched = [form for form, has_parameters in copies if form >= 0 and not has_parameters]
        joined.update(put_back if len(put_back) > 1 else (), untouched if len(copies) > 1 else ())
    return joined
