"""Operators that run other subgraphs, resource variables and variable tensors, against LiteRT's interpreter."""

from __future__ import annotations

import signal
from dataclasses import replace

import numpy as np
import pytest

import oracle
import refquant
from crosscheck import differing
from graphs import Graphs, Op, binary, concatenation, constant, floats, loop
from models import T
from oracle import Rejected, litert
from refquant.errors import InvalidInput, InvalidModel, RefquantError, UnsupportedModel
from refquant.model.graph import Graph, Model, Quantization, Signature

needs_litert = pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING)

A, B = np.array([1, -2], np.float32), np.array([10, 20], np.float32)
PAIR = {"a": floats(2), "b": floats(2)}
SUM, TWICE = {"s": floats(2)}, {"s": floats(4)}


def times(n: int) -> np.ndarray:
    return np.array(n, np.int32)


def interpreter_of(model: Model, preserve: bool = True) -> refquant.Interpreter:
    interpreter = refquant.Interpreter(model_content=model.to_bytes(), experimental_preserve_all_tensors=preserve)
    interpreter.allocate_tensors()
    return interpreter


def set_inputs(interpreter: refquant.Interpreter, arrays: list[np.ndarray]) -> None:
    details = interpreter.get_input_details()
    for detail, array in zip(details, arrays, strict=True):
        interpreter.resize_tensor_input(detail["index"], array.shape)
    interpreter.allocate_tensors()
    for detail, array in zip(details, arrays, strict=True):
        interpreter.set_tensor(detail["index"], array)


def same_as_litert(model: Model, steps: list[list[np.ndarray] | None]) -> int:
    """How many elements were equal: every tensor of every subgraph that both keep, after each step; None is a reset.

    Then the outputs alone, in interpreters that preserve no other tensors.
    """
    compared = 0
    for preserve in (True, False):
        ours = interpreter_of(model, preserve)
        wanted = iter(litert.run(model.to_bytes(), steps, preserve=preserve))
        for number, arrays in enumerate(steps):
            if arrays is None:
                ours.reset_all_variables()
                continue
            set_inputs(ours, arrays)
            ours.invoke()
            want, place = next(wanted), f"step {number}, preserve={preserve}"
            for graph, index in computed(model) if preserve else [(0, index) for index in model.graph.outputs]:
                key = (graph, index) if graph else index
                if key in want and holds_value(ours, graph, index):
                    got = ours.get_tensor(index, graph)
                    assert (got.shape, got.dtype) == (want[key].shape, want[key].dtype), f"{place}, tensor {key}"
                    assert not differing(got, want[key]).any(), f"{place}, tensor {key}: {got} instead of {want[key]}"
                    compared += got.size
            assert all(holds_value(ours, 0, index) and index in want for index in model.graph.outputs), place
    return compared


def computed(model: Model) -> list[tuple[int, int]]:
    """(subgraph, tensor) of what operators compute, and of variable tensors.

    Without handles of resources, and without the results of branches, whose memory is that of the results of IF.
    """
    found, calls = [], [operator for graph in model.graphs for operator in graph.operators if operator.name == "IF"]
    branches = {call.options[name] for call in calls for name in ("then_subgraph_index", "else_subgraph_index")}
    for number, graph in enumerate(model.graphs):
        results = {index for operator in graph.operators for index in operator.outputs}
        if number in branches:
            results -= set(graph.outputs)
        found += [
            (number, index)
            for index, tensor in enumerate(graph.tensors)
            if (index in results or tensor.is_variable) and tensor.type != "RESOURCE"
        ]
    return found


def holds_value(interpreter: refquant.Interpreter, graph: int, index: int) -> bool:
    try:
        interpreter.get_tensor(index, graph)
    except refquant.errors.InvalidInput:
        return False
    return True


# WHILE --------------------------------------------------------------------------------------------------------------

