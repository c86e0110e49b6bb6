"""Batches from a dataset: collated here or in worker processes, always in the order asked for.

A batch is a pure function of its keys (epoch, index, view), so a run resumes by asking for the
batches that are left. Workers are spawned (fork and FFmpeg's threads can dead-lock), decode with
one thread, ignore Ctrl-C (the main process stops them) and end by themselves if the main process
dies. They send arrays through pipes: `/dev/shm` is small in many containers. What a worker
raises arrives as it was raised: a `DecodeError` stays one.
"""

from __future__ import annotations

import copyreg
import io
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.synchronize import Event

import torch
from torch import Tensor

from sightsound.data.dataset import ClipSource
from sightsound.data.sampling import Key
from sightsound.media.decode_pool import in_order
from sightsound.types import AUDIO, VIDEO, Batch, Clip, Problem

AHEAD = 2  # batches in flight per worker
CACHE_CLIPS = 8  # clips per task while the cache fills


def is_dropped(clip: Clip) -> bool:
    """True for the empty clip that stands for a file left out by policy."""
    return any(problem.action == "dropped" for problem in clip.problems)


def collate(
    clips: Sequence[Clip], *, shapes: Mapping[str, tuple[int, ...]] | None = None
) -> Batch | None:
    """The clips as one batch; `None` if all of them were dropped.

    `shapes` {modality: shape of one stream} says which streams the batch has, also where no clip
    has them; without it, those that some clip has. An absent stream is zero, not present and not
    valid. Dropped clips leave only their problems.

    Raises:
        ValueError: streams of different shapes, naming the clip.
    """
    kept = [clip for clip in clips if not is_dropped(clip)]
    if not kept:
        return None
    if shapes is None:
        streams = [(VIDEO, clip.video) for clip in kept] + [(AUDIO, clip.audio) for clip in kept]
        shapes = {name: tuple(stream.shape) for name, stream in streams if stream is not None}
    stacks = {name: _stacked(kept, name, shape=shape) for name, shape in shapes.items()}
    values, present, valid = ({n: stack[i] for n, stack in stacks.items()} for i in range(3))
    return Batch(
        video=values.get(VIDEO),
        audio=values.get(AUDIO),
        present=present,
        valid=valid,
        target=torch.stack([clip.target for clip in kept]),
        id=[clip.id for clip in kept],
        view=torch.tensor([clip.view for clip in kept]),
        complete=all(bool(mask.all()) for mask in (*present.values(), *valid.values())),
        problems=tuple(problem for clip in clips for problem in clip.problems),
        encoded=kept[0].encoded,
        source=[clip.source or clip.id for clip in kept],
    )


