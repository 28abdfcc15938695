"""The command line: each verb reads its files, calls one public function and prints what it gives.

Exit codes: 0 = done or equal, 1 = differs, 2 = usage or bad input. Results go to stdout, progress and errors to stderr.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
import sys
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import refquant
from refquant.errors import InvalidInput, RefquantError
from refquant.files import write_whole
from refquant.inspection import GraphSummary, ModelSummary, TensorSummary, inspect_model
from refquant.model.graph import Array

app = typer.Typer(
    name="refquant",
    help="The open reference for TFLite's integer arithmetic.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
ModelPath = Annotated[Path, typer.Argument(metavar="MODEL", help="A .tflite file.", show_default=False)]


def main() -> None:
    """Entry point: every error of refquant is one line on stderr and exit code 2."""
    warnings.showwarning = _print_warning
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that has no box characters still shows the table
    try:
        app(standalone_mode=True)
    except RefquantError as error:
        _fail(str(error))
    except MemoryError:
        _fail("this needs more memory than there is")
    except OSError as error:  # stdout that cannot be written, a file of the installation that is gone
        _fail(f"{error.filename or 'the output'}: {error.strerror or error}")


def _print_warning(message: Warning | str, *_: object, **__: object) -> None:
    print_error(f"refquant: warning: {message}")


class _Console(Console):
    """A console whose reader may leave (`| head`): the command goes on, and its exit code still tells the result."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(text: str) -> None:
    print_error(f"refquant: {' '.join(text.split())}")
    raise SystemExit(2)


def print_error(text: str) -> None:
    """One line on stderr, unwrapped and uncoloured."""
    typer.echo(text, err=True)


def _out() -> Console:
    """stdout for people; wide enough for whole names where the output is not a terminal."""
    console = _Console(highlight=False)
    return console if console.is_terminal else _Console(highlight=False, width=max(console.width, 160))


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False))


def _plain(value: Any) -> Any:
    """Dataclasses, arrays and NumPy scalars as what JSON can hold; non-finite numbers as strings."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


@contextmanager
def _progress(what: str, total: int | None) -> Iterator[Any]:
    """A progress bar on stderr that vanishes when done; yields a function of the number done so far."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def _read_arrays(path: Path) -> Array | list[Array] | dict[str, Array]:
    """The arrays of a .npy or .npz file, never unpickled: an array, a list (arr_0, arr_1, ...) or {name: array}."""
    if path.is_dir():
        raise InvalidInput(f"{path}: this is a directory, not a .npy or .npz file")
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            arrays = {name: loaded[name] for name in loaded.files}
    except FileNotFoundError:
        raise InvalidInput(f"{path}: there is no such file") from None
    except Exception as error:  # whatever NumPy, zipfile and zlib find wrong with the bytes
        raise InvalidInput(f"{path}: not a readable .npy or .npz file of plain arrays ({error})") from None
    if not arrays:
        raise InvalidInput(f"{path}: the file holds no array")
    if set(arrays) == {f"arr_{number}" for number in range(len(arrays))}:
        return [arrays[f"arr_{number}"] for number in range(len(arrays))]
    return arrays


def _samples(path: Path, limit: int | None) -> tuple[Iterable[Any], int]:
    """(samples, their number) of a .npy or .npz file; dim 0 of each array counts them, each keeps a batch of 1."""
    arrays = _read_arrays(path)
    parts = (
        arrays if isinstance(arrays, dict) else dict(enumerate([arrays] if isinstance(arrays, np.ndarray) else arrays))
    )
    counts = {str(name): array.shape[0] if array.ndim else 0 for name, array in parts.items()}
    if len(set(counts.values())) != 1 or 0 in counts.values():
        raise InvalidInput(f"{path}: dim 0 must count the samples in every array, but the arrays hold {counts}")
    count = min(next(iter(counts.values())), limit or math.inf)

    def stream() -> Iterator[Any]:
        for number in range(int(count)):
            sample = {name: array[number : number + 1] for name, array in parts.items()}
            yield sample if isinstance(arrays, dict) else list(sample.values())

    return stream(), int(count)


