"""Real runtimes, each run in a child process (real_child.py): a crash, a refusal or silence is a value, not an end.

litert:reference, litert:optimized and litert:default are LiteRT's three resolvers of kernels, the default with XNNPACK;
tflm:real is TensorFlow Lite Micro. All on one thread.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import pickle
import queue
import signal
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any

from refquant.compare.real_child import Job
from refquant.errors import InvalidInput, RefquantError
from refquant.model import read_model
from refquant.model.graph import DTYPES, Array, Graph

TIMEOUT = 120.0  # seconds without an answer after which a process is ended
PARTING = 5.0  # seconds that a process has to end after its last word
GIVEN_UP = 3  # jobs that were ended so, after which no further one is tried
LONGEST = 300  # characters of a message that is told
CHILD = Path(__file__).with_name("real_child.py")
START = f"import runpy; runpy.run_path({str(CHILD)!r}, run_name='__main__')"
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3"}
CHATTER = ("I0000", "W0000", "INFO", "WARNING")  # how lines begin that tell of no fault


@dataclass(frozen=True, slots=True)
class Package:
    """What a real runtime is asked for with: the module that must be there, pip's name of it, the extra, a selector."""

    family: str
    module: str
    name: str
    selector: str

    @property
    def version(self) -> str:
        """Package and version; that of a package of another name that brings the module, "-nightly" for one."""
        try:
            return f"{self.name} {importlib.metadata.version(self.name)}"
        except importlib.metadata.PackageNotFoundError:
            names = importlib.metadata.packages_distributions().get(self.module, ())
        return f"{names[0]} {importlib.metadata.version(names[0])}" if names else f"{self.name} of unknown version"


PACKAGES: Mapping[str, Package] = {
    "litert:reference": Package("litert", "ai_edge_litert", "ai-edge-litert", "BUILTIN_REF"),
    "litert:optimized": Package("litert", "ai_edge_litert", "ai-edge-litert", "BUILTIN_WITHOUT_DEFAULT_DELEGATES"),
    "litert:default": Package("litert", "ai_edge_litert", "ai-edge-litert", "BUILTIN"),
    "tflm:real": Package("tflm", "tflite_micro", "tflite-micro", ""),
}
REAL = tuple(PACKAGES)


@dataclass(frozen=True, slots=True)
class Ran:
    """What one job gave: by sample its outputs, and {tensor index: array}; whether a delegate ran any of it."""

    outputs: tuple[tuple[Array, ...], ...]
    tensors: tuple[Mapping[int, Array], ...]
    delegated: bool


@dataclass(frozen=True, slots=True)
class Failed:
    """Why a job gave nothing: "refused" with the runtime's message, "crashed" with how, or "silent" for so long."""

    kind: str
    text: str


def package_of(name: str) -> Package:
    """What the real runtime of that name is run with. InvalidInput if there is none, or if it is not installed."""
    if name not in PACKAGES:
        raise InvalidInput(f"unknown real runtime '{name}'; there are: {', '.join(REAL)}")
    package = PACKAGES[name]
    if importlib.util.find_spec(package.module) is None:
        raise InvalidInput(
            f"runtime {name} needs {package.name}, which is not installed: pip install 'refquant[{package.family}]'"
        )
    return package


def run_real(
    name: str, model: bytes, samples: Sequence[Sequence[Array]], timeout: float = TIMEOUT, preserve: bool = True
) -> Ran:
    """The samples one after another; arrays in the order of the model's inputs.

    preserve: whether the runtime keeps every tensor, without which only outputs can be read. Errors: InvalidInput, as
    package_of has them; RefquantError if the runtime refuses the model or a sample, crashes, or says nothing for
    `timeout` seconds.
    """
    (result,) = run_jobs(name, [job_of(model, samples, preserve)], timeout)
    if isinstance(result, Failed):
        raise RefquantError(f"{name}: {result.text}")
    return result


def job_of(model: bytes, samples: Sequence[Sequence[Array]], preserve: bool = True) -> Job:
    """The job that reads every tensor of the main graph that an operator computes or the model takes."""
    graph = read_model(model).graph
    return Job(model, samples, readable_tensors(graph), len(graph.outputs), preserve)


def readable_tensors(graph: Graph) -> tuple[int, ...]:
    """The tensors that have memory of their own and an array form: to read others ends some runtimes."""
    indices = {*graph.inputs, *(index for operator in graph.operators for index in operator.outputs)}
    return tuple(sorted(index for index in indices if index >= 0 and graph.tensors[index].type in DTYPES))


