"""The old quantizer against TensorFlow 2.21's own, asked live: equal in every slot, name, order, version and option.

Where TensorFlow fails, or writes a file that is none, refquant refuses, and nowhere else.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import converter_oracle
import legacy_graphs
import oracle
from converter_oracle import converter
from converter_oracle_graphs import (
    OTHER_OPS,
    RULE_GRAPHS,
    SLICE_OPS,
    TABLE_OPS,
    Builder,
    conv_2d_with,
    random_dag,
    rule_graph,
    single_op,
)
from converter_oracle_ops import WIDE_OPS
from legacy_graphs import legacy_graph, with_range
from oracle import Crashed, Rejected, litert
from refquant.compare import compare_models
from refquant.errors import InvalidInput, InvalidModel, NotQuantizable
from refquant.model import default_options, read_model, write_model
from refquant.model.graph import Model, Operator, Quantization
from refquant.quantizer import Calibration, decide, quantize
from refquant.quantizer.legacy import apply
from refquant.quantizer.legacy.activation import ACTIVATION_TYPES
from refquant.quantizer.legacy.properties import PROPERTIES
from test_quantizer_oracle import REAL_MODELS, real_model

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.skipif(not converter_oracle.INSTALLED, reason=converter_oracle.MISSING),
]

IO_TYPES = {"int8": ("float32", "int8", "uint8"), "int16x8": ("float32", "int16")}
BIAS_TYPES = {"int8": ("int32",), "int16x8": ("int64", "int32")}
MODES = tuple(IO_TYPES)
Options = dict[str, Any]


# what is compared


def everything(model: Model) -> list[tuple]:
    """All that a file holds of tensors and operators, in order, ranges and options included."""
    rows: list[tuple] = []
    for tensor in model.graph.tensors:
        q = tensor.quantization or Quantization()
        data = model.buffers[tensor.buffer] if tensor.buffer else b""
        signature, variable = tensor.shape_signature, tensor.is_variable
        rows.append((tensor.name, tensor.type, tensor.shape, signature, variable, replace(q, details=None), data))
    rows += [(o.name, o.version, o.inputs, o.outputs, o.options_type, options(o)) for o in model.graph.operators]
    return [*rows, (model.graph.inputs, model.graph.outputs, model.signatures)]


def options(operator: Operator) -> dict[str, Any]:
    """The operator's options, absent ones at their defaults; the schema knows no difference to an empty text."""
    defaults = {} if operator.options_type is None else default_options(operator.options_type)
    plain = {key: value.tolist() if hasattr(value, "tolist") else value for key, value in operator.options.items()}
    return {key: value if value != "" else None for key, value in {**defaults, **plain}.items()}


