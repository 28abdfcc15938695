"""SVDF: a dense layer over the last `memory` inputs, factored into features of one input and weights in time.

feature[n, f] = sum over i of input[n, i] * weights_feature[f, i]; the state holds each filter's last `memory` features,
the newest at the end. output[n, u] = activation(bias[u] + sum over the filters f of unit u and over m of
state[n, f, m] * weights_time[f, m]). A unit has `rank` filters, one after another.
Source: google-ai-edge/LiteRT, tflite/kernels/svdf.cc; tflite/kernels/internal/reference/svdf.h.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from refquant.arithmetic.affine import Float32
from refquant.arithmetic.exact import Narrow, exact_matmul
from refquant.arithmetic.lane_product import lane_dot, lane_sum
from refquant.arithmetic.requantize import Record, Requantizer, requantize_and_clamp
from refquant.arithmetic.row_quantization import RowQuantizer, row_quantizer, scale_by_product
from refquant.kernels.checks import expect_counts, legacy_parameters
from refquant.kernels.hybrid import DenseWeights, dense_sums, dense_weights, fused_activation
from refquant.kernels.kernel import Node, Operand, Shape
from refquant.model.graph import DTYPES, Array

STATE = 4  # the input that is the variable tensor
INT8_RANGE = (-128, 127)


@dataclass(frozen=True, slots=True)
class Layout:
    """The sizes of one SVDF: the output is (batch, units), the state (batch, units * rank * memory)."""

    batch: int
    units: int
    rank: int
    memory: int

    @property
    def filters(self) -> Shape:
        """The shape in which the state is one row a filter."""
        return self.batch, self.units * self.rank, self.memory


def _decode(node: Node, types: tuple[str, str, str, str]) -> tuple[Layout, Operand, Operand, Operand]:
    """(sizes, input, weights_feature, weights_time). types: those of weights_feature, weights_time, bias and state.

    Errors: InvalidModel for what TFLite's Prepare rejects; UnsupportedModel for other types, which TFLite reads as if
    they were these.
    """
    expect_counts(node, 5, 1)
    x, feature, time, state = (node.input(index) for index in (0, 1, 2, STATE))
    bias = node.optional(3)
    for operand, type in zip((state, feature, time, bias), (types[3], *types[:3]), strict=True):
        if operand is state and (state.type, type) == ("INT8", "INT16"):
            raise node.unsupported(
                f"the state '{state.name}' is INT8, which only TFLite Micro runs, beside weights_time of INT8; TFLite "
                "takes it for INT16 and writes past its end"
            )
        if operand is not None and operand.type != type:
            raise node.unsupported(f"'{operand.name}' is {operand.type}; beside an input of {x.type} it must be {type}")
    rank = int(node.options.get("rank", 0))
    if any(len(operand.shape) != 2 for operand in (x, feature, time, state)):
        raise node.invalid("input, weights and state must have 2 dimensions")
    filters, memory = time.shape
    if rank <= 0 or filters % rank:
        raise node.invalid(f"the rank {rank} must divide the {filters} filters")
    layout = Layout(x.shape[0], filters // rank, rank, memory)
    if feature.shape != (filters, x.shape[1]):
        raise node.invalid(f"weights_feature has shape {feature.shape}; {(filters, x.shape[1])} fits the input")
    if bias is not None and bias.shape[:1] != (layout.units,):
        raise node.invalid(f"bias has shape {bias.shape}, but there are {layout.units} units")
    if not state.is_variable or state.shape != (layout.batch, memory * filters):
        raise node.invalid(f"state '{state.name}' must be a variable of shape {(layout.batch, memory * filters)}")
    if memory == 0 or (bias is not None and len(bias.shape) != 1):
        raise node.unsupported("weights_time must have a column, and a bias 1 dimension")
    return layout, x, feature, time


def pushed(state: Array, layout: Layout, features: Array) -> Array:
    """The state (batch, filters, memory) after each filter has dropped its oldest feature and taken a new one."""
    return np.concatenate([state.reshape(layout.filters)[:, :, 1:], features[:, :, np.newaxis]], axis=2)


# float32 and hybrid -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FloatParams:
    """What SVDF on float32 needs to run."""

    output_shapes: tuple[Shape]
    layout: Layout
    activation: Callable[[Float32], Float32]


def svdf_float_params(node: Node) -> FloatParams:
    """Checks and decodes SVDF: input (batch, n), weights_feature (filters, n), weights_time (filters, memory), bias
    (units,) or none, state (batch, filters * memory), all float32.

    Errors: InvalidModel for what TFLite's Prepare rejects. Source: tflite/kernels/svdf.cc, Prepare.
    """
    layout, *_ = _decode(node, ("FLOAT32",) * 4)
    return FloatParams(((layout.batch, layout.units),), layout, fused_activation(node))


def svdf_float(params: FloatParams, arrays: Sequence[Array | None]) -> tuple[Array, Array]:
    """(output, state from now on). arrays: input, weights_feature, weights_time, bias or None, state.

    Every sum is taken in four lanes. Source: internal/reference/svdf.h, EvalFloatSVDF.
    """
    x, feature, time, bias, state = arrays
    assert x is not None
    assert feature is not None
    assert time is not None
    assert state is not None
    new = pushed(state, params.layout, lane_dot(x[:, np.newaxis], feature))
    return _float_output(params.layout, params.activation, new, time, bias), new.reshape(state.shape)


def _float_output(
    layout: Layout, activation: Callable[[Float32], Float32], state: Float32, time: Float32, bias: Array | None
) -> Float32:
    filters = lane_dot(state, time)
    output = lane_sum(filters.reshape(layout.batch, layout.units, layout.rank))
    with np.errstate(all="ignore"):
        return activation(output if bias is None else output + bias)


@dataclass(frozen=True, slots=True)
class HybridParams:
    """What SVDF with weights of int8 needs to run. `time`: the weights in time as float32."""

    output_shapes: tuple[Shape]
    layout: Layout
    activation: Callable[[Float32], Float32]
    quantize: RowQuantizer
    weights: DenseWeights
    filter_scale: Float32
    time: Float32


def svdf_hybrid_params(node: Node) -> HybridParams:
    """Checks and decodes SVDF with constant weights of int8, all else float32; see svdf_float_params.

    Each of the weights has one scale, without which TFLite computes with 0.
    Errors: InvalidModel for what TFLite's Prepare rejects; UnsupportedModel for weights that are no constants.
    Source: tflite/kernels/svdf.cc, Prepare, Eval.
    """
    layout, _, feature, time = _decode(node, ("INT8", "INT8", "FLOAT32", "FLOAT32"))
    return HybridParams(
        ((layout.batch, layout.units),),
        layout,
        fused_activation(node),
        row_quantizer(bool(node.options.get("asymmetric_quantize_inputs", False))),
        dense_weights(node, node.value(1)),
        np.array([legacy_parameters(feature)[0]], np.float32),
        node.value(2).astype(np.float32) * np.float32(legacy_parameters(time)[0]),
    )


def svdf_hybrid(params: HybridParams, arrays: Sequence[Array | None]) -> tuple[Array, Array]:
    """(output, state from now on). arrays: input, the weights, bias or None, state; all but the weights float32.

    feature = sum of weights_feature * (code - zero_point) * (filter scale * row scale).
    Errors: InvalidInput for an input that has no codes. Source: internal/reference/svdf.h, EvalHybridSVDF.
    """
    x, _, _, bias, state = arrays
    assert x is not None
    assert state is not None
    rows = params.quantize(x)
    sums = dense_sums(rows.centred, rows.zero_point, params.weights)
    features = scale_by_product(sums, params.filter_scale, rows.scale[:, np.newaxis])
    new = pushed(state, params.layout, features + np.float32(0))  # the runtime adds to 0, which makes a -0.0 a 0
    return _float_output(params.layout, params.activation, new, params.time, bias), new.reshape(state.shape)


# int8 ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class IntegerParams:
    """What SVDF on int8 needs to run. `to_state` and `to_output` requantize the features and the sums over time."""

    output_shapes: tuple[Shape]
    layout: Layout
    input_zero_point: int
    state_zero_point: int
    state_type: np.dtype[Any]
    output_zero_point: int
    requantizer: Requantizer
    to_state: Record
    to_output: Record
    narrow: Narrow


def svdf_params(node: Node) -> IntegerParams:
    """Checks and decodes SVDF: input and weights_feature int8, weights_time and state int16, bias int32 or none.

    Multipliers are s_input * s_feature / s_state and s_state * s_time / s_output, in float32 or as the runtime computes
    them. Of zero points only the input's and the output's are read. Only RELU runs, and it clamps nothing.
    Errors: InvalidModel for what TFLite's Prepare or Eval rejects; UnsupportedModel for other types.
    Source: tflite/kernels/svdf.cc, Prepare, Eval.
    """
    activation = node.options.get("fused_activation_function", "NONE")
    if activation != "RELU":
        raise node.invalid(f"the fused activation is {activation}; TFLite runs SVDF on int8 with RELU only")
    return replace(integer_params(node, "INT16"), state_zero_point=0)


def integer_params(node: Node, state_type: str) -> IntegerParams:
    """As svdf_params, with a zero point of the state. state_type: its type, which is that of weights_time."""
    layout, x, feature, time = _decode(node, ("INT8", state_type, "INT32", state_type))
    state, output = node.input(STATE), node.outputs[0]
    requantizer: Requantizer = node.arithmetic["SVDF.requantizer"]
    return IntegerParams(
        ((layout.batch, layout.units),),
        layout,
        _first_zero_point(x),
        _first_zero_point(state),
        DTYPES[state_type],
        _first_zero_point(output),
        requantizer,
        requantizer.prepare(_effective_scale(node, x, feature, state), node.place),
        requantizer.prepare(_effective_scale(node, state, time, output), node.place),
        node.narrow,
    )


def _effective_scale(node: Node, a: Operand, b: Operand, to: Operand) -> np.float64:
    """The runtime's "SVDF.effective_scale" of three scales. UnsupportedModel if it is not finite."""
    with np.errstate(all="ignore"):
        real = node.arithmetic["SVDF.effective_scale"](*(_first_scale(node, operand) for operand in (a, b, to)))
    if not np.isfinite(real):
        raise node.unsupported(f"the scale of '{to.name}' is too small: the multiplier would be {real}")
    return np.float64(real)


