"""Random one-operator models in every described runtime against its real one: zero differing elements.

tflite_ref has its own test, with more models. What a runtime calls inexact is left out, with its reason.
REFQUANT_MODELS_PER_OP: how many models a check has; 6 unless it is set.
"""

from __future__ import annotations

import os
import zlib
from functools import lru_cache

import numpy as np
import pytest

import oracle
from cases import CASES, ONLY
from crosscheck import compare, kernel_key, with_shapes_declared
from models import Case
from oracle import Crashed, Rejected, run_real
from refquant.errors import RefquantError, UnsupportedModel
from refquant.model import write_model
from refquant.program import prepare
from refquant.runtimes import runtime_named

MODELS_PER_OP = int(os.environ.get("REFQUANT_MODELS_PER_OP", "6"))

MOST_REFUSED = 20  # models that the real runtime refuses, for each that it runs

# Checks of whose models the real runtime, or the described one, refuses nearly all; where there is something to
# compare, ONLY has checks for it.
REFUSED = {
    "tflm": (
        "ADD int16, not quantized",
        "BATCH_MATMUL to int32",
        "CAST float, to complex numbers",
        "CONCATENATION of scalars",
        "GREATER int16",
        "MUL int16, not quantized",
        "QUANTIZE float to uint8",
        "QUANTIZE uint8 to int16",
        "QUANTIZE uint8 to uint8",
        "SOFTMAX int8 to int16",
        "SOFTMAX int8 to int16, thousands of equal values",
        "STRIDED_SLICE",
        "TRANSPOSE",
        "TRANSPOSE_CONV int16, int32 bias",
        "TRANSPOSE_CONV int16, int32 bias, around half-way points",
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        "UNIDIRECTIONAL_SEQUENCE_LSTM float",
    ),
}

# Models whose results the described runtime calls undefined, for each that the real one runs: TensorFlow Lite Micro
# reads and writes beyond arrays for six axes, and many generators draw seven.
MOST_UNDEFINED = {"tflm": 1}
FEW_UNDEFINED = 0.1

# Described runtime -> how the real one is asked for.
RESOLVERS = {"tflite_opt": "BUILTIN_WITHOUT_DEFAULT_DELEGATES", "xnnpack": "AUTO", "tflm": "tflm:real"}

FIRST = 8  # models of a check that are looked at for one that the runtime claims to equal


@lru_cache(maxsize=4 * MODELS_PER_OP)
def draw(runtime: str, name: str, number: int, seed: int = 0) -> Case:
    """The numbered model of a check."""
    generate = CASES.get(name) or ONLY[runtime][name]
    return generate(np.random.default_rng([zlib.crc32(name.encode()), seed, number]))


def why_inexact(runtime: str, name: str) -> str | None:
    """The runtime's reason if it claims to equal the real one in none of the check's first models."""
    reasons = [unclaimed(runtime, draw(runtime, name, number)) for number in range(FIRST)]
    return reasons[0] if all(reasons) else None


def unclaimed(runtime: str, case: Case) -> str | None:
    """The runtime's reason if it does not claim to equal the real one in some operator of the model."""
    described, graph = runtime_named(runtime), case.model.graph
    try:
        steps = prepare(case.model, described).steps
    except RefquantError:
        return None  # the comparison tells
    reasons = (
        described.why_inexact(*kernel_key(operator, graph), bool(getattr(step, "delegate", "")))
        for step, operator in zip(steps, graph.operators, strict=True)
    )
    return next((reason for reason in reasons if reason), None)


def built(runtime: str, case: Case) -> bool:
    """Whether the runtime has a kernel for every operator."""
    graph, kernels = case.model.graph, runtime_named(runtime).kernels
    return all(type in kernels.get(op, ()) for op, type in (kernel_key(o, graph) for o in graph.operators))


def expect_refused(runtime: str, case: Case) -> None:
    """AssertionError if the real runtime runs what the described one has no kernel for."""
    with pytest.raises((Rejected, Crashed)):
        run_real(RESOLVERS[runtime], write_model(case.model), case.samples[:1])


def refused_too(runtime: str, case: Case) -> bool:
    """Whether the described runtime refuses the model."""
    try:
        prepare(with_shapes_declared(case, runtime), runtime_named(runtime))
    except RefquantError:
        return True
    return False


def run_check(runtime: str, name: str, models: int, seed: int = 0) -> tuple[int, int, int, str]:
    """(accepted models, elements, differing elements, first difference). What the real one refuses is not counted.

    It must refuse what the described one has no kernel for, and one that checks operators must refuse what it refuses.
    Nor is a model counted for which the described runtime says that the real one's results are undefined: see
    MOST_UNDEFINED; nor one that it does not claim to equal.
    """
    accepted = elements = differing = refused = undefined = number = 0
    detail = ""
    while accepted < models:
        case = draw(runtime, name, number, seed)
        number += 1
        if unclaimed(runtime, case):
            continue
        try:
            if not built(runtime, case):
                expect_refused(runtime, case)
                raise Rejected("not built")
            count = compare(case, RESOLVERS[runtime], runtime)
        except (Rejected, Crashed) as error:
            if runtime_named(runtime).node_checks and not refused_too(runtime, case):
                raise AssertionError(f"model {number - 1}: only the real runtime refuses it: {error}") from error
            refused += 1
            if refused > MOST_REFUSED * models:
                raise AssertionError(f"{name}: the runtime refuses most models") from error
            continue
        except UnsupportedModel:
            undefined += 1
            if undefined > max(1, models * MOST_UNDEFINED.get(runtime, FEW_UNDEFINED)):
                raise
            continue
        accepted += 1
        elements += count.elements
        differing += count.differing
        detail = detail or (count.detail and f"model {number - 1}: {count.detail}")
    return accepted, elements, differing, detail


CHECKS = [(runtime, name) for runtime in RESOLVERS for name in sorted({**CASES, **ONLY.get(runtime, {})})]


@pytest.mark.parametrize(("runtime", "name"), CHECKS)
def test_equal_to_the_real_runtime(runtime: str, name: str) -> None:
    if missing := oracle.why_missing(RESOLVERS[runtime]):
        pytest.skip(missing)
    if reason := why_inexact(runtime, name):
        pytest.skip(f"{runtime} does not claim to be equal: {reason}")
    if name in REFUSED.get(runtime, ()):
        pytest.skip(f"{runtime} and its real one refuse these models")
    cases = [draw(runtime, name, number) for number in range(MODELS_PER_OP)]
    if not any(built(runtime, case) for case in cases):
        expect_refused(runtime, cases[0])
        return
    accepted, elements, differing, detail = run_check(runtime, name, MODELS_PER_OP)
    print(f"{runtime}, {name}: {accepted} models, {elements} elements, {differing} differing")
    assert accepted == MODELS_PER_OP
    assert differing == 0, detail
