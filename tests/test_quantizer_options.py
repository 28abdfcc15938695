"""What the caller may ask of the quantizer: operators left in float, none left in float, and the reasons of it all."""

from __future__ import annotations

import importlib
import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import converter_oracle
import refquant
from converter_check import drawn_options, normalized
from converter_oracle import converter
from converter_oracle_graphs import (
    Builder,
    average_pool_2d,
    ints,
    max_pool_2d,
    random_dag,
    relu,
    rule_graph,
    sin,
    softmax,
    split,
    tanh,
)
from converter_oracle_ops import WIDE_OPS
from oracle import Crashed, Rejected
from refquant.compare import compare_models
from refquant.data import data_file
from refquant.errors import InvalidInput, NotQuantizable, RefquantError
from refquant.model import read_model, write_model
from refquant.model.graph import Model, Quantization, Signature
from refquant.quantizer import Calibration, decide_int8
from refquant.quantizer.decide import Decision
from refquant.quantizer.int8 import Int8Options
from refquant.quantizer.quantize import ROUTES
from refquant.quantizer.rules import OP_RULES
from refquant.quantizer.why import KINDS, Why
from test_cli import refq  # noqa: F401  (a fixture)
from test_quantizer_oracle import REAL_MODELS, real_model
from test_quantizer_rules import FURTHER_OPS, MODELLED, is_int8, model_of, names, ranges_of

quantize_module = importlib.import_module("refquant.quantizer.quantize")  # the package has a function of that name

IMAGE = (1, 4, 4, 4)
OPS = {
    op: build for op, build in WIDE_OPS.items() if op != "ADD_N"
}  # whose operands the converter puts in another order


def built(build: Callable[[Builder], object], without: tuple[str, ...] = ()) -> tuple[Model, Calibration]:
    """A graph whose tensors range from -1 - i to 2 + i, but for those of the names `without`."""
    b = Builder(np.random.default_rng(0))
    build(b)
    b.tensors = [
        replace(t, quantization=Quantization(min=(-1.0 - i,), max=(2.0 + i,)) if t.name not in without else None)
        if t.quantization is not None
        else t
        for i, t in enumerate(b.tensors)
    ]
    model = b.model(b.extra_outputs)
    return model, ranges_of(model)


def chain(b: Builder) -> None:
    softmax(b, tanh(b, relu(b, b.input(IMAGE))[0])[0])


def whys(decision: Decision) -> dict[str, Why]:
    return {tensor.name: tensor.why for tensor in decision.tensors}


# denied operators


# models that a quantizer cannot take

MODES = [
    (mode, quantizer) for mode, quantizer in ROUTES if mode != "qat"
]  # whose models need no pairs of QUANTIZE and DEQUANTIZE


@pytest.mark.parametrize(("mode", "quantizer"), MODES)
def test_a_signature_of_another_tensor_is_refused(mode: str, quantizer: str) -> None:
    model, calibration = built(chain)
    inner = model.graph.operators[0].outputs[0]
    signed = replace(model, signatures=(Signature("serve", (), (("y", inner),)),))
    ranges = calibration if ROUTES[mode, quantizer].calibrated else None
    with pytest.raises(NotQuantizable, match=f"signature 'serve': output 'y' is tensor {inner}, which is no output"):
        refquant.quantize(signed, ranges, mode, quantizer=quantizer)


@pytest.mark.parametrize(("mode", "quantizer"), MODES)
def test_the_data_of_an_input_counts_for_nothing(mode: str, quantizer: str) -> None:
    """A runtime never reads it, and the converter does not see it."""
    model, calibration = built(chain)
    ranges = calibration if ROUTES[mode, quantizer].calibrated else None
    tensors, (given,) = list(model.graph.tensors), model.graph.inputs
    tensors[given] = replace(tensors[given], buffer=len(model.buffers))
    data = np.ones(tensors[given].shape, np.float32).tobytes()
    filled = replace(model.with_graph(replace(model.graph, tensors=tuple(tensors))), buffers=(*model.buffers, data))
    wanted = refquant.quantize(model, ranges, mode, quantizer=quantizer)
    comparison = compare_models(refquant.quantize(filled, ranges, mode, quantizer=quantizer), wanted)
    assert comparison.equal, str(comparison)


