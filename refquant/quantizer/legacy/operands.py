"""What the old quantizer does operator by operator: operands, results, constraints, biases.

Source: google-ai-edge/LiteRT, tflite/tools/optimize/quantize_model.cc (QuantizeWeightsInputOutput, QuantizeOpInput,
QuantizeOpOutput, ApplyConstraints, QuantizeBiases) and quantization_utils.cc; checked against TensorFlow 2.21.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from refquant.arithmetic.fixed_point import INT32_MAX
from refquant.model.graph import Quantization
from refquant.quantizer.legacy.arithmetic import (
    INT8_MAX,
    INT8_MIN,
    INT10_MAX,
    INT16_MAX,
    bias_scaling,
    channel_ranges,
    int16_scaling,
    power_of_two_scale,
    product_scale,
    range_scale,
    rescaling,
    rewritten,
    value_range,
    weights_per_channel,
    weights_per_tensor,
)
from refquant.quantizer.legacy.draft import (
    Draft,
    Step,
    add_tensor,
    avoid,
    constant,
    copy_of_constant,
    defined,
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
from refquant.quantizer.legacy.properties import OpProperty
from refquant.quantizer.legacy.ranges import PER_CHANNEL_RANK, parameters_of_range, present_biases, widen
from refquant.quantizer.legacy.sharing import inputs_read_first_by_float_operators, operands_of, way_of_constant
from refquant.quantizer.parameters import NEAR_ZERO
from refquant.quantizer.recurrent import Operand
from refquant.quantizer.why import Why


def quantize_operands_and_results(draft: Draft) -> None:
    """Operator by operator in order: first its operands, then its results; conversions go in front of it."""
    if not draft.choices.reproduce_defects:
        for tensor, reader in inputs_read_first_by_float_operators(draft):
            _quantize_input_under_its_reader(draft, tensor, reader)
    index = 0
    while index < len(draft.steps):
        step = draft.steps[index]
        if operator_name(draft, step) is not None and is_real(draft, step):
            row = row_of(step) if is_quantizable(draft, step) else None
            for operand in operands_of(draft, step, row):
                index += _quantize_operand(draft, index, row, operand)
            for number in _results(step, row):
                _quantize_result(draft, draft.steps[index], row, number)
        index += 1


def _results(step: Step, row: OpProperty | None) -> tuple[int, ...]:
    if row is None:
        return ()
    return tuple(range(len(step.operator.outputs))) if row.any_results else row.results


# operands


def _quantize_input_under_its_reader(draft: Draft, tensor: int, reader: Step) -> None:
    """Now, so that the float operator, too, finds it quantized and gets a DEQUANTIZE."""
    if has_range(draft.tensors[tensor]):
        text = f"its operand '{draft.tensors[tensor].name}' would be quantized under it, and it reads floats"
        avoid(draft, "legacy-quantized-under-a-reader", reader, text, tensor)
        _quantize_activation(draft, tensor)


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
    record = draft.tensors[tensor]
    parameters = parameters_of_range(draft, tensor)
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
    if operand.power_of_two:
        scale = power_of_two_scale((q.min[0], q.max[0]))
    draft.whys[tensor] = Why("calibrated", _calibrated(q), None, (draft.sources[tensor],))
    set_quantization(draft, tensor, Quantization((scale,), (0,)), "INT16")


def _quantize_activation(draft: Draft, tensor: int) -> None:
    q = quantization_of(draft.tensors[tensor])
    parameters = parameters_of_range(draft, tensor)
    raised = draft.whys.get(tensor)  # a computed tensor that a FULLY_CONNECTED takes as weights
    text = _calibrated(q) if raised is None else f"{_calibrated(q)}; {raised}"
    draft.whys[tensor] = Why("calibrated", text, None, (draft.sources[tensor],))
    dimension = replace(parameters, quantized_dimension=q.quantized_dimension)
    set_quantization(draft, tensor, dimension, draft.activation.type)


def _calibrated(q: Quantization) -> str:
    return f"calibrated: the range [{np.float32(q.min[0])}, {np.float32(q.max[0])}]"


# constants


def _quantize_constant(draft: Draft, step: Step, row: OpProperty, operand: Operand, tensor: int) -> None:
    way = way_of_constant(draft, step, row, operand, tensor)
    if way in LARGEST_INT16:
        _quantize_to_int16(draft, step, tensor, LARGEST_INT16[way])
    elif way == "product":
        factors = tuple(present_operand_of(step, slot) for slot in operand.factors)
        factors += tuple(step.operator.intermediates[number] for number in operand.intermediates)
        scale = product_scale((*(_one_scale_of(draft, step, factor) for factor in factors), operand.factor))
        _set_bias(draft, step, tensor, factors, (scale,), "INT32")
    elif is_per_channel(draft, step, operand):
        _quantize_per_channel(draft, step, operand.axis or 0, tensor)
    else:
        _quantize_per_tensor(draft, step, tensor)


def _one_scale_of(draft: Draft, step: Step, factor: int) -> float:
    scale = quantization_of(draft.tensors[factor]).scale
    if not scale:
        fail(step, f"'{draft.tensors[factor].name}' has no scale for the bias that takes it")
    return scale[0]


LIMIT_BITS = 12  # a widened range is this many powers of two below the limit of the activation
LARGEST_INT16: Mapping[str, int] = MappingProxyType({"int16": INT16_MAX, "int10": INT10_MAX})


def _quantize_to_int16(draft: Draft, step: Step, tensor: int, largest: int) -> None:
    values = constant(draft, tensor, step)
    scale = float(range_scale(value_range(values), largest))
    if not scale and not draft.choices.reproduce_defects:
        _avoid_zero_scale(draft, step, tensor)
        scale = float(range_scale((0.0, NEAR_ZERO / 2), largest))
    quantization = replace(
        quantization_of(draft.tensors[tensor]), scale=(scale,), zero_point=(0,), quantized_dimension=0
    )
    _set_constant(draft, step, tensor, quantization, "INT16")
    draft.rewritings[tensor] = [defined(draft, step, tensor, values, int16_scaling(scale), (scale,))]


def _avoid_zero_scale(draft: Draft, step: Step, tensor: int) -> None:
    text = f"its operand '{draft.tensors[tensor].name}' would have the scale 0"
    avoid(draft, "legacy-zero-range", step, text, tensor)


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
    draft.rewritings[tensor] = [defined(draft, step, tensor, values, rule, scale)]


def _quantize_per_tensor(draft: Draft, step: Step, tensor: int) -> None:
    """By its range, if it has one; by its values, if it has none or one per channel."""
    old, values = quantization_of(draft.tensors[tensor]), constant(draft, tensor, step)
    limits = (old.min[0], old.max[0]) if len(old.min) == len(old.max) == 1 else value_range(values)
    scale, rule = weights_per_tensor(limits)
    if not scale and not draft.choices.reproduce_defects:
        _avoid_zero_scale(draft, step, tensor)
        scale, rule = weights_per_tensor((0.0, 0.0))
    _set_constant(draft, step, tensor, replace(old, scale=(scale,), zero_point=(0,)), "INT8")
    draft.rewritings[tensor] = [defined(draft, step, tensor, values, rule, (scale,))]


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
    if row.same_scale and not row.any_operands and _outgrows_its_operand(draft, step, row, tensor):
        _quantize_activation(draft, tensor)
    elif row.zero_is_code_0 and _quantize_around_code_0(draft, step, row, tensor):
        pass
    elif row.same_scale and not row.any_operands:
        _copy_parameters(draft, step, row, tensor)
    elif fixed is not None:
        draft.whys[tensor] = Why("fixed", f"fixed by {in_words(step)}", step.position)
        set_quantization(draft, tensor, Quantization((fixed.scale,), (fixed.zero_point,)), draft.activation.type)
    elif has_range(record):
        _make_room_for_limit(draft, step, tensor)
        _quantize_activation(draft, tensor)
    else:
        fail(step, f"its result '{record.name}' has no range; the old quantizer asks for one of every result")


FUSED_LIMITS: Mapping[str, float] = MappingProxyType({"RELU6": 6.0, "RELU_N1_TO_1": 1.0})


def _make_room_for_limit(draft: Draft, step: Step, result: int) -> None:
    """Widens a range so narrow that the limit of a fused activation would leave int32."""
    limit = FUSED_LIMITS.get(step.operator.options.get("fused_activation_function", "NONE"))
    if limit is None or draft.choices.reproduce_defects:
        return
    scale = parameters_of_range(draft, result).scale[0]
    if limit >= scale * (INT32_MAX - INT16_MAX):
        text = f"the limit {limit:g} of its activation would be more than 2^31 steps of its result"
        avoid(draft, "legacy-limit-of-activation", step, text, result)
        widen(draft, result, limit / (1 << LIMIT_BITS))


def _outgrows_its_operand(draft: Draft, step: Step, row: OpProperty, result: int) -> bool:
    """Whether the result takes its own range, and not the parameters of its operand, which cannot hold it.

    Of several operands all then take the result's parameters, whichever these are.
    """
    if draft.choices.reproduce_defects or not row.outgrows:
        return False
    operands = [present_operand_of(step, operand.slot) for operand in operands_of(draft, step, row)]
    if not all(is_quantized(draft.tensors[operand]) for operand in operands):
        return False
    first, *others = (quantization_of(draft.tensors[operand]) for operand in operands)
    pairs = zip(operands[1:], others, strict=True)
    differ = [o for o, q in pairs if (q.scale, q.zero_point) != (first.scale, first.zero_point)]
    beyond = has_range(draft.tensors[result]) and _is_beyond(draft, result, first)
    if (others and not differ) or (not others and not beyond):
        return False
    text = f"its result '{draft.tensors[result].name}' would have the scale of '{draft.tensors[operands[0]].name}'"
    if differ and step.position is not None:
        draft.one_scale.add(step.position)
        text = f"its operand '{draft.tensors[differ[0]].name}' would keep a scale that is not the result's"
    avoid(draft, f"legacy-{step.operator.name.lower()}", step, text, result, *differ)
    return beyond


def _quantize_around_code_0(draft: Draft, step: Step, row: OpProperty, result: int) -> bool:
    """Gives the result the zero point 0, to which the operand is requantized; False where the operand has it."""
    operand = present_operand_of(step, row.operands[0].slot)
    q = quantization_of(draft.tensors[operand])
    if draft.choices.reproduce_defects or q.zero_point in ((), (0,)) or len(q.scale) != 1 or step.position is None:
        return False
    text = f"0.0 of its result '{draft.tensors[result].name}' would be the code 0, which means another number"
    avoid(draft, "legacy-zero-is-code-0", step, text, result)
    draft.one_scale.add(step.position)
    ends = tuple(q.scale[0] * (code - q.zero_point[0]) for code in (INT8_MIN, INT8_MAX))
    scale = float(range_scale((ends[0], ends[1]), INT8_MAX))
    text = f"the range of '{draft.tensors[operand].name}', operand of {in_words(step)}, around the zero point 0"
    draft.whys[result] = Why("inherited", text, step.position, (draft.sources[operand],))
    set_quantization(draft, result, Quantization((scale,), (0,)), draft.activation.type)
    return True


def _is_beyond(draft: Draft, tensor: int, q: Quantization) -> bool:
    """Whether the tensor's range leaves what the parameters can hold by more than half a step."""
    limits = np.iinfo(draft.activation.type.lower())
    lowest, highest = ((code - q.zero_point[0]) * q.scale[0] for code in (int(limits.min) - 0.5, int(limits.max) + 0.5))
    own = quantization_of(draft.tensors[tensor])
    return own.min[0] < lowest or own.max[0] > highest


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
        if (row.any_operands and row.same_scale) or step.position in draft.one_scale:
            _requantize_operands_of(draft, index, row)


