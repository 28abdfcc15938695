"""Graphs that compute shapes while they run, as converters write them for models of unknown batch, against LiteRT.

SHAPE -> STRIDED_SLICE -> PACK -> RESHAPE and its relatives, with the declared batch and with resized ones: every tensor
bit for bit, and the folded values known when the model is prepared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import oracle
from cases.movement import draw
from crosscheck import differing
from models import T, quantization
from oracle import litert
from refquant.interpreter import Interpreter
from refquant.kernels.table import KERNELS
from refquant.model import write_model
from refquant.model.graph import Graph, Model, Operator, Tensor
from refquant.program import prepare, run
from refquant.runtimes import runtime_named

Q = {"scale": 0.5, "zero_point": -7}
MASKS = {"begin_mask": 0, "end_mask": 0, "ellipsis_mask": 0, "new_axis_mask": 0, "shrink_axis_mask": 0, "offset": False}


class Net:
    """A graph under construction; every method returns the index of a tensor."""

    def __init__(self) -> None:
        self.buffers: list[bytes] = [b""]
        self.tensors: list[Tensor] = []
        self.operators: list[Operator] = []
        self.inputs: list[int] = []

    def tensor(self, t: T, signature: tuple[int, ...] | None = None) -> int:
        buffer = 0
        if t.data is not None:
            buffer = len(self.buffers)
            self.buffers.append(t.data.tobytes())
        name = f"t{len(self.tensors)}"
        self.tensors.append(Tensor(name, t.type, tuple(t.shape), buffer, quantization(t), signature))
        return len(self.tensors) - 1

    def input(self, t: T) -> int:
        index = self.tensor(t, (-1, *t.shape[1:]))
        self.inputs.append(index)
        return index

    def constant(self, values: Any, dtype: Any = np.int32, **q: Any) -> int:
        return self.tensor(T(data=np.array(values, dtype), **q))

    def op(
        self, name: str, inputs: list[int], output: T, options: dict[str, Any] | None = None, version: int = 1
    ) -> int:
        result = self.tensor(output)
        self.operators.append(Operator(name, tuple(inputs), (result,), version, options=options or {}))
        return result

    def model(self, *outputs: int) -> Model:
        graph = Graph(tuple(self.tensors), tuple(self.operators), tuple(self.inputs), outputs, "main")
        return Model((graph,), tuple(self.buffers), description="shape subgraph")

    def shape_of(self, x: int, type: str = "INT32") -> int:
        rank = len(self.tensors[x].shape)
        return self.op("SHAPE", [x], T((rank,), type), {"out_type": type})

    def element(self, vector: int, index: int) -> int:
        """vector[index] as converters write it: a STRIDED_SLICE that drops its axis."""
        bounds = [self.constant([index]), self.constant([index + 1]), self.constant([1])]
        return self.op("STRIDED_SLICE", [vector, *bounds], T((), "INT32"), {**MASKS, "shrink_axis_mask": 1})

    def pack(self, *scalars: int) -> int:
        return self.op("PACK", list(scalars), T((len(scalars),), "INT32"), {"axis": 0, "values_count": len(scalars)})


def image(net: Net) -> int:
    return net.input(T((1, 2, 3, 4), "INT8", **Q))


def keras_reshape() -> Model:
    """Reshape((6, 4)): the batch from the shape, the rest constant."""
    net = Net()
    x = image(net)
    target = net.pack(net.element(net.shape_of(x), 0), net.constant(6), net.constant(4))
    return net.model(net.op("RESHAPE", [x, target], T((1, 6, 4), "INT8", **Q)))


def keras_flatten() -> Model:
    """Flatten(): the batch and -1."""
    net = Net()
    x = image(net)
    target = net.pack(net.element(net.shape_of(x), 0), net.constant(-1))
    return net.model(net.op("RESHAPE", [x, target], T((1, 24), "INT8", **Q)))


def dense_on_rank_3() -> Model:
    """tensordot: the product of some sizes, the others gathered, and both joined for the way back."""
    net = Net()
    x = image(net)
    shape = net.shape_of(x)
    kept = net.op("GATHER", [shape, net.constant([0, 1])], T((2,), "INT32"), {"axis": 0, "batch_dims": 0})
    summed = net.op("GATHER", [shape, net.constant([2, 3])], T((2,), "INT32"), {"axis": 0, "batch_dims": 0})
    products = [
        net.op("REDUCE_PROD", [sizes, net.constant([0])], T((), "INT32"), {"keep_dims": False})
        for sizes in (kept, summed)
    ]
    rows = net.op("RESHAPE", [x, net.pack(*products)], T((2, 12), "INT8", **Q))
    joined = net.op("CONCATENATION", [kept, net.constant([4, 3])], T((4,), "INT32"), {"axis": 0})
    return net.model(net.op("RESHAPE", [rows, joined], T((1, 2, 4, 3), "INT8", **Q)))


def initial_state() -> Model:
    """The zeros of a recurrent layer: FILL of (batch, 3), joined with the input."""
    net = Net()
    x = net.input(T((1, 4), "INT8", **Q))
    dims = net.pack(net.element(net.shape_of(x), 0), net.constant(3))
    zeros = net.op("FILL", [dims, net.constant(-7, np.int8, **Q)], T((1, 3), "INT8", **Q))
    return net.model(net.op("CONCATENATION", [x, zeros], T((1, 7), "INT8", **Q), {"axis": 1}))


def broadcast_to_batch() -> Model:
    """A constant repeated for every row of the batch, by BROADCAST_TO and by TILE."""
    net = Net()
    x = net.input(T((1, 3), "INT8", **Q))
    batch = net.element(net.shape_of(x), 0)
    table = net.constant([[1, 2, 3]], np.int8, **Q)
    whole = net.op("BROADCAST_TO", [table, net.pack(batch, net.constant(3))], T((1, 3), "INT8", **Q), version=2)
    tiled = net.op("TILE", [table, net.pack(batch, net.constant(1))], T((1, 3), "INT8", **Q))
    return net.model(net.op("CONCATENATION", [x, whole, tiled], T((1, 9), "INT8", **Q), {"axis": -1}))


def positions() -> Model:
    """Position ids: RANGE(0, length) of a dynamic axis, looked up in a table by GATHER."""
    net = Net()
    x = net.input(T((1, 5), "INT32"))
    length = net.element(net.shape_of(x), 0)
    ids = net.op("RANGE", [net.constant(0), length, net.constant(1)], T((1,), "INT32"))
    table = net.constant(np.arange(64).reshape(16, 4) - 32, np.int8, **Q)
    rows = net.op("GATHER", [table, ids], T((1, 4), "INT8", **Q), {"axis": 0, "batch_dims": 0})
    return net.model(net.op("EXPAND_DIMS", [rows, net.constant(1)], T((1, 1, 4), "INT8", **Q)))


def shape_by_slice_and_concatenation() -> Model:
    """SHAPE -> SLICE -> CONCATENATION -> RESHAPE, in INT64 -> ... the shape taken apart by SPLIT_V and UNPACK too."""
    net = Net()
    x = image(net)
    shape = net.shape_of(x)
    first = net.op("SLICE", [shape, net.constant([0]), net.constant([1])], T((1,), "INT32"))
    reshaped = net.op(
        "RESHAPE",
        [x, net.op("CONCATENATION", [first, net.constant([-1, 2])], T((3,), "INT32"), {"axis": 0})],
        T((1, 12, 2), "INT8", **Q),
    )
    sizes = [net.tensor(T((), "INT32")) for _ in range(3)]
    net.operators.append(Operator("UNPACK", (net.shape_of(reshaped),), tuple(sizes), options={"axis": 0, "num": 3}))
    swapped = net.op("RESHAPE", [reshaped, net.pack(sizes[0], sizes[2], sizes[1])], T((1, 2, 12), "INT8", **Q))
    rank = net.op("RANK", [swapped], T((), "INT32"))
    dims = net.op("EXPAND_DIMS", [rank, net.constant(0)], T((1,), "INT32"))
    ones = net.op("FILL", [dims, net.constant(1)], T((3,), "INT32"))
    return net.model(net.op("TILE", [swapped, ones], T((1, 2, 12), "INT8", **Q)))


def padding_and_slicing_to_a_computed_size() -> Model:
    """PAD with computed margins, STRIDED_SLICE from a computed begin, SLICE of a computed size."""
    net = Net()
    x = image(net)
    batch, width = (net.element(net.shape_of(x), axis) for axis in (0, 2))
    zero = net.constant(0)
    rows = [net.pack(zero, zero), net.pack(zero, net.constant(1)), net.pack(width, zero), net.pack(zero, zero)]
    paddings = net.op("PACK", rows, T((4, 2), "INT32"), {"axis": 0, "values_count": 4})
    padded = net.op("PAD", [x, paddings], T((1, 3, 6, 4), "INT8", **Q))
    begin = net.pack(zero, zero, width, zero)
    end, strides = net.constant([9, 9, 9, 9]), net.constant([1, 1, 1, 1])
    cut = net.op("STRIDED_SLICE", [padded, begin, end, strides], T((1, 3, 3, 4), "INT8", **Q), MASKS)
    size = net.pack(batch, net.constant(2), net.constant(-1), net.constant(1))
    output = net.tensor(T((1, 2, 3, 1), "INT8", **Q), (-1, 2, 3, 1))
    net.operators.append(Operator("SLICE", (cut, net.constant([0, 0, 0, 1]), size), (output,)))
    return net.model(output)


def upsampling() -> Model:
    """Conv2DTranspose: the output's shape computed from the input's by MUL."""
    net = Net()
    x = image(net)
    shape = net.shape_of(x)
    sizes = [net.element(shape, axis) for axis in (0, 1, 2)]
    doubled = [net.op("MUL", [size, net.constant(2)], T((), "INT32")) for size in sizes[1:]]
    target = net.pack(sizes[0], *doubled, net.constant(5))
    rng = np.random.default_rng(5)
    weights = net.constant(rng.integers(-127, 128, (5, 3, 3, 4)), np.int8, scale=0.01)
    options = {"padding": "SAME", "stride_h": 2, "stride_w": 2, "fused_activation_function": "NONE"}
    return net.model(net.op("TRANSPOSE_CONV", [target, weights, x], T((1, 4, 6, 5), "INT8", **Q), options, version=3))


PATTERNS: list[Callable[[], Model]] = [
    keras_reshape,
    keras_flatten,
    dense_on_rank_3,
    initial_state,
    broadcast_to_batch,
    positions,
    shape_by_slice_and_concatenation,
    padding_and_slicing_to_a_computed_size,
    upsampling,
]


def built(pattern: Callable[[], Model]) -> Model:
    model = pattern()
    missing = {operator.name for operator in model.graph.operators} - set(KERNELS)
    if missing:
        pytest.skip(f"not built: {', '.join(sorted(missing))}")
    return model


def sample(model: Model, rng: np.random.Generator, batch: int) -> list[np.ndarray]:
    tensors = [model.graph.tensors[index] for index in model.graph.inputs]
    return [draw(rng, tensor.type, (batch, *tensor.shape[1:])) for tensor in tensors]


@pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING)
@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.__name__)
def test_equal_to_litert(pattern: Callable[[], Model], batch: int) -> None:
    model = built(pattern)
    arrays = sample(model, np.random.default_rng([batch, len(pattern.__name__)]), batch)
    (expected,) = litert.run(write_model(model), [arrays])
    interpreter = Interpreter(model_content=write_model(model), experimental_preserve_all_tensors=True)
    for index, array in zip(model.graph.inputs, arrays, strict=True):
        interpreter.resize_tensor_input(index, array.shape)
    interpreter.allocate_tensors()
    for index, array in zip(model.graph.inputs, arrays, strict=True):
        interpreter.set_tensor(index, array)
    interpreter.invoke()
    computed = [index for operator in model.graph.operators for index in operator.outputs]
    for index in computed:
        got, want = interpreter.get_tensor(index), expected[index]
        assert (got.shape, got.dtype) == (want.shape, want.dtype), f"tensor {index}"
        assert not differing(got, want).any(), f"tensor {index}"


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.__name__)
def test_many_samples_are_many_runs(pattern: Callable[[], Model]) -> None:
    """N samples on the model of batch 1 give what N single runs give: its own shapes stay those of batch 1."""
    model = built(pattern)
    if pattern is positions:
        pytest.skip("the output does not depend on the input's values, only on its shape")
    arrays = sample(model, np.random.default_rng(3), 32)
    (together,) = run(model, arrays)
    singles = [run(model, [array[n : n + 1] for array in arrays])[0] for n in range(32)]
    np.testing.assert_array_equal(together, np.concatenate(singles))


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.__name__)
def test_shapes_are_folded(pattern: Callable[[], Model]) -> None:
    """All that follows from shapes and constants is known before a run, so every step is prepared."""
    model = built(pattern)
    program = prepare(model, runtime_named("tflite_ref"))
    assert all(step.params is not None for step in program.steps)
    for operator in model.graph.operators:
        if all(model.graph.tensors[index].type == "INT32" for index in operator.outputs):
            assert all(index in program.known for index in operator.outputs), operator.name


@pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING)
def test_values_that_are_data_change_shapes_at_run_time() -> None:
    """A target shape that is itself an input: each sample may ask for another shape."""
    net = Net()
    x = net.input(T((1, 12), "INT8", **Q))
    target = net.tensor(T((2,), "INT32"))
    net.inputs.append(target)
    y = net.op("RESHAPE", [x, target], T((1, 12), "INT8", **Q))
    z = net.op("TRANSPOSE", [y, net.constant([1, 0])], T((12, 1), "INT8", **Q))
    model = net.model(net.op("RESHAPE", [z, net.constant([-1])], T((12,), "INT8", **Q)))
    rng = np.random.default_rng(1)
    samples = [[draw(rng, "INT8", (1, 12)), np.array(s, np.int32)] for s in ([3, 4], [2, -1], [-1, 1], [6, 2])]
    for arrays, expected in zip(samples, litert.run(write_model(model), samples), strict=True):
        (got,) = run(model, arrays)
        np.testing.assert_array_equal(got, expected[model.graph.outputs[0]])


def test_input_of_another_batch_prepares_anew() -> None:
    """Resizing twice goes back to the first shapes."""
    model = built(keras_flatten)
    interpreter = Interpreter(model_content=write_model(model))
    for batch in (1, 4, 1):
        interpreter.resize_tensor_input(0, (batch, 2, 3, 4))
        interpreter.allocate_tensors()
        x = sample(model, np.random.default_rng(batch), batch)[0]
        interpreter.set_tensor(0, x)
        interpreter.invoke()
        got = interpreter.get_tensor(model.graph.outputs[0])
        np.testing.assert_array_equal(got, x.reshape(batch, 24))


def random_chain(rng: np.random.Generator) -> Model:
    """A vector of sizes passed through random movement ops that keep its elements, which then shapes the input."""
    net = Net()
    shape = tuple(int(n) for n in rng.integers(1, 5, int(rng.integers(1, 5))))
    x = net.input(T((1, *shape), "INT8", **Q))
    vector, length = net.shape_of(x), len(shape) + 1
    for _ in range(int(rng.integers(1, 6))):
        vector, length = _random_step(net, rng, vector, length)
    sized = net.op("RESHAPE", [x, vector], T((1,), "INT8", **Q))
    return net.model(sized)


def _random_step(net: Net, rng: np.random.Generator, vector: int, length: int) -> tuple[int, int]:
    """One op, or a few, that give a vector of the same elements in some order, and perhaps a 1 more."""
    same = T((length,), "INT32")
    way = int(rng.integers(8))
    if way == 0:
        return net.op(
            "GATHER", [vector, net.constant(rng.permutation(length))], same, {"axis": 0, "batch_dims": 0}
        ), length
    if way == 1:
        return net.op("REVERSE_V2", [vector, net.constant([0])], same), length
    if way == 2:
        parts = [net.tensor(T((), "INT32")) for _ in range(length)]
        net.operators.append(Operator("UNPACK", (vector,), tuple(parts), options={"axis": 0, "num": length}))
        rng.shuffle(parts)
        return net.pack(*parts), length
    if way == 3:
        at = int(rng.integers(length + 1))
        parts = [net.tensor(T((1,), "INT32")) for _ in range(2)]
        splits = (vector, net.constant([at, -1]), net.constant(0))
        net.operators.append(Operator("SPLIT_V", splits, tuple(parts), options={"num_splits": 2}))
        return net.op("CONCATENATION", parts[::-1], same, {"axis": 0}), length
    if way == 4:
        return net.op("CONCATENATION", [net.constant([1]), vector], T((length + 1,), "INT32"), {"axis": 0}), length + 1
    if way == 5:
        bounds = [net.constant([-1]), net.constant([-length - 1]), net.constant([-1])]
        return net.op("STRIDED_SLICE", [vector, *bounds], same, MASKS), length
    if way == 6 and length < 10:
        ones = net.op("FILL", [net.shape_of(vector), net.constant(1)], same)
        larger = net.op("PACK", [vector, ones], T((2, length), "INT32"), {"axis": 0, "values_count": 2})
        turned = net.op("TRANSPOSE", [larger, net.constant([1, 0])], T((length, 2), "INT32"))
        return net.op("RESHAPE", [turned, net.constant([-1])], T((2 * length,), "INT32")), 2 * length
    padded = net.op("PADV2", [vector, net.constant([[1, 0]]), net.constant(1)], T((length + 1,), "INT32"))
    rows = net.op("EXPAND_DIMS", [padded, net.constant(0)], T((1, length + 1), "INT32"))
    return net.op("SQUEEZE", [rows], T((length + 1,), "INT32"), {"squeeze_dims": [0]}), length + 1


@pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING)
def test_random_chains() -> None:
    """150 random chains, each with the declared batch and with a resized one."""
    for seed in range(150):
        rng = np.random.default_rng([77, seed])
        model = random_chain(rng)
        for batch in (1, int(rng.integers(2, 5))):
            (x,) = sample(model, rng, batch)
            tensors = [replace(model.graph.tensors[0], shape=x.shape), *model.graph.tensors[1:]]
            resized = model.with_graph(replace(model.graph, tensors=tuple(tensors)))
            (expected,) = litert.run(write_model(model), [[x]])
            (got,) = run(resized, [x])
            np.testing.assert_array_equal(got, expected[model.graph.outputs[0]], err_msg=f"seed {seed}, batch {batch}")
