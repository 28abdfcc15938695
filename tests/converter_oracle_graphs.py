"""Random float graphs with ranges written straight into them: what isolates the quantizer's arithmetic and propagation.

The ranges need not be ones that any data would give; the converter takes what the file says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any

import numpy as np

from refquant.model.graph import Graph, Model, Operator, Quantization, Tensor
from refquant.model.schema import OPTIONS_OF, options_union

Shape = tuple[int, ...]
CHANNELS = (1, 3, 4, 7, 8)
TYPES = {"float32": "FLOAT32", "int32": "INT32", "int64": "INT64", "bool": "BOOL"}


class Unfit(Exception):
    """An operator cannot take the tensor it was given."""


def needs(condition: bool) -> None:
    """Unfit unless the condition holds."""
    if not condition:
        raise Unfit


def float32(value: float) -> float:
    return float(np.float32(value))


@dataclass
class Builder:
    """Collects tensors and operators of one graph; `rng` draws weights and ranges."""

    rng: np.random.Generator
    missing_ranges: float = 0.0  # share of tensors without a range
    sharing: float = 0.0  # share of constants that an earlier operator reads too
    ranked: bool = False  # whether the file says that a tensor without dimensions is a scalar
    tensors: list[Tensor] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)
    buffers: list[bytes] = field(default_factory=lambda: [b""])
    inputs: list[int] = field(default_factory=list)
    used: set[int] = field(default_factory=set)
    extra_outputs: tuple[int, ...] = ()

    def range(self) -> Quantization | None:
        rng = self.rng
        if rng.random() < self.missing_ranges:
            return None
        kind = rng.integers(12)
        low, high = sorted(float(v) for v in rng.normal(0, 10.0 ** rng.integers(-3, 3), 2))
        if kind == 0:
            low, high = 0.0, abs(high)
        elif kind == 1:  # tiny ranges, around the width that the converter widens
            low, high = -abs(low) * 1e-8, float(rng.choice([1e-9, 5e-7, 1e-6, 1.0000001e-6, 2e-6]))
        elif kind == 2:  # the end that a never positive tensor gets
            low, high = -abs(low), 1.17549435e-38
        elif kind in (3, 5):  # zero points half way between two integers, exactly or almost
            scale = 2.0 ** rng.integers(-8, 3) * (1 if kind == 3 else rng.uniform(1, 2))
            low = -scale * (float(rng.integers(0, 254)) + 0.5)
            high = low + 255 * scale
        elif kind == 4:
            low, high = abs(low), abs(low) + abs(high)
        return Quantization(min=(float32(low),), max=(float32(high),))

    def add(self, shape: Shape, name: str, type_: str = "FLOAT32") -> int:
        range_ = self.range() if type_ == "FLOAT32" else None
        self.tensors.append(Tensor(name, type_, tuple(int(size) for size in shape), 0, range_, has_rank=self.ranked))
        return len(self.tensors) - 1

    def input(self, shape: Shape, type_: str = "FLOAT32") -> int:
        self.inputs.append(self.add(shape, f"in{len(self.inputs)}", type_))
        return self.inputs[-1]

    def constant(self, array: np.ndarray, name: str = "") -> int:
        self.buffers.append(np.ascontiguousarray(array).tobytes())
        name = name or f"const{len(self.tensors)}"
        self.tensors.append(Tensor(name, TYPES[array.dtype.name], tuple(array.shape), len(self.buffers) - 1))
        return len(self.tensors) - 1

    def shared(self, shape: Shape) -> int | None:
        """Now and then a float constant of that shape that is there already."""
        if not self.sharing or self.rng.random() >= self.sharing:
            return None
        same = [i for i, t in enumerate(self.tensors) if t.buffer and t.type == "FLOAT32" and t.shape == shape]
        return int(self.rng.choice(same)) if same else None

    def numbers(self, shape: Shape) -> int:
        """A constant of ordinary numbers, now and then all equal or tiny."""
        known = self.shared(shape)
        if known is not None:
            return known
        kind = self.rng.integers(10) if self.sharing else 9
        values = np.full(shape, self.rng.choice([0, 1, -2.5])) if kind == 0 else self.rng.normal(0, 2, shape)
        return self.constant((values * (1e-8 if kind == 1 else 1)).astype(np.float32))

    def weights(self, shape: Shape, axis: int) -> int:
        """Weights with awkward channels: zero, tiny, huge, and values half way between two integers."""
        rng, known = self.rng, self.shared(shape)
        if known is not None:
            return known
        w = rng.normal(0, 1, shape) * 10.0 ** rng.integers(-3, 2)
        channels = np.moveaxis(w, axis, 0)
        for channel in channels:
            kind = rng.integers(10)
            if kind == 0:
                channel[...] = 0
            elif kind == 1:
                channel[...] *= 1e-8
            elif kind == 2:
                channel[...] *= 10.0 ** rng.integers(-30, 3)
            elif kind == 3:
                scale = 2.0 ** rng.integers(-6, 3)
                channel[...] = (rng.integers(-126, 126, channel.shape) + 0.5) * scale
                channel.flat[0] = 127 * scale
            elif kind == 4:
                channel[...] = channel.flat[0]
        return self.constant(w.astype(np.float32), f"weights{len(self.tensors)}")

    def bias(self, channels: int) -> int:
        known = self.shared((channels,))
        if known is not None:
            return known
        if self.sharing and self.rng.random() < 0.2:
            return self.constant(np.zeros(channels, np.float32), f"bias{len(self.tensors)}")
        b = self.rng.normal(0, 1, channels) * 10.0 ** self.rng.integers(-3, 3)
        if self.rng.random() < 0.15:
            b *= 1e6  # beyond what int32 holds for many a scale
        return self.constant(b.astype(np.float32), f"bias{len(self.tensors)}")

    def op(
        self,
        name: str,
        inputs: list[int],
        shapes: list[Shape],
        options: dict[str, Any] | None = None,
        options_type: str | None = None,
        types: tuple[str, ...] = (),
    ) -> list[int]:
        """Adds an operator; its results are float32 but where `types` says otherwise."""
        number = len(self.operators)
        outputs = [
            self.add(shape, f"{name.lower()}{number}" + ("" if len(shapes) == 1 else f"_{k}"), type_)
            for k, (shape, type_) in enumerate(zip_longest(shapes, types, fillvalue="FLOAT32"))
        ]
        table = options_type or OPTIONS_OF.get(name)
        if table is not None and options_union(table) != "BuiltinOptions":
            table = None
        self.operators.append(
            Operator(name, tuple(inputs), tuple(outputs), 1, options_type=table, options=options or {})
        )
        self.used.update(inputs)
        return outputs

    def attempt(self, build: Callable[[Builder, int], list[int]], x: int) -> bool:
        """Adds an operator on the tensor, or nothing if that is Unfit."""
        tensors, buffers, operators = len(self.tensors), len(self.buffers), len(self.operators)
        try:
            build(self, x)
        except Unfit:
            assert operators == len(self.operators)
            del self.tensors[tensors:], self.buffers[buffers:]
            return False
        return True

    def shape(self, tensor: int) -> Shape:
        return self.tensors[tensor].shape

    def model(self, extra_outputs: tuple[int, ...] = ()) -> Model:
        """Every tensor that nothing reads becomes an output, as do `extra_outputs`."""
        computed = [t for op in self.operators for t in op.outputs]
        outputs = [t for t in computed if t not in self.used or t in extra_outputs]
        outputs += [t for t in extra_outputs if t not in computed]
        graph = Graph(tuple(self.tensors), tuple(self.operators), tuple(self.inputs), tuple(outputs), "main")
        return Model((graph,), tuple(self.buffers), description="random graph")


# one operator: each takes a builder and a tensor and gives new tensors


def image(b: Builder, x: int) -> Shape:
    """The shape of a tensor of four dimensions."""
    needs(len(b.shape(x)) == 4)
    return b.shape(x)


def activation(b: Builder) -> str:
    return str(b.rng.choice(["NONE", "NONE", "RELU", "RELU6"]))


def _same(size: int, stride: int) -> int:
    return -(-size // stride)


def conv_2d(b: Builder, x: int) -> list[int]:
    c = image(b, x)[-1]
    k, stride, out = int(b.rng.choice([1, 3])), int(b.rng.choice([1, 1, 2])), int(b.rng.choice(CHANNELS))
    return conv_2d_with(b, x, b.weights((out, k, k, c), 0), b.bias(out), stride)


def conv_2d_with(b: Builder, x: int, weights: int, bias: int, stride: int = 1) -> list[int]:
    n, h, w, _ = image(b, x)
    options = {
        "padding": "SAME", "stride_w": stride, "stride_h": stride, "fused_activation_function": activation(b),
        "dilation_w_factor": 1, "dilation_h_factor": 1,
    }  # fmt: skip
    shape = (n, _same(h, stride), _same(w, stride), b.shape(weights)[0])
    return b.op("CONV_2D", [x, weights, bias], [shape], options, "Conv2DOptions")


def depthwise_conv_2d_with(b: Builder, x: int, weights: int, bias: int) -> list[int]:
    options = {
        "padding": "SAME", "stride_w": 1, "stride_h": 1, "depth_multiplier": 1,
        "fused_activation_function": "NONE", "dilation_w_factor": 1, "dilation_h_factor": 1,
    }  # fmt: skip
    return b.op("DEPTHWISE_CONV_2D", [x, weights, bias], [b.shape(x)], options)


def transpose_conv_with(b: Builder, x: int, weights: int, *bias: int) -> list[int]:
    """Twice as wide and high."""
    n, h, w, _ = image(b, x)
    shape = (n, 2 * h, 2 * w, b.shape(weights)[0])
    options = {"padding": "SAME", "stride_w": 2, "stride_h": 2, "fused_activation_function": "NONE"}
    made = b.op("TRANSPOSE_CONV", [b.constant(np.array(shape, np.int32)), weights, x, *bias], [shape], options)
    b.operators[-1] = replace(b.operators[-1], version=3 if bias else 1)
    return made


def depthwise_conv_2d(b: Builder, x: int) -> list[int]:
    n, h, w, c = image(b, x)
    k, stride = int(b.rng.choice([1, 3])), int(b.rng.choice([1, 2]))
    options = {
        "padding": "SAME", "stride_w": stride, "stride_h": stride, "depth_multiplier": 1,
        "fused_activation_function": activation(b), "dilation_w_factor": 1, "dilation_h_factor": 1,
    }  # fmt: skip
    inputs = [x, b.weights((1, k, k, c), 3), b.bias(c)]
    return b.op(
        "DEPTHWISE_CONV_2D", inputs, [(n, _same(h, stride), _same(w, stride), c)], options, "DepthwiseConv2DOptions"
    )


def fully_connected(b: Builder, x: int) -> list[int]:
    shape = b.shape(x)
    needs(len(shape) >= 2)
    depth, out = shape[-1], int(b.rng.choice(CHANNELS))
    rows = int(np.prod(shape[:-1]))
    bias = -1 if b.rng.random() < 0.2 else b.bias(out)
    options = {
        "fused_activation_function": activation(b),
        "weights_format": "DEFAULT",
        "keep_num_dims": False,
        "asymmetric_quantize_inputs": False,
    }
    return b.op(
        "FULLY_CONNECTED", [x, b.weights((out, depth), 0), bias], [(rows, out)], options, "FullyConnectedOptions"
    )


def _binary(name: str, options_type: str, fused: bool = True):
    def build(b: Builder, x: int, y: int | None = None) -> list[int]:
        if y is None:
            others = [t for t in floats(b) if b.shape(t) == b.shape(x) and t != x]
            y = int(b.rng.choice(others)) if others and b.rng.random() < 0.7 else _vector(b, x)
        return b.op(
            name, [x, y], [b.shape(x)], {"fused_activation_function": activation(b)} if fused else {}, options_type
        )

    return build


def _vector(b: Builder, x: int) -> int:
    """A constant for the last dimension, sometimes one that is read elsewhere already."""
    same = [i for i, t in enumerate(b.tensors) if t.buffer and t.type == "FLOAT32" and t.shape == b.shape(x)[-1:]]
    if same and b.rng.random() < 0.3:
        return int(b.rng.choice(same))
    return b.constant((b.rng.normal(0, 2, b.shape(x)[-1:]) * 10.0 ** b.rng.integers(-9, 2)).astype(np.float32))


def floats(b: Builder) -> list[int]:
    made = {t for op in b.operators for t in op.outputs} | set(b.inputs)
    return [t for t in sorted(made) if b.tensors[t].type == "FLOAT32"]


add, sub = _binary("ADD", "AddOptions"), _binary("SUB", "SubOptions")
mul = _binary("MUL", "MulOptions")
maximum = _binary("MAXIMUM", "MaximumMinimumOptions", False)
minimum = _binary("MINIMUM", "MaximumMinimumOptions", False)


def _pool(name: str):
    def build(b: Builder, x: int) -> list[int]:
        n, h, w, c = image(b, x)
        options = {
            "padding": "SAME",
            "stride_w": 2,
            "stride_h": 2,
            "filter_width": 2,
            "filter_height": 2,
            "fused_activation_function": "NONE",
        }
        return b.op(name, [x], [(n, _same(h, 2), _same(w, 2), c)], options, "Pool2DOptions")

    return build


average_pool_2d, max_pool_2d = _pool("AVERAGE_POOL_2D"), _pool("MAX_POOL_2D")


def _unary(name: str, options: dict[str, Any] | None = None, options_type: str | None = None):
    def build(b: Builder, x: int) -> list[int]:
        return b.op(name, [x], [b.shape(x)], options, options_type)

    return build


relu, relu6 = _unary("RELU"), _unary("RELU6")
softmax = _unary("SOFTMAX", {"beta": 1.0}, "SoftmaxOptions")
logistic, tanh = _unary("LOGISTIC"), _unary("TANH")
sin, floor = _unary("SIN"), _unary("FLOOR")  # no int8 form
hard_swish = _unary("HARD_SWISH", {}, "HardSwishOptions")
leaky_relu = _unary("LEAKY_RELU", {"alpha": 0.125}, "LeakyReluOptions")


def reshape(b: Builder, x: int) -> list[int]:
    n, h, w, c = image(b, x)
    shape = (n, w, h, c) if w != h else (n, h * w, 1, c)
    if shape == b.shape(x):
        shape = (n, 1, c, 1) if c > 1 else (n, 1, 1, 1, 1)
    return b.op("RESHAPE", [x, b.constant(np.array(shape, np.int32))], [shape], {"new_shape": shape}, "ReshapeOptions")


def concatenation(b: Builder, x: int) -> list[int]:
    needs(len(b.shape(x)) > 0)
    others = [t for t in floats(b) if b.shape(t)[:-1] == b.shape(x)[:-1] and len(b.shape(t)) == len(b.shape(x))]
    inputs = [x, *(int(t) for t in b.rng.choice(others, int(b.rng.integers(1, 3))))]
    if b.rng.random() < 0.2:
        inputs.append(b.constant(b.rng.normal(0, 3, b.shape(x)).astype(np.float32)))
    shape = (*b.shape(x)[:-1], sum(b.shape(t)[-1] for t in inputs))
    return b.op(
        "CONCATENATION",
        inputs,
        [shape],
        {"axis": len(shape) - 1, "fused_activation_function": "NONE"},
        "ConcatenationOptions",
    )


def pad(b: Builder, x: int) -> list[int]:
    n, h, w, c = image(b, x)
    paddings = b.constant(np.array([[0, 0], [1, 1], [0, 1], [0, 0]], np.int32))
    return b.op("PAD", [x, paddings], [(n, h + 2, w + 1, c)], {}, "PadOptions")


def slice_(b: Builder, x: int) -> list[int]:
    n, h, w, c = image(b, x)
    if h * w == 1:
        return pad(b, x)
    size = (n, max(h - 1, 1), max(w - 1, 1), c)
    begin = b.constant(np.array([0, h - size[1], 0, 0], np.int32))
    return b.op("SLICE", [x, begin, b.constant(np.array(size, np.int32))], [size], {}, "SliceOptions")


def mean(b: Builder, x: int) -> list[int]:
    n, _, _, c = image(b, x)
    return b.op(
        "MEAN", [x, b.constant(np.array([1, 2], np.int32))], [(n, 1, 1, c)], {"keep_dims": True}, "ReducerOptions"
    )


def transpose(b: Builder, x: int) -> list[int]:
    n, h, w, c = image(b, x)
    if h == w == 1 or (n, w, h, c) == b.shape(x):
        return pad(b, x)
    return b.op("TRANSPOSE", [x, b.constant(np.array([0, 2, 1, 3], np.int32))], [(n, w, h, c)], {}, "TransposeOptions")


def split(b: Builder, x: int) -> list[int]:
    n, h, w, c = image(b, x)
    if c % 2:
        return relu(b, x)
    axis = b.constant(np.array(3, np.int32))
    return b.op("SPLIT", [axis, x], [(n, h, w, c // 2)] * 2, {"num_splits": 2}, "SplitOptions")


def prelu(b: Builder, x: int) -> list[int]:
    alpha = b.constant(b.rng.normal(0, 1, (1, 1, image(b, x)[-1])).astype(np.float32))
    return b.op("PRELU", [x, alpha], [b.shape(x)])


def shared_weights(b: Builder, x: int) -> list[int]:
    """Two convolutions of one tensor with the same weights and bias."""
    c, out = image(b, x)[-1], int(b.rng.choice(CHANNELS))
    weights, bias = b.weights((out, 1, 1, c), 0), b.bias(out)
    return conv_2d_with(b, x, weights, bias) + conv_2d_with(
        b, x, weights, bias if b.rng.random() < 0.5 else b.bias(out)
    )


SLICE_OPS = {
    "CONV_2D": conv_2d, "DEPTHWISE_CONV_2D": depthwise_conv_2d, "FULLY_CONNECTED": fully_connected, "ADD": add,
    "AVERAGE_POOL_2D": average_pool_2d, "MAX_POOL_2D": max_pool_2d, "RELU": relu, "RELU6": relu6, "RESHAPE": reshape,
    "SOFTMAX": softmax,
}  # fmt: skip
OTHER_OPS = {
    "SUB": sub, "MUL": mul, "MAXIMUM": maximum, "MINIMUM": minimum, "LOGISTIC": logistic, "TANH": tanh, "SIN": sin,
    "FLOOR": floor, "HARD_SWISH": hard_swish, "LEAKY_RELU": leaky_relu, "CONCATENATION": concatenation, "PAD": pad,
    "SLICE": slice_, "MEAN": mean, "TRANSPOSE": transpose, "SPLIT": split, "PRELU": prelu,
    "shared weights": shared_weights,
}  # fmt: skip


def single_op(name: str, rng: np.random.Generator) -> Model:
    """One operator of the slice on one input."""
    b = Builder(rng)
    h, w, c = (int(rng.integers(1, 7)) for _ in range(3))
    {**SLICE_OPS, **OTHER_OPS}[name](b, b.input((1, h, w, c)))
    return b.model()


def random_dag(
    rng: np.random.Generator,
    operators: int,
    ops: dict[str, Any],
    missing_ranges: float = 0.0,
    sharing: float = 0.0,
) -> Model:
    """A graph with branches: every operator reads any tensor made so far, newer ones more often."""
    b = Builder(rng, missing_ranges, sharing, ranked=sharing > 0 and bool(rng.random() < 0.9))
    for _ in range(int(rng.integers(1, 3))):
        b.input((1, int(rng.integers(2, 7)), int(rng.integers(2, 7)), int(rng.choice(CHANNELS))))
    names = sorted(ops)
    while len(b.operators) < operators:
        tensors = floats(b)
        newer = tensors[-3:] if rng.random() < 0.6 else tensors
        b.attempt(ops[str(rng.choice(names))], int(rng.choice(newer)))
    tensors = floats(b)
    extra = tuple(int(t) for t in tensors if rng.random() < 0.05 and t not in b.inputs)
    return b.model(extra)


def with_ranges(model: Model, ranges: dict[int, tuple[float, float]]) -> Model:
    """The model with these ranges in its tensors and no others."""
    tensors = tuple(
        replace(
            tensor,
            quantization=Quantization(min=(ranges[index][0],), max=(ranges[index][1],)) if index in ranges else None,
        )
        for index, tensor in enumerate(model.graph.tensors)
    )
    return model.with_graph(replace(model.graph, tensors=tensors))


# every other row of the table of rules: one plain form of each


def ints(b: Builder, *values: int | list[int]) -> int:
    return b.constant(np.array(values[0] if len(values) == 1 else values, np.int32))


def numbers(b: Builder, shape: Shape) -> int:
    return b.constant(b.rng.normal(0, 2, shape).astype(np.float32))


@dataclass(frozen=True)
class Row:
    """One operator: the shape of its float input "x", and its operands: "x", another input's shape, or a maker."""

    op: str
    shape: Shape
    operands: tuple[Any, ...] = ("x",)
    outputs: tuple[Shape, ...] | None = None  # None: the input's shape
    options: dict[str, Any] | None = None
    table: str | None = None
    types: tuple[str, ...] = ("FLOAT32",)

    def __call__(self, b: Builder) -> None:
        x = b.input(self.shape)
        inputs = [
            x if operand == "x" else b.input(operand) if isinstance(operand, tuple) else operand(b)
            for operand in self.operands
        ]
        outputs = b.op(self.op, inputs, list(self.outputs or (self.shape,)), self.options, self.table)
        for tensor, type_ in zip(outputs, self.types, strict=False):
            if type_ != "FLOAT32":
                b.tensors[tensor] = replace(b.tensors[tensor], type=type_, quantization=None)


