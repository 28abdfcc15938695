"""The runtime `exact` against rational numbers, and every described runtime against `exact`.

REFQUANT_MODELS_PER_OP: how many models a check has; 1 unless it is set.
"""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import rational
from cases import CASES
from crosscheck import kernel_key
from models import Case, T, one_op
from recurrent_graphs import Builder, one_svdf, recurrent_graph, svdf_in_a_row, variant
from refquant.errors import InvalidInput, RefquantError
from refquant.kernels.table import KERNELS
from refquant.model.graph import Model
from refquant.program import Value, execute, new_state, prepare, run
from refquant.quantizer import calibrate, quantize
from refquant.runtimes import RUNTIMES, runtime_named
from refquant.runtimes.exact import EXACT, INEXACT

MODELS = int(os.environ.get("REFQUANT_MODELS_PER_OP", "1"))  # of a check
MOST_PRODUCTS = 1500  # of a model that is computed in rational numbers
PART = 300  # elements of a larger input of one-input ops
FINITE = float(np.finfo(np.float32).max)
TYPES = {"INT8", "UINT8", "INT16", "FLOAT32", "INT16xINT8"}

# Checks that rational numbers cannot judge, and why.
NOT_RATIONAL: Mapping[str, str] = {
    "DIV float": "it divides by 0 of either sign",
    "GELU float": "of small values 1 + erf(x) has lost its digits",
    "GELU int16": "x (1 + erf(x)) / 2 of large values lies less than 2^-50 below a half-way point",
    "HARD_SWISH float": "x (x + 3) / 6 of the smallest values is a near tie of float32",
    "LOG float": "of what is below 0 there is no real result",
    "RSQRT float": "of what is below 0 there is no real result",
    "SQRT float": "of what is below 0 there is no real result",
    "SUB float": "it draws infinities",
}

TOO_LARGE = (
    "all pairs of codes",
    "deep",
    "long sums around half-way points",
    "thousands of equal values",
)  # words of other such checks

# What runtimes compute otherwise than in the reals: check -> (steps at most in these models; None: any number, why).
WRAPS = None, "accumulators wrap, or saturate"
OTHER_CODES = None, "the kernels compare or average codes, whatever their scales"
SYMMETRIC = None, "the kernels take these weights for symmetric, and the check gives them a zero point"
BY_KNOTS = "a table of 513 knots, between which the runtimes interpolate"
FARTHER: Mapping[str, tuple[int | None, str]] = {
    "ADD": WRAPS,
    "ADD, results beyond 16 bits": WRAPS,
    "ADD uint8, results beyond 16 bits": WRAPS,
    "ADD int16, scales of powers of two": (23, "both operands are rounded to one of the scales first"),
    "AVERAGE_POOL_2D uint8": OTHER_CODES,
    "CONV_2D int16, deep": WRAPS,
    "CONV_2D int16, int32 bias": WRAPS,
    "CONV_2D int16, int64 bias": WRAPS,
    "CONV_2D, accumulators that wrap": WRAPS,
    "CONV_2D, large multipliers": WRAPS,
    "DEPTHWISE_CONV_2D per tensor": SYMMETRIC,
    "DEPTHWISE_CONV_2D, around half-way points": SYMMETRIC,
    "DEPTHWISE_CONV_2D, filter and bias not constant": SYMMETRIC,
    "EXP int16": (None, BY_KNOTS),
    "FULLY_CONNECTED int16, int64 bias": SYMMETRIC,
    "FULLY_CONNECTED per channel": SYMMETRIC,
    "FULLY_CONNECTED, filter and bias not constant": WRAPS,
    "GELU int16": (None, BY_KNOTS),
    "LOG int16": (None, BY_KNOTS),
    "LOGISTIC int16": (6, BY_KNOTS),
    "MAXIMUM": OTHER_CODES,
    "MAXIMUM uint8": OTHER_CODES,
    "MINIMUM": OTHER_CODES,
    "MINIMUM uint8": OTHER_CODES,
    "MUL uint8, results beyond 16 bits": WRAPS,
    "REDUCE_PROD": (None, "every product is rounded to codes; where one element is reduced tflite_opt copies codes"),
    "REDUCE_PROD int16": (None, "every product is rounded to codes"),
    "RESIZE_BILINEAR": (2, "positions and weights are rounded to 1/1024 of a pixel"),
    "RSQRT int16": (None, BY_KNOTS),
    "SOFTMAX int16": (40, "tables of 513 knots for e^x and 1 / (1 + x)"),
    "SOFTMAX int8 to int16": (None, "the kernels do not read the output's scale"),
    "SOFTMAX int8 to int16, thousands of equal values": (None, "the kernels do not read the output's scale"),
    "SUB int16, scales of powers of two": (21, "both operands are rounded to one of the scales first"),
    "SUM": (None, "tflite_ref reads codes of int8 as uint8: see the errata"),
    "TANH int16": (40, "a table of 256 knots"),
    "TRANSPOSE_CONV int16, int32 bias, around half-way points": WRAPS,
    "TRANSPOSE_CONV int16, int64 bias": SYMMETRIC,
    "TRANSPOSE_CONV, output_shape, filter and bias not constant": SYMMETRIC,
    "RELU6, tflm": (None, "it clamps codes and does not rescale them"),
    "RELU6 int16, tflm": (None, "it clamps codes and does not rescale them"),
    "TANH, tflm": (None, "it does not read the output's scale and zero point"),
}


