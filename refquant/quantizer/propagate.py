"""How parameters spread through a graph: the converter's worklist, step by step, because its order decides the result.

Every float tensor is a value that at most once gets parameters. Where an operator asks for others, a requantization is
noted. Three steps: drop the ranges that a neighbour makes redundant; turn the rest into parameters that no longer
change; pop operators from a stack until nothing moves.
Source: google-ai-edge/LiteRT, tflite/converter/quantization/common/quantization_lib/quantization_utils.cc
(RemoveRedundantStatsOps) and tfl_quantization_driver.cc (QuantizationDriver); checked against TensorFlow 2.21.0.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from refquant.errors import NotQuantizable
from refquant.model.graph import Array, Graph, Model, Operator
from refquant.quantizer.parameters import (
    NARROWED,
    Arithmetic,
    Parameters,
    activation_parameters,
    guard_bias,
)
from refquant.quantizer.recurrent import Operand, recipe_of
from refquant.quantizer.recurrent_parameters import (
    Memory,
    Settled,
    derivation,
    derived_parameters,
    settled_memory,
)
from refquant.quantizer.rules import OP_RULES, PER_TENSOR, OpRule
from refquant.quantizer.why import Why, called

Range = tuple[float, float]

NO_RULE = OpRule(quantizable=False)
COMMUTATIVE = ("ADD", "ADD_N", "EQUAL", "MAXIMUM", "MINIMUM", "MUL", "NOT_EQUAL")  # tfl_ops.td


@dataclass(frozen=True, slots=True, order=True)
class Use:
    """One place that reads a tensor: an operator's operand, or (operator None) the graph's output number `operand`."""

    operator: int | None
    operand: int


@dataclass(slots=True)
class Requantization:
    """Other parameters that an operator asked of a value that already had some."""

    parameters: Parameters
    users: list[Use]  # empty: its producer asked, and keeps them; else these readers asked
    why: Why


@dataclass(frozen=True, slots=True)
class Given:
    """The parameters that a tensor has from the first, and why.

    `pair`: the results of the QUANTIZE and the DEQUANTIZE that stand behind it in the model already, if they do. Those
    stay, where conversions that were put there because of a range go again if an operator reads float32. `stays`: so do
    those of an activation that an LSTM or SVDF reads.
    """

    parameters: Parameters
    why: Why
    pair: tuple[int, int] | None = None
    stays: bool = False


@dataclass(slots=True, eq=False)
class Value:
    """A float tensor while parameters spread: a constant that several operators read may become several values."""

    tensor: int
    producer: int | None = None  # the operator that computes it; None for inputs and constants
    constant: Array | None = None
    beside: int = 0  # of a copy of a constant: whether it stands before (-1) or behind (1) what it copies
    uses: list[Use] = field(default_factory=list)  # in the order in which the converter pushes them
    parameters: Parameters | None = None
    calibrated: bool = False  # its parameters come from its own range and never change
    settled: bool = False  # weights of an LSTM or SVDF, with their parameters before anything spreads
    pair: tuple[int, int] | None = None  # as in Given
    stays: bool = False  # as in Given
    unread: bool = False  # it has a range of its own, but nothing reads it
    why: Why | None = None  # of the parameters
    requantizations: list[Requantization] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Spread:
    """The result: every value with what it got. `slots`: which value each float operand reads.

    `inner`: (operator, intermediate) -> the parameters of a value inside an LSTM, and why.
    """

    values: tuple[Value, ...]
    slots: Mapping[Use, Value]
    results: Mapping[tuple[int, int], Value]  # (operator, result) -> value
    inner: Mapping[tuple[int, int], Settled] = field(default_factory=dict)


def rule_of(operator: Operator) -> OpRule:
    """The op's row of the specification; an op without one is not quantizable."""
    return OP_RULES.get(operator.name, NO_RULE)


def in_words(graph: Graph, operator: int) -> str:
    """ "operator 3 (CONV_2D)"."""
    return f"operator {operator} ({graph.operators[operator].name})"


def float_operands(graph: Graph, operator: Operator) -> list[int]:
    """The positions of the operands that are float32 tensors."""
    return [slot for slot, index in enumerate(operator.inputs) if index >= 0 and graph.tensors[index].type == "FLOAT32"]


