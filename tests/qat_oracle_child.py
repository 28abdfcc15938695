"""Child process in which TensorFlow converts networks with fake quantization, without and with optimizations.

Protocol on stdin/stdout: a pickled (kind, name, io types) -> ("ok", answer) or ("rejected", message); the answer holds
"float" (the file with pairs), the integer files by I/O type, the ranges of the nodes as JSON.
"""

from __future__ import annotations

import os
import pickle
import struct
import sys
import tempfile
from pathlib import Path
from typing import Any


def answer(kind: str, name: Any, types: list) -> dict:
    """kind: "random" (name: seed and length), "question" or "aware", see qat_graphs and qat_networks.

    types: of input and output, "int8" or "int8>float32", or another choice.
    """
    import tensorflow as tf

    import refquant

    if kind == "aware":
        import qat_networks

        model = qat_networks.aware(name)
        # one trace for all conversions; from_keras_model would make one for each
        source = tf.function(lambda x: model(x, training=False)).get_concrete_function(
            tf.TensorSpec((1, *model.input_shape[1:]), tf.float32, "input")
        )
    else:
        import qat_graphs

        source = (
            qat_graphs.random_function(*name) if kind == "random" else qat_graphs.concrete(qat_graphs.QUESTIONS[name])
        )

    def converted(io: str | None, **experimental: Any) -> bytes:
        converter = tf.lite.TFLiteConverter.from_concrete_functions([source])
        if io is not None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            types = [tf.as_dtype(type_) for type_ in io.split(">")]
            converter.inference_input_type, converter.inference_output_type = types[0], types[-1]
        for option, value in experimental.items():
            setattr(converter, option, value)
        return bytes(converter.convert())

    files = {"float": converted(None)}
    for io in types:
        if io == "per_tensor":
            files[io] = converted("float32", _experimental_disable_per_channel=True)
        elif io == "per_tensor_dense":
            files[io] = converted("float32", _experimental_disable_per_channel_quantization_for_dense_layers=True)
        else:
            files[io] = converted(io)
    return {**files, "ranges": _ranges(refquant.calibration_from_keras, source, files["float"])}


def _ranges(calibration_from_keras: Any, source: Any, file: bytes) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ranges.json"
        calibration_from_keras(source, file).save(path)
        return path.read_text(encoding="utf-8")


def main() -> None:
    """Answers until stdin ends."""
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1", TF_USE_LEGACY_KERAS="1")
    here = Path(__file__).parent
    sys.path[:0] = [str(here.parent), str(here)]
    reply_to = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what TensorFlow prints does not disturb the protocol
    while header := sys.stdin.buffer.read(8):
        kind, name, types = pickle.loads(sys.stdin.buffer.read(struct.unpack("<Q", header)[0]))
        try:
            reply = "ok", answer(kind, name, types)
        except Exception as error:
            reply = "rejected", f"{type(error).__name__}: {error}"
        data = pickle.dumps(reply)
        reply_to.write(struct.pack("<Q", len(data)) + data)
        reply_to.flush()


if __name__ == "__main__":
    main()
