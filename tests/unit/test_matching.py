"""Looking listed clips up on disk: names, whole videos or clips, separate sound, what is said."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from dataset_files import touch
from media_files import grey, regular, tone, write_clip

from sightsound.data.datasets.coverage import ALL
from sightsound.data.datasets.listing import Clip, Listing
from sightsound.data.datasets.matching import match
from sightsound.data.datasets.media_index import MediaIndex
from sightsound.data.rows import id_hash


def clip(name: str, label: str = "cat", split: str = "train", **more) -> Clip:
    return Clip(name, (label,), split, more.pop("names", (name,)), **more)


def find(media: Path, *clips: Clip, sound: Path | None = None, **listing):
    index = MediaIndex(sound) if sound else None
    return match("set", Listing(clips, **listing), MediaIndex(media), index)


# --- the index ----------------------------------------------------------------------------------


def test_index_takes_any_suffix_and_skips_what_is_hidden(tmp_path):
    touch(tmp_path, "x/-a.b.MP4", "-a.b.wav", ".hidden/-a.b.mp4", ".-a.b.mp4", "-a.b.mp4.part")
    index = MediaIndex(tmp_path)
    assert (index.num_files, index.example) == (2, "-a.b.wav")
    places = sorted(index.find("-a.b"), key=lambda place: place.suffix)
    assert [(p.folder, p.suffix, p.is_sound) for p in places] == [
        (tmp_path / "x", ".MP4", False),
        (tmp_path, ".wav", True),
    ]
    assert index.find("-A.b") == ()


def test_index_looks_at_folders_where_a_name_has_them(tmp_path):
    touch(tmp_path, "train/cat/a.mp4", "train/big cat/a.mp4")
    index = MediaIndex(tmp_path)
    assert [place.folder.name for place in index.find("cat/a")] == ["cat"]
    assert [place.folder.name for place in index.find("train/big cat/a")] == ["big cat"]
    assert len(index.find("a")) == 2 and not index.find("dog/a")


def test_index_follows_links_once(tmp_path):
    touch(tmp_path / "far", "a.mp4")
    media = touch(tmp_path / "media", "b.mp4")
    os.symlink(tmp_path / "far", media / "link")
    os.symlink(media, media / "loop")
    assert MediaIndex(media).num_files == 2


def test_index_of_nothing(tmp_path):
    (tmp_path / "clips").mkdir()
    with pytest.raises(FileNotFoundError, match="no media folder '.*clps'. Did you mean '.*clips'"):
        MediaIndex(tmp_path / "clps")


# --- which file ---------------------------------------------------------------------------------


def test_the_first_name_counts_and_several_files_are_told(tmp_path):
    touch(tmp_path, "b/second.mp4", "z/first.mp4", "a/first.webm", "a/first.mp4")
    matched = find(tmp_path, clip("c", names=("none", "first", "second")))
    assert matched.rows[0].path == tmp_path / "a" / "first.mp4"
    assert matched.coverage.notes == [
        "1 clips have several files: WAV and FLAC come first, then by folder"
    ]


def test_sound_without_loss_comes_first(tmp_path):
    touch(tmp_path, "AudioMP3/a.mp3", "AudioWAV/a.wav", "VideoFlash/a.flv")
    (row,) = find(tmp_path, clip("a")).rows
    assert (row.path.name, row.audio_path.name) == ("a.flv", "a.wav")


def test_sound_files_beside_or_apart(tmp_path):
    touch(tmp_path / "v", "both.mp4", "both.wav", "apart.mp4", "silent.mp4", "alone.flac")
    touch(tmp_path / "a", "apart.mp4", "only.m4a")
    names = ("both", "apart", "silent", "alone", "only")
    matched = find(tmp_path / "v", *map(clip, names), sound=tmp_path / "a")
    found = {row.id: (row.path.parent.name + "/" + row.path.name) for row in matched.rows}
    assert found == {
        "both": "v/both.mp4",
        "apart": "v/apart.mp4",
        "silent": "v/silent.mp4",
        "alone": "v/alone.flac",
        "only": "a/only.m4a",
    }
    sounds = [row.audio_path and row.audio_path.relative_to(tmp_path) for row in matched.rows]
    assert sounds == [Path("v/both.wav"), Path("a/apart.mp4"), None, None, None]


# --- whole videos or clips ----------------------------------------------------------------------


def video(path: Path, seconds: int) -> Path:
    write_clip(
        path, frames=[grey(9, 16, 16)] * seconds, times=regular(seconds, 1), sound=tone(seconds)
    )
    return path


def span(name: str, start: float, **more) -> Clip:
    """A stretch of 2 s, which may be called after it or after its video."""
    return clip(name, names=(f"{name}_cut",), source=name, start_seconds=start,
                end_seconds=start + 2, **more)  # fmt: skip


def spans(matched) -> list[tuple[float, float | None]]:
    return [(row.start_seconds, row.end_seconds) for row in matched.rows]


def test_whole_videos_get_times_and_clips_do_not(tmp_path):
    video(tmp_path / "a.mp4", 10)
    video(tmp_path / "b_cut.mp4", 2)
    matched = find(tmp_path, span("a", 6), span("b", 6))
    assert spans(matched) == [(6.0, 8.0), (0.0, None)]
    said = (
        "named after the video alone are taken for whole videos, with times: so are 1 of 1 measured"
    )
    assert matched.coverage.notes == [f".mp4 files {said}"]


def test_clips_may_be_named_after_their_video(tmp_path):
    for name in "abc":
        video(tmp_path / f"{name}.mp4", 2)
    matched = find(tmp_path, span("a", 6), span("b", 60), span("c", 0))  # 0 s: cannot tell
    assert spans(matched) == [(0.0, None)] * 3
    assert (
        "taken for clips that are cut already: so are 2 of 2 measured"
        in (matched.coverage.notes[0])
    )


def test_some_of_the_one_and_some_of_the_other(tmp_path):
    video(tmp_path / "a.mp4", 10)
    video(tmp_path / "b.mp4", 2)
    with pytest.raises(
        ValueError, match="are of two kinds: '.*a.mp4' is longer than its clip, '.*b"
    ):
        find(tmp_path, span("a", 6), span("b", 6))


def test_few_files_that_are_too_short_do_not_matter(tmp_path):
    for index in range(5):
        video(tmp_path / f"{index}.mp4", 10 if index else 2)
    matched = find(tmp_path, *(span(str(index), 6) for index in range(5)))
    assert spans(matched) == [(6.0, 8.0)] * 5
    assert "so are 4 of 5 measured" in matched.coverage.notes[0]


def test_files_that_cannot_be_measured_are_not_called_whole(tmp_path):
    """Their times are written: of a file that is cut they hold nothing, which is seen."""
    touch(tmp_path, "a.mp4")
    matched = find(tmp_path, span("a", 6))
    assert spans(matched) == [(6.0, 8.0)]
    assert matched.coverage.notes == [
        ".mp4 files named after the video alone: none of 1 looked at tells whether it is cut "
        "already (it cannot be read, or its clip is the start of the video); the times of the list "
        "are written, check with 'sightsound doctor'"
    ]


def test_files_that_cannot_be_measured_do_not_vote(tmp_path):
    """More than the sample of 20 cannot be read; the one behind them tells."""
    names = [f"{index:02d}" for index in range(30)]
    touch(tmp_path, *(f"{name}.mp4" for name in names))
    video(tmp_path / "29.mp4", 2)
    matched = find(tmp_path, *(span(name, 6) for name in names))
    assert set(spans(matched)) == {(0.0, None)}
    assert matched.coverage.notes[0].endswith("cut already: so are 1 of 1 measured")


def test_clips_of_one_stream_are_counted_apart(tmp_path):
    touch(tmp_path, "a.mp4", "a.wav", "b.mp4", "c.flac", "d.mp4", "d.m4a", "e.opus")
    clips = [clip(name) for name in "abc"] + [clip(name, split="test") for name in "de"]
    coverage = find(tmp_path, *clips).coverage
    counts = {name: (c.found, c.sound_only, c.no_sound_file) for name, c in coverage.splits.items()}
    assert counts == {"train": (3, 1, 1), "test": (2, 1, 0), "all": (5, 2, 1)}
    said = "streams of those found: 2 sound alone, 1 pictures without a sound file; 2 others"
    assert said in coverage.text()
    assert '"sound_only": 2' in coverage.as_json()


def test_pictures_with_sound_inside_lack_nothing(tmp_path):
    touch(tmp_path, "a.mp4", "b.mkv")
    coverage = find(tmp_path, clip("a"), clip("b")).coverage
    assert coverage.splits[ALL].no_sound_file == 0 and "streams of" not in coverage.text()


def test_sound_that_is_cut_otherwise_is_not_used(tmp_path):
    """Pictures and sound: a whole and cut, b both cut, c both whole, d cut and whole."""
    pictures, sounds = touch(tmp_path / "pictures", "b_cut.mp4", "d_cut.mp4"), tmp_path / "sounds"
    touch(sounds, "a_cut.mkv", "b_cut.mkv")
    for path in (pictures / "a.mp4", pictures / "c.mp4", sounds / "c.mkv", sounds / "d.mkv"):
        video(path, 9)
    matched = find(pictures, *(span(name, 5) for name in "abcd"), sound=sounds)
    assert spans(matched) == [(5.0, 7.0), (0.0, None), (5.0, 7.0), (0.0, None)]
    names = [row.audio_path and row.audio_path.name for row in matched.rows]
    assert names == [None, "b_cut.mkv", "c.mkv", None]
    assert matched.coverage.notes[-1] == (
        "2 separate sound files are not cut as their pictures are, and not used"
    )


def test_clips_without_length_are_left_out(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4")
    matched = find(tmp_path, clip("a", start_seconds=3.0, end_seconds=3.0), clip("b"))
    assert [row.id for row in matched.rows] == ["b"]
    assert matched.coverage.missing == [("a", "train")]
    assert matched.coverage.notes == ["1 clips have no length and are left out"]


# --- what comes twice, what is missing ----------------------------------------------------------


def test_lines_that_come_twice_and_ids_that_do(tmp_path):
    touch(tmp_path, "a.mp4")
    again = clip("a"), clip("a"), clip("a", "dog"), clip("a", split="test"), clip("a", "dog")
    matched = find(tmp_path, *again)
    assert [row.id for row in matched.rows] == ["a", "a#2", "a#3"]
    assert matched.coverage.shared == {"train, test": ["a"]}
    assert matched.coverage.notes == [
        "2 lines come twice and count once",
        "2 clips have the id of another one and got a number, #2",
    ]


def test_a_video_in_three_splits(tmp_path):
    touch(tmp_path, "a_cut.mp4")
    parts = [clip(s, split=s, names=("a_cut",), source="a") for s in ("test", "train", "val")]
    matched = find(tmp_path, *parts)
    assert matched.coverage.shared == {"train, val, test": ["a"]}
    assert "videos in both train and val and test: 1: a" in matched.coverage.text()


def test_nothing_found_tells_what_was_looked_for(tmp_path):
    touch(tmp_path / "v", "x/other.mp4")
    (tmp_path / "a").mkdir()
    with pytest.raises(ValueError) as error:
        find(tmp_path / "v", clip("a_000001", source="a"), clip("b"), sound=tmp_path / "a")
    assert str(error.value) == (
        "none of the 2 clips that set lists was found. Of 'a_000001' the file would be called "
        "'a_000001' or 'a', plus .mp4 or another suffix, in any folder; "
        f"{str(tmp_path / 'v')!r} holds 1 media files, such as 'x/other.mp4', and "
        f"{str(tmp_path / 'a')!r} holds 0 media files. Check --media"
    )
    with pytest.raises(ValueError, match="the annotation files list no clip of set"):
        find(tmp_path / "v")


def test_classes_without_a_training_clip_cannot_be_loaded(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4")
    clips = clip("a"), clip("b", "dog", "test"), clip("c", "dog")
    matched = find(tmp_path, *clips)
    assert [row.id for row in matched.rows] == ["a"]
    assert matched.coverage.missing == [("c", "train"), ("b", "test")]
    assert matched.coverage.notes == [
        "left out: 1 clips of 1 classes that have no training clip on disk: 'dog'"
    ]
    assert [row.id for row in find(tmp_path, clips[1]).rows] == ["b"]  # only a test list


def test_report(tmp_path):
    touch(tmp_path, "a.mp4", "c.mp4")
    clips = clip("a"), clip("b", "dog"), clip("c", "cat", "test")
    coverage = find(tmp_path, *clips, labels={"label": ["dog", "cat", "emu"]}).coverage
    assert coverage.splits["train"].listed_hash == id_hash("ab")
    assert coverage.splits[ALL].found_hash == id_hash("ac")
    assert coverage.classes == {"label": {"dog": (1, 0), "cat": (2, 2), "emu": (0, 0)}}
    lines = coverage.text().splitlines()
    assert lines[0] == "set: 2 of 3 listed clips found (66.7%)"
    assert lines[2].split() == ["train", "2", "1", "50.0%", id_hash("ab"), id_hash("a")]
    assert lines[-1] == (
        "classes: 3, 1 of them with clips; fewest found: dog 0 of 1; 1 not listed, such as emu"
    )
    assert coverage.missing_csv() == "id,split\nb,train\n"


def test_labels_that_do_not_fit(tmp_path):
    touch(tmp_path, "a.mp4")
    with pytest.raises(ValueError, match="unknown label 'cat'; known: car. Did you mean 'car'"):
        find(tmp_path, clip("a"), labels={"label": ["car"]})
    with pytest.raises(ValueError, match=r"class name 'a\|b' holds a bar, which separates labels"):
        find(tmp_path, clip("a", "a|b"))


def test_numbers_are_sorted_by_value(tmp_path):
    touch(tmp_path, "a.mp4")
    assert find(tmp_path, clip("a", "10"), clip("b", "9")).labels == {"label": ["9", "10"]}
