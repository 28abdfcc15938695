"""RESIZE_BILINEAR, RESIZE_NEAREST_NEIGHBOR."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from models import Case, T, case, extremes_and_random

Generator = Callable[[np.random.Generator], Case]


def resize(name: str, type: str) -> Generator:
    """Up, down, by whole and by odd factors, from and to one pixel, with every pair of alignment options."""

    def generate(rng: np.random.Generator) -> Case:
        batch, depth = int(rng.integers(1, 4)), int(rng.choice([1, 3, 4, 7, 8]))
        sides = [int(d) for d in rng.choice([1, 2, 3, 4, 5, 7, 8, 12, 17], 2)]
        sizes = [int(rng.choice([1, 2, d, 2 * d, 3 * d, max(d // 2, 1), rng.integers(1, 24)])) for d in sides]
        if rng.random() < 0.05:  # a power of two: other large factors make the int8 kernel read outside of the image
            sizes[0] = sides[0] << int(rng.integers(4, 9))
        options = [(False, False), (True, False), (False, True)]
        if name == "RESIZE_NEAREST_NEIGHBOR":
            options.append((True, True))
        align_corners, half_pixel_centers = options[rng.integers(len(options))]
        quantization = {"scale": 0.5, "zero_point": 3} if type.endswith("INT8") else {}
        input = T((batch, *sides, depth), type, **quantization)
        output = T((batch, *sizes, depth), type, **quantization)
        if type.startswith("FLOAT"):
            special = np.array([np.inf, np.nan, 0.0, -0.0, 3e38, -3e38, 1.0, -1.0, 1e-45], np.float32)
            drawn = [
                rng.normal(0, 1, input.shape),
                rng.normal(0, 1, input.shape) * 1e30,
                np.full(input.shape, -0.0),
                rng.choice(special, input.shape),
            ]
            with np.errstate(over="ignore"):
                data = [[x.astype(type.lower())] for x in drawn]
        else:
            data = extremes_and_random(rng, [input])
        size = np.array(sizes, np.int32)
        operand = T(data=size)
        if rng.random() < 0.1:  # a size that is known only when the model runs
            operand, data = T((2,), "INT32"), [[*arrays, size] for arrays in data]
        return case(
            rng,
            name,
            [input, operand],
            [output],
            {"align_corners": align_corners, "half_pixel_centers": half_pixel_centers},
            data,
        )

    return generate


def eight_times(rng: np.random.Generator) -> Case:
    """RESIZE_BILINEAR of uint8 to eight times the size, with half-pixel centers and channels in whole eights or not."""
    batch, depth = int(rng.integers(1, 3)), int(rng.choice([8, 8, 16, 24, 5]))
    sides = [int(d) for d in rng.integers(1, 5, 2)]
    input = T((batch, *sides, depth), "UINT8", 0.5, 3)
    output = T((batch, *(8 * d for d in sides), depth), "UINT8", 0.5, 3)
    options = {"align_corners": False, "half_pixel_centers": True}
    size = T(data=np.array(output.shape[1:3], np.int32))
    return case(rng, "RESIZE_BILINEAR", [input, size], [output], options, extremes_and_random(rng, [input], 3))