def is_quantized(graph: Graph, value: Value) -> bool:
    """Whether the value has an int8 form. Parameters do not count at a result that its operator cannot convert."""
    if value.parameters is None:
        return False
    return value.calibrated or value.producer is None or is_worked(graph.operators[value.producer])


def derived_operands(operator: Operator) -> tuple[Operand, ...]:
    """The biases of an LSTM or SVDF that are there."""
    recipe = recipe_of(operator)
    operands = () if recipe is None else recipe.operands
    return tuple(o for o in operands if o.bits == 32 and o.slot < len(operator.inputs) and operator.inputs[o.slot] >= 0)


def is_bias(operator: Operator, slot: int) -> bool:
    """Whether the operator's operand is a bias."""
    bias = rule_of(operator).bias
    return (bias is not None and bias.operand == slot) or any(o.slot == slot for o in derived_operands(operator))


def is_worked(operator: Operator) -> bool:
    """Whether the worklist holds the operator at all: it may become int8, or passes parameters on."""
    return rule_of(operator).quantizable or rule_of(operator).same_scale


# 1. redundant ranges


def drop_redundant_ranges(graph: Graph, ranges: Mapping[int, Range]) -> frozenset[int]:
    """The tensors whose range is used; the others take their neighbours' parameters or fixed ones.

    Forward: a same-scale operator with one float operand passes its operand's parameters on, so its results need no
    range; nor do the results of an operator with a fixed output. Backward: the range of a same-scale operator's result
    makes those of all its operands redundant, and those of the operators before, as far as same-scale operators go.
    """
    operators, producer = graph.operators, _producers(graph)
    redundant = {
        tensor
        for index, operator in enumerate(operators)
        if rule_of(operator).fixed_output is not None
        for tensor in operator.outputs
        if tensor in ranges
    }
    forward, passed = list(ranges), set(ranges)
    users: dict[int, list[Operator]] = {}
    for operator in operators:
        for tensor in {*operator.inputs}:
            users.setdefault(tensor, []).append(operator)
    while forward:
        for operator in users.get(forward.pop(), ()):
            if rule_of(operator).same_scale and len(float_operands(graph, operator)) <= 1:
                results = [tensor for tensor in operator.outputs if tensor in ranges]
                redundant.update(results)
                forward += [tensor for tensor in results if tensor not in passed]
                passed.update(results)
    backward = [tensor for tensor in ranges if tensor not in redundant]
    seen = set(backward)
    while backward:
        index = producer.get(backward.pop())
        if index is not None and rule_of(operators[index]).same_scale:
            operands = [tensor for tensor in operators[index].inputs if tensor in ranges]
            redundant.update(operands)
            backward += [tensor for tensor in operands if tensor not in seen]
            seen.update(operands)
    return frozenset(ranges) - redundant


def _producers(graph: Graph) -> dict[int, int]:
    return {tensor: index for index, operator in enumerate(graph.operators) for tensor in operator.outputs}


# 2. values


def _constants(model: Model) -> dict[int, Array]:
    """The float constants that are read. One that is NaN or infinite in its first element is left alone later."""
    graph = model.graph
    constants: dict[int, Array] = {}
    reads = [(in_words(graph, n), index) for n, operator in enumerate(graph.operators) for index in operator.inputs]
    for where, index in (*reads, *((f"graph output {n}", index) for n, index in enumerate(graph.outputs))):
        tensor = graph.tensors[index] if index >= 0 else None
        if tensor is None or tensor.type != "FLOAT32" or index in constants:
            continue
        value = model.constant(tensor)
        if value is None:
            continue
        if value.size and np.isfinite(value.flat[0]) and not np.isfinite(value).all():
            if where.startswith("graph output"):
                continue
            raise NotQuantizable(f"{where}: constant '{tensor.name}' holds NaN or infinity; remove it first")
        constants[index] = value
    return constants


