"""Print what CHANGELOG.md says about one version: the notes of its release.

python tools/release_notes.py v0.1.0
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

CHANGELOG = Path(__file__).resolve().parents[1] / "CHANGELOG.md"
_HEADING = re.compile(r"^## (\S+)[^\S\n]*(.*)$", re.MULTILINE)


def release_notes(changelog: str, version: str) -> str:
    """The section of `version` (0.1.0, or its tag v0.1.0) without its heading.

    Raises:
        ValueError: there is no such section, it is empty, or is still marked unreleased.
    """
    version = version.removeprefix("v")
    headings = list(_HEADING.finditer(changelog))
    ends = [heading.start() for heading in headings[1:]] + [len(changelog)]
    for heading, end in zip(headings, ends, strict=True):
        if heading[1] != version:
            continue
        if "unreleased" in heading[2]:
            raise ValueError(f"CHANGELOG.md: {heading[0]!r}: put the date of the release there")
        if notes := changelog[heading.end() : end].strip():
            return notes
        raise ValueError(f"CHANGELOG.md: {heading[0]!r} says nothing")
    there = ", ".join(heading[1] for heading in headings)
    raise ValueError(f"CHANGELOG.md has no section '## {version}'; it has: {there or 'none'}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python tools/release_notes.py VERSION")
    try:
        print(release_notes(CHANGELOG.read_text(encoding="utf-8"), sys.argv[1]))
    except ValueError as error:
        sys.exit(str(error))
