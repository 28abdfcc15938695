"""Which operators the XNNPACK delegate takes, what it then refuses, and what it makes of several operators at once."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracle
import refquant
from cases import CASES, ONLY
from crosscheck import differing
from graphs import Graphs, Op, constant, floats
from models import Case, T, one_op
from oracle import Crashed, Rejected, litert
from refquant.arithmetic.fused_multiply_add import fused_multiply_add_float32
from refquant.errors import RefquantError, UnsupportedModel
from refquant.model import write_model
from refquant.model.graph import Model
from refquant.program import is_fused, prepare, run_all_tensors
from refquant.runtimes import runtime_named
from refquant.runtimes.tflite_opt import TFLITE_OPT

MODELS = 3  # of each check
XNNPACK = runtime_named("xnnpack")
FULLY_CONNECTED = {"fused_activation_function": "NONE", "weights_format": "DEFAULT"}
CONV_2D = {"padding": "VALID", "stride_h": 1, "stride_w": 1, "fused_activation_function": "NONE"}

needs_oracle = pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING)


def delegates(model: Model) -> list[str]:
    """What runs each operator: the delegate's name, or "" for the runtime's own kernels."""
    return [getattr(step, "delegate", "") for step in prepare(model, XNNPACK).steps]


def draw(name: str, number: int) -> Case:
    generate = CASES.get(name) or ONLY["xnnpack"][name]
    return generate(np.random.default_rng([zlib.crc32(name.encode()), 77, number]))


def takes_some(name: str) -> bool:
    assert XNNPACK.delegate is not None
    return any(operator.name in XNNPACK.delegate.takes for operator in draw(name, 0).model.graph.operators)


@needs_oracle
@pytest.mark.parametrize("name", list(filter(takes_some, {**CASES, **ONLY["xnnpack"]})))
def test_takes_what_the_real_one_takes(name: str) -> None:
    for number in range(MODELS):
        case = draw(name, number)
        try:
            taken = any(delegates(case.model))
        except RefquantError:
            continue
        try:
            real = litert.operators(write_model(case.model), "AUTO")
        except (Rejected, Crashed):
            continue
        assert ("DELEGATE" in real) == taken, f"model {number}"


# What the delegate takes and then cannot run --------------------------------------------------------------------------


def conv_2d(**changed: object) -> Model:
    operands = {
        "input": T((1, 2, 2, 1), "INT8", 0.5),
        "filter": T(data=np.ones((2, 1, 1, 1), np.int8), scale=[0.25, 0.5]),
        "bias": T(data=np.zeros(2, np.int32), scale=[0.125, 0.25]),
        "output": T((1, 2, 2, 2), "INT8", 0.5),
        **changed,
    }
    *inputs, output = operands.values()
    return one_op("CONV_2D", inputs, [output], CONV_2D, 3)


REFUSED = {
    "a bias of one scale": (conv_2d(bias=T(data=np.zeros(2, np.int32), scale=0.125)), "it has 1 scales, but filter"),
    "a multiplier of 256": (conv_2d(output=T((1, 2, 2, 2), "INT8", 2.0**-10)), "refuses multipliers of 256 and more"),
    "a multiplier above 255 of constants": (
        one_op(
            "BATCH_MATMUL",
            [T((2, 2), "INT8", 1.0), T(data=np.ones((2, 2), np.int8), scale=255.5)],
            [T((2, 2), "INT8", 1.0)],
            {"adj_x": False, "adj_y": False, "asymmetric_quantize_inputs": False},
            3,
        ),
        "multipliers above 255",
    ),
    "a filter with a zero point": (
        one_op(
            "DEPTHWISE_CONV_2D",
            [
                T((1, 2, 2, 1), "INT8", 0.5),
                T(data=np.ones((1, 1, 1, 1), np.int8), scale=0.5, zero_point=1, axis=3),
                T(data=np.zeros(1, np.int32), scale=0.25),
            ],
            [T((1, 2, 2, 1), "INT8", 0.5)],
            {**CONV_2D, "depth_multiplier": 1},
            3,
        ),
        "it has a zero point that is not 0",
    ),
    "rows that are not whole": (
        one_op(
            "FULLY_CONNECTED",
            [T((2, 3), "FLOAT32"), T(data=np.ones((1, 4), np.float32))],
            [T((1, 1), "FLOAT32")],
            FULLY_CONNECTED,
        ),
        "no whole number of rows of 4",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refusals_tell_why(what: str) -> None:
    model, why = REFUSED[what]
    with pytest.raises(UnsupportedModel, match=why) as error:
        prepare(model, XNNPACK)
    assert str(error.value).startswith("subgraph 0, operator 0")


@needs_oracle
@pytest.mark.parametrize("what", REFUSED)
def test_the_real_one_refuses_the_same(what: str) -> None:
    model = REFUSED[what][0]
    inputs = [model.graph.tensors[index] for index in model.graph.inputs]
    with pytest.raises((Rejected, Crashed)):
        litert.run(write_model(model), [[np.zeros(tensor.shape, tensor.dtype) for tensor in inputs]], "AUTO")


def test_what_is_inexact_with_the_delegate_or_without_it() -> None:
    assert XNNPACK.inexact["SQRT"] == XNNPACK.delegate.inexact["SQRT"]
    assert XNNPACK.inexact["CONV_2D"]["FLOAT32"].startswith("where the delegate leaves the operator")
    assert XNNPACK.inexact["CONV_3D"] == TFLITE_OPT.inexact["CONV_3D"]  # which it never takes
    for delegated, told in ((True, None), (False, TFLITE_OPT.inexact["CONV_2D"]["FLOAT32"])):
        why = XNNPACK.why_inexact("CONV_2D", "FLOAT32", delegated)
        assert why == told if told is None else why.endswith(told)


# What counts as a constant --------------------------------------------------------------------------------------------


def on_constants(op: str, constant: T, *operands: T) -> Model:
    """FULLY_CONNECTED of float32 whose filter is computed from constants by `op`."""
    tensors = {
        "x": floats(2, 4),
        "constant": constant,
        **{f"operand{i}": operand for i, operand in enumerate(operands)},
        "filter": floats(3, 4),
        "y": floats(2, 3),
    }
    given_ = ("constant", *(f"operand{i}" for i in range(len(operands))))
    operators = [(op, given_, ("filter",), {}), ("FULLY_CONNECTED", ("x", "filter"), ("y",), FULLY_CONNECTED)]
    return Graphs().add(tensors, operators, ("x",), ("y",)).model()


CODES = np.arange(12).reshape(3, 4)
ON_CONSTANTS = {
    "ABS": (on_constants("ABS", T(data=CODES.astype(np.float32))), False),
    "RESHAPE": (
        on_constants("RESHAPE", T(data=CODES.T.astype(np.float32)), T(data=np.array([3, 4], np.int32))),
        False,
    ),
    "DEQUANTIZE uint8": (on_constants("DEQUANTIZE", T(data=CODES.astype(np.uint8), scale=0.5)), False),
    "DEQUANTIZE int8": (on_constants("DEQUANTIZE", T(data=CODES.astype(np.int8), scale=0.5)), True),
    "DEQUANTIZE float16": (on_constants("DEQUANTIZE", T(data=CODES.astype(np.float16))), True),
}


@pytest.mark.parametrize("name", ON_CONSTANTS)
def test_only_dequantized_constants_are_constants_to_it(name: str) -> None:
    model, taken = ON_CONSTANTS[name]
    assert bool(delegates(model)[-1]) == taken


@needs_oracle
@pytest.mark.parametrize("name", ON_CONSTANTS)
def test_constants_as_in_the_real_one(name: str) -> None:
    model, taken = ON_CONSTANTS[name]
    operators = litert.operators(write_model(model), "AUTO", False)
    x = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)
    assert operators.count("DELEGATE") == 1  # of one operator, or of both
    output = model.graph.outputs[0]
    want = litert.run(write_model(model), [[x]], "AUTO")[0][output]
    if taken:
        assert not differing(refquant.run(model, x, runtime="xnnpack")[0], want).any()


# Shapes that have kernels of their own --------------------------------------------------------------------------------


def same_as_the_real_one(model: Model, x: np.ndarray) -> None:
    want = litert.run(write_model(model), [[x]], "AUTO")[0][model.graph.outputs[0]]
    assert not differing(refquant.run(model, x, runtime="xnnpack")[0], want).any()


@needs_oracle
@pytest.mark.parametrize("channels", [1, 2])
def test_one_tap_from_one_channel_to_one_quantizes_images(channels: int) -> None:
    """Any other filter of one tap quantizes pixel by pixel."""
    rng = np.random.default_rng(0)
    filter_ = T(data=rng.integers(-127, 128, (channels, 1, 1, 1)).astype(np.int8), scale=0.01)
    operands = [T((1, 4, 4, 1), "FLOAT32"), filter_, T(data=np.zeros(channels, np.float32))]
    model = one_op("CONV_2D", operands, [T((1, 4, 4, channels), "FLOAT32")], CONV_2D, 5)
    same_as_the_real_one(model, rng.standard_normal((1, 4, 4, 1)).astype(np.float32))


@needs_oracle
@pytest.mark.parametrize("size", [5, 6])
def test_products_of_25_taps_are_added_column_by_column(size: int) -> None:
    """Those of more row by row."""
    rng = np.random.default_rng(0)
    filter_ = T(data=rng.standard_normal((1, size, size, 8)).astype(np.float32))
    operands = [T((1, 9, 9, 8), "FLOAT32"), filter_, T(data=np.zeros(8, np.float32))]
    output = T((1, 10 - size, 10 - size, 8), "FLOAT32")
    model = one_op("DEPTHWISE_CONV_2D", operands, [output], {**CONV_2D, "depth_multiplier": 1}, 3)
    same_as_the_real_one(model, rng.standard_normal((1, 9, 9, 8)).astype(np.float32))


# Several operators at once --------------------------------------------------------------------------------------------


def alone_and_together(model: Model, sample: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(the real output if every tensor is kept, if the outputs are), each of which is what is described."""
    output = model.graph.outputs[0]
    alone, together = (
        litert.run(write_model(model), [sample], "AUTO", preserve)[0][output] for preserve in (True, False)
    )
    described = run_all_tensors(model, sample, runtime="xnnpack")[output]
    assert not differing(described, alone).any()
    assert not differing(refquant.run(model, sample, runtime="xnnpack")[0], together).any()
    return alone, together


