"""What the elementwise ops refuse: with LiteRT, or where LiteRT crashes or is undefined; and two of its oddities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import oracle
import refquant
from models import T, one_op
from oracle import Crashed, Rejected, litert
from refquant.errors import InvalidInput, RefquantError, UnsupportedModel
from refquant.model import read_model, write_model
from refquant.model.graph import Model
from refquant.program import Value, execute, prepare
from refquant.runtimes import runtime_named

Entry = tuple[str, list[T | None], list[T], dict[str, Any]]


def q(scale: float = 0.5, zero_point: int = 0, type: str = "INT8", shape: tuple[int, ...] = (2, 3)) -> T:
    return T(shape, type, scale=scale, zero_point=zero_point)


def values(*numbers: float, type: str = "INT32") -> np.ndarray:
    return np.array(numbers, type.lower())


X, U8, I16, F32, BOOL = q(), q(type="UINT8"), q(type="INT16"), T((2, 3), "FLOAT32"), T((2, 3), "BOOL")
PER_CHANNEL = T((2, 3), "INT8", [0.1, 0.2, 0.3], [0, 0, 0], 1)

# Name -> operator, inputs, outputs, options. LiteRT and refquant refuse each.
REFUSED: dict[str, Entry] = {
    "add: types": ("ADD", [X, U8], [X], {}),
    "add: shapes": ("ADD", [X, q(shape=(2,))], [X], {}),
    "add: three inputs": ("ADD", [X, X, X], [X], {}),
    "add: a bound beyond int32": ("ADD", [q(1e-9), q(1e-9)], [q(1e-9)], {"fused_activation_function": "RELU6"}),
    "mul: output type": ("MUL", [X, X], [U8], {}),
    "mul: shapes, plain": ("MUL", [T((2, 3), "INT64"), T((4,), "INT64")], [T((2, 3), "INT64")], {}),
    "maximum: types": ("MAXIMUM", [X, T((2, 3), "INT32")], [X], {}),
    "less: types": ("LESS", [X, U8], [BOOL], {}),
    "logical_and: type": ("LOGICAL_AND", [X, X], [X], {}),
    "relu: output type": ("RELU", [X], [U8], {}),
    "leaky_relu: output type": ("LEAKY_RELU", [X], [U8], {"alpha": 0.5}),
    "hard_swish: multiplier of 1": ("HARD_SWISH", [q(1.0)], [q(2.0**-7)], {}),
    "prelu: alpha larger than input": ("PRELU", [q(shape=(1, 3)), X], [X], {}),
    "prelu float: rank of alpha": ("PRELU", [F32, T((4, 2, 3), "FLOAT32")], [F32], {}),
    "abs: not quantized": ("ABS", [T((2, 3))], [T((2, 3))], {}),
    "logistic: output scale": ("LOGISTIC", [X], [q(1 / 255, -128)], {}),
    "tanh: output type": ("TANH", [X], [U8], {}),
    "quantize: int8 to int32": ("QUANTIZE", [X], [q(type="INT32")], {}),
    "quantize: int16 zero point": ("QUANTIZE", [q(0.5, 1, "INT16")], [I16], {}),
    "quantize: output not quantized": ("QUANTIZE", [F32], [T((2, 3))], {}),
    "dequantize: int16 zero point": ("DEQUANTIZE", [q(0.5, 1, "INT16")], [F32], {}),
    "cast: to uint64": ("CAST", [F32], [T((2, 3), "UINT64")], {}),
}

# LiteRT ends the process on these.
CRASHES: dict[str, Entry] = {
    "add: output multiplier above 1": ("ADD", [q(1.0), q(1.0)], [q(1e-7)], {}),
    "add: not quantized": ("ADD", [T((2, 3)), T((2, 3))], [T((2, 3))], {}),
    "add: per channel": ("ADD", [PER_CHANNEL, X], [X], {}),
    "add: rank 9": ("ADD", [q(shape=(2, *(1,) * 7, 3)), q(shape=(3,))], [q(shape=(2, *(1,) * 7, 3))], {}),
    "sub: output multiplier of 1": ("SUB", [q(1.0), q(1.0)], [q(2.0**-19)], {}),
    "squared_difference: output multiplier above 1": ("SQUARED_DIFFERENCE", [q(100.0), q(100.0)], [X], {}),
    "equal: scale of 1": ("EQUAL", [q(1.0), X], [BOOL], {}),
}

# LiteRT computes something, by behaviour that C++ leaves undefined or without a look at what is wrong.
UNDEFINED: dict[str, Entry] = {
    "sub: output multiplier above 1": ("SUB", [q(1.0), q(1.0)], [q(1e-7)], {}),
    "equal: scale of 2": ("EQUAL", [q(2.0), X], [BOOL], {}),
    "mul: shift of 84": ("MUL", [q(1e10), q(1e10)], [q(1e-5)], {}),
    "mul: infinite multiplier": ("MUL", [q(1e30), q(1e30)], [q(1.0)], {}),
    "mul: not quantized": ("MUL", [T((2, 3)), T((2, 3))], [T((2, 3))], {}),
    "add: unknown activation": ("ADD", [X, X], [X], {"fused_activation_function": 77}),
    "relu6: a bound beyond int32": ("RELU6", [q(1e-9)], [q(1e-9)], {}),
    "leaky_relu: infinite alpha": ("LEAKY_RELU", [X], [X], {"alpha": float("inf")}),
    "hard_swish: shift of 47": ("HARD_SWISH", [q(1e12)], [q(1e12)], {}),
    "prelu: type of alpha": ("PRELU", [X, U8], [X], {}),
    "rsqrt: shift of -36": ("RSQRT", [q(1.0, -128)], [q(1e5)], {}),
    "exp: beyond int32": ("EXP", [q(1.0)], [q(0.1)], {}),
    "dequantize: not quantized": ("DEQUANTIZE", [T((2, 3))], [F32], {}),
    "dequantize: output type": ("DEQUANTIZE", [X], [X], {}),
    "quantize: scale of 0": ("QUANTIZE", [F32], [q(0.0)], {}),
}

# Name -> operator, type, inputs that are refused while the model runs.
RUNS: dict[str, tuple[str, list[np.ndarray]]] = {
    "div int32 by 0": ("DIV", [values(1, 2), values(1, 0)]),
    "floor_div int32 by 0": ("FLOOR_DIV", [values(1, 2), values(1, 0)]),
    "floor_div float by 0": ("FLOOR_DIV", [values(1, 2, type="FLOAT32"), values(1, 0, type="FLOAT32")]),
    "floor_mod int8 by 0": ("FLOOR_MOD", [values(1, 2, type="INT8"), values(1, 0, type="INT8")]),
    "floor_mod int32: minimum by -1": ("FLOOR_MOD", [values(-(2**31), 2), values(-1, 2)]),
    "floor_mod int64: minimum by -1": (
        "FLOOR_MOD",
        [values(-(2**63), 2, type="INT64"), values(-1, 2, type="INT64")],
    ),
}


def build(entry: Entry) -> Model:
    name, inputs, outputs, options = entry
    return one_op(name, inputs, outputs, options)


def zeros(model: Model) -> list[np.ndarray]:
    return [np.zeros(model.graph.tensors[i].shape, model.graph.tensors[i].dtype) for i in model.graph.inputs]


def run(model: Model, arrays: list[np.ndarray]) -> np.ndarray:
    program = prepare(read_model(write_model(model)), runtime_named("tflite_ref"))
    outputs = execute(program, dict(zip(model.graph.inputs, map(Value, arrays), strict=True)))
    return next(iter(outputs.values())).array


@pytest.mark.parametrize("name", [*REFUSED, *CRASHES, *UNDEFINED])
def test_refquant_refuses(name: str) -> None:
    model = build((REFUSED | CRASHES | UNDEFINED)[name])
    with pytest.raises(RefquantError, match=r"subgraph 0, operator 0") as caught:
        run(model, zeros(model))
    assert "internal error" not in str(caught.value)


@pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING)
@pytest.mark.parametrize("name", [*REFUSED, *CRASHES])
def test_litert_refuses_too(name: str) -> None:
    model = build((REFUSED | CRASHES)[name])
    with pytest.raises(Rejected if name in REFUSED else Crashed):
        litert.run(write_model(model), [zeros(model)])


@pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING)
@pytest.mark.parametrize("name", UNDEFINED)
def test_litert_runs_what_is_undefined(name: str) -> None:
    model = build(UNDEFINED[name])
    litert.run(write_model(model), [zeros(model)])


def plain_model(op: str, arrays: list[np.ndarray]) -> Model:
    t = T(arrays[0].shape, arrays[0].dtype.name.upper())
    return one_op(op, [t, t], [t])


@pytest.mark.parametrize("name", RUNS)
def test_refquant_refuses_divisors(name: str) -> None:
    op, arrays = RUNS[name]
    with pytest.raises(InvalidInput, match=r"operator 0 \((DIV|FLOOR_DIV|FLOOR_MOD)\)"):
        run(plain_model(op, arrays), arrays)


@pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING)
@pytest.mark.parametrize("name", RUNS)
def test_litert_refuses_divisors_too(name: str) -> None:
    op, arrays = RUNS[name]
    with pytest.raises((Rejected, Crashed)):
        litert.run(write_model(plain_model(op, arrays)), [arrays])


@pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING)
@pytest.mark.parametrize("op", ["SQRT", "RSQRT"])
def test_roots_of_codes_below_the_zero_point(op: str) -> None:
    model = one_op(op, [q(0.5, 3, shape=(2,))], [q(0.5, shape=(2,))])
    with pytest.raises(InvalidInput, match=f"{op} of a value below 0"):
        run(model, [values(3, 2, type="INT8")])
    with pytest.raises(Rejected, match="only defined for"):
        litert.run(write_model(model), [[values(3, 2, type="INT8")]])
    run(model, [values(3, 127, type="INT8")])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e9, -3e9])
def test_quantize_refuses_what_leaves_int32(bad: float) -> None:
    model = one_op("QUANTIZE", [T((2,), "FLOAT32")], [q(1.0, shape=(2,))])
    with pytest.raises(InvalidInput, match=r"operator 0 \(QUANTIZE\): .* cannot be quantized"):
        run(model, [values(1, bad, type="FLOAT32")])
    assert run(model, [values(1.5, 2e9, type="FLOAT32")]).tolist() == [2, 127]


@pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING)
def test_remainder_of_the_least_int8_by_minus_1() -> None:
    arrays = [values(-128, -128, type="INT8"), values(-1, 7, type="INT8")]
    model = plain_model("FLOOR_MOD", arrays)
    expected = litert.run(write_model(model), [arrays])[0][2]
    np.testing.assert_array_equal(run(model, arrays), expected)


@pytest.mark.parametrize(("samples", "elements"), [(1, 4096), (1, 70000), (16, 4095), (2, 4095)])
def test_table_of_pairs_changes_nothing(samples: int, elements: int) -> None:
    """Computed code by code, looked up in the prepared table, or in one made for a large run."""
    rng = np.random.default_rng(1)
    a, b = (rng.integers(-128, 128, (samples, elements)).astype(np.int8) for _ in range(2))
    options = {"fused_activation_function": "RELU"}

    def model(n: int) -> Model:
        shape = (1, n)
        return one_op("ADD", [q(0.1, 3, shape=shape), q(0.07, -5, shape=shape)], [q(0.15, -9, shape=shape)], options)

    whole = refquant.run(model(elements), [a, b])[0]
    columns = [
        refquant.run(model(1), [x[:, np.newaxis], y[:, np.newaxis]])[0]
        for x, y in zip(a.T[:300], b.T[:300], strict=True)
    ]
    np.testing.assert_array_equal(whole[:, :300], np.concatenate(columns, axis=1))


def test_a_scale_of_1_cannot_be_compared() -> None:
    with pytest.raises(UnsupportedModel, match=r"\(LESS\): the multiplier of input 't0' is 1.0"):
        run(one_op("LESS", [q(1.0), X], [BOOL]), [np.zeros((2, 3), np.int8)] * 2)
