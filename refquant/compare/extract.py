"""One operator of a model as a model of its own, with the tensors that feed it in a run: the smallest case to send.

Constants stay constants, and what follows from constants and shapes alone becomes one; variables stay variables; the
rest of the operator's inputs are the new model's inputs. Shapes are those of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from refquant.compare.real_runtimes import REAL, run_real
from refquant.errors import InvalidInput, RefquantError, UnsupportedModel
from refquant.kernels.kernel import Shape
from refquant.kernels.table import TYPE_OPERAND
from refquant.model.graph import Array, Graph, Model, Operator, Tensor
from refquant.model.schema import OPTIONS_OF
from refquant.model.validation import SUBGRAPH_OPTIONS, operator_place
from refquant.program import Inputs, ModelLike, Value, as_model, new_state, prepare, run, run_graph, split_samples
from refquant.program.control_flow import RESOURCE_OPERATORS
from refquant.program.execution import Keep
from refquant.runtimes import DESCRIBED, runtime_named

LONGEST_NAME = 200


@dataclass(frozen=True, slots=True, eq=False)
class Extracted:
    """`model` holds the operator at `place` alone; `inputs` and `outputs`: name -> array, as `refquant.run` takes and
    gives them. `outputs` are what the runtime gave in the run of the whole model.
    """

    place: str
    model: Model
    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]


def extract(
    model: ModelLike,
    operator: int | str,
    inputs: Inputs,
    runtime: str = "tflite_ref",
    subgraph: int = 0,
    sample: int | None = None,
) -> tuple[Model, dict[str, Array]]:
    """(a model of one operator, {name: array} of its inputs in a run), ready for `refquant.run` and real runtimes.

    operator: its number in the subgraph, or the name of a tensor that it gives. inputs: of the whole model, as in
    `refquant.run`; runtime: which one gives the operator's inputs, described or installed ("litert:default"). sample:
    which of N samples, from 0; None: all of them, one after another along dim 0. An operator that remembers also gets
    the samples before the one asked for; one in a loop is taken as it runs for the first time.
    Errors: InvalidInput if there is no such operator or sample, the operator is not run, or its inputs have no dim 0 of
    1 to hold several samples; UnsupportedModel for an operator that means nothing alone; those of `refquant.run`;
    RefquantError if an installed runtime fails.
    """
    found = cut_out(model, operator, inputs, runtime, subgraph, sample)
    return found.model, dict(found.inputs)


def cut_out(
    model: ModelLike,
    operator: int | str,
    inputs: Inputs,
    runtime: str = "tflite_ref",
    subgraph: int = 0,
    sample: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> Extracted:
    """As `extract`, with the expected outputs. progress: called with the number of samples done."""
    model = as_model(model)
    site = _site(model, operator, subgraph)
    if subgraph == 0 and runtime not in REAL:
        model = _up_to(model, site)
    observe = _observed_really if runtime in REAL else _observed
    runs = _chosen(site, observe(model, site, inputs, runtime, progress), sample)
    known = _known(model, site, runtime, runs[0])
    fed = _fed(site, known)
    if set(fed) <= set(known):
        runs = runs[:1]
    one = _one_operator(model, site, fed, known, runs[0])
    arrays = {
        one.graph.tensors[input_].name: _joined(
            site, index, [known[index]] if index in known else [r.values[index] for r in runs]
        )
        for input_, index in zip(one.graph.inputs, fed, strict=True)
    }
    return Extracted(site.place, one, arrays, _expected(site, one, arrays, runs, runtime))


@dataclass(frozen=True, slots=True)
class _Site:
    """Where the operator stands."""

    graph: Graph
    subgraph: int
    operator: Operator
    position: int
    place: str

    @property
    def given(self) -> tuple[int, ...]:
        """The tensors that it reads, each once."""
        return tuple(index for index in dict.fromkeys(self.operator.inputs) if index >= 0)

    def remembers(self) -> bool:
        """Whether a run leaves something for the next: a variable that no operator gives its first value."""
        started = {index for operator in self.graph.operators for index in operator.outputs}
        return any(self.graph.tensors[index].is_variable and index not in started for index in self.given)


@dataclass(slots=True)
class _Run:
    """The operator in the run of one sample: what it read, also the inputs of its subgraph, and what it gave."""

    values: dict[int, Array] = field(default_factory=dict)
    outputs: dict[int, Array] = field(default_factory=dict)


def _site(model: Model, operator: int | str, subgraph: int) -> _Site:
    if not isinstance(subgraph, int | np.integer) or not 0 <= subgraph < len(model.graphs):
        raise InvalidInput(f"there is no subgraph {subgraph}; the model has {len(model.graphs)}")
    graph = model.graphs[subgraph]
    position = _giver(graph, operator, subgraph) if isinstance(operator, str) else operator
    if not isinstance(position, int | np.integer) or not 0 <= position < len(graph.operators):
        raise InvalidInput(f"there is no operator {operator}; subgraph {subgraph} has {len(graph.operators)}")
    found = graph.operators[position]
    place = operator_place(subgraph, int(position), found)
    if found.name in RESOURCE_OPERATORS or not found.outputs:
        raise UnsupportedModel(f"{place}: works on what outlasts a run; a model of it alone computes nothing")
    return _Site(graph, int(subgraph), found, int(position), place)


def _giver(graph: Graph, name: str, subgraph: int) -> int:
    """The operator that gives the tensor of that name."""
    givers = [
        position
        for position, operator in enumerate(graph.operators)
        if any(graph.tensors[index].name == name for index in operator.outputs)
    ]
    if len(givers) != 1:
        what = f"operators {', '.join(map(str, givers))} give" if givers else "no operator gives"
        raise InvalidInput(f"{what} a tensor named '{name}' in subgraph {subgraph}; name the operator by its number")
    return givers[0]


def _up_to(model: Model, site: _Site) -> Model:
    """The model without what comes after an operator of the main graph, which need not be run."""
    operators = model.graph.operators[: site.position + 1]
    return model.with_graph(replace(model.graph, operators=operators, outputs=site.operator.outputs))


# What the operator reads and gives ------------------------------------------------------------------------------------


def _observed(
    model: Model, site: _Site, inputs: Inputs, runtime: str, progress: Callable[[int], object] | None
) -> list[_Run]:
    """One for each sample. InvalidInput if the operator is not run."""
    program, state = prepare(model, runtime_named(runtime)), new_state(model)
    arrays, samples = split_samples(model, inputs)
    runs = []
    for number in range(1 if samples is None else samples):
        single = {index: array if samples is None else array[number] for index, array in arrays.items()}
        observed = _Run(dict(single) if site.subgraph == 0 else {})
        run_graph(program, {index: Value(array) for index, array in single.items()}, state, _tap(site, observed))
        if not observed.outputs:
            raise InvalidInput(f"{site.place}: is not run with these inputs")
        runs.append(observed)
        if progress is not None:
            progress(number + 1)
    return runs


def _observed_really(
    model: Model, site: _Site, inputs: Inputs, runtime: str, progress: Callable[[int], object] | None
) -> list[_Run]:
    """As _observed, in an installed runtime that keeps every tensor."""
    if site.subgraph:
        raise InvalidInput(
            f"{site.place}: {runtime} shows the tensors of the main graph only; name a described runtime"
        )
    ran = run_real(runtime, model.to_bytes(), _one_by_one(model, inputs))
    found = [
        _Run(
            {index: tensors[index] for index in (*site.given, *site.graph.inputs) if index in tensors},
            {index: tensors[index] for index in site.operator.outputs if index in tensors},
        )
        for tensors in ran.tensors
    ]
    if any(set(run.outputs) != set(site.operator.outputs) for run in found):
        raise UnsupportedModel(f"{site.place}: {runtime} does not show what it gives")
    if progress is not None:
        progress(len(found))
    return found


def _one_by_one(model: Model, inputs: Inputs) -> list[list[Array]]:
    """The inputs of each sample, in the model's order."""
    arrays, samples = split_samples(model, inputs)
    if samples is None:
        return [[arrays[index] for index in model.graph.inputs]]
    return [[arrays[index][number] for index in model.graph.inputs] for number in range(samples)]