def squares(
    op: str = "SUM",
    shape: tuple[int, ...] = (64, 100),
    axes: tuple[int, ...] = (1,),
    square: Op = ("SQUARE", ("x",), ("squares",), {}),
    then: Sequence[Op] = (),
    outputs: tuple[str, ...] = ("y",),
    **tensors: T,
) -> Model:
    """`op` of squares; `then`: operators behind it."""
    kept = [size for axis, size in enumerate(shape) if axis not in axes]
    known = {"x": floats(*shape), "squares": floats(*shape), "axes": constant(axes, np.int32), "y": floats(*kept)}
    reduction = (op, ("squares", "axes"), ("y",), {"keep_dims": False})
    return Graphs().add({**known, **tensors}, [square, reduction, *then], ("x",), outputs).model()


def times(other: str, activation: str = "NONE") -> Op:
    return "MUL", ("x", other), ("squares",), {"fused_activation_function": activation}


def product(
    zero_point: int = 0,
    before: Sequence[Op] = (),
    between: Sequence[Op] = (),
    then: Sequence[Op] = (),
    inputs: tuple[str, ...] = ("a", "b"),
    outputs: tuple[str, ...] = ("y",),
    reals: str = "reals",
    options: Mapping[str, Any] | None = None,
    **tensors: T,
) -> Model:
    """BATCH_MATMUL of float32 by int8 codes that are dequantized before; with operators before, between and behind."""
    known = {
        "a": floats(4, 16),
        "b": T((16, 8), "INT8", 0.02, zero_point),
        "reals": floats(16, 8),
        "y": floats(4, 8),
    }
    dequantize, matmul = ("DEQUANTIZE", ("b",), ("reals",), {}), ("BATCH_MATMUL", ("a", reals), ("y",), options or {})
    operators = [dequantize, *before, *between, matmul, *then]
    return Graphs().add({**known, **tensors}, operators, inputs, outputs).model()


