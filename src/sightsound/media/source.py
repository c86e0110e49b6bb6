"""Where the bytes of a path are: a file, or a clip inside a tar or a Parquet table, read in place.

A path may go on inside such a file as if it were a folder: `00000.tar/0001.mp4` is a member of a
tar, `train-0.parquet/video/17.mp4` what row 17 holds in the column `video` (Hugging Face's
`{bytes, path}`). Nothing is unpacked: FFmpeg reads the member as a stretch of the tar (its protocol
`subfile`), a cell from memory. Free of av.
"""

from __future__ import annotations

import mmap
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

_TAR, _TABLE = ".tar", ".parquet"
_BESIDE = (".json", ".txt", ".cls")  # what stands beside clips
_MOST_TARS = 256  # whose members are remembered: 1,000 take .2 MB
_MOST_TABLES = 8
_MOST_GROUPS = 2  # groups of rows of a table that are kept,
_KEPT_BYTES = 64 << 20  # if they are not larger: of others all rows before the wanted one are read


class Source(NamedTuple):
    """Bytes [start, stop) of a file, or of a cell of the table that it is."""

    file: str
    version: tuple[int, int]  # of the file: when it was changed, how long it is
    start: int
    stop: int | None  # None: to the end of the cell, whose length is not known before it is read
    cell: tuple[str, int] | None = None  # column and row

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return len(self._buffer()) if self.stop is None else self.stop - self.start

    def part(self, start: int, stop: int) -> Source:
        """Bytes [start, stop) of these."""
        return self._replace(start=self.start + start, stop=self.start + stop)

    def location(self) -> str | Any:
        """What `av.open` takes: a URL, or a file object over what is in memory."""
        if self.cell is not None:
            import pyarrow

            return pyarrow.BufferReader(self._buffer())
        # "file:" keeps FFmpeg from reading a protocol or a pattern into a name.
        whole = (self.start, self.stop) == (0, self.version[1])
        protocol = "" if whole else f"subfile,,start,{self.start},end,{self.stop},,:"
        return f"{protocol}file:{self.file}"

    def head(self, number: int) -> bytes:
        """The first bytes."""
        if self.cell is not None:
            return bytes(memoryview(self._buffer())[:number])
        with open(self.file, "rb") as file:
            file.seek(self.start)
            return file.read(number)[: None if self.stop is None else self.stop - self.start]

    @contextmanager
    def content(self) -> Iterator[memoryview]:
        """The bytes as they lie: of a file only those that are touched are read."""
        if self.cell is not None:
            yield memoryview(self._buffer()).cast("B")  # Arrow's own bytes are signed
            return
        if self.start == self.stop:  # nothing cannot be mapped
            yield memoryview(b"")
            return
        with (
            open(self.file, "rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
            memoryview(data) as view,
            view[self.start : self.stop] as part,
        ):
            yield part

    def _buffer(self) -> Any:
        column, row = self.cell or ("", 0)
        about, group = _table(self.file, self.version).metadata, 0
        while row >= about.row_group(group).num_rows:
            row -= about.row_group(group).num_rows
            group += 1
        position = self.file, self.version, column, group
        is_small = about.row_group(group).total_byte_size <= _KEPT_BYTES
        cell = _group(*position)[row] if is_small else _one(*position, row)
        if not cell.is_valid:
            raise FileNotFoundError(f"row {self.cell} of {self.file!r} has no bytes")
        whole = cell.as_buffer()
        stop = whole.size if self.stop is None else self.stop
        return whole.slice(self.start, stop - self.start)


def find(path: str | Path) -> Source:
    """Where the bytes of `path` are.

    Raises:
        OSError: there is no such file, or nothing of that name in it.
    """
    file, name = os.fspath(path), ""
    if not os.path.isfile(path):
        path = Path(path)
        for above in path.parents:
            if above.suffix.lower() in (_TAR, _TABLE) and above.is_file():
                file, name = str(above), path.relative_to(above).as_posix()
                break
        else:
            raise FileNotFoundError("not a file" if path.exists() else "no such file")
    about = os.stat(file)
    whole = Source(file, (about.st_mtime_ns, about.st_size), 0, about.st_size)
    if not name:
        return whole
    found: Source | None
    if file.lower().endswith(_TAR):
        member = _members(file, whole.version).get(name)
        found = whole.part(*member) if member is not None else None
    else:
        found = _cell(whole, name)
    if found is None:
        raise FileNotFoundError(f"nothing called {name!r} in {file!r}")
    return found


def exists(path: str | Path) -> bool:
    """Whether `path` is a file, or a clip inside one that can be read."""
    try:
        return bool(find(path))
    except OSError:
        return False


# --- tars ---------------------------------------------------------------------------------------


@lru_cache(maxsize=_MOST_TARS)
def _members(archive: str, version: tuple[int, int]) -> dict[str, tuple[int, int]]:
    """{name: bytes [start, stop)} of the files in a tar; of two of one name the last, as in tar."""
    return {
        Path(member.name).as_posix(): (member.offset_data, member.offset_data + member.size)
        for member, _ in tar_members(archive)
        if os.path.splitext(member.name)[1] not in _BESIDE
    }


def tar_members(archive: str | Path) -> Iterator[tuple[tarfile.TarInfo, BinaryIO]]:
    """The regular files in a tar, and for each the tar, to read it from.

    Raises:
        OSError: it is no tar, compressed, or cut off.
    """
    try:
        with tarfile.open(archive, "r:") as tar, open(archive, "rb") as file:
            for member in tar:
                # Its bytes lie in one piece, under a name that stays below the tar.
                parts = Path(member.name).parts
                is_below = ".." not in parts and parts[:1] != ("/",)
                if member.isreg() and not member.sparse and is_below:
                    yield member, file
    except tarfile.TarError as error:
        raise OSError(f"{str(archive)!r} is no tar that can be read in place: {error}") from error


# --- tables -------------------------------------------------------------------------------------


def open_table(archive: str | Path) -> Any:
    """A `pyarrow.parquet.ParquetFile`.

    Raises:
        OSError: it is none.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(archive, buffer_size=1 << 20)
    except pyarrow.ArrowException as error:
        raise OSError(f"{str(archive)!r} is no Parquet table: {error}") from error


@lru_cache(maxsize=_MOST_TABLES)
def _table(archive: str, version: tuple[int, int]) -> Any:
    return open_table(archive)


def _cell(archive: Source, name: str) -> Source | None:
    """The clip that a cell holds, called `column/row.suffix`; `None`: there is no such cell."""
    column, _, number = os.path.splitext(name)[0].partition("/")
    table = _table(archive.file, archive.version)
    known = column in table.schema_arrow.names and number.isascii() and number.isdigit()
    if not known or int(number) >= table.metadata.num_rows:
        return None
    return archive._replace(stop=None, cell=(column, int(number)))


@lru_cache(maxsize=_MOST_GROUPS)
def _group(archive: str, version: tuple[int, int], column: str, group: int) -> Any:
    """The bytes of all rows of a group."""
    import pyarrow.compute

    with _no_clips(archive, column):
        table = _table(archive, version)
        found = table.read_row_group(group, columns=[f"{column}.bytes"], use_threads=False)
        return pyarrow.compute.struct_field(found[column], "bytes")


@lru_cache(maxsize=4)  # a clip is looked at more than once
def _one(archive: str, version: tuple[int, int], column: str, group: int, row: int) -> Any:
    """The bytes of a row of a group that is too large to be kept: those before it are let go."""
    import pyarrow.compute

    with _no_clips(archive, column):
        rows = _table(archive, version).iter_batches(
            1, row_groups=[group], columns=[f"{column}.bytes"], use_threads=False
        )
        batch = next(islice(rows, row, None))
        return pyarrow.compute.struct_field(batch[column], "bytes")[0]


@contextmanager
def _no_clips(archive: str, column: str) -> Iterator[None]:
    """Where a column cannot be read as clips, an `OSError` that says so."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, KeyError) as error:
        raise OSError(f"column {column!r} of {archive!r} holds no clips: {error}") from error
