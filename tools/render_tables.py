"""Writes the tables of README.md from golden/ and the errata: `python tools/render_tables.py`, or `--check` to compare.

Each table stands between two marks, <!-- begin NAME --> and <!-- end NAME -->; no number in them is written by hand.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parent.parent
sys.path.insert(0, str(REPOSITORY))

# run from the repository, installed or not
from refquant.errata import CONVERTER_ERRATA, ERRATA, Erratum  # noqa: E402
from refquant.evidence import cell_text, cells, read_evidence, types_of  # noqa: E402
from refquant.runtimes import RUNTIMES  # noqa: E402

README = REPOSITORY / "README.md"


def _read(name: str) -> dict[str, Any]:
    return json.loads((REPOSITORY / "golden" / name).read_text(encoding="utf-8"))


def _row(cells: Iterable[object]) -> str:
    return "| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in cells) + " |"


def _table(header: list[str], rows: Iterable[Iterable[object]]) -> str:
    return "\n".join([_row(header), _row("---" for _ in header), *map(_row, rows)])


# A check's name tells its types ("ADD uint8", "QUANTIZE float to int8"); without a type it is int8, or any type where
# the op only moves data.
KINDS: Mapping[str, tuple[str, ...]] = {
    "float32 with int8 weights": ("hybrid",),
    "float32 with float16 constants": ("constants",),
    "float32": ("float", "float16"),
    "uint8": ("uint8",),
    "int16": ("int16",),
    "int32, int64, bool": ("int32", "int64", "uint32", "bool"),
}


def kind_of(check: str) -> str:
    """The first kind of KINDS whose word stands in the check's name; else int8."""
    words = check.replace(",", " ").split()
    return next((kind for kind, marks in KINDS.items() if set(marks) & set(words)), "int8")


def operators() -> str:
    """Single-operator models against LiteRT: one line a kind of arithmetic, with the ops it covers."""
    sweep = _read("sweep.json")
    groups: dict[str, list[tuple[str, Mapping[str, int]]]] = {}
    for check, counts in sweep["checks"].items():
        groups.setdefault(kind_of(check), []).append((check, counts))
    rows = []
    for kind in (kind for kind in ("int8", *KINDS) if kind in groups):
        ops = {check.replace(",", " ").split()[0] for check, _ in groups[kind]}
        sums = [sum(counts[name] for _, counts in groups[kind]) for name in ("models", "elements", "differing")]
        rows.append([kind, len(ops), *sums])
    return _table(["operands", "ops", "random one-operator models", "elements compared", "differing"], rows)


def models() -> str:
    """Public int8 and float models against LiteRT, every tensor."""
    rows = [
        [name, row["inputs"], row["tensors"], row["elements"], row["differing"]]
        for name, row in _read("real_models.json")["models"].items()
    ]
    return _table(["model", "inputs", "tensors", "elements compared", "differing"], rows)


# A part of the sweep -> its words.
CONVERTED: Mapping[str, str] = {
    "networks": "{} Keras networks, each with 3 types of inputs and outputs and 3 granularities of weights",
    "models": "{} public and own float models, likewise",
    "operators": "{} ops in every form, options drawn",
    "graphs": "random graphs of 5 to 20 operators, options drawn",
}

# What is counted -> the column's words.
COUNTED: Mapping[str, str] = {
    "models": "models quantized",
    "slots": "slots",
    "elements": "constants",
    "conversions": "conversions",
    "differing": "differing",
    "refused": "refused by TensorFlow",
}


def converter() -> str:
    """Models quantized by refquant and by TensorFlow from the same ranges: one line a part of the sweep."""
    rows = []
    for part, entries in _read("converter.json")["parts"].items():
        sums = [sum(row[name] for row in entries.values()) for name in COUNTED]
        alike: dict[str, int] = {}
        for row in entries.values():
            for outcome, number in row["runs"].items():
                alike[outcome] = alike.get(outcome, 0) + number
        runs = ", ".join(f"{number:,} {outcome}" for outcome, number in sorted(alike.items()))
        rows.append([CONVERTED[part].format(len(entries)), *sums, runs])
    return _table(["float models", *COUNTED.values(), "alike in LiteRT"], rows)


# A column's words -> where the ranges of refquant's file come from, as golden/mnist.json names it.
RANGES: Mapping[str, tuple[str, ...]] = {
    "slots differing, TensorFlow's ranges or none needed": ("converter", "none"),
    "slots differing, the scans, engine tensorflow": ("tensorflow",),
    "slots differing, the scans, engine numpy": ("numpy",),
    "slots differing, the file's scales": ("pairs",),
}


