"""The model while the old quantizer changes it: tensors and operators as they are after the steps so far.

The old quantizer edits the model in place, and its result depends on the order of the edits: an operator that comes
later sees what an earlier one left. So the steps of ranges.py, operands.py and borders.py edit a Draft; what they
decided is read from it at the end, and no constant is touched before `apply`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NoReturn

import numpy as np

from refquant.errors import NotQuantizable
from refquant.model.graph import Array, Model, Operator, Quantization, Signature, Tensor
from refquant.quantizer.legacy.activation import ActivationType
from refquant.quantizer.legacy.arithmetic import Rescaling, Rewriting, Scaling, is_undefined, rewrite, saturating
from refquant.quantizer.legacy.defects import Avoided
from refquant.quantizer.legacy.properties import OpProperty, property_of
from refquant.quantizer.recurrent import Operand
from refquant.quantizer.why import Why

# What a loop of arithmetic.py does with results that are no int32.
DEFECT_OF_LOOP = {
    "weights": "legacy-wraps-round",
    "channels": "legacy-wraps-round",
    "int16": "legacy-limit-turns-round",
    "rescaled": "legacy-limit-by-place",
    "assigned": "legacy-limit-by-place",
}
VERSIONS = {"QUANTIZE": 1, "DEQUANTIZE": 2}  # of an inserted operator, unless there is one of the op already


@dataclass(frozen=True, slots=True)
class Choices:
    """What the caller chose, apart from the types of inputs and outputs."""

    per_channel: bool
    per_channel_dense: bool
    bias_type: str  # "INT32" or "INT64"
    denied: Mapping[int, Why]  # operators that stay float
    reproduce_defects: bool = False  # those of defects.py, too


@dataclass(frozen=True, slots=True)
class Step:
    """An operator of the draft; `position` is its number in the float model, None if it was inserted."""

    operator: Operator
    position: int | None = None


@dataclass(slots=True)
class Draft:
    """What the steps edit.

    `sources`: draft tensor -> the float model's tensor of the same values. `real`: names of operators (of their first
    results) that work on real values. `rewritings`: how a constant's integers follow, one rule after the other. `whys`:
    why a tensor has its parameters; for what a conversion makes, why that stands there. `avoided`: the defects that the
    new model does not have. `one_scale`: operators whose operands take the parameters of the result, though their row
    has it the other way round. `own_buffers`: constants that leave a buffer to others.
    """

    model: Model
    activation: ActivationType
    choices: Choices
    tensors: list[Tensor]
    steps: list[Step]
    inputs: list[int]
    outputs: list[int]
    sources: list[int]
    signatures: list[Signature]
    ranges: Mapping[int, tuple[float, float]]
    real: set[str] = field(default_factory=set)
    rewritings: dict[int, list[Rewriting]] = field(default_factory=dict)
    whys: dict[int, Why] = field(default_factory=dict)
    avoided: list[Avoided] = field(default_factory=list)
    one_scale: set[int] = field(default_factory=set)
    own_buffers: set[int] = field(default_factory=set)


def start(
    model: Model, ranges: Mapping[int, tuple[float, float]], activation: ActivationType, choices: Choices
) -> Draft:
    """The float model with these ranges in its tensors, and no others."""
    graph = model.graph
    tensors = []
    for index, tensor in enumerate(graph.tensors):
        limits = ranges.get(index)
        quantization = None if limits is None else Quantization(min=limits[:1], max=limits[1:])
        tensors.append(replace(tensor, quantization=quantization))
    return Draft(
        model,
        activation,
        choices,
        tensors,
        [Step(operator, position) for position, operator in enumerate(graph.operators)],
        list(graph.inputs),
        list(graph.outputs),
        list(range(len(tensors))),
        list(model.signatures),
        ranges,
    )


# operators


def operator_name(draft: Draft, step: Step) -> str | None:
    """By what the old quantizer knows an operator: the name of its first result. None if it never looks at it."""
    if step.operator.outputs:
        return draft.tensors[step.operator.outputs[0]].name
    return draft.tensors[present_operand_of(step, 0)].name if step.operator.name == "ASSIGN_VARIABLE" else None


def row_of(step: Step) -> OpProperty | None:
    """The operator's row of the table, whatever was chosen; None for an op that is never quantized."""
    return property_of(step.operator)


def why_float(draft: Draft, step: Step) -> Why | None:
    """Why the operator is not quantized; None if it is."""
    row, op = row_of(step), step.operator.name
    if row is None:
        return Why("no int8 form", f"the old quantizer's table has no row of {op}")
    if draft.activation.type not in row.types:
        return Why("no int8 form", f"the old quantizer has no {draft.activation.type.lower()} form of {op}")
    return None if step.position is None else draft.choices.denied.get(step.position)


def is_quantizable(draft: Draft, step: Step) -> bool:
    """Whether the operator is to be quantized."""
    return why_float(draft, step) is None


def is_real(draft: Draft, step: Step) -> bool:
    """Whether the operator, or one whose first result has the same name, works on real values."""
    return operator_name(draft, step) in draft.real


def is_per_channel(draft: Draft, step: Step, operand: Operand) -> bool:
    """Whether the operand gets one scale per channel."""
    dense = draft.choices.per_channel_dense or step.operator.name != "FULLY_CONNECTED"
    return operand.axis is not None and draft.choices.per_channel and dense


def operand_of(step: Step, slot: int) -> int:
    """The tensor of an operand that the table names. Errors: NotQuantizable if the operator has too few operands."""
    if slot >= len(step.operator.inputs):
        fail(step, f"it has {len(step.operator.inputs)} operands; the old quantizer asks for operand {slot}")
    return step.operator.inputs[slot]