class Tally:
    """What a run of many graphs compared."""

    def __init__(self) -> None:
        self.graphs = self.tensors = self.elements = self.refused = self.invalid = self.run = 0
        self.avoided: Counter[str] = Counter()

    def check(self, model: Model, chosen: Options, execute: bool = False) -> bool:
        """Whether both sides quantize, to the same file, or both refuse. Asserts that one of the two is so."""
        data = write_model(model)
        mine, theirs = refquants(data, chosen), tensorflows(data, chosen)
        self.check_default(data, chosen, mine)
        if isinstance(theirs, str):
            assert isinstance(mine, NotQuantizable), f"{chosen}: {theirs}"
            self.refused += 1
            self.invalid += theirs.startswith(InvalidModel.__name__)
            return False
        assert not isinstance(mine, NotQuantizable), f"{chosen}: {mine}"
        self.compare(mine, theirs, chosen)
        if execute:
            self.execute(mine.to_bytes(), write_model(theirs))
        return True

    def check_default(self, data: bytes, chosen: Options, reproduced: Model | NotQuantizable) -> None:
        """Where no defect strikes, the file is TensorFlow's without being asked for; and so is a refusal."""
        model = read_model(data)
        try:
            decision = decide(model, ranges_of(model), quantizer="legacy", **chosen)
        except NotQuantizable:
            decision = None
        if decision is None:
            assert isinstance(reproduced, NotQuantizable), f"{chosen}: refused, unlike the reproduction"
            return
        self.avoided.update(defect.key for defect in decision.avoided)
        if not decision.avoided:
            assert isinstance(reproduced, Model), f"{chosen}: {reproduced}"
            assert apply(model, decision) == reproduced, f"{chosen}: no defect, but another file"

    def compare(self, mine: Model, theirs: Model, what: object) -> None:
        mine = read_model(mine.to_bytes())
        comparison = compare_models(mine, theirs)
        assert comparison.equal, f"{what}: {comparison}"
        a, b = everything(mine), everything(theirs)
        assert len(a) == len(b)
        for ours, his in zip(a, b, strict=True):
            assert ours == his, what
        self.graphs += 1
        self.tensors += len(mine.graph.tensors)
        self.elements += sum(math.prod(t.shape) for t in mine.graph.tensors if t.buffer)

    def execute(self, mine: bytes, theirs: bytes) -> None:
        """In LiteRT both files give the same outputs, or fail alike."""
        answers = [litert_outputs(data, 5) for data in (mine, theirs)]
        assert answers[0] == answers[1]
        self.run += isinstance(answers[0], list)

    def __str__(self) -> str:
        return (
            f"{self.graphs} conversions, {self.tensors} tensors, {self.elements} constant elements, 0 differing; "
            f"{self.refused} refused, as by TensorFlow, {self.invalid} of them by a file that is none; "
            f"{self.run} ran in LiteRT with equal outputs; avoided by default: {dict(self.avoided)}"
        )


def refquants(data: bytes, chosen: Options) -> Model | NotQuantizable:
    model = read_model(data)
    try:
        return quantize(model, ranges_of(model), quantizer="legacy", reproduce_defects=True, **chosen)
    except NotQuantizable as error:
        return error


def tensorflows(data: bytes, chosen: Options) -> Model | str:
    """TensorFlow's model, or how it fails: a file with an infinite scale or a buffer of the wrong size is none."""
    try:
        return read_model(converter.quantize_legacy(data, **chosen))
    except (Rejected, Crashed, InvalidModel) as error:
        return f"{type(error).__name__}: {error}"


def ranges_of(model: Model) -> Calibration:
    try:
        return Calibration.from_model(model)
    except InvalidInput:  # the model has none
        return Calibration((), 0)


def litert_outputs(data: bytes, seed: int) -> list[list[bytes]] | str:
    """The outputs for random inputs, or the runtime's refusal."""
    model, rng = read_model(data), np.random.default_rng(seed)
    samples = []
    for _ in range(2):
        arrays = []
        for index in model.graph.inputs:
            tensor = model.graph.tensors[index]
            if tensor.type in ("FLOAT32", "BOOL"):
                arrays.append(rng.normal(0, 3, tensor.shape).astype(tensor.dtype))
            else:
                high = 2 if tensor.type in ("INT32", "INT64") else 127
                arrays.append(rng.integers(0, high, tensor.shape, tensor.dtype))
        samples.append(arrays)
    try:
        results = litert.run(data, samples, "BUILTIN_WITHOUT_DEFAULT_DELEGATES", preserve=False)
    except (Rejected, Crashed) as error:
        return str(error)
    return [[array.tobytes() for array in result.values()] for result in results]


def drawn(rng: np.random.Generator, mode: str, plain: float = 0.5) -> Options:
    """Options for one conversion; float inputs and outputs at least in the share `plain`, as they suit every graph."""
    io = ("float32", "float32") if rng.random() < plain else tuple(map(str, rng.choice(IO_TYPES[mode], 2)))
    return {
        "mode": mode,
        "input_type": io[0],
        "output_type": io[1],
        "per_channel": bool(rng.random() < 0.8),
        "per_channel_dense": bool(rng.random() < 0.7),
        "allow_float": bool(rng.random() < 0.9),
        "bias_type": str(rng.choice(BIAS_TYPES[mode])),
    }


def loadable(model: Model) -> Model:
    """BROADCAST_TO in the version that TensorFlow's runtime, which loads the model first, has."""
    operators = [replace(o, version=2) if o.name == "BROADCAST_TO" else o for o in model.graph.operators]
    return model.with_graph(replace(model.graph, operators=tuple(operators)))


