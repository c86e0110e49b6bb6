"""Finds the clips of a listing in media folders and makes rows of them.

A file named after the whole video (`<YouTube id>.mp4`) may hold the video or just the clip. The
official list cannot tell, and a wrong guess reads the wrong seconds, so a few files of each suffix
are measured. Free of torch.
"""

from __future__ import annotations

import dataclasses
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sightsound.data.datasets.coverage import Coverage, Tally
from sightsound.data.datasets.listing import Clip, Listing
from sightsound.data.datasets.media_index import MediaIndex, Place, is_sound
from sightsound.data.folders import located
from sightsound.data.rows import Row, label_pairs
from sightsound.media.source import exists

_LOSSLESS = (".wav", ".flac")
_SAMPLE = 20  # files of one suffix that are measured
_TRIES = 100  # of which nothing can be told, until that is given up
_SLACK_SECONDS = 1.5  # a clip that was cut out may be this much longer than listed
_MOST_MIXED = 0.2  # share of measured files that may contradict the others


@dataclass(frozen=True)
class Matched:
    """What `match` found."""

    rows: list[Row]
    labels: dict[str, list[str]]  # {head: names in order}
    coverage: Coverage


class _Found(NamedTuple):
    path: Path
    unclear: str  # its suffix if it is named after the video, whole or cut; else nothing


# {(unclear suffix of the file, of the separate sound): index of the row, start, end, and so on}
_Undecided = dict[tuple[str, str], array]


@dataclass
class _Search:
    """Looks clips up in the index of pictures (and sound) and, if there is one, that of sound."""

    media: MediaIndex
    sound: MediaIndex | None
    num_several: int = 0  # clips of which there are several files

    def find(self, clip: Clip) -> tuple[_Found | None, _Found | None]:
        """The file with pictures and the one with sound alone; whole paths come first."""
        files = (located(Path(), file) for file in clip.files)
        given = [_Found(file, "") for file in files if exists(file)]
        picture = next((found for found in given if not is_sound(found.path.suffix)), None)
        sound = next((found for found in given if is_sound(found.path.suffix)), None)
        for name, cut in _names(clip, self.media):
            if places := self.media.find(name):
                seen = [place for place in places if not place.is_sound]
                heard = [place for place in places if place.is_sound]
                picture = picture or self._one(seen, name, unclear=not cut)
                sound = sound or self._one(heard, name, unclear=not cut)
        if self.sound is not None and sound is None:
            for name, cut in _names(clip, self.sound):
                sound = sound or self._one(self.sound.find(name), name, unclear=not cut)
        return picture, sound

    def _one(self, places: Sequence[Place], name: str, *, unclear: bool) -> _Found | None:
        """The first of `places`, if there are any: sound without loss, then by folder."""
        if not places:
            return None
        place = places[0]
        if len(places) > 1:
            self.num_several += 1
            place = min(places, key=lambda p: (p.suffix not in _LOSSLESS, str(p.folder), p.suffix))
        stem = name.rpartition("/")[2]
        path = located(place.folder, stem + place.suffix)
        return _Found(path, place.suffix if unclear else "")


def _names(clip: Clip, index: MediaIndex) -> Iterator[tuple[str, bool]]:
    """Names that the file of `clip` may have; and whether, so called, it is the clip alone."""
    yield from ((name, True) for name in clip.names)
    whole = clip.end_seconds is None  # no stretch of the video is listed
    if clip.source:
        end = clip.end_seconds or 0.0
        for each in index.spellings:
            if each.start and not whole:
                yield each.name(clip.source, clip.start_seconds, end), True
        yield clip.source, whole
        for each in index.spellings:
            if not each.start:
                yield each.name(clip.source, clip.start_seconds, end), whole


