"""MEAN, SUM, REDUCE_*, ARG_MAX, ARG_MIN."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from models import Case, T, case, extremes_and_random

Generator = Callable[[np.random.Generator], Case]

SIDES = (1, 1, 2, 3, 4, 5, 7, 8, 15, 16, 17)


def _shape(rng: np.random.Generator, empty: bool = True) -> tuple[int, ...]:
    """Rank 0 to 5, at most a few thousand elements, now and then none."""
    rank = int(rng.choice([0, 1, 2, 3, 4, 4, 4, 5]))
    shape = [int(d) for d in rng.choice(SIDES, rank)]
    while np.prod(shape) > 4000:
        shape[int(np.argmax(shape))] = int(rng.integers(1, 4))
    if empty and rank and rng.random() < 0.03:
        shape[int(rng.integers(rank))] = 0
    return tuple(shape)


def _axes(rng: np.random.Generator, rank: int) -> np.ndarray:
    """Any number of axes, also none, negative and repeated ones, as an int32 tensor of any rank."""
    count = int(rng.integers(0, rank + 2))
    if rank == 0:
        return np.array(rng.integers(-3, 4, count), np.int32)
    if rank == 4 and rng.random() < 0.3:
        axes = np.array([[1, 2], [2, 1], [-2, -3], [1, -2]][rng.integers(4)], np.int32)
    else:
        axes = rng.integers(-rank, rank, count).astype(np.int32)
    if len(axes) == 1 and rng.random() < 0.3:
        return axes.reshape(())
    return axes


def _reduction(
    rng: np.random.Generator,
    name: str,
    type: str,
    samples: Callable[[tuple[int, ...]], list[list[np.ndarray]]],
    input_quantization: dict[str, Any] | None = None,
    output_quantization: dict[str, Any] | None = None,
) -> Case:
    shape = _shape(rng, empty=not (name == "REDUCE_PROD" and input_quantization))
    axes, keep_dims = _axes(rng, len(shape)), bool(rng.integers(2))
    reduced = {int(a) % len(shape) for a in axes.reshape(-1)} if shape else set()
    output_shape = tuple(1 if a in reduced else d for a, d in enumerate(shape) if keep_dims or a not in reduced)
    input = T(shape, type, **(input_quantization or {}))
    output = T(output_shape, type, **(output_quantization or {}))
    data = samples(shape)
    if rng.random() < 0.1 and axes.size and 0 not in shape:  # axes that are known only when the model runs
        axis, data = T(axes.shape, "INT32"), [[*arrays, axes] for arrays in data]
    else:
        axis = T(data=axes)
    return case(rng, name, [input, axis], [output], {"keep_dims": keep_dims}, data)


def _integer_samples(rng: np.random.Generator, type: str) -> Callable[[tuple[int, ...]], list[list[np.ndarray]]]:
    return lambda shape: extremes_and_random(rng, [T(shape, type)])


def _scale_pair(rng: np.random.Generator) -> tuple[float, float]:
    """Input and output scale: ratios of powers of two (ties), of anything, also above 1 and tiny."""
    input_scale = float(np.exp(rng.uniform(np.log(1e-3), np.log(1))))
    kind = rng.integers(5)
    if kind == 4:
        ratio = float(np.exp2(rng.uniform(-34, 27)))
    elif kind == 0:
        ratio = float(2.0 ** rng.integers(-4, 5))
    elif kind == 1:
        ratio = 1.0
    else:
        ratio = float(np.exp(rng.uniform(np.log(1e-3), np.log(20))))
    return input_scale, input_scale / ratio


def quantized(name: str, type: str) -> Generator:
    """MEAN or SUM on int8 or uint8, MEAN on int16."""

    def generate(rng: np.random.Generator) -> Case:
        info = np.iinfo(type.lower())
        zero_points = [int(rng.choice([info.min, info.max, 0, rng.integers(info.min, info.max)])) for _ in range(2)]
        zero_points = [0, 0] if type == "INT16" else zero_points
        scales = _scale_pair(rng)
        return _reduction(
            rng,
            name,
            type,
            _integer_samples(rng, type),
            {"scale": scales[0], "zero_point": zero_points[0]},
            {"scale": scales[1], "zero_point": zero_points[1]},
        )

    return generate


def quantized_product(rng: np.random.Generator) -> Case:
    return _quantized_product(rng, "INT8", 1.0)


def quantized_product_int16(rng: np.random.Generator) -> Case:
    return _quantized_product(rng, "INT16", float(rng.choice([1 / 256, 1.0])))


def _quantized_product(rng: np.random.Generator, type: str, unit: float) -> Case:
    """REDUCE_PROD on quantized codes, small shapes: scales that keep the product in range, and others."""
    zero_points = [int(rng.choice([-128, 127, 0, rng.integers(-128, 127)])) for _ in range(2)]
    zero_points = [0, 0] if type == "INT16" else zero_points
    scales = [unit * float(np.exp(rng.uniform(np.log(1e-3), np.log(1)))) for _ in range(2)]
    return _reduction(
        rng,
        "REDUCE_PROD",
        type,
        _integer_samples(rng, type),
        {"scale": scales[0], "zero_point": zero_points[0]},
        {"scale": scales[1], "zero_point": zero_points[1]},
    )


def same_scale(name: str, type: str) -> Generator:
    """A reduction whose input and output share scale and zero point, or have none."""

    def generate(rng: np.random.Generator) -> Case:
        zero_point = 3 if type.endswith("INT8") else 0
        quantization = {"scale": 0.25, "zero_point": zero_point} if rng.integers(2) else {}
        return _reduction(rng, name, type, _integer_samples(rng, type), quantization, quantization)

    return generate


def plain(name: str, type: str) -> Generator:
    """A reduction on int32, int64, bool or unquantized int8; small values next to the extremes."""

    def samples(rng: np.random.Generator) -> Callable[[tuple[int, ...]], list[list[np.ndarray]]]:
        def generate(shape: tuple[int, ...]) -> list[list[np.ndarray]]:
            whole = extremes_and_random(rng, [T(shape, type)])
            if type == "BOOL":
                return [[np.zeros(shape, bool)], [np.ones(shape, bool)], *whole]
            return [*whole, [rng.integers(-9, 10, shape).astype(type.lower())]]

        return generate

    return lambda rng: _reduction(rng, name, type, samples(rng))


def floats(name: str) -> Generator:
    """A reduction on float32: sums that round, and infinities, NaN and zeros of both signs."""

    def samples(rng: np.random.Generator) -> Callable[[tuple[int, ...]], list[list[np.ndarray]]]:
        special = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0, 3e38, -3e38, 1.0, -1.0, 1e-45], np.float32)

        def generate(shape: tuple[int, ...]) -> list[list[np.ndarray]]:
            wide = rng.normal(0, 1, shape) * np.exp(rng.normal(0, 4, shape))
            return [
                [rng.normal(0, 1, shape).astype(np.float32)],
                [wide.astype(np.float32)],
                [np.full(shape, -0.0, np.float32)],
                [rng.choice(np.array([0.0, -0.0], np.float32), shape)],
                [rng.choice(np.array([-np.inf, np.nan], np.float32), shape)],
                [rng.choice(np.array([np.inf, np.nan], np.float32), shape)],
                [rng.choice(special, shape)],
            ]

        return generate

    return lambda rng: _reduction(rng, name, "FLOAT32", samples(rng))


def arg(name: str, type: str) -> Generator:
    """ARG_MAX or ARG_MIN: many equal elements, any axis, both axis types and both output types."""

    def generate(rng: np.random.Generator) -> Case:
        shape = _shape(rng)
        while not shape:
            shape = _shape(rng)
        axis = int(rng.integers(-len(shape), len(shape)))
        output_shape = tuple(d for a, d in enumerate(shape) if a != axis % len(shape))
        output_type = str(rng.choice(["INT32", "INT64"]))
        axis_data = np.array([axis] if rng.integers(2) else axis, rng.choice([np.int32, np.int64]))
        if type == "FLOAT32":
            values = np.array([np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 1e-45, 2.0], np.float32)
            data = [[rng.choice(values, shape)], [rng.normal(0, 1, shape).astype(np.float32)]]
            if axis % len(shape) != len(shape) - 1 and np.prod(shape[axis % len(shape) + 1 :]) > 1:
                data.append([rng.choice(np.append(values[:3], np.float32(np.nan)), shape)])
        else:
            data = extremes_and_random(rng, [T(shape, type)])
            if type != "BOOL":
                data.append([rng.integers(1, 4, shape).astype(type.lower())])
        return case(
            rng,
            name,
            [T(shape, type, 0.5 if type.endswith("INT8") else None), T(data=axis_data)],
            [T(output_shape, output_type)],
            {"output_type": output_type},
            data,
        )

    return generate
