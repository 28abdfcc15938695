"""Whose arithmetic made a constant: each converter's weights, biases and constants as one row of a table.

The formulas are the quantizer's own; here they are only put side by side, so that a file can be tried against each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from refquant.model.graph import Array
from refquant.quantizer.apply import quantize_constant
from refquant.quantizer.legacy.arithmetic import (
    bias_scaling,
    channel_ranges,
    product_scale,
    rescaling,
    rewrite,
    value_range,
    weights_per_channel,
    weights_per_tensor,
    widened_for_bias,
)
from refquant.quantizer.parameters import (
    NEAR_ZERO,
    Parameters,
    bias_parameters,
    constant_parameters,
    guard_bias,
    quantize_affine,
    quantize_bias,
    weight_parameters,
    weight_parameters_float64,
)


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """The constants of one operator, and what is known of its input.

    `axis`: of the channels, None for one scale. `bias`: None if there is none to quantize. `input`: the parameters that
    the input has in the file. `readers`: of all operators that read the weights, in order, the bias and the scale of
    their input's own range.
    """

    weights: Array
    axis: int | None
    bias: Array | None = None
    input: Parameters | None = None
    readers: tuple[tuple[Array, float], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Expected:
    """What an arithmetic makes of a Layer.

    `guarded`: per scale of the weights, whether a bias enlarged it. The bias is None where there is none to quantize.
    """

    weights: Parameters
    integers: Array
    guarded: tuple[bool, ...]
    bias: Parameters | None = None
    bias_integers: Array | None = None


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """One row. `expect`: Layer -> Expected.

    `integers`: (weights, parameters) -> integers, for scales that a file has for some other reason. `constant`: a
    constant that is neither weights nor bias -> (parameters, integers); `shared`: one that takes given parameters.
    `narrowest`: the narrowest range that an activation gets. `own_range`: the overflow guard goes by the range that the
    input itself has, not by the parameters it ends with. `hybrid`: it is that of files with float activations.
    """

    name: str
    statement: str
    expect: Callable[[Layer], Expected]
    integers: Callable[[Array, Parameters], Array]
    constant: Callable[[Array], tuple[Parameters, Array]]
    shared: Callable[[Array, Parameters], Array]
    narrowest: float
    own_range: bool = False
    hybrid: bool = False


def _with_bias(layer: Layer, plain: Parameters, integers: Callable[[Array, Parameters], Array]) -> Expected:
    """Weights with `plain` parameters and their bias, both with the scales that the overflow guard leaves."""
    unguarded = (False,) * len(plain.scale)
    if layer.bias is None or layer.input is None:
        return Expected(plain, integers(layer.weights, plain), unguarded)
    narrowed = replace(plain, scale=tuple(map(float, np.asarray(plain.scale, np.float32))))
    bias = bias_parameters((layer.input, narrowed), layer.bias.ndim)
    weights, guarded = plain, guard_bias(layer.bias, bias, layer.input, plain)
    if guarded is not None:
        bias, weights = guarded
    moved = tuple(new != old for new, old in zip(weights.scale, plain.scale, strict=True))
    quantized = quantize_bias(layer.bias, bias)
    return Expected(weights, integers(layer.weights, weights), moved, bias, quantized)


def _mlir(layer: Layer) -> Expected:
    return _with_bias(layer, weight_parameters(layer.weights, layer.axis), quantize_constant)


def _float64(layer: Layer) -> Expected:
    return _with_bias(layer, weight_parameters_float64(layer.weights, layer.axis), quantize_affine)


def _legacy(layer: Layer) -> Expected:
    """The guard enlarges the weights for all their readers."""
    values, axis = layer.weights, layer.axis
    low, high = _one_range(values) if axis is None else channel_ranges(values, axis)
    plain = high
    for bias, own_scale in layer.readers:
        low, high = widened_for_bias(low, high, bias, own_scale)
    guarded = tuple(new != old for new, old in zip(high, plain, strict=True))
    if axis is None:
        scale, scaling = weights_per_tensor((low[0], high[0]))
        scales: tuple[float, ...] = (scale,)
    else:
        scales, scaling = weights_per_channel(low, high, axis)
    weights = Parameters("INT8", scales, (0,) * len(scales), axis, narrow=True)
    found = Expected(weights, rewrite(values, scaling), guarded)
    if layer.bias is None or layer.input is None:
        return found
    products = tuple(product_scale((layer.input.scale[0], scale)) for scale in scales)
    of_bias = Parameters("INT32", products, (0,) * len(products), None if len(products) == 1 else 0)
    return replace(found, bias=of_bias, bias_integers=rewrite(layer.bias, bias_scaling(products, "INT32")))


def _one_range(values: Array) -> tuple[tuple[float, ...], tuple[float, ...]]:
    low, high = value_range(values)
    return (low,), (high,)


def _legacy_integers(values: Array, parameters: Parameters) -> Array:
    """With given scales: as if the largest weight were 127 of them."""
    largest = tuple(127 * float(np.float32(scale)) for scale in parameters.scale)
    if parameters.axis is None:
        return rewrite(values, weights_per_tensor((-largest[0], largest[0]))[1])
    return rewrite(values, weights_per_channel(tuple(-r for r in largest), largest, parameters.axis)[1])


def _constant(values: Array) -> tuple[Parameters, Array]:
    parameters = constant_parameters(values)
    return parameters, quantize_constant(values, parameters)


def _legacy_constant(values: Array) -> tuple[Parameters, Array]:
    expected = _legacy(Layer(values, None))
    return expected.weights, expected.integers


def _legacy_shared(values: Array, parameters: Parameters) -> Array:
    """Quantized by its own largest value first, then moved to the given parameters."""
    own, integers = _legacy_constant(values)
    return rewrite(integers, rescaling("INT8", own.quantization(), parameters.quantization()))


ARITHMETICS = (
    Arithmetic(
        "mlir",
        "the converter's present quantizer: float32, w * f32(1 / s) per channel and w * f32(127 / max|w|) per tensor",
        _mlir,
        quantize_constant,
        _constant,
        quantize_affine,
        NEAR_ZERO,
    ),
    Arithmetic(
        "legacy",
        "the converter's old quantizer: float32, w * f32(127 / max|w|) per channel and per tensor",
        _legacy,
        _legacy_integers,
        _legacy_constant,
        _legacy_shared,
        0.0,
        own_range=True,
    ),
    Arithmetic(
        "float64",
        "dynamic range quantization: float64, w / (2 max|w| / 254)",
        _float64,
        quantize_affine,
        _constant,
        quantize_affine,
        NEAR_ZERO,
        hybrid=True,
    ),
)
