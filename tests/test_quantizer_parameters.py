"""The quantizer's arithmetic against a second, slow one: exact fractions, rounded to float32 and float64 by hand."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from refquant.errors import NotQuantizable
from refquant.quantizer.parameters import (
    BIAS_MAX,
    Parameters,
    activation_parameters,
    bias_parameters,
    constant_parameters,
    guard_bias,
    quantize_affine,
    quantize_bias,
    quantize_weights_per_channel,
    quantize_weights_per_tensor,
    weight_parameters,
)

# ---- the slow side: no float operation, no NumPy


def rounded(x: Fraction, bits: int, least: int) -> Fraction:
    """x to `bits` significant bits, half to even; `least`: the exponent of the smallest subnormal."""
    if x == 0:
        return x
    size = abs(x)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    while Fraction(2) ** exponent > size:
        exponent -= 1
    while Fraction(2) ** (exponent + 1) <= size:
        exponent += 1
    unit = Fraction(2) ** max(exponent - bits + 1, least)
    whole, rest = divmod(size / unit, 1)
    if rest > Fraction(1, 2) or (rest == Fraction(1, 2) and whole % 2):
        whole += 1
    return whole * unit * (1 if x > 0 else -1)


def f32(x: Fraction) -> Fraction:
    return rounded(x, 24, -149)


def f64(x: Fraction) -> Fraction:
    return rounded(x, 53, -1074)


def half_away(x: Fraction) -> int:
    return math.floor(abs(x) + Fraction(1, 2)) * (1 if x >= 0 else -1)


NEAR_ZERO = Fraction(1e-6)  # the float64 constant's exact value


def slow_asymmetric(low: Fraction, high: Fraction) -> tuple[Fraction, int]:
    scale = f32(f32(f32(high) - f32(low)) / 255)
    zero = f32(f64(-128 - f64(low / scale)))
    return scale, -128 if zero < -128 else 127 if zero > 127 else half_away(zero)


def slow_activation(low: float, high: float) -> tuple[Fraction, int]:
    a, b = min(Fraction(low), Fraction(0)), max(Fraction(high), Fraction(0))
    if abs(f64(b - a)) < NEAR_ZERO:
        a, b = f64(a - NEAR_ZERO), f64(b + NEAR_ZERO)
    return slow_asymmetric(a, b)


def slow_constant(values: list[float]) -> tuple[Fraction, int]:
    low, high = min([Fraction(0), *map(Fraction, values)]), max([Fraction(0), *map(Fraction, values)])
    if f64(high - low) <= NEAR_ZERO:
        low, high = min(low, -NEAR_ZERO / 2), max(high, NEAR_ZERO / 2)
    return slow_asymmetric(low, high)


def slow_weight_scale(channel: list[float]) -> Fraction:
    r = max([Fraction(0), *(abs(Fraction(w)) for w in channel)])
    r = NEAR_ZERO / 2 if f64(2 * r) <= NEAR_ZERO else r
    return f32(f32(f32(r) + f32(r)) / 254)


def limited(q: int, largest: int) -> int:
    return max(-largest, min(largest, q))


def slow_reciprocal(scale: Fraction) -> Fraction:
    return f32(f64(1 / f32(scale))) if f32(scale) else Fraction(0)


# ---- what is drawn

finite = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**100), max_value=2.0**100)
tiny = st.floats(width=32, min_value=-(2.0**-18), max_value=2.0**-18)
HALF_WAY = [float(np.float32((k + 0.5) * 2.0**-5)) for k in range(-127, 127)]
number = st.one_of(finite, tiny, st.floats(width=32, min_value=-8, max_value=8), st.sampled_from(HALF_WAY))
weights = st.lists(number, min_size=1, max_size=6)


def scale_of(parameters: Parameters) -> Fraction:
    return Fraction(parameters.scale[0])


@given(number, number)
@example(0.0, 0.0)
@example(-1.0, 1.17549435e-38)
@example(0.0, float(np.float32(7e-7)))
@example(0.0, float(np.float32(1e-6)))
@example(float(np.float32(-5e-7)), float(np.float32(5e-7)))
@example(-127.5 * 2.0**-5, 127.5 * 2.0**-5)
@example(3.0, 7.0)
@example(-7.0, -3.0)
def test_activations(a: float, b: float) -> None:
    low, high = sorted((a, b))
    parameters = activation_parameters(low, high)
    assert (scale_of(parameters), parameters.zero_point[0]) == slow_activation(low, high)


@given(st.floats(width=32, min_value=2.0**-10, max_value=2.0**10), st.integers(0, 254))
def test_zero_points_half_way(scale: float, steps: int) -> None:
    """Ranges whose zero point lies almost half way between two integers: there every rounding shows."""
    low = float(np.float32(-scale * (steps + 0.5)))
    high = float(np.float32(low + 255 * scale))
    assume(low <= 0 <= high)
    parameters = activation_parameters(low, high)
    assert (scale_of(parameters), parameters.zero_point[0]) == slow_activation(low, high)


@given(weights)
@example([0.0])
@example([7e-7])
@example([-7e-7, 2e-7])
@example([-1e-30])
@example([5e-7, -5e-7])
def test_constants(values: list[float]) -> None:
    array = np.array(values, np.float32)
    values = [float(v) for v in array]
    parameters = constant_parameters(array)
    scale, zero_point = slow_constant(values)
    assert (scale_of(parameters), parameters.zero_point[0]) == (scale, zero_point)
    expected = [half_away(f64(f64(Fraction(v) / scale) + zero_point)) for v in values]
    assert quantize_affine(array, parameters).tolist() == [max(-128, min(127, q)) for q in expected]


@given(weights)
@example([0.5, 127.0])
@example([-2.5, 127.0])
@example([1e-8, -1e-9])
def test_weights_per_channel(channel: list[float]) -> None:
    array = np.array([channel, [1.0] * len(channel)], np.float32)
    parameters = weight_parameters(array, 0)
    scale = slow_weight_scale([float(w) for w in array[0]])
    assert scale_of(parameters) == scale
    assert parameters.zero_point == (0, 0)
    expected = [limited(half_away(f32(Fraction(float(w)) * slow_reciprocal(scale))), 127) for w in array[0]]
    assert quantize_weights_per_channel(array, parameters)[0].tolist() == expected


@given(weights, st.sampled_from([None, 1.0, 1.000001, 1.5, 1000.0]))
@example([0.0, 0.0], None)
@example([2.5, 127.0], None)
@example([2.0, 1.0], 1000.0)
def test_weights_per_tensor(values: list[float], raised: float | None) -> None:
    array = np.array(values, np.float32)
    parameters = weight_parameters(array, None)
    scale = slow_weight_scale([float(w) for w in array])
    assert scale_of(parameters) == scale
    if raised is not None:
        scale = f64(scale * Fraction(raised))
        parameters = Parameters("INT8", (float(scale),), (0,), None, narrow=True)
    r = max(abs(Fraction(float(w))) for w in array)
    assume(r == 0 or r > Fraction(2) ** -100)  # 127 / r stays a float32
    own = f32(r / 127) if r else Fraction(1)
    if abs(f64(own - scale)) > Fraction(1e-3):
        expected = [half_away(f64(Fraction(float(w)) / scale)) for w in array]
    else:
        expected = [half_away(f32(Fraction(float(w)) * f32(127 / r))) if r else 0 for w in array]
    assert quantize_weights_per_tensor(array, parameters).tolist() == [limited(q, 127) for q in expected]


positive = st.floats(width=32, min_value=2.0**-40, max_value=2.0**20)


@given(positive, st.lists(positive, min_size=1, max_size=4), st.data())
def test_bias(input_scale: float, weight_scales: list[float], data: st.DataObject) -> None:
    input_ = Parameters("INT8", (input_scale,), (3,))
    per_channel = Parameters("INT8", tuple(weight_scales), (0,) * len(weight_scales), 0, narrow=True)
    parameters = bias_parameters((input_, per_channel))
    scales = [f32(f64(Fraction(input_scale) * Fraction(w))) for w in weight_scales]
    assert [Fraction(s) for s in parameters.scale] == scales
    assert parameters.type == "INT32"
    count = len(weight_scales)
    near = st.sampled_from([0.5, 1 - 2.0**-23, 1.0, 1 + 2.0**-23, 1.5, -1.0, -1.5, 100.0])
    drawn = [
        data.draw(st.one_of(number, near.map(lambda factor, s=s: factor * s * BIAS_MAX))) for s in parameters.scale
    ]
    bias = np.array(drawn, np.float32)
    assume(np.isfinite(bias).all())
    assume(all(abs(float(b)) / s < 2.0**100 for b, s in zip(bias, parameters.scale, strict=True)))
    expected = [
        limited(half_away(f32(Fraction(float(b)) * slow_reciprocal(s))), 2**31 - 1)
        for b, s in zip(bias, scales, strict=True)
    ]
    assert quantize_bias(bias, parameters).tolist() == expected
    guarded = guard_bias(bias, parameters, input_, per_channel)
    sizes = [abs(Fraction(float(b))) for b in bias]
    if count == 1:
        too_large = [not f64(sizes[0] / scales[0]) < BIAS_MAX]
    else:
        too_large = [f64(b / s) > BIAS_MAX for b, s in zip(sizes, scales, strict=True)]
    assert (guarded is not None) == any(too_large)
    if guarded is not None:
        new = [f64(b / BIAS_MAX) if t else s for b, s, t in zip(sizes, scales, too_large, strict=True)]
        assert [Fraction(s) for s in guarded[0].scale] == new
        widened = [
            f64(s / Fraction(input_scale)) if t else Fraction(w)
            for s, w, t in zip(new, weight_scales, too_large, strict=True)
        ]
        assert [Fraction(s) for s in guarded[1].scale] == widened


def test_one_channel_counts_as_per_tensor_once_guarded() -> None:
    input_, weights_ = Parameters("INT8", (0.5,), (0,)), Parameters("INT8", (1e-8,), (0,), 0, narrow=True)
    guarded = guard_bias(np.array([100.0], np.float32), bias_parameters((input_, weights_)), input_, weights_)
    assert guarded is not None
    assert guarded[1].axis is None


def test_a_range_without_a_float32_scale_is_refused() -> None:
    largest = float(np.finfo(np.float32).max)
    with pytest.raises(NotQuantizable, match="too wide"):
        activation_parameters(-largest, largest)
    with pytest.raises(NotQuantizable, match="not finite"):
        activation_parameters(0.0, math.inf)
    with pytest.raises(NotQuantizable, match="not a float32"):
        weight_parameters(np.array([largest], np.float32), None)


def test_parameters_print_what_the_file_holds() -> None:
    parameters = Parameters("INT8", (0.1, 0.2), (0, 0), 3, narrow=True)
    assert parameters.quantization().scale == (float(np.float32(0.1)), float(np.float32(0.2)))
    assert str(parameters) == "INT8 scale 2 x [0.1 … 0.2] on dim 3 zero point 0"
