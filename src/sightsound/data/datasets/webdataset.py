"""Tars of others in the layout of WebDataset, as video2dataset writes them, read in place.

Files of one clip have one name up to the first dot: `0001.mp4` (perhaps `0001.wav`) and beside them
`0001.cls`, `0001.json` or `0001.txt`. The class is what .cls says, a number or a name; else what
.json says under `label`, `labels`, `class` or `category`; else the text of .txt. A clip is called
`00000.tar/0001.mp4`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sightsound.data.datasets.listing import (
    Clip,
    Listing,
    annotation_files,
    folder_split,
    split_named,
)
from sightsound.data.datasets.media_index import is_sound
from sightsound.data.datasets.path_lines import class_map
from sightsound.data.rows import SUFFIXES
from sightsound.data.shards.index import ABOUT_NAME
from sightsound.media.source import tar_members

_LABELS = ("label", "labels", "class", "category")
_MOST_BYTES = 1 << 20  # of a .json, .cls or .txt


@dataclass
class _Sample:
    """The files of one clip."""

    media: list[str] = field(default_factory=list)  # names in the tar
    said: dict[str, str] = field(default_factory=dict)  # {"cls", "json" or "txt": its text}


def webdataset(paths: Sequence[Path]) -> Listing:
    """Tars of clips with .cls, .json or .txt beside each (video2dataset), or their folder, read in
    place; classes.txt, if the classes are numbers. The split is in the name of a tar or its folder;
    --media is not needed."""
    files = annotation_files(paths, "*.tar", "*/*.tar", "classes.*", packed=True)
    tars = [file for file in files if file.stem != "classes"]
    orders = [class_map(file) for file in files if file not in tars]
    order = next((names for names in orders if names), None)
    notes: list[str] = []
    listing = Listing((), {"label": order} if order else None, notes)
    listing.clips = (clip for tar in tars for clip in _clips(tar, order, notes))
    return listing


def _clips(tar: Path, order: list[str] | None, notes: list[str]) -> Iterator[Clip]:
    _check_foreign(tar)
    split, texts, bare = folder_split(tar) or split_named(tar.stem), 0, 0
    inside = f"{folder_split(tar)}/{tar.stem}".lstrip("/")
    for key, sample in _samples(tar).items():
        place = f"{tar}, {key}"
        labels = _labels(sample.said, order, place=place)
        texts += bool(labels) and set(sample.said) == {"txt"}
        bare += not labels
        given = _json(sample.said, place=place).get("split", "")
        files = tuple(str(tar.absolute() / name) for name in _chosen(sample.media))
        yield Clip(f"{inside}/{key}", labels, split_named(str(given)) or split, (), files=files)
    if texts:
        notes.append(f"{tar.name}: {texts} classes are the texts of .txt files")
    if bare:
        notes.append(f"{tar.name}: {bare} clips have no label, which 'sightsound pretrain' reads")


def _check_foreign(tar: Path) -> None:
    """Refuse tars that are not WebDataset's, and our own."""
    if (tar.parent / ABOUT_NAME).is_file():
        raise ValueError(
            f"{str(tar)!r} is one of the shards that 'sightsound prepare' made; give their folder "
            "to train or evaluate, it needs no manifest"
        )
    if tar.suffix.lower() != ".tar":
        raise ValueError(
            f"{str(tar)!r} is no .tar; compressed tars cannot be read in place, unpack them "
            "(gunzip) to .tar first"
        )


def _samples(tar: Path) -> dict[str, _Sample]:
    """{key: its files}, in the order of the tar.

    Raises:
        ValueError: it is no tar, or nothing is in it.
    """
    samples: dict[str, _Sample] = {}
    try:
        for member, file in tar_members(tar):
            folder, _, name = Path(member.name).as_posix().rpartition("/")
            stem, _, suffix = name.partition(".")
            key = f"{folder}/{stem}" if folder else stem
            kind = suffix.rpartition(".")[2].lower()
            if f".{kind}" in SUFFIXES and stem:
                samples.setdefault(key, _Sample()).media.append(Path(member.name).as_posix())
            elif suffix in ("cls", "json", "txt") and member.size <= _MOST_BYTES:
                file.seek(member.offset_data)
                text = file.read(member.size).decode("utf-8-sig", errors="replace").strip()
                samples.setdefault(key, _Sample()).said[suffix] = text
    except OSError as error:
        raise ValueError(str(error)) from error
    if not samples:
        raise ValueError(f"{str(tar)!r} holds no clips with .cls, .json or .txt beside them")
    return samples


def _chosen(media: list[str]) -> list[str]:
    """The file with pictures and the one of sound: the first of each."""
    pictures = [name for name in media if not is_sound("." + name.rpartition(".")[2])]
    sounds = [name for name in media if name not in pictures]
    return pictures[:1] + sounds[:1]


def _labels(said: dict[str, str], order: list[str] | None, *, place: str) -> tuple[str, ...]:
    """The classes of a clip: names, numbers as `order` has them."""
    content = _json(said, place=place)
    found = said.get("cls") or next((content[name] for name in _LABELS if name in content), None)
    if found is None:
        found = said.get("txt", "")
    several = found if isinstance(found, list) else [found]
    if not all(isinstance(each, str | int) for each in several):
        raise ValueError(f"{place}: label {found!r}; accepted: a name, a number, a list of them")
    names = [str(each).strip() for each in several if each != ""]
    return tuple(dict.fromkeys(_named(name, order, place=place) for name in names))


def _named(name: str, order: list[str] | None, *, place: str) -> str:
    if order is None or name in order:
        return name
    if not name.isdigit() or int(name) >= len(order):
        raise ValueError(f"{place}: label {name!r} is none of the {len(order)} classes given")
    return order[int(name)]


def _json(said: dict[str, str], *, place: str) -> dict[str, Any]:
    if "json" not in said:
        return {}
    try:
        content = json.loads(said["json"])
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place}.json is not JSON: {error}") from error
    return content if isinstance(content, dict) else {"label": content}
