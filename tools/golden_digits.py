"""The digits, and two small networks trained on them and converted by TensorFlow 2.21.0."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress

from golden_manifest import DIGITS_LICENCE, DIGITS_SOURCE, Made, write_arrays, write_json

DIGITS = "refquant/data/digits.npz"
SPLIT = "golden/digits.json"
TRAINED_ON = f"trained by this maker on: {DIGITS_SOURCE} ({DIGITS_LICENCE})"

TRAIN = range(1297)
HELD_BACK = range(1297, 1797)
CALIBRATION = range(0, 1200, 12)  # 100 scans of the training part
SEED = 20
EPOCHS = 60


def make_digits(root: Path, progress: Progress) -> list[Made]:
    """The 1,797 scans as uint8 images and labels, and how they are split."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images, labels = bunch.images.astype(np.uint8), bunch.target.astype(np.uint8)
    assert np.array_equal(images, bunch.images)
    assert images.shape == (len(TRAIN) + len(HELD_BACK), 8, 8)
    write_arrays(root / DIGITS, {"images": images, "labels": labels})
    split = {
        "pixel": "float32(image) / 16, so that 0..16 becomes 0..1",
        "train": [TRAIN.start, TRAIN.stop],
        "calibration": list(CALIBRATION),
        "held_back": [HELD_BACK.start, HELD_BACK.stop],
    }
    write_json(root / SPLIT, split)
    return [
        Made(DIGITS, "1,797 handwritten digits: images uint8 (0..16) and labels", DIGITS_SOURCE, DIGITS_LICENCE),
        Made(SPLIT, "which scans train, calibrate and are held back", "chosen by this maker"),
    ]


def read_digits(root: Path) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """(scans float32 of shape (1797, 8, 8) in 0..1, labels, the split)."""
    with np.load(root / DIGITS, allow_pickle=False) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    return images.astype(np.float32) / np.float32(16), labels, json.loads((root / SPLIT).read_text())


def cnn(keras: Any) -> Any:
    """The network of the quantization tutorials: one convolution, one pooling, one dense layer that gives logits."""
    return keras.Sequential(
        [
            keras.layers.Input((8, 8), name="image"),
            keras.layers.Reshape((8, 8, 1), name="reshape"),
            keras.layers.Conv2D(12, 3, activation="relu", name="conv"),
            keras.layers.MaxPooling2D(2, name="pool"),
            keras.layers.Flatten(name="flatten"),
            keras.layers.Dense(10, name="logits"),
        ],
        name="digits_cnn",
    )


