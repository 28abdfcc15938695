"""What holds of every file that the converter writes, whatever it has quantized.

Source: google-ai-edge/LiteRT, tflite/converter/flatbuffer_export.cc; checked against TensorFlow 2.21.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from refquant.model.graph import Model, Operator, Tensor

STALE_METADATA = ("min_runtime_version",)  # true of the float operators only


@dataclass(slots=True)
class Buffers:
    """The new model's buffers: 0 is empty, equal contents are stored once."""

    data: list[bytes] = field(default_factory=lambda: [b""])
    index: dict[bytes, int] = field(default_factory=dict)

    def add(self, content: bytes) -> int:
        """The place of the content."""
        if content not in self.index:
            self.index[content] = len(self.data)
            self.data.append(content)
        return self.index[content]

    def keep(self, model: Model, tensor: Tensor) -> int:
        """The place of the tensor's own data; 0 if it has none."""
        content = model.buffers[tensor.buffer]
        return self.add(content) if content or (tensor.buffer and 0 in tensor.shape) else 0


def one_version_per_op(*graphs: Sequence[Operator]) -> list[tuple[Operator, ...]]:
    """The operators of each subgraph with one version per op: the highest that any operator of the model needs."""
    highest: dict[tuple[str, str | None], int] = {}
    for operator in (operator for operators in graphs for operator in operators):
        op = operator.name, operator.custom_code
        highest[op] = max(highest.get(op, 0), operator.version)
    return [tuple(replace(o, version=highest[o.name, o.custom_code]) for o in operators) for operators in graphs]
