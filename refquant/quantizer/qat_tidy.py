"""What the converter still tidies up once a model of quantization-aware training is quantized.

Pairs that stood between two operators are gone then, and operators that they kept apart become one. Each rule looks at
one operator and rewrites the draft, or leaves it; they are tried on every operator until none does anything.
Source: google-ai-edge/LiteRT, tflite/converter/transforms/post_quantize.cc (FoldTransposeOp, FoldReshapeOp),
optimize_pass.cc, optimize_patterns.td and ir/tfl_ops.cc (RemoveAdjacentReshape); checked against TensorFlow 2.21.0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from refquant.model.graph import Operator, Tensor
from refquant.quantizer.qat_draft import Draft
from refquant.quantizer.qat_pairs import FAKE_QUANT

# operators on their own -> the activation that operators before them take over
ACTIVATIONS: Mapping[str, str] = MappingProxyType({"RELU": "RELU", "RELU6": "RELU6", "RELU_N1_TO_1": "RELU_N1_TO_1"})
ACTIVATED = (
    "ADD", "AVERAGE_POOL_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "DIV", "FULLY_CONNECTED", "MAX_POOL_2D", "MUL", "SUB",
)  # fmt: skip
ELEMENTWISE = ("ADD", "DIV", "MAXIMUM", "MINIMUM", "MUL", "SUB")  # those that may move before a RESHAPE
KEEPING_VERSION = 5  # of FULLY_CONNECTED with keep_num_dims
CLONED = "FULLY_CONNECTED"  # takes an activation over even if others read what it gives: then it stands there twice


def tidy(draft: Draft) -> None:
    """Applies all rules."""
    for rules in PHASES:
        while sum(_applied(draft, rule) for rule in rules):  # all of them, each time
            pass


def _applied(draft: Draft, rule: Callable[[Draft, int, Operator], bool]) -> bool:
    done = False
    for position in range(len(draft.operators)):
        operator = draft.operators[position]
        if operator is not None and rule(draft, position, operator):
            done = True
            draft.look()
    return done


# rules: (draft, position of an operator, the operator) -> whether anything was rewritten


def drop_fake_quantization(draft: Draft, position: int, operator: Operator) -> bool:
    """The operator that stood for a pair gives what it takes, or only kept a place."""
    if operator.name != FAKE_QUANT:
        return False
    draft.operators[position] = None
    if operator.outputs:
        draft.replace_tensor(operator.outputs[0], operator.inputs[0])
    return True


def join_conversions(draft: Draft, position: int, operator: Operator) -> bool:
    """A QUANTIZE behind a DEQUANTIZE gives what the DEQUANTIZE takes, whatever the parameters.

    If that is the result of a QUANTIZE, its parameters must be the same.
    """
    before = draft.producer(operator.inputs[0]) if operator.name == "QUANTIZE" else None
    if before is None or before[1].name != "DEQUANTIZE":
        return False
    source = draft.producer(before[1].inputs[0])
    taken, given = (draft.tensors[tensor].quantization for tensor in (before[1].inputs[0], operator.outputs[0]))
    if source is not None and source[1].name == "QUANTIZE" and taken != given:
        return False
    draft.operators[position] = None
    draft.replace_tensor(operator.outputs[0], before[1].inputs[0])
    return True


def drop_unread(draft: Draft, position: int, operator: Operator) -> bool:
    """An operator of which nothing reads a result goes."""
    if any(tensor in draft.readers for tensor in operator.outputs):
        return False
    draft.operators[position] = None
    return True


def fold_movement(draft: Draft, position: int, operator: Operator) -> bool:
    """RESHAPE and TRANSPOSE of an integer constant are computed."""
    if operator.name not in ("RESHAPE", "TRANSPOSE") or len(operator.inputs) != 2:
        return False
    result = draft.tensors[operator.outputs[0]]
    values, order = draft.constant(operator.inputs[0]), draft.constant(operator.inputs[1])
    if values is None or result.type == "FLOAT32" or result.quantization is None:
        return False
    if operator.name == "TRANSPOSE":
        if order is None:
            return False
        values = values.transpose(order)
    draft.buffers.append(values.tobytes())
    shape = result.shape if operator.name == "RESHAPE" else values.shape
    draft.tensors[operator.outputs[0]] = replace(result, buffer=len(draft.buffers) - 1, shape=shape)
    draft.operators[position] = None
    return True


def fuse_activation(draft: Draft, position: int, operator: Operator) -> bool:
    """An operator that may have an activation, and has none, takes that of the RELU behind it, with its result."""
    before = draft.producer(operator.inputs[0]) if operator.name in ACTIVATIONS else None
    if (
        before is None
        or before[1].name not in ACTIVATED
        or before[1].options.get("fused_activation_function") != "NONE"
    ):
        return False
    alone = draft.readers[operator.inputs[0]] == 1
    if not alone and before[1].name != CLONED:
        return False
    options = {**before[1].options, "fused_activation_function": ACTIVATIONS[operator.name]}
    draft.operators[position] = replace(before[1], outputs=operator.outputs, options=options)
    if alone:
        draft.operators[before[0]] = None
    result, fused = draft.tensors[operator.outputs[0]], draft.tensors[before[1].outputs[0]]
    if operator.outputs[0] not in draft.outputs:
        draft.tensors[operator.outputs[0]] = replace(result, name=f"{result.name};{fused.name}")
    return True


def drop_idle_reshape(draft: Draft, position: int, operator: Operator) -> bool:
    """A RESHAPE to the same shape gives what it takes."""
    if operator.name != "RESHAPE" or operator.outputs[0] in draft.outputs:
        return False
    before, after = draft.tensors[operator.inputs[0]], draft.tensors[operator.outputs[0]]
    if before.shape != after.shape or before.shape_signature is not None:
        return False
    draft.operators[position] = None
    draft.replace_tensor(operator.outputs[0], operator.inputs[0])
    return True


def join_reshapes(draft: Draft, position: int, operator: Operator) -> bool:
    """A RESHAPE behind a RESHAPE takes what the first one takes."""
    before = draft.producer(operator.inputs[0]) if operator.name == "RESHAPE" else None
    if before is None or before[1].name != "RESHAPE":
        return False
    draft.operators[position] = replace(operator, inputs=(before[1].inputs[0], *operator.inputs[1:]))
    return True


def drop_reshape_before_dense(draft: Draft, position: int, operator: Operator) -> bool:
    """FULLY_CONNECTED takes what a RESHAPE before it takes, if the last dimension is the same."""
    before = draft.producer(operator.inputs[0]) if operator.name == "FULLY_CONNECTED" else None
    if before is None or before[1].name != "RESHAPE" or operator.options.get("keep_num_dims"):
        return False
    input_, reshaped = draft.tensors[before[1].inputs[0]], draft.tensors[operator.inputs[0]]
    dynamic = any(_is_dynamic(tensor) for tensor in (input_, reshaped, draft.tensors[operator.outputs[0]]))
    two = len(draft.tensors[operator.outputs[0]].shape) == 2
    if dynamic or not two or not input_.shape or input_.shape[-1:] != reshaped.shape[-1:]:
        return False
    draft.operators[position] = replace(operator, inputs=(before[1].inputs[0], *operator.inputs[1:]))
    return True


def drop_reshape_behind_dense(draft: Draft, position: int, operator: Operator) -> bool:
    """FULLY_CONNECTED gives what a RESHAPE behind it gives, if that has the input's dimensions but for the last one."""
    before = draft.producer(operator.inputs[0]) if operator.name == "RESHAPE" else None
    if before is None or before[1].name != "FULLY_CONNECTED" or before[1].options.get("keep_num_dims"):
        return False
    input_, given = draft.tensors[before[1].inputs[0]], draft.tensors[operator.inputs[0]]
    result = draft.tensors[operator.outputs[0]]
    if any(_is_dynamic(tensor) for tensor in (input_, given, result)) or draft.readers[operator.inputs[0]] != 1:
        return False
    if not given.shape or given.shape[-1:] != result.shape[-1:] or input_.shape[:-1] != result.shape[:-1]:
        return False
    draft.operators[position] = replace(_keeping(before[1]), outputs=operator.outputs)
    draft.operators[before[0]] = None
    return True


