"""engine="tensorflow" against TensorFlow 2.21's own calibrator: every range, to the last bit and the sign of zero."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest

import converter_oracle
import refquant
from converter_oracle import converter
from converter_oracle_graphs import OTHER_OPS, SLICE_OPS, TABLE_OPS, Builder, floats, random_dag, with_ranges
from in_place_graphs import (
    LATE,
    PLAIN,
    RARE,
    WRITTEN_OVER,
    binary,
    copy,
    drawn_samples,
    expand_dims,
    in_place_graph,
    softmax,
    split,
    update,
)
from models import T, one_op
from oracle import Crashed, Rejected
from refquant.compare import compare_models
from refquant.errors import InvalidInput, RefquantError, UnsupportedModel
from refquant.model import read_model, write_model
from refquant.model.graph import Model, Operator, Signature, Tensor
from refquant.quantizer import Calibration, calibrate, quantize
from refquant.quantizer.in_place import misreads, overwrites, owners
from test_quantizer_oracle import REAL_MODELS, real_model

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.skipif(not converter_oracle.INSTALLED, reason=converter_oracle.MISSING),
]

Bits = dict[int, tuple[str, str]]


def bits(calibration: Calibration) -> Bits:
    """{tensor: (min, max)}, told apart to the last bit and the sign of zero."""
    return {entry.tensor: (entry.min.hex(), entry.max.hex()) for entry in calibration.tensors}


def converters(model: Model, samples: list) -> Bits:
    """What the calibrator writes into the file; nothing if it writes no range."""
    calibrated = read_model(converter.calibrate(write_model(model), samples))
    return {
        index: (float(tensor.quantization.min[0]).hex(), float(tensor.quantization.max[0]).hex())
        for index, tensor in enumerate(calibrated.graph.tensors)
        if tensor.quantization is not None and tensor.quantization.min
    }


def ours(model: Model, samples: list, **options: Any) -> Bits:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bits(calibrate(read_model(write_model(model)), samples, engine="tensorflow", **options))


class Tally:
    """What a run of many graphs compared."""

    def __init__(self) -> None:
        self.graphs = self.ranges = self.refused = 0

    def check(self, model: Model, samples: list, what: object) -> None:
        """Both refuse, or both give the same bits."""
        try:
            want = converters(model, samples)
        except (Rejected, Crashed):
            with pytest.raises(RefquantError):
                ours(model, samples)
            self.refused += 1
            return
        if any(end in ("inf", "-inf") for limits in want.values() for end in limits):
            with pytest.raises(InvalidInput, match="holds infinite numbers"):
                ours(model, samples)
            self.refused += 1
            return
        assert ours(model, samples) == want, what
        self.graphs += 1
        self.ranges += len(want)

    def __str__(self) -> str:
        return f"{self.graphs} graphs, {self.ranges} ranges, 0 differing; {self.refused} refused by both"


def float_samples(model: Model, rng: np.random.Generator, count: int, batch: int | None = None) -> list:
    def shape(index: int) -> tuple[int, ...]:
        declared = model.graph.tensors[index].shape
        return declared if batch is None else (batch, *declared[1:])

    return [[rng.normal(0, 2, shape(i)).astype(np.float32) for i in model.graph.inputs] for _ in range(count)]


def check_near(one: Calibration, other: Calibration, what: object) -> None:
    """The ranges of the same tensors, but for the rounding of their values."""
    assert [entry.tensor for entry in one.tensors] == [entry.tensor for entry in other.tensors], what
    for a, b in zip(one.tensors, other.tensors, strict=True):
        size = max(map(abs, (b.min, b.max)))
        assert (a.min, a.max) == pytest.approx((b.min, b.max), rel=1e-4, abs=1e-5 * size), (what, b.tensor)


# equality


@pytest.mark.parametrize("name", REAL_MODELS)
def test_real_models(name: str) -> None:
    """Every range, and so every slot of the model that is quantized with them."""
    model, samples, calibrated = real_model(name)
    calibration = calibrate(model, samples, engine="tensorflow")
    assert bits(calibration) == bits(Calibration.from_model(calibrated))
    want = read_model(converter.quantize(calibrated.to_bytes()))
    assert compare_models(quantize(model, calibration), want).equal
    print(f"{name}: {len(calibration.tensors)} ranges, 0 differing")


def test_batches_of_real_models() -> None:
    """The first sample's batch resizes the model, although its shape is not dynamic."""
    for name, batch in (("digits_ds", 3), ("ad", 5), ("resnet8", 2)):
        model, samples, _ = real_model(name)
        data = [[np.concatenate(samples[start : start + batch])] for start in (0, batch, 2 * batch)]
        assert ours(model, data) == converters(model, data), name


