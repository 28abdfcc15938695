"""The mode int8: what the MLIR quantizer makes of a calibrated float model."""

from __future__ import annotations

from dataclasses import dataclass

from refquant.errors import InvalidInput, NotQuantizable
from refquant.model.graph import Model
from refquant.quantizer.accepted import check_float, check_one_graph
from refquant.quantizer.calibration import Calibration
from refquant.quantizer.decide import Decision, decide
from refquant.quantizer.denied import denied_operators
from refquant.quantizer.propagate import float_operands, in_words, rule_of, spread_parameters
from refquant.quantizer.recurrent import check_memories, with_intermediates
from refquant.quantizer.recurrent_parameters import check_ranges

IO_TYPES = ("float32", "int8", "uint8")

# Operators that the converter quantizes by recipes of their own, which are not built.
OWN_RECIPES = (
    "BIDIRECTIONAL_SEQUENCE_LSTM",
    "BIDIRECTIONAL_SEQUENCE_RNN",
    "FAKE_QUANT",
    "RNN",
    "UNIDIRECTIONAL_SEQUENCE_RNN",
)


@dataclass(frozen=True, slots=True)
class Int8Options:
    """How to quantize. `allow_float`: operators without an int8 form stay float, else they are an error.

    `denied_ops`: ops that stay float; `denied_names`: tensors whose operators stay float.
    """

    input_type: str = "float32"
    output_type: str = "float32"
    per_channel: bool = True
    per_channel_dense: bool = True
    allow_float: bool = True
    denied_ops: tuple[str, ...] = ()
    denied_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, type_ in (("input_type", self.input_type), ("output_type", self.output_type)):
            if type_ not in IO_TYPES:
                raise InvalidInput(f"{name}='{type_}': with mode 'int8' it must be one of {', '.join(IO_TYPES)}")


def decide_int8(model: Model, calibration: Calibration, options: Int8Options | None = None) -> Decision:
    """Which tensor gets which parameters, and why. Errors: NotQuantizable, InvalidInput."""
    options = options or Int8Options()
    _check_model(model)
    check_memories(model)
    model = with_intermediates(model)
    if not calibration.tensors:
        raise NotQuantizable("the calibration holds no range: the samples gave no number other than NaN")
    denied = denied_operators(model.graph, options.denied_ops, options.denied_names)
    ranges = calibration.for_model(model)
    check_ranges(model, ranges)
    spread = spread_parameters(model, ranges, options.per_channel, options.per_channel_dense)
    decision = decide(model, spread, denied, options.input_type, options.output_type)
    if not options.allow_float:
        refuse_float(model, decision)
    return decision


def refuse_float(model: Model, decision: Decision) -> None:
    """NotQuantizable, naming every operator that stays float or whose int8 form LiteRT does not run."""
    float_operators = {f.operator: f"stays float: {f.why}" for f in decision.float_operators}
    without_kernel = {
        position: "becomes int8, but LiteRT has no int8 kernel of it"
        for position, operator in enumerate(model.graph.operators)
        if position not in float_operators and not rule_of(operator).kernel and float_operands(model.graph, operator)
    }
    refused = dict(sorted({**float_operators, **without_kernel}.items()))
    if refused:
        rows = "; ".join(f"{in_words(model.graph, position)} {why}" for position, why in refused.items())
        raise NotQuantizable(
            f"{len(refused)} of the operators would not run on integers, as allow_float=False asks: {rows}"
        )


def _check_model(model: Model) -> None:
    check_one_graph(model)
    check_float(model)
    for position, operator in enumerate(model.graph.operators):
        if operator.name in OWN_RECIPES:
            raise NotQuantizable(f"operator {position} ({operator.name}): its int8 recipe is not built")
