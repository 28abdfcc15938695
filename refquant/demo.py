"""The whole job on embedded data: calibrate, quantize, run, and check every step against golden results.

Everything it compares with was made by TensorFlow 2.21.0 (models, ranges) and LiteRT 2.3.0 (outputs); see golden/.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from refquant.compare import Comparison, compare_models
from refquant.data import data_file
from refquant.model import load
from refquant.model.graph import Array, Model
from refquant.program import run, run_all_tensors
from refquant.quantizer import Calibration, calibrate, quantize

NETWORKS: Mapping[str, str] = {
    "digits_cnn": "convolution, max pooling, dense: the network of the quantization tutorials",
    "digits_ds": "depthwise-separable convolutions with a residual addition, both poolings, softmax",
}
LARGEST_ULPS = 32  # how far a scale may be from the converter's when refquant calibrates: float sums in another order
PICTURED = 8


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison with a golden result. `note`: what was compared besides, or what may differ and why."""

    what: str
    compared: int
    unit: str
    differing: int
    holds: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class NetworkReport:
    """What the demo did with one network. Seconds are of refquant, for all held-back scans at once."""

    name: str
    about: str
    bytes: Mapping[str, int]
    accuracy: Mapping[str, float]
    seconds: Mapping[str, float]
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class DemoReport:
    """The demo's result. `equal`: every check holds. `picture`: some scans with what the int8 network says."""

    calibration_scans: int
    held_back_scans: int
    networks: tuple[NetworkReport, ...]
    equal: bool
    picture: tuple[str, ...]


def run_demo(progress: Callable[[int], object] | None = None) -> DemoReport:
    """Runs the demo on both networks. progress: called with the number of networks done."""
    scans, labels, split = _digits()
    calibration = scans[np.array(split["calibration"])]
    first, last = split["held_back"]
    networks = []
    picture: tuple[str, ...] = ()
    for number, (name, about) in enumerate(NETWORKS.items()):
        report, answers = _network(name, about, calibration, scans[first:last], labels[first:last])
        picture = picture or _picture(scans[first:last], labels[first:last], answers)
        networks.append(report)
        if progress is not None:
            progress(number + 1)
    equal = all(check.holds for network in networks for check in network.checks)
    return DemoReport(len(calibration), last - first, tuple(networks), equal, picture)


def _digits() -> tuple[Array, Array, Mapping[str, Any]]:
    """(scans float32 (1797, 8, 8) in 0..1, labels, which scans train, calibrate and are held back)."""
    with np.load(data_file("digits.npz"), allow_pickle=False) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    split = json.loads(data_file("golden/digits.json").read_text(encoding="utf-8"))
    return images.astype(np.float32) / np.float32(16), labels, split


