"""Generated sets: what they contain, that they are the same for the same seed, and their safety."""

import csv
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from sightsound.config.settings import DataSettings
from sightsound.data import synthetic
from sightsound.data.manifest import load_manifest
from sightsound.data.synthetic import KINDS, draw_clip, draw_picture, draw_sound, plan, write_demo
from sightsound.media.frames import read_frames
from sightsound.media.probe import probe
from sightsound.media.sound import read_audio

SMALL = {"num_train": 8, "num_val": 0, "num_test": 8, "workers": 0}


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return write_demo(tmp_path_factory.mktemp("demo") / "set", **SMALL)


def test_files_are_real_and_load_as_a_manifest(demo):
    manifest = load_manifest(DataSettings(path=str(demo.parent)))
    assert manifest.source == demo and manifest.task == "single"
    assert manifest.labels == {"label": list(KINDS["demo"])}
    assert [len(manifest.split(split)) for split in ("train", "val", "test")] == [8, 0, 8]
    info = probe(manifest.rows[0].path)
    assert (info.video.height, info.video.width, info.audio.rate_hz) == (64, 64, 16000)
    assert info.duration_seconds == pytest.approx(2.0, abs=0.1)


def test_class_folders_say_the_same(demo, tmp_path):
    for split in ("train", "test"):
        (tmp_path / split).symlink_to(demo.parent / split)
    folders = load_manifest(DataSettings(path=str(tmp_path)))
    assert folders.id_hash == load_manifest(DataSettings(path=str(demo))).id_hash


def test_encoding_keeps_the_content(demo):
    clip = next(plan("demo", numbers={"train": 8, "val": 0, "test": 8}, seed=0))
    frames, waveform = draw_clip(clip)
    decoded = read_frames(demo.parent / clip.path, np.array([1.0]), (64, 64)).pixels[0]
    difference = decoded.transpose(1, 2, 0).astype(float) - frames[8]
    assert np.abs(difference).mean() < 25
    sound = read_audio(demo.parent / clip.path, 0.0, 2.0).samples
    assert np.corrcoef(sound, waveform)[0, 1] > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_classes_and_cues_are_balanced(kind):
    clips = list(plan(kind, numbers={"train": 480, "test": 240}, seed=0))
    train = [clip for clip in clips if clip.split == "train"]
    assert set(Counter(clip.label for clip in train).values()) == {480 // len(KINDS[kind])}
    assert len({clip.path for clip in clips}) == len({clip.seed for clip in clips}) == 720


def best_accuracy(clips, cue) -> float:
    """Share right of the best guess from one cue alone."""
    tables: dict[object, Counter] = {}
    for clip in clips:
        tables.setdefault(cue(clip), Counter())[clip.label] += 1
    return sum(max(table.values()) for table in tables.values()) / len(clips)


def test_what_one_stream_can_tell_at_best():
    demo = list(plan("demo", numbers={"train": 480}, seed=0))
    xor = list(plan("xor", numbers={"train": 480}, seed=0))
    for clips in (demo, xor):
        assert best_accuracy(clips, lambda clip: clip.picture) == pytest.approx(0.5)
        assert best_accuracy(clips, lambda clip: clip.sound) == pytest.approx(0.5)
        assert best_accuracy(clips, lambda clip: (clip.picture, clip.sound)) == 1.0


def test_adding_two_streams_tells_at_most_three_quarters_of_xor():
    # Of each class's two (picture, sound) pairs and the other's two, an additive score of picture
    # and sound can be right about three: a11 + a22 > a12 + a21 and its contrary exclude each other.
    for first, second in (("tone_fits", "tone_differs"), ("chirp_fits", "chirp_differs")):
        fits, differs = KINDS["xor"][first], KINDS["xor"][second]
        pictures, sounds = zip(*fits, strict=True)
        assert set(differs) == {(pictures[0], sounds[1]), (pictures[1], sounds[0])}


def test_same_seed_same_clip():
    numbers = {"train": 3}
    first, again, other = (list(plan("demo", numbers=numbers, seed=s))[2] for s in (0, 0, 1))
    assert all(
        np.array_equal(a, b) for a, b in zip(draw_clip(first), draw_clip(again), strict=True)
    )
    assert not np.array_equal(draw_clip(first)[1], draw_clip(other)[1])
    # More clips of a split do not change those before, nor those of other splits.
    assert list(plan("demo", numbers={"train": 5}, seed=0))[:3] == list(
        plan("demo", numbers=numbers, seed=0)
    )


@pytest.mark.parametrize("name", synthetic.PICTURES)
def test_object_is_in_every_frame(name):
    for seed in range(5):
        frames = draw_picture(name, generator=np.random.default_rng(seed))
        assert frames.shape == (16, 64, 64, 3) and frames.dtype == np.uint8
        # Colourful pixels: the background is nearly grey.
        colour = frames.astype(int).max(-1) - frames.astype(int).min(-1)
        assert ((colour > 90).mean((1, 2)) > 0.01).all()


@pytest.mark.parametrize(
    ("name", "low_hz", "high_hz"), [("low_tone", 280, 450), ("high_tone", 1100, 1800)]
)
def test_tones_lie_where_they_should(name, low_hz, high_hz):
    for seed in range(5):
        sound = draw_sound(name, generator=np.random.default_rng(seed))
        assert sound.shape == (32000,) and sound.dtype == np.float32 and np.abs(sound).max() <= 1
        peak = np.abs(np.fft.rfft(sound)).argmax() / 2  # bins of half a hertz
        assert low_hz - 1 < peak < high_hz + 1


@pytest.mark.parametrize(("name", "sign"), [("rising_chirp", 1), ("falling_chirp", -1)])
def test_chirps_go_the_right_way(name, sign):
    for seed in range(5):
        sound = draw_sound(name, generator=np.random.default_rng(seed))[12000:]
        windows = sound[: len(sound) // 800 * 800].reshape(-1, 800) * np.hanning(800)
        pitch = np.abs(np.fft.rfft(windows)).argmax(-1)
        steps = np.diff(pitch)
        assert (sign * steps > 0).sum() > 2 * (sign * steps < 0).sum()


def test_truth_is_written(demo):
    with (demo.parent / "truth.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 16
    assert all((row["picture"], row["sound"]) in KINDS["demo"][row["label"]] for row in rows)


def test_a_whole_set_is_kept_and_an_interrupted_one_completed(demo):
    clip = sorted(demo.parent.rglob("*.mp4"))[0]
    before = clip.stat().st_mtime_ns
    assert write_demo(demo.parent, **SMALL) == demo
    assert clip.stat().st_mtime_ns == before
    clip.unlink()
    calls = []
    write_demo(demo.parent, **SMALL, progress=lambda *numbers: calls.append(numbers))
    assert clip.is_file() and calls == [(16, 16)]


def test_processes_write_the_same_clips(tmp_path):
    numbers = {"num_train": 16, "num_val": 0, "num_test": 0}
    folders = [tmp_path / "here", tmp_path / "there"]
    for folder, workers in zip(folders, (0, 2), strict=True):
        write_demo(folder, **numbers, workers=workers)
    names = [sorted(p.relative_to(folder) for p in folder.rglob("*.mp4")) for folder in folders]
    assert names[0] == names[1] and len(names[0]) == 16
    for name in names[0][:2]:
        first, second = (read_audio(folder / name, 0.0, 2.0).samples for folder in folders)
        assert np.array_equal(first, second)


def test_other_folders_are_never_written_to(demo, tmp_path):
    with pytest.raises(ValueError, match=r"holds another synthetic set \(seed 0 instead of 1\)"):
        write_demo(demo.parent, **SMALL, seed=1)
    (tmp_path / "mine.txt").touch()
    with pytest.raises(ValueError, match="is not empty and holds no synthetic set"):
        write_demo(tmp_path, **SMALL)
    with pytest.raises(ValueError, match="is a file; give a folder"):
        write_demo(tmp_path / "mine.txt", **SMALL)
    with pytest.raises(ValueError, match=r"unknown kind of synthetic set 'dmo'.*mean 'demo'"):
        write_demo(tmp_path / "new", **SMALL, kind="dmo")
    with pytest.raises(ValueError, match="numbers of clips are .*; accepted: 0 or more, not all"):
        write_demo(tmp_path / "new", num_train=0, num_val=0, num_test=0)


def test_writers_do_not_import_torch():
    code = "import sys, sightsound.data.synthetic; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
