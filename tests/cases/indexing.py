"""EMBEDDING_LOOKUP, SPARSE_TO_DENSE, UNIQUE, REVERSE_SEQUENCE, the segment ops, BUCKETIZE."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from cases.movement import BLOCKS, MOVABLE, NO_BOOL, SPECIAL_FLOATS, build, data_tensor, draw, parameter, some_shape
from models import Case, T, case


def embedding_lookup(rng: np.random.Generator) -> Case:
    shape = some_shape(rng, 2, 4)
    x, y = data_tensor(rng, MOVABLE, shape)
    ids = rng.integers(0, shape[0], int(rng.integers(1, 9)))
    return build(rng, "EMBEDDING_LOOKUP", [parameter(rng, ids, np.int32, 0.7), x], [y])


def embedding_lookup_hybrid(rng: np.random.Generator) -> Case:
    """An int8 table, with one scale or one a row, that is read as float32 or float16."""
    shape = some_shape(rng, 2, 4)
    count = shape[0] if rng.random() < 0.5 else 1
    scales = [float(np.float32(s)) for s in 2.0 ** rng.uniform(-12, 2, count)]
    table = T(data=rng.integers(-128, 128, shape, np.int8), scale=scales)
    ids = rng.integers(0, shape[0], int(rng.integers(1, 9)))
    output = T((1,), str(rng.choice(["FLOAT16", "FLOAT32"])))
    return build(rng, "EMBEDDING_LOOKUP", [parameter(rng, ids, np.int32, 1.0), table], [output])


def sparse_to_dense(rng: np.random.Generator) -> Case:
    type, count = str(rng.choice(BLOCKS)), int(rng.integers(1, 8))
    rank = int(rng.integers(1, 5))
    shape = some_shape(rng, rank, rank, most=200)
    way = rng.random() if rank == 1 else 1.0
    indices = np.stack([rng.integers(0, size, count) for size in shape], -1)
    if way < 0.3:
        indices, count = indices[0, 0], 1
    elif way < 0.7:
        indices = indices[:, 0]
    values = T((() if rng.random() < 0.3 else (count,)), type)
    index_type = rng.choice([np.int32, np.int64])
    operands = [parameter(rng, indices, index_type, 0.5), parameter(rng, shape, rng.choice([np.int32, np.int64]))]
    default = T((() if rng.random() < 0.5 else (1,)), type)
    return build(rng, "SPARSE_TO_DENSE", [*operands, values, default], [T((1,), type)])


def unique(rng: np.random.Generator) -> Case:
    type, count = str(rng.choice(NO_BOOL)), int(rng.integers(1, 40))
    index_type = str(rng.choice(["INT32", "INT64"]))
    samples = [[draw(rng, type, (count,))]]
    for _ in range(3):
        x = rng.integers(0, int(rng.integers(1, 12)), count).astype(type.lower())
        if type == "FLOAT32":
            x = np.where(rng.random(count) < 0.3, rng.choice(SPECIAL_FLOATS, count), x - 3).astype(np.float32)
        samples.append([x])
    outputs = [T((1,), type), T((1,), index_type)]
    return case(rng, "UNIQUE", [T((count,), type)], outputs, {"idx_out_type": index_type}, samples)


def reverse_sequence(*types: str) -> Callable[[np.random.Generator], Case]:
    """Any two axes; lengths from below 0 to all."""

    def build_one(rng: np.random.Generator) -> Case:
        shape = some_shape(rng, 2, 5)
        x, y = data_tensor(rng, types, shape)
        sequence, batch = (int(axis) for axis in rng.permutation(len(shape))[:2])
        lengths = rng.integers(-1, shape[sequence] + 1, shape[batch])
        operand = parameter(rng, lengths, rng.choice([np.int32, np.int64]), 0.6)
        return build(rng, "REVERSE_SEQUENCE", [x, operand], [y], {"seq_dim": sequence, "batch_dim": batch})

    return build_one


def _floats(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    few = rng.choice([0.0, -0.0, 1.0, -1.0, np.nan, np.inf, -np.inf], shape)
    return np.where(rng.random(shape) < 0.4, few, rng.normal(0, 10, shape)).astype(np.float32)


def segments(op: str, type: str) -> Callable[[np.random.Generator], Case]:
    """The unsorted segment ops, and SEGMENT_SUM, which only the optimized resolver has."""

    def build_one(rng: np.random.Generator) -> Case:
        shape = some_shape(rng, 1, 4)
        rank = 1 if op == "SEGMENT_SUM" else int(rng.integers(1, len(shape) + 1))
        number = int(rng.integers(1, 6))
        ids = rng.integers(-1, number, shape[:rank])
        if op == "SEGMENT_SUM":
            ids = np.cumsum(np.r_[0, rng.integers(0, 2, shape[0] - 1)])
        operands: list[Any] = [T(shape, type), parameter(rng, ids, np.int32, 0.5)]
        if op != "SEGMENT_SUM":
            operands.append(parameter(rng, number if rng.random() < 0.5 else [number]))
        built = build(rng, op, operands, [T((1,), type)])
        if type == "FLOAT32":
            for sample in built.samples:
                sample[0] = _floats(rng, shape)
        return replace(built, resolver="BUILTIN_WITHOUT_DEFAULT_DELEGATES") if op == "SEGMENT_SUM" else built

    return build_one


def bucketize(type: str) -> Callable[[np.random.Generator], Case]:
    """Boundaries that occur twice and that values meet; integers that float32 does not hold."""

    def build_one(rng: np.random.Generator) -> Case:
        shape = some_shape(rng, 0, 4)
        choices = [rng.normal(0, 9), 0.0, 16777217.0, 3.5, -2.0, 1e9]
        boundaries = np.sort(rng.choice(choices, int(rng.integers(1, 9))))
        samples = [[draw(rng, type, shape, kind)] for kind in ("min", "max", "random")]
        samples.append([rng.choice(np.r_[boundaries, 0], shape).astype(type.lower())])
        options = {"boundaries": [float(b) for b in boundaries.astype(np.float32)]}
        return case(rng, "BUCKETIZE", [T(shape, type)], [T(shape, "INT32")], options, samples)

    return build_one
