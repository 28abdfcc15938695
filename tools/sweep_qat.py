"""Mode qat against TensorFlow 2.21's converter: `python tools/sweep_qat.py [--graphs N] [--write]`.

The same comparison as the test suite's (tests/qat_check.py), of more: three networks of tensorflow-model-optimization,
single questions with every type of inputs and outputs, and N random graphs with fake-quantization nodes. With the
ranges of the nodes every slot must be equal; from the file alone all but biases, whose scales may be off by an ulp,
rarely two, and which are counted. Needs `pip install -e '.[tensorflow,test]' tensorflow-model-optimization tf-keras`.
Exit code 1 if anything differs. `--write` keeps the counts in golden/qat.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from golden_manifest import REPOSITORY, Made, circumstances, record, write_json

EVIDENCE = "golden/qat.json"
PACKAGES = ("tensorflow", "tensorflow-model-optimization", "tf-keras", "ai-edge-litert", "numpy", "flatbuffers")
GRAPHS_PER_TASK = 10
SEEDS_PER_GRAPH = 2  # TensorFlow refuses fewer than every second graph
SEED = 1000  # the test suite's graphs are the first of these
COLUMNS = ("models", "slots", "elements", "ran", "outputs", "refused", "biases_off", "two_ulps", "differing")

Task = tuple[str, str, Callable[[], Counter[str]]]  # part, what of it, how it is counted


def tasks(graphs: int, seed: int) -> Iterator[Task]:
    """The work."""
    import qat_check

    for name in qat_check.NETWORKS:
        yield "networks", name, partial(qat_check.check_network, name)
    for name in qat_check.QUESTIONS:
        yield "questions", name, partial(qat_check.check_question, name)
    for start in range(0, graphs, GRAPHS_PER_TASK):
        first, number = seed + SEEDS_PER_GRAPH * start, min(GRAPHS_PER_TASK, graphs - start)
        yield "graphs", "random graphs", partial(qat_check.check_random_graphs, first, number)


def counted(how: Callable[[], Counter[str]]) -> tuple[Counter[str], str]:
    """(what was compared, what differs)."""
    try:
        return how(), ""
    except Exception as error:
        return Counter(differing=1), f"{type(error).__name__}: {error}"


def table(rows: dict[str, dict[str, dict[str, int]]]) -> Table:
    """One line a network and question, and one for all graphs."""
    shown = Table("part", "what", *COLUMNS)
    for part, entries in rows.items():
        for name, row in entries.items():
            shown.add_row(part, name, *(f"{row[column]:,}" for column in COLUMNS))
    return shown


def write(rows: dict[str, Any], graphs: int, seed: int) -> None:
    """golden/qat.json and its entry in the manifest."""
    what = "quantization-aware models by refquant against TensorFlow's converter: slots, versions, options, outputs"
    write_json(REPOSITORY / EVIDENCE, {"what": what, **circumstances(PACKAGES), "seed": seed, "parts": rows})
    command = f"python tools/sweep_qat.py --graphs {graphs} --seed {seed} --write"
    about = "how many quantization-aware models were compared with the converter's"
    record(REPOSITORY, "sweep_qat", command, [Made(EVIDENCE, about, "counted by this tool")], PACKAGES)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", type=int, default=50, help="random graphs (default 50)")
    parser.add_argument("--seed", type=int, default=SEED, help=f"default {SEED}")
    parser.add_argument("--write", action="store_true", help=f"keep the counts in {EVIDENCE}")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]
    work = list(tasks(arguments.graphs, arguments.seed))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    found: dict[tuple[str, str], Counter[str]] = {}
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("tasks", total=len(work))
        for part, name, how in work:
            count, fault = counted(how)
            found.setdefault((part, name), Counter()).update(count)
            progress.advance(bar)
            if fault:
                progress.console.print(f"{part}, {name}: {fault}", markup=False)
    rows: dict[str, dict[str, dict[str, int]]] = {}
    for (part, name), count in found.items():
        rows.setdefault(part, {})[name] = {column: count[column] for column in COLUMNS}
    print(json.dumps(rows, indent=1)) if arguments.json else Console(width=150).print(table(rows))
    failed = any(count["differing"] for count in found.values())
    if arguments.write and not failed:
        write(rows, arguments.graphs, arguments.seed)
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
