"""Names of folders that mean splits, or seem to. Free of torch."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from sightsound.data.rows import SPELLINGS

_SPLITS = SPELLINGS | dict.fromkeys(("eval", "evaluation"), "test")
_LIKE_A_SPLIT = re.compile(rf"(?<![a-z])({'|'.join(_SPLITS)})(?:set|data)?(?![a-z])")
_PART = re.compile(  # of a cross-validation
    r"(fold|split|part|partition|set|cv)[ _-]?(\d+|[a-e])|\d+(st|nd|rd|th)?[ _-]?(fold|split|part)"
)


def splits_named(names: Iterable[str]) -> dict[str, str]:
    """{name: split} of those of `names` that usually mean one; `eval` beside `test` is `val`."""
    found = {name: _SPLITS[name.casefold()] for name in names if name.casefold() in _SPLITS}
    tests = {name for name, split in found.items() if split == "test"}
    evaluations = {name for name in tests if name.casefold().startswith("eval")}
    return found | (dict.fromkeys(evaluations, "val") if tests - evaluations else {})


def split_like(name: str) -> str:
    """The split that a name seems to speak of; nothing if it seems to speak of none."""
    found = _LIKE_A_SPLIT.search(name.casefold())
    return _SPLITS[found[1]] if found else ""


def look_like_splits(names: Collection[str]) -> bool:
    """Whether all of `names` seem to speak of splits, of more than one: `train_set`, `test_set`."""
    kinds = {split_like(name) for name in names}
    return "" not in kinds and len(kinds) > 1


def look_like_parts(names: Collection[str]) -> bool:
    """Whether `names` are those of a cross-validation: `fold1`, `fold2`."""
    return len(names) > 1 and all(_PART.fullmatch(name.casefold()) for name in names)
