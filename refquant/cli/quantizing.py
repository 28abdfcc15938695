"""The verbs `calibrate` and `quantize`."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.markup import escape
from rich.table import Table

import refquant
from refquant.cli.arrays import keep_apart, read_samples
from refquant.cli.console import JsonFlag, ModelPath, out, print_error, print_json, print_text, progress_bar
from refquant.cli.explaining import decision_as_json, print_decision
from refquant.cli.ranges import RangesPath, read_ranges
from refquant.errors import InvalidInput
from refquant.inspection import inspect_model
from refquant.quantizer.quantize import ROUTES, carried_out
from refquant.quantizer.recovered import recover_ranges

# What tells a process how many threads its matrix products may take.
ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

EngineOption = Annotated[
    str, typer.Option(help="Who runs the model: numpy, or tensorflow, whose ranges are the converter's.")
]
JobsOption = Annotated[int, typer.Option(min=1, help="Calibrate in this many processes.")]


def calibrate(
    model: ModelPath,
    samples: Annotated[
        Path, typer.Option("--samples", "-s", help="A .npy or .npz file; dim 0 of each array counts the samples.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Write the ranges to this .json file.")],
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first samples.")] = None,
    estimator: Annotated[
        str, typer.Option(help="minmax, as the converter; or percentile, mse, entropy, which the converter has not.")
    ] = "minmax",
    percentile: Annotated[
        float | None, typer.Option(help="Of the estimator percentile, above 50, at most 100.", show_default="99.99")
    ] = None,
    engine: EngineOption = "numpy",
    jobs: JobsOption = 1,
    as_json: JsonFlag = False,
) -> None:
    """Keep the range of every tensor of a float model on samples."""
    keep_apart(output, model, samples)
    how = {"engine": engine, "estimator": estimator, "percentile": percentile}
    calibration = _calibrate(refquant.load(model), samples, limit, jobs, how)
    calibration.save(output)
    _print_ranges(calibration, as_json)


def _calibrate(
    model: refquant.Model, path: Path, limit: int | None, jobs: int, how: dict[str, Any]
) -> refquant.Calibration:
    stream, count = read_samples(path, limit)
    with progress_bar("calibrating", count) as progress, _pool(jobs) as executor:
        return refquant.calibrate(model, stream, progress=progress, executor=executor, **how)


@contextmanager
def _pool(jobs: int) -> Iterator[Executor | None]:
    """Processes that run BLAS in one thread each; none for one job."""
    if jobs == 1:
        yield None
        return
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    try:
        with _Pool(jobs, mp_context=get_context("spawn")) as executor:
            yield executor
    finally:
        for process in active_children():  # one that started while the pool broke, and would be waited for
            process.terminate()


class _Pool(ProcessPoolExecutor):
    """Processes that do not hear Ctrl-C, which a terminal sends to all of them: this process ends them."""

    def submit(self, *arguments: Any, **named: Any) -> Future[Any]:
        """Processes start here, and inherit which signals are held back."""
        with _held_back(signal.SIGINT):
            return super().submit(*arguments, **named)


@contextmanager
def _held_back(number: signal.Signals) -> Iterator[None]:
    """The signal arrives when this is over. Where a system cannot hold it back, it arrives at once."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [number])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _print_ranges(calibration: refquant.Calibration, as_json: bool) -> None:
    if as_json:
        way = {"estimator": calibration.estimator, "percentile": calibration.percentile}
        print_json({**way, "ranges": {name: list(pair) for name, pair in calibration.ranges.items()}})
        return
    table = Table("tensor", "min", "max")
    for name, (low, high) in calibration.ranges.items():
        table.add_row(escape(str(name)), str(np.float32(low)), str(np.float32(high)))
    out().print(table)


