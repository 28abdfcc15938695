"""What the movement ops refuse: with LiteRT, or where LiteRT reads foreign memory or leaves elements unwritten."""

from __future__ import annotations

import zlib
from collections import Counter
from typing import Any

import numpy as np
import pytest

import oracle
from cases.wild_movement import WILD
from crosscheck import differing
from models import T, one_op
from oracle import Rejected, litert
from refquant.errors import InvalidInput, InvalidModel, RefquantError, UnsupportedModel
from refquant.model import read_model, write_model
from refquant.model.graph import Model
from refquant.program import Value, execute, prepare
from refquant.runtimes import runtime_named


def i32(*values: Any) -> T:
    return T(data=np.array(values, np.int32))


def i64(*values: Any) -> T:
    return T(data=np.array(values, np.int64))


def scalar(value: Any, dtype: Any = np.int32) -> T:
    return T(data=np.array(value, dtype))


def q(shape: tuple[int, ...], scale: float, zero_point: int = 0, type: str = "INT8") -> T:
    return T(shape, type, scale=scale, zero_point=zero_point)


X, Y, U8 = T((2, 3)), T((1,)), T((1,), "UINT8")
STRIDED = {"begin_mask": 0, "end_mask": 0, "ellipsis_mask": 0, "new_axis_mask": 0, "shrink_axis_mask": 0}
REFLECT, SYMMETRIC = {"mode": "REFLECT"}, {"mode": "SYMMETRIC"}
PADS = T(data=np.array([[1, 1], [1, 1]], np.int32))
BOOL2 = T((2,), "BOOL")

