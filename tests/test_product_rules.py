"""What the reference kernels of convolutions, dense layers and pools reject, refquant rejects; and it says so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import oracle
from models import T, one_op
from oracle import Rejected, litert
from refquant.errors import InvalidModel, RefquantError, UnsupportedModel
from refquant.model import read_model, write_model
from refquant.program import prepare
from refquant.runtimes import runtime_named

Op = tuple[str, list[Any], list[T], dict[str, Any]]


def data(shape: tuple[int, ...], type_: str = "int8") -> np.ndarray:
    return (np.arange(int(np.prod(shape))) % 11 - 5).reshape(shape).astype(type_)


def conv(x=(1, 5, 5, 3), f=(4, 3, 3, 3), bias=True, output=None, scale=0.1, filter_=None, bias_=None, **options) -> Op:
    filter_ = {"data": data(f), "scale": 0.1, **(filter_ or {})}
    bias_ = {"data": data((f[0],), "int32"), "scale": 0.01, **(bias_ or {})}
    output = {"type": "INT8", "scale": 0.5, **(output or {})}
    options = {"padding": "VALID", "stride_h": 1, "stride_w": 1, **options}
    inputs = [T(x, "INT8", scale), T(**filter_), *([] if bias is False else [None] if bias is None else [T(**bias_)])]
    return "CONV_2D", inputs, [T((1, 3, 3, f[0]), **output)], options


def depthwise(f=(1, 3, 3, 6), bias=True, bias_=None, filter_=None, **options) -> Op:
    _, inputs, _, options = conv(f=f, filter_={"axis": 3, **(filter_ or {})}, **options)
    bias_ = {"data": data((f[3],), "int32"), "scale": 0.01, **(bias_ or {})}
    last = [] if bias is False else [None] if bias is None else [T(**bias_)]
    return "DEPTHWISE_CONV_2D", [*inputs[:2], *last], [T((1, 3, 3, f[3]), "INT8", 0.5)], options


def transpose(output=(1, 5, 5, 4), shape_type="int32", **changes) -> Op:
    _, (_, filter_, *bias), _, options = conv(**changes)
    shape = T(data=np.array(output, shape_type))
    return "TRANSPOSE_CONV", [shape, filter_, T((1, 3, 3, 3), "INT8", 0.1), *bias], [T(output, "INT8", 0.5)], options


def dense(x=(2, 6), f=(4, 6), bias_=None, filter_=None, output=None, scale=0.1, **options) -> Op:
    filter_ = {"data": data(f), "scale": 0.1, **(filter_ or {})}
    bias_ = {"data": data((f[0],), "int32"), "scale": 0.01, **(bias_ or {})}
    output = {"type": "INT8", "scale": 0.5, **(output or {})}
    return "FULLY_CONNECTED", [T(x, "INT8", scale), T(**filter_), T(**bias_)], [T((2, f[0]), **output)], options


def matmul(a=(2, 3, 4), b=(2, 4, 5), b_type="INT8", output=None, **options) -> Op:
    output = {"type": "INT8", "scale": 0.5, **(output or {})}
    return "BATCH_MATMUL", [T(a, "INT8", 0.1), T(b, b_type, 0.1)], [T((2, 3, 5), **output)], options


def pool(x=(1, 5, 5, 3), output=None, scale=0.1, **options) -> Op:
    options = {"padding": "VALID", "stride_h": 1, "stride_w": 1, "filter_height": 2, "filter_width": 2, **options}
    return "MAX_POOL_2D", [T(x, "INT8", scale)], [T(x, **{"type": "INT8", "scale": scale, **(output or {})})], options


# Rejected by both.
REJECTED: dict[str, Op] = {
    "conv: no bias": conv(bias=False),
    "conv: bias absent": conv(bias=None),
    "conv: unknown padding": conv(padding=5),
    "conv: filter zero point": conv(filter_={"zero_point": 3}),
    "conv: filter without scale": conv(filter_={"scale": None}),
    "conv: input without scale": conv(scale=None),
    "conv: scales along the input channels": conv(filter_={"scale": [0.1] * 3, "axis": 3}),
    "conv: bias length": conv(bias_={"data": data((3,), "int32")}),
    "conv: bias int64": conv(bias_={"data": data((4,), "int64")}),
    "conv: bias zero point": conv(bias_={"zero_point": 1}),
    "conv: window does not fit": conv(f=(4, 7, 7, 3)),
    "conv: stride 0": conv(stride_w=0),
    "conv: dilation 0": conv(dilation_h_factor=0),
    "conv: depth does not divide": conv(x=(1, 5, 5, 6), f=(4, 3, 3, 4)),
    "conv: groups do not divide": conv(x=(1, 5, 5, 6), f=(4, 3, 3, 2)),
    "conv: output type": conv(output={"type": "INT16"}),
    "conv: input of 3 dimensions": conv(x=(5, 5, 3)),
    "conv: filter int16": conv(filter_={"data": data((4, 3, 3, 3), "int16")}),
    "conv: filter uint8": conv(filter_={"data": np.abs(data((4, 3, 3, 3))).astype(np.uint8)}),
    "conv: RELU6 beyond int32": conv(output={"scale": 1e-9}, fused_activation_function="RELU6"),
    "depthwise: bias absent": depthwise(bias=None),
    "depthwise: filter of 2": depthwise(f=(2, 3, 3, 6)),
    "depthwise: channels": depthwise(f=(1, 3, 3, 4)),
    "depthwise: bias of 2 dimensions": depthwise(bias_={"data": data((1, 6), "int32")}),
    "depthwise: stride over int16": depthwise(stride_h=40000),
    "depthwise: filter int16": depthwise(filter_={"data": data((1, 3, 3, 6), "int16")}),
    "transpose: shape int64": transpose(shape_type="int64"),
    "transpose: height": transpose(output=(1, 6, 5, 4)),
    "transpose: batch": transpose(output=(2, 5, 5, 4)),
    "transpose: channels": transpose(output=(1, 5, 5, 3)),
    "transpose: 3 dimensions": transpose(output=(5, 5, 4)),
    "dense: bias scale": dense(bias_={"scale": 0.5}),
    "dense: bias without scale": dense(bias_={"scale": None}),
    "dense: scales along the columns": dense(f=(6, 6), filter_={"scale": [0.1] * 6, "axis": 1}),
    "dense: filter of 3 dimensions": dense(filter_={"data": data((4, 6, 1))}),
    "dense: filter without scale": dense(filter_={"scale": None}),
    "dense: input without scale": dense(scale=None),
    "dense: output without scale": dense(output={"scale": None}),
    "dense: output float": dense(output={"type": "FLOAT32"}),
    "dense: TANH": dense(fused_activation_function="TANH"),
    "dense: bias length": dense(bias_={"data": data((3,), "int32")}),
    "dense: bias float": dense(bias_={"data": data((4,), "float32")}),
    "dense: last dimension": dense(x=(2, 5), keep_num_dims=True),
    "dense: weights format": dense(weights_format=7),
    "matmul: 6 dimensions": matmul(a=(1, 1, 1, 2, 3, 4)),
    "matmul: inner sizes": matmul(b=(2, 3, 5)),
    "matmul: leading sizes": matmul(a=(3, 3, 4)),
    "matmul: float": matmul(b_type="FLOAT32"),
    "pool: stride 0": pool(stride_w=0),
    "pool: output type": pool(output={"type": "INT16"}),
    "pool: 3 dimensions": pool(x=(5, 5, 3)),
}

# Taken by the runtime, which then reads memory as what it is not, divides by zero, or leaves C++'s defined behaviour;
# or which takes an unknown enum value for the first.
REFUSED: dict[str, Op] = {
    "conv: unknown activation": conv(fused_activation_function=77),
    "conv: output without scale": conv(output={"scale": None}),
    "conv: output scale 0": conv(output={"scale": 0.0}),
    "conv: shift over 30": conv(output={"scale": 1e-30}),
    "dense: bias int64": dense(bias_={"data": data((4,), "int64")}),
    "dense: output int16": dense(output={"type": "INT16"}),
    "dense: filter uint8": dense(filter_={"data": np.abs(data((4, 6))).astype(np.uint8)}),
    "dense: result beyond int32": dense(
        scale=1e6, filter_={"scale": 1e3}, bias_={"scale": 1e9}, output={"scale": 0.001}
    ),
    "matmul: output int16": matmul(output={"type": "INT16"}),
    "pool: unknown padding": pool(padding=5),
    "pool: window of no pixels": pool(filter_width=0),
    "pool: window does not fit": pool(filter_height=7),
    "pool: RELU without scale": pool(scale=None, fused_activation_function="RELU"),
}


def refusal(op: Op) -> RefquantError:
    with pytest.raises((InvalidModel, UnsupportedModel)) as caught:
        prepare(read_model(write_model(one_op(*op, version=3))), runtime_named("tflite_ref"))
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
        litert.run(write_model(one_op(*REJECTED[name], version=3)), [sample])