def _requantize_operands_of(draft: Draft, index: int, row: OpProperty) -> None:
    """Each QUANTIZE goes in front of those of the operands before; an own constant is rescaled instead."""
    inserted = 0
    step = draft.steps[index]
    target = quantization_of(draft.tensors[step.operator.outputs[0]])
    for slot in (operand.slot for operand in operands_of(draft, step, row)):
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
        text = f"'{record.name}' has {len(record.shape)} dimensions; the old quantizer ends on rescaling over 4"
        if draft.choices.reproduce_defects:
            fail(step, text)
        avoid(draft, "legacy-five-dimensions", step, text, tensor)
    before = draft.rewritings[tensor]
    values = rewritten(constant(draft, tensor, step), before)
    rule = rescaling(record.type, quantization_of(record), parameters)
    draft.rewritings[tensor] = [*before, defined(draft, step, tensor, values, rule, parameters.scale)]
    draft.whys[tensor] = _one_scale(draft, step)
    set_quantization(draft, tensor, parameters)


def _one_scale(draft: Draft, step: Step) -> Why:
    result = step.operator.outputs[0]
    text = f"{in_words(step)} has one scale for its operands and its result '{draft.tensors[result].name}'"
    return Why("inherited", text, step.position, (draft.sources[result],))


# biases


