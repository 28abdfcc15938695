"""Models that TensorFlow converts in every mode that needs no calibration: named ones, and random graphs.

Runs in the oracle's child process; kept free of refquant. A model is made once and converted several times, so that
its names are the same in all files.
"""

from __future__ import annotations

import contextlib
import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import converter_networks
import recurrent_networks

# mode -> what is set on the converter
MODES: dict[str, dict[str, Any]] = {
    "float": {},
    "dynamic_range": {"optimized": True},
    "dynamic_range per tensor": {"optimized": True, "_experimental_disable_per_channel": True},
    "dynamic_range dense per tensor": {
        "optimized": True,
        "_experimental_disable_per_channel_quantization_for_dense_layers": True,
    },
    "float16": {"optimized": True, "half": True},
    "legacy dynamic_range": {"optimized": True, "experimental_new_dynamic_range_quantizer": False},
    "legacy dynamic_range per tensor": {
        "optimized": True,
        "experimental_new_dynamic_range_quantizer": False,
        "_experimental_disable_per_channel": True,
    },
    "legacy float16": {"optimized": True, "half": True, "experimental_new_dynamic_range_quantizer": False},
}


@dataclass
class Function:
    """A function and the shapes and types of its arguments."""

    call: Callable[..., Any]
    signature: list[Any]


def convert(name: str, modes: list[str], seed: list[int] | None = None) -> dict[str, bytes]:
    """The model `name` (or the random graph of `seed`), converted in these modes."""
    model = random_graph(np.random.default_rng(seed)) if seed is not None else MODELS[name]()
    with TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):  # Keras lists every variable
        start = _converters(model, folder)
        return {mode: _convert(start(), **MODES[mode]) for mode in modes}


def _converters(model: Any, folder: str) -> Callable[[], Any]:
    """What gives a new converter of the model. A Keras model is saved once, as from_keras_model does it each time."""
    import tensorflow as tf

    if isinstance(model, Function):
        concrete = tf.function(model.call, input_signature=model.signature).get_concrete_function()
        return lambda: tf.lite.TFLiteConverter.from_concrete_functions([concrete], tf.Module())
    if type(model).__module__.startswith("tf_keras"):
        recurrent_networks.save(model, folder)
    else:
        tf.lite.TFLiteConverter.from_keras_model(model)._convert_keras_to_saved_model(folder)
    return lambda: tf.lite.TFLiteConverter.from_saved_model(folder)


def _convert(converter: Any, optimized: bool = False, half: bool = False, **flags: Any) -> bytes:
    import tensorflow as tf

    if optimized:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if half:
        converter.target_spec.supported_types = [tf.float16]
    for flag, value in flags.items():
        setattr(converter, flag, value)
    return bytes(converter.convert())


# named models


def _keras(name: str, build: Callable[[Any], Any]) -> Callable[[], Any]:
    def make() -> Any:
        import keras

        keras.utils.set_random_seed(zlib.crc32(name.encode()))
        return build(keras)

    return make


def _mnist(keras: Any) -> Any:
    """The network of TensorFlow's own tutorials of post-training quantization."""
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((28, 28)),
            layers.Reshape((28, 28, 1)),
            layers.Conv2D(12, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(10),
        ]
    )


def _lstm(keras: Any) -> Any:
    """A classifier of sequences: Keras 3 writes the LSTM as a WHILE."""
    layers = keras.layers
    return keras.Sequential(
        [layers.Input((6, 20), batch_size=1), layers.LSTM(32), layers.Dense(40, activation="relu"), layers.Dense(5)]
    )


def _fused_lstm(is_deep: bool = False) -> Any:
    """The same of Keras 2, whose LSTM becomes one operator; a second one that has too small weights."""
    import tf_keras

    tf_keras.utils.set_random_seed(5)
    layers = tf_keras.layers
    first, second = layers.LSTM(32, return_sequences=is_deep), layers.LSTM(24)
    return tf_keras.Sequential(
        [layers.Input((6, 40), batch_size=1), first, *([second] if is_deep else []), layers.Dense(48), layers.Dense(5)]
    )


