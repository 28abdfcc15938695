"""What the quantizer decided and why, and the verb `rules`: the op rule table as the published specification."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from refquant.cli.console import JsonFlag, print_json, print_text, short
from refquant.errors import InvalidInput
from refquant.model.schema import ENUM_VALUES
from refquant.quantizer import legacy, stored
from refquant.quantizer.decide import Decision
from refquant.quantizer.deviations import DEVIATIONS, Deviation
from refquant.quantizer.parameters import Parameters
from refquant.quantizer.specification import sections

AnyDecision = Decision | legacy.Decision | stored.StoredDecision

MANY_OPS = 24  # more are counted, not named
SHORT = 36  # of names in tables


def decision_as_json(decision: AnyDecision) -> dict[str, Any]:
    """The decision without its plan, whose forms are the new model's own business."""
    constants = {"float_constants": decision.float_constants} if isinstance(decision, stored.StoredDecision) else {}
    return {
        "tensors": decision.tensors,
        "requantize": decision.requantize,
        "float_operators": decision.float_operators,
        "conversions": decision.conversions,
        **constants,
    }


def print_decision(decision: AnyDecision, console: Console) -> None:
    """Tables of tensors, requantizations, float operators and conversions, each row with its reason."""
    table = _table("tensors", "#", "tensor", "type", "scale", "zero point", "why")
    for tensor in decision.tensors:
        cells = _cells(tensor.parameters)
        table.add_row(
            _place(tensor.tensor, tensor.subgraph), escape(short(tensor.name, SHORT)), *cells, escape(str(tensor.why))
        )
    console.print(table)
    if decision.requantize:
        table = _table("requantizations", "tensor", "computed as", "read as", "by", "why")
        for request in decision.requantize:
            by = ", ".join(map(_reader, request.users)) or "all its readers"
            asked = (str(request.produced), str(request.parameters), by, escape(str(request.why)))
            table.add_row(escape(short(request.name, SHORT)), *asked)
        console.print(table)
    if isinstance(decision, stored.StoredDecision) and decision.float_constants:
        table = _table("constants that stay float", "#", "tensor", "why")
        for constant in decision.float_constants:
            row = (escape(short(constant.name, SHORT)), escape(str(constant.why)))
            table.add_row(_place(constant.tensor, constant.subgraph), *row)
        console.print(table)
    if decision.float_operators:
        table = _table("operators that stay float", "#", "operator", "why")
        for entry in decision.float_operators:
            table.add_row(_place(entry.operator, entry.subgraph), entry.name, escape(str(entry.why)))
        console.print(table)
    if decision.conversions:
        table = _table("conversions", "op", "tensor", "from", "to", "read by", "why")
        for conversion in decision.conversions:
            readers = ", ".join(map(_reader, conversion.readers))
            types = (conversion.before, conversion.after)
            name, why = escape(short(conversion.name, SHORT)), escape(str(conversion.why))
            table.add_row(conversion.op, name, *types, readers, why)
        console.print(table)


def _place(index: int, subgraph: int) -> str:
    """The index, and that of the subgraph before it where it is not the main one."""
    return f"{subgraph}:{index}" if subgraph else str(index)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _cells(parameters: Parameters) -> tuple[str, str, str]:
    """(type, scale, zero point)."""
    if not parameters.scale:
        return parameters.type, "", ""
    scales, zero_points = [np.float32(scale) for scale in parameters.scale], sorted(set(parameters.zero_point))
    many = f"{len(scales)} x [{min(scales):.4g} … {max(scales):.4g}] on dim {parameters.axis}"
    return parameters.type, str(scales[0]) if parameters.axis is None else many, ", ".join(map(str, zero_points))


def _reader(use: Any) -> str:
    """ "operator 3 input 0", or "output 0" of the graph."""
    return f"output {use.operand}" if use.operator is None else f"operator {use.operator} input {use.operand}"


OPS = tuple(op for op in ENUM_VALUES["BuiltinOperator"] if not op.startswith("PLACEHOLDER"))


def rules(
    op: Annotated[
        str | None, typer.Argument(metavar="OP", help="One op, as CONV_2D; all of them without.", show_default=False)
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show what int8 quantization asks of each op. As the published specification does, and where the two differ."""
    table = sections()
    name = None if op is None else op.upper()
    if name is not None and name not in OPS:
        near = get_close_matches(name, OPS, 4, 0.4)
        raise InvalidInput(f"TFLite has no op '{op}'" + (f"; near it are {', '.join(near)}" if near else ""))
    chosen = [section for key, section in table.items() if name is None or key.split()[0] == name]
    deviations = [row for row in DEVIATIONS if name is None or name in row.ops]
    if as_json:
        stays_float = [name] if name is not None and not chosen else []
        print_json({"rules": chosen, "stays_float": stays_float, "deviations": deviations})
        return
    if name is not None and not chosen:
        page = "" if any(row.page for row in deviations) else ", and the published specification has no int8 form of it"
        print_text(f"{name}\n  stays float in the converter{page}\n")
    for section in chosen:
        print_text(f"{section}\n")
    if deviations:
        print_text("Where TensorFlow 2.21.0's converter and the published specification differ:")
    for row in deviations:
        print_text(_deviation(row, name))


def _deviation(row: Deviation, op: str | None) -> str:
    who = op or (", ".join(row.ops) if len(row.ops) <= MANY_OPS else f"{len(row.ops)} ops")
    page, converter = row.page or "nothing", row.converter or "float"
    when = f", if {row.condition}" if row.condition else ""
    return f"- {who}, {row.place}{when}: published {page}, converter {converter}. {row.reason}"
