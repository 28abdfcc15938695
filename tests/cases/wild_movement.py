"""Random models of the movement ops that break rules as often as they keep them: what is refused must agree, too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from models import T, one_op
from refquant.model.graph import Model

Y = T((1,))


def i32(values: Any) -> T:
    return T(data=np.array(values, np.int32))


def sizes(rng: np.random.Generator, low: int = 0, high: int = 4) -> tuple[int, ...]:
    smallest = 0 if rng.random() < 0.1 else 1
    return tuple(int(n) for n in rng.integers(smallest, 5, int(rng.integers(low, high + 1))))


def strided_slice(rng: np.random.Generator) -> Model:
    n = int(rng.integers(0, 6))

    def mask(chance: float) -> int:
        return sum(1 << i for i in range(n) if rng.random() < chance)

    options = {"begin_mask": mask(0.3), "end_mask": mask(0.3), "ellipsis_mask": mask(0.1), "new_axis_mask": mask(0.15),
               "shrink_axis_mask": mask(0.15), "offset": False}  # fmt: skip
    strides = rng.choice([1, 2, -1, -2, 0], n, p=[0.65, 0.15, 0.1, 0.08, 0.02])
    bounds = [i32(rng.integers(-6, 7, n)) for _ in range(2)]
    return one_op("STRIDED_SLICE", [T(sizes(rng)), *bounds, i32(strides)], [Y], options)


def reshape(rng: np.random.Generator) -> Model:
    x, new = T(sizes(rng)), [int(n) for n in rng.choice([-1, 0, 1, 2, 3, 4, 6], int(rng.integers(0, 4)))]
    if rng.random() < 0.5:
        return one_op("RESHAPE", [x], [Y], {"new_shape": new})
    return one_op("RESHAPE", [x, i32(new)], [Y])


def slice_(rng: np.random.Generator) -> Model:
    shape = sizes(rng)
    n = len(shape) if rng.random() < 0.9 else int(rng.integers(0, 5))
    begin = rng.integers(-1 if rng.random() < 0.2 else 0, 3, n)
    size = rng.integers(-2 if rng.random() < 0.2 else -1, 3, n)
    return one_op("SLICE", [T(shape), i32(begin), i32(size)], [T(sizes(rng) if rng.random() < 0.2 else ())])


def split_v(rng: np.random.Generator) -> Model:
    shape, n = sizes(rng, 1), int(rng.integers(1, 4))
    axis = int(rng.integers(-len(shape) - 1, len(shape) + 1))
    given = rng.integers(-2 if rng.random() < 0.1 else 0, 4, n)
    if rng.random() < 0.5:
        given[int(rng.integers(n))] = -1
    return one_op("SPLIT_V", [T(shape), i32(given), i32(axis)], [Y] * n, {"num_splits": n})


def unpack(rng: np.random.Generator) -> Model:
    shape = sizes(rng, 0, 3)
    axis = int(rng.integers(-4, 4))
    count = shape[axis] if -len(shape) <= axis < len(shape) and rng.random() < 0.7 else 2
    return one_op("UNPACK", [T(shape)], [Y] * max(count, 1), {"axis": axis, "num": max(count, 1)})


def pack_or_concatenation(rng: np.random.Generator) -> Model:
    shape, inputs = sizes(rng, 0, 3), []
    op = str(rng.choice(["CONCATENATION", "PACK"]))
    axis = int(rng.integers(-4, 4))
    for _ in range(int(rng.integers(1, 4))):
        one = list(shape)
        if one and rng.random() < 0.4:
            one[axis if op == "CONCATENATION" and -len(one) <= axis < len(one) else 0] = int(rng.integers(0, 4))
        inputs.append(T(tuple(one)))
    options = {"axis": axis, "values_count": len(inputs)} if op == "PACK" else {"axis": axis}
    return one_op(op, inputs, [Y], options)


def gather(rng: np.random.Generator) -> Model:
    shape, indices = sizes(rng), sizes(rng, 0, 3)
    if rng.random() < 0.5 and shape:
        indices = shape[: int(rng.integers(0, len(shape) + 1))] + sizes(rng, 0, 1)
    values = rng.integers(-1 if rng.random() < 0.05 else 0, 2, indices)
    options = {"axis": int(rng.integers(-4, 4)), "batch_dims": int(rng.choice([0, 0, 1, 2, -1, -2]))}
    return one_op("GATHER", [T(shape), i32(values)], [Y], options)


def gather_nd(rng: np.random.Generator) -> Model:
    indices = (*sizes(rng, 0, 2), int(rng.integers(1, 4))) if rng.random() < 0.7 else sizes(rng, 0, 3)
    return one_op("GATHER_ND", [T(sizes(rng, 0, 3)), i32(rng.integers(0, 2, indices))], [Y])


def scatter_nd(rng: np.random.Generator) -> Model:
    shape = sizes(rng, 1, 3)
    indices = (*sizes(rng, 1, 2), int(rng.integers(0, len(shape) + 1)))
    updates = sizes(rng, 1, 3) if rng.random() < 0.2 else (*indices[:-1], *shape[indices[-1] :])
    return one_op("SCATTER_ND", [i32(rng.integers(0, 2, indices)), T(updates), i32(shape)], [Y])


def select(rng: np.random.Generator) -> Model:
    shape = sizes(rng)

    def part() -> tuple[int, ...]:
        first = int(rng.integers(0, len(shape) + 1)) if rng.random() < 0.4 else 0
        return tuple(1 if rng.random() < 0.3 else n for n in shape[first:])

    return one_op(str(rng.choice(["SELECT", "SELECT_V2"])), [T(part(), "BOOL"), T(part()), T(part())], [T(part())])


def pad(rng: np.random.Generator) -> Model:
    shape = sizes(rng, 0, 6)
    n = len(shape) if rng.random() < 0.9 else 2
    return one_op("PAD", [T(shape), i32(rng.integers(-1 if rng.random() < 0.1 else 0, 3, (n, 2)))], [Y])


def mirror_pad(rng: np.random.Generator) -> Model:
    shape = sizes(rng)
    mode = str(rng.choice(["REFLECT", "SYMMETRIC"]))
    return one_op("MIRROR_PAD", [T(shape), i32(rng.integers(0, 4, (len(shape), 2)))], [Y], {"mode": mode})


def space_or_batch(rng: np.random.Generator) -> Model:
    rest = sizes(rng, 2, 3) if rng.random() < 0.9 else sizes(rng, 1, 4)
    shape = (int(rng.choice([1, 2, 4, 6])), *rest)
    n = max(1, len(shape) - 2)
    block, margins = rng.integers(0 if rng.random() < 0.1 else 1, 3, n), rng.integers(0, 3, (n, 2))
    op = str(rng.choice(["SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"]))
    return one_op(op, [T(shape), i32(block), i32(margins)], [Y])


def transpose(rng: np.random.Generator) -> Model:
    shape = sizes(rng, 1, 4)
    n = len(shape)
    perm = rng.permutation(n) - rng.integers(0, 2, n) * n + rng.integers(0, 2)
    return one_op("TRANSPOSE", [T(shape), i32(perm)], [Y])


def reverse(rng: np.random.Generator) -> Model:
    shape = sizes(rng)
    axes = rng.integers(-len(shape) - 1, len(shape) + 1, int(rng.integers(1, 4)))
    return one_op("REVERSE_V2", [T(shape), i32(axes)], [Y])


def broadcast_to(rng: np.random.Generator) -> Model:
    shape = [int(n) for n in rng.integers(0, 4, int(rng.integers(0, 5)))]
    x = tuple(1 if rng.random() < 0.5 else n for n in shape[int(rng.integers(len(shape) + 1)) :])
    return one_op("BROADCAST_TO", [T(x if rng.random() < 0.8 else sizes(rng)), i32(shape)], [Y], version=2)


WILD: Mapping[str, Callable[[np.random.Generator], Model]] = {
    "STRIDED_SLICE": strided_slice,
    "RESHAPE": reshape,
    "SLICE": slice_,
    "SPLIT_V": split_v,
    "UNPACK": unpack,
    "PACK, CONCATENATION": pack_or_concatenation,
    "GATHER": gather,
    "GATHER_ND": gather_nd,
    "SCATTER_ND": scatter_nd,
    "SELECT, SELECT_V2": select,
    "PAD": pad,
    "MIRROR_PAD": mirror_pad,
    "SPACE_TO_BATCH_ND, BATCH_TO_SPACE_ND": space_or_batch,
    "TRANSPOSE": transpose,
    "REVERSE_V2": reverse,
    "BROADCAST_TO": broadcast_to,
}
