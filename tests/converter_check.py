"""One question to TensorFlow's quantizer and to refquant's, and whether the answers are equal in every respect.

Equal: every slot (type, scale, zero point, dimension, constant bytes), every QUANTIZE and DEQUANTIZE and its place,
every tensor's name, shape and place, every operator's version and options, and what LiteRT makes of the two files.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from itertools import groupby
from typing import Any

import numpy as np

from converter_oracle import ConverterOracle, converter
from converter_oracle_forms import FORMS, chained
from converter_oracle_graphs import OTHER_OPS, SLICE_OPS, TABLE_OPS, Builder, described, random_dag, with_ranges
from converter_oracle_ops import WIDE_OPS
from oracle import Crashed, Rejected, litert
from refquant.compare import compare_models
from refquant.compare.alignment import CONVERSIONS
from refquant.errors import RefquantError
from refquant.model import read_model, write_model
from refquant.model.graph import Model, Operator
from refquant.quantizer import Calibration, quantize

IO_TYPES = ("float32", "int8", "uint8")
RESOLVERS = ("BUILTIN_REF", "BUILTIN_WITHOUT_DEFAULT_DELEGATES")
RUN_AGAIN = 8  # how often LiteRT runs TensorFlow's file again where the outputs differ
ASKED_AGAIN, PROCESSES = 6, 3  # how often TensorFlow is asked again where the answers differ, in how many processes
NAN = np.float32(np.nan).tobytes()


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked for: input and output type, one weight scale per channel, the same in dense layers."""

    input_type: str = "float32"
    output_type: str = "float32"
    per_channel: bool = True
    per_channel_dense: bool = True

    def arguments(self) -> tuple[str, str, bool, bool]:
        return self.input_type, self.output_type, self.per_channel, self.per_channel_dense


def drawn_options(rng: np.random.Generator) -> Options:
    """Any input type with any output type; weights per channel more often."""
    io = str(rng.choice(IO_TYPES)), str(rng.choice(IO_TYPES))
    return Options(*io, bool(rng.random() < 0.7), bool(rng.random() < 0.7))


@dataclass(frozen=True, slots=True)
class Verdict:
    """`fault`: the first difference. `refused`: why TensorFlow gives no answer. `drawn`: it gives several by chance."""

    slots: int = 0
    elements: int = 0
    conversions: int = 0
    fault: str = ""
    refused: str = ""
    drawn: bool = False
    runs: tuple[str, ...] = ()  # by resolver, what LiteRT does with both files: "ran", "refused", "crashed", ...


@dataclass
class Count:
    """What many questions gave. `drawn`, `refused`, `runs`: see Verdict; `reasons`: of the refusals."""

    models: int = 0
    slots: int = 0
    elements: int = 0
    conversions: int = 0
    differing: int = 0
    drawn: int = 0
    refused: int = 0
    runs: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    operators: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def add(self, verdict: Verdict, operators: Iterable[Operator], where: str) -> None:
        """Counts one question about a model of these operators; `where` names it."""
        if verdict.refused:
            self.refused += 1
            self.reasons[verdict.refused[:160]] += 1
            return
        self.models += 1
        self.slots += verdict.slots
        self.elements += verdict.elements
        self.conversions += verdict.conversions
        self.drawn += verdict.drawn
        self.operators.update(operator.name for operator in operators)
        self.runs.update(verdict.runs)
        if verdict.fault:
            self.differing += 1
            self.faults.append(f"{where}: {verdict.fault}")

    def join(self, other: Count) -> None:
        """Adds another's counts."""
        for entry in fields(self):
            mine, theirs = getattr(self, entry.name), getattr(other, entry.name)
            setattr(self, entry.name, mine + theirs)

    def __str__(self) -> str:
        text = (
            f"{self.models} models, {self.slots} slots, {self.elements} constants, {self.conversions} conversions, "
            f"{self.differing} differing; {self.drawn} of which TensorFlow makes several; "
            f"{self.refused} refused by TensorFlow"
        )
        runs = ", ".join(f"{number} {outcome}" for outcome, number in sorted(self.runs.items()))
        reasons = "".join(f"\n  {number} times: {reason}" for reason, number in self.reasons.most_common())
        return f"{text}; in LiteRT both files, with equal outputs: {runs or 'not run'}{reasons}"