# Name -> operator, inputs, outputs, options. LiteRT and refquant refuse each.
REFUSED: dict[str, tuple[str, list[T | None], list[T], dict[str, Any]]] = {
    "reshape: other number of elements": ("RESHAPE", [X, i32(4)], [Y], {}),
    "reshape: operand [0] is no scalar": ("RESHAPE", [T((1,)), i32(0)], [Y], {}),
    "reshape: two -1": ("RESHAPE", [X, i32(-1, -1)], [Y], {}),
    "reshape: negative": ("RESHAPE", [X, i32(-2, -3)], [Y], {}),
    "reshape: -1 that does not divide": ("RESHAPE", [X, i32(-1, 4)], [Y], {}),
    "reshape: no shape": ("RESHAPE", [X], [Y], {}),
    "squeeze: size 3": ("SQUEEZE", [X], [Y], {"squeeze_dims": [1]}),
    "squeeze: no axis": ("SQUEEZE", [X], [Y], {"squeeze_dims": [2]}),
    "squeeze: rank 9": ("SQUEEZE", [T((1,) * 9)], [Y], {}),
    "expand_dims: axis too small": ("EXPAND_DIMS", [X, i32(-4)], [Y], {}),
    "expand_dims: axis too large": ("EXPAND_DIMS", [X, i32(3)], [Y], {}),
    "expand_dims: two axes": ("EXPAND_DIMS", [X, i32(0, 1)], [Y], {}),
    "expand_dims: axis INT16": ("EXPAND_DIMS", [X, scalar(0, np.int16)], [Y], {}),
    "expand_dims: another scale": ("EXPAND_DIMS", [q((2,), 0.5), i32(0)], [Y], {}),
    "transpose: perm too short": ("TRANSPOSE", [X, i32(0)], [Y], {}),
    "transpose: perm out of range": ("TRANSPOSE", [X, i32(0, 2)], [Y], {}),
    "transpose: perm is a matrix": ("TRANSPOSE", [X, T(data=np.array([[1, 0]], np.int32))], [Y], {}),
    "transpose: rank 9": ("TRANSPOSE", [T((1,) * 9), i32(*range(9))], [Y], {}),
    "transpose: another type": ("TRANSPOSE", [X, i32(1, 0)], [U8], {}),
    "tile: negative": ("TILE", [X, i32(-1, 2)], [Y], {}),
    "tile: too few": ("TILE", [X, i32(2)], [Y], {}),
    "tile: INT16": ("TILE", [X, T(data=np.array([1, 1], np.int16))], [Y], {}),
    "broadcast_to: does not broadcast": ("BROADCAST_TO", [X, i32(2, 4)], [Y], {}),
    "broadcast_to: fewer axes": ("BROADCAST_TO", [X, i32(3)], [Y], {}),
    "broadcast_to: a scalar shape": ("BROADCAST_TO", [X, scalar(3)], [Y], {}),
    "reverse: not neighbours": ("REVERSE_V2", [T((2, 3, 4)), i32(0, 2)], [Y], {}),
    "reverse: one axis twice": ("REVERSE_V2", [X, i32(1, 1)], [Y], {}),
    "reverse: no axis": ("REVERSE_V2", [X, i32(2)], [Y], {}),
    "reverse: a scalar": ("REVERSE_V2", [X, scalar(1)], [Y], {}),
    "reverse: INT64": ("REVERSE_V2", [X, i64(1)], [Y], {}),
    "reverse: rank 9": ("REVERSE_V2", [T((1,) * 9), i32(1)], [Y], {}),
    "space_to_depth: does not divide": ("SPACE_TO_DEPTH", [T((1, 3, 4, 1))], [Y], {"block_size": 2}),
    "space_to_depth: block 0": ("SPACE_TO_DEPTH", [T((1, 4, 4, 1))], [Y], {"block_size": 0}),
    "space_to_depth: rank 3": ("SPACE_TO_DEPTH", [T((4, 4, 1))], [Y], {"block_size": 2}),
    "depth_to_space: does not divide": ("DEPTH_TO_SPACE", [T((1, 1, 1, 6))], [Y], {"block_size": 2}),
    "space_to_batch: does not divide": ("SPACE_TO_BATCH_ND", [T((1, 4, 2)), i32(3), i32((0, 0))], [Y], {}),
    "space_to_batch: block 0": ("SPACE_TO_BATCH_ND", [T((1, 4, 2)), i32(0), i32((0, 0))], [Y], {}),
    "space_to_batch: block -2": ("SPACE_TO_BATCH_ND", [T((1, 4, 2)), i32(-2), i32((0, 0))], [Y], {}),
    "space_to_batch: other zero point": (
        "SPACE_TO_BATCH_ND",
        [q((1, 4, 2), 1.0, 3), i32(2), i32((0, 0))],
        [q((1,), 1.0)],
        {},
    ),
    "space_to_batch: rank 5": (
        "SPACE_TO_BATCH_ND",
        [T((1,) * 5), i32(1, 1, 1), T(data=np.zeros((3, 2), np.int32))],
        [Y],
        {},
    ),
    "batch_to_space: does not divide": ("BATCH_TO_SPACE_ND", [T((3, 2, 2)), i32(2), i32((0, 0))], [Y], {}),
    "batch_to_space: negative crop": ("BATCH_TO_SPACE_ND", [T((4, 2, 2)), i32(2), i32((-1, 0))], [Y], {}),
    "batch_to_space: crop too large": ("BATCH_TO_SPACE_ND", [T((4, 2, 2)), i32(2), i32((3, 2))], [Y], {}),
    "batch_to_space: other scale": ("BATCH_TO_SPACE_ND", [q((4, 2, 2), 1.0), i32(2), i32((0, 0))], [Y], {}),
    "slice: negative begin": ("SLICE", [X, i32(0, -1), i32(-1, 1)], [T(())], {}),
    "slice: begin beyond": ("SLICE", [X, i32(0, 4), i32(-1, -1)], [T(())], {}),
    "slice: size beyond": ("SLICE", [X, i32(0, 2), i32(-1, 2)], [T(())], {}),
    "slice: size -2": ("SLICE", [X, i32(0, 2), i32(-1, -2)], [T(())], {}),
    "slice: too few": ("SLICE", [X, i32(0), i32(1)], [T(())], {}),
    "slice: two types": ("SLICE", [X, i64(0, 1), i32(-1, 2)], [T(())], {}),
    "slice: another shape declared": ("SLICE", [X, i32(0, 1), i32(-1, 2)], [T((2, 1))], {}),
    "slice: another rank declared": ("SLICE", [X, i32(0, 1), i32(-1, 2)], [T((4,))], {}),
    "strided_slice: stride 0": ("STRIDED_SLICE", [X, i32(0, 0), i32(1, 1), i32(1, 0)], [Y], STRIDED),
    "strided_slice: stride -2^31": ("STRIDED_SLICE", [X, i32(0, 0), i32(1, 1), i32(1, -(2**31))], [Y], STRIDED),
    "strided_slice: INT64": ("STRIDED_SLICE", [X, i64(0, 0), i64(1, 1), i64(1, 1)], [Y], STRIDED),
    "strided_slice: begin longer than end": ("STRIDED_SLICE", [X, i32(0, 0), i32(1), i32(1, 1)], [Y], STRIDED),
    "split: axis": ("SPLIT", [scalar(2), X], [Y, Y, Y], {"num_splits": 3}),
    "split: not even": ("SPLIT", [scalar(1), X], [Y, Y], {"num_splits": 2}),
    "split: number of outputs": ("SPLIT", [scalar(1), X], [Y, Y], {"num_splits": 3}),
    "split_v: two -1": ("SPLIT_V", [X, i32(-1, -1), scalar(1)], [Y, Y], {"num_splits": 2}),
    "split_v: sum": ("SPLIT_V", [X, i32(1, 1), scalar(1)], [Y, Y], {"num_splits": 2}),
    "split_v: -1 of nothing left": ("SPLIT_V", [X, i32(4, -1), scalar(1)], [Y, Y], {"num_splits": 2}),
    "split_v: -2": ("SPLIT_V", [X, i32(-2, 5), scalar(1)], [Y, Y], {"num_splits": 2}),
    "split_v: INT16": ("SPLIT_V", [X, T(data=np.array([1, 2], np.int16)), scalar(1)], [Y, Y], {"num_splits": 2}),
    "split_v: sizes of rank 2": ("SPLIT_V", [X, i32((1, 2)), scalar(1)], [Y, Y], {"num_splits": 2}),
    "unpack: axis": ("UNPACK", [X], [Y, Y], {"axis": 2, "num": 2}),
    "unpack: num": ("UNPACK", [X], [Y, Y], {"axis": 1, "num": 2}),
    "unpack: empty": ("UNPACK", [T((2, 0))], [Y, Y], {"axis": 0, "num": 2}),
    "unpack: other scale": ("UNPACK", [q((2, 3), 1.0)], [q((1,), 2.0)] * 2, {"axis": 0, "num": 2}),
    "pack: axis": ("PACK", [X, X], [Y], {"axis": 3, "values_count": 2}),
    "pack: count": ("PACK", [X, X], [Y], {"axis": 0, "values_count": 3}),
    "pack: shapes": ("PACK", [X, T((3, 2))], [Y], {"axis": 0, "values_count": 2}),
    "pack: types": ("PACK", [X, T((2, 3), "UINT8")], [Y], {"axis": 0, "values_count": 2}),
    "pack: one scale differs": ("PACK", [q((2,), 1.0), q((2,), 2.0)], [q((1,), 1.0)], {"axis": 0, "values_count": 2}),
    "concatenation: axis": ("CONCATENATION", [X, X], [Y], {"axis": 2}),
    "concatenation: axis -3": ("CONCATENATION", [X, X], [Y], {"axis": -3}),
    "concatenation: shapes": ("CONCATENATION", [X, T((3, 3))], [Y], {"axis": 1}),
    "concatenation: ranks": ("CONCATENATION", [X, T((2,))], [Y], {"axis": 0}),
    "concatenation: types": ("CONCATENATION", [X, T((2, 3), "UINT8")], [Y], {"axis": 0}),
    "concatenation: activation": ("CONCATENATION", [X, X], [Y], {"axis": 0, "fused_activation_function": "RELU"}),
    "concatenation: scale": ("CONCATENATION", [q((2,), 1.0), q((2,), 2.0)], [q((1,), 1.0)], {"axis": 0}),
    "concatenation: zero point": ("CONCATENATION", [q((2,), 1.0), q((2,), 1.0, 1)], [q((1,), 1.0)], {"axis": 0}),
    "concatenation: output": ("CONCATENATION", [q((2,), 1.0), q((2,), 1.0)], [q((1,), 2.0)], {"axis": 0}),
    "concatenation: scalars": ("CONCATENATION", [T(()), T(())], [Y], {"axis": 0}),
    "concatenation: constant scalars, axis -1": (
        "CONCATENATION",
        [scalar(1), scalar(2)],
        [T((1,), "INT32")],
        {"axis": -1},
    ),
    "select: shapes": ("SELECT", [BOOL2, T((2, 3)), T((1, 3))], [Y], {}),
    "select: rank-1 condition of another length": ("SELECT", [T((3,), "BOOL"), X, X], [Y], {}),
    "select: condition type": ("SELECT", [T((2,)), T((2,)), T((2,))], [Y], {}),
    "select: types": ("SELECT", [BOOL2, T((2,)), T((2,), "UINT8")], [Y], {}),
    "select_v2: shapes": ("SELECT_V2", [BOOL2, X, X], [Y], {}),
    "select_v2: empty": ("SELECT_V2", [T((0, 1), "BOOL"), X, T((1, 1))], [Y], {}),
    "select_v2: rank 9": ("SELECT_V2", [T((1,) * 9, "BOOL"), T((2,)), T((2,))], [Y], {}),
    "gather: axis": ("GATHER", [X, i32(0)], [Y], {"axis": 2, "batch_dims": 0}),
    "gather: batch_dims beyond axis": (
        "GATHER",
        [X, T(data=np.zeros((2, 1), np.int32))],
        [Y],
        {"axis": 0, "batch_dims": 1},
    ),
    "gather: batches": ("GATHER", [X, T(data=np.zeros((3, 1), np.int32))], [Y], {"axis": 1, "batch_dims": 1}),
    "gather: INT8 indices": ("GATHER", [X, T(data=np.zeros(1, np.int8))], [Y], {"axis": 0, "batch_dims": 0}),
    "gather: a scalar": ("GATHER", [T(()), i32(0)], [Y], {"axis": 0, "batch_dims": 0}),
    "gather: index": ("GATHER", [X, i32(2)], [Y], {"axis": 0, "batch_dims": 0}),
    "gather: negative index": ("GATHER", [X, i32(-1)], [Y], {"axis": 0, "batch_dims": 0}),
    "gather: index, nothing inside": ("GATHER", [T((2, 0)), i32(7)], [Y], {"axis": 0, "batch_dims": 0}),
    "gather_nd: coordinates": ("GATHER_ND", [X, i32((0, 0, 0))], [Y], {}),
    "gather_nd: scalar indices": ("GATHER_ND", [X, scalar(0)], [Y], {}),
    "gather_nd: scalar": ("GATHER_ND", [T(()), i32(0)], [Y], {}),
    "gather_nd: empty input": ("GATHER_ND", [T((2, 0)), i32((1,))], [Y], {}),
    "gather_nd: index": ("GATHER_ND", [X, i32((0, 3))], [Y], {}),
    "gather_nd: negative index": ("GATHER_ND", [X, i32((0, -1))], [Y], {}),
    "scatter_nd: index": ("SCATTER_ND", [i32((5,)), T((1, 2)), i32(5, 2)], [Y], {}),
    "scatter_nd: INT64": ("SCATTER_ND", [i64((1,)), T((1, 2)), i64(5, 2)], [Y], {}),
    "scatter_nd: slices": ("SCATTER_ND", [i32((1,)), T((1, 3)), i32(5, 2)], [Y], {}),
    "scatter_nd: number": ("SCATTER_ND", [i32((1,)), T((2, 2)), i32(5, 2)], [Y], {}),
    "dynamic_update_slice: too large": ("DYNAMIC_UPDATE_SLICE", [X, T((3, 1)), i32(0, 0)], [Y], {}),
    "dynamic_update_slice: rank": ("DYNAMIC_UPDATE_SLICE", [X, T((2,)), i32(0, 0)], [Y], {}),
    "dynamic_update_slice: start": ("DYNAMIC_UPDATE_SLICE", [X, T((1, 1)), i32(0)], [Y], {}),
    "where: a scalar": ("WHERE", [T((), "BOOL")], [T((1,), "INT64")], {}),
    "topk: k": ("TOPK_V2", [X, scalar(4)], [Y, T((1,), "INT32")], {}),
    "topk: a scalar": ("TOPK_V2", [T(()), scalar(1)], [Y, T((1,), "INT32")], {}),
    "topk: INT64 k": ("TOPK_V2", [X, scalar(1, np.int64)], [Y, T((1,), "INT32")], {}),
    "pad: negative": ("PAD", [T((2,)), i32((-1, 1))], [Y], {}),
    "pad: beyond int32": ("PAD", [T((2,)), i64((2**33, 1))], [Y], {}),
    "pad: rank 6": ("PAD", [T((1,) * 6), T(data=np.zeros((6, 2), np.int32))], [Y], {}),
    "pad: rows": ("PAD", [T((2,)), PADS], [Y], {}),
    "pad: a vector": ("PAD", [T((2,)), i32(1, 1)], [Y], {}),
    "pad: another type": ("PAD", [X, PADS], [U8], {}),
    "padv2: two values": ("PADV2", [X, PADS, T((2,))], [Y], {}),
    "padv2: type of the value": ("PADV2", [X, PADS, scalar(1)], [Y], {}),
    "padv2: zero point of the value": ("PADV2", [q((2, 3), 1.0), PADS, q((), 1.0, 1)], [q((1,), 1.0)], {}),
    "padv2: scale of the value": ("PADV2", [q((2, 3), 1.0), PADS, q((), 2.0)], [q((1,), 1.0)], {}),
    "mirror_pad: reflect 3 of 3": ("MIRROR_PAD", [T((3,)), i32((3, 0))], [Y], REFLECT),
    "mirror_pad: symmetric 4 of 3": ("MIRROR_PAD", [T((3,)), i32((0, 4))], [Y], SYMMETRIC),
    "mirror_pad: negative": ("MIRROR_PAD", [T((3,)), i32((-1, 1))], [Y], SYMMETRIC),
    "mirror_pad: reflect nothing": ("MIRROR_PAD", [T((0,)), i32((0, 0))], [Y], REFLECT),
    "mirror_pad: rows": ("MIRROR_PAD", [T((3,)), PADS], [Y], SYMMETRIC),
    "mirror_pad: INT16": ("MIRROR_PAD", [T((3,)), T(data=np.ones((1, 2), np.int16))], [Y], SYMMETRIC),
    "mirror_pad: scale": ("MIRROR_PAD", [q((3,), 1.0), i32((1, 1))], [q((1,), 2.0)], SYMMETRIC),
    "shape: out_type": ("SHAPE", [X], [T((2,), "FLOAT32")], {"out_type": "FLOAT32"}),
    "fill: negative": ("FILL", [i32(2, -1), T(())], [Y], {}),
    "fill: dims is a scalar": ("FILL", [scalar(2), T(())], [Y], {}),
    "fill: value is a vector": ("FILL", [i32(2), T((1,))], [Y], {}),
    "fill: zero point": ("FILL", [i32(2), q((), 1.0, 3)], [q((1,), 1.0, 4)], {}),
    "range: wrong way": ("RANGE", [scalar(0), scalar(5), scalar(-1)], [T((1,), "INT32")], {}),
    "range: delta 0": ("RANGE", [scalar(0), scalar(5), scalar(0)], [T((1,), "INT32")], {}),
    "range: a vector": ("RANGE", [i32(0), scalar(5), scalar(1)], [T((1,), "INT32")], {}),
    "range: types": ("RANGE", [scalar(0), scalar(5, np.int64), scalar(1)], [T((1,), "INT32")], {}),
    "range: NaN": ("RANGE", [scalar(v, np.float32) for v in (0, 1, np.nan)], [T((1,), "FLOAT32")], {}),
    "one_hot: axis": ("ONE_HOT", [T((2,), "INT32"), scalar(3), T(()), T(())], [Y], {"axis": 2}),
    "one_hot: axis -2": ("ONE_HOT", [T((2,), "INT32"), scalar(3), T(()), T(())], [Y], {"axis": -2}),
    "one_hot: depth": ("ONE_HOT", [T((2,), "INT32"), scalar(-1), T(()), T(())], [Y], {"axis": -1}),
    "one_hot: two on values": ("ONE_HOT", [T((2,), "INT32"), scalar(3), T((2,)), T(())], [Y], {"axis": -1}),
    "cumsum: axis": ("CUMSUM", [T((2, 3), "INT32"), scalar(2)], [T((1,), "INT32")], {}),
    "cumsum: INT64 axis": ("CUMSUM", [T((2, 3), "INT32"), scalar(1, np.int64)], [T((1,), "INT32")], {}),
    "cumsum: a scalar": ("CUMSUM", [T((), "INT32"), scalar(0)], [T((1,), "INT32")], {}),
}

