"""Which windows of a file are scored, and the model's input for each.

A window gives what `predict --start_seconds --end_seconds` gives of the same stretch: the same
frames to the bit, the same sound as far as decoders allow (see `media.sequential`), and a log-mel
of its own. That one is not shared: the last frames of a window reach past its end, where a window
alone has silence, and Kaldi's front end subtracts the window's mean.

A window longer than the model's own gets more frames at the same distance; positions are
interpolated by the model. A shorter one is padded, and padding is masked.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sightsound.data.loader import collate
from sightsound.data.rows import Manifest, Row
from sightsound.features.encoding import Encoding
from sightsound.media.clips import Window
from sightsound.media.front_end import FrontEnd
from sightsound.media.probe import read_duration
from sightsound.media.sequential import SequentialReader
from sightsound.predict import Predictor
from sightsound.types import AUDIO, VIDEO, Clip, Problem

SHORTEST_HOP_SECONDS = 0.01  # of shorter ones even an hour has more windows than memory


@dataclass(frozen=True)
class Grid:
    """Windows every `hop_seconds` over a stretch of a file; the last one may run past its end."""

    start_seconds: float
    end_seconds: float
    window_seconds: float
    hop_seconds: float

    def __post_init__(self) -> None:
        window, hop = self.window_seconds, self.hop_seconds
        if not (SHORTEST_HOP_SECONDS <= hop <= window and math.isfinite(window)):
            raise ValueError(
                f"window is {window:g} s and hop {hop:g} s; accepted: a hop of at least "
                f"{SHORTEST_HOP_SECONDS:g} s and not above the window, else something would never "
                "be looked at"
            )
        if not 0 <= self.start_seconds < self.end_seconds:
            raise ValueError(
                f"the stretch from {self.start_seconds:g} s to {self.end_seconds:g} s is empty; "
                "accepted: a start of 0 or more, before the end of the file and of the stretch"
            )

    @property
    def num_windows(self) -> int:
        """As many as it takes until one reaches the end."""
        left = self.end_seconds - self.start_seconds - self.window_seconds
        return 1 + max(0, math.ceil(left / self.hop_seconds - 1e-6))

    def window(self, index: int) -> Window:
        """Window `index`; the last one is cut at the end."""
        start = round(self.start_seconds + index * self.hop_seconds, 6)
        return Window(start, min(round(start + self.window_seconds, 6), self.end_seconds))


@dataclass(frozen=True)
class Plan:
    """A file, the windows of it, and the front end that makes a model's input of each."""

    path: Path
    grid: Grid
    front_end: FrontEnd


def plan_windows(
    predictor: Predictor,
    path: str | Path,
    *,
    window_seconds: float,
    hop_seconds: float,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
) -> Plan:
    """The windows over a file, or over a stretch of it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: windows that are none, or that the model cannot look at.
        DecodeError: the file cannot be opened.
    """
    predictor.files([path], start_seconds=start_seconds, end_seconds=end_seconds)  # checks them
    duration = read_duration(path)
    end = min(duration, math.inf if end_seconds is None else end_seconds)
    grid = Grid(start_seconds or 0.0, end, window_seconds, hop_seconds)
    front_end = front_end_for(predictor, min(window_seconds, math.ceil(end - grid.start_seconds)))
    return Plan(Path(path).absolute(), grid, front_end)


def front_end_for(predictor: Predictor, window_seconds: float) -> FrontEnd:
    """The model's front end, with more frames if the window is longer than its own.

    Of a model whose streams look at stretches of different lengths the longest one counts; the
    others grow as much.

    Raises:
        ValueError: the model cannot look at such a window; the message names those it can.
    """
    own = predictor.front_end
    if own.features is not None:
        if window_seconds != round(window_seconds):
            raise ValueError(
                f"window is {window_seconds:g} s, but this model reads features of whole seconds; "
                f"accepted: a whole number, such as {max(1, round(window_seconds))}"
            )
        return _of_seconds(own, max(own.features.segments, round(window_seconds)))
    lengths = {VIDEO: own.video.span_seconds, AUDIO: own.audio.window_seconds}
    longest = max(lengths[name] for name in predictor.modalities)
    factor = window_seconds / longest
    if factor <= 1 + 1e-6:
        return own
    longer = dataclasses.replace(
        own,
        video=dataclasses.replace(
            own.video,
            num_frames=round(own.video.num_frames * factor),
            window_seconds=own.video.window_seconds * factor,
        ),
        audio=dataclasses.replace(own.audio, num_frames=round(own.audio.num_frames * factor)),
    )
    _check_accepted(predictor, longer, window=f"{window_seconds:g} s", own=f"{longest:g} s")
    return longer


def _of_seconds(front_end: FrontEnd, segments: int) -> FrontEnd:
    """A front end of features for clips of `segments` seconds."""
    features, audio = front_end.features, front_end.audio
    assert features is not None  # else windows are longer or shorter by a factor
    per_second = audio.num_frames // features.segments
    return dataclasses.replace(
        front_end,
        features=dataclasses.replace(features, segments=segments),
        audio=dataclasses.replace(audio, num_frames=segments * per_second),
        video=dataclasses.replace(
            front_end.video,
            num_frames=segments * features.frames_per_segment,
            window_seconds=float(segments),
        ),
    )


