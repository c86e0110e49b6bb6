"""Counts how much of a listed data set is on disk: by split, by class, with a hash of the ids.

YouTube data sets shrink, so two scores compare only over the same clips. Free of torch.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sightsound.data.datasets.listing import Clip
from sightsound.data.datasets.media_index import is_sound
from sightsound.data.rows import LABEL, Row, id_hash, in_order, label_pairs, ordered_splits
from sightsound.files import csv_text
from sightsound.registry import unknown_name

_FEWEST = 5  # classes named in the text
ALL = "all"  # the line of all splits together


@dataclass(frozen=True)
class Count:
    """Clips of a split or of all."""

    listed: int
    found: int
    listed_hash: str  # of the ids, as `Manifest.id_hash`
    found_hash: str
    sound_only: int = 0  # of those found: their file is one of sound
    no_sound_file: int = 0  # pictures without a sound file, where others have one

    @classmethod
    def of(cls, listed: Sequence[str], found: Sequence[Row], *, apart: bool = False) -> Count:
        """The numbers and hashes of what is listed and found; `apart`: sound has its own files."""
        ids = [row.id for row in found]
        sound = sum(is_sound(row.path.suffix) for row in found)
        paired = sum(row.audio_path is not None for row in found)
        alone = len(found) - sound - paired if apart else 0
        return cls(len(listed), len(found), id_hash(listed), id_hash(ids), sound, alone)


@dataclass(frozen=True)
class Coverage:
    """Found of listed."""

    dataset: str
    splits: dict[str, Count]  # "all" comes last; "" where the list names no split
    classes: dict[str, dict[str, tuple[int, int]]]  # {head: {class: (listed, found)}}
    shared: dict[str, list[str]]  # {"train, test": videos that are in both}
    missing: list[tuple[str, str]]  # (id, split)
    notes: list[str]

    def text(self) -> str:
        """What the terminal shows."""
        total = self.splits[ALL]
        said = {
            "sound alone": total.sound_only,
            "pictures without a sound file": total.no_sound_file,
        }
        streams = [f"{number} {name}" for name, number in said.items() if number]
        others = total.found - sum(said.values())
        lines = [
            f"{self.dataset}: {total.found} of {total.listed} listed clips found "
            f"({_share(total.found, total.listed)})",
            *_table(self.splits),
            *([f"streams of those found: {', '.join(streams)}; {others} others"] * bool(streams)),
            *(_class_line(head, counts) for head, counts in self.classes.items()),
        ]
        for splits, videos in self.shared.items():
            few = ", ".join(videos[:_FEWEST]) + (", ..." if len(videos) > _FEWEST else "")
            lines.append(f"videos in both {' and '.join(splits.split(', '))}: {len(videos)}: {few}")
        return "\n".join(lines + [f"note: {note}" for note in self.notes])

    def as_json(self, **more: Any) -> str:
        """All of it but the missing ids, and `more`, as JSON."""
        content: dict[str, Any] = {"dataset": self.dataset, **more}
        content["splits"] = {name: asdict(count) for name, count in self.splits.items()}
        content["classes"] = {
            head: {name: {"listed": a, "found": b} for name, (a, b) in counts.items()}
            for head, counts in self.classes.items()
        }
        content |= {"in_several_splits": self.shared, "notes": self.notes}
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"

    def missing_csv(self) -> str:
        """The clips that were not found, a table of id and split."""
        lines = ({"id": clip, "split": split} for clip, split in self.missing)
        return csv_text(lines, ("id", "split"))


def _share(found: int, listed: int) -> str:
    return f"{found / listed:.1%}" if listed else "-"


def _table(splits: Mapping[str, Count]) -> list[str]:
    head = ("split", "listed", "found", "share", "ids listed", "ids found")
    rows = [
        (
            name or "(none)",
            str(count.listed),
            str(count.found),
            _share(count.found, count.listed),
            count.listed_hash,
            count.found_hash,
        )
        for name, count in splits.items()
    ]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return [
        "  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    ]


def _class_line(head: str, counts: Mapping[str, tuple[int, int]]) -> str:
    """How many classes have clips, which lost most of theirs, which had none to begin with."""
    name = "classes" if head == LABEL else f"classes of {head}"
    present = sum(found > 0 for _, found in counts.values())
    lost = [(b / a, label, b, a) for label, (a, b) in counts.items() if b < a]
    worst = [f"{label} {b} of {a}" for _, label, b, a in sorted(lost)[:_FEWEST]]
    said = f"; fewest found: {'; '.join(worst)}" if worst else ""
    never = [label for label, (listed, _) in counts.items() if not listed]
    said += f"; {len(never)} not listed, such as {never[0]}" if never else ""
    return f"{name}: {len(counts)}, {present} of them with clips{said}"


@dataclass
class Tally:
    """Counts what is listed, clip by clip."""

    given: Mapping[str, Sequence[str]] | None  # the official order of classes, if there is one
    ids: dict[str, list[str]] = field(default_factory=dict)  # {split: ids}
    num_repeated: int = 0
    num_renamed: int = 0
    num_empty: int = 0
    _classes: dict[str, Counter[str]] = field(default_factory=dict)
    _videos: dict[str, str] = field(default_factory=dict)  # {video: its splits, "train, test"}

    def add(self, clip: Clip, *, video: str) -> None:
        """One listed clip, cut from `video`."""
        self.ids.setdefault(clip.split, []).append(clip.id)
        for head, name in label_pairs(clip.labels):
            self._classes.setdefault(head, Counter())[name] += 1
        splits = self._videos.setdefault(video, clip.split)
        if splits is not clip.split and clip.split not in splits.split(", "):
            self._videos[video] = f"{splits}, {clip.split}"

    @property
    def num_listed(self) -> int:
        """Clips added."""
        return sum(map(len, self.ids.values()))

    def order(self) -> dict[str, list[str]]:
        """{head: names}: the official order, or the listed names sorted, numbers by value.

        Raises:
            ValueError: a class that is not in the official order, or a name with a bar in it.
        """
        order = {head: list(names) for head, names in (self.given or {}).items()}
        for head, counts in self._classes.items():
            for name in counts.keys() - set(order.get(head, counts)):
                raise ValueError(str(unknown_name(head, name, order[head])))
            order.setdefault(head, in_order(counts))
        for name in (name for names in order.values() for name in names if "|" in name):
            raise ValueError(f"class name {name!r} holds a bar, which separates labels; rename it")
        return order

    def coverage(
        self,
        dataset: str,
        rows: Sequence[Row],
        labels: Mapping[str, Sequence[str]],
        notes: list[str],
    ) -> Coverage:
        """The report: `rows` are what was found, `labels` {head: names in order}."""
        found: dict[str, list[Row]] = {}
        here: dict[str, Counter[str]] = {head: Counter() for head in labels}
        for row in rows:
            found.setdefault(row.split, []).append(row)
            for head, name in label_pairs(row.labels):
                here[head][name] += 1
        apart = any(row.audio_path is not None for row in rows)
        order = ordered_splits(self.ids.keys() - {""}) + [""] * ("" in self.ids)
        splits = {
            split: Count.of(self.ids[split], found.get(split, []), apart=apart) for split in order
        }
        listed = [each for split in order for each in self.ids[split]]
        splits[ALL] = Count.of(listed, rows, apart=apart)
        shared: dict[str, list[str]] = {}
        for video, names in self._videos.items():
            if ", " in names:
                together = ", ".join(ordered_splits(names.split(", ")))
                shared.setdefault(together, []).append(video)
        known = {split: {row.id for row in found.get(split, [])} for split in order}
        return Coverage(
            dataset,
            splits,
            {
                head: {name: (self._classes[head][name], here[head][name]) for name in names}
                for head, names in labels.items()
            },
            shared,
            [(each, s) for s in order for each in self.ids[s] if each not in known[s]],
            notes,
        )
