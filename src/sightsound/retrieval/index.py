"""An index on disk: the embeddings of many clips, and which clips they are of.

    INDEX/index.json              which run, how clips were read, what was scored
    INDEX/clips.parquet           id, path and span of every clip, and which streams it has
    INDEX/embeddings.safetensors  "video" and "audio" (n, E) float32 of length 1; 0: no such stream

An index is whole or absent. It is written and read part by part, so that its size is no matter of
memory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from sightsound.config.settings import BadFiles
from sightsound.data.dataset import ClipDataset
from sightsound.data.loader import Loader
from sightsound.data.manifest import is_same_path, load_manifest, other_data
from sightsound.data.rows import UNLABELLED, Manifest, Row, id_hash
from sightsound.data.sampling import Key
from sightsound.features.extract import Progress
from sightsound.files import atomic_directory
from sightsound.library_errors import read_object, reading
from sightsound.registry import nearest_path
from sightsound.retrieval.embedding import Embedder
from sightsound.retrieval.scores import AT_ONCE, recalls
from sightsound.types import AUDIO, MODALITIES, VIDEO, Problem

ABOUT, CLIPS, EMBEDDINGS = "index.json", "clips.parquet", "embeddings.safetensors"
_DAMAGED = "make the index again with 'sightsound index'"
VERSION = 1


@dataclass(frozen=True)
class Index:
    """An index as it lies on disk."""

    directory: Path
    about: dict[str, Any]

    @property
    def scores(self) -> dict[str, float]:
        """What `recalls` found when it was made."""
        return self.about["scores"]

    @cached_property
    def clips(self) -> Any:
        """The table of clips (pyarrow)."""
        import pyarrow.parquet

        with reading(self.directory / CLIPS, remedy=_DAMAGED):
            return pyarrow.parquet.read_table(self.directory / CLIPS)

    def similarities(self, vector: np.ndarray, modality: str) -> np.ndarray:
        """(n,) cosines of a `vector` (E,) with a stream of the clips; -inf where there is none."""
        found = np.full(len(self.clips), -np.inf, np.float32)
        path = self.directory / EMBEDDINGS
        with reading(path, remedy=_DAMAGED), safe_open(path, framework="numpy") as file:
            rows = file.get_slice(modality)
            for start in range(0, len(found), AT_ONCE):
                stop = min(start + AT_ONCE, len(found))
                found[start:stop] = rows[start:stop] @ vector
        found[~self.clips[modality].to_numpy()] = -np.inf
        return found


def build_index(
    embedder: Embedder,
    clips: ClipDataset,
    output: str | Path,
    *,
    source: Path,
    trained: Sequence[bool] | None = None,
    num_workers: int = 0,
    progress: Progress | None = None,
) -> tuple[Index, list[Problem]]:
    """Embed all `clips` and write the index; and what went wrong.

    The embedding of a clip is the mean over its views. A clip that has one stream is in the index
    by that one.

    Args:
        source: the data, for the record.
        trained: which clips the model was trained on; recall is that of the others, if there are
            any.
        progress: progress(done, of) is called as clips are finished.

    Raises:
        ValueError: there is something at `output`.
    """
    output = Path(output)
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise ValueError(f"{str(output)!r} is there already; remove it, or give another --output")
    with atomic_directory(output, last=ABOUT) as temporary:
        stores = _stores(temporary / EMBEDDINGS, number=len(clips), width=embedder.width)
        with Loader(clips, num_workers=num_workers) as loader:
            has = _fill(stores, embedder, clips, loader, progress=progress)
        _write_clips(temporary / CLIPS, clips.rows, has)
        fresh = ~np.array(trained or [False] * len(clips), bool)
        rows = ((fresh | ~fresh.any()) & has[AUDIO] & has[VIDEO]).nonzero()[0]
        about = _about(embedder, clips, source=source)
        scores = recalls(stores, rows, sources=[row.source for row in clips.rows])
        about |= {"scores": scores, "trained_on_scored": not fresh.any()}
        (temporary / ABOUT).write_text(json.dumps(about, indent=1) + "\n")
    return Index(output, about), loader.problems


def _about(embedder: Embedder, clips: ClipDataset, *, source: Path) -> dict[str, Any]:
    return {
        "version": VERSION,
        "run": str(embedder.run),
        "model": embedder.hash,
        "front_end": clips.front_end.id,
        "width": embedder.width,
        "views": clips.views,
        "data": str(source),
        "num_clips": len(clips),
        "ids": id_hash(row.id for row in clips.rows),
    }


def _stores(path: Path, *, number: int, width: int) -> dict[str, np.memmap]:
    """{modality: (n, E) float32 zeros on disk}, in one file of the safetensors format."""
    size = 4 * number * width
    tensors = {
        name: {
            "dtype": "F32",
            "shape": [number, width],
            "data_offsets": [place * size, (place + 1) * size],
        }
        for place, name in enumerate(MODALITIES)
    }
    header = json.dumps(tensors).encode()
    header += b" " * (-len(header) % 8)
    header = len(header).to_bytes(8, "little") + header
    first = len(header)
    try:
        with path.open("wb") as file:
            file.write(header)
            for _ in range(len(MODALITIES) * number):  # holes, filled on a full disk, are fatal
                file.write(bytes(4 * width))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    return {
        name: np.memmap(path, np.float32, "r+", first + place * size, (number, width))
        for place, name in enumerate(MODALITIES)
    }


def _fill(
    stores: Mapping[str, np.memmap],
    embedder: Embedder,
    clips: ClipDataset,
    loader: Loader,
    *,
    progress: Progress | None,
) -> dict[str, np.ndarray]:
    """{modality: (n,) bool}: which clips have the stream; their embeddings are in `stores`."""
    places = {row.id: place for place, row in enumerate(clips.rows)}
    has = {name: np.zeros(len(clips), bool) for name in stores}
    size = embedder.config.evaluate.batch_size
    for batch in loader.iterate(_views(clips, batch_size=size)):
        if batch is None:
            continue
        for name, vectors in embedder(batch).items():
            for clip, vector in zip(batch.id, vectors.cpu().numpy(), strict=True):
                if not np.isnan(vector[0]):
                    stores[name][places[clip]] += vector
                    has[name][places[clip]] = True
        if progress is not None:
            progress(places[batch.id[-1]] + 1, len(clips))
    for store in stores.values():
        for start in range(0, len(store), AT_ONCE):
            part = store[start : start + AT_ONCE]
            part /= np.linalg.norm(part, axis=1, keepdims=True).clip(1e-12)
        store.flush()
    return has


def _views(clips: ClipDataset, *, batch_size: int) -> Iterator[list[Key]]:
    """Batches of about this size, the views of a clip together, those that are the same once."""
    keys: list[Key] = []
    for row in range(len(clips)):
        keys += [(0, row, view) for view in clips.distinct_views(row)]
        if len(keys) >= batch_size:
            yield keys
            keys = []
    if keys:
        yield keys


def _write_clips(path: Path, rows: Sequence[Row], has: Mapping[str, np.ndarray]) -> None:
    import pyarrow
    import pyarrow.parquet

    columns: dict[str, Any] = {
        "id": [row.id for row in rows],
        "path": [row.source for row in rows],
        "audio_path": [None if row.audio_path is None else str(row.audio_path) for row in rows],
        "start_seconds": [row.start_seconds for row in rows],
        "end_seconds": pyarrow.array([row.end_seconds for row in rows], pyarrow.float64()),
        "split": [row.split for row in rows],
    }
    pyarrow.parquet.write_table(pyarrow.table(columns | dict(has)), path)


def open_index(directory: str | Path) -> Index:
    """The index in a directory.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it was written by another version.
    """
    directory = Path(directory)
    if not (directory / ABOUT).is_file():
        raise FileNotFoundError(
            f"{str(directory)!r} is no index: it has no {ABOUT}; make one with 'sightsound index "
            f"RUN DATA --output INDEX'.{nearest_path(directory)}"
        )
    about = read_object(directory / ABOUT, remedy=_DAMAGED)
    if about.get("version") != VERSION:
        raise ValueError(
            f"{str(directory)!r} was written by another version of sightsound (format "
            f"{about.get('version')} instead of {VERSION}): make it again"
        )
    return Index(directory, about)


def check_index(index: Index, embedder: Embedder) -> None:
    """`ValueError` unless the index was made with this very model and front end."""
    here = {"model": embedder.hash, "front_end": embedder.predictor.front_end.id}
    for name, found in here.items():
        if index.about[name] != found:
            raise ValueError(
                f"{str(index.directory)!r} was made with another {name.replace('_', ' ')} than "
                f"{str(embedder.run)!r} has now ({index.about[name]} instead of {found}): make it "
                "again with 'sightsound index'"
            )


def indexable(
    embedder: Embedder, data: str | None, *, split: str | None, bad_files: BadFiles
) -> tuple[Manifest, list[Row], list[bool]]:
    """The clips of `data`, by default of the run's own, and whether each was trained on.

    In other data that is every clip of a file of which the run's own training clips are.
    """
    own = embedder.config.data
    known = data is None or is_same_path(data, own.path)
    if data is None or known:
        manifest = embedder.predictor.manifest(data, bad_files=bad_files)
    else:
        path = os.path.abspath(data)  # the index may be used from anywhere
        columns = embedder.predictor.columns
        settings = other_data(own, path, columns=columns, task=UNLABELLED, bad_files=bad_files)
        manifest = load_manifest(settings, draw=False)
    rows = manifest.split(split) if split else list(manifest.rows)
    if not rows:
        splits = sorted({row.split for row in manifest.rows} - {""})
        raise ValueError(
            f"{manifest.source} has no clips in split {split!r}; it has: "
            f"{', '.join(splits) or 'no splits'} (leave out --split for all clips)"
        )
    if known:
        return manifest, rows, [row.split == "train" for row in rows]
    files: set[Path] = set()
    if Path(embedder.config.data.path).exists():
        files |= set(map(_file, embedder.predictor.manifest(bad_files="drop").split("train")))
    return manifest, rows, [_file(row) in files for row in rows]


def _file(row: Row) -> Path:
    return Path(row.source).resolve()