def check(calibrated: bytes, options: Options, run: np.random.Generator | None = None, samples: int = 2) -> Verdict:
    """Quantizes a model with ranges on both sides. run: draws so many samples for LiteRT."""
    try:
        want = converter.quantize(calibrated, *options.arguments())
    except (Rejected, Crashed) as error:
        return Verdict(refused=_in_a_line(error))
    model = read_model(calibrated)
    try:
        mine = quantize(model, Calibration.from_model(model), "int8", *options.arguments()).to_bytes()
    except RefquantError as error:
        return Verdict(fault=f"refused by refquant: {error}")
    verdict = judged(mine, want)
    if verdict.fault and any(not judged(mine, other).fault for other in _asked_again(calibrated, options)):
        return replace(verdict, fault="", drawn=True)
    if run is not None and not verdict.fault:
        return _judged_by_running(verdict, mine, want, drawn_inputs(read_model(want), run, samples))
    return verdict


def _in_a_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def judged(mine: bytes, want: bytes) -> Verdict:
    """The verdict on two files, without running them."""
    got, model = read_model(mine), read_model(want)
    comparison = compare_models(got, model)
    fault = "" if comparison.equal else str(comparison)
    if not fault:
        rows = zip(described(in_one_order(got)), described(in_one_order(model)), strict=False)
        fault = next((f"{a} instead of {b}" for a, b in rows if a != b), "")
    return Verdict(comparison.slots, comparison.elements, len(comparison.conversions[1]), fault[:2000])


def _asked_again(calibrated: bytes, options: Options) -> Iterator[bytes]:
    """More of TensorFlow's answers: where it goes through pointers in the order of their hashes, they differ.

    From the process that runs anyway, and then from new ones.
    """
    for number in range(1 + PROCESSES):
        asked = ConverterOracle() if number else converter
        for _ in range(ASKED_AGAIN):
            yield asked.quantize(calibrated, *options.arguments())
        if number:
            asked.close()


def in_one_order(model: Model) -> Model:
    """The model with the conversions of several results of one operator in the order of the results.

    TensorFlow puts them into the order of a hash of pointers. Their tensors follow, with the numbers behind the names.
    """
    graph = model.graph
    order, operators, names = list(range(len(graph.tensors))), [], [tensor.name for tensor in graph.tensors]
    results: tuple[int, ...] = ()
    for is_conversion, run in groupby(graph.operators, lambda operator: operator.name in CONVERSIONS):
        group = list(run)
        if is_conversion and len(results) > 1:
            root = {tensor: number for number, tensor in enumerate(results)}
            for operator in group:
                root[operator.outputs[0]] = root.get(operator.inputs[0], -1)
            group.sort(key=lambda operator: root[operator.outputs[0]])
            made = [operator.outputs[0] for operator in group]
            for place, tensor in zip(sorted(made), made, strict=True):
                order[place] = tensor
            _number(names, [tensor for tensor in made if tensor not in graph.outputs])
        results = () if is_conversion else group[-1].outputs
        operators += group
    index = {tensor: place for place, tensor in enumerate(order)} | {-1: -1}
    tensors = [replace(tensor, name=name) for tensor, name in zip(graph.tensors, names, strict=True)]
    return model.with_graph(
        replace(
            graph,
            tensors=tuple(tensors[tensor] for tensor in order),
            operators=tuple(
                replace(o, inputs=tuple(index[t] for t in o.inputs), outputs=tuple(index[t] for t in o.outputs))
                for o in operators
            ),
            inputs=tuple(index[t] for t in graph.inputs),
            outputs=tuple(index[t] for t in graph.outputs),
        )
    )


