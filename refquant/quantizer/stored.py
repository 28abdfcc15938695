"""What dynamic range and float16 share: constants are stored otherwise, and operators read them so or dequantized.

Here is the decision, a plain value; stored_apply.py makes the model of it.
Source: google-ai-edge/LiteRT, tflite/converter/transforms/prepare_quantize_dynamic_range.cc and optimize_op_order.cc;
checked against TensorFlow 2.21.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from refquant.errors import InvalidInput
from refquant.model.graph import Array, Graph, Model, Operator, Tensor
from refquant.quantizer.decide import BorderConversion, FloatOperator, TensorDecision
from refquant.quantizer.forms import Requantize
from refquant.quantizer.parameters import Parameters, quantize_affine
from refquant.quantizer.propagate import Use
from refquant.quantizer.why import Why

HALF = Parameters("FLOAT16", (), ())
HALF_MAX = 65504.0  # the largest float16; what is larger becomes this, not infinite


@dataclass(frozen=True, slots=True)
class Stored:
    """One new constant in place of a float one. `users`: the operands that read it, or read it dequantized.

    `carried`: operators that became int8 as the DEQUANTIZE moved behind them, one after the other.
    """

    tensor: int
    parameters: Parameters
    users: tuple[Use, ...]
    dequantized: bool
    why: Why
    carried: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class FloatConstant:
    """A float32 constant that some operator or output still reads as float32."""

    tensor: int
    name: str
    why: Why
    subgraph: int = 0


@dataclass(frozen=True, slots=True)
class GraphPlan:
    """One subgraph: its new constants in the order of the float ones, and the operators as they will be.

    `operators`: position -> the operator with its new version and options; the others stay as they are.
    """

    stored: tuple[Stored, ...]
    operators: Mapping[int, Operator]


@dataclass(frozen=True, slots=True)
class StoredDecision:
    """Everything `apply` needs, and everything one may want to know, in the words of the int8 Decision."""

    tensors: tuple[TensorDecision, ...]
    float_constants: tuple[FloatConstant, ...]
    float_operators: tuple[FloatOperator, ...]
    conversions: tuple[BorderConversion, ...]
    plan: tuple[GraphPlan, ...]  # one per subgraph
    requantize: tuple[Requantize, ...] = ()
    half: bool = False

    def __str__(self) -> str:
        lines = [f"{t.name}: {t.parameters} ({t.why})" for t in self.tensors]
        lines += [f"{c.name}: FLOAT32 ({c.why})" for c in self.float_constants]
        lines += [f"float: operator {f.operator} ({f.name}): {f.why}" for f in self.float_operators]
        lines += [f"{c.op} {c.name}: {c.before} -> {c.after} ({c.why})" for c in self.conversions]
        return "\n".join(lines)


# what these modes do not take

FIXED_OPTIONS: Mapping[str, Any] = MappingProxyType(
    {
        "input_type": "float32",
        "output_type": "float32",
        "allow_float": True,
        "denied_ops": (),
        "denied_names": (),
        "bias_type": None,
    }
)


def check_options(given: Mapping[str, Any], fixed: Mapping[str, Any]) -> None:
    """InvalidInput for an option that is not what it must be."""
    for name, value in fixed.items():
        if given[name] != value:
            raise InvalidInput(f"{name}={given[name]!r}: mode '{given['mode']}' has no such choice")


def check_no_calibration(calibration: object) -> None:
    """InvalidInput for a calibration."""
    if calibration is not None:
        raise InvalidInput("this mode quantizes no activations: it takes no calibration")


# what a model's constants are


def float_constant(model: Model, tensor: Tensor) -> Array | None:
    """The values of a float32 constant; zeros of a variable tensor, as what it starts with; None of anything else."""
    if tensor.type != "FLOAT32":
        return None
    if tensor.is_variable:
        return np.zeros(tensor.shape, "<f4")
    return model.constant(tensor)


def to_half(values: Array) -> Array:
    """float16 of x limited to [-65504, 65504], ties to even."""
    return np.clip(values, -HALF_MAX, HALF_MAX).astype("<f2")


def stored_data(values: Array, parameters: Parameters) -> Array:
    """The bytes' array of a constant: half precision, or round(f64(w / s)) within [-127, 127]."""
    return to_half(values) if parameters.type == "FLOAT16" else quantize_affine(values, parameters)


