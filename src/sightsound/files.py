"""Files that are there whole or not at all, folders with one writer, and tables as CSV."""

from __future__ import annotations

import contextlib
import csv
import fcntl
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


@contextlib.contextmanager
def locked(folder: Path, *, by: str) -> Iterator[None]:
    """Keeps other processes out of `folder`, which exists, until this one ends in whatever way.

    Raises:
        ValueError: another process is in it; `by` is the command that it runs.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"another '{by}' is writing to {str(folder)!r}; wait until it ends, or give "
                "another --output"
            ) from error
        except OSError:
            pass  # network file systems that cannot lock a folder: there, two at once may fail
        yield
    finally:
        os.close(handle)


def csv_text(lines: Iterable[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """Lines as CSV below a header of `columns`; by default of all that come, in their order."""
    if columns is None:
        lines = list(lines)
        columns = list(dict.fromkeys(name for line in lines for name in line))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return buffer.getvalue()
