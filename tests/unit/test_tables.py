"""Tables as people have them: encodings, separators, names of columns, several lines of a clip."""

import dataclasses
import gzip
import json
import unicodedata
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from sightsound import cli
from sightsound.config.settings import DataSettings
from sightsound.data.exclude import read_exclude
from sightsound.data.manifest import load_manifest, other_data
from sightsound.data.rows import Manifest
from sightsound.doctor.gather import gather

LABELS = ["Hunde", "Vögel"]
TEXT = "path,label\na.mp4,Vögel\nb.mp4,Hunde\n"
NFC, NFD = "Vögel.mp4", unicodedata.normalize("NFD", "Vögel.mp4")


def load(path: Path, *, draw: bool = False, **settings: object) -> Manifest:
    return load_manifest(DataSettings(path=str(path), **settings), draw=draw)


def table(folder: Path, content: str | bytes, name: str = "list.csv") -> Path:
    for clip in ("a.mp4", "b.mp4", "c.mp4", "sub/a.mp4"):
        (folder / clip).parent.mkdir(exist_ok=True)
        (folder / clip).touch()
    content = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(content)
    return folder / name


def found(manifest: Manifest) -> list[tuple]:
    return [(row.id, *row.labels) for row in manifest.rows]


# --- encodings and separators -------------------------------------------------------------------

TABS = TEXT.replace(",", "\t").replace("\n", "\r\n")
ENCODED = {
    "UTF-8": TEXT.encode(),
    "Excel CSV UTF-8": TEXT.replace("\n", "\r\n").encode("utf-8-sig"),
    "Excel CSV": TEXT.replace("\n", "\r\n").encode("cp1252"),
    "Excel CSV, semicolons": TEXT.replace(",", ";").encode("cp1252"),
    "Excel Unicode text": b"\xff\xfe" + TABS.encode("utf-16-le"),
    "UTF-16, big end first": b"\xfe\xff" + TABS.encode("utf-16-be"),
    "UTF-16, no mark": TABS.encode("utf-16-le"),
    "old Mac lines": TEXT.replace("\n", "\r").encode(),
    "first line names the separator": ("sep=;\r\n" + TEXT.replace(",", ";")).encode("utf-8-sig"),
    "bars": TEXT.replace(",", "|").encode(),
    "blanks": TEXT.replace(",", " , ").encode(),
    "quotes": b'"path", "label"\n"a.mp4", "V\xc3\xb6gel"\n"b.mp4", "Hunde"\n',
    "empty lines and cells": (TEXT.replace("\n", ",,\n") + ",,,\n\n\n").encode(),
}


@pytest.mark.parametrize("kind", ENCODED)
@pytest.mark.parametrize("name", ["list.csv", "LIST.CSV", "list.tsv", "list.txt"])
def test_every_way_to_save_is_read(tmp_path, kind, name):
    manifest = load(table(tmp_path, ENCODED[kind], name))
    assert found(manifest) == [("a.mp4", "Vögel"), ("b.mp4", "Hunde")]
    assert manifest.labels == {"label": LABELS}


def test_a_guessed_code_page_is_said(tmp_path, caplog):
    load(table(tmp_path, ENCODED["Excel CSV"]))
    assert "list.csv is not UTF-8; read in Windows' code page 1252 ('Vögel')" in caplog.text


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("é,ü\nà,ö\n".encode() + b"\xe4\n", r"list.csv, line 3: not UTF-8, as the rest"),
        (b"path,label\n\x81\x8d.mp4,x\n", "neither in UTF-8, UTF-16 nor Windows' code page 1252"),
        (
            b"\x1f\x8b\x08\0" + 20 * b"a\0",
            "list.csv' is compressed with gzip, no list of clips; unp",
        ),
        (b"PK\x03\x04" + 20 * b"a\0", "list.csv' is a ZIP archive or an Excel workbook, no list"),
        (b"\x00\x01\x02\xff\xfe\x00\xd8", "list.csv' is not text"),
        (b"\xff\xfep\x00a", "list.csv' is not text"),
        (b'path,label\n"a.mp4,x\nb.mp4,x\n', "line 2: path holds a line break; is a quotation"),
        (b"a.mp4,x\nb.mp4,y\n", r"\(a.mp4, x\) is no header: write the names of the columns"),
        (b"path;label\na.mp4;x;y\n", "line 2: 3 cells but 2 columns; quote cells that contain sem"),
    ],
)
def test_what_is_no_table_is_told_in_words(tmp_path, content, match):
    with pytest.raises(ValueError, match=match):
        load(table(tmp_path, content))


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("list.xlsx", "save it as 'CSV UTF-8'"),
        ("list.pkl", r"save it as 'CSV UTF-8', or from Python with to_csv"),
        ("list.csv.gz", "unpack it first"),
        ("list.mat", "as a manifest; accepted: .csv, .tsv"),
    ],
)
def test_files_of_programs_are_refused_with_the_remedy(tmp_path, name, match):
    with pytest.raises(ValueError, match=match):
        load(table(tmp_path, b"", name))


