"""Random one-operator models against LiteRT's reference kernels: zero differing elements."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

import oracle
from cases import CASES
from crosscheck import compare
from oracle import Crashed, Rejected

MODELS_PER_OP = 200


def run_op(name: str, models: int, seed: int = 0) -> tuple[int, int, int, str]:
    """(accepted models, elements, differing elements, first difference) over random models of one generator."""
    accepted = elements = differing = refused = 0
    detail = ""
    number = 0
    while accepted < models:
        rng = np.random.default_rng([zlib.crc32(name.encode()), seed, number])
        try:
            count = compare(CASES[name](rng))
        except (Rejected, Crashed) as error:
            refused += 1
            if refused > models:
                raise AssertionError(f"{name}: the runtime refuses most models") from error
            continue
        finally:
            number += 1
        accepted += 1
        elements += count.elements
        differing += count.differing
        detail = detail or (count.detail and f"model {number - 1}: {count.detail}")
    return accepted, elements, differing, detail


@pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING)
@pytest.mark.parametrize("name", sorted(CASES))
def test_equal_to_litert(name: str) -> None:
    accepted, elements, differing, detail = run_op(name, MODELS_PER_OP)
    print(f"{name}: {accepted} models, {elements} elements, {differing} differing")
    assert accepted == MODELS_PER_OP
    assert differing == 0, detail
