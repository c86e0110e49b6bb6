"""Two processes that train together: what one process with both batches does, and no hanging.

Exact where the paper's losses are means over clips and the draws are the same. Drawn by themselves,
wrong pairs come from the clips of one process, and what is hidden from its own generator.
"""

from __future__ import annotations

import dataclasses
import os
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, distributed, multiprocessing

from sightsound.models.avt import AVT
from sightsound.objectives.audio_visual import hiding, matching
from sightsound.objectives.audio_visual.contrastive import Contrastive
from sightsound.objectives.audio_visual.objective import AudioVisual
from sightsound.run import RunConfig
from sightsound.settings import AugmentSettings, TrainSettings
from sightsound.train import loop
from sightsound.train.optim import build_optimizer
from sightsound.train.ranks import average_gradients, average_statistics
from sightsound.types import AUDIO, VIDEO, Batch

NUM_STEPS = 3
CLIPS = 8  # of each pass, of all processes
CLIP_NORM = 0.1
SETTINGS = TrainSettings(
    optimizer="sgd", learning_rate=0.1, clip_norm=CLIP_NORM, batch_size=CLIPS, accumulate=2
)


def make_parts(*, statistics: str, devices: int = 1) -> SimpleNamespace:
    """As much of `Parts` as an optimiser step needs."""
    torch.manual_seed(0)
    model = AVT(
        heads={"label": 4},
        video_shape=(2, 32, 32),
        video_options=dict(
            widths=(4, 4, 8, 8), depths=(1, 1, 1, 1), head_width=8, statistics=statistics
        ),
        audio_shape=(32, 16),
        audio_options=dict(width=16, num_heads=2, depth=1, patch=(8, 8), stride=(8, 8)),
        fusion_depth=1,
        num_heads=2,
    )
    torch.nn.init.normal_(model.head.weight, std=0.1)
    objective = AudioVisual(
        task="single",
        heads={"label": 4},
        embedding_width=8,
        matching_weight=1.0,
        masked_weight=1.0,
        audio_masking="tokens",
    ).prepare(model)
    fabric = Fabric(accelerator="cpu", devices=devices)
    fabric.launch()
    return SimpleNamespace(
        config=RunConfig(train=SETTINGS, augment=AugmentSettings(flip=0.0)),
        fabric=fabric,
        front_end=None,
        model=model,
        objective=objective,
        optimizer=fabric.setup_optimizers(build_optimizer([model, objective], SETTINGS)),
        total=NUM_STEPS,
        encoding=lambda batch: batch,
    )


def make_batch(number: int) -> Batch:
    generator = torch.Generator().manual_seed(number)
    return Batch(
        video=torch.randn(CLIPS, 2, 3, 32, 32, generator=generator),
        audio=torch.randn(CLIPS, 1, 32, 16, generator=generator),
        present={name: torch.ones(CLIPS, dtype=torch.bool) for name in (VIDEO, AUDIO)},
        valid={VIDEO: torch.ones(CLIPS, 2).bool(), AUDIO: torch.ones(CLIPS, 32).bool()},
        target=torch.eye(4)[torch.arange(CLIPS) % 4],
        id=[f"{number}.{clip}" for clip in range(CLIPS)],
        source=[f"{number}.{clip % 7}" for clip in range(CLIPS)],  # the last is the first's
        view=torch.zeros(CLIPS, dtype=torch.long),
        complete=True,
    )


def part_of(batch: Batch, rank: int, *, world_size: int = 2) -> Batch:
    """The clips that one process gets."""
    keep = slice(rank, None, world_size)
    masks = {
        name: {stream: mask[keep] for stream, mask in getattr(batch, name).items()}
        for name in ("present", "valid")
    }
    fields = ("video", "audio", "target", "id", "source", "view")
    return dataclasses.replace(
        batch, **{name: getattr(batch, name)[keep] for name in fields}, **masks
    )


def state(parts: SimpleNamespace) -> dict[str, Tensor]:
    """Weights and buffers of the model and of the objective."""
    named = {"model": parts.model, "objective": parts.objective}
    return {f"{k}.{n}": v.clone() for k, m in named.items() for n, v in m.state_dict().items()}


# ------------------------------------------------------------------------------- the same draws


def the_first(eligible: Tensor, *_: object, **__: object) -> Tensor:
    """In place of `drawn`: one token of each clip, always the same."""
    return eligible & (eligible.cumsum(1) == 1)


