"""The front page says what is so: its tables come from golden/, its commands exist, its example runs."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from refquant import cli
from refquant.errata import CONVERTER_ERRATA, ERRATA
from refquant.quantizer.quantize import MODES

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


def test_every_mode_has_a_row_and_a_command() -> None:
    section = README.split("## Every mode")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert set(rows) == set(MODES)
    commands = "".join(blocks("sh"))
    assert [mode for mode in rows if mode != "int8" and f"--mode {mode}" not in commands] == []


@pytest.mark.parametrize("name", ["demo", "tests"])
def test_the_commands_that_ci_runs_stand_there_once(name: str) -> None:
    assert len(re.findall(rf"^pip install .*  # {name}$", README, re.MULTILINE)) == 1


def test_the_examples_run_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every block behind the one that installs, in the order of the page; command lines in this process."""
    for name in ("golden", "refquant"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for language, block in re.findall(r"```(sh|python)\n(.*?)```", README, re.DOTALL)[1:]:
        if language == "python":
            exec(block, names)
            if "refquant.save(" in block:
                Path("model_int8.tflite").unlink()  # a command line writes it again
        else:
            for line in block.splitlines():
                _run_line(line, monkeypatch)
    assert len(names["int8_outputs"][0]) == 1797  # type: ignore[arg-type, index]
    for written in ("model_int8.tflite", "compare.html", "op3_expected.npz"):
        assert Path(written).exists(), written


def _run_line(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(line, comments=True)
    if words[0] != "refquant":
        subprocess.run([sys.executable, *words[1:]] if words[0] == "python" else words, check=True)
        return
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    differs = words[1] in ("diff", "compare")  # other samples, other scales; other runtimes
    assert (ended.value.code or 0) == int(differs), line


def test_errata_are_told_apart() -> None:
    every = (*ERRATA, *CONVERTER_ERRATA)
    assert len({erratum.key for erratum in every}) == len(every)
    assert {erratum.treatment for erratum in ERRATA} == {"reproduced", "refused", "avoided"}
    assert {erratum.runtime for erratum in CONVERTER_ERRATA} == {"converter", "converter's old quantizer"}
    for erratum in every:
        assert erratum.links, erratum.key
        assert erratum.what.endswith("."), erratum.key
