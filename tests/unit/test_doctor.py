"""The parts of doctor: messy data gathered, clips judged, copies and labels, tables and page."""

import csv
import html
import json
import os
import signal
import time
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from planted_faults import ids

from sightsound.config.settings import DataSettings
from sightsound.data.manifest import load_manifest
from sightsound.data.rows import Row
from sightsound.doctor.checkup import Checkup
from sightsound.doctor.clips import clip_findings, shorter_than_others
from sightsound.doctor.duplicates import Groups, Union, duplicate_findings, excluded_copies
from sightsound.doctor.gather import Clips, gather
from sightsound.doctor.issue_types import ISSUE_TYPES, SEVERITIES, Finding
from sightsound.doctor.labels import label_findings
from sightsound.doctor.page import MOST_CLIPS, write_page
from sightsound.doctor.summary import duration, write_tables
from sightsound.media.decode import DecodeError
from sightsound.media.decode_pool import DecodePool, Failure
from sightsound.media.examine import Health, Pictures, Sound
from sightsound.media.packets import Timing

# --- gathering ----------------------------------------------------------------------------------


def gathered(path, **settings):
    return gather(DataSettings(str(path), **settings))


def key(row):
    return (row.id, row.path, row.labels, row.start_seconds, row.end_seconds, row.audio_path)


