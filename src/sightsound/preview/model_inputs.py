"""What a model is given of some clips, and from where in their files it comes.

The clips go through the data set, `normalise` and, for the training view, `augment`, like those of
a run: what is kept of them are slices of the very batch. Only the reader is listened to.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sightsound.config.settings import RunConfig
from sightsound.data.augment import augment
from sightsound.data.augment.normalise import normalise
from sightsound.data.dataset import ClipDataset
from sightsound.data.loader import collate, is_dropped
from sightsound.data.rows import Row
from sightsound.data.sampling import Key, epoch_batches, train_keys, with_turns
from sightsound.media.clips import Window
from sightsound.media.decode import DecodeError
from sightsound.media.frames import Frames
from sightsound.media.front_end import FrontEnd, Picture
from sightsound.media.geometry import Crop
from sightsound.media.probe import probe
from sightsound.media.reader import Reader
from sightsound.media.sound import Samples
from sightsound.seeding import stable_seed
from sightsound.types import AUDIO, VIDEO, WORDS, Batch, Clip, Problem

# Of the normalised values of one clip, from where on a remark is due: guesses. Clips differ, so
# these are wider than those of a whole data set.
_FAR_MEAN, _SMALL, _LARGE = 1.5, 0.1, 4.0
_TINY = 1e-6  # seconds
_STILL = 0.02  # mean difference between frames: what a codec makes of a still picture
_FLAT = 1e-3  # between the largest and the smallest value of what does not change at all


@dataclass
class Asked:
    """What a data set asked of the files of one clip."""

    wanted: np.ndarray | None = None  # (T,) seconds, of pictures
    shown: np.ndarray | None = None  # (T,) seconds, when those given start
    crop: Crop | None = None
    sound_start: float | None = None  # seconds
    heard: bool = False  # whether there was sound; where not, it may be asked for elsewhere


class Listener:
    """A reader that passes every question on and remembers it in `asked`."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.asked = Asked()

    def duration(self, path: str | Path) -> float:
        """See `Reader`."""
        return self.reader.duration(path)

    def frames(
        self,
        path: str | Path,
        times_seconds: np.ndarray,
        size: tuple[int, int],
        *,
        crop: Crop | None = None,
    ) -> Frames | None:
        """See `Reader`."""
        # The box may be drawn at random: a copy draws the same one again.
        self.asked.wanted, self.asked.crop = times_seconds.copy(), copy.deepcopy(crop)
        frames = self.reader.frames(path, times_seconds, size, crop=crop)
        self.asked.shown = None if frames is None else frames.times_seconds
        return frames

    def sound(
        self, path: str | Path, start_seconds: float, stop_seconds: float, rate: int
    ) -> Samples | None:
        """See `Reader`."""
        samples = self.reader.sound(path, start_seconds, stop_seconds, rate)
        if self.asked.sound_start is None or not self.asked.heard:
            self.asked.sound_start = start_seconds
        self.asked.heard |= samples is not None and bool(samples.valid.any())
        return samples

    def close(self) -> None:
        """See `Reader`."""
        self.reader.close()


