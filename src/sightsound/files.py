"""Files that are there whole or not at all, and tables as CSV."""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

WRITING = ".writing-"  # how names of unfinished files begin


@contextlib.contextmanager
def replaced_when_complete(path: Path) -> Iterator[BinaryIO]:
    """A new file beside `path`, which takes its place, on the disk, if all goes well."""
    temporary = path.with_name(f"{WRITING}{path.name}-{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all, text as UTF-8; folders above it are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced_when_complete(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def csv_text(lines: Iterable[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """Lines as CSV below a header of `columns`; by default of all that come, in their order."""
    lines = list(lines)
    names = columns or list(dict.fromkeys(name for line in lines for name in line))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return buffer.getvalue()
