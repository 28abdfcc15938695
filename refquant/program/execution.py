"""How a prepared graph runs on arrays: step after step, many samples at once where nothing lasts from run to run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from refquant.errors import InvalidInput
from refquant.kernels.kernel import Batching
from refquant.model.graph import Array
from refquant.program.control_flow import CONTROL
from refquant.program.state import State, new_state
from refquant.program.steps import ControlStep, Program, Step, Value, countable, told_with_its_place

Keep = Callable[[int, int, Value], object]
"""keep(subgraph, tensor index, value)."""


def execute(
    program: Program,
    inputs: Mapping[int, Value],
    samples: int = 1,
    keep: Callable[[int, Value], object] | None = None,
    state: State | None = None,
) -> dict[int, Value]:
    """Runs the steps. inputs: tensor index -> value. Returns the graph's outputs by tensor index.

    keep: called with (tensor index, value) for every tensor a step of the graph computes, in order. state: what earlier
    runs left; it is carried on from sample to sample and changed in place. None: the state before the first run.
    """
    state = new_state(program.model) if state is None else state
    if not (program.stateful and any(value.batched for value in inputs.values())):
        return run_graph(program, inputs, state, None if keep is None else _of_graph(program, keep), samples)
    kept: list[dict[int, Value]] = []
    outputs = []
    for sample in range(samples):
        single = {index: Value(v.array[sample]) if v.batched else v for index, v in inputs.items()}
        kept.append({})
        keep_one = None if keep is None else _of_graph(program, kept[-1].__setitem__)
        outputs.append(run_graph(program, single, state, keep_one))
    if keep is not None:
        for index in kept[0]:
            keep(index, _stacked([tensors[index] for tensors in kept], f"tensor {index}"))
    return {index: _stacked([values[index] for values in outputs], f"tensor {index}") for index in outputs[0]}


def _of_graph(program: Program, keep: Callable[[int, Value], object]) -> Keep:
    """keep, for the tensors of the program's own graph."""
    return lambda subgraph, index, value: keep(index, value) if subgraph == program.subgraph else None


def _stacked(values: Sequence[Value], what: str) -> Value:
    """One value for each sample as one batched value."""
    if len({value.shape for value in values}) != 1:
        raise InvalidInput(f"the shape of {what} differs between samples; run them one by one")
    return Value(np.stack([value.array for value in values]), True)


def run_graph(
    program: Program, inputs: Mapping[int, Value], state: State, keep: Keep | None = None, samples: int = 1
) -> dict[int, Value]:
    """One run of the graph, or of several samples at once if it is not stateful.

    keep: called for every tensor that a step computes; of the subgraphs that operators run for their inputs, too.
    """
    values: dict[int, Value] = {index: Value(array) for index, array in program.known.items()}
    values.update((index, Value(array)) for index, array in state.variables_of(program.subgraph).items())
    values.update(inputs)
    for position, step in enumerate(program.steps):
        if not all(index in program.known for index in step.outputs) or isinstance(step, ControlStep):
            operands = [None if index < 0 else values[index] for index in step.inputs]
            with told_with_its_place(step.place):
                results, variables = _run_any(program, step, operands, state, keep, samples)
            values.update(zip(step.outputs, results, strict=True))
            values.update((index, Value(array)) for index, array in variables.items())
            state.variables_of(program.subgraph).update(variables)
        if keep is not None:
            for index in step.outputs:
                keep(program.subgraph, index, values[index])
        for index in {*step.inputs, *step.outputs}:
            if program.last_use.get(index, position) <= position and index not in program.known:
                values.pop(index, None)
    return {index: values[index] for index in program.graph.outputs}


def _run_any(
    program: Program,
    step: Step | ControlStep,
    values: Sequence[Value | None],
    state: State,
    keep: Keep | None,
    samples: int,
) -> tuple[Sequence[Value], Mapping[int, Array]]:
    """(the outputs, {variable tensor: its array from now on})."""
    if isinstance(step, ControlStep):
        arrays = [value.array for value in values if value is not None]
        run = CONTROL[step.op].run
        return [Value(a) for a in run(step.params, arrays, state, lambda p, a: _run_called(p, a, state, keep))], {}
    if step.kernel.variable_operands:
        return _run_stateful_step(step, values)
    return _run_step(step, values, samples), {}