@dataclass(frozen=True)
class Seen:
    """One clip as a model gets it. Times are seconds of the file."""

    row: Row
    labels: str  # what the model is to say, with weights where clips are mixed
    labels_apart: dict[str, str]  # {modality: the same for one stream} where they differ
    video: Tensor | None  # (T, C, H, W) float, normalised; `None`: not read, or absent
    audio: Tensor | None  # (1, F, M) float, normalised
    valid: dict[str, Tensor]  # {modality: (T,) or (F,) bool} of those there are
    decoded: dict[str, Tensor]  # {modality: (T,) or (F,) bool}: `valid` before augmentation
    times: np.ndarray | None  # (T,) when the frames given start
    starts: dict[str, float]  # {modality: where its window starts}
    lengths: dict[str, float]  # {modality: of its window} of those the model looks at
    duration: float  # of the longest file
    stretch: Window  # the row's part of the file
    wrap: bool  # windows go on at the start of the stretch
    cut: str = ""  # which part of the frames, in words
    crop: Crop | None = None  # the same, from the displayed size
    partner: str = ""  # the clip that mixup or cutmix may take from
    shift_frames: int = 0  # augmentation moved the sound by up to so many, in a circle
    left_out: tuple[str, ...] = ()  # modalities that augmentation dropped
    problems: tuple[Problem, ...] = ()

    @property
    def wraps(self) -> bool:
        """Whether a window that runs past the end goes on at the start."""
        return self.wrap and self.stretch.length_seconds > 0

    def file_seconds(self, seconds: float) -> float:
        """The time of the file that a place in a window, counted on without wrapping, shows."""
        if not self.wraps:
            return seconds
        start = self.stretch.start_seconds
        return start + (seconds - start) % self.stretch.length_seconds

    def parts(self, start: float, stop: float) -> list[tuple[float, float]]:
        """(start, stop) in the file of a stretch of a window: several where that wraps."""
        parts = []
        while stop - start > _TINY:
            place, length = self.file_seconds(start), stop - start
            if self.wraps:
                length = min(length, max(_TINY, self.stretch.stop_seconds - place))
            parts.append((place, place + length))
            start += length
        return parts

    def window_parts(self, modality: str) -> list[tuple[float, float]]:
        """(start, stop) in the file of all that a window covers."""
        if modality not in self.starts:
            return []
        return self.parts(self.starts[modality], self.starts[modality] + self.lengths[modality])

    def decoded_parts(self, modality: str) -> list[tuple[float, float]]:
        """(start, stop) in the file of what a window found there."""
        if modality not in self.decoded or modality not in self.starts:
            return []
        frames = self.decoded[modality].numpy()
        step = self.lengths[modality] / len(frames)
        runs = [
            (self.starts[modality] + step * first, self.starts[modality] + step * last)
            for first, last in runs_of(frames)
        ]
        return [part for run in runs for part in self.parts(*run)]

    def streams(self) -> dict[str, Tensor]:
        """{modality: values} of what is there."""
        streams = {VIDEO: self.video, AUDIO: self.audio}
        return {name: stream for name, stream in streams.items() if stream is not None}

    def valid_values(self, modality: str) -> Tensor:
        """Values of the frames that are not padding, (T', C, H, W) or (F', M)."""
        stream = self.streams()[modality]
        return (stream if modality == VIDEO else stream[0])[self.valid[modality]]


def runs_of(flags: np.ndarray) -> list[tuple[int, int]]:
    """(start, stop) of every run of true values in `flags` (F,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def pixels(seen: Seen, front_end: FrontEnd) -> np.ndarray:
    """The frames (T, H, W, 3) uint8 that the model's values stand for; padding is the mean."""
    mean, deviation = (
        seen.video.new_tensor(numbers)[:, None, None]
        for numbers in (front_end.video.mean, front_end.video.deviation)
    )
    levels = (seen.video * deviation + mean).round().clamp(0, 255)
    return levels.byte().permute(0, 2, 3, 1).numpy()


# --- the two views ------------------------------------------------------------------------------


def evaluation_view(clips: ClipDataset, places: Sequence[int] | None = None) -> list[Seen]:
    """The clips at `places` (default: all) as evaluation shows them, in their first view."""
    keys = [(0, index, 0) for index in (range(len(clips)) if places is None else places)]
    return _look(clips, keys, range(len(keys)))


def training_view(
    clips: ClipDataset, config: RunConfig, *, epoch: int, ids: Sequence[str] = (), number: int = 4
) -> list[Seen]:
    """Clips as a training step of `epoch` shows them: windows, crops and augmentation drawn.

    They are those of `ids`, or `number` of the first step, of different classes where possible.
    Their whole batch is read, since clips are mixed within it. It is the batch of a run on one
    device with the same configuration, number for number.

    Raises:
        ValueError: a clip of `ids` does not come in `epoch`.
    """
    passes = _passes(clips, config, epoch=epoch)
    if ids:
        places = [_place(clips, passes, clip, epoch=epoch) for clip in ids]
    else:
        first = [clips.rows[index] for _, index, _ in passes[0].keys]
        places = [(0, position) for position in different(first, number=number)]
    seen: dict[tuple[int, int], Seen] = {}
    for index in dict.fromkeys(index for index, _ in places):
        wanted = [position for of, position in places if of == index]
        looks = _look(clips, passes[index].keys, wanted, training=passes[index])
        seen |= {(index, position): look for position, look in zip(wanted, looks, strict=True)}
    return [seen[place] for place in places]