BODIES: dict[str, tuple[list[Op], tuple[str, str], dict[str, T]]] = {
    "sum at place 1": ([binary("ADD", "a", "b", "s")], ("b", "s"), SUM),
    "sum at place 0, a handed on": ([binary("ADD", "a", "b", "s")], ("s", "a"), SUM),
    "swap": ([], ("b", "a"), {}),
    "one result twice": ([binary("SUB", "a", "b", "s")], ("s", "s"), SUM),
    "nothing changes": ([], ("a", "b"), {}),
    "one input twice": ([], ("b", "b"), {}),
    "a constant": ([], ("s", "a"), {"s": constant([7, 8])}),
    "grows": ([concatenation("a", "b", "s")], ("s", "b"), TWICE),
    "grows, and a chain": (
        [concatenation("a", "b", "s"), binary("ADD", "b", "b", "t")],
        ("s", "t"),
        TWICE | {"t": floats(2)},
    ),
}


@needs_litert
@pytest.mark.parametrize("name", BODIES)
def test_while(name: str) -> None:
    body, results, inner = BODIES[name]
    model = loop(PAIR, body, results, inner)
    steps = [[times(n), A, B] for n in (1, 0, 2, 3)]
    assert same_as_litert(model, steps) > 0


@needs_litert
def test_while_with_other_shapes() -> None:
    body, results, inner = BODIES["sum at place 0, a handed on"]
    model = loop(PAIR, body, results, inner)
    longer = [np.arange(3, dtype=np.float32), np.full(3, 0.5, np.float32)]
    assert same_as_litert(model, [[times(2), A, B], [times(3), *longer], [times(2), A, B]]) > 0


@needs_litert
@pytest.mark.parametrize(("given", "result"), [((), (1,)), ((1,), ())])
def test_a_scalar_and_one_element_are_one_shape(given: tuple[int, ...], result: tuple[int, ...]) -> None:
    inner = {"shape": constant(np.array(result, np.int32), np.int32), "r": floats(*result), "s": floats(*result)}
    reshape: Op = ("RESHAPE", ("a", "shape"), ("r",), {"new_shape": result})
    model = loop({"a": floats(*given)}, [reshape, binary("ADD", "r", "r", "s")], ("s",), inner)
    assert same_as_litert(model, [[times(n), np.full(given, 1.5, np.float32)] for n in (1, 0, 3)]) > 0


def test_an_input_that_is_handed_on_to_another_place_comes_overwritten() -> None:
    """TFLite copies the body's results one after another into the memory from which the body reads its inputs."""
    interpreter = interpreter_of(loop(PAIR, [], ("b", "a"), {}))
    set_inputs(interpreter, [times(1), A, B])
    interpreter.invoke()
    outputs = [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]
    np.testing.assert_array_equal(outputs[1:], [B, B])


def test_memory_that_is_given_back_is_not_guessed() -> None:
    model = loop(PAIR, [concatenation("a", "b", "s")], ("s", "a"), TWICE)
    with pytest.raises(UnsupportedModel, match=r"operator 0 \(WHILE\): the body hands input 2 on as output 3, and"):
        refquant.run(model, [times(1), A, B])


def random_loop(rng: np.random.Generator) -> Model:
    """Three values; each new one is an operator's result, an old value from any place, or a constant."""
    values = {name: floats(2) for name in "abc"}
    inner: dict[str, T] = {"k": constant([0.5, -3])}
    body = []
    for number in range(int(rng.integers(4))):
        a, b = rng.choice([*values, *inner], 2)
        inner[f"s{number}"] = floats(2)
        body.append(binary(str(rng.choice(["ADD", "SUB", "MUL"])), str(a), str(b), f"s{number}"))
    return loop(values, body, [str(name) for name in rng.choice([*values, *inner], 3)], inner)


@needs_litert
def test_random_loops() -> None:
    for seed in range(25):
        rng = np.random.default_rng(seed)
        model = random_loop(rng)
        steps = [[times(n), *rng.standard_normal((3, 2)).astype(np.float32)] for n in (2, 0, 5)]
        assert same_as_litert(model, steps) > 0, seed


