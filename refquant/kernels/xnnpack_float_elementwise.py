"""Elementwise float32 ops of a processor that counts denormal numbers as 0, with the operands as XNNPACK orders them.

Source: google/XNNPACK, src/f32-vbinary/, src/f32-vunary/, src/f32-vlrelu/; src/operators/binary-elementwise-nd.c.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from typing import Any

import numpy as np

from refquant.arithmetic import vector_functions
from refquant.arithmetic.flushing import flush_denormals
from refquant.kernels import binary, unary
from refquant.kernels.elementwise import ShapeParams, expect_unary
from refquant.kernels.kernel import Node, Operand, Shape
from refquant.model.graph import Array


def _flushing(function: Callable[..., Array]) -> Callable[..., Array]:
    """The function, with a zero of the same sign for every denormal number that comes in or goes out."""
    return partial(_flushed, function)


def _flushed(function: Callable[..., Array], *arrays: Array) -> Array:
    return flush_denormals(np.asarray(function(*map(flush_denormals, arrays))))


def binary_params(node: Node) -> binary.PlainParams:
    """Decodes an op of two float32 inputs, with its fused activation if the op has one. Errors: InvalidModel."""
    params = binary.plain_params(node)
    return replace(params, function=_flushing(params.function))


def extremum_params(node: Node) -> binary.PlainParams:
    """Decodes MAXIMUM or MINIMUM on float32: of equal ones, and with a NaN, the second in XNNPACK's order.

    A constant of one element becomes a bound: it comes first, and -0.0 is 0.0; one that bounds nothing leaves a copy.
    Else the inputs change places where the first one is repeated along the last axis. Errors: InvalidModel.
    Source: google/XNNPACK, src/subgraph.c, optimize_common_subgraphs_min_max_to_clamp, …_spurious_clamps;
    src/operators/binary-elementwise-nd.c, xnn_reshape_binary_elementwise_nd.
    """
    params = binary_params(node)
    a, b = node.input(0), node.input(1)
    if _is_bound(b) and len(b.shape) <= len(a.shape):
        return replace(params, function=_first if _bounds_nothing(node, b) else partial(_by_second, params.function))
    if _is_bound(a) and not _is_bound(b) and len(a.shape) <= len(b.shape):
        return replace(params, function=_second if _bounds_nothing(node, a) else partial(_by_first, params.function))
    return replace(params, function=partial(_reversed, params.function)) if _first_repeats(a.shape, b.shape) else params


def _is_bound(operand: Operand) -> bool:
    return operand.value is not None and operand.value.size == 1


def _bounds_nothing(node: Node, operand: Operand) -> bool:
    """Whether the constant is an infinity that no number is beyond."""
    return operand.value is not None and bool(operand.value == (np.inf if node.op == "MINIMUM" else -np.inf))


def _first_repeats(a: Shape, b: Shape) -> bool:
    """Whether the first input has one element along the last axis that the output has, or the output has one only."""
    sizes = zip_longest(a[::-1], b[::-1], fillvalue=1)
    return next((first == 1 for first, second in sizes if (first, second) != (1, 1)), True)


def _by_first(function: Callable[[Array, Array], Array], a: Array, b: Array) -> Array:
    return function(a + np.float32(0), b)


def _by_second(function: Callable[[Array, Array], Array], a: Array, b: Array) -> Array:
    return function(b + np.float32(0), a)


def _first(a: Array, b: Array) -> Array:
    return a


def _second(a: Array, b: Array) -> Array:
    return b


def _reversed(function: Callable[[Array, Array], Array], a: Array, b: Array) -> Array:
    return function(b, a)


# NEG is 0 - x, and what ROUND makes 0 keeps its sign.
FUNCTIONS: Mapping[str, Callable[[Array], Array]] = {
    "COS": vector_functions.cosine,
    "ELU": vector_functions.elu,
    "EXP": vector_functions.exp,
    "GELU": vector_functions.gelu,
    "HARD_SWISH": vector_functions.hard_swish,
    "LOG": vector_functions.log,
    "LOGISTIC": vector_functions.sigmoid,
    "NEG": partial(np.subtract, np.float32(0)),
    "ROUND": np.rint,
    "RSQRT": vector_functions.inverse_square_root,
    "SIN": vector_functions.sine,
    "SQRT": vector_functions.square_root,
    "TANH": vector_functions.tanh,
}


def unary_params(node: Node) -> unary.PlainParams:
    """Decodes an op of one float32 input, with a function of FUNCTIONS if there is one. Errors: InvalidModel."""
    function = FUNCTIONS[node.op] if node.op in FUNCTIONS else unary.FUNCTIONS[node.op]
    if node.op == "GELU" and node.options.get("approximate", False):
        function = vector_functions.gelu_approximate
    return unary.PlainParams(_flushing(function), (expect_unary(node).shape,))


def leaky_relu_params(node: Node) -> unary.PlainParams:
    """Decodes LEAKY_RELU on float32: x * alpha where x < 0, else x, also a denormal one. Errors: InvalidModel."""
    alpha = np.float32(node.options.get("alpha", 0.0))
    return unary.PlainParams(partial(_leaky, alpha), (expect_unary(node).shape,))


def prelu(params: ShapeParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """x * alpha where x < 0, else x, also a denormal one. arrays: input and alpha, float32."""
    x, alpha = arrays
    assert x is not None
    assert alpha is not None
    with np.errstate(all="ignore"):
        return (_leaky(flush_denormals(alpha), x),)


def _leaky(alpha: Any, x: Array) -> Array:
    steps = flush_denormals(x)
    return np.where(steps < 0, flush_denormals(steps * alpha), x)
