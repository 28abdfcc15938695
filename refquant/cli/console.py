"""What the verbs share: tables for people, JSON for machines, progress and errors on stderr."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
ModelPath = Annotated[Path, typer.Argument(metavar="MODEL", help="A .tflite file.", show_default=False)]


class _Console(Console):
    """A console whose reader may leave (`| head`): the command goes on, and its exit code still tells the result."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def out() -> Console:
    """stdout for people; wide enough for whole names where the output is not a terminal."""
    console = _Console(highlight=False)
    return console if console.is_terminal else _Console(highlight=False, width=max(console.width, 160))


def print_error(text: str) -> None:
    """One line on stderr, unwrapped and uncoloured."""
    typer.echo(text, err=True)


def print_json(value: Any) -> None:
    """One JSON object on stdout."""
    print_text(json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False))


def print_text(text: str) -> None:
    """Lines on stdout as they stand. A reader that has left (`| head`) does not change the exit code."""
    try:
        typer.echo(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def plain(value: Any) -> Any:
    """Dataclasses, arrays and NumPy scalars as what JSON can hold; non-finite numbers as strings."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


@contextmanager
def progress_bar(what: str, total: int | None) -> Iterator[Any]:
    """A progress bar on stderr that vanishes when done; yields a function of the number done so far."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def short(name: str, limit: int = 56) -> str:
    """The name's beginning where it is long, in printable characters; --json has it whole."""
    name = "".join(c if c.isprintable() else "?" for c in name)
    return name if len(name) <= limit else name[: limit - 1] + "…"
