"""The account of one element: its accumulator, rounded by the runtime's own requantizer, is the runtime's result."""

from __future__ import annotations

import numpy as np
import pytest

from cases import CASES
from refquant.compare.run_sides import Described
from refquant.compare.worst import reckon_in
from refquant.model.graph import Model
from refquant.runtimes import runtime_named

OPS = (
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "TRANSPOSE_CONV",
    "FULLY_CONNECTED",
    "BATCH_MATMUL",
    "ADD",
    "SUB",
    "MUL",
    "SQUARED_DIFFERENCE",
    "QUANTIZE",
)
WORDS = (
    "float",
    "hybrid",
    "int32",
    "int64",
    "uint32",
    "per channel",
    "not quantized",
    "powers of two",
    "not constant",
)  # other params
CHECKS = [name for name in CASES if name.split(maxsplit=1)[0].rstrip(",") in OPS and not name.endswith(WORDS)]
CHECKS = [name for name in CHECKS if not any(word in name.replace("bias", "") for word in ("hybrid", "float"))]
PLACES = 4  # of an output


def accounts(model: Model, samples: list[list[np.ndarray]], runtime: str = "tflite_ref"):
    """(the account of an element of the output, what the runtime gives) for some places a sample."""
    side = Described.of(model, runtime_named(runtime))
    columns = zip(*samples, strict=True)
    inputs = {index: np.stack(column) for index, column in zip(model.graph.inputs, columns, strict=True)}
    tensors = {**inputs, **side.whole(inputs).tensors}
    (step,) = side.program.steps
    output = tensors[step.outputs[0]]
    rng = np.random.default_rng(output.size)
    for sample in range(len(samples)):
        for _ in range(PLACES if output[sample].size else 0):
            place = tuple(int(rng.integers(size)) for size in output.shape[1:])
            account = reckon_in(side.program, tensors, 0, sample, step.outputs[0], place)
            yield account, int(output[(sample, *place)])


@pytest.mark.parametrize("name", CHECKS)
def test_the_account_ends_in_the_result(name: str) -> None:
    told = 0
    for seed in range(3):
        case = CASES[name](np.random.default_rng([seed, len(name)]))
        if len({tuple(array.shape for array in arrays) for arrays in case.samples}) > 1 or not case.samples[0]:
            continue
        for account, result in accounts(case.model, case.samples):
            if account is None:
                continue
            told += 1
            assert result == dict(account.roundings)[account.own]
            assert account.low <= result <= account.high
    assert told, name