def different(rows: Sequence[Row], *, number: int) -> list[int]:
    """Positions of the first `number` rows of different classes, then of others."""
    seen: set[object] = set()
    first, others = [], []
    for position, row in enumerate(rows):
        label = str(row.labels)
        (others if label in seen else first).append(position)
        seen.add(label)
    return (first + others)[:number]


def named(rows: Sequence[Row], ids: Sequence[str], *, source: Path) -> list[Row]:
    """The rows with these ids, each once; `ValueError` with the nearest id if there is none."""
    by_id = {row.id: row for row in rows}
    for clip in ids:
        if clip not in by_id:
            raise ValueError(f"no clip {clip!r} in {source}.{_nearest(clip, list(by_id))}")
    return [by_id[clip] for clip in dict.fromkeys(ids)]


def _nearest(clip: str, ids: list[str]) -> str:
    """The question with the nearest id, or what an id looks like."""
    near = [known for known in ids if known.endswith(f"/{clip}")]
    near = near or difflib.get_close_matches(clip, ids, n=1)
    return f" Did you mean {near[0]!r}?" if near else f" Ids look like {ids[0]!r}."


@dataclass(frozen=True)
class _Pass:
    """One pass through the model, of the one or several that make a training step."""

    keys: list[Key]
    config: RunConfig
    front_end: FrontEnd
    seed: int  # of the augmentation

    @property
    def mixes(self) -> bool:
        """Whether clips are mixed with their partner, the one as far from the batch's end."""
        return bool(self.config.augment.mixup_alpha or self.config.augment.cutmix_alpha)

    def augmented(self, batch: Batch) -> Batch:
        """`batch` (normalised) as `train.loop` augments it."""
        generator = torch.Generator().manual_seed(self.seed)
        settings = self.config.augment
        return augment(batch, generator=generator, settings=settings, front_end=self.front_end)


