"""int16 activations: what the reference kernels reject, refquant rejects, and what they leave undefined it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import oracle
from models import T, one_op
from oracle import Rejected, litert
from refquant import run
from refquant.arithmetic.interpolation import SIGMOID_TABLE
from refquant.errors import AccumulatorOverflow, InvalidInput, InvalidModel, RefquantError, UnsupportedModel
from refquant.model import read_model, write_model
from refquant.program import prepare
from refquant.runtimes import runtime_named

Op = tuple[str, list[Any], list[T], dict[str, Any]]

Q15 = 2.0**-15


def data(shape: tuple[int, ...], type_: str = "int8") -> np.ndarray:
    return (np.arange(int(np.prod(shape))) % 11 - 5).reshape(shape).astype(type_)


def int16(shape: tuple[int, ...] = (2, 6), scale: float | None = 0.5, zero_point: int = 0) -> T:
    return T(shape, "INT16", scale, zero_point)


def conv(bias="int64", x=None, filter_=None, output=None, bias_zero_point=0, **options) -> Op:
    options = {"padding": "VALID", "stride_h": 1, "stride_w": 1, **options}
    filter_ = filter_ or T(data=data((4, 3, 3, 3)), scale=0.1)
    bias_ = T(data=data((4,), bias), scale=0.05, zero_point=bias_zero_point)
    return "CONV_2D", [x or int16((1, 5, 5, 3)), filter_, bias_], [output or int16((1, 3, 3, 4))], options


def depthwise(bias="int64", **changes) -> Op:
    _, (x, _, _), _, options = conv(**changes)
    filter_, bias_ = T(data=data((1, 3, 3, 3)), scale=0.1, axis=3), T(data=data((3,), bias), scale=0.05)
    return "DEPTHWISE_CONV_2D", [x, filter_, bias_], [int16((1, 3, 3, 3))], options


def transpose(x=None, **changes) -> Op:
    _, (_, filter_, bias), (output,), options = conv(**changes)
    shape = T(data=np.array([1, 5, 5, 4], np.int32))
    return "TRANSPOSE_CONV", [shape, filter_, x or int16((1, 3, 3, 3)), bias], [output], options


def dense(bias="int64", x=None, bias_scale=0.05, output=None, **options) -> Op:
    filter_, bias_ = T(data=data((4, 6)), scale=0.1), T(data=data((4,), bias), scale=bias_scale)
    options = {"weights_format": "DEFAULT", **options}
    return "FULLY_CONNECTED", [x or int16(), filter_, bias_], [output or int16((2, 4))], options


def matmul(a=None, b=None, output=None) -> Op:
    return "BATCH_MATMUL", [a or int16((2, 3)), b or int16((3, 4))], [output or int16((2, 4))], {}


def two(op: str, a=None, b=None, output=None, **options) -> Op:
    return op, [a or int16(), b or int16()], [output or int16()], options


def one(op: str, x=None, output=None, **options) -> Op:
    return op, [x or int16()], [output or int16()], options


def reduce(op: str, x=None, output=None) -> Op:
    return op, [x or int16(), T(data=np.array([1], np.int32))], [output or int16((2,))], {}


ODD = int16(zero_point=1)

# Rejected by both.
REJECTED: dict[str, Op] = {
    "conv: bias int32 where int64 is said": conv("int32", quantized_bias_type="INT64"),
    "conv: bias int64 where int32 is said": conv("int64", quantized_bias_type="INT32"),
    "conv: bias type int16": conv("int16"),
    "conv: quantized_bias_type INT16": conv(quantized_bias_type="INT16"),
    "conv: input zero point": conv(x=int16((1, 5, 5, 3), zero_point=1)),
    "conv: output zero point": conv(output=int16((1, 3, 3, 4), zero_point=-1)),
    "conv: filter zero point": conv(filter_=T(data=data((4, 3, 3, 3)), scale=0.1, zero_point=1)),
    "conv: bias zero point": conv(bias_zero_point=1),
    "depthwise: bias int32": depthwise("int32"),
    "depthwise: input zero point": depthwise(x=int16((1, 5, 5, 3), zero_point=1)),
    "transpose: bias int32 where int64 is said": transpose(bias="int32", quantized_bias_type="INT64"),
    "transpose: filter int16": transpose(filter_=T(data=data((4, 3, 3, 3), "int16"), scale=0.1)),
    "transpose: input zero point": transpose(x=int16((1, 3, 3, 3), zero_point=1)),
    "dense: bias int64 where int32 is said": dense("int64", quantized_bias_type="INT32"),
    "dense: bias scale": dense(bias_scale=0.5),
    "dense: input zero point": dense(x=ODD),
    "dense: output zero point": dense(output=int16((2, 4), zero_point=1)),
    "matmul: zero point of a": matmul(a=int16((2, 3), zero_point=1)),
    "matmul: zero point of b": matmul(b=T((3, 4), "INT8", 0.5, 1)),
    "matmul: output zero point": matmul(output=int16((2, 4), zero_point=1)),
    "matmul: int8 times int16": matmul(a=T((2, 3), "INT8", 0.5), output=T((2, 4), "INT8", 0.5)),
    "add: zero point": two("ADD", ODD, pot_scale_int16=False),
    "add: powers of two, none of the output": two("ADD", int16(scale=0.25), int16(scale=0.25), pot_scale_int16=True),
    "add: powers of two above the output's": two("ADD", int16(scale=1.0), pot_scale_int16=True),
    "sub: zero point": two("SUB", output=ODD),
    "sub: powers of two above the output's": two("SUB", int16(scale=1.0), pot_scale_int16=True),
    "mul: zero point": two("MUL", b=ODD),
    "squared difference": two("SQUARED_DIFFERENCE"),
    "relu: zero point": one("RELU", ODD),
    "relu -1 to 1": one("RELU_N1_TO_1"),
    "leaky relu: zero point": one("LEAKY_RELU", output=ODD),
    "hard swish": one("HARD_SWISH"),
    "abs: zero point": one("ABS", ODD),
    "sqrt: zero point": one("SQRT", ODD),
    "rsqrt: zero point": one("RSQRT", output=ODD),
    "exp: zero point": one("EXP", ODD),
    "log: zero point": one("LOG", ODD),
    "logistic: zero point": one("LOGISTIC", ODD, int16(scale=Q15)),
    "logistic: output scale": one("LOGISTIC", output=int16(scale=1.0001 * Q15)),
    "tanh: zero point": one("TANH", output=int16(scale=Q15, zero_point=1)),
    "tanh: output scale": one("TANH", output=int16(scale=1.001 * Q15)),
    "softmax: zero point": one("SOFTMAX", ODD, int16(scale=Q15), beta=1.0),
    "softmax: output scale": one("SOFTMAX", output=int16(scale=1.002 * Q15), beta=1.0),
    "mean: zero point": reduce("MEAN", ODD),
    "product: zero point": reduce("REDUCE_PROD", output=int16((2,), zero_point=1)),
    "maximum along an axis: scales": reduce("REDUCE_MAX", output=int16((2,), 0.25)),
    "quantize to uint8": one("QUANTIZE", output=T((2, 6), "UINT8", 0.5)),
    "dequantize: zero point": one("DEQUANTIZE", ODD, T((2, 6), "FLOAT32")),
}

# Taken by the runtime, which then reads memory as what it is not or leaves C++'s defined behaviour.
REFUSED: dict[str, Op] = {
    "conv: bias int32, option not set": conv("int32"),
    "conv: filter int16": conv(filter_=T(data=data((4, 3, 3, 3), "int16"), scale=0.1)),
    "conv: shift over 14": conv(output=int16((1, 3, 3, 4), 1e-9)),
    "transpose: bias int32, option not set": transpose(bias="int32"),
    "dense: bias int32, option not set": dense("int32"),
    "add: powers of two that broadcast": two("ADD", int16((1, 6)), pot_scale_int16=True),
    "add: of a quantized and another one": two("ADD", output=int16(scale=None), pot_scale_int16=False),
    "not equal, not quantized": two("NOT_EQUAL", int16(scale=None), int16(scale=None), T((2, 6), "BOOL")),
    "prelu: alpha int16": two("PRELU"),
    "sum": reduce("SUM"),
    "logistic: scale too large": one("LOGISTIC", int16(scale=6.0), int16(scale=Q15)),
    "tanh: scale too small": one("TANH", int16(scale=1e-14), int16(scale=Q15)),
}


def build(op: Op) -> bytes:
    versions = {"MEAN": 3, "SUM": 2, "REDUCE_PROD": 2, "REDUCE_MAX": 3, "BATCH_MATMUL": 4, "FULLY_CONNECTED": 13}
    return write_model(one_op(*op, version=versions.get(op[0], 8 if op[0] == "CONV_2D" else 2)))


def refusal(op: Op) -> RefquantError:
    with pytest.raises((InvalidModel, UnsupportedModel)) as caught:
        prepare(read_model(build(op)), runtime_named("tflite_ref"))
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("name", [*REJECTED, *REFUSED])
def test_refused(name: str) -> None:
    assert len(str(refusal({**REJECTED, **REFUSED}[name]))) > 40


@pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING)
@pytest.mark.parametrize("name", REJECTED)
def test_litert_rejects(name: str) -> None:
    inputs = [t for t in REJECTED[name][1] if t is not None and t.data is None]
    sample = [data(t.shape, t.type.lower()) for t in inputs]
    with pytest.raises(Rejected):
        litert.run(build(REJECTED[name]), [sample])


def test_values_that_are_refused_in_a_run() -> None:
    x = np.array([[0, 100, 32767]], np.int16)
    t = int16((1, 3), 2.0**-8)
    exp = one_op("EXP", [t], [t])
    assert run(exp, x[:, [0, 1, 1]])[0].tolist() == [[250, 377, 377]]
    with pytest.raises(InvalidInput, match="overflows float32"):
        run(exp, x)
    rsqrt = one_op("RSQRT", [t], [t])
    assert run(rsqrt, x)[0][0, 0] == 24742  # the first knot is 32767, less half of the line's error
    with pytest.raises(InvalidInput, match="below 0"):
        run(rsqrt, -x)


@pytest.mark.parametrize("op", ["CONV_2D", "FULLY_CONNECTED"])
def test_only_int32_accumulators_overflow(op: str) -> None:
    for type_ in ("INT32", "INT64"):
        shape, filter_ = ((1, 1, 1, 600), (1, 1, 1, 600)) if op == "CONV_2D" else ((1, 600), (1, 600))
        w, bias = T(data=np.full(filter_, 127, np.int8), scale=1.0), T(data=np.zeros(1, type_.lower()), scale=1.0)
        options = {"padding": "VALID", "stride_h": 1, "stride_w": 1, "quantized_bias_type": type_}
        model = one_op(op, [int16(shape, 1.0), w, bias], [int16((*shape[:-1], 1), 2.0**17)], options)
        x = np.full(shape, 32767, np.int16)
        if type_ == "INT64":
            assert run(model, x, overflow="error")[0].ravel().tolist() == [round(600 * 127 * 32767 / 2**17)]
        else:
            assert run(model, x)[0].max() < 0
            with pytest.raises(AccumulatorOverflow):
                run(model, x, overflow="error")


def test_64_bit_accumulators_end_at_47_bits() -> None:
    """TFLite's requantization of an int64 is defined below 2^47; FULLY_CONNECTED multiplies a double."""
    bias = T(data=np.array([2**47 - 2, 2**47, -(2**47), 5]), scale=1.0)
    options = {"padding": "VALID", "stride_h": 1, "stride_w": 1}
    w, y = T(data=np.ones((4, 1, 1, 1), np.int8), scale=1.0), int16((1, 1, 1, 4), 2.0**32)
    model = one_op("CONV_2D", [int16((1, 1, 1, 1), 1.0), w, bias], [y], options)
    with pytest.raises(UnsupportedModel, match=r"2\^47"):
        run(model, np.zeros((1, 1, 1, 1), np.int16))
    w, y = T(data=np.ones((4, 1), np.int8), scale=[1.0] * 4), int16((1, 4), 2.0**33)
    model = one_op("FULLY_CONNECTED", [int16((1, 1), 1.0), w, bias], [y])
    assert run(model, np.zeros((1, 1), np.int16))[0].tolist() == [[16384, 16384, -16384, 0]]


def test_dense_results_beyond_int32() -> None:
    """Only where a run reaches them."""
    w, bias = T(data=np.full((1, 4), 127, np.int8), scale=1.0), T(data=np.zeros(1, np.int64), scale=1.0)
    model = one_op("FULLY_CONNECTED", [int16((1, 4), 1.0), w, bias], [int16((1, 1), 2.0**-10)])
    assert run(model, np.full((1, 4), 9, np.int16))[0].tolist() == [[32767]]
    with pytest.raises(UnsupportedModel, match="beyond int32"):
        run(model, np.full((1, 4), 9999, np.int16))


def test_sigmoid_table() -> None:
    """A few of TFLite's numbers; LOGISTIC and TANH of all codes are compared with the runtime elsewhere."""
    assert SIGMOID_TABLE[[0, 1, 4, 24, 31, 135, 200, 254, 255]].tolist() == [
        32768, 33451, 35493, 47911, 51409, 65301, 65520, 65534, 65535,
    ]  # fmt: skip