def _int(*values: int | list[int]):
    return lambda b: ints(b, *values)


def _float(shape: Shape):
    return lambda b: numbers(b, shape)


def _bools(b: Builder) -> int:
    return b.constant(np.array([[True, False, True, False]]))


def _lookups(b: Builder) -> int:
    b.tensors.append(Tensor("lookups", "INT32", (2,)))
    b.inputs.append(len(b.tensors) - 1)
    return b.inputs[-1]


IMAGE, ROW = (1, 4, 4, 4), (1, 4)
STRIDED = "StridedSliceOptions"
RESIZE = {"align_corners": False, "half_pixel_centers": False}
NONE = {"fused_activation_function": "NONE"}
TABLE_ROWS = (
    Row("ABS", ROW, table="AbsOptions"),
    Row("ADD_N", ROW, ("x", ROW), table="AddNOptions"),
    Row("ARG_MAX", ROW, ("x", _int(1)), ((1,),), {"output_type": "INT32"}, "ArgMaxOptions", ("INT32",)),
    Row("ARG_MIN", ROW, ("x", _int(1)), ((1,),), {"output_type": "INT32"}, "ArgMinOptions", ("INT32",)),
    Row("BATCH_MATMUL", (1, 2, 3), ("x", (1, 3, 4)), ((1, 2, 4),), {}, "BatchMatMulOptions"),
    Row("BATCH_TO_SPACE_ND", (4, 2, 2, 3), ("x", _int([2, 2]), _int([[0, 0], [0, 0]])), ((1, 4, 4, 3),)),
    Row("BROADCAST_TO", ROW, ("x", _int([3, 4])), ((3, 4),)),
    Row("COS", ROW),
    Row(
        "CONV_3D", (1, 3, 3, 3, 2), ("x", _float((1, 1, 1, 2, 4)), _float((4,))), ((1, 3, 3, 3, 4),),
        {"padding": "SAME", "stride_d": 1, "stride_w": 1, "stride_h": 1, **NONE}, "Conv3DOptions",
    ),
    Row("DEPTH_TO_SPACE", IMAGE, ("x",), ((1, 8, 8, 1),), {"block_size": 2}, "DepthToSpaceOptions"),
    Row("DIV", ROW, ("x", ROW), None, NONE, "DivOptions"),
    Row("DYNAMIC_UPDATE_SLICE", (4, 4), ("x", (2, 2), _int([0, 1]))),
    Row("ELU", ROW),
    Row("EMBEDDING_LOOKUP", ROW, (_lookups, _float((3, 4))), ((2, 4),)),
    Row("EQUAL", ROW, ("x", ROW), None, None, None, ("BOOL",)),
    Row("EXP", ROW),
    Row("FILL", (), (_int([2, 3]), "x"), ((2, 3),)),
    Row("GATHER", (5, 4), ("x", _int([1, 3, 0])), ((3, 4),), {"axis": 0, "batch_dims": 0}, "GatherOptions"),
    Row("GATHER_ND", (5, 4), ("x", _int([[1], [3]])), ((2, 4),)),
    Row("GELU", ROW, ("x",), None, {"approximate": False}, "GeluOptions"),
    Row("GREATER", ROW, ("x", ROW), None, None, None, ("BOOL",)),
    Row("GREATER_EQUAL", ROW, ("x", _float(ROW)), None, None, None, ("BOOL",)),
    Row("L2_NORMALIZATION", ROW, ("x",), None, NONE, "L2NormOptions"),
    Row("LESS", ROW, ("x", _float(ROW)), None, None, None, ("BOOL",)),
    Row("LESS_EQUAL", ROW, ("x", ROW), None, None, None, ("BOOL",)),
    Row("LOG", ROW),
    Row("LOG_SOFTMAX", ROW),
    Row("MEAN", IMAGE, ("x", _int([1, 2])), ((1, 4),), {"keep_dims": False}, "ReducerOptions"),
    Row("MIRROR_PAD", (2, 4), ("x", _int([[1, 1], [0, 1]])), ((4, 5),), {"mode": "REFLECT"}, "MirrorPadOptions"),
    Row("NEG", ROW),
    Row("NOT_EQUAL", ROW, ("x", ROW), None, None, None, ("BOOL",)),
    Row("ONE_HOT", (), (_int([1, 0]), _int(3), "x", ()), ((2, 3),), {"axis": -1}, "OneHotOptions"),
    Row("PACK", ROW, ("x", ROW), ((2, 1, 4),), {"values_count": 2, "axis": 0}, "PackOptions"),
    Row("PADV2", ROW, ("x", _int([[0, 1], [1, 1]]), _float(())), ((2, 6),)),
    Row("POW", ROW, ("x", ROW)),
    Row("REDUCE_MAX", IMAGE, ("x", _int([1, 2])), ((1, 4),), {"keep_dims": False}, "ReducerOptions"),
    Row("REDUCE_MIN", IMAGE, ("x", _int([1, 2])), ((1, 4),), {"keep_dims": False}, "ReducerOptions"),
    Row("REDUCE_PROD", IMAGE, ("x", _int([1, 2])), ((1, 4),), {"keep_dims": False}, "ReducerOptions"),
    Row("RELU_N1_TO_1", ROW),
    Row("RELU_0_TO_1", ROW),
    Row("RESIZE_BILINEAR", IMAGE, ("x", _int([8, 6])), ((1, 8, 6, 4),), RESIZE, "ResizeBilinearOptions"),
    Row("RESIZE_NEAREST_NEIGHBOR", IMAGE, ("x", _int([8, 6])), ((1, 8, 6, 4),), RESIZE, "ResizeNearestNeighborOptions"),
    Row("REVERSE_SEQUENCE", (2, 4), ("x", _int([2, 3])), None, {"seq_dim": 1}, "ReverseSequenceOptions"),
    Row("REVERSE_V2", (2, 4), ("x", _int([1]))),
    Row("RSQRT", ROW),
    Row("SCATTER_ND", (2, 4), (_int([[1], [3]]), "x", _int([5, 4])), ((5, 4),)),
    Row("SELECT", ROW, (_bools, "x", _float(ROW))),
    Row("SELECT_V2", ROW, (_bools, "x", ROW)),
    Row("SPACE_TO_BATCH_ND", IMAGE, ("x", _int([2, 2]), _int([[0, 0], [0, 0]])), ((4, 2, 2, 4),)),
    Row("SPACE_TO_DEPTH", IMAGE, ("x",), ((1, 2, 2, 16),), {"block_size": 2}, "SpaceToDepthOptions"),
    Row("SPLIT_V", (1, 6), ("x", _int([2, 4]), _int(1)), ((1, 2), (1, 4)), {"num_splits": 2}, "SplitVOptions"),
    Row("SQRT", ROW),
    Row("SQUARE", ROW),
    Row("SQUARED_DIFFERENCE", ROW, ("x", ROW)),
    Row("STRIDED_SLICE", (4, 6), ("x", _int([0, 1]), _int([4, 5]), _int([2, 2])), ((2, 2),), {}, STRIDED),
    Row("SUM", IMAGE, ("x", _int([1, 2])), ((1, 4),), {"keep_dims": False}, "ReducerOptions"),
    Row("TILE", ROW, ("x", _int([2, 3])), ((2, 12),)),
    Row("TOPK_V2", ROW, ("x", _int(2)), ((1, 2), (1, 2)), None, None, ("FLOAT32", "INT32")),
    Row("TRANSPOSE", (2, 3, 4), ("x", _int([0, 2, 1])), ((2, 4, 3),)),
    Row(
        "TRANSPOSE_CONV", IMAGE, (_int([1, 8, 8, 3]), lambda b: b.weights((3, 3, 3, 4), 0), "x", lambda b: b.bias(3)),
        ((1, 8, 8, 3),), {"padding": "SAME", "stride_w": 2, "stride_h": 2, **NONE}, "TransposeConvOptions",
    ),
    Row("UNPACK", (2, 4), ("x",), ((4,), (4,)), {"num": 2, "axis": 0}, "UnpackOptions"),
)  # fmt: skip
TABLE_OPS = {row.op: row for row in TABLE_ROWS}


