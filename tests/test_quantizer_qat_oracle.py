"""Mode qat against TensorFlow 2.21: networks of tensorflow-model-optimization, single questions, random graphs."""

from __future__ import annotations

import numpy as np
import pytest

import converter_oracle
import oracle
from oracle import Rejected
from qat_check import QUESTIONS, check, check_network, check_question, check_random_graphs, child
from refquant.model import read_model

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.skipif(not converter_oracle.INSTALLED, reason=converter_oracle.MISSING),
    pytest.mark.xdist_group("qat"),
]

GRAPHS = 12  # tools/sweep_qat.py has 50
SEED = 1000


@pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING)
def test_a_network_of_tensorflow_model_optimization() -> None:
    """Batch normalisation and a sum; the others of qat_networks are checked by tools/sweep_qat.py: Keras is slow."""
    assert check_network("residual")["ran"] == 1


@pytest.mark.parametrize("name", QUESTIONS)
def test_single_questions(name: str) -> None:
    check_question(name)


def test_one_weight_scale_is_a_choice_for_dense_layers_alone() -> None:
    answer = child.ask(("question", "weights without a pair", ("float32", "per_tensor", "per_tensor_dense")))
    assert answer["per_tensor"] == answer["float32"]  # the converter does not hear of it here
    check(answer, "per_tensor_dense", dense=False)


@pytest.mark.parametrize("name", ["2 bits", "4 bits", "9 bits", "16 bits"])
def test_other_numbers_of_bits_are_refused_by_both(name: str) -> None:
    with pytest.raises(Rejected, match=r"'tfl.conv_2d' op operand"):
        child.ask(("question", name, ("float32",)))
    with pytest.raises(Rejected, match="only fake quantization of 5 to 8 bits"):
        child.ask(("question", name, ()))  # refquant, asked for the ranges


def slow_fake_quantization(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """TensorFlow's kernel on 0 to 255, all in float32: the range moves until zero is a step; then floor(... + 0.5)."""
    one, half, steps = np.float32(1), np.float32(0.5), np.float32(255)
    scale = (np.float32(high) - np.float32(low)) / steps
    zero = np.floor(-np.float32(low) / scale + half)
    start, end, inverse = -zero * scale, (steps - zero) * scale, one / scale
    of_zero = np.floor(-start * inverse + half)
    return np.floor((np.clip(x, start, end) - start) * inverse - of_zero + half) * scale


def test_the_float_file_holds_fake_quantized_weights() -> None:
    """So quantize only has to read them."""
    model = read_model(child.ask(("question", "8 bits", ()))["float"])
    weights = np.random.default_rng(1).normal(0, 1, (3, 3, 4, 4)).astype(np.float32).transpose(3, 0, 1, 2)
    constants = [model.constant(tensor) for tensor in model.graph.tensors if tensor.shape == weights.shape]
    (held,) = (constant for constant in constants if constant is not None)
    assert np.array_equal(held, slow_fake_quantization(weights, -3, 3))
    assert not np.array_equal(held, weights)


def test_random_graphs() -> None:
    """Some of them run."""
    count = check_random_graphs(SEED, GRAPHS)
    assert count["models"] == GRAPHS
    assert count["refused"] < GRAPHS / 4
    assert count["slots"] > 10 * GRAPHS
    assert not oracle.INSTALLED or count["ran"] > 0
    assert count["biases_off"] > 5 * count["two_ulps"]
