"""The command line: results on stdout, one clear line on stderr for bad input, exit codes 0, 1, 2."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import refquant
from models import T, one_op
from refquant import cli
from refquant.data import data_file
from refquant.model.graph import Graph, Model, Operator, Tensor
from refquant.quantizer.quantize import ROUTES

FLOAT = "golden/models/digits_cnn_float.tflite"
INT8 = "golden/models/digits_cnn_int8.tflite"


class Result:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def refq(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Calls the command as a shell would, in this process."""

    def call(*arguments: object) -> Result:
        monkeypatch.setattr("sys.argv", ["refquant", *map(str, arguments)])
        with pytest.raises(SystemExit) as raised:
            cli.main()
        captured = capsys.readouterr()
        code = raised.value.code
        return Result(0 if code is None else code, captured.out, captured.err)

    return call


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    with np.load(data_file("digits.npz"), allow_pickle=False) as digits:
        images = digits["images"][:30].astype(np.float32) / np.float32(16)
    np.savez(tmp_path / "scans.npz", images)
    return tmp_path / "scans.npz"


def bad(result: Result, text: str) -> None:
    assert result.code == 2
    assert text in result.err
    assert "Traceback" not in result.err
    assert len(result.err.strip().splitlines()) == 1


def test_inspect_tells_operators_scales_and_memory(refq) -> None:
    result = refq("inspect", data_file(INT8))
    assert result.code == 0
    for word in ("CONV_2D", "MAX_POOL_2D", "FULLY_CONNECTED", "INT8", "INT32", "memory: constants", "zero point"):
        assert word in result.out


def test_inspect_json_equals_the_model(refq) -> None:
    result = refq("inspect", data_file(INT8), "--json")
    summary = json.loads(result.out)
    model = refquant.load(data_file(INT8))
    (graph,) = summary["graphs"]
    assert [operator["name"] for operator in graph["operators"]] == [o.name for o in model.graph.operators]
    assert [tensor["scale"] for tensor in graph["tensors"]] == [
        list(t.quantization.scale) if t.quantization else [] for t in model.graph.tensors
    ]
    assert graph["memory"]["peak"] > 0
    constants = {t.buffer: len(model.buffers[t.buffer]) for t in model.graph.tensors}
    assert graph["memory"]["constants"] == sum(constants.values())


def test_run_writes_the_outputs(refq, tmp_path: Path) -> None:
    model = refquant.load(data_file(INT8))
    (entry,) = model.graph.inputs
    shape = model.graph.tensors[entry].shape
    x = np.random.default_rng(0).integers(-128, 128, (7, *shape[1:])).astype(np.int8)
    np.save(tmp_path / "x.npy", x)
    result = refq("run", data_file(INT8), "-i", tmp_path / "x.npy", "-o", tmp_path / "y.npz")
    assert result.code == 0
    with np.load(tmp_path / "y.npz", allow_pickle=False) as outputs:
        (name,) = outputs.files
        np.testing.assert_array_equal(outputs[name], refquant.run(model, x)[0])
    printed = json.loads(refq("run", data_file(INT8), "-i", tmp_path / "x.npy", "--json").out)
    assert printed["outputs"][0]["values"] == refquant.run(model, x)[0].tolist()


def test_calibrate_then_quantize(refq, scans: Path, tmp_path: Path) -> None:
    ranges, quantized = tmp_path / "ranges.json", tmp_path / "int8.tflite"
    assert refq("calibrate", data_file(FLOAT), "-s", scans, "-o", ranges).code == 0
    assert refq("quantize", data_file(FLOAT), "-c", ranges, "-o", quantized, "--input-type", "int8").code == 0
    direct = tmp_path / "direct.tflite"
    assert refq("quantize", data_file(FLOAT), "-s", scans, "-o", direct, "--input-type", "int8").code == 0
    assert quantized.read_bytes() == direct.read_bytes()
    assert refquant.load(quantized).graph.tensors[refquant.load(quantized).graph.inputs[0]].type == "INT8"


