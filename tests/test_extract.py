"""One operator taken out of a model gives what it gives in the model: in refquant, and in the real LiteRT."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import oracle
import refquant
from cases import CASES
from crosscheck import differing
from graphs import Graphs, binary, constant, floats, loop
from models import T, one_op
from oracle import litert
from refquant import cli
from refquant.compare.extract import cut_out
from refquant.errors import InvalidInput, RefquantError, UnsupportedModel
from refquant.model.graph import Model
from test_real_models import ALL_MODELS, MODELS, draw_inputs

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "models"
RESNET = GOLDEN / "digits_ds_int8.tflite"
UNRUN = ("digits_ds_int16x8_bias32",)  # its int32 biases are nothing that the reference kernels take
FILES = [path for path in sorted(GOLDEN.glob("*.tflite")) if path.stem not in UNRUN]
FILES += [path for path in (MODELS / f"{name}.tflite" for name in ALL_MODELS) if path.exists()]
BY_NAME = {path.stem: path for path in FILES}
NEEDS_LITERT = pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING)


def one_by_one(one: Model, arrays: Mapping[str, np.ndarray]) -> list[list[np.ndarray]]:
    """The samples that the arrays hold, each in the shapes of the model's inputs."""
    shapes = [one.graph.tensors[index].shape for index in one.graph.inputs]
    count = next(iter(arrays.values())).size // math.prod(shapes[0])
    rows = [array.reshape(count, *shape) for array, shape in zip(arrays.values(), shapes, strict=True)]
    return [[array[number] for array in rows] for number in range(count)]


