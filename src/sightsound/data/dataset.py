"""Reads the clips of a manifest as a model sees them: decoded, cut, of fixed size, not augmented.

Every random choice is drawn from (seed, epoch, clip id, purpose): a key gives the same clip in
any process, at any time. Decoding one clip is two sequential passes, frames and sound.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

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

_OTHER_WINDOWS = 8  # looked at where one holds nothing, from the start of the row on; a guess
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
    front_end = front_end or FrontEnd()
    picture, downmix = front_end.video.picture, front_end.audio.downmix
    if settings.decoder != "pyav":
        from sightsound.media.torchcodec import TorchcodecReader

        device = "cuda" if settings.decoder == "torchcodec-cuda" else "cpu"
        return TorchcodecReader(device, downmix=downmix, picture=picture)
    reader = FileReader(settings.approximate, downmix, picture)
    if settings.time_limit_seconds:
        return DecodeProcessReader(reader, settings.time_limit_seconds)
    return reader


class ClipSource(Protocol):
    """What a loader reads: `ClipDataset`, or features of frozen encoders in place of its pixels."""

    @property
    def settings(self) -> DataSettings:
        """How clips are cut, and what happens to bad files."""

    @property
    def train(self) -> bool:
        """Whether clips are cut for training: a view is then a repeat of the same clip."""

    @property
    def views(self) -> int:
        """Views of each clip."""

    @property
    def deterministic(self) -> bool:
        """True if a clip is the same in every epoch."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """{modality: shape of one stream}."""

    @property
    def reader(self) -> Reader:
        """What reads the files of the clips."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: Key) -> Clip: ...


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
        self._latest: tuple[tuple, Clip] | None = None

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
        settings = self.settings
        is_still = settings.windows in ("centre", "start") and settings.crop in ("centre", "full")
        return is_still or not self.train

    def distinct_views(self, index: int) -> list[int]:
        """Views of a row that differ: one alone if the clip is no longer than its windows."""
        try:
            cuts = [
                tuple(self.windows(self.rows[index], epoch=0, view=view).values())
                for view in range(self.views)
            ]
        except DecodeError:  # reading the clip will say why
            return [0]
        return [view for view, cut in enumerate(cuts) if cut not in cuts[:view]]

    def frame_times(self, index: int) -> np.ndarray:
        """(T,) seconds of the file: when the frames of a row are looked at, in its first view."""
        row = self.rows[index]
        return self._frame_times(row, self.windows(row, epoch=0, view=0)[VIDEO])[0]

    def __getitem__(self, key: Key) -> Clip:
        epoch, index, view = key
        row = self.rows[index]
        target = torch.from_numpy(self.manifest.target(row))
        clip = empty = Clip(row.id, None, None, None, None, target, view, source=row.source)
        try:
            end = self._file_seconds(row)
            if is_outside(row.start_seconds, end):
                raise self._nothing(row, [f"the file ends at {end:.2f} s"])
            windows = self.windows(row, epoch=epoch, view=view)
            cut = (row.id, *windows.values())
            if self._latest is not None and self._latest[0] == cut:
                return dataclasses.replace(self._latest[1], view=view)
            crop = self.crop(row, epoch=epoch, view=view)
            candidate, masked = windows, set[str]()
            for candidate in self._candidates(row, windows):
                starts = {name: candidate[name].start_seconds for name in self.modalities}
                clip = dataclasses.replace(empty, starts=starts)
                clip = self._read(row, candidate, crop=crop, clip=clip)
                masked = {p.modality for p in clip.problems if p.action == "masked"}
                is_empty = clip.video is None and clip.audio is None
                if not is_empty or masked >= {*self.modalities}:  # none can be decoded anywhere
                    break
            if clip.video is None and clip.audio is None:
                causes = [problem.cause for problem in clip.problems]
                if masked:
                    raise DecodeError(row.path, row.start_seconds, causes[-1])
                raise self._nothing(row, causes)
        except DecodeError as error:
            if self.settings.bad_files == "error":
                raise
            dropped = Problem(row.id, error.path, "clip", error.cause, "dropped")
            return dataclasses.replace(clip, problems=(*clip.problems, dropped))
        if candidate != windows:
            moved = Problem(row.id, str(row.path), "clip", _MOVED, "partial")
            clip = dataclasses.replace(clip, problems=(*clip.problems, moved))
        if not self.train:
            self._latest = (cut, clip)
        return clip

    def _nothing(self, row: Row, causes: Sequence[str]) -> DecodeError:
        why = f" ({'; '.join(causes)})" if causes else ""
        wanted = " or ".join(self.modalities)
        return DecodeError(row.path, row.start_seconds, f"no {wanted} in this window{why}")

    def _read(self, row: Row, windows: Mapping[str, Window], *, crop: Crop, clip: Clip) -> Clip:
        """`clip` with the streams that reach into their windows, and what went wrong."""
        streams: dict[str, Stream | None] = {}
        problems: list[Problem] = []
        for name in self.modalities:
            path = str(_path(row, name))
            try:
                if name == VIDEO:
                    streams[name], causes = self._read_video(row, windows[name], crop=crop)
                else:
                    streams[name], causes = self._read_audio(row, windows[name])
            except DecodeError as error:
                if self.settings.bad_files != "mask":
                    raise
                problems.append(Problem(row.id, path, name, error.cause, "masked"))
                continue
            problems += [Problem(row.id, path, name, cause, "partial") for cause in causes]
        video, video_valid, times = streams.get(VIDEO) or (None, None, None)
        audio, audio_valid, _ = streams.get(AUDIO) or (None, None, None)
        return dataclasses.replace(
            clip,
            video=video,
            audio=audio,
            video_valid=video_valid,
            audio_valid=audio_valid,
            frame_times=times,
            problems=tuple(problems),
        )

    # --- where to look --------------------------------------------------------------------------

    def windows(self, row: Row, *, epoch: int, view: int) -> dict[str, Window]:
        """{modality: window} in seconds of the file."""
        duration = self.duration(row)
        lengths = self.front_end.video.span_seconds, self.front_end.audio.window_seconds
        mode = self.settings.windows
        if self.train or mode == "start":
            alone = mode == "official" and len(self.modalities) == 1  # no window to start with
            video, audio = sample_windows(
                duration,
                *lengths,
                mode=mode,
                synchronous=self.settings.synchronous and not alone,
                generator=self._generator(row, epoch=epoch, view=view, purpose="window"),
            )
        else:
            video, audio = (uniform_windows(duration, each, self.views)[view] for each in lengths)
        return {VIDEO: video.shifted(row.start_seconds), AUDIO: audio.shifted(row.start_seconds)}

    def _candidates(self, row: Row, windows: dict[str, Window]) -> Iterator[dict[str, Window]]:
        """`windows`, then others spread over the row: a clip is not lost for a gap in it.

        Files that were cut off, or sound that is damaged for a while, have such gaps. At last the
        first picture of the row is looked at: there may be no more than that.
        """
        yield windows
        if not self.moves_windows:
            return
        duration, tried = self.duration(row), [windows]
        spread = {
            name: uniform_windows(duration, window.length_seconds, _OTHER_WINDOWS)
            for name, window in windows.items()
        }
        for index in range(_OTHER_WINDOWS):
            other = {name: each[index].shifted(row.start_seconds) for name, each in spread.items()}
            if other not in tried:
                tried.append(other)
                yield other
        if VIDEO in self.modalities:  # times are those of the middles of pieces
            half = self.front_end.video.span_seconds / self.front_end.video.num_frames / 2
            yield tried[-1] | {VIDEO: spread[VIDEO][0].shifted(row.start_seconds - half)}

    def duration(self, row: Row) -> float:
        """Length of the row in seconds: to its end or that of its longest file."""
        stop = self._file_seconds(row)
        if row.end_seconds is not None:
            stop = min(stop, row.end_seconds)
        return max(0.0, stop - row.start_seconds)

    def _file_seconds(self, row: Row) -> float:
        """Duration of the row's longest file; one that fails counts 0 where another may do."""
        paths = {str(_path(row, modality)) for modality in self.modalities}
        for path in paths - self._durations.keys():
            try:
                self._durations[path] = self.reader.duration(path)
            except DecodeError:
                if len(paths) == 1 or self.settings.bad_files != "mask":
                    raise
                self._durations[path] = 0.0
        return max(self._durations[path] for path in paths)

    def crop(self, row: Row, *, epoch: int, view: int = 0) -> Crop:
        """Which part of its frames is cut out: drawn anew, so that it is the same each time."""
        video, settings = self.front_end.video, self.settings
        if settings.crop == "full":
            return full_box
        sizes = {"out_height": video.height, "out_width": video.width}
        if not self.train or settings.crop not in ("random", "jitter"):
            return partial(centre_box, short_side=video.short_side, **sizes)
        generator = self._generator(row, epoch=epoch, view=view, purpose="crop")
        if settings.crop == "jitter":
            jittered = partial(jittered_box, generator=generator, jitter=settings.crop_jitter)
            return partial(jittered, short_side=video.short_side, **sizes)
        return partial(
            random_box,
            generator=generator,
            scale=settings.crop_scale,
            ratio=settings.crop_ratio,
            out_ratio=video.width / video.height,
        )

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
        clip = Window(row.start_seconds, row.start_seconds + self.duration(row))
        if self.settings.wrap:
            times = wrapped_times(times, clip)
        if times[0] >= clip.stop_seconds:  # it ends before the first of them: look at its middle
            times[0] = (window.start_seconds + clip.stop_seconds) / 2
        if row.end_seconds is None:
            return times, np.ones(len(times), bool)
        inside = times < row.end_seconds
        return np.minimum(times, row.end_seconds - _BEFORE_END_SECONDS), inside

    def _read_audio(self, row: Row, window: Window) -> tuple[Stream | None, tuple[str, ...]]:
        """Log-mel (1, F, M) and valid (F,), and what went wrong."""
        sound = self._sound(row, window)
        if sound is None:
            return None, ()
        samples, valid = torch.from_numpy(sound.samples), torch.from_numpy(sound.valid)
        spectrogram, frame_valid = clip_log_mel(samples, valid, self.front_end.audio)
        stream = Stream(spectrogram, frame_valid) if frame_valid.any() else None
        return stream, sound.problems

    def _sound(self, row: Row, window: Window) -> Samples | None:
        """The window's sound, up to the end of the row or, with `wrap`, going on at its start."""
        rate, count = self.front_end.audio.rate_hz, samples_for(self.front_end.audio)
        start, length = window.start_seconds, int(self.duration(row) * rate)
        if self.settings.wrap and length:
            first = round((start - row.start_seconds) * rate)
            pieces = [
                (row.start_seconds + begin / rate, row.start_seconds + end / rate)
                for begin, end in wrapped_pieces(first, count, length)
            ]
        else:
            stop = start + count / rate
            stop = stop if row.end_seconds is None else min(stop, row.end_seconds)
            pieces = [(start, stop)] if stop > start else []
        path = _path(row, AUDIO)
        read = {piece: self.reader.sound(path, *piece, rate) for piece in dict.fromkeys(pieces)}
        parts = [part for part in map(read.get, pieces) if part is not None]
        if not parts or len(parts) < len(pieces):
            return None
        if len(parts) == 1:
            return parts[0]
        return Samples(
            np.concatenate([part.samples for part in parts]),
            np.concatenate([part.valid for part in parts]),
            tuple(dict.fromkeys(problem for part in parts for problem in part.problems)),
        )


def _path(row: Row, modality: str) -> Path:
    return row.audio_path if modality == AUDIO and row.audio_path is not None else row.path
