"""The operators that run other subgraphs, and those of resource variables; no kernel sees either.

A subgraph is prepared for the shapes that it is called with, where they are known and do not change.
Source: google-ai-edge/LiteRT, tflite/kernels/while.cc, if.cc, call_once.cc, var_handle.cc, read_variable.cc,
assign_variable.cc, control_flow_common.h; checked against LiteRT 2.3.0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from refquant.errors import InvalidModel, UnsupportedModel
from refquant.kernels.kernel import Shape
from refquant.model.graph import DTYPES, Array, Graph, Model, Operator, Tensor
from refquant.program.state import State
from refquant.program.steps import Program

Shapes = tuple[Shape | None, ...]
"""Shapes of operands; None where it is known only when the operator runs."""


@dataclass(frozen=True, slots=True)
class Site:
    """One operator about to be prepared. `prepare(subgraph, shapes of its inputs)` prepares another subgraph.

    `arithmetic`: the runtime's values, as a kernel's node has them.
    """

    place: str
    model: Model
    graph: Graph
    operator: Operator
    options: Mapping[str, Any]
    shapes: Shapes  # of the inputs
    prepare: Callable[[int, Shapes], Program]
    arithmetic: Mapping[str, Any]

    def invalid(self, text: str) -> InvalidModel:
        """An InvalidModel error that begins with this operator's place."""
        return InvalidModel(f"{self.place}: {text}")

    def input(self, position: int) -> Tensor:
        """The tensor of an input; InvalidModel if it is absent."""
        index = self.operator.inputs[position]
        if index < 0:
            raise self.invalid(f"input {position} is missing")
        return self.graph.tensors[index]

    def expect_counts(self, inputs: int, outputs: int) -> None:
        """InvalidModel unless the operator has exactly so many inputs and outputs."""
        given = len(self.operator.inputs), len(self.operator.outputs)
        if given != (inputs, outputs):
            raise self.invalid(f"takes {inputs} input(s) and {outputs} output(s), but has {given[0]} and {given[1]}")

    def called(self, option: str, inputs: int, outputs: int) -> int:
        """The subgraph that an option names; InvalidModel unless it has so many inputs and outputs."""
        index = int(self.options.get(option, 0))
        graph = self.model.graphs[index]
        if (len(graph.inputs), len(graph.outputs)) != (inputs, outputs):
            raise self.invalid(
                f"subgraph {index} ({option}) has {len(graph.inputs)} input(s) and {len(graph.outputs)} output(s), not "
                f"{inputs} and {outputs}"
            )
        return index


RunSubgraph = Callable[[Program, Sequence[Array]], list[Array]]
"""run(program, its inputs) -> its outputs."""


@dataclass(frozen=True, slots=True)
class Control:
    """`prepare(site)` gives the params and the shapes of the outputs; `run(params, inputs, state, run)` the outputs."""

    prepare: Callable[[Site], tuple[Any, Shapes]]
    run: Callable[[Any, Sequence[Array], State, RunSubgraph], list[Array]]


def _truth(array: Array) -> bool:
    """The value of a condition. InvalidModel unless it is one element."""
    if array.size != 1:
        raise InvalidModel(f"the condition must be one element, but has shape {array.shape}")
    return bool(array.reshape(()))


def _expect_condition(site: Site, tensor: Tensor) -> None:
    if tensor.type != "BOOL":
        raise site.invalid(f"the condition '{tensor.name}' is {tensor.type}; it must be BOOL")


# WHILE --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WhileParams:
    """What WHILE needs to run. sources: for each output of the body, the input that it hands on as it is, or None.

    None for all where the runtime's value "WHILE.copies_in_turn" is False: what the body hands on comes as it was.
    input_shapes: those with which the body is called, if its results always have them too, or one element as a scalar
    or the other way round.
    """

    cond: Program
    body: Program
    sources: tuple[int | None, ...]
    input_shapes: tuple[Shape, ...] | None