# graphs that reach one rule of the propagation each; a builder gives the tensors that have no range


def _concatenate(b: Builder, *inputs: int) -> int:
    shape = (*b.shape(inputs[0])[:-1], sum(b.shape(t)[-1] for t in inputs))
    options = {"axis": len(shape) - 1, "fused_activation_function": "NONE"}
    return b.op("CONCATENATION", list(inputs), [shape], options, "ConcatenationOptions")[0]


def _only(made: list[int]) -> int:
    (tensor,) = made
    return tensor


def folded_requantization(b: Builder) -> list[int]:
    """The sum may take the scale that the concatenation asks for: no QUANTIZE between them."""
    x = b.input(IMAGE)
    return [_concatenate(b, x, _only(add(b, x)))]


def folded_requantization_of_two_reads(b: Builder) -> list[int]:
    x = b.input(IMAGE)
    a = _only(add(b, x))
    return [_concatenate(b, x, a, a)]


def requests_of_all_readers(b: Builder) -> list[int]:
    """Two concatenations ask one tensor for two scales, and nobody reads it as it is."""
    v = _only(relu(b, b.input(IMAGE)))
    return [_concatenate(b, b.input(IMAGE), v), _concatenate(b, b.input(IMAGE), v)]


def requests_of_some_readers(b: Builder) -> list[int]:
    v = _only(relu(b, b.input(IMAGE)))
    leaky_relu(b, v)
    return [_concatenate(b, b.input(IMAGE), v), _concatenate(b, b.input(IMAGE), v)]


