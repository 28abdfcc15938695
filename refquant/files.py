"""Files written whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import IO

from refquant.errors import InvalidInput


def write_whole(path: str | os.PathLike[str], write: Callable[[IO[bytes]], object]) -> None:
    """Calls write(file) on a new file beside `path` and moves it there once complete; else `path` stays as it was.

    Errors: InvalidInput if the file cannot be written.
    """
    try:
        _replace(Path(os.path.realpath(path)), write)
    except (OSError, ValueError) as error:  # ValueError: a path that holds a zero byte
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidInput(f"{os.fspath(path)}: cannot be written: {reason}") from None


def _replace(target: Path, write: Callable[[IO[bytes]], object]) -> None:
    if target.exists() and not target.is_file():
        raise ValueError("it is not a regular file")
    temporary = target.with_name(f".{target.name[:100]}.{secrets.token_hex(8)}")
    try:
        with open(temporary, "xb") as file:
            write(file)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