def run_jobs(
    name: str,
    jobs: Sequence[Job],
    timeout: float = TIMEOUT,
    progress: Callable[[int], object] | None = None,
    given_up: int = GIVEN_UP,
) -> list[Ran | Failed]:
    """What each job gave. A job that ends its process, or that is silent, is a Failed; the others run all the same.

    progress: called with how many are done; given_up: after how many silent ones no further one is tried.
    Errors: InvalidInput, as package_of has them, or for such a timeout.
    """
    if not timeout > 0:
        raise InvalidInput(f"the timeout is a number of seconds above 0, not {timeout:g}")
    package = package_of(name)
    results: list[Ran | Failed] = []

    def add(result: Ran | Failed) -> None:
        results.append(result)
        if progress is not None:
            progress(len(results))

    while len(results) < len(jobs):
        if sum(isinstance(result, Failed) and result.kind == "silent" for result in results) >= given_up:
            add(Failed("silent", "not tried, since others said nothing"))
            continue
        failed = _run_process(package, jobs[len(results) :], timeout, add)
        if failed is not None:
            add(failed)
    return results


def _run_process(
    package: Package, jobs: Sequence[Job], timeout: float, add: Callable[[Ran | Failed], None]
) -> Failed | None:
    """Adds what the jobs give until all are done, or returns why the process ended at one of them."""
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    with tempfile.TemporaryFile() as request, tempfile.TemporaryFile() as said:
        plain = [tuple(getattr(job, field.name) for field in fields(Job)) for job in jobs]
        pickle.dump((package.family, package.selector, plain), request)
        request.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-c", START],
            stdin=request,
            stdout=subprocess.PIPE,
            stderr=said,
            env={**os.environ, **QUIET, "PYTHONPATH": path},
        )
        try:
            return _receive(process, said, len(jobs), timeout, add)
        finally:
            process.kill()
            process.wait()


def _receive(
    process: subprocess.Popen[bytes], said: IO[bytes], jobs: int, timeout: float, add: Callable[[Ran | Failed], None]
) -> Failed | None:
    messages: queue.Queue[Any] = queue.Queue()
    assert process.stdout is not None
    threading.Thread(target=_read, args=(process.stdout, messages), daemon=True).start()
    outputs: list[tuple[Array, ...]] = []
    tensors: list[Mapping[int, Array]] = []
    while jobs:
        try:
            message = messages.get(timeout=min(timeout, threading.TIMEOUT_MAX))
        except queue.Empty:
            return Failed("silent", f"said nothing for {timeout:g} seconds and was ended")
        if message is None:
            return Failed("crashed", _epitaph(process, said))
        kind, *told = message
        if kind == "sample":
            outputs.append(tuple(told[0]))
            tensors.append(told[1])
            continue
        if kind == "refused":
            add(Failed("refused", _shortened(" ".join([*told[0].split(), *_lines(said, told[1])]))))
        else:
            add(Ran(tuple(outputs), tuple(tensors), told[0]))
        outputs, tensors, jobs = [], [], jobs - 1
    return None


def _read(stream: IO[bytes], messages: queue.Queue[Any]) -> None:
    """Puts every whole message into the queue, and None when the stream ends."""
    with suppress(Exception):  # a message that cannot be read is the last
        while len(header := stream.read(8)) == 8:
            size = struct.unpack("<Q", header)[0]
            data = stream.read(size)
            if len(data) != size:
                break
            messages.put(pickle.loads(data))
    messages.put(None)


def _lines(said: IO[bytes], start: int) -> list[str]:
    """What the process printed from there on, without lines that tell of no fault."""
    text = os.pread(said.fileno(), 1 << 20, start).decode("utf-8", "replace")
    return [" ".join(line.split()) for line in text.splitlines() if line.strip() and not line.startswith(CHATTER)]


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


def _epitaph(process: subprocess.Popen[bytes], said: IO[bytes]) -> str:
    """How the process ended, and the last thing it said."""
    try:
        code = process.wait(PARTING)
    except subprocess.TimeoutExpired:
        return "its process closed its output and was ended"
    try:
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    except ValueError:
        how = f"signal {-code}"
    last = _lines(said, 0)[-1:]
    return f"its process ended ({how})" + "".join(f": {_shortened(line)}" for line in last)
