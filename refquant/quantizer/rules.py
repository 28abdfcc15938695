"""The quantization specification as one literal table: op -> what int8 quantization asks of its operands and results.

`refquant rules` prints it in the form of the published "LiteRT 8-bit quantization specification" (see
specification.py); where the two differ stands, with a reason, in deviations.py.
Source: google-ai-edge/LiteRT, tflite/converter/ir/tfl_ops.td (QuantizableResult, SameOperandsAndResultsScale,
AffineOpCoefficient, AccumulatorUniformScale, FixedOutputRangeInterface),
tflite/converter/transforms/quantize_by_converter_patterns.td and tflite/converter/tools/versioning/op_version.cc,
checked op by op against TensorFlow 2.21.0. That version has no int8 form of DYNAMIC_UPDATE_SLICE, which tfl_ops.td has
gained since.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import EllipsisType, MappingProxyType

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

    `inputs`, `outputs`: positions of the operands and results that hold real numbers, `...` for all of them; the others
    are axes, shapes or indices. `same_scale`: all of them share one scale and zero point. `quantizable`: the op itself
    may become int8 (a same-scale op that may not still passes parameters on). `always`: an operand that is read as int8
    even where the operator stays float. `version`: the operator version of the int8 form. `kernel`: LiteRT 2.3.0 runs
    the int8 form.
    """

    weights: Weights | None = None
    bias: Bias | None = None
    fixed_output: Fixed | None = None
    inputs: tuple[int, ...] | EllipsisType = (0,)
    outputs: tuple[int, ...] | EllipsisType = (0,)
    same_scale: bool = False
    quantizable: bool = True
    always: int | None = None
    version: int = 2
    kernel: bool = True


FREE = OpRule()  # every real operand and result has its own range
FREE_V1 = OpRule(version=1)
COMPARED = OpRule(inputs=(0, 1), outputs=())  # the result is bool
PAIR = OpRule(inputs=(0, 1))
MEMORY = OpRule(version=1)
SAME = OpRule(same_scale=True)
SAME_V1 = OpRule(same_scale=True, version=1)
SAME_V3 = OpRule(same_scale=True, version=3)
SAME_PAIR = OpRule(inputs=(0, 1), same_scale=True)

