"""What a command says to its user, and how errors are told."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeGuard


def say(text: str) -> None:
    """Write `text` to standard output at once."""
    sys.stdout.write(text.rstrip("\n") + "\n")
    sys.stdout.flush()


def complain(program: str, sentence: str) -> None:
    """Write `sentence` to standard error, after the name of the command."""
    sys.stderr.write(f"{program}: {sentence}\n")


@contextmanager
def notes_told(program: str) -> Iterator[None]:
    """What modules log meanwhile, such as how a table was read, goes to standard error, once."""
    notes, logger = _Notes(program), logging.getLogger("sightsound")
    logger.addHandler(notes)
    try:
        yield
    finally:
        logger.removeHandler(notes)


class _Notes(logging.Handler):
    def __init__(self, program: str) -> None:
        super().__init__()
        self.program, self.told = program, set[str]()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text not in self.told:
            self.told.add(text)
            complain(self.program, text)


def names_a_file(error: BaseException) -> TypeGuard[OSError]:
    """Whether the system says which file an error is about."""
    return isinstance(error, OSError) and error.filename is not None


def message(error: BaseException) -> str:
    """The error's text on one line."""
    if isinstance(error, FileExistsError) and names_a_file(error):  # by mkdir
        return f"{str(error.filename)!r} is no folder; name another one"
    if names_a_file(error):
        return f"{error.strerror}: {error.filename!r}"
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return " ".join(str(text).split())
