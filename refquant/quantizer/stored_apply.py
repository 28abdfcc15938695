"""Apply: a decision about how constants are stored, and the float model -> the new model. Nothing is decided here.

The order of the new tensors is the converter's: it writes what stands in its text, and its rewriter takes constants to
the front each time it starts (see hoisting.py).
Source: google-ai-edge/LiteRT, tflite/converter/transforms/prepare_quantize_dynamic_range.cc, quantize.cc and
optimize_op_order.cc, tflite/converter/flatbuffer_export.cc; checked against TensorFlow 2.21.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from refquant.model.graph import Graph, Metadata, Model, Operator, Tensor
from refquant.quantizer.base_names import BaseNames, base_names, is_entry
from refquant.quantizer.file_rules import STALE_METADATA, Buffers, one_version_per_op
from refquant.quantizer.hoisting import CONSTANTS, Item, hoisted
from refquant.quantizer.loops import handed_in, shared_constants
from refquant.quantizer.names import JOINED, Names
from refquant.quantizer.parameters import Parameters
from refquant.quantizer.propagate import Use
from refquant.quantizer.stored import GraphPlan, Stored, StoredDecision, float_constant, stored_data, uses_of

REDUCED_PRECISION = ("reduced_precision_support", b"fp16accfp32")  # of a model with float16 constants
DEQUANTIZE_VERSIONS = {"INT8": 2, "FLOAT16": 3}
FUSED_WITH_WEIGHTS = ("EMBEDDING_LOOKUP", "TRANSPOSE_CONV")
UNNAMED = {"INT8": "tfl.pseudo_qconst", "FLOAT32": "tfl.dequantize"}  # what comes of a constant without a name

Key = tuple[str, int]  # ("tensor", the float model's), ("stored" or "dequantized", number of the new constant)


def apply(model: Model, decision: StoredDecision) -> Model:
    """The model that the decision describes. Nothing is decided here."""
    if decision.half:
        model = handed_in(model)
    buffers, names, bases = Buffers(), Names(), base_names(model)
    written = [
        _Writer(model, number, plan, bases[number], frozenset(shared_constants(model, number, bases))).write(
            buffers, names
        )
        for number, plan in enumerate(decision.plan)
    ]
    signatures = tuple(
        replace(
            signature,
            inputs=_renumbered(
                signature.inputs, model.graphs[signature.subgraph].inputs, written[signature.subgraph].inputs
            ),
            outputs=_renumbered(
                signature.outputs, model.graphs[signature.subgraph].outputs, written[signature.subgraph].outputs
            ),
        )
        for signature in model.signatures
    )
    metadata = [
        Metadata(entry.name, buffers.add(model.buffers[entry.buffer]))
        for entry in model.metadata
        if entry.name not in STALE_METADATA
    ]
    if decision.half:
        metadata.insert(0, Metadata(REDUCED_PRECISION[0], buffers.add(REDUCED_PRECISION[1])))
    versioned = one_version_per_op(*(graph.operators for graph in written))
    return replace(
        model,
        graphs=tuple(replace(graph, operators=operators) for graph, operators in zip(written, versioned, strict=True)),
        buffers=tuple(buffers.data),
        signatures=signatures,
        metadata=tuple(metadata),
        metadata_buffer=(),
    )


def _renumbered(
    named: tuple[tuple[str, int], ...], old: tuple[int, ...], new: tuple[int, ...]
) -> tuple[tuple[str, int], ...]:
    index = dict(zip(old, new, strict=True))
    return tuple((name, index[tensor]) for name, tensor in named)


class _Writer:
    """Writes one subgraph: tensors and operators in the order of the converter's text."""

    def __init__(self, model: Model, number: int, plan: GraphPlan, bases: BaseNames, captured: frozenset[int]) -> None:
        self.model, self.graph, self.plan, self.bases = model, model.graphs[number], plan, bases
        self.entry = is_entry(model, number)
        self.data = [_content(model, self.graph, stored) for stored in plan.stored]
        self.first = _first_of_equal(self.graph, plan, self.data)
        self.reads, self.integers = _reads(self.graph, plan, self.first)
        self.fused = self.names_of_two()
        self.captured = captured
        self.order: list[Key] = []
        self.absent_at = -1  # how many tensors stand before the absent operand
        self.operators: list[tuple[Operator, tuple[Key, ...], tuple[Key, ...]]] = []

    def write(self, buffers: Buffers, names: Names) -> Graph:
        """The new subgraph."""
        self.order = [("tensor", tensor) for tensor in self.graph.inputs]
        late = late_variables(self.graph)
        for item in self.text(late):
            self.put(item)
        for position, operator in enumerate(self.graph.operators):
            self.put_operator(position, operator, late)
        outputs = [self.source(Use(None, n), tensor) for n, tensor in enumerate(self.graph.outputs)]
        named = self.named(outputs, names)
        index = {key: place for place, key in enumerate(self.order)}
        return replace(
            self.graph,
            tensors=tuple(self.tensor(key, named[key], buffers) for key in self.order),
            operators=tuple(
                replace(
                    operator,
                    inputs=tuple(index.get(key, -1) for key in inputs),
                    outputs=tuple(index[key] for key in results),
                )
                for operator, inputs, results in self.operators
            ),
            inputs=tuple(index["tensor", tensor] for tensor in self.graph.inputs),
            outputs=tuple(index[key] for key in outputs),
        )

    # the order of tensors and operators

    def text(self, late: frozenset[int]) -> list[Item]:
        """Constants and what is made of them, in the order in which they end up."""
        computed = {*self.graph.inputs, *(tensor for operator in self.graph.operators for tensor in operator.outputs)}
        absent_at, before = (
            (-1, True) if self.bases.absent is None else (self.bases.absent.beside, self.bases.absent.before)
        )
        front: list[Item] = []
        block: list[Item] = []
        for tensor in range(len(self.graph.tensors)):
            if tensor in computed or tensor in late:
                continue
            if tensor in self.captured:
                front += self.made_of(tensor)
                continue
            absent: list[Item] = [("absent", -1)] if absent_at == tensor else []
            block += absent + self.made_of(tensor) if before else self.made_of(tensor) + absent
        block = front + hoisted(block, (*CONSTANTS, "half"))
        return [item for item in block if item[0] != "converted"]

    def made_of(self, tensor: int) -> list[Item]:
        """What stands in the place of a constant: it, if it is read as float still, and new ones behind it."""
        numbers = [n for n, stored in enumerate(self.plan.stored) if stored.tensor == tensor]
        is_read = any(key == ("tensor", tensor) for key in self.keys_of(tensor))
        items: list[Item] = [("constant" if is_read or not numbers else "converted", tensor)]
        for n in numbers:
            stored = self.plan.stored[n]
            if self.first[n] == n:
                items.append(("half" if stored.parameters.type == "FLOAT16" else "quantize", n))
            if stored.dequantized and not stored.carried:
                items.append(("dequantize", n))
        return items

    def keys_of(self, tensor: int) -> list[Key]:
        """What the readers of a float tensor read in the new subgraph."""
        return [self.source(use, tensor) for use in uses_of(self.graph).get(tensor, ())]

    def put(self, item: Item) -> None:
        """Writes what stands in the text before the first operator."""
        kind, number = item
        if kind == "absent":
            self.absent_at = len(self.order)
        elif kind == "constant":
            self.order.append(("tensor", number))
        elif kind == "dequantize":
            self.put_dequantize(number)
        else:
            self.order.append(("stored", number))

    def put_dequantize(self, number: int) -> None:
        """Writes the DEQUANTIZE of a new constant, or of what it became on the way."""
        stored = self.plan.stored[number]
        last = ("tensor", self.graph.operators[stored.carried[-1]].outputs[0]) if stored.carried else None
        operator = Operator("DEQUANTIZE", (), (), DEQUANTIZE_VERSIONS[stored.parameters.type])
        self.operators.append((operator, (last or ("stored", self.first[number]),), (("dequantized", number),)))
        self.order.append(("dequantized", number))

    def put_operator(self, position: int, old: Operator, late: frozenset[int]) -> None:
        """Writes an operator, with late variables before it and a DEQUANTIZE that moved behind it."""
        for tensor in dict.fromkeys(tensor for tensor in old.inputs if tensor in late):
            for item in self.made_of(tensor):
                if item[0] != "converted":
                    self.put(item)
        inputs = tuple(self.source(Use(position, slot), tensor) for slot, tensor in enumerate(old.inputs))
        results = tuple(("tensor", tensor) for tensor in old.outputs)
        self.operators.append((self.plan.operators.get(position, old), inputs, results))
        self.order += results
        for number, stored in enumerate(self.plan.stored):
            if stored.carried and stored.carried[-1] == position:
                self.put_dequantize(number)

    def source(self, use: Use, tensor: int) -> Key:
        """What an operand or output reads in the new subgraph."""
        return self.reads.get(use, ("tensor", tensor))

    # names and tensors

    def named(self, outputs: list[Key], names: Names) -> dict[Key, str]:
        """The interface keeps its names; the others claim theirs in order."""
        named: dict[Key, str] = {}
        if self.entry:
            keys = [*self.order[: len(self.graph.inputs)], *outputs]
            for key, tensor in zip(keys, (*self.graph.inputs, *self.graph.outputs), strict=True):
                if key not in named:
                    named[key] = names.set(self.graph.tensors[tensor].name)
        for place, key in enumerate(self.order):
            if place == self.absent_at and self.bases.absent is not None:
                names.claim(self.bases.absent.name)
            if key not in named:
                named[key] = names.claim(self.base(key))
        return named

    def names_of_two(self) -> dict[int, str]:
        """Results of operators that were made of the operator and its weights' DEQUANTIZE: both give the name."""
        fused = {}
        for stored in self.plan.stored:
            for use in () if stored.dequantized else stored.users:
                operator = self.graph.operators[use.operator or 0]
                result = operator.outputs[0]
                own, weights = self.bases.names.get(result, ""), self.bases.names.get(stored.tensor, JOINED)
                if operator.name in FUSED_WITH_WEIGHTS and weights not in (JOINED, own):
                    nameless = own == f"tfl.{operator.name.lower()}"
                    fused[result] = f"{'' if nameless else own};{weights}"
        return fused

    def base(self, key: Key) -> str:
        """The name without a number. Where only the interface names the float tensor, it is not known: that name."""
        kind, number = key
        tensor = number if kind == "tensor" else self.plan.stored[number].tensor
        base = self.bases.names.get(tensor, self.graph.tensors[tensor].name)
        if kind == "tensor":
            return self.fused.get(number, base)
        is_half = self.plan.stored[number].parameters.type == "FLOAT16"
        if kind == "stored" and is_half and list(self.first.values()).count(number) > 1:
            return JOINED
        type_ = self.plan.stored[number].parameters.type if kind == "stored" else "FLOAT32"
        return UNNAMED.get(type_, base) if base == JOINED else base

    def tensor(self, key: Key, name: str, buffers: Buffers) -> Tensor:
        """The new tensor."""
        kind, number = key
        if kind == "tensor":
            old = self.graph.tensors[number]
            parameters = self.integers.get(number)
            return replace(
                old,
                name=name,
                type=old.type if parameters is None else parameters.type,
                buffer=buffers.keep(self.model, old),
                quantization=None if parameters is None else parameters.quantization(),
            )
        stored = self.plan.stored[number]
        old, parameters = self.graph.tensors[stored.tensor], stored.parameters
        if kind == "dequantized":
            shaped = self.graph.tensors[self.graph.operators[stored.carried[-1]].outputs[0]] if stored.carried else old
            return replace(shaped, name=name, buffer=0, quantization=None)
        return replace(
            old,
            name=name,
            type=parameters.type,
            buffer=buffers.add(self.data[number]),
            quantization=parameters.quantization() if parameters.scale else None,
            is_variable=False,
        )


