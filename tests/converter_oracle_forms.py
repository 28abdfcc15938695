"""Single operators in the forms that a chain cannot give: other index types, absent or computed biases and weights,
constants in every place, dynamic and unknown shapes, more dimensions. Each builds a whole graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from converter_oracle_graphs import Builder, Shape, activation
from converter_oracle_ops import WIDE_OPS

Form = Callable[[Builder], Any]
IMAGE: Shape = (1, 4, 4, 4)
NONE = {"fused_activation_function": "NONE"}


def _whole(b: Builder, values: Any, type_: str = "int32") -> int:
    return b.constant(np.array(values, type_))


def _dynamic(b: Builder, tensor: int, *places: int) -> int:
    """The tensor with sizes that only a run settles."""
    record = b.tensors[tensor]
    signature = tuple(-1 if place in places else size for place, size in enumerate(record.shape))
    b.tensors[tensor] = replace(record, shape_signature=signature, has_rank=True)
    return tensor


def _unknown(b: Builder, tensor: int) -> int:
    """The tensor without any shape, as older converters write what they do not know."""
    b.tensors[tensor] = replace(b.tensors[tensor], shape=(), has_rank=False)
    return tensor


def simple(op: str, *operands: Any, out: Any = None, options: dict[str, Any] | None = None, types: Any = ()) -> Form:
    """An operator: operands are input shapes, ("int32", values) constants, or makers; `out` the results' shapes."""

    def build(b: Builder) -> list[int]:
        inputs = []
        for operand in operands:
            if callable(operand):
                inputs.append(operand(b))
            elif operand and isinstance(operand[0], str):
                inputs.append(_whole(b, operand[1], operand[0]))
            else:
                inputs.append(b.input(operand))
        shapes = [b.shape(inputs[0])] if out is None else out
        return b.op(op, inputs, shapes, options, types=types)

    return build


def const(*shape: int) -> Form:
    return lambda b: b.numbers(shape)


def whole(*shape: int, type_: str = "INT32") -> Form:
    return lambda b: b.input(shape, type_)


def absent(b: Builder) -> int:
    return -1


def _filter(op: str, shape: Shape, options: dict[str, Any]) -> list[Form]:
    """Convolutions whose weights or bias another operator computes, or which have no bias."""
    axis = 3 if op == "DEPTHWISE_CONV_2D" else 0
    weights = lambda b: b.weights(shape, axis)  # noqa: E731
    bias = lambda b: b.bias(shape[axis])  # noqa: E731
    first: tuple[Any, ...] = (("int32", [1, 4, 4, shape[0]]),) if op == "TRANSPOSE_CONV" else ()

    def form(*operands: Any) -> Form:
        placed = (*first, *operands[1::-1], *operands[2:]) if first else operands
        out = [(1, 4, 4, shape[axis])]
        return lambda b: simple(op, *placed, out=out, options={**options, "fused_activation_function": activation(b)})(
            b
        )

    forms = [form(IMAGE, weights), form(IMAGE, weights, bias), form(IMAGE, shape), form(IMAGE, shape, bias)]
    forms += [form(IMAGE, weights, (shape[axis],)), form(IMAGE, shape, (shape[axis],))]
    return [*forms, form(IMAGE, weights, absent)]


CONV = {"padding": "SAME", "stride_w": 1, "stride_h": 1}
DILATION = {"dilation_w_factor": 1, "dilation_h_factor": 1}
DENSE = {"weights_format": "DEFAULT", "keep_num_dims": False, "asymmetric_quantize_inputs": False, **NONE}
CONV_3D = {
    "padding": "SAME", "stride_d": 1, "stride_w": 1, "stride_h": 1,
    "dilation_d_factor": 1, "dilation_w_factor": 1, "dilation_h_factor": 1, **NONE,
}  # fmt: skip
MASKS = {"begin_mask": 0, "end_mask": 0, "ellipsis_mask": 0, "new_axis_mask": 0, "shrink_axis_mask": 0}
INT32, INT64 = "int32", "int64"


