"""Telling two apart: two models."""

from refquant.compare.parameters import Comparison, Conversion, SlotDifference, compare_models

__all__ = ["Comparison", "Conversion", "SlotDifference", "compare_models"]