# operators


def one_form(op: str, rng: np.random.Generator) -> Model:
    if op not in TABLE_OPS:
        return single_op(op, rng)
    b = Builder(rng)
    TABLE_OPS[op](b)
    return b.model()


@pytest.mark.parametrize("mode", MODES)
def test_single_operators(mode: str) -> None:
    """Every op of both tables, and ops without a row, which stay float."""
    tally, ops = Tally(), sorted({**SLICE_OPS, **OTHER_OPS, **TABLE_OPS})
    for op in ops:
        found = 0
        for seed in range(4):
            rng = np.random.default_rng([20, seed])
            model = loadable(one_form(op, rng))
            found += tally.check(model, {**drawn(rng, mode), "per_channel": seed != 1}, execute=seed == 0)
        assert found, op
    print(f"{len(ops)} ops, {mode}: {tally}")


def test_every_row_of_the_table_is_asked() -> None:
    graphs = [legacy_graph(build, np.random.default_rng(0)) for build in legacy_graphs.GRAPHS]
    graphs += [one_form(op, np.random.default_rng(0)) for op in {**SLICE_OPS, **OTHER_OPS, **TABLE_OPS}]
    asked = {operator.name for model in graphs for operator in model.graph.operators}
    asked |= {"EXPAND_DIMS", "SQUEEZE"}  # in the random graphs
    assert {"EXPAND_DIMS", "SQUEEZE"} <= set(WIDE_OPS)
    assert set(PROPERTIES) - {"QUANTIZE"} <= asked


# graphs


CRASHING = ("computed_bias", "constant_of_five_dimensions")  # each time costs a start of TensorFlow


@pytest.mark.parametrize("mode", MODES)
def test_rules_of_the_old_quantizer(mode: str) -> None:
    """Graphs that each reach one rule or defect, with every type of inputs and outputs."""
    tally = Tally()
    for number, build in enumerate(legacy_graphs.GRAPHS):
        if build.__name__ in CRASHING:
            tally.check(legacy_graph(build, np.random.default_rng(21)), {"mode": mode, "bias_type": "int32"})
            continue
        for seed, (input_type, output_type) in enumerate(itertools.product(IO_TYPES[mode], IO_TYPES[mode])):
            rng = np.random.default_rng([21, seed])
            types = {"input_type": input_type, "output_type": output_type}
            chosen = {**drawn(rng, mode), **types, "per_channel": (seed + number) % 4 != 0}
            tally.check(
                legacy_graph(build, rng), {**chosen, "allow_float": seed == 0 or chosen["allow_float"]}, not seed
            )
    print(f"{len(legacy_graphs.GRAPHS)} rules, {mode}: {tally}")


@pytest.mark.parametrize("name", RULE_GRAPHS)
def test_rules_of_the_other_quantizer(name: str) -> None:
    """The same graphs go another way here."""
    tally = Tally()
    for seed in range(4):
        rng = np.random.default_rng([22, seed])
        tally.check(rule_graph(name, rng), drawn(rng, MODES[seed % 2]))


@pytest.mark.parametrize(
    ("what", "mode", "missing", "sharing", "count"),
    [
        ("int8", "int8", 0.0, 0.0, 120),
        ("int8, shared constants", "int8", 0.0, 0.4, 150),
        ("int8, ranges missing", "int8", 0.03, 0.2, 40),
        ("16x8", "int16x8", 0.0, 0.0, 60),
        ("16x8, shared constants", "int16x8", 0.0, 0.4, 80),
        ("16x8, ranges missing", "int16x8", 0.03, 0.2, 20),
    ],
)
def test_random_graphs(what: str, mode: str, missing: float, sharing: float, count: int) -> None:
    """5 to 20 operators with branches, same-scale conflicts and operators that stay float."""
    tally, ops = Tally(), {**WIDE_OPS, **{op: WIDE_OPS[op] for op in ("CONCATENATION", "MAXIMUM, any", "TANH")}}
    seed = 0
    while tally.graphs < count:
        rng = np.random.default_rng([23, MODES.index(mode), int(100 * missing), int(100 * sharing), seed])
        seed += 1
        model = loadable(random_dag(rng, int(rng.integers(5, 21)), ops, missing, sharing))
        try:
            tally.check(model, drawn(rng, mode, 0.8), execute=tally.graphs % 4 == 0)
        except AssertionError as error:
            raise AssertionError(f"{what}, graph {seed - 1}: {error}") from None
    print(f"{what}: {tally}")


