"""Which operators the XNNPACK delegate computes as one, with other results, where LiteRT keeps the outputs only.

What else it fuses (a padding into a convolution, a clamp into what it limits, functions of codes into one table)
gives the results of the operators one by one. Not described: a MINIMUM or MAXIMUM that limits nothing (an infinity)
between squares and their sum, which LiteRT 2.3.0 leaves out first; and BATCH_MATMUL by itself of what TRANSPOSE
gives along other axes than the last two, whose left operand it then transposes, wrongly.
Source: google/XNNPACK, src/subgraph.c, xnn_subgraph_optimize.
"""

from __future__ import annotations

from dataclasses import replace

from refquant.kernels import reduction
from refquant.kernels.dense import batch_matmul_float_params
from refquant.kernels.kernel import Batching, Kernel, Node
from refquant.kernels.xnnpack_float_products import batch_matmul, batch_matmul_codes, batch_matmul_codes_params
from refquant.kernels.xnnpack_float_windows import mean_of_squares, sum_of_squares
from refquant.runtimes.runtime import Fusion

LEADING = Batching.LEADING


def _through(producer: Node, consumer: Node, slot: int) -> Node:
    """The consumer, which reads the producer's first input in the place of its output."""
    inputs = [*consumer.inputs]
    inputs[slot] = producer.input(0)
    return replace(consumer, inputs=tuple(inputs))


def _by_itself(node: Node) -> bool:
    """Whether both inputs are the same tensor."""
    return node.input(0) is node.input(1)


def _sum_of_squares(producer: Node, consumer: Node) -> Node | None:
    """SQUARE of float32, or MUL of a tensor by itself without an activation. optimize_common_subgraphs_…_to_square."""
    x = producer.input(0)
    square = producer.op == "SQUARE" or _by_itself(producer)
    plain = producer.options.get("fused_activation_function", "NONE") == "NONE"
    return _through(producer, consumer, 0) if x.type == "FLOAT32" and square and plain else None


def _product_of_transposed(producer: Node, consumer: Node) -> Node | None:
    """TRANSPOSE that exchanges the last two axes. optimize_common_subgraphs_gemm_rhs_transpose."""
    x, axes = producer.input(0), producer.value(1).reshape(-1).tolist()
    rank = len(axes)
    if (
        _by_itself(consumer)
        or x.type != "FLOAT32"
        or consumer.input(0).type != "FLOAT32"
        or axes != [*range(rank - 2), rank - 1, rank - 2]
    ):
        return None
    options = {**consumer.options, "adj_y": not consumer.options.get("adj_y", False)}
    return replace(_through(producer, consumer, 1), options=options)


def _product_of_codes(producer: Node, consumer: Node) -> Node | None:
    """DEQUANTIZE of int8 codes with zero point 0 that are no constant. rewrite_dequant_bmm_at."""
    x = producer.input(0)
    if _by_itself(consumer) and consumer.options.get("adj_x", False):
        return None  # what is transposed first reads the tensor, too
    if x.type != "INT8" or x.stored or consumer.input(0).type != "FLOAT32" or producer.scale_and_zero_point(x)[1]:
        return None
    return _through(producer, consumer, 1)


FUSIONS = (
    Fusion(
        ("SQUARE", "MUL"),
        {
            "SUM": Kernel(reduction.reduction_params, sum_of_squares, LEADING, (1,)),
            "MEAN": Kernel(reduction.reduction_params, mean_of_squares, LEADING, (1,)),
        },
        slot=0,
        joined=_sum_of_squares,
        alone=False,
    ),
    Fusion(
        ("TRANSPOSE",),
        {"BATCH_MATMUL": Kernel(batch_matmul_float_params, batch_matmul, LEADING)},
        slot=1,
        joined=_product_of_transposed,
        alone=True,
    ),
    Fusion(
        ("DEQUANTIZE",),
        {"BATCH_MATMUL": Kernel(batch_matmul_codes_params, batch_matmul_codes, LEADING)},
        slot=1,
        joined=_product_of_codes,
        alone=True,
    ),
)
