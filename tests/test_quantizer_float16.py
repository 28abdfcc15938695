"""The float16 mode: half precision against Python's own, and that it computes what the widened constants compute."""

from __future__ import annotations

import math
import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import refquant
from models import T, one_op
from refquant.model.graph import Graph, Model, Operator, Tensor
from refquant.quantizer import decide, quantize
from test_quantizer_dynamic_range import DENSE, dense, shared_table

FLOATS = st.integers(0, 2**32 - 1).map(lambda bits: struct.unpack("<f", struct.pack("<I", bits))[0])
TIES = st.tuples(st.integers(0, 2**15 - 1), st.sampled_from([-1, 0, 1])).map(
    lambda drawn: half_way(*drawn)
)  # half way between two float16, or one float32 step beside it


def half_way(half: int, beside: int) -> float:
    """The middle of a float16 and the next one, moved by float32 steps; the sign by the number's parity."""
    bits = half % 0x7BFF
    low, high = (struct.unpack("<e", struct.pack("<H", code))[0] for code in (bits, bits + 1))
    (code,) = struct.unpack("<i", struct.pack("<f", (low + high) / 2))
    (middle,) = struct.unpack("<f", struct.pack("<i", max(code + beside, 0)))
    return -middle if half % 2 else middle


def slow_half(value: float) -> bytes:
    """IEEE half precision of the limited value, ties to even: Python's struct."""
    return struct.pack("<e", max(min(value, 65504.0), -65504.0))


def constants_of(values: list[float]) -> Model:
    data = np.float32(values)
    return one_op("ADD", [T(data.shape, "FLOAT32"), T(data=data)], [T(data.shape, "FLOAT32")],
                  {"fused_activation_function": "NONE"})  # fmt: skip


@given(st.lists(st.one_of(FLOATS, TIES).filter(lambda value: not math.isnan(value)), min_size=1, max_size=64))
@pytest.mark.parametrize("quantizer", ["mlir", "legacy"])
def test_halves(quantizer: str, values: list[float]) -> None:
    """Infinite values become the largest ones; subnormal ones and the sign of zero are kept."""
    model = quantize(constants_of(values), mode="float16", quantizer=quantizer)
    (tensor,) = (t for t in model.graph.tensors if t.type == "FLOAT16")
    assert model.buffers[tensor.buffer] == b"".join(map(slow_half, values))


@pytest.mark.parametrize("quantizer", ["mlir", "legacy"])
@pytest.mark.parametrize(
    "build", [lambda: dense(np.random.default_rng(0).normal(size=(40, 32)).astype(np.float32)), shared_table]
)
def test_it_computes_what_widened_constants_compute(build, quantizer: str) -> None:
    """The float model with the same constants rounded to float16 gives the same bits."""
    model = build()
    half = quantize(model, mode="float16", quantizer=quantizer)
    constants = {t.buffer for t in model.graph.tensors if t.type == "FLOAT32" and t.buffer}
    widened = tuple(
        np.frombuffer(data, "<f4").astype("<f2").astype("<f4").tobytes() if number in constants else data
        for number, data in enumerate(model.buffers)
    )
    rng = np.random.default_rng(1)
    tensors = [model.graph.tensors[index] for index in model.graph.inputs]
    inputs = {
        t.name: rng.normal(size=t.shape).astype(np.float32) if t.type == "FLOAT32" else np.int32([1, 0, 2, 3, 1])
        for t in tensors
    }
    want = refquant.run(Model(model.graphs, widened), inputs)
    for mine, theirs in zip(refquant.run(half, inputs), want, strict=True):
        assert mine.tobytes() == theirs.tobytes()


def test_equal_halves_become_one() -> None:
    """Two float32 constants that round alike are one float16 constant with two DEQUANTIZE, under a new name."""
    first, second = np.float32([1.0001, 2]), np.float32([1.00011, 2])
    shape = (2,)
    model = one_op("SELECT_V2", [T(shape, "BOOL"), T(data=first, name="a"), T(data=second, name="b")],
                   [T(shape, "FLOAT32")])  # fmt: skip
    half = quantize(model, mode="float16")
    assert [(t.name, t.type) for t in half.graph.tensors] == [
        ("t0", "BOOL"), ("arith.constant", "FLOAT16"), ("a", "FLOAT32"), ("b", "FLOAT32"), ("t3", "FLOAT32"),
    ]  # fmt: skip
    assert [(o.name, o.version, o.inputs) for o in half.graph.operators] == [
        ("DEQUANTIZE", 3, (1,)), ("DEQUANTIZE", 3, (1,)), ("SELECT_V2", 1, (0, 2, 3)),
    ]  # fmt: skip
    assert half.metadata[0].name == "reduced_precision_support"
    assert half.buffers[half.metadata[0].buffer] == b"fp16accfp32"


