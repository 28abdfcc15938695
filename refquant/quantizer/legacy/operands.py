"""What the old quantizer does operator by operator: operands, results, constraints, biases.

Source: google-ai-edge/LiteRT, tflite/tools/optimize/quantize_model.cc (QuantizeWeightsInputOutput, QuantizeOpInput,
QuantizeOpOutput, ApplyConstraints, QuantizeBiases) and quantization_utils.cc; checked against TensorFlow 2.21.0.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from refquant.model.graph import Quantization
from refquant.quantizer.legacy.arithmetic import (
    INT10_MAX,
    INT16_MAX,
    bias_scaling,
    channel_ranges,
    int16_scaling,
    product_scale,
    range_scale,
    rescaling,
    value_range,
    weights_per_channel,
    weights_per_tensor,
)
from refquant.quantizer.legacy.draft import (
    Draft,
    Step,
    add_tensor,
    constant,
    fail,
    has_buffer,
    has_range,
    in_words,
    insert,
    is_per_channel,
    is_quantizable,
    is_quantized,
    is_real,
    operand_of,
    operator_name,
    present_operand_of,
    quantization_of,
    replace_operand,
    row_of,
    set_quantization,
)
from refquant.quantizer.legacy.properties import Operand, OpProperty
from refquant.quantizer.legacy.ranges import PER_CHANNEL_RANK, present_biases
from refquant.quantizer.why import Why


def quantize_operands_and_results(draft: Draft) -> None:
    """Operator by operator in order: first its operands, then its results; conversions go in front of it."""
    index = 0
    while index < len(draft.steps):
        step = draft.steps[index]
        if operator_name(draft, step) is not None and is_real(draft, step):
            row = row_of(step) if is_quantizable(draft, step) else None
            for operand in _operands(step, row):
                index += _quantize_operand(draft, index, row, operand)
            for number in _results(step, row):
                _quantize_result(draft, draft.steps[index], row, number)
        index += 1


def _operands(step: Step, row: OpProperty | None) -> tuple[Operand, ...]:
    if row is None or row.any_operands:
        return tuple(map(Operand, range(len(step.operator.inputs))))
    return row.operands


def _results(step: Step, row: OpProperty | None) -> tuple[int, ...]:
    if row is None:
        return ()
    return tuple(range(len(step.operator.outputs))) if row.any_results else row.results


# operands


def _quantize_operand(draft: Draft, index: int, row: OpProperty | None, operand: Operand) -> int:
    """How many operators were put in front of the operator at `index` (row None: one that stays float)."""
    step = draft.steps[index]
    tensor = operand_of(step, operand.slot)
    if tensor < 0:
        return 0
    record = draft.tensors[tensor]
    done = is_quantized(record)
    if row is None:
        return _dequantize(draft, index, operand.slot) if done else 0
    if done:
        return 0
    if has_buffer(draft, tensor):
        _quantize_constant(draft, step, row, operand, tensor)
        return 0
    if not has_range(record):
        fail(step, f"its operand '{record.name}' has no range; the old quantizer asks for one of every operand")
    if tensor not in draft.inputs and not operand.state:
        return _quantize_computed(draft, index, operand.slot)
    _quantize_in_place(draft, step, operand, tensor)
    return 0


def _dequantize(draft: Draft, index: int, slot: int) -> int:
    """A float operator reads a DEQUANTIZE of its own, also where another one reads the same tensor."""
    step = draft.steps[index]
    tensor = step.operator.inputs[slot]
    target = add_tensor(draft, tensor, f"{draft.tensors[tensor].name}_float", "FLOAT32")
    draft.whys[target] = Why("float operator", f"{in_words(step)} stays float", step.position)
    insert(draft, index, "DEQUANTIZE", tensor, target)
    replace_operand(draft, index + 1, slot, target)
    return 1


def _quantize_computed(draft: Draft, index: int, slot: int) -> int:
    """A float operator's result goes through a QUANTIZE for this operand alone."""
    step = draft.steps[index]
    tensor = step.operator.inputs[slot]
    record, q = draft.tensors[tensor], quantization_of(draft.tensors[tensor])
    parameters = draft.activation.parameters(q.min[0], q.max[0])
    target = add_tensor(draft, tensor, record.name + draft.activation.suffix, draft.activation.type, parameters)
    draft.whys[target] = Why("float operator", "the operator that computes it stays float")
    insert(draft, index, "QUANTIZE", tensor, target)
    replace_operand(draft, index + 1, slot, target)
    return 1


