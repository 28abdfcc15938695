"""Random float graphs of operators that write into their input's memory, or pass it on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from converter_oracle_graphs import Builder, Shape, floats, with_ranges
from refquant.model.graph import Model, Tensor

NONE = {"fused_activation_function": "NONE"}
BINARY = {"ADD": "AddOptions", "DIV": "DivOptions", "MUL": "MulOptions", "SUB": "SubOptions"}
LARGEST = 64  # elements of a result


def size(b: Builder, t: int) -> int:
    return int(np.prod(b.shape(t)))


def fits(a: Shape, b: Shape) -> bool:
    try:
        return int(np.prod(np.broadcast_shapes(a, b))) <= LARGEST
    except ValueError:
        return False


def binary(b: Builder, x: int) -> list[int]:
    """With a constant, with another tensor of a shape that broadcasts, or with itself; in both orders."""
    rng, shape = b.rng, b.shape(x)
    kind = rng.random()
    if kind < 0.2:
        y = b.constant(rng.normal(0, 2, shape[-1:]).astype(np.float32))
    elif kind < 0.3:
        y = b.constant(rng.normal(0, 2, shape).astype(np.float32))
    else:
        y = int(rng.choice([t for t in floats(b) if fits(b.shape(t), shape)]))
    if kind > 0.97:
        x = b.constant(rng.normal(0, 2, shape).astype(np.float32))
    op = str(rng.choice(list(BINARY)))
    result = tuple(int(n) for n in np.broadcast_shapes(b.shape(x), b.shape(y)))
    return b.op(op, [x, y] if rng.random() < 0.5 else [y, x], [result], dict(NONE), BINARY[op])


def constants(b: Builder, _: int) -> list[int]:
    """Of two constants: MUL computes its product while it is prepared, in memory of its own."""
    shape = b.shape(int(b.rng.choice(floats(b))))
    x, y = (b.constant(b.rng.normal(0, 2, shape).astype(np.float32)) for _ in range(2))
    op = str(b.rng.choice(list(BINARY)))
    return b.op(op, [x, y], [shape], dict(NONE), BINARY[op])


def softmax(b: Builder, x: int) -> list[int]:
    return b.op("SOFTMAX", [x], [b.shape(x)], {"beta": 1.0}, "SoftmaxOptions")


def reshape(b: Builder, x: int) -> list[int]:
    n = size(b, x)
    shapes = [(n,), (1, n), (n, 1), (1, 1, n), *([(2, n // 2)] if n % 2 == 0 else [])]
    shape = shapes[int(b.rng.integers(len(shapes)))]
    return b.op("RESHAPE", [x, b.constant(np.array(shape, np.int32))], [shape], {"new_shape": shape}, "ReshapeOptions")


def late(b: Builder, shape: Shape) -> int:
    """An int32 input of the graph: what an operator must know to shape its result is known late."""
    b.tensors.append(Tensor(f"late{len(b.tensors)}", "INT32", shape))
    b.inputs.append(len(b.tensors) - 1)
    return b.inputs[-1]


def reshape_while_running(b: Builder, x: int) -> list[int]:
    return b.op("RESHAPE", [x, late(b, (2,))], [(1, size(b, x))])


def slice_while_running(b: Builder, x: int) -> list[int]:
    """Of a declared shape, which TFLite trusts."""
    rank = (len(b.shape(x)),)
    return b.op("SLICE", [x, late(b, rank), late(b, rank)], [b.shape(x)], {}, "SliceOptions")


def transpose_while_running(b: Builder, x: int) -> list[int]:
    return b.op("TRANSPOSE", [x, late(b, (len(b.shape(x)),))], [b.shape(x)], {}, "TransposeOptions")


def expand_dims(b: Builder, x: int) -> list[int]:
    shape, axis = b.shape(x), int(b.rng.integers(0, len(b.shape(x)) + 1))
    if len(shape) > 4:
        return softmax(b, x)
    result = (*shape[:axis], 1, *shape[axis:])
    return b.op("EXPAND_DIMS", [x, b.constant(np.array(axis, np.int32))], [result], {}, "ExpandDimsOptions")


def squeeze(b: Builder, x: int) -> list[int]:
    shape = b.shape(x)
    axes = [axis for axis, n in enumerate(shape) if n == 1]
    if not axes or len(shape) < 2:
        return reshape(b, x)
    axis = int(b.rng.choice(axes))
    options = {"squeeze_dims": (axis,)}
    return b.op("SQUEEZE", [x], [shape[:axis] + shape[axis + 1 :]], options, "SqueezeOptions")


def bitcast(b: Builder, x: int) -> list[int]:
    """To int32 and back."""
    (bits,) = b.op("BITCAST", [x], [b.shape(x)], {}, "BitcastOptions")
    b.tensors[bits] = replace(b.tensors[bits], type="INT32", quantization=None)
    return b.op("BITCAST", [bits], [b.shape(x)], {}, "BitcastOptions")


def update(b: Builder, x: int) -> list[int]:
    shape = b.shape(x)
    smaller = [t for t in floats(b) if len(b.shape(t)) == len(shape) and all(np.less_equal(b.shape(t), shape))]
    y = int(b.rng.choice(smaller))
    start = [int(b.rng.integers(0, n - m + 1)) for m, n in zip(b.shape(y), shape, strict=True)]
    return b.op("DYNAMIC_UPDATE_SLICE", [x, y, b.constant(np.array(start, np.int32))], [shape])


def copy(b: Builder, x: int) -> list[int]:
    """Never in place."""
    op = str(b.rng.choice(["RELU", "TANH", "ABS"]))
    return b.op(op, [x], [b.shape(x)], {}, "AbsOptions" if op == "ABS" else None)


def split(b: Builder, x: int) -> list[int]:
    shape = b.shape(x)
    if shape[-1] % 2:
        return copy(b, x)
    axis = b.constant(np.array(len(shape) - 1, np.int32))
    return b.op("SPLIT", [axis, x], [(*shape[:-1], shape[-1] // 2)] * 2, {"num_splits": 2}, "SplitOptions")


def with_variable(b: Builder, x: int) -> list[int]:
    """With a variable tensor, which is zero and never in place."""
    b.tensors.append(Tensor(f"variable{len(b.tensors)}", "FLOAT32", b.shape(x), is_variable=True))
    inputs = [x, len(b.tensors) - 1]
    return b.op("ADD", inputs if b.rng.random() < 0.5 else inputs[::-1], [b.shape(x)], dict(NONE), "AddOptions")


def written_over(b: Builder, x: int) -> list[int]:
    """A sum in its operand's memory, a RESHAPE of it, and a SOFTMAX over both: whoever reads the sum later misreads."""
    (y,) = copy(b, x)
    made = [y]
    for _ in range(int(b.rng.integers(1, 3))):
        constant = b.constant(b.rng.normal(0, 2, b.shape(made[-1])).astype(np.float32))
        made += b.op("ADD", [made[-1], constant], [b.shape(made[-1])], dict(NONE), "AddOptions")
    seen = reshape(b, made[-1])
    if b.rng.random() < 0.5:
        seen += [expand_dims, reshape][int(b.rng.integers(2))](b, seen[-1])
    softmax(b, seen[-1])
    return copy(b, made[-1] if b.rng.random() < 0.7 else seen[0])