def test_lists_to_leave_out_may_come_from_excel_too(tmp_path):
    for encoding in ("utf-16", "cp1252", "utf-8-sig"):
        path = table(tmp_path, "id,reason\nVögel.mp4,broken\n".encode(encoding), "exclude.csv")
        assert read_exclude(path, ["Vögel.mp4", "b.mp4"]) == {"Vögel.mp4"}


# --- JSON and Parquet ---------------------------------------------------------------------------


def test_json_lines_lists_and_parquet(tmp_path):
    rows = [
        {"file_name": "a.mp4", "labels": ["rain", "wind"], "start_sec": 0.5, "junk": {"x": 1}},
        {"file_name": "b.mp4", "labels": ["wind"], "start_sec": None, "junk": None},
    ]
    lines = "\n".join(map(json.dumps, rows)) + "\n\n"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "list.Parquet")
    paths = [
        table(tmp_path, lines.encode("utf-8-sig"), "list.jsonl"),
        table(tmp_path, json.dumps(rows), "list.json"),
        tmp_path / "list.Parquet",
    ]
    for path in paths:
        manifest = load(path)
        assert found(manifest) == [("a.mp4#0.5", "rain", "wind"), ("b.mp4", "wind")]
        assert manifest.task == "multi"


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("l.jsonl", '{"path": "a.mp4", "label": "x"}\n{"path": \n', "l.jsonl, line 2: not JSON"),
        ("l.jsonl", "[1, 2]\n", "l.jsonl, line 1: expected an object for every clip"),
        ("l.json", '{"path": {"0": "a.mp4"}}', "entry 1: expected an object for every clip"),
        ("l.jsonl", '{"path": "a.mp4", "label": ["x|y"]}', "line 1: .* holds a bar, which separ"),
        ("l.jsonl", "\n", "columns .none.; needed: path"),
    ],
)
def test_bad_json_names_its_line(tmp_path, name, content, match):
    with pytest.raises(ValueError, match=match):
        load(table(tmp_path, content, name))


# --- columns ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    "path Path file filename filepath file_name FileName video_path video audio File-Path".split(),
)
@pytest.mark.parametrize("label", ["label", "Label", "class", "category", "target", "labels"])
def test_usual_names_of_columns(tmp_path, path, label):
    manifest = load(table(tmp_path, f"{path},{label}\na.mp4,x\nb.mp4,y\n"))
    assert found(manifest) == [("a.mp4", "x"), ("b.mp4", "y")]


def test_other_columns_are_named_in_one_line(tmp_path, caplog):
    text = ",clip,class,start,views\n0,a.mp4,x,1.5,7\n1,b.mp4,y,2,8\n"
    assert found(load(table(tmp_path, text))) == [("a.mp4", "x"), ("b.mp4", "y")]
    (record,) = caplog.records
    assert record.getMessage().endswith(
        "list.csv: path is 'clip', label is 'class'; not read: one without a name, 'start', "
        "'views'; if 'start' is in seconds of the file: --columns start_seconds=..."
    )


