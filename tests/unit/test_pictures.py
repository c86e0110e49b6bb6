"""Pictures: they are drawn for every kind of clip; what they show was looked at by eye."""

from __future__ import annotations

import pytest
import torch
from matplotlib.image import imread

from sightsound.figures.clips import clip_picture
from sightsound.media.front_end import FrontEnd
from sightsound.types import Clip

SCORES = {"audio+video": {"cat": 0.7, "dog": 0.3}, "audio": {"cat": 0.5, "dog": 0.5}}


def make_clip(*, video: bool = True, audio: bool = True, frames: int = 4) -> Clip:
    pixels = torch.randint(0, 255, (frames, 3, 16, 24), dtype=torch.uint8) if video else None
    valid = torch.arange(frames) < 3 if video else None
    sound = torch.randn(1, 50, 32) if audio else None
    return Clip("a", pixels, sound, valid, None, torch.zeros(2))


@pytest.mark.parametrize(
    "clip",
    [make_clip(), make_clip(frames=1), make_clip(video=False), make_clip(audio=False)],
    ids=["both", "one frame", "no pictures", "no sound"],
)
def test_clip_picture(tmp_path, clip):
    path = clip_picture(tmp_path / "new" / "clip.png", clip, FrontEnd(), SCORES, title="a")
    height, width, _ = imread(path).shape
    assert (height, width) == (825, 1100)