def nested() -> Model:
    """A loop whose body runs a loop of as many rounds as `i` has by then, and an IF on the sum."""
    scalar, flag = T((), "INT32"), T((), "BOOL")
    state = {"i": scalar, "n": scalar, "a": floats(2)}
    graphs = Graphs().add(
        {**state, "zero": constant(0, np.int32), "j": scalar, "m": scalar, "out": floats(2)},
        [("WHILE", ("zero", "n", "a"), ("j", "m", "out"), {"cond_subgraph_index": 1, "body_subgraph_index": 2})],
        ("n", "a"),
        ("j", "out"),
    )
    less = [("LESS", ("i", "n"), ("go",), {})]
    graphs.add({**state, "go": flag}, less, tuple(state), ("go",))
    graphs.add(
        {
            **state,
            "zero": constant(0, np.int32),
            "one": constant(1, np.int32),
            "rounds": scalar,
            "same": scalar,
            "inner": floats(2),
            "next": scalar,
            "big": flag,
            "limit": constant(2, np.int32),
            "result": floats(2),
        },
        [
            (
                "WHILE",
                ("zero", "i", "a"),
                ("rounds", "same", "inner"),
                {"cond_subgraph_index": 3, "body_subgraph_index": 4},
            ),
            binary("ADD", "i", "one", "next"),
            ("LESS", ("limit", "next"), ("big",), {}),
            ("IF", ("big", "inner"), ("result",), {"then_subgraph_index": 5, "else_subgraph_index": 6}),
        ],
        tuple(state),
        ("next", "n", "result"),
    )
    graphs.add({**state, "go": flag}, less, tuple(state), ("go",))
    one, half = constant(1, np.int32), constant([0.5, 3])
    graphs.add(
        {**state, "one": one, "next": scalar, "half": half, "s": floats(2)},
        [binary("ADD", "i", "one", "next"), binary("ADD", "a", "half", "s")],
        tuple(state),
        ("next", "n", "s"),
    )
    graphs.add({"a": floats(2), "s": floats(2)}, [binary("MUL", "a", "a", "s")], ("a",), ("s",))
    graphs.add({"a": floats(2)}, [], ("a",), ("a",))
    return graphs.model()


@needs_litert
def test_nested_loops_and_branches() -> None:
    assert same_as_litert(nested(), [[times(n), A] for n in (0, 1, 3, 5)]) > 0


def streaming(n: int = 2) -> tuple[dict[str, T], Op]:
    """(the tensors of an SVDF on `a`, the operator that gives `s`)."""
    rng = np.random.default_rng(n)
    weights = {name: constant(rng.standard_normal((2, size))) for name, size in (("feature", n), ("time", 3))}
    tensors = {**weights, "state": T((1, 6), "FLOAT32", variable=True), "s": floats(1, 2)}
    options = {"rank": 1, "fused_activation_function": "NONE"}
    return tensors, ("SVDF", ("a", "feature", "time", "none", "state"), ("s",), options)


@needs_litert
def test_variable_tensors_of_a_body_last_from_round_to_round() -> None:
    """And from run to run only in an interpreter that preserves all tensors."""
    inner, svdf = streaming()
    inner["none"] = constant([0, 0])
    model = loop({"a": floats(1, 2)}, [svdf], ("s",), inner)
    x = np.array([[1, -2]], np.float32)
    assert same_as_litert(model, [[times(3), x], [times(2), x], [times(0), x], [times(4), -x], None, [times(2), x]]) > 0


@needs_litert
def test_variable_tensors_of_branches() -> None:
    inner, svdf = streaming()
    inner["none"] = constant([0, 0])
    options = {"then_subgraph_index": 1, "else_subgraph_index": 2}
    graphs = Graphs().add(
        {"c": T((), "BOOL"), "a": floats(1, 2), "y": floats(1, 2)},
        [("IF", ("c", "a"), ("y",), options)],
        ("c", "a"),
        ("y",),
    )
    graphs.add({"a": floats(1, 2), **inner}, [svdf], ("a",), ("s",))
    graphs.add({"a": floats(1, 2), "s": floats(1, 2)}, [("NEG", ("a",), ("s",), {})], ("a",), ("s",))
    x = np.array([[1, -2]], np.float32)
    steps = [[np.array(flag), x] for flag in (True, True, False, True)]
    assert same_as_litert(graphs.model(), [*steps, None, *steps]) > 0


# IF -----------------------------------------------------------------------------------------------------------------

