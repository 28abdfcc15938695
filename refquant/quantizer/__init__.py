"""What a converter does: calibrate (ranges) -> decide (parameters of every tensor) -> apply (a new model)."""

from refquant.quantizer.calibrate import calibrate
from refquant.quantizer.calibration import Calibration, TensorRange
from refquant.quantizer.int8 import decide_int8
from refquant.quantizer.keras_ranges import calibration_from_keras
from refquant.quantizer.quantize import decide, quantize

__all__ = ["Calibration", "TensorRange", "calibrate", "calibration_from_keras", "decide", "decide_int8", "quantize"]