def mnist() -> str:
    """The MNIST network in TensorFlow's conversions; below it what is quoted as published."""
    evidence = _read("mnist.json")
    conversions = evidence["conversions"].values()
    rows: list[list[object]] = []
    for row in conversions:
        accuracies = [f"{row[key] / row['scans']:.2%}" for key in ("litert_correct", "refquant_correct")]
        again = [
            next((row["requantized"][key] for key in keys if key in row["requantized"]), None)
            for keys in RANGES.values()
        ]
        slots = [_slots(counts) for counts in again]
        rows.append([row["what"], row["bytes"], *accuracies, f"{row['differing']} of {row['elements']:,}", *slots])
    for what, quoted in evidence["published"]["quoted"].items():
        cells = [f"*quoted as published: {what}*", quoted["bytes"] or "", f"{quoted['accuracy']:.2%}"]
        rows.append([*cells, *[""] * (2 + len(RANGES))])
    header = ["model", "bytes", "accuracy, LiteRT", "accuracy, refquant", "output elements differing"]
    return _table([*header, *RANGES], rows)


def _slots(again: Mapping[str, Any] | None) -> str:
    """How many slots of refquant's file differ from TensorFlow's, and how far their scales lie apart."""
    if not again:
        return ""
    apart = f" ({again['largest_ulps']} ulp)" if again["differing"] else ""
    return f"{again['differing']} of {again['slots']}{apart}"


def cifar10() -> str:
    """The public files of one CIFAR-10 network, and what refquant makes of the float one in their stead."""
    rows: list[list[object]] = []
    for name, row in _read("cifar10.json")["files"].items():
        quantizer = {"legacy": "the old one", "unknown": "cannot tell", "none": ""}[row["quantizer"]]
        answers = f"{row['litert']['differing']} of {row['litert']['elements']:,}"
        again: list[object] = ["", "", ""]
        if "then" in row:
            then, now = row["then"], row["now"]
            again = [*(f"{made['differing']} of {made['slots']}" for made in (then, now)), now["bytes"]]
        rows.append([name, row["mode"], quantizer, row["bytes"], row["published_kb"], answers, *again])
    header = ["file", "mode", "quantizer", "bytes", "published, KB", "elements differing from LiteRT"]
    again_header = ["slots differing, made as then", "made as today", "bytes, made as today"]
    return _table([*header, *again_header], rows)


PARTS: Mapping[str, str] = {"networks": "Keras networks", "models": "float models", "graphs": "random graphs"}


def old_quantizer() -> str:
    """Files of the converter's old quantizer: one line a part and mode of the sweep."""
    rows: list[list[object]] = []
    parts = _read("legacy.json")["parts"]
    for part in PARTS:
        for mode, found in parts[part].items():
            sums = [
                sum(row[key] for row in found.values()) for key in ("conversions", "tensors", "elements", "differing")
            ]
            refused = sum(row["refused"] for row in found.values())
            words = next(iter(found)) if part == "graphs" else f"{len(found)} {PARTS[part]}"
            rows.append([words, {"int16x8": "16x8", "int8": "int8"}[mode], *sums, refused])
    header = ["what", "mode", "files of TensorFlow's", "tensors", "constant elements", "differing", "refused by both"]
    return _table(header, rows)


def quantization_aware() -> str:
    """Quantization-aware models: what was compared, and how many biases are off from the file alone."""
    words = {"networks": "networks of tensorflow-model-optimization", "questions": "single questions", "graphs": ""}
    rows: list[list[object]] = []
    for part, found in _read("qat.json")["parts"].items():
        columns = ("models", "slots", "elements", "differing", "biases_off", "two_ulps", "refused")
        sums = [sum(row[column] for row in found.values()) for column in columns]
        rows.append([f"{len(found)} {words[part]}" if words[part] else next(iter(found)), *sums])
    header = ["what", "models quantized", "slots", "constants", "differing with ranges"]
    return _table([*header, "biases off without", "of them by 2 ulp", "refused by TensorFlow"], rows)


def without_samples() -> str:
    """Dynamic range and float16: what was compared."""
    words = {"networks": "Keras networks", "models": "models of one question each", "graphs": "random graphs"}
    columns = ("files", "tensors", "elements", "differing", "numbered_otherwise", "refused", "ran")
    rows = [
        [f"{row['models']:,} {words[part]}", *(row[column] for column in columns)]
        for part, row in _read("modes.json")["parts"].items()
    ]
    header = ["what", "files of TensorFlow's", "tensors", "constant elements", "differing"]
    return _table([*header, "a name's number differing", "refused by TensorFlow", "alike in LiteRT"], rows)


