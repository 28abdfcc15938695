"""Range estimators other than the converter's own min and max: the part of a tensor's values that int8 shall cover.

The TFLite converter has none of these. Each is a pure function of a Histogram, so it knows a value no better than the
bin it fell into (1/4096 to 1/2048 of the largest magnitude); and the same values give the same range to the bit, in any
order, in any blocks and on any machine: counts are whole numbers, and nothing is rounded but single +, -, * and /.
Zero lies in every range that `mse` and `entropy` compare, because the quantizer puts it into every range
(`activation_parameters`): padding and ReLU need an exact zero. Values that are exactly zero then cost nothing in any
range and cannot tell which is best: both leave them out.

Sources of the methods (none of them is the converter's int8 path):
S. Migacz, "8-bit Inference with TensorRT", GTC 2017: entropy; NVIDIA/TensorRT, tools/pytorch-quantization,
pytorch_quantization/calib/histogram.py: percentile 99.99, mse, entropy; tensorflow/tensorflow,
tensorflow/compiler/mlir/quantization/tensorflow/calibrator/calibration_algorithm.py: HISTOGRAM_PERCENTILE at both ends,
HISTOGRAM_MSE_BRUTEFORCE over pairs of ends; pytorch/pytorch, torch/ao/quantization/observer.py, HistogramObserver: mse
over pairs of ends; microsoft/onnxruntime, onnxruntime/python/tools/quantization/calibrate.py: percentile, entropy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from refquant.errors import InvalidInput, NotQuantizable
from refquant.quantizer.histogram import SIDE, Histogram, Int64
from refquant.quantizer.observe import MinMax, Observation, Values
from refquant.quantizer.parameters import INT8_MAX, INT8_MIN, Float64, activation_parameters

Range = tuple[float, float]

DEFAULT_PERCENTILE = 99.99
CODES = INT8_MAX - INT8_MIN  # how far a code can be from the zero point
SIDES = np.arange(2)[:, np.newaxis]  # positive, negative

# How much is cut off the minimum and the maximum: whole 2048ths of them. First all pairs of multiples of 64; then the
# 17 x 17 pairs around the best one that stand 8 apart, then those that stand 1 apart.
GRID = 2048
SPACINGS = (64, 8, 1)
REACH = 8


@dataclass(frozen=True, slots=True)
class Candidates:
    """Ranges that are compared, as arrays: both ends, and the scale and zero point that the quantizer gives them.

    cuts: how many 2048ths of the minimum and of the maximum each range leaves out.
    """

    cuts: list[tuple[int, int]]
    low: Float64
    high: Float64
    scale: Float64
    zero_point: Int64


Losses = Callable[[Candidates], Sequence[Any]]
"""What each candidate costs: numbers that can be compared."""


# percentile


def percentile_range(histogram: Histogram, percentile: float = DEFAULT_PERCENTILE) -> Range:
    """From the (100 - p)-th to the p-th percentile, both by nearest rank, outward to the edge of a bin.

    With n values and r = ceil(n p / 100): max = the upper edge of the bin that holds the r-th smallest value, or the
    largest value, if that is less; min = the lower edge of the bin that holds the r-th largest, or the smallest value.
    Zeros have a bin of their own. So at least p percent of the values are not above max, and p percent not below min.
    Where that leaves nothing but zero, the range is the whole one.
    percentile: above 50, at most 100 (the exact minimum and maximum), as its decimal digits read.
    """
    rank = math.ceil(histogram.total * Fraction(repr(float(percentile))) / 100)
    low = -_upper_edge(histogram.counts[::-1], histogram.zeros, rank, histogram.exponent)
    high = _upper_edge(histogram.counts, histogram.zeros, rank, histogram.exponent)
    found = max(low, histogram.min) + 0.0, min(high, histogram.max) + 0.0
    return (histogram.min, histogram.max) if found == (0, 0) else found


def _upper_edge(counts: Int64, zeros: int, rank: int, exponent: int) -> float:
    """The upper edge of the bin that holds the rank-th smallest value."""
    place = int(np.searchsorted(np.cumsum(np.insert(counts, SIDE, zeros)), rank)) - SIDE
    return float((place + (place < 0)) * 2.0**exponent)


# the search


def best_range(histogram: Histogram, losses: Losses) -> Range:
    """The range of the least loss among those that SPACINGS names; of equal ones the one that cuts off least.

    Ends are f32(min (2048 - a) / 2048) and f32(max (2048 - b) / 2048), with zero taken into the whole range first.
    """
    low, high = min(histogram.min, 0.0), max(histogram.max, 0.0)
    best = (0, 0)
    for spacing in SPACINGS if histogram.zeros < histogram.total else ():
        candidates = _candidates(low, high, product(_cuts(low, best[0], spacing), _cuts(high, best[1], spacing)))
        _, best = min(zip(losses(candidates), candidates.cuts, strict=True))
    return _cut(low, best[0]), _cut(high, best[1])


def _cuts(end: float, best: int, spacing: int) -> Iterable[int]:
    """What is tried at one end: every multiple of the first spacing; later what stands around the best."""
    if not end:
        return (0,)
    if spacing == SPACINGS[0]:
        return range(0, GRID, spacing)
    return [cut for step in range(-REACH, REACH + 1) if 0 <= (cut := best + step * spacing) < GRID]


def _cut(end: float, cut: int) -> float:
    """f32(end (2048 - cut) / 2048)."""
    return float(np.float32(end * (GRID - cut) / GRID))


def _candidates(low: float, high: float, cuts: Iterable[tuple[int, int]]) -> Candidates:
    """The ranges that these cuts leave, but those that are too wide for a scale in float32."""
    kept, rows = [], []
    for cut in cuts:
        ends = _cut(low, cut[0]), _cut(high, cut[1])
        try:
            parameters = activation_parameters(*ends)
        except NotQuantizable:
            continue
        kept.append(cut)
        rows.append((*ends, *parameters.scale, *parameters.zero_point))
    lows, highs, scales, zero_points = map(np.array, zip(*rows, strict=True))
    return Candidates(kept, lows, highs, scales, zero_points)


def _sides(histogram: Histogram) -> Int64:
    """Counts by distance from zero, (2, SIDE): of positive values, of negative values."""
    return np.stack([histogram.counts[SIDE:], histogram.counts[:SIDE][::-1]])


def _first_bins(candidates: Candidates, half_width: float) -> Int64:
    """(candidates, 2, 257): the first bin of each side whose middle gets a code at least 0, 1, ... 256 from zero's.

    The middle of bin i is 2 i + 1 half widths h, and round(x / s) >= j where x >= (j - 1/2) s: 2 i + 1 >= (2 j - 1) s /
    2 h. SIDE where no code lies that far. Exact in float64: s has 24 bits, 2 j - 1 has 10, h is a power of two.
    """
    distances = np.arange(CODES + 2)
    scale = candidates.scale[:, np.newaxis] / half_width
    first = np.clip(np.ceil(((2 * distances - 1) * scale / 2 - 1) / 2), 0, SIDE).astype(np.int64)
    reach = np.stack([INT8_MAX - candidates.zero_point, candidates.zero_point - INT8_MIN], axis=1)
    return np.where(distances <= reach[:, :, np.newaxis], first[:, np.newaxis, :], SIDE)


# mean squared error


def mse_range(histogram: Histogram) -> Range:
    """The `best_range` by `squared_errors`: where the quantizer's rounding and clipping together cost least."""
    return best_range(histogram, squared_errors(histogram))


