"""The converter's old quantizer, written in C++: what `quantizer="legacy"` and every int16x8 conversion go through."""

from refquant.quantizer.legacy.apply import apply
from refquant.quantizer.legacy.decide import LegacyOptions, decide_legacy
from refquant.quantizer.legacy.decision import Decision
from refquant.quantizer.legacy.weights import apply_old, decide_old_dynamic_range, decide_old_float16

__all__ = [
    "Decision",
    "LegacyOptions",
    "apply",
    "apply_old",
    "decide_legacy",
    "decide_old_dynamic_range",
    "decide_old_float16",
]