def _tap(site: _Site, observed: _Run) -> Keep:
    """Notes the operator's operands up to the first time that it has run."""
    wanted = {*site.given, *site.graph.inputs}

    def keep(subgraph: int, index: int, value: Value) -> None:
        if subgraph != site.subgraph or len(observed.outputs) == len(set(site.operator.outputs)):
            return
        if index in site.operator.outputs:
            observed.outputs[index] = value.array
        elif index in wanted:
            observed.values[index] = value.array

    return keep


def _chosen(site: _Site, runs: list[_Run], sample: int | None) -> list[_Run]:
    if sample is None:
        return runs
    if not isinstance(sample, int | np.integer) or not 0 <= sample < len(runs):
        raise InvalidInput(f"there is no sample {sample}; there are {len(runs)}, counted from 0")
    return runs[(0 if site.remembers() else sample) : sample + 1]


def _known(model: Model, site: _Site, runtime: str, first: _Run) -> Mapping[int, Array]:
    """What the operator reads and does not change from run to run: constants, and what follows from them and shapes."""
    given = {index: first.values[index].shape for index in site.graph.inputs if index in first.values}
    described = DESCRIBED.get(runtime, runtime)
    try:
        known = prepare(model, runtime_named(described), "wrap", given, site.subgraph).known
    except RefquantError:
        if runtime not in REAL:
            raise
        tensors = {index: site.graph.tensors[index] for index in site.given}  # not described: the constants alone
        known = {i: array for i, tensor in tensors.items() if (array := model.constant(tensor)) is not None}
    return {index: known[index] for index in site.given if index in known and index not in site.graph.inputs}


