"""The classic MNIST network, converted by TensorFlow and by refquant: `python tools/mnist.py --data FOLDER [--write]`.

Trains the network of TensorFlow's quantization tutorials with their recipes, converts it in every way of CONVERSIONS,
and counts on the scans to test: what LiteRT's reference kernels and refquant name rightly, in how many output elements
the two differ, and in how many slots the file that refquant.quantize makes of the float model differs from that of
TensorFlow. The quantization-aware network is trained in a process of its own (mnist_qat.py).

FOLDER holds t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz; with --full also the two train-* files. --download
fetches what is missing. No scan is kept here. `--write` keeps the counts as golden/mnist.json and the models, which are
this tool's own, in golden/models. Exit code 1 if anything differs that must not, 2 for bad data.
Needs `pip install -e '.[test,tensorflow]' tensorflow-model-optimization tf-keras`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import mnist_qat
from golden_digits import converted
from golden_manifest import REPOSITORY, Made, circumstances, record, write_json
from mnist_data import DATA_SETS, BadData, DataSet, download, missing

EVIDENCE = "golden/mnist.json"
PACKAGES = ("tensorflow", "keras", *mnist_qat.PACKAGES, "ai-edge-litert", "numpy", "flatbuffers")
SOURCE = "trained and converted by this tool; the scans are MNIST's (Y. LeCun, C. Cortes, C. J. C. Burges)"

# The recipe, read in the tutorial's notebook (tensorflow/lite/g3doc/performance/post_training_integer_quant.ipynb):
# Adam, 5 epochs, the first 100 scans to train as calibration; Keras' default of 32 scans a batch. Its validation scans
# change no weight. The quantization-aware tutorial trains the same network for 1 epoch, on 9 of 10 scans.
SEED = 20
STEPS = 9_375  # the tutorial's 5 epochs of 60,000 scans; fewer scans train for more epochs
BATCH = 32
CALIBRATION_SCANS = 100  # one at a time
RECIPE = "https://www.tensorflow.org/lite/performance/post_training_integer_quant"
# Quoted for orientation, with 60,000 scans to train and 10,000 to test. The notebooks' sources hold no outputs, so that
# these numbers were not read there again. What is quoted -> bytes (None: none are), accuracy.
PUBLISHED: Mapping[str, Mapping[str, float | None]] = {
    "float32": {"bytes": 84_688, "accuracy": 0.9787},
    "integer": {"bytes": 24_096, "accuracy": 0.9781},
    "float32, quantization-aware tutorial": {"bytes": None, "accuracy": 0.9621},
    "quantization-aware": {"bytes": None, "accuracy": 0.9609},
}


def steps_of(scans: int) -> int:
    """How many batches hold the scans."""
    return -(-scans // BATCH)


def epochs_for(scans: int, steps: int = STEPS) -> int:
    """How many epochs of that many scans have at least the tutorial's number of steps."""
    return -(-steps // steps_of(scans))


Setting = str | tuple[str, ...] | bool  # an attribute of the module tensorflow, a list of them, or a flag


@dataclass(frozen=True, slots=True)
class Conversion:
    """One row: the attributes of tf.lite.TFLiteConverter, and the arguments of refquant.quantize that do the same.

    `calibrated`: the converter is given the calibration scans. `quantize`: None for a float model itself. `source`: the
    file that refquant quantizes. `ranges`: where refquant has its ranges from, each counted by itself; see RANGES.
    """

    what: str
    settings: Mapping[str, Setting] = field(default_factory=dict)
    calibrated: bool = False
    quantize: Mapping[str, Any] | None = None
    source: str = "float"
    ranges: tuple[str, ...] = ()


DEFAULT: Setting = ("lite.Optimize.DEFAULT",)
INTEGER_ONLY: Setting = ("lite.OpsSet.TFLITE_BUILTINS_INT8",)
INT16X8: Setting = ("lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8",)

# Where refquant's ranges come from -> how far the scales of its file may lie from TensorFlow's, in ulps. None: the
# slots must be equal.
RANGES: Mapping[str, int | None] = {
    "converter": None,  # those that TensorFlow left in its file; quantization-aware: those of the Keras model
    "tensorflow": None,  # refquant.calibrate on the scans, engine tensorflow
    "numpy": 32,  # the same, engine numpy: TensorFlow's float sums run in another order
    "none": None,  # a mode without ranges
    "pairs": 1,  # quantization-aware: those of the QUANTIZE operators in the float file, narrowed to float32
}
SCANS = ("converter", "numpy", "tensorflow")

CONVERSIONS: Mapping[str, Conversion] = {
    "float": Conversion("float32"),
    "dynamic_range": Conversion(
        "dynamic range",
        {"optimizations": DEFAULT},
        quantize={"mode": "dynamic_range"},
        ranges=("none",),
    ),
    "dynamic_range_legacy": Conversion(
        "dynamic range, old quantizer",
        {"optimizations": DEFAULT, "experimental_new_dynamic_range_quantizer": False},
        quantize={"mode": "dynamic_range", "quantizer": "legacy"},
        ranges=("none",),
    ),
    "float16": Conversion(
        "float16",
        {"optimizations": DEFAULT, "target_spec.supported_types": ("float16",)},
        quantize={"mode": "float16"},
        ranges=("none",),
    ),
    "float16_legacy": Conversion(
        "float16, old quantizer",
        {
            "optimizations": DEFAULT,
            "target_spec.supported_types": ("float16",),
            "experimental_new_dynamic_range_quantizer": False,
        },
        quantize={"mode": "float16", "quantizer": "legacy"},
        ranges=("none",),
    ),
    "int8_floatio": Conversion(
        "int8, float32 input and output",
        {"optimizations": DEFAULT},
        calibrated=True,
        quantize={},
        ranges=SCANS,
    ),
    "int8": Conversion(
        "int8",
        {
            "optimizations": DEFAULT,
            "target_spec.supported_ops": INTEGER_ONLY,
            "inference_input_type": "int8",
            "inference_output_type": "int8",
        },
        calibrated=True,
        quantize={"input_type": "int8", "output_type": "int8"},
        ranges=SCANS,
    ),
    "uint8": Conversion(
        "int8, uint8 input and output",
        {
            "optimizations": DEFAULT,
            "target_spec.supported_ops": INTEGER_ONLY,
            "inference_input_type": "uint8",
            "inference_output_type": "uint8",
        },
        calibrated=True,
        quantize={"input_type": "uint8", "output_type": "uint8"},
        ranges=SCANS,
    ),
    "int8_legacy": Conversion(
        "int8, float32 input and output, old quantizer",
        {"optimizations": DEFAULT, "experimental_new_quantizer": False},
        calibrated=True,
        quantize={"quantizer": "legacy"},
        ranges=SCANS,
    ),
    "int16x8": Conversion(
        "16x8, float32 input and output",
        {"optimizations": DEFAULT, "target_spec.supported_ops": INT16X8},
        calibrated=True,
        quantize={"mode": "int16x8"},
        ranges=SCANS,
    ),
    "int16x8_bias32": Conversion(
        "16x8, float32 input and output, int32 biases",
        {
            "optimizations": DEFAULT,
            "target_spec.supported_ops": INT16X8,
            "_experimental_full_integer_quantization_bias_type": "int32",
        },
        calibrated=True,
        quantize={"mode": "int16x8", "bias_type": "int32"},
        ranges=SCANS,
    ),
    "qat_float": Conversion("float32, quantization-aware tutorial"),
    "qat": Conversion(
        "quantization-aware, float32 input and output",
        {"optimizations": DEFAULT},
        quantize={"mode": "qat"},
        source="qat_pairs",
        ranges=("converter", "pairs"),
    ),
}
CALIBRATED = Conversion(
    "float32, with the ranges that TensorFlow saw on the calibration scans",
    {"optimizations": DEFAULT, "_experimental_calibrate_only": True},
    calibrated=True,
)
"""No row: where refquant has TensorFlow's ranges from."""
QAT_PAIRS = Conversion("float32, with QUANTIZE and DEQUANTIZE from the quantization-aware network's fake quantization")
"""No row: what refquant makes the quantization-aware file of."""

OF_THE_AWARE_NETWORK = ("qat_float", "qat_pairs", "qat", "qat_ranges")  # ranges: a Calibration of the Keras model

KEPT: Mapping[str, str] = {
    **{name: conversion.what for name, conversion in CONVERSIONS.items()},
    "calibrated": CALIBRATED.what,
    "qat_pairs": QAT_PAIRS.what,
    "qat_ranges": "The ranges of the quantization-aware network's fake quantization, as a Calibration",
}
"""The files in golden/models -> what they are."""


def name_of(name: str) -> str:
    """The file in golden/models, behind "mnist_"."""
    return f"{name}.json" if name == "qat_ranges" else f"{name}.tflite"


@dataclass(frozen=True, slots=True)
class Judged:
    """One file on the scans to test: how many each runtime names rightly, and where their outputs differ in any bit."""

    scans: int
    litert_correct: int
    refquant_correct: int
    predictions_differing: int
    elements: int
    differing: int


@dataclass(frozen=True, slots=True)
class Requantized:
    """The file that refquant makes of the float model and some ranges, beside TensorFlow's.

    `outputs_differing`: elements in which the two files' outputs differ in LiteRT.
    """

    slots: int
    differing: int
    largest_ulps: int
    equal: bool
    outputs_differing: int


def network(keras: Any) -> Any:
    """The network of the tutorials: one convolution, one pooling, one dense layer that gives logits."""
    return keras.Sequential(
        [
            keras.layers.Input((28, 28), name="image"),
            keras.layers.Reshape((28, 28, 1), name="reshape"),
            keras.layers.Conv2D(12, 3, activation="relu", name="conv"),
            keras.layers.MaxPooling2D(2, name="pool"),
            keras.layers.Flatten(name="flatten"),
            keras.layers.Dense(10, name="logits"),
        ],
        name="mnist",
    )


def trained(data: DataSet, progress: Progress) -> Any:
    """The network after the tutorials' training. The test scans are not looked at: there they are only reported on."""
    import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(SEED)
    model = network(keras)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    epochs = epochs_for(len(data.train_labels))
    task = progress.add_task("training, steps", total=epochs * steps_of(len(data.train_labels)))
    advance = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: progress.advance(task))
    model.fit(data.train_images, data.train_labels, epochs=epochs, batch_size=BATCH, verbose=0, callbacks=[advance])
    return model


