"""Finds the clips of an index that are most similar to a file."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from sightsound.files import csv_text
from sightsound.retrieval.embedding import Embedder, embed
from sightsound.retrieval.index import Index, check_index
from sightsound.types import AUDIO, VIDEO, WORDS


@dataclass(frozen=True)
class Hit:
    """One clip that was found."""

    rank: int
    similarity: float
    id: str
    path: str
    start_seconds: float
    end_seconds: float | None
    is_query: bool  # it is (part of) the file that was searched for


@dataclass(frozen=True)
class Found:
    """What a search gave: by which stream of the query, in which stream of the clips."""

    query: str
    by: str
    within: str
    num_clips: int  # that have the stream
    hits: tuple[Hit, ...]


def search(
    index: Index,
    embedder: Embedder,
    query: str | Path,
    *,
    by: str | None = None,
    within: str | None = None,
    top: int = 10,
) -> Found:
    """The clips of the index that are most like a file.

    Args:
        by: the stream of the file to go by; `None`: pictures, if it has any.
        within: the stream of the clips to look at; `None`: the other one.

    Raises:
        ValueError: the index is another model's, the file lacks the stream, or all clips do.
        DecodeError: the file has nothing that the model looks at.
    """
    check_index(index, embedder)
    predictor = embedder.predictor
    batch = predictor.read(query, views=index.about["views"])
    vectors = {}  # (E,) of the streams that the file has: the mean over its views
    for name, found in embed(predictor.model, embedder.contrastive, batch).items():
        found = found[~found[:, 0].isnan()]
        if len(found):
            vectors[name] = nn.functional.normalize(found.mean(0), dim=0).cpu().numpy()
    by = by or (VIDEO if VIDEO in vectors else AUDIO)
    if by not in vectors:
        (other,) = vectors
        raise ValueError(f"{str(query)!r} has no {WORDS[by]} to search by; take --by {other}")
    within = within or (AUDIO if by == VIDEO else VIDEO)
    similarities = index.similarities(vectors[by], within)
    number = int(np.isfinite(similarities).sum())
    if not number:
        raise ValueError(f"no clip of {str(index.directory)!r} has {WORDS[within]}; take --in {by}")
    best = np.argsort(-similarities, kind="stable")[: min(top, number)]
    rows = index.clips.take(best).to_pylist()
    file = Path(query).resolve()
    hits = []
    for rank, (index_of_clip, row) in enumerate(zip(best, rows, strict=True), start=1):
        paths = [Path(path).resolve() for path in (row["path"], row["audio_path"]) if path]
        about = {name: row[name] for name in ("id", "path", "start_seconds", "end_seconds")}
        similarity = round(float(similarities[index_of_clip]), 4)
        hits.append(Hit(rank, similarity, **about, is_query=file in paths))
    return Found(str(query), by, within, number, tuple(hits))


def as_json(found: Found) -> str:
    """What was searched for and the hits, best first."""
    return json.dumps(dataclasses.asdict(found), indent=2)


def as_csv(found: Found) -> str:
    """One line per hit, below a header."""
    columns = [each.name for each in dataclasses.fields(Hit)]
    return csv_text(map(dataclasses.asdict, found.hits), columns)


def as_table(found: Found) -> str:
    """The hits for people."""
    width = max(len(hit.id) for hit in found.hits)
    lines = [
        f"by the {WORDS[found.by]} of {found.query}, in the {WORDS[found.within]} of "
        f"{found.num_clips} clips:",
        f"{'rank':>4}  {'similarity':>10}  {'clip':{width}}",
    ]
    for hit in found.hits:
        line = f"{hit.rank:4}  {hit.similarity:10.3f}  {hit.id:{width}}"
        if hit.start_seconds or hit.end_seconds is not None:
            end = "end" if hit.end_seconds is None else f"{hit.end_seconds:g} s"
            line += f"  {hit.start_seconds:g} s to {end}"
        lines.append((line + "  (the query itself)" * hit.is_query).rstrip())
    return "\n".join(lines)
