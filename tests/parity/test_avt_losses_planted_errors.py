"""The parity tests of AVT's losses would notice: mistakes are planted, a check must fail."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest
from test_avt_losses import TOLERANCE, contrastive_differences, segment_differences

CASES = Path(__file__).parent / "cases"  # always these: the mistakes must show on our own
PACKAGE = "sightsound.objectives.audio_visual"
MISTAKES = {
    "a polynomial of the first order": (
        "segments",
        "smoothed",
        "range(order + 1)",
        "range(order)",
    ),
    "one-sided slopes": (
        "segments",
        "slopes",
        "torch.gradient(x, dim=1)[0]",
        "x.diff(dim=1, append=x[:, -1:])",
    ),
    "the mean before the size": ("segments", "mean_slope", ".abs().mean(2)", ".mean(2).abs()"),
    "smoothed once only": (
        "segments",
        "change_curve",
        "smoothed(change[..., None], window=window, edges=edges)[..., 0]",
        "change",
    ),
    "largest values, not maxima": (
        "segments",
        "boundaries",
        "curve.masked_fill(~peaks, -torch.inf)",
        "curve",
    ),
    "the wrong end": ("segments", "smoothed", "last[:, -half:]", "last[:, :half]"),
    "no temperature": ("contrastive", "contrastive_loss", "/ temperature", "/ 1"),
    "wrong negatives": (
        "contrastive",
        "contrastive_loss",
        "wanted = same / same.sum(1, keepdim=True)",
        "wanted = torch.eye(len(same)).to(same)",
    ),
    "directions exchanged": (
        "contrastive",
        "contrastive_loss",
        "audio @ video.T",
        "video @ audio.T",
    ),
    "the sum of both directions": (
        "contrastive",
        "contrastive_loss",
        "torch.stack(losses).mean()",
        "torch.stack(losses).sum()",
    ),
}


def holds() -> bool:
    found = {**contrastive_differences(CASES), **segment_differences(CASES)}
    return all(value <= TOLERANCE for value in found.values())


def test_checks_hold_for_the_shipped_code():
    assert holds()


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake(monkeypatch, name: str):
    part, function, old, new = MISTAKES[name]
    module = importlib.import_module(f"{PACKAGE}.{part}")
    source = inspect.getsource(getattr(module, function))
    assert source.count(old) == 1, f"{old!r} is no longer in {function}"
    made: dict = {}
    exec("from __future__ import annotations\n" + source.replace(old, new), vars(module), made)
    monkeypatch.setattr(module, function, made[function])
    if function == "contrastive_loss":
        monkeypatch.setattr("test_avt_losses.contrastive_loss", made[function])
    assert not holds()
