"""The search for the described arithmetic that gives, for one operator and its inputs, what a runtime gave.

It begins with the operator as one described runtime prepares it, the home, and puts into it what other runtimes differ
in: one of their values, all of them, or their whole kernel; then every requantizer there is. What explains every
element with the least that is replaced comes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from refquant.arithmetic import requantize
from refquant.arithmetic.requantize import Requantizer
from refquant.compare.differences import differs
from refquant.compare.explanations import Explained
from refquant.compare.run_sides import Arrays, count_samples, run_step
from refquant.program import Program, Step

REQUANTIZERS = tuple(value for value in vars(requantize).values() if isinstance(value, Requantizer))
EFFECTIVE_SCALES = (
    requantize.effective_scale_float64,
    requantize.effective_scale_float32_product,
    requantize.effective_scale_float32,
)
KERNEL = "kernel"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One described arithmetic for one operator: how it is said, the runtime that has it ("" if none is known to), the
    values that it replaces or, if there are none, the whole kernel; and the step."""

    words: str
    runtime: str
    values: tuple[tuple[str, Any], ...]
    step: Step

    @property
    def replaced(self) -> tuple[str, ...]:
        """The names of what it replaces."""
        return tuple(key for key, _ in self.values) or (KERNEL,)

    def elsewhere(self, number: int, home: str, programs: Mapping[str, Program]) -> Step | None:
        """The same arithmetic for another operator of that op and type; None where it does not fit."""
        step = programs[home if self.values else self.runtime].steps[number]
        if not isinstance(step, Step):
            return None
        return with_values(step, dict(self.values)) if self.values else step


@dataclass(frozen=True, slots=True)
class Observation:
    """What a runtime gave for the operator of that number, fed these tensors, and what the base gave."""

    number: int
    fed: Arrays
    base: Arrays
    found: Arrays

    def of(self, sample: int) -> Observation:
        """One sample of it."""
        cut = [
            {index: array[sample : sample + 1] for index, array in arrays.items()}
            for arrays in (self.fed, self.base, self.found)
        ]
        return Observation(self.number, *cut)

    @property
    def first_sample(self) -> int | None:
        """The first sample in which an element differs; None where all are equal, or arrays of another kind."""
        pairs = [(self.base[index], found) for index, found in self.found.items()]
        if any(base.shape != found.shape or base.dtype != found.dtype for base, found in pairs):
            return None
        different = [differs(base, found).any(axis=tuple(range(1, found.ndim))) for base, found in pairs]
        return min((int(samples.argmax()) for samples in different if samples.any()), default=None)


Found = tuple[Explained, Candidate]
"""How well a candidate explains what was observed."""


def search(observation: Observation, home: str, programs: Mapping[str, Program], twin: str) -> list[Found]:
    """What explains every element: that of the twin, or the first that does and all others by one replaced value.

    If there is none, what explains most; empty if nothing explains any element that differs.
    home: the described runtime that the candidates differ from; programs: those of the described runtimes by name;
    twin: the one of them that stands for what is observed, "" for none.
    """
    first = observation.first_sample
    if first is None:
        return []
    stateful = any(program.stateful for program in programs.values())
    probe = observation if stateful else observation.of(first)
    whole: list[Found] = []
    best: Found | None = None
    for candidate in candidates(observation.number, home, programs, twin):
        if whole and len(candidate.values) != 1:
            continue
        tried = judge(candidate, programs[home], probe)
        if tried is not None and tried.whole:
            tried = judge(candidate, programs[home], observation)
            if tried is not None and tried.whole:
                whole.append((tried, candidate))
                if candidate.runtime == twin:
                    break
        if tried is not None and (best is None or _share(tried) > _share(best[0])):
            best = tried, candidate
    if whole or best is None:
        return whole
    judged = judge(best[1], programs[home], observation)
    return [(judged, best[1])] if judged is not None and judged.explained else []


def _share(explanation: Explained) -> tuple[float, float]:
    return (
        explanation.equal / max(explanation.elements, 1),
        explanation.explained / max(explanation.differing, 1),
    )


