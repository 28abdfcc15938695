"""What the range estimators are worth on the digits networks: `python tools/estimators.py [--write]`.

Calibrates each network on its 100 scans with every estimator, quantizes it to int8, and runs the 500 held-back scans:
how many get the digit that the float network gives, and how loud the float outputs are against the error. Once more
with one of the 100 scans spoiled: its pixels left as 0 ... 16, where the network takes 0 ... 1.
`--write` keeps the figures as golden/estimators.json, from which the README's table is made.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from golden_digits import read_digits
from golden_manifest import REPOSITORY, Made, circumstances, record, write_json

sys.path.insert(0, str(REPOSITORY))

EVIDENCE = "golden/estimators.json"
PACKAGES = ("numpy", "flatbuffers")
NETWORKS = ("digits_cnn", "digits_ds")
SPOILED = 50  # which of the 100 scans
UNSCALED = np.float32(16)

# name in the table -> the arguments of refquant.calibrate
ESTIMATORS: Mapping[str, Mapping[str, Any]] = {
    "min and max (the converter's)": {"estimator": "minmax"},
    "percentile 99.99": {"estimator": "percentile", "percentile": 99.99},
    "percentile 99.9": {"estimator": "percentile", "percentile": 99.9},
    "percentile 99.5": {"estimator": "percentile", "percentile": 99.5},
    "percentile 99": {"estimator": "percentile", "percentile": 99},
    "mse": {"estimator": "mse"},
    "entropy": {"estimator": "entropy"},
}


def sample_sets(calibration: np.ndarray) -> dict[str, np.ndarray]:
    """{what: scans to calibrate on}: as they are, and with one spoiled."""
    spoiled = calibration.copy()
    spoiled[SPOILED] *= UNSCALED
    return {"100 scans": calibration, "100 scans, one unscaled": spoiled}


def figures(network: str, scans: np.ndarray, split: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """{sample set: {estimator: figures}} of one network."""
    import refquant

    model = refquant.load(REPOSITORY / f"golden/models/{network}_float.tflite")
    shape = model.graph.tensors[model.graph.inputs[0]].shape
    held_back = scans[slice(*split["held_back"])].reshape(-1, *shape[1:])
    (wanted,) = refquant.run(model, held_back)
    results: dict[str, dict[str, dict[str, Any]]] = {}
    for what, samples in sample_sets(scans[np.array(split["calibration"])]).items():
        for name, options in ESTIMATORS.items():
            ranges = refquant.calibrate(model, (sample.reshape(shape) for sample in samples), **options)
            (given,) = refquant.run(refquant.quantize(model, ranges), held_back)
            error = float(((given - wanted).astype(np.float64) ** 2).sum())
            signal = float((wanted.astype(np.float64) ** 2).sum())
            results.setdefault(what, {})[name] = {
                "scans": len(held_back),
                "as_float": int((given.argmax(axis=1) == wanted.argmax(axis=1)).sum()),
                "signal_to_noise_db": round(10 * math.log10(signal / error), 1),
            }
    return results


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"keep the figures in {EVIDENCE}")
    arguments = parser.parse_args()
    scans, _, split = read_digits(REPOSITORY)
    networks = {
        network: figures(network, scans, split)
        for network in track(NETWORKS, "networks", console=Console(stderr=True), transient=True)
    }
    table = Table("network", "calibrated on", "estimator", "as the float network", "signal to noise")
    for network, sets in networks.items():
        for what, rows in sets.items():
            for name, row in rows.items():
                told = f"{row['as_float']} of {row['scans']}", f"{row['signal_to_noise_db']} dB"
                table.add_row(network, what, name, *told)
    Console(width=140).print(table)
    if arguments.write:
        what = "range estimators: int8 networks against their float form on the held-back scans"
        write_json(REPOSITORY / EVIDENCE, {"what": what, **circumstances(PACKAGES), "networks": networks})
        made = Made(EVIDENCE, "what each range estimator is worth on the digits networks", "counted by this tool")
        record(REPOSITORY, "estimators", "python tools/estimators.py --write", [made], PACKAGES)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