def half_way_round(similarity: Tensor, *_: object, **__: object) -> Tensor:
    """In place of `_drawn`: the clip that lies half a batch further on."""
    number = len(similarity)
    return (torch.arange(number) + number // 2) % number


def same_steps(parts: SimpleNamespace, *, rank: int = 0, world_size: int = 1) -> dict:
    """Steps over the same batches, and the norms of their gradients before they were cut."""
    norms = []
    for step in range(NUM_STEPS):
        batches = [make_batch(2 * step), make_batch(2 * step + 1)]
        batches = [part_of(batch, rank, world_size=world_size) for batch in batches]
        norms.append(loop.update(parts, batches, step)["gradient_norm"])
    return {"norms": torch.tensor(norms), **state(parts)}


# ----------------------------------------------------------------------------------- unlike ones


def unlike(rank: int, step: int) -> list[Batch]:
    """Batches of two processes of which one lacks a stream, or has a single source."""
    batches = [part_of(make_batch(9 + number), rank) for number in range(2)]
    number = len(batches[0])
    for batch in batches:
        batch.complete = False
        if step == 0:  # nothing to compare here, nothing at all to hear there
            batch.source[:] = ["a"] * number
            batch.present[AUDIO][:] = rank == 0
        if step == 1:  # sound alone here, pictures alone there: no pair anywhere
            batch.present[(VIDEO, AUDIO)[rank]][:] = False
    return batches


def unlike_steps(rank: int) -> dict[str, Tensor]:
    parts = make_parts(statistics="own", devices=2)
    for step in range(NUM_STEPS):
        loop.update(parts, unlike(rank, step), step)
    own = state(parts)
    average_statistics(parts.model, parts.fabric)
    return {"own": own, "averaged": state(parts)}


# ------------------------------------------------------------------------------ gradients


def averaged(rank: int) -> list[list[float] | None]:
    """Mean gradients of three parameters: of one that all, that one, that no process has one of."""
    parameters = [torch.nn.Parameter(torch.zeros(2)) for _ in range(3)]
    parameters[0].grad = torch.full((2,), 1.0 + rank)
    if rank:
        parameters[1].grad = torch.full((2,), 4.0)
    average_gradients(parameters, make_parts(statistics="own", devices=2).fabric)
    return [p.grad if p.grad is None else p.grad.tolist() for p in parameters]


# ------------------------------------------------------------------------------ validation


def validated() -> Tensor:
    """The contrastive loss of clips that every process has, as in validation."""
    vectors = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    embedded = {VIDEO: vectors, AUDIO: vectors.flip(0)}
    return Contrastive({VIDEO: 8, AUDIO: 8}).eval()(embedded, torch.arange(4))


# ------------------------------------------------------------------------------ lost clips


def agreed(rank: int) -> list[str]:
    """What is left of two passes where one process lost the clips of its second."""
    parts = make_parts(statistics="own", devices=2)
    parts.config.data.bad_files = "drop"
    batches = [make_batch(1), make_batch(2)][: 2 - rank]
    return [batch.id[0] for batch in loop._agreed(parts, batches)]


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "TORCHELASTIC_RUN_ID": "test"}
    os.environ |= {name: str(value) for name, value in numbers.items()}
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=60),  # a hang fails
    )
    found = {"unlike": unlike_steps(rank), "agreed": agreed(rank), "validated": validated()}
    found["averaged"] = averaged(rank)
    hiding.drawn, matching._drawn = the_first, half_way_round  # this process ends with them
    parts = make_parts(statistics="shared", devices=2)
    found["same"] = same_steps(parts, rank=rank, world_size=2)
    torch.save(found, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """What each of two processes came to."""
    folder: Path = tmp_path_factory.mktemp("processes")
    multiprocessing.spawn(process, args=(str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def test_half_the_batch_each_is_the_whole_batch(found, monkeypatch):
    """All four losses, two passes, clipped: weights of model and objective after three steps."""
    monkeypatch.setattr(hiding, "drawn", the_first)
    monkeypatch.setattr(matching, "_drawn", half_way_round)
    start = state(parts := make_parts(statistics="own"))
    wanted = same_steps(parts)
    assert (wanted["norms"] > CLIP_NORM).all()
    for name, value in wanted.items():
        if value.is_floating_point():
            torch.testing.assert_close(found[0]["same"][name], value, rtol=1e-4, atol=1e-5)
            assert torch.equal(found[0]["same"][name], found[1]["same"][name]), name
    own = [name for name in start if name.startswith("objective.")]
    assert {name.split(".")[1] for name in own} == {"contrastive", "matching", "reconstruction"}
    assert not any(torch.equal(start[name], wanted[name]) for name in own)


def test_processes_that_lack_what_others_have_stay_together(found):
    first, second = (each["unlike"]["own"] for each in found)
    for name in first:
        assert first[name].isfinite().all(), name
        if "running" not in name and "tracked" not in name:
            assert torch.equal(first[name], second[name]), name


def test_running_statistics_are_averaged_before_they_are_used(found):
    first, second = (each["unlike"]["own"] for each in found)
    names = [name for name in first if "running" in name]
    assert names and any(not torch.equal(first[name], second[name]) for name in names)
    for name in names:
        mean = (first[name] + second[name]) / 2
        for each in found:
            torch.testing.assert_close(each["unlike"]["averaged"][name], mean)


def test_a_pass_that_one_process_lost_is_left_out_by_all(found):
    assert [each["agreed"] for each in found] == [["1.0"], ["1.0"]]


def test_the_mean_counts_what_is_missing_as_zero(found):
    """What no process has stays away: the optimiser would let its weights decay."""
    assert [each["averaged"] for each in found] == [[[1.5, 1.5], [2.0, 2.0], None]] * 2


def test_validation_counts_every_clip_once(found):
    """Each process has all of them."""
    assert [each["validated"] for each in found] == [validated()] * 2
