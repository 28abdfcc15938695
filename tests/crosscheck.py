"""Runs a case through refquant and the real runtime and counts differing elements, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models import Case
from oracle import litert
from refquant.kernels.table import TYPE_OPERAND, WEIGHT_OPERAND
from refquant.model import read_model, write_model
from refquant.model.graph import Graph, Operator
from refquant.program import Value, execute, new_state, prepare
from refquant.runtimes import runtime_named


@dataclass
class Count:
    """What one case compared."""

    elements: int = 0
    differing: int = 0
    detail: str = ""


def differing(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Where two arrays differ in any bit (a NaN equals a NaN)."""
    if a.dtype.kind == "c":
        return differing(a.real, b.real) | differing(a.imag, b.imag)
    if a.dtype.kind == "f":
        bits = np.dtype(f"u{a.dtype.itemsize}")
        x, y = (np.frombuffer(array.tobytes(), bits).reshape(array.shape) for array in (a, b))
        return np.asarray((x != y) & ~(np.isnan(a) & np.isnan(b)))
    return np.asarray(a != b)


def kernel_key(operator: Operator, graph: Graph) -> tuple[str, str]:
    """(op, type) under which the table of kernels has the operator."""
    types = [graph.tensors[index].type if index >= 0 else "" for index in operator.inputs]
    decider = types[TYPE_OPERAND.get(operator.name, 0)]
    weights = types[WEIGHT_OPERAND[operator.name]] if operator.name in WEIGHT_OPERAND else decider
    return operator.name, decider if weights == decider else f"{decider}x{weights}"


def compare(case: Case, resolver: str | None = None, runtime: str = "tflite_ref") -> Count:
    """Every tensor an operator computes, sample by sample, then all samples at once along a sample axis.

    A model with variables keeps them from sample to sample, and they are compared too; then they are reset and the
    first sample runs again.
    """
    data = write_model(case.model)
    has_variables = any(tensor.is_variable for tensor in case.model.graph.tensors)
    samples = [*case.samples, None, case.samples[0]] if has_variables else case.samples
    expected = litert.run(data, samples, resolver or case.resolver)
    model = read_model(data)
    program, state = prepare(model, runtime_named(runtime)), new_state(model)
    inputs = case.model.graph.inputs
    singles: list[dict[int, np.ndarray]] = []
    for arrays in samples:
        if arrays is None:
            state = new_state(model)
            continue
        kept: dict[int, Value] = {}
        execute(program, dict(zip(inputs, map(Value, arrays), strict=True)), 1, kept.__setitem__, state)
        singles.append({index: value.array for index, value in kept.items()} | state.variables)
    count = Count()
    for number, (got, want) in enumerate(zip(singles, expected, strict=True)):
        for index, array in got.items():
            _count(count, array, want[index], f"sample {number}, tensor {index}")
    if len({tuple(a.shape for a in arrays) for arrays in case.samples}) == 1 and inputs:
        _check_batched(case, program, singles[: len(case.samples)], count)
    return count


def _check_batched(case: Case, program, singles: list[dict[int, np.ndarray]], count: Count) -> None:
    n = len(case.samples)
    stacked = {
        i: Value(np.stack(column), True)
        for i, column in zip(case.model.graph.inputs, zip(*case.samples, strict=True), strict=True)
    }
    if any(len({single[i].shape for single in singles}) != 1 for i in singles[0]):
        return  # data-dependent output shapes have no batched form
    kept: dict[int, Value] = {}
    execute(program, stacked, n, kept.__setitem__)
    for index, value in kept.items():
        if case.model.graph.tensors[index].is_variable:
            continue  # an operator gave it its first value, a later one the one that was compared
        array = value.array if value.batched else np.broadcast_to(value.array, (n, *value.array.shape))
        _count(count, array, np.stack([single[index] for single in singles]), f"batched, tensor {index}", False)


def _count(count: Count, got: np.ndarray, want: np.ndarray, where: str, counted: bool = True) -> None:
    if counted:
        count.elements += want.size
    if got.shape != want.shape or got.dtype != want.dtype:
        count.differing += max(want.size, 1)
        count.detail = count.detail or f"{where}: {got.dtype} {got.shape} instead of {want.dtype} {want.shape}"
        return
    bad = differing(got, want)
    if bad.any():
        count.differing += int(bad.sum())
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        count.detail = (
            count.detail
            or f"{where}: {int(bad.sum())} of {want.size}, first at {at}: {got[at]!r} instead of {want[at]!r}"
        )
