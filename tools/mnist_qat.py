"""The MNIST network of the quantization-aware tutorial, trained and converted: a process of its own of tools/mnist.py.

tensorflow-model-optimization works on Keras 2 only, which TensorFlow takes with TF_USE_LEGACY_KERAS=1, and then in the
whole process. `python tools/mnist_qat.py DATA_SET.npz FOLDER` writes FOLDER/qat_float.tflite, qat_pairs.tflite and
qat.tflite, and the fake-quantization ranges as qat_ranges.json.
Needs `pip install tensorflow-model-optimization tf-keras` beside '.[test,tensorflow]'.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from golden_manifest import REPOSITORY

# The recipe, read in the tutorial's notebook (tensorflow/model-optimization,
# tensorflow_model_optimization/g3doc/guide/quantization/training_example.ipynb): Adam, 1 epoch of 54,000 scans (the
# other 6,000 validate), 32 a batch; then quantize_model and 1 epoch of 900 of the first 1,000 scans, 500 a batch.
RECIPE = "https://www.tensorflow.org/model_optimization/guide/quantization/training_example"
STEPS = 1_688
FINE_TUNING_SCANS = 900
FINE_TUNING_BATCH = 500
FINE_TUNING_EPOCHS = 1
PACKAGES = ("tensorflow-model-optimization", "tf-keras")


def trained(images: np.ndarray, labels: np.ndarray) -> tuple[Any, Any]:
    """(the float network after the tutorial's training, the quantization-aware one after its fine-tuning)."""
    import tensorflow as tf
    import tensorflow_model_optimization as tfmot
    import tf_keras as keras

    from mnist import BATCH, SEED, epochs_for, network

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(SEED)
    plain = network(keras)
    plain.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    plain.fit(images, labels, epochs=epochs_for(len(labels), STEPS), batch_size=BATCH, verbose=0)
    aware = tfmot.quantization.keras.quantize_model(plain)
    aware.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    subset = slice(FINE_TUNING_SCANS)
    aware.fit(images[subset], labels[subset], epochs=FINE_TUNING_EPOCHS, batch_size=FINE_TUNING_BATCH, verbose=0)
    return plain, aware


def main() -> int:
    """The command line."""
    sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    import refquant
    from mnist import CONVERSIONS, QAT_PAIRS, tensorflow_file

    data_set, folder = Path(sys.argv[1]), Path(sys.argv[2])
    with np.load(data_set, allow_pickle=False) as arrays:
        plain, aware = trained(arrays["images"], arrays["labels"])
    wanted = {"qat_float": (plain, CONVERSIONS["qat_float"]), "qat_pairs": (aware, QAT_PAIRS)}
    wanted["qat"] = (aware, CONVERSIONS["qat"])
    for name, (model, conversion) in wanted.items():
        (folder / f"{name}.tflite").write_bytes(tensorflow_file(model, conversion, []))
    ranges = refquant.calibration_from_keras(aware, (folder / "qat_pairs.tflite").read_bytes())
    ranges.save(folder / "qat_ranges.json")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