@pytest.mark.parametrize(("mode", "quantizer"), MODES)
def test_a_result_of_no_elements_is_no_constant(mode: str, quantizer: str) -> None:
    """Its buffer is empty, like that of a constant of no elements."""
    model = refquant.load(data_file("golden/models/digits_cnn_float.tflite"))
    calibration = refquant.calibrate(model, [np.zeros((1, 8, 8), np.float32)])
    tensors = list(model.graph.tensors)
    (inner,) = next(o.outputs for o in model.graph.operators if o.name == "RESHAPE")
    assert model.buffers[tensors[inner].buffer] == b""
    tensors[inner] = replace(tensors[inner], shape=(0,))
    odd = model.with_graph(replace(model.graph, tensors=tuple(tensors)))
    made = refquant.quantize(
        odd, calibration if ROUTES[mode, quantizer].calibrated else None, mode, quantizer=quantizer
    )
    working = [[o.name for o in each.graph.operators if "QUANTIZE" not in o.name] for each in (model, made)]
    assert working[0] == working[1]


def test_a_fault_of_a_quantizer_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(*arguments: object) -> None:
        raise KeyError("a\nb")

    model, calibration = built(chain)
    monkeypatch.setattr(quantize_module, "ROUTES", {("int8", "mlir"): replace(ROUTES["int8", "mlir"], decide=faulty)})
    message = r"^quantizing with mode 'int8': internal error \(KeyError: 'a\\nb'\); please report it with the model$"
    with pytest.raises(RefquantError, match=message):
        refquant.quantize(model, calibration)


@pytest.mark.parametrize("denied", [{"denied_ops": ["TANH"]}, {"denied_ops": {"Tanh"}}, {"denied_names": ("tanh1",)}])
def test_a_denied_operator_stays_float_between_int8_neighbours(denied: dict[str, Any]) -> None:
    model, ranges = built(chain)
    quantized = refquant.quantize(model, ranges, **denied)
    assert names(quantized) == ["QUANTIZE", "RELU", "DEQUANTIZE", "TANH", "QUANTIZE", "SOFTMAX", "DEQUANTIZE"]
    (entry,) = refquant.decide(model, ranges, **denied).float_operators
    assert (entry.operator, entry.name) == (1, "TANH")
    assert entry.why.kind == ("denied name" if "denied_names" in denied else "denied op")


def test_a_denied_operator_keeps_its_part_in_the_parameters() -> None:
    """TANH's result has its fixed parameters, as if it were int8; a denied pool passes its operand's on."""
    model, ranges = built(chain)
    denied = whys(refquant.decide(model, ranges, denied_ops=["TANH"]))
    assert denied["tanh1"] == Why("fixed", "fixed by operator 1 (TANH)", 1)
    assert denied == whys(refquant.decide(model, ranges))


def test_both_lists_count_and_an_op_that_is_not_there_does_not_matter() -> None:
    model, ranges = built(chain)
    decision = refquant.decide(model, ranges, denied_ops=["SOFTMAX", "CONV_2D"], denied_names=["relu0"])
    assert [entry.operator for entry in decision.float_operators] == [0, 2]


def test_a_denied_pool_becomes_int8_all_the_same() -> None:
    """The converter moves the DEQUANTIZE behind it, where the tensor is smaller."""
    model, ranges = built(lambda b: max_pool_2d(b, relu(b, b.input(IMAGE))[0]))
    decision = refquant.decide(model, ranges, denied_ops=["MAX_POOL_2D"])
    assert decision.float_operators == ()
    assert whys(decision)["max_pool_2d1"].kind == "carried"
    assert names(refquant.quantize(model, ranges, denied_ops=["MAX_POOL_2D"])) == [
        "QUANTIZE", "RELU", "MAX_POOL_2D", "DEQUANTIZE",
    ]  # fmt: skip


def test_nothing_denied_is_nothing_changed() -> None:
    model, ranges = built(chain)
    assert refquant.quantize(model, ranges, denied_ops=[], denied_names=()) == refquant.quantize(model, ranges)


def two_results(b: Builder) -> None:
    split(b, b.input(IMAGE))


