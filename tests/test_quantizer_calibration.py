"""Calibration: what is recorded, what is refused, and that ranges do not depend on order, blocks or company."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import refquant
from converter_oracle_graphs import (
    Builder,
    add,
    average_pool_2d,
    conv_2d,
    conv_2d_with,
    random_dag,
    relu,
    reshape,
    softmax,
)
from refquant.data import data_file
from refquant.errors import InvalidInput
from refquant.model.graph import Model
from refquant.quantizer import Calibration, TensorRange, calibrate
from refquant.quantizer.in_place import overwrites, owners
from refquant.quantizer.observe import FLT_MIN
from refquant.quantizer.quantize import quantize

SLICE = {"ADD": add, "CONV_2D": conv_2d, "RELU": relu, "SOFTMAX": softmax, "POOL": average_pool_2d, "RESHAPE": reshape}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def small(seed: int = 0) -> Model:
    """conv -> relu, on (1, 4, 4, 3)."""
    b = Builder(rng(seed))
    (c,) = conv_2d(b, b.input((1, 4, 4, 3)))
    relu(b, c)
    return b.model()


def samples(model: Model, count: int, seed: int = 1) -> list[list[np.ndarray]]:
    r = rng(seed)
    shapes = [model.graph.tensors[index].shape for index in model.graph.inputs]
    return [[r.normal(0, 2, shape).astype(np.float32) for shape in shapes] for _ in range(count)]


def identity(shape: tuple[int, ...] = (1, 2)) -> Model:
    """RELU6 of the input: values pass if they lie in 0..6."""
    b = Builder(rng())
    b.op("RELU6", [b.input(shape)], [shape])
    return b.model()


# what is recorded


def test_every_float_tensor_that_is_computed_or_read() -> None:
    model = small()
    ranges = calibrate(model, samples(model, 3)).ranges
    assert list(ranges) == ["in0", "conv_2d0", "relu1"]


def test_minimum_and_maximum_over_all_samples() -> None:
    data = [np.array([[1.0, 2.0]], np.float32), np.array([[0.5, 1.5]], np.float32)]
    assert calibrate(identity(), data).ranges["in0"] == (0.5, 2.0)


def test_a_range_ends_at_flt_min_at_least() -> None:
    ranges = calibrate(identity(), [np.array([[-1.0, -2.0]], np.float32)]).ranges
    assert ranges["in0"] == (-2.0, FLT_MIN)
    assert ranges["relu60"] == (0.0, FLT_MIN)
    assert float(np.float32(1.17549435e-38)) == FLT_MIN


def test_blocks_give_what_single_samples_give() -> None:
    for seed in range(6):
        model = random_dag(rng(seed), 8, SLICE)
        data = samples(model, 45, seed)
        together = calibrate(model, data)
        merged = calibrate(model, data[:1])
        for sample in data[1:]:
            merged = merged.merge(calibrate(model, [sample]))
        assert merged == together
        assert calibrate(model, data[::-1]) == together


def test_progress_counts_the_samples() -> None:
    model = small()
    done: list[int] = []
    assert calibrate(model, iter(samples(model, 200)), progress=done.append).samples == 200
    assert done[-1] == 200
    assert done == sorted(set(done))


def test_dynamic_shapes_may_differ_between_samples() -> None:
    model = identity((1, 2))
    tensor = model.graph.tensors[0]
    dynamic = replace(tensor, shape_signature=(-1, 2))
    model = model.with_graph(replace(model.graph, tensors=(dynamic, *model.graph.tensors[1:])))
    data = [np.full((size, 2), size, np.float32) for size in (1, 3, 2, 1)]
    assert calibrate(model, data).ranges["in0"] == (1.0, 3.0)


def test_names_and_lists_and_arrays() -> None:
    model = identity()
    x = np.array([[1.0, 2.0]], np.float32)
    assert calibrate(model, [x]) == calibrate(model, [[x]]) == calibrate(model, [{"in0": x}])


def test_golden_ranges() -> None:
    """The digits networks on the scans TensorFlow calibrated on: within the order of float sums."""
    split = json.loads(data_file("golden/digits.json").read_text())
    with np.load(data_file("digits.npz")) as arrays:
        scans = (arrays["images"].astype(np.float32) / np.float32(16))[np.array(split["calibration"])]
    for name in ("digits_cnn", "digits_ds"):
        model = refquant.load(data_file(f"golden/models/{name}_float.tflite"))
        want = Calibration.from_model(data_file(f"golden/models/{name}_calibrated.tflite")).ranges
        shape = model.graph.tensors[model.graph.inputs[0]].shape
        got = calibrate(model, (scan.reshape(shape) for scan in scans)).ranges
        assert set(got) == set(want)
        for tensor, limits in want.items():
            assert got[tensor] == pytest.approx(limits, rel=1e-5)


# the in-place artefact


def in_place(outputs: int = 0) -> tuple[Model, dict[int, int]]:
    """conv -> c, conv -> d, c + d -> e -> relu; with `outputs`, c is an output too."""
    b = Builder(rng(3))
    x = b.input((1, 2, 2, 3))
    weights, bias = b.weights((3, 1, 1, 3), 0), b.bias(3)
    (c,), (d,) = conv_2d_with(b, x, weights, bias), conv_2d_with(b, x, weights, bias)
    (e,) = b.op("ADD", [c, d], [b.shape(c)], {"fused_activation_function": "NONE"}, "AddOptions")
    relu(b, e)
    model = b.model((c,) if outputs else ())
    sizes = dict.fromkeys((x, c, d, e), 48)
    return model, {o.tensor: o.output for o in overwrites(model.graph, owners(model, sizes))} | {-1: c, -2: d, -3: e}


def test_add_overwrites_its_first_input() -> None:
    _, found = in_place()
    assert {found[-1]: found[-3]}.items() <= found.items()
    assert found[-2] not in found


def test_an_output_is_never_overwritten_so_the_second_input_is() -> None:
    _, found = in_place(outputs=1)
    assert found[-1] not in found
    assert found[found[-2]] == found[-3]


def test_an_overwritten_input_takes_in_the_output() -> None:
    model, found = in_place()
    ranges = calibrate(model, samples(model, 4)).for_model(model)
    c, e = ranges[found[-1]], ranges[found[-3]]
    assert c[0] <= e[0]
    assert c[1] >= e[1]


def graph_of(build) -> tuple[Model, dict[int, int]]:
    b = Builder(rng(1))
    build(b)
    model = b.model()
    sizes = {i: 4 * int(np.prod(t.shape)) for i, t in enumerate(model.graph.tensors) if t.buffer == 0}
    return model, {o.tensor: o.output for o in overwrites(model.graph, owners(model, sizes))}


def test_graph_inputs_shared_tensors_scalars_and_outputs_are_not_overwritten() -> None:
    def inputs(b: Builder) -> None:
        x, y = b.input((1, 1, 1, 4)), b.input((1, 1, 1, 4))
        relu(b, add(b, x, y)[0])

    def twice(b: Builder) -> None:
        (r,) = relu(b, b.input((1, 1, 1, 4)))
        relu(b, add(b, r, r)[0])

    def scalar(b: Builder) -> None:
        (r,) = relu(b, b.input((1, 1, 1, 1)))
        relu(b, softmax(b, r)[0])

    def output(b: Builder) -> None:
        (r,) = relu(b, b.input((1, 1, 1, 4)))
        softmax(b, r)

    for build in (inputs, twice, scalar, output):
        assert graph_of(build)[1] == {}, build.__name__


def test_softmax_overwrites_and_a_reshape_passes_memory_on() -> None:
    def through(b: Builder) -> None:
        (r,) = relu(b, b.input((1, 2, 1, 4)))
        (s,) = reshape(b, r)
        relu(b, softmax(b, s)[0])

    def read_again(b: Builder) -> None:
        (r,) = relu(b, b.input((1, 2, 1, 4)))
        (s,) = reshape(b, r)
        relu(b, softmax(b, s)[0])
        relu(b, r)

    assert len(graph_of(through)[1]) == 1
    assert graph_of(read_again)[1] == {}


def written_over() -> Model:
    """r = relu(in0), c = r + (1, 2, 3, 4) in r's memory, s = reshape(c), softmax(s) over all of them; abs(c) last."""
    b = Builder(rng())
    x = b.input((1, 4))
    (r,) = relu(b, x)
    constant = b.constant(np.array([1, 2, 3, 4], np.float32))
    none = {"fused_activation_function": "NONE"}
    (c,) = b.op("ADD", [r, constant], [(1, 4)], none, "AddOptions")
    (s,) = b.op("RESHAPE", [c, b.constant(np.array([4], np.int32))], [(4,)], {"new_shape": (4,)}, "ReshapeOptions")
    (p,) = softmax(b, s)
    relu(b, p)
    b.op("ABS", [c], [(1, 4)], {}, "AbsOptions")
    return b.model()


