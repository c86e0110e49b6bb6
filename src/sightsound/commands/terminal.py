"""What a command says to its user, and how errors are told."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """Write `text` to standard output at once."""
    sys.stdout.write(text.rstrip("\n") + "\n")
    sys.stdout.flush()


def complain(program: str, sentence: str) -> None:
    """Write `sentence` to standard error, after the name of the command."""
    sys.stderr.write(f"{program}: {sentence}\n")


def names_a_file(error: BaseException) -> bool:
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
