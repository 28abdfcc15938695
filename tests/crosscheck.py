"""Runs a case through refquant and the real runtime and counts differing elements, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from models import Case
from oracle import TFLM, run_real
from refquant.errors import InvalidInput, RefquantError
from refquant.kernels.table import kernel_type
from refquant.model import read_model, write_model
from refquant.model.graph import Graph, Model, Operator
from refquant.program import Value, execute, new_state, prepare
from refquant.runtimes import runtime_named


@dataclass
class Distance:
    """How far results that differ lie from the real ones at most, where both are finite.

    `ulps`: float32 numbers between the two; `absolute`: their difference, codes of integers; `relative`: that over the
    largest finite magnitude of the real tensor. `not_finite`: so many differ by an infinity or a NaN.
    """

    ulps: int = 0
    absolute: float = 0
    relative: float = 0
    not_finite: int = 0


@dataclass
class Count:
    """What one case compared. `delegated`: a delegate took an operator of it."""

    elements: int = 0
    differing: int = 0
    detail: str = ""
    distance: Distance = field(default_factory=Distance)
    delegated: bool = False


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
    return operator.name, kernel_type(operator.name, types)


def compare(case: Case, resolver: str | None = None, runtime: str = "tflite_ref", batched: bool = True) -> Count:
    """Every tensor an operator computes, sample by sample, then all samples at once along a sample axis.

    A model with variables keeps them from sample to sample, and they are compared too; then they are reset and the
    first sample runs again. Not compared are samples for which the described runtime says that the real one's result is
    undefined, not all of them, and what a real delegate computes from constants when it is prepared. batched: whether
    all samples at once are compared, too.
    """
    data = write_model(with_shapes_declared(case, runtime)) if resolver == TFLM else case.file()
    has_variables = any(tensor.is_variable for tensor in case.model.graph.tensors)
    samples = [*case.samples, None, case.samples[0]] if has_variables else case.samples
    expected = run_real(resolver or case.resolver, data, samples)
    model = read_model(data)
    program, state = prepare(model, runtime_named(runtime)), new_state(model)
    inputs = case.model.graph.inputs
    singles: list[dict[int, np.ndarray]] = []
    undefined: list[Exception] = []
    for arrays in samples:
        if arrays is None:
            state = new_state(model)
            continue
        kept: dict[int, Value] = {}
        try:
            execute(program, dict(zip(inputs, map(Value, arrays), strict=True)), 1, kept.__setitem__, state)
        except InvalidInput as error:
            undefined.append(error)
            kept = {}
        singles.append({index: value.array for index, value in kept.items()} | state.variables)
    if len(undefined) == len(singles):
        raise undefined[0]
    prepared = program.known if runtime_named(runtime).delegate else {}
    count = Count(delegated=any(getattr(step, "delegate", "") for step in program.steps))
    for number, (got, want) in enumerate(zip(singles, expected, strict=True)):
        for index, array in got.items():
            if index in prepared and index not in model.graph.outputs:
                continue
            count_tensor(count, array, want[index], f"sample {number}, tensor {index}")
    if len({tuple(a.shape for a in arrays) for arrays in case.samples}) == 1 and inputs and not undefined and batched:
        _check_batched(case, program, singles[: len(case.samples)], count)
    return count


def _computed(case: Case, runtime: str) -> dict[int, np.ndarray] | None:
    """What the described runtime computes of the first sample, whatever shapes the file declares; None if it refuses
    the model.
    """
    inputs = dict(zip(case.model.graph.inputs, map(Value, case.samples[0]), strict=True))
    kept: dict[int, Value] = {}
    try:
        execute(prepare(case.model, replace(runtime_named(runtime), shape_checks=())), inputs, 1, kept.__setitem__)
    except RefquantError:
        return None
    return {index: value.array for index, value in kept.items()}


def with_shapes_declared(case: Case, runtime: str) -> Model:
    """The model with the shapes that its tensors have: TensorFlow Lite Micro computes none, it takes the file's.

    As it is if both tflite_ref and the described runtime refuse it: then the real one is to refuse it too.
    """
    graph = case.model.graph
    computed = _computed(case, "tflite_ref") or _computed(case, runtime)
    if computed is None:
        return case.model
    tensors = tuple(
        replace(tensor, shape=computed[index].shape if index in computed else tensor.shape, shape_signature=None)
        for index, tensor in enumerate(graph.tensors)
    )
    return replace(case.model, graphs=(replace(graph, tensors=tensors), *case.model.graphs[1:]))


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
        count_tensor(count, array, np.stack([single[index] for single in singles]), f"batched, tensor {index}", False)


def count_tensor(count: Count, got: np.ndarray, want: np.ndarray, where: str, counted: bool = True) -> None:
    """Adds one tensor to what was compared. `counted`: its elements were not counted before."""
    if counted:
        count.elements += want.size
    if got.shape != want.shape or got.dtype != want.dtype:
        count.differing += max(want.size, 1)
        count.detail = count.detail or f"{where}: {got.dtype} {got.shape} instead of {want.dtype} {want.shape}"
        return
    bad = differing(got, want)
    if bad.any():
        count.differing += int(bad.sum())
        widen(count.distance, got, want, bad)
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        count.detail = (
            count.detail
            or f"{where}: {int(bad.sum())} of {want.size}, first at {at}: {got[at]!r} instead of {want[at]!r}"
        )


def widen(distance: Distance, got: np.ndarray, want: np.ndarray, bad: np.ndarray) -> None:
    """Makes the distance at least that of the elements that differ."""
    if got.dtype.kind not in "iuf":
        return
    finite = bad & np.isfinite(got) & np.isfinite(want)
    distance.not_finite += int((bad & ~finite).sum())
    if not finite.any():
        return
    apart = float(np.abs(got[finite].astype(np.float64) - want[finite].astype(np.float64)).max())
    largest = float(np.abs(want[np.isfinite(want)].astype(np.float64)).max())
    distance.absolute = max(distance.absolute, apart)
    distance.relative = max(distance.relative, apart / largest if largest else 1.0)
    if got.dtype == np.float32:
        distance.ulps = max(distance.ulps, int(np.abs(places(got[finite]) - places(want[finite])).max()))


def places(array: np.ndarray) -> np.ndarray:
    """Where each float32 stands in the order of all, as int64; both zeros at 0."""
    bits = array.view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(2**31) - bits, bits)
