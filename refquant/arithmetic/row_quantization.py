"""Rows of float32 as int8 codes with a scale of their own, found while a model runs (dynamic range).

real = scale * (code - zero_point).
Source: google-ai-edge/LiteRT, tflite/kernels/internal/optimized/neon_tensor_utils.cc, which x86-64 runs too, and
sse_tensor_utils.cc. The portable version of internal/reference/portable_tensor_utils.cc adds the zero point before it
rounds, and gives other codes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.arithmetic.affine import BELOW_HALF_FLOAT32, Float32
from refquant.arithmetic.flushing import flush_denormals
from refquant.arithmetic.multiplier import round_half_away
from refquant.errors import InvalidInput

SYMMETRIC_MAX = 127
INT8_MIN, INT8_MAX = -128, 127
VECTOR = 8  # elements that are rounded together; what is left over at the end of a row is rounded by C's round()


@dataclass(frozen=True, slots=True)
class QuantizedRows:
    """n rows. `centred`: code - zero_point, (n, k) int16; `scale`: (n,) float32; `zero_point`: (n,) int32."""

    centred: NDArray[np.int16]
    scale: Float32
    zero_point: NDArray[np.int32]


RowQuantizer = Callable[[Float32], QuantizedRows]
"""rows (n, k) float32 -> their codes. Errors: InvalidInput for values that have none."""


def quantize_rows_symmetric(rows: Float32) -> QuantizedRows:
    """scale = max|x| / 127, code = round(x * (127 / max|x|)), each operation in float32; a row of zeros has scale 1.

    Errors: InvalidInput for an infinity or NaN, or a row whose 127 / max|x| is infinite.
    Source: NeonSymmetricQuantizeFloats.
    """
    low, high = _ends(rows)
    largest = np.maximum(-low, high)
    zero = largest == 0
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.where(zero, np.float32(0), np.float32(SYMMETRIC_MAX) / largest)
    scale = np.where(zero, np.float32(1), largest / np.float32(SYMMETRIC_MAX))
    return QuantizedRows(_rounded(rows, inverse), scale, np.zeros(len(rows), np.int32))


def quantize_rows_asymmetric(rows: Float32) -> QuantizedRows:
    """scale = (max - min) / 255 with min <= 0 <= max, code = round(x * (1 / scale)) + zero_point, clamped to int8.

    The range is taken in float32, the scale and the zero point in float64: from whichever end gives the smaller sum of
    magnitudes, rounded half away from zero. A row of zeros has scale 1 and zero point 0.
    Errors: InvalidInput for an infinity or NaN, or a row whose 1 / scale is infinite.
    Source: NeonAsymmetricQuantizeFloats.
    """
    low, high = _ends(rows)
    zero = low == high
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        exact = (high - low).astype(np.float64) / (INT8_MAX - INT8_MIN)
        scale = np.where(zero, np.float32(1), exact.astype(np.float32))
        steps_low, steps_high = low / exact, high / exact
        from_low = -INT8_MIN + np.abs(steps_low) < INT8_MAX + np.abs(steps_high)
        zero_point = np.where(from_low, INT8_MIN - steps_low, INT8_MAX - steps_high)
        inverse = np.where(zero, np.float32(0), (1.0 / scale.astype(np.float64)).astype(np.float32))
    zero_point = np.where(zero, 0, np.clip(round_half_away(zero_point), INT8_MIN, INT8_MAX)).astype(np.int32)
    centred = _rounded(rows, inverse)
    bounds = ((bound - zero_point).astype(np.int16)[:, np.newaxis] for bound in (INT8_MIN, INT8_MAX))
    return QuantizedRows(np.clip(centred, *bounds, out=centred), scale, zero_point)


def row_quantizer(asymmetric: bool) -> RowQuantizer:
    """quantize_rows_asymmetric or quantize_rows_symmetric."""
    return quantize_rows_asymmetric if asymmetric else quantize_rows_symmetric


def quantize_rows_by_steps_a_unit(rows: Float32) -> QuantizedRows:
    """code = round(x * steps) + zero_point with steps = 255 / (max - min), min <= 0 <= max; the scale is 1 / steps.

    Each operation is rounded to float32, and denormal numbers count as 0; half-way values of codes and zero points go
    to even. The zero point comes from the largest value if -128 + min * steps + 127 + max * steps is not positive, else
    from the smallest. A row of zeros has steps 1.
    Errors: InvalidInput for an infinity or NaN, or a row whose steps are infinite.
    Source: google/XNNPACK, src/xnnpack/quantization.h, xnn_qd8_asymmetric_quantization_params; src/f32-qs8-vcvt/.
    """
    rows = flush_denormals(rows)
    low, high = _ends(rows)
    with np.errstate(all="ignore"):
        steps = np.where(low == high, np.float32(1), np.float32(INT8_MAX - INT8_MIN) / (high - low))
        if not np.isfinite(steps).all():
            raise InvalidInput(
                "a row of the input holds no value but such near 0 that the steps a unit are infinite: XNNPACK's "
                "result is undefined"
            )
        steps_low, steps_high = low * steps, high * steps
        from_low = (INT8_MIN + steps_low) + (INT8_MAX + steps_high) > 0
        zero_point = np.where(from_low, INT8_MIN - steps_low, INT8_MAX - steps_high)
        zero_point = np.rint(np.clip(zero_point, INT8_MIN, INT8_MAX)).astype(np.int32)
        scale = flush_denormals(np.asarray(1 / steps, np.float32))
    codes = np.rint(rows * steps[:, np.newaxis])
    bounds = ((bound - zero_point).astype(np.float32)[:, np.newaxis] for bound in (INT8_MIN, INT8_MAX))
    return QuantizedRows(np.clip(codes, *bounds).astype(np.int16), scale, zero_point)


def _ends(rows: Float32) -> tuple[Float32, Float32]:
    """The least and the largest value of each row, and 0."""
    low, high = (np.asarray(end(rows, axis=1, initial=0), np.float32) for end in (np.min, np.max))
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise InvalidInput("the input holds an infinity or NaN, for which there is no scale")
    return low, high


def _rounded(rows: Float32, inverse: Float32) -> NDArray[np.int16]:
    """round(x * inverse of its row), half-way values away from zero.

    The vectors of the runtime add 1/2 in float32 and cut off, which takes the float32 below 1/2 up to 1; C's round()
    does not (see steps_by_division).
    """
    if not np.isfinite(inverse).all():
        raise InvalidInput(
            "a row of the input holds no value but such near 0 that the inverse of its scale is infinite: TFLite's "
            "result is undefined"
        )
    columns = rows.shape[1]
    half = np.full(columns, 0.5, np.float32)
    half[columns - columns % VECTOR :] = BELOW_HALF_FLOAT32
    v: NDArray[Any] = rows * inverse[:, np.newaxis]
    v += np.copysign(half, v)
    return v.astype(np.int16)


# ---- sums of products ----

Scaling = Callable[[Float32, Float32, Float32], Float32]
"""(sums of products of codes, filter scales, input scales that broadcast) -> reals, all float32."""


def scale_by_filter_then_input(sums: Float32, filter_scale: Float32, input_scale: Float32) -> Float32:
    """(sums * filter_scale) * input_scale, each product rounded to float32."""
    with np.errstate(all="ignore"):
        return (sums * filter_scale) * input_scale


def scale_by_product(sums: Float32, filter_scale: Float32, input_scale: Float32) -> Float32:
    """sums * (filter_scale * input_scale), each product rounded to float32."""
    with np.errstate(all="ignore"):
        return sums * (filter_scale * input_scale)


def scale_by_filter_then_input_in_fours(sums: Float32, filter_scale: Float32, input_scale: Float32) -> Float32:
    """(sums * filter_scale) * input_scale; of the channels behind the last whole four the other way around.

    sums: channels on the last axis; filter_scale: (channels,). Each product is rounded to float32.
    Source: tflite/kernels/internal/optimized/integer_ops/depthwise_conv_hybrid.h, DoDepthwiseConvHybridGeneral.
    """
    whole = sums.shape[-1] // 4 * 4
    scaled = scale_by_filter_then_input(sums, filter_scale, input_scale)
    with np.errstate(all="ignore"):
        scaled[..., whole:] = (sums[..., whole:] * input_scale) * filter_scale[whole:]
    return scaled


LANES, BLOCK = 8, 16  # int16 lanes of a vector, and the codes that one instruction multiplies


def not_negated(weights: NDArray[np.int8]) -> NDArray[np.int16]:
    """What the vectors on x86 add for each negative code: 256 where a weight is -128, in whole blocks of 16 columns.

    They multiply |code| by the weight with the code's sign; -(-128) is -128 in int8. So a weight of -128 counts as
    -128 * |code|. weights: (rows, k). Source: sse_tensor_utils.cc, DotProdInt8x4x4, DotProdInt8x4x8.
    """
    extra = np.where(weights == INT8_MIN, np.int16(-2 * INT8_MIN), np.int16(0))
    extra[:, weights.shape[1] // BLOCK * BLOCK :] = 0
    return extra


def row_sums(weights: NDArray[np.int8]) -> NDArray[np.int64]:
    """The sum of each row of weights (rows, k)."""
    return np.asarray(weights.sum(axis=1, dtype=np.int64))


def row_sums_in_int16_lanes(weights: NDArray[np.int8]) -> NDArray[np.int64]:
    """The sum of each row of weights (rows, k) as the vectors on x86 find it: in 8 lanes of int16, which may wrap.

    Source: sse_tensor_utils.cc, SseReductionSumVector.
    """
    rows, k = weights.shape
    end = k // BLOCK * BLOCK
    lanes = weights[:, :end].reshape(rows, end // BLOCK, LANES, 2).sum(axis=(1, 3), dtype=np.int64)
    if k - end >= LANES:
        lanes += weights[:, end : end + LANES]
        end += LANES
    wrapped = lanes.astype(np.int16).sum(axis=1, dtype=np.int64)
    return np.asarray(wrapped + weights[:, end:].sum(axis=1, dtype=np.int64))
