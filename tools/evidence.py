"""The evidence for every described runtime: `python tools/evidence.py --jobs 2 --write` makes golden/evidence.json.

For each kernel (op and type; constant weights per tensor and per channel) of each runtime, random one-operator models
of tests/cases against the installed real runtime, each tensor, bit for bit; then every public integer model, end to end
and operator by operator, with 20 random inputs, all-minimum and all-maximum. What a runtime calls inexact is counted
too, with the largest distance. Models that the real runtime refuses, or crashes at, or of which the described one says
that the results are undefined, are counted with the reason and are not among the models.
Needs `pip install -e '.[test]'` and the real runtimes; the public models are looked for in $REFQUANT_MODELS, or in
../shared/models beside the repository. `--missing` measures only what golden/evidence.json has not. Exit code 1 if an
element differs in what is called equal.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import platform
import statistics
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from golden_manifest import REPOSITORY, Made, circumstances, record, sha256, write_text

sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]

EVIDENCE = "golden/evidence.json"
PACKAGES = ("ai-edge-litert", "tflite-micro", "numpy", "flatbuffers")
MODELS_PER_KERNEL = 200
ROUNDS = 80  # no more draws of a check than this for each model that is wanted
FEW = 60  # so many models of a check show which kernels it meets
CRASHES = 3  # after so many of a kernel the real runtime is not asked about models that the described one refuses
TRIES = 10  # so many models are drawn of a kernel for each that is wanted, where the real runtime refuses many
REASON_LETTERS = 110
REASONS = 2  # the most frequent ones are kept
Found = dict[str, dict[str, Any]]  # runtime -> kernel or public model -> what golden/evidence.json holds of it
KERNEL_FLAGS = ("sse", "ssse", "avx", "fma", "f16c", "amx", "gfni", "asimd", "sve", "i8mm", "fp16")


@dataclass
class Near:
    """What models gave in which the runtime does not claim to be equal.

    `distance`: the largest; see crosscheck.py. `typical`: the relative one of each model that differs, and at the end
    the median of them, as a few models of numbers close to overflow are farther off than all others.
    """

    models: int = 0
    elements: int = 0
    differing: int = 0
    distance: dict[str, float] = field(default_factory=dict)
    typical: list[float] = field(default_factory=list)
    why: str = ""


@dataclass
class Tally:
    """What the models of one kernel gave. `near`: those in which the runtime does not claim to be equal.

    delegated: in so many of the models the delegate took an operator. refused, crashed: models at which the real
    runtime does so; undefined: models that the described one refuses. reasons: of these, with how many.
    """

    models: int = 0
    elements: int = 0
    differing: int = 0
    delegated: int = 0
    refused: int = 0
    crashed: int = 0
    undefined: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    near: Near = field(default_factory=Near)
    fault: str = ""

    @property
    def tried(self) -> int:
        """All models that were drawn."""
        return self.models + self.near.models + self.refused + self.crashed + self.undefined


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of work: an operator's kernels, or a public model, in some runtimes."""

    runtimes: tuple[str, ...]
    kind: str  # "operators" or "models"
    name: str


def tables_of(runtime: str) -> dict[str, set[str]]:
    """op -> the types for which the runtime, or its delegate, has a kernel."""
    from refquant.runtimes import runtime_named

    described = runtime_named(runtime)
    delegate = described.delegate
    taken = delegate.takes if delegate is not None else {}
    return {op: {*types, *taken.get(op, ())} for op, types in described.kernels.items()}


def count_operator(runtimes: tuple[str, ...], op: str, models: int, seed: int) -> Found:
    """Runtime -> kernel -> its tally, over all checks of the op in turn, until each kernel has so many models.

    A model is drawn once for all runtimes.
    """
    from cases import CASES, ONLY
    from cases.coverage import op_of
    from test_runtimes import draw

    counters = [Counters.of(runtime, op, models) for runtime in runtimes]
    checks = sorted(name for name in CASES if op_of(name) == op)
    own = {runtime: [name for name in ONLY.get(runtime, {}) if op_of(name) == op] for runtime in runtimes}
    for number in range(ROUNDS * models):
        left = [counter for counter in counters if not counter.done(number)]
        if not left:
            break
        for check in checks:
            waiting = [counter for counter in left if counter.waits_for(check, number)]
            case = draw(waiting[0].runtime, check, number, seed) if waiting else None
            for counter in waiting:
                counter.count(check, number, case)
        for counter in left:
            for check in own[counter.runtime]:
                if counter.waits_for(check, number):
                    counter.count(check, number, draw(counter.runtime, check, number, seed))
    return {
        counter.runtime: {kernel: shown(tally) for kernel, tally in counter.tallies.items() if tally.tried}
        for counter in counters
    }


