"""UNIDIRECTIONAL_SEQUENCE_LSTM in float32, and what its steps share with the form that has weights of int8.

The products are not the reference kernels' but Eigen's (arithmetic/eigen_product.py), as are tanh and the logistic
function. Source: google-ai-edge/LiteRT, tflite/kernels/lstm_eval.cc, EvalFloat, LstmStepFloat.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refquant.arithmetic.affine import Float32
from refquant.arithmetic.eigen_functions import PACKET, logistic, logistic_of_rest
from refquant.kernels.checks import legacy_parameters
from refquant.kernels.hybrid import fused_activation
from refquant.kernels.kernel import Node, Shape
from refquant.kernels.recurrent import (
    GATES,
    INPUT,
    PROJECTION_BIAS,
    PROJECTION_WEIGHTS,
    Sizes,
    constant,
    decode_sizes,
    expect_state_types,
    gate_names,
    given,
    has_layer_norm,
    has_peephole,
    is_coupled,
    optional_constant,
    state_arrays,
    states,
)
from refquant.model.graph import Array

SMALLEST_DEVIATION = np.float32(1e-8)  # is added to a variance
SPARE = 16  # elements behind the scratch memory of a batch

# In which order the gates lie in the scratch memory.
SCRATCH_ORDER = ("input", "cell", "forget", "output")

Activation = Callable[[Float32], Float32]
Observer = Callable[[int, Float32], None]
"""observe(i, values): the values of the operator's i-th intermediate tensor at one step, (groups, rows, n_cell)."""


@dataclass(frozen=True, slots=True)
class Rest:
    """Which elements of a gate the logistic function finds outside of whole packets: (groups, rows, n_cell) bool."""

    mask: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Gate:
    """What a gate has besides its matrices. `recurrent_diagonal` stands for a diagonal recurrent matrix."""

    recurrent_diagonal: Float32 | None
    peephole: Float32 | None
    bias: Float32
    layer_norm: Float32 | None
    rest: Rest


@dataclass(frozen=True, slots=True)
class Cell:
    """What a step does with the gates, whatever the type of the weights is.

    `activation`: None leaves values alone. `alternating`: see without_activation.
    """

    sizes: Sizes
    gates: Mapping[str, Gate]
    coupled: bool
    alternating: bool
    activation: Activation | None
    cell_clip: np.float32
    proj_clip: np.float32


@dataclass(frozen=True, slots=True)
class FloatLstmParams:
    """What the float32 kernel needs to run. `weights` and `recurrent` by gate; `add_product`: see AddProduct."""

    output_shapes: tuple[Shape]
    cell: Cell
    weights: Mapping[str, Float32]
    recurrent: Mapping[str, Float32 | None]
    projection: Float32 | None
    projection_bias: Float32
    add_product: AddProduct


AddProduct = Callable[[Float32, Float32, Float32], Float32]
"""add(weights, x, total) = x @ weights.T + total. weights: (m, k); x: (..., n, k); total: broadcasts to (..., n, m)."""


def decode_cell(node: Node, type: str) -> Cell:
    """Everything but the matrices. type: theirs. Errors: InvalidModel, UnsupportedModel."""
    sizes = decode_sizes(node)
    expect_state_types(node, "FLOAT32", "FLOAT32")
    activation = fused_activation(node)
    room = sizes.n_batch * (sizes.n_cell + SPARE)
    if type == "FLOAT32" and sizes.n_output * sizes.groups[1] > room:
        raise node.unsupported(
            f"an output of {sizes.n_output} for {sizes.n_cell} cells takes more memory than TFLite has set aside"
        )
    return Cell(
        sizes,
        {gate: _gate(node, gate, sizes, type) for gate in gate_names(node)},
        is_coupled(node),
        type == "FLOAT32",
        activation if node.options.get("fused_activation_function", "NONE") != "NONE" else None,
        np.float32(node.options.get("cell_clip", 0.0)),
        np.float32(node.options.get("proj_clip", 0.0)),
    )


