"""The mode dynamic range: weights of 1,024 elements and more become int8, activations stay float32.

Kernels that take int8 weights beside float inputs quantize their inputs while they run; behind other constants stands a
DEQUANTIZE. No calibration is needed.
Source: google-ai-edge/LiteRT, tflite/converter/transforms/prepare_quantize_dynamic_range.cc, optimize_op_order.cc,
tflite/converter/ir/tfl_ops.td (DynamicRangeQuantizedOpInterface) and tflite/converter/tools/versioning/op_version.cc;
checked against TensorFlow 2.21.0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from refquant.errors import NotQuantizable
from refquant.model.graph import Graph, Model, Operator, Tensor
from refquant.quantizer.accepted import check_float
from refquant.quantizer.decide import FloatOperator
from refquant.quantizer.parameters import Parameters, weight_parameters_float64
from refquant.quantizer.propagate import Use, rule_of
from refquant.quantizer.stored import (
    FIXED_OPTIONS,
    GraphPlan,
    Stored,
    StoredDecision,
    check_no_calibration,
    check_options,
    decision,
    float_constant,
    float_constants,
    uses_of,
)
from refquant.quantizer.why import Why

FEWEST_ELEMENTS = 1024  # of a constant that is quantized


@dataclass(frozen=True, slots=True)
class HybridRule:
    """What an op makes of int8 constants beside float inputs.

    `operands`: those that may become int8; `axis`: their channels, None per tensor. `kernel`: it reads them as they
    are, else behind a DEQUANTIZE. `versions`: of the operator, with one scale and with one per channel. `asymmetric`:
    the option asymmetric_quantize_inputs is set. `all_or_none`: one constant of too few elements keeps all float.
    """

    operands: tuple[int, ...]
    versions: tuple[int, int]
    axis: int | None = None
    kernel: bool = True
    asymmetric: bool = False
    all_or_none: bool = False


LSTM_WEIGHTS = (*range(1, 12), 16)
BIDIRECTIONAL_WEIGHTS = (*range(1, 12), 16, *range(18, 29), 33, *range(40, 48))

HYBRID_RULES: Mapping[str, HybridRule] = MappingProxyType(
    {
        "BATCH_MATMUL": HybridRule((1,), (4, 4), asymmetric=True),
        "BIDIRECTIONAL_SEQUENCE_LSTM": HybridRule(BIDIRECTIONAL_WEIGHTS, (3, 3), asymmetric=True),
        "CONV_2D": HybridRule((1,), (2, 5), axis=0),
        "DEPTHWISE_CONV_2D": HybridRule((1,), (4, 6), axis=3),
        "EMBEDDING_LOOKUP": HybridRule((1,), (1, 4), axis=0),
        "FULLY_CONNECTED": HybridRule((1,), (9, 12), axis=0, asymmetric=True),
        "GATHER": HybridRule((0,), (2, 2), kernel=False),
        "LSTM": HybridRule(LSTM_WEIGHTS, (4, 4), asymmetric=True),
        "SVDF": HybridRule((1, 2), (4, 4), asymmetric=True),
        "TRANSPOSE_CONV": HybridRule((1,), (2, 2), axis=0),
        "UNIDIRECTIONAL_SEQUENCE_LSTM": HybridRule(LSTM_WEIGHTS, (3, 3), asymmetric=True, all_or_none=True),
        "UNIDIRECTIONAL_SEQUENCE_RNN": HybridRule((1, 2), (3, 3), asymmetric=True),
    }
)


@dataclass(frozen=True, slots=True)
class DynamicRangeOptions:
    """`per_channel`: one weight scale per channel where the op has some; `per_channel_dense`: in dense layers, too."""

    per_channel: bool = True
    per_channel_dense: bool = True

    def axis(self, op: str) -> int | None:
        """The dimension that has scales of its own."""
        per_channel = self.per_channel and (self.per_channel_dense or op != "FULLY_CONNECTED")
        return HYBRID_RULES[op].axis if per_channel else None


def dynamic_range_options(per_channel: bool, per_channel_dense: bool, **given: Any) -> DynamicRangeOptions:
    """Errors: InvalidInput for an option that the mode has not."""
    check_options(given, FIXED_OPTIONS)
    return DynamicRangeOptions(per_channel, per_channel_dense)


def decide_dynamic_range(
    model: Model, calibration: None = None, options: DynamicRangeOptions | None = None
) -> StoredDecision:
    """Which constants become int8, who reads them how, and why. Errors: NotQuantizable, InvalidInput."""
    options = options or DynamicRangeOptions()
    check_no_calibration(calibration)
    check_float(model)
    plans, floats = [], []
    for number, graph in enumerate(model.graphs):
        whys = {position: why_float(model, graph, position) for position in range(len(graph.operators))}
        stored = tuple(_stored(model, graph, whys, options))
        plans.append(GraphPlan(stored, _operators(graph, stored)))
        floats += [
            FloatOperator(position, graph.operators[position].name, why, number)
            for position, why in whys.items()
            if why is not None and _is_float(graph, graph.operators[position])
        ]
    return decision(model, tuple(plans), float_constants(model, plans), tuple(floats))


def why_float(model: Model, graph: Graph, position: int) -> Why | None:
    """Why an operator keeps float constants; None if at least one of them becomes int8."""
    operator = graph.operators[position]
    rule = HYBRID_RULES.get(operator.name)
    if rule is None:
        return Why("no hybrid form", "the op has no form with int8 weights beside float inputs", position)
    constants = {slot: tensor for slot, tensor in enumerate(operator.inputs) if slot in rule.operands and tensor >= 0}
    constants = {
        slot: tensor
        for slot, tensor in constants.items()
        if not graph.tensors[tensor].is_variable and float_constant(model, graph.tensors[tensor]) is not None
    }
    few = tuple(tensor for tensor in constants.values() if _elements(graph.tensors[tensor]) < FEWEST_ELEMENTS)
    if not constants:
        return Why("no constant", "its weights are no float constants", position)
    if few and (rule.all_or_none or len(few) == len(constants)):
        least = min(_elements(graph.tensors[tensor]) for tensor in few)
        return Why("few elements", f"its weights have {least} elements, fewer than {FEWEST_ELEMENTS:,}", position, few)
    return None


def _elements(tensor: Tensor) -> int:
    return math.prod(tensor.shape)


def _is_float(graph: Graph, operator: Operator) -> bool:
    tensors = (*operator.inputs, *operator.outputs)
    return any(tensor >= 0 and graph.tensors[tensor].type == "FLOAT32" for tensor in tensors)


def _stored(model: Model, graph: Graph, whys: Mapping[int, Why | None], options: DynamicRangeOptions) -> list[Stored]:
    """The int8 constants: one of each float constant and dimension of scales, by their first readers."""
    readers: dict[tuple[int, int | None, bool], list[Use]] = {}
    for position, operator in enumerate(graph.operators):
        rule = HYBRID_RULES.get(operator.name)
        if rule is None or whys[position] is not None:
            continue
        for slot in rule.operands:
            tensor = operator.inputs[slot] if slot < len(operator.inputs) else -1
            if tensor >= 0 and _may_be_int8(model, graph.tensors[tensor]):
                key = tensor, options.axis(operator.name), rule.kernel
                readers.setdefault(key, []).append(Use(position, slot))
    found = []
    for (tensor, axis, kernel), users in sorted(readers.items(), key=lambda entry: entry[0][0]):
        parameters = _parameters(model, graph.tensors[tensor], axis)
        carried = () if kernel else _carried(graph, users)
        found.append(Stored(tensor, parameters, tuple(users), not kernel, _why(graph, tensor, users[0]), carried))
    return found


def _may_be_int8(model: Model, tensor: Tensor) -> bool:
    constant = not tensor.is_variable and float_constant(model, tensor) is not None
    return constant and _elements(tensor) >= FEWEST_ELEMENTS


def _parameters(model: Model, tensor: Tensor, axis: int | None) -> Parameters:
    values = float_constant(model, tensor)
    assert values is not None
    if not np.isfinite(values).all():
        raise NotQuantizable(f"tensor '{tensor.name}': the weights are not all finite")
    return weight_parameters_float64(values, axis)


def _why(graph: Graph, tensor: int, user: Use) -> Why:
    assert user.operator is not None
    op = graph.operators[user.operator].name
    return Why("weights", f"max |w|, weights of operator {user.operator} ({op})", user.operator, (tensor,))


def _carried(graph: Graph, users: list[Use]) -> tuple[int, ...]:
    """Operators that a DEQUANTIZE moves behind: its one reader, if that has one scale and makes the tensor smaller."""
    uses, carried = uses_of(graph), []
    assert users[0].operator is not None
    tensor = graph.operators[users[0].operator].inputs[users[0].operand]
    while len(users) == 1 and users[0].operator is not None:
        operator = graph.operators[users[0].operator]
        if not rule_of(operator).same_scale or len(operator.outputs) != 1:
            break
        if _static_elements(graph.tensors[tensor]) <= _static_elements(graph.tensors[operator.outputs[0]]):
            break
        carried.append(users[0].operator)
        tensor = operator.outputs[0]
        users = uses.get(tensor, [])
    return tuple(carried)


def _static_elements(tensor: Tensor) -> int:
    """The number of elements; dimensions that are not known count as 1."""
    shape = tensor.shape_signature if tensor.shape_signature is not None else tensor.shape
    return math.prod(size for size in shape if size >= 0)


def _operators(graph: Graph, stored: tuple[Stored, ...]) -> dict[int, Operator]:
    """Operators with the version and the option of their new form."""
    changed: dict[int, Operator] = {}
    for constant in stored:
        for use in () if constant.dequantized else constant.users:
            assert use.operator is not None
            old = changed.get(use.operator, graph.operators[use.operator])
            rule = HYBRID_RULES[old.name]
            added = {"asymmetric_quantize_inputs": True} if rule.asymmetric else {}
            version = rule.versions[_is_per_channel(graph.tensors[constant.tensor], constant.parameters, rule)]
            changed[use.operator] = replace(old, version=max(old.version, version), options={**old.options, **added})
        for position in constant.carried:
            old = graph.operators[position]
            hybrid = HYBRID_RULES.get(old.name)
            version = rule_of(old).version if hybrid is None else hybrid.versions[0]
            changed[position] = replace(old, version=max(old.version, version))
    return changed


def _is_per_channel(tensor: Tensor, parameters: Parameters, rule: HybridRule) -> bool:
    """Whether the file looks as if each channel had its scale: one scale for one channel counts, too."""
    return rule.axis is not None and len(parameters.scale) == tensor.shape[rule.axis]