def _number(names: list[str], tensors: list[int]) -> None:
    """Gives the names of these tensors that differ in their last digits out anew, from the smallest number on."""
    bases: dict[str, list[int]] = {}
    for tensor in tensors:
        bases.setdefault(re.sub(r"\d+$", "", names[tensor]), []).append(tensor)
    for alike in bases.values():
        ordered = sorted((names[tensor] for tensor in alike), key=lambda name: (len(name), name))
        for tensor, name in zip(alike, ordered, strict=True):
            names[tensor] = name


# running


def _judged_by_running(verdict: Verdict, mine: bytes, want: bytes, samples: list[list[np.ndarray]]) -> Verdict:
    outcomes = []
    for resolver in RESOLVERS:
        theirs, ours = (outcome(data, samples, resolver) for data in (want, mine))
        if theirs == ours:
            outcomes.append(theirs[0])
        elif any(outcome(want, samples, resolver) != theirs for _ in range(RUN_AGAIN)):
            outcomes.append("ran by chance")  # an operator that reads memory nobody has written: each run differs
        else:
            fault = f"{resolver}: LiteRT runs the two files differently: {ours} and {theirs}"
            return replace(verdict, fault=fault[:2000])
    return replace(verdict, runs=tuple(outcomes))


def drawn_inputs(model: Model, rng: np.random.Generator, count: int) -> list[list[np.ndarray]]:
    """Random inputs in the order of the model's: any code of int8 and uint8, indices 0 and 1, normal float numbers."""

    def draw(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        if dtype.kind == "f":
            return rng.normal(0, 3, shape).astype(dtype)
        if dtype.itemsize == 1 and dtype.kind != "b":
            return rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, shape, dtype, endpoint=True)
        return rng.integers(0, 2, shape).astype(dtype)

    inputs = [model.graph.tensors[index] for index in model.graph.inputs]
    return [[draw(tensor.shape, tensor.dtype) for tensor in inputs] for _ in range(count)]


def outcome(data: bytes, samples: list[list[np.ndarray]], resolver: str) -> tuple[str, list]:
    """("ran", the outputs' types, shapes and bytes), ("refused", the message) or ("crashed", []).

    Of the message the words: LiteRT prints some numbers through a wrong format, and they differ from run to run.
    """
    try:
        results = litert.run(data, samples, resolver, preserve=False)
    except Rejected as error:
        return "refused", [re.sub(r"[-\d.e+]+", "#", str(error))]
    except Crashed:
        return "crashed", []
    return "ran", [
        [(str(array.dtype), array.shape, array.tobytes()) for array in result.values()] for result in results
    ]


# graphs

SAME_SCALE_OPS = {
    op: WIDE_OPS[op]
    for op in (
        "AVERAGE_POOL_2D", "CONCATENATION", "GATHER", "MAX_POOL_2D", "MAXIMUM", "MAXIMUM, any", "MIRROR_PAD", "PACK",
        "PAD", "PADV2", "REDUCE_MAX", "RELU", "RESHAPE", "SELECT_V2", "SIN", "SLICE", "SOFTMAX", "SPLIT", "SQUEEZE",
        "STRIDED_SLICE", "TANH", "TOPK_V2", "UNPACK",
    )
}  # fmt: skip
POOLS: tuple[dict[str, Any], ...] = (WIDE_OPS, WIDE_OPS, SAME_SCALE_OPS, {**SLICE_OPS, **OTHER_OPS})


def drawn_graph(rng: np.random.Generator) -> Model | None:
    """5 to 20 operators with branches, shared constants and ranges, now and then some ranges missing."""
    missing = float(rng.choice([0, 0, 0.15, 0.3]))
    ops = POOLS[rng.integers(len(POOLS))]
    return normalized(random_dag(rng, int(rng.integers(5, 21)), ops, missing, sharing=0.15), missing, rng)


def check_graph(seed: list[int], count: Count) -> bool:
    """One random graph, run in LiteRT too; False if nothing was left of it that has a range."""
    rng = np.random.default_rng(seed)
    try:
        model = drawn_graph(rng)
    except (Rejected, Crashed) as error:
        count.add(Verdict(refused=_in_a_line(error)), (), f"graph {seed}")
        return True
    if model is None:
        return False
    options = drawn_options(rng)
    count.add(check(write_model(model), options, rng), model.graph.operators, f"graph {seed}, {options}")
    return True


