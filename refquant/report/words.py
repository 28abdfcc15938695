"""Numbers and names as a report shows them, and what a comparison found in a sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence

from refquant.compare.differences import Difference, total
from refquant.compare.runs import Cause, OperatorRun, RunComparison, RuntimeRun

LONGEST = 96  # characters of a name

MOST_REASONS = 3  # in one sentence

MOST_ULPS = 9999  # beyond, floats are told apart by their difference

# A share of differing elements is of the last level whose bound it reaches. 0: none differ.
LEVELS = (0.0, 0.001, 0.01, 0.05, 0.2, 0.5)


def printable(text: str) -> str:
    """The text with a sign in the place of whatever cannot be printed."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def shown(name: str, limit: int = LONGEST) -> str:
    """A name in printable characters, its end left out where it is long."""
    name = printable(name)
    return name if len(name) <= limit else f"{name[: limit - 1]}…"


def share(difference: Difference) -> str:
    """What of it differs: "37.1 %"."""
    return percent(difference.rate) if difference.differing else "0"


def percent(rate: float) -> str:
    """ "37.1 %"; what rounds to nothing or to all, but is not, is told so."""
    told = "<0.1" if rate < 0.001 else "100" if rate == 1 else f"{min(100 * rate, 99.9):.1f}"
    return f"{told} %"


def level(difference: Difference | None) -> int:
    """0 where nothing differs, up to 6 where half of the elements or more do."""
    if difference is None or not difference.differing:
        return 0
    return sum(difference.rate >= bound for bound in LEVELS)


def number(value: float) -> str:
    """A whole number with its thousands apart, or a float in six digits."""
    return f"{int(value):,}" if float(value).is_integer() and abs(value) < 2**53 else f"{value:.6g}"


def farthest(difference: Difference) -> str:
    """ "at most 1 step"; of floats "at most 3 ulps", or where they are many "at most 0.0078"."""
    if math.isinf(difference.largest):
        return "by more than can be counted"
    if difference.ulps > MOST_ULPS:
        return f"at most {difference.largest:.2g}"
    if difference.ulps:
        return f"at most {difference.ulps:,} ulp{'s' * (difference.ulps != 1)}"
    return f"at most {number(difference.largest)} step{'s' * (difference.largest != 1)}"


def counts(difference: Difference, what: str = "elements") -> str:
    """ "1,558 of 4,200 elements (37.1 %), at most 1 step"."""
    if not difference.differing:
        return f"0 of {difference.elements:,} {what}"
    told = f"{difference.differing:,} of {difference.elements:,} {what} ({share(difference)})"
    return f"{told}, {farthest(difference)}"


def places(operators: tuple[int, ...]) -> str:
    """ "operator 3", "operators 3, 5 and 9", "operators 3, 5, … 40 (12 of them)"."""
    if len(operators) == 1:
        return f"operator {operators[0]}"
    if len(operators) > 6:
        return f"operators {operators[0]}, {operators[1]}, … {operators[-1]} ({len(operators)} of them)"
    return f"operators {listed(list(map(str, operators)))}"


def cause_in_words(cause: Cause) -> str:
    """One reason in a sentence."""
    where = f"{cause.op} on {cause.type}, {places(cause.operators)}"
    if not cause.words:
        return f"{where}: no described arithmetic explains every element"
    instead = f" instead of {cause.instead_of}" if cause.instead_of else ""
    return f"{where}: {cause.words}{instead} explains every element"


