"""One engine on one model and batch, in a process of its own so that its peak memory is its own.

    python tools/benchmark_child.py ENGINE MODEL BATCH

ENGINE: "refquant" (tflite_ref), "refquant:" and a described runtime, or a resolver of LiteRT ("BUILTIN_REF", "AUTO").
Answers lines on stdin with JSON lines on stdout: "run" -> {"seconds": per run}; "end" -> peak memory and digest, then
it exits.
The threads of NumPy's BLAS are set by the parent through the environment.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROUND_SECONDS = 0.2  # shorter runs are repeated until one round takes so long
SEED = 5


def refquant_engine(model: bytes, runtime: str) -> tuple[Callable[[np.ndarray], np.ndarray], tuple[int, ...], str]:
    """(a function of the inputs, the input's shape, how a batch is run), with a described runtime."""
    from refquant.model import read_model
    from refquant.program import prepare, run_program
    from refquant.runtimes import runtime_named

    program = prepare(read_model(model), runtime_named(runtime))
    shape = program.model.graph.tensors[program.model.graph.inputs[0]].shape

    def run(inputs: np.ndarray) -> np.ndarray:
        return np.concatenate([outputs[0] for _, outputs in run_program(program, inputs)])

    return run, shape, "one run"


def litert_engine(
    model: bytes, batch: int, resolver: str
) -> tuple[Callable[[np.ndarray], np.ndarray], tuple[int, ...], str]:
    """The same for LiteRT: the input resized to the batch where the model allows it, else one invoke after another."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    def interpreter(rows: int) -> Interpreter:
        new = Interpreter(
            model_content=model, experimental_op_resolver_type=getattr(OpResolverType, resolver), num_threads=1
        )
        (detail,) = new.get_input_details()
        if rows != 1:
            new.resize_tensor_input(detail["index"], [rows, *detail["shape"][1:]])
        new.allocate_tensors()
        return new

    rows = batch
    try:
        engine = interpreter(rows)
        engine.invoke()
        if engine.get_tensor(engine.get_output_details()[0]["index"]).shape[0] != batch:
            raise ValueError("the output does not follow the batch")
    except (RuntimeError, ValueError):
        rows = 1
        engine = interpreter(rows)
    (entry,), (output,) = engine.get_input_details(), engine.get_output_details()

    def run(inputs: np.ndarray) -> np.ndarray:
        results = []
        for start in range(0, batch, rows):
            engine.set_tensor(entry["index"], inputs[start : start + rows])
            engine.invoke()
            results.append(engine.get_tensor(output["index"]))
        return np.concatenate(results)

    how = "one invoke" if rows == batch else f"{batch} invokes (the model cannot be resized)"
    return run, (1, *entry["shape"][1:]), how


def peak_memory() -> int:
    """Bytes of the largest resident set so far."""
    status = Path("/proc/self/status")  # ru_maxrss would count the parent's memory at the time of the fork
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main() -> None:
    """Loads, warms up, then answers."""
    channel = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # the runtime's own prints must not enter the channel
    engine, path, batch = sys.argv[1], sys.argv[2], int(sys.argv[3])
    model = Path(path).read_bytes()
    if engine.startswith("refquant"):
        sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
        run, shape, how = refquant_engine(model, engine.partition(":")[2] or "tflite_ref")
    else:
        run, shape, how = litert_engine(model, batch, engine)
    inputs = np.random.default_rng(SEED).integers(-128, 128, (batch, *shape[1:]), np.int8)
    run(inputs)
    start = time.perf_counter()
    output = run(inputs)
    repeats = max(1, int(ROUND_SECONDS / (time.perf_counter() - start)))
    print(json.dumps({"how": how}), file=channel)
    for line in sys.stdin:
        if line.strip() != "run":
            break
        start = time.perf_counter()
        for _ in range(repeats):
            output = run(inputs)
        print(json.dumps({"seconds": (time.perf_counter() - start) / repeats}), file=channel)
    digest = hashlib.sha256(np.ascontiguousarray(output).tobytes()).hexdigest()
    print(json.dumps({"peak": peak_memory(), "digest": digest}), file=channel)


if __name__ == "__main__":
    main()