def tensorflow_file(model: Any, conversion: Conversion, samples: Sequence[np.ndarray]) -> bytes:
    """The .tflite that TensorFlow's converter makes."""
    import tensorflow as tf

    def set_up(converter: Any, scans: Any) -> None:
        if conversion.calibrated:
            converter.representative_dataset = scans
        for path, setting in conversion.settings.items():
            *places, name = path.split(".")
            setattr(attrgetter(".".join(places))(converter) if places else converter, name, _of(tf, setting))

    return converted(tf, model, set_up, list(samples))


def _of(tf: Any, setting: Setting) -> Any:
    if isinstance(setting, bool):
        return setting
    return attrgetter(setting)(tf) if isinstance(setting, str) else [attrgetter(name)(tf) for name in setting]


def model_inputs(scans: np.ndarray, tflite: bytes) -> list[np.ndarray]:
    """Each scan as one run takes it: float32, or quantized as QUANTIZE does (the tutorial cuts the decimals off)."""
    import refquant
    from golden_answers import quantized_input

    graph = refquant.load(tflite).graph
    tensor = graph.tensors[graph.inputs[0]]
    q = tensor.quantization
    quantization = (q.scale[0], q.zero_point[0]) if q is not None and q.scale else (0.0, 0)
    arrays = quantized_input(scans, {"dtype": tensor.dtype, "quantization": quantization})
    return [array[np.newaxis] for array in arrays]