def behind_constants(before: str) -> Model:
    """BATCH_MATMUL of what SIGN gives, which the delegate leaves, by dequantized codes; before that a constant is
    dequantized: for SIGN, then this is left, too; or for NEG."""
    tensors = {
        "codes": T(data=np.ones((4, 16), np.int8), scale=0.5),
        "constant": floats(4, 16),
        "c": floats(4, 16),
        "x": floats(4, 16),
        "a": floats(4, 16),
        "b": T((16, 8), "INT8", 0.02),
        "reals": floats(16, 8),
        "y": floats(4, 8),
    }
    operators: list[Op] = [
        ("DEQUANTIZE", ("codes",), ("constant",), {}),
        (before, ("constant",), ("c",), {}),
        ("SIGN", ("x",), ("a",), {}),
        ("DEQUANTIZE", ("b",), ("reals",), {}),
        ("BATCH_MATMUL", ("a", "reals"), ("y",), {}),
    ]
    return Graphs().add(tensors, operators, ("x", "b"), ("y", "c")).model()


MOVED = {"turned": floats(8, 16), "axes": constant([1, 0], np.int32)}
TURN = ("TRANSPOSE", ("reals", "axes"), ("turned",), {})
SIGN = ("SIGN", ("x",), ("a",), {})

# name -> (the model, whether its operators are computed as one)
TOGETHER: dict[str, tuple[Model, bool]] = {
    "squares that are summed": (squares(), True),
    "squares that are averaged": (squares("MEAN"), True),
    "a tensor times itself": (squares(square=times("x")), True),
    "a tensor times itself, with an activation": (squares(square=times("x", "RELU")), False),
    "a tensor times its copy": (squares(square=times("copy"), copy=constant(np.ones((64, 100)))), False),
    "the largest square": (squares("REDUCE_MAX"), False),
    "squares that are an output, too": (squares(outputs=("y", "squares")), True),
    "squares that are read twice": (
        squares(then=[("SIGN", ("squares",), ("z",), {})], outputs=("y", "z"), z=floats(64, 100)),
        True,
    ),
    "dequantized codes": (product(), True),
    "a zero point": (product(3), False),
    "codes that are turned": (product(between=[TURN], reals="turned", options={"adj_y": True}, **MOVED), True),
    "dequantized codes that are an output, too": (product(outputs=("y", "reals")), False),
    "dequantized codes that are read twice": (
        product(then=[("NEG", ("reals",), ("z",), {})], outputs=("y", "z"), z=floats(16, 8)),
        False,
    ),
    "constants left to the kernels": (behind_constants("SIGN"), True),
    "constants that the delegate unpacks": (behind_constants("NEG"), False),
    "another partition": (product(before=[SIGN], inputs=("x", "b"), x=floats(4, 16)), False),
}


