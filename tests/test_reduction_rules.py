"""What softmax, normalization, reduction and resize refuse: with LiteRT, or where LiteRT crashes or is undefined."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import oracle
from models import T, one_op
from oracle import Crashed, Rejected, litert
from refquant.errors import AccumulatorOverflow, InvalidModel, RefquantError, UnsupportedModel
from refquant.model import read_model, write_model
from refquant.model.graph import Model
from refquant.program import Value, execute, prepare
from refquant.runtimes import runtime_named

Entry = tuple[str, list[T | None], list[T], dict[str, Any]]


def i32(*values: int) -> T:
    return T(data=np.array(values, np.int32))


def i64(*values: int) -> T:
    return T(data=np.array(values, np.int64))


def q(shape: tuple[int, ...], scale: float = 0.1, zero_point: int = 0, type: str = "INT8") -> T:
    return T(shape, type, scale=scale, zero_point=zero_point)


X, Y = q((2, 3)), q((2,))
IMAGE, PIXELS = q((1, 2, 3, 1)), q((1, 2, 2, 1))
BETA = {"beta": 1.0}
SOFTMAX, LOG_SOFTMAX, UNIT = q((2, 3), 1 / 256, -128), q((2, 3), 1 / 16, 127), q((2, 3), 1 / 128)
BOTH = {"align_corners": True, "half_pixel_centers": True}

# Name -> operator, inputs, outputs, options. LiteRT and refquant refuse each.
REFUSED: dict[str, Entry] = {
    "softmax: output scale": ("SOFTMAX", [X], [q((2, 3), 1.0011 / 256, -128)], BETA),
    "softmax: output zero point": ("SOFTMAX", [X], [q((2, 3), 1 / 256, -127)], BETA),
    "softmax: output type": ("SOFTMAX", [X], [T((2, 3), "FLOAT32")], BETA),
    "softmax: a scalar": ("SOFTMAX", [q(())], [q((), 1 / 256, -128)], BETA),
    "softmax: two inputs": ("SOFTMAX", [X, X], [SOFTMAX], BETA),
    "log_softmax: output scale": ("LOG_SOFTMAX", [X], [q((2, 3), 1 / 256, 127)], {}),
    "log_softmax: output zero point": ("LOG_SOFTMAX", [X], [q((2, 3), 1 / 16, 126)], {}),
    "log_softmax: output type": ("LOG_SOFTMAX", [X], [T((2, 3), "INT16", 1 / 16)], {}),
    "l2: output scale": ("L2_NORMALIZATION", [X], [q((2, 3), 1 / 256)], {}),
    "l2: output zero point": ("L2_NORMALIZATION", [X], [q((2, 3), 1 / 128, 1)], {}),
    "l2: fused activation": ("L2_NORMALIZATION", [X], [UNIT], {"fused_activation_function": "RELU"}),
    "l2: a scalar": ("L2_NORMALIZATION", [q(())], [q((), 1 / 128)], {}),
    "mean: axis": ("MEAN", [X, i32(2)], [Y], {}),
    "mean: negative axis": ("MEAN", [X, i32(-3)], [Y], {}),
    "mean: INT64 axes": ("MEAN", [X, i64(1)], [Y], {}),
    "mean: no axes operand": ("MEAN", [X], [Y], {}),
    "max: scale": ("REDUCE_MAX", [X, i32(1)], [q((2,), 0.2)], {}),
    "max: zero point": ("REDUCE_MAX", [X, i32(1)], [q((2,), 0.1, 1)], {}),
    "min: one without scale": ("REDUCE_MIN", [X, i32(1)], [T((2,))], {}),
    "prod: quantized int32": ("REDUCE_PROD", [q((2, 3), type="INT32"), i32(1)], [q((2,), type="INT32")], {}),
    "argmax: axis": ("ARG_MAX", [X, i32(2)], [T((2,), "INT32")], {"output_type": "INT32"}),
    "argmax: two axes": ("ARG_MAX", [X, i32(0, 1)], [T((2,), "INT32")], {"output_type": "INT32"}),
    "argmax: empty axis": ("ARG_MAX", [q((2, 0)), i32(1)], [T((2,), "INT32")], {"output_type": "INT32"}),
    "argmax: output_type": ("ARG_MAX", [X, i32(1)], [T((2,))], {"output_type": "INT8"}),
    "bilinear: both alignments": ("RESIZE_BILINEAR", [IMAGE, i32(2, 2)], [PIXELS], BOTH),
    "bilinear: no rows": ("RESIZE_BILINEAR", [IMAGE, i32(0, 2)], [PIXELS], {}),
    "bilinear: rank": ("RESIZE_BILINEAR", [q((2, 3, 1)), i32(2, 2)], [PIXELS], {}),
    "bilinear: INT64 size": ("RESIZE_BILINEAR", [IMAGE, i64(2, 2)], [PIXELS], {}),
    "nearest: negative size": ("RESIZE_NEAREST_NEIGHBOR", [IMAGE, i32(-1, 2)], [PIXELS], {}),
    "nearest: three sizes": ("RESIZE_NEAREST_NEIGHBOR", [IMAGE, i32(2, 2, 1)], [PIXELS], {}),
}

# LiteRT ends the process on these.
CRASHES: dict[str, Entry] = {
    "softmax: beta 0": ("SOFTMAX", [X], [SOFTMAX], {"beta": 0.0}),
    "softmax: negative beta": ("SOFTMAX", [X], [SOFTMAX], {"beta": -1.0}),
    "softmax: input scale": ("SOFTMAX", [q((2, 3), 1e-9)], [SOFTMAX], BETA),
    "softmax: input without scale": ("SOFTMAX", [T((2, 3))], [SOFTMAX], BETA),
    "softmax: 512 equal values": ("SOFTMAX", [q((1, 512))], [q((1, 512), 1 / 256, -128)], BETA),
    "log_softmax: input scale": ("LOG_SOFTMAX", [q((2, 3), 2.0**-26)], [LOG_SOFTMAX], {}),
    "log_softmax: a scalar": ("LOG_SOFTMAX", [q(())], [q((), 1 / 16, 127)], {}),
    "bilinear: no pixels": ("RESIZE_BILINEAR", [q((1, 0, 3, 1)), i32(2, 2)], [PIXELS], {}),
}

# LiteRT runs these, but what it gives is not defined: no finite multiplier, memory outside of the tensors.
UNDEFINED: dict[str, Entry] = {
    "mean: without scale": ("MEAN", [T((2, 3)), i32(1)], [Y], {}),
    "mean: per channel": ("MEAN", [T((2, 3), "INT8", [0.1, 0.2, 0.3], [0, 0, 0], 1), i32(1)], [Y], {}),
    "mean: output scale 0": ("MEAN", [X, i32(1)], [q((2,), 0.0)], {}),
    "mean: shift of 39": ("MEAN", [q((2, 3), 1e9), i32(1)], [q((2,), 1e-3)], {}),
    "mean: another type": ("MEAN", [X, i32(1)], [q((2,), type="UINT8")], {}),
    "prod: scales": ("REDUCE_PROD", [q((2, 3), 1e20), i32(1)], [Y], {}),
    "prod: nothing": ("REDUCE_PROD", [q((2, 0)), i32(1)], [Y], {}),
    "log_softmax: 4096 equal values": ("LOG_SOFTMAX", [q((1, 4096))], [q((1, 4096), 1 / 16, 127)], {}),
    "bilinear: outside of the image": (
        "RESIZE_BILINEAR",
        [q((1, 33, 33, 1)), i32(513, 513)],
        [q((1, 513, 513, 1))],
        {},
    ),
}


def zeros(model: Model) -> list[np.ndarray]:
    tensors = [model.graph.tensors[index] for index in model.graph.inputs]
    return [np.zeros(tensor.shape, tensor.dtype) for tensor in tensors]


def run(model: Model, arrays: list[np.ndarray], overflow: str = "wrap") -> list[np.ndarray]:
    program = prepare(read_model(write_model(model)), runtime_named("tflite_ref"), overflow)
    outputs = execute(program, dict(zip(model.graph.inputs, map(Value, arrays), strict=True)))
    return [value.array for value in outputs.values()]


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    model = one_op(*REFUSED[name])
    with pytest.raises(InvalidModel, match=rf"^subgraph 0, operator 0 \({REFUSED[name][0]}\): [^\n]+$"):
        run(model, zeros(model))


@pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING)
@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_litert(name: str) -> None:
    model = one_op(*REFUSED[name])
    with pytest.raises(Rejected):
        litert.run(write_model(model), [zeros(model)])


@pytest.mark.parametrize("name", [*CRASHES, *UNDEFINED])
def test_undefined(name: str) -> None:
    entry = {**CRASHES, **UNDEFINED}[name]
    model = one_op(*entry)
    with pytest.raises(RefquantError, match=rf"^subgraph 0, operator 0 \({entry[0]}\): [^\n]+$") as caught:
        run(model, zeros(model))
    assert isinstance(caught.value, InvalidModel | UnsupportedModel)


@pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING)
@pytest.mark.parametrize("name", CRASHES)
def test_crashes_litert(name: str) -> None:
    model = one_op(*CRASHES[name])
    with pytest.raises(Crashed):
        litert.run(write_model(model), [zeros(model)])


def test_softmax_of_511_equal_values() -> None:
    """One value fewer than TFLite's reference kernel dies of."""
    model = one_op("SOFTMAX", [q((1, 511))], [q((1, 511), 1 / 256, -128)], BETA)
    assert set(run(model, zeros(model))[0].flat) == {-127}


def test_overflow_can_be_an_error() -> None:
    """The sum of 4096 equal exponentials does not fit the int32 accumulator, which the kernel reads as unsigned."""
    model = one_op("SOFTMAX", [q((1, 4096))], [T((1, 4096), "INT16", 1 / 32768)], BETA)
    assert set(run(model, zeros(model))[0].flat) == {-32752}
    with pytest.raises(AccumulatorOverflow):
        run(model, zeros(model), "error")


@pytest.mark.parametrize("shape", [(1, 50000, 2), (3, 4097, 5), (32, 49, 1280), (2, 3, 70000)])
def test_numpy_reduces_a_middle_axis_in_order(shape: tuple[int, int, int]) -> None:
    """The float32 sums rest on it: only along the fastest axis does NumPy add in pairs."""
    rng = np.random.default_rng(0)
    x = (rng.normal(0, 1, shape) * np.exp(rng.normal(0, 3, shape))).astype(np.float32)
    assert np.array_equal(np.add.reduce(x, axis=1), np.add.accumulate(x, axis=1)[:, -1])