BRANCHES: dict[str, tuple[list[Op], tuple[str, str], dict[str, T]]] = {
    "swap": ([], ("b", "a"), {}),
    "one input twice": ([], ("a", "a"), {}),
    "sum": ([binary("ADD", "a", "b", "s")], ("s", "a"), SUM),
    "constants": ([], ("s", "s"), {"s": constant([7, 8])}),
    "longer": ([concatenation("a", "b", "s")], ("s", "b"), TWICE),
    "longer twice": ([concatenation("a", "b", "s")], ("s", "s"), TWICE),
}
UNDEFINED = {"sum twice": ([binary("ADD", "a", "b", "s")], ("s", "s"), SUM)}


def branches(then: str, otherwise: str) -> Model:
    outputs = {"y": floats(2), "z": floats(2)}
    options = {"then_subgraph_index": 1, "else_subgraph_index": 2}
    graphs = Graphs().add(
        {"c": T((), "BOOL"), **PAIR, **outputs},
        [("IF", ("c", *PAIR), tuple(outputs), options)],
        ("c", *PAIR),
        tuple(outputs),
    )
    for name in (then, otherwise):
        operators, results, inner = (BRANCHES | UNDEFINED)[name]
        graphs.add({**PAIR, **inner}, operators, tuple(PAIR), results)
    return graphs.model()


@needs_litert
@pytest.mark.parametrize("then", BRANCHES)
@pytest.mark.parametrize("otherwise", ["swap", "constants", "longer"])
def test_if(then: str, otherwise: str) -> None:
    steps = [[np.array(flag), A, B] for flag in (True, False, True)]
    assert same_as_litert(branches(then, otherwise), steps) > 0


def test_samples_take_their_own_branch() -> None:
    outputs = {"y": floats(1, 2)}
    graphs = Graphs().add(
        {"c": T((1,), "BOOL"), "a": floats(1, 2), **outputs},
        [("IF", ("c", "a"), ("y",), {"then_subgraph_index": 1, "else_subgraph_index": 2})],
        ("c", "a"),
        ("y",),
    )
    for op in ("NEG", "ABS"):
        graphs.add({"a": floats(1, 2), "y": floats(1, 2)}, [(op, ("a",), ("y",), {})], ("a",), ("y",))
    x = np.array([[1, -2], [3, -4], [-5, 6]], np.float32)
    (y,) = refquant.run(graphs.model(), [np.array([True, False, True]), x])
    np.testing.assert_array_equal(y, [[-1, 2], [3, 4], [5, -6]])


# Resource variables -------------------------------------------------------------------------------------------------


def handle(name: str, output: str) -> Op:
    return "VAR_HANDLE", (), (output,), {"container": "", "shared_name": name}


def counters(read: tuple[int, ...] = (2,), once: bool = True) -> Model:
    """sum = variable + x; variable = sum; also a second variable, of other size, that keeps x + x."""
    resource = T((), "RESOURCE")
    graphs = Graphs().add(
        {
            "x": floats(2), "h": resource, "g": resource, "r": floats(*read), "s": floats(2), "again": floats(2),
            "d": floats(2), "kept": floats(2),
        },
        [
            *([("CALL_ONCE", (), (), {"init_subgraph_index": 1})] if once else []),
            handle("v", "h"),
            handle("w", "g"),
            ("READ_VARIABLE", ("h",), ("r",), {}),
            binary("ADD", "r", "x", "s"),
            ("ASSIGN_VARIABLE", ("h", "s"), (), {}),
            ("READ_VARIABLE", ("h",), ("again",), {}),
            binary("ADD", "x", "x", "d"),
            ("ASSIGN_VARIABLE", ("g", "d"), (), {}),
            ("READ_VARIABLE", ("g",), ("kept",), {}),
        ],
        ("x",),
        ("again", "kept"),
    )  # fmt: skip
    graphs.add(
        {"h": resource, "k": constant([5, 6])}, [handle("v", "h"), ("ASSIGN_VARIABLE", ("h", "k"), (), {})], (), ()
    )
    return graphs.model()


@needs_litert
@pytest.mark.parametrize("read", [(2,), (), (1,), (1, 2), (2, 1)])
def test_resource_variables(read: tuple[int, ...]) -> None:
    """A variable is read in the shape that the output has in the file; a reset leaves it."""
    steps = [[A], [B], [A], None, [B], [A]]
    assert same_as_litert(counters(read), steps) > 0