def carried_past_a_pool(b: Builder) -> list[int]:
    """The input's scale comes from the maximum; nobody comes back to the pool, but DEQUANTIZE moves behind it."""
    x = b.input(IMAGE)
    maximum(b, x, b.input(IMAGE))
    average_pool_2d(b, x)
    return []


def carried_past_two(b: Builder) -> list[int]:
    x = b.input((1, 8, 8, 4))
    maximum(b, x, b.input((1, 8, 8, 4)))
    (p,) = average_pool_2d(b, x)
    return [p, _only(max_pool_2d(b, p))]


def carried_past_a_requantization(b: Builder) -> list[int]:
    """The pool takes TANH's own 1/128, not what the concatenation reads."""
    x = b.input(IMAGE)
    t = _only(tanh(b, x))
    _concatenate(b, t, _only(relu(b, x)))
    average_pool_2d(b, t)
    return []


def not_carried_past_a_pad(b: Builder) -> list[int]:
    """Padding makes the tensor larger, so the DEQUANTIZE stays in front and PAD stays float."""
    x = b.input(IMAGE)
    maximum(b, x, b.input(IMAGE))
    pad(b, x)
    return []


def worklist_order(b: Builder) -> list[int]:
    (p,) = pad(b, b.input((1, 2, 2, 1)))
    (m,) = minimum(b, p, b.constant(np.ones(1, np.float32)))
    (q,) = pad(b, m)
    return [m, q, _concatenate(b, q, q, q), _only(maximum(b, m, p))]