def test_a_tensor_whose_memory_was_written_over_is_misread() -> None:
    """As the converter: ABS does not see 2, 4, 6, 8, but what SOFTMAX made of them."""
    model = written_over()
    ranges = calibrate(model, [np.array([[1, 2, 3, 4]], np.float32)]).ranges
    low, high = ranges["softmax3"]
    assert 0 < low < high < 1
    assert ranges["abs5"] == (low, high)
    assert ranges["add1"] == (low, 8.0)  # its own, and what was read in its stead
    assert ranges["reshape2"] == (low, 8.0)  # overwritten by its reader
    assert ranges["relu0"] == (1.0, 8.0)  # overwritten by the sum


def test_memory_is_planned_for_the_first_sample() -> None:
    """One element in the first sample is too small to share, whatever comes later; two are not."""
    b = Builder(rng())
    (r,) = relu(b, b.input((1, 1)))
    (p,) = b.op("MUL", [r, b.constant(np.array([-1], np.float32))], [(1, 1)], {}, "MulOptions")
    relu(b, p)
    model = b.model()
    dynamic = replace(model.graph.tensors[0], shape_signature=(-1, 1))
    model = model.with_graph(replace(model.graph, tensors=(dynamic, *model.graph.tensors[1:])))
    one, two = np.ones((1, 1), np.float32), np.ones((2, 1), np.float32)
    assert calibrate(model, [one, two]).ranges["relu0"] == (1.0, 1.0)
    assert calibrate(model, [two, one]).ranges["relu0"] == (-1.0, 1.0)


