"""Who runs the model while it is calibrated: blocks, workers, TensorFlow; and samples in every form they may have."""

from __future__ import annotations

import json
import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import refquant
from converter_oracle_graphs import (
    OTHER_OPS,
    SLICE_OPS,
    Builder,
    conv_2d,
    conv_2d_with,
    random_dag,
    relu,
    with_ranges,
)
from models import T, one_op
from refquant import cli
from refquant.cli.quantizing import ONE_THREAD
from refquant.data import data_file
from refquant.errors import InvalidInput, RefquantError, UnsupportedModel
from refquant.model.graph import Model, Operator, Signature, Tensor
from refquant.quantizer import Calibration, calibrate, workers
from refquant.quantizer.observe import FLT_MIN, MinMax, Values


def bits(calibration: Calibration) -> dict[int, tuple[str, str]]:
    """{tensor: (min, max)}, told apart to the last bit and the sign of zero."""
    return {entry.tensor: (entry.min.hex(), entry.max.hex()) for entry in calibration.tensors}


def samples_of(model: Model, count: int, seed: int = 1) -> list[list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    shapes = [model.graph.tensors[index].shape for index in model.graph.inputs]
    return [[rng.normal(0, 2, shape).astype(np.float32) for shape in shapes] for _ in range(count)]


def small() -> Model:
    """conv -> relu, on (1, 4, 4, 3)."""
    b = Builder(np.random.default_rng(0))
    (c,) = conv_2d(b, b.input((1, 4, 4, 3)))
    relu(b, c)
    return with_ranges(b.model(), {})


def plain(op: str = "RELU", shape: tuple[int, ...] = (1, 2)) -> Model:
    b = Builder(np.random.default_rng(0))
    b.op(op, [b.input(shape)], [shape])
    return with_ranges(b.model(), {})


def two_inputs() -> Model:
    """Inputs 'in0' (1, 2) and 'in1' (1, 3), which the signature 'serve' calls a and b."""
    b = Builder(np.random.default_rng(0))
    for shape in ((1, 2), (1, 3)):
        relu(b, b.input(shape))
    model = with_ranges(b.model(), {})
    names = ("a", 0), ("b", 2)
    assert model.graph.inputs == (0, 2)
    return replace(model, signatures=(Signature("serve", names, (("y", 1),)), Signature("other", (), (), 1)))


# blocks


AWKWARD = (1, 2, 5, 8, 9, 16, 23, 33)


def product_model(op: str, rows: int, depth: int, columns: int) -> Model:
    """One matrix product whose float sums BLAS may do in another order for other numbers of rows."""
    b = Builder(np.random.default_rng([rows, depth, columns]))
    if op == "CONV_2D":
        x = b.input((1, rows, 1, depth))
        weights = b.constant(b.rng.normal(0, 1, (columns, 1, 1, depth)).astype(np.float32))
        conv_2d_with(b, x, weights, b.bias(columns))
    elif op == "BATCH_MATMUL":
        weights = b.constant(b.rng.normal(0, 1, (depth, columns)).astype(np.float32))
        b.op(op, [b.input((1, rows, depth)), weights], [(1, rows, columns)], {}, "BatchMatMulOptions")
    else:
        weights = b.constant(b.rng.normal(0, 1, (columns, depth)).astype(np.float32))
        options = {"fused_activation_function": "NONE", "keep_num_dims": False}
        b.op(op, [b.input((rows, depth)), weights, -1], [(rows, columns)], options, "FullyConnectedOptions")
    return with_ranges(b.model(), {})


def check_blocks(model: Model, data: list, cut: int) -> None:
    """All together, in two parts, and one by one: the same but for the sign of a zero, of which the first one stays."""
    whole = calibrate(model, data)
    assert calibrate(model, data[:cut]).merge(calibrate(model, data[cut:])) == whole
    merged = calibrate(model, data[:1])
    for sample in data[1:]:
        merged = merged.merge(calibrate(model, [sample]))
    assert merged == whole
    assert merged.samples == whole.samples == len(data)


@settings(max_examples=40)
@given(
    st.sampled_from(["CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL"]),
    st.sampled_from([1, 2, 3, 7, 16, 49]),
    st.sampled_from([1, 9, 27, 64, 100, 190, 320, 500, 1000]),
    st.sampled_from(AWKWARD),
    st.integers(2, 40),
    st.integers(0, 2**32),
)
@example("CONV_2D", 49, 39, 5, 9, 0)
@example("FULLY_CONNECTED", 1, 500, 10, 33, 0)
@example("BATCH_MATMUL", 7, 1000, 1, 16, 0)
def test_a_samples_products_do_not_depend_on_its_company(
    op: str, rows: int, depth: int, columns: int, count: int, seed: int
) -> None:
    model = product_model(op, rows, depth, columns)
    check_blocks(model, samples_of(model, count, seed), max(1, count // 3))


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.integers(2, 40), st.data())
def test_blocks_give_what_single_samples_give(seed: int, count: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    model = with_ranges(random_dag(rng, int(rng.integers(2, 9)), {**SLICE_OPS, **OTHER_OPS}), {})
    check_blocks(model, samples_of(model, count, seed), data.draw(st.integers(1, count - 1)))


def test_memory_holds_one_block_and_one_sample() -> None:
    """Of thirty thousand samples two are alive at most, whatever else is held: the block's copy of them."""
    model = plain(shape=(1, 1))
    alive = most = 0

    class Watched(np.ndarray):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def stream() -> Iterator[np.ndarray]:
        nonlocal alive, most
        for number in range(30_000):
            watched = Watched((1, 1), np.float32)  # owns its memory, so that a view keeps it alive
            watched[...] = number
            alive += 1
            most = max(most, alive)
            yield watched
            del watched

    calibration = calibrate(model, stream())
    assert calibration.samples == 30_000
    assert calibration.ranges["in0"] == (0.0, 29_999.0)
    assert most <= 2


def test_shapes_that_depend_on_data() -> None:
    """RESHAPE to a shape that is an input: samples of one input shape need not agree inside."""
    model = one_op("RESHAPE", [T((4,), "FLOAT32"), T((2,), "INT32")], [T((2, 2), "FLOAT32")])
    x = np.arange(4, dtype=np.float32)
    data = [[x + n, np.array(shape, np.int32)] for n, shape in enumerate([(2, 2), (1, 4), (4, 1)])]
    assert calibrate(model, data).ranges == {"t0": (0.0, 5.0), "t2": (0.0, 5.0)}


# zeros, infinities and what is no number


@pytest.mark.parametrize("value", [np.inf, -np.inf])
@pytest.mark.parametrize("number", [0, 3, 40])
def test_overflow_inside_names_operator_and_first_sample(value: float, number: int) -> None:
    data = [np.zeros((1, 2), np.float32) for _ in range(45)]
    for later in (number, 41, 44):
        data[later][0, 1] = 1e5
    message = rf"^sample {number}: tensor 'exp0' holds infinite numbers, computed by subgraph 0, operator 0 \(EXP\); no"
    with pytest.raises(InvalidInput, match=message):
        calibrate(plain("EXP"), data)
    data = [np.zeros((1, 2), np.float32) for _ in range(45)]
    data[number][0, 0] = value
    with pytest.raises(InvalidInput, match=f"^sample {number}: input 'in0' holds infinite numbers; no scale can hold"):
        calibrate(plain("TANH"), data)


def test_what_comes_before_a_bad_sample_is_told_first() -> None:
    bad, infinite = np.zeros((1, 3), np.float32), np.full((1, 2), np.inf, np.float32)
    with pytest.raises(InvalidInput, match=r"^sample 1: input 'in0' holds infinite"):
        calibrate(plain(), [np.zeros((1, 2), np.float32), infinite, bad])


def test_nan_is_told_once_a_tensor_with_its_first_sample() -> None:
    data = [np.zeros((1, 2), np.float32) for _ in range(70)]
    for number in (5, 6, 50):
        data[number][0, 0] = np.nan
    with pytest.warns(UserWarning, match="NaN") as caught:
        calibration = calibrate(plain("TANH"), data)
    assert [str(w.message) for w in caught] == [
        "sample 5: input 'in0' holds NaN; such elements are skipped",
        "sample 5: tensor 'tanh0' holds NaN, computed by subgraph 0, operator 0 (TANH); such elements are skipped",
    ]
    assert [os.path.basename(w.filename) for w in caught] == [os.path.basename(__file__)] * 2
    assert calibration.ranges["in0"] == (0.0, FLT_MIN)


zeros = st.sampled_from([0.0, -0.0, 1e-40, -1e-40, 1e-45, -1e-39])
numbers = st.one_of(zeros, st.floats(width=32, allow_nan=False, allow_infinity=False))


@given(st.lists(st.lists(numbers, min_size=1, max_size=4), min_size=1, max_size=6), st.randoms())
def test_of_all_zeros_the_first_stays(blocks: list[list[float]], random: Any) -> None:
    """Against the calibrator's own loop, in which subnormal numbers are zero; in any order of merging."""

    def flush(value: float) -> float:
        return value if abs(value) >= FLT_MIN else 0.0

    low, high = float(np.finfo(np.float32).max), FLT_MIN
    for value in (value for block in blocks for value in block):
        low = value if flush(value) < flush(low) else low
        high = value if flush(high) < flush(value) else high
    seen = []
    for number, block in enumerate(blocks):
        array = np.array(block, np.float32)
        seen.append(MinMax())
        seen[-1].see(Values(array, float(array.min()), float(array.max()), 1, lambda _, number=number: number))
    random.shuffle(seen)
    while len(seen) > 1:
        seen[0].merge(seen.pop())
    got = seen[0].range()
    assert got is not None
    assert [float(np.float32(v)).hex() for v in (low, high)] == [v.hex() for v in got]


# samples


A, B = np.array([[1.0, 2.0]], np.float32), np.array([[3.0, 4.0, 5.0]], np.float32)


class Lazy:
    """An array of another library."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return A


@pytest.mark.parametrize(
    "samples",
    [
        [[A, B]],
        [(A, B)],
        [{"in1": B, "in0": A}],
        [{"a": A, "b": B}],
        [("serve", {"b": B, "a": A})],
        [(None, {"in0": A, "in1": B})],
        lambda: iter([[A, B]]),
        lambda: [[A, B]],
        iter([[Lazy(), B]]),
    ],
)
def test_every_form_of_samples(samples: Any) -> None:
    ranges = calibrate(two_inputs(), samples).ranges
    assert ranges["in0"] == (1.0, 2.0)
    assert ranges["in1"] == (3.0, 5.0)


def test_a_bare_array_of_another_library() -> None:
    assert calibrate(plain(), [Lazy()]).ranges["in0"] == (1.0, 2.0)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (lambda: 3, "samples is a int; it must be an iterable"),
        (lambda: iter([]), "there are no samples"),
        ([[B, A]], r"sample 0: input 'in0' has shape \(1, 3\), but the model takes \(1, 2\)"),
        ([[A, B], [A]], "sample 1: the model has 2 inputs, but 1 arrays were given"),
        ([{"a": A}], "sample 0: the input 'in1' is missing"),
        ([{"a": A, "b": B, "c": A}], "sample 0: no input is named 'c'"),
        ([{"a": A, "in0": A, "b": B}], "sample 0: the input 'in0' is given twice"),
        ([("serve", {"a": A})], "sample 0: the input 'b' of the signature 'serve' is missing"),
        ([("serve", {"in0": A, "b": B})], "sample 0: the signature 'serve' has no input 'in0'; it has: a, b"),
        ([("train", {"a": A, "b": B})], "sample 0: the model has no signature 'train'; there are: 'serve', 'other'"),
        ([("other", {})], "sample 0: the signature 'other' runs subgraph 1"),
        ([[A.astype(np.float64), B]], r"sample 0: input 'in0' takes float32 .* convert it with .astype\('float32'\)"),
        ([[A, B], [A, [[3, 4, 5]]]], "sample 1: input 'in1' takes float32"),
        ([[A, B], [A, [[3], [4, 5]]]], "sample 1: this is no array"),
        ([[A[0], B]], r"sample 0: .* with its batch dimension \(x\[i : i \+ 1\]\)"),
        ([[A, B], [np.repeat(A, 2, 0), B]], r"sample 1: .*\(2, 2\), but the first sample had \(1, 2\)"),
    ],
)
def test_wrong_samples_are_one_line(samples: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        calibrate(two_inputs(), samples)
    assert "\n" not in str(caught.value)


def test_errors_of_the_callers_own_generator_pass() -> None:
    def stream() -> Iterator[np.ndarray]:
        yield np.ones((1, 2), np.float32)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        calibrate(plain(), stream())
    with ThreadPoolExecutor(1) as executor, pytest.raises(KeyError, match="mine"):
        calibrate(plain(), stream(), executor=executor)


# merging


finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
ranges_of_tensors = st.dictionaries(st.integers(0, 4), st.tuples(finite, finite).map(sorted), max_size=5)
calibrations = st.builds(
    lambda ranges, samples: Calibration(
        tuple(refquant.quantizer.TensorRange(t, f"t{t}", *ranges[t]) for t in sorted(ranges)), samples
    ),
    ranges_of_tensors,
    st.integers(0, 1000),
)


@given(calibrations, calibrations, calibrations)
def test_merge_is_associative_and_commutative(a: Calibration, b: Calibration, c: Calibration) -> None:
    left, right = a.merge(b).merge(c), a.merge(b.merge(c))
    assert left == right
    assert bits(left) == bits(right) == bits(c.merge(b).merge(a))
    assert bits(a.merge(b)) == bits(b.merge(a))
    assert left.samples == a.samples + b.samples + c.samples


def test_calibrations_of_different_models_are_refused() -> None:
    entry = refquant.quantizer.TensorRange
    one = Calibration((entry(0, "x", 0.0, 1.0), entry(1, "y", 0.0, 1.0)), 1)
    with pytest.raises(InvalidInput, match="different models: tensor 1 is 'y' in one and 'z' in the other"):
        one.merge(Calibration((entry(1, "z", 0.0, 1.0),), 1))
    with pytest.raises(InvalidInput, match="different models: 'x' is tensor 0 in one and 2 in the other"):
        one.merge(Calibration((entry(2, "x", 0.0, 1.0),), 1))
    twice = Calibration((entry(0, "x", 0.0, 1.0), entry(2, "x", 0.0, 1.0)), 1)
    assert len(twice.merge(one).tensors) == 3


# workers


class Watching(Executor):
    """Runs each task when its result is asked for; counts what is under way, and forgets models as a new worker."""

    def __init__(self, forgetful: bool = False) -> None:
        self.under_way = self.most = self.with_model = 0
        self.forgetful = forgetful

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        _, payload, *_ = args
        self.with_model += payload is not None
        own = dict(workers._OWN)
        workers._OWN.clear()  # as in another process
        if self.forgetful:
            workers._MADE.clear()
        future: Future = Future()
        try:
            future.set_result(fn(*args))
        except Exception as error:
            future.set_exception(error)
        workers._OWN.update(own)
        self.under_way -= 1
        return future


def test_blocks_in_flight_bound_what_is_read() -> None:
    """The stream is never read further ahead than the blocks that may be under way."""
    model = plain(shape=(1, 1))
    read = 0
    gaps = []

    def stream() -> Iterator[np.ndarray]:
        nonlocal read
        for number in range(2000):
            read += 1
            yield np.full((1, 1), number, np.float32)

    with ThreadPoolExecutor(2) as executor:
        calibration = calibrate(
            model, stream(), executor=executor, blocks_in_flight=3, progress=lambda done: gaps.append(read - done)
        )
    assert calibration.samples == 2000
    assert max(gaps) <= 3 * 32 + 1
    assert calibration == calibrate(model, [np.full((1, 1), n, np.float32) for n in range(2000)])


def test_the_model_goes_with_the_first_blocks_only() -> None:
    model = small()
    data = samples_of(model, 32 * 9)
    want = calibrate(model, data)
    steady, forgetful = Watching(), Watching(forgetful=True)
    assert bits(calibrate(model, data, executor=steady, blocks_in_flight=2)) == bits(want)
    assert steady.with_model == 2
    assert bits(calibrate(model, data, executor=forgetful, blocks_in_flight=2)) == bits(want)
    assert forgetful.with_model == 9
    assert not workers._OWN


def stir(shape: tuple[int, ...]) -> list[np.ndarray]:
    data = [np.full(shape, number % 7, np.float32) for number in range(100)]
    data[40][...] = np.nan
    data[70][...] = np.nan
    return data


@pytest.mark.parametrize("make", [lambda: ThreadPoolExecutor(2), Watching])
def test_warnings_and_errors_are_those_without_workers(make: Callable[[], Executor]) -> None:
    model = plain("TANH")

    def told(data: list, executor: Executor | None) -> list[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                calibrate(model, data, executor=executor)
            except RefquantError as error:
                return [*(str(w.message) for w in caught), f"{type(error).__name__}: {error}"]
        return [str(w.message) for w in caught]

    nan = stir((1, 2))
    infinite = [*nan[:60], np.full((1, 2), -np.inf, np.float32), *nan[60:]]
    misshapen = [*infinite[:50], np.zeros((1, 3), np.float32), *infinite[50:]]
    before = [np.full((1, 2), np.inf, np.float32), *nan[32:]]  # NaN in the same block, but behind it
    for data, count in ((nan, 2), (infinite, 3), (misshapen, 3), (before, 1), ([], 1)):
        want = told(data, None)
        assert len(want) == count
        with make() as executor:
            assert told(data, executor) == want


class Dying:
    """An estimator that ends the process in which it is made."""

    def __call__(self) -> Any:
        os._exit(3)


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as executor:
        yield executor


def test_a_process_pool_gives_the_same(processes: ProcessPoolExecutor) -> None:
    model = refquant.load(data_file("golden/models/digits_ds_float.tflite"))
    data = [[np.abs(array) for array in sample] for sample in samples_of(model, 150)]
    assert bits(calibrate(model, data, executor=processes)) == bits(calibrate(model, data))
    with pytest.raises(InvalidInput, match=r"^sample 149: input .* holds infinite numbers"):
        calibrate(model, [*data[:-1], [data[0][0] + np.float32(np.inf)]], executor=processes)


LARGE = (("CONV_2D", 784, 300, 33), ("FULLY_CONNECTED", 1, 1000, 512), ("BATCH_MATMUL", 49, 400, 257))


def bits_of_products() -> list[dict[int, tuple[str, str]]]:
    """Products that BLAS would share out among threads."""
    models = [product_model(*large) for large in LARGE]
    return [bits(calibrate(model, samples_of(model, 5))) for model in models]


@pytest.mark.parametrize("kernels", ["", "Haswell"])
def test_threads_of_blas_do_not_matter(kernels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of a pool have one thread, this process several. kernels: others of OpenBLAS, where it is the BLAS."""
    if kernels:
        monkeypatch.setenv("OPENBLAS_CORETYPE", kernels)
    found = []
    for threads in ("1", "2"):
        for name in ONE_THREAD:
            monkeypatch.setenv(name, threads)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
            found.append(executor.submit(bits_of_products).result())
    assert found[0] == found[1]


def test_a_worker_that_ends_is_one_line() -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        executor.submit(os.getpid).result()
        killed = executor.submit(os._exit, 3)
        with pytest.raises(RefquantError, match=r"samples 0 to 2: a worker of the executor ended|takes no work"):
            calibrate(plain(), [A] * 3, executor=executor)
        with pytest.raises(Exception, match="terminated"):
            killed.result()


def test_executors_that_cannot_be_used() -> None:
    with pytest.raises(InvalidInput, match=r"must be a concurrent\.futures\.Executor, not int"):
        calibrate(plain(), [A], executor=4)  # type: ignore[arg-type]
    for count in (0, 1.5, None):
        with ThreadPoolExecutor(1) as executor, pytest.raises(InvalidInput, match="blocks_in_flight"):
            calibrate(plain(), [A], executor=executor, blocks_in_flight=count)  # type: ignore[arg-type]
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    with pytest.raises(InvalidInput, match="the executor takes no work"):
        calibrate(plain(), [A], executor=executor)


def test_a_model_with_state_is_not_spread() -> None:
    model = plain()
    tensors = (*model.graph.tensors, Tensor("state", "FLOAT32", (1, 2), is_variable=True))
    operators = (*model.graph.operators, Operator("ADD", (1, 2), (0,)))
    model = model.with_graph(replace(model.graph, tensors=tensors, operators=operators[:1]))
    with (
        ThreadPoolExecutor(1) as executor,
        pytest.raises(InvalidInput, match="the model keeps 'state' from one sample"),
    ):
        calibrate(model, [A], executor=executor)


def test_dask() -> None:
    """On distributed's own processes, in which BLAS has one thread."""
    distributed = pytest.importorskip(
        "distributed", reason="oracle missing: distributed is not installed (pip install '.[dask]')"
    )
    model = refquant.load(data_file("golden/models/digits_cnn_float.tflite"))
    data = [[np.abs(array) for array in sample] for sample in samples_of(model, 200)]
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with cluster, distributed.Client(cluster) as client:
        executor = client.get_executor()
        assert bits(calibrate(model, iter(data), executor=executor)) == bits(calibrate(model, data))
        with pytest.raises(InvalidInput, match=r"^sample 120: input 'serving_default"):
            calibrate(model, [*data[:120], [data[0][0] * np.float32(np.inf)]], executor=executor)


# TensorFlow that is not there, and the command line


def test_tensorflow_that_is_missing_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InvalidInput, match=r"^engine='tensorflow' needs TensorFlow.*: pip install 'refquant\[tensorfl"):
        calibrate(plain(), [A], engine="tensorflow")


def test_tensorflow_tells_the_ends_of_what_is_inside_an_lstm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    tensors = [T((1, 2, 3), "FLOAT32"), *(T((3, 3), "FLOAT32") for _ in range(19))]
    model = one_op("UNIDIRECTIONAL_SEQUENCE_LSTM", tensors, [T((1, 2, 3), "FLOAT32")])
    with pytest.raises(UnsupportedModel, match=r"operator 0 \(UNIDIRECTIONAL_SEQUENCE_LSTM\): TensorFlow tells"):
        calibrate(model, [np.zeros((1, 2, 3), np.float32)], engine="tensorflow", estimator="mse")


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """Calls the command as a shell would, in this process: (exit code, stdout, stderr)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["refquant", *map(str, arguments)])
        with pytest.raises(SystemExit) as raised:
            cli.main()
        captured = capsys.readouterr()
        return int(raised.value.code or 0), captured.out, captured.err

    return call


def test_jobs_write_the_same_file(command: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    model = data_file("golden/models/digits_cnn_float.tflite")
    np.savez(tmp_path / "scans.npz", np.random.default_rng(0).random((90, 8, 8), np.float32))
    files = {jobs: tmp_path / f"ranges{jobs}.json" for jobs in (1, 2)}
    with pytest.MonkeyPatch.context() as patch:
        for name in ONE_THREAD:
            patch.setenv(name, "1")  # and back, as the command sets them for its process
        for jobs, file in files.items():
            code, out, _ = command(
                "calibrate", model, "-s", tmp_path / "scans.npz", "-o", file, "--jobs", jobs, "--json"
            )
            assert code == 0
            assert json.loads(out)["ranges"]
    assert files[1].read_bytes() == files[2].read_bytes()


def test_engines_of_the_command_line(command: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    model = data_file("golden/models/digits_cnn_float.tflite")
    np.savez(tmp_path / "scans.npz", np.zeros((2, 8, 8), np.float32))
    for verb, output in (("calibrate", "r.json"), ("quantize", "q.tflite")):
        arguments = (verb, model, "-s", tmp_path / "scans.npz", "-o", tmp_path / output)
        code, _, error = command(*arguments, "--engine", "gpu")
        assert (code, error) == (2, "refquant: engine='gpu': must be one of numpy, tensorflow\n")
        assert not (tmp_path / output).exists()
        assert command(*arguments, "--jobs", "0")[0] == 2
        assert command(*arguments, "--engine", "numpy", "--jobs", "1")[0] == 0
