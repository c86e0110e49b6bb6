"""Measures the mean and deviation of what a front end delivers, over one's own clips.

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

from sightsound.media.front_end import FrontEnd
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
    """How many values there are, their mean, and m2, the sum of their squared distances from it."""

    count: int = 0
    mean: float = 0.0
    m2: float = 0.0

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
        m2 = sum(level * level * n for level, n in enumerate(numbers)) - mean * mean * total
        return cls(total, float(mean), float(m2))

    @property
    def std(self) -> float:
        """Standard deviation: the square root of the mean squared distance."""
        return math.sqrt(self.m2 / self.count) if self.count else 0.0

    def joined(self, other: Moments) -> Moments:
        """Those of both sets of values together (Chan, Golub and LeVeque 1979)."""
        count = self.count + other.count
        if not count:
            return self
        distance = other.mean - self.mean
        mean = self.mean + distance * other.count / count
        between = distance * distance * self.count * other.count / count
        return Moments(count, mean, self.m2 + other.m2 + between)


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
        section: dict[str, Any] = {}
        if self.sound.std:
            std = DEVIATIONS.get(self.front_end.name, 1) * self.sound.std
            section[AUDIO] = {"mean": round(self.sound.mean, 4), "deviation": round(std, 4)}
        channels = [self.pixels[name] for name in CHANNELS]
        if all(channel.std for channel in channels):
            section[VIDEO] = {
                "mean": [round(channel.mean, 2) for channel in channels],
                "deviation": [round(channel.std, 2) for channel in channels],
            }
        return section

    @property
    def present(self) -> dict[str, tuple[float, float]]:
        """{stream or channel: (mean, deviation)}: the numbers of the front end."""
        audio, video = self.front_end.audio, self.front_end.video
        pixels = zip(video.mean, video.deviation, strict=True)
        return {"sound": (audio.mean, audio.deviation), **dict(zip(CHANNELS, pixels, strict=True))}

    def normalised(self) -> dict[str, tuple[float, float]]:
        """{stream or channel: (mean, deviation)} that the front end's present numbers lead to."""
        measured = {"sound": self.sound, **self.pixels}
        return {
            name: ((measured[name].mean - mean) / std, measured[name].std / std)
            for name, (mean, std) in self.present.items()
            if measured[name].count
        }


def measure(
    batches: Iterable[Batch | None], front_end: FrontEnd, *, modalities: Sequence[str] = MODALITIES
) -> Statistics:
    """The statistics of batches as the loader gives them, made by `front_end`.

    Raises:
        ValueError: the logarithm of silence is not finite, as `front_end` has no floor.
    """
    zeros = dict.fromkeys(modalities, 0)
    statistics = Statistics(front_end, clips=dict(zeros), frames=dict(zeros))
    silence = log_mel(torch.zeros(front_end.audio.window_samples), front_end.audio)[0].numpy()
    for batch in filter(None, batches):
        statistics.num_clips += len(batch)
        for name, stream in batch.inputs.items():
            for index in batch.present[name].nonzero()[:, 0].tolist():
                values = stream[index] if name == VIDEO else stream[index, 0]
                frames = values[batch.valid[name][index]].numpy()  # (T, C, H, W) or (F, M)
                statistics.clips[name] += 1
                statistics.frames[name] += len(frames)
                if name == VIDEO:
                    for channel, levels in enumerate(statistics.levels):
                        levels += np.bincount(frames[:, channel].ravel(), minlength=256)
                else:
                    _add_sound(statistics, frames, clip=batch.id[index], silence=silence)
    return statistics


def _add_sound(
    statistics: Statistics, frames: np.ndarray, *, clip: str, silence: np.ndarray
) -> None:
    """Count the log-mel (F, M) of a clip."""
    if not np.isfinite(frames).all():
        audio = statistics.front_end.audio
        raise ValueError(
            f"clip {clip!r}: the logarithm of its sound is not finite; front_end.audio.log_offset "
            f"is {audio.log_offset:g} and log_floor {audio.log_floor:g}: one of them must be above "
            "0, since silence has no logarithm"
        )
    silent = int(((frames - silence) < _SILENCE).all(-1).sum())
    statistics.silent_frames += silent
    statistics.silent_clips += silent == len(frames)
    statistics.sound = statistics.sound.joined(Moments.of(frames.astype(np.float64)))


