"""MNIST: the idx files, the public address they can be had from, and how the scans are split.

Y. LeCun, C. Cortes, C. J. C. Burges: The MNIST database of handwritten digits. No scan is kept in this repository.
The idx format: two zero bytes, a type (8: uint8), the number of dimensions, each dimension as a big-endian uint32, then
the data, last dimension fastest.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np

ADDRESS = "https://storage.googleapis.com/cvdf-datasets/mnist/"  # the mirror that TensorFlow Datasets reads
TEN_THOUSAND = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
SIXTY_THOUSAND = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
# The content, not the .gz around it, which differs from mirror to mirror.
SHA256: Mapping[str, str] = {
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
}
UINT8 = 8
MAX_BYTES = 64_000_000  # the largest file holds 47,040,016
BLOCK_BYTES = 1 << 16
TIMEOUT_SECONDS = 60

SPLIT_SEED = 20
TRAINED_ON = 8_000  # of the 10,000


class BadData(Exception):
    """A file that is missing, is not what its name says, or cannot be had. One line."""


@dataclass(frozen=True, slots=True)
class DataSet:
    """Images float32 (n, 28, 28) in 0..1, labels uint8 (n,).

    `split`: how they were divided. `files`: name -> SHA-256 of the content.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    split: str
    files: Mapping[str, str]

    @property
    def test_sha256(self) -> str:
        """Tells whether a split came out the same: SHA-256 of the test labels in their order."""
        return hashlib.sha256(self.test_labels.tobytes()).hexdigest()


def unpacked(raw: bytes, where: str) -> bytes:
    """The content of a .gz, or the bytes themselves. BadData if it is broken or holds more than MAX_BYTES."""
    if not raw.startswith(b"\x1f\x8b"):
        return raw
    try:
        content = gzip.GzipFile(fileobj=io.BytesIO(raw)).read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise BadData(f"{where}: a broken .gz ({error})") from None
    if len(content) > MAX_BYTES:
        raise BadData(f"{where}: unpacks to more than {MAX_BYTES:,} bytes; no file of MNIST does")
    return content


