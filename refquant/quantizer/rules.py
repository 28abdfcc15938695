"""The quantization specification as one literal table: op -> what int8 quantization asks of its operands and results.

Source: google-ai-edge/LiteRT, tflite/converter/ir/tfl_ops.td (QuantizableResult, SameOperandsAndResultsScale,
AffineOpCoefficient, AccumulatorUniformScale, FixedOutputRangeInterface) and tflite/converter/tools/versioning/
op_version.cc, checked op by op against TensorFlow 2.21.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

PER_TENSOR = -1  # a weight operand without a channel dimension


@dataclass(frozen=True, slots=True)
class Weights:
    """A constant operand that is quantized symmetrically to [-127, 127], one scale per index of dimension `axis`."""

    operand: int
    axis: int = PER_TENSOR


@dataclass(frozen=True, slots=True)
class Bias:
    """An operand that becomes int32 with the product of the scales of the operands `factors`."""

    operand: int
    factors: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Fixed:
    """Output parameters that the op prescribes, whatever its range."""

    scale: float
    zero_point: int


@dataclass(frozen=True, slots=True)
class OpRule:
    """What one op asks for. An op without a row stays float.

    `same_scale`: all float operands and results share one scale and zero point. `quantizable`: the op itself may become
    int8 (a same-scale op that may not still passes parameters on). `version`: the operator version of the int8 form.
    """

    weights: Weights | None = None
    bias: Bias | None = None
    fixed_output: Fixed | None = None
    same_scale: bool = False
    quantizable: bool = True
    version: int = 2


FREE = OpRule()  # every float operand and result has its own range
FREE_V1 = OpRule(version=1)
FREE_V3 = OpRule(version=3)
SAME = OpRule(same_scale=True)
SAME_V1 = OpRule(same_scale=True, version=1)
SAME_V3 = OpRule(same_scale=True, version=3)

OP_RULES: Mapping[str, OpRule] = MappingProxyType(
    {
        # weights and bias
        "CONV_2D": OpRule(Weights(1, axis=0), Bias(2, (0, 1)), version=3),
        "DEPTHWISE_CONV_2D": OpRule(Weights(1, axis=3), Bias(2, (0, 1)), version=3),
        "FULLY_CONNECTED": OpRule(Weights(1, axis=0), Bias(2, (0, 1)), version=4),
        "TRANSPOSE_CONV": OpRule(Weights(1, axis=0), Bias(3, (1, 2)), version=3),
        "CONV_3D": OpRule(bias=Bias(2, (0, 1)), quantizable=False),
        "CONV_3D_TRANSPOSE": OpRule(bias=Bias(3, (1, 2)), quantizable=False),
        "PRELU": OpRule(Weights(1), version=1),
        # fixed output
        "SOFTMAX": OpRule(fixed_output=Fixed(1 / 256, -128)),
        "LOGISTIC": OpRule(fixed_output=Fixed(1 / 256, -128)),
        "TANH": OpRule(fixed_output=Fixed(1 / 128, 0)),
        "L2_NORMALIZATION": OpRule(fixed_output=Fixed(1 / 128, 0)),
        "LOG_SOFTMAX": OpRule(fixed_output=Fixed(16 / 256, 127)),
        # one scale for all operands and results
        "ADD_N": OpRule(same_scale=True, quantizable=False),
        "AVERAGE_POOL_2D": SAME,
        "BATCH_TO_SPACE_ND": SAME,
        "BROADCAST_TO": SAME_V3,
        "CONCATENATION": SAME,
        "DEPTH_TO_SPACE": SAME,
        "EXPAND_DIMS": SAME_V1,
        "FILL": SAME_V3,
        "GATHER": SAME,
        "GATHER_ND": SAME_V1,
        "MAX_POOL_2D": SAME,
        "MAXIMUM": SAME,
        "MINIMUM": SAME,
        "MIRROR_PAD": SAME,
        "PACK": SAME,
        "PAD": SAME,
        "PADV2": SAME,
        "REDUCE_MAX": SAME,
        "REDUCE_MIN": SAME,
        "RESHAPE": SAME_V1,
        "RESIZE_BILINEAR": SAME,
        "RESIZE_NEAREST_NEIGHBOR": SAME,
        "SCATTER_ND": SAME_V1,
        "SELECT": SAME_V1,
        "SELECT_V2": SAME_V1,
        "SLICE": SAME,
        "SPACE_TO_BATCH_ND": SAME,
        "SPACE_TO_DEPTH": SAME,
        "SPLIT": SAME,
        "SPLIT_V": SAME,
        "SQUEEZE": SAME_V1,
        "STRIDED_SLICE": SAME,
        "TILE": SAME_V3,
        "TOPK_V2": SAME,
        "TRANSPOSE": SAME,
        "UNPACK": SAME,
        # every operand and result with its own range
        "ABS": FREE,
        "ADD": FREE,
        "ARG_MAX": FREE,
        "ARG_MIN": FREE,
        "BATCH_MATMUL": FREE,
        "DIV": FREE_V1,
        "EMBEDDING_LOOKUP": FREE_V1,
        "EQUAL": FREE,
        "EXP": FREE,
        "GELU": FREE,
        "GREATER": FREE,
        "GREATER_EQUAL": FREE,
        "HARD_SWISH": FREE_V1,
        "LEAKY_RELU": FREE_V1,
        "LESS": FREE,
        "LESS_EQUAL": FREE,
        "LOG": FREE,
        "MATRIX_DIAG": FREE_V1,
        "MATRIX_SET_DIAG": FREE_V1,
        "MEAN": FREE,
        "MUL": FREE,
        "ONE_HOT": FREE_V1,
        "RANK": FREE_V1,
        "REDUCE_PROD": FREE,
        "RELU": FREE,
        "RELU6": FREE,
        "RELU_0_TO_1": FREE_V1,
        "RELU_N1_TO_1": FREE_V1,
        "REVERSE_SEQUENCE": FREE_V1,
        "REVERSE_V2": FREE_V3,
        "RSQRT": FREE,
        "SHAPE": FREE_V1,
        "SPARSE_TO_DENSE": FREE,
        "SQRT": FREE,
        "SQUARED_DIFFERENCE": FREE,
        "SUB": FREE,
        "SUM": FREE,
        "UNIQUE": FREE_V1,
    }
)
