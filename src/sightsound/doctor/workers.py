"""The same question about many files, asked in decode processes that may crash or hang."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from sightsound.media.decode import DecodeError
from sightsound.media.decode_process import DecodeProcess, WorkerCrashed

Progress = Callable[[str, int, int], None]  # what is done, number done, number in all
AHEAD = 100  # questions per process that wait: one slow file does not stop the others


@dataclass(frozen=True)
class Failure:
    """What stands in the place of an answer that was not given."""

    cause: str


class Workers:
    """`num_workers` decode processes, each asked by a thread; 0 works in this process.

    A context manager: leaving it, by Ctrl-C too, ends the processes at once.
    """

    def __init__(self, num_workers: int, *, seconds: float) -> None:
        self._seconds = seconds  # that a question may take; then its process is ended
        self._ahead = AHEAD * num_workers
        self._children: list[DecodeProcess] = []
        self._mine = threading.local()
        self._threads = ThreadPoolExecutor(num_workers) if num_workers else None

    def map(self, function: Callable, questions: Iterable[dict[str, Any]]) -> Iterator[Any]:
        """`function(**question)` or a `Failure` for each question, in order."""
        if self._threads is None:
            yield from (self._ask(function, question) for question in questions)
            return
        waiting: deque[Future] = deque()
        for question in questions:
            waiting.append(self._threads.submit(self._ask, function, question))
            if len(waiting) >= self._ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _ask(self, function: Callable, question: dict[str, Any]) -> Any:
        try:
            if self._threads is None:
                return function(**question)
            return self._child().call(function, seconds=self._seconds, **question)
        except WorkerCrashed as error:
            return Failure(f"the decoder {error}")
        except DecodeError as error:
            return Failure(error.cause)

    def _child(self) -> DecodeProcess:
        """The process of the calling thread."""
        if not hasattr(self._mine, "child"):
            self._mine.child = DecodeProcess()
            self._children.append(self._mine.child)
        return self._mine.child

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
        for child in self._children:
            child.close()