def parse_idx(content: bytes, where: str) -> np.ndarray:
    """The uint8 array of an idx file's content. BadData if it is no such file, too short or too long."""
    if len(content) < 4 or content[:2] != b"\x00\x00":
        raise BadData(f"{where}: not an idx file: it does not begin with two zero bytes")
    if content[2] != UINT8:
        raise BadData(f"{where}: the idx file holds type 0x{content[2]:02x}; MNIST is uint8 (0x08)")
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise BadData(f"{where}: the idx file ends inside its {content[3]} dimensions")
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)]
    elements = 1
    for dimension in shape:
        elements *= dimension
    if len(content) - start != elements:
        raise BadData(f"{where}: the idx file says {shape}, {elements:,} bytes, and holds {len(content) - start:,}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def read_idx(path: Path) -> tuple[np.ndarray, str]:
    """(the uint8 array of an idx file, packed as .gz or not; the SHA-256 of its content)."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BadData(f"{path}: cannot be read: {error.strerror}") from None
    content = unpacked(raw, str(path))
    return parse_idx(content, str(path)), hashlib.sha256(content).hexdigest()


def read_pair(images: Path, labels: Path) -> tuple[np.ndarray, np.ndarray, dict[str, str]]:
    """(images uint8 (n, 28, 28), labels uint8 (n,), {file name without .gz: SHA-256 of its content})."""
    (scans, images_hash), (digits, labels_hash) = read_idx(images), read_idx(labels)
    if scans.shape[1:] != (28, 28):
        raise BadData(f"{images}: the scans have the shape {list(scans.shape)}; MNIST's are n x 28 x 28")
    if digits.shape != scans.shape[:1]:
        raise BadData(f"{labels}: the labels have the shape {list(digits.shape)} for {len(scans):,} scans")
    if digits.max(initial=0) > 9:
        raise BadData(f"{labels}: the label {digits.max()} is no digit")
    return scans, digits, {images.name.removesuffix(".gz"): images_hash, labels.name.removesuffix(".gz"): labels_hash}


def places(folder: Path, name: str) -> tuple[Path, Path]:
    """Where a file may lie in a folder: packed, or not."""
    return folder / f"{name}.gz", folder / name


def in_folder(folder: Path, name: str) -> Path:
    """Where a file lies in a folder. BadData if it does not."""
    for path in places(folder, name):
        if path.is_file():
            return path
    raise BadData(f"{folder}: holds no {name}.gz; where there is a network, --download puts it there from {ADDRESS}")


def read_known(folder: Path, names: tuple[str, str]) -> tuple[np.ndarray, np.ndarray, dict[str, str]]:
    """read_pair of two files in `folder`, after their content was found to be MNIST's."""
    images, labels, hashes = read_pair(in_folder(folder, names[0]), in_folder(folder, names[1]))
    for name, found in hashes.items():
        check(name, found, str(folder))
    return images, labels, hashes


def check(name: str, found: str, where: str) -> None:
    """BadData if a content's SHA-256 is not the one known for that file."""
    if found != SHA256[name]:
        raise BadData(f"{where}: {name} is not MNIST's: the SHA-256 of its content is {found}, not {SHA256[name]}")


def download(
    name: str, folder: Path, address: str = ADDRESS, progress: Callable[[int, int], object] = lambda done, of: None
) -> Path:
    """Fetches `name`.gz into `folder`, whole, once its content is known to be right. Returns its path. BadData."""
    from refquant.files import write_whole

    source = f"{address}{name}.gz"
    try:
        with urlopen(source, timeout=TIMEOUT_SECONDS) as answer:
            raw = _read_all(answer, source, progress)
    except (URLError, OSError) as error:
        raise BadData(f"{source}: cannot be had: {error}") from None
    check(name, hashlib.sha256(unpacked(raw, source)).hexdigest(), source)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.gz"
    write_whole(path, lambda file: file.write(raw))
    return path


def _read_all(answer: IO[bytes], source: str, progress: Callable[[int, int], object]) -> bytes:
    total = int(getattr(answer, "length", None) or 0)
    raw = bytearray()
    while block := answer.read(BLOCK_BYTES):
        raw += block
        if len(raw) > MAX_BYTES:
            raise BadData(f"{source}: sends more than {MAX_BYTES:,} bytes; no file of MNIST has as many")
        progress(len(raw), total)
    return bytes(raw)


def pixels(images: np.ndarray) -> np.ndarray:
    """float32(image) / 255, so that 0..255 becomes 0..1, as the tutorials do."""
    return images.astype(np.float32) / np.float32(255)


def ten_thousand(folder: Path) -> DataSet:
    """The 10,000 scans of t10k, 8,000 to train and 2,000 to test, drawn by a seeded permutation.

    Drawn, because the first 5,000 are cleaner and easier than the last 5,000, as their authors say.
    """
    images, labels, files = read_known(folder, TEN_THOUSAND)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(images))
    train, test = order[:TRAINED_ON], order[TRAINED_ON:]
    split = (
        f"numpy.random.default_rng({SPLIT_SEED}).permutation({len(images)}) of t10k: the first {len(train)} train, "
        f"the other {len(test)} test"
    )
    return DataSet(pixels(images[train]), labels[train], pixels(images[test]), labels[test], split, files)


def full(folder: Path) -> DataSet:
    """The 60,000 scans to train and the 10,000 to test, as the tutorials use them."""
    train_images, train_labels, train_files = read_known(folder, SIXTY_THOUSAND)
    test_images, test_labels, test_files = read_known(folder, TEN_THOUSAND)
    split = f"MNIST's own: train-* ({len(train_images)}) train, t10k-* ({len(test_images)}) test"
    files = {**train_files, **test_files}
    return DataSet(pixels(train_images), train_labels, pixels(test_images), test_labels, split, files)


DATA_SETS: Mapping[str, tuple[Callable[[Path], DataSet], tuple[str, ...]]] = {
    "ten_thousand": (ten_thousand, TEN_THOUSAND),
    "full": (full, (*SIXTY_THOUSAND, *TEN_THOUSAND)),
}
"""name -> (how it is read from a folder, the files it needs)."""


def missing(folder: Path, name: str) -> list[str]:
    """The files of a data set that `folder` does not hold, packed or not."""
    return [file for file in DATA_SETS[name][1] if not any(path.is_file() for path in places(folder, file))]