def _values(model: Model, given: Mapping[int, Given], ranges: Container[int]) -> Spread:
    """One value per float tensor, constants of equal shape and content being one. ranges: the tensors that have one."""
    graph, constants, producer = model.graph, _constants(model), _producers(model.graph)
    by_tensor: dict[int, Value] = {}
    by_content: dict[tuple[tuple[int, ...], bytes], Value] = {}
    slots: dict[Use, Value] = {}
    reads: dict[int, list[Use]] = {}
    values: list[Value] = []

    def value_of(tensor: int) -> Value:
        if tensor in by_tensor:
            return by_tensor[tensor]
        constant = constants.get(tensor)
        content = None if constant is None or tensor in given else (constant.shape, constant.tobytes())
        if content is not None and content in by_content:
            by_tensor[tensor] = by_content[content]
            return by_content[content]
        value = Value(tensor, producer.get(tensor), constant)
        if content is not None:
            by_content[content] = value
        if tensor in given:
            value.parameters, value.why, value.pair = given[tensor].parameters, given[tensor].why, given[tensor].pair
            value.calibrated, value.stays = True, given[tensor].stays
        by_tensor[tensor] = value
        values.append(value)
        return value

    for tensor in graph.inputs:
        if graph.tensors[tensor].type == "FLOAT32":
            value_of(tensor)
    for position, operator in enumerate(graph.operators):
        for slot in float_operands(graph, operator):
            slots[Use(position, slot)] = value_of(operator.inputs[slot])
            reads.setdefault(operator.inputs[slot], []).append(Use(position, slot))
        for tensor in operator.outputs:
            if graph.tensors[tensor].type == "FLOAT32":
                value_of(tensor)
    for number, tensor in enumerate(graph.outputs):
        if tensor in by_tensor or tensor in constants:
            value_of(tensor)
            reads.setdefault(tensor, []).append(Use(None, number))
    for tensor in by_tensor.keys() - reads.keys():
        by_tensor[tensor].unread = tensor in ranges
    for tensor, uses in reads.items():
        _take_uses(by_tensor[tensor], uses, tensor in ranges)
    for value in values:
        if value.constant is not None:
            value.uses[:] = _commutative_first(graph, value.uses)
    results = {
        (position, number): by_tensor[tensor]
        for position, operator in enumerate(graph.operators)
        for number, tensor in enumerate(operator.outputs)
        if tensor in by_tensor
    }
    return Spread(tuple(values), slots, results)


def _take_uses(value: Value, uses: list[Use], has_range: bool) -> None:
    """Adds a tensor's uses, given in the graph's order, to the value's in the converter's order.

    A list of uses begins with the last one. To replace a tensor turns the list round: a range by its parameters (or by
    nothing), a constant when it is read, and an equal constant once more when it joins the first one.
    """
    turned = has_range or (value.constant is not None and not value.uses)
    value.uses[:0] = uses if turned else reversed(uses)


def _commutative_first(graph: Graph, uses: list[Use]) -> list[Use]:
    """A constant's uses, once the converter has tried to take constants to the right in commutative operators.

    Even where nothing moves, it takes those operands out and puts them back, the last operator first.
    """
    touched = [use for use in uses if use.operator is not None and graph.operators[use.operator].name in COMMUTATIVE]
    touched.sort(key=lambda use: (use.operator, -use.operand))
    return touched + [use for use in uses if use not in touched]


def _calibrated(graph: Graph, tensor: int, limits: Range) -> Given:
    low, high = map(np.float32, limits)
    why = Why("calibrated", f"calibrated: the range [{low!s}, {high!s}]", None, (tensor,))
    try:
        return Given(activation_parameters(*limits), why)
    except NotQuantizable as error:
        raise NotQuantizable(f"tensor '{graph.tensors[tensor].name}': {error}") from None


# 3. the worklist


