"""Labels that users bring: VGGSounder, EPIC-Sounds, LLP, plain lists, Label Studio, FiftyOne."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path

import dataset_files as files
import pytest
from dataset_files import put, touch

from sightsound.data.datasets.matching import match
from sightsound.data.datasets.media_index import MediaIndex
from sightsound.registry import DATASETS, resolve


def listed(name: str, *paths: Path):
    return resolve(DATASETS, name, kind="data set")(list(paths))


def clips(name: str, *paths: Path):
    return list(listed(name, *paths).clips)


def found(name: str, media: Path, *paths: Path):
    return match(name, listed(name, *paths), MediaIndex(media))


# --- VGGSounder, EPIC-Sounds, LLP ---------------------------------------------------------------


def test_vggsounder_has_all_labels_of_a_clip(tmp_path):
    listing = listed("vggsounder", put(tmp_path, "vggsounder.csv", files.VGGSOUNDER_CSV))
    first, second = listing.clips
    assert (first.id, first.source, first.start_seconds) == ("--i-y1v8Hy8_000000", "--i-y1v8Hy8", 0)
    assert (first.split, first.labels) == ("test", ("child singing", "child speech, kid speaking"))
    assert (second.start_seconds, second.end_seconds) == (30.0, 40.0)
    assert second.labels == ("baby laughter", "people belly laughing")
    assert listing.notes == ["labels of all modalities are read: 1 A, 2 AV, 1 V"]


def test_vggsounder_order_of_classes(tmp_path):
    path = put(tmp_path, "vggsounder.csv", files.VGGSOUNDER_CSV)
    classes = put(tmp_path, "classes.csv", 'index,mid,display_name\n0,vgg_0,"b, c"\n1,vgg_1,a\n')
    assert listed("vggsounder", path, classes).labels == {"label": ["b, c", "a"]}
    stat = put(tmp_path, "stat.csv", "playing harp,10,music\nrapping,20,music\n")
    assert listed("vggsounder", path, stat).labels == {"label": ["playing harp", "rapping"]}


def test_vggsounder_rows_of_one_clip_need_not_lie_together(tmp_path):
    text = (
        "video_id,label,modality\nabc_000001,a,A\nxyz_000002,a,V\nabc_000001,b,V\nabc_000001,a,V\n"
    )
    first, second = clips("vggsounder", put(tmp_path, "v.csv", text))
    assert (first.labels, second.labels) == (("a", "b"), ("a",))


def test_epic_sounds_parts_of_untrimmed_videos_and_order_of_classes(tmp_path):
    case = files.epic_sounds(tmp_path)
    matched = found("epic-sounds", case.media, *case.paths)
    row = matched.rows[2]
    assert (row.id, row.path.name, row.labels) == ("P01_01_3", "P01_01.MP4", ("human",))
    assert (row.start_seconds, row.end_seconds) == (21.163, 3621.783)
    assert matched.labels == {"label": ["metal-only collision", "rustle", "human"]}
    splits = matched.coverage.splits
    assert (splits["train"].listed, splits["val"].listed) == (3, 3)


def test_epic_sounds_wrong_lists(tmp_path):
    text = "annotation_id,participant_id,video_id,start_timestamp,stop_timestamp\na,P,v,0,1\n"
    with pytest.raises(ValueError, match="no columns class and class_id: it is the list of a test"):
        listed("epic-sounds", put(tmp_path, "EPIC_Sounds_recognition_test_timestamps.csv", text))
    text = files.EPIC_SOUNDS_TRAIN.replace("human,2", "human,1")
    with pytest.raises(ValueError, match="line 4: class_id '1' of 'human' is another class's"):
        listed("epic-sounds", put(tmp_path, "EPIC_Sounds_train.csv", text))
    text = files.EPIC_SOUNDS_TRAIN.replace("human,2", "human,3")
    assert listed("epic-sounds", put(tmp_path, "EPIC_Sounds_train.csv", text)).notes == [
        "the lists given name no class with the numbers [2]"
    ]


def test_llp_labels_times_and_splits(tmp_path):
    case = files.llp(tmp_path)
    first, second, third = clips("llp", *case.paths)
    assert (first.source, first.start_seconds, first.end_seconds) == ("BjCEufrlXm4", 20.0, 30.0)
    assert (first.labels, first.split, third.split) == (("Speech", "Dog"), "train", "val")
    assert (second.source, second.labels) == ("-AdKA_1Q_Tg", ("Frying_(food)",))
    with pytest.raises(ValueError, match="AVVP_train.csv, line 3: expected <YouTube id>_<start>"):
        path = put(tmp_path, "AVVP_train.csv", "filename\tevent_labels\na_0_1\tDog\nabc\tDog\n")
        clips("llp", path)
    text = "filename\tonset\toffset\tevent_labels\n4YdbENYcIyE_23_33\t0\t4\tDog\n"
    with pytest.raises(ValueError, match="lists events within clips; give AVVP_train.csv"):
        clips("llp", put(tmp_path, "AVVP_eval_audio.csv", text))


# --- plain lists --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "labels"),
    [
        ("a/b.mp4 dog", ("dog",)),
        ("a/b.mp4\tplaying guitar", ("playing guitar",)),
        ("a b/c d.MP4,playing guitar,singing", ("playing guitar", "singing")),
        ('"a/b.mp4", "dog"', ("dog",)),
        ("a/b.wav 3 12", ("3", "12")),
        ("a/b.mp4;dog;cat", ("dog", "cat")),
        ("a/b.mp4 dog cat dog", ("dog", "cat")),
    ],
)
def test_plain_lists(tmp_path, line, labels):
    (clip,) = clips("list", put(tmp_path, "train.txt", f"{line}\n"))
    assert (clip.labels, clip.split) == (labels, "train")
    (clip,) = clips("list", put(tmp_path, "clips.txt", f"path label\n{line}\n"))
    assert (clip.labels, clip.split) == (labels, "")


@pytest.mark.parametrize(
    ("line", "labels"),
    [
        ("a.mp4 playing guitar", ("playing guitar",)),
        ("a.mp4 2 0", ("dog", "cat")),
        ("a.mp4 cat dog", ("cat", "dog")),
    ],
)
def test_plain_lists_with_a_list_of_classes(tmp_path, line, labels):
    path = put(tmp_path, "train.txt", line)
    classes = put(tmp_path, "classes.txt", "cat\nplaying guitar\ndog\n")
    listing = listed("list", path, classes)
    assert next(iter(listing.clips)).labels == labels
    assert listing.labels == {"label": ["cat", "playing guitar", "dog"]}
    with pytest.raises(
        ValueError, match="line 1: unknown label 'dgo'; known: .*Did you mean 'dog'"
    ):
        clips("list", put(tmp_path, "val.txt", "a.mp4 dgo"), classes)


def test_plain_list_is_looked_up_with_its_folders(tmp_path):
    media = touch(tmp_path / "media", "cat/001.mp4", "dog/001.mp4", "dog/001.wav")
    path = put(tmp_path, "clips.txt", "data/dog/001.mp4 dog\n./cat/001.mp4 cat\n")
    dog, cat = found("list", media, path).rows
    assert (dog.path, dog.audio_path) == (media / "dog/001.mp4", media / "dog/001.wav")
    assert (cat.path, cat.id) == (media / "cat/001.mp4", "./cat/001.mp4")


@pytest.mark.parametrize("disk", ["NFC", "NFD"])
@pytest.mark.parametrize("listed_as", ["NFC", "NFD"])
def test_names_in_either_form_of_unicode(tmp_path, disk, listed_as):
    media = touch(tmp_path / "media", unicodedata.normalize(disk, "Vögel/Café.mp4"))
    line = unicodedata.normalize(listed_as, "Vögel/Café.mp4 bird\n")
    (row,) = found("list", media, put(tmp_path, "train.txt", line)).rows
    assert row.path.is_file()
    rows = unicodedata.normalize(listed_as, "file_name,label\nVögel/Café.mp4,bird\n")
    (row,) = found("huggingface", media, put(media, "metadata.csv", rows)).rows
    assert row.path.is_file()


def test_plain_lists_say_what_they_took_blanks_for(tmp_path):
    listing = listed("list", put(tmp_path, "train.txt", "a.mp4 playing guitar\nb.mp4 dog\n"))
    assert len(list(listing.clips)) == 2
    assert listing.notes == [
        "1 lines of train.txt have several labels, divided at blanks; names with blanks in them "
        "need tabs or commas, or a classes.txt"
    ]


def test_plain_lists_wrong_lines(tmp_path):
    for text in ("a.mp4 dog\nb dog\n", "a.mp4 dog\nb.mp4\n", "a.mp4 dog\nb.mp4 ,\n"):
        with pytest.raises(ValueError, match="line 2: expected the path of a media file and its l"):
            clips("list", put(tmp_path, "train.txt", text))


# --- Label Studio -------------------------------------------------------------------------------


def test_label_studio_urls_and_uploads(tmp_path):
    case = files.label_studio(tmp_path)
    matched = found("label-studio", case.media, *case.paths)
    assert {row.id: row.path.name for row in matched.rows} == {
        "0a1b2c3d-dog_park": "dog_park.mp4",
        "cat 1": "cat 1.mp4",
    }
    assert [row.labels for row in matched.rows] == [("dog",), ("cat",)]


def task(*results: list[dict], video: str = "https://host/clips/a.mp4?x=1", **more) -> dict:
    annotations = [{"id": n, "result": r, "was_cancelled": False} for n, r in enumerate(results)]
    return {"id": 7, "data": {"title": "x", "video": video}, "annotations": annotations} | more


def choices(*names: str, question: str = "choice") -> list[dict]:
    value = {"choices": list(names)}
    return [{"from_name": question, "to_name": "video", "type": "choices", "value": value}]


def test_label_studio_several_choices_and_annotators(tmp_path):
    skipped = task(choices("a"))
    skipped["annotations"][0]["was_cancelled"] = True
    tasks = [task(choices("a", "b")), task(choices("a"), choices("b")), task([]), skipped]
    listing = listed("label-studio", put(tmp_path, "p.json", json.dumps(tasks)))
    assert [clip.labels for clip in listing.clips] == [("a", "b"), ("b",)]
    assert listing.notes == [
        "2 tasks of p.json have no annotation and are left out",
        "1 tasks have annotations that differ; the last one counts",
    ]


def test_label_studio_regions_of_sound(tmp_path):
    value = {"start": 1.5, "end": 3.25, "channel": 0, "labels": ["dog"]}
    result = [{"from_name": "label", "to_name": "audio", "type": "labels", "value": value}]
    tasks = json.dumps([task(result, video="/data/upload/1/0a1b2c3d-yard.wav")])
    media = touch(tmp_path / "media", "yard.wav")
    (row,) = found("label-studio", media, put(tmp_path, "p.json", tasks)).rows
    assert (row.id, row.path.name) == ("0a1b2c3d-yard#1.5", "yard.wav")
    assert (row.start_seconds, row.end_seconds, row.labels) == (1.5, 3.25, ("dog",))


def test_label_studio_short_forms(tmp_path):
    rows = [{"video": "/data/upload/1/a.mp4", "id": 1, "choice": "dog", "annotator": 1}]
    rows.append({"video": "/data/upload/1/b.mp4", "id": 2, "choice": {"choices": ["a", "b"]}})
    text = "video,id,choice,annotator\n/data/upload/1/a.mp4,1,dog,1\n"
    text += '/data/upload/1/b.mp4,2,"{""choices"": [""a"", ""b""]}",1\n'
    for path in (put(tmp_path, "m.json", json.dumps(rows)), put(tmp_path, "m.csv", text)):
        first, second = clips("label-studio", path)
        assert (first.id, first.labels, second.labels) == ("a", ("dog",), ("a", "b"))


TIMELINE = [{"from_name": "t", "to_name": "v", "type": "timelinelabels",
             "value": {"ranges": [{"start": 3, "end": 5}], "timelinelabels": ["x"]}}]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": 1}, "expected Label Studio's JSON or JSON_MIN, a list of tasks"),
        ([1], "expected Label Studio's JSON or JSON_MIN, a list of tasks"),
        ([{"id": 4, "video": "a.mp4"}], "task 4: none of choice, choices, label"),
        ([{"id": 4, "video": "a.mp4", "label": [{"start": 1}]}], "task 4: label is no choice, but"),
        ([task(choices("a"), video="text only")], "task 7: no URL of a media file among title"),
        ([task(TIMELINE)], "task 7: a timeline in frames, whose rate the export does not tell"),
        ([task(choices("a") + choices("b", question="q"))], "answers to several questions, choi"),
        ([{"id": 1, "data": {}, "annotations": [3]}], "task 1: expected annotations with a resul"),
    ],
)
def test_label_studio_other_exports(tmp_path, content, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        clips("label-studio", put(tmp_path, "p.json", json.dumps(content)))


# --- FiftyOne -----------------------------------------------------------------------------------


def test_fiftyone_temporal_detections_in_seconds(tmp_path):
    case = files.fiftyone(tmp_path)
    matched = found("fiftyone", case.media, *case.paths)
    assert [(r.labels[0], r.start_seconds, r.end_seconds, r.split) for r in matched.rows] == [
        ("dog", 0.5, 2.0, "train"),
        ("cat", 3.0, 4.5, "train"),
    ]
    assert matched.labels == {"label": ["cat", "dog"]}


def test_fiftyone_classifications(tmp_path):
    content = {"classes": ["cat", "dog"], "labels": {"a": 1, "b": [0, 1], "c": None}}
    listing = listed("fiftyone", put(tmp_path, "labels.json", json.dumps(content)))
    assert [(c.id, c.labels) for c in listing.clips] == [("a", ("dog",)), ("b", ("cat", "dog"))]
    assert listing.notes == ["1 clips of labels.json have no labels and are left out"]
    content = {"labels": {"sub/a.mp4": "dog"}}
    (clip,) = clips("fiftyone", put(tmp_path, "labels.json", json.dumps(content)))
    assert (clip.names, clip.labels) == (("sub/a",), ("dog",))


def sample(name: str, **more) -> dict:
    return {"filepath": f"data/{name}.mp4", "_media_type": "video", "tags": ["validation"]} | more


def test_fiftyone_samples(tmp_path):
    samples = [
        sample("a", ground_truth={"_cls": "Classification", "label": "dog"},
               predictions={"_cls": "Classification", "label": "cat"}),
        sample("b", ground_truth=None),
    ]  # fmt: skip
    path = put(tmp_path, "samples.json", json.dumps({"samples": samples}))
    touch(tmp_path, "data/a.mp4", "data/b.mp4")
    (row,) = found("fiftyone", tmp_path, path).rows
    assert (row.id, row.labels, row.split) == ("data/a", ("dog",), "val")
    assert row.path == tmp_path / "data/a.mp4"


def test_fiftyone_frames_of_samples_become_seconds(tmp_path):
    """Frames count from 1: 26 to 50 at 25 per second are the second second."""
    events = {"_cls": "TemporalDetections", "detections": [
        {"_cls": "TemporalDetection", "label": "dog", "support": [26, 50]}]}  # fmt: skip
    one = sample("a", events=events, metadata={"_cls": "VideoMetadata", "frame_rate": 25.0})
    path = put(tmp_path, "samples.json", json.dumps({"samples": [one]}))
    touch(tmp_path, "data/a.mp4")
    (row,) = found("fiftyone", tmp_path, path).rows
    assert (row.start_seconds, row.end_seconds, row.id) == (1.0, 2.0, "data/a#1")
    one["metadata"] = None
    put(tmp_path, "samples.json", json.dumps({"samples": [one]}))
    with pytest.raises(ValueError, match="'data/a.mp4': an event in frames, but no metadata.fram"):
        clips("fiftyone", path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], 'expected FiftyOne\'s {"classes": [...], "labels": {name: target}} or {"samples"'),
        ({"labels": 3}, "expected FiftyOne's"),
        ({"labels": {"a": [{"label": "x", "support": [1, 9]}]}}, "'a': events are given in frames"),
        ({"samples": [sample("a")]}, "fields with labels: none; keep one"),
        ({"classes": ["a"], "labels": {"x": 4}}, "expected FiftyOne's"),
    ],
)
def test_fiftyone_other_files(tmp_path, content, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        clips("fiftyone", put(tmp_path, "labels.json", json.dumps(content)))
