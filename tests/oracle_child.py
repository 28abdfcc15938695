"""Child process that runs the real LiteRT: some invalid models crash it, and the tests must survive that.

Protocol on stdin/stdout: pickled (model bytes, list of input lists, resolver, preserve) -> ("ok", list of
{tensor index: array}) or ("rejected", message). None for the input lists asks for the operators, those of delegates
behind them, and runs nothing. A None among the input lists resets all variables. Kept free of
refquant on purpose: it is the other side. With the argument "tensorflow" it runs the interpreter inside TensorFlow.
"""

from __future__ import annotations

import os
import pickle
import struct
import sys

import numpy as np


def answer(model: bytes, samples: list, resolver: str, preserve: bool) -> tuple:
    if sys.argv[1:] == ["tensorflow"]:
        import tensorflow as tf

        Interpreter, OpResolverType = tf.lite.Interpreter, tf.lite.experimental.OpResolverType  # noqa: N806
    else:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

    try:
        interpreter = Interpreter(
            model_content=model,
            experimental_op_resolver_type=getattr(OpResolverType, resolver),
            experimental_preserve_all_tensors=preserve,
            num_threads=1,
        )
        interpreter.allocate_tensors()
        if samples is None:
            return "ok", [details["op_name"] for details in interpreter._get_ops_details()]
        inputs = interpreter.get_input_details()
        results = []
        for arrays in samples:
            if arrays is None:
                interpreter.reset_all_variables()
                continue
            resized = [(d, a) for d, a in zip(inputs, arrays, strict=True) if tuple(d["shape"]) != a.shape]
            for detail, array in resized:
                interpreter.resize_tensor_input(detail["index"], array.shape)
            if resized:
                interpreter.allocate_tensors()
                inputs = interpreter.get_input_details()
            for detail, array in zip(inputs, arrays, strict=True):
                interpreter.set_tensor(detail["index"], array)
            interpreter.invoke()
            details = interpreter.get_tensor_details() if preserve else interpreter.get_output_details()
            tensors = {}
            for detail in details:
                try:
                    if detail["dtype"] is np.object_:
                        continue  # to read a resource may crash
                    tensors[detail["index"]] = interpreter.get_tensor(detail["index"])
                except ValueError:
                    continue  # scratch tensors and tensors without data cannot be read
            results.append(tensors | (subgraph_tensors(interpreter) if preserve else {}))
        return "ok", results
    except (RuntimeError, ValueError) as error:
        return "rejected", str(error)


def subgraph_tensors(interpreter) -> dict:
    """{(subgraph, tensor index): array} of the subgraphs after the first, without resources, which crash."""
    tensors = {}
    for subgraph in range(1, interpreter.num_subgraphs()):
        for detail in interpreter.get_tensor_details(subgraph):
            try:
                if detail["dtype"] is not np.object_:
                    tensors[subgraph, detail["index"]] = interpreter.get_tensor(detail["index"], subgraph)
            except ValueError:
                continue
    return tensors


def main() -> None:
    channel = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # the runtime's own prints must not enter the channel
    while header := sys.stdin.buffer.read(8):
        request = pickle.loads(sys.stdin.buffer.read(struct.unpack("<Q", header)[0]))
        reply = pickle.dumps(answer(*request))
        channel.write(struct.pack("<Q", len(reply)) + reply)
        channel.flush()


if __name__ == "__main__":
    main()
