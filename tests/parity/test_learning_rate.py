"""The learning rate of the official trainer (lr_schedule.npz)."""

from pathlib import Path

import numpy as np
import pytest

from sightsound.train.schedule import learning_rate


@pytest.mark.parametrize("run", ["balanced_spe318", "spe10", "spe3"])
def test_learning_rate(cases: Path, run: str):
    arrays = np.load(cases / "mbt" / "lr_schedule.npz")
    _, total, warmup = arrays[f"{run}/meta_spe_total_warmup"]
    ours = [
        learning_rate(int(step), peak=0.5, total=int(total), warmup=float(warmup))
        for step in arrays[f"{run}/steps"]
    ]
    np.testing.assert_allclose(ours, arrays[f"{run}/lr"], rtol=0, atol=1e-7)
