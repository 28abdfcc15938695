"""The verb: quantize(model, calibration, mode=...)."""

from __future__ import annotations

from refquant.errors import InvalidInput
from refquant.model.graph import Model
from refquant.program import ModelLike, as_model
from refquant.quantizer.calibration import Calibration
from refquant.quantizer.int8 import Int8Options, quantize_int8

MODES = ("int8",)
QUANTIZERS = ("mlir",)


def quantize(
    model: ModelLike,
    calibration: Calibration,
    mode: str = "int8",
    input_type: str = "float32",
    output_type: str = "float32",
    per_channel: bool = True,
    per_channel_dense: bool = True,
    allow_float: bool = True,
    quantizer: str = "mlir",
) -> Model:
    """The quantized model, as the TFLite converter makes it from the same float model and the same ranges.

    mode: "int8". input_type, output_type: "float32" (QUANTIZE and DEQUANTIZE at the borders), "int8" or "uint8".
    per_channel: one weight scale per output channel; per_channel_dense: the same for FULLY_CONNECTED. allow_float:
    operators without an int8 form stay float32; False makes them an error. quantizer: "mlir".
    Errors: InvalidInput for an unknown option or a calibration of another model; NotQuantizable, naming the place.
    """
    if mode not in MODES:
        raise InvalidInput(f"mode='{mode}': not built; there is {', '.join(MODES)}")
    if quantizer not in QUANTIZERS:
        raise InvalidInput(f"quantizer='{quantizer}': not built; there is {', '.join(QUANTIZERS)}")
    if not isinstance(calibration, Calibration):
        raise InvalidInput(
            f"the calibration must be a Calibration, as calibrate gives, not {type(calibration).__name__}"
        )
    options = Int8Options(input_type, output_type, per_channel, per_channel_dense, allow_float)
    return quantize_int8(as_model(model), calibration, options)
