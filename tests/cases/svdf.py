"""SVDF in every type: several runs one after another, so that the state fills up and drops its oldest features."""

from __future__ import annotations

import numpy as np

from cases import hybrid
from cases.convolution import pick
from models import Case, T, case, extremes_and_random

RUNS = 7
FLOAT_ACTIVATIONS = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT")


def draw_sizes(rng) -> tuple[int, int, int, int, int]:
    """(batch, inputs, filters, rank, memory)."""
    rank, units = int(pick(rng, (1, 1, 2, 3, 4, 5))), int(pick(rng, (1, 2, 3, 4, 8)))
    inputs = int(pick(rng, (1, 2, 3, 4, 5, 8, 13, 16, 24, 33)))
    return int(pick(rng, (1, 1, 2, 3))), inputs, units * rank, rank, int(pick(rng, (1, 2, 3, 4, 5, 8, 10)))


def _float(rng, feature: T, time: T, sizes: tuple[int, int, int, int, int], samples, asymmetric: bool) -> Case:
    batch, inputs, filters, rank, memory = sizes
    units = filters // rank
    bias = pick(rng, (None, T(data=rng.standard_normal(units).astype(np.float32))))
    state = T((batch, filters * memory), "FLOAT32", variable=True)
    operands = [T((batch, inputs), "FLOAT32"), feature, time, bias, state]
    activation = pick(rng, FLOAT_ACTIVATIONS)
    options = {"rank": rank, "fused_activation_function": activation, "asymmetric_quantize_inputs": asymmetric}
    return case(rng, "SVDF", operands, [T((batch, units), "FLOAT32")], options, samples, 2)


def svdf_float(rng) -> Case:
    sizes = batch, inputs, filters, _, memory = draw_sizes(rng)
    feature, time = (T(data=rng.standard_normal((filters, n)).astype(np.float32)) for n in (inputs, memory))
    samples = [[rng.standard_normal((batch, inputs)).astype(np.float32)] for _ in range(RUNS)]
    samples[3][0][:] = pick(rng, (0.0, -0.0, 1e30))
    return _float(rng, feature, time, sizes, samples, False)


def svdf_hybrid(rng) -> Case:
    sizes = batch, inputs, filters, _, memory = draw_sizes(rng)
    scales = [0.0 if rng.integers(9) == 0 else hybrid.scales(rng, 1, False) for _ in range(2)]
    feature, time = (
        T(data=hybrid.weights(rng, (filters, n)), scale=scale)
        for n, scale in zip((inputs, memory), scales, strict=True)
    )
    samples = [[hybrid.activations(rng, (batch, inputs))] for _ in range(RUNS)]
    return _float(rng, feature, time, sizes, samples, bool(rng.integers(2)))


def svdf(rng) -> Case:
    batch, inputs, filters, rank, memory = draw_sizes(rng)
    units = filters // rank
    info = np.iinfo(np.int16)
    bits = int(pick(rng, (6, 12, 15)))  # of the weights in time: with 15 the sums wrap
    feature = rng.integers(-128, 128, (filters, inputs)).astype(np.int8)
    time = rng.integers(max(-(2**bits), info.min), min(2**bits, info.max), (filters, memory)).astype(np.int16)
    scales = {name: float(np.float32(2.0 ** rng.uniform(-12, 0))) for name in ("x", "feature", "time", "y")}
    # About as large as the features, so that few of them or many are cut off.
    state = float(np.float32(scales["x"] * scales["feature"] * 2.0 ** rng.uniform(-4, 6)))
    scales["y"] = float(np.float32(state * scales["time"] * 2.0 ** rng.uniform(0, 2 * bits)))
    bias = rng.integers(-(2**20), 2**20, units).astype(np.int32)
    operands = [
        T((batch, inputs), "INT8", scales["x"], int(rng.integers(-128, 128))),
        T(data=feature, scale=scales["feature"]),
        T(data=time, scale=scales["time"]),
        pick(rng, (None, T(data=bias, scale=state * scales["time"]))),
        T((batch, filters * memory), "INT16", state, variable=True),
    ]
    output = T((batch, units), "INT8", scales["y"], int(rng.integers(-128, 128)))
    options = {"rank": rank, "fused_activation_function": "RELU", "asymmetric_quantize_inputs": False}
    samples = extremes_and_random(rng, operands[:1], RUNS - 2)
    return case(rng, "SVDF", operands, [output], options, samples, 3)
