"""Annotation files as people have them: saved again, renamed, in the siblings of a format."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import re
import tarfile
import zipfile
from pathlib import Path

import pytest
from dataset_files import CASES, put, touch

from sightsound import cli
from sightsound.data.datasets.matching import match
from sightsound.data.datasets.media_index import MediaIndex
from sightsound.data.datasets.youtube_names import spellings
from sightsound.registry import DATASETS, resolve

VIDEO = "-0RWZT-miFs"


def listed(name: str, *paths: Path, **options):
    return resolve(DATASETS, name, kind="data set")(list(paths), **options)


def clips(name: str, *paths: Path, **options):
    return list(listed(name, *paths, **options).clips)


# --- names of downloaders -----------------------------------------------------------------------

# Those of audioset-processing, DCASE, audioset-download and others, and mixtures of them.
NAMES = (
    f"{VIDEO}_30.000.wav",
    f"Y{VIDEO}_30.000_40.000.flac",
    f"{VIDEO}_30.0-40.0.wav",
    f"id_{VIDEO}.mp4",
    f"v{VIDEO}_30_40_out.mkv",
    f"{VIDEO}_30_40.webm",
    f"{VIDEO}_000030_000040.mp4",
    f"{VIDEO}_30000_40000.m4a",
    f"{VIDEO}_30.0_to_40.0.mp4",
    f"v_{VIDEO}.mp4",
    f"{VIDEO}-30-40.mp4",
    f"Y{VIDEO}_30.wav",
)


@pytest.mark.parametrize("name", NAMES)
def test_names_of_common_downloaders_are_found(tmp_path, name):
    path = put(tmp_path, "eval_segments.csv", f'{VIDEO}, 30.000, 40.000, "/m/09x0r"\n')
    media = touch(tmp_path / "media", f"x/{name}", "x/abcdefghijk_30.5.wav", "x/notes.mp4")
    (row,) = match("audioset", listed("audioset", path), MediaIndex(media)).rows
    assert (row.path.name, row.start_seconds) == (name, 0.0 if "30" in name else 30.0)


def test_the_stretch_of_another_time_is_not_taken(tmp_path):
    text = f"{VIDEO}, 30.000, 40.000, /m/09x0r\n{VIDEO}, 50.000, 60.000, /m/09x0r\n"
    path = put(tmp_path, "eval_segments.csv", text)
    media = touch(tmp_path / "media", f"Y{VIDEO}_50.000_60.000.wav")
    matched = match("audioset", listed("audioset", path), MediaIndex(media))
    assert [row.path.name for row in matched.rows] == [f"Y{VIDEO}_50.000_60.000.wav"]
    assert matched.coverage.splits["all"].found == 1


def test_spellings_give_the_names_back():
    stems = [name.rpartition(".")[0] for name in NAMES]
    given = {each.name(VIDEO, 30.0, 40.0) for each in spellings([*stems, "a", "holiday 2019"])}
    assert set(stems) <= given
    assert spellings(["a", "holiday 2019", "0001"]) == []


def test_sound_of_another_downloader(tmp_path):
    path = put(tmp_path, "vggsound.csv", f"{VIDEO},30,dog barking,train\n")
    media = touch(tmp_path / "media", f"{VIDEO}_000030.mp4")
    sound = touch(tmp_path / "sound", f"{VIDEO}_30.0-40.0.wav")
    index = MediaIndex(media), MediaIndex(sound)
    (row,) = match("vggsound", listed("vggsound", path), *index).rows
    assert (row.path.suffix, row.audio_path.name) == (".mp4", f"{VIDEO}_30.0-40.0.wav")


# --- lists that were saved again ----------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        'YTID,start_seconds,end_seconds,positive_labels\nabc,0,10,"/m/09x0r,/m/0k4j"\n',
        "# YTID,start_seconds,end_seconds,positive_labels,,\nabc,0.0,10.0,/m/09x0r,/m/0k4j,,\n",
        'abc, 0.000, 10.000, "/m/09x0r,/m/0k4j",,,\n',
        "YTID;start_seconds;end_seconds;positive_labels\r\nabc;0;10;/m/09x0r,/m/0k4j\r\n",
        "YTID\tstart_seconds\tend_seconds\tpositive_labels\nabc\t0\t10\t/m/09x0r,/m/0k4j\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_audioset_lists_saved_again(tmp_path, text, encoding):
    path = tmp_path / "balanced_train_segments.csv"
    path.write_bytes(text.encode(encoding))
    (clip,) = clips("audioset", path)
    assert (clip.id, clip.labels, clip.end_seconds) == ("abc", ("Speech", "Car"), 10.0)


def test_ids_that_a_spreadsheet_took_for_formulas(tmp_path):
    path = put(tmp_path, "train.csv", "abc,0,10,/m/09x0r\n#NAME?,0,10,/m/09x0r\n")
    with pytest.raises(ValueError, match="line 2: a spreadsheet has replaced an id by #NAME"):
        clips("audioset", path)


@pytest.mark.parametrize(
    ("name", "split"),
    [("train", "train"), ("test", "test"), ("AStest", "test"), ("vggsound_val", "val")],
)
def test_vggsound_lists_keep_the_split_of_their_name(tmp_path, name, split):
    (clip,) = clips("vggsound", put(tmp_path, f"{name}.csv", "glLQrEijrKg_000300.mp4,dog bow-wow"))
    assert (clip.id, clip.split) == ("glLQrEijrKg_000300", split)


def test_vggsound_list_of_no_split(tmp_path):
    path = put(tmp_path, "clips.csv", "glLQrEijrKg_000300.mp4,dog bow-wow\n")
    with pytest.raises(ValueError, match="clips.csv' does not tell its split; rename it"):
        clips("vggsound", path)


def test_vggsound_header_of_its_page(tmp_path):
    text = "# YouTube ID, start seconds, label, train/test split\nabc,30,dog,test\n"
    assert [clip.id for clip in clips("vggsound", put(tmp_path, "v.csv", text))] == ["abc_000030"]


# --- several labels -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "labels"),
    [
        ("some/path/000.mp4 1 3 5", ("b", "d", "f")),
        ("some/directory-1 163 1 3 5", ("b", "d", "f")),
        ("some/directory-2 122 2", ("c",)),
        ("some/path/000.wav 240 1 4", ("b", "e")),
        ("some path/a 1.mp4 0", ("a",)),
        ("some/path/000.mp4,2,0", ("c", "a")),
    ],
)
def test_multi_label_lists_of_mmaction_keep_all_labels(tmp_path, line, labels):
    names = put(tmp_path, "label_map.txt", "\n".join("abcdef"))
    (clip,) = clips("kinetics", put(tmp_path, "train_list.txt", line + "\n"), names)
    assert clip.labels == labels


def test_label_maps_as_tables_and_lists(tmp_path):
    path = put(tmp_path, "train.txt", "a/b.mp4 1\n")
    table = put(tmp_path, "kinetics_400_labels.csv", "id,name\n0,abseiling\n1,air drumming\n")
    assert clips("kinetics", path, table)[0].labels == ("air drumming",)
    names = put(tmp_path, "names.json", '["abseiling", "air_drumming"]')
    assert clips("kinetics", path, names)[0].labels == ("air drumming",)


def test_multi_moments_keeps_all_labels(tmp_path):
    put(tmp_path, "trainingSet.csv", "clapping/a_1.mp4,0,2\n")
    put(tmp_path, "validationSet.csv", "clapping/b_1.mp4,1\n")
    put(tmp_path, "moments_categories.txt", "clapping,0\nsinging,1\npraying,2\n")
    first, second = clips("moments", tmp_path)
    assert (first.labels, first.split) == (("clapping", "praying"), "train")
    assert (second.labels, second.split) == (("singing",), "val")
    with pytest.raises(ValueError, match="give its moments_categories.txt as well"):
        clips("moments", tmp_path / "trainingSet.csv")
    put(tmp_path, "trainingSet.csv", "clapping/a_1.mp4,0,3\n")
    with pytest.raises(ValueError, match="line 1: expected path and numbers of 3 classes"):
        clips("moments", tmp_path)


# --- Kinetics and ActivityNet as JSON -----------------------------------------------------------


def entry(label: str, start: float, subset: str = "train") -> dict:
    segment = [start, start + 10.0]
    url = "https://www.youtube.com/watch?v=---QUuC4vJs"
    return {
        "annotations": {"label": label, "segment": segment},
        "duration": 10.0,
        "subset": subset,
        "url": url,
    }


def test_kinetics_json_of_deepmind(tmp_path):
    content = {"---QUuC4vJs": entry("testifying", 84.0), "--GkrdYZ9Tc": entry("swimming", 0.0)}
    path = put(tmp_path, "train.json", json.dumps(content))
    test = {"-abcdefghij": {"duration": 10.0, "subset": "test", "url": ""}}
    paths = path, put(tmp_path, "test.json", json.dumps(test))
    listing = listed("kinetics", *paths)
    first, second = listing.clips
    assert (first.id, first.labels) == ("---QUuC4vJs_000084_000094", ("testifying",))
    assert (first.split, second.source) == ("train", "--GkrdYZ9Tc")
    assert listing.notes == ["1 clips of test.json have no labels and are left out"]


def test_deepminds_archive_holds_both_and_counts_once(tmp_path):
    put(tmp_path, "train.json", json.dumps({"---QUuC4vJs": entry("testifying", 84.0)}))
    put(
        tmp_path,
        "train.csv",
        "label,youtube_id,time_start,time_end,split\ntestifying,---QUuC4vJs,84,94,train\n",
    )
    assert len(clips("kinetics", tmp_path)) == 1


ACTIVITYNET = {
    "version": "VERSION 1.3",
    "taxonomy": [{"nodeId": 269, "nodeName": "Fun sliding down", "parentId": 268}],
    "database": {
        "5n7NCViB5TU": {
            "subset": "training",
            "duration": 121.44,
            "resolution": "320x240",
            "annotations": [
                {"label": "Discus throw", "segment": [24.25, 38.08]},
                {"label": "Discus throw", "segment": [-0.5, 12.0]},
            ],
        },
        "abcdefghijk": {
            "subset": "validation",
            "annotations": [{"segment": [1.0, 2.0], "label": "Discus throw"}],
        },
        "lmnopqrstuv": {"subset": "testing", "annotations": []},
    },
}


def test_activitynet(tmp_path):
    path = put(tmp_path, "activity_net.v1-3.min.json", json.dumps(ACTIVITYNET))
    listing = listed("activitynet", path)
    media = touch(tmp_path / "media", "v_5n7NCViB5TU.mp4", "v_abcdefghijk.webm")
    rows = match("activitynet", listing, MediaIndex(media)).rows
    assert [(r.id, r.labels[0], r.split, r.start_seconds, r.end_seconds) for r in rows] == [
        ("5n7NCViB5TU_24.25_38.08", "Discus throw", "train", 24.25, 38.08),
        ("5n7NCViB5TU_0_12", "Discus throw", "train", 0.0, 12.0),
        ("abcdefghijk_1_2", "Discus throw", "val", 1.0, 2.0),
    ]
    assert listing.notes[:2] == [
        "1 videos of activity_net.v1-3.min.json have no annotations and are left out",
        "1 segments begin before 0 s and are taken from 0 s on",
    ]


# --- UCF51 and CREMA-D --------------------------------------------------------------------------


@pytest.mark.parametrize("on_disk", ["v_HandStandPushups_g01_c01", "v_HandstandPushups_g01_c01"])
@pytest.mark.parametrize("spelt", ["Handstand", "HandStand"])
def test_ucf_classes_in_the_spelling_of_others(tmp_path, spelt, on_disk):
    """DI-MML's testlist001.txt has class numbers, and a small s where UCF's have a large one."""
    names = [f"{name}_g{g:02d}" for name in ("Archery", f"{spelt}Pushups") for g in (8, 9)]
    lines = [f"{name.partition('_')[0]}/v_{name}_c01.avi 1\n" for name in names]
    train = put(tmp_path, "trainlist01.txt", "".join(lines))
    test = put(tmp_path, "testlist001.txt", f"{spelt}Pushups/v_{spelt}Pushups_g01_c01.avi 2\n")
    media = touch(tmp_path / "media", f"x/{on_disk}.avi")
    listing = listed("ucf51", train, test)
    assert {clip.labels[0] for clip in listing.clips} == {"Archery", "HandstandPushups"}
    (row,) = match("ucf51", listing, MediaIndex(media)).rows
    assert (row.path.stem, row.labels, row.split) == (on_disk, ("HandstandPushups",), "test")
    assert listed("ucf101", train, test).labels["label"][1].lower() == "handstandpushups"


def test_ucf51_names_its_clips_without_sound(tmp_path):
    silent = [f"BasketballDunk_g15_c0{n}" for n in (4, 5, 6, 7)]
    silent += [f"HandStandPushups_g14_c0{n}" for n in (1, 2, 3, 4)] + ["PlayingCello_g19_c06"]
    names = [*silent, "BasketballDunk_g16_c04", "PlayingCello_g20_c01", "HandStandPushups_g15_c01"]
    lines = [f"{name.partition('_')[0]}/v_{name}.avi 1\n" for name in names]
    train = put(tmp_path, "trainlist01.txt", "".join(lines))
    test = put(tmp_path, "testlist01.txt", "PlayingCello/v_PlayingCello_g01_c01.avi\n")
    (note,) = listed("ucf51", train, test).notes[1:]
    assert note == f"9 clips have no sound track: {', '.join(f'v_{name}' for name in silent)}"


def test_cremad_lists_of_joint_training(tmp_path):
    """OGM-GE: train.csv and test.csv without header, stat.csv with the order of its classes."""
    put(tmp_path, "train.csv", "1056_DFA_FEA_XX,FEA\n1012_IEO_SAD_HI,SAD\n")
    put(tmp_path, "test.csv", "1056_ITS_HAP_XX,HAP\n")
    put(tmp_path, "stat.csv", "NEU\nHAP\nSAD\nFEA\nDIS\nANG\n")
    paths = [tmp_path / name for name in ("train.csv", "test.csv", "stat.csv")]
    listing = listed("cremad", *paths)
    assert listing.labels == {"label": ["neutral", "happy", "sad", "fear", "disgust", "anger"]}
    found = [(clip.id, clip.labels, clip.split, clip.group) for clip in listing.clips]
    assert found == [
        ("1056_DFA_FEA_XX", ("fear",), "train", ""),
        ("1012_IEO_SAD_HI", ("sad",), "train", ""),
        ("1056_ITS_HAP_XX", ("happy",), "test", ""),
    ]
    assert listing.notes == ["test.csv, train.csv name the split, not by actor"]


@pytest.mark.parametrize(
    "text",
    [
        '"","FileName","VoiceVote"\n"1","1001_IEO_NEU_XX","N"\n',  # summaryTable
        '"","A","D","fileName","emoVote"\n"100001",0,0,"1001_IEO_NEU_XX","N"\n',  # tabulatedVotes
        '"","localid","clipName","respEmo"\n"1","1-1","1001_IEO_NEU_XX","N"\n',  # finishedResponses
        "Stimulus_Number,Filename\n1,1001_IEO_NEU_XX.flv\n",
        "1001_IEO_NEU_XX.wav\n",
    ],
)
def test_cremad_tables_of_its_repository(tmp_path, text):
    (clip,) = clips("cremad", put(tmp_path, "table.csv", text))
    assert (clip.id, clip.labels, clip.group) == ("1001_IEO_NEU_XX", ("neutral",), "1001")


# --- what is refused in one sentence ------------------------------------------------------------


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-3", "NaN", "1e999", "00:nan:01"])
@pytest.mark.parametrize(
    ("name", "file", "text"),
    [
        ("audioset", "train.csv", "abc, {}, 10.000, /m/09x0r\n"),
        ("vggsound", "vggsound.csv", "abc,{},dog,train\n"),
        (
            "kinetics",
            "train.csv",
            "label,youtube_id,time_start,time_end,split\nx,abc,{},10,train\n",
        ),
    ],
)
def test_times_that_are_no_times(tmp_path, name, file, text, value):
    path = put(tmp_path, file, text.format(value))
    with pytest.raises(ValueError, match=rf"line \d: '{value}'.*: no times in seconds"):
        clips(name, path)


def test_times_in_json_that_are_no_times(tmp_path):
    content = '{"abc": {"annotations": {"label": "x", "segment": [NaN, 10]}, "subset": "train"}}'
    with pytest.raises(ValueError, match="train.json, 'abc': 'nan', '10': no times in seconds"):
        clips("kinetics", put(tmp_path, "train.json", content))


@pytest.mark.parametrize(
    ("name", "file", "text"),
    [
        ("audioset", "train.csv", 'abc, 0, 10, ""\n'),
        ("vggsound", "vggsound.csv", "abc,0,,train\n"),
        ("vggsound", "test.csv", "abc_000001.mp4,\n"),
        ("kinetics", "train.csv", "label,youtube_id,time_start,time_end,split\n,abc,0,10,train\n"),
        ("moments", "trainingSet.csv", "clapping/a.mp4,,3,0\n"),
        ("ave", "trainSet.txt", "&abc&good&0&10\n"),
        ("huggingface", "metadata.jsonl", '{"file_name": "a.mp4", "label": " "}\n'),
        ("huggingface", "metadata.jsonl", '{"file_name": "a.mp4", "label": {"id": 3}}\n'),
        ("cavmae", "train.json", '{"data": [{"wav": "a.wav", "labels": ""}]}'),
    ],
)
def test_empty_labels(tmp_path, name, file, text):
    with pytest.raises(ValueError, match=r"(label|labels)\b.*(empty|no label|accepted|remove)"):
        clips(name, put(tmp_path, file, text))


@pytest.mark.parametrize("content", ["[]", "3", '"a"', "null", "{}", '{"a": {"b": 1}}', "[[1]]"])
@pytest.mark.parametrize(
    "name", ["kinetics", "activitynet", "cavmae", "huggingface", "label-studio", "fiftyone"]
)
def test_foreign_json_is_one_sentence(tmp_path, capsys, name, content):
    file = "metadata.jsonl" if name == "huggingface" else "train.json"
    path = put(tmp_path, file, content)
    media = touch(tmp_path / "media", "a.mp4")
    argv = [name, path, "--media", media, "--output", tmp_path / "m.csv"]
    assert cli.main(["manifest", *map(str, argv)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "Traceback" not in said and file in said


def packed(kind: str) -> bytes:
    text = b"abc, 0.000, 10.000, /m/09x0r\n"
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("train.csv", text)
    elif kind == "tar":
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("train.csv"))
    elif kind == "parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.table({"a": [1]}), buffer)
    return buffer.getvalue() or {"gz": gzip.compress(text), "pkl": pickle.dumps([1, 2])}[kind]


@pytest.mark.parametrize("kind", ["gz", "zip", "pkl", "parquet", "tar"])
@pytest.mark.parametrize("name", sorted({*CASES} - {"webdataset", "huggingface-parquet"}))
def test_packed_files_are_one_sentence(tmp_path, capsys, name, kind):
    path = tmp_path / f"train.{'json' if name == 'cavmae' else 'csv'}"
    path.write_bytes(packed(kind))
    media = touch(tmp_path / "media", "a.mp4")
    argv = [name, path, "--media", media, "--output", tmp_path / "m.csv"]
    assert cli.main(["manifest", *map(str, argv)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "Traceback" not in said and path.name in said
    kinds = "gzip|ZIP archive|pickle|Parquet table|tar archive"
    assert re.search(rf"train\.\w+' is (compressed with |an? )({kinds})", said)