def test_calibrate_with_an_estimator(refq, scans: Path, tmp_path: Path) -> None:
    ranges, model = tmp_path / "ranges.json", data_file(FLOAT)
    options = ("-s", scans, "-o", ranges, "--estimator", "percentile", "--percentile", "99.5", "--json")
    printed = json.loads(refq("calibrate", model, *options).out)
    assert (printed["estimator"], printed["percentile"]) == ("percentile", 99.5)
    calibration = refquant.Calibration.load(ranges)
    assert {name: list(pair) for name, pair in calibration.ranges.items()} == printed["ranges"]
    assert (calibration.estimator, calibration.percentile) == ("percentile", 99.5)
    assert refq("quantize", model, "-c", ranges, "-o", tmp_path / "int8.tflite").code == 0
    bad(refq("calibrate", model, "-s", scans, "-o", ranges, "--estimator", "best"), "must be one of minmax, percentile")
    bad(refq("calibrate", model, "-s", scans, "-o", ranges, "--percentile", "99"), "the estimator 'minmax' has none")


def test_quantize_with_ranges_left_in_a_file(refq, tmp_path: Path) -> None:
    output = tmp_path / "int8.tflite"
    calibrated = data_file("golden/models/digits_cnn_calibrated.tflite")
    result = refq("quantize", data_file(FLOAT), "--ranges-from", calibrated, "-o", output, "--json")
    assert result.code == 0
    assert json.loads(result.out)["bytes"]["quantized"] == output.stat().st_size
    again = tmp_path / "again.tflite"
    assert refq("quantize", data_file(FLOAT), "-c", calibrated, "-o", again).code == 0
    assert again.read_bytes() == output.read_bytes()


def test_every_mode_has_a_line_of_help_and_runs(refq, scans: Path, tmp_path: Path) -> None:
    told = [line.split() for line in refq("quantize", "--help").out.splitlines()]
    aware = Path(__file__).resolve().parents[1] / "golden" / "models" / "mnist_qat_pairs.tflite"
    for (mode, quantizer), route in ROUTES.items():
        assert sum(words[:1] == [mode] for words in told) == 1, mode
        model = aware if mode == "qat" else data_file(FLOAT)
        ranges = ["-s", scans] if route.calibrated else []
        output = tmp_path / f"{mode}_{quantizer}.tflite"
        result = refq("quantize", model, *ranges, "-o", output, "--mode", mode, "--quantizer", quantizer)
        assert result.code == 0
        assert ("constants: " in result.out, "left in float" in result.out) == (route.in_float, False)
        assert refquant.load(output).graph.operators
    for mode in ("int8", "int16x8"):
        result = refq("quantize", data_file(FLOAT), "-o", tmp_path / "q.tflite", "--mode", mode)
        bad(result, "give one of --samples, --calibration, --ranges-from")
    bad(refq("quantize", data_file(FLOAT), "-o", tmp_path / "q.tflite", "--mode", "int3"), "mode='int3': not built")
    for mode in ("float16", "dynamic_range"):
        aware_asked = refq("quantize", aware, "--mode", mode, "-o", tmp_path / "q.tflite")
        bad(aware_asked, "…' is quantized already; mode 'qat' takes a model of quantization-aware training")
    both = refq("quantize", data_file(FLOAT), "-s", scans, "-c", scans, "-o", tmp_path / "q.tflite")
    bad(both, "give one of --samples")


