"""What an audit found, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

VERDICTS = ("breaks", "holds", "not applicable")


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule at one place of the audited file.

    `rule`: its name in RULES; `verdict`: one of VERDICTS. `operator`: a number among the float model's operators that
    are no conversions; `op`; `slot`: "input 1", "output 0", "" for the operator itself, or what a conversion converts.
    `name`, `tensor`: of the file's tensor. `expected`, `found`: the first that differs, in words, scales with their
    float32 bits. `wrong` of `of` scales or elements differ, the first at the index `first`; scales by at most `ulps`
    units of float32's last place, elements by at most `step`. `note`: what explains it. `involves`: the file's tensors
    whose parameters the expectation was made from.
    """

    rule: str
    verdict: str
    subgraph: int
    operator: int | None
    op: str
    slot: str
    name: str
    tensor: int
    expected: str = ""
    found: str = ""
    wrong: int = 0
    of: int = 0
    first: tuple[int, ...] | None = None
    ulps: int = 0
    step: float | None = 0
    note: str = ""
    involves: tuple[int, ...] = ()

    @property
    def place(self) -> str:
        """ "operator 3 (CONV_2D) input 1"."""
        return f"operator {self.operator} ({self.op}) {self.slot}".rstrip() if self.operator is not None else self.slot

    @property
    def details(self) -> str:
        """How far off it is, and what explains it."""
        parts = []
        if self.of > 1:
            parts.append(f"{self.wrong:,} of {self.of:,}")
        if self.first:
            parts.append(f"first at {list(self.first)}")
        if self.ulps:
            parts.append(f"{self.ulps:,} ulp")
        if self.step:
            parts.append(f"largest step {self.step:g}")
        return "; ".join([*parts, *([self.note] if self.note else [])])

    def __str__(self) -> str:
        numbers = f"expected {self.expected}, found {self.found}" if self.verdict == "breaks" else self.found
        details = f" ({self.details})" if self.details else ""
        return f"subgraph {self.subgraph}, {self.place} '{self.name}': {self.verdict} '{self.rule}': {numbers}{details}"


@dataclass(frozen=True, slots=True)
class Explanation:
    """How much of the file one arithmetic explains: weights wholly explained, and what of them it does not.

    `broken`: how many rules the file breaks if judged by this arithmetic; None where a better one was taken at once.
    """

    arithmetic: str
    constants: int
    explained: int
    scales: int
    scales_wrong: int
    elements: int
    elements_wrong: int
    broken: int | None = None

    def __str__(self) -> str:
        scales = f"{self.scales_wrong:,} of {self.scales:,} scales"
        elements = f"{self.elements_wrong:,} of {self.elements:,} elements"
        explained = f"{self.explained:,} of {self.constants:,} weights"
        judged = "" if self.broken is None else f"; by it, {self.broken:,} checks fail"
        return f"{self.arithmetic} explains {explained} wholly; {scales} and {elements} differ{judged}"


@dataclass(frozen=True, slots=True)
class RuleReport:
    """What audit_model found.

    `arithmetic`: the one that explains most of the file, by which it was judged; `explanations`: how well each does.
    `calibrated`: whether ranges were given, so that activations were judged by them too. `refused`: the quantizer of
    that arithmetic would not have made such a file, so that propagation was not looked at. `notes`: what else was not.
    `findings`: every rule at every place, those not applicable too.
    """

    arithmetic: str
    explanations: tuple[Explanation, ...]
    calibrated: bool
    refused: bool
    notes: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def holds(self) -> bool:
        """No rule is broken anywhere."""
        return not self.broken

    @property
    def broken(self) -> tuple[Finding, ...]:
        """The findings that break a rule."""
        return tuple(finding for finding in self.findings if finding.verdict == "breaks")

    @property
    def by_rule(self) -> Mapping[str, Mapping[str, int]]:
        """{rule: {verdict: how often}}, in the order in which rules first occur."""
        counts: dict[str, dict[str, int]] = {}
        for finding in self.findings:
            counts.setdefault(finding.rule, dict.fromkeys(VERDICTS, 0))[finding.verdict] += 1
        return counts

    @property
    def summary(self) -> str:
        """One line of counts."""
        judged = [finding for finding in self.findings if finding.verdict != "not applicable"]
        places = len({(f.subgraph, f.operator, f.slot, f.tensor) for f in judged})
        return f"{len(judged):,} checks at {places:,} places, {len(self.broken):,} broken"

    def about(self, tensor: int, subgraph: int = 0) -> tuple[Finding, ...]:
        """The broken rules that this tensor of the file is at fault for; if none, those its parameters went into."""
        broken = [finding for finding in self.broken if finding.subgraph == subgraph]
        own = tuple(finding for finding in broken if finding.tensor == tensor)
        return own or tuple(finding for finding in broken if tensor in finding.involves)

    def __str__(self) -> str:
        lines = [self.summary, *map(str, self.explanations), *self.notes, *map(str, self.broken)]
        return "\n".join(lines)