def match(
    dataset: str, listing: Listing, media: MediaIndex, sound: MediaIndex | None = None
) -> Matched:
    """The rows of all clips that are on disk, and a report on all that are listed.

    `sound` is a folder apart with sound only. A clip without pictures is a row of its sound file.

    Raises:
        ValueError: no clip is listed, or none of the listed ones is found; a label that is not in
            the order of classes; files of which some hold the video and some the clip only.
    """
    search = _Search(media, sound)
    tally = Tally(listing.labels)
    rows: list[Row] = []
    undecided: _Undecided = {}
    first: Clip | None = None
    for clip in _distinct(listing, tally):
        first = first or clip
        if clip.end_seconds is not None and clip.end_seconds <= clip.start_seconds:
            tally.num_empty += 1
            continue
        picture, separate = search.find(clip)
        main, extra = (picture, separate) if picture is not None else (separate, None)
        if main is None:
            continue
        rows.append(_row(clip, main, extra))
        suffixes = (main.unclear, extra.unclear if extra is not None else "")
        if any(suffixes):
            spans = undecided.setdefault(suffixes, array("d"))
            spans.extend((len(rows) - 1, clip.start_seconds, clip.end_seconds or 0.0))
    if not rows:
        raise _nothing(dataset, first, tally, search)
    splits = {row.split: row.id for row in rows}
    if "" in splits and len(splits) > 1:
        named = next(split for split in splits if split)
        raise ValueError(
            f"clip {splits['']!r} has no split, but {splits[named]!r} is in {named}; annotation "
            "files name a split for all clips or for none"
        )
    notes = [*listing.notes, *_settle(rows, undecided), *_notes(tally, search)]
    labels = tally.order()
    rows, dropped = _trainable(rows)
    return Matched(rows, labels, tally.coverage(dataset, rows, labels, notes + dropped))


def _distinct(listing: Listing, tally: Tally) -> Iterator[Clip]:
    """The clips of `listing` without repeated lines; an id that comes again gets a number."""
    seen: dict[str, int] = {}
    for clip in listing.clips:
        pairs = tuple(label_pairs(clip.labels))
        content = hash((pairs, clip.split, clip.start_seconds, clip.end_seconds))
        number, unique = 1, clip.id
        while seen.get(unique, content) != content:
            number += 1
            unique = f"{clip.id}#{number}"
        if unique in seen:
            tally.num_repeated += 1
            continue
        video = clip.source or clip.id
        if unique != clip.id:
            clip = clip._replace(id=unique)
            tally.num_renamed += 1
        seen[unique] = content
        tally.add(clip, video=video)
        yield clip


def _row(clip: Clip, main: _Found, extra: _Found | None) -> Row:
    times = (clip.start_seconds, clip.end_seconds) if clip.untrimmed else (0.0, None)
    return Row(
        id=clip.id,
        path=main.path,
        labels=clip.labels,
        start_seconds=times[0],
        end_seconds=times[1],
        split=clip.split,
        audio_path=extra.path if extra is not None else None,
        group=clip.group,
    )


# --- whole videos or clips ----------------------------------------------------------------------


def _settle(rows: list[Row], undecided: _Undecided) -> list[str]:
    """Give the rows of whole videos their times; what was found out, in words.

    A separate sound file that is cut where the pictures are not, or the other way round, is let go.
    """
    notes, whole, num_apart = [], {}, 0
    for suffix in sorted({suffix for key in undecided for suffix in key if suffix}):
        whole[suffix], note = _are_whole(rows, undecided, suffix=suffix)
        notes.append(note)
    for (main, extra), spans in undecided.items():
        main_whole, extra_whole = whole.get(main, False), whole.get(extra, False)
        for index, start, end in _triples(spans):
            row = rows[index]
            apart = row.audio_path is not None and main_whole != extra_whole
            num_apart += apart
            if main_whole or apart:
                rows[index] = dataclasses.replace(
                    row,
                    start_seconds=start if main_whole else 0.0,
                    end_seconds=end if main_whole else None,
                    audio_path=None if apart else row.audio_path,
                )
    if num_apart:
        notes.append(
            f"{num_apart} separate sound files are not cut as their pictures are, and not used"
        )
    return notes