@app.command()
def inspect(model: ModelPath, as_json: JsonFlag = False) -> None:
    """Show operators, tensors, shapes, types, scales, zero points and memory of a model."""
    summary = inspect_model(refquant.load(model))
    if as_json:
        _print_json(summary)
    else:
        _print_summary(summary)


def _print_summary(summary: ModelSummary) -> None:
    console = _out()
    for number, graph in enumerate(summary.graphs):
        title = f"subgraph {number}" + (f" '{graph.name}'" if graph.name else "")
        console.print(_operator_table(graph, title))
        console.print(_tensor_table(graph, title))
        counts = ", ".join(f"{count} {name}" for name, count in graph.operator_counts.items())
        console.print(f"operators: {escape(counts)}")
        memory = graph.memory
        at = "" if memory.peak_operator is None else f" (at operator {memory.peak_operator})"
        console.print(
            f"memory: constants {memory.constants:,} bytes, activations {memory.activations:,} bytes, "
            f"alive at once at most {memory.peak:,} bytes{at}"
        )
    for signature in summary.signatures:
        console.print(escape(f"signature '{signature['key']}': {signature['inputs']} -> {signature['outputs']}"))
    console.print(
        escape(f"description: '{summary.description}', schema {summary.version}, metadata: {list(summary.metadata)}")
    )


def _operator_table(graph: GraphSummary, title: str) -> Table:
    table = Table(title=f"{escape(title)}: operators", title_justify="left")
    for column in ("#", "operator", "version", "inputs", "outputs", "options"):
        table.add_column(column, overflow="fold")
    for operator in graph.operators:
        options = ", ".join(f"{key}={value}" for key, value in operator.options.items())
        table.add_row(
            str(operator.index),
            escape(operator.name),
            str(operator.version),
            " ".join(map(str, operator.inputs)),
            " ".join(map(str, operator.outputs)),
            escape(options),
        )
    return table


def _tensor_table(graph: GraphSummary, title: str) -> Table:
    table = Table(title=f"{escape(title)}: tensors", title_justify="left")
    for column in ("#", "name", "kind", "type", "shape", "bytes", "scale", "zero point"):
        table.add_column(column, overflow="fold", justify="right" if column == "bytes" else "left")
    for tensor in graph.tensors:
        scale, zero_point = _scale_text(tensor)
        table.add_row(
            str(tensor.index),
            escape(_short(tensor.name)),
            tensor.kind,
            tensor.type,
            "x".join(map(str, tensor.shape)) or "scalar",
            f"{tensor.bytes:,}",
            scale,
            zero_point,
        )
    return table


def _short(name: str, limit: int = 56) -> str:
    """The name's beginning where it is long, in printable characters; --json has it whole."""
    name = "".join(c if c.isprintable() else "?" for c in name)
    return name if len(name) <= limit else name[: limit - 1] + "…"


def _scale_text(tensor: TensorSummary) -> tuple[str, str]:
    if not tensor.scale:
        calibrated = tensor.min and tensor.max
        return (f"range {tensor.min[0]:.6g} … {tensor.max[0]:.6g}" if calibrated else ""), ""
    zero_points = sorted(set(tensor.zero_point))
    zero_point = str(zero_points[0]) if len(zero_points) == 1 else f"{zero_points[0]} … {zero_points[-1]}"
    if len(tensor.scale) == 1:
        return str(np.float32(tensor.scale[0])), zero_point
    low, high = min(tensor.scale), max(tensor.scale)
    return f"{len(tensor.scale)} x [{low:.4g} … {high:.4g}] on dim {tensor.quantized_dimension}", zero_point


