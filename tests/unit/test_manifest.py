"""Manifests: tables, class folders, splits, and what is refused."""

import errno
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from sightsound.config.settings import DataSettings, EvaluateSettings
from sightsound.data.manifest import load_manifest, write_manifest
from sightsound.data.rows import SPLITS, Manifest, Row, id_hash
from sightsound.data.splits import draw_splits
from sightsound.evaluation.evaluate import scored_split, split_of_run


def make_clips(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def make_table(folder: Path, text: str, *, name: str = "list.csv") -> str:
    folder.mkdir(exist_ok=True)
    make_clips(folder, ["a.mp4", "b.mp4", "c.mp4"])
    (folder / name).write_text(text)
    return str(folder / name)


def load(path: object, **settings: object) -> Manifest:
    return load_manifest(DataSettings(path=str(path), **settings))


class_folders = [f"{label}/{i}.mp4" for label in ("cat", "dog") for i in range(10)]


# --- reading ------------------------------------------------------------------------------------


def test_csv_columns_become_rows(tmp_path):
    path = make_table(
        tmp_path,
        "\ufeffpath,label,start_seconds,end_seconds,split,audio_path,group\n"
        "a.mp4,cat,0.5,2,train,b.mp4,g1\n\n"
        "b.mp4,dog,,,train,,\n"
        "a.mp4,cat,2,,val,,g2\n",
    )
    manifest = load(path)
    first, second, third = manifest.rows
    assert first == Row(
        "a.mp4#0.5", tmp_path / "a.mp4", ("cat",), 0.5, 2.0, "train", tmp_path / "b.mp4", "g1"
    )
    assert (second.id, second.start_seconds, second.end_seconds) == ("b.mp4", 0.0, None)
    assert third.id == "a.mp4#2"
    assert (manifest.task, manifest.labels) == ("single", {"label": ["cat", "dog"]})
    assert manifest.num_classes == {"label": 2}
    assert manifest.split("train+val") == list(manifest.rows)


def test_several_labels(tmp_path):
    path = make_table(
        tmp_path, "path,label,split\na.mp4,rain|wind,train\nb.mp4,wind,train\nc.mp4,x,val\n"
    )
    manifest = load(path)
    assert manifest.task == "multi"
    assert manifest.target(manifest.rows[0]).tolist() == [1, 1, 0]
    assert manifest.target(manifest.rows[0]).dtype == np.float32
    assert manifest.class_rows(manifest.rows) == [[0], [0, 1], [2]]


def test_clip_without_any_class_needs_multi(tmp_path):
    path = make_table(tmp_path, "path,label,split\na.mp4,rain,train\nb.mp4,,train\n")
    manifest = load(path, task="multi")
    assert manifest.target(manifest.rows[1]).tolist() == [0]
    with pytest.raises(ValueError, match="line 3: label is empty; name the class"):
        load(path)


def test_verbs_and_nouns(tmp_path):
    path = make_table(
        tmp_path, "path,verb,noun,split\na.mp4,cut,apple,train\nb.mp4,wash,cup,train\n"
    )
    manifest = load(path)
    assert manifest.task == "heads"
    assert manifest.labels == {"verb": ["cut", "wash"], "noun": ["apple", "cup"]}
    assert manifest.target(manifest.rows[1]).tolist() == [0, 1, 0, 1]
    assert manifest.rows[1].names("noun") == ("cup",)


def test_class_folders_with_and_without_splits(tmp_path):
    make_clips(tmp_path / "flat", [*class_folders, "cat/.hidden.mp4", "cat/notes.txt"])
    manifest = load(tmp_path / "flat")
    assert len(manifest.rows) == 20
    assert manifest.rows[0].id == "cat/0.mp4"
    make_clips(
        tmp_path / "split", [f"{split}/{name}" for split in SPLITS for name in class_folders]
    )
    manifest = load(tmp_path / "split")
    assert {row.split for row in manifest.rows if row.id.startswith("val/")} == {"val"}
    assert manifest.labels == {"label": ["cat", "dog"]}


def test_links_that_lead_back_are_not_followed(tmp_path):
    make_clips(tmp_path, ["train/cat/a.mp4", "train/dog/b.mp4", "more/c.mp4"])
    (tmp_path / "train" / "cat" / "self").symlink_to(".")
    (tmp_path / "train" / "dog" / "all").symlink_to(tmp_path)
    (tmp_path / "train" / "dog" / "more").symlink_to("../../more")
    (tmp_path / "more" / "dog").symlink_to("../train/dog")
    rows = load(tmp_path / "train", val_fraction=0, test_fraction=0).rows
    assert [row.id for row in rows] == ["cat/a.mp4", "dog/b.mp4", "dog/more/c.mp4"]


def test_folders_that_may_not_be_read_are_named(tmp_path, monkeypatch):
    make_clips(tmp_path, ["cat/a.mp4", "cat/closed/b.mp4"])
    scandir = os.scandir

    def refused(path):
        if str(path).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(PermissionError, match="Permission denied: .*closed"):
        load(tmp_path)


def test_a_link_to_nothing_is_not_suggested_in_its_own_place(tmp_path):
    make_clips(tmp_path, ["cat/a.mp4"])
    (tmp_path / "cat" / "broken.mp4").symlink_to("nowhere.mp4")
    with pytest.raises(ValueError, match=r"broken.mp4' does not exist\. Paths are"):
        load(tmp_path)


def test_folder_with_manifest_is_read_by_it(tmp_path):
    make_clips(tmp_path, class_folders)
    (tmp_path / "manifest.csv").write_text("path,label,split\ncat/0.mp4,lion,train\n")
    manifest = load(tmp_path)
    assert manifest.labels == {"label": ["lion"]}
    assert manifest.source == tmp_path / "manifest.csv"


def test_numbers_sort_by_value_and_labels_json_decides(tmp_path):
    text = "path,label,split\na.mp4,10,train\nb.mp4,9,train\n"
    path = make_table(tmp_path, text)
    assert load(path).labels == {"label": ["9", "10"]}
    (tmp_path / "labels.json").write_text(json.dumps(["10", "8", "9"]))
    assert load(path).labels == {"label": ["10", "8", "9"]}
    given = load_manifest(DataSettings(path=path), labels={"label": ["9", "10"]})
    assert given.labels == {"label": ["9", "10"]}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_written_table_reads_back(tmp_path, suffix):
    text = (
        "path,label,start_seconds,end_seconds,split,id,audio_path,group\n"
        'a.mp4,"x,y|z",0.25,1.5,train,first,b.mp4,g\n'
        "b.mp4,z,,,val,,,\n"
    )
    manifest = load(make_table(tmp_path, text))
    copy = tmp_path / f"copy{suffix}"
    write_manifest(manifest, copy)
    assert load(copy).rows == manifest.rows
    assert [path.name for path in tmp_path.glob(".*")] == []
    elsewhere = tmp_path / "elsewhere" / f"copy{suffix}"
    write_manifest(list(manifest.rows), elsewhere)
    assert load(elsewhere).rows[0].path == tmp_path / "a.mp4"


def test_heads_written_and_read_back(tmp_path):
    text = "path,verb,noun,split\na.mp4,cut,apple,train\nb.mp4,wash,cup,train\n"
    manifest = load(make_table(tmp_path, text))
    write_manifest(manifest, tmp_path / "copy.csv")
    assert load(tmp_path / "copy.csv").rows == manifest.rows


def test_id_hash_depends_on_the_set_of_ids():
    assert id_hash(["a", "b"]) == id_hash(["b", "a"]) != id_hash(["a", "c"])


@pytest.mark.data
@pytest.mark.parametrize(("name", "number"), [("drone_av", 583), ("avmnist", 1600)])
def test_real_data_loads_as_table_and_as_folders(test_data, tmp_path, name, number):
    table = load(test_data / "data" / name / "manifest.csv")
    folder = tmp_path / name
    folder.mkdir()
    for split in SPLITS:
        (folder / split).symlink_to(test_data / "data" / name / split)
    folders = load(folder)
    assert len(table.rows) == number
    assert table.labels == folders.labels
    assert table.id_hash == folders.id_hash
    key = [(row.id, row.labels, row.split) for row in table.rows]
    assert sorted(key) == sorted((row.id, row.labels, row.split) for row in folders.rows)


# --- splits -------------------------------------------------------------------------------------


def test_drawn_splits_are_seeded_and_hold_every_class(tmp_path):
    make_clips(tmp_path, class_folders)
    manifest = load(tmp_path)
    sizes = {split: len(manifest.split(split)) for split in SPLITS}
    assert sizes == {"train": 12, "val": 4, "test": 4}
    assert all({row.labels for row in manifest.split(s)} == {("cat",), ("dog",)} for s in SPLITS)
    assert load(tmp_path).rows == manifest.rows
    other = load_manifest(DataSettings(path=str(tmp_path)), seed=1)
    assert other.rows != manifest.rows
    everything = load(tmp_path, val_fraction=0.0, test_fraction=0.0)
    assert {row.split for row in everything.rows} == {"train"}


def test_groups_and_parts_of_one_file_stay_together():
    generator = np.random.default_rng(0)
    rows = [
        Row(str(i), Path(f"/{i // 2}.mp4"), (str(generator.integers(3)),), group=group)
        for i in range(200)
        for group in ["" if i < 100 else f"group{i % 17}"]
    ]
    splits = draw_splits(rows, seed=0, shares={"val": 0.2, "test": 0.2})
    found: dict[str, set] = {}
    for row, split in zip(rows, splits, strict=True):
        found.setdefault(row.group or str(row.path), set()).add(split)
    assert all(len(splits) == 1 for splits in found.values())
    assert 0.5 < splits.count("train") / len(rows) < 0.7


def test_subfolders_of_a_class_are_groups(tmp_path):
    make_clips(tmp_path, [f"{c}/day{d}/{i}.mp4" for c in "ab" for d in range(4) for i in range(5)])
    manifest = load(tmp_path)
    by_group = {(row.group, row.split) for row in manifest.rows}
    assert len(by_group) == 8


# --- what is refused ----------------------------------------------------------------------------

bad_tables = {
    "path,lable\na.mp4,x\n": r"unknown column 'lable'\. Did you mean 'label'\?",
    "path,split\na.mp4,train\n": "needed: path, and label or both verb and noun",
    "path,label,label\na.mp4,x,y\n": "column 'label' appears twice",
    "": "needed: path, and label",
    "path,label\n": "the table has no rows below its header",
    "path,label\na.mp4,x,y\n": "line 2: 3 cells but 2 columns; quote cells that contain commas",
    "path,label\n,x\n": "line 2: path is empty",
    "path,label,split\na.mp4,x,train\nb.mp4,x,tst\n": r"line 3: unknown split 'tst'.*mean 'test'",
    "path,label,split\na.mp4,x,train\nb.mp4,x,\n": "line 3: split is empty, but other clips have",
    "path,label,split\na.mp4,x,train\na.mp4,x,val\n": "line 3: id 'a.mp4' is already used at .*"
    "line 2; they are of the same clip, but differ in split",
    "path,label,split\na.mp4,x,train\nd.mp4,x,train\ne.mp4,x,val\n": r"line 3: file '.*d.mp4' does "
    r"not exist \(2 files are missing in all\)",
    "path,label,start_seconds\na.mp4,x,-1\n": "line 2: start_seconds is -1; accepted",
    "path,label,start_seconds\na.mp4,x,nan\n": "line 2: start_seconds is nan; accepted",
    "path,label,start_seconds\na.mp4,x,1:30\n": "line 2: start_seconds is '1:30'; accepted: a num",
    "path,label,start_seconds,end_seconds\na.mp4,x,2,1\n": "line 2: end_seconds 1 is not after st",
    "path,label,split\na.mp4,x,train\nb.mp4,y,test\n": "class 'y' has only one clip, which is not "
    "in train",
    "path,verb,noun\na.mp4,cut,\n": "line 2: noun is empty; every clip needs a verb and a noun",
}


@pytest.mark.parametrize("text", bad_tables)
def test_bad_table_is_refused(tmp_path, text):
    with pytest.raises(ValueError, match=bad_tables[text]):
        load(make_table(tmp_path, text))


def test_missing_files_are_left_to_the_policy(tmp_path):
    path = make_table(tmp_path, "path,label,split\na.mp4,x,train\nd.mp4,x,train\n")
    assert len(load(path, bad_files="drop").rows) == 2


def test_class_with_one_clip_cannot_be_split(tmp_path):
    make_clips(tmp_path, [*class_folders, "emu/0.mp4"])
    with pytest.raises(ValueError, match="class 'emu' has only one clip and cannot be split into"):
        load(tmp_path)
    make_clips(tmp_path, ["emu/1.mp4"])
    with pytest.raises(ValueError, match="class 'emu' has 2 clips or groups of clips and cannot"):
        load(tmp_path)
    assert len(load(tmp_path, test_fraction=0.0).rows) == 22


def test_class_whose_groups_are_taken_cannot_be_split():
    rows = [Row(f"a{i}", Path(f"/{i}"), ("a", "b")) for i in range(3)]
    rows += [Row(f"c{i}", Path(f"/c{i}"), ("c",), group=f"g{min(i, 2)}") for i in range(5)]
    assert set(draw_splits(rows, seed=0, shares={"val": 0.1, "test": 0.1})) == set(SPLITS)
    with pytest.raises(ValueError, match="val_fraction and data.test_fraction are 0.5 and 0.5"):
        draw_splits(rows, seed=0, shares={"val": 0.5, "test": 0.5})


def test_folders_without_clips_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no clips in '.*empty': expected a folder for each class"):
        load(tmp_path / "empty")
    make_clips(tmp_path / "flat", ["a.mp4"])
    with pytest.raises(ValueError, match="'a.mp4' lies directly in .*outside any class folder"):
        load(tmp_path / "flat")
    make_clips(tmp_path / "hollow", class_folders)
    (tmp_path / "hollow" / "emu").mkdir()
    with pytest.raises(ValueError, match="class folder '.*emu' holds no clips; accepted suffixes"):
        load(tmp_path / "hollow")
    make_clips(tmp_path / "stray", ["train/a.mp4", "train/cat/b.mp4"])
    with pytest.raises(ValueError, match="'a.mp4' lies directly in '.*train'"):
        load(tmp_path / "stray")


def test_paths_that_lead_nowhere_are_refused(tmp_path):
    make_clips(tmp_path / "clips", class_folders)
    near = re.escape(str(tmp_path / "clips"))
    with pytest.raises(FileNotFoundError, match=f"no file or folder .*Did you mean '{near}'"):
        load(tmp_path / "clisp")
    with pytest.raises(ValueError, match="data.path is empty; give a folder"):
        load("")
    (tmp_path / "list.ini").touch()
    with pytest.raises(ValueError, match="cannot read .*list.ini' as a manifest; accepted: .csv"):
        load(tmp_path / "list.ini")
    (tmp_path / "list.parquet").write_text("not this")
    with pytest.raises(ValueError, match="list.parquet' is damaged .*write it again"):
        load(tmp_path / "list.parquet")


def test_task_that_does_not_fit_is_refused(tmp_path):
    path = make_table(tmp_path, "path,label,split\na.mp4,x,train\n")
    with pytest.raises(ValueError, match="data.task is 'heads', which needs the column 'verb'"):
        load(path, task="heads")
    with pytest.raises(ValueError, match=r"unknown task 'mutli'.*Did you mean 'multi'\?"):
        load(path, task="mutli")


def test_labels_outside_the_given_order_are_refused(tmp_path):
    path = make_table(tmp_path, "path,label,split\na.mp4,dgo,train\n")
    with pytest.raises(ValueError, match=r"line 2: unknown label 'dgo'.*Did you mean 'dog'\?"):
        load_manifest(DataSettings(path=path), labels={"label": ["cat", "dog"]})
    with pytest.raises(ValueError, match="given for verb, noun, but the data's heads are label"):
        load_manifest(DataSettings(path=path), labels={"verb": ["cat"], "noun": ["dog"]})


@pytest.mark.parametrize(
    ("text", "match"), [("[", "is not JSON"), ('["a", "a"]', "distinct names"), ("3", "accepted")]
)
def test_bad_labels_json_is_refused(tmp_path, text, match):
    path = make_table(tmp_path, "path,label,split\na.mp4,a,train\n")
    (tmp_path / "labels.json").write_text(text)
    with pytest.raises(ValueError, match=match):
        load(path)


def test_prevalence_is_that_of_the_training_clips(tmp_path):
    text = "path,label,split\na.mp4,rain|wind,train\nb.mp4,wind,train\nc.mp4,rain,val\n"
    manifest = load(make_table(tmp_path, text))
    assert manifest.labels == {"label": ["rain", "wind"]}
    assert manifest.prevalence() == [0.5, 1.0]
    (one_each := tmp_path / "one").mkdir()
    assert load(make_table(one_each, text.replace("|wind", ""))).prevalence() == []


def test_a_table_may_have_splits_of_its_own(tmp_path):
    text = "path,label,split\n"
    for number, split in enumerate(("train", "test_seen", "test_unseen", "eval", "holdout")):
        text += f"{'abcde'[number]}.mp4,x,{split}\n"
    make_clips(tmp_path, ["d.mp4", "e.mp4"])
    manifest = load(make_table(tmp_path, text))
    assert manifest.splits == ["train", "eval", "holdout", "test_seen", "test_unseen"]
    assert [row.id for row in manifest.split("test_seen+holdout")] == ["b.mp4", "e.mp4"]
    with pytest.raises(ValueError, match="unknown split 'unseen'; known: eval, holdout, test, te"):
        manifest.split("unseen")


@pytest.mark.parametrize("slip", ["tst", "trian", "vla", "val+test"])
def test_a_slip_of_the_pen_is_no_split_of_its_own(tmp_path, slip):
    text = f"path,label,split\na.mp4,x,train\nb.mp4,x,{slip}\n"
    with pytest.raises(ValueError, match=re.escape(f"line 3: unknown split '{slip}'")):
        load(make_table(tmp_path, text))


def test_unknown_split_is_refused(tmp_path):
    manifest = load(make_table(tmp_path, "path,label,split\na.mp4,a,train\n"))
    with pytest.raises(ValueError, match="unknown split 'extra'"):
        manifest.split("extra")


def test_a_split_goes_by_the_name_that_the_table_gives_it(tmp_path):
    text = "path,label,split\na.mp4,a,Training\nb.mp4,a,validation\n"
    manifest = load(make_table(tmp_path, text))
    assert [row.id for row in manifest.split("validation")] == ["b.mp4"]
    assert len(manifest.split("Training+valid")) == 2
    assert scored_split(manifest, "validation") == "val"
    settings = EvaluateSettings(split="validation")
    assert split_of_run(manifest, None, settings) == "val"