def _quantize_in_place(draft: Draft, step: Step, operand: Operand, tensor: int) -> None:
    """A graph input, or a variable: it takes the type itself, also under an earlier float operator that reads it."""
    if operand.bits == 8:
        _quantize_activation(draft, tensor)
        return
    q = quantization_of(draft.tensors[tensor])
    scale = float(range_scale((q.min[0], q.max[0]), INT16_MAX))
    draft.whys[tensor] = Why("calibrated", _calibrated(q), None, (draft.sources[tensor],))
    set_quantization(draft, tensor, Quantization((scale,), (0,)), "INT16")


def _quantize_activation(draft: Draft, tensor: int) -> None:
    q = quantization_of(draft.tensors[tensor])
    parameters = draft.activation.parameters(q.min[0], q.max[0])
    raised = draft.whys.get(tensor)  # a computed tensor that a FULLY_CONNECTED takes as weights
    text = _calibrated(q) if raised is None else f"{_calibrated(q)}; {raised}"
    draft.whys[tensor] = Why("calibrated", text, None, (draft.sources[tensor],))
    dimension = replace(parameters, quantized_dimension=q.quantized_dimension)
    set_quantization(draft, tensor, dimension, draft.activation.type)


def _calibrated(q: Quantization) -> str:
    return f"calibrated: the range [{np.float32(q.min[0])}, {np.float32(q.max[0])}]"


# constants


def _quantize_constant(draft: Draft, step: Step, row: OpProperty, operand: Operand, tensor: int) -> None:
    as_activation = draft.activation.converts_constants and (row.same_scale or row.constants_as_activations)
    if as_activation or operand.bits == 16:
        _quantize_to_int16(draft, step, tensor, INT16_MAX)
    elif operand.bits == 10:
        _quantize_to_int16(draft, step, tensor, INT10_MAX)
    elif operand.bits == 32:
        factors = tuple(present_operand_of(step, slot) for slot in operand.factors)
        scale = product_scale(tuple(quantization_of(draft.tensors[factor]).scale[0] for factor in factors))
        _set_bias(draft, step, tensor, factors, (scale,), "INT32")
    elif is_per_channel(draft, step, operand):
        _quantize_per_channel(draft, step, operand.axis or 0, tensor)
    else:
        _quantize_per_tensor(draft, step, tensor)


def _quantize_to_int16(draft: Draft, step: Step, tensor: int, largest: int) -> None:
    scale = float(range_scale(value_range(constant(draft, tensor, step)), largest))
    quantization = replace(
        quantization_of(draft.tensors[tensor]), scale=(scale,), zero_point=(0,), quantized_dimension=0
    )
    _set_constant(draft, step, tensor, quantization, "INT16")
    draft.rewritings[tensor] = [int16_scaling(scale)]


def _quantize_per_channel(draft: Draft, step: Step, axis: int, tensor: int) -> None:
    old, values = quantization_of(draft.tensors[tensor]), constant(draft, tensor, step)
    if values.ndim > PER_CHANNEL_RANK:
        fail(step, f"'{draft.tensors[tensor].name}' has {values.ndim} dimensions; scales per channel take at most 4")
    low, high = (old.min, old.max) if has_range(draft.tensors[tensor]) else channel_ranges(values, axis)
    if not len(low) == len(high) == values.shape[axis]:
        fail(
            step,
            f"'{draft.tensors[tensor].name}' has {values.shape[axis]} channels and, from an operator in front, "
            f"{len(low)} ranges; the old quantizer reads beyond them",
        )
    scale, rule = weights_per_channel(low, high, axis)
    quantization = Quantization(scale, (0,) * len(scale), axis, low, high)
    _set_constant(draft, step, tensor, quantization, "INT8")
    draft.rewritings[tensor] = [rule]