def test_names_of_files_count_where_files_are(tmp_path):
    text = "filename,video,audio,label\na.mp4,h264,aac 44100Hz,x\nb.mp4,vp9,opus,y\n"
    assert [row.audio_path for row in load(table(tmp_path, text)).rows] == [None, None]
    text = "video,audio,label\na.mp4,b.wav,x\n"
    (tmp_path / "b.wav").touch()
    assert load(table(tmp_path, text)).rows[0].audio_path == tmp_path / "b.wav"


def test_columns_may_be_said(tmp_path):
    text = "clip;film;what;set;kind\na.mp4;b.mp4;0;left;x\nb.mp4;b.mp4;1;right;y\n"
    path = table(tmp_path, text)
    manifest = load(path, columns="path=clip, label=kind, split=set")
    assert found(manifest) == [("a.mp4", "x"), ("b.mp4", "y")]
    assert manifest.splits == ["left", "right"]


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        ("path=klip,label=kinds", "'kinds'.*Did you mean 'kind'.*'klip'.*Did you mean 'clip'"),
        ("lable=kind", "unknown column 'lable'.*Did you mean 'label'"),
        ("path", "'path' has no =; accepted: OURS=YOURS"),
        ("path=clip,path=kind", "names 'path' twice"),
    ],
)
def test_wrong_columns_are_refused(tmp_path, columns, match):
    with pytest.raises(ValueError, match=match):
        load(table(tmp_path, "clip,kind\na.mp4,x\n"), columns=columns)


def test_every_wrong_column_is_named_at_once(tmp_path):
    text = "file,filepath,start_secnds,grop,label,label\na.mp4,a.mp4,1,g,x,y\n"
    with pytest.raises(ValueError) as error:
        load(table(tmp_path, text))
    for part in (
        "column 'label' appears twice",
        "path may be any of the columns 'file', 'filepath': choose with --columns path=file",
        "unknown column 'start_secnds'. Did you mean 'start_seconds'?",
        "unknown column 'grop'. Did you mean 'group'?",
    ):
        assert part in str(error.value)
    with pytest.raises(ValueError, match="unknown column 'grop'"):
        load(table(tmp_path, "path,label,grop\na.mp4,x,1\n"))
    assert load(table(tmp_path, "path,label,grop\na.mp4,x,1\n"), columns="group=").rows


@pytest.mark.parametrize(
    ("times", "remedy"),
    [
        ("start,end", "--columns start_seconds=start,end_seconds=end "),
        ("time_start,time_end", "--columns start_seconds=time_start,end_seconds=time_end "),
        ("onset,level", "--columns start_seconds=onset "),
    ],
)
def test_lines_that_differ_in_times_are_not_one_clip(tmp_path, times, remedy):
    path = table(tmp_path, f"path,{times},label\na.mp4,0,1,x\na.mp4,1,2,y\nb.mp4,0,1,x\n")
    with pytest.raises(ValueError, match=f"lines of one file differ in .*{remedy}reads them"):
        load(path)
    columns = remedy.removeprefix("--columns ").strip()
    assert len(load(path, columns=columns).rows) == 3
    assert len(load(path, columns="start_seconds=").rows) == 2


def test_a_column_that_comes_twice_is_no_slip(tmp_path):
    with pytest.raises(ValueError, match="'label' appears twice") as raised:
        load(table(tmp_path, "path,label,label\na.mp4,x,y\n"))
    assert "Did you mean" not in str(raised.value)


def test_one_clip_in_two_splits_is_refused(tmp_path):
    path = table(tmp_path, "path,label,split\na.mp4,x,train\na.mp4,y,test\n")
    with pytest.raises(ValueError, match="same clip, but differ in label, split: leave one out"):
        load(path)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"PK\x03\x04\x14\0\6\0" + b"\0\x11" * 50, "is a ZIP archive or an Excel workbook"),
        (
            gzip.compress(TEXT.encode()),
            "is compressed with gzip, no list of clips; unpack it first",
        ),
    ],
    ids=["zip", "gzip"],  # the bytes of gzip hold the time
)
def test_files_that_are_called_csv_and_are_none(tmp_path, content, match):
    with pytest.raises(ValueError, match=match):
        load(table(tmp_path, content))


