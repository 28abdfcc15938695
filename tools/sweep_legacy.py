"""The old quantizer and 16x8 against TensorFlow 2.21's: `python tools/sweep_legacy.py [--only PART] [--write]`.

The same comparison as tests/test_quantizer_legacy_oracle.py, of more: eight Keras application networks, the public
float models with every type of inputs, outputs and biases and every granularity of weights, and random graphs; all of
them in strict mode, too. Equal: every tensor, constant, range, name, order, operator version and option, where defects
are reproduced, and else wherever none strikes; and both sides refuse the same. Needs `pip install -e
'.[tensorflow,test]'`. `--write` keeps the counts in golden/legacy.json, of one part beside those of the others. Exit
code 1 if anything differs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from itertools import product
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from golden_manifest import REPOSITORY, Made, circumstances, record, write_json

sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]

EVIDENCE = "golden/legacy.json"
PACKAGES = ("tensorflow", "keras", "numpy", "flatbuffers")
PARTS = ("networks", "models", "graphs")
GRANULARITIES = ((True, True), (False, True), (True, False))
COLUMNS = ("conversions", "tensors", "elements", "refused", "differing")
SHARING = 0.2  # share of constants that an earlier operator reads too

Row = dict[str, Any]


def every_option(mode: str) -> Iterator[dict[str, Any]]:
    """One type for inputs and outputs, each granularity, each type of biases; and strict mode."""
    from test_quantizer_legacy_oracle import BIAS_TYPES, IO_TYPES

    for io, bias_type, (per_channel, dense) in product(IO_TYPES[mode], BIAS_TYPES[mode], GRANULARITIES):
        yield {
            "mode": mode,
            "input_type": io,
            "output_type": io,
            "bias_type": bias_type,
            "per_channel": per_channel,
            "per_channel_dense": dense,
        }
    yield {"mode": mode, "bias_type": BIAS_TYPES[mode][0], "allow_float": False}


def some_options(mode: str) -> Iterator[dict[str, Any]]:
    """Of every_option so many that each choice occurs, for large networks."""
    chosen = list(every_option(mode))
    yield from (chosen[0], chosen[len(chosen) // 2], *chosen[-2:])


def counted(model: Any, choices: list[dict[str, Any]], row: Row) -> Row:
    """Adds the conversions of one model to a row."""
    from test_quantizer_legacy_oracle import Tally

    for chosen in choices:
        tally = Tally()
        try:
            tally.check(model, chosen)
        except AssertionError as error:
            row["differing"] = row.get("differing", 0) + 1
            print(f"{chosen}: {str(error)[:500]}", file=sys.stderr)
            continue
        counts = {"conversions": tally.graphs, "tensors": tally.tensors, "elements": tally.elements}
        for key, value in {**counts, "refused": tally.refused, "differing": 0}.items():
            row[key] = row.get(key, 0) + value
        avoided = row.setdefault("avoided", {})
        for key, value in sorted(tally.avoided.items()):
            avoided[key] = avoided.get(key, 0) + value
    return row


def networks(names: list[str], mode: str) -> Iterator[tuple[str, Row]]:
    """The Keras networks; random weights, TensorFlow's ranges."""
    from refquant.model import read_model
    from test_quantizer_networks import network

    for name in names:
        yield name, counted(read_model(network(name).calibrated), list(some_options(mode)), {})


def models(mode: str) -> Iterator[tuple[str, Row]]:
    """The public float models and the digits networks."""
    from test_quantizer_oracle import REAL_MODELS, real_model

    for name in REAL_MODELS:
        yield name, counted(real_model(name)[2], list(every_option(mode)), {})


def graphs(count: int, mode: str, seed: int) -> Iterator[tuple[str, Row]]:
    """Random graphs of 5 to 20 operators until so many were converted, with drawn options; all in strict mode, too."""
    import numpy as np

    from converter_oracle_graphs import random_dag
    from converter_oracle_ops import WIDE_OPS
    from test_quantizer_legacy_oracle import BIAS_TYPES, drawn, loadable

    strict = {"mode": mode, "bias_type": BIAS_TYPES[mode][0], "allow_float": False}
    row: Row = {}
    number = 0
    while row.get("conversions", 0) + row.get("differing", 0) < count:
        rng = np.random.default_rng([seed, number])
        number += 1
        model = loadable(random_dag(rng, int(rng.integers(5, 21)), WIDE_OPS, sharing=SHARING))
        counted(model, [drawn(rng, mode, 0.8), strict], row)
    yield f"{number} random graphs", row


def table(evidence: dict[str, Any]) -> Table:
    """One line for each mode of each network, model, and for all graphs."""
    shown = Table("part", "mode", "what", *COLUMNS, "avoided by default")
    for part, modes in evidence.items():
        for mode, rows in modes.items():
            for name, row in rows.items():
                counts = [f"{row.get(column, 0):,}" for column in COLUMNS]
                shown.add_row(part, mode, name, *counts, str(row.get("avoided") or ""))
    return shown


def main() -> int:
    """The command line."""
    from converter_networks import NETWORKS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, help="one part")
    parser.add_argument("--mode", choices=("int16x8", "int8"), action="append", help="one mode (default: both)")
    parser.add_argument("--network", choices=list(NETWORKS), action="append", help="of the networks only these")
    parser.add_argument("--graphs", type=int, default=300, help="random graphs of each mode (default 300)")
    parser.add_argument("--seed", type=int, default=1, help="default 1; the test suite has others")
    parser.add_argument("--write", action="store_true", help=f"keep the counts in {EVIDENCE}")
    arguments = parser.parse_args()
    path = REPOSITORY / EVIDENCE
    modes = arguments.mode or ["int16x8", "int8"]
    makers = {
        "networks": lambda mode: networks(arguments.network or list(NETWORKS), mode),
        "models": models,
        "graphs": lambda mode: graphs(arguments.graphs, mode, arguments.seed),
    }
    made: dict[str, dict[str, dict[str, Row]]] = {}
    parts = [arguments.only] if arguments.only else list(PARTS)
    for part, mode in track(list(product(parts, modes)), "parts", console=Console(stderr=True)):
        made.setdefault(part, {})[mode] = dict(makers[part](mode))
    Console(width=180).print(table(made))
    failed = any(row["differing"] for part in made.values() for rows in part.values() for row in rows.values())
    if arguments.write and not failed:
        known = json.loads(path.read_text())["parts"] if path.exists() else {}
        for part, by_mode in made.items():
            for mode, rows in by_mode.items():
                kept = known.setdefault(part, {}).setdefault(mode, {})
                known[part][mode] = {**(kept if part == "networks" else {}), **rows}
        what = "files of the old quantizer (int8, 16x8): refquant's against TensorFlow's, whole"
        write_json(path, {"what": what, **circumstances(PACKAGES), "seed": arguments.seed, "parts": known})
        entry = Made(
            EVIDENCE, "how many files of the old quantizer were compared with TensorFlow's", "counted by this tool"
        )
        record(REPOSITORY, "sweep_legacy", "python tools/sweep_legacy.py --write", [entry], PACKAGES)
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
