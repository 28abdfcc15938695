"""The verbs `run` and `demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

import refquant
from refquant.cli.arrays import count_samples, keep_apart, read_arrays, unique_names, write_npz
from refquant.cli.console import JsonFlag, ModelPath, out, print_json, progress_bar
from refquant.files import write_whole


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
    """Run a model on arrays. N samples on a model of batch 1 give N results."""
    loaded = refquant.load(model)
    arrays = read_arrays(inputs)
    names = [loaded.graph.tensors[index].name for index in loaded.graph.outputs]
    keep_apart(output, model, inputs)
    with progress_bar("running", count_samples(arrays)) as progress:
        outputs = refquant.run(loaded, arrays, runtime=runtime, overflow=overflow, progress=progress)
    if output is not None:
        write_whole(output, lambda file: write_npz(file, unique_names(names, outputs)))
    if as_json:
        print_json(
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
    out().print(table)


def demo(as_json: JsonFlag = False) -> None:
    """Quantize and run a digits network, and check every step. Against what TensorFlow and LiteRT answered."""
    from refquant.demo import NETWORKS, print_report, run_demo

    with progress_bar("demo", len(NETWORKS)) as progress:
        report = run_demo(progress)
    if as_json:
        print_json(report)
    else:
        print_report(report, out())
    raise typer.Exit(0 if report.equal else 1)