def prepare_while(site: Site) -> tuple[WhileParams, Shapes]:
    """WHILE: inputs and outputs are the loop's values; cond_subgraph_index, body_subgraph_index.

    Errors: InvalidModel for what TFLite's Prepare rejects. Source: tflite/kernels/while.cc, Prepare_impl.
    """
    count = len(site.operator.inputs)
    site.expect_counts(count, count)
    cond, body = site.called("cond_subgraph_index", count, 1), site.called("body_subgraph_index", count, count)
    if cond == body:
        raise site.invalid(f"condition and body are one subgraph, {cond}")
    cond_graph, graph = site.model.graphs[cond], site.model.graphs[body]
    _expect_condition(site, cond_graph.tensors[cond_graph.outputs[0]])
    for position, output in enumerate(graph.outputs):
        given, result = site.input(position), graph.tensors[output]
        if given.type != result.type:
            raise site.invalid(f"input {position} is {given.type}, but the body's output {position} {result.type}")
    handed_on = graph.inputs if site.arithmetic["WHILE.copies_in_turn"] else ()
    sources = tuple(handed_on.index(output) if output in handed_on else None for output in graph.outputs)
    shapes, results = site.shapes, _result_shapes(site, body, site.shapes)
    if all(map(_fits, shapes, results)):
        known = tuple(shape for shape in shapes if shape is not None)
        return WhileParams(site.prepare(cond, shapes), site.prepare(body, shapes), sources, known), results
    while shapes != (steady := tuple(a if a == b else None for a, b in zip(shapes, results, strict=True))):
        shapes, results = steady, _result_shapes(site, body, steady)
    return WhileParams(site.prepare(cond, shapes), site.prepare(body, shapes), sources, None), shapes


def _result_shapes(site: Site, subgraph: int, shapes: Shapes) -> Shapes:
    program = site.prepare(subgraph, shapes)
    return tuple(program.shapes.get(index) for index in program.graph.outputs)


def _fits(shape: Shape | None, result: Shape | None) -> bool:
    """Whether a body that gives `result` for `shape` may run on it again: equal, or a scalar and one element."""
    return shape is not None and result is not None and (shape == result or {shape, result} == {(), (1,)})


def run_while(params: WhileParams, values: Sequence[Array], state: State, run: RunSubgraph) -> list[Array]:
    """The values after the body has run while the condition held.

    The runtime hands the body the operator's outputs as its inputs, and copies the body's outputs into them one after
    another. So an input that the body hands on at a later place comes as what is at its own place by then; only the
    condition sees it as it was. Where memory is taken anew because a value has grown, the result is undefined.
    Errors: UnsupportedModel for that. Source: tflite/kernels/while.cc, Eval_static, Eval_dynamic.
    """
    held, seen = list(values), list(values)
    while _truth(run(params.cond, seen)[0]):
        seen = run(params.body, _shaped(held, params.input_shapes))
        held = _copied_in_turn(params.sources, held, seen)
    state.forget_called(params.cond.subgraph, params.body.subgraph)
    return held


def dropped_outputs(model: Model, graph: Graph, operator: Operator) -> tuple[int, ...]:
    """The outputs of a WHILE that TFLite leaves out: what the body hands on as it is, where nothing reads it later.

    Source: tflite/kernels/while.cc, Prepare_impl.
    """
    if operator.name != "WHILE":
        return ()
    body = model.graphs[int(operator.options.get("body_subgraph_index", 0))]
    read = {*graph.outputs, *(index for other in graph.operators for index in other.inputs)}
    return tuple(
        output
        for output, given, result in zip(operator.outputs, body.inputs, body.outputs, strict=True)
        if given == result and output not in read and body.tensors[given].type in DTYPES
    )


def _copied_in_turn(sources: Sequence[int | None], held: Sequence[Array], results: Sequence[Array]) -> list[Array]:
    copied = list(held)
    for position, (source, result) in enumerate(zip(sources, results, strict=True)):
        if source is None or source == position:
            copied[position] = result
        elif results[source].nbytes > held[source].nbytes:
            raise UnsupportedModel(
                f"the body hands input {source} on as output {position}, and the value at {source} grows: TFLite reads "
                "memory that it has given back"
            )
        else:
            copied[position] = copied[source]
    return copied


