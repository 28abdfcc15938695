"""The verb `runtimes`: whose arithmetic there is, what each differs in, and what was measured of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from refquant.cli.console import JsonFlag, out, print_json, print_text
from refquant.errors import InvalidInput
from refquant.evidence import Evidence, cell_text, cells, near_text, read_evidence
from refquant.runtimes import RUNTIMES, runtime_named
from refquant.runtimes.difference import Difference, RuntimeDifference, difference
from refquant.runtimes.runtime import Runtime

NOT_PROVED = "none: not proved against a run"


def runtimes(
    name: Annotated[
        list[str] | None, typer.Argument(metavar="RUNTIME", help="Only these; all of them by default.")
    ] = None,
    op: Annotated[
        str | None, typer.Option("--op", help="The evidence for one operator only, kernel by kernel.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """List the described runtimes: the real one behind each, what it differs in, and the evidence, op by op."""
    chosen = [runtime_named(one) for one in name or RUNTIMES]
    evidence = read_evidence()
    ops = dict.fromkeys(op for runtime in chosen for op in runtime.kernels)
    if op is not None and op not in ops:
        raise InvalidInput(f"no runtime has an operator '{op}'")
    if as_json:
        print_json(_as_json(chosen, evidence, op))
        return
    console = out()
    console.print(_overview(chosen, evidence))
    if op is not None:
        console.print(_kernel_table(chosen, evidence, op))
        return
    for runtime in chosen:
        found = difference(runtime, RUNTIMES)
        if found is not None:
            for table in _difference_tables(runtime, found):
                console.print(table)
    measured = [runtime.name for runtime in chosen if runtime.name in evidence.runtimes]
    if measured:
        _print_evidence(console, evidence, list(ops), measured)


def _as_json(chosen: Iterable[Runtime], evidence: Evidence, op: str | None) -> dict[str, object]:
    described = {
        runtime.name: {
            "oracle": runtime.oracle,
            "base": runtime.base,
            "kernels": {name: list(types) for name, types in runtime.kernels.items() if op in (None, name)},
            "inexact": {name: types for name, types in runtime.inexact.items() if op in (None, name)},
            "difference": difference(runtime, RUNTIMES),
            "evidence": [
                kernel
                for kernel in (evidence.runtimes[runtime.name].kernels if runtime.name in evidence.runtimes else ())
                if op in (None, kernel.op)
            ],
            "models": evidence.runtimes[runtime.name].models if runtime.name in evidence.runtimes else {},
        }
        for runtime in chosen
    }
    about = {"versions": evidence.versions, "processor": evidence.processor, "seed": evidence.seed}
    return {"runtimes": described, "measured_with": about}


def _overview(chosen: Iterable[Runtime], evidence: Evidence) -> Table:
    table = Table("runtime", "the real one", "asked for as", "kernels", "inexact", "measured", "elements", "differing")
    for runtime in chosen:
        found = evidence.runtimes.get(runtime.name)
        oracle = runtime.oracle
        counts = ["", "", ""]
        if found is not None:
            sums = [sum(getattr(kernel, key) for kernel in found.kernels) for key in ("elements", "differing")]
            counts = [f"{number:,}" for number in (len(found.kernels), *sums)]
        table.add_row(
            runtime.name,
            escape(NOT_PROVED if oracle is None else str(oracle)),
            "" if oracle is None else oracle.real,
            str(sum(map(len, runtime.kernels.values()))),
            str(sum(map(len, runtime.inexact.values()))),
            *counts,
        )
    table.caption = "elements and differing: where the runtime is called equal"
    return table


def _difference_tables(runtime: Runtime, found: RuntimeDifference) -> list[Table]:
    tables = [
        _values(f"{runtime.name}: values other than in {found.other}", found.other, runtime.name, found.arithmetic),
        _values(f"{runtime.name}: kernels other than in {found.other}", found.other, runtime.name, found.kernels),
    ]
    if found.not_built:
        tables.append(Table("op", "types", title=f"{runtime.name}: not built", title_justify="left"))
        for op, types in found.not_built.items():
            tables[-1].add_row(op, ", ".join(types))
    if found.delegate is not None:
        by = found.delegate
        takes = Table("op", "types", title=f"{runtime.name}: operators that {by.name} may take", title_justify="left")
        for op, types in by.takes.items():
            takes.add_row(op, ", ".join(types))
        title = f"{by.name}: {{}} other than in {by.other}"
        tables += [
            takes,
            _values(title.format("values"), by.other, by.name, by.arithmetic),
            _values(title.format("kernels"), by.other, by.name, by.kernels),
        ]
    return [table for table in tables if table.row_count]


def _values(title: str, other: str, own: str, differences: Iterable[Difference]) -> Table:
    table = Table("", other, own, title=title, title_justify="left")
    for one in differences:
        table.add_row(*map(escape, (one.name, one.other, one.own)))
    return table


def _print_evidence(console: Console, evidence: Evidence, ops: list[str], names: list[str]) -> None:
    table = Table("op", *names, title="differing elements, random one-operator models", title_justify="left")
    for op in ops:
        found = cells(evidence, op)
        table.add_row(op, *(escape(cell_text(found[name])) for name in names))
    console.print(table)
    versions = ", ".join(f"{package} {version}" for package, version in evidence.versions.items())
    flags = " ".join(evidence.processor.get("kernel_flags", ()))
    print_text(f"measured with {versions} on {evidence.processor['machine']} ({flags}), seed {evidence.seed}")


def _kernel_table(chosen: Iterable[Runtime], evidence: Evidence, op: str) -> Table:
    columns = ("models", "elements", "differing", "delegated", "refused", "crashed", "undefined")
    table = Table(title=op, title_justify="left")
    for name in ("runtime", "kernel"):
        table.add_column(name, no_wrap=True)
    for name in (*columns, "only near", "because"):
        table.add_column(name)
    for runtime in chosen:
        for kernel in cells(evidence, op).get(runtime.name, ()):
            numbers = (f"{getattr(kernel, column):,}" for column in columns)
            near = ("", "") if kernel.near is None else (near_text(kernel.near), kernel.near.why)
            table.add_row(runtime.name, kernel.kernel.partition(" ")[2], *numbers, *map(escape, near))
    return table