def _binary(op: str, fused: bool) -> list[Form]:
    """Constants on either side, one tensor twice, broadcasts on both sides and up to six dimensions."""
    options = NONE if fused else None
    shapes = [(2, 3), (1, 3), (3,), ()], [(2, 1, 3), (2, 3)], [(1, 2, 1, 2, 3), (2, 1, 1)], [(1, 1, 2, 1, 2, 2), (2, 2)]
    forms: list[Form] = []
    for first, *others in shapes:
        for other in others:
            out = [np.broadcast_shapes(first, other)]
            forms.append(simple(op, first, other, out=out, options=options))
            forms.append(simple(op, other, first, out=out, options=options))
            forms.append(simple(op, first, const(*other), out=out, options=options))
            forms.append(simple(op, const(*other), first, out=out, options=options))

    def twice(b: Builder) -> None:
        x = b.input((2, 3))
        b.op(op, [x, x], [(2, 3)], options)

    return [*forms, twice]


def _compared(op: str) -> list[Form]:
    def form(*operands: Any) -> Form:
        return simple(op, *operands, out=[(2, 3)], types=("BOOL",))

    return [form((2, 3), (2, 3)), form((2, 3), const(3)), form(const(), (2, 3)), form(const(2, 3), (3,))]


def _reduced(op: str) -> list[Form]:
    """All axes, none, negative ones; to a scalar whose rank the file does or does not tell."""
    forms = [
        simple(op, (2, 3), (INT32, [1]), out=[(2,)], options={"keep_dims": False}),
        simple(op, (2, 3), (INT32, [-1, 0]), out=[(1, 1)], options={"keep_dims": True}),
        simple(op, (2, 3), (INT32, 1), out=[(2, 1)], options={"keep_dims": True}),
    ]

    def scalar(known: bool) -> Form:
        def build(b: Builder) -> None:
            (y,) = b.op(op, [b.input((2, 3)), _whole(b, [0, 1])], [()], {"keep_dims": False})
            b.tensors[y] = replace(b.tensors[y], has_rank=known)

        return build

    return [*forms, scalar(True), scalar(False)]


def _shape_of(op: str, type_: str) -> Form:
    """SHAPE of a tensor with dynamic sizes, or RANK of one whose shape nobody knows: else they are constants."""

    def build(b: Builder) -> None:
        x = b.input((2, 3))
        b.op("RELU", [x], [(2, 3)])
        _dynamic(b, x, 0) if op == "SHAPE" else _unknown(b, x)
        options = {"out_type": type_} if op == "SHAPE" else None
        b.op(op, [x], [(2,)] if op == "SHAPE" else [()], options, types=(type_,))

    return build


def _unique(type_: str) -> Form:
    def build(b: Builder) -> None:
        y, _ = b.op("UNIQUE", [b.input((5,))], [(5,), (5,)], {"idx_out_type": type_}, types=("FLOAT32", type_))
        _dynamic(b, y, 0)

    return build


def _of_any_size(op: str, *operands: Any, out: Shape, options: dict[str, Any] | None = None) -> Form:
    """An operator on a tensor with two dynamic sizes: with fewer the converter writes a RESHAPE for it."""

    def build(b: Builder) -> None:
        x = b.input((2, 1, 3))
        _dynamic(b, x, 0, 2)
        (y,) = b.op(op, [x, *(operand(b) for operand in operands)], [out], options)
        _dynamic(b, y, 0, len(out) - 1)

    return build


def _custom(b: Builder) -> None:
    """An operator that TensorFlow does not know."""
    (y,) = b.op("RELU", [b.input((2, 3))], [(2, 3)])
    b.op("CUSTOM", [y], [(2, 3)])
    b.operators[-1] = replace(b.operators[-1], custom_code="Mine", options_type=None)
    b.op("RELU6", [b.operators[-1].outputs[0]], [(2, 3)])


def _batched(b: Builder) -> None:
    """A convolution and a dense layer with any batch."""
    x = b.input((1, 4, 4, 3))
    (y,) = simple("CONV_2D", lambda _: x, lambda b: b.weights((2, 3, 3, 3), 0), lambda b: b.bias(2), out=[(1, 4, 4, 2)],
                  options={**CONV, **DILATION, **NONE})(b)  # fmt: skip
    (z,) = b.op("RESHAPE", [y, _whole(b, [-1, 32])], [(1, 32)], {"new_shape": (-1, 32)})
    (w,) = b.op("FULLY_CONNECTED", [z, b.weights((3, 32), 0), b.bias(3)], [(1, 3)], DENSE)
    for tensor in (x, y, z, w):
        _dynamic(b, tensor, 0)


