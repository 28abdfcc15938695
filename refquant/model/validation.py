"""The rules a model must keep to be a model of TFLite."""

from __future__ import annotations

from refquant.model.graph import Model


def validate(model: Model) -> None:
    """Raise InvalidModel, naming rule and place, unless the model keeps TFLite's rules."""


def check_quantized_dimensions(model: Model) -> None:
    """Raise InvalidModel unless every quantized_dimension names a dimension that its scales fit."""
