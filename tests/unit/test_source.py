"""Clips inside tars and Parquet tables: read in place, as the files themselves are."""

from __future__ import annotations

import io
import json
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from media_files import regular, tone, write_clip

from sightsound import cli
from sightsound.commands.arguments import require_data
from sightsound.config.settings import DataSettings
from sightsound.data.datasets.huggingface_parquet import huggingface_parquet
from sightsound.data.datasets.matching import match
from sightsound.data.datasets.media_index import MediaIndex
from sightsound.data.datasets.webdataset import webdataset
from sightsound.data.manifest import load_manifest
from sightsound.doctor.duplicates import content_hash
from sightsound.media import source
from sightsound.media.decode import DecodeError
from sightsound.media.decode_process import DecodeProcessReader
from sightsound.media.probe import probe
from sightsound.media.reader import FileReader
from sightsound.media.source import exists, find

TIMES = np.array([0.0, 0.25, 0.6])


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "a.mp4"
    write_clip(path, levels=[20, 60, 100, 140, 180, 220] * 2, times=regular(12), sound=tone(0.5))
    return path


def pack(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            tar.addfile(about, io.BytesIO(content))
    return path


def same(first: Path, second: Path, reader=None) -> bool:
    """Whether both files hold the same pictures and sound for a reader."""
    reader = reader or FileReader()
    frames = [reader.frames(path, TIMES, (16, 16)) for path in (first, second)]
    sounds = [reader.sound(path, 0.1, 0.4, 16000) for path in (first, second)]
    assert reader.duration(first) == reader.duration(second)
    assert (sounds[0] is None) == (sounds[1] is None)
    return np.array_equal(frames[0].pixels, frames[1].pixels) and (
        sounds[0] is None or np.array_equal(sounds[0].samples, sounds[1].samples)
    )


# --- tars ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["t.tar", "a b,,:c%20é'.tar", "T.TAR"])
def test_a_member_reads_as_the_file(tmp_path, clip, name):
    tar = pack(tmp_path / name, {"x.txt": b"hi", "sub/0001.mp4": clip.read_bytes(), "z.txt": b"1"})
    path = tar / "sub" / "0001.mp4"
    assert exists(path) and same(clip, path)
    assert find(path).size == clip.stat().st_size
    with find(path).content() as data:
        assert data == clip.read_bytes()
    assert probe(path).video == probe(clip).video


@pytest.mark.parametrize("suffix", [".mkv", ".avi", ".ts", ".mov", ".flv"])
def test_containers_of_all_kinds_in_a_tar(tmp_path, suffix):
    """Those with an index at the end, at the start, and none: seeking stays inside the member."""
    other, path = tmp_path / f"b{suffix}", tmp_path / f"a{suffix}"
    for each, level in ((path, 90), (other, 200)):
        write_clip(each, levels=[level, level + 30] * 6, times=regular(12), sound=tone(0.5))
    members = {f"{n}{suffix}": p.read_bytes() for n, p in enumerate((other, path, other))}
    assert same(path, pack(tmp_path / "t.tar", members) / f"1{suffix}")


def test_a_child_process_reads_members(tmp_path, clip):
    path = pack(tmp_path / "t.tar", {"0.mp4": clip.read_bytes()}) / "0.mp4"
    reader = DecodeProcessReader(FileReader(), 30.0)
    try:
        assert same(clip, path, reader)
        assert pickle.loads(pickle.dumps(path)) == path
    finally:
        reader.close()


@pytest.mark.parametrize("suffix", [".ts", ".mkv"])
def test_joined_recordings_inside_play_one_after_the_other(tmp_path, suffix):
    """As they do outside: both links, or both stretches of a clock that starts again."""
    for name, hertz in (("a", 440), ("b", 880)):
        part = tmp_path / f"{name}{suffix}"
        write_clip(part, levels=[90] * 12, times=regular(12), sound=tone(0.5, hertz=hertz))
    both = tmp_path / f"both{suffix}"
    both.write_bytes(b"".join((tmp_path / f"{n}{suffix}").read_bytes() for n in "ab"))
    tar = pack(tmp_path / "t.tar", {f"0{suffix}": both.read_bytes(), f"1{suffix}": b"OggS" * 99})
    cells = table(tmp_path / "t.parquet", {"video": [cell(both.read_bytes(), both.name)]})
    expected = FileReader().sound(both, 0.0, 1.0, 16000)
    assert FileReader().duration(both) > 0.9 and expected.valid.mean() > 0.9
    for path in (tar / f"0{suffix}", cells / "video" / f"0{suffix}"):
        assert FileReader().duration(path) == FileReader().duration(both)
        found = FileReader().sound(path, 0.0, 1.0, 16000)
        assert np.array_equal(found.samples, expected.samples) and found.problems


def test_a_tar_that_was_replaced_is_looked_at_again(tmp_path, clip):
    tar = pack(tmp_path / "t.tar", {"0.mp4": clip.read_bytes()})
    assert exists(tar / "0.mp4")
    pack(tar, {"other.mp4": clip.read_bytes(), "0.mp4": clip.read_bytes()})
    assert exists(tar / "other.mp4") and same(clip, tar / "0.mp4")


def test_what_is_not_in_a_tar(tmp_path, clip):
    tar = pack(tmp_path / "t.tar", {"0.mp4": clip.read_bytes(), "../out.mp4": clip.read_bytes()})
    (tmp_path / "bad.tar").write_bytes(b"not a tar" * 200)
    for path, cause in (
        (tar / "1.mp4", "nothing called '1.mp4' in"),
        (tar, "Invalid data"),
        (tmp_path / "bad.tar" / "0.mp4", "is no tar that can be read in place"),
        (tmp_path / "gone.tar" / "0.mp4", "no such file"),
        (tmp_path, "not a file"),
    ):
        assert not exists(path) or path == tar
        with pytest.raises(DecodeError, match=cause):
            FileReader().duration(path)


def test_a_tar_that_is_cut_off(tmp_path, clip):
    """Members before the end are read; the one that is cut is a damaged file, not a traceback."""
    tar = pack(tmp_path / "t.tar", {"0.mp4": clip.read_bytes(), "1.mp4": clip.read_bytes()})
    with open(tar, "r+b") as file:
        file.truncate(int(clip.stat().st_size * 1.4) + 1024)
    try:
        FileReader().duration(tar / "1.mp4")
    except DecodeError:
        pass
    else:
        pytest.fail("half an mp4 file has no index")


def test_commands_take_a_clip_inside(tmp_path, clip):
    tar = pack(tmp_path / "t.tar", {"0.mp4": clip.read_bytes()})
    require_data(str(tar / "0.mp4"))
    with pytest.raises(FileNotFoundError, match="no such file or folder: '.*t.tar/1.mp4'"):
        require_data(str(tar / "1.mp4"))
    assert content_hash(tar / "0.mp4") == content_hash(clip) != content_hash(tar)


# --- the reader of WebDataset's layout ----------------------------------------------------------


def samples(clip: Path, labels: list[dict[str, bytes]]) -> dict[str, bytes]:
    """Members of a tar: a clip and what stands beside it, for each of `labels`."""
    members = {}
    for number, beside in enumerate(labels):
        members[f"{number:09d}.mp4"] = clip.read_bytes()
        members |= {f"{number:09d}.{kind}": text for kind, text in beside.items()}
    return members


def rows(read, *paths: Path):
    listing = read(list(paths))
    matched = match("x", listing, MediaIndex(paths[0].parent))
    return matched.rows, listing


def test_webdataset_labels_of_all_kinds(tmp_path, clip):
    beside = [
        {"cls": b"1", "txt": b"a caption", "json": b'{"url": "u"}'},
        {"json": b'{"label": 0, "caption": "a caption"}'},
        {"json": b'{"labels": ["cat", "dog"]}', "txt": b"a caption"},
        {"txt": b"dog\n"},
    ]
    tar = pack(tmp_path / "train-00000.tar", samples(clip, beside))
    classes = tmp_path / "classes.txt"
    classes.write_text("cat\ndog\n")
    found, listing = rows(webdataset, tar, classes)
    assert [row.labels for row in found] == [("dog",), ("cat",), ("cat", "dog"), ("dog",)]
    assert [row.id for row in found][:2] == ["train-00000/000000000", "train-00000/000000001"]
    assert {row.split for row in found} == {"train"}
    assert found[1].path == tar / "000000001.mp4"
    assert listing.notes[:1] == ["train-00000.tar: 1 classes are the texts of .txt files"]
    (tmp_path / "classes.txt").write_text("cat\n")
    with pytest.raises(ValueError, match="000000000: label '1' is none of the 1 classes given"):
        rows(webdataset, tar, classes)


def test_webdataset_folders_splits_and_sound_apart(tmp_path, clip):
    members = {"a/0.mp4": clip.read_bytes(), "a/0.wav": b"RIFF", "a/0.cls": b"3",
               "b/1.cls": b"3", "b/1.json": b'{"status": "failed_to_download"}'}  # fmt: skip
    pack(tmp_path / "shards/train/00000.tar", members)
    pack(tmp_path / "shards/validation/00000.tar", samples(clip, [{"cls": b"3"}]))
    matched = match("x", webdataset([tmp_path / "shards"]), MediaIndex(tmp_path))
    assert {row.id: row.split for row in matched.rows} == {
        "train/00000/a/0": "train",
        "val/00000/000000000": "val",
    }
    assert matched.rows[0].audio_path == tmp_path / "shards/train/00000.tar/a/0.wav"
    assert matched.coverage.missing == [("train/00000/b/1", "train")]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "holds no clips with .cls, .json or .txt beside them"),
        ({"0.mp4": b"x", "0.json": b"{"}, r"0.json is not JSON"),
        ({"0.mp4": b"x", "0.json": b'{"label": {"a": 1}}'}, "label {'a': 1}; accepted: a name, a"),
    ],
)
def test_webdataset_wrong_tars(tmp_path, members, message):
    with pytest.raises(ValueError, match=message):
        list(webdataset([pack(tmp_path / "t.tar", members)]).clips)


