"""Range estimators: histograms that merge exactly, and each estimator against a slow twin on the values themselves."""

from __future__ import annotations

import importlib
import itertools
import json
import math
import os
import pickle
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import refquant
from refquant.data import data_file
from refquant.errors import InvalidInput
from refquant.model.graph import Graph, Model, Operator, Tensor
from refquant.program import Value, execute, prepare
from refquant.quantizer.calibration import Calibration
from refquant.quantizer.estimators import (
    Candidates,
    best_range,
    divergences,
    entropy_range,
    estimated_range,
    mse_range,
    percentile_range,
    squared_errors,
)
from refquant.quantizer.histogram import MOST_VALUES, SIDE, Histogram
from refquant.quantizer.parameters import activation_parameters, quantize_affine
from refquant.runtimes import runtime_named

MODELS = Path(os.environ.get("REFQUANT_MODELS", Path(__file__).resolve().parents[2] / "shared" / "models"))
FLT_MAX = float(np.finfo(np.float32).max)
TINY = float(np.float32(1e-45))  # the smallest subnormal number


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def f32(value: float) -> float:
    return float(np.float32(value))


floats = st.one_of(
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.floats(-8, 8, width=32),
    st.sampled_from([0.0, -0.0, 1.0, -1.0, TINY, -TINY, f32(1e-38), FLT_MAX, -FLT_MAX, 0.5, 6.0, -6.0]),
    st.integers(-4096, 4096).map(lambda n: f32(n / 512)),
)
some = st.lists(floats, min_size=1, max_size=40)


def histogram(values: list[float]) -> Histogram:
    return Histogram.of(np.array(values, np.float32))


# the slow twin of the histogram: a value's bin, one by one, in exact fractions


def width_of(values: list[float]) -> Fraction:
    """The bin width for these values: 1/4096 of the smallest power of two above them all, at least 2^-126."""
    largest, power = max(Fraction(abs(v)) for v in values), Fraction(1, 2**126) * 4096
    while power <= largest:
        power *= 2
    return power / 4096


def bins_of(values: list[float]) -> tuple[Fraction, Counter[int], int]:
    """(bin width, {bin: count}, zeros); bins 1, 2, ... right of zero and -1, -2, ... left of it."""
    width = width_of(values)
    counts: Counter[int] = Counter()
    for v in values:
        if v:
            counts[(1 if v > 0 else -1) * (1 + math.floor(Fraction(abs(v)) / width))] += 1
    return width, counts, sum(v == 0 for v in values)


def bins_in(h: Histogram) -> tuple[Fraction, Counter[int], int]:
    filled = np.flatnonzero(h.counts)
    named = {int(i) - SIDE + (i >= SIDE): int(h.counts[i]) for i in filled}
    return Fraction(2) ** h.exponent, Counter(named), h.zeros


@given(some)
@example([0.0, -0.0])
@example([TINY, -TINY])
@example([FLT_MAX, -FLT_MAX, -TINY])
@example([-4.0, 4.0, 3.9999998, 2.0])
def test_every_value_lies_in_its_bin(values: list[float]) -> None:
    h = histogram(values)
    assert bins_in(h) == bins_of(values)
    assert (h.min, h.max, h.total) == (min(values), max(values), len(values))
    assert "-0.0" not in (repr(h.min), repr(h.max))