def make_files(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


TABLE = """path,label,start_seconds,end_seconds,split,id,audio_path,group
a.mp4, cat ,,2.5,train,,,g
a.mp4,cat|dog,2.5,,train,,s.wav,g
b.mp4,dog,0,,test,other,,
"""


@pytest.mark.parametrize("kind", ["csv", "parquet", "folder", "splits"])
def test_good_data_is_read_as_load_manifest_reads_it(tmp_path, kind):
    path = tmp_path
    if kind in ("csv", "parquet"):
        (tmp_path / "clips.csv").write_text(TABLE)
        path = tmp_path / "clips.csv"
    if kind == "parquet":
        lines = list(csv.DictReader(TABLE.splitlines()))
        columns = {n: [line[n].strip() or None for line in lines] for n in lines[0]}
        path = tmp_path / "clips.parquet"
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
    if kind == "folder":
        make_files(tmp_path, *(f"{c}/{g}/{k}.mp4" for c in "ab" for g in "xyz" for k in range(2)))
    if kind == "splits":
        make_files(tmp_path, *(f"{s}/{c}/0.mp4" for s in ("train", "test") for c in "ab"))
    expected = load_manifest(DataSettings(str(path), bad_files="drop"))
    found = gathered(path)
    assert sorted(map(key, found.rows)) == sorted(map(key, expected.rows))
    assert (found.task, found.source, found.refusal) == (expected.task, expected.source, "")
    if kind != "folder":  # splits are named
        assert {r.id: r.split for r in found.rows} == {r.id: r.split for r in expected.rows}
    else:
        assert {row.split for row in found.rows} == {""}


def test_a_table_with_unknown_columns_and_odd_cells(tmp_path):
    (tmp_path / "clips.csv").write_text(
        "path,label,split,start_seconds,length\na.mp4,x,train,abc,1\nb.mp4,,tst,-1,2,3\n\nc.mp4\n"
    )
    found = gathered(tmp_path / "clips.csv")
    assert "line 3: 6 cells but 5 columns" in found.refusal
    assert [(r.id, r.labels, r.split, r.start_seconds) for r in found.rows] == [
        ("a.mp4", ("x",), "train", 0.0),
        ("b.mp4", (), "", 0.0),
        ("c.mp4", (), "", 0.0),
    ]


def test_verbs_and_nouns(tmp_path):
    (tmp_path / "clips.csv").write_text("path,verb,noun\na.mp4,cut,\nb.mp4,cut,onion\n")
    found = gathered(tmp_path / "clips.csv")
    assert found.task == "heads" and "noun is empty" in found.refusal
    assert [row.labels for row in found.rows] == [{"verb": "cut"}, {"verb": "cut", "noun": "onion"}]


def test_a_flat_folder_with_files_of_all_sorts(tmp_path):
    make_files(tmp_path, "a.mp4", "no_suffix", "read.me", "notes.txt", ".hidden.mp4", "cat/b.MKV")
    found = gathered(tmp_path)
    assert "outside any class folder" in found.refusal
    assert [(row.id, row.labels) for row in found.rows] == [("a.mp4", ()), ("cat/b.MKV", ("cat",))]
    assert [path.name for path in found.others] == ["no_suffix", "read.me"]


def test_one_file(tmp_path):
    make_files(tmp_path, "clip.mp4")
    found = gathered(tmp_path / "clip.mp4")
    assert [row.path for row in found.rows] == [tmp_path / "clip.mp4"] and not found.refusal


def test_clips_that_a_list_names_are_left_out(tmp_path):
    make_files(tmp_path, "x/a.mp4", "x/b.mp4")
    (tmp_path / "list.txt").write_text("x/a.mp4\n")
    found = gathered(tmp_path, exclude=str(tmp_path / "list.txt"))
    assert [row.id for row in found.rows] == ["x/b.mp4"]


def test_where_there_is_no_clip_at_all(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        gathered(tmp_path / "nothing")
    with pytest.raises(ValueError, match="no clips in"):
        gathered(tmp_path)
    (tmp_path / "clips.csv").write_text("name,label\na.mp4,x\n")
    with pytest.raises(ValueError, match="columns name, label; needed: path"):
        gathered(tmp_path / "clips.csv")
    make_files(tmp_path, "clips.ini", "clips.parquet", "packed/shards.json")
    with pytest.raises(ValueError, match="holds shards; doctor looks at media files"):
        gathered(tmp_path / "packed")
    with pytest.raises(ValueError, match="as a manifest.*; accepted: .csv, .tsv,"):
        gathered(tmp_path / "clips.ini")
    with pytest.raises(ValueError, match="clips.parquet' is damaged"):
        gathered(tmp_path / "clips.parquet")


# --- one clip -----------------------------------------------------------------------------------


def timing(start=0.0, end=10.0, *, num=250, uneven=0.0, pause=0.0):
    return Timing(num, start, end, uneven, pause, 3.0)


def pictures(when=None, *, moving=0.9, change=90, contrast=200, decoded=10.0):
    when = when or timing()
    return Pictures("h264", 240, 320, 25.0, when, 250, decoded, moving, change, contrast, b"")


def sound(when=None, *, loudest=-20.0, channels=(-25.0,), mono=-25.0):
    return Sound("aac", 44100, when or timing(), loudest, channels, mono, bytes(200), b"")


def judged(tmp_path, *, row=None, **health):
    make_files(tmp_path, "clip.mp4")
    row = row or Row("clip.mp4", tmp_path / "clip.mp4", ("x",))
    given = {"video": pictures(), "audio": sound(), "end_seconds": 10.0, "file_seconds": 10.0}
    return [f.issue for f in clip_findings(row, Health(**(given | health)))]


@pytest.mark.parametrize(
    "health, expected",
    [
        ({}, []),
        ({"video": None}, ["no_pictures"]),
        ({"audio": None}, ["no_sound"]),
        ({"video": None, "unreadable": ("no decoder for the video stream",)}, ["unreadable"]),
        ({"problems": ("audio: 3 damaged packet(s)",)}, ["damaged"]),
        ({"end_seconds": 0.4}, ["too_short"]),
        ({"end_seconds": 0.5}, []),
        ({"end_seconds": 0.0, "video": None, "audio": None}, ["outside_file"]),
        ({"audio": sound(loudest=-71.0)}, ["silence"]),
        ({"audio": sound(loudest=-69.0)}, []),
        ({"audio": sound(channels=(-25.0, -25.0), mono=-46.0)}, ["antiphase"]),
        ({"audio": sound(channels=(-25.0,) * 8, mono=-34.0)}, []),  # nothing in common
        ({"audio": sound(channels=(-20.0, -120.0), mono=-26.0)}, []),  # one channel only
        ({"video": pictures(moving=0.04, change=14)}, ["static_picture"]),
        ({"video": pictures(moving=0.04, change=60)}, []),  # one cut
        ({"video": pictures(moving=0.5, change=4)}, []),  # far away
        ({"video": pictures(timing(num=900), moving=0.0, change=0, decoded=2.0)}, []),  # unseen
        ({"video": pictures(timing(uneven=0.2))}, ["variable_rate"]),
        ({"video": pictures(timing(pause=0.7))}, ["stutter"]),
        ({"audio": sound(timing(pause=0.7))}, ["damaged"]),
        ({"audio": sound(timing(0.3, 10.0))}, ["offset"]),
        ({"video": pictures(timing(0.3, 10.0))}, ["offset"]),
        ({"audio": sound(timing(0.1, 9.5))}, []),
        ({"audio": sound(timing(0.0, 8.0))}, ["lengths"]),
    ],
)
def test_what_is_said_of_a_clip(tmp_path, health, expected):
    assert judged(tmp_path, **health) == expected


def test_details_say_how_much(tmp_path):
    make_files(tmp_path, "clip.mp4")
    row = Row("clip.mp4", tmp_path / "clip.mp4", ("x",), end_seconds=12.0)
    health = Health(
        end_seconds=10.0,
        file_seconds=10.0,
        video=pictures(timing(0.0, 5.0), moving=0, change=0, contrast=3),
        audio=sound(timing(1.0, 10.0)),
    )
    assert [finding.detail for finding in clip_findings(row, health)] == [
        "ends at 12 s of 10.00 s",
        "one colour for 5.00 s",
        "sound 1.00 s late",
        "pictures 5.00 s, sound 9.00 s",
    ]


def test_a_missing_or_unreadable_file(tmp_path):
    row = Row("clip.mp4", tmp_path / "clip.mp4", ("x",))
    assert [f.issue for f in clip_findings(row, Failure("no such file"))] == ["missing_file"]
    make_files(tmp_path, "clip.mp4")
    found = list(clip_findings(row, Failure("the decoder took longer than 60 s")))
    assert found == [Finding("unreadable", "the decoder took longer than 60 s", "clip.mp4")]


def test_clips_shorter_than_the_others():
    rows = [Row(str(k), Path(str(k)), ()) for k in range(10)]
    alike = [Health(end_seconds=10.0)] * 8 + [Health(end_seconds=7.0), Failure("")]
    assert [f.id for f in shorter_than_others(rows, alike)] == ["8"]
    mixed = [Health(end_seconds=1.0 + k) for k in range(10)]
    assert list(shorter_than_others(rows, mixed)) == []
    assert list(shorter_than_others(rows, [Failure("")] * 10)) == []


# --- labels -------------------------------------------------------------------------------------


def rows_of(*lines):
    """Rows from (label, split) pairs."""
    return [
        Row(f"{k}.mp4", Path(f"/{k}.mp4"), tuple(filter(None, label.split("|"))), split=split)
        for k, (label, split) in enumerate(lines)
    ]


def said(rows, *, task="single", source=Path("/nowhere")):
    return [(f.issue, f.detail) for f in label_findings(rows, task=task, source=source)]


def many(*labels, split="train", number=12):
    return [(label, split) for label in labels for _ in range(number)]


def test_good_labels_and_none_at_all():
    assert said(rows_of(*many("a", "b"), *many("a", "b", split="test"))) == []
    assert said(rows_of(("", ""), ("", ""))) == []


def test_names_that_differ_in_writing_only():
    rows = rows_of(*many("dog bark", "Dog_Bark", "dog-bark ", "cat", "+", "-"))
    assert said(rows) == [("similar_names", "'Dog_Bark' (12), 'dog bark' (12), 'dog-bark ' (12)")]


def test_few_clips_and_imbalance():
    rows = rows_of(*many("a", number=100), *many("b", number=9))
    assert said(rows) == [
        ("few_clips", "'b': 9"),
        ("imbalance", "100 clips of 'a', 9 of 'b': 11 times"),
    ]


def test_a_class_that_a_split_lacks():
    rows = rows_of(*many("a", "b"), *many("a", "c", split="test"))
    assert said(rows) == [
        ("missing_class", "'c' is not in train"),
        ("missing_class", "'b' is not in test"),
    ]
    assert said(rows_of(*many("a", split=""), *many("b", split="train"))) == []  # refused anyway


def test_clips_without_a_label():
    rows = rows_of(*many("a|b", "c"), ("", "train"))
    assert said(rows, task="multi") == []
    assert said(rows) == [("no_label", "the label is empty")]
    heads = [Row("0", Path("/0"), {"verb": "cut"}, split="train")]
    assert ("no_label", "the label is empty") in said(heads, task="heads")


def test_names_of_labels_json_that_no_clip_has(tmp_path):
    (tmp_path / "labels.json").write_text(json.dumps(["a", "b", "c"]))
    assert said(rows_of(*many("a", "b")), source=tmp_path) == [("unused_class", "'c'")]
    (tmp_path / "labels.json").write_text("[")
    assert said(rows_of(*many("a", "b")), source=tmp_path / "clips.csv") == []


def test_parts_of_one_source_in_two_splits():
    rows = [
        Row("0", Path("/f.mp4"), ("a",), split="train"),
        Row("1", Path("/f.mp4"), ("a",), split="test", start_seconds=3.0),
        Row("2", Path("/g.mp4"), ("a",), split="train", group="g"),
        Row("3", Path("/h.mp4"), ("a",), split="val", group="g"),
        Row("4", Path("/i.mp4"), ("a",), split="val"),
    ]
    found = list(label_findings(rows, task="single", source=Path("/")))
    assert ids(found) == {"shared_source": {"0", "1", "2", "3"}}
    assert found[-1].detail == "others of 'g' lie in train"


# --- copies -------------------------------------------------------------------------------------


def copies(*splits, labels=("x",) * 9):
    rows = rows_of(*zip(labels, splits, strict=False))
    group = list(range(len(splits)))
    return rows, Groups([group], {0: {0, 1}, 1: {0, 1}}, [])


def test_union():
    union = Union(6)
    union.join(4, 5)
    union.join(1, 4)
    union.join(5, 1)
    assert union.groups() == [[1, 4, 5]]
    assert union.leader(5) == 1 and union.leader(0) == 0


def test_copies_within_and_across_splits():
    rows, groups = copies("train", "train", "test")
    found = list(duplicate_findings(rows, groups))
    assert [(f.issue, f.detail) for f in found] == [
        ("leak", "the same sound and pictures as 2.mp4 (test) and 1 more"),
        ("leak", "the same sound and pictures as 2.mp4 (test) and 1 more"),
        ("leak", "the same sound and pictures as 0.mp4 (train) and 1 more"),
    ]
    rows, groups = copies("train", "train")
    found = [(f.issue, f.detail) for f in duplicate_findings(rows, groups)]
    assert found[0] == ("duplicate", "the same file as 1.mp4 (train)")


def test_copies_under_other_labels():
    rows, groups = copies("train", "train", labels=("a", "b"))
    found = [f.detail for f in duplicate_findings(rows, groups) if f.issue == "two_labels"]
    assert found == ["'a' here, 'b' at 1.mp4", "'b' here, 'a' at 0.mp4"]


@pytest.mark.parametrize(
    "splits, excluded",
    [
        (("train", "test"), ["0.mp4"]),
        (("test", "val", "train"), ["1.mp4", "2.mp4"]),
        (("val", "train", "train"), ["1.mp4", "2.mp4"]),
        (("", "", ""), ["1.mp4", "2.mp4"]),  # any draw might part them
        (("train", "train"), ["1.mp4"]),  # the same: nothing else is there
        (("test", "test", "train"), ["2.mp4"]),
    ],
)
def test_which_copy_is_left_out(splits, excluded):
    rows, groups = copies(*splits)
    assert sorted(clip for clip, _ in excluded_copies(rows, groups)) == excluded


def test_copies_within_a_split_stay_where_there_are_others():
    rows = rows_of(("x", "train"), ("x", "train"), ("x", "test"))
    groups = Groups([[0, 1]], {}, [])
    assert list(excluded_copies(rows, groups)) == []


def test_the_same_sound_under_other_pictures():
    rows = rows_of(("a", "train"), ("b", "test"), ("a", "train"))
    groups = Groups([[0, 2]], {}, [[[0, 2], [1]]])
    found = {f.id: f.detail for f in duplicate_findings(rows, groups) if f.issue == "same_sound"}
    assert found == {
        "0.mp4": "as 1.mp4 (test)",
        "1.mp4": "as 0.mp4 (train) and 1 more",
        "2.mp4": "as 1.mp4 (test)",
    }


# --- decode processes ---------------------------------------------------------------------------


def answer(path):
    """What a question about a file may come to."""
    if path == "bad":
        raise DecodeError(path, 0.0, "rubbish")
    if path == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if path == "hang":
        time.sleep(60)
    return path.upper()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_answers_come_in_order_and_failures_in_their_place(num_workers):
    questions = [{"path": path} for path in ("a", "bad", "b")]
    with DecodePool(num_workers, seconds=30) as workers:
        assert list(workers.map(answer, questions)) == ["A", Failure("rubbish"), "B"]


def test_a_crash_or_a_hang_costs_one_answer():
    questions = [{"path": path} for path in ("crash", "a", "hang", "b")]
    with DecodePool(1, seconds=5.0) as workers:  # imports this file there, too
        crash, a, hang, b = workers.map(answer, questions)
    assert (a, b) == ("A", "B")
    assert crash.cause.startswith("the decoder crashed (signal 11")
    assert hang == Failure("the decoder took longer than 5 s")


# --- what is written ----------------------------------------------------------------------------


def checkup_of(num_clips, *, source=Path("/data"), found=None):
    rows = rows_of(*(("<b>&x", "train") for _ in range(num_clips)))
    healths = [Health(end_seconds=2.0, file_seconds=2.0, audio=sound(timing(0.0, 2.0)))] * num_clips
    findings = found or [Finding("no_pictures", "none", row.id) for row in rows[:-1]]
    clips = Clips(tuple(rows), "single", source)
    return Checkup(clips, tuple(healths), tuple(findings), {"0.mp4": 'because, "so"'})


def write_all(checkup, folder):
    shown = []
    write_tables(checkup, folder)
    with DecodePool(0, seconds=9) as workers:
        write_page(
            checkup,
            folder / "report.html",
            workers=workers,
            title="a <set>",
            progress=lambda *done: shown.append(done),
        )
    return (folder / "report.html").read_text()


def test_tables(tmp_path):
    checkup = checkup_of(
        3, found=[Finding("imbalance", "9 to 1"), Finding("silence", "x", "1.mp4")]
    )
    write_tables(checkup, tmp_path)
    lines = list(csv.DictReader((tmp_path / "findings.csv").read_text().splitlines()))
    assert lines[0]["id"] == "" and lines[0]["severity"] == "worth knowing"
    assert lines[1] == {
        "id": "1.mp4",
        "path": "/1.mp4",
        "label": "<b>&x",
        "split": "train",
        "finding": "silence",
        "severity": "hurts",
        "detail": "x",
    }
    lines = list(csv.DictReader((tmp_path / "exclude.csv").read_text().splitlines()))
    assert lines == [{"id": "0.mp4", "reason": 'because, "so"'}]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["exclude.csv", "findings.csv"]


def test_the_page_needs_nothing_else_and_escapes_names(tmp_path):
    text = write_all(checkup_of(4), tmp_path)
    assert "http" not in text.replace("http-equiv", "") and "src=" not in text
    assert html.escape("<b>&x") in text and "<b>&x" not in text
    assert "a &lt;set&gt;" in text
    assert text.count("<svg") == 4 and "3 of 3 clips with findings, and 1 healthy" in text


def test_the_page_of_a_large_set_is_no_larger(tmp_path):
    sizes = [len(write_all(checkup_of(n), tmp_path)) for n in (MOST_CLIPS + 1, 20 * MOST_CLIPS)]
    assert sizes[1] < 1.05 * sizes[0]
    assert "300 of 5,999 clips with findings" in (tmp_path / "report.html").read_text()


def test_the_page_shows_some_of_every_kind(tmp_path):
    rows = [Finding("no_pictures", "none", f"{k}.mp4") for k in range(900)]
    text = write_all(checkup_of(1000, found=[*rows, Finding("silence", "x", "950.mp4")]), tmp_path)
    assert "950.mp4" in text


def test_lengths_of_time():
    assert [duration(s) for s in (3.0, 200.0, 9000.0)] == [
        "3.0 seconds",
        "3.3 minutes",
        "2.5 hours",
    ]


def test_every_kind_says_what_it_means():
    for kind in ISSUE_TYPES.values():
        assert kind.severity in SEVERITIES and kind.title and kind.means
        assert not kind.means.endswith(".") and not kind.remedy.endswith(".")
