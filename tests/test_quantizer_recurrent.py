"""LSTM and SVDF: recipes, the values inside, calibration over a stream, and both quantizers, without TensorFlow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import refquant
from recurrent_graphs import (
    CELLS,
    FEATURES,
    STEPS,
    VARIANTS,
    lstm,
    one_svdf,
    recurrent_graph,
    sequence,
    shared_biases,
    stacked,
    svdf_in_a_row,
    variant,
)
from refquant.errors import NotQuantizable
from refquant.model.graph import Model, Operator
from refquant.quantizer import Calibration, calibrate, decide, quantize
from refquant.quantizer.legacy.arithmetic import power_of_two_scale
from refquant.quantizer.recurrent import recipe_of, with_intermediates
from refquant.quantizer.recurrent_parameters import derived_parameters

PLAIN, NORMALIZED, PROJECTED = VARIANTS[0], VARIANTS[8], VARIANTS[4]
OUTPUT = "unidirectional_sequence_lstm0"


def bare(model: Model) -> Model:
    """The model without ranges and without the tensors that calibration adds."""
    used = {t for o in model.graph.operators for t in (*o.inputs, *o.outputs)} | {*model.graph.inputs}
    tensors = [replace(tensor, quantization=None) for tensor in model.graph.tensors]
    while len(tensors) - 1 not in used:
        tensors.pop()
    operators = tuple(replace(operator, intermediates=()) for operator in model.graph.operators)
    return model.with_graph(replace(model.graph, tensors=tuple(tensors), operators=operators))


def lstm_of(present: set[int], count: int = 24) -> Operator:
    return Operator("UNIDIRECTIONAL_SEQUENCE_LSTM", tuple(0 if slot in present else -1 for slot in range(count)), (0,))


ALWAYS = {*range(9), 12, 13, 14, 15, 18, 19}


@pytest.mark.parametrize(
    ("more", "count", "slots", "int16", "gates"),
    [
        (set(), 24, [*range(9), 19, 12, 13, 14, 15], [19], 8),
        (set(), 20, [*range(9), 19, 12, 13, 14, 15], [19], 8),
        ({9, 10, 11}, 24, [*range(12), 19, 12, 13, 14, 15], [9, 10, 11, 19], 8),
        ({16, 17}, 24, [*range(9), 16, 19, 12, 13, 14, 15, 17], [19], 8),
        ({20, 21, 22, 23}, 24, [*range(9), 19, 20, 21, 22, 23, 12, 13, 14, 15], [19, 20, 21, 22, 23], 16),
    ],
)
def test_recipes(more: set[int], count: int, slots: list[int], int16: list[int], gates: int) -> None:
    recipe = recipe_of(lstm_of(ALWAYS | more, count))
    assert recipe is not None
    assert [operand.slot for operand in recipe.operands] == slots
    assert [operand.slot for operand in recipe.operands if operand.bits == 16] == int16
    assert recipe.intermediates == (gates, gates, gates, gates, 8)
    assert recipe.one_range == (18, 0)


def test_biases_follow_from_other_scales() -> None:
    plain, normalized = recipe_of(lstm_of(ALWAYS)), recipe_of(lstm_of(ALWAYS | {16, 17, 20, 21, 22, 23}))
    assert plain is not None
    assert normalized is not None
    assert [(o.slot, o.factors, o.factor) for o in plain.operands if o.bits == 32] == [
        (12, (0, 1), 1), (13, (0, 2), 1), (14, (0, 3), 1), (15, (0, 4), 1),
    ]  # fmt: skip
    assert [(o.slot, o.factors, o.intermediates, o.factor) for o in normalized.operands if o.bits == 32] == [
        (12, (20,), (), 2**-10), (13, (21,), (), 2**-10), (14, (22,), (), 2**-10), (15, (23,), (), 2**-10),
        (17, (16,), (4,), 1),
    ]  # fmt: skip


def test_other_operators_have_no_recipe() -> None:
    for operator in (Operator("ADD", (0, 0), (0,)), Operator("LSTM", (0,) * 5, (0,)), lstm_of(ALWAYS, 19)):
        assert recipe_of(operator) is None


def test_tensors_for_the_values_inside() -> None:
    model = bare(recurrent_graph(stacked, 1))
    added = with_intermediates(model)
    count = len(model.graph.tensors)
    assert added.graph.tensors[:count] == model.graph.tensors
    names = [f"intermediate_{position}_{number}" for position in (0, 1) for number in range(5)]
    assert [tensor.name for tensor in added.graph.tensors[count:]] == names
    assert [operator.intermediates for operator in added.graph.operators] == [
        tuple(range(count, count + 5)),
        tuple(range(count + 5, count + 10)),
        (),
    ]
    assert with_intermediates(added) is added
    svdf = bare(recurrent_graph(one_svdf, 1))
    assert with_intermediates(svdf) is svdf


@pytest.mark.parametrize(
    ("low", "high", "mlir", "legacy"),
    [
        (-0.3, 0.2, 2**-1, 2**0),
        (-1.0, 0.5, 2**0, 2**0),
        (-1.0, 1.0000001192092896, 2**1, 2**1),
        (0.0, 5.0, 2**3, 2**3),
        (-3000.0, 0.0, 2**12, 2**10),  # where the old quantizer stops
    ],
)
def test_the_cell_state_has_a_power_of_two(low: float, high: float, mlir: float, legacy: float) -> None:
    model = recurrent_graph(variant(PLAIN), 1)
    calibration = Calibration.from_model(model)
    entries = [
        replace(e, min=float(np.float32(low)), max=float(np.float32(high))) if e.name == "cell0" else e
        for e in calibration.tensors
    ]
    decision = decide(model, Calibration(tuple(entries)))
    (cell,) = (t for t in decision.tensors if t.name == "cell0")
    assert (cell.parameters.type, cell.parameters.scale, cell.parameters.zero_point) == ("INT16", (mlir / 32768,), (0,))
    assert power_of_two_scale((low, high)) == legacy / 32768


def test_derived_scale_is_narrowed_before_the_factor() -> None:
    (x,) = (derived_parameters([], 1.0),)
    assert x.scale == (1.0,)
    scales = [replace(x, scale=(0.1,)), replace(x, scale=(0.3,))]
    assert derived_parameters(scales, 0.7).scale == (float(np.float32(0.1 * 0.3)) * 0.7,)


def samples(model: Model, count: int = 3, scale: float = 1.0) -> list[list[np.ndarray]]:
    rng = np.random.default_rng(8)
    shapes = [model.graph.tensors[index].shape for index in model.graph.inputs]
    return [[rng.normal(0, scale, shape).astype(np.float32) for shape in shapes] for _ in range(count)]


@pytest.mark.parametrize("together", [1, 32])
def test_states_are_carried_from_sample_to_sample(together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two samples of a sequence give the ranges of one sample of twice the length, whether or not in one block."""
    monkeypatch.setattr("refquant.quantizer.engines.BLOCK_SAMPLES", together)

    def of(steps: int) -> Model:
        def build(b: object) -> None:
            lstm(b, b.input((1, steps, FEATURES)))  # type: ignore[attr-defined, arg-type]

        return bare(recurrent_graph(build, 2))

    x = np.random.default_rng(3).normal(0, 1, (1, 2 * STEPS, FEATURES)).astype(np.float32)
    halves = calibrate(of(STEPS), [x[:, :STEPS], x[:, STEPS:]]).ranges
    whole = calibrate(of(2 * STEPS), [x]).ranges
    for name in (OUTPUT, "intermediate_0_4", "in0"):
        assert halves[name] == pytest.approx(whole[name], rel=1e-5)
    apart = calibrate(of(STEPS), [x[:, STEPS:]]).ranges
    assert apart[OUTPUT] != pytest.approx(calibrate(of(STEPS), [x[:, :STEPS], x[:, STEPS:]]).ranges[OUTPUT], rel=1e-3)


