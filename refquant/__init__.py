"""refquant: the open reference for TFLite's integer arithmetic."""

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

__version__ = "0.1.0"

__all__ = [
    "AccumulatorOverflow",
    "Interpreter",
    "InvalidInput",
    "InvalidModel",
    "MalformedModel",
    "Model",
    "NotQuantizable",
    "RefquantError",
    "UnsupportedModel",
    "__version__",
    "load",
    "run",
    "save",
]
