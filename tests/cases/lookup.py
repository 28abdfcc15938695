"""Float functions as tables of 256 entries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from cases.binary import scale, zero_point
from cases.unary import codes
from models import Case, T, case

FUNCTIONS = {"TANH": np.tanh, "EXP": np.exp, "LOG": np.log, "ELU": lambda x: x if x > 0 else np.expm1(x)}


def approximate(rng: np.random.Generator) -> dict[str, bool]:
    return {"approximate": bool(rng.integers(0, 2))}


def elu(rng: np.random.Generator) -> Case:
    """The reference resolver has no ELU; the optimized one runs the same table."""
    return replace(table("ELU", "INT8")(rng), resolver="BUILTIN_WITHOUT_DEFAULT_DELEGATES")


def table(op: str, type: str) -> Callable[[np.random.Generator], Case]:
    """All codes, the output scale such that the results fill the range, overflow it, or vanish."""

    def build(rng: np.random.Generator) -> Case:
        s, zp = 3 * scale(rng), zero_point(rng, type)
        if op == "EXP":
            s = min(s, 85 / 255)  # e^x stays within float32
        x = codes(rng, type)
        largest = s * float(int(x[-1]) - zp)
        span = {"EXP": np.exp(min(largest, 85)), "LOG": 2 + abs(np.log(s)), "TANH": 1, "LOGISTIC": 1}.get(op, 255 * s)
        out = float(span) / 255 * float(rng.choice([1.0, 1.0, 0.5, rng.uniform(0.01, 3)]))
        out_zp = zero_point(rng, type)
        if op == "LOGISTIC":
            out = 1 / 256
        elif rng.random() < 0.3:
            out = float(2.0 ** np.round(np.log2(out)))
        elif op in FUNCTIONS and rng.random() < 0.6:  # one of the codes gives n + 1/2
            real = np.float32(s) * (int(rng.choice(x)) - zp)
            y = abs(float(FUNCTIONS[op](max(real, 1e-3) if op == "LOG" else real)))
            if y > 1e-3:
                out = max(y / (rng.integers(0, 128) + 0.5), float(span) / 1e9)  # all results must fit int32
        options: dict[str, Any] = approximate(rng) if op == "GELU" else {}
        return case(
            rng, op, [T(x.shape, type, s, zp)], [T(x.shape, type, out, out_zp)], options, [[x], [x[::-1].copy()]]
        )

    return build