def _shaped(arrays: Sequence[Array], shapes: Sequence[Shape] | None) -> list[Array]:
    if shapes is None:
        return list(arrays)
    return [array.reshape(shape) for array, shape in zip(arrays, shapes, strict=True)]


# IF -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class IfParams:
    """What IF needs to run: the branches, the one for false first."""

    branches: tuple[Program, Program]


def prepare_if(site: Site) -> tuple[IfParams, Shapes]:
    """IF: condition, then the inputs of either branch; then_subgraph_index, else_subgraph_index.

    Errors: InvalidModel for what TFLite's Prepare rejects; UnsupportedModel for a branch that gives one computed tensor
    as several outputs, of which TFLite writes the last one only. Source: tflite/kernels/if.cc, Prepare, Eval_static.
    """
    if not site.operator.inputs:
        raise site.invalid("the condition is missing")
    _expect_condition(site, site.input(0))
    counts = len(site.operator.inputs) - 1, len(site.operator.outputs)
    indices = [site.called(option, *counts) for option in ("else_subgraph_index", "then_subgraph_index")]
    for position in range(1, len(site.operator.inputs)):
        site.input(position)
    otherwise, then = (site.prepare(index, site.shapes[1:]) for index in indices)
    shapes = [tuple(program.shapes.get(index) for index in program.graph.outputs) for program in (otherwise, then)]
    if None not in shapes[0] and shapes[0] == shapes[1]:
        for program in (otherwise, then):
            _expect_outputs_once(site, program)
    same = tuple(a if a == b else None for a, b in zip(*shapes, strict=True))
    return IfParams((otherwise, then)), same


def _expect_outputs_once(site: Site, program: Program) -> None:
    computed = {index for step in program.steps for index in step.outputs}
    outputs = [index for index in program.graph.outputs if index in computed]
    if len(outputs) != len(set(outputs)):
        raise UnsupportedModel(
            f"{site.place}: subgraph {program.subgraph} gives one tensor as several outputs, of which TFLite leaves "
            "all but the last one undefined"
        )


def run_if(params: IfParams, values: Sequence[Array], state: State, run: RunSubgraph) -> list[Array]:
    """The outputs of the branch that the condition picks."""
    branch = params.branches[_truth(values[0])]
    outputs = run(branch, values[1:])
    state.forget_called(branch.subgraph)
    return outputs


# CALL_ONCE ----------------------------------------------------------------------------------------------------------


def prepare_call_once(site: Site) -> tuple[Program, Shapes]:
    """CALL_ONCE: no inputs and outputs; init_subgraph_index. Errors: InvalidModel for what TFLite's Prepare rejects."""
    site.expect_counts(0, 0)
    return site.prepare(site.called("init_subgraph_index", 0, 0), ()), ()


def run_call_once(program: Program, values: Sequence[Array], state: State, run: RunSubgraph) -> list[Array]:
    """Runs the subgraph if no CALL_ONCE has run it since the interpreter was made."""
    if program.subgraph not in state.initialized:
        run(program, ())
        state.initialized.add(program.subgraph)
    return []


# Resource variables -------------------------------------------------------------------------------------------------


def resource_ids(model: Model) -> dict[tuple[str, str], int]:
    """(container, shared_name) -> id of the resource variable, numbered as the operators that name them come.

    Source: tflite/kernels/var_handle.cc, Init.
    """
    ids: dict[tuple[str, str], int] = {}
    for graph in model.graphs:
        for operator in graph.operators:
            if operator.name == "VAR_HANDLE":
                ids.setdefault(_resource_name(operator.options), len(ids))
    return ids


def _resource_name(options: Mapping[str, Any]) -> tuple[str, str]:
    return options.get("container") or "", options.get("shared_name") or ""