def test_what_an_output_reads_stays_float() -> None:
    model = shared_table()
    table = next(index for index, t in enumerate(model.graph.tensors) if t.name == "table")
    model = model.with_graph(replace(model.graph, outputs=(*model.graph.outputs, table)))
    decision = decide(model, mode="float16")
    assert [(c.name, str(c.why)) for c in decision.float_constants] == [("table", "an output of the graph")]
    half = quantize(model, mode="float16")
    assert half.graph.tensors[half.graph.outputs[-1]].type == "FLOAT32"


def loop_of_shared_weights() -> Model:
    """y = W x, and W y three times in a loop; the file holds W in both subgraphs, under one name with a number."""
    weights = np.random.default_rng(3).normal(0, 0.2, (32, 32)).astype("<f4")
    buffers = (b"", weights.tobytes(), np.int32(0).tobytes(), np.int32(3).tobytes(), np.int32(1).tobytes())
    whole, vector = ("INT32", ()), ("FLOAT32", (1, 32))

    def tensors(*rows: tuple[str, tuple[str, tuple[int, ...]], int]) -> tuple[Tensor, ...]:
        return tuple(Tensor(name, type_, shape, buffer) for name, (type_, shape), buffer in rows)

    square = ("FLOAT32", (32, 32))
    main = Graph(
        tensors(("x", vector, 0), ("W", square, 1), ("zero", whole, 2), ("y", vector, 0), ("loop", whole, 0),
                ("out", vector, 0)),
        (
            Operator("FULLY_CONNECTED", (0, 1, -1), (3,), options_type="FullyConnectedOptions", options=DENSE),
            Operator("WHILE", (2, 3), (4, 5), options_type="WhileOptions",
                     options={"cond_subgraph_index": 1, "body_subgraph_index": 2}),
        ),
        (0,), (5,), "main",
    )  # fmt: skip
    condition = Graph(
        tensors(("c0", whole, 0), ("c1", vector, 0), ("three", whole, 3), ("less", ("BOOL", ()), 0)),
        (Operator("LESS", (0, 2), (3,)),), (0, 1), (3,), "cond",
    )  # fmt: skip
    body = Graph(
        tensors(("b0", whole, 0), ("b1", vector, 0), ("W1", square, 1), ("one", whole, 4), ("i", whole, 0),
                ("z", vector, 0)),
        (
            Operator("ADD", (0, 3), (4,), options_type="AddOptions", options={"fused_activation_function": "NONE"}),
            Operator("FULLY_CONNECTED", (1, 2, -1), (5,), options_type="FullyConnectedOptions", options=DENSE),
        ),
        (0, 1), (4, 5), "body",
    )  # fmt: skip
    return Model((main, condition, body), buffers, description="a loop")


def test_weights_that_a_loop_shares_are_handed_in() -> None:
    """One float16 constant, dequantized once; the loop takes and returns it."""
    model = loop_of_shared_weights()
    half = quantize(model, mode="float16")
    assert [t.type for t in half.graph.tensors].count("FLOAT16") == 1
    assert [o.name for graph in half.graphs for o in graph.operators].count("DEQUANTIZE") == 1
    assert [len(graph.inputs) for graph in half.graphs] == [1, 3, 3]
    assert half.graphs[2].tensors[half.graphs[2].inputs[2]].name == "body_arg2"
    assert half.graphs[2].outputs[2] == half.graphs[2].inputs[2]
    x = np.random.default_rng(4).normal(size=(1, 32)).astype(np.float32)
    rounded = np.frombuffer(model.buffers[1], "<f4").astype("<f2").astype("<f4").tobytes()
    want = refquant.run(replace(model, buffers=(b"", rounded, *model.buffers[2:])), x)
    assert refquant.run(half, x)[0].tobytes() == want[0].tobytes()


def test_loops_share_int8_weights() -> None:
    """Each subgraph holds them; the version of an op is one for all subgraphs."""
    model = quantize(loop_of_shared_weights(), mode="dynamic_range")
    assert [[o.version for o in g.operators if o.name == "FULLY_CONNECTED"] for g in model.graphs] == [[12], [], [12]]
    assert [sum(t.type == "INT8" for t in graph.tensors) for graph in model.graphs] == [1, 0, 1]
    refquant.run(model, np.ones((1, 32), np.float32))
