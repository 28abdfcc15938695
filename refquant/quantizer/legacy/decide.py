"""Decide: which tensor gets which parameters and why, which operators stay float, where conversions stand.

The old quantizer goes through the operators in order and edits the model as it goes; `decide` does the same on a Draft,
step for step, and reads a plain value from it. Parameters flow forward only: a same-scale result copies its operand.
Source: google-ai-edge/LiteRT, tflite/tools/optimize/quantize_model.cc (QuantizeModel); checked against TensorFlow
2.21.0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from refquant.errors import InvalidInput, NotQuantizable
from refquant.model.graph import Model
from refquant.quantizer.accepted import check_float, check_one_graph
from refquant.quantizer.calibration import Calibration
from refquant.quantizer.decide import FloatOperator
from refquant.quantizer.denied import denied_operators
from refquant.quantizer.legacy.activation import ACTIVATION_TYPES, ActivationType
from refquant.quantizer.legacy.borders import set_border_types
from refquant.quantizer.legacy.decision import Decision, read_decision
from refquant.quantizer.legacy.draft import Choices, Draft, avoid, has_buffer, in_words, row_of, start, why_float
from refquant.quantizer.legacy.memory import quantize_memories
from refquant.quantizer.legacy.operands import quantize_biases, quantize_operands_and_results, requantize_operands
from refquant.quantizer.legacy.ranges import (
    duplicate_biases,
    fill_ranges,
    find_real_operators,
    make_room_for_biases,
    share_ranges_of_variables,
)
from refquant.quantizer.legacy.sharing import separate_constants
from refquant.quantizer.recurrent import check_memories, with_intermediates

BIAS_TYPE_OPS = ("CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")  # their options name the type of the bias


@dataclass(frozen=True, slots=True)
class LegacyOptions:
    """How to quantize. `mode`: "int8" or "int16x8". `bias_type`: None for the mode's own ("int32", "int64").

    `allow_float`: operators without a quantized form stay float, else they are an error, whatever they compute.
    `denied_ops`, `denied_names`: operators of these ops, or that compute tensors of these names, stay float.
    `reproduce_defects`: those of defects.py are written as TensorFlow writes them, and else avoided.
    """

    mode: str = "int8"
    input_type: str = "float32"
    output_type: str = "float32"
    per_channel: bool = True
    per_channel_dense: bool = True
    allow_float: bool = True
    bias_type: str | None = None
    denied_ops: tuple[str, ...] = ()
    denied_names: tuple[str, ...] = ()
    reproduce_defects: bool = False

    def __post_init__(self) -> None:
        if self.mode not in ACTIVATION_TYPES:
            raise InvalidInput(f"mode='{self.mode}': the old quantizer has {', '.join(ACTIVATION_TYPES)}")
        rows = (
            ("input_type", self.input_type, self.activation.io_types),
            ("output_type", self.output_type, self.activation.io_types),
            ("bias_type", self.bias_type or self.activation.bias_types[0], self.activation.bias_types),
        )
        for name, value, allowed in rows:
            if value not in allowed:
                raise InvalidInput(f"{name}='{value}': with mode '{self.mode}' it must be one of {', '.join(allowed)}")

    @property
    def activation(self) -> ActivationType:
        """What the mode makes of activations."""
        return ACTIVATION_TYPES[self.mode]

    def choices(self, model: Model) -> Choices:
        """The options that the steps ask for. Errors: InvalidInput for a denied op or name that there is not."""
        denied = denied_operators(model.graph, self.denied_ops, self.denied_names)
        bias_type = (self.bias_type or self.activation.bias_types[0]).upper()
        return Choices(self.per_channel, self.per_channel_dense, bias_type, denied, self.reproduce_defects)


def decide_legacy(model: Model, calibration: Calibration, options: LegacyOptions | None = None) -> Decision:
    """Which tensor gets which parameters, and why. Errors: NotQuantizable, InvalidInput."""
    options = options or LegacyOptions()
    check_one_graph(model)
    check_float(model)
    check_memories(model)
    model = with_intermediates(model)
    draft = start(model, calibration.for_model(model), options.activation, options.choices(model))
    if not draft.steps:  # nothing to do, not even at the borders
        return read_decision(draft, ())
    find_real_operators(draft)
    duplicate_biases(draft)
    floats = _float_operators(draft, options.allow_float)
    if not options.reproduce_defects:
        separate_constants(draft)
    fill_ranges(draft)
    make_room_for_biases(draft)
    quantize_memories(draft)
    share_ranges_of_variables(draft)
    quantize_operands_and_results(draft)
    requantize_operands(draft)
    quantize_biases(draft)
    _set_versions_and_options(draft)
    set_border_types(draft, options.input_type.upper(), options.output_type.upper())
    _separate_buffers(draft)
    return read_decision(draft, floats)


def _float_operators(draft: Draft, allow_float: bool) -> tuple[FloatOperator, ...]:
    """Operators that stay float. Errors: NotQuantizable if none may; then one that computes no float counts too."""
    whys = [(step, why_float(draft, step)) for step in draft.steps]
    floats = [(step, why) for step, why in whys if why is not None]
    if floats and not allow_float:
        rows = "; ".join(f"{in_words(step)}: {why}" for step, why in floats)
        count = f"{len(floats)} operator{'s' if len(floats) > 1 else ''}"
        raise NotQuantizable(f"{count} would stay float (allow_float=True accepts it): {rows}")
    return tuple(
        FloatOperator(step.position or 0, step.operator.name, why)
        for step, why in floats
        if any(t >= 0 and draft.tensors[t].type == "FLOAT32" for t in (*step.operator.inputs, *step.operator.outputs))
    )


def _separate_buffers(draft: Draft) -> None:
    """A buffer of two tensors is overwritten for the first and then read again as if it still held floats.

    Zeros survive that, if all that share them need as many bytes. Errors: NotQuantizable where defects are reproduced.
    """
    sharing: dict[int, list[int]] = {}
    for tensor in sorted({t for step in draft.steps for t in step.operator.inputs if t >= 0} | {*draft.outputs}):
        if tensor < len(draft.model.graph.tensors) and has_buffer(draft, tensor):
            sharing.setdefault(draft.tensors[tensor].buffer, []).append(tensor)
    for buffer, tensors in sharing.items():
        if len(tensors) == 1 or not draft.rewritings.keys() & tensors:
            continue
        sizes = {math.prod(draft.tensors[t].shape) * draft.tensors[t].dtype.itemsize for t in tensors}
        if not any(draft.model.buffers[buffer]) and len(sizes) == 1:
            continue
        first, second = (draft.model.graph.tensors[t].name for t in tensors[:2])
        text = f"tensors '{first}' and '{second}' share one buffer; the old quantizer overwrites it for one and then "
        text += "reads it as the other's floats"
        if draft.choices.reproduce_defects:
            raise NotQuantizable(f"{text}. Give each constant a buffer of its own")
        avoid(draft, "legacy-shared-buffer", None, text, *tensors)
        draft.own_buffers.update(tensors[1:])


# versions and options


def _set_versions_and_options(draft: Draft) -> None:
    """Every operator whose op has a row gets the row's version at least, also one that stays float.

    Options are set where the operator has an options table: the type of biases, and what the activation type adds.
    """
    for index, step in enumerate(draft.steps):
        row, operator = row_of(step), step.operator
        version = max(operator.version, row.version) if row is not None else operator.version
        added: dict[str, Any] = dict(draft.activation.options.get(operator.name, {}))
        if operator.name in BIAS_TYPE_OPS:
            added["quantized_bias_type"] = draft.choices.bias_type
        options = {**operator.options, **added} if operator.options_type is not None else operator.options
        draft.steps[index] = replace(step, operator=replace(operator, version=version, options=options))
