"""UNIDIRECTIONAL_SEQUENCE_LSTM as TensorFlow Lite Micro computes it, of dense layers and products as it has them.

The standard form only: four gates, no peephole, no projection, no layer normalization. A gate is
activation(dense(x) + dense(h)), each term limited to the range of its type. In integers activations are int8 or int16,
weights int8, the cell int16; codes of a gate are Q3.12 before and Q0.15 behind its activation, which is a table.
Source: tensorflow/tflite-micro, tensorflow/lite/micro/kernels/unidirectional_sequence_lstm.cc, lstm_eval.h,
lstm_eval.cc, lstm_eval_common.cc.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from refquant.arithmetic.affine import Float32
from refquant.arithmetic.exact import Narrow, PreparedMatrix, checked_int64, exact_matmul, prepare_matrix
from refquant.arithmetic.fixed_point import Int64, saturate
from refquant.arithmetic.float_product import FloatProduct
from refquant.arithmetic.interpolation import logistic_int16, tanh_int16
from refquant.arithmetic.requantize import (
    DOUBLE_ROUNDING,
    INT64_SINGLE_ROUNDING,
    Record,
    Requantizer,
    effective_scale_float64,
)
from refquant.kernels.activation import clamp_float, finish_float, float_activation_range
from refquant.kernels.checks import legacy_parameters
from refquant.kernels.kernel import Node, Shape
from refquant.kernels.recurrent import (
    CELL_STATE,
    GATES,
    INPUT,
    OUTPUT_STATE,
    PROJECTION_WEIGHTS,
    Sizes,
    constant,
    decode_sizes,
    expect_state_types,
    given,
    has_layer_norm,
    has_peephole,
    is_coupled,
    state_arrays,
    states,
)
from refquant.model.graph import DTYPES, Array

INPUT_COUNT = 24
GATE_SCALE = 2.0**-12  # Q3.12
ONE_SCALE = 2.0**-15  # Q0.15
FRACTION_BITS = 12
LOW, HIGH = float_activation_range("NONE")


def _decode(node: Node) -> Sizes:
    """The sizes. Errors: InvalidModel for what Prepare rejects."""
    if len(node.inputs) != INPUT_COUNT:
        raise node.invalid(f"has {len(node.inputs)} inputs; TensorFlow Lite Micro takes {INPUT_COUNT}")
    variants = {
        "a peephole": has_peephole(node),
        "a projection": node.optional(PROJECTION_WEIGHTS) is not None,
        "layer normalization": has_layer_norm(node),
        "coupled gates": is_coupled(node),
    }
    for name, there in variants.items():
        if there:
            raise node.invalid(f"it has {name}, which TensorFlow Lite Micro does not take")
    for operands in GATES.values():
        if len(node.input(operands.recurrent).shape) != 2:
            raise node.invalid(f"'{node.input(operands.recurrent).name}' must be a matrix")
    if any(0 not in operand.shape for operand in node.intermediates):
        raise node.invalid("an intermediate tensor has elements; TensorFlow Lite Micro takes it without only")
    if len(node.input(OUTPUT_STATE).shape) != 2:
        raise node.unsupported(f"the state '{node.input(OUTPUT_STATE).name}' must have 2 dimensions")
    return decode_sizes(node)


def _has_tanh(node: Node) -> bool:
    """Whether the cell gate has an activation: any but TANH is left out. The cell goes through tanh all the same."""
    return bool(node.options.get("fused_activation_function", "NONE") == "TANH")


# float32 ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FloatParams:
    """What the float32 kernel needs to run. Weights (k, n_cell) and biases by gate; `cell_gate_tanh`: see _has_tanh."""

    output_shapes: tuple[Shape]
    sizes: Sizes
    weights: Mapping[str, Float32]
    recurrent: Mapping[str, Float32]
    biases: Mapping[str, Float32]
    cell_gate_tanh: bool
    cell_clip: np.float32
    product: FloatProduct
    logistic: Callable[[Float32], Float32]
    tanh: Callable[[Float32], Float32]


def float_params(node: Node) -> FloatParams:
    """Checks and decodes the operator with all operands in float32. Errors: see _decode."""
    sizes = _decode(node)
    expect_state_types(node, "FLOAT32", "FLOAT32")

    def by_gate(operand: str) -> dict[str, Float32]:
        return {name: constant(node, getattr(gate, operand), "FLOAT32").T for name, gate in GATES.items()}

    return FloatParams(
        (sizes.output_shape,),
        sizes,
        by_gate("weights"),
        by_gate("recurrent"),
        by_gate("bias"),
        _has_tanh(node),
        np.float32(node.options.get("cell_clip", 0.0)),
        node.arithmetic["float.product"],
        node.arithmetic["LOGISTIC.function"],
        node.arithmetic["TANH.function"],
    )


def float_lstm(params: FloatParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """(output, output state, cell state) of a sequence. arrays: as the operator's inputs, all float32."""
    sizes = params.sizes
    x = sizes.steps_of(given(arrays, INPUT))
    h, c = states(sizes, arrays)
    outputs = np.empty((sizes.steps, *sizes.groups, sizes.n_output), np.float32)
    with np.errstate(all="ignore"):
        for step in range(sizes.steps):
            h, c = _float_step(params, x[step], h, c)
            outputs[step] = h
    return sizes.sequence_of(outputs), *state_arrays(arrays, h, c)