def _fed(site: _Site, known: Mapping[int, Array]) -> tuple[int, ...]:
    """The tensors that become the inputs of the model; one that is known if there is no other."""
    fed = tuple(index for index in site.given if index not in known and not site.graph.tensors[index].is_variable)
    slot = TYPE_OPERAND.get(site.operator.name, 0)
    return fed or site.operator.inputs[slot : slot + 1]


# The model of one operator --------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Buffers:
    """The buffers of the new model: those of the old one that are still read, each once, and new ones."""

    model: Model
    kept: list[bytes] = field(default_factory=lambda: [b""])
    numbers: dict[int, int] = field(default_factory=lambda: {0: 0})

    def old(self, number: int) -> int:
        """Where the old model's buffer stands now."""
        if number not in self.numbers:
            self.numbers[number] = self.new(self.model.buffers[number])
        return self.numbers[number]

    def new(self, data: bytes) -> int:
        """Where the new buffer stands."""
        self.kept.append(data)
        return len(self.kept) - 1


def _one_operator(model: Model, site: _Site, fed: Sequence[int], known: Mapping[int, Array], first: _Run) -> Model:
    operator, buffers = site.operator, _Buffers(model)
    shapes = {index: array.shape for index, array in {**first.values, **first.outputs, **known}.items()}
    order = [
        index for index in dict.fromkeys((*operator.inputs, *operator.outputs, *operator.intermediates)) if index >= 0
    ]
    names = _names([site.graph.tensors[index].name for index in order])
    tensors = tuple(
        replace(_tensor(model, site, index, fed, known, shapes, buffers), name=name)
        for index, name in zip(order, names, strict=True)
    )
    numbers = {-1: -1, **{old: new for new, old in enumerate(order)}}

    def moved(indices: Iterable[int]) -> tuple[int, ...]:
        return tuple(numbers[index] for index in indices)

    called = _called(model, operator)
    alone = replace(
        _recalled(operator, called),
        inputs=moved(operator.inputs),
        outputs=moved(operator.outputs),
        intermediates=moved(operator.intermediates),
        debug_metadata_index=-1,
    )
    main = Graph(tensors, (alone,), moved(fed), moved(operator.outputs), "main")
    others = tuple(_called_graph(model.graphs[number], called, buffers) for number in called)
    return Model((main, *others), tuple(buffers.kept), model.version, f"{site.place}, extracted by refquant")


def _tensor(
    model: Model,
    site: _Site,
    index: int,
    fed: Sequence[int],
    known: Mapping[int, Array],
    shapes: Mapping[int, Shape],
    buffers: _Buffers,
) -> Tensor:
    """The tensor in the new model; its shape is that of the run."""
    tensor = site.graph.tensors[index]
    if index in site.operator.outputs or index in fed:
        return replace(tensor, shape=shapes[index], shape_signature=None, buffer=0, is_variable=False)
    if index in known and not (tensor.buffer and model.buffers[tensor.buffer]):
        array = known[index]
        data = array.astype(tensor.dtype.newbyteorder("<")).tobytes()
        return replace(tensor, shape=array.shape, shape_signature=None, buffer=buffers.new(data))
    return replace(tensor, buffer=buffers.old(tensor.buffer))


