"""Random one-operator models in every described runtime against its real one: zero differing elements.

tflite_ref has its own test, with more models. What a runtime calls inexact is left out, with its reason.
REFQUANT_MODELS_PER_OP: how many models a check has; 6 unless it is set.
"""

from __future__ import annotations

import os
import zlib

import numpy as np
import pytest

import oracle
from cases import CASES, ONLY
from crosscheck import compare, kernel_key
from models import Case
from oracle import Crashed, Rejected
from refquant.errors import UnsupportedModel
from refquant.runtimes import runtime_named

MODELS_PER_OP = int(os.environ.get("REFQUANT_MODELS_PER_OP", "6"))

# Described runtime -> how the real one is asked for.
RESOLVERS = {"tflite_opt": "BUILTIN_WITHOUT_DEFAULT_DELEGATES"}


def draw(runtime: str, name: str, number: int, seed: int = 0) -> Case:
    """The numbered model of a check."""
    generate = CASES.get(name) or ONLY[runtime][name]
    return generate(np.random.default_rng([zlib.crc32(name.encode()), seed, number]))


def why_inexact(runtime: str, name: str) -> str | None:
    """The runtime's reason if it does not claim to equal the real one in this check."""
    graph = draw(runtime, name, 0).model.graph
    inexact = runtime_named(runtime).inexact
    reasons = (inexact.get(op, {}).get(type) for op, type in (kernel_key(o, graph) for o in graph.operators))
    return next((reason for reason in reasons if reason), None)


def run_check(runtime: str, name: str, models: int, seed: int = 0) -> tuple[int, int, int, str]:
    """(accepted models, elements, differing elements, first difference). What the real one refuses is not counted.

    Nor is a model for which the described runtime says that the real one's results are undefined: at most one in ten.
    """
    accepted = elements = differing = refused = undefined = number = 0
    detail = ""
    while accepted < models:
        try:
            count = compare(draw(runtime, name, number, seed), RESOLVERS[runtime], runtime)
        except (Rejected, Crashed) as error:
            refused += 1
            if refused > models:
                raise AssertionError(f"{name}: the runtime refuses most models") from error
            continue
        except UnsupportedModel:
            undefined += 1
            if undefined > max(1, models // 10):
                raise
            continue
        finally:
            number += 1
        accepted += 1
        elements += count.elements
        differing += count.differing
        detail = detail or (count.detail and f"model {number - 1}: {count.detail}")
    return accepted, elements, differing, detail


CHECKS = [(runtime, name) for runtime in RESOLVERS for name in sorted({**CASES, **ONLY.get(runtime, {})})]


@pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING)
@pytest.mark.parametrize(("runtime", "name"), CHECKS)
def test_equal_to_the_real_runtime(runtime: str, name: str) -> None:
    if reason := why_inexact(runtime, name):
        pytest.skip(f"{runtime} does not claim to be equal: {reason}")
    accepted, elements, differing, detail = run_check(runtime, name, MODELS_PER_OP)
    print(f"{runtime}, {name}: {accepted} models, {elements} elements, {differing} differing")
    assert accepted == MODELS_PER_OP
    assert differing == 0, detail
