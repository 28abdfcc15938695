"""Child process that runs TensorFlow's converter: its import is slow, and some models kill the process.

Protocol on stdin/stdout: a pickled dictionary {"verb": a key of VERBS, ...} -> ("ok", bytes)
or ("rejected", message). Kept free of refquant on purpose: it is the other side.
"""

from __future__ import annotations

import os
import pickle
import struct
import sys


def calibrate(model: bytes, samples: list) -> bytes:
    """The float model with every observed tensor's min and max written into it."""
    from tensorflow.lite.python.optimize import calibrator

    return bytes(calibrator.Calibrator(model).calibrate(lambda: iter(samples)))


def quantize(
    model: bytes,
    input_type: str,
    output_type: str,
    per_channel: bool,
    per_channel_dense: bool,
    denied_ops: list,
    denied_names: list,
) -> bytes:
    """The int8 model the MLIR quantizer makes of a calibrated float model."""
    import tensorflow as tf
    from tensorflow.lite.python import convert

    types = {"float32": tf.float32, "int8": tf.int8, "uint8": tf.uint8}
    return bytes(
        convert.mlir_quantize(
            model,
            disable_per_channel=not per_channel,
            input_data_type=types[input_type],
            output_data_type=types[output_type],
            disable_per_channel_for_dense_layers=not per_channel_dense,
            denylisted_ops=set(denied_ops),
            denylisted_nodes=set(denied_names),
        )
    )


def quantize_legacy(
    model: bytes,
    samples: list,
    mode: str,
    input_type: str,
    output_type: str,
    per_channel: bool,
    per_channel_dense: bool,
    allow_float: bool,
    bias_type: str,
    only: str | None,
) -> bytes:
    """The model the old C++ quantizer makes; ranges in the model count where no sample is given.

    only: the name of the one operator (of its first result) that is quantized; then the choices above are fixed.
    """
    import tensorflow as tf
    from tensorflow.lite.python.optimize import calibrator

    quantizer = calibrator.Calibrator(model)
    io = tf.as_dtype(input_type), tf.as_dtype(output_type)
    if only is not None:
        return bytes(quantizer.calibrate_and_quantize_single(lambda: iter(samples), *io, allow_float, only))
    activations = {"int8": tf.int8, "int16x8": tf.int16}[mode]
    options = {
        "disable_per_channel": not per_channel,
        "disable_per_channel_quantization_for_dense_layers": not per_channel_dense,
    }
    bias = tf.as_dtype(bias_type)
    return bytes(
        quantizer.calibrate_and_quantize(lambda: iter(samples), *io, allow_float, activations, bias, **options)
    )


def normalize(model: bytes, ops: list) -> bytes:
    """The float model after the converter's own clean-up: activations fused, operators that do nothing removed."""
    from tensorflow.lite.python import convert

    return bytes(convert.mlir_quantize(model, denylisted_ops=set(ops)))


def network(name: str) -> bytes:
    """A float model of converter_networks."""
    import converter_networks

    return converter_networks.build(name)


def control(name: str) -> bytes:
    """A float model of converter_control."""
    import converter_control

    return converter_control.build(name)


def convert(name: str, modes: list, seed: list | None) -> dict:
    """A model of converter_modes in several modes, as bytes by mode."""
    import converter_modes

    return converter_modes.convert(name, modes, seed)


def recurrent(name: str, modes: list) -> dict:
    """A model of recurrent_networks in several modes, as bytes by mode."""
    import recurrent_networks

    return recurrent_networks.convert(name, modes)


VERBS = {
    "control": control,
    "convert": convert,
    "calibrate": calibrate,
    "quantize": quantize,
    "quantize_legacy": quantize_legacy,
    "normalize": normalize,
    "network": network,
    "recurrent": recurrent,
}


def main() -> None:
    channel = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # the converter's own prints must not enter the channel
    while header := sys.stdin.buffer.read(8):
        request = pickle.loads(sys.stdin.buffer.read(struct.unpack("<Q", header)[0]))
        verb = request.pop("verb")
        try:
            reply = pickle.dumps(("ok", VERBS[verb](**request)))
        except Exception as error:  # whatever TensorFlow raises is its answer
            reply = pickle.dumps(("rejected", f"{type(error).__name__}: {error}"))
        channel.write(struct.pack("<Q", len(reply)) + reply)
        channel.flush()


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    main()
