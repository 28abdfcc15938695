"""What the converter's ranges owe to memory: which operators write into their own input, and what others read then.

TFLite lets an operator write its first output into the memory of an input that nobody else reads. The calibrator looks
at every operator's inputs once more after it ran, so such an input's range takes in the operator's output.
"Nobody else" is told by the number of readers of that input and of the tensor that owns the memory. A tensor in between
(the result of an earlier RESHAPE or ADD in the same memory) is not asked: whoever reads it later gets what was written
over it. That is a defect of TFLite, in the calibrator as in every run, and the converter's ranges show it.
Source: google-ai-edge/LiteRT, tflite/arena_planner.cc (IdentifyInPlaceTensors, InputTensorCanBeShared,
CalculateAllocations), tflite/core/subgraph.cc (PrepareOpsAndTensors: planned once, at the first sample, after the
operators before the first dynamic tensor are prepared), the kernels' `inplace_operator`, SetTensorToPersistentRo and
SetTensorToDynamic; tflite/tools/optimize/calibration/calibrator.cc (LoggingEval).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

from refquant.errors import UnsupportedModel
from refquant.model.graph import DTYPES, Graph, Model, Operator, Tensor
from refquant.model.validation import operator_place
from refquant.quantizer.observe import Observed

Sizes = Mapping[int, int]
"""{tensor: bytes}, of every tensor that an operator computes."""

# Inputs whose memory an operator may take for its first output (the kernels' inplace_operator).
CHANGED: Mapping[str, tuple[int, ...]] = {
    "ADD": (0, 1),
    "DIV": (0, 1),
    "DYNAMIC_UPDATE_SLICE": (0,),
    "MUL": (0, 1),
    "SOFTMAX": (0,),
    "SUB": (0, 1),
}
UNCHANGED: Mapping[str, tuple[int, ...]] = {
    "BITCAST": (0,),
    "EXPAND_DIMS": (0,),
    "RESHAPE": (0,),
    "SQUEEZE": (0,),
}
SMALLEST_SHARED = 5  # bytes: a tensor of four bytes or fewer is not shared by an operator that changes it

# Operators that compute their output while they are prepared, if all inputs are known then (SHAPE and RANK: always).
# The output then lies in memory of its own.
AT_PREPARE = (
    "BROADCAST_ARGS", "CONCATENATION", "GATHER", "MUL", "RANGE", "RANK", "RESHAPE", "SHAPE", "STRIDED_SLICE", "TILE",
)  # fmt: skip
ONLY_SHAPES_READ = ("RANK", "SHAPE")

# Inputs that an operator must know while it is prepared; else its output gets memory of its own while it runs. Without
# any: always. RESHAPE is a case of its own: before its shape is known, its output may still lie in its input's memory.
SHAPING: Mapping[str, tuple[int, ...]] = {
    "ARG_MAX": (1,),
    "ARG_MIN": (1,),
    "BATCH_TO_SPACE_ND": (1, 2),
    "BROADCAST_TO": (1,),
    "EXPAND_DIMS": (1,),
    "FILL": (0,),
    "MEAN": (1,),
    "MIRROR_PAD": (1,),
    "ONE_HOT": (1,),
    "PAD": (1,),
    "PADV2": (1,),
    "RANGE": (0, 1, 2),
    "REDUCE_ALL": (1,),
    "REDUCE_ANY": (1,),
    "REDUCE_MAX": (1,),
    "REDUCE_MIN": (1,),
    "REDUCE_PROD": (1,),
    "RESIZE_BILINEAR": (1,),
    "RESIZE_NEAREST_NEIGHBOR": (1,),
    "SCATTER_ND": (2,),
    "SLICE": (1, 2),
    "SPACE_TO_BATCH_ND": (1, 2),
    "SPARSE_TO_DENSE": (1,),
    "SPLIT": (0,),
    "SPLIT_V": (1, 2),
    "STRIDED_SLICE": (1, 2, 3),
    "SUM": (1,),
    "TILE": (1,),
    "TOPK_V2": (1,),
    "TRANSPOSE": (1,),
    "TRANSPOSE_CONV": (0,),
    "UNIQUE": (),
    "WHERE": (0,),
}
UNSHAPED_BY_INPUT = ("SLICE", "TOPK_V2")  # also if the file declares a dynamic dimension of the first input
SHAPED_BY_DECLARATION = ("SLICE",)  # never, if the file declares the output with dimensions that are not dynamic


@dataclass(frozen=True, slots=True)
class Placement:
    """Which computed tensors do not lie in the memory that operators share.

    persistent: known when the graph is prepared. dynamic: made while the operator runs. late: of a RESHAPE whose shape
    is not known before; made while it runs, if not shared. planned: how many operators are prepared when the memory is
    planned; of the others the planner knows what the file declares.
    """

    persistent: frozenset[int]
    dynamic: frozenset[int]
    late: frozenset[int]
    planned: int


def placement(model: Model) -> Placement:
    """Where TFLite puts the tensors of the main graph."""
    graph = model.graph
    fed = {*graph.inputs, *(t for operator in graph.operators for t in operator.outputs)}
    known = {-1} | {t for t in range(len(graph.tensors)) if t not in fed and not graph.tensors[t].is_variable}
    constants = frozenset(known)
    dynamic, late, stops = set[int](), set[int](), set[int]()
    for position, operator in enumerate(graph.operators):
        if operator.name == "RESHAPE" and len(operator.inputs) > 1 and operator.inputs[1] not in known:
            late.update(operator.outputs)
            stops.add(position + 1)
        elif _is_dynamic(graph, operator, known):
            dynamic.update(operator.outputs)
            stops.add(position + 1)
        elif operator.name in ONLY_SHAPES_READ or (operator.name in AT_PREPARE and known.issuperset(operator.inputs)):
            known.update(operator.outputs)
    planned = min(stops, default=len(graph.operators))
    return Placement(frozenset(known - constants), frozenset(dynamic), frozenset(late), planned)


def _is_dynamic(graph: Graph, operator: Operator, known: Set[int]) -> bool:
    """Whether the operator's outputs get memory of their own while it runs."""
    if operator.name not in SHAPING:
        return False
    slots = [slot for slot in SHAPING[operator.name] if slot < len(operator.inputs)]
    shaped = bool(slots) and all(operator.inputs[slot] in known for slot in slots)
    if operator.name in UNSHAPED_BY_INPUT:
        shaped = shaped and not _has_dynamic_dimension(graph.tensors[operator.inputs[0]])
    if operator.name in SHAPED_BY_DECLARATION:
        output = graph.tensors[operator.outputs[0]]
        shaped = shaped or (bool(output.shape) and not _has_dynamic_dimension(output))
    return not shaped


