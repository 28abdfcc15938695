"""Models with several subgraphs as TensorFlow converts them: loops, branches, Keras recurrent layers, variables.

Runs in the oracle's child process; kept free of refquant.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from typing import Any


def build(name: str) -> bytes:
    """The float model of that name."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(1)
    with contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as folder:
        return bytes(_converter(name, tf, keras, folder).convert())


def _converter(name: str, tf: Any, keras: Any, folder: str) -> Any:
    if name == "counters":
        return _counters(tf, folder)
    if name in (layers := _layers(keras)):
        model = keras.Sequential([keras.layers.InputLayer(batch_shape=(1, 6, 5)), *layers[name]])
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        converter.experimental_enable_resource_variables = "stateful" in name
        return converter
    function, *types = _functions(tf)[name]
    specification = [tf.TensorSpec(shape, dtype) for shape, dtype in types]
    return tf.lite.TFLiteConverter.from_concrete_functions(
        [tf.function(function).get_concrete_function(*specification)]
    )


def _layers(keras: Any) -> dict[str, list[Any]]:
    """name -> layers."""
    layers = keras.layers
    return {
        "lstm": [layers.LSTM(4), layers.Dense(3)],
        "lstm unrolled": [layers.LSTM(4, unroll=True)],
        "lstm stateful": [layers.LSTM(4, stateful=True), layers.Dense(3)],
        "gru stateful": [layers.GRU(4, stateful=True, return_sequences=True)],
    }


def _functions(tf: Any) -> dict[str, tuple[Any, ...]]:
    """name -> (function, (shape, type) of each argument)."""
    pair, count = ((2, 3), tf.float32), ((), tf.int32)

    def swap(x: Any, y: Any, n: Any) -> Any:
        return tf.while_loop(lambda i, a, b: i < n, lambda i, a, b: (i + 1, b, a), [0, x, y])[1:]

    def fibonacci(x: Any, y: Any, n: Any) -> Any:
        return tf.while_loop(lambda i, a, b: i < n, lambda i, a, b: (i + 1, b, a + b), [0, x, y])[1:]

    def grow(x: Any, n: Any) -> Any:
        shapes = [tf.TensorShape([]), tf.TensorShape([None, 3])]
        step = tf.while_loop(
            lambda i, a: i < n, lambda i, a: (i + 1, tf.concat([a, x * tf.cast(i, x.dtype)], 0)), [0, x], shapes
        )
        return tf.reduce_sum(step[1], 0) + 1.0

    def until(x: Any) -> Any:
        def body(y: Any, error: Any) -> Any:
            better = 0.5 * (y + (x * x + 1.0) / y)
            return better, tf.reduce_max(tf.abs(better - y))

        return tf.while_loop(lambda y, error: error > 1e-3, body, [tf.ones_like(x), 1.0])[0]

    def branch(x: Any) -> Any:
        return tf.cond(tf.reduce_sum(x) > 0, lambda: tf.nn.softmax(x) + 1.0, lambda: tf.square(x))

    def branch_of_two_shapes(x: Any) -> Any:
        longer = tf.cond(tf.reduce_sum(x) > 0, lambda: tf.concat([x, x], 0), lambda: x)
        return tf.reduce_sum(longer, 0)

    return {
        "swap": (swap, pair, pair, count),
        "fibonacci": (fibonacci, pair, pair, count),
        "grow": (grow, pair, count),
        "until": (until, pair),
        "branch": (branch, pair),
        "branch of two shapes": (branch_of_two_shapes, pair),
    }


def _counters(tf: Any, folder: str) -> Any:
    """A module of two variables with three signatures."""
    specification = [tf.TensorSpec([3], tf.float32)]

    class Counters(tf.Module):
        def __init__(self) -> None:
            self.total, self.factor = tf.Variable(tf.zeros([3])), tf.Variable(1.0)

        @tf.function(input_signature=specification)
        def add(self, x: Any) -> Any:
            self.total.assign_add(x * self.factor)
            self.factor.assign(self.factor * 1.5)
            return {"sum": self.total.read_value()}

        @tf.function(input_signature=[])
        def get(self) -> Any:
            return {"value": self.total.read_value() + 0.0}

        @tf.function(input_signature=specification)
        def put(self, x: Any) -> Any:
            self.total.assign(x)
            return {"twice": x * 2.0}

    module = Counters()
    keys = ("add", "get", "put")
    tf.saved_model.save(module, folder, signatures={key: getattr(module, key) for key in keys})
    converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(keys))
    converter.experimental_enable_resource_variables = True
    return converter