def _run_called(program: Program, arrays: Sequence[Array], state: State, keep: Keep | None) -> list[Array]:
    inputs = {index: Value(array) for index, array in zip(program.graph.inputs, arrays, strict=True)}
    if keep is not None:
        for index, value in inputs.items():
            keep(program.subgraph, index, value)
    outputs = run_graph(program, inputs, state, keep)
    return [outputs[index].array for index in program.graph.outputs]


def _params_for(step: Step, values: Sequence[Value | None]) -> Any:
    """The step's params, prepared again where shapes or parameter values differ from the prepared ones."""
    kernel, node = step.kernel, step.node
    shapes = tuple(None if value is None else value.shape for value in values)
    if step.params is not None and shapes == tuple(None if o is None else o.shape for o in node.inputs):
        return step.params
    inputs = tuple(
        operand
        if operand is None or value is None
        else replace(operand, shape=value.shape, value=value.array if slot in kernel.value_operands else operand.value)
        for slot, (operand, value) in enumerate(zip(node.inputs, values, strict=True))
    )
    params = kernel.prepare(replace(node, inputs=inputs))
    for shape in params.output_shapes:
        if shape is not None:
            countable(shape, step.place)
    return params


def _run_step(step: Step, values: Sequence[Value | None], samples: int) -> tuple[Value, ...]:
    kernel = step.kernel
    hidden = (*kernel.value_operands, *kernel.shape_operands)
    given = [values[slot] for slot in kernel.value_operands if slot < len(values)]
    if any(value is not None and value.batched for value in given):
        return _run_loop(step, values, samples)
    params = _params_for(step, values)
    data = [None if slot in hidden else value for slot, value in enumerate(values)]
    if not any(value is not None and value.batched for value in data):
        arrays = [None if value is None else value.array for value in data]
        return tuple(Value(array) for array in kernel.run(params, arrays))
    batching = kernel.batching if isinstance(kernel.batching, Batching) else kernel.batching(params)
    if batching is Batching.LEADING:
        return tuple(Value(array, True) for array in kernel.run(params, _aligned(data)))
    rows = range(len(data)) if kernel.row_operands is None else kernel.row_operands
    foldable = all(
        value is None or (value.batched == (slot in rows) and (not value.batched or value.shape))
        for slot, value in enumerate(data)
    )
    if batching is Batching.ROWS and foldable and None not in params.output_shapes:
        arrays = [None if value is None else _rows(value.array) if value.batched else value.array for value in data]
        outputs = kernel.run(params, arrays)
        return tuple(
            Value(array.reshape(samples, *shape), True)
            for array, shape in zip(outputs, params.output_shapes, strict=True)
        )
    return _run_loop(step, values, samples)


def _run_stateful_step(step: Step, values: Sequence[Value | None]) -> tuple[tuple[Value, ...], dict[int, Array]]:
    """(the outputs, {variable tensor: its array from now on}) of one sample."""
    kernel, params = step.kernel, _params_for(step, values)
    hidden = (*kernel.value_operands, *kernel.shape_operands)
    arrays = [None if slot in hidden or value is None else value.array for slot, value in enumerate(values)]
    results = kernel.run(params, arrays)
    slots = (
        kernel.variable_operands if isinstance(kernel.variable_operands, tuple) else kernel.variable_operands(params)
    )
    outputs = tuple(Value(array) for array in results[: len(step.outputs)])
    return outputs, {step.inputs[slot]: array for slot, array in zip(slots, results[len(outputs) :], strict=True)}


def _rows(array: Array) -> Array:
    """(S, B, ...) -> (S * B, ...)."""
    return array.reshape(array.shape[0] * array.shape[1], *array.shape[2:])


def _aligned(data: Sequence[Value | None]) -> list[Array | None]:
    """Batched arrays with axes of 1 behind the sample axis, so that all ranks agree and broadcasting is right."""
    rank = max(len(value.shape) for value in data if value is not None)
    return [
        None
        if value is None
        else value.array.reshape(value.array.shape[0], *(1,) * (rank - len(value.shape)), *value.shape)
        if value.batched
        else value.array
        for value in data
    ]


def _run_loop(step: Step, values: Sequence[Value | None], samples: int) -> tuple[Value, ...]:
    results = []
    for sample in range(samples):
        single = [Value(v.array[sample]) if v is not None and v.batched else v for v in values]
        results.append(_run_step(step, single, 1))
    return tuple(
        _stacked(values, f"{step.place}: the shape of output {position}")
        for position, values in enumerate(zip(*results, strict=True))
    )