def _traced(network: Any, shape: tuple[int, ...]) -> Function:
    """A Keras network as a function: the same conversion without saving it first, which takes most of the time."""
    import tensorflow as tf

    return Function(lambda x: network(x, training=False), [tf.TensorSpec(shape)])


def _transformer() -> Any:
    """Embedding and positions, one head of attention, a feed-forward layer; one product has constant right sides."""
    import tensorflow as tf

    rng = np.random.default_rng(11)

    def constant(*shape: int) -> Any:
        return tf.constant(rng.normal(0, 0.3, shape).astype(np.float32))

    table, positions = constant(100, 32), constant(10, 32)
    query, key, value, first, second = (constant(32, 32) for _ in range(5))
    heads, gain, offset = constant(2, 32, 24), constant(32), constant(32)

    def normalized(x: Any) -> Any:
        mean = tf.reduce_mean(x, -1, keepdims=True)
        deviation = tf.math.rsqrt(tf.reduce_mean(tf.math.squared_difference(x, mean), -1, keepdims=True) + 1e-5)
        return (x - mean) * deviation * gain + offset

    def call(ids: Any) -> Any:
        x = tf.gather(table, ids) + positions
        q, k, v = (tf.matmul(x, matrix) for matrix in (query, key, value))
        attention = tf.nn.softmax(tf.matmul(q, k, transpose_b=True) / 32**0.5)
        x = normalized(x + tf.matmul(attention, v))
        x = normalized(x + tf.matmul(tf.nn.gelu(tf.matmul(x, first)), second))
        return tf.matmul(tf.stack([x, x * 0.5]), heads), tf.reduce_mean(x, 0)

    return Function(call, [tf.TensorSpec([10], tf.int32)])


def _embedding_lookup() -> Any:
    """A table behind EMBEDDING_LOOKUP, which the converter makes of a function that says so."""
    import tensorflow as tf

    table = tf.constant(np.random.default_rng(12).normal(size=(130, 8)).astype(np.float32))

    @tf.function(experimental_implements="embedding_matmul")
    def embedding(table: Any, ids: Any) -> Any:
        return tf.gather(table, ids)

    return Function(lambda ids: tf.sin(embedding(table, ids)), [tf.TensorSpec([5], tf.int32)])


def _halves() -> Any:
    """Constants whose float16 are equal; ones that float16 rounds to even, limits and loses; one that is an output."""
    import tensorflow as tf

    f32 = np.float32
    bits = np.random.default_rng(13).integers(0, 2**32, 3000, np.uint32)
    values = bits.view(f32)[np.isfinite(bits.view(f32))][:2000]
    ties = ((np.arange(1000, dtype=np.uint32) * 64 + 33) * 4096 + 0x38000000).astype(np.uint32).view(f32)
    edges = f32([65504, 65519.99, 65520, 1e9, -1e9, 6e-8, 2.9802322e-8, 2.98024e-8, -0.0, 1e-40, 3e38, 0.1])
    long = tf.constant(np.concatenate([values, ties, edges]))
    first, second = tf.constant(f32([1.0001, 2, 3])), tf.constant(f32([1.00011, 2, 3]))

    def call(x: Any, y: Any) -> Any:
        return tf.sin(x + first) * second, tf.sin(x - first), y * long, first

    return Function(call, [tf.TensorSpec([3]), tf.TensorSpec([1])])


def _while(is_shared: bool = False) -> Any:
    """A loop with weights in its body, and in front of it other weights, or the same."""
    import tensorflow as tf

    rng = np.random.default_rng(14)
    shapes = ((40, 40), (40,), (40, 40))
    weights, bias, others = (tf.constant(rng.normal(size=shape).astype(np.float32)) for shape in shapes)

    def body(i: Any, y: Any) -> Any:
        return i + 1, tf.nn.relu(tf.matmul(y, weights) + bias) * 1.5

    def call(x: Any) -> Any:
        x = tf.matmul(x, weights if is_shared else others)
        return tf.while_loop(lambda i, y: i < 3, body, [tf.constant(0), x])[1]

    return Function(call, [tf.TensorSpec([2, 40])])


