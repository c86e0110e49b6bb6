"""The command line: a table from command to function, and errors told in one sentence.

Each command is a file in `commands/`, named after it. Heavy packages are imported inside the
function, after its options are known to be right, so that help and mistakes answer at once.
"""

from __future__ import annotations

import errno
import linecache
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from sightsound.commands.ablate import ablate
from sightsound.commands.compare import compare
from sightsound.commands.convert import convert
from sightsound.commands.demo import demo
from sightsound.commands.doctor import doctor
from sightsound.commands.evaluate import evaluate
from sightsound.commands.explain import explain
from sightsound.commands.extract import extract
from sightsound.commands.flops import flops
from sightsound.commands.index import index
from sightsound.commands.manifest import manifest
from sightsound.commands.predict import predict
from sightsound.commands.prepare import prepare
from sightsound.commands.pretrain import pretrain
from sightsound.commands.preview import preview
from sightsound.commands.probe import probe
from sightsound.commands.report import report
from sightsound.commands.search import search
from sightsound.commands.stats import stats
from sightsound.commands.subset import subset
from sightsound.commands.terminal import complain, message, names_a_file, notes_told, say
from sightsound.commands.train import train
from sightsound.commands.vggsounder import vggsounder
from sightsound.library_errors import in_words, is_of_a_reader

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # no more can be written here
PACKAGE = str(Path(__file__).parent)


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "demo": demo,
    "train": train,
    "evaluate": evaluate,
    "compare": compare,
    "ablate": ablate,
    "predict": predict,
    "explain": explain,
    "probe": probe,
    "report": report,
    "manifest": manifest,
    "doctor": doctor,
    "preview": preview,
    "prepare": prepare,
    "stats": stats,
    "subset": subset,
    "extract": extract,
    "pretrain": pretrain,
    "index": index,
    "search": search,
    "convert": convert,
    "flops": flops,
    "vggsounder": vggsounder,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code: 0, 2 after a mistake, 130 after Ctrl-C."""
    argv = list(sys.argv[1:] if argv is None else argv)
    name = argv[0] if argv else "--help"
    try:
        with notes_told(_program(name)):
            _run(name, argv[1:])
    except SystemExit as error:  # a command's --help
        return int(error.code or 0)
    except KeyboardInterrupt as error:
        complain(_program(name), "interrupted" + (str(error) or _GO_ON.get(name, "")))
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        if not _is_mistake(error):
            raise
        complain(_program(name), _sentence(name, error))
        return 2
    return 0


def _run(name: str, argv: list[str]) -> None:
    if name in ("-h", "--help"):
        say(_overview())
    elif name == "--version":
        say(_version())
    elif name in COMMANDS:
        COMMANDS[name](argv)
    else:
        from sightsound.registry import unknown_name

        raise unknown_name("command", name, COMMANDS)


_RESUME = "; the same command with --resume goes on from the last checkpoint, if there is one"
_GO_ON = {
    "train": _RESUME,
    "pretrain": _RESUME,
    "ablate": "; the same command goes on where it stopped",
    "prepare": "; the same command goes on where it stopped",
}


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {f.__doc__}" for name, f in COMMANDS.items()]
    return "\n".join(
        ["usage: sightsound COMMAND [options]", "", "Audio-visual video classification.", ""]
        + lines
        + ["", "Start with 'sightsound demo'; 'sightsound COMMAND --help' explains a command."]
    )


def _version() -> str:
    from importlib.metadata import version

    return f"sightsound {version('sightsound')}"


def _is_mistake(error: BaseException) -> bool:
    """Whether the caller can act on it: our own kind, raised by a `raise` of this package, a full
    disk, or what a library says of a file.

    Everything else is a defect here or below and keeps its traceback.
    """
    if type(error).__module__.startswith("sightsound") or names_a_file(error):
        return True
    if is_of_a_reader(error) or _is_full(error):
        return True
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or not trace.tb_frame.f_code.co_filename.startswith(PACKAGE):
        return False
    line = linecache.getline(trace.tb_frame.f_code.co_filename, trace.tb_lineno)
    return line.lstrip().startswith("raise")


def _is_full(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in _FULL


def _sentence(name: str, error: Exception) -> str:
    """What went wrong, and what to do where that is not said."""
    if _is_full(error):
        return f"{message(error)}; free some space{_GO_ON.get(name, ' and run it again')}"
    if is_of_a_reader(error):
        return f"a file cannot be read ({in_words(error)}); where: {_written_down(error)}"
    return message(error)


def _written_down(error: Exception) -> str:
    """The file with the traceback, for those who look for the cause."""
    with tempfile.NamedTemporaryFile(
        "w", prefix="sightsound-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        file.writelines(traceback.format_exception(error))
    return file.name


def _program(name: str) -> str:
    return f"sightsound {name}" if name in COMMANDS else "sightsound"
