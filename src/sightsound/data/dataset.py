"""Clips of a manifest as a model sees them: decoded, cut, of fixed size, not augmented.

Every random choice is drawn from (seed, epoch, clip id, purpose): a key gives the same clip in
any process, at any time. Decoding one clip is two sequential passes, frames and sound.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sightsound.config.settings import DataSettings
from sightsound.data.rows import Manifest, Row
from sightsound.data.sampling import Key
from sightsound.data.shards.demand import check_rich_enough
from sightsound.data.shards.index import Index, is_index
from sightsound.media.clips import (
    Window,
    frame_times,
    is_outside,
    sample_windows,
    uniform_windows,
    wrapped_pieces,
    wrapped_times,
)
from sightsound.media.decode import DecodeError
from sightsound.media.decode_process import DecodeProcessReader
from sightsound.media.front_end import FrontEnd
from sightsound.media.geometry import Crop, centre_box, full_box, jittered_box, random_box
from sightsound.media.logmel import clip_log_mel, samples_for
from sightsound.media.reader import FileReader, Reader
from sightsound.media.sound import Samples
from sightsound.registry import unknown_name
from sightsound.seeding import stable_seed
from sightsound.types import AUDIO, MODALITIES, VIDEO, Clip, Problem

# A frame that starts at the end of a row belongs to what follows; the last frame looked at is the
# one shown this long before. A guess: shorter than any frame.
_BEFORE_END_SECONDS = 1e-3

_OTHER_PLACES = 8  # looked at where a window holds nothing, from the start of the row on; a guess
_MOVED = "a window without any stream was moved to where there is one"


class Stream(NamedTuple):
    """What one modality of a clip gives."""

    values: Tensor
    valid: Tensor
    times: Tensor | None = None  # (T,) seconds of the file: when the frames given start


def open_reader(
    manifest: Manifest,
    settings: DataSettings,
    *,
    front_end: FrontEnd | None = None,
    modalities: Sequence[str] = (),
) -> Reader:
    """The reader for what `manifest` was read from; no file of a clip is opened yet.

    Raises:
        ValueError: shards too poor for `modalities` of `front_end`.
    """
    if is_index(manifest.source):
        index = Index(manifest.source)
        if front_end is not None:
            check_rich_enough(index, front_end, settings, modalities=modalities)
        from sightsound.data.shards.reader import ShardReader

        return ShardReader(index.path)
    how = (front_end or FrontEnd()).reading
    if settings.decoder != "pyav":
        from sightsound.media.torchcodec import TorchcodecReader

        device = "cuda" if settings.decoder == "torchcodec-cuda" else "cpu"
        return TorchcodecReader(device, **how)
    reader = FileReader(approximate=settings.approximate, **how)
    if settings.time_limit_seconds:
        return DecodeProcessReader(reader, settings.time_limit_seconds)
    return reader


class ClipDataset(Dataset):
    """`dataset[epoch, index, view]` is a `Clip` of row `index`.

    Training cuts windows and crops as `settings` says, every view anew; otherwise windows are
    centred, or `views` of them uniform over the clip, and crops are the centre (the full frame if
    `settings.crop` is "full"). A window that runs past the end of the row is padded there or, with
    `settings.wrap`, goes on at the row's start. A stream that the file lacks, or that does not
    reach into the window, is absent. A window that no stream reaches into is moved to where one is;
    a clip that has none anywhere counts as a file that cannot be decoded.

    `settings.bad_files` decides about those: "error" raises the `DecodeError`; "drop" gives an
    empty clip with a problem "dropped", which `collate` leaves out; "mask" makes the stream absent
    and drops only clips that have nothing left.

    Raises:
        ValueError: no rows, an unknown modality, several views in training.
    """

    def __init__(
        self,
        manifest: Manifest,
        rows: Sequence[Row],
        front_end: FrontEnd,
        settings: DataSettings,
        *,
        modalities: Sequence[str] = MODALITIES,
        train: bool,
        seed: int,
        views: int = 1,
    ) -> None:
        if not rows:
            raise ValueError(f"no clips to read from {str(manifest.source)!r}: rows is empty")
        for name in modalities:
            if name not in MODALITIES:
                raise unknown_name("modality", name, MODALITIES)
        if views < 1 or (train and views > 1):
            raise ValueError(f"views is {views}; accepted: 1 in training, 1 or more otherwise")
        self.manifest = dataclasses.replace(manifest, rows=())  # labels only: this travels
        self.rows = list(rows)
        self.reader: Reader = open_reader(
            manifest, settings, front_end=front_end, modalities=modalities
        )
        self.front_end = front_end
        self.settings = settings
        self.modalities = tuple(modalities)
        self.train = train
        self.seed = seed
        self.views = views
        self.moves_windows = True  # that hold nothing; a reader may not be able to look elsewhere
        self._durations: dict[str, float] = {}
        # The last test view read: those of a short clip, which come in a row, are one and the same.
        self._latest: (
            tuple[tuple, dict[str, Stream | None], tuple[Problem, ...], dict[str, Window]] | None
        ) = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one stream of each modality: video (T, C, H, W), audio (1, F, M)."""
        video, audio = self.front_end.video, self.front_end.audio
        shapes = {
            VIDEO: (video.num_frames, 3, video.height, video.width),
            AUDIO: (1, audio.num_frames, audio.num_mels),
        }
        return {name: shape for name, shape in shapes.items() if name in self.modalities}

    @property
    def deterministic(self) -> bool:
        """True if a clip is the same in every epoch: windows and crops are not random."""
        still = self.settings.windows in ("centre", "start") and self.settings.crop in (
            "centre",
            "full",
        )
        return still or not self.train

    def distinct_views(self, index: int) -> list[int]:
        """Views of a row that differ: one alone if the clip is no longer than its windows."""
        try:
            cuts = [
                tuple(self._windows(self.rows[index], epoch=0, view=view).values())
                for view in range(self.views)
            ]
        except DecodeError:  # reading the clip will say why
            return [0]
        return [view for view, cut in enumerate(cuts) if cut not in cuts[:view]]

    def frame_times(self, index: int) -> np.ndarray:
        """(T,) seconds of the file: when the frames of a row are looked at, in its first view."""
        row = self.rows[index]
        return self._frame_times(row, self._windows(row, epoch=0, view=0)[VIDEO])[0]

    def __getitem__(self, key: Key) -> Clip:
        epoch, index, view = key
        row = self.rows[index]
        problems: list[Problem] = []
        cut: dict[str, Window] = {}
        try:
            streams = self._streams(row, epoch=epoch, view=view, problems=problems, cut=cut)
        except DecodeError as error:
            if self.settings.bad_files == "error":
                raise
            problems.append(Problem(row.id, error.path, "clip", error.cause, "dropped"))
            streams = {}
        video, video_valid, times = streams.get(VIDEO) or (None, None, None)
        audio, audio_valid, _ = streams.get(AUDIO) or (None, None, None)
        target = torch.from_numpy(self.manifest.target(row))
        return Clip(
            row.id,
            video,
            audio,
            video_valid,
            audio_valid,
            target,
            view,
            tuple(problems),
            source=row.source,
            starts={name: cut[name].start_seconds for name in self.modalities if name in cut},
            frame_times=times,
        )

    def _streams(
        self,
        row: Row,
        *,
        epoch: int,
        view: int,
        problems: list[Problem],
        cut: dict[str, Window],
    ) -> dict[str, Stream | None]:
        """What each modality gives; `problems` is added to, `cut` gets the windows read."""
        end = self._file_seconds(row)
        if is_outside(row.start_seconds, end):
            raise self._nothing(row, [f"the file ends at {end:.2f} s"])
        windows = self._windows(row, epoch=epoch, view=view)
        wanted = (row.id, *windows.values())
        if self._latest is not None and self._latest[0] == wanted:
            problems += self._latest[2]
            cut |= self._latest[3]
            return self._latest[1]
        crop = self.crop(row, epoch=epoch, view=view)
        for place in self._places(row, windows):
            cut |= place
            found: list[Problem] = []
            streams = self._looked_at(row, place, crop=crop, problems=found)
            if any(streams.values()) or _all_failed(found, self.modalities):
                break
        problems += found
        if not any(streams.values()):
            if any(problem.action == "masked" for problem in found):
                raise DecodeError(row.path, row.start_seconds, found[-1].cause)
            raise self._nothing(row, [problem.cause for problem in found])
        if place != windows:
            problems.append(Problem(row.id, str(row.path), "clip", _MOVED, "partial"))
        if not self.train:
            self._latest = (wanted, streams, tuple(problems), place)
        return streams

    def _looked_at(
        self, row: Row, windows: Mapping[str, Window], *, crop: Crop, problems: list[Problem]
    ) -> dict[str, Stream | None]:
        """What each modality gives in its window; `problems` is added to."""
        read: dict[str, Callable[[], tuple[Stream | None, tuple[str, ...]]]] = {
            VIDEO: partial(self._read_video, row, windows[VIDEO], crop=crop),
            AUDIO: partial(self._read_audio, row, windows[AUDIO]),
        }
        return {m: self._attempt(row, m, read[m], problems=problems) for m in self.modalities}

    def _nothing(self, row: Row, causes: Sequence[str]) -> DecodeError:
        why = f" ({'; '.join(causes)})" if causes else ""
        wanted = " or ".join(self.modalities)
        return DecodeError(row.path, row.start_seconds, f"no {wanted} in this stretch{why}")

    def _attempt(
        self,
        row: Row,
        modality: str,
        read: Callable[[], tuple[Stream | None, tuple[str, ...]]],
        *,
        problems: list[Problem],
    ) -> Stream | None:
        path = str(_path(row, modality))
        try:
            stream, causes = read()
        except DecodeError as error:
            if self.settings.bad_files != "mask":
                raise
            problems.append(Problem(row.id, path, modality, error.cause, "masked"))
            return None
        problems += [Problem(row.id, path, modality, cause, "partial") for cause in causes]
        return stream

    # --- where to look --------------------------------------------------------------------------

    def _windows(self, row: Row, *, epoch: int, view: int) -> dict[str, Window]:
        """{modality: window} in seconds of the file."""
        duration = self.duration(row)
        lengths = self.front_end.video.span_seconds, self.front_end.audio.window_seconds
        mode = self.settings.windows
        if self.train or mode == "start":
            alone = mode == "official" and len(self.modalities) == 1  # no window to start with
            pair = sample_windows(
                duration,
                *lengths,
                mode=mode,
                synchronous=self.settings.synchronous and not alone,
                generator=self._generator(row, epoch=epoch, view=view, purpose="window"),
            )
        else:
            pair = [uniform_windows(duration, length, self.views)[view] for length in lengths]
        return {
            name: window.shifted(row.start_seconds)
            for name, window in zip((VIDEO, AUDIO), pair, strict=True)
        }

    def _places(self, row: Row, windows: dict[str, Window]) -> Iterator[dict[str, Window]]:
        """`windows`, then others spread over the row: a clip is not lost for a gap in it.

        Files that were cut off, or sound that is damaged for a while, have such gaps. At last the
        first picture of the row is looked at: there may be no more than that.
        """
        yield windows
        if not self.moves_windows:
            return
        duration, tried = self.duration(row), [windows]
        spread = {
            name: uniform_windows(duration, window.length_seconds, _OTHER_PLACES)
            for name, window in windows.items()
        }
        for number in range(_OTHER_PLACES):
            place = {n: other[number].shifted(row.start_seconds) for n, other in spread.items()}
            if place not in tried:
                tried.append(place)
                yield place
        if VIDEO in self.modalities:  # times are those of the middles of pieces
            half = self.front_end.video.span_seconds / self.front_end.video.num_frames / 2
            yield tried[-1] | {VIDEO: spread[VIDEO][0].shifted(row.start_seconds - half)}

    def _stretch(self, row: Row) -> Window:
        """The row in seconds of the file."""
        return Window(0.0, self.duration(row)).shifted(row.start_seconds)

    def duration(self, row: Row) -> float:
        """Length of the row in seconds: to its end or that of its longest file."""
        stop = self._file_seconds(row)
        if row.end_seconds is not None:
            stop = min(stop, row.end_seconds)
        return max(0.0, stop - row.start_seconds)

    def _file_seconds(self, row: Row) -> float:
        """Duration of the row's longest file."""
        paths = {str(_path(row, modality)) for modality in self.modalities}
        for path in paths - self._durations.keys():
            self._durations[path] = self._probed(path, alone=len(paths) == 1)
        return max(self._durations[path] for path in paths)

    def _probed(self, path: str, *, alone: bool) -> float:
        """Duration of one file; 0 for one that fails where another file may do."""
        try:
            return self.reader.duration(path)
        except DecodeError:
            if alone or self.settings.bad_files != "mask":
                raise
            return 0.0

    def crop(self, row: Row, *, epoch: int, view: int = 0) -> Crop:
        """Which part of its frames is cut out: drawn anew, so that it is the same each time."""
        height, width = self.front_end.video.height, self.front_end.video.width
        kind = self.settings.crop
        if kind == "full":
            return full_box
        if self.train and kind == "random":
            generator = self._generator(row, epoch=epoch, view=view, purpose="crop")
            scale, ratio = self.settings.crop_scale, self.settings.crop_ratio
            return partial(
                random_box, generator=generator, scale=scale, ratio=ratio, out_ratio=width / height
            )
        short_side = self.front_end.video.short_side
        sizes = {"out_height": height, "out_width": width, "short_side": short_side}
        if self.train and kind == "jitter":
            generator = self._generator(row, epoch=epoch, view=view, purpose="crop")
            return partial(
                jittered_box, generator=generator, jitter=self.settings.crop_jitter, **sizes
            )
        return partial(centre_box, **sizes)

    def _generator(self, row: Row, *, epoch: int, view: int, purpose: str) -> np.random.Generator:
        """Draws of one clip; a repeat in the same epoch, which is a later view, has its own."""
        repeat = (view,) if view else ()
        return np.random.default_rng(stable_seed(self.seed, epoch, row.id, purpose, *repeat))

    # --- what is there --------------------------------------------------------------------------

    def _read_video(
        self, row: Row, window: Window, *, crop: Crop
    ) -> tuple[Stream | None, tuple[str, ...]]:
        """Pixels (T, C, H, W) uint8 and valid (T,), and what went wrong."""
        video = self.front_end.video
        times, inside = self._frame_times(row, window)
        frames = self.reader.frames(row.path, times, (video.height, video.width), crop=crop)
        if frames is None:
            return None, ()
        valid = frames.valid & inside
        if not valid.any():
            return None, frames.problems
        arrays = frames.pixels, valid, frames.times_seconds
        return Stream(*map(torch.from_numpy, arrays)), frames.problems

    def _frame_times(self, row: Row, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """When its frames are looked at (T,), and which of these times are within the row (T,)."""
        video = self.front_end.video
        times = frame_times(window, video.num_frames, video.stride_seconds)
        if self.settings.wrap:
            times = wrapped_times(times, self._stretch(row))
        end = self._stretch(row).stop_seconds
        if times[0] >= end:  # so short that it ends before the first of them: look at its middle
            times[0] = (window.start_seconds + end) / 2
        if row.end_seconds is None:
            return times, np.ones(len(times), bool)
        inside = times < row.end_seconds
        return np.minimum(times, row.end_seconds - _BEFORE_END_SECONDS), inside

    def _read_audio(self, row: Row, window: Window) -> tuple[Stream | None, tuple[str, ...]]:
        """Log-mel (1, F, M) and valid (F,), and what went wrong."""
        audio = self.front_end.audio
        sound = self._sound(row, window)
        if sound is None:
            return None, ()
        samples, valid = torch.from_numpy(sound.samples), torch.from_numpy(sound.valid)
        spectrogram, frame_valid = clip_log_mel(samples, valid, audio)
        stream = Stream(spectrogram, frame_valid) if frame_valid.any() else None
        return stream, sound.problems

    def _sound(self, row: Row, window: Window) -> Samples | None:
        """The window's sound, up to the end of the row or, with `wrap`, going on at its start."""
        rate, path = self.front_end.audio.rate_hz, _path(row, AUDIO)
        start, count = window.start_seconds, samples_for(self.front_end.audio)
        length = int(self.duration(row) * rate)
        if self.settings.wrap and length:
            first = round((start - row.start_seconds) * rate)
            return self._joined(path, row.start_seconds, wrapped_pieces(first, count, length))
        stop = start + count / rate
        if row.end_seconds is not None:
            stop = min(stop, row.end_seconds)
        return self.reader.sound(path, start, stop, rate) if stop > start else None

    def _joined(
        self, path: Path, start_seconds: float, pieces: list[tuple[int, int]]
    ) -> Samples | None:
        """The sound of `pieces` in a row: samples after `start_seconds`; each is read once."""
        rate = self.front_end.audio.rate_hz
        read = {
            piece: self.reader.sound(path, *(start_seconds + s / rate for s in piece), rate)
            for piece in dict.fromkeys(pieces)
        }
        if None in read.values():
            return None
        parts = [read[piece] for piece in pieces]
        return Samples(
            np.concatenate([part.samples for part in parts]),
            np.concatenate([part.valid for part in parts]),
            tuple(dict.fromkeys(problem for part in read.values() for problem in part.problems)),
        )


def _all_failed(problems: Sequence[Problem], modalities: Sequence[str]) -> bool:
    """Whether no stream can be decoded at all, wherever one looks."""
    return {p.modality for p in problems if p.action == "masked"} >= set(modalities)


def _path(row: Row, modality: str) -> Path:
    return row.audio_path if modality == AUDIO and row.audio_path is not None else row.path
