"""The files that come with the package: real digits, small models that TensorFlow converted, what LiteRT answered."""

from __future__ import annotations

from pathlib import Path

from refquant.errors import InvalidInput

_HERE = Path(__file__).parent
_PLACES = (_HERE, _HERE.parent.parent)  # inside a wheel; else the repository, which keeps golden/ beside the package


def data_file(name: str) -> Path:
    """Where a file lies: "digits.npz", or one of golden/: "golden/models/digits_cnn_int8.tflite".

    Errors: InvalidInput if the installation does not hold it.
    """
    for place in _PLACES:
        if (place / name).is_file():
            return place / name
    raise InvalidInput(f"the file {name} is missing from this installation of refquant; install it again")