def counting_body() -> Model:
    """A loop whose body reads a variable by the handle that it is given, doubles it and assigns it."""
    scalar, resource = T((), "INT32"), T((), "RESOURCE")
    state = {"i": scalar, "n": scalar, "h": resource}
    graphs = Graphs().add(
        {
            **state,
            "x": floats(2),
            "zero": constant(0, np.int32),
            "j": scalar,
            "m": scalar,
            "g": resource,
            "y": floats(2),
        },
        [
            handle("v", "h"),
            ("ASSIGN_VARIABLE", ("h", "x"), (), {}),
            ("WHILE", ("zero", "n", "h"), ("j", "m", "g"), {"cond_subgraph_index": 1, "body_subgraph_index": 2}),
            ("READ_VARIABLE", ("g",), ("y",), {}),
        ],
        ("n", "x"),
        ("j", "y"),
    )
    graphs.add({**state, "go": T((), "BOOL")}, [("LESS", ("i", "n"), ("go",), {})], tuple(state), ("go",))
    graphs.add(
        {**state, "one": constant(1, np.int32), "next": scalar, "r": floats(2), "d": floats(2)},
        [
            ("READ_VARIABLE", ("h",), ("r",), {}),
            binary("ADD", "r", "r", "d"),
            ("ASSIGN_VARIABLE", ("h", "d"), (), {}),
            binary("ADD", "i", "one", "next"),
        ],
        tuple(state),
        ("next", "n", "h"),
    )
    return graphs.model()


@needs_litert
def test_a_body_takes_handles_of_resources() -> None:
    assert same_as_litert(counting_body(), [[times(n), A] for n in (3, 0, 1)]) > 0


@needs_litert
def test_resource_variables_survive_a_resize() -> None:
    assert same_as_litert(counters((1,)), [[A], [np.array([3, -4, 5], np.float32)], [B]]) > 0


def test_samples_are_runs_one_after_another() -> None:
    x = np.random.default_rng(0).standard_normal((5, 1, 2)).astype(np.float32)
    model = counters()
    interpreter = interpreter_of(model)
    alone = []
    for row in x:
        set_inputs(interpreter, [row[0]])
        interpreter.invoke()
        alone.append(interpreter.get_tensor(model.graph.outputs[0]))
    state, program = (
        refquant.program.new_state(model),
        refquant.program.prepare(model, refquant.runtimes.runtime_named("tflite_ref")),
    )
    inputs = {0: refquant.program.Value(x[:, 0], True)}
    outputs = refquant.program.execute(program, inputs, len(x), state=state)
    np.testing.assert_array_equal(outputs[model.graph.outputs[0]].array, alone)


@needs_litert
def test_a_variable_that_nothing_has_assigned_is_refused() -> None:
    model = counters(once=False)
    with pytest.raises(InvalidModel, match=r"operator 2 \(READ_VARIABLE\): 'r' reads a resource variable before"):
        refquant.run(model, A)
    with pytest.raises(Rejected, match="variable != nullptr"):
        litert.run(model.to_bytes(), [[A]])


# What is refused -----------------------------------------------------------------------------------------------------


def changed(model: Model, graph: int, position: int = 0, **fields: object) -> Model:
    """The model with other fields of one operator."""
    graphs = list(model.graphs)
    operators = list(graphs[graph].operators)
    operators[position] = replace(operators[position], **fields)
    graphs[graph] = replace(graphs[graph], operators=tuple(operators))
    return replace(model, graphs=tuple(graphs))


def ends(model: Model, graph: int, **fields: object) -> Model:
    """The model with other inputs or outputs of one subgraph."""
    graphs = list(model.graphs)
    graphs[graph] = replace(graphs[graph], **fields)
    return replace(model, graphs=tuple(graphs))


def with_tensor(graph: Graph, index: int, **fields: object) -> Graph:
    tensors = list(graph.tensors)
    tensors[index] = replace(tensors[index], **fields)
    return replace(graph, tensors=tuple(tensors))


