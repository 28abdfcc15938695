"""engine="tensorflow": the parent's end of the processes in which TensorFlow runs the model.

TensorFlow's kernels end the process on some models, and importing it takes seconds; so it runs in a child process
(tensorflow_child.py), which is kept for the next calibration.
Protocol on the child's stdin and stdout, messages of 8 bytes of length and a pickle: the parent asks (verb, arguments);
the child answers ("sample", number) before each sample, then ("done", result) or ("failed", kind, text).
"""

from __future__ import annotations

import atexit
import importlib.util
import math
import os
import pickle
import secrets
import signal
import struct
import subprocess
import sys
import tempfile
from threading import Lock
from typing import Any

from refquant.errors import InvalidInput, RefquantError, UnsupportedModel
from refquant.model.graph import Model
from refquant.model.validation import operator_place
from refquant.quantizer.in_place import Memory, Sizes
from refquant.quantizer.observe import Estimator, MinMax, Observed
from refquant.quantizer.samples import Block, Shapes

MISSING = "engine='tensorflow' needs TensorFlow, which is not installed: pip install 'refquant[tensorflow]'"
START = "from refquant.quantizer.tensorflow_child import main; main()"
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
CHATTER = ("I0000", "W0000", "INFO", "WARNING")  # how lines begin that tell of no fault
BLOCK_BYTES = 16 << 20  # samples that are handed over together hold no more than this, or are one
BLOCK_SAMPLES = 32
FAILURES = {"model": UnsupportedModel, "sample": InvalidInput}


class TensorFlowEngine:
    """TensorFlow's float kernels as its calibrator runs them: no delegate, four threads, sample after sample."""

    def __init__(self, model: Model, estimator: Estimator) -> None:
        if importlib.util.find_spec("tensorflow") is None:
            raise InvalidInput(MISSING)
        for position, operator in enumerate(model.graph.operators):
            if operator.intermediates and estimator is not MinMax:
                place = operator_place(0, position, operator)
                raise UnsupportedModel(
                    f"{place}: TensorFlow tells of the values inside this operator the smallest and the largest only; "
                    "for another estimator calibrate with engine='numpy'"
                )
        self._model, self._estimator = model, estimator
        self._token = secrets.token_hex(8)
        self._lock, self._children = Lock(), list[_Child]()

    def block_samples(self, shapes: Shapes) -> int:
        """As many as BLOCK_BYTES hold."""
        tensors = (self._model.graph.tensors[index] for index in self._model.graph.inputs)
        size = sum(math.prod(shape) * tensor.dtype.itemsize for shape, tensor in zip(shapes, tensors, strict=True))
        return min(BLOCK_SAMPLES, max(1, BLOCK_BYTES // max(size, 1)))

    def sizes(self, block: Block) -> Sizes:
        """As TensorFlow allocates the tensors."""
        sizes: Sizes = self._ask("sizes", block)
        return sizes

    def run(self, block: Block, memory: Memory) -> Observed:
        """Runs the samples one by one. The process keeps the model's variables from one to the next."""
        observed: Observed = self._ask("run", block, memory)
        return observed

    def close(self) -> None:
        """Lets the processes forget the model; one is kept for the next calibration."""
        for child in self._children:
            child.keep()
        self._children.clear()

    def _ask(self, verb: str, *arguments: Any) -> Any:
        with self._lock:
            child = self._children.pop() if self._children else _Child.idle()
        try:
            if child.token != self._token:
                child.ask("load", self._model.to_bytes(), self._estimator)
                child.token = self._token
            return child.ask(verb, *arguments)
        finally:
            if child.alive:
                with self._lock:
                    self._children.append(child)


class _Child:
    """One process. Its own prints go to a file of which the last line tells why it ended."""

    def __init__(self) -> None:
        self.owner, self.token = os.getpid(), ""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as the process)
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-c", START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **QUIET, "PYTHONPATH": path},
        )

    @classmethod
    def idle(cls) -> _Child:
        """A process that waits for work, of this process's own (not one inherited by a fork), or a new one."""
        while _IDLE:
            child = _IDLE.pop()
            if child.owner == os.getpid() and child.alive:
                return child
        return cls()

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def keep(self) -> None:
        """Forgets the model; the process waits for the next one, or ends if another one waits already."""
        try:
            if not _IDLE:
                self.ask("forget")
                self.token = ""
                _IDLE.append(self)
                return
        except RefquantError:
            pass  # it is gone
        self.end()

    def end(self) -> None:
        """Ends the process, if it is this process's own."""
        if self.owner == os.getpid():
            self._process.kill()
            self._process.wait()

    def ask(self, verb: str, *arguments: Any) -> Any:
        """The answer. Errors: as the child tells them; RefquantError, naming the sample, if it ended."""
        sample: int | None = None
        said = self._errors.seek(0, os.SEEK_END)
        request = pickle.dumps((verb, arguments))
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(struct.pack("<Q", len(request)) + request)
            self._process.stdin.flush()
            while True:
                kind, *answer = self._receive()
                if kind == "done":
                    return answer[0]
                if kind == "failed":
                    raise FAILURES.get(answer[0], RefquantError)(answer[1])
                sample = answer[0]
        except (BrokenPipeError, EOFError):
            raise RefquantError(self._epitaph(sample, said)) from None
        except BaseException as error:
            if not isinstance(error, RefquantError):
                self.end()  # an answer may be half read
            raise

    def _receive(self) -> Any:
        assert self._process.stdout is not None
        header = self._process.stdout.read(8)
        size = struct.unpack("<Q", header)[0] if len(header) == 8 else -1
        data = self._process.stdout.read(size) if size >= 0 else b""
        if len(data) != size:
            raise EOFError
        return pickle.loads(data)

    def _epitaph(self, sample: int | None, said: int) -> str:
        """Where and how the process ended, and the last thing it said since byte `said` of its prints."""
        code = self._process.wait()
        try:
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        except ValueError:
            how = f"signal {-code}"
        self._errors.seek(said)
        lines = self._errors.read().decode("utf-8", "replace").splitlines()
        last = [line.strip() for line in lines if line.strip() and not line.startswith(CHATTER)][-1:]
        where = "" if sample is None else f"sample {sample}: "
        return f"{where}TensorFlow's process ended ({how})" + "".join(f": {line[:300]}" for line in last)


_IDLE: list[_Child] = []


@atexit.register
def _end_idle() -> None:
    while _IDLE:
        _IDLE.pop().end()
