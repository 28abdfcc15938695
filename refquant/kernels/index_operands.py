"""Reading axes, shapes and paddings off an operator's operands, and lining operands up along a sample axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from refquant.kernels.checks import legacy_parameters
from refquant.kernels.kernel import Node, Operand, Shape
from refquant.model.graph import Array


def expect_input_counts(node: Node, inputs: tuple[int, ...], outputs: int = 1) -> None:
    """InvalidModel unless the operator has one of these numbers of inputs, and so many outputs."""
    if len(node.inputs) not in inputs or len(node.outputs) != outputs:
        wanted = " or ".join(map(str, inputs))
        raise node.invalid(
            f"takes {wanted} inputs and {outputs} output(s), but has {len(node.inputs)} and {len(node.outputs)}"
        )


def expect_equal_parameters(node: Node, a: Operand, b: Operand) -> None:
    """InvalidModel unless both operands have one scale and one zero point: the kernel moves codes."""
    if legacy_parameters(a) != legacy_parameters(b):
        raise node.invalid(
            f"'{a.name}' has (scale, zero point) {legacy_parameters(a)} and '{b.name}' {legacy_parameters(b)}; "
            "the operator moves codes and cannot rescale, so they must be equal"
        )


def expect_zero_zero_point(node: Node, operand: Operand) -> None:
    """InvalidModel for an INT16 operand whose zero point is not 0."""
    if operand.type == "INT16" and legacy_parameters(operand)[1] != 0:
        raise node.invalid(f"'{operand.name}' is INT16, so its zero point must be 0")


def integers(node: Node, index: int, what: str, types: tuple[str, ...] = ("INT32",)) -> tuple[int, ...]:
    """All elements of a value operand in order; InvalidModel if its type is not one of `types`."""
    operand = node.input(index)
    if operand.type not in types:
        raise node.invalid(f"{what} ('{operand.name}') must be {' or '.join(types)}, not {operand.type}")
    return tuple(int(value) for value in node.value(index).reshape(-1))


def vector(node: Node, index: int, what: str, types: tuple[str, ...] = ("INT32",)) -> tuple[int, ...]:
    """The elements of a value operand; InvalidModel if its type is not one of `types`, or its rank not 1."""
    shape = node.input(index).shape
    if len(shape) != 1:
        raise node.invalid(f"{what} ('{node.input(index).name}') must have rank 1, but has shape {shape}")
    return integers(node, index, what, types)


def one_integer(node: Node, index: int, what: str, types: tuple[str, ...] = ("INT32",)) -> int:
    """The only element of a value operand; InvalidModel if its type is not one of `types`, or it holds more or less."""
    values = integers(node, index, what, types)
    if len(values) != 1:
        raise node.invalid(f"{what} ('{node.input(index).name}') must hold one element, not {len(values)}")
    return values[0]


def pairs(
    node: Node, index: int, what: str, rows: int, types: tuple[str, ...] = ("INT32",)
) -> tuple[tuple[int, int], ...]:
    """The rows of a value operand of shape (rows, 2); InvalidModel if its type is not one of `types`, or its shape."""
    shape = node.input(index).shape
    if shape != (rows, 2):
        raise node.invalid(f"{what} ('{node.input(index).name}') must have shape ({rows}, 2), not {shape}")
    values = integers(node, index, what, types)
    return tuple(zip(values[::2], values[1::2], strict=True))


def axis_from_end(node: Node, axis: int, rank: int) -> int:
    """The axis counted from the last (-1), as the kernels hold it; InvalidModel outside -rank to rank - 1."""
    if not -rank <= axis < rank:
        raise node.invalid(f"axis {axis} is no axis of a tensor of rank {rank}")
    return axis % rank - rank


def at_axis(axis: int, index: int | slice) -> tuple[Any, ...]:
    """The index expression that applies `index` to the axis counted from the end, and takes all of every other."""
    return (..., index, *(slice(None),) * (-1 - axis))


def present(arrays: Sequence[Array | None], index: int = 0) -> Array:
    """The array of an operand that is always there."""
    array = arrays[index]
    assert array is not None
    return array


def per_sample(arrays: Sequence[Array | None], shapes: Sequence[Shape], rank: int) -> tuple[list[Array], bool]:
    """Each array as (samples or 1, *shape), and whether any carries a sample axis.

    rank: the largest rank of one sample among the operands; an array of more axes carries a sample axis in front.
    """
    given = [present(arrays, index) for index in range(len(shapes))]
    batched = [array.ndim > rank for array in given]
    lined_up = [
        array.reshape(array.shape[0] if many else 1, *shape)
        for array, many, shape in zip(given, batched, shapes, strict=True)
    ]
    return lined_up, any(batched)


def without_samples(array: Array, batched: bool) -> Array:
    """The array itself, or its only row if no operand carried a sample axis."""
    return array if batched else array[0, ...]
