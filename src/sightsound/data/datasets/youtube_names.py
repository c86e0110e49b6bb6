"""How downloaders name a window of a YouTube video that they cut: `Y<id>_30.000_40.000`, ...

No two agree. What a folder holds is looked at once: which prefix, how times are written, what
stands between and behind. Clips are then looked up under the spellings in use. Free of torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

_PREFIXES = ("", "Y", "v_", "v", "id_")
_ID = re.compile(r"[\w-]{11}")
_TIME = r"\d+(?:\.\d+)?"
_REST = re.compile(
    rf"(?:(?P<before>[_-])(?P<start>{_TIME})(?:(?P<between>_to_|[_-])(?P<end>{_TIME}))?)?"
    r"(?P<after>(?:_(?:out|cut|clip|trimmed|audio|video))?)"
)


def youtube_names(video: str, start: float, end: float) -> tuple[str, ...]:
    """The usual names of the window [start, end) of `video`; see `spellings` for rarer ones."""
    first, last = int(start), int(end)
    return (
        f"{video}_{first:06d}_{last:06d}",
        f"{video}_{first:06d}",
        f"{video}_{first}_{last}",
        f"{video}_{start * 1000:.0f}_{end * 1000:.0f}",
        f"{video}_{first}",
    )


class Spelling(NamedTuple):
    """One way to write a name; without `start` it is that of the video."""

    prefix: str
    before: str = ""
    start: str = ""  # how the time is written, see `_formats`
    between: str = ""
    end: str = ""
    after: str = ""

    def name(self, video: str, start_seconds: float, end_seconds: float) -> str:
        """What the window [start, end) of `video` is called."""
        start, end = _written(start_seconds, self.start), _written(end_seconds, self.end)
        return f"{self.prefix}{video}{self.before}{start}{self.between}{end}{self.after}"


def spellings(names: Iterable[str]) -> list[Spelling]:
    """Those that any of `names`, of files without suffix, may be in; with both times first."""
    read = set()
    for name in names:
        for prefix in _PREFIXES:  # an id may itself begin like one: a name has several readings
            video, rest = name[len(prefix) :][:11], name[len(prefix) + 11 :]
            match = _REST.fullmatch(rest)
            if not (match and name.startswith(prefix) and _ID.fullmatch(video)):
                continue
            between, before = match["between"] or "", match["before"] or ""
            for start in _formats(match["start"]):
                for end in _formats(match["end"]):
                    read.add(Spelling(prefix, before, start, between, end, match["after"]))
    return sorted(read, key=lambda each: (not each.end, not each.start, each))


def _formats(text: str | None) -> tuple[str, ...]:
    """How a time may be written: as a format, `.3f` or `06d`, or as `ms`, milliseconds."""
    if not text:
        return ("",)
    whole, _, decimals = text.partition(".")
    if decimals:
        return (f".{len(decimals)}f",)
    return (f"0{len(whole)}d",) if whole.startswith("0") and whole != "0" else ("d", "ms")


def _written(seconds: float, form: str) -> str:
    if form == "ms":
        return f"{seconds * 1000:.0f}"
    return format(int(seconds) if form.endswith("d") else seconds, form) if form else ""
