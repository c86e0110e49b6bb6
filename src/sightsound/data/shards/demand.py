"""What a front end asks of shards: what to keep for it, and whether shards are too poor for it.

Where shards have fewer pictures than a front end looks at, it sees one picture several times; where
they are smaller, enlarged ones. Clips of which everything was kept are never too poor: their files
have no more. Free of torch.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterable, Sequence

from sightsound.config.settings import DataSettings, ShardSettings
from sightsound.data.shards.index import POORER, Index
from sightsound.media.front_end import AS_BEFORE, FrontEnd, VideoFrontEnd

_SLACK = 1.001  # 25 pictures a second are enough for one every 0.04 s, rounding or not
_APPROXIMATE_SECONDS = 0.25  # `approximate` keeps pictures at most this late


def settings_for(front_end: FrontEnd, data: DataSettings) -> ShardSettings:
    """What to keep so that clips are those of the files.

    Windows may lie anywhere, so every frame is shown in some of them.
    """
    return ShardSettings(
        short_side=_wanted_short_side(front_end.video, data),
        frames_per_second=0.0,
        rate_hz=front_end.audio.rate_hz,
        picture=front_end.video.picture,
        downmix=front_end.audio.downmix,
    )


def check_rich_enough(
    index: Index, front_end: FrontEnd, data: DataSettings, *, modalities: Sequence[str]
) -> None:
    """Raises `ValueError` with the command that mends it if shards are too poor.

    Those of older versions do not say of which clips they have all: then their settings count.
    """
    settings = index.about["settings"]
    names = {field.name for field in dataclasses.fields(ShardSettings)}
    stored = ShardSettings(**{name: settings[name] for name in names & settings.keys()})
    lacking = _lacking(stored, front_end, data, modalities=modalities, poorer=index.poorer())
    if not lacking:
        return
    wanted = vars(settings_for(front_end, data))
    changes = {name: wanted[name] for name in lacking}
    if "frames_per_second" in changes:
        changes["approximate"] = False
    options = _options(dataclasses.replace(stored, **changes), also=lacking)
    raise ValueError(
        f"the shards in {str(index.path.parent)!r} hold {' and '.join(lacking.values())}; make new "
        f"ones of the same clips: sightsound prepare DATA --output NEW_SHARDS {options}"
        + _as_they_are(stored, lacking)
    )


def _as_they_are(stored: ShardSettings, lacking: Collection[str]) -> str:
    """How to train on shards from before front ends said how to read pictures and channels."""
    options = [
        f"--front_end.{part}.{name} {old}"
        for part, fields in AS_BEFORE.items()
        for name, old in fields.items()
        if name in lacking and getattr(stored, name) == old
    ]
    enough = len(options) == len(lacking)
    return f"; or train on them as they are: {' '.join(options)}" if enough else ""


def check_settings(settings: ShardSettings, front_end: FrontEnd, data: DataSettings) -> None:
    """Raises `ValueError` if `settings` would make shards that are too poor."""
    modalities = ("video", "audio")
    lacking = _lacking(settings, front_end, data, modalities=modalities, poorer=POORER)
    if lacking:
        raise ValueError(
            f"--{' and --'.join(lacking)} would not do for this recipe: shards hold "
            f"{' and '.join(lacking.values())}; leave out what is too small, and --approximate"
        )


def latest_seconds(settings: ShardSettings) -> float:
    """How long before a moment the picture stored for it may have been shown first."""
    rate = settings.frames_per_second
    return max(1 / rate if rate else 0.0, _APPROXIMATE_SECONDS if settings.approximate else 0.0)


def _lacking(
    stored: ShardSettings,
    front_end: FrontEnd,
    data: DataSettings,
    *,
    modalities: Sequence[str],
    poorer: Collection[str],
) -> dict[str, str]:
    """{setting of `stored`: what it gives and what the front end wants}, where that is more.

    `poorer`: of `POORER`, what holds of some clip; where none is, files have no more either.
    """
    found = {}
    video, rate_hz = front_end.video, front_end.audio.rate_hz
    seconds, wanted = latest_seconds(stored), _least_short_side(video, data)
    seen = "video" in modalities
    if seen and "left_out" in poorer and seconds * video.frames_per_second > _SLACK:
        found["frames_per_second"] = (
            f"{1 / seconds:g} pictures a second, the front end looks at "
            f"{video.frames_per_second:g} a second"
        )
    if seen and "reduced" in poorer and stored.short_side < wanted:
        found["short_side"] = (
            f"pictures with a short side of {stored.short_side} pixels, the front end wants "
            f"{wanted}"
        )
    if "audio" in modalities and stored.rate_hz != rate_hz:
        found["rate_hz"] = f"sound at {stored.rate_hz} Hz, the front end wants {rate_hz} Hz"
    if seen and stored.picture != video.picture:
        found["picture"] = f"pictures as {stored.picture}, the front end wants them {video.picture}"
    downmix = front_end.audio.downmix
    if "audio" in modalities and stored.downmix != downmix:
        found["downmix"] = f"sound mixed by {stored.downmix!r}, the front end wants {downmix!r}"
    return found


def _least_short_side(video: VideoFrontEnd, data: DataSettings) -> int:
    """Pixels below which pictures are enlarged in evaluation."""
    sides = [video.height, video.width] + [video.short_side] * (data.crop != "full")
    return max(sides)


def _wanted_short_side(video: VideoFrontEnd, data: DataSettings) -> int:
    """The same for training, where crops are smaller; for random ones, that of average area."""
    least = _least_short_side(video, data)
    if data.crop == "jitter":
        return max(least, math.ceil(video.short_side * data.crop_jitter[1]))
    if data.crop == "random":
        share = sum(data.crop_scale) / 2
        return max(least, math.ceil(max(video.height, video.width) / math.sqrt(share)))
    return least


def _options(settings: ShardSettings, *, also: Iterable[str]) -> str:
    """Those `settings` on a command line that are not as by default, and some `also`."""
    defaults = vars(ShardSettings())
    given = {n: v for n, v in vars(settings).items() if v != defaults[n] or n in also}
    texts = {n: f"{v:g}" if isinstance(v, float) else str(v).lower() for n, v in given.items()}
    return " ".join(f"--{name} {text}" for name, text in texts.items())
