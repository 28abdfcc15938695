"""The interpreter has the methods and dictionaries of LiteRT's, and answers the same."""

from __future__ import annotations

import numpy as np
import pytest

import oracle
import refquant
from models import T, one_op
from refquant.errors import InvalidInput
from refquant.model.graph import Model, Signature


def model() -> Model:
    built = one_op(
        "ADD",
        [T((1, 2, 3), scale=0.5, zero_point=1, name="a"), T((3,), scale=0.25, zero_point=-4, name="b")],
        [T((1, 2, 3), scale=0.75, zero_point=2, name="sum")],
        {"fused_activation_function": "NONE"},
    )
    return Model(
        built.graphs, built.buffers, signatures=(Signature("serving_default", (("x", 0), ("y", 1)), (("z", 2),)),)
    )


A = np.array([[[1, 2, 3], [-128, 0, 127]]], np.int8)
B = np.array([10, -20, 127], np.int8)


def allocated(**arguments: object) -> refquant.Interpreter:
    interpreter = refquant.Interpreter(model_content=model().to_bytes(), **arguments)
    interpreter.allocate_tensors()
    return interpreter


def test_set_invoke_get() -> None:
    interpreter = allocated()
    interpreter.set_tensor(0, A)
    interpreter.set_tensor(1, B)
    interpreter.invoke()
    np.testing.assert_array_equal(interpreter.get_tensor(2), refquant.run(model(), [A, B])[0])


def test_get_tensor_is_a_copy_and_tensor_is_not() -> None:
    interpreter = allocated()
    interpreter.tensor(0)()[:] = A
    copy = interpreter.get_tensor(0)
    np.testing.assert_array_equal(copy, A)
    copy[:] = 0
    np.testing.assert_array_equal(interpreter.get_tensor(0), A)
    array = A.copy()
    interpreter.set_tensor(0, array)
    array[:] = 5
    np.testing.assert_array_equal(interpreter.get_tensor(0), A)


def test_resize_and_strict() -> None:
    interpreter = allocated()
    interpreter.resize_tensor_input(0, [1, 4, 3])
    with pytest.raises(InvalidInput, match="call allocate_tensors first"):
        interpreter.invoke()
    interpreter.allocate_tensors()
    assert interpreter.get_output_details()[0]["shape"].tolist() == [1, 4, 3]
    interpreter.set_tensor(0, np.zeros((1, 4, 3), np.int8))
    interpreter.set_tensor(1, B)
    interpreter.invoke()
    assert interpreter.get_tensor(2).shape == (1, 4, 3)
    with pytest.raises(InvalidInput, match="changes a dimension"):
        interpreter.resize_tensor_input(0, [2, 2, 3], strict=True)
    with pytest.raises(InvalidInput, match="whole numbers >= 0"):
        interpreter.resize_tensor_input(0, [-1, 2, 3])


def test_signature_runner() -> None:
    interpreter = refquant.Interpreter(model_content=model().to_bytes())
    assert interpreter.get_signature_list() == {"serving_default": {"inputs": ["x", "y"], "outputs": ["z"]}}
    runner = interpreter.get_signature_runner()
    np.testing.assert_array_equal(runner(x=A, y=B)["z"], refquant.run(model(), [A, B])[0])
    assert runner(x=np.zeros((1, 5, 3), np.int8), y=B)["z"].shape == (1, 5, 3)
    assert runner.get_input_details()["x"]["index"] == 0
    assert runner.get_output_details()["z"]["name"] == "sum"
    with pytest.raises(InvalidInput, match=r"the signature takes \['x', 'y'\]"):
        runner(x=A)
    with pytest.raises(InvalidInput, match="no signature 'other'; there are: serving_default"):
        interpreter.get_signature_runner("other")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda i: i.set_tensor(0, A.astype(np.int16)), r"takes int8 \(INT8\), but the array is int16"),
        (lambda i: i.set_tensor(0, A[:, :1]), "call resize_tensor_input"),
        (lambda i: i.set_tensor(2, A), "is not an input"),
        (lambda i: i.set_tensor(9, A), "there is no tensor 9; the model has 3"),
        (lambda i: i.get_tensor(2), "holds no value: call invoke"),
        (lambda i: i.resize_tensor_input(2, [1]), "is not an input"),
    ],
)
def test_misuse_is_one_clear_line(call: object, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        call(allocated())


def test_model_path_or_content() -> None:
    with pytest.raises(InvalidInput, match="either model_path or model_content"):
        refquant.Interpreter()


def test_views_of_an_input_stay_views() -> None:
    interpreter = allocated()
    view = interpreter.tensor(0)()
    interpreter.set_tensor(0, A)
    np.testing.assert_array_equal(view, A)


def test_a_result_stays_when_the_next_input_is_set() -> None:
    reshape = one_op("RESHAPE", [T((1, 4), "INT32"), T(data=np.array([2, 2], np.int32))], [T((2, 2), "INT32")])
    interpreter = refquant.Interpreter(model_content=reshape.to_bytes())
    interpreter.allocate_tensors()
    interpreter.set_tensor(0, np.array([[1, 2, 3, 4]], np.int32))
    interpreter.invoke()
    interpreter.set_tensor(0, np.zeros((1, 4), np.int32))
    np.testing.assert_array_equal(interpreter.get_tensor(2), [[1, 2], [3, 4]])


@pytest.mark.parametrize("shape", ["ab", None, 5, [[1, 1]], [1.5, 2], [2**40, 1, 3], [2**70]])
def test_absurd_shapes_are_refused(shape: object) -> None:
    with pytest.raises(InvalidInput, match=r"whole numbers >= 0|more than 2,147,483,647 elements"):
        allocated().resize_tensor_input(0, shape)


def test_a_model_that_the_runtime_refuses_is_still_a_value_error() -> None:
    with pytest.raises(ValueError, match="takes int8"):
        allocated().set_tensor(0, np.zeros(3))


@pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING)
def test_dictionaries_equal_those_of_litert() -> None:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    data = model().to_bytes()
    theirs = Interpreter(model_content=data, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    theirs.allocate_tensors()
    ours = allocated()
    for method in ("get_input_details", "get_output_details", "get_tensor_details"):
        for mine, their in zip(getattr(ours, method)(), getattr(theirs, method)(), strict=True):
            assert set(mine) == set(their)
            for key, value in their.items():
                np.testing.assert_equal(mine[key], value, err_msg=f"{method}: {key}")
    assert ours.get_signature_list() == theirs.get_signature_list()
