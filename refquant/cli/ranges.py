"""The ranges that the verbs read: a file of `calibrate`'s, or a model in which a converter left them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import refquant

RangesPath = Annotated[
    Path | None,
    typer.Option(
        "--calibration",
        "-c",
        help="The ranges to quantize with: from `calibrate`, or a .tflite file in which a converter left them.",
        show_default=False,
    ),
]


def read_ranges(path: Path) -> refquant.Calibration:
    """The calibration in the file. InvalidInput if it holds none."""
    if path.suffix.lower() == ".tflite":
        return refquant.Calibration.from_model(refquant.load(path))
    return refquant.Calibration.load(path)
