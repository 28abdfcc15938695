"""Telling two models apart, two runs of one, and a quantized model from what the rules ask for."""

from refquant.compare.audit import audit_model
from refquant.compare.conversions import Conversion, ConversionDifference
from refquant.compare.differences import Difference, Element
from refquant.compare.explanations import Explained
from refquant.compare.models import compare_models
from refquant.compare.parameters import Comparison, FormDifference, OperatorAlone, SlotDifference
from refquant.compare.report import Explanation, Finding, RuleReport
from refquant.compare.rules import RULES, Rule
from refquant.compare.run_comparison import compare_runs
from refquant.compare.runs import Cause, OperatorRow, OperatorRun, RunComparison, RuntimeRun

__all__ = [
    "RULES",
    "Cause",
    "Comparison",
    "Conversion",
    "ConversionDifference",
    "Difference",
    "Element",
    "Explained",
    "Explanation",
    "Finding",
    "FormDifference",
    "OperatorAlone",
    "OperatorRow",
    "OperatorRun",
    "Rule",
    "RuleReport",
    "RunComparison",
    "RuntimeRun",
    "SlotDifference",
    "audit_model",
    "compare_models",
    "compare_runs",
]