def _float_step(params: FloatParams, x: Float32, h: Float32, c: Float32) -> tuple[Float32, Float32]:
    """(output state, cell state) after one step."""
    sums = {
        name: _dense(params.product, x, params.weights[name], params.biases[name])
        + _dense(params.product, h, params.recurrent[name], None)
        for name in GATES
    }
    cell_gate = params.tanh(sums["cell"]) if params.cell_gate_tanh else sums["cell"]
    c = _clamped(params.logistic(sums["forget"]) * c) + _clamped(params.logistic(sums["input"]) * cell_gate)
    if params.cell_clip > 0:
        c = np.maximum(np.minimum(c, params.cell_clip), -params.cell_clip)
    return _clamped(params.tanh(c) * params.logistic(sums["output"])), c


def _dense(product: FloatProduct, x: Float32, weights: Float32, bias: Float32 | None) -> Float32:
    """x @ weights + bias, limited to finite numbers. x: (groups, rows, k)."""
    total = np.empty((*x.shape[:-1], weights.shape[1]), np.float32)
    product(x, weights, total)
    finish_float(total.reshape(-1, weights.shape[1]), bias, LOW, HIGH)
    return total


def _clamped(x: Float32) -> Float32:
    return clamp_float(x, LOW, HIGH)


# int8 and int16 -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Dense:
    """codes -> round(multiplier * (sum of weights * code + constant)). weights: (k, n_cell); constant: (n_cell,)."""

    weights: PreparedMatrix
    constant: Int64
    record: Record


@dataclass(frozen=True, slots=True)
class IntegerParams:
    """What the integer kernel needs to run.

    `dense`: what requantizes the dense layers. `kept`, `added`, `hidden`: the multipliers of forget gate * cell,
    input gate * cell gate and output gate * tanh(cell). `cell_gate_tanh`: see _has_tanh. `cell_exponent`: about log2 of
    the cell's scale. `cell_clip`: in codes, 0 is none.
    """

    output_shapes: tuple[Shape]
    sizes: Sizes
    codes: str
    weights: Mapping[str, Dense]
    recurrent: Mapping[str, Dense]
    dense: Requantizer
    narrow: Narrow
    kept: Record
    added: Record
    hidden: Record
    hidden_zero_point: int
    cell_gate_tanh: bool
    cell_exponent: int
    cell_clip: int


def integer_params(node: Node) -> IntegerParams:
    """Checks and decodes the operator with activations in int8 and biases in int32, or int16 and int64.

    The hidden value has the scale of the output state; intermediate tensors are not looked at. Weights may have a zero
    point. Errors: see _decode; UnsupportedModel for weights with several scales and undefined multipliers.
    """
    codes = node.input(INPUT).type
    sizes = _decode(node)
    expect_state_types(node, codes, "INT16")
    requantizer, bias_type = (DOUBLE_ROUNDING, "INT32") if codes == "INT8" else (INT64_SINGLE_ROUNDING, "INT64")

    def by_gate(operand: str, from_: int) -> dict[str, Dense]:
        biases = {name: constant(node, gate.bias, bias_type) for name, gate in GATES.items()}
        return {
            name: _prepare_dense(
                node, from_, getattr(gate, operand), biases[name] if operand == "weights" else None, requantizer
            )
            for name, gate in GATES.items()
        }

    cell_scale, _ = node.scale_and_zero_point(node.input(CELL_STATE))
    hidden_scale, hidden_zero_point = node.scale_and_zero_point(node.input(OUTPUT_STATE))
    if not (cell_scale > 0 and hidden_scale > 0):
        raise node.unsupported("the scales of the states must be above 0")

    def multiplier(a: float, b: float, to: float) -> Record:
        return DOUBLE_ROUNDING.prepare(effective_scale_float64(a, b, to), node.place)

    return IntegerParams(
        (sizes.output_shape,),
        sizes,
        codes,
        by_gate("weights", INPUT),
        by_gate("recurrent", OUTPUT_STATE),
        requantizer,
        node.narrow if codes == "INT8" else checked_int64,
        multiplier(ONE_SCALE, cell_scale, cell_scale),
        multiplier(ONE_SCALE, ONE_SCALE, cell_scale),
        multiplier(ONE_SCALE, ONE_SCALE, hidden_scale),
        hidden_zero_point,
        _has_tanh(node),
        int(np.round(np.log2(cell_scale))),
        _clip(node, cell_scale),
    )