def _content(model: Model, graph: Graph, stored: Stored) -> bytes:
    values = float_constant(model, graph.tensors[stored.tensor])
    assert values is not None
    return stored_data(values, stored.parameters).tobytes()


def _first_of_equal(graph: Graph, plan: GraphPlan, data: list[bytes]) -> dict[int, int]:
    """Number of a new constant -> the first that is the same, which is the one that is written.

    Equal float16 constants become one, but for those of late variables; of one float constant the int8 ones of the same
    parameters are one.
    """
    first: dict[object, int] = {}
    late = late_variables(graph)
    found = {}
    for n, stored in enumerate(plan.stored):
        is_joined = stored.parameters.type == "FLOAT16" and stored.tensor not in late
        key = (graph.tensors[stored.tensor].shape, data[n]) if is_joined else (stored.tensor, stored.parameters)
        found[n] = first.setdefault(key, n)
    return found


def _reads(graph: Graph, plan: GraphPlan, first: Mapping[int, int]) -> tuple[dict[Use, Key], dict[int, Parameters]]:
    """(what operands and outputs read in place of the float tensor, results that became int8)."""
    reads: dict[Use, Key] = {}
    integers: dict[int, Parameters] = {}
    for number, stored in enumerate(plan.stored):
        as_it_is = not stored.dequantized or stored.carried
        read: Key = ("stored", first[number]) if as_it_is else ("dequantized", number)
        reads.update(dict.fromkeys(stored.users, read))
        for position in stored.carried:
            integers[graph.operators[position].outputs[0]] = stored.parameters
        if stored.carried:
            last = graph.operators[stored.carried[-1]].outputs[0]
            reads.update(dict.fromkeys(uses_of(graph).get(last, ()), ("dequantized", number)))
    return reads, integers


def late_variables(graph: Graph) -> frozenset[int]:
    """Variable tensors that were one constant with another until the end, when each got its own before its operator.

    Source: google-ai-edge/LiteRT, tflite/converter/transforms (split-merged-operands).
    """
    seen: set[tuple[int, ...]] = set()
    late: set[int] = set()
    for operator in graph.operators:
        for tensor in operator.inputs:
            if tensor >= 0 and graph.tensors[tensor].is_variable and tensor not in late:
                late.update({tensor} if graph.tensors[tensor].shape in seen else ())
                seen.add(graph.tensors[tensor].shape)
    return frozenset(late)