def keep_dimensions_before_reshape(draft: Draft, position: int, operator: Operator) -> bool:
    """FULLY_CONNECTED before a RESHAPE keeps the dimensions of an input that has not two, and moves right before it."""
    before = draft.producer(operator.inputs[0]) if operator.name == "RESHAPE" else None
    if before is None or before[1].name != "FULLY_CONNECTED" or before[1].options.get("keep_num_dims"):
        return False
    input_, given = draft.tensors[before[1].inputs[0]], draft.tensors[operator.inputs[0]]
    if len(input_.shape) == 2 or not input_.shape or draft.readers[operator.inputs[0]] != 1:
        return False
    draft.tensors[operator.inputs[0]] = replace(given, shape=(*input_.shape[:-1], given.shape[-1]))
    draft.operators[before[0]] = None
    draft.operators.insert(position, _keeping(before[1]))
    return True


def _keeping(dense: Operator) -> Operator:
    version = max(dense.version, KEEPING_VERSION)
    return replace(dense, version=version, options={**dense.options, "keep_num_dims": True})


def move_behind_reshape(draft: Draft, position: int, operator: Operator) -> bool:
    """An elementwise operator on the results of two equal RESHAPEs comes before, and one RESHAPE behind it."""
    if operator.name not in ELEMENTWISE:
        return False
    first, second = (draft.producer(tensor) for tensor in operator.inputs)
    if first is None or second is None or {first[1].name, second[1].name} != {"RESHAPE"}:
        return False
    reads = [draft.readers[tensor] for tensor in operator.inputs]
    a, b = (draft.tensors[reshape.inputs[0]] for _, reshape in (first, second))
    alone = reads == [1, 1] or (first == second and reads[0] == 2)
    if not alone or a.shape != b.shape or (a.type, a.quantization) != (b.type, b.quantization):
        return False
    if draft.tensors[operator.inputs[0]].shape != draft.tensors[operator.inputs[1]].shape:
        return False
    result, between = draft.tensors[operator.outputs[0]], operator.inputs[0]
    draft.tensors[between] = replace(result, name=result.name, shape=a.shape, shape_signature=a.shape_signature)
    inputs = (first[1].inputs[0], second[1].inputs[0])
    draft.operators[first[0]] = draft.operators[second[0]] = None
    draft.operators[position] = replace(first[1], inputs=(between, *first[1].inputs[1:]), outputs=operator.outputs)
    draft.operators.insert(position, replace(operator, inputs=inputs, outputs=(between,)))
    return True


PHASES = (
    (drop_fake_quantization,),
    (join_conversions, drop_unread),
    (fold_movement,),
    (fuse_activation, move_behind_reshape, join_reshapes, drop_idle_reshape, drop_unread),
    (drop_reshape_behind_dense, drop_reshape_before_dense, drop_unread),
    (keep_dimensions_before_reshape, drop_idle_reshape),
)


def _is_dynamic(tensor: Tensor) -> bool:
    return tensor.shape_signature is not None and -1 in tensor.shape_signature
