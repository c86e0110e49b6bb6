"""Mean and deviation of what a front end delivers, over one's own clips.

Sums are those of valid frames only, clip after clip in float64 (pixels: counted, exact), so that
the result depends neither on batches nor on the number of decoding processes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import torch

from sightsound.media.front_end import AudioFrontEnd, FrontEnd
from sightsound.media.logmel import log_mel
from sightsound.types import AUDIO, MODALITIES, VIDEO, WORDS, Batch

CHANNELS = ("red", "green", "blue")
# Front ends that divide by more than one deviation (Gong et al. 2021: 2 * 4.57).
DEVIATIONS = {"ast": 2}

_SILENCE = 1e-3  # in the logarithm: a frame so little above the lowest value there is holds nothing
_MANY_SILENT = 0.05  # share of the sound from which silence moves the mean; a guess
_FAR_MEAN, _FAR_RATIO = 1.0, 4.0  # of normalised values, from where a warning is due; guesses


@dataclass(frozen=True)
class Moments:
    """How many values there are, their mean, and the sum of their squared distances from it."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, values: np.ndarray) -> Moments:
        """Those of float64 `values`."""
        if not values.size:
            return cls()
        mean = float(values.mean())
        return cls(values.size, mean, float(np.square(values - mean).sum()))

    @classmethod
    def of_levels(cls, counts: np.ndarray) -> Moments:
        """Those of pixels of which `counts` (256,) have each level; exact but for one rounding."""
        numbers = [int(count) for count in counts]
        total = sum(numbers)
        if not total:
            return cls()
        mean = Fraction(sum(level * n for level, n in enumerate(numbers)), total)
        squares = sum(level * level * n for level, n in enumerate(numbers)) - mean * mean * total
        return cls(total, float(mean), float(squares))

    @property
    def deviation(self) -> float:
        """Square root of the mean squared distance."""
        return math.sqrt(self.squares / self.count) if self.count else 0.0

    def joined(self, other: Moments) -> Moments:
        """Those of both sets of values together (Chan, Golub and LeVeque 1979)."""
        count = self.count + other.count
        if not count:
            return self
        distance = other.mean - self.mean
        mean = self.mean + distance * other.count / count
        between = distance * distance * self.count * other.count / count
        return Moments(count, mean, self.squares + other.squares + between)


@dataclass
class Statistics:
    """What was counted over the clips of a dataset."""

    front_end: FrontEnd
    num_clips: int = 0  # read, whole or in part
    clips: dict[str, int] = field(default_factory=dict)  # {modality: how many have it}
    frames: dict[str, int] = field(default_factory=dict)  # {modality: valid ones}
    sound: Moments = Moments()  # of the log-mel
    levels: np.ndarray = field(default_factory=lambda: np.zeros((3, 256), np.int64))
    silent_frames: int = 0  # of the valid sound frames: digital silence
    silent_clips: int = 0  # clips with sound, all of it digital silence

    @property
    def pixels(self) -> dict[str, Moments]:
        """{red, green, blue, all}: of pixels in 0..255."""
        channels = dict(zip(CHANNELS, map(Moments.of_levels, self.levels), strict=True))
        return {**channels, "all": Moments.of_levels(self.levels.sum(0))}

    @property
    def silence(self) -> float:
        """Share of the sound that is digital silence."""
        return self.silent_frames / max(1, self.frames.get(AUDIO, 0))

    def section(self) -> dict[str, Any]:
        """What of this belongs into a configuration's `front_end:`; rounded.

        A stream that no clip has, or that is the same everywhere, is left out.
        """
        found: dict[str, Any] = {}
        if self.sound.deviation:
            times = DEVIATIONS.get(self.front_end.name, 1)
            mean, deviation = round(self.sound.mean, 4), round(times * self.sound.deviation, 4)
            found[AUDIO] = {"mean": mean, "deviation": deviation}
        channels = [self.pixels[name] for name in CHANNELS]
        if all(channel.deviation for channel in channels):
            found[VIDEO] = {
                "mean": [round(channel.mean, 2) for channel in channels],
                "deviation": [round(channel.deviation, 2) for channel in channels],
            }
        return found

    def normalised(self) -> dict[str, tuple[float, float]]:
        """{stream or channel: (mean, deviation)} that the front end's present numbers lead to."""
        audio, video = self.front_end.audio, self.front_end.video
        found = {}
        if self.sound.count:
            found["sound"] = _normalised(self.sound, audio.mean, audio.deviation)
        present = zip(CHANNELS, video.mean, video.deviation, strict=True)
        return found | {
            name: _normalised(self.pixels[name], mean, deviation)
            for name, mean, deviation in present
            if self.pixels[name].count
        }


