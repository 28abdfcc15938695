"""calibration_from_keras: the ranges of a network's fake-quantization nodes, which a float .tflite file holds rounded.

Needs TensorFlow, in the caller's process, because the model lives there.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.errors import InvalidInput
from refquant.model.graph import Model
from refquant.program import ModelLike, as_model
from refquant.quantizer.calibration import Calibration, Limits, TensorRange
from refquant.quantizer.parameters import Parameters
from refquant.quantizer.qat_pairs import unpaired
from refquant.quantizer.qat_parameters import fake_quantization
from refquant.quantizer.qat_ranges import by_range, by_scale, exact_parameters, filed

Scales = NDArray[np.float64]

MISSING = "calibration_from_keras needs TensorFlow, which is not installed: pip install 'refquant[tensorflow]'"
WITH_OPERANDS = ("FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxVarsPerChannel")
WITH_ATTRIBUTES = "FakeQuantWithMinMaxArgs"
NORMALISATIONS = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")


@dataclass(frozen=True, slots=True)
class Node:
    """One fake-quantization node: its name in the graph and its ranges, one per channel."""

    name: str
    limits: tuple[Limits, ...]


def calibration_from_keras(model: Any, float_model: ModelLike) -> Calibration:
    """The ranges of the fake-quantization nodes, for quantize(float_model, ..., mode="qat").

    model: a Keras model (tensorflow-model-optimization's quantize_model gives one), or a ConcreteFunction, of which the
    converter made float_model without optimizations. A QUANTIZE of float_model gets the range of the node that gives
    its scale and zero point; of several such nodes, the one that it is named after. The converter multiplies weights
    per channel, and their scales, by a constant or the factors of a batch normalisation behind them; then the entry
    holds the scales.
    Errors: InvalidInput if TensorFlow is missing, or if a QUANTIZE is of none of the nodes or of several.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise InvalidInput(MISSING)
    file = as_model(float_model)
    frozen = _frozen(model)
    nodes, factors = tuple(_nodes(frozen)), tuple(_factors(frozen))
    quantized = [quantized for quantized, _ in unpaired(file).pairs.values()]
    ranges = (_range(file, tensor, nodes, factors) for tensor in sorted(quantized))
    calibration = Calibration(tuple(entry for entry in ranges if entry is not None))
    exact_parameters(file, quantized, calibration)  # tells what is missing
    return calibration


def _range(file: Model, index: int, nodes: Sequence[Node], factors: Sequence[Scales]) -> TensorRange | None:
    """The range of the node that a QUANTIZE was made of; None if it is of none."""
    tensor, held = file.graph.tensors[index], filed(file.graph, index)
    found: dict[Node, Parameters] = {}
    for node in nodes:
        exact = _made(held, node, factors)
        if exact is not None:
            found[node] = exact
    parts = tensor.name.split(";")
    named = [node for node in found if node.name in parts] or list(found)
    if not named:
        return None
    if len({found[node].scale for node in named}) > 1:
        names = " and ".join(f"'{node.name}'" for node in named)
        raise InvalidInput(f"'{tensor.name}' may be of the nodes {names}, whose scales are one in float32")
    made, limits = found[named[0]], named[0].limits
    low, high = min(low for low, _ in limits), max(high for _, high in limits)
    return TensorRange(index, tensor.name, low, high, scale=made.scale if len(made.scale) > 1 else ())


def _made(held: Parameters, node: Node, factors: Sequence[Scales]) -> Parameters | None:
    """What the file holds with scales in float64, if it is of the node; times the factors of a batch normalisation."""
    if len(held.scale) == 1 and len(node.limits) == 1:
        return by_range(held, *node.limits[0])
    channels = len(held.scale)
    if len(node.limits) not in (1, channels):
        return None
    scales = [np.asarray(fake_quantization(node.limits, narrow, held.axis).scale) for narrow in (False, True)]
    for factor in (np.ones(channels), *(factor for factor in factors if len(factor) == channels)):
        for scale in scales:
            made = by_scale(held, (scale * factor).tolist())
            if made is not None:
                return made
    return None


def _frozen(model: Any) -> Any:
    """The model's inference as a ConcreteFunction with constants in place of variables."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    concrete = model
    if not (hasattr(model, "graph") and hasattr(model, "structured_input_signature")):
        if not callable(model) or not hasattr(model, "inputs"):
            raise InvalidInput(f"the model must be a Keras model or a ConcreteFunction, not {type(model).__name__}")
        specs = [tf.TensorSpec(i.shape, i.dtype, i.name.split(":")[0]) for i in model.inputs]
        one = len(specs) == 1
        inference = tf.function(lambda *inputs: model(inputs[0] if one else list(inputs), training=False))
        concrete = inference.get_concrete_function(*specs)
    return convert_variables_to_constants_v2(concrete, lower_control_flow=False)


def _nodes(frozen: Any) -> Iterator[Node]:
    """The fake-quantization nodes whose ranges do not depend on the input."""
    for operation in frozen.graph.get_operations():
        if operation.type == WITH_ATTRIBUTES:
            yield Node(operation.name, ((operation.get_attr("min"), operation.get_attr("max")),))
        elif operation.type in WITH_OPERANDS:
            low, high = (_constant(frozen, tensor) for tensor in operation.inputs[1:3])
            if low is not None and high is not None:
                yield Node(operation.name, tuple(zip(low.tolist(), high.tolist(), strict=True)))


def _factors(frozen: Any) -> Iterator[Scales]:
    """What weights may have been multiplied by: the constants of products, and of each batch normalisation
    |f32(gamma * f32(1 / sqrt(variance + epsilon)))|, as TensorFlow computes it.
    """
    import tensorflow as tf

    for operation in frozen.graph.get_operations():
        if operation.type == "Mul":
            constants = (_constant(frozen, tensor) for tensor in operation.inputs)
            yield from (np.abs(constant.astype(np.float64)) for constant in constants if constant is not None)
        if operation.type in NORMALISATIONS:
            gamma, variance = (_constant(frozen, operation.inputs[place]) for place in (1, 4))
            if gamma is not None and variance is not None:
                root = tf.math.rsqrt(variance + np.float32(operation.get_attr("epsilon"))).numpy()
                yield np.abs((gamma * root).astype(np.float64))


def _constant(frozen: Any, tensor: Any) -> NDArray[np.float32] | None:
    """The tensor's values, flat; None if they depend on the input."""
    seen, waiting = set[str](), [tensor.op]
    while waiting:
        operation = waiting.pop()
        if operation.type == "Placeholder":
            return None
        if operation.name not in seen:
            seen.add(operation.name)
            waiting += [operand.op for operand in operation.inputs]
    (value,) = frozen.prune([], [tensor])()
    return np.ravel(np.asarray(value.numpy(), np.float32))
