"""Known wrong or undefined behaviour of the real runtimes, and what refquant does about each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Erratum:
    """One finding. treatment: "reproduced" (refquant computes the same wrong values), "refused" (UnsupportedModel)."""

    key: str
    op: str
    types: tuple[str, ...]
    what: str
    treatment: str
    links: tuple[str, ...]
    runtime: str = "tflite_ref"
    versions: str = "LiteRT 2.3.0"


ERRATA: tuple[Erratum, ...] = (
    Erratum(
        key="sum-int8-read-as-uint8",
        op="SUM",
        types=("INT8",),
        versions="TensorFlow 2.21.0, LiteRT 2.3.0",
        what="The reference kernel reads the int8 input as uint8: every negative code counts 256 too much.",
        treatment="reproduced",
        links=(
            "https://github.com/google-ai-edge/LiteRT/issues/4079",
            "https://github.com/tensorflow/tensorflow/issues/102490",
            "https://github.com/google-ai-edge/LiteRT/pull/7855",
        ),
    ),
    Erratum(
        key="softmax-8bit-flat-rows",
        op="SOFTMAX",
        types=("INT8", "UINT8"),
        what=(
            "The process is ended when a row's exponentials sum to 512 or more, as 512 equal values do: the sum no "
            "longer leaves the bits that the reciprocal needs."
        ),
        treatment="refused",
        links=(
            "https://github.com/tensorflow/tensorflow/pull/62851",
            "https://github.com/tensorflow/tflite-micro/issues/3499",
        ),
    ),
    Erratum(
        key="softmax-int8-to-int16",
        op="SOFTMAX",
        types=("INT8",),
        versions="TensorFlow 2.21.0, LiteRT 2.3.0",
        what=(
            "With an int16 output the scale and zero point of the output are not looked at: 0.0 is always written as "
            "-32768."
        ),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/internal/reference/softmax.h",),
    ),
    Erratum(
        key="log-softmax-int8-sum",
        op="LOG_SOFTMAX",
        types=("INT8", "UINT8"),
        what="Exponentials of a row that sum to 4096 or more leave the int32 accumulator; later shifts are undefined.",
        treatment="refused",
        links=(
            "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/internal/reference/integer_ops/log_softmax.h",
        ),
    ),
    Erratum(
        key="resize-bilinear-int8-outside",
        op="RESIZE_BILINEAR",
        types=("INT8",),
        what=(
            "The scale rounded to 1/1024 can put the lower tap behind the last pixel (33 to 513 pixels without "
            "align_corners or half_pixel_centers): the kernel reads outside the image."
        ),
        treatment="refused",
        links=(
            "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/internal/reference/resize_bilinear.h",
        ),
    ),
    Erratum(
        key="reduce-max-infinity",
        op="REDUCE_MAX, REDUCE_MIN",
        types=("FLOAT32",),
        what=(
            "Except over all axes, the result starts at the lowest (highest) finite value: a row of only -inf (inf) "
            "gives -3.4e38 (3.4e38), and NaN is skipped."
        ),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/reduce.cc",),
    ),
    Erratum(
        key="reduce-prod-int8-empty",
        op="REDUCE_PROD",
        types=("INT8",),
        what="A quantized product over an empty axis leaves the output unwritten.",
        treatment="refused",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/internal/reference/reduce.h",),
    ),
    Erratum(
        key="batch-matmul-per-channel",
        op="BATCH_MATMUL",
        types=("INT8",),
        what=("An operand with one scale per channel counts as scale 0: every output is the zero point."),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/batch_matmul.cc",),
    ),
    Erratum(
        key="batch-matmul-int32-output",
        op="BATCH_MATMUL",
        types=("INT8",),
        what=("With an int32 output both zero points are ignored."),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/batch_matmul.cc",),
    ),
    Erratum(
        key="fully-connected-cast",
        op="FULLY_CONNECTED",
        types=("INT8",),
        what=("A result beyond int32 before the clamp is cast from double: undefined behaviour in C++."),
        treatment="refused",
        links=(
            "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/internal/reference/integer_ops/fully_connected.h",
        ),
    ),
    Erratum(
        key="fully-connected-remainder",
        op="FULLY_CONNECTED",
        types=(
            "INT8",
            "FLOAT32",
        ),
        what=("Input elements that do not fill a row of the filter are dropped without an error."),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/fully_connected.cc",),
    ),
    Erratum(
        key="filter-zero-point-unread",
        op="DEPTHWISE_CONV_2D, TRANSPOSE_CONV",
        types=("INT8",),
        what=(
            "The zero point of an int8 filter is not read; FULLY_CONNECTED reads it per tensor, but not per channel."
        ),
        treatment="reproduced",
        links=(
            "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/depthwise_conv.cc",
            "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/transpose_conv.cc",
        ),
    ),
    Erratum(
        key="pool-parameters-unchecked",
        op="AVERAGE_POOL_2D, MAX_POOL_2D",
        types=("INT8",),
        what=("Input and output scales that differ are accepted and ignored: the codes are pooled as they are."),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/pooling.cc",),
    ),
    Erratum(
        key="movement-parameters-unchecked",
        op="RESHAPE, TRANSPOSE, TILE, SLICE, STRIDED_SLICE, SPLIT, GATHER, SELECT, PAD and others",
        types=("INT8",),
        what=("Input and output scales that differ are accepted and ignored: the codes move as they are."),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/reshape.cc",),
    ),
    Erratum(
        key="fused-tanh-unread",
        op="CONV_2D, DEPTHWISE_CONV_2D, TRANSPOSE_CONV, pools",
        types=(
            "INT8",
            "FLOAT32",
        ),
        what=("A fused TANH is run as NONE."),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/kernel_util.cc",),
    ),
    Erratum(
        key="pad-zero-point",
        op="PAD",
        types=("INT8",),
        what=("The fill is the output's zero point only if the input has quantization parameters, else 0."),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/pad.cc",),
    ),
    Erratum(
        key="one-hot-int64",
        op="ONE_HOT",
        types=("INT64",),
        what=("int64 indices are compared by their low 32 bits."),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/one_hot.cc",),
    ),
    Erratum(
        key="range-float-accumulates",
        op="RANGE",
        types=("FLOAT32",),
        what=("Each value is the one before plus delta, so that rounding errors add up."),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/range.cc",),
    ),
    Erratum(
        key="reshape-operand-ignored",
        op="RESHAPE",
        types=(
            "INT8",
            "FLOAT32",
        ),
        what=("A new shape that is no INT32 vector is ignored without an error; the option new_shape counts instead."),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/reshape.cc",),
    ),
    Erratum(
        key="strided-slice-shrink",
        op="STRIDED_SLICE",
        types=(
            "INT8",
            "FLOAT32",
        ),
        what=(
            "A shrunk axis whose index is out of range, or whose stride is negative, leaves garbage without an error."
        ),
        treatment="refused",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/strided_slice.cc",),
    ),
    Erratum(
        key="transpose-repeated-axis",
        op="TRANSPOSE",
        types=(
            "INT8",
            "FLOAT32",
        ),
        what=("A permutation that names an axis twice is accepted and leaves garbage."),
        treatment="refused",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/transpose.cc",),
    ),
    Erratum(
        key="reverse-empty",
        op="REVERSE_V2",
        types=(
            "INT8",
            "FLOAT32",
        ),
        what=("No axes, or an empty axis behind the reversed ones, ends the process."),
        treatment="refused",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/reverse.cc",),
    ),
    Erratum(
        key="index-operand-types",
        op="SPLIT, TRANSPOSE, SPACE_TO_BATCH_ND",
        types=("INT64",),
        what=("int64 axes, permutations and block shapes are read as if they were int32."),
        treatment="refused",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/split.cc",),
    ),
    Erratum(
        key="comparison-scale-one",
        op="EQUAL, LESS and the other comparisons",
        types=(
            "INT8",
            "UINT8",
        ),
        what=("A scale of exactly 1 ends the process, a larger one compares garbage."),
        treatment="refused",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/comparisons.cc",),
    ),
    Erratum(
        key="add-multiplier-one",
        op="ADD, SUB, SQUARED_DIFFERENCE",
        types=("INT8",),
        what=("An output multiplier of 1 or more ends the process; SUB above 1 is off by one."),
        treatment="refused",
        links=(
            "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/add.cc",
            "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/sub.cc",
        ),
    ),
    Erratum(
        key="quantize-not-finite",
        op="QUANTIZE",
        types=("FLOAT32",),
        what=(
            "NaN, infinity and |x / scale| of 2^31 or more are cast to int32, which is undefined: on x86 both "
            "infinities give the same code."
        ),
        treatment="refused",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/quantize.cc",),
    ),
    Erratum(
        key="hard-swish-tiny",
        op="HARD_SWISH",
        types=(
            "INT8",
            "UINT8",
        ),
        what=("An output multiplier below 2^-15 gives steps of +-1 instead of 0: an int16 mask wraps."),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/internal/reference/hard_swish.h",),
    ),
    Erratum(
        key="gelu-float-tail",
        op="GELU",
        types=("FLOAT32",),
        what=(
            "The last elements beyond a multiple of 4 use another exponential than the rest (x86-64 build without FMA)."
        ),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/gelu.cc",),
    ),
    Erratum(
        key="sqrt-int8-truncates",
        op="SQRT",
        types=("INT8",),
        what=("The result is truncated, not rounded."),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/elementwise.cc",),
    ),
    Erratum(
        key="raw-codes",
        op="NEG, MAXIMUM, MINIMUM",
        types=("INT8",),
        what=("The codes are negated or compared as they are; scales and zero points are ignored."),
        treatment="reproduced",
        links=(
            "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/neg.cc",
            "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/maximum_minimum.cc",
        ),
    ),
    Erratum(
        key="maximum-nan",
        op="MAXIMUM, MINIMUM",
        types=("FLOAT32",),
        what=("Where either operand is NaN the second operand is the result."),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/maximum_minimum.cc",),
    ),
    Erratum(
        key="div-minimum",
        op="DIV, FLOOR_DIV, FLOOR_MOD",
        types=(
            "INT32",
            "INT64",
        ),
        what=("The minimum divided by -1 is undefined; FLOOR_MOD ends the process."),
        treatment="refused",
        links=(
            "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/div.cc",
            "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/floor_mod.cc",
        ),
    ),
    Erratum(
        key="elu-not-registered",
        op="ELU",
        types=(
            "INT8",
            "FLOAT32",
        ),
        what=(
            "The reference resolver has no ELU; refquant's is proved against the optimized resolver's "
            "(BUILTIN_WITHOUT_DEFAULT_DELEGATES)."
        ),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/register_ref.cc",),
    ),
    Erratum(
        key="shift-over-30",
        op="every op with a quantized multiplier",
        types=("INT8", "UINT8", "INT16"),
        versions="TensorFlow 2.21.0, LiteRT 2.3.0",
        what=(
            "A ratio of scales beyond 2^30 makes MultiplyByQuantizedMultiplier shift an int32 by more than its width: "
            "undefined behaviour in C++, and the reference and the optimized kernels answer differently."
        ),
        treatment="refused",
        links=(
            "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/internal/common.cc",
            "https://github.com/ARM-software/CMSIS-NN/issues/114",
        ),
    ),
)
