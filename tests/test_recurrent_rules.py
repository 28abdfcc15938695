"""UNIDIRECTIONAL_SEQUENCE_LSTM without a runtime: the slow twin, what holds of any LSTM, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import slow_recurrent
from cases import recurrent
from cases.recurrent import Form
from models import Case
from refquant import Interpreter
from refquant.arithmetic.eigen_product import eigen_product
from refquant.arithmetic.fixed_point_int16 import logistic_table, tanh_table
from refquant.arithmetic.multiplier import multiply_by_quantized_multiplier_in_vectors
from refquant.errors import InvalidModel, RefquantError, UnsupportedModel
from refquant.kernels.recurrent_float import observed_float_lstm
from refquant.model import write_model
from refquant.model.graph import Model, Quantization
from refquant.program import prepare
from refquant.runtimes import runtime_named

GENERATORS: dict[str, Callable[..., Case]] = {
    "float": recurrent.lstm_float,
    "hybrid": recurrent.lstm_hybrid,
    "int8": recurrent.lstm_int8,
}
FORM = Form(3, 4, 5, 8, 8, False, False, True, False, False, False, (False,) * 4, 24)


def outputs(model: Model, samples: list[np.ndarray]) -> list[np.ndarray]:
    """One run after another."""
    interpreter = Interpreter(model_content=write_model(model))
    interpreter.allocate_tensors()
    given, made = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    results = []
    for sample in samples:
        interpreter.set_tensor(given, sample)
        interpreter.invoke()
        results.append(interpreter.get_tensor(made))
    return results


def edited(model: Model, tensors: dict[int, dict] | None = None, **operator: object) -> Model:
    """The model with fields of tensors or of its operator replaced."""
    graph = model.graph
    changed = tuple(replace(t, **(tensors or {}).get(index, {})) for index, t in enumerate(graph.tensors))
    return model.with_graph(replace(graph, tensors=changed, operators=(replace(graph.operators[0], **operator),)))


def resized(model: Model, batch: int, steps: int) -> Model:
    """The same LSTM for other sequences."""
    (operator,), tensors = model.graph.operators, model.graph.tensors
    outer = (steps, batch) if operator.options["time_major"] else (batch, steps)
    shapes = {operator.inputs[0]: (*outer, tensors[operator.inputs[0]].shape[2])}
    shapes.update({index: (batch, tensors[index].shape[1]) for index in operator.inputs[18:20]})
    return edited(model, {index: {"shape": shape} for index, shape in shapes.items()})


@pytest.mark.parametrize("seed", range(40))
def test_equal_to_the_twin(seed: int) -> None:
    rng = np.random.default_rng([seed, 1])
    sizes = (1, 2, 3, 4, 7, 17) if seed % 4 == 0 else (1, 2, 3, 4, 5)
    case = recurrent.lstm_int8(rng, replace(recurrent.form(rng, False, sizes), batch=2, steps=2))
    samples = [sample for (sample,) in case.samples[:3]]
    got = [output.tolist() for output in outputs(case.model, samples)]
    assert got == slow_recurrent.run(case.model, samples)


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("time_major", [False, True])
def test_a_sequence_may_come_in_parts(name: str, time_major: bool) -> None:
    rng = np.random.default_rng(2)
    case = GENERATORS[name](rng, replace(FORM, time_major=time_major))
    whole = case.samples[0][0]
    axis = 0 if time_major else 1
    parts = outputs(resized(case.model, 3, 2), np.split(whole, 2, axis=axis))
    assert np.array_equal(np.concatenate(parts, axis=axis), outputs(case.model, [whole])[0])


@pytest.mark.parametrize("name", GENERATORS)
def test_sequences_do_not_see_each_other(name: str) -> None:
    case = GENERATORS[name](np.random.default_rng(3), FORM)
    whole = case.samples[0][0]
    alone = [outputs(resized(case.model, 1, 4), [row[np.newaxis]])[0] for row in whole]
    assert np.array_equal(np.concatenate(alone), outputs(case.model, [whole])[0])


def test_the_order_of_axes_does_not_matter_to_integers() -> None:
    case = recurrent.lstm_int8(np.random.default_rng(4), FORM)
    x = case.samples[0][0]
    (operator,) = case.model.graph.operators
    tensors = {operator.inputs[0]: {"shape": (4, 3, 5)}}
    turned = edited(case.model, tensors, options={**operator.options, "time_major": True})
    assert np.array_equal(outputs(turned, [x.swapaxes(0, 1)])[0].swapaxes(0, 1), outputs(case.model, [x])[0])


def test_a_reset_begins_again() -> None:
    for generator in GENERATORS.values():
        case = generator(np.random.default_rng(5), FORM)
        first = case.samples[0][0]
        interpreter = Interpreter(model_content=write_model(case.model))
        interpreter.allocate_tensors()
        seen = []
        for reset in (False, False, True):
            if reset:
                interpreter.reset_all_variables()
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], first)
            interpreter.invoke()
            seen.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
        assert np.array_equal(seen[0], seen[2])
        assert not np.array_equal(seen[0], seen[1])


@pytest.mark.parametrize("normalized", [False, True])
def test_what_a_calibrator_sees(normalized: bool) -> None:
    """Without a projection, the hidden value is the output; with layer normalization there are the gates' sums, too."""
    form = replace(FORM, layer_norm=normalized)
    case = recurrent.lstm_float(np.random.default_rng(6), form)
    options = {**case.model.graph.operators[0].options, "proj_clip": 0.0, "fused_activation_function": "TANH"}
    program = prepare(edited(case.model, options=options), runtime_named("tflite_ref"))
    (step,) = program.steps
    arrays: list[np.ndarray | None] = [None] * 24
    arrays[0] = case.samples[0][0]
    arrays[18], arrays[19] = (np.zeros((3, 8), np.float32) for _ in range(2))
    seen: dict[int, list[np.ndarray]] = {}
    output, *_ = observed_float_lstm(step.params, arrays, lambda i, x: seen.setdefault(i, []).append(x.copy()))
    assert sorted(seen) == ([0, 1, 2, 3, 4] if normalized else [4])
    assert all(len(values) == 4 for values in seen.values())
    assert np.array_equal(np.stack(seen[4], axis=1).reshape(3, 4, 8), output)


