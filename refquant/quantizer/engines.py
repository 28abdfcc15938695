"""Who runs the float model while it is calibrated: an engine takes a block of samples and tells what it observed.

"numpy" runs refquant's own float kernels, all samples of a block at once. "tensorflow" has the installed TensorFlow run
them one by one, in a process of its own (tensorflow_engine.py), as the converter's calibrator does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from threading import Lock
from typing import Protocol

import numpy as np

from refquant.errors import InvalidInput
from refquant.kernels.recurrent_float import FloatLstmParams, observed_float_lstm
from refquant.model.graph import Array, Model
from refquant.program import ControlStep, Program, State, Step, Value, block_size, execute, new_state, prepare
from refquant.quantizer.in_place import Memory, Misread, Sizes, StandIn, as_read
from refquant.quantizer.observe import Estimator, Observed, observed_tensors
from refquant.quantizer.samples import Block, Shapes
from refquant.quantizer.tensorflow_engine import TensorFlowEngine
from refquant.runtimes import runtime_named

RUNTIME = "fast_float"
BLOCK_SAMPLES = 32  # samples that run together at most
KEPT_PROGRAMS = 16  # programs, for other shapes of the samples, that are kept


class Engine(Protocol):
    """Runs one model. Errors of every method: RefquantError, naming the sample or the operator."""

    def block_samples(self, shapes: Shapes) -> int:
        """How many samples of these shapes make a block at most."""
        ...

    def sizes(self, block: Block) -> Sizes:
        """The sizes of the computed tensors in the first sample of the block."""
        ...

    def run(self, block: Block, memory: Memory) -> Observed:
        """What the samples of the block show, with what the memory does to it."""
        ...

    def close(self) -> None:
        """Gives back what the engine holds."""
        ...


class NumpyEngine:
    """refquant's own float kernels. A sample's values do not depend on the samples that run with it."""

    def __init__(self, model: Model, estimator: Estimator) -> None:
        self._model, self._estimator = model, estimator
        self._lock = Lock()  # threads of an executor share the engine
        self._state: State | None = None  # of a model that keeps something from one sample to the next
        self._programs: dict[tuple[Shapes, tuple[Misread, ...]], tuple[Program, tuple[StandIn, ...]]] = {}

    def block_samples(self, shapes: Shapes) -> int:
        """As many as stay in the processor's cache; 1 if shapes depend on data, since they may differ then."""
        program, _ = self._program(shapes, ())
        computed = {index for step in program.steps for index in step.outputs}
        return min(block_size(program), BLOCK_SAMPLES) if computed <= program.shapes.keys() else 1

    def sizes(self, block: Block) -> Sizes:
        """Known from the shapes, or found by running the sample."""
        program, _ = self._program(block.shapes, ())
        shapes = dict(program.shapes)
        computed = {index for step in program.steps for index in step.outputs}
        if not computed <= shapes.keys():
            inputs = {index: Value(array) for index, array in block.sample(0).items()}
            execute(program, inputs, keep=lambda index, value: shapes.update({index: value.shape}))
        tensors = self._model.graph.tensors
        return {
            index: int(np.prod(shapes[index], dtype=np.int64)) * tensors[index].dtype.itemsize for index in computed
        }

    def run(self, block: Block, memory: Memory) -> Observed:
        """Runs the samples together, or one by one if the model keeps something from one to the next."""
        program, stand_ins = self._program(block.shapes, memory.misreads)
        if program.stateful:
            observed = self._run_in_turn(program, block)
            memory.apply(observed, stand_ins)
            return observed
        observed, watched = Observed(), observed_tensors(program.model)

        def keep(index: int, value: Value) -> None:
            if index in watched:
                observed.see(index, value, block.first, block.count, self._estimator)

        inputs = {index: Value(array, True) for index, array in block.arrays.items()}
        with np.errstate(all="ignore"):
            for index, value in (*inputs.items(), *_values(new_state(program.model))):
                keep(index, value)
            execute(program, inputs, block.count, keep)
        memory.apply(observed, stand_ins)
        return observed

    def _run_in_turn(self, program: Program, block: Block) -> Observed:
        """States are read before and after each sample; the values inside LSTMs while they run."""
        observed, watched = Observed(), observed_tensors(program.model)
        if self._state is None:
            self._state = new_state(program.model)
        for number in range(block.count):
            sample = block.first + number

            def keep(index: int, value: Value, sample: int = sample) -> None:
                if index in watched:
                    observed.see(index, value, sample, 1, self._estimator)

            def look_inside(index: int, array: Array, sample: int = sample) -> None:
                observed.see(index, Value(array), sample, 1, self._estimator)

            inputs = {index: Value(array) for index, array in block.sample(number).items()}
            with np.errstate(all="ignore"):
                for index, value in (*inputs.items(), *_values(self._state)):
                    keep(index, value)
                execute(_looked_into(program, look_inside), inputs, 1, keep, self._state)
                for index, value in _values(self._state):
                    keep(index, value)
        return observed

    def _program(self, shapes: Shapes, misreads: tuple[Misread, ...]) -> tuple[Program, tuple[StandIn, ...]]:
        key = shapes, misreads
        with self._lock:
            if key not in self._programs:
                model, stand_ins = as_read(self._model, misreads)
                by_input = dict(zip(model.graph.inputs, shapes, strict=True))
                while len(self._programs) >= KEPT_PROGRAMS:
                    self._programs.pop(next(iter(self._programs)))
                self._programs[key] = prepare(model, runtime_named(RUNTIME), input_shapes=by_input), stand_ins
            return self._programs[key]

    def close(self) -> None:
        """Forgets the programs."""
        with self._lock:
            self._programs.clear()


def _values(state: State) -> list[tuple[int, Value]]:
    return [(index, Value(array)) for index, array in state.variables.items()]


def _looked_into(program: Program, look_inside: Callable[[int, Array], None]) -> Program:
    """The program that shows the values of its LSTMs' intermediates: look_inside(tensor, values)."""

    def looked_into(step: Step | ControlStep, tensors: tuple[int, ...]) -> Step | ControlStep:
        if not isinstance(step, Step) or step.node.op != "UNIDIRECTIONAL_SEQUENCE_LSTM":
            return step

        def run(params: FloatLstmParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
            return observed_float_lstm(params, arrays, lambda number, values: look_inside(tensors[number], values))

        return replace(step, kernel=replace(step.kernel, run=run))

    operators = program.graph.operators
    steps = (looked_into(step, operator.intermediates) for step, operator in zip(program.steps, operators, strict=True))
    return replace(program, steps=tuple(steps))


ENGINES: Mapping[str, Callable[[Model, Estimator], Engine]] = {"numpy": NumpyEngine, "tensorflow": TensorFlowEngine}


def engine_named(name: str) -> Callable[[Model, Estimator], Engine]:
    """The engine of that name. InvalidInput if there is none."""
    if not isinstance(name, str) or name not in ENGINES:
        raise InvalidInput(f"engine='{name}': must be one of {', '.join(ENGINES)}")
    return ENGINES[name]