FORMS: dict[str, list[Form]] = {
    "ADD": _binary("ADD", True),
    "ADD_N": [simple("ADD_N", (2, 3), (2, 3), const(2, 3), const(2, 3)), simple("ADD_N", const(2, 3), (2, 3))],
    "ARG_MAX": [
        simple("ARG_MAX", (2, 3), (INT64, 1), out=[(2,)], options={"output_type": "INT64"}, types=("INT64",)),
        simple("ARG_MAX", (2, 3), (INT32, -1), out=[(2,)], options={"output_type": "INT32"}, types=("INT32",)),
    ],
    "BATCH_MATMUL": [
        simple("BATCH_MATMUL", const(2, 3), (3, 4), out=[(2, 4)], options={}),
        simple("BATCH_MATMUL", (2, 3), const(3, 4), out=[(2, 4)], options={"asymmetric_quantize_inputs": True}),
        simple("BATCH_MATMUL", (2, 2, 3), (3, 4), out=[(2, 2, 4)], options={}),
        simple("BATCH_MATMUL", (3, 1, 2, 3), (2, 4, 3), out=[(3, 2, 2, 4)], options={"adj_y": True}),
    ],
    "BROADCAST_TO": [
        simple("BROADCAST_TO", (1, 3), (INT64, [2, 2, 3]), out=[(2, 2, 3)]),
        simple("BROADCAST_TO", (3, 1), (INT32, [1, 1, 1, 2, 3, 2]), out=[(1, 1, 1, 2, 3, 2)]),
    ],
    "CONCATENATION": [
        simple("CONCATENATION", (2, 3), options={"axis": 0, **NONE}),
        simple("CONCATENATION", const(2, 3), (2, 3), const(1, 3), out=[(5, 3)], options={"axis": 0, **NONE}),
    ],
    "CONV_2D": [*_filter("CONV_2D", (3, 1, 1, 4), {**CONV, **DILATION}), _batched],
    "CONV_3D": [
        simple("CONV_3D", (1, 2, 2, 2, 2), const(1, 1, 1, 2, 3), out=[(1, 2, 2, 2, 3)], options=CONV_3D),
        simple("CONV_3D", (1, 2, 2, 2, 2), (1, 1, 1, 2, 3), const(3), out=[(1, 2, 2, 2, 3)], options=CONV_3D),
    ],
    "CONV_3D_TRANSPOSE": [
        simple(
            "CONV_3D_TRANSPOSE",
            (INT32, [1, 2, 2, 2, 3]),
            const(1, 1, 1, 3, 2),
            (1, 2, 2, 2, 2),
            *more,
            out=[(1, 2, 2, 2, 3)],
            options=CONV_3D,
        )
        for more in ((), (const(3),))
    ],
    "CUSTOM": [_custom],
    "DEPTHWISE_CONV_2D": _filter("DEPTHWISE_CONV_2D", (1, 3, 3, 4), {**CONV, **DILATION, "depth_multiplier": 1}),
    "DIV": _binary("DIV", True),
    "EMBEDDING_LOOKUP": [
        simple("EMBEDDING_LOOKUP", whole(2), (3, 4), out=[(2, 4)]),
        simple("EMBEDDING_LOOKUP", (INT32, [0, 1]), (3, 4), out=[(2, 4)]),
        simple("EMBEDDING_LOOKUP", whole(2), const(3, 4), out=[(2, 4)]),
    ],
    "EXPAND_DIMS": [_of_any_size("EXPAND_DIMS", lambda b: _whole(b, 1), out=(2, 1, 1, 3))],
    "FILL": [
        simple("FILL", whole(2), (), out=[(1, 1)]),
        simple("FILL", whole(2), const(), out=[(1, 1)]),
        simple("FILL", (INT64, [2, 2]), (), out=[(2, 2)]),
    ],
    "FULLY_CONNECTED": [
        simple("FULLY_CONNECTED", (2, 3), lambda b: b.weights((4, 3), 0), out=[(2, 4)], options=DENSE),
        simple("FULLY_CONNECTED", (2, 3), lambda b: b.weights((4, 3), 0), absent, out=[(2, 4)], options=DENSE),
        simple("FULLY_CONNECTED", (2, 3), (4, 3), absent, out=[(2, 4)], options=DENSE),
        simple("FULLY_CONNECTED", (2, 3), (4, 3), const(4), out=[(2, 4)], options=DENSE),
        simple("FULLY_CONNECTED", (2, 3), lambda b: b.weights((4, 3), 0), (4,), out=[(2, 4)], options=DENSE),
        simple(
            "FULLY_CONNECTED",
            (2, 2, 3),
            lambda b: b.weights((4, 3), 0),
            const(4),
            out=[(2, 2, 4)],
            options={**DENSE, "keep_num_dims": True},
        ),
        simple("FULLY_CONNECTED", const(2, 3), (4, 3), absent, out=[(2, 4)], options=DENSE),
    ],
    "GATHER": [
        simple("GATHER", const(5, 4), whole(3), out=[(3, 4)], options={"axis": 0, "batch_dims": 0}),
        simple("GATHER", (2, 5), (INT64, [[0, 1], [2, 3]]), out=[(2, 2)], options={"axis": 1, "batch_dims": 1}),
        simple("GATHER", (5, 4), whole(3, type_="INT64"), out=[(3, 4)], options={"axis": 0, "batch_dims": 0}),
    ],
    "GATHER_ND": [simple("GATHER_ND", (5, 4), (INT64, [[1, 2], [3, 0]]), out=[(2,)])],
    "MAXIMUM": _binary("MAXIMUM", False),
    "MINIMUM": _binary("MINIMUM", False),
    "MATRIX_SET_DIAG": [simple("MATRIX_SET_DIAG", const(3, 3), (3,), out=[(3, 3)])],
    "MIRROR_PAD": [
        simple("MIRROR_PAD", (2, 3), (INT64, [[0, 1], [1, 0]]), out=[(3, 4)], options={"mode": "SYMMETRIC"})
    ],
    "MUL": _binary("MUL", True),
    "ONE_HOT": [
        simple("ONE_HOT", whole(2), (INT32, 3), const(), const(), out=[(2, 3)], options={"axis": -1}),
        simple("ONE_HOT", whole(2, type_="INT64"), (INT32, 3), (), const(), out=[(3, 2)], options={"axis": 0}),
    ],
    "PACK": [simple("PACK", (3,), const(3), (3,), out=[(3, 3)], options={"values_count": 3, "axis": 1})],
    "PAD": [
        simple("PAD", (2, 3), (INT64, [[0, 1], [1, 0]]), out=[(3, 4)]),
        simple("PAD", (1, 2, 1, 2, 2), (INT32, [[0, 0], [1, 1], [0, 1], [0, 0], [0, 0]]), out=[(1, 4, 2, 2, 2)]),
    ],
    "PADV2": [simple("PADV2", (2, 3), (INT32, [[0, 1], [1, 0]]), (), out=[(3, 4)])],
    "PRELU": [simple("PRELU", (1, 2, 2, 3), (1, 1, 3)), simple("PRELU", (1, 2, 2, 3), const(1, 1, 1))],
    "RANK": [_shape_of("RANK", "INT32")],
    "RESHAPE": [simple("RESHAPE", (2, 3), whole(1), out=[(6,)], options={"new_shape": (6,)})],
    "REVERSE_SEQUENCE": [simple("REVERSE_SEQUENCE", (2, 3), (INT64, [1, 3]), options={"seq_dim": 1, "batch_dim": 0})],
    "SELECT": [simple("SELECT", whole(2, 3, type_="BOOL"), const(2, 3), (2, 3), out=[(2, 3)])],
    "SELECT_V2": [
        simple("SELECT_V2", whole(2, 3, type_="BOOL"), const(2, 3), const(3), out=[(2, 3)]),
        simple("SELECT_V2", whole(2, 1, type_="BOOL"), (2, 3), const(), out=[(2, 3)]),
        simple("SELECT_V2", whole(3, type_="BOOL"), (2, 1), (1, 3), out=[(2, 3)]),
    ],
    "SHAPE": [_shape_of("SHAPE", "INT32"), _shape_of("SHAPE", "INT64")],
    "SLICE": [
        simple("SLICE", (2, 3), (INT64, [0, 1]), (INT64, [2, -1]), out=[(2, 2)]),
        simple("SLICE", (1, 2, 1, 2, 3), (INT32, [0, 0, 0, 1, 0]), (INT32, [1, 2, 1, 1, 2]), out=[(1, 2, 1, 1, 2)]),
    ],
    "SPARSE_TO_DENSE": [
        simple("SPARSE_TO_DENSE", (INT64, [[0, 1], [1, 0]]), (INT64, [2, 2]), (2,), const(), out=[(2, 2)]),
        simple("SPARSE_TO_DENSE", (INT32, [0, 2]), (INT32, [4]), (), (), out=[(4,)]),
        simple("SPARSE_TO_DENSE", whole(2), (INT32, [4]), const(2), const(), out=[(4,)]),
    ],
    "SPLIT": [
        simple("SPLIT", (INT32, 1), (2, 3), out=[(2, 3)], options={"num_splits": 1}),
        simple("SPLIT", (INT32, 0), (3, 2), out=[(1, 2)] * 3, options={"num_splits": 3}),
    ],
    "SPLIT_V": [
        simple("SPLIT_V", (2, 5), (INT64, [2, 3]), (INT32, -1), out=[(2, 2), (2, 3)], options={"num_splits": 2})
    ],
    "SQUARED_DIFFERENCE": _binary("SQUARED_DIFFERENCE", False),
    "SQUEEZE": [_of_any_size("SQUEEZE", out=(2, 3), options={"squeeze_dims": (1,)})],
    "STRIDED_SLICE": [
        simple(
            "STRIDED_SLICE",
            (1, 2, 3, 4, 5),
            (INT32, [0] * 5),
            (INT32, [1, 2, 3, 4, 4]),
            (INT32, [1, 1, 1, 1, 2]),
            out=[(1, 2, 3, 4, 2)],
            options=MASKS,
        ),
        simple(
            "STRIDED_SLICE", (4, 3), (INT32, [3, 0]), (INT32, [0, 3]), (INT32, [-1, 1]), out=[(3, 3)], options=MASKS
        ),
        simple(
            "STRIDED_SLICE",
            (4, 3),
            (INT32, [0, 0]),
            (INT32, [1, 3]),
            (INT32, [1, 1]),
            out=[(1, 1, 3)],
            options={**MASKS, "new_axis_mask": 1, "shrink_axis_mask": 0},
        ),
    ],
    "SUB": _binary("SUB", True),
    "TILE": [simple("TILE", (2, 3), (INT64, [2, 1]), out=[(4, 3)])],
    "TOPK_V2": [simple("TOPK_V2", (2, 3), whole(), out=[(2, 1), (2, 1)], types=("FLOAT32", "INT32"))],
    "TRANSPOSE": [
        simple("TRANSPOSE", (1, 2, 1, 3, 2), (INT32, [4, 0, 2, 1, 3]), out=[(2, 1, 1, 2, 3)]),
        simple("TRANSPOSE", (1, 2, 1, 3, 2, 1), (INT32, [4, 0, 2, 1, 3, 5]), out=[(2, 1, 1, 2, 3, 1)]),
    ],
    "TRANSPOSE_CONV": _filter("TRANSPOSE_CONV", (3, 1, 1, 4), CONV),
    "UNIQUE": [_unique("INT32"), _unique("INT64")],
    "UNPACK": [simple("UNPACK", (1, 3), out=[(3,)], options={"num": 1, "axis": 0})],
    **{op: _compared(op) for op in ("EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "NOT_EQUAL")},
    **{op: _reduced(op) for op in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD")},
}


def chained(op: str) -> Form:
    """An operator of WIDE_OPS on one input of a suitable shape, drawn until it fits."""

    def build(b: Builder) -> None:
        x = b.input(())
        for _ in range(1000):
            rank = int(b.rng.choice([4, 4, 4, 3, 2, 1, 0]))
            shape = tuple(int(size) for size in b.rng.integers(1, 7, rank))
            shape = tuple(2 * size for size in shape[:2]) + shape[2:] if b.rng.random() < 0.5 else shape
            b.tensors[x] = replace(b.tensors[x], shape=shape, has_rank=True)
            if b.attempt(WIDE_OPS[op], x):
                return
        raise AssertionError(f"no shape suits {op}")

    return build