def sample_of(model: Model) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = [(model.graph.tensors[index].type, model.graph.tensors[index].shape) for index in model.graph.inputs]
    return [
        rng.standard_normal(shape).astype(np.float32) if type == "FLOAT32" else rng.integers(-128, 128, shape, np.int8)
        for type, shape in shapes
    ]


@pytest.mark.parametrize("name", TOGETHER)
def test_what_is_computed_as_one(name: str) -> None:
    model, together = TOGETHER[name]
    assert is_fused(prepare(model, XNNPACK, preserved=False)) == together
    assert not is_fused(prepare(model, XNNPACK))
    assert not is_fused(prepare(model, runtime_named("tflite_opt"), preserved=False))


@needs_oracle
@pytest.mark.parametrize("name", TOGETHER)
def test_results_of_what_is_computed_as_one(name: str) -> None:
    model, together = TOGETHER[name]
    alone, both = alone_and_together(model, sample_of(model))
    assert differing(alone, both).any() == together
    assert np.allclose(alone, both, rtol=1e-5, atol=1e-5)


@needs_oracle
@pytest.mark.parametrize("op", ["SUM", "MEAN"])
def test_squares_in_every_order(op: str) -> None:
    """Sums along whatever axes, of every number of elements around those of a vector, of 4, and of 7 rows."""
    rng = np.random.default_rng(0)
    for number in range(16):
        shape = tuple(int(size) for size in rng.choice([1, 3, 7, 8, 16, 33, 65, 130], rng.integers(1, 4)))
        axes = tuple(sorted({int(axis) for axis in rng.integers(0, len(shape), 2)}))
        model = squares(op, shape, axes)
        x = np.random.default_rng(number).standard_normal(shape).astype(np.float32)
        alone_and_together(model, [x * np.float32(2.0 ** rng.choice([0, -60, 63]))])


