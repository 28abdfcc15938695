"""The quantizer against TensorFlow 2.21's own, asked live: real models, operators, random graphs, hard ranges."""

from __future__ import annotations

import itertools
import os
import warnings
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import converter_oracle
import oracle
import refquant
from converter_check import IO_TYPES, OPERATORS, Count, Options, check, check_graph, check_operator, drawn_options
from converter_oracle import converter
from converter_oracle_graphs import (
    OTHER_OPS,
    RULE_GRAPHS,
    SLICE_OPS,
    TABLE_OPS,
    Builder,
    conv_2d_with,
    described,
    random_dag,
    rule_graph,
    with_ranges,
)
from oracle import Crashed, Rejected, litert
from refquant.compare import Comparison, compare_models
from refquant.compare.parameters import ulp_distance
from refquant.data import data_file
from refquant.model import read_model, write_model
from refquant.model.graph import Model
from refquant.quantizer import Calibration, calibrate, quantize
from refquant.quantizer.recurrent import MEMORY_OPS
from refquant.quantizer.rules import OP_RULES

MODELS = Path(os.environ.get("REFQUANT_MODELS", Path(__file__).resolve().parents[2] / "shared" / "models"))

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.skipif(not converter_oracle.INSTALLED, reason=converter_oracle.MISSING),
]

INT8 = Options("int8", "int8")
LARGEST_ULPS = 32  # of a scale whose range refquant measured itself: float sums in another order
SAMPLES = 24

# name -> (file, largest input value)
REAL_MODELS = {
    "digits_cnn": ("golden", 1),
    "digits_ds": ("golden", 1),
    "ad": ("mlperf_tiny/ad_float.tflite", 8),
    "resnet8": ("mlperf_tiny/resnet8_float.tflite", 255),
    "vww": ("mlperf_tiny/vww_float.tflite", 1),
    "cifar10_resnet18": ("cifar10_resnet18/cifar10_resnet18_pruned.tflite", 255),
    "hello_world": ("tflite_micro/hello_world_float.tflite", 6),
}

_calibrated: dict[str, tuple[Model, list[np.ndarray], Model]] = {}


def real_model(name: str) -> tuple[Model, list[np.ndarray], Model]:
    """(float model, samples, the same model with TensorFlow's ranges on them)."""
    if name not in _calibrated:
        file, largest = REAL_MODELS[name]
        path = data_file(f"golden/models/{name}_float.tflite") if file == "golden" else MODELS / file
        if not path.is_file():
            pytest.skip(f"models missing: {path} (set REFQUANT_MODELS)")
        data = path.read_bytes()
        model = refquant.load(data)
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        shape = model.graph.tensors[model.graph.inputs[0]].shape
        samples = [rng.random(shape, dtype=np.float32) * np.float32(largest) for _ in range(SAMPLES)]
        calibrated = converter.calibrate(data, [[sample] for sample in samples])
        _calibrated[name] = (model, samples, refquant.load(calibrated))
    return _calibrated[name]


# real models


@pytest.mark.parametrize("name", REAL_MODELS)
def test_real_models_with_the_converters_ranges(name: str) -> None:
    """Every slot, every constant byte, every conversion, and names, order and versions too."""
    model, _, calibrated = real_model(name)
    ranges = Calibration.from_model(calibrated)
    slots = elements = 0
    for io in IO_TYPES:
        for per_channel, per_channel_dense in ((True, True), (False, True), (True, False)):
            want = read_model(converter.quantize(calibrated.to_bytes(), io, io, per_channel, per_channel_dense))
            got = read_model(quantize(model, ranges, "int8", io, io, per_channel, per_channel_dense).to_bytes())
            comparison = compare_models(got, want)
            assert comparison.equal, f"{io} per_channel={per_channel} dense={per_channel_dense}: {comparison}"
            assert described(got) == described(want)
            slots, elements = slots + comparison.slots, elements + comparison.elements
    print(f"{name}: 9 conversions, {slots} slots, {elements} constant elements, 0 differing")


@pytest.mark.parametrize("name", REAL_MODELS)
def test_real_models_with_own_ranges(name: str) -> None:
    """Weights and zero points identical, scales within 32 ulp; biases follow from the scales."""
    model, samples, calibrated = real_model(name)
    comparison = compare_models(
        quantize(model, calibrate(model, samples)), quantize(model, Calibration.from_model(calibrated))
    )
    assert not comparison.operators
    for difference in comparison.differences:
        assert set(difference.what) <= {"scale", "data"}, str(difference)
        assert "data" not in difference.what or difference.slot == "input 2", str(difference)
    assert comparison.largest_ulps <= LARGEST_ULPS
    print(
        f"{name}: {comparison.slots} slots, zero points and weights identical; {comparison.differing} slots differ, "
        f"scales by {comparison.largest_ulps} ulp at most, {comparison.differing_elements} bias elements"
    )


@pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING)
@pytest.mark.parametrize("name", REAL_MODELS)
def test_real_models_run_alike(name: str) -> None:
    """In LiteRT, the model refquant wrote and the one TensorFlow wrote give the same outputs."""
    model, samples, calibrated = real_model(name)
    ranges = Calibration.from_model(calibrated)
    for resolver in ("BUILTIN_REF", "BUILTIN_WITHOUT_DEFAULT_DELEGATES"):
        outputs = []
        for data in (converter.quantize(calibrated.to_bytes()), quantize(model, ranges).to_bytes()):
            results = litert.run(data, [[sample] for sample in samples[:6]], resolver, preserve=False)
            outputs.append([list(result.values()) for result in results])
        for theirs, mine in zip(*outputs, strict=True):
            for a, b in zip(theirs, mine, strict=True):
                assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("name", REAL_MODELS)
def test_ranges_are_near_the_converters(name: str) -> None:
    model, samples, calibrated = real_model(name)
    got = calibrate(model, samples).for_model(model)
    want = Calibration.from_model(calibrated).for_model(model)
    assert set(got) == set(want)
    ulps = [max(ulp_distance((a,), (b,)) for a, b in zip(got[t], want[t], strict=True)) for t in want]
    for tensor, limits in want.items():
        assert got[tensor] == pytest.approx(limits, rel=1e-4, abs=1e-12)
    print(f"{name}: {len(ulps)} ranges, {ulps.count(0)} exact, median {sorted(ulps)[len(ulps) // 2]} ulp")


# operators and graphs


@pytest.mark.parametrize("op", OPERATORS)
def test_single_operators(op: str) -> None:
    """Every form, among them one of every row of the table of rules, and what LiteRT makes of both files."""
    count = Count()
    check_operator(op, chains=2, options=1, seed=0, count=count)
    print(f"{op}: {count}")
    assert not count.faults, count.faults[0]
    assert count.models
    assert op in count.operators


def test_every_row_of_the_table_occurs() -> None:
    """The operators with a state have tests of their own."""
    assert set(OP_RULES) - set(MEMORY_OPS) <= set(OPERATORS)


@pytest.mark.parametrize("op", TABLE_OPS)
def test_every_row_of_the_table(op: str) -> None:
    """One plain form of each operator as it stands, not cleaned up by the converter before: slots and versions."""
    tally = Tally()
    for seed in range(4):
        rng = np.random.default_rng([15, seed])
        b = Builder(rng)
        TABLE_OPS[op](b)
        tally.check(b.model(), drawn_options(rng), versions=True)
    assert tally.graphs == 4


@pytest.mark.parametrize("name", RULE_GRAPHS)
def test_rules_of_the_propagation(name: str) -> None:
    """Graphs that each reach one rule; every combination of input and output types, and what LiteRT makes of both."""
    count, tally = Count(), Tally()
    for seed, io in enumerate(itertools.product(IO_TYPES, IO_TYPES)):
        model = rule_graph(name, np.random.default_rng([16, seed]))
        if name in EQUAL_CONSTANTS:
            tally.check(model, Options(*io), versions=True)
            continue
        verdict = check(write_model(model), Options(*io), np.random.default_rng(seed))
        count.add(verdict, model.graph.operators, f"{name}, {io}")
    assert not count.faults, count.faults[0]
    assert count.models + tally.graphs == 9


# Rule graphs with two constants of equal content, which the converter joins as it reads the file: slots alone.
EQUAL_CONSTANTS = ("equal_constants", "worklist_order")


GRAPHS, GRAPHS_PER_TEST = 300, 50


@pytest.mark.parametrize("first", range(0, GRAPHS, GRAPHS_PER_TEST))
def test_random_graphs(first: int) -> None:
    """Graphs of 5 to 20 operators, three hundred in all; tools/sweep_converter.py makes thousands."""
    count, number = Count(), first
    while count.models < GRAPHS_PER_TEST:
        check_graph([0, first, number], count)
        number += 1
        assert count.refused <= GRAPHS_PER_TEST, "TensorFlow refuses most graphs"
    print(count)
    assert not count.faults, count.faults[0]


class Tally:
    """What a run of many graphs compared, slots alone."""

    def __init__(self) -> None:
        self.graphs = self.slots = self.elements = self.refused = 0

    def check(self, model: Model, options: Options, versions: bool = False) -> Comparison | None:
        """Quantizes on both sides and asserts equality; None where TensorFlow fails."""
        data = write_model(model)
        try:
            want = converter.quantize(data, *options.arguments())
        except (Rejected, Crashed):
            self.refused += 1
            return None
        mine = read_model(data)
        got = quantize(mine, Calibration.from_model(mine), "int8", *options.arguments())
        comparison = compare_models(read_model(got.to_bytes()), want)
        assert comparison.equal, str(comparison)
        if versions:
            assert {(o.name, o.version) for o in got.graph.operators} == {
                (o.name, o.version) for o in read_model(want).graph.operators
            }
        self.graphs += 1
        self.slots += comparison.slots
        self.elements += comparison.elements
        return comparison

    def __str__(self) -> str:
        return (
            f"{self.graphs} graphs, {self.slots} slots, {self.elements} constants, 0 differing; "
            f"{self.refused} refused by TensorFlow"
        )


