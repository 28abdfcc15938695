"""What a model is: the dataclasses of graph.py, and how they come from and go to files."""

from __future__ import annotations

import os
from pathlib import Path

from refquant.errors import InvalidInput, InvalidModel, MalformedModel, UnsupportedModel
from refquant.files import write_whole
from refquant.model.graph import (
    NO_OPTIONS,
    Graph,
    Metadata,
    Model,
    Operator,
    Quantization,
    Signature,
    Tensor,
)
from refquant.model.reader import read_model
from refquant.model.schema import OPTIONS_OF, default_options
from refquant.model.validation import check_quantized_dimensions, validate
from refquant.model.writer import write_model

__all__ = [
    "NO_OPTIONS",
    "OPTIONS_OF",
    "Graph",
    "Metadata",
    "Model",
    "Operator",
    "Quantization",
    "Signature",
    "Tensor",
    "check_quantized_dimensions",
    "default_options",
    "load",
    "read_model",
    "save",
    "validate",
    "write_model",
]

PathLike = str | os.PathLike[str]


def load(source: PathLike | bytes | bytearray | memoryview) -> Model:
    """The model in a `.tflite` file, given by its path or as its bytes.

    Errors: InvalidInput if the file is missing, empty, a directory or unreadable; MalformedModel and InvalidModel as
    read_model says.
    """
    if isinstance(source, str | os.PathLike):
        try:
            return read_model(_file_bytes(source))
        except (MalformedModel, InvalidModel, UnsupportedModel) as error:
            raise type(error)(f"{os.fspath(source)}: {error}") from None
    if not isinstance(source, bytes | bytearray | memoryview):
        raise InvalidInput(f"a model is given by its path or its bytes, not by {type(source).__name__}")
    return read_model(bytes(source))


def _file_bytes(path: PathLike) -> bytes:
    if os.path.isdir(path):
        raise InvalidInput(f"{os.fspath(path)}: this is a directory, not a .tflite file")
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise InvalidInput(f"{os.fspath(path)}: there is no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a path that holds a zero byte
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidInput(f"{os.fspath(path)}: cannot be read: {reason}") from None
    if not data:
        raise InvalidInput(f"{os.fspath(path)}: the file is empty")
    return data


def save(model: Model, path: PathLike) -> None:
    """Write the model to a `.tflite` file, whole or not at all: an old file stays until the new one is complete.

    Errors: InvalidModel and UnsupportedModel as write_model says; InvalidInput if the file cannot be written.
    """
    data = write_model(model)
    write_whole(path, lambda file: file.write(data))
