"""Shares of the training clips, and more balanced subsets of a manifest."""

import csv
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from sightsound.data.rows import Row
from sightsound.data.subset import build_subset, greedy, share_of

# --- shares -------------------------------------------------------------------------------------


def rows_of(*labels) -> list[Row]:
    return [Row(f"clip{i}", Path(f"/clip{i}.mp4"), names) for i, names in enumerate(labels)]


MANY = rows_of(*(("a",),) * 150, *(("a", "b"),) * 48, ("c",), ())


def test_a_smaller_share_lies_within_a_larger_one():
    shares = [{r.id for r in share_of(MANY, share=s, seed=3)} for s in (0.1, 0.2, 0.5, 1.0)]
    assert [len(ids) for ids in shares] == [20, 40, 100, 200]
    assert all(small < large for small, large in zip(shares, shares[1:], strict=False))


def test_a_share_keeps_the_order_and_depends_on_the_seed():
    share = share_of(MANY, share=0.2, seed=3)
    assert share == [row for row in MANY if row in share] == share_of(MANY, share=0.2, seed=3)
    assert share != share_of(MANY, share=0.2, seed=4)
    assert share_of(MANY, share=1.0, seed=3) == MANY


@pytest.mark.parametrize("seed", range(5))
def test_a_share_keeps_a_clip_of_each_class(seed):
    share = share_of(MANY, share=0.015, seed=seed)
    assert len(share) == 3 and {name for row in share for name in row.labels} == {"a", "b", "c"}
    assert len(share_of(MANY, share=0.001, seed=seed)) == 1
    heads = rows_of(*({"verb": v, "noun": n} for v, n in ("xy", "xy", "xy", "yx")))
    assert heads[3] in share_of(heads, share=0.5, seed=seed)  # verb y is another class than noun y


# --- the greedy choice --------------------------------------------------------------------------


def one_by_one(labels: list[set[int]], per_class: int) -> list[bool]:
    """The rule as it is told: taken if none of the clip's classes is full."""
    counts: Counter = Counter()
    taken = []
    for names in labels:
        taken.append(all(counts[name] < per_class for name in names))
        counts.update(names if taken[-1] else ())
    return taken


@pytest.mark.parametrize("seed", range(20))
def test_greedy_is_the_visit_one_by_one(seed):
    draws = np.random.default_rng(seed)
    chances = 0.8 / np.arange(1, 9)
    labels = [set(np.flatnonzero(draws.random(8) < chances).tolist()) or {7} for _ in range(300)]
    members = [np.array([i for i, names in enumerate(labels) if k in names]) for k in range(8)]
    for per_class in (1, 2, 7, 20, 60, 300):
        ours = greedy(members, 300, per_class=per_class).tolist()
        assert ours == one_by_one(labels, per_class)


# --- manifests ----------------------------------------------------------------------------------


def write_table(path: Path, *, num: int = 3000, split: bool = True, extra: str = "") -> list[dict]:
    """Much speech and music, as in AudioSet; a few clips of other splits."""
    draws = np.random.default_rng(0)
    names = ["Music", "Speech", "Bird, sparrow", "Dog", "Rain", "Bell"]
    chances = [0.5, 0.5, 0.1, 0.05, 0.02, 0.01]
    rows = []
    for i in range(num):
        labels = [n for n, chance in zip(names, chances, strict=True) if draws.random() < chance]
        row = {"path": f"v/{i}.mp4", "label": " | ".join(labels or ["Dog"]), "start_seconds": "010"}
        row |= {"split": ("val", "test", *["train"] * 18)[i % 20]} if split else {}
        rows.append(row | ({"note": extra} if extra else {}))
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        return rows
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return rows


def read_table(path: Path) -> list[dict]:
    if path.suffix == ".parquet":
        return pyarrow.parquet.read_table(path).to_pylist()
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def class_counts(rows: list[dict]) -> Counter:
    return Counter(name.strip() for row in rows for name in row["label"].split("|"))


def trained(rows: list[dict]) -> list[dict]:
    return [row for row in rows if row.get("split", "train") == "train"]


@pytest.mark.parametrize("source", ["all.csv", "all.parquet"])
@pytest.mark.parametrize("output", ["some.csv", "some.parquet"])
def test_subset_has_the_size_and_loses_only_training_clips(tmp_path, source, output):
    rows = write_table(tmp_path / source, extra='a "quoted", two-\nline note')
    subset = build_subset(tmp_path / source, tmp_path / output, clips=900)
    kept = read_table(tmp_path / output)
    assert len(trained(kept)) == 900 == subset.after.num_clips
    assert [row for row in rows if row in kept] == kept  # whole rows, text unchanged, in order
    assert [row for row in rows if row["split"] != "train"] == [
        row for row in kept if row["split"] != "train"
    ]
    before, after = class_counts(trained(rows)), class_counts(trained(kept))
    assert max(after.values()) <= subset.per_class < max(before.values())
    assert max(after.values()) / min(after.values()) < max(before.values()) / min(before.values())
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([source, output])


def test_the_limit_is_no_larger_than_needed(tmp_path):
    write_table(tmp_path / "all.csv")
    found = build_subset(tmp_path / "all.csv", tmp_path / "a.csv", clips=900)
    less = build_subset(tmp_path / "all.csv", tmp_path / "b.csv", per_class=found.per_class - 1)
    same = build_subset(tmp_path / "all.csv", tmp_path / "c.csv", per_class=found.per_class)
    assert less.after.num_clips < 900 <= same.after.num_clips
    exact = build_subset(tmp_path / "all.csv", tmp_path / "e.csv", clips=same.after.num_clips)
    assert exact.per_class == found.per_class
    everything = build_subset(tmp_path / "all.csv", tmp_path / "d.csv", clips=2700)
    assert everything.after == everything.before


