"""The public models, of every mode, against LiteRT's reference kernels: every tensor, every element, zero differing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import oracle
import refquant
from crosscheck import differing
from oracle import litert
from refquant.model.graph import Model
from refquant.program import Value, execute, new_state, prepare, run_all_tensors
from refquant.runtimes import runtime_named

MODELS = Path(os.environ.get("REFQUANT_MODELS", Path(__file__).resolve().parents[2] / "shared" / "models"))
RANDOM_INPUTS = 20

# Every int8 model of the collection that LiteRT loads. Not here: person_detect (LiteRT refuses its quantized
# dimensions), keyword_scrambled_8bit (its SVDF have states of int8, which only TFLite Micro runs: LiteRT takes them for
# int16 and writes past their end).
INT8_MODELS = (
    "cifar10_resnet18/cifar10_resnet18_int8_all",
    "cifar10_resnet18/cifar10_resnet18_int8_notall",
    "mlperf_tiny/ad_int8",
    "mlperf_tiny/ad_int8_floatio",
    "mlperf_tiny/kws_int8",
    "mlperf_tiny/resnet8_int8",
    "mlperf_tiny/vww_int8",
    "mlperf_tiny/wakeword_int8",
    "tflite_micro/hello_world_int8",
    "tflite_micro/micro_speech_quantized",
)

# The float ones; the last one holds its weights as float16.
FLOAT_MODELS = (
    "cifar10_resnet18/cifar10_resnet18_pruned",
    "mlperf_tiny/ad_float",
    "mlperf_tiny/resnet8_float",
    "mlperf_tiny/vww_float",
    "tflite_micro/hello_world_float",
    "cifar10_resnet18/cifar10_resnet18_pruned_float16",
)
# int8 weights that meet float activations.
DYNAMIC_RANGE_MODELS = (
    "cifar10_resnet18/cifar10_resnet18_pruned_dynamic",
    "mlperf_tiny/ad_dynamic",
    "mlperf_tiny/kws_dynamic",
)

# The first-generation scheme.
UINT8_MODELS = ("coral/mobilenet_v1_0.25_128_uint8",)

# SVDF, whose states last from one input to the next.
STREAMING_MODELS = ("tflite_micro/keyword_scrambled",)

ALL_MODELS = (*INT8_MODELS, *FLOAT_MODELS, *DYNAMIC_RANGE_MODELS, *UINT8_MODELS, *STREAMING_MODELS)
UNQUANTIZED_RANGE = -1.0, 1.0  # of the inputs of a float model

pytestmark = [
    pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING),
    pytest.mark.skipif(not MODELS.is_dir(), reason=f"models missing: {MODELS} (set REFQUANT_MODELS)"),
]


def draw_inputs(model: Model, seed: int) -> np.ndarray:
    """20 random inputs, all-minimum and all-maximum, along dim 0. Float inputs: normal, in the range and beyond."""
    (index,) = model.graph.inputs
    tensor = model.graph.tensors[index]
    rng = np.random.default_rng(seed)
    shape = (RANDOM_INPUTS, *tensor.shape[1:])
    if tensor.type == "FLOAT32":
        low, high = quantized_range(model)
        centre, spread = (low + high) / 2, (high - low) / 2
        drawn = rng.normal(centre, spread / 2, shape).astype(np.float32)
        low, high = low - spread, high + spread
    else:
        low, high = np.iinfo(tensor.dtype).min, np.iinfo(tensor.dtype).max
        drawn = rng.integers(low, high, shape, tensor.dtype, endpoint=True)
    extremes = [np.full((1, *shape[1:]), value, tensor.dtype) for value in (low, high)]
    return np.concatenate([drawn, *extremes])


def quantized_range(model: Model) -> tuple[float, float]:
    """The real values that the model's first QUANTIZE can represent; those of UNQUANTIZED_RANGE if there is none."""
    quantize = next((operator for operator in model.graph.operators if operator.name == "QUANTIZE"), None)
    if quantize is None:
        return UNQUANTIZED_RANGE
    q = model.graph.tensors[quantize.outputs[0]].quantization
    return tuple(q.scale[0] * (end - q.zero_point[0]) for end in (-128, 127))


@dataclass(frozen=True, slots=True)
class Compared:
    """How much of one model was compared with LiteRT, and how much differed; also when run alone and among others."""

    inputs: int
    tensors: int
    elements: int
    differing: int
    differing_batched: int


def compare_with_litert(data: bytes) -> Compared:
    """Every tensor an operator computes, input by input, and all inputs at once.

    A model with variables runs the inputs in a row and they are compared too; then they are reset, and the first input
    runs again.
    """
    model = refquant.load(data)
    inputs = draw_inputs(model, seed=1)
    batched = run_all_tensors(model, inputs)
    assert set(batched) == {index for operator in model.graph.operators for index in operator.outputs}
    steps: list[list[np.ndarray] | None] = [[inputs[number : number + 1]] for number in range(len(inputs))]
    if any(tensor.is_variable for tensor in model.graph.tensors):
        steps += [None, steps[0]]
    program, state = prepare(model, runtime_named("tflite_ref")), new_state(model)
    wanted = iter(litert.run(data, steps))
    elements = different = different_batched = 0
    for number, step in enumerate(steps):
        if step is None:
            state = new_state(model)
            continue
        want, kept = next(wanted), {}
        execute(program, {model.graph.inputs[0]: Value(step[0])}, 1, kept.__setitem__, state)
        for index, tensor in ({i: value.array for i, value in kept.items()} | state.variables).items():
            assert (tensor.dtype, tensor.shape) == (want[index].dtype, want[index].shape)
            elements += tensor.size
            different += int(differing(tensor, want[index]).sum())
            if index in batched and number < len(inputs):
                different_batched += int(differing(batched[index][number].reshape(tensor.shape), tensor).sum())
    return Compared(len(inputs), len(batched), elements, different, different_batched)


@pytest.mark.parametrize("name", ALL_MODELS)
def test_every_tensor_equals_litert(name: str) -> None:
    path = MODELS / f"{name}.tflite"
    if not path.exists():
        pytest.skip(f"models missing: {path}")
    counts = compare_with_litert(path.read_bytes())
    print(f"{name}: {counts}")
    assert counts.elements > 0
    assert counts.differing == 0
    assert counts.differing_batched == 0


@pytest.mark.parametrize("name", FLOAT_MODELS)
def test_fast_float_is_close(name: str) -> None:
    path = MODELS / f"{name}.tflite"
    if not path.exists():
        pytest.skip(f"models missing: {path}")
    model = refquant.load(path)
    inputs = draw_inputs(model, seed=2)
    exact, fast = (run_all_tensors(model, inputs, runtime) for runtime in ("tflite_ref", "fast_float"))
    for index, tensor in exact.items():
        spread = np.abs(tensor).max()
        np.testing.assert_allclose(fast[index], tensor, rtol=0, atol=1e-5 * spread, err_msg=f"tensor {index}")