def fixed_output_requantized(b: Builder) -> list[int]:
    """TANH keeps 1/128; the concatenation reads it through a QUANTIZE."""
    x = b.input(IMAGE)
    _concatenate(b, _only(tanh(b, x)), _only(relu(b, x)))
    return []


def fixed_output_read_by_a_float_operator(b: Builder) -> list[int]:
    """SIN reads a DEQUANTIZE of TANH's own 1/128, not of what the concatenation reads."""
    x = b.input(IMAGE)
    t = _only(tanh(b, x))
    _concatenate(b, t, _only(relu(b, x)))
    sin(b, t)
    return []


def fixed_output_of_a_float_operator(b: Builder) -> list[int]:
    """TANH stays float for want of its input's range: two QUANTIZE follow it."""
    x = b.input(IMAGE)
    t = _only(tanh(b, x))
    tanh(b, _only(pad(b, t)))
    return [x, t]


def producer_and_reader_ask(b: Builder) -> list[int]:
    """TANH and a concatenation that stays float ask for two scales: the converter forgets both."""
    x = b.input(IMAGE)
    s, t = _only(sin(b, x)), _only(tanh(b, x))
    _concatenate(b, t, s)
    maximum(b, t, b.input(IMAGE))
    return []


def unseen_producer(b: Builder) -> list[int]:
    """A float operator's result of which a float concatenation asks another scale: nothing happens."""
    x = b.input(IMAGE)
    s, t = _only(sin(b, x)), _only(floor(b, x))
    average_pool_2d(b, s)
    return [_concatenate(b, b.input(IMAGE), s, t), t]