def test_columns_of_a_run_are_for_tables_that_have_them(tmp_path):
    own = DataSettings(path=str(tmp_path / "own.csv"), columns="path=clip,label=kind", exclude="x")
    same = table(tmp_path, "clip,kind\na.mp4,x\n", "same.csv")
    other = table(tmp_path, "path,label\na.mp4,x\n", "other.csv")
    assert other_data(own, None) == own
    assert other_data(own, str(same)).columns == own.columns
    assert other_data(own, str(same)).exclude == ""
    around = tmp_path / "sub" / ".." / "own.csv"
    assert other_data(own, str(around)) == dataclasses.replace(own, path=str(around))
    assert other_data(own, str(other)).columns == ""
    assert other_data(own, str(tmp_path)).columns == ""
    assert other_data(own, str(other), columns="label=path").columns == "label=path"


@pytest.mark.parametrize("command", ["train", "doctor", "stats", "preview", "prepare", "ablate"])
def test_commands_that_take_data_take_columns(command, capsys):
    assert cli.main([command, "--help"]) == 0
    assert "--columns OURS=YOURS" in capsys.readouterr().out


def test_notes_are_told_once_by_the_command(tmp_path, capsys):
    path = table(tmp_path, "file,label\na.mp4,x\nb.mp4,y\n")
    assert cli.main(["doctor", str(path), "--output", str(tmp_path / "d"), "--num_workers=0"]) == 0
    assert capsys.readouterr().err == f"sightsound doctor: {path}: path is 'file'\n"


# --- cells --------------------------------------------------------------------------------------


def test_decimal_commas_and_backslashes(tmp_path):
    text = "path;label;start_seconds;end_seconds\nsub\\a.mp4;x;1,5;2,25\n"
    (row,) = load(table(tmp_path, text)).rows
    assert (row.id, row.path) == ("sub/a.mp4#1.5", tmp_path / "sub" / "a.mp4")
    assert (row.start_seconds, row.end_seconds) == (1.5, 2.25)
    with pytest.raises(ValueError, match="line 2: start_seconds is '1,5'"):
        load(table(tmp_path, 'path,label,start_seconds\na.mp4,x,"1,5"\n'))


def test_a_backslash_may_be_part_of_a_name(tmp_path):
    (tmp_path / "a\\b.mp4").touch()
    assert load(table(tmp_path, "path,label\na\\b.mp4,x\n")).rows[0].id == "a\\b.mp4"


def test_classes_that_are_numbers(tmp_path):
    path = table(tmp_path, "path,label\na.mp4,3.0\nb.mp4,10.0\n")
    assert load(path).labels == {"label": ["3", "10"]}
    path = table(tmp_path, "path,label\na.mp4,3.0\nb.mp4,3.5\n")
    assert load(path).labels == {"label": ["3.0", "3.5"]}
    rows = [{"path": "a.mp4", "label": 3.0}, {"path": "b.mp4", "label": 10.0}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "l.parquet")
    assert load(tmp_path / "l.parquet").labels == {"label": ["3", "10"]}


@pytest.mark.parametrize(("on_disk", "in_table"), [(NFC, NFD), (NFD, NFC)])
def test_both_forms_of_unicode_find_their_files(tmp_path, on_disk, in_table):
    stem, other = Path(in_table).stem, Path(on_disk).stem
    folder = tmp_path / other
    folder.mkdir()
    (folder / on_disk).touch()
    mixed = tmp_path / in_table.removesuffix(".mp4") / "not there.mp4"
    path = table(tmp_path, f"path,label\n{stem}/{in_table},{stem}\n{other}/{on_disk},{other}\n")
    manifest = load(path)
    assert {row.path for row in manifest.rows} == {folder / on_disk}
    assert manifest.labels == {"label": ["Vögel"]}  # one class, composed
    with pytest.raises(ValueError, match="not there.mp4' does not exist"):
        load(table(tmp_path, f"path,label\n{mixed},x\n"))


def test_doctor_finds_them_too_where_training_refuses_the_table(tmp_path):
    (tmp_path / NFD).touch()
    clips = gather(DataSettings(str(table(tmp_path, f"path,label\n{NFC},x\nb.mp4,\n"))))
    assert "label is empty" in clips.refusal
    assert clips.rows[0].path == tmp_path / NFD


