"""The verb: calibrate(model, samples). Reads blocks of samples, has an engine run them, and adds up what they show."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass, field

from refquant.errors import InvalidInput
from refquant.model.graph import Model
from refquant.model.validation import operator_place
from refquant.program import ModelLike, as_model
from refquant.quantizer.calibration import Calibration, TensorRange
from refquant.quantizer.engines import Engine, engine_named
from refquant.quantizer.estimators import MINMAX, checked_percentile, histogram_of, observation_of
from refquant.quantizer.in_place import Memory, Sizes, memory, owners, still_shared
from refquant.quantizer.observe import MinMax, Observation, Observed, observed_tensors
from refquant.quantizer.recurrent import with_intermediates
from refquant.quantizer.samples import Block, Samples, Shapes, read_blocks
from refquant.quantizer.workers import run_on

BLOCKS_IN_FLIGHT = 16


def calibrate(
    model: ModelLike,
    samples: Samples,
    engine: str = "numpy",
    progress: Callable[[int], object] | None = None,
    executor: Executor | None = None,
    blocks_in_flight: int = BLOCKS_IN_FLIGHT,
    estimator: str = MINMAX,
    percentile: float | None = None,
) -> Calibration:
    """The range of every float tensor while the float model runs on the samples, which are read one after another.

    samples: an iterable of samples, or a function that returns one. A sample is an array with its batch dimension, a
    list in the order of the model's inputs, {input name: array} by tensor or signature names, or (signature key, {input
    name: array}). The first sample sets the shape; a later one may differ where the model's shape is dynamic.
    engine: "numpy", refquant's own float kernels; "tensorflow", the installed TensorFlow, whose ranges are the
    converter's bit for bit.
    progress: called with the number of samples done.
    executor: any concurrent.futures.Executor; blocks of samples are sent to it, `blocks_in_flight` of them at once at
    most. The result is the same as without.
    estimator: "minmax", the converter's own; or one that is not the converter's and looks at how often values occur:
    "percentile", "mse", "entropy" (estimators.py). percentile: above 50, at most 100; None means 99.99.
    NaN elements are skipped with a warning; a tensor of nothing but NaN has no range, and a second warning says so.
    Errors: InvalidInput, naming the sample, for a wrong name, number, type or shape, for infinity, or for no samples;
    UnsupportedModel for an operator that is not built; RefquantError if TensorFlow or a worker ends.
    """
    model = with_intermediates(as_model(model))
    make = engine_named(engine)
    _check(model, executor, blocks_in_flight)
    observation = observation_of(estimator, percentile)
    running = make(model, observation)
    try:
        planner = _Planner(model, running, observation is MinMax)
        tasks = planner.tasks(read_blocks(model, samples, running.block_samples))
        results: Generator[tuple[Block, Observed], None, None]
        if executor is None:
            results = ((block, running.run(block, memory)) for block, memory in tasks)
        else:
            results = run_on(executor, running, (engine, model, observation), tasks, blocks_in_flight)
        total = _Total(model)
        with closing(results):
            for block, observed in results:
                for message in total.warnings(observed):
                    warnings.warn(message, stacklevel=2)
                total.add(observed)
                if progress is not None:
                    progress(block.first + block.count)
    finally:
        running.close()
    if nothing := total.unseen():
        warnings.warn(nothing, stacklevel=2)
    return total.calibration(block.first + block.count, estimator, checked_percentile(estimator, percentile))


def _check(model: Model, executor: Executor | None, blocks_in_flight: int) -> None:
    if not observed_tensors(model):
        raise InvalidInput("no operator of the model reads or computes float32; calibration needs the float model")
    if not isinstance(blocks_in_flight, int) or blocks_in_flight < 1:
        raise InvalidInput(f"blocks_in_flight={blocks_in_flight!r}: must be a number of blocks, 1 or more")
    if executor is None:
        return
    if not isinstance(executor, Executor):
        raise InvalidInput(f"executor must be a concurrent.futures.Executor, not {type(executor).__name__}")
    state = [tensor.name for tensor in model.graph.tensors if tensor.is_variable]
    if state:
        raise InvalidInput(
            f"the model keeps '{state[0]}' from one sample to the next, so that samples cannot run apart; "
            "calibrate without an executor"
        )


class _Planner:
    """Adds to each block what the memory of its run does to the ranges, which depends on the shapes so far."""

    def __init__(self, model: Model, engine: Engine, follows_converter: bool) -> None:
        self._model, self._engine, self._follows = model, engine, follows_converter
        self._seen: set[Shapes] = set()
        self._owners: dict[int, int] | None = None
        self._memory = Memory()

    def tasks(self, blocks: Iterator[Block]) -> Iterator[tuple[Block, Memory]]:
        """(block, its memory)."""
        for block in blocks:
            if self._follows and block.shapes not in self._seen and self._owners != {}:
                self._seen.add(block.shapes)
                self._plan(self._engine.sizes(block))
            yield block, self._memory

    def _plan(self, sizes: Sizes) -> None:
        before = self._owners
        self._owners = owners(self._model, sizes) if before is None else still_shared(before, sizes)
        if self._owners != before:
            self._memory = memory(self._model.graph, self._owners)


@dataclass(slots=True)
class _Total:
    """What all blocks so far have shown."""

    model: Model
    observations: dict[int, Observation] = field(default_factory=dict)
    warned: set[int] = field(default_factory=set)

    def warnings(self, observed: Observed) -> list[str]:
        """What to warn of before the block is taken in: each tensor's first NaN, before where the block is refused."""
        end = min(observed.infinite.values(), default=math.inf)
        new = {t: sample for t, sample in observed.missing.items() if t not in self.warned and sample < end}
        self.warned |= new.keys()
        first = sorted(new.items(), key=lambda entry: entry[1])
        return [f"sample {sample}: {self._told(t, 'NaN')}; such elements are skipped" for t, sample in first]

    def unseen(self) -> str:
        """What to warn of in the end: tensors of which every element was NaN; empty if there are none."""
        tensors = sorted(self.warned - self.observations.keys())
        if not tensors:
            return ""
        name, more = self.model.graph.tensors[tensors[0]].name, len(tensors) - 1
        return (
            f"nothing but NaN in all samples: '{name}'{f' and {more} more' if more else ''}; such a tensor gets no "
            "range, and the ranges of what is computed from it mean nothing"
        )

    def add(self, observed: Observed) -> None:
        """Takes in a block. InvalidInput, naming sample and tensor, at an infinite number."""
        if observed.infinite:
            sample = min(observed.infinite.values())
            tensor = next(index for index, number in observed.infinite.items() if number == sample)
            raise InvalidInput(f"sample {sample}: {self._told(tensor, 'infinite numbers')}; no scale can hold them")
        for tensor, observation in observed.observations.items():
            if tensor in self.observations:
                self.observations[tensor].merge(observation)
            else:
                self.observations[tensor] = observation

    def _told(self, tensor: int, what: str) -> str:
        graph = self.model.graph
        name = f"'{graph.tensors[tensor].name}' holds {what}"
        for position, operator in enumerate(graph.operators):
            if tensor in operator.outputs:
                return f"tensor {name}, computed by {operator_place(0, position, operator)}"
        return f"input {name}"

    def calibration(self, samples: int, estimator: str, percentile: float | None) -> Calibration:
        """The ranges."""
        ranges = {tensor: observation.range() for tensor, observation in self.observations.items()}
        entries = (
            TensorRange(tensor, self.model.graph.tensors[tensor].name, *limits, histogram_of(self.observations[tensor]))
            for tensor, limits in sorted(ranges.items())
            if limits is not None
        )
        return Calibration(tuple(entries), samples, estimator, percentile)