# hard numbers


def test_two_thousand_ranges() -> None:
    """One graph of 2000 operators, each with a range of its own: tiny, huge, one-sided, zero points half way."""
    rng = np.random.default_rng(11)
    b = Builder(rng)
    x = b.input((1, 2))
    for _ in range(2000):
        b.op("RELU", [x], [(1, 2)])
    tally = Tally()
    comparison = tally.check(b.model(), INT8)
    assert comparison is not None
    assert comparison.slots >= 4000


@pytest.mark.parametrize("per_channel", [True, False])
def test_overflow_guard(per_channel: bool) -> None:
    """Biases around the limit of int32, on both sides of the guard, with weights of one and of several channels."""
    rng = np.random.default_rng(12)
    tally = Tally()
    for _ in range(40):
        b = Builder(rng)
        x = b.input((1, 2, 2, 3))
        out = int(rng.choice([1, 2, 5]))
        weights = rng.normal(0, 1, (out, 1, 1, 3)) * 10.0 ** rng.integers(-9, -1, (out, 1, 1, 1))
        low, high = b.tensors[x].quantization.min[0], b.tensors[x].quantization.max[0]
        input_scale = (max(high, 0) - min(low, 0)) / 255 or 1e-8
        limit = input_scale * np.abs(weights).max(axis=(1, 2, 3)) / 127 * 2**30
        bias = limit * rng.choice([0.5, 0.999999, 1, 1.000001, 2, 1e4], out) * rng.choice([-1, 1], out)
        conv_2d_with(b, x, b.constant(weights.astype(np.float32)), b.constant(bias.astype(np.float32)))
        tally.check(b.model(), replace(INT8, per_channel=per_channel))
    print(f"overflow guard, per_channel={per_channel}: {tally}")
    assert tally.graphs == 40


def test_shared_weights_and_the_guard() -> None:
    """A filter of two convolutions of which one needs wider scales is copied for it."""
    rng = np.random.default_rng(13)
    tally = Tally()
    for _ in range(15):
        b = Builder(rng)
        x, y = b.input((1, 2, 2, 2)), b.input((1, 2, 2, 2))
        weights = b.constant((rng.normal(0, 1, (3, 1, 1, 2)) * 1e-6).astype(np.float32))
        for source, factor in ((x, 1e-3), (y, 1e9)):
            conv_2d_with(b, source, weights, b.constant((rng.normal(0, 1, 3) * factor).astype(np.float32)))
        tally.check(b.model(), INT8)
    assert tally.graphs == 15


# calibration


def test_ranges_of_random_graphs() -> None:
    """Same tensors, same ranges but for the order of float sums: what operators overwrite is in them."""
    ops = {op: build for op, build in {**SLICE_OPS, **OTHER_OPS}.items() if op not in ("SIN", "FLOOR")}
    tensors = exact = 0
    for seed in range(60):
        rng = np.random.default_rng([14, seed])
        model = with_ranges(random_dag(rng, int(rng.integers(2, 14)), ops), {})
        shapes = [model.graph.tensors[index].shape for index in model.graph.inputs]
        samples = [[rng.normal(0, 2, shape).astype(np.float32) for shape in shapes] for _ in range(4)]
        data = write_model(model)
        want = Calibration.from_model(read_model(converter.calibrate(data, samples))).for_model(model)
        got = calibrate(read_model(data), samples).for_model(model)
        assert set(got) == set(want), seed
        for tensor, limits in want.items():
            size = max(map(abs, limits))
            assert got[tensor] == pytest.approx(limits, rel=1e-4, abs=1e-4 * size), (
                seed,
                model.graph.tensors[tensor].name,
            )
            exact += got[tensor] == limits
        tensors += len(want)
    print(f"{tensors} ranges of 60 graphs, {exact} exact")


@pytest.mark.parametrize(
    "values", [[-1.0, -2.0], [0.0, 0.0], [np.nan, 3.0], [1e-37, 2e-38], [-0.0, 0.0], [np.nan, np.nan]]
)
def test_what_the_observer_records(values: list[float]) -> None:
    """Not subnormal values: TensorFlow's process compares them as zeros, so that the first one seen stays."""
    b = Builder(np.random.default_rng(0))
    b.op("RELU6", [b.input((1, 2))], [(1, 2)])
    model = with_ranges(b.model(), {})
    sample = np.array([values], np.float32)
    calibrated = read_model(converter.calibrate(write_model(model), [[sample]]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        got = calibrate(model, [sample])
    q = calibrated.graph.tensors[0].quantization
    want = {"in0": (q.min[0], q.max[0])} if q is not None and q.min else {}
    assert {name: limits for name, limits in got.ranges.items() if name == "in0"} == want