def real_outputs(one: Model, arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Of each sample the first output in LiteRT's reference kernels."""
    answers = litert.run(one.to_bytes(), list(one_by_one(one, arrays)))
    return [tensors[one.graph.outputs[0]] for tensors in answers]


@NEEDS_LITERT
@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(name=st.sampled_from(sorted(BY_NAME)), place=st.integers(0, 999), seed=st.integers(0, 9))
def test_any_operator_alone_gives_what_it_gives_in_the_model(name: str, place: int, seed: int) -> None:
    data = BY_NAME[name].read_bytes()
    model = refquant.load(data)
    number, inputs = place % len(model.graph.operators), draw_inputs(model, seed)[-3:]
    one, arrays = refquant.extract(model, number, inputs)
    assert [operator.name for operator in one.graph.operators] == [model.graph.operators[number].name]
    ours = refquant.run(refquant.load(one.to_bytes()), arrays)[0]
    alone = real_outputs(one, arrays)
    assert not differing(ours.reshape(len(alone), *alone[0].shape), np.stack(alone)).any()
    whole = litert.run(data, [[x[np.newaxis]] for x in inputs])
    (index, *_) = model.graph.operators[number].outputs
    for got, want in zip(alone, whole, strict=len(alone) == 3):
        assert not differing(got, want[index]).any()


def digits() -> tuple[Model, np.ndarray]:
    model = refquant.load(RESNET)
    return model, draw_inputs(model, 0)[:4]


def test_an_operator_is_named_by_number_or_by_what_it_gives() -> None:
    model, inputs = digits()
    name = model.graph.tensors[model.graph.operators[1].outputs[0]].name
    by_number, by_name = (cut_out(model, operator, inputs) for operator in (1, name))
    assert by_number.model == by_name.model
    for wrong, told in (
        (99, "there is no operator 99; subgraph 0 has 10"),
        (-1, "there is no operator -1"),
        ("nothing", "no operator gives a tensor named 'nothing' in subgraph 0; name the operator by its number"),
    ):
        with pytest.raises(InvalidInput, match=told):
            refquant.extract(model, wrong, inputs)
    with pytest.raises(InvalidInput, match="there is no subgraph 1; the model has 1"):
        refquant.extract(model, 1, inputs, subgraph=1)


def test_constants_and_quantization_stay() -> None:
    model, inputs = digits()
    one, arrays = refquant.extract(model, 1, inputs)
    operator = model.graph.operators[1]
    assert [one.graph.tensors[index].quantization for index in one.graph.operators[0].inputs] == [
        model.graph.tensors[index].quantization for index in operator.inputs
    ]
    for slot in (1, 2):
        new, old = (m.graph.tensors[m.graph.operators[n].inputs[slot]] for m, n in ((one, 0), (model, 1)))
        np.testing.assert_array_equal(one.constant(new), model.constant(old))
    assert list(arrays) == [one.graph.tensors[index].name for index in one.graph.inputs]
    assert len(one.buffers) == 3


@pytest.mark.parametrize("sample", [0, 3])
def test_one_sample_of_several(sample: int) -> None:
    model, inputs = digits()
    everything, one = cut_out(model, 2, inputs), cut_out(model, 2, inputs, sample=sample)
    for name, array in one.inputs.items():
        np.testing.assert_array_equal(array, everything.inputs[name][sample : sample + 1])
    with pytest.raises(InvalidInput, match="there is no sample 4; there are 4, counted from 0"):
        refquant.extract(model, 2, inputs, sample=4)


def test_what_has_no_room_for_samples_takes_one() -> None:
    graphs = Graphs().add(
        {
            "x": floats(1, 4),
            "shape": constant([4], np.int32),
            "flat": floats(4),
            "y": floats(4),
            "out": floats(4),
        },
        [("RESHAPE", ("x", "shape"), ("flat",), {}), binary("ADD", "flat", "flat", "y")],
        ("x",),
        ("y",),
    )
    model, x = graphs.model(), np.arange(12, dtype=np.float32).reshape(3, 4)
    with pytest.raises(InvalidInput, match=r"'flat' has shape \(4,\), which has no dimension for several samples"):
        refquant.extract(model, 1, x)
    one, arrays = refquant.extract(model, 1, x, sample=2)
    assert one.graph.operators[0].inputs == (0, 0)
    np.testing.assert_array_equal(arrays["flat"], x[2])
    np.testing.assert_array_equal(refquant.run(one, arrays)[0], 2 * x[2])


def test_what_is_known_before_a_run_becomes_a_constant() -> None:
    """The shape behind SHAPE and PACK; and an operator of constants alone gets its input to be fed."""
    model = refquant.load(GOLDEN / "digits_cnn_float16.tflite")
    inputs = draw_inputs(model, 0)[:2]
    names = [operator.name for operator in model.graph.operators]
    one, arrays = refquant.extract(model, names.index("RESHAPE"), inputs)
    assert len(one.graph.inputs) == len(arrays) == 1
    assert one.constant(one.graph.tensors[one.graph.operators[0].inputs[1]]) is not None
    one, arrays = refquant.extract(model, names.index("DEQUANTIZE"), inputs)
    assert [array.dtype for array in arrays.values()] == [np.float16]
    assert one.graph.tensors[one.graph.inputs[0]].buffer == 0


@NEEDS_LITERT
@pytest.mark.parametrize("operator", range(3))
def test_operators_that_run_subgraphs_and_operators_in_them(operator: int) -> None:
    x = T((1, 3), "FLOAT32")
    model = loop({"x": x}, [binary("MUL", "x", "x", "square")], ["square"], {"square": x})
    given = {"n": np.array(3, np.int32), "x": np.array([[1.5, 2, -3]], np.float32)}
    subgraph = min(operator, 1) * 2
    number = operator - 1 if operator else 0
    found = cut_out(model, number, given, subgraph=subgraph)
    assert len(found.model.graphs) == (1 if operator else 3)
    (real,) = real_outputs(found.model, found.inputs)
    np.testing.assert_array_equal(real, next(iter(found.outputs.values())))
    if operator == 2:  # as it runs for the first time
        np.testing.assert_array_equal(found.inputs["x"], given["x"])


def test_subgraphs_are_numbered_anew_and_buffers_kept_once() -> None:
    x = T((1, 3), "FLOAT32")
    model = loop({"x": x}, [binary("MUL", "x", "x", "square")], ["square"], {"square": x})
    graphs = (model.graphs[0], model.graphs[2], model.graphs[1])  # the body before the condition
    (operator,) = model.graph.operators
    options = {**operator.options, "cond_subgraph_index": 2, "body_subgraph_index": 1}
    model = replace(model, graphs=graphs).with_graph(
        replace(model.graph, operators=(replace(operator, options=options),))
    )
    given = {"n": np.array(3, np.int32), "x": np.array([[1.5, 2, -3]], np.float32)}
    one, arrays = refquant.extract(model, 0, given)
    np.testing.assert_array_equal(refquant.run(one, arrays)[1], refquant.run(model, given)[0])
    assert one.graphs[one.graph.operators[0].options["cond_subgraph_index"]].outputs == graphs[2].outputs
    with pytest.raises(InvalidInput, match="is not run with these inputs"):
        refquant.extract(model, 1, {**given, "n": np.array(0, np.int32)}, subgraph=1)


def test_what_comes_after_the_operator_need_not_run() -> None:
    tensors = {"x": floats(1, 3), "y": floats(1, 3), "z": floats(1, 3)}
    operators = [("ABS", ("x",), ("y",), {}), ("GELU", ("y",), ("z",), {})]
    model = Graphs().add(tensors, operators, ("x",), ("z",)).model()
    one, arrays = refquant.extract(model, 0, np.array([[1, -2, 3]], np.float32), "tflm")
    assert refquant.run(one, arrays, runtime="tflm")[0].tolist() == [[1, 2, 3]]


def test_shapes_are_those_of_the_run() -> None:
    tensors = {"dims": T((1,), "INT32"), "value": floats(), "filled": floats(0), "y": floats(0)}
    operators = [("FILL", ("dims", "value"), ("filled",), {}), ("ABS", ("filled",), ("y",), {})]
    model = Graphs().add(tensors, operators, ("dims", "value"), ("y",)).model()
    one, arrays = refquant.extract(model, 1, [np.array([3], np.int32), np.float32(-2)])
    assert [tensor.shape for tensor in one.graph.tensors] == [(3,), (3,)]
    assert refquant.run(one, arrays)[0].tolist() == [2, 2, 2]


def test_a_name_that_two_operators_give_names_none() -> None:
    tensors = {"x": floats(1, 3), "y": floats(1, 3), "z": floats(1, 3)}
    operators = [("ABS", ("x",), ("y",), {}), ("NEG", ("y",), ("z",), {})]
    model = Graphs().add(tensors, operators, ("x",), ("z",)).model()
    same = tuple(replace(tensor, name="same") for tensor in model.graph.tensors)
    model = model.with_graph(replace(model.graph, tensors=same))
    with pytest.raises(InvalidInput, match=r"operators 0, 1 give a tensor named 'same' in subgraph 0"):
        refquant.extract(model, "same", np.ones((1, 3), np.float32))


def test_a_buffer_that_two_constants_share_is_kept_once() -> None:
    constant = np.array([[1, 2, 3]], np.float32)
    tensors = {"x": floats(1, 3), "one": T(data=constant), "other": T(data=constant), "y": floats(1, 9)}
    options = {"axis": 1, "fused_activation_function": "NONE"}
    operators = [("CONCATENATION", ("x", "one", "other"), ("y",), options)]
    model = Graphs().add(tensors, operators, ("x",), ("y",)).model()
    x, one, other, y = model.graph.tensors
    model = model.with_graph(replace(model.graph, tensors=(x, one, replace(other, buffer=one.buffer), y)))
    found, arrays = refquant.extract(model, 0, np.zeros((1, 3), np.float32))
    assert [data for data in found.buffers if data] == [constant.tobytes()]
    assert refquant.run(found, arrays)[0].tolist() == [[0, 0, 0, 1, 2, 3, 1, 2, 3]]


@NEEDS_LITERT
@pytest.mark.parametrize("name", ["SVDF", "SVDF hybrid", "UNIDIRECTIONAL_SEQUENCE_LSTM"])
def test_an_operator_that_remembers_gets_the_samples_before(name: str) -> None:
    drawn = (CASES[name](np.random.default_rng(seed)) for seed in range(999))
    case = next(c for c in drawn if c.samples[0][0].shape[0] == 1 and len(c.samples) > 2)
    samples = [np.concatenate(column) for column in zip(*case.samples, strict=True)]
    everything, last = cut_out(case.model, 0, samples), cut_out(case.model, 0, samples, sample=len(case.samples) - 1)
    assert last.model.graph == everything.model.graph
    real = real_outputs(last.model, last.inputs)
    ours = next(iter(last.outputs.values()))
    assert not differing(ours.reshape(len(real), *real[0].shape), np.stack(real)).any()


@NEEDS_LITERT
def test_an_installed_runtime_may_give_the_tensors() -> None:
    """XNNPACK's convolution parts from the reference, and so does what it gives alone."""
    model, inputs = digits()
    described, real = (cut_out(model, 2, inputs, runtime) for runtime in ("xnnpack", "litert:default"))
    assert real.model == described.model
    for got, want in ((real.inputs, described.inputs), (real.outputs, described.outputs)):
        assert list(got) == list(want)
        for name, array in got.items():
            np.testing.assert_array_equal(array, want[name])
    x = T((1, 3), "FLOAT32")
    looped = loop({"x": x}, [binary("MUL", "x", "x", "square")], ["square"], {"square": x})
    given = {"n": np.array(3, np.int32), "x": np.ones((1, 3), np.float32)}
    with pytest.raises(InvalidInput, match="litert:default shows the tensors of the main graph only"):
        refquant.extract(looped, 1, given, "litert:default", subgraph=2)


def test_operators_that_mean_nothing_alone_are_refused() -> None:
    handle = T((), "RESOURCE")
    graphs = Graphs().add(
        {"x": floats(2), "id": handle, "y": floats(2)},
        [
            ("VAR_HANDLE", (), ("id",), {"container": "", "shared_name": "v"}),
            ("ASSIGN_VARIABLE", ("id", "x"), (), {}),
            ("READ_VARIABLE", ("id",), ("y",), {}),
        ],
        ("x",),
        ("y",),
    )
    for number in range(3):
        with pytest.raises(UnsupportedModel, match="a model of it alone computes nothing"):
            refquant.extract(graphs.model(), number, np.ones(2, np.float32))


@pytest.mark.parametrize(
    "names", [("", ""), ("same", "same"), ("arr_1", "arr_0"), ("a\0b", "../x"), ("file", "x" * 999)]
)
def test_names_that_no_archive_takes_are_replaced(names: tuple[str, str], tmp_path: Path, monkeypatch) -> None:
    a, b = (T((1, 2), "FLOAT32", name=name or " ") for name in names)
    model = one_op("SUB", [a, b], [T((1, 2), "FLOAT32")], {"fused_activation_function": "NONE"})
    named = zip(model.graph.tensors, (*names, "y"), strict=True)
    model = model.with_graph(replace(model.graph, tensors=tuple(replace(t, name=name) for t, name in named)))
    refquant.save(model, tmp_path / "model.tflite")
    np.savez(tmp_path / "x.npz", np.array([[5, 6]], np.float32), np.array([[1, 1]], np.float32))
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, "extract model.tflite --op 0 -i x.npz -o one.tflite") == 0
    assert call(monkeypatch, "run one.tflite -i one.npz -o got.npz") == 0
    got, expected = (np.load(tmp_path / f"{name}.npz") for name in ("got", "one_expected"))
    np.testing.assert_array_equal(expected["y"], [[4, 5]])
    np.testing.assert_array_equal(got["y"], [[4, 5]])


