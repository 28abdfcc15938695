"""How a graph is prepared: operators are decoded and checked, and multipliers computed, once for many runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np

from refquant.arithmetic.exact import NARROW, Narrow
from refquant.errors import InvalidInput, UnsupportedModel
from refquant.kernels.kernel import Kernel, Node, Operand, Shape
from refquant.kernels.table import TYPE_OPERAND, WEIGHT_OPERAND, kernel_type
from refquant.model.graph import Array, Graph, Model, Operator
from refquant.model.schema import OPTIONS_OF, default_options, zero_options
from refquant.model.validation import operator_place
from refquant.program.control_flow import CONTROL, Shapes, Site
from refquant.program.fusion import Partitions, partitions_of
from refquant.program.steps import ControlStep, Program, Step, countable, told_with_its_place
from refquant.runtimes.runtime import Runtime

MAX_DEPTH = 64  # of subgraphs that run inside each other
MAX_PROGRAMS = 1000  # subgraphs, each with the shapes that it is called with


@dataclass(frozen=True, slots=True)
class _Preparation:
    """What preparing one model needs, and the called subgraphs that it has prepared: (subgraph, shapes) -> program."""

    model: Model
    runtime: Runtime
    overflow: str
    preserved: bool
    programs: dict[tuple[int, Shapes], Program] = field(default_factory=dict)

    def called(self, subgraph: int, shapes: Shapes, depth: int, place: str) -> Program:
        """The program of a subgraph that an operator runs with inputs of these shapes."""
        key = subgraph, shapes
        if key not in self.programs:
            if depth > MAX_DEPTH or len(self.programs) >= MAX_PROGRAMS:
                raise UnsupportedModel(
                    f"{place}: more than {MAX_DEPTH} subgraphs run inside each other, or one is called with more than "
                    f"{MAX_PROGRAMS} different shapes"
                )
            inputs = zip(self.model.graphs[subgraph].inputs, shapes, strict=True)
            known = {index: shape for index, shape in inputs if shape is not None}
            self.programs[key] = _prepare_graph(self, subgraph, known, depth)
        return self.programs[key]


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of the tensors of one graph while it is prepared. `stored`: see Operand."""

    values: dict[int, Array]
    shapes: dict[int, Shape]
    stored: set[int]


def _kernel_for(node: Node, runtime: Runtime) -> tuple[Node, Kernel, str]:
    """(the node with the values of what runs it, its kernel, the name of the delegate that takes it or "")."""
    decider = node.input(TYPE_OPERAND.get(node.op, 0))
    type = kernel_type(node.op, [operand.type if operand is not None else "" for operand in node.inputs])
    delegate = runtime.delegate
    if delegate is not None and type in delegate.takes.get(node.op, ()) and delegate.takes[node.op][type](node):
        return replace(node, arithmetic=delegate.arithmetic), delegate.kernels[node.op][type], delegate.name
    by_type = runtime.kernels[node.op]
    if type not in by_type:
        raise node.unsupported(
            f"type {type} of {_named(node, decider, type)} is not built for {node.op} in runtime {runtime.name}; "
            f"built are {', '.join(by_type)}"
        )
    return node, by_type[type], ""


def _named(node: Node, decider: Operand, type: str) -> str:
    """The tensors whose types the key of a kernel names."""
    if type == decider.type:
        return f"tensor '{decider.name}'"
    return f"tensors '{decider.name}' and '{node.input(WEIGHT_OPERAND[node.op]).name}'"


def narrow_named(overflow: str) -> Narrow:
    """How int32 accumulators are narrowed: "wrap" or "error". InvalidInput for anything else."""
    if not isinstance(overflow, str) or overflow not in NARROW:
        raise InvalidInput(f"overflow='{overflow}': must be one of {', '.join(NARROW)}")
    return NARROW[overflow]


