"""SVDF and UNIDIRECTIONAL_SEQUENCE_LSTM on int8 in the reals: see exact.py.

Inside of one run nothing is rounded: steps hand each other reals. Output and states are rounded once, at its end.
Biases are in the steps that the quantization specification gives them: no runtime reads their own scales.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from refquant.kernels.activation import REAL_RANGES
from refquant.kernels.exact import Affine, Float64, affine_of, codes_of, on_floats, real_of
from refquant.kernels.kernel import Kernel, Node, Operand, Shape
from refquant.kernels.recurrent import (
    GATES,
    INPUT,
    PROJECTION_BIAS,
    PROJECTION_WEIGHTS,
    STATES,
    GateOperands,
    Sizes,
    decode_sizes,
    gate_names,
    state_arrays,
    states,
)
from refquant.kernels.svdf import STATE, Layout, pushed, svdf_float_params
from refquant.model.graph import Array

TIME, BIAS = 2, 3  # operands of SVDF
HIDDEN = 4  # the intermediate that is projected
SMALLEST_DEVIATION = 1e-8  # that layer normalization adds to a variance

Reals = Sequence[Float64 | None]


@dataclass(frozen=True, slots=True)
class RecurrentParams:
    """`own`: what compute needs. `inputs`, `types`: of the operands; `output`: the output's."""

    place: str
    own: Any
    inputs: tuple[Affine | None, ...]
    types: tuple[str, ...]
    output: Affine
    output_type: str
    output_shapes: tuple[Shape]