def test_bad_files_are_one_line(refq, scans: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.tflite").touch()
    (tmp_path / "noise.tflite").write_bytes(np.random.default_rng(0).bytes(1000))
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "objects.npz", np.array([{}], object), allow_pickle=True)
    np.savez(tmp_path / "uneven.npz", a=np.zeros((2, 1)), b=np.zeros((3, 1)))
    model = data_file(FLOAT)
    bad(refq("inspect", tmp_path / "none.tflite"), "there is no such file")
    bad(refq("inspect", tmp_path), "this is a directory")
    bad(refq("inspect", tmp_path / "empty.tflite"), "the file is empty")
    bad(refq("inspect", tmp_path / "noise.tflite"), "refquant: ")
    bad(refq("run", model, "-i", tmp_path / "none.npz"), "there is no such file")
    bad(refq("run", model, "-i", tmp_path), "this is a directory")
    bad(refq("run", model, "-i", tmp_path / "text.npz"), "not a readable .npy or .npz file")
    bad(refq("run", model, "-i", tmp_path / "objects.npz"), "not a readable .npy or .npz file")
    bad(refq("run", model, "-i", tmp_path / "uneven.npz"), "no input is named")
    bad(refq("calibrate", model, "-s", tmp_path / "uneven.npz", "-o", tmp_path / "r.json"), "dim 0 must count")
    bad(refq("quantize", model, "-o", tmp_path / "q.tflite"), "give one of --samples, --calibration, --ranges-from")
    bad(refq("quantize", model, "-s", scans, "-o", tmp_path / "no" / "q.tflite"), "there is no directory")
    bad(refq("quantize", model, "-s", scans, "-o", tmp_path / "q.tflite", "--mode", "int3"), "int3")
    bad(refq("quantize", model, "-s", scans, "-o", tmp_path / "q.tflite", "--input-type", "int4"), "int4")
    assert not (tmp_path / "r.json").exists()
    assert not (tmp_path / "q.tflite").exists()


def test_wrong_arrays_are_one_line(refq, tmp_path: Path) -> None:
    np.save(tmp_path / "shape.npy", np.zeros((1, 9, 8), np.int8))
    np.save(tmp_path / "nan.npy", np.full((1, 8, 8), np.nan, np.float32))
    bad(refq("run", data_file(INT8), "-i", tmp_path / "shape.npy"), "but the array has shape (1, 9, 8)")
    bad(refq("run", data_file(INT8), "-i", tmp_path / "nan.npy"), "takes int8")
    floatio = data_file("golden/models/digits_cnn_int8_floatio.tflite")
    bad(refq("run", floatio, "-i", tmp_path / "nan.npy"), "NaN")


def test_a_model_with_control_flow_is_one_line(refq, tmp_path: Path) -> None:
    tensors = (Tensor("x", "BOOL", (1,)), Tensor("y", "INT8", (1,)))
    body = Graph(tensors, (), (0,), (0,), "body")
    main = Graph(
        tensors,
        (Operator("WHILE", (0,), (1,), options={"cond_subgraph_index": 1, "body_subgraph_index": 1}),),
        (0,),
        (1,),
    )
    refquant.save(Model((main, body), (b"",)), tmp_path / "loop.tflite")
    np.save(tmp_path / "x.npy", np.array([True]))
    bad(refq("run", tmp_path / "loop.tflite", "-i", tmp_path / "x.npy"), "subgraph 0, operator 0 (WHILE)")
    assert refq("inspect", tmp_path / "loop.tflite").code == 0


def test_failed_writes_leave_what_was_there(refq, tmp_path: Path) -> None:
    target = tmp_path / "out.npz"
    target.write_bytes(b"before")
    np.save(tmp_path / "x.npy", np.zeros((1, 2), np.int8))
    model = one_op("RELU", [T((1, 4), scale=1.0)], [T((1, 4), scale=1.0)])
    refquant.save(model, tmp_path / "m.tflite")
    bad(refq("run", tmp_path / "m.tflite", "-i", tmp_path / "x.npy", "-o", target), "has shape")
    assert target.read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.tflite", "out.npz", "x.npy"]