def _names(names: Sequence[str]) -> list[str]:
    """The names, each once and fit for an entry of an .npz file."""
    taken: dict[str, None] = {}
    for position, name in enumerate(names):
        fit = name.isprintable() and 0 < len(name) <= LONGEST_NAME and not name.startswith("arr_")
        unique = name if fit else f"tensor_{position}"
        while unique in taken:
            unique += f"_{position}"
        taken[unique] = None
    return list(taken)


def _called(model: Model, operator: Operator) -> dict[int, int]:
    """Old number -> new number of every subgraph that the operator runs, and that those run."""
    found: dict[int, int] = {}
    waiting = [operator]
    while waiting:
        for _, _, called in _calls(waiting.pop()):
            for number in called:
                if number not in found:
                    found[number] = len(found) + 1
                    waiting.extend(model.graphs[number].operators)
    return found


def _calls(operator: Operator) -> Iterable[tuple[str, str, tuple[int, ...]]]:
    """(which options, the option's name, the subgraphs that it names)."""
    tables = {"options": operator.options_type or OPTIONS_OF.get(operator.name), "options2": operator.options2_type}
    for which, table in tables.items():
        for name in SUBGRAPH_OPTIONS.get(table or "", ()):
            value = getattr(operator, which).get(name, 0)
            yield which, name, value if isinstance(value, tuple) else (value or 0,)


def _recalled(operator: Operator, numbers: Mapping[int, int]) -> Operator:
    """The operator with the subgraphs' new numbers."""
    moved: dict[str, dict[str, Any]] = {"options": dict(operator.options), "options2": dict(operator.options2)}
    for which, name, called in _calls(operator):
        new = tuple(numbers[number] for number in called)
        moved[which][name] = new if isinstance(moved[which].get(name), tuple) else new[0]
    return replace(operator, options=moved["options"], options2=moved["options2"])


def _called_graph(graph: Graph, numbers: Mapping[int, int], buffers: _Buffers) -> Graph:
    tensors = tuple(replace(tensor, buffer=buffers.old(tensor.buffer)) for tensor in graph.tensors)
    operators = tuple(replace(_recalled(o, numbers), debug_metadata_index=-1) for o in graph.operators)
    return replace(graph, tensors=tensors, operators=operators, debug_metadata_index=-1)


# Its arrays -----------------------------------------------------------------------------------------------------------


def _joined(site: _Site, index: int, arrays: Sequence[Array]) -> Array:
    """The tensor in every run; several along dim 0. InvalidInput if there is no dim 0 of 1 to hold them."""
    first = arrays[0]
    if len(arrays) == 1:
        return np.array(first)
    if any(array.shape != first.shape for array in arrays) or first.shape[:1] != (1,):
        name = site.graph.tensors[index].name
        raise InvalidInput(
            f"{site.place}: input '{name}' has shape {first.shape}, which has no dimension for several samples; choose "
            "one of them (sample=, --sample)"
        )
    return np.concatenate(arrays)


def _expected(
    site: _Site, one: Model, arrays: Mapping[str, Array], runs: Sequence[_Run], runtime: str
) -> dict[str, Array]:
    """What the operator gives alone, which is what it gave in the model; else UnsupportedModel."""
    try:
        outputs = _run_alone(one, arrays, runtime)
    except RefquantError as error:
        raise UnsupportedModel(f"{site.place}: does not run alone: {error}") from None
    for index, got in zip(site.operator.outputs, outputs, strict=True):
        if b"".join(r.outputs[index].tobytes() for r in runs) != got.tobytes():
            name = site.graph.tensors[index].name
            raise UnsupportedModel(
                f"{site.place}: alone it does not give what '{name}' is in the model: not its inputs alone decide"
            )
    return {one.graph.tensors[i].name: array for i, array in zip(one.graph.outputs, outputs, strict=True)}


def _run_alone(one: Model, arrays: Mapping[str, Array], runtime: str) -> list[Array]:
    """The outputs as `refquant.run` gives them, of an installed runtime, too."""
    if runtime not in REAL:
        return run(one, arrays, runtime)
    samples = _one_by_one(one, arrays)
    ran = run_real(runtime, one.to_bytes(), samples, preserve=False)
    single = len(samples) == 1 and all(
        array.shape == s.shape for array, s in zip(arrays.values(), samples[0], strict=True)
    )
    return [
        outputs[0] if single else np.concatenate(outputs) if outputs[0].shape[:1] == (1,) else np.stack(outputs)
        for outputs in zip(*ran.outputs, strict=True)
    ]
