"""The verb `inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.markup import escape
from rich.table import Table

import refquant
from refquant.cli.console import JsonFlag, ModelPath, out, plain, print_json, print_text, short
from refquant.compare.generations import generation_of
from refquant.compare.modes import MODES, mode_of
from refquant.inspection import GraphSummary, ModelSummary, TensorSummary, inspect_model


def inspect(
    model: ModelPath,
    float_model: Annotated[
        Path | None,
        typer.Option(
            "--float", help="The float model it was made from: its weights may tell who did.", show_default=False
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show a model's mode, operators, tensors and memory. Scales and zero points, and which quantizer wrote it, too."""
    loaded = refquant.load(model)
    summary, mode = inspect_model(loaded), mode_of(loaded)
    generation = generation_of(loaded, None if float_model is None else refquant.load(float_model))
    if as_json:
        words = {"mode": plain(mode) | {"meaning": MODES[mode.name]}}
        quantizer = plain(generation) | {"count": generation.count, "words": str(generation)}
        print_json({**plain(summary), **words, "quantizer": quantizer})
    else:
        _print_summary(summary)
        print_text(f"mode: {mode}\nquantizer: {generation}")


def _print_summary(summary: ModelSummary) -> None:
    console = out()
    for number, graph in enumerate(summary.graphs):
        title = f"subgraph {number}" + (f" '{graph.name}'" if graph.name else "")
        console.print(_operator_table(graph, title))
        console.print(_tensor_table(graph, title))
        counts = ", ".join(f"{count} {name}" for name, count in graph.operator_counts.items())
        console.print(f"operators: {escape(counts)}")
        memory = graph.memory
        at = "" if memory.peak_operator is None else f" (at operator {memory.peak_operator})"
        variables = f"variables {memory.variables:,} bytes, " if memory.variables else ""
        console.print(
            f"memory: constants {memory.constants:,} bytes, {variables}activations {memory.activations:,} bytes, "
            f"alive at once at most {memory.peak:,} bytes{at}"
        )
    for signature in summary.signatures:
        of = f" (subgraph {signature['subgraph']})" if len(summary.graphs) > 1 else ""
        console.print(escape(f"signature '{signature['key']}'{of}: {signature['inputs']} -> {signature['outputs']}"))
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
            escape(short(tensor.name)),
            tensor.kind,
            tensor.type,
            "x".join(map(str, tensor.shape)) or "scalar",
            f"{tensor.bytes:,}",
            scale,
            zero_point,
        )
    return table


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
