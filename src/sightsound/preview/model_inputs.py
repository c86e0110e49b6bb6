"""What a model is given of some clips, and which part of their files it is.

The clips go through the data set, `normalise` and, for the training view, `augment`, as in a run.
"""

from __future__ import annotations

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
from sightsound.data.sampling import Key, epoch_steps, pass_seed
from sightsound.media.clips import Window
from sightsound.media.decode import DecodeError
from sightsound.media.front_end import FrontEnd
from sightsound.media.geometry import Crop
from sightsound.media.probe import probe
from sightsound.types import AUDIO, VIDEO, WORDS, Batch, Clip, Problem

# Of the normalised values of one clip, from where on a remark is due: guesses. Clips differ, so
# these are wider than those of a whole data set.
_FAR_MEAN, _SMALL, _LARGE = 1.5, 0.1, 4.0
_TINY = 1e-6  # seconds
_STILL = 0.02  # mean difference between frames: what a codec makes of a still picture
_FLAT = 1e-3  # between the largest and the smallest value of what does not change at all


@dataclass(frozen=True)
class ModelInput:
    """One clip as a model gets it. Times are seconds of the file."""

    row: Row
    labels: str  # the target, with weights where clips are mixed
    labels_apart: dict[str, str]  # {modality: the same for one stream} where they differ
    video: Tensor | None  # (T, C, H, W) float, normalised; `None`: not read, or absent
    audio: Tensor | None  # (1, F, M) float, normalised
    valid: dict[str, Tensor]  # {modality: (T,) or (F,) bool} of those there are
    decoded: dict[str, Tensor]  # {modality: (T,) or (F,) bool}: `valid` before augmentation
    times: np.ndarray | None  # (T,) when the frames given start
    starts: dict[str, float]  # {modality: where its window starts}
    lengths: dict[str, float]  # {modality: of its window} of those the model reads
    duration: float  # of the longest file
    clip_window: Window  # the row's part of the file
    wrap: bool  # windows that run past the clip's end go on at its start
    cut: str = ""  # which part of the frames, in words
    crop: Crop | None = None  # the same, from the displayed size
    partner: str = ""  # the clip that mixup or cutmix may take from
    shift_frames: int = 0  # augmentation moved the sound by up to so many, in a circle
    left_out: tuple[str, ...] = ()  # modalities that augmentation dropped
    problems: tuple[Problem, ...] = ()

    @property
    def wraps(self) -> bool:
        """Whether a window that runs past the end goes on at the start."""
        return self.wrap and self.clip_window.length_seconds > 0

    def file_seconds(self, seconds: float) -> float:
        """The time of the file shown `seconds` after its start, counted on where windows wrap."""
        if not self.wraps:
            return seconds
        start = self.clip_window.start_seconds
        return start + (seconds - start) % self.clip_window.length_seconds

    def parts(self, start: float, stop: float) -> list[tuple[float, float]]:
        """(start, stop) in the file of a part of a window: several where that wraps."""
        parts = []
        while stop - start > _TINY:
            first, length = self.file_seconds(start), stop - start
            if self.wraps:
                length = min(length, max(_TINY, self.clip_window.stop_seconds - first))
            parts.append((first, first + length))
            start += length
        return parts

    def window_parts(self, modality: str) -> list[tuple[float, float]]:
        """(start, stop) in the file of all that a window covers."""
        if modality not in self.starts:
            return []
        return self.parts(self.starts[modality], self.starts[modality] + self.lengths[modality])

    def decoded_parts(self, modality: str) -> list[tuple[float, float]]:
        """(start, stop) in the file of what was decoded in a window."""
        if modality not in self.decoded or modality not in self.starts:
            return []
        frames, start = self.decoded[modality].numpy(), self.starts[modality]
        step = self.lengths[modality] / len(frames)
        runs = [(start + step * first, start + step * last) for first, last in runs_of(frames)]
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


def pixels(video: Tensor, front_end: FrontEnd) -> np.ndarray:
    """The frames (T, H, W, 3) uint8 of normalised values (T, C, H, W); padding is the mean."""
    mean, std = (
        video.new_tensor(numbers)[:, None, None]
        for numbers in (front_end.video.mean, front_end.video.deviation)
    )
    return (video * std + mean).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


# --- the two views ------------------------------------------------------------------------------


def evaluation_view(clips: ClipDataset, indices: Sequence[int] | None = None) -> list[ModelInput]:
    """The clips at `indices` (default: all) as evaluation reads them, in their first view."""
    return read_inputs(clips, range(len(clips)) if indices is None else indices)[1]


def read_inputs(
    clips: ClipDataset, indices: Sequence[int]
) -> tuple[Batch | None, list[ModelInput]]:
    """The batch of the clips at `indices` as the loader gives it, and each clip normalised.

    `None`: nothing of them could be read.
    """
    keys = [(0, index, 0) for index in indices]
    return _model_inputs(clips, keys, range(len(keys)))


