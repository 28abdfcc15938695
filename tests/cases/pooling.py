"""AVERAGE_POOL_2D, MAX_POOL_2D, L2_POOL_2D."""

from __future__ import annotations

import numpy as np

from cases.convolution import CHANNELS, float_samples, image, kernel_size, pick, window_options, zero_point
from models import Case, T, case


def pool(rng, name: str, type_: str) -> Case:
    options, k, channels = window_options(rng, (1,)), kernel_size(rng), int(pick(rng, CHANNELS))
    options = {key: value for key, value in options.items() if not key.startswith("dilation")}
    options.update(filter_height=k[0], filter_width=k[1])
    size = image(rng, options, k, channels)
    if options["padding"] == "VALID" and rng.integers(3) == 0:  # a global pool
        options.update(filter_height=size[0], filter_width=size[1])
    shape = (int(pick(rng, (1, 2))), *size, channels)
    if type_ == "FLOAT32":
        x = T(shape, type_)
        version = 1 if name == "L2_POOL_2D" else 2
        return case(rng, name, [x], [T(shape, type_)], options, float_samples(rng, [x]), version=version)
    lowest = np.iinfo(type_.lower()).min
    lowest = -128 if type_ == "INT16" else lowest
    scale, zero = float(np.float32(rng.uniform(0.001, 0.1))), zero_point(rng) + 128 + lowest
    other = rng.integers(10) == 0  # parameters that differ, which the kernel does not look at
    output = T(shape, type_, scale * 2 if other else scale, zero_point(rng) + 128 + lowest if other else zero)
    return case(rng, name, [T(shape, type_, scale, zero)], [output], options, version=3 if type_ == "INT16" else 2)


def average_pool_2d(rng) -> Case:
    return pool(rng, "AVERAGE_POOL_2D", "INT8")


def average_pool_2d_float(rng) -> Case:
    return pool(rng, "AVERAGE_POOL_2D", "FLOAT32")


def max_pool_2d(rng) -> Case:
    return pool(rng, "MAX_POOL_2D", "INT8")


def max_pool_2d_float(rng) -> Case:
    return pool(rng, "MAX_POOL_2D", "FLOAT32")


def l2_pool_2d_float(rng) -> Case:
    return pool(rng, "L2_POOL_2D", "FLOAT32")