def quantize_biases(draft: Draft) -> None:
    """Constant biases that have no parameters yet take the product of the scales of input and weights.

    A bias that several operators read keeps the scale of the first one, also where that is wrong for the others: then
    it is a defect.
    """
    for index, step in enumerate(draft.steps):
        row = row_of(step) if is_quantizable(draft, step) else None
        if row is None or not step.operator.outputs or not is_real(draft, step):
            continue
        for slot in present_biases(step):
            bias = step.operator.inputs[slot]
            if not has_buffer(draft, bias):
                continue
            if not is_quantized(draft.tensors[bias]):
                _quantize_bias(draft, step, row, bias)
            elif not draft.choices.reproduce_defects and not _suits(draft, step, row, bias):
                text = f"its bias '{draft.tensors[bias].name}' would keep the scale of another operator's"
                avoid(draft, "legacy-shared-bias", step, text, bias)
                copy = copy_of_constant(draft, bias)
                replace_operand(draft, index, slot, copy)
                _quantize_bias(draft, step, row, copy)


def _suits(draft: Draft, step: Step, row: OpProperty, bias: int) -> bool:
    """Whether the scales that the bias has are those that this operator gives it, or it is zero in any scale."""
    scales = _bias_scales(draft, step, row, bias)
    zero = not constant(draft, bias, step).any()
    return quantization_of(draft.tensors[bias]).scale == scales or (zero and len(scales) > 1)


