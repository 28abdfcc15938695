"""TensorFlow 2.21's calibrator and MLIR quantizer, asked in a child process that may crash."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from oracle import ChildProcess

CHILD = Path(__file__).with_name("converter_oracle_child.py")
INSTALLED = importlib.util.find_spec("tensorflow") is not None
MISSING = "oracle missing: tensorflow is not installed (pip install '.[tensorflow]')"


class ConverterOracle:
    """TensorFlow in a child process."""

    def __init__(self) -> None:
        self._child = ChildProcess(CHILD)

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
        denied_ops: Sequence[str] = (),
        denied_names: Sequence[str] = (),
    ) -> bytes:
        """The int8 model that TensorFlow makes of a model with ranges; operators of denied names stay float."""
        return self._ask(
            verb="quantize",
            model=calibrated,
            input_type=input_type,
            output_type=output_type,
            per_channel=per_channel,
            per_channel_dense=per_channel_dense,
            denied_ops=list(denied_ops),
            denied_names=list(denied_names),
        )

    def quantize_legacy(
        self,
        model: bytes,
        mode: str = "int8",
        input_type: str = "float32",
        output_type: str = "float32",
        per_channel: bool = True,
        per_channel_dense: bool = True,
        allow_float: bool = True,
        bias_type: str = "int32",
        samples: Sequence[list[np.ndarray]] = (),
        only: str | None = None,
    ) -> bytes:
        """The model that TensorFlow's old C++ quantizer makes, from samples or of a model with ranges."""
        return self._ask(
            verb="quantize_legacy",
            model=model,
            samples=list(samples),
            mode=mode,
            input_type=input_type,
            output_type=output_type,
            per_channel=per_channel,
            per_channel_dense=per_channel_dense,
            allow_float=allow_float,
            bias_type=bias_type,
            only=only,
        )

    def normalize(self, model: bytes, ops: set[str]) -> bytes:
        """The float model as the converter would have left it, `ops` being its operators' names."""
        return self._ask(verb="normalize", model=model, ops=sorted(ops))

    def network(self, name: str) -> bytes:
        """The float model of a network of converter_networks."""
        return self._ask(verb="network", name=name)

    def control(self, name: str) -> bytes:
        """The float model of several subgraphs of converter_control."""
        return self._ask(verb="control", name=name)

    def convert(self, name: str, modes: Sequence[str], seed: Sequence[int] | None = None) -> dict[str, bytes]:
        """A model of converter_modes (or its random graph of a seed), in several modes by name."""
        return self._ask(verb="convert", name=name, modes=list(modes), seed=None if seed is None else list(seed))

    def recurrent(self, name: str, modes: Sequence[str]) -> dict[str, bytes]:
        """A model of recurrent_networks in several modes, by mode."""
        made: dict[str, bytes] = self._ask(verb="recurrent", name=name, modes=list(modes))
        return made

    def close(self) -> None:
        """Ends the process; the next question starts another."""
        self._child.close()

    def _ask(self, **request: Any) -> Any:
        return self._child.ask(request)


converter = ConverterOracle()
