"""CONV_3D, CONV_3D_TRANSPOSE. Declared output shapes are placeholders: the runtime computes its own."""

from __future__ import annotations

import numpy as np

from cases.convolution import ACTIVATIONS, float_data, float_samples, pick, place
from models import Case, T, case


def _options(rng) -> dict:
    options = {"padding": pick(rng, ("SAME", "VALID")), "fused_activation_function": pick(rng, ACTIVATIONS)}
    for letter in "dhw":
        options[f"stride_{letter}"] = int(pick(rng, (1, 1, 2, 3)))
        options[f"dilation_{letter}_factor"] = int(pick(rng, (1, 1, 1, 2, 3)))
    return options


def _taps(rng) -> list[int]:
    return [int(pick(rng, (1, 2, 3))) for _ in range(3)]


def conv_3d(rng) -> Case:
    options, taps = _options(rng), _taps(rng)
    depth, outputs = int(pick(rng, (1, 2, 3, 5))), int(pick(rng, (1, 2, 3, 8)))
    extents = [(k - 1) * options[f"dilation_{letter}_factor"] + 1 for letter, k in zip("dhw", taps, strict=True)]
    low = extents if options["padding"] == "VALID" else (1, 1, 1)
    size = [start + int(pick(rng, (0, 1, 2, 3, 5))) for start in low]
    inputs = [
        T((int(pick(rng, (1, 2))), *size, depth), "FLOAT32"),
        place(bool(rng.integers(4) == 0), T(data=float_data(rng, (*taps, depth, outputs)))),
        T(data=float_data(rng, outputs)),
    ][: 2 if rng.integers(3) == 0 else 3]
    samples = float_samples(rng, inputs)
    if inputs[1].data is None:  # an infinite filter is refused
        samples = [[arrays[0], float_data(rng, inputs[1].shape)] for arrays in samples]
    return case(rng, "CONV_3D", inputs, [T((1, 1, 1, 1, outputs), "FLOAT32")], options, samples)


def conv_3d_transpose(rng) -> Case:
    options, taps = _options(rng), _taps(rng)
    n, depth, outputs = int(pick(rng, (1, 2))), int(pick(rng, (1, 2, 3))), int(pick(rng, (1, 2, 5)))
    size, output = [int(pick(rng, (1, 2, 3, 4))) for _ in range(3)], []
    for letter, s, k in zip("dhw", size, taps, strict=True):
        stride, extent = options[f"stride_{letter}"], (k - 1) * options[f"dilation_{letter}_factor"] + 1
        largest = s * stride if options["padding"] == "SAME" else s * stride + extent - 1
        output.append(int(rng.integers(largest - stride + 1, largest + 1)))
    out_shape = (n, *output, outputs)
    shape = T(data=np.array(out_shape, np.int32))
    dynamic = bool(rng.integers(3) == 0)
    inputs = [
        place(dynamic, shape),
        T(data=float_data(rng, (*taps, outputs, depth))),
        T((n, *size, depth), "FLOAT32"),
        T(data=float_data(rng, outputs)),
    ][: 3 if rng.integers(3) == 0 else 4]
    samples = float_samples(rng, [inputs[2]])
    if dynamic:
        samples = [[shape.data, *arrays] for arrays in samples]
    return case(rng, "CONV_3D_TRANSPOSE", inputs, [T(out_shape, "FLOAT32")], options, samples)
