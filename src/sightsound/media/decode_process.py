"""Decodes in a subprocess; a crash or hang fails one request, not the run.

`DecodeProcess` runs functions in such a subprocess, `DecodeProcessReader` a `Reader`. Requests and
answers are pickles over a pair of sockets, arrays beside them as they lie in memory. The subprocess
never gets Ctrl-C, and ends when the socket closes: with the process that started it, however that
ends.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import traceback
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sightsound.media.decode import DecodeError
from sightsound.media.frames import Frames
from sightsound.media.geometry import Crop
from sightsound.media.reader import Reader
from sightsound.media.sound import Samples

LIMIT_SECONDS = 60.0
_START_LIMIT_SECONDS = 120.0  # to import numpy and av: far more than the slowest disk takes
# Then another one takes over, in .15 s: decoders leak, and what they free is too scattered to be
# given back (without this the process grows by a quarter in 20,000 odd files).
_MAX_CALLS = 2000
_CODE = f"import sys; sys.path[:] = sys.argv[1:]; from {__name__} import _serve; _serve()"
_ENVIRONMENT = {
    # numpy's matrix library starts a thread for each core otherwise.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    # glibc learns from large frames to keep what is freed: 230 MB after 10,000 files, not 90.
    "MALLOC_MMAP_THRESHOLD_": str(1 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(8 << 20),
}


class WorkerCrashed(RuntimeError):
    """The subprocess crashed, or was ended because it took too long."""


class DecodeProcess:
    """Runs functions in one subprocess, started when first needed and again after a crash.

    Threads that share a `DecodeProcess` wait for one another: give each its own. A pickled or
    forked copy starts a process of its own.
    """

    def __init__(self) -> None:
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._end: weakref.finalize | None = None  # nothing is started yet

    def __reduce__(self) -> tuple:
        return DecodeProcess, ()

    def call(
        self, function: Callable, *args: Any, seconds: float = LIMIT_SECONDS, **kwargs: Any
    ) -> Any:
        """What `function(*args, **kwargs)` gives or raises there.

        The function is found by its name in its module, which is imported there and should import
        neither torch nor anything else that is slow or large. What it prints is not seen.

        Raises:
            WorkerCrashed: it crashed, or took longer than `seconds`; the next call starts another.
            RuntimeError: no process could be started.
        """
        parts = _packed((function, args, kwargs))
        if self._owner != os.getpid():  # a forked copy: process and lock belong to the original
            self.close()
            self._owner, self._lock = os.getpid(), threading.Lock()
        with self._lock:
            is_new = self._end is None or self._num_calls >= _MAX_CALLS
            if is_new or self._process.poll() is not None:  # it may have been killed meanwhile
                self._start()
            self._num_calls += 1
            succeeded, result = self._exchange(parts, seconds=seconds)
        if not succeeded:
            raise result
        return result

    def close(self) -> None:
        """End the process, if there is one. The next call starts another."""
        if self._end is not None:
            self._end()
            self._end = None

    def _exchange(self, parts: list, *, seconds: float) -> Any:
        """The answer to a request; whatever goes wrong ends the process."""
        try:
            self._socket.settimeout(seconds)
            _send(self._socket, parts)
            return _unpacked(_receive(self._socket))
        except BaseException as error:
            self.close()  # also after Ctrl-C: an answer may be under way
            if isinstance(error, TimeoutError):
                raise WorkerCrashed(f"took longer than {seconds:g} s") from None
            if isinstance(error, EOFError | ConnectionError):
                raise WorkerCrashed(_ending(self._process.returncode)) from None
            raise

    def _start(self) -> None:
        self.close()
        self._num_calls = 0
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _CODE, *map(str, sys.path)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env={**os.environ, **_ENVIRONMENT},
                process_group=0,  # the terminal sends Ctrl-C to the group in the foreground
            )
        self._end = weakref.finalize(self, _end, self._process, self._socket, os.getpid())
        try:
            self._exchange(_packed((os.getpid, (), {})), seconds=_START_LIMIT_SECONDS)
        except WorkerCrashed as error:
            raise RuntimeError(
                f"the decoding process {error} before its first file; what it wrote to the "
                "terminal says why (--data.time_limit_seconds 0 does without it)"
            ) from None


def _end(process: subprocess.Popen, connection: socket.socket, owner: int) -> None:
    """Kills and reaps a process; a forked copy of its owner only lets go of it."""
    connection.close()
    if os.getpid() != owner:
        process.returncode = 0  # not ours to wait for
        return
    process.kill()
    process.wait()


def _ending(status: int) -> str:
    """How a process ended, in words."""
    if status >= 0:
        return f"ended with status {status}"
    name = signal.Signals(-status).name
    guess = ", perhaps for lack of memory" if name == "SIGKILL" else ""
    return f"crashed (signal {-status}, {name}{guess})"


# --- messages -----------------------------------------------------------------------------------


def _packed(value: object) -> list:
    """The parts of a message: a pickle, then the arrays in it, as they lie in memory."""
    buffers: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    return [pickled, *(buffer.raw() for buffer in buffers)]


def _send(connection: socket.socket, parts: list) -> None:
    """How many parts, how many bytes each, then the parts."""
    connection.sendall(struct.pack(f"={len(parts) + 1}Q", len(parts), *map(len, parts)))
    for part in parts:
        connection.sendall(part)


def _receive(connection: socket.socket) -> list[bytearray]:
    """The parts of the next message; `EOFError` where there is none."""
    (num_parts,) = struct.unpack("=Q", _read(connection, 8))
    lengths = struct.unpack(f"={num_parts}Q", _read(connection, 8 * num_parts))
    return [_read(connection, length) for length in lengths]


def _unpacked(parts: list[bytearray]) -> Any:
    return pickle.loads(parts[0], buffers=parts[1:])


def _read(connection: socket.socket, length: int) -> bytearray:
    data = bytearray(length)
    rest = memoryview(data)
    while rest:
        count = connection.recv_into(rest)
        if not count:
            raise EOFError
        rest = rest[count:]
    return data


# --- in the process -----------------------------------------------------------------------------


def _serve() -> None:
    """Answers requests that come through standard input until it is closed."""
    connection = socket.socket(fileno=os.dup(0))
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)  # whatever reads standard input does not read requests
    threading.Thread(target=_end_with, args=(connection,), daemon=True).start()
    try:
        while True:
            _send(connection, _answer(connection))
    except (EOFError, ConnectionError):
        return


def _end_with(connection: socket.socket) -> None:
    """Ends this process when the other end is closed, also in the middle of a file."""
    poll = select.poll()
    poll.register(connection, 0)  # a hang-up is always reported
    poll.poll()
    os._exit(1)


def _answer(connection: socket.socket) -> list:
    """The message that answers the next request: what it gives, or the error it raises."""
    parts = _receive(connection)
    try:
        function, args, kwargs = _unpacked(parts)
        return _packed((True, function(*args, **kwargs)))
    except Exception as error:
        if not isinstance(error, DecodeError):
            error.add_note(f"In the decoding process:\n{traceback.format_exc()}")
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # its text travels instead
            error = RuntimeError(traceback.format_exc())
        return _packed((False, error))


# --- a reader -----------------------------------------------------------------------------------


@dataclass
class DecodeProcessReader:
    """Runs `reader` in a subprocess; each copy has a subprocess of its own.

    A request that crashes it, or takes longer than `seconds`, is a `DecodeError`, and so is from
    then on every request about the same file, at once.
    """

    reader: Reader
    seconds: float = LIMIT_SECONDS
    _process: DecodeProcess = field(default_factory=DecodeProcess, repr=False, compare=False)
    _crashed: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    def duration(self, path: str | Path) -> float:
        """See `Reader`."""
        return self._call("duration", path, start_seconds=0.0)

    def frames(
        self,
        path: str | Path,
        times_seconds: np.ndarray,
        size: tuple[int, int],
        *,
        crop: Crop | None = None,
    ) -> Frames | None:
        """See `Reader`."""
        start = float(np.min(times_seconds))
        return self._call("frames", path, times_seconds, size, start_seconds=start, crop=crop)

    def sound(
        self, path: str | Path, start_seconds: float, stop_seconds: float, rate: int
    ) -> Samples | None:
        """See `Reader`."""
        asked = start_seconds, stop_seconds, rate
        return self._call("sound", path, *asked, start_seconds=start_seconds)

    def close(self) -> None:
        """End the subprocess. The next request starts another."""
        self._process.close()

    def _call(
        self, name: str, path: str | Path, *args: Any, start_seconds: float, **kwargs: Any
    ) -> Any:
        """What the method `name` of the reader gives for a file."""
        cause = self._crashed.get(str(path))
        if cause is None:
            method = getattr(self.reader, name)
            try:
                return self._process.call(method, path, *args, seconds=self.seconds, **kwargs)
            except WorkerCrashed as error:
                cause = self._crashed[str(path)] = f"the decoder {error}"
        raise DecodeError(path, start_seconds, cause)