# what is skipped and refused


@pytest.mark.filterwarnings("ignore:.*holds NaN, computed by")
def test_nan_is_skipped_with_a_warning() -> None:
    data = [np.array([[1.0, 2.0]], np.float32), np.array([[np.nan, 3.0]], np.float32)]
    with pytest.warns(UserWarning, match="sample 1: input 'in0' holds NaN; such elements are skipped"):
        ranges = calibrate(identity(), data).ranges
    assert ranges["in0"] == (1.0, 3.0)


def test_a_tensor_of_nothing_but_nan_has_no_range() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert "in0" not in calibrate(identity(), [np.full((1, 2), np.nan, np.float32)] * 2).ranges
    assert str(caught[-1].message).startswith(
        "nothing but NaN in all samples: 'in0' and 1 more; such a tensor gets no "
    )
    assert all("nothing but" not in str(warning.message) for warning in caught[:-1])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        calibrate(identity(), [np.full((1, 2), np.nan, np.float32), np.ones((1, 2), np.float32)])
    assert all("nothing but" not in str(warning.message) for warning in caught)


@pytest.mark.parametrize("number", [0, 3, 40])
def test_infinity_is_refused(number: int) -> None:
    data = [np.ones((1, 2), np.float32) for _ in range(45)]
    data[number][0, 1] = -np.inf
    with pytest.raises(InvalidInput, match=f"sample {number}: input 'in0' holds infinite numbers; no scale"):
        calibrate(identity(), data)


GOOD = np.ones((1, 2), np.float32)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "no samples"),
        (None, "NoneType; it must be an iterable"),
        ({"in0": GOOD}, "dict; it must be an iterable"),
        ("samples.npy", "str; it must be an iterable"),
        ([GOOD, GOOD.astype(np.float64)], "sample 1: input 'in0' takes float32"),
        ([GOOD, np.ones((1, 3), np.float32)], "sample 1: input 'in0' has shape"),
        ([GOOD, np.ones((2, 2), np.float32)], "sample 1: .* the first sample had"),
        ([GOOD[0]], "with its batch dimension"),
        ([np.ones((0, 2), np.float32)], "sample 0: .*shape"),
        ([[GOOD, GOOD]], "sample 0: the model has 1 inputs, but 2"),
        ([{"x": GOOD}], "sample 0: no input is named 'x'"),
        ([{}], "sample 0: the input 'in0' is missing"),
        ([GOOD, 3.0], "sample 1: inputs must be an array, .* not float"),
        ([["text"]], "sample 0: input 'in0' takes float32"),
    ],
)
def test_bad_samples_are_refused(data, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        calibrate(identity(), data)
    assert "\n" not in str(caught.value)


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(InvalidInput, match="engine='gpu'"):
        calibrate(identity(), [GOOD], engine="gpu")


def test_an_int8_model_is_refused() -> None:
    model = refquant.load(data_file("golden/models/digits_cnn_int8.tflite"))
    with pytest.raises(InvalidInput, match="float"):
        calibrate(model, [])


# files


def drawn_range(values: tuple[float, float]) -> tuple[float, float]:
    return min(values), max(values)


finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(st.tuples(st.text(), st.tuples(finite, finite).map(drawn_range)), max_size=5), st.integers(0, 10**9))
def test_save_and_load_are_exact(tmp_path_factory, entries, count: int) -> None:
    tensors = tuple(TensorRange(i, name, low, high) for i, (name, (low, high)) in enumerate(entries))
    path = tmp_path_factory.mktemp("calibration") / "ranges.json"
    calibration = Calibration(tensors, count)
    calibration.save(path)
    assert Calibration.load(path) == calibration


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "ranges.json"
    Calibration((TensorRange(0, "x", 0.0, 1.0),), 1).save(path)
    before = path.read_bytes()
    entry = TensorRange(0, "x", 0.0, 1.0)
    object.__setattr__(entry, "max", float("inf"))  # what JSON cannot hold
    with pytest.raises(InvalidInput, match="cannot be written"):
        Calibration((entry,), 1).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["ranges.json"]