def litert_outputs(tflite: bytes, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """What LiteRT's reference kernels (BUILTIN_REF) compute, one scan a run, along dim 0."""
    from oracle import litert

    runs = litert.run(tflite, [[array] for array in inputs], "BUILTIN_REF", preserve=False)
    return np.concatenate([next(iter(outputs.values())) for outputs in runs])


def judge(tflite: bytes, data: DataSet) -> tuple[Judged, np.ndarray]:
    """(both runtimes on every scan to test, LiteRT's outputs)."""
    import refquant
    from crosscheck import differing

    inputs = model_inputs(data.test_images, tflite)
    want = litert_outputs(tflite, inputs)
    (got,) = refquant.run(tflite, np.concatenate(inputs), runtime="tflite_ref")
    if (got.shape, got.dtype) != (want.shape, want.dtype):
        raise SystemExit(f"refquant gives {got.dtype} {got.shape}, LiteRT {want.dtype} {want.shape}")
    theirs, ours = want.argmax(axis=1), got.argmax(axis=1)
    judged = Judged(
        len(want),
        int((theirs == data.test_labels).sum()),
        int((ours == data.test_labels).sum()),
        int((theirs != ours).sum()),
        want.size,
        int(differing(got, want).sum()),
    )
    return judged, want


def requantized(
    files: Mapping[str, bytes], name: str, calibration: Any, data: DataSet, outputs: np.ndarray
) -> Requantized:
    """refquant's file of one conversion, from the float model and a calibration, compared with TensorFlow's."""
    import refquant
    from crosscheck import differing

    conversion = CONVERSIONS[name]
    ours = refquant.quantize(files[conversion.source], calibration, **(conversion.quantize or {}))
    comparison = refquant.compare_models(ours, files[name])
    tflite = ours.to_bytes()
    answers = litert_outputs(tflite, model_inputs(data.test_images, tflite))
    return Requantized(
        comparison.slots,
        comparison.differing,
        comparison.largest_ulps,
        comparison.equal,
        int(differing(answers, outputs).sum()),
    )


def calibrations(
    files: Mapping[str, bytes], aware: Any, samples: Sequence[np.ndarray] | None = None
) -> dict[tuple[str, str], Any]:
    """(the float file, a name of RANGES) -> the calibration; those that the scans give only with samples.

    aware: the ranges of the quantization-aware Keras model.
    """
    import refquant

    own = {
        ("float", engine): refquant.calibrate(files["float"], samples, engine=engine)
        for engine in ("numpy", "tensorflow")
        if samples is not None
    }
    return {
        ("float", "none"): None,
        ("float", "converter"): refquant.Calibration.from_model(files["calibrated"]),
        ("qat_pairs", "converter"): aware,
        ("qat_pairs", "pairs"): None,
        **own,
    }


def aware_network(data: DataSet, progress: Progress) -> tuple[dict[str, bytes], Any]:
    """(the files of the quantization-aware network, its ranges), made in a process of its own with an older Keras."""
    import refquant

    task = progress.add_task("quantization-aware network", total=None)
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "scans.npz", images=data.train_images, labels=data.train_labels)
        command = [sys.executable, mnist_qat.__file__, str(Path(folder) / "scans.npz"), folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"tools/mnist_qat.py ended with {done.returncode}:\n{done.stderr[-4000:]}")
        progress.update(task, total=1, completed=1)
        files = {name: (Path(folder) / name_of(name)).read_bytes() for name in OF_THE_AWARE_NETWORK}
        return files, refquant.Calibration.load(Path(folder) / name_of("qat_ranges"))


