"""Makes golden/ and the digits of the demo anew: `python tools/make_golden.py`, from TensorFlow and LiteRT alone.

Needs `pip install -e '.[test,tensorflow]'`. Every part runs in a fresh process with fixed seeds, so that a second run
on the same machine gives the same bytes; `--check` makes everything in a temporary folder and tells which files differ.

    digits    refquant/data/digits.npz, golden/digits.json   scikit-learn's digits and how they are split
    models    golden/models/*.tflite                         trained and converted by TensorFlow
    answers   golden/tensors/*.npz, golden/heldback/*        what LiteRT's reference kernels computed on them
    ops       golden/ops/*.npz                               one-operator models and what LiteRT answered
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from golden_answers import make_answers, make_ops
from golden_digits import make_digits, make_models
from golden_manifest import REPOSITORY, Made, read_manifest, record

sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]

PARTS: Mapping[str, Callable[[Path, Progress], list[Made]]] = {
    "digits": make_digits,
    "models": make_models,
    "answers": make_answers,
    "ops": make_ops,
}
PACKAGES: Mapping[str, tuple[str, ...]] = {
    "digits": ("scikit-learn", "numpy"),
    "models": ("tensorflow", "keras", "numpy"),
    "answers": ("ai-edge-litert", "numpy"),
    "ops": ("ai-edge-litert", "numpy", "flatbuffers"),
}


def make(part: str, root: Path) -> None:
    """Makes one part under `root` and records it in the manifest there."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        files = PARTS[part](root, progress)
    record(root, part, f"python tools/make_golden.py --only {part}", files, PACKAGES[part])


def make_all(root: Path) -> None:
    """Makes every part, each in a process of its own."""
    for part in PARTS:
        subprocess.run([sys.executable, __file__, "--only", part, "--root", str(root)], check=True)


def check() -> list[str]:
    """Makes everything in a temporary folder; the files whose bytes differ from those here."""
    with tempfile.TemporaryDirectory() as folder:
        make_all(Path(folder))
        new, old = read_manifest(Path(folder))["files"], read_manifest(REPOSITORY)["files"]
    ours = {path for path, entry in old.items() if entry["maker"] in PARTS}
    return sorted(
        path for path in ours | set(new) if new.get(path, {}).get("sha256") != old.get(path, {}).get("sha256")
    )


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(PARTS), help="make one part")
    parser.add_argument("--check", action="store_true", help="make all in a temporary folder and compare")
    parser.add_argument("--root", type=Path, default=REPOSITORY, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.check:
        differing = check()
        print("\n".join(f"differs: {path}" for path in differing) or "every file came out the same")
        return 1 if differing else 0
    if arguments.only:
        make(arguments.only, arguments.root)
    else:
        make_all(arguments.root)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
