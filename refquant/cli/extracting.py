"""The verb `extract`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

import refquant
from refquant.cli.arrays import count_samples, keep_apart, read_arrays, write_npz
from refquant.cli.console import JsonFlag, ModelPath, out, print_json, progress_bar, short
from refquant.errors import InvalidInput
from refquant.files import write_together


def extract(
    model: ModelPath,
    operator: Annotated[
        str, typer.Option("--op", metavar="N|NAME", help="The operator's number, or the name of a tensor it gives.")
    ],
    inputs: Annotated[Path, typer.Option("--inputs", "-i", help="A .npy or .npz file, as `run` takes it.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The new .tflite file; its .npz files come beside it.")
    ],
    subgraph: Annotated[int, typer.Option(help="The subgraph that holds the operator.")] = 0,
    sample: Annotated[
        int | None, typer.Option(help="Which sample of the inputs, from 0; all of them unless given.")
    ] = None,
    runtime: Annotated[
        str, typer.Option(help="Which runtime gives the operator's inputs, described or installed (litert:default).")
    ] = "tflite_ref",
    as_json: JsonFlag = False,
) -> None:
    """Write one operator as a model of its own. The tensors that feed it and those that it gives come beside it."""
    from refquant.compare.extract import cut_out

    fed, expected = output.with_suffix(".npz"), output.with_name(f"{output.stem}_expected.npz")
    if fed == output:
        raise InvalidInput(f"{output}: the model needs another suffix than .npz, such as .tflite")
    for path in (output, fed, expected):
        keep_apart(path, model, inputs)
    loaded, arrays = refquant.load(model), read_arrays(inputs)
    chosen = int(operator) if operator.isascii() and operator.isdecimal() else operator
    with progress_bar("running", count_samples(arrays)) as progress:
        found = cut_out(loaded, chosen, arrays, runtime, subgraph, sample, progress)
    data = found.model.to_bytes()
    write_together(
        {
            output: lambda file: file.write(data),
            fed: lambda file: write_npz(file, found.inputs),
            expected: lambda file: write_npz(file, found.outputs),
        }
    )
    if as_json:
        files = {"model": str(output), "inputs": str(fed), "expected": str(expected)}
        kinds = {"inputs": found.inputs, "outputs": found.outputs}
        tensors = {
            kind: [{"name": n, "type": a.dtype.name, "shape": a.shape} for n, a in named.items()]
            for kind, named in kinds.items()
        }
        print_json({"operator": found.place, "runtime": runtime, "files": files, **tensors})
        return
    console = out()
    console.print(escape(f"{output}: {found.place}, {len(data):,} bytes"))
    for path, kind, named in ((fed, "what feeds it", found.inputs), (expected, f"what {runtime} gives", found.outputs)):
        console.print(escape(f"{path}: {kind}"))
        for name, array in named.items():
            console.print(escape(f"  {array.dtype.name} {'x'.join(map(str, array.shape)) or 'scalar'} {short(name)}"))
    console.print(escape(f"run it: refquant run {output} --inputs {fed}"))
