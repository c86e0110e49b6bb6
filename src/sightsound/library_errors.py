"""What libraries say of a file they cannot read or write, in one sentence that names the file."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

# Libraries that read what users bring: what they raise is about a file, not about our code.
_READERS = frozenset(
    "av binascii bz2 csv _csv gzip h5py httpx huggingface_hub json lzma _lzma msgpack pickle "
    "_pickle PIL pyarrow requests safetensors soxr struct tarfile torchcodec urllib3 yaml zipfile "
    "zlib".split()
)
_OS_ERROR = re.compile(r"\(os error (\d+)\)")  # how libraries written in Rust end such a message


def is_of_a_reader(error: BaseException) -> bool:
    """Whether a library that reads files raised `error`, or the decoding of text."""
    modules = {kind.__module__.split(".")[0] for kind in type(error).__mro__}
    return isinstance(error, UnicodeError) or bool(modules & _READERS)


def in_words(error: BaseException) -> str:
    """The library and what it says, on one line."""
    library = type(error).__module__.split(".")[0].lstrip("_")
    text = " ".join(str(error).split()) or type(error).__name__
    return text if library == "builtins" else f"{library}: {text}"


@contextlib.contextmanager
def reading(path: Path, *, remedy: str) -> Iterator[None]:
    """Whatever a library finds wrong with the content of `path` becomes a `ValueError`.

    `remedy` is what to do then, too where the library misses the file in words of its own; other
    files that are not there, or may not be read, raise as ever.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno is None and not path.is_file():
            raise ValueError(f"{str(path)!r} is missing; {remedy}") from error  # a library's own
        if not is_of_a_reader(error):
            raise
        raise ValueError(f"{str(path)!r} is damaged ({in_words(error)}); {remedy}") from error


def read_object(path: Path, *, remedy: str, needs: Collection[str] = ()) -> dict[str, Any]:
    """The object in a JSON file, with the entries that it `needs`; `ValueError` with `remedy`."""
    with reading(path, remedy=remedy):
        content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or not content.keys() >= {*needs}:
        wanted = f"an object with {', '.join(needs)}" if needs else "an object"
        raise ValueError(f"{str(path)!r} is damaged (it is not {wanted}); {remedy}")
    return content


def save_tensors(
    tensors: Mapping[str, Tensor], path: Path, *, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file; an `OSError` that names it where that cannot be."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(dict(tensors), path, metadata=None if metadata is None else dict(metadata))
    except SafetensorError as error:
        match = _OS_ERROR.search(str(error))
        if match is None:
            raise
        number = int(match[1])
        raise OSError(number, os.strerror(number), str(path)) from error


def load_tensors(path: Path, *, remedy: str) -> dict[str, Tensor]:
    """{name: tensor} of a safetensors file; `ValueError` with `remedy` if it is damaged."""
    from safetensors.torch import load_file

    with reading(path, remedy=remedy):
        return load_file(path)