def _single_ops() -> Any:
    """Every op that takes weights, with 1,023 and with 1,024 or more elements, and ops that take none."""
    import tensorflow as tf

    rng = np.random.default_rng(15)

    def constant(*shape: int) -> Any:
        return tf.constant(rng.normal(size=shape).astype(np.float32))

    def call(x: Any, image: Any, volume: Any, ids: Any) -> Any:
        results = []
        for width in (31, 32):
            results.append(tf.sin(tf.matmul(x[:, :33] if width == 31 else x[:, :32], c[f"dense {width}"])))
            results.append(tf.sin(tf.matmul(x[None, :, :width], c[f"batch {width}"])))
            results.append(tf.sin(tf.gather(c[f"table {width}"], ids)))
        for kind in ("few", "many"):
            results.append(tf.sin(tf.nn.conv2d(image, c[f"conv {kind}"], 1, "SAME")))
            results.append(tf.sin(tf.nn.depthwise_conv2d(image, c[f"depthwise {kind}"], [1] * 4, "SAME")))
            size = [1, 8, 8, c[f"transpose {kind}"].shape[2]]
            results.append(tf.sin(tf.nn.conv2d_transpose(image, c[f"transpose {kind}"], size, 2, "SAME")))
        results.append(tf.nn.conv3d(volume, c["volume"], [1] * 5, "SAME"))
        results.append(tf.sin(x * c["factors"]) + c["terms"])
        return results

    c = {
        "dense 31": constant(33, 31), "dense 32": constant(32, 32),
        "batch 31": constant(3, 31, 11), "batch 32": constant(2, 32, 16),
        "table 31": constant(93, 11), "table 32": constant(128, 8),
        "conv few": constant(11, 1, 3, 31), "conv many": constant(4, 4, 3, 22),
        "depthwise few": constant(11, 1, 3, 31), "depthwise many": constant(4, 4, 3, 22),
        "transpose few": constant(11, 1, 31, 3), "transpose many": constant(4, 4, 22, 3),
        "volume": constant(3, 3, 3, 4, 16), "factors": constant(40, 40), "terms": constant(40, 40),
    }  # fmt: skip
    signature = [tf.TensorSpec(shape) for shape in ([40, 40], [1, 4, 4, 3], [1, 4, 4, 4, 4])]
    return Function(call, [*signature, tf.TensorSpec([5], tf.int32)])


MODELS: dict[str, Callable[[], Any]] = {
    "mnist": _keras("mnist", _mnist),
    "lstm": _keras("lstm", _lstm),
    "fused lstm": _fused_lstm,
    "fused lstms": lambda: _fused_lstm(is_deep=True),
    "transformer": _transformer,
    "embedding lookup": _embedding_lookup,
    "halves": _halves,
    "while": _while,
    "while of shared weights": lambda: _while(is_shared=True),
    "single ops": _single_ops,
    "lstms, traced": lambda: _traced(_fused_lstm(is_deep=True), (1, 6, 40)),
    "mobilenet, traced": lambda: _traced(converter_networks.network("mobilenet"), (1, 32, 32, 3)),
    **{name: lambda name=name: converter_networks.network(name) for name in converter_networks.NETWORKS},
}


# random graphs