def _stacked(
    clips: Sequence[Clip], modality: str, *, shape: tuple[int, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """Values (B, *shape), present (B,) and valid (B, T or F); 0 and false without the stream."""
    encoded = clips[0].encoded
    dtype = torch.uint8 if modality == VIDEO and not encoded else torch.float32
    values = torch.empty((len(clips), *shape), dtype=dtype)
    present = torch.zeros(len(clips), dtype=torch.bool)
    num_frames = shape[1 if modality == AUDIO and not encoded else 0]
    valid = torch.zeros((len(clips), num_frames), dtype=torch.bool)
    for index, clip in enumerate(clips):
        stream, frames = clip.video, clip.video_valid
        if modality == AUDIO:
            stream, frames = clip.audio, clip.audio_valid
        if stream is None or frames is None:
            values[index] = 0
            continue
        if tuple(stream.shape) != tuple(shape):
            raise ValueError(
                f"{modality} of clip {clip.id!r} has shape {tuple(stream.shape)}, the batch "
                f"{tuple(shape)}; clips of one batch come from one front end"
            )
        values[index], present[index], valid[index] = stream, True, frames
    return values, present, valid


class Loader:
    """Batches of one dataset, decoded ahead by `num_workers` processes that live until `close`.

    With `cache` every clip of the dataset is decoded once, when the first batch is asked for;
    then the workers end and batches are collated from memory.

    `problems` lists, without repetition, what was dropped, masked or partly decoded so far, also
    where a whole batch was dropped.
    """

    def __init__(self, dataset: ClipSource, *, num_workers: int = 0, cache: bool = False) -> None:
        if cache and not dataset.deterministic:
            raise ValueError(
                "data.cache keeps decoded clips, but windows or crops are random here: "
                f"data.windows is {dataset.settings.windows!r}, data.crop is "
                f"{dataset.settings.crop!r}; set data.windows centre and data.crop centre or full"
            )
        if num_workers < 0:
            raise ValueError(f"data.num_workers is {num_workers}; accepted: 0 or more")
        self.dataset = dataset
        self.num_workers = num_workers
        self.cache: dict[tuple[int, int], Clip] | None = {} if cache else None
        self._seen: dict[Problem, None] = {}
        self._pool: _Pool | None = None

    @property
    def problems(self) -> list[Problem]:
        """What went wrong so far, each once, in the order met."""
        return list(self._seen)

    def iterate(self, batches: Iterable[Sequence[Key]]) -> Iterator[Batch | None]:
        """One batch for each list of keys, in order; `None` where every clip was dropped.

        `batches` may be endless; it is read a few batches ahead. Any error closes the workers.

        Raises:
            DecodeError: a clip that cannot be decoded, if `bad_files` is "error".
            RuntimeError: a worker process died.
        """
        results: Iterable[tuple[Batch | None, tuple[Problem, ...]]]
        if self.cache is None:
            results = self._run(_fetch_batch, batches)
        else:
            self._fill_cache(self.cache)
            # Repeats of a training clip are one and the same; only augmentation parts them.
            train, cache = self.dataset.train, self.cache
            clips = ([cache[i, 0 if train else view] for _, i, view in keys] for keys in batches)
            results = (_collated(each, self.dataset) for each in clips)
        finished = False
        try:
            for batch, problems in results:
                self._seen.update(dict.fromkeys(problems))
                yield batch
            finished = True
        finally:
            if not finished:
                self.close()

    def close(self) -> None:
        """End the workers and decoding processes. The loader can be used again."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None
        self.dataset.reader.close()

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _run(self, task: Callable, arguments: Iterable) -> Iterator:
        """`task(dataset, argument)` for each argument, in order."""
        if self.num_workers == 0:
            return (task(self.dataset, argument) for argument in arguments)
        if self._pool is None:
            self._pool = _Pool(self.dataset, num_workers=self.num_workers)
        return self._pool.map(task, arguments)

    def _fill_cache(self, cache: dict[tuple[int, int], Clip]) -> None:
        views = range(self.dataset.views)
        keys = [(0, index, view) for index in range(len(self.dataset)) for view in views]
        keys = [key for key in keys if key[1:] not in cache]
        if not keys:
            return
        tasks = [keys[start : start + CACHE_CLIPS] for start in range(0, len(keys), CACHE_CLIPS)]
        try:
            for task, clips in zip(tasks, self._run(_fetch_clips, tasks), strict=True):
                cache.update({key[1:]: clip for key, clip in zip(task, clips, strict=True)})
        finally:
            self.close()


def _collated(
    clips: Sequence[Clip], dataset: ClipSource
) -> tuple[Batch | None, tuple[Problem, ...]]:
    problems = tuple(problem for clip in clips for problem in clip.problems)
    return collate(clips, shapes=dataset.shapes), problems


def _fetch_batch(
    dataset: ClipSource, keys: Sequence[Key]
) -> tuple[Batch | None, tuple[Problem, ...]]:
    return _collated(_fetch_clips(dataset, keys), dataset)


def _fetch_clips(dataset: ClipSource, keys: Sequence[Key]) -> list[Clip]:
    clips = []
    for key in keys:
        if _State.stop is not None and _State.stop.is_set():
            raise _Stopped
        clips.append(dataset[key])
    return clips


# --- worker processes ---------------------------------------------------------------------------


class _Pool:
    """Spawned processes that hold the dataset; results come in order."""

    def __init__(self, dataset: ClipSource, *, num_workers: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._stop = context.Event()
        self._ahead = AHEAD * num_workers
        self._executor = ProcessPoolExecutor(
            num_workers, mp_context=context, initializer=_start, initargs=(dataset, self._stop)
        )

    def map(self, task: Callable, arguments: Iterable) -> Iterator:
        """`task(dataset, argument)` for each argument; at most `ahead` of them wait."""

        def submit(argument: object) -> Future[bytes]:
            with _sigint_blocked():  # inherited by the processes that this starts
                return self._executor.submit(_call, task, argument)

        try:
            for packed in in_order(submit, arguments, ahead=self._ahead):
                yield pickle.loads(packed)
        except BrokenProcessPool as error:
            raise RuntimeError(
                "a decoding process ended unexpectedly: out of memory (fewer data.num_workers "
                "need less), a crash in a damaged file (data.num_workers 0 shows which), or a "
                "script that starts work outside `if __name__ == '__main__':`"
            ) from error

    def close(self) -> None:
        """Workers stop after the clip in hand; waits for them."""
        self._stop.set()
        self._executor.shutdown(wait=True, cancel_futures=True)


class _State:
    """What a worker process holds."""

    dataset: ClipSource | None = None
    stop: Event | None = None


class _Stopped(Exception):
    """The main process no longer wants the result."""


def _start(dataset: ClipSource, stop: Event) -> None:
    """Set a worker up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    _State.dataset, _State.stop = dataset, stop

    def end_with_parent() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _call(task: Callable, argument: object) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=5).dump(task(_State.dataset, argument))
    return buffer.getvalue()


@contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Ctrl-C waits; processes started meanwhile never see it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows: `_start` ignores it a little later
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Pickler(pickle.Pickler):
    """Tensors as arrays: those travel through the pipe, torch's own way is shared memory."""

    dispatch_table = copyreg.dispatch_table | {Tensor: lambda t: (torch.from_numpy, (t.numpy(),))}
