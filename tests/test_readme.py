"""The front page says what is so: its tables come from golden/, its commands exist, its example runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from refquant import cli
from refquant.data import data_file
from refquant.errata import CONVERTER_ERRATA, ERRATA

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_tables_are_those_of_golden() -> None:
    command = [sys.executable, str(ROOT / "tools" / "render_tables.py"), "--check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_command_exists() -> None:
    verbs = {command.name or command.callback.__name__ for command in cli.app.registered_commands}
    named = {verb for block in blocks("sh") for verb in re.findall(r"^refquant (\w+)", block, re.MULTILINE)}
    assert named
    assert named <= verbs


@pytest.mark.parametrize("name", ["demo", "tests"])
def test_the_commands_that_ci_runs_stand_there_once(name: str) -> None:
    assert len(re.findall(rf"^pip install .*  # {name}$", README, re.MULTILINE)) == 1


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = blocks("python")
    monkeypatch.chdir(tmp_path)
    Path("model.tflite").write_bytes(data_file("golden/models/digits_ds_float.tflite").read_bytes())
    Path("converter_int8.tflite").write_bytes(data_file("golden/models/digits_ds_int8_floatio.tflite").read_bytes())
    with np.load(data_file("digits.npz"), allow_pickle=False) as digits:
        images = digits["images"][:120, ..., np.newaxis].astype(np.float32) / np.float32(16)
    names: dict[str, object] = {"images": images}
    exec(example, names)
    assert len(names["int8_outputs"][0]) == 120  # type: ignore[index]
    assert Path("model_int8.tflite").exists()


def test_errata_are_told_apart() -> None:
    every = (*ERRATA, *CONVERTER_ERRATA)
    assert len({erratum.key for erratum in every}) == len(every)
    assert {erratum.treatment for erratum in ERRATA} == {"reproduced", "refused", "avoided"}
    assert {erratum.runtime for erratum in CONVERTER_ERRATA} == {"converter", "converter's old quantizer"}
    for erratum in every:
        assert erratum.links, erratum.key
        assert erratum.what.endswith("."), erratum.key
