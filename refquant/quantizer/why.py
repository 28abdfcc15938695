"""Why a tensor has its parameters, an operator stays float, a conversion stands where it does: a small value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

KINDS: Mapping[str, str] = MappingProxyType(
    {
        # why a tensor has its parameters
        "calibrated": "its own range; `tensors`: itself",
        "fake quantization": "a fake-quantization node stands behind it; `tensors`: itself",
        "inherited": "`operator` has one scale for all its operands and results; `tensors`: the one that gave it",
        "fixed": "`operator` prescribes the parameters of its result",
        "weights": "max |w| of a constant that `operator` takes as weights; `channels`: raised by the overflow guard",
        "bias": "scale of one tensor times scale of another, `tensors`; `channels`: raised by the overflow guard",
        "constant": "the range of the constant's values; `tensors`: itself",
        "asked": "all its readers ask for other parameters than its own; the operator that computes it gives them",
        "carried": "a DEQUANTIZE moved behind `operator`; `tensors`: the operand whose parameters the result has",
        "half": "a float32 constant that operators read, in half precision; `tensors`: itself",
        # why an operator stays float
        "no int8 form": "the op is not quantizable",
        "denied op": "its op is denied",
        "denied name": "the name of its result is denied; `tensors`: the result",
        "no parameters": "an operand or a result has no parameters; `tensors`: it",
        "unread results": "float results that nothing reads get no QUANTIZE to find the operator by; `tensors`: they",
        "not reached": "the converter stops at `operator`, another reader of its operands `tensors`",
        "no hybrid form": "the op has no form with float activations and int8 weights",
        "few elements": "a constant of fewer than 1,024 elements stays float32; `tensors`: it",
        "no constant": "the weights are computed",
        # why a constant stays float32
        "read as float": "`operator`, or an output of the graph, reads it as float32",
        # why a conversion stands in the graph
        "input type": "the graph's input has another type; `tensors`: it",
        "output type": "the graph's output has another type; `tensors`: it",
        "float operator": "`operator` stays float",
    }
)

NAME_LENGTH = 40  # of names in sentences


def called(name: str) -> str:
    """A tensor's name in a sentence: its first part where it was fused from several, cut where it is long."""
    name = name.split(";", maxsplit=1)[0]
    return f"'{name}'" if len(name) <= NAME_LENGTH else f"'{name[: NAME_LENGTH - 1]}…'"


@dataclass(frozen=True, slots=True)
class Why:
    """One reason. `kind`: a key of KINDS, which says what the other fields hold. `text`: the reason as a sentence.

    `operator` and `tensors` are positions in the main graph of the float model.
    """

    kind: str
    text: str
    operator: int | None = None
    tensors: tuple[int, ...] = ()
    channels: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        assert self.kind in KINDS, self.kind

    def __str__(self) -> str:
        return self.text
