"""Whose arithmetic: each runtime written as values and as its difference from another.

tflite_ref is written in full, with the kernels of kernels/table.py. tflite_opt, tflm, exact and fast_float differ from
it; xnnpack is tflite_opt with a delegate: xnnpack_delegate.py, of xnnpack_products.py and xnnpack_elementwise.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from refquant.errors import InvalidInput
from refquant.runtimes.exact import EXACT
from refquant.runtimes.fast_float import FAST_FLOAT
from refquant.runtimes.runtime import Runtime
from refquant.runtimes.tflite_opt import TFLITE_OPT
from refquant.runtimes.tflite_ref import TFLITE_REF
from refquant.runtimes.tflm import TFLM
from refquant.runtimes.xnnpack import XNNPACK

RUNTIMES: Mapping[str, Runtime] = {
    runtime.name: runtime for runtime in (TFLITE_REF, TFLITE_OPT, XNNPACK, TFLM, EXACT, FAST_FLOAT)
}

DESCRIBED: Mapping[str, str] = {r.oracle.real: name for name, r in RUNTIMES.items() if r.oracle is not None}
"""The name under which a real runtime is asked for -> the described one that stands for it."""


def runtime_named(name: str) -> Runtime:
    """The described runtime of that name. InvalidInput if there is none."""
    if not isinstance(name, str) or name not in RUNTIMES:
        raise InvalidInput(f"unknown runtime '{name}'; there are: {', '.join(RUNTIMES)}")
    return RUNTIMES[name]