def judge(candidate: Candidate, program: Program, observation: Observation) -> Explained | None:
    """In how many elements the candidate equals what was found; None if it does not compute that operator."""
    samples = count_samples(observation.found)
    try:
        given = run_step(program, observation.number, candidate.step, observation.fed, samples)
    except Exception:  # an arithmetic made for another kernel may not fit in any way
        return None
    counts = np.zeros(4, np.int64)
    for index, found in observation.found.items():
        got, base = given[index], observation.base[index]
        if got.shape != found.shape or got.dtype != found.dtype or base.shape != found.shape:
            return None
        equal, differing = ~differs(got, found), differs(base, found)
        counts += [found.size, equal.sum(), differing.sum(), (equal & differing).sum()]
    return Explained(candidate.words, candidate.runtime, candidate.replaced, *map(int, counts))


def candidates(number: int, home: str, programs: Mapping[str, Program], twin: str) -> Iterator[Candidate]:
    """The described arithmetics for that operator, each once, what replaces least first, the twin's before others'."""
    own = programs[home].steps[number]
    if not isinstance(own, Step):
        return
    asked = _asked(own)
    seen: list[tuple[tuple[str, Any], ...]] = [()]
    for name in dict.fromkeys((twin, *programs)):
        step = programs[name].steps[number] if name in programs else None
        if not isinstance(step, Step):
            continue
        theirs = step.node.arithmetic
        values = tuple((key, theirs[key]) for key in asked if key in theirs)
        values = tuple((key, value) for key, value in values if _unequal(own.node.arithmetic[key], value))
        for chosen in (*((value,) for value in values), values):
            yield from _once(own, name, chosen, seen)
        if step.kernel != own.kernel:
            yield Candidate(f"the {step.node.op} of {name}", name, (), step)
    slots = [key for key in asked if isinstance(own.node.arithmetic[key], Requantizer)]
    scales = [key for key in asked if own.node.arithmetic[key] in EFFECTIVE_SCALES]
    for requantizer in REQUANTIZERS:
        for key in slots:
            yield from _once(own, "", ((key, requantizer),), seen)
    for requantizer in REQUANTIZERS:
        for key in slots:
            for scale in EFFECTIVE_SCALES:
                yield from _once(own, "", ((key, requantizer), *((name, scale) for name in scales)), seen)


def _once(
    own: Step, runtime: str, values: tuple[tuple[str, Any], ...], seen: list[tuple[tuple[str, Any], ...]]
) -> Iterator[Candidate]:
    """The own step with these values in the places of its own, if they are not the same and were not tried."""
    values = tuple((key, value) for key, value in values if _unequal(own.node.arithmetic[key], value))
    if values in seen:
        return
    seen.append(values)
    step = with_values(own, dict(values))
    if step is not None:
        yield Candidate(in_words(values), runtime, values, step)


def with_values(step: Step, values: Mapping[str, Any]) -> Step | None:
    """The step prepared with these values in the places of its own; None if it cannot be."""
    node = replace(step.node, arithmetic={**step.node.arithmetic, **values})
    try:
        params = None if step.params is None else step.kernel.prepare(node)
    except Exception:  # as in judge
        return None
    return replace(step, node=node, params=params)


def in_words(values: Iterable[tuple[str, Any]]) -> str:
    """Values by their names."""
    return " and ".join(dict.fromkeys(value_in_words(key, value) for key, value in values))


def value_in_words(key: str, value: Any) -> str:
    """One value of a runtime: a requantizer's name, that of a function with spaces, or "its name = itself"."""
    if isinstance(value, Requantizer):
        return value.name
    if callable(value) and hasattr(value, "__name__"):
        return str(value.__name__).strip("_<>").replace("_", " ")
    return f"{key} = {value}"


class _Recorder(dict[str, Any]):
    """Values that remember which of them were asked for."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.asked: dict[str, None] = {}

    def __getitem__(self, key: str) -> Any:
        self.asked[key] = None
        return super().__getitem__(key)


def _asked(step: Step) -> tuple[str, ...]:
    """The runtime's values that the step's kernel asks for; where it cannot tell yet, all of its op."""
    values = step.node.arithmetic
    if step.params is None:
        return tuple(key for key in values if key.startswith(f"{step.node.op}."))
    recorder = _Recorder(values)
    step.kernel.prepare(replace(step.node, arithmetic=recorder))
    return tuple(recorder.asked)


def _unequal(a: Any, b: Any) -> bool:
    return a is not b and bool(a != b)
