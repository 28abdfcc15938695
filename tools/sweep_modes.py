"""Dynamic range and float16 against TensorFlow 2.21's converter: `python tools/sweep_modes.py [--graphs N] [--write]`.

The same comparison as the test suite's (tests/modes_check.py), of more: every model of tests/converter_modes.py in
every mode, eight application networks in four, and N random graphs in every mode. TensorFlow converts each model to
float, which refquant converts further, and to the mode: the files must be equal in every tensor, name, order, operator,
version and option; but for the number behind a name of a constant that has none of its own ("arith.constant2"), which
the float file does not always tell: files with another one are counted apart. Named models and graphs run in LiteRT and
in refquant, too.
Needs `pip install -e '.[tensorflow,test]'`.
Exit code 1 if anything differs. `--write` keeps the counts in golden/modes.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from golden_manifest import REPOSITORY, Made, circumstances, record, write_json

EVIDENCE = "golden/modes.json"
PACKAGES = ("tensorflow", "tf-keras", "ai-edge-litert", "numpy", "flatbuffers")
OF_NETWORKS = ("dynamic_range", "float16", "legacy dynamic_range", "legacy float16")
COLUMNS = ("models", "files", "tensors", "elements", "ran", "refused", "numbered_otherwise", "differing")
OUTPUTS_ONLY = ("mobilenet, traced",)  # too many tensors to look at each
# Where the old quantizer spoils a constant that two subgraphs share: "legacy-shared-by-subgraphs" of refquant.errata.
SPOILED = {
    "while of shared weights": ("legacy dynamic_range", "legacy dynamic_range per tensor", "legacy float16"),
    "lstms, traced": ("legacy float16",),
}

Task = tuple[str, str, list[int] | None]  # part, model, seed of a random graph


def tasks(graphs: int, seed: int) -> Iterator[Task]:
    """The work."""
    from converter_modes import MODELS
    from converter_networks import NETWORKS

    yield from (("networks" if name in NETWORKS else "models", name, None) for name in MODELS)
    yield from (("graphs", "random", [seed, number]) for number in range(graphs))


def counted(part: str, name: str, seed: list[int] | None) -> tuple[Counter[str], str]:
    """(what was compared, the first difference)."""
    from modes_check import ALL_MODES, conversions, fault, reads_beyond, run_faults
    from oracle import Crashed, Rejected

    modes = [mode for mode in (OF_NETWORKS if part == "networks" else ALL_MODES) if mode not in SPOILED.get(name, ())]
    try:
        answers = conversions(name, modes, seed)
    except (Rejected, Crashed):
        return Counter(refused=1), ""
    count: Counter[str] = Counter(models=1)
    faults = []
    for converted in answers:
        found = fault(converted)
        if found and not fault(converted, numbered=False):
            count["numbered_otherwise"] += 1
            found = ""
        if not found and part != "networks" and not reads_beyond(converted):
            found = run_faults(converted, np.random.default_rng(1), every_tensor=name not in OUTPUTS_ONLY)
            count["ran"] += 1
        tensors = [tensor for graph in converted.want.graphs for tensor in graph.tensors]
        constants = (converted.want.constant(tensor) for tensor in tensors)
        count.update(files=1, tensors=len(tensors), differing=bool(found))
        count["elements"] += sum(constant.size for constant in constants if constant is not None)
        faults += [f"{converted.mode}: {found}"] if found else []
    return count, "; ".join(faults)


def table(rows: dict[str, dict[str, int]]) -> Table:
    """One line a part."""
    shown = Table("part", *COLUMNS)
    for part, row in rows.items():
        shown.add_row(part, *(f"{row[column]:,}" for column in COLUMNS))
    return shown


def write(rows: dict[str, Any], graphs: int, seed: int) -> None:
    """golden/modes.json and its entry in the manifest."""
    what = "dynamic range and float16 files by refquant against TensorFlow's of the same models, in every respect"
    write_json(REPOSITORY / EVIDENCE, {"what": what, **circumstances(PACKAGES), "seed": seed, "parts": rows})
    command = f"python tools/sweep_modes.py --graphs {graphs} --seed {seed} --write"
    about = "how many dynamic range and float16 files were compared with the converter's"
    record(REPOSITORY, "sweep_modes", command, [Made(EVIDENCE, about, "counted by this tool")], PACKAGES)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", type=int, default=100, help="random graphs (default 100)")
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    parser.add_argument("--write", action="store_true", help=f"keep the counts in {EVIDENCE}")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]
    work = list(tasks(arguments.graphs, arguments.seed))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    found: dict[str, Counter[str]] = {}
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("models", total=len(work))
        for part, name, seed in work:
            progress.update(bar, description=name if seed is None else f"{name} {seed[-1]}")
            count, fault = counted(part, name, seed)
            found.setdefault(part, Counter()).update(count)
            progress.advance(bar)
            if fault:
                progress.console.print(f"{name} {seed or ''}: {fault}", markup=False)
    rows = {part: {column: count[column] for column in COLUMNS} for part, count in found.items()}
    print(json.dumps(rows, indent=1)) if arguments.json else Console(width=150).print(table(rows))
    failed = any(count["differing"] for count in found.values())
    if arguments.write and not failed:
        write(rows, arguments.graphs, arguments.seed)
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