# --- for people ---------------------------------------------------------------------------------


def as_json(statistics: Statistics) -> str:
    """One object; numbers are not rounded, `front_end` is what a configuration takes."""
    moments = {"sound": statistics.sound, **statistics.pixels}
    content = {
        "num_clips": statistics.num_clips,
        "clips": statistics.clips,
        "frames": statistics.frames,
        "measured": {
            name: {"mean": values.mean, "deviation": values.std, "values": values.count}
            for name, values in moments.items()
            if values.count
        },
        "normalised": {
            name: {"mean": mean, "deviation": std}
            for name, (mean, std) in statistics.normalised().items()
        },
        "digital_silence": {"share": statistics.silence, "clips": statistics.silent_clips},
        "front_end": statistics.section(),
        "measured_with": statistics.front_end.to_dict(),
        "warnings": warnings(statistics),
    }
    return json.dumps(content, indent=2)


def as_table(statistics: Statistics) -> str:
    """What was measured beside the front end's numbers, and where those lead to."""
    lines = [
        f"{'':<18}{'measured':^20}{'front end':^22}{'the model gets':^22}".rstrip(),
        f"{'':<16}" + f"{'mean':>11}{'deviation':>11}" * 3,
    ]
    measured = {"sound": statistics.sound, **statistics.pixels}
    for name, normalised in statistics.normalised().items():
        title = "sound, log-mel" if name == "sound" else f"pixels, {name}"
        numbers = (measured[name].mean, measured[name].std, *statistics.present[name], *normalised)
        lines.append(f"{title:<16}" + "".join(f"{number:>11.3f}" for number in numbers))
    pixels = measured["all"]
    if pixels.count:
        lines.append(f"{'pixels, all':<16}{pixels.mean:>11.3f}{pixels.std:>11.3f}")
    lines.append("")
    clips, frames, audio = statistics.clips, statistics.frames, statistics.front_end.audio
    if VIDEO in clips:
        lines.append(f"pictures: {frames[VIDEO]:,} frames of {clips[VIDEO]:,} clips")
    if AUDIO in clips:
        silent = f", {statistics.silence:.1%} of it digital silence" if frames[AUDIO] else ""
        seconds = frames[AUDIO] * audio.hop_samples / audio.rate_hz
        lines.append(f"sound: {seconds:,.0f} s of {clips[AUDIO]:,} clips{silent}")
    return "\n".join(lines)


def options(statistics: Statistics) -> str:
    """The front end's numbers as options of a command line.

    Lists are in quotes: to some shells brackets mean file names.
    """
    return " ".join(
        f"--front_end.{part}.{name} "
        + (str(value) if isinstance(value, float) else f"'{value}'".replace(" ", ""))
        for part, values in statistics.section().items()
        for name, value in values.items()
    )


def warnings(statistics: Statistics) -> list[str]:
    """What is wrong with the clips, or with the front end's present numbers, in sentences."""
    lines = []
    for name, number in statistics.clips.items():
        if not number:
            lines.append(f"no clip has {WORDS[name]}")
        elif number < statistics.num_clips:
            without = statistics.num_clips - number
            lines.append(f"{without} of {statistics.num_clips} clips have no {WORDS[name]}")
    if statistics.silent_frames and statistics.silent_frames == statistics.frames[AUDIO]:
        lines.append("the sound is digital silence in every clip: look at how it was extracted")
    elif statistics.silent_frames:
        silent = statistics.silent_clips
        if silent:
            lines.append(f"{silent} of {statistics.clips[AUDIO]} clips with sound are silent")
        if statistics.silence > _MANY_SILENT:
            share = f"{statistics.silence:.1%}"
            lines.append(f"{share} of the sound is digital silence, which moves the mean")
    far = [
        f"{name} (mean {mean:.2f}, deviation {std:.2f})"
        for name, (mean, std) in statistics.normalised().items()
        if abs(mean) > _FAR_MEAN or not 1 / _FAR_RATIO <= std <= _FAR_RATIO
    ]
    if far:
        shown = ", ".join(far)
        lines.append(f"far from mean 0 and deviation 1 with the front end as it is: {shown}")
    return lines
