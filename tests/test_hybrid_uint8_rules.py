"""What the reference kernels reject of float32 with int8 weights and of uint8; and inputs that have no codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import oracle
from models import T, one_op
from oracle import Rejected, litert
from refquant.errors import InvalidInput, InvalidModel, UnsupportedModel
from refquant.model import read_model, write_model
from refquant.program import prepare, run
from refquant.runtimes import runtime_named

Op = tuple[str, list[Any], list[T], dict[str, Any]]

WINDOW = {"padding": "VALID", "stride_h": 1, "stride_w": 1}


def codes(*shape: int, type: str = "int8") -> np.ndarray:
    return (np.arange(int(np.prod(shape))) % 11).reshape(shape).astype(type)


def conv(x=(1, 5, 5, 4), f=(8, 3, 3, 4), scale=0.1, axis=0, bias="float32", output="FLOAT32", constant=True) -> Op:
    filter_ = T(data=codes(*f), scale=scale, axis=axis) if constant else T(f, "INT8", scale)
    inputs = [T(x, "FLOAT32"), filter_, T(data=codes(f[0], type=bias))]
    return "CONV_2D", inputs, [T((1, 3, 3, f[0]), output)], WINDOW


def depthwise(scale=0.1, axis=3, multiplier=2, bias="float32") -> Op:
    inputs = [T((1, 5, 5, 4), "FLOAT32"), T(data=codes(1, 3, 3, 8), scale=scale, axis=axis)]
    inputs.append(T(data=codes(8, type=bias)))
    return "DEPTHWISE_CONV_2D", inputs, [T((1, 3, 3, 8), "FLOAT32")], {**WINDOW, "depth_multiplier": multiplier}


def transpose(scale=0.1, axis=0) -> Op:
    shape, filter_ = T(data=np.array((1, 5, 5, 8), np.int32)), T(data=codes(8, 3, 3, 4), scale=scale, axis=axis)
    return "TRANSPOSE_CONV", [shape, filter_, T((1, 3, 3, 4), "FLOAT32")], [T((1, 5, 5, 8), "FLOAT32")], WINDOW


def dense(x=(2, 6), scale=0.1, axis=0, bias="float32", output="FLOAT32", constant=True) -> Op:
    filter_ = T(data=codes(4, 6), scale=scale, axis=axis) if constant else T((4, 6), "INT8", scale)
    return "FULLY_CONNECTED", [T(x, "FLOAT32"), filter_, T(data=codes(4, type=bias))], [T((2, 4), output)], {}


def matmul(a=(3, 4), b=(4, 5), scale=0.1, axis=1, asymmetric=True, constant=True) -> Op:
    right = T(data=codes(*b), scale=scale, axis=axis) if constant else T(b, "INT8", scale)
    options = {"asymmetric_quantize_inputs": asymmetric}
    return "BATCH_MATMUL", [T(a, "FLOAT32"), right], [T((1, 1), "FLOAT32")], options


def uint8(name: str, f: tuple[int, ...], scale=0.1, axis=0, bias_scale=0.01, bias_zero=0, output_scale=0.5) -> Op:
    channels = f[3] if name == "DEPTHWISE_CONV_2D" else f[0]
    filter_ = T(data=codes(*f, type="uint8"), scale=scale, zero_point=3, axis=axis)
    bias = T(data=codes(channels, type="int32"), scale=bias_scale, zero_point=bias_zero)
    inputs = [T((1, 5, 5, 4) if len(f) == 4 else (2, 6), "UINT8", 0.1), filter_, bias]
    return name, inputs, [T((1, 3, 3, channels), "UINT8", output_scale)], WINDOW if len(f) == 4 else {}


# Rejected by both.
REJECTED: dict[str, Op] = {
    "conv: bias int32": conv(bias="int32"),
    "conv: output int8": conv(output="INT8"),
    "conv: groups and one scale": conv(x=(1, 5, 5, 8)),
    "depthwise: no scale": depthwise(scale=None),
    "depthwise: bias int32": depthwise(bias="int32"),
    "transpose: no scale": transpose(scale=None),
    "dense: bias int32": dense(bias="int32"),
    "dense: output int8": dense(output="INT8"),
    "matmul: inner sizes": matmul(a=(3, 5)),
    "conv uint8: scales of channels": uint8("CONV_2D", (8, 3, 3, 4), [0.1] * 8),
    "conv uint8: bias scale": uint8("CONV_2D", (8, 3, 3, 4), bias_scale=0.021),
    "conv uint8: bias zero point": uint8("CONV_2D", (8, 3, 3, 4), bias_zero=1),
    "conv uint8: no scale": uint8("CONV_2D", (8, 3, 3, 4), None),
    "depthwise uint8: scales of channels": uint8("DEPTHWISE_CONV_2D", (1, 3, 3, 8), [0.1] * 8, 3),
    "depthwise uint8: bias scale": uint8("DEPTHWISE_CONV_2D", (1, 3, 3, 8), bias_scale=0.021),
    "dense uint8: scales of channels": uint8("FULLY_CONNECTED", (4, 6), [0.1] * 4),
    "dense uint8: bias scale": uint8("FULLY_CONNECTED", (4, 6), bias_scale=0.021),
}

# Taken by the runtime, which then reads scales or sums that there are not, or keeps what it found in the first run.
REFUSED: dict[str, Op] = {
    "conv: filter not constant": conv(constant=False),
    "conv: scales of another dimension": conv(scale=[0.1, 0.2, 0.3, 0.4], axis=3),
    "depthwise: one scale": depthwise(axis=0),
    "depthwise: multiplier of the options": depthwise(scale=[0.1] * 8, multiplier=1),
    "transpose: one scale of another dimension": transpose(axis=1),
    "dense: filter not constant": dense(constant=False),
    "dense: scales of the columns": dense(scale=[0.1] * 6, axis=1),
    "matmul: b not constant": matmul(constant=False),
    "matmul: scales of rows": matmul(scale=[0.1] * 4, axis=0),
    "matmul: column sums of 5 axes": matmul(a=(2, 1, 2, 3, 4), b=(2, 1, 2, 4, 5)),
}


@pytest.mark.parametrize("name", [*REJECTED, *REFUSED])
def test_refused(name: str) -> None:
    with pytest.raises((InvalidModel, UnsupportedModel)) as caught:
        prepare(read_model(write_model(one_op(*{**REJECTED, **REFUSED}[name], version=3))), runtime_named("tflite_ref"))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) > 40


@pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING)
@pytest.mark.parametrize("name", REJECTED)
def test_litert_rejects(name: str) -> None:
    inputs = [t for t in REJECTED[name][1] if t.data is None]
    sample = [codes(*t.shape, type=t.type.lower()) for t in inputs]
    with pytest.raises(Rejected):
        litert.run(write_model(one_op(*REJECTED[name], version=3)), [sample])


@pytest.mark.parametrize("op", [conv(), depthwise([0.1] * 8), transpose(), dense(), matmul(), matmul(asymmetric=False)])
@pytest.mark.parametrize(
    ("value", "words"), [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity"), (1e-41, "near 0")]
)
def test_an_input_without_codes_is_refused(op: Op, value: float, words: str) -> None:
    (shape,) = (t.shape for t in op[1] if t.data is None)
    x = np.zeros(shape, np.float32)
    x.flat[-1] = value
    with pytest.raises(InvalidInput, match=rf"operator 0 \({op[0]}\): .*{words}"):
        run(one_op(*op), x)


def test_types_without_a_kernel_are_named_together() -> None:
    name, (x, _, bias), outputs, options = dense()
    model = one_op(name, [x, T(data=codes(4, 6, type="uint8"), scale=0.1), bias], outputs, options)
    with pytest.raises(UnsupportedModel, match="type FLOAT32xUINT8 of tensors 't0' and 't1' is not built"):
        prepare(model, runtime_named("tflite_ref"))
