"""The verbs: quantize(model, calibration, mode=...), and decide, which tells what quantize does and why."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from refquant.errors import InvalidInput
from refquant.model.graph import Model
from refquant.program import ModelLike, as_model
from refquant.quantizer import legacy
from refquant.quantizer.apply import apply
from refquant.quantizer.calibration import Calibration
from refquant.quantizer.decide import Decision
from refquant.quantizer.int8 import Int8Options, decide_int8


@dataclass(frozen=True, slots=True)
class Route:
    """How one mode of one quantizer works: its options, then decide, then apply."""

    options: Callable[..., Any]
    decide: Callable[[Model, Calibration, Any], Any]
    apply: Callable[[Model, Any], Model]


def _mlir_options(mode: str, bias_type: str | None, **others: Any) -> Int8Options:
    if bias_type not in (None, "int32"):
        raise InvalidInput(f"bias_type='{bias_type}': with mode '{mode}' it must be int32")
    return Int8Options(**others)


MLIR = Route(_mlir_options, decide_int8, apply)
LEGACY = Route(legacy.LegacyOptions, legacy.decide_legacy, legacy.apply)

# (mode, quantizer) -> how. The converter has the old quantizer alone for int16 activations, whichever is asked for.
ROUTES: Mapping[tuple[str, str], Route] = MappingProxyType(
    {
        ("int8", "mlir"): MLIR,
        ("int8", "legacy"): LEGACY,
        ("int16x8", "mlir"): LEGACY,
        ("int16x8", "legacy"): LEGACY,
    }
)
MODES = tuple(dict.fromkeys(mode for mode, _ in ROUTES))
QUANTIZERS = tuple(dict.fromkeys(quantizer for _, quantizer in ROUTES))


def quantize(
    model: ModelLike,
    calibration: Calibration,
    mode: str = "int8",
    input_type: str = "float32",
    output_type: str = "float32",
    per_channel: bool = True,
    per_channel_dense: bool = True,
    allow_float: bool = True,
    quantizer: str = "mlir",
    denied_ops: Collection[str] = (),
    denied_names: Collection[str] = (),
    bias_type: str | None = None,
) -> Model:
    """The quantized model, as the TFLite converter makes it from the same float model and the same ranges.

    mode: "int8" or "int16x8" (activations int16, weights int8). input_type, output_type: "float32" (QUANTIZE and
    DEQUANTIZE at the borders), "int8" or "uint8", with int16x8 "int16". per_channel: one weight scale per output
    channel; per_channel_dense: the same for FULLY_CONNECTED. allow_float: operators without a quantized form stay
    float32; False makes them an error that names them all. quantizer: "mlir", or "legacy", the converter's old one,
    which int16x8 always takes. denied_ops: ops ("ADD") whose operators stay float32; denied_names: names of tensors
    whose operators do. bias_type: "int32", with int16x8 also "int64", which is its own choice.
    Errors: InvalidInput for an unknown option or a calibration of another model; NotQuantizable, naming the place.
    """
    loaded = as_model(model)
    decision = decide(
        loaded,
        calibration,
        mode,
        input_type,
        output_type,
        per_channel,
        per_channel_dense,
        allow_float,
        quantizer,
        denied_ops,
        denied_names,
        bias_type,
    )
    return ROUTES[mode, quantizer].apply(loaded, decision)


def decide(
    model: ModelLike,
    calibration: Calibration,
    mode: str = "int8",
    input_type: str = "float32",
    output_type: str = "float32",
    per_channel: bool = True,
    per_channel_dense: bool = True,
    allow_float: bool = True,
    quantizer: str = "mlir",
    denied_ops: Collection[str] = (),
    denied_names: Collection[str] = (),
    bias_type: str | None = None,
) -> Decision | legacy.Decision:
    """What quantize would do with the same arguments, and why: a plain value to print, to test or to compare.

    Of each float tensor its parameters, where QUANTIZE and DEQUANTIZE stand, and which operators stay float32.
    Errors: as quantize.
    """
    if mode not in MODES:
        raise InvalidInput(f"mode='{mode}': not built; there is {', '.join(MODES)}")
    if quantizer not in QUANTIZERS:
        raise InvalidInput(f"quantizer='{quantizer}': not built; there is {', '.join(QUANTIZERS)}")
    if not isinstance(calibration, Calibration):
        raise InvalidInput(
            f"the calibration must be a Calibration, as calibrate gives, not {type(calibration).__name__}"
        )
    flags = {"per_channel": per_channel, "per_channel_dense": per_channel_dense, "allow_float": allow_float}
    for option, flag in flags.items():
        if not isinstance(flag, bool):
            raise InvalidInput(f"{option}={flag!r}: must be True or False")
    route = ROUTES[mode, quantizer]
    options = route.options(
        mode=mode,
        input_type=input_type,
        output_type=output_type,
        per_channel=per_channel,
        per_channel_dense=per_channel_dense,
        allow_float=allow_float,
        denied_ops=_names("denied_ops", denied_ops),
        denied_names=_names("denied_names", denied_names),
        bias_type=bias_type,
    )
    decision: Decision | legacy.Decision = route.decide(as_model(model), calibration, options)
    return decision


def _names(option: str, names: Collection[str]) -> tuple[str, ...]:
    if isinstance(names, str) or not isinstance(names, Collection) or not all(isinstance(name, str) for name in names):
        raise InvalidInput(f"{option}={names!r}: it must be a list of names")
    return tuple(names)
