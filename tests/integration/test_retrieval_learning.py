"""Pre-training on real files in which something in the sound tells what is to be seen."""

import json
from pathlib import Path

import numpy as np
import pytest

from sightsound.cli import main
from sightsound.media.encode import write_video

CLIPS = {"train": 320, "val": 64}
HERTZ = (300.0, 1000.0, 3500.0)
RECIPE = """
model: {name: mbt, width: 64, depth: 2, num_heads: 4, mlp_width: 128, fusion_layer: 1,
        video_patch: [1, 16, 16], audio_patch: [20, 16]}
front_end:
  name: mbt
  audio: {num_frames: 100, num_mels: 64}
  video: {num_frames: 2, window_seconds: 1.0, height: 32, width: 32, short_side: 32}
data: {windows: centre, crop: full, cache: true}
augment: {flip: 0.5, audio_noise: 0.1, video_noise: 0.1}
train: {epochs: 40, batch_size: 32, learning_rate: 0.002, warmup: 0.1, evaluate_every: 10}
evaluate: {views: 1}
"""


def write_pair(path: Path, *, seed: int) -> None:
    """One second: three numbers are the strengths of red, green and blue, and of three tones."""
    generator = np.random.default_rng(seed)
    numbers = generator.normal(size=3)
    frames = 128 + 40 * numbers + generator.normal(0, 20, (8, 32, 32, 3))
    seconds = np.arange(16000) / 16000
    phases = generator.uniform(0, 2 * np.pi, (3, 1))
    tones = np.sin(2 * np.pi * np.array(HERTZ)[:, None] * seconds + phases)
    sound = (0.03 * np.exp(0.8 * numbers)[:, None] * tones).sum(0)
    sound += generator.normal(0, 0.003, len(sound))
    write_video(
        path,
        np.clip(frames, 0, 255).astype(np.uint8),
        frames_per_second=8,
        waveform=np.clip(sound, -1, 1).astype(np.float32),
    )


@pytest.mark.slow
def test_unseen_clips_are_found_far_more_often_than_by_chance(tmp_path):
    for split, number in CLIPS.items():
        (tmp_path / "videos" / split).mkdir(parents=True)
        for n in range(number):
            write_pair(tmp_path / "videos" / split / f"{n}.mp4", seed=n + 1000 * (split == "val"))
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    run, index = tmp_path / "run", tmp_path / "index"
    start = ["pretrain", tmp_path / "videos", "--config", tmp_path / "recipe.yaml"]
    assert main([*map(str, start), "--output", str(run)]) == 0
    assert main(["index", str(run), "--split", "val", "--output", str(index)]) == 0
    scores = json.loads((index / "index.json").read_text())["scores"]
    assert scores["num_pairs"] == CLIPS["val"]
    for direction in ("audio_to_video", "video_to_audio"):
        assert scores[f"{direction}_r1"] >= 10 / CLIPS["val"]
        assert scores[f"{direction}_median_rank"] <= 5