REFUSED: dict[str, tuple[Callable[..., Case], Callable[[Model], Model], type[RefquantError], str]] = {
    "a state that is no variable": (
        recurrent.lstm_float,
        lambda m: edited(m, {m.graph.operators[0].inputs[18]: {"is_variable": False}}),
        InvalidModel,
        "input 18",
    ),
    "a clip below 0": (
        recurrent.lstm_float,
        lambda m: edited(m, options={**m.graph.operators[0].options, "cell_clip": -1.0}),
        InvalidModel,
        "cell_clip is -1.0",
    ),
    "a missing gate": (
        recurrent.lstm_float,
        lambda m: edited(m, inputs=tuple(-1 if i == 6 else t for i, t in enumerate(m.graph.operators[0].inputs))),
        InvalidModel,
        "input 6, of the forget gate, is missing",
    ),
    "half of a peephole": (
        recurrent.lstm_float,
        lambda m: edited(m, inputs=tuple(-1 if i == 10 else t for i, t in enumerate(m.graph.operators[0].inputs))),
        InvalidModel,
        "input 10, of the forget gate, is missing",
    ),
    "21 inputs": (
        recurrent.lstm_float,
        lambda m: edited(m, inputs=m.graph.operators[0].inputs[:21]),
        InvalidModel,
        "takes 20 or 24 inputs",
    ),
    "no intermediates": (
        recurrent.lstm_int8,
        lambda m: edited(m, intermediates=()),
        InvalidModel,
        "has 0 intermediate tensors; on int8 it needs 5",
    ),
    "a cell's scale of no power of two": (
        recurrent.lstm_int8,
        lambda m: edited(m, {m.graph.operators[0].inputs[19]: {"quantization": Quantization((0.375,), (0,))}}),
        UnsupportedModel,
        "built are the powers of two",
    ),
    "a state of another size": (
        recurrent.lstm_int8,
        lambda m: edited(m, {m.graph.operators[0].inputs[18]: {"shape": (3, 7)}}),
        InvalidModel,
        "the state has 24 elements",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    generator, edit, error, text = REFUSED[name]
    case = generator(np.random.default_rng(7), FORM)
    with pytest.raises(error, match=text):
        outputs(edit(case.model), [case.samples[0][0]])


def test_without_an_input_gate_there_is_nothing_in_the_place_of_a_tanh() -> None:
    case = recurrent.lstm_int8(np.random.default_rng(8), replace(FORM, coupled=True))
    small = {case.model.graph.operators[0].inputs[19]: {"quantization": Quantization((2.0**-16,), (0,))}}
    with pytest.raises(UnsupportedModel, match="for which TFLite has no tanh"):
        outputs(edited(case.model, small), [case.samples[0][0]])


@pytest.mark.parametrize("m", [1, 2, 3, 4, 7, 8, 9, 12, 13])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 9])
def test_products_of_small_integers_are_exact_in_any_order(m: int, n: int) -> None:
    rng = np.random.default_rng(m * 100 + n)
    for k in (0, 1, 3, 4, 5, 8, 11, 15, 16, 17, 31, 90, 681, 1361):
        weights, x = (rng.integers(-9, 10, shape).astype(np.float32) for shape in ((m, k), (2, n, k)))
        assert np.array_equal(eigen_product(weights, x), x @ weights.T)


def test_vectors_round_half_way_values_up() -> None:
    """-2 * 1/4: by 16 up to 0, what is left over away from zero to -1."""
    made = multiply_by_quantized_multiplier_in_vectors(np.full((2, 35), -2), 1 << 30, -1)
    assert made.tolist() == [[0] * 32 + [-1] * 3] * 2


def test_tables_are_near_the_functions() -> None:
    x = np.arange(-(2**15), 2**15)
    assert np.abs(logistic_table(3) / 2**15 - 1 / (1 + np.exp(-x / 2**12))).max() < 13 / 2**15
    for bits in range(7):
        assert np.abs(tanh_table(bits) / 2**15 - np.tanh(x / 2.0 ** (15 - bits))).max() < 13 / 2**15
        assert np.array_equal(tanh_table(bits)[1:], -tanh_table(bits)[:0:-1])
