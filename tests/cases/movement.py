"""Random models of the ops that move, cut, join, pick, pad and make tensors, of every type that the runtime moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from models import Case, T, one_op

MOVABLE = ("INT8", "UINT8", "INT16", "INT32", "INT64", "FLOAT16", "FLOAT32", "BOOL")
NO_BOOL = ("INT8", "UINT8", "INT16", "INT32", "INT64", "FLOAT32")
NO_INT16 = ("INT8", "UINT8", "INT32", "INT64", "FLOAT32", "BOOL")
BLOCKS = ("INT8", "UINT8", "INT32", "INT64", "FLOAT32")
NUMBERS = ("INT32", "INT64", "FLOAT32")
NAMES = {"int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64", "bool": "BOOL", "float32": "FLOAT32",
         "uint8": "UINT8", "float16": "FLOAT16"}  # fmt: skip
SPECIAL_FLOATS = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-42, 3.4028235e38], np.float32)


@dataclass
class Runtime:
    """A parameter that is a graph input: every sample carries this value."""

    value: np.ndarray


def draw(rng: np.random.Generator, type: str, shape: tuple[int, ...], kind: str = "random") -> np.ndarray:
    if type == "BOOL":
        return rng.integers(0, 2, shape).astype(bool)
    if type in ("FLOAT16", "FLOAT32"):
        values = np.where(rng.random(shape) < 0.2, rng.choice(SPECIAL_FLOATS, shape), rng.normal(0, 10, shape))
        with np.errstate(over="ignore"):
            return values.astype(type.lower())
    info = np.iinfo(type.lower())
    if kind != "random":
        return np.full(shape, info.min if kind == "min" else info.max, type.lower())
    return rng.integers(info.min, info.max, shape, type.lower(), endpoint=True)


def build(
    rng: np.random.Generator,
    op: str,
    inputs: list[T | Runtime | None],
    outputs: list[T],
    options: dict[str, Any] | None = None,
    version: int = 1,
) -> Case:
    tensors = [T(i.value.shape, NAMES[i.value.dtype.name]) if isinstance(i, Runtime) else i for i in inputs]
    samples = []
    for kind in ("min", "max", "random", "random"):
        samples.append(
            [
                given.value if isinstance(given, Runtime) else draw(rng, t.type, t.shape, kind)
                for given, t in zip(inputs, tensors, strict=True)
                if t is not None and t.data is None
            ]
        )
    return Case(one_op(op, tensors, outputs, options, version), samples)


def parameter(rng: np.random.Generator, values: Any, dtype: Any = np.int32, runtime: float = 0.3) -> T | Runtime:
    array = np.array(values, dtype)
    return Runtime(array) if array.size and rng.random() < runtime else T(data=array)


def some_shape(
    rng: np.random.Generator, low: int = 1, high: int = 5, zero: bool = False, most: int = 400
) -> tuple[int, ...]:
    rank = int(rng.integers(low, high + 1))
    while True:
        shape = tuple(
            int(n) for n in rng.choice([1, 2, 3, 4, 5, 7, 8, 9, 16, 17], rank, p=[0.2, 0.2, 0.2, *[0.4 / 7] * 7])
        )
        if int(np.prod(shape)) <= most:
            break
    if zero and rank and rng.random() < 0.05:
        at = int(rng.integers(rank))
        shape = (*shape[:at], 0, *shape[at + 1 :])
    return shape


def quantized(rng: np.random.Generator, type: str) -> dict[str, Any]:
    if type not in ("INT8", "UINT8", "INT16") or rng.random() < 0.2:
        return {}
    info = np.iinfo(type.lower())
    low, high = (0, 0) if type == "INT16" else (int(info.min), int(info.max))
    zero_point = int(rng.choice([low, high, rng.integers(low, high + 1)]))
    return {"scale": float(np.float32(2.0 ** rng.uniform(-8, 2))), "zero_point": zero_point}


def any_sign(rng: np.random.Generator, axis: int, rank: int) -> int:
    return axis - rank if rng.random() < 0.5 else axis


def data_tensor(rng: np.random.Generator, types: tuple[str, ...], shape: tuple[int, ...]) -> tuple[T, T]:
    """A tensor, and an output of its type with a quantization of its own: pure movement does not look at it."""
    type = str(rng.choice(types))
    return T(shape, type, **quantized(rng, type)), T((1,), type, **quantized(rng, type))


def same_tensor(rng: np.random.Generator, types: tuple[str, ...], shape: tuple[int, ...]) -> tuple[T, T]:
    """A tensor, and an output of its type and quantization."""
    type = str(rng.choice(types))
    q = quantized(rng, type)
    return T(shape, type, **q), T((1,), type, **q)


def reshape(rng: np.random.Generator) -> Case:
    shape = some_shape(rng, 0, 5, zero=True)
    x, y = data_tensor(rng, MOVABLE, shape)
    left = int(np.prod(shape))
    new: list[int] = []
    while left > 1 and rng.random() < 0.8:
        new.append(int(rng.choice([n for n in range(1, left + 1) if left % n == 0])))
        left //= new[-1]
    new = list(shape) if 0 in shape else [*new, left]
    rng.shuffle(new)
    if rng.random() < 0.4:
        new[int(rng.integers(len(new)))] = -1
    way = rng.random()
    if way < 0.25:
        return build(rng, "RESHAPE", [x], [y], {"new_shape": [0] if new == [1] and rng.random() < 0.5 else new})
    if way < 0.35:  # a second operand that is no INT32 vector is not looked at
        values, dtype = [(3, np.int32), ([5, 7], np.int64), ([[2]], np.int32)][int(rng.integers(3))]
        return build(rng, "RESHAPE", [x, parameter(rng, values, dtype)], [y], {"new_shape": new})
    operand = parameter(rng, new, runtime=0 if 0 in shape else 0.3)  # an empty dynamic tensor cannot be read
    return build(rng, "RESHAPE", [x, operand], [y], {"new_shape": [9, 9]} if rng.random() < 0.3 else {})


def squeeze(rng: np.random.Generator) -> Case:
    shape = tuple(1 if rng.random() < 0.5 else n for n in some_shape(rng, 0, 8, zero=True, most=200))
    x, y = data_tensor(rng, MOVABLE, shape)
    ones = [axis for axis, n in enumerate(shape) if n == 1]
    dims = [any_sign(rng, a, len(shape)) for a in ones if rng.random() < 0.6]
    if dims and rng.random() < 0.2:
        dims.append(dims[0])
    rng.shuffle(dims)
    return build(rng, "SQUEEZE", [x], [y], {"squeeze_dims": dims})


def expand_dims(rng: np.random.Generator) -> Case:
    shape = some_shape(rng, 0, 5, zero=True)
    x, y = same_tensor(rng, MOVABLE, shape)
    axis = any_sign(rng, int(rng.integers(len(shape) + 1)), len(shape) + 1)
    values = axis if rng.random() < 0.5 else [axis]
    if 0 in shape:
        return build(rng, "EXPAND_DIMS", [x, T(data=np.array(values, np.int32))], [y])
    return build(rng, "EXPAND_DIMS", [x, parameter(rng, values, rng.choice([np.int32, np.int64]))], [y])


def transpose(rng: np.random.Generator) -> Case:
    shape = some_shape(rng, 1, 8, zero=True)
    x, y = data_tensor(rng, MOVABLE, shape)
    perm = [any_sign(rng, int(a), len(shape)) for a in rng.permutation(len(shape))]
    return build(rng, "TRANSPOSE", [x, parameter(rng, perm, runtime=0 if 0 in shape else 0.3)], [y])


def tile(rng: np.random.Generator) -> Case:
    shape = some_shape(rng, 0, 5, zero=True, most=100)
    x, y = data_tensor(rng, MOVABLE, shape)
    multiples = rng.choice([1, 1, 1, 2, 3], len(shape)).astype(int)
    dtype = rng.choice([np.int32, np.int64])
    if len(shape) and rng.random() < 0.05:
        multiples[0] = 0
        return build(rng, "TILE", [x, T(data=multiples.astype(dtype))], [y])
    return build(rng, "TILE", [x, parameter(rng, multiples, dtype, 0 if 0 in shape else 0.3)], [y])


def broadcast_to(rng: np.random.Generator) -> Case:
    shape = some_shape(rng, 0, 6, most=200)
    x, y = data_tensor(
        rng, MOVABLE, tuple(1 if rng.random() < 0.4 else n for n in shape[int(rng.integers(len(shape) + 1)) :])
    )
    return build(rng, "BROADCAST_TO", [x, parameter(rng, shape, rng.choice([np.int32, np.int64]))], [y], version=2)


def reverse(rng: np.random.Generator) -> Case:
    shape = some_shape(rng, 1, 8)
    x, y = data_tensor(rng, MOVABLE, shape)
    first = int(rng.integers(len(shape)))
    axes = [any_sign(rng, a, len(shape)) for a in range(first, int(rng.integers(first, len(shape))) + 1)]
    rng.shuffle(axes)
    return build(rng, "REVERSE_V2", [x, parameter(rng, axes)], [y])


def space_to_depth(rng: np.random.Generator) -> Case:
    block = int(rng.integers(1, 5))
    n, h, w, c = some_shape(rng, 4, 4, most=60)
    x, y = data_tensor(rng, BLOCKS, (n, min(h, 5) * block, min(w, 5) * block, c))
    return build(rng, "SPACE_TO_DEPTH", [x], [y], {"block_size": block})


def depth_to_space(rng: np.random.Generator) -> Case:
    block = int(rng.integers(1, 5))
    n, h, w, c = some_shape(rng, 4, 4, most=60)
    x, y = data_tensor(rng, BLOCKS, (n, h, w, c * block * block))
    return build(rng, "DEPTH_TO_SPACE", [x], [y], {"block_size": block})


def space_to_batch(rng: np.random.Generator) -> Case:
    n = int(rng.integers(1, 3))
    block = rng.integers(1, 4, n)
    shape = some_shape(rng, n + 2, n + 2, most=200)
    paddings = rng.integers(0, 4, (n, 2))
    paddings[:, 1] += -(np.array(shape[1:-1]) + paddings.sum(1)) % block
    x, y = same_tensor(rng, MOVABLE, shape)
    return build(rng, "SPACE_TO_BATCH_ND", [x, parameter(rng, block), parameter(rng, paddings)], [y])


def batch_to_space(rng: np.random.Generator) -> Case:
    n = int(rng.integers(1, 3))
    block = rng.integers(1, 4, n)
    batch, *spatial, depth = some_shape(rng, n + 2, n + 2, most=60)
    full = np.array(spatial) * block
    crops = np.array([[before := int(rng.integers(0, size)), int(rng.integers(0, size - before))] for size in full])
    if rng.random() < 0.3:
        crops[:] = 0
    x, y = same_tensor(rng, MOVABLE, (batch * int(np.prod(block)), *spatial, depth))
    return build(rng, "BATCH_TO_SPACE_ND", [x, parameter(rng, block), parameter(rng, crops)], [y])


def slice_(rng: np.random.Generator) -> Case:
    shape = some_shape(rng, 0, 7)
    begin = [0 if rng.random() < 0.5 else int(rng.integers(0, n)) for n in shape]
    size = [n - b if rng.random() < 0.6 else int(rng.integers(1, n - b + 1)) for n, b in zip(shape, begin, strict=True)]
    x, y = data_tensor(rng, MOVABLE, shape)
    y = T(tuple(size) if rng.random() < 0.6 else (), y.type, y.scale, y.zero_point)
    given = [-1 if b + s == n and rng.random() < 0.6 else s for n, b, s in zip(shape, begin, size, strict=True)]
    dtype = rng.choice([np.int32, np.int64])
    return build(rng, "SLICE", [x, parameter(rng, begin, dtype), parameter(rng, given, dtype)], [y])


def strided_slice(rng: np.random.Generator) -> Case:
    shape = some_shape(rng, 1, 6)
    x, y = data_tensor(rng, MOVABLE, shape)
    rank = len(shape)
    offset = rng.random() < 0.2
    named = rank if offset or rng.random() < 0.6 else int(rng.integers(0, rank + 1))
    entries: list[tuple[int, int, int, str]] = []
    ellipsis = None if offset or rng.random() < 0.6 else int(rng.integers(0, named + 1))
    named = min(named, rank - 1) if ellipsis is not None else named
    ellipsis = min(ellipsis, named) if ellipsis is not None else None
    axes = [*range(named)] if ellipsis is None else [*range(ellipsis), *range(rank - named + ellipsis, rank)]
    for position, axis in enumerate(axes):
        if position == ellipsis:
            entries.append((int(rng.integers(-9, 9)), int(rng.integers(-9, 9)), 1, "ellipsis"))
        entries.append(_strided_entry(rng, shape[axis], offset))
    if ellipsis is not None and ellipsis == len(axes):
        entries.append((0, 0, 1, "ellipsis"))
    while not offset and rng.random() < 0.2 and len(entries) < 8:
        entries.insert(int(rng.integers(len(entries) + 1)), (3, -5, 1, "new"))
    mask = {name: sum(1 << i for i, entry in enumerate(entries) if name in entry[3].split()) for name in
            ("begin", "end", "ellipsis", "new", "shrink")}  # fmt: skip
    options = {f"{name}{'_axis' if name in ('new', 'shrink') else ''}_mask": bits for name, bits in mask.items()}
    runtime = 0.0 if offset else 0.2
    begin, end, strides = ([entry[i] for entry in entries] for i in range(3))
    operands = [parameter(rng, v, runtime=runtime) for v in (begin, end, strides)]
    return build(rng, "STRIDED_SLICE", [x, *operands], [y], {**options, "offset": offset})


def _strided_entry(rng: np.random.Generator, size: int, offset: bool) -> tuple[int, int, int, str]:
    """(begin, end, stride, masks), which reads at least one element."""
    if offset:
        begin = int(rng.integers(0, size))
        if rng.random() < 0.2:
            return begin - size, 77, 1, "shrink"
        return begin, int(rng.integers(1, size - begin + 1)), int(rng.integers(1, 4)), ""
    while True:
        begin, end = (int(v) for v in rng.integers(-size - 2, size + 3, 2))
        stride = int(rng.choice([1, 1, 1, 2, 3, -1, -2, -5]))
        masks = " ".join(m for m in ("begin", "end") if rng.random() < 0.3)
        if rng.random() < 0.15 and -size <= begin < size:
            return begin, end, abs(stride), f"shrink {masks}"
        read = np.arange(size)[slice(None if "begin" in masks else begin, None if "end" in masks else end, stride)]
        if len(read):
            return begin, end, stride, masks


def split(rng: np.random.Generator) -> Case:
    shape = list(some_shape(rng, 1, 5, most=100))
    axis, count = int(rng.integers(len(shape))), int(rng.integers(1, 5))
    shape[axis] = count * int(rng.integers(1, 4))
    x, y = data_tensor(rng, NO_BOOL, tuple(shape))
    given = any_sign(rng, axis, len(shape))
    return build(
        rng, "SPLIT", [parameter(rng, given if rng.random() < 0.5 else [given]), x], [y] * count, {"num_splits": count}
    )


def split_v(rng: np.random.Generator) -> Case:
    shape = list(some_shape(rng, 1, 5, most=100))
    axis, count = int(rng.integers(len(shape))), int(rng.integers(1, 5))
    sizes = [int(n) for n in rng.integers(1, 4, count)]
    shape[axis] = sum(sizes)
    if rng.random() < 0.4:
        sizes[int(rng.integers(count))] = -1
    x, y = data_tensor(rng, NO_BOOL, tuple(shape))
    operands = [
        parameter(rng, sizes, rng.choice([np.int32, np.int64])),
        parameter(rng, any_sign(rng, axis, len(shape))),
    ]
    return build(rng, "SPLIT_V", [x, *operands], [y] * count, {"num_splits": count})


def unpack(rng: np.random.Generator) -> Case:
    shape = some_shape(rng, 1, 5, most=200)
    axis = int(rng.integers(len(shape)))
    x, y = same_tensor(rng, ("INT8", "UINT8", "INT16", "INT32", "FLOAT16", "FLOAT32", "BOOL"), shape)
    options = {"axis": any_sign(rng, axis, len(shape)), "num": shape[axis]}
    return build(rng, "UNPACK", [x], [y] * shape[axis], options)


def pack(rng: np.random.Generator) -> Case:
    shape = some_shape(rng, 0, 4, most=100)
    x, y = same_tensor(rng, NO_BOOL, shape)
    axis, count = int(rng.integers(len(shape) + 1)), int(rng.integers(1, 6))
    inputs = [T(data=draw(rng, x.type, shape), **_q(x)) if rng.random() < 0.3 else x for _ in range(count)]
    return build(rng, "PACK", inputs, [y], {"axis": any_sign(rng, axis, len(shape) + 1), "values_count": count})


def _q(t: T) -> dict[str, Any]:
    return {"scale": t.scale, "zero_point": t.zero_point}


def concatenation(rng: np.random.Generator) -> Case:
    shape = list(some_shape(rng, 1, 6, most=100))
    x, y = same_tensor(rng, MOVABLE, tuple(shape))
    axis = int(rng.integers(len(shape)))
    inputs = []
    for _ in range(int(rng.integers(1, 6))):
        shape[axis] = int(rng.integers(0 if inputs and rng.random() < 0.1 else 1, 6))
        q = _q(x) if x.type != "INT16" else quantized(rng, "INT16")
        t = T(tuple(shape), x.type, **q)
        inputs.append(T(data=draw(rng, x.type, tuple(shape)), **q) if rng.random() < 0.3 and 0 not in shape else t)
    return build(rng, "CONCATENATION", inputs, [y], {"axis": any_sign(rng, axis, len(shape))})


def concatenation_of_scalars(rng: np.random.Generator) -> Case:
    type = str(rng.choice(MOVABLE))
    inputs = [T(data=draw(rng, type, ())) for _ in range(int(rng.integers(1, 6)))]
    return build(rng, "CONCATENATION", inputs, [T((1,), type)], {"axis": 0})


def gather(rng: np.random.Generator) -> Case:
    shape = some_shape(rng, 1, 4)
    x, y = data_tensor(rng, MOVABLE, shape)
    axis = int(rng.integers(len(shape)))
    batch_dims = int(rng.integers(0, axis + 1)) if rng.random() < 0.5 else 0
    count = (*shape[:batch_dims], *some_shape(rng, 0, 2, most=20))
    indices = rng.integers(0, shape[axis], count).astype(rng.choice([np.int16, np.int32, np.int64]))
    data: T | Runtime = T(data=draw(rng, x.type, shape), **_q(x)) if rng.random() < 0.3 else x
    if count and rng.random() < 0.3:
        batch_dims -= len(count)
    options = {"axis": any_sign(rng, axis, len(shape)), "batch_dims": batch_dims}
    return build(rng, "GATHER", [data, parameter(rng, indices, indices.dtype, 0.5)], [y], options)


def gather_nd(rng: np.random.Generator) -> Case:
    shape = some_shape(rng, 1, 4)
    x, y = data_tensor(rng, MOVABLE, shape)
    count, coordinates = some_shape(rng, 0, 2, most=20), int(rng.integers(1, len(shape) + 1))
    indices = np.stack([rng.integers(0, n, count) for n in shape[:coordinates]], -1)
    data: T | Runtime = T(data=draw(rng, x.type, shape), **_q(x)) if rng.random() < 0.3 else x
    dtype = rng.choice([np.int16, np.int32, np.int64])
    return build(rng, "GATHER_ND", [data, parameter(rng, indices, dtype, 0.5)], [y])


def scatter_nd(rng: np.random.Generator) -> Case:
    shape = some_shape(rng, 1, 4, most=100)
    type = str(rng.choice(NO_INT16))
    count, coordinates = some_shape(rng, 1, 2, most=20), int(rng.integers(0, len(shape)))
    indices = np.stack([rng.integers(0, n, count) for n in shape[:coordinates]] or [np.zeros((*count, 0))], -1)
    indices = indices.reshape(*count, coordinates) if coordinates else np.zeros((*count, 0))
    updates = T((*count, *shape[coordinates:]), type)
    operands = [parameter(rng, indices, np.int32, 0.5), updates, parameter(rng, shape)]
    return build(rng, "SCATTER_ND", operands, [T((1,), type)])


def dynamic_update_slice(rng: np.random.Generator) -> Case:
    shape = some_shape(rng, 1, 5)
    x, y = data_tensor(rng, MOVABLE, shape)
    update = T(tuple(int(rng.integers(1, n + 1)) for n in shape), x.type, **quantized(rng, x.type))
    start = rng.integers(-3, 9, len(shape))
    return build(
        rng, "DYNAMIC_UPDATE_SLICE", [x, update, parameter(rng, start, rng.choice([np.int32, np.int64]), 0.6)], [y]
    )


def where(rng: np.random.Generator) -> Case:
    type, shape = str(rng.choice(NO_INT16)), some_shape(rng, 1, 5)
    case = build(rng, "WHERE", [T(shape, type)], [T((1,), "INT64")])
    for (sample,) in case.samples:
        sample[rng.random(shape) < 0.5] = 0
        sample.reshape(-1)[int(rng.integers(sample.size))] = 1  # an empty tensor cannot be read from the runtime
    return case


def topk(rng: np.random.Generator) -> Case:
    type, shape = str(rng.choice(NO_BOOL)), some_shape(rng, 1, 4)
    k = int(rng.integers(1, shape[-1] + 1))
    outputs = [T((1,), type), T((1,), str(rng.choice(["INT16", "INT32"])))]
    case = build(rng, "TOPK_V2", [T(shape, type), parameter(rng, k, rng.choice([np.int16, np.int32]))], outputs)
    for sample in case.samples[2:]:
        if rng.random() < 0.5:
            sample[0] = rng.integers(0, 4, shape).astype(sample[0].dtype)  # many equal ones
    return case


def select(rng: np.random.Generator) -> Case:
    shape = some_shape(rng, 0, 5)
    x, y = data_tensor(rng, MOVABLE, shape)
    condition = T([shape, (), shape[:1]][int(rng.integers(3))], "BOOL")
    y = T(shape if shape else (), y.type, y.scale, y.zero_point)
    return build(rng, "SELECT", [condition, x, T(shape, x.type)], [y])


def select_of_single_elements(rng: np.random.Generator) -> Case:
    type = str(rng.choice(MOVABLE))
    ones = [(1,) * int(rng.integers(0, 4)) for _ in range(4)]
    return build(
        rng,
        str(rng.choice(["SELECT", "SELECT_V2"])),
        [T(ones[0], "BOOL"), T(ones[1], type), T(ones[2], type)],
        [T(ones[3], type)],
    )


def select_v2(rng: np.random.Generator) -> Case:
    shape = some_shape(rng, 0, 7)
    type = str(rng.choice(MOVABLE))

    def part() -> tuple[int, ...]:
        return tuple(
            1 if rng.random() < 0.3 else n
            for n in shape[int(rng.integers(len(shape) + 1)) if rng.random() < 0.4 else 0 :]
        )

    def operand(type: str) -> T:
        return T(data=draw(rng, type, part())) if rng.random() < 0.2 else T(part(), type, **quantized(rng, type))

    inputs = [operand("BOOL"), operand(type), operand(type)]
    single = all(int(np.prod(t.shape)) == 1 for t in inputs)
    result = max((t.shape for t in inputs), key=len) if single else (1,)
    return build(rng, "SELECT_V2", inputs, [T(result, type)])


def pad(rng: np.random.Generator) -> Case:
    shape = some_shape(rng, 0, 5, zero=True, most=100)
    type = str(rng.choice(MOVABLE))
    q = quantized(rng, type)
    paddings = rng.integers(0, 3, (len(shape), 2))
    if rng.random() < 0.3 and len(shape) == 4:
        paddings[[0, 3]] = 0
    dtype = rng.choice([np.int32, np.int64, np.int16, np.int8])
    if rng.random() < 0.1:
        paddings, dtype = paddings % 2, np.bool_
    operand = T(data=paddings.astype(dtype)) if 0 in shape else parameter(rng, paddings, dtype)
    return build(
        rng,
        "PAD",
        [T(shape, type, **q), operand],
        [T((1,), type, **(q if rng.random() < 0.5 else quantized(rng, type)))],
    )


def padv2(rng: np.random.Generator) -> Case:
    shape = some_shape(rng, 0, 5, most=100)
    type = str(rng.choice(MOVABLE))
    q, output_q = quantized(rng, type), quantized(rng, type)
    paddings = parameter(rng, rng.integers(0, 3, (len(shape), 2)))
    value = draw(rng, type, (1,) * int(rng.integers(0, 3)))
    given: T | Runtime = T(data=value, **output_q)
    if not output_q and rng.random() < 0.5:
        given = Runtime(value)
    return build(rng, "PADV2", [T(shape, type, **q), paddings, given], [T((1,), type, **output_q)])


def mirror_pad(rng: np.random.Generator) -> Case:
    shape = some_shape(rng, 0, 6, most=100)
    mode = str(rng.choice(["REFLECT", "SYMMETRIC"]))
    most = [n - (mode == "REFLECT") for n in shape]
    paddings = np.array([[int(rng.choice([0, m, rng.integers(0, m + 1)])) for _ in "lr"] for m in most]).reshape(-1, 2)
    x, y = same_tensor(rng, MOVABLE, shape)
    return build(
        rng, "MIRROR_PAD", [x, parameter(rng, paddings, rng.choice([np.int32, np.int64]))], [y], {"mode": mode}
    )


def shape(rng: np.random.Generator) -> Case:
    type = str(rng.choice(["INT32", "INT64"]))
    x = T(some_shape(rng, 1, 6, zero=True), str(rng.choice(MOVABLE)))
    return build(rng, "SHAPE", [x], [T((1,), type)], {"out_type": type})


def rank(rng: np.random.Generator) -> Case:
    return build(rng, "RANK", [T(some_shape(rng, 0, 6, zero=True), str(rng.choice(MOVABLE)))], [T((), "INT32")])


def zeros_like(rng: np.random.Generator) -> Case:
    type, shape = str(rng.choice(NUMBERS)), some_shape(rng, 0, 5)
    return build(rng, "ZEROS_LIKE", [T(shape, type)], [T((1,), type)])


def fill(rng: np.random.Generator) -> Case:
    value, y = same_tensor(rng, MOVABLE, ())
    value = T(data=draw(rng, value.type, ()), **_q(value)) if rng.random() < 0.4 else value
    dims = parameter(rng, some_shape(rng, 0, 4), rng.choice([np.int32, np.int64]))
    return build(rng, "FILL", [dims, value], [y])


def range_(rng: np.random.Generator) -> Case:
    type = str(rng.choice(NUMBERS))
    dtype = type.lower()
    if type == "FLOAT32":
        delta = np.float32(rng.choice([0.1, 1 / 3, 1.0, 0.25, 1e-3]) * rng.choice([-1, 1]))
        start = np.float32(rng.choice([0.0, 1.0, 1e6, rng.normal(0, 100)]))
        limit = np.float32(start + delta * np.float32(rng.choice([rng.integers(1, 60), rng.uniform(0.01, 60)])))
        if start == limit:
            limit = start + np.float32(np.sign(delta))
    else:
        info = np.iinfo(dtype)
        delta = int(rng.integers(1, 9)) * int(rng.choice([-1, 1]))
        start = int(rng.choice([info.min, 0, info.max, rng.integers(-99, 99)]))
        limit = start + delta * int(rng.integers(1, 20)) + int(rng.integers(0, abs(delta))) * (1 if delta > 0 else -1)
        limit = min(max(limit, info.min), info.max)
        if limit == start:
            limit, delta = (start - 5, -2) if start > 0 else (start + 5, 2)
    operands = [parameter(rng, v, dtype) for v in (start, limit, delta)]
    return build(rng, "RANGE", operands, [T((1,), type)])


def broadcast_args(rng: np.random.Generator) -> Case:
    type, shape = rng.choice([np.int32, np.int64]), some_shape(rng, 1, 5)
    parts = [[1 if rng.random() < 0.4 else n for n in shape[int(rng.integers(len(shape))) :]] for _ in "ab"]
    return build(rng, "BROADCAST_ARGS", [parameter(rng, p, type) for p in parts], [T((1,), NAMES[np.dtype(type).name])])


def one_hot(rng: np.random.Generator) -> Case:
    shape, type = some_shape(rng, 0, 3, most=60), str(rng.choice(NO_INT16))
    depth, index_type = int(rng.integers(1, 7)), str(rng.choice(["INT32", "INT64"]))
    axis = int(rng.integers(-1, len(shape) + 1))
    ones = (1,) * int(rng.integers(0, 2))
    values = [T(data=draw(rng, type, ones)) if rng.random() < 0.5 else T(ones, type) for _ in "ab"]
    case = build(
        rng,
        "ONE_HOT",
        [T(shape, index_type), parameter(rng, depth if rng.random() < 0.5 else [depth]), *values],
        [T((1,), type)],
        {"axis": axis},
    )
    for sample in case.samples[1:]:
        sample[0] = rng.integers(-2, depth + 2, shape).astype(index_type.lower())
        if index_type == "INT64" and rng.random() < 0.3:
            sample[0] = sample[0] + np.int64(2**32)  # the kernel looks at the low half
    return case


def cumsum(rng: np.random.Generator) -> Case:
    type, shape = str(rng.choice(NUMBERS)), some_shape(rng, 1, 5, zero=True)
    axis = any_sign(rng, int(rng.integers(len(shape))), len(shape))
    options = {"exclusive": bool(rng.random() < 0.5), "reverse": bool(rng.random() < 0.5)}
    return build(
        rng,
        "CUMSUM",
        [T(shape, type), parameter(rng, axis if rng.random() < 0.5 else [axis])],
        [T((1,), type)],
        options,
    )