def output_and_readers(b: Builder) -> list[int]:
    """A tensor that is an output, goes to an int8 operator and to a float one."""
    v = _only(relu(b, b.input(IMAGE)))
    average_pool_2d(b, v)
    sin(b, v)
    b.extra_outputs = (v,)
    return []


def multiplied_by_more_than_one(b: Builder) -> list[int]:
    """MUL of version 3: the product of the input scales exceeds the output scale."""
    x = b.input(IMAGE)
    b.tensors[x] = replace(b.tensors[x], quantization=Quantization(min=(-1000.0,), max=(1000.0,)))
    (m,) = mul(b, x, b.constant(np.full(4, 1000, np.float32)))
    b.tensors[m] = replace(b.tensors[m], quantization=Quantization(min=(-1.0,), max=(1.0,)))
    return []


def constant_read_in_three_ways(b: Builder) -> list[int]:
    """One constant as an addend, as a bias and in a concatenation."""
    x = b.input((1, 1, 1, 3))
    c = b.constant(np.array([0.5, -3.0, 2.5], np.float32))
    (a,) = add(b, x, c)
    conv_2d_with(b, a, b.weights((3, 1, 1, 3), 0), c)
    d = b.constant(np.array([[[[1.0, 2.0, 3.0]]]], np.float32))
    _concatenate(b, a, d)
    add(b, a, d)
    return []


