"""Tells which column of a table is which: by our names, by usual ones, or as `--columns` says.

Capital letters, blanks and dashes in names do not matter. Free of torch.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence

from sightsound.data.rows import HEADS, LABEL, SUFFIXES
from sightsound.data.tables import Table
from sightsound.registry import unknown_name

COLUMNS = (
    "path",
    "label",
    "start_seconds",
    "end_seconds",
    "split",
    "id",
    "audio_path",
    "group",
    "verb",
    "noun",
)
_USUAL = {
    name: tuple(names.split())
    for name, names in {
        "path": "file filename file_name filepath file_path video_path video_file video_file_name "
        "video_filepath video clip clip_path media media_path media_file",
        "label": "labels class classes class_name classname class_label label_name category "
        "categories category_name target tag tags",
        "start_seconds": "start_second start_sec start_secs start_s",
        "end_seconds": "end_second end_sec end_secs end_s",
        "split": "splits subset partition data_split",
        "audio_path": "audio audio_file audio_file_name audio_filepath wav wav_path",
    }.items()
}
_KNOWN = frozenset(COLUMNS).union(*_USUAL.values())
_ROWS = 1000  # that are looked at for files
_ALIKE = 0.8  # of two names, so that one may be a slip for the other
_TIME = re.compile(r"(time_?)?(start|end|onset|offset|begin|stop)")
_SHORTEST = 4  # letters of a name that others may be slips for


def is_known(name: str) -> bool:
    """Whether a column is called as ours are, or usually are."""
    return _folded(name) in _KNOWN


def parse_columns(text: str) -> dict[str, str]:
    """{our name: the table's} of `path=video_path,label=class`; a name left empty is not read.

    Raises:
        ValueError: not such a list, or a name that is none of ours.
    """
    chosen: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, column = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise ValueError(
                f"--columns {text!r}: {part!r} has no =; accepted: OURS=YOURS,OURS=YOURS, such as "
                "path=video_path,label=class"
            )
        if name not in COLUMNS:
            raise ValueError(f"--columns {text!r}: {unknown_name('column', name, COLUMNS)}")
        if name in chosen:
            raise ValueError(f"--columns {text!r} names {name!r} twice")
        chosen[name] = column
    return chosen


def has_labels(columns: Iterable[str]) -> bool:
    """True if there is a column for every head of some task."""
    return LABEL in columns or set(HEADS) <= set(columns)


def choose(table: Table, given: Mapping[str, str], *, labelled: bool) -> tuple[dict[str, int], str]:
    """Where the columns of a table stand, {our name: number of the column}, and a note.

    `given` {our name: the table's}. The note says, in one line, what is not called as we call it
    or not read.

    Raises:
        ValueError: every column that is missing, doubled, unclear or a slip, in one sentence.
    """
    path, columns = table.path, table.columns
    positions, problems = _positions(table, given)
    unused = [name for i, name in enumerate(columns) if i not in positions.values()]
    times = [name for name in unused if _TIME.match(_folded(name))]
    skipped = {name for name, column in given.items() if not column}
    free = [n for n in COLUMNS if n not in {*positions, *skipped} and len(n) >= _SHORTEST]
    for name in unused:
        near = difflib.get_close_matches(_folded(name), free, n=1, cutoff=_ALIKE)
        if near and _folded(name) not in COLUMNS:  # those are named already
            problems.append(
                f"unknown column {name!r}. Did you mean {near[0]!r}? Rename it (--columns "
                f"{near[0]}={name} reads it, --columns {near[0]}= does without)"
            )
    if "path" in positions and "start_seconds" not in {*positions, *given}:
        problems += _unread_times(table, positions["path"], times)
    if "path" not in positions or (labelled and not has_labels(positions)):
        if any(name.lower().endswith(tuple(SUFFIXES)) for name in columns):
            problems.append(
                f"the first line ({', '.join(columns)[:80]}) is no header: write the names of the "
                "columns above it, such as path,label"
            )
        else:
            problems.append(
                f"columns {', '.join(columns) or '(none)'}; needed: path, and label or both verb "
                "and noun; say which they are with --columns path=YOURS,label=YOURS (clips "
                "without labels are for 'sightsound pretrain')"
            )
    if problems:
        raise ValueError(f"{path}: {'; '.join(problems)}")
    read = [
        f"{name} is {columns[i]!r}" for name, i in positions.items() if _folded(columns[i]) != name
    ]
    notes = [", ".join(read)] if read else []
    if unused:
        shown = ", ".join(repr(name) if name else "one without a name" for name in unused)
        notes.append(f"not read: {shown}")
    if times:
        notes.append(f"if {times[0]!r} is in seconds of the file: --columns start_seconds=...")
    return positions, f"{path}: {'; '.join(notes)}" if notes else ""


def guess(table: Table, given: Mapping[str, str]) -> dict[str, int]:
    """{our name: number of the column} as far as that is clear."""
    return _positions(table, given)[0]


def _positions(table: Table, given: Mapping[str, str]) -> tuple[dict[str, int], list[str]]:
    """{our name: number of the column}, and what is wrong.

    Usual names of files count where files stand below them: `audio` may as well be a codec.
    """
    columns = table.columns
    positions: dict[str, int] = {}
    problems: list[str] = []
    folded = [_folded(name) for name in columns]
    for name, column in given.items():
        if column in columns:
            positions[name] = columns.index(column)
        elif column:
            problems.append(str(unknown_name("column", column, columns)).rstrip("."))
    for names in ({name: (name,) for name in COLUMNS}, _USUAL):
        free = set(range(len(columns))) - set(positions.values())
        for name in names:
            if name in given or name in positions:
                continue
            fitting = [i for i in sorted(free) if folded[i] in names[name]]
            if names is _USUAL and name in ("path", "audio_path"):
                fitting = [i for i in fitting if _holds_files(table, i)]
            if len(fitting) == 1:
                positions[name] = fitting[0]
            elif len({folded[i] for i in fitting}) < len(fitting):
                problems.append(f"column {columns[fitting[0]]!r} appears twice")
            elif fitting:
                shown = ", ".join(repr(columns[i]) for i in fitting)
                problems.append(
                    f"{name} may be any of the columns {shown}: choose with --columns "
                    f"{name}={columns[fitting[0]]}"
                )
    if "path" not in positions and "path" not in given and "audio_path" in positions:
        positions["path"] = positions.pop("audio_path")  # clips of sound only
    return positions, sorted(problems)


def _holds_files(table: Table, position: int) -> bool:
    """Whether a media file stands in a column, as far down as one may expect."""
    cells = (line.cells[position].lower() for line in table.lines[:_ROWS])
    return not table.lines or any(cell.endswith(tuple(SUFFIXES)) for cell in cells)


def _folded(name: str) -> str:
    return re.sub(r"[\s\-]+", "_", name.strip().casefold())


def _unread_times(table: Table, path: int, times: Sequence[str]) -> list[str]:
    """What to say of columns that are not read although they tell lines of one file apart.

    `path` is the position of the files' column, `times` are names of columns.
    """
    positions = {table.columns.index(name) for name in times}
    lines = [line.cells for line in table.lines]
    parts = {(cells[path], *(cells[position] for position in positions)) for cells in lines}
    if len(parts) == len({cells[path] for cells in lines}):
        return []
    shown, end = ", ".join(map(repr, times)), times[1] if times[1:] else ""
    read = f"start_seconds={times[0]}" + (f",end_seconds={end}" if end else "")
    return [
        f"lines of one file differ in {shown}: if these are seconds in the file, --columns {read} "
        "reads them, otherwise --columns start_seconds= does without"
    ]
