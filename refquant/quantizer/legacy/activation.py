"""What int8 and int16 activations differ in: two values of one record.

Source: google-ai-edge/LiteRT, tflite/tools/optimize/quantize_model.cc, read for each place that asks for the activation
type; checked against TensorFlow 2.21.0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from refquant.model.graph import Quantization
from refquant.quantizer.legacy.arithmetic import asymmetric, symmetric


@dataclass(frozen=True, slots=True)
class ActivationType:
    """One kind of activations.

    `type`: of the tensors, and the column of the property table that counts. `suffix`: of their names beside float
    inputs and outputs. `parameters`: (min, max) -> scale and zero point. `bias_types`: the allowed ones, the first is
    the converter's choice. `io_types`: of the graph's inputs and outputs. `converts_constants`: constant operands of
    same-scale and arithmetic ops take this type too. `options`: op -> the options it gets on top.
    """

    type: str
    suffix: str
    parameters: Callable[[float, float], Quantization]
    bias_types: tuple[str, ...]
    io_types: tuple[str, ...]
    converts_constants: bool
    options: Mapping[str, Mapping[str, Any]]


INT8 = ActivationType(
    type="INT8",
    suffix="_int8",
    parameters=asymmetric,
    bias_types=("int32",),
    io_types=("float32", "int8", "uint8"),
    converts_constants=False,
    options=MappingProxyType({}),
)

INT16 = ActivationType(
    type="INT16",
    suffix="_int16",
    parameters=symmetric,
    bias_types=("int64", "int32"),
    io_types=("float32", "int16"),
    converts_constants=True,
    options=MappingProxyType({"ADD": {"pot_scale_int16": False}, "SUB": {"pot_scale_int16": False}}),
)

ACTIVATION_TYPES: Mapping[str, ActivationType] = MappingProxyType({"int8": INT8, "int16x8": INT16})
