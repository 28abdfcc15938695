"""RNN, one step, and UNIDIRECTIONAL_SEQUENCE_RNN: h = activation(weights x + recurrent weights h + bias).

In float32, and with weights of int8, which uint8 ones are read as.
Source: google-ai-edge/LiteRT, tflite/kernels/basic_rnn.cc, unidirectional_sequence_rnn.cc; internal/kernel_utils.cc,
RnnBatchStep.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from refquant.arithmetic.affine import Float32
from refquant.arithmetic.row_quantization import RowQuantizer, row_quantizer
from refquant.kernels.checks import expect_counts, expect_same_type
from refquant.kernels.hybrid import fused_activation
from refquant.kernels.kernel import Node, Shape
from refquant.kernels.recurrent import Sizes, constant, given
from refquant.kernels.recurrent_float import AddProduct
from refquant.kernels.recurrent_hybrid import Matrix, add_codes, codes_of, decode_matrix
from refquant.model.graph import Array

WEIGHTS, RECURRENT, BIAS, STATE = 1, 2, 3, 4
RANKS = {"RNN": 2, "UNIDIRECTIONAL_SEQUENCE_RNN": 3}


@dataclass(frozen=True, slots=True)
class RnnParams:
    """What the float32 kernel needs to run. `sizes`: one step of all rows for RNN."""

    output_shapes: tuple[Shape]
    sizes: Sizes
    weights: Float32
    recurrent: Float32
    bias: Float32
    activation: Callable[[Float32], Float32]
    add_product: AddProduct


@dataclass(frozen=True, slots=True)
class HybridRnnParams:
    """What the kernel with weights of int8 needs to run."""

    output_shapes: tuple[Shape]
    sizes: Sizes
    weights: Matrix
    recurrent: Matrix
    bias: Float32
    activation: Callable[[Float32], Float32]
    quantize: RowQuantizer


def _decode(node: Node) -> tuple[tuple[Shape], Sizes, Callable[[Float32], Float32]]:
    """(output shape, sizes, activation). Errors: InvalidModel for what TFLite's Prepare rejects."""
    expect_counts(node, 5, 1)
    x, weights, recurrent, bias, state = (node.input(index) for index in range(5))
    expect_same_type(node, x, node.outputs[0])
    if len(x.shape) != RANKS[node.op]:
        raise node.invalid(f"'{x.name}' has shape {list(x.shape)}; it must have {RANKS[node.op]} dimensions")
    time_major = node.op == "RNN" or bool(node.options.get("time_major", False))
    shape = x.shape if len(x.shape) == 3 else (1, *x.shape)
    steps, batch = shape[:2] if time_major else shape[1::-1]
    units = bias.shape[0] if bias.shape else 0
    if 0 in (*shape, units):
        raise node.unsupported(f"an input of shape {list(x.shape)} with {units} units has nothing to compute")
    for operand, expected in ((weights, (units, shape[2])), (recurrent, (units, units)), (bias, (units,))):
        if operand.shape != expected:
            raise node.invalid(f"'{operand.name}' has shape {list(operand.shape)} instead of {list(expected)}")
    if state.shape != (batch, units) or state.type != "FLOAT32" or not state.is_variable:
        raise node.invalid(f"'{state.name}' must be a variable of float32, of shape {[batch, units]}")
    sizes = Sizes(shape, time_major, batch, steps, shape[2], units, units)
    return ((*x.shape[:-1], units),), sizes, fused_activation(node)


def rnn_params(node: Node) -> RnnParams:
    """Checks and decodes RNN or UNIDIRECTIONAL_SEQUENCE_RNN: input, weights (units, k), recurrent weights, bias, state.

    Errors: InvalidModel for what TFLite's Prepare rejects; UnsupportedModel for weights that are no constants.
    """
    shapes, sizes, activation = _decode(node)
    weights, recurrent, bias = (constant(node, index, "FLOAT32") for index in (WEIGHTS, RECURRENT, BIAS))
    return RnnParams(shapes, sizes, weights, recurrent, bias, activation, node.arithmetic["RNN.add_product"])


def hybrid_rnn_params(node: Node) -> HybridRnnParams:
    """`rnn_params` with weights of int8 or uint8."""
    shapes, sizes, activation = _decode(node)
    type = node.input(WEIGHTS).type
    return HybridRnnParams(
        shapes,
        sizes,
        decode_matrix(node, WEIGHTS, type),
        decode_matrix(node, RECURRENT, type),
        constant(node, BIAS, "FLOAT32"),
        activation,
        row_quantizer(bool(node.options.get("asymmetric_quantize_inputs", False))),
    )


def rnn(params: RnnParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """(output, state). arrays: as the operator's inputs, all float32."""
    sums = params.add_product(params.weights, params.sizes.steps_of(given(arrays, 0)), params.bias)
    return _run(
        params,
        arrays,
        lambda step, h: params.add_product(params.recurrent, h, sums[step]),
    )


def hybrid_rnn(params: HybridRnnParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """(output, state). arrays: as the operator's inputs. Errors: InvalidInput for values that have no codes."""
    x = codes_of(params.sizes.steps_of(given(arrays, 0)), params.quantize)
    sums = add_codes(params.weights, x, params.bias)
    return _run(
        params,
        arrays,
        lambda step, h: add_codes(params.recurrent, codes_of(h, params.quantize), sums[step]),
    )


def _run(
    params: RnnParams | HybridRnnParams,
    arrays: Sequence[Array | None],
    summed: Callable[[int, Float32], Float32],
) -> tuple[Array, ...]:
    """summed(step, h): what goes into the activation."""
    sizes, state = params.sizes, given(arrays, STATE)
    h = state.reshape(*sizes.groups, sizes.n_output)
    outputs = np.empty((sizes.steps, *sizes.groups, sizes.n_output), np.float32)
    with np.errstate(all="ignore"):
        for step in range(sizes.steps):
            h = params.activation(summed(step, h))
            outputs[step] = h
    return sizes.sequence_of(outputs).reshape(params.output_shapes[0]), h.reshape(state.shape)
