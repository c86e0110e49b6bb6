"""Shards: the same clips as from files, read by their places; tar files that others read."""

import dataclasses
import gc
import glob
import io
import json
import os
import pickle
import tarfile

import av
import numpy as np
import pytest
import torch
from media_files import tone, write_clip, write_sound

from sightsound.config.settings import DataSettings, ShardSettings
from sightsound.data.dataset import ClipDataset
from sightsound.data.manifest import load_manifest, write_manifest
from sightsound.data.rows import Row
from sightsound.data.shards.format import _header
from sightsound.data.shards.index import Index
from sightsound.data.shards.prepare import prepare
from sightsound.data.shards.reader import ShardReader
from sightsound.data.synthetic import write_demo
from sightsound.media.decode import DecodeError
from sightsound.media.front_end import AudioFrontEnd, FrontEnd, VideoFrontEnd
from sightsound.media.geometry import Box
from sightsound.media.reader import FileReader

FRONT_END = FrontEnd(
    "tiny",
    AudioFrontEnd(num_frames=100, num_mels=32, log_offset=1e-6),
    VideoFrontEnd(num_frames=4, window_seconds=1.0, height=40, width=48, short_side=64),
)
LARGEST_DIFFERENCE = 3.0  # of 255, the mean of a clip
HERE = {"time_limit_seconds": 0}  # decode in this process: it starts at once


def settings(path, **options) -> DataSettings:
    return DataSettings(path=str(path), **HERE, **options)


def shards_of(path, output, *, frames_per_second=100, num_workers=1, **options):
    stored = ShardSettings(frames_per_second=frames_per_second, **options)
    return prepare(settings(path), output, stored, num_workers=num_workers)


def dataset(path, *, ids=None, front_end=FRONT_END, train=True, modalities=None, **options):
    manifest = load_manifest(settings(path, **options))
    rows = [row for row in manifest.rows if ids is None or row.id in ids]
    extra = {"modalities": modalities} if modalities else {}
    return ClipDataset(
        manifest, rows, front_end, settings(path, **options), train=train, seed=3, **extra
    )


def check_same(files, shards, *, epochs=1, difference=LARGEST_DIFFERENCE):
    """Clip by clip: the same streams, masks and sound; nearly the same pictures."""
    assert [row.id for row in files.rows] == [row.id for row in shards.rows]
    for index in range(len(files.rows)):
        for epoch in range(epochs):
            check_same_clip(files, shards, (epoch, index, 0), difference=difference)


def check_same_clip(files, shards, key, *, difference):
    one, other = files[key], shards[key]
    assert (one.video is None, one.audio is None) == (other.video is None, other.audio is None)
    assert torch.equal(one.target, other.target)
    if one.video is not None:
        assert torch.equal(one.video_valid, other.video_valid), one.id
        assert (one.video.int() - other.video.int()).abs().float().mean() <= difference, one.id
    if one.audio is not None:
        assert torch.equal(one.audio_valid, other.audio_valid), one.id
        check_same_sound(files, shards, key)


