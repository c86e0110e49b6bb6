"""Splits: drawn by group where the data names none, and which names of folders mean splits.

Free of torch.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from sightsound.data.rows import SPELLINGS, Row
from sightsound.seeding import stable_seed

_SPLITS = SPELLINGS | dict.fromkeys(("eval", "evaluation"), "test")
_LIKE_A_SPLIT = re.compile(rf"(?<![a-z])({'|'.join(_SPLITS)})(?:set|data)?(?![a-z])")
_PART = re.compile(  # of a cross-validation
    r"(fold|split|part|partition|set|cv)[ _-]?(\d+|[a-e])|\d+(st|nd|rd|th)?[ _-]?(fold|split|part)"
)


class TooFewGroups(ValueError):
    """A class cannot be in every split."""


def draw_splits(
    rows: Sequence[Row], *, seed: int, shares: Mapping[str, float], folder: Path | None = None
) -> list[str]:
    """The split of each row: every class in every split, no group in two.

    `shares` {"val": share, "test": share} of the groups of each class, at least one group where
    the share is not 0; the rest is train. Classes with few groups choose first; a group goes
    where its class misses most (after Sechidis et al. 2011, iterative stratification). A row
    without a group is one with all rows of its file; where `folder` lies does not matter.

    Raises:
        ValueError: shares that leave nothing for train.
        TooFewGroups: a class cannot be in every split; one without a name is all of the data.
    """
    if min(shares.values()) < 0 or sum(shares.values()) >= 1:
        raise ValueError(
            "data.val_fraction and data.test_fraction are "
            f"{shares['val']:g} and {shares['test']:g}; accepted: 0 or more, together below 1"
        )
    groups: list[str] = []
    members: dict[str, dict[str, None]] = {}  # {class: its groups}
    for row in rows:
        group = row.group
        if not group and folder is not None and row.path.is_relative_to(folder):
            group = row.path.relative_to(folder).as_posix()
        groups.append(group or str(row.path))
        for name in row.labels.values() if isinstance(row.labels, Mapping) else row.labels:
            members.setdefault(name, {})[groups[-1]] = None
    chosen: dict[str, str] = {}
    for name in sorted(members, key=lambda name: (len(members[name]), name)):
        missing = _wanted(name, number=len(members[name]), shares=shares)
        for group in members[name]:
            if group in chosen:
                missing[chosen[group]] -= 1
        for group in sorted(members[name], key=lambda group: stable_seed(seed, "split", group)):
            if group not in chosen:
                chosen[group] = max(missing, key=missing.__getitem__)
                missing[chosen[group]] -= 1
        lacking = [split for split in missing if split not in map(chosen.get, members[name])]
        if lacking:
            raise TooFewGroups(
                f"class {name!r} cannot be split: its groups are shared with other classes and "
                f"none is left for {lacking[0]}. Name the splits yourself in a column split"
            )
    return [chosen.get(group, "train") for group in groups]


def _wanted(name: str, *, number: int, shares: Mapping[str, float]) -> dict[str, int]:
    """How many of a class's `number` groups each split should get."""
    used = {split: share for split, share in shares.items() if share > 0}
    if number < len(used) + 1:
        plural = f"{number} clips or groups of clips" if number > 1 else "only one clip"
        what, remedy = (f"class {name!r}", ", remove the class,") if name else ("the data", "")
        raise TooFewGroups(
            f"{what} has {plural} and cannot be split into train, {', '.join(used)}: "
            f"{len(used) + 1} are needed. Add clips{remedy} or name the splits yourself "
            "(folders train, val, test or a column split)"
        )
    wanted = {split: max(1, round(share * number)) for split, share in used.items()}
    while sum(wanted.values()) > number - 1:
        wanted[max(wanted, key=wanted.__getitem__)] -= 1
    return {"train": number - sum(wanted.values()), **wanted}


# --- names of folders ---------------------------------------------------------------------------


def splits_named(names: Iterable[str]) -> dict[str, str]:
    """{name: split} of those of `names` that usually mean one; `eval` beside `test` is `val`."""
    splits = {name: _SPLITS[name.casefold()] for name in names if name.casefold() in _SPLITS}
    tests = {name for name, split in splits.items() if split == "test"}
    evaluations = {name for name in tests if name.casefold().startswith("eval")}
    return splits | (dict.fromkeys(evaluations, "val") if tests - evaluations else {})


def split_like(name: str) -> str:
    """The split that a name seems to speak of; nothing if it seems to speak of none."""
    match = _LIKE_A_SPLIT.search(name.casefold())
    return _SPLITS[match[1]] if match else ""


def look_like_splits(names: Collection[str]) -> bool:
    """Whether all of `names` seem to speak of splits, of more than one: `train_set`, `test_set`."""
    splits = {split_like(name) for name in names}
    return "" not in splits and len(splits) > 1


def look_like_parts(names: Collection[str]) -> bool:
    """Whether `names` are those of a cross-validation: `fold1`, `fold2`."""
    return len(names) > 1 and all(_PART.fullmatch(name.casefold()) for name in names)
