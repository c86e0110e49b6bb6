"""Many requests decoded in parallel; answers come in the order asked, and a few wait at most.

`DecodePool` runs them in decode processes, so that a file that crashes or hangs the decoder fails
its own request only.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from sightsound.media.decode import DecodeError
from sightsound.media.decode_process import DecodeProcess, WorkerCrashed

Argument = TypeVar("Argument")
Result = TypeVar("Result")
Progress = Callable[[str, int, int], None]  # what is done, number done, number in all


def in_order(
    submit: Callable[[Argument], Future[Result]], arguments: Iterable[Argument], *, ahead: int
) -> Iterator[Result]:
    """The result for each argument, in order; at most `ahead` of them are submitted and wait.

    Leaving early, or an error, cancels those that have not begun.
    """
    waiting: deque[Future[Result]] = deque()
    try:
        for argument in arguments:
            waiting.append(submit(argument))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


@dataclass(frozen=True)
class Failure:
    """Stands in the place of an answer that was not given."""

    cause: str


class DecodePool:
    """Decode processes, each used by a thread of its own.

    A context manager: leaving it, by Ctrl-C too, ends the processes at once.

    Args:
        num_workers: how many; 0 works in the calling thread.
        seconds: that a request may take, then its process is ended; 0: any time, and the threads
            do the work themselves.
        ahead: requests per process that are under way or wait.
    """

    def __init__(self, num_workers: int, *, seconds: float, ahead: int = 100) -> None:
        self._seconds = seconds
        self._ahead = ahead * num_workers
        self._processes: list[DecodeProcess] = []
        self._of_thread = threading.local()
        self._threads = ThreadPoolExecutor(num_workers) if num_workers else None

    def map(self, function: Callable, requests: Iterable[dict[str, Any]]) -> Iterator[Any]:
        """`function(**request)` or a `Failure` for each request, in order."""
        if self._threads is None:
            return (self._answer(function, request) for request in requests)
        threads = self._threads
        return in_order(
            lambda request: threads.submit(self._answer, function, request),
            requests,
            ahead=self._ahead,
        )

    def _answer(self, function: Callable, request: dict[str, Any]) -> Any:
        try:
            if self._threads is None or not self._seconds:
                return function(**request)
            if not hasattr(self._of_thread, "process"):
                self._of_thread.process = DecodeProcess()
                self._processes.append(self._of_thread.process)
            return self._of_thread.process.call(function, seconds=self._seconds, **request)
        except WorkerCrashed as error:
            return Failure(f"the decoder {error}")
        except DecodeError as error:
            return Failure(error.cause)

    def __enter__(self) -> DecodePool:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.close()
