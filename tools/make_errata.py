"""Writes golden/errata: the tiny models of tools/errata_models.py and what every real runtime answers to them.

`python tools/make_errata.py`; each runtime in a process of its own, so that a crash is recorded as a crash. Needs
LiteRT, TensorFlow 2.21.0 and TensorFlow Lite Micro: `pip install -e '.[test,tensorflow]'`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.progress import track

from golden_manifest import REPOSITORY, Made, record, write_text

sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]

from errata_models import EXAMPLES, Example  # noqa: E402  (run from the repository, installed or not)
from errata_replay import as_lists, dumped  # noqa: E402
from oracle import Crashed, Oracle, Rejected, litert, tflm  # noqa: E402

FOLDER = "golden/errata"
PACKAGES = ("ai-edge-litert", "tensorflow", "tflite-micro", "numpy", "flatbuffers")
RESOLVERS = {"reference": "BUILTIN_REF", "optimized": "BUILTIN_WITHOUT_DEFAULT_DELEGATES", "default": "AUTO"}
TENSORFLOW = Oracle("tensorflow")


def answer(real: str, example: Example) -> Any:
    """What a real runtime gives for each sample, tensor by tensor; "crashed: …" or "refused: …"."""
    package, kernels = real.split(":")
    samples = [list(arrays) for arrays in example.samples]
    read = example.read or example.model.graph.outputs
    try:
        if package == "tflm":
            runs = tflm.run(example.file(), samples)
        else:
            oracle = TENSORFLOW if package == "tensorflow" else litert
            runs = oracle.run(example.file(), samples, RESOLVERS[kernels], bool(example.read))
    except Crashed as error:
        return f"crashed: {error}"
    except Rejected as error:
        return f"refused: {' '.join(str(error).split())}"
    return [[as_lists(tensors[index]) for index in read] for tensors in runs]


def entry(example: Example, reals: Iterable[str]) -> dict[str, Any]:
    """One example as golden/errata/answers.json holds it."""
    return {
        "faulty": example.faulty,
        "sound": example.sound,
        "right": [[as_lists(array)] for array in example.right],
        "read": list(example.read),
        "unstable": list(example.unstable),
        "samples": [[as_lists(array) for array in arrays] for arrays in example.samples],
        "answers": {real: answer(real, example) for real in reals},
    }


def main() -> int:
    """The command line."""
    reals = [f"{package}:{kernels}" for package in ("litert", "tensorflow") for kernels in RESOLVERS] + ["tflm:real"]
    made, entries = [], {}
    for key, example in track(EXAMPLES.items(), "errata", console=Console(stderr=True)):
        entries[key] = entry(example, reals)
        path = REPOSITORY / FOLDER / f"{key}.tflite"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(example.file())
        made.append(Made(f"{FOLDER}/{key}.tflite", f"a tiny model that shows the erratum {key}", "made by this tool"))
    write_text(REPOSITORY / FOLDER / "answers.json", dumped(entries))
    what = "what each real runtime answers to the models beside it"
    made.append(
        Made(f"{FOLDER}/answers.json", what, "LiteRT, TensorFlow and TensorFlow Lite Micro, asked by this tool")
    )
    record(REPOSITORY, "errata", "python tools/make_errata.py", made, PACKAGES)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