def test_webdataset_refuses_compressed_tars_and_our_own_shards(tmp_path, clip):
    packed = tmp_path / "t.tar.gz"
    packed.write_bytes(b"\x1f\x8b")
    with pytest.raises(ValueError, match="compressed tars cannot be read in place, unpack them"):
        list(webdataset([packed]).clips)
    wrong = tmp_path / "wrong.tar"
    wrong.write_bytes(b"\x1f\x8b" + b"x" * 600)
    with pytest.raises(ValueError, match="is no tar that can be read in place"):
        list(webdataset([wrong]).clips)
    own = pack(tmp_path / "shards/00000.tar", samples(clip, [{"cls": b"1"}]))
    (tmp_path / "shards/shards.json").write_text("{}")
    with pytest.raises(ValueError, match="one of the shards that 'sightsound prepare' made; give"):
        list(webdataset([own]).clips)


def test_webdataset_by_command_needs_no_media_and_loads_again(tmp_path, capsys, clip):
    tar = pack(tmp_path / "tars/train-0.tar", samples(clip, [{"cls": b"0"}, {"cls": b"1"}]))
    output = tmp_path / "tars" / "m.csv"
    assert cli.main(["manifest", "webdataset", str(tar.parent), "--output", str(output)]) == 0
    assert "2 of 2 listed clips found" in capsys.readouterr().out
    text = output.read_text()
    assert "train-0.tar/000000000.mp4,0,train" in text and str(tmp_path) not in text
    loaded = load_manifest(DataSettings(path=str(output)))
    assert [row.path for row in loaded.rows] == [tar / f"00000000{n}.mp4" for n in (0, 1)]
    assert sorted(os.listdir(tar.parent)) == [
        "labels.json", "m.coverage.json", "m.csv", "m.missing.csv", "train-0.tar",
    ]  # fmt: skip
    tar.unlink()
    with pytest.raises(ValueError, match="file '.*train-0.tar/000000000.mp4' does not exist"):
        load_manifest(DataSettings(path=str(output)))


