"""The converter's old quantizer, written in C++: what `quantizer="legacy"` and every int16x8 conversion go through."""

from refquant.quantizer.legacy.apply import apply
from refquant.quantizer.legacy.decide import LegacyOptions, decide_legacy
from refquant.quantizer.legacy.decision import Decision

__all__ = ["Decision", "LegacyOptions", "apply", "decide_legacy"]