def draw(name: str, number: int) -> Case:
    return CASES[name](np.random.default_rng([zlib.crc32(name.encode()), 0, number]))


def in_reals(model: Model) -> bool:
    """Whether it is one operator that rational.py has, on float32 or on codes that have a scale."""
    graph = model.graph
    op, type = kernel_key(graph.operators[0], graph)
    codes = [t for t in graph.tensors if t.type in ("INT8", "UINT8", "INT16")]
    scaled = all(t.quantization and t.quantization.scale for t in codes)
    return len(graph.operators) == 1 and op in rational.OPERATORS and type in TYPES and scaled


def checks() -> list[str]:
    names = {name for name in CASES if in_reals(draw(name, 0).model)}
    return sorted(names - {"BATCH_MATMUL to int32"})  # which is a product of the codes themselves


CHECKS = checks()


def run_one(runtime: str, model: Model, arrays: list[np.ndarray]) -> np.ndarray:
    program = prepare(model, runtime_named(runtime))
    (output,) = execute(program, dict(zip(model.graph.inputs, map(Value, arrays), strict=True))).values()
    return output.array


def products(model: Model, output: Sequence[int]) -> int:
    """About how many numbers a rational run multiplies, or reads, for an output of that shape."""
    graph, (operator,) = model.graph, model.graph.operators
    sizes = [math.prod(graph.tensors[index].shape) for index in operator.inputs if index >= 0]
    if operator.name == "BATCH_MATMUL":
        return math.prod(output) * sizes[1]
    if operator.name in rational.BIAS:
        return math.prod(output) * sizes[1] // output[-1]
    return max([*sizes, math.prod(output)])


