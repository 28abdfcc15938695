"""The five public files of one CIFAR-10 network, made again from the float one: `python tools/cifar10.py [--write]`.

Each is run against LiteRT (golden/real_models.json has the counts of tools/sweep_models.py) and quantized again by
refquant, with the ranges that its int8 files hold: once as the converter did in those days, once as it does now. The
files are other people's and none is kept here; they are looked for in $REFQUANT_MODELS, or in ../shared/models beside
the repository. `--write` keeps the counts as golden/cifar10.json. Exit code 1 if any parameter or constant differs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from golden_manifest import REPOSITORY, Made, circumstances, record, sha256, write_json

sys.path.insert(0, str(REPOSITORY))

EVIDENCE = "golden/cifar10.json"
PACKAGES = ("numpy", "flatbuffers")
FOLDER, PREFIX = "cifar10_resnet18", "cifar10_resnet18_"
PUBLISHED_KB = (507, 329, 107, 115, 181)  # as quoted, in this order, without saying which is which

PER_TENSOR_DENSE = {"per_channel_dense": False}  # what the converter of those days did


@dataclass(frozen=True, slots=True)
class Shipped:
    """One file. `then`: how refquant makes it, None for the float one; `now`: as today's converter would."""

    ranges: str = ""  # the file that holds them
    then: Mapping[str, Any] | None = None
    now: Mapping[str, Any] = field(default_factory=dict)


UINT8 = {"input_type": "uint8", "output_type": "uint8"}
FILES: Mapping[str, Shipped] = {
    "pruned": Shipped(),
    "pruned_dynamic": Shipped(
        then={"mode": "dynamic_range", "per_channel": False},
        now={"mode": "dynamic_range"},
    ),
    "pruned_float16": Shipped(then={"mode": "float16", "quantizer": "legacy"}, now={"mode": "float16"}),
    "int8_notall": Shipped("int8_notall", {"quantizer": "legacy", **PER_TENSOR_DENSE}, {"mode": "int8"}),
    "int8_all": Shipped("int8_all", {"quantizer": "legacy", **PER_TENSOR_DENSE, **UINT8}, {"mode": "int8", **UINT8}),
}


def models() -> Path:
    """Where the public models are."""
    return Path(os.environ.get("REFQUANT_MODELS", REPOSITORY.parent / "shared" / "models")) / FOLDER


def path_of(name: str) -> Path:
    """One of the files."""
    return models() / f"{PREFIX}{name}.tflite"


def measured(name: str) -> dict[str, Any]:
    """What the file is, and what refquant makes of the float one in its stead."""
    import refquant
    from refquant.compare.generations import generation_of
    from refquant.compare.modes import mode_of

    path, shipped = path_of(name), FILES[name]
    size = path.stat().st_size
    published = [kb for kb in PUBLISHED_KB if abs(size / 1024 - kb) < 1]  # some are rounded, some cut
    row: dict[str, Any] = {
        "sha256": sha256(path),
        "bytes": size,
        "published_kb": published[0] if published else None,
        "mode": mode_of(path).words,
        "quantizer": generation_of(path, path_of("pruned") if shipped.then else None).name,
    }
    if shipped.then is None:
        return row
    original, file = refquant.load(path_of("pruned")), refquant.load(path)
    calibration, told = ranges(original, shipped)
    row |= {"ranges": told}
    for when, options in (("then", shipped.then), ("now", shipped.now)):
        made = refquant.quantize(original, calibration, **options)
        row[when] = {"options": dict(options), "bytes": len(made.to_bytes()), **compared(made, file)}
    return row


def ranges(original: Any, shipped: Shipped) -> tuple[Any, dict[str, int] | None]:
    """(calibration, how many ranges came from where), None where none are needed."""
    from refquant.quantizer.recovered import recover_ranges

    if not shipped.ranges:
        return None, None
    found = recover_ranges(original, path_of(shipped.ranges))
    kinds = ("left", "inverted", "inexact", "missing")
    return found.calibration, {kind: len(getattr(found, kind)) for kind in kinds}


def compared(made: Any, file: Any) -> dict[str, Any]:
    """Slots, and which differ how."""
    import refquant

    found = refquant.compare_models(made, file)
    return {
        "slots": found.slots,
        "differing": found.differing,
        "operators_differing": len(found.operators),
        "conversions_differing": len(found.conversion_differences),
        "what": sorted({f"{d.op} {d.slot}: {', '.join(d.what)}" for d in found.differences}),
    }


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"keep the counts in {EVIDENCE}")
    arguments = parser.parse_args()
    missing = [name for name in FILES if not path_of(name).is_file()]
    if missing:
        parser.error(f"models missing in {models()}: {', '.join(missing)} (set REFQUANT_MODELS)")
    rows = {name: measured(name) for name in FILES}
    table = Table("file", "mode", "quantizer", "bytes", "published KB", "slots differing then", "now")
    for name, row in rows.items():
        counts = (
            f"{row[when]['differing']} of {row[when]['slots']}" if when in row else "" for when in ("then", "now")
        )
        table.add_row(name, row["mode"], row["quantizer"], f"{row['bytes']:,}", str(row["published_kb"]), *counts)
    Console(width=150).print(table)
    answers = json.loads((REPOSITORY / "golden/real_models.json").read_text())["models"]
    for name, row in rows.items():
        counted = answers[f"{FOLDER}/{PREFIX}{name}"]
        assert counted["sha256"] == row["sha256"], name
        row["litert"] = {key: counted[key] for key in ("elements", "differing")}
    failed = any(
        row["then"]["differing"] or row["then"]["conversions_differing"] for row in rows.values() if "then" in row
    )
    if arguments.write and not failed:
        what = "public CIFAR-10 files: what each is, and what refquant makes of the float one in its stead"
        unmatched = [kb for kb in PUBLISHED_KB if kb not in {row["published_kb"] for row in rows.values()}]
        evidence = {"what": what, **circumstances(PACKAGES), "published_kb": PUBLISHED_KB, "of_no_file": unmatched}
        write_json(REPOSITORY / EVIDENCE, {**evidence, "files": rows})
        made = Made(
            EVIDENCE,
            "what refquant makes of a public float model beside its public conversions",
            "counted by this tool",
        )
        record(REPOSITORY, "cifar10", "python tools/cifar10.py --write", [made], PACKAGES)
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
