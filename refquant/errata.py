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
