"""refquant beside LiteRT and TensorFlow: `python tools/benchmark.py`. Needs `pip install -e '.[test,tensorflow]'`.

Running, on one thread. Models: vww_int8 and resnet8_int8 of MLPerf Tiny (in $REFQUANT_MODELS, or in ../shared/models
beside the repository) and an int8 network like MobileNetV2 that this tool builds. Every engine has a process of its
own; the rounds of all engines are interleaved, so that a busy machine slows all of them alike. Times are medians;
ratios are refquant's time over the other's. In the same run refquant's output must equal BUILTIN_REF's; exit code 1 if
it does not.

The described runtimes beside tflite_ref, in the same way: ratios are a runtime's time over tflite_ref's, and each one's
output must equal that of LiteRT's engine that it describes.

Calibrating and quantizing, with each side's own number of threads: vww_float of MLPerf Tiny on 100 samples, from the
bytes of the float model to those of the int8 model. TensorFlow calibrates with its default threads, up to 4; refquant
with those that NumPy's BLAS takes: none where products are as small as this model's. No time is asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from golden_manifest import REPOSITORY, Made, circumstances, record, write_json

sys.path.insert(0, str(REPOSITORY))

from refquant.runtimes import RUNTIMES

CHILD = Path(__file__).with_name("benchmark_child.py")
MODELS = Path(os.environ.get("REFQUANT_MODELS", REPOSITORY.parent / "shared" / "models"))
PUBLIC = {"vww_int8": "mlperf_tiny/vww_int8.tflite", "resnet8_int8": "mlperf_tiny/resnet8_int8.tflite"}
BUILT = "mobilenet_v2_like"
FLOAT = {"vww_float": "mlperf_tiny/vww_float.tflite"}
QUANTIZE_CHILD = Path(__file__).with_name("benchmark_quantize_child.py")
SAMPLES = 100
QUANTIZING_ROUNDS = 3  # times the rounds of the rest: the work is short, and busy cores disturb threads more
SIDES = {"refquant": "refquant", "tensorflow": "TensorFlow"}
REFERENCE = "BUILTIN_REF"
EVIDENCE = "golden/benchmark.json"
PACKAGES = ("ai-edge-litert", "tensorflow", "numpy")
ENGINES = {
    "refquant": "refquant, tflite_ref",
    REFERENCE: "LiteRT, BUILTIN_REF",
    "BUILTIN_WITHOUT_DEFAULT_DELEGATES": "LiteRT, BUILTIN_WITHOUT_DEFAULT_DELEGATES",
    "AUTO": "LiteRT, default (XNNPACK)",
}
PARTS = ("results", "described", "quantizing")
BASE = "tflite_ref"
# Described runtime -> the engine of LiteRT that it describes.
REAL = {"tflite_ref": REFERENCE, "tflite_opt": "BUILTIN_WITHOUT_DEFAULT_DELEGATES", "xnnpack": "AUTO"}
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)


@dataclass(frozen=True, slots=True)
class Result:
    """One engine on one model and batch. `ratio`: refquant's median over this one's."""

    model: str
    batch: int
    engine: str
    how: str
    median_seconds: float
    ratio: float
    peak_bytes: int
    equals_reference: bool


@dataclass(frozen=True, slots=True)
class Described:
    """One described runtime on one model and batch. `ratio`: its median over tflite_ref's.

    `equals_real`: whether its output is that of the engine that it describes; None where LiteRT has none.
    """

    model: str
    batch: int
    runtime: str
    median_seconds: float
    ratio: float
    peak_bytes: int
    equals_real: bool | None


@dataclass(frozen=True, slots=True)
class Quantizing:
    """One side calibrating and quantizing one model. `ratio`: refquant's median over this one's."""

    model: str
    samples: int
    side: str
    median_seconds: float
    fastest_seconds: float
    ratio: float
    peak_bytes: int
    model_bytes: int


class Engine:
    """The parent's end of one child process."""

    def __init__(
        self, name: str, model: Path, batch: int, script: Path = CHILD, limits: Mapping[str, str] = ONE_THREAD
    ) -> None:
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  (lives as long as the child)
        self.child = subprocess.Popen(
            [sys.executable, str(script), name, str(model), str(batch)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env={**os.environ, **limits},
        )
        self.how = self.answer()["how"]
        self.seconds: list[float] = []

    def answer(self) -> dict[str, Any]:
        """The child's next line."""
        line = self.child.stdout.readline()  # type: ignore[union-attr]
        if not line:
            self.errors.seek(0)
            raise SystemExit(f"{' '.join(self.child.args)} died:\n{self.errors.read()[-2000:]}")  # type: ignore[arg-type]
        return json.loads(line)

    def ask(self, what: str) -> dict[str, Any]:
        """Sends one line and reads the answer."""
        self.child.stdin.write(f"{what}\n")  # type: ignore[union-attr]
        self.child.stdin.flush()  # type: ignore[union-attr]
        return self.answer()

    def end(self) -> dict[str, Any]:
        """The child's peak memory and digest; it exits."""
        last = self.ask("end")
        self.child.wait()
        self.errors.close()
        return last


def in_turn(
    engines: Mapping[str, Engine], rounds: int, advance: Callable[[], object]
) -> tuple[dict[str, dict[str, Any]], dict[str, float]]:
    """Runs every engine once a round, then ends them: (what each tells at its end, its median seconds)."""
    for _ in range(rounds):
        for engine in engines.values():
            engine.seconds.append(engine.ask("run")["seconds"])
            advance()
    ends = {name: engine.end() for name, engine in engines.items()}
    return ends, {name: statistics.median(engine.seconds) for name, engine in engines.items()}


def measure(name: str, model: Path, batch: int, rounds: int, progress: Progress) -> list[Result]:
    """All engines on one model and batch, round after round in turn."""
    task = progress.add_task(f"{name}, batch {batch}", total=rounds * len(ENGINES))
    engines = {engine: Engine(engine, model, batch) for engine in ENGINES}
    ends, medians = in_turn(engines, rounds, lambda: progress.advance(task))
    return [
        Result(
            name,
            batch,
            key,
            engine.how,
            medians[key],
            medians["refquant"] / medians[key],
            ends[key]["peak"],
            ends[key]["digest"] == ends[REFERENCE]["digest"],
        )
        for key, engine in engines.items()
    ]


def measure_described(
    name: str, model: Path, batch: int, rounds: int, runtimes: Sequence[str], progress: Progress
) -> list[Described]:
    """tflite_ref and other described runtimes on one model and batch, round after round in turn."""
    task = progress.add_task(f"{name}, batch {batch}, described", total=rounds * (len(runtimes) + 1))
    engines = {runtime: Engine(f"refquant:{runtime}", model, batch) for runtime in (BASE, *runtimes)}
    ends, medians = in_turn(engines, rounds, lambda: progress.advance(task))
    real = {runtime: Engine(REAL[runtime], model, batch).end()["digest"] for runtime in engines if runtime in REAL}
    return [
        Described(
            name,
            batch,
            runtime,
            medians[runtime],
            medians[runtime] / medians[BASE],
            ends[runtime]["peak"],
            ends[runtime]["digest"] == real[runtime] if runtime in real else None,
        )
        for runtime in engines
    ]


def measure_quantizing(name: str, model: Path, rounds: int, progress: Progress) -> list[Quantizing]:
    """Both sides on one float model, round after round in turn."""
    task = progress.add_task(f"{name}, quantizing", total=rounds * len(SIDES))
    sides = {side: Engine(side, model, SAMPLES, QUANTIZE_CHILD, {}) for side in SIDES}
    for _ in range(rounds):
        for side in sides.values():
            side.seconds.append(side.ask("run")["seconds"])
            progress.advance(task)
    ends = {key: side.end() for key, side in sides.items()}
    medians = {key: statistics.median(side.seconds) for key, side in sides.items()}
    return [
        Quantizing(
            name,
            SAMPLES,
            key,
            medians[key],
            min(side.seconds),
            medians["refquant"] / medians[key],
            ends[key]["peak"],
            ends[key]["bytes"],
        )
        for key, side in sides.items()
    ]


def quantizing_table(results: list[Quantizing]) -> Table:
    """The quantizing results for people."""
    shown = Table("model", "samples", "calibrated and quantized by", "ms", "fastest, ms", "refquant takes", "peak MB")
    for column in shown.columns[3:]:
        column.justify = "right"
    for r in results:
        times = f"{1000 * r.median_seconds:.0f}", f"{1000 * r.fastest_seconds:.0f}"
        ratio = "" if r.side == "refquant" else f"{r.ratio:.2f}x"
        shown.add_row(r.model, str(r.samples), SIDES[r.side], *times, ratio, f"{r.peak_bytes / 1e6:.0f}")
    return shown


def described_table(results: list[Described]) -> Table:
    """The described runtimes for people."""
    shown = Table("model", "batch", "described runtime", "ms", "times tflite_ref", "peak MB", "output")
    for column in shown.columns[3:6]:
        column.justify = "right"
    for number, r in enumerate(results):
        if number and (r.model, r.batch) != (results[number - 1].model, results[number - 1].batch):
            shown.add_section()
        equal = "" if r.equals_real is None else "= the real one" if r.equals_real else "differs"
        times = f"{1000 * r.median_seconds:.2f}", f"{r.ratio:.2f}x"
        shown.add_row(r.model, str(r.batch), r.runtime, *times, f"{r.peak_bytes / 1e6:.0f}", equal)
    return shown


def table(results: list[Result]) -> Table:
    """The results for people."""
    shown = Table("model", "batch", "engine", "ms", "ms a sample", "refquant takes", "peak MB", "output", "batch as")
    for column in shown.columns[3:7]:
        column.justify = "right"
    for number, r in enumerate(results):
        if number and (r.model, r.batch) != (results[number - 1].model, results[number - 1].batch):
            shown.add_section()
        milliseconds = r.median_seconds * 1000
        shown.add_row(
            r.model,
            str(r.batch),
            ENGINES[r.engine],
            f"{milliseconds:.2f}",
            f"{milliseconds / r.batch:.3f}",
            "" if r.engine == "refquant" else f"{r.ratio:.2f}x",
            f"{r.peak_bytes / 1e6:.0f}",
            "= BUILTIN_REF" if r.equals_reference else "differs",
            "" if r.batch == 1 else r.how,
        )
    return shown


def measure_all(arguments: argparse.Namespace) -> tuple[dict[str, list[Any]], list[str]]:
    """(the results of each part, what was left out)."""
    from benchmark_model import mobilenet_v2_like

    measured: dict[str, list[Any]] = {part: [] for part in PARTS}
    notes = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with tempfile.TemporaryDirectory() as folder, Progress(*columns, console=Console(stderr=True)) as progress:
        built = Path(folder) / f"{BUILT}.tflite"
        built.write_bytes(mobilenet_v2_like().to_bytes())
        paths = {**{name: MODELS / path for name, path in {**PUBLIC, **FLOAT}.items()}, BUILT: built}
        for name, path in paths.items():
            wanted = [part for part in arguments.part or PARTS if (part == "quantizing") == (name in FLOAT)]
            if arguments.only not in (None, name) or not wanted:
                continue
            if not path.exists():
                notes.append(f"models missing: {path} (set REFQUANT_MODELS); {name} is left out")
            elif name in FLOAT and find_spec("tensorflow") is None:
                notes.append(f"TensorFlow is not installed (pip install '.[tensorflow]'); {name} is left out")
            elif name in FLOAT:
                rounds = QUANTIZING_ROUNDS * arguments.rounds
                measured["quantizing"] += measure_quantizing(name, path, rounds, progress)
            else:
                for batch in arguments.batch or (1, 32):
                    if "results" in wanted:
                        measured["results"] += measure(name, path, batch, arguments.rounds, progress)
                    if "described" in wanted:
                        described = measure_described(name, path, batch, arguments.rounds, arguments.runtimes, progress)
                        measured["described"] += described
    return measured, notes


def write(around: dict[str, Any], rounds: int, measured: dict[str, list[Any]]) -> None:
    """golden/benchmark.json and its entry in the manifest. A part that was not measured stays as it is there."""
    path = REPOSITORY / EVIDENCE
    old = json.loads(path.read_text()) if path.exists() else {}
    what = (
        "results: running, refquant and LiteRT on one thread; described: the described runtimes beside tflite_ref, on "
        "one thread; quantizing: refquant and TensorFlow with their own threads; medians of interleaved rounds, "
        f"{QUANTIZING_ROUNDS} times as many for quantizing; ratio: refquant's time over the other's, a described "
        "runtime's over tflite_ref's"
    )
    parts = {key: rows or old.get(key, []) for key, rows in measured.items()}
    write_json(path, {"what": what, **around, "rounds": rounds, **parts})
    made = Made(EVIDENCE, "how long refquant, LiteRT and TensorFlow took side by side", "measured by this tool")
    record(REPOSITORY, "benchmark", f"python tools/benchmark.py --rounds {rounds} --write", [made], PACKAGES)


def arguments_of(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The command line's arguments."""
    proved = [name for name, runtime in RUNTIMES.items() if runtime.oracle is not None and name != BASE]
    parser.add_argument("--rounds", type=int, default=7, help="default 7")
    parser.add_argument("--batch", type=int, action="append", help="may be repeated; default 1 and 32")
    parser.add_argument("--only", choices=[*PUBLIC, BUILT, *FLOAT], help="one model")
    parser.add_argument("--part", choices=PARTS, action="append", help="may be repeated; default all")
    parser.add_argument("--runtimes", default=",".join(proved), help=f"described ones, by comma; default {proved}")
    parser.add_argument("--write", action="store_true", help=f"keep the figures in {EVIDENCE}")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    arguments.runtimes = arguments.runtimes.split(",")
    if unknown := [name for name in arguments.runtimes if name not in RUNTIMES or name == BASE]:
        parser.error(f"--runtimes: {', '.join(unknown)}: not one of {', '.join(n for n in RUNTIMES if n != BASE)}")
    if arguments.write and (arguments.batch or arguments.only not in (None, *FLOAT) or arguments.runtimes != proved):
        parser.error(
            "--write keeps whole parts; leave out --batch, --runtimes, and --only unless it is the float model"
        )
    return arguments


def main() -> int:
    """The command line."""
    arguments = arguments_of(
        argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    )
    found, notes = measure_all(arguments)
    around = circumstances(PACKAGES)
    measured = {part: list(map(asdict, rows)) for part, rows in found.items()}
    if arguments.json:
        print(json.dumps({**around, "rounds": arguments.rounds, "notes": notes, **measured}))
    else:
        for part, make in (("results", table), ("described", described_table), ("quantizing", quantizing_table)):
            if found[part]:
                Console(width=170).print(make(found[part]))
        versions = ", ".join(f"{package} {version}" for package, version in around["versions"].items())
        rounds = f"{arguments.rounds} interleaved rounds, {QUANTIZING_ROUNDS} times as many for quantizing"
        print("\n".join([f"medians of {rounds}; {versions}", *notes]))
    if arguments.write and not notes:
        write(around, arguments.rounds, measured)
    unequal = [f"{r.model}, batch {r.batch}: refquant" for r in found["results"] if not _is_right(r)]
    unequal += [f"{r.model}, batch {r.batch}: {r.runtime}" for r in found["described"] if r.equals_real is False]
    for what in unequal:
        print(f"{what}'s output differs from that of LiteRT", file=sys.stderr)
    return 1 if unequal else 0


def _is_right(result: Result) -> bool:
    return result.engine != "refquant" or result.equals_reference


if __name__ == "__main__":
    raise SystemExit(main())
