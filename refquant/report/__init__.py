"""A comparison of runs as one HTML file that needs nothing else: no script, no font, no other file.

Needs jinja2 and matplotlib, the extra `report`.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable

from refquant.compare.runs import RunComparison
from refquant.errors import InvalidInput
from refquant.files import write_whole

__all__ = ["check_installed", "render", "write_report"]

Progress = Callable[[float], object]
"""Called with the share that is done, 0 to 1."""

PACKAGES = ("jinja2", "matplotlib")


def check_installed() -> None:
    """InvalidInput unless what a report needs is installed."""
    for package in PACKAGES:
        try:
            importlib.import_module(package)
        except ImportError:
            raise InvalidInput(
                f"a report needs {package}, which is not installed: pip install 'refquant[report]'"
            ) from None


def render(comparison: RunComparison, title: str = "", progress: Progress | None = None) -> str:
    """The page of a comparison: verdict, picture of the layers, reasons, every differing operator, its worst elements.

    title: what was compared, the model's description unless given. progress: called with the share that is done, 0 to
    1. The same comparison gives the same page. Errors: InvalidInput if a package is missing.
    """
    check_installed()
    from refquant.report.page import page

    return page(comparison, title, progress or (lambda done: None))


def write_report(
    comparison: RunComparison,
    path: str | os.PathLike[str],
    title: str = "",
    progress: Progress | None = None,
) -> None:
    """Writes the page of `render`, whole or not at all. InvalidInput if the file cannot be written."""
    text = render(comparison, title, progress)
    write_whole(path, lambda file: file.write(text.encode()))