@needs_oracle
def test_products_of_codes_of_every_rank() -> None:
    rng = np.random.default_rng(0)
    for leading, of_codes, adj_x, adj_y in [
        ((2, 3), (), False, False),
        ((2, 3), (2, 3), False, True),
        ((2, 3), (1, 3), True, False),
        ((), (3,), False, False),
        ((5,), (1,), True, True),
    ]:
        a, b, n = (*leading, 4, 33), (*of_codes, 33, 17), np.broadcast_shapes(leading, of_codes)
        a, b = (*a[:-2], 33, 4) if adj_x else a, (*b[:-2], 17, 33) if adj_y else b
        tensors = {
            "a": floats(*a),
            "b": T(b, "INT8", float(np.float32(rng.uniform(0.01, 0.2)))),
            "reals": floats(*b),
            "y": floats(*n, 4, 17),
        }
        options = {"adj_x": adj_x, "adj_y": adj_y}
        operators = [("DEQUANTIZE", ("b",), ("reals",), {}), ("BATCH_MATMUL", ("a", "reals"), ("y",), options)]
        model = Graphs().add(tensors, operators, ("a", "b"), ("y",)).model()
        alone, together = alone_and_together(model, sample_of(model))
        assert differing(alone, together).any()


def test_interpreter_computes_as_one_unless_it_keeps_every_tensor() -> None:
    model, _ = TOGETHER["squares that are summed"]
    (x,) = sample_of(model)
    outputs = []
    for preserve in (False, True):
        interpreter = refquant.Interpreter(
            model_content=write_model(model), runtime="xnnpack", experimental_preserve_all_tensors=preserve
        )
        interpreter.allocate_tensors()
        interpreter.set_tensor(model.graph.inputs[0], x)
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(model.graph.outputs[0]))
    kept = run_all_tensors(model, x, runtime="xnnpack")[model.graph.outputs[0]]
    assert not differing(outputs[0], refquant.run(model, x, runtime="xnnpack")[0]).any()
    assert not differing(outputs[1], kept).any()
    assert differing(*outputs).any()


