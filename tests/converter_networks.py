"""Eight Keras application networks as float .tflite files: small images, random weights, fixed seeds.

Runs in the oracle's child process; kept free of refquant.
"""

from __future__ import annotations

import contextlib
import io
import zlib
from typing import Any

# name -> (constructor in keras.applications, its arguments)
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "mobilenet": ("MobileNet", {"input_shape": (32, 32, 3), "alpha": 0.25}),
    "mobilenet_v2": ("MobileNetV2", {"input_shape": (32, 32, 3), "alpha": 0.35}),
    "mobilenet_v3_small": ("MobileNetV3Small", {"input_shape": (32, 32, 3), "alpha": 0.75}),
    "efficientnet_b0": ("EfficientNetB0", {"input_shape": (32, 32, 3)}),
    "resnet50": ("ResNet50", {"input_shape": (32, 32, 3)}),
    "densenet121": ("DenseNet121", {"input_shape": (32, 32, 3)}),
    "inception_v3": ("InceptionV3", {"input_shape": (75, 75, 3)}),
    "xception": ("Xception", {"input_shape": (71, 71, 3)}),
}


def network(name: str) -> Any:
    """The Keras model: 10 classes, glorot-uniform weights, batch normalisation with random statistics."""
    import keras
    import numpy as np

    keras.utils.set_random_seed(zlib.crc32(name.encode()))
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    constructor, arguments = NETWORKS[name]
    model = getattr(keras.applications, constructor)(weights=None, classes=10, **arguments)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([_statistic(rng, weight.name, weight.shape) for weight in layer.weights])
    return model


def build(name: str) -> bytes:
    """The float model."""
    import tensorflow as tf

    with contextlib.redirect_stdout(io.StringIO()):  # Keras lists every variable
        return bytes(tf.lite.TFLiteConverter.from_keras_model(network(name)).convert())


def _statistic(rng: Any, name: str, shape: Any) -> Any:
    """Scales and variances around 1, offsets and means around 0."""
    if "variance" in name or "gamma" in name:
        return rng.uniform(0.5, 1.5, shape)
    return rng.normal(0, 0.3, shape)