def _network(name: str, about: str, calibration: Array, scans: Array, labels: Array) -> tuple[NetworkReport, Array]:
    files = {kind: data_file(f"golden/models/{name}_{kind}.tflite") for kind in ("float", "calibrated", "int8_floatio")}
    models = {kind: load(path) for kind, path in files.items()}
    shape = models["float"].graph.tensors[models["float"].graph.inputs[0]].shape
    scans, calibration = scans.reshape(-1, *shape[1:]), calibration.reshape(-1, *shape[1:])
    seconds: dict[str, float] = {}

    def timed(what: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = work()
        seconds[what] = time.perf_counter() - start
        return result

    ranges = timed("calibrate", lambda: calibrate(models["float"], (scan[np.newaxis] for scan in calibration)))
    own = timed("quantize", lambda: quantize(models["float"], ranges))
    same = quantize(models["float"], Calibration.from_model(models["calibrated"]))
    (float_answers,) = timed("run float", lambda: run(models["float"], scans))
    (int8_answers,) = timed("run int8", lambda: run(same, scans))
    checks = (
        _with_converters_ranges(compare_models(same, models["int8_floatio"])),
        _with_own_ranges(compare_models(own, models["int8_floatio"])),
        _outputs("float", float_answers, f"golden/heldback/{name}_float.npz"),
        _outputs("int8", int8_answers, f"golden/heldback/{name}_int8_floatio.npz"),
        _tensors(models["int8_floatio"], f"golden/tensors/{name}_int8_floatio.npz"),
    )
    return NetworkReport(
        name,
        about,
        {"float": files["float"].stat().st_size, "int8": len(same.to_bytes())},
        {
            "float": float((float_answers.argmax(axis=1) == labels).mean()),
            "int8": float((int8_answers.argmax(axis=1) == labels).mean()),
        },
        seconds,
        checks,
    ), int8_answers


def _with_converters_ranges(comparison: Comparison) -> Check:
    return Check(
        "parameters, quantized with the converter's ranges",
        comparison.slots,
        "slots",
        comparison.differing + len(comparison.operators),
        comparison.equal,
        f"{comparison.elements} constants, {comparison.differing_elements} differing",
    )


def _with_own_ranges(comparison: Comparison) -> Check:
    """Holds if only scales differ, and those by no more than LARGEST_ULPS, and bias data as they follow from scales."""
    beyond = [
        difference
        for difference in comparison.differences
        if not set(difference.what) <= {"scale", "data"}
        or ("data" in difference.what and not _is_bias(difference.op, difference.slot))
    ]
    holds = not beyond and not comparison.operators and comparison.largest_ulps <= LARGEST_ULPS
    return Check(
        "zero points and weights, quantized with refquant's own ranges",
        comparison.slots,
        "slots",
        len(beyond) + len(comparison.operators),
        holds,
        f"scales up to {comparison.largest_ulps} ulp away ({LARGEST_ULPS} allowed), in {comparison.differing} slots: "
        "float sums in another order",
    )


def _is_bias(op: str, slot: str) -> bool:
    return (op, slot) in (("CONV_2D", "input 2"), ("DEPTHWISE_CONV_2D", "input 2"), ("FULLY_CONNECTED", "input 2"))


def _outputs(kind: str, answers: Array, golden: str) -> Check:
    with np.load(data_file(golden), allow_pickle=False) as arrays:
        expected = arrays["output0"]
    return Check(
        f"outputs of the {kind} model, bit for bit with LiteRT",
        expected.size,
        "elements",
        *_counted(_differing(answers, expected)),
    )


def _tensors(model: Model, golden: str) -> Check:
    """Every tensor the int8 model computes, for some scans and two inputs beyond the calibrated range."""
    with np.load(data_file(golden), allow_pickle=False) as arrays:
        expected = {name: arrays[name] for name in arrays.files}
    inputs = expected.pop("input0")
    compared = differing = 0
    for number, array in enumerate(inputs):
        computed = run_all_tensors(model, array)
        for name, answers in expected.items():
            compared += answers[number].size
            differing += _differing(computed[int(name.removeprefix("tensor"))], answers[number])
    return Check(
        "every tensor inside the int8 model, bit for bit with LiteRT", compared, "elements", *_counted(differing)
    )


def _counted(differing: int) -> tuple[int, bool]:
    return differing, differing == 0


def _differing(answers: Array, expected: Array) -> int:
    """How many elements differ in any bit; all of them if shape or type does."""
    if answers.shape != expected.shape or answers.dtype != expected.dtype:
        return max(expected.size, 1)
    width = expected.dtype.itemsize
    return int(
        (np.ascontiguousarray(answers).view(f"u{width}") != np.ascontiguousarray(expected).view(f"u{width}")).sum()
    )


def _picture(scans: Array, labels: Array, answers: Array) -> tuple[str, ...]:
    """Scans side by side as text, two characters a pixel, first the ones that the network names wrongly."""
    given = answers.argmax(axis=1)
    chosen = [*np.flatnonzero(given != labels)[:2], *np.flatnonzero(given == labels)][:PICTURED]
    shades = " ░▒▓█"
    lines = []
    for row in range(scans.shape[1]):
        cells = [
            "".join(2 * shades[round(float(pixel) * (len(shades) - 1))] for pixel in scans[i, row]) for i in chosen
        ]
        lines.append("  ".join(cells))
    captions = [f"{labels[i]} → {given[i]}" + ("" if given[i] == labels[i] else "  wrong") for i in chosen]
    return (*lines, "  ".join(caption.ljust(2 * scans.shape[2]) for caption in captions))


def print_report(report: DemoReport, console: Console) -> None:
    """The report as tables and a picture."""
    for line in report.picture:
        console.print(line, markup=False, no_wrap=True, overflow="crop")
    console.print()
    for network in report.networks:
        console.print(f"{network.name}: {network.about}", markup=False)
        table = Table("", "float", "int8")
        table.add_row("file, bytes", *(f"{network.bytes[kind]:,}" for kind in ("float", "int8")))
        table.add_row(
            f"right of {report.held_back_scans} held-back scans",
            *(f"{network.accuracy[kind]:.1%}" for kind in ("float", "int8")),
        )
        table.add_row("run, ms", *(f"{1000 * network.seconds[f'run {kind}']:.1f}" for kind in ("float", "int8")))
        console.print(table)
        console.print(
            f"calibrated on {report.calibration_scans} scans in {1000 * network.seconds['calibrate']:.1f} ms, "
            f"quantized in {1000 * network.seconds['quantize']:.1f} ms"
        )
        checks = Table("check against TensorFlow 2.21.0 and LiteRT 2.3.0", "compared", "differing", "")
        for check in network.checks:
            mark = "[green]holds[/green]" if check.holds else "[red]DIFFERS[/red]"
            note = f"\n[dim]{check.note}[/dim]" if check.note else ""
            checks.add_row(check.what + note, f"{check.compared:,} {check.unit}", f"{check.differing:,}", mark)
        console.print(checks)
        console.print()
    console.print("Every check holds." if report.equal else "Something differs: see above.")
