"""Diagonals of matrices: MATRIX_DIAG and MATRIX_SET_DIAG. The matrices are the last two axes; any type is moved."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from refquant.kernels.checks import expect_counts, expect_same_type
from refquant.kernels.elementwise import ShapeParams
from refquant.kernels.index_operands import per_sample, present, without_samples
from refquant.kernels.kernel import Node
from refquant.model.graph import Array


def matrix_diag_params(node: Node) -> ShapeParams:
    """A diagonal (..., n) becomes matrices (..., n, n). Errors: InvalidModel.

    Source: tflite/kernels/matrix_diag.cc, Prepare.
    """
    expect_counts(node, 1, 1)
    diagonal = node.input(0)
    expect_same_type(node, diagonal, node.outputs[0])
    if not diagonal.shape:
        raise node.invalid("a scalar is no diagonal")
    return ShapeParams(((*diagonal.shape, diagonal.shape[-1]),))


def matrix_diag(params: ShapeParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """output[..., i, j] = diagonal[..., i] where i = j, else 0. Source: tflite/kernels/matrix_diag.cc, FillDiagImpl."""
    diagonal = present(arrays)
    output = np.zeros((*diagonal.shape, diagonal.shape[-1]), diagonal.dtype)
    at = np.arange(diagonal.shape[-1])
    output[..., at, at] = diagonal
    return (output,)


def matrix_set_diag_params(node: Node) -> ShapeParams:
    """Matrices (..., rows, columns) and diagonals (..., min(rows, columns)).

    TFLite does not look at the diagonals' shape and type and reads what lies in memory; refquant refuses others.
    Errors: InvalidModel. Source: tflite/kernels/matrix_set_diag.cc, Prepare.
    """
    expect_counts(node, 2, 1)
    matrix, diagonal = node.input(0), node.input(1)
    expect_same_type(node, matrix, node.outputs[0])
    expect_same_type(node, matrix, diagonal)
    if len(matrix.shape) < 2 or diagonal.shape != (*matrix.shape[:-2], min(matrix.shape[-2:])):
        raise node.invalid(
            f"matrices {list(matrix.shape)} and diagonals {list(diagonal.shape)} do not fit: the matrices' last two "
            "axes must become the smaller of both"
        )
    return ShapeParams((matrix.shape,))


def matrix_set_diag(params: ShapeParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """output[..., i, j] = diagonal[..., i] where i = j, else matrix[..., i, j].

    arrays: the matrices and the diagonals. Source: tflite/kernels/matrix_set_diag.cc, FillDiagImpl.
    """
    shape = params.output_shapes[0]
    diagonal_shape = (*shape[:-2], min(shape[-2:]))
    (matrix, diagonal), batched = per_sample(arrays, (shape, diagonal_shape), len(shape))
    output = np.array(np.broadcast_to(matrix, (max(len(matrix), len(diagonal)), *shape)))
    at = np.arange(diagonal_shape[-1])
    output[..., at, at] = diagonal
    return (without_samples(output, batched),)
