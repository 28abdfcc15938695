"""A model while it is rewritten: what quantize has made of a quantization-aware model, on its way to the file."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from refquant.model.graph import Array, Model, Operator, Tensor
from refquant.quantizer.file_rules import one_version_per_op


@dataclass(slots=True)
class Draft:
    """The model while it is rewritten. `operators`: None where one was removed."""

    model: Model
    tensors: list[Tensor]
    operators: list[Operator | None]
    outputs: list[int]
    buffers: list[bytes]
    inputs: list[int] = field(default_factory=list)
    readers: dict[int, int] = field(default_factory=dict)
    producers: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, model: Model) -> Draft:
        """The draft of a model."""
        graph = model.graph
        draft = cls(model, list(graph.tensors), list(graph.operators), list(graph.outputs), list(model.buffers))
        draft.inputs = list(graph.inputs)
        draft.look()
        return draft

    def look(self) -> None:
        """Counts readers and finds producers anew."""
        self.readers, self.producers = {}, {}
        for position, operator in enumerate(self.operators):
            if operator is not None:
                for tensor in operator.inputs:
                    self.readers[tensor] = self.readers.get(tensor, 0) + 1
                self.producers.update(dict.fromkeys(operator.outputs, position))
        for tensor in self.outputs:
            self.readers[tensor] = self.readers.get(tensor, 0) + 1

    def producer(self, tensor: int) -> tuple[int, Operator] | None:
        """(position, operator) that computes the tensor."""
        position = self.producers.get(tensor)
        operator = None if position is None else self.operators[position]
        return None if position is None or operator is None else (position, operator)

    def constant(self, tensor: int) -> Array | None:
        """The tensor's data, if it is a constant."""
        record = self.tensors[tensor]
        data = self.buffers[record.buffer]
        return np.frombuffer(data, record.dtype.newbyteorder("<")).reshape(record.shape) if data else None

    def replace_tensor(self, old: int, new: int) -> None:
        """Lets all readers of one tensor read another."""
        for position, operator in enumerate(self.operators):
            if operator is not None and old in operator.inputs:
                inputs = tuple(new if tensor == old else tensor for tensor in operator.inputs)
                self.operators[position] = replace(operator, inputs=inputs)
        self.outputs = [new if tensor == old else tensor for tensor in self.outputs]


def finished(draft: Draft) -> Model:
    """Tensors and buffers that are left, in their order; operators, outputs and signatures point to them."""
    (operators,) = one_version_per_op([operator for operator in draft.operators if operator is not None])
    graph = draft.model.graph
    touched = {tensor for operator in operators for tensor in (*operator.inputs, *operator.outputs)}
    touched |= {*draft.inputs, *draft.outputs}
    kept = [tensor for tensor in range(len(draft.tensors)) if tensor in touched]
    index = {tensor: place for place, tensor in enumerate(kept)} | {-1: -1}
    used = [0, *sorted({draft.tensors[t].buffer for t in kept} | {m.buffer for m in draft.model.metadata})]
    buffers = {buffer: place for place, buffer in enumerate(dict.fromkeys(used))}
    inputs = dict(zip(graph.inputs, draft.inputs, strict=True))
    outputs = dict(zip(graph.outputs, draft.outputs, strict=True))
    new = replace(
        graph,
        tensors=tuple(replace(draft.tensors[t], buffer=buffers[draft.tensors[t].buffer]) for t in kept),
        operators=tuple(
            replace(o, inputs=tuple(index[t] for t in o.inputs), outputs=tuple(index[t] for t in o.outputs))
            for o in operators
        ),
        inputs=tuple(index[t] for t in draft.inputs),
        outputs=tuple(index[t] for t in draft.outputs),
    )
    signatures = tuple(
        replace(
            signature,
            inputs=tuple((name, index[inputs[t]]) for name, t in signature.inputs),
            outputs=tuple((name, index[outputs[t]]) for name, t in signature.outputs),
        )
        for signature in draft.model.signatures
    )
    metadata = tuple(replace(m, buffer=buffers[m.buffer]) for m in draft.model.metadata)
    return replace(
        draft.model,
        graphs=(new,),
        buffers=tuple(draft.buffers[buffer] for buffer in buffers),
        signatures=signatures,
        metadata=metadata,
    )