@dataclass
class Counters:
    """The tallies of one operator in one runtime. `met`: check -> the kernels of its models so far."""

    runtime: str
    types: set[str]
    models: int
    tallies: dict[str, Tally]
    met: dict[str, set[str]] = field(default_factory=dict)

    @staticmethod
    def of(runtime: str, op: str, models: int) -> Counters:
        """Nothing counted yet."""
        from cases.coverage import kernels_of

        types = tables_of(runtime)[op]
        kernels = kernels_of({op: dict.fromkeys(types)})[op]
        return Counters(runtime, types, models, {kernel: Tally() for kernel in kernels})

    def full(self, kernel: str) -> bool:
        """Whether the kernel needs no more models."""
        return enough(self.tallies[kernel], self.models)

    def done(self, number: int) -> bool:
        """Whether no kernel needs more models, after so many of each check."""
        return number > 0 and all(map(self.full, self.tallies))

    def waits_for(self, check: str, number: int) -> bool:
        """Whether the check's model of that number may be of use."""
        return number < FEW or not all(map(self.full, self.met.get(check, ())))

    def count(self, check: str, number: int, case: Any) -> None:
        """One model, if the runtime has its kernel and the kernel needs more."""
        from cases.coverage import kernel_of

        kernel = kernel_of(case.model)
        if kernel.split()[1] not in self.types:
            return
        self.met.setdefault(check, set()).add(kernel)
        self.tallies.setdefault(kernel, Tally())
        if not self.full(kernel):
            count_case(self.tallies[kernel], case, self.runtime, f"{check}, model {number}", self.models)


def enough(tally: Tally, models: int) -> bool:
    """So many models are counted, or too few are equal or run at all for it to be worth while to draw more."""
    if tally.models == 0:
        return tally.near.models >= models or tally.tried - tally.near.models > models // 2
    return tally.models >= models or tally.tried >= TRIES * models or tally.crashed >= models


def count_case(tally: Tally, case: Any, runtime: str, where: str, models: int) -> None:
    """One model, in both runtimes, added to the tally; of those that are only near no more than `models`.

    A crash costs a new process: after CRASHES of them, what the described runtime refuses is left out.
    """
    from crosscheck import compare
    from oracle import Crashed, Rejected
    from refquant.errors import RefquantError
    from test_runtimes import RESOLVERS, refused_too

    why = why_near(runtime, case)
    if (why and tally.near.models >= models) or (tally.crashed >= CRASHES and refused_too(runtime, case)):
        return
    try:
        count = compare(case, RESOLVERS.get(runtime, case.resolver), runtime, batched=False)
    except Rejected as error:
        tally.refused += 1
        tally.reasons[f"refused: {reason(error)}"] += 1
    except Crashed as error:
        tally.crashed += 1
        tally.reasons[f"crashed: {reason(error)}"] += 1
    except RefquantError as error:
        tally.undefined += 1
        tally.reasons[f"undefined: {reason(error)}"] += 1
    else:
        part = tally.near if why else tally
        part.models += 1
        part.elements += count.elements
        part.differing += count.differing
        tally.delegated += count.delegated
        if why:
            tally.near.why = why
            widen(tally.near.distance, asdict(count.distance))
            tally.near.typical += [count.distance.relative] if count.differing else []
        else:
            tally.fault = tally.fault or (count.detail and f"{where}: {count.detail}")


def why_near(runtime: str, case: Any) -> str | None:
    """The runtime's reason if it does not claim to be equal in this model."""
    from crosscheck import kernel_key
    from refquant.runtimes import runtime_named
    from test_runtimes import unclaimed

    inexact, graph = runtime_named(runtime).inexact, case.model.graph
    if not any(type in inexact.get(op, ()) for op, type in (kernel_key(one, graph) for one in graph.operators)):
        return None
    return unclaimed(runtime, case)


def widen(distance: dict[str, float], other: Mapping[str, float]) -> None:
    """Makes the distance at least as large as the other one."""
    for key, value in other.items():
        before = distance.get(key, 0)
        distance[key] = before + value if key == "not_finite" else max(before, value)


def reason(error: Exception) -> str:
    """The error's words, without the place that every one-operator model has."""
    text = " ".join(str(error).split())
    return text.removeprefix("subgraph 0, operator 0 ")[:REASON_LETTERS]


def shown(tally: Tally) -> dict[str, Any]:
    """What golden/evidence.json holds of a tally: numbers that are not zero, and those that always count."""
    row = {key: value for key, value in asdict(tally).items() if value or key in ("models", "elements", "differing")}
    if tally.reasons:
        row["reasons"] = dict(tally.reasons.most_common(REASONS))
    row["near"]["distance"] = {key: round_up(value) for key, value in tally.near.distance.items()}
    row["near"]["typical"] = round_up(statistics.median(tally.near.typical or [0.0]))
    if not tally.near.models:
        del row["near"]
    return row


