"""The comment at the top of a recipe, and the commands in it."""

from __future__ import annotations

import re
import shlex
from itertools import takewhile

from sightsound.config.load import RECIPES


def header(name: str) -> list[str]:
    """The comment lines at the top of a recipe, without their marks."""
    lines = (RECIPES / f"{name}.yaml").read_text().splitlines()
    return [line[1:].strip() for line in takewhile(lambda line: line.startswith("#"), lines)]


def commands(name: str) -> list[list[str]]:
    """Every `sightsound ...` line of the header, with its continuations, as arguments."""
    text = "\n".join(header(name)).replace("\\\n", "")
    lines = re.findall(r"^(?:Command: |then: *)?sightsound (.+)$", text, re.M)
    return [shlex.split(line) for line in lines]
