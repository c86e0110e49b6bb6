"""Atomic writing of files and folders, locks on folders, and CSV."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import io
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

WRITING = ".writing-"  # how names of unfinished files begin


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """The name for a new file beside `path`, which is flushed and replaces it if all goes well."""
    temporary = _temporary(path)
    try:
        yield temporary
        _flush(temporary)
        temporary.replace(path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(temporary)):
            raise  # of another file
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """`atomic_path`, open for writing."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        yield file


@contextlib.contextmanager
def atomic_directory(path: Path, *, last: str) -> Iterator[Path]:
    """A new folder beside `path`, which is flushed and becomes `path` if all goes well.

    Where `path` holds files, the new ones are moved in one by one, the one called `last` after all
    others; what else is there stays.
    """
    temporary = _temporary(path)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        files = sorted(temporary.iterdir(), key=lambda file: file.name == last)
        for file in files:
            _flush(file)
        if path.is_dir() and any(path.iterdir()):
            for file in files:
                file.replace(path / file.name)
        else:
            temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _temporary(path: Path) -> Path:
    return path.with_name(f"{WRITING}{path.name}-{os.getpid()}")


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all, text as UTF-8; folders above it are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
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


def csv_rows(rows: Iterable[Iterable[Any]]) -> str:
    """Rows of values as CSV, without a header; `None` becomes an empty cell."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


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
