"""golden/errata: every tiny model shows its erratum, and the described runtimes do with it what the errata say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crosscheck import differing
from errata_replay import as_array
from refquant.errata import CONVERTER_ERRATA, ERRATA, Erratum, errata_for
from refquant.errors import RefquantError
from refquant.model import read_model
from refquant.program import Value, execute, prepare
from refquant.runtimes import DESCRIBED, RUNTIMES, runtime_named

FOLDER = Path(__file__).resolve().parents[1] / "golden" / "errata"
ENTRIES: Mapping[str, Mapping[str, Any]] = json.loads((FOLDER / "answers.json").read_text())
BY_KEY: Mapping[str, Erratum] = {erratum.key: erratum for erratum in ERRATA}

Runs = list[list[np.ndarray]]


def described(key: str, runtime: str) -> Runs | None:
    """What a described runtime gives for each sample; None if it refuses the model or a sample."""
    entry = ENTRIES[key]
    try:
        program = prepare(read_model((FOLDER / f"{key}.tflite").read_bytes()), runtime_named(runtime))
        return [run_sample(program, sample, entry["read"]) for sample in entry["samples"]]
    except RefquantError:
        return None


def run_sample(program: Any, sample: list[Any], read: list[int]) -> list[np.ndarray]:
    inputs = dict(zip(program.graph.inputs, map(as_array, sample), strict=True))
    kept: dict[int, Value] = {}
    execute(program, {index: Value(array) for index, array in inputs.items()}, 1, kept.__setitem__)
    return [kept[index].array for index in read or program.graph.outputs]


def answered(key: str, real: str) -> Runs | None:
    """What a real runtime gave for each sample; None if it refused the model or crashed."""
    answer = ENTRIES[key]["answers"][real]
    return None if isinstance(answer, str) else [[as_array(tensor) for tensor in run] for run in answer]


def sound(key: str) -> Runs | None:
    """The answer of a runtime without the fault, or the one by definition."""
    entry = ENTRIES[key]
    if entry["right"]:
        return [[as_array(tensor) for tensor in run] for run in entry["right"]]
    return answered(key, entry["sound"]) if entry["sound"] in entry["answers"] else described(key, entry["sound"])


def equal(a: Runs | None, b: Runs | None) -> bool:
    if a is None or b is None:
        return a is b
    pairs = [(x, y) for one, other in zip(a, b, strict=True) for x, y in zip(one, other, strict=True)]
    return all(x.dtype == y.dtype and x.shape == y.shape and not differing(x, y).any() for x, y in pairs)


@pytest.mark.parametrize("key", ENTRIES)
def test_the_model_shows_the_erratum(key: str) -> None:
    entry = ENTRIES[key]
    assert sound(key) is not None or entry["answers"][entry["sound"]].startswith("refused")
    assert not equal(answered(key, entry["faulty"]), sound(key))
    erratum = BY_KEY[key]
    assert DESCRIBED.get(entry["faulty"], "xnnpack") in erratum.runtime.split(", ")
    assert erratum.mended == ("LiteRT 2.3.0" if entry["faulty"] == "tensorflow:default" else "")


@pytest.mark.parametrize("real", DESCRIBED)
@pytest.mark.parametrize("key", ENTRIES)
def test_the_described_runtime_does_what_the_errata_say(key: str, real: str) -> None:
    """The recorded answer; an error where the real one refuses or crashes, and for what is called refused."""
    got, want = described(key, DESCRIBED[real]), answered(key, real)
    if got is None:
        assert want is None or real != ENTRIES[key]["faulty"] or BY_KEY[key].treatment == "refused"
    elif BY_KEY[key].treatment == "avoided" and DESCRIBED[real] in BY_KEY[key].runtime.split(", "):
        assert equal(got, sound(key))
    elif real not in ENTRIES[key]["unstable"] and (want is not None or real == ENTRIES[key]["faulty"]):
        assert equal(got, want)


def test_every_erratum_of_the_other_runtimes_has_a_model() -> None:
    reference = [erratum.key for erratum in ERRATA if erratum.runtime == "tflite_ref"]
    assert {erratum.key for erratum in ERRATA} - {*reference, *ENTRIES} == set()
    assert set(ENTRIES) <= set(BY_KEY)
    assert {path.stem for path in FOLDER.glob("*.tflite")} == set(ENTRIES)


def test_runtimes_are_named_as_they_are_described() -> None:
    assert {name for erratum in ERRATA for name in erratum.runtime.split(", ")} <= set(RUNTIMES)


def test_what_is_found_for_a_difference() -> None:
    def keys(*asked: Any) -> list[str]:
        return [erratum.key for erratum in errata_for(*asked)]

    assert keys("SUM", ["INT8"], ["litert:reference", "xnnpack"]) == ["sum-int8-read-as-uint8"]
    assert "sum-int8-read-as-uint8" not in keys("SUM", ["INT8"], ["xnnpack", "tflite_opt"])
    assert keys("BATCH_MATMUL", ["INT8"], ["xnnpack"]) == []  # mended
    assert "hybrid-minus-128" in keys("FULLY_CONNECTED", ["FLOAT32xINT8"], ["tflite_ref", "xnnpack"])
    assert "half-way-values-upwards" in keys("FULLY_CONNECTED", ["INT16xINT8"], ["tflite_opt"])
    assert "half-way-values-upwards" not in keys("FULLY_CONNECTED", ["FLOAT32xINT8"], ["tflite_opt"])
    assert keys("RESHAPE", ["INT32"], ["tflite_opt"]) == []
    assert "while-handed-on" in keys("WHILE", ["INT32"], ["tflite_ref"])  # of all types
    assert not {erratum.key for erratum in CONVERTER_ERRATA} & set(keys("SUM", ["INT8"], RUNTIMES))