def test_random_graphs() -> None:
    tally = Tally()
    for seed in range(220):
        rng = np.random.default_rng([33, seed])
        model = with_ranges(random_dag(rng, int(rng.integers(3, 16)), {**SLICE_OPS, **OTHER_OPS}), {})
        fixed = any(operator.name == "RESHAPE" for operator in model.graph.operators)
        batch = 1 if fixed else int(rng.choice([1, 2, 5]))
        tally.check(model, float_samples(model, rng, int(rng.integers(1, 4)), batch), seed)
    print(tally)
    assert tally.graphs >= 200


FLOATLESS = ("ARG_MAX", "ARG_MIN", "EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "NOT_EQUAL")


def test_every_row_of_the_table() -> None:
    tally = Tally()
    for op, row in TABLE_OPS.items():
        for seed in range(2):
            rng = np.random.default_rng([34, seed])
            b = Builder(rng)
            row(b)
            model = with_ranges(b.model(), {})
            tensors = [model.graph.tensors[index] for index in model.graph.inputs]
            samples = [
                [
                    rng.normal(0, 2, t.shape).astype(np.float32)
                    if t.type == "FLOAT32"
                    else rng.integers(0, 2, t.shape).astype(t.dtype)
                    for t in tensors
                ]
                for _ in range(2)
            ]
            tally.check(model, samples, op)
    print(tally)
    assert tally.graphs >= 2 * (len(TABLE_OPS) - 1)


@pytest.mark.filterwarnings("ignore:.*holds NaN")
@pytest.mark.parametrize(
    ("what", "weights", "count"),
    [("plain", PLAIN, 250), ("rare", RARE, 120), ("shapes known late", LATE, 120), ("written over", WRITTEN_OVER, 120)],
)
def test_operators_that_write_into_their_input(what: str, weights: dict, count: int) -> None:
    """Chains of them, in both orders, with outputs in between, sharing memory through RESHAPE."""
    tally = Tally()
    overwritten = misread = 0
    for seed in range(count):
        rng = np.random.default_rng([77, seed])
        model = in_place_graph(rng, int(rng.integers(3, 16)), weights)
        samples = drawn_samples(model, rng, 3)
        tally.check(model, samples, seed)
        if weights in (PLAIN, WRITTEN_OVER):  # the same memory under other kernels
            check_near(calibrate(model, samples), calibrate(model, samples, engine="tensorflow"), seed)
        sizes = {t: 4 * int(np.prod(model.graph.tensors[t].shape)) for o in model.graph.operators for t in o.outputs}
        owner = owners(model, sizes)
        overwritten += len(overwrites(model.graph, owner))
        misread += len(misreads(model.graph, owner))
    print(f"{what}: {tally}; {overwritten} inputs written over, {misread} misread")
    assert tally.graphs >= count * 0.9
    assert overwritten > count // 2
    assert misread > 10 or weights is not WRITTEN_OVER


def test_shapes_that_differ_between_samples() -> None:
    """A dynamic batch: memory is planned for the first sample, and no longer shared once sizes part."""
    weights = {binary: 6, softmax: 2, copy: 3, expand_dims: 1, split: 1, update: 1}
    tally = Tally()
    for seed in range(120):
        rng = np.random.default_rng([5, seed])
        b = Builder(rng)
        shape = [(1, 2, 3), (1, 6), (1, 1), (1, 2, 1)][int(rng.integers(4))]
        b.input(shape)
        makers = list(weights)
        for _ in range(int(rng.integers(3, 12))):
            made = floats(b)
            share = np.array(list(weights.values())) / sum(weights.values())
            makers[int(rng.choice(len(makers), p=share))](b, int(rng.choice(made[-4:])))
        model = with_ranges(b.model(), {})
        dynamic = replace(model.graph.tensors[0], shape_signature=(-1, *shape[1:]))
        model = model.with_graph(replace(model.graph, tensors=(dynamic, *model.graph.tensors[1:])))
        sizes = [int(size) for size in rng.integers(1, 4, 4)]
        samples = [[rng.normal(0, 2, (size, *shape[1:])).astype(np.float32)] for size in sizes]
        tally.check(model, samples, (seed, sizes))
    print(tally)
    assert tally.graphs > 100


TINY = float(np.finfo(np.float32).tiny)


@pytest.mark.parametrize(
    "values",
    [
        [[-1.0, -2.0]],
        [[0.0, 0.0]],
        [[-0.0, 0.0], [0.0, 0.0]],
        [[0.0, -0.0], [-0.0, -0.0]],
        [[1e-40, 0.0], [-1e-40, 1e-45]],
        [[-1e-40, -2e-40], [-TINY, 0.0]],
        [[TINY, 1e-39], [2 * TINY, 1.0]],
        [[np.nan, 3.0], [np.nan, np.nan], [1.0, np.nan]],
        [[np.nan, np.nan]],
        [[3.4e38, -3.4e38]],
        [[1e-20, 1e-25]],
    ],
)
@pytest.mark.parametrize("op", ["RELU6", "TANH", "EXP", "SOFTMAX", "MUL"])
def test_hard_values(op: str, values: list[list[float]]) -> None:
    b = Builder(np.random.default_rng(0))
    x = b.input((1, 2))
    if op == "MUL":  # of tiny numbers: products underflow to zero, never to a subnormal number
        b.op("MUL", [x, x], [(1, 2)], {"fused_activation_function": "NONE"}, "MulOptions")
    else:
        b.op(op, [x], [(1, 2)])
    model = with_ranges(b.model(), {})
    tally = Tally()
    tally.check(model, [[np.array([row], np.float32)] for row in values], values)


def test_results_without_elements() -> None:
    """WHERE of nothing: what follows it never holds a value."""
    model = one_op("WHERE", [T((3,), "BOOL")], [T((3, 1), "INT64")])
    tensors = (*model.graph.tensors, *(Tensor(name, "FLOAT32", shape) for name, shape in (("x", (3,)), ("y", (3, 1)))))
    operators = (*model.graph.operators, Operator("GATHER_ND", (2, 1), (3,)), Operator("RELU", (2,), (4,)))
    tensors = (*tensors, Tensor("z", "FLOAT32", (3,)))
    graph = replace(model.graph, tensors=tensors, operators=operators, inputs=(0, 2), outputs=(3, 4))
    model = model.with_graph(graph)
    x = np.array([1.0, -2.0, 3.0], np.float32)
    empty, full = np.zeros(3, bool), np.array([True, False, True])
    for masks in ([empty], [empty, full], [full, empty]):
        samples = [[mask, x] for mask in masks]
        want = converters(model, samples)
        assert ours(model, samples) == want
        assert (3 in want) == any(mask is full for mask in masks)


def test_samples_by_signature() -> None:
    b = Builder(np.random.default_rng(0))
    for shape in ((1, 3), (1, 2)):
        copy(b, b.input(shape))
    model = with_ranges(b.model(), {})
    names = tuple(zip("ab", model.graph.inputs, strict=True))
    model = replace(model, signatures=(Signature("serve", names, (("y", 1),)),))
    data = {"b": np.array([[1.0, 2.0]], np.float32), "a": np.array([[3.0, 4.0, 5.0]], np.float32)}
    assert ours(model, [data]) == ours(model, [("serve", data)]) == converters(model, [("serve", data)])
    assert ours(model, [data]) == converters(model, [data])


# what ends TensorFlow, and what it refuses


def modulo() -> Model:
    """FLOOR_MOD of two int32 inputs, and a RELU beside it."""
    model = one_op("FLOOR_MOD", [T((2,), "INT32"), T((2,), "INT32")], [T((2,), "INT32")])
    tensors = (*model.graph.tensors, Tensor("x", "FLOAT32", (2,)), Tensor("y", "FLOAT32", (2,)))
    operators = (*model.graph.operators, Operator("RELU", (3,), (4,)))
    return model.with_graph(
        replace(model.graph, tensors=tensors, operators=operators, inputs=(0, 1, 3), outputs=(2, 4))
    )


def modulo_sample(a: int, b: int) -> list[np.ndarray]:
    return [np.array([a, 5], np.int32), np.array([b, 3], np.int32), np.ones(2, np.float32)]


def test_the_end_of_tensorflow_is_one_line() -> None:
    """The minimum modulo -1 ends the process; the next calibration has a new one."""
    good, deadly = modulo_sample(7, 2), modulo_sample(-(2**31), -1)
    with pytest.raises(RefquantError, match=r"^sample 2: TensorFlow's process ended \(SIGFPE\)") as caught:
        ours(modulo(), [good, good, deadly, good])
    assert "\n" not in str(caught.value)
    assert ours(modulo(), [good]) == converters(modulo(), [good])
    with pytest.raises(InvalidInput, match=r"^sample 1: TensorFlow stops: .*[Dd]ivision by 0"):
        ours(modulo(), [good, modulo_sample(7, 0)])


def test_models_that_tensorflow_refuses() -> None:
    x = T((2, 4), "FLOAT32")
    custom = one_op("CUSTOM", [x], [T((2, 4), "FLOAT32")])
    operators = (replace(custom.graph.operators[0], custom_code="Unheard"),)
    custom = custom.with_graph(replace(custom.graph, operators=operators))
    reshape = one_op("RESHAPE", [x, T(data=np.array([3, 3], np.int32))], [T((3, 3), "FLOAT32")])
    for model, message in ((custom, "Unheard"), (reshape, r"of shape \(2, 4\): .*RESHAPE")):
        with pytest.raises(UnsupportedModel, match=message) as caught:
            ours(model, [[np.ones((2, 4), np.float32)]])
        assert "\n" not in str(caught.value)


def test_infinity_is_refused() -> None:
    model = one_op("EXP", [T((2,), "FLOAT32", name="x")], [T((2,), "FLOAT32", name="y")])
    data = [np.array([1.0, value], np.float32) for value in (1, 2, 100, np.inf, -np.inf)]
    message = r"^sample 2: tensor 'y' holds infinite numbers, computed by subgraph 0, operator 0 \(EXP\)"
    with pytest.raises(InvalidInput, match=message):
        ours(model, data)
    for number in (3, 4):
        with pytest.raises(InvalidInput, match=r"^sample 1: input 'x' holds infinite"):
            ours(model, [data[0], data[number]])


def test_nan_is_told() -> None:
    model = one_op("TANH", [T((2,), "FLOAT32", name="x")], [T((2,), "FLOAT32", name="y")])
    data = [np.array([1.0, value], np.float32) for value in (1, np.nan, np.nan)]
    with pytest.warns(UserWarning, match="NaN") as caught:
        calibrate(model, data, engine="tensorflow")
    assert [str(w.message)[:19] for w in caught] == ["sample 1: input 'x'", "sample 1: tensor 'y"]


# workers


@pytest.mark.parametrize(
    "make", [lambda: ThreadPoolExecutor(2), lambda: ProcessPoolExecutor(1, mp_context=get_context("spawn"))]
)
def test_workers_give_the_same(make: Callable[[], Any]) -> None:
    model, samples, calibrated = real_model("digits_ds")
    with make() as executor:
        got = ours(model, [sample for sample in samples for _ in range(6)], executor=executor)
    assert got == bits(Calibration.from_model(calibrated))


def test_a_stream_is_not_read_ahead() -> None:
    model, samples, _ = real_model("digits_cnn")
    read, gaps = 0, []

    def stream() -> Iterator[np.ndarray]:
        nonlocal read
        for number in range(300):
            read += 1
            yield samples[number % len(samples)]

    calibrate(model, stream(), engine="tensorflow", progress=lambda done: gaps.append(read - done))
    assert len(gaps) == 10
    assert max(gaps) <= 1


def test_a_state_is_seen_before_and_after() -> None:
    """SVDF writes its state: zeros before the first sample, and what every sample leaves."""
    rng = np.random.default_rng(0)
    b = Builder(rng)
    x = b.input((1, 3))
    weights = [b.constant(rng.normal(1, 0.2, shape).astype(np.float32)) for shape in ((4, 3), (4, 5), (4,))]
    b.tensors.append(Tensor("state", "FLOAT32", (1, 20), is_variable=True))
    options = {"rank": 1, "fused_activation_function": "NONE", "asymmetric_quantize_inputs": False}
    b.op("SVDF", [x, *weights, len(b.tensors) - 1], [(1, 4)], options, "SVDFOptions")
    model = with_ranges(b.model(), {})
    for count in (1, 8, 40):
        samples = [[np.abs(array) + 1 for array in sample] for sample in float_samples(model, rng, count)]
        assert ours(model, samples) == converters(model, samples)


def test_variables_are_read() -> None:
    """A variable tensor that an operator reads has the range of its zeros."""
    b = Builder(np.random.default_rng(0))
    x = b.input((1, 3))
    b.tensors.append(Tensor("state", "FLOAT32", (1, 3), is_variable=True))
    b.op("ADD", [x, len(b.tensors) - 1], [(1, 3)], {"fused_activation_function": "NONE"}, "AddOptions")
    model = with_ranges(b.model(), {})
    samples = float_samples(model, np.random.default_rng(1), 3)
    assert ours(model, samples) == converters(model, samples)
    assert bits(refquant.calibrate(model, samples)) == ours(model, samples)