def test_the_usual_spellings_of_splits(tmp_path):
    text = "path,label,split\na.mp4,x,Training\nb.mp4,x,valid\nc.mp4,x,TESTING\nsub/a.mp4,x,dev\n"
    manifest = load(table(tmp_path, text))
    assert [row.split for row in manifest.rows] == ["train", "val", "test", "val"]


@pytest.mark.parametrize("above", ["", "clips/", "deep/er/"])
def test_splits_are_those_of_the_folders_in_a_table(tmp_path, above, caplog):
    names = [f"{above}{name}" for name in ("train/1.mp4", "Valid/2.mp4", "test/x/3.mp4")]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    path = table(tmp_path, "path,label\n" + "".join(f"{name},x\n" for name in names))
    assert [row.split for row in load(path).rows] == ["train", "val", "test"]
    assert "no column split; taken from the folders Valid, test, train" in caplog.text
    path = table(tmp_path, f"path,label\n{names[0]},x\n{names[1]},x\na.mp4,x\n")
    assert {row.split for row in load(path).rows} == {""}  # not all lie in splits


def test_usual_names_of_splits_in_paths_are_those_of_folders(tmp_path):
    for names, splits in (("train eval", "train test"), ("train eval test", "train val test")):
        lines = []
        for name in names.split():
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / "1.mp4").touch()
            lines.append(f"{name}/1.mp4,x\n")
        path = table(tmp_path, "path,label\n" + "".join(lines))
        assert [row.split for row in load(path).rows] == splits.split()


def test_folders_in_a_table_that_look_like_splits_are_asked_about(tmp_path):
    for name in ("train_set/1.mp4", "test_set/2.mp4"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    path = table(tmp_path, "path,label\ntrain_set/1.mp4,x\ntest_set/2.mp4,x\n")
    with pytest.raises(ValueError, match="test_set, train_set of its clips look like splits: add"):
        load(path)
    assert {row.split for row in load(path, columns="split=").rows} == {""}


# --- several lines of one clip ------------------------------------------------------------------


def test_one_line_per_label_becomes_one_clip(tmp_path, caplog):
    text = "path,label,split\na.mp4,rain,train\nb.mp4,rain,train\na.mp4,wind,train\n"
    path = table(tmp_path, text)
    for task in ("auto", "multi"):
        manifest = load(path, task=task)
        assert found(manifest) == [("a.mp4", "rain", "wind"), ("b.mp4", "rain")]
        assert manifest.task == "multi"
    assert "1 lines are of clips that other lines name, too; each clip counts once with" in (
        caplog.text
    )
    with pytest.raises(ValueError, match="line 4: label 'wind', but at .*line 2 .*task multi give"):
        load(path, task="single")
    assert found(load(path, task="none")) == [("a.mp4",), ("b.mp4",)]


def test_lines_that_come_twice_count_once(tmp_path, caplog):
    text = "path,label,start_seconds\na.mp4,x,\nb.mp4,y,1\na.mp4,x,\na.mp4,y,2\n"
    manifest = load(table(tmp_path, text))
    assert found(manifest) == [("a.mp4", "x"), ("b.mp4#1", "y"), ("a.mp4#2", "y")]
    assert manifest.task == "single"
    assert "1 lines are of clips that other lines name, too; each clip counts once" in caplog.text
    text = "path,verb,noun\na.mp4,cut,apple\nb.mp4,cut,apple\na.mp4,cut,apple\n"
    assert [row.id for row in load(table(tmp_path, text)).rows] == ["a.mp4", "b.mp4"]


def test_doctor_sees_the_clips_that_training_sees(tmp_path):
    text = "file;class;set\nsub\\a.mp4;x;1\na.mp4;y;2\na.mp4;x;3\n"  # `set` is no split
    path = table(tmp_path, text.encode("utf-16"))
    clips = gather(DataSettings(path=str(path)))
    manifest = load(path)
    assert (clips.rows, clips.task) == (manifest.rows, "multi")
    assert "cannot be split into train, val, test" in clips.refusal