def _gate(node: Node, name: str, sizes: Sizes, type: str) -> Gate:
    operands = GATES[name]
    recurrent = node.input(operands.recurrent)
    diagonal = len(recurrent.shape) == 1
    if diagonal and recurrent.type != "FLOAT32":
        raise node.unsupported(
            f"'{recurrent.name}' (input {operands.recurrent}), a diagonal matrix, is {recurrent.type}; TFLite takes it "
            "for FLOAT32"
        )
    with_peephole = has_peephole(node) and operands.peephole is not None
    return Gate(
        constant(node, operands.recurrent, "FLOAT32") if diagonal else None,
        _peephole(node, operands.peephole or 0, type) if with_peephole else None,
        constant(node, operands.bias, "FLOAT32"),
        constant(node, operands.layer_norm, "FLOAT32") if has_layer_norm(node) else None,
        Rest(outside_packets(sizes, [n for n in SCRATCH_ORDER if n in gate_names(node)].index(name))),
    )


def _peephole(node: Node, index: int, type: str) -> Float32:
    """The weights between cell and gate; codes times their scale."""
    values = constant(node, index, type)
    if type == "FLOAT32":
        return values
    scale, _ = legacy_parameters(node.input(index))
    return np.float32(scale) * values.view(np.int8).astype(np.float32)


def outside_packets(sizes: Sizes, place: int) -> NDArray[np.bool_]:
    """Which elements of the place-th gate in the scratch memory are left over, (groups, rows, n_cell).

    A group's elements follow each other. Packets begin at the first aligned one, since the memory itself is aligned.
    """
    groups, rows = sizes.groups
    size = rows * sizes.n_cell
    start = (place * sizes.n_batch * sizes.n_cell + np.arange(groups) * size)[:, np.newaxis]
    first = np.minimum(-start % PACKET, size)
    last = first + (size - first) // PACKET * PACKET
    index = np.arange(size)
    return np.asarray((index < first) | (index >= last)).reshape(groups, rows, sizes.n_cell)


def float_lstm_params(node: Node) -> FloatLstmParams:
    """Checks and decodes UNIDIRECTIONAL_SEQUENCE_LSTM with float32 weights: see recurrent.py for the operands.

    Errors: InvalidModel for what TFLite's Prepare rejects; UnsupportedModel for weights that are no constants, and
    where the runtime would read or write beyond a tensor. Source: unidirectional_sequence_lstm.cc, Prepare.
    """
    cell = decode_cell(node, "FLOAT32")
    bias = optional_constant(node, PROJECTION_BIAS, "FLOAT32")
    return FloatLstmParams(
        (cell.sizes.output_shape,),
        cell,
        {name: constant(node, GATES[name].weights, "FLOAT32") for name in cell.gates},
        {
            name: None if gate.recurrent_diagonal is not None else constant(node, GATES[name].recurrent, "FLOAT32")
            for name, gate in cell.gates.items()
        },
        optional_constant(node, PROJECTION_WEIGHTS, "FLOAT32"),
        np.zeros(cell.sizes.n_output, np.float32) if bias is None else bias,
        node.arithmetic["LSTM.add_product"],
    )