def _normalised(values: Moments, mean: float, deviation: float) -> tuple[float, float]:
    return (values.mean - mean) / deviation, values.deviation / deviation


def measure(
    batches: Iterable[Batch | None], front_end: FrontEnd, *, modalities: Sequence[str] = MODALITIES
) -> Statistics:
    """The statistics of batches as the loader gives them, made by `front_end`.

    Raises:
        ValueError: the logarithm of silence is not finite, as `front_end` has no floor.
    """
    found = Statistics(
        front_end, clips=dict.fromkeys(modalities, 0), frames=dict.fromkeys(modalities, 0)
    )
    silence = log_mel(torch.zeros(front_end.audio.window_samples), front_end.audio)[0].numpy()
    for batch in batches:
        for index in range(0 if batch is None else len(batch)):
            found.num_clips += 1
            if batch.video is not None and batch.present[VIDEO][index]:
                _add_video(found, batch, index)
            if batch.audio is not None and batch.present[AUDIO][index]:
                _add_audio(found, batch, index, silence=silence)
    return found


def _add_video(found: Statistics, batch: Batch, index: int) -> None:
    frames = batch.video[index][batch.valid[VIDEO][index]].numpy()  # (T, C, H, W)
    found.clips[VIDEO] += 1
    found.frames[VIDEO] += len(frames)
    for channel, levels in enumerate(found.levels):
        levels += np.bincount(frames[:, channel].ravel(), minlength=256)


def _add_audio(found: Statistics, batch: Batch, index: int, *, silence: np.ndarray) -> None:
    frames = batch.audio[index, 0][batch.valid[AUDIO][index]].numpy()  # (F, M)
    if not np.isfinite(frames).all():
        raise ValueError(_not_finite(batch.id[index], found.front_end.audio))
    silent = int(((frames - silence) < _SILENCE).all(-1).sum())
    found.clips[AUDIO] += 1
    found.frames[AUDIO] += len(frames)
    found.silent_frames += silent
    found.silent_clips += silent == len(frames)
    found.sound = found.sound.joined(Moments.of(frames.astype(np.float64)))


def _not_finite(clip: str, audio: AudioFrontEnd) -> str:
    return (
        f"clip {clip!r}: the logarithm of its sound is not finite; front_end.audio.log_offset is "
        f"{audio.log_offset:g} and log_floor {audio.log_floor:g}: one of them must be above 0, "
        "since silence has no logarithm"
    )


# --- for people ---------------------------------------------------------------------------------


def as_json(found: Statistics) -> str:
    """One object; numbers are not rounded, `front_end` is what a configuration takes."""
    moments = {"sound": found.sound, **found.pixels}
    values = {
        "num_clips": found.num_clips,
        "clips": found.clips,
        "frames": found.frames,
        "measured": {
            name: {"mean": values.mean, "deviation": values.deviation, "values": values.count}
            for name, values in moments.items()
            if values.count
        },
        "normalised": {
            name: {"mean": mean, "deviation": deviation}
            for name, (mean, deviation) in found.normalised().items()
        },
        "digital_silence": {"share": found.silence, "clips": found.silent_clips},
        "front_end": found.section(),
        "measured_with": found.front_end.to_dict(),
        "warnings": warnings(found),
    }
    return json.dumps(values, indent=2)