def _quantize_bias(draft: Draft, step: Step, row: OpProperty, bias: int) -> None:
    factors = tuple(present_operand_of(step, operand.slot) for operand in row.operands)
    _set_bias(draft, step, bias, factors, _bias_scales(draft, step, row, bias), draft.choices.bias_type)


def _bias_scales(draft: Draft, step: Step, row: OpProperty, bias: int) -> tuple[float, ...]:
    """Input scale times weight scale, one or one per channel."""
    input_, weights = (present_operand_of(step, operand.slot) for operand in row.operands)
    if draft.tensors[input_].type == "INT8" and draft.choices.bias_type != "INT32":
        fail(step, f"its input '{draft.tensors[input_].name}' is int8; then the old quantizer insists on int32 biases")
    inputs, scales = quantization_of(draft.tensors[input_]).scale, quantization_of(draft.tensors[weights]).scale
    biases, channels = draft.tensors[bias].shape[0], 1
    if is_per_channel(draft, step, row.operands[1]) and has_buffer(draft, weights):
        channels = draft.tensors[weights].shape[row.operands[1].axis or 0]
        if channels != biases or len(inputs) != 1:
            fail(step, f"{biases} biases, {channels} channels of weights and {len(inputs)} input scales do not match")
    if len(scales) != channels or not inputs:
        fail(step, f"its weights have {len(scales)} scales where {channels} are due")
    return tuple(product_scale((inputs[0], scale)) for scale in scales)


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