# LiteRT runs these, but what it gives is not defined: it reads or leaves foreign memory, or crashes.
UNDEFINED: dict[str, tuple[str, list[T | None], list[T], dict[str, Any]]] = {
    "transpose: one axis twice": ("TRANSPOSE", [X, i32(0, 0)], [Y], {}),
    "transpose: a scalar": ("TRANSPOSE", [T(()), T(data=np.zeros(0, np.int32))], [T(())], {}),
    "gather_nd: no coordinates": ("GATHER_ND", [X, T(data=np.zeros((2, 0), np.int32))], [Y], {}),
    "reverse: no axes": ("REVERSE_V2", [X, T(data=np.zeros(0, np.int32))], [Y], {}),
    "reverse: an empty axis behind": ("REVERSE_V2", [T((4, 3, 0)), i32(-2, 0)], [Y], {}),
    "strided_slice: index out of range": (
        "STRIDED_SLICE",
        [X, i32(2, 0), i32(3, 3), i32(1, 1)],
        [Y],
        {**STRIDED, "shrink_axis_mask": 1},
    ),
    "strided_slice: index with a negative stride": (
        "STRIDED_SLICE",
        [X, i32(1, 0), i32(2, 3), i32(-1, 1)],
        [Y],
        {**STRIDED, "shrink_axis_mask": 1},
    ),
    "strided_slice: offset beyond the end": (
        "STRIDED_SLICE",
        [X, i32(1, 1), i32(1, 5), i32(1, 1)],
        [Y],
        {**STRIDED, "offset": True},
    ),
    "strided_slice: offset of nothing, to the end": (
        "STRIDED_SLICE",
        [X, i32(0, 1), i32(2, 0), i32(1, 1)],
        [Y],
        {**STRIDED, "offset": True, "end_mask": 2},
    ),
    "strided_slice: offset without an end": (
        "STRIDED_SLICE",
        [X, i32(1), i32(1), i32(1)],
        [Y],
        {**STRIDED, "offset": True},
    ),
    "strided_slice: two ellipses": (
        "STRIDED_SLICE",
        [X, i32(0, 0), i32(1, 1), i32(1, 1)],
        [Y],
        {**STRIDED, "ellipsis_mask": 3},
    ),
    "strided_slice: strides too short": ("STRIDED_SLICE", [X, i32(0, 0), i32(1, 1), i32(1)], [Y], STRIDED),
    "range: int32 overflow": ("RANGE", [scalar(-3), scalar(2**31 - 1), scalar(2**31 - 1)], [T((1,), "INT32")], {}),
}