def measure(data: DataSet, progress: Progress) -> tuple[dict[str, bytes], dict[str, Any]]:
    """(name -> .tflite as TensorFlow made it, name -> what was counted)."""
    files, aware = aware_network(data, progress)
    model = trained(data, progress)
    samples = [data.train_images[index : index + 1] for index in range(CALIBRATION_SCANS)]
    wanted = {name: c for name, c in {**CONVERSIONS, "calibrated": CALIBRATED}.items() if name not in files}
    task = progress.add_task("converting", total=len(wanted))
    for name, conversion in wanted.items():
        files[name] = tensorflow_file(model, conversion, samples)
        progress.advance(task)
    task = progress.add_task("running the scans", total=len(CONVERSIONS))
    ranges, rows = calibrations(files, aware, samples), {}
    for name, conversion in CONVERSIONS.items():
        judged, outputs = judge(files[name], data)
        again = {
            source: asdict(requantized(files, name, ranges[conversion.source, source], data, outputs))
            for source in conversion.ranges
        }
        rows[name] = {
            "what": conversion.what,
            "bytes": len(files[name]),
            "sha256": hashlib.sha256(files[name]).hexdigest(),
            **asdict(judged),
            "requantized": again,
        }
        progress.advance(task)
    return files, rows


def faults(rows: Mapping[str, Any]) -> list[str]:
    """One line for each count that must be 0 and is not."""
    found = []
    for name, row in rows.items():
        for count in ("differing", "predictions_differing"):
            if row[count]:
                found.append(f"{name}: {count.replace('_', ' ')}, refquant and LiteRT: {row[count]:,}")
        for source, again in row["requantized"].items():
            ulps = RANGES[source]
            if again["largest_ulps"] > (ulps or 0) or (
                ulps is None and (again["outputs_differing"] or not again["equal"])
            ):
                found.append(
                    f"{name}: refquant's file from the ranges of '{source}' differs from TensorFlow's: {again}"
                )
    return found


