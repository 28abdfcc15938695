"""Operators for random float graphs beyond those of converter_oracle_graphs.

Every row of the quantizer's table that can stand in a chain, and operators without an int8 form between them.

Each takes a builder and a float tensor, draws a form that suits the tensor and gives the new tensors, or raises Unfit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from converter_oracle_graphs import (
    CHANNELS,
    OTHER_OPS,
    SLICE_OPS,
    Builder,
    Shape,
    activation,
    floats,
    needs,
)

Build = Callable[[Builder, int], list[int]]
SCALE_LIMIT = 4096  # elements of the largest tensor that an operator may make


def _coin(b: Builder, share: float = 0.5) -> bool:
    return bool(b.rng.random() < share)


def _axis(b: Builder, x: int) -> int:
    """Some dimension of the tensor, now and then counted from the end."""
    rank = len(b.shape(x))
    needs(rank > 0)
    axis = int(b.rng.integers(rank))
    return axis - rank if _coin(b, 0.2) else axis


def _ints(b: Builder, values: Any) -> int:
    return b.constant(np.array(values, np.int32))


def _like(b: Builder, x: int, shape: Shape) -> int:
    """A tensor of that shape: another one of the graph, or a constant."""
    others = [t for t in floats(b) if b.shape(t) == shape and t != x]
    if others and _coin(b, 0.6):
        return int(b.rng.choice(others))
    return b.numbers(shape)


def _small(shape: Shape) -> Shape:
    needs(int(np.prod(shape)) <= SCALE_LIMIT)
    return tuple(int(size) for size in shape)


# one operand, same shape


def _unary(name: str, options: Callable[[Builder], dict[str, Any]] | None = None) -> Build:
    def build(b: Builder, x: int) -> list[int]:
        return b.op(name, [x], [b.shape(x)], options(b) if options else None)

    return build


def cumsum(b: Builder, x: int) -> list[int]:
    return b.op("CUMSUM", [x, _ints(b, _axis(b, x) % len(b.shape(x)))], [b.shape(x)], {"exclusive": _coin(b)})


def reverse_v2(b: Builder, x: int) -> list[int]:
    return b.op("REVERSE_V2", [x, _ints(b, [_axis(b, x) % len(b.shape(x))])], [b.shape(x)])


def reverse_sequence(b: Builder, x: int) -> list[int]:
    shape = b.shape(x)
    needs(len(shape) >= 2)
    lengths = _ints(b, [int(b.rng.integers(1, shape[1] + 1)) for _ in range(shape[0])])
    return b.op("REVERSE_SEQUENCE", [x, lengths], [shape], {"seq_dim": 1, "batch_dim": 0})


# two operands


def _elementwise(name: str, fused: bool = False, type_: str = "FLOAT32") -> Build:
    """Any broadcast of a tensor with another, with itself or with a constant, on either side."""

    def build(b: Builder, x: int) -> list[int]:
        shape = b.shape(x)
        kind = b.rng.integers(5)
        if kind == 0:
            y = b.numbers(())
        elif kind == 1 and shape:
            y = b.numbers(shape[int(b.rng.integers(len(shape))) :])
        elif kind == 2 and shape:
            y = b.numbers(tuple(1 if _coin(b) else size for size in shape))
        elif kind == 3 and _coin(b, 0.3):
            y = x
        else:
            y = _like(b, x, shape)
        inputs = [y, x] if _coin(b, 0.4) else [x, y]
        out = np.broadcast_shapes(b.shape(x), b.shape(y))
        options = {"fused_activation_function": activation(b)} if fused else None
        return b.op(name, inputs, [out], options, types=(type_,))

    return build


def batch_matmul(b: Builder, x: int) -> list[int]:
    shape = b.shape(x)
    needs(len(shape) >= 2)
    adj_x, adj_y = _coin(b, 0.3), _coin(b, 0.3)
    rows, depth = (shape[-1], shape[-2]) if adj_x else shape[-2:]
    columns = int(b.rng.choice(CHANNELS))
    square = rows == depth and _coin(b, 0.3)
    y = x if square and not adj_x else _like(b, x, (*shape[:-2], *((columns, depth) if adj_y else (depth, columns))))
    columns = b.shape(y)[-2 if adj_y else -1]
    return b.op("BATCH_MATMUL", [x, y], [(*shape[:-2], rows, columns)], {"adj_x": adj_x, "adj_y": adj_y})


def add_n(b: Builder, x: int) -> list[int]:
    return b.op("ADD_N", [x, *(_like(b, x, b.shape(x)) for _ in range(int(b.rng.integers(1, 3))))], [b.shape(x)])


def _condition(b: Builder, shape: Shape) -> int:
    known = [i for i, t in enumerate(b.tensors) if t.type == "BOOL" and t.shape == shape]
    return int(b.rng.choice(known)) if known and _coin(b, 0.7) else b.constant(b.rng.integers(0, 2, shape).astype(bool))


def _select(name: str) -> Build:
    def build(b: Builder, x: int) -> list[int]:
        shape = b.shape(x)
        y = b.numbers(()) if name == "SELECT_V2" and _coin(b, 0.3) else _like(b, x, shape)
        return b.op(name, [_condition(b, shape), *([y, x] if _coin(b) else [x, y])], [shape])

    return build


# reductions


def _reduce(name: str) -> Build:
    def build(b: Builder, x: int) -> list[int]:
        shape = b.shape(x)
        needs(len(shape) > 0)
        axes = sorted(int(a) for a in b.rng.choice(len(shape), int(b.rng.integers(1, len(shape) + 1)), replace=False))
        keep = _coin(b)
        out = tuple(1 if i in axes else n for i, n in enumerate(shape) if keep or i not in axes)
        return b.op(name, [x, _ints(b, axes)], [out], {"keep_dims": keep})

    return build


def _arg(name: str) -> Build:
    def build(b: Builder, x: int) -> list[int]:
        axis, shape = _axis(b, x) % len(b.shape(x)), b.shape(x)
        type_ = str(b.rng.choice(["INT32", "INT64"]))
        out = tuple(n for i, n in enumerate(shape) if i != axis)
        return b.op(name, [x, _ints(b, axis)], [out], {"output_type": type_}, types=(type_,))

    return build


def topk_v2(b: Builder, x: int) -> list[int]:
    shape = b.shape(x)
    needs(len(shape) > 0)
    k = int(b.rng.integers(1, shape[-1] + 1))
    return b.op("TOPK_V2", [x, _ints(b, k)], [(*shape[:-1], k)] * 2, types=("FLOAT32", "INT32"))


# shapes


def squeeze(b: Builder, x: int) -> list[int]:
    shape = b.shape(x)
    ones = [i for i, size in enumerate(shape) if size == 1]
    needs(bool(ones) and len(shape) > 1)
    axis = int(b.rng.choice(ones))
    return b.op("SQUEEZE", [x], [shape[:axis] + shape[axis + 1 :]], {"squeeze_dims": (axis,)})


def expand_dims(b: Builder, x: int) -> list[int]:
    shape = b.shape(x)
    needs(len(shape) < 4)
    axis = int(b.rng.integers(len(shape) + 1))
    return b.op("EXPAND_DIMS", [x, _ints(b, axis)], [(*shape[:axis], 1, *shape[axis:])])


def flatten(b: Builder, x: int) -> list[int]:
    """A RESHAPE to another rank."""
    shape = b.shape(x)
    size = int(np.prod(shape))
    out = [(size,), (1, size), (1, 1, size, 1), (size, 1)][int(b.rng.integers(4))]
    needs(out != shape)
    return b.op("RESHAPE", [x, _ints(b, out)], [out], {"new_shape": out})


def transpose(b: Builder, x: int) -> list[int]:
    shape = b.shape(x)
    needs(2 <= len(shape) <= 5)
    order = [int(i) for i in b.rng.permutation(len(shape))]
    return b.op("TRANSPOSE", [x, _ints(b, order)], [tuple(shape[i] for i in order)])


def tile(b: Builder, x: int) -> list[int]:
    shape = b.shape(x)
    needs(len(shape) > 0)
    times = [int(b.rng.choice([1, 1, 2])) for _ in shape]
    return b.op("TILE", [x, _ints(b, times)], [_small(tuple(n * t for n, t in zip(shape, times, strict=True)))])


def broadcast_to(b: Builder, x: int) -> list[int]:
    shape = (int(b.rng.choice([2, 3])), *b.shape(x))
    needs(len(shape) <= 5)
    return b.op("BROADCAST_TO", [x, _ints(b, shape)], [_small(shape)])


def fill(b: Builder, x: int) -> list[int]:
    needs(b.shape(x) == ())
    return b.op("FILL", [_ints(b, [2, 3]), x], [(2, 3)])


def _paddings(b: Builder, shape: Shape, most: Callable[[int], int]) -> list[list[int]]:
    return [[int(b.rng.integers(most(size) + 1)) for _ in range(2)] for size in shape]


def _padded(shape: Shape, paddings: list[list[int]]) -> Shape:
    return _small(tuple(n + sum(p) for n, p in zip(shape, paddings, strict=True)))


def mirror_pad(b: Builder, x: int) -> list[int]:
    shape = b.shape(x)
    needs(len(shape) > 0)
    mode = str(b.rng.choice(["REFLECT", "SYMMETRIC"]))
    paddings = _paddings(b, shape, lambda size: min(size - (mode == "REFLECT"), 2))
    return b.op("MIRROR_PAD", [x, _ints(b, paddings)], [_padded(shape, paddings)], {"mode": mode})


def padv2(b: Builder, x: int) -> list[int]:
    shape = b.shape(x)
    needs(0 < len(shape) < 5)
    paddings = _paddings(b, shape, lambda size: 1)
    return b.op("PADV2", [x, _ints(b, paddings), b.numbers(())], [_padded(shape, paddings)])


def strided_slice(b: Builder, x: int) -> list[int]:
    shape = b.shape(x)
    needs(0 < len(shape) <= 5)
    begin = [int(b.rng.integers(n)) for n in shape]
    end = [int(b.rng.integers(lo + 1, n + 1)) for lo, n in zip(begin, shape, strict=True)]
    strides = [int(b.rng.choice([1, 1, 2])) for _ in shape]
    shrink = [_coin(b, 0.2) for _ in shape]
    begin_mask, end_mask = ([not s and _coin(b, 0.3) for s in shrink] for _ in range(2))
    out = []
    for i, n in enumerate(shape):
        low, high = 0 if begin_mask[i] else begin[i], n if end_mask[i] else end[i]
        if not shrink[i]:
            out.append(-(-(high - low) // strides[i]))
    strides = [1 if s else stride for s, stride in zip(shrink, strides, strict=True)]
    bits = lambda mask: sum(1 << i for i, on in enumerate(mask) if on)  # noqa: E731
    options = {
        "begin_mask": bits(begin_mask),
        "end_mask": bits(end_mask),
        "ellipsis_mask": 0,
        "new_axis_mask": 0,
        "shrink_axis_mask": bits(shrink),
    }
    inputs = [x, _ints(b, begin), _ints(b, end), _ints(b, strides)]
    return b.op("STRIDED_SLICE", inputs, [tuple(out)], options)


def gather(b: Builder, x: int) -> list[int]:
    axis, shape = _axis(b, x) % len(b.shape(x)), b.shape(x)
    picks = [int(b.rng.integers(shape[axis])) for _ in range(int(b.rng.integers(1, 4)))]
    indices = _ints(b, picks[0] if _coin(b, 0.2) else picks)
    out = (*shape[:axis], *b.shape(indices), *shape[axis + 1 :])
    return b.op("GATHER", [x, indices], [_small(out)], {"axis": axis, "batch_dims": 0})


def gather_nd(b: Builder, x: int) -> list[int]:
    shape = b.shape(x)
    needs(len(shape) > 1)
    depth = int(b.rng.integers(1, len(shape)))
    picks = [[int(b.rng.integers(n)) for n in shape[:depth]] for _ in range(int(b.rng.integers(1, 4)))]
    return b.op("GATHER_ND", [x, _ints(b, picks)], [_small((len(picks), *shape[depth:]))])


def scatter_nd(b: Builder, x: int) -> list[int]:
    shape = b.shape(x)
    needs(len(shape) > 0)
    rows = shape[0] + int(b.rng.integers(3))
    picks = [[int(i)] for i in b.rng.choice(rows, shape[0], replace=False)]
    return b.op("SCATTER_ND", [_ints(b, picks), x, _ints(b, (rows, *shape[1:]))], [(rows, *shape[1:])])


def dynamic_update_slice(b: Builder, x: int) -> list[int]:
    shape = b.shape(x)
    needs(len(shape) > 0)
    update = _like(b, x, (1, *shape[1:]))
    return b.op("DYNAMIC_UPDATE_SLICE", [x, update, _ints(b, [0] * len(shape))], [shape])


def matrix_diag(b: Builder, x: int) -> list[int]:
    shape = b.shape(x)
    needs(0 < len(shape) < 4)
    return b.op("MATRIX_DIAG", [x], [_small((*shape, shape[-1]))])


def matrix_set_diag(b: Builder, x: int) -> list[int]:
    shape = b.shape(x)
    needs(len(shape) > 1)
    return b.op("MATRIX_SET_DIAG", [x, _like(b, x, (*shape[:-2], min(shape[-2:])))], [shape])


def one_hot(b: Builder, x: int) -> list[int]:
    needs(b.shape(x) == ())
    return b.op("ONE_HOT", [_ints(b, [1, 0]), _ints(b, 3), x, _like(b, x, ())], [(2, 3)], {"axis": -1})


def sparse_to_dense(b: Builder, x: int) -> list[int]:
    shape = b.shape(x)
    needs(len(shape) == 1)
    inputs = [_ints(b, list(range(shape[0]))), _ints(b, [shape[0] + 2]), x, b.numbers(())]
    return b.op("SPARSE_TO_DENSE", inputs, [(shape[0] + 2,)])


# several operands or results


def pack(b: Builder, x: int) -> list[int]:
    shape = b.shape(x)
    needs(len(shape) < 4)
    others = [_like(b, x, shape) if _coin(b, 0.8) else x for _ in range(int(b.rng.integers(1, 3)))]
    axis, count = int(b.rng.integers(len(shape) + 1)), len(others) + 1
    out = _small((*shape[:axis], count, *shape[axis:]))
    return b.op("PACK", [x, *others], [out], {"values_count": count, "axis": axis})


def unpack(b: Builder, x: int) -> list[int]:
    axis, shape = _axis(b, x) % len(b.shape(x)), b.shape(x)
    needs(1 < shape[axis] <= 4)
    out = [shape[:axis] + shape[axis + 1 :]] * shape[axis]
    return b.op("UNPACK", [x], out, {"num": shape[axis], "axis": axis})


def concatenation(b: Builder, x: int) -> list[int]:
    """Along any dimension, with constants and repetitions."""
    axis, shape = _axis(b, x) % len(b.shape(x)), b.shape(x)
    inputs = [x, *(_like(b, x, shape) if _coin(b, 0.8) else x for _ in range(int(b.rng.integers(1, 3))))]
    if _coin(b):
        inputs.reverse()
    out = _small((*shape[:axis], shape[axis] * len(inputs), *shape[axis + 1 :]))
    return b.op("CONCATENATION", inputs, [out], {"axis": axis, "fused_activation_function": "NONE"})


def split_v(b: Builder, x: int) -> list[int]:
    axis, shape = _axis(b, x) % len(b.shape(x)), b.shape(x)
    needs(shape[axis] > 1)
    first = int(b.rng.integers(1, shape[axis]))
    sizes = [first, shape[axis] - first]
    out = [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]
    return b.op("SPLIT_V", [x, _ints(b, sizes), _ints(b, axis)], out, {"num_splits": 2})


# images


def _image(b: Builder, x: int) -> tuple[int, int, int, int]:
    shape = b.shape(x)
    needs(len(shape) == 4)
    return shape


def _resize(name: str) -> Build:
    def build(b: Builder, x: int) -> list[int]:
        n, _, _, c = _image(b, x)
        h, w = (int(size) for size in b.rng.integers(1, 9, 2))
        half = _coin(b, 0.3)
        options = {"align_corners": not half and _coin(b, 0.3), "half_pixel_centers": half}
        return b.op(name, [x, _ints(b, [h, w])], [_small((n, h, w, c))], options)

    return build


def space_to_depth(b: Builder, x: int) -> list[int]:
    n, h, w, c = _image(b, x)
    needs(h % 2 == w % 2 == 0)
    return b.op("SPACE_TO_DEPTH", [x], [(n, h // 2, w // 2, 4 * c)], {"block_size": 2})


def depth_to_space(b: Builder, x: int) -> list[int]:
    n, h, w, c = _image(b, x)
    needs(c % 4 == 0)
    return b.op("DEPTH_TO_SPACE", [x], [(n, 2 * h, 2 * w, c // 4)], {"block_size": 2})


def space_to_batch_nd(b: Builder, x: int) -> list[int]:
    n, h, w, c = _image(b, x)
    paddings = [[0, h % 2], [0, w % 2]]
    out = (4 * n, (h + 1) // 2, (w + 1) // 2, c)
    return b.op("SPACE_TO_BATCH_ND", [x, _ints(b, [2, 2]), _ints(b, paddings)], [_small(out)])


def batch_to_space_nd(b: Builder, x: int) -> list[int]:
    n, h, w, c = _image(b, x)
    needs(n % 4 == 0)
    return b.op("BATCH_TO_SPACE_ND", [x, _ints(b, [2, 2]), _ints(b, [[0, 0], [0, 0]])], [(n // 4, 2 * h, 2 * w, c)])


def transpose_conv(b: Builder, x: int) -> list[int]:
    n, h, w, c = _image(b, x)
    k, out = int(b.rng.choice([1, 2, 3])), int(b.rng.choice(CHANNELS))
    shape = _small((n, 2 * h, 2 * w, out))
    inputs = [_ints(b, shape), b.weights((out, k, k, c), 0), x, *([b.bias(out)] if _coin(b) else [])]
    options = {"padding": "SAME", "stride_w": 2, "stride_h": 2, "fused_activation_function": activation(b)}
    return b.op("TRANSPOSE_CONV", inputs, [shape], options)


def conv_3d(b: Builder, x: int) -> list[int]:
    """No int8 form; a RESHAPE to five dimensions stands before it and one back behind it."""
    n, h, w, c = _image(b, x)
    (y,) = b.op("RESHAPE", [x, _ints(b, [n, h, 1, w, c])], [(n, h, 1, w, c)], {"new_shape": (n, h, 1, w, c)})
    out = int(b.rng.choice(CHANNELS))
    options = {
        "padding": "SAME", "stride_d": 1, "stride_w": 1, "stride_h": 1, "fused_activation_function": "NONE",
        "dilation_d_factor": 1, "dilation_w_factor": 1, "dilation_h_factor": 1,
    }  # fmt: skip
    inputs = [y, b.numbers((1, 1, 1, c, out)), *([b.bias(out)] if _coin(b) else [])]
    (z,) = b.op("CONV_3D", inputs, [(n, h, 1, w, out)], options)
    return b.op("RESHAPE", [z, _ints(b, [n, h, w, out])], [(n, h, w, out)], {"new_shape": (n, h, w, out)})


def depthwise_multiplied(b: Builder, x: int) -> list[int]:
    n, h, w, c = _image(b, x)
    times, k = int(b.rng.choice([1, 2])), int(b.rng.choice([1, 3]))
    options = {
        "padding": "SAME", "stride_w": 1, "stride_h": 1, "depth_multiplier": times,
        "fused_activation_function": activation(b), "dilation_w_factor": 2, "dilation_h_factor": 2,
    }  # fmt: skip
    inputs = [x, b.weights((1, k, k, c * times), 3), *([b.bias(c * times)] if _coin(b, 0.7) else [])]
    return b.op("DEPTHWISE_CONV_2D", inputs, [_small((n, h, w, c * times))], options)


def dense_of_any_rank(b: Builder, x: int) -> list[int]:
    """keep_num_dims, or not; with weights that another operator computes, now and then."""
    shape = b.shape(x)
    needs(len(shape) >= 2)
    keep, out = len(shape) > 2, int(b.rng.choice(CHANNELS))
    known = [t for t in floats(b) if len(b.shape(t)) == 2 and b.shape(t)[-1] == shape[-1] and t != x]
    weights = int(b.rng.choice(known)) if known and _coin(b, 0.3) else b.weights((out, shape[-1]), 0)
    out = b.shape(weights)[0]
    options = {
        "fused_activation_function": activation(b), "weights_format": "DEFAULT", "keep_num_dims": keep,
        "asymmetric_quantize_inputs": False,
    }  # fmt: skip
    inputs = [x, weights, b.bias(out)] if _coin(b, 0.7) else [x, weights, -1]
    return b.op("FULLY_CONNECTED", inputs, [(*shape[:-1], out)], options)


def prelu(b: Builder, x: int) -> list[int]:
    shape = b.shape(x)
    needs(len(shape) > 1)
    slopes = b.numbers((*([1] * (len(shape) - 2)), shape[-1]) if _coin(b) else shape[1:])
    return b.op("PRELU", [x, slopes], [shape])


def _cast(b: Builder, x: int) -> list[int]:
    """To int32 and back: neither has an int8 form."""
    (y,) = b.op("CAST", [x], [b.shape(x)], {"in_data_type": "FLOAT32", "out_data_type": "INT32"}, types=("INT32",))
    return b.op("CAST", [y], [b.shape(x)], {"in_data_type": "INT32", "out_data_type": "FLOAT32"})


def logical_not(b: Builder, x: int) -> list[int]:
    known = [i for i, t in enumerate(b.tensors) if t.type == "BOOL" and not t.buffer]
    needs(bool(known))
    condition = int(b.rng.choice(known))
    return b.op("LOGICAL_NOT", [condition], [b.shape(condition)], types=("BOOL",))


WIDE_OPS: dict[str, Build] = {
    **SLICE_OPS,
    **OTHER_OPS,
    "ABS": _unary("ABS"),
    "ADD, any": _elementwise("ADD", fused=True),
    "ADD_N": add_n,
    "ARG_MAX": _arg("ARG_MAX"),
    "ARG_MIN": _arg("ARG_MIN"),
    "BATCH_MATMUL": batch_matmul,
    "BATCH_TO_SPACE_ND": batch_to_space_nd,
    "BROADCAST_TO": broadcast_to,
    "CAST": _cast,
    "CEIL": _unary("CEIL"),
    "CONCATENATION, any": concatenation,
    "CONV_3D": conv_3d,
    "COS": _unary("COS"),
    "CUMSUM": cumsum,
    "DEPTHWISE_CONV_2D, any": depthwise_multiplied,
    "DEPTH_TO_SPACE": depth_to_space,
    "DIV": _elementwise("DIV", fused=True),
    "DYNAMIC_UPDATE_SLICE": dynamic_update_slice,
    "ELU": _unary("ELU"),
    "EQUAL": _elementwise("EQUAL", type_="BOOL"),
    "EXP": _unary("EXP"),
    "EXPAND_DIMS": expand_dims,
    "FILL": fill,
    "FLATTEN": flatten,
    "FLOOR_DIV": _elementwise("FLOOR_DIV"),
    "FULLY_CONNECTED, any": dense_of_any_rank,
    "GATHER": gather,
    "GATHER_ND": gather_nd,
    "GELU": _unary("GELU", lambda b: {"approximate": _coin(b)}),
    "GREATER": _elementwise("GREATER", type_="BOOL"),
    "GREATER_EQUAL": _elementwise("GREATER_EQUAL", type_="BOOL"),
    "L2_NORMALIZATION": _unary("L2_NORMALIZATION", lambda b: {"fused_activation_function": "NONE"}),
    "LESS": _elementwise("LESS", type_="BOOL"),
    "LESS_EQUAL": _elementwise("LESS_EQUAL", type_="BOOL"),
    "LOG": _unary("LOG"),
    "LOGICAL_NOT": logical_not,
    "LOG_SOFTMAX": _unary("LOG_SOFTMAX"),
    "MATRIX_DIAG": matrix_diag,
    "MATRIX_SET_DIAG": matrix_set_diag,
    "MAXIMUM, any": _elementwise("MAXIMUM"),
    "MEAN, any": _reduce("MEAN"),
    "MINIMUM, any": _elementwise("MINIMUM"),
    "MIRROR_PAD": mirror_pad,
    "MUL, any": _elementwise("MUL", fused=True),
    "NEG": _unary("NEG"),
    "NOT_EQUAL": _elementwise("NOT_EQUAL", type_="BOOL"),
    "ONE_HOT": one_hot,
    "PACK": pack,
    "PADV2": padv2,
    "POW": _elementwise("POW"),
    "PRELU, any": prelu,
    "REDUCE_MAX": _reduce("REDUCE_MAX"),
    "REDUCE_MIN": _reduce("REDUCE_MIN"),
    "REDUCE_PROD": _reduce("REDUCE_PROD"),
    "RELU_0_TO_1": _unary("RELU_0_TO_1"),
    "RELU_N1_TO_1": _unary("RELU_N1_TO_1"),
    "RESIZE_BILINEAR": _resize("RESIZE_BILINEAR"),
    "RESIZE_NEAREST_NEIGHBOR": _resize("RESIZE_NEAREST_NEIGHBOR"),
    "REVERSE_SEQUENCE": reverse_sequence,
    "REVERSE_V2": reverse_v2,
    "ROUND": _unary("ROUND"),
    "RSQRT": _unary("RSQRT"),
    "SCATTER_ND": scatter_nd,
    "SELECT": _select("SELECT"),
    "SELECT_V2": _select("SELECT_V2"),
    "SPACE_TO_BATCH_ND": space_to_batch_nd,
    "SPACE_TO_DEPTH": space_to_depth,
    "SPARSE_TO_DENSE": sparse_to_dense,
    "SPLIT_V": split_v,
    "SQRT": _unary("SQRT"),
    "SQUARE": _unary("SQUARE"),
    "SQUARED_DIFFERENCE": _elementwise("SQUARED_DIFFERENCE"),
    "SQUEEZE": squeeze,
    "STRIDED_SLICE": strided_slice,
    "SUB, any": _elementwise("SUB", fused=True),
    "SUM": _reduce("SUM"),
    "TILE": tile,
    "TOPK_V2": topk_v2,
    "TRANSPOSE, any": transpose,
    "TRANSPOSE_CONV": transpose_conv,
    "UNPACK": unpack,
}
