"""Builds small models for tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from refquant.model import write_model
from refquant.model.graph import Graph, Model, Operator, Quantization, Tensor

TYPES = {
    "float16": "FLOAT16", "float32": "FLOAT32", "float64": "FLOAT64", "int8": "INT8", "int16": "INT16",
    "int32": "INT32", "int64": "INT64", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "bool": "BOOL",
}  # fmt: skip


@dataclass
class T:
    """A tensor to build: a graph input or output by its shape and type, a constant by its data, or a variable."""

    shape: tuple[int, ...] | None = None
    type: str = "INT8"
    scale: float | list[float] | None = None
    zero_point: int | list[int] = 0
    axis: int = 0
    data: np.ndarray | None = None
    name: str = field(default="")
    variable: bool = False

    def __post_init__(self) -> None:
        if self.data is not None:
            self.data = np.asarray(self.data, order="C")  # keeps a scalar a scalar
            self.shape, self.type = self.data.shape, TYPES[self.data.dtype.name]


def quantization(t: T) -> Quantization | None:
    if t.scale is None:
        return None
    scales = np.atleast_1d(np.asarray(t.scale, np.float32))
    zero_points = np.broadcast_to(np.asarray(t.zero_point, np.int64), scales.shape)
    return Quantization(tuple(map(float, scales)), tuple(map(int, zero_points)), t.axis)


def one_op(
    name: str,
    inputs: list[T | None],
    outputs: list[T],
    options: dict[str, Any] | None = None,
    version: int = 1,
    intermediates: list[T] | None = None,
) -> Model:
    """A model of one operator. Inputs without data become graph inputs, in order, unless they are variables.

    None is an absent operand. intermediates: tensors inside the operator, of which only the quantization is read.
    """
    buffers, tensors, graph_inputs, indices = [b""], [], [], []
    for position, t in enumerate([*inputs, *outputs, *(intermediates or [])]):
        if t is None:
            indices.append(-1)
            continue
        index = len(tensors)
        indices.append(index)
        buffer = 0
        if t.data is not None:
            buffer = len(buffers)
            buffers.append(t.data.astype(t.data.dtype.newbyteorder("<")).tobytes())
        elif position < len(inputs) and not t.variable:
            graph_inputs.append(index)
        tensors.append(
            Tensor(t.name or f"t{index}", t.type, tuple(t.shape), buffer, quantization(t), is_variable=t.variable)
        )
    first, last = len(inputs), len(inputs) + len(outputs)
    operator = Operator(
        name,
        tuple(indices[:first]),
        tuple(indices[first:last]),
        version,
        options=options or {},
        intermediates=tuple(indices[last:]),
    )
    graph = Graph(tuple(tensors), (operator,), tuple(graph_inputs), tuple(indices[first:last]), "main")
    return Model((graph,), tuple(buffers), description="one operator")


@dataclass
class Case:
    """A model and the samples to run it on, each a list of arrays in the order of the model's inputs."""

    model: Model
    samples: list[list[np.ndarray]]
    note: str = ""
    resolver: str = "BUILTIN_REF"
    _file: bytes = field(default=b"", init=False, repr=False)

    def file(self) -> bytes:
        """The model's bytes, written once for all runtimes."""
        self._file = self._file or write_model(self.model)
        return self._file


def extremes_and_random(
    rng: np.random.Generator, inputs: list[T | None], random_samples: int = 2
) -> list[list[np.ndarray]]:
    """All-minimum, all-maximum and random samples of the integer (or bool) graph inputs among `inputs`."""
    graph_inputs = [t for t in inputs if t is not None and t.data is None]
    samples: list[list[np.ndarray]] = []
    for kind in ("min", "max", *["random"] * random_samples):
        arrays = []
        for t in graph_inputs:
            if t.type == "BOOL":
                arrays.append(rng.integers(0, 2, t.shape).astype(bool))
                continue
            dtype = np.dtype(t.type.lower())
            info = np.iinfo(dtype)
            arrays.append(
                np.full(t.shape, info.min, dtype)
                if kind == "min"
                else np.full(t.shape, info.max, dtype)
                if kind == "max"
                else rng.integers(info.min, info.max, t.shape, dtype, endpoint=True)
            )
        samples.append(arrays)
    return samples


def case(
    rng: np.random.Generator,
    name: str,
    inputs: list[T | None],
    outputs: list[T],
    options: dict[str, Any] | None = None,
    samples: list[list[np.ndarray]] | None = None,
    version: int = 1,
) -> Case:
    """A one-operator case; the samples default to `extremes_and_random`."""
    model = one_op(name, inputs, outputs, options, version)
    return Case(model, extremes_and_random(rng, inputs) if samples is None else samples)