# operator -> how often it is drawn
PLAIN = {binary: 8, softmax: 2, reshape: 4, expand_dims: 2, squeeze: 2, update: 2, copy: 3, split: 1}
RARE = {**PLAIN, bitcast: 1, constants: 2, with_variable: 1, reshape_while_running: 3}
LATE = {
    binary: 5, softmax: 3, reshape: 2, expand_dims: 1, copy: 2, reshape_while_running: 3, slice_while_running: 2,
    transpose_while_running: 1,
}  # fmt: skip
WRITTEN_OVER = {**PLAIN, written_over: 6}


def in_place_graph(rng: np.random.Generator, operators: int, weights: dict = PLAIN) -> Model:
    """Operators read results that nobody has read yet, more often than others; most results end in a copy."""
    b = Builder(rng)
    for _ in range(int(rng.integers(1, 3))):
        b.input([(1, 2, 3), (1, 6), (1, 1), (1, 2, 1)][int(rng.integers(4))])
    makers, shares = list(weights), np.array(list(weights.values())) / sum(weights.values())
    copy(b, b.inputs[0])
    while len(b.operators) < operators:
        made = floats(b)
        fresh = [t for t in made if t not in b.used and t not in b.inputs]
        x = int(rng.choice(fresh if fresh and rng.random() < 0.6 else made))
        makers[int(rng.choice(len(makers), p=shares))](b, x)
    for t in floats(b):
        if t not in b.used and rng.random() < 0.8:
            copy(b, t)
    extra = tuple(t for t in floats(b) if rng.random() < 0.06 and t not in b.inputs)
    return with_ranges(b.model(extra), {})


def drawn_samples(model: Model, rng: np.random.Generator, count: int) -> list[list[np.ndarray]]:
    """Of a graph made here: normal numbers, and for the inputs that are known late what keeps the declared shape."""
    graph = model.graph

    def drawn(index: int) -> np.ndarray:
        tensor = graph.tensors[index]
        if tensor.type == "FLOAT32":
            return rng.normal(0, 2, tensor.shape).astype(np.float32)
        (reader,) = (o for o in graph.operators if index in o.inputs)
        shape = graph.tensors[reader.outputs[0]].shape
        values = {
            ("RESHAPE", 1): shape,
            ("SLICE", 1): [0] * len(shape),
            ("SLICE", 2): shape,
            ("TRANSPOSE", 1): range(len(shape)),
        }
        return np.array(values[reader.name, reader.inputs.index(index)], np.int32)

    return [[drawn(index) for index in graph.inputs] for _ in range(count)]