def present_operand_of(step: Step, slot: int) -> int:
    """The same of an operand that must be there. Errors: NotQuantizable if it is absent."""
    tensor = operand_of(step, slot)
    if tensor < 0:
        fail(step, f"operand {slot} is absent; the old quantizer reads it")
    return tensor


def in_words(step: Step) -> str:
    """How messages and reasons name an operator."""
    return f"operator {step.position} ({step.operator.name})"


def avoid(draft: Draft, key: str, step: Step | None, text: str, *tensors: int) -> None:
    """Notes once that the new model does not have a defect here; `tensors` of the draft."""
    place = (None, "") if step is None else (step.position, step.operator.name)
    found = Avoided(key, *place, tuple(draft.sources[tensor] for tensor in tensors), text)
    if found not in draft.avoided:
        draft.avoided.append(found)


def fail(step: Step, reason: str) -> NoReturn:
    """Errors: NotQuantizable, naming the operator."""
    raise NotQuantizable(f"{in_words(step)}: {reason}")


def insert(draft: Draft, index: int, op: str, source: int, target: int) -> None:
    """Puts a QUANTIZE or DEQUANTIZE in front of the operator at `index`."""
    version = next((step.operator.version for step in draft.steps if step.operator.name == op), VERSIONS[op])
    draft.steps.insert(index, Step(Operator(op, (source,), (target,), version)))


def replace_operand(draft: Draft, index: int, slot: int, tensor: int) -> None:
    """Lets an operand of the operator at `index` read another tensor."""
    step = draft.steps[index]
    inputs = (*step.operator.inputs[:slot], tensor, *step.operator.inputs[slot + 1 :])
    draft.steps[index] = replace(step, operator=replace(step.operator, inputs=inputs))


# tensors


def has_buffer(draft: Draft, index: int) -> bool:
    """Whether the tensor is a constant."""
    tensor = draft.tensors[index]
    return tensor.buffer != 0 and bool(draft.model.buffers[tensor.buffer])


def has_range(tensor: Tensor) -> bool:
    """Whether the tensor has a minimum and a maximum."""
    q = tensor.quantization
    return q is not None and bool(q.min) and bool(q.max)


def is_quantized(tensor: Tensor) -> bool:
    """Whether the tensor has a scale and a zero point."""
    q = tensor.quantization
    return q is not None and bool(q.scale) and bool(q.zero_point)


def quantization_of(tensor: Tensor) -> Quantization:
    """The tensor's parameters and range; empty if it has none."""
    return tensor.quantization or Quantization()


def constant(draft: Draft, index: int, step: Step) -> Array:
    """The float values of a constant of the float model. Errors: NotQuantizable if they are none."""
    tensor = draft.model.graph.tensors[draft.sources[index]]
    values = draft.model.constant(tensor)
    if tensor.type != "FLOAT32" or values is None or not values.size:
        fail(step, f"its operand '{tensor.name}' holds {tensor.type}{list(tensor.shape)}, no float32 values")
    if not np.isfinite(values).all():
        fail(step, f"its operand '{tensor.name}' holds values that are not finite")
    return values


def defined(
    draft: Draft, step: Step, index: int, values: Array, rule: Rewriting, scales: tuple[float, ...]
) -> Rewriting:
    """The rule, or, where defects are avoided, one that saturates if C++ leaves open what the rule makes of a value."""
    if draft.choices.reproduce_defects or not is_undefined(values, rule):
        return rule
    better = saturating(rule, scales)
    if np.array_equal(rewrite(values, rule), rewrite(values, better)):
        return rule
    then = rule.then if isinstance(rule, Rescaling) else rule
    factors = then.factor if isinstance(then, Scaling) else (then.factor,)
    key = DEFECT_OF_LOOP[then.loop] if np.isfinite(factors).all() else "legacy-tiny-weights"
    text = f"values of its operand '{draft.tensors[index].name}' would leave what {then} is computed in"
    avoid(draft, key, step, text, index)
    return better


def set_quantization(draft: Draft, index: int, quantization: Quantization, type_: str | None = None) -> None:
    """Gives a tensor parameters, and a type where it takes one. Errors: NotQuantizable if a number is not finite."""
    numbers = (*quantization.scale, *quantization.min, *quantization.max)
    if not np.isfinite(numbers).all():
        raise NotQuantizable(
            f"tensor '{draft.tensors[index].name}': its range or scale leaves float32; the old quantizer writes that "
            "it is infinite"
        )
    tensor = draft.tensors[index]
    draft.tensors[index] = replace(tensor, quantization=quantization, type=type_ or tensor.type)


def copy_of_constant(draft: Draft, index: int) -> int:
    """A new tensor with the float values of a constant in a buffer of its own, and the range that the caller gave."""
    old, source = draft.tensors[index], draft.model.graph.tensors[draft.sources[index]]
    number = 1 + sum(known == draft.sources[index] for known in draft.sources[len(draft.model.graph.tensors) :])
    copy = add_tensor(draft, index, f"{source.name}_duplicate_{number}", "FLOAT32")
    draft.tensors[copy] = replace(draft.tensors[copy], buffer=old.buffer, shape_signature=None)
    limits = draft.ranges.get(draft.sources[index])
    if limits is not None:
        set_quantization(draft, copy, Quantization(min=limits[:1], max=limits[1:]))
    return copy


def add_tensor(draft: Draft, like: int, name: str, type_: str, quantization: Quantization | None = None) -> int:
    """A new last tensor of the shape of tensor `like`."""
    old = draft.tensors[like]
    draft.tensors.append(Tensor(name, type_, old.shape, shape_signature=old.shape_signature))
    draft.sources.append(draft.sources[like])
    if quantization is not None:
        set_quantization(draft, len(draft.tensors) - 1, quantization)
    return len(draft.tensors) - 1