def training_view(
    clips: ClipDataset, config: RunConfig, *, epoch: int, ids: Sequence[str] = (), number: int = 4
) -> list[ModelInput]:
    """Clips as a training step of `epoch` reads them: windows, crops and augmentation drawn.

    They are those of `ids`, or `number` of the first step, of different classes where possible.
    Their whole batch is read, since clips are mixed within it. It is the batch of a run on one
    device with the same configuration, number for number.

    Raises:
        ValueError: a clip of `ids` does not come in `epoch`.
    """
    steps = epoch_steps(config, clips.manifest, clips.rows, epoch=epoch)
    passes = [
        (keys, pass_seed(config.seed, epoch * len(steps) + step, index, purpose="augment"))
        for step, parts in enumerate(steps)
        for index, keys in enumerate(parts)
    ]
    first: dict[str, tuple[int, int]] = {}  # {id: (pass, position in it)}
    for index, (keys, _) in enumerate(passes):
        for position, (_, row, _) in enumerate(keys):
            first.setdefault(clips.rows[row].id, (index, position))
    for clip in ids:
        if clip not in first:
            raise ValueError(
                f"clip {clip!r} does not come in epoch {epoch}: an incomplete last batch is left "
                "out, and balanced classes take turns; try another --epoch"
            )
    rows = [clips.rows[row] for _, row, _ in passes[0][0]]
    wanted = [first[clip] for clip in ids]
    wanted = wanted or [(0, position) for position in different(rows, number=number)]
    inputs: dict[tuple[int, int], ModelInput] = {}
    for index in dict.fromkeys(index for index, _ in wanted):
        positions = [position for other, position in wanted if other == index]
        keys, seed = passes[index]
        _, found = _model_inputs(clips, keys, positions, config=config, seed=seed)
        inputs |= {(index, p): one for p, one in zip(positions, found, strict=True)}
    return [inputs[each] for each in wanted]


def different(rows: Sequence[Row], *, number: int) -> list[int]:
    """Positions of the first `number` rows of different classes, then of others."""
    labels, first = [str(row.labels) for row in rows], dict[str, int]()
    for position, label in enumerate(labels):
        first.setdefault(label, position)
    order = sorted(range(len(rows)), key=lambda i: (first[labels[i]] != i, i))
    return order[:number]


