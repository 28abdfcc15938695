"""What the forms of UNIDIRECTIONAL_SEQUENCE_LSTM share: its operands, their checks, and how a sequence is cut in steps.

A gate is activation(input weights x + recurrent weights h + peephole c + bias); with layer normalization the bias is
added after it. The forget gate f, the input gate i, the cell gate g and the output gate o give
    c = clip(f c + i g),  h = projection(o activation(c)) + bias, clipped
and without an input gate (coupled gates) i = 1 - f. recurrent_float.py computes in float32, recurrent_hybrid.py in
float32 with weights of int8, recurrent_int8.py in integers.
Source: google-ai-edge/LiteRT, tflite/kernels/unidirectional_sequence_lstm.cc, lstm_eval.cc, lstm_shared.h.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from refquant.kernels.checks import expect_same_type
from refquant.kernels.kernel import Node, Operand, Shape
from refquant.model.graph import Array

INPUT = 0
PROJECTION_WEIGHTS, PROJECTION_BIAS = 16, 17
OUTPUT_STATE, CELL_STATE = 18, 19
STATES = (OUTPUT_STATE, CELL_STATE)


@dataclass(frozen=True, slots=True)
class GateOperands:
    """The places of one gate's operands among the inputs. `peephole`: None for the gate that has none."""

    weights: int
    recurrent: int
    peephole: int | None
    bias: int
    layer_norm: int


GATES = {
    "input": GateOperands(1, 5, 9, 12, 20),
    "forget": GateOperands(2, 6, 10, 13, 21),
    "cell": GateOperands(3, 7, None, 14, 22),
    "output": GateOperands(4, 8, 11, 15, 23),
}
"""In the order in which they are computed; the cell changes between the last two."""