def _has_dynamic_dimension(tensor: Tensor) -> bool:
    return -1 in (tensor.shape_signature or ())


def owners(model: Model, sizes: Sizes) -> dict[int, int]:
    """{tensor: the tensor in whose memory it lies}, for the outputs that operators put into an input's memory.

    sizes: those of the first sample, for which the memory is planned.
    """
    where = placement(model)
    planned = still_shared(_planned(model.graph, where, sizes), sizes)
    apart = where.persistent | where.dynamic | (where.late - planned.keys())
    return {tensor: owner for tensor, owner in planned.items() if not apart & {tensor, owner}}


def still_shared(owner: Mapping[int, int], sizes: Sizes) -> dict[int, int]:
    """What is left of the sharing once there was a sample with these sizes: the tensors of one size."""
    return {tensor: other for tensor, other in owner.items() if sizes.get(tensor) == sizes.get(other)}


def _planned(graph: Graph, where: Placement, sizes: Sizes) -> dict[int, int]:
    """The plan for the first sample.

    An operator takes the first input that is computed in the shared memory and, if it changes it, has the size of the
    output (above 4 bytes) and is read once in the whole graph, as must be the tensor that owns the memory. Being an
    output of the graph counts as being read. The graph's outputs have memory of their own.
    """
    readers = Counter((*graph.inputs, *graph.outputs, *(t for operator in graph.operators for t in operator.inputs)))
    before, after = graph.operators[: where.planned], graph.operators[where.planned :]
    size = {t: sizes.get(t, 0) for operator in before for t in operator.outputs}
    size |= {t: _declared_size(graph.tensors[t]) for operator in after for t in operator.outputs}
    elsewhere = {*graph.inputs, *(t for t, tensor in enumerate(graph.tensors) if tensor.is_variable)}
    elsewhere |= {t for operator in before for t in operator.outputs} & (where.persistent | where.dynamic)
    owner: dict[int, int] = {}
    for operator in graph.operators:
        changes = operator.name in CHANGED
        slots = CHANGED.get(operator.name, UNCHANGED.get(operator.name, ()))
        output = operator.outputs[0] if operator.outputs else -1
        if not slots or output < 0 or output in graph.outputs:
            continue
        inputs = [operator.inputs[slot] for slot in slots if slot < len(operator.inputs)]
        free = [t for t in inputs if t in size and t not in elsewhere]
        if changes:
            free = [t for t in free if size[t] == size[output] and size[t] >= SMALLEST_SHARED and readers[t] == 1]
        taken = owner.get(free[0], free[0]) if free else -1
        if free and not (changes and readers[taken] > 1):
            owner[output] = taken
    return owner


