"""Pools, reductions and SOFTMAX of float32 as XNNPACK runs them in vectors of 16: in which order they add, and compare.

Denormal numbers count as 0. Source: google/XNNPACK, src/f32-avgpool/, src/f32-maxpool/, src/f32-rsum/, src/f32-rdsum/,
src/f32-rsum2/, src/f32-rdsum2/, src/f32-rminmax/, src/f32-rdminmax/; src/indirection.c; src/normalization.c,
xnn_normalize_reduction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from refquant.arithmetic.flushing import Float32, add_flushed, flush_denormals, larger, smaller, sums_stay_normal
from refquant.arithmetic.fused_multiply_add import fused_multiply_add_float32
from refquant.arithmetic.vector_functions import exp_of_negative
from refquant.kernels.activation import clamp_float
from refquant.kernels.padding import Window, pad, tap_counts, taps
from refquant.kernels.pooling import FloatPoolParams
from refquant.kernels.reduction import ReductionParams
from refquant.kernels.softmax import FloatSoftmaxParams
from refquant.model.graph import Array

Combine = Callable[[Float32, Float32], Float32]

LANES = 16
PASS = 9  # taps of a window that are combined at once
ROWS = 7  # that are added in one pass; the last pass adds zeros for those that it lacks


# ---- pools ----


def _columns_first(padded: Array, window: Window) -> list[Array]:
    """The taps of a window, column by column."""
    rows = list(taps(padded, window))
    return [rows[y * window.width.filter + x] for x in range(window.width.filter) for y in range(window.height.filter)]


def _combined(combine: Combine, nine: Sequence[Array]) -> Array:
    """Nine taps in the order of one pass."""
    i0, i1, i2, i3, i4, i5, i6, i7, i8 = nine
    middle = combine(combine(i2, i3), combine(i4, i5))
    return combine(middle, combine(combine(combine(i0, i1), i8), combine(i6, i7)))


def average_pool_2d(params: FloatPoolParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """clamp(sum * (1 / count)), nine taps of the sum at a time, column by column, over those inside the image.

    arrays: input float32 (N, H, W, C).
    """
    x = arrays[0]
    assert x is not None
    window = params.window
    if _is_one_pixel(window):
        return (_clamp_alone(params, x),)
    x = flush_denormals(x)
    add = np.add if sums_stay_normal(x) else add_flushed
    values = _columns_first(pad(x, window, 0, np.float32), window)
    nothing = np.zeros((len(x), *params.output_shapes[0][1:]), np.float32)
    total = nothing
    with np.errstate(all="ignore"):
        for start in range(0, len(values), PASS):
            nine = values[start : start + PASS]
            total = add(total, _combined(add, nine + [nothing] * (PASS - len(nine))))
        total = flush_denormals(total * (np.float32(1) / tap_counts(window)[..., np.newaxis].astype(np.float32)))
    return (smaller(larger(total, params.low), params.high),)


def _is_one_pixel(window: Window) -> bool:
    return window.height.filter == window.width.filter == 1


def _clamp_alone(params: FloatPoolParams, x: Array) -> Array:
    """What a pool of single pixels is; without bounds a copy, denormal numbers too."""
    if np.isinf(params.low) and np.isinf(params.high):
        return x
    return clamp_float(flush_denormals(x), params.low, params.high)


def max_pool_2d(params: FloatPoolParams, arrays: Sequence[Array | None]) -> tuple[Array]:
    """clamp(the largest tap), nine at a time, column by column; beyond the image are its border pixels.

    Of equal zeros, and of a NaN and what it meets, the later one counts; alone a NaN is the lower bound.
    arrays: input float32 (N, H, W, C).
    """
    x = arrays[0]
    assert x is not None
    if _is_one_pixel(params.window):
        return (_clamp_alone(params, x),)
    x, height, width = flush_denormals(x), params.window.height, params.window.width
    frame = ((0, 0), (height.before, height.after), (width.before, width.after), (0, 0))
    values = _columns_first(np.pad(x, frame, mode="edge"), params.window)
    best = None
    for start in range(0, len(values), PASS):
        nine = values[start : start + PASS]
        found = _combined(larger, nine + [nine[0]] * (PASS - len(nine)))
        best = smaller(larger(found, params.low) if best is None else larger(best, found), params.high)
    assert best is not None
    return (best,)


# ---- reductions ----


def _in_runs(params: ReductionParams, x: Array) -> tuple[Array, bool]:
    """(x as (kept, outer, inner), whether the elements of an inner run are neighbours in memory).

    An inner run are the elements along the last of the reduced axes and those next to it, if they are reduced too.
    """
    samples = x.ndim - params.rank
    groups = groupby(range(samples, x.ndim), key=lambda axis: axis - x.ndim in params.axes)
    sizes = [(is_reduced, math.prod(x.shape[axis] for axis in axes)) for is_reduced, axes in groups]
    reduced = [place for place, (is_reduced, _) in enumerate(sizes, 1) if is_reduced]
    kept = [0, *(place for place, (is_reduced, _) in enumerate(sizes, 1) if not is_reduced)]
    shape = math.prod(x.shape[:samples]), *(size for _, size in sizes)
    runs = x.reshape(shape).transpose(*kept, *reduced)
    inner = shape[reduced[-1]]
    outer = math.prod(shape[place] for place in reduced[:-1])
    return runs.reshape(math.prod(shape[place] for place in kept), outer, inner), reduced[-1] == len(sizes)


def _restored(params: ReductionParams, result: Array, x: Array) -> Array:
    return result.reshape((*x.shape[: x.ndim - params.rank], *params.output_shapes[0]))


def mean(params: ReductionParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """0 + part * (1 / count) + part * (1 / count) + ...: a part is the sum of one inner run; NaN of no elements.

    Runs of neighbours are added in lanes, others one after another. arrays: input float32, axes None.
    """
    if not params.count:
        return (np.full_like(_scaled_sum(params, arrays[0], np.float32(1)), np.nan),)
    return (_scaled_sum(params, arrays[0], np.float32(1) / np.float32(params.count)),)


def sum_(params: ReductionParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """As mean, without 1 / count; 0 of no elements."""
    return (_scaled_sum(params, arrays[0], np.float32(1)),)


def mean_of_squares(params: ReductionParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """As mean, of the squares of x: each is added by fma, without being rounded before. arrays: input float32, None."""
    if not params.count:
        return mean(params, arrays)
    return (_scaled_sum(params, arrays[0], np.float32(1) / np.float32(params.count), SQUARES),)


def sum_of_squares(params: ReductionParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """As mean_of_squares, without 1 / count; 0 of no elements."""
    return (_scaled_sum(params, arrays[0], np.float32(1), SQUARES),)


def _add_square(total: Float32, x: Float32) -> Float32:
    return fused_multiply_add_float32(x, x, total)


@dataclass(frozen=True, slots=True)
class _Addition:
    """How elements are added to a sum, without denormal numbers and with them, and in how many vectors of 16."""

    plain: Combine
    flushed: Combine
    vectors: int


ELEMENTS, SQUARES = _Addition(np.add, add_flushed, 2), _Addition(_add_square, _add_square, 4)


def _scaled_sum(params: ReductionParams, x: Array | None, scale: np.float32, addition: _Addition = ELEMENTS) -> Array:
    """A part of neighbours is multiplied and added at once, rounded once; another one in two steps."""
    assert x is not None
    runs, neighbours = _in_runs(params, flush_denormals(x))
    add, join = (addition.plain, ELEMENTS.plain) if sums_stay_normal(runs) else (addition.flushed, ELEMENTS.flushed)
    with np.errstate(all="ignore"):
        if neighbours:
            total = np.zeros(len(runs), np.float32)
            for part in _lane_sum(add, join, addition.vectors, runs).T:
                total = flush_denormals(fused_multiply_add_float32(part, scale, total))
        else:
            sums = _one_by_one(add, runs)
            if runs.shape[-1] % ROWS:
                sums = sums + np.float32(0)
            parts = flush_denormals(sums * scale)
            total = _one_by_one(np.add if sums_stay_normal(parts) else add_flushed, parts)
    return _restored(params, total, x)


def _one_by_one(add: Combine, x: Array) -> Array:
    """0 + x0 + x1 + ... along the last axis."""
    if add is np.add:
        in_order = np.ascontiguousarray(np.moveaxis(x, -1, 0))
        if in_order[:1].size == 1:  # NumPy would add neighbours in memory in pairs
            return np.asarray(np.add.accumulate(in_order, axis=0)[-1:].sum(axis=0) + np.float32(0))
        return np.asarray(np.add.reduce(in_order, axis=0) + np.float32(0))
    total = np.zeros(x.shape[:-1], np.float32)
    for index in range(x.shape[-1]):
        total = add(total, x[..., index])
    return total


def _lane_sum(add: Combine, join: Combine, vectors: int, x: Array) -> Array:
    """The sum along the last axis: in `vectors` of 16 at a time, these then joined, then their halves to each other."""
    count, stride = x.shape[-1], vectors * LANES
    lanes = [np.zeros((*x.shape[:-1], LANES), np.float32) for _ in range(vectors)]
    whole = count - count % stride
    for start in range(0, whole, stride):
        lanes = [add(lane, x[..., start + k * LANES : start + (k + 1) * LANES]) for k, lane in enumerate(lanes)]
    for k in range((count - whole) // LANES):
        lanes[k] = add(lanes[k], x[..., whole : whole + LANES])
        whole += LANES
    while len(lanes) > 1:
        half = len(lanes) // 2
        lanes = [join(*pair) for pair in zip(lanes[:half], lanes[half:], strict=True)]
    total = lanes[0]
    if count > whole:
        rest = np.zeros_like(total)
        rest[..., : count - whole] = x[..., whole:]
        total = add(total, rest)
    return _folded(join, total)


def _folded(combine: Combine, lanes: Array) -> Array:
    """16 lanes as one: the lower half with the upper one, and so on."""
    while lanes.shape[-1] > 1:
        half = lanes.shape[-1] // 2
        lanes = combine(lanes[..., :half], lanes[..., half:])
    return lanes[..., 0]


def reduce_max(params: ReductionParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """The largest element, -inf of none. Of equal zeros, and of a NaN and what it meets, the later one counts.

    arrays: input float32, axes None.
    """
    return (_extremum(params, arrays[0], larger, np.float32(-np.inf)),)


def reduce_min(params: ReductionParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """The least element, inf of none; else as reduce_max."""
    return (_extremum(params, arrays[0], smaller, np.float32(np.inf)),)


def _extremum(params: ReductionParams, x: Array | None, combine: Combine, worst: np.float32) -> Array:
    assert x is not None
    runs, neighbours = _in_runs(params, flush_denormals(x))
    if not (np.isnan(runs) | (runs == 0)).any():  # no order shows
        ufunc = np.maximum if combine is larger else np.minimum
        return _restored(params, ufunc.reduce(runs, axis=(1, 2), initial=worst), x)
    best = np.full(len(runs), worst, np.float32)
    for run in np.moveaxis(runs, 1, 0):
        if neighbours:
            best = _lane_extremum(combine, best, run)
        else:
            for element in run.T:
                best = combine(best, element)
    return _restored(params, best, x)


def _lane_extremum(combine: Combine, best: Array, x: Array) -> Array:
    """x (rows, count) met with `best` (rows,): 64 at a time in four vectors of 16, then 16, then one in all lanes."""
    count, four = x.shape[-1], 4 * LANES
    lanes = [np.repeat(best[:, np.newaxis], LANES, axis=1)] * 4
    whole = count - count % four
    for start in range(0, whole, four):
        lanes = [combine(lane, x[:, start + k * LANES : start + (k + 1) * LANES]) for k, lane in enumerate(lanes)]
    total = combine(combine(lanes[0], lanes[1]), combine(lanes[2], lanes[3]))
    for start in range(whole, count - count % LANES, LANES):
        total = combine(total, x[:, start : start + LANES])
    for index in range(count - count % LANES, count):
        total = combine(total, x[:, index : index + 1])
    return _folded(combine, total)


# ---- softmax ----


def softmax(params: FloatSoftmaxParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """e^(x - max) * (1 / sum) along the last axis; the sum in lanes. arrays: float32.

    Source: google/XNNPACK, src/f32-raddstoreexpminusmax/; src/operator-run.c, xnn_compute_floating_point_softmax.
    """
    x = arrays[0]
    assert x is not None
    if not x.size:
        return (x,)
    rows = flush_denormals(x).reshape(-1, x.shape[-1])
    with np.errstate(all="ignore"):
        largest = _lane_extremum(larger, np.full(len(rows), -np.inf, np.float32), rows)
        powers = exp_of_negative(flush_denormals(rows - largest[:, np.newaxis]))
        inverse = np.float32(1) / _softmax_sum(powers)
        shares = np.asarray(powers * inverse[:, np.newaxis], np.float32)
        return (flush_denormals(shares).reshape(x.shape),)


def _softmax_sum(x: Array) -> Array:
    """The sum along the last axis: 64 at a time in two vectors of 16 that take turns, then 16, then the rest."""
    count, four = x.shape[-1], 4 * LANES
    lanes = [np.zeros((*x.shape[:-1], LANES), np.float32) for _ in range(2)]
    whole = count - count % four
    for start in range(0, whole, LANES):
        lanes[start // LANES % 2] += x[..., start : start + LANES]
    total = lanes[0] + lanes[1]
    for start in range(whole, count, LANES):
        part = x[..., start : start + LANES]
        total[..., : part.shape[-1]] += part
    return _folded(np.add, total)
