"""What was measured of each described runtime against its real one: golden/evidence.json, as the package holds it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from refquant.data import data_file


@dataclass(frozen=True, slots=True)
class NearEvidence:
    """The models of a kernel in which the runtime does not claim to be equal, and `why`.

    `distance`: the largest in ulps, absolute (codes of integers), and relative to the largest magnitude of its tensor,
    where both are finite; and how many differ by an infinity or a NaN ("not_finite"). `typical`: the relative one in
    the median model of those that differ.
    """

    models: int
    elements: int
    differing: int
    distance: Mapping[str, float]
    why: str
    typical: float = 0.0


@dataclass(frozen=True, slots=True)
class KernelEvidence:
    """What the random one-operator models of one kernel gave.

    `kernel`: op, type, and where the file tells them apart, which weights: "CONV_2D FLOAT32xINT8 per channel".
    `models` ran in both runtimes, and `differing` of their `elements` differ; `near` are those in which the runtime
    does not claim to be equal. `delegated`: in so many a delegate took the operator. Not among them: models that the
    real runtime refused or crashed at, and `undefined` ones, which the described one refuses; `reasons`: the most
    frequent of these, with how many. `fault`: the first difference.
    """

    kernel: str
    models: int
    elements: int
    differing: int
    delegated: int = 0
    refused: int = 0
    crashed: int = 0
    undefined: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    near: NearEvidence | None = None
    fault: str = ""

    @property
    def op(self) -> str:
        """The operator."""
        return self.kernel.split()[0]

    @property
    def type(self) -> str:
        """The type under which a runtime's table has the kernel."""
        return self.kernel.split()[1]


@dataclass(frozen=True, slots=True)
class RuntimeEvidence:
    """What was measured of one described runtime. `models`: public models, as tools/evidence.py counted them."""

    oracle: Mapping[str, str]
    kernels: tuple[KernelEvidence, ...]
    models: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Evidence:
    """The versions and the processor on which all was measured, and what was, by described runtime."""

    versions: Mapping[str, str]
    processor: Mapping[str, Any]
    models_per_kernel: int
    seed: int
    runtimes: Mapping[str, RuntimeEvidence]


def read_evidence() -> Evidence:
    """The evidence of this installation. InvalidInput if it holds none."""
    measured = json.loads(data_file("golden/evidence.json").read_text(encoding="utf-8"))
    runtimes = {
        name: RuntimeEvidence(
            found["oracle"],
            tuple(_kernel_evidence(kernel, counts) for kernel, counts in found["operators"].items()),
            found["models"],
        )
        for name, found in measured["runtimes"].items()
    }
    return Evidence(
        measured["versions"], measured["processor"], measured["models_per_kernel"], measured["seed"], runtimes
    )


def _kernel_evidence(kernel: str, counts: Mapping[str, Any]) -> KernelEvidence:
    near = {"near": NearEvidence(**counts["near"])} if "near" in counts else {}
    return KernelEvidence(kernel, **{**counts, **near})


def cells(evidence: Evidence, op: str) -> dict[str, tuple[KernelEvidence, ...]]:
    """Described runtime -> the kernels of one op that were measured."""
    return {
        name: tuple(kernel for kernel in found.kernels if kernel.op == op) for name, found in evidence.runtimes.items()
    }


def types_of(found: Mapping[str, Iterable[KernelEvidence]]) -> list[str]:
    """The types in which any runtime's kernels of an op were measured."""
    return sorted({kernel.type for kernels in found.values() for kernel in kernels if kernel.models or kernel.near})


def cell_text(kernels: Iterable[KernelEvidence], types: Sequence[str]) -> str:
    """One cell of the table, "" without evidence; `types`: those of the whole row.

    "= 12,345": so many elements, all equal, in every type of the row; "= 12,345 without INT16; inexact: FLOAT32".
    """
    kernels = tuple(kernels)
    equal = [kernel for kernel in kernels if kernel.models and not kernel.differing]
    inexact = dict.fromkeys(kernel.type for kernel in kernels if kernel.near is not None)
    texts = []
    if equal:
        have = [type for type in types if type in {kernel.type for kernel in equal}]
        lacking = [type for type in types if type not in have and type not in inexact]
        some = f" without {', '.join(lacking)}" if len(lacking) < len(have) else f" in {', '.join(have)}"
        texts.append(f"= {sum(kernel.elements for kernel in equal):,}{some if lacking else ''}")
    texts += [
        f"{kernel.kernel.partition(' ')[2]}: {kernel.differing:,} of {kernel.elements:,} differ"
        for kernel in kernels
        if kernel.differing
    ]
    if inexact:
        texts.append(f"inexact: {', '.join(inexact)}")
    return "; ".join(texts)


def near_text(near: NearEvidence) -> str:
    """How many elements differ where the runtime does not claim to be equal, and by how much."""
    found = {"ulps": 0.0, "absolute": 0.0, "relative": 0.0, "not_finite": 0.0, **near.distance}
    words = [f"{near.differing:,} of {near.elements:,} differ"]
    if found["ulps"]:
        words.append(f"mostly by {near.typical:.1e} of the largest value, at most by {found['relative']:.1e}")
    elif found["absolute"]:
        words.append(f"at most by {found['absolute']:,.0f}")
    if found["not_finite"]:
        words.append(f"{found['not_finite']:,.0f} by an infinity or a NaN")
    return ", ".join(words)
