"""Checks of weights, biases and other constants: everything that follows from the float model's values alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from refquant.compare.sites import Operand, Site, Verdict
from refquant.compare.tensors import scale_bits, ulp_distance
from refquant.compare.verdicts import (
    is_quantized,
    judge_data,
    judge_parameters,
    judge_scales,
    known_parameters,
    same_length,
    scale_in_words,
)
from refquant.model.graph import Array
from refquant.quantizer.legacy.arithmetic import bias_scaling, rewrite
from refquant.quantizer.parameters import Parameters, quantize_bias


def check_zero_point(_: Site, operand: Operand) -> Verdict | None:
    """Weights and biases are symmetric."""
    if operand.role not in ("weights", "bias") or not is_quantized(operand):
        return None
    zero_points = operand.found.zero_point
    wrong = [i for i, zero_point in enumerate(zero_points) if zero_point != 0]
    if not wrong:
        return Verdict(True, of=len(zero_points))
    return Verdict(False, "0", str(zero_points[wrong[0]]), len(wrong), len(zero_points), (wrong[0],))


def check_weight_scale(site: Site, operand: Operand) -> Verdict | None:
    """max |w| / 127, where the bias does not enlarge it."""
    if operand.role != "weights" or site.expected is None or not is_quantized(operand):
        return None
    expected, found = site.expected.weights.scale, operand.found.scale
    if not same_length(expected, found):
        return None
    free = [i for i, guarded in enumerate(site.expected.guarded) if not guarded]
    return _with_doubt(site, judge_scales(expected, found, free)) if free else None


def _with_doubt(site: Site, verdict: Verdict) -> Verdict:
    """Says so where the scales may be others for a reason that the file does not show."""
    unseen = site.arithmetic.own_range and site.factors is not None and site.factors[0].own_scale is None
    if verdict.holds or not unseen:
        return verdict
    return replace(verdict, note="unless the input's own range, which the file does not show, made the guard act")


def check_weight_data(site: Site, operand: Operand) -> Verdict | None:
    """The integers of weights, by the file's arithmetic: with the scales they should have, or with those they have."""
    values, integers = operand.values, operand.integers
    if operand.role != "weights" or site.expected is None or values is None or integers is None:
        return None
    if values.shape != integers.shape or integers.dtype != np.int8:
        return None
    weights = site.expected.weights

    def candidates() -> Iterator[tuple[str, Array]]:
        assert site.expected is not None
        yield "", site.expected.integers
        found = operand.found.scale
        others = len(found) == len(weights.scale) and scale_bits(found) != scale_bits(weights.scale)
        if others and min(found) > 0:
            yield "with the file's scales", site.arithmetic.integers(values, replace(weights, scale=found))

    return judge_data(candidates(), integers)


def check_guard(site: Site, operand: Operand) -> Verdict | None:
    """The scales of weights and bias that a large bias enlarges."""
    if operand.role not in ("weights", "bias") or site.expected is None or not is_quantized(operand):
        return None
    expected = site.expected.weights if operand.role == "weights" else site.expected.bias
    large = [i for i, guarded in enumerate(site.expected.guarded) if guarded]
    if not large or expected is None or not same_length(expected.scale, operand.found.scale):
        return None
    verdict = judge_scales(expected.scale, operand.found.scale, large)
    return _with_doubt(site, replace(verdict, involves=_tensors(site.factors)))


def _tensors(operands: tuple[Operand, ...] | None) -> tuple[int, ...]:
    return tuple(operand.tensor for operand in operands or ())


def _products(site: Site, count: int) -> Iterator[tuple[str, tuple[float, ...]]]:
    """The scales that a bias may have: from the weights' scales as they should be, and as the file has them."""
    factors = site.factors
    if factors is None:
        return
    if site.expected is not None and site.expected.bias is not None and len(site.expected.bias.scale) == count:
        yield "", site.expected.bias.scale
    input_, weights = (np.asarray(factor.found.scale, np.float64) for factor in factors)
    if len(input_) == 1 and len(weights) == count:
        yield "with the file's weight scales", tuple(map(float, (input_ * weights).astype(np.float32)))