def test_what_is_measured_inside() -> None:
    """Without projection the fifth value is the output; the sums in the gates are seen only where normalized."""
    plain = calibrate(model := bare(recurrent_graph(variant(PLAIN), 3)), samples(model)).ranges
    assert plain["intermediate_0_4"] == plain[OUTPUT]
    assert "intermediate_0_0" not in plain
    normalized = calibrate(model := bare(recurrent_graph(variant(NORMALIZED), 3)), samples(model)).ranges
    assert {f"intermediate_0_{number}" for number in range(5)} <= normalized.keys()
    coupled = calibrate(model := bare(recurrent_graph(variant(VARIANTS[9]), 3)), samples(model)).ranges
    assert "intermediate_0_0" not in coupled
    assert "intermediate_0_1" in coupled
    projected = calibrate(model := bare(recurrent_graph(variant(PROJECTED), 3)), samples(model)).ranges
    assert projected["intermediate_0_4"] != projected[OUTPUT]


def test_a_calibration_survives_its_file(tmp_path: object) -> None:
    model = bare(recurrent_graph(stacked, 4))
    calibration = calibrate(model, samples(model))
    path = f"{tmp_path}/ranges.json"
    calibration.save(path)
    assert Calibration.load(path) == calibration
    assert quantize(model, Calibration.load(path)).to_bytes() == quantize(model, calibration).to_bytes()


