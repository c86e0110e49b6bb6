"""A process that decodes and may be lost: what comes back, and what is left when it does not."""

import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import odd_readers
import pytest
from media_files import grey, tone

from sightsound.media import decode_process as child_module
from sightsound.media.decode import DecodeError
from sightsound.media.decode_process import DecodeProcess, DecodeProcessReader, WorkerCrashed
from sightsound.media.encode import write_video
from sightsound.media.geometry import random_box
from sightsound.media.reader import FileReader

needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="reads /proc")


@pytest.fixture(scope="module")
def shared():
    """A child for tests that leave it as it was."""
    child = DecodeProcess()
    yield child
    child.close()


@pytest.fixture
def child():
    child = DecodeProcess()
    yield child
    child.close()


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    frames = np.stack([grey(level) for level in (20, 60, 100, 140)])
    write_video(path, frames, frames_per_second=4, waveform=tone(1.0))
    return path


def gone(pid: int, *, seconds: float = 5.0) -> bool:
    """True once there is no such process, or nobody has asked yet how it ended."""
    deadline = time.monotonic() + seconds
    while is_running(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# --- answers ------------------------------------------------------------------------------------


def test_results_come_back_with_their_arrays(shared):
    assert shared.call(int, "12", base=3) == 5
    assert shared.call(os.getpid) not in (os.getpid(), None)
    found = shared.call(np.roll, np.arange(1_000_000), 1)
    np.testing.assert_array_equal(found, np.roll(np.arange(1_000_000), 1))
    found[:] = 0  # memory of our own, writable
    assert shared.call(np.zeros, 0).shape == (0,)


def test_errors_come_back_as_they_were_and_say_where_they_are_from(shared):
    with pytest.raises(ValueError, match="invalid literal for int") as caught:
        shared.call(int, "x")
    assert "In the decoding process:\nTraceback" in caught.value.__notes__[0]
    with pytest.raises(DecodeError, match="cannot decode '/x.mp4' from 2.000 s: broken") as caught:
        shared.call(_raise, DecodeError("/x.mp4", 2.0, "broken"))
    assert (caught.value.path, caught.value.cause) == ("/x.mp4", "broken")
    assert not hasattr(caught.value, "__notes__")


def _raise(error):
    raise error


def test_what_cannot_travel_is_an_error_and_no_loss(shared):
    pid = shared.call(os.getpid)
    with pytest.raises(RuntimeError, match="odd_readers.Unpicklable: it broke"):
        shared.call(odd_readers.raise_unpicklable)
    with pytest.raises(TypeError, match="cannot pickle"):
        shared.call(threading.Lock)
    with pytest.raises((AttributeError, pickle.PicklingError), match="lambda"):
        shared.call(lambda: 1)
    assert shared.call(os.getpid) == pid


def test_what_is_printed_does_not_disturb(shared, capfd):
    assert shared.call(odd_readers.write_to_standard_output) == b""
    shared.call(print, "not an answer")
    assert shared.call(int, "7") == 7
    assert capfd.readouterr() == ("", "")


@needs_proc
def test_it_is_small(child, clip, monkeypatch):
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "2")
    reader = DecodeProcessReader(FileReader(), _process=child)
    reader.frames(clip, np.array([0.0]), (8, 8))
    reader.sound(clip, 0.0, 1.0, 8000)
    heavy = {"torch", "pyarrow", "matplotlib", "rich", "PIL", "multiprocessing", "pytest"}
    assert not heavy & set(child.call(odd_readers.modules))
    assert child.call(odd_readers.threads) == 2  # one waits for the other end to close


# --- losses -------------------------------------------------------------------------------------


def test_a_crash_is_named_and_the_next_call_starts_anew(child):
    first = child.call(os.getpid)
    with pytest.raises(WorkerCrashed, match=r"^crashed \(signal 11, SIGSEGV\)$"):
        child.call(odd_readers.OddReader().frames, "crash.mp4")
    assert gone(first)
    second = child.call(os.getpid)
    with pytest.raises(
        WorkerCrashed, match=r"crashed \(signal 9, SIGKILL, perhaps for lack of memory"
    ):
        child.call(os.kill, second, signal.SIGKILL)
    with pytest.raises(WorkerCrashed, match="^ended with status 3$"):
        child.call(os._exit, 3)
    assert len({first, second, child.call(os.getpid)}) == 3


def test_a_call_that_takes_too_long_is_ended(child):
    pid = child.call(os.getpid)
    started = time.monotonic()
    with pytest.raises(WorkerCrashed, match="^took longer than 0.2 s$"):
        child.call(time.sleep, 60, seconds=0.2)
    assert time.monotonic() - started < 5
    assert not os.path.exists(f"/proc/{pid}")  # also reaped
    assert child.call(int, "1") == 1


def test_a_death_between_calls_is_not_blamed_on_the_next(child):
    pid = child.call(os.getpid)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert child.call(os.getpid) != pid


def test_ctrl_c_leaves_no_answer_behind(child):
    """The answer to an interrupted call must not be taken for that to the next."""
    assert os.getpgid(child.call(os.getpid)) != os.getpgid(0)  # so it does not get it itself

    def interrupt(*arguments):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(KeyboardInterrupt):
            child.call(time.sleep, 0.5)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert child.call(int, "5") == 5


