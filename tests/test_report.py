"""The report of a comparison: one sound page that needs nothing else, the same every time, whatever names there are."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import refquant
from models import T, one_op
from refquant import cli
from refquant.compare.differences import Difference
from refquant.compare.runs import RunComparison
from refquant.errors import InvalidInput
from refquant.model.graph import Model
from refquant.report import figures, page, render, write_report
from refquant.report.layers import _lanes, layers
from refquant.report.words import level, percent, shown, verdict
from refquant.runtimes import runtime_named

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "models"
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> $\\frac{1}{0}$ {{ 7*7 }} \0\x1b[31m\n"
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """Notes ids, links, tags, and whether every tag that is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attributes:
            self.attributes.add(name)
            self.ids += [value or ""] * (name == "id")
            self.links += [value or ""] * (name in ("href", "xlink:href"))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def sound(text: str) -> Page:
    """The page, once it is found to be whole and to need nothing else."""
    found = Page(text)
    assert len(set(found.ids)) == len(found.ids)
    inside = {link[1:] for link in found.links if link.startswith("#")}
    assert inside <= set(found.ids)
    assert all(link.startswith("https://") for link in found.links if not link.startswith("#"))
    assert not found.tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    assert not {name for name in found.attributes if name.startswith("on") or name == "src"}
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ET.fromstring(svg if "xmlns:xlink" in svg else svg.replace("<svg", '<svg xmlns:xlink="x"', 1))
    return found


def drawn(model: Model, count: int = 6) -> np.ndarray:
    tensor = model.graph.tensors[model.graph.inputs[0]]
    rng = np.random.default_rng(0)
    return rng.integers(-128, 128, (count, *tensor.shape[1:])).astype(np.int8)


@pytest.fixture(scope="module")
def comparison() -> RunComparison:
    model = refquant.load(GOLDEN / "digits_cnn_int8.tflite")
    return refquant.compare_runs(model, drawn(model), ["tflite_ref", "tflite_opt", "xnnpack"])


def test_the_page_is_sound_and_the_same_every_time(comparison: RunComparison) -> None:
    text = render(comparison)
    found = sound(text)
    assert text == render(comparison)
    assert len(text) < 500_000
    assert verdict(comparison) in " ".join(found.text.split())
    for row in comparison.operators:
        assert f"row-{row.operator}" in found.ids
        assert (f"op-{row.operator}" in found.ids) == any(run.differs for run in row.runs)
    for run in comparison.runtimes:
        assert run.name in found.text
        assert run.oracle in found.text


def test_a_user_s_settings_of_matplotlib_change_nothing(comparison: RunComparison) -> None:
    import matplotlib as mpl

    plain = figures.along_the_model(comparison)
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "path"}):
        assert figures.along_the_model(comparison) == plain
        assert mpl.rcParams["font.size"] == 30


def dense(rng: np.random.Generator, name: str = "") -> Model:
    """A FULLY_CONNECTED whose results lie near half-way values, so that the described runtimes part."""
    x, y = T((1, 16), "INT8", 0.5, 3, name=name), T((1, 40), "INT8", 2.0, -4, name=name and f"{name}y")
    weights = T(scale=0.25, data=rng.integers(-127, 128, (40, 16)).astype(np.int8))
    bias = T(scale=0.125, data=rng.integers(-99, 99, 40).astype(np.int32))
    options = {"fused_activation_function": "NONE", "weights_format": "DEFAULT", "keep_num_dims": False}
    return one_op("FULLY_CONNECTED", [x, weights, bias], [y], options, 4)


def test_the_worst_elements_are_accounted_for() -> None:
    model = dense(np.random.default_rng(0))
    found = refquant.compare_runs(model, drawn(model), ["tflite_ref", "tflite_opt"])
    (row,) = found.operators
    (worst_row, *_) = page.worst_elements(found, (row,)).values()
    section = page._section(row, worst_row)
    assert section.worst
    for worst in section.worst:
        assert worst.account is not None
        codes = dict(worst.account.roundings)
        told = dict(zip(section.roundings, worst.roundings, strict=True))
        assert told["float64 round, half away from zero"] == (worst.element.base, "base")
        assert told["upward rounding"] == (worst.element.value, "value")
        assert codes["float64 round, half away from zero"] == worst.element.base
        assert codes["upward rounding"] == worst.element.value
        assert worst.line is not None
        assert min(worst.line.base, worst.line.value) <= worst.line.exact <= max(worst.line.base, worst.line.value)
        assert str(worst.account.multiplier) in render(found)


def test_hostile_names_are_only_text() -> None:
    model = dense(np.random.default_rng(0), "x")
    tensors = tuple(replace(tensor, name=HOSTILE) for tensor in model.graph.tensors)
    model = replace(model.with_graph(replace(model.graph, tensors=tensors)), description=HOSTILE)
    wrong = replace(runtime_named("tflite_opt"), name=HOSTILE)
    found = refquant.compare_runs(model, drawn(model), ["tflite_ref", wrong])
    text = render(found, HOSTILE)
    sound(text)
    assert "alert(1)" in text
    assert "<script" not in text
    assert "49" not in re.findall(r"\{\{.*?\}\}", text)
    assert "\0" not in text
    assert "\x1b" not in text


