"""Builds models of several subgraphs for tests: tensors by name, operators by the names of their tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from models import T, quantization
from refquant.model.graph import Graph, Model, Operator, Tensor

Op = tuple[str, Sequence[str], Sequence[str], Mapping[str, Any]]
"""(operator, names of its inputs, names of its outputs, options)."""

NO_ACTIVATION = {"fused_activation_function": "NONE"}


@dataclass
class Graphs:
    """Subgraphs, added one after another; `model()` gives the model of them all."""

    buffers: list[bytes] = field(default_factory=lambda: [b""])
    graphs: list[Graph] = field(default_factory=list)

    def add(self, tensors: Mapping[str, T], operators: Sequence[Op], inputs: Sequence[str], outputs: Sequence[str]):
        """Adds a subgraph. A tensor with data is a constant."""
        indices = {name: index for index, name in enumerate(tensors)}
        built = []
        for name, t in tensors.items():
            if t.data is not None:
                self.buffers.append(t.data.astype(t.data.dtype.newbyteorder("<")).tobytes())
            buffer = len(self.buffers) - 1 if t.data is not None else 0
            built.append(Tensor(name, t.type, tuple(t.shape), buffer, quantization(t), is_variable=t.variable))
        ops = tuple(
            Operator(op, tuple(indices[i] for i in given), tuple(indices[o] for o in results), options=dict(options))
            for op, given, results, options in operators
        )
        ends = (tuple(indices[name] for name in names) for names in (inputs, outputs))
        self.graphs.append(Graph(tuple(built), ops, *ends))
        return self

    def model(self, **fields: Any) -> Model:
        return Model(tuple(self.graphs), tuple(self.buffers), **fields)


def floats(*shape: int) -> T:
    return T(shape, "FLOAT32")


def constant(value: Any, dtype: type = np.float32) -> T:
    return T(data=np.array(value, dtype))


def binary(name: str, a: str, b: str, output: str) -> Op:
    return name, (a, b), (output,), NO_ACTIVATION


def concatenation(a: str, b: str, output: str) -> Op:
    return "CONCATENATION", (a, b), (output,), {"axis": 0, **NO_ACTIVATION}


def loop(
    values: Mapping[str, T],
    body: Sequence[Op],
    results: Sequence[str],
    inner: Mapping[str, T] | None = None,
) -> Model:
    """WHILE that runs `body` as often as the input `n` says; `results` are the body's names of the new values."""
    scalar = T((), "INT32")
    outputs = {f"{name}_out": T(t.shape, t.type) for name, t in values.items()}
    state = {"i": scalar, "n": scalar, **values}
    after = ("i_out", "n_out", *outputs)
    graphs = Graphs().add(
        {**state, "zero": constant(0, np.int32), "i_out": scalar, "n_out": scalar, **outputs},
        [("WHILE", ("zero", "n", *values), after, {"cond_subgraph_index": 1, "body_subgraph_index": 2})],
        ("n", *values),
        after[:1] + after[2:],
    )
    graphs.add({**state, "go": T((), "BOOL")}, [("LESS", ("i", "n"), ("go",), {})], tuple(state), ("go",))
    graphs.add(
        {**state, "one": constant(1, np.int32), "next": scalar, **(inner or {})},
        [binary("ADD", "i", "one", "next"), *body],
        tuple(state),
        ("next", "n", *results),
    )
    return graphs.model()
