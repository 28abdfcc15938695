"""Comparing what a rule asks for with what a file has: the parts that several checks share."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from refquant.compare.sites import Operand, Verdict
from refquant.compare.tensors import differing_elements, scale_bits, ulp_distance
from refquant.model.graph import Array, Quantization
from refquant.quantizer.parameters import Parameters


def scale_in_words(scale: float) -> str:
    """The shortest decimal that gives the float32 back, and its bits."""
    return f"{np.float32(scale)!s} ({scale_bits((scale,))[0]})"


def parameters_in_words(parameters: Quantization) -> str:
    """Scale and zero point; of several the number and the first."""
    if not parameters.scale:
        return "no scale"
    many = f"{len(parameters.scale)} scales from " if len(parameters.scale) > 1 else "scale "
    zero_point = parameters.zero_point[0] if parameters.zero_point else 0
    return f"{many}{scale_in_words(parameters.scale[0])} zero point {zero_point}"


def judge_scales(expected: tuple[float, ...], found: tuple[float, ...], among: list[int]) -> Verdict:
    """Some of two lists of scales of one length, bit by bit."""
    mine, theirs = scale_bits(expected), scale_bits(found)
    wrong = [i for i in among if mine[i] != theirs[i]]
    if not wrong:
        return Verdict(True, of=len(among))
    distances = [ulp_distance((expected[i],), (found[i],)) for i in wrong]
    i = wrong[0]
    return Verdict(
        False,
        scale_in_words(expected[i]),
        scale_in_words(found[i]),
        len(wrong),
        len(among),
        (i,) if len(found) > 1 else None,
        max(distances),
    )


def judge_data(candidates: Iterator[tuple[str, Array]], found: Array) -> Verdict:
    """The candidate that explains most of the integers; it holds if it explains them all."""
    best: Verdict | None = None
    for note, expected in candidates:
        wrong, first, step = differing_elements(expected.astype(np.int64), found.astype(np.int64))
        if best is None or wrong < best.wrong:
            texts = ("", "") if first is None else (str(expected[first]), str(found[first]))
            best = Verdict(wrong == 0, *texts, wrong, found.size, first, 0, step, note)
        if not wrong:
            break
    assert best is not None
    return best


def known_parameters(operand: Operand) -> Parameters:
    """The file's parameters as the quantizer's; missing zero points count as 0."""
    q = operand.found
    axis = q.quantized_dimension if len(q.scale) > 1 else None
    return Parameters(operand.record.type, q.scale, zero_points(q), axis, narrow=operand.role == "weights")


def same_length(expected: tuple[float, ...], found: tuple[float, ...]) -> bool:
    """Whether both hold scales, and as many."""
    return len(expected) == len(found) and len(found) > 0


def is_quantized(operand: Operand) -> bool:
    """Whether the file holds integers with a scale where the float model has real numbers."""
    return is_integer(operand) and bool(operand.found.scale)


def is_integer(operand: Operand) -> bool:
    """Whether the file holds integers where the float model has real numbers."""
    return operand.role != "other" and operand.record.type.startswith(("INT", "UINT"))


def judge_parameters(expected: Quantization, found: Quantization, ulps: int = 0) -> Verdict:
    """Two parameters of one scale each; `ulps`: how far the scales may be apart."""
    distance = ulp_distance(expected.scale, found.scale)
    same_scale = len(expected.scale) == len(found.scale) and distance <= ulps
    holds = same_scale and zero_points(expected) == zero_points(found)
    return Verdict(holds, parameters_in_words(expected), parameters_in_words(found), ulps=distance)


def zero_points(parameters: Quantization) -> tuple[int, ...]:
    """One per scale; missing ones are 0."""
    return parameters.zero_point or (0,) * len(parameters.scale)
