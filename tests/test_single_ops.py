"""Random one-operator models against LiteRT's reference kernels: zero differing elements."""

from __future__ import annotations

import zlib
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pytest

import oracle
from cases import CASES
from cases.coverage import kernel_of, kernels_of, op_of
from crosscheck import compare
from oracle import Crashed, Rejected
from refquant.kernels.table import KERNELS

MODELS_PER_OP = 60  # tools/sweep.py makes 1,000 of each check; golden/sweep.json holds its counts
FEW_MODELS = 400  # so many of a generator show every type that it draws


@dataclass
class OpCount:
    """What the random models of one generator gave. `kernels`: the accepted models by coverage.kernel_of."""

    models: int = 0
    elements: int = 0
    differing: int = 0
    fault: str = ""
    kernels: Counter[str] = field(default_factory=Counter)


def run_op(name: str, models: int, seed: int = 0, of_each: int = 0) -> OpCount:
    """So many models of one generator that the runtime accepts, and at least `of_each` for each kernel they meet."""
    total = OpCount()
    refused = number = 0
    while total.models < models or min(total.kernels.values(), default=0) < of_each:
        rng = np.random.default_rng([zlib.crc32(name.encode()), seed, number])
        case = CASES[name](rng)
        try:
            count = compare(case)
        except (Rejected, Crashed) as error:
            refused += 1
            if refused > models:
                raise AssertionError(f"{name}: the runtime refuses most models") from error
            continue
        finally:
            number += 1
        total.models += 1
        total.elements += count.elements
        total.differing += count.differing
        total.fault = total.fault or (count.detail and f"model {number - 1}: {count.detail}")
        total.kernels[kernel_of(case.model)] += 1
    return total


@pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING)
@pytest.mark.parametrize("name", sorted(CASES))
def test_equal_to_litert(name: str) -> None:
    total = run_op(name, MODELS_PER_OP)
    print(f"{name}: {total.models} models, {total.elements} elements, {total.differing} differing")
    assert total.models == MODELS_PER_OP
    assert total.differing == 0, total.fault


def test_every_kernel_is_drawn() -> None:
    """For each op and type of the table some generator makes models."""
    lacking = []
    for op, wanted in kernels_of(KERNELS).items():
        checks = [name for name in CASES if op_of(name) == op]
        left = set(wanted)
        for number in range(FEW_MODELS):
            for name in checks:
                rng = np.random.default_rng([zlib.crc32(name.encode()), 0, number])
                left.discard(kernel_of(CASES[name](rng).model))
            if not left:
                break
        lacking += sorted(left)
    assert lacking == []