class _Drawing:
    """A random graph while it is drawn: recipes first, with constants; then calls of them on tensors."""

    def __init__(self, rng: np.random.Generator) -> None:
        import tensorflow as tf

        self.tf, self.rng = tf, rng
        self.constants: list[Any] = []

    def constant(self, *shape: int) -> Any:
        """A new constant, or one of this shape that is there already."""
        same = [c for c in self.constants if tuple(c.shape) == shape]
        if same and self.rng.random() < 0.5:
            return same[self.rng.integers(len(same))]
        values = self.rng.normal(0, 10.0 ** self.rng.integers(-3, 2), shape)
        kind = self.rng.integers(8)
        if kind == 0:
            values = np.round(values * 4 + 0.5) / 8
        elif kind == 1:
            values[..., 0] = 0
        self.constants.append(self.tf.constant(values.astype(np.float32)))
        return self.constants[-1]

    def step(self, x: Any) -> Any:
        """One operator or two on a matrix of 40 columns, or on an image of 16 channels."""
        return self.on_matrix(x) if len(x.shape) == 2 else self.on_image(x)

    def on_matrix(self, x: Any) -> Any:
        tf, rng = self.tf, self.rng
        rows, columns = x.shape
        kind = rng.integers(12)
        if kind <= 2:
            return tf.matmul(x, self.constant(columns, int(rng.choice([8, 25, 40]))))
        if kind == 3:
            return tf.nn.relu(tf.matmul(x, self.constant(columns, 40)) + self.constant(40))
        if kind == 4:
            return tf.matmul(x, self.constant(40, columns), transpose_b=True)
        if kind == 5:
            return tf.matmul(tf.stack([x, x]), self.constant(2, columns, 30))[1]
        if kind == 6:
            ids = tf.argmax(x, -1, output_type=tf.int32)
            return tf.gather(self.constant(*((40, 40) if rng.random() < 0.5 else (200, 8))), ids)
        if kind == 7:
            return x + self.constant(rows, columns)
        if kind == 8:
            return x * self.constant(columns)
        if kind == 9:
            return tf.concat([x, tf.broadcast_to(self.constant(1, columns), [rows, columns])], 0)[:rows]
        if kind == 10:
            ids = tf.argmax(x, -1, output_type=tf.int32)
            return tf.gather(self.constant(200, 8), ids)[: max(rows // 2, 1)]
        return [tf.tanh, tf.sin, tf.nn.softmax][rng.integers(3)](x)

    def on_image(self, x: Any) -> Any:
        tf, rng = self.tf, self.rng
        _, height, width, channels = x.shape
        kind = rng.integers(8)
        if kind <= 1:
            size = int(rng.choice([1, 3]))
            return tf.nn.conv2d(x, self.constant(size, size, channels, int(rng.choice([1, 8, 16, 24]))), 1, "SAME")
        if kind == 2:
            return tf.nn.relu(tf.nn.conv2d(x, self.constant(3, 3, channels, 16), 1, "SAME") + self.constant(16))
        if kind == 3:
            return tf.nn.depthwise_conv2d(x, self.constant(3, 3, channels, int(rng.choice([1, 8]))), [1] * 4, "SAME")
        if kind == 4:
            shape = [1, height * 2, width * 2, 16]
            return tf.nn.conv2d_transpose(x, self.constant(3, 3, 16, channels), shape, 2, "SAME")[:, ::2, ::2]
        if kind == 5:
            return x * self.constant(channels)
        if kind == 6:
            return tf.nn.max_pool2d(x, 2, 1, "SAME")
        return [tf.sin, tf.nn.relu6, tf.tanh][rng.integers(3)](x)


def random_graph(rng: np.random.Generator) -> Function:
    """4 to 14 steps on a matrix and an image; some constants are read several times, and one may be an output."""
    import tensorflow as tf

    drawing, seed, steps = _Drawing(rng), int(rng.integers(2**31)), int(rng.integers(4, 15))
    kept: list[Any] = []

    def call(x: Any, image: Any) -> Any:
        drawing.rng = np.random.default_rng(seed)  # the same for every tracing
        drawing.constants[:] = kept
        tensors, read = [x, image], set()
        for _ in range(steps):
            number = int(drawing.rng.integers(max(len(tensors) - 4, 0), len(tensors)))
            read.add(number)
            tensors.append(drawing.step(tensors[number]))
        return [tf.identity(t) for n, t in enumerate(tensors) if n not in read and n > 1]

    return Function(call, [tf.TensorSpec([6, 40]), tf.TensorSpec([1, 6, 6, 16])])
