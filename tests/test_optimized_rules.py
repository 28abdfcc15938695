"""The optimized kernels' own rules, on numbers that a reader can follow; test_runtimes.py asks the real runtime."""

from __future__ import annotations

import numpy as np
import pytest

from models import T, one_op
from refquant.arithmetic.affine import real_by_sum_in_eights, steps_by_inverse_in_eights
from refquant.arithmetic.requantize import (
    DOUBLE_ROUNDING,
    SHIFT_FIRST,
    SHIFT_LAST,
    UPWARD_ROUNDING,
    UPWARD_ROUNDING_IN_EIGHTS,
    UPWARD_ROUNDING_IN_SIXTEENS,
    Requantizer,
    one_a_channel,
)
from refquant.errors import UnsupportedModel
from refquant.program import run
from refquant.runtimes import runtime_named


def rounded(requantizer: Requantizer, real: float, accumulators: list[int]) -> list[int]:
    record = one_a_channel(requantizer.prepare(real, "here"), len(accumulators))
    return requantizer.apply(np.array([accumulators]), record)[0].tolist()


def test_half_way_values_go_up_or_away() -> None:
    accumulators = [-6, -2, 2, 6]
    assert rounded(DOUBLE_ROUNDING, 0.25, accumulators) == [-2, -1, 1, 2]
    assert rounded(UPWARD_ROUNDING, 0.25, accumulators) == [-1, 0, 1, 2]


@pytest.mark.parametrize(("requantizer", "lanes"), [(UPWARD_ROUNDING_IN_EIGHTS, 8), (UPWARD_ROUNDING_IN_SIXTEENS, 16)])
def test_what_does_not_fill_a_vector_goes_away(requantizer: Requantizer, lanes: int) -> None:
    channels = 2 * lanes + 3
    assert rounded(requantizer, 0.25, [-6] * channels) == [-1] * (2 * lanes) + [-2] * 3
    assert rounded(requantizer, 0.25, [-6] * (lanes - 1)) == [-2] * (lanes - 1)


def test_an_input_of_add_is_shifted_before_or_behind_its_product() -> None:
    three_sixteenths = 3 / 16  # 0.75 * 2^-2
    assert rounded(DOUBLE_ROUNDING, three_sixteenths, [7]) == [1]  # 7 * 0.75 = 5.25 -> 5; 5 / 4 = 1.25 -> 1
    assert rounded(SHIFT_FIRST, three_sixteenths, [7]) == [1]  # 7 >> 2 = 1; 0.75 -> 1
    assert rounded(SHIFT_LAST, three_sixteenths, [10]) == [2]  # 7.5 -> 8; 8 >> 2 = 2
    assert rounded(SHIFT_LAST, three_sixteenths, [9]) == [1]  # 6.75 -> 7; 7 >> 2 = 1
    assert rounded(DOUBLE_ROUNDING, three_sixteenths, [9]) == [2]  # 7 / 4 = 1.75 -> 2


def test_quantize_rounds_to_even_in_whole_eights() -> None:
    x = np.full(11, 2.5, np.float32)
    assert steps_by_inverse_in_eights(x, np.float32(1), 11).tolist() == [2.0] * 8 + [3.0] * 3
    assert steps_by_inverse_in_eights(np.stack([x, -x]), np.float32(1), 11)[1].tolist() == [-2.0] * 8 + [-3.0] * 3


def test_dequantize_adds_what_the_zero_point_is_worth() -> None:
    scale, zero_point = np.float32(0.1), np.array(-4)
    real = real_by_sum_in_eights(np.full(9, 100, np.int8), scale, zero_point, 9)
    assert (real[:8] == np.float32(100) * scale + np.float32(4) * scale).all()
    assert real[8] == np.float32(104) * scale
    assert real[0] != real[8]


def test_a_depthwise_convolution_needs_a_bias() -> None:
    filter_ = T(data=np.ones((1, 1, 1, 2), np.int8), scale=[1.0, 1.0], axis=3)
    inputs = [T((1, 1, 1, 2), "INT8", 1.0), filter_]
    options = {"padding": "VALID", "stride_h": 1, "stride_w": 1, "depth_multiplier": 1}
    model = one_op("DEPTHWISE_CONV_2D", inputs, [T((1, 1, 1, 2), "INT8", 1.0)], options, 3)
    x = np.zeros((1, 1, 1, 2), np.int8)
    assert run(model, x)[0].tolist() == [[[[0, 0]]]]
    with pytest.raises(UnsupportedModel, match="there is no bias"):
        run(model, x, "tflite_opt")


def test_sums_of_int8_are_of_int8() -> None:
    """The reference kernels read the codes as those of uint8; the optimized ones do not."""
    inputs = [T((1, 3), "INT8", 0.5, 1), T(data=np.array([1], np.int32))]
    model = one_op("SUM", inputs, [T((1,), "INT8", 0.5, 2)])
    x = np.array([[-3, 4, 7]], np.int8)
    assert run(model, x, "tflite_opt")[0].tolist() == [-3 + 4 + 7 - 3 * 1 + 2]


def test_what_is_inexact_is_of_float32_alone() -> None:
    for types in runtime_named("tflite_opt").inexact.values():
        assert set(types) == {"FLOAT32"}
        assert all(types.values())
    assert not runtime_named("tflite_ref").inexact
