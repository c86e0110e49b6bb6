"""Shared fixtures."""

import os
import signal
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]

# Shells start background jobs with Ctrl-C ignored, which commands under test would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder with `data/` and `reference/`: SIGHTSOUND_TEST_DATA, by default ../shared."""
    folder = Path(os.environ.get("SIGHTSOUND_TEST_DATA", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no test data at {folder} (set SIGHTSOUND_TEST_DATA)")
    return folder


@pytest.fixture(autouse=True)
def isolated_randomness():
    """Tests cannot influence one another through torch's global generator."""
    state = torch.get_rng_state()
    torch.manual_seed(0)
    yield
    torch.set_rng_state(state)
