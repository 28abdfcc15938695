"""load and save: what goes wrong with files is said in one line, and a file is written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from refquant.errors import InvalidInput, InvalidModel, MalformedModel
from refquant.model import load, save, write_model
from test_model_rules import small_model, with_graph


def message_of(call: Callable[[], object]) -> str:
    with pytest.raises(InvalidInput) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_load_and_save(tmp_path: Path) -> None:
    model = load(write_model(small_model()))
    path = tmp_path / "model.tflite"
    save(model, path)
    assert path.read_bytes() == write_model(model)
    assert load(path) == load(str(path)) == load(path.read_bytes()) == model
    assert load(bytearray(path.read_bytes())) == load(memoryview(path.read_bytes())) == model
    assert os.listdir(tmp_path) == ["model.tflite"]


def test_missing(tmp_path: Path) -> None:
    path = tmp_path / "none.tflite"
    assert message_of(lambda: load(path)) == f"{path}: there is no such file"
    path = tmp_path / "no" / "folder.tflite"
    assert message_of(lambda: load(path)) == f"{path}: there is no such file"


def test_directory(tmp_path: Path) -> None:
    assert message_of(lambda: load(tmp_path)) == f"{tmp_path}: this is a directory, not a .tflite file"


def test_empty(tmp_path: Path) -> None:
    path = tmp_path / "empty.tflite"
    path.touch()
    assert message_of(lambda: load(path)) == f"{path}: the file is empty"


def test_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", denied)
    path = tmp_path / "secret.tflite"
    assert message_of(lambda: load(path)) == f"{path}: cannot be read: Permission denied"


def test_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "model.tflite"
    assert message_of(lambda: load(path)) == f"{path}: cannot be read: Not a directory"


def test_a_name_that_no_file_can_have() -> None:
    assert message_of(lambda: load("a\0b")).endswith(": cannot be read: embedded null byte")
    assert "cannot be written: " in message_of(lambda: save(small_model(), "a\0b"))


def test_not_a_model(tmp_path: Path) -> None:
    path = tmp_path / "text.tflite"
    path.write_text("This is no model, but it is long enough to be one.")
    with pytest.raises(MalformedModel, match="not the file identifier b'TFL3'"):
        load(path)
    with pytest.raises(MalformedModel):
        load(b"")


def test_load_validates(tmp_path: Path) -> None:
    path = tmp_path / "broken.tflite"
    path.write_bytes(write_model(with_graph(small_model(), outputs=(9,)), check=False))
    with pytest.raises(InvalidModel, match="graph output 0 names tensor 9"):
        load(path)


def test_save_into_a_folder_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "no" / "model.tflite"
    assert message_of(lambda: save(small_model(), path)) == f"{path}: cannot be written: No such file or directory"


def test_save_over_a_directory(tmp_path: Path) -> None:
    assert (
        message_of(lambda: save(small_model(), tmp_path)) == f"{tmp_path}: cannot be written: it is not a regular file"
    )
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_or_device_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    assert message_of(lambda: save(small_model(), path)) == f"{path}: cannot be written: it is not a regular file"
    assert path.is_fifo()


def test_an_invalid_model_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(b"old")
    with pytest.raises(InvalidModel):
        save(with_graph(small_model(), outputs=(9,)), path)
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("step", ["open", "replace"])
def test_an_interrupted_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(b"old")

    class HalfWritten:
        def __init__(self, name: Path, mode: str) -> None:
            self.file = os.fdopen(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY), mode.replace("x", "w"))

        def __enter__(self) -> HalfWritten:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, data: bytes) -> None:
            self.file.write(data[: len(data) // 2])
            raise OSError(28, "No space left on device")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    if step == "open":
        monkeypatch.setattr("builtins.open", HalfWritten)
    else:
        monkeypatch.setattr(os, "replace", full)
    message = message_of(lambda: save(small_model(), path))
    monkeypatch.undo()
    assert message == f"{path}: cannot be written: No space left on device"
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["model.tflite"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target = tmp_path / "there" / "model.tflite"
    target.write_bytes(b"old")
    link = tmp_path / "link.tflite"
    link.symlink_to(target)
    save(small_model(), link)
    assert link.is_symlink()
    assert target.read_bytes() == write_model(small_model())


def test_a_saved_file_has_the_modes_of_any_other(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    save(small_model(), tmp_path / "model.tflite")
    assert (tmp_path / "model.tflite").stat().st_mode == (tmp_path / "other").stat().st_mode