def call(monkeypatch: pytest.MonkeyPatch, line: str) -> int:
    monkeypatch.setattr("sys.argv", ["refquant", *line.split()])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_the_command_line(tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    model, inputs = digits()
    refquant.save(model, tmp_path / "model.tflite")
    np.save(tmp_path / "x.npy", inputs)
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, "extract model.tflite --op 2 -i x.npy -o one.tflite --sample 1 --json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["operator"] == f"subgraph 0, operator 2 ({model.graph.operators[2].name})"
    assert told["files"] == {"model": "one.tflite", "inputs": "one.npz", "expected": "one_expected.npz"}
    with np.load("one.npz") as fed, np.load("one_expected.npz") as expected:
        assert [{"name": n, "type": fed[n].dtype.name, "shape": list(fed[n].shape)} for n in fed] == told["inputs"]
        (got,) = refquant.run("one.tflite", dict(fed))
        np.testing.assert_array_equal(got, expected[told["outputs"][0]["name"]])
    for line, text in (
        ("extract model.tflite --op 99 -i x.npy -o two.tflite", "there is no operator 99"),
        ("extract model.tflite --op 2 -i x.npy -o one.npz", "needs another suffix"),
        ("extract model.tflite --op 2 -i x.npy -o model.tflite", "is an input of this command"),
        ("extract model.tflite --op 2 -i x.npy -o x.tflite --runtime no", "unknown runtime 'no'"),
        ("extract model.tflite --op 2 -i x.npy -o none/x.tflite", "there is no directory"),
    ):
        assert call(monkeypatch, line) == 2
        err = capsys.readouterr().err
        assert text in err
        assert len(err.splitlines()) == 1
    assert not list(tmp_path.glob("two*"))


def test_files_are_written_all_or_none(tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    model, inputs = digits()
    refquant.save(model, tmp_path / "model.tflite")
    np.save(tmp_path / "x.npy", inputs)
    (tmp_path / "one_expected.npz").symlink_to("/dev/full")
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, "extract model.tflite --op 2 -i x.npy -o one.tflite") == 2
    assert "one_expected.npz: cannot be written" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.tflite", "one_expected.npz", "x.npy"]


def test_whatever_is_wrong_with_the_inputs_is_one_line() -> None:
    model, inputs = digits()
    for bad in (inputs.astype(np.float32), inputs[..., :1, :], [inputs, inputs], {"no": inputs}, [[1], [1, 2]]):
        with pytest.raises(RefquantError) as told:
            refquant.extract(model, 2, bad)
        assert "\n" not in str(told.value)
