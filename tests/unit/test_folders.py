"""Split folders under the names that are in use, and what lies beside clips."""

import json
from pathlib import Path

import pytest

from sightsound.config.settings import DataSettings
from sightsound.data.manifest import load_manifest
from sightsound.data.rows import Manifest
from sightsound.doctor.gather import gather


def make(folder: Path, text: str) -> Path:
    for name in text.split():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def load(folder: Path, **settings: object) -> Manifest:
    return load_manifest(DataSettings(path=str(folder), **settings), draw=False)


def read(folder: Path, **settings: object) -> dict[str, tuple[str, str]]:
    """{file: (split, class)}, the same for doctor, and for pre-training but for classes."""
    manifest = load(folder, **settings)
    assert gather(DataSettings(path=str(folder), **settings)).rows == manifest.rows
    splits = {row.id: row.split for row in manifest.rows}
    assert {row.id: row.split for row in load(folder, task="none", **settings).rows} == splits
    return {row.id: (row.split, "|".join(row.labels)) for row in manifest.rows}


@pytest.mark.parametrize(
    "names",
    [
        "train valid test",
        "train validation test",
        "Train Val Test",
        "TRAIN DEV TESTING",
        "training val eval",
        "train dev evaluation",
        "train eval test",
    ],
)
@pytest.mark.parametrize("above", ["", "data/", "my_set/", "archive/data/", "a/b/c/"])
def test_usual_names_of_splits(tmp_path, names, above):
    files = [f"{above}{split}/{label}/1.mp4" for split in names.split() for label in ("cat", "dog")]
    found = read(make(tmp_path, " ".join(files)))
    splits = [split for split in ("train", "val", "test") for _ in range(2)]
    assert list(map(found.__getitem__, files)) == list(zip(splits, ["cat", "dog"] * 3, strict=True))


def test_folders_without_clips_may_lie_beside_splits(tmp_path, caplog):
    make(tmp_path, "train/dog/1.mp4 valid/dog/2.mp4 .git/x docs/a.pdf annotations/a.csv")
    (tmp_path / "empty").mkdir()
    found = read(tmp_path)
    assert found == {"train/dog/1.mp4": ("train", "dog"), "valid/dog/2.mp4": ("val", "dog")}
    for name in ("docs", "annotations", "empty"):
        assert f"{name}', without clips" in caplog.text
    assert ".git" not in caplog.text


def test_splits_below_the_classes(tmp_path):
    found = read(make(tmp_path, "dog/train/1.mp4 dog/Test/2.mp4 cat/train/1.mp4 cat/test/1.mp4"))
    assert found == {
        "dog/train/1.mp4": ("train", "dog"),
        "dog/Test/2.mp4": ("test", "dog"),
        "cat/train/1.mp4": ("train", "cat"),
        "cat/test/1.mp4": ("test", "cat"),
    }


@pytest.mark.parametrize(
    ("files", "match"),
    [
        ("train/dog/1.mp4 test/dog/1.mp4 more/dog/1.mp4", "test, train.*'more' beside them hold"),
        ("train/dog/1.mp4 cat/1.mp4", "train.* look like splits, but 'cat' beside them"),
        ("train/dog/1.mp4 val/dog/1.mp4 valid/dog/1.mp4", "'val' and 'valid' .*two names of one"),
        ("train/dog/1.mp4 Train/dog/2.mp4", "'Train' and 'train' in .* are two names of one split"),
        (
            "train_set/dog/1.mp4 test_set/dog/1.mp4",
            "test_set, train_set in .* look like splits, no",
        ),
        ("trainset/dog/1.mp4 testset/dog/1.mp4", "look like splits, not classes"),
        ("my-train/dog/1.mp4 my-val/dog/1.mp4", "look like splits, not classes: call splits train"),
        ("train/dog/1.mp4 test1/dog/1.mp4", "'test1' beside them holds clips"),
        ("train/1.mp4 test_b/1.mp4", "'test_b' beside them holds clips"),
        ("fold1/dog/1.mp4 fold2/dog/1.mp4", "fold1, fold2 in .* look like splits, not classes"),
        ("set_a/dog/1.mp4 set_b/dog/1.mp4", "set_a, set_b in .* look like splits, not classes"),
        ("1st_fold/dog/1.mp4 2nd_fold/dog/1.mp4", "look like splits, not classes"),
        ("dog/train/1.mp4 dog/test/1.mp4 cat/1.mp4", "test, train look like splits, but they lie"),
        ("dog/train/a/1.mp4 dog/test/1.mp4 cat/test/1.mp4", "put splits above classes"),
        ("dog/val/1.mp4 dog/valid/1.mp4 cat/val/1.mp4", "'val.*two names of one split"),
        ("train/1.mp4 test/2.mp4", "'1.mp4' lies directly in '.*train'|'2.mp4' lies directly"),
    ],
)
def test_what_looks_like_splits_is_never_classes(tmp_path, files, match):
    with pytest.raises(ValueError, match=match):
        load(make(tmp_path, files))


@pytest.mark.parametrize(
    "files",
    [
        "train/1.mp4 bus/1.mp4 car/1.mp4",
        "train_horn/1.mp4 train_whistling/1.mp4",
        "train_horn/1.mp4 test_tone/1.mp4 dog/1.mp4",
        "validate/1.mp4 contest/1.mp4",
        "fold/1.mp4 split/2.mp4",
    ],
)
def test_classes_that_speak_of_trains_and_tests(tmp_path, files):
    found = read(make(tmp_path, files))
    assert {name: label for name, (_, label) in found.items()} == {
        name: name.split("/")[0] for name in files.split()
    }


