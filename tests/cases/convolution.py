"""CONV_2D, DEPTHWISE_CONV_2D, TRANSPOSE_CONV."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from models import Case, T, case, extremes_and_random

CHANNELS = (1, 3, 4, 7, 8, 15, 16, 17, 33)
ACTIVATIONS = ("NONE", "NONE", "RELU", "RELU6", "RELU_N1_TO_1", "TANH")


def pick(rng, values):
    return values[int(rng.integers(len(values)))]


def zero_point(rng) -> int:
    return pick(rng, (-128, 127, 0, -1, int(rng.integers(-128, 128)), int(rng.integers(-128, 128))))


def weights(rng, shape) -> np.ndarray:
    kind = rng.integers(6)
    if kind == 0:
        return pick(rng, (-127, 127)) * rng.integers(0, 2, shape).astype(np.int8)
    if kind == 1:
        return rng.integers(-3, 4, shape).astype(np.int8)
    return rng.integers(-128 if kind == 2 else -127, 128, shape).astype(np.int8)


def scales(rng, channels: int, products: int) -> tuple[float, list[float], float]:
    """(input scale, `channels` filter scales, output scale): multipliers that spread the accumulators of so many
    products over the output's range, powers of two that give ties, and tiny or large ones."""
    kind = rng.integers(5)
    spread = 100 / (5000 * np.sqrt(products))
    if kind == 0:  # powers of two
        power = int(np.round(np.log2(spread))) + rng.integers(-3, 4, channels)
        return 0.5, [float(2.0**p) for p in power], 0.5
    if kind == 1:  # wild
        multiplier = 2.0 ** rng.uniform(-20, 4, channels)
    else:
        multiplier = spread * 2.0 ** rng.uniform(-2, 2, channels)
    input_scale, output_scale = (float(np.float32(2.0 ** rng.uniform(-8, 2))) for _ in range(2))
    return input_scale, [float(np.float32(m * output_scale / input_scale)) for m in multiplier], output_scale


def bias_data(rng, channels: int, products: int) -> np.ndarray:
    limit = int(pick(rng, (1, 20000 * np.sqrt(products), 2**20)))
    return rng.integers(-limit, limit + 1, channels).astype(np.int32)


def activation_scale(rng, activation: str, output_scale: float) -> float:
    """The output scale, or one that makes the bounds of the activation fall inside the range."""
    if activation in ("RELU6", "RELU_N1_TO_1") and rng.integers(3):
        return float(np.float32(rng.uniform(0.005, 0.06)))
    return output_scale


def window_options(rng, dilated: bool = True) -> dict:
    dilation = (1, 1, 1, 2, 3) if dilated else (1,)
    return {
        "padding": pick(rng, ("SAME", "VALID")),
        "stride_h": int(pick(rng, (1, 1, 2, 3))),
        "stride_w": int(pick(rng, (1, 1, 2, 3))),
        "dilation_h_factor": int(pick(rng, dilation)),
        "dilation_w_factor": int(pick(rng, dilation)),
        "fused_activation_function": pick(rng, ACTIVATIONS),
    }


def image(rng, options: dict, taps: tuple[int, int]) -> tuple[int, int]:
    """Height and width; large enough for the window if the padding is VALID."""
    extent = [(k - 1) * options.get(f"dilation_{axis}_factor", 1) + 1 for axis, k in zip("hw", taps, strict=True)]
    least = extent if options["padding"] == "VALID" else (1, 1)
    return tuple(int(low + pick(rng, (0, 1, 2, 3, 4, 7, 10))) for low in least)


def taps(rng) -> tuple[int, int]:
    return int(pick(rng, (1, 1, 2, 3, 3, 5))), int(pick(rng, (1, 1, 2, 3, 3, 4)))


def conv_2d(rng, per_channel: bool = True, groups: int = 1, channels=CHANNELS, products_at_least: int = 0, **changes) -> Case:
    depth, outputs = int(pick(rng, channels)) * groups, int(pick(rng, channels)) * groups
    options, k = window_options(rng), taps(rng)
    batch = int(pick(rng, (1, 1, 1, 2)))
    size = image(rng, options, k)
    while batch * size[0] * size[1] * depth > 4000:
        size, batch = tuple(max(1 if options["padding"] == "SAME" else 0, s - 2) for s in size), 1
        if options["padding"] == "VALID":
            options, k = window_options(rng), (1, 1)
            size = tuple(max(s, 1) for s in size)
    products = k[0] * k[1] * (depth // groups)
    s_in, s_filter, s_out = scales(rng, outputs if per_channel else 1, products)
    s_out = activation_scale(rng, options["fused_activation_function"], s_out)
    x = T((batch, *size, depth), "INT8", s_in, zero_point(rng))
    data = weights(rng, (outputs, *k, depth // groups))
    filter_ = T(data=data, scale=s_filter)
    bias = T(data=changes.get("bias", lambda: bias_data(rng, outputs, products))() if "bias" in changes else bias_data(rng, outputs, products), scale=1.0)
    return case(rng, "CONV_2D", [x, filter_, bias], [T(None or (1, 1, 1, outputs), "INT8", s_out, zero_point(rng))], options, version=3)