@pytest.mark.parametrize(
    ("build", "options", "message"),
    [
        (chain, {"denied_ops": ["TAN"]}, "denied_ops: TFLite has no op 'TAN'; the model has RELU, SOFTMAX, TANH"),
        (chain, {"denied_ops": ["tfl.tanh"]}, "TFLite has no op 'tfl.tanh'"),
        (chain, {"denied_names": ["tanh"]}, "no operator computes a tensor 'tanh'; 3 are there, as 'tanh1'"),
        (chain, {"denied_names": ["in0"]}, "no operator computes a tensor 'in0'; 3 are there, as "),
        (chain, {"denied_names": ["Tanh1"]}, "no operator computes a tensor 'Tanh1'; 3 are there, as 'tanh1'"),
        (two_results, {"denied_names": ["split0_1"]}, r"operator 0 \(SPLIT\), which has several: .* deny the op"),
        (FURTHER_OPS["UNIQUE"], {"denied_names": ["unique0_0"]}, r"operator 0 \(UNIQUE\), which has several"),
        (WIDE_OPS["TRANSPOSE_CONV"], {"denied_names": ["transpose_conv0"]}, r"\(TRANSPOSE_CONV\), whose name it loses"),
        (chain, {"denied_ops": "TANH"}, "denied_ops='TANH': it must be a list of names"),
        (chain, {"denied_names": [3]}, r"denied_names=\[3\]: it must be a list of names"),
    ],
)
def test_denials_that_name_nothing_are_refused(build: Callable, options: dict[str, Any], message: str) -> None:
    model, ranges = built(lambda b: build(b, b.input(IMAGE)) if build is WIDE_OPS["TRANSPOSE_CONV"] else build(b))
    with pytest.raises(InvalidInput, match=message) as raised:
        refquant.quantize(model, ranges, **options)
    assert "\n" not in str(raised.value)


def test_a_denied_operator_may_read_its_weights_as_int8() -> None:
    """As the converter does it with two ops, whatever keeps them in float."""
    for op in ("TRANSPOSE_CONV", "EMBEDDING_LOOKUP"):
        model = model_of(op)
        quantized = refquant.quantize(model, ranges_of(model), denied_ops=[op])
        (operator,) = quantized.graph.operators
        types = [quantized.graph.tensors[t].type for t in (*operator.inputs, *operator.outputs)]
        assert types.count("INT8") == 1
        assert quantized.graph.tensors[operator.inputs[1]].type == "INT8"


# none left in float


def test_allow_float_refuses_and_names_every_operator() -> None:
    def build(b: Builder) -> None:
        (s,) = sin(b, relu(b, b.input((2, 4)))[0])
        (r,) = b.op("REVERSE_SEQUENCE", [s, ints(b, [2, 3])], [(2, 4)], {"seq_dim": 1})
        relu(b, tanh(b, r)[0])

    model, ranges = built(build, without=("relu4",))
    with pytest.raises(NotQuantizable) as raised:
        refquant.quantize(model, ranges, allow_float=False, denied_ops=["TANH"])
    assert str(raised.value) == (
        "4 of the operators would not run on integers, as allow_float=False asks: "
        "operator 1 (SIN) stays float: the specification has no int8 form of SIN; "
        "operator 2 (REVERSE_SEQUENCE) becomes int8, but LiteRT has no int8 kernel of it; "
        "operator 3 (TANH) stays float: the op TANH is denied; "
        "operator 4 (RELU) stays float: its result 'relu4' has no parameters"
    )


def test_allow_float_accepts_what_is_all_integer() -> None:
    model, ranges = built(chain)
    assert refquant.quantize(model, ranges, allow_float=False) == refquant.quantize(model, ranges)


# reasons


def test_decide_tells_what_quantize_does() -> None:
    model, ranges = built(chain)
    options = {"input_type": "uint8", "output_type": "int8", "per_channel": False, "denied_ops": ["TANH"]}
    decision = refquant.decide(model, ranges, **options)
    assert decision == decide_int8(model, ranges, Int8Options("uint8", "int8", False, denied_ops=("TANH",)))
    quantized = refquant.quantize(model, ranges, **options)
    made = {t.name: t for t in quantized.graph.tensors}
    for tensor in decision.tensors:
        if tensor.name in made and made[tensor.name].type == "INT8":
            assert made[tensor.name].quantization == tensor.parameters.quantization()
    assert [c.op for c in decision.conversions] == [n for n in names(quantized) if n in ("QUANTIZE", "DEQUANTIZE")]
    assert [(c.before, c.after) for c in decision.conversions] == [
        ("UINT8", "INT8"), ("INT8", "FLOAT32"), ("FLOAT32", "INT8"),
    ]  # fmt: skip
    assert [c.why.kind for c in decision.conversions] == ["input type", "float operator", "float operator"]