def test_a_process_that_cannot_start_is_no_bad_file(child, monkeypatch, capfd):
    monkeypatch.setattr(child_module, "_CODE", "raise ImportError('no numpy here')")
    message = "the decoding process ended with status 1 before its first file; what it wrote"
    with pytest.raises(RuntimeError, match=message) as caught:
        child.call(int, "1")
    assert not isinstance(caught.value, WorkerCrashed)
    assert "ImportError: no numpy here" in capfd.readouterr().err
    monkeypatch.undo()
    assert child.call(int, "1") == 1


# --- life ---------------------------------------------------------------------------------------


def test_close_ends_it_and_the_next_call_starts_another(child):
    child.close()  # nothing there yet
    pid = child.call(os.getpid)
    child.close()
    assert not os.path.exists(f"/proc/{pid}")  # also reaped
    assert child.call(os.getpid) != pid


def test_another_takes_over_after_many_calls(child, monkeypatch):
    monkeypatch.setattr(child_module, "_MAX_CALLS", 3)
    pids = [child.call(os.getpid) for _ in range(7)]
    assert len(set(pids)) == 3 and pids == sorted(pids, key=pids.index)
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]


def test_forgetting_it_ends_it():
    child = DecodeProcess()
    pid = child.call(os.getpid)
    del child
    assert gone(pid)


def test_copies_have_processes_of_their_own(child):
    pid = child.call(os.getpid)
    copy = pickle.loads(pickle.dumps(child))
    assert copy.call(os.getpid) != pid
    copy.close()
    assert child.call(os.getpid) == pid


@pytest.mark.filterwarnings("ignore:This process.* is multi-threaded:DeprecationWarning")
def test_forked_copies_have_processes_of_their_own(child):
    pid = child.call(os.getpid)
    receive, send = get_context("fork").Pipe(duplex=False)
    forked = get_context("fork").Process(target=_send_pid, args=(child, send))
    with child._lock:  # as another thread may at that moment
        forked.start()
    assert receive.poll(20)
    theirs = receive.recv()
    forked.join()
    assert forked.exitcode == 0 and theirs not in (pid, os.getpid(), forked.pid)
    assert gone(theirs)
    assert child.call(os.getpid) == pid


def _send_pid(child, send):
    send.send(child.call(os.getpid))
    child.close()


def test_threads_take_turns(shared):
    found = {}

    def ask(index):
        found[index] = [shared.call(int, str(1000 * index + turn)) for turn in range(50)]

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {i: [1000 * i + turn for turn in range(50)] for i in range(4)}


@needs_proc
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_it_ends_with_the_process_that_started_it(busy):
    script = """
        import os, sys, threading, time
        from sightsound.media.decode_process import DecodeProcess

        child = DecodeProcess()
        print(child.call(os.getpid), flush=True)
        if sys.argv[1] == "True":
            child.call(time.sleep, 3600)
        time.sleep(3600)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(busy)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    pid = int(process.stdout.readline())
    time.sleep(0.1)
    process.kill()
    process.communicate()
    assert gone(pid)


# --- reading ------------------------------------------------------------------------------------


def test_a_reader_in_a_child_gives_the_same(shared, clip):
    here, there = FileReader(), DecodeProcessReader(FileReader(), _process=shared)
    assert there.duration(clip) == here.duration(clip)
    found, expected = (
        reader.frames(
            str(clip),
            np.array([0.3, 0.9, 1.5]),
            (16, 24),
            crop=partial(random_box, generator=np.random.default_rng(0), scale=(0.3, 0.5)),
        )
        for reader in (there, here)
    )
    np.testing.assert_array_equal(found.pixels, expected.pixels)
    np.testing.assert_array_equal(found.valid, expected.valid)
    np.testing.assert_array_equal(found.times_seconds, expected.times_seconds)
    found, expected = (reader.sound(clip, 0.1, 0.8, 8000) for reader in (there, here))
    np.testing.assert_array_equal(found.samples, expected.samples)
    np.testing.assert_array_equal(found.valid, expected.valid)
    with pytest.raises(DecodeError, match="no such file"):
        there.duration("missing.mp4")


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("hang.mp4", "the decoder took longer than 0.5 s"),
        ("crash.mp4", r"the decoder crashed \(signal 11, SIGSEGV\)"),
    ],
)
def test_a_file_that_breaks_the_decoder_cannot_be_decoded(clip, name, cause):
    path = clip.with_name(name)
    path.write_bytes(clip.read_bytes())
    reader = DecodeProcessReader(odd_readers.OddReader(), 0.5)
    assert reader.duration(path) == 1.0
    with pytest.raises(DecodeError, match=f"{name}' from 0.250 s: {cause}$"):
        reader.frames(path, np.array([0.25, 0.75]), (8, 8))
    started = time.monotonic()
    with pytest.raises(DecodeError, match=cause):  # known by now: at once
        reader.sound(path, 0.0, 1.0, 8000)
    assert time.monotonic() - started < 0.1
    assert reader.frames(clip, np.array([0.0]), (8, 8)).valid.all()
    pid = reader._process.call(os.getpid)
    reader.close()
    assert gone(pid)
