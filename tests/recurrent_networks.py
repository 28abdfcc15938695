"""Small Keras LSTM networks (Keras 2: the converter knows no operator for Keras 3's), converted in several modes.

Runs in the oracle's child process; kept free of refquant.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import zlib
from collections.abc import Iterator
from typing import Any

SAMPLES, STEPS, FEATURES, CELLS, CLASSES = 4, 4, 3, 5, 3
NAMES = ("classifier", "stacked", "bidirectional", "last of both", "backwards", "time major", "two at once", "unrolled")
CONVERTED_MODES = ("float", "calibrated", "int8", "legacy", "int16x8")


def network(name: str) -> Any:
    import tensorflow as tf
    import tf_keras as keras

    keras.utils.set_random_seed(zlib.crc32(name.encode()))
    layers = keras.layers
    x = inputs = keras.Input((STEPS, FEATURES), batch_size=2 if name == "two at once" else 1)
    if name == "classifier":
        x = layers.LSTM(CELLS)(x)
        x = layers.Dense(CLASSES, activation="softmax")(x)
    elif name == "stacked":
        x = layers.LSTM(CELLS, return_sequences=True)(x)
        x = layers.LSTM(4)(x)
    elif name == "bidirectional":
        x = layers.Bidirectional(layers.LSTM(CELLS, return_sequences=True))(x)
    elif name == "last of both":
        x = layers.Bidirectional(layers.LSTM(CELLS))(x)
    elif name == "time major":
        x = layers.LSTM(CELLS, time_major=True)(tf.transpose(x, (1, 0, 2)))
    else:
        x = layers.LSTM(CELLS, go_backwards=name == "backwards", unroll=name == "unrolled")(x)
    model = keras.Model(inputs, x)
    rng = _generator(name)
    model.set_weights([w + rng.normal(0, 0.3, w.shape).astype(w.dtype) for w in model.get_weights()])  # biases, too
    return model


def samples(name: str) -> Iterator[list[Any]]:
    import numpy as np

    rng = _generator(name)
    for _ in range(SAMPLES):
        yield [rng.normal(0, 1, (2 if name == "two at once" else 1, STEPS, FEATURES)).astype(np.float32)]


def convert(name: str, modes: list[str]) -> dict[str, bytes]:
    """Files by mode: "float", "calibrated", "int8", "legacy", "int16x8"."""
    import tensorflow as tf

    with contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as folder:
        save(network(name), folder)
        return {mode: _converted(tf.lite.TFLiteConverter.from_saved_model(folder), name, mode) for mode in modes}


def save(model: Any, folder: str) -> None:
    """The inference of a Keras 2 model as a SavedModel, in which the converter finds its LSTMs.

    from_keras_model saves what is for training, too, anew for each conversion, which takes twenty times as long.
    """
    import tensorflow as tf

    served = tf.Module()
    served.held = list(model.variables)
    signature = [tf.TensorSpec(model.input_shape, tf.float32, model.input_names[0])]
    served.infer = tf.function(lambda x: {"output": model(x, training=False)}, input_signature=signature)
    tf.saved_model.save(served, folder, signatures={"serving_default": served.infer})


def _converted(converter: Any, name: str, mode: str) -> bytes:
    import tensorflow as tf

    if mode != "float":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: samples(name)
    converter._experimental_calibrate_only = mode == "calibrated"
    converter.experimental_new_quantizer = mode != "legacy"
    if mode == "int16x8":
        ops = tf.lite.OpsSet
        int16 = ops.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        converter.target_spec.supported_ops = [int16, ops.TFLITE_BUILTINS]
    return bytes(converter.convert())


def _generator(name: str) -> Any:
    import numpy as np

    return np.random.default_rng(zlib.crc32(name.encode()))
