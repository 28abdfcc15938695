"""How a model runs: read, prepare once, then block after block of samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from refquant.model.graph import DTYPES, Array
from refquant.program.execution import execute
from refquant.program.inputs import Inputs, ModelLike, as_model, split_samples
from refquant.program.preparation import prepare
from refquant.program.state import new_state
from refquant.program.steps import Program, Value
from refquant.runtimes import runtime_named

# Samples run together while the largest tensor of all of them stays below this many bytes.
BLOCK_BYTES = 4 << 20


def block_size(program: Program) -> int:
    """How many samples to run together: as many as keep the largest tensor within BLOCK_BYTES."""
    tensors = program.graph.tensors
    largest = max(
        (
            int(np.prod(shape, dtype=np.int64)) * tensors[index].dtype.itemsize
            for index, shape in program.shapes.items()
            if tensors[index].type in DTYPES
        ),
        default=1,
    )
    return max(1, BLOCK_BYTES // max(largest, 1))


def run_program(program: Program, inputs: Inputs) -> Iterator[tuple[int, list[Array]]]:
    """Runs block after block: yields (samples done, outputs of the block), outputs with the samples in dim 0."""
    arrays, samples = split_samples(program.model, inputs)
    outputs = program.model.graph.outputs
    state = new_state(program.model)
    if samples is None:
        values = execute(program, {index: Value(array) for index, array in arrays.items()}, state=state)
        yield 1, [values[index].array for index in outputs]
        return
    size = block_size(program)
    for start in range(0, samples, size):
        count = min(size, samples - start)
        block = {index: Value(array[start : start + count], True) for index, array in arrays.items()}
        values = execute(program, block, count, state=state)
        yield start + count, [_join_samples(values[index], count) for index in outputs]


def _join_samples(value: Value, samples: int) -> Array:
    """(N, 1, ...) -> (N, ...); any other shape keeps the sample axis in front."""
    array = value.array if value.batched else np.broadcast_to(value.array, (samples, *value.array.shape))
    return array.reshape(samples, *array.shape[2:]) if array.shape[1:2] == (1,) else array


def run(
    model: ModelLike,
    inputs: Inputs,
    runtime: str = "tflite_ref",
    overflow: str = "wrap",
    progress: Callable[[int], object] | None = None,
) -> list[Array]:
    """The model's outputs, in the model's order.

    inputs: an array, a list in the model's order, or {name: array}. On a model of batch 1, an array with N in place of
    the 1 gives what N single runs give, joined along dim 0 (outputs without a leading 1 get a new axis in front);
    under "fast_float" float sums may round otherwise in a batch. progress: called with the number of samples done.
    Errors: InvalidInput, InvalidModel, UnsupportedModel; AccumulatorOverflow with overflow="error".
    """
    program = prepare(as_model(model), runtime_named(runtime), overflow, preserved=False)
    blocks = []
    for done, outputs in run_program(program, inputs):
        blocks.append(outputs)
        if progress is not None:
            progress(done)
    return [np.concatenate(parts) if len(parts) > 1 else np.array(parts[0]) for parts in zip(*blocks, strict=True)]


def run_all_tensors(
    model: ModelLike, inputs: Inputs, runtime: str = "tflite_ref", overflow: str = "wrap"
) -> dict[int, Array]:
    """Every tensor an operator computes, by tensor index; N samples as in `run`, joined the same way.

    Under "xnnpack" no operators are computed as one, as by LiteRT when it keeps every tensor; `run` does as without.
    """
    program = prepare(as_model(model), runtime_named(runtime), overflow)
    arrays, samples = split_samples(program.model, inputs)
    kept: dict[int, Value] = {}
    values = {index: Value(array, samples is not None) for index, array in arrays.items()}
    execute(program, values, samples or 1, kept.__setitem__)
    return {index: value.array if samples is None else _join_samples(value, samples) for index, value in kept.items()}