def prepare_var_handle(site: Site) -> tuple[Array, Shapes]:
    """VAR_HANDLE: the params are the output itself, the id of the resource that container and shared_name name.

    Errors: InvalidModel for what TFLite's Prepare rejects; UnsupportedModel for an output of several elements, of
    which TFLite writes the first one only.
    """
    site.expect_counts(0, 1)
    output = site.graph.tensors[site.operator.outputs[0]]
    if math.prod(output.shape) > 1:
        raise UnsupportedModel(f"{site.place}: the handle '{output.name}' has shape {output.shape}, not one element")
    number = resource_ids(site.model)[_resource_name(site.options)]
    return np.full(output.shape, number, np.int32), (output.shape,)


def run_var_handle(handle: Array, values: Sequence[Array], state: State, run: RunSubgraph) -> list[Array]:
    """The handle."""
    return [handle]


def _expect_handle(site: Site) -> None:
    handle = site.input(0)
    if handle.type not in ("RESOURCE", "INT32"):
        raise site.invalid(f"'{handle.name}' is {handle.type}; a resource must be RESOURCE or INT32")


def _resource_id(handle: Array) -> int:
    """The id that a handle holds, its first element. UnsupportedModel for a handle without elements."""
    if handle.size == 0:
        raise UnsupportedModel("the handle of a resource variable has no elements: TFLite reads past its end")
    return int(handle.reshape(-1)[0])


def prepare_read_variable(site: Site) -> tuple[Tensor, Shapes]:
    """READ_VARIABLE: the params are the output's tensor. Errors: InvalidModel for what TFLite's Prepare rejects."""
    site.expect_counts(1, 1)
    _expect_handle(site)
    output = site.graph.tensors[site.operator.outputs[0]]
    return output, (output.shape or None,)


def run_read_variable(output: Tensor, values: Sequence[Array], state: State, run: RunSubgraph) -> list[Array]:
    """The variable's value, as many elements of it as the output's shape in the file has; all if that is a scalar's.

    Errors: InvalidModel for a variable of another type or that nothing has been assigned to; UnsupportedModel for one
    with too few elements. Source: tflite/kernels/read_variable.cc, Eval.
    """
    value = state.resources.get(_resource_id(values[0]))
    if value is None:
        raise InvalidModel(f"'{output.name}' reads a resource variable before anything is assigned to it")
    if value.dtype != DTYPES.get(output.type):
        raise InvalidModel(f"'{output.name}' is {output.type}, but the resource variable holds {value.dtype.name}")
    if not output.shape or value.shape == output.shape:
        return [value]
    elements = math.prod(output.shape)
    if value.size < elements:
        raise UnsupportedModel(
            f"'{output.name}' has shape {output.shape}, but the resource variable {value.shape}: TFLite reads past "
            "its end"
        )
    return [value.reshape(-1)[:elements].reshape(output.shape)]


def prepare_assign_variable(site: Site) -> tuple[None, Shapes]:
    """ASSIGN_VARIABLE: resource, value; there are no params. Errors: InvalidModel for what TFLite's Prepare rejects."""
    site.expect_counts(2, 0)
    _expect_handle(site)
    site.input(1)
    return None, ()


def run_assign_variable(params: None, values: Sequence[Array], state: State, run: RunSubgraph) -> list[Array]:
    """The variable takes the value, and its shape."""
    state.resources[_resource_id(values[0])] = np.array(values[1])
    return []


CONTROL: Mapping[str, Control] = MappingProxyType(
    {
        "ASSIGN_VARIABLE": Control(prepare_assign_variable, run_assign_variable),
        "CALL_ONCE": Control(prepare_call_once, run_call_once),
        "IF": Control(prepare_if, run_if),
        "READ_VARIABLE": Control(prepare_read_variable, run_read_variable),
        "VAR_HANDLE": Control(prepare_var_handle, run_var_handle),
        "WHILE": Control(prepare_while, run_while),
    }
)

# They work on what outlasts a run, beside the tensors: alone they mean nothing.
RESOURCE_OPERATORS = ("ASSIGN_VARIABLE", "CALL_ONCE", "READ_VARIABLE", "VAR_HANDLE")
