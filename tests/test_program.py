"""Prepare once, run many: shapes, batches, names, errors of inputs, and what is kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import refquant
from models import T, one_op
from refquant.errors import AccumulatorOverflow, InvalidInput, UnsupportedModel
from refquant.model.graph import Graph, Model, Operator, Signature, Tensor
from refquant.program import block_size, prepare, run_all_tensors
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
    monkeypatch.setattr("refquant.program.running.BLOCK_BYTES", 20)
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
    graph = Graph(
        (Tensor("x", "INT8", (1,)), Tensor("y", "INT8", (1,))), (Operator("HASHTABLE_FIND", (0,), (1,)),), (0,), (1,)
    )
    with pytest.raises(
        UnsupportedModel, match=r"operator 0 \(HASHTABLE_FIND\): the operator HASHTABLE_FIND is not built"
    ):
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
def test_variables_of_int8_hold_their_zero_point_before_anything_writes_them(output: bool) -> None:
    x = np.array([[7, -8]], np.int8)
    found = refquant.run(with_variable(output=output), x)[0]
    constant = one_op(
        "ADD",
        [T((1, 2), scale=0.5, zero_point=3), T(data=np.full((1, 2), 3, np.int8), scale=0.5, zero_point=3)],
        [T((1, 2), scale=0.5, zero_point=3)],
        {"fused_activation_function": "NONE"},
    )
    np.testing.assert_array_equal(found, np.full((1, 2), 3) if output else refquant.run(constant, x)[0])
    interpreter = refquant.Interpreter(model_content=with_variable(output=output).to_bytes())
    interpreter.allocate_tensors()
    interpreter.reset_all_variables()
    np.testing.assert_array_equal(interpreter.get_tensor(1), [[3, 3]])


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


def test_the_caller_s_input_counts_not_what_its_buffer_holds() -> None:
    model = relu()
    entry = replace(model.graph.tensors[0], buffer=1)
    graph = replace(model.graph, tensors=(entry, *model.graph.tensors[1:]))
    stored = Model((graph,), (b"", bytes([9, 9, 9, 9])))
    x = np.array([[1, -2, 3, -4]], np.int8)
    np.testing.assert_array_equal(refquant.run(stored, x)[0], refquant.run(model, x)[0])


def test_tensors_that_nothing_reads_are_not_decoded() -> None:
    model = relu()
    text = Tensor("text", "STRING", (1,), 1)
    graph = replace(model.graph, tensors=(*model.graph.tensors, text))
    stored = Model((graph,), (b"", b"\x01\x00\x00\x00\x0c\x00\x00\x00\x0d\x00\x00\x00a"))
    assert refquant.run(stored, np.zeros((1, 4), np.int8))[0].shape == (1, 4)


@pytest.mark.parametrize("shape", [(1, 4, 4, 0), (1, 0, 4, 3)])
def test_empty_axes_run_in_batches_as_alone(shape: tuple[int, ...]) -> None:
    model = one_op("ABS", [T(shape, "INT32")], [T(shape, "INT32")])
    assert refquant.run(model, np.zeros((3, *shape[1:]), np.int32))[0].shape == (3, *shape[1:])
    dense = one_op(
        "FULLY_CONNECTED",
        [T((1, 2), "FLOAT32"), T(data=np.ones((3, 2), np.float32)), None],
        [T((1, 3), "FLOAT32")],
    )
    assert refquant.run(dense, np.ones((5, 2), np.float32))[0].shape == (5, 3)


def test_inputs_of_one_name_and_one_input_of_two_names() -> None:
    model = two_inputs((1, 2), (1, 2), (1, 2))
    a = np.zeros((1, 2), np.int8)
    signed = replace(model, signatures=(Signature("s", (("x", 0), ("y", 1)), (("z", 2),)),))
    with pytest.raises(InvalidInput, match="the input 'a' is given twice, once as 'x'"):
        refquant.run(signed, {"a": a, "x": a, "b": a})
    same = replace(
        model.graph, tensors=(*(replace(t, name="a") for t in model.graph.tensors[:2]), model.graph.tensors[2])
    )
    with pytest.raises(InvalidInput, match="several inputs are named 'a'; give the arrays as a list"):
        refquant.run(model.with_graph(same), {"a": a})
    with pytest.raises(InvalidInput, match="this is no array"):
        refquant.run(model, [[[1], [1, 2]], a])


def test_an_overflow_names_its_operator_and_the_frame_around_the_image_has_none() -> None:
    bias = 2**31 - 101
    image = np.array([[100, -100, -100, 100]] * 2, np.int8).reshape(1, 2, 4, 1)
    options = {"padding": "VALID", "stride_w": 1, "stride_h": 1, "depth_multiplier": 1}
    weights = T(data=np.ones((1, 1, 2, 1), np.int8), scale=0.5)
    add = T(data=np.array([bias], np.int32), scale=0.25)
    output = T((1, 2, 3, 1), scale=2.0**24)
    depthwise = one_op("DEPTHWISE_CONV_2D", [T((1, 2, 4, 1), scale=0.5), weights, add], [output], options)
    del options["depth_multiplier"]
    conv = one_op("CONV_2D", [T((1, 2, 4, 1), scale=0.5), weights, add], [output], options)
    results = [refquant.run(model, image, overflow="error")[0] for model in (depthwise, conv)]
    np.testing.assert_array_equal(*results)
    for model, name in ((depthwise, "DEPTHWISE_CONV_2D"), (conv, "CONV_2D")):
        with pytest.raises(AccumulatorOverflow, match=rf"subgraph 0, operator 0 \({name}\): an int32 accumulator"):
            refquant.run(model, np.full_like(image, 127), overflow="error")


@pytest.mark.parametrize("name", ["CONV_2D", "DEPTHWISE_CONV_2D"])
def test_an_infinite_filter_is_refused_constant_or_not(name: str) -> None:
    options = {"padding": "SAME", "stride_w": 1, "stride_h": 1}
    filter_ = np.full((1, 2, 2, 1), np.inf, np.float32)
    for given in (T(data=filter_), T(filter_.shape, "FLOAT32")):
        bias = T(data=np.zeros(1, np.float32))
        model = one_op(name, [T((1, 2, 2, 1), "FLOAT32"), given, bias], [T((1, 2, 2, 1), "FLOAT32")], options)
        inputs = [np.ones((1, 2, 2, 1), np.float32), filter_][: len(model.graph.inputs)]
        with pytest.raises(UnsupportedModel, match=rf"\({name}\): the filter holds an infinity or NaN"):
            refquant.run(model, inputs)