def _declared_size(tensor: Tensor) -> int:
    return math.prod(tensor.shape) * DTYPES[tensor.type].itemsize if tensor.type in DTYPES else 0


@dataclass(frozen=True, slots=True)
class Overwrite:
    """Operator `operator` writes its output `output` over its input `tensor`."""

    operator: int
    tensor: int
    output: int


def overwrites(graph: Graph, owner: Mapping[int, int]) -> tuple[Overwrite, ...]:
    """The inputs that operators write their output over, in the order of the operators."""
    found = []
    for position, operator in enumerate(graph.operators):
        if operator.name in CHANGED and operator.outputs[0] in owner:
            output = operator.outputs[0]
            inputs = dict.fromkeys(t for t in operator.inputs if t >= 0 and owner.get(t, t) == owner[output])
            found += [Overwrite(position, tensor, output) for tensor in inputs]
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Misread:
    """Input `slot` of operator `operator` finds the values of the tensor `found` in its memory."""

    operator: int
    slot: int
    found: int


def misreads(graph: Graph, owner: Mapping[int, int]) -> tuple[Misread, ...]:
    """The inputs whose memory was written over before they are read, in the order of the operators."""
    owned = set(owner.values())
    written: dict[int, int] = {}  # owner -> the tensor whose values were written there last
    source: dict[int, int] = {}  # tensor -> the tensor whose values it has, where those are another's
    found = []
    for position, operator in enumerate(graph.operators):
        for slot, tensor in enumerate(operator.inputs):
            memory = owner.get(tensor, tensor)
            if memory in owned and written[memory] != source.get(tensor, tensor):
                found.append(Misread(position, slot, written[memory]))
        for tensor in operator.outputs:
            memory = owner.get(tensor, tensor)
            if operator.name in UNCHANGED and memory in {owner.get(t, t) for t in operator.inputs}:
                source[tensor] = written[memory]
            elif memory in owned:
                written[memory] = tensor
    return tuple(found)


@dataclass(frozen=True, slots=True)
class StandIn:
    """What operator `operator` reads instead of `tensor`: the added tensor `added`."""

    operator: int
    tensor: int
    added: int


def as_read(model: Model, found: Sequence[Misread]) -> tuple[Model, tuple[StandIn, ...]]:
    """(the model whose operators read what their inputs' memory holds, the tensors added for that).

    Before such an operator stand a SHAPE of the input and a RESHAPE of the tensor that was written over it.
    Errors: UnsupportedModel if the two have different types.
    """
    graph = model.graph
    tensors, operators = list(graph.tensors), list[Operator]()
    stand_ins = []

    def added(tensor: Tensor) -> int:
        tensors.append(tensor)
        return len(tensors) - 1

    for position, operator in enumerate(graph.operators):
        inputs = list(operator.inputs)
        for misread in (m for m in found if m.operator == position):
            index = inputs[misread.slot]
            tensor, other = tensors[index], tensors[misread.found]
            if tensor.type != other.type:
                place = operator_place(0, position, operator)
                raise UnsupportedModel(f"{place}: '{other.name}' is written over input {misread.slot}, of another type")
            shape = added(Tensor(f"{tensor.name} (shape)", "INT32", (len(tensor.shape),)))
            inputs[misread.slot] = added(replace(tensor, name=f"{tensor.name} (as read)"))
            stand_ins.append(StandIn(position, index, inputs[misread.slot]))
            options = {"out_type": "INT32"}
            operators.append(Operator("SHAPE", (index,), (shape,), options_type="ShapeOptions", options=options))
            operators.append(Operator("RESHAPE", (misread.found, shape), (inputs[misread.slot],)))
        operators.append(replace(operator, inputs=tuple(inputs)))
    return model.with_graph(replace(graph, tensors=tuple(tensors), operators=tuple(operators))), tuple(stand_ins)


@dataclass(frozen=True, slots=True)
class Memory:
    """What the shared memory of one run does to the ranges: a plain value."""

    overwrites: tuple[Overwrite, ...] = ()
    misreads: tuple[Misread, ...] = ()

    def apply(self, observed: Observed, stand_ins: Sequence[StandIn]) -> None:
        """An input's observation takes in what its operator read instead, and what it wrote over it."""
        read = [(s.operator, 0, s.tensor, s.added) for s in stand_ins]
        written = [(o.operator, 1, o.tensor, o.output) for o in self.overwrites]
        for _, _, tensor, other in sorted(read + written):
            observed.absorb(tensor, other)
        for stand_in in stand_ins:
            observed.forget(stand_in.added)


def memory(graph: Graph, owner: Mapping[int, int]) -> Memory:
    """What sharing memory does."""
    return Memory(overwrites(graph, owner), misreads(graph, owner))