@pytest.mark.parametrize("name", ["squares that are averaged", "dequantized codes"])
def test_samples_at_once_are_computed_as_one_too(name: str) -> None:
    model, _ = TOGETHER[name]
    one = [array[np.newaxis] for array in sample_of(model)]
    tensors = tuple(
        replace(t, shape=(1, *t.shape), shape_signature=None) if not t.buffer else t for t in model.graph.tensors
    )
    operators = model.graph.operators
    buffers = [np.int32(2).tobytes() if b == np.int32(1).tobytes() else b for b in model.buffers]
    batch = replace(model, graphs=(replace(model.graph, tensors=tensors, operators=operators),), buffers=tuple(buffers))
    many = [np.concatenate([array, array[..., ::-1, :], -array]) for array in one]
    singles = [refquant.run(batch, [array[i : i + 1] for array in many], runtime="xnnpack")[0] for i in range(3)]
    assert is_fused(prepare(batch, XNNPACK, preserved=False))
    assert not differing(refquant.run(batch, many, runtime="xnnpack")[0], np.concatenate(singles)).any()


@needs_oracle
@pytest.mark.parametrize("name", ["squares that are summed", "dequantized codes", "another partition"])
def test_compare_tells_what_is_computed_as_one(name: str) -> None:
    """End to end as the model is used; layer by layer while every tensor is kept."""
    model, together = TOGETHER[name]
    sample = sample_of(model)
    comparison = refquant.compare_runs(model, sample, ["litert:default", "xnnpack"])
    (other,) = comparison.others
    assert other.outputs is not None
    assert other.outputs.differing == 0
    assert all(run.drift is not None and not run.drift.differing for row in comparison.operators for run in row.runs)
    assert (other.preserving is not None and other.preserving.differing > 0) == together
    (back,) = refquant.compare_runs(model, sample, ["xnnpack", "litert:default"]).others
    assert back.outputs is not None
    assert back.preserving is not None
    assert back.outputs.differing == 0
    assert (back.preserving.differing > 0) == together


@needs_oracle
@pytest.mark.parametrize("activation", ["NONE", "RELU", "RELU6", "RELU_N1_TO_1"])
@pytest.mark.parametrize("type", ["INT8", "UINT8"])
def test_a_tensor_times_itself(type: str, activation: str) -> None:
    """Is a square, which has a table; the product of two equal tensors is another one."""
    rng, offset = np.random.default_rng(0), 128 if type == "UINT8" else 0
    codes = np.arange(-128, 128) + offset
    for _ in range(10):
        scales, zero_points = rng.uniform(0.01, 0.2, 2), rng.integers(-128, 128, 2) + offset
        x, y = (T((256,), type, float(np.float32(s)), int(z)) for s, z in zip(scales, zero_points, strict=True))
        options = {"fused_activation_function": activation}
        model = Graphs().add({"x": x, "y": y}, [("MUL", ("x", "x"), ("y",), options)], ("x",), ("y",)).model()
        alone_and_together(model, [codes.astype(type.lower())])


# The fused multiply-add -----------------------------------------------------------------------------------------------

LEAST, GREATEST = 2.0**-126, float(np.finfo(np.float32).max)
normal = st.floats(width=32, allow_nan=False, allow_infinity=False).filter(lambda x: x == 0 or abs(x) >= LEAST)
few_bits = st.builds(lambda m, e: float(np.float32(m * 2.0**e)), st.integers(-64, 64), st.integers(-40, 20))


@given(normal | few_bits, normal | few_bits, normal | few_bits)
def test_fused_multiply_add_rounds_once(a: float, b: float, c: float) -> None:
    got = float(fused_multiply_add_float32(np.float32(a), np.float32(b), np.float32(c)))
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if abs(exact) >= Fraction(GREATEST):
        return
    if abs(exact) < Fraction(LEAST) * (1 - Fraction(1, 2**25)):
        assert got == 0
        return
    unit = Fraction(2) ** (math.frexp(float(abs(exact)))[1] - 24)
    steps = exact / unit
    assert abs(Fraction(got) / unit - steps) <= Fraction(1, 2)
    if abs(steps - round(steps)) == Fraction(1, 2):
        assert Fraction(got) / unit == round(steps)  # round() takes half-way values to even
