"""Which clips train, validate and test where the data does not say: drawn by group, seeded.

Free of torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sightsound.seeding import stable_seed

if TYPE_CHECKING:
    from sightsound.data.rows import Row


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
    groups = [row.group or _file(row.path, folder=folder) for row in rows]
    members = _class_groups(rows, groups)
    chosen: dict[str, str] = {}
    for name in sorted(members, key=lambda name: (len(members[name]), name)):
        missing = _wanted(name, number=len(members[name]), shares=shares)
        for group in members[name]:
            if group in chosen:
                missing[chosen[group]] -= 1
        order = sorted(members[name], key=lambda group: stable_seed(seed, "split", group))
        for group in order:
            if group not in chosen:
                chosen[group] = max(missing, key=missing.__getitem__)
                missing[chosen[group]] -= 1
        _check_spread(name, {chosen[group] for group in order}, wanted=missing)
    return [chosen.get(group, "train") for group in groups]


def _file(path: Path, *, folder: Path | None) -> str:
    inside = folder is not None and path.is_relative_to(folder)
    return path.relative_to(folder).as_posix() if inside else str(path)


def _class_groups(rows: Sequence[Row], groups: list[str]) -> dict[str, list[str]]:
    members: dict[str, dict[str, None]] = {}
    for row, group in zip(rows, groups, strict=True):
        names = row.labels.values() if isinstance(row.labels, Mapping) else row.labels
        for name in names:
            members.setdefault(name, {})[group] = None
    return {name: list(found) for name, found in members.items()}


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


def _check_spread(name: str, found: set[str], *, wanted: Mapping[str, int]) -> None:
    lacking = [split for split in wanted if split not in found]
    if lacking:
        raise TooFewGroups(
            f"class {name!r} cannot be split: its groups are shared with other classes and none "
            f"is left for {lacking[0]}. Name the splits yourself in a column split"
        )
