"""The command line: each verb reads its files, calls one public function and prints what it gives.

Exit codes: 0 = done or equal, 1 = differs, 2 = usage or bad input. Results go to stdout, progress and errors to stderr.
"""

from __future__ import annotations

import io
import sys
import warnings
from typing import Annotated, Any

import typer

import refquant
from refquant.cli.comparing import audit, diff
from refquant.cli.comparing_runs import compare
from refquant.cli.console import print_error
from refquant.cli.explaining import rules
from refquant.cli.extracting import extract
from refquant.cli.inspecting import inspect
from refquant.cli.quantizing import calibrate, quantize
from refquant.cli.running import demo, run
from refquant.cli.runtimes_verb import runtimes
from refquant.errors import RefquantError

__all__ = ["app", "main"]

INTERRUPTED = 130  # what typer gives back at Ctrl-C
UsageError: Any = typer.BadParameter.__base__  # of the click that typer uses, its own or the installed one

VERBS = (inspect, run, calibrate, quantize, rules, diff, audit, compare, extract, runtimes, demo)

app = typer.Typer(
    name="refquant",
    help="The open reference for TFLite's integer arithmetic.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in VERBS:
    app.command()(verb)


def main() -> None:
    """Entry point: every error is one line on stderr and exit code 2."""
    warnings.showwarning = _print_warning
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that has no box characters still shows the table
    try:
        code = app(standalone_mode=False)
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        raise SystemExit(code)
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted")
    except UsageError as error:
        verb = error.ctx.command_path if error.ctx is not None else app.info.name
        _fail(f"{error.format_message().rstrip('.')}; see '{verb} --help'")
    except RefquantError as error:
        _fail(str(error))
    except MemoryError:
        _fail("this needs more memory than there is")
    except OSError as error:  # stdout that cannot be written, a file of the installation that is gone
        _fail(f"{error.filename or 'the output'}: {error.strerror or error}")


def _print_warning(message: Warning | str, *_: object, **__: object) -> None:
    print_error(f"refquant: warning: {message}")


def _fail(text: str) -> None:
    print_error(f"refquant: {' '.join(text.split())}")
    raise SystemExit(2)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"refquant {refquant.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """The open reference for TFLite's integer arithmetic."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(2)