def equal_constants(b: Builder) -> list[int]:
    """Two constants of equal content are one to the converter: the addend becomes symmetric, as PRELU's slopes are."""
    x = b.input(IMAGE)
    for name in ("ADD", "PRELU"):
        options = (NONE, "AddOptions") if name == "ADD" else ({}, None)
        values = np.array([[[0.5, 1.0, 2.0, 0.25]]], np.float32)
        b.op(name, [x, b.constant(values)], [IMAGE], *options)
    return []


def result_before_operand(b: Builder) -> list[int]:
    """PAD's operand and result have scales already: its result's wins, as the paddings count as an operand too."""
    v = _only(relu(b, b.input(IMAGE)))
    y = _only(pad(b, v))
    maximum(b, y, b.input(b.shape(y)))
    maximum(b, v, b.input(IMAGE))
    return []


def order_of_readers(b: Builder) -> list[int]:
    """A constant of a MINIMUM and of two biases: the MINIMUM, being commutative, is its first reader, not the last."""
    x = b.input((1, 2, 2, 3))
    c = b.constant(np.zeros(1, np.float32))
    y = conv_2d_with(b, x, b.weights((1, 1, 1, 3), 0), c)
    conv_2d_with(b, x, b.weights((1, 1, 1, 3), 0), c)
    b.op("MINIMUM", [_only(y), c], [(1, 2, 2, 1)])
    return []


def weights_of_two_kinds(b: Builder) -> list[int]:
    """One constant as the weights of a convolution and of a depthwise one: the first reader sets the dimension."""
    x = b.input((1, 2, 2, 4))
    w = b.weights((1, 1, 1, 4), 0)
    conv_2d_with(b, x, w, b.bias(1))
    depthwise_conv_2d_with(b, x, w, b.bias(4))
    return []


def one_bias_for_several_channels(b: Builder) -> list[int]:
    """The other way round the convolution's only bias gets four scales."""
    x = b.input((1, 2, 2, 4))
    w = b.weights((1, 1, 1, 4), 0)
    depthwise_conv_2d_with(b, x, w, b.bias(4))
    conv_2d_with(b, x, w, b.bias(1))
    return []


def weights_of_a_float_operator(b: Builder) -> list[int]:
    """TRANSPOSE_CONV stays float for want of its input's range, but keeps its int8 weights."""
    x = b.input((1, 2, 2, 2))
    transpose_conv_with(b, x, b.weights((3, 1, 1, 2), 0), b.bias(3))
    return [x]


def weights_of_a_float_operator_put_off(b: Builder) -> list[int]:
    """Another reader of its bias, which stands before the weights: they are float again when its turn comes."""
    x = b.input((1, 2, 2, 2))
    b.op("GREATER", [b.constant(np.ones(2, np.float32)), x], [(1, 2, 2, 2)], types=("BOOL",))
    c = b.constant(np.array([0.5, 0.25, 1], np.float32))
    (y,) = transpose_conv_with(b, x, b.weights((3, 1, 1, 2), 0), c)
    b.op("MAXIMUM", [y, c], [(1, 4, 4, 3)])
    return [x]


def weights_of_a_float_operator_in_time(b: Builder) -> list[int]:
    """The same without an operator in front: the weights stand before the bias."""
    x = b.input((1, 2, 2, 2))
    c = b.constant(np.array([0.5, 0.25, 1], np.float32))
    (y,) = transpose_conv_with(b, x, b.weights((3, 1, 1, 2), 0), c)
    b.op("MAXIMUM", [y, c], [(1, 4, 4, 3)])
    return [x]


def absent_bias(b: Builder) -> list[int]:
    """The bias that is not there takes the operator's name."""
    transpose_conv_with(b, b.input((1, 2, 2, 2)), b.weights((3, 1, 1, 2), 0))
    return []


def unread_input(b: Builder) -> list[int]:
    """Its range stands in front of all constants and turns their order round."""
    b.input((1, 3))
    x = b.input(IMAGE)
    slice_(b, x)
    return []


def input_as_output(b: Builder) -> list[int]:
    x = b.input(IMAGE)
    relu(b, x)
    sin(b, x)
    b.extra_outputs = (x,)
    return []


def constant_as_output(b: Builder) -> list[int]:
    c = b.constant(np.array([[[[1.0, 2.0, 3.0, 4.0]]]], np.float32))
    b.op("ADD", [b.input(IMAGE), c], [IMAGE], NONE)
    b.extra_outputs = (c, c)
    return []


def constants_of_a_float_sum(b: Builder) -> list[int]:
    """ADD_N, commutative and float: its constants change places as they become float again."""
    x = _only(sin(b, b.input(IMAGE)))
    b.op("ADD_N", [_only(relu(b, x)), b.numbers(IMAGE), b.numbers(IMAGE)], [IMAGE])
    return []


def constants_of_a_sum_without_parameters(b: Builder) -> list[int]:
    """They stay as they are, although EQUAL takes one of them through a QUANTIZE and a DEQUANTIZE in vain."""
    x, c = b.input(IMAGE), b.numbers(IMAGE)
    relu(b, b.input(IMAGE))
    (y,) = b.op("ADD_N", [x, b.numbers(IMAGE), c], [IMAGE])
    b.op("EQUAL", [y, c], [IMAGE], types=("BOOL",))
    return [x, y]


