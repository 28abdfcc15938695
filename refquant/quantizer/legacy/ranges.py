"""What the old quantizer does before it quantizes: find the operators, and give every operand it needs a range.

Source: google-ai-edge/LiteRT, tflite/tools/optimize/quantize_model.cc (PopulateRealValueOpSet,
DuplicateBiasesWithMultipleUses, FillQuantizationParams, EnsureBiasScaleCompatibility, QuantizeResources); checked
against TensorFlow 2.21.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from refquant.model.graph import Quantization
from refquant.quantizer.legacy.arithmetic import (
    INT16_MAX,
    Scaling,
    Shift,
    channel_ranges,
    int16_scaling,
    range_scale,
    reciprocal,
    value_range,
    widened_for_bias,
)
from refquant.quantizer.legacy.draft import (
    Draft,
    Step,
    add_tensor,
    avoid,
    constant,
    defined,
    fail,
    has_buffer,
    has_range,
    in_words,
    is_per_channel,
    is_quantizable,
    is_real,
    operand_of,
    operator_name,
    present_operand_of,
    quantization_of,
    replace_operand,
    row_of,
    set_quantization,
)
from refquant.quantizer.legacy.properties import OpProperty
from refquant.quantizer.parameters import NEAR_ZERO
from refquant.quantizer.recurrent import Operand
from refquant.quantizer.why import Why

PER_CHANNEL_RANK = 4  # tensors of more dimensions cannot be quantized per channel


def find_real_operators(draft: Draft) -> None:
    """Operators without a quantized form, and those with one that touch a float32 tensor."""
    for step in draft.steps:
        name = operator_name(draft, step)
        if name is None:
            continue
        row = row_of(step)
        if row is None or not is_quantizable(draft, step) or _touches_float(draft, step, row):
            draft.real.add(name)


def _touches_float(draft: Draft, step: Step, row: OpProperty) -> bool:
    return any(draft.tensors[tensor].type == "FLOAT32" for tensor in _looked_at(step, row))


def _looked_at(step: Step, row: OpProperty) -> Iterator[int]:
    """The tensors whose type decides, in order; the first float32 one ends the search."""
    for operand in row.operands:
        yield present_operand_of(step, operand.slot)
    if row.any_operands:
        yield present_operand_of(step, 0)
    yield from step.operator.outputs[:1] if row.any_results else (step.operator.outputs[n] for n in row.results)


# biases that are read as something else too


def duplicate_biases(draft: Draft) -> None:
    """A constant that is a bias and, elsewhere, an operand that the table names gets a copy for each use as a bias.

    Operands of CONCATENATION, MAXIMUM, MINIMUM and PACK do not count, as the table does not name them.
    """
    named: set[int] = set()
    for step in draft.steps:
        row = row_of(step)
        slots = [operand.slot for operand in row.operands] if row is not None else []
        used = [step.operator.inputs[slot] for slot in slots if slot < len(step.operator.inputs)]
        named.update(tensor for tensor in used if tensor >= 0 and has_buffer(draft, tensor))
    copies: dict[int, int] = {}
    for index, step in enumerate(draft.steps):
        for slot in present_biases(step):
            bias = step.operator.inputs[slot]
            if bias in named:
                copies[bias] = copies.get(bias, 0) + 1
                old = draft.tensors[bias]
                copy = add_tensor(draft, bias, f"{old.name}_duplicate_{copies[bias]}", old.type)
                draft.tensors[copy] = replace(draft.tensors[copy], buffer=old.buffer, shape_signature=None)
                replace_operand(draft, index, slot, copy)


def present_biases(step: Step) -> list[int]:
    """The bias slots of an operator that are filled."""
    row = row_of(step)
    slots = row.biases if row is not None else ()
    return [slot for slot in slots if slot < len(step.operator.inputs) and step.operator.inputs[slot] >= 0]


# ranges of constants


def fill_ranges(draft: Draft) -> None:
    """Every constant that the table names gets the range of its values; a computed operand must have one.

    This also looks at operators that stay float, if only the choice of activations or a denial keeps them so.
    """
    for step in draft.steps:
        row = row_of(step)
        if row is None or (step.operator.outputs and not is_real(draft, step)):
            continue
        for operand in row.operands:
            tensor = operand_of(step, operand.slot)
            if tensor >= 0:
                _fill_range(draft, step, operand, tensor)


def _fill_range(draft: Draft, step: Step, operand: Operand, index: int) -> None:
    tensor = draft.tensors[index]
    if not has_range(tensor):
        if not has_buffer(draft, index):
            fail(step, f"its operand '{tensor.name}' has no range; the old quantizer asks for one of every operand")
        old, values = quantization_of(tensor), constant(draft, index, step)
        if is_per_channel(draft, step, operand):
            axis = operand.axis or 0
            if values.ndim > PER_CHANNEL_RANK or axis >= values.ndim:
                fail(step, f"'{tensor.name}' has {values.ndim} dimensions; scales per channel take {axis + 1} to 4")
            low, high = channel_ranges(values, axis)
            quantization = replace(old, min=low, max=high, quantized_dimension=axis)
        else:
            low_, high_ = value_range(values)
            quantization = replace(old, min=(low_,), max=(high_,))
        if quantization.quantized_dimension != (operand.axis or 0):
            text = f"per tensor, the quantized dimension of '{tensor.name}' is 0, and the old quantizer insists on "
            text += f"{operand.axis}: it cannot quantize {step.operator.name} per tensor"
            if draft.choices.reproduce_defects:
                fail(step, text)
            avoid(draft, "legacy-depthwise-per-tensor", step, text, index)
        set_quantization(draft, index, quantization)


# biases that int32 cannot hold


def make_room_for_biases(draft: Draft) -> None:
    """Widens the range of weights whose bias would leave the middle half of int32."""
    for step in draft.steps:
        row = row_of(step)
        if row is None or not step.operator.outputs or not is_real(draft, step):
            continue
        for slot in present_biases(step):
            bias = step.operator.inputs[slot]
            if len(draft.tensors[bias].shape) != 1:
                fail(step, f"its bias '{draft.tensors[bias].name}' is no vector")
            if is_quantizable(draft, step):
                _make_room(draft, step, row, bias)


def _make_room(draft: Draft, step: Step, row: OpProperty, bias: int) -> None:
    first, second = row.operands
    input_, weights = (present_operand_of(step, operand.slot) for operand in (first, second))
    if not has_buffer(draft, bias):
        fail(step, f"its bias '{draft.tensors[bias].name}' is computed; the old quantizer ends on reading it")
    for tensor in (input_, weights):
        if not has_range(draft.tensors[tensor]):
            fail(step, f"its operand '{draft.tensors[tensor].name}' has no range")
    q = quantization_of(draft.tensors[weights])
    values = constant(draft, bias, step)
    if is_per_channel(draft, step, second) and has_buffer(draft, weights):
        channels = draft.tensors[weights].shape[second.axis or 0]
        if not len(values) == channels == len(q.min) == len(q.max):
            fail(step, f"{len(values)} biases, {channels} channels of weights and {len(q.min)} ranges do not match")
    elif len(q.min) > len(values):
        fail(step, f"{len(q.min)} ranges of weights and {len(values)} biases do not match")
    elif len(q.min) > 1:  # the weights have scales per channel already, from an operator in front
        values = values[: len(q.min)]
    low, high = widened_for_bias(q.min, q.max, values, parameters_of_range(draft, input_).scale[0])
    if not draft.choices.reproduce_defects and not np.isfinite((*low, *high)).all():
        text = f"the range of '{draft.tensors[input_].name}' would make that of the weights infinite"
        avoid(draft, "legacy-zero-range", step, text, input_)
        widen(draft, input_)
        low, high = widened_for_bias(q.min, q.max, values, parameters_of_range(draft, input_).scale[0])
    raised = tuple(i for i, ends in enumerate(zip(low, high, strict=True)) if ends != (q.min[i], q.max[i]))
    if raised:
        of = f" of {len(raised)} of {len(low)} channels" if len(low) > 1 else ""
        text = f"the range{of} widened, as the bias of {in_words(step)} would exceed 2^30 - 1 steps"
        draft.whys[weights] = Why("weights", text, step.position, (draft.sources[weights],), raised)
    set_quantization(draft, weights, replace(q, min=low, max=high))


def parameters_of_range(draft: Draft, tensor: int) -> Quantization:
    """Scale and zero point of an activation. A scale of 0 is a defect: then the range is widened."""
    q = quantization_of(draft.tensors[tensor])
    parameters = draft.activation.parameters(q.min[0], q.max[0])
    if parameters.scale[0] or draft.choices.reproduce_defects:
        return parameters
    avoid(draft, "legacy-zero-range", None, f"tensor '{draft.tensors[tensor].name}' would have the scale 0", tensor)
    widen(draft, tensor)
    return parameters_of_range(draft, tensor)


def widen(draft: Draft, tensor: int, width: float = NEAR_ZERO) -> None:
    """Gives a tensor the range +-width at least; the present quantizer knows none below +-1e-6."""
    q = quantization_of(draft.tensors[tensor])
    end = float(np.float32(width))
    low, high = min(q.min[0], -end), max(q.max[0], end)
    set_quantization(draft, tensor, replace(q, min=(low, *q.min[1:]), max=(high, *q.max[1:])))


# variables


def share_ranges_of_variables(draft: Draft) -> None:
    """All that is written to or read from one resource variable takes the union of the ranges, with zero."""
    variables = {
        handle: str(step.operator.options.get("shared_name") or "")
        for step in draft.steps
        if step.operator.name == "VAR_HANDLE"
        for handle in step.operator.outputs[:1]
    }
    if not variables:
        return
    limits = dict.fromkeys(variables.values(), (0.0, 0.0))
    accesses = [(step, tensor, variables[handle]) for step, handle, tensor in _accesses(draft) if handle in variables]
    for _, tensor, name in accesses:
        if has_range(draft.tensors[tensor]):
            q = quantization_of(draft.tensors[tensor])
            limits[name] = (min(limits[name][0], q.min[0]), max(limits[name][1], q.max[0]))
    for step, tensor, name in accesses:
        low, high = limits[name]
        q = quantization_of(draft.tensors[tensor])
        set_quantization(draft, tensor, replace(q, min=(low, *q.min[1:]), max=(high, *q.max[1:])))
        if step.operator.name == "ASSIGN_VARIABLE" and has_buffer(draft, tensor):
            _quantize_assigned_constant(draft, step, tensor, (low, high))


def _accesses(draft: Draft) -> list[tuple[Step, int, int]]:
    """(operator, handle, tensor) of every ASSIGN_VARIABLE and READ_VARIABLE."""
    found = []
    for step in draft.steps:
        if step.operator.name == "ASSIGN_VARIABLE":
            found.append((step, present_operand_of(step, 0), present_operand_of(step, 1)))
        elif step.operator.name == "READ_VARIABLE":
            found += [(step, present_operand_of(step, 0), result) for result in step.operator.outputs[:1]]
    return found


def _quantize_assigned_constant(draft: Draft, step: Step, tensor: int, limits: tuple[float, float]) -> None:
    values = constant(draft, tensor, step)
    old = quantization_of(draft.tensors[tensor])
    if draft.activation.converts_constants:
        scale = float(range_scale(limits, INT16_MAX))
        quantization = Quantization((scale,), (0,), 0, old.min, old.max)
        rule: Scaling | Shift = int16_scaling(scale)
    else:
        quantization = draft.activation.parameters(*limits)
        factor, zero_point = reciprocal(quantization.scale[0]), quantization.zero_point[0]
        rule = Shift("assigned", factor, zero_point)
    draft.rewritings[tensor] = [defined(draft, step, tensor, values, rule, quantization.scale)]
    text = f"the range of all that {in_words(step)} and others write to or read from one variable"
    draft.whys[tensor] = Why("calibrated", text, step.position, (draft.sources[tensor],))
    set_quantization(draft, tensor, quantization, draft.activation.type)