@app.command()
def run(
    model: ModelPath,
    inputs: Annotated[
        Path, typer.Option("--inputs", "-i", help="A .npy or .npz file; arrays by input name, or in input order.")
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the outputs to this .npz file.")] = None,
    runtime: Annotated[str, typer.Option(help="Whose arithmetic.")] = "tflite_ref",
    overflow: Annotated[str, typer.Option(help="int32 accumulators: wrap, or error.")] = "wrap",
    as_json: JsonFlag = False,
) -> None:
    """Run a model on arrays; N samples on a model of batch 1 give N results."""
    loaded = refquant.load(model)
    arrays = _read_arrays(inputs)
    names = [loaded.graph.tensors[index].name for index in loaded.graph.outputs]
    _keep_apart(output, model, inputs)
    with _progress("running", _count(arrays)) as progress:
        outputs = refquant.run(loaded, arrays, runtime=runtime, overflow=overflow, progress=progress)
    if output is not None:
        write_whole(output, lambda file: _write_npz(file, _unique(names, outputs)))
    if as_json:
        _print_json(
            {
                "runtime": runtime,
                "outputs": [
                    {"name": name, "type": array.dtype.name, "shape": array.shape, "values": array}
                    for name, array in zip(names, outputs, strict=True)
                ],
            }
        )
        return
    table = Table("output", "type", "shape", "min", "max", "first values")
    for name, array in zip(names, outputs, strict=True):
        low, high = (str(array.min()), str(array.max())) if array.size else ("", "")
        first = " ".join(str(value) for value in array.ravel()[:10])
        shape = "x".join(map(str, array.shape)) or "scalar"
        table.add_row(escape(name), array.dtype.name, shape, low, high, first + (" …" if array.size > 10 else ""))
    _out().print(table)


def _count(arrays: Array | list[Array] | dict[str, Array]) -> int:
    """How many samples the arrays seem to hold: the largest dim 0."""
    parts = arrays.values() if isinstance(arrays, dict) else [arrays] if isinstance(arrays, np.ndarray) else arrays
    return max((array.shape[0] for array in parts if array.ndim), default=1)


def _keep_apart(output: Path | None, *inputs: Path | None) -> None:
    """InvalidInput if the output would overwrite an input."""
    for path in inputs:
        if output is not None and path is not None and output.exists() and path.exists() and output.samefile(path):
            raise InvalidInput(f"{output}: is an input of this command; write to another file")


def _unique(names: list[str], arrays: list[Array]) -> dict[str, Array]:
    """{name: array}; a name that occurs again gets its position behind it."""
    result: dict[str, Array] = {}
    for position, (name, array) in enumerate(zip(names, arrays, strict=True)):
        result[name if name and name not in result else f"{name}_{position}"] = array
    return result


def _write_npz(file: IO[bytes], arrays: Mapping[str, Array]) -> None:
    """An .npz file. np.savez would take some names of tensors for its own arguments."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


@app.command()
def calibrate(
    model: ModelPath,
    samples: Annotated[
        Path, typer.Option("--samples", "-s", help="A .npy or .npz file; dim 0 of each array counts the samples.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Write the ranges to this .json file.")],
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first samples.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Run a float model on samples and keep the range of every tensor."""
    _keep_apart(output, model, samples)
    calibration = _calibrate(refquant.load(model), samples, limit)
    calibration.save(output)
    _print_ranges(calibration, as_json)


def _calibrate(model: refquant.Model, path: Path, limit: int | None) -> refquant.Calibration:
    stream, count = _samples(path, limit)
    with _progress("calibrating", count) as progress:
        return refquant.calibrate(model, stream, progress=progress)


def _print_ranges(calibration: refquant.Calibration, as_json: bool) -> None:
    if as_json:
        _print_json({"ranges": {name: list(pair) for name, pair in calibration.ranges.items()}})
        return
    table = Table("tensor", "min", "max")
    for name, (low, high) in calibration.ranges.items():
        table.add_row(escape(str(name)), str(np.float32(low)), str(np.float32(high)))
    _out().print(table)


@app.command()
def quantize(
    model: ModelPath,
    output: Annotated[Path, typer.Option("--output", "-o", help="Write the quantized model to this file.")],
    samples: Annotated[
        Path | None, typer.Option("--samples", "-s", help="Calibrate on this .npy or .npz file.")
    ] = None,
    calibration: Annotated[Path | None, typer.Option("--calibration", "-c", help="Ranges from `calibrate`.")] = None,
    ranges_from: Annotated[
        Path | None, typer.Option(help="Ranges that a converter left in this .tflite file.", show_default=False)
    ] = None,
    mode: Annotated[str, typer.Option(help="How to quantize.")] = "int8",
    input_type: Annotated[str, typer.Option(help="float32, int8 or uint8.")] = "float32",
    output_type: Annotated[str, typer.Option(help="float32, int8 or uint8.")] = "float32",
    per_channel: Annotated[bool, typer.Option(help="One weight scale per output channel, or one per tensor.")] = True,
    per_channel_dense: Annotated[bool, typer.Option(help="The same for FULLY_CONNECTED.")] = True,
    allow_float: Annotated[bool, typer.Option(help="Leave operators without an int8 form in float.")] = True,
    limit: Annotated[int | None, typer.Option(min=1, help="Calibrate on the first samples only.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Quantize a float model as the TFLite converter does."""
    if sum(source is not None for source in (samples, calibration, ranges_from)) != 1:
        raise InvalidInput("give one of --samples, --calibration, --ranges-from")
    _keep_apart(output, model, samples, calibration, ranges_from)
    loaded = refquant.load(model)
    if samples is not None:
        ranges = _calibrate(loaded, samples, limit)
    elif calibration is not None:
        ranges = refquant.Calibration.load(calibration)
    else:
        assert ranges_from is not None
        ranges = refquant.Calibration.from_model(refquant.load(ranges_from))
    quantized = refquant.quantize(
        loaded,
        ranges,
        mode=mode,
        input_type=input_type,
        output_type=output_type,
        per_channel=per_channel,
        per_channel_dense=per_channel_dense,
        allow_float=allow_float,
    )
    refquant.save(quantized, output)
    before, after = inspect_model(loaded).graphs[0], inspect_model(quantized).graphs[0]
    sizes = {"float": model.stat().st_size, "quantized": output.stat().st_size}
    float_operators = [
        operator.name
        for operator in after.operators
        if operator.name not in ("QUANTIZE", "DEQUANTIZE")
        and any(index >= 0 and after.tensors[index].type == "FLOAT32" for index in operator.outputs)
    ]
    if as_json:
        _print_json({"output": str(output), "bytes": sizes, "float_operators": float_operators})
        return
    console = _out()
    console.print(escape(f"{output}: {sizes['quantized']:,} bytes, {sizes['float']:,} before"))
    console.print(f"operators: {len(before.operators)} before, {len(after.operators)} now")
    if float_operators:
        console.print(escape(f"left in float: {', '.join(sorted(set(float_operators)))}"))


@app.command()
def diff(
    first: Annotated[Path, typer.Argument(metavar="A", help="A .tflite file.", show_default=False)],
    second: Annotated[Path, typer.Argument(metavar="B", help="A .tflite file.", show_default=False)],
    as_json: JsonFlag = False,
) -> None:
    """Compare parameters and constants of two models, slot by slot; exit code 1 if they differ."""
    comparison = refquant.compare_models(first, second)
    if as_json:
        _print_json({"equal": comparison.equal, **_plain(comparison)})
    else:
        typer.echo(str(comparison))
    raise typer.Exit(0 if comparison.equal else 1)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"refquant {refquant.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """The open reference for TFLite's integer arithmetic."""


@app.command()
def demo(as_json: JsonFlag = False) -> None:
    """Calibrate, quantize and run a digits network on embedded scans, and check every step against golden results."""
    from refquant.demo import NETWORKS, print_report, run_demo

    with _progress("demo", len(NETWORKS)) as progress:
        report = run_demo(progress)
    if as_json:
        _print_json(report)
    else:
        print_report(report, _out())
    raise typer.Exit(0 if report.equal else 1)


if __name__ == "__main__":
    main()