# --- Parquet ------------------------------------------------------------------------------------


def table(path: Path, columns: dict, *, names: list[str] | None = None, group: int = 2) -> Path:
    """A Parquet table as Hugging Face's `datasets` writes it."""
    made = pyarrow.table(columns)
    if names:
        features = {"label": {"names": names, "_type": "ClassLabel"}, "video": {"_type": "Video"}}
        about = {"info": {"features": features}}
        made = made.replace_schema_metadata({"huggingface": json.dumps(about)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(made, path, row_group_size=group)
    return path


def cell(content: bytes | None, name: str | None) -> dict:
    return {"bytes": content, "path": name}


def test_parquet_cells_read_as_the_file(tmp_path, clip):
    """Five rows in groups of two: the right row of the right group."""
    cells = [cell(b"x" * n, "x.mp4") for n in range(1, 6)]
    cells[3] = cell(clip.read_bytes(), "a.mp4")
    path = table(tmp_path / "train-0.parquet", {"video": cells, "label": [0, 1, 1, 0, 1]})
    assert same(clip, path / "video" / "3.mp4")
    assert [find(path / "video" / f"{n}.mp4").size for n in (0, 1, 2, 4)] == [1, 2, 3, 5]
    with find(path / "video/4.mp4").content() as data:
        assert data == b"x" * 5
    for name in ("video/5.mp4", "video/-1.mp4", "audio/0.mp4", "video/x.mp4", "video"):
        assert not exists(path / name)
        with pytest.raises(DecodeError, match="nothing called"):
            FileReader().duration(path / name)
    with pytest.raises(DecodeError, match="column 'label' of '.*' holds no clips"):
        FileReader().duration(path / "label/0.mp4")
    with pytest.raises(DecodeError, match="Invalid data"):
        FileReader().duration(path / "video/0.mp4")


def test_parquet_groups_too_large_to_be_kept(tmp_path, clip, monkeypatch):
    cells = [cell(b"x" * n, "x.mp4") for n in range(1, 6)] + [cell(clip.read_bytes(), "a.mp4")]
    path = table(tmp_path / "t.parquet", {"video": cells, "label": [0] * 6}, group=4)
    monkeypatch.setattr(source, "_KEPT_BYTES", 0)
    monkeypatch.setattr(source, "_group", None)
    assert same(clip, path / "video" / "5.mp4")
    assert [find(path / "video" / f"{n}.mp4").size for n in range(5)] == [1, 2, 3, 4, 5]
    monkeypatch.setattr("sightsound.data.datasets.huggingface_parquet._LARGE_BYTES", 0)
    (note,) = huggingface_parquet([path]).notes
    assert "of which half is read for every clip; 'sightsound prepare' makes shards" in note


def test_parquet_labels_names_and_splits(tmp_path, clip):
    cells = [cell(clip.read_bytes(), f"{n}.mp4") for n in "abc"]
    columns = {"video": cells, "label": [1, 0, 1], "caption": ["x", "y", "z"]}
    train = table(tmp_path / "data/train-00000-of-00001.parquet", columns, names=["cat", "dog"])
    matched = match("x", huggingface_parquet([train.parent]), MediaIndex(tmp_path))
    assert [row.labels for row in matched.rows] == [("dog",), ("cat",), ("dog",)]
    assert matched.labels == {"label": ["cat", "dog"]}
    assert [row.id for row in matched.rows][0] == "train-00000-of-00001/0"
    assert matched.rows[2].path == train / "video" / "2.mp4" and matched.rows[0].split == "train"


def test_parquet_sound_beside_pictures_and_cells_without_bytes(tmp_path, clip):
    columns = {
        "video": [cell(clip.read_bytes(), "a.mp4"), cell(None, "gone.mp4"), cell(None, None)],
        "audio": [cell(b"RIFF", "a.flac"), cell(b"RIFF", None), cell(None, None)],
        "labels": [["x", "y"], ["x"], ["y"]],
    }
    path = table(tmp_path / "train.parquet", columns)
    matched = match("x", huggingface_parquet([path]), MediaIndex(tmp_path))
    assert [(row.path.name, row.audio_path and row.audio_path.name) for row in matched.rows] == [
        ("0.mp4", "0.flac"),
        ("1.wav", None),
    ]
    assert matched.rows[0].labels == ("x", "y")
    assert matched.coverage.missing == [("train/2", "train")]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"path": ["a.mp4"], "label": ["x"]},
            "columns path, label; needed: one of clips, {bytes, ",
        ),
        ({"video": [cell(b"x", "a.mp4")]}, "columns video; needed: one of clips"),
        ({"video": [cell(b"x", "a.mp4")], "label": [None]}, "row 0: label None; accepted: a name"),
    ],
)
def test_parquet_wrong_tables(tmp_path, columns, message):
    path = table(tmp_path / "train.parquet", columns)
    with pytest.raises(ValueError, match=message):
        list(huggingface_parquet([path]).clips)
    (tmp_path / "train.parquet").write_bytes(b"PAR1 cut off")
    with pytest.raises(ValueError, match="train.parquet' is no Parquet table: "):
        huggingface_parquet([path])


def test_location_keeps_protocols_out_of_names(tmp_path, clip):
    assert find(clip).location() == f"file:{clip}"
    for name in ("subfile,,start,0,end,9,,:x.mp4", "http://host/a.mp4", "concat:a|b"):
        assert not exists(name)
        with pytest.raises(DecodeError, match="no such file"):
            FileReader().duration(name)
