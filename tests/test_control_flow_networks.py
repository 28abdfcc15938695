"""What TensorFlow writes for loops, branches, recurrent layers and variables, against LiteRT: every tensor."""

from __future__ import annotations

import numpy as np
import pytest

import converter_oracle
import oracle
import refquant
from converter_oracle import converter
from refquant.model.graph import Model
from test_control_flow import same_as_litert

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.skipif(not converter_oracle.INSTALLED, reason=converter_oracle.MISSING),
    pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING),
]

STEPS = 20
NAMES = (
    "swap", "fibonacci", "grow", "until", "branch", "branch of two shapes",
    "lstm", "lstm unrolled", "lstm stateful", "gru stateful",
)  # fmt: skip


def draw(model: Model, rng: np.random.Generator) -> list[np.ndarray]:
    tensors = [model.graph.tensors[index] for index in model.graph.inputs]
    return [
        np.array(rng.integers(5), np.int32)
        if t.type == "INT32"
        else (2 * rng.standard_normal(t.shape)).astype(np.float32)
        for t in tensors
    ]


@pytest.mark.parametrize("name", NAMES)
def test_twenty_runs_and_a_reset(name: str) -> None:
    model = refquant.load(converter.control(name))
    assert len(model.graphs) > 1 or name == "lstm unrolled"
    rng = np.random.default_rng(0)
    steps = [draw(model, rng) for _ in range(STEPS)]
    compared = same_as_litert(model, [*steps, None, *steps[:2]])
    print(f"{name}: {compared} elements, 0 differing")
    assert compared > 0


def test_signatures_share_variables() -> None:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    data = converter.control("counters")
    ours = refquant.Interpreter(model_content=data)
    theirs = Interpreter(model_content=data, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    rng = np.random.default_rng(1)
    for number in range(STEPS):
        if number == STEPS // 2:
            ours.reset_all_variables()
            theirs.reset_all_variables()
        key = ("add", "get", "put", "add")[number % 4]
        arrays = {} if key == "get" else {"x": rng.standard_normal(3).astype(np.float32)}
        mine, their = (interpreter.get_signature_runner(key)(**arrays) for interpreter in (ours, theirs))
        np.testing.assert_equal(mine, their, err_msg=f"call {number}, {key}")