INPUT_COUNTS = (20, 24)  # the last four are layer normalization's
DECIDING = GATES["forget"].layer_norm  # the operand that decides whether there is any


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large everything is. `input_shape`: (steps, batch, n_input), or (batch, steps, n_input)."""

    input_shape: Shape
    time_major: bool
    n_batch: int
    steps: int
    n_input: int
    n_cell: int
    n_output: int

    @property
    def output_shape(self) -> Shape:
        """The shape of the output."""
        return (*self.input_shape[:2], self.n_output)

    @property
    def groups(self) -> tuple[int, int]:
        """(groups, rows): rows of one group are computed together, which shows where one decides for all of them.

        The runtime takes one step of all sequences at a time, or one sequence after another: see `time_major`.
        """
        return (1, self.n_batch) if self.time_major else (self.n_batch, 1)

    def steps_of(self, x: Array) -> Array:
        """The input as (steps, groups, rows, n_input)."""
        steps_first = x if self.time_major else x.swapaxes(0, 1)
        return steps_first.reshape(self.steps, *self.groups, self.n_input)

    def sequence_of(self, outputs: Array) -> Array:
        """(steps, groups, rows, n_output) as the output."""
        flat = outputs.reshape(self.steps, self.n_batch, self.n_output)
        return flat if self.time_major else np.ascontiguousarray(flat.swapaxes(0, 1))


def decode_sizes(node: Node) -> Sizes:
    """The sizes, with every check that does not depend on the type.

    Errors: InvalidModel for what TFLite's Prepare rejects, or what would end the process; UnsupportedModel where the
    runtime would read or write beyond a tensor. Source: unidirectional_sequence_lstm.cc, Prepare.
    """
    if len(node.inputs) not in INPUT_COUNTS or len(node.outputs) != 1:
        raise node.invalid(f"takes 20 or 24 inputs and 1 output, but has {len(node.inputs)} and {len(node.outputs)}")
    input_ = node.input(INPUT)
    expect_same_type(node, input_, node.outputs[0])
    if len(input_.shape) != 3:
        raise node.invalid(f"'{input_.name}' has shape {list(input_.shape)}; a sequence has three dimensions")
    time_major = bool(node.options.get("time_major", False))
    steps, n_batch = input_.shape[:2] if time_major else input_.shape[1::-1]
    weights, recurrent = node.input(GATES["output"].weights), node.input(GATES["output"].recurrent)
    n_cell, n_input = weights.shape[0] if weights.shape else 0, input_.shape[2]
    if 0 in (n_cell, n_input, n_batch, steps):
        raise node.unsupported(f"a sequence of shape {list(input_.shape)} with {n_cell} cells has nothing to compute")
    n_output = recurrent.shape[1] if len(recurrent.shape) == 2 else n_cell
    sizes = Sizes(input_.shape, time_major, n_batch, steps, n_input, n_cell, n_output)
    _check_clips(node)
    for name, operands in GATES.items():
        _check_gate(node, name, operands, sizes)
    _check_projection(node, sizes)
    for index, size in ((OUTPUT_STATE, n_output), (CELL_STATE, n_cell)):
        _check_state(node, index, n_batch * size)
    return sizes


def _check_clips(node: Node) -> None:
    for name in ("cell_clip", "proj_clip"):
        if not float(node.options.get(name, 0.0)) >= 0:
            raise node.invalid(f"{name} is {node.options[name]}; it must be 0 (none) or above")


def is_coupled(node: Node) -> bool:
    """Whether there is no input gate: it is 1 - the forget gate."""
    return node.optional(GATES["input"].weights) is None


def has_peephole(node: Node) -> bool:
    """Whether the gates see the cell."""
    return node.optional(11) is not None


def has_layer_norm(node: Node) -> bool:
    """Whether the gates are normalized."""
    return node.optional(DECIDING) is not None


def gate_names(node: Node) -> tuple[str, ...]:
    """The gates that there are, in the order in which they are computed."""
    return tuple(GATES)[1 if is_coupled(node) else 0 :]


def _check_gate(node: Node, name: str, operands: GateOperands, sizes: Sizes) -> None:
    """Each operand of a gate is there and has its shape, or is absent where the gate, or its kind, is."""
    absent = name == "input" and is_coupled(node)
    n_cell = sizes.n_cell
    expected: list[tuple[int, bool, tuple[Shape, ...]]] = [
        (operands.weights, not absent, ((n_cell, sizes.n_input),)),
        (operands.recurrent, not absent, ((n_cell, sizes.n_output), (n_cell,))),
        (operands.bias, not absent, ((n_cell,),)),
    ]
    if operands.peephole is not None and not absent:
        expected.append((operands.peephole, has_peephole(node), ((n_cell,),)))
    if operands.peephole is not None and absent and not has_peephole(node):
        expected.append((operands.peephole, False, ()))
    if has_layer_norm(node):
        expected.append((operands.layer_norm, not absent, ((n_cell,),)))
    for index, present, shapes in expected:
        operand = node.optional(index)
        if (operand is not None) != present:
            raise node.invalid(f"input {index}, of the {name} gate, {'is missing' if present else 'must be absent'}")
        if operand is not None and operand.shape not in shapes:
            raise node.invalid(
                f"'{operand.name}' (input {index}, of the {name} gate) has shape {list(operand.shape)} instead of "
                f"{' or '.join(str(list(shape)) for shape in shapes)}"
            )


def _check_projection(node: Node, sizes: Sizes) -> None:
    weights, bias = node.optional(PROJECTION_WEIGHTS), node.optional(PROJECTION_BIAS)
    if weights is None:
        if bias is not None:
            raise node.invalid(f"there is a projection bias '{bias.name}' without projection weights")
        if sizes.n_output != sizes.n_cell:
            raise node.unsupported(
                f"{sizes.n_cell} cells give an output of {sizes.n_output} without a projection: TFLite copies what is "
                "next to them"
            )
        return
    if weights.shape != (sizes.n_output, sizes.n_cell):
        raise node.invalid(f"'{weights.name}' has shape {list(weights.shape)}, not {[sizes.n_output, sizes.n_cell]}")
    if bias is not None and bias.shape != (sizes.n_output,):
        raise node.invalid(f"'{bias.name}' has shape {list(bias.shape)} instead of {[sizes.n_output]}")


def _check_state(node: Node, index: int, elements: int) -> None:
    state = node.input(index)
    if not state.is_variable:
        raise node.invalid(f"'{state.name}' (input {index}) must be a variable tensor")
    if int(np.prod(state.shape)) != elements:
        raise node.invalid(f"'{state.name}' has shape {list(state.shape)}; the state has {elements} elements")


def constant(node: Node, index: int, type: str) -> Array:
    """The value of a constant operand. Errors: InvalidModel for another type, UnsupportedModel for no constant."""
    operand = node.input(index)
    if operand.type != type:
        raise node.invalid(f"'{operand.name}' (input {index}) is {operand.type}, not {type}")
    return node.value(index)


def optional_constant(node: Node, index: int, type: str) -> Array | None:
    """`constant`, or None for an absent operand."""
    return None if node.optional(index) is None else constant(node, index, type)


def expect_state_types(node: Node, output_state: str, cell_state: str) -> None:
    """UnsupportedModel unless the states have these types: TFLite takes them for it."""
    for index, type in zip(STATES, (output_state, cell_state), strict=True):
        state: Operand = node.input(index)
        if state.type != type:
            raise node.unsupported(f"'{state.name}' (input {index}) is {state.type}; TFLite takes it for {type}")


def states(sizes: Sizes, arrays: Sequence[Array | None]) -> tuple[Array, Array]:
    """(output state, cell state) as (groups, rows, size)."""
    return (
        given(arrays, OUTPUT_STATE).reshape(*sizes.groups, sizes.n_output),
        given(arrays, CELL_STATE).reshape(*sizes.groups, sizes.n_cell),
    )


def state_arrays(arrays: Sequence[Array | None], h: Array, c: Array) -> tuple[Array, Array]:
    """The new states in the shapes of the old ones."""
    return h.reshape(given(arrays, OUTPUT_STATE).shape), c.reshape(given(arrays, CELL_STATE).shape)


def given(arrays: Sequence[Array | None], index: int) -> Array:
    """An array that `run` received."""
    array = arrays[index]
    assert array is not None
    return array
