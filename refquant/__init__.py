"""refquant: the open reference for TFLite's integer arithmetic."""

from refquant.compare import compare_models
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
from refquant.quantizer import Calibration, calibrate, quantize

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
    "calibrate",
    "compare_models",
    "load",
    "quantize",
    "run",
    "save",
]