class _Worklist:
    """The converter's stack of operators and constants, and the rules by which one sets its neighbours' parameters."""

    def __init__(
        self, graph: Graph, spread: Spread, per_channel: bool, per_channel_dense: bool, arithmetic: Arithmetic
    ) -> None:
        self.graph, self.arithmetic = graph, arithmetic
        self.per_channel, self.per_channel_dense = per_channel, per_channel_dense
        self.values, self.slots, self.results = list(spread.values), dict(spread.slots), spread.results
        self.inner = spread.inner
        self.weights: dict[
            Value, Use | None
        ] = {}  # constants with a range of their own -> their use as weights, if any
        self.done: set[int | Value] = set()
        self._split_constants()
        constants = [value for value in self.values if value.constant is not None]
        worked = [position for position, operator in enumerate(graph.operators) if is_worked(operator)]
        self.stack: list[int | Value] = [*reversed(constants), *worked]

    def _split_constants(self) -> None:
        """A constant read as a bias or by a same-scale operator becomes one value per such use, if it has others."""
        for value in list(self.values):
            if value.constant is None or not value.constant.size or not np.isfinite(value.constant.flat[0]):
                continue
            if value.calibrated:
                continue
            several = len(value.uses) > 1
            for use in list(value.uses):
                rule = NO_RULE if use.operator is None else rule_of(self.graph.operators[use.operator])
                bias = use.operator is not None and is_bias(self.graph.operators[use.operator], use.operand)
                if not bias and not rule.same_scale:
                    is_weight = rule.weights is not None and rule.weights.operand == use.operand
                    if self.weights.get(value) is None:
                        self.weights[value] = use if is_weight else None
                elif several:
                    self._copy(value, use, beside=-1)

    def _copy(self, value: Value, use: Use, beside: int) -> Value:
        copy = Value(value.tensor, None, value.constant, beside, [use])
        value.uses.remove(use)
        self.values.append(copy)
        self.slots[use] = copy
        return copy

    def run(self) -> Spread:
        """Pops until the stack is empty."""
        while self.stack:
            item = self.stack.pop()
            if item in self.done:
                continue
            self.done.add(item)
            if isinstance(item, Value):
                self._set_constant(item)
            else:
                self._visit(item)
        return Spread(tuple(self.values), self.slots, self.results, self.inner)

    def _visit(self, position: int) -> None:
        operator = self.graph.operators[position]
        rule = rule_of(operator)
        if rule.same_scale:
            found = self._shared(position)
            if found is None:
                self.done.discard(position)
                return
            parameters, why = found
            for slot in float_operands(self.graph, operator):
                self._set_operand(Use(position, slot), parameters, why)
            for value in self._results(position):
                self._set_result(value, parameters, why)
        if rule.fixed_output is not None and rule.quantizable:
            fixed = Parameters("INT8", (rule.fixed_output.scale,), (rule.fixed_output.zero_point,))
            for value in self._results(position):
                self._set_result(value, fixed, Why("fixed", f"fixed by {in_words(self.graph, position)}", position))
        if rule.bias is not None and rule.quantizable:
            self._set_bias(position, rule)
        for operand in derived_operands(operator):
            self._set_derived(position, operand)

    def _results(self, position: int) -> Iterator[Value]:
        for number in range(len(self.graph.operators[position].outputs)):
            if (position, number) in self.results:
                yield self.results[position, number]

    def _shared(self, position: int) -> tuple[Parameters, Why] | None:
        """The parameters a same-scale operator gives all its tensors; None while no neighbour has any."""
        operator = self.graph.operators[position]
        operands = [(self.slots[Use(position, slot)], f"input {slot}") for slot in float_operands(self.graph, operator)]
        results = [(value, f"output {number}") for number, value in enumerate(self._results(position))]
        one_operand = len(operator.inputs) == 1 and operator.name != "RESHAPE"  # a RESHAPE's shape counts, even implied
        one_result = len(operator.outputs) == 1
        for fixed in (True, False):
            known = [place for place in operands if place[0].parameters is not None and place[0].calibrated == fixed]
            given = [place for place in results if place[0].parameters is not None and place[0].calibrated == fixed]
            if one_operand and known:
                return self._inherited(position, *known[0])
            if one_result and given:
                return self._inherited(position, *given[-1])
            if known or given:
                return self._inherited(position, *[*known, *given][0])
        return None

    def _inherited(self, position: int, source: Value, place: str) -> tuple[Parameters, Why]:
        assert source.parameters is not None
        name = called(self.graph.tensors[source.tensor].name)
        text = f"inherited: {in_words(self.graph, position)} has one scale, that of its {place} {name}"
        return source.parameters, Why("inherited", text, position, (source.tensor,))

    def _set_operand(self, use: Use, parameters: Parameters, why: Why, override: bool = False) -> None:
        value = self.slots[use]
        if value.parameters == parameters:
            return
        if value.parameters is not None and not override:
            for asked in value.requantizations:
                if asked.parameters == parameters:
                    if asked.users:  # else the producer asked, for all readers
                        asked.users.append(use)
                    return
            value.requantizations.append(Requantization(parameters, [use], why))
            return
        value.parameters, value.why = parameters, why
        if value.constant is not None:
            self.stack.append(value)
        elif value.producer is not None:
            self.stack.append(value.producer)

    def _set_result(self, value: Value, parameters: Parameters, why: Why) -> None:
        if value.parameters == parameters:
            return
        if value.parameters is not None:
            value.requantizations.append(Requantization(parameters, [], why))
            return
        value.parameters, value.why = parameters, why
        self.stack += [use.operator for use in value.uses if use.operator is not None]

    def _set_constant(self, value: Value) -> None:
        """A constant with its own range: symmetric if an operator takes it as weights, else from its values."""
        if value not in self.weights or value.parameters is not None:
            return
        assert value.constant is not None
        use = self.weights[value]
        if use is None:
            why = Why("constant", "the range of the constant's values, zero included", None, (value.tensor,))
            self._set_result(value, self.arithmetic.constant(value.constant), why)
            return
        assert use.operator is not None
        operator = self.graph.operators[use.operator]
        rule = rule_of(operator).weights
        assert rule is not None
        dense = operator.name == "FULLY_CONNECTED"
        per_channel = self.per_channel and rule.axis != PER_TENSOR and (self.per_channel_dense or not dense)
        if per_channel and rule.axis >= value.constant.ndim:
            return
        parameters = self.arithmetic.weights(value.constant, rule.axis if per_channel else None)
        how = f"one scale per index of dim {rule.axis}" if per_channel else "one scale"
        text = f"weights of {in_words(self.graph, use.operator)}: {how}, max |w| / 127"
        self._set_result(value, parameters, Why("weights", text, use.operator, (value.tensor,)))

    def _set_bias(self, position: int, rule: OpRule) -> None:
        """The bias takes the product of the input's and the weights' scales, larger where a value would overflow."""
        assert rule.bias is not None
        use = Use(position, rule.bias.operand)
        factors = [self.slots.get(Use(position, operand)) for operand in rule.bias.factors]
        if use not in self.slots:
            return
        bias = self.slots[use]
        known = [value.parameters for value in factors if value is not None and value.parameters is not None]
        parameters = bias.parameters
        if parameters is None:
            if len(known) != 2:
                self.done.discard(position)
                return
            rank = 1 if bias.constant is None else bias.constant.ndim
            parameters = self.arithmetic.bias((known[0], known[1]), rank)
        channels = len(parameters.scale)
        if bias.constant is not None and not _fits(bias.constant, channels):
            where, shape = in_words(self.graph, position), bias.constant.shape
            raise NotQuantizable(f"{where}: its bias has shape {shape}, its weights have {channels} channels")
        read = tuple(value.tensor for value in factors if value is not None)
        product = " times ".join(f"the scale of {called(self.graph.tensors[tensor].name)}" for tensor in read)
        text = f"bias of {in_words(self.graph, position)}: {product}"
        guarded = self._guarded(position, rule, bias, parameters)
        if guarded is None:
            self._set_operand(use, parameters, Why("bias", text, position, read))
            return
        raised = tuple(i for i, scale in enumerate(parameters.scale) if guarded[0].scale[i] != scale)
        of = "" if len(parameters.scale) == 1 else f" of {len(raised)} of {len(parameters.scale)} channels"
        guard = f"the scale{of} raised, as |bias| would exceed 2^30 - 1 steps"
        self._set_operand(use, guarded[0], Why("bias", f"{text}; {guard}", position, read, raised))
        self._raise_weights(position, rule, guarded[1], guard, raised)

    def _set_derived(self, position: int, operand: Operand) -> None:
        """A bias of an LSTM or SVDF: the product of the scales it follows from, once all are known."""
        use = Use(position, operand.slot)
        if use not in self.slots:
            return
        factors = [self.slots.get(Use(position, factor)) for factor in operand.factors]
        known = [value.parameters for value in factors if value is not None and value.parameters is not None]
        inside = all((position, number) in self.inner for number in operand.intermediates)
        if self.slots[use].parameters is None and (len(known) != len(factors) or not inside):
            self.done.discard(position)
            return
        parameters = self.slots[use].parameters
        read = tuple(value.tensor for value in factors if value is not None)
        if parameters is None:
            factor = operand.factor
            for number in operand.intermediates:
                factor *= self.inner[position, number][0].scale[0]
            parameters = derived_parameters(known, factor)
            read += tuple(self.graph.operators[position].intermediates[number] for number in operand.intermediates)
        self._set_operand(use, parameters, derivation(self.graph, position, operand, read))

    def _raise_weights(
        self, position: int, rule: OpRule, parameters: Parameters, guard: str, raised: tuple[int, ...]
    ) -> None:
        """Weights whose scale follows the bias; a copy of them if others read them too."""
        assert rule.weights is not None
        use = Use(position, rule.weights.operand)
        weights = self.slots[use]
        if len(weights.uses) > 1:
            weights = self._copy(weights, use, beside=1)
            self.done.add(weights)
        text = f"weights of {in_words(self.graph, position)}: max |w| / 127; {guard}"
        self._set_operand(use, parameters, Why("weights", text, position, (weights.tensor,), raised), override=True)

    def _guarded(
        self, position: int, rule: OpRule, bias: Value, parameters: Parameters
    ) -> tuple[Parameters, Parameters] | None:
        assert rule.bias is not None
        if rule.weights is None or bias.constant is None or parameters.type != "INT32":
            return None
        weights = self.slots.get(Use(position, rule.weights.operand))
        other = [operand for operand in rule.bias.factors if operand != rule.weights.operand]
        input_ = self.slots.get(Use(position, other[0]))
        if weights is None or weights.constant is None or weights.parameters is None or weights.calibrated:
            return None
        if input_ is None or input_.parameters is None:
            return None
        return guard_bias(bias.constant, parameters, input_.parameters, weights.parameters)