def _kernel(
    decode: Callable[[Node], tuple[Any, Shape, Mapping[int, float]]],
    compute: Callable[[Any, Reals], tuple[Float64, ...]],
    slots: tuple[int, ...],
) -> Kernel:
    """decode: node -> (what compute needs, shape of the output, scales of the biases by operand); compute gives the
    output and the states of `slots`.
    """

    def prepare(node: Node) -> RecurrentParams:
        own, shape, biases = decode(node)
        steps = {slot: Affine(np.array(scale), np.array(0)) for slot, scale in biases.items()}
        inputs = tuple(None if o is None else steps.get(slot) or _affine(node, o) for slot, o in enumerate(node.inputs))
        types = tuple("" if o is None else o.type for o in node.inputs)
        output = node.outputs[0]
        return RecurrentParams(node.place, own, inputs, types, _affine(node, output), output.type, (shape,))

    def run(params: RecurrentParams, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
        reals = [None if a is None else real_of(a, affine) for a, affine in zip(arrays, params.inputs, strict=True)]
        with np.errstate(all="ignore"):
            output, *new = compute(params.own, reals)
            result = [codes_of(output, params.output, params.output_type, params.place)]
            for slot, state in zip(slots, new, strict=True):
                affine = params.inputs[slot]
                assert affine is not None
                result.append(codes_of(state, affine, params.types[slot], params.place))
        return tuple(result)

    return Kernel(prepare, run, variable_operands=slots)


def _affine(node: Node, operand: Operand) -> Affine:
    affine = affine_of(node, operand)
    if affine is None:
        raise node.unsupported(f"'{operand.name}' has no scale, so that its codes stand for no reals")
    return affine


def _scale(node: Node, operand: Operand) -> float:
    _affine(node, operand)
    return node.scale_and_zero_point(operand)[0]


# SVDF -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Svdf:
    layout: Layout
    low: float | None
    high: float | None


def _decode_svdf(node: Node) -> tuple[_Svdf, Shape, Mapping[int, float]]:
    layout = svdf_float_params(on_floats(node, ())).layout
    bounds = REAL_RANGES[node.options.get("fused_activation_function", "NONE")]
    of_bias = _scale(node, node.input(TIME)) * _scale(node, node.input(STATE))
    return _Svdf(layout, *bounds), (layout.batch, layout.units), {BIAS: of_bias}


def _svdf(params: _Svdf, reals: Reals) -> tuple[Float64, ...]:
    """See svdf.py."""
    x, feature, time, bias, state = reals
    assert x is not None
    assert feature is not None
    assert time is not None
    assert state is not None
    layout = params.layout
    new = pushed(state, layout, x @ feature.T)
    output = (new * time).reshape(layout.batch, layout.units, -1).sum(axis=2)
    output = output if bias is None else output + bias
    if params.low is not None or params.high is not None:
        output = np.clip(output, params.low, params.high)
    return output, new.reshape(state.shape)


# UNIDIRECTIONAL_SEQUENCE_LSTM -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Lstm:
    sizes: Sizes
    gates: tuple[str, ...]
    cell_clip: float
    proj_clip: float


def _decode_lstm(node: Node) -> tuple[_Lstm, Shape, Mapping[int, float]]:
    sizes = decode_sizes(node)
    clips = (float(node.options.get(name, 0.0)) for name in ("cell_clip", "proj_clip"))
    return _Lstm(sizes, gate_names(node), *clips), sizes.output_shape, _bias_scales(node)


def _bias_scales(node: Node) -> dict[int, float]:
    """Input scale * weight scale; behind a layer normalization coefficient scale / 2^10."""
    scales = {}
    for gate in (GATES[name] for name in gate_names(node)):
        coefficients = node.optional(gate.layer_norm)
        of_products = _scale(node, node.input(INPUT)) * _scale(node, node.input(gate.weights))
        scales[gate.bias] = of_products if coefficients is None else _scale(node, coefficients) / 2**10
    projection = node.optional(PROJECTION_WEIGHTS)
    if projection is not None and len(node.intermediates) > HIDDEN:
        scales[PROJECTION_BIAS] = _scale(node, projection) * _scale(node, node.intermediates[HIDDEN])
    return scales


def _lstm(params: _Lstm, reals: Reals) -> tuple[Float64, ...]:
    """See recurrent.py. Cell gate and cell go through tanh, as in the int8 kernels."""
    x, sizes = reals[INPUT], params.sizes
    assert x is not None
    h, c = states(sizes, reals)
    outputs = np.empty((sizes.steps, *sizes.groups, sizes.n_output))
    for number, step in enumerate(sizes.steps_of(x)):
        forget = _logistic(_gate(GATES["forget"], reals, step, h, c))
        cell = np.tanh(_gate(GATES["cell"], reals, step, h, c))
        taken = _logistic(_gate(GATES["input"], reals, step, h, c)) if "input" in params.gates else 1 - forget
        c = _clipped(forget * c + taken * cell, params.cell_clip)
        h = _logistic(_gate(GATES["output"], reals, step, h, c)) * np.tanh(c)
        weights, bias = reals[PROJECTION_WEIGHTS], reals[PROJECTION_BIAS]
        if weights is not None:
            h = _clipped(h @ weights.T + (0 if bias is None else bias), params.proj_clip)
        outputs[number] = h
    return sizes.sequence_of(outputs), *state_arrays(reals, h, c)


def _gate(gate: GateOperands, reals: Reals, x: Float64, h: Float64, c: Float64) -> Float64:
    """What goes into the gate's activation."""
    weights, recurrent, bias = reals[gate.weights], reals[gate.recurrent], reals[gate.bias]
    assert weights is not None
    assert recurrent is not None
    assert bias is not None
    total = x @ weights.T + (h * recurrent if recurrent.ndim == 1 else h @ recurrent.T)
    peephole = None if gate.peephole is None else reals[gate.peephole]
    total = total if peephole is None else total + peephole * c
    coefficients = reals[gate.layer_norm] if gate.layer_norm < len(reals) else None
    if coefficients is not None:
        variance = total.var(axis=-1, keepdims=True)
        total = coefficients * (total - total.mean(axis=-1, keepdims=True)) / np.sqrt(variance + SMALLEST_DEVIATION)
    return np.asarray(total + bias)


def _logistic(x: Float64) -> Float64:
    return np.asarray(1 / (1 + np.exp(-x)))


def _clipped(x: Float64, limit: float) -> Float64:
    return np.clip(x, -limit, limit) if limit > 0 else x


SVDF = _kernel(_decode_svdf, _svdf, (STATE,))
LSTM = _kernel(_decode_lstm, _lstm, STATES)
