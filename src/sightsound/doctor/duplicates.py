"""Clips that are the same: equal files, re-encodings, and one recording under several pictures.

Equal files are told by their content, which is read only where sizes agree. Re-encodings are told
by their sound, and their pictures must agree as well: background sound is often used twice.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from sightsound.data.rows import Row
from sightsound.doctor.clips import is_silent
from sightsound.doctor.issue_types import Finding
from sightsound.doctor.labels import label_text
from sightsound.media.decode_pool import DecodePool, Failure, Progress
from sightsound.media.examine import PRINT_SIDE, Health, compare_sound
from sightsound.media.fingerprint import SAME_RECORDING, candidates
from sightsound.media.source import find

# Compared at most, the likeliest first: bounds the time where everything sounds alike.
PAIRS_PER_CLIP, FEWEST_PAIRS = 5, 10_000
_CHUNK = 256  # pairs compared before those are left out that have become known to be the same
# Root mean squares over small pictures, in levels of 255. A noisy clip and its copy, coded badly,
# differ by up to 3.0 or half of what moves; another moment of the same scene mostly by more.
SAME_LEVELS, SAME_SHARE = 3.0, 0.5
# What moves in a copy moves alike: correlation 0.4 to 1 if it is noisy, 0 if it is another moment.
# It cannot be told where less moves than codecs change.
SAME_MOTION, STILL_LEVELS = 0.3, 1.0


@dataclass(frozen=True)
class Groups:
    """Which clips are the same; lists hold positions in the list of clips."""

    copies: list[list[int]]  # each clip that there is more than once, with all its copies
    equal: dict[int, set[int]]  # clips whose files are equal, too
    same_sound: list[list[list[int]]]  # different clips with one recording, copies together


def find_duplicates(
    rows: Sequence[Row],
    healths: Sequence[Health | Failure],
    *,
    workers: DecodePool,
    progress: Progress,
) -> Groups:
    """Groups of equal clips, and of different ones with the same sound."""
    copies, sounds = Union(len(rows)), Union(len(rows))
    equal = list(_equal(rows, healths, workers=workers))
    for members in equal:
        for index in members[1:]:
            copies.join(members[0], index)
            sounds.join(members[0], index)
    for i, j in _same_recordings(rows, healths, sounds, workers=workers, progress=progress):
        sounds.join(i, j)
    for members in sounds.groups():
        for i, j in _same_pictures(members, healths):
            copies.join(i, j)
    same_sound = []
    for members in sounds.groups():
        parts: dict[int, list[int]] = defaultdict(list)  # copies of one clip together
        for index in members:
            parts[copies.leader(index)].append(index)
        same_sound += [list(parts.values())] if len(parts) > 1 else []
    return Groups(
        copies=copies.groups(),
        equal={index: set(members) for members in equal for index in members},
        same_sound=same_sound,
    )


class Union:
    """Things that belong together, joined pair by pair."""

    def __init__(self, size: int) -> None:
        self._leaders = list(range(size))

    def leader(self, index: int) -> int:
        """The same thing for all that belong together."""
        while self._leaders[index] != index:
            self._leaders[index] = self._leaders[self._leaders[index]]
            index = self._leaders[index]
        return index

    def join(self, i: int, j: int) -> None:
        """From now on all that belong to either belong together; the first leads."""
        first, second = sorted((self.leader(i), self.leader(j)))
        self._leaders[second] = first

    def groups(self) -> list[list[int]]:
        """Groups of two or more."""
        members: dict[int, list[int]] = defaultdict(list)
        for index in range(len(self._leaders)):
            members[self.leader(index)].append(index)
        return [group for group in members.values() if len(group) > 1]


def content_hash(path: str | Path) -> bytes:
    """Of the bytes of a file."""
    with find(path).content() as data:
        return hashlib.blake2b(data).digest()


# --- equal files --------------------------------------------------------------------------------


def _equal(
    rows: Sequence[Row], healths: Sequence[Health | Failure], *, workers: DecodePool
) -> Iterator[list[int]]:
    """Groups of clips of the same bytes and the same part of them."""
    files = {
        row.path
        for row, health in zip(rows, healths, strict=True)
        if isinstance(health, Health) and (health.video or health.audio)
    }
    sizes: dict[int, list[Path]] = defaultdict(list)
    for path in sorted(files):
        sizes[find(path).size].append(path)
    unsure = [path for paths in sizes.values() if len(paths) > 1 for path in paths]
    hashes = workers.map(content_hash, [{"path": path} for path in unsure])
    content = dict(zip(unsure, hashes, strict=True))
    groups: dict[tuple, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        if row.path in files:
            part = (row.start_seconds, row.end_seconds, row.audio_path)
            groups[content.get(row.path, row.path), *part].append(index)
    return (members for members in groups.values() if len(members) > 1)


# --- equal sound --------------------------------------------------------------------------------


def _same_recordings(
    rows: Sequence[Row],
    healths: Sequence[Health | Failure],
    known: Union,
    *,
    workers: DecodePool,
    progress: Progress,
) -> Iterator[tuple[int, int]]:
    """Pairs of clips with the same sound, the likeliest first; not those `known` by then."""
    prints = [b""] * len(healths)  # nothing for silence, which all sounds alike
    for index, health in enumerate(healths):
        audio = health.audio if isinstance(health, Health) else None
        if audio is not None and known.leader(index) == index and not is_silent(audio):
            prints[index] = audio.prints
    most = max(FEWEST_PAIRS, PAIRS_PER_CLIP * len(rows))
    found = candidates(prints, progress=partial(progress, "similar sounds"))
    pairs = heapq.nlargest(most, found, key=lambda pair: pair[2])
    for start in range(0, len(pairs), _CHUNK):
        chunk = [(i, j) for i, j, _ in pairs[start : start + _CHUNK]]
        chunk = sorted((i, j) for i, j in chunk if known.leader(i) != known.leader(j))
        requests = [
            {"first": _sound_of(rows[i], healths[i]), "second": _sound_of(rows[j], healths[j])}
            for i, j in chunk
        ]
        answers = zip(chunk, workers.map(compare_sound, requests), strict=True)
        yield from [
            pair
            for pair, answer in answers
            if isinstance(answer, float) and answer >= SAME_RECORDING
        ]
        progress("sounds compared", min(start + _CHUNK, len(pairs)), len(pairs))


def _sound_of(row: Row, health: Health | Failure) -> tuple[Path, float, float]:
    """Where the sound of a clip that has some lies: file, start and end."""
    assert isinstance(health, Health) and health.audio is not None
    timing = health.audio.timing
    return row.audio_path or row.path, timing.start_seconds, timing.end_seconds


# --- equal pictures -----------------------------------------------------------------------------


def _same_pictures(
    members: list[int], healths: Sequence[Health | Failure]
) -> Iterator[tuple[int, int]]:
    """Pairs that show the same at the same times, or nothing at all."""
    found = [(index, healths[index]) for index in members]
    videos = [health.video if isinstance(health, Health) else None for _, health in found]
    blind = [index for index, video in zip(members, videos, strict=True) if video is None]
    yield from zip(blind, blind[1:], strict=False)
    shown = [(i, v.prints) for i, v in zip(members, videos, strict=True) if v and v.prints]
    if len(shown) < 2:
        return
    indices, prints = zip(*shown, strict=True)
    cells = [np.frombuffer(bits, np.uint8).reshape(-1, PRINT_SIDE**2) for bits in prints]
    pixels = np.stack(cells).astype(np.float32)  # (clips, prints, cells)
    change = pixels - pixels.mean(axis=1, keepdims=True)
    moving = np.sqrt(np.square(change).mean(axis=(1, 2)))
    for first in range(len(indices) - 1):
        others = slice(first + 1, None)
        distance = np.sqrt(np.square(pixels[others] - pixels[first]).mean(axis=(1, 2)))
        most = np.maximum(moving[others], moving[first])
        together = (change[others] * change[first]).mean(axis=(1, 2))
        alike = together > SAME_MOTION * moving[others] * moving[first]
        same = (distance < np.maximum(SAME_LEVELS, SAME_SHARE * most)) & (
            alike | (most < STILL_LEVELS)
        )
        for other in np.flatnonzero(same):
            yield indices[first], indices[first + 1 + other]


# --- what they mean -----------------------------------------------------------------------------


def duplicate_findings(rows: Sequence[Row], groups: Groups) -> Iterator[Finding]:
    """What the groups say against each clip."""
    for members in groups.copies:
        splits = {rows[index].split for index in members}
        labels = {label_text(rows[index]) for index in members}
        for index in members:
            others = [other for other in members if other != index]
            own_split = rows[index].split
            others = [k for k in others if rows[k].split != own_split] + [
                k for k in others if rows[k].split == own_split
            ]
            same_file = others[0] in groups.equal.get(index, ())
            what = "file" if same_file else "sound and pictures"
            text = f"the same {what} as {_named(rows, others)}"
            yield Finding("leak" if len(splits) > 1 else "duplicate", text, rows[index].id)
            if len(labels) > 1:
                own = label_text(rows[index])
                other = next(i for i in others if label_text(rows[i]) != own)
                text = f"{own!r} here, {label_text(rows[other])!r} at {rows[other].id}"
                yield Finding("two_labels", text, rows[index].id)
    for parts in groups.same_sound:
        for part in parts:
            others = [index for other in parts if other is not part for index in other]
            for index in part:
                yield Finding("same_sound", f"as {_named(rows, others)}", rows[index].id)


def excluded_copies(rows: Sequence[Row], groups: Groups) -> Iterator[tuple[str, str]]:
    """(id, reason) of copies to leave out, so that no clip is in two splits.

    What is in the test stays there, for scores to remain comparable; what is in the validation
    gives way to it, training to both. Copies within one split stay. Data without splits keeps the
    first copy, since any draw might part them.
    """
    rank = {"test": 0, "val": 1}
    has_splits = len({row.split for row in rows}) > 1
    for members in groups.copies:
        members = sorted(members, key=lambda index: rank.get(rows[index].split, 2))
        first = rows[members[0]]
        for index in members[1:]:
            if not has_splits or rows[index].split != first.split:
                where = f" ({first.split})" if first.split else ""
                yield rows[index].id, f"same clip as {first.id}{where}"


def _named(rows: Sequence[Row], others: Sequence[int]) -> str:
    """The first of some clips, and how many more there are."""
    first = rows[others[0]]
    where = f" ({first.split})" if first.split else ""
    return f"{first.id}{where}" + (f" and {len(others) - 1} more" if len(others) > 1 else "")
