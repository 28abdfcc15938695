"""The house: imports point one way, the core is light, and the tables are literal."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import refquant

PACKAGE = Path(refquant.__file__).parent

# Each room may import the rooms above it, and itself.
ROOMS = (
    "errors",
    "files",
    "model",
    "inspection",
    "arithmetic",
    "kernels",
    "runtimes",
    "errata",
    "program",
    "interpreter",
    "quantizer",
    "compare",
    "report",
    "__init__",
    "data",
    "evidence",
    "demo",
    "cli",
    "__main__",
)

CORE = {"numpy", "flatbuffers", "tflite"}
COMMAND_LINE = {"typer", "rich"}
CHILD = {  # imported where it is used: in a process of its own, or in the caller's, where the model lives
    "compare/real_child.py": {"ai_edge_litert", "tflite_micro"},
    "quantizer/tensorflow_child.py": {"tensorflow"},
    "report/figures.py": {"matplotlib"},
    "report/page.py": {"jinja2"},
    "quantizer/keras_ranges.py": {"tensorflow"},
}


def room_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imported_modules(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.append(node.module or "")
            if node.module == "refquant":
                names += [
                    f"refquant.{alias.name}"
                    for alias in node.names
                    if (PACKAGE / alias.name).exists() or (PACKAGE / f"{alias.name}.py").exists()
                ]
    return names


SOURCES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    own = ROOMS.index(room_of(path))
    for name in imported_modules(path):
        if name.split(".")[0] != "refquant":
            continue
        room = name.split(".")[1] if "." in name else "__init__"
        assert room in ROOMS, f"{path}: {name} is in no known room"
        assert ROOMS.index(room) <= own, f"{path}: {room_of(path)} may not import {name}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_foreign_imports_are_the_declared_ones(path: Path) -> None:
    allowed = CORE | (COMMAND_LINE if room_of(path) in ("cli", "demo") else set())
    allowed |= CHILD.get(path.relative_to(PACKAGE).as_posix(), set())
    foreign = {name.split(".")[0] for name in imported_modules(path)} - {"refquant"} - set(sys.stdlib_module_names)
    assert foreign <= allowed, f"{path} imports {sorted(foreign - allowed)}"


def test_import_is_light() -> None:
    code = "import sys, refquant; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {
        "typer",
        "rich",
        "click",
        "tensorflow",
        "ai_edge_litert",
        "sklearn",
        "pytest",
        "matplotlib",
        "jinja2",
    } & set(loaded)
    assert "numpy" in loaded


def test_public_names_exist_and_are_documented() -> None:
    for name in refquant.__all__:
        value = getattr(refquant, name)
        assert name == "__version__" or value.__doc__, name


def undocumented(body: list[ast.stmt]) -> list[str]:
    definitions = [node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    public = [node for node in definitions if not node.name.startswith("_")]
    inner = [name for node in public if isinstance(node, ast.ClassDef) for name in undocumented(node.body)]
    return [node.name for node in public if ast.get_docstring(node) is None] + inner


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_everything_public_has_a_docstring(path: Path) -> None:
    assert undocumented(ast.parse(path.read_text()).body) == []
