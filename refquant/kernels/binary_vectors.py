"""ADD and MUL of codes by vectors: what fills one is rounded or narrowed in another way than in the reference kernels.

Between 32 and 8 bits the result has 16 in a vector, and the zero point is added to these without saturation.
Source: tflite/kernels/internal/optimized/integer_ops/add.h, mul.h, optimized_ops.h (AddElementwise, AddScalarBroadcast,
MulElementwise, MulSimpleBroadcast, BinaryBroadcastFiveFold); internal/reference/process_broadcast_shapes.h.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile, zip_longest

import numpy as np

from refquant.arithmetic.fixed_point import Int64, saturate
from refquant.arithmetic.fixed_point_int16 import INT16_MAX
from refquant.arithmetic.multiplier import Multiplier, behind_whole_vectors
from refquant.arithmetic.requantize import Requantizer
from refquant.kernels import binary, binary_int16
from refquant.kernels.elementwise import by_pairs, code_range, with_pairs
from refquant.kernels.kernel import Node, Shape
from refquant.model.graph import Array


@dataclass(frozen=True, slots=True)
class Vectors:
    """How many elements are taken at once, and how they are rounded there.

    `requantizer`: how ADD brings each input to the common scale; None: as elsewhere. `saturated`: results beyond 16
    bits saturate; else the higher bits are lost.
    """

    lanes: int
    requantizer: Requantizer | None = None
    saturated: bool = False


@dataclass(frozen=True, slots=True)
class VectorForms:
    """The vectors of each way through two tensors; None: as in the reference kernels.

    `alike`: inputs of one shape, in one run. `runs`: the runs of several elements that neither input repeats.
    `scalars`: the runs of one input that meet single elements of the other.
    """

    alike: Vectors
    runs: Vectors | None
    scalars: Vectors | None


@dataclass(frozen=True, slots=True)
class VectorSumParams:
    """ADD in vectors. `in_vector`: which elements of the output are, in its shape; `rest`: how the others are added."""

    in_vector: Array
    vector: binary.TwoScalesParams
    rest: binary.TwoScalesParams
    output_shapes: tuple[Shape]


@dataclass(frozen=True, slots=True)
class VectorProductParams:
    """MUL in vectors, whose results may leave 16 bits; `saturated` as in Vectors, the rest as in VectorSumParams."""

    in_vector: Array
    saturated: bool
    rest: binary.ProductParams
    output_shapes: tuple[Shape]


SumParams = VectorSumParams | binary_int16.SumParams


def add_params(node: Node) -> SumParams:
    """Decodes ADD on int8, uint8 or int16; the runtime's value "ADD.vectors" is {type: VectorForms}.

    Errors: InvalidModel, UnsupportedModel. Source: tflite/kernels/add.cc, Prepare, EvalAddQuantized.
    """
    type = node.outputs[0].type
    rest = binary_int16.add_params(node) if type == "INT16" else binary.add_params(node)
    if not isinstance(rest, binary.TwoScalesParams):
        return rest
    forms: Mapping[str, VectorForms] = node.arithmetic["ADD.vectors"]
    vectors, run = _run(forms[type], node.input(0).shape, node.input(1).shape)
    if vectors is None or run < vectors.lanes:
        return rest
    in_vector = _in_vector(vectors, run, rest.output_shapes[0])
    requantizer = vectors.requantizer or rest.input1.requantizer
    input1, input2 = (replace(i, requantizer=requantizer) for i in (rest.input1, rest.input2))
    vector = binary.TwoScalesParams(input1, input2, rest.output, rest.output_shapes)
    return VectorSumParams(in_vector, with_pairs(_sum_in_vectors, vector, type), rest, rest.output_shapes)


def _in_vector(vectors: Vectors, run: int, shape: Shape) -> Array:
    """Which elements of an output of that shape, in runs of so many, lie in whole vectors."""
    return np.tile(~behind_whole_vectors(run, vectors.lanes), math.prod(shape) // run).reshape(shape)


def mul_params(node: Node) -> VectorProductParams | binary.ProductParams:
    """Decodes MUL on int8 or uint8; the runtime's value "MUL.vectors" is {type: VectorForms}.

    Where no result leaves 16 bits, vectors give what the reference kernels do.
    Errors: InvalidModel, UnsupportedModel. Source: tflite/kernels/mul.cc, Prepare, EvalQuantized.
    """
    rest = binary.mul_params(node)
    if _largest_product(rest, node.outputs[0].type) < INT16_MAX - 256:
        return rest
    forms: Mapping[str, VectorForms] = node.arithmetic["MUL.vectors"]
    vectors, run = _run(forms[node.outputs[0].type], node.input(0).shape, node.input(1).shape)
    if vectors is None or run < vectors.lanes:
        return rest
    in_vector = _in_vector(vectors, run, rest.output_shapes[0])
    return VectorProductParams(in_vector, vectors.saturated, rest, rest.output_shapes)


def _largest_product(params: binary.ProductParams, type: str) -> float:
    """The largest magnitude of a product of two codes less their zero points, in steps of the output."""
    ends, record = np.array(code_range(type)), params.output.record
    assert isinstance(record, Multiplier)
    real = float(record.multiplier[0]) * 2.0 ** (int(record.shift[0]) - 31)
    return real * float(np.abs(ends - params.input1_zero_point).max() * np.abs(ends - params.input2_zero_point).max())


def mul(params: VectorProductParams | binary.ProductParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """As binary.mul, of 16 bits in vectors. arrays: two int8 or two uint8 arrays."""
    if not isinstance(params, VectorProductParams):
        return binary.mul(params, arrays)
    a, b = arrays
    assert a is not None
    assert b is not None
    rest, stage = params.rest, params.rest.output
    products = (a.astype(np.int64) - rest.input1_zero_point) * (b.astype(np.int64) - rest.input2_zero_point)
    codes = stage.requantizer.apply(products, stage.record)
    if params.saturated:
        codes = saturate(codes, 16)
    vector = np.clip(_of_16_bits(codes + stage.zero_point), stage.low, stage.high).astype(stage.dtype)
    return (np.where(params.in_vector, vector, binary.mul(rest, arrays)[0]),)


def _of_16_bits(x: Int64) -> Int64:
    """x without its higher bits."""
    return x.astype(np.int16).astype(np.int64)


def _run(forms: VectorForms, a: Shape, b: Shape) -> tuple[Vectors | None, int]:
    """(the form, the elements of one run) for inputs of these shapes.

    From the last axis on: those that are equal (run), those of size 1 in one input (repeated), equal ones again, those
    of size 1 in the other input, equal ones again. Other shapes have no vectors.
    """
    sizes = list(zip_longest(a[::-1], b[::-1], fillvalue=1))
    if all(map(_equal, sizes)):
        return forms.alike, math.prod(a)
    run = list(takewhile(_equal, sizes))
    rest = sizes[len(run) :]
    if rest[0][0] != 1:
        rest = [(y, x) for x, y in rest]
    repeated = list(takewhile(lambda pair: pair[0] == 1, rest))
    behind = rest[len(repeated) :]
    for condition in (_equal, lambda pair: pair[1] == 1, _equal):
        behind = behind[len(list(takewhile(condition, behind))) :]
    if behind:
        return None, 0
    elements = math.prod(x for x, _ in run)
    if elements > 1:
        return forms.runs, elements
    return forms.scalars, math.prod(y for _, y in repeated)


def _equal(pair: tuple[int, int]) -> bool:
    return pair[0] == pair[1]


def add(params: SumParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """As binary.add, the inputs in vectors brought to one scale in the vectors' way. arrays: two arrays of one type."""
    if not isinstance(params, VectorSumParams):
        return binary_int16.add(params, arrays)
    vector = by_pairs(_sum_in_vectors, params.vector, arrays)
    if params.in_vector.all():
        return vector
    return (np.where(params.in_vector, vector[0], binary.add(params.rest, arrays)[0]),)


def _sum_in_vectors(params: binary.TwoScalesParams, a: Array, b: Array) -> Array:
    stage = params.output
    sums = binary.scaled(params.input1, a) + binary.scaled(params.input2, b)
    codes = stage.requantizer.apply(sums, stage.record) + stage.zero_point
    codes = _of_16_bits(codes) if stage.dtype.itemsize == 1 else codes
    return np.clip(codes, stage.low, stage.high).astype(stage.dtype)
