"""UNIDIRECTIONAL_SEQUENCE_LSTM in integers: activations, weights and output state int8, gates and cell state int16.

Codes of a gate before its activation are Q3.12, and behind it Q0.15; with layer normalization the former have the
scale of an intermediate tensor. The cell's scale is a power of two. The option fused_activation_function is not looked
at: cell gate and cell go through tanh. Zero points of weights are not read.
Source: google-ai-edge/LiteRT, tflite/kernels/lstm_eval.cc, EvalInteger8x8_16, LstmStepInteger8x8_16.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.arithmetic.exact import Narrow, PreparedMatrix, exact_matmul, prepare_matrix
from refquant.arithmetic.fixed_point import Int64, rounding_divide_by_pot, saturate, wrap_int32
from refquant.arithmetic.fixed_point_int16 import INT16_MAX, logistic_table, looked_up, tanh_table
from refquant.arithmetic.inverse import inverse_sqrt_multiplier
from refquant.arithmetic.multiplier import (
    Multiplier,
    check_shift,
    multiply_by_quantized_multiplier,
    multiply_by_quantized_multiplier_in_vectors,
    quantize_multiplier,
)
from refquant.arithmetic.power_of_two import exact_log2
from refquant.kernels.checks import legacy_parameters
from refquant.kernels.kernel import Node, Operand, Shape
from refquant.kernels.recurrent import (
    CELL_STATE,
    GATES,
    INPUT,
    OUTPUT_STATE,
    PROJECTION_BIAS,
    PROJECTION_WEIGHTS,
    Sizes,
    constant,
    decode_sizes,
    expect_state_types,
    gate_names,
    given,
    has_layer_norm,
    has_peephole,
    is_coupled,
    optional_constant,
    state_arrays,
    states,
)
from refquant.model.graph import Array

CODE_MAGNITUDE = 128
INTERMEDIATES = 5  # what goes into the layer normalization of the gates, and the hidden value
HIDDEN = 4
GATE_SCALE = np.float32(2.0**-12)  # Q3.12
GATE_INTEGER_BITS = 3
TANH_INTEGER_BITS = range(7)  # that the runtime's tanh is built for
ONE_BITS = 15  # of a Q0.15
MAX_RIGHT_SHIFT = 31
RESOLUTION_BITS = 10  # that layer normalization adds to a mean
GUARD = 10000  # times the scale of the coefficients, for a variance of 0
HALF_STEP = np.int64(1) << (RESOLUTION_BITS - 1)


@dataclass(frozen=True, slots=True)
class Matrix:
    """codes -> multiplier * (sum of weights * code + bias). weights: (k, m).

    `bias`: (m,), zero points included; `multiplier`: of m elements or one.
    """

    weights: PreparedMatrix
    bias: Int64
    multiplier: Multiplier


@dataclass(frozen=True, slots=True)
class Peephole:
    """cell -> weights * cell, times a multiplier."""

    weights: Int64
    multiplier: Multiplier


@dataclass(frozen=True, slots=True)
class LayerNorm:
    """Coefficients, bias and the multiplier to Q3.12; `guard` stands for a variance of 0."""

    coefficients: Int64
    bias: Int64
    multiplier: Multiplier
    guard: int


@dataclass(frozen=True, slots=True)
class Gate:
    """What a gate has besides its matrices."""

    peephole: Peephole | None
    layer_norm: LayerNorm | None


@dataclass(frozen=True, slots=True)
class IntegerLstmParams:
    """What the int8 kernel needs to run.

    `weights` and `recurrent` hold the matrices of all gates side by side. `cell_exponent`: log2 of the cell's scale.
    `tanh`: of the cell; None for a scale that TFLite has none for, and where it takes the input gate instead, which
    lies where the result should be. `hidden`: output gate * tanh(cell) to its codes, of zero point `hidden_zero_point`.
    `cell_clip`, `proj_clip`: in codes; 0 is none.
    """

    output_shapes: tuple[Shape]
    sizes: Sizes
    gates: Mapping[str, Gate]
    weights: Matrix
    recurrent: Matrix
    coupled: bool
    cell_exponent: int
    tanh: NDArray[np.int16] | None
    cell_clip: int
    hidden: Multiplier
    hidden_zero_point: int
    projection: Matrix | None
    proj_clip: int
    output_zero_point: int
    narrow: Narrow


def int8_lstm_params(node: Node) -> IntegerLstmParams:
    """Checks and decodes UNIDIRECTIONAL_SEQUENCE_LSTM on int8: weights int8, biases int32, the others int16.

    Errors: InvalidModel for what TFLite's Prepare rejects; UnsupportedModel for weights that are no constants, where
    TFLite would compute with what it has not set, and multipliers whose shift is undefined behaviour.
    Source: unidirectional_sequence_lstm.cc, Prepare, PopulateQuantizedLstmParams8x8_16,
    PopulatePrecomputedZPTimesWeightsWithBias.
    """
    sizes = decode_sizes(node)
    expect_state_types(node, "INT8", "INT16")
    _check_intermediates(node)
    if sizes.n_output > sizes.n_cell and has_peephole(node):
        raise node.unsupported(
            f"with an output of {sizes.n_output} for {sizes.n_cell} cells TFLite reads as many peephole weights"
        )
    exponent = _cell_exponent(node)
    projection = node.optional(PROJECTION_WEIGHTS) is not None
    hidden_scale, hidden_zero_point = _first(node, node.intermediates[HIDDEN])
    output_scale, output_zero_point = legacy_parameters(node.input(OUTPUT_STATE))
    return IntegerLstmParams(
        (sizes.output_shape,),
        sizes,
        {name: _gate(node, name, exponent) for name in gate_names(node)},
        _side_by_side(node, INPUT, [GATES[name].weights for name in gate_names(node)], not has_layer_norm(node)),
        _side_by_side(node, OUTPUT_STATE, [GATES[name].recurrent for name in gate_names(node)], False),
        is_coupled(node),
        exponent,
        tanh_table(exponent + ONE_BITS) if exponent + ONE_BITS in TANH_INTEGER_BITS else None,
        _clip(node, "cell_clip", node.input(CELL_STATE), 16),
        _multiplier(node, np.float32(2.0**-15 / np.float64(hidden_scale) * 2.0**-15)),
        -hidden_zero_point if projection else hidden_zero_point,
        _matrix(
            node,
            PROJECTION_WEIGHTS,
            -hidden_zero_point,
            optional_constant(node, PROJECTION_BIAS, "INT32"),
            hidden_scale,
            np.float32(output_scale),
        )
        if projection
        else None,
        _clip(node, "proj_clip", node.outputs[0], 8),
        output_zero_point,
        node.narrow,
    )


def _check_intermediates(node: Node) -> None:
    if len(node.intermediates) != INTERMEDIATES:
        raise node.invalid(f"has {len(node.intermediates)} intermediate tensors; on int8 it needs {INTERMEDIATES}")


def _cell_exponent(node: Node) -> int:
    """log2 of the cell state's scale.

    Errors: UnsupportedModel where the runtime would go on without parameters, where the shifts that follow from it are
    undefined behaviour, and where it would take for tanh(cell) what happens to be in its memory: see IntegerLstmParams.
    """
    state = node.input(CELL_STATE)
    scale, _ = legacy_parameters(state)
    exponent = exact_log2(scale) if scale > 0 else None
    if exponent is None or not 0 <= exponent + 2 * ONE_BITS <= MAX_RIGHT_SHIFT:
        raise node.unsupported(
            f"the scale of the cell state '{state.name}' is {scale!r}; built are the powers of two from 2^-30 to 2"
        )
    if is_coupled(node) and exponent + ONE_BITS not in TANH_INTEGER_BITS:
        raise node.unsupported(
            f"the scale of the cell state '{state.name}' is {scale!r}, for which TFLite has no tanh: without an input "
            "gate its result is undefined. It has one for the powers of two from 2^-15 to 2^-9"
        )
    return exponent


def _first(node: Node, operand: Operand) -> tuple[np.float32, int]:
    """The first scale and zero point. Errors: UnsupportedModel for none, with which TFLite goes on all the same."""
    q = operand.quantization
    if q is None or not q.scale or not q.scale[0] > 0:
        raise node.unsupported(f"'{operand.name}' needs a scale above 0")
    return np.float32(q.scale[0]), q.zero_point[0] if q.zero_point else 0


def _clip(node: Node, option: str, operand: Operand, bits: int) -> int:
    """A limit in codes: limit / scale cut off, and limited itself."""
    limit = np.float32(node.options.get(option, 0.0))
    if not limit > 0:
        return 0
    scale, _ = _first(node, operand)
    return int(np.clip(limit / scale, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1))


def _gate_scale(node: Node, name: str) -> np.float32:
    """The scale of a gate before its activation, and before layer normalization."""
    if not has_layer_norm(node):
        return GATE_SCALE
    return _first(node, node.intermediates[tuple(GATES).index(name)])[0]


def _gate(node: Node, name: str, exponent: int) -> Gate:
    operands, scale = GATES[name], _gate_scale(node, name)
    bias = constant(node, operands.bias, "INT32")
    peephole = None
    if has_peephole(node) and operands.peephole is not None:
        weights = constant(node, operands.peephole, "INT16")
        real, _ = legacy_parameters(node.input(operands.peephole))
        multiplier = _multiplier(node, np.float32(2.0**exponent * np.float64(real) / np.float64(scale)))
        peephole = Peephole(weights.astype(np.int64), multiplier)
    return Gate(peephole, _layer_norm(node, operands.layer_norm, bias) if has_layer_norm(node) else None)


def _side_by_side(node: Node, from_: int, indices: Sequence[int], with_bias: bool) -> Matrix:
    """The matrices of all gates that meet the codes of one operand, as one. indices: theirs."""
    real, zero_point = legacy_parameters(node.input(from_))
    matrices = []
    for name, index in zip(gate_names(node), indices, strict=True):
        bias = constant(node, GATES[name].bias, "INT32") if with_bias else None
        matrices.append(_matrix(node, index, zero_point, bias, np.float32(real), _gate_scale(node, name)))
    columns = np.concatenate([matrix.weights.integers for matrix in matrices], axis=1)
    multipliers = [[each.multiplier.multiplier, each.multiplier.shift] for each in matrices]
    multiplier, shift = np.repeat(np.array(multipliers)[..., 0], len(matrices[0].bias), axis=0).T
    return Matrix(
        prepare_matrix(columns, CODE_MAGNITUDE),
        np.concatenate([matrix.bias for matrix in matrices]),
        Multiplier(multiplier, shift),
    )


def _matrix(
    node: Node, index: int, zero_point: int, bias: Array | None, from_scale: np.float32, to_scale: np.float32
) -> Matrix:
    """Weights (m, k) of int8 that meet codes of `from_scale` and that zero point and give codes of `to_scale`."""
    weights = constant(node, index, "INT8")
    if weights.ndim != 2:
        raise node.invalid(f"'{node.input(index).name}' (input {index}) must be a matrix on int8")
    scale, _ = legacy_parameters(node.input(index))
    sums = weights.sum(axis=1, dtype=np.int64) * -zero_point
    total = wrap_int32(sums + (0 if bias is None else bias.astype(np.int64)))
    with np.errstate(all="ignore"):
        multiplier = _multiplier(node, np.float32(scale) * from_scale / to_scale)
    return Matrix(prepare_matrix(weights.T.astype(np.int16), CODE_MAGNITUDE), total, multiplier)


def _multiplier(node: Node, real: np.float32) -> Multiplier:
    if not np.isfinite(real):
        raise node.unsupported(f"the scales give a multiplier of {real}")
    return check_shift(quantize_multiplier(float(real)), node.place)


def _layer_norm(node: Node, index: int, bias: Array) -> LayerNorm:
    coefficients = constant(node, index, "INT16")
    scale, _ = legacy_parameters(node.input(index))
    multiplier = quantize_multiplier(float(np.float32(scale)))
    multiplier = check_shift(Multiplier(multiplier.multiplier, multiplier.shift + np.int32(12)), node.place)
    guard = max(1, int(np.float32(GUARD) * np.float32(scale)))
    return LayerNorm(coefficients.astype(np.int64), bias.astype(np.int64), multiplier, guard)


def int8_lstm(params: IntegerLstmParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """(output int8, output state int8, cell state int16) of a sequence. arrays: as the operator's inputs.

    Source: lstm_eval.cc, EvalInteger8x8_16.
    """
    sizes = params.sizes
    x = sizes.steps_of(given(arrays, INPUT))
    h, c = (state.astype(np.int64) for state in states(sizes, arrays))
    sums = saturate(_product(params, params.weights, x), 16)
    outputs = np.empty((sizes.steps, *sizes.groups, sizes.n_output), np.int8)
    for step in range(sizes.steps):
        h, c = _step(params, sums[step], h, c)
        outputs[step] = h
    return sizes.sequence_of(outputs), *state_arrays(arrays, h.astype(np.int8), c.astype(np.int16))


def _product(params: IntegerLstmParams, matrix: Matrix, codes: NDArray[Any]) -> Int64:
    """round(multiplier * (sum of weights * code + bias)). codes: (..., k). Returns (..., m)."""
    sums = exact_matmul(codes, matrix.weights, CODE_MAGNITUDE).astype(np.int64)
    return multiply_by_quantized_multiplier(
        params.narrow(sums + matrix.bias), matrix.multiplier.multiplier, matrix.multiplier.shift
    )


def _step(params: IntegerLstmParams, sums: Int64, h: Int64, c: Int64) -> tuple[Int64, Int64]:
    """(output state, cell state) after one step. sums: what the input gives for all gates, side by side."""
    sums = saturate(wrap_int32(_product(params, params.recurrent, h) + sums), 16)
    totals = dict(zip(params.gates, np.split(sums, len(params.gates), axis=-1), strict=True))

    def gate(name: str, table: NDArray[np.int16], c: Int64) -> Int64:
        parts, total = params.gates[name], totals[name]
        if parts.peephole is not None:
            total = _with_peephole(params, parts.peephole, total, c)
        if parts.layer_norm is not None:
            total = _normalized(params, parts.layer_norm, total)
        return looked_up(table, total)

    logistic = logistic_table(GATE_INTEGER_BITS)
    input_gate = None if params.coupled else gate("input", logistic, c)
    forget_gate = gate("forget", logistic, c)
    cell_gate = gate("cell", tanh_table(GATE_INTEGER_BITS), c)
    c = _updated(params, c, INT16_MAX - forget_gate if input_gate is None else input_gate, forget_gate, cell_gate)
    output_gate = gate("output", logistic, c)
    tanh = input_gate if params.tanh is None else looked_up(params.tanh, c)
    assert tanh is not None
    hidden = multiply_by_quantized_multiplier(output_gate * tanh, params.hidden.multiplier, params.hidden.shift)
    h = saturate(wrap_int32(hidden + params.hidden_zero_point), 8)
    if params.projection is not None:
        h = saturate(wrap_int32(_product(params, params.projection, h) + params.output_zero_point), 8)
        h = _clipped(h, params.proj_clip)
    return h, c


def _updated(params: IntegerLstmParams, c: Int64, input_gate: Int64, forget_gate: Int64, cell_gate: Int64) -> Int64:
    """The new cell, clip(forget gate * c + input gate * cell gate). Source: UpdateLstmCellInteger."""
    kept = _as_int16(rounding_divide_by_pot(forget_gate * c, ONE_BITS))
    added = _as_int16(rounding_divide_by_pot(input_gate * cell_gate, 2 * ONE_BITS + params.cell_exponent))
    return _clipped(saturate(kept + added, 16), params.cell_clip)


def _as_int16(x: Int64) -> Int64:
    return x.astype(np.int16).astype(np.int64)


def _clipped(x: Int64, limit: int) -> Int64:
    """x between -limit and limit, in codes whatever their zero point; 0 means no limit."""
    return np.clip(x, -limit, limit) if limit > 0 else x


def _with_peephole(params: IntegerLstmParams, peephole: Peephole, total: Int64, c: Int64) -> Int64:
    """total + weights * cell, limited to int16.

    The runtime steps through rows of as many cells as there are outputs. With a projection to fewer, the weights move
    along the cells from row to row, and the last cells of a group see none.
    Source: CalculateLstmGateInteger8x8_16, VectorBatchVectorCwiseProductAccumulate.
    """
    groups, rows = params.sizes.groups
    size = rows * params.sizes.n_output
    flat, cells = total.reshape(groups, -1).copy(), c.reshape(groups, -1)[:, :size]
    products = (peephole.weights[: params.sizes.n_output] * cells.reshape(groups, rows, -1)).reshape(groups, rows, -1)
    added = multiply_by_quantized_multiplier_in_vectors(
        products, peephole.multiplier.multiplier, peephole.multiplier.shift
    )
    flat[:, :size] = saturate(wrap_int32(flat[:, :size] + added.reshape(groups, -1)), 16)
    return flat.reshape(total.shape)


def _normalized(params: IntegerLstmParams, norm: LayerNorm, total: Int64) -> Int64:
    """(total - mean) / deviation * coefficients + bias along the last axis, as Q3.12.

    The variance is a difference of two large numbers, one of which is rounded unless the number of cells is a power of
    two. Source: tflite/kernels/internal/reference/portable_tensor_utils.cc, PortableApplyLayerNorm.
    """
    size, square = total.shape[-1], 1 << 2 * RESOLUTION_BITS
    mean = _cut(total.sum(axis=-1, keepdims=True) << RESOLUTION_BITS, size)
    variance = (total * total).sum(axis=-1, keepdims=True) * (square // size) - mean * mean
    variance = wrap_int32(_cut(variance, square))
    multiplier, shift = inverse_sqrt_multiplier(np.where(variance < 1, norm.guard, variance))
    centred = wrap_int32((total << RESOLUTION_BITS) - mean)
    rescaled = multiply_by_quantized_multiplier(centred, multiplier, shift)
    weighted = rescaled * norm.coefficients + norm.bias  # in 64 bits
    weighted = wrap_int32(_cut(weighted + np.where(weighted > 0, HALF_STEP, -HALF_STEP), 1 << RESOLUTION_BITS))
    return saturate(multiply_by_quantized_multiplier(weighted, norm.multiplier.multiplier, norm.multiplier.shift), 16)


def _cut(x: Int64, divisor: int) -> Int64:
    """x / divisor, cut off towards 0."""
    return np.asarray(np.sign(x) * (np.abs(x) // divisor))