ENTRY = {"tensor": 0, "name": "x", "min": 0, "max": 1}


def file_of(*entries: dict, **changes: object) -> str:
    content = {"format": "refquant calibration", "version": 1, "samples": 1, "tensors": list(entries)}
    return json.dumps({**content, **changes})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        '{"format": "refquant calibration"}',
        "not json",
        "[" * 5000,
        file_of(version=2),
        file_of(samples=-1),
        file_of({"tensor": 0}),
        file_of({**ENTRY, "name": 1}),
        file_of({**ENTRY, "min": 0.1}),
        file_of({**ENTRY, "max": float("nan")}),
        file_of({**ENTRY, "max": 1e39}),
        file_of({**ENTRY, "min": 2}),
        file_of({**ENTRY, "tensor": True}),
        file_of(ENTRY, ENTRY),
    ],
)
def test_files_that_are_no_calibration_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "ranges.json"
    path.write_text(text)
    with pytest.raises(InvalidInput) as caught:
        Calibration.load(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no such file"):
        Calibration.load(tmp_path / "none.json")
    with pytest.raises(InvalidInput):
        Calibration.load(tmp_path)


# models


def test_ranges_from_a_calibrated_model_and_by_name() -> None:
    calibrated = refquant.load(data_file("golden/models/digits_cnn_calibrated.tflite"))
    calibration = Calibration.from_model(calibrated)
    floating = refquant.load(data_file("golden/models/digits_cnn_float.tflite"))
    assert calibration.for_model(floating)
    moved = Calibration(tuple(TensorRange(e.tensor + 1000, e.name, e.min, e.max) for e in calibration.tensors))
    assert moved.for_model(floating) == calibration.for_model(floating)


def test_a_model_without_ranges_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no tensor of the model holds a range"):
        Calibration.from_model(data_file("golden/models/digits_cnn_float.tflite"))


def test_a_calibration_of_another_model_is_refused() -> None:
    calibration = Calibration((TensorRange(0, "somewhere else", 0.0, 1.0),))
    with pytest.raises(InvalidInput, match="another model"):
        quantize(small(), calibration)
    with pytest.raises(InvalidInput, match="different models"):
        calibration.merge(Calibration((TensorRange(0, "here", 0.0, 1.0),)))


def test_tensors_that_share_a_name_keep_their_ranges_apart() -> None:
    calibration = Calibration((TensorRange(0, "x", 0.0, 1.0), TensorRange(4, "x", 0.0, 2.0)))
    assert calibration.ranges == {"x": (0.0, 1.0), "x (tensor 4)": (0.0, 2.0)}


@pytest.mark.parametrize(
    "pair", [(1.0, -1.0), ("a", "b"), (None, 1.0), (0.1, 1.0), (0.0, float("inf")), (-(10**400), 0.0)]
)
def test_a_range_is_a_range(pair: tuple[object, object]) -> None:
    with pytest.raises(InvalidInput, match="tensor 'x': "):
        TensorRange(0, "x", *pair)


def test_numbers_beyond_float_in_a_file_are_one_line(tmp_path: Path) -> None:
    calibration = Calibration((TensorRange(0, "x", -1.0, 1.0),), 1)
    calibration.save(tmp_path / "ranges.json")
    text = (tmp_path / "ranges.json").read_text().replace("-1.0", "-1" + "0" * 400)
    (tmp_path / "ranges.json").write_text(text)
    with pytest.raises(InvalidInput, match="not a calibration file of refquant"):
        Calibration.load(tmp_path / "ranges.json")
