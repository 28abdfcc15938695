"""xnnpack: what LiteRT runs by default: tflite_opt, with the XNNPACK delegate for the operators that it takes.

Each operator is described on its own, as it runs where every tensor is kept, and besides those pairs that the delegate
computes as one, with other results, where LiteRT keeps the outputs only: see xnnpack_fusions.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from refquant.runtimes.runtime import Oracle
from refquant.runtimes.tflite_opt import TFLITE_OPT
from refquant.runtimes.xnnpack_delegate import XNNPACK_DELEGATE

TAKEN, LEFT = XNNPACK_DELEGATE.inexact, TFLITE_OPT.inexact
UNTAKEN = "where the delegate leaves the operator to the optimized kernels: "


def _either(op: str) -> Mapping[str, str]:
    """Type -> why the op's results are only near the real ones, with the delegate or without it."""
    takes, left = XNNPACK_DELEGATE.takes.get(op, {}), LEFT.get(op, {})
    return {**{type: f"{UNTAKEN if type in takes else ''}{why}" for type, why in left.items()}, **TAKEN.get(op, {})}


XNNPACK = replace(
    TFLITE_OPT,
    name="xnnpack",
    base=TFLITE_OPT.name,
    delegate=XNNPACK_DELEGATE,
    oracle=Oracle(
        "ai-edge-litert",
        "2.3.0",
        "OpResolverType.AUTO",
        "x86-64 with AVX512, one thread",
        real="litert:default",
    ),
    inexact={op: _either(op) for op in {**LEFT, **TAKEN}},
)
