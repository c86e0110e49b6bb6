"""Ten optimiser steps on generated batches: the losses guard model, objective, augmentation, loop.

A change that should not alter results leaves `losses_cpu.json` as it is. To accept an intended
change: `SIGHTSOUND_WRITE_GOLDEN=1 pytest tests/golden`, and say why in the commit.
"""

import json
import os
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from sightsound.config.settings import AugmentSettings, RunConfig, TrainSettings
from sightsound.media.front_end import AudioFrontEnd, FrontEnd, VideoFrontEnd
from sightsound.models.mbt import MBT
from sightsound.objectives.classification import Classification
from sightsound.train.assemble import Parts
from sightsound.train.loop import update
from sightsound.train.optim import build_optimizer
from sightsound.types import Batch

GOLDEN = Path(__file__).parent / "losses_cpu.json"
NUM_STEPS = 10
# Matrix products differ in the last bits between processors; ten steps amplify that a little.
TOLERANCE = 2e-4

FRONT_END = FrontEnd(
    "golden", AudioFrontEnd(num_frames=32, num_mels=16), VideoFrontEnd(2, 1.0, height=16, width=16)
)
VARIANTS = {
    "bottleneck": {},
    "sequential": {"update": "sequential"},
    "cross_attention": {"fusion": "cross_attention"},
    "pooled": {"classifier": "gap", "stem": "convolution"},
}


def make_parts(model_arguments: dict) -> Parts:
    torch.manual_seed(0)
    fabric = Fabric(accelerator="cpu", devices=1)
    model = MBT(
        heads={"label": 4},
        video_shape=(2, 16, 16),
        audio_shape=(32, 16),
        width=16,
        depth=2,
        num_heads=2,
        mlp_width=32,
        fusion_layer=1,
        video_patch=(1, 8, 8),
        audio_patch=(8, 8),
        stochastic_depth=0.2,
        **model_arguments,
    )
    settings = TrainSettings(learning_rate=3e-3)
    objective = Classification(
        task="single",
        heads={"label": 4},
        label_smoothing=0.1,
        stream_weight=0.3 if model.classifier == "token" else 0.0,
    )
    augment = AugmentSettings(
        affine_degrees=10, colour=0.5, time_masks=1, time_mask_frames=8, mixup_alpha=0.3,
        modality_mixup=True, drop_audio=0.2, drop_video=0.2,
    )  # fmt: skip
    return Parts(
        config=RunConfig(train=settings, augment=augment),
        fabric=fabric,
        front_end=FRONT_END,
        manifest=None,
        model=model,
        objective=objective,
        optimizer=fabric.setup_optimizers(build_optimizer([model], settings)),
        train_clips=None,
        val_clips=None,
        steps_per_epoch=NUM_STEPS,
        total=NUM_STEPS,
        notes=[],
    )


def make_batch(step: int) -> Batch:
    generator = torch.Generator().manual_seed(step)
    size = 8
    video = torch.randint(0, 256, (size, 2, 3, 16, 16), generator=generator, dtype=torch.uint8)
    audio = torch.randn(size, 1, 32, 16, generator=generator)
    present = {"video": torch.ones(size, dtype=torch.bool), "audio": torch.arange(size) > 0}
    valid = {"video": torch.ones(size, 2, dtype=torch.bool)}
    valid["audio"] = present["audio"][:, None].expand(size, 32).clone()
    return Batch(
        video=video,
        audio=audio * present["audio"][:, None, None, None],
        present=present,
        valid=valid,
        target=torch.eye(4)[torch.randint(0, 4, (size,), generator=generator)],
        id=[f"clip{index}" for index in range(size)],
        view=torch.zeros(size, dtype=torch.long),
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_ten_losses(variant: str):
    parts = make_parts(VARIANTS[variant])
    losses = [update(parts, [make_batch(step)], step)["loss"] for step in range(NUM_STEPS)]
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.is_file() else {}
    if os.environ.get("SIGHTSOUND_WRITE_GOLDEN"):
        GOLDEN.write_text(json.dumps(golden | {variant: losses}, indent=1) + "\n")
        return
    assert losses == pytest.approx(golden[variant], abs=TOLERANCE)
