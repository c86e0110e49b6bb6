"""Clips through frozen encoders: what each second sees, what is padding, what is kept on disk."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sightsound.config.settings import DataSettings
from sightsound.data.dataset import ClipDataset
from sightsound.data.loader import Loader, collate
from sightsound.data.rows import Manifest, Row
from sightsound.features.cache import FeatureCache, FeatureDataset
from sightsound.features.encoding import Encoding, counted, feature_front_end
from sightsound.features.extract import extract, verify
from sightsound.media.decode import DecodeError
from sightsound.media.encode import write_video
from sightsound.media.front_end import AudioFrontEnd, FeatureFrontEnd, FrontEnd, VideoFrontEnd

SETTINGS = DataSettings(windows="start", crop="full", time_limit_seconds=0.0)


class Brightness(nn.Module):
    """A picture's pixels, normalised, as a map of 2 x 2 means."""

    modality, reads_waveform, source = "video", False, "brightness"
    front_end = VideoFrontEnd(
        num_frames=1, window_seconds=1.0, height=8, width=8, short_side=8,
        mean=(0.0,) * 3, deviation=(1.0,) * 3,
    )  # fmt: skip
    feature_shape = (2, 2, 3)

    def forward(self, x):
        return nn.functional.avg_pool2d(x, 4).permute(0, 2, 3, 1)


class Loudness(nn.Module):
    """Mean of each half of a second's log-mel; the samples themselves with `reads_waveform`."""

    modality, source = "audio", "loudness"
    front_end = AudioFrontEnd(num_frames=96, num_mels=8, fft_samples=512, log_offset=0.01)
    feature_shape = (2, 1, 8)

    def __init__(self, reads_waveform=False):
        super().__init__()
        self.reads_waveform = reads_waveform
        self.seen = []

    def forward(self, x):
        self.seen.append(x)
        if self.reads_waveform:
            return x.unflatten(1, (2, 1, 8, -1)).square().mean(-1)
        return x[:, 0].unflatten(1, (2, -1)).mean(2)[:, :, None]


@pytest.fixture
def encoders(monkeypatch):
    """Encoders by name, and hashes of their weights that a test can change."""
    table = {"b:": Brightness(), "l:": Loudness(), "w:": Loudness(reads_waveform=True)}
    hashes = {"brightness": "1" * 64, "loudness": "2" * 64}
    monkeypatch.setattr("sightsound.features.load.load_encoder", table.__getitem__)
    monkeypatch.setattr("sightsound.features.load.weights_hash", hashes.__getitem__)
    return table, hashes


def front_end(**changes) -> FrontEnd:
    options = {"segments": 3, "video_encoder": "b:", "audio_encoder": "l:"}
    return feature_front_end(FeatureFrontEnd(**options | changes))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Grey clips that grow brighter every second, with a tone; one is short, one without sound."""
    folder = tmp_path_factory.mktemp("clips")
    levels = np.repeat([40, 80, 120, 160], 10).astype(np.uint8)
    frames = np.broadcast_to(levels[:, None, None, None], (40, 16, 16, 3))
    tone = (0.3 * np.sin(np.arange(64000) / 5)).astype(np.float32)
    write_video(folder / "a.mp4", frames, frames_per_second=10, waveform=tone)
    write_video(folder / "short.mp4", frames[:12], frames_per_second=10, waveform=tone[:20000])
    write_video(folder / "mute.mp4", frames, frames_per_second=10, waveform=None)
    (folder / "bad.mp4").write_bytes(b"not a video at all")
    return folder


def clips(folder, names, front, settings=SETTINGS, **options) -> ClipDataset:
    rows = tuple(Row(name, folder / name, ("x",), split="train") for name in names)
    manifest = Manifest(rows, {"label": ["x", "y"]}, "single", folder)
    return ClipDataset(manifest, rows, front, settings, train=False, seed=0, **options)


def encoded(dataset, front):
    return Encoding(front)(collate([dataset[0, i, 0] for i in range(len(dataset))]))


def test_every_second_becomes_a_feature(folder, encoders):
    front = front_end()
    assert front.shapes == {"video": (3, 3), "audio": (3, 8)}
    batch = encoded(clips(folder, ["a.mp4"], front), front)
    assert batch.encoded and batch.complete
    torch.testing.assert_close(
        batch.video[0].mean(1), torch.tensor([40.0, 80, 120]), atol=3, rtol=0
    )
    assert batch.audio.shape == (1, 3, 8) and batch.audio.std(1).max() < 0.2


def test_maps_are_kept_where_asked_for(folder, encoders):
    front = front_end(video_maps=True, audio_maps=True)
    batch = encoded(clips(folder, ["a.mp4"], front), front)
    assert batch.video.shape == (1, 3, 2, 2, 3) and batch.audio.shape == (1, 3, 2, 1, 8)


def test_frames_of_a_second_are_averaged(folder, encoders):
    front = front_end(frames_per_segment=4)
    batch = encoded(clips(folder, ["a.mp4"], front), front)
    torch.testing.assert_close(
        batch.video[0].mean(1), torch.tensor([40.0, 80, 120]), atol=3, rtol=0
    )


def test_what_is_not_there_is_zero_and_not_valid(folder, encoders):
    front = front_end()
    batch = encoded(clips(folder, ["short.mp4", "mute.mp4"], front), front)
    assert batch.valid["video"].tolist() == [[True, False, False], [True, True, True]]
    assert batch.valid["audio"].tolist() == [[True, False, False], [False, False, False]]
    assert batch.present["audio"].tolist() == [True, False]
    assert (
        not batch.audio[0, 1:].any() and not batch.audio[1].any() and not batch.video[0, 1:].any()
    )


def test_silence_follows_where_sound_ends_within_a_second(folder, encoders):
    front = front_end(audio_encoder="l:", segments=2)
    dataset = clips(folder, ["short.mp4"], front)
    encoded(dataset, front)
    second = encoders[0]["l:"].seen[-1][1, 0]  # .25 s of sound, then nothing
    assert second[:20].mean() > second[40:].mean()
    assert second[40:].unique().item() == pytest.approx(np.log(0.01))


def test_encoders_of_samples_get_them_all(folder, encoders):
    front = front_end(audio_encoder="w:")
    encoded(clips(folder, ["a.mp4"], front), front)
    samples = encoders[0]["w:"].seen[-1]
    assert samples.shape == (3, 16000)
    expected = 0.3 * np.sin(np.arange(48000) / 5)
    np.testing.assert_allclose(samples.flatten()[8000:40000], expected[8000:40000], atol=0.05)


def test_half_of_a_segment_counts():
    parts = torch.tensor([[[1, 1, 0, 0], [1, 0, 0, 0]], [[0, 1, 0, 0], [0, 0, 0, 0]]]).bool()
    assert counted(parts).tolist() == [[True, False], [True, False]]


def test_other_weights_are_refused(folder, encoders):
    front = front_end()
    dataset = clips(folder, ["a.mp4"], front)
    encoders[1]["loudness"] = "3" * 64
    with pytest.raises(ValueError, match="weights of encoder 'l:' are not those .* bring the old"):
        encoded(dataset, front)
    assert front_end().id != front.id


def test_mistakes_are_named(encoders):
    with pytest.raises(ValueError, match="names no encoder; give video_encoder, audio_encoder"):
        front_end(video_encoder="", audio_encoder="")
    with pytest.raises(ValueError, match="video_encoder is 'l:', an encoder of audio"):
        front_end(video_encoder="l:")


def test_front_ends_survive_json(encoders):
    front = front_end(half=True)
    assert FrontEnd.from_dict(front.to_dict()) == front
    assert "features" not in FrontEnd().to_dict()


# --- on disk --------------------------------------------------------------------------------------


def stored(folder, names, tmp_path, **options):
    front = front_end(**options)
    dataset = clips(folder, names, front)
    return dataset, FeatureCache(tmp_path / "features", dataset), Encoding(front)


def test_stored_features_are_those_computed_at_every_step(folder, encoders, tmp_path):
    names = ["a.mp4", "short.mp4", "mute.mp4"]
    dataset, cache, encoding = stored(folder, names, tmp_path, half=True)
    assert extract(dataset, cache, encoding).num_new == 3
    assert verify(dataset, cache, encoding) == {}
    keys = [[(0, 0, 0), (0, 1, 0), (0, 2, 0)]]
    with Loader(dataset) as fresh, Loader(FeatureDataset(dataset, cache)) as kept:
        (first,), (second,) = fresh.iterate(keys), kept.iterate(keys)
    first = encoding(first)
    for field in dataclasses.fields(first):
        ours, theirs = getattr(first, field.name), getattr(second, field.name)
        if isinstance(ours, dict):
            assert all(torch.equal(ours[name], theirs[name]) for name in ours), field.name
        elif torch.is_tensor(ours):
            assert torch.equal(ours, theirs), field.name
        else:
            assert ours == theirs, field.name


def test_what_is_there_is_not_computed_again(folder, encoders, tmp_path):
    dataset, cache, encoding = stored(folder, ["a.mp4", "mute.mp4"], tmp_path)
    extract(dataset, cache, encoding)
    counts = []
    again = FeatureCache(tmp_path / "features", dataset)
    assert extract(dataset, again, encoding, progress=lambda *c: counts.append(c)).num_new == 0
    assert counts == []


def test_a_changed_file_encoder_or_cut_is_noticed(encoders, folder, tmp_path):
    copy = tmp_path / "a.mp4"
    copy.write_bytes((folder / "a.mp4").read_bytes())
    dataset, cache, encoding = stored(tmp_path, ["a.mp4"], tmp_path)
    row = dataset.rows[0]
    extract(dataset, cache, encoding)
    assert cache.holds(row)
    copy.write_bytes((folder / "mute.mp4").read_bytes())
    assert not cache.holds(row)
    with pytest.raises(
        FileNotFoundError, match="no features of .*a.mp4.* run 'sightsound extract'"
    ):
        cache.read(row)
    copy.write_bytes((folder / "a.mp4").read_bytes())
    assert cache.holds(row)
    for other in (
        clips(tmp_path, ["a.mp4"], front_end(frames_per_segment=2)),
        clips(tmp_path, ["a.mp4"], front_end(), dataclasses.replace(SETTINGS, windows="centre")),
    ):
        assert not FeatureCache(tmp_path / "features", other).holds(row)
    encoders[1]["brightness"] = "4" * 64
    other = clips(tmp_path, ["a.mp4"], front_end())
    assert not FeatureCache(tmp_path / "features", other).holds(row)


def test_damage_is_found_by_verifying(folder, encoders, tmp_path):
    dataset, cache, encoding = stored(folder, ["a.mp4", "mute.mp4", "short.mp4"], tmp_path)
    extract(dataset, cache, encoding)
    clip = FeatureDataset(dataset, cache)[0, 0, 0]
    cache.write(dataset.rows[0], dataclasses.replace(clip, video=clip.video + 1))
    cache.path(dataset.rows[1]).write_bytes(b"rubbish")
    cache.path(dataset.rows[2]).unlink()
    wrong = verify(dataset, cache, encoding)
    assert wrong["a.mp4"] == "video differs by up to 1"
    assert wrong["mute.mp4"].startswith("cannot be read") and len(wrong) == 3
    assert wrong["short.mp4"] == "nothing is stored"


def test_an_interruption_loses_the_clips_in_hand(folder, encoders, tmp_path):
    dataset, cache, encoding = stored(folder, ["a.mp4"] * 1 + ["mute.mp4", "short.mp4"], tmp_path)

    def stop(done, of):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(dataset, cache, encoding, progress=stop)
    assert [cache.holds(row) for row in dataset.rows] == [True, False, False]
    assert extract(dataset, cache, encoding).num_new == 2
    assert not list((tmp_path / "features").rglob("*.tmp"))


def test_bad_files_are_dropped_and_told_each_time(folder, encoders, tmp_path):
    front = front_end()
    settings = dataclasses.replace(SETTINGS, bad_files="drop")
    dataset = clips(folder, ["bad.mp4", "a.mp4"], front, settings)
    cache = FeatureCache(tmp_path, dataset)
    assert [p.action for p in extract(dataset, cache, Encoding(front)).problems] == ["dropped"]
    assert extract(dataset, cache, Encoding(front)).num_new == 0
    with Loader(FeatureDataset(dataset, cache)) as loader:
        (batch,) = loader.iterate([[(0, 0, 0), (0, 1, 0)]])
        assert batch.id == ["a.mp4"] and loader.problems[0].id == "bad.mp4"
    strict = clips(folder, ["bad.mp4"], front)
    with pytest.raises(DecodeError, match="bad.mp4"):
        FeatureDataset(strict, cache)[0, 0, 0]


def test_clips_cut_at_random_have_no_features(folder, encoders, tmp_path):
    dataset = clips(folder, ["a.mp4"], front_end(), DataSettings())
    with pytest.raises(ValueError, match="cut anew each time: data.windows is 'random'"):
        FeatureCache(tmp_path, dataset)


SCRIPT = """
import sys, time
sys.path[:0] = {paths!r}
from pathlib import Path
from unittest import mock
import test_encoding as t
from sightsound.features.extract import extract
from sightsound.features.encoding import Encoding
from sightsound.features.cache import FeatureCache

table = {{"b:": t.Brightness(), "l:": t.Loudness()}}
hashes = {{"brightness": "1" * 64, "loudness": "2" * 64}}
with mock.patch("sightsound.features.load.load_encoder", table.__getitem__), \\
     mock.patch("sightsound.features.load.weights_hash", hashes.__getitem__):
    front = t.front_end()
    folder = Path({folder!r})
    dataset = t.clips(folder, sorted(p.name for p in folder.glob("copy*.mp4")), front)
    cache = FeatureCache({features!r}, dataset)
    extract(dataset, cache, Encoding(front), progress=lambda done, of: print(done, flush=True))
"""


def test_a_killed_extraction_loses_the_clip_in_hand(folder, encoders, tmp_path):
    """Every clip reported is kept, whole; the same call does the rest."""
    videos, features = tmp_path / "videos", tmp_path / "features"
    videos.mkdir()
    content = (folder / "a.mp4").read_bytes()
    for number in range(12):  # the same clip with something behind it: other content, other key
        (videos / f"copy{number:02d}.mp4").write_bytes(content + bytes([number]) * 8)
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    code = SCRIPT.format(paths=paths, folder=str(videos), features=str(features))
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        reported = [process.stdout.readline() for _ in range(3)]
        process.kill()
        reported += process.stdout.readlines()
    front = front_end()
    dataset = clips(videos, sorted(path.name for path in videos.iterdir()), front)
    cache = FeatureCache(features, dataset)
    kept = [cache.holds(row) for row in dataset.rows]
    assert len(reported) <= sum(kept) <= len(reported) + 1 and kept == sorted(kept, reverse=True)
    assert extract(dataset, cache, Encoding(front)).num_new == 12 - sum(kept)
    assert verify(dataset, cache, Encoding(front)) == {}


def test_decoding_processes_have_a_core_each(folder, encoders, tmp_path, monkeypatch):
    dataset, cache, encoding = stored(folder, ["a.mp4"], tmp_path)
    seen, before = [], torch.get_num_threads()

    def looked(batch):
        seen.append(torch.get_num_threads())
        return encoding(batch)

    looked.device = encoding.device
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(3)), raising=False)
    try:
        torch.set_num_threads(3)
        extract(dataset, cache, looked, num_workers=1)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert seen == [2]
