"""golden/errata/answers.json: how arrays and answers stand there. Used by tools/make_errata.py and the tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np


def as_lists(array: np.ndarray) -> dict[str, Any]:
    """An array as JSON has it; infinities and NaN as their names."""
    values = array.ravel().tolist()
    plain = [repr(value) if isinstance(value, float) and not np.isfinite(value) else value for value in values]
    return {"type": array.dtype.name, "shape": list(array.shape), "values": plain}


def as_array(stored: Mapping[str, Any]) -> np.ndarray:
    """The array that as_lists wrote."""
    values = [float(value) if isinstance(value, str) else value for value in stored["values"]]
    return np.array(values, stored["type"]).reshape(stored["shape"])


def dumped(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """All examples as JSON, one line for each runtime's answer."""
    texts = []
    for key, entry in entries.items():
        lines = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in entry.items() if name != "answers"]
        answers = ",\n".join(f"   {json.dumps(real)}: {json.dumps(value)}" for real, value in entry["answers"].items())
        texts.append(f" {json.dumps(key)}: {{\n" + ",\n".join(lines) + f',\n  "answers": {{\n{answers}\n  }}\n }}')
    return "{\n" + ",\n".join(texts) + "\n}\n"