def _prepare_dense(node: Node, from_: int, index: int, bias: Array | None, requantizer: Requantizer) -> Dense:
    """A matrix that meets the codes of operand `from_`."""
    weights = constant(node, index, "INT8")
    q = node.input(index).quantization
    if q is None or len(q.scale) != 1:
        raise node.unsupported(f"'{node.input(index).name}' (input {index}) needs one scale")
    scale, zero_point = legacy_parameters(node.input(index))
    from_scale, from_zero_point = node.scale_and_zero_point(node.input(from_))
    columns = weights.T.astype(np.int16) - np.int16(zero_point)
    constants: Int64 = -from_zero_point * columns.sum(axis=0, dtype=np.int64)
    record = requantizer.prepare(effective_scale_float64(from_scale, scale, GATE_SCALE), node.place)
    magnitude = -int(np.iinfo(DTYPES[node.input(from_).type]).min)
    return Dense(prepare_matrix(columns, magnitude), constants if bias is None else constants + bias, record)


def _clip(node: Node, scale: float) -> int:
    """The option cell_clip in codes, cut off; 0 for none."""
    limit = float(node.options.get("cell_clip", 0.0))
    return int(np.clip(limit / scale, -(2.0**15), 2.0**15 - 1)) if limit > 0 else 0


def integer_lstm(params: IntegerParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """(output, output state, cell state int16) of a sequence. arrays: as the operator's inputs."""
    sizes = params.sizes
    x = sizes.steps_of(given(arrays, INPUT))
    h, c = (state.astype(np.int64) for state in states(sizes, arrays))
    outputs = np.empty((sizes.steps, *sizes.groups, sizes.n_output), DTYPES[params.codes])
    for step in range(sizes.steps):
        h, c = _integer_step(params, x[step], h, c)
        outputs[step] = h
    return sizes.sequence_of(outputs), *state_arrays(arrays, h.astype(outputs.dtype), c.astype(np.int16))


def _integer_step(params: IntegerParams, x: Array, h: Int64, c: Int64) -> tuple[Int64, Int64]:
    """(output state, cell state) after one step."""
    sums = {
        name: saturate(_product(params, params.weights[name], x) + _product(params, params.recurrent[name], h), 16)
        for name in GATES
    }
    forget_gate, input_gate, output_gate = (logistic_int16(3 * sums[name]) for name in ("forget", "input", "output"))
    kept = saturate(DOUBLE_ROUNDING.apply(forget_gate * c, params.kept), 16)
    cell_gate = tanh_int16(3 * sums["cell"]) if params.cell_gate_tanh else sums["cell"]
    added = saturate(DOUBLE_ROUNDING.apply(input_gate * cell_gate, params.added), 16)
    c = saturate(kept + added, 16)
    if params.cell_clip > 0:
        c = np.clip(c, -params.cell_clip, params.cell_clip)
    hidden = DOUBLE_ROUNDING.apply(_tanh_of_cell(c, params.cell_exponent) * output_gate, params.hidden)
    return saturate(hidden + params.hidden_zero_point, 8 if params.codes == "INT8" else 16), c


def _product(params: IntegerParams, dense: Dense, codes: Array) -> Int64:
    """The dense layer, as int16 values."""
    sums = exact_matmul(codes, dense.weights).astype(np.int64) + dense.constant
    return saturate(params.dense.apply(params.narrow(sums), dense.record), 16)


def _tanh_of_cell(c: Int64, exponent: int) -> Int64:
    """tanh of the cell, 3/4 of whose codes are shifted to the table's steps."""
    left = FRACTION_BITS + exponent
    return tanh_int16(3 * c << left if left >= 0 else (3 * c + (1 << -left - 1)) >> -left)
