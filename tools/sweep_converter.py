"""The quantizer against TensorFlow 2.21's: `python tools/sweep_converter.py [--graphs N] [--jobs J] [--write]`.

The same comparison as the test suite's (tests/converter_check.py), of all of it and of more: eight Keras application
networks and the public float models with every type of inputs and outputs and every granularity of weights; every form
of every operator; and N random graphs. Every slot, conversion, name and version, and what LiteRT makes of both files.
Needs `pip install -e '.[tensorflow,test]'`. Exit code 1 if anything differs. `--write` keeps the counts in
golden/converter.json beside those that are there: a sweep takes a quarter of an hour, and `--only` and `--of` take a
part of it at a time.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import fields
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from golden_manifest import REPOSITORY, Made, circumstances, record, write_json

sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]

EVIDENCE = "golden/converter.json"
PACKAGES = ("tensorflow", "keras", "ai-edge-litert", "numpy", "flatbuffers")
GRAPHS_PER_TASK = 50
CHAINS, OPTIONS = 6, 4  # drawn forms of an operator, and conversions of each form
PARTS = ("networks", "models", "operators", "graphs")
COLUMNS = ("models", "slots", "elements", "conversions", "differing", "drawn", "refused")

Task = tuple[str, str, int, int]  # part, what of it, first, how many


def tasks(parts: list[str], graphs: int) -> list[Task]:
    """The work, the long pieces first."""
    from converter_check import OPERATORS
    from converter_networks import NETWORKS
    from test_quantizer_oracle import REAL_MODELS

    names = {"networks": [*reversed(NETWORKS)], "models": [*REAL_MODELS], "operators": OPERATORS}
    work = [(part, name, 0, 0) for part in parts if part != "graphs" for name in names[part]]
    starts = range(0, graphs, GRAPHS_PER_TASK) if "graphs" in parts else ()
    return work + [("graphs", "random graphs", start, min(GRAPHS_PER_TASK, graphs - start)) for start in starts]


def run(task: Task, seed: int) -> tuple[Task, Any, dict[str, Any]]:
    """(the task, its Count, what else was measured)."""
    from converter_check import Count, check_graph, check_operator

    part, name, first, number = task
    count, more = Count(), {}
    try:
        if part == "networks":
            more = check_network(name, count)
        elif part == "models":
            more = check_model(name, count)
        elif part == "operators":
            check_operator(name, CHAINS, OPTIONS, seed, count)
        else:
            empty = sum(not check_graph([seed, index], count) for index in range(first, first + number))
            more = {"empty": empty}
    except Exception as error:
        count.differing += 1
        count.faults.append(f"{part}, {name}, {first}: {type(error).__name__}: {error}")
    return task, count, more


def check_network(name: str, count: Any) -> dict[str, Any]:
    """All nine conversions, ranges from samples in both engines, and every tensor under BUILTIN_REF."""
    import test_quantizer_networks as suite

    for options in suite.ALL_OPTIONS:
        verdict = suite.check_network(name, options, run=True)
        count.add(verdict, suite.network(name).model.graph.operators, f"{name}, {options}")
    elements, differing = suite.compare_with_reference(name)
    more = {"reference_elements": elements, "reference_differing": differing}
    return {**more, **from_samples(suite.from_samples(name, "tensorflow"), suite.from_samples(name, "numpy"))}


def check_model(name: str, count: Any) -> dict[str, Any]:
    """The same of a public float model."""
    import numpy as np

    from converter_check import check
    from refquant.compare import compare_models
    from refquant.quantizer import Calibration, calibrate, quantize
    from test_quantizer_networks import ALL_OPTIONS
    from test_quantizer_oracle import real_model

    model, samples, calibrated = real_model(name)
    for options in ALL_OPTIONS:
        verdict = check(calibrated.to_bytes(), options, np.random.default_rng(1))
        count.add(verdict, model.graph.operators, f"{name}, {options}")
    want = quantize(model, Calibration.from_model(calibrated))
    engines = (quantize(model, calibrate(model, samples, engine=engine)) for engine in ("tensorflow", "numpy"))
    return from_samples(*(compare_models(mine, want) for mine in engines))


def from_samples(converters: Any, own: Any) -> dict[str, Any]:
    """What quantizing from samples gave, with the converter's kernels and with refquant's own."""
    return {
        "own_slots": own.slots,
        "converter_engine_differing": converters.differing,
        "own_engine_differing": own.differing,
        "own_engine_largest_ulps": own.largest_ulps,
        "own_engine_zero_points_differing": sum("zero_point" in d.what for d in own.differences),
        "own_engine_weights_differing": sum("data" in d.what and d.slot != "input 2" for d in own.differences),
    }


def sweep(work: list[Task], seed: int, jobs: int) -> Iterator[tuple[Task, Any, dict[str, Any]]]:
    """Results in the order in which they are done."""
    if jobs == 1:
        yield from (run(task, seed) for task in work)
        return
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        for future in as_completed([pool.submit(run, task, seed) for task in work]):
            yield future.result()


def joined(results: list[tuple[Task, Any, dict[str, Any]]]) -> dict[str, dict[str, dict[str, Any]]]:
    """{part: {name: counts}}, in a fixed order."""
    from converter_check import Count

    counts: dict[tuple[str, str], Any] = {}
    measured: dict[tuple[str, str], dict[str, Any]] = {}
    for (part, name, _, _), count, more in results:
        counts.setdefault((part, name), Count()).join(count)
        known = measured.setdefault((part, name), {})
        for key, value in more.items():
            known[key] = known.get(key, 0) + value
    rows: dict[str, dict[str, dict[str, Any]]] = {}
    for part, name in sorted(counts, key=lambda key: (PARTS.index(key[0]), key[1])):
        row = {entry.name: getattr(counts[part, name], entry.name) for entry in fields(Count) if entry.name != "faults"}
        row = {key: dict(sorted(value.items())) if isinstance(value, dict) else value for key, value in row.items()}
        rows.setdefault(part, {})[name] = row | measured[part, name]
    return rows


def table(rows: dict[str, dict[str, dict[str, Any]]]) -> Table:
    """One line a network, model and operator, and one for all graphs."""
    shown = Table("part", "what", *COLUMNS, "in LiteRT")
    for part, entries in rows.items():
        for name, row in entries.items():
            runs = ", ".join(f"{number} {outcome}" for outcome, number in row["runs"].items())
            shown.add_row(part, name, *(f"{row[column]:,}" for column in COLUMNS), runs)
    return shown


def write(rows: dict[str, dict[str, dict[str, Any]]], graphs: int, seed: int) -> None:
    """golden/converter.json and its entry in the manifest.

    What was not counted now stays as it is if it was counted in the same circumstances.
    """
    what = "int8 models by refquant against TensorFlow's MLIR quantizer: slots, conversions, names, versions, outputs"
    evidence = {"what": what, **circumstances(PACKAGES), "seed": seed}
    path = REPOSITORY / EVIDENCE
    known = json.loads(path.read_text()) if path.exists() else {}
    kept = known["parts"] if all(known.get(key) == value for key, value in evidence.items()) else {}
    joint = {part: kept.get(part, {}) | rows.get(part, {}) for part in PARTS}
    parts = {part: dict(sorted(entries.items())) for part, entries in joint.items() if entries}
    write_json(path, {**evidence, "parts": parts})
    command = f"python tools/sweep_converter.py --graphs {graphs} --seed {seed} --write"
    made = Made(EVIDENCE, "how many int8 models were compared with the converter's", "counted by this tool")
    record(REPOSITORY, "sweep_converter", command, [made], PACKAGES)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", type=int, default=3000, help="random graphs (default 3000)")
    parser.add_argument("--seed", type=int, default=1, help="default 1; the test suite has 0")
    parser.add_argument("--only", choices=PARTS, action="append", help="only this part; may be repeated")
    parser.add_argument("--of", action="append", metavar="NAME", help="of the parts only this one; may be repeated")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--write", action="store_true", help=f"keep the counts in {EVIDENCE}")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    work = tasks(arguments.only or list(PARTS), arguments.graphs)
    if arguments.of:
        work = [task for task in work if task[1] in arguments.of]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    results = []
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("tasks", total=len(work))
        for result in sweep(work, arguments.seed, arguments.jobs):
            results.append(result)
            progress.advance(bar)
            for fault in result[1].faults:
                progress.console.print(fault, markup=False)
    rows = joined(results)
    print(json.dumps(rows, indent=1)) if arguments.json else Console(width=180).print(table(rows))
    failed = any(row["differing"] or row.get("reference_differing") for part in rows.values() for row in part.values())
    if arguments.write and failed:
        print("not written: not everything is equal", file=sys.stderr)
    elif arguments.write:
        write(rows, arguments.graphs, arguments.seed)
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
