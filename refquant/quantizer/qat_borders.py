"""Integer inputs and outputs of a model that has float32 ones: what a converter does to the finished file.

It looks at conversions alone: those at inputs and outputs go, or convert from and to uint8, and of two conversions in a
row only the second one stays.
Source: tensorflow/tensorflow, tensorflow/lite/python/util.py (modify_model_io_type); checked against TensorFlow 2.21.0.
"""

from __future__ import annotations

from dataclasses import replace

from refquant.errors import NotQuantizable
from refquant.model.graph import Operator, Tensor
from refquant.quantizer.qat_draft import Draft
from refquant.quantizer.qat_parameters import TO_SIGNED

FLOAT = "FLOAT32"


def set_borders(draft: Draft, input_type: str, output_type: str) -> None:
    """Gives inputs and outputs behind and before conversions another type: "float32", "int8" or "uint8".

    Errors: NotQuantizable if an input is read as float32, too, or nothing is quantized.
    """
    if input_type == output_type == "float32":
        return
    if input_type != "float32":
        _check_any(draft, "QUANTIZE", draft.inputs, f"input_type='{input_type}'")
        _set_inputs(draft, input_type)
    if output_type != "float32":
        _check_any(draft, "DEQUANTIZE", draft.outputs, f"output_type='{output_type}'")
        _set_outputs(draft, output_type)
    _drop_first_of_two(draft)
    _drop_conversions_of_outputs(draft)
    draft.look()


def _conversions(draft: Draft, op: str) -> list[tuple[int, Operator]]:
    return [(place, o) for place, o in enumerate(draft.operators) if o is not None and o.name == op]


def _check_any(draft: Draft, op: str, tensors: list[int], option: str) -> None:
    """The converter refuses if nothing is converted at all, but not if only others than the borders are."""
    floats = [draft.tensors[tensor].name for tensor in tensors if draft.tensors[tensor].type == FLOAT]
    if floats and not _conversions(draft, op):
        raise NotQuantizable(f"{option}: '{floats[0]}' stays float32, as the model has no {op}")


def _set_inputs(draft: Draft, input_type: str) -> None:
    for position, operator in _conversions(draft, "QUANTIZE"):
        source, result = operator.inputs[0], operator.outputs[0]
        if source not in draft.model.graph.inputs:
            continue
        if draft.readers[source] > 1:
            raise NotQuantizable(
                f"input_type='{input_type}': input '{draft.tensors[source].name}' is read as float32, too, or twice"
            )
        if input_type == "uint8":
            draft.tensors[source] = _as_uint8(draft, source, result)
            continue
        draft.inputs = [result if tensor == source else tensor for tensor in draft.inputs]
        draft.operators[position] = None


def _set_outputs(draft: Draft, output_type: str) -> None:
    for position, operator in _conversions(draft, "DEQUANTIZE"):
        source, result = operator.inputs[0], operator.outputs[0]
        if result not in draft.outputs:
            continue
        others = draft.readers[result] > draft.outputs.count(result)  # then the converter's file is broken
        if output_type == "int8":
            draft.outputs = [source if tensor == result else tensor for tensor in draft.outputs]
            draft.operators[position] = operator if others else None
            continue
        given = result
        if others:
            draft.tensors.append(draft.tensors[result])
            given = len(draft.tensors) - 1
            draft.outputs = [given if tensor == result else tensor for tensor in draft.outputs]
        draft.tensors[given] = _as_uint8(draft, given, source)
        made = Operator("QUANTIZE", (source,), (given,))
        if others:
            draft.operators.append(made)
        else:
            draft.operators[position] = made


def _as_uint8(draft: Draft, tensor: int, int8: int) -> Tensor:
    """The tensor with the type uint8 and the parameters of an int8 one."""
    quantization = draft.tensors[int8].quantization
    assert quantization is not None
    zero_point = tuple(value - TO_SIGNED for value in quantization.zero_point)
    return replace(draft.tensors[tensor], type="UINT8", quantization=replace(quantization, zero_point=zero_point))


def _drop_first_of_two(draft: Draft) -> None:
    """A QUANTIZE before one from integers goes; what else read its result reads that of the second one."""
    draft.look()
    quantizations = _conversions(draft, "QUANTIZE")
    second = {o.inputs[0]: place for place, o in quantizations if draft.tensors[o.inputs[0]].type != FLOAT}
    moved: dict[int, int] = {}
    for before, first in quantizations:
        position = moved.get(before, before)
        between = first.outputs[0]
        if between not in second or between in draft.outputs:
            continue
        place = second[between]
        last = draft.operators[place]
        current = draft.operators[position]
        assert last is not None
        assert current is not None
        if draft.tensors[last.outputs[0]].type == "UINT8" and draft.readers[between] > 1:
            continue  # the others would read uint8: the converter's file is broken
        draft.operators[place] = None
        moved[place] = position
        draft.operators[position] = replace(last, inputs=current.inputs)  # others may read it before the second one
        draft.replace_tensor(between, last.outputs[0])


def _drop_conversions_of_outputs(draft: Draft) -> None:
    """Where a QUANTIZE and a DEQUANTIZE make an output, what the QUANTIZE takes is the output."""
    draft.look()
    for position, operator in _conversions(draft, "DEQUANTIZE"):
        before = draft.producer(operator.inputs[0])
        if operator.outputs[0] not in draft.outputs or before is None or before[1].name != "QUANTIZE":
            continue
        source = before[1].inputs[0]
        draft.outputs = [source if tensor == operator.outputs[0] else tensor for tensor in draft.outputs]
        draft.operators[position] = None
        if draft.readers[operator.inputs[0]] == 1:
            draft.operators[before[0]] = None