def check_bias_scale(site: Site, operand: Operand) -> Verdict | None:
    """Input scale times weight scale, where the bias does not enlarge it."""
    if operand.role != "bias" or not is_quantized(operand) or site.factors is None:
        return None
    found = operand.found.scale
    guarded = site.expected.guarded if site.expected is not None else ()
    free = [i for i in range(len(found)) if len(guarded) != len(found) or not guarded[i]]
    verdicts = []
    for note, expected in _products(site, len(found)):
        verdict = judge_scales(expected, found, free)
        verdicts.append(replace(verdict, note=note, involves=_tensors(site.factors)))
    if not verdicts or not free:
        return None
    best = min(verdicts, key=lambda verdict: verdict.wrong)
    return best if best.holds else _blame_input(site, operand, free, best)


def _blame_input(site: Site, bias: Operand, free: list[int], verdict: Verdict) -> Verdict:
    """If several bias scales are wrong, and one other input scale would explain them all, the input is at fault."""
    factors = site.factors
    if factors is None or verdict.wrong < 2 or len(factors[0].found.scale) != 1:
        return verdict
    weights = site.expected.weights.scale if site.expected is not None else factors[1].found.scale
    if len(weights) != len(bias.found.scale):
        return verdict
    w = np.asarray(weights, np.float32)[free].astype(np.float64)
    b = np.asarray(bias.found.scale, np.float32)[free]
    if not w.all():
        return verdict
    guess = np.float32(np.median(b.astype(np.float64) / w))
    for steps in (0, 1, -1, 2, -2):
        scale = guess
        for _ in range(abs(steps)):
            scale = np.nextafter(scale, np.float32(np.inf if steps > 0 else 0))
        if ((float(scale) * w).astype(np.float32) == b).all():
            found = factors[0].found.scale
            return Verdict(
                False,
                scale_in_words(float(scale)),
                scale_in_words(found[0]),
                ulps=ulp_distance((float(scale),), found),
                note=f"all {len(free)} bias scales are products with this input scale",
                slot=factors[0].slot,
                involves=(bias.tensor, factors[1].tensor),
            )
    return verdict


def _wide_bias(values: Array, parameters: Parameters) -> Array:
    return rewrite(values, bias_scaling(parameters.scale, "INT64"))


# type of a bias -> its integers, given its scales
BIASES: Mapping[str, Callable[[Array, Parameters], Array]] = {"INT32": quantize_bias, "INT64": _wide_bias}


def check_bias_data(site: Site, operand: Operand) -> Verdict | None:
    """The integers of a bias, with the scales they should have, or with those they have."""
    values, integers = operand.values, operand.integers
    if operand.role != "bias" or values is None or integers is None or not is_quantized(operand):
        return None
    if values.shape != integers.shape or operand.record.type not in BIASES:
        return None

    def candidates() -> Iterator[tuple[str, Array]]:
        if site.expected is not None and site.expected.bias_integers is not None and integers.dtype == np.int32:
            yield "", site.expected.bias_integers
        parameters = known_parameters(operand)
        if len(parameters.scale) == 1 or len(parameters.scale) == values.size:
            axis = None if len(parameters.scale) == 1 else values.ndim - 1
            given = replace(parameters, axis=axis)
            yield "with the file's scales", BIASES[operand.record.type](values, given)

    found = list(candidates())
    return replace(judge_data(iter(found), integers), involves=_tensors(site.factors)) if found else None


def check_constant_scale(site: Site, operand: Operand) -> Verdict | None:
    """The parameters of a constant that is neither weights nor bias: from its own values."""
    if operand.role != "constant" or operand.values is None or operand.record.type != "INT8" or site.is_float:
        return None
    if len(operand.found.scale) != 1 or not operand.values.size:
        return None
    return judge_parameters(site.arithmetic.constant(operand.values)[0].quantization(), operand.found)


def check_constant_data(site: Site, operand: Operand) -> Verdict | None:
    """The integers of a constant that is neither weights nor bias."""
    values, integers = operand.values, operand.integers
    if operand.role not in ("constant", "shared constant") or values is None or integers is None or site.is_float:
        return None
    if values.shape != integers.shape or integers.dtype != np.int8 or len(operand.found.scale) != 1:
        return None
    if not operand.found.scale[0] > 0:
        return None

    def candidates() -> Iterator[tuple[str, Array]]:
        assert values is not None
        if operand.role == "constant" and values.size:
            yield "", site.arithmetic.constant(values)[1]
        note = "with the file's parameters" if operand.role == "constant" else ""
        yield note, site.arithmetic.shared(values, known_parameters(operand))

    return judge_data(candidates(), integers)