def quantize(
    model: ModelPath,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the quantized model to this file.", show_default=False)
    ] = None,
    samples: Annotated[
        Path | None, typer.Option("--samples", "-s", help="Calibrate on this .npy or .npz file.")
    ] = None,
    calibration: RangesPath = None,
    ranges_from: Annotated[
        Path | None,
        typer.Option(help="Ranges that a converter left in this .tflite file, or those behind its scales."),
    ] = None,
    mode: Annotated[str, typer.Option(help="One of those above.")] = "int8",
    quantizer: Annotated[str, typer.Option(help="mlir, or legacy: the converter's old one.")] = "mlir",
    input_type: Annotated[str, typer.Option(help="float32, int8 or uint8; with int16x8 int16.")] = "float32",
    output_type: Annotated[str, typer.Option(help="float32, int8 or uint8; with int16x8 int16.")] = "float32",
    bias_type: Annotated[
        str | None, typer.Option(help="int32; with int16x8 int64 (the default) or int32.", show_default=False)
    ] = None,
    per_channel: Annotated[bool, typer.Option(help="One weight scale per output channel, or one per tensor.")] = True,
    per_channel_dense: Annotated[bool, typer.Option(help="The same for FULLY_CONNECTED.")] = True,
    allow_float: Annotated[bool, typer.Option(help="Leave operators without an int8 form in float.")] = True,
    denied_ops: Annotated[
        list[str] | None, typer.Option("--denied-op", help="Leave operators of this op in float; may be repeated.")
    ] = None,
    denied_names: Annotated[
        list[str] | None,
        typer.Option("--denied-name", help="Leave the operator that computes this tensor in float; may be repeated."),
    ] = None,
    reproduce_defects: Annotated[
        bool, typer.Option("--reproduce-defects", help="Write the wrong values of the old quantizer (legacy, int16x8).")
    ] = False,
    engine: EngineOption = "numpy",
    jobs: JobsOption = 1,
    explain: Annotated[bool, typer.Option("--explain", help="Tell the parameters of every tensor, and why.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Calibrate on the first samples only.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Quantize a float model as the TFLite converter does.

    \b
    Modes:
      int8           weights and activations in int8; needs samples or ranges
      int16x8        weights in int8, activations in int16; needs samples or ranges
      dynamic_range  weights in int8, activations in float32; needs neither
      float16        constants in float16, activations in float32; needs neither
      qat            int8 by the fake quantization of a quantization-aware model
    """
    sources = sum(source is not None for source in (samples, calibration, ranges_from))
    if sources > 1 or (sources == 0 and _needs_ranges(mode, quantizer)):
        raise InvalidInput("give one of --samples, --calibration, --ranges-from")
    if output is None and not explain:
        raise InvalidInput("give --output, --explain or both")
    if samples is None and (engine != "numpy" or jobs != 1 or limit is not None):
        raise InvalidInput("--engine, --jobs and --limit say how to calibrate: they need --samples")
    keep_apart(output, model, samples, calibration, ranges_from)
    loaded = refquant.load(model)
    ranges: refquant.Calibration | None = None
    if samples is not None:
        ranges = _calibrate(loaded, samples, limit, jobs, {"engine": engine})
    elif calibration is not None:
        ranges = read_ranges(calibration)
    elif ranges_from is not None:
        ranges = _ranges_of(loaded, refquant.load(ranges_from))
    options: dict[str, Any] = {
        "mode": mode,
        "quantizer": quantizer,
        "input_type": input_type,
        "output_type": output_type,
        "per_channel": per_channel,
        "per_channel_dense": per_channel_dense,
        "allow_float": allow_float,
        "denied_ops": denied_ops or (),
        "denied_names": denied_names or (),
        "bias_type": bias_type,
        "reproduce_defects": reproduce_defects,
    }
    decision = refquant.decide(loaded, ranges, **options)
    report: dict[str, Any] = {}
    if explain and as_json:
        report["decision"] = decision_as_json(decision)
    elif explain:
        print_decision(decision, out())
    if output is not None:
        quantized = carried_out(loaded, decision, mode, quantizer)
        refquant.save(quantized, output)
        in_float = ROUTES[mode, quantizer].in_float
        report = {**_written(model, output, loaded, quantized, in_float, as_json), **report}
    avoided = getattr(decision, "avoided", ())  # the old quantizer's decisions alone have them
    remarks = ROUTES[mode, quantizer].remarks(decision)
    if as_json:
        print_json({**report, "avoided": avoided, "remarks": remarks})
        return
    for remark in remarks:
        print_text(remark)
    if avoided:
        print_text(
            "".join(f"avoided: {defect}\n" for defect in avoided) + "--reproduce-defects writes them all the same"
        )


def _needs_ranges(mode: str, quantizer: str) -> bool:
    """Whether the mode quantizes activations by ranges. An unknown mode is told by `decide`."""
    route = ROUTES.get((mode, quantizer))
    return route is not None and route.calibrated


def _ranges_of(model: refquant.Model, file: refquant.Model) -> refquant.Calibration:
    """Those that a calibrating converter left; of a quantized file, those that its parameters came from."""
    if not any(tensor.quantization is not None and tensor.quantization.scale for tensor in file.graph.tensors):
        return refquant.Calibration.from_model(file)
    found = recover_ranges(model, file)
    if found.inexact:
        print_error(
            f"refquant: {len(found.inexact)} ranges do not give the file's parameters: {', '.join(found.inexact)}"
        )
    return found.calibration


def _written(
    model: Path, output: Path, loaded: refquant.Model, quantized: refquant.Model, in_float: bool, as_json: bool
) -> dict[str, Any]:
    """What was written: printed for people, given back for JSON.

    in_float: operators are meant to stay in float, and the constants are what changes.
    """
    found = inspect_model(loaded), inspect_model(quantized)
    before, after = (inspection.graphs[0] for inspection in found)
    sizes = {"float": model.stat().st_size, "quantized": output.stat().st_size}
    float_operators = [
        operator.name
        for operator in after.operators
        if operator.name not in ("QUANTIZE", "DEQUANTIZE")
        and any(index >= 0 and after.tensors[index].type == "FLOAT32" for index in operator.outputs)
    ]
    if as_json:
        return {"output": str(output), "bytes": sizes, "float_operators": float_operators}
    console = out()
    console.print(escape(f"{output}: {sizes['quantized']:,} bytes, {sizes['float']:,} before"))
    console.print(f"operators: {len(before.operators)} before, {len(after.operators)} now")
    if in_float:
        console.print(f"constants: {_constant_types(quantized)}")
    elif float_operators:
        console.print(escape(f"left in float: {', '.join(sorted(set(float_operators)))}"))
    return {}


def _constant_types(model: refquant.Model) -> str:
    """How many constants of numbers that were float32 are of which type: "1 INT8, 3 FLOAT32"."""
    tensors = (tensor for graph in inspect_model(model).graphs for tensor in graph.tensors)
    counts = Counter(tensor.type for tensor in tensors if tensor.kind == "constant")
    return ", ".join(f"{counts[type]} {type}" for type in ("INT8", "FLOAT16", "FLOAT32") if counts[type])