def _fits(bias: Array, channels: int) -> bool:
    """One scale for all elements, one element for all scales, or as many along the last dimension as scales."""
    return channels == 1 or bias.size == 1 or bias.shape[-1:] == (bias.size,) == (channels,)


def spread_parameters(
    model: Model, ranges: Mapping[int, Range], per_channel: bool = True, per_channel_dense: bool = True
) -> Spread:
    """Every value of the main graph with the parameters it gets. ranges: float tensor index -> (min, max).

    Errors: NotQuantizable for a range or constant that is not finite.
    """
    graph = model.graph
    constants = _constants(model)
    observed = {
        tensor: limits
        for tensor, limits in ranges.items()
        if graph.tensors[tensor].type == "FLOAT32" and tensor not in constants
    }
    read = {tensor for operator in graph.operators for tensor in operator.inputs} | {*graph.outputs}
    kept = drop_redundant_ranges(graph, observed) & read  # a range that nothing reads still makes others redundant
    memory = settled_memory(model, kept, observed, ranges)
    given = {t: _calibrated(graph, t, memory.ranges[t]) for t in sorted(kept) if t not in memory.tensors}
    given |= {t: Given(*settled, stays=not graph.tensors[t].is_variable) for t, settled in memory.tensors.items()}
    values = _with_memory(_values(model, given, observed), memory)
    return _Worklist(graph, values, per_channel, per_channel_dense, NARROWED).run()


def _with_memory(spread: Spread, memory: Memory) -> Spread:
    """Each use of a constant as weights of an LSTM or SVDF as a value of its own, with its parameters."""
    values, slots = list(spread.values), dict(spread.slots)
    for (position, slot), (parameters, why) in memory.weights.items():
        use = Use(position, slot)
        whole = slots[use]
        whole.uses.remove(use)
        slots[use] = Value(
            whole.tensor, None, whole.constant, 0, [use], parameters, calibrated=True, settled=True, why=why
        )
        values.append(slots[use])
    unused = {value for value in values if value.constant is not None and not value.uses}
    return Spread(tuple(value for value in values if value not in unused), slots, spread.results, memory.inner)


def spread_given(model: Model, given: Mapping[int, Given], arithmetic: Arithmetic, per_channel_dense: bool) -> Spread:
    """Every value of the main graph with the parameters it gets, given those of some tensors, none of them redundant.

    Errors: NotQuantizable for a constant that is not finite.
    """
    return _Worklist(model.graph, _values(model, given, given), True, per_channel_dense, arithmetic).run()