def test_every_reason_is_of_a_known_kind() -> None:
    assert {"calibrated", "inherited", "fixed", "weights", "bias", "constant"} <= set(KINDS)
    with pytest.raises(AssertionError):
        Why("guessed", "")


def test_a_fixed_result_that_others_read_otherwise() -> None:
    """TANH computes its fixed parameters; the concatenation reads what its own result has, through a QUANTIZE."""
    decision = refquant.decide(*with_ranges_of(rule_graph("fixed_output_requantized", np.random.default_rng(0))))
    assert whys(decision)["tanh0"].kind == "fixed"
    (request,) = decision.requantize
    assert (request.name, request.produced.scale) == ("tanh0", (1 / 128,))
    assert (request.why.kind, request.why.operator) == ("inherited", 2)
    assert "has one scale, that of its output 0 'concatenation2'" in str(request.why)


def test_a_free_result_takes_what_its_readers_ask() -> None:
    decision = refquant.decide(*with_ranges_of(rule_graph("folded_requantization", np.random.default_rng(0))))
    assert decision.requantize == ()
    why = whys(decision)["add0"]
    assert why.kind == "asked"
    assert "has one scale, that of its input 0 'in0'" in why.text


def with_ranges_of(model: Model) -> tuple[Model, Calibration]:
    return model, ranges_of(model)


def arg_max(b: Builder, x: int) -> None:
    b.op("ARG_MAX", [x, ints(b, 1)], [(1,)], {"output_type": "INT32"}, "ArgMaxOptions", ("INT32",))


@pytest.mark.parametrize("first", ["output", "float operator", "argument"])
def test_an_operator_that_the_converter_does_not_reach(first: str) -> None:
    def build(b: Builder) -> None:
        (x,) = relu(b, b.input((1, 4)))
        if first == "argument":
            sin(b, x)
        arg_max(b, x)
        if first == "float operator":
            sin(b, x)
        b.extra_outputs = (x,) if first == "output" else ()

    decision = refquant.decide(*built(build))
    float_operators = {entry.name: entry.why for entry in decision.float_operators}
    if first == "argument":
        assert set(float_operators) == {"SIN"}
        return
    why = float_operators["ARG_MAX"]
    assert (why.kind, why.operator) == ("not reached", None if first == "output" else 2)
    assert ("graph output 0" if first == "output" else "operator 2 (SIN), which stays float") in str(why)


def only_indices(b: Builder) -> None:
    x = b.input((1, 4))
    values, _ = b.op("TOPK_V2", [x, ints(b, 2)], [(1, 2), (1, 2)], None, None, ("FLOAT32", "INT32"))
    relu(b, x)
    b.used.add(values)  # neither read nor an output


@pytest.mark.parametrize("without", [(), ("in0",)])
def test_a_result_that_nothing_reads(without: tuple[str, ...]) -> None:
    """TOPK_V2 for its indices only stays float, and the range of its values gives no parameters to its operand."""
    model, ranges = built(only_indices, without)
    decision = refquant.decide(model, ranges)
    kinds = {entry.name: entry.why.kind for entry in decision.float_operators}
    assert kinds == (
        {"TOPK_V2": "no parameters", "RELU": "no parameters"} if without else {"TOPK_V2": "unread results"}
    )


def test_names_in_sentences_are_short() -> None:
    model, _ = built(lambda b: max_pool_2d(b, relu(b, b.input(IMAGE))[0]))
    tensors = tuple(replace(t, name=f"{t.name}{'x' * 100};{t.name}") for t in model.graph.tensors)
    long_names = model.with_graph(replace(model.graph, tensors=tensors))
    why = refquant.decide(long_names, ranges_of(long_names)).tensors[-1].why
    assert str(why).endswith("that of its input 0 'relu0" + "x" * 34 + "…'")


# the command

FLOAT, RANGES = "golden/models/digits_ds_float.tflite", "golden/models/digits_ds_calibrated.tflite"


@pytest.fixture
def explain(refq) -> Callable[..., Any]:  # noqa: F811
    return lambda *options: refq("quantize", data_file(FLOAT), "--ranges-from", data_file(RANGES), *options)


def test_explain_prints_a_table_without_writing(explain: Callable[..., Any]) -> None:
    result = explain("--explain", "--denied-op", "mean")
    assert result.code == 0
    for text in ("calibrated: the range [0.0,", "weights of operator 0 (CONV_2D)", "fixed by operator 9 (SOFTMAX)",
                 "operators that stay float", "the op MEAN is denied", "conversions"):  # fmt: skip
        assert text in " ".join(result.out.replace("│", " ").split()), text


