"""Calibrating and quantizing one float model, by refquant or by TensorFlow, in a process of its own.

    python tools/benchmark_quantize_child.py refquant|tensorflow MODEL SAMPLES

Answers lines on stdin with JSON lines on stdout: "run" -> {"seconds"} for the whole work, from the float model's bytes
and the samples in memory to the int8 model's bytes; "end" -> peak memory and the int8 model's size, then it exits.
Imports are not counted. Neither side's threads are limited.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmark_child import peak_memory

SEED = 5

Work = Callable[[list[np.ndarray]], bytes]


def by_refquant(model: bytes) -> tuple[Work, tuple[int, ...]]:
    """(samples -> int8 model, the input's shape)."""
    import refquant

    graph = refquant.load(model).graph

    def work(samples: list[np.ndarray]) -> bytes:
        loaded = refquant.load(model)
        return refquant.quantize(loaded, refquant.calibrate(loaded, samples), mode="int8").to_bytes()

    return work, graph.tensors[graph.inputs[0]].shape


def by_tensorflow(model: bytes) -> tuple[Work, tuple[int, ...]]:
    """The same with what TFLiteConverter calls."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf
    from tensorflow.lite.python import convert
    from tensorflow.lite.python.optimize import calibrator

    def work(samples: list[np.ndarray]) -> bytes:
        calibrated = calibrator.Calibrator(model).calibrate(lambda: ([sample] for sample in samples))
        return convert.mlir_quantize(calibrated, input_data_type=tf.float32, output_data_type=tf.float32)

    (detail,) = tf.lite.Interpreter(model_content=model).get_input_details()
    return work, tuple(int(size) for size in detail["shape"])


SIDES: dict[str, Callable[[bytes], tuple[Work, tuple[int, ...]]]] = {
    "refquant": by_refquant,
    "tensorflow": by_tensorflow,
}


def main() -> None:
    """Loads, warms up, then answers."""
    channel = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # the converter's own prints must not enter the channel
    side, path, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    work, shape = SIDES[side](Path(path).read_bytes())
    rng = np.random.default_rng(SEED)
    samples = [rng.uniform(0, 1, shape).astype(np.float32) for _ in range(number)]
    quantized = work(samples)
    print(json.dumps({"how": f"{number} samples"}), file=channel)
    for line in sys.stdin:
        if line.strip() != "run":
            break
        start = time.perf_counter()
        quantized = work(samples)
        print(json.dumps({"seconds": time.perf_counter() - start}), file=channel)
    print(json.dumps({"peak": peak_memory(), "bytes": len(quantized)}), file=channel)


if __name__ == "__main__":
    main()
