"""Known wrong or undefined behaviour of the real runtimes and the converter, and what refquant does about each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from refquant.runtimes import DESCRIBED


@dataclass(frozen=True, slots=True)
class Erratum:
    """One finding. treatment: "reproduced" (the same wrong values), "refused" (an error that names it), or "avoided".

    Avoided: refquant gives the right values, as the runtime does with experimental_preserve_all_tensors, or in other
    versions. `op`, `runtime`: names with commas between, the runtimes as refquant describes them, or "converter".
    `mended`: the version from which on it is right; "" for none.
    """

    key: str
    op: str
    types: tuple[str, ...]
    what: str
    treatment: str
    links: tuple[str, ...]
    runtime: str = "tflite_ref"
    versions: str = "LiteRT 2.3.0"
    mended: str = ""

    @property
    def ops(self) -> frozenset[str]:
        """The operators that it names; empty for "every op …"."""
        return frozenset() if self.op.startswith("every op") else frozenset(re.findall(r"[A-Z][A-Z0-9_]+", self.op))


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
        runtime="tflite_ref, tflm",
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
            "https://github.com/google-ai-"
            "edge/LiteRT/blob/main/tflite/kernels/internal/reference/integer_ops/log_softmax.h",
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
        runtime="tflite_ref, tflm",
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
            "https://github.com/google-ai-"
            "edge/LiteRT/blob/main/tflite/kernels/internal/reference/integer_ops/fully_connected.h",
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
        types=("INT8", "UINT8"),
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
        runtime="tflite_ref, tflite_opt, xnnpack, tflm",
        what=("An output multiplier of 1 or more ends the process; SUB above 1 is off by one."),
        treatment="refused",
        links=(
            "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/add.cc",
            "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/sub.cc",
            "https://github.com/tensorflow/tensorflow/pull/61698",
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
        key="pow-one-exponent",
        op="POW",
        types=("FLOAT32", "INT32"),
        what=(
            "A single exponent within 1e-5 of a whole number from 1 on is rounded to it and the power made of "
            "products, unless base and exponent have one shape."
        ),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/internal/optimized/optimized_ops.h",),
    ),
    Erratum(
        key="local-response-window",
        op="LOCAL_RESPONSE_NORMALIZATION",
        types=("FLOAT32",),
        what=("The window leaves out its last channel, c + radius; the optimized kernel does not."),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/internal/reference/reference_ops.h",),
    ),
    Erratum(
        key="unique-nan",
        op="UNIQUE",
        types=("FLOAT32",),
        what=("A NaN counts as the smallest value before it; where it comes first, every later value counts as it."),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/unique.cc",),
    ),
    Erratum(
        key="lengths-and-shapes-unchecked",
        op="REVERSE_SEQUENCE, MATRIX_SET_DIAG, ATAN2",
        types=("FLOAT32",),
        what=(
            "All sequence lengths but the first, the size of the diagonal, and sizes of the second input are not "
            "looked at: the kernels read or write outside of the tensors."
        ),
        treatment="refused",
        links=(
            "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/reverse_sequence.cc",
            "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/matrix_set_diag.cc",
            "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/atan2.cc",
        ),
    ),
    Erratum(
        key="round-half-up-to-zero",
        op="ROUND",
        types=("FLOAT32",),
        runtime="tflite_ref, tflite_opt",
        what=("Values from -0.5 to below 0 give 0.0, not -0.0."),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/internal/reference/round.h",),
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
        treatment="avoided",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/register_ref.cc",),
    ),
    Erratum(
        key="hybrid-minus-128",
        op="FULLY_CONNECTED, CONV_2D",
        types=("FLOAT32 with INT8 weights",),
        what=(
            "A weight of -128 that meets a negative code counts with the wrong sign in whole blocks of 16 "
            "columns (CONV_2D: with one weight scale and a number of outputs that 4 does not divide, on "
            "processors where ruy is not taken)."
        ),
        treatment="reproduced",
        links=(
            "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/internal/optimized/sse_tensor_utils.cc",
        ),
    ),
    Erratum(
        key="hybrid-row-sums-wrap",
        op="FULLY_CONNECTED, BATCH_MATMUL",
        types=("FLOAT32 with INT8 weights",),
        what=(
            "With asymmetric inputs the sums over a row of weights wrap in int16 lanes: rows of more than 2,064"
            " weights near 127."
        ),
        treatment="reproduced",
        links=(
            "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/internal/optimized/sse_tensor_utils.cc",
        ),
    ),
    Erratum(
        key="hybrid-batch-matmul-rows",
        op="BATCH_MATMUL",
        types=("FLOAT32 with INT8 weights",),
        what=(
            "With two or more leading axes above 1 the scale and zero point of another row are taken: the "
            "leading indices are added up."
        ),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/internal/reference/batch_matmul.h",),
    ),
    Erratum(
        key="hybrid-batch-matmul-float-sums",
        op="BATCH_MATMUL",
        types=("FLOAT32 with INT8 weights",),
        what=("Sums above 2^24 are rounded to float32 before the zero point is taken off."),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/internal/reference/batch_matmul.h",),
    ),
    Erratum(
        key="hybrid-zero-points",
        op="CONV_2D, FULLY_CONNECTED, BATCH_MATMUL and others",
        types=("FLOAT32 with INT8 weights",),
        what=("Zero points of the weights are not read."),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/conv.cc",),
    ),
    Erratum(
        key="hybrid-equal-scales",
        op="CONV_2D",
        types=("FLOAT32 with INT8 weights",),
        what=(
            "Channel scales that are all equal switch the run-time quantization of the input from asymmetric to"
            " symmetric."
        ),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/conv.cc",),
    ),
    Erratum(
        key="concatenation-uint8-scalars",
        op="CONCATENATION",
        types=("UINT8",),
        what=("Constant scalars are copied without requantizing."),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/concatenation.cc",),
    ),
    Erratum(
        key="hybrid-depthwise-one-scale",
        op="DEPTHWISE_CONV_2D",
        types=("FLOAT32 with INT8 weights",),
        what=(
            "With one weight scale the kernel reads behind the array of scales; so does TRANSPOSE_CONV with one"
            " scale along a longer dimension."
        ),
        treatment="refused",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/depthwise_conv.cc",),
    ),
    Erratum(
        key="hybrid-batch-matmul-unwritten",
        op="BATCH_MATMUL",
        types=("FLOAT32 with INT8 weights",),
        what=("With asymmetric inputs and five axes, sums that were never written are read."),
        treatment="refused",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/batch_matmul.cc",),
    ),
    Erratum(
        key="hybrid-computed-weights",
        op="FULLY_CONNECTED, CONV_2D, BATCH_MATMUL",
        types=("FLOAT32 with INT8 weights",),
        what=("Weights that are no constant: the sums over the rows of the first run are kept for all later ones."),
        treatment="refused",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/fully_connected.cc",),
    ),
    Erratum(
        key="hybrid-non-finite",
        op="CONV_2D, FULLY_CONNECTED and others",
        types=("FLOAT32 with INT8 weights",),
        what=(
            "Inputs with NaN or infinity, and rows so near 0 that 1 / scale is infinite, are cast to integers: "
            "undefined behaviour in C++."
        ),
        treatment="refused",
        links=(
            "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/internal/optimized/sse_tensor_utils.cc",
        ),
    ),
    Erratum(
        key="in-place-chain",
        op="ADD, SUB, MUL, DIV or SOFTMAX behind RESHAPE, SQUEEZE or EXPAND_DIMS",
        types=("INT8", "FLOAT32"),
        runtime="tflite_ref, tflite_opt",
        versions="TensorFlow 2.21.0, LiteRT 2.3.0",
        what=(
            "An operator may write its output over its input. Whether anyone reads the input later is asked of the "
            "input and of the first owner of its memory, not of tensors in between: after ADD in place, RESHAPE of "
            "the sum and SOFTMAX of that, a later reader of the sum gets SOFTMAX's output. With "
            "experimental_preserve_all_tensors the output is another one, the right one."
        ),
        treatment="avoided",
        links=(
            "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/arena_planner.cc",
            "https://github.com/google-ai-edge/LiteRT/issues/413",
            "https://github.com/tensorflow/tensorflow/issues/79355",
        ),
    ),
    Erratum(
        key="sum-int16-read-as-uint8",
        op="SUM",
        types=("INT16",),
        what=(
            "The reference kernel reads and writes int16 as uint8: it sums the bytes of the first half of the "
            "input, and half of the output is never written."
        ),
        treatment="refused",
        links=(
            "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/reduce.cc",
            "https://github.com/google-ai-edge/LiteRT/issues/4079",
        ),
    ),
    Erratum(
        key="int16-bias-type-not-set",
        op="CONV_2D, TRANSPOSE_CONV, FULLY_CONNECTED",
        types=("INT16",),
        runtime="tflite_ref, tflite_opt, xnnpack, tflm",
        what=(
            "An int32 bias is accepted without the option quantized_bias_type, and is then read as int64, "
            "beyond its end. By TensorFlow Lite Micro only that of TRANSPOSE_CONV is, whatever the option."
        ),
        treatment="refused",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/conv.cc",),
    ),
    Erratum(
        key="int16-filter-read-as-int8",
        op="CONV_2D",
        types=("INT16",),
        what=("An int16 filter is accepted and its bytes are read as int8."),
        treatment="refused",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/conv.cc",),
    ),
    Erratum(
        key="add-int16-pot-broadcast",
        op="ADD",
        types=("INT16",),
        what=(
            "With scales that are powers of two and pot_scale_int16, which is set unless a file says otherwise,"
            " inputs that broadcast end the process."
        ),
        treatment="refused",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/add.cc",),
    ),
    Erratum(
        key="order-comparisons-int16",
        op="LESS, LESS_EQUAL, GREATER, GREATER_EQUAL",
        types=("INT16",),
        runtime="tflite_ref, tflite_opt, xnnpack",
        what=(
            "Codes are compared, whatever the scales: 2 steps of 1.0 count as less than 3 of 0.25. EQUAL and "
            "NOT_EQUAL rescale."
        ),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/comparisons.cc",),
    ),
    Erratum(
        key="not-equal-int16-unquantized",
        op="NOT_EQUAL",
        types=("INT16",),
        what=("The result of inputs without a scale is never written."),
        treatment="refused",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/comparisons.cc",),
    ),
    Erratum(
        key="prelu-int16-alpha",
        op="PRELU",
        types=("INT16",),
        what=("The type of alpha is not looked at: with an int16 input any alpha is read as int8."),
        treatment="refused",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/activations.cc",),
    ),
    Erratum(
        key="interpolated-tables-off-at-knots",
        op="EXP, LOG, GELU, RSQRT, SOFTMAX",
        types=("INT16",),
        what=(
            "The 513 values of the table are lowered by half of the interpolation's error, so that results are "
            "off where they could be exact: exp(0) is 250/256 at scales of 2^-8."
        ),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/internal/common.h",),
    ),
    Erratum(
        key="exp-int16-overflow",
        op="EXP",
        types=("INT16",),
        what=(
            "Where e^x leaves float32 somewhere in the input's range, the table there is made of NaN, which is "
            "undefined."
        ),
        treatment="refused",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/internal/common.h",),
    ),
    Erratum(
        key="logistic-int16-scales",
        op="LOGISTIC, TANH",
        types=("INT16",),
        what=("Input scales above 5.3, or so small that the multiplier is 0, leave int32: undefined behaviour in C++."),
        treatment="refused",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/activations.cc",),
    ),
    Erratum(
        key="shift-over-30",
        op="every op with a quantized multiplier",
        types=("INT8", "UINT8", "INT16"),
        runtime="tflite_ref, tflite_opt, xnnpack, tflm",
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
    Erratum(
        key="while-handed-on",
        op="WHILE",
        types=("all",),
        versions="TensorFlow 2.21.0, LiteRT 2.3.0",
        what=(
            "The body reads its inputs from the memory of the operator's outputs, into which its results are copied "
            "one after another: an input that it hands on to a later place comes overwritten. tf.while_loop with a "
            "body that swaps two values gives one of them twice."
        ),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/while.cc",),
    ),
    Erratum(
        key="while-handed-on-and-grown",
        op="WHILE",
        types=("all",),
        what="The same where the value at the input's own place has grown: memory that has been given back is read.",
        treatment="refused",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/while.cc",),
    ),
    Erratum(
        key="if-one-result-twice",
        op="IF",
        types=("all",),
        what="A branch that gives one computed tensor as several outputs writes the last one only.",
        treatment="refused",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/if.cc",),
    ),
    Erratum(
        key="variables-of-called-subgraphs",
        op="IF, WHILE",
        types=("all",),
        what=(
            "Variable tensors of the subgraphs that the operator runs begin anew each time it runs, except in an "
            "interpreter with experimental_preserve_all_tensors, where they last."
        ),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/core/subgraph.cc",),
    ),
    Erratum(
        key="read-variable-shape",
        op="READ_VARIABLE",
        types=("all",),
        what=(
            "As many elements are read as the output has in the file (unless that is a scalar), whatever was assigned: "
            "only the first ones of a longer value. Past the end of a shorter one refquant refuses to read."
        ),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/read_variable.cc",),
    ),
    Erratum(
        key="svdf-int8-state",
        op="SVDF",
        types=("INT8",),
        what="A state of int8, as TensorFlow Lite Micro runs it, is taken for int16: the kernel writes past its end.",
        treatment="refused",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/svdf.cc",),
    ),
    Erratum(
        key="lstm-int8-cell-without-tanh",
        op="UNIDIRECTIONAL_SEQUENCE_LSTM",
        types=("INT8",),
        what=(
            "There is a tanh of the cell for scales from 2^-15 to 2^-9 only. For any other, as the converter "
            "writes it where the cell stays below 1/2, none is computed and the input gate counts in its place, "
            "without a word."
        ),
        treatment="reproduced",
        links=(
            "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/lstm_eval.cc",
            "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/internal/reference/portable_tensor_utils.cc",
        ),
    ),
    Erratum(
        key="lstm-int8-coupled-without-tanh",
        op="UNIDIRECTIONAL_SEQUENCE_LSTM",
        types=("INT8",),
        what=("The same without an input gate: what happens to be in memory counts."),
        treatment="refused",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/lstm_eval.cc",),
    ),
    Erratum(
        key="lstm-int8-unset-parameters",
        op="UNIDIRECTIONAL_SEQUENCE_LSTM",
        types=("INT8",),
        what=(
            "A scale of the cell that is no power of two, or an intermediate tensor without a scale, stops the "
            "computation of all multipliers; the kernel goes on with what it has not set."
        ),
        treatment="refused",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/unidirectional_sequence_lstm.cc",),
    ),
    Erratum(
        key="lstm-int8-peephole-projection",
        op="UNIDIRECTIONAL_SEQUENCE_LSTM",
        types=("INT8",),
        what=(
            "With a projection to fewer outputs than cells only so many cells of a row have a peephole, and in "
            "the second row the weights begin at the wrong cell; with more outputs the kernel reads past the "
            "weights."
        ),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/lstm_eval.cc",),
    ),
    Erratum(
        key="lstm-int8-peephole-half-way",
        op="UNIDIRECTIONAL_SEQUENCE_LSTM",
        types=("INT8",),
        what=(
            "Half-way values of a peephole product go up in the first cells, by sixteen, and away from zero in "
            "those left over."
        ),
        treatment="reproduced",
        links=(
            "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/internal/optimized/neon_tensor_utils.cc",
        ),
    ),
    Erratum(
        key="lstm-int8-hidden-zero-point",
        op="UNIDIRECTIONAL_SEQUENCE_LSTM",
        types=("INT8",),
        what=(
            "Before a projection the zero point of the hidden value is taken off instead of added, so that values "
            "are cut off at the wrong end of the range."
        ),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/lstm_eval.cc",),
    ),
    Erratum(
        key="lstm-int8-projection-clip",
        op="UNIDIRECTIONAL_SEQUENCE_LSTM",
        types=("INT8",),
        what=("proj_clip limits codes to both sides of 0, whatever the zero point."),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/lstm_eval.cc",),
    ),
    Erratum(
        key="lstm-int8-layer-norm-cells",
        op="UNIDIRECTIONAL_SEQUENCE_LSTM",
        types=("INT8",),
        what=(
            "The variance is a difference of two large numbers, one of which is cut off unless the number of "
            "cells is a power of two; where it comes out below 1 a constant counts."
        ),
        treatment="reproduced",
        links=(
            "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/internal/reference/portable_tensor_utils.cc",
        ),
    ),
    Erratum(
        key="lstm-int8-activation",
        op="UNIDIRECTIONAL_SEQUENCE_LSTM",
        types=("INT8",),
        what=("fused_activation_function is not looked at: it is always tanh."),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/lstm_eval.cc",),
    ),
    Erratum(
        key="lstm-no-activation",
        op="UNIDIRECTIONAL_SEQUENCE_LSTM",
        types=("FLOAT32", "INT8"),
        what=(
            "With fused_activation_function NONE the output is the output gate times the cell gate, not the cell; "
            "and in float32 the cell gate is its bias alone after an input of zeros, or with a diagonal recurrent "
            "matrix, though not with both."
        ),
        treatment="reproduced",
        links=(
            "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/lstm_eval.cc",
            "https://github.com/apache/tvm/pull/19633",
        ),
    ),
    Erratum(
        key="lstm-output-beside-cells",
        op="UNIDIRECTIONAL_SEQUENCE_LSTM",
        types=("FLOAT32", "INT8"),
        what=("An output of another size than the cell, without a projection, is copied from what lies beside it."),
        treatment="refused",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/lstm_eval.cc",),
    ),
    Erratum(
        key="lstm-two-dimensions",
        op="UNIDIRECTIONAL_SEQUENCE_LSTM",
        types=("FLOAT32", "INT8"),
        what=("For an input of two dimensions a third one is read past the end of the shape."),
        treatment="refused",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/unidirectional_sequence_lstm.cc",),
    ),
    Erratum(
        key="lstm-float-cache",
        op="UNIDIRECTIONAL_SEQUENCE_LSTM",
        types=("FLOAT32",),
        what=(
            "Where several sequences are computed together, the order of a sum of more than 680 products depends on "
            "the processor's first-level cache. refquant takes 32 KiB; by Eigen's formula 48 KiB make it 1,016."
        ),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/cpu_backend_gemm_eigen.cc",),
    ),
    Erratum(
        key="lstm-int16",
        op="UNIDIRECTIONAL_SEQUENCE_LSTM",
        types=("INT16",),
        what=(
            "There is no kernel for int16 activations: a bias must be float32, and then the scratch memory is "
            "missing. TensorFlow Lite Micro has one."
        ),
        treatment="refused",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/unidirectional_sequence_lstm.cc",),
    ),
    # the optimized kernels, which also run what the XNNPACK delegate does not take
    Erratum(
        key="depthwise-without-bias",
        op="DEPTHWISE_CONV_2D",
        types=("INT8", "UINT8", "FLOAT32"),
        runtime="tflite_opt, xnnpack",
        versions="TensorFlow 2.21.0, LiteRT 2.3.0",
        what=(
            "Without a bias, which Prepare allows, the optimized kernel reads one all the same and ends the process. "
            "Add zeros."
        ),
        treatment="refused",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/depthwise_conv.cc",),
    ),
    Erratum(
        key="sum-of-nothing-unwritten",
        op="SUM",
        types=("INT8", "UINT8"),
        runtime="tflite_opt",
        versions="TensorFlow 2.21.0, LiteRT 2.3.0",
        what="The sum over an empty axis is not written: the output holds what was in its memory.",
        treatment="refused",
        links=(
            "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/internal/optimized/reduce.h",
            "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/reduce.cc",
        ),
    ),
    Erratum(
        key="vectors-beyond-16-bits",
        op="MUL",
        types=("INT8", "UINT8"),
        runtime="tflite_opt",
        versions="TensorFlow 2.21.0, LiteRT 2.3.0",
        what=(
            "In whole vectors of elements a result is cut to 16 bits before it is limited to 8: with an output scale "
            "far below the product of the input scales the largest products become the lowest codes."
        ),
        treatment="reproduced",
        links=(
            "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/internal/optimized/integer_ops/mul.h",
        ),
    ),
    Erratum(
        key="add-vectors-beyond-16-bits",
        op="ADD",
        types=("INT8", "UINT8"),
        runtime="tflite_opt, xnnpack",
        versions="TensorFlow 2.21.0, LiteRT 2.3.0",
        what=(
            "As in MUL: in whole vectors a sum is cut to 16 bits before it is limited to 8 bits, and the largest sums"
            " become the lowest codes."
        ),
        treatment="reproduced",
        links=(
            "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/internal/optimized/integer_ops/add.h",
        ),
    ),
    Erratum(
        key="half-way-values-upwards",
        op="CONV_2D, DEPTHWISE_CONV_2D, TRANSPOSE_CONV, FULLY_CONNECTED",
        types=("INT8", "UINT8", "INT16"),
        runtime="tflite_opt",
        versions="TensorFlow 2.21.0, LiteRT 2.3.0",
        what=(
            "Negative values half way between two codes are rounded upwards, and away from zero by the reference "
            "kernels: one step, which a softmax at the end makes tens of."
        ),
        treatment="reproduced",
        links=(
            "https://github.com/tensorflow/tensorflow/issues/99072",
            "https://github.com/tensorflow/tflite-micro/issues/3130",
        ),
    ),
    # the XNNPACK delegate, which runs by default
    Erratum(
        key="xnnpack-narrow-filter-same",
        op="CONV_2D",
        types=("INT8", "UINT8", "FLOAT32"),
        runtime="xnnpack",
        versions="TensorFlow 2.21.0",
        mended="LiteRT 2.3.0",
        what=(
            "With SAME padding, where along one axis the filter is narrower than its stride and the total padding "
            "would be negative, nearly every output is wrong, often all zeros."
        ),
        treatment="avoided",
        links=(
            "https://github.com/google-ai-edge/LiteRT/issues/9256",
            "https://github.com/tensorflow/tensorflow/issues/61815",
        ),
    ),
    Erratum(
        key="xnnpack-narrow-depthwise-filter-same",
        op="DEPTHWISE_CONV_2D",
        types=("INT8", "UINT8", "FLOAT32"),
        runtime="xnnpack",
        versions="TensorFlow 2.21.0",
        mended="LiteRT 2.3.0",
        what=(
            "As in CONV_2D: with SAME padding and a filter that is narrower than its stride along one axis nearly "
            "every output is wrong."
        ),
        treatment="avoided",
        links=(
            "https://github.com/tensorflow/tensorflow/issues/61815",
            "https://github.com/tensorflow/tfjs/issues/6629",
        ),
    ),
    Erratum(
        key="xnnpack-batch-matmul-right-zero-point",
        op="BATCH_MATMUL",
        types=("INT8",),
        runtime="xnnpack",
        versions="TensorFlow 2.21.0",
        mended="LiteRT 2.3.0",
        what="The zero point of the right operand is not read: results are wrong by up to the whole range.",
        treatment="avoided",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/delegates/xnnpack/xnnpack_delegate.cc",),
    ),
    Erratum(
        key="xnnpack-invalid-zero-point",
        op="QUANTIZE",
        types=("FLOAT32",),
        runtime="xnnpack",
        versions="TensorFlow 2.21.0, LiteRT 2.3.0",
        what=(
            "A zero point that the output's type cannot hold ends the process while the delegate is applied; other "
            "operators are refused then, and without the delegate such files run."
        ),
        treatment="refused",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/delegates/xnnpack/xnnpack_delegate.cc",),
    ),
    Erratum(
        key="xnnpack-bias-scales",
        op="CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED",
        types=("INT8",),
        runtime="xnnpack",
        versions="TensorFlow 2.21.0, LiteRT 2.3.0",
        what=(
            "A bias with another number of scales than its filter makes the delegate refuse the whole model, which "
            "runs without it."
        ),
        treatment="refused",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/delegates/xnnpack/xnnpack_delegate.cc",),
    ),
    Erratum(
        key="xnnpack-movement-scales",
        op="TRANSPOSE, SPACE_TO_DEPTH, DEPTH_TO_SPACE, SPLIT, SLICE, PAD, MAX_POOL_2D and others",
        types=("INT8", "UINT8"),
        runtime="xnnpack",
        versions="TensorFlow 2.21.0, LiteRT 2.3.0",
        what=(
            "An operator that only moves codes, from a tensor of one scale to one of another, makes the delegate "
            "refuse the whole model, which runs without it."
        ),
        treatment="avoided",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/delegates/xnnpack/xnnpack_delegate.cc",),
    ),
    Erratum(
        key="xnnpack-folded-constants",
        op="DEQUANTIZE",
        types=("FLOAT16",),
        runtime="xnnpack",
        versions="TensorFlow 2.21.0, LiteRT 2.3.0",
        what=(
            "The delegate widens float16 constants by itself: with experimental_preserve_all_tensors the tensor that "
            "should hold them holds what was in its memory. Outputs are right."
        ),
        treatment="avoided",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/delegates/xnnpack/xnnpack_delegate.cc",),
    ),
    Erratum(
        key="xnnpack-subnormals",
        op="ADD, SUB, MUL, DIV, MAXIMUM, MINIMUM, SQUARED_DIFFERENCE, RELU, RELU6 and others",
        types=("FLOAT32",),
        runtime="xnnpack",
        versions="TensorFlow 2.21.0, LiteRT 2.3.0",
        what="Subnormal numbers count as zero, in what is read and in what is written.",
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/delegates/xnnpack/xnnpack_delegate.cc",),
    ),
    # TensorFlow Lite Micro
    Erratum(
        key="fully-connected-two-roundings",
        op="FULLY_CONNECTED",
        types=("INT8",),
        runtime="tflm",
        versions="tflite-micro 0.dev20261023182759",
        what=(
            "Fixed point rounds twice, so that 0.25 becomes 1; the reference kernel rounds a float64 product once. "
            "Which of the two is meant is an open question."
        ),
        treatment="reproduced",
        links=(
            "https://github.com/google-ai-edge/LiteRT/issues/8567",
            "https://github.com/tensorflow/tensorflow/issues/119412",
            "https://github.com/tensorflow/tensorflow/issues/66358",
        ),
    ),
    Erratum(
        key="tflm-space-to-batch-code-0",
        op="SPACE_TO_BATCH_ND",
        types=("INT8",),
        runtime="tflm",
        versions="tflite-micro 0.dev20261023182759",
        what="The padding is the code 0, whatever the zero point, so that it means 0.0 only where that is 0.",
        treatment="reproduced",
        links=(
            "https://github.com/tensorflow/tflite-micro/blob/main/tensorflow/lite/micro/kernels/space_to_batch_nd.cc",
        ),
    ),
    Erratum(
        key="tflm-dequantize-first-scale",
        op="DEQUANTIZE",
        types=("INT8", "UINT8", "INT16"),
        runtime="tflm",
        versions="tflite-micro 0.dev20261023182759",
        what="Of an input with one scale per channel the first scale is used for all.",
        treatment="reproduced",
        links=(
            "https://github.com/tensorflow/tflite-micro/blob/main/tensorflow/lite/micro/kernels/dequantize_common.cc",
        ),
    ),
    Erratum(
        key="tflm-embedding-first-scale",
        op="EMBEDDING_LOOKUP",
        types=("INT8",),
        runtime="tflm",
        versions="tflite-micro 0.dev20261023182759",
        what="Of a table with one scale per row the first scale is used for all.",
        treatment="reproduced",
        links=(
            "https://github.com/tensorflow/tflite-micro/blob/main/tensorflow/lite/micro/kernels/embedding_lookup.cc",
        ),
    ),
    Erratum(
        key="tflm-relu6-output-scale",
        op="RELU6",
        types=("INT8", "INT16"),
        runtime="tflm",
        versions="tflite-micro 0.dev20261023182759",
        what="The scale and zero point of the output are not read: the input's codes are only limited.",
        treatment="reproduced",
        links=(
            "https://github.com/tensorflow/tflite-micro/blob/main/tensorflow/lite/micro/kernels/activations_common.cc",
            "https://github.com/tensorflow/tflite-micro/blob/main/tensorflow/lite/micro/kernels/activations.cc",
        ),
    ),
    Erratum(
        key="tflm-logistic-output-scale",
        op="LOGISTIC, TANH",
        types=("INT8",),
        runtime="tflm",
        versions="tflite-micro 0.dev20261023182759",
        what="The scale of the output is not read: it counts as 1/256 (1/128 of TANH).",
        treatment="reproduced",
        links=(
            "https://github.com/tensorflow/tflite-micro/blob/main/tensorflow/lite/micro/kernels/logistic_common.cc",
            "https://github.com/tensorflow/tflite-micro/blob/main/tensorflow/lite/micro/kernels/tanh.cc",
        ),
    ),
    Erratum(
        key="tflm-mul-int16-unquantized",
        op="MUL",
        types=("INT16",),
        runtime="tflm",
        versions="tflite-micro 0.dev20261023182759",
        what="Integers without quantization parameters are multiplied as if their scales were 0: every product is 0.",
        treatment="refused",
        links=("https://github.com/tensorflow/tflite-micro/blob/main/tensorflow/lite/micro/kernels/mul_common.cc",),
    ),
    Erratum(
        key="tflm-paddings-int64",
        op="PAD, PADV2",
        types=("INT64",),
        runtime="tflm",
        versions="tflite-micro 0.dev20261023182759",
        what="int64 paddings are read as if they were int32; the shapes then seldom fit, and the model is refused.",
        treatment="refused",
        links=("https://github.com/tensorflow/tflite-micro/blob/main/tensorflow/lite/micro/kernels/pad_common.cc",),
    ),
    Erratum(
        key="tflm-svdf-without-bias",
        op="SVDF",
        types=("FLOAT32", "INT8"),
        runtime="tflm",
        versions="tflite-micro 0.dev20261023182759",
        what="Without a bias, which is optional, the process ends.",
        treatment="refused",
        links=(
            "https://github.com/tensorflow/tflite-micro/blob/main/tensorflow/lite/micro/kernels/svdf_common.cc",
            "https://github.com/tensorflow/tflite-micro/issues/706",
        ),
    ),
)

# What the converter writes that is wrong, cannot run or depends on chance.
CONVERTER_ERRATA: tuple[Erratum, ...] = (
    Erratum(
        key="converter-copied-codes",
        op="EMBEDDING_LOOKUP, ONE_HOT, SPARSE_TO_DENSE, MATRIX_SET_DIAG",
        types=("INT8",),
        runtime="converter",
        versions="TensorFlow 2.21.0",
        what=(
            "Operands and result get ranges of their own, but the kernels copy codes without requantizing: the "
            "values are wrong."
        ),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/converter/ir/tfl_ops.td",),
    ),
    Erratum(
        key="converter-lstm-in-a-join",
        op="LSTM, UNIDIRECTIONAL_SEQUENCE_LSTM",
        types=("INT8",),
        runtime="converter",
        versions="TensorFlow 2.21.0",
        what=(
            "If the result's parameters come from behind it, as a CONCATENATION's do after a Bidirectional layer, the "
            "result does not take those of the state beside it; but the kernel writes the state's codes as the result: "
            "all values of one direction are shifted."
        ),
        treatment="reproduced",
        links=(
            "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/converter/transforms/prepare_quantize_helper.h",
        ),
    ),
    Erratum(
        key="converter-empty-places",
        op="MATRIX_DIAG, SCATTER_ND",
        types=("INT8",),
        runtime="converter",
        versions="TensorFlow 2.21.0",
        what=("Places that nothing is written to hold code 0, which is 0.0 only if the zero point is 0."),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/scatter_nd.cc",),
    ),
    Erratum(
        key="converter-reverse-sequence",
        op="REVERSE_SEQUENCE",
        types=("INT8",),
        runtime="converter",
        versions="TensorFlow 2.21.0",
        what=("Becomes int8, which no kernel of LiteRT takes: the file does not run."),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/reverse_sequence.cc",),
    ),
    Erratum(
        key="converter-computed-bias",
        op="CONV_2D, FULLY_CONNECTED and others with a bias",
        types=("INT8",),
        runtime="converter",
        versions="TensorFlow 2.21.0",
        what=(
            "A bias that is computed, not constant, becomes int8 or passes a QUANTIZE from float32 to int32; "
            "LiteRT refuses both."
        ),
        treatment="reproduced",
        links=(
            "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/converter/quantization/common/quantization"
            "_lib/tfl_quantization_driver.cc",
        ),
    ),
    Erratum(
        key="converter-computed-weights",
        op="CONV_2D, DEPTHWISE_CONV_2D",
        types=("INT8",),
        runtime="converter",
        versions="TensorFlow 2.21.0",
        what=(
            "Weights that are computed get a zero point other than 0: LiteRT refuses CONV_2D, and "
            "DEPTHWISE_CONV_2D ignores it."
        ),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/conv.cc",),
    ),
    Erratum(
        key="converter-order-of-readers",
        op="ARG_MAX, LESS and other ops without float results",
        types=("INT8",),
        runtime="converter",
        versions="TensorFlow 2.21.0",
        what=(
            "Whether the operator becomes int8 depends on the order of its operand's readers: the converter stops"
            " at the first that stays float."
        ),
        treatment="reproduced",
        links=(
            "https://github.com/google-ai-"
            "edge/LiteRT/blob/main/tflite/converter/quantization/common/quantization_lib/quantization_utils.h",
        ),
    ),
    Erratum(
        key="converter-unread-split",
        op="SPLIT",
        types=("INT8",),
        runtime="converter",
        versions="TensorFlow 2.21.0",
        what=("With one result that nothing reads the same process gives now INT8, now FLOAT32."),
        treatment="reproduced as INT8",
        links=(
            "https://github.com/google-ai-"
            "edge/LiteRT/blob/main/tflite/converter/quantization/common/quantization_lib/quantization_utils.h",
        ),
    ),
    Erratum(
        key="converter-denied-names",
        op="every op",
        types=("INT8",),
        runtime="converter",
        versions="TensorFlow 2.21.0",
        what=(
            "Denying by name misses operators with several results, TRANSPOSE_CONV and EMBEDDING_LOOKUP; a denied"
            " pool, slice or gather becomes int8 all the same, because the DEQUANTIZE before it moves behind it."
        ),
        treatment="reproduced; such names are refused",
        links=(
            "https://github.com/google-ai-"
            "edge/LiteRT/blob/main/tflite/converter/quantization/common/quantization_lib/quantization_utils.h",
        ),
    ),
    Erratum(
        key="converter-guard-per-tensor",
        op="CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED",
        types=("INT8",),
        runtime="converter",
        versions="TensorFlow 2.21.0",
        what=(
            "With one weight scale, the overflow guard raises the scale by less than 1e-3 but leaves the codes as"
            " they were for the old scale."
        ),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/tools/optimize/quantization_utils.cc",),
    ),
    Erratum(
        key="converter-allow-float",
        op="SIN, NEG and every op without an int8 form",
        types=("INT8",),
        runtime="converter",
        versions="TensorFlow 2.21.0",
        what=(
            "supported_ops = [TFLITE_BUILTINS_INT8] is not enforced: such operators stay float between DEQUANTIZE"
            " and QUANTIZE, without an error."
        ),
        treatment="refused with allow_float=False",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/converter/python/converter_python_api.cc",),
    ),
    Erratum(
        key="converter-unregistered-versions",
        op="DEPTH_TO_SPACE, TILE",
        types=("INT8", "INT16"),
        runtime="converter",
        versions="TensorFlow 2.21.0",
        what=("Written as version 2 and 3, which the reference resolver does not register."),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/register_ref.cc",),
    ),
    Erratum(
        key="converter-int16x8-refused",
        op="SUM, SQUARED_DIFFERENCE, SCATTER_ND, PADV2, DEPTHWISE_CONV_2D",
        types=("INT16",),
        runtime="converter",
        versions="TensorFlow 2.21.0",
        what=(
            "16x8 files that the reference kernels cannot run: no int16 form (SQUARED_DIFFERENCE, SCATTER_ND), "
            "a wrong one (SUM), a float pad value (PADV2), an int32 bias (DEPTHWISE_CONV_2D takes int64 only)."
        ),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/tools/optimize/operator_property.cc",),
    ),
    # the converter's old quantizer: quantizer="legacy", and all of 16x8
    Erratum(
        key="legacy-quantized-under-a-reader",
        op="every op",
        types=(
            "INT8",
            "INT16",
        ),
        runtime="converter's old quantizer",
        versions="TensorFlow 2.21.0",
        what=(
            "A constant or graph input that a float operator reads before a quantized one does is quantized in "
            "place: the float operator then reads integers, and LiteRT refuses the file."
        ),
        treatment="avoided; reproduced with reproduce_defects=True",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/tools/optimize/quantize_model.cc",),
    ),
    Erratum(
        key="legacy-shared-bias",
        op="CONV_2D and others with a bias",
        types=(
            "INT8",
            "INT16",
        ),
        runtime="converter's old quantizer",
        versions="TensorFlow 2.21.0",
        what=("A bias that several operators read keeps the scale of the first; it is wrong for the others."),
        treatment="avoided; reproduced with reproduce_defects=True",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/tools/optimize/quantize_model.cc",),
    ),
    Erratum(
        key="legacy-bias-in-a-join",
        op="CONCATENATION, MAXIMUM, MINIMUM, PACK",
        types=(
            "INT8",
            "INT16",
        ),
        runtime="converter's old quantizer",
        versions="TensorFlow 2.21.0",
        what=(
            "A bias that such an operator reads too becomes int8 or int16; LiteRT refuses the convolution. The "
            "quantizer notes it and goes on."
        ),
        treatment="avoided; reproduced with reproduce_defects=True",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/tools/optimize/quantize_model.cc",),
    ),
    Erratum(
        key="legacy-weights-on-another-axis",
        op="CONV_2D, DEPTHWISE_CONV_2D, PRELU, ADD and others",
        types=(
            "INT8",
            "INT16",
        ),
        runtime="converter's old quantizer",
        versions="TensorFlow 2.21.0",
        what=(
            "A constant is quantized as its first reader asks, also for readers that take other channels, one scale or "
            "another type: values are wrong, or LiteRT refuses the file, or the quantizer ends."
        ),
        treatment="avoided; reproduced with reproduce_defects=True",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/tools/optimize/quantize_model.cc",),
    ),
    Erratum(
        key="legacy-sum",
        op="SUM",
        types=("INT8", "INT16"),
        runtime="converter's old quantizer",
        versions="TensorFlow 2.21.0",
        what=(
            "The result copies the operand's scale, so sums saturate: the exception for int8 is asked for while"
            " the result is still float32."
        ),
        treatment="avoided; reproduced with reproduce_defects=True",
        links=(
            "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/converter/tools/optimize/operator_property.cc",
        ),
    ),
    Erratum(
        key="legacy-select",
        op="SELECT",
        types=(
            "INT8",
            "INT16",
        ),
        runtime="converter's old quantizer",
        versions="TensorFlow 2.21.0",
        what=("The second value keeps its own scale, but the kernel copies its codes: its values are wrong."),
        treatment="avoided; reproduced with reproduce_defects=True",
        links=(
            "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/converter/tools/optimize/operator_property.cc",
        ),
    ),
    Erratum(
        key="legacy-padv2",
        op="PADV2",
        types=(
            "INT8",
            "INT16",
        ),
        runtime="converter's old quantizer",
        versions="TensorFlow 2.21.0",
        what=("The pad value stays float32; LiteRT refuses the file."),
        treatment="avoided; reproduced with reproduce_defects=True",
        links=(
            "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/converter/tools/optimize/operator_property.cc",
        ),
    ),
    Erratum(
        key="legacy-limit-turns-round",
        op="MAXIMUM, MINIMUM, CONCATENATION, PACK",
        types=("INT16",),
        runtime="converter's old quantizer",
        versions="TensorFlow 2.21.0",
        what=(
            "A constant of more than 2^31 steps of the result becomes -32767 whatever its sign: MINIMUM with "
            "the largest float32 becomes a minimum with the lowest number."
        ),
        treatment="avoided; reproduced with reproduce_defects=True",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/tools/optimize/quantize_model.cc",),
    ),
    Erratum(
        key="legacy-limit-by-place",
        op="MAXIMUM, MINIMUM, CONCATENATION, PACK",
        types=("INT8",),
        runtime="converter's old quantizer",
        versions="TensorFlow 2.21.0",
        what=(
            "A constant of more than 2^31 steps of the result becomes -128 in whole blocks of 16 elements, also"
            " where it is positive; behind them it saturates (x86-64)."
        ),
        treatment="avoided; reproduced with reproduce_defects=True",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/tools/optimize/quantize_model.cc",),
    ),
    Erratum(
        key="legacy-wraps-round",
        op="constants with a range of their own",
        types=("INT8", "INT16"),
        runtime="converter's old quantizer",
        versions="TensorFlow 2.21.0",
        what=(
            "Weights per channel that leave a range that the calibration gives them wrap around int8, before they are "
            "limited; per tensor, far beyond it, they become -127 by their place (x86-64)."
        ),
        treatment="avoided; reproduced with reproduce_defects=True",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/tools/optimize/quantization_utils.cc",),
    ),
    Erratum(
        key="legacy-tiny-weights",
        op="every op",
        types=(
            "INT8",
            "INT16",
        ),
        runtime="converter's old quantizer",
        versions="TensorFlow 2.21.0",
        what=(
            "Weights below 3.7e-37: the inverse of their scale is infinite. Per channel all become 0; per "
            "tensor zeros become -127, and what the others become depends on their place (x86-64)."
        ),
        treatment="avoided; reproduced with reproduce_defects=True",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/tools/optimize/quantization_utils.cc",),
    ),
    Erratum(
        key="legacy-half",
        op="constants with one scale",
        types=(
            "INT8",
            "INT16",
        ),
        runtime="converter's old quantizer",
        versions="TensorFlow 2.21.0",
        what=("In whole blocks of 8 elements the float32 below 0.5 is rounded to 1."),
        treatment="reproduced",
        links=(
            "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/internal/optimized/neon_tensor_utils.cc",
        ),
    ),
    Erratum(
        key="legacy-zero-range",
        op="every op",
        types=(
            "INT8",
            "INT16",
        ),
        runtime="converter's old quantizer",
        versions="TensorFlow 2.21.0",
        what=(
            "A range of zero gets the scale 0. Of an input with a bias behind it, the bias guard divides by it:"
            " the scale of the weights is written as infinite or NaN, which refquant refuses."
        ),
        treatment="avoided; reproduced with reproduce_defects=True",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/tools/optimize/quantization_utils.cc",),
    ),
    Erratum(
        key="legacy-zero-is-code-0",
        op="SCATTER_ND",
        types=("INT8",),
        runtime="converter's old quantizer",
        versions="TensorFlow 2.21.0",
        what="The kernel fills up with the code 0, which means 0.0 only where the zero point is 0.",
        treatment="avoided; reproduced with reproduce_defects=True",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/scatter_nd.cc",),
    ),
    Erratum(
        key="legacy-limit-of-activation",
        op="every op with a fused RELU6 or RELU_N1_TO_1",
        types=("INT8", "INT16"),
        runtime="converter's old quantizer",
        versions="TensorFlow 2.21.0",
        what=(
            "No range is widened. Of one as narrow as a dead layer's, the limit 6 is more than 2^31 steps, and LiteRT "
            "refuses the file."
        ),
        treatment="avoided; reproduced with reproduce_defects=True",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/kernel_util.cc",),
    ),
    Erratum(
        key="legacy-strict",
        op="every op",
        types=(
            "INT8",
            "INT16",
        ),
        runtime="converter's old quantizer",
        versions="TensorFlow 2.21.0",
        what=("allow_float=False also refuses operators that compute no float (CAST, RANK, ...)."),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/tools/optimize/quantize_model.cc",),
    ),
    Erratum(
        key="legacy-depthwise-per-tensor",
        op="DEPTHWISE_CONV_2D",
        types=(
            "INT8",
            "INT16",
        ),
        runtime="converter's old quantizer",
        versions="TensorFlow 2.21.0",
        what=("per_channel=False fails on every model with this op."),
        treatment="avoided; refused with reproduce_defects=True",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/tools/optimize/quantize_model.cc",),
    ),
    Erratum(
        key="legacy-computed-bias",
        op="CONV_2D and others with a bias",
        types=(
            "INT8",
            "INT16",
        ),
        runtime="converter's old quantizer",
        versions="TensorFlow 2.21.0",
        what=("A bias that is computed, not constant, ends the process."),
        treatment="refused",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/tools/optimize/quantize_model.cc",),
    ),
    Erratum(
        key="legacy-five-dimensions",
        op="CONCATENATION, MAXIMUM, MINIMUM, PACK",
        types=(
            "INT8",
            "INT16",
        ),
        runtime="converter's old quantizer",
        versions="TensorFlow 2.21.0",
        what=("A constant of more than 4 dimensions that needs another scale ends the process."),
        treatment="avoided; refused with reproduce_defects=True",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/tools/optimize/quantize_model.cc",),
    ),
    Erratum(
        key="legacy-lstm-stays-float",
        op="LSTM, UNIDIRECTIONAL_SEQUENCE_LSTM",
        types=("INT8", "INT16"),
        runtime="converter's old quantizer",
        versions="TensorFlow 2.21.0",
        what=(
            "An LSTM that stays float32, as every one does with int16 activations, gets an int8 state and an int8 "
            "result all the same; a DEQUANTIZE stands before the state, so that it is no variable any more, and what "
            'reads the result takes its floats for int8. A dense layer behind it is refused: "Expected bias type to be '
            'TensorType_INT32 for Int8Quant".'
        ),
        treatment="avoided; reproduced with reproduce_defects=True",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/tools/optimize/quantize_model.cc",),
    ),
    Erratum(
        key="legacy-shared-buffer",
        op="every op",
        types=(
            "INT8",
            "INT16",
        ),
        runtime="converter's old quantizer",
        versions="TensorFlow 2.21.0",
        what=(
            "Of two constants with one buffer the first is overwritten, and the second reads the integers as floats."
        ),
        treatment="avoided; refused with reproduce_defects=True",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/tools/optimize/quantize_model.cc",),
    ),
    Erratum(
        key="legacy-shared-by-subgraphs",
        op="WHILE",
        types=("FLOAT16", "INT8"),
        runtime="converter's old quantizer",
        versions="TensorFlow 2.21.0",
        what=(
            "In dynamic range and float16, weights that the main graph shares with a loop, or one loop with another, "
            "are converted twice in place: the second time the integers or halves are read as floats, and the weights "
            "are wrong, or the file is invalid."
        ),
        treatment="avoided",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/tools/optimize/quantize_weights.cc",),
    ),
    Erratum(
        key="legacy-int64-guard",
        op="CONV_2D and others with a bias",
        types=("INT16",),
        runtime="converter's old quantizer",
        versions="TensorFlow 2.21.0",
        what=("int64 biases widen the weights' scale at the limit of int32."),
        treatment="reproduced",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/tools/optimize/quantization_utils.cc",),
    ),
)


# A kernel's type -> what the errata call it.
KINDS: Mapping[str, str] = {"FLOAT32xINT8": "FLOAT32 with INT8 weights", "FLOAT32xUINT8": "FLOAT32 with INT8 weights"}


def errata_for(op: str, types: Iterable[str], runtimes: Iterable[str]) -> tuple[Erratum, ...]:
    """The errata that name the operator and by which one of these runtimes may differ, but for what is mended.

    op: "SUM". types: of its first operand, or kernels' ("INT8", "INT16xINT8", "FLOAT32xINT8"). runtimes: described ones
    or real ones ("xnnpack", "litert:default").
    """
    names = {DESCRIBED.get(name, name) for name in runtimes}
    kinds = {kind for type in types for kind in (type.partition("x")[0], KINDS.get(type, type))}
    return tuple(
        erratum
        for erratum in ERRATA
        if not erratum.mended
        and names & set(erratum.runtime.split(", "))
        and op in erratum.ops
        and (kinds & set(erratum.types) or "all" in erratum.types)
    )
