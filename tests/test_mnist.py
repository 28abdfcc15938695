"""The MNIST network: the idx files, and that golden/mnist.json, the page, the manifest and the models agree."""

from __future__ import annotations

import functools
import gzip
import hashlib
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

import converter_oracle
import oracle
import refquant
from converter_oracle import converter
from refquant.quantizer.quantize import MODES

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import mnist  # noqa: E402  (a tool, kept outside the package)
import mnist_data  # noqa: E402
import mnist_qat  # noqa: E402
from mnist_data import BadData  # noqa: E402

MODELS = ROOT / "golden" / "models"
EVIDENCE = json.loads((ROOT / "golden" / "mnist.json").read_text())
MANIFEST = json.loads((ROOT / "golden" / "manifest.json").read_text())
ROWS = EVIDENCE["conversions"]
SCANNED = ("numpy", "tensorflow")  # ranges that the scans give
FROM_SCANS = {name: c.quantize for name, c in mnist.CONVERSIONS.items() if "numpy" in c.ranges}
# Each file that refquant makes of golden files alone: (row, where its ranges come from).
FROM_FILES = [(name, source) for name, c in mnist.CONVERSIONS.items() for source in c.ranges if source not in SCANNED]
SCANS = Path(os.environ.get("REFQUANT_MNIST", ROOT.parent / "shared" / "data" / "mnist"))

needs_scans = pytest.mark.skipif(not SCANS.is_dir(), reason=f"models missing: no scans in {SCANS} (set REFQUANT_MNIST)")
needs_litert = pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING)


def golden(name: str) -> bytes:
    return (MODELS / f"mnist_{mnist.name_of(name)}").read_bytes()


@functools.cache
def scans() -> mnist_data.DataSet:
    return mnist_data.ten_thousand(SCANS)


def idx(array: np.ndarray) -> bytes:
    """The content of an idx file."""
    dimensions = b"".join(length.to_bytes(4, "big") for length in array.shape)
    return bytes([0, 0, 8, array.ndim]) + dimensions + array.tobytes()


def write_pair(folder: Path, images: np.ndarray, labels: np.ndarray) -> tuple[Path, Path]:
    paths = folder / "images.gz", folder / "labels.gz"
    for path, array in zip(paths, (images, labels), strict=True):
        path.write_bytes(gzip.compress(idx(array)))
    return paths


# the idx files


@pytest.mark.parametrize("shape", [(), (0,), (7,), (3, 2), (5, 28, 28), (2, 3, 4, 5)])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx_gives_back_the_array(shape: tuple[int, ...], pack, tmp_path: Path) -> None:
    array = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    path = tmp_path / "file"
    path.write_bytes(pack(idx(array)))
    got, found = mnist_data.read_idx(path)
    assert got.shape == shape
    assert np.array_equal(got, array)
    assert found == hashlib.sha256(idx(array)).hexdigest()