def model_of(entry: tuple[str, list[T | None], list[T], dict[str, Any]]) -> Model:
    op, inputs, outputs, options = entry
    return one_op(op, inputs, outputs, options, version=2 if op == "BROADCAST_TO" else 1)


def zeros(model: Model) -> list[np.ndarray]:
    tensors = [model.graph.tensors[index] for index in model.graph.inputs]
    return [np.zeros(tensor.shape, tensor.dtype) for tensor in tensors]


def run(model: Model, arrays: list[np.ndarray]) -> None:
    program = prepare(read_model(write_model(model)), runtime_named("tflite_ref"))
    execute(program, dict(zip(model.graph.inputs, map(Value, arrays), strict=True)))


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    model = model_of(REFUSED[name])
    with pytest.raises(InvalidModel, match=rf"^subgraph 0, operator 0 \({REFUSED[name][0]}\): ") as caught:
        run(model, zeros(model))
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING)
@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_litert(name: str) -> None:
    model = model_of(REFUSED[name])
    with pytest.raises(Rejected):
        litert.run(write_model(model), [zeros(model)])


@pytest.mark.parametrize("name", UNDEFINED)
def test_undefined(name: str) -> None:
    model = model_of(UNDEFINED[name])
    with pytest.raises(UnsupportedModel, match=rf"^subgraph 0, operator 0 \({UNDEFINED[name][0]}\): "):
        run(model, zeros(model))


