"""The classic MNIST network, converted by TensorFlow and by refquant: `python tools/mnist.py --data FOLDER [--write]`.

Trains the network of TensorFlow's quantization tutorials with their recipe, converts it in every way of CONVERSIONS,
and counts on the scans to test: what LiteRT's reference kernels and refquant name rightly, in how many output elements
the two differ, and in how many slots the file that refquant.quantize makes of the float model differs from that of
TensorFlow.

FOLDER holds t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz; with --full also the two train-* files. --download
fetches what is missing. No scan is kept here. `--write` keeps the counts as golden/mnist.json and the models, which are
this tool's own, in golden/models. Exit code 1 if anything differs that must not, 2 for bad data.
Needs `pip install -e '.[test,tensorflow]'`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from golden_digits import converted
from golden_manifest import REPOSITORY, Made, circumstances, record, write_json
from mnist_data import DATA_SETS, BadData, DataSet, download, missing

EVIDENCE = "golden/mnist.json"
PACKAGES = ("tensorflow", "keras", "ai-edge-litert", "numpy", "flatbuffers")
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
# these four numbers were not read there again.
PUBLISHED = {
    "float32": {"bytes": 84_688, "accuracy": 0.9787},
    "integer": {"bytes": 24_096, "accuracy": 0.9781},
}


def steps_of(scans: int) -> int:
    """How many batches hold the scans."""
    return -(-scans // BATCH)


def epochs_for(scans: int) -> int:
    """How many epochs of that many scans have at least the tutorial's number of steps."""
    return -(-STEPS // steps_of(scans))


Setting = str | tuple[str, ...] | bool  # an attribute of the module tensorflow, a list of them, or a flag


@dataclass(frozen=True, slots=True)
class Conversion:
    """One row: the attributes of tf.lite.TFLiteConverter, and the arguments of refquant.quantize that do the same.

    `calibrated`: the converter is given the calibration scans. `quantize`: None for the float model itself.
    """

    what: str
    settings: Mapping[str, Setting] = field(default_factory=dict)
    calibrated: bool = False
    quantize: Mapping[str, Any] | None = None


DEFAULT: Setting = ("lite.Optimize.DEFAULT",)
INTEGER_ONLY: Setting = ("lite.OpsSet.TFLITE_BUILTINS_INT8",)

CONVERSIONS: Mapping[str, Conversion] = {
    "float": Conversion("float32"),
    "int8_floatio": Conversion(
        "int8, float32 input and output",
        {"optimizations": DEFAULT},
        calibrated=True,
        quantize={},
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
    ),
}
CALIBRATED = Conversion(
    "float32, with the ranges that TensorFlow saw on the calibration scans",
    {"optimizations": DEFAULT, "_experimental_calibrate_only": True},
    calibrated=True,
)
"""No row: where refquant has TensorFlow's ranges from."""


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

    ours = refquant.quantize(files["float"], calibration, **(CONVERSIONS[name].quantize or {}))
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


def calibrations(files: Mapping[str, bytes], samples: Sequence[np.ndarray]) -> dict[str, Any]:
    """Where ranges come from -> the calibration: those TensorFlow left in its file, and refquant's from the scans."""
    import refquant
    from refquant.quantizer.engines import ENGINES

    own = {engine: refquant.calibrate(files["float"], samples, engine=engine) for engine in ENGINES}
    return {"converter": refquant.Calibration.from_model(files["calibrated"]), **own}


def measure(data: DataSet, progress: Progress) -> tuple[dict[str, bytes], dict[str, Any]]:
    """(name -> .tflite as TensorFlow made it, name -> what was counted)."""
    model = trained(data, progress)
    samples = [data.train_images[index : index + 1] for index in range(CALIBRATION_SCANS)]
    wanted = {**CONVERSIONS, "calibrated": CALIBRATED}
    task = progress.add_task("converting", total=len(wanted))
    files = {}
    for name, conversion in wanted.items():
        files[name] = tensorflow_file(model, conversion, samples)
        progress.advance(task)
    task = progress.add_task("running the scans", total=len(CONVERSIONS))
    ranges, rows = calibrations(files, samples), {}
    for name, conversion in CONVERSIONS.items():
        judged, outputs = judge(files[name], data)
        again = {
            source: asdict(requantized(files, name, calibration, data, outputs))
            for source, calibration in (ranges.items() if conversion.quantize is not None else ())
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
            if source != "numpy" and (again["outputs_differing"] or not again["equal"]):
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
        "published": {"quoted": True, "train": 60_000, "test": 10_000, **PUBLISHED},
        "conversions": dict(rows),
    }


def write(files: Mapping[str, bytes], figures: Mapping[str, Any]) -> None:
    """Keeps the models and the counts, and records both."""
    made = []
    for name, conversion in {**CONVERSIONS, "calibrated": CALIBRATED}.items():
        path = f"golden/models/mnist_{name}.tflite"
        (REPOSITORY / path).write_bytes(files[name])
        made.append(Made(path, f"{network.__doc__} {conversion.what}.", SOURCE))
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