SWAP = loop(PAIR, [], ("b", "a"), {})
CHOICE = branches("swap", "sum")
REFUSED: dict[str, tuple[Model, str]] = {
    "body is cond": (
        changed(
            ends(SWAP, 1, outputs=SWAP.graphs[1].inputs),
            0,
            options={"cond_subgraph_index": 2, "body_subgraph_index": 2},
        ),
        r"subgraph 0, operator 0 \(WHILE\): ",
    ),
    "no such subgraph": (
        changed(SWAP, 0, options={"cond_subgraph_index": 1, "body_subgraph_index": 9}),
        r"operator 0 \(WHILE\): body_subgraph_index is 9, but there are 3 subgraphs",
    ),
    "negative subgraph": (
        changed(SWAP, 0, options={"cond_subgraph_index": -1, "body_subgraph_index": 2}),
        r"operator 0 \(WHILE\): cond_subgraph_index is -1, but there are 3 subgraphs",
    ),
    "itself": (
        changed(SWAP, 0, options={"cond_subgraph_index": 1, "body_subgraph_index": 0}),
        r"subgraphs run each other in a circle: \[0, 0\]",
    ),
    "condition of many outputs": (
        ends(SWAP, 1, outputs=(*SWAP.graphs[1].outputs, 0)),
        r"subgraph 1 \(cond_subgraph_index\) has 4 input\(s\) and 2 output\(s\), not 4 and 1",
    ),
    "condition of floats": (ends(SWAP, 1, outputs=(2,)), r"the condition 'a' is FLOAT32; it must be BOOL"),
    "body of few outputs": (
        ends(SWAP, 2, outputs=SWAP.graphs[2].outputs[:3]),
        r"subgraph 2 \(body_subgraph_index\) has",
    ),
    "body of another type": (
        ends(SWAP, 2, outputs=(2, *SWAP.graphs[2].outputs[1:])),
        "input 0 is INT32, but the body's output 0 FLOAT32",
    ),
    "absent input": (changed(SWAP, 0, inputs=(-1, *SWAP.graph.operators[0].inputs[1:])), "input 0 is missing"),
    "too few outputs": (
        changed(ends(SWAP, 0, outputs=(5,)), 0, outputs=SWAP.graph.operators[0].outputs[:3]),
        r"takes 4 input\(s\) and 4 output\(s\), but has 4 and 3",
    ),
    "IF on a float": (changed(CHOICE, 0, inputs=(1, 1, 2)), r"operator 0 \(IF\): the condition 'a' is FLOAT32"),
    "IF on two": (
        replace(CHOICE, graphs=(with_tensor(CHOICE.graph, 0, shape=(2,)), *CHOICE.graphs[1:])),
        r"the condition must be one element, but has shape \(2,\)",
    ),
    "IF, branch of few outputs": (
        ends(CHOICE, 2, outputs=(1,)),
        r"subgraph 2 \(else_subgraph_index\) has 2 input\(s\)",
    ),
    "IF, one tensor twice": (branches("sum twice", "swap"), "gives one tensor as several outputs"),
    "CALL_ONCE with outputs": (ends(counters(), 1, outputs=(1,)), r"subgraph 1 \(init_subgraph_index\) has 0 input"),
    "READ_VARIABLE of a float": (changed(counters(), 0, 3, inputs=(0,)), "'x' is FLOAT32; a resource must be RESOURCE"),
    "READ_VARIABLE of nothing": (changed(counters(), 0, 3, inputs=(-1,)), "input 0 is missing"),
    "READ_VARIABLE of another type": (
        replace(counters(), graphs=(with_tensor(counters().graph, 3, type="INT32"), *counters().graphs[1:])),
        "'r' is INT32, but the resource variable holds float32|one type",
    ),
    "a handle of several elements": (
        replace(counters(), graphs=(with_tensor(counters().graph, 1, shape=(3,)), *counters().graphs[1:])),
        r"operator 1 \(VAR_HANDLE\): the handle 'h' has shape \(3,\), not one element",
    ),
    "a handle of no element": (
        replace(counters(), graphs=(with_tensor(counters().graph, 1, shape=(0,)), *counters().graphs[1:])),
        r"operator 3 \(READ_VARIABLE\): the handle of a resource variable has no elements",
    ),
    "ASSIGN_VARIABLE of nothing": (changed(counters(), 0, 5, inputs=(1,)), r"takes 2 input\(s\) and 0 output\(s\)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_clear_line(name: str) -> None:
    model, message = REFUSED[name]
    inputs = [np.ones(t.shape, t.dtype) for t in (model.graph.tensors[i] for i in model.graph.inputs)]
    with pytest.raises(RefquantError, match=message) as raised:
        refquant.run(model.to_bytes(), inputs)
    assert "\n" not in str(raised.value)
    assert "internal error" not in str(raised.value)


def test_subgraphs_that_run_each_other_are_not_prepared_for_ever() -> None:
    """Each runs the next one with two shapes, which would be 2^30 programs."""
    graphs, flag = Graphs(), T((), "BOOL")
    for number in range(30):
        called = {"then_subgraph_index": number + 1, "else_subgraph_index": number + 1}
        graphs.add(
            {"c": flag, "a": floats(1), "k": constant([1]), **{name: floats(1) for name in ("x", "y", "z", "w")}},
            [
                concatenation("a", "a", "x"),
                ("IF", ("c", "c", "x"), ("y",), called),
                concatenation("x", "k", "w"),
                ("IF", ("c", "c", "w"), ("z",), called),
            ],
            ("c", "a"),
            ("y",),
        )
    graphs.add({"c": flag, "a": floats(1)}, [], ("c", "a"), ("a",))
    with pytest.raises(UnsupportedModel, match="one is called with more than 1000 different shapes"):
        refquant.run(graphs.model(), [np.array(True), np.ones(1, np.float32)])


def test_subgraphs_nested_too_deep_are_refused() -> None:
    graphs = Graphs()
    for number in range(70):
        called = {"then_subgraph_index": number + 1, "else_subgraph_index": number + 1}
        tensors = {"c": T((), "BOOL"), "a": floats(1), "y": floats(1)}
        graphs.add(tensors, [("IF", ("c", "c", "a"), ("y",), called)], ("c", "a"), ("y",))
    graphs.add({"c": T((), "BOOL"), "a": floats(1)}, [], ("c", "a"), ("a",))
    with pytest.raises(UnsupportedModel, match="more than 64 subgraphs run inside each other"):
        refquant.run(graphs.model(), [np.array(True), np.ones(1, np.float32)])


def test_a_loop_without_end_can_be_interrupted() -> None:
    graphs = Graphs().add(
        {"a": floats(2), "y": floats(2)},
        [("WHILE", ("a",), ("y",), {"cond_subgraph_index": 1, "body_subgraph_index": 2})],
        ("a",),
        ("y",),
    )
    graphs.add({"a": floats(2), "go": constant([True], bool)}, [], ("a",), ("go",))
    graphs.add({"a": floats(2), "y": floats(2)}, [("NEG", ("a",), ("y",), {})], ("a",), ("y",))

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            refquant.run(graphs.model(), A)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# The interpreter ----------------------------------------------------------------------------------------------------


def signed_counters() -> Model:
    """Three signatures: `add` and `get` share a variable, `twice` is a subgraph of its own."""
    model = counters()
    graphs = Graphs(list(model.buffers), list(model.graphs))
    graphs.add(
        {"h": T((), "RESOURCE"), "r": floats(2)},
        [("CALL_ONCE", (), (), {"init_subgraph_index": 1}), handle("v", "h"), ("READ_VARIABLE", ("h",), ("r",), {})],
        (),
        ("r",),
    )
    graphs.add({"x": floats(1, 2), "y": floats(1, 2)}, [binary("ADD", "x", "x", "y")], ("x",), ("y",))
    names = [tensor.name for tensor in model.graph.tensors]
    signatures = (
        Signature("add", (("x", 0),), (("sum", names.index("again")), ("twice", names.index("kept")))),
        Signature("get", (), (("value", 1),), 2),
        Signature("twice", (("x", 0),), (("y", 1),), 3),
    )
    return graphs.model(signatures=signatures)


@needs_litert
def test_signatures_and_dictionaries_equal_those_of_litert() -> None:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    data = signed_counters().to_bytes()
    ours = refquant.Interpreter(model_content=data)
    theirs = Interpreter(model_content=data, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    np.testing.assert_equal(ours.get_signature_list(), theirs.get_signature_list())
    runners = {
        key: (ours.get_signature_runner(key), theirs.get_signature_runner(key)) for key in ("add", "get", "twice")
    }
    for key, mine, their in ((key, *pair) for key, pair in runners.items()):
        np.testing.assert_equal(mine.get_input_details(), their.get_input_details(), err_msg=key)
        np.testing.assert_equal(mine.get_output_details(), their.get_output_details(), err_msg=key)
    calls: list[tuple[str, dict[str, np.ndarray]]] = [
        ("get", {}),
        ("add", {"x": A}),
        ("get", {}),
        ("add", {"x": B}),
        ("twice", {"x": np.ones((3, 2), np.float32)}),
        ("get", {}),
    ]
    for key, arrays in calls:
        mine, their = (runner(**arrays) for runner in runners[key])
        np.testing.assert_equal(mine, their, err_msg=key)
    assert ours.num_subgraphs() == theirs.num_subgraphs() == 4
    for subgraph in range(4):
        np.testing.assert_equal(ours.get_tensor_details(subgraph), theirs.get_tensor_details(subgraph))
    np.testing.assert_equal(ours._get_ops_details(), theirs._get_ops_details())
    np.testing.assert_equal(ours._get_op_details(3), theirs._get_op_details(3))
    np.testing.assert_equal(ours.get_tensor(1, 1), theirs.get_tensor(1, 1))


@needs_litert
def test_a_zero_point_of_more_than_32_bits_is_cut_off_in_dictionaries() -> None:
    from ai_edge_litert.interpreter import Interpreter

    large = Quantization(scale=(0.5,), zero_point=(2**40 + 7,))
    model = replace(SWAP, graphs=(with_tensor(SWAP.graph, 2, quantization=large), *SWAP.graphs[1:]))
    details = [
        each(model_content=model.to_bytes()).get_tensor_details()[2] for each in (refquant.Interpreter, Interpreter)
    ]
    np.testing.assert_equal(*details)
    assert details[0]["quantization"] == (0.5, 7)


@needs_litert
def test_dictionaries_of_loops_equal_those_of_litert() -> None:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    data = nested().to_bytes()
    ours = refquant.Interpreter(model_content=data)
    theirs = Interpreter(model_content=data, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    for phase in ("new", "allocated", "invoked"):
        if phase != "new":
            ours.allocate_tensors()
            theirs.allocate_tensors()
        if phase == "invoked":
            for interpreter in (ours, theirs):
                for detail, array in zip(interpreter.get_input_details(), [times(3), A], strict=True):
                    interpreter.set_tensor(detail["index"], array)
                interpreter.invoke()
        for subgraph in range(ours.num_subgraphs()):
            np.testing.assert_equal(ours.get_tensor_details(subgraph), theirs.get_tensor_details(subgraph), phase)
        np.testing.assert_equal(ours._get_ops_details(), theirs._get_ops_details(), phase)


def test_variables_and_constants_through_the_interpreter() -> None:
    inner, svdf = streaming()
    graphs = Graphs().add({"a": floats(1, 2), "none": constant([0, 0]), **inner}, [svdf], ("a",), ("s",))
    model = graphs.model()
    ours = refquant.Interpreter(model_content=model.to_bytes())
    state = next(index for index, tensor in enumerate(model.graph.tensors) if tensor.is_variable)
    np.testing.assert_array_equal(ours.get_tensor(1), [0, 0])  # a constant, before anything is allocated
    with pytest.raises(InvalidInput, match="call allocate_tensors first"):
        ours.reset_all_variables()
    ours.allocate_tensors()
    given = np.arange(6, dtype=np.float32).reshape(1, 6)
    ours.set_tensor(state, given)
    ours.allocate_tensors()  # nothing has changed: the variable stays
    np.testing.assert_array_equal(ours.get_tensor(state), given)
    ours.reset_all_variables()
    np.testing.assert_array_equal(ours.get_tensor(state), np.zeros((1, 6)))
    with pytest.raises(InvalidInput, match="there is no subgraph 1; the model has 1"):
        ours.get_tensor(0, 1)
    with pytest.raises(InvalidInput, match="there is no operator 1; the model has 1"):
        ours._get_op_details(1)
