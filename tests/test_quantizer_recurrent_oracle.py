"""LSTM and SVDF against TensorFlow 2.21: calibrated and quantized by both quantizers, equal in every respect."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

import converter_oracle
import oracle
from converter_check import judged
from converter_oracle import converter
from oracle import Crashed, Rejected, litert
from recurrent_graphs import (
    GRAPHS,
    VARIANTS,
    one_svdf,
    recurrent_graph,
    shared_with_a_dense_layer,
    stacked,
    svdf_in_a_row,
    svdf_of_two_ranks,
    variant,
)
from recurrent_networks import NAMES, samples
from refquant.errors import InvalidModel, NotQuantizable
from refquant.model import read_model, write_model
from refquant.model.graph import Model
from refquant.program import run_all_tensors
from refquant.quantizer import Calibration, calibrate, quantize
from refquant.quantizer.recurrent import with_intermediates
from test_quantizer_legacy_oracle import everything

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.skipif(not converter_oracle.INSTALLED, reason=converter_oracle.MISSING),
]

needs_keras = pytest.mark.skipif(
    importlib.util.find_spec("tf_keras") is None, reason="oracle missing: pip install tf_keras"
)
SAMPLES = 40  # more than run together
LARGEST_ULPS = 8  # of ranges that refquant measured itself: float sums in another order
MODES = {"int8": {"quantizer": "legacy"}, "int16x8": {"mode": "int16x8"}}


# one question


def check_mlir(model: Model, **options: object) -> None:
    """The new quantizer: slots, conversions, names, order, versions, intermediates and states."""
    denied = list(options.get("denied_ops", ()))
    theirs = converter.quantize(
        write_model(model), str(options.get("input_type", "float32")), str(options.get("output_type", "float32")),
        bool(options.get("per_channel", True)), denied_ops=denied,
    )  # fmt: skip
    compare_mlir(quantize(model, Calibration.from_model(model), **options).to_bytes(), theirs)


def compare_mlir(mine: bytes, theirs: bytes) -> None:
    verdict = judged(mine, theirs)
    assert not verdict.fault, verdict.fault
    got, want = read_model(mine).graph, read_model(theirs).graph
    assert [o.intermediates for o in got.operators] == [o.intermediates for o in want.operators]
    assert [t.is_variable for t in got.tensors] == [t.is_variable for t in want.tensors]


def check_legacy(model: Model, mode: str) -> str:
    """The old quantizer, defects included; what TensorFlow said if it refused as refquant does."""
    bias_type = "int64" if mode == "int16x8" else "int32"
    try:
        theirs = converter.quantize_legacy(write_model(model), mode, bias_type=bias_type)
    except (Rejected, Crashed) as error:
        with pytest.raises(NotQuantizable):
            quantize(model, Calibration.from_model(model), **MODES[mode], reproduce_defects=True)
        return str(error)
    mine = quantize(model, Calibration.from_model(model), **MODES[mode], reproduce_defects=True)
    compare_legacy(mine, read_model(theirs))
    return ""


def compare_legacy(mine: Model, theirs: Model) -> None:
    for ours, his in zip(everything(mine), everything(theirs), strict=True):
        assert ours == his
    assert [o.intermediates for o in mine.graph.operators] == [o.intermediates for o in theirs.graph.operators]


# from ranges


@pytest.mark.parametrize("choice", VARIANTS, ids=lambda choice: "".join(str(int(on)) for on in choice))
def test_variants(choice: tuple[bool, bool, bool, bool]) -> None:
    """Layer normalization, projection, peephole, coupled gates, in every combination."""
    for seed in range(3):
        model = recurrent_graph(variant(choice), seed)
        check_mlir(model)
        for mode in MODES:
            assert not check_legacy(model, mode)


@pytest.mark.parametrize("build", GRAPHS, ids=lambda build: build.__name__)
def test_graphs(build: object) -> None:
    for seed in range(3):
        model = recurrent_graph(build, seed)  # type: ignore[arg-type]
        check_mlir(model)
        for mode in MODES:
            assert "Expected bias type" in (check_legacy(model, mode) or "Expected bias type")


def test_weights_of_a_dense_layer_too() -> None:
    """With int16 activations the old quantizer reads beyond the ranges that the LSTM left: no answer to compare."""
    model = recurrent_graph(shared_with_a_dense_layer, 1)
    check_mlir(model)
    assert not check_legacy(model, "int8")
    with pytest.raises(NotQuantizable, match=r"operator 1 \(FULLY_CONNECTED\).*reads beyond them"):
        quantize(model, Calibration.from_model(model), **MODES["int16x8"], reproduce_defects=True)


@pytest.mark.parametrize(
    "options",
    [
        {"input_type": "int8", "output_type": "int8"},
        {"input_type": "uint8", "output_type": "uint8"},
        {"per_channel": False},
        {"denied_ops": ("UNIDIRECTIONAL_SEQUENCE_LSTM",)},
        {"denied_ops": ("SVDF",)},
    ],
    ids=str,
)
def test_options(options: dict[str, object]) -> None:
    for build in (stacked, svdf_of_two_ranks):
        ops = {operator.name for operator in recurrent_graph(build, 0).graph.operators}
        if set(options.get("denied_ops", ())) <= ops:  # type: ignore[call-overload]
            check_mlir(recurrent_graph(build, 1), **options)


def with_range_of(model: Model, name: str, low: float, high: float) -> Model:
    return _edited(model, name, (float(np.float32(low)), float(np.float32(high))))


def without_range_of(model: Model, name: str) -> Model:
    return _edited(model, name, None)


def _edited(model: Model, name: str, limits: tuple[float, float] | None) -> Model:
    (index,) = (i for i, tensor in enumerate(model.graph.tensors) if tensor.name == name)
    tensors = list(model.graph.tensors)
    q = tensors[index].quantization
    changed = None if limits is None or q is None else replace(q, min=limits[:1], max=limits[1:])
    tensors[index] = replace(tensors[index], quantization=changed)
    return model.with_graph(replace(model.graph, tensors=tuple(tensors)))


FLT_MIN = float(np.finfo(np.float32).tiny)
OUTPUT = "unidirectional_sequence_lstm0"
PLAIN, NORMALIZED, PROJECTED = VARIANTS[0], VARIANTS[8], VARIANTS[4]


@pytest.mark.parametrize(
    ("choice", "name", "low", "high"),
    [
        (PLAIN, "in0", -1e-8, 1e-8),  # an activation's range is not widened here
        (PLAIN, "in0", 0, FLT_MIN),
        (PLAIN, "cell0", 0, FLT_MIN),
        (PLAIN, "cell0", -2, 1),  # a power of two is its own bound
        (PLAIN, "cell0", -1, float(np.nextafter(np.float32(2), np.float32(3)))),
        (PLAIN, "cell0", -3e3, 1),  # above 2^10, where the old quantizer stops
        (PLAIN, "state0", 0.5, 0.75),
        (PLAIN, "intermediate_0_4", 0.1, 0.5),  # zero is not in it
        (PLAIN, "intermediate_0_4", -0.5, -0.1),
        (PLAIN, "intermediate_0_4", 0.5, 0.5),
        (NORMALIZED, "intermediate_0_1", 0, FLT_MIN),
        (NORMALIZED, "intermediate_0_1", -3, 2),
    ],
)
def test_ranges(choice: tuple[bool, bool, bool, bool], name: str, low: float, high: float) -> None:
    model = with_range_of(recurrent_graph(variant(choice), 1), name, low, high)
    check_mlir(model)
    for mode in MODES:
        check_legacy(model, mode)


@pytest.mark.parametrize(
    ("choice", "name"),
    [(PLAIN, "intermediate_0_4"), (NORMALIZED, "intermediate_0_1"), (PLAIN, OUTPUT), (PLAIN, "in0")],
)
def test_missing_ranges(choice: tuple[bool, bool, bool, bool], name: str) -> None:
    check_mlir(without_range_of(recurrent_graph(variant(choice), 1), name))


def test_ranges_that_must_be_there() -> None:
    """TensorFlow ends on them, or takes a number that depends on how many states it has seen before."""
    for choice, name in ((PROJECTED, "intermediate_0_4"), (PLAIN, "state0"), (PLAIN, "cell0")):
        model = without_range_of(recurrent_graph(variant(choice), 1), name)
        with pytest.raises(NotQuantizable, match=r"operator 0 \(UNIDIRECTIONAL_SEQUENCE_LSTM\).*has no range|have no"):
            quantize(model, Calibration.from_model(model))
    model = with_range_of(recurrent_graph(variant(PLAIN), 1), "in0", 0, 0)
    with pytest.raises(InvalidModel):
        read_model(converter.quantize(write_model(model)))
    with pytest.raises(NotQuantizable, match="no scale"):
        quantize(model, Calibration.from_model(model))


# from samples


def measured(build: object, seed: int) -> tuple[Model, list[list[np.ndarray]]]:
    """A graph without ranges and without intermediates, and samples."""
    model = recurrent_graph(build, seed)  # type: ignore[arg-type]
    operators = tuple(replace(operator, intermediates=()) for operator in model.graph.operators)
    used = {t for o in operators for t in (*o.inputs, *o.outputs)} | {*model.graph.inputs}
    last = max(used) + 1
    tensors = tuple(replace(tensor, quantization=None) for tensor in model.graph.tensors)
    if used == {*range(last)} | {-1}:
        tensors = tensors[:last]
    rng = np.random.default_rng(seed)
    shapes = [tensors[index].shape for index in model.graph.inputs]
    bare = model.with_graph(replace(model.graph, tensors=tensors, operators=operators))
    return bare, [[rng.normal(0, 1, shape).astype(np.float32) for shape in shapes] for _ in range(SAMPLES)]


def ranges(calibration: Calibration) -> list[tuple[int, str, str, str]]:
    return [(e.tensor, e.name, e.min.hex(), e.max.hex()) for e in calibration.tensors]


def largest_ulps(got: Calibration, want: Calibration) -> float:
    assert [(e.tensor, e.name) for e in got.tensors] == [(e.tensor, e.name) for e in want.tensors]
    ends = [(e.min, e.max) for e in got.tensors], [(e.min, e.max) for e in want.tensors]
    a, b = (np.array(side, np.float64) for side in ends)
    step = np.spacing(np.maximum(np.maximum(abs(a), abs(b)), 1e-6).astype(np.float32)).astype(np.float64)
    return float((abs(a - b) / step).max())


@pytest.mark.parametrize(
    "build",
    [*map(variant, (VARIANTS[0], VARIANTS[3], VARIANTS[12], VARIANTS[15])), one_svdf, svdf_in_a_row, stacked],
    ids=["plain", "peephole, coupled", "normalized, projected", "all", "svdf", "svdfs", "stacked"],
)
def test_calibration(build: object) -> None:
    """States are carried from sample to sample, and the values inside are measured at every step."""
    model, given = measured(build, 3)
    want = Calibration.from_model(read_model(converter.calibrate(write_model(with_intermediates(model)), given)))
    assert ranges(calibrate(model, given, engine="tensorflow")) == ranges(want)
    assert largest_ulps(calibrate(model, given, engine="numpy"), want) <= 64


def check_network(name: str, modes: tuple[str, ...]) -> None:
    """A Keras network: its samples through both engines, its files by both quantizers, as far as `modes` has them."""
    made = converter.recurrent(name, ("float", *modes))
    model, given = read_model(made["float"]), list(samples(name))
    ours = calibrate(model, given, engine="tensorflow")
    if "calibrated" in made:
        assert ranges(ours) == ranges(Calibration.from_model(read_model(made["calibrated"])))
    assert largest_ulps(calibrate(model, given, engine="numpy"), ours) <= LARGEST_ULPS
    if "int8" in made:
        compare_mlir(quantize(model, ours).to_bytes(), made["int8"])
    for mode, theirs in (("int8", "legacy"), ("int16x8", "int16x8")):
        if theirs in made:
            mine = quantize(model, ours, **MODES[mode], reproduce_defects=True)
            compare_legacy(mine, read_model(made[theirs]))
    _check_without_the_defect(model, ours, given[0])


def _check_without_the_defect(model: Model, calibration: Calibration, sample: list[np.ndarray]) -> None:
    """With int16 activations the LSTM stays float32, as a whole; TensorFlow's file takes its floats for int8."""
    mine = quantize(model, calibration, mode="int16x8")
    graph = mine.graph
    cells = [o for o in graph.operators if o.name == "UNIDIRECTIONAL_SEQUENCE_LSTM"]
    assert {graph.tensors[t].type for o in cells for t in (*o.inputs, *o.outputs) if t >= 0} <= {"FLOAT32"}
    if cells:
        with pytest.raises(NotQuantizable, match=r"UNIDIRECTIONAL_SEQUENCE_LSTM"):
            quantize(model, calibration, mode="int16x8", allow_float=False)
    (want,) = litert.run(write_model(mine), [sample])
    for index, array in run_all_tensors(mine, sample).items():
        assert array.tobytes() == want[index].tobytes(), graph.tensors[index].name


@needs_keras
@pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING)
def test_keras_classifier() -> None:
    """The other networks, and the other modes' files, are checked by tools/sweep_recurrent.py: Keras is slow."""
    check_network(NAMES[0], ("int8",))


# running


@pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING)
@pytest.mark.parametrize("build", [variant(PLAIN), stacked, svdf_in_a_row], ids=["plain", "stacked", "svdf"])
def test_reference_runtime(build: object) -> None:
    """The quantized model in refquant and under BUILTIN_REF: every tensor of a first run."""
    model, given = measured(build, 3)
    data = quantize(model, calibrate(model, given), input_type="int8", output_type="int8").to_bytes()
    quantized = read_model(data)
    rng = np.random.default_rng(4)
    tensor = quantized.graph.tensors[quantized.graph.inputs[0]]
    sample = rng.integers(-128, 127, tensor.shape, np.int8, endpoint=True)
    (want,) = litert.run(data, [[sample]])
    got = run_all_tensors(quantized, sample)
    for index, array in got.items():
        assert array.tobytes() == want[index].tobytes(), quantized.graph.tensors[index].name