def squared_errors(histogram: Histogram) -> Losses:
    """E = sum_b n_b (x_b - s (q_b - z))^2 with q_b = clip(round(x_b / s) + z, -128, 127), in (half bin widths)^2.

    n_b: how many values are in bin b; x_b: its middle; s, z: the range's parameters, as the quantizer computes them.
    E is exact, and so is every comparison. (QUANTIZE divides in float32; where that rounds to the other of two codes,
    both are as near to the value as float32 can tell.)
    """
    sides, odd, half_width = _sides(histogram), 2 * np.arange(SIDE) + 1, 2.0 ** (histogram.exponent - 1)
    counts, sums = _from_here_on(sides), _from_here_on(sides * odd)
    squares = sum(count * (2 * i + 1) ** 2 for i, count in enumerate(sides.sum(axis=0).tolist()))
    odd_codes = 2 * np.arange(1, CODES + 2) - 1

    def losses(candidates: Candidates) -> list[Fraction]:
        """E = sum x^2 - 2 s sum x (q - z) + s^2 sum (q - z)^2, with d = |q - z| and d^2 taken apart.

        A value counts once for each of the codes 1 ... d that it reaches, and d^2 = 1 + 3 + 5 + ... + (2 d - 1).
        """
        first = _first_bins(candidates, half_width)[:, :, 1:]
        products = sums[SIDES, first].sum(axis=(1, 2)).tolist()
        codes = (counts[SIDES, first] * odd_codes).sum(axis=(1, 2)).tolist()
        scales = map(Fraction, (candidates.scale / half_width).tolist())
        return [squares - 2 * s * xq + s * s * qq for s, xq, qq in zip(scales, products, codes, strict=True)]

    return losses


