"""The real LiteRT 2.3.0, asked in a child process that may crash without taking the tests along."""

from __future__ import annotations

import atexit
import importlib.util
import pickle
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

CHILD = Path(__file__).with_name("oracle_child.py")
INSTALLED = importlib.util.find_spec("ai_edge_litert") is not None
MISSING = "oracle missing: ai-edge-litert is not installed (pip install '.[test]')"


class Rejected(Exception):
    """The runtime refused the model or the input, with its own message."""


class Crashed(Exception):
    """The child process died."""


class ChildProcess:
    """A script that answers pickled requests, started at the first one and again after a crash."""

    def __init__(self, script: Path) -> None:
        self._script = script
        self._child: subprocess.Popen | None = None

    def ask(self, request: Any) -> Any:
        """The script's answer. Rejected with its message, or Crashed."""
        if self._child is None or self._child.poll() is not None:
            self._child = subprocess.Popen(
                [sys.executable, str(self._script)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            atexit.register(self.close)
        data = pickle.dumps(request)
        try:
            self._child.stdin.write(struct.pack("<Q", len(data)) + data)
            self._child.stdin.flush()
            header = self._child.stdout.read(8)
            reply = self._child.stdout.read(struct.unpack("<Q", header)[0]) if len(header) == 8 else b""
        except BrokenPipeError:
            reply = b""
        if not reply:
            code = self._child.wait()
            self._child = None
            raise Crashed(f"{self._script.name} died with code {code}")
        kind, payload = pickle.loads(reply)
        if kind == "rejected":
            raise Rejected(payload)
        return payload

    def close(self) -> None:
        """Ends the process."""
        if self._child is not None:
            self._child.kill()
            self._child = None


class Oracle:
    """LiteRT in a child process."""

    def __init__(self) -> None:
        self._child = ChildProcess(CHILD)

    def run(
        self, model: bytes, samples: list[list[np.ndarray] | None], resolver: str = "BUILTIN_REF", preserve: bool = True
    ) -> list[dict[int, np.ndarray]]:
        """For each sample (arrays in the model's input order): {tensor index: array} of all readable tensors.

        The samples run one after another in one interpreter; a None among them resets its variables.
        """
        return self._child.ask((model, samples, resolver, preserve))


litert = Oracle()