def test_seed_decides(tmp_path):
    write_table(tmp_path / "all.csv")
    texts = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        build_subset(tmp_path / "all.csv", tmp_path / f"{name}.csv", clips=500, seed=seed)
        texts.append((tmp_path / f"{name}.csv").read_text())
    assert texts[0] == texts[1] != texts[2]


def test_both_numbers(tmp_path):
    write_table(tmp_path / "all.csv")
    subset = build_subset(tmp_path / "all.csv", tmp_path / "a.csv", clips=300, per_class=200)
    assert subset.after.num_clips == 300 and subset.after.largest[1] <= 200
    with pytest.raises(ValueError, match=r"--per_class 50 leaves \d+ clips of .*, fewer than --cl"):
        build_subset(tmp_path / "all.csv", tmp_path / "b.csv", clips=300, per_class=50)
    assert not (tmp_path / "b.csv").exists()


def test_without_a_split_all_clips_are_chosen_from(tmp_path):
    write_table(tmp_path / "all.csv", split=False)
    subset = build_subset(tmp_path / "all.csv", tmp_path / "some.csv", clips=900)
    assert len(read_table(tmp_path / "some.csv")) == 900 and subset.num_others == 0


def test_clips_without_a_label_count_as_one_more_class(tmp_path):
    lines = [f"{i}.mp4,{'' if i % 2 else 'cat|cat'}" for i in range(40)]
    (tmp_path / "all.csv").write_text("\n".join(["path,label", *lines]))
    subset = build_subset(tmp_path / "all.csv", tmp_path / "some.csv", per_class=5)
    assert Counter(row["label"] for row in read_table(tmp_path / "some.csv")) == {
        "": 5,
        "cat|cat": 5,
    }
    assert (subset.before.num_classes, subset.before.largest) == (1, ("cat", 20))
    assert "before  40     1        cat 20" in subset.text()


def test_text(tmp_path):
    write_table(tmp_path / "all.csv")
    text = build_subset(tmp_path / "all.csv", tmp_path / "some.csv", clips=900).text()
    head, before, after, rest = text.splitlines()
    assert head.split() == "clips classes largest class smallest class imbalance".split()
    assert before.startswith("before  2700   6") and after.startswith("after   900    6")
    assert re.match(
        r"At most \d+ clips of a class; of other splits all 300 are kept: .*some.csv$", rest
    )


def test_absolute_paths_may_be_written_anywhere(tmp_path):
    (tmp_path / "all.csv").write_text("path,label\n/v/a.mp4,x\n/v/b.mp4,x\n")
    build_subset(tmp_path / "all.csv", tmp_path / "new" / "some.csv", clips=1)
    assert len(read_table(tmp_path / "new" / "some.csv")) == 1


GOOD = "path,label,split\na.mp4,x,train\nb.mp4,x|y,train\n"


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (GOOD, {}, "how large\\? Give --clips, --per_class or both"),
        (GOOD, {"clips": 0}, "--clips is 0; accepted: 1 or more"),
        (GOOD, {"per_class": -1}, "--per_class is -1; accepted: 1 or more"),
        (GOOD, {"clips": 3}, "all.csv has 2 training clips, fewer than --clips 3; ask for fewer"),
        (GOOD, {"clips": 1, "output": "some.txt"}, "some.txt' is no manifest; accepted: a .csv or"),
        (GOOD, {"clips": 1, "output": "all.csv"}, "all.csv' is the manifest itself; choose anothe"),
        (GOOD, {"clips": 1, "output": "b/c.csv"}, "'a.mp4' are relative to the manifest: write --"),
        ("path,lable\na,x\n", {"clips": 1}, "columns path, lable; needed, once each: path and la"),
        ("path,label,label\na,x,y\n", {"clips": 1}, "needed, once each: path and label"),
        ("path,label\na,x,y\n", {"clips": 1}, "cannot read '.*all.csv' as a manifest: CSV parse"),
        ("path,label\na,\nb, | \n", {"clips": 1}, "no training clip has a label; there is nothi"),
        (GOOD.replace("b.mp4,x|y,train", "b.mp4,x,tst"), {"clips": 1}, "unknown split 'tst'; .*te"),
        (GOOD.replace("train", "val"), {"clips": 1}, r"no clips of split train; .*\['val'\]"),
        ("path,label\n", {"clips": 1}, "no training clip has a label; there is nothing to bala"),
        ("", {"clips": 1}, "cannot read '.*all.csv' as a manifest: Empty CSV"),
    ],
)
def test_mistakes_are_refused_and_leave_nothing(tmp_path, text, options, message):
    (tmp_path / "all.csv").write_text(text)
    options = {"output": "some.csv"} | options
    with pytest.raises(ValueError, match=message):
        build_subset(tmp_path / "all.csv", tmp_path / options.pop("output"), **options)
    assert [path.name for path in tmp_path.iterdir()] == ["all.csv"]
    assert (tmp_path / "all.csv").read_text() == text


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "all.csv").write_text(GOOD)

    def full(rows):
        raise OSError("no space left")

    monkeypatch.setattr("sightsound.data.subset.csv_rows", full)
    with pytest.raises(OSError, match="no space left"):
        build_subset(tmp_path / "all.csv", tmp_path / "some.csv", clips=1)
    assert [path.name for path in tmp_path.iterdir()] == ["all.csv"]