def _from_here_on(sides: Int64) -> Int64:
    """(2, SIDE + 1): the sum of each bin and all farther from zero."""
    return np.pad(np.cumsum(sides[:, ::-1], axis=1)[:, ::-1], ((0, 0), (0, 1)))


# entropy


def entropy_range(histogram: Histogram) -> Range:
    """The `best_range` by `divergences`, TensorRT's entropy calibration for a range with two ends.

    As TensorRT's it goes wrong where the values are not spread smoothly: with few of them in a bin, or many that are
    equal (channels that are constant), D falls with every bin that is left out, and far too much may be cut off.
    """
    return best_range(histogram, divergences(histogram))


def divergences(histogram: Histogram) -> Losses:
    """D = sum_b p_b ln(p_b / q_b), the Kullback-Leibler divergence of p = P / sum P from q = Q / sum Q, in float64.

    The bins b reach as far as the ones that hold the range's ends; where they are fewer than 256, D is infinite.
    P_b: the values in bin b, and in the last bin of a side also all that lie beyond it.
    Q_b = N_c / M_c where P_b > 0, else 0. c: the code of b's middle with the range's parameters; N_c: the values in the
    bins of that code, without any from beyond; M_c: how many of these bins have P_b > 0.
    Nothing is smoothed. An empty bin is empty in P and in Q and adds nothing; where a code has values from beyond only
    (P_b > 0, Q_b = 0), D is infinite.
    """
    sides, half_width = _sides(histogram), 2.0 ** (histogram.exponent - 1)
    before, filled_before, logs_before = map(_up_to_here, (sides, sides > 0, _x_ln_x(sides)))
    totals = sides.sum(axis=1)[:, np.newaxis]

    def losses(candidates: Candidates) -> list[float]:
        """D = (sum_b P ln P - sum_c P ln (N / M)) / sum P + ln (sum N / sum P). Arrays are (candidates, 2, ...).

        p, n, m: the sums of P, of N and of filled bins up to the first bin of each code, and all at the end.
        """
        ends = np.stack([candidates.high, -candidates.low], axis=1)[:, :, np.newaxis]
        taken = np.where(totals > 0, np.minimum(ends / (2 * half_width), SIDE - 1).astype(np.int64) + 1, 0)
        last = np.maximum(taken - 1, 0)
        beyond = totals - before[SIDES, taken]
        filled_from_beyond = (beyond > 0) & (sides[SIDES, last] == 0)

        bins = np.minimum(_first_bins(candidates, half_width), taken)
        n = _by_code(before[SIDES, bins])
        p = _by_code(np.where(bins < taken, before[SIDES, bins], totals))
        m = _by_code(filled_before[SIDES, bins] + (bins == taken) * filled_from_beyond)

        possible = (_added(taken) > CODES) & ((p == 0) | (n > 0)).all(axis=(1, 2))
        p_ln_p = logs_before[SIDES, last] + _x_ln_x(sides[SIDES, last] + beyond)
        p_ln_q = p * _ln(n / np.maximum(m, 1))
        divergence = (_added(p_ln_p) - _added(p_ln_q)) / _added(p) + _ln(_added(n) / _added(p))
        return [float(d) for d in np.where(possible, divergence, np.inf)]

    return losses


def _by_code(up_to: Int64) -> Int64:
    """(candidates, 2, 256): what each code has, from sums up to its first bin; zero's code has both sides in one."""
    each = np.diff(up_to, axis=2)
    each[:, 0, 0] += each[:, 1, 0]
    each[:, 1, 0] = 0
    return each


def _up_to_here(sides: Any) -> Any:
    """(2, SIDE + 1): the sum of all bins nearer to zero."""
    return np.pad(np.cumsum(sides, axis=1), ((0, 0), (1, 0)))


