"""The arrays that the verbs read and write."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from refquant.errors import InvalidInput
from refquant.model.graph import Array


def read_arrays(path: Path) -> Array | list[Array] | dict[str, Array]:
    """The arrays of a .npy or .npz file, never unpickled: an array, a list (arr_0, arr_1, ...) or {name: array}."""
    if path.is_dir():
        raise InvalidInput(f"{path}: this is a directory, not a .npy or .npz file")
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            arrays = {name: loaded[name] for name in loaded.files}
    except FileNotFoundError:
        raise InvalidInput(f"{path}: there is no such file") from None
    except Exception as error:  # whatever NumPy, zipfile and zlib find wrong with the bytes
        reason = "the bytes are no arrays, or pickled objects" if "allow_pickle" in str(error) else str(error)
        raise InvalidInput(f"{path}: not a readable .npy or .npz file of plain arrays ({reason})") from None
    if not arrays:
        raise InvalidInput(f"{path}: the file holds no array")
    if set(arrays) == {f"arr_{number}" for number in range(len(arrays))}:
        return [arrays[f"arr_{number}"] for number in range(len(arrays))]
    return arrays


def read_samples(path: Path, limit: int | None) -> tuple[Iterable[Any], int]:
    """(samples, their number) of a .npy or .npz file; dim 0 of each array counts them, each keeps a batch of 1."""
    arrays = read_arrays(path)
    parts = (
        arrays if isinstance(arrays, dict) else dict(enumerate([arrays] if isinstance(arrays, np.ndarray) else arrays))
    )
    counts = {str(name): array.shape[0] if array.ndim else 0 for name, array in parts.items()}
    if len(set(counts.values())) != 1 or 0 in counts.values():
        raise InvalidInput(f"{path}: dim 0 must count the samples in every array, but the arrays hold {counts}")
    count = min(next(iter(counts.values())), limit or math.inf)

    def stream() -> Iterator[Any]:
        for number in range(int(count)):
            sample = {name: array[number : number + 1] for name, array in parts.items()}
            yield sample if isinstance(arrays, dict) else list(sample.values())

    return stream(), int(count)


def count_samples(arrays: Array | list[Array] | dict[str, Array]) -> int:
    """How many samples the arrays seem to hold: the largest dim 0."""
    parts = arrays.values() if isinstance(arrays, dict) else [arrays] if isinstance(arrays, np.ndarray) else arrays
    return max((array.shape[0] for array in parts if array.ndim), default=1)


def keep_apart(output: Path | None, *inputs: Path | None) -> None:
    """InvalidInput if the output would overwrite an input, or cannot be written where it is to stand."""
    if output is None:
        return
    if not output.parent.is_dir():
        raise InvalidInput(f"{output}: there is no directory '{output.parent}'")
    if output.is_dir():
        raise InvalidInput(f"{output}: this is a directory; name a file")
    for path in inputs:
        if path is not None and output.exists() and path.exists() and output.samefile(path):
            raise InvalidInput(f"{output}: is an input of this command; write to another file")


def unique_names(names: list[str], arrays: list[Array]) -> dict[str, Array]:
    """{name: array}; a name that occurs again gets its position behind it."""
    result: dict[str, Array] = {}
    for position, (name, array) in enumerate(zip(names, arrays, strict=True)):
        result[name if name and name not in result else f"{name}_{position}"] = array
    return result


def write_npz(file: IO[bytes], arrays: Mapping[str, Array]) -> None:
    """An .npz file. np.savez would take some names of tensors for its own arguments."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)