GOOD = idx(np.arange(6, dtype=np.uint8).reshape(2, 3))
BAD_FILES = {
    "empty": (b"", "two zero bytes"),
    "no idx": (b"P5 28 28 255", "two zero bytes"),
    "floats": (GOOD[:2] + b"\x0d" + GOOD[3:], "0x0d"),
    "ends in its head": (GOOD[:9], "inside its 2 dimensions"),
    "one byte short": (GOOD[:-1], "holds 5"),
    "one byte long": (GOOD + b"\0", "holds 7"),
    "a huge size": (bytes([0, 0, 8, 255]) + b"\xff" * 1020 + b"\0", "holds 1"),
    "a broken gz": (gzip.compress(GOOD)[:-9], "broken .gz"),
    "a gz of other bytes": (b"\x1f\x8b" + b"\x00" * 20, "broken .gz"),
    "a gz with a wrong sum": (gzip.compress(GOOD)[:-8] + b"\0" * 8, "broken .gz"),
    "too much in a gz": (gzip.compress(bytes(mnist_data.MAX_BYTES + 1)), "unpacks to more"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    content, reason = BAD_FILES[name]
    path = tmp_path / "scans.gz"
    path.write_bytes(content)
    with pytest.raises(BadData, match=reason) as caught:
        mnist_data.read_idx(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_images_and_labels_must_fit(tmp_path: Path) -> None:
    images, labels = np.zeros((4, 28, 28), np.uint8), np.arange(4, dtype=np.uint8)
    got_images, got_labels, hashes = mnist_data.read_pair(*write_pair(tmp_path, images, labels))
    assert np.array_equal(got_images, images)
    assert np.array_equal(got_labels, labels)
    assert hashes == {
        "images": hashlib.sha256(idx(images)).hexdigest(),
        "labels": hashlib.sha256(idx(labels)).hexdigest(),
    }
    for bad_images, bad_labels, reason in (
        (images[:, :27], labels, "27"),
        (images, labels[:3], "for 4 scans"),
        (images, labels + np.uint8(7), "no digit"),
        (images[0], labels, "n x 28 x 28"),
    ):
        with pytest.raises(BadData, match=reason):
            mnist_data.read_pair(*write_pair(tmp_path, bad_images, bad_labels))


def test_files_that_are_not_mnist_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"--download puts it there from https://"):
        mnist_data.ten_thousand(tmp_path)
    paths = write_pair(tmp_path, np.zeros((4, 28, 28), np.uint8), np.zeros(4, np.uint8))
    for path, name in zip(paths, mnist_data.TEN_THOUSAND, strict=True):
        path.rename(tmp_path / f"{name}.gz")
    with pytest.raises(BadData, match=r"is not MNIST's: the SHA-256"):
        mnist_data.ten_thousand(tmp_path)
    assert mnist_data.missing(tmp_path, "full") == list(mnist_data.SIXTY_THOUSAND)


def test_the_full_set_is_read_from_its_four_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    arrays = {}
    for (images, labels), count in ((mnist_data.SIXTY_THOUSAND, 6), (mnist_data.TEN_THOUSAND, 3)):
        arrays[images] = rng.integers(0, 256, (count, 28, 28), np.uint8)
        arrays[labels] = rng.integers(0, 10, count, np.uint8)
    hashes = {name: hashlib.sha256(idx(array)).hexdigest() for name, array in arrays.items()}
    monkeypatch.setattr(mnist_data, "SHA256", hashes)
    for number, (name, array) in enumerate(arrays.items()):
        packed = number % 2 == 0
        (tmp_path / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    assert mnist_data.missing(tmp_path, "full") == []
    data = mnist_data.full(tmp_path)
    assert dict(data.files) == hashes
    for got, name in (
        (data.train_images, mnist_data.SIXTY_THOUSAND[0]),
        (data.test_images, mnist_data.TEN_THOUSAND[0]),
    ):
        assert np.array_equal(got, (arrays[name] / np.float64(255)).astype(np.float32))
    assert np.array_equal(data.train_labels, arrays[mnist_data.SIXTY_THOUSAND[1]])
    assert np.array_equal(data.test_labels, arrays[mnist_data.TEN_THOUSAND[1]])


def test_download_keeps_only_what_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = mnist_data.TEN_THOUSAND[1]
    content = idx(np.arange(10, dtype=np.uint8))
    packed = gzip.compress(content)
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    address = f"{there.as_uri()}/"
    with pytest.raises(BadData, match="cannot be had"):
        mnist_data.download(name, here, address)
    (there / f"{name}.gz").write_bytes(packed)
    with pytest.raises(BadData, match=r"is not MNIST's"):
        mnist_data.download(name, here, address)
    assert not here.exists()
    monkeypatch.setattr(mnist_data, "SHA256", {name: hashlib.sha256(content).hexdigest()})
    shown: list[tuple[int, int]] = []
    path = mnist_data.download(name, here, address, progress=lambda done, of: shown.append((done, of)))
    assert path == here / f"{name}.gz"
    assert path.read_bytes() == packed
    assert shown[-1][0] == len(packed)
    assert [entry.name for entry in here.iterdir()] == [path.name]


# the evidence


def test_the_evidence_is_of_these_conversions_and_this_recipe() -> None:
    assert {name: row["what"] for name, row in ROWS.items()} == {n: c.what for n, c in mnist.CONVERSIONS.items()}
    training = EVIDENCE["training"]
    recipe = (mnist.RECIPE, mnist.BATCH, mnist.epochs_for(8_000), mnist.SEED, mnist_data.TRAINED_ON)
    assert (*(training[key] for key in ("recipe", "batch", "epochs", "seed", "scans")),) == recipe
    assert EVIDENCE["data"]["files"] == {name: mnist_data.SHA256[name] for name in mnist_data.TEN_THOUSAND}
    assert all(row["scans"] == 10_000 - mnist_data.TRAINED_ON for row in ROWS.values())
    assert EVIDENCE["published"]["quoted"] == mnist.PUBLISHED
    aware = EVIDENCE["quantization_aware_training"]
    recipe = (mnist_qat.RECIPE, mnist.BATCH, mnist.epochs_for(8_000, mnist_qat.STEPS), mnist.SEED)
    assert (*(aware[key] for key in ("recipe", "batch", "epochs", "seed")),) == recipe
    tuning = (mnist_qat.FINE_TUNING_BATCH, mnist_qat.FINE_TUNING_EPOCHS, mnist_qat.FINE_TUNING_SCANS)
    assert (*(aware[f"fine_tuning_{key}"] for key in ("batch", "epochs", "scans")),) == tuning


def test_nothing_differs() -> None:
    assert mnist.faults(ROWS) == []
    for name, conversion in mnist.CONVERSIONS.items():
        assert set(ROWS[name]["requantized"]) == set(conversion.ranges), name


def test_every_mode_is_converted() -> None:
    assert {c.quantize.get("mode", "int8") for c in mnist.CONVERSIONS.values() if c.quantize is not None} == set(MODES)


@pytest.mark.parametrize("count", ["differing", "predictions_differing", "outputs_differing", "equal"])
def test_a_difference_would_be_told(count: str) -> None:
    rows = json.loads(json.dumps(ROWS))
    if count in rows["int8"]:
        rows["int8"][count] = 1
    else:
        rows["int8"]["requantized"]["converter"][count] = 1 if count == "outputs_differing" else False
    (line,) = mnist.faults(rows)
    assert line.startswith("int8: ")


def test_models_evidence_and_manifest_agree() -> None:
    for name, row in ROWS.items():
        entry = MANIFEST["files"][f"golden/models/mnist_{mnist.name_of(name)}"]
        assert (row["bytes"], row["sha256"]) == (entry["bytes"], entry["sha256"]), name
        assert (row["bytes"], row["sha256"]) == (len(golden(name)), hashlib.sha256(golden(name)).hexdigest()), name
    maker = MANIFEST["makers"]["mnist"]
    assert {key: maker[key] for key in ("versions", "processor")} == {
        key: EVIDENCE[key] for key in ("versions", "processor")
    }
    made = {path for path, entry in MANIFEST["files"].items() if entry["maker"] == "mnist"}
    assert made == {f"golden/models/mnist_{mnist.name_of(name)}" for name in mnist.KEPT} | {mnist.EVIDENCE}


def test_the_page_shows_the_evidence() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    table = page.split("<!-- begin mnist -->")[1].split("<!-- end mnist -->")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")][2:]
    assert len(lines) == len(ROWS) + len(mnist.PUBLISHED)
    for line, row in zip(lines, ROWS.values(), strict=False):
        accuracy = f"{row['litert_correct'] / row['scans']:.2%}"
        assert line.startswith(f"| {row['what']} | {row['bytes']:,} | {accuracy} | {accuracy} | 0 of ")
    assert f"{mnist.epochs_for(8_000)} epochs" in page
    assert f"{mnist.epochs_for(8_000, mnist_qat.STEPS)} epochs" in page
    assert mnist.epochs_for(60_000) == 5
    assert mnist.epochs_for(54_000, mnist_qat.STEPS) == 1
    assert mnist.RECIPE in page
    assert mnist_qat.RECIPE in page


# counted again from the models alone


def test_the_calibrated_model_is_the_float_model_with_ranges() -> None:
    assert refquant.compare_models(golden("calibrated"), golden("float")).equal
    assert refquant.Calibration.from_model(golden("calibrated")).ranges


@pytest.mark.parametrize(("name", "source"), FROM_FILES)
def test_refquant_makes_the_file_that_tensorflow_made(name: str, source: str) -> None:
    conversion, row = mnist.CONVERSIONS[name], ROWS[name]["requantized"][source]
    aware = refquant.Calibration.load(MODELS / "mnist_qat_ranges.json")
    ranges = mnist.calibrations({"calibrated": golden("calibrated")}, aware)[conversion.source, source]
    ours = refquant.quantize(golden(conversion.source), ranges, **conversion.quantize)
    comparison = refquant.compare_models(ours, golden(name))
    counted = (comparison.equal, comparison.slots, comparison.differing, comparison.largest_ulps)
    assert counted == (*(row[key] for key in ("equal", "slots", "differing", "largest_ulps")),), comparison
    assert comparison.slots > 0


@pytest.mark.tensorflow
@pytest.mark.skipif(not converter_oracle.INSTALLED, reason=converter_oracle.MISSING)
@pytest.mark.parametrize("name", FROM_SCANS)
def test_tensorflow_makes_it_again(name: str) -> None:
    options = dict(FROM_SCANS[name])
    if "mode" in options or options.pop("quantizer", None) == "legacy":
        options.setdefault("bias_type", "int64" if "mode" in options else "int32")
        again = converter.quantize_legacy(golden("calibrated"), **options)
    else:
        again = converter.quantize(golden("calibrated"), **options)
    comparison = refquant.compare_models(again, golden(name))
    assert comparison.equal, comparison
    assert comparison.slots == ROWS[name]["requantized"]["converter"]["slots"]


# counted again from the scans, where they are


@needs_scans
def test_the_split_comes_out_the_same() -> None:
    data = scans()
    assert data.test_sha256 == EVIDENCE["data"]["test_sha256"]
    assert data.split == EVIDENCE["data"]["split"]
    assert (len(data.train_labels), len(data.test_labels)) == (mnist_data.TRAINED_ON, 10_000 - mnist_data.TRAINED_ON)
    assert data.train_images.dtype == np.float32
    assert (data.train_images.min(), data.train_images.max()) == (0, 1)


@needs_scans
@needs_litert
@pytest.mark.parametrize("name", ROWS)
def test_both_runtimes_answer_as_recorded(name: str) -> None:
    judged, _ = mnist.judge(golden(name), scans())
    row = ROWS[name]
    assert judged.differing == judged.predictions_differing == 0
    assert (judged.scans, judged.elements) == (row["scans"], row["elements"])
    assert (judged.litert_correct, judged.refquant_correct) == (row["litert_correct"], row["refquant_correct"])


@needs_scans
def test_own_ranges_give_the_same_weights_and_zero_points() -> None:
    data = scans()
    samples = [data.train_images[index : index + 1] for index in range(mnist.CALIBRATION_SCANS)]
    calibration = refquant.calibrate(golden("float"), samples)
    for name, options in FROM_SCANS.items():
        comparison = refquant.compare_models(refquant.quantize(golden("float"), calibration, **options), golden(name))
        for difference in comparison.differences:
            assert difference.what == ("scale",), (name, difference)
            assert difference.ulps <= mnist.RANGES["numpy"], (name, difference)


@pytest.mark.tensorflow
@pytest.mark.skipif(not converter_oracle.INSTALLED, reason=converter_oracle.MISSING)
@needs_scans
def test_tensorflow_sees_the_same_ranges_again() -> None:
    data = scans()
    samples = [[data.train_images[index : index + 1]] for index in range(mnist.CALIBRATION_SCANS)]
    again = refquant.Calibration.from_model(converter.calibrate(golden("float"), samples))
    assert again.ranges == refquant.Calibration.from_model(golden("calibrated")).ranges