def as_table(found: Statistics) -> str:
    """What was measured beside the front end's numbers, and where those lead to."""
    lines = [
        f"{'':<18}{'measured':^20}{'front end':^22}{'the model gets':^22}".rstrip(),
        f"{'':<16}" + f"{'mean':>11}{'deviation':>11}" * 3,
    ]
    audio, video = found.front_end.audio, found.front_end.video
    present = {"sound": (audio.mean, audio.deviation)}
    present |= dict(zip(CHANNELS, zip(video.mean, video.deviation, strict=True), strict=True))
    measured = {"sound": found.sound, **found.pixels}
    for name, normalised in found.normalised().items():
        values = measured[name]
        numbers = (values.mean, values.deviation, *present[name], *normalised)
        lines.append(f"{_NAMES[name]:<16}" + "".join(f"{number:>11.3f}" for number in numbers))
    if found.pixels["all"].count:
        values = found.pixels["all"]
        lines.append(f"{'pixels, all':<16}{values.mean:>11.3f}{values.deviation:>11.3f}")
    return "\n".join([*lines, "", *_counts(found)])


_NAMES = {"sound": "sound, log-mel", **{name: f"pixels, {name}" for name in CHANNELS}}


def _counts(found: Statistics) -> list[str]:
    """How much was looked at: a line for each stream."""
    lines = []
    if VIDEO in found.clips:
        lines.append(f"pictures: {found.frames[VIDEO]:,} frames of {found.clips[VIDEO]:,} clips")
    if AUDIO in found.clips:
        silent = f", {found.silence:.1%} of it digital silence" if found.frames[AUDIO] else ""
        seconds = found.frames[AUDIO] * found.front_end.audio.hop_samples
        seconds /= found.front_end.audio.rate_hz
        lines.append(f"sound: {seconds:,.0f} s of {found.clips[AUDIO]:,} clips{silent}")
    return lines


def options(found: Statistics) -> str:
    """The front end's numbers as options of a command line."""
    return " ".join(
        f"--front_end.{part}.{name} {_argument(value)}"
        for part, values in found.section().items()
        for name, value in values.items()
    )


def _argument(value: float | list[float]) -> str:
    """Lists in quotes: to some shells brackets mean file names."""
    return str(value) if isinstance(value, float) else f"'{value}'".replace(" ", "")


def warnings(found: Statistics) -> list[str]:
    """What is wrong with the clips, or with the front end's present numbers, in sentences."""
    return [*_missing(found), *_silences(found), *_far_off(found)]


def _missing(found: Statistics) -> list[str]:
    lines = []
    for name, number in found.clips.items():
        if not number:
            lines.append(f"no clip has {WORDS[name]}")
        elif number < found.num_clips:
            without = found.num_clips - number
            lines.append(f"{without} of {found.num_clips} clips have no {WORDS[name]}")
    return lines


def _silences(found: Statistics) -> list[str]:
    if not found.silent_frames:
        return []
    if found.silent_frames == found.frames[AUDIO]:
        return ["the sound is digital silence in every clip: look at how it was extracted"]
    lines = []
    if found.silent_clips:
        lines.append(f"{found.silent_clips} of {found.clips[AUDIO]} clips with sound are silent")
    if found.silence > _MANY_SILENT:
        lines.append(f"{found.silence:.1%} of the sound is digital silence, which moves the mean")
    return lines


def _far_off(found: Statistics) -> list[str]:
    far = [
        f"{name} (mean {mean:.2f}, deviation {deviation:.2f})"
        for name, (mean, deviation) in found.normalised().items()
        if abs(mean) > _FAR_MEAN or not 1 / _FAR_RATIO <= deviation <= _FAR_RATIO
    ]
    if not far:
        return []
    return [f"far from mean 0 and deviation 1 with the front end as it is: {', '.join(far)}"]
