"""Small networks of tensorflow-model-optimization, trained for a few steps, so that their ranges are real.

Imported where TensorFlow is, with TF_USE_LEGACY_KERAS=1: in the child process qat_oracle_child.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow_model_optimization as tfmot
import tf_keras as keras
from tf_keras import layers

STEPS, BATCH = 4, 8


def mnist() -> Any:
    """The network of the quantization-aware tutorial."""
    return keras.Sequential(
        [
            keras.Input((28, 28)),
            layers.Reshape((28, 28, 1)),
            layers.Conv2D(12, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(10),
        ]
    )


def residual() -> Any:
    """A block with batch normalisation and a projection, a sum, and average pooling."""
    x = inputs = keras.Input((8, 8, 3))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", use_bias=False)(x)))
    y = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    y = layers.ReLU()(layers.BatchNormalization()(y))
    y = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", use_bias=False)(y))
    x = layers.BatchNormalization()(layers.Conv2D(8, 1, strides=2, use_bias=False)(x))
    x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(4, activation="softmax")(x))


def depthwise() -> Any:
    """Depthwise and pointwise convolutions with RELU6, as in MobileNet, two branches joined."""
    x = inputs = keras.Input((10, 10, 3))
    x = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(8, 3, strides=2, padding="same")(x)))
    x = layers.ReLU(6.0)(layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same")(x)))
    y = layers.Conv2D(6, 1, activation="relu")(x)
    x = layers.Concatenate()([x, y])
    x = layers.Conv2D(8, 1, activation="tanh")(x)
    x = layers.AveragePooling2D(2)(x)
    x = layers.Dropout(0.2)(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(3, activation="sigmoid")(x))


NETWORKS: dict[str, Callable[[], Any]] = {"mnist": mnist, "residual": residual, "depthwise": depthwise}


def aware(name: str) -> Any:
    """The network, quantization-aware, after a few steps on noise."""
    keras.utils.set_random_seed(3)
    model = tfmot.quantization.keras.quantize_model(NETWORKS[name]())
    model.compile("adam", "mse")
    rng = np.random.default_rng(5)
    for _ in range(STEPS):
        inputs = rng.normal(0, 1, (BATCH, *model.input_shape[1:])).astype(np.float32)
        model.train_on_batch(inputs, rng.random((BATCH, *model.output_shape[1:])).astype(np.float32))
    return model