def prepare(
    model: Model,
    runtime: Runtime,
    overflow: str = "wrap",
    input_shapes: Mapping[int, Shape] | None = None,
    subgraph: int = 0,
    preserved: bool = True,
) -> Program:
    """A graph, the main one unless told otherwise, as steps whose parameters are decoded, checked and computed, as far
    as shapes allow.

    overflow: "wrap" (int32 accumulators wrap as the runtime's do) or "error". input_shapes: tensor index -> shape, for
    inputs that were resized. preserved: whether every tensor is kept; else a delegate may compute operators as one,
    with other results. Errors: InvalidModel, UnsupportedModel, naming operator and place.
    """
    narrow_named(overflow)
    for check in runtime.file_checks:
        check(model)
    graph = model.graphs[subgraph]
    shapes = {index: graph.tensors[index].shape for index in graph.inputs} | dict(input_shapes or {})
    return _prepare_graph(_Preparation(model, runtime, overflow, preserved), subgraph, shapes, 1)


def _prepare_graph(preparation: _Preparation, subgraph: int, input_shapes: Mapping[int, Shape], depth: int) -> Program:
    program = _prepare_steps(preparation, subgraph, input_shapes, depth, None)
    delegate = preparation.runtime.delegate
    if delegate is None or preparation.preserved:
        return program
    partitions = partitions_of(program.steps, program.graph, delegate)
    return program if partitions is None else _prepare_steps(preparation, subgraph, input_shapes, depth, partitions)


def _prepare_steps(
    preparation: _Preparation,
    subgraph: int,
    input_shapes: Mapping[int, Shape],
    depth: int,
    partitions: Partitions | None,
) -> Program:
    graph = preparation.model.graphs[subgraph]
    known = _known_at_first(preparation.model, graph, input_shapes)
    last_use = {index: len(graph.operators) for index in graph.outputs}
    steps: list[Step | ControlStep] = []
    for position, operator in enumerate(graph.operators):
        place = operator_place(subgraph, position, operator)
        if operator.name in CONTROL:
            steps.append(_prepare_control(preparation, graph, operator, place, known, depth))
        else:
            steps.append(_prepare_step(preparation, graph, operator, place, known, partitions))
        for index in steps[-1].inputs:
            last_use[index] = max(last_use.get(index, position), position)
    stateful = any(isinstance(step, ControlStep) or step.kernel.variable_operands for step in steps)
    return Program(preparation.model, tuple(steps), known.values, known.shapes, last_use, subgraph, bool(stateful))


def _known_at_first(model: Model, graph: Graph, input_shapes: Mapping[int, Shape]) -> _Known:
    """The constants, and the shapes of inputs, variables and constants."""
    shapes = dict(input_shapes)
    shapes.update((index, tensor.shape) for index, tensor in enumerate(graph.tensors) if tensor.is_variable)
    known: dict[int, Array] = {}
    computed = {*graph.inputs, *(index for operator in graph.operators for index in operator.outputs)}
    read = {*graph.outputs, *(index for operator in graph.operators for index in operator.inputs)}
    for index in sorted(read - {*graph.inputs, -1}):  # what a graph input's buffer holds is never read
        tensor = graph.tensors[index]
        value = model.constant(tensor) if tensor.buffer and model.buffers[tensor.buffer] else None
        if value is None and 0 in tensor.shape and index not in computed and not tensor.is_variable:
            value = np.zeros(tensor.shape, tensor.dtype)  # a constant without elements has an empty buffer
        if value is not None:
            known[index], shapes[index] = value, value.shape
    return _Known(known, shapes, set(known))


def _prepare_control(
    preparation: _Preparation, graph: Graph, operator: Operator, place: str, known: _Known, depth: int
) -> ControlStep:
    site = Site(
        place,
        preparation.model,
        graph,
        operator,
        _options(operator),
        tuple(known.shapes.get(index) for index in operator.inputs),
        lambda subgraph, shapes: preparation.called(subgraph, shapes, depth + 1, place),
        preparation.runtime.arithmetic,
    )
    with told_with_its_place(place):
        params, shapes = CONTROL[operator.name].prepare(site)
    known.shapes.update(
        (index, shape) for index, shape in zip(operator.outputs, shapes, strict=True) if shape is not None
    )
    return ControlStep(place, operator.name, operator.inputs, operator.outputs, params)


