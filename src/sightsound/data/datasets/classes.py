"""Class lists of public data sets that ship with the package: names in the order of their numbers.

Where each list is from stands in `recipes/classes/README.md`. Free of torch.
"""

from __future__ import annotations

import csv
from pathlib import Path

from sightsound.registry import unknown_name

LISTS = Path(__file__).parents[2] / "recipes" / "classes"


def class_lists() -> list[str]:
    """Names of the lists there are, such as `audioset` and `kinetics-sounds-32`."""
    return sorted(file.stem for file in LISTS.glob("*.csv"))


def class_names(name: str) -> list[str]:
    """The classes of the list called `name`, in order; a position is the class's number.

    Raises:
        ValueError: no such list; the message names the nearest one.
    """
    if name not in class_lists():
        raise unknown_name("class list", name, class_lists())
    with (LISTS / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return [row["display_name"] for row in csv.DictReader(file)]