def round_up(value: float) -> float:
    """Three digits, and not less than the value."""
    if isinstance(value, int) or not value:
        return value
    step = 10.0 ** (math.floor(math.log10(value)) - 2)
    return float(f"{math.ceil(value / step) * step:.3g}")


def count_model(runtime: str, name: str) -> dict[str, Any]:
    """A public model, end to end and operator by operator."""
    import refquant
    from oracle import Crashed, Rejected
    from refquant.errors import RefquantError
    from runtime_check import compare_model
    from test_real_models import MODELS

    path = MODELS / f"{name}.tflite"
    about = {"sha256": sha256(path)}
    try:
        return {**about, **asdict(compare_model(refquant.load(path), path.read_bytes(), runtime))}
    except (Rejected, Crashed) as error:
        return {**about, "refused": reason(error)}
    except RefquantError as error:
        return {**about, "undefined": reason(error)}


def carry_out(job: Job, models: int, seed: int) -> Found:
    """What a job adds to its part of its runtimes' evidence."""
    if job.kind == "models":
        return {runtime: {job.name: count_model(runtime, job.name)} for runtime in job.runtimes}
    return count_operator(job.runtimes, job.name, models, seed)


def jobs_of(runtimes: list[str]) -> list[Job]:
    """Everything there is to measure, the public models first."""
    from runtime_check import EVIDENCE_MODELS
    from test_real_models import MODELS

    found = [Job(tuple(runtimes), "models", model) for model in EVIDENCE_MODELS]
    missing = sorted({job.name for job in found if not (MODELS / f"{job.name}.tflite").exists()})
    if missing:
        raise SystemExit(f"models missing in {MODELS}: {', '.join(missing)} (set REFQUANT_MODELS)")
    ops = dict.fromkeys(op for name in runtimes for op in tables_of(name))
    return found + [Job(tuple(name for name in runtimes if op in tables_of(name)), "operators", op) for op in ops]


def lacking(job: Job, evidence: Mapping[str, Any]) -> Job:
    """The job for those runtimes of which the evidence has not all that it would measure."""
    from cases.coverage import kernels_of

    def has_all(runtime: str) -> bool:
        found = evidence.get(runtime, {}).get(job.kind, {})
        if job.kind == "models":
            return job.name in found
        wanted = kernels_of({job.name: dict.fromkeys(tables_of(runtime)[job.name])})[job.name]
        return all(kernel in found for kernel in wanted)

    return replace(job, runtimes=tuple(runtime for runtime in job.runtimes if not has_all(runtime)))


def carried_out(jobs: list[Job], models: int, seed: int, processes: int) -> Iterator[tuple[Job, Found]]:
    """Jobs in the order in which they are done, with what they found."""
    if processes == 1:
        yield from ((job, carry_out(job, models, seed)) for job in jobs)
        return
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(carry_out, job, models, seed): job for job in jobs}
        for future in as_completed(futures):
            yield futures[future], future.result()


def conditions(models: int, seed: int) -> dict[str, Any]:
    """What must be the same for counts to stand beside each other."""
    about = circumstances(PACKAGES)
    about["processor"]["kernel_flags"] = kernel_flags()
    what = "described runtimes against real ones: random one-operator models of tests/cases, and public integer models"
    return {"what": what, **about, "models_per_kernel": models, "seed": seed}


