"""What LiteRT 2.3.0's reference kernels (BUILTIN_REF) answer: on the digit models, and on one-operator models.

BUILTIN_REF lacks a few operators; a case of tests/cases then names the resolver that has them, and the manifest says
so.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress

from golden_digits import TRAINED_ON, read_digits
from golden_manifest import Made, write_arrays, write_json

ACCURACY = "golden/heldback/accuracy.json"
SCANS_WITH_ALL_TENSORS = 16
OUT_OF_RANGE = 2.0  # float inputs of all -2 and all 2 lie outside the calibrated range 0..1
CASES_PER_CHECK = 6
CASE_SEED = 1000
LARGEST_CASE = 12_000  # bytes of inputs and outputs; larger cases are passed over to keep golden/ small
TRIES = 40
# "calibrated" computes what the float model does; of the others int16x8 and dynamic_range answer for all of their kind.
UNANSWERED = ("_calibrated", "_old", "_int16x8_int16", "_int16x8_bias32", "_float16")


def _interpreter(model: Path, preserve: bool) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        str(model),
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=preserve,
        num_threads=1,
    )
    interpreter.allocate_tensors()
    return interpreter


def quantized_input(scans: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    """round(x / scale) + zero_point, halves away from zero, clipped; float inputs stay as they are."""
    dtype = np.dtype(detail["dtype"])
    if dtype == np.float32:
        return scans
    scale, zero_point = detail["quantization"]
    ratio = scans.astype(np.float64) / scale
    limits = np.iinfo(dtype)
    return np.clip(np.trunc(ratio + np.copysign(0.5, ratio)) + zero_point, limits.min, limits.max).astype(dtype)


def extremes(detail: dict[str, Any]) -> list[np.ndarray]:
    """All-minimum and all-maximum inputs."""
    dtype = np.dtype(detail["dtype"])
    low, high = (-OUT_OF_RANGE, OUT_OF_RANGE) if dtype == np.float32 else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return [np.full(detail["shape"], value, dtype) for value in (low, high)]


def _runs(interpreter: Any, inputs: list[np.ndarray], tensors: list[int]) -> dict[int, np.ndarray]:
    """{tensor index: what it held after each invoke, along a new leading axis}."""
    entry = interpreter.get_input_details()[0]["index"]
    held: dict[int, list[np.ndarray]] = {index: [] for index in tensors}
    for array in inputs:
        interpreter.set_tensor(entry, array)
        interpreter.invoke()
        for index in tensors:
            held[index].append(interpreter.get_tensor(index))
    return {index: np.stack(arrays) for index, arrays in held.items()}


def make_answers(root: Path, progress: Progress) -> list[Made]:
    """Per digit model: all tensors for some inputs, and the outputs for every held-back scan."""
    scans, labels, split = read_digits(root)
    held_back = slice(*split["held_back"])
    models = sorted((root / "golden/models").glob("digits_*.tflite"))
    task = progress.add_task("asking LiteRT", total=len(models))
    made, accuracy = [], {}
    for model in models:
        progress.advance(task)
        if model.stem.endswith(UNANSWERED):
            continue
        detail = _interpreter(model, False).get_input_details()[0]
        inputs = list(quantized_input(scans[held_back], detail).reshape(-1, *detail["shape"]))
        some = [*inputs[:SCANS_WITH_ALL_TENSORS], *extremes(detail)]

        interpreter = _interpreter(model, True)
        computed = [int(index) for op in interpreter._get_ops_details() for index in op["outputs"]]
        tensors = {f"tensor{index}": array for index, array in _runs(interpreter, some, computed).items()}
        path = f"golden/tensors/{model.stem}.npz"
        write_arrays(root / path, {"input0": np.stack(some), **tensors})
        what = f"{model.name}: every computed tensor (tensor<index>) for {len(some)} inputs (input0) along dim 0"
        made.append(Made(path, what, TRAINED_ON))

        interpreter = _interpreter(model, False)
        output = interpreter.get_output_details()[0]["index"]
        answers = np.concatenate(_runs(interpreter, inputs, [output])[output])
        path = f"golden/heldback/{model.stem}.npz"
        write_arrays(root / path, {"input0": np.concatenate(inputs), "output0": answers})
        made.append(Made(path, f"{model.name}: the output for each of the 500 held-back scans", TRAINED_ON))
        correct = int((answers.argmax(axis=1) == labels[held_back]).sum())
        accuracy[model.stem] = {"correct": correct, "of": len(inputs)}
    write_json(root / ACCURACY, accuracy)
    return [*made, Made(ACCURACY, "how many of the held-back scans each model names rightly", TRAINED_ON)]


def make_ops(root: Path, progress: Progress) -> list[Made]:
    """Per kernel family: seeded one-operator models of every check in tests/cases, inputs and LiteRT's outputs."""
    from cases import CASES

    families: dict[str, dict[str, np.ndarray]] = {}
    remarks: dict[str, list[str]] = {}
    task = progress.add_task("one-operator models", total=len(CASES))
    for name in sorted(CASES):
        family = CASES[name].__module__.rsplit(".", 1)[-1]
        arrays, resolvers = _check(name, CASES[name])
        families.setdefault(family, {}).update(arrays)
        said = remarks.setdefault(family, [])
        if not arrays:
            said.append(f"{name} is left out: too large")
        said.extend(f"{name} was asked of {resolver}" for resolver in sorted(resolvers - {"BUILTIN_REF"}))
        progress.advance(task)
    made = []
    for family, arrays in sorted(families.items()):
        path = f"golden/ops/{family}.npz"
        write_arrays(root / path, arrays)
        what = "<check>/<case>/model, /input<i>, /output<i>: a model's bytes, inputs and outputs, samples along dim 0"
        made.append(
            Made(
                path,
                "; ".join([what, *remarks[family]]),
                "drawn at random by tests/cases with fixed seeds; outputs by LiteRT",
            )
        )
    return made


def _check(name: str, generator: Any) -> tuple[dict[str, np.ndarray], set[str]]:
    """(the arrays of so many cases, the resolvers that were asked)."""
    from oracle import Crashed, Rejected, litert
    from refquant.model import write_model

    arrays: dict[str, np.ndarray] = {}
    resolvers: set[str] = set()
    kept = too_large = 0
    for number in range(TRIES):
        if kept == CASES_PER_CHECK:
            break
        case = generator(np.random.default_rng([zlib.crc32(name.encode()), CASE_SEED, number]))
        model = write_model(case.model)
        try:
            answers = litert.run(model, case.samples, case.resolver)
        except (Rejected, Crashed):
            continue
        runs = [
            {
                **{f"input{slot}": array for slot, array in enumerate(inputs)},
                **{f"output{slot}": answer[index] for slot, index in enumerate(case.model.graph.outputs)},
            }
            for inputs, answer in zip(case.samples, answers, strict=True)
        ]
        if sum(array.nbytes for run in runs for array in run.values()) > LARGEST_CASE:
            too_large += 1
            continue
        if len({tuple(array.shape for array in run.values()) for run in runs}) > 1:
            runs = runs[-1:]  # samples of different shapes do not stack
        arrays[f"{name}/{kept}/model"] = np.frombuffer(model, np.uint8)
        arrays.update({f"{name}/{kept}/{key}": np.stack([run[key] for run in runs]) for key in runs[0]})
        resolvers.add(case.resolver)
        kept += 1
    if not kept and not too_large:
        raise SystemExit(f"{name}: LiteRT accepts none of {TRIES} cases")
    return arrays, resolvers