OP_RULES: Mapping[str, OpRule] = MappingProxyType(
    {
        # weights and bias
        "CONV_2D": OpRule(Weights(1, axis=0), Bias(2, (0, 1)), inputs=(0, 1, 2), version=3),
        "DEPTHWISE_CONV_2D": OpRule(Weights(1, axis=3), Bias(2, (0, 1)), inputs=(0, 1, 2), version=3),
        "FULLY_CONNECTED": OpRule(Weights(1, axis=0), Bias(2, (0, 1)), inputs=(0, 1, 2), version=4),
        "TRANSPOSE_CONV": OpRule(Weights(1, axis=0), Bias(3, (1, 2)), inputs=(1, 2, 3), always=1),
        "CONV_3D": OpRule(bias=Bias(2, (0, 1)), inputs=(0, 1, 2), quantizable=False),
        "CONV_3D_TRANSPOSE": OpRule(bias=Bias(3, (1, 2)), inputs=(1, 2, 3), quantizable=False),
        "PRELU": OpRule(Weights(1), inputs=(0, 1), version=1),
        # fixed output
        "SOFTMAX": OpRule(fixed_output=Fixed(1 / 256, -128)),
        "LOGISTIC": OpRule(fixed_output=Fixed(1 / 256, -128)),
        "TANH": OpRule(fixed_output=Fixed(1 / 128, 0)),
        "L2_NORMALIZATION": OpRule(fixed_output=Fixed(1 / 128, 0)),
        "LOG_SOFTMAX": OpRule(fixed_output=Fixed(16 / 256, 127)),
        # one scale for all operands and results
        "ADD_N": OpRule(inputs=..., same_scale=True, quantizable=False),
        "AVERAGE_POOL_2D": SAME,
        "BATCH_TO_SPACE_ND": SAME,
        "BROADCAST_TO": SAME_V3,
        "CONCATENATION": OpRule(inputs=..., same_scale=True),
        "DEPTH_TO_SPACE": SAME,
        "EXPAND_DIMS": SAME_V1,
        "FILL": OpRule(inputs=(1,), same_scale=True, version=3),
        "GATHER": SAME,
        "GATHER_ND": SAME_V1,
        "MAX_POOL_2D": SAME,
        "MAXIMUM": SAME_PAIR,
        "MINIMUM": SAME_PAIR,
        "MIRROR_PAD": SAME,
        "PACK": OpRule(inputs=..., same_scale=True),
        "PAD": SAME,
        "PADV2": OpRule(inputs=(0, 2), same_scale=True),
        "REDUCE_MAX": SAME,
        "REDUCE_MIN": SAME,
        "RESHAPE": SAME_V1,
        "RESIZE_BILINEAR": SAME,
        "RESIZE_NEAREST_NEIGHBOR": SAME,
        "SCATTER_ND": OpRule(inputs=(1,), same_scale=True, version=1),
        "SELECT": OpRule(inputs=(1, 2), same_scale=True, version=1),
        "SELECT_V2": OpRule(inputs=(1, 2), same_scale=True, version=1),
        "SLICE": SAME,
        "SPACE_TO_BATCH_ND": SAME,
        "SPACE_TO_DEPTH": SAME,
        "SPLIT": OpRule(inputs=(1,), outputs=..., same_scale=True),
        "SPLIT_V": OpRule(outputs=..., same_scale=True),
        "SQUEEZE": SAME_V1,
        "STRIDED_SLICE": SAME,
        "TILE": SAME_V3,
        "TOPK_V2": SAME,
        "TRANSPOSE": SAME,
        "UNPACK": OpRule(outputs=..., same_scale=True),
        # every operand and result with its own range
        "ABS": FREE,
        "ADD": PAIR,
        "ARG_MAX": OpRule(outputs=()),
        "ARG_MIN": OpRule(outputs=()),
        "BATCH_MATMUL": PAIR,
        "DIV": OpRule(inputs=(0, 1), version=1),
        "EMBEDDING_LOOKUP": OpRule(inputs=(1,), always=1, version=1),
        "EQUAL": COMPARED,
        "EXP": FREE,
        "GELU": FREE,
        "GREATER": COMPARED,
        "GREATER_EQUAL": COMPARED,
        "HARD_SWISH": FREE_V1,
        "LEAKY_RELU": FREE_V1,
        "LESS": COMPARED,
        "LESS_EQUAL": COMPARED,
        "LOG": FREE,
        "MATRIX_DIAG": FREE_V1,
        "MATRIX_SET_DIAG": OpRule(inputs=(0, 1), version=1),
        "MEAN": FREE,
        "MUL": PAIR,
        "ONE_HOT": OpRule(inputs=(2, 3), version=1),
        "RANK": OpRule(outputs=(), version=1),
        "REDUCE_PROD": FREE,
        "RELU": FREE,
        "RELU6": FREE,
        "RELU_0_TO_1": FREE_V1,
        "RELU_N1_TO_1": FREE_V1,
        "REVERSE_SEQUENCE": OpRule(version=1, kernel=False),
        "REVERSE_V2": OpRule(version=3),
        "RSQRT": FREE,
        "SHAPE": OpRule(outputs=(), version=1),
        "SPARSE_TO_DENSE": OpRule(inputs=(2, 3), version=3),
        "SQRT": FREE,
        "SQUARED_DIFFERENCE": PAIR,
        "SUB": PAIR,
        "SUM": FREE,
        "UNIQUE": FREE_V1,
        # with a memory: see recurrent.py for their weights, biases and states
        "LSTM": MEMORY,
        "SVDF": OpRule(version=3),
        "UNIDIRECTIONAL_SEQUENCE_LSTM": MEMORY,
    }
)

# What the converter puts between two int8 tensors of different parameters, and on the borders of float operators.
REQUANTIZE = FREE_V1