def kernel_flags() -> list[str]:
    """The processor's flags by which the runtimes choose kernels, as Linux names them."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return [platform.processor()]
    line = next((line for line in path.read_text().splitlines() if line.startswith(("flags", "Features"))), ":")
    return sorted(flag for flag in line.split(":")[1].split() if flag.startswith(KERNEL_FLAGS))


def kept(models: int, seed: int) -> dict[str, Any]:
    """What golden/evidence.json says of each runtime; nothing if it was made under other conditions."""
    path = REPOSITORY / EVIDENCE
    evidence = json.loads(path.read_text()) if path.exists() else {"runtimes": {}}
    runtimes: dict[str, Any] = evidence.pop("runtimes")
    return runtimes if evidence == conditions(models, seed) else {}


def faults_of(runtimes: Mapping[str, Any]) -> list[str]:
    """One line for each kernel or model that differs though it is called equal."""
    lines = []
    for name, evidence in runtimes.items():
        for kernel, row in evidence["operators"].items():
            if row["differing"]:
                lines.append(f"{name}, {kernel}: {row['differing']} differ; {row.get('fault', '')}")
        for model, row in evidence["models"].items():
            claimed = ("alone",) if row.get("inexact") else ("alone", "end_to_end", "outputs")
            if any(row.get(part) and row[part]["differing"] for part in claimed):
                lines.append(f"{name}, {model}: {row}")
    return lines


def merged(old: Mapping[str, Any], found: Mapping[str, Any], whole: bool) -> dict[str, Any]:
    """What was kept, with what was found in its place; a whole measurement of a runtime replaces all that was kept."""
    result = dict(old)
    for name, parts in found.items():
        kept_parts = {} if whole else old.get(name, {})
        result[name] = {kind: {**kept_parts.get(kind, {}), **rows} for kind, rows in parts.items()}
    return result


def table(found: Mapping[str, Any]) -> Table:
    """One line a runtime: sums of what was measured."""
    columns = ("models", "elements", "differing", "delegated", "refused", "crashed", "undefined")
    printed = Table("runtime", "kernels", *columns, "public models", "elements", "differing")
    for name, parts in found.items():
        sums = [sum(row.get(column, 0) for row in parts["operators"].values()) for column in columns]
        ends = [row["alone"] for row in parts["models"].values() if "alone" in row]
        public = [len(ends), *(sum(end[key] for end in ends) for key in ("elements", "differing"))]
        printed.add_row(name, *(f"{number:,}" for number in (len(parts["operators"]), *sums, *public)))
    return printed


def write(runtimes: Mapping[str, Any], models: int, seed: int) -> None:
    """golden/evidence.json, a line for each kernel and model, and its entry in the manifest."""
    from refquant.runtimes import RUNTIMES

    parts = []
    for name in (name for name in RUNTIMES if name in runtimes):
        sections = {
            kind: ",\n".join(
                f"    {json.dumps(key)}: {json.dumps(row)}" for key, row in sorted(runtimes[name][kind].items())
            )
            for kind in ("operators", "models")
        }
        lines = ",\n".join(f'   "{kind}": {{\n{text}\n   }}' for kind, text in sections.items())
        oracle = json.dumps(asdict(RUNTIMES[name].oracle))
        parts.append(f'  "{name}": {{\n   "oracle": {oracle},\n{lines}\n  }}')
    head = json.dumps(conditions(models, seed), indent=1)[:-2]
    write_text(REPOSITORY / EVIDENCE, head + ',\n "runtimes": {\n' + ",\n".join(parts) + "\n }\n}\n")
    made = Made(
        EVIDENCE, "how many elements each described runtime was compared in, and differs in", "counted by this tool"
    )
    record(
        REPOSITORY, "evidence", f"python tools/evidence.py --models {models} --seed {seed} --write", [made], PACKAGES
    )


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=MODELS_PER_KERNEL, help="models of each kernel (default 200)")
    parser.add_argument("--seed", type=int, default=2, help="default 2; the test suite has 0, tools/sweep.py 1")
    parser.add_argument("--runtime", action="append", default=[], help="only this described runtime; may be repeated")
    parser.add_argument("--only", default="", help="only the ops and models whose name contains this text")
    parser.add_argument("--missing", action="store_true", help=f"only what {EVIDENCE} has not")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--write", action="store_true", help=f"keep the counts in {EVIDENCE}")
    parser.add_argument("--json", action="store_true", help="print what was measured as JSON")
    arguments = parser.parse_args()
    from refquant.runtimes import RUNTIMES

    proved = [name for name, runtime in RUNTIMES.items() if runtime.oracle is not None]
    if unknown := set(arguments.runtime) - set(proved):
        parser.error(f"no described runtime with an oracle is called {', '.join(sorted(unknown))}: {', '.join(proved)}")
    old = kept(arguments.models, arguments.seed)
    chosen = [name for name in proved if not arguments.runtime or name in arguments.runtime]
    jobs = [job for job in jobs_of(chosen) if arguments.only in job.name]
    if arguments.missing:
        jobs = [job for job in (lacking(job, old) for job in jobs) if job.runtimes]
    found: dict[str, Any] = {name: {"operators": {}, "models": {}} for name in chosen}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("operators and models", total=len(jobs))
        for job, rows in carried_out(jobs, arguments.models, arguments.seed, arguments.jobs):
            for runtime, part in rows.items():
                found[runtime][job.kind].update(part)
            progress.advance(task)
    faults = faults_of(found)
    print(json.dumps(found, indent=1)) if arguments.json else Console(width=160).print(table(found))
    print("".join(f"differs: {line}\n" for line in faults), end="", file=sys.stderr)
    if arguments.write:
        write(merged(old, found, whole=not (arguments.only or arguments.missing)), arguments.models, arguments.seed)
    return int(bool(faults))


if __name__ == "__main__":
    raise SystemExit(main())
