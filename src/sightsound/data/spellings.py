"""How downloaders call the stretch of a YouTube video that they cut: `Y<id>_30.000_40.000`, ...

No two agree. What a folder holds is looked at once: which prefix, how times are written, what
stands between and behind. Clips are then looked up under the spellings in use. Free of torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_PREFIXES = ("", "Y", "v_", "v", "id_")
_ID = re.compile(r"[\w-]{11}")
_TIME = r"\d+(?:\.\d+)?"
_REST = re.compile(
    rf"(?:(?P<before>[_-])(?P<start>{_TIME})(?:(?P<between>_to_|[_-])(?P<end>{_TIME}))?)?"
    r"(?P<after>(?:_(?:out|cut|clip|trimmed|audio|video))?)"
)


class Spelling(NamedTuple):
    """One way to write a name; without `start` it is that of the video."""

    prefix: str
    before: str = ""
    start: str = ""  # how the time is written, see `_ways`
    between: str = ""
    end: str = ""
    after: str = ""

    def name(self, video: str, start_seconds: float, end_seconds: float) -> str:
        """What the stretch [start, end) of `video` is called."""
        start, end = _written(start_seconds, self.start), _written(end_seconds, self.end)
        return f"{self.prefix}{video}{self.before}{start}{self.between}{end}{self.after}"


def spellings(names: Iterable[str]) -> list[Spelling]:
    """Those that any of `names`, of files without suffix, may be in; with both times first."""
    found = {spelling for name in names for spelling in _readings(name)}
    return sorted(found, key=lambda each: (not each.end, not each.start, each))


def _readings(name: str) -> Iterator[Spelling]:
    """All readings of one name: an id may itself begin like a prefix."""
    for prefix in _PREFIXES:
        video, rest = name[len(prefix) :][:11], name[len(prefix) + 11 :]
        found = _REST.fullmatch(rest)
        if found and name.startswith(prefix) and _ID.fullmatch(video):
            for start in _ways(found["start"]):
                for end in _ways(found["end"]):
                    between, before = found["between"] or "", found["before"] or ""
                    yield Spelling(prefix, before, start, between, end, found["after"])


def _ways(text: str | None) -> tuple[str, ...]:
    """How a time may be written: as a format, `.3f` or `06d`, or as `ms`, milliseconds."""
    if not text:
        return ("",)
    whole, _, decimals = text.partition(".")
    if decimals:
        return (f".{len(decimals)}f",)
    return (f"0{len(whole)}d",) if whole.startswith("0") and whole != "0" else ("d", "ms")


def _written(seconds: float, way: str) -> str:
    if way == "ms":
        return f"{seconds * 1000:.0f}"
    whole = way.endswith("d")
    return format(int(seconds) if whole else seconds, way) if way else ""
