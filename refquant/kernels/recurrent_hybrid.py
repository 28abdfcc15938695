"""UNIDIRECTIONAL_SEQUENCE_LSTM in float32 with weights of int8 (dynamic range).

The input of every step, the output state and what a projection takes get a scale a row, and maybe a zero point, while
the model runs; what lies between is recurrent_float.py's. Weights of uint8 are read as int8.
Source: google-ai-edge/LiteRT, tflite/kernels/lstm_eval.cc, EvalHybrid, LstmStepHybrid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refquant.arithmetic.affine import Float32
from refquant.arithmetic.row_quantization import RowQuantizer, row_quantizer, scale_by_product
from refquant.kernels.checks import legacy_parameters
from refquant.kernels.hybrid import DenseWeights, dense_sums, dense_weights
from refquant.kernels.kernel import Node, Shape
from refquant.kernels.recurrent import (
    GATES,
    INPUT,
    PROJECTION_BIAS,
    PROJECTION_WEIGHTS,
    constant,
    given,
    optional_constant,
    state_arrays,
    states,
)
from refquant.kernels.recurrent_float import (
    Cell,
    all_zeros,
    clip,
    decode_cell,
    start_of,
    step_of_cell,
    with_diagonal,
)
from refquant.model.graph import Array


@dataclass(frozen=True, slots=True)
class Matrix:
    """Weights (m, k) of int8, ready to run, and their scale; 0 where they have not exactly one."""

    weights: DenseWeights
    scale: Float32


@dataclass(frozen=True, slots=True)
class HybridLstmParams:
    """What the kernel needs to run. `weights` and `recurrent` by gate; a recurrent None is a diagonal matrix."""

    output_shapes: tuple[Shape]
    cell: Cell
    quantize: RowQuantizer
    weights: Mapping[str, Matrix]
    recurrent: Mapping[str, Matrix | None]
    projection: Matrix | None
    projection_bias: Float32


@dataclass(frozen=True, slots=True)
class Codes:
    """Values as codes, in rows (n, k): see QuantizedRows. `idle`: the groups that are all zeros, (..., groups)."""

    shape: Shape
    centred: NDArray[np.int16]
    scale: Float32
    zero_point: NDArray[np.int32]
    idle: NDArray[np.bool_]


def hybrid_lstm_params(node: Node) -> HybridLstmParams:
    """Checks and decodes UNIDIRECTIONAL_SEQUENCE_LSTM with weights of int8 or uint8; diagonal ones are float32.

    Errors: InvalidModel for what TFLite's Prepare rejects; UnsupportedModel for weights that are no constants.
    Source: unidirectional_sequence_lstm.cc, Prepare.
    """
    type = node.input(GATES["output"].weights).type
    cell = decode_cell(node, type)
    bias = optional_constant(node, PROJECTION_BIAS, "FLOAT32")
    return HybridLstmParams(
        (cell.sizes.output_shape,),
        cell,
        row_quantizer(bool(node.options.get("asymmetric_quantize_inputs", False))),
        {name: decode_matrix(node, GATES[name].weights, type) for name in cell.gates},
        {
            name: None if gate.recurrent_diagonal is not None else decode_matrix(node, GATES[name].recurrent, type)
            for name, gate in cell.gates.items()
        },
        None if node.optional(PROJECTION_WEIGHTS) is None else decode_matrix(node, PROJECTION_WEIGHTS, type),
        np.zeros(cell.sizes.n_output, np.float32) if bias is None else bias,
    )


def decode_matrix(node: Node, index: int, type: str) -> Matrix:
    """A constant operand of int8, or uint8, which is read as int8. Errors: InvalidModel, UnsupportedModel."""
    scale, _ = legacy_parameters(node.input(index))
    return Matrix(dense_weights(node, constant(node, index, type).view(np.int8)), np.full(1, scale, np.float32))


def hybrid_lstm(params: HybridLstmParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """(output, output state, cell state) of a sequence. arrays: as the operator's inputs; what is computed is float32.

    Errors: InvalidInput for values that have no codes. Source: lstm_eval.cc, EvalHybrid.
    """
    cell, sizes = params.cell, params.cell.sizes
    x = codes_of(sizes.steps_of(given(arrays, INPUT)), params.quantize)
    h, c = states(sizes, arrays)
    outputs = np.empty((sizes.steps, *sizes.groups, sizes.n_output), np.float32)
    with np.errstate(all="ignore"):
        sums = {name: add_codes(matrix, x, start_of(cell.gates[name])) for name, matrix in params.weights.items()}
        for step in range(sizes.steps):
            codes = codes_of(h, params.quantize)

            def before(name: str, h: Float32 = h, codes: Codes = codes, step: int = step) -> Float32:
                """What the matrices give for a gate."""
                matrix, total = params.recurrent[name], sums[name][step]
                if matrix is not None:
                    return add_codes(matrix, codes, total)
                return np.where(codes.idle[:, np.newaxis, np.newaxis], total, with_diagonal(cell.gates[name], h, total))

            hidden, c = step_of_cell(cell, before, c, x.idle[step], None)
            h = hidden
            if params.projection is not None:
                projected = add_codes(params.projection, codes_of(hidden, params.quantize), params.projection_bias)
                h = clip(projected, cell.proj_clip)
            outputs[step] = h
    return sizes.sequence_of(outputs), *state_arrays(arrays, h, c)


def codes_of(values: Float32, quantize: RowQuantizer) -> Codes:
    """values (..., groups, rows, k) as codes, each row with its own scale."""
    rows = quantize(values.reshape(-1, values.shape[-1]))
    return Codes(values.shape[:-1], rows.centred, rows.scale, rows.zero_point, all_zeros(values))


def add_codes(matrix: Matrix, codes: Codes, total: Float32) -> Float32:
    """total + sum of weights * (code - zero_point) * (scale of weights * scale of row); total for a group of zeros."""
    sums = dense_sums(codes.centred, codes.zero_point, matrix.weights)
    product = scale_by_product(sums, matrix.scale, codes.scale[:, np.newaxis]).reshape(*codes.shape, -1)
    return np.where(codes.idle[..., np.newaxis, np.newaxis], total, total + product)
