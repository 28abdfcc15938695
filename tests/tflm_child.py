"""Child process that runs the real TensorFlow Lite Micro: it aborts on some models, and the tests must survive that.

Protocol on stdin/stdout: pickled (model bytes, list of input lists) -> ("ok", list of {tensor index: array}),
("rejected", message) or ("crashed", message). A None among the input lists resets all variables. Kept free of refquant
on purpose: it is the other side.
"""

from __future__ import annotations

import os
import pickle
import struct
import sys
import tempfile

import numpy as np

ARENA_BYTES = 1 << 30  # reserved, not touched: what a model needs is taken from it
UNREADABLE = ("STRING", "RESOURCE", "VARIANT")


def answer(model: bytes, samples: list, log) -> tuple:
    from tflite_micro.python.tflite_micro import runtime

    log.seek(0)
    log.truncate()
    try:
        interpreter = runtime.Interpreter.from_bytes(
            model, arena_size=ARENA_BYTES, intrepreter_config=runtime.InterpreterConfig.kPreserveAllTensors
        )
        readable = readable_tensors(model)
        results = []
        for arrays in samples:
            if arrays is None:
                interpreter.reset()
                continue
            for position, array in enumerate(arrays):
                interpreter.set_input(array, position)
            interpreter.invoke()
            results.append(
                {
                    index if subgraph == 0 else (subgraph, index): read(interpreter, subgraph, index)
                    for subgraph, index in readable
                }
            )
        return "ok", results
    except (RuntimeError, ValueError) as error:
        log.seek(0)
        return "rejected", f"{error}: {' '.join(log.read().decode(errors='replace').split())}"


def read(interpreter, subgraph: int, index: int) -> np.ndarray:
    return np.array(interpreter.GetTensor(index, subgraph)["tensor_data"])


def readable_tensors(data: bytes) -> list[tuple[int, int]]:
    """(subgraph, tensor) of inputs, variables and what operators compute: the others may have no memory to read."""
    from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

    unreadable = {getattr(schema.TensorType, name) for name in UNREADABLE}
    model = schema.Model.GetRootAsModel(data, 0)
    tensors = []
    for number in range(model.SubgraphsLength()):
        graph = model.Subgraphs(number)
        operators = [graph.Operators(i) for i in range(graph.OperatorsLength())]
        used = {int(i) for op in operators for i in op.InputsAsNumpy()} if operators else set()
        indices = {int(graph.Inputs(i)) for i in range(graph.InputsLength())}
        indices |= {int(op.Outputs(i)) for op in operators for i in range(op.OutputsLength())}
        indices |= {i for i in range(graph.TensorsLength()) if graph.Tensors(i).IsVariable() and i in used}
        tensors += [(number, i) for i in sorted(indices) if i >= 0 and graph.Tensors(i).Type() not in unreadable]
    return tensors


def main() -> None:
    """Answers in a fork of this process, and in a new one when that has died."""
    from tflite_micro.python.tflite_micro import runtime  # noqa: F401  before the forks, once

    channel = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    with tempfile.TemporaryFile() as log:  # the runtime prints why it refuses a model
        os.dup2(log.fileno(), sys.stdout.fileno())
        os.dup2(log.fileno(), sys.stderr.fileno())
        while True:
            fork = os.fork()
            if fork == 0:
                serve(channel, log)
                os._exit(0)
            _, status = os.waitpid(fork, 0)
            if status == 0:
                return
            send(channel, ("crashed", f"{os.path.basename(__file__)} died with status {status}"))


def serve(channel, log) -> None:
    while header := sys.stdin.buffer.read(8):
        request = pickle.loads(sys.stdin.buffer.read(struct.unpack("<Q", header)[0]))
        send(channel, answer(*request, log))


def send(channel, reply: tuple) -> None:
    data = pickle.dumps(reply)
    channel.write(struct.pack("<Q", len(data)) + data)
    channel.flush()


if __name__ == "__main__":
    main()