def report(rows: Mapping[str, Any]) -> Table:
    """The counts for people."""
    table = Table("conversion", "bytes", "LiteRT", "refquant", "elements", "differing", "slots, differing (ulp)")
    for column in table.columns[1:6]:
        column.justify = "right"
    for row in rows.values():
        again = ", ".join(
            f"{source}: {r['slots']}, {r['differing']} ({r['largest_ulps']})"
            for source, r in row["requantized"].items()
        )
        accuracies = (f"{row[key] / row['scans']:.2%}" for key in ("litert_correct", "refquant_correct"))
        cells = (f"{row['bytes']:,}", *accuracies, f"{row['elements']:,}", f"{row['differing']:,}", again)
        table.add_row(row["what"], *cells)
    return table


def summary(data: DataSet, rows: Mapping[str, Any]) -> dict[str, Any]:
    """golden/mnist.json, without versions and processor."""
    return {
        "data": {
            "files": dict(data.files),
            "split": data.split,
            "test_sha256": data.test_sha256,
            "calibration": f"the first {CALIBRATION_SCANS} to train",
        },
        "training": {
            "recipe": RECIPE,
            "optimizer": "adam",
            "batch": BATCH,
            "epochs": epochs_for(len(data.train_labels)),
            "scans": len(data.train_labels),
            "seed": SEED,
        },
        "quantization_aware_training": {
            "recipe": mnist_qat.RECIPE,
            "optimizer": "adam",
            "batch": BATCH,
            "epochs": epochs_for(len(data.train_labels), mnist_qat.STEPS),
            "scans": len(data.train_labels),
            "seed": SEED,
            "fine_tuning_batch": mnist_qat.FINE_TUNING_BATCH,
            "fine_tuning_epochs": mnist_qat.FINE_TUNING_EPOCHS,
            "fine_tuning_scans": mnist_qat.FINE_TUNING_SCANS,
        },
        "published": {"train": 60_000, "test": 10_000, "quoted": {what: dict(row) for what, row in PUBLISHED.items()}},
        "conversions": dict(rows),
    }


def write(files: Mapping[str, bytes], figures: Mapping[str, Any]) -> None:
    """Keeps the models and the counts, and records both."""
    made = []
    for name, what in KEPT.items():
        path = f"golden/models/mnist_{name_of(name)}"
        (REPOSITORY / path).write_bytes(files[name])
        made.append(Made(path, f"{network.__doc__} {what}.", SOURCE))
    what = "the MNIST network, converted by TensorFlow: LiteRT's BUILTIN_REF and refquant on every scan to test"
    write_json(REPOSITORY / EVIDENCE, {"what": what, **circumstances(PACKAGES), **figures})
    made.append(Made(EVIDENCE, what, "counted by this tool"))
    record(REPOSITORY, "mnist", "python tools/mnist.py --data FOLDER --write", made, PACKAGES)


def obtain(folder: Path, name: str, fetch: bool, progress: Progress) -> DataSet:
    """A data set of DATA_SETS, after what it lacks was fetched, if asked for."""
    for file in missing(folder, name) if fetch else ():
        task = progress.add_task(f"fetching {file}", total=None)

        def show(done: int, of: int, task: Any = task) -> None:
            progress.update(task, completed=done, total=of or None)

        download(file, folder, progress=show)
    return DATA_SETS[name][0](folder)


def main() -> int:
    """The command line."""
    sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="where the idx files lie")
    parser.add_argument("--full", action="store_true", help="train on all 60,000 scans, test on the 10,000")
    parser.add_argument("--download", action="store_true", help="fetch missing files into FOLDER")
    parser.add_argument("--write", action="store_true", help=f"keep the counts in {EVIDENCE} and the models")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    if arguments.full and arguments.write:
        parser.error("--write keeps the split that needs no download; leave out --full")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

    name = "full" if arguments.full else "ten_thousand"
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        with Progress(*columns, console=Console(stderr=True)) as progress:
            data = obtain(arguments.data, name, arguments.download, progress)
            files, rows = measure(data, progress)
    except BadData as error:
        parser.error(str(error))
    figures = summary(data, rows)
    if arguments.json:
        print(json.dumps({**circumstances(PACKAGES), **figures}))
    else:
        Console(width=150).print(report(rows))
    wrong = faults(rows)
    print("\n".join(wrong), end="\n" if wrong else "", file=sys.stderr)
    if arguments.write and not wrong:
        write(files, figures)
    return int(bool(wrong))


if __name__ == "__main__":
    raise SystemExit(main())
