"""What a kernel is: a `…_params` function that decodes and checks once, and a pure function that runs.

params = kernel.prepare(node)        # Node: the operator, its operands' types, shapes, scales, constant values
outputs = kernel.run(params, arrays)   # arrays: one per operand that is not a parameter (see `value_operands`)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from refquant.arithmetic.exact import Narrow
from refquant.errors import InvalidModel, UnsupportedModel
from refquant.model.graph import Array, Quantization

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Operand:
    """What a kernel may know of one tensor before it runs. `value` is set for constants and for `value_operands`.

    The `shape` of an output is the one that the file declares; `shape_signature` as in Tensor. `stored`: the value is
    in the file, or a delegate has unpacked it from there; it does not only follow from constants.
    """

    name: str
    type: str
    shape: Shape
    quantization: Quantization | None = None
    value: Array | None = None
    shape_signature: Shape | None = None
    is_variable: bool = False
    stored: bool = False


@dataclass(frozen=True, slots=True)
class Node:
    """One operator about to be prepared. `place` begins every error message: "subgraph 0, operator 3 (CONV_2D)"."""

    place: str
    op: str
    options: Mapping[str, Any]
    inputs: tuple[Operand | None, ...]  # None: an absent optional operand
    outputs: tuple[Operand, ...]
    arithmetic: Mapping[str, Any]  # the runtime's values: see runtimes/
    narrow: Narrow  # int32 accumulators: wrap as the runtime does, or raise
    version: int = 1
    intermediates: tuple[Operand, ...] = ()  # never computed: they hold the scales of values inside the operator

    def input(self, index: int) -> Operand:
        """The operand; InvalidModel if it is absent."""
        operand = self.inputs[index] if index < len(self.inputs) else None
        if operand is None:
            raise self.invalid(f"input {index} is missing")
        return operand

    def optional(self, index: int) -> Operand | None:
        """The operand, or None if it is absent."""
        return self.inputs[index] if index < len(self.inputs) else None

    def value(self, index: int) -> Array:
        """The value of a constant or a value operand."""
        value = self.input(index).value
        if value is None:
            raise self.unsupported(f"input {index} ('{self.input(index).name}') must be a constant")
        return value

    def invalid(self, text: str) -> InvalidModel:
        """An InvalidModel error that begins with this operator's place."""
        return InvalidModel(f"{self.place}: {text}")

    def unsupported(self, text: str) -> UnsupportedModel:
        """An UnsupportedModel error that begins with this operator's place."""
        return UnsupportedModel(f"{self.place}: {text}")

    def scale_and_zero_point(self, operand: Operand) -> tuple[float, int]:
        """The per-tensor parameters of an operand; InvalidModel if it has none or several."""
        q = operand.quantization
        if q is None or len(q.scale) != 1:
            raise self.invalid(f"tensor '{operand.name}' needs one scale and one zero point")
        return q.scale[0], q.zero_point[0] if q.zero_point else 0


class Params(Protocol):
    """A frozen record of everything decoded; the shapes of the outputs are always among it."""

    @property
    def output_shapes(self) -> tuple[Shape | None, ...]:
        """One shape per output; None where it depends on the data."""
        ...


class Batching(Enum):
    """How a kernel runs many samples at once, each batched array carrying an extra leading sample axis S."""

    ROWS = "rows"  # dim 0 of `row_operands` and of every output is independent rows: S folds into dim 0
    LEADING = "leading"  # S stays in front; the kernel works on trailing axes, or broadcasts (ranks aligned behind S)
    LOOP = "loop"  # one sample after another


@dataclass(frozen=True, slots=True)
class Kernel:
    """One op on one type.

    `value_operands`: inputs whose values are parameters (axes, paddings, a new shape). They are handed to `prepare` as
    Operand.value, constant or not, and `run` receives None in their places.
    `shape_operands`: inputs of which only the shape matters (SHAPE); `run` receives None in their places.
    `variable_operands`: inputs that are variable tensors, or a function of the params that tells them. `run` receives
    their present arrays at their places, writes into none of them, and returns the outputs followed by one array for
    each of them: its values from now on. Models with such kernels run sample by sample, so `batching` is not asked.
    `batching`: a value, or a function of the params where it depends on them.
    """

    prepare: Callable[[Node], Any]
    run: Callable[[Any, Sequence[Array | None]], tuple[Array, ...]]
    batching: Batching | Callable[[Any], Batching] = Batching.LOOP
    value_operands: tuple[int, ...] = ()
    shape_operands: tuple[int, ...] = ()
    row_operands: tuple[int, ...] | None = (0,)  # None: every input
    variable_operands: tuple[int, ...] | Callable[[Any], tuple[int, ...]] = ()


KernelTable = Mapping[str, Mapping[str, Kernel]]
"""op name -> type of the operand that decides, or of both (table.TYPE_OPERAND, WEIGHT_OPERAND) -> kernel."""
