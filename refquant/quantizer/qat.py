"""The mode qat: the float model of quantization-aware training becomes the integer model.

A converter that is not asked to optimize writes each fake-quantization node as QUANTIZE and DEQUANTIZE, and the weights
as the node left them. Asked to, it takes the node's parameters as they are, spreads them and quantizes, like int8, but
computes with scales in float64. The file holds them rounded to float32; the ranges of the nodes, as a Calibration of
the results of QUANTIZE, give them back.
Source: google-ai-edge/LiteRT, tflite/converter/transforms/prepare_quantize.cc; checked against TensorFlow 2.21.0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from refquant.errors import InvalidInput, NotQuantizable
from refquant.model.graph import Model
from refquant.quantizer.accepted import check_one_graph
from refquant.quantizer.apply import apply
from refquant.quantizer.calibration import Calibration
from refquant.quantizer.decide import Decision, TensorDecision, decide
from refquant.quantizer.int8 import IO_TYPES, OWN_RECIPES, refuse_float
from refquant.quantizer.propagate import Given, spread_given
from refquant.quantizer.qat_borders import set_borders
from refquant.quantizer.qat_draft import Draft, finished
from refquant.quantizer.qat_pairs import FAKE_QUANT, Unpaired, unpaired
from refquant.quantizer.qat_parameters import UNNARROWED
from refquant.quantizer.qat_ranges import exact_parameters, filed
from refquant.quantizer.qat_tidy import tidy
from refquant.quantizer.recurrent import MEMORY_OPS
from refquant.quantizer.why import Why, called

REMARK = (
    "bias scales may be one ulp off (rarely two), because the model holds its scales rounded to float32; the ranges of "
    "its fake-quantization nodes (calibration_from_keras) make sure"
)
ROUNDED = "the file holds scales rounded to float32, so this one may be one ulp off; give the ranges to be sure"


@dataclass(frozen=True, slots=True)
class QatOptions:
    """How to quantize. `per_channel_dense`: one scale per channel of FULLY_CONNECTED weights without fake quantization.

    `allow_float`: operators without parameters or an int8 form stay float, else they are an error.
    """

    input_type: str = "float32"
    output_type: str = "float32"
    per_channel_dense: bool = True
    allow_float: bool = True

    def __post_init__(self) -> None:
        for name, type_ in (("input_type", self.input_type), ("output_type", self.output_type)):
            if type_ not in IO_TYPES:
                raise InvalidInput(f"{name}='{type_}': with mode 'qat' it must be one of {', '.join(IO_TYPES)}")


@dataclass(frozen=True, slots=True)
class QatDecision(Decision):
    """A Decision with the plan of a model of float32 inputs and outputs: the converter sets their types at the end."""

    input_type: str = "float32"
    output_type: str = "float32"


def qat_options(
    mode: str,
    bias_type: str | None,
    reproduce_defects: bool,
    per_channel: bool,
    denied_ops: tuple[str, ...],
    denied_names: tuple[str, ...],
    **others: Any,
) -> QatOptions:
    """The options of quantize that the converter has here. InvalidInput for others."""
    if bias_type not in (None, "int32"):
        raise InvalidInput(f"bias_type='{bias_type}': with mode '{mode}' it must be int32")
    if denied_ops or denied_names:
        raise InvalidInput(f"denied_ops, denied_names: with mode '{mode}' there are none, as in the converter")
    if not per_channel:
        raise InvalidInput(
            f"per_channel=False: with mode '{mode}' the fake-quantization nodes say what has a scale per channel"
        )
    return QatOptions(**others)


def decide_qat(model: Model, calibration: Calibration | None = None, options: QatOptions | None = None) -> QatDecision:
    """Which tensor gets which parameters, and why. calibration: the ranges of the fake-quantization nodes.

    Errors: NotQuantizable for a model that is no such float model; InvalidInput for ranges of other nodes.
    """
    options = options or QatOptions()
    _check_model(model)
    plain = unpaired(model)
    spread = spread_given(plain.model, _given(model, plain, calibration), UNNARROWED, options.per_channel_dense)
    decision = decide(plain.model, spread, {})
    bordered = decide(plain.model, spread, {}, options.input_type, options.output_type)
    floats = tuple(entry for entry in decision.float_operators if entry.name != FAKE_QUANT)
    tensors = decision.tensors if calibration is not None else tuple(map(_with_doubt, decision.tensors))
    plan = replace(decision.plan, output_names=tuple(plain.outputs))
    io = options.input_type, options.output_type
    made = QatDecision(tensors, decision.requantize, floats, bordered.conversions, plan, *io)
    if not options.allow_float:
        refuse_float(plain.model, made)
    return made


def apply_qat(model: Model, decision: QatDecision) -> Model:
    """The model that the decision describes, tidied up as the converter does."""
    draft = Draft.of(apply(unpaired(model).model, decision))
    tidy(draft)
    set_borders(draft, decision.input_type, decision.output_type)
    return finished(draft)


def is_rounded(decision: Decision) -> bool:
    """Whether bias scales may be one ulp off, because the ranges were not given."""
    return any(entry.why.text.endswith(ROUNDED) for entry in decision.tensors)


def qat_remarks(decision: Decision) -> tuple[str, ...]:
    """What is to be told of the file, one line each."""
    return (REMARK,) if is_rounded(decision) else ()


def _with_doubt(entry: TensorDecision) -> TensorDecision:
    """A bias scale, the product of rounded scales, says so."""
    if entry.why.kind != "bias":
        return entry
    return replace(entry, why=replace(entry.why, text=f"{entry.why.text}; {ROUNDED}"))


def _given(model: Model, plain: Unpaired, calibration: Calibration | None) -> dict[int, Given]:
    """What each tensor with a pair is given."""
    graph = model.graph
    quantized = [quantized for quantized, _ in plain.pairs.values()]
    if calibration is None:
        parameters = {tensor: filed(graph, tensor) for tensor in quantized}
    else:
        parameters = exact_parameters(model, quantized, calibration)
    given = {}
    for tensor, pair in plain.pairs.items():
        text = f"fake quantization at {called(graph.tensors[pair[0]].name)}"
        given[tensor] = Given(parameters[pair[0]], Why("fake quantization", text, None, (tensor,)), pair)
    return given


def _check_model(model: Model) -> None:
    check_one_graph(model)
    for position, operator in enumerate(model.graph.operators):
        if operator.name in (*OWN_RECIPES, *MEMORY_OPS) and operator.name != FAKE_QUANT:
            raise NotQuantizable(f"operator {position} ({operator.name}): its int8 recipe is not built")
