"""The quantizer against TensorFlow 2.21's own on eight Keras application networks, from ranges and from samples."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import pytest

import converter_oracle
import oracle
from converter_check import IO_TYPES, Options, Verdict, check
from converter_networks import NETWORKS
from converter_oracle import converter
from crosscheck import differing
from oracle import litert
from refquant.compare import Comparison, compare_models
from refquant.model import read_model
from refquant.model.graph import Model
from refquant.program import run_all_tensors
from refquant.quantizer import Calibration, calibrate, quantize
from test_quantizer_legacy_oracle import Tally

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.skipif(not converter_oracle.INSTALLED, reason=converter_oracle.MISSING),
    pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING),
]

SAMPLES = 3
LARGEST_ULPS = 32  # of a scale whose range refquant measured itself: float sums in another order
GRANULARITIES = ((True, True), (False, True), (True, False))
ALL_OPTIONS = tuple(Options(io, io, *granularity) for io in IO_TYPES for granularity in GRANULARITIES)


@dataclass(frozen=True, slots=True)
class Network:
    """A float model as bytes, samples, and the same model with TensorFlow's ranges on them."""

    data: bytes
    samples: list[np.ndarray]
    calibrated: bytes

    @property
    def model(self) -> Model:
        return read_model(self.data)


_networks: dict[str, Network] = {}


def network(name: str) -> Network:
    """Made once: building and converting takes TensorFlow seconds."""
    if name not in _networks:
        data = converter.network(name)
        (index,) = read_model(data).graph.inputs
        shape = read_model(data).graph.tensors[index].shape
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        samples = [rng.normal(0, 1, shape).astype(np.float32) for _ in range(SAMPLES)]
        _networks[name] = Network(data, samples, converter.calibrate(data, [[sample] for sample in samples]))
    return _networks[name]


def check_network(name: str, options: Options, run: bool) -> Verdict:
    """One conversion; both files run in LiteRT if asked for."""
    seed = zlib.crc32(f"{name} {options}".encode())
    return check(network(name).calibrated, options, np.random.default_rng(seed) if run else None, samples=1)


def from_samples(name: str, engine: str) -> Comparison:
    """The default conversion with ranges that refquant measured beside the one with TensorFlow's."""
    net = network(name)
    mine = quantize(net.model, calibrate(net.model, net.samples, engine=engine))
    return compare_models(mine, quantize(net.model, Calibration.from_model(read_model(net.calibrated))))


def compare_with_reference(name: str) -> tuple[int, int]:
    """(elements, differing): every tensor of the int8 network in refquant and under BUILTIN_REF, for one input."""
    net = network(name)
    data = quantize(net.model, Calibration.from_model(read_model(net.calibrated)), "int8", "int8", "int8").to_bytes()
    model = read_model(data)
    tensor = model.graph.tensors[model.graph.inputs[0]]
    sample = np.random.default_rng(7).integers(-128, 127, tensor.shape, np.int8, endpoint=True)
    (want,) = litert.run(data, [[sample]])
    got = run_all_tensors(model, sample)
    assert set(got) == {index for operator in model.graph.operators for index in operator.outputs}
    return sum(array.size for array in got.values()), sum(int(differing(got[i], want[i]).sum()) for i in got)


# Two of the nine conversions each, so that all nine occur; tools/sweep_converter.py makes all.
DRAWN = {
    name: [ALL_OPTIONS[(2 * number) % len(ALL_OPTIONS)], ALL_OPTIONS[(2 * number + 1) % len(ALL_OPTIONS)]]
    for number, name in enumerate(NETWORKS)
}


# One conversion to 16x8 each; tools/sweep_legacy.py makes many.
INT16X8 = {
    name: {"mode": "int16x8", "bias_type": bias_type, "input_type": io, "output_type": io}
    for name, (bias_type, io) in zip(NETWORKS, 4 * (("int64", "float32"), ("int32", "int16")), strict=True)
}

REFERENCE = ("mobilenet", "mobilenet_v2", "mobilenet_v3_small", "densenet121")  # run in refquant, too


@pytest.mark.parametrize("name", NETWORKS)
def test_network(name: str) -> None:
    """One test a network, as it takes TensorFlow seconds to make one: the checks below."""
    check_the_converters_ranges(name)
    check_samples_with_the_converters_engine(name)
    check_samples_with_the_own_engine(name)
    check_sixteen_by_eight(name)
    if name == "mobilenet_v3_small":
        check_where_the_defects_strike()
    if name in REFERENCE:
        elements, different = compare_with_reference(name)
        print(f"{name}: {elements} elements, {different} differing")
        assert different == 0
    del _networks[name]


def check_the_converters_ranges(name: str) -> None:
    """Every slot, conversion, name and version, and what LiteRT makes of the files."""
    for number, options in enumerate(DRAWN[name]):
        verdict = check_network(name, options, run=number == 0)
        assert not verdict.refused
        assert not verdict.fault, f"{options}: {verdict.fault}"
        print(f"{name}, {options}: {verdict.slots} slots, {verdict.elements} constants; {verdict.runs}")


def check_samples_with_the_converters_engine(name: str) -> None:
    """The converter's ranges, bit for bit."""
    net = network(name)
    got = calibrate(net.model, net.samples, engine="tensorflow")
    want = Calibration.from_model(read_model(net.calibrated))
    assert [(e.tensor, e.min.hex(), e.max.hex()) for e in got.tensors] == [
        (e.tensor, e.min.hex(), e.max.hex()) for e in want.tensors
    ]


def check_samples_with_the_own_engine(name: str) -> None:
    """Weights and zero points identical, scales within 32 ulp; biases follow from the scales."""
    comparison = from_samples(name, "numpy")
    assert not comparison.operators
    for difference in comparison.differences:
        assert set(difference.what) <= {"scale", "data"}, str(difference)
        assert "data" not in difference.what or difference.slot == "input 2", str(difference)
    assert comparison.largest_ulps <= LARGEST_ULPS
    print(
        f"{name}: {comparison.slots} slots, zero points and weights identical; {comparison.differing} slots differ, "
        f"scales by {comparison.largest_ulps} ulp at most, {comparison.differing_elements} bias elements"
    )


def check_sixteen_by_eight(name: str) -> None:
    """Every tensor, constant, name, order, version and option, where defects are reproduced, and else without them."""
    tally = Tally()
    assert tally.check(read_model(network(name).calibrated), INT16X8[name])
    assert set(tally.avoided) == ({"legacy-shared-bias"} if name == "mobilenet_v3_small" else set())
    print(f"{name}: {tally}")


def check_where_the_defects_strike() -> None:
    """Three pairs of convolutions share a bias of 3, as hard-sigmoid gates have it: half of the gates are wrong."""
    net = network("mobilenet_v3_small")
    ranges = Calibration.from_model(read_model(net.calibrated))
    files = [net.data]
    files += [quantize(net.model, ranges, "int16x8", reproduce_defects=choice).to_bytes() for choice in (False, True)]
    results = [litert.run(data, [[net.samples[0]]])[0] for data in files]
    errors = []
    gate = net.model.graph.operators[56].outputs[0]
    for data, result in zip(files[1:], results[1:], strict=True):
        scale = read_model(data).graph.tensors[gate].quantization.scale[0]
        wanted = results[0][gate]
        errors.append(float(np.abs(result[gate] * scale - wanted).max() / np.abs(wanted).max()))
    assert errors[0] < 0.005
    assert errors[1] > 0.4