@pytest.mark.parametrize("value", [-1, 2, 2**31 - 1])
@pytest.mark.parametrize("op", ["GATHER", "GATHER_ND", "SCATTER_ND"])
def test_run_time_index_out_of_range(op: str, value: int) -> None:
    """An index that is data is told as a fault of the input, with the operator's place."""
    index = T((1, 1), "INT32")
    inputs = [index, T((1, 3)), i32(2, 3)] if op == "SCATTER_ND" else [X, index]
    model = one_op(op, inputs, [Y], {"axis": 0, "batch_dims": 0} if op == "GATHER" else {})
    arrays = zeros(model)
    arrays[0 if op == "SCATTER_ND" else 1][:] = value
    with pytest.raises(InvalidInput, match=rf"^subgraph 0, operator 0 \({op}\): "):
        run(model, arrays)
    if oracle.INSTALLED:
        with pytest.raises(Rejected):
            litert.run(write_model(model), [arrays])


def test_slice_of_a_dynamic_declared_shape() -> None:
    """An output whose signature holds -1 may have another shape than the one it declares."""
    from dataclasses import replace

    model = one_op("SLICE", [X, i32(0, 1), i32(-1, 2)], [T((1, 2))])
    with pytest.raises(RefquantError):
        run(model, zeros(model))
    tensors = [*model.graph.tensors[:-1], replace(model.graph.tensors[-1], shape_signature=(-1, 2))]
    dynamic = model.with_graph(replace(model.graph, tensors=tuple(tensors)))
    run(dynamic, zeros(dynamic))
    if oracle.INSTALLED:
        litert.run(write_model(dynamic), [zeros(dynamic)])


