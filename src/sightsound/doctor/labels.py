"""Finds what is wrong with the classes of a data set: their names, numbers and splits."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sightsound.data.rows import HEADS, LABEL, SPLITS, Row, splits_of
from sightsound.doctor.issue_types import Finding

FEW_CLIPS = 10  # of a class; a guess: one wrong clip of ten moves its score by ten points
UNBALANCED = 10.0  # times as many clips of the largest class as of the smallest; a guess


def label_findings(rows: Sequence[Row], *, task: str, source: Path) -> Iterator[Finding]:
    """Everything that the labels alone tell; nothing where no clip has one."""
    if not any(row.labels for row in rows):
        return
    needed = {"single": 1, "multi": 0, "heads": len(HEADS)}[task]
    for row in rows:
        if len(row.labels) < needed:
            yield Finding("no_label", "the label is empty", row.id)
    splits = dict.fromkeys((*SPLITS, *splits_of(rows), ""))
    for head in HEADS if task == "heads" else (LABEL,):
        counts: dict[str, Counter[str]] = {split: Counter() for split in splits}
        for row in rows:
            if not isinstance(row.labels, Mapping):
                counts[row.split].update(row.labels)
            elif head in row.labels:
                counts[row.split][row.labels[head]] += 1
        total = sum(counts.values(), Counter[str]())
        yield from _similar(total)
        yield from _unused(total, head=head, source=source)
        for name, number in sorted(total.items()):
            if number < FEW_CLIPS:
                yield Finding("few_clips", f"{name!r}: {number}")
        # Only where the data names splits: otherwise every class gets its share.
        for split in counts if not counts[""] else ():
            for name in sorted(total) if counts[split] else ():
                if name not in counts[split]:
                    yield Finding("missing_class", f"{name!r} is not in {split}")
        yield from _unbalanced(counts["train"] or total)
    yield from _shared_sources(rows)


def label_text(row: Row) -> str:
    """The names of a clip's classes, joined by a bar."""
    names = row.labels.values() if isinstance(row.labels, Mapping) else row.labels
    return "|".join(names)


def _similar(total: Counter) -> Iterator[Finding]:
    alike = defaultdict(list)
    for name in sorted(total):
        alike["".join(filter(str.isalnum, name.casefold())) or name].append(name)
    for names in alike.values():
        if len(names) > 1:
            yield Finding("similar_names", ", ".join(f"{n!r} ({total[n]})" for n in names))


def _unused(total: Counter, *, head: str, source: Path) -> Iterator[Finding]:
    file = (source if source.is_dir() else source.parent) / "labels.json"
    try:
        names = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    except ValueError:  # `load_manifest` has said so
        return
    names = names.get(head, []) if isinstance(names, dict) else names
    for name in names if isinstance(names, list) else []:
        if str(name) not in total:
            yield Finding("unused_class", repr(str(name)))


def _unbalanced(counts: Counter) -> Iterator[Finding]:
    if not counts:
        return
    (largest, most), *_, (smallest, least) = counts.most_common() * 2
    if most > UNBALANCED * least:
        text = f"{most} clips of {largest!r}, {least} of {smallest!r}: {most / least:.0f} times"
        yield Finding("imbalance", text)


def _shared_sources(rows: Sequence[Row]) -> Iterator[Finding]:
    """Parts of one file, or of one group, that lie in different splits."""
    for key in (lambda row: str(row.path), lambda row: row.group):
        splits = defaultdict(set)
        for row in rows:
            if key(row) and row.split:
                splits[key(row)].add(row.split)
        for row in rows:
            if len(splits.get(key(row), ())) > 1:
                others = " and ".join(sorted(splits[key(row)] - {row.split}))
                yield Finding("shared_source", f"others of {key(row)!r} lie in {others}", row.id)