def test_other_estimators_look_inside_too() -> None:
    model = bare(recurrent_graph(variant(PROJECTED), 5))
    calibration = calibrate(model, samples(model), estimator="percentile", percentile=90)
    assert "intermediate_0_4" in calibration.ranges
    quantize(model, calibration)


@pytest.mark.parametrize("build", [variant(PLAIN), variant(VARIANTS[12]), svdf_in_a_row])
@pytest.mark.parametrize("options", [{}, {"quantizer": "legacy"}, {"mode": "int16x8"}], ids=str)
def test_the_quantized_model_computes_nearly_the_same(build: object, options: dict[str, str]) -> None:
    model = bare(recurrent_graph(build, 6))  # type: ignore[arg-type]
    given = samples(model)
    mine = quantize(model, calibrate(model, given), **options)
    for sample in given[:1]:
        want, got = refquant.run(model, sample[0]), refquant.run(mine, sample[0])
        a, b = (value[0] if isinstance(value, list | tuple) else value for value in (want, got))
        a, b = (next(iter(v.values())) if isinstance(v, dict) else v for v in (a, b))
        assert np.abs(a - b).max() < 0.15 * np.abs(a).max() + 0.02


def test_reasons() -> None:
    decision = decide(model := recurrent_graph(variant(VARIANTS[12]), 7), Calibration.from_model(model))
    why = {t.name: t.why for t in decision.tensors}
    assert why["intermediate_0_4"].kind == "calibrated"
    assert why["cell0"].kind == "calibrated"
    cell = model.graph.operators[0]
    name = {slot: model.graph.tensors[tensor].name for slot, tensor in enumerate(cell.inputs) if tensor >= 0}
    assert why[name[1]].kind == "weights"
    assert why[name[20]].text.endswith("one scale, max |w| / 32767")
    assert why[name[17]].text == (
        f"bias of operator 0 (UNIDIRECTIONAL_SEQUENCE_LSTM): the scale of '{name[16]}' times the scale of "
        "'intermediate_0_4'"
    )
    assert why[name[12]].text.endswith(f"the scale of '{name[20]}' times {2**-10}")
    assert not decision.float_operators
    assert str(decision)


def test_the_old_quantizer_shares_biases_no_longer() -> None:
    """Of one bias for all gates TensorFlow keeps the first gate's scale; here each gate has a copy."""
    model = recurrent_graph(shared_biases, 8)
    calibration = Calibration.from_model(model)
    mine = quantize(model, calibration, quantizer="legacy")
    theirs = quantize(model, calibration, quantizer="legacy", reproduce_defects=True)
    for made, count in ((mine, 4), (theirs, 1)):
        (cell,) = (o for o in made.graph.operators if o.name == "UNIDIRECTIONAL_SEQUENCE_LSTM")
        assert len({cell.inputs[slot] for slot in range(12, 16)}) == count
    decision = decide(model, calibration, quantizer="legacy")
    assert {defect.key for defect in decision.avoided} == {"legacy-shared-bias"}


def test_int16_activations_leave_an_lstm_as_it_is() -> None:
    model = recurrent_graph(stacked, 9)
    calibration = Calibration.from_model(model)
    mine = quantize(model, calibration, mode="int16x8")
    cells = [o for o in mine.graph.operators if o.name == "UNIDIRECTIONAL_SEQUENCE_LSTM"]
    assert {mine.graph.tensors[t].type for o in cells for t in (*o.inputs, *o.outputs) if t >= 0} == {"FLOAT32"}
    decision = decide(model, calibration, mode="int16x8")
    assert [d.operator for d in decision.avoided if d.key == "legacy-lstm-stays-float"] == [0, 1]
    with pytest.raises(NotQuantizable, match=r"operator 2 \(FULLY_CONNECTED\): its input .* is int8"):
        quantize(model, calibration, mode="int16x8", reproduce_defects=True)
    with pytest.raises(NotQuantizable, match="2 operators would stay float"):
        quantize(model, calibration, mode="int16x8", allow_float=False)