@torch.inference_mode()
def _check_accepted(predictor: Predictor, front_end: FrontEnd, *, window: str, own: str) -> None:
    """Whether the model takes inputs of another length is tried with zeros."""
    (frames, *size), audio = front_end.shapes[VIDEO], front_end.shapes[AUDIO]
    shapes = {VIDEO: (1, frames, 3, *size), AUDIO: (1, 1, *audio)}
    inputs = {m: torch.zeros(shapes[m], device=predictor.device) for m in predictor.modalities}
    try:
        predictor.model(inputs)
    except ValueError as error:
        raise ValueError(
            f"window is {window}, and this model cannot look at more than the {own} that it is "
            f"built for ({error}); accepted: a window of up to {own}"
        ) from error


# --- inputs -------------------------------------------------------------------------------------


def window_clips(predictor: Predictor, plan: Plan, *, first: int = 0) -> Iterator[Clip]:
    """What the model is given of each window, from window `first` on; the file is read once.

    A stream that is missing or fails in a window is absent there; if both are, the clip is empty
    and marked as dropped.
    """
    windows = [plan.grid.window(index) for index in range(first, plan.grid.num_windows)]
    if not windows:
        return iter(())
    if plan.front_end.features is None:
        return _read(predictor, plan.path, windows, plan.front_end)
    return _assembled(predictor, plan, windows)


def _read(
    predictor: Predictor, path: Path, windows: Sequence[Window], front_end: FrontEnd
) -> Iterator[Clip]:
    """A clip for each of `windows`, which are in order of time."""
    rows = [
        Row(str(number), path, (), start_seconds=w.start_seconds, end_seconds=w.stop_seconds)
        for number, w in enumerate(windows)
    ]
    manifest = Manifest((), predictor.labels, predictor.task, path)
    dataset = predictor.dataset(manifest, rows, views=1, bad_files="mask", front_end=front_end)
    with closing(SequentialReader(path, **front_end.reading)) as reader:
        dataset.reader, dataset.moves_windows = reader, False
        if VIDEO in predictor.modalities:
            reader.times_seconds = np.concatenate(
                [dataset.frame_times(number) for number in range(len(rows))]
            )
        for number in range(len(rows)):
            yield dataset[0, number, 0]


# --- inputs made of features --------------------------------------------------------------------


@dataclass(frozen=True)
class _Second:
    """One second of a file."""

    features: dict[str, torch.Tensor]  # {modality: (...,)} of the streams that it has
    whole: dict[str, bool]  # {modality: half or more of it is there}
    problems: tuple[Problem, ...]


def _assembled(predictor: Predictor, plan: Plan, windows: Sequence[Window]) -> Iterator[Clip]:
    """Clips of features; a second that several windows hold is encoded once."""
    places = [_starts_of_seconds(window) for window in windows]
    starts = sorted({start for each in places for start in each})
    seconds = _seconds(predictor, plan, starts)
    kept: dict[float, _Second] = {}
    for number, wanted in enumerate(places):
        kept = {start: kept[start] for start in kept if start >= wanted[0]}
        while wanted[-1] not in kept:
            kept.update([next(seconds)])
        parts = [kept[start] for start in wanted]
        yield _clip_of(parts, plan.front_end, name=str(number), wrap=predictor.wrap)


def _starts_of_seconds(window: Window) -> list[float]:
    """Of those seconds of which half or more is there, and of the first one."""
    count = max(1, math.floor(window.length_seconds + 0.5))
    return [round(window.start_seconds + second, 6) for second in range(count)]


def _seconds(
    predictor: Predictor, plan: Plan, starts: Sequence[float]
) -> Iterator[tuple[float, _Second]]:
    """(start, what it holds) of one second after the other."""
    front_end = _of_seconds(plan.front_end, 1)
    encoding = Encoding(front_end, device=predictor.device)
    ends = [min(round(start + 1.0, 6), plan.grid.end_seconds) for start in starts]
    windows = [Window(*each) for each in zip(starts, ends, strict=True)]
    clips = _read(predictor, plan.path, windows, front_end)
    for start, clip in zip(starts, clips, strict=True):
        yield start, _encoded(clip, encoding)


def _encoded(clip: Clip, encoding: Encoding) -> _Second:
    batch = collate([clip])
    if batch is None:
        return _Second({}, {}, clip.problems)
    encoded = encoding(batch.to(encoding.device))
    return _Second(
        {name: x[0, 0].cpu() for name, x in encoded.inputs.items()},
        {name: bool(valid.float().mean() >= 0.5) for name, valid in batch.valid.items()},
        clip.problems,
    )


def _clip_of(parts: Sequence[_Second], front_end: FrontEnd, *, name: str, wrap: bool) -> Clip:
    """The clip that seconds side by side make, padded or, with `wrap`, repeated.

    Whole seconds are repeated, also those of a last window that ends within one.
    """
    assert front_end.features is not None
    segments, streams = front_end.features.segments, {}
    for modality, shape in front_end.shapes.items():
        x, valid = torch.zeros(shape), torch.zeros(segments, dtype=torch.bool)
        for place in range(segments if wrap else len(parts)):
            second = parts[place % len(parts)]
            if modality in second.features and (second.whole[modality] or place == 0):
                x[place], valid[place] = second.features[modality], True
        streams[modality] = (x, valid) if valid.any() else (None, None)
    (video, video_valid), (audio, audio_valid) = (
        streams.get(modality, (None, None)) for modality in (VIDEO, AUDIO)
    )
    problems = tuple(p for part in parts for p in part.problems if p.action != "dropped")
    if video is None and audio is None:
        problems += (Problem(name, name, "clip", "nothing there", "dropped"),)
    return Clip(
        name, video, audio, video_valid, audio_valid, torch.zeros(1), 0, problems, encoded=True
    )
