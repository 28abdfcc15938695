"""What a graph becomes when it is prepared: steps, and the values that flow between them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from refquant.errors import RefquantError, UnsupportedModel, internal_error
from refquant.kernels.kernel import Kernel, Node, Shape
from refquant.model.graph import Array, Graph, Model
from refquant.model.validation import MAX_ELEMENTS


@dataclass(frozen=True, slots=True)
class Step:
    """One operator, prepared. `params` is None while shapes or parameter values are known only when it runs.

    `delegate`: the name of what runs it in the place of the runtime's own kernels, "" for nothing.
    """

    node: Node
    kernel: Kernel
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    params: Any
    delegate: str = ""

    @property
    def place(self) -> str:
        """How messages name the operator."""
        return self.node.place


@dataclass(frozen=True, slots=True)
class ControlStep:
    """One operator that runs other subgraphs or touches what lasts between runs, prepared; see control_flow.py."""

    place: str
    op: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    params: Any


@dataclass(frozen=True, slots=True)
class Program:
    """A prepared subgraph: `known` holds the constants and everything that follows from them and the shapes.

    stateful: whether a step runs other subgraphs, or leaves something for the next run; then samples run one by one.
    """

    model: Model
    steps: tuple[Step | ControlStep, ...]
    known: Mapping[int, Array]
    shapes: Mapping[int, Shape]  # of the tensors whose shape is known before a run
    last_use: Mapping[int, int]  # tensor -> the last step that reads it
    subgraph: int = 0
    stateful: bool = False

    @property
    def graph(self) -> Graph:
        """The subgraph that is prepared."""
        return self.model.graphs[self.subgraph]


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor while a model runs: shared by all samples, or one array per sample along a leading axis."""

    array: Array
    batched: bool = False

    @property
    def shape(self) -> Shape:
        """The shape that one sample sees."""
        return self.array.shape[1:] if self.batched else self.array.shape


def countable(shape: Shape, place: str) -> Shape:
    """The shape; UnsupportedModel if it has more elements than TFLite's int32 counts."""
    if math.prod(shape) > MAX_ELEMENTS:
        raise UnsupportedModel(f"{place}: an output of shape {shape} has more than {MAX_ELEMENTS:,} elements")
    return shape


@contextmanager
def told_with_its_place(place: str) -> Iterator[None]:
    """Every error as one line that names the operator, also memory that runs out and a fault of refquant itself."""
    try:
        yield
    except RefquantError as error:
        if str(error).startswith("subgraph "):
            raise
        raise type(error)(f"{place}: {error}") from None
    except MemoryError:
        raise UnsupportedModel(f"{place}: needs more memory than there is") from None
    except Exception as error:
        raise internal_error(place, error) from error
