"""What the health of one clip says against it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from sightsound.data.rows import Row
from sightsound.doctor.issue_types import Finding
from sightsound.media.clips import is_outside
from sightsound.media.decode_pool import Failure
from sightsound.media.examine import Health, Pictures, Sound
from sightsound.media.source import exists

SHORTEST_SECONDS = 0.5  # a guess: half of the shortest clips of the usual sets
# Under ten of the 32,768 steps of 16 bits: coding leaves little of it. Coded silence is below -90.
SILENCE_DB = -70.0
# Channels that have nothing to do with one another lose 10 log10(n) by being averaged: 9 dB if
# there are 8 of them. More than this they lose only by cancelling out.
CANCELLED_DB = 20.0
# Pictures that stand still change at keyframes only, where the codec starts anew, and little then.
# Still pictures under six codecs: at most 4 % of frames changed, by up to 14 levels of 255; real
# clips of a distant helicopter: half of the frames or more.
STILL_SHARE, STILL_LEVELS = 0.1, 16
SEEN_SHARE = 0.5  # of the clip between the first and last picture decoded, to call it still
FLAT_LEVELS = 8  # a picture with no larger difference is of one colour
OFFSET_SECONDS = 0.2  # about what everyone notices (ITU-R BT.1359-1: sound 0.185 s late)
LENGTHS_SHARE = 0.1  # of the longer stream, and more than the same 0.2 s
UNEVEN_SHARE = 0.1  # of the frames last longer or shorter than usual; a single slip is no rate
PAUSE_SECONDS = 0.5  # a guess: longer than a change of slides takes
PAST_END_SECONDS = 0.5
ALIKE_SHARE, ALIKE_TOLERANCE = 0.8, 0.1  # clips of one length: so many within so much of the median
SHORTER_SHARE = 0.75  # of that length


def clip_findings(row: Row, health: Health | Failure) -> Iterator[Finding]:
    """Everything wrong with one clip that it alone tells."""
    for issue, detail in _issues(row, health):
        yield Finding(issue, detail, row.id)


def _issues(row: Row, health: Health | Failure) -> Iterator[tuple[str, str]]:
    missing = [path for path in (row.path, row.audio_path) if path and not exists(path)]
    if missing:
        yield "missing_file", str(missing[0])
    elif isinstance(health, Failure):
        yield "unreadable", health.cause
    elif is_outside(row.start_seconds, health.file_seconds):
        yield "outside_file", f"starts at {row.start_seconds:g} s of {health.file_seconds:.2f} s"
    elif health.video is None and health.audio is None and not health.unreadable:
        yield "outside_file", "; ".join(["no pictures and no sound there", *health.problems])
    else:
        yield from _streams(health)
        if health.end_seconds - health.start_seconds < SHORTEST_SECONDS:
            yield "too_short", f"{health.end_seconds - health.start_seconds:.2f} s"
        end = row.end_seconds
        if end is not None and end > health.file_seconds + PAST_END_SECONDS:
            yield "past_end", f"ends at {end:g} s of {health.file_seconds:.2f} s"
        if health.video is not None:
            yield from _pictures(health.video)
        if health.audio is not None:
            yield from _sound(health.audio)
        if health.video is not None and health.audio is not None:
            yield from _together(health.video, health.audio)


def _streams(health: Health) -> Iterator[tuple[str, str]]:
    for cause in health.unreadable:
        yield "unreadable", cause
    if health.problems:
        yield "damaged", "; ".join(health.problems)
    if health.joined:
        yield "joined", "; ".join(health.joined)
    if health.choices:
        yield "several_tracks", "; ".join(health.choices)
    for issue, word, stream in (
        ("no_pictures", "video", health.video),
        ("no_sound", "audio", health.audio),
    ):
        if stream is None and not any(word in cause for cause in health.unreadable):
            yield issue, f"no {word} stream in this clip"


def _pictures(video: Pictures) -> Iterator[tuple[str, str]]:
    timing = video.timing
    length = timing.end_seconds - timing.start_seconds
    seen = video.decoded_seconds >= SEEN_SHARE * length or video.num_decoded >= timing.num_packets
    still = video.moving <= STILL_SHARE and video.change <= STILL_LEVELS
    if video.num_decoded and seen and still and length >= SHORTEST_SECONDS:
        flat = "one colour" if video.contrast <= FLAT_LEVELS else "one picture"
        yield "static_picture", f"{flat} for {length:.2f} s"
    # Shown otherwise than stored (width x height); turned pictures count as stored that way.
    stored, shown = (video.stored_width, video.stored_height), (video.width, video.height)
    if all(stored) and stored != shown:
        aspect = video.pixel_aspect
        pixels = f"; pixels are {aspect.numerator}:{aspect.denominator}" if aspect != 1 else ""
        text = f"stored {stored[0]} x {stored[1]}, shown {shown[0]} x {shown[1]}{pixels}"
        yield "reshaped", text
    if timing.uneven > UNEVEN_SHARE:
        yield "variable_rate", f"{timing.uneven:.0%} of the frames last longer or shorter"
    if timing.pause_seconds > PAUSE_SECONDS:
        yield "stutter", f"for {timing.pause_seconds:.2f} s at {timing.pause_at_seconds:.2f} s"


def is_silent(audio: Sound) -> bool:
    """Whether all channels as one, which is what a front end hears, are as good as nothing."""
    return audio.loudest_db < SILENCE_DB or _cancelled_db(audio) > CANCELLED_DB


def _cancelled_db(audio: Sound) -> float:
    """How much quieter all channels as one are than they are themselves."""
    power = np.mean([10 ** (level / 10) for level in audio.channels_db])
    return float(10 * np.log10(power)) - audio.mono_db


def _sound(audio: Sound) -> Iterator[tuple[str, str]]:
    lost = _cancelled_db(audio)
    if lost > CANCELLED_DB:
        yield "antiphase", f"{lost:.0f} dB of {len(audio.channels_db)} channels cancel out"
    elif is_silent(audio):
        yield "silence", f"loudest {audio.loudest_db:.0f} dB"
    if audio.timing.pause_seconds > PAUSE_SECONDS:
        timing = audio.timing
        gap = f"audio: nothing for {timing.pause_seconds:.2f} s at {timing.pause_at_seconds:.2f} s"
        yield "damaged", gap


def _together(video: Pictures, audio: Sound) -> Iterator[tuple[str, str]]:
    late = audio.timing.start_seconds - video.timing.start_seconds
    if abs(late) > OFFSET_SECONDS:
        yield "offset", f"{'sound' if late > 0 else 'pictures'} {abs(late):.2f} s late"
    lengths = [t.end_seconds - t.start_seconds for t in (video.timing, audio.timing)]
    if abs(lengths[0] - lengths[1]) > max(OFFSET_SECONDS, LENGTHS_SHARE * max(lengths)):
        yield "lengths", f"pictures {lengths[0]:.2f} s, sound {lengths[1]:.2f} s"


def shorter_than_others(
    rows: Sequence[Row], healths: Sequence[Health | Failure]
) -> Iterator[Finding]:
    """Clips that lack a part, if nearly all the others have one length."""
    lengths = np.array(
        [h.end_seconds - h.start_seconds if isinstance(h, Health) else 0.0 for h in healths]
    )
    usual = float(np.median(lengths[lengths > 0])) if (lengths > 0).any() else 0.0
    alike = np.abs(lengths - usual) <= ALIKE_TOLERANCE * usual
    if alike.sum() < ALIKE_SHARE * (lengths > 0).sum():
        return
    for row, length in zip(rows, lengths, strict=True):
        if SHORTEST_SECONDS <= length < SHORTER_SHARE * usual:
            yield Finding("shorter", f"{length:.2f} s instead of {usual:.2f} s", row.id)
