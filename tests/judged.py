"""Whether doctor, training, evaluation, prediction and `prepare` judge a clip alike.

Files are judged alone, so that windows that hold nothing show: drawn anywhere, and far apart.
"""

from __future__ import annotations

from pathlib import Path

from sightsound.config.settings import DataSettings, ShardSettings
from sightsound.data.dataset import ClipDataset
from sightsound.data.rows import Manifest
from sightsound.data.shards.writer import ShardClip, pack_clip
from sightsound.doctor.checkup import check
from sightsound.doctor.gather import Clips
from sightsound.media.decode import DecodeError
from sightsound.media.decode_pool import DecodePool
from sightsound.media.front_end import AudioFrontEnd, FrontEnd, VideoFrontEnd

SHORT = FrontEnd(
    "short",
    AudioFrontEnd(num_frames=100, num_mels=16, log_offset=1e-6),
    VideoFrontEnd(num_frames=4, window_seconds=1.0, height=16, width=16, short_side=16),
)
BOTH, LEFT_OUT = ("video", "audio"), ("no_sound", "no_pictures")


def findings(row):
    """What doctor finds in a clip, and whether it goes to exclude.csv."""
    with DecodePool(0, seconds=60.0) as workers:
        clips = Clips((row,), "single", Path(row.path.parent))
        checkup = check(clips, workers, lambda *_: None)
    return {finding.issue for finding in checkup.findings}, bool(checkup.excluded)


def refusals(row, *, modalities=BOTH, bad_files="error"):
    """Why training or evaluation refuses a clip, in several windows; empty if it is taken."""
    data = DataSettings(time_limit_seconds=0, bad_files=bad_files)
    manifest = Manifest((row,), {"label": list(row.labels)}, "single", row.path)
    found = []
    for train, keys in ((True, [(0, 0, 0), (1, 0, 0)]), (False, [(0, 0, 3)])):
        views = 1 if train else 4
        options = {"modalities": modalities, "train": train, "seed": 1, "views": views}
        clips = ClipDataset(manifest, [row], SHORT, data, **options)
        for key in keys:
            try:
                problems = clips[key].problems
            except DecodeError as error:
                found.append(error.cause)
            else:
                found += [p.cause for p in problems if p.action == "dropped"]
    return found


def check_alike(row):
    """Every command's verdict is doctor's, for both streams and for one alone."""
    kinds, excluded = findings(row)
    found = refusals(row)
    assert bool(found) == excluded, (row.id, kinds, found)
    packed = pack_clip(ShardClip(0, row, row.path.name, None), ShardSettings(short_side=16))
    lost = [fault.cause for fault in packed.faults if fault.action != "partial"]
    assert bool(lost) == excluded, (row.id, kinds, lost)
    if excluded:
        return kinds
    assert not refusals(row, bad_files="mask")
    for modality, kind in zip(("audio", "video"), LEFT_OUT, strict=True):
        found = refusals(row, modalities=(modality,))
        assert bool(found) == (kind in kinds), (row.id, kinds, found)
    return kinds
