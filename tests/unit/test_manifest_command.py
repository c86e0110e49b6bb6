"""`sightsound manifest`: what it writes, and what it refuses."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from dataset_files import CASES, put, touch

from sightsound import cli
from sightsound.config.settings import DataSettings
from sightsound.data.datasets import audioset
from sightsound.data.manifest import load_manifest
from sightsound.registry import DATASETS


def run(capsys: pytest.CaptureFixture, *argv: object) -> str:
    assert cli.main(["manifest", *map(str, argv)]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def complaint(capsys: pytest.CaptureFixture, *argv: object) -> str:
    assert cli.main(["manifest", *map(str, argv)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err


def arguments(name: str, folder: Path, output: Path) -> list[object]:
    case = CASES[name](folder)
    return [name, *case.paths, "--media", case.media, "--output", output]


def test_help_lists_every_data_set_and_its_files(capsys):
    text = run(capsys, "--help")
    for name in DATASETS:
        assert f"\n  {name} " in text
    for file in ("vggsound.csv", "EPIC_100_train.csv", "trainlist01.txt", "moments_categories.txt"):
        assert file in text
    assert max(map(len, text.splitlines())) <= 100


def test_what_is_written_beside_the_manifest(capsys, tmp_path):
    output = tmp_path / "out" / "vgg.csv"
    text = run(capsys, *arguments("vggsound", tmp_path, output))
    assert "vggsound: 3 of 4 listed clips found (75.0%)" in text
    assert f"written: {output}, labels.json, vgg.coverage.json, vgg.missing.csv" in text
    assert text.endswith(f"Train on it:\n  sightsound train {output}\n")
    names = {"vgg.csv", "labels.json", "vgg.coverage.json", "vgg.missing.csv"}
    assert set(os.listdir(output.parent)) == names
    loaded = load_manifest(DataSettings(path=str(output)))
    report = json.loads((output.parent / "vgg.coverage.json").read_text())
    assert report["splits"]["all"]["found_hash"] == loaded.id_hash
    assert report["classes"]["label"]["waterfall burbling"] == {"listed": 1, "found": 0}
    assert [Path(path).name for path in report["annotations"]] == ["vggsound.csv", "stat.csv"]
    missing = (output.parent / "vgg.missing.csv").read_text()
    assert missing == "id,split\n--0PQM4-hqg_000030,train\n"


def test_a_test_list_alone_is_for_scoring(capsys, tmp_path):
    path = put(tmp_path, "test.csv", "a_000001.mp4,x\n")
    media = touch(tmp_path / "media", "a_000001.mp4")
    output = tmp_path / "m.parquet"
    text = run(capsys, "vggsound", path, "--media", media, "--output", output)
    assert text.endswith(f"Score on it:\n  sightsound evaluate MODEL {output}\n")
    assert load_manifest(DataSettings(path=str(output))).labels == {"label": ["x"]}


def test_an_order_of_classes_is_not_replaced(capsys, tmp_path):
    argv = arguments("vggsound", tmp_path, tmp_path / "m.csv")
    put(tmp_path, "labels.json", '["cat", "dog"]')
    text = complaint(capsys, *argv)
    assert "labels.json' holds another order of classes, and it speaks of every manifest" in text
    assert not (tmp_path / "m.csv").exists()
    (tmp_path / "labels.json").unlink()
    run(capsys, *argv)
    run(capsys, *argv)  # the same order: written again


def test_heads_have_an_order_each(capsys, tmp_path):
    run(capsys, *arguments("epic-kitchens", tmp_path, tmp_path / "m.csv"))
    labels = json.loads((tmp_path / "labels.json").read_text())
    assert labels == {"verb": ["take", "put", "open"], "noun": ["knife", "door"]}
    assert load_manifest(DataSettings(path=str(tmp_path / "m.csv"))).task == "heads"


def test_separate_sound(capsys, tmp_path):
    case = CASES["vggsound"](tmp_path)
    sound = touch(tmp_path / "sound", "---g-f_I2yQ_000001.mp4", "--56QUhyDQM_000185.wav")
    output = tmp_path / "m.csv"
    argv = ["vggsound", *case.paths, "--media", case.media, "--audio", sound, "--output", output]
    run(capsys, *argv)
    rows = {row.id: row.audio_path for row in load_manifest(DataSettings(path=str(output))).rows}
    assert rows["---g-f_I2yQ_000001"] == sound / "---g-f_I2yQ_000001.mp4"
    assert rows["--56QUhyDQM_000185"] == sound / "--56QUhyDQM_000185.wav"
    assert rows["--5OkAjCI7g_000040"] is None


def test_the_more_balanced_subset(capsys, tmp_path, monkeypatch):
    argv = arguments("audioset-500k", tmp_path, tmp_path / "out" / "m.csv")
    text = complaint(capsys, *argv)
    assert "only 2 training clips were found, fewer than 500000; write a manifest of all" in text
    assert not (tmp_path / "out").exists()
    assert audioset.audioset_500k([tmp_path / "csv"]).per_class == 200_000  # arXiv v1, footnote 1
    monkeypatch.setattr(audioset, "NUM_500K", 1)
    assert "At most 200000 clips of a class; of other splits all 1 are" in run(capsys, *argv)
    monkeypatch.setattr(audioset, "PER_CLASS_500K", 0)
    assert "--per_class is 0; write a manifest of all of them" in complaint(capsys, *argv)
    monkeypatch.setattr(audioset, "PER_CLASS_500K", 1)
    assert "At most 1 clips of a class; of other splits all 1 are kept" in run(capsys, *argv)
    rows = load_manifest(DataSettings(path=str(tmp_path / "out" / "m.csv"), task="multi")).rows
    assert sorted(row.split for row in rows) == ["test", "train"]
    assert not list((tmp_path / "out").glob(".*"))


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["vgsound", "a"], "DATASET cannot be 'vgsound': expected one of audioset, "),
        (["vggsound"], "missing: ANNOTATIONS (Official files, or their folders.)"),
        (["vggsound", "a", "--media", "."], "missing: --output"),
        (["vggsound", "a", "--output", "m"], "missing: --media"),
        (
            ["vggsound", "a", "--media", ".", "--output", "m.txt"],
            "--output 'm.txt' is no manifest; accepted: .csv or .parquet",
        ),
        (
            ["vggsound", "a", "--media", ".", "--output", "m.csv", "--fold", "2"],
            "--fold does not go with vggsound; leave it out",
        ),
        (
            ["ucf51", "a", "--media", ".", "--output", "m.csv", "--test_list", "394"],
            "--test_list does not go with ucf51; leave it out",
        ),
        (["ucf51", "a", "--media", ".", "--output", "m.csv", "--fold", "4"], "cannot be '4'"),
        (["vggsound", "a", "--media", ".", "--output", "m.csv"], "no file or folder 'a'."),
    ],
)
def test_mistakes(capsys, tmp_path, monkeypatch, argv, sentence):
    monkeypatch.chdir(tmp_path)
    assert sentence in complaint(capsys, *argv)


def test_folds_and_test_lists(capsys, tmp_path):
    argv = arguments("ave", tmp_path, tmp_path / "m.csv")
    assert "--test_list 394: 1 test lines are left out" in run(capsys, *argv, "--test_list", 394)
    argv = arguments("ucf101", tmp_path / "ucf", tmp_path / "ucf" / "m.csv")
    text = run(capsys, *argv, "--fold", 1, "--seed", 7)
    assert "official split 1; 10% of each class's groups held out, seed 7" in text
    report = json.loads((tmp_path / "ucf" / "m.coverage.json").read_text())
    assert report["options"] == {"fold": 1, "seed": 7}
