"""Prepare once, run many: shapes, batches, names, errors of inputs, and what is kept."""

from __future__ import annotations

import numpy as np
import pytest

import refquant
from models import T, one_op
from refquant.errors import InvalidInput, UnsupportedModel
from refquant.model.graph import Graph, Model, Operator, Signature, Tensor
from refquant.program import block_size, describe, prepare, run_all_tensors
from refquant.runtimes import RUNTIMES, runtime_named


def relu(shape: tuple[int, ...] = (1, 4)) -> Model:
    return one_op("RELU", [T(shape, scale=0.5, zero_point=3)], [T(shape, scale=0.25, zero_point=-7)])


def two_inputs(a: tuple[int, ...], b: tuple[int, ...], out: tuple[int, ...]) -> Model:
    return one_op(
        "ADD",
        [T(a, scale=0.5, name="a"), T(b, scale=0.5, name="b")],
        [T(out, scale=0.5)],
        {"fused_activation_function": "NONE"},
    )


def test_samples_on_batch_one_equal_single_runs() -> None:
    x = np.arange(-20, 20, dtype=np.int8).reshape(10, 4)
    together = refquant.run(relu(), x)[0]
    alone = [refquant.run(relu(), x[i : i + 1])[0] for i in range(10)]
    assert together.shape == (10, 4)
    np.testing.assert_array_equal(together, np.concatenate(alone))


def test_samples_cross_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).integers(-128, 128, (23, 4)).astype(np.int8)
    whole = refquant.run(relu(), x)[0]
    monkeypatch.setattr("refquant.program.BLOCK_BYTES", 20)
    program = prepare(relu(), runtime_named("tflite_ref"))
    assert block_size(program) == 5
    seen: list[int] = []
    np.testing.assert_array_equal(refquant.run(relu(), x, progress=seen.append)[0], whole)
    assert seen == [5, 10, 15, 20, 23]


def test_a_model_of_a_larger_batch_runs_as_it_is() -> None:
    x = np.arange(12, dtype=np.int8).reshape(3, 4)
    assert refquant.run(relu((3, 4)), x)[0].shape == (3, 4)
    with pytest.raises(InvalidInput, match=r"has shape \(3, 4\), but the array has shape \(6, 4\)"):
        refquant.run(relu((3, 4)), np.zeros((6, 4), np.int8))


def test_batched_operand_of_lower_rank_broadcasts_as_in_a_single_run() -> None:
    model = two_inputs((1, 3), (1, 2, 1, 3), (1, 2, 1, 3))
    rng = np.random.default_rng(1)
    a = rng.integers(-50, 50, (5, 3)).astype(np.int8)
    b = rng.integers(-50, 50, (5, 2, 1, 3)).astype(np.int8)
    together = refquant.run(model, [a, b])[0]
    alone = [refquant.run(model, [a[i : i + 1], b[i : i + 1]])[0] for i in range(5)]
    np.testing.assert_array_equal(together, np.concatenate(alone))


def test_inputs_by_list_name_and_signature() -> None:
    model = two_inputs((1, 2), (1, 2), (1, 2))
    model = Model(
        model.graphs, model.buffers, signatures=(Signature("serving_default", (("x", 0), ("y", 1)), (("z", 2),)),)
    )
    a, b = np.array([[1, 2]], np.int8), np.array([[10, 20]], np.int8)
    expected = refquant.run(model, [a, b])[0]
    np.testing.assert_array_equal(refquant.run(model, {"b": b, "a": a})[0], expected)
    np.testing.assert_array_equal(refquant.run(model, {"y": b, "x": a})[0], expected)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (np.zeros((1, 2), np.int8), "the model has 2 inputs, but 1 arrays were given"),
        ([np.zeros((1, 2), np.int8)] * 3, "the model has 2 inputs, but 3 arrays were given"),
        ({"a": np.zeros((1, 2), np.int8)}, "the input 'b' is missing"),
        ({"a": np.zeros((1, 2), np.int8), "q": np.zeros(1)}, "no input is named 'q'; the inputs are: a, b"),
        ([np.zeros((1, 2), np.int8), np.zeros((1, 3), np.int8)], r"input 'b' has shape \(1, 2\) or \(N, 2\), but"),
        ([np.zeros((4, 2), np.int8), np.zeros((3, 2), np.int8)], r"disagree in their number of samples: \[3, 4\]"),
        ([np.zeros((0, 2), np.int8)] * 2, r"but the array has shape \(0, 2\)"),
        ([np.full((1, 2), np.nan)] * 2, r"input 'a' takes int8 \(INT8\), but the array is float64; quantize it first"),
        ([np.zeros((1, 2), np.uint8)] * 2, "input 'a' takes int8"),
    ],
)
def test_wrong_inputs_are_one_clear_line(inputs: object, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as raised:
        refquant.run(two_inputs((1, 2), (1, 2), (1, 2)), inputs)
    assert "\n" not in str(raised.value)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InvalidInput, match="unknown runtime 'ruy'; there are: tflite_ref"):
        refquant.run(relu(), np.zeros((1, 4), np.int8), runtime="ruy")
    with pytest.raises(InvalidInput, match="overflow='clip': must be one of wrap, error"):
        refquant.run(relu(), np.zeros((1, 4), np.int8), overflow="clip")