def of_a_part(case: Case) -> Case:
    """An elementwise op on int16 on some of its elements: its checks draw all 65,536 codes."""
    (operator,), tensors = case.model.graph.operators, case.model.graph.tensors
    size = math.prod(tensors[0].shape)
    many = size > PART and len(operator.inputs) == 1 and tensors[0].type == "INT16"
    if not many or operator.name in ("AVERAGE_POOL_2D", "SOFTMAX"):
        return case
    samples = [[array.ravel()[:: size // PART][:PART] for array in arrays] for arrays in case.samples]
    parts = tuple(replace(tensor, shape=(PART,)) for tensor in tensors)
    return Case(case.model.with_graph(replace(case.model.graph, tensors=parts)), samples)


@pytest.mark.parametrize("name", [name for name in CHECKS if name not in NOT_RATIONAL and not name.endswith(TOO_LARGE)])
def test_equal_to_rational_numbers(name: str) -> None:
    compared = number = 0
    while compared < MODELS and number < 40 * MODELS:
        case, number = of_a_part(draw(name, number)), number + 1
        if not in_reals(case.model):
            continue
        elements = 0
        constants = [case.model.constant(tensor) for tensor in case.model.graph.tensors if tensor.buffer]
        for arrays in case.samples:
            if not all(np.isfinite(array).all() for array in (*arrays, *constants)):
                continue
            try:
                got = run_one("exact", case.model, arrays)
            except InvalidInput:
                continue  # a root or a quotient that is no real
            if products(case.model, got.shape) > MOST_PRODUCTS:
                break
            want = np.array(rational.run(case.model, arrays, got.shape), np.float64).reshape(got.shape)
            want = np.clip(want, -FINITE, FINITE)  # MUL and DIV keep what overflows finite, as in the runtimes
            assert np.array_equal(np.clip(got.astype(np.float64), -FINITE, FINITE), want), f"model {number - 1}"
            elements += got.size
        compared += elements > 0
    assert compared


@pytest.mark.parametrize("runtime", [name for name, runtime in RUNTIMES.items() if runtime.oracle is not None])
def test_runtimes_stay_within_a_step(runtime: str) -> None:
    """One step, but for what FARTHER tells."""
    beyond, elements = {}, 0
    for name in CHECKS:
        limit, _ = FARTHER.get(f"{name}, {runtime}", FARTHER.get(name, (1, "")))
        if limit is None or name.endswith("float"):
            continue
        for number in range(MODELS):
            case = draw(name, number)
            for arrays in case.samples:
                try:
                    steps = run_one("exact", case.model, arrays).astype(np.float64) - run_one(
                        runtime, case.model, arrays
                    )
                except RefquantError:
                    continue  # which this runtime does not run
                if case.model.graph.tensors[-1].type in ("FLOAT32", "BOOL"):
                    continue
                elements += steps.size
                if steps.size and np.abs(steps).max() > limit:
                    beyond[name] = float(np.abs(steps).max())
    assert elements > 10_000
    assert beyond == {}


LSTMS = {
    "plain": (False, False, False, False),
    "layer norm": (True, False, False, False),
    "projection": (False, True, False, False),
    "peephole": (False, False, True, False),
    "coupled, all": (True, True, True, True),
}


def int8_model(build: Callable[[Builder], object], op: str) -> Model:
    """The quantized operator alone; its inputs and states are what its tensors are."""
    model = recurrent_graph(build, 1)
    rng = np.random.default_rng(0)
    shapes = [model.graph.tensors[index].shape for index in model.graph.inputs]
    samples = [[rng.normal(0, 0.5, shape).astype(np.float32) for shape in shapes] for _ in range(4)]
    quantized = quantize(model, calibrate(model, samples))
    graph = quantized.graph
    operator = next(operator for operator in graph.operators if operator.name == op)
    return quantized.with_graph(
        replace(graph, operators=(operator,), inputs=operator.inputs[:1], outputs=operator.outputs)
    )


def states_of(model: Model, slots: Sequence[int]) -> list[int]:
    return [model.graph.operators[0].inputs[slot] for slot in slots]


def real_state(model: Model, index: int, codes: np.ndarray) -> list[Fraction]:
    return rational.real_tensor(model.graph.tensors[index], codes.ravel().tolist()).data


@pytest.mark.parametrize("name", LSTMS)
def test_lstm_is_that_of_rational_numbers(name: str) -> None:
    check_remembering(int8_model(variant(LSTMS[name]), "UNIDIRECTIONAL_SEQUENCE_LSTM"), rational.lstm, (18, 19))


@pytest.mark.parametrize("build", [one_svdf, svdf_in_a_row])
def test_svdf_is_that_of_rational_numbers(build: Callable[[Builder], object]) -> None:
    check_remembering(int8_model(build, "SVDF"), rational.svdf, (4,))


def check_remembering(model: Model, twin: Callable[..., tuple[list[Any], ...]], slots: Sequence[int]) -> None:
    """Three runs, one after another; every one starts from the states that the last one left."""
    program, state, rng = prepare(model, runtime_named("exact")), new_state(model), np.random.default_rng(1)
    (index,) = model.graph.inputs
    seen: set[int] = set()
    for _ in range(3):
        codes = rng.integers(-128, 128, model.graph.tensors[index].shape).astype(np.int8)
        before = [real_state(model, slot, state.variables[slot]) for slot in states_of(model, slots)]
        (output,) = execute(program, {index: Value(codes)}, state=state).values()
        expected = twin(model, codes.ravel().tolist(), *before)
        found = [output.array, *(state.variables[slot] for slot in states_of(model, slots))]
        assert [array.ravel().tolist() for array in found] == list(expected)
        seen.update(output.array.ravel().tolist())
    assert len(seen) > 1


def test_half_way_points_become_even() -> None:
    x, y = T((6,), "INT8", 1.0), T((6,), "INT8", 2.0)
    codes = np.array([-5, -3, -1, 1, 3, 5], np.int8)
    assert run(one_op("QUANTIZE", [x], [y]), codes, "exact")[0].tolist() == [-2, -2, 0, 0, 2, 2]


def test_sums_of_codes_do_not_wrap() -> None:
    """2^16 products of -128 * -128 are 2^30; three of them leave int32."""
    depth = 3 << 16
    x, y = T((1, depth), "INT8", 1.0), T((1, 1), "INT8", 2.0**25)
    weights, bias = T(data=np.full((1, depth), -128, np.int8), scale=1.0), T(data=np.zeros(1, np.int32), scale=1.0)
    model = one_op("FULLY_CONNECTED", [x, weights, bias], [y], {"fused_activation_function": "NONE"})
    assert run(model, np.full((1, depth), -128, np.int8), "exact")[0].item() == 3 * 2**30 // 2**25


def test_what_is_no_real_is_refused() -> None:
    x, y = T((1,), "INT8", 1.0), T((1,), "INT8", 1.0)
    zero = T(data=np.zeros(1, np.int8), scale=1.0)
    model = one_op("DIV", [x, zero], [y], {"fused_activation_function": "NONE"})
    assert run(model, np.ones(1, np.int8), "exact")[0].item() == 127
    with pytest.raises(InvalidInput, match=r"operator 0 \(DIV\): the real result is not a number"):
        run(model, np.zeros(1, np.int8), "exact")


def test_inexact_names_kernels_that_are_those_of_the_reference() -> None:
    for op, types in INEXACT.items():
        for type in types:
            assert EXACT.kernels[op][type] is KERNELS[op][type]
    assert EXACT.kernels.keys() == KERNELS.keys()
    assert all(EXACT.kernels[op].keys() == KERNELS[op].keys() for op in KERNELS)
