"""golden/: every file is the one its maker wrote, and refquant gives what TensorFlow and LiteRT gave, bit for bit."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import refquant
from cases import CASES
from cases.coverage import kernels_of
from crosscheck import differing
from refquant.data import data_file
from refquant.kernels.table import KERNELS
from refquant.program import run_all_tensors

REPOSITORY = Path(__file__).resolve().parent.parent
GOLDEN = REPOSITORY / "golden"
MANIFEST = json.loads((GOLDEN / "manifest.json").read_text())
MODELS_OF_EACH = 200  # random one-operator models of each op and type in golden/sweep.json
ANSWERED = sorted(path.stem for path in (GOLDEN / "tensors").glob("*.npz"))


def checks() -> list[str]:
    """Every "<family>/<check>" of golden/ops."""
    found = []
    for path in sorted((GOLDEN / "ops").glob("*.npz")):
        with np.load(path, allow_pickle=False) as arrays:
            found += sorted({f"{path.stem}/{name.split('/')[0]}" for name in arrays.files})
    return found


def assert_equal(got: np.ndarray, want: np.ndarray, where: str) -> None:
    assert (got.dtype, got.shape) == (want.dtype, want.shape), where
    bad = differing(got, want)
    assert not bad.any(), f"{where}: {int(bad.sum())} of {want.size} differ, first at {np.argwhere(bad)[0].tolist()}"


def test_no_file_is_unlisted_and_none_is_missing() -> None:
    found = {path.relative_to(REPOSITORY).as_posix() for path in GOLDEN.rglob("*") if path.is_file()}
    listed = {path for path in MANIFEST["files"] if path.startswith("golden/")}
    assert found - {"golden/manifest.json"} == listed


@pytest.mark.parametrize("path", sorted(MANIFEST["files"]))
def test_file_is_as_its_maker_wrote_it(path: str) -> None:
    entry = MANIFEST["files"][path]
    assert hashlib.sha256((REPOSITORY / path).read_bytes()).hexdigest() == entry["sha256"]
    assert entry["source"]
    assert entry["licence"]
    assert MANIFEST["makers"][entry["maker"]]["versions"]


def test_the_repository_stays_small() -> None:
    assert sum(entry["bytes"] for entry in MANIFEST["files"].values()) < 8_000_000


def test_golden_keeps_up_with_the_checks() -> None:
    kept = {check.split("/")[1] for check in checks()}
    said = " ".join(entry["what"] for entry in MANIFEST["files"].values())
    missing = {name for name in CASES if name not in kept and f"{name} is left out" not in said}
    assert not missing, "run python tools/make_golden.py --only ops"
    assert kept <= set(CASES), "run python tools/make_golden.py --only ops"
    sweep = json.loads((GOLDEN / "sweep.json").read_text())["checks"]
    assert set(sweep) == set(CASES), "run python tools/sweep.py --write"
    assert not any(counts["differing"] for counts in sweep.values())
    met = sum((Counter(counts["kernels"]) for counts in sweep.values()), Counter())
    few = {name: met[name] for names in kernels_of(KERNELS).values() for name in names if met[name] < MODELS_OF_EACH}
    assert not few, "run python tools/sweep.py --missing --write"


@pytest.mark.parametrize("name", ANSWERED)
def test_every_tensor_equals_litert(name: str) -> None:
    with np.load(GOLDEN / "tensors" / f"{name}.npz", allow_pickle=False) as arrays:
        inputs = arrays["input0"]
        expected = {int(key.removeprefix("tensor")): arrays[key] for key in arrays.files if key.startswith("tensor")}
    model = refquant.load(GOLDEN / "models" / f"{name}.tflite")
    singles = [run_all_tensors(model, array) for array in inputs]
    assert set(singles[0]) == set(expected)
    for index, want in expected.items():
        assert_equal(np.stack([single[index] for single in singles]), want, f"{name}, tensor {index}")
    batched = run_all_tensors(model, np.concatenate(inputs))
    for index, want in expected.items():
        assert_equal(batched[index].reshape(want.shape), want, f"{name}, tensor {index}, all inputs at once")


@pytest.mark.parametrize("name", ANSWERED)
def test_outputs_of_held_back_scans_equal_litert(name: str) -> None:
    with np.load(GOLDEN / "heldback" / f"{name}.npz", allow_pickle=False) as arrays:
        inputs, want = arrays["input0"], arrays["output0"]
    (got,) = refquant.run(GOLDEN / "models" / f"{name}.tflite", inputs)
    assert_equal(got, want, name)
    labels = np.load(data_file("digits.npz"), allow_pickle=False)["labels"][-len(want) :]
    correct = json.loads((GOLDEN / "heldback/accuracy.json").read_text())[name]["correct"]
    assert int((got.argmax(axis=1) == labels).sum()) == correct


def test_calibrated_models_compute_what_the_float_models_compute() -> None:
    inputs = np.load(GOLDEN / "heldback/digits_cnn_float.npz", allow_pickle=False)["input0"][:20]
    for network in ("digits_cnn", "digits_ds"):
        plain, calibrated = (
            refquant.load(GOLDEN / "models" / f"{network}_{form}.tflite") for form in ("float", "calibrated")
        )
        shape = (-1, *plain.graph.tensors[plain.graph.inputs[0]].shape[1:])
        (want,), (got,) = (refquant.run(model, inputs.reshape(shape)) for model in (plain, calibrated))
        assert_equal(got, want, network)


@pytest.mark.parametrize("check", checks())
def test_one_operator_models_equal_litert(check: str) -> None:
    family, name = check.split("/")
    with np.load(GOLDEN / "ops" / f"{family}.npz", allow_pickle=False) as arrays:
        cases: dict[str, dict[str, np.ndarray]] = {}
        for key in arrays.files:
            if key.startswith(f"{name}/"):
                cases.setdefault(key.split("/")[1], {})[key.split("/")[2]] = arrays[key]
    for number, parts in cases.items():
        interpreter = refquant.Interpreter(model_content=parts["model"].tobytes())
        interpreter.allocate_tensors()
        for sample in range(len(parts["output0"])):  # one after another: variables last
            for slot, detail in enumerate(interpreter.get_input_details()):
                interpreter.set_tensor(detail["index"], parts[f"input{slot}"][sample])
            interpreter.invoke()
            for slot, detail in enumerate(interpreter.get_output_details()):
                got = interpreter.get_tensor(detail["index"])
                assert_equal(got, parts[f"output{slot}"][sample], f"{name}, case {number}, sample {sample}")
