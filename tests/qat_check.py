"""Mode qat against TensorFlow 2.21, one question at a time: what a test asserts, and tools/sweep_qat.py counts.

Every `check...` raises AssertionError where refquant's file is not TensorFlow's, and counts what it compared.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

import oracle
from converter_check import drawn_inputs, outcome
from crosscheck import compare
from models import Case
from oracle import ChildProcess, Rejected
from refquant.compare import Comparison, compare_models
from refquant.model import read_model
from refquant.model.graph import Model
from refquant.quantizer import Calibration, quantize

child = ChildProcess(Path(__file__).with_name("qat_oracle_child.py"))

NETWORKS = ("mnist", "residual", "depthwise")
QUESTIONS = (
    "5 bits", "8 bits", "a pair behind a pair", "two pairs at one tensor", "an output before its pair",
    "weights without a pair", "transposed weights", "a bias that overflows", "joined", "multiplied weights",
    "a float operator before a pair",
)  # fmt: skip
# it spreads parameters into a contradiction; it is asked for int8 at the borders of a model that stays float
REFUSED_BY_TENSORFLOW = ("same scale constraint", "is not dequantized")
BIAS_OPERAND = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2, "TRANSPOSE_CONV": 3}


def ranges_of(text: str) -> Calibration:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ranges.json"
        path.write_text(text, encoding="utf-8")
        return Calibration.load(path)


def check(answer: dict[str, Any], *types: str, dense: bool = True) -> Counter[str]:
    """With ranges every slot is equal; without them all but biases. Counts what was compared."""
    float_model, calibration = read_model(answer["float"]), ranges_of(answer["ranges"])
    count: Counter[str] = Counter()
    for asked in types:
        io = "float32" if asked.startswith("per_tensor") else asked
        borders = {"input_type": io.split(">")[0], "output_type": io.split(">")[-1]}
        options: dict[str, Any] = {"mode": "qat", **borders, "per_channel_dense": dense}
        want = read_model(answer[asked])
        got = quantize(float_model, calibration, **options)
        comparison = compare_models(got, want)
        assert comparison.equal, f"{asked}: {comparison}"
        assert described(got) == described(want), asked
        count.update(models=1, slots=comparison.slots, elements=comparison.elements)
        count.update(biases_of(compare_models(quantize(float_model, **options), want), got))
    return count


def described(model: Model) -> list[tuple[str, int, dict[str, Any], tuple[int, ...]]]:
    """What the comparison of slots leaves out."""
    tensors = model.graph.tensors
    return [(o.name, o.version, dict(o.options), tensors[o.outputs[0]].shape) for o in model.graph.operators]


def biases_of(comparison: Comparison, model: Model) -> Counter[str]:
    """Differences of a model that was made of the file alone: only biases, by one ulp and one step.

    Two factors of half an ulp each may add up to a second one; those are counted. A bias of more than 2^22 steps, which
    only a tiny range gives, differs by as many ulps.
    """
    working = [o for o in model.graph.operators if o.name not in ("QUANTIZE", "DEQUANTIZE")]
    others = (comparison.structure, comparison.operators, comparison.forms, comparison.conversion_differences)
    assert not any(others), str(comparison)
    for difference in comparison.differences:
        bias = f"input {BIAS_OPERAND.get(working[difference.operator].name, -1)}"
        assert difference.slot == bias, str(difference)
        assert set(difference.what) <= {"scale", "data"}, str(difference)
        assert difference.ulps <= 2, str(difference)
        bias_ = model.constant(model.graph.tensors[working[difference.operator].inputs[int(bias[-1])]])
        assert bias_ is not None
        steps = max(1, 2.0**-22 * np.abs(bias_.astype(np.float64)).max())
        assert difference.largest_step is None or difference.largest_step <= steps, str(difference)
    return Counter(
        two_ulps=sum(difference.ulps > 1 for difference in comparison.differences),
        biases_off=len(comparison.differences),
        bias_scales_off=comparison.differing_scales,
        bias_elements_off=comparison.differing_elements,
    )


def check_running(answer: dict[str, Any], asked: str, rng: np.random.Generator) -> Counter[str]:
    """LiteRT runs both files alike, and refquant runs the file as LiteRT's reference kernels do."""
    want = read_model(answer[asked])
    io = {"input_type": asked, "output_type": asked}
    mine = quantize(read_model(answer["float"]), ranges_of(answer["ranges"]), mode="qat", **io)
    samples = [
        [array / 8 if array.dtype.kind == "f" else array for array in arrays] for arrays in drawn_inputs(want, rng, 2)
    ]
    theirs, ours = (outcome(data, samples, "BUILTIN_REF") for data in (answer[asked], mine.to_bytes()))
    assert theirs == ours
    if theirs[0] != "ran":
        return Counter()
    count = compare(Case(mine, samples))
    assert (count.elements > 0, count.differing) == (True, 0), count.detail
    return Counter(ran=1, outputs=count.elements)


def check_network(name: str) -> Counter[str]:
    """A network of tensorflow-model-optimization."""
    answer = child.ask(("aware", name, ("float32",)))
    count = check(answer, "float32")
    assert count["biases_off"] > 0  # else the ranges would not be needed
    assert count["two_ulps"] == 0
    return count + (check_running(answer, "float32", np.random.default_rng(1)) if oracle.INSTALLED else Counter())


def check_question(name: str) -> Counter[str]:
    """One of QUESTIONS, with every type of inputs and outputs."""
    types = ("float32", "int8", "uint8", "uint8>float32")
    return check(child.ask(("question", name, types)), *types)


def check_random_graph(seed: int, run: bool) -> Counter[str]:
    """Narrow and full range, per channel and per tensor, any range, operators without parameters. run: in LiteRT too.

    Counts `refused` where TensorFlow gives no file, for a reason that is known.
    """
    types = [("float32",), ("int8",), ("uint8",)][seed % 3]
    try:
        answer = child.ask(("random", (seed, 2 + seed % 5), types))
    except Rejected as error:
        if not any(reason in str(error) for reason in REFUSED_BY_TENSORFLOW):
            raise
        return Counter(refused=1)
    count = check(answer, *types)
    return count + (check_running(answer, types[0], np.random.default_rng(seed)) if run else Counter())


def check_random_graphs(first: int, wanted: int) -> Counter[str]:
    """The first random graphs from a seed on that TensorFlow converts; one in five is run."""
    count: Counter[str] = Counter()
    seed = first
    while count["models"] < wanted:
        seed += 1
        count.update(check_random_graph(seed, oracle.INSTALLED and count["models"] % 5 == 4))
        assert count["refused"] <= wanted
    return count
