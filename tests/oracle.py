"""The real runtimes, LiteRT 2.3.0 and TensorFlow Lite Micro, each asked in a child process that may crash alone."""

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

TFLM_CHILD = Path(__file__).with_name("tflm_child.py")
TFLM_INSTALLED = importlib.util.find_spec("tflite_micro") is not None
TFLM_MISSING = "oracle missing: tflite-micro is not installed (pip install '.[test]')"
TFLM = "tflm:real"


class Rejected(Exception):
    """The runtime refused the model or the input, with its own message."""


class Crashed(Exception):
    """The child process died."""


class ChildProcess:
    """A script that answers pickled requests, started at the first one and again after a crash."""

    def __init__(self, script: Path, *arguments: str) -> None:
        self._script = script
        self._arguments = arguments
        self._child: subprocess.Popen | None = None

    def ask(self, request: Any) -> Any:
        """The script's answer. Rejected with its message, or Crashed."""
        if self._child is None or self._child.poll() is not None:
            self._child = subprocess.Popen(
                [sys.executable, str(self._script), *self._arguments],
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
        if kind == "crashed":
            raise Crashed(payload)
        return payload

    def close(self) -> None:
        """Ends the process."""
        if self._child is not None:
            self._child.kill()
            self._child = None


class Oracle:
    """LiteRT in a child process; the interpreter of TensorFlow for the argument "tensorflow"."""

    def __init__(self, *arguments: str) -> None:
        self._child = ChildProcess(CHILD, *arguments)

    def run(
        self, model: bytes, samples: list[list[np.ndarray] | None], resolver: str = "BUILTIN_REF", preserve: bool = True
    ) -> list[dict[int, np.ndarray]]:
        """For each sample (arrays in the model's input order): {tensor index: array} of all readable tensors.

        The samples run one after another in one interpreter; a None among them resets its variables.
        """
        return self._child.ask((model, samples, resolver, preserve))

    def operators(self, model: bytes, resolver: str, preserve: bool = True) -> list[str]:
        """The operators that are prepared: the model's, then "DELEGATE" for each part that a delegate takes."""
        return self._child.ask((model, None, resolver, preserve))


class MicroOracle:
    """TensorFlow Lite Micro in a child process."""

    def __init__(self) -> None:
        self._child = ChildProcess(TFLM_CHILD)

    def run(self, model: bytes, samples: list[list[np.ndarray] | None]) -> list[dict[int, np.ndarray]]:
        """As Oracle.run, for the tensors that operators compute, the inputs and the variables."""
        return self._child.ask((model, samples))


litert = Oracle()
tflm = MicroOracle()


def run_real(real: str, model: bytes, samples: list[list[np.ndarray] | None]) -> list[dict[int, np.ndarray]]:
    """Oracle.run of LiteRT with the resolver of that name, or of TensorFlow Lite Micro for "tflm:real"."""
    return tflm.run(model, samples) if real == TFLM else litert.run(model, samples, real)


def why_missing(real: str) -> str | None:
    """The reason to skip what compares with this real runtime, if it is not installed."""
    if real == TFLM:
        return None if TFLM_INSTALLED else TFLM_MISSING
    return None if INSTALLED else MISSING
