"""What the old quantizer does inside an LSTM, before operands: the values in its gates, and the state it gives out.

It does so for an LSTM that stays float, too: then the file holds int8 tensors that the operator reads and writes as
floats, which is a defect.
Source: google-ai-edge/LiteRT, tflite/tools/optimize/quantize_model.cc (QuantizeIntermediateTensors,
QuantizeSharedRange); checked against TensorFlow 2.21.0.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from refquant.model.graph import Quantization
from refquant.quantizer.legacy.arithmetic import INT16_MAX, asymmetric, range_scale
from refquant.quantizer.legacy.draft import (
    Draft,
    Step,
    avoid,
    fail,
    has_range,
    in_words,
    is_quantizable,
    quantization_of,
    set_quantization,
)
from refquant.quantizer.legacy.properties import memory_of
from refquant.quantizer.recurrent import Recipe
from refquant.quantizer.why import Why

LEAST_RANGE = 1e-8  # of a value in a gate that is normalized


def quantize_memories(draft: Draft) -> None:
    """First what is inside of all LSTMs, then the state and the result of each, which share one range."""
    found = list(_memories(draft))
    for step, recipe in found:
        for number, bits in enumerate(recipe.intermediates):
            _quantize_inner(draft, step, number, bits)
    for step, recipe in found:
        if recipe.one_range is not None:
            _share_range(draft, step, *recipe.one_range)


def _memories(draft: Draft) -> Iterator[tuple[Step, Recipe]]:
    """The LSTMs; those that stay float only where defects are reproduced."""
    for step in draft.steps:
        recipe = memory_of(step.operator)
        if recipe is None:
            continue
        if draft.choices.reproduce_defects or is_quantizable(draft, step):
            yield step, recipe
        else:
            text = "its state and its result would be int8, and it reads and writes floats"
            avoid(draft, "legacy-lstm-stays-float", step, text, *step.operator.outputs)


def _quantize_inner(draft: Draft, step: Step, number: int, bits: int) -> None:
    if number >= len(step.operator.intermediates):
        fail(step, "it lacks the tensors for the values inside; the old quantizer reads beyond them")
    tensor = step.operator.intermediates[number]
    if tensor < 0 or draft.tensors[tensor].quantization is None:
        return
    q = quantization_of(draft.tensors[tensor])
    if not has_range(draft.tensors[tensor]):
        fail(step, f"the value '{draft.tensors[tensor].name}' inside it has no range")
    limits = q.min[0], q.max[0]
    if bits == 8:
        set_quantization(draft, tensor, draft.activation.parameters(*limits), draft.activation.type)
    else:
        if np.float32(max(map(abs, limits))) < LEAST_RANGE:
            fail(step, f"the value '{draft.tensors[tensor].name}' inside it has a range of almost nothing")
        set_quantization(draft, tensor, Quantization((float(range_scale(limits, INT16_MAX)),), (0,)), "INT16")
    low, high = map(np.float32, limits)
    draft.whys[tensor] = Why("calibrated", f"calibrated: the range [{low}, {high}]", None, (draft.sources[tensor],))


def _share_range(draft: Draft, step: Step, operand: int, result: int) -> None:
    """State and result take one scale, int8 whatever the activations are: their ranges' union, with zero."""
    tensors = step.operator.inputs[operand], step.operator.outputs[result]
    for tensor in tensors:
        if tensor < 0 or not has_range(draft.tensors[tensor]):
            name = "the state" if tensor < 0 else f"'{draft.tensors[tensor].name}'"
            fail(step, f"{name} has no range; the old quantizer ends on reading it")
    ranges = [quantization_of(draft.tensors[tensor]) for tensor in tensors]
    low, high = min(q.min[0] for q in ranges), max(q.max[0] for q in ranges)
    if low == high == 0:
        fail(step, f"its result '{draft.tensors[tensors[1]].name}' is always zero")
    parameters = asymmetric(low, high)
    limits = f"[{np.float32(low)}, {np.float32(high)}]"
    text = f"calibrated: the range {limits} of the state and the result of {in_words(step)}"
    for tensor in tensors:
        quantization = Quantization(parameters.scale, parameters.zero_point)
        set_quantization(draft, tensor, quantization, "INT8")
        draft.whys[tensor] = Why("calibrated", text, None, (draft.sources[tensor],))