def estimators() -> str:
    """int8 networks by range estimator: held-back scans with the float network's digit, and signal to noise."""
    networks = _read("estimators.json")["networks"]
    columns = {
        f"{network}, {what}": rows
        for what in next(iter(networks.values()))
        for network, rows in ((network, sets[what]) for network, sets in networks.items())
    }
    rows = [
        [name, *(f"{rows[name]['as_float']}, {rows[name]['signal_to_noise_db']} dB" for rows in columns.values())]
        for name in next(iter(columns.values()))
    ]
    return _table(["estimator", *columns], rows)


def runtimes() -> str:
    """The described runtimes, the real one behind each, and what was compared in all."""
    measured = read_evidence()
    rows: list[list[object]] = []
    for name, runtime in RUNTIMES.items():
        found = measured.runtimes.get(name)
        if found is None or runtime.oracle is None:
            continue
        exact = [kernel for kernel in found.kernels if kernel.models]
        sums = [sum(getattr(kernel, key) for kernel in exact) for key in ("models", "elements", "differing")]
        near = sum(kernel.near is not None for kernel in found.kernels)
        rows.append([f"`{name}`", str(runtime.oracle), len(exact), *sums, near])
    header = ["runtime", "the real one", "cases called equal", "random one-operator models", "elements compared"]
    return _table([*header, "differing", "cases inexact, wholly or in part"], rows)


def evidence() -> str:
    """How many elements of random one-operator models are equal: a line an operator, a column a runtime."""
    measured = read_evidence()
    rows = []
    for op in sorted({kernel.op for found in measured.runtimes.values() for kernel in found.kernels}):
        found = cells(measured, op)
        types = types_of(found)
        rows.append([op, ", ".join(types), *(cell_text(kernels, types) for kernels in found.values())])
    return _table(["op", "types", *(f"`{name}`" for name in measured.runtimes)], rows)


def inexact() -> str:
    """The kernels that are not called equal: how many elements differ, how far, and why."""
    alike: dict[tuple[object, ...], list[str]] = {}
    for name, found in read_evidence().runtimes.items():
        for kernel in found.kernels:
            if kernel.near is not None:
                near, distance = kernel.near, kernel.near.distance
                counts = f"{near.differing:,} of {near.elements:,}", _power(near.typical), _power(distance["relative"])
                row = (kernel.kernel, *counts, int(distance["not_finite"]), near.why)
                alike.setdefault(row, []).append(f"`{name}`")
    rows = sorted([str(row[0]), ", ".join(names), *row[1:]] for row, names in alike.items())
    head = ["op and type", "runtime", "elements that differ", "how far, of the tensor's largest value", "at most"]
    return _table([*head, "by an infinity or a NaN", "why"], rows)


def _power(number: float) -> str:
    return f"{number:.1e}" if number else "0"


def public_models() -> str:
    """Differing elements of public models, end to end: every tensor, or why there is nothing to compare."""
    measured = read_evidence()
    names = dict.fromkeys(name for found in measured.runtimes.values() for name in found.models)
    rows = [
        [name, *(_whole_model(found.models.get(name, {})) for found in measured.runtimes.values())] for name in names
    ]
    return _table(["model", *(f"`{name}`" for name in measured.runtimes)], rows)


def _whole_model(counts: Mapping[str, Any]) -> str:
    """One model in one runtime: all tensors of all inputs; operators alone where some are inexact."""
    if "refused" in counts:
        return "the real one refuses it" if "died" not in counts["refused"] else "the real one crashes"
    if "undefined" in counts:
        return "undefined"
    if "end_to_end" not in counts:
        return ""
    whole, alone = (
        f"{counts[part]['differing']:,} of {counts[part]['elements']:,}" for part in ("end_to_end", "alone")
    )
    if counts["inexact"]:
        return f"{alone} operator by operator, without {counts['inexact']} inexact ones"
    return whole if counts["alone"]["differing"] == counts["end_to_end"]["differing"] else f"{whole}; {alone} alone"


def speed() -> str:
    """refquant beside the engines of LiteRT."""
    results = _read("benchmark.json")["results"]
    times = {(r["model"], r["batch"], r["engine"]): r for r in results}
    engines = {"BUILTIN_REF": "reference", "BUILTIN_WITHOUT_DEFAULT_DELEGATES": "optimized", "AUTO": "XNNPACK"}
    rows = []
    for model, batch in dict.fromkeys((r["model"], r["batch"]) for r in results):
        own = times[model, batch, "refquant"]
        parts = [f"{1 / times[model, batch, engine]['ratio']:.2g}" for engine in engines]
        peaks = "/".join(f"{times[model, batch, e]['peak_bytes'] / 1e6:.0f}" for e in ("refquant", "BUILTIN_REF"))
        rows.append([model, batch, f"{1000 * own['median_seconds']:.1f}", *parts, peaks])
    header = ["model", "batch", "refquant, ms", *(f"speed to {name}" for name in engines.values())]
    return _table([*header, "peak MB, refquant/reference"], rows)