def operator_forms(op: str, chains: int) -> list[Any]:
    """Every form of one operator: those of FORMS and TABLE_OPS, and so many drawn ones in chains."""
    plain = [TABLE_OPS[op]] if op in TABLE_OPS else []
    names = [name for name in WIDE_OPS if name.split(",")[0] == op and name != "LOGICAL_NOT"]
    return [*plain, *FORMS.get(op, ()), *(chained(name) for name in names for _ in range(chains))]


def check_operator(op: str, chains: int, options: int, seed: int, count: Count) -> None:
    """Every form of one operator, each with so many drawn options, run in LiteRT too."""
    for number, form in enumerate(operator_forms(op, chains)):
        rng = np.random.default_rng([zlib.crc32(op.encode()), number, seed])
        builder = Builder(rng, ranked=True)
        form(builder)
        try:
            model = normalized(builder.model(), 0.0, rng)
        except (Rejected, Crashed) as error:
            count.add(Verdict(refused=_in_a_line(error)), (), f"{op}, form {number}")
            continue
        if model is None:
            continue
        for _ in range(options):
            drawn = drawn_options(rng)
            count.add(check(write_model(model), drawn, rng), model.graph.operators, f"{op}, form {number}, {drawn}")


OPERATORS = sorted(
    {name.split(",")[0] for name in (*FORMS, *TABLE_OPS, *WIDE_OPS)} - {"FLATTEN", "LOGICAL_NOT", "shared weights"}
)


# graphs as the converter leaves them


def normalized(model: Model, missing_ranges: float, rng: np.random.Generator) -> Model | None:
    """The graph as the converter would have left it (activations fused, idle operators gone), with new ranges.

    Weights that the converter would quantize even where their operator stays float are spoiled for as long: it leaves a
    constant alone that begins with NaN. None if nothing is left that has a range.
    """
    bare = with_ranges(model, {})
    data = converter.normalize(write_model(_spoiled(bare)), {operator.name for operator in model.graph.operators})
    clean = _restored(read_model(data), bare)
    if clean is None:
        return None
    if any(operator.name in CONVERSIONS for operator in clean.graph.operators):
        return None  # an operator's name was not one that the converter's list of exceptions knows
    constants = [clean.constant(tensor) for tensor in clean.graph.tensors if tensor.type == "FLOAT32" and tensor.buffer]
    if not all(np.isfinite(constant).all() for constant in constants if constant is not None):
        return None  # the converter has computed the square root of a negative constant, or the like
    builder = Builder(rng, missing_ranges)
    computed = {*clean.graph.inputs, *(t for operator in clean.graph.operators for t in operator.outputs)}
    tensors = tuple(
        replace(tensor, quantization=builder.range()) if index in computed and tensor.type == "FLOAT32" else tensor
        for index, tensor in enumerate(clean.graph.tensors)
    )
    if not any(tensor.quantization and tensor.quantization.min for tensor in tensors):
        return None
    return clean.with_graph(replace(clean.graph, tensors=tensors))


def _spoiled(model: Model) -> Model:
    buffers = list(model.buffers)
    for operator in model.graph.operators:
        if operator.name in ("TRANSPOSE_CONV", "EMBEDDING_LOOKUP"):
            buffer = model.graph.tensors[operator.inputs[1]].buffer
            buffers[buffer] = NAN + buffers[buffer][4:] if buffers[buffer] else b""
    return replace(model, buffers=tuple(buffers))


def _restored(model: Model, bare: Model) -> Model | None:
    """None if the converter has multiplied such weights by something."""
    buffers, names = list(model.buffers), {tensor.name: tensor for tensor in bare.graph.tensors}
    for tensor in model.graph.tensors:
        if tensor.type == "FLOAT32" and buffers[tensor.buffer][:4] == NAN:
            if tensor.name not in names:
                return None
            buffers[tensor.buffer] = bare.buffers[names[tensor.name].buffer]
    return replace(model, buffers=tuple(buffers))
