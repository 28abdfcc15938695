"""The process in which a real runtime runs models for real_runtimes.py: some models end it.

Run as a script that imports nothing of refquant, so that it starts at once.
Protocol: stdin holds one pickle, (package, selector, jobs as tuples). On stdout, for each job, messages of 8 bytes of
length and a pickle: ("sample", outputs, {tensor index: array}) after each sample, then ("done", whether a delegate ran
anything), or ("refused", text, where its prints on stderr begin).
"""

from __future__ import annotations

import os
import pickle
import struct
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

ARENA_BYTES = 1 << 30  # reserved, not touched: what a model needs is taken from it


@dataclass(frozen=True, slots=True)
class Job:
    """A model and the samples that run one after another in one interpreter, arrays in the order of its inputs.

    tensors: what to read after each; outputs: how many the model has; preserve: whether every tensor is kept, without
    which only outputs can be read.
    """

    model: bytes
    samples: Sequence[Sequence[Array]]
    tensors: Sequence[int]
    outputs: int
    preserve: bool = True


Tell = Callable[..., None]
"""Sends one message to the parent."""


def run_litert(job: Job, selector: str, tell: Tell) -> None:
    """One job in LiteRT's interpreter with the OpResolverType of that name, on one thread."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=job.model,
        experimental_op_resolver_type=getattr(OpResolverType, selector),
        experimental_preserve_all_tensors=job.preserve,
        num_threads=1,
    )
    interpreter.allocate_tensors()
    for arrays in job.samples:
        inputs = interpreter.get_input_details()
        resized = [(d, a) for d, a in zip(inputs, arrays, strict=True) if tuple(d["shape"]) != a.shape]
        for detail, array in resized:
            interpreter.resize_tensor_input(detail["index"], array.shape)
        if resized:
            interpreter.allocate_tensors()
        for detail, array in zip(inputs, arrays, strict=True):
            interpreter.set_tensor(detail["index"], array)
        interpreter.invoke()
        details = interpreter.get_output_details()
        outputs = [_output(interpreter, detail) for detail in details]
        read = {detail["index"]: array for detail, array in zip(details, outputs, strict=True)} if job.preserve else {}
        for index in set(job.tensors) - set(read) if job.preserve else ():
            try:
                read[index] = interpreter.get_tensor(index)
            except ValueError:
                continue  # no operator wrote it, or it has no elements
        tell("sample", outputs, read)
    tell("done", any(detail["op_name"] == "DELEGATE" for detail in interpreter._get_ops_details()))


def _output(interpreter: Any, detail: Mapping[str, Any]) -> Array:
    """An output after a run; one without elements may have no memory to read."""
    if 0 in detail["shape"]:
        return np.empty(tuple(detail["shape"]), detail["dtype"])
    return np.asarray(interpreter.get_tensor(detail["index"]))


def run_tflm(job: Job, selector: str, tell: Tell) -> None:
    """One job in the interpreter of TensorFlow Lite Micro."""
    from tflite_micro.python.tflite_micro.runtime import Interpreter, InterpreterConfig

    config = InterpreterConfig.kPreserveAllTensors if job.preserve else InterpreterConfig.kAllocationRecording
    interpreter = Interpreter.from_bytes(job.model, arena_size=ARENA_BYTES, intrepreter_config=config)
    for arrays in job.samples:
        for position, array in enumerate(arrays):
            interpreter.set_input(array, position)
        interpreter.invoke()
        outputs = [np.array(interpreter.get_output(position)) for position in range(job.outputs)]
        tensors = job.tensors if job.preserve else ()
        tell("sample", outputs, {index: np.array(interpreter.GetTensor(index, 0)["tensor_data"]) for index in tensors})
    tell("done", False)


RUNS: Mapping[str, Callable[[Job, str, Tell], None]] = {"litert": run_litert, "tflm": run_tflm}


def main() -> None:
    """Runs the jobs one after another."""
    warnings.simplefilter("ignore")  # that keeping every tensor is for debugging
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # the runtime's own prints must not enter the channel

    def tell(*message: Any) -> None:
        data = pickle.dumps(message)
        channel.write(struct.pack("<Q", len(data)) + data)
        channel.flush()

    package, selector, jobs = pickle.load(sys.stdin.buffer)
    for job in jobs:
        before = os.lseek(2, 0, os.SEEK_CUR)
        try:
            RUNS[package](Job(*job), selector, tell)
        except (RuntimeError, ValueError, TypeError) as error:
            tell("refused", str(error), before)


if __name__ == "__main__":
    main()