def described_speed() -> str:
    """The described runtimes' times as multiples of tflite_ref's."""
    results = _read("benchmark.json").get("described", [])
    ratios = {(r["model"], r["batch"], r["runtime"]): r["ratio"] for r in results}
    names = list(dict.fromkeys(r["runtime"] for r in results if r["runtime"] != "tflite_ref"))
    rows = [
        [model, batch, *(f"{ratios[model, batch, name]:.2f}" for name in names)]
        for model, batch in dict.fromkeys((r["model"], r["batch"]) for r in results)
    ]
    return _table(["model", "batch", *(f"`{name}`" for name in names)], rows)


def quantizing() -> str:
    """Calibrating and quantizing beside TensorFlow."""
    sides: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in _read("benchmark.json")["quantizing"]:
        sides.setdefault(f"{row['model']}, {row['samples']} samples", {})[row["side"]] = row
    rows = []
    for what, by in sides.items():
        own, other = by["refquant"], by["tensorflow"]
        times = [f"{1000 * side['median_seconds']:.0f}" for side in (own, other)]
        peaks = "/".join(f"{side['peak_bytes'] / 1e6:.0f}" for side in (own, other))
        rows.append([what, *times, f"{other['ratio']:.2f}", peaks])
    header = ["calibrated and quantized", "refquant, ms", "TensorFlow, ms", "times TensorFlow's time", "peak MB"]
    return _table(header, rows)


CONVERTER_HEADER = ["op", "types", "what the converter does", "refquant.quantize", "see"]


def _errata_rows(found: Iterable[Erratum]) -> list[list[str]]:
    return [
        [
            e.op,
            ", ".join(e.types),
            e.what,
            e.treatment,
            " ".join(f"[{i + 1}]({link})" for i, link in enumerate(e.links)),
        ]
        for e in found
    ]


def errata() -> str:
    """Known wrong behaviour of the runtimes, with the tiny model that shows it where golden/errata has one."""
    rows = []
    for erratum, (op, types, what, treatment, links) in zip(ERRATA, _errata_rows(ERRATA), strict=True):
        runtimes = ", ".join(f"`{name}`" for name in erratum.runtime.split(", "))
        versions = erratum.versions + (f"; right in {erratum.mended}" if erratum.mended else "")
        model = f"golden/errata/{erratum.key}.tflite"
        shown = f" [model]({model})" if (REPOSITORY / model).exists() else ""
        rows.append([runtimes, op, types, what, treatment, versions, links + shown])
    return _table(["runtime", "op", "types", "what the real one does", "refquant", "seen in", "see"], rows)


def converter_errata() -> str:
    """What the converter's quantizer writes that is wrong, cannot run or depends on chance."""
    return _table(CONVERTER_HEADER, _errata_rows(e for e in CONVERTER_ERRATA if e.runtime == "converter"))


def legacy_errata() -> str:
    """The same of its old quantizer."""
    return _table(CONVERTER_HEADER, _errata_rows(e for e in CONVERTER_ERRATA if e.runtime != "converter"))


TABLES = {
    "operators": operators,
    "models": models,
    "runtimes": runtimes,
    "runtime evidence": evidence,
    "inexact": inexact,
    "runtime models": public_models,
    "converter": converter,
    "mnist": mnist,
    "cifar10": cifar10,
    "old quantizer": old_quantizer,
    "without samples": without_samples,
    "quantization aware": quantization_aware,
    "estimators": estimators,
    "speed": speed,
    "described speed": described_speed,
    "quantizing": quantizing,
    "errata": errata,
    "converter errata": converter_errata,
    "legacy errata": legacy_errata,
}


def rendered(text: str) -> str:
    """The page with every table made anew."""
    for name, make in TABLES.items():
        pattern = re.compile(rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
        if not pattern.search(text):
            raise SystemExit(f"README.md has no marks for the table '{name}'")
        table = make()
        text = pattern.sub(lambda match, table=table: f"{match[1]}\n{table}\n\n{match[2]}", text)
    return text


def main() -> int:
    """The command line."""
    old = README.read_text(encoding="utf-8")
    new = rendered(old)
    if "--check" in sys.argv[1:]:
        print("README.md is as golden/ says" if new == old else "README.md differs: run python tools/render_tables.py")
        return int(new != old)
    README.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