def _first_scale(node: Node, operand: Operand) -> float:
    if operand.quantization is None or not operand.quantization.scale:
        raise node.invalid(f"tensor '{operand.name}' has no scale")
    return operand.quantization.scale[0]


def _first_zero_point(operand: Operand) -> int:
    q = operand.quantization
    return q.zero_point[0] if q is not None and q.zero_point else 0


def svdf(params: IntegerParams, arrays: Sequence[Array | None]) -> tuple[Array, Array]:
    """(output int8, state from now on). arrays: input, weights_feature, weights_time, bias or None, state.

    Features are limited to the range of the state's type before its zero point is added, which may wrap.
    Source: internal/reference/svdf.h, EvalIntegerSVDF.
    """
    x, feature, time, bias, state = arrays
    assert x is not None
    assert feature is not None
    assert time is not None
    assert state is not None
    layout = params.layout
    dots = exact_matmul(x.astype(np.int32) - params.input_zero_point, feature.T)
    info = np.iinfo(params.state_type)
    features = requantize_and_clamp(
        params.requantizer, params.narrow(dots), params.to_state, 0, info.min, info.max, params.state_type
    )
    new = pushed(state, layout, features + params.state_type.type(params.state_zero_point))
    sums = ((new.astype(np.int64) - params.state_zero_point) * time).reshape(layout.batch, layout.units, -1).sum(axis=2)
    sums = params.narrow(sums if bias is None else sums + bias)
    output = requantize_and_clamp(
        params.requantizer, sums, params.to_output, params.output_zero_point, *INT8_RANGE, np.int8
    )
    return output, new.reshape(state.shape)