def _are_whole(rows: list[Row], undecided: _Undecided, *, suffix: str) -> tuple[bool, str]:
    """Whether files of `suffix` that have the name of a video hold all of it; and why, in words."""
    files = [
        (rows[index].path if key[0] == suffix else rows[index].audio_path, start, end)
        for key, spans in undecided.items()
        if suffix in key
        for index, start, end in _triples(spans)
    ]
    step = max(1, len(files) // _SAMPLE)
    votes: dict[bool | None, list[Path]] = {True: [], False: [], None: []}
    for path, start, end in dict.fromkeys([*files[::step], *files[:_TRIES]]):
        if len(votes[True]) + len(votes[False]) == _SAMPLE or len(votes[None]) == _TRIES:
            break
        if path is not None:
            votes[_is_longer(path, start, end)].append(path)
    answer = len(votes[True]) >= len(votes[False])
    total = len(votes[True]) + len(votes[False])
    if len(votes[not answer]) > _MOST_MIXED * total:
        raise ValueError(
            f"files named after their video alone are of two kinds: {str(votes[True][0])!r} is "
            f"longer than its clip, {str(votes[False][0])!r} is the clip only; keep whole videos "
            "and clips in two folders and write a manifest of each"
        )
    if not total:
        return True, (
            f"{suffix} files named after the video alone: none of {len(votes[None])} looked at "
            "tells whether it is cut already (it cannot be read, or its clip is the start of the "
            "video); the times of the list are written, check with 'sightsound doctor'"
        )
    kind = "whole videos, with times" if answer else "clips that are cut already"
    return answer, (
        f"{suffix} files named after the video alone are taken for {kind}: so are "
        f"{len(votes[answer])} of {total} measured"
    )


def _is_longer(path: Path, start: float, end: float) -> bool | None:
    """Whether a file is longer than its clip; `None` where that cannot be told."""
    from sightsound.media.decode import DecodeError
    from sightsound.media.probe import read_duration

    try:
        duration = read_duration(path)
    except DecodeError:  # doctor tells which files are broken
        return None
    if duration > end - start + _SLACK_SECONDS:
        return True
    return False if start > 2 * _SLACK_SECONDS else None


def _triples(spans: array) -> Iterator[tuple[int, float, float]]:
    values = iter(spans)
    for index, start, end in zip(values, values, values, strict=True):
        yield int(index), start, end


# --- what is said -------------------------------------------------------------------------------


def _trainable(rows: list[Row]) -> tuple[list[Row], list[str]]:
    """Rows without those of single classes of which no training clip was found, and a note."""
    single = all(isinstance(row.labels, tuple) and len(row.labels) == 1 for row in rows)
    trained = {row.labels for row in rows if row.split == "train"} if single else set()
    dropped = [row for row in rows if trained and row.labels not in trained]
    others = Counter(name for row in dropped for name in row.labels)
    if not others:
        return rows, []
    names = ", ".join(repr(name) for name in list(others)[:5])
    return [row for row in rows if row.labels in trained], [
        f"left out: {sum(others.values())} clips of {len(others)} classes that have no training "
        f"clip on disk: {names}{', ...' if len(others) > 5 else ''}"
    ]


def _notes(tally: Tally, search: _Search) -> list[str]:
    """What was odd about the list and the files, in words."""
    said = {
        "lines come twice and count once": tally.num_repeated,
        "clips have the id of another one and got a number, #2": tally.num_renamed,
        "clips have no length and are left out": tally.num_empty,
        "clips have several files: WAV and FLAC come first, then by folder": search.num_several,
    }
    return [f"{number} {text}" for text, number in said.items() if number]


def _nothing(dataset: str, clip: Clip | None, tally: Tally, search: _Search) -> ValueError:
    """Nothing listed, or nothing found: what was looked for, and what there is."""
    if clip is None:
        return ValueError(f"the annotation files list no clip of {dataset}")
    names = [*clip.files, *clip.names, *([clip.source] if clip.source else [])]
    there = []
    for index in filter(None, [search.media, search.sound]):
        what = f", such as {index.example!r}" if index.num_files else ""
        there.append(f"{str(index.root)!r} holds {index.num_files} media files{what}")
    return ValueError(
        f"none of the {tally.num_listed} clips that {dataset} lists was found. Of {clip.id!r} the "
        f"file would be called {' or '.join(repr(name) for name in names)}, plus .mp4 or another "
        f"suffix, in any folder; {', and '.join(there)}. Check --media"
    )
