"""The process in which TensorFlow runs a float model for engine="tensorflow"; see tensorflow_engine.py.

What TensorFlow's calibrator computes is what its Python interpreter computes with four threads (the calibrator's
default for convolutions) and with subnormal numbers taken for zero: the calibrator runs Interpreter::Invoke, which sees
to that, and the Python interpreter Subgraph::Invoke, which does not.
Source: google-ai-edge/LiteRT, tflite/python/optimize/calibration_wrapper.cc (FeedTensor), tflite/core/interpreter.cc
(Invoke), tflite/python/interpreter_wrapper/interpreter_wrapper.cc (Invoke), tflite/kernels/eigen_support.cc (threads);
checked against TensorFlow 2.21.0.
"""

from __future__ import annotations

import ctypes
import math
import os
import pickle
import platform
import struct
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from refquant.errors import RefquantError
from refquant.model import read_model
from refquant.model.graph import DTYPES, Array, Model
from refquant.program import Value
from refquant.quantizer.in_place import Memory, Misread, Sizes, StandIn, as_read, placement
from refquant.quantizer.observe import Estimator, MinMax, Observed, observed_tensors
from refquant.quantizer.samples import Block, Shapes

THREADS = 4

# (system, machine) -> (size of fenv_t, offset of the control word in it, bits that make subnormal numbers zero)
DENORMALS: Mapping[tuple[str, str], tuple[int, int, int]] = {("Linux", "x86_64"): (32, 28, 0x8040)}


Tell = Callable[..., None]
"""Sends one message to the parent."""


class Failed(Exception):
    """kind, text: an answer to the parent."""


@contextmanager
def denormals_are_zero() -> Iterator[None]:
    """Subnormal operands and results of this thread's float arithmetic are zero; nothing where that is not known."""
    known = DENORMALS.get((platform.system(), platform.machine()))
    if known is None:
        yield
        return
    size, offset, bits = known
    libm = ctypes.CDLL("libm.so.6")
    before, inside = ctypes.create_string_buffer(size), ctypes.create_string_buffer(size)
    libm.fegetenv(before)
    libm.fegetenv(inside)
    (control,) = struct.unpack_from("=I", inside, offset)
    struct.pack_into("=I", inside, offset, control | bits)
    libm.fesetenv(inside)
    try:
        yield
    finally:
        libm.fesetenv(before)


class Runner:
    """One float model."""

    def __init__(self, data: bytes, estimator: Estimator, tell: Tell) -> None:
        self._data, self._model, self._estimator, self._tell = data, read_model(data), estimator, tell
        self._running: dict[tuple[Misread, ...], Interpreted] = {}
        self._calibrator: Any = None

    def sizes(self, block: Block) -> Sizes:
        """Bytes of every computed tensor. Only where memory is made while operators run, the first sample is run."""
        interpreted = Interpreted(self._model, self._data)
        if placement(self._model).dynamic:
            interpreted.run(block, 0)
        else:
            interpreted.resize(block.shapes)
        return interpreted.sizes()

    def run(self, block: Block, memory: Memory) -> Observed:
        """What the samples show."""
        if any(operator.intermediates for operator in self._model.graph.operators):
            return self._calibrate(block)
        if memory.misreads not in self._running:
            model, stand_ins = as_read(self._model, memory.misreads)
            data = model.to_bytes() if memory.misreads else self._data
            self._running[memory.misreads] = Interpreted(model, data, stand_ins)
        interpreted, observed = self._running[memory.misreads], Observed()
        for number in range(block.count):
            self._tell("sample", block.first + number)
            interpreted.resize(block.shapes)
            before = list(interpreted.arrays(interpreted.variables))  # operators change them, and both are recorded
            interpreted.run(block, number)
            for tensor, array in (*before, *interpreted.arrays(interpreted.watched)):
                observed.see(tensor, Value(array), block.first + number, 1, self._estimator)
        memory.apply(observed, interpreted.stand_ins)
        return observed

    def _calibrate(self, block: Block) -> Observed:
        """What TensorFlow's calibrator has seen so far. It alone sees the values inside an LSTM."""
        if self._calibrator is None:
            self._calibrator = calibrator_of(self._data)
            shapes = ", ".join(map(str, block.shapes))
            with told("model", f"TensorFlow cannot run the model on samples of shape {shapes}"):
                self._calibrator.Prepare([list(shape) for shape in block.shapes])
        for number in range(block.count):
            sample = block.first + number
            self._tell("sample", sample)
            arrays = block.sample(number)
            with told("sample", f"sample {sample}: TensorFlow stops"):
                self._calibrator.FeedTensor([arrays[index] for index in self._model.graph.inputs])
        with told("model", "TensorFlow's calibrator fails"):
            calibrated = read_model(bytes(self._calibrator.Calibrate()))
        observed, last = Observed(), block.first + block.count - 1
        for index, tensor in enumerate(calibrated.graph.tensors):
            q = tensor.quantization
            if q is not None and q.min and q.max:
                if not (math.isfinite(q.min[0]) and math.isfinite(q.max[0])):
                    observed.infinite[index] = last
                observed.observations[index] = MinMax(q.min[0], q.max[0], last)
        return observed


