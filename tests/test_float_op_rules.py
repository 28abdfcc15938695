"""What the ops of float models refuse: with LiteRT, or where LiteRT looks at too little; and some of their oddities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import oracle
from models import T, one_op
from oracle import Rejected, litert
from refquant.errors import RefquantError
from refquant.model import read_model, write_model
from refquant.model.graph import Model
from refquant.program import Value, execute, prepare
from refquant.runtimes import runtime_named

needs_litert = pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING)

F32, I32, I8 = T((2, 3), "FLOAT32"), T((2, 3), "INT32"), T((2, 3), "INT8", 0.5)
IDS = T((2,), "INT32")
WINDOW = {"padding": "SAME", "stride_d": 1, "stride_h": 1, "stride_w": 1}
VOLUME, FILTER = T((1, 2, 2, 2, 1), "FLOAT32"), T(data=np.ones((1, 1, 1, 1, 2), np.float32))
Y5 = T((1, 2, 2, 2, 2), "FLOAT32")


def i32(*values: int) -> T:
    return T(data=np.array(values, np.int32))


Entry = tuple[str, list[T | None], list[T], dict[str, Any]]

# Name -> operator, inputs, outputs, options. LiteRT and refquant refuse each, with inputs of zeros.
REFUSED: dict[str, Entry] = {
    "sin: int32": ("SIN", [I32], [I32], {}),
    "pow: types": ("POW", [F32, I32], [F32], {}),
    "pow: shapes": ("POW", [F32, T((2,), "FLOAT32")], [F32], {}),
    "pow: int8": ("POW", [I8, I8], [I8], {}),
    "atan2: int32": ("ATAN2", [I32, I32], [I32], {}),
    "atan2: ranks": ("ATAN2", [F32, T((6,), "FLOAT32")], [F32], {}),
    "add_n: one input": ("ADD_N", [F32], [F32], {}),
    "add_n: shapes": ("ADD_N", [F32, T((3, 2), "FLOAT32")], [F32], {}),
    "add_n: types": ("ADD_N", [F32, I32], [F32], {}),
    "add_n: int8": ("ADD_N", [I8, I8], [I8], {}),
    "fake_quant: narrow_range": (
        "FAKE_QUANT",
        [F32],
        [F32],
        {"min": -1.0, "max": 1.0, "num_bits": 8, "narrow_range": True},
    ),
    "bitcast: last axis": ("BITCAST", [T((2, 3), "INT8")], [F32], {}),
    "local_response_normalization: rank": ("LOCAL_RESPONSE_NORMALIZATION", [F32], [F32], {"radius": 1}),
    "real: float": ("REAL", [F32], [F32], {}),
    "matrix_diag: scalar": ("MATRIX_DIAG", [T((), "FLOAT32")], [F32], {}),
    "matrix_set_diag: rank": ("MATRIX_SET_DIAG", [T((3,), "FLOAT32")] * 2, [F32], {}),
    "reverse_sequence: int8": ("REVERSE_SEQUENCE", [I8, IDS], [I8], {"seq_dim": 1, "batch_dim": 0}),
    "reverse_sequence: one axis": ("REVERSE_SEQUENCE", [F32, IDS], [F32], {"seq_dim": 0, "batch_dim": 0}),
    "reverse_sequence: number": ("REVERSE_SEQUENCE", [F32, T((3,), "INT32")], [F32], {"seq_dim": 1, "batch_dim": 0}),
    "unique: rank": ("UNIQUE", [F32], [F32, I32], {"idx_out_type": "INT32"}),
    "unique: index type": ("UNIQUE", [T((3,), "FLOAT32")], [F32, T((3,), "INT64")], {"idx_out_type": "INT32"}),
    "embedding_lookup: ids": ("EMBEDDING_LOOKUP", [I32, F32], [F32], {}),
    "embedding_lookup: table": ("EMBEDDING_LOOKUP", [IDS, T((3,), "FLOAT32")], [F32], {}),
    "sparse_to_dense: coordinates": ("SPARSE_TO_DENSE", [I32, i32(4, 4), F32, T((), "FLOAT32")], [F32], {}),
    "sparse_to_dense: count": ("SPARSE_TO_DENSE", [IDS, i32(4), T((3,), "FLOAT32"), T((), "FLOAT32")], [F32], {}),
    "unsorted_segment_sum: ids": ("UNSORTED_SEGMENT_SUM", [F32, T((3,), "INT32"), i32(4)], [F32], {}),
    "unsorted_segment_sum: int64": ("UNSORTED_SEGMENT_SUM", [T((2, 3), "INT64"), IDS, i32(4)], [F32], {}),
    "bucketize: order": ("BUCKETIZE", [F32], [I32], {"boundaries": [1.0, 0.0]}),
    "conv_3d: channels": ("CONV_3D", [T((1, 2, 2, 2, 3), "FLOAT32"), FILTER], [Y5], WINDOW),
    "conv_3d: rank": ("CONV_3D", [F32, FILTER], [Y5], WINDOW),
    "conv_3d: stride 0": ("CONV_3D", [VOLUME, FILTER], [Y5], {**WINDOW, "stride_d": 0}),
    "conv_3d: int8": ("CONV_3D", [T((1, 2, 2, 2, 1), "INT8", 0.5), FILTER], [Y5], WINDOW),
    "conv_3d: bias": ("CONV_3D", [VOLUME, FILTER, T((3,), "FLOAT32")], [Y5], WINDOW),
    "conv_3d_transpose: size": (
        "CONV_3D_TRANSPOSE",
        [i32(1, 3, 2, 2, 1), T(data=np.ones((1, 1, 1, 1, 1), np.float32)), VOLUME],
        [Y5],
        WINDOW,
    ),
}

# LiteRT does not look at these, and reads or writes outside of its tensors.
UNCHECKED: dict[str, Entry] = {
    "atan2: sizes": ("ATAN2", [F32, T((2, 2), "FLOAT32")], [F32], {}),
    "matrix_set_diag: size": ("MATRIX_SET_DIAG", [F32, T((1,), "FLOAT32")], [F32], {}),
}

# Operator, inputs, outputs, options, arrays; refused while the model runs.
RUNS: dict[str, tuple[Entry, list[np.ndarray], bool]] = {
    "pow: negative int32": (
        ("POW", [I32, I32], [I32], {}),
        [np.full((2, 3), 2, np.int32), np.full((2, 3), -1, np.int32)],
        True,
    ),
    "pow: beyond int32": (
        ("POW", [I32, I32], [I32], {}),
        [np.full((2, 3), 3, np.int32), np.full((2, 3), 21, np.int32)],
        False,
    ),
    "embedding_lookup: id": (
        ("EMBEDDING_LOOKUP", [IDS, F32], [F32], {}),
        [np.array([0, 2], np.int32), np.zeros((2, 3), np.float32)],
        True,
    ),
    "sparse_to_dense: index": (
        ("SPARSE_TO_DENSE", [IDS, i32(4), T((2,), "FLOAT32"), T((), "FLOAT32")], [F32], {}),
        [np.array([0, 4], np.int32), np.zeros(2, np.float32), np.zeros((), np.float32)],
        True,
    ),
    "reverse_sequence: first length": (
        ("REVERSE_SEQUENCE", [F32, IDS], [F32], {"seq_dim": 1, "batch_dim": 0}),
        [np.zeros((2, 3), np.float32), np.array([4, 1], np.int32)],
        True,
    ),
    "reverse_sequence: another length": (
        ("REVERSE_SEQUENCE", [F32, IDS], [F32], {"seq_dim": 1, "batch_dim": 0}),
        [np.zeros((2, 3), np.float32), np.array([1, 4], np.int32)],
        False,
    ),
    "segment ids: too large": (
        ("UNSORTED_SEGMENT_MAX", [F32, IDS, i32(2)], [F32], {}),
        [np.zeros((2, 3), np.float32), np.array([0, 2], np.int32)],
        True,
    ),
}


def build(entry: Entry) -> Model:
    name, inputs, outputs, options = entry
    return one_op(name, inputs, outputs, options)


def zeros(model: Model) -> list[np.ndarray]:
    return [np.zeros(model.graph.tensors[i].shape, model.graph.tensors[i].dtype) for i in model.graph.inputs]


def run(model: Model, arrays: list[np.ndarray], runtime: str = "tflite_ref") -> np.ndarray:
    program = prepare(read_model(write_model(model)), runtime_named(runtime))
    outputs = execute(program, dict(zip(model.graph.inputs, map(Value, arrays), strict=True)))
    return next(iter(outputs.values())).array


@pytest.mark.parametrize("name", [*REFUSED, *UNCHECKED])
def test_refquant_refuses(name: str) -> None:
    model = build((REFUSED | UNCHECKED)[name])
    with pytest.raises(RefquantError, match=r"subgraph 0, operator 0") as caught:
        run(model, zeros(model))
    assert "internal error" not in str(caught.value)


@needs_litert
@pytest.mark.parametrize("name", REFUSED)
def test_litert_refuses_too(name: str) -> None:
    model = build(REFUSED[name])
    with pytest.raises(Rejected):
        litert.run(write_model(model), [zeros(model)])


@pytest.mark.parametrize("name", RUNS)
def test_refquant_refuses_values(name: str) -> None:
    entry, arrays, _ = RUNS[name]
    with pytest.raises(RefquantError, match=r"subgraph 0, operator 0") as caught:
        run(build(entry), arrays)
    assert "internal error" not in str(caught.value)


@needs_litert
@pytest.mark.parametrize("name", [name for name, (_, _, refused) in RUNS.items() if refused])
def test_litert_refuses_values_too(name: str) -> None:
    entry, arrays, _ = RUNS[name]
    with pytest.raises(Rejected):
        litert.run(write_model(build(entry)), [arrays])


def test_one_exponent_near_a_whole_number_is_taken_for_it() -> None:
    x = np.array([3.0, -0.7, 1.1], np.float32)
    many = one_op("POW", [T((3,), "FLOAT32"), T((3,), "FLOAT32")], [T((3,), "FLOAT32")])
    one = one_op("POW", [T((3,), "FLOAT32"), T((), "FLOAT32")], [T((3,), "FLOAT32")])
    near = np.float32(3.000005)
    assert run(one, [x, np.array(near)]).tolist() == (x * (x * x)).tolist()
    assert np.isnan(run(many, [x, np.full(3, near)])).tolist() == [False, True, False]


def test_samples_with_an_exponent_each() -> None:
    model = one_op("POW", [T((1, 3), "FLOAT32"), T((1,), "FLOAT32")], [T((1, 3), "FLOAT32")])
    program = prepare(model, runtime_named("tflite_ref"))
    x = np.random.default_rng(0).normal(0, 2, (3, 1, 3)).astype(np.float32)
    exponents = np.array([[2.0], [0.5], [3.000001]], np.float32)
    values = {0: Value(x, True), 1: Value(exponents, True)}
    (together,) = execute(program, values, 3).values()
    for sample in range(3):
        np.testing.assert_array_equal(together.array[sample], run(model, [x[sample], exponents[sample]]))


@pytest.mark.parametrize("op", ["SIN", "COS", "EXP", "LOG", "TANH", "LOGISTIC", "ELU"])
def test_fast_functions_are_close(op: str) -> None:
    x = np.random.default_rng(1).normal(0, 4, (40, 50)).astype(np.float32)
    x = np.abs(x) + np.float32(1e-3) if op == "LOG" else x
    model = one_op(op, [T(x.shape, "FLOAT32")], [T(x.shape, "FLOAT32")])
    np.testing.assert_allclose(run(model, [x], "fast_float"), run(model, [x]), rtol=3e-6, atol=1e-7)
