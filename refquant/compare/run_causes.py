"""Why a runtime differs from the base: the arithmetic that explains each operator, and the operators together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from refquant.compare.arithmetic_search import KERNEL, Candidate, Found, Observation, in_words, judge, search
from refquant.compare.differences import Difference, differs, total
from refquant.compare.run_sides import Alone, Arrays, run_described
from refquant.compare.run_tallies import Scene, Tally, twin
from refquant.compare.runs import Cause
from refquant.errors import RefquantError
from refquant.program import Program, Step
from refquant.runtimes import RUNTIMES


def explain(scene: Scene, tally: Tally, tensors: Arrays, fed: Mapping[int, Arrays], alone: Mapping[int, Alone]) -> None:
    """Searches for the arithmetic of every operator that differs, or judges the one found in earlier blocks.

    tensors: the base's; fed: what each operator was fed; alone: what it gave.
    """
    for number, seen in enumerate(tally.operators):
        found = alone[number].outputs if number in alone else None
        if found is None or not seen.differs or not scene.home:
            continue
        outputs = scene.model.graph.operators[number].outputs
        base = {index: tensors[index] for index in outputs}
        observation = Observation(number, fed[number], base, {index: found[index] for index in outputs})
        if seen.found is None:
            seen.found = search(observation, scene.home, scene.programs, twin(tally.side))
        else:
            seen.found = _again(seen.found, scene.programs[scene.home], observation)


def _again(found: Sequence[Found], home: Program, observation: Observation) -> Sequence[Found]:
    """What earlier blocks found, judged in this one, too: all that still explains every element, else the nearest."""
    judged = [(before, judge(candidate, home, observation), candidate) for before, candidate in found]
    both = [(before + again, candidate) for before, again, candidate in judged if again is not None]
    return [pair for pair in both if pair[0].whole] or sorted(both, key=lambda pair: -pair[0].equal)[:1]


def settle(scene: Scene, tally: Tally) -> None:
    """Puts first, for the operators of one op and type, an arithmetic that explains all of them, if there is one."""
    for kind in dict.fromkeys(scene.kinds):
        alike = [
            s for k, s in zip(scene.kinds, tally.operators, strict=True) if k == kind and s.differs and s.explained
        ]
        words = [[candidate.words for _, candidate in seen.found or ()] for seen in alike]
        shared = [word for word in words[0] if all(word in others for others in words)] if words else []
        for seen in alike if shared else ():
            seen.found = sorted(seen.found or (), key=lambda pair: pair[1].words != shared[0])


def causes(scene: Scene, tally: Tally) -> tuple[Cause, ...]:
    """The operators that differ, by op, type and the arithmetic that explains every element of them."""
    groups: dict[tuple[str, str, str, str], dict[int, Difference]] = {}
    for number, ((op, type), seen) in enumerate(zip(scene.kinds, tally.operators, strict=True)):
        if seen.cause is not None and seen.differs:
            words = "" if seen.explained is None else seen.explained.words
            key = op, type, words, _instead_of(scene, number, seen.explained)
            groups.setdefault(key, {})[number] = seen.cause
    found = []
    for (op, type, words, instead_of), group in groups.items():
        whole = total(group.values())
        reason = "" if words else next(filter(None, (_reason(scene, tally, number) for number in group)), "")
        found.append(Cause(op, type, words, instead_of, tuple(group), whole.elements, whole.differing, reason))
    return tuple(found)


def _reason(scene: Scene, tally: Tally, number: int) -> str:
    """Why a real runtime, or the real base, is not described exactly in that operator; "" if it is, or is not known."""
    for name in (twin(side) for side in (tally.side, scene.base) if side.real):
        step = scene.programs[name].steps[number] if name in scene.programs else None
        if isinstance(step, Step):
            reason = RUNTIMES[name].why_inexact(*scene.kinds[number], step.delegate != "")
            if reason is not None:
                return reason
    return ""


def _instead_of(scene: Scene, number: int, candidate: Candidate | None) -> str:
    """The base's own arithmetic in the place of what explains; "" if that is not known."""
    program = scene.base_program
    step = None if program is None else program.steps[number]
    if candidate is None or not isinstance(step, Step):
        return ""
    if candidate.replaced == (KERNEL,):
        return f"the {step.node.op} of {scene.home}"
    return in_words((key, step.node.arithmetic[key]) for key in candidate.replaced)


def whole_cause(scene: Scene, tally: Tally) -> int | None:
    """How many output elements the base gives as this runtime does when it computes with what explains it.

    A real base is computed by the described runtime that stands for it. An operator that happens not to differ computes
    with what explains others of its op and type.
    """
    base = scene.base_program
    found = {kind: seen.explained for kind, seen in zip(scene.kinds, tally.operators, strict=True) if seen.explained}
    if base is None or not found:
        return None
    steps = list(base.steps)
    for number, (kind, seen) in enumerate(zip(scene.kinds, tally.operators, strict=True)):
        candidate = seen.explained if seen.differs else found.get(kind)
        if candidate is not None:
            steps[number] = candidate.elsewhere(number, scene.home, scene.programs) or steps[number]
    program = replace(base, steps=tuple(steps))
    equal = 0
    try:
        for (_, block), outputs in zip(scene.blocks(), tally.found, strict=True):
            for got, want in zip(run_described(program, block).outputs, outputs, strict=True):
                if got.shape == want.shape and got.dtype == want.dtype:
                    equal += int(np.count_nonzero(~differs(got, want)))
    except RefquantError:
        return None
    return equal
