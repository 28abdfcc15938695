"""Dynamic range and float16 by the old quantizer: constants are rewritten in place, all tensors keep their indices.

Weights get one scale, but for convolutions; a DEQUANTIZE stands before the first operator that takes no int8 weights.
The converter goes through a hash table of tensors, so that the order of several DEQUANTIZE, and of their results behind
the other tensors, is by chance; here it is that of the constants.
Source: google-ai-edge/LiteRT, tflite/converter/quantization/lite/toco_legacy/quantize_weights.cc and
quantization_utils.cc; checked against TensorFlow 2.21.0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from refquant.errors import NotQuantizable
from refquant.model.graph import Array, Graph, Metadata, Model, Operator, Quantization, Tensor
from refquant.quantizer.accepted import check_float
from refquant.quantizer.decide import FloatOperator
from refquant.quantizer.dynamic_range import BIDIRECTIONAL_WEIGHTS, FEWEST_ELEMENTS, LSTM_WEIGHTS, DynamicRangeOptions
from refquant.quantizer.file_rules import Buffers
from refquant.quantizer.float16 import Float16Options
from refquant.quantizer.legacy.arithmetic import (
    Scaling,
    channel_ranges,
    rewrite,
    value_range,
    weights_per_channel,
    weights_per_tensor,
)
from refquant.quantizer.parameters import Parameters
from refquant.quantizer.propagate import Use
from refquant.quantizer.stored import (
    HALF,
    GraphPlan,
    Stored,
    StoredDecision,
    check_no_calibration,
    decision,
    float_constants,
    to_half,
    uses_of,
)
from refquant.quantizer.stored_apply import REDUCED_PRECISION
from refquant.quantizer.why import Why

DEQUANTIZE_VERSION = 2  # also of float16


@dataclass(frozen=True, slots=True)
class OldHybridRule:
    """What the old quantizer makes of an op's constants.

    `operands`: those that become int8. `versions`: of every operator of the op, with and without per_channel; None
    leaves it. `axis`: the channels with per_channel. `hybrid`: the op reads int8 weights beside float inputs, with and
    without per_channel. `asymmetric`: the option asymmetric_quantize_inputs is set, to per_channel. `passes`: its
    result becomes int8, too.
    """

    operands: tuple[int, ...]
    versions: tuple[int, int] | None = None
    axis: int | None = None
    hybrid: tuple[bool, bool] = (True, True)
    asymmetric: bool = False
    passes: bool = False


NOT_HYBRID = (False, False)

OLD_HYBRID_RULES: Mapping[str, OldHybridRule] = MappingProxyType(
    {
        "BATCH_MATMUL": OldHybridRule((1,), (4, 1), asymmetric=True),
        "BIDIRECTIONAL_SEQUENCE_LSTM": OldHybridRule(BIDIRECTIONAL_WEIGHTS, (3, 3), asymmetric=True),
        "BIDIRECTIONAL_SEQUENCE_RNN": OldHybridRule((1, 2, 4, 5, 6, *range(8, 12)), (3, 2), asymmetric=True),
        "CONV_2D": OldHybridRule((1,), (5, 2), axis=0),
        "DEPTHWISE_CONV_2D": OldHybridRule((1,), (6, 6), axis=3, hybrid=(True, False)),
        "EMBEDDING_LOOKUP": OldHybridRule((1,), (3, 3), hybrid=NOT_HYBRID, passes=True),
        "FULLY_CONNECTED": OldHybridRule((1,), (9, 3), asymmetric=True),
        "GATHER": OldHybridRule((0,), hybrid=NOT_HYBRID, passes=True),
        "LSTM": OldHybridRule(LSTM_WEIGHTS, (4, 3), asymmetric=True),
        "RNN": OldHybridRule((1, 2), (3, 2), asymmetric=True),
        "SVDF": OldHybridRule((1, 2), (4, 2), asymmetric=True),
        "TRANSPOSE_CONV": OldHybridRule((1,), hybrid=NOT_HYBRID),
        "UNIDIRECTIONAL_SEQUENCE_LSTM": OldHybridRule(LSTM_WEIGHTS, (3, 2), asymmetric=True),
        "UNIDIRECTIONAL_SEQUENCE_RNN": OldHybridRule((1, 2), (3, 2), asymmetric=True),
    }
)


# decide


def decide_old_dynamic_range(
    model: Model, calibration: None = None, options: DynamicRangeOptions | None = None
) -> StoredDecision:
    """Which constants become int8, who reads them how, and why. Errors: NotQuantizable, InvalidInput."""
    check_no_calibration(calibration)
    per_channel = (options or DynamicRangeOptions()).per_channel
    check_float(model)
    plans, floats = [], []
    for number, graph in enumerate(model.graphs):
        weights = _weights(model, graph, per_channel)
        stored = tuple(row for tensor in weights for row in _rows(graph, weights, tensor, per_channel))
        plans.append(GraphPlan(stored, _operators(graph, weights, per_channel)))
        floats += [
            FloatOperator(
                p, o.name, Why("no hybrid form", "no int8 weights that it takes beside float inputs", p), number
            )
            for p, o in enumerate(graph.operators)
            if not any(row.users and not row.dequantized and _reads(row, p) for row in stored)
            and any(t >= 0 and graph.tensors[t].type == "FLOAT32" for t in (*o.inputs, *o.outputs))
        ]
    return decision(model, tuple(plans), float_constants(model, plans), tuple(floats))


def _reads(row: Stored, operator: int) -> bool:
    return any(use.operator == operator for use in row.users)


def decide_old_float16(model: Model, calibration: None = None, options: Float16Options | None = None) -> StoredDecision:
    """Every float32 constant that an operator reads becomes float16. Errors: NotQuantizable, InvalidInput."""
    check_no_calibration(calibration)
    check_float(model)
    plans = []
    for graph in model.graphs:
        uses, stored = uses_of(graph), []
        for tensor, record in enumerate(graph.tensors):
            users = tuple(use for use in uses.get(tensor, ()) if use.operator is not None)
            if users and record.type == "FLOAT32" and model.constant(record) is not None:
                stored.append(Stored(tensor, HALF, users, True, Why("half", "a float32 constant", None, (tensor,))))
        plans.append(GraphPlan(tuple(stored), {}))
    return decision(model, tuple(plans), (), (), half=True)


def _weights(model: Model, graph: Graph, per_channel: bool) -> dict[int, tuple[Parameters, Why]]:
    """Tensor -> its parameters: by the first operator that takes it as weights."""
    found: dict[int, tuple[Parameters, Why]] = {}
    for position, operator in enumerate(graph.operators):
        rule = OLD_HYBRID_RULES.get(operator.name)
        for slot in rule.operands if rule is not None else ():
            tensor = operator.inputs[slot] if slot < len(operator.inputs) else -1
            if rule is None or tensor in found or not _is_weights(model, graph, tensor):
                continue
            values = model.constant(graph.tensors[tensor])
            assert values is not None
            if not np.isfinite(values).all():
                raise NotQuantizable(f"tensor '{graph.tensors[tensor].name}': the weights are not all finite")
            scale, _ = _scaling(values, rule.axis if per_channel else None)
            axis = rule.axis if per_channel else None
            why = Why("weights", f"max |w|, weights of operator {position} ({operator.name})", position, (tensor,))
            found[tensor] = Parameters("INT8", scale, (0,) * len(scale), axis, narrow=True), why
    return found


def _is_weights(model: Model, graph: Graph, tensor: int) -> bool:
    if tensor < 0 or graph.tensors[tensor].type != "FLOAT32" or model.constant(graph.tensors[tensor]) is None:
        return False
    return math.prod(graph.tensors[tensor].shape) >= FEWEST_ELEMENTS


def _scaling(values: Array, axis: int | None) -> tuple[tuple[float, ...], Scaling]:
    """(scales, how the integers are made), all in float32."""
    if axis is not None:
        return weights_per_channel(*channel_ranges(values, axis), axis)
    scale, scaling = weights_per_tensor(value_range(values))
    return (scale,), replace(scaling, loop="portable")


def _rows(graph: Graph, weights: Mapping[int, tuple[Parameters, Why]], tensor: int, per_channel: bool) -> list[Stored]:
    """The constant as its hybrid readers take it, and as the others do behind a DEQUANTIZE."""
    parameters, why = weights[tensor]
    uses = uses_of(graph)
    carried: tuple[int, ...] = ()
    readers = uses.get(tensor, [])
    operators = [use for use in readers if use.operator is not None]
    if len(operators) == 1 and _rule(graph, operators[0]).passes:
        passing = operators[0].operator
        assert passing is not None
        carried = (passing,)
        readers = uses.get(graph.operators[passing].outputs[0], [])
    hybrid = [use for use in readers if _is_hybrid(graph, weights, use, per_channel)]
    others = [use for use in readers if use not in hybrid]
    rows = []
    if carried:
        rows.append(Stored(tensor, parameters, tuple(operators), bool(others), why, carried))
    else:
        rows += [Stored(tensor, parameters, tuple(hybrid), False, why)] if hybrid else []
        rows += [Stored(tensor, parameters, tuple(others), True, why)] if others else []
    return rows


def _rule(graph: Graph, use: Use) -> OldHybridRule:
    assert use.operator is not None
    return OLD_HYBRID_RULES.get(graph.operators[use.operator].name, OldHybridRule((), hybrid=NOT_HYBRID))


def _is_hybrid(graph: Graph, weights: Mapping[int, tuple[Parameters, Why]], use: Use, per_channel: bool) -> bool:
    """Whether the operand may be int8: all weights of its operator must be, and the op must have a hybrid form."""
    if use.operator is None:
        return False
    rule, operator = _rule(graph, use), graph.operators[use.operator]
    tensors = [operator.inputs[slot] for slot in rule.operands if slot < len(operator.inputs)]
    return (
        rule.hybrid[not per_channel]
        and use.operand in rule.operands
        and all(tensor < 0 or tensor in weights for tensor in tensors)
        and (operator.name != "LSTM" or operator.options.get("kernel_type", "FULL") == "FULL")
    )


def _operators(graph: Graph, weights: Mapping[int, tuple[Parameters, Why]], per_channel: bool) -> dict[int, Operator]:
    """Operators with new versions, whether quantized or not, and the option of those with int8 weights."""
    changed = {}
    for position, operator in enumerate(graph.operators):
        rule = OLD_HYBRID_RULES.get(operator.name)
        if rule is None:
            continue
        options = dict(operator.options)
        tensors = [operator.inputs[slot] for slot in rule.operands if slot < len(operator.inputs)]
        if rule.asymmetric and any(tensor in weights for tensor in tensors):
            options["asymmetric_quantize_inputs"] = per_channel
        version = operator.version if rule.versions is None else rule.versions[not per_channel]
        changed[position] = replace(operator, version=version, options=options)
    return changed


# apply


def apply_old(model: Model, decision: StoredDecision) -> Model:
    """The model that the decision describes. Nothing is decided here."""
    buffers = Buffers()
    graphs = tuple(
        _rewritten(model, graph, plan, buffers) for graph, plan in zip(model.graphs, decision.plan, strict=True)
    )
    index = {(n, old): new for n, graph in enumerate(graphs) for old, new in zip(model.graphs[n].outputs, graph.outputs, strict=True)}  # fmt: skip  # noqa: E501
    signatures = tuple(
        replace(s, outputs=tuple((name, index[s.subgraph, tensor]) for name, tensor in s.outputs))
        for s in model.signatures
    )
    metadata = [REDUCED_PRECISION] if decision.half else []
    metadata += [(entry.name, model.buffers[entry.buffer]) for entry in model.metadata]
    return replace(
        model,
        graphs=graphs,
        signatures=signatures,
        metadata=tuple(Metadata(name, buffers.add(data)) for name, data in metadata),
        buffers=tuple(buffers.data),
        metadata_buffer=(),
    )


def _rewritten(model: Model, graph: Graph, plan: GraphPlan, buffers: Buffers) -> Graph:
    """The subgraph with its constants rewritten, results of DEQUANTIZE behind the tensors."""
    rewritten, outputs = {stored.tensor: stored for stored in plan.stored}, list(graph.outputs)
    tensors = [
        tensor if number in rewritten else replace(tensor, buffer=buffers.keep(model, tensor))
        for number, tensor in enumerate(graph.tensors)
    ]
    operators = [(position, plan.operators.get(position, old)) for position, old in enumerate(graph.operators)]
    for stored in rewritten.values():
        values = model.constant(graph.tensors[stored.tensor])
        assert values is not None
        buffer = buffers.add(_integers(values, stored.parameters).tobytes())
        tensors[stored.tensor] = _as_stored(graph.tensors[stored.tensor], values, stored, buffer)
        for position in stored.carried:
            result = graph.operators[position].outputs[0]
            tensors[result] = replace(_as_stored(graph.tensors[result], values, stored, 0))
    for stored in plan.stored:
        if not stored.dequantized:
            continue
        source = graph.operators[stored.carried[-1]].outputs[0] if stored.carried else stored.tensor
        readers = tuple(uses_of(graph).get(source, ())) if stored.carried else stored.users
        shaped = graph.tensors[source]
        tensors.append(Tensor(f"{shaped.name}_dequantize", "FLOAT32", shaped.shape, 0, None, shaped.shape_signature))
        _insert_dequantize(operators, outputs, source, len(tensors) - 1, readers)
    return replace(
        graph,
        tensors=tuple(tensors),
        operators=tuple(operator for _, operator in operators),
        outputs=tuple(outputs),
    )


def _insert_dequantize(
    operators: list[tuple[int, Operator]], outputs: list[int], source: int, target: int, readers: tuple[Use, ...]
) -> None:
    """Puts DEQUANTIZE before the first operator that reads its result; of several outputs only the first takes it."""
    read = {use.operator for use in readers}
    place = next((n for n, (position, _) in enumerate(operators) if position in read), len(operators))
    for n, (position, operator) in enumerate(operators):
        slots = {use.operand for use in readers if use.operator == position}
        inputs = tuple(target if slot in slots else tensor for slot, tensor in enumerate(operator.inputs))
        operators[n] = position, replace(operator, inputs=inputs)
    if None in read and source in outputs:
        outputs[outputs.index(source)] = target
    operators.insert(place, (-1, Operator("DEQUANTIZE", (source,), (target,), DEQUANTIZE_VERSION)))


def _integers(values: Array, parameters: Parameters) -> Array:
    if parameters.type == "FLOAT16":
        return to_half(values)
    return rewrite(values, _scaling(values, parameters.axis)[1])


def _as_stored(tensor: Tensor, values: Array, stored: Stored, buffer: int) -> Tensor:
    parameters = stored.parameters
    if parameters.type == "FLOAT16":
        return replace(tensor, type="FLOAT16", buffer=buffer)
    low, high = channel_ranges(values, parameters.axis) if parameters.axis is not None else ((), ())
    quantization = Quantization(parameters.scale, parameters.zero_point, parameters.axis or 0, low, high)
    return replace(tensor, type="INT8", buffer=buffer, quantization=quantization)
