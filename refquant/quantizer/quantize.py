"""The verbs: quantize(model, calibration, mode=...), and decide, which tells what quantize does and why."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from refquant.errors import InvalidInput, RefquantError, internal_error
from refquant.model.graph import Model
from refquant.program import ModelLike, as_model
from refquant.quantizer import legacy, stored, stored_apply
from refquant.quantizer.accepted import as_read, check_signatures
from refquant.quantizer.apply import apply
from refquant.quantizer.calibration import Calibration
from refquant.quantizer.decide import Decision
from refquant.quantizer.dynamic_range import decide_dynamic_range, dynamic_range_options
from refquant.quantizer.float16 import decide_float16, float16_options
from refquant.quantizer.int8 import Int8Options, decide_int8
from refquant.quantizer.qat import apply_qat, decide_qat, qat_options, qat_remarks


@dataclass(frozen=True, slots=True)
class Route:
    """How one mode of one quantizer works: its options, then decide, then apply.

    `calibrated`: it needs ranges. `remarks`: what is to be told of a decision, one line each. `in_float`: activations
    are meant to stay float32.
    """

    options: Callable[..., Any]
    decide: Callable[[Model, Any, Any], Any]
    apply: Callable[[Model, Any], Model]
    calibrated: bool = True
    remarks: Callable[[Any], tuple[str, ...]] = lambda decision: ()
    in_float: bool = False


def _mlir_options(mode: str, bias_type: str | None, reproduce_defects: bool, **others: Any) -> Int8Options:
    """Its defects are always reproduced."""
    if bias_type not in (None, "int32"):
        raise InvalidInput(f"bias_type='{bias_type}': with mode '{mode}' it must be int32")
    return Int8Options(**others)


MLIR = Route(_mlir_options, decide_int8, apply)
LEGACY = Route(legacy.LegacyOptions, legacy.decide_legacy, legacy.apply)
QAT = Route(qat_options, decide_qat, apply_qat, calibrated=False, remarks=qat_remarks)
DYNAMIC_RANGE = Route(dynamic_range_options, decide_dynamic_range, stored_apply.apply, False, in_float=True)
OLD_DYNAMIC_RANGE = Route(
    dynamic_range_options, legacy.decide_old_dynamic_range, legacy.apply_old, False, in_float=True
)
FLOAT16 = Route(float16_options, decide_float16, stored_apply.apply, False, in_float=True)
OLD_FLOAT16 = Route(float16_options, legacy.decide_old_float16, legacy.apply_old, False, in_float=True)

# (mode, quantizer) -> how. The converter has the old quantizer alone for int16 activations, whichever is asked for.
ROUTES: Mapping[tuple[str, str], Route] = MappingProxyType(
    {
        ("int8", "mlir"): MLIR,
        ("int8", "legacy"): LEGACY,
        ("int16x8", "mlir"): LEGACY,
        ("int16x8", "legacy"): LEGACY,
        ("dynamic_range", "mlir"): DYNAMIC_RANGE,
        ("dynamic_range", "legacy"): OLD_DYNAMIC_RANGE,
        ("float16", "mlir"): FLOAT16,
        ("float16", "legacy"): OLD_FLOAT16,
        ("qat", "mlir"): QAT,
    }
)
MODES = tuple(dict.fromkeys(mode for mode, _ in ROUTES))
QUANTIZERS = tuple(dict.fromkeys(quantizer for _, quantizer in ROUTES))


def quantize(
    model: ModelLike,
    calibration: Calibration | None = None,
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
    reproduce_defects: bool = False,
) -> Model:
    """The quantized model, as the TFLite converter makes it from the same float model and the same ranges.

    mode: "int8"; "int16x8" (activations int16, weights int8); "dynamic_range" (weights of 1,024 elements and more int8,
    activations float32); "float16" (constants float16; these two take no calibration) or "qat" (the float model of
    quantization-aware training, with QUANTIZE and DEQUANTIZE where its fake-quantization nodes are; its ranges, from
    calibration_from_keras, may be left out, and then a bias scale may be one float32 step off, rarely two). input_type,
    output_type: "float32" (QUANTIZE and DEQUANTIZE at the borders), "int8" or "uint8", with int16x8 "int16".
    per_channel: one weight scale per output
    channel; per_channel_dense: the same for FULLY_CONNECTED. allow_float: operators without a quantized form stay
    float32; False makes them an error that names them all. quantizer: "mlir", or "legacy", the converter's old one,
    which int16x8 always takes. denied_ops: ops ("ADD") whose operators stay float32; denied_names: names of tensors
    whose operators do. bias_type: "int32", with int16x8 also "int64", which is its own choice. reproduce_defects: where
    the old quantizer's file would compute wrong values, or could not be run or written, refquant's does not, and
    `decide(...).avoided` tells where; True writes what the converter writes.
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
        reproduce_defects,
    )
    return carried_out(loaded, decision, mode, quantizer)


def carried_out(
    model: Model, decision: Decision | legacy.Decision | stored.StoredDecision, mode: str, quantizer: str
) -> Model:
    """The model that a decision of `decide` describes. model, mode, quantizer: those of `decide`."""
    with _told_in_one_line(mode):
        return ROUTES[mode, quantizer].apply(as_read(model), decision)


def decide(
    model: ModelLike,
    calibration: Calibration | None = None,
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
    reproduce_defects: bool = False,
) -> Decision | legacy.Decision | stored.StoredDecision:
    """What quantize would do with the same arguments, and why: a plain value to print, to test or to compare.

    Of each float tensor its parameters, where QUANTIZE and DEQUANTIZE stand, and which operators stay float32.
    Errors: as quantize.
    """
    if mode not in MODES:
        raise InvalidInput(f"mode='{mode}': not built; there is {', '.join(MODES)}")
    if quantizer not in QUANTIZERS:
        raise InvalidInput(f"quantizer='{quantizer}': not built; there is {', '.join(QUANTIZERS)}")
    if (mode, quantizer) not in ROUTES:
        raise InvalidInput(f"quantizer='{quantizer}': there is none with mode '{mode}'")
    route = ROUTES[mode, quantizer]
    if not isinstance(calibration, Calibration) and (route.calibrated or calibration is not None):
        raise InvalidInput(
            f"the calibration must be a Calibration, as calibrate gives, not {type(calibration).__name__}"
        )
    flags = {
        "per_channel": per_channel,
        "per_channel_dense": per_channel_dense,
        "allow_float": allow_float,
        "reproduce_defects": reproduce_defects,
    }
    for option, flag in flags.items():
        if not isinstance(flag, bool):
            raise InvalidInput(f"{option}={flag!r}: must be True or False")
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
        reproduce_defects=reproduce_defects,
    )
    loaded = as_read(as_model(model))
    check_signatures(loaded)
    with _told_in_one_line(mode):
        decision: Decision | legacy.Decision | stored.StoredDecision = route.decide(loaded, calibration, options)
    return decision


@contextmanager
def _told_in_one_line(mode: str) -> Iterator[None]:
    """A model that breaks a rule of an operator may reach code that trusts it."""
    try:
        yield
    except (RefquantError, MemoryError):
        raise
    except Exception as error:
        raise internal_error(f"quantizing with mode '{mode}'", error) from error


def _names(option: str, names: Collection[str]) -> tuple[str, ...]:
    if isinstance(names, str) or not isinstance(names, Collection) or not all(isinstance(name, str) for name in names):
        raise InvalidInput(f"{option}={names!r}: it must be a list of names")
    return tuple(names)
