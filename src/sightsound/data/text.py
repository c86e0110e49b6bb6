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
_BROKEN = "\N{REPLACEMENT CHARACTER}"
_log = logging.getLogger(__name__)


def read_text(path: Path) -> str:
    """The text of `path`: by its byte order mark, else UTF-8, else Windows' code page 1252.

    For the last there is a line with a word of it: nothing in the file says that it is right.

    Raises:
        ValueError: it is not text.
    """
    content = path.read_bytes()
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "")
    try:
        return content.decode(encoding or _unmarked(content))
    except UnicodeDecodeError as error:
        if encoding or b"\0" in content:
            raise ValueError(f"{str(path)!r} is not text ({error.reason})") from error
    return _of_code_page(content, path)


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
