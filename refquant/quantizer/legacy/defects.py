"""The old quantizer's defects that a new file need not have: by default avoided, on request written as TensorFlow does.

Only defects are listed by which the file would compute wrong values, or could not be run or written at all; where none
of them strikes, the file is TensorFlow's. Each key is a row of refquant/errata.py; the code that avoids it asks for
`draft.choices.reproduce_defects`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

# key of the errata -> what the new file has instead
AVOIDED: Mapping[str, str] = MappingProxyType(
    {
        "legacy-quantized-under-a-reader": (
            "the float operator that reads it first gets floats: a copy of a constant, a DEQUANTIZE of an input"
        ),
        "legacy-shared-bias": "every operator whose scales differ gets a copy of the bias",
        "legacy-bias-in-a-join": "the operator that takes it as bias gets a copy",
        "legacy-weights-on-another-axis": "each way of quantizing the constant gets a copy",
        "legacy-sum": "the result has its own range",
        "legacy-select": "both values have the scale of the result",
        "legacy-padv2": "the pad value has the scale of the result",
        "legacy-zero-is-code-0": "operand and result have the zero point 0",
        "legacy-limit-turns-round": "the constant saturates",
        "legacy-limit-by-place": "the constant saturates",
        "legacy-wraps-round": "the constant saturates",
        "legacy-tiny-weights": "the constant is divided by its scale",
        "legacy-zero-range": "the range is widened, as the present quantizer does it",
        "legacy-limit-of-activation": "the range is widened",
        "legacy-depthwise-per-tensor": "its weights have one scale",
        "legacy-five-dimensions": "the constant takes the other scale all the same",
        "legacy-lstm-stays-float": "they stay float32",
        "legacy-shared-buffer": "each constant has a buffer of its own",
    }
)


@dataclass(frozen=True, slots=True)
class Avoided:
    """One defect at one place. `key`: of AVOIDED. `operator`, `name`: of the float model, and its op; `tensors`: too.

    `text`: what would have happened there.
    """

    key: str
    operator: int | None
    name: str
    tensors: tuple[int, ...]
    text: str

    def __post_init__(self) -> None:
        assert self.key in AVOIDED, self.key

    def __str__(self) -> str:
        place = "" if self.operator is None else f"operator {self.operator} ({self.name}): "
        return f"{place}{self.text}; {AVOIDED[self.key]} ({self.key})"
