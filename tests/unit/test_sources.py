"""Clips cut from one file are of one source, however they are stored and cut."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from media_files import regular, tone, write_clip

from sightsound.config.settings import DataSettings, ShardSettings
from sightsound.data.dataset import ClipDataset
from sightsound.data.loader import Loader, collate
from sightsound.data.manifest import load_manifest
from sightsound.data.shards.prepare import prepare
from sightsound.media.front_end import AudioFrontEnd, FrontEnd, VideoFrontEnd
from sightsound.types import Clip

FRONT_END = FrontEnd(
    "tiny",
    AudioFrontEnd(num_frames=20, num_mels=8, log_offset=1e-6),
    VideoFrontEnd(num_frames=1, window_seconds=0.2, height=16, width=16, short_side=16),
)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips of two files; all of one group, which says nothing about sources."""
    folder = tmp_path_factory.mktemp("clips")
    for name in ("a", "b"):
        write_clip(folder / f"{name}.mp4", levels=[9] * 16, times=regular(16, 8), sound=tone(2.0))
    lines = ["path,start_seconds,end_seconds,label,split,group"]
    lines += ["a.mp4,0,1,x,train,g", "b.mp4,0,1,y,train,g", "a.mp4,1,2,x,train,g"]
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder


def sources(data: Path, *, cache: bool = False) -> list[str]:
    """Of each clip twice over, as repeated augmentation has it."""
    kind = {"windows": "centre", "crop": "full"} if cache else {}
    settings = DataSettings(path=str(data), time_limit_seconds=0.0, num_workers=0, **kind)
    manifest = load_manifest(settings)
    rows = sorted(manifest.rows, key=lambda row: row.id)
    clips = ClipDataset(manifest, rows, FRONT_END, settings, train=True, seed=0)
    with Loader(clips, cache=cache) as loader:
        (batch,) = loader.iterate([[(0, row, view) for row in range(3) for view in range(2)]])
    assert batch.id == [name for row in rows for name in (row.id, row.id)]
    assert batch.to(torch.device("cpu")).source == batch.source
    return batch.source


@pytest.mark.parametrize("cache", [False, True])
def test_clips_of_one_file_are_of_one_source(table: Path, cache: bool):
    a, b = str(table / "a.mp4"), str(table / "b.mp4")
    assert sources(table, cache=cache) == [a, a, a, a, b, b]


def test_shards_keep_it(table: Path, tmp_path: Path):
    """There, every clip lies in a place of its own."""
    settings = DataSettings(path=str(table), time_limit_seconds=0.0)
    prepare(settings, tmp_path / "shards", ShardSettings(short_side=16))
    found = sources(tmp_path / "shards")
    assert [found.index(name) for name in found] == [0, 0, 0, 0, 4, 4]


def test_a_clip_without_one_is_its_own():
    clip = Clip(
        "a#1", torch.zeros(1, 3, 8, 8).byte(), None, torch.ones(1).bool(), None, torch.ones(1)
    )
    assert collate([clip]).source == ["a#1"]
