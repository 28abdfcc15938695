"""The types of the graph's inputs and outputs: where a QUANTIZE leads and a DEQUANTIZE or QUANTIZE trails.

Source: google-ai-edge/LiteRT, tflite/tools/optimize/quantize_model.cc (SetInputAndOutputTypes, SetInputType,
SetOutputType); checked against TensorFlow 2.21.0. Its InputQuantizeRequired is not needed: an input that is read by one
QUANTIZE alone never has that QUANTIZE's parameters already.
"""

from __future__ import annotations

from dataclasses import replace

from refquant.errors import NotQuantizable
from refquant.model.graph import Quantization, Signature
from refquant.quantizer.legacy.draft import Draft, add_tensor, insert, is_quantized, quantization_of
from refquant.quantizer.why import Why


def set_border_types(draft: Draft, input_type: str, output_type: str) -> None:
    """Inputs in order, each QUANTIZE in front of the ones before; then outputs, each conversion behind the last."""
    for number, tensor in enumerate(draft.inputs):
        _check(draft, tensor, input_type, "input")
        if _differs(draft, tensor, input_type):
            draft.inputs[number] = _outside(draft, tensor, input_type, "input")
            insert(draft, 0, "QUANTIZE", draft.inputs[number], tensor)
            _rename_in_signature(draft, "inputs", tensor, draft.inputs[number])
    for number, tensor in enumerate(draft.outputs):
        _check(draft, tensor, output_type, "output")
        if _differs(draft, tensor, output_type):
            draft.outputs[number] = _outside(draft, tensor, output_type, "output")
            op = "DEQUANTIZE" if output_type == "FLOAT32" else "QUANTIZE"
            insert(draft, len(draft.steps), op, tensor, draft.outputs[number])
            _rename_in_signature(draft, "outputs", tensor, draft.outputs[number])


def _check(draft: Draft, tensor: int, type_: str, what: str) -> None:
    record = draft.tensors[tensor]
    if record.type == "FLOAT32" and type_ != "FLOAT32":
        raise NotQuantizable(
            f"the graph's {what} '{record.name}' stays float32: it cannot be {type_.lower()}; "
            f"give {what}_type='float32'"
        )


def _differs(draft: Draft, tensor: int, type_: str) -> bool:
    """Whether the tensor is quantized and the caller wants another type."""
    record = draft.tensors[tensor]
    return record.type in (draft.activation.type, "INT8") and record.type != type_ and is_quantized(record)


def _outside(draft: Draft, tensor: int, type_: str, what: str) -> int:
    """The tensor that takes the name on the outside: float32, or uint8 with the zero point 128 higher."""
    record = draft.tensors[tensor]
    q = quantization_of(record)
    parameters = None if type_ == "FLOAT32" else Quantization(q.scale[:1], (q.zero_point[0] + 128,))
    outside = add_tensor(draft, tensor, record.name, type_, parameters)
    why = Why(f"{what} type", f"the graph's {what} is {type_.lower()}", None, (draft.sources[tensor],))
    draft.whys[outside] = why
    draft.tensors[tensor] = replace(record, name=record.name + draft.activation.suffix)
    return outside


def _rename_in_signature(draft: Draft, side: str, old: int, new: int) -> None:
    """The first entry with the old tensor, in the first signature of the graph."""
    for number, signature in enumerate(draft.signatures):
        if signature.subgraph == 0:
            entries = list(getattr(signature, side))
            place = next((n for n, (_, tensor) in enumerate(entries) if tensor == old), None)
            if place is not None:
                entries[place] = (entries[place][0], new)
                draft.signatures[number] = _with(signature, side, tuple(entries))
            return


def _with(signature: Signature, side: str, entries: tuple[tuple[str, int], ...]) -> Signature:
    return replace(signature, inputs=entries) if side == "inputs" else replace(signature, outputs=entries)
