"""The rules that a quantized file must keep, given the float model it was made from: one literal table.

Each row has a name, the rule as a sentence, where it is written down, and a function that checks it at one place of one
file: a verdict with numbers, or None where the rule does not apply. The formulas are the quantizer's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from refquant.compare.activation_checks import (
    check_calibrated,
    check_fixed,
    check_propagated,
    check_range,
    check_same_scale,
)
from refquant.compare.constant_checks import (
    check_bias_data,
    check_bias_scale,
    check_constant_data,
    check_constant_scale,
    check_guard,
    check_weight_data,
    check_weight_scale,
    check_zero_point,
)
from refquant.compare.sites import Verdict
from refquant.compare.structure_checks import (
    check_form,
    check_granularity,
    check_needless,
    check_operands,
    check_shape,
    check_type,
    check_unsigned,
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One row. `about`: what `check` takes: a Site ("operator"), a Site and an Operand ("slot"), or a ConversionSite.

    A row without a check is about the whole model; the audit itself finds where it is broken.
    """

    name: str
    statement: str
    source: str
    about: str
    check: Callable[..., Verdict | None] | None = field(repr=False)


_PARAMETERS = "tflite/converter/quantization/common/quantization_lib/quantization_utils.cc"
_DRIVER = "tflite/converter/quantization/common/quantization_lib/tfl_quantization_driver.cc"
_OPS = "tflite/converter/ir/tfl_ops.td"
_SPEC = "ai.google.dev/edge/litert/models/quantization_spec"

RULES = (
    Rule(
        "operators",
        "Quantizing adds QUANTIZE and DEQUANTIZE and keeps every other operator.",
        "tflite/converter/transforms/quantize.cc",
        "model",
        None,
    ),
    Rule(
        "operands",
        "An operator keeps its operands; only a bias of zeros may be added.",
        "tflite/converter/transforms/quantize.cc",
        "operator",
        check_operands,
    ),
    Rule(
        "integer form",
        "An operator with an int8 form becomes int8 if all its float tensors have parameters; any other stays float.",
        f"{_OPS} (QuantizableResult)",
        "operator",
        check_form,
    ),
    Rule(
        "type",
        "Activations, weights and constants of an int8 operator are INT8, its bias is INT32.",
        _SPEC,
        "slot",
        check_type,
    ),
    Rule("shape", "A constant keeps its shape.", "tflite/converter/transforms/quantize.cc", "slot", check_shape),
    Rule(
        "granularity",
        "Weights have one scale per index of the op's channel dimension, or one; their bias as many; all else one.",
        f"{_OPS} (AffineOpCoefficient)",
        "slot",
        check_granularity,
    ),
    Rule("zero point", "Weights and biases have the zero point 0.", _SPEC, "slot", check_zero_point),
    Rule(
        "weight scale",
        "Scale = max |w| / 127 of the channel (of the tensor).",
        f"{_PARAMETERS} (GetQuantizedType)",
        "slot",
        check_weight_scale,
    ),
    Rule(
        "weight data",
        "q = round(w / scale) within [-127, 127], in the precision of the file's arithmetic.",
        f"{_PARAMETERS} (QuantizeLegacy)",
        "slot",
        check_weight_data,
    ),
    Rule(
        "overflow guard",
        "Where |bias| / scale would exceed 2^30 - 1, the scales of bias and weights are enlarged to just avoid it.",
        f"{_DRIVER} (SetBiasParamsWithAdjustments)",
        "slot",
        check_guard,
    ),
    Rule(
        "bias scale",
        "Scale = input scale * weight scale, in float64 and then narrowed (as float32 gives too).",
        f"{_PARAMETERS} (GetUniformQuantizedTypeForBias)",
        "slot",
        check_bias_scale,
    ),
    Rule(
        "bias data",
        "q = round(b * f32(1 / scale)), within +-(2^31 - 1).",
        f"{_PARAMETERS} (QuantizeLegacy)",
        "slot",
        check_bias_data,
    ),
    Rule(
        "constant scale",
        "Any other constant has the range of its values, zero included.",
        f"{_DRIVER} (QuantizeConstantResult)",
        "slot",
        check_constant_scale,
    ),
    Rule(
        "constant data",
        "q = round(c / scale + zero point), within [-128, 127].",
        f"{_PARAMETERS} (Quantize)",
        "slot",
        check_constant_data,
    ),
    Rule(
        "fixed output",
        "SOFTMAX, LOGISTIC, TANH, L2_NORMALIZATION and LOG_SOFTMAX prescribe their result's parameters.",
        f"{_OPS} (FixedOutputRangeInterface)",
        "slot",
        check_fixed,
    ),
    Rule(
        "same scale",
        "All operands and results of a same-scale op have one scale and zero point.",
        f"{_OPS} (SameOperandsAndResultsScale)",
        "slot",
        check_same_scale,
    ),
    Rule(
        "range",
        "An activation's scale is f32((max - min) / 255) of a range that holds zero; its zero point lies within int8.",
        f"{_PARAMETERS} (DownCastScale)",
        "slot",
        check_range,
    ),
    Rule(
        "calibrated range",
        "A tensor whose range nothing makes redundant takes scale and zero point from its calibrated min and max.",
        "tflite/converter/quantization/common/quantization_lib/quantization_utils.h (ConvertStatsToQDQs)",
        "slot",
        check_calibrated,
    ),
    Rule(
        "propagation",
        "Any other activation takes the parameters that the rules carry to it from its neighbours.",
        f"{_DRIVER} (PropagateParamsAndReturnIfChanged)",
        "slot",
        check_propagated,
    ),
    Rule(
        "needless conversion",
        "A QUANTIZE changes type, scale or zero point.",
        "tflite/converter/transforms/post_quantize.cc",
        "conversion",
        check_needless,
    ),
    Rule(
        "unsigned border",
        "Between uint8 and int8 the scale stays and the zero point moves by 128.",
        "tflite/converter/transforms/modify_io_nodes.cc",
        "conversion",
        check_unsigned,
    ),
    Rule(
        "conversions",
        "QUANTIZE and DEQUANTIZE stand where the rules put them, and nowhere else.",
        f"{_DRIVER} (Finalize)",
        "model",
        None,
    ),
)