@pytest.mark.parametrize("quantizer", ["mlir", "legacy"])
def test_what_is_not_calibrated_is_refused(quantizer: str) -> None:
    model = recurrent_graph(variant(PROJECTED), 10)
    for name in ("state0", "cell0", "intermediate_0_4"):
        entries = tuple(e for e in Calibration.from_model(model).tensors if e.name != name)
        with pytest.raises(NotQuantizable, match=r"operator 0 \(UNIDIRECTIONAL_SEQUENCE_LSTM\)"):
            quantize(model, Calibration(entries), quantizer=quantizer)


def test_a_malformed_lstm_is_refused() -> None:
    model = recurrent_graph(variant(PLAIN), 11)
    (cell,) = model.graph.operators
    short = model.with_graph(replace(model.graph, operators=(replace(cell, inputs=cell.inputs[:19]),)))
    for quantizer in ("mlir", "legacy"):
        with pytest.raises(NotQuantizable, match=r"operator 0 \(\w+\): an LSTM has 5, 20 or 24 operands, not 19"):
            quantize(short, Calibration.from_model(model), quantizer=quantizer)
    mute = model.with_graph(replace(model.graph, operators=(replace(cell, outputs=()),), outputs=()))
    for quantizer in ("mlir", "legacy"):
        with pytest.raises(NotQuantizable, match=r"operator 0 \(UNIDIRECTIONAL_SEQUENCE_LSTM\): it has no result"):
            quantize(mute, Calibration.from_model(model), quantizer=quantizer)


def test_values_inside_other_operators_are_refused() -> None:
    model = recurrent_graph(svdf_in_a_row, 11)
    first, *others = model.graph.operators
    odd = model.with_graph(replace(model.graph, operators=(replace(first, intermediates=(0,)), *others)))
    with pytest.raises(NotQuantizable, match=r"operator 0 \(\w+\): it has intermediate tensors \[0\], which only an"):
        quantize(odd, Calibration.from_model(model))


@pytest.mark.parametrize("held", [(), (3, 4), (-1, 0, 1, 2, 3), (0, 1, 2, 3, 4, 5)])
def test_values_inside_that_only_some_lstms_have_are_refused(held: tuple[int, ...]) -> None:
    model = recurrent_graph(stacked, 11)
    first, *others = model.graph.operators
    odd = model.with_graph(replace(model.graph, operators=(replace(first, intermediates=held), *others)))
    message = r"operator 0 \(UNIDIRECTIONAL_SEQUENCE_LSTM\): an LSTM has 5 intermediate tensors"
    with pytest.raises(NotQuantizable, match=message):
        quantize(odd, Calibration.from_model(model))
    with pytest.raises(NotQuantizable, match=message):
        calibrate(odd, [np.zeros((1, STEPS, FEATURES), np.float32)])


@pytest.mark.parametrize("options", [{}, {"quantizer": "legacy"}, {"mode": "int16x8"}, {"mode": "float16"}], ids=str)
def test_a_state_that_is_an_output_is_refused(options: dict[str, str]) -> None:
    model = recurrent_graph(variant(PLAIN), 11)
    state = model.graph.operators[0].inputs[18]
    shown = model.with_graph(replace(model.graph, outputs=(*model.graph.outputs, state)))
    ranges = None if "float16" in options.values() else Calibration.from_model(model)
    with pytest.raises(NotQuantizable, match="'state0' is a variable tensor and an input or output at once"):
        quantize(shown, ranges, **options)


def test_the_graphs_are_what_they_say() -> None:
    assert len(VARIANTS) == 16
    model = recurrent_graph(lambda b: lstm(b, sequence(b)) and None, 0)
    assert model.graph.tensors[model.graph.outputs[0]].shape == (1, STEPS, CELLS)


@pytest.mark.parametrize("options", [{}, {"quantizer": "legacy"}], ids=str)
def test_diff_and_audit_take_such_files(options: dict[str, str]) -> None:
    """A changed scale inside an LSTM is a difference; the audit judges what is around it."""
    model = recurrent_graph(stacked, 12)
    calibration = Calibration.from_model(model)
    made = quantize(model, calibration, **options)
    assert refquant.compare_models(made, made).equal
    assert not refquant.audit_model(model, made, calibration).broken
    cell = next(o for o in made.graph.operators if o.intermediates)
    inside = made.graph.tensors[cell.intermediates[4]]
    assert inside.quantization is not None
    tensors = list(made.graph.tensors)
    tensors[cell.intermediates[4]] = replace(inside, quantization=replace(inside.quantization, scale=(0.5,)))
    changed = made.with_graph(replace(made.graph, tensors=tuple(tensors)))
    (difference,) = refquant.compare_models(made, changed).differences
    assert difference.slot == "intermediate 4"
