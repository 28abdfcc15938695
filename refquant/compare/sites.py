"""The operators that the float model and the file have in common, with everything the rules ask about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from refquant.compare.alignment import Alignment, op_name
from refquant.compare.arithmetics import ARITHMETICS, Arithmetic, Expected
from refquant.compare.tensors import form_of, parameters_of
from refquant.model.graph import DTYPES, Array, Graph, Model, Operator, Quantization, Tensor
from refquant.quantizer.legacy.arithmetic import asymmetric, symmetric
from refquant.quantizer.propagate import Range, Spread, Use, rule_of, spread_parameters
from refquant.quantizer.recurrent import recipe_of
from refquant.quantizer.rules import PER_TENSOR, OpRule

# What an operand of the float model is to the quantizer.
ROLES = (
    "weights",  # a constant that the op quantizes symmetrically
    "bias",  # a constant that becomes int32
    "constant",  # another constant, with a range of its own
    "shared constant",  # a constant that takes the one scale of a same-scale op
    "activation",  # computed or fed
    "other",  # not a float tensor
)


@dataclass(frozen=True, slots=True, eq=False)
class Decided:
    """The parameters that the quantizer gives a tensor, and why. `calibrated`: from its own range."""

    parameters: Quantization
    type: str
    calibrated: bool
    why: str


@dataclass(frozen=True, slots=True, eq=False)
class Operand:
    """One slot of an operator: what the float model has there and what the file has.

    `record`, `tensor`: the file's tensor and its index. `axis`: the channels of weights. `values`: the float constant;
    `integers`: the file's. `own_scale`: of an activation, that of its own range; None if the file does not show
    it. `decided`: what the quantizer gives it, if ranges are known.
    """

    slot: str
    role: str
    tensor: int
    record: Tensor
    axis: int | None = None
    values: Array | None = None
    integers: Array | None = None
    own_scale: float | None = None
    decided: Decided | None = None

    @property
    def is_result(self) -> bool:
        """Whether the operator computes it."""
        return self.slot.startswith("output")

    @property
    def found(self) -> Quantization:
        """The file's parameters."""
        return parameters_of(self.record)


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """One operator in the float model and in the file.

    `number`: among the float model's operators. `form`: with what numbers it computes in the file. `expected`: its
    weights and bias by `arithmetic`. `per_channel`: whether the file's weights of this kind have a scale per channel.
    `stays_float`: why the quantizer leaves it in float, "" if it makes it int8, None if that is not known.
    `unpaired`: operands that only one of the models has. `weights`: the float model's tensor. `ulps`: how far scales of
    measured ranges may be off.
    """

    subgraph: int
    number: int
    op: str
    rule: OpRule
    form: str
    operands: tuple[Operand, ...]
    arithmetic: Arithmetic
    expected: Expected | None = None
    per_channel: bool | None = None
    stays_float: str | None = None
    unpaired: tuple[str, ...] = ()
    weights: int = -1
    ulps: int = 0

    def at(self, slot: str) -> Operand | None:
        """The operand of that slot."""
        return next((operand for operand in self.operands if operand.slot == slot), None)

    def with_role(self, role: str) -> Operand | None:
        """The first operand of that role."""
        return next((operand for operand in self.operands if operand.role == role), None)

    @property
    def is_float(self) -> bool:
        """Whether it computes in float in the file."""
        return self.form.startswith("float")

    @property
    def factors(self) -> tuple[Operand, Operand] | None:
        """The operands whose scales make the bias's: (input, weights)."""
        if self.rule.bias is None:
            return None
        weights = self.rule.weights.operand if self.rule.weights is not None else -1
        input_ = next(factor for factor in self.rule.bias.factors if factor != weights)
        pair = self.at(f"input {input_}"), self.at(f"input {weights}")
        return None if pair[0] is None or pair[1] is None else (pair[0], pair[1])


