"""Readers that fail as decoders do, for files of certain names; imported by decoding processes."""

import os
import signal
import time

from sightsound.media.reader import FileReader


class OddReader(FileReader):
    """Takes for ever over files called hang*, and takes its process down over those called crash*.

    Their duration can still be read, like that of most files that break a decoder.
    """

    def frames(self, path, *arguments, **options):
        """See `Reader`."""
        if os.path.basename(path).startswith("hang"):
            time.sleep(3600)
        if os.path.basename(path).startswith("crash"):
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().frames(path, *arguments, **options)


class Unpicklable(Exception):
    """Needs two arguments, but pickle gives back one."""

    def __init__(self, first, second):
        super().__init__(first)


def raise_unpicklable():
    """Raises what cannot travel."""
    raise Unpicklable("it broke", 2)


def write_to_standard_output():
    """As a library written in C may."""
    os.write(1, b"not an answer")
    return os.read(0, 10)


def threads():
    """How many threads this process has after numpy has multiplied matrices."""
    import numpy as np

    np.ones((300, 300)) @ np.ones((300, 300))
    return len(os.listdir("/proc/self/task"))


def modules():
    """Names of what is imported."""
    import sys

    return sorted(sys.modules)