def test_one_runtime_that_does_not_run_and_nothing_that_differs() -> None:
    model = dense(np.random.default_rng(0))
    same = replace(runtime_named("tflite_ref"), name="the same")
    refuses = replace(runtime_named("tflite_ref"), name="nothing built", kernels={})
    found = refquant.compare_runs(model, drawn(model), ["tflite_ref", same, refuses])
    text = sound(render(found)).text
    assert "nothing built did not run" in text
    assert "tflite_ref and the same give the same in every element of every operator" in text


def test_an_operator_names_its_errata_and_its_errors() -> None:
    axes = T(data=np.array([1], np.int32))
    model = one_op("SUM", [T((1, 9), scale=0.5), axes], [T((1, 1), scale=0.5)], {"keep_dims": True})
    kernels = runtime_named("tflite_ref").kernels
    plain = kernels["SUM"]["INT8"]
    wide = replace(plain, run=lambda params, arrays: (plain.run(params, arrays)[0].astype(np.int16),))
    wrong = replace(runtime_named("tflite_ref"), name="wide", kernels={**kernels, "SUM": {"INT8": wide}})
    found = refquant.compare_runs(model, drawn(model), ["tflite_ref", "tflite_opt", wrong])
    errata = {erratum.key: operators for erratum, operators in page._errata(found)}
    assert errata["sum-int8-read-as-uint8"] == (0,)
    text = sound(render(found)).text
    assert "every negative code counts 256 too much" in text
    assert "gives int16 (1, 1) in the place of int8 (1, 1)" in text


def test_a_histogram_in_a_cell_has_few_bars() -> None:
    assert page.spark(None) == page.spark(Difference(9)) == ()
    one, other = page.spark(Difference(9, 4, histogram=((-1, 1), (1, 3))))
    assert (one[3], other[3]) == (7, 14)  # log2 of 1 + 1 and of 3 + 1
    many = Difference(99, 99, histogram=tuple((step, 1) for step in range(1, 100)))
    assert len(page.spark(many)) <= page.MOST_SPARKS


def test_many_operators_are_told_short(comparison: RunComparison, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "MOST_SECTIONS", 1)
    differing = [row.operator for row in comparison.operators if any(run.differs for run in row.runs)]
    found = sound(render(comparison))
    assert [f"op-{number}" in found.ids for number in differing] == [True] + [False] * (len(differing) - 1)


def test_edges_that_pass_over_rows_do_not_meet(comparison: RunComparison) -> None:
    picture = layers(comparison)
    assert len(picture.nodes) == len(comparison.operators) + 2
    assert len(picture.cells) == 2 * 2 * len(comparison.operators)
    assert len(set(picture.edges)) == len(picture.edges)
    lanes = _lanes([(0, 3), (1, 5), (3, 6), (5, 7), (0, 7)])
    assert lanes == {(5, 7): 0, (0, 3): 0, (3, 6): 1, (1, 5): 2, (0, 7): 3}


def test_words() -> None:
    assert [percent(rate) for rate in (0.0004, 0.371, 0.9999, 1.0)] == ["<0.1 %", "37.1 %", "99.9 %", "100 %"]
    assert level(None) == 0
    assert [level(Difference(1000, differing)) for differing in (0, 1, 9, 10, 49, 50, 200, 499, 500)] == [
        *(0, 2, 2, 3, 3, 4, 5, 5, 6)
    ]
    assert shown("a\nb") == "a\N{REPLACEMENT CHARACTER}b"
    assert len(shown("x" * 999)) == 96


def test_a_missing_package_is_one_line(comparison: RunComparison, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("jinja2", "matplotlib"):
        with monkeypatch.context() as without:
            without.setitem(sys.modules, package, None)
            with pytest.raises(InvalidInput, match=rf"needs {package}, .* pip install 'refquant\[report\]'"):
                render(comparison)


def test_the_command_line(tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    model = dense(np.random.default_rng(0))
    refquant.save(model, tmp_path / "model.tflite")
    np.save(tmp_path / "x.npy", drawn(model))
    monkeypatch.chdir(tmp_path)

    def call(line: str) -> int:
        monkeypatch.setattr("sys.argv", ["refquant", *line.split()])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0)

    line = "compare model.tflite -i x.npy --runtimes tflite_ref,tflite_opt --report "
    assert call(line + "out.html") == 1
    sound((tmp_path / "out.html").read_text())
    capsys.readouterr()
    for target, text in (("model.tflite", "is an input of this command"), ("none/out.html", "there is no directory")):
        assert call(line + target) == 2
        assert text in capsys.readouterr().err
    with pytest.raises(InvalidInput, match="cannot be written"):
        write_report(refquant.compare_runs(model, drawn(model)), "/dev/full")
