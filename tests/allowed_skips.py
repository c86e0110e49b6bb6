"""The skips that are right, why, and when. Any other skip fails, and tests of a GPU may not skip.

`conftest.py` takes the hooks below. Under pytest-xdist they run in the workers.
"""

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

TEST_DATA = Path(
    os.environ.get("SIGHTSOUND_TEST_DATA", Path(__file__).resolve().parents[2] / "shared")
)


@dataclass(frozen=True)
class AllowedSkip:
    """`pattern`, a regular expression, is searched for in what the skip says."""

    pattern: str
    reason: str
    when: Callable[[], bool] = lambda: True


ALLOWED = [
    AllowedSkip(
        r"^no test data at ",
        "the clips of SIGHTSOUND_TEST_DATA are not in the repository",
        lambda: not (TEST_DATA / "data").is_dir(),
    ),
    AllowedSkip(r"^no \S+ among the test data$", "SIGHTSOUND_TEST_DATA may hold a part of them"),
    AllowedSkip(r" is not among these cases$", "--cases may name a folder with a part of them"),
    AllowedSkip(r"^no vit_init case to compare with$", "--cases may name a folder without one"),
    AllowedSkip(
        r"^no chromium: ",
        "pip cannot install a browser",
        lambda: not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    ),
    AllowedSkip(
        r"^torchcodec cannot be loaded: it needs the shared libraries of FFmpeg",
        "pip cannot install FFmpeg's shared libraries",
        lambda: shutil.which("ffmpeg") is None,
    ),
    AllowedSkip(
        r"^no GPU that torch can use$",
        "most machines have none; FAIL_WITHOUT_CUDA=1 makes it a failure",
        lambda: not torch.cuda.is_available(),
    ),
    AllowedSkip(
        r"^there is a GPU$",
        "the message about a missing GPU needs a machine without one",
        lambda: torch.cuda.is_available(),
    ),
    AllowedSkip(
        r"^reads /proc$",
        "only Linux tells a process's memory and children there",
        lambda: not os.path.isdir("/proc/self"),
    ),
    AllowedSkip(
        r"^falls short, as docs/explanation\.md says$",
        "a published limit of the method for that model",
    ),
]


def is_allowed(message: str) -> bool:
    """Whether a skip that says `message` is right on this machine."""
    return any(re.search(skip.pattern, message) and skip.when() for skip in ALLOWED)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `gpu` skip without one, and fail instead where FAIL_WITHOUT_CUDA=1."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        if os.environ.get("FAIL_WITHOUT_CUDA") == "1":
            pytest.fail("no GPU that torch can use, and FAIL_WITHOUT_CUDA=1", pytrace=False)
        pytest.skip("no GPU that torch can use")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport():
    """A test, or its fixture, that skips."""
    return _fail_unless_allowed((yield))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report():
    """A module that skips while it is imported."""
    return _fail_unless_allowed((yield))


def _fail_unless_allowed(report):
    if not report.skipped or hasattr(report, "wasxfail"):
        return report
    path, line, message = report.longrepr
    message = message.removeprefix("Skipped: ")
    if not is_allowed(message):
        report.outcome = "failed"
        report.longrepr = (
            f"{path}:{line}: skipped, which fails, since this skip is not allowed here: {message}\n"
            "If a package is missing, install all that the tests need: pip install -e '.[dev]' "
            "(make test does). If the skip is right, add it with its reason to "
            "tests/allowed_skips.py."
        )
    return report
