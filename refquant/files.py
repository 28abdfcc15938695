"""Files written whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from refquant.errors import InvalidInput

PathLike = str | os.PathLike[str]
Write = Callable[[IO[bytes]], object]


def write_whole(path: PathLike, write: Write) -> None:
    """Calls write(file) on a new file beside `path` and moves it there once complete; else `path` stays as it was.

    Errors: InvalidInput if the file cannot be written.
    """
    write_together({path: write})


def write_together(writes: Mapping[PathLike, Write]) -> None:
    """As write_whole for several files: none is moved to its place before all are complete."""
    complete: dict[PathLike, Path] = {}
    path: PathLike = ""
    try:
        for path, write in writes.items():
            complete[path] = _written_beside(_target(path), write)
        for path, temporary in complete.items():
            os.replace(temporary, _target(path))
    except (OSError, ValueError) as error:  # ValueError: a path that holds a zero byte
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidInput(f"{os.fspath(path)}: cannot be written: {reason}") from None
    finally:
        for temporary in complete.values():
            temporary.unlink(missing_ok=True)


def _target(path: PathLike) -> Path:
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise ValueError("it is not a regular file")
    return target


def _written_beside(target: Path, write: Write) -> Path:
    """A complete file in the same directory."""
    temporary = target.with_name(f".{target.name[:100]}.{secrets.token_hex(8)}")
    try:
        with open(temporary, "xb") as file:
            write(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary
