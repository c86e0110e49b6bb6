"""Repeated augmentation: each clip several times in a batch, cut anew, on one device."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sightsound.config.settings import DataSettings, RunConfig, TrainSettings
from sightsound.data.dataset import ClipDataset
from sightsound.data.loader import Loader
from sightsound.data.rows import Manifest, Row
from sightsound.data.sampling import train_keys, with_turns
from sightsound.media.encode import write_video
from sightsound.media.front_end import AudioFrontEnd, FrontEnd, VideoFrontEnd
from sightsound.train.assemble import Parts, assemble, launch, overfit
from sightsound.train.batches import step_keys

FRONT_END = FrontEnd(
    "tiny",
    AudioFrontEnd(num_frames=40, num_mels=16, log_offset=1e-6),
    VideoFrontEnd(num_frames=2, window_seconds=0.4, height=16, width=16, short_side=16),
)
MODEL = {
    "name": "mbt",
    "width": 8,
    "depth": 1,
    "num_heads": 1,
    "mlp_width": 8,
    "fusion_layer": 0,
    "video_patch": [1, 16, 16],
    "audio_patch": [16, 16],
}
NUM_CLIPS = 22


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Empty files: 22 training clips of two classes."""
    folder = tmp_path_factory.mktemp("clips")
    for index in range(NUM_CLIPS):
        path = folder / "train" / ("cat", "dog")[index % 2] / f"{index}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def assembled(folder: Path, *, repeats: int, accumulate: int = 1, batch_size: int = 8) -> Parts:
    data = DataSettings(path=str(folder), repeats=repeats)
    train = TrainSettings(epochs=2, batch_size=batch_size, accumulate=accumulate, accelerator="cpu")
    front_end = {
        "name": "mbt",
        "audio": {"num_frames": 16, "num_mels": 16},
        "video": {"num_frames": 1, "height": 16, "width": 16, "short_side": 16},
    }
    config = RunConfig(model=MODEL, front_end=front_end, data=data, train=train)
    return assemble(config, launch(train))


def test_keys_of_a_clip_are_its_views_one_after_the_other():
    assert train_keys(with_turns([[3, 1]]), epoch=7, repeats=2) == [
        [(7, 3, 0), (7, 3, 1), (7, 1, 0), (7, 1, 1)]
    ]


def test_a_row_that_comes_again_in_an_epoch_is_cut_anew():
    """As rows of small classes do in balanced batches; so are their repeats."""
    batches = with_turns([[3, 1], [3, 3]])
    assert batches == [[(3, 0), (1, 0)], [(3, 1), (3, 2)]]
    assert train_keys(batches, epoch=0)[1] == [(0, 3, 1), (0, 3, 2)]
    assert train_keys(batches[1:], epoch=0, repeats=2) == [
        [(0, 3, 2), (0, 3, 3), (0, 3, 4), (0, 3, 5)]
    ]


def test_an_epoch_shows_every_clip_in_smaller_batches_of_different_clips(folder):
    parts = assembled(folder, repeats=2)
    assert (parts.steps_per_epoch, parts.total) == (NUM_CLIPS // 4, 2 * (NUM_CLIPS // 4))
    assert "10 steps of 4 clips, each 2 times anew, on 1 device(s)" in parts.describe(0)
    batches = list(step_keys(parts, 0))
    assert len(batches) == parts.total
    for batch in batches:
        rows = [row for _, row, _ in batch]
        assert rows[::2] == rows[1::2] and len(set(rows)) == 4
        assert [view for _, _, view in batch] == [0, 1] * 4
    first = [row for batch in batches[:5] for _, row, view in batch if view == 0]
    assert len(set(first)) == 20
    assert list(step_keys(parts, 7)) == batches[7:]  # resumed


def test_without_repeats_nothing_changes(folder):
    parts = assembled(folder, repeats=1)
    assert parts.steps_per_epoch == NUM_CLIPS // 8
    assert "of 8 clips on 1 device(s)" in parts.describe(0)
    assert {view for batch in step_keys(parts, 0) for _, _, view in batch} == {0}


def test_passes_share_the_batch(folder):
    whole = list(step_keys(assembled(folder, repeats=2), 0))
    parts = list(step_keys(assembled(folder, repeats=2, accumulate=4), 0))
    assert [a + b + c + d for a, b, c, d in zip(*[iter(parts)] * 4, strict=True)] == whole


def test_repeats_stay_on_one_device(folder):
    parts = assembled(folder, repeats=2, batch_size=4)
    ranks = [
        dataclasses.replace(parts, fabric=SimpleNamespace(world_size=2, global_rank=rank), total=5)
        for rank in (0, 1)
    ]
    for ours, theirs in zip(*(step_keys(rank, 0) for rank in ranks), strict=True):
        assert len(ours) == len(theirs) == 4
        assert not {row for _, row, _ in ours} & {row for _, row, _ in theirs}


def test_batches_hold_whole_clips(folder):
    with pytest.raises(ValueError, match="batch_size 8 must be a multiple of --data.repeats 3: it"):
        assembled(folder, repeats=3)
    with pytest.raises(ValueError, match="22 training clips do not fill one batch of 32 on 1"):
        assembled(folder, repeats=2, batch_size=64)


def test_the_self_test_repeats_nothing(folder):
    config = assembled(folder, repeats=2).config
    config.train.overfit = 4
    assert overfit(config).data.repeats == 1


# clips ----------------------------------------------------------------------------------------


def dataset(folder: Path, **settings: object) -> ClipDataset:
    """One clip of noise, for training."""
    noise = np.random.default_rng(0)
    frames = noise.integers(0, 256, (24, 32, 32, 3), dtype=np.uint8)
    sound = noise.uniform(-0.5, 0.5, 48000).astype(np.float32)
    write_video(folder / "a.mp4", frames, frames_per_second=8, waveform=sound)
    rows = (Row("a.mp4", folder / "a.mp4", ("a",), split="train"),)
    manifest = Manifest(rows, {"label": ["a"]}, "single", folder)
    return ClipDataset(manifest, rows, FRONT_END, DataSettings(**settings), train=True, seed=0)


@pytest.mark.parametrize("crop", ["random", "jitter"])
def test_windows_and_crops_are_drawn_anew_for_each_repeat(tmp_path, crop):
    clips = dataset(tmp_path, crop=crop)
    views = range(3)
    starts = [clips.windows(clips.rows[0], epoch=4, view=view)["video"] for view in views]
    boxes = [clips.crop(clips.rows[0], epoch=4, view=view)(32, 32) for view in views]
    assert len(set(starts)) == len(set(boxes)) == 3
    assert starts[2] == clips.windows(clips.rows[0], epoch=4, view=2)["video"]
    assert not torch.equal(clips[4, 0, 0].video, clips[4, 0, 1].video)
    assert clips[4, 0, 1].view == 1


def test_the_first_view_is_cut_as_it_always_was(tmp_path):
    """Numbers from before there were repeats: runs without them go on as they began."""
    clips = dataset(tmp_path)
    start = clips.windows(clips.rows[0], epoch=4, view=0)["video"].start_seconds
    box = clips.crop(clips.rows[0], epoch=4)(320, 480)
    assert (start, box.top, box.left) == pytest.approx((2.24848848, 56.8435223, 239.0905332))


def test_repeats_of_a_cached_clip_are_one_and_the_same(tmp_path):
    clips = dataset(tmp_path, windows="centre", crop="centre")
    (batch,) = Loader(clips, cache=True).iterate([[(0, 0, 0), (0, 0, 1)]])
    assert len(batch) == 2 and torch.equal(batch.video[0], batch.video[1])