def listed(names: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def verdict(comparison: RunComparison) -> str:
    """What was found, in one sentence."""
    others = comparison.others
    apart = [run for run in others if parts(comparison, run)]
    failed = [shown(run.name) for run in comparison.runtimes if run.error]
    end = f"; {listed(failed)} did not run." if failed else "."
    if not apart:
        names = [shown(comparison.base), *(shown(run.name) for run in others)]
        return f"{listed(names)} give the same in {_compared(comparison, others)}{end}"
    if len(others) == 1:
        return f"{about(comparison, apart[0])}{end}"
    largest = max((run.outputs.rate for run in apart if run.outputs is not None), default=0.0)
    far = farthest(total(run.outputs for run in apart if run.outputs is not None))
    how = f"in up to {percent(largest)} of the output elements, {far}" if largest else "within, but not in the outputs"
    verb = "differs" if len(apart) == 1 else "differ"
    told = f"{listed([shown(run.name) for run in apart])} {verb} from {shown(comparison.base)} {how}"
    reasons: dict[str, list[str]] = {}
    for run in apart:
        reasons.setdefault(reason(run), []).append(shown(run.name))
    if "" not in reasons and len(reasons) <= MOST_REASONS:
        whose = len(reasons) > 1
        told += "".join(f"; {why} every element{f' of {listed(of)}' if whose else ''}" for why, of in reasons.items())
    same = [shown(run.name) for run in others if run not in apart]
    if same:
        told += f"; {listed(same)} equal{'s' * (len(same) == 1)} {shown(comparison.base)} everywhere"
    return f"{told}{end}"


def about(comparison: RunComparison, run: RuntimeRun) -> str:
    """What one runtime does otherwise, in a sentence without its full stop."""
    name, base = shown(run.name), shown(comparison.base)
    if run.error:
        return f"{name} did not run: {shown(run.error, 300)}"
    if not parts(comparison, run):
        return f"{name} equals {base} in {_compared(comparison, [run])}"
    if run.outputs is not None and run.outputs.differing:
        told = f"{name} differs from {base} in {counts(run.outputs, 'output elements')}"
    else:
        told = f"{name} gives the outputs of {base}, but differs within"
    if run.first_cause is not None:
        told += f"; the first operator that computes otherwise is {run.first_cause}, "
        told += comparison.operators[run.first_cause].op
    why = reason(run)
    return f"{told}; {why} every element" if why else told


def _compared(comparison: RunComparison, runs: Sequence[RuntimeRun]) -> str:
    """ "every element of every operator"; less where a runtime does not show, or does not run, an operator."""
    names = {run.name for run in runs}
    own = [seen for row in comparison.operators for seen in row.runs if seen.runtime in names]
    if all(seen.cause is not None and seen.drift is not None for seen in own):
        return "every element of every operator"
    return "every element that can be compared"


def reason(run: RuntimeRun) -> str:
    """What explains every operator that differs, "upward rounding in CONV_2D explains"; "" where something is left."""
    if not run.causes or not all(cause.words for cause in run.causes):
        return ""
    values: dict[str, dict[str, None]] = {}
    kernels: dict[str, dict[str, None]] = {}
    for cause in run.causes:
        owner = cause.words.removeprefix(f"the {cause.op} of ")
        (values if owner == cause.words else kernels).setdefault(owner, {})[cause.op] = None
    told = [f"{words} in {listed(list(found))}" for words, found in values.items()]
    told += [f"the {listed(list(found))} of {shown(owner)}" for owner, found in kernels.items()]
    return f"{listed(told)} explain{'s' * (len(told) == 1 and sum(map(len, kernels.values())) < 2)}"


def parts(comparison: RunComparison, run: RuntimeRun) -> bool:
    """Whether anything differs in this runtime."""
    own = [seen for row in comparison.operators for seen in row.runs if seen.runtime == run.name]
    found = [d for seen in own for d in (seen.drift, seen.cause)] + [run.outputs]
    return any(d is not None and d.differing for d in found)


def seen_in_words(seen: OperatorRun, what: str) -> str:
    """A cell in words, for who rests on it. what: "drift" or "cause"."""
    difference: Difference | None = getattr(seen, what)
    way = "end to end" if what == "drift" else "fed the base's inputs"
    if difference is None:
        return f"{seen.runtime}, {way}: not known{f' ({seen.error})' if seen.error and what == 'cause' else ''}"
    return f"{seen.runtime}, {way}: {counts(difference)}"
