"""Which tensors the new model has: the forms in which each tensor of the float model lives on, and who reads which.

A form is made by the graph's input, a constant, an operator, a QUANTIZE or a DEQUANTIZE. This is what the converter's
passes after propagation amount to: Q and DQ pairs are put at every tensor with parameters, an operator between such
pairs becomes int8, and what then stands twice or for nothing is removed.
Source: google-ai-edge/LiteRT, tflite/converter/quantization/common/quantization_lib/tfl_quantization_driver.cc
(Finalize, RequantizeValue), quantization_utils.h (QuantizationPattern, FoldTrivalRequantizeOp) and
tflite/converter/transforms/post_quantize.cc, optimize_op_order.cc, modify_io_nodes.cc; checked against TensorFlow
2.21.0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from refquant.model.graph import Graph
from refquant.quantizer.hoisting import Item, constants_as_read
from refquant.quantizer.parameters import Parameters
from refquant.quantizer.propagate import (
    Requantization,
    Spread,
    Use,
    Value,
    float_operands,
    is_quantized,
    is_worked,
    rule_of,
)
from refquant.quantizer.why import Why


@dataclass(frozen=True, slots=True)
class Form:
    """One tensor of the new model. `parameters` None: float32, or a type that quantization does not touch.

    `made`: "input", "constant", "variable" (a state), "intermediate" (a value inside an LSTM), "operator", "QUANTIZE"
    or "DEQUANTIZE" (of form `source`). `origin`, of conversions: whether they stand there because of the tensor's own
    "range", because parameters "spread" to it, or as a "pair" that stands there already.
    """

    tensor: int
    parameters: Parameters | None
    made: str
    source: int | None = None
    unsigned: bool = False  # uint8 instead of int8: zero point + 128
    origin: str = ""
    named: int | None = None  # the tensor that gives the name, if it is another


@dataclass(frozen=True, slots=True)
class Requantize:
    """A QUANTIZE from int8 to int8: readers of `tensor` see `parameters` where its producer has others."""

    tensor: int
    name: str
    produced: Parameters
    parameters: Parameters
    users: tuple[Use, ...]  # empty: all readers
    why: Why  # who asked, and whose parameters they are


@dataclass(frozen=True, slots=True)
class Plan:
    """The forms by number (a form's source has a smaller one), what reads and makes them, and what was moved.

    `input_origins`: of each graph input, whether its parameters come from its "range", "spread" to it or are not ("").
    `constants`: the order of all constants' tensors once the graph has been read, see hoisting.py. `copies`: of each
    float constant the forms of its copies, in the order in which they stand there (-1: nothing reads it), and whether
    the copy has parameters, used or not. `in_vain`: what reads a copy with parameters as float32. `requantize`: by
    form. `produced`: tensors that are made with other parameters than spread to them, and why: the producer has fixed
    ones, and readers see the others through a QUANTIZE, or all readers asked for the same others.
    `carried`: operators that became int8 as a DEQUANTIZE moved behind them -> the parameters of operand and result.
    `output_names`: of each graph output the tensor that gives it its name, where that is another.
    `intermediates`: operator -> the forms of the values inside it. `settled`: weights of LSTM and SVDF operators,
    number of the value -> its form.
    """

    forms: Mapping[int, Form]
    reads: Mapping[Use, int]  # operand or graph output -> form
    results: Mapping[tuple[int, int], int]  # (operator, result) -> form
    input_origins: tuple[str, ...]
    constants: tuple[Item, ...]
    copies: Mapping[int, list[tuple[int, bool]]]
    in_vain: frozenset[Use]
    requantize: Mapping[int, Requantize]
    produced: Mapping[int, tuple[Parameters, Why]]
    carried: Mapping[int, Parameters]
    output_names: tuple[int, ...] = ()
    intermediates: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    settled: Mapping[int, int] = field(default_factory=dict)


def origin_of(value: Value) -> str:
    """Where conversions at the value come from."""
    if value.pair is not None:
        return "pair"
    return "range" if value.calibrated else "spread"


def input_form(plan: Plan, tensor: int) -> int:
    """The form as which the graph input is fed."""
    return next(number for number, form in plan.forms.items() if form.tensor == tensor and form.made == "input")


def plan_forms(graph: Graph, spread: Spread, is_int8: Mapping[int, bool], input_type: str, output_type: str) -> Plan:
    """The plan, given every value's parameters and which operators can become int8."""
    return _Planner(graph, spread, is_int8, input_type, output_type).build()


class _Planner:
    """Makes the forms, operator by operator."""

    def __init__(
        self, graph: Graph, spread: Spread, is_int8: Mapping[int, bool], input_type: str, output_type: str
    ) -> None:
        self.graph, self.spread, self.is_int8 = graph, spread, is_int8
        self.input_type, self.output_type = input_type, output_type
        self.forms: list[Form] = []
        self.reads: dict[Use, int] = {}
        self.results: dict[tuple[int, int], int] = {}
        self.copies: dict[int, list[tuple[int, bool]]] = {}
        self.in_vain: set[Use] = set()
        self.requantize: dict[int, Requantize] = {}
        self.produced: dict[int, tuple[Parameters, Why]] = {}
        self.carried: dict[int, Value] = {}  # operator -> its operand
        self.intermediates: dict[int, tuple[int, ...]] = {}
        self.settled: dict[int, int] = {}
        self.carried_parameters: dict[int, Parameters] = {}
        fed = {value.tensor: value for value in spread.values if value.tensor in graph.inputs}
        self.input_origins = tuple(self.origin(fed.get(tensor)) for tensor in graph.inputs)
        self.constants = constants_as_read(graph, spread, "range" in self.input_origins)
        self.carry()

    def reads_int8(self, use: Use) -> bool:
        if use.operator is None:
            return False
        return self.is_int8[use.operator] or self.is_carried(use) or self.is_read_as_int8(use)

    def is_read_as_int8(self, use: Use) -> bool:
        """Whether an operator that stays float takes the operand as int8 all the same.

        The converter goes through the operators from the last to the first and comes to constants at the end, but when
        copies of a constant become one, it puts off the readers of all but the first. If such a copy is the bias, and
        stands before the weights, these are float again when their operator's turn comes.
        """
        if use.operator is None or rule_of(self.graph.operators[use.operator]).always != use.operand:
            return False
        weights, bias = self.spread.slots[use], rule_of(self.graph.operators[use.operator]).bias
        added = None if bias is None else self.spread.slots.get(Use(use.operator, bias.operand))
        if added is not None and added.constant is not None and added.parameters is None:
            copies = [value for value in self.spread.values if value.tensor == added.tensor]
            put_off = added is not min(copies, key=lambda copy: copy.beside)
            if put_off and self.stands_before(added, weights):
                return False
        return is_quantized(self.graph, weights)

    def stands_before(self, constant: Value, other: Value) -> bool:
        """Whether a constant stands before another one once the graph has been read."""
        if other.constant is None:
            return False
        place, others = (self.constants.index(("constant", value.tensor)) for value in (constant, other))
        return place < others

    def is_carried(self, use: Use) -> bool:
        return use.operator in self.carried

    def asked(self, value: Value) -> list[Requantization]:
        """The requantizations to carry out.

        The converter forgets those of a tensor whose producer and readers both ask, and of one whose producer it never
        looks at. If an int8 operator asks, it fails later, as its operands disagree; then they are carried out here.
        """
        asked = value.requantizations
        by_readers = [use for request in asked for use in request.users]
        own = any(not request.users for request in asked)
        unseen = value.producer is not None and not is_worked(self.graph.operators[value.producer])
        forgotten = (own and bool(by_readers)) or unseen
        return [] if forgotten and not any(self.reads_int8(use) for use in by_readers) else asked

    def form(self, form: Form) -> int:
        self.forms.append(form)
        return len(self.forms) - 1

    # operators that a DEQUANTIZE moves past

    def carry(self) -> None:
        """A DEQUANTIZE whose one reader is a same-scale operator with a smaller result moves behind that operator."""
        moved = True
        while moved:
            moved = False
            for position, operator in enumerate(self.graph.operators):
                if self.is_int8[position] or position in self.carried or len(operator.outputs) != 1:
                    continue
                slots = float_operands(self.graph, operator)
                if not rule_of(operator).same_scale or len(slots) != 1 or (position, 0) not in self.spread.results:
                    continue
                use = Use(position, slots[0])
                value = self.spread.slots[use]
                result = operator.outputs[0]
                smaller = self.is_ranked(result) and self.elements(result) < self.elements(value.tensor)
                if smaller and self.is_dequantized_only_for(value, use):
                    self.carried[position] = value
                    moved = True

    def is_dequantized_only_for(self, value: Value, use: Use) -> bool:
        """Whether one DEQUANTIZE stands at the value and only this operand reads it."""
        requests = [request.users for request in self.asked(value) if request.users]
        own_form = next((users for users in requests if use in users), None)
        elsewhere = [other for users in requests for other in users if users is not own_form]
        together = own_form or [other for other in value.uses if other not in elsewhere]
        readers = [other for other in together if not self.reads_int8(other)]
        if value.constant is not None or readers != [use]:
            return False
        if value.pair is not None:
            return True
        if own_form is not None:
            return is_quantized(self.graph, value)
        if value.producer is None:
            return is_quantized(self.graph, value)
        if value.producer in self.carried:
            return not (is_quantized(self.graph, value) and len(readers) < len(value.uses))
        own = any(not request.users for request in self.asked(value))
        return self.is_int8[value.producer] or (own and is_quantized(self.graph, value))

    def is_ranked(self, tensor: int) -> bool:
        """Whether the file says how many dimensions the tensor has: none may mean that they are not known."""
        return bool(self.graph.tensors[tensor].shape) or self.graph.tensors[tensor].has_rank

    def elements(self, tensor: int) -> int:
        """The number of elements, a dynamic dimension counting as 1."""
        record = self.graph.tensors[tensor]
        signature = record.shape_signature if record.shape_signature is not None else record.shape
        return math.prod(1 if size < 0 else size for size in signature)

    # the forms of every tensor

    def build(self) -> Plan:
        by_tensor: dict[int, list[Value]] = {}
        for value in self.spread.values:
            by_tensor.setdefault(value.tensor, []).append(value)
        for tensor in self.graph.inputs:
            for value in by_tensor.get(tensor, ()):
                self.plan_input(value)
        for values in by_tensor.values():
            self.plan_constants([value for value in values if value.constant is not None and not value.settled])
            self.plan_variables([value for value in values if self.graph.tensors[value.tensor].is_variable])
        self.plan_settled()
        for position, operator in enumerate(self.graph.operators):
            self.plan_intermediates(position)
            for number, tensor in enumerate(operator.outputs):
                if (position, number) in self.spread.results:
                    self.plan_result(self.spread.results[position, number], position, number)
                else:
                    self.results[position, number] = self.form(Form(tensor, None, "operator"))
        self.plan_untouched()
        if self.output_type != "float32":
            self.quantize_outputs()
        used = self.used()
        return Plan(
            {number: form for number, form in enumerate(self.forms) if used[number]},
            self.reads,
            self.results,
            self.input_origins,
            self.constants,
            self.copies,
            frozenset(self.in_vain),
            {number: request for number, request in self.requantize.items() if used[number]},
            self.produced,
            self.carried_parameters,
            intermediates=self.intermediates,
            settled=self.settled,
        )

    # inputs, constants, results

    def plan_input(self, value: Value) -> None:
        if not is_quantized(self.graph, value) or not value.uses:
            self.read(value.uses, self.form(Form(value.tensor, None, "input")))
            return
        main = value.parameters
        origin, named = origin_of(value), None if value.pair is None else value.pair[0]
        if self.input_type == "float32":
            raw = self.form(Form(value.tensor, None, "input"))
            quantized = self.form(Form(value.tensor, main, "QUANTIZE", raw, origin=origin, named=named))
            self.read_as_outputs(value, quantized)
            self.plan_readers(value, raw, quantized, raw)
        elif self.input_type == "int8":
            quantized = self.form(Form(value.tensor, main, "input"))
            self.read_as_outputs(value, quantized)
            self.plan_readers(value, None, quantized, None)
        else:
            unsigned = self.form(Form(value.tensor, main, "input", unsigned=True))
            quantized = self.form(Form(value.tensor, main, "QUANTIZE", unsigned, origin=origin, named=named))
            self.read_as_outputs(value, quantized)
            self.plan_readers(value, unsigned, quantized, None)

    def read_as_outputs(self, value: Value, quantized: int) -> None:
        """A graph input that is an output too is given out as int8, unless float32 is asked for."""
        if self.output_type != "float32":
            self.read([use for use in value.uses if use.operator is None], quantized)

    def plan_constants(self, copies: list[Value]) -> None:
        """One constant and its copies, from the first that stands there to the last. Copies left float are one."""
        as_it_was: int | None = None
        behind = [value for value in copies if value.beside > 0]
        for value in (*sorted((v for v in copies if v.beside <= 0), key=lambda v: v.beside), *reversed(behind)):
            int8 = [use for use in value.uses if self.reads_int8(use)]
            others = [use for use in value.uses if not self.reads_int8(use)]
            made = self.copies.setdefault(value.tensor, [])
            if int8:
                made.append((self.form(Form(value.tensor, value.parameters, "constant")), True))
                self.read(int8, made[-1][0])
            if others:
                as_it_was = self.form(Form(value.tensor, None, "constant")) if as_it_was is None else as_it_was
                made.append((as_it_was, value.parameters is not None))
                self.read(others, as_it_was)
                self.in_vain.update(others if value.parameters is not None else ())
            if not value.uses:
                made.append((-1, False))

    def plan_settled(self) -> None:
        """The weights of an LSTM or SVDF, one constant for each operand that reads them."""
        as_they_were: dict[int, int] = {}
        for number, value in enumerate(self.spread.values):
            if not value.settled:
                continue
            if self.reads_int8(value.uses[0]):
                made = self.form(Form(value.tensor, value.parameters, "constant"))
            else:
                if value.tensor not in as_they_were:
                    as_they_were[value.tensor] = self.form(Form(value.tensor, None, "constant"))
                made = as_they_were[value.tensor]
            self.settled[number] = made
            self.read(value.uses, made)

    def plan_variables(self, values: list[Value]) -> None:
        """A state in the type in which its operator keeps it."""
        for value in values:
            int8 = [use for use in value.uses if self.reads_int8(use)]
            for uses, parameters in ((int8, value.parameters), ([u for u in value.uses if u not in int8], None)):
                if uses:
                    self.read(uses, self.form(Form(value.tensor, parameters, "variable")))

    def plan_intermediates(self, position: int) -> None:
        """The values inside an LSTM, which have their parameters whatever becomes of the operator."""
        forms = []
        for number, tensor in enumerate(self.graph.operators[position].intermediates):
            parameters, _ = self.spread.inner.get((position, number), (None, None))
            forms.append(self.form(Form(tensor, parameters, "intermediate")))
        self.intermediates[position] = tuple(forms)

    def origin(self, value: Value | None) -> str:
        """Where the value's parameters come from; "" if it has none."""
        if value is None or not (value.unread or is_quantized(self.graph, value)):
            return ""
        return "range" if value.calibrated or value.unread else "spread"

    def plan_result(self, value: Value, position: int, number: int) -> None:
        own = [request.parameters for request in self.asked(value) if not request.users]
        main, origin, named = value.parameters, origin_of(value), None if value.pair is None else value.pair[0]
        if self.is_int8[position]:
            assert main is not None
            if not own and self.folds_into_producer(value, position):
                main, calibrated = self.fold(value), self.asked_origin(value) == "range"
                value = replace(value, parameters=main, requantizations=[], calibrated=calibrated)
            produced = self.form(Form(value.tensor, own[0] if own else main, "operator"))
            self.results[position, number] = produced
            raw = None
        else:
            raw = self.form(Form(value.tensor, None, "operator"))
            self.results[position, number] = raw
            if position in self.carried:
                raw = self.plan_carried(value, position, number)
            if not is_quantized(self.graph, value):
                self.read(value.uses, raw)
                if position in self.carried:
                    carried = [use for use in value.uses if self.is_carried(use)]
                    self.read(carried, self.results[position, number])
                return
            assert main is not None
            produced = self.results[position, number]
            if position not in self.carried:  # a QUANTIZE behind a DEQUANTIZE goes, whatever its parameters
                first = own[0] if own else main
                where = ("spread", None) if own else (origin, named)
                produced = self.form(Form(value.tensor, first, "QUANTIZE", raw, origin=where[0], named=where[1]))
        if own:  # the producer keeps what it asked for; all readers see what was there before
            assert value.why is not None
            self.produced[value.tensor] = own[0], next(r.why for r in self.asked(value) if not r.users)
            quantized = self.requantized(value, produced, main, (), value.why, origin, named)
            self.plan_readers(value, produced, quantized, None)
        else:
            self.plan_readers(value, raw, produced, raw)

    def plan_carried(self, value: Value, position: int, number: int) -> int:
        """The DEQUANTIZE behind a carried operator, whose result has the parameters of its operand."""
        operand = self.carried[position]
        source = self.reads[next(use for use in operand.uses if use.operator == position)]
        parameters = self.forms[source].parameters
        assert parameters is not None
        produced = self.results[position, number]
        self.forms[produced] = Form(value.tensor, parameters, "operator")
        self.carried_parameters[position] = parameters
        while operand.producer in self.carried:  # it is still the first one's DEQUANTIZE
            operand = self.carried[operand.producer]
        named = operand.producer is not None and not operand.calibrated  # after the operator that computes the operand
        origin = "spread" if named else "range"
        return self.form(Form(value.tensor, None, "DEQUANTIZE", produced, origin=origin, named=operand.tensor))

    def folds_into_producer(self, value: Value, position: int) -> bool:
        """All readers ask a free operator's result for the same other parameters: it just gets them."""
        rule, asked = rule_of(self.graph.operators[position]), self.asked(value)
        free = rule.quantizable and not rule.same_scale and rule.fixed_output is None
        return free and len(asked) == 1 and set(value.uses) <= set(asked[0].users)

    def fold(self, value: Value) -> Parameters:
        """The parameters that all readers ask of a free operator's result, which it then just gets."""
        (request,) = self.asked(value)
        text = f"asked by all that read it, in place of its own; {request.why}"
        why = Why("asked", text, request.why.operator, request.why.tensors)
        self.produced[value.tensor] = request.parameters, why
        return request.parameters

    # readers

    def asked_origin(self, value: Value) -> str:
        """The origin of the DEQUANTIZE behind the first parameters that readers ask for.

        It is the value's own one, moved there, unless more read the value than ask; then it is a new one.
        """
        requests = [request for request in self.asked(value) if request.users]
        return origin_of(value) if len(value.uses) <= len(requests) else "spread"

    def plan_readers(self, value: Value, before: int | None, main: int, raw: int | None) -> None:
        """Lets every reader of the value read its form.

        `main`: the int8 form. `before`: what `main` was quantized from (float32, uint8 or other int8), if anything.
        `raw`: the float32 form, if there is one already. Neither is read where conversions stay.
        """
        if value.pair is not None or value.stays:
            before = raw = None
        requests, origin = [request for request in self.asked(value) if request.users], self.asked_origin(value)
        for request in requests:
            form = self.requantized(value, main, request.parameters, tuple(request.users), request.why, "spread")
            self.read_form(request.users, form, None, None, origin if request is requests[0] else "spread")
        unread = [use for use in value.uses if use not in self.reads]
        self.read_form(unread, main, before, raw, origin_of(value), value.pair)

    def read_form(
        self,
        uses: list[Use],
        form: int,
        before: int | None,
        raw: int | None,
        origin: str,
        pair: tuple[int, int] | None = None,
    ) -> None:
        """int8 operators read the form; the others its float32: the raw one, or a DEQUANTIZE of what came before."""
        self.read([use for use in uses if self.reads_int8(use)], form)
        if before is not None and self.forms[before].parameters is not None and not self.forms[before].unsigned:
            self.read([use for use in uses if self.is_carried(use)], before)
        others = [use for use in uses if not self.reads_int8(use)]
        if not others:
            return
        only_output = len(others) == 1 and others[0].operator is None
        if only_output and self.output_type != "float32":
            self.read(others, form)
            return
        if raw is not None:
            self.read(others, raw)
            return
        source = form if before is None else before
        named = None if pair is None else pair[1]
        dequantized = Form(self.forms[form].tensor, None, "DEQUANTIZE", source, origin=origin, named=named)
        self.read(others, self.form(dequantized))

    def read(self, uses: list[Use], form: int) -> None:
        for use in uses:
            self.reads[use] = form

    def requantized(
        self,
        value: Value,
        source: int,
        parameters: Parameters,
        users: tuple[Use, ...],
        why: Why,
        origin: str,
        named: int | None = None,
    ) -> int:
        form = self.form(Form(value.tensor, parameters, "QUANTIZE", source, origin=origin, named=named))
        produced, name = self.forms[source].parameters, self.graph.tensors[value.tensor].name
        assert produced is not None
        self.requantize[form] = Requantize(value.tensor, name, produced, parameters, users, why)
        return form

    # the rest

    def plan_untouched(self) -> None:
        """Inputs, constants and outputs that are not float32."""
        made: dict[int, int] = {form.tensor: index for index, form in enumerate(self.forms)}
        for tensor in self.graph.inputs:
            if tensor not in made:
                made[tensor] = self.form(Form(tensor, None, "input"))
        uses = [
            (Use(position, slot), tensor)
            for position, operator in enumerate(self.graph.operators)
            for slot, tensor in enumerate(operator.inputs)
            if tensor >= 0
        ]
        uses += [(Use(None, number), tensor) for number, tensor in enumerate(self.graph.outputs)]
        for use, tensor in uses:
            if use not in self.reads:
                if tensor not in made:
                    made[tensor] = self.form(Form(tensor, None, "constant"))
                self.reads[use] = made[tensor]

    def quantize_outputs(self) -> None:
        """An output that a DEQUANTIZE makes is taken before it; for uint8 a QUANTIZE follows."""
        for number in range(len(self.graph.outputs)):
            output = Use(None, number)
            form = self.forms[self.reads[output]]
            if form.made == "DEQUANTIZE" and form.source is not None:
                self.reads[output] = form.source
                form = self.forms[form.source]
            if form.parameters is not None and self.output_type == "uint8":
                unsigned = replace(form, made="QUANTIZE", source=self.reads[output], unsigned=True)
                self.reads[output] = self.form(unsigned)

    def used(self) -> list[bool]:
        """Which forms somebody reads, or an input or operator makes; a conversion that nobody reads is dropped."""
        used = [form.made in ("input", "operator", "intermediate") for form in self.forms]
        for form in self.reads.values():
            used[form] = True
        for number in reversed(range(len(self.forms))):  # a form's source comes before it
            source = self.forms[number].source
            if used[number] and source is not None:
                used[source] = True
        return used