@given(st.lists(some, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_merging_is_exact_in_any_order_and_grouping(parts: list[list[float]], random) -> None:
    whole = histogram([v for part in parts for v in part])
    heap = [histogram(part) for part in parts]
    while len(heap) > 1:
        random.shuffle(heap)
        heap.append(heap.pop().merge(heap.pop()))
    assert heap == [whole]


@given(some, some, some)
def test_merging_is_associative_and_commutative(a: list[float], b: list[float], c: list[float]) -> None:
    x, y, z = histogram(a), histogram(b), histogram(c)
    assert x.merge(y) == y.merge(x)
    assert x.merge(y).merge(z) == x.merge(y.merge(z))


@given(some, st.integers(1, 5))
def test_times_counts_each_value_so_often(values: list[float], times: int) -> None:
    assert Histogram.of(np.array(values, np.float32), times) == histogram(values * times)


def test_long_arrays_are_counted_in_blocks() -> None:
    values = rng().normal(0, 3, 200_001).astype(np.float32)
    parts = [Histogram.of(part) for part in np.array_split(values, 7)]
    merged = parts[3]
    for part in parts[:3] + parts[4:]:
        merged = merged.merge(part)
    assert merged == Histogram.of(values.reshape(3, -1)) == pickle.loads(pickle.dumps(merged))
    assert merged.total == values.size


def test_memory_does_not_grow() -> None:
    h = histogram([1.0])
    for scale in (1e-30, 1.0, 1e30):
        h = h.merge(Histogram.of(rng().normal(0, scale, 10_000).astype(np.float32)))
        assert h.counts.nbytes == 8 * 2 * SIDE == 64 << 10
    assert not h.counts.flags.writeable


@pytest.mark.parametrize("values", [[], [math.nan], [1.0, math.inf], [-math.inf, 0.0]])
def test_a_histogram_takes_finite_values(values: list[float]) -> None:
    with pytest.raises(InvalidInput, match="finite values, and at least one"):
        histogram(values)


def test_too_many_values_are_refused() -> None:
    most = Histogram.of(np.ones(2, np.float32), MOST_VALUES // 2)
    assert most.total == MOST_VALUES
    with pytest.raises(InvalidInput, match="at most"):
        most.merge(histogram([1.0]))


@given(some)
def test_numbers_tell_a_histogram(values: list[float]) -> None:
    h = histogram(values)
    assert Histogram.from_numbers(json.loads(json.dumps(h.as_numbers(), allow_nan=False))) == h


NUMBERS = histogram([-1.0, 0.0, 2.0, 3.0]).as_numbers()


@pytest.mark.parametrize(
    "change",
    [
        {"min": -2.0},
        {"min": 5.0},
        {"min": 0.0},
        {"max": 3.5},
        {"max": 1e39},
        {"max": math.nan},
        {"max": 0.1},
        {"max": "3"},
        {"max": True},
        {"zeros": -1},
        {"zeros": 1.0},
        {"zeros": 1 << 70},
        {"zeros": MOST_VALUES},
        {"first": -SIDE - 1},
        {"first": SIDE},
        {"first": 0.0},
        {"first": NUMBERS["first"] + 1},
        {"counts": []},
        {"counts": [1] * (2 * SIDE + 1)},
        {"counts": NUMBERS["counts"][:-1]},
        {"counts": [0, *NUMBERS["counts"]]},
        {"counts": [-1, *NUMBERS["counts"][1:]]},
        {"counts": None},
    ],
)
def test_numbers_that_are_no_histogram_are_refused(change: dict[str, object]) -> None:
    assert Histogram.from_numbers(NUMBERS).total == 4
    with pytest.raises((ValueError, TypeError, InvalidInput)):
        Histogram.from_numbers({**NUMBERS, **change})


# percentile


def percentile_twin(values: list[float], percentile: str) -> tuple[float, float]:
    """On the sorted values: the nearest rank's value, outward to the edge of its bin, within the extremes."""
    width, ordered = width_of(values), sorted(values)
    rank = math.ceil(len(values) * Fraction(percentile) / 100)

    def upper(v: float) -> Fraction:
        if not v:
            return Fraction(0)
        whole = math.floor(Fraction(abs(v)) / width)
        return (whole + 1) * width if v > 0 else -whole * width

    high = min(upper(ordered[rank - 1]), Fraction(ordered[-1]))
    low = max(-upper(-ordered[-rank]), Fraction(ordered[0]))
    return (ordered[0], ordered[-1]) if not low and not high else (float(low), float(high))


@given(some, st.sampled_from(["99.99", "99.9", "90", "75", "50.5", "100"]))
@example([float(n) for n in range(1, 1001)], "99.9")
@example([0.0] * 9 + [1.0], "90")
def test_percentile_is_the_nearest_rank_outward_to_a_bin_edge(values: list[float], percentile: str) -> None:
    h = histogram(values)
    low, high = percentile_range(h, float(percentile))
    assert (low, high) == percentile_twin(values, percentile)
    assert low <= high
    share = Fraction(percentile) / 100 * len(values)
    assert sum(v <= high for v in values) >= share
    assert sum(v >= low for v in values) >= share
    if percentile == "100":
        assert (low, high) == (min(values), max(values))


@pytest.mark.parametrize("percentile", [99.984375, 99.75, 99.5, 90.625])  # NumPy takes them as binary fractions
def test_percentile_lies_within_a_bin_of_numpy_s(percentile: float) -> None:
    values = rng(3).standard_t(4, 50_000).astype(np.float32)
    h = Histogram.of(values)
    low, high = percentile_range(h, percentile)
    assert 0 <= high - np.percentile(values, percentile, method="inverted_cdf") <= 2.0**h.exponent
    assert 0 <= -np.percentile(-values, percentile, method="inverted_cdf") - low <= 2.0**h.exponent


def test_a_percentile_of_nothing_but_zeros_leaves_the_whole_range() -> None:
    assert percentile_range(histogram([0.0] * 99_999 + [7.0])) == (0.0, 7.0)
    assert percentile_range(histogram([0.0])) == (0.0, 0.0)


# the search


def twin_search(low: float, high: float, loss) -> tuple[float, float]:
    """Cuts of both ends by multiples of 64 / 2048; then 17 x 17 around the best, 8 / 2048 apart; then 1 / 2048."""
    low, high = min(low, 0.0), max(high, 0.0)
    best = None
    for step in (64, 8, 1):
        tried = {}
        for a, b in itertools.product(range(2048), range(2048)) if best is None else nearby(best, step):
            if (best is None and (a % 64 or b % 64)) or (a and not low) or (b and not high):
                continue
            tried[a, b] = loss(f32(low * (2048 - a) / 2048), f32(high * (2048 - b) / 2048))
        best = min(tried, key=lambda cut: (tried[cut], cut))
    return f32(low * (2048 - best[0]) / 2048), f32(high * (2048 - best[1]) / 2048)


def nearby(cut: tuple[int, int], step: int) -> list[tuple[int, int]]:
    around = [[end + step * n for n in range(-8, 9) if 0 <= end + step * n < 2048] for end in cut]
    return list(itertools.product(*around))


@pytest.mark.parametrize("target", [(-3.0, 5.0), (-0.001, 4.99), (-2.5, 0.003), (-1.234, 3.21)])
def test_the_search_finds_the_bottom_of_a_valley(target: tuple[float, float]) -> None:
    h, tried = histogram([-3.0, 1.0, 5.0]), []

    def losses(candidates: Candidates) -> list[float]:
        tried.append(candidates.cuts)
        return list(abs(candidates.low / 3 - target[0] / 3) + abs(candidates.high / 5 - target[1] / 5))

    low, high = best_range(h, losses)
    assert (low, high) == twin_search(-3, 5, lambda a, b: abs(a / 3 - target[0] / 3) + abs(b / 5 - target[1] / 5))
    assert abs(low - target[0]) <= 3 / 2048
    assert abs(high - target[1]) <= 5 / 2048
    assert tried[0] == list(itertools.product(range(0, 2048, 64), repeat=2))
    found = round((low + 3) / 3 * 2048), round((5 - high) / 5 * 2048)
    assert any(tried[2] == nearby(cut, 1) for cut in tried[1] if found in nearby(cut, 1))
    assert any(tried[1] == nearby(cut, 8) for cut in tried[0])


def test_of_equal_losses_the_widest_range_is_taken() -> None:
    assert best_range(histogram([-3.0, 5.0]), lambda candidates: [7] * len(candidates.cuts)) == (-3.0, 5.0)


def test_a_range_too_wide_for_a_scale_is_not_tried() -> None:
    low, high = mse_range(histogram([-FLT_MAX, FLT_MAX]))
    assert -FLT_MAX < low < 0 < high < FLT_MAX
    assert activation_parameters(low, high)


# mean squared error


def twin_squared_error(values: list[float], low: float, high: float) -> Fraction:
    """sum (x - s (q - z))^2 over bin middles, in exact fractions."""
    width, counts, _ = bins_of(values)
    parameters = activation_parameters(low, high)
    s, z = Fraction(parameters.scale[0]), parameters.zero_point[0]
    error = Fraction(0)
    for place, count in counts.items():
        middle = (abs(place) - Fraction(1, 2)) * width
        steps = math.floor(middle / s + Fraction(1, 2))  # half away from zero: up, on the magnitude
        q = min(max((steps if place > 0 else -steps) + z, -128), 127)
        error += count * ((middle if place > 0 else -middle) - s * (q - z)) ** 2
    return error


def candidates_of(ranges: list[tuple[float, float]]) -> Candidates:
    parameters = [activation_parameters(*ends) for ends in ranges]
    return Candidates(
        [(0, 0)] * len(ranges),
        np.array([low for low, _ in ranges]),
        np.array([high for _, high in ranges]),
        np.array([p.scale[0] for p in parameters]),
        np.array([p.zero_point[0] for p in parameters]),
    )


def ranges_within(values: list[float], seed: int, count: int) -> list[tuple[float, float]]:
    r = rng(seed)
    low, high = min(*values, 0.0), max(*values, 0.0)
    parts = [(1.0, 1.0), *r.uniform(1 / 64, 1, (count, 2)).tolist()]
    return [(f32(low * a), f32(high * b)) for a, b in parts]


moderate = st.lists(floats.filter(lambda v: abs(v) < 1e38), min_size=2, max_size=25).filter(any)


@given(moderate, st.integers(0, 2**32))
def test_squared_errors_equal_the_twin_s_exactly(values: list[float], seed: int) -> None:
    ranges = ranges_within(values, seed, 12)
    unit = width_of(values) ** 2 / 4
    for got, ends in zip(squared_errors(histogram(values))(candidates_of(ranges)), ranges, strict=True):
        assert got * unit == twin_squared_error(values, *ends)


@pytest.mark.parametrize("seed", range(3))
def test_mse_range_is_the_twin_s(seed: int) -> None:
    r = rng(seed)
    bulk = [f32(v) for v in (r.normal(0, 1, 25) if seed else abs(r.normal(0, 1, 25)))]
    values = [*bulk, 3.0, 0.0, 0.0]
    want = twin_search(min(values), max(values), lambda low, high: twin_squared_error(values, low, high))
    assert mse_range(histogram(values)) == want


def kinds() -> dict[str, np.ndarray]:
    r = rng(11)
    normal = r.normal(0, 1, 12_000)
    return {
        "normal": normal,
        "relu": np.maximum(normal, 0),
        "relu6": np.clip(4 * normal, 0, 6),
        "laplace": r.laplace(0, 1, 12_000),
        "uniform": r.uniform(-1, 2, 12_000),
        "swish": normal / (1 + np.exp(-3 * normal)),
        "negative": -np.abs(normal),
        "outlier": np.append(normal, 30),
    }


KINDS = {name: values.astype(np.float32) for name, values in kinds().items()}


def quantizer_error(values: np.ndarray, low: float, high: float) -> float:
    """The mean squared error on the values themselves, by the quantizer's own rule for data."""
    parameters = activation_parameters(low, high)
    codes = quantize_affine(values, parameters).astype(np.float64)
    return float(((parameters.scale[0] * (codes - parameters.zero_point[0]) - values) ** 2).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_mse_range_is_near_the_best_of_all_on_the_values_themselves(kind: str) -> None:
    """Against a plain search over many more ranges (those of a fine grid, both ends free), on raw values."""
    values = KINDS[kind]
    few = values[:: max(1, len(values) // 4000)] if kind != "outlier" else np.append(values[::10], values[-1])
    low, high = min(float(few.min()), 0.0), max(float(few.max()), 0.0)
    found = quantizer_error(few, *mse_range(Histogram.of(few)))
    parts = np.linspace(0.2, 1, 33)
    grid = itertools.product(parts if low else [1], parts if high else [1])
    best = min(quantizer_error(few, f32(low * a), f32(high * b)) for a, b in grid)
    assert found <= best * 1.01
    assert found <= quantizer_error(few, low, high)


# entropy


def expanded(p: list[int], levels: list[int], counts: list[int]) -> list[Fraction]:
    """Each level's count spread evenly over its bins that are not empty in p."""
    return [
        Fraction(
            sum(c for c, other in zip(counts, levels, strict=True) if other == level),
            sum(x > 0 and other == level for x, other in zip(p, levels, strict=True)),
        )
        if value
        else Fraction(0)
        for value, level in zip(p, levels, strict=True)
    ]


def test_the_twin_s_expansion_is_that_of_the_talk() -> None:
    p = [1, 0, 2, 3, 5, 3, 1, 7]
    assert expanded(p, [0, 0, 0, 0, 1, 1, 1, 1], p) == [2, 0, 2, 2, 4, 4, 4, 4]


def twin_divergence(values: list[float], low: float, high: float) -> float:
    """KL(P || Q) by the definition: a list of bins, outliers on its last ones, Q spread over each code's bins."""
    width, counts, _ = bins_of(values)
    parameters = activation_parameters(low, high)
    s, z = Fraction(parameters.scale[0]), parameters.zero_point[0]
    left = min(4096, math.floor(Fraction(-low) / width) + 1) if min(counts) < 0 else 0
    right = min(4096, math.floor(Fraction(high) / width) + 1) if max(counts) > 0 else 0
    if left + right < 256:
        return math.inf
    places = [*range(-left, 0), *range(1, right + 1)]
    inside = [counts[place] for place in places]
    p = list(inside)
    p[0] += sum(count for place, count in counts.items() if place < -left) if left else 0
    p[-1] += sum(count for place, count in counts.items() if place > right) if right else 0
    over, under = (width / s / 2).as_integer_ratio()  # half a bin in steps
    codes = []
    for place in places:
        steps = (2 * (2 * abs(place) - 1) * over + under) // (2 * under)  # half away from zero, on the magnitude
        codes.append(min(max((steps if place > 0 else -steps) + z, -128), 127))
    n, m = Counter[int](), Counter[int]()
    for value, count, code in zip(p, inside, codes, strict=True):
        n[code] += count
        m[code] += value > 0
    q = [n[code] / m[code] if value else 0.0 for value, code in zip(p, codes, strict=True)]
    if any(value and not other for value, other in zip(p, q, strict=True)):
        return math.inf
    return math.fsum(
        value / sum(p) * math.log(value / sum(p) / (other / sum(q))) for value, other in zip(p, q, strict=True) if value
    )


@settings(max_examples=40)
@given(moderate, st.integers(0, 2**32))
def test_divergences_equal_the_twin_s(values: list[float], seed: int) -> None:
    ranges = ranges_within(values, seed, 4)
    for got, ends in zip(divergences(histogram(values))(candidates_of(ranges)), ranges, strict=True):
        assert got == pytest.approx(twin_divergence(values, *ends), abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_divergences_equal_the_twin_s_on_many_values(kind: str) -> None:
    values = KINDS[kind].tolist()
    ranges = ranges_within(values, 5, 4)
    for got, ends in zip(divergences(Histogram.of(KINDS[kind]))(candidates_of(ranges)), ranges, strict=True):
        assert got == pytest.approx(twin_divergence(values, *ends), abs=1e-12)


def test_entropy_range_is_the_twin_s() -> None:
    values = [f32(v) for v in np.abs(rng(2).laplace(0, 1, 4000))]
    h = histogram(values)
    want = twin_search(0.0, max(values), lambda low, high: twin_divergence(values, low, high))
    assert entropy_range(h) == want
    assert want[1] < max(values)


def test_nothing_but_zeros_and_single_values_keep_their_range() -> None:
    for estimator in ("percentile", "mse", "entropy"):
        assert estimated_range(histogram([0.0, -0.0]), estimator) == (0.0, 0.0)
        low, high = estimated_range(histogram([5.0] * 10), estimator)
        assert low in (0.0, 5.0)
        assert high == pytest.approx(5.0, rel=1e-2)


# calibrating with an estimator


def digits(name: str = "digits_ds") -> tuple[Model, list[np.ndarray]]:
    """(a float model, the 100 scans to calibrate it on)."""
    split = json.loads(data_file("golden/digits.json").read_text())
    model = refquant.load(data_file(f"golden/models/{name}_float.tflite"))
    shape = model.graph.tensors[model.graph.inputs[0]].shape
    with np.load(data_file("digits.npz")) as arrays:
        scans = arrays["images"].astype(np.float32) / np.float32(16)
    return model, [scans[index].reshape(shape) for index in split["calibration"]]


@pytest.fixture(scope="module")
def counted() -> tuple[Model, list[np.ndarray], Calibration]:
    model, scans = digits()
    return model, scans, refquant.calibrate(model, scans, estimator="percentile")


def test_what_is_counted_is_what_the_operators_compute(counted) -> None:
    model, scans, calibration = counted
    with np.errstate(all="ignore"):
        passed: dict[int, list[np.ndarray]] = {}
        program = prepare(model, runtime_named("fast_float"))
        for scan in scans:
            inputs = {model.graph.inputs[0]: Value(scan[np.newaxis], True)}
            passed.setdefault(model.graph.inputs[0], []).append(scan)
            execute(program, inputs, 1, lambda index, value: passed.setdefault(index, []).append(value.array))
    for entry in calibration.tensors:
        assert entry.histogram == Histogram.of(np.concatenate([array.ravel() for array in passed[entry.tensor]]))
        assert (entry.min, entry.max) == percentile_range(entry.histogram)


@settings(max_examples=8)
@given(st.permutations(range(100)), st.lists(st.integers(1, 99), max_size=3).map(sorted))
def test_order_parts_and_merging_change_nothing(counted, order: list[int], cuts: list[int]) -> None:
    model, scans, whole = counted
    parts = [order[a:b] for a, b in itertools.pairwise([0, *cuts, 100]) if a < b]
    made = [refquant.calibrate(model, [scans[i] for i in part], estimator="percentile") for part in parts]
    merged = made[-1]
    for calibration in made[:-1]:
        merged = calibration.merge(merged)
    assert merged == whole


@pytest.mark.parametrize("kind", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_an_executor_changes_nothing(counted, kind: type) -> None:
    model, scans, whole = counted
    with kind(2) as executor:
        assert refquant.calibrate(model, scans, executor=executor, estimator="percentile") == whole


def test_one_pass_serves_every_estimator(counted) -> None:
    model, scans, whole = counted
    for estimator, percentile in (("percentile", 99.0), ("mse", None), ("entropy", None)):
        again = refquant.calibrate(model, scans, estimator=estimator, percentile=percentile)
        assert whole.estimate(estimator, percentile) == again
        assert again.estimate("percentile") == whole
        assert (again.estimator, again.percentile) == (estimator, percentile)
    assert whole.percentile == 99.99


def test_all_percent_are_the_exact_minimum_and_maximum(counted) -> None:
    model, scans, whole = counted
    exact, converters = whole.estimate("percentile", 100).ranges, refquant.calibrate(model, scans).ranges
    assert list(exact) == list(converters)
    inside = [a[0] >= b[0] and a[1] <= b[1] for a, b in zip(exact.values(), converters.values(), strict=True)]
    assert all(inside)


def test_a_constant_tensor_counts_once_a_sample_and_nan_never() -> None:
    shape = (1, 4)
    tensors = [Tensor(name, "FLOAT32", shape, 1 if name == "c" else 0) for name in ("x", "c", "n", "y")]
    operators = (Operator("NEG", (1,), (2,)), Operator("MAXIMUM", (0, 2), (3,)))
    buffers = (b"", np.array([[1, 2, 3, 4]], np.float32).tobytes())
    model = Model((Graph(tuple(tensors), operators, (0,), (3,)),), buffers)
    samples = [np.array([[n, 0, -n, 1]], np.float32) for n in range(1, 46)]
    samples[7][0, 0] = np.nan
    with pytest.warns(UserWarning, match="sample 7: .*NaN"):
        calibration = refquant.calibrate(model, samples, estimator="percentile", percentile=100)
    seen = {entry.name: entry.histogram for entry in calibration.tensors}
    assert seen["n"] == Histogram.of(np.array([-1, -2, -3, -4], np.float32), 45)
    assert (seen["x"].total, seen["x"].zeros) == (4 * 45 - 1, 45)


def test_memory_that_is_used_twice_matters_to_the_converter_s_range_only() -> None:
    """c, d = x * 0.5, -x; e = c + d lies in c's memory: the converter's range of c takes e in."""
    tensors = [
        Tensor(name, "FLOAT32", (1, 4), 1 if name == "half" else 0) for name in ("x", "half", "c", "d", "e", "y")
    ]
    operators = (
        Operator("MUL", (0, 1), (2,), options_type="MulOptions", options={"fused_activation_function": "NONE"}),
        Operator("NEG", (0,), (3,)),
        Operator("ADD", (2, 3), (4,), options_type="AddOptions", options={"fused_activation_function": "NONE"}),
        Operator("NEG", (4,), (5,)),
    )
    buffers = (b"", np.full((1, 4), 0.5, np.float32).tobytes())
    model = Model((Graph(tuple(tensors), operators, (0,), (5,)),), buffers)
    samples = [np.array([[1, 2, 3, 4]], np.float32)]
    assert refquant.calibrate(model, samples).ranges["c"] == (-2.0, 2.0)
    assert refquant.calibrate(model, samples, estimator="percentile", percentile=100).ranges["c"] == (0.5, 2.0)


def test_quantize_takes_the_estimated_ranges(counted) -> None:
    model, _, calibration = counted
    narrow = calibration.estimate("percentile", 90)
    quantized = refquant.quantize(model, narrow)
    parameters = {tensor.name: tensor.quantization for tensor in quantized.graph.tensors}
    relu = "digits_ds_1/stem_relu6_1/Relu6"
    name = next(entry.name for entry in narrow.tensors if relu in entry.name)
    assert parameters[name].scale == pytest.approx((narrow.ranges[name][1] / 255,), rel=1e-6)
    assert narrow.ranges[name][1] < calibration.ranges[name][1]


def test_files_tell_the_estimator_and_all_counts(counted, tmp_path: Path) -> None:
    model, scans, whole = counted
    for calibration in (whole, whole.estimate("mse"), refquant.calibrate(model, scans[:3])):
        calibration.save(tmp_path / "ranges.json")
        loaded = Calibration.load(tmp_path / "ranges.json")
        assert loaded == calibration
        assert ("histogram" in (tmp_path / "ranges.json").read_text()) == (calibration.estimator != "minmax")
        assert (loaded.estimator, loaded.percentile) == (calibration.estimator, calibration.percentile)


@pytest.mark.parametrize(
    "change",
    [
        {"estimator": "best"},
        {"estimator": "minmax", "percentile": None},
        {"estimator": None},
        {"percentile": 30},
        {"percentile": "99"},
        {"percentile": None},
        {"estimator": "mse"},
        {"tensors": [{"tensor": 0, "name": "x", "min": 0, "max": 1}]},
        {"tensors": [{"tensor": 0, "name": "x", "min": 0, "max": 1, "histogram": None}]},
        {"tensors": [{"tensor": 0, "name": "x", "min": 0, "max": 1, "histogram": {"min": 0.0}}]},
        {"tensors": [{"tensor": 0, "name": "x", "min": 0, "max": 1, "histogram": {**NUMBERS, "max": 9.0}}]},
    ],
)
def test_files_that_contradict_themselves_are_refused(counted, tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "ranges.json"
    counted[2].save(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InvalidInput) as caught:
        Calibration.load(path)
    assert str(path) in str(caught.value)


def test_ranges_made_in_different_ways_are_never_merged(counted) -> None:
    model, scans, whole = counted
    minmax = refquant.calibrate(model, scans[:2])
    for other in (minmax, whole.estimate("percentile", 99.9), whole.estimate("mse")):
        for a, b in ((whole, other), (other, whole)):
            with pytest.raises(InvalidInput, match=r"'percentile' 99\.99.*cannot be merged"):
                a.merge(b)
    with pytest.raises(InvalidInput, match="made without histograms"):
        minmax.estimate("mse")
    with pytest.raises(InvalidInput, match="do not follow from histograms"):
        whole.estimate("minmax")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"estimator": "average"}, "estimator='average': must be one of minmax, percentile, mse, entropy"),
        ({"estimator": None}, "estimator='None'"),
        ({"estimator": "mse", "percentile": 99.0}, "has none"),
        ({"percentile": 99.0}, "the estimator 'minmax' has none"),
        *(({"estimator": "percentile", "percentile": p}, "above 50") for p in (50, 0, 100.1, math.nan, "99", True)),
    ],
)
def test_wrong_estimators_are_refused(options: dict[str, object], message: str) -> None:
    model, scans = digits("digits_cnn")
    with pytest.raises(InvalidInput, match=message):
        refquant.calibrate(model, scans[:1], **options)


# what it is worth


def signal_to_noise(values: np.ndarray, low: float, high: float) -> float:
    """10 log10 (signal / error) of int8, in decibels."""
    return 10 * math.log10(float((values.astype(np.float64) ** 2).mean()) / quantizer_error(values, low, high))


def computed(model: Model, samples: list[np.ndarray]) -> dict[str, np.ndarray]:
    """{tensor: all the float values that operators computed for it}."""
    passed: dict[str, list[np.ndarray]] = {}
    program = prepare(model, runtime_named("fast_float"))
    for sample in samples:
        inputs = {model.graph.inputs[0]: Value(sample[np.newaxis], True)}
        keep = [model.graph.tensors[index].name for index in range(len(model.graph.tensors))]
        execute(program, inputs, 1, lambda i, v, k=keep: passed.setdefault(k[i], []).append(v.array.ravel()))
    return {name: np.concatenate(arrays) for name, arrays in passed.items() if arrays[0].dtype == np.float32}


def check_on_its_own_values(model: Model, samples: list[np.ndarray]) -> None:
    """Every estimator stays within the extremes, and over all tensors mse has the best signal to noise.

    On one tensor its root mean square error is at most a bin wider than that of min and max: a value's error and that
    of its bin's middle differ by half a bin at most, since the distance to the nearest of some points cannot grow
    faster than one moves.
    """
    values = computed(model, samples)
    counted = refquant.calibrate(model, samples, estimator="mse")
    ratios: dict[str, list[float]] = {}
    for estimator, percentile in (("percentile", 100), ("percentile", 99.99), ("entropy", None), ("mse", None)):
        for entry in counted.estimate(estimator, percentile).tensors:
            whole = min(entry.histogram.min, 0), max(entry.histogram.max, 0)
            assert whole[0] <= entry.min <= entry.max <= whole[1], (estimator, entry)
            array = values.get(entry.name)
            if array is not None:
                ratios.setdefault(f"{estimator} {percentile}", []).append(signal_to_noise(array, entry.min, entry.max))
                error, widest = quantizer_error(array, entry.min, entry.max), quantizer_error(array, *whole)
                assert estimator != "mse" or error**0.5 <= widest**0.5 + 2.0**entry.histogram.exponent
    means = {estimator: round(float(np.mean(decibels)), 2) for estimator, decibels in ratios.items()}
    print(means)
    assert max(means, key=means.__getitem__) == "mse None"


@pytest.mark.parametrize("name", ["digits_cnn", "digits_ds"])
def test_mse_has_the_best_signal_to_noise_on_its_own_values(name: str) -> None:
    check_on_its_own_values(*digits(name))


@pytest.mark.parametrize(("name", "largest"), [("vww", 1), ("resnet8", 255)])
def test_the_same_on_networks_of_others(name: str, largest: int) -> None:
    path = MODELS / "mlperf_tiny" / f"{name}_float.tflite"
    if not path.exists():
        pytest.skip(f"models missing: {path} (set REFQUANT_MODELS)")
    model = refquant.load(path)
    shape = model.graph.tensors[model.graph.inputs[0]].shape
    pictures = rng(4).uniform(0, largest, (3, shape[0], shape[1] // 8, shape[2] // 8, shape[3])).astype(np.float32)
    check_on_its_own_values(model, [picture.repeat(8, axis=1).repeat(8, axis=2) for picture in pictures])


# beside TensorFlow


@pytest.mark.tensorflow
def test_tensorflow_s_engine_feeds_the_same_estimators(counted) -> None:
    model, scans, _ = counted
    pair = (refquant.calibrate(model, scans[:20], e, estimator="percentile") for e in ("numpy", "tensorflow"))
    for ours, theirs in zip(*(calibration.tensors for calibration in pair), strict=True):
        bin_width = 2.0**ours.histogram.exponent  # float sums in another order: a value may fall into the next bin
        assert ours.name == theirs.name
        assert ours.histogram.total == theirs.histogram.total
        assert (ours.min, ours.max) == pytest.approx((theirs.min, theirs.max), rel=1e-5, abs=bin_width)


TENSORFLOW_BINS = 128
TENSORFLOW_SEARCHES = ("BRUTEFORCE", "MAX_FREQUENCY", "SYMMETRIC")


def tensorflow_ranges(values: np.ndarray, percentile: float) -> dict[str, tuple[float, float]]:
    """What TensorFlow's histogram calibration (of its StableHLO quantizer, not of TFLite's) makes of the values."""
    calibrator = "tensorflow.compiler.mlir.quantization.tensorflow.calibrator"
    algorithm = importlib.import_module(f"{calibrator}.calibration_algorithm")
    messages = importlib.import_module(f"{calibrator}.calibration_statistics_pb2")
    config = importlib.import_module("tensorflow.compiler.mlir.quantization.stablehlo.quantization_config_pb2")
    low, high = float(values.min()), float(values.max())
    statistics = messages.CalibrationStatistics()
    statistics.histogram_statistics.lower_bound = low
    statistics.histogram_statistics.bin_width = (high - low) / TENSORFLOW_BINS
    frequencies = np.histogram(values, TENSORFLOW_BINS, (low, high))[0]
    statistics.histogram_statistics.hist_freq.extend(frequencies.tolist())
    ranges = {}
    for name in ("PERCENTILE", *(f"MSE_{search}" for search in TENSORFLOW_SEARCHES)):
        method = f"CALIBRATION_METHOD_HISTOGRAM_{name}"
        options = config.CalibrationOptions(calibration_method=method)
        options.calibration_parameters.min_percentile = 100 - percentile
        options.calibration_parameters.max_percentile = percentile
        found = algorithm.get_min_max_value(statistics, options)
        ranges[name] = (float(found[0]), float(found[1]))
    return ranges


@pytest.mark.tensorflow
@pytest.mark.parametrize("kind", ["normal", "relu", "relu6", "laplace", "uniform", "swish"])
def test_beside_tensorflow_s_histogram_calibration(kind: str) -> None:
    """The percentiles lie in the same bins of TensorFlow's; the error is less than after any of its searches."""
    pytest.importorskip("tensorflow", reason="oracle missing: tensorflow is not installed")
    values = KINDS[kind]
    theirs = tensorflow_ranges(values, 99.5)
    width = float(np.ptp(values)) / TENSORFLOW_BINS
    assert percentile_range(Histogram.of(values), 99.5) == pytest.approx(theirs["PERCENTILE"], abs=width)
    ours = signal_to_noise(values, *mse_range(Histogram.of(values)))
    for search in TENSORFLOW_SEARCHES:
        assert ours > signal_to_noise(values, *theirs[f"MSE_{search}"]), search