def copies_left_float(b: Builder) -> list[int]:
    """Copies of a constant that are not quantized become one again, without a name."""
    x = _only(sin(b, b.input((1, 2, 2, 2))))
    weights, bias = b.weights((3, 1, 1, 2), 0), b.bias(3)
    return [x, *(_only(conv_2d_with(b, x, weights, bias)) for _ in range(2))]


def copies_of_several_uses(b: Builder) -> list[int]:
    """One constant as a bias, a factor and a subtrahend, of which only the last is int8."""
    x = b.input((1, 2, 2, 3))
    weights, c = b.weights((3, 1, 1, 3), 0), b.constant(np.array([0.5, -3.0, 2.5], np.float32))
    y = _only(conv_2d_with(b, _only(pad(b, x)), weights, c))
    z = _only(mean(b, y))
    (m,) = b.op("MUL", [z, c], [(1, 1, 1, 3)], NONE)
    b.op("SUB", [m, c], [(1, 1, 1, 3)], NONE)
    return [y, z]


def scalar_of_unknown_rank(b: Builder) -> list[int]:
    """A DEQUANTIZE moves behind an operator only if the file says that its result is a scalar."""
    x = b.input(IMAGE)
    maximum(b, x, b.input(IMAGE))
    b.op("REDUCE_MAX", [x, b.constant(np.arange(4, dtype=np.int32))], [()], {"keep_dims": False})
    return []


def result_that_asks_for_itself(b: Builder) -> list[int]:
    """A result with a range whose operator asks for another scale: the QUANTIZE behind it is named after the range."""
    x = b.input((1, 2, 2, 4))
    _, second = split(b, x)
    _concatenate(b, second, second)
    return []


def own_conversion_of_the_only_reader(b: Builder) -> list[int]:
    """Behind the QUANTIZE to the scale that ADD_N asks of its second operand stands the operand's own DEQUANTIZE."""
    x = b.input(IMAGE)
    return [x, *b.op("ADD_N", [_only(relu(b, x)), _only(relu(b, x))], [IMAGE])]


def new_conversion_of_two_reads(b: Builder) -> list[int]:
    """ADD_N asks once for two operands, so that they read a new DEQUANTIZE, although RELU just gets the scale."""
    x = b.input(IMAGE)
    first, second = _only(relu(b, x)), _only(relu(b, x))
    return b.op("ADD_N", [first, second, second], [IMAGE])


def producer_and_reader_ask_alike(b: Builder) -> list[int]:
    """MINIMUM keeps the scale of its operands; ADD_N asks for that one too, PAD reads the other through a QUANTIZE."""
    a = _only(relu(b, b.input(IMAGE)))
    (m,) = minimum(b, a, b.input(IMAGE))
    (y,) = b.op("ADD_N", [m, a], [IMAGE])
    pad(b, m)
    return [m, y]


def compared_with_a_constant_of_a_float_operator(b: Builder) -> list[int]:
    """GREATER stays float: the converter stops at ADD, and the constant is float before it comes to the input."""
    x, z, c = b.input(IMAGE), b.input(IMAGE), b.numbers(IMAGE)
    pad(b, x)
    b.op("GREATER", [x, c], [IMAGE], types=("BOOL",))
    return [x, z, *b.op("ADD", [z, c], [IMAGE], NONE)]


def input_requantized_behind_another(b: Builder) -> list[int]:
    """The QUANTIZE to the scale that the concatenation asks for stands behind the first input's DEQUANTIZE."""
    x, y = b.input(IMAGE), b.input(IMAGE)
    return [_concatenate(b, _only(sin(b, x)), y)]


RULE_GRAPHS = {
    build.__name__: build
    for build in (
        folded_requantization,
        folded_requantization_of_two_reads,
        requests_of_all_readers,
        requests_of_some_readers,
        carried_past_a_pool,
        carried_past_two,
        carried_past_a_requantization,
        not_carried_past_a_pad,
        worklist_order,
        fixed_output_requantized,
        fixed_output_read_by_a_float_operator,
        fixed_output_of_a_float_operator,
        producer_and_reader_ask,
        unseen_producer,
        output_and_readers,
        multiplied_by_more_than_one,
        constant_read_in_three_ways,
        equal_constants,
        result_before_operand,
        order_of_readers,
        weights_of_two_kinds,
        one_bias_for_several_channels,
        weights_of_a_float_operator,
        weights_of_a_float_operator_put_off,
        weights_of_a_float_operator_in_time,
        absent_bias,
        unread_input,
        input_as_output,
        constant_as_output,
        constants_of_a_float_sum,
        constants_of_a_sum_without_parameters,
        copies_left_float,
        copies_of_several_uses,
        scalar_of_unknown_rank,
        result_that_asks_for_itself,
        own_conversion_of_the_only_reader,
        new_conversion_of_two_reads,
        producer_and_reader_ask_alike,
        compared_with_a_constant_of_a_float_operator,
        input_requantized_behind_another,
    )
}


def rule_graph(name: str, rng: np.random.Generator) -> Model:
    """A graph of RULE_GRAPHS with drawn ranges."""
    b = Builder(rng)
    for tensor in RULE_GRAPHS[name](b):
        b.tensors[tensor] = replace(b.tensors[tensor], quantization=None)
    return b.model(b.extra_outputs)


def described(model: Model) -> list[tuple]:
    """Tensors and operators in order, with everything that matters."""
    rows: list[tuple] = []
    for tensor in model.graph.tensors:
        q = tensor.quantization if tensor.quantization is not None and tensor.quantization.scale else Quantization()
        data = model.constant(tensor)
        rows.append(
            (
                tensor.name,
                tensor.type,
                tensor.shape,
                tensor.shape_signature,
                q,
                None if data is None else data.tobytes(),
            )
        )
    return rows + [
        (o.name, o.version, o.custom_code, o.inputs, o.outputs, sorted(o.options.items()))
        for o in model.graph.operators
    ]