def test_an_operator_that_is_not_built_names_its_place() -> None:
    graph = Graph((Tensor("x", "INT8", (1,)), Tensor("y", "INT8", (1,))), (Operator("WHILE", (0,), (1,)),), (0,), (1,))
    with pytest.raises(UnsupportedModel, match=r"subgraph 0, operator 0 \(WHILE\): the operator WHILE is not built"):
        refquant.run(Model((graph,), (b"",)), np.zeros(1, np.int8))
    custom = Graph(
        graph.tensors, (Operator("CUSTOM", (0,), (1,), custom_code="TFLite_Detection_PostProcess"),), (0,), (1,)
    )
    with pytest.raises(UnsupportedModel, match="the operator TFLite_Detection_PostProcess is not built"):
        refquant.run(Model((custom,), (b"",)), np.zeros(1, np.int8))


def test_a_type_that_is_not_built_is_named() -> None:
    model = one_op("RELU", [T((1, 2), "INT4", scale=1.0)], [T((1, 2), "INT4", scale=1.0)])
    with pytest.raises(UnsupportedModel, match=r"operator 0 \(RELU\): type INT4 of tensor 't0' is not built for RELU"):
        refquant.run(model, np.zeros((1, 2), np.int8))


def test_all_tensors_and_places() -> None:
    model = relu()
    tensors = run_all_tensors(model, np.zeros((6, 4), np.int8))
    assert {index: array.shape for index, array in tensors.items()} == {1: (6, 4)}
    assert describe(model, 0, 0) == "subgraph 0, operator 0 (RELU)"


def test_constant_graphs_are_computed_when_prepared() -> None:
    model = one_op("ABS", [T(data=np.array([-3, 4], np.int32))], [T((2,), "INT32")])
    program = prepare(model, RUNTIMES["tflite_ref"])
    np.testing.assert_array_equal(program.known[1], [3, 4])
    np.testing.assert_array_equal(refquant.run(model, [])[0], [3, 4])


def test_a_foreign_byte_order_is_no_other_type() -> None:
    model = one_op("ABS", [T((2,), "INT32")], [T((2,), "INT32")])
    np.testing.assert_array_equal(refquant.run(model, np.array([-3, 70000], ">i4"))[0], [3, 70000])


@pytest.mark.parametrize("inputs", [None, 1.0, 3, "text"])
def test_inputs_of_another_kind_are_refused(inputs: object) -> None:
    with pytest.raises(InvalidInput, match="inputs must be an array, a list of arrays or a dictionary"):
        refquant.run(relu(), inputs)


def with_variable(*, output: bool) -> Model:
    """x + variable, or the variable itself as the output."""
    quantization = relu().graph.tensors[0].quantization
    tensors = tuple(
        Tensor(name, "INT8", (1, 2), quantization=quantization, is_variable=name == "state")
        for name in ("x", "state", "y")
    )
    add = Operator("ADD", (0, 1), (2,), options={"fused_activation_function": "NONE"})
    return Model((Graph(tensors, (add,), (0,), (1,) if output else (2,)),), (b"",))


@pytest.mark.parametrize("output", [False, True])
def test_variables_are_zero_before_anything_writes_them(output: bool) -> None:
    x = np.array([[7, -8]], np.int8)
    found = refquant.run(with_variable(output=output), x)[0]
    constant = one_op(
        "ADD",
        [T((1, 2), scale=0.5, zero_point=3), T(data=np.zeros((1, 2), np.int8), scale=0.5, zero_point=3)],
        [T((1, 2), scale=0.5, zero_point=3)],
        {"fused_activation_function": "NONE"},
    )
    np.testing.assert_array_equal(found, np.zeros((1, 2)) if output else refquant.run(constant, x)[0])
    interpreter = refquant.Interpreter(model_content=with_variable(output=output).to_bytes())
    interpreter.allocate_tensors()
    interpreter.reset_all_variables()
    np.testing.assert_array_equal(interpreter.get_tensor(1), [[0, 0]])


def test_outputs_that_no_machine_holds_are_refused_when_prepared() -> None:
    model = one_op(
        "FILL", [T(data=np.array([60000, 60000], np.int32)), T(data=np.array(1, np.int32))], [T((1,), "INT32")]
    )
    with pytest.raises(
        UnsupportedModel, match=r"operator 0 \(FILL\): an output of shape \(60000, 60000\) has more than"
    ):
        prepare(model, runtime_named("tflite_ref"))


def test_outputs_do_not_share_memory_with_inputs() -> None:
    model = one_op("RESHAPE", [T((1, 4), "INT32"), T(data=np.array([2, 2], np.int32))], [T((2, 2), "INT32")])
    x = np.arange(4, dtype=np.int32).reshape(1, 4)
    assert not np.shares_memory(refquant.run(model, x)[0], x)