def _passes(clips: ClipDataset, config: RunConfig, *, epoch: int) -> list[_Pass]:
    """Those of an epoch in order, with the keys of `train.feed` and the seeds of `train.loop`."""
    settings, repeats = config.train, config.data.repeats
    batches = epoch_batches(
        len(clips),
        seed=config.seed,
        epoch=epoch,
        batch_size=max(1, settings.batch_size // repeats),
        balanced=clips.manifest.class_rows(clips.rows) if config.data.balanced else None,
    )
    size = settings.batch_size // settings.accumulate
    return [
        _Pass(
            keys[start : start + size],
            config,
            clips.front_end,
            stable_seed(config.seed, epoch * len(batches) + step, start // size, 0, "augment"),
        )
        for step, keys in enumerate(train_keys(with_turns(batches), epoch=epoch, repeats=repeats))
        for start in range(0, len(keys), size)
    ]


def _place(
    clips: ClipDataset, passes: Sequence[_Pass], clip: str, *, epoch: int
) -> tuple[int, int]:
    """The pass in which a clip comes first, and its position there."""
    for number, one in enumerate(passes):
        for position, (_, index, _) in enumerate(one.keys):
            if clips.rows[index].id == clip:
                return number, position
    raise ValueError(
        f"clip {clip!r} does not come in epoch {epoch}: an incomplete last batch is left out, and "
        "balanced classes take turns; try another --epoch"
    )


# --- looking ------------------------------------------------------------------------------------


def _look(
    clips: ClipDataset,
    keys: Sequence[Key],
    wanted: Sequence[int],
    *,
    training: _Pass | None = None,
) -> list[Seen]:
    """What the batch of `keys` holds, augmented in `training`, of those at positions `wanted`."""
    listener = Listener(clips.reader)
    clips = copy.copy(clips)
    clips.reader = listener
    clips._latest = None  # else the reader is not asked about the clip that was read last
    read: list[tuple[Clip, Asked]] = []
    for key in keys:
        listener.asked = Asked()
        read.append((clips[key], listener.asked))
    batch = collate([clip for clip, _ in read], shapes=clips.shapes)
    batch = None if batch is None else normalise(batch, clips.front_end)
    batch = batch if batch is None or training is None else training.augmented(batch)
    kept = [position for position, (clip, _) in enumerate(read) if not is_dropped(clip)]
    looks = []
    for position in wanted:
        place = kept.index(position) if position in kept else None
        row = clips.rows[keys[position][1]]
        look = _seen(clips, row, *read[position], batch, place)
        if training is not None and place is not None:
            partner = batch.id[len(batch) - 1 - place] if training.mixes else row.id
            look = dataclasses.replace(
                look,
                partner=partner if partner != row.id else "",
                shift_frames=training.config.augment.audio_shift_frames,
            )
        looks.append(look)
    return looks


def _seen(
    clips: ClipDataset, row: Row, clip: Clip, asked: Asked, batch: Batch | None, place: int | None
) -> Seen:
    """The clip at `place` of `batch`; without a place it was dropped."""
    streams: dict[str, Tensor] = {}
    if batch is not None and place is not None:
        streams = {n: x[place] for n, x in batch.inputs.items() if batch.present[n][place]}
    stretch = stretch_of(clips, row)
    lengths = {
        VIDEO: clips.front_end.video.span_seconds,
        AUDIO: clips.front_end.audio.window_seconds,
    }
    names = clips.manifest.labels
    decoded = {VIDEO: clip.video_valid, AUDIO: clip.audio_valid}
    return Seen(
        row=row,
        labels=_classes(clip.target if place is None else batch.target[place], names),
        labels_apart=_labels_apart(batch, place, names),
        video=streams.get(VIDEO),
        audio=streams.get(AUDIO),
        valid={name: batch.valid[name][place] for name in streams},
        decoded={name: valid for name, valid in decoded.items() if valid is not None},
        times=asked.shown,
        starts=_starts(asked, clips, stretch),
        lengths={name: lengths[name] for name in lengths if name in clips.modalities},
        duration=_duration(clips, row),
        stretch=stretch,
        wrap=clips.settings.wrap,
        cut=_cut(asked, row, clips.front_end.video.picture),
        crop=asked.crop,
        left_out=tuple(n for n in decoded if decoded[n] is not None and n not in streams),
        problems=clip.problems,
    )


def stretch_of(clips: ClipDataset, row: Row) -> Window:
    """The row's part of its file, in seconds; empty where nothing can be read."""
    duration = _duration(clips, row)
    stop = duration if row.end_seconds is None else min(duration, row.end_seconds)
    return Window(row.start_seconds, max(row.start_seconds, stop))


def _duration(clips: ClipDataset, row: Row) -> float:
    """Seconds of the longest file of `row`; 0 where none can be read."""
    durations = [0.0]
    for path in filter(None, (row.path, row.audio_path)):
        try:
            durations.append(clips.reader.duration(path))
        except DecodeError:  # its problem is told where the clip is read
            continue
    return max(durations)


def _starts(asked: Asked, clips: ClipDataset, stretch: Window) -> dict[str, float]:
    """{modality: where its window starts}; a frame is looked at in the middle of its piece."""
    starts: dict[str, float] = {}
    if asked.wanted is not None:
        video = clips.front_end.video
        start = float(asked.wanted[0]) - video.span_seconds / video.num_frames / 2
        starts[VIDEO] = max(stretch.start_seconds, start)
    if asked.sound_start is not None:
        starts[AUDIO] = asked.sound_start
    return starts


def _cut(asked: Asked, row: Row, picture: Picture) -> str:
    """Which part of the frames is shown, in pixels of the frame as the front end takes it."""
    if asked.crop is None or asked.shown is None:
        return ""
    try:
        info = probe(row.path).video
    except (DecodeError, OSError):  # not a file: decoded before, and scaled
        return ""
    if info is None:
        return ""
    height, width = info.height, info.width
    if picture == "displayed":
        height, width = info.shown_height, info.shown_width
    box = asked.crop(height, width)
    size = f"{width} x {height}"
    if (box.height, box.width) == (height, width):
        return f"all of {size}"
    cut = f"cut {box.width:.0f} x {box.height:.0f} at ({box.left:.0f}, {box.top:.0f})"
    return f"{cut} of {size}"


# --- in words -----------------------------------------------------------------------------------


def _labels_apart(
    batch: Batch | None, place: int | None, names: dict[str, list[str]]
) -> dict[str, str]:
    """{modality: classes of its target} after modality mixup, if they are not the same."""
    if place is None or batch.modality_target is None:
        return {}
    apart = {name: _classes(target[place], names) for name, target in batch.modality_target.items()}
    return apart if len(set(apart.values())) > 1 else {}


def _classes(target: Tensor, names: dict[str, list[str]]) -> str:
    parts = target.split([len(classes) for classes in names.values()])
    heads = [
        " + ".join(
            name if weight > 0.995 else f"{weight:.2f} {name}"
            for name, weight in sorted(zip(classes, part.tolist(), strict=True), key=_by_weight)
            if weight > 0.005
        )
        for classes, part in zip(names.values(), parts, strict=True)
    ]
    return " / ".join(filter(None, heads)) or ("no label" if target.numel() else "")


def _by_weight(item: tuple[str, float]) -> float:
    return -item[1]


def values_in_words(seen: Seen, modality: str) -> str:
    """Range, mean and deviation of the values that are not padding."""
    values = seen.valid_values(modality)
    if not values.numel():
        return "nothing but padding"
    low, high = values.min().item(), values.max().item()
    mean, deviation = _moments(values)
    return f"{low:.2f} to {high:.2f}, mean {mean:.2f}, deviation {deviation:.2f}"


def _moments(values: Tensor) -> tuple[float, float]:
    return values.double().mean().item(), values.double().std(correction=0).item()


def _spread(values: Tensor) -> float:
    """Between the largest and the smallest value, of pixels within one channel."""
    channels = values.transpose(0, 1).flatten(1) if values.ndim == 4 else values.reshape(1, -1)
    return (channels.amax(1) - channels.amin(1)).max().item()


def remarks(seen: Seen) -> list[str]:
    """What its owner should know about the clip, in sentences; nothing where all is well."""
    lines = [f"{problem.cause}; {_ACTIONS[problem.action]}" for problem in seen.problems]
    lines += [f"{WORDS[name]} left out by augment.drop_{name}" for name in seen.left_out]
    told = {problem.modality for problem in seen.problems} | {*seen.left_out, *seen.streams()}
    if "clip" not in told:
        lines += [
            f"no {WORDS[name]} here: the model gets zeros and a mask that says so"
            for name in seen.lengths
            if name not in told
        ]
    for name in seen.streams():
        lines += _remarks_on(seen, name)
    return lines


_ACTIONS = {
    "dropped": "nothing is left of the clip",
    "masked": "it counts as absent",
    "partial": "what decoded is used",
}


def _remarks_on(seen: Seen, modality: str) -> list[str]:
    word, valid = WORDS[modality], seen.valid[modality]
    lines = []
    if not valid.all():
        lines.append(f"{word}: {(~valid).sum()} of {len(valid)} frames are padding")
    values = seen.valid_values(modality)
    if not values.numel():
        return lines
    mean, deviation = _moments(values)
    if _spread(values) < _FLAT:
        same = "every pixel has the same colour" if modality == VIDEO else "digital silence"
        return [*lines, f"{word}: {same}"]
    if modality == VIDEO and len(values) > 1 and (values - values[0]).abs().mean() < _STILL:
        lines.append(f"{word}: every frame is the same")
    if abs(mean) > _FAR_MEAN or not _SMALL <= deviation <= _LARGE:
        lines.append(f"{word}: far from mean 0, deviation 1; see 'sightsound stats'")
    return lines
