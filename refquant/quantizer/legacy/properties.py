"""The old quantizer's operator property table: op -> which operands and results it quantizes, and how.

Source: google-ai-edge/LiteRT, tflite/converter/tools/optimize/operator_property.cc (GetOperatorProperty), checked op by
op against TensorFlow 2.21.0, which has no row for SQRT.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from refquant.model.graph import Operator
from refquant.quantizer.recurrent import LSTM_OPS, SVDF, Operand, Recipe, recipe_of
from refquant.quantizer.rules import Fixed

INT8_ONLY = ("INT8",)


@dataclass(frozen=True, slots=True)
class OpProperty:
    """One row. An op without a row stays float.

    `operands`: in the order in which they are quantized; the first is the one whose parameters a same-scale result
    copies. `results`: numbers of the results that are quantized. `any_operands`, `any_results`: all of them instead.
    `biases`: operands that take the product of the scales of the two operands, once everything else has parameters.
    `same_scale`: with any_operands, operands are requantized to the result; otherwise the result copies operand 0.
    `fixed`: activation type -> the parameters of the result, whatever its range.
    `constants_as_activations`: constant operands become int16 where activations are int16.
    `types`: the activation types for which the op is quantized. `version`: the least operator version afterwards.
    Where defects are avoided: `forgotten` are operands that must have the result's scale, too, and `outgrows` says that
    the result may leave the range of the operand whose parameters it copies; `zero_is_code_0`: the kernel writes the
    code 0 where 0.0 is meant.
    """

    operands: tuple[Operand, ...] = ()
    results: tuple[int, ...] = (0,)
    any_operands: bool = False
    any_results: bool = False
    biases: tuple[int, ...] = ()
    same_scale: bool = False
    fixed: Mapping[str, Fixed] = field(default_factory=lambda: MappingProxyType({}))
    constants_as_activations: bool = False
    types: tuple[str, ...] = ("INT8", "INT16")
    version: int = 2
    forgotten: tuple[Operand, ...] = ()
    outgrows: bool = False
    zero_is_code_0: bool = False


# What an op may do with a float result that has no range of its own: the forms that several ops share.
X, Y = Operand(0), Operand(1)
FREE = OpProperty((X,))
FREE_INT8_V1 = OpProperty((X,), types=INT8_ONLY, version=1)
SAME = OpProperty((X,), same_scale=True)
SAME_INT8 = OpProperty((X,), same_scale=True, types=INT8_ONLY)
SAME_V1 = OpProperty((X,), same_scale=True, version=1)
SAME_V3 = OpProperty((X,), same_scale=True, version=3)
ARITHMETIC = OpProperty((X, Y), constants_as_activations=True)
COMPARISON = OpProperty((X, Y), results=(), types=INT8_ONLY)
JOIN = OpProperty(any_operands=True, same_scale=True)
SELECTION = OpProperty(any_operands=True, same_scale=True, constants_as_activations=True)

Q15 = Fixed(1 / 32768, 0)

PROPERTIES: Mapping[str, OpProperty] = MappingProxyType(
    {
        # weights and bias
        "CONV_2D": OpProperty((X, Operand(1, axis=0)), biases=(2,), version=3),
        "DEPTHWISE_CONV_2D": OpProperty((X, Operand(1, axis=3)), biases=(2,), version=3),
        "FULLY_CONNECTED": OpProperty((X, Operand(1, axis=0)), biases=(2,), version=4),
        "TRANSPOSE_CONV": OpProperty((Operand(2), Operand(1, axis=0)), biases=(3,), version=3),
        "SVDF": OpProperty(SVDF.operands, types=INT8_ONLY, version=3),
        # fixed result
        "SOFTMAX": OpProperty((X,), fixed={"INT8": Fixed(1 / 256, -128), "INT16": Q15}),
        "LOGISTIC": OpProperty((X,), fixed={"INT8": Fixed(1 / 256, -128), "INT16": Q15}),
        "TANH": OpProperty((X,), fixed={"INT8": Fixed(1 / 128, 0), "INT16": Q15}),
        "L2_NORMALIZATION": OpProperty((X,), fixed={"INT8": Fixed(1 / 128, 0)}, types=INT8_ONLY),
        "LOG_SOFTMAX": OpProperty((X,), fixed={"INT8": Fixed(16 / 256, 127)}, types=INT8_ONLY),
        # all operands are requantized to the result's range
        "CONCATENATION": JOIN,
        "MAXIMUM": SELECTION,
        "MINIMUM": SELECTION,
        "PACK": JOIN,
        # the result copies the operand's parameters
        "AVERAGE_POOL_2D": SAME,
        "BATCH_TO_SPACE_ND": SAME,
        "BROADCAST_TO": SAME_V3,
        "DEPTH_TO_SPACE": SAME_INT8,
        "EXPAND_DIMS": SAME_V1,
        "FILL": OpProperty((Y,), same_scale=True, version=3),
        "GATHER": OpProperty((X,), same_scale=True, constants_as_activations=True),
        "GATHER_ND": SAME_V3,
        "MAX_POOL_2D": SAME,
        "MIRROR_PAD": SAME,
        "PAD": SAME,
        "PADV2": OpProperty((X,), same_scale=True, forgotten=(Operand(2),), outgrows=True),  # the pad value stays float
        "REDUCE_MAX": SAME,
        "REDUCE_MIN": SAME,
        "RESHAPE": SAME_V1,
        "RESIZE_BILINEAR": SAME,
        "RESIZE_NEAREST_NEIGHBOR": SAME,
        "REVERSE_V2": SAME_V3,
        "SCATTER_ND": OpProperty((Y,), same_scale=True, version=1, zero_is_code_0=True),
        "SELECT": OpProperty((Y, Operand(2)), same_scale=True, version=1, outgrows=True),  # the second keeps its scale
        "SLICE": SAME,
        "SPACE_TO_BATCH_ND": SAME,
        "SPACE_TO_DEPTH": SAME_INT8,
        "SPLIT": OpProperty((Y,), any_results=True, same_scale=True),
        "SPLIT_V": OpProperty((X,), any_results=True, same_scale=True),
        "SQUEEZE": SAME_V1,
        "STRIDED_SLICE": SAME,
        "SUM": OpProperty(
            (X,), same_scale=True, outgrows=True
        ),  # the table excepts int8 results, but asks while the result is still float
        "TILE": SAME_V3,
        "TRANSPOSE": SAME,
        "UNPACK": OpProperty((X,), any_results=True, same_scale=True, version=1),
        # every operand and result with its own range
        "ABS": FREE,
        "ADD": ARITHMETIC,
        "ARG_MAX": OpProperty((X,), results=(), types=INT8_ONLY),
        "BATCH_MATMUL": ARITHMETIC,
        "EQUAL": COMPARISON,
        "EXP": FREE,
        "GELU": FREE,
        "GREATER": COMPARISON,
        "GREATER_EQUAL": COMPARISON,
        "HARD_SWISH": FREE_INT8_V1,
        "LEAKY_RELU": FREE,
        "LESS": COMPARISON,
        "LESS_EQUAL": COMPARISON,
        "LOG": FREE,
        "MEAN": FREE,
        "MUL": ARITHMETIC,
        "NOT_EQUAL": COMPARISON,
        "PRELU": OpProperty((X, Y), types=INT8_ONLY, version=1),
        "QUANTIZE": FREE,
        "REDUCE_PROD": FREE,
        "RELU": FREE,
        "RELU6": FREE,
        "RELU_N1_TO_1": FREE_INT8_V1,
        "RSQRT": FREE,
        "SHAPE": OpProperty((X,), results=(), version=1),
        "SQUARED_DIFFERENCE": ARITHMETIC,
        "SUB": ARITHMETIC,
        "WHERE": OpProperty((X,), version=1),
        # resource variables
        "ASSIGN_VARIABLE": OpProperty((Y,), results=(), constants_as_activations=True, version=1),
        "READ_VARIABLE": OpProperty(version=1),
        "VAR_HANDLE": OpProperty(results=(), version=1),
    }
)


def property_of(operator: Operator) -> OpProperty | None:
    """The operator's row; None for one that is never quantized. An LSTM's depends on the operands that are there."""
    recipe = memory_of(operator)
    return PROPERTIES.get(operator.name) if recipe is None else OpProperty(recipe.operands, types=INT8_ONLY)


def memory_of(operator: Operator) -> Recipe | None:
    """The recipe of an LSTM, which has values inside that are quantized too; None for others."""
    return recipe_of(operator) if operator.name in LSTM_OPS else None
