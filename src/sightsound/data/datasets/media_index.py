"""The media files below a folder by their names without suffix, after one walk. Free of torch."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from sightsound.data.datasets.youtube_names import Spelling, spellings
from sightsound.data.rows import SUFFIXES
from sightsound.registry import nearest_path

SOUND_SUFFIXES = frozenset(".aac .flac .m4a .mp3 .oga .ogg .opus .wav .wma".split())


class Place(NamedTuple):
    """Where files lie that differ in their names only."""

    folder: Path
    suffix: str  # as written
    is_sound: bool  # the suffix promises sound alone


def is_sound(suffix: str) -> bool:
    """Whether files of this suffix hold sound alone."""
    return suffix.lower() in SOUND_SUFFIXES


class MediaIndex:
    """All media files below `root`, links followed, hidden ones left out.

    Two million names take about 0.5 GB: places are shared between files.

    Raises:
        FileNotFoundError: there is no such folder.
    """

    def __init__(self, root: Path) -> None:
        root = Path(os.path.abspath(root))
        if not root.is_dir():
            raise FileNotFoundError(f"no media folder {str(root)!r}.{nearest_path(root)}")
        self.root = root
        self.num_files = 0
        self.example = ""  # one file, relative to `root`
        self._places: dict[str, tuple[Place, ...]] = {}
        for folder, names in _folders(root):
            self._add(folder, names)

    def _add(self, folder: Path, names: list[str]) -> None:
        here: dict[str, tuple[Place]] = {}  # one tuple for all files of a suffix
        for name in names:
            stem, suffix = os.path.splitext(_composed(name))
            if suffix.lower() not in SUFFIXES or name.startswith("."):
                continue
            place = here.setdefault(suffix, (Place(folder, suffix, is_sound(suffix)),))
            known = self._places.get(stem)
            self._places[stem] = place if known is None else known + place
            self.num_files += 1
            self.example = self.example or (folder / name).relative_to(self.root).as_posix()

    @cached_property
    def spellings(self) -> list[Spelling]:
        """How the files here that are stretches of YouTube videos may be called."""
        return spellings(self._places)

    def find(self, name: str) -> tuple[Place, ...]:
        """Where files called `name` plus a suffix lie; folders before it must be theirs.

        On the disk they may be spelled in another form of Unicode, see `folders.located`.
        """
        name = _composed(name)
        if "/" not in name:
            return self._places.get(name, ())
        folder, _, stem = name.rpartition("/")
        places = self._places.get(stem, ())
        return tuple(
            p for p in places if _composed(f"/{p.folder.as_posix()}").endswith(f"/{folder}")
        )


def _composed(text: str) -> str:
    """In the form of Unicode that lists and most systems use; macOS decomposes."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _folders(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Every folder and the names of its files, each folder once, whatever links lead to it."""
    seen = set()
    for folder, subfolders, names in os.walk(root, followlinks=True, onerror=_refuse):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            subfolders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield Path(folder), names


def _refuse(error: OSError) -> None:
    raise error
