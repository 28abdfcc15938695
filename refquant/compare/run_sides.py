"""One runtime in a comparison of runs: it runs the whole model, or single operators fed with given tensors.

A described runtime runs here, the steps of its own program; a real one in a child process, an operator as the model of
it alone. Everything is told with the samples in front: an array of a tensor is (samples, *shape).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from refquant.compare.real_child import Job
from refquant.compare.real_runtimes import Failed, Ran, job_of, package_of, run_jobs
from refquant.errors import RefquantError, UnsupportedModel
from refquant.model import write_model
from refquant.model.graph import Array, Model
from refquant.program import ControlStep, Program, Step, Value, execute, is_fused, new_state, prepare
from refquant.program.control_flow import CONTROL, RESOURCE_OPERATORS
from refquant.runtimes import RUNTIMES
from refquant.runtimes.runtime import Runtime

Arrays = Mapping[int, Array]
"""Tensor index -> (samples, *shape)."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A run of the whole model: its outputs, in order; every tensor that can be seen; the outputs of the run in which
    they could, which are the same where the runtime fuses no operators."""

    outputs: tuple[Array, ...]
    tensors: Arrays
    preserved: tuple[Array, ...]


@dataclass(frozen=True, slots=True)
class Alone:
    """A run of one operator: its outputs by tensor, or why there are none; the delegate that ran it."""

    outputs: Arrays | None
    error: str = ""
    delegated: str = ""


class Side(Protocol):
    """A runtime and a model. A model that remembers must be run on all samples at once."""

    @property
    def name(self) -> str:
        """As it was asked for."""
        ...

    @property
    def oracle(self) -> str:
        """Package and version of a real runtime; of a described one, those on which it was proved."""
        ...

    @property
    def real(self) -> bool:
        """Whether it is installed, not described."""
        ...

    def whole(self, inputs: Arrays) -> Whole:
        """Runs the model. RefquantError if it cannot."""
        ...

    def alone(self, fed: Mapping[int, Arrays], samples: int) -> dict[int, Alone]:
        """Runs operators of the main graph, {number: the tensors that it is fed}, each alone."""
        ...


# described


@dataclass(frozen=True, slots=True)
class Described:
    """A described runtime. `program` keeps every tensor; `used`: the same, or with operators that are fused else."""

    runtime: Runtime
    program: Program
    used: Program
    real: bool = False

    @classmethod
    def of(cls, model: Model, runtime: Runtime) -> Described:
        """RefquantError if it does not run the model."""
        program, used = prepare(model, runtime), prepare(model, runtime, preserved=False)
        return cls(runtime, program, used if is_fused(used) else program)

    @property
    def name(self) -> str:
        """The runtime's."""
        return self.runtime.name

    @property
    def oracle(self) -> str:
        """On what it was proved."""
        return "" if self.runtime.oracle is None else str(self.runtime.oracle)

    def whole(self, inputs: Arrays) -> Whole:
        """Runs its program; where operators are fused twice, as a real runtime."""
        kept = run_described(self.program, inputs)
        return kept if self.used is self.program else replace(kept, outputs=run_described(self.used, inputs).outputs)

    def alone(self, fed: Mapping[int, Arrays], samples: int) -> dict[int, Alone]:
        """Runs one step of its program after the other."""
        return {number: self._alone(number, arrays, samples) for number, arrays in fed.items()}

    def _alone(self, number: int, arrays: Arrays, samples: int) -> Alone:
        step = self.program.steps[number]
        delegated = "" if isinstance(step, ControlStep) else step.delegate
        try:
            return Alone(run_step(self.program, number, step, arrays, samples), "", delegated)
        except RefquantError as error:
            return Alone(None, str(error), delegated)


def run_described(program: Program, inputs: Arrays) -> Whole:
    """A program on all samples."""
    samples = count_samples(inputs)
    kept: dict[int, Value] = {}
    with np.errstate(all="ignore"):
        results = execute(program, _values(inputs), samples, kept.__setitem__, new_state(program.model))
    outputs = tuple(_array(results[index], samples) for index in program.graph.outputs)
    return Whole(outputs, {index: _array(value, samples) for index, value in kept.items()}, outputs)


def run_step(program: Program, number: int, step: Step | ControlStep, arrays: Arrays, samples: int) -> dict[int, Array]:
    """What the step gives in the place of the program's operator of that number when fed these tensors.

    It is computed, also where the program knows it before a run.
    """
    operator = program.graph.operators[number]
    known = {index: array for index, array in program.known.items() if index not in operator.outputs}
    fed = {index: array for index, array in arrays.items() if index not in program.known}
    graph = replace(program.graph, operators=(operator,), inputs=tuple(fed), outputs=operator.outputs)
    stateful = isinstance(step, ControlStep) or bool(step.kernel.variable_operands)
    model = program.model.with_graph(graph)
    kept = dict.fromkeys(operator.outputs, 1)
    one = replace(program, model=model, steps=(step,), known=known, last_use=kept, stateful=stateful)
    with np.errstate(all="ignore"):
        results = execute(one, _values(fed), samples, state=new_state(model))
    return {index: _array(value, samples) for index, value in results.items()}


def _values(arrays: Arrays) -> dict[int, Value]:
    return {index: Value(array, True) for index, array in arrays.items()}


def _array(value: Value, samples: int) -> Array:
    return value.array if value.batched else np.broadcast_to(value.array, (samples, *value.array.shape))


def count_samples(arrays: Arrays) -> int:
    """How many samples the arrays hold; 1 if there is no array."""
    return next((len(array) for array in arrays.values()), 1)


# real


