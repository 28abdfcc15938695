"""Known wrong or undefined behaviour of the real runtimes, and what refquant does about each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Erratum:
    """One finding. treatment: "reproduced" (refquant computes the same wrong values), "refused" (UnsupportedModel)."""

    key: str
    op: str
    types: tuple[str, ...]
    runtime: str
    versions: str
    what: str
    treatment: str
    links: tuple[str, ...]


ERRATA: tuple[Erratum, ...] = (
    Erratum(
        key="sum-int8-read-as-uint8",
        op="SUM",
        types=("INT8",),
        runtime="tflite_ref",
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
        runtime="tflite_ref",
        versions="LiteRT 2.3.0",
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
        runtime="tflite_ref",
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
        runtime="tflite_ref",
        versions="LiteRT 2.3.0",
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
        runtime="tflite_ref",
        versions="LiteRT 2.3.0",
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
        runtime="tflite_ref",
        versions="LiteRT 2.3.0",
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
        runtime="tflite_ref",
        versions="LiteRT 2.3.0",
        what="A quantized product over an empty axis leaves the output unwritten.",
        treatment="refused",
        links=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/internal/reference/reduce.h",),
    ),
    Erratum(
        key="shift-over-30",
        op="every op with a quantized multiplier",
        types=("INT8", "UINT8", "INT16"),
        runtime="tflite_ref",
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