def test_a_level_above_the_classes(tmp_path):
    found = read(make(tmp_path, "README.md videos/dog/1.mp4 videos/cat/2.mp4"))
    assert found == {"videos/dog/1.mp4": ("", "dog"), "videos/cat/2.mp4": ("", "cat")}
    found = read(make(tmp_path / "one", "dog/monday/1.mp4 dog/tuesday/2.mp4"))
    assert {label for _, label in found.values()} == {"dog"}  # one class, for evaluation


# --- Hugging Face's metadata --------------------------------------------------------------------


def test_metadata_at_the_root_keeps_its_splits(tmp_path):
    make(tmp_path, "train/1.mp4 train/2.mp4 test/1.mp4")
    text = "file_name,label\ntrain/1.mp4,dog\ntrain/2.mp4,cat\ntest/1.mp4,dog\n"
    (tmp_path / "metadata.csv").write_text(text)
    assert read(tmp_path) == {
        "train/1.mp4": ("train", "dog"),
        "train/2.mp4": ("train", "cat"),
        "test/1.mp4": ("test", "dog"),
    }


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_metadata_in_each_split(tmp_path, suffix):
    make(tmp_path, "data/train/1.mp4 data/train/2.mp4 data/validation/in/1.mp4")
    for split, names in (("train", ("1.mp4", "2.mp4")), ("validation", ("in/1.mp4",))):
        rows = [{"file_name": name, "label": "dog", "length": 3} for name in names]
        text = "\n".join(map(json.dumps, rows))
        if suffix == "csv":
            text = "file_name,label\n" + "".join(f"{name},dog\n" for name in names)
        (tmp_path / "data" / split / f"metadata.{suffix}").write_text(text)
    assert read(tmp_path) == {
        "data/train/1.mp4": ("train", "dog"),
        "data/train/2.mp4": ("train", "dog"),
        "data/validation/in/1.mp4": ("val", "dog"),
    }
    (tmp_path / "data" / "validation" / f"metadata.{suffix}").unlink()
    with pytest.raises(ValueError, match="validation' has no metadata.csv, but other splits"):
        load(tmp_path)


def test_metadata_of_something_else_is_not_read(tmp_path, caplog):
    make(tmp_path, "dog/1.mp4 cat/2.mp4")
    (tmp_path / "metadata.csv").write_text("speaker,age\na,30\n")
    assert read(tmp_path) == {"dog/1.mp4": ("", "dog"), "cat/2.mp4": ("", "cat")}
    assert "metadata.csv is not read: no columns for files and their classes" in caplog.text


# --- our own outputs ----------------------------------------------------------------------------

OUTPUTS = {
    "runs": "runs/a/config.yaml runs/a/environment.json runs/a/model/model.safetensors",
    "begun": "begun/a/.sightsound",
    "doctor": "doctor/findings.csv doctor/report.html",
    "explained": "explained/1.film.mp4 explained/1.png explained/maps.csv explained/maps.json",
    "shards": "shards/shards.json shards/0000.tar shards/index.parquet",
    "evaluation": "evaluation/summary.json evaluation/predictions.csv",
    "demo": "demo/new_clip.mp4 demo/run/config.yaml demo/clips/synthetic.json "
    "demo/clips/truth.csv demo/clips/train/dog/1.mp4",
    "generated": "generated/synthetic.json generated/truth.csv generated/train/dog/1.mp4",
    "over_time": "over_time/timeline.csv over_time/settings.json over_time/timeline.srt",
}


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("splits", [False, True])
def test_our_own_outputs_are_no_class(tmp_path, name, splits, caplog):
    above = "train/" if splits else ""
    files = [f"{above}dog/1.mp4", f"{above}cat/2.mp4"]
    make(tmp_path, " ".join([*files, OUTPUTS[name]]))
    assert sorted(read(tmp_path)) == sorted(files)
    assert f"{name}', which sightsound wrote" in caplog.text


@pytest.mark.parametrize("name", OUTPUTS)
def test_our_own_outputs_in_a_class_are_no_clips(tmp_path, name):
    make(tmp_path, "dog/1.mp4 cat/2.mp4")
    make(tmp_path / "dog", OUTPUTS[name])
    assert sorted(read(tmp_path)) == ["cat/2.mp4", "dog/1.mp4"]


def test_films_among_clips_are_left_out_and_named(tmp_path, caplog):
    make(tmp_path, "dog/1.mp4 dog/1.film.mp4 dog/maps.json dog/maps.csv cat/2.film.mp4")
    assert sorted(read(tmp_path)) == ["cat/2.film.mp4", "dog/1.mp4"]  # somebody's own film stays
    assert f"films of 'sightsound explain' in {str(tmp_path / 'dog')!r}" in caplog.text


def test_a_class_without_clips_is_not_to_be_removed(tmp_path):
    make(tmp_path, "dog/1.mp4 cat/1.mp4 emu/1.unknown notes/read.txt")
    with pytest.raises(ValueError, match="emu' holds no clips.*Add clips, or move it elsewhere"):
        load(tmp_path)
    (tmp_path / "emu" / "1.unknown").rename(tmp_path / "emu" / "1.mp4")
    assert set(load(tmp_path).labels["label"]) == {"cat", "dog", "emu"}


@pytest.mark.parametrize(
    ("name", "reader"),
    [
        ("data/a.parquet", "huggingface-parquet"),
        ("tars/000.tar", "webdataset"),
        ("0.tar", "webdataset"),
    ],
)
def test_packed_clips_are_for_a_manifest(tmp_path, name, reader):
    with pytest.raises(ValueError, match=f"write a manifest, 'sightsound manifest {reader}'"):
        load(make(tmp_path, name))
