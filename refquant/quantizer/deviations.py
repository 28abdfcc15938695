"""Where TensorFlow 2.21.0's converter does otherwise than the published 8-bit quantization specification, and why.

One literal table. Rows without a condition are exactly the differences between the page and the op rule table (a test
compares them word by word); rows with one were found by experiment, which a test repeats with TensorFlow.
"""

from __future__ import annotations

from dataclasses import dataclass

from refquant.quantizer.rules import OP_RULES


@dataclass(frozen=True, slots=True)
class Deviation:
    """One deviation.

    `place`: "op" (the whole op), "Input 2 (Bias): granularity", ... as in specification.py. `page`, `converter`: what
    each says, "" for nothing. `condition`: when, "" for always.
    """

    key: str
    ops: tuple[str, ...]
    place: str
    page: str
    converter: str
    reason: str
    condition: str = ""


EVERY_OP = tuple(op for op, rule in OP_RULES.items() if rule.quantizable)
EVERY_SAME_SCALE_OP = tuple(op for op in EVERY_OP if OP_RULES[op].same_scale)
PER_TENSOR_INT8 = "int8 [-128, 127], per-tensor"
WEIGHTS = "int8 [-127, 127], per-axis, zero_point = 0"

DEVIATIONS: tuple[Deviation, ...] = (
    # always: ops that the page lists
    Deviation(
        key="dense-bias-per-axis",
        ops=("FULLY_CONNECTED",),
        place="Input 2 (Bias): granularity",
        page="per-tensor",
        converter="per-axis",
        reason="Its weights have one scale per channel, on the page too, so the product of scales has as many.",
    ),
    Deviation(
        key="maximum-second-operand",
        ops=("MAXIMUM", "MINIMUM"),
        place="Input 1",
        page="",
        converter=PER_TENSOR_INT8,
        reason="The page leaves the second operand out; codes can only be compared if both have the one scale.",
    ),
    Deviation(
        key="padv2-value",
        ops=("PADV2",),
        place="Input 2",
        page="",
        converter=PER_TENSOR_INT8,
        reason="The page leaves the padding value out; its code is written as it stands, so it takes the one scale.",
    ),
    Deviation(
        key="not-equal",
        ops=("NOT_EQUAL",),
        place="op",
        page="int8",
        converter="",
        reason="The converter's op lacks the mark QuantizableResult, so it stays float; LiteRT has the int8 kernel.",
    ),
    # always: ops that the page does not list
    Deviation(
        key="unlisted-weights",
        ops=("TRANSPOSE_CONV",),
        place="op",
        page="",
        converter="int8",
        reason="As CONV_2D, in another order. Its weights are int8 even where the operator stays float.",
    ),
    Deviation(
        key="unlisted-slopes",
        ops=("PRELU",),
        place="op",
        page="",
        converter="int8",
        reason="Its slopes are weights, but of one scale for all channels.",
    ),
    Deviation(
        key="unlisted-moves",
        ops=(
            "BROADCAST_TO",
            "DEPTH_TO_SPACE",
            "EXPAND_DIMS",
            "FILL",
            "GATHER_ND",
            "MIRROR_PAD",
            "PACK",
            "REDUCE_MAX",
            "REDUCE_MIN",
            "RESIZE_NEAREST_NEIGHBOR",
            "SELECT",
            "SELECT_V2",
            "SPLIT",
            "SPLIT_V",
            "STRIDED_SLICE",
            "TILE",
            "TOPK_V2",
            "UNPACK",
        ),
        place="op",
        page="",
        converter="int8",
        reason="They move or choose codes as they are, like RESHAPE and SLICE, under one scale.",
    ),
    Deviation(
        key="unlisted-arithmetic",
        ops=(
            "ABS",
            "BATCH_MATMUL",
            "DIV",
            "EXP",
            "GELU",
            "HARD_SWISH",
            "LEAKY_RELU",
            "LOG",
            "REDUCE_PROD",
            "RELU",
            "RELU6",
            "RELU_0_TO_1",
            "RELU_N1_TO_1",
            "RSQRT",
            "SQRT",
            "SQUARED_DIFFERENCE",
        ),
        place="op",
        page="",
        converter="int8",
        reason="They compute on codes of different scales, like ADD and MUL, or look the result up.",
    ),
    Deviation(
        key="unlisted-integer-results",
        ops=("ARG_MIN", "RANK"),
        place="op",
        page="",
        converter="int8",
        reason="Like ARG_MAX and SHAPE: the operand may be int8, the result is an integer anyway.",
    ),
    Deviation(
        key="unlisted-copies-of-own-ranges",
        ops=("REVERSE_V2", "UNIQUE"),
        place="op",
        page="",
        converter="int8",
        reason="The kernels copy codes, but operand and result keep ranges of their own: right while these are equal.",
    ),
    Deviation(
        key="unlisted-memories",
        ops=("LSTM", "SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM"),
        place="op",
        page="",
        converter="int8",
        reason=(
            "Weights of int8 and int16, each with one scale; biases of int32 whose scales follow from other operands "
            "and from values inside; a cell state of int16 (recurrent.py has the recipes)."
        ),
    ),
    Deviation(
        key="unlisted-wrong-scales",
        ops=("EMBEDDING_LOOKUP", "MATRIX_SET_DIAG", "ONE_HOT", "SPARSE_TO_DENSE"),
        place="op",
        page="",
        converter="int8",
        reason=(
            "The kernels copy codes, but the operands that they come from keep ranges of their own: wrong values. "
            "EMBEDDING_LOOKUP's table is int8 even where the operator stays float."
        ),
    ),
    Deviation(
        key="unlisted-wrong-zeros",
        ops=("MATRIX_DIAG", "SCATTER_ND"),
        place="op",
        page="",
        converter="int8",
        reason="The kernels fill up with the code 0, which means 0.0 only where the zero point is 0.",
    ),
    Deviation(
        key="unlisted-without-kernel",
        ops=("REVERSE_SEQUENCE",),
        place="op",
        page="",
        converter="int8",
        reason="The converter makes it int8, but LiteRT 2.3.0 has no int8 kernel: the file cannot be run.",
    ),
    # under a condition
    Deviation(
        key="weights-computed",
        ops=("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"),
        place="Input 1 (Weight)",
        page=WEIGHTS,
        converter=PER_TENSOR_INT8,
        reason=(
            "They are an activation with its own range. LiteRT runs FULLY_CONNECTED so; of CONV_2D it refuses zero "
            "points other than 0, of DEPTHWISE_CONV_2D it ignores them."
        ),
        condition="the weights are no constant",
    ),
    Deviation(
        key="bias-computed",
        ops=("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"),
        place="Input 2 (Bias)",
        page="int32, (scale, zero_point) = (input0_scale * input1_scale[...], 0)",
        converter=PER_TENSOR_INT8,
        reason="Its own range counts more than the product of scales. LiteRT refuses the file.",
        condition="the bias is no constant and has a range",
    ),
    Deviation(
        key="bias-computed-without-range",
        ops=("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"),
        place="Input 2 (Bias)",
        page="int32, (scale, zero_point) = (input0_scale * input1_scale[...], 0)",
        converter="the same, through a QUANTIZE from float32 to int32",
        reason="LiteRT has no such QUANTIZE and refuses the file.",
        condition="the bias is no constant and has no range",
    ),
    Deviation(
        key="bias-overflow",
        ops=("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"),
        place="Input 2 (Bias): restriction",
        page="(scale, zero_point) = (input0_scale * input1_scale[...], 0)",
        converter="scale = |bias| / (2^30 - 1); the weights' scale follows and exceeds max |w| / 127",
        reason="It leaves the accumulator room. In float32 the product may be off by a unit in the last place.",
        condition="a bias exceeds 2^30 - 1 steps of the product",
    ),
    Deviation(
        key="per-tensor-option",
        ops=("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"),
        place="Input 1 (Weight): granularity",
        page="per-axis",
        converter="per-tensor",
        reason="Asked for: per_channel=False, or for FULLY_CONNECTED alone per_channel_dense=False.",
        condition="the caller asks for it",
    ),
    Deviation(
        key="no-parameters",
        ops=EVERY_OP,
        place="op",
        page="int8",
        converter="",
        reason="An operand or result that no sample reached, or that a float operator computes, has no parameters.",
        condition="an operand or a result has no parameters",
    ),
    Deviation(
        key="not-reached",
        ops=("ARG_MAX", "EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "SHAPE"),
        place="op",
        page="int8",
        converter="",
        reason=(
            "The converter rewrites the readers of a tensor one after the other and stops at the first that stays "
            "float, a graph output included; only operators with float results are found another way too."
        ),
        condition="another reader of each operand stays float or is a graph output, and comes first",
    ),
    Deviation(
        key="not-visited-again",
        ops=EVERY_SAME_SCALE_OP,
        place="op",
        page="int8",
        converter="",
        reason=(
            "The converter looks at it before its operand has parameters; when another reader gives the operand some, "
            "the operand's producer is looked at again, but not the other readers."
        ),
        condition="its operand gets parameters from another reader, after its turn",
    ),
    Deviation(
        key="squeeze-is-reshape",
        ops=("SQUEEZE",),
        place="op",
        page="int8",
        converter="RESHAPE",
        reason="The converter replaces it when it cleans the graph up, in float models too.",
        condition="the result's shape is known",
    ),
    Deviation(
        key="shape-is-constant",
        ops=("SHAPE",),
        place="op",
        page="int8",
        converter="",
        reason="The converter replaces it by its result, in float models too.",
        condition="the operand's shape is known",
    ),
)
