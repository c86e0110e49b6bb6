"""Lists of clips to leave out, and the commands that accept them."""

import csv
from types import SimpleNamespace

import pytest
from test_assemble import assembled, configuration

from sightsound.commands.arguments import anchor
from sightsound.config.settings import DataSettings, RunConfig
from sightsound.data.exclude import read_exclude
from sightsound.data.manifest import load_manifest
from sightsound.data.subset import build_subset
from sightsound.evaluation import evaluate


def table(folder, *lines, columns="path,label"):
    path = folder / "clips.csv"
    path.write_text("\n".join([columns, *lines]) + "\n")
    return path


def load(path, exclude="", **settings):
    given = {"bad_files": "drop", **settings}
    return load_manifest(DataSettings(str(path), exclude=str(exclude), **given))


@pytest.mark.parametrize(
    "text",
    [
        "id,reason\na.mp4,broken\n\nelsewhere.mp4,\n",
        "reason,id\nbroken,a.mp4\n",
        "id\na.mp4\n",
        "\ufeffid\na.mp4\n",
        "a.mp4\nelsewhere.mp4\n",
        " a.mp4 \n\n",
    ],
)
def test_a_column_or_a_line_for_each_id(tmp_path, text):
    path = tmp_path / "list.csv"
    path.write_text(text, encoding="utf-8")
    assert read_exclude(path, ["a.mp4", "b.mp4"]) == {"a.mp4"}


def test_ids_with_commas_and_quotes(tmp_path):
    ids = ["a,b.mp4", 'say "x".mp4']
    (tmp_path / "lines.txt").write_text("\n".join(ids))
    with (tmp_path / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "reason"], *([clip, "x"] for clip in ids)])
    for name in ("lines.txt", "table.csv"):
        assert read_exclude(tmp_path / name, ids) == set(ids)


def test_an_empty_list_excludes_nothing(tmp_path):
    (tmp_path / "list.csv").write_text("id,reason\n")
    assert read_exclude(tmp_path / "list.csv", ["a.mp4"]) == frozenset()


def test_a_list_of_other_data_is_an_error(tmp_path):
    (tmp_path / "list.csv").write_text("path,reason\nx.mp4,broken\n")
    with pytest.raises(ValueError, match="names no clip of the data.*'a.mp4'.*a column id, or one"):
        read_exclude(tmp_path / "list.csv", ["a.mp4"])
    with pytest.raises(FileNotFoundError, match=r"no exclude list '.*lis.csv'. Did you mean"):
        read_exclude(tmp_path / "lis.csv", ["a.mp4"])
    (tmp_path / "list.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="list.csv' is not text"):
        read_exclude(tmp_path / "list.csv", ["a.mp4"])


# --- manifests ----------------------------------------------------------------------------------


def test_what_is_excluded_is_not_looked_at(tmp_path):
    """Neither its file nor its label nor its class."""
    (tmp_path / "a.mp4").touch()
    path = table(tmp_path, "a.mp4,cat,train", "b.mp4,unicorn,train", columns="path,label,split")
    (tmp_path / "labels.json").write_text('["cat"]')
    (tmp_path / "list.txt").write_text("b.mp4\n")
    manifest = load(path, tmp_path / "list.txt", bad_files="error")
    assert [row.id for row in manifest.rows] == ["a.mp4"]
    assert manifest.labels == {"label": ["cat"]} and manifest.num_excluded == 1


def test_the_others_lie_in_the_same_splits(tmp_path):
    path = table(tmp_path, *(f"{k}.mp4,{'abc'[k % 3]}" for k in range(60)))
    (tmp_path / "list.txt").write_text("\n".join(f"{k}.mp4" for k in range(0, 60, 7)))
    with_list, without = load(path, tmp_path / "list.txt"), load(path)
    splits = {row.id: row.split for row in without.rows}
    assert with_list.num_excluded == 9 and without.num_excluded == 0
    assert {row.id: row.split for row in with_list.rows}.items() <= splits.items()


def test_a_class_that_is_excluded_altogether_needs_no_splits(tmp_path):
    path = table(tmp_path, *(f"{k}.mp4,a" for k in range(9)), "lonely.mp4,b")
    (tmp_path / "list.txt").write_text("lonely.mp4")
    with pytest.raises(ValueError, match="class 'b' has only one clip"):
        load(path)
    assert load(path, tmp_path / "list.txt").labels == {"label": ["a"]}


def test_everything_excluded_is_an_error(tmp_path):
    path = table(tmp_path, "a.mp4,a", "b.mp4,a")
    (tmp_path / "list.txt").write_text("a.mp4\nb.mp4\n")
    with pytest.raises(ValueError, match="excludes every one of the 2 clips"):
        load(path, tmp_path / "list.txt")


def test_subset_leaves_out_what_a_list_names(tmp_path):
    path = table(
        tmp_path,
        "a.mp4,x,0,,train",
        "a.mp4,x,2.5,,train",
        "b.mp4,x,,,train",
        "c.mp4,x,,own,train",
        "d.mp4,x,,,test",
        columns="path,label,start_seconds,id,split",
    )
    (tmp_path / "list.txt").write_text("a.mp4#2.5\nown\nd.mp4\n")
    build_subset(path, tmp_path / "out.csv", per_class=9, exclude=str(tmp_path / "list.txt"))
    kept = (tmp_path / "out.csv").read_text().splitlines()[1:]
    assert kept == ["a.mp4,x,0,,train", "b.mp4,x,,,train"]


# --- training and evaluation --------------------------------------------------------------------


def test_training_says_how_many_are_left_out(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "clips" / "train" / name).mkdir(parents=True)
        (tmp_path / "clips" / "val" / name).mkdir(parents=True)
        for number in range(4):
            (tmp_path / "clips" / "train" / name / f"{number}.mp4").touch()
        (tmp_path / "clips" / "val" / name / "0.mp4").touch()
    (tmp_path / "list.txt").write_text("train/a/0.mp4\ntrain/b/1.mp4\ntrain/b/2.mp4\n")
    parts = assembled(configuration(tmp_path / "clips", exclude=str(tmp_path / "list.txt")))
    assert len(parts.train_clips) == 5
    assert parts.notes == ["data.exclude: 3 clips are left out"]


def test_a_run_remembers_where_its_list_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = DataSettings("clips", exclude="list.csv")
    anchor(data)
    assert (data.path, data.exclude) == (str(tmp_path / "clips"), str(tmp_path / "list.csv"))
    data = DataSettings("clips")
    anchor(data)
    assert data.exclude == ""


@pytest.mark.parametrize(
    "given, exclude, used",
    [
        (None, None, "/own/list.csv"),  # the run's own data lacks what it lacked in training
        ("/own/clips", None, "/own/list.csv"),
        ("/other", None, ""),
        ("/other", "other.csv", "other.csv"),
        (None, "other.csv", "other.csv"),
        (None, "", ""),
    ],
)
def test_which_list_evaluation_uses(monkeypatch, given, exclude, used):
    config = RunConfig(data=DataSettings("/own/clips", exclude="/own/list.csv"))
    predictor = SimpleNamespace(config=config, task="single", labels={})
    asked = []

    def stop(settings, **_):
        asked.append(settings)
        raise InterruptedError

    monkeypatch.setattr(evaluate, "Predictor", lambda model: predictor)
    monkeypatch.setattr(evaluate, "load_manifest", stop)
    with pytest.raises(InterruptedError):
        evaluate.evaluate_saved("run", given, exclude=exclude)
    assert asked[0].exclude == used and asked[0].path == (given or "/own/clips")
