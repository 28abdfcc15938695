"""The verbs `calibrate` and `quantize`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.markup import escape
from rich.table import Table

import refquant
from refquant.cli.arrays import keep_apart, read_samples
from refquant.cli.console import JsonFlag, ModelPath, out, print_json, progress_bar
from refquant.cli.explaining import decision_as_json, print_decision
from refquant.errors import InvalidInput
from refquant.inspection import inspect_model

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
    """Run a float model on samples and keep the range of every tensor."""
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
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as executor:
        yield executor


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
    calibration: Annotated[Path | None, typer.Option("--calibration", "-c", help="Ranges from `calibrate`.")] = None,
    ranges_from: Annotated[
        Path | None, typer.Option(help="Ranges that a converter left in this .tflite file.", show_default=False)
    ] = None,
    mode: Annotated[str, typer.Option(help="int8, or int16x8: int16 activations, int8 weights.")] = "int8",
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
    engine: EngineOption = "numpy",
    jobs: JobsOption = 1,
    explain: Annotated[bool, typer.Option("--explain", help="Tell the parameters of every tensor, and why.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Calibrate on the first samples only.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Quantize a float model as the TFLite converter does."""
    if sum(source is not None for source in (samples, calibration, ranges_from)) != 1:
        raise InvalidInput("give one of --samples, --calibration, --ranges-from")
    if output is None and not explain:
        raise InvalidInput("give --output, --explain or both")
    if samples is None and (engine != "numpy" or jobs != 1 or limit is not None):
        raise InvalidInput("--engine, --jobs and --limit say how to calibrate: they need --samples")
    keep_apart(output, model, samples, calibration, ranges_from)
    loaded = refquant.load(model)
    if samples is not None:
        ranges = _calibrate(loaded, samples, limit, jobs, {"engine": engine})
    elif calibration is not None:
        ranges = refquant.Calibration.load(calibration)
    else:
        assert ranges_from is not None
        ranges = refquant.Calibration.from_model(refquant.load(ranges_from))
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
    }
    report: dict[str, Any] = {}
    if explain:
        decision = refquant.decide(loaded, ranges, **options)
        if as_json:
            report["decision"] = decision_as_json(decision)
        else:
            print_decision(decision, out())
    if output is not None:
        quantized = refquant.quantize(loaded, ranges, **options)
        refquant.save(quantized, output)
        report = {**_written(model, output, loaded, quantized, as_json), **report}
    if as_json:
        print_json(report)


def _written(
    model: Path, output: Path, loaded: refquant.Model, quantized: refquant.Model, as_json: bool
) -> dict[str, Any]:
    """What was written: printed for people, given back for JSON."""
    before, after = inspect_model(loaded).graphs[0], inspect_model(quantized).graphs[0]
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
    if float_operators:
        console.print(escape(f"left in float: {', '.join(sorted(set(float_operators)))}"))
    return {}