def test_explain_as_json_is_the_decision(explain: Callable[..., Any], tmp_path: Path) -> None:
    output = tmp_path / "q.tflite"
    report = json.loads(explain("--explain", "--json", "-o", output, "--denied-name", "digits_ds_1/mean_1/Mean").out)
    model, ranges = refquant.load(data_file(FLOAT)), Calibration.from_model(refquant.load(data_file(RANGES)))
    decision = refquant.decide(model, ranges, denied_names=["digits_ds_1/mean_1/Mean"])
    assert report["bytes"]["quantized"] == output.stat().st_size
    told = report["decision"]
    assert [t["why"]["text"] for t in told["tensors"]] == [str(t.why) for t in decision.tensors]
    assert [t["parameters"]["scale"] for t in told["tensors"]] == [list(t.parameters.scale) for t in decision.tensors]
    assert [f["name"] for f in told["float_operators"]] == ["MEAN"] == report["float_operators"]
    assert len(told["conversions"]) == len(decision.conversions) == 4
    assert told["requantize"] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "give --output, --explain or both"),
        (("--explain", "--denied-op", "MEEN"), "TFLite has no op 'MEEN'"),
        (("--explain", "--denied-name", "mean"), "no operator computes a tensor 'mean'"),
        (("--explain", "--no-allow-float", "--denied-op", "MEAN"), "operator 7 (MEAN) stays float"),
    ],
)
def test_bad_options_are_one_line(explain: Callable[..., Any], options: tuple[str, ...], message: str) -> None:
    result = explain(*options)
    assert result.code == 2
    assert message in result.err
    assert len(result.err.strip().splitlines()) == 1


# the same as TensorFlow

needs_tensorflow = [
    pytest.mark.tensorflow,
    pytest.mark.skipif(not converter_oracle.INSTALLED, reason=converter_oracle.MISSING),
]


