"""Checks that many kernels share: numbers of operands, types, and what a kernel sees of a tensor's quantization."""

from __future__ import annotations

from refquant.kernels.kernel import Node, Operand, Shape
from refquant.model.graph import Quantization


def expect_counts(node: Node, inputs: int, outputs: int) -> None:
    """InvalidModel unless the operator has exactly so many inputs and outputs."""
    if len(node.inputs) != inputs or len(node.outputs) != outputs:
        raise node.invalid(
            f"takes {inputs} input(s) and {outputs} output(s), but has {len(node.inputs)} and {len(node.outputs)}"
        )


def expect_same_type(node: Node, a: Operand, b: Operand) -> None:
    """InvalidModel unless both operands have one type."""
    if a.type != b.type:
        raise node.invalid(f"'{a.name}' is {a.type} and '{b.name}' is {b.type}; they must have one type")


def is_quantized(operand: Operand) -> bool:
    """Whether the tensor has a scale: some kernels take int16 tensors without one as plain integers."""
    return operand.quantization is not None and len(operand.quantization.scale) > 0


def channel_shape(node: Node, operand: Operand, q: Quantization) -> Shape:
    """The shape in which scales and zero points broadcast against the tensor from its last axis; () for one of them.

    Errors: InvalidModel where there are several, but not one for each index along the quantized dimension.
    """
    count = len(q.scale)
    if count == 1:
        return ()
    behind = len(operand.shape) - q.quantized_dimension - 1
    if operand.shape[q.quantized_dimension : q.quantized_dimension + 1] != (count,):
        raise node.invalid(
            f"tensor '{operand.name}' has {count} scales along dimension {q.quantized_dimension} of shape "
            f"{list(operand.shape)}"
        )
    return (count, *(1,) * behind)


def legacy_parameters(operand: Operand) -> tuple[float, int]:
    """(scale, zero_point) as a kernel reads them from TfLiteTensor.params: (0, 0) unless there is exactly one scale.

    Source: tflite/core/interpreter_builder.cc and tflite/core/subgraph.cc, GetLegacyQuantization.
    """
    q = operand.quantization
    if q is None or len(q.scale) != 1:
        return 0.0, 0
    return q.scale[0], q.zero_point[0] if q.zero_point else 0
