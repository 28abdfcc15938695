"""Many random one-operator models per check against LiteRT's reference kernels: `python tools/sweep.py`.

The same generators as the test suite's (tests/cases), with another seed and more models: at least 200 for each kernel
(op and type; constant weights per tensor and per channel) that a generator meets.
Needs `pip install -e '.[test]'`.
Exit code 1 if any element differs or a kernel of the table has fewer models. `--write` keeps the counts as
golden/sweep.json; with `--missing` only the checks that are not there yet are carried out and added.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from golden_manifest import REPOSITORY, Made, circumstances, record, write_json

sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]

SWEEP = "golden/sweep.json"
OF_EACH_KERNEL = 200
PACKAGES = ("ai-edge-litert", "numpy", "flatbuffers")


@dataclass(frozen=True, slots=True)
class Row:
    """What one check gave. `fault`: the first difference, or why the check could not be carried out.

    `kernels`: the kernels that the models meet -> how many models.
    """

    check: str
    models: int
    elements: int
    differing: int
    fault: str = ""
    kernels: dict[str, int] = field(default_factory=dict)


def run_check(check: str, models: int, seed: int) -> Row:
    """One check with so many models that the runtime accepts."""
    from test_single_ops import run_op

    try:
        total = run_op(check, models, seed, min(OF_EACH_KERNEL, models))
    except Exception as error:
        return Row(check, 0, 0, 0, f"{type(error).__name__}: {error}")
    kernels = dict(sorted(total.kernels.items()))
    return Row(check, total.models, total.elements, total.differing, total.fault, kernels)


def sweep(checks: list[str], models: int, seed: int, jobs: int) -> Iterator[Row]:
    """Rows in the order in which they are done."""
    if jobs == 1:
        yield from (run_check(check, models, seed) for check in checks)
        return
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        for future in as_completed([pool.submit(run_check, check, models, seed) for check in checks]):
            yield future.result()


def table(rows: list[Row]) -> Table:
    """The rows and their sum for people."""
    shown = Table("check", "models", "elements", "differing", "first difference")
    for column in shown.columns[1:4]:
        column.justify = "right"
    for row in rows:
        shown.add_row(row.check, f"{row.models:,}", f"{row.elements:,}", f"{row.differing:,}", row.fault)
    shown.add_section()
    sums = [sum(getattr(row, name) for row in rows) for name in ("models", "elements", "differing")]
    shown.add_row(f"all {len(rows)}", *(f"{value:,}" for value in sums), "")
    return shown


def conditions(models: int, seed: int) -> dict[str, Any]:
    """What must be the same for counts to stand beside each other."""
    what = "random one-operator models of tests/cases: tflite_ref against LiteRT's BUILTIN_REF, bit for bit"
    return {"what": what, **circumstances(PACKAGES), "models_per_check": models, "seed": seed}


def kept(models: int, seed: int) -> dict[str, Any]:
    """The checks of golden/sweep.json that count their kernels; none if it was made under other conditions."""
    path = REPOSITORY / SWEEP
    evidence = json.loads(path.read_text()) if path.exists() else {"checks": {}}
    checks: dict[str, Any] = evidence.pop("checks")
    same = evidence == conditions(models, seed)
    return {check: counts for check, counts in checks.items() if same and "kernels" in counts}


def thin(checks: Mapping[str, Any]) -> list[str]:
    """One line for each kernel of the table that fewer than OF_EACH_KERNEL models meet."""
    from cases.coverage import kernels_of
    from refquant.kernels.table import KERNELS

    met: Counter[str] = Counter()
    for counts in checks.values():
        met.update(counts["kernels"])
    wanted = [kernel for kernels in kernels_of(KERNELS).values() for kernel in kernels]
    return [f"{kernel}: {met[kernel]} models" for kernel in wanted if met[kernel] < OF_EACH_KERNEL]


def counted(rows: list[Row]) -> dict[str, Any]:
    """The rows as golden/sweep.json holds them."""
    return {
        row.check: {key: getattr(row, key) for key in ("models", "elements", "differing", "kernels")} for row in rows
    }


def write(checks: Mapping[str, Any], models: int, seed: int) -> None:
    """golden/sweep.json, with what it is to keep, and its entry in the manifest."""
    write_json(REPOSITORY / SWEEP, {**conditions(models, seed), "checks": dict(sorted(checks.items()))})
    command = f"python tools/sweep.py --models {models} --seed {seed} --write"
    made = Made(SWEEP, "how many elements of how many random one-operator models were compared", "counted by this tool")
    record(REPOSITORY, "sweep", command, [made], PACKAGES)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=2000, help="models per check (default 2000)")
    parser.add_argument("--seed", type=int, default=1, help="default 1; the test suite has 0")
    parser.add_argument("--only", default="", help="only the checks whose name contains this text")
    parser.add_argument("--missing", action="store_true", help=f"only the checks that {SWEEP} has not")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--write", action="store_true", help=f"keep the counts in {SWEEP}")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    if arguments.write and arguments.only and not arguments.missing:
        parser.error("--write keeps a whole sweep; leave out --only, or add --missing")
    from cases import CASES

    old = kept(arguments.models, arguments.seed) if arguments.missing else {}
    old = {name: counts for name, counts in old.items() if name in CASES}
    checks = sorted(name for name in CASES if arguments.only in name and name not in old)
    if not checks:
        parser.error(f"no check is left whose name contains '{arguments.only}'")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    rows = []
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("checks", total=len(checks))
        for row in sweep(checks, arguments.models, arguments.seed, arguments.jobs):
            rows.append(row)
            progress.advance(task)
            if row.fault:
                progress.console.print(f"{row.check}: {row.fault}", markup=False)
    rows.sort(key=lambda row: row.check)
    print(json.dumps([asdict(row) for row in rows], indent=1)) if arguments.json else Console(width=140).print(
        table(rows)
    )
    done = {**old, **counted(rows)}
    few = thin(done) if set(done) >= set(CASES) else []
    print("".join(f"too few: {line}\n" for line in few), end="", file=sys.stderr)
    failed = bool(few) or any(row.fault or row.differing for row in rows)
    if arguments.write and failed:
        print("not written: not every check is equal, or not every kernel is met", file=sys.stderr)
    elif arguments.write:
        write(done, arguments.models, arguments.seed)
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