def test_an_input_is_never_overwritten(refq, scans: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.tflite"
    copy.write_bytes(data_file(FLOAT).read_bytes())
    bad(refq("quantize", copy, "-s", scans, "-o", copy), "is an input of this command")
    assert copy.read_bytes() == data_file(FLOAT).read_bytes()


def test_arrays_with_broken_bytes_are_one_line(refq, tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", np.zeros((1, 8, 8), np.int8))
    data = bytearray((tmp_path / "x.npz").read_bytes())
    data[60:70] = b"\xff" * 10
    (tmp_path / "x.npz").write_bytes(data)
    bad(refq("run", data_file(INT8), "-i", tmp_path / "x.npz"), "not a readable .npy or .npz file")
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (%d,), }" % 10**30
    (tmp_path / "huge.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    bad(refq("run", data_file(INT8), "-i", tmp_path / "huge.npy"), "not a readable .npy or .npz file")


def test_diff_tells_by_its_exit_code(refq) -> None:
    assert refq("diff", data_file(INT8), data_file(INT8)).code == 0
    other = refq("diff", data_file(INT8), data_file("golden/models/digits_cnn_int8_floatio.tflite"), "--json")
    assert other.code == 1
    assert json.loads(other.out)["equal"] is False


def test_names_cannot_steer_the_terminal(refq, tmp_path: Path) -> None:
    model = one_op("ABS", [T((1,), "INT32", name="\x1b[31mred")], [T((1,), "INT32")])
    refquant.save(model, tmp_path / "m.tflite")
    assert "\x1b" not in refq("inspect", tmp_path / "m.tflite").out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_output_that_cannot_be_written_is_one_line() -> None:
    command = [sys.executable, "-m", "refquant", "inspect", str(data_file(INT8))]
    with open("/dev/full", "w") as full:
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def test_a_reader_that_leaves_does_not_change_the_verdict() -> None:
    command = f"'{sys.executable}' -m refquant demo | head -1; exit ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert result.returncode == 0
    assert "Traceback" not in result.stderr


def test_usage_errors_are_one_line(refq, tmp_path: Path) -> None:
    model = data_file(INT8)
    bad(refq("inspect"), "Missing argument 'MODEL'; see ")
    bad(refq("run", model, "--output"), "--output")
    bad(refq("run", model, "--colour"), "No such option: --colour; see ")
    bad(refq("nonsense"), "No such command 'nonsense'; see ")
    bad(refq("calibrate", model, "-s", "x.npy", "-o", tmp_path / "r.json", "--jobs", "many"), "--jobs")
    assert refq("run", model).code == 2
    assert refq("--help").code == 0
    alone = refq()
    assert (alone.code, alone.out) == (2, "")
    assert "Commands:" in alone.err


CHILDREN = Path(f"/proc/self/task/{os.getpid()}/children")


@pytest.mark.skipif(not CHILDREN.exists(), reason="there is no list of children here")
def test_an_interrupt_is_one_line(tmp_path: Path) -> None:
    """Ctrl-C goes to the processes of --jobs, too, from the moment they start."""
    np.save(tmp_path / "x.npy", np.zeros((300_000, 8, 8), np.float32))
    command = [sys.executable, "-m", "refquant", "calibrate", data_file(FLOAT), "-s", tmp_path / "x.npy", "--jobs", "2"]
    running = subprocess.Popen(
        [*command, "-o", tmp_path / "r.json"], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
    try:
        while running.poll() is None and len(children.read_text().split()) < 2:  # a worker, and what tracks resources
            time.sleep(0.01)
        time.sleep(0.5)
        os.killpg(running.pid, signal.SIGINT)
        _, told = running.communicate(timeout=60)
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
    assert (running.returncode, told) == (2, "refquant: interrupted\n")
    assert not (tmp_path / "r.json").exists()


def test_demo_holds(refq) -> None:
    result = refq("demo", "--json")
    report = json.loads(result.out)
    assert result.code == 0
    assert report["equal"] is True
