"""XNNPACK's own forms of ops that multiply no matrices, on single values that tell them from the other runtimes'.

The float32 results are LiteRT 2.3.0's; tests/test_runtimes.py compares the ops with the installed one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import refquant
from graphs import Graphs
from models import T, one_op
from refquant.arithmetic import vector_functions
from refquant.arithmetic.affine import steps_by_inverse
from refquant.arithmetic.flushing import add_flushed, flush_denormals, larger, sums_stay_normal
from refquant.errors import UnsupportedModel
from refquant.kernels.activation import activation_range, activation_range_of_sums
from refquant.kernels.reduction import ReductionParams
from refquant.kernels.xnnpack_float_windows import reduce_max, softmax
from refquant.model.graph import Model
from refquant.program import Value, execute, prepare
from refquant.runtimes import runtime_named

POINTS = np.array([-20, -5.5, -1.25, -0.3, 1e-3, 0.7, 2.5, 9.75], np.float32)

# Function -> the bits of what LiteRT gives for POINTS; of the logarithm for their magnitudes.
RESULTS = {
    "cosine": "3ed0f021 3f356b62 3ea171ed 3f7490ee 3f7ffff9 3f43ccb3 bf4d17bf bf729498",
    "elu": "bf800000 bf7ef42b bf36a79f be84b37a 3a83126f 3f333333 40200000 411c0000",
    "gelu": "80000000 80000000 be073b54 bdeac158 3a032d35 3f07d712 401f01a7 411c0000",
    "gelu_approximate": "80000000 80000000 be0775ee bdeac2a7 3a032d35 3f07d372 401f08dc 411c0000",
    "hard_swish": "80000000 80000000 bebaaaaa be0a3d71 3a031d9e 3edd036a 4012aaab 411c0000",
    "sigmoid": "310da433 3b855ecb 3e640b82 3ed9e2ac 3f001062 3f2b0e5a 3f6c948f 3f7ffc2e",
    "sine": "bf69b6c7 3f349e4a bf72f0a9 be974e6d 3a83126e 3f24eb74 3f19357a bea39804",
    "tanh": "bf800000 bf7ffdd0 bf59291e be9526ef 3a83126c 3f1ab7d8 3f7c92c1 3f800000",
    "log": "403fba14 3fda3530 3e647fbd bf9a1bc7 c0dd0c55 beb69e18 3f6a9207 4011bec0",
}
SOFTMAX = "2a07275f 347f902f 378bf8bb 3834f681 387484da 38f5f441 3a39fdf4 3f7fc20f"


def bits(x: np.ndarray) -> str:
    return " ".join(f"{word:08x}" for word in np.ravel(x).view(np.uint32))


def run(model: Model, x: np.ndarray, runtime: str = "xnnpack") -> np.ndarray:
    kept: dict[int, Value] = {}
    execute(prepare(model, runtime_named(runtime)), {model.graph.inputs[0]: Value(x)}, 1, kept.__setitem__)
    return kept[model.graph.outputs[0]].array


def delegated(model: Model) -> bool:
    return prepare(model, runtime_named("xnnpack")).steps[0].delegate == "XNNPACK"


@pytest.mark.parametrize("name", RESULTS)
def test_functions_of_float32(name: str) -> None:
    points = np.abs(POINTS) if name == "log" else POINTS
    assert bits(getattr(vector_functions, name)(points)) == RESULTS[name]


def test_softmax() -> None:
    assert bits(softmax(None, [POINTS.reshape(1, 8)])[0]) == SOFTMAX


def test_square_roots_above_two_to_the_126() -> None:
    x = np.array([2.0**126, 2.0**127], np.float32)  # the square of the estimate is a denormal number, 0
    assert bits(vector_functions.square_root(x[:1])) == bits(np.sqrt(x[:1]))
    assert vector_functions.square_root(x[1:])[0] / np.sqrt(x[1]) == pytest.approx(1.5, rel=1e-6)


def test_denormal_numbers_count_as_0() -> None:
    least = np.float32(2.0**-126)
    x = np.array([1e-45, -1e-40, -0.0, least, np.nan], np.float32)
    np.testing.assert_array_equal(bits(flush_denormals(x)), bits(np.array([0, -0.0, -0.0, least, np.nan], np.float32)))
    assert bits(add_flushed(np.array([least]), np.array([-least * np.float32(1.5)]))) == "80000000"
    assert sums_stay_normal(np.array([0, 2.0**-102], np.float32))
    assert not sums_stay_normal(np.array([2.0**-103], np.float32))


def test_quantize_saturates() -> None:
    x = np.array([0.5, 1.5, -2.5, np.nan, np.inf, -np.inf, 1e30], np.float32)
    steps = steps_by_inverse(x, np.float32(1), 7)
    np.testing.assert_array_equal(steps, [0, 2, -2, 32767, 32767, -32768, 32767])


def test_bounds_of_activations_are_rounded_with_the_zero_point() -> None:
    scale = float(np.float32(6 / 4.5))
    assert activation_range("RELU6", scale, 0, "INT8") == (0, 5)
    assert activation_range_of_sums("RELU6", scale, 0, "INT8") == (0, 4)
    assert activation_range_of_sums("RELU6", scale, 1, "INT8") == (1, 6)
    assert activation_range_of_sums("NONE", scale, -128, "UINT8") == (0, 255)


@pytest.mark.parametrize("weights", [np.full((1, 1), 10, np.float32), np.full((1, 1), 10, np.int8)])
def test_what_overflows_is_infinite(weights: np.ndarray) -> None:
    """Where the other kernels clamp to the largest number."""
    scale = 1.0 if weights.dtype == np.int8 else None
    operands = [T((1, 1), "FLOAT32"), T(data=weights, scale=scale), T(data=np.zeros(1, np.float32))]
    for activation, largest in (("NONE", np.inf), ("RELU", np.inf), ("RELU6", 6)):
        options = {"fused_activation_function": activation}
        model = one_op("FULLY_CONNECTED", operands, [T((1, 1), "FLOAT32")], options)
        assert delegated(model)
        assert run(model, np.array([[3e38]], np.float32))[0, 0] == np.float32(largest)


def test_leaky_relu_in_256ths() -> None:
    def model(ratio: float) -> Model:
        return one_op("LEAKY_RELU", [T((3,), scale=1.0)], [T((3,), scale=256 / ratio)], {"alpha": 0.25})

    x = np.array([-128, 100, 127], np.int8)
    assert not delegated(model(1.49))  # below zero the multiplier would be 0.37 / 256
    np.testing.assert_array_equal(run(model(5.6), x), [0, 2, 3])  # multipliers of 6 / 256 and 1 / 256
    np.testing.assert_array_equal(run(model(5.6), x, "tflite_ref"), [-1, 2, 3])  # 5.6 / 256 and 1.4 / 256


def test_sum_with_one_shift() -> None:
    inputs = [T((1,), scale=0.75, zero_point=3), T(data=np.array([5], np.int8), scale=0.5, zero_point=-1)]
    model = one_op("ADD", inputs, [T((1,), scale=0.5, zero_point=7)], {"fused_activation_function": "NONE"})
    assert delegated(model)
    assert run(model, np.array([8], np.int8))[0] == 21  # 7.5 + 6 + 7: half-way values go up
    assert run(model, np.array([-2], np.int8))[0] == 6  # -7.5 + 6 + 7 = 5.5


def test_multipliers_of_a_sum_are_rounded_to_even() -> None:
    """Scale / output scale is half-way between two numbers of 21 bits, behind an even digit and behind an odd one."""
    for significand, multiplier in ((2**21 + 1, 2**20), (2**21 + 3, 2**20 + 2)):
        x, output = T((1,), scale=significand / 2**21), T((1,), scale=1.0)
        model = one_op("ADD", [x, x], [output], {"fused_activation_function": "NONE"})
        params = prepare(model, runtime_named("xnnpack")).steps[0].params
        assert (params.multiplier1, params.multiplier2, params.shift) == (multiplier, multiplier, 20)


def test_a_tensor_times_itself_is_a_square() -> None:
    """The results are LiteRT's: the product of two equal tensors is rounded otherwise."""
    x, other = (T((2,), scale=0.0625, zero_point=83) for _ in range(2))
    output, codes = T((2,), scale=0.375, zero_point=-63), np.array([-49, -25], np.int8)
    options = {"fused_activation_function": "NONE"}
    for operands, want in ((("x", "x"), [118, 58]), (("x", "other"), [119, 59])):
        tensors = {"x": x, "other": other, "y": output}
        model = Graphs().add(tensors, [("MUL", operands, ("y",), options)], ("x", "other"), ("y",)).model()
        got = refquant.run(model, [codes, codes], runtime="xnnpack")[0]
        np.testing.assert_array_equal(got, want)


