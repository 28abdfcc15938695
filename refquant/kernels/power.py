"""POW of float32 and int32, which broadcast to each other.

Where the exponent is a single element and the shapes differ, one near a whole number from 1 on is rounded to it and the
power is made of products.
Source: tflite/kernels/pow.cc; internal/optimized/optimized_ops.h, BroadcastPow4D, IntegerExponentPow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from refquant.arithmetic.fixed_point import INT32_MAX, INT32_MIN
from refquant.arithmetic.multiplier import round_half_away
from refquant.errors import InvalidInput
from refquant.kernels.activation import clamp_float
from refquant.kernels.checks import expect_same_type
from refquant.kernels.elementwise import expect_binary
from refquant.kernels.kernel import Batching, Node, Shape
from refquant.model.graph import Array

NEAR_A_WHOLE_NUMBER = np.float32(1e-5)
MOST_BITS = 32  # no power of 2 or more with such an exponent fits int32


@dataclass(frozen=True, slots=True)
class PowParams:
    """`one_exponent`: the exponent is one element for a base of another shape; `constant`: it is known."""

    place: str
    function: Callable[[Array, Array], Array]
    one_exponent: bool
    constant: bool
    output_shapes: tuple[Shape]


def pow_params(node: Node) -> PowParams:
    """Decodes POW: base and exponent of one type, FLOAT32 or INT32. Errors: InvalidModel.

    Source: tflite/kernels/pow.cc, Prepare.
    """
    base, exponent, shape = expect_binary(node)
    expect_same_type(node, base, node.outputs[0])
    one = prod(exponent.shape) == 1 and base.shape != exponent.shape
    return PowParams(node.place, node.arithmetic["POW.function"], one, exponent.value is not None, (shape,))


def pow_batching(params: PowParams) -> Batching:
    """Samples with an exponent each are taken one by one: what is one exponent for a sample is not one for all."""
    return Batching.LOOP if params.one_exponent and not params.constant else Batching.LEADING


def power(params: PowParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """base ^ exponent by the runtime's function for float32, or as products for one whole exponent.

    arrays: base and exponent. Errors: InvalidInput for a negative int32 exponent, which TFLite refuses, and for an
    int32 power that leaves int32 where it is made in float64: undefined behaviour.
    """
    base, exponent = arrays
    assert base is not None
    assert exponent is not None
    if base.dtype == np.int32 and exponent.size and exponent.min() < 0:
        raise InvalidInput(f"{params.place}: an exponent is {int(exponent.min())}; TFLite's int32 kernel refuses it")
    if params.one_exponent and (whole := _whole_exponent(exponent.reshape(-1)[0])) is not None:
        shape = np.broadcast_shapes(base.shape, exponent.shape)
        return (_by_products(np.broadcast_to(base, shape), whole),)
    if base.dtype == np.int32:
        return (_integer_power(params, base, exponent),)
    with np.errstate(all="ignore"):
        return (params.function(base, exponent),)


def _whole_exponent(exponent: np.float32 | np.int32) -> int | None:
    """The whole number from 1 on that the exponent is near to, or None."""
    rounded = round_half_away(np.nan_to_num(np.float64(exponent)))
    if not 1 <= rounded <= INT32_MAX:
        return None
    near = np.abs(np.float32(exponent) - np.float32(rounded)) < NEAR_A_WHOLE_NUMBER
    return int(rounded) if near or isinstance(exponent, np.int32) else None


def _by_products(base: Array, exponent: int) -> Array:
    """base ^ exponent as (base ^ (exponent // 2))^2, times base for an odd one; int32 wraps, float32 is clamped."""
    if exponent == 1:
        return np.array(base)
    half = _by_products(base, exponent // 2)
    square = _product(half, half)
    return _product(base, square) if exponent % 2 else square


def _product(a: Array, b: Array) -> Array:
    with np.errstate(all="ignore"):
        product = np.asarray(a * b)
    if product.dtype != np.float32:
        return product
    info = np.finfo(np.float32)
    return clamp_float(product, info.min, info.max)


def _integer_power(params: PowParams, base: Array, exponent: Array) -> Array:
    base, exponent = np.broadcast_arrays(base.astype(np.int64), exponent.astype(np.int64))
    of_units = np.where(exponent > 1, 2 + exponent % 2, exponent)  # for -1, 0 and 1 only parity counts
    exponent = np.where(np.abs(base) < 2, of_units, np.minimum(exponent, MOST_BITS))
    leaves = np.abs(base).astype(np.float64) ** exponent > -float(INT32_MIN)
    result = np.where(leaves, 0, base) ** exponent
    if (leaves | (result > INT32_MAX)).any():
        raise InvalidInput(f"{params.place}: a power leaves int32: undefined behaviour in TFLite")
    return np.asarray(result.astype(np.int32))
