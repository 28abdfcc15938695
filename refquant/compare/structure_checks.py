"""Checks of operators, types, shapes and conversions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from refquant.compare.sites import ConversionSite, Operand, Site, Verdict
from refquant.compare.tensors import parameters_of, scale_bits
from refquant.compare.verdicts import is_integer, judge_parameters, parameters_in_words, zero_points
from refquant.model.graph import Quantization

# Form of an operator -> role -> the types that its tensors may have.
TYPES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "int8": {"bias": ("INT32",)},
    "mixed": {"bias": ("INT32",)},
    "int16": {
        "weights": ("INT8",),
        "bias": ("INT64", "INT32"),
        "constant": ("INT16",),
        "shared constant": ("INT16",),
        "activation": ("INT16",),
    },
}


def check_form(site: Site) -> Verdict | None:
    """Whether the operator is int8 or float as it should be."""
    if not site.form or site.form == "mixed" or all(operand.role == "other" for operand in site.operands):
        return None
    has_weights = site.form.startswith("float with")
    if has_weights or (site.stays_float is None and not site.is_float and site.rule.quantizable):
        return Verdict(True, found=site.form)
    if site.stays_float is None:
        expected = "int8" if site.rule.quantizable else "float"
        note = "" if site.rule.quantizable else "the specification has no int8 form of this operator"
    else:
        expected = "float" if site.stays_float else "int8"
        note = site.stays_float
    if expected == "int8" and site.is_float:
        note = "the op has an int8 form; only tensors without a range would keep it from it"
    return Verdict((expected == "float") == site.is_float, expected, site.form, note=note)


def check_operands(site: Site) -> Verdict | None:
    """Whether both models give the operator the same operands."""
    if not site.unpaired:
        return Verdict(True)
    return Verdict(False, "the same operands", "; ".join(site.unpaired), len(site.unpaired))


def check_type(site: Site, operand: Operand) -> Verdict | None:
    """Whether the tensor of a quantized operator has the type of its role."""
    if operand.role == "other" or site.is_float or not site.form:
        return None
    if site.form not in TYPES:
        return None
    allowed = TYPES[site.form].get(operand.role, ("INT8",))
    return Verdict(operand.record.type in allowed, " or ".join(allowed), operand.record.type)


def check_shape(_: Site, operand: Operand) -> Verdict | None:
    """Whether a constant still has its shape."""
    if operand.values is None or operand.integers is None:
        return None
    mine, theirs = operand.values.shape, operand.integers.shape
    return Verdict(mine == theirs, str(list(mine)), str(list(theirs)))


def check_granularity(site: Site, operand: Operand) -> Verdict | None:
    """How many scales a tensor has, and along which dimension."""
    if not is_integer(operand):
        return None
    found = len(operand.found.scale), operand.found.quantized_dimension
    if operand.role == "weights" and operand.values is not None:
        axis = operand.axis
        several = axis is not None and site.per_channel is not False and operand.values.shape[axis] > 1
        expected = (operand.values.shape[axis], axis) if several and axis is not None else (1, 0)
        if several and found[0] == 1 and site.per_channel is None:
            return None
    elif operand.role == "bias":
        weights = site.factors
        expected = (len(weights[1].found.scale) if weights is not None else 1, 0)
    else:
        expected = (1, 0)
    return Verdict(found == expected, _granularity(*expected), _granularity(*found))


def _granularity(scales: int, dimension: int) -> str:
    if scales < 2:
        return "one scale" if scales else "no scale"
    return f"{scales} scales on dim {dimension}"


def check_needless(site: ConversionSite) -> Verdict | None:
    """A QUANTIZE whose two sides agree does nothing."""
    source, target = (site.graph.tensors[i] for i in (site.operator.inputs[0], site.operator.outputs[0]))
    if site.operator.name != "QUANTIZE" or not parameters_of(source).scale:
        return None
    mine, theirs = parameters_of(source), parameters_of(target)
    same = source.type == target.type and scale_bits(mine.scale) == scale_bits(theirs.scale)
    needless = same and zero_points(mine) == zero_points(theirs)
    text = f"{target.type} {parameters_in_words(theirs)}"
    return Verdict(not needless, "two sides that differ", text, involves=(site.operator.inputs[0],))


def check_unsigned(site: ConversionSite) -> Verdict | None:
    """Between uint8 and int8 only the zero point moves, by 128."""
    source, target = (site.graph.tensors[i] for i in (site.operator.inputs[0], site.operator.outputs[0]))
    if {source.type, target.type} != {"UINT8", "INT8"}:
        return None
    shift = 128 if target.type == "UINT8" else -128
    q = parameters_of(source)
    expected = Quantization(q.scale, tuple(zero_point + shift for zero_point in zero_points(q)))
    return replace(judge_parameters(expected, parameters_of(target)), involves=(site.operator.inputs[0],))
