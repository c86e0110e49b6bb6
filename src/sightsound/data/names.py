"""Files whose names are written in another form of Unicode than on the disk. Free of torch."""

from __future__ import annotations

import functools
import os
import unicodedata
from pathlib import Path


def located(folder: Path, name: str) -> Path:
    """The absolute path of `name`, relative to `folder`, as it is spelled on the disk.

    The same letters come composed (NFC, most systems) or decomposed (NFD, older Macs): a file is
    looked for in both. One that is not there keeps the name that it was given.
    """
    path = Path(os.path.normpath(folder / name))
    if str(path).isascii() or path.exists():
        return path
    here = Path(path.anchor)
    for part in path.parts[1:]:
        if not part.isascii() and not (here / part).exists():
            part = _entries(here).get(unicodedata.normalize("NFC", part), part)
        here /= part
    return here


@functools.lru_cache(maxsize=64)
def _entries(folder: Path) -> dict[str, str]:
    """{composed name: name on the disk}."""
    if not folder.is_dir():
        return {}
    return {unicodedata.normalize("NFC", name): name for name in os.listdir(folder)}
