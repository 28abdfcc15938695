"""Checks of activations: by their op, by their neighbours, by what a range can give, and by the ranges at hand."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from refquant.compare.sites import Operand, Site, Verdict
from refquant.compare.tensors import scale_bits
from refquant.compare.verdicts import is_quantized, judge_parameters, parameters_in_words, zero_points
from refquant.model.graph import Quantization
from refquant.quantizer.parameters import INT8_MAX, INT8_MIN


def check_fixed(site: Site, operand: Operand) -> Verdict | None:
    """The parameters that the op prescribes for its result."""
    fixed = site.rule.fixed_output
    if fixed is None or not operand.is_result or operand.record.type != "INT8":
        return None
    return judge_parameters(Quantization((fixed.scale,), (fixed.zero_point,)), operand.found)


def check_same_scale(site: Site, operand: Operand) -> Verdict | None:
    """One scale and zero point for all operands and results: that which most of them have."""
    parties = [p for p in site.operands if is_quantized(p)]
    if not site.rule.same_scale or site.is_float or operand not in parties or len(parties) < 2:
        return None
    votes = Counter((p.record.type, scale_bits(p.found.scale), zero_points(p.found)) for p in parties)
    (common, count), *others = votes.most_common()
    mine = operand.record.type, scale_bits(operand.found.scale), zero_points(operand.found)
    undecided = bool(others) and others[0][1] == count
    others_of = tuple(p.tensor for p in parties if p is not operand)
    if mine == common and not undecided:
        return Verdict(True, involves=others_of)
    other = next(p for p in parties if (p.record.type, scale_bits(p.found.scale), zero_points(p.found)) != mine)
    return replace(
        judge_parameters(other.found, operand.found),
        holds=False,
        note=f"as its {other.slot}" + ("; no majority says which is wrong" if undecided else ""),
        involves=others_of,
    )


def check_range(site: Site, operand: Operand) -> Verdict | None:
    """Whether a range of float32 numbers around zero has these parameters."""
    q = operand.found
    if operand.role != "activation" or operand.record.type != "INT8" or len(q.scale) != 1:
        return None
    scale, zero_point = np.float32(q.scale[0]), zero_points(q)[0]
    found = parameters_in_words(q)
    narrowest = np.float32(np.float32(site.arithmetic.narrowest) / np.float32(255))
    if not (np.isfinite(scale) and scale >= narrowest):
        return Verdict(False, f"a scale of a range of at least {site.arithmetic.narrowest}", found)
    if not INT8_MIN <= zero_point <= INT8_MAX:
        return Verdict(False, f"a zero point within [{INT8_MIN}, {INT8_MAX}]: zero is in the range", found)
    if not _is_quotient(scale):
        return Verdict(False, "f32((max - min) / 255) for some float32 max - min", found)
    return Verdict(True, found=found)


def _is_quotient(scale: np.float32) -> bool:
    """Whether a float32 divided by 255 in float32 gives the scale."""
    with np.errstate(over="ignore"):
        width = np.float32(np.float64(scale) * 255)
        near = (width, np.nextafter(width, np.float32(0)), np.nextafter(width, np.float32(np.inf)))
        return any(np.float32(w / np.float32(255)) == scale for w in near)


def _decided(site: Site, operand: Operand, calibrated: bool) -> Verdict | None:
    decided = operand.decided
    if decided is None or decided.calibrated != calibrated or operand.role != "activation":
        return None
    if not is_quantized(operand) and not decided.parameters.scale:
        return None
    if operand.record.type != decided.type:
        return Verdict(False, decided.type, operand.record.type, note=decided.why)
    return replace(judge_parameters(decided.parameters, operand.found, site.ulps), note=decided.why)


def check_calibrated(site: Site, operand: Operand) -> Verdict | None:
    """The parameters of a tensor that keeps its own range."""
    return _decided(site, operand, True)


def check_propagated(site: Site, operand: Operand) -> Verdict | None:
    """The parameters of a tensor that takes those of others."""
    return _decided(site, operand, False)