def uses_of(graph: Graph) -> dict[int, list[Use]]:
    """Tensor -> the operands and graph outputs that read it."""
    uses: dict[int, list[Use]] = {}
    for position, operator in enumerate(graph.operators):
        for slot, tensor in enumerate(operator.inputs):
            uses.setdefault(tensor, []).append(Use(position, slot))
    for number, tensor in enumerate(graph.outputs):
        uses.setdefault(tensor, []).append(Use(None, number))
    return uses


def float_constants(model: Model, plans: Sequence[GraphPlan]) -> tuple[FloatConstant, ...]:
    """The float constants that someone still reads as float32, and why."""
    kept = []
    for number, (graph, plan) in enumerate(zip(model.graphs, plans, strict=True)):
        converted = {use for stored in plan.stored for use in stored.users}
        for tensor, uses in sorted(uses_of(graph).items()):
            left = [use for use in uses if use not in converted]
            if tensor >= 0 and left and float_constant(model, graph.tensors[tensor]) is not None:
                why = _why_kept(graph, tensor, left[0])
                kept.append(FloatConstant(tensor, graph.tensors[tensor].name, why, number))
    return tuple(kept)


def _why_kept(graph: Graph, tensor: int, use: Use) -> Why:
    if use.operator is None:
        return Why("read as float", "an output of the graph", None, (tensor,))
    place = f"operator {use.operator} ({graph.operators[use.operator].name})"
    return Why("read as float", f"{place} reads it as float32", use.operator, (tensor,))


# a decision from plans


def decision(
    model: Model,
    plans: tuple[GraphPlan, ...],
    float_constants: tuple[FloatConstant, ...],
    float_operators: tuple[FloatOperator, ...],
    half: bool = False,
) -> StoredDecision:
    """The Decision that tells of the plans."""
    tensors, conversions = [], []
    for number, (graph, plan) in enumerate(zip(model.graphs, plans, strict=True)):
        for stored in plan.stored:
            name = graph.tensors[stored.tensor].name
            rule = "half precision, ties to even" if stored.parameters.type == "FLOAT16" else "affine, float64"
            tensors.append(
                TensorDecision(stored.tensor, name, stored.parameters, rule, stored.why, stored.users, number)
            )
            tensors += [
                TensorDecision(graph.operators[o].outputs[0], _result_name(graph, o), stored.parameters, None,
                               Why("carried", f"DEQUANTIZE moved behind operator {o}", o, (stored.tensor,)), (), number)
                for o in stored.carried
            ]  # fmt: skip
            if stored.dequantized:
                conversions.append(_dequantize(graph, stored, number))
    return StoredDecision(tuple(tensors), float_constants, float_operators, tuple(conversions), plans, half=half)


def _result_name(graph: Graph, operator: int) -> str:
    return graph.tensors[graph.operators[operator].outputs[0]].name


def _dequantize(graph: Graph, stored: Stored, number: int) -> BorderConversion:
    last = stored.carried[-1] if stored.carried else None
    tensor = stored.tensor if last is None else graph.operators[last].outputs[0]
    readers = stored.users if last is None else tuple(uses_of(graph).get(tensor, ()))
    before = stored.parameters.type.lower()
    why = Why("float operator", f"its readers take float32, not {before}")
    name = graph.tensors[tensor].name
    return BorderConversion(
        "DEQUANTIZE", tensor, name, last, before, "float32", stored.parameters, readers, why, number
    )
