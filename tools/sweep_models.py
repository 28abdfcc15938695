"""The public models against LiteRT's reference kernels: `python tools/sweep_models.py [--write]`.

The same comparison as tests/test_real_models.py: every tensor an operator computes, for 20 random inputs, all-minimum
and all-maximum; models with variables run them in a row, are reset and run the first one again. The models are looked
for in $REFQUANT_MODELS, or in ../shared/models beside the repository; they are other people's and none is kept here.
`--write` keeps the counts as golden/real_models.json. Exit code 1 if any differ.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict

from rich.console import Console
from rich.progress import track
from rich.table import Table

from golden_manifest import REPOSITORY, Made, circumstances, record, sha256, write_json

sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]

EVIDENCE = "golden/real_models.json"
PACKAGES = ("ai-edge-litert", "numpy", "flatbuffers")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"keep the counts in {EVIDENCE}")
    arguments = parser.parse_args()
    from test_real_models import ALL_MODELS, MODELS, compare_with_litert

    missing = [name for name in ALL_MODELS if not (MODELS / f"{name}.tflite").exists()]
    if missing:
        parser.error(f"models missing in {MODELS}: {', '.join(missing)} (set REFQUANT_MODELS)")
    rows = {}
    for name in track(ALL_MODELS, "models", console=Console(stderr=True)):
        path = MODELS / f"{name}.tflite"
        rows[name] = {"sha256": sha256(path), **asdict(compare_with_litert(path.read_bytes()))}
    table = Table("model", "inputs", "tensors", "elements", "differing", "differing when batched")
    for name, row in rows.items():
        table.add_row(name, *(f"{row[key]:,}" for key in list(row)[1:]))
    Console(width=140).print(table)
    failed = any(row["differing"] or row["differing_batched"] for row in rows.values())
    if arguments.write and not failed:
        what = "public models: tflite_ref against LiteRT's BUILTIN_REF, every tensor, bit for bit"
        write_json(REPOSITORY / EVIDENCE, {"what": what, **circumstances(PACKAGES), "models": rows})
        made = Made(EVIDENCE, "how many elements of the public models' tensors were compared", "counted by this tool")
        record(REPOSITORY, "sweep_models", "python tools/sweep_models.py --write", [made], PACKAGES)
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
