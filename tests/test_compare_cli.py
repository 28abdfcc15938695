"""`refquant diff` and `refquant audit`: short tables for people, whole JSON for machines, exit codes 0, 1, 2."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import refquant
from refquant import cli
from refquant.cli.comparing import SHOWN
from refquant.data import data_file
from test_compare_models import chain
from test_compare_rules import FILE, FLOAT, MODELS, RANGES, changed, golden, moved, operand, scaled

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """(exit code, stdout, stderr) of the command."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["refquant", *map(str, arguments)])
        with pytest.raises(SystemExit) as raised:
            cli.main()
        captured = capsys.readouterr()
        return int(raised.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[str, refquant.Model], Path]:
    def save(name: str, model: refquant.Model) -> Path:
        refquant.save(model, tmp_path / f"{name}.tflite")
        return tmp_path / f"{name}.tflite"

    return save


def file(network: str, form: str) -> Path:
    return data_file(f"golden/models/{network}_{form}.tflite")


def test_audit_of_the_converters_file(call: Call) -> None:
    code, out, err = call("audit", file("digits_ds", "float"), file("digits_ds", "int8_floatio"))
    assert (code, err) == (0, "")
    assert "the rules hold" in out
    assert "no ranges given" in out
    assert "weight scale" in out
    code, out, _ = call(
        "audit",
        file("digits_ds", "float"),
        file("digits_ds", "int8_floatio"),
        "-c",
        file("digits_ds", "calibrated"),
        "--all",
    )
    assert code == 0
    assert "no ranges given" not in out
    assert "calibrated range" in out
    assert "operator 9 (SOFTMAX) output 0" in out


def test_audit_of_a_broken_file(call: Call, saved) -> None:
    paths = saved("float", FLOAT), saved("broken", scaled("CONV_2D", 2))
    code, out, _ = call("audit", *paths)
    assert code == 1
    assert "rules are broken" in out
    assert "operator 3 (CONV_2D) input 2" in out
    code, out, _ = call("audit", *paths, "--json")
    record = json.loads(out)
    assert (code, record["holds"], record["format"]) == (1, False, "refquant audit")
    places = [place for place in record["places"] for f in place["findings"] if f["verdict"] == "breaks"]
    assert {place["slot"] for place in places} == {"input 2"}


def test_ranges_of_either_kind(call: Call, saved, tmp_path: Path) -> None:
    RANGES.save(tmp_path / "ranges.json")
    paths = saved("float", FLOAT), saved("file", FILE)
    assert call("audit", *paths, "--calibration", tmp_path / "ranges.json")[0] == 0
    wrong = saved("wrong", scaled("MUL", 0))
    assert call("audit", paths[0], wrong, "--calibration", tmp_path / "ranges.json")[0] == 1
    assert call("diff", paths[1], wrong, "--float", paths[0], "-c", tmp_path / "ranges.json")[0] == 1
    code, _, err = call("audit", *paths, "-c", paths[0])
    assert code == 2
    assert "no tensor of the model holds a range" in err
    code, _, err = call("diff", paths[1], wrong, "-c", tmp_path / "ranges.json")
    assert code == 2
    assert "need the float model, too" in err


def test_diff_says_which_rule_which_model_breaks(call: Call, saved) -> None:
    a, b, float_ = saved("a", FILE), saved("b", moved("CONV_2D", 1)), saved("float", FLOAT)
    code, out, _ = call("diff", a, b)
    assert code == 1
    assert "1 of 12 elements, largest step 1" in out
    assert "breaks" not in out
    code, out, _ = call("diff", a, b, "--float", float_)
    assert code == 1
    assert "b breaks 'weight data'" in out
    assert call("diff", a, a, "--float", float_)[0] == 0
    record = json.loads(call("diff", a, b, "--float", float_, "--json")[1])
    assert record["differences"][0]["rules"] == "b breaks 'weight data'"
    assert record["differences"][0]["broken"]["b"][0]["wrong"] == 1
    assert record["audits"]["a"]["holds"] is True


