"""AVT's losses: stored values of the contrastive loss, segments with all steps on the way."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from avt_cases import index
from torch.nn import functional

from sightsound.flops import count_flops
from sightsound.models.avt import AVT
from sightsound.objectives.audio_visual import segments
from sightsound.objectives.audio_visual.contrastive import contrastive_loss
from sightsound.objectives.audio_visual.objective import AudioVisual

TOLERANCE = 1e-10  # float64 on both sides; measured: 1.6e-14


def largest(ours: torch.Tensor, stored: np.ndarray) -> float:
    assert ours.shape == stored.shape
    return float((ours - torch.from_numpy(stored)).abs().max())


def contrastive_differences(folder: Path) -> dict[str, float]:
    """{stored value: distance of ours}; `cavmae`: one direction, the pictures find the sound."""
    arrays = np.load(folder / "avt" / "misc.npz")
    video, audio = (
        functional.normalize(torch.from_numpy(arrays[f"nce/{name}"]), dim=1)
        for name in ("video", "audio")
    )
    single, several = torch.arange(len(video)), torch.tensor(index(folder)["misc"]["ids"])
    settings = {
        "tau07_audio_to_video": (single, 0.07, "audio_to_video"),
        "tau07_video_to_audio": (single, 0.07, "video_to_audio"),
        "tau07_symmetric": (single, 0.07, "both"),
        "tau07_symmetric_multi_positive": (several, 0.07, "both"),
        "cavmae_tau0.05_symmetric": (single, 0.05, "both"),
        "cavmae_tau0.05_one_direction": (single, 0.05, "video_to_audio"),
    }
    found = {}
    for name, (source, temperature, direction) in settings.items():
        ours = contrastive_loss(video, audio, source, temperature=temperature, direction=direction)
        found[name] = largest(ours, arrays[f"nce/{name}"])
    return found


def segment_differences(folder: Path) -> dict[str, float]:
    """{stored array: largest difference}; of cuts, the number that differ."""
    arrays, found = np.load(folder / "avt" / "segments.npz"), {}
    for name in arrays.files:
        if match := re.fullmatch(r"coeffs/w(\d+)_p2", name):
            window = int(match[1])
            impulse = torch.zeros(1, 3 * window, 1, dtype=torch.float64)
            impulse[:, 3 * window // 2] = 1
            around = segments.smoothed(impulse, window=window)[0, :, 0]
            middle = 3 * window // 2
            around = around[middle - window // 2 : middle + window // 2 + 1]
            found[name] = largest(around, arrays[name])
        if match := re.fullmatch(r"vec/w(\d+)_p2_(interp|nearest)", name):
            x = torch.from_numpy(arrays["vec/x"])[None, :, None]
            ours = segments.smoothed(x, window=int(match[1]), edges=match[2])
            found[name] = largest(ours[0, :, 0], arrays[name])
        if match := re.fullmatch(r"(\w+)/w(\d+)_p2_(interp|nearest)/energy", name):
            found |= _steps(arrays, match[1], window=int(match[2]), edges=match[3])
    ours = segments.slopes(torch.from_numpy(arrays["vec/x"])[None, :, None])[0, :, 0]
    return found | {"vec/gradient": largest(ours, arrays["vec/gradient"])}


def _steps(arrays, clip: str, *, window: int, edges: str) -> dict[str, float]:
    """Every step of one stored spectrogram."""
    x = torch.from_numpy(arrays[f"{clip}/spectrogram"])[None]
    smooth = segments.smoothed(x[..., :4].double(), window=window, edges=edges)
    curve = segments.change_curve(x, window=window, edges=edges)
    ours = {
        "smoothed_first4": smooth[0],
        "grad_first4": segments.slopes(smooth)[0],
        "mean_abs": segments.mean_slope(x, window=window, edges=edges)[0],
        "energy": curve[0],
    }
    at = f"{clip}/w{window}_p2_{edges}"
    found = {f"{at}/{name}": largest(value, arrays[f"{at}/{name}"]) for name, value in ours.items()}
    for name, number in (("top49_peaks", 49), ("topk_peaks", len(arrays[f"{at}/topk_peaks"]))):
        cuts = segments.boundaries(curve, number=number)[0].nonzero()[:, 0].tolist()
        found[f"{at}/{name}"] = float(len({*cuts} ^ {*arrays[f"{at}/{name}"].tolist()}))
    return found


def test_contrastive_loss(cases: Path):
    assert max(contrastive_differences(cases).values()) <= TOLERANCE


def test_segments(cases: Path):
    found = segment_differences(cases)
    assert {name.split("/")[-1] for name in found} >= {"energy", "top49_peaks", "w7_p2_nearest"}
    assert {name: value for name, value in found.items() if not value <= TOLERANCE} == {}


def test_segments_are_found_where_the_sound_changes(cases: Path):
    """Every true change within one frame: a step shows as much in the frame before it."""
    arrays = np.load(cases / "avt" / "segments.npz")
    for name in (n for n in arrays.files if n.endswith("/true_change_points")):
        x = torch.from_numpy(arrays[name.replace("true_change_points", "spectrogram")])[None]
        true = torch.from_numpy(arrays[name])
        numbers = segments.number_segments(x, num_segments=len(true) + 1)[0]
        assert numbers.max() == len(true)
        cuts = numbers.diff().nonzero()[:, 0] + 1
        assert (cuts[:, None] - true).abs().amin(0).max() <= 1


@pytest.mark.parametrize(
    "frames, depth, width, name",
    [
        (16, 3, 768, "AVT T=16 K=3 video width 768"),
        (16, 4, 768, "AVT T=16 K=4 video width 768"),
        (32, 4, 768, "AVT T=32 K=4 video width 768"),
        (16, 4, 512, "AVT T=16 K=4 common width 512"),
    ],
)
def test_work_of_avt(cases: Path, frames: int, depth: int, width: int, name: str):
    """Multiply-adds of one view, no decoders.

    The stored numbers know no classifier after fusion, and project the vector of a stream for
    nothing; of UniFormer they count its own classifier, with 400 classes.
    """
    stored = json.loads((cases / "avt" / "flops.json").read_text())["avt_readings"][name]
    shape, classes = (frames, 224, 224), 309
    with torch.device("meta"):
        model = AVT(heads={"label": classes}, video_shape=shape, fusion_depth=depth, width=width)
    rows = {row.part: row.products / 2 for row in count_flops(lambda: model)}
    vectors = sum(own for own in (512, 768) if own != width) * width
    extra = vectors + 2 * width * classes - 512 * 400
    assert rows["total"] == pytest.approx(stored["total"] * 1e9 + extra, rel=1e-9)
    if "fusion_params_M" in stored:
        number = sum(p.numel() for p in model.fusion_layers.parameters())
        assert number / 1e6 == pytest.approx(stored["fusion_params_M"], abs=1e-6)


def test_size_of_the_decoders(cases: Path):
    stored = json.loads((cases / "avt" / "flops.json").read_text())["avt_readings"]
    with torch.device("meta"):
        objective = AudioVisual(task="single", heads={"label": 309})
        objective.prepare(AVT(heads={"label": 309}))
    decoders = objective.reconstruction.decoders
    numbers = {name: sum(p.numel() for p in each.parameters()) for name, each in decoders.items()}
    assert numbers == {
        "video": stored["decoder video 768 params"],
        "audio": stored["decoder audio"]["params"],
    }