def _quantize_per_tensor(draft: Draft, step: Step, tensor: int) -> None:
    """By its range, if it has one; by its values, if it has none or one per channel."""
    old, values = quantization_of(draft.tensors[tensor]), constant(draft, tensor, step)
    limits = (old.min[0], old.max[0]) if len(old.min) == len(old.max) == 1 else value_range(values)
    scale, rule = weights_per_tensor(limits)
    _set_constant(draft, step, tensor, replace(old, scale=(scale,), zero_point=(0,)), "INT8")
    draft.rewritings[tensor] = [rule]


def _set_constant(draft: Draft, step: Step, tensor: int, quantization: Quantization, type_: str) -> None:
    raised = draft.whys.get(tensor)
    text = f"weights of {in_words(step)}: max |w|" if raised is None else f"weights of {in_words(step)}; {raised}"
    channels = () if raised is None else raised.channels
    draft.whys[tensor] = Why("weights", text, step.position, (draft.sources[tensor],), channels)
    set_quantization(draft, tensor, quantization, type_)


# results


def _quantize_result(draft: Draft, step: Step, row: OpProperty | None, number: int) -> None:
    assert row is not None
    if number >= len(step.operator.outputs):
        fail(step, f"it has {len(step.operator.outputs)} results; the old quantizer asks for result {number}")
    tensor = step.operator.outputs[number]
    record = draft.tensors[tensor]
    if is_quantized(record):
        return
    fixed = row.fixed.get(draft.activation.type)
    if row.same_scale and not row.any_operands:
        _copy_parameters(draft, step, row, tensor)
    elif fixed is not None:
        draft.whys[tensor] = Why("fixed", f"fixed by {in_words(step)}", step.position)
        set_quantization(draft, tensor, Quantization((fixed.scale,), (fixed.zero_point,)), draft.activation.type)
    elif has_range(record):
        _quantize_activation(draft, tensor)
    else:
        fail(step, f"its result '{record.name}' has no range; the old quantizer asks for one of every result")


def _copy_parameters(draft: Draft, step: Step, row: OpProperty, tensor: int) -> None:
    operand = present_operand_of(step, row.operands[0].slot)
    source = draft.tensors[operand]
    q = quantization_of(source)
    if len(q.scale) != 1 or len(q.zero_point) != 1:
        fail(step, f"its operand '{source.name}' has {len(q.scale)} scales; its result can only copy one")
    text = f"those of '{source.name}', operand of {in_words(step)}"
    draft.whys[tensor] = Why("inherited", text, step.position, (draft.sources[operand],))
    copied = Quantization(q.scale, q.zero_point, 0, q.min[:1], q.max[:1])
    set_quantization(draft, tensor, copied, draft.activation.type)


# constraints


def requantize_operands(draft: Draft) -> None:
    """From the last operator to the first: operands of a join take the scale of its result."""
    for index in reversed(range(len(draft.steps))):
        step = draft.steps[index]
        row = row_of(step) if is_quantizable(draft, step) else None
        if row is None or not step.operator.outputs or not is_real(draft, step):
            continue
        if row.any_operands and row.same_scale:
            _requantize_operands_of(draft, index)


