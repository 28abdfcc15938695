"""golden/manifest.json: who made each golden file, with which versions on which processor, its licence and its hash."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parent.parent
MANIFEST = "golden/manifest.json"
PACKAGES = ("tensorflow", "keras", "scikit-learn", "ai-edge-litert", "numpy", "flatbuffers")

DIGITS_SOURCE = (
    "E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits (test set), UCI Machine Learning Repository, "
    "1998, https://doi.org/10.24432/C50P49, as scikit-learn's load_digits gives it"
)
DIGITS_LICENCE = "CC BY 4.0"
OWN_LICENCE = "Apache-2.0"


@dataclass(frozen=True, slots=True)
class Made:
    """One file that a maker wrote. `path` is relative to the repository, with forward slashes."""

    path: str
    what: str
    source: str
    licence: str = OWN_LICENCE


def processor_features() -> list[str]:
    """What the processor can do beyond its architecture's baseline, as NumPy found it."""
    import numpy._core._multiarray_umath as umath  # NumPy prints this list in show_runtime, but does not return it

    return [name for name, available in umath.__cpu_features__.items() if available]


def circumstances(packages: tuple[str, ...] = PACKAGES) -> dict[str, Any]:
    """The versions and the processor of this process."""
    versions = {"python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "versions": versions,
        "processor": {"machine": platform.machine(), "features": processor_features()},
    }


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_manifest(root: Path) -> dict[str, Any]:
    """The manifest under `root`; an empty one if there is none yet."""
    path = root / MANIFEST
    return json.loads(path.read_text()) if path.exists() else {"makers": {}, "files": {}}


def record(root: Path, maker: str, command: str, files: list[Made], packages: tuple[str, ...] = PACKAGES) -> None:
    """Puts a maker and the files it just wrote into the manifest, in place of all that it made before.

    Files it made before and did not make again are deleted.
    """
    manifest = read_manifest(root)
    manifest["makers"][maker] = {"command": command, **circumstances(packages)}
    made = {file.path for file in files}
    for path, entry in list(manifest["files"].items()):
        if entry["maker"] == maker:
            del manifest["files"][path]
            if path not in made:
                (root / path).unlink(missing_ok=True)
    for file in files:
        path = root / file.path
        manifest["files"][file.path] = {
            "maker": maker,
            "what": file.what,
            "source": file.source,
            "licence": file.licence,
            "bytes": path.stat().st_size,
            "sha256": sha256(path),
        }
    manifest["makers"] = dict(sorted(manifest["makers"].items()))
    manifest["files"] = dict(sorted(manifest["files"].items()))
    write_json(root / MANIFEST, manifest)


def write_json(path: Path, value: Any) -> None:
    """Indented JSON with a final newline, written whole or not at all."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Text, written whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text)
    temporary.replace(path)


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """A compressed .npz whose bytes depend on nothing but the arrays and their order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)
