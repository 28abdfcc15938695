"""The verb `runtimes`: whose arithmetic there is, what each differs in, and what was measured of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from refquant.cli.console import JsonFlag, out, print_json, print_text
from refquant.errors import InvalidInput
from refquant.evidence import Evidence, KernelEvidence, cell_text, cells, near_text, read_evidence, types_of
from refquant.runtimes import RUNTIMES, runtime_named
from refquant.runtimes.difference import Difference, RuntimeDifference, difference
from refquant.runtimes.runtime import Runtime

NOT_PROVED = "stands for no real one"
CASES = "cases: op and type, {} random models each; inexact: those not, or not wholly, called equal"
NEXT = "all that one differs in: refquant runtimes tflite_opt; the evidence: --op CONV_2D, or --evidence for every op"


def runtimes(
    name: Annotated[
        list[str] | None, typer.Argument(metavar="RUNTIME", help="Only these, with all that they differ in.")
    ] = None,
    op: Annotated[str | None, typer.Option("--op", help="The evidence for one operator only, case by case.")] = None,
    by_op: Annotated[bool, typer.Option("--evidence", help="The evidence for every operator.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """List the described runtimes and what was measured of each. Of one that is named, all that it differs in."""
    chosen = [runtime_named(one) for one in name or RUNTIMES]
    evidence = read_evidence()
    ops = dict.fromkeys(op for runtime in chosen for op in runtime.kernels)
    if op is not None and op not in ops:
        raise InvalidInput(f"no runtime has an operator '{op}'")
    if as_json:
        print_json(_as_json(chosen, evidence, op))
        return
    console = out()
    if op is not None:
        _print_cases(console, chosen, evidence, op)
        return
    console.print(_overview(chosen, evidence))
    differences = {runtime.name: difference(runtime, RUNTIMES) for runtime in chosen}
    print_text(CASES.format(evidence.models_per_kernel))
    for runtime in chosen:
        print_text(_in_words(runtime, differences[runtime.name]))
    for runtime in chosen if name else ():
        for table in (*_difference_tables(runtime, differences[runtime.name]), _inexact(runtime)):
            if table.row_count:
                console.print(table)
    measured = [runtime.name for runtime in chosen if runtime.name in evidence.runtimes]
    if by_op and measured:
        _print_evidence(console, evidence, list(ops), measured)
    if not name and not by_op:
        print_text(NEXT)


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
    table = Table("runtime", "real one", "cases", "elements", "differing", "inexact")
    for column in table.columns:
        column.no_wrap = True
    for runtime in chosen:
        found = evidence.runtimes.get(runtime.name)
        counts = [""] * 4
        if found is not None:
            equal = [kernel for kernel in found.kernels if kernel.models]
            sums = [sum(getattr(kernel, key) for kernel in equal) for key in ("elements", "differing")]
            near = sum(kernel.near is not None for kernel in found.kernels)
            counts = [f"{number:,}" for number in (len(equal), *sums, near)]
        table.add_row(runtime.name, "none" if runtime.oracle is None else runtime.oracle.real, *counts)
    return table


def _in_words(runtime: Runtime, found: RuntimeDifference | None) -> str:
    """The real one of a runtime, and how much it differs in from another described one."""
    text = f"{runtime.name}: {NOT_PROVED if runtime.oracle is None else runtime.oracle}"
    if found is None:
        return text
    counts = {"other values": len(found.arithmetic), "other kernels": len(found.kernels)}
    parts = [f"{count} {what}" for what, count in counts.items() if count]
    if found.delegate is not None:
        parts.append(f"{found.delegate.name} in {len(found.delegate.takes)} ops")
    if found.not_built:
        parts.append(f"{sum(map(len, found.not_built.values()))} kernels not built")
    return f"{text}\n  {found.other} with {', '.join(parts)}"


def _difference_tables(runtime: Runtime, found: RuntimeDifference | None) -> list[Table]:
    if found is None:
        return []
    tables = [
        _values(f"{runtime.name}: values other than in {found.other}", found.other, runtime.name, found.arithmetic),
        _values(f"{runtime.name}: kernels other than in {found.other}", found.other, runtime.name, found.kernels),
        _ops(f"{runtime.name}: not built", found.not_built),
    ]
    if found.delegate is not None:
        by = found.delegate
        title = f"{by.name}: {{}} other than in {by.other}"
        tables += [
            _ops(f"{runtime.name}: operators that {by.name} may take", by.takes),
            _values(title.format("values"), by.other, by.name, by.arithmetic),
            _values(title.format("kernels"), by.other, by.name, by.kernels),
        ]
    return tables


def _values(title: str, other: str, own: str, differences: Iterable[Difference]) -> Table:
    """A line for each pair of values, with all the places that have it."""
    table = Table(other, own, "in", title=title, title_justify="left")
    places: dict[tuple[str, str], list[str]] = {}
    for one in differences:
        places.setdefault((one.other, one.own), []).append(one.name)
    for pair, names in places.items():
        table.add_row(*map(escape, (*pair, _by_op(names))))
    return table


def _by_op(names: Iterable[str]) -> str:
    """["ADD INT8", "ADD UINT8", "SUB INT8", "SUB UINT8"] -> "ADD, SUB: INT8, UINT8"; "CONV_2D.requantizer" likewise."""
    ops: dict[str, list[str]] = {}
    for name in names:
        op, part = re.split(r"[ .]", name, maxsplit=1)
        ops.setdefault(op, []).append(part)
    alike: dict[str, list[str]] = {}
    for op, parts in ops.items():
        alike.setdefault(", ".join(parts), []).append(op)
    return "; ".join(f"{', '.join(same)}: {parts}" for parts, same in alike.items())


def _ops(title: str, ops: Mapping[str, tuple[str, ...]]) -> Table:
    """op -> types as a line for each set of types."""
    table = Table("types", "ops", title=title, title_justify="left")
    by_types: dict[tuple[str, ...], list[str]] = {}
    for op, types in ops.items():
        by_types.setdefault(types, []).append(op)
    for types, names in by_types.items():
        table.add_row(", ".join(types), ", ".join(names))
    return table


def _inexact(runtime: Runtime) -> Table:
    """What a runtime does not call equal, a line for each reason."""
    table = Table("why", "ops", title=f"{runtime.name}: inexact", title_justify="left")
    reasons: dict[str, list[str]] = {}
    for op, types in runtime.inexact.items():
        for type, why in types.items():
            reasons.setdefault(why, []).append(f"{op} {type}")
    for why, names in reasons.items():
        table.add_row(escape(why), _by_op(names))
    return table


def _print_evidence(console: Console, evidence: Evidence, ops: list[str], names: list[str]) -> None:
    title = "elements of random one-operator models: = n, all n equal; inexact: not called equal, see --op"
    table = Table("op", "types", *names, title=title, title_justify="left")
    for op in ops:
        found = {name: kernels for name, kernels in cells(evidence, op).items() if name in names}
        types = types_of(found)
        table.add_row(op, ", ".join(types), *(escape(cell_text(found[name], types)) for name in names))
    console.print(table)
    versions = ", ".join(f"{package} {version}" for package, version in evidence.versions.items())
    flags = " ".join(evidence.processor.get("kernel_flags", ()))
    print_text(f"measured with {versions} on {evidence.processor['machine']} ({flags}), seed {evidence.seed}")


def _print_cases(console: Console, chosen: Iterable[Runtime], evidence: Evidence, op: str) -> None:
    """One op, type by type; then what is not called equal, and why."""
    found = cells(evidence, op)
    cases = [(runtime.name, kernel) for runtime in chosen for kernel in found.get(runtime.name, ())]
    rare = [
        name for name in ("delegated", "refused", "crashed", "undefined") if any(getattr(k, name) for _, k in cases)
    ]
    counted = ["models", "elements", "differing", *rare]
    table = Table("runtime", "type", *counted, title=op, title_justify="left")
    table.columns[1].min_width = max(
        (len(word) for _, kernel in cases for word in kernel.kernel.split()[1:]), default=0
    )
    for name, kernel in cases:
        numbers = (f"{getattr(kernel, column):,}" for column in counted)
        table.add_row(name, _case(kernel), *numbers)
    console.print(table)
    for name, kernel in cases:
        if kernel.near is not None:
            print_text(f"inexact: {name}, {_case(kernel)}: {near_text(kernel.near)}; {kernel.near.why}")


def _case(kernel: KernelEvidence) -> str:
    """ "FLOAT32xINT8 per channel": the kernel's name without the op."""
    return kernel.kernel.partition(" ")[2]