def test_long_lists_are_cut(call: Call, saved) -> None:
    ops = ["RELU", "ABS"] * 20
    a, b = saved("a", chain(*ops)), saved("b", chain(*ops, scale=2.0))
    _, out, _ = call("diff", a, b)
    assert f"… and {41 - SHOWN} more; --all" in out
    assert "operator 39 (ABS)" not in out
    _, out, _ = call("diff", a, b, "--all")
    assert "--all" not in out
    assert "operator 39 (ABS)" in out
    _, out, _ = call("diff", a, saved("c", chain("EXP")))
    assert "operators that only one model has: 41" in out
    assert f"… and {41 - SHOWN} more; --all" in out


def test_operators_that_stayed_float_hide_their_slots(call: Call) -> None:
    _, out, _ = call("diff", file("digits_cnn", "float"), file("digits_cnn", "int8"))
    assert "operator 4 (CONV_2D) stayed float in a; it is int8 in b" in out
    assert "not listed: " in out
    assert "type FLOAT32 -> INT8" in call("diff", file("digits_cnn", "float"), file("digits_cnn", "int8"), "--all")[1]


def test_bad_input_is_one_line(call: Call, tmp_path: Path) -> None:
    (tmp_path / "noise.tflite").write_bytes(np.random.default_rng(0).bytes(1000))
    good = file("digits_cnn", "int8"), file("digits_cnn", "float")
    for arguments, text in (
        (("audit", *good), "give the float model first"),
        (("audit", good[1], good[1]), "nothing to audit"),
        (("audit", good[1], tmp_path / "none.tflite"), "there is no such file"),
        (("audit", good[1], tmp_path / "noise.tflite"), "not the file identifier"),
        (("audit", good[1], good[0], "--arithmetic", "exact"), "must be one of"),
        (("audit", good[1], good[0], "-c", tmp_path / "none.json"), "there is no such file"),
        (("diff", good[0], good[0], "--float", good[0]), "give the float model first"),
    ):
        code, out, err = call(*arguments)
        assert (code, out) == (2, "")
        assert text in err
        assert len(err.strip().splitlines()) == 1


def test_names_cannot_steer_the_terminal(call: Call, saved) -> None:
    a = saved("a", changed(FILE, operand(FILE, "CONV_2D", 1), name="\x1b[31m[red]"))
    b = saved("b", changed(moved("CONV_2D", 1), operand(FILE, "CONV_2D", 1), name="\x1b[31m[red]"))
    for arguments in (("diff", a, b, "--float", saved("float", FLOAT)), ("audit", saved("float", FLOAT), b, "--all")):
        code, out, _ = call(*arguments)
        assert code == 1
        assert "\x1b" not in out
        assert "[red]" in out


def test_a_scale_one_step_off_in_the_converters_file(call: Call, saved) -> None:
    model = golden("digits_ds", "int8")
    tensor = model.graph.operators[0].inputs[1]
    scale = model.graph.tensors[tensor].quantization.scale
    near = changed(model, tensor, scale=(float(np.nextafter(np.float32(scale[0]), np.float32(1))), *scale[1:]))
    code, out, _ = call("diff", file("digits_ds", "int8"), saved("near", near), "--float", file("digits_ds", "float"))
    assert code == 1
    assert "b breaks 'weight scale'" in out


def test_the_example_of_the_front_page(call: Call) -> None:
    readme = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
    example = readme.split("$ refquant audit resnet8_float.tflite resnet8_int8.tflite\n")[1].split("```")[0]
    paths = [MODELS / "mlperf_tiny" / f"resnet8_{form}.tflite" for form in ("float", "int8")]
    if not all(path.is_file() for path in paths):
        pytest.skip(f"models missing: {paths} (set REFQUANT_MODELS)")
    code, out, _ = call("audit", *paths)
    assert code == 0
    assert out.startswith(example)