class TestConverter:
    """convert.mlir_quantize with denylisted_ops and denylisted_nodes."""

    pytestmark = needs_tensorflow

    def same(
        self, model: Model, io: tuple[str, str] = ("float32", "float32"), versions: bool = False, **options: Any
    ) -> tuple[Model, int]:
        """TensorFlow's model, after refquant's has been found equal to it, and the slots compared."""
        data = write_model(model)
        want = read_model(converter.quantize(data, *io, **options))
        mine = read_model(data)
        got = read_model(refquant.quantize(mine, ranges_of(mine), "int8", *io, **options).to_bytes())
        comparison = compare_models(got, want)
        assert comparison.equal, f"{options}: {comparison}"
        if versions:  # of a model whose float operators have the converter's
            assert {(o.name, o.version) for o in got.graph.operators} == {
                (o.name, o.version) for o in want.graph.operators
            }
        return want, comparison.slots

    @pytest.mark.parametrize("op", [op for op in MODELLED if op not in ("SHAPE", "SQUEEZE", "EXPAND_DIMS")])
    def test_single_operators(self, op: str) -> None:
        model = model_of(op)
        denied, _ = self.same(model, denied_ops=[op.lower()])
        if op not in ("TRANSPOSE_CONV", "EMBEDDING_LOOKUP"):
            smaller = any(n in names(denied) for n in ("QUANTIZE", "DEQUANTIZE"))
            assert is_int8(denied, op) == smaller
            assert not smaller or OP_RULES[op].same_scale
        results = model.graph.operators[0].outputs
        if len(results) == 1 and (op not in OP_RULES or OP_RULES[op].always is None):
            by_name, _ = self.same(model, denied_names=[model.graph.tensors[results[0]].name])
            assert names(by_name) == names(denied)

    def test_what_a_name_is(self) -> None:
        """Ops without regard to case and without a prefix; names exactly, of one result, and not TRANSPOSE_CONV's."""
        model, _ = built(chain)
        plain = converter.quantize(write_model(model))
        for denied in ({"denied_ops": ["tfl.tanh"]}, {"denied_names": ["Tanh1"]}, {"denied_names": ["tanh"]}):
            assert converter.quantize(write_model(model), **denied) == plain
        self.same(model, denied_ops=["tAnH"])
        self.same(model, denied_names=["tanh1"])
        several, _ = built(two_results)
        for name in ("split0_0", "split0_1", "split0_0;split0_1"):
            assert names(read_model(converter.quantize(write_model(several), denied_names=[name])))[1] == "SPLIT"
        for op in ("TRANSPOSE_CONV", "EMBEDDING_LOOKUP"):
            lost = model_of(op)
            name = lost.graph.tensors[lost.graph.operators[0].outputs[0]].name
            answer = read_model(converter.quantize(write_model(lost), denied_names=[name]))
            assert "DEQUANTIZE" in names(answer), op

    @pytest.mark.parametrize("without", [(), ("in0",), ("topk_v20_0",)])
    def test_a_result_that_nothing_reads(self, without: tuple[str, ...]) -> None:
        self.same(built(only_indices, without)[0])

    @pytest.mark.parametrize("op", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
    def test_a_denied_pool_behind_a_requantization(self, op: str) -> None:
        """Two pools ask their operand for two scales: each reads it, or its requantization, through a DEQUANTIZE."""

        def build(b: Builder) -> None:
            (x,) = relu(b, b.input(IMAGE))
            average_pool_2d(b, x)
            max_pool_2d(b, x)
            sin(b, x)

        model, _ = built(build, without=("relu0",))
        answer, _ = self.same(model, denied_ops=[op])
        assert is_int8(answer, "AVERAGE_POOL_2D")

    def test_equal_names_are_denied_together(self) -> None:
        model, _ = built(chain)
        tensors = tuple(replace(t, name="same") if t.name in ("relu0", "softmax2") else t for t in model.graph.tensors)
        answer, _ = self.same(model.with_graph(replace(model.graph, tensors=tensors)), denied_names=["same"])
        assert names(answer) == ["RELU", "QUANTIZE", "TANH", "DEQUANTIZE", "SOFTMAX"]

    @pytest.mark.parametrize(("what", "missing", "count"), [("denied", 0.0, 90), ("denied, ranges missing", 0.15, 90)])
    def test_random_graphs(self, what: str, missing: float, count: int) -> None:
        graphs = slots = denied = refused = number = 0
        while graphs < count:
            rng = np.random.default_rng([zlib.crc32(what.encode()), number])
            number += 1
            model = normalized(random_dag(rng, int(rng.integers(3, 15)), OPS), missing, rng)
            if model is None:
                continue
            drawn = drawn_options(rng)
            io = drawn.input_type, drawn.output_type
            options = {"per_channel": drawn.per_channel, "per_channel_dense": drawn.per_channel_dense}
            options |= drawn_denials(rng, model)
            try:
                slots += self.same(model, io, True, **options)[1]
            except (Rejected, Crashed, NotQuantizable):  # NaN, where the clean-up computed constants
                refused += 1
                continue
            except AssertionError as error:
                raise AssertionError(f"{what}, graph {number - 1}: {error}") from None
            graphs += 1
            denied += bool(options["denied_ops"] or options["denied_names"])
            assert refused <= count, "TensorFlow refuses most graphs"
        print(f"{what}: {graphs} graphs, {denied} with denials, {slots} slots, 0 differing; {refused} refused")

    @pytest.mark.parametrize("name", REAL_MODELS)
    def test_real_models(self, name: str) -> None:
        """One op after the other, then some names."""
        model, _, calibrated = real_model(name)
        slots = 0
        results = [calibrated.graph.tensors[o.outputs[0]].name for o in model.graph.operators]
        for op in sorted(set(names(model))):
            slots += self.same(calibrated, versions=True, denied_ops=[op])[1]
        for io in (("int8", "uint8"), ("float32", "float32")):
            slots += self.same(calibrated, io, True, denied_names=results[1:-1:3])[1]
        print(f"{name}: {slots} slots, 0 differing")


def drawn_denials(rng: np.random.Generator, model: Model) -> dict[str, tuple[str, ...]]:
    """One or two ops and results of the model, or none."""
    ops = sorted(set(names(model)))
    results = [
        model.graph.tensors[operator.outputs[0]].name
        for operator in model.graph.operators
        if len(operator.outputs) == 1 and (operator.name not in OP_RULES or OP_RULES[operator.name].always is None)
    ]
    denied_ops = rng.choice(ops, int(rng.integers(1, 3))) if rng.random() < 0.7 else ()
    denied_names = rng.choice(results, int(rng.integers(1, 3))) if results and rng.random() < 0.6 else ()
    return {"denied_ops": tuple(map(str, denied_ops)), "denied_names": tuple(map(str, denied_names))}