def depthwise_separable(keras: Any) -> Any:
    """A residual block of depthwise-separable convolutions with folded batch normalization, both poolings, softmax."""
    layers = keras.layers

    def normalized(x: Any, name: str, activation: str | None = "relu6") -> Any:
        x = layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
        return layers.Activation(activation, name=f"{name}_{activation}")(x) if activation else x

    image = layers.Input((8, 8, 1), name="image")
    x = normalized(layers.Conv2D(16, 3, padding="same", use_bias=False, name="stem")(image), "stem")
    y = normalized(layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise1")(x), "depthwise1")
    y = normalized(layers.Conv2D(16, 1, use_bias=False, name="pointwise1")(y), "pointwise1", None)
    x = layers.Add(name="add")([x, y])
    x = layers.AveragePooling2D(2, name="average")(x)
    x = normalized(layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise2")(x), "depthwise2")
    x = normalized(layers.Conv2D(32, 1, use_bias=False, name="pointwise2")(x), "pointwise2")
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    return keras.Model(image, layers.Dense(10, activation="softmax", name="digit")(x), name="digits_ds")


NETWORKS: dict[str, tuple[Callable[[Any], Any], bool]] = {
    "digits_cnn": (cnn, True),
    "digits_ds": (depthwise_separable, False),
}
"""name -> (how it is built, whether it gives logits)."""


def _optimized(converter: Any, tf: Any, samples: Callable[[], Iterator[list[np.ndarray]]]) -> None:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = samples


def conversions(tf: Any) -> dict[str, tuple[str, Callable[[Any, Any], None]]]:
    """suffix of the file -> (what it is, how the converter is set up)."""

    def io_type(dtype: Any) -> Callable[[Any, Any], None]:
        def set_up(converter: Any, samples: Any) -> None:
            _optimized(converter, tf, samples)
            converter.inference_input_type = converter.inference_output_type = dtype

        return set_up

    def calibrate_only(converter: Any, samples: Any) -> None:
        _optimized(converter, tf, samples)
        converter._experimental_calibrate_only = True

    def per_tensor(converter: Any, samples: Any) -> None:
        _optimized(converter, tf, samples)
        converter._experimental_disable_per_channel = True

    def dense_per_tensor(converter: Any, samples: Any) -> None:
        _optimized(converter, tf, samples)
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True

    def old(converter: Any, samples: Any) -> None:
        _optimized(converter, tf, samples)
        converter.experimental_new_quantizer = False

    def int16x8(dtype: Any = tf.float32, bias: Any = None) -> Callable[[Any, Any], None]:
        def set_up(converter: Any, samples: Any) -> None:
            io_type(dtype)(converter, samples)
            ops = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
            converter.target_spec.supported_ops = [ops]
            converter._experimental_full_integer_quantization_bias_type = bias

        return set_up

    def weights_only(types: tuple[Any, ...] = (), new: bool = True) -> Callable[[Any, Any], None]:
        def set_up(converter: Any, samples: Any) -> None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = list(types)
            converter.experimental_new_dynamic_range_quantizer = new

        return set_up

    return {
        "float": ("float32", lambda converter, samples: None),
        "calibrated": ("float32, with the ranges of the 100 calibration scans left in it", calibrate_only),
        "int8_floatio": ("int8 with float32 input and output", io_type(tf.float32)),
        "int8": ("int8", io_type(tf.int8)),
        "uint8": ("int8 with uint8 input and output", io_type(tf.uint8)),
        "int8_per_tensor": ("int8, float32 input and output, weights per tensor", per_tensor),
        "int8_dense_per_tensor": ("int8, float32 input and output, dense weights per tensor", dense_per_tensor),
        "int8_old": ("int8, float32 input and output, by the old quantizer", old),
        "int16x8": ("16x8, float32 input and output", int16x8()),
        "int16x8_int16": ("16x8, int16 input and output", int16x8(tf.int16)),
        "int16x8_bias32": ("16x8, float32 input and output, int32 biases", int16x8(bias=tf.int32)),
        "dynamic_range": ("dynamic range", weights_only()),
        "dynamic_range_old": ("dynamic range, by the old quantizer", weights_only(new=False)),
        "float16": ("float16", weights_only((tf.float16,))),
        "float16_old": ("float16, by the old quantizer", weights_only((tf.float16,), new=False)),
    }


def make_models(root: Path, progress: Progress) -> list[Made]:
    """Trains both networks and converts each in every way of `conversions`."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    scans, labels, split = read_digits(root)
    made = []
    for name, (build, logits) in NETWORKS.items():
        keras.utils.set_random_seed(SEED)
        network = build(keras)
        shape = network.input_shape[1:]
        network.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=logits), metrics=["accuracy"])
        task = progress.add_task(f"training {name}", total=EPOCHS)
        network.fit(
            scans[slice(*split["train"])].reshape(-1, *shape),
            labels[slice(*split["train"])],
            epochs=EPOCHS,
            batch_size=32,
            verbose=0,
            callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs, t=task: progress.advance(t))],
        )
        samples = [scans[index].reshape(1, *shape) for index in split["calibration"]]
        ways = conversions(tf)
        task = progress.add_task(f"converting {name}", total=len(ways))
        for suffix, (what, set_up) in ways.items():
            path = f"golden/models/{name}_{suffix}.tflite"
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(converted(tf, network, set_up, samples))
            made.append(Made(path, f"{build.__doc__} {what}.", TRAINED_ON))
            progress.advance(task)
    return made


def converted(tf: Any, network: Any, set_up: Callable[[Any, Any], None], samples: list[np.ndarray]) -> bytes:
    """The .tflite that TensorFlow's converter makes of a Keras model, set up by set_up(converter, samples)."""
    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    set_up(converter, lambda: ([sample] for sample in samples))
    with contextlib.redirect_stdout(io.StringIO()):  # Keras tells where its temporary copy lies
        return converter.convert()