def test_of_zeros_and_nans_the_later_one_counts() -> None:
    assert bits(larger(np.float32([0.0]), np.float32([-0.0]))) == "80000000"
    params = ReductionParams(2, (-1,), False, 3, ((1,),))
    assert bits(reduce_max(params, [np.array([[0.0, np.nan, -1.0]], np.float32)])[0]) == "bf800000"


def test_table_has_the_shape_of_the_input() -> None:
    constant = T(data=np.full((1, 1, 1), 9, np.int8), scale=0.37)
    for activation, shape in (("NONE", (1, 1, 3)), ("RELU", (3,))):
        operands, options = [T((3,), scale=0.125), constant], {"fused_activation_function": activation}
        model = one_op("MUL", operands, [T((1, 1, 3), scale=0.29)], options)
        assert run(model, np.arange(3, dtype=np.int8)).shape == shape


@pytest.mark.parametrize(
    ("op", "shapes", "options", "takes"),
    [
        ("ADD", [(2,) * 6, (2,) * 6], {}, True),
        ("ADD", [(2,) * 7, (2,) * 7], {}, False),
        ("ADD", [(2,), (2,)], {"fused_activation_function": "TANH"}, False),
        ("LEAKY_RELU", [(2,)], {"alpha": 0.0}, False),
        ("SOFTMAX", [(2, 3)], {"beta": 1.0}, True),
        ("SOFTMAX", [(2, 3)], {"beta": 0.5}, False),
        ("TANH", [(0, 3)], {}, False),
        ("SIGN", [(3,)], {}, False),
    ],
)
def test_what_the_delegate_takes(op: str, shapes: list[tuple[int, ...]], options: dict[str, Any], takes: bool) -> None:
    model = one_op(op, [T(shape, "FLOAT32") for shape in shapes], [T(shapes[0], "FLOAT32")], options)
    assert delegated(model) is takes


def test_what_the_delegate_takes_and_cannot_run() -> None:
    inputs = [T((2, 3), scale=0.5), T(data=np.array([1, 0], np.int32))]
    with pytest.raises(UnsupportedModel, match="XNNPACK refuses that 't2' has another scale"):
        prepare(one_op("TRANSPOSE", inputs, [T((3, 2), scale=0.25)]), runtime_named("xnnpack"))
