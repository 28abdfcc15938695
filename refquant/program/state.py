"""What lasts from one run of a model to the next: variable tensors, resource variables, and what ran once."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from refquant.model.graph import Array, Graph, Model, Tensor


@dataclass(slots=True)
class State:
    """Changed in place by every run.

    tensors: subgraph -> {variable tensor: its array}, for the subgraphs that have run; resources: id -> array, see
    control_flow.resource_ids; initialized: the subgraphs that CALL_ONCE has run. preserved: whether variable tensors of
    subgraphs that operators run last from one run of the operator to the next, as they do in an interpreter that
    preserves all tensors; else they begin anew.
    """

    model: Model
    tensors: dict[int, dict[int, Array]] = field(default_factory=dict)
    resources: dict[int, Array] = field(default_factory=dict)
    initialized: set[int] = field(default_factory=set)
    preserved: bool = False

    @property
    def variables(self) -> dict[int, Array]:
        """The variable tensors of the main graph: tensor index -> array."""
        return self.variables_of(0)

    def variables_of(self, subgraph: int) -> dict[int, Array]:
        """The variable tensors of a subgraph: tensor index -> array."""
        if subgraph not in self.tensors:
            self.tensors[subgraph] = first_variables(self.model.graphs[subgraph])
        return self.tensors[subgraph]

    def reset_variables(self) -> None:
        """Gives all variable tensors their first values. Resource variables stay, and what ran once does not again.

        Source: tflite/core/interpreter_experimental.cc, Interpreter::ResetVariableTensors.
        """
        self.tensors.clear()

    def forget_called(self, *subgraphs: int) -> None:
        """The variable tensors of subgraphs that an operator has run begin anew, unless they are preserved."""
        if not self.preserved:
            for subgraph in subgraphs:
                self.tensors.pop(subgraph, None)


def new_state(model: Model) -> State:
    """The state before the first run."""
    return State(model)


def first_variables(graph: Graph) -> dict[int, Array]:
    """The variable tensors before the first run: int8 ones hold their zero point, if they have one scale; else zeros.

    Source: tflite/core/api/tensor_utils.cc, ResetVariableTensor.
    """
    return {
        index: np.full(tensor.shape, _first_value(tensor), tensor.dtype)
        for index, tensor in enumerate(graph.tensors)
        if tensor.is_variable
    }


def _first_value(tensor: Tensor) -> int:
    q = tensor.quantization
    return q.zero_point[0] if tensor.type == "INT8" and q is not None and len(q.scale) == 1 and q.zero_point else 0