def test_one_operator_at_a_time() -> None:
    """All others denied by name: as TensorFlow quantizes a single operator for debugging."""
    tally = Tally()
    for seed in range(12):
        rng = np.random.default_rng([24, seed])
        model = loadable(random_dag(rng, int(rng.integers(3, 8)), {**SLICE_OPS, "SIN": OTHER_OPS["SIN"]}))
        names = [model.graph.tensors[operator.outputs[0]].name for operator in model.graph.operators]
        for name in names:
            theirs = read_model(converter.quantize_legacy(write_model(model), only=name))
            denied = [other for other in names if other != name]
            mine = quantize(model, ranges_of(model), quantizer="legacy", denied_names=denied, reproduce_defects=True)
            tally.compare(mine, theirs, (seed, name))
    print(f"one operator at a time: {tally}")


# hard numbers


def test_ranges() -> None:
    """One graph of 2000 operators with a range each: tiny, huge, one-sided, zero points half way."""
    rng = np.random.default_rng(25)
    b = Builder(rng)
    x = b.input((1, 2))
    for number in range(2000):
        (y,) = b.op("RELU", [x], [(1, 2)])
        if number % 4 == 0:  # zero points close to half way, in float32
            scale = np.float32(rng.uniform(1, 2) * 2.0 ** rng.integers(-20, 20))
            low = -scale * np.float32(rng.integers(0, 254) + 0.5) * np.float32(1 + rng.integers(-2, 3) * 2e-7)
            with_range(b, y, float(low), float(low + scale * np.float32(255)))
        elif number % 16 == 1:
            with_range(b, y, -float(10.0 ** rng.uniform(-45, -30)), float(10.0 ** rng.uniform(-45, -30)))
    tally = Tally()
    for mode in MODES:
        assert tally.check(b.model(), {"mode": mode, "bias_type": "int32", "output_type": mode.removesuffix("x8")})


@pytest.mark.parametrize("mode", MODES)
def test_biases_beyond_int32(mode: str) -> None:
    """Around the limit of the guard, with one and with several channels; int64 biases are guarded alike."""
    tally = Tally()
    for seed in range(60):
        rng = np.random.default_rng([26, seed])
        b = Builder(rng)
        x, out = b.input((1, 2, 2, 3)), int(rng.choice([1, 2, 5]))
        weights = rng.normal(0, 1, (out, 1, 1, 3)) * 10.0 ** rng.integers(-9, -1, (out, 1, 1, 1))
        q = b.tensors[x].quantization
        low, high = min(q.min[0], 0), max(q.max[0], 0)
        input_scale = (high - low) / 255 if mode == "int8" else max(-low, high) / 32767
        limit = input_scale * np.abs(weights).max(axis=(1, 2, 3)) / 127 * 2**30
        factors = [0.5, 0.9999999, 1, 1.0000001, 2, 1e4]
        bias = limit * rng.choice(factors, out) * rng.choice([-1, 1], out)
        conv_2d_with(b, x, b.constant(weights.astype(np.float32)), b.constant(bias.astype(np.float32)))
        tally.check(b.model(), {**drawn(rng, mode), "per_channel": seed % 3 != 0})
    print(f"biases beyond int32, {mode}: {tally}")


