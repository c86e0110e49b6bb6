"""The text of a file: UTF-8, UTF-16, or, of older programs, Windows' code page. Free of torch."""

from __future__ import annotations

import codecs
import logging
import re
from pathlib import Path

_MARKS = {  # Unicode standard, 23.8; UTF-32's begins with that of UTF-16
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# How files begin that people give in place of a list or a table.
_KINDS = {
    b"\x1f\x8b": ("compressed with gzip", "unpack it first (gunzip)"),
    b"PK\x03\x04": ("a ZIP archive or an Excel workbook", "unpack it, or save the sheet as CSV"),
    b"7z\xbc\xaf": ("a 7z archive", "unpack it first"),
    b"BZh": ("compressed with bzip2", "unpack it first"),
    b"\xfd7zXZ": ("compressed with xz", "unpack it first"),
    b"PAR1": ("a Parquet table", "'sightsound manifest huggingface-parquet' reads those of clips"),
    b"ARROW1": ("an Arrow table", "save it as CSV"),
    b"\xd0\xcf\x11\xe0": ("an Excel workbook", "save the sheet as CSV"),
    b"\x89HDF": ("an HDF5 file", "give the lists that it was made from"),
    b"\x93NUMPY": ("a NumPy array", "give the lists that it was made from"),
    b"\x80": ("a pickle of Python, which is not opened", "give the CSV or text file beside it"),
}
_LONGEST_HEAD = 512  # bytes that tell
_BROKEN = "\N{REPLACEMENT CHARACTER}"
_log = logging.getLogger(__name__)


def read_text(path: Path) -> str:
    """The text of `path`: by its byte order mark, else UTF-8, else Windows' code page 1252.

    For the last there is a line with a word of it: nothing in the file says that it is right.

    Raises:
        ValueError: it is not text.
    """
    check_text(path)
    content = path.read_bytes()
    encoding = _marked(content)
    try:
        return content.decode(encoding or _unmarked(content))
    except UnicodeDecodeError as error:
        if encoding or b"\0" in content:
            raise ValueError(f"{str(path)!r} is not text ({error.reason})") from error
    return _of_code_page(content, path)


def stated_encoding(path: Path) -> str:
    """What the first bytes of `path` say: a byte order mark, or zeros as UTF-16 has; else UTF-8."""
    head = _head(path)
    return _marked(head) or _unmarked(head)


def check_text(path: Path) -> None:
    """Refuse what is no text at all, by its first bytes.

    Raises:
        ValueError: naming what it is, and what to give instead.
    """
    head = _head(path)
    for magic, (kind, remedy) in _KINDS.items():
        if head.startswith(magic) and (magic != b"\x80" or head[1:2] in b"\2\3\4\5"):
            raise ValueError(f"{str(path)!r} is {kind}, no list of clips; {remedy}")
    if head[257:262] == b"ustar":
        raise ValueError(
            f"{str(path)!r} is a tar archive, no list of clips; 'sightsound manifest webdataset' "
            "reads tars of clips, lists must be unpacked"
        )


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_LONGEST_HEAD)


def _marked(content: bytes) -> str:
    return next((name for mark, name in _MARKS.items() if content.startswith(mark)), "")


def _unmarked(content: bytes) -> str:
    """UTF-16 without a mark has zeros in every other byte of Latin text."""
    head = content[:200]
    if b"\0" not in head:
        return "utf-8"
    return "utf-16-le" if head[1::2].count(0) > head[::2].count(0) else "utf-16-be"


def _of_code_page(content: bytes, path: Path) -> str:
    lenient = content.decode("utf-8", errors="replace")
    if sum(c > "\x7f" and c != _BROKEN for c in lenient) > lenient.count(_BROKEN):
        line = lenient[: lenient.index(_BROKEN)].count("\n") + 1
        raise ValueError(f"{path}, line {line}: not UTF-8, as the rest of the file is; mend it")
    try:
        text = content.decode("cp1252")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{str(path)!r} is text neither in UTF-8, UTF-16 nor Windows' code page 1252; save it "
            "as 'CSV UTF-8'"
        ) from error
    word = re.search(r"[^\s,;\t]*[^\x00-\x7f][^\s,;\t]*", text)
    _log.warning(
        "%s is not UTF-8; read in Windows' code page 1252 (%r): if names look wrong, save it as "
        "'CSV UTF-8'",
        path,
        word[0] if word else "",
    )
    return text
