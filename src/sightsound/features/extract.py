"""Features of all clips, computed once and kept on disk."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from sightsound.data.dataset import ClipDataset
from sightsound.data.loader import Loader
from sightsound.data.rows import Row
from sightsound.data.sampling import eval_batches
from sightsound.features.cache import FeatureCache, FeatureDataset
from sightsound.features.encoding import Encoding
from sightsound.types import AUDIO, VIDEO, Clip, Problem

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Extracted:
    """What was done."""

    num_clips: int
    num_new: int
    problems: tuple[Problem, ...]


def extract(
    clips: ClipDataset,
    cache: FeatureCache,
    encoding: Encoding,
    *,
    num_workers: int = 0,
    progress: Progress | None = None,
) -> Extracted:
    """Compute and keep the features of all `clips` of which `cache` has none.

    A clip is kept as soon as it is encoded, so that the same call goes on after an interruption.
    `progress(done, of)` is called as clips are finished.

    Raises:
        DecodeError: a clip that cannot be decoded, if `bad_files` is "error".
    """
    missing = [row for row in clips.rows if not cache.holds(row)]
    problems: list[Problem] = []
    for done, (row, clip) in enumerate(_encoded(clips, missing, encoding, num_workers), start=1):
        cache.write(row, clip)
        problems += clip.problems
        if progress is not None:
            progress(done, len(missing))
    return Extracted(len(clips.rows), len(missing), tuple(problems))


def verify(
    clips: ClipDataset, cache: FeatureCache, encoding: Encoding, *, num_workers: int = 0
) -> dict[str, str]:
    """{clip id: what is wrong} of stored features: each is computed again and compared."""
    wrong = {row.id: "nothing is stored" for row in clips.rows if not cache.holds(row)}
    stored = [row for row in clips.rows if row.id not in wrong]
    for row, clip in _encoded(clips, stored, encoding, num_workers):
        try:
            tensors, _ = cache.read(row)
        except (OSError, ValueError) as error:
            wrong[row.id] = f"cannot be read: {error}"
            continue
        for name in (VIDEO, AUDIO):
            fresh, kept = getattr(clip, name), tensors.get(name)
            if fresh is None or kept is None:
                if fresh is not kept:
                    wrong[row.id] = f"{name} is stored or absent by mistake"
            elif not torch.equal(fresh, kept):
                wrong[row.id] = f"{name} differs by up to {(fresh - kept).abs().max():.2g}"
    return wrong


def with_features(
    clips: ClipDataset,
    folder: str | Path,
    encoding: Encoding,
    *,
    num_workers: int = 0,
    progress: Progress | None = None,
) -> FeatureDataset:
    """`clips` as features, those not yet in `folder` computed first."""
    cache = FeatureCache(folder, clips)
    extract(clips, cache, encoding, num_workers=num_workers, progress=progress)
    return FeatureDataset(clips, cache)


def _encoded(
    clips: ClipDataset, rows: list[Row], encoding: Encoding, num_workers: int
) -> Iterator[tuple[Row, Clip]]:
    """Each row with its features; one that was dropped with its problem alone."""
    if not rows:
        return
    clips = copy.copy(clips)
    clips.rows, clips.train, clips.views = rows, False, 1
    keys = eval_batches(len(rows), batch_size=1)  # so that a kill loses one clip
    with _threads_beside(num_workers), Loader(clips, num_workers=num_workers) as loader:
        for row, batch in zip(rows, loader.iterate(keys), strict=True):
            clip = Clip(row.id, None, None, None, None, torch.zeros(0), encoded=True)
            clip.problems = tuple(found for found in loader.problems if found.id == row.id)
            if batch is not None:
                batch = encoding(batch.to(encoding.device))
                for name, stream in batch.inputs.items():
                    if batch.present[name][0]:
                        setattr(clip, name, stream[0].cpu())
                        setattr(clip, f"{name}_valid", batch.valid[name][0].cpu())
            yield row, clip


@contextmanager
def _threads_beside(num_workers: int) -> Iterator[None]:
    """Leave the decoding processes a core each: threads that wait for one another starve them."""
    before = torch.get_num_threads()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    torch.set_num_threads(max(1, min(before, (cores or 1) - num_workers)))
    try:
        yield
    finally:
        torch.set_num_threads(before)