def float_lstm(params: FloatLstmParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """(output, output state, cell state) of a sequence. arrays: as the operator's inputs, all float32.

    Source: lstm_eval.cc, EvalFloat.
    """
    return observed_float_lstm(params, arrays, None)


def observed_float_lstm(
    params: FloatLstmParams, arrays: Sequence[Array | None], observe: Observer | None
) -> tuple[Array, ...]:
    """`float_lstm`, which shows at every step what a calibrator records of the operator's intermediate tensors.

    observe(0 to 3, values): with layer normalization, what goes into it in the input, forget, cell and output gate.
    observe(4, values): output gate * activation(cell), before the projection.
    Source: tflite/tools/optimize/calibration/builtin_logging_ops/lstm.cc.
    """
    cell, sizes = params.cell, params.cell.sizes
    x = sizes.steps_of(given(arrays, INPUT))
    h, c = states(sizes, arrays)
    outputs = np.empty((sizes.steps, *sizes.groups, sizes.n_output), np.float32)
    with np.errstate(all="ignore"):
        idle = all_zeros(x)
        starts = {name: start_of(gate) for name, gate in cell.gates.items()}
        sums = {
            name: np.where(
                idle[..., np.newaxis, np.newaxis], starts[name], params.add_product(weights, x, starts[name])
            )
            for name, weights in params.weights.items()
        }
        for step in range(sizes.steps):

            def before(name: str, h: Float32 = h, step: int = step) -> Float32:
                """What the matrices give for a gate."""
                matrix, total = params.recurrent[name], sums[name][step]
                if matrix is None:
                    return with_diagonal(cell.gates[name], h, total)
                return params.add_product(matrix, h, total)

            hidden, c = step_of_cell(cell, before, c, idle[step], observe)
            h = hidden
            if params.projection is not None:
                h = clip(params.add_product(params.projection, hidden, params.projection_bias), cell.proj_clip)
            outputs[step] = h
    return sizes.sequence_of(outputs), *state_arrays(arrays, h, c)


def step_of_cell(
    cell: Cell, before: Callable[[str], Float32], c: Float32, idle: NDArray[np.bool_], observe: Observer | None
) -> tuple[Float32, Float32]:
    """(output gate * activation(new cell), new cell).

    before(name): what the matrices give for a gate, (groups, rows, n_cell). idle: the groups whose input is all zeros.
    """

    def gate(name: str, c: Float32) -> Float32:
        return logistic_in_packets(cell.gates[name].rest, summed(name, c))

    def summed(name: str, c: Float32) -> Float32:
        shown = None if observe is None else lambda values: observe(tuple(GATES).index(name), values)
        return finished(cell.gates[name], before(name), c, shown)

    input_gate = None if cell.coupled else gate("input", c)
    forget_gate = gate("forget", c)
    cell_gate = summed("cell", c)
    if cell.activation is not None:
        cell_gate = cell.activation(cell_gate)
    elif cell.alternating:
        cell_gate = without_activation(cell.gates["cell"], cell_gate, idle)
    c = forget_gate * c
    c = c + cell_gate * (np.float32(1) - forget_gate if input_gate is None else input_gate)
    c = clip(c, cell.cell_clip)
    output_gate = gate("output", c)
    # Without an activation the memory still holds the cell gate.
    hidden = output_gate * (cell.activation(c) if cell.activation is not None else cell_gate)
    if observe is not None:
        observe(4, hidden)
    return hidden, c


def finished(gate: Gate, total: Float32, c: Float32, shown: Callable[[Float32], None] | None) -> Float32:
    """total + peephole * c, normalized."""
    if gate.peephole is not None:
        total = total + gate.peephole * c
    if gate.layer_norm is None:
        return total
    if shown is not None:
        shown(total)
    return gate.layer_norm * normalized(total) + gate.bias


def with_diagonal(gate: Gate, h: Float32, total: Float32) -> Float32:
    """total + diagonal recurrent matrix * h."""
    assert gate.recurrent_diagonal is not None
    return np.asarray(total + gate.recurrent_diagonal * h)


def all_zeros(x: Float32) -> NDArray[np.bool_]:
    """Whether every value of a group is 0, for x (..., groups, rows, k). The runtime skips a product with it."""
    return np.asarray(~x.any(axis=(-2, -1)))


def without_activation(gate: Gate, total: Float32, idle: NDArray[np.bool_]) -> Float32:
    """What the runtime takes for the cell gate without an activation: the sum, or only the bias it began with.

    Each product goes to the other of two memories; only an activation would bring the last one's result to the gate's.
    So it is the bias after one product: with an input of zeros, or a diagonal recurrent matrix, but not with both.
    """
    there = idle == (gate.recurrent_diagonal is not None)
    return np.where(there[:, np.newaxis, np.newaxis], total, start_of(gate))


def start_of(gate: Gate) -> Float32:
    """What a gate's sum begins with."""
    return gate.bias if gate.layer_norm is None else np.zeros_like(gate.bias)


def logistic_in_packets(rest: Rest, x: Float32) -> Float32:
    """The logistic function, in packets and outside of them."""
    result = logistic(x)
    result[rest.mask] = logistic_of_rest(x[rest.mask])
    return result


def normalized(x: Float32) -> Float32:
    """(x - mean) / sqrt(variance + 1e-8) along the last axis, each sum in order.

    Source: tflite/kernels/internal/reference/portable_tensor_utils.cc, PortableMeanStddevNormalization.
    """
    size = np.float32(x.shape[-1])
    mean = _sum_in_order(x) / size
    difference = x - mean
    variance = _sum_in_order(difference * difference) / size
    return np.asarray(difference * (np.float32(1) / np.sqrt(variance + SMALLEST_DEVIATION)), np.float32)


def _sum_in_order(x: Float32) -> Float32:
    return np.asarray(np.add.accumulate(x, axis=-1)[..., -1:], np.float32)


def clip(x: Float32, limit: np.float32) -> Float32:
    """x between -limit and limit, a NaN becomes limit; 0 means no limit.

    Source: tflite/kernels/internal/reference/portable_tensor_utils.h, PortableCwiseClipping.
    """
    return np.maximum(np.where(x < limit, x, limit), -limit) if limit > 0 else x
