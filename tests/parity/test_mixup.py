"""Mixup of the official trainer: one weight for the batch, or one for each modality."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sightsound.data.augment.mixup import mixed
from sightsound.types import Batch

EXACT = {"rtol": 0, "atol": 0}  # the same float32 operations in the same order


@pytest.fixture
def arrays(cases: Path) -> np.lib.npyio.NpzFile:
    return np.load(cases / "mbt" / "mixup.npz")


def ours(array: np.ndarray) -> torch.Tensor:
    """(B, T, H, W, C) -> (B, T, C, H, W), or (B, F, M, 3) -> (B, 1, F, M)."""
    tensor = torch.from_numpy(array)
    return tensor.permute(0, 1, 4, 2, 3) if tensor.ndim == 5 else tensor[..., 0].unsqueeze(1)


@pytest.fixture
def batch(arrays: np.lib.npyio.NpzFile) -> Batch:
    video, audio = ours(arrays["in/rgb"]), ours(arrays["in/spectrogram"])
    size = len(video)
    return Batch(
        video=video,
        audio=audio,
        present={name: torch.ones(size, dtype=torch.bool) for name in ("video", "audio")},
        valid={
            "video": torch.ones(video.shape[:2], dtype=torch.bool),
            "audio": torch.ones(size, audio.shape[2], dtype=torch.bool),
        },
        target=torch.from_numpy(arrays["in/label"]),
        id=[str(i) for i in range(size)],
        view=torch.zeros(size, dtype=torch.long),
        complete=True,
    )


def check(batch: Batch, arrays: np.lib.npyio.NpzFile, run: str) -> None:
    for modality, name in (("video", "rgb"), ("audio", "spectrogram")):
        expected = ours(arrays[f"{run}/inputs/{name}"])
        torch.testing.assert_close(batch.inputs[modality], expected, **EXACT)
        label = torch.from_numpy(arrays[f"{run}/label/{name}"])
        target = (batch.modality_target or {}).get(modality, batch.target)
        torch.testing.assert_close(target, label, **EXACT)


@pytest.mark.parametrize("complete", [True, False])
def test_one_weight(batch: Batch, arrays: np.lib.npyio.NpzFile, complete: bool):
    batch.complete = complete
    weight = float(arrays["weights_rgb_spec"][0])
    result = mixed(batch, weights={"video": weight, "audio": weight})
    check(result, arrays, "mixmod_False")
    label = torch.from_numpy(arrays["mixmod_False/label/all"])
    torch.testing.assert_close(result.target, label, **EXACT)


def test_a_weight_for_each_modality(batch: Batch, arrays: np.lib.npyio.NpzFile):
    video, audio = arrays["weights_rgb_spec"].tolist()
    result = mixed(batch, weights={"video": video, "audio": audio})
    check(result, arrays, "mixmod_True")
    mean = sum(result.modality_target.values()) / 2
    torch.testing.assert_close(result.target, mean, **EXACT)