def _node(preparation: _Preparation, graph: Graph, operator: Operator, place: str, known: _Known) -> Node:
    """The operator with what is known of its tensors. UnsupportedModel for an op that the runtime has not."""

    @cache  # a tensor that is read twice is one operand
    def operand(index: int) -> Operand:
        tensor = graph.tensors[index]
        shape = known.shapes.get(index, tensor.shape)
        return Operand(
            tensor.name,
            tensor.type,
            shape,
            tensor.quantization,
            None if tensor.is_variable else known.values.get(index),
            tensor.shape_signature,
            tensor.is_variable,
            index in known.stored,
        )

    inputs = tuple(None if index < 0 else operand(index) for index in operator.inputs)
    node = Node(
        place,
        operator.name,
        _options(operator),
        inputs,
        tuple(operand(index) for index in operator.outputs),
        preparation.runtime.arithmetic,
        NARROW[preparation.overflow],
        operator.version,
        tuple(operand(index) for index in operator.intermediates if index >= 0),
    )
    if operator.name not in preparation.runtime.kernels:
        name = operator.name if operator.custom_code is None else operator.custom_code
        raise node.unsupported(f"the operator {name} is not built for runtime {preparation.runtime.name}")
    if not node.outputs:
        raise node.invalid("has no outputs")
    return node


def _prepare_step(
    preparation: _Preparation,
    graph: Graph,
    operator: Operator,
    place: str,
    known: _Known,
    partitions: Partitions | None,
) -> Step:
    with told_with_its_place(place), np.errstate(all="ignore"):  # parameters may be anything, 0 and infinity too
        node, kernel, delegate = _kernel_for(_node(preparation, graph, operator, place, known), preparation.runtime)
        for check in preparation.runtime.node_checks:
            check(node)
        step = Step(node, kernel, operator.inputs, operator.outputs, None, delegate)
        if partitions is not None:
            step = partitions.fused(step)
        fixed = {index for index in step.inputs if index in known.values and not graph.tensors[index].is_variable}
        ready = all(
            index < 0 or (index in fixed if slot in step.kernel.value_operands else index in known.shapes)
            for slot, index in enumerate(step.inputs)
        )
        params = step.kernel.prepare(step.node) if ready else None
    step = replace(step, params=params)
    if params is not None:
        for check_shapes in preparation.runtime.shape_checks:
            check_shapes(node, params.output_shapes)
        outputs = zip(operator.outputs, params.output_shapes, strict=True)
        known.shapes.update((index, countable(shape, place)) for index, shape in outputs if shape is not None)
        writes = any(output.is_variable for output in node.outputs)
        # LiteRT dequantizes a constant once: a variable that it is written to keeps what later runs leave there.
        if not any(operand is not None and operand.is_variable for operand in node.inputs) and (
            not writes or node.op == "DEQUANTIZE"
        ):
            _fold(step, known.values)
        if not writes and preparation.runtime.delegate is not None and preparation.runtime.delegate.unpacks(node):
            known.stored.update(operator.outputs)
    return step


def _options(operator: Operator) -> Mapping[str, Any]:
    """The operator's options with every field present."""
    table = operator.options_type or OPTIONS_OF.get(operator.name)
    if table is None:
        return operator.options
    absent = operator.options_type is None and not operator.options
    return zero_options(table) if absent else {**default_options(table), **operator.options}


def _fold(step: Step, known: dict[int, Array]) -> None:
    """Runs a step whose every input is known, so that later parameters may follow from it (a reshape's new shape)."""
    not_data = (*step.kernel.value_operands, *step.kernel.shape_operands)
    data = [index for slot, index in enumerate(step.inputs) if index >= 0 and slot not in not_data]
    if not step.inputs or not all(index in known for index in data):
        return
    arrays = [None if slot in not_data or index < 0 else known[index] for slot, index in enumerate(step.inputs)]
    with told_with_its_place(step.node.place):
        known.update(zip(step.outputs, step.kernel.run(step.params, arrays), strict=True))