def check_same_sound(files, shards, key):
    row, other = files.rows[key[1]], shards.rows[key[1]]
    window = files.windows(row, epoch=key[0], view=0)["audio"]
    assert window == shards.windows(other, epoch=key[0], view=0)["audio"]
    one, other = files._sound(row, window), shards._sound(other, window)
    np.testing.assert_array_equal(one.valid, other.valid)
    np.testing.assert_allclose(one.samples, other.samples, rtol=0, atol=1 / 32768)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The folder of a few demonstration clips, and shards of it."""
    folder = tmp_path_factory.mktemp("demo")
    write_demo(folder / "clips", num_train=16, num_val=8, num_test=8, workers=1)
    shards_of(folder / "clips", folder / "shards", clips_per_shard=6)
    return folder


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """A manifest of stretches of one long file, of sound from elsewhere, and of odd files."""
    folder = tmp_path_factory.mktemp("long")
    ramp = np.arange(96)[None, :, None] * 2
    frames = [np.broadcast_to(ramp + k, (64, 96, 3)).astype(np.uint8) for k in range(60)]
    sound = tone(6.0) * np.linspace(0.1, 1.0, 96000, dtype=np.float32)
    times = [k / 10 for k in range(60)]
    write_clip(folder / "long.mp4", frames=frames, times=times, sound=sound)
    write_clip(folder / "silent.mp4", frames=frames[:20], times=times[:20])
    write_clip(folder / "turned.mp4", frames=frames[:20], times=times[:20], rotation=90)
    write_clip(folder / "late.mp4", frames=frames[:9], times=times[11:20], sound=sound[:9000])
    rows = [
        Row("start", folder / "long.mp4", ("a",), 0.0, 1.7),
        Row("odd", folder / "long.mp4", ("b",), 1.2345678901, 3.3333333333),
        Row("end", folder / "long.mp4", ("a",), 4.7003, None),
        Row("past", folder / "long.mp4", ("b",), 5.2, 9.0),
        Row("whole", folder / "long.mp4", ("a",)),
        Row("silent", folder / "silent.mp4", ("b",)),
        Row("other", folder / "silent.mp4", ("a",), audio_path=folder / "long.mp4"),
        Row("part", folder / "silent.mp4", ("a",), 0.4, 1.1, audio_path=folder / "long.mp4"),
        Row("turned", folder / "turned.mp4", ("b",)),
        Row("late", folder / "late.mp4", ("a",)),
    ]
    rows = [dataclasses.replace(row, split="train") for row in rows]
    write_manifest(rows, folder / "clips.csv")
    shards_of(folder / "clips.csv", folder / "shards")
    return folder


# --- the same samples ---------------------------------------------------------------------------


@pytest.mark.parametrize("crop", ["random", "jitter", "full"])
def test_random_windows_and_crops_of_the_demonstration_clips(demo, crop):
    files, shards = (dataset(demo / name, crop=crop) for name in ("clips", "shards"))
    check_same(files, shards, epochs=1 if crop == "full" else 2)


def test_views_of_an_evaluation(demo):
    check_same(*(dataset(demo / name, train=False) for name in ("clips", "shards")))


@pytest.mark.parametrize("windows", ["random", "official"])
@pytest.mark.parametrize("wrap", [False, True])
def test_stretches_and_sound_from_other_files(long, windows, wrap):
    options = {"windows": windows, "wrap": wrap}
    paths = long / "clips.csv", long / "shards"
    check_same(*(dataset(path, **options) for path in paths), epochs=3)


def test_windows_longer_than_the_clips(long):
    front_end = dataclasses.replace(
        FRONT_END,
        audio=dataclasses.replace(FRONT_END.audio, num_frames=1000),
        video=dataclasses.replace(FRONT_END.video, window_seconds=8.0),
    )
    paths = long / "clips.csv", long / "shards"
    check_same(*(dataset(path, front_end=front_end) for path in paths))


@pytest.mark.parametrize("modality", ["video", "audio"])
def test_one_modality_alone(long, modality):
    options = {"modalities": (modality,), "bad_files": "drop"}
    check_same(*(dataset(long / name, **options) for name in ("clips.csv", "shards")))


def test_stored_pictures_smaller_than_the_files(long):
    shards_of(long / "clips.csv", long / "small", short_side=48)
    paths = long / "clips.csv", long / "small"
    video = dataclasses.replace(FRONT_END.video, short_side=48)
    front_end = dataclasses.replace(FRONT_END, video=video)
    check_same(*(dataset(path, crop="centre", front_end=front_end) for path in paths))


def test_fewer_pictures_are_late_by_less_than_their_distance(long):
    shards_of(long / "clips.csv", long / "few", frames_per_second=4)
    row = next(row for row in load_manifest(settings(long / "few")).rows if row.id == "odd")
    times = np.linspace(1.24, 3.33, 40)
    frames = ShardReader(long / "few" / "index.parquet").frames(row.path, times, (8, 8))
    late = times - frames.times_seconds
    assert 0.0 <= late.min() and 0.2 < late.max() < 0.25 + 0.1  # and that of the frames themselves
    assert frames.valid.all()


def test_noise_that_a_decoder_draws_is_the_same_in_every_window(tmp_path):
    """AAC at a low rate stores how loud noise is, not the noise: it depends on what came before."""
    (tmp_path / "clips").mkdir()
    with av.open(str(tmp_path / "clips" / "noise.m4a"), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        stream.bit_rate = 32000
        noise = 0.2 * np.random.default_rng(0).standard_normal(64000)
        write_sound(container, stream, noise.astype(np.float32), 0)
    row = Row("noise", tmp_path / "clips" / "noise.m4a", ("a",), split="train")
    write_manifest([row], tmp_path / "clips" / "manifest.csv")
    shards_of(tmp_path / "clips", tmp_path / "shards")
    stored = load_manifest(settings(tmp_path / "shards")).rows[0].path
    one = FileReader().sound(row.path, 2.1, 3.3, 16000)
    other = ShardReader(tmp_path / "shards" / "index.parquet").sound(stored, 2.1, 3.3, 16000)
    np.testing.assert_allclose(one.samples, other.samples, rtol=0, atol=1 / 32768)


def test_crops_are_cut_as_from_the_frames_before_they_were_made_smaller(long):
    shards_of(long / "clips.csv", long / "tiny", short_side=7)
    row = next(row for row in load_manifest(settings(long / "tiny")).rows if row.id == "turned")
    seen = []

    def crop(height, width):
        seen.append((height, width))
        return Box(height / 2, 0.0, height / 2, width)

    frames = ShardReader(long / "tiny" / "index.parquet").frames(
        row.path, np.array([0.5]), (5, 7), crop=crop
    )
    assert seen == [(96, 64)]
    exact = FileReader().frames(long / "turned.mp4", np.array([0.5]), (5, 7), crop=crop)
    assert np.abs(frames.pixels.astype(int) - exact.pixels).mean() < LARGEST_DIFFERENCE


def test_splits_are_those_of_the_files_though_some_are_in_quarantine(tmp_path):
    write_demo(tmp_path / "made", num_train=32, num_val=0, num_test=0, workers=1)
    clips = tmp_path / "clips"
    (tmp_path / "made" / "train").rename(clips)
    for name in ("green_cross/00027.mp4", "rising_chirp/00008.mp4"):
        (clips / name).write_bytes(b"spoiled")
    shards_of(clips, tmp_path / "shards", short_side=16)
    files, shards = (load_manifest(settings(p), seed=5) for p in (clips, tmp_path / "shards"))
    splits = {row.id: row.split for row in files.rows}
    assert len(shards.rows) == len(files.rows) - 2
    assert {row.id: row.split for row in shards.rows}.items() <= splits.items()
    assert shards.labels == files.labels and shards.task == files.task


@pytest.mark.parametrize(
    ("task", "labels", "heads"),
    [
        ("heads", [{"verb": "cut", "noun": "bread"}, {"verb": "cut", "noun": "egg"}], 2),
        ("multi", [("b", "a"), ()], 1),
        ("single", [("a|b",), ("c",)], 1),  # a bar in the name of a class folder
    ],
)
def test_labels_of_every_kind(long, tmp_path, task, labels, heads):
    rows = [
        Row(f"{n}", long / "silent.mp4", label, split="train") for n, label in enumerate(labels)
    ]
    write_manifest(rows, tmp_path / "clips.csv")
    data = settings(tmp_path / "clips.csv", task=task)
    prepare(data, tmp_path / "shards", ShardSettings(short_side=8))
    files, shards = load_manifest(data), load_manifest(settings(tmp_path / "shards"))
    assert shards.task == task and len(shards.labels) == heads
    assert shards.labels == files.labels
    assert [row.labels for row in shards.rows] == labels


def test_real_clips(test_data, tmp_path):
    data = test_data / "data" / "drone_av"
    rows = load_manifest(settings(data)).rows[::24]
    write_manifest(list(rows), tmp_path / "some.csv")
    shards_of(tmp_path / "some.csv", tmp_path / "shards", frames_per_second=10)
    check_same(*(dataset(path) for path in (tmp_path / "some.csv", tmp_path / "shards")))


# Fields are scaled each on its own where a frame says that it is interlaced; four pixels are noise.
COARSE = {"g_interlaced.mp4": 8.0, "g_2x2.mp4": 8.0}
NOT_EXACT = {"x_bitflips_mdat.mp4", "t_long_15min_synthetic.mp4"}


def test_every_kind_of_file(test_data, tmp_path):
    zoo = test_data / "data" / "media_zoo"
    files = [p for p in sorted(zoo.iterdir()) if p.suffix != ".csv" and p.name not in NOT_EXACT]
    rows = [Row(p.name, p, ("a",), split="train") for p in files[::3]]
    write_manifest(rows, tmp_path / "zoo.csv")
    stored = ShardSettings(frames_per_second=200)
    prepare(settings(tmp_path / "zoo.csv"), tmp_path / "shards", stored, num_workers=2)
    ids = {row.id for row in load_manifest(settings(tmp_path / "shards")).rows}
    options = {"ids": ids, "bad_files": "mask"}
    paths = tmp_path / "zoo.csv", tmp_path / "shards"
    files, shards = (dataset(path, **options) for path in paths)
    for index, row in enumerate(files.rows):
        difference = COARSE.get(row.id, LARGEST_DIFFERENCE)
        check_same_clip(files, shards, (0, index, 0), difference=difference)


# --- the files ----------------------------------------------------------------------------------


# WebDataset leaves the closing of its files to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_webdataset_reads_the_shards(demo):
    webdataset = pytest.importorskip("webdataset")
    urls = sorted(map(str, (demo / "shards").glob("train-*.tar")))
    samples = list(webdataset.WebDataset(urls, shardshuffle=False))
    gc.collect()
    abouts = [json.loads(sample["json"]) for sample in samples]
    assert len(samples) == 16 and len({about["id"] for about in abouts}) == 16
    for sample, about in zip(samples, abouts, strict=True):
        assert sample["0000.jpg"].startswith(b"\xff\xd8") and sample["flac"].startswith(b"fLaC")
        assert about["labels"] == [about["path"].split("/")[1]] and about["split"] == "train"
        assert len(about["video"]["times_seconds"]) == 16


def test_headers_are_those_of_tarfile():
    info = tarfile.TarInfo("000000384.0000.jpg")
    info.size = 27341
    assert _header(info.name, info.size) == info.tobuf(tarfile.USTAR_FORMAT)


def test_a_sample_lies_in_one_piece_and_its_json_comes_first(demo):
    rows = load_manifest(settings(demo / "shards")).rows
    with tarfile.open(demo / "shards" / "val-000000.tar") as file:
        members = file.getmembers()
        assert {(m.mtime, m.uid, m.gid, m.mode) for m in members} == {(0, 0, 0, 0o644)}
    names = [member.name.split(".", 1) for member in members]
    keys = list(dict.fromkeys(key for key, _ in names))
    assert keys == sorted(row.path.name for row in rows if row.path.parent.name == "val-000000.tar")
    first = [rest for key, rest in names if key == keys[0]]
    assert first == ["json", *(f"{n:04d}.jpg" for n in range(16)), "flac"]


def test_the_index_is_a_table_of_all_clips(demo):
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(demo / "shards" / "index.parquet").to_pylist()
    assert [row["id"] for row in table] == [
        r.id for r in load_manifest(settings(demo / "clips")).rows
    ]
    row = table[0]
    with (demo / "shards" / row["shard"]).open("rb") as file:
        file.seek(row["offset"])
        sample = file.read(row["size"])
    about = json.loads(sample[512 : 512 + row["json_size"]])
    assert about["id"] == row["id"] and about["labels"] == [row["label"]]
    with tarfile.open(fileobj=io.BytesIO(sample + bytes(1024))) as file:
        assert file.getnames()[0] == f"{row['key']:09d}.json"


# --- the reader ---------------------------------------------------------------------------------


@pytest.fixture
def reader(demo):
    return ShardReader(demo / "shards" / "index.parquet")


def test_a_reader_can_be_pickled_while_files_are_open(demo, reader):
    row = load_manifest(settings(demo / "shards")).rows[0]
    times = np.array([0.1, 0.9])
    before = reader.frames(row.path, times, (16, 16))
    copy = pickle.loads(pickle.dumps(reader))
    assert copy == reader and copy._opened is None
    np.testing.assert_array_equal(copy.frames(row.path, times, (16, 16)).pixels, before.pixels)


def num_open(folder) -> int:
    """Shards of a folder that this process has open."""
    files = (os.path.realpath(entry) for entry in glob.glob("/proc/self/fd/*"))
    return sum(file.startswith(f"{folder}/") and file.endswith(".tar") for file in files)


def test_few_files_stay_open_and_none_after_closing(demo, reader, monkeypatch):
    monkeypatch.setattr("sightsound.data.shards.reader._OPEN_FILES", 2)
    gc.collect()
    before = num_open(demo)
    for row in load_manifest(settings(demo / "shards")).rows:
        reader.duration(row.path)
        assert num_open(demo) <= before + 2
    assert num_open(demo) == before + 2
    reader.close()
    assert num_open(demo) == before
    assert reader.duration(row.path) > 1.9


def test_a_forked_process_reads_the_same(demo, reader):
    rows = load_manifest(settings(demo / "shards")).rows
    expected = [reader.duration(row.path) for row in rows]
    process = os.fork()
    if process == 0:
        os._exit(0 if [reader.duration(row.path) for row in rows] == expected else 1)
    assert [reader.duration(row.path) for row in rows] == expected
    assert os.waitpid(process, 0)[1] == 0


def test_times_and_marks_are_those_of_the_file(demo, reader):
    row = load_manifest(settings(demo / "shards")).rows[3]
    path = demo / "clips" / row.id
    times = np.array([-1.0, 0.0, 0.5, 0.01, 1.99, 2.0, 7.0, 0.5])
    one, other = FileReader().frames(path, times, (8, 8)), reader.frames(row.path, times, (8, 8))
    np.testing.assert_array_equal(one.times_seconds, other.times_seconds)
    np.testing.assert_array_equal(one.valid, other.valid)
    one, other = (
        r.sound(p, -0.5, 3.0, 16000) for r, p in ((FileReader(), path), (reader, row.path))
    )
    np.testing.assert_array_equal(one.valid, other.valid)
    assert FileReader().duration(path) == reader.duration(row.path)


def test_another_rate_is_an_error_before_anything_is_read(demo):
    audio = dataclasses.replace(FRONT_END.audio, rate_hz=8000)
    front_end = dataclasses.replace(FRONT_END, audio=audio)
    message = "hold sound at 16000 Hz, the front end wants 8000 Hz.*prepare .* --rate_hz 8000"
    with pytest.raises(ValueError, match=message):
        dataset(demo / "shards", front_end=front_end)
    dataset(demo / "shards", front_end=front_end, modalities=("video",))  # asks for no sound
    reader = ShardReader(demo / "shards" / "index.parquet")
    row = load_manifest(settings(demo / "shards")).rows[0]
    with pytest.raises(ValueError, match="rate is 8000; these shards hold sound at 16000 Hz"):
        reader.sound(row.path, 0.0, 1.0, 8000)


# --- what can go wrong --------------------------------------------------------------------------


@pytest.fixture
def copy(demo, tmp_path):
    """Shards that may be spoiled."""
    import shutil

    return shutil.copytree(demo / "shards", tmp_path / "shards")


def test_a_missing_shard_is_named(copy):
    (copy / "val-000000.tar").unlink()
    with pytest.raises(ValueError, match=r"shard '.*val-000000.tar' is missing; copy it again"):
        load_manifest(settings(copy))


def test_a_truncated_shard_is_named(copy):
    os.truncate(copy / "val-000000.tar", 5000)
    message = r"shard '.*val-000000.tar' is truncated: 5000 bytes of \d+; copy it again"
    with pytest.raises(ValueError, match=message):
        load_manifest(settings(copy))


def test_a_shard_truncated_later_is_named(copy):
    files = dataset(copy)
    for shard in copy.glob("*.tar"):
        os.truncate(shard, 100)
    with pytest.raises(ValueError, match=r"shard '.*tar' is truncated: it ends before byte \d+"):
        files[0, 0, 0]


def test_damage_inside_a_shard_is_a_file_that_cannot_be_decoded(copy):
    row = load_manifest(settings(copy)).rows[0]
    about = Index(copy / "index.parquet")
    place = int(np.searchsorted(about.places["key"], int(row.path.name)))
    start = int(about.places["offset"][place]) + 512 + int(about.places["json_size"][place])
    with row.path.parent.open("r+b") as file:
        file.seek(start + 1024)
        file.write(bytes(5000))
    with pytest.raises(DecodeError, match="the shard is damaged here"):
        ShardReader(copy / "index.parquet").frames(row.path, np.array([0.0]), (8, 8))


def test_unfinished_shards_are_no_data(copy):
    (copy / "index.parquet").unlink()
    with pytest.raises(ValueError, match="are not finished; complete them with"):
        load_manifest(settings(copy))


def test_shards_of_a_later_version(copy):
    about = json.loads((copy / "shards.json").read_text())
    (copy / "shards.json").write_text(json.dumps(about | {"version": 99}))
    with pytest.raises(ValueError, match=r"of version 99, this program reads 1: install a newer"):
        load_manifest(settings(copy))


@pytest.mark.parametrize("text", ["{", "{}", "[1]", "{'version': 1}"])
def test_a_damaged_description_of_shards_is_named(copy, text):
    (copy / "shards.json").write_text(text)
    with pytest.raises(ValueError, match=r"shards.json' is damaged; copy it again, or make the sh"):
        load_manifest(settings(copy))


def test_damage_in_the_json_of_a_clip_is_a_file_that_cannot_be_decoded(copy):
    shard = next(copy.glob("*.tar"))
    with shard.open("r+b") as file:
        file.seek(512)
        file.write(bytes(100))
    clips = dataset(copy, train=False, bad_files="drop")
    problems = [clips[0, index, 0].problems for index in range(len(clips))]
    causes = [problem.cause for found in problems for problem in found]
    assert causes == ["the shard is damaged here (its JSON cannot be read)"]


def test_an_exclude_list_holds_for_shards_too(copy, tmp_path):
    rows = load_manifest(settings(copy)).rows
    (tmp_path / "list.csv").write_text(f"id\n{rows[0].id}\n")
    kept = load_manifest(settings(copy, exclude=str(tmp_path / "list.csv"))).rows
    assert kept == rows[1:]
