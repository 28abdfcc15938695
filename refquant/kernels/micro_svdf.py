"""SVDF as TensorFlow Lite Micro computes it: float32 sums one after another, states of int8 too, a bias always.

Source: tensorflow/tflite-micro, tensorflow/lite/micro/kernels/svdf_common.cc. See svdf.py for what it computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from refquant.arithmetic.affine import Float32
from refquant.kernels.kernel import Node
from refquant.kernels.svdf import STATE, FloatParams, IntegerParams, integer_params, pushed, svdf_float_params
from refquant.model.graph import Array

MAX_BIAS_SCALE_DIFFERENCE = 1e-5


def float_params(node: Node) -> FloatParams:
    """As svdf_float_params, with the C library's tanh; UnsupportedModel without a bias, where the process ends."""
    _expect_bias(node)
    params = svdf_float_params(node)
    if node.options.get("fused_activation_function") == "TANH":
        return replace(params, activation=node.arithmetic["TANH.function"])
    return params


def svdf_float(params: FloatParams, arrays: Sequence[Array | None]) -> tuple[Array, Array]:
    """(output, state from now on). Every sum is taken in order, that of the output from the bias on.

    arrays: input, weights_feature, weights_time, bias, state, all float32.
    Source: svdf_common.cc, EvalFloatSvdfReference, ApplyTimeWeightsBiasAndActivation.
    """
    x, feature, time, bias, state = arrays
    assert x is not None
    assert feature is not None
    assert time is not None
    assert bias is not None
    assert state is not None
    layout = params.layout
    with np.errstate(all="ignore"):
        new = pushed(state, layout, _sum_in_order(x[:, np.newaxis] * feature, np.float32(0)))
        filters = _sum_in_order(new * time, np.float32(0)).reshape(layout.batch, layout.units, layout.rank)
        return params.activation(_sum_in_order(filters, bias)), new.reshape(state.shape)


def _sum_in_order(terms: Float32, first: Float32 | np.float32) -> Float32:
    """first + terms[..., 0] + terms[..., 1] + ..."""
    total = np.zeros(terms.shape[:-1], np.float32) + first
    for position in range(terms.shape[-1]):
        total = total + terms[..., position]
    return total


def int8_params(node: Node) -> IntegerParams:
    """As svdf_params; weights_time and state are int16 or int8, the state may have a zero point, no activation is
    applied, and the bias's scale is that of the state times that of weights_time, but for 1e-5.

    Errors: InvalidModel for another scale of the bias; UnsupportedModel without a bias, where the process ends.
    Source: svdf_common.cc, PrepareSvdf.
    """
    _expect_bias(node)
    bias, state, time = (node.scale_and_zero_point(node.input(index))[0] for index in (3, STATE, 2))
    if abs(bias - float(np.float32(state) * np.float32(time))) >= MAX_BIAS_SCALE_DIFFERENCE:
        raise node.invalid(f"the scale of the bias is {bias}, but that of state times weights_time is {state * time}")
    return integer_params(node, "INT8" if node.input(2).type == "INT8" else "INT16")


def _expect_bias(node: Node) -> None:
    if node.optional(3) is None:
        raise node.unsupported("there is no bias, without which TensorFlow Lite Micro ends the process")
