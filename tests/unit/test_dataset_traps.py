"""Traps of official annotation files, one by one; the files as such are in dataset_files.py."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path

import dataset_files as files
import pytest
from dataset_files import put, touch

from sightsound.data.datasets.classes import class_names
from sightsound.data.datasets.coverage import ALL
from sightsound.data.datasets.listing import (
    annotation_files,
    csv_rows,
    file_split,
    split_named,
    text_lines,
)
from sightsound.data.datasets.matching import Matched, match
from sightsound.data.datasets.media_index import MediaIndex
from sightsound.registry import DATASETS, resolve


def listed(name: str, *paths: Path, **options):
    return resolve(DATASETS, name, kind="data set")(list(paths), **options)


def clips(name: str, *paths: Path, **options):
    return list(listed(name, *paths, **options).clips)


def rows(name: str, case: files.Case, **options) -> Matched:
    return match(name, listed(name, *case.paths, **options), MediaIndex(case.media))


# --- what all share -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("unbalanced_train_segments", "train"),
        ("eval_segments", "test"),
        ("EPIC_100_validation", "val"),
        ("trainingSet", "train"),
        ("testlist02", "test"),
        ("kinetics400_val_list_videos", "val"),
        ("validate", "val"),
        ("AStest", "test"),
        ("KineticsVal", "val"),
        ("TRAIN_LIST", "train"),
        ("CONSTRAINTS", ""),
        ("medieval", ""),
        ("constraints", ""),
        ("latest", ""),
    ],
)
def test_spellings_of_splits(name, split):
    assert split_named(name) == split


def test_a_file_name_without_a_split_is_refused(tmp_path):
    with pytest.raises(ValueError, match="does not tell its split; rename it so that it holds tr"):
        file_split(tmp_path / "segments.csv")


def test_folders_stand_for_the_files_in_them(tmp_path):
    touch(tmp_path, "TrainSet.txt", "valSet.txt", "notes.txt", "sub/testSet.txt")
    names = [file.name for file in annotation_files([tmp_path], "*Set.txt")]
    assert names == ["TrainSet.txt", "valSet.txt"]
    found = annotation_files([tmp_path, tmp_path / "valSet.txt"], "*/*Set.txt")
    assert [file.name for file in found] == ["testSet.txt", "valSet.txt"]
    with pytest.raises(FileNotFoundError, match="holds no annotation file; looked for a.csv, b.c"):
        annotation_files([tmp_path], "a.csv", "b.csv")
    with pytest.raises(FileNotFoundError, match="Did you mean '.*valSet.txt'"):
        annotation_files([tmp_path / "valSet.text"], "*")


# --- AudioSet -----------------------------------------------------------------------------------


def test_audioset_blanks_quotes_and_dashes(tmp_path):
    first, second, third = clips("audioset", put(tmp_path, "eval_segments.csv", files.EVAL_CSV))
    assert (first.id, first.split) == ("-0RWZT-miFs", "test")
    assert (first.start_seconds, first.end_seconds) == (420.0, 430.0)
    assert first.labels == ("Keys jangling", "Car")
    assert second.labels[0] == "Domestic animals, pets" and len(second.labels) == 4
    assert third.labels[2] == "Baby laughter"


@pytest.mark.parametrize("text", ["/m/09x0r,/m/0k4j", '"""/m/09x0r","/m/0k4j"""'])
def test_audioset_labels_mangled_by_others(tmp_path, text):
    path = put(tmp_path, "train.csv", f"abc, 0.000, 10.000, {text}\n")
    assert clips("audioset", path)[0].labels == ("Speech", "Car")


def test_audioset_classes_in_the_official_order(tmp_path):
    path = put(tmp_path, "eval_segments.csv", files.EVAL_CSV)
    assert listed("audioset", path).labels == {"label": class_names("audioset")}
    table = put(tmp_path, "class_labels_indices.csv", 'index,mid,display_name\n0,/m/0,"A, b"\n')
    short = put(tmp_path, "t/eval.csv", "abc, 0.000, 10.000, /m/0\n")
    listing = listed("audioset", short, table)
    assert (listing.labels, next(iter(listing.clips)).labels) == ({"label": ["A, b"]}, ("A, b",))
    with pytest.raises(
        ValueError, match="line 4: unknown label '/m/03v3yw'; give the class_labels"
    ):
        clips("audioset", path, table)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("abc, 0.000, 10.000", "train.csv, line 1: expected YTID, start_seconds, end_seconds, la"),
        ("abc, zero, 10.000, /m/09x0r", "train.csv, line 1: 'zero', '10.000': no times in seconds"),
    ],
)
def test_audioset_wrong_lines(tmp_path, line, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        clips("audioset", put(tmp_path, "train.csv", line))


def test_class_table_with_a_gap(tmp_path):
    table = put(tmp_path, "class_labels_indices.csv", "index,mid,display_name\n1,/m/0,A\n")
    with pytest.raises(ValueError, match="line 2: expected index 0, an id and a name"):
        listed("audioset", table)


def test_files_that_are_no_text(tmp_path):
    (tmp_path / "train.csv").write_bytes(b"abc, 0, 10, Caf\xe9")
    with pytest.raises(ValueError, match="train.csv' is not a CSV table in UTF-8: "):
        clips("audioset", tmp_path / "train.csv")
    (tmp_path / "trainSet.txt").write_bytes(b"Caf\xe9&a&good&0&10")
    with pytest.raises(ValueError, match="trainSet.txt' is not text in UTF-8: "):
        clips("ave", tmp_path / "trainSet.txt")


def test_byte_order_marks_and_blanks_before_quotes(tmp_path):
    path = put(tmp_path, "a.csv", '\ufeffa,b\r\n\r\n1 , "x, y"\r\n')
    assert list(csv_rows(path)) == [(1, ["a", "b"]), (3, ["1", "x, y"])]
    assert list(text_lines(path))[0] == (1, "a,b")


def test_every_name_in_use_is_found(tmp_path):
    path = put(tmp_path, "train.csv", "-a, 30.000, 40.000, /m/09x0r\n")
    for name in ("Y-a.wav", "-a.flac", "-a_000030.mp4", "-a_30_40.mkv", "-a_30000_40000.webm"):
        touch(tmp_path / name, f"deep/er/{name}")
        (row,) = match("a", listed("audioset", path), MediaIndex(tmp_path / name)).rows
        assert row.path == tmp_path / name / "deep" / "er" / name


# --- VGGSound -----------------------------------------------------------------------------------


def test_vggsound_has_no_header(tmp_path):
    first, _, third, _ = clips("vggsound", put(tmp_path, "vggsound.csv", files.VGGSOUND_CSV))
    assert (first.id, first.labels, first.split) == (
        "---g-f_I2yQ_000001",
        ("people marching",),
        "test",
    )
    assert (first.start_seconds, first.end_seconds) == (1.0, 11.0)
    assert third.labels == ("female speech, woman speaking",)


def test_vggsound_test_list_and_order_of_classes(tmp_path):
    path = put(tmp_path, "test.csv", "gl_QrEijrKg_000300.mp4,playing hammond organ\n")
    (clip,) = clips("vggsound", path)
    assert (clip.id, clip.source, clip.start_seconds) == ("gl_QrEijrKg_000300", "gl_QrEijrKg", 300)
    assert (clip.labels, clip.split) == (("playing hammond organ",), "test")
    stat = put(tmp_path, "stat.csv", "playing hammond organ,1049,music\nair horn,197")
    assert listed("vggsound", path, stat).labels == {"label": ["playing hammond organ", "air horn"]}
    assert listed("vggsound", path).labels is None


def test_vggsound_header_is_skipped_and_other_lines_refused(tmp_path):
    text = "youtube_id,start_seconds,label,split\n" + files.VGGSOUND_CSV
    assert len(clips("vggsound", put(tmp_path, "vggsound.csv", text))) == 4
    text = text.replace("\n", ",,\n")  # a spreadsheet's commas at the end
    assert len(clips("vggsound", put(tmp_path, "vggsound.csv", text))) == 4
    with pytest.raises(ValueError, match="line 5: expected youtube_id,start_seconds,label,split"):
        clips("vggsound", put(tmp_path, "bad.csv", files.VGGSOUND_CSV + "a,b\n"))


# --- EPIC-KITCHENS ------------------------------------------------------------------------------


def test_epic_reads_columns_by_name_and_times(tmp_path):
    case = files.epic_kitchens(tmp_path)
    first, second, third = clips("epic-kitchens", *case.paths)
    assert first.labels == {"verb": "open", "noun": "door"}
    assert (second.labels, second.source) == ({"verb": "take", "noun": "knife"}, "P01_01")
    assert (second.start_seconds, second.end_seconds) == (64.37, 3606.175)
    assert (third.id, third.split) == ("P02_03_0", "val")


def test_epic_rows_are_parts_of_one_video(tmp_path):
    case = files.epic_kitchens(tmp_path)
    matched = rows("epic-kitchens", case)
    video = case.media / "P01" / "videos" / "P01_01.MP4"
    assert [(row.path, row.start_seconds) for row in matched.rows] == [
        (video, 0.14),
        (video, 64.37),
    ]
    assert matched.labels == {"verb": ["take", "put", "open"], "noun": ["knife", "door"]}


def test_epic_needs_the_names_of_classes_and_labels(tmp_path):
    train = put(tmp_path, "EPIC_100_train.csv", files.EPIC_TRAIN)
    with pytest.raises(FileNotFoundError, match="EPIC_100_verb_classes.csv is needed for the name"):
        listed("epic-kitchens", train)
    put(tmp_path, "EPIC_100_verb_classes.csv", files.VERBS)
    put(tmp_path, "EPIC_100_noun_classes.csv", files.NOUNS.replace("\n1,", "\n7,"))
    with pytest.raises(ValueError, match="line 3: expected id 1, found '7'"):
        listed("epic-kitchens", train)
    put(tmp_path, "EPIC_100_noun_classes.csv", files.NOUNS.rpartition("\n1,")[0])
    with pytest.raises(ValueError, match="train.csv, line 2: noun_class '1' of 1 classes"):
        clips("epic-kitchens", train)
    header = (
        "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp"
    )
    test = put(tmp_path, "EPIC_100_test_timestamps.csv", f"{header}\nP01_11_0,P01,P01_11,0,0,1\n")
    with pytest.raises(ValueError, match="no columns verb_class and noun_class: it is the list of"):
        clips("epic-kitchens", test)
    with pytest.raises(
        ValueError, match="column 'narration_id' is missing; its first line is 'a,b"
    ):
        clips("epic-kitchens", put(tmp_path, "x_train.csv", "a,b\n1,2\n"))


# --- Kinetics -----------------------------------------------------------------------------------


def test_kinetics_tables_with_and_without_is_cc(tmp_path):
    case = files.kinetics(tmp_path)
    listing = listed("kinetics", *case.paths)
    found = list(listing.clips)
    assert found[0].id == "---QUuC4vJs_000084_000094"
    assert (found[0].labels, found[4].split) == (("testifying",), "val")
    assert listing.notes == ["test.csv has no labels and is left out"]


LISTS = {
    "k400_train_list_videos.txt": "dancing ballet/a b_000000_000010.mp4 1\ntestifying/c.mp4 0\n",
    "k400_val_list_rawframes.txt": "dancing ballet/d_000000_000010 300 1\n",
    "k400_test_list_audio.txt": "testifying/e.npy 240 0\n",
}
LABEL_MAP = "testifying\ndancing_ballet\nhigh jump\n"


def test_lists_of_pyslowfast_and_mmaction(tmp_path):
    paths = [put(tmp_path, name, text) for name, text in LISTS.items()]
    label_map = put(tmp_path, "label_map_k400.txt", LABEL_MAP)
    media = tmp_path / "media"
    touch(media, "train/dancing ballet/a b_000000_000010.mp4", "testifying/c.webm")
    touch(media, "dancing ballet/d_000000_000010.mp4", "testifying/e.wav")
    listing = listed("kinetics", *paths, label_map)
    matched = match("kinetics", listing, MediaIndex(media))
    assert [(row.id, *row.labels, row.split) for row in matched.rows] == [
        ("dancing ballet/a b_000000_000010", "dancing ballet", "train"),
        ("testifying/c", "testifying", "train"),
        ("dancing ballet/d_000000_000010", "dancing ballet", "val"),
        ("testifying/e", "testifying", "test"),
    ]
    assert matched.labels == {"label": ["testifying", "dancing ballet", "high jump"]}
    as_json = put(tmp_path, "classids.json", '{"\\"high jump\\"": 1, "testifying": 0}')
    assert listed("kinetics", paths[2], as_json).labels == {"label": ["testifying", "high jump"]}


def test_lists_without_a_label_map(tmp_path):
    listing = listed("kinetics", put(tmp_path, "train.csv", "/nowhere/a.mp4 2\nb.mp4 0\n"))
    assert [clip.labels for clip in listing.clips] == [("class_002",), ("class_000",)]
    assert listing.labels == {"label": ["class_000", "class_001", "class_002"]}
    assert listing.notes == [
        "classes have numbers for names; a label map, given as well, names them"
    ]


def test_a_list_is_not_matched_by_a_clip_of_another_class(tmp_path):
    """001.mp4 of one class folder is not that of another; a YouTube id is the same anywhere."""
    path = put(tmp_path, "train.txt", "dog/001.mp4 0\ncat/001.mp4 1\nx/abcdefghijk.mp4 1\n")
    media = touch(tmp_path / "media", "cat/001.mp4", "flat/abcdefghijk.mp4")
    matched = match("kinetics", listed("kinetics", path), MediaIndex(media))
    assert [row.id for row in matched.rows] == ["cat/001", "x/abcdefghijk"]


def test_list_with_paths_of_this_machine(tmp_path):
    media = touch(tmp_path / "media", "else.mp4")
    here = touch(tmp_path / "here", "x/001.mp4") / "x" / "001.mp4"
    path = put(tmp_path, "train.csv", f"{here} 0\n")
    assert match("k", listed("kinetics", path), MediaIndex(media)).rows[0].path == here


def test_list_lines_that_are_wrong(tmp_path):
    label_map = put(tmp_path, "label_map.txt", LABEL_MAP)
    path = put(tmp_path, "train.txt", "a.mp4 0\nb.mp4 3\n")
    with pytest.raises(ValueError, match="line 2: expected a path and one of 3 class numbers"):
        clips("kinetics", path, label_map)
    with pytest.raises(ValueError, match="x.json' is not JSON: "):
        listed("kinetics", path, put(tmp_path, "x.json", "{"))


@pytest.mark.parametrize("number", [31, 32, 34])
def test_kinetics_sounds_lists_by_name(tmp_path, number):
    case = files.kinetics(tmp_path)
    listing = listed(f"kinetics-sounds-{number}", *case.paths)
    labels = [clip.labels[0] for clip in listing.clips]
    guitars = ["strumming guitar"] if number == 32 else []
    assert labels == [*guitars, "tapping guitar"]
    assert listing.labels == {"label": class_names(f"kinetics-sounds-{number}")}
    assert f"classes: list kinetics-sounds-{number} (" in listing.notes[0]


# --- Moments in Time ----------------------------------------------------------------------------


def test_moments_order_of_classes_and_equal_names_in_two_folders(tmp_path):
    case = files.moments(tmp_path)
    matched = rows("moments", case)
    assert matched.labels == {"label": ["clapping", "adult+female+singing", "praying"]}
    path = case.media / "validation" / "clapping" / "flickr-0-2-8_1.mp4"
    assert matched.rows[1].path == path


def test_moments_wrong_lines(tmp_path):
    path = put(tmp_path, "trainingSet.csv", "filename,label\nclapping/a.mp4,clapping,3,0\nb\n")
    with pytest.raises(ValueError, match="line 3: expected path,label,agreements,disagreements"):
        clips("moments", path)
    with pytest.raises(ValueError, match="line 1: expected label,index"):
        listed("moments", put(tmp_path, "moments_categories.txt", "clapping\n"))


# --- AVE ----------------------------------------------------------------------------------------


def test_ave_header_commas_and_whole_videos(tmp_path):
    path = put(tmp_path, "Annotations.txt", files.AVE_HEADER + files.AVE_TRAIN)
    listing = listed("ave", path)
    found = list(listing.clips)
    assert [clip.labels[0] for clip in found] == listing.labels["label"]
    assert found[1].labels == ("Male speech, man speaking",)
    assert {(clip.start_seconds, clip.end_seconds) for clip in found} == {(0.0, None)}
    assert (found[0].split, found[0].group) == ("", "RUhOCu3LNXM")
    assert listing.notes == ["the label is that of the whole video; 1 events of 0 s"]


def test_ave_files_named_by_the_whole_line(tmp_path):
    case = files.ave(tmp_path)
    paths = {row.id: row.path.name for row in rows("ave", case).rows}
    assert paths["Male speech, man speaking&-p0bpEJcmnE&good&0&0"].endswith("&good&0&0.mp4")
    assert paths["Church bell&RUhOCu3LNXM&good&0&10"] == "RUhOCu3LNXM.mp4"


def test_ave_videos_in_two_splits_are_reported(tmp_path):
    matched = rows("ave", files.ave(tmp_path))
    assert matched.coverage.shared == {
        "train, val": ["VWi2ENBuTbw"],
        "train, test": ["RUhOCu3LNXM"],
    }
    assert "videos in both train and test: 1: RUhOCu3LNXM" in matched.coverage.text()


def ave_lists(folder: Path) -> Path:
    """As many lines as the official lists, with as many videos in two splits."""
    train = [f"A&t{i:04d}&good&0&10" for i in range(3339)]
    val = [f"B&t{i:04d}&good&0&10" for i in range(10)]
    val += [f"A&v{i:04d}&good&0&10" for i in range(392)]
    test = [f"B&t{i:04d}&good&0&10" for i in range(100, 108)]
    test += [f"A&s{i:04d}&good&0&10" for i in range(394)]
    for name, lines in (("train", train), ("val", val), ("test", test)):
        put(folder, f"{name}Set.txt", "\n".join(lines))
    return folder


@pytest.mark.parametrize("test_list", [402, 394])
def test_ave_has_two_test_lists(tmp_path, test_list):
    media = touch(tmp_path / "media", "t0000.mp4")
    listing = listed("ave", ave_lists(tmp_path / "lists"), test_list=test_list)
    coverage = match("ave", listing, MediaIndex(media)).coverage
    numbers = [coverage.splits[split].listed for split in ("train", "val", "test")]
    assert numbers == [3339, 402, test_list]
    assert len(coverage.shared["train, val"]) == 10
    assert len(coverage.shared.get("train, test", [])) == test_list - 394
    said = "--test_list 394: 8 test lines are left out whose video is in train; 394 are left"
    assert (said in coverage.notes) == (test_list == 394)


def test_ave_wrong_line(tmp_path):
    path = put(tmp_path, "trainSet.txt", files.AVE_TRAIN + "Church bell,abc\n")
    with pytest.raises(ValueError, match="line 4: expected Category&VideoID&Quality&StartTime&En"):
        clips("ave", path)


# --- UCF101 -------------------------------------------------------------------------------------


def test_ucf_validation_never_splits_a_group(tmp_path):
    case = files.ucf101(tmp_path)
    found = clips("ucf101", *case.paths)
    groups = defaultdict(set)
    for clip in found:
        groups[clip.group].add(clip.split)
    assert all(len(splits) == 1 for splits in groups.values())
    for name in files.UCF_CLASSES:
        own = [splits for group, splits in groups.items() if group.startswith(f"{name}/")]
        assert (own.count({"val"}), own.count({"train"}), own.count({"test"})) == (2, 16, 7)
    again = clips("ucf101", *case.paths)
    assert found == again != clips("ucf101", *case.paths, seed=1)


def test_ucf_folds_and_order_of_classes(tmp_path):
    case = files.ucf101(tmp_path)
    listing = listed("ucf101", *case.paths)
    assert listing.labels == {"label": files.UCF_CLASSES}
    assert listing.notes == ["official split 1; 10% of each class's groups held out, seed 0"]
    with pytest.raises(
        ValueError, match="trainlist03.txt and testlist03.txt are needed for --fold"
    ):
        listed("ucf101", *case.paths, fold=3)
    with pytest.raises(ValueError, match="'ApplyEyeMakeup' has only one clip and cannot be split"):
        listed("ucf101", *case.paths, fold=2)


def test_ucf_class_numbers_may_be_missing(tmp_path):
    """HammerThrow comes after Hammering in classInd.txt: small and capital letters are equal."""
    lines = [f"{c}/v_{c}_g{g:02d}_c01.avi" for c in ("Hammering", "HammerThrow") for g in (8, 9)]
    train = put(tmp_path, "trainlist01.txt", "\n".join(f"{line} 1" for line in lines))
    test = put(tmp_path, "testlist01.txt", lines[0].replace("g08", "g01"))
    assert listed("ucf101", train, test).labels == {"label": ["Hammering", "HammerThrow"]}


def test_ucf_names_of_files_spelt_otherwise(tmp_path):
    case = files.ucf101(tmp_path)
    folder = case.media / "HandstandPushups"
    for file in folder.iterdir():
        file.rename(folder / file.name.replace("HandStand", "Handstand"))
    assert len(rows("ucf101", case).rows) == len(case.found)


def test_ucf51_is_the_part_with_sound(tmp_path):
    from sightsound.data.datasets.ucf101 import UCF51

    assert len(UCF51) == len(set(UCF51)) == 51 and UCF51 == sorted(UCF51, key=str.lower)
    listing = listed("ucf51", *files.ucf101(tmp_path).paths)
    assert {clip.labels[0] for clip in listing.clips} == {"ApplyEyeMakeup", "HandstandPushups"}
    assert listing.labels == {"label": UCF51}


def test_ucf_wrong_lines(tmp_path):
    case = files.ucf101(tmp_path)
    put(case.paths[0], "classInd.txt", "0 ApplyEyeMakeup\n")
    with pytest.raises(ValueError, match="classInd.txt, line 1: expected 1 and a class name"):
        listed("ucf101", *case.paths)
    put(case.paths[0], "trainlist01.txt", "ApplyEyeMakeup/clip.avi 1\n")
    with pytest.raises(ValueError, match="line 1: expected <class>/v_<class>_gNN_cNN.avi"):
        listed("ucf101", *case.paths)


# --- CREMA-D ------------------------------------------------------------------------------------


def test_cremad_reads_names_and_groups_by_actor(tmp_path):
    case = files.cremad(tmp_path)
    matched = rows("cremad", case)
    first = matched.rows[0]
    assert (first.id, first.labels, first.group) == ("1001_IEO_ANG_XX", ("anger",), "1001")
    assert (first.path.suffix, first.audio_path.suffix) == (".flv", ".wav")
    assert matched.labels["label"] == ["anger", "disgust", "fear", "happy", "neutral", "sad"]
    assert matched.coverage.splits[""].listed == 60
    assert "no official split" in matched.coverage.notes[0]


def test_cremad_without_its_list(tmp_path):
    case = files.cremad(tmp_path)
    found = clips("cremad", case.media / "VideoFlash")
    assert [clip.id for clip in found] == sorted(case.found)


def test_cremad_other_names(tmp_path):
    path = put(tmp_path, "SentenceFilenames.csv", 'Stimulus_Number,Filename\n1,"1001_DFA_JOY_XX"\n')
    with pytest.raises(ValueError, match="line 2: '1001_DFA_JOY_XX' is no name such as 1001_DFA_A"):
        clips("cremad", path)


# --- CAV-MAE ------------------------------------------------------------------------------------


def test_cavmae_pictures_sound_and_names(tmp_path):
    case = files.cavmae(tmp_path)
    first, last = rows("cavmae", case).rows
    assert (first.path.name, first.audio_path.name) == ("--PJHxphWEs.mp4", "--PJHxphWEs.flac")
    assert (first.labels, first.split) == (("Speech", "Gush"), "train")
    assert (last.path.name, last.audio_path, last.split) == ("Y-0RWZT-miFs.wav", None, "test")


def test_cavmae_sound_at_its_own_path(tmp_path):
    media = touch(tmp_path / "media", "abc.mp4")
    sound = touch(tmp_path / "else", "abc.wav") / "abc.wav"
    entry = {"video_id": "abc", "wav": str(sound), "labels": "/m/09x0r"}
    path = put(tmp_path, "train.json", json.dumps({"data": [entry]}))
    (row,) = match("cavmae", listed("cavmae", path), MediaIndex(media)).rows
    assert (row.path, row.audio_path) == (media / "abc.mp4", sound)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "train.json' is not JSON: "),
        ("[]", 'expected {"data": [...]} with video_id, wav and labels'),
        ('{"data": [{"wav": "a"}]}', "train.json, data[0]: expected video_id, wav and labels"),
        ('{"data": [3]}', "train.json, data[0]: expected video_id, wav and labels"),
        ('{"data": [{"wav": "a", "labels": "/m/x"}]}', "data[0]: unknown label '/m/x'; give the c"),
    ],
)
def test_cavmae_wrong_files(tmp_path, text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        clips("cavmae", put(tmp_path, "train.json", text))


# --- Hugging Face -------------------------------------------------------------------------------


def test_huggingface_splits_by_folder_and_equal_names(tmp_path):
    case = files.huggingface(tmp_path)
    for paths in (case.paths, [case.media]):
        matched = match("huggingface", listed("huggingface", *paths), MediaIndex(case.media))
        found = {row.id: row.path.relative_to(case.media).as_posix() for row in matched.rows}
        assert found == {name: f"{name}.mp4" for name in case.found}
    assert matched.labels == {"label": ["cat, tabby", "dog"]}


def test_huggingface_columns(tmp_path):
    lines = [
        {
            "video_file_name": "a.mp4",
            "audio_file_name": "a.wav",
            "labels": [3, 10],
            "split": "validation",
        },
        {"file_name": "b.mp4", "labels": [10, 10], "split": "train"},
    ]
    media = tmp_path / "my-test-videos"  # is no split
    path = put(media, "metadata.jsonl", "\n".join(map(json.dumps, lines)))
    touch(media, "a.mp4", "a.wav", "b.mp4")
    matched = match("huggingface", listed("huggingface", path), MediaIndex(media))
    first, second = matched.rows
    assert (first.id, first.path.name, first.audio_path.name) == ("a", "a.mp4", "a.wav")
    assert first.split == "val"
    assert (first.labels, second.labels, second.split) == (("3", "10"), ("10",), "train")
    assert matched.labels == {"label": ["3", "10"]}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "metadata.csv",
            "file_name,text\na.mp4,x\n",
            "line 2: expected file_name and label, labels",
        ),
        ("metadata.csv", "file_name,label\na.mp4\n", "line 2: 1 cells but 2 columns"),
        ("metadata.jsonl", '{"label": "x"}\n', "line 1: expected file_name and label"),
        ("metadata.jsonl", "[1]\n", "line 1: expected an object with file_name and label"),
        ("metadata.jsonl", "{\n", "line 1: not JSON: "),
    ],
)
def test_huggingface_wrong_files(tmp_path, name, text, message):
    with pytest.raises(ValueError, match=message):
        clips("huggingface", put(tmp_path, name, text))


def test_some_clips_with_a_split_and_some_without(tmp_path):
    case = files.huggingface(tmp_path)
    put(case.media, "metadata.csv", "file_name,label\ntest/a.mp4,dog\n")
    with pytest.raises(ValueError, match="clip 'test/a' has no split, but '.*' is in t"):
        match("huggingface", listed("huggingface", case.media), MediaIndex(case.media))


def test_totals_are_those_of_the_list(tmp_path):
    coverage = rows("audioset", files.audioset(tmp_path)).coverage
    assert (coverage.splits[ALL].listed, coverage.splits["train"].found) == (5, 2)