def _requantize_operands_of(draft: Draft, index: int) -> None:
    """Each QUANTIZE goes in front of those of the operands before; an own constant is rescaled instead."""
    inserted = 0
    step = draft.steps[index]
    target = quantization_of(draft.tensors[step.operator.outputs[0]])
    for slot in range(len(step.operator.inputs)):
        tensor = present_operand_of(step, slot)
        record = draft.tensors[tensor]
        q = quantization_of(record)
        if (q.scale[0], q.zero_point[0]) == (target.scale[0], target.zero_point[0]):
            continue
        parameters = Quantization(target.scale[:1], target.zero_point[:1])
        if _is_constant_of_one_operator(draft, tensor) and record.type in ("INT8", "INT16"):
            _rescale_constant(draft, step, tensor, parameters)
            continue
        copy = add_tensor(draft, tensor, f"{record.name}_requantized", draft.activation.type, parameters)
        draft.whys[copy] = _one_scale(draft, step)
        insert(draft, index, "QUANTIZE", tensor, copy)
        inserted += 1
        replace_operand(draft, index + inserted, slot, copy)


def _is_constant_of_one_operator(draft: Draft, tensor: int) -> bool:
    return has_buffer(draft, tensor) and sum(tensor in step.operator.inputs for step in draft.steps) <= 1


def _rescale_constant(draft: Draft, step: Step, tensor: int, parameters: Quantization) -> None:
    record = draft.tensors[tensor]
    if len(record.shape) > PER_CHANNEL_RANK:
        fail(step, f"'{record.name}' has {len(record.shape)} dimensions; the old quantizer ends on rescaling over 4")
    rule = rescaling(record.type, quantization_of(record), parameters)
    draft.rewritings[tensor] = [*draft.rewritings[tensor], rule]
    draft.whys[tensor] = _one_scale(draft, step)
    set_quantization(draft, tensor, parameters)


def _one_scale(draft: Draft, step: Step) -> Why:
    result = step.operator.outputs[0]
    text = f"{in_words(step)} has one scale for its operands and its result '{draft.tensors[result].name}'"
    return Why("inherited", text, step.position, (draft.sources[result],))


# biases


def quantize_biases(draft: Draft) -> None:
    """Constant biases that have no parameters yet take the product of the scales of input and weights.

    A bias that several operators read keeps the scale of the first one, also where that is wrong for the others.
    """
    for step in draft.steps:
        row = row_of(step) if is_quantizable(draft, step) else None
        if row is None or not step.operator.outputs or not is_real(draft, step):
            continue
        for slot in present_biases(step):
            bias = step.operator.inputs[slot]
            if not is_quantized(draft.tensors[bias]) and has_buffer(draft, bias):
                _quantize_bias(draft, step, row, bias)


def _quantize_bias(draft: Draft, step: Step, row: OpProperty, bias: int) -> None:
    input_, weights = (present_operand_of(step, operand.slot) for operand in row.operands)
    inputs, scales = quantization_of(draft.tensors[input_]).scale, quantization_of(draft.tensors[weights]).scale
    biases, channels = draft.tensors[bias].shape[0], 1
    if is_per_channel(draft, step, row.operands[1]) and has_buffer(draft, weights):
        channels = draft.tensors[weights].shape[row.operands[1].axis or 0]
        if channels != biases or len(inputs) != 1:
            fail(step, f"{biases} biases, {channels} channels of weights and {len(inputs)} input scales do not match")
    if len(scales) != channels or not inputs:
        fail(step, f"its weights have {len(scales)} scales where {channels} are due")
    products = tuple(product_scale((inputs[0], scale)) for scale in scales)
    _set_bias(draft, step, bias, (input_, weights), products, draft.choices.bias_type)


def _set_bias(
    draft: Draft, step: Step, tensor: int, factors: tuple[int, ...], scales: tuple[float, ...], type_: str
) -> None:
    """`factors`: the tensors whose scales were multiplied."""
    constant(draft, tensor, step)
    text = f"bias of {in_words(step)}: input scale times weight scale"
    draft.whys[tensor] = Why("bias", text, step.position, tuple(draft.sources[factor] for factor in factors))
    draft.rewritings[tensor] = [bias_scaling(scales, type_)]
    old, zero_points = quantization_of(draft.tensors[tensor]), (0,) * len(scales)
    quantization = replace(old, scale=scales, zero_point=zero_points, quantized_dimension=0)
    set_quantization(draft, tensor, quantization, type_)
