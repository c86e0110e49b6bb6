"""Data without labels: any nesting, no label column, and the same splits as with labels."""

from pathlib import Path

import pytest

from sightsound.build import build_objective
from sightsound.config.settings import DataSettings, RunConfig
from sightsound.data.manifest import load_manifest, write_manifest


def files(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def unlabelled(path: Path, **settings):
    return load_manifest(DataSettings(path=str(path), task="none", **settings))


def splits(manifest) -> dict[str, str]:
    return {row.id: row.split for row in manifest.rows}


CLASSES = [f"{name}/{n}.mp4" for name in ("cat", "dog") for n in range(8)]


def test_clips_may_lie_anywhere(tmp_path):
    names = ["1.mp4", "a/2.mp4", "a/b/c/3.mp4", "a/b/c/4.wav", "d/5.mkv", "d/.hidden/6.mp4"]
    manifest = unlabelled(files(tmp_path, *names, "a/notes.txt"))
    assert sorted(splits(manifest)) == sorted(names[:5])
    assert all(row.labels == () and row.group == "" for row in manifest.rows)
    assert (manifest.task, manifest.labels, manifest.num_classes) == (
        "none",
        {"label": []},
        {"label": 1},
    )
    assert manifest.target(manifest.rows[0]).shape == (0,)
    assert set(splits(manifest).values()) == {"train", "val", "test"}


def test_a_table_needs_no_label(tmp_path):
    files(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    table = tmp_path / "clips.csv"
    table.write_text("path,split\na.mp4,train\nb.mp4,train\nc.mp4,val\n")
    assert splits(unlabelled(table)) == {"a.mp4": "train", "b.mp4": "train", "c.mp4": "val"}
    with pytest.raises(ValueError, match="needed: path, and label .*'sightsound pretrain'"):
        load_manifest(DataSettings(path=str(table)))
    write_manifest(unlabelled(table), tmp_path / "again.csv")
    assert splits(unlabelled(tmp_path / "again.csv")) == splits(unlabelled(table))


@pytest.mark.parametrize("kind", ["folder", "table", "multi", "heads", "groups"])
def test_the_same_clips_are_held_out_as_with_labels(tmp_path, kind):
    grouped = [f"{name}/day{n % 4}/{n}.mp4" for name in ("cat", "dog") for n in range(12)]
    source = files(tmp_path, *(grouped if kind == "groups" else CLASSES))
    if kind in ("table", "multi", "heads"):
        source = tmp_path / "clips.csv"
        header = {"table": "label", "multi": "label", "heads": "verb,noun"}[kind]
        cell = {"table": "{0}", "multi": "{0}|animal", "heads": "{0},{0}"}[kind]
        lines = [f"{name},{cell.format(name.split('/')[0])}" for name in CLASSES]
        source.write_text("\n".join([f"path,{header}", *lines]))
    for seed in (0, 1):
        with_labels = load_manifest(DataSettings(path=str(source)), seed=seed)
        without = load_manifest(DataSettings(path=str(source), task="none"), seed=seed)
        assert splits(without) == splits(with_labels)
        assert without.id_hash == with_labels.id_hash
        assert {row.labels for row in without.rows} == {()}
        assert without.target(without.rows[0]).shape == (0,)


def test_splits_are_named_by_folders(tmp_path):
    files(tmp_path, "train/1.mp4", "train/deep/er/2.mp4", "val/3.mp4")
    assert splits(unlabelled(tmp_path)) == {
        "train/1.mp4": "train",
        "train/deep/er/2.mp4": "train",
        "val/3.mp4": "val",
    }


def test_folders_that_are_no_classes(tmp_path):
    """Too few clips in each for every split, and all of them in two folders."""
    manifest = unlabelled(
        files(tmp_path, *(f"{name}/x/{n}.mp4" for name in "ab" for n in range(9)))
    )
    numbers = list(splits(manifest).values())
    assert {name: numbers.count(name) for name in set(numbers)} == {
        "train": 12,
        "val": 3,
        "test": 3,
    }
    with pytest.raises(
        ValueError, match="^the data has only one clip and cannot be split .* Add cl"
    ):
        unlabelled(files(tmp_path / "one", "1.mp4"))
    with pytest.raises(
        ValueError, match="no clips in .*: no file in it or below it has one of the"
    ):
        unlabelled(files(tmp_path / "none", "1.txt"))


def test_an_objective_that_reads_labels(tmp_path):
    manifest = unlabelled(files(tmp_path, *CLASSES))
    for section in (RunConfig().objective, {"name": "avt"}):
        with pytest.raises(
            ValueError, match="no labels to learn from .*'sightsound pretrain DATA'"
        ):
            build_objective(section, manifest)
    build_objective({"name": "avt", "classification_weight": 0.0}, manifest)
