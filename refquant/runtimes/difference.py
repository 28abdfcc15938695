"""What one runtime differs in from another, as values that can be printed side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from refquant.kernels.kernel import Kernel, KernelTable
from refquant.runtimes.runtime import Delegate, Runtime

ABSENT = ""  # the text of a value that there is not


@dataclass(frozen=True, slots=True)
class Difference:
    """One value: `name` ("CONV_2D.requantizer", "MEAN INT8"), the other runtime's and this one's, as text."""

    name: str
    other: str
    own: str


@dataclass(frozen=True, slots=True)
class DelegateDifference:
    """What a delegate computes otherwise than the other runtime, in the ops that it takes (op -> types).

    `kernels`: also of the operators that it computes as one, "SUM of SQUARE, MUL".
    """

    name: str
    other: str
    takes: Mapping[str, tuple[str, ...]]
    arithmetic: tuple[Difference, ...]
    kernels: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class RuntimeDifference:
    """Values inside kernels, kernels by op and type, and the delegate, which the other runtime has not.

    `not_built`: op -> the types for which only the other runtime has a kernel.
    """

    other: str
    arithmetic: tuple[Difference, ...]
    kernels: tuple[Difference, ...]
    not_built: Mapping[str, tuple[str, ...]]
    delegate: DelegateDifference | None


def difference(runtime: Runtime, runtimes: Mapping[str, Runtime]) -> RuntimeDifference | None:
    """In what a runtime differs from its base, and its delegate from the base of all; None if it has no base."""
    if not runtime.base:
        return None
    delegate, other = runtime.delegate, runtimes[runtime.base]
    first = other
    while first.base:
        first = runtimes[first.base]
    lacking = {
        op: tuple(t for t in types if t not in runtime.kernels.get(op, {})) for op, types in other.kernels.items()
    }
    return RuntimeDifference(
        other.name,
        _arithmetic(runtime.arithmetic, other.arithmetic),
        _kernels(runtime.kernels, other.kernels),
        {op: types for op, types in lacking.items() if types},
        None if delegate is None or delegate is other.delegate else _of_delegate(delegate, first),
    )


def _of_delegate(delegate: Delegate, other: Runtime) -> DelegateDifference:
    taken = {op: {type: delegate.kernels[op][type] for type in types} for op, types in delegate.takes.items()}
    return DelegateDifference(
        delegate.name,
        other.name,
        {op: tuple(types) for op, types in taken.items()},
        _arithmetic(delegate.arithmetic, other.arithmetic),
        (*_kernels(taken, other.kernels), *_fusions(delegate)),
    )


def _fusions(delegate: Delegate) -> tuple[Difference, ...]:
    return tuple(
        Difference(f"{op} of {', '.join(fusion.producers)}", ABSENT, _function_text(kernel.run))
        for fusion in delegate.fusions
        for op, kernel in fusion.kernels.items()
    )


def _arithmetic(own: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[Difference, ...]:
    names = dict.fromkeys((*own, *other))
    pairs = ((name, other.get(name, ABSENT), own.get(name, ABSENT)) for name in names)
    return tuple(Difference(name, *_texts(a, b)) for name, a, b in pairs if a != b)


def _texts(a: Any, b: Any) -> tuple[str, str]:
    """Both values in words, with their modules where the words are the same."""
    texts = value_text(a), value_text(b)
    return texts if texts[0] != texts[1] else (_function_text(a), _function_text(b))


def _kernels(own: KernelTable, other: KernelTable) -> tuple[Difference, ...]:
    """The kernels of `own` that are not those of `other`."""
    pairs = [
        (f"{op} {type}", other.get(op, {}).get(type), kernel)
        for op, types in own.items()
        for type, kernel in types.items()
    ]
    return tuple(Difference(name, *_kernel_texts(a, b)) for name, a, b in pairs if a != b)


def _kernel_texts(other: Kernel | None, own: Kernel) -> tuple[str, str]:
    """The functions that they run; those that prepare them where these alone differ."""
    if other is None:
        return ABSENT, _function_text(own.run)
    if other.run == own.run:
        return _function_text(other.prepare), _function_text(own.prepare)
    return _function_text(other.run), _function_text(own.run)


def _function_text(function: Any) -> str:
    """Where a function is to be found: "binary_vectors.add"."""
    function = function.func if isinstance(function, partial) else function
    module = getattr(function, "__module__", None) or type(function).__module__
    return f"{module.rsplit('.', 1)[-1]}.{getattr(function, '__name__', type(function).__name__)}"


def value_text(value: Any) -> str:
    """A value of a runtime's arithmetic in words: its name if it has one, else its parts."""
    if isinstance(value, partial):
        return value_text(value.func) + f"({', '.join(map(value_text, value.args))})"
    name = getattr(value, "name", None) or getattr(value, "__name__", None)
    if isinstance(name, str):
        return name.replace("_", " ").strip() if callable(value) and hasattr(value, "__name__") else name
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {value_text(item)}" for key, item in value.items()) or "none"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
        return ", ".join(f"{name} {value_text(item)}" for name, item in parts if item not in (None, False))
    if isinstance(value, (tuple, list, set, frozenset)):
        return ", ".join(map(value_text, value)) or "none"
    return str(value)