@pytest.mark.parametrize("mode", MODES)
def test_one_bias_between_two_limits(mode: str) -> None:
    """One channel's limit is 2^31, in float32, where several channels' is 2^31 - 1: a bias between the two."""
    tally, activation = Tally(), ACTIVATION_TYPES[mode]
    for seed in range(20):
        rng = np.random.default_rng([28, seed])
        b = Builder(rng)
        x = b.input((1, 2, 2, 1))
        with_range(b, x, 0, 1 + rng.random())
        q = b.tensors[x].quantization
        input_scale, bias, half = activation.parameters(q.min[0], q.max[0]).scale[0], np.float32(0), 1.0
        while not half * (2**31 - 1) <= float(bias) < half * 2**31:
            r = np.float32(1 + rng.random())
            half = 0.5 * input_scale * float(r / np.float32(127))
            bias = np.float32(half * 2**31)
        out = 1 if seed % 2 else 2
        weights = np.full((out, 1, 1, 1), r, np.float32)
        conv_2d_with(b, x, b.constant(weights), b.constant(np.full(out, bias, np.float32)))
        assert tally.check(b.model(), {"mode": mode, "bias_type": "int32"})
    print(f"biases between two limits, {mode}: {tally}")


@pytest.mark.parametrize("mode", MODES)
def test_constants_half_way(mode: str) -> None:
    """Weights, addends and biases whose integers are close to a half."""
    rng = np.random.default_rng(27)
    tally = Tally()
    for per_channel in (True, False):
        b = Builder(rng)
        for _ in range(12):
            x = b.input((1, 1, 1, 32))
            scale = rng.uniform(1, 2, (16, 1, 1, 1)) * 2.0 ** rng.integers(-8, 8)
            w = (rng.integers(-127, 127, (16, 1, 1, 32)) + 0.5 + rng.integers(-2, 3, (16, 1, 1, 32)) * 1e-7) * scale
            w[..., 0] = 127 * scale[..., 0]
            conv_2d_with(b, x, b.constant(w.astype(np.float32)), b.bias(16))
            y = b.input((1, 1, 1, 32))
            b.op("ADD", [y, b.constant(w[0].astype(np.float32))], [(1, 1, 1, 32)])
            b.op("MAXIMUM", [y, b.constant(w[1].astype(np.float32))], [(1, 1, 1, 32)])
        assert tally.check(b.model(), {"mode": mode, "per_channel": per_channel, "bias_type": BIAS_TYPES[mode][0]})
    print(f"constants half way, {mode}: {tally}")


# real models


@pytest.mark.parametrize("name", REAL_MODELS)
def test_real_models(name: str) -> None:
    """From samples: TensorFlow calibrates and quantizes in one go; refquant takes the ranges of the same samples."""
    model, samples, calibrated = real_model(name)
    ranges, tally = Calibration.from_model(calibrated), Tally()
    for mode in MODES:
        for io in IO_TYPES[mode]:
            for per_channel, dense in ((True, True), (False, True), (True, False)):
                for bias_type in BIAS_TYPES[mode]:
                    chosen: Options = {
                        "mode": mode,
                        "input_type": io,
                        "output_type": io,
                        "per_channel": per_channel,
                        "per_channel_dense": dense,
                        "bias_type": bias_type,
                    }
                    tally.check(calibrated, chosen)
        chosen = {"mode": mode, "bias_type": BIAS_TYPES[mode][0], "allow_float": False}
        theirs = converter.quantize_legacy(model.to_bytes(), samples=[[sample] for sample in samples], **chosen)
        mine = quantize(model, ranges, quantizer="legacy", **chosen)
        tally.compare(mine, read_model(theirs), "from samples")
        tally.execute(mine.to_bytes(), theirs)
    print(f"{name}: {tally}")
    assert tally.run == 2


@pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING)
@pytest.mark.parametrize("name", REAL_MODELS)
def test_real_models_run_alike(name: str) -> None:
    """In LiteRT, on real samples, with both kinds of kernels."""
    model, samples, calibrated = real_model(name)
    ranges = Calibration.from_model(calibrated)
    for mode in MODES:
        chosen = {"mode": mode, "bias_type": BIAS_TYPES[mode][0]}
        files = (
            converter.quantize_legacy(calibrated.to_bytes(), **chosen),
            quantize(model, ranges, quantizer="legacy", **chosen).to_bytes(),
        )
        outputs = []
        for data in files:
            results = litert.run(data, [[sample] for sample in samples[:3]], "BUILTIN_REF", preserve=False)
            outputs.append([[array.tobytes() for array in result.values()] for result in results])
        assert outputs[0] == outputs[1]
