"""Shared fixtures; which skips are allowed."""

import signal
from pathlib import Path

import pytest
import torch
from allowed_skips import (  # noqa: F401
    TEST_DATA,
    pytest_make_collect_report,
    pytest_runtest_makereport,
    pytest_runtest_setup,
)

# Shells start background jobs with Ctrl-C ignored, which commands under test would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder with `data/` and `reference/`: SIGHTSOUND_TEST_DATA, by default ../shared."""
    if not (TEST_DATA / "data").is_dir():
        pytest.skip(f"no test data at {TEST_DATA} (set SIGHTSOUND_TEST_DATA)")
    return TEST_DATA


@pytest.fixture(autouse=True)
def isolated_randomness():
    """Tests cannot influence one another through torch's global generator."""
    state = torch.get_rng_state()
    torch.manual_seed(0)
    yield
    torch.set_rng_state(state)