@dataclass(frozen=True, slots=True, eq=False)
class ConversionSite:
    """One QUANTIZE or DEQUANTIZE of the file; `name` is its result's, `behind` how many other operators come before."""

    subgraph: int
    behind: int
    graph: Graph
    operator: Operator


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check found. `wrong` of `of` scales or elements differ, the first at index `first`, scales by `ulps`.

    `slot`: the slot at fault where it is not the one looked at. `involves`: tensors of the file whose parameters went
    into the expectation.
    """

    holds: bool
    expected: str = ""
    found: str = ""
    wrong: int = 0
    of: int = 0
    first: tuple[int, ...] | None = None
    ulps: int = 0
    step: float | None = 0
    note: str = ""
    slot: str = ""
    involves: tuple[int, ...] = ()


# building them


@dataclass(frozen=True, slots=True)
class Pair:
    """A subgraph of both models, with the operators that are one and the same."""

    original: Model
    file: Model
    subgraph: int
    alignment: Alignment
    ranges: Mapping[int, Range] | None  # float tensor -> its calibrated range, if known

    @property
    def graphs(self) -> tuple[Graph, Graph]:
        """The float model's and the file's."""
        return self.original.graphs[self.subgraph], self.file.graphs[self.subgraph]

    def sites(self) -> list[Site]:
        """The operators that both models have, without any expectation yet."""
        spread = spread_parameters(replace(self.original, graphs=(self.graphs[0],)), {})
        return [self._site(spread, one, other) for one, other in self.alignment.pairs]

    def _site(self, spread: Spread, one: int, other: int) -> Site:
        graph, file_graph = self.graphs
        position = self.alignment.positions[0][one]
        operator, theirs = graph.operators[position], file_graph.operators[self.alignment.positions[1][other]]
        rule = rule_of(operator).weights
        operands, unpaired = [], []
        for word, mine, other_ in (
            ("input", operator.inputs, theirs.inputs),
            ("output", operator.outputs, theirs.outputs),
        ):
            for slot in range(max(len(mine), len(other_))):
                pair = (mine[slot] if slot < len(mine) else -1, other_[slot] if slot < len(other_) else -1)
                if pair[0] >= 0 and pair[1] >= 0:
                    operands.append(self._operand(spread, position, f"{word} {slot}", pair))
                elif pair != (-1, -1) and not self._is_added_zero_bias(operator, slot, word, pair):
                    unpaired.append(f"{word} {slot} is in the {'file' if pair[0] < 0 else 'float model'} only")
        return Site(
            self.subgraph,
            one,
            op_name(operator),
            rule_of(operator),
            form_of(self.file, file_graph, theirs),
            tuple(operands),
            ARITHMETICS[0],
            unpaired=tuple(unpaired),
            weights=operator.inputs[rule.operand] if rule is not None and rule.operand < len(operator.inputs) else -1,
        )

    def _operand(self, spread: Spread, position: int, slot: str, pair: tuple[int, int]) -> Operand:
        mine, record = self.graphs[0].tensors[pair[0]], self.graphs[1].tensors[pair[1]]
        role, axis, values = "other", None, None
        if slot.startswith("output"):
            role = "activation" if mine.type == "FLOAT32" else "other"
        elif mine.type == "FLOAT32":
            role, axis, values = _role(spread, self.graphs[0], Use(position, int(slot.split()[1])))
        if recipe_of(self.graphs[0].operators[position]) is not None and (slot != "input 0" or values is not None):
            role, axis, values = "other", None, None  # by recipes of their own; what is behind tells with the ranges
        integers = self.file.constant(record) if record.type in DTYPES else None
        own_scale = self._own_scale(pair[0], record) if role == "activation" else None
        return Operand(slot, role, pair[1], record, axis, values, integers, own_scale)

    def _own_scale(self, tensor: int, record: Tensor) -> float | None:
        """The scale of a float tensor's own range: as calibrated; else that of the file, if it can be no other's."""
        if self.ranges is not None:
            limits = self.ranges.get(tensor)
            scale_of = symmetric if record.type == "INT16" else asymmetric
            return None if limits is None else scale_of(*limits).scale[0]
        producer = next((rule_of(o) for o in self.graphs[0].operators if tensor in o.outputs), None)
        if producer is not None and (producer.same_scale or producer.fixed_output is not None):
            return None
        q = parameters_of(record)
        return q.scale[0] if record.type in ("INT8", "INT16") and len(q.scale) == 1 else None

    def _is_added_zero_bias(self, operator: Operator, slot: int, word: str, pair: tuple[int, int]) -> bool:
        rule = rule_of(operator).bias
        if word != "input" or rule is None or rule.operand != slot or pair[1] < 0:
            return False
        added = self.file.constant(self.graphs[1].tensors[pair[1]])
        return added is not None and not added.any()


def _role(spread: Spread, graph: Graph, use: Use) -> tuple[str, int | None, Array | None]:
    """(role, channel dimension of weights, float constant)."""
    assert use.operator is not None
    value, rule = spread.slots[use], rule_of(graph.operators[use.operator])
    if value.constant is None:
        return "activation", None, None
    if rule.bias is not None and rule.bias.operand == use.operand:
        return "bias", None, value.constant
    why = value.why
    if why is not None and why.kind == "weights" and why.operator is not None:
        weights = rule_of(graph.operators[why.operator]).weights
        channels = weights is not None and PER_TENSOR != weights.axis < value.constant.ndim
        return "weights", weights.axis if weights is not None and channels else None, value.constant
    return "constant" if why is not None and why.kind == "constant" else "shared constant", None, value.constant
