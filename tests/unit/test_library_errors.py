"""Errors of libraries: told in one sentence by every command, with the file where it is known."""

import csv
import json
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import av
import msgpack
import PIL.Image
import pyarrow
import pyarrow.parquet
import pytest
import safetensors.torch
import yaml

from sightsound import cli
from sightsound.library_errors import load_tensors, read_object, reading, save_tensors

GARBAGE = b"\x93\xff<this is in no format>" * 40

RAISING = {
    "safetensors": lambda path: safetensors.torch.load_file(path),
    "av": lambda path: av.open(str(path), format="mp4"),
    "codec": lambda path: (
        av.CodecContext.create("h264", "r").parse(b"")
        or av.CodecContext.create("no_such_codec", "r")
    ),
    "text": lambda path: path.read_text(encoding="utf-8"),
    "json": lambda path: json.loads(path.read_text(encoding="latin-1")),
    "yaml": lambda path: yaml.safe_load("a: [1"),
    "parquet": lambda path: pyarrow.parquet.read_table(path),
    "arrow": lambda path: pyarrow.ipc.open_stream(path.read_bytes()),
    "picture": lambda path: PIL.Image.open(path),
    "zip": lambda path: zipfile.ZipFile(path),
    "tar": lambda path: tarfile.open(path),
    "deflate": lambda path: zlib.decompress(path.read_bytes()),
    "csv": lambda path: list(csv.reader(['"a"b'], strict=True)),
    "struct": lambda path: struct.unpack("<Q", b"1"),
    "msgpack": lambda path: msgpack.unpackb(b"\xc1"),
}


@pytest.fixture
def garbage(tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(GARBAGE)
    return path


@pytest.mark.parametrize("kind", RAISING)
def test_every_command_tells_it_in_one_sentence(kind, garbage, capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(cli.COMMANDS, "evaluate", lambda argv: RAISING[kind](garbage))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert cli.main(["evaluate"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("sightsound evaluate: ") and error.count("\n") == 1
    assert "Traceback" not in error


@pytest.mark.parametrize("kind", RAISING)
def test_a_reader_names_the_file(kind, garbage):
    expected = r"file.bin' is damaged \(.+\); fetch it again$"
    with pytest.raises(ValueError, match=expected), reading(garbage, remedy="fetch it again"):
        RAISING[kind](garbage)


def test_the_traceback_is_kept_for_those_who_look(garbage, capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(cli.COMMANDS, "evaluate", lambda argv: zipfile.ZipFile(garbage))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    cli.main(["evaluate"])
    where = Path(capsys.readouterr().err.rsplit("where: ", 1)[1].strip())
    assert "zipfile.BadZipFile: File is not a zip file" in where.read_text()


def test_defects_keep_their_traceback(monkeypatch):
    monkeypatch.setitem(cli.COMMANDS, "evaluate", lambda argv: {}["no such key"])
    with pytest.raises(KeyError):
        cli.main(["evaluate"])


def test_missing_files_are_no_damage(tmp_path):
    with pytest.raises(FileNotFoundError), reading(tmp_path / "none", remedy=""):
        (tmp_path / "none").read_text()


@pytest.mark.parametrize("content", ["null", "[]", "{}", '{"rows": 1', "\ufffd"])
def test_objects_of_another_kind_are_damage(tmp_path, content):
    path = tmp_path / "summary.json"
    path.write_text(content, encoding="utf-16")
    with pytest.raises(ValueError, match="summary.json' is damaged .*; do this"):
        read_object(path, remedy="do this", needs=["rows"])
    path.write_text(content)
    with pytest.raises(ValueError, match="summary.json' is damaged .*; do this"):
        read_object(path, remedy="do this", needs=["rows"])
    path.write_text('{"rows": 1}')
    assert read_object(path, remedy="", needs=["rows"]) == {"rows": 1}


def test_a_full_disk_without_a_name(monkeypatch, capsys):
    """Buffers are written late, and then the system names no file."""

    def full(argv):
        with open("/dev/full", "w") as file:
            file.write("x" * 100_000)

    monkeypatch.setitem(cli.COMMANDS, "prepare", full)
    assert cli.main(["prepare"]) == 2
    error = capsys.readouterr().err
    assert "No space left on device; free some space; the same command goes on" in error


def test_tensors_that_cannot_be_written_name_the_file(tmp_path):
    import torch

    path = tmp_path / "no folder" / "a.safetensors"
    with pytest.raises(FileNotFoundError, match="a.safetensors"):
        save_tensors({"a": torch.zeros(2)}, path)
    path = tmp_path / "a.safetensors"
    save_tensors({"a": torch.ones(2)}, path, metadata={"step": "1"})
    assert load_tensors(path, remedy="")["a"].tolist() == [1, 1]
