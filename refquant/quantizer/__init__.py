"""What a converter does: calibrate (ranges) -> decide (parameters of every tensor) -> apply (a new model)."""

from refquant.quantizer.calibrate import calibrate
from refquant.quantizer.calibration import Calibration, TensorRange
from refquant.quantizer.int8 import decide_int8
from refquant.quantizer.quantize import decide, quantize

__all__ = ["Calibration", "TensorRange", "calibrate", "decide", "decide_int8", "quantize"]
