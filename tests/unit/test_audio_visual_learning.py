"""AVT's losses learn: clips without labels whose sound goes with the colours of the picture."""

from __future__ import annotations

import pytest
import torch

from sightsound.models.avt import AVT
from sightsound.objectives.audio_visual.matching import chosen
from sightsound.objectives.audio_visual.objective import AudioVisual
from sightsound.types import AUDIO, VIDEO, Batch, Encoded

CLIPS = 64


def clips(size: int, *, generator: torch.Generator) -> Batch:
    """Six numbers per clip, never seen before: colours of two frames, loudness of six bands.

    The rest is noise. (With three numbers, the wrong pairs that `hard` draws are hardly wrong.)
    """
    numbers = torch.randn(size, 6, generator=generator)
    video = numbers.unflatten(1, (2, 3))[..., None, None].expand(-1, -1, -1, 32, 32)
    audio = numbers.repeat_interleave(2, dim=1)[:, None, None].expand(-1, 1, 32, -1)
    video, audio = (x + 0.5 * torch.randn(x.shape, generator=generator) for x in (video, audio))
    return Batch(
        video=video,
        audio=audio,
        present={name: torch.ones(size, dtype=torch.bool) for name in (VIDEO, AUDIO)},
        valid={VIDEO: torch.ones(size, 2).bool(), AUDIO: torch.ones(size, 32).bool()},
        target=torch.zeros(size, 2),  # no labels
        id=[str(number) for number in range(size)],
        view=torch.zeros(size, dtype=torch.long),
    )


def trained(steps: int, **weights: float) -> tuple[AVT, AudioVisual]:
    torch.manual_seed(0)
    model = AVT(
        heads={"label": 2},
        video_shape=(2, 32, 32),
        video_options=dict(widths=(16, 32, 32, 64), depths=(1, 1, 1, 1), head_width=16),
        audio_shape=(32, 12),
        audio_options=dict(width=64, num_heads=4, depth=1, patch=(4, 12), stride=(4, 12)),
        fusion_depth=2,
        num_heads=4,
    )
    off = dict(classification_weight=0.0, contrastive_weight=0.0, matching_weight=0.0)
    objective = AudioVisual(
        task="single",
        heads={"label": 2},
        embedding_width=32,
        num_segments=8,
        window=5,
        mask_share=0.15,
        **off | {"masked_weight": 0.0} | weights,
    ).prepare(model)
    optimizer = torch.optim.AdamW([*model.parameters(), *objective.parameters()], lr=1e-3)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps)
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        loss, _ = objective(model, clips(32, generator=generator), generator=generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
    return model.eval(), objective


def held_out() -> Batch:
    return clips(CLIPS, generator=torch.Generator().manual_seed(99))


def rightly(objective: AudioVisual, model: AVT, encoded: Encoded, shift: int) -> torch.Tensor:
    """Share of pairs that are judged rightly; `shift` 0: right pairs."""
    rows = torch.arange(CLIPS)
    output = model.fuse(chosen(encoded, {VIDEO: rows, AUDIO: rows.roll(shift)}))
    pooled = torch.cat([output.pooled[name] for name in (VIDEO, AUDIO)], dim=1)
    return (objective.matching.head(pooled).argmax(1) == (shift == 0)).float().mean()


@pytest.mark.slow
@torch.no_grad()
def test_retrieval_and_matching():
    """Held-out clips: ten times as many are found as by chance, of wrong pairs most are noticed."""
    with torch.enable_grad():
        model, objective = trained(300, contrastive_weight=1.0, matching_weight=1.0)
    encoded = model.encode(held_out().inputs)
    embedded = objective.contrastive.embed(encoded.pooled)
    similarity = embedded[AUDIO] @ embedded[VIDEO].T
    for each in (similarity, similarity.T):
        recall = (each.argmax(1) == torch.arange(CLIPS)).float().mean()
        print(f"R@1 {recall:.2f}, chance {1 / CLIPS:.3f}")
        assert recall >= 10 / CLIPS
    right = rightly(objective, model, encoded, 0)
    wrong = torch.stack([rightly(objective, model, encoded, shift) for shift in (1, 7, 20)])
    print(f"matching: {right:.2f} of right pairs, {wrong.mean():.2f} of wrong pairs")
    assert (right + wrong.mean()) / 2 >= 0.85


@pytest.mark.slow
@torch.no_grad()
def test_reconstruction_beats_the_mean():
    with torch.enable_grad():
        model, objective = trained(150, masked_weight=1.0)
    batch = held_out()
    seed = 5
    _, logs = objective(model, batch, generator=torch.Generator().manual_seed(seed))
    generator = torch.Generator().manual_seed(seed)
    hidden = objective.masking(batch, objective.streams, generator=generator)
    for name, values in batch.inputs.items():
        spread = values[hidden.scored[name].expand_as(values)].var()
        print(f"{name}: {logs[f'masked_{name}']:.2f}, predicting the mean {spread:.2f}")
        assert logs[f"masked_{name}"] < 0.7 * spread
