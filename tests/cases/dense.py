"""FULLY_CONNECTED, BATCH_MATMUL."""

from __future__ import annotations

from cases.convolution import (
    bias_data,
    bias_scale,
    float_data,
    float_samples,
    pick,
    place,
    scales,
    weights,
    zero_point,
)
from models import Case, T, case, extremes_and_random

ACTIVATIONS = ("NONE", "NONE", "RELU", "RELU6", "RELU_N1_TO_1")
SIZES = (1, 3, 4, 7, 8, 15, 16, 17, 33)


def shapes(rng) -> tuple[dict, tuple[int, ...], int, int]:
    """(options, input shape, units, columns)."""
    units, columns = int(pick(rng, SIZES)), int(pick(rng, SIZES))
    keep = bool(rng.integers(2))
    options = {"fused_activation_function": pick(rng, ACTIVATIONS), "keep_num_dims": keep, "weights_format": "DEFAULT"}
    leading = tuple(int(pick(rng, (1, 2, 3))) for _ in range(int(rng.integers(0, 4))))
    if not keep and rng.integers(4) == 0:
        return options, (*leading, 2, columns, 3), units, 2 * columns
    if not keep and rng.integers(10) == 0:
        return options, (2, columns + 1), units, columns  # rows that do not use up the input
    return options, (*leading, columns), units, columns


def _fully_connected(rng, per_channel: bool, dynamic: bool = False) -> Case:
    options, shape, units, columns = shapes(rng)
    s_in, s_filter, s_out = scales(rng, units if per_channel else 1, columns, options["fused_activation_function"])
    x = T(shape, "INT8", s_in, zero_point(rng))
    filter_zero_point = pick(rng, (0, 0, zero_point(rng)))
    filter_ = T(data=weights(rng, (units, columns)), scale=s_filter, zero_point=filter_zero_point)
    bias = None
    if dynamic or rng.integers(3):
        bias = T(data=bias_data(rng, units, columns), scale=bias_scale(s_in, s_filter))
    inputs = [x, place(dynamic, filter_), bias if bias is None else place(dynamic, bias)]
    inputs = inputs[:2] if bias is None and rng.integers(2) else inputs
    samples = extremes_and_random(rng, inputs)
    if dynamic:
        samples = [[a[0], filter_.data[::-1] if i else filter_.data, bias.data] for i, a in enumerate(samples)]
    outputs = [T((1, units), "INT8", s_out, zero_point(rng))]
    return case(rng, "FULLY_CONNECTED", inputs, outputs, options, samples, version=4)


def fully_connected(rng) -> Case:
    return _fully_connected(rng, False)


def fully_connected_per_channel(rng) -> Case:
    return _fully_connected(rng, True)


def fully_connected_dynamic(rng) -> Case:
    return _fully_connected(rng, bool(rng.integers(2)), True)


def fully_connected_float(rng) -> Case:
    options, shape, units, columns = shapes(rng)
    inputs = [T(shape, "FLOAT32"), T(data=float_data(rng, (units, columns))), T(data=float_data(rng, units))]
    inputs = inputs if rng.integers(3) else [*inputs[:2], None]
    return case(rng, "FULLY_CONNECTED", inputs, [T((1, units), "FLOAT32")], options, float_samples(rng, inputs))


def matrices(rng) -> tuple[dict, list[tuple[int, ...]]]:
    """(options, shapes of both operands)."""
    m, k, n = (int(pick(rng, SIZES)) for _ in range(3))
    leading = [int(pick(rng, (1, 2, 3))) for _ in range(int(rng.integers(0, 4)))]
    both = []
    for _ in range(2):
        own = [1 if rng.integers(4) == 0 else size for size in leading]
        both.append(own[int(rng.integers(0, len(own) + 1)) if rng.integers(3) == 0 else 0 :])
    options = {"adj_x": bool(rng.integers(2)), "adj_y": bool(rng.integers(2))}
    a = (k, m) if options["adj_x"] else (m, k)
    b = (n, k) if options["adj_y"] else (k, n)
    return options, [(*both[0], *a), (*both[1], *b)]


def _batch_matmul(rng, output: str) -> Case:
    options, (a_shape, b_shape) = matrices(rng)
    s_a, (s_b,), s_out = scales(rng, 1, a_shape[-2 if options["adj_x"] else -1])
    a = T(a_shape, "INT8", s_a, zero_point(rng))
    b = T(b_shape, "INT8", s_b, zero_point(rng))
    if rng.integers(2):
        b = T(data=weights(rng, b_shape), scale=s_b, zero_point=b.zero_point)
    out = T((1, 1), "INT8", s_out, zero_point(rng)) if output == "INT8" else T((1, 1), output)
    return case(rng, "BATCH_MATMUL", [a, b], [out], options, version=3)


def batch_matmul(rng) -> Case:
    return _batch_matmul(rng, "INT8")


def batch_matmul_to_int32(rng) -> Case:
    return _batch_matmul(rng, "INT32")


def batch_matmul_float(rng) -> Case:
    options, (a, b) = matrices(rng)
    inputs = [T(a, "FLOAT32"), T(b, "FLOAT32") if rng.integers(2) else T(data=float_data(rng, b))]
    return case(rng, "BATCH_MATMUL", inputs, [T((1, 1), "FLOAT32")], options, float_samples(rng, inputs), version=3)