@dataclass(frozen=True, slots=True)
class Real:
    """A real runtime. `known`: the constants, and what follows from them and from shapes."""

    name: str
    model: Model
    timeout: float
    data: bytes = field(repr=False)
    known: Mapping[int, Array] = field(repr=False)
    real: bool = True

    @classmethod
    def of(cls, model: Model, name: str, timeout: float) -> Real:
        """InvalidInput if it is not installed."""
        package_of(name)
        return cls(name, model, timeout, write_model(model), known_tensors(model))

    @property
    def oracle(self) -> str:
        """Package and version."""
        return package_of(self.name).version

    def whole(self, inputs: Arrays) -> Whole:
        """Runs the model twice: as it is used, and keeping every tensor."""
        samples = _by_sample(self.model, inputs)
        jobs = [job_of(self.data, samples, preserve) for preserve in (True, False)]
        kept, used = run_jobs(self.name, jobs, self.timeout, given_up=1)
        for result in (kept, used):
            if isinstance(result, Failed):
                raise RefquantError(result.text)
        assert isinstance(kept, Ran)
        assert isinstance(used, Ran)
        return Whole(_stacked_outputs(used), _stacked_tensors(kept), _stacked_outputs(kept))

    def alone(self, fed: Mapping[int, Arrays], samples: int) -> dict[int, Alone]:
        """Runs the models of single operators, all in one process."""
        jobs, refused = {}, {}
        for number, arrays in fed.items():
            if not arrays:
                continue  # constants alone decide: it may be computed before a run, and never shown
            try:
                jobs[number] = _job_alone(self.model, number, arrays, samples, self.known)
            except RefquantError as error:  # what it calls or reads cannot stand alone
                refused[number] = Alone(None, str(error))
        results = dict(zip(jobs, run_jobs(self.name, list(jobs.values()), self.timeout), strict=True))
        graph = self.model.graph
        alone = {number: _alone_of(result, graph.operators[number].outputs) for number, result in results.items()}
        return {**refused, **alone}


def _alone_of(result: Ran | Failed, outputs: Sequence[int]) -> Alone:
    if isinstance(result, Failed):
        return Alone(None, result.text)
    try:
        tensors = _stacked_tensors(result)
    except RefquantError as error:
        return Alone(None, str(error))
    if not all(index in tensors for index in outputs):
        return Alone(None, "it does not show what the operator gives")
    return Alone(tensors, "", "XNNPACK" if result.delegated else "")


def _by_sample(model: Model, inputs: Arrays) -> list[list[Array]]:
    samples = count_samples(inputs)
    return [[inputs[index][number] for index in model.graph.inputs] for number in range(samples)]


def known_tensors(model: Model) -> Mapping[int, Array]:
    """The constants of the main graph, and what follows from them and from shapes, as a described runtime finds it."""
    for runtime in RUNTIMES.values():
        try:
            return prepare(model, runtime).known
        except RefquantError:
            continue
    return {}


def _job_alone(model: Model, number: int, arrays: Arrays, samples: int, known: Mapping[int, Array]) -> Job:
    one = alone_model(model, number, arrays, known)
    ordered = [[arrays[index][sample] for index in one.graph.inputs] for sample in range(samples)]
    outputs = model.graph.operators[number].outputs
    return Job(write_model(one), ordered, outputs, len(outputs))


def alone_model(model: Model, number: int, arrays: Arrays, known: Mapping[int, Array]) -> Model:
    """The model of one operator of the main graph, with the same numbers of tensors.

    arrays: the tensors that it is fed, its inputs; those that are known become constants, unless all are: a runtime may
    compute them before a run, and never show them. Subgraphs and constants that it does not need are left out.
    UnsupportedModel if it works on what outlasts a run.
    """
    graph = model.graph
    operator = graph.operators[number]
    if operator.name in RESOURCE_OPERATORS:
        raise UnsupportedModel(f"{operator.name} works on what outlasts a run")
    fed = tuple(index for index in arrays if index not in known) or tuple(arrays)
    tensors, buffers = list(graph.tensors), list(model.buffers)
    for index, array in arrays.items():
        shape, buffer = array.shape[1:], 0
        if index not in fed:
            shape, buffer = known[index].shape, len(buffers)
            buffers.append(known[index].astype(tensors[index].dtype.newbyteorder("<")).tobytes())
        tensors[index] = replace(tensors[index], shape=shape, shape_signature=None, buffer=buffer)
    one = replace(graph, tensors=tuple(tensors), operators=(operator,), inputs=fed, outputs=operator.outputs)
    graphs = (one, *model.graphs[1:]) if operator.name in CONTROL else (one,)
    used = {tensor.buffer for called in graphs[1:] for tensor in called.tensors}
    used |= {tensors[index].buffer for index in (*operator.inputs, *operator.intermediates) if index >= 0}
    kept = tuple(data if index in used else b"" for index, data in enumerate(buffers))
    return Model(graphs, kept, model.version)


def _stacked_outputs(ran: Ran) -> tuple[Array, ...]:
    return tuple(_stacked(arrays) for arrays in zip(*ran.outputs, strict=True))


def _stacked_tensors(ran: Ran) -> dict[int, Array]:
    common = set.intersection(*(set(tensors) for tensors in ran.tensors)) if ran.tensors else set()
    return {index: _stacked([tensors[index] for tensors in ran.tensors]) for index in sorted(common)}


def _stacked(arrays: Sequence[Array]) -> Array:
    if len({array.shape for array in arrays}) != 1:
        raise UnsupportedModel("the shape of a tensor differs between samples; compare them one by one")
    return np.stack(arrays)
