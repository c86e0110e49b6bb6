"""Features of frozen encoders on disk, and clips made of them.

A clip's features lie in one file, named by a hash of everything they were computed from: the bytes
of the media file, the stretch of it, the crop, the front end with its encoders and their weights. A
file that changes has another name, so nothing stale is ever read. Files appear whole or not at all:
an interruption loses the clip in hand.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor
from torch.utils.data import Dataset

from sightsound.data.dataset import ClipDataset
from sightsound.data.rows import Row
from sightsound.data.sampling import Key
from sightsound.files import atomic_path
from sightsound.library_errors import reading, save_tensors
from sightsound.media.decode import DecodeError
from sightsound.media.source import find
from sightsound.types import AUDIO, VIDEO, Clip, Problem

_FILES = "files.jsonl"  # [path, bytes, time of change, hash] of media files, to hash each once


class FeatureCache:
    """A folder with the features of clips as `clips` cuts them.

    Raises:
        ValueError: the clips are cut at random.
    """

    def __init__(self, folder: str | Path, clips: ClipDataset) -> None:
        settings = clips.settings
        if settings.windows not in ("start", "centre") or settings.crop not in ("centre", "full"):
            raise ValueError(
                "features are computed once, but the clips are cut anew each time: data.windows is "
                f"{settings.windows!r}, data.crop is {settings.crop!r}; set data.windows start or "
                "centre and data.crop centre or full"
            )
        self.folder = Path(folder)
        self._front_end = clips.front_end.id
        self._how = [self._front_end, settings.windows, settings.crop, settings.wrap]
        self._hashes: dict[str, list] = {}
        if (self.folder / _FILES).is_file():
            for line in (self.folder / _FILES).read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(ValueError):  # the last line of an interrupted run
                    path, *self._hashes[path] = json.loads(line)

    def path(self, row: Row) -> Path:
        """Where the features of `row` lie, or would lie; `DecodeError` if its file is gone."""
        files = [row.path] if row.audio_path is None else [row.path, row.audio_path]
        parts = [*self._how, row.start_seconds, row.end_seconds, *map(self._content, files)]
        name = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
        return self.folder / name[:2] / f"{name}.safetensors"

    def holds(self, row: Row) -> bool:
        """Whether the features of `row` are there; not those of a file that is gone."""
        try:
            return self.path(row).is_file()
        except DecodeError:
            return False

    def read(self, row: Row) -> tuple[dict[str, Tensor], tuple[Problem, ...]]:
        """Features and their `valid` masks by name, mapped from the file, and what went wrong.

        Raises:
            FileNotFoundError: they are not there; the message says how to compute them.
            ValueError: the file is damaged.
        """
        path = self.path(row)
        if not path.is_file():
            raise FileNotFoundError(
                f"no features of {str(row.path)!r} in {str(self.folder)!r}: the clip, an encoder "
                "or the front end is new or has changed; run 'sightsound extract' again"
            )
        remedy = "it holds features: delete it and run 'sightsound extract' again"
        with reading(path, remedy=remedy), safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            problems = json.loads(file.metadata()["problems"])
        return tensors, tuple(Problem(row.id, *values) for values in problems)

    def write(self, row: Row, clip: Clip) -> None:
        """Keep the features of `clip`, which are those of `row`; none of a file that is gone."""
        try:
            path = self.path(row)
        except DecodeError:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        problems = [[p.path, p.modality, p.cause, p.action] for p in clip.problems]
        about = {"id": row.id, "front_end": self._front_end, "problems": json.dumps(problems)}
        named = {
            VIDEO: clip.video,
            AUDIO: clip.audio,
            f"{VIDEO}_valid": clip.video_valid,
            f"{AUDIO}_valid": clip.audio_valid,
        }
        tensors = {name: x.contiguous() for name, x in named.items() if x is not None}
        with atomic_path(path) as temporary:
            save_tensors(tensors, temporary, metadata=about)

    def _content(self, path: Path) -> str:
        """Hash of a media file's bytes; read once as long as size and time of change stay."""
        try:
            source = find(path)
        except OSError as error:
            raise DecodeError(path, 0.0, str(error)) from error
        changed, size = source.version
        known = self._hashes.get(str(path))
        if known is None or known[:2] != [size, changed]:
            with source.content() as data:
                digest = hashlib.sha256(data).hexdigest()
            known = self._hashes[str(path)] = [size, changed, digest]
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / _FILES).open("a", encoding="utf-8") as file:
                file.write(json.dumps([str(path), *known]) + "\n")
        return known[2]


class FeatureDataset(Dataset):
    """The clips of a `ClipDataset` as the features that a cache holds; the same in every epoch.

    What could not be decoded when the features were computed is reported again.
    """

    def __init__(self, clips: ClipDataset, cache: FeatureCache) -> None:
        self.clips = clips
        self.cache = cache
        self.reader = clips.reader
        self.rows = clips.rows
        self.front_end = clips.front_end
        self.settings = clips.settings
        self.modalities = clips.modalities
        self.train = clips.train
        self.views = 1
        self.deterministic = True

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one clip's features: (T, ...) of each modality."""
        return {name: self.front_end.shapes[name] for name in self.modalities}

    def __getitem__(self, key: Key) -> Clip:
        row = self.rows[key[1]]
        target = torch.from_numpy(self.clips.manifest.target(row))
        empty = Clip(row.id, None, None, None, None, target, encoded=True, source=row.source)
        try:
            tensors, problems = self.cache.read(row)
            if not tensors.keys() & set(self.modalities):
                causes = [problem.cause for problem in problems]
                none = f"no {' or '.join(self.modalities)} in this window"
                raise DecodeError(row.path, row.start_seconds, causes[-1] if causes else none)
        except DecodeError as error:
            if self.settings.bad_files == "error":
                raise
            dropped = Problem(row.id, error.path, "clip", error.cause, "dropped")
            return dataclasses.replace(empty, problems=(dropped,))
        clip = dataclasses.replace(empty, problems=problems)
        if VIDEO in self.modalities:
            clip.video, clip.video_valid = tensors.get(VIDEO), tensors.get(f"{VIDEO}_valid")
        if AUDIO in self.modalities:
            clip.audio, clip.audio_valid = tensors.get(AUDIO), tensors.get(f"{AUDIO}_valid")
        return clip
