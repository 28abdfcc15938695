"""The verb: compare_runs(model, inputs, runtimes): layer by layer, end to end and each operator on its own.

Samples are run block by block, each block in every runtime. What the base gave in the whole model is what single
operators are fed in all the others; so drift (what piles up) and cause (what an operator itself does) come apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from refquant.compare.differences import Difference, difference, total
from refquant.compare.error_split import split_error
from refquant.compare.real_runtimes import REAL, TIMEOUT
from refquant.compare.run_causes import causes, explain, settle, whole_cause
from refquant.compare.run_inputs import RANDOM_INPUTS, samples_of
from refquant.compare.run_sides import Alone, Arrays, Described, Real, Side, Whole, count_samples
from refquant.compare.run_tallies import OperatorTally, Scene, Tally
from refquant.compare.runs import OperatorRow, OperatorRun, RunComparison, RuntimeRun
from refquant.errata import Erratum, errata_for
from refquant.errors import InvalidInput, RefquantError
from refquant.model.graph import Graph, Model, Operator
from refquant.program import Inputs, ModelLike, as_model
from refquant.runtimes import RUNTIMES
from refquant.runtimes.runtime import Runtime

Progress = Callable[[float], object]
"""Called with the share that is done, 0 to 1."""


def compare_runs(
    model: ModelLike,
    inputs: Inputs | None = None,
    runtimes: Sequence[str | Runtime] = ("tflite_ref", "tflite_opt"),
    count: int = RANDOM_INPUTS,
    seed: int = 0,
    timeout: float = TIMEOUT,
    float_model: ModelLike | None = None,
    progress: Progress | None = None,
) -> RunComparison:
    """Runs a model in several runtimes and tells where, by how much and why each differs from the first.

    inputs: as refquant.run takes them, N samples on a model of batch 1; None: `count` random ones by that seed, all
    minimum and all maximum. runtimes: names of described ones ("xnnpack"), of installed real ones ("litert:default",
    "tflm:real"; each in a child process, ended after `timeout` seconds without an answer), or Runtime values. One that
    refuses the model, fails or crashes is told as such, and the others are compared; the first that runs is the base.
    float_model: what the model was quantized from; then its error in each runtime that has a name is split, too.
    progress: called with the share that is done.
    Errors: InvalidInput for inputs that do not fit, an unknown runtime, one whose package is missing, or fewer than two
    that run the model.
    """
    model = as_model(model)
    if isinstance(runtimes, str):
        raise InvalidInput(f"runtimes is a list of names, not '{runtimes}'")
    names = [runtime.name if isinstance(runtime, Runtime) else str(runtime) for runtime in runtimes]
    if len(names) < 2 or len(set(names)) < len(names):
        raise InvalidInput(f"name two runtimes or more, each once, not {', '.join(names) or 'none'}")
    tell = progress or (lambda done: None)
    arrays = samples_of(model, inputs, count, seed)
    sides, errors = _sides(model, runtimes, timeout)
    share = 1.0 if float_model is None else 1 / (1 + len(sides))
    found = _compared(model, arrays, sides, names, errors, _part(tell, 0, share))
    if float_model is None:
        return found
    ran = [run.name for run in found.runtimes if not run.error and run.name in (*RUNTIMES, *REAL)]
    splits = []
    for number, name in enumerate(ran):
        part = _part(tell, share + number * (1 - share) / len(ran), (1 - share) / len(ran))
        splits.append(split_error(float_model, model, inputs, name, count, seed, timeout, part))
    return replace(found, splits=tuple(splits))


def _compared(
    model: Model,
    arrays: Arrays,
    sides: Sequence[Side],
    names: Sequence[str],
    errors: Mapping[str, str],
    progress: Progress,
) -> RunComparison:
    """All runtimes against the first of them that runs every sample. InvalidInput if fewer than two do."""
    failed = dict(errors)
    while len(sides) > 1:
        scene = Scene(model, arrays, sides)
        try:
            tallies = _run(scene, progress)
        except _BaseFailed as reason:
            failed[scene.base.name] = str(reason)
            sides = sides[1:]
            continue
        failed.update((tally.side.name, tally.error) for tally in tallies if tally.error)
        ran = [tally for tally in tallies if not tally.error]
        if ran:
            return _result(scene, ran, names, failed)
        sides = sides[:1]
    head = "none of these runtimes runs" if not sides else f"only {sides[0].name} runs"
    raise InvalidInput(f"{head} this model: " + "; ".join(f"{name}: {error}" for name, error in failed.items()))


def _part(progress: Progress, start: float, share: float) -> Progress:
    """The progress of one part of the whole."""
    return lambda done: progress(start + share * done)


class _BaseFailed(Exception):
    """Why the base cannot run a sample."""


def _sides(model: Model, runtimes: Sequence[str | Runtime], timeout: float) -> tuple[list[Side], dict[str, str]]:
    """(the runtimes that take the model, {name: why another does not})."""
    sides: list[Side] = []
    errors: dict[str, str] = {}
    for runtime in runtimes:
        if isinstance(runtime, str) and runtime in REAL:
            sides.append(Real.of(model, runtime, timeout))
            continue
        if not isinstance(runtime, Runtime) and runtime not in RUNTIMES:
            raise InvalidInput(f"unknown runtime '{runtime}'; there are: {', '.join((*RUNTIMES, *REAL))}")
        described = runtime if isinstance(runtime, Runtime) else RUNTIMES[runtime]
        try:
            sides.append(Described.of(model, described))
        except RefquantError as error:
            errors[described.name] = str(error)
    return sides, errors


# running


def _run(scene: Scene, progress: Progress) -> list[Tally]:
    """Every runtime but the base, against the base. _BaseFailed if that cannot run a sample."""
    tallies = [Tally(side, [OperatorTally() for _ in scene.model.graph.operators]) for side in scene.sides[1:]]
    blocks = list(scene.blocks())
    for position, (first, block) in enumerate(blocks):
        try:
            base = scene.base.whole(block)
        except RefquantError as error:
            raise _BaseFailed(str(error)) from None
        tensors = {**base.tensors, **block}
        fed = _fed(scene.model.graph, tensors)
        for number, tally in enumerate(tallies):
            if not tally.error:
                try:
                    alone = _run_block(scene, tally, first, block, base, fed)
                    explain(scene, tally, tensors, fed, alone)
                except RefquantError as error:
                    tally.error = str(error)
            progress((position * len(tallies) + number + 1) / (len(blocks) * len(tallies)))
    return tallies


def _fed(graph: Graph, tensors: Arrays) -> dict[int, Arrays]:
    """{operator: the tensors that it reads and that are no constants, if any}, where the base shows all of them."""
    given = _given(graph)
    fed: dict[int, Arrays] = {}
    for number, operator in enumerate(graph.operators):
        read = [i for i in dict.fromkeys(operator.inputs) if i in given and not graph.tensors[i].is_variable]
        if all(index in tensors for index in (*read, *operator.outputs)):
            fed[number] = {index: tensors[index] for index in read}
    return fed


def _given(graph: Graph) -> set[int]:
    """The tensors that are handed in or computed."""
    return {*graph.inputs, *(index for operator in graph.operators for index in operator.outputs)}


def _run_block(
    scene: Scene, tally: Tally, first: int, inputs: Arrays, base: Whole, fed: Mapping[int, Arrays]
) -> dict[int, Alone]:
    """Adds one block, end to end and each operator alone, and returns the latter. RefquantError if it does not run."""
    graph = scene.model.graph
    whole = tally.side.whole(inputs)
    for index, *outputs in zip(graph.outputs, base.outputs, whole.outputs, whole.preserved, strict=True):
        tally.outputs += difference(outputs[0], outputs[1], index, first)
        tally.preserving += difference(outputs[1], outputs[2], index, first)
    tally.found.append(whole.outputs)
    alone = tally.side.alone(fed, count_samples(inputs))
    given, tensors = _given(graph), {**base.tensors, **inputs}
    for number, (operator, seen) in enumerate(zip(graph.operators, tally.operators, strict=True)):
        if (tally.side.real or scene.base.real) and not given & {*operator.inputs}:
            continue  # constants alone decide: a real runtime may compute it before a run, and never show it
        drift = _difference(operator, tensors, whole.tensors, first)
        seen.drift = _sum(seen.drift, drift) if first else drift
        result = alone.get(number)
        if result is None or result.outputs is None:
            seen.error = seen.error or (result.error if result else "the base does not show what it reads and gives")
            seen.cause = None
        elif not seen.error:
            cause = _difference(operator, tensors, result.outputs, first)
            seen.cause = _sum(seen.cause, cause) if first else cause
            seen.delegated, seen.error = result.delegated, _other_kind(operator, tensors, result.outputs)
    return alone


def _other_kind(operator: Operator, base: Arrays, other: Arrays) -> str:
    """Of which type and shape an output is, if that is not what the base gives; else ""."""
    for index in operator.outputs:
        a, b = base[index], other[index]
        if a.dtype != b.dtype or a.shape != b.shape:
            return f"gives {b.dtype.name} {b.shape[1:]} in the place of {a.dtype.name} {a.shape[1:]}"
    return ""


def _difference(operator: Operator, base: Arrays, other: Arrays, first: int) -> Difference | None:
    """Of all outputs of the operator; None if one of them is not shown."""
    if not all(index in base and index in other for index in operator.outputs):
        return None
    return total(difference(base[index], other[index], index, first) for index in operator.outputs)


def _sum(earlier: Difference | None, later: Difference | None) -> Difference | None:
    return None if earlier is None or later is None else earlier + later


# the result


def _result(scene: Scene, tallies: Sequence[Tally], names: Sequence[str], errors: Mapping[str, str]) -> RunComparison:
    base, graph = scene.base, scene.model.graph
    found = {tally.side.name: _runtime_run(scene, tally) for tally in tallies}
    found[base.name] = RuntimeRun(base.name, base.real, base.oracle)
    rows = tuple(
        OperatorRow(
            number,
            op,
            type,
            operator.outputs,
            graph.tensors[operator.outputs[0]].name if operator.outputs else "",
            tuple(_operator_run(scene, tally, number, op, type) for tally in tallies),
        )
        for number, (operator, (op, type)) in enumerate(zip(graph.operators, scene.kinds, strict=True))
    )
    return RunComparison(
        base.name,
        tuple(found.get(name) or RuntimeRun(name, name in REAL, error=errors[name]) for name in names),
        rows,
        count_samples(scene.arrays),
        scene.model,
        dict(scene.arrays),
    )


def _runtime_run(scene: Scene, tally: Tally) -> RuntimeRun:
    settle(scene, tally)
    drifted = (n for n, seen in enumerate(tally.operators) if seen.drift is not None and seen.drift.differing)
    differing = (n for n, seen in enumerate(tally.operators) if seen.differs)
    return RuntimeRun(
        tally.side.name,
        tally.side.real,
        tally.side.oracle,
        "",
        tally.outputs,
        next(drifted, None),
        next(differing, None),
        causes(scene, tally),
        whole_cause(scene, tally),
        tally.preserving if tally.side.real or tally.preserving.differing else None,
    )


def _operator_run(scene: Scene, tally: Tally, number: int, op: str, type: str) -> OperatorRun:
    seen = tally.operators[number]
    errata: tuple[Erratum, ...] = ()
    if seen.differs and (seen.explained is None or not seen.explained.values):  # no ordinary rounding
        errata = errata_for(op, (type,), (scene.base.name, tally.side.name))
    return OperatorRun(
        tally.side.name,
        seen.drift,
        seen.cause,
        seen.error,
        seen.delegated,
        tuple(explained for explained, _ in seen.found or ()),
        errata,
    )
