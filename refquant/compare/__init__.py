"""Telling two models apart, and a quantized one from what the rules ask for."""

from refquant.compare.audit import audit_model
from refquant.compare.conversions import Conversion, ConversionDifference
from refquant.compare.models import compare_models
from refquant.compare.parameters import Comparison, FormDifference, OperatorAlone, SlotDifference
from refquant.compare.report import Explanation, Finding, RuleReport
from refquant.compare.rules import RULES, Rule

__all__ = [
    "RULES",
    "Comparison",
    "Conversion",
    "ConversionDifference",
    "Explanation",
    "Finding",
    "FormDifference",
    "OperatorAlone",
    "Rule",
    "RuleReport",
    "SlotDifference",
    "audit_model",
    "compare_models",
]