def named(rows: Sequence[Row], ids: Sequence[str], *, source: Path) -> list[Row]:
    """The rows with these ids, each once; `ValueError` with the nearest id if there is none."""
    by_id = {row.id: row for row in rows}
    for clip in ids:
        if clip not in by_id:
            near = [known for known in by_id if known.endswith(f"/{clip}")]
            near = near or difflib.get_close_matches(clip, by_id, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Ids look like {next(iter(by_id))!r}."
            raise ValueError(f"no clip {clip!r} in {source}. {hint}")
    return [by_id[clip] for clip in dict.fromkeys(ids)]


def _model_inputs(
    clips: ClipDataset,
    keys: Sequence[Key],
    positions: Sequence[int],
    *,
    config: RunConfig | None = None,
    seed: int = 0,
) -> tuple[Batch | None, list[ModelInput]]:
    """The batch of `keys` as read, and its clips at `positions`; with `config` as in training."""
    read = [clips[key] for key in keys]
    batch = loaded = collate(read, shapes=clips.shapes)
    if batch is not None:
        batch = normalise(batch, clips.front_end)
        if config is not None:
            generator = torch.Generator().manual_seed(seed)
            settings, front_end = config.augment, clips.front_end
            batch = augment(batch, generator=generator, settings=settings, front_end=front_end)
    kept = [position for position, clip in enumerate(read) if not is_dropped(clip)]
    inputs = []
    for position in positions:
        if batch is None or position not in kept:
            inputs.append(_model_input(clips, keys[position], read[position]))
            continue
        index = kept.index(position)
        one = _model_input(clips, keys[position], read[position], batch, index)
        if config is not None:
            mixes = config.augment.mixup_alpha or config.augment.cutmix_alpha
            partner = batch.id[len(batch) - 1 - index] if mixes else one.row.id
            one = dataclasses.replace(
                one,
                partner="" if partner == one.row.id else partner,
                shift_frames=config.augment.audio_shift_frames,
            )
        inputs.append(one)
    return loaded, inputs


def _model_input(
    clips: ClipDataset, key: Key, clip: Clip, batch: Batch | None = None, index: int = 0
) -> ModelInput:
    """The clip at `index` of `batch`; without a batch it was dropped."""
    epoch, number, view = key
    row, names, front_end = clips.rows[number], clips.manifest.labels, clips.front_end
    streams, labels, apart = {}, _classes(clip.target, names), {}
    if batch is not None:
        streams = {n: x[index] for n, x in batch.inputs.items() if batch.present[n][index]}
        labels = _classes(batch.target[index], names)
        targets = batch.modality_target or {}
        apart = {name: _classes(target[index], names) for name, target in targets.items()}
    valid = {VIDEO: clip.video_valid, AUDIO: clip.audio_valid}
    decoded = {name: mask for name, mask in valid.items() if mask is not None}
    window, starts = clip_window(clips, row), dict(clip.starts)
    crop = None
    if VIDEO in starts:
        starts[VIDEO] = max(window.start_seconds, starts[VIDEO])
        crop = clips.crop(row, epoch=epoch, view=view)
    lengths = {VIDEO: front_end.video.span_seconds, AUDIO: front_end.audio.window_seconds}
    return ModelInput(
        row=row,
        labels=labels,
        labels_apart=apart if len(set(apart.values())) > 1 else {},
        video=streams.get(VIDEO),
        audio=streams.get(AUDIO),
        valid={} if batch is None else {name: batch.valid[name][index] for name in streams},
        decoded=decoded,
        times=None if clip.frame_times is None else clip.frame_times.numpy(),
        starts=starts,
        lengths={name: lengths[name] for name in lengths if name in clips.modalities},
        duration=_duration(clips, row),
        clip_window=window,
        wrap=clips.settings.wrap,
        cut="" if crop is None or clip.frame_times is None else _cut(crop, row, front_end),
        crop=crop,
        left_out=tuple(name for name in decoded if name not in streams),
        problems=clip.problems,
    )


def clip_window(clips: ClipDataset, row: Row) -> Window:
    """The row's part of its file, in seconds; empty where nothing can be read."""
    stop = _duration(clips, row)
    stop = stop if row.end_seconds is None else min(stop, row.end_seconds)
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


def _cut(crop: Crop, row: Row, front_end: FrontEnd) -> str:
    """Which part of the frames is cut out, in pixels of the frame as the front end takes it."""
    try:
        info = probe(row.path).video
    except (DecodeError, OSError):  # not a file: decoded before, and scaled
        return ""
    if info is None:
        return ""
    height, width = info.height, info.width
    if front_end.video.picture == "displayed":
        height, width = info.shown_height, info.shown_width
    box = crop(height, width)
    if (box.height, box.width) == (height, width):
        return f"all of {width} x {height}"
    cut = f"cut {box.width:.0f} x {box.height:.0f} at ({box.left:.0f}, {box.top:.0f})"
    return f"{cut} of {width} x {height}"


# --- in words -----------------------------------------------------------------------------------


def _classes(target: Tensor, names: dict[str, list[str]]) -> str:
    """The classes of a target (K,), the largest weight first; " / " between heads."""
    heads = []
    parts = target.split([len(classes) for classes in names.values()])
    for classes, part in zip(names.values(), parts, strict=True):
        weights = sorted(zip(classes, part.tolist(), strict=True), key=lambda item: -item[1])
        heads.append(
            " + ".join(
                name if weight > 0.995 else f"{weight:.2f} {name}"
                for name, weight in weights
                if weight > 0.005
            )
        )
    return " / ".join(filter(None, heads)) or ("no label" if target.numel() else "")


def values_in_words(given: ModelInput, modality: str) -> str:
    """Range, mean and deviation of the values that are not padding."""
    values = given.valid_values(modality)
    if not values.numel():
        return "nothing but padding"
    low, high = values.min().item(), values.max().item()
    mean, std = _moments(values)
    return f"{low:.2f} to {high:.2f}, mean {mean:.2f}, deviation {std:.2f}"


def _moments(values: Tensor) -> tuple[float, float]:
    return values.double().mean().item(), values.double().std(correction=0).item()


_ACTIONS = {
    "dropped": "nothing is left of the clip",
    "masked": "it counts as absent",
    "partial": "what decoded is used",
}


def remarks(given: ModelInput) -> list[str]:
    """What its owner should know about the clip, in sentences; nothing where all is well."""
    lines = [f"{problem.cause}; {_ACTIONS[problem.action]}" for problem in given.problems]
    lines += [f"{WORDS[name]} left out by augment.drop_{name}" for name in given.left_out]
    told = {problem.modality for problem in given.problems} | {*given.left_out, *given.streams()}
    if "clip" not in told:
        lines += [
            f"no {WORDS[name]} here: the model gets zeros and a mask that says so"
            for name in given.lengths
            if name not in told
        ]
    return lines + [line for name in given.streams() for line in _stream_remarks(given, name)]


def _stream_remarks(given: ModelInput, modality: str) -> list[str]:
    word, valid, lines = WORDS[modality], given.valid[modality], []
    if not valid.all():
        lines.append(f"{word}: {(~valid).sum()} of {len(valid)} frames are padding")
    values = given.valid_values(modality)
    if not values.numel():
        return lines
    # Of pixels, within one channel.
    channels = values.transpose(0, 1).flatten(1) if values.ndim == 4 else values.reshape(1, -1)
    if (channels.amax(1) - channels.amin(1)).max() < _FLAT:
        same = "every pixel has the same colour" if modality == VIDEO else "digital silence"
        return [*lines, f"{word}: {same}"]
    if modality == VIDEO and len(values) > 1 and (values - values[0]).abs().mean() < _STILL:
        lines.append(f"{word}: every frame is the same")
    mean, std = _moments(values)
    if abs(mean) > _FAR_MEAN or not _SMALL <= std <= _LARGE:
        lines.append(f"{word}: far from mean 0, deviation 1; see 'sightsound stats'")
    return lines