def _added(terms: Any) -> Any:
    """The sum of each candidate's terms, one after another (np.sum adds floats in an order of its own)."""
    return np.cumsum(terms.reshape(len(terms), -1), axis=1)[:, -1]


def _x_ln_x(x: Any) -> Float64:
    return np.asarray(x * _ln(x))


def _ln(x: Any) -> Float64:
    """The natural logarithm from +, -, * and / alone, so that it is the same everywhere; 0 of 0.

    x = 2^k f, sqrt(1/2) <= f < sqrt(2): ln x = k ln 2 + 2 (t + t^3 / 3 + t^5 / 5 + ...) with t = (f - 1) / (f + 1).
    """
    fraction, power = np.frexp(np.where(x > 0, x, 1))
    small = fraction < math.sqrt(0.5)
    fraction, power = np.where(small, 2 * fraction, fraction), power - small
    t = (fraction - 1) / (fraction + 1)
    series = np.zeros_like(t)
    for odd in range(25, 0, -2):
        series = series * t * t + 1 / odd
    return np.asarray(power * LN_2 + 2 * t * series)


LN_2 = 0.6931471805599453


# the table, and what calibration keeps

ESTIMATORS: Mapping[str, Callable[[Histogram, float], Range]] = {
    "percentile": percentile_range,
    "mse": lambda histogram, _: mse_range(histogram),
    "entropy": lambda histogram, _: entropy_range(histogram),
}
MINMAX = "minmax"  # the converter's own: it needs no histogram


def checked_percentile(estimator: str, percentile: float | None) -> float | None:
    """The percentile that `estimator` works with: 99.99 if none is given, None for one that has no percentile.

    Errors: InvalidInput for an unknown estimator, a percentile outside (50, 100], or one that is of no use.
    """
    if estimator not in (MINMAX, *ESTIMATORS):
        raise InvalidInput(f"estimator='{estimator}': must be one of {', '.join((MINMAX, *ESTIMATORS))}")
    if estimator != "percentile":
        if percentile is not None:
            raise InvalidInput(f"percentile={percentile}: the estimator '{estimator}' has none")
        return None
    value = DEFAULT_PERCENTILE if percentile is None else percentile
    if isinstance(value, bool) or not isinstance(value, int | float) or not 50 < value <= 100:
        raise InvalidInput(f"percentile={value}: must be above 50 and at most 100")
    return float(value)


def observation_of(estimator: str, percentile: float | None = None) -> Callable[[], Observation]:
    """Makes the empty observations that the named estimator needs. Errors: InvalidInput, as `checked_percentile`."""
    percentile = checked_percentile(estimator, percentile)
    return MinMax if estimator == MINMAX else partial(Distribution, estimator, percentile)


def estimated_range(histogram: Histogram, estimator: str, percentile: float | None = None) -> Range:
    """(min, max) of one tensor by one of ESTIMATORS. Errors: InvalidInput, as `checked_percentile`, and for minmax."""
    percentile = checked_percentile(estimator, percentile)
    if estimator == MINMAX:
        raise InvalidInput("the converter's own min and max do not follow from histograms; calibrate with 'minmax'")
    return ESTIMATORS[estimator](histogram, DEFAULT_PERCENTILE if percentile is None else percentile)


@dataclass(slots=True)
class Distribution:
    """An observation that keeps all values of a tensor as a histogram, for one of ESTIMATORS to make a range of.

    It holds what the operators computed: memory that TFLite uses twice is the business of the converter's min and max.
    """

    estimator: str
    percentile: float | None = None
    histogram: Histogram | None = None

    def see(self, values: Values) -> None:
        """Counts one block's values."""
        self._take_in(Histogram.of(values.array, values.times))

    def merge(self, other: Distribution) -> None:
        """Counts what the other has counted."""
        if other.histogram is not None:
            self._take_in(other.histogram)

    def _take_in(self, histogram: Histogram) -> None:
        self.histogram = histogram if self.histogram is None else self.histogram.merge(histogram)

    def range(self) -> Range | None:
        """(min, max) by the estimator; None if nothing was seen."""
        return None if self.histogram is None else estimated_range(self.histogram, self.estimator, self.percentile)


def histogram_of(observation: Observation) -> Histogram | None:
    """What a Distribution has counted; None for an observation that counts nothing."""
    return observation.histogram if isinstance(observation, Distribution) else None