def calibrator_of(data: bytes) -> Any:
    """TensorFlow's calibrator of the model. Errors: Failed."""
    from tensorflow.lite.python.optimize import calibrator

    with told("model", "TensorFlow refuses the model"):
        return calibrator.Calibrator(data)._calibrator


class Interpreted:
    """One file in TensorFlow's interpreter. Errors of every method: Failed."""

    def __init__(self, model: Model, data: bytes, stand_ins: Sequence[StandIn] = ()) -> None:
        from tensorflow.lite.python.interpreter import Interpreter, OpResolverType

        self.stand_ins = stand_ins
        self._model = model
        self._shapes: Shapes | None = None
        watched = observed_tensors(model)
        order = (index for operator in model.graph.operators for index in (*operator.inputs, *operator.outputs))
        self.watched = [index for index in dict.fromkeys(order) if index in watched]
        self.variables = [index for index in self.watched if model.graph.tensors[index].is_variable]
        with told("model", "TensorFlow refuses the model"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that this interpreter will move to another package
            self._interpreter = Interpreter(
                model_content=data,
                experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
                experimental_preserve_all_tensors=True,
                num_threads=THREADS,
            )

    def resize(self, shapes: Shapes) -> None:
        """Allocates the tensors for samples of these shapes."""
        if shapes == self._shapes:
            return
        with told("model", f"TensorFlow cannot run the model on samples of shape {', '.join(map(str, shapes))}"):
            for index, shape in zip(self._model.graph.inputs, shapes, strict=True):
                self._interpreter.resize_tensor_input(index, shape)
            self._interpreter.allocate_tensors()
        self._shapes = shapes

    def run(self, block: Block, number: int) -> None:
        """Runs one sample of the block."""
        self.resize(block.shapes)
        for index, array in block.sample(number).items():
            self._interpreter.set_tensor(index, array)
        with told("sample", f"sample {block.first + number}: TensorFlow stops"), denormals_are_zero():
            self._interpreter.invoke()

    def arrays(self, tensors: Sequence[int]) -> Iterator[tuple[int, Array]]:
        """(tensor, values)."""
        for index in tensors:
            try:
                array = self._interpreter.get_tensor(index)
            except ValueError:
                continue  # it has no memory: no operator wrote it, or it has no elements
            yield index, array

    def sizes(self) -> Sizes:
        """{computed tensor: bytes}."""
        computed = {index for operator in self._model.graph.operators for index in operator.outputs}
        shapes = {detail["index"]: detail["shape"] for detail in self._interpreter.get_tensor_details()}
        tensors = self._model.graph.tensors
        return {
            index: math.prod(map(int, shapes[index])) * tensors[index].dtype.itemsize
            for index in computed
            if tensors[index].type in DTYPES
        }


@contextmanager
def told(kind: str, what: str) -> Iterator[None]:
    """TensorFlow's errors as answers to the parent."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise Failed(kind, f"{what}: {' '.join(str(error).split())}") from None


def answer(runner: Runner | None, verb: str, given: tuple[Any, ...], tell: Tell) -> tuple[Runner | None, Any]:
    """(the runner from now on, the result)."""
    if verb == "load":
        data, estimator = given
        return Runner(data, estimator, tell), None
    if verb == "forget":
        return None, None
    assert runner is not None
    return runner, runner.sizes(*given) if verb == "sizes" else runner.run(*given)


def main() -> None:
    """Answers the parent until it is gone."""
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # TensorFlow's own prints must not enter the channel

    def tell(*message: Any) -> None:
        data = pickle.dumps(message)
        channel.write(struct.pack("<Q", len(data)) + data)
        channel.flush()

    runner: Runner | None = None
    while header := sys.stdin.buffer.read(8):
        verb, arguments = pickle.loads(sys.stdin.buffer.read(struct.unpack("<Q", header)[0]))
        try:
            runner, result = answer(runner, verb, arguments, tell)
            tell("done", result)
        except Failed as error:
            tell("failed", *error.args)
        except RefquantError as error:
            tell("failed", "other", str(error))
        except Exception as error:
            tell("failed", "other", f"TensorFlow's process: {type(error).__name__}: {error}")
