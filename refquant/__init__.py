"""refquant: the open reference for TFLite's integer arithmetic."""

from refquant.compare import audit_model, compare_models, compare_runs
from refquant.compare.extract import extract
from refquant.errors import (
    AccumulatorOverflow,
    InvalidInput,
    InvalidModel,
    MalformedModel,
    NotQuantizable,
    RefquantError,
    UnsupportedModel,
)
from refquant.interpreter import Interpreter
from refquant.model import Model, load, save
from refquant.program import run
from refquant.quantizer import Calibration, calibrate, calibration_from_keras, decide, quantize

__version__ = "0.1.0"

__all__ = [
    "AccumulatorOverflow",
    "Calibration",
    "Interpreter",
    "InvalidInput",
    "InvalidModel",
    "MalformedModel",
    "Model",
    "NotQuantizable",
    "RefquantError",
    "UnsupportedModel",
    "__version__",
    "audit_model",
    "calibrate",
    "calibration_from_keras",
    "compare_models",
    "compare_runs",
    "decide",
    "extract",
    "load",
    "quantize",
    "run",
    "save",
]