def outcome(rng: np.random.Generator, model: Model) -> tuple[str, str]:
    """What LiteRT and what refquant make of a model: "ran" or "refused"; "differs" where their results do.

    LiteRT is not asked where refquant finds the result undefined: it might crash, or crash later.
    """
    tensors = [model.graph.tensors[index] for index in model.graph.inputs]
    arrays = [rng.integers(0, 100, tensor.shape).astype(tensor.dtype) for tensor in tensors]
    got, ours = {}, "ran"
    try:
        program = prepare(read_model(write_model(model)), runtime_named("tflite_ref"))
        got = execute(program, dict(zip(model.graph.inputs, map(Value, arrays), strict=True)))
    except (InvalidModel, InvalidInput):
        ours = "refused"
    except UnsupportedModel:
        return "not asked", "undefined"
    try:
        want = litert.run(write_model(model), [arrays])[0]
    except Rejected:
        return "refused", ours
    for index, value in got.items():
        if index in want and (want[index].shape != value.array.shape or differing(value.array, want[index]).any()):
            ours = "differs"
    return "ran", ours


@pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING)
@pytest.mark.parametrize("name", WILD)
def test_refuses_what_litert_refuses(name: str) -> None:
    """Random models, many of them wrong: both run and agree, or both refuse."""
    counts: Counter[tuple[str, str]] = Counter()
    for number in range(200):
        rng = np.random.default_rng([zlib.crc32(name.encode()), number])
        counts[outcome(rng, WILD[name](rng))] += 1
    print(name, dict(counts))
    assert set(counts) <= {("ran", "ran"), ("refused", "refused"), ("not asked", "undefined")}
    assert counts["ran", "ran"] >= 20
    assert counts["not asked", "undefined"] <= 40
