"""TensorFlow 2.21's calibrator and MLIR quantizer, asked in a child process that may crash."""

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

from oracle import Crashed, Rejected

CHILD = Path(__file__).with_name("converter_oracle_child.py")
INSTALLED = importlib.util.find_spec("tensorflow") is not None
MISSING = "oracle missing: tensorflow is not installed (pip install '.[tensorflow]')"


class ConverterOracle:
    """One child process, started at the first question and again after a crash."""

    def __init__(self) -> None:
        self._child: subprocess.Popen | None = None

    def calibrate(self, model: bytes, samples: list[list[np.ndarray]]) -> bytes:
        """The model with the ranges that TensorFlow records on the samples (arrays in the model's input order)."""
        return self._ask(verb="calibrate", model=model, samples=samples)

    def quantize(
        self,
        calibrated: bytes,
        input_type: str = "float32",
        output_type: str = "float32",
        per_channel: bool = True,
        per_channel_dense: bool = True,
    ) -> bytes:
        """The int8 model that TensorFlow makes of a model with ranges."""
        return self._ask(
            verb="quantize",
            model=calibrated,
            input_type=input_type,
            output_type=output_type,
            per_channel=per_channel,
            per_channel_dense=per_channel_dense,
        )

    def normalize(self, model: bytes, ops: set[str]) -> bytes:
        """The float model as the converter would have left it, `ops` being its operators' names."""
        return self._ask(verb="normalize", model=model, ops=sorted(ops))

    def _ask(self, **request: Any) -> bytes:
        if self._child is None or self._child.poll() is not None:
            self._child = subprocess.Popen(
                [sys.executable, str(CHILD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
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
            raise Crashed(f"the converter's process died with code {code}")
        kind, payload = pickle.loads(reply)
        if kind == "rejected":
            raise Rejected(payload)
        return payload

    def close(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None


converter = ConverterOracle()
